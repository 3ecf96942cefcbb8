package doctor

import (
	"cmp"
	"slices"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// Bounds of what is said, in octets and in number.
const (
	MaxText     = 512 // of a verdict's sentence, of its fix and of a piece of evidence
	MaxFindings = 32  // verdicts that Survey returns
	maxEvents   = 256 // events of an attempt that are looked at; attempts hold boot.MaxAttemptEvents
	maxWord     = 80  // of a stranger's word within a sentence
)

// Rule is one thing that the doctor can tell: what documentation, tests and pages
// need to know of it.
type Rule struct {
	Name  boot.Reason // the verdict's name
	LAN   bool        // it judges the LAN, not an attempt
	Title string      // a few words for a heading
	Looks string      // what it looks at, and what it must not be taken for
	Fix   string      // what a person does about it

	states  states
	dhcp    bool // it looks at one program's round of asking for an address
	outcome bool // it says how the attempt ended, not why: causes stand before it
	context bool // it says what else is to know: it stands behind everything
	judge   func(*view) (boot.Verdict, bool)
	// explains names verdicts that this one makes superfluous: they go when it is
	// certain, and become one of several possibilities when it is likely.
	explains []boot.Reason
	survey   func(*survey) []boot.Verdict
}

// means is what the verdict's name stands for.
func (r *Rule) means() string {
	if r.LAN && r.Name == boot.ReasonNoDHCPServer {
		return "No DHCP server answers on this LAN. Machines need an address before they can boot." // the reason speaks of one machine
	}
	return r.Name.Text()
}

// states is the set of states of an attempt that a rule speaks about.
type states uint8

const (
	onBooted states = 1 << iota
	onLocal
	onIgnored
	onBad // stalled, failed, running, and whatever a later version may call it
)

func stateSet(s boot.AttemptState) states {
	switch s {
	case boot.AttemptBooted:
		return onBooted
	case boot.AttemptLocal:
		return onLocal
	case boot.AttemptIgnored:
		return onIgnored
	case boot.AttemptRunning, boot.AttemptStalled, boot.AttemptFailed:
	}
	return onBad
}

// Rules lists everything that the doctor can tell, verdicts on attempts first,
// in the order in which equally sure ones stand.
func Rules() []Rule { return append(slices.Clone(attemptRules), lanRules...) }

// finding is a verdict with its place.
type finding struct {
	boot.Verdict
	rule int
}

// Judge says why an attempt ended as it did, the main verdict first, at most
// boot.MaxAttemptVerdicts. An attempt in a final state always gets one. For one
// that runs, it tells only what is certain or likely already, and mostly nothing.
// The attempt is not changed.
func Judge(a *boot.Attempt, lan boot.LAN) []boot.Verdict {
	v := newView(a, &lan)
	in := stateSet(a.State)
	var found []finding
	for i := range attemptRules {
		r := &attemptRules[i]
		if r.states&in == 0 {
			continue
		}
		if d, ok := r.judge(v); ok {
			d.Name = r.Name
			found = append(found, finding{d, i})
		}
	}
	// While the present program still has time, what stopped the one before is past.
	if in == onBad && !v.fetched() && (v.final || len(found) > 0) {
		found = earlier(v, found)
	}
	found = weigh(found)
	if !v.final {
		found = slices.DeleteFunc(found, func(f finding) bool { return f.Confidence == boot.Possible })
	}
	if len(found) == 0 && v.final {
		found = append(found, finding{unexplained(v), len(attemptRules)})
	}
	found = narrow(found)
	out := make([]boot.Verdict, 0, min(len(found), boot.MaxAttemptVerdicts))
	for _, f := range found[:min(len(found), boot.MaxAttemptVerdicts)] {
		out = append(out, bounded(f.Verdict))
	}
	return out
}

// earlier adds what the rules about addresses and offers say of the programs that
// asked before the last one: firmware that got nowhere by PXE goes on to HTTP Boot,
// and what stopped the one need not be what stopped the other. What is said of
// both is said once, as surely as of one.
func earlier(v *view, found []finding) []finding {
	for _, r := range v.rounds() {
		w := newView(&r, v.lan)
		for i := range attemptRules {
			rule := &attemptRules[i]
			if !rule.dhcp {
				continue
			}
			d, ok := rule.judge(w)
			if !ok {
				continue
			}
			d.Name = rule.Name
			at := slices.IndexFunc(found, func(f finding) bool { return f.rule == i })
			switch {
			case at < 0:
				found = append(found, finding{d, i})
			case doubt(d.Confidence) < doubt(found[at].Confidence):
				found[at].Verdict = d
			}
		}
	}
	return found
}

// maxDoubts is how many mere possibilities stand beside something surer: a person
// looks at the first, and perhaps at the second.
const maxDoubts = 2

// narrow drops possibilities beyond maxDoubts when the main verdict is surer.
func narrow(found []finding) []finding {
	if len(found) == 0 || found[0].Confidence == boot.Possible {
		return found
	}
	n := 0
	return slices.DeleteFunc(found, func(f finding) bool {
		if f.Confidence == boot.Possible {
			n++
		}
		return f.Confidence == boot.Possible && n > maxDoubts
	})
}

// weigh takes away what others explain and puts the rest in order: causes before
// context, the surest first, of equals what explains more.
func weigh(found []finding) []finding {
	var gone, doubted []boot.Reason
	for _, f := range found {
		switch f.Confidence {
		case boot.Certain:
			gone = append(gone, attemptRules[f.rule].explains...)
		case boot.Likely:
			doubted = append(doubted, attemptRules[f.rule].explains...)
		case boot.Possible:
		}
	}
	found = slices.DeleteFunc(found, func(f finding) bool { return slices.Contains(gone, f.Name) })
	for i := range found {
		if slices.Contains(doubted, found[i].Name) {
			found[i].Confidence = boot.Possible
		}
	}
	slices.SortStableFunc(found, func(a, b finding) int {
		return cmp.Or(
			cmp.Compare(attemptRules[a.rule].place(), attemptRules[b.rule].place()),
			cmp.Compare(doubt(a.Confidence), doubt(b.Confidence)),
			cmp.Compare(a.rule, b.rule),
		)
	})
	return found
}

func (r *Rule) place() int {
	switch {
	case r.context:
		return 2
	case r.outcome:
		return 1
	}
	return 0
}

// doubt orders confidences, surest first.
func doubt(c boot.VerdictConfidence) int {
	switch c {
	case boot.Certain:
		return 0
	case boot.Likely:
		return 1
	case boot.Possible:
	}
	return 2
}

// gravity orders severities, worst first.
func gravity(s boot.Severity) int {
	switch s {
	case boot.SeverityCritical:
		return 0
	case boot.SeverityWarning:
		return 1
	case boot.SeverityInfo:
	}
	return 2
}

// bounded cuts a verdict to its bounds.
func bounded(v boot.Verdict) boot.Verdict {
	v.Text, v.Fix = clip(v.Text, MaxText), clip(v.Fix, MaxText)
	if n := len(v.Evidence); n > boot.MaxEvidence {
		// What began it and what ended it say more than the middle.
		first := boot.MaxEvidence / 3
		v.Evidence = append(slices.Clone(v.Evidence[:first]), v.Evidence[n-(boot.MaxEvidence-first):]...)
	}
	for i := range v.Evidence {
		v.Evidence[i].Text = clip(v.Evidence[i].Text, MaxText)
	}
	return v
}

// Survey says what is wrong with the LAN now, the worst first, at most
// MaxFindings. It is empty when nothing is.
func Survey(lan boot.LAN) []boot.Verdict {
	s := newSurvey(&lan)
	var found []boot.Verdict
	for i := range lanRules {
		for _, d := range lanRules[i].survey(s) {
			d.Name = lanRules[i].Name
			found = append(found, bounded(d))
		}
	}
	slices.SortStableFunc(found, func(a, b boot.Verdict) int {
		return cmp.Or(cmp.Compare(gravity(a.Severity), gravity(b.Severity)), cmp.Compare(doubt(a.Confidence), doubt(b.Confidence)))
	})
	return found[:min(len(found), MaxFindings)]
}
