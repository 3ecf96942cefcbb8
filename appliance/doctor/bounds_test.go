package doctor

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// wild makes attempts and LANs out of octets: every field from a small choice of
// sense and nonsense.
type wild struct {
	b []byte
	n int
}

func (w *wild) next() int {
	if w.n >= len(w.b) {
		return 0
	}
	w.n++
	return int(w.b[w.n-1])
}

func pickOf[T any](w *wild, from []T) T { return from[w.next()%len(from)] }

var (
	wildTexts = []string{
		"", efi, bios, "/b", "/s", "/left", "autoexec.ipxe", "/trees/d/linux", "kernel8.img", "start4.elf", "/a/x/preseed.cfg", "pxelinux.cfg/default",
		script, "https://host.example/x.efi", "http://boot.example.org/loader", "tftp://192.0.2.2/undionly.kpxe", "PXEClient", "HTTPClient", "shimx64.efi",
		"a step failed on the machine: " + stepStart, stepProgram, "<script>\x1b[2J\x00\xff\xfe", strings.Repeat("ä", 400), strings.Repeat("\xff", 700), "://", "http://[::1", "%zz",
	}
	wildTimes = []time.Duration{
		0, time.Millisecond, time.Second, 4 * time.Second, 12 * time.Second, time.Minute, time.Hour, 24 * 365 * time.Hour, -time.Second, -time.Hour,
	}
	wildSizes = []int64{0, 1, 512, 1468, loaderSize, 700 << 20, 1 << 62, -1}
	wildAddrs = []netip.Addr{{}, router, box, rival, client, netip.IPv6LinkLocalAllNodes(), netip.MustParseAddr("::ffff:192.0.2.1")}
)

// reasons is the whole set, by the texts that the set has.
var wildReasons = slices.Concat(
	[]boot.Reason{"", "nonsense", boot.ReasonNotFound, boot.ReasonClientAborted, boot.ReasonClientSilent, boot.ReasonInterrupted, boot.ReasonSource, boot.ReasonParameter, boot.ReasonNeedsCPU, boot.ReasonLoop, boot.ReasonArchConflict, boot.ReasonLoopBreaker, boot.ReasonAssignFailed},
	boot.Silences(), boot.VerdictNames(), boot.FindingNames())

func (w *wild) time() time.Time {
	if w.next()%40 == 0 {
		return time.Time{}
	}
	return began.Add(pickOf(w, wildTimes) + time.Duration(w.next())*250*time.Millisecond)
}

func (w *wild) foreign() *boot.Foreign {
	return &boot.Foreign{
		Type: pickOf(w, []string{"offer", "ack", "nak", "?"}), Server: pickOf(w, wildAddrs), Your: pickOf(w, wildAddrs), Port: pickOf(w, []uint16{67, 4011}),
		Class: pickOf(w, wildTexts), File: pickOf(w, wildTexts), Next: pickOf(w, []string{"", "192.0.2.2", "192.0.2.9", "name"}), Twin: w.next()%5 == 0,
		DNS: w.next()%2 == 0, Header: w.next()%2 == 0, Control: w.next()%4 == 0, XID: uint32(w.next() % 3),
	}
}

func (w *wild) shape() *boot.Shape {
	if w.next()%3 > 0 {
		return nil
	}
	return &boot.Shape{
		Form: pickOf(w, append(boot.Forms(), "")), Delay: pickOf(w, wildTimes), Block: pickOf(w, []int{0, 512, -5}),
		Variant: pickOf(w, []boot.Variant{"", boot.VariantNative}), NoPriority: w.next()%2 == 0,
	}
}

func (w *wild) event() boot.Event {
	fws := []boot.Firmware{"", boot.FirmwareBIOS, boot.FirmwareUEFI, boot.FirmwareHTTP, boot.FirmwareIPXE, boot.FirmwareRPi, boot.FirmwareOther, boot.FirmwareUnknown, "odd"}
	e := boot.Event{
		Time: w.time(), Kind: pickOf(w, append(boot.Kinds(), "odd")), Reason: pickOf(w, wildReasons), Firmware: pickOf(w, fws), Form: pickOf(w, append(boot.Forms(), "")),
		XID: uint32(w.next() % 3), Secs: uint16(w.next()) << (w.next() % 9), Addr: pickOf(w, wildAddrs), File: pickOf(w, wildTexts), Text: pickOf(w, wildTexts),
		Bytes: pickOf(w, wildSizes), Total: pickOf(w, wildSizes), Block: int(pickOf(w, wildSizes)), Retries: w.next() - 20, Acked: w.next()%2 == 0,
		Duration: pickOf(w, wildTimes), Arch: boot.Arch(w.next()), ArchKnown: w.next()%2 == 0, Shape: w.shape(),
	}
	if e.Kind == boot.KindForeign && w.next()%8 > 0 {
		e.Foreign = w.foreign()
	}
	return e
}

