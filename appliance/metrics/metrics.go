// Package metrics is the box's Prometheus side: every name is a constant here,
// registered once on a registry that is passed in, and fed by the rooms'
// counters and by events.
//
// It must never use a label a stranger can invent: no hardware or IP address,
// file name or identifier, only the closed sets of package boot.
package metrics

import (
	"net/http"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/bootpuck/bootpuck/appliance/boot"
	"github.com/bootpuck/bootpuck/appliance/health"
)

// Metric names. Dashboards and alert rules refer to them; renaming one is a
// change of interface.
const (
	NameBuildInfo       = "bootpuck_build_info"
	NameStage           = "bootpuck_boot_stage_total"
	NameReplies         = "bootpuck_dhcp_replies_total"
	NameIgnored         = "bootpuck_requests_ignored_total"
	NameReplyDuration   = "bootpuck_dhcp_reply_duration_seconds"
	NameTFTPTransfers   = "bootpuck_tftp_transfers_total"
	NameTFTPActive      = "bootpuck_tftp_transfers_active"
	NameTFTPBytes       = "bootpuck_tftp_bytes_total"
	NameTFTPRetransmits = "bootpuck_tftp_retransmits_total"
	NameTFTPDuration    = "bootpuck_tftp_transfer_duration_seconds"
	NameHTTPRequests    = "bootpuck_http_requests_total"
	NameHTTPBytes       = "bootpuck_http_bytes_total"
	NameHTTPInFlight    = "bootpuck_http_requests_in_flight"
	NameHTTPDuration    = "bootpuck_http_request_duration_seconds"
	NameEvents          = "bootpuck_events_total"
	NameWarnings        = "bootpuck_warnings_total"
	NameRivals          = "bootpuck_rival_responders"
	NameClients         = "bootpuck_clients_remembered"
	NameHealthy         = "bootpuck_diag_healthy"
	NameLogDropped      = "bootpuck_log_lines_dropped_total"
	NameDecisions       = "bootpuck_decisions_total"
	NameMachines        = "bootpuck_machines_recorded"
	NameWaiting         = "bootpuck_machines_waiting"
)

// Stage is a step of the boot funnel, a label of NameStage.
type Stage string

// Stages of the funnel in the order in which a machine passes them.
const (
	StageOffer      Stage = "offer"       // an OFFER was sent
	StageAcked      Stage = "acked"       // the 4011 round was answered
	StageLoaderTFTP Stage = "loader_tftp" // a loader went out whole by TFTP
	StageLoaderHTTP Stage = "loader_http" // a loader went out whole by HTTP
	StageScript     Stage = "script"      // the machine's script was sent
	StageFile       Stage = "file"        // an operator's file went out whole
)

// Stages lists all stages in funnel order.
func Stages() []Stage {
	return []Stage{StageOffer, StageAcked, StageLoaderTFTP, StageLoaderHTTP, StageScript, StageFile}
}

// outcomeOK is the outcome label of what ended well; otherwise it is a reason, or
// outcomeOther for one outside the closed set.
const (
	outcomeOK    = "ok"
	outcomeOther = "other"
)

