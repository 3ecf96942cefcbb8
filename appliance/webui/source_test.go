package webui

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
	"github.com/bootpuck/bootpuck/appliance/health"
)

// fake is a box with a morning behind it.
type fake struct {
	mu       sync.Mutex
	now      func() time.Time
	started  time.Time
	observe  bool
	report   health.Report
	lan      boot.LAN
	findings []boot.Verdict
	attempts []boot.Attempt // newest first
	events   []boot.Event
	watchers map[chan boot.Attempt]bool
	readers  int // how many Updates are left; below zero: as many as wanted
}

func (f *fake) Box() BoxInfo {
	f.mu.Lock()
	defer f.mu.Unlock()
	return BoxInfo{Site: "Bench <1>", Name: "bootpuck-3f2a", Version: "v0.4.0", Observe: f.observe, Started: f.started, Now: f.now()}
}

func (f *fake) Health() health.Report {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.report
}

func (f *fake) LAN() boot.LAN {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.lan
}

func (f *fake) Findings() []boot.Verdict {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.findings)
}

func (f *fake) Events(n int) []boot.Event {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.events[max(len(f.events)-n, 0):])
}

func (f *fake) Attempt(id boot.AttemptID) (boot.Attempt, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range f.attempts {
		if a.ID == id {
			return a, true
		}
	}
	return boot.Attempt{}, false
}

func (f *fake) Attempts(q Query) (list []boot.Attempt, next boot.AttemptID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	skip := q.After != ""
	for _, a := range f.attempts {
		if skip {
			skip = a.ID != q.After
			continue
		}
		switch {
		case q.MAC != "" && a.MAC != q.MAC && !slices.Contains(a.MACs, q.MAC),
			q.Machine != "" && a.Machine != q.Machine,
			len(q.States) > 0 && !slices.Contains(q.States, a.State),
			q.Verdict != "" && a.Verdict().Name != q.Verdict,
			!q.Since.IsZero() && a.Start.Before(q.Since),
			!q.Until.IsZero() && a.Start.After(q.Until):
			continue
		}
		if q.Limit > 0 && len(list) == q.Limit {
			return list, list[len(list)-1].ID
		}
		a.Events = nil
		list = append(list, a)
	}
	return list, ""
}

func (f *fake) Updates(ctx context.Context) <-chan boot.Attempt {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.readers == 0 {
		return nil
	}
	f.readers--
	c := make(chan boot.Attempt, 16)
	if f.watchers == nil {
		f.watchers = map[chan boot.Attempt]bool{}
	}
	f.watchers[c] = true
	context.AfterFunc(ctx, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.watchers, c)
		close(c)
	})
	return c
}

// change puts an attempt in its place, or in front, and tells the watchers.
func (f *fake) change(a boot.Attempt) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if i := slices.IndexFunc(f.attempts, func(b boot.Attempt) bool { return b.ID == a.ID }); i >= 0 {
		f.attempts[i] = a
	} else {
		f.attempts = slices.Insert(f.attempts, 0, a)
	}
	for c := range f.watchers {
		select {
		case c <- a:
		default:
		}
	}
}

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

// tale builds an attempt event by event.
type tale struct {
	boot.Attempt
	at time.Duration
}

func begin(id boot.AttemptID, mac boot.MAC, name string, start time.Time, arch boot.Arch, addr string, firmwares ...boot.Firmware) *tale {
	t := &tale{}
	t.ID, t.MAC, t.Name, t.Start, t.Last, t.Interface = id, mac, name, start, start, "eth0"
	t.Arch, t.ArchKnown, t.ArchName, t.Firmwares = arch, true, arch.String(), firmwares
	if addr != "" {
		t.Addr = ip(addr)
	}
	t.State = boot.AttemptRunning
	return t
}

