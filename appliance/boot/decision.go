package boot

import (
	"slices"
	"strconv"
	"time"
)

// MaxSteps bounds the reasoning of a choice.
const MaxSteps = 300

// stepsKept leaves room for the steps behind the rules.
const stepsKept = MaxSteps - 10

// deciding is the work of Choose.
type deciding struct {
	c    *Catalog
	m    *Machine
	s    *Situation
	view *view
	out  Choice
}

// Choose decides what a machine boots, with the whole reasoning. It is pure.
//
// The precedence is: deny-list, the machine's own assignment, the policy for
// unknown machines, its groups in their order, rules in theirs, the site's
// default, the start-up setting, the built-in menu. The first of them that
// applies counts: when what it names cannot be handed out (it overwrites
// something and is not armed, it is secret and the machine is not proven to be
// the one, it cannot work there), the machine gets the built-in menu with the
// reason, never something weaker in silence.
//
// Whatever is wrong, missing or in doubt ends in the built-in menu, whose
// time-out is the local disk, or at the local disk itself.
func Choose(c *Catalog, m Machine, s Situation) Choice {
	d := deciding{c: c.usable(), m: &m, s: &s}
	d.view = newView(&m, &s.Sighting)
	d.out = Choice{Machine: m.ID, Confidence: s.Confidence}
	if d.denied() || d.assigned() || d.unknownPolicy() || d.group() || d.rule() || d.fallback() {
		return d.out
	}
	d.builtIn(ReasonNone, "nothing else decides: the built-in menu, which goes on to the local disk")
	return d.out
}

func (d *deciding) step(source Source, name string, won bool, why string) {
	d.out.Steps = append(d.out.Steps, Step{Source: source, Name: name, Won: won, Why: why})
}

// end is a decision without a profile.
func (d *deciding) end(source Source, action Action, reason Reason, why string) {
	d.step(source, "", true, why)
	d.out.Source, d.out.Action, d.out.Reason = source, action, reason
}

func (d *deciding) builtIn(reason Reason, why string) {
	d.end(SourceBuiltIn, ActionMenu, reason, why)
}

const insteadMenu = "instead: the built-in menu, which goes on to the local disk"

func (d *deciding) denied() bool {
	if d.m.Access == AccessDeny {
		d.end(SourceDenied, ActionSilent, ReasonDenied, "the operator denied this machine")
		return true
	}
	what := d.c.compiled.deny.entry(d.m, &d.s.Sighting)
	if what != "" {
		d.end(SourceDenied, ActionSilent, ReasonDenied, "the site's deny-list has "+what)
	}
	return what != ""
}

// assigned follows the machine's own assignment.
func (d *deciding) assigned() bool {
	a := d.m.Assignment
	if a == nil {
		d.step(SourceMachine, "", false, "nothing is assigned to this machine")
		return false
	}
	if a.Over() && a.Mode != AssignAlways || a.State == AssignDisarmed {
		// It has ended, whatever became of its profile since.
		_, _, reason := a.Due(Target{}, d.s.Now)
		d.localDisk(a, reason)
		return true
	}
	p, t, ok := d.c.resolve(a.Profile)
	if !ok {
		d.lost(SourceMachine, a.Profile, ReasonTargetMissing, "its profile or target does not exist or has errors")
		return true
	}
	if t.Destructive && a.Mode != AssignArmed {
		d.lost(SourceMachine, a.Profile, ReasonDestructive, "its target overwrites something, and only an armed assignment may")
		return true
	}
	// Who asks comes before what state it is in: a stranger who borrows the
	// machine's name neither gets nor stops its installation.
	if !d.handOut(SourceMachine, a.Profile, &p, &t, a) {
		return true
	}
	due, _, reason := a.Due(t, d.s.Now)
	switch {
	case due:
		d.won(SourceMachine, a.Profile, &t, a.Profile, a, "assigned to this machine, "+string(a.Mode))
	case reason == ReasonDestructive, reason == ReasonClockUnset, reason == ReasonTargetMissing:
		d.lost(SourceMachine, a.Profile, reason, notDue[reason])
	default:
		d.localDisk(a, reason)
	}
	return true
}

// notDue says why an assignment that has not ended is not handed out.
var notDue = map[Reason]string{
	ReasonDestructive:   "what was armed is not what the profile names now; arm the machine again",
	ReasonClockUnset:    "the box's clock is behind the time when the machine was armed, so nobody can tell whether the time is over",
	ReasonTargetMissing: "its mode is unknown",
}

// localDisk ends at the disk of a machine whose assignment is over.
func (d *deciding) localDisk(a *Assignment, reason Reason) {
	why := "the assignment of profile " + a.Profile + " has served its purpose: the local disk"
	if reason != ReasonNone {
		why = reason.Text()
	}
	d.step(SourceMachine, a.Profile, false, "the assignment is over")
	d.end(SourceSafety, ActionLocal, reason, why)
}

// lost is a source that decided for something that cannot be handed out.
func (d *deciding) lost(source Source, name string, reason Reason, why string) {
	d.step(source, name, false, why)
	d.builtIn(reason, insteadMenu)
}