// tftpOutcomes and httpOutcomes are the closed label sets of the two servers.
var (
	tftpOutcomes = []boot.Reason{
		boot.ReasonTFTPRequest, boot.ReasonTFTPWrite, boot.ReasonTFTPName, boot.ReasonNotFound, boot.ReasonClientLimit,
		boot.ReasonTotalLimit, boot.ReasonClientAborted, boot.ReasonClientSilent, boot.ReasonRead, boot.ReasonSource,
		boot.ReasonInterface, boot.ReasonInternal, boot.ReasonRate, boot.ReasonObserve, boot.ReasonSend,
	}
	warnings = []boot.Reason{
		boot.ReasonOption60, boot.ReasonOtherPXE, boot.ReasonServerBootFile, boot.ReasonLoop, boot.ReasonNameNeedsDNS,
		boot.ReasonTooLong, boot.ReasonNotStarted, boot.ReasonStoreCorrupt, boot.ReasonTemplate, boot.ReasonStateWait,
	}
	// decisions are the reasons why a machine gets something else than was decided
	// for it.
	decisions = []boot.Reason{
		boot.ReasonIdentityAgainst, boot.ReasonIdentityUnproven, boot.ReasonIdentityDoubt, boot.ReasonIdentityNewNIC,
		boot.ReasonDenied, boot.ReasonUnknownIgnored, boot.ReasonUnknownAsks, boot.ReasonDestructive, boot.ReasonLoopBreaker,
		boot.ReasonAssignExpired, boot.ReasonAssignUsedUp, boot.ReasonAssignFailed, boot.ReasonDisarmed, boot.ReasonNeedsMemory,
		boot.ReasonNeedsSigned, boot.ReasonNeedsPlatform, boot.ReasonNeedsCPU, boot.ReasonNeedsIPXE, boot.ReasonTemplate,
		boot.ReasonTargetMissing, boot.ReasonStateWait, boot.ReasonNotBootableHere, boot.ReasonClockUnset, boot.ReasonCodeWrong,
		boot.ReasonRefused, boot.ReasonTooManyRequests,
	}
	// HTTPRoutes are the label values for the kinds of request bootweb answers.
	httpRoutes = []string{"script", "answer", "callback", "boot", "files", "page", "none", "conn", "other"}
	httpCodes  = []string{"2xx", "3xx", "4xx", "5xx"}
)

// Metrics is the box's set of collectors.
type Metrics struct {
	registry *prometheus.Registry

	stage       *prometheus.CounterVec
	replies     *prometheus.CounterVec
	ignored     map[boot.Reason]prometheus.Counter
	replyTime   prometheus.Histogram
	tftpDone    *prometheus.CounterVec
	tftpActive  prometheus.Gauge
	tftpBytes   prometheus.Counter
	tftpResent  prometheus.Counter
	tftpTime    prometheus.Histogram
	httpDone    *prometheus.CounterVec
	httpBytes   prometheus.Counter
	httpActive  prometheus.Gauge
	httpTime    prometheus.Histogram
	events      *prometheus.CounterVec
	warned      *prometheus.CounterVec
	decided     *prometheus.CounterVec
	decisions   map[boot.Reason]bool // label values of decided
	otherReason prometheus.Counter
}

// Sources are the values that are read when a scrape comes.
type Sources struct {
	Version    string
	Health     func() health.Report
	Rivals     func() int    // DHCP and PXE servers heard besides us
	Clients    func() int    // clients remembered
	Machines   func() int    // machines recorded
	Waiting    func() int    // machines that wait for the operator's word
	LogDropped func() uint64 // log lines that found the writer busy
}

