package metrics

import (
	"fmt"
	"math/rand/v2"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// booted is an attempt that went well.
func booted() boot.Attempt {
	return boot.Attempt{
		ID: "00c0ffee00000001", State: boot.AttemptBooted, Arch: boot.ArchUEFIx64, ArchKnown: true, Took: 42 * time.Second,
		Stages: []boot.Stage{
			{Name: boot.StageDiscover, Count: 2, Took: 4 * time.Second},
			{Name: boot.StageLoader, Count: 1, Took: 300 * time.Millisecond, Done: true},
			{Name: boot.StageMenu},
		},
		Verdicts: []boot.Verdict{
			{Name: boot.ReasonBooted, Confidence: boot.Certain},
			{Name: boot.ReasonTFTPSlow, Confidence: boot.Certain},
			{Name: boot.ReasonSpanningTree, Confidence: boot.Possible},
		},
	}
}

func wantLines(t *testing.T, text string, lines ...string) {
	t.Helper()
	for _, l := range lines {
		if !strings.Contains(text, l+"\n") {
			t.Errorf("no line %q", l)
		}
	}
}

func TestAttempts(t *testing.T) {
	t.Parallel()
	m, _ := newTest()
	wantLines(t, exposition(t, m),
		NameAttempts+`{arch="uefi-x64",state="booted"} 0`, NameAttempts+`{arch="unknown",state="failed"} 0`, NameAttempts+`{arch="rpiboot",state="stalled"} 0`,
		NameAttemptVerdicts+`{confidence="likely",verdict="offer_ignored"} 0`, NameAttemptTime+`_count{state="local"} 0`,
		NameStageTime+`_count{stage="installer"} 0`, NameQuirkChanges+` 0`, NameScripts+`{outcome="render"} 0`, NameStoreWrite+`_count 0`,
	)
	m.Ended(booted())
	running := booted()
	running.State = boot.AttemptRunning
	m.Ended(running) // no end
	m.Ended(boot.Attempt{State: boot.AttemptFailed, Took: -time.Second, Verdicts: []boot.Verdict{{Name: "made up", Confidence: "certain"}, {Name: boot.ReasonExhausted, Confidence: "who knows"}}})
	for _, r := range []boot.Reason{"", boot.ReasonRender, boot.ReasonTemplate, "made up"} {
		m.Record(boot.Event{Kind: boot.KindScript, Reason: r})
	}
	m.Record(boot.Event{Kind: boot.KindQuirk})
	m.StoreWrite(3 * time.Millisecond)
	m.StoreFailed()
	text := exposition(t, m)
	wantLines(t, text,
		NameAttempts+`{arch="uefi-x64",state="booted"} 1`, NameAttempts+`{arch="unknown",state="failed"} 1`,
		NameAttemptVerdicts+`{confidence="certain",verdict="booted"} 1`, NameAttemptVerdicts+`{confidence="certain",verdict="tftp_slow"} 1`,
		NameAttemptVerdicts+`{confidence="possible",verdict="spanning_tree"} 0`, // an alternative, not a second thing
		NameAttemptVerdicts+`{confidence="certain",verdict="other"} 1`, NameAttemptVerdicts+`{confidence="possible",verdict="address_exhausted"} 0`,
		NameAttemptTime+`_sum{state="booted"} 42`, NameAttemptTime+`_bucket{state="booted",le="30"} 0`, NameAttemptTime+`_bucket{state="booted",le="60"} 1`,
		NameAttemptTime+`_sum{state="failed"} 0`,
		NameStageTime+`_count{stage="discover"} 1`, NameStageTime+`_count{stage="loader"} 1`, NameStageTime+`_count{stage="menu"} 0`,
		NameScripts+`{outcome="ok"} 1`, NameScripts+`{outcome="render"} 1`, NameScripts+`{outcome="template"} 1`, NameScripts+`{outcome="other"} 1`,
		NameQuirkChanges+` 1`, NameStoreWrite+`_count 1`, NameStoreFailures+` 1`,
	)
	if strings.Contains(text, `state="running"`) {
		t.Error("attempts that run are counted as ended")
	}
}

// TestVerdictsOfOneAttempt: the first verdict counts whatever its confidence.
func TestVerdictsOfOneAttempt(t *testing.T) {
	t.Parallel()
	m, _ := newTest()
	m.Ended(boot.Attempt{State: boot.AttemptStalled, Verdicts: []boot.Verdict{
		{Name: boot.ReasonSnooping, Confidence: boot.Possible}, {Name: boot.ReasonExhausted, Confidence: boot.Likely},
	}})
	wantLines(t, exposition(t, m),
		NameAttemptVerdicts+`{confidence="possible",verdict="snooping"} 1`, NameAttemptVerdicts+`{confidence="likely",verdict="address_exhausted"} 0`)
}

func openMetrics(t *testing.T, m *Metrics) string {
	t.Helper()
	r := httptest.NewRequest("GET", "/metrics", nil)
	r.Header.Set("Accept", "application/openmetrics-text; version=1.0.0")
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, r)
	if got := w.Header().Get("Content-Type"); w.Code != 200 || !strings.HasPrefix(got, "application/openmetrics-text") {
		t.Fatalf("status %d, type %s", w.Code, got)
	}
	return w.Body.String()
}