// unknownPolicy decides about machines that nobody has decided about.
func (d *deciding) unknownPolicy() bool {
	site := &d.c.Site
	var why string
	switch {
	case d.m.Known():
		why = "the operator has decided about this machine"
	case d.s.Let:
		why = "the operator let this machine"
	case d.s.Now.Before(site.AllowUntil):
		why = "all unknown machines are allowed until " + site.AllowUntil.UTC().Format(time.RFC3339)
	default:
		if what := d.c.compiled.allow.entry(d.m, &d.s.Sighting); what != "" {
			why = "the site's allow-list has " + what
		}
	}
	if why != "" {
		d.step(SourceUnknown, "", false, why)
		return false
	}
	switch site.Unknown {
	case UnknownAllow, "":
		d.step(SourceUnknown, "", false, "unknown machines are allowed")
		return false
	case UnknownIgnore:
		d.end(SourceUnknown, ActionSilent, ReasonUnknownIgnored, "the machine is unknown, and unknown machines are ignored")
	default:
		// UnknownAsk, or a value of some later version: the careful reading.
		d.end(SourceUnknown, ActionAsk, ReasonUnknownAsks, "the machine is unknown, and the operator is asked")
	}
	return true
}

func (d *deciding) group() bool {
	for _, name := range d.m.Groups[:min(len(d.m.Groups), MaxTags)] {
		g, ok := d.c.Groups[name]
		switch {
		case !ok:
			d.step(SourceGroup, name, false, "there is no such group")
		case g.Profile == "":
			d.step(SourceGroup, name, false, "the group decides nothing")
		default:
			d.take(SourceGroup, name, g.Profile, "the machine is in this group")
			return true
		}
	}
	return false
}

func (d *deciding) rule() bool {
	left := 0
	d.out.Steps = slices.Grow(d.out.Steps, min(len(d.c.Rules), stepsKept)+2)
	for i := range d.c.Rules {
		r := &d.c.Rules[i]
		ok, why := false, "the rule is switched off"
		if !r.Off {
			ok, why = d.c.compiled.rules[i].match(d.view)
		}
		switch {
		case ok:
			d.manyMore(left)
			d.take(SourceRule, r.Name, r.Profile, why)
			return true
		case len(d.out.Steps) >= stepsKept:
			left++
		default:
			d.step(SourceRule, r.Name, false, why)
		}
	}
	d.manyMore(left)
	return false
}

func (d *deciding) manyMore(n int) {
	if n > 0 {
		d.step(SourceRule, "", false, "further rules that did not match: "+strconv.Itoa(n))
	}
}

// fallback is what the site gives to machines that nothing decides about.
func (d *deciding) fallback() bool {
	if p := d.c.Site.Default; p != "" {
		d.take(SourceDefault, p, p, "the site's default for machines that nothing else decides about")
		return true
	}
	if d.s.Script {
		d.end(SourceSettings, ActionMenu, ReasonNone, "the start-up setting default-script decides about all other machines")
		return true
	}
	return false
}

// take gives a profile that no assignment of this machine names; why says that
// the source applies.
func (d *deciding) take(source Source, name, profile, why string) {
	p, t, ok := d.c.resolve(profile)
	switch {
	case !ok:
		d.lost(source, name, ReasonTargetMissing, why+"; but profile "+profile+" or its target does not exist or has errors")
	case t.Destructive:
		d.lost(source, name, ReasonDestructive, why+"; but the target of profile "+profile+" overwrites something, and boots only armed for one machine")
	case d.handOut(source, name, &p, &t, nil):
		d.won(source, name, &t, p.Name, nil, why)
	}
}

// handOut says whether this client may have the profile: none under another
// machine's name, the sensitive ones only when it is proven to be the machine, and
// none that cannot work there. If not,
// the decision has been made.
func (d *deciding) handOut(source Source, name string, p *Profile, t *Target, a *Assignment) bool {
	if reason, why := d.trust(p, t, a); reason != ReasonNone {
		d.lost(source, name, reason, why)
		return false
	}
	if reason, why := Preflight(*t, d.s.Sighting); reason != ReasonNone {
		d.lost(source, name, reason, "profile "+p.Name+" "+why)
		return false
	}
	return true
}

// won is a source that decides.
func (d *deciding) won(source Source, name string, t *Target, profile string, a *Assignment, why string) {
	d.step(source, name, true, why)
	d.out.Source, d.out.Profile, d.out.Target, d.out.Action = source, profile, t.Name, ActionBoot
	switch {
	case a != nil && a.Mode == AssignArmed:
		d.out.Action = ActionArmed
	case t.Kind == TargetLocal:
		d.out.Action = ActionLocal
	}
}

// Visible lists the profiles that a menu shows this machine, sorted by title.
// Which of them can work there is Preflight's question.
func Visible(c *Catalog, m Machine, s Sighting) []Profile {
	c = c.usable()
	v := newView(&m, &s)
	var out []Profile
	for _, name := range c.compiled.listed {
		if ok, _ := c.compiled.visible[name].match(v); ok {
			out = append(out, c.Profiles[name])
		}
	}
	return out
}
