package admin

import (
	"net/http"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
	"github.com/bootpuck/bootpuck/appliance/journal"
)

// Bounds of the doctor's look back.
const (
	doctorTime  = 24 * time.Hour
	maxFailures = 20   // that are listed
	maxLooked   = 2000 // boots that are looked at
)

// doctorDoc is what is wrong now, on the LAN and with the boots of a day.
type doctorDoc struct {
	Now      time.Time      `json:"now"`
	Since    time.Time      `json:"since"`    // how far it looked back
	Worst    boot.Severity  `json:"worst"`    // of the findings, and of failures that are not over
	Findings []boot.Verdict `json:"findings"` // on the LAN now
	Failed   int            `json:"failed"`   // boots that went wrong since then
	Failures []failure      `json:"failures"` // the latest of them
}

// failure is a boot that went wrong. It is over when the machine booted since.
type failure struct {
	Attempt boot.Attempt `json:"attempt"` // without its events
	Over    bool         `json:"over"`
}

func (a *api) getDoctor(w http.ResponseWriter, c *call) {
	doc, p := a.doctor(c)
	if p != nil {
		p.write(w, c.Request)
		return
	}
	writeJSON(w, http.StatusOK, doc)
}

func (a *api) doctor(c *call) (doctorDoc, *Problem) {
	attempts, p := a.attempts()
	if p != nil {
		return doctorDoc{}, p
	}
	source, p := a.lan()
	if p != nil {
		return doctorDoc{}, p
	}
	give, p := take(c.Context(), a.gather)
	if p != nil {
		return doctorDoc{}, p
	}
	defer give()
	now := a.Now()
	q := journal.AttemptQuery{Since: now.Add(-doctorTime), Limit: maxAttempts}
	var list []boot.Attempt
	for len(list) < maxLooked {
		page, next := attempts.List(q)
		list = append(list, page...)
		if next == "" || next == q.After {
			break
		}
		q.After = next
	}
	doc := diagnose(source.Findings(), list)
	doc.Now, doc.Since = now, q.Since
	for i, f := range doc.Failures {
		doc.Failures[i].Attempt = attemptDoc(f.Attempt, c.trusted, false)
	}
	return doc, nil
}

// diagnose gathers what is wrong from the findings on the LAN and from boots,
// newest first.
func diagnose(findings []boot.Verdict, list []boot.Attempt) doctorDoc {
	doc := doctorDoc{Worst: boot.SeverityInfo, Findings: orEmpty(findings), Failures: []failure{}}
	for _, v := range findings {
		doc.Worst = worse(doc.Worst, v.Severity)
	}
	well := map[string]bool{} // machines that have booted since
	for _, t := range list {
		names := namesOf(t)
		if !t.State.Bad() {
			if t.State == boot.AttemptBooted || t.State == boot.AttemptLocal {
				for _, n := range names {
					well[n] = true
				}
			}
			continue
		}
		over := false
		for _, n := range names {
			over = over || well[n]
		}
		doc.Failed++
		if len(doc.Failures) < maxFailures {
			doc.Failures = append(doc.Failures, failure{t, over})
		}
		if over {
			continue
		}
		severity := boot.SeverityWarning // it did not boot, whatever the reason
		if len(t.Verdicts) > 0 {
			severity = worse(severity, t.Verdict().Severity)
		}
		doc.Worst = worse(doc.Worst, severity)
	}
	return doc
}

// namesOf are all by which an attempt's machine may be known in another one.
func namesOf(t boot.Attempt) []string {
	var names []string
	if t.Machine != "" {
		names = append(names, "id "+string(t.Machine))
	}
	for _, m := range append([]boot.MAC{t.MAC}, t.MACs...) {
		if m != "" {
			names = append(names, "mac "+string(m))
		}
	}
	return names
}

// worse is the severity that matters more.
func worse(a, b boot.Severity) boot.Severity {
	rank := map[boot.Severity]int{boot.SeverityInfo: 0, boot.SeverityWarning: 1, boot.SeverityCritical: 2}
	if rank[b] > rank[a] {
		return b
	}
	return a
}
