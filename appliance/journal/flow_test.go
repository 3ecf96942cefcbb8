package journal

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// wire plays what is seen on a LAN to a tracker.
type wire struct {
	t   *testing.T
	tr  *tracker
	now time.Time
}

func newWire(t *testing.T) *wire {
	return &wire{t: t, tr: newTracker(trackerConfig{seed: 1}), now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
}

// wait lets time pass, with the ticks that a running box has.
func (w *wire) wait(d time.Duration) {
	end := w.now.Add(d)
	for w.now.Before(end) {
		step := min(end.Sub(w.now), time.Second)
		w.now = w.now.Add(step)
		w.tr.tick(w.now)
	}
}

func (w *wire) see(e boot.Event) {
	if e.Time.IsZero() {
		e.Time = w.now
	}
	w.tr.observe(e)
	w.check()
}

// check holds the tracker to its invariants.
func (w *wire) check() {
	w.t.Helper()
	checkTracker(w.t, w.tr)
}

func checkTracker(t testing.TB, tr *tracker) {
	t.Helper()
	n, cost := 0, 0
	for r := range ranks {
		n += tr.ranks[r].Len()
		for el := tr.ranks[r].Front(); el != nil; el = el.Next() {
			x := el.Value.(*try)
			if tr.byID[x.a.ID] != x || x.rank != r || x.elem != el {
				t.Fatalf("attempt %s stands in the wrong list", x.a.ID)
			}
			sum := x.cost
			x.recount()
			if sum != x.cost {
				t.Fatalf("attempt %s costs %d, noted is %d", x.a.ID, x.cost, sum)
			}
			cost += sum
			checkTry(t, x)
			if (x.tally != nil) != (r == rankShallow || r == rankBad) || x.tally != nil && tr.tallies[x.tally.of] != x.tally {
				t.Fatalf("attempt %s is not counted rightly", x.a.ID)
			}
		}
	}
	tallied := 0
	for _, c := range tr.tallies {
		tallied += c.n
	}
	if tallied != tr.ranks[rankShallow].Len()+tr.ranks[rankBad].Len() {
		t.Fatalf("%d attempts are counted", tallied)
	}
	if n != len(tr.byID) || n > maxAttempts || tr.cost != cost || cost > maxCost+boot.MaxAttemptEvents*4096 {
		t.Fatalf("%d attempts in lists, %d by name; cost %d, noted %d", n, len(tr.byID), cost, tr.cost)
	}
	for m, x := range tr.byMAC {
		if tr.byID[x.a.ID] != x || x.a.MAC != m && !slices.Contains(x.a.MACs, m) {
			t.Fatalf("hardware address %s leads to attempt %s, which does not have it", m, x.a.ID)
		}
	}
	for a, x := range tr.byAddr {
		if tr.byID[x.a.ID] != x || !slices.Contains(x.addrs, a) {
			t.Fatalf("address %s leads astray", a)
		}
	}
	for g, x := range tr.byGUID {
		if tr.byID[x.a.ID] != x || !boot.UsableGUID(g) {
			t.Fatalf("identifier %s leads astray", g)
		}
	}
	if len(tr.pending) != len(tr.waiting) || len(tr.pending) > maxPending || len(tr.shared) > maxShared {
		t.Fatalf("%d and %d pending, %d shared", len(tr.pending), len(tr.waiting), len(tr.shared))
	}
}

func checkTry(t testing.TB, x *try) {
	t.Helper()
	a := &x.a
	switch {
	case len(a.Events) > boot.MaxAttemptEvents, len(a.MACs) > boot.MaxMACs, len(a.Foreign) > boot.MaxAttemptForeign,
		len(a.Shapes) > boot.MaxAttemptShapes, len(x.acts) > maxActs, len(x.xids) > maxXIDs, len(x.flight) > maxInFlight, len(x.addrs) > maxAddrs:
		t.Fatalf("attempt %s is beyond a bound: %+v", a.ID, a)
	case a.Took < 0, !slices.Contains(boot.AttemptStates(), a.State):
		t.Fatalf("attempt %s: took %s, state %q", a.ID, a.Took, a.State)
	case a.State.Bad() && a.End.IsZero(), a.State == boot.AttemptRunning && !a.End.IsZero():
		t.Fatalf("attempt %s: state %s, end %s", a.ID, a.State, a.End)
	}
	for i, s := range a.Stages {
		if s.Took < 0 || s.Count < 0 || s.Bytes < 0 || i > 0 && stageOrder[s.Name] <= stageOrder[a.Stages[i-1].Name] {
			t.Fatalf("attempt %s: stage %+v", a.ID, s)
		}
	}
	if a.At != "" && len(a.Stages) > 0 && !slices.ContainsFunc(a.Stages, func(s boot.Stage) bool { return s.Name == a.At }) {
		t.Fatalf("attempt %s stopped at %s, which was not seen", a.ID, a.At)
	}
	for i := range a.Events {
		if len(a.Events[i].File) > maxEventText || len(a.Events[i].Text) > maxEventText {
			t.Fatalf("attempt %s: long text", a.ID)
		}
	}
}

// attempts lists what was made of it, oldest first.
func (w *wire) attempts() []boot.Attempt {
	var out []boot.Attempt
	for _, t := range w.tr.newestFirst() {
		out = append(out, t.whole())
	}
	slices.Reverse(out)
	return out
}

// one is the only attempt there is.
func (w *wire) one() boot.Attempt {
	w.t.Helper()
	all := w.attempts()
	if len(all) != 1 {
		for _, a := range all {
			w.t.Logf("%s %s at %s, %v", a.MAC, a.State, a.At, a.Firmwares)
		}
		w.t.Fatalf("%d attempts, want one", len(all))
	}
	return all[0]
}

// pc is a machine as the box sees it.
type pc struct {
	w    *wire
	mac  boot.MAC
	guid boot.GUID
	addr netip.Addr
	arch boot.Arch
	fw   boot.Firmware
	xid  uint32
	form boot.Form
	// elsewhere: what its scripts boot comes from other servers.
	elsewhere bool
}

func guid(n byte) boot.GUID { return boot.GUID{0: 0x4c, 5: 0x11, 9: 0x80, 15: n} }

func (w *wire) pc(n byte, fw boot.Firmware) *pc {
	p := &pc{
		w: w, mac: boot.MACOf([]byte{0x52, 0x54, 0, 0, 0, n}), guid: guid(n), addr: netip.AddrFrom4([4]byte{192, 0, 2, n}),
		fw: fw, arch: boot.ArchUEFIx64, xid: uint32(n) << 16, form: boot.FormDirect,
	}
	switch fw {
	case boot.FirmwareBIOS, boot.FirmwareRPi:
		p.arch = boot.ArchBIOS
	case boot.FirmwareHTTP:
		p.arch = boot.ArchUEFIx64HTTP
	default:
	}
	return p
}

func (p *pc) class() string {
	if p.fw == boot.FirmwareHTTP {
		return "HTTPClient:Arch:00016:UNDI:003000"
	}
	return "PXEClient:Arch:00007:UNDI:003016"
}

// event is an event of this machine; TFTP and HTTP carry what the box knows of
// the address.
func (p *pc) event(k boot.Kind) boot.Event {
	return boot.Event{Kind: k, MAC: p.mac, GUID: p.guid, Arch: p.arch, ArchKnown: true, Interface: "eth0"}
}

func (p *pc) dhcp(k boot.Kind) boot.Event {
	e := p.event(k)
	e.XID, e.Firmware, e.Class = p.xid, p.fw, p.class()
	return e
}

// as goes on as another program of the same machine.
func (p *pc) as(fw boot.Firmware) *pc {
	p.fw = fw
	return p
}

// discover sends DISCOVERs that are answered, with pauses before the further
// ones.
func (p *pc) discover(pauses ...time.Duration) *pc {
	p.xid++
	for i := range len(pauses) + 1 {
		if i > 0 {
			p.w.wait(pauses[i-1])
		}
		e := p.dhcp(boot.KindOffer)
		e.Form, e.Duration = p.form, 300*time.Microsecond
		p.w.see(e)
	}
	return p
}

func (p *pc) silence(r boot.Reason) *pc {
	e := p.dhcp(boot.KindSilence)
	e.Reason = r
	p.w.see(e)
	return p
}

// system asks for an address as an operating system does.
func (p *pc) system() *pc {
	p.xid++
	p.w.see(boot.Event{Kind: boot.KindSilence, Reason: boot.ReasonClass, MAC: p.mac, XID: p.xid, Interface: "eth0"})
	return p
}

func (p *pc) lease() *pc {
	if p.fw == boot.FirmwareIPXE {
		p.w.wait(time.Second) // a boot offer is there, so it waits for none
	} else {
		p.w.wait(4 * time.Second)
	}
	e := p.dhcp(boot.KindLease)
	e.Addr, e.Text = p.addr, "from the DHCP server 192.0.2.1"
	p.w.see(e)
	return p
}

func (p *pc) ask() *pc {
	e := p.dhcp(boot.KindAck)
	e.XID++
	e.Addr = p.addr
	p.w.see(e)
	return p
}

func (p *pc) tftp(name string, size int64) *pc { return p.tftpEnd(name, size, size, boot.ReasonNone) }

func (p *pc) tftpEnd(name string, bytes, size int64, r boot.Reason) *pc {
	p.w.wait(time.Second)
	e := p.event(boot.KindTFTP)
	e.Addr, e.File, e.Bytes, e.Total, e.Block, e.Acked, e.Duration, e.Reason = p.addr, name, bytes, size, 1468, bytes > 0, time.Second, r
	p.w.see(e)
	return p
}

func (p *pc) probe(name string) *pc {
	e := p.event(boot.KindProbe)
	e.Addr, e.File = p.addr, name
	p.w.see(e)
	return p
}

func (p *pc) http(name string, size int64) *pc { return p.httpEnd(name, size, size, boot.ReasonNone) }

func (p *pc) httpEnd(name string, bytes, size int64, r boot.Reason) *pc {
	p.w.wait(2 * time.Second)
	e := p.event(boot.KindHTTP)
	e.Addr, e.File, e.Bytes, e.Total, e.Duration, e.Reason = p.addr, name, bytes, size, 2*time.Second, r
	p.w.see(e)
	return p
}

func (p *pc) progress(name string, bytes, total int64) *pc {
	p.w.wait(2 * time.Second)
	e := p.event(boot.KindProgress)
	e.Addr, e.File, e.Bytes, e.Total = p.addr, name, bytes, total
	p.w.see(e)
	return p
}

func (p *pc) script(name, text string) *pc { return p.scriptReason(name, text, boot.ReasonNone) }

func (p *pc) scriptReason(name, text string, r boot.Reason) *pc {
	p.w.wait(100 * time.Millisecond)
	e := p.event(boot.KindScript)
	e.Addr, e.File, e.Text, e.Bytes, e.Reason = p.addr, name, text, 700, r
	e.Action, e.Profile = told(text)
	e.Elsewhere = p.elsewhere && e.Action != ""
	p.w.see(e)
	return p
}

// told is what the events of the box hold beside a text.
func told(text string) (boot.Action, string) {
	for _, a := range []boot.Action{boot.ActionBoot, boot.ActionArmed, boot.ActionMenu, boot.ActionLocal} {
		if _, rest, ok := strings.Cut(": "+text, ": "+string(a)+" "); ok {
			profile, _, _ := strings.Cut(rest, "(")
			return a, strings.TrimSpace(profile)
		}
	}
	return "", ""
}

func (p *pc) callback(text string, r boot.Reason) *pc {
	e := p.event(boot.KindCallback)
	e.Addr, e.Text, e.Reason = p.addr, "pc: debian "+text, r
	p.w.see(e)
	return p
}

// loader is the way of UEFI or BIOS to a running iPXE that has its own script,
// with its own address exchange or without.
func (p *pc) loader(name string) *pc {
	p.discover().lease().probe(name).tftp(name, 280<<10)
	p.w.wait(4 * time.Second)
	return p.as(boot.FirmwareIPXE).discover().lease()
}

func (p *pc) booting(text string) *pc {
	return p.script("/b", "").script("/s", "QEMU Standard PC 2048 MiB efi x86_64 iPXE 2.0.0+"+text)
}

const (
	decidedBoot  = ": boot debian (machine)"
	decidedArmed = ": armed debian (machine)"
	decidedMenu  = ": menu (rule)"
	decidedLocal = ": local (default)"
)

func stageNames(a boot.Attempt) string {
	var out []string
	for _, s := range a.Stages {
		out = append(out, string(s.Name))
	}
	return strings.Join(out, " ")
}

// healthyFlows are boots that went well, of every kind of client.
var healthyFlows = []struct {
	name   string
	play   func(w *wire)
	state  boot.AttemptState
	at     boot.StageName
	stages string
	speaks []boot.Firmware
}{
	{"UEFI, iPXE, installer that reports", func(w *wire) {
		p := w.pc(1, boot.FirmwareUEFI).loader("x86_64/snponly.efi").booting(decidedArmed).script("/x/…", "boot debian (machine)")
		p.progress("/trees/d/linux", 1<<20, 8<<20).http("/trees/d/linux", 8<<20).progress("/trees/d/initrd.gz", 0, 30<<20).http("/trees/d/initrd.gz", 30<<20)
		w.wait(20 * time.Second)
		p.system()
		w.wait(20 * time.Second)
		p.http("/a/…/preseed.cfg", 3000).callback("has started", boot.ReasonNone)
		w.wait(20 * time.Minute)
		p.callback("goes on: base", boot.ReasonNone)
		w.wait(20 * time.Minute)
		p.callback("is done", boot.ReasonNone)
	}, boot.AttemptBooted, boot.StageSystem, "discover offer lease probe loader autoexec script kernel files answer installer system", []boot.Firmware{boot.FirmwareUEFI, boot.FirmwareIPXE}},
	{"UEFI two-step", func(w *wire) {
		p := w.pc(1, boot.FirmwareUEFI)
		p.form = boot.FormTwoStep
		p.discover(4*time.Second).lease().ask().probe("x86_64/snponly.efi").tftp("x86_64/snponly.efi", 280<<10)
		w.wait(5 * time.Second)
		p.as(boot.FirmwareIPXE).discover(time.Second, 2*time.Second).lease().booting(decidedBoot).http("/files/vmlinuz", 8<<20).http("/files/initrd", 30<<20)
		w.wait(20 * time.Second)
		p.system()
	}, boot.AttemptBooted, boot.StageSystem, "discover offer lease ask probe loader autoexec script kernel files system", []boot.Firmware{boot.FirmwareUEFI, boot.FirmwareIPXE}},
	{"BIOS", func(w *wire) {
		p := w.pc(1, boot.FirmwareBIOS).loader("undionly.kpxe").booting(decidedBoot).http("/files/vmlinuz", 8<<20).http("/files/initrd", 30<<20)
		w.wait(10 * time.Second)
		p.system()
	}, boot.AttemptBooted, boot.StageSystem, "discover offer lease probe loader autoexec script kernel files system", []boot.Firmware{boot.FirmwareBIOS, boot.FirmwareIPXE}},
	{"iPXE that goes on with the firmware's address", func(w *wire) {
		p := w.pc(1, boot.FirmwareUEFI).discover().lease().tftp("x86_64/snponly.efi", 280<<10)
		w.wait(4 * time.Second)
		p.script("x86_64/autoexec.ipxe", "").tftp("x86_64/autoexec.ipxe", 700)
		p.script("/s", decidedBoot).http("/files/vmlinuz", 8<<20)
		w.wait(5 * time.Minute)
	}, boot.AttemptBooted, boot.StageKernel, "discover offer lease loader autoexec script kernel", []boot.Firmware{boot.FirmwareUEFI, boot.FirmwareIPXE}},
	{"chained to another server", func(w *wire) {
		p := w.pc(1, boot.FirmwareUEFI).loader("x86_64/snponly.efi")
		p.elsewhere = true
		p.booting(": boot far (machine)")
		w.wait(2 * time.Minute)
	}, boot.AttemptBooted, boot.StageScript, "discover offer lease probe loader autoexec script", []boot.Firmware{boot.FirmwareUEFI, boot.FirmwareIPXE}},
	{"a disk on the network", func(w *wire) {
		p := w.pc(1, boot.FirmwareIPXE).discover().lease()
		p.elsewhere = true
		p.booting(": boot iscsi (machine)")
		w.wait(20 * time.Second)
		p.system()
	}, boot.AttemptBooted, boot.StageSystem, "discover offer lease autoexec script system", []boot.Firmware{boot.FirmwareIPXE}},
	{"HTTP Boot", func(w *wire) {
		p := w.pc(1, boot.FirmwareHTTP)
		p.form = boot.FormHTTP
		p.discover().lease().httpEnd("/x86_64/snponly.efi", 0, 0, boot.ReasonNone).http("/x86_64/snponly.efi", 280<<10)
		w.wait(4 * time.Second)
		p.as(boot.FirmwareIPXE).discover().lease().booting(decidedBoot).http("/files/vmlinuz", 8<<20)
		w.wait(10 * time.Second)
		p.system()
	}, boot.AttemptBooted, boot.StageSystem, "discover offer lease loader autoexec script kernel system", []boot.Firmware{boot.FirmwareHTTP, boot.FirmwareIPXE}},
	{"iPXE in the card, chained into ours", func(w *wire) {
		p := w.pc(1, boot.FirmwareIPXE).discover(time.Second).lease().tftp("undionly.kpxe", 90<<10)
		w.wait(2 * time.Second)
		p.discover().lease().booting(decidedBoot).http("/files/vmlinuz", 8<<20)
		w.wait(10 * time.Second)
		p.system()
	}, boot.AttemptBooted, boot.StageSystem, "discover offer lease loader autoexec script kernel system", []boot.Firmware{boot.FirmwareIPXE}},
	{"Raspberry Pi", func(w *wire) {
		p := w.pc(1, boot.FirmwareRPi).discover(4 * time.Second)
		for _, f := range []string{"config.txt", "start4.elf", "fixup4.dat", "cmdline.txt", "bcm2711-rpi-4-b.dtb", "kernel8.img", "initramfs"} {
			p.tftpEnd("abcd1234/"+f, 0, 0, boot.ReasonNotFound).tftp(f, 1<<20)
		}
		p.tftpEnd("abcd1234/armstub8.bin", 0, 0, boot.ReasonNotFound)
		w.wait(2 * time.Minute)
	}, boot.AttemptBooted, boot.StageFiles, "discover offer loader kernel files", []boot.Firmware{boot.FirmwareRPi}},
	{"pxelinux", func(w *wire) {
		p := w.pc(1, boot.FirmwareBIOS).discover().lease().tftp("trees/d/pxelinux.0", 42<<10).tftp("trees/d/ldlinux.c32", 118<<10)
		for _, f := range []string{"4c000000-0011-0000-0080-000000000001", "01-52-54-00-00-00-01", "C0000201", "C000020"} {
			p.tftpEnd("trees/d/pxelinux.cfg/"+f, 0, 0, boot.ReasonNotFound)
		}
		p.script("trees/d/pxelinux.cfg/default", "boot debian (machine)").tftp("trees/d/pxelinux.cfg/default", 300)
		p.tftp("trees/d/linux", 8<<20).tftp("trees/d/initrd.gz", 30<<20)
		w.wait(10 * time.Second)
		p.system()
	}, boot.AttemptBooted, boot.StageSystem, "discover offer lease loader script kernel files system", []boot.Firmware{boot.FirmwareBIOS}},
	{"shim and GRUB", func(w *wire) {
		p := w.pc(1, boot.FirmwareUEFI).discover().lease().probe("shimx64.efi").tftp("shimx64.efi", 900<<10)
		p.tftpEnd("revocations.efi", 0, 0, boot.ReasonNotFound).tftp("grubx64.efi", 2<<20)
		p.tftpEnd("grub/x86_64-efi/command.lst", 0, 0, boot.ReasonNotFound)
		p.script("grub/grub.cfg-01-52-54-00-00-00-01", "boot debian (machine)").tftp("grub/grub.cfg-01-52-54-00-00-00-01", 300)
		p.tftp("trees/d/linux", 8<<20).tftp("trees/d/initrd.gz", 30<<20)
		w.wait(10 * time.Second)
		p.system()
	}, boot.AttemptBooted, boot.StageSystem, "discover offer lease probe loader script kernel files system", []boot.Firmware{boot.FirmwareUEFI}},
	{"memtest", func(w *wire) {
		p := w.pc(1, boot.FirmwareUEFI).loader("x86_64/snponly.efi").booting(decidedMenu).script("/m/…/2", "boot memtest (machine)")
		p.http("/memtest/memtest64.efi", 500<<10)
		w.wait(5 * time.Minute)
	}, boot.AttemptBooted, boot.StageKernel, "discover offer lease probe loader autoexec script menu kernel", []boot.Firmware{boot.FirmwareUEFI, boot.FirmwareIPXE}},
	{"local disk as decided", func(w *wire) {
		p := w.pc(1, boot.FirmwareUEFI).loader("x86_64/snponly.efi").booting(decidedLocal).script("/left", "continuing to the local disk, as decided")
		w.wait(30 * time.Second)
		p.system()
	}, boot.AttemptLocal, boot.StageScript, "discover offer lease probe loader autoexec script system", []boot.Firmware{boot.FirmwareUEFI, boot.FirmwareIPXE}},
	{"local disk by time-out of the menu", func(w *wire) {
		p := w.pc(1, boot.FirmwareBIOS).loader("undionly.kpxe").booting("")
		w.wait(30 * time.Second)
		p.script("/left", "continuing to the local disk: chosen in the menu, or its time-out")
		w.wait(time.Minute)
	}, boot.AttemptLocal, boot.StageScript, "discover offer lease probe loader autoexec script", []boot.Firmware{boot.FirmwareBIOS, boot.FirmwareIPXE}},
	{"local disk, and the last word is lost", func(w *wire) {
		w.pc(1, boot.FirmwareBIOS).loader("undionly.kpxe").booting(decidedLocal)
		w.wait(time.Minute)
	}, boot.AttemptLocal, boot.StageScript, "discover offer lease probe loader autoexec script", []boot.Firmware{boot.FirmwareBIOS, boot.FirmwareIPXE}},
	{"a program that ends", func(w *wire) {
		p := w.pc(1, boot.FirmwareUEFI).loader("x86_64/snponly.efi").booting(decidedBoot).http("/files/tool.efi", 1<<20)
		w.wait(30 * time.Second)
		p.script("/left", "the program has ended, continuing to the local disk")
	}, boot.AttemptBooted, boot.StageKernel, "discover offer lease probe loader autoexec script kernel", []boot.Firmware{boot.FirmwareUEFI, boot.FirmwareIPXE}},
	{"denied", func(w *wire) {
		p := w.pc(1, boot.FirmwareUEFI)
		for _, d := range []time.Duration{4 * time.Second, 8 * time.Second, 16 * time.Second, 0} {
			p.silence(boot.ReasonDenied)
			w.wait(d)
		}
		w.wait(2 * time.Minute)
	}, boot.AttemptIgnored, boot.StageDiscover, "discover", []boot.Firmware{boot.FirmwareUEFI}},
	{"DISCOVER was not heard", func(w *wire) {
		w.pc(1, boot.FirmwareUEFI).tftp("x86_64/snponly.efi", 280<<10).booting(decidedBoot).http("/files/vmlinuz", 8<<20).system()
	}, boot.AttemptBooted, boot.StageSystem, "loader autoexec script kernel system", []boot.Firmware{boot.FirmwareIPXE}},
	{"PXE fails, then HTTP Boot, in one power-on", func(w *wire) {
		p := w.pc(1, boot.FirmwareUEFI).discover(4*time.Second, 8*time.Second, 16*time.Second)
		w.wait(85 * time.Second) // it listens, and tries IPv6
		p.as(boot.FirmwareHTTP).discover().lease().http("/x86_64/snponly.efi", 280<<10)
		w.wait(4 * time.Second)
		p.as(boot.FirmwareIPXE).discover().lease().booting(decidedBoot).http("/files/vmlinuz", 8<<20)
		w.wait(10 * time.Second)
		p.system()
	}, boot.AttemptBooted, boot.StageSystem, "discover offer lease loader autoexec script kernel system", []boot.Firmware{boot.FirmwareUEFI, boot.FirmwareHTTP, boot.FirmwareIPXE}},
	{"Secure Boot refuses, then another program", func(w *wire) {
		p := w.pc(1, boot.FirmwareUEFI).discover().lease().tftp("x86_64/snponly.efi", 280<<10)
		w.wait(10 * time.Second)
		p.as(boot.FirmwareHTTP).discover().lease().http("/shimx64.efi", 900<<10)
		w.wait(4 * time.Second)
		p.as(boot.FirmwareIPXE).discover().lease().booting(decidedBoot).http("/files/vmlinuz", 8<<20)
		w.wait(10 * time.Second)
		p.system()
	}, boot.AttemptBooted, boot.StageSystem, "discover offer lease loader autoexec script kernel system", []boot.Firmware{boot.FirmwareUEFI, boot.FirmwareHTTP, boot.FirmwareIPXE}},
	{"first card without a network, then the second", func(w *wire) {
		p := w.pc(1, boot.FirmwareUEFI).discover(4*time.Second, 8*time.Second, 16*time.Second)
		w.wait(33 * time.Second)
		p.mac = "52:54:00:00:01:01"
		p.loader("x86_64/snponly.efi").booting(decidedBoot).http("/files/vmlinuz", 8<<20)
		w.wait(10 * time.Second)
		p.system()
	}, boot.AttemptBooted, boot.StageSystem, "discover offer lease probe loader autoexec script kernel system", []boot.Firmware{boot.FirmwareUEFI, boot.FirmwareIPXE}},
	{"spanning tree: iPXE is heard late", func(w *wire) {
		p := w.pc(1, boot.FirmwareUEFI).discover().lease().tftp("x86_64/snponly.efi", 280<<10)
		w.wait(70 * time.Second)
		p.as(boot.FirmwareIPXE).discover().lease().booting(decidedBoot).http("/files/vmlinuz", 8<<20)
		w.wait(10 * time.Second)
		p.system()
	}, boot.AttemptBooted, boot.StageSystem, "discover offer lease loader autoexec script kernel system", []boot.Firmware{boot.FirmwareUEFI, boot.FirmwareIPXE}},
}

// TestHealthyFlows plays every kind of client from its first packet to a boot
// that went well: one attempt, and no other state than booted or local.
func TestHealthyFlows(t *testing.T) {
	for _, c := range healthyFlows {
		t.Run(c.name, func(t *testing.T) {
			w := newWire(t)
			c.play(w)
			w.wait(time.Second)
			a := w.one()
			if a.State != c.state || a.At != c.at || a.End.IsZero() {
				t.Errorf("%s at %s, ended %s; want %s at %s", a.State, a.At, a.End, c.state, c.at)
			}
			if got := stageNames(a); got != c.stages {
				t.Errorf("stages %q, want %q", got, c.stages)
			}
			if !slices.Equal(a.Firmwares, c.speaks) {
				t.Errorf("firmwares %v, want %v", a.Firmwares, c.speaks)
			}
			for _, s := range a.Stages {
				if s.Reason != boot.ReasonNone && c.state != boot.AttemptIgnored {
					t.Errorf("stage %s has reason %s", s.Name, s.Reason)
				}
			}
			if a.MAC != "52:54:00:00:00:01" || a.GUID != guid(1) {
				t.Errorf("MAC %s, GUID %s", a.MAC, a.GUID)
			}
			if !a.Start.Before(a.Last) || a.Took != a.Last.Sub(a.Start) {
				t.Errorf("start %s, last %s, took %s", a.Start, a.Last, a.Took)
			}
		})
	}
}

// badFlows are boots that stop, each at its place.
var badFlows = []struct {
	name   string
	play   func(w *wire)
	quiet  time.Duration // a verdict is not there before
	wait   time.Duration
	state  boot.AttemptState
	at     boot.StageName
	reason boot.Reason // of that stage
}{
	{"offer not followed", func(w *wire) { w.pc(1, boot.FirmwareUEFI).discover(4*time.Second, 8*time.Second, 16*time.Second) }, 80 * time.Second, 20 * time.Second, boot.AttemptStalled, boot.StageOffer, ""},
	{"address, and no more", func(w *wire) { w.pc(1, boot.FirmwareBIOS).discover().lease() }, 80 * time.Second, 20 * time.Second, boot.AttemptStalled, boot.StageLease, ""},
	{"asked on 4011, and no more", func(w *wire) { w.pc(1, boot.FirmwareUEFI).discover().lease().ask() }, 50 * time.Second, 20 * time.Second, boot.AttemptStalled, boot.StageAsk, ""},
	{"probe, and no more", func(w *wire) { w.pc(1, boot.FirmwareUEFI).discover().lease().probe("x") }, 50 * time.Second, 20 * time.Second, boot.AttemptStalled, boot.StageProbe, ""},
	{"no program for it", func(w *wire) { w.pc(1, boot.FirmwareUEFI).silence(boot.ReasonNoLoader) }, 80 * time.Second, 20 * time.Second, boot.AttemptFailed, boot.StageDiscover, boot.ReasonNoLoader},
	{"loader is missing", func(w *wire) {
		w.pc(1, boot.FirmwareBIOS).discover().lease().tftpEnd("undionly.kpxe", 0, 0, boot.ReasonNotFound)
	}, 50 * time.Second, 20 * time.Second, boot.AttemptFailed, boot.StageLoader, boot.ReasonNotFound},
	{"transfer stands still", func(w *wire) {
		w.pc(1, boot.FirmwareUEFI).discover().lease().probe("snponly.efi").tftpEnd("snponly.efi", 0, 280<<10, boot.ReasonClientSilent)
	}, 20 * time.Second, 50 * time.Second, boot.AttemptStalled, boot.StageLoader, boot.ReasonClientSilent},
	{"transfer is told of, and then nothing", func(w *wire) {
		w.pc(1, boot.FirmwareUEFI).discover().lease().progress("snponly.efi", 1000, 280<<10)
	}, 110 * time.Second, 20 * time.Second, boot.AttemptStalled, boot.StageLoader, ""},
	{"loader fetched, then silence", func(w *wire) { w.pc(1, boot.FirmwareUEFI).discover().lease().tftp("snponly.efi", 280<<10) }, 40 * time.Second, 10 * time.Second, boot.AttemptStalled, boot.StageLoader, ""},
	{"iPXE runs, and fetches no script", func(w *wire) { w.pc(1, boot.FirmwareUEFI).loader("snponly.efi") }, 50 * time.Second, 20 * time.Second, boot.AttemptStalled, boot.StageLoader, ""},
	{"boot script, and no more", func(w *wire) { w.pc(1, boot.FirmwareUEFI).loader("snponly.efi").script("/b", "") }, 50 * time.Second, 20 * time.Second, boot.AttemptStalled, boot.StageAutoexec, ""},
	{"script, and no kernel", func(w *wire) { w.pc(1, boot.FirmwareUEFI).loader("snponly.efi").booting(decidedBoot) }, 80 * time.Second, 20 * time.Second, boot.AttemptStalled, boot.StageScript, ""},
	{"script, no kernel, and the system on the disk speaks", func(w *wire) {
		p := w.pc(1, boot.FirmwareUEFI).loader("snponly.efi").booting(decidedBoot)
		w.wait(40 * time.Second)
		p.system()
		w.see(boot.Event{Kind: boot.KindSyslog, Addr: p.addr, Text: "systemd: started"})
	}, 80 * time.Second, 20 * time.Second, boot.AttemptStalled, boot.StageScript, ""},
	{"menu that nobody leaves", func(w *wire) { w.pc(1, boot.FirmwareUEFI).loader("snponly.efi").booting(decidedMenu) }, time.Hour, 10 * time.Minute, boot.AttemptStalled, boot.StageScript, ""},
	{"kernel is missing", func(w *wire) {
		w.pc(1, boot.FirmwareUEFI).loader("snponly.efi").booting(decidedBoot).httpEnd("/files/vmlinuz", 30, 0, boot.ReasonNotFound)
	}, 50 * time.Second, 20 * time.Second, boot.AttemptFailed, boot.StageKernel, boot.ReasonNotFound},
	{"initial RAM disk breaks off", func(w *wire) {
		w.pc(1, boot.FirmwareUEFI).loader("snponly.efi").booting(decidedBoot).http("/files/vmlinuz", 8<<20).
			progress("/files/initrd", 1<<20, 30<<20).httpEnd("/files/initrd", 2<<20, 30<<20, boot.ReasonInterrupted)
	}, 50 * time.Second, 20 * time.Second, boot.AttemptFailed, boot.StageFiles, boot.ReasonInterrupted},
	{"initial RAM disk stands still", func(w *wire) {
		w.pc(1, boot.FirmwareUEFI).loader("snponly.efi").booting(decidedBoot).http("/files/vmlinuz", 8<<20).progress("/files/initrd", 1<<20, 30<<20)
	}, 110 * time.Second, 20 * time.Second, boot.AttemptStalled, boot.StageFiles, ""},
	{"a step failed, and the machine says so", func(w *wire) {
		w.pc(1, boot.FirmwareUEFI).loader("snponly.efi").booting(decidedBoot).http("/files/vmlinuz", 8<<20).
			scriptReason("/left", "a step failed on the machine, continuing to the local disk: boot", boot.ReasonFetchBroken)
	}, 0, time.Second, boot.AttemptFailed, boot.StageKernel, boot.ReasonFetchBroken},
	{"armed installation is never heard of", func(w *wire) {
		w.pc(1, boot.FirmwareUEFI).loader("snponly.efi").booting(decidedArmed).http("/files/vmlinuz", 8<<20).http("/files/initrd", 30<<20)
	}, 14 * time.Minute, 2 * time.Minute, boot.AttemptStalled, boot.StageFiles, ""},
	{"installer fails", func(w *wire) {
		p := w.pc(1, boot.FirmwareUEFI).loader("snponly.efi").booting(decidedArmed).http("/files/vmlinuz", 8<<20)
		p.callback("has started", boot.ReasonNone)
		w.wait(time.Hour)
		p.callback("has failed: no disk", boot.ReasonAssignFailed)
	}, 0, time.Second, boot.AttemptFailed, boot.StageInstaller, boot.ReasonAssignFailed},
	{"installer falls silent", func(w *wire) {
		w.pc(1, boot.FirmwareUEFI).loader("snponly.efi").booting(decidedArmed).http("/files/vmlinuz", 8<<20).callback("has started", boot.ReasonNone)
	}, 5 * time.Hour, 61 * time.Minute, boot.AttemptStalled, boot.StageInstaller, ""},
	{"installer starts, and the firmware comes back soon", func(w *wire) {
		p := w.pc(1, boot.FirmwareUEFI).loader("snponly.efi").booting(decidedArmed).http("/files/vmlinuz", 8<<20).http("/files/initrd", 8<<20)
		w.wait(20 * time.Second)
		p.callback("has started", boot.ReasonNone)
		w.wait(90 * time.Second)
		p.as(boot.FirmwareUEFI).discover()
	}, 0, 0, boot.AttemptStalled, boot.StageInstaller, ""},
	{"kernel is fetched, and the firmware comes back", func(w *wire) {
		p := w.pc(1, boot.FirmwareUEFI).loader("snponly.efi").booting(decidedBoot).http("/files/vmlinuz", 8<<20)
		w.wait(40 * time.Second)
		p.as(boot.FirmwareUEFI).discover()
	}, 0, 0, boot.AttemptStalled, boot.StageKernel, ""},
}

// TestBadFlows plays boots that stop, each at its place.
func TestBadFlows(t *testing.T) {
	for _, c := range badFlows {
		t.Run(c.name, func(t *testing.T) {
			w := newWire(t)
			c.play(w)
			if c.quiet > 0 {
				w.wait(c.quiet)
				if a := w.attempts()[0]; !a.End.IsZero() {
					t.Fatalf("%s at %s already", a.State, a.At)
				}
			}
			w.wait(c.wait)
			a := w.attempts()[0]
			if a.State != c.state || a.At != c.at || a.End.IsZero() {
				t.Errorf("%s at %s, ended %s; want %s at %s", a.State, a.At, a.End, c.state, c.at)
			}
			if r := a.Stage(c.at).Reason; r != c.reason {
				t.Errorf("reason %q, want %q", r, c.reason)
			}
		})
	}
}

// TestSameOrNext: what is one boot, and what is the next.
func TestSameOrNext(t *testing.T) {
	tests := []struct {
		name string
		play func(w *wire)
		want string // states, oldest first; + stands for "tried again", / for another machine's
	}{
		{"an operating system alone", func(w *wire) { w.pc(1, "").system() }, ""},
		{"boot manager that loops on one card", func(w *wire) {
			p := w.pc(1, boot.FirmwareUEFI)
			for range 3 {
				p.discover(4*time.Second, 8*time.Second, 16*time.Second)
				w.wait(40 * time.Second)
			}
		}, "stalled stalled+ running+"},
		{"boot manager that goes round two cards", func(w *wire) {
			p := w.pc(1, boot.FirmwareUEFI)
			other := *p
			other.mac = "52:54:00:00:01:01"
			for range 2 {
				p.discover(4*time.Second, 8*time.Second)
				w.wait(30 * time.Second)
				other.discover(4*time.Second, 8*time.Second)
				w.wait(30 * time.Second)
			}
		}, "stalled running+"},
		{"the same offer fails, the firmware begins again", func(w *wire) {
			p := w.pc(1, boot.FirmwareBIOS).discover().lease().tftpEnd("undionly.kpxe", 0, 0, boot.ReasonNotFound)
			w.wait(5 * time.Second)
			p.discover()
		}, "failed running+"},
		{"installer is done, and the machine starts again", func(w *wire) {
			p := w.pc(1, boot.FirmwareUEFI).loader("snponly.efi").booting(decidedArmed).http("/files/vmlinuz", 8<<20).callback("has started", boot.ReasonNone)
			w.wait(20 * time.Minute)
			p.callback("is done", boot.ReasonNone)
			w.wait(30 * time.Second)
			p.as(boot.FirmwareUEFI).loader("snponly.efi").booting(decidedLocal).script("/left", "continuing to the local disk, as decided")
		}, "booted local+"},
		{"installer whose last word is lost", func(w *wire) {
			p := w.pc(1, boot.FirmwareUEFI).loader("snponly.efi").booting(decidedArmed).http("/files/vmlinuz", 8<<20).callback("has started", boot.ReasonNone)
			w.wait(20 * time.Minute)
			p.as(boot.FirmwareUEFI).discover()
		}, "booted running"},
		{"reset in the menu", func(w *wire) {
			p := w.pc(1, boot.FirmwareUEFI).loader("snponly.efi").booting(decidedMenu)
			w.wait(20 * time.Second)
			p.as(boot.FirmwareUEFI).discover()
		}, "local running+"},
		{"iPXE in the card that begins again and again", func(w *wire) {
			p := w.pc(1, boot.FirmwareIPXE)
			for range 20 {
				p.discover().lease()
				w.wait(10 * time.Second)
			}
		}, "stalled stalled+ running+"},
		{"iPXE in the card, script, reset", func(w *wire) {
			p := w.pc(1, boot.FirmwareIPXE).discover().lease().booting(decidedBoot)
			w.wait(10 * time.Second)
			p.discover()
		}, "stalled running+"},
		{"next day", func(w *wire) {
			p := w.pc(1, boot.FirmwareUEFI).loader("snponly.efi").booting(decidedLocal)
			w.wait(24 * time.Hour)
			p.as(boot.FirmwareUEFI).discover()
		}, "local running"},
		{"a DISCOVER is repeated within the round under another transaction", func(w *wire) {
			p := w.pc(1, boot.FirmwareBIOS).discover()
			w.wait(4 * time.Second)
			p.discover()
			w.wait(8 * time.Second)
			p.discover()
		}, "running"},
		{"the card was moved to another machine", func(w *wire) {
			p := w.pc(1, boot.FirmwareUEFI).discover()
			w.wait(20 * time.Second)
			p.guid = guid(77)
			p.discover()
		}, "stalled running/"},
		{"ROM with another identifier than the SMBIOS one of iPXE", func(w *wire) {
			p := w.pc(1, boot.FirmwareBIOS).discover().lease().tftp("undionly.kpxe", 90<<10)
			w.wait(3 * time.Second)
			p.guid = guid(77)
			p.as(boot.FirmwareIPXE).discover().lease().booting(decidedBoot)
		}, "running"},
		{"routed client, every boot begins with its transfer", func(w *wire) {
			p := w.pc(1, boot.FirmwareUEFI)
			p.mac = ""
			for range 2 {
				p.tftp("snponly.efi", 280<<10).tftp("files/vmlinuz", 8<<20)
				w.wait(time.Hour)
			}
		}, "booted booted"},
	}
	for _, c := range tests {
		t.Run(c.name, func(t *testing.T) {
			w := newWire(t)
			c.play(w)
			var got []string
			all := w.attempts()
			for i, a := range all {
				s := string(a.State)
				if a.Again {
					s += "+"
				}
				switch {
				case i > 0 && a.Before == "":
					s += "/"
				case i > 0 && a.Before != all[i-1].ID:
					t.Errorf("attempt %d does not name the one before", i)
				}
				got = append(got, s)
			}
			if s := strings.Join(got, " "); s != c.want {
				t.Errorf("%q, want %q", s, c.want)
			}
		})
	}
}

// stage is a stage of the only attempt there is.
func (w *wire) stage(n boot.StageName) boot.Stage {
	w.t.Helper()
	a := w.one()
	return a.Stage(n)
}
