package journal

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// TestTwoMachinesWithOneIdentifier: makers leave the same identifier in their
// boards. Two of them that boot at once are two attempts, however their packets
// are mixed.
func TestTwoMachinesWithOneIdentifier(t *testing.T) {
	play := map[string]func(a, b *pc, w *wire){
		"DISCOVERs in turn": func(a, b *pc, w *wire) {
			a.discover()
			b.discover()
			for range 2 {
				w.wait(4 * time.Second)
				a.w.see(a.dhcp(boot.KindOffer))
				w.wait(300 * time.Millisecond)
				b.w.see(b.dhcp(boot.KindOffer))
			}
			a.lease().tftp("snponly.efi", 280<<10)
			b.lease().tftp("snponly.efi", 280<<10)
		},
		"one comes while the other fetches": func(a, b *pc, w *wire) {
			a.discover().lease().progress("snponly.efi", 1000, 280<<10)
			b.discover()
			a.tftp("snponly.efi", 280<<10)
			b.lease().tftp("snponly.efi", 280<<10)
		},
		"one comes while the other pauses": func(a, b *pc, w *wire) {
			a.discover().lease()
			w.wait(10 * time.Second)
			b.discover()
			w.wait(2 * time.Second)
			a.tftp("snponly.efi", 280<<10)
			b.lease().tftp("snponly.efi", 280<<10)
		},
		"the one that was first comes back": func(a, b *pc, w *wire) {
			a.discover()
			w.wait(time.Second)
			b.discover().lease()
			a.w.see(a.dhcp(boot.KindOffer))
			a.lease().tftp("snponly.efi", 280<<10)
			b.tftp("snponly.efi", 280<<10)
		},
	}
	for name, play := range play {
		t.Run(name, func(t *testing.T) {
			w := newWire(t)
			a, b := w.pc(1, boot.FirmwareUEFI), w.pc(2, boot.FirmwareUEFI)
			b.guid = a.guid
			play(a, b, w)
			all := w.attempts()
			if len(all) != 2 {
				t.Fatalf("%d attempts, want 2", len(all))
			}
			for i, p := range []*pc{a, b} {
				j := slices.IndexFunc(all, func(x boot.Attempt) bool { return x.MAC == p.mac })
				if j < 0 {
					t.Fatalf("no attempt of %s", p.mac)
				}
				x := all[j]
				if len(x.MACs) != 0 || x.Addr != p.addr || !x.Reached(boot.StageOffer) || !x.Stage(boot.StageLoader).Done {
					t.Errorf("machine %d: MACs %v, address %s, stages %s", i, x.MACs, x.Addr, stageNames(x))
				}
				if slices.ContainsFunc(x.Events, func(e boot.Event) bool { return e.MAC != p.mac }) {
					t.Errorf("machine %d has events of the other", i)
				}
			}
			// From now on the identifier joins nothing.
			c := w.pc(3, boot.FirmwareUEFI)
			c.guid = a.guid
			w.wait(30 * time.Second)
			if c.discover(); len(w.attempts()) != 3 {
				t.Error("a third machine was joined to one of them")
			}
		})
	}
}

// TestAddressOutweighsClaim: a request by HTTP may name any machine. It goes to
// the one whose address it came from.
func TestAddressOutweighsClaim(t *testing.T) {
	w := newWire(t)
	a, b := w.pc(1, boot.FirmwareUEFI).discover().lease(), w.pc(2, boot.FirmwareUEFI).discover().lease()
	b.tftp("snponly.efi", 280<<10)
	e := b.event(boot.KindScript)
	e.MAC, e.GUID, e.Addr, e.File, e.Text = a.mac, a.guid, b.addr, "/s", decidedBoot
	w.see(e)
	for _, x := range w.attempts() {
		if got := x.Reached(boot.StageScript); got != (x.MAC == b.mac) {
			t.Errorf("%s: script %v", x.MAC, got)
		}
	}
}

// TestByAddress: what carries no hardware address goes by the network address.
func TestByAddress(t *testing.T) {
	w := newWire(t)
	p := w.pc(1, boot.FirmwareUEFI).loader("snponly.efi").booting(decidedBoot).http("/files/vmlinuz", 8<<20)
	w.see(boot.Event{Kind: boot.KindSyslog, Addr: p.addr, Text: "kernel: hello"})
	w.see(boot.Event{Kind: boot.KindSyslog, Addr: netip.MustParseAddr("192.0.2.200"), Text: "kernel: somebody else"})
	w.see(boot.Event{Kind: boot.KindHTTP, Addr: netip.MustParseAddr("192.0.2.201"), File: "/files/x", Bytes: 1})
	a := w.one()
	if a.State != boot.AttemptBooted || !a.Reached(boot.StageInstaller) {
		t.Errorf("%s, stages %s", a.State, stageNames(a))
	}
}

