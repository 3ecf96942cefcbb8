package monitoring

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/bootpuck/bootpuck/appliance/boot"
	"github.com/bootpuck/bootpuck/appliance/health"
	"github.com/bootpuck/bootpuck/appliance/metrics"
)

// scriptMinutes is how long the script is.
const scriptMinutes = 92

// expected says what has to fire in the script, and when: in its minutes.
var expected = []struct {
	alert, box      string
	fires, resolves float64
}{
	{"BootpuckNewResponder", "hamburg attic", 12, 30},
	{"BootpuckRogueDHCP", "hamburg attic", 13, 30},
	{"BootpuckClockUnset", "hamburg attic", 15, 22},
	{"BootpuckBootsFail", "berlin cellar", 17, 30},
	{"BootpuckSomeBootsFail", "berlin cellar", 21, 75},
	{"BootpuckClientNotServed", "berlin lab", 25, 85},
	{"BootpuckThrottled", "hamburg attic", 35, 38},
	{"BootpuckHot", "hamburg attic", 35, 40},
	{"BootpuckLinkSlower", "berlin cellar", 35, 45},
	{"BootpuckMachinesWaiting", "berlin lab", 35, 40},
	{"BootpuckDown", "berlin lab", 45, 52},
	{"BootpuckStoreFails", "hamburg attic", 47, 62},
	{"BootpuckScriptsFail", "berlin cellar", 48, 63},
	{"BootpuckStateFull", "hamburg attic", 49, 58},
	{"BootpuckPartFailed", "berlin cellar", 60, 65},
	{"BootpuckOption60", "berlin lab", 65, 75},
	{"BootpuckTwin", "berlin cellar", 67, 72},
	{"BootpuckLinkDown", "hamburg attic", 68, 71},
}

// box plays a bootpuck: what it exports is real, what happens to it is a script.
type box struct {
	site, name string
	metrics    *metrics.Metrics
	handler    http.Handler
	rand       *rand.Rand

	mu  sync.Mutex
	now int // minute of the script
	n   int // boots so far
}

func theBoxes() []*box {
	var all []*box
	for i, name := range [][2]string{{"berlin", "cellar"}, {"berlin", "lab"}, {"hamburg", "attic"}} {
		b := &box{site: name[0], name: name[1], rand: rand.New(rand.NewPCG(uint64(i), 4))}
		b.metrics = metrics.New(prometheus.NewPedanticRegistry(), b.sources())
		b.handler = b.metrics.Handler()
		all = append(all, b)
	}
	return all
}

// ServeHTTP answers scrapes; a box that is down answers none.
func (b *box) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if b.is("lab") && b.between(40, 52) {
		http.Error(w, "down", http.StatusServiceUnavailable)
		return
	}
	b.handler.ServeHTTP(w, r)
}

func (b *box) is(name string) bool { return b.name == name }

// between says whether the script is at a minute from first, before last.
func (b *box) between(first, last int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.now >= first && b.now < last
}

func (b *box) minute() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.now
}

// choose is what a source tells from first, before last, at one box, and else.
func choose[T any](b *box, name string, first, last int, then, otherwise T) T {
	if b.is(name) && b.between(first, last) {
		return then
	}
	return otherwise
}

func (b *box) sources() metrics.Sources {
	return metrics.Sources{
		Version: "v1.2.0", Site: b.site, Box: b.name,
		Health:          b.health,
		Rivals:          func() int { return len(b.lan().Servers) },
		Clients:         func() int { return 40 + b.minute()/2 },
		Machines:        func() int { return 31 },
		Waiting:         func() int { return choose(b, "lab", 5, 40, 2, 0) },
		Active:          func() int { return 1 + b.minute()%3 },
		Armed:           func() int { return choose(b, "cellar", 20, 60, 3, 0) },
		LogDropped:      func() uint64 { return 0 },
		AttemptsDropped: func() uint64 { return 0 },
		Forward:         func() uint64 { return 0 },
		Findings:        b.findings,
		LAN:             b.lan,
		StoreSize:       func() (int64, bool) { return 131072 + int64(b.minute())*2048, true },
		StateDisk:       b.disk,
		ClockSet:        func() bool { return choose(b, "attic", 0, 22, false, true) },
		Heat:            b.heat,
		Throttled:       b.throttled,
		Capture: func() (uint64, uint64, uint64) {
			return uint64(b.minute()) * 900, uint64(b.minute()) * 270_000, 0
		},
		Syslog: func() (uint64, uint64) { return uint64(b.minute()) * 40, 0 },
	}
}

