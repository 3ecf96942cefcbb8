package metrics

import (
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/bootpuck/bootpuck/appliance/boot"
	"github.com/bootpuck/bootpuck/appliance/health"
)

func newTest() (*Metrics, *prometheus.Registry) {
	reg := prometheus.NewPedanticRegistry()
	return New(reg, Sources{
		Version: "v0", Rivals: func() int { return 2 }, Clients: func() int { return 3 }, Machines: func() int { return 7 }, Waiting: func() int { return 2 }, LogDropped: func() uint64 { return 4 },
		Health: func() health.Report {
			return health.Report{Name: "box", Status: health.OK, Children: []health.Report{
				{Name: "state", Status: health.Degraded}, {Name: "tftp", Status: health.Failed},
			}}
		},
	}), reg
}

func exposition(t *testing.T, m *Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

func TestPromlint(t *testing.T) {
	m, _ := newTest()
	problems, err := promlint.New(strings.NewReader(exposition(t, m))).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestPromtool(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed (Debian package prometheus)")
	}
	m, _ := newTest()
	cmd := exec.CommandContext(t.Context(), promtool, "check", "metrics")
	cmd.Stdin = strings.NewReader(exposition(t, m))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}

func TestKnownLabelsStartAtZero(t *testing.T) {
	m, _ := newTest()
	text := exposition(t, m)
	for _, want := range []string{
		`bootpuck_boot_stage_total{arch="uefi-x64",stage="offer"} 0`,
		`bootpuck_requests_ignored_total{reason="class"} 0`,
		`bootpuck_requests_ignored_total{reason="rate"} 0`,
		`bootpuck_tftp_transfers_total{outcome="probe"} 0`,
		`bootpuck_http_requests_total{code="4xx",route="script"} 0`,
		`bootpuck_warnings_total{reason="option60"} 0`,
		`bootpuck_diag_healthy{check="box"} 1`,
		`bootpuck_diag_healthy{check="state"} 0.5`,
		`bootpuck_diag_healthy{check="tftp"} 0`,
		`bootpuck_rival_responders 2`,
		`bootpuck_clients_remembered 3`,
		`bootpuck_log_lines_dropped_total 4`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("no line %q", want)
		}
	}
}

func TestCounting(t *testing.T) {
	m, _ := newTest()
	m.Answered(boot.FormDirect, time.Millisecond)
	m.Silence(boot.ReasonClass)
	m.Silence("made-up")
	m.TFTPDone(boot.ReasonNone, false, time.Second)
	m.TFTPDone(boot.ReasonNotFound, false, 0)
	m.TFTPDone(boot.ReasonClientAborted, true, 0)
	m.HTTPDone("script", 200, 10, time.Millisecond)
	m.HTTPDone("../../etc", 999, 1, 0)
	m.Passed(StageScript, boot.ArchUEFIx64, true)
	m.Passed(StageScript, 0, false)
	m.Record(boot.Event{Kind: boot.KindWarning, Reason: boot.ReasonLoop})
	text := exposition(t, m)
	for _, want := range []string{
		`bootpuck_dhcp_replies_total{form="direct"} 1`,
		`bootpuck_requests_ignored_total{reason="class"} 1`,
		`bootpuck_requests_ignored_total{reason="other"} 1`,
		`bootpuck_tftp_transfers_total{outcome="ok"} 1`,
		`bootpuck_tftp_transfers_total{outcome="not_found"} 1`,
		`bootpuck_tftp_transfers_total{outcome="probe"} 1`,
		`bootpuck_tftp_transfers_total{outcome="client_aborted"} 0`,
		`bootpuck_http_requests_total{code="2xx",route="script"} 1`,
		`bootpuck_http_requests_total{code="5xx",route="other"} 1`,
		`bootpuck_http_bytes_total 11`,
		`bootpuck_boot_stage_total{arch="uefi-x64",stage="script"} 1`,
		`bootpuck_boot_stage_total{arch="unknown",stage="script"} 1`,
		`bootpuck_warnings_total{reason="loop"} 1`,
		`bootpuck_events_total{kind="warning"} 1`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("no line %q", want)
		}
	}
}

// TestLabelsAreBounded feeds every architecture value and many reasons: the
// number of series must not follow what strangers send.
func TestLabelsAreBounded(t *testing.T) {
	m, reg := newTest()
	feed := func(n int) {
		for i := range n {
			m.Passed(StageOffer, boot.Arch(i), true)
			m.Silence(boot.Reason(strings.Repeat("x", i%100)))
			m.HTTPDone(strings.Repeat("y", i%100), i, 0, 0)
		}
	}
	feed(2000)
	before, err := testutil.GatherAndCount(reg)
	if err != nil {
		t.Fatal(err)
	}
	feed(0xffff)
	after, err := testutil.GatherAndCount(reg)
	if err != nil {
		t.Fatal(err)
	}
	if before != after {
		t.Errorf("series grew from %d to %d", before, after)
	}
}

// TestDecisions: decisions count by their reason, and no reason outside the
// closed set becomes a label.
func TestDecisions(t *testing.T) {
	t.Parallel()
	m, _ := newTest()
	for _, r := range []boot.Reason{"", "", boot.ReasonLoopBreaker, "made-up"} {
		m.Record(boot.Event{Kind: boot.KindDecision, Reason: r})
	}
	text := exposition(t, m)
	for _, want := range []string{
		NameDecisions + `{outcome="ok"} 2`, NameDecisions + `{outcome="loop_breaker"} 1`, NameDecisions + `{outcome="other"} 1`,
		NameDecisions + `{outcome="destructive"} 0`, NameMachines + " 7", NameWaiting + " 2",
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("no line %s", want)
		}
	}
	if strings.Contains(text, "made-up") {
		t.Error("a reason outside the set became a label")
	}
}