// TestForeign: what other servers say comes before or after our own event, and
// belongs to the transaction that it names.
func TestForeign(t *testing.T) {
	w := newWire(t)
	p := w.pc(1, boot.FirmwareUEFI)
	server := netip.MustParseAddr("192.0.2.1")
	say := func(kind string, xid uint32, file string) {
		w.see(boot.Event{Kind: boot.KindForeign, MAC: p.mac, XID: xid, Foreign: &boot.Foreign{
			Type: kind, Server: server, Port: 67, Your: p.addr, File: file, XID: xid,
		}})
	}
	say("offer", p.xid+1, "early") // before our own event of the same DISCOVER
	say("offer", 99, "of another transaction")
	p.discover()
	say("offer", p.xid, "late")
	say("offer", p.xid, "late") // once is enough
	p.lease()
	say("ack", p.xid, "")
	p.tftp("snponly.efi", 280<<10)
	w.wait(20 * time.Second)
	p.as(boot.FirmwareIPXE).discover().lease().booting(decidedLocal).script("/left", "continuing to the local disk, as decided")
	p.system()
	say("offer", p.xid, "to the operating system")
	a := w.one()
	var files []string
	for _, f := range a.Foreign {
		files = append(files, f.Type+" "+f.File)
	}
	if got := strings.Join(files, ", "); got != "offer early, offer late, ack " {
		t.Errorf("foreign %q", got)
	}
	for i := range max(len(a.Events)-1, 0) {
		if a.Events[i+1].Time.Before(a.Events[i].Time) {
			t.Errorf("event %d comes before the one that it follows", i+1)
		}
	}
	for n := range 1000 { // for machines that are none
		w.see(boot.Event{Kind: boot.KindForeign, MAC: mac(n), XID: 1, Foreign: &boot.Foreign{Type: "offer"}})
	}
	if len(w.tr.pending) > maxPending {
		t.Errorf("%d packets wait", len(w.tr.pending))
	}
	w.wait(pendingTime + 2*time.Second)
	if len(w.tr.pending) != 0 {
		t.Errorf("%d packets still wait", len(w.tr.pending))
	}
	if len(w.attempts()) != 1 {
		t.Error("other servers' packets began an attempt")
	}
}