func (b *box) health() health.Report {
	tftp := choose(b, "cellar", 55, 65, health.Failed, health.OK)
	return health.Report{Name: "box", Status: health.OK, Children: []health.Report{
		{Name: "network", Status: health.OK},
		{Name: "dhcp", Status: health.OK},
		{Name: "tftp", Status: tftp},
		{Name: "http", Status: health.OK},
		{Name: "site", Status: choose(b, "attic", 12, 30, health.Degraded, health.OK)},
		{Name: "state", Status: choose(b, "attic", 47, 58, health.Degraded, health.OK)},
		{Name: "clock", Status: choose(b, "attic", 0, 22, health.Degraded, health.OK)},
	}}
}

func (b *box) findings() []boot.Verdict {
	var list []boot.Verdict
	add := func(name string, first, last int, v boot.Reason, s boot.Severity) {
		if b.is(name) && b.between(first, last) {
			list = append(list, boot.Verdict{Name: v, Severity: s, Confidence: boot.Certain})
		}
	}
	add("attic", 12, 30, boot.ReasonRogueDHCP, boot.SeverityCritical)
	add("attic", 12, 30, boot.ReasonNewResponder, boot.SeverityWarning)
	add("lab", 60, 75, boot.ReasonOption60, boot.SeverityCritical)
	add("cellar", 62, 72, boot.ReasonTwin, boot.SeverityWarning)
	return list
}

func (b *box) lan() boot.LAN {
	l := boot.LAN{
		Servers: []boot.LANServer{{DHCP: true}},
		Ports:   []boot.LANPort{{Name: "eth0", Up: true, Served: true, Speed: choose(b, "cellar", 30, 45, 100, 1000)}},
	}
	if b.is("attic") {
		l.Ports = append(l.Ports, boot.LANPort{Name: "eth1", Up: !b.between(66, 71), Served: true, Speed: 1000})
		if b.between(12, 30) {
			l.Servers = append(l.Servers, boot.LANServer{DHCP: true, BootFiles: []string{"pxelinux.0"}})
		}
	}
	if b.is("cellar") && b.between(62, 72) {
		l.Servers = append(l.Servers, boot.LANServer{PXE: true, Twin: true})
		l.Standby = true
	}
	return l
}

// disk fills up in the attic from minute 20 to 45 and is cleaned at 58.
func (b *box) disk() (free, size uint64, ok bool) {
	const full = 8 << 30
	free = full * 6 / 10
	if now := b.minute(); b.is("attic") && now >= 20 && now < 58 {
		free = uint64(max(full*6/10-(now-20)*full*24/1000, full/50))
	}
	return free, full, true
}

func (b *box) heat() (float64, bool) {
	if !b.is("attic") {
		return 0, false // a virtual machine
	}
	return choose(b, "attic", 25, 40, 84.0, 55.0) + float64(b.minute()%4), true
}

func (b *box) throttled() (map[metrics.Throttle]bool, bool) {
	return map[metrics.Throttle]bool{metrics.ThrottleHeat: b.between(33, 38)}, b.is("attic")
}

// play lets one minute happen.
func (b *box) play(now int) {
	b.mu.Lock()
	b.now = now
	b.mu.Unlock()
	if b.is("lab") && now >= 40 && now < 52 {
		return
	}
	m := b.metrics
	switch {
	case b.is("cellar") && now >= 10 && now < 22:
		for range 4 { // a switch that drops large packets
			b.boot(boot.AttemptFailed, boot.ReasonTFTPLargeBlocks, boot.Certain)
		}
		m.Record(boot.Event{Kind: boot.KindQuirk})
	case b.is("cellar") && now >= 22:
		for range 4 {
			b.boot(boot.AttemptBooted, boot.ReasonBooted, boot.Certain)
		}
	default:
		b.boot(boot.AttemptBooted, boot.ReasonBooted, boot.Certain)
	}
	if now%3 == 0 {
		b.boot(boot.AttemptLocal, boot.ReasonLeftLocal, boot.Certain)
		b.boot(boot.AttemptIgnored, boot.ReasonIgnored, boot.Certain)
		m.Silence(boot.ReasonUnknownIgnored)
		m.Record(boot.Event{Kind: boot.KindDecision, Reason: boot.ReasonUnknownIgnored})
	}
	if b.is("lab") && now == 25 {
		b.boot(boot.AttemptStalled, boot.ReasonQuirkSpent, boot.Likely)
	}
	if b.is("attic") {
		switch now {
		case 12:
			m.Record(boot.Event{Kind: boot.KindWarning, Reason: boot.ReasonRogueDHCP})
		case 31:
			b.boot(boot.AttemptStalled, boot.ReasonRivalWon, boot.Likely)
		case 47:
			m.StoreFailed()
		}
	}
	if b.is("cellar") && now == 48 {
		m.Record(boot.Event{Kind: boot.KindScript, Reason: boot.ReasonTemplate})
	}
	for range 30 {
		m.Silence(boot.ReasonClass)
	}
	m.StoreWrite(time.Duration(3+b.rand.IntN(12)) * time.Millisecond)
	m.HTTPDone("page", 404, 100, time.Millisecond)
	open := []int{2, 1, -1, -2}[now%4] // 2, 3, 2, 0 transfers, again and again
	m.TFTPActive(open)
	m.HTTPActive(2 * open)
}