func (w *wild) attempt() *boot.Attempt {
	a := &boot.Attempt{
		ID: "x", MAC: nic, Interface: pickOf(w, []string{"", "eth0", "eth1"}), Relayed: w.next()%6 == 0, Arch: boot.Arch(w.next()), ArchKnown: w.next()%2 == 0,
		Start: w.time(), Last: w.time(), Took: pickOf(w, wildTimes), Again: w.next()%3 == 0, State: pickOf(w, append(boot.AttemptStates(), boot.AttemptStalled, boot.AttemptFailed, "odd")),
		At: pickOf(w, append(boot.StageNames(), "", "odd")), Profile: pickOf(w, wildTexts),
		Action: pickOf(w, []boot.Action{"", boot.ActionBoot, boot.ActionMenu, boot.ActionLocal, boot.ActionArmed}),
	}
	for range w.next() % 5 {
		a.Firmwares = append(a.Firmwares, pickOf(w, []boot.Firmware{boot.FirmwareBIOS, boot.FirmwareUEFI, boot.FirmwareIPXE, boot.FirmwareHTTP}))
	}
	for range w.next() % 6 {
		a.Stages = append(a.Stages, boot.Stage{
			Name: pickOf(w, boot.StageNames()), First: w.time(), Last: w.time(), Count: w.next() - 2, Bytes: pickOf(w, wildSizes), Total: pickOf(w, wildSizes),
			Done: w.next()%2 == 0, Reason: pickOf(w, wildReasons), File: pickOf(w, wildTexts),
		})
	}
	for range w.next() % 20 {
		a.Foreign = append(a.Foreign, *w.foreign())
	}
	for range w.next() % 20 {
		if s := w.shape(); s != nil {
			a.Shapes = append(a.Shapes, *s)
		}
	}
	for range w.next() % 40 {
		a.Events = append(a.Events, w.event())
	}
	return a
}

func (w *wild) lan() boot.LAN {
	l := boot.LAN{Now: w.time(), ClockSet: w.next()%2 == 0, ClockStep: w.time(), Observe: w.next()%5 == 0, Standby: w.next()%5 == 0}
	for range w.next() % 4 {
		l.Servers = append(l.Servers, boot.LANServer{
			Server: pickOf(w, wildAddrs), Interface: pickOf(w, []string{"", "eth0"}), DHCP: w.next()%2 == 0, PXE: w.next()%2 == 0, First: w.time(), Last: w.time(),
			Classes: []string{pickOf(w, wildTexts)}, BootFiles: []string{pickOf(w, wildTexts)}, NextServers: wildTexts[:w.next()%5],
			Findings: []boot.Reason{pickOf(w, boot.FindingNames()), pickOf(w, boot.FindingNames())},
		})
	}
	for range w.next() % 3 {
		l.Probes = append(l.Probes, boot.LANProbe{Time: w.time(), Interface: pickOf(w, []string{"", "eth0"}), Answers: wildAddrs[:w.next()%3], Err: pickOf(w, []string{"", "", "no"})})
		l.Changes = append(l.Changes, boot.LANChange{Time: w.time(), Interface: "eth0", From: pickOf(w, wildAddrs), To: pickOf(w, wildAddrs)})
		l.Conflicts = append(l.Conflicts, boot.LANConflict{Interface: "eth0", Addr: pickOf(w, wildAddrs), MAC: nic, First: w.time(), Last: w.time()})
		l.Gateways = append(l.Gateways, boot.LANGateway{Time: w.time(), Interface: pickOf(w, wildTexts), Addr: pickOf(w, wildAddrs), MAC: pickOf(w, []boot.MAC{"", nic})})
		l.Twins = append(l.Twins, boot.LANTwin{ID: pickOf(w, wildTexts), Addr: pickOf(w, wildAddrs), Version: pickOf(w, wildTexts), Last: w.time()})
		p := boot.LANPort{Name: pickOf(w, []string{"eth0", "eth1"}), Up: true, Served: true, UpSince: w.time()}
		if w.next()%2 == 0 {
			p.Neighbour = &boot.LLDP{Chassis: pickOf(w, wildTexts), Port: pickOf(w, wildTexts), System: pickOf(w, wildTexts)}
		}
		l.Ports = append(l.Ports, p)
	}
	return l
}