// seen adds an event at a time after the start, to a stage ("" for none).
func (t *tale) seen(at time.Duration, stage boot.StageName, e boot.Event) *tale {
	t.at = at
	e.Time, e.MAC, e.Addr, e.Interface = t.Start.Add(at), t.MAC, t.Addr, t.Interface
	e.Seq = uint64(len(t.Events) + 1)
	t.Events = append(t.Events, e)
	t.Last, t.Took = e.Time, at
	if stage == "" {
		return t
	}
	i := slices.IndexFunc(t.Stages, func(s boot.Stage) bool { return s.Name == stage })
	if i < 0 {
		i = len(t.Stages)
		t.Stages = append(t.Stages, boot.Stage{Name: stage, First: e.Time.Add(-e.Duration)})
	}
	s := &t.Stages[i]
	s.Last, s.Took = e.Time, e.Time.Sub(s.First)
	s.Retries, s.File, s.Reason, s.Total = s.Retries+e.Retries, e.File, e.Reason, e.Total
	if e.Kind == boot.KindProgress {
		s.Bytes, s.Count, s.Done = e.Bytes, max(s.Count, 1), false
	} else {
		s.Count++
		s.Bytes += e.Bytes
		s.Done = e.Reason == boot.ReasonNone
		if stage == boot.StageDiscover {
			s.Done = false
		}
	}
	t.At = stage
	return t
}

func (t *tale) offer(at time.Duration, fw boot.Firmware, form boot.Form, file string, secs uint16, xid uint32) *tale {
	t.seen(at, boot.StageDiscover, boot.Event{Kind: boot.KindDecision, Text: "asks for a boot server"})
	t.Events = t.Events[:len(t.Events)-1]
	return t.seen(at, boot.StageOffer, boot.Event{Kind: boot.KindOffer, Form: form, Firmware: fw, File: file, Secs: secs, XID: xid, Duration: 310 * time.Microsecond})
}

func (t *tale) foreign(at time.Duration, f boot.Foreign) *tale {
	for _, e := range slices.Backward(t.Events) {
		if e.XID != 0 {
			f.XID = e.XID // it answers the same question
			break
		}
	}
	t.Foreign = append(t.Foreign, f)
	return t.seen(at, "", boot.Event{Kind: boot.KindForeign, Foreign: &f, XID: f.XID})
}

func (t *tale) lease(at time.Duration) *tale {
	return t.seen(at, boot.StageLease, boot.Event{Kind: boot.KindLease, Text: "from the DHCP server 192.0.2.1"})
}

func (t *tale) tftp(at, lasted time.Duration, file string, bytes int64, retries int, reason boot.Reason) *tale {
	e := boot.Event{Kind: boot.KindTFTP, File: file, Bytes: bytes, Total: bytes, Duration: lasted, Retries: retries, Block: 1468, Acked: true, Reason: reason}
	if reason != boot.ReasonNone {
		e.Total = 1_114_112
	}
	return t.seen(at, boot.StageLoader, e)
}

func (t *tale) http(at, lasted time.Duration, stage boot.StageName, file string, bytes int64, reason boot.Reason) *tale {
	return t.seen(at, stage, boot.Event{Kind: boot.KindHTTP, File: file, Bytes: bytes, Total: bytes, Duration: lasted, Reason: reason})
}

func (t *tale) script(at time.Duration, stage boot.StageName, file, text string) *tale {
	return t.seen(at, stage, boot.Event{Kind: boot.KindScript, File: file, Text: text})
}

func (t *tale) says(at time.Duration, text string) *tale {
	return t.seen(at, boot.StageInstaller, boot.Event{Kind: boot.KindCallback, Text: text})
}

func (t *tale) logs(at time.Duration, text string) *tale {
	return t.seen(at, boot.StageInstaller, boot.Event{Kind: boot.KindSyslog, Text: text})
}

func (t *tale) end(wait time.Duration, state boot.AttemptState, at boot.StageName, verdicts ...boot.Verdict) boot.Attempt {
	t.State, t.End, t.Verdicts = state, t.Last.Add(wait), verdicts
	if at != "" {
		t.At = at
	}
	return t.done()
}

func (t *tale) done() boot.Attempt {
	order := boot.StageNames()
	slices.SortStableFunc(t.Stages, func(x, y boot.Stage) int { return slices.Index(order, x.Name) - slices.Index(order, y.Name) })
	return t.Attempt
}

const (
	ms  = time.Millisecond
	sec = time.Second
)

var siteServer = boot.Foreign{Type: "offer", Server: ip("192.0.2.1"), MAC: "00:1b:21:aa:00:01", Port: 67, Your: ip("192.0.2.57"), DNS: true}

func ackOf(f boot.Foreign) boot.Foreign {
	f.Type = "ack"
	return f
}