func mac(n int) boot.MAC {
	return boot.MACOf([]byte{0x02, 0, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}

// TestFloodOfInventedMachines: 100,000 hardware addresses push out neither a
// machine's boot under way nor what is known of boots that failed, and take
// bounded memory.
func TestFloodOfInventedMachines(t *testing.T) {
	w := newWire(t)
	failed := w.pc(9, boot.FirmwareBIOS).discover().lease().tftpEnd("undionly.kpxe", 0, 280<<10, boot.ReasonClientAborted)
	failed.w.see(func() boot.Event {
		e := failed.event(boot.KindTFTP)
		e.Addr, e.File, e.Bytes, e.Acked, e.Reason = failed.addr, "undionly.kpxe", 4096, true, boot.ReasonClientAborted
		return e
	}())
	w.wait(2 * time.Minute)
	p := w.pc(1, boot.FirmwareUEFI).loader("snponly.efi").booting(decidedBoot)
	before := heap()
	for n := range 100_000 {
		w.now = w.now.Add(200 * time.Microsecond)
		e := boot.Event{
			Time: w.now, Kind: boot.KindOffer, MAC: mac(n), XID: uint32(n), Firmware: boot.FirmwareUEFI, Class: "PXEClient:Arch:00007:UNDI:003016",
			ArchKnown: true, Arch: boot.ArchUEFIx64, File: "x86_64/snponly.efi", GUID: boot.GUID{byte(n), byte(n >> 8), byte(n >> 16), 3: 1},
		}
		w.tr.observe(e)
		if n%1000 == 0 {
			w.tr.tick(w.now)
			w.check()
		}
		if n == 50_000 {
			p.progress("/files/vmlinuz", 1<<20, 8<<20)
		}
	}
	grown := heap() - before
	t.Logf("%d attempts, %d made way, %d kB more", len(w.tr.byID), w.tr.evicted, grown>>10)
	if grown > 8<<20 {
		t.Errorf("memory grew by %d kB", grown>>10)
	}
	p.http("/files/vmlinuz", 8<<20).system()
	w.wait(2 * time.Second)
	var seen []string
	for _, a := range w.attempts() {
		if a.MAC == p.mac || a.MAC == failed.mac {
			seen = append(seen, string(a.State)+" "+stageNames(a))
		}
	}
	want := "failed discover offer lease loader, booted discover offer lease probe loader autoexec script kernel system"
	if got := strings.Join(seen, ", "); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	w.wait(5 * time.Minute)
	w.check()
	if n := w.tr.active(); n != 0 {
		t.Errorf("%d attempts go on", n)
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestFloodOfDeepAttempts: machines that fetch and never end take bounded
// memory too, and those that were quiet longest make way.
func TestFloodOfDeepAttempts(t *testing.T) {
	w := newWire(t)
	before := heap()
	long := strings.Repeat("x", 1000)
	for n := range 3000 {
		for i := range 20 {
			w.now = w.now.Add(time.Millisecond)
			w.tr.observe(boot.Event{Time: w.now, Kind: boot.KindTFTP, MAC: mac(n), File: fmt.Sprint(i, long), Text: long, Bytes: 1, Total: 1})
		}
	}
	w.check()
	grown := heap() - before
	t.Logf("%d attempts cost %d kB by their own account, %d kB by the heap's", len(w.tr.byID), w.tr.cost>>10, grown>>10)
	if w.tr.cost > maxCost || grown > 20<<20 {
		t.Errorf("they take %d kB", grown>>10)
	}
	if w.tr.byMAC[mac(2999)] == nil {
		t.Error("the newest made way")
	}
}

// TestOneMachineTalksALot: however much a machine says, how its boot began stays,
// and so does what is not noise.
func TestOneMachineTalksALot(t *testing.T) {
	w := newWire(t)
	p := w.pc(1, boot.FirmwareUEFI).loader("snponly.efi").booting(decidedArmed).http("/files/vmlinuz", 8<<20)
	for i := range 5000 {
		w.now = w.now.Add(50 * time.Millisecond)
		w.tr.observe(boot.Event{Time: w.now, Kind: boot.KindSyslog, Addr: p.addr, Text: fmt.Sprint("line ", i)})
		w.tr.observe(boot.Event{Time: w.now, Kind: boot.KindProgress, Addr: p.addr, File: "/files/pool", Bytes: int64(i)})
		w.tr.observe(boot.Event{Time: w.now, Kind: boot.KindHTTP, Addr: p.addr, File: fmt.Sprint("/files/pool/", i), Bytes: 10})
	}
	w.check()
	a := w.one()
	if len(a.Events) != boot.MaxAttemptEvents || a.Omitted < 9000 {
		t.Errorf("%d events, %d omitted", len(a.Events), a.Omitted)
	}
	var lines, progress int
	for _, e := range a.Events {
		switch e.Kind {
		case boot.KindSyslog:
			lines++
		case boot.KindProgress:
			progress++
		default:
		}
	}
	if a.Events[0].Kind != boot.KindOffer || lines > maxNoise || progress > 1 {
		t.Errorf("first event %s, %d lines, %d of transfers under way", a.Events[0].Kind, lines, progress)
	}
	for _, k := range []boot.Kind{boot.KindOffer, boot.KindLease, boot.KindTFTP, boot.KindScript, boot.KindProbe} {
		if !slices.ContainsFunc(a.Events, func(e boot.Event) bool { return e.Kind == k }) {
			t.Errorf("nothing is left of %s", k)
		}
	}
	// The reverse: a flood of DISCOVERs from one machine.
	q := w.pc(2, boot.FirmwareBIOS).discover()
	for range 10_000 {
		w.tr.observe(func() boot.Event { e := q.dhcp(boot.KindOffer); e.Time = w.now; return e }())
	}
	q.lease().tftp("undionly.kpxe", 90<<10)
	w.check()
	b := w.tr.byMAC[q.mac].whole()
	if n := b.Stage(boot.StageDiscover).Count; n != 10_001 || len(b.Events) > maxNoise+4 {
		t.Errorf("%d DISCOVERs in %d events", n, len(b.Events))
	}
}

// TestOutOfOrder: the order in which the parts of the box tell of one moment
// says nothing.
func TestOutOfOrder(t *testing.T) {
	w := newWire(t)
	start := w.now
	p := w.pc(1, boot.FirmwareUEFI)
	at := func(ms int, e boot.Event) boot.Event {
		e.Time = start.Add(time.Duration(ms) * time.Millisecond)
		return e
	}
	lease, file := p.dhcp(boot.KindLease), p.event(boot.KindTFTP)
	lease.Addr, file.Addr = p.addr, p.addr
	file.File, file.Bytes, file.Total, file.Duration = "snponly.efi", 9, 9, 500*time.Millisecond
	for _, e := range []boot.Event{at(5000, file), at(4000, lease), at(4, p.dhcp(boot.KindOffer)), at(0, p.dhcp(boot.KindOffer))} {
		w.see(e)
	}
	a := w.one()
	if !a.Start.Equal(start) || a.Took != 5*time.Second || stageNames(a) != "discover offer lease loader" {
		t.Errorf("start %s, took %s, stages %s", a.Start, a.Took, stageNames(a))
	}
	if !slices.IsSortedFunc(a.Events, func(x, y boot.Event) int { return x.Time.Compare(y.Time) }) {
		t.Error("the events are not in order")
	}
	if s := a.Stage(boot.StageLoader); s.Took != 500*time.Millisecond || s.Bytes != 9 || s.Total != 9 {
		t.Errorf("loader %+v", s)
	}
}

// TestProgress: the bars of a page grow with a transfer and never beyond it.
func TestProgress(t *testing.T) {
	w := newWire(t)
	p := w.pc(1, boot.FirmwareUEFI).loader("snponly.efi").booting(decidedBoot)
	p.progress("/files/vmlinuz", 2<<20, 8<<20)
	if s := w.stage(boot.StageKernel); s.Bytes != 2<<20 || s.Total != 8<<20 || s.Done || s.Count != 1 {
		t.Errorf("under way: %+v", s)
	}
	p.http("/files/vmlinuz", 8<<20)
	if s := w.stage(boot.StageKernel); s.Bytes != 8<<20 || s.Total != 8<<20 || !s.Done || s.Count != 1 {
		t.Errorf("fetched: %+v", s)
	}
	p.http("/files/a", 1<<20).progress("/files/b", 1<<20, 3<<20)
	if s := w.stage(boot.StageFiles); s.Bytes != 2<<20 || s.Total != 4<<20 || s.Done || s.Count != 2 {
		t.Errorf("second of two files: %+v", s)
	}
	p.httpEnd("/files/b", 2<<20, 3<<20, boot.ReasonInterrupted)
	if s := w.stage(boot.StageFiles); s.Bytes != 3<<20 || s.Total != 4<<20 || s.Done || s.Reason != boot.ReasonInterrupted {
		t.Errorf("broken off: %+v", s)
	}
}

// TestShapes: shapes are listed once each, in order.
func TestShapes(t *testing.T) {
	w := newWire(t)
	p := w.pc(1, boot.FirmwareUEFI)
	for _, form := range []boot.Form{boot.FormDirect, boot.FormDirect, boot.FormTwoStep} {
		p.form = form
		p.xid--
		p.discover()
	}
	e := p.dhcp(boot.KindOffer)
	e.Form, e.Shape = boot.FormDirect, &boot.Shape{Form: boot.FormDirect, Delay: 300 * time.Millisecond}
	w.see(e)
	want := []boot.Shape{{Form: boot.FormDirect}, {Form: boot.FormTwoStep}, {Form: boot.FormDirect, Delay: 300 * time.Millisecond}}
	if got := w.one().Shapes; !slices.Equal(got, want) {
		t.Errorf("shapes %+v", got)
	}
}

// stepped is the same instant as read after the wall clock was set by d: the
// reading of the clock that does not jump stays. There is no other way to make
// such a time but to write into it, with the layout of package time.
func stepped(x time.Time, d time.Duration) time.Time {
	p := (*uint64)(unsafe.Pointer(&x))
	seconds := *p << 1 >> 31 // 33 bits, since 1885
	*p = *p&(1<<63|1<<30-1) | (seconds+uint64(int64(d/time.Second)))<<30&(1<<63-1)
	return x
}

// TestClockIsSet: a box without a clock begins in 1970 and is set by NTP in the
// middle of a boot. Durations never notice; the times shown are corrected when
// the tracker is told.
func TestClockIsSet(t *testing.T) {
	const jump = 56 * 365 * 24 * time.Hour
	real0 := time.Now()
	t0 := stepped(real0, -jump)
	if t0.Sub(real0) != 0 || t0.Round(0).Sub(real0.Round(0)) != -jump {
		t.Fatalf("the test's own clock does not work: %s, %s", t0, real0)
	}
	w := newWire(t)
	w.now = t0
	p := w.pc(1, boot.FirmwareUEFI).discover().lease().tftp("snponly.efi", 280<<10)
	if a := w.one(); a.Start.Year() > 1971 {
		t.Fatalf("start %s", a.Start)
	}
	w.now = stepped(w.now, jump) // NTP
	p.as(boot.FirmwareIPXE).discover().lease()
	a := w.one()
	if a.Took != 6*time.Second || a.State != boot.AttemptRunning {
		t.Errorf("took %s, %s: want 6 s", a.Took, a.State)
	}
	id := a.ID
	w.tr.stepped(w.now)
	w.wait(time.Second)
	a = w.one()
	if a.ID != id || a.Took != 6*time.Second || a.Last.Round(0).Sub(a.Start.Round(0)) != 6*time.Second || a.Start.Round(0).Sub(real0.Round(0)).Abs() > time.Second {
		t.Errorf("start %s, last %s, took %s", a.Start, a.Last, a.Took)
	}
	for _, s := range a.Stages {
		if s.First.Year() < 2000 || s.Last.Year() < 2000 || s.Took != s.Last.Round(0).Sub(s.First.Round(0)) {
			t.Errorf("stage %s from %s to %s", s.Name, s.First, s.Last)
		}
	}
	for _, e := range a.Events {
		if e.Time.Year() < 2000 {
			t.Errorf("event at %s", e.Time)
		}
	}
	// And back again: nothing is concluded early or late.
	w.now = stepped(w.now, -jump)
	w.wait(50 * time.Second)
	if a := w.one(); a.State != boot.AttemptRunning {
		t.Errorf("%s after the clock went back", a.State)
	}
	w.wait(20 * time.Second)
	if a := w.one(); a.State != boot.AttemptStalled {
		t.Errorf("%s long after the last packet", a.State)
	}
}

// TestRandomEvents: whatever comes in whatever order, the tracker keeps its
// bounds and its indices, and says so of every attempt.
func TestRandomEvents(t *testing.T) {
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 1))
		tr := newTracker(trackerConfig{seed: seed})
		now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
		for range 3000 {
			now = now.Add(time.Duration(r.Int64N(int64(3 * time.Second))))
			tr.observe(randomEvent(r, now))
			if r.IntN(4) == 0 {
				tr.tick(now)
			}
		}
		checkTracker(t, tr)
		now = now.Add(24 * time.Hour)
		tr.tick(now)
		if n := tr.active(); n != 0 {
			t.Errorf("seed %d: %d attempts go on after a day", seed, n)
		}
		checkTracker(t, tr)
	}
}

func randomEvent(r *rand.Rand, now time.Time) boot.Event {
	kinds := boot.Kinds()
	reasons := []boot.Reason{
		"", "", "", "", boot.ReasonDenied, boot.ReasonNoLoader, boot.ReasonClass, boot.ReasonNotFound, boot.ReasonClientSilent,
		boot.ReasonClientAborted, boot.ReasonInterrupted, boot.ReasonAssignFailed, boot.ReasonObserve,
	}
	files := []string{
		"", "/b", "/s", "/left", "snponly.efi", "undionly.kpxe", "/files/vmlinuz", "/files/initrd", "/a/…/preseed", "/cb/…/done", "/m/…/1",
		"/x/…", "pxelinux.cfg/default", "grub/grub.cfg", "kernel8.img", "start4.elf", "autoexec.ipxe", "…", "/../..", "\xff\x00", "tftp://h/x",
	}
	texts := []string{
		"", "x: boot debian (machine)", "armed debian (machine)", "menu (rule)", "local (default)", "a step failed", "the program has ended",
		"continuing", "pc: d is done", "pc: d has started", "through the relay 192.0.2.9", "x starts d (armed, boot 1)", "(", " (machine)",
	}
	firmwares := []boot.Firmware{"", boot.FirmwareBIOS, boot.FirmwareUEFI, boot.FirmwareHTTP, boot.FirmwareIPXE, boot.FirmwareRPi, boot.FirmwareUnknown}
	pick := func(n int) bool { return r.IntN(n) == 0 }
	e := boot.Event{
		Time: now.Add(-time.Duration(r.Int64N(int64(2 * time.Second)))), Kind: kinds[r.IntN(len(kinds))], Reason: reasons[r.IntN(len(reasons))],
		File: files[r.IntN(len(files))], Text: texts[r.IntN(len(texts))], Firmware: firmwares[r.IntN(len(firmwares))], XID: uint32(r.IntN(6)),
		Bytes: r.Int64N(100) - 5, Total: r.Int64N(100) - 5, Duration: time.Duration(r.Int64N(int64(5*time.Second))) - time.Second, Retries: r.IntN(5) - 1,
		Acked: pick(2), Arch: boot.Arch(r.IntN(60)), ArchKnown: pick(2),
	}
	if pick(3) {
		e.Action, e.Profile = told(e.Text)
	}
	n := r.IntN(12)
	if !pick(5) {
		e.MAC = mac(n)
	}
	if !pick(3) {
		e.Addr = netip.AddrFrom4([4]byte{192, 0, 2, byte(n)})
	}
	if pick(2) {
		e.GUID = guid(byte(n / 2)) // each of two machines
	}
	if pick(2) {
		e.Class = "PXEClient:Arch:00007"
	}
	if pick(3) {
		e.Time = e.Time.Add(time.Duration(r.Int64N(int64(time.Hour))) - 30*time.Minute)
	}
	if pick(20) {
		e.Time = time.Time{}
	}
	if e.Kind == boot.KindForeign && !pick(9) {
		e.Foreign = &boot.Foreign{Type: "offer", Port: 67, XID: e.XID, File: e.File}
	}
	if pick(5) {
		e.Shape = &boot.Shape{Block: r.IntN(3) * 512}
	}
	return e
}

// FuzzTracker turns octets into a sequence of events.
func FuzzTracker(f *testing.F) {
	f.Add([]byte("a boot of some kind"))
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 255, 254, 253})
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 2048 {
			return
		}
		tr := newTracker(trackerConfig{seed: 7})
		now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
		for i := 0; i+2 <= len(data); i += 2 {
			r := rand.New(rand.NewPCG(uint64(data[i]), uint64(data[i+1])))
			now = now.Add(time.Duration(data[i+1]) * 100 * time.Millisecond)
			tr.observe(randomEvent(r, now))
			if data[i]%8 == 0 {
				tr.tick(now)
			}
		}
		checkTracker(t, tr)
		tr.tick(now.Add(24 * time.Hour))
		checkTracker(t, tr)
		for _, x := range tr.newestFirst() {
			k := keptAttempt{Version: documentVersion, Seq: x.seq, Attempt: x.whole()}
			doc, err := k.document()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := readAttempt(string(x.a.ID), doc); err != nil {
				t.Fatalf("%v\n%s", err, doc)
			}
		}
	})
}