// check holds what is true of every verdict whatever it judges.
func check(t *testing.T, list []boot.Verdict, known []boot.Reason, most int) {
	t.Helper()
	if len(list) > most {
		t.Errorf("%d verdicts", len(list))
	}
	seen := map[boot.Reason]bool{}
	for _, v := range list {
		if !slices.Contains(known, v.Name) {
			t.Errorf("unknown name %q", v.Name)
		}
		if most == boot.MaxAttemptVerdicts && seen[v.Name] {
			t.Errorf("%s is said twice", v.Name)
		}
		seen[v.Name] = true
		if !slices.Contains([]boot.VerdictConfidence{boot.Certain, boot.Likely, boot.Possible}, v.Confidence) ||
			!slices.Contains([]boot.Severity{boot.SeverityInfo, boot.SeverityWarning, boot.SeverityCritical}, v.Severity) {
			t.Errorf("%s: %q %q", v.Name, v.Confidence, v.Severity)
		}
		if v.Text == "" || len(v.Text) > MaxText || len(v.Fix) > MaxText || !utf8.ValidString(v.Text) || !utf8.ValidString(v.Fix) {
			t.Errorf("%s: text of %d octets, fix of %d: %q %q", v.Name, len(v.Text), len(v.Fix), v.Text, v.Fix)
		}
		if len(v.Evidence) > boot.MaxEvidence {
			t.Errorf("%s: %d pieces of evidence", v.Name, len(v.Evidence))
		}
		for _, e := range v.Evidence {
			if e.Text == "" || len(e.Text) > MaxText || !utf8.ValidString(e.Text) {
				t.Errorf("%s: evidence %q", v.Name, e.Text)
			}
		}
	}
}

// judgeWild judges whatever the octets stand for and checks what always holds.
func judgeWild(t *testing.T, b []byte) []boot.Verdict {
	t.Helper()
	w := &wild{b: b}
	a, l := w.attempt(), w.lan()
	before, _ := json.Marshal(a)
	got := Judge(a, l)
	check(t, got, boot.VerdictNames(), boot.MaxAttemptVerdicts)
	if after, _ := json.Marshal(a); string(after) != string(before) {
		t.Error("the attempt was changed")
	}
	final := a.State != boot.AttemptRunning
	switch {
	case final && len(got) == 0:
		t.Errorf("no verdict on state %q", a.State)
	case !final && slices.ContainsFunc(got, func(v boot.Verdict) bool { return v.Confidence == boot.Possible }):
		t.Errorf("a mere possibility on a running attempt: %s", names(got))
	}
	if again := Judge(a, l); !reflect.DeepEqual(again, got) {
		t.Errorf("judged again: %s, then %s", names(got), names(again))
	}
	check(t, Survey(l), boot.FindingNames(), MaxFindings)
	return got
}

// FuzzJudge: whatever an attempt and a LAN hold, there is no panic, every bound
// holds, and a final state has a verdict.
func FuzzJudge(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		b := make([]byte, 600)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		f.Add(b)
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) { judgeWild(t, b) })
}

// TestWild judges many attempts of nonsense, so that the bounds are held against
// more than the seeds of the fuzz test in every run, and that nearly every verdict
// comes out of them.
func TestWild(t *testing.T) {
	said := map[boot.Reason]int{}
	r := rand.New(rand.NewPCG(3, 4))
	n := 3000
	if testing.Short() {
		n = 300
	}
	for range n {
		b := make([]byte, 200+r.IntN(1500))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		for _, v := range judgeWild(t, b) {
			said[v.Name]++
		}
		if t.Failed() {
			t.Fatalf("octets %x", b)
		}
	}
	if !testing.Short() && len(said) < 20 {
		t.Errorf("only %d verdicts came out: %v", len(said), said)
	}
}

// TestCutShort: scenarios of which half the events were not kept, or none, still
// get a verdict within the bounds.
func TestCutShort(t *testing.T) {
	for _, s := range scenarios() {
		for _, keep := range []int{0, 1, 2} {
			a := *s.a
			a.Events = slices.Clone(a.Events[:min(keep, len(a.Events))])
			got := Judge(&a, s.lan)
			check(t, got, boot.VerdictNames(), boot.MaxAttemptVerdicts)
			if len(got) == 0 {
				t.Errorf("%s with %d events: no verdict", s.name, keep)
			}
		}
	}
	for name, a := range healthy() {
		b := *a
		b.Events = nil
		if got := Judge(&b, site()); len(got) != 1 || got[0].Severity != boot.SeverityInfo {
			t.Errorf("%s without events: %s", name, names(got))
		}
	}
}