// stalledTFTP: the first full packet gets lost, again and again.
func stalledTFTP(now time.Time) boot.Attempt {
	t := begin("5f1c0a77b2d94e10", "3c:ec:ef:12:07:aa", "web-07", now.Add(-4*time.Minute), 7, "192.0.2.57", boot.FirmwareUEFI)
	t.Class, t.Product, t.Machine = "PXEClient:Arch:00007:UNDI:003016", "Supermicro X11SSH-F", "m-web07"
	t.offer(0, boot.FirmwareUEFI, boot.FormDirect, "x86_64/snponly.efi", 4, 0xa1b20001)
	t.foreign(12*ms, siteServer)
	t.offer(4*sec, boot.FirmwareUEFI, boot.FormDirect, "x86_64/snponly.efi", 8, 0xa1b20001)
	t.foreign(4*sec+11*ms, siteServer)
	t.lease(4*sec + 40*ms)
	t.foreign(4*sec+52*ms, ackOf(siteServer))
	t.seen(4*sec+140*ms, boot.StageProbe, boot.Event{Kind: boot.KindProbe, File: "x86_64/snponly.efi", Total: 1_114_112, Block: 1468})
	for i := range 5 {
		t.seen(4*sec+160*ms+time.Duration(i)*2*sec, boot.StageLoader, boot.Event{Kind: boot.KindProgress, File: "x86_64/snponly.efi", Total: 1_114_112, Block: 1468})
	}
	t.tftp(16*sec+160*ms, 12*sec, "x86_64/snponly.efi", 0, 6, boot.ReasonClientSilent)
	return t.end(45*sec, boot.AttemptFailed, boot.StageLoader, boot.Verdict{
		Name: boot.ReasonTFTPLargeBlocks, Confidence: boot.Likely, Severity: boot.SeverityCritical, Stage: boot.StageLoader,
		Text: "The machine agreed to packets of 1468 octets and acknowledged that, but not one full packet: the first was sent 7 times in 12 s. Small packets pass, large ones do not.",
		Fix:  "Look for a link with a smaller MTU between this box and the machine (VPN, tunnel, wrong MTU on a switch). Until it is found, cap the TFTP block size for this machine at 512.",
		Evidence: []boot.Evidence{
			{Time: t.Start.Add(4*sec + 160*ms), Text: "block size 1468 agreed and acknowledged for x86_64/snponly.efi"},
			{Time: t.Start.Add(4*sec + 161*ms), Text: "DATA 1 sent, 1500 octets on the wire"},
			{Time: t.Start.Add(16*sec + 160*ms), Text: "DATA 1 sent 6 more times, no ACK in 12 s"},
		},
	})
}

func option60(now time.Time) boot.Attempt {
	t := begin("77aa10c2d3e4f501", "54:bf:64:90:11:2e", "reception-2", now.Add(-22*time.Minute), 7, "192.0.2.61", boot.FirmwareUEFI)
	t.Product, t.Class = "OptiPlex 7060", "PXEClient:Arch:00007:UNDI:003001"
	f := siteServer
	f.Class, f.Your = "PXEClient", ip("192.0.2.61")
	for i, at := range []time.Duration{0, 4 * sec, 12 * sec, 28 * sec} {
		t.offer(at, boot.FirmwareUEFI, boot.FormDirect, "x86_64/snponly.efi", uint16(4*i), 0x42)
		t.foreign(at+9*ms, f)
	}
	return t.end(62*sec, boot.AttemptStalled, boot.StageOffer, boot.Verdict{
		Name: boot.ReasonOption60, Confidence: boot.Certain, Severity: boot.SeverityCritical, Stage: boot.StageOffer,
		Text: "The DHCP server 192.0.2.1 sent option 60 (PXEClient) in each of 4 offers. UEFI firmware then takes it for the boot server and reports PXE-E16. Nothing that this box sends can change that.",
		Fix:  "Remove option 60 from the scope on the DHCP server 192.0.2.1.",
		Evidence: []boot.Evidence{
			{Time: t.Start.Add(9 * ms), Text: "offer of 192.0.2.1 with option 60 PXEClient"},
			{Time: t.Start.Add(28 * sec), Text: "fourth DISCOVER, same transaction: the machine did not go on"},
		},
	})
}

