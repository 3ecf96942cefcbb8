// Package metrics is the box's Prometheus side: every name is a constant here,
// registered once on a registry that is passed in, and fed by the rooms'
// counters and by events.
//
// It must never use a label a stranger can invent: no hardware or IP address,
// file name or identifier, only the closed sets of package boot and the box's own
// words. Identifiers of attempts are exemplars, which are bounded and no labels.
package metrics

import (
	"net/http"
	"runtime"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/bootpuck/bootpuck/appliance/boot"
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
	outcomeProbe = "probe"
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
		boot.ReasonArchConflict, boot.ReasonNoLease, boot.ReasonEventsDropped, boot.ReasonRate, boot.ReasonPermission,
		boot.ReasonNewResponder, boot.ReasonRogueDHCP, boot.ReasonWrongNextServer, boot.ReasonDuplicateAddress,
		boot.ReasonGatewayChanged, boot.ReasonTwin, boot.ReasonStandby, boot.ReasonNoDHCPServer, boot.ReasonClockUnset,
		boot.ReasonQuirkSpent, boot.ReasonSyslogFlood,
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
	replies     map[boot.Form]prometheus.Counter
	ignored     map[boot.Reason]prometheus.Counter
	replyTime   prometheus.Histogram
	tftpDone    map[boot.Reason]prometheus.Counter // by outcome
	tftpActive  prometheus.Gauge
	tftpBytes   prometheus.Counter
	tftpResent  prometheus.Counter
	tftpTime    prometheus.Histogram
	httpDone    *prometheus.CounterVec
	httpBytes   prometheus.Counter
	httpActive  prometheus.Gauge
	httpTime    prometheus.Histogram
	events      map[boot.Kind]prometheus.Counter
	otherEvent  prometheus.Counter
	warned      map[boot.Reason]prometheus.Counter
	decided     map[boot.Reason]prometheus.Counter
	scripts     map[boot.Reason]prometheus.Counter
	quirks      prometheus.Counter
	otherReason prometheus.Counter
	attempts    *attempts
	storeTime   prometheus.Histogram
	storeFailed prometheus.Counter
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
		h := prometheus.NewHistogram(native(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}))
		registry.MustRegister(h)
		return h
	}
	m := &Metrics{registry: registry, ignored: map[boot.Reason]prometheus.Counter{}, replies: map[boot.Form]prometheus.Counter{}, events: map[boot.Kind]prometheus.Counter{}, attempts: newAttempts(registry)}
	m.stage = counter(NameStage, "Boot steps that clients have passed, by step and architecture.", "stage", "arch")
	replies := counter(NameReplies, "DHCP answers sent, by the form of the answer.", "form")
	ignored := counter(NameIgnored, "DHCP packets that were not answered, by reason.", "reason")
	m.replyTime = histogram(NameReplyDuration, "Time from reading a DHCP packet to handing its answer to the kernel.",
		[]float64{.00001, .000025, .00005, .0001, .00025, .0005, .001, .0025, .005, .01, .1, 1})
	tftpDone := counter(NameTFTPTransfers, "TFTP requests that ended, by outcome; size probes are no failures and have an outcome of their own.", "outcome")
	m.tftpActive = gauge(NameTFTPActive, "TFTP transfers that are open.")
	m.tftpBytes = counter(NameTFTPBytes, "File octets sent by TFTP, retransmissions not counted.").WithLabelValues()
	m.tftpResent = counter(NameTFTPRetransmits, "TFTP packets sent again.").WithLabelValues()
	m.tftpTime = histogram(NameTFTPDuration, "Duration of complete TFTP transfers.", []float64{.01, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300})
	m.httpDone = counter(NameHTTPRequests, "HTTP requests of machines, by what they asked for and class of status code.", "route", "code")
	m.httpBytes = counter(NameHTTPBytes, "Octets of HTTP bodies sent to machines.").WithLabelValues()
	m.httpActive = gauge(NameHTTPInFlight, "HTTP requests of machines that are being answered.")
	m.httpTime = histogram(NameHTTPDuration, "Duration of HTTP requests of machines.", []float64{.0005, .001, .005, .01, .05, .1, .5, 1, 5, 30, 120, 600})
	events := counter(NameEvents, "Events recorded, by kind.", "kind")
	warned := counter(NameWarnings, "Warnings raised, by reason.", "reason")
	decided := counter(NameDecisions, "Decisions about machines; the outcome is ok, or why a machine gets something else than was decided for it. The same decision within seconds counts once.", "outcome")
	scripts := counter(NameScripts, "Scripts and configurations rendered for machines; the outcome is ok, or why something else was sent.", "outcome")
	m.quirks = counter(NameQuirkChanges, "Changes of the shape of answers to a machine that did not follow them.").WithLabelValues()
	m.storeTime = histogram(NameStoreWrite, "Time that a write to the state file took, up to the medium.", []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10})
	m.storeFailed = counter(NameStoreFailures, "Writes to the state file that failed.").WithLabelValues()

	for _, s := range Stages() {
		for _, arch := range served() {
			m.stage.WithLabelValues(string(s), arch)
		}
	}
	for _, f := range append(boot.Forms(), outcomeOther) {
		m.replies[f] = replies.WithLabelValues(string(f))
	}
	for _, r := range boot.Silences() {
		m.ignored[r] = ignored.WithLabelValues(string(r))
	}
	m.otherReason = ignored.WithLabelValues(outcomeOther)
	m.tftpDone = closed(tftpDone, tftpOutcomes, outcomeOK, outcomeProbe)
	for _, route := range httpRoutes {
		for _, code := range httpCodes {
			m.httpDone.WithLabelValues(route, code)
		}
	}
	for _, k := range boot.Kinds() {
		m.events[k] = events.WithLabelValues(string(k))
	}
	m.otherEvent = events.WithLabelValues(outcomeOther)
	m.warned = closed(warned, warnings)
	m.decided = closed(decided, decisions, outcomeOK)
	m.scripts = closed(scripts, scriptOutcomes, outcomeOK)

	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: NameBuildInfo, Help: "Version of bootpuck and of the Go it was built with; always 1."}, []string{"version", "goversion"})
	build.WithLabelValues(src.Version, runtime.Version()).Set(1)
	box := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: NameBoxInfo, Help: "What the operator calls the place and the box; always 1."}, []string{"site", "box"})
	box.WithLabelValues(label(src.Site), label(src.Box)).Set(1)
	registry.MustRegister(
		build, box, &sourceCollector{src},
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return m
}