// TestHostileText: a stranger's words stand in verdicts bounded, and one long one
// leaves room for what the verdict has to say.
func TestHostileText(t *testing.T) {
	long := strings.Repeat("<img src=x onerror=alert(1)>\x1b]0;\x07", 200)
	a := taken(boot.FirmwareUEFI, boot.FormDirect, efi, boot.Foreign{Server: router, Your: client, Class: "PXEClient" + long, File: long}).end(boot.AttemptStalled)
	got := Judge(a, site())
	check(t, got, boot.VerdictNames(), boot.MaxAttemptVerdicts)
	if got[0].Name != boot.ReasonOption60 || !strings.Contains(got[0].Text, "ignores every other boot server") {
		t.Errorf("%+v", got[0])
	}
}

// TestClip: cutting keeps valid text and the bound.
func TestClip(t *testing.T) {
	for _, s := range []string{"", "abc", strings.Repeat("ä", 100), strings.Repeat("\xc3", 100), strings.Repeat("€", 50) + "\xff", strings.Repeat("x", 100000)} {
		for _, n := range []int{3, 4, 5, 40, 512} {
			if got := clip(s, n); len(got) > n && len(s) > n || !utf8.ValidString(got) {
				t.Errorf("clip(%.20q, %d) = %q", s, n, got)
			}
		}
	}
}

// TestWords: figures are written for people.
func TestWords(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{lasting(350 * time.Millisecond), "350 ms"},
		{lasting(4500 * time.Millisecond), "4.5 s"},
		{lasting(28 * time.Second), "28 s"},
		{lasting(10 * time.Minute), "10 min"},
		{lasting(5 * time.Hour), "5 h"},
		{lasting(-time.Second), "0 ms"},
		{octets(512), "512 B"},
		{octets(1_000_000), "1000 kB"},
		{octets(40_000_000), "40 MB"},
		{octets(20_000_000_000), "20 GB"},
		{octets(-1), "0 B"},
		{list([]string{"a", "b", "c"}), "a, b and c"},
		{times(1) + " " + times(2) + " " + times(3), "once twice 3 times"},
		{cleaned(`\X86_64\Snponly.efi`), "x86_64/snponly.efi"},
		{cleaned("http://192.0.2.2/b?mac=1"), "b"},
		{cleaned("tftp://192.0.2.2"), ""},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}

// TestSecs: what the secs field says of packets before the first, by the habits of
// each program.
func TestSecs(t *testing.T) {
	for _, c := range []struct {
		fw      boot.Firmware
		secs    uint16
		packets int
		d       time.Duration
	}{
		{boot.FirmwareIPXE, 4, 0, 0},
		{boot.FirmwareIPXE, 8, 1, time.Second},
		{boot.FirmwareIPXE, 16, 3, 7 * time.Second},
		{boot.FirmwareIPXE, 24, 5, 25 * time.Second},
		{boot.FirmwareIPXE, 0, 0, 0},
		{boot.FirmwareIPXE, 5, 0, 0},
		{boot.FirmwareIPXE, 65532, 0, 0},
		{boot.FirmwareBIOS, 0, 0, 0},
		{boot.FirmwareBIOS, 4, 1, 4 * time.Second},
		{boot.FirmwareBIOS, 12, 2, 12 * time.Second},
		{boot.FirmwareBIOS, 28, 3, 28 * time.Second},
		{boot.FirmwareBIOS, 28 << 8, 0, 0},
		{boot.FirmwareBIOS, 65535, 0, 0},
		{boot.FirmwareUEFI, 28, 3, 28 * time.Second},
		{boot.FirmwareUEFI, 28 << 8, 3, 28 * time.Second},
		{boot.FirmwareHTTP, 12 << 8, 2, 12 * time.Second},
	} {
		if n, d := lostBefore(c.fw, c.secs); n != c.packets || d != c.d {
			t.Errorf("%s secs %d: %d packets, %s; want %d, %s", c.fw, c.secs, n, d, c.packets, c.d)
		}
	}
}

// BenchmarkJudge: it runs for every attempt that runs, every other second.
func BenchmarkJudge(b *testing.B) {
	for _, s := range []struct {
		name string
		a    *boot.Attempt
	}{{"booted", healthy()["UEFI of 2010 to 2017, two-step on the repeat"]}, {"stalled", asking(boot.FirmwareUEFI, plain(), proxy).end(boot.AttemptStalled)}} {
		b.Run(s.name, func(b *testing.B) {
			b.ReportAllocs()
			l := site()
			for b.Loop() {
				if len(Judge(s.a, l)) == 0 {
					b.Fatal(fmt.Sprint("no verdict on ", s.name))
				}
			}
		})
	}
}