// TestExemplars: in OpenMetrics the figures lead to the attempt behind them.
func TestExemplars(t *testing.T) {
	t.Parallel()
	m, _ := newTest()
	m.Ended(booted())
	text := openMetrics(t, m)
	for _, series := range []string{
		NameAttempts + `{arch="uefi-x64",state="booted"} 1.0`,
		NameAttemptVerdicts + `{confidence="certain",verdict="booted"} 1.0`,
		NameAttemptTime + `_bucket{state="booted",le="60.0"} 1`,
		NameStageTime + `_bucket{stage="loader",le="0.5"} 1`,
	} {
		want := regexp.QuoteMeta(series + ` # {attempt="00c0ffee00000001"} `)
		if !regexp.MustCompile(`(?m)^` + want).MatchString(text) {
			t.Errorf("no exemplar at %s", series)
		}
	}
	if strings.Contains(exposition(t, m), "00c0ffee") {
		t.Error("the attempt's name is in the plain text form, where it could only be a label")
	}
}

// TestExemplarNames: a name that OpenMetrics cannot carry is left out; it must
// neither end the box nor spoil the scrape.
func TestExemplarNames(t *testing.T) {
	t.Parallel()
	for _, id := range []boot.AttemptID{"", boot.AttemptID(strings.Repeat("a", maxExemplar+1)), "A0", "a\"b", "\xff", "a b", "a\n", "é"} {
		m, _ := newTest()
		a := booted()
		a.ID = id
		m.Ended(a)
		if text := openMetrics(t, m); strings.Contains(text, "attempt=") {
			t.Errorf("%q became an exemplar", id)
		} else if !strings.Contains(text, NameAttemptTime+"_count{state=\"booted\"} 1\n") {
			t.Errorf("%q: the attempt was not counted", id)
		}
	}
	m, _ := newTest()
	a := booted()
	a.ID = boot.AttemptID(strings.Repeat("a", maxExemplar))
	m.Ended(a)
	if !strings.Contains(openMetrics(t, m), string(a.ID)) {
		t.Error("the longest name is left out")
	}
}

// hostile makes events and attempts of random everything.
type hostile struct{ *rand.Rand }

func (h hostile) text() string {
	b := make([]byte, h.IntN(40))
	for i := range b {
		b[i] = byte(h.Uint32())
	}
	return string(b)
}

// one of a closed set, or anything.
func oneOf[T ~string](h hostile, set []T) T {
	if h.IntN(3) == 0 {
		return T(h.text())
	}
	return set[h.IntN(len(set))]
}

func (h hostile) reason() boot.Reason {
	return oneOf(h, slices.Concat(boot.VerdictNames(), boot.FindingNames(), boot.Silences(), warnings, decisions, tftpOutcomes))
}

func (h hostile) event() boot.Event {
	return boot.Event{
		Time: time.Unix(h.Int64N(1<<40), 0), Kind: oneOf(h, boot.Kinds()), Reason: h.reason(), MAC: boot.MAC(h.text()),
		Addr: netip.AddrFrom4([4]byte{byte(h.Uint32()), 1, 2, 3}), Interface: h.text(), XID: h.Uint32(), Arch: boot.Arch(h.Uint32()), ArchKnown: h.IntN(2) == 0,
		Form: oneOf(h, boot.Forms()), File: h.text(), Bytes: h.Int64() - 1<<62, Duration: time.Duration(h.Int64()), Text: h.text(), Class: h.text(),
		Attempt: boot.AttemptID(h.text()),
	}
}