// Handler serves the registry; it also negotiates OpenMetrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{EnableOpenMetrics: true, MaxRequestsInFlight: 8, Timeout: 10 * time.Second})
}

// Answered counts a DHCP answer of the given form; d is packet to answer.
func (m *Metrics) Answered(form boot.Form, d time.Duration) {
	c, ok := m.replies[form]
	if !ok {
		c = m.replies[outcomeOther]
	}
	c.Inc()
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
		pick(m.tftpDone, outcomeProbe).Inc()
	case r == boot.ReasonNone:
		pick(m.tftpDone, outcomeOK).Inc()
		m.tftpTime.Observe(d.Seconds())
	default:
		pick(m.tftpDone, r).Inc()
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

// Record counts an event by kind, warnings, decisions and scripts by reason. It is a
// boot.Sink, on the way of every packet: it looks up and adds, nothing else.
func (m *Metrics) Record(e boot.Event) {
	c, ok := m.events[e.Kind]
	if !ok {
		c = m.otherEvent
	}
	c.Inc()
	switch e.Kind {
	case boot.KindWarning:
		pick(m.warned, e.Reason).Inc()
	case boot.KindDecision:
		pick(m.decided, okOr(e.Reason)).Inc()
	case boot.KindScript:
		pick(m.scripts, okOr(e.Reason)).Inc()
	case boot.KindQuirk:
		m.quirks.Inc()
	default:
	}
}

// StoreWrite counts a write to the state file that took d; see StoreFailed for one
// that did not succeed.
func (m *Metrics) StoreWrite(d time.Duration) { m.storeTime.Observe(max(d, 0).Seconds()) }

// StoreFailed counts a write to the state file that failed.
func (m *Metrics) StoreFailed() { m.storeFailed.Inc() }

// closed makes the series of a label whose values are a closed set, with one for
// all others.
func closed(v *prometheus.CounterVec, values []boot.Reason, more ...boot.Reason) map[boot.Reason]prometheus.Counter {
	set := map[boot.Reason]prometheus.Counter{outcomeOther: v.WithLabelValues(outcomeOther)}
	for _, r := range slices.Concat(values, more) {
		set[r] = v.WithLabelValues(string(r))
	}
	return set
}

// pick is the counter of r in a set of closed.
func pick(set map[boot.Reason]prometheus.Counter, r boot.Reason) prometheus.Counter {
	if c, ok := set[r]; ok {
		return c
	}
	return set[outcomeOther]
}

func okOr(r boot.Reason) boot.Reason {
	if r == boot.ReasonNone {
		return outcomeOK
	}
	return r
}