// TestDecided: what was decided is told beside the text, whatever that holds.
func TestDecided(t *testing.T) {
	script := func(a boot.Action, profile, text string) boot.Event {
		return boot.Event{Kind: boot.KindScript, File: "/s", Action: a, Profile: profile, Text: text}
	}
	decision := func(a boot.Action, profile string) boot.Event {
		return boot.Event{Kind: boot.KindDecision, Action: a, Profile: profile, Text: "pc"}
	}
	tests := []struct {
		name    string
		events  []boot.Event
		action  boot.Action
		profile string
		armed   bool
	}{
		{"note behind the decision", []boot.Event{script(boot.ActionBoot, "debian", "boot debian (machine); 3912 more requests of this client not listed")}, boot.ActionBoot, "debian", false},
		{"long text that is cut", []boot.Event{script(boot.ActionBoot, "debian", strings.Repeat("M", 400)+": boot debian (machine)")}, boot.ActionBoot, "debian", false},
		{"a text that looks like a decision", []boot.Event{script("", "", "pc: local (default)")}, boot.ActionMenu, "", false},
		{"decision alone", []boot.Event{decision(boot.ActionLocal, "")}, boot.ActionLocal, "", false},
		{"armed, then its code is taken", []boot.Event{script(boot.ActionArmed, "debian", ""), decision(boot.ActionArmed, "debian"), script(boot.ActionBoot, "debian", "")}, boot.ActionBoot, "debian", true},
		{"the start of an armed boot alone", []boot.Event{decision(boot.ActionArmed, "debian"), script(boot.ActionBoot, "debian", "")}, boot.ActionBoot, "debian", true},
		{"menu, then local", []boot.Event{script(boot.ActionMenu, "", ""), script(boot.ActionLocal, "", "")}, boot.ActionLocal, "", false},
	}
	for _, c := range tests {
		t.Run(c.name, func(t *testing.T) {
			w := newWire(t)
			p := w.pc(1, boot.FirmwareUEFI).loader("snponly.efi")
			for _, e := range c.events {
				e.MAC, e.Addr = p.mac, p.addr
				w.see(e)
			}
			if a := w.one(); a.Action != c.action || a.Profile != c.profile || a.Armed != c.armed {
				t.Errorf("action %q, profile %q, armed %v", a.Action, a.Profile, a.Armed)
			}
		})
	}
	// A boot that never fetched its kernel is none that was left to its disk.
	w := newWire(t)
	p := w.pc(1, boot.FirmwareUEFI).loader("snponly.efi")
	e := script(boot.ActionBoot, "debian", "boot debian (machine); 3912 more requests of this client not listed")
	e.MAC, e.Addr = p.mac, p.addr
	w.see(e)
	w.wait(10 * time.Minute)
	if a := w.one(); a.State != boot.AttemptStalled {
		t.Errorf("%s after ten minutes of silence", a.State)
	}
}