func noDHCP(now time.Time) boot.Attempt {
	t := begin("0c0ffee123456789", "00:25:90:5d:8a:01", "", now.Add(-47*time.Minute), 0, "", boot.FirmwareBIOS)
	for i, at := range []time.Duration{0, 4 * sec, 12 * sec, 28 * sec, 60 * sec} {
		t.offer(at, boot.FirmwareBIOS, boot.FormDirect, "undionly.kpxe", uint16(4*i), 0x99)
	}
	return t.end(62*sec, boot.AttemptStalled, boot.StageOffer, boot.Verdict{
		Name: boot.ReasonNoDHCPServer, Confidence: boot.Likely, Severity: boot.SeverityCritical, Stage: boot.StageLease,
		Text: "The machine asked 5 times in 60 s and this box answered each time, but no DHCP server gave it an address.",
		Fix:  "See that the site's DHCP server runs and has a scope for this network. This box never gives out addresses.",
	})
}

func quirks(now time.Time) boot.Attempt {
	t := begin("abcdef0123456789", "00:15:5d:00:3c:11", "old-rack-3", now.Add(-3*time.Hour), 0, "192.0.2.73", boot.FirmwareBIOS)
	t.Product = "PowerEdge 1950"
	t.Shapes = []boot.Shape{{}, {Form: boot.FormTwoStep}, {Form: boot.FormTwoStep, Delay: 300 * ms}}
	t.offer(0, boot.FirmwareBIOS, boot.FormDirect, "undionly.kpxe", 0, 1)
	t.offer(2*sec, boot.FirmwareBIOS, boot.FormDirect, "undionly.kpxe", 2, 1)
	t.seen(2*sec+ms, "", boot.Event{Kind: boot.KindQuirk, Shape: &t.Shapes[1], Text: "the same question again: the offer was not followed"})
	t.offer(6*sec, boot.FirmwareBIOS, boot.FormTwoStep, "", 6, 1)
	t.seen(6*sec+ms, "", boot.Event{Kind: boot.KindQuirk, Shape: &t.Shapes[2], Text: "not followed either"})
	t.offer(14*sec, boot.FirmwareBIOS, boot.FormTwoStep, "", 14, 1)
	return t.end(62*sec, boot.AttemptStalled, boot.StageOffer, boot.Verdict{
		Name: boot.ReasonOfferIgnored, Confidence: boot.Possible, Severity: boot.SeverityCritical, Stage: boot.StageOffer,
		Text: "The machine asked 4 times in 14 s and followed none of the 3 forms of offer.", Fix: "Update the network card's firmware, or put iPXE on a USB stick.",
	})
}

func rival(now time.Time) boot.Attempt {
	t := begin("d00d5f1c0a77b2d9", "a4:bb:6d:4f:20:c3", "meeting-room", now.Add(-6*time.Hour), 7, "192.0.2.88", boot.FirmwareUEFI)
	r := boot.Foreign{Type: "offer", Server: ip("192.0.2.250"), Port: 67, Class: "PXEClient", File: `boot\x64\wdsmgfw.efi`, Next: "192.0.2.250", Control: true}
	t.offer(0, boot.FirmwareUEFI, boot.FormDirect, "x86_64/snponly.efi", 0, 7).foreign(3*ms, r).foreign(8*ms, siteServer).lease(4 * sec)
	r.Type, r.Port = "ack", 4011
	t.foreign(4*sec+30*ms, r)
	return t.end(45*sec, boot.AttemptStalled, boot.StageLease, boot.Verdict{
		Name: boot.ReasonRivalWon, Confidence: boot.Certain, Severity: boot.SeverityCritical, Stage: boot.StageAsk,
		Text: "The boot server 192.0.2.250 answered 3 ms after this box, and the machine asked that one on port 4011.", Fix: "Switch PXE off on 192.0.2.250 (Windows Deployment Services), or exclude this machine there.",
	})
}