// boot plays one machine from its first packet to the end.
func (b *box) boot(state boot.AttemptState, verdict boot.Reason, sure boot.VerdictConfidence) {
	b.n++
	m, r := b.metrics, b.rand
	ms := func(low, high int) time.Duration { return time.Duration(low+r.IntN(high-low)) * time.Millisecond }
	arch := []boot.Arch{boot.ArchUEFIx64, boot.ArchUEFIx64, boot.ArchUEFIx64, boot.ArchBIOS, boot.ArchUEFIARM64, boot.ArchUEFIx64HTTP}[r.IntN(6)]
	a := boot.Attempt{
		ID: boot.AttemptID(fmt.Sprintf("%08x%08x", len(b.name)*7919, b.n)), State: state, Arch: arch, ArchKnown: true,
		Verdicts: []boot.Verdict{{Name: verdict, Confidence: sure}},
	}
	stage := func(n boot.StageName, took time.Duration) {
		a.Stages = append(a.Stages, boot.Stage{Name: n, Count: 1, Took: took, Done: true})
		a.Took += took + ms(200, 900)
	}
	defer func() { m.Ended(a) }()
	stage(boot.StageDiscover, ms(0, 4000))
	if state == boot.AttemptIgnored {
		return
	}
	form := []boot.Form{boot.FormDirect, boot.FormDirect, boot.FormTwoStep}[r.IntN(3)]
	m.Answered(form, time.Duration(80+r.IntN(200))*time.Microsecond)
	m.Record(boot.Event{Kind: boot.KindOffer})
	m.Passed(metrics.StageOffer, arch, true)
	stage(boot.StageOffer, ms(0, 2000))
	if form == boot.FormTwoStep {
		m.Passed(metrics.StageAcked, arch, true)
		stage(boot.StageAsk, ms(0, 300))
	}
	if verdict == boot.ReasonQuirkSpent || verdict == boot.ReasonRivalWon {
		return
	}
	m.TFTPDone(boot.ReasonNone, true, 0)
	if state == boot.AttemptFailed {
		m.TFTPDone(boot.ReasonClientSilent, false, 0)
		m.TFTPBytes(0, 0)
		stage(boot.StageLoader, ms(20_000, 30_000))
		return
	}
	if arch == boot.ArchUEFIx64HTTP {
		m.HTTPDone("boot", 200, 1<<20, ms(20, 90))
		m.Passed(metrics.StageLoaderHTTP, arch, true)
	} else {
		took := ms(250, 900)
		m.TFTPDone(boot.ReasonNone, false, took)
		m.TFTPBytes(1<<20, r.IntN(6))
		m.Passed(metrics.StageLoaderTFTP, arch, true)
		stage(boot.StageLoader, took)
	}
	m.Record(boot.Event{Kind: boot.KindScript})
	m.Record(boot.Event{Kind: boot.KindDecision})
	m.HTTPDone("script", 200, 900, ms(1, 4))
	m.Passed(metrics.StageScript, arch, true)
	stage(boot.StageScript, ms(5, 40))
	if state == boot.AttemptLocal {
		return
	}
	m.HTTPDone("files", 200, 60<<20, ms(600, 2500))
	m.Passed(metrics.StageFile, arch, true)
	stage(boot.StageKernel, ms(100, 400))
	stage(boot.StageFiles, ms(600, 2500))
	stage(boot.StageInstaller, ms(10_000, 40_000))
}
