package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// ended are the states that an attempt can end in.
var ended = []boot.AttemptState{boot.AttemptBooted, boot.AttemptLocal, boot.AttemptIgnored, boot.AttemptStalled, boot.AttemptFailed}

// confidences is the closed set of the label of that name.
var confidences = []boot.VerdictConfidence{boot.Certain, boot.Likely, boot.Possible}

// scriptOutcomes are the reasons why a script was not rendered as it was meant.
var scriptOutcomes = []boot.Reason{boot.ReasonRender, boot.ReasonTemplate}

// labelAttempt is the exemplars' label. The attempt's name leads to its timeline.
const labelAttempt = "attempt"

// maxExemplar bounds the attempt's name in an exemplar: OpenMetrics allows 128
// characters for names and values of all its labels.
const maxExemplar = 64

// attempts are the collectors that Ended feeds. Every series exists from the
// start, so nothing that a stranger does can add one.
type attempts struct {
	total    *prometheus.CounterVec
	verdicts map[boot.Reason]map[boot.VerdictConfidence]prometheus.Counter
	time     map[boot.AttemptState]prometheus.Observer
	stages   map[boot.StageName]prometheus.Observer
}

// served lists the names of the architectures that get series at zero: those that
// the box has a program for, the Raspberry Pi, and the one for all others.
func served() []string {
	var names []string
	for _, a := range boot.Archs() {
		if a.Loader != "" || a.Platform == boot.PlatformRPI {
			names = append(names, a.Name)
		}
	}
	return append(names, boot.Arch(0xffff).String())
}

func newAttempts(registry *prometheus.Registry) *attempts {
	a := &attempts{
		total:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: NameAttempts, Help: "Boots of machines that ended, by how they ended and by architecture."}, []string{"state", "arch"}),
		verdicts: map[boot.Reason]map[boot.VerdictConfidence]prometheus.Counter{},
		time:     map[boot.AttemptState]prometheus.Observer{}, stages: map[boot.StageName]prometheus.Observer{},
	}
	verdicts := prometheus.NewCounterVec(prometheus.CounterOpts{Name: NameAttemptVerdicts, Help: "Verdicts on boots that ended: the main one of each, and further ones that are certain."}, []string{"verdict", "confidence"})
	whole := prometheus.NewHistogramVec(native(prometheus.HistogramOpts{
		Name: NameAttemptTime, Help: "Time from the first to the last packet of a boot, by how it ended.",
		Buckets: []float64{1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 21600},
	}), []string{"state"})
	stage := prometheus.NewHistogramVec(native(prometheus.HistogramOpts{
		Name: NameStageTime, Help: "Time from the first to the last sign of a stage in boots that ended.",
		Buckets: []float64{.01, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 1800},
	}), []string{"stage"})
	registry.MustRegister(a.total, verdicts, whole, stage)
	for _, s := range ended {
		a.time[s] = whole.WithLabelValues(string(s))
		for _, arch := range served() {
			a.total.WithLabelValues(string(s), arch)
		}
	}
	for _, v := range append(boot.VerdictNames(), outcomeOther) {
		a.verdicts[v] = map[boot.VerdictConfidence]prometheus.Counter{}
		for _, c := range confidences {
			a.verdicts[v][c] = verdicts.WithLabelValues(string(v), string(c))
		}
	}
	for _, s := range boot.StageNames() {
		a.stages[s] = stage.WithLabelValues(string(s))
	}
	return a
}

// native adds a native histogram to a classic one. It costs memory only for
// buckets that were hit, and starts anew rather than grow.
func native(o prometheus.HistogramOpts) prometheus.HistogramOpts {
	o.NativeHistogramBucketFactor, o.NativeHistogramMaxBucketNumber, o.NativeHistogramMinResetDuration = 1.1, 100, time.Hour
	return o
}

// Ended counts an attempt that has come to its end, once per attempt. One that
// still runs is not counted.
func (m *Metrics) Ended(a boot.Attempt) {
	whole, ok := m.attempts.time[a.State]
	if !ok {
		return
	}
	mark := exemplar(a.ID)
	arch := boot.Arch(0xffff)
	if a.ArchKnown {
		arch = a.Arch
	}
	count(m.attempts.total.WithLabelValues(string(a.State), arch.String()), mark)
	observe(whole, a.Took, mark)
	seen := map[boot.StageName]bool{}
	for _, s := range a.Stages {
		h, ok := m.attempts.stages[s.Name]
		if ok && s.Count > 0 && !seen[s.Name] {
			seen[s.Name] = true
			observe(h, s.Took, mark)
		}
	}
	for i, v := range a.Verdicts {
		// What is merely possible besides the main verdict is an alternative to
		// it, not a second thing that happened.
		if i > 0 && v.Confidence != boot.Certain || i >= boot.MaxAttemptVerdicts {
			continue
		}
		count(m.attempts.verdict(v), mark)
	}
}

// verdict is the counter of v, the one for others when v is outside the sets.
func (a *attempts) verdict(v boot.Verdict) prometheus.Counter {
	byConfidence, ok := a.verdicts[v.Name]
	if !ok {
		byConfidence = a.verdicts[outcomeOther]
	}
	if c, ok := byConfidence[v.Confidence]; ok {
		return c
	}
	return byConfidence[boot.Possible]
}

// exemplar is the label that leads from a figure to an attempt; nil when the name
// is not one that OpenMetrics can carry.
func exemplar(id boot.AttemptID) prometheus.Labels {
	if id == "" || len(id) > maxExemplar {
		return nil
	}
	for _, c := range []byte(id) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && c != '-' {
			return nil
		}
	}
	return prometheus.Labels{labelAttempt: string(id)}
}

func count(c prometheus.Counter, mark prometheus.Labels) {
	if e, ok := c.(prometheus.ExemplarAdder); ok && mark != nil {
		e.AddWithExemplar(1, mark)
		return
	}
	c.Inc()
}

func observe(o prometheus.Observer, d time.Duration, mark prometheus.Labels) {
	seconds := max(d, 0).Seconds()
	if e, ok := o.(prometheus.ExemplarObserver); ok && mark != nil {
		e.ObserveWithExemplar(seconds, mark)
		return
	}
	o.Observe(seconds)
}