func install(now time.Time) boot.Attempt {
	t := begin("1111222233334444", "52:54:00:ab:cd:01", "db-01", now.Add(-90*time.Minute), 7, "192.0.2.40", boot.FirmwareUEFI, boot.FirmwareIPXE)
	t.Product, t.Machine, t.Action, t.Profile, t.Armed = "ProLiant DL360 Gen10", "m-db01", boot.ActionBoot, "debian-12-auto", true
	t.offer(0, boot.FirmwareUEFI, boot.FormDirect, "x86_64/snponly.efi", 0, 0x10).foreign(10*ms, siteServer).lease(2*sec).foreign(2*sec+12*ms, ackOf(siteServer))
	t.seen(2*sec+80*ms, boot.StageProbe, boot.Event{Kind: boot.KindProbe, File: "x86_64/snponly.efi"})
	t.tftp(3*sec, 880*ms, "x86_64/snponly.efi", 1_114_112, 2, "")
	t.offer(5*sec, boot.FirmwareIPXE, boot.FormScript, "http://192.0.2.10/b", 0, 0x20).foreign(5*sec+9*ms, siteServer).lease(6 * sec)
	t.script(6*sec+200*ms, boot.StageAutoexec, "b", "").script(6*sec+300*ms, boot.StageScript, "m/52:54:00:ab:cd:01", "boot debian-12-auto (assignment, armed)")
	t.http(7*sec, 420*ms, boot.StageKernel, "trees/debian-12/linux", 8_123_456, "")
	t.http(11*sec, 3900*ms, boot.StageFiles, "trees/debian-12/initrd.gz", 38_200_000, "")
	t.seen(41*sec, boot.StageSystem, boot.Event{Kind: boot.KindSilence, Reason: boot.ReasonClass, Text: "d-i"})
	t.script(43*sec, boot.StageAnswer, "a/preseed.cfg", "")
	t.says(45*sec, "started").logs(50*sec, "anna: retrieving bootstrap-base").logs(90*sec, "partman: /dev/sda formatted")
	t.says(4*time.Minute, "progress 40 %").says(9*time.Minute+12*sec, "progress 90 %").says(11*time.Minute+3*sec, "done")
	return t.end(0, boot.AttemptBooted, boot.StageInstaller, boot.Verdict{Name: boot.ReasonBooted, Confidence: boot.Certain, Severity: boot.SeverityInfo, Text: "The installer of debian-12-auto reported that it is done, 11 min 3 s after the first packet."})
}

func pi(now time.Time) boot.Attempt {
	t := begin("7777222233334444", "dc:a6:32:01:02:03", "pi-door", now.Add(-2*time.Hour), 0, "192.0.2.91", boot.FirmwareRPi)
	t.offer(0, boot.FirmwareRPi, boot.FormRPi, "", 0, 3).foreign(7*ms, siteServer).lease(ms * 60)
	t.tftp(200*ms, 60*ms, "8f2c01aa/start4.elf", 2_250_000, 0, "").tftp(300*ms, 4*ms, "8f2c01aa/config.txt", 700, 0, "")
	t.tftp(320*ms, 0, "8f2c01aa/recovery.elf", 0, 0, boot.ReasonNotFound).tftp(4*sec, 3*sec, "8f2c01aa/kernel8.img", 9_400_000, 1, "")
	t.seen(22*sec, boot.StageSystem, boot.Event{Kind: boot.KindSilence, Reason: boot.ReasonClass})
	return t.end(30*sec, boot.AttemptBooted, boot.StageSystem, boot.Verdict{Name: boot.ReasonBooted, Confidence: boot.Likely, Severity: boot.SeverityInfo, Text: "The kernel was fetched whole, and 18 s later the system asked for an address."})
}

func httpBoot(now time.Time) boot.Attempt {
	t := begin("8888222233334444", "b0:7b:25:01:02:03", "edge-4", now.Add(-150*time.Minute), 16, "192.0.2.92", boot.FirmwareHTTP, boot.FirmwareIPXE)
	t.Action, t.Profile = boot.ActionBoot, "talos-worker"
	t.offer(0, boot.FirmwareHTTP, boot.FormHTTP, "http://192.0.2.10/x86_64/snponly.efi", 0, 3).foreign(7*ms, siteServer).lease(ms * 60)
	t.http(800*ms, 110*ms, boot.StageLoader, "x86_64/snponly.efi", 1_114_112, "").offer(3*sec, boot.FirmwareIPXE, boot.FormScript, "http://192.0.2.10/b", 0, 4)
	t.script(3500*ms, boot.StageScript, "b", "boot talos-worker (group)").http(5*sec, sec, boot.StageKernel, "trees/talos/vmlinuz", 19_000_000, "").http(14*sec, 8*sec, boot.StageFiles, "trees/talos/initramfs.xz", 71_000_000, "")
	t.seen(31*sec, boot.StageSystem, boot.Event{Kind: boot.KindSilence, Reason: boot.ReasonClass})
	return t.end(30*sec, boot.AttemptBooted, boot.StageSystem, boot.Verdict{Name: boot.ReasonBooted, Confidence: boot.Likely, Severity: boot.SeverityInfo, Text: "Kernel and files were fetched whole, and 17 s later the system asked for an address."})
}