func TestGuess(t *testing.T) {
	tests := map[string]boot.StageName{
		"/b": boot.StageAutoexec, `\x86_64\AUTOEXEC.IPXE`: boot.StageAutoexec, "/s": boot.StageScript, "pxelinux/pxelinux.cfg/default": boot.StageScript,
		"grub/grub.cfg-01-52-54-00-12-34-56": boot.StageScript, "EFI/debian/grub.cfg": boot.StageAutoexec, "/m/…/3": boot.StageMenu, "/a/…/ks.cfg": boot.StageAnswer,
		"/cb/…/done": boot.StageInstaller, "tftp://192.0.2.1/undionly.kpxe": boot.StageLoader, "x86_64/snponly.efi": boot.StageLoader,
		"/shimx64.efi": boot.StageLoader, "grub/x86_64-efi/linux.mod": boot.StageLoader, "ldlinux.c32": boot.StageLoader,
		"/files/vmlinuz": boot.StageKernel, "/memtest/memtest64.efi": boot.StageKernel, "": "", "/": "", "/…": boot.StageKernel,
	}
	for name, want := range tests {
		if got := guess(fileName(name)); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
	local := func(name string) boot.StageName {
		if name == "/files/special" {
			return boot.StageLoader
		}
		return ""
	}
	x := &try{}
	if got := x.stageOf(boot.Event{Kind: boot.KindHTTP, File: "/files/special"}, local); got != boot.StageLoader {
		t.Errorf("the box's own knowledge does not count: %q", got)
	}
	if got := x.stageOf(boot.Event{Kind: boot.KindHTTP, File: "/files/custom.efi"}, local); got != boot.StageLoader {
		t.Errorf("first program of a machine: %q", got)
	}
	y := &try{}
	y.a.Stages = []boot.Stage{{Name: boot.StageOffer, Count: 1, File: "files/loader"}}
	if got := y.stageOf(boot.Event{Kind: boot.KindTFTP, File: "files/loader"}, local); got != boot.StageLoader {
		t.Errorf("what the offer named, without an ending: %q", got)
	}
	if got := y.stageOf(boot.Event{Kind: boot.KindTFTP, File: "files/other"}, local); got != boot.StageKernel {
		t.Errorf("what the offer did not name: %q", got)
	}
	if got := x.stageOf(boot.Event{Kind: boot.KindHTTP, File: "/…"}, local); got != "" {
		t.Errorf("an address that is not shown: %q", got)
	}
}

// TestQuota: the shares of memory add up to the whole.
func TestQuota(t *testing.T) {
	sum := 0
	for _, q := range quota {
		sum += q
	}
	if sum != maxAttempts || quota[rankShallow]+quota[rankBad] != maxBad || quota[rankGood] != maxGood {
		t.Errorf("quotas add up to %d", sum)
	}
}