// New registers everything on registry, known label values at zero so that
// increase() sees the first event. It panics on a registry that has one of the
// names already: a programming error.
func New(registry *prometheus.Registry, src Sources) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		registry.MustRegister(v)
		return v
	}
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
		registry.MustRegister(g)
		return g
	}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		h := prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: name, Help: help, Buckets: buckets,
			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100,
		})
		registry.MustRegister(h)
		return h
	}
	m := &Metrics{registry: registry, ignored: map[boot.Reason]prometheus.Counter{}, decisions: map[boot.Reason]bool{}}
	m.stage = counter(NameStage, "Boot steps that clients have passed, by step and architecture.", "stage", "arch")
	m.replies = counter(NameReplies, "DHCP answers sent, by the form of the answer.", "form")
	ignored := counter(NameIgnored, "DHCP packets that were not answered, by reason.", "reason")
	m.replyTime = histogram(NameReplyDuration, "Time from reading a DHCP packet to handing its answer to the kernel.",
		[]float64{.00001, .000025, .00005, .0001, .00025, .0005, .001, .0025, .005, .01, .1, 1})
	m.tftpDone = counter(NameTFTPTransfers, "TFTP requests that ended, by outcome; size probes are no failures and have an outcome of their own.", "outcome")
	m.tftpActive = gauge(NameTFTPActive, "TFTP transfers that are open.")
	m.tftpBytes = counter(NameTFTPBytes, "File octets sent by TFTP, retransmissions not counted.").WithLabelValues()
	m.tftpResent = counter(NameTFTPRetransmits, "TFTP packets sent again.").WithLabelValues()
	m.tftpTime = histogram(NameTFTPDuration, "Duration of complete TFTP transfers.", []float64{.01, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300})
	m.httpDone = counter(NameHTTPRequests, "HTTP requests of machines, by what they asked for and class of status code.", "route", "code")
	m.httpBytes = counter(NameHTTPBytes, "Octets of HTTP bodies sent to machines.").WithLabelValues()
	m.httpActive = gauge(NameHTTPInFlight, "HTTP requests of machines that are being answered.")
	m.httpTime = histogram(NameHTTPDuration, "Duration of HTTP requests of machines.", []float64{.0005, .001, .005, .01, .05, .1, .5, 1, 5, 30, 120, 600})
	m.events = counter(NameEvents, "Events recorded, by kind.", "kind")
	m.warned = counter(NameWarnings, "Warnings raised, by reason.", "reason")
	m.decided = counter(NameDecisions, "Decisions about machines; the outcome is ok, or why a machine gets something else than was decided for it. The same decision within seconds counts once.", "outcome")

	for _, s := range Stages() {
		for _, a := range boot.Archs() {
			if a.Loader != "" {
				m.stage.WithLabelValues(string(s), a.Name)
			}
		}
		m.stage.WithLabelValues(string(s), boot.Arch(0xffff).String())
	}
	for _, f := range boot.Forms() {
		m.replies.WithLabelValues(string(f))
	}
	for _, r := range boot.Silences() {
		m.ignored[r] = ignored.WithLabelValues(string(r))
	}
	m.otherReason = ignored.WithLabelValues(outcomeOther)
	m.tftpDone.WithLabelValues(outcomeOK)
	m.tftpDone.WithLabelValues("probe")
	for _, r := range tftpOutcomes {
		m.tftpDone.WithLabelValues(string(r))
	}
	for _, route := range httpRoutes {
		for _, code := range httpCodes {
			m.httpDone.WithLabelValues(route, code)
		}
	}
	for _, k := range boot.Kinds() {
		m.events.WithLabelValues(string(k))
	}
	for _, r := range warnings {
		m.warned.WithLabelValues(string(r))
	}
	m.decided.WithLabelValues(outcomeOK)
	m.decided.WithLabelValues(outcomeOther)
	for _, r := range decisions {
		m.decided.WithLabelValues(string(r))
		m.decisions[r] = true
	}

	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: NameBuildInfo, Help: "Version of bootpuck and of the Go it was built with; always 1."}, []string{"version", "goversion"})
	build.WithLabelValues(src.Version, runtime.Version()).Set(1)
	registry.MustRegister(
		build,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: NameRivals, Help: "DHCP and PXE servers heard on the LAN besides this box."}, func() float64 { return float64(src.Rivals()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: NameClients, Help: "Clients that are remembered."}, func() float64 { return float64(src.Clients()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: NameMachines, Help: "Machines that are on record."}, func() float64 { return float64(src.Machines()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: NameWaiting, Help: "Machines that wait for the operator's word."}, func() float64 { return float64(src.Waiting()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: NameLogDropped, Help: "Log lines dropped because the writer was busy."}, func() float64 { return float64(src.LogDropped()) }),
		&healthCollector{report: src.Health},
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return m
}

// Handler serves the registry; it also negotiates OpenMetrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{EnableOpenMetrics: true, MaxRequestsInFlight: 8, Timeout: 10 * time.Second})
}

// Answered counts a DHCP answer of the given form; d is packet to answer.
func (m *Metrics) Answered(form boot.Form, d time.Duration) {
	m.replies.WithLabelValues(string(form)).Inc()
	m.replyTime.Observe(d.Seconds())
}

// Silence counts a DHCP packet that was not answered.
func (m *Metrics) Silence(r boot.Reason) {
	if c, ok := m.ignored[r]; ok {
		c.Inc()
		return
	}
	m.otherReason.Inc()
}

// TFTPActive moves the number of open transfers by delta.
func (m *Metrics) TFTPActive(delta int) { m.tftpActive.Add(float64(delta)) }

// TFTPBytes counts file octets sent and packets sent again.
func (m *Metrics) TFTPBytes(n int64, resent int) {
	m.tftpBytes.Add(float64(n))
	m.tftpResent.Add(float64(resent))
}

// TFTPDone counts a request that ended; probe is a size probe.
func (m *Metrics) TFTPDone(r boot.Reason, probe bool, d time.Duration) {
	switch {
	case probe:
		m.tftpDone.WithLabelValues("probe").Inc()
	case r == boot.ReasonNone:
		m.tftpDone.WithLabelValues(outcomeOK).Inc()
		m.tftpTime.Observe(d.Seconds())
	default:
		m.tftpDone.WithLabelValues(string(r)).Inc()
	}
}

// HTTPActive moves the number of requests in flight by delta.
func (m *Metrics) HTTPActive(delta int) { m.httpActive.Add(float64(delta)) }

// HTTPDone counts an answered request. Routes outside the closed set count as
// "other".
func (m *Metrics) HTTPDone(route string, code int, bytes int64, d time.Duration) {
	known := "other"
	for _, r := range httpRoutes {
		if r == route {
			known = route
		}
	}
	class := "5xx"
	if code >= 200 && code < 600 {
		class = httpCodes[code/100-2]
	}
	m.httpDone.WithLabelValues(known, class).Inc()
	m.httpBytes.Add(float64(bytes))
	m.httpTime.Observe(d.Seconds())
}

// Passed counts a step of the funnel.
func (m *Metrics) Passed(s Stage, arch boot.Arch, known bool) {
	if !known {
		arch = 0xffff
	}
	m.stage.WithLabelValues(string(s), arch.String()).Inc()
}

// Record counts an event by kind, warnings and decisions by reason. It is a boot.Sink.
func (m *Metrics) Record(e boot.Event) {
	m.events.WithLabelValues(string(e.Kind)).Inc()
	switch e.Kind {
	case boot.KindWarning:
		m.warned.WithLabelValues(string(e.Reason)).Inc()
	case boot.KindDecision:
		outcome := outcomeOther
		switch {
		case e.Reason == boot.ReasonNone:
			outcome = outcomeOK
		case m.decisions[e.Reason]:
			outcome = string(e.Reason)
		}
		m.decided.WithLabelValues(outcome).Inc()
	default:
	}
}

// healthCollector turns the health tree into one gauge per node.
type healthCollector struct{ report func() health.Report }

var healthDesc = prometheus.NewDesc(NameHealthy, "Parts of the box: 1 works, 0.5 works with a reservation, 0 has failed or waits for a failed part.", []string{"check"}, nil)

// Describe implements prometheus.Collector.
func (c *healthCollector) Describe(ch chan<- *prometheus.Desc) { ch <- healthDesc }

// Collect implements prometheus.Collector.
func (c *healthCollector) Collect(ch chan<- prometheus.Metric) {
	c.report().Walk(func(r health.Report) {
		v := 0.0
		switch r.Status {
		case health.OK:
			v = 1
		case health.Degraded:
			v = .5
		case health.Failed, health.Blocked:
		}
		ch <- prometheus.MustNewConstMetric(healthDesc, prometheus.GaugeValue, v, r.Name)
	})
}