func local(now time.Time) boot.Attempt {
	t := begin("9999222233334444", "b0:7b:25:01:02:44", "desk-19", now.Add(-35*time.Minute), 7, "192.0.2.93", boot.FirmwareUEFI, boot.FirmwareIPXE)
	t.Action = boot.ActionLocal
	t.offer(0, boot.FirmwareUEFI, boot.FormDirect, "x86_64/snponly.efi", 0, 3).foreign(7*ms, siteServer).lease(3*sec).tftp(4*sec, 600*ms, "x86_64/snponly.efi", 1_114_112, 0, "")
	t.offer(6*sec, boot.FirmwareIPXE, boot.FormScript, "http://192.0.2.10/b", 0, 4).script(6500*ms, boot.StageScript, "b", "local disk (default)")
	return t.end(5*sec, boot.AttemptLocal, boot.StageScript, boot.Verdict{Name: boot.ReasonLeftLocal, Confidence: boot.Certain, Severity: boot.SeverityInfo, Text: "The machine was told to boot from its disk (default), and left."})
}

func ignored(now time.Time) boot.Attempt {
	t := begin("6666222233334444", "b0:7b:25:99:99:99", "", now.Add(-55*time.Minute), 7, "", boot.FirmwareUEFI)
	t.seen(0, boot.StageDiscover, boot.Event{Kind: boot.KindSilence, Reason: boot.ReasonDenied})
	t.seen(4*sec, boot.StageDiscover, boot.Event{Kind: boot.KindSilence, Reason: boot.ReasonDenied})
	return t.end(60*sec, boot.AttemptIgnored, boot.StageDiscover, boot.Verdict{Name: boot.ReasonIgnored, Confidence: boot.Certain, Severity: boot.SeverityInfo, Text: "This machine is on the deny-list."})
}

func fetching(now time.Time) boot.Attempt {
	t := begin("2222222233334444", "52:54:00:12:00:0c", "lab-12", now.Add(-19*sec), 7, "192.0.2.112", boot.FirmwareUEFI, boot.FirmwareIPXE)
	t.Product, t.Action, t.Profile, t.Armed = "NUC11TNHi5", boot.ActionBoot, "ubuntu-24.04-auto", true
	t.offer(0, boot.FirmwareUEFI, boot.FormDirect, "x86_64/snponly.efi", 0, 0x10).foreign(10*ms, siteServer).lease(2*sec).tftp(3*sec, 700*ms, "x86_64/snponly.efi", 1_114_112, 0, "")
	t.offer(5*sec, boot.FirmwareIPXE, boot.FormScript, "http://192.0.2.10/b", 0, 0x20).lease(6*sec).script(6*sec+300*ms, boot.StageScript, "m/52:54:00:12:00:0c", "boot ubuntu-24.04-auto (assignment, armed)")
	t.http(7*sec, 300*ms, boot.StageKernel, "trees/ubuntu/vmlinuz", 14_900_000, "")
	for i := range 6 {
		t.seen(7*sec+time.Duration(i)*2*sec, boot.StageFiles, boot.Event{Kind: boot.KindProgress, File: "trees/ubuntu/ubuntu-24.04-live-server-amd64.iso", Bytes: int64(i) * 220_000_000, Total: 2_750_000_000})
	}
	return t.done()
}

func asking(now time.Time) boot.Attempt {
	t := begin("3333222233334444", "f4:4d:30:6b:01:9e", "", now.Add(-9*sec), 0, "", boot.FirmwareBIOS)
	t.offer(0, boot.FirmwareBIOS, boot.FormDirect, "undionly.kpxe", 0, 0x10).offer(4*sec, boot.FirmwareBIOS, boot.FormDirect, "undionly.kpxe", 4, 0x10)
	return t.done()
}

// hostileText is what a stranger would put wherever a text fits: markup of HTML
// and SVG, quotes, the beginning of a script, terminal escapes, marks that turn
// the direction of writing, invisible ones, piled-up accents, broken UTF-8.
const hostileText = "\"'><script>window.boomed=1</script><img src=x onerror=window.boomed=1></svg></title></textarea><svg onload=window.boomed=1>{{.}}javascript:window.boomed=1\x1b[31m\x00\u202egnp.exe\u2066\u200b\u0300\u0301\u0302\u0303\u0304\u0305\r\nSet-Cookie: a=b\xff\xfe&amp;<!--"