func (h hostile) attempt() boot.Attempt {
	a := boot.Attempt{
		ID: boot.AttemptID(fmt.Sprintf("%016x", h.Uint64())), State: oneOf(h, boot.AttemptStates()), Arch: boot.Arch(h.Uint32()), ArchKnown: h.IntN(2) == 0,
		Took: time.Duration(h.Int64()) - 1<<62, ArchName: h.text(), Class: h.text(), Name: h.text(), Profile: h.text(),
	}
	if h.IntN(10) == 0 {
		a.ID = boot.AttemptID(h.text())
	}
	for range h.IntN(20) {
		a.Stages = append(a.Stages, boot.Stage{Name: oneOf(h, boot.StageNames()), Count: h.IntN(3), Took: time.Duration(h.Int64N(1 << 42))})
	}
	for range h.IntN(20) {
		a.Verdicts = append(a.Verdicts, boot.Verdict{Name: h.reason(), Confidence: oneOf(h, confidences), Severity: oneOf(h, severities), Text: h.text()})
	}
	return a
}

// maxSeries bounds what one box costs a Prometheus, in lines of the text form
// (without the native histograms, which have at most 100 buckets each).
const maxSeries = 2500

// TestHostileClients: 100,000 machines that make up everything they can add no
// series but those of the registry of architectures, and the scrape keeps its
// size.
func TestHostileClients(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewPedanticRegistry()
	h := hostile{rand.New(rand.NewPCG(4, 2))}
	var servers []boot.LANServer
	var ports []boot.LANPort
	var findings []boot.Verdict
	for range 2000 {
		servers = append(servers, boot.LANServer{DHCP: h.IntN(2) == 0, PXE: h.IntN(2) == 0, Twin: h.IntN(9) == 0, BootFiles: []string{h.text()}})
		ports = append(ports, boot.LANPort{Name: h.text(), Up: h.IntN(2) == 0, Served: h.IntN(2) == 0, Speed: h.IntN(1 << 20)})
		findings = append(findings, boot.Verdict{Name: h.reason(), Severity: oneOf(h, severities)})
	}
	m := New(reg, Sources{
		Site: h.text() + strings.Repeat("é", 500), Box: "\xff\xfe",
		LAN:      func() boot.LAN { return boot.LAN{Servers: servers, Ports: ports} },
		Findings: func() []boot.Verdict { return findings },
	})
	feed := func(clients int) {
		for range clients {
			e := h.event()
			m.Record(e)
			m.Passed(Stages()[h.IntN(len(Stages()))], e.Arch, e.ArchKnown)
			m.Answered(e.Form, e.Duration)
			m.Silence(e.Reason)
			m.TFTPDone(e.Reason, h.IntN(5) == 0, e.Duration)
			m.HTTPDone(oneOf(h, httpRoutes), h.IntN(1200)-200, h.Int64N(1<<40), time.Duration(h.Int64N(1<<40)))
			m.Ended(h.attempt())
		}
	}
	series := func() int {
		n, err := testutil.GatherAndCount(reg)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	for a := range boot.Arch(100) { // every architecture there is, and more
		for _, s := range ended {
			m.Ended(boot.Attempt{State: s, Arch: a, ArchKnown: true})
		}
		for _, s := range Stages() {
			m.Passed(s, a, true)
		}
	}
	feed(100)
	before, size := series(), len(openMetrics(t, m))
	feed(100_000)
	if after := series(); after != before {
		t.Errorf("series grew from %d to %d", before, after)
	}
	text := openMetrics(t, m)
	lines := strings.Count(text, "\n")
	t.Logf("%d metrics, %d lines, %d octets of OpenMetrics (%d after 100 clients)", before, lines, len(text), size)
	if lines > maxSeries || len(text) > 512<<10 {
		t.Errorf("%d lines, %d octets", lines, len(text))
	}
}

// BenchmarkRecord is what an event costs on the way of every offer.
func BenchmarkRecord(b *testing.B) {
	m, _ := newTest()
	e := boot.Event{Kind: boot.KindOffer}
	b.ReportAllocs()
	for b.Loop() {
		m.Record(e)
	}
}

// BenchmarkEnded is what an attempt costs at its end.
func BenchmarkEnded(b *testing.B) {
	m, _ := newTest()
	a := booted()
	b.ReportAllocs()
	for b.Loop() {
		m.Ended(a)
	}
}