func hostile(now time.Time) boot.Attempt {
	h := hostileText
	t := begin("bad0bad0bad0bad0", boot.MAC(h), h, now.Add(-8*time.Hour), 7, "192.0.2.66", boot.FirmwareUEFI, boot.Firmware(h))
	t.Class, t.Product, t.Machine, t.Profile, t.Interface, t.MACs = h, h, boot.MachineID(h), h, h, []boot.MAC{boot.MAC(h)}
	t.Action, t.ArchKnown, t.ArchName = boot.Action(h), false, h
	at := time.Duration(0)
	for _, k := range append(boot.Kinds(), boot.Kind(h)) {
		at += 700 * ms
		e := boot.Event{Kind: k, File: h, Text: h, Class: h, Interface: h, Form: boot.Form(h), Firmware: boot.Firmware(h), Bytes: -5, Total: 1 << 62, Block: -1, Secs: 65535, Retries: 1 << 30}
		if k == boot.KindForeign {
			e.Foreign = &boot.Foreign{Type: h, Class: h, File: h, Next: h, MAC: boot.MAC(h), Control: true}
			t.Foreign = append(t.Foreign, *e.Foreign)
		}
		t.seen(at, boot.StageName(h), e)
		e.Reason = boot.Reason(h)
		t.seen(at+300*ms, boot.StageLoader, e)
	}
	v := boot.Verdict{Name: boot.Reason(h), Confidence: boot.VerdictConfidence(h), Severity: boot.Severity(h), Stage: boot.StageName(h), Text: h, Fix: h, Evidence: []boot.Evidence{{Time: t.Start, Text: h}}}
	t.Shapes = []boot.Shape{{Form: boot.Form(h), Variant: boot.Variant(h)}}
	t.Omitted = 3
	return t.end(sec, boot.AttemptFailed, boot.StageName(h), v, v, v)
}

// morning is a box that has seen something, and one LAN with its troubles.
func morning(now time.Time) *fake {
	f := &fake{now: func() time.Time { return now }, started: now.Add(-31 * time.Hour), readers: -1}
	f.attempts = []boot.Attempt{
		asking(now), fetching(now), stalledTFTP(now), option60(now), local(now), noDHCP(now), ignored(now), install(now), pi(now), httpBoot(now), quirks(now), rival(now),
	}
	f.report = health.Report{Name: "box", Title: "Box", Status: health.OK, Children: []health.Report{
		{Name: "network", Title: "Network", Status: health.OK, Children: []health.Report{{Name: "dhcp", Title: "DHCP answers", Status: health.OK}, {Name: "tftp", Title: "TFTP", Status: health.OK}}},
		{Name: "state", Title: "State", Status: health.Degraded, Reason: boot.ReasonStateVolatile, Text: boot.ReasonStateVolatile.Text()},
	}}
	f.lan = boot.LAN{
		Now: now, ClockSet: true,
		Ports: []boot.LANPort{
			{
				Name: "eth0", MAC: "dc:a6:32:3f:2a:00", Up: true, UpSince: now.Add(-31 * time.Hour), Served: true, MTU: 1500, Speed: 1000, Addrs: []netip.Prefix{netip.MustParsePrefix("192.0.2.10/24")},
				Neighbour: &boot.LLDP{Chassis: "00:1b:21:00:00:01", Port: "gi1/0/12", System: "sw-basement", VLAN: 20, Last: now.Add(-20 * sec)},
			},
			{Name: "wlan0", MAC: "dc:a6:32:3f:2a:01", MTU: 1500},
		},
		Gateways: []boot.LANGateway{{Time: now.Add(-31 * time.Hour), Interface: "eth0", Addr: ip("192.0.2.1"), MAC: "00:1b:21:aa:00:01"}},
		Servers: []boot.LANServer{
			{Server: ip("192.0.2.1"), MAC: "00:1b:21:aa:00:01", Interface: "eth0", DHCP: true, Classes: []string{"PXEClient"}, First: now.Add(-31 * time.Hour), Last: now.Add(-9 * sec), Replies: 412, Expected: true, Asked: true, Findings: []boot.Reason{boot.ReasonOption60}},
			{Server: ip("192.0.2.250"), MAC: "00:15:5d:00:00:fa", Interface: "eth0", PXE: true, BootFiles: []string{`boot\x64\wdsmgfw.efi`}, NextServers: []string{"192.0.2.250"}, Classes: []string{"PXEClient"}, First: now.Add(-6 * time.Hour), Last: now.Add(-20 * time.Minute), Replies: 17, Findings: []boot.Reason{boot.ReasonOtherPXE}},
		},
		Probes: []boot.LANProbe{{Time: now.Add(-4 * time.Minute), Interface: "eth0", Answers: []netip.Addr{ip("192.0.2.1")}}},
	}
	f.findings = []boot.Verdict{
		{Name: boot.ReasonOption60, Confidence: boot.Certain, Severity: boot.SeverityCritical, Text: "The DHCP server 192.0.2.1 sends option 60 (PXEClient) in its offers. UEFI machines then ignore every other boot server (PXE-E16).", Fix: "Remove option 60 from the scope on 192.0.2.1.", Evidence: []boot.Evidence{{Time: now.Add(-9 * sec), Text: "offer of 192.0.2.1 for 54:bf:64:90:11:2e with option 60 PXEClient"}}},
		{Name: boot.ReasonOtherPXE, Confidence: boot.Certain, Severity: boot.SeverityWarning, Text: "192.0.2.250 answers boot clients too, with boot\\x64\\wdsmgfw.efi. Machines pick between the two by their own rules.", Fix: "Switch PXE off on 192.0.2.250, or keep the two apart by VLAN."},
	}
	for i := len(f.attempts) - 1; i >= 0; i-- {
		f.events = append(f.events, f.attempts[i].Events...)
	}
	return f
}

// hostileMorning is the same with a stranger's words everywhere.
func hostileMorning(now time.Time) *fake {
	f, h := morning(now), hostileText
	f.attempts = append([]boot.Attempt{hostile(now)}, f.attempts...)
	f.events = append(f.events, f.attempts[0].Events...)
	run := f.attempts[0]
	run.ID, run.State, run.End = "bad1bad1bad1bad1", boot.AttemptRunning, time.Time{}
	f.attempts = append([]boot.Attempt{run}, f.attempts...)
	f.report = health.Report{Name: h, Title: h, Status: health.Failed, Reason: boot.Reason(h), Text: h, Detail: h, Children: []health.Report{{Title: h, Status: health.Status(h), Detail: h}}}
	p := &f.lan.Ports[0]
	p.Name, p.MAC = h, boot.MAC(h)
	p.Neighbour = &boot.LLDP{Chassis: h, Port: h, PortDescription: h, System: h, VLAN: -1}
	s := &f.lan.Servers[0]
	s.MAC, s.Interface, s.Classes, s.BootFiles, s.NextServers, s.Findings = boot.MAC(h), h, []string{h}, []string{h}, []string{h}, []boot.Reason{boot.Reason(h)}
	f.lan.Gateways[0].Interface, f.lan.Gateways[0].MAC = h, boot.MAC(h)
	f.lan.Probes = append(f.lan.Probes, boot.LANProbe{Interface: h, Err: h})
	f.lan.Twins = []boot.LANTwin{{ID: h, Version: h, Addr: ip("192.0.2.77")}}
	f.lan.Changes = []boot.LANChange{{Time: now, Interface: h}}
	f.lan.Conflicts = []boot.LANConflict{{Interface: h, MAC: boot.MAC(h), Addr: ip("192.0.2.10")}}
	f.findings = append(f.findings, boot.Verdict{Name: boot.Reason(h), Severity: boot.SeverityWarning, Text: h, Fix: h, Confidence: boot.VerdictConfidence(h), Evidence: []boot.Evidence{{Text: h}}})
	return f
}

// crowd adds attempts that nobody looks at one by one.
func (f *fake) crowd(n int, now time.Time) {
	for i := range n {
		t := begin(boot.AttemptID(fmt.Sprintf("c0%014x", i)), boot.MAC(fmt.Sprintf("02:00:00:00:%02x:%02x", i>>8, i&255)), "", now.Add(-10*time.Hour-time.Duration(i)*sec), 7, "", boot.FirmwareUEFI)
		t.offer(0, boot.FirmwareUEFI, boot.FormDirect, "x86_64/snponly.efi", 0, uint32(i))
		f.attempts = append(f.attempts, t.end(60*sec, boot.AttemptStalled, boot.StageOffer, boot.Verdict{Name: boot.ReasonGaveUp, Severity: boot.SeverityWarning, Confidence: boot.Possible, Text: "One packet, then nothing."}))
	}
}
