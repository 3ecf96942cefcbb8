package registry

import (
	"crypto/subtle"
	"errors"
	"net/netip"
	"strings"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
	"github.com/bootpuck/bootpuck/appliance/store"
)

// flight is a plan on its way to the medium: whoever asks for the same meanwhile
// waits for it instead of starting another.
type flight struct {
	done   chan struct{}
	from   netip.Addr
	plan   boot.Plan
	reason boot.Reason
}

// together runs f once for all who ask under the same key at the same time.
// Another address gets nothing of it.
func (r *Registry) together(key string, from netip.Addr, f func() (boot.Plan, boot.Reason)) (boot.Plan, boot.Reason) {
	r.mu.Lock()
	if other, ok := r.flights[key]; ok {
		r.mu.Unlock()
		<-other.done // f waits for at most StartTimeout
		if other.from != from {
			return boot.Plan{}, boot.ReasonIdentityAgainst
		}
		return other.plan, other.reason
	}
	mine := &flight{done: make(chan struct{}), from: from, reason: boot.ReasonInternal}
	r.flights[key] = mine
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		delete(r.flights, key)
		r.mu.Unlock()
		close(mine.done)
	}()
	mine.plan, mine.reason = f()
	return mine.plan, mine.reason
}

// notDue ends the start of a plan that must not be handed out.
type notDue struct{ reason boot.Reason }

func (e notDue) Error() string { return string(e.reason) }

// begin hands out a plan that counts: it is made first, so that a template's
// error costs nothing, then recorded as started, and returned once that is on
// the medium.
func (p *planning) begin(c boot.Choice, profile boot.Profile, target boot.Target, now time.Time) (boot.Plan, boot.Reason) {
	r := p.r
	id, seen := p.o.machine.ID, p.o.machine.Assignment
	p.links = links{answer: r.newToken(), callback: r.newToken()}
	c.Action = boot.ActionBoot
	plan := p.base(c)
	plan.Code = seen.Code
	switch target.Kind {
	case boot.TargetMenu:
		plan = p.menuTarget(c, profile, target, now)
	case boot.TargetLocal:
		plan.Choice.Action = boot.ActionLocal
		plan.Profile, plan.Target = profile, target
	case boot.TargetLinux, boot.TargetEFI, boot.TargetWimboot, boot.TargetScript, boot.TargetChain,
		boot.TargetSAN, boot.TargetPXELinux, boot.TargetGRUB:
		if err := p.expand(&plan, profile, target); err != nil {
			r.tell(p.event(boot.KindWarning, cause(err), p.title()+": "+err.Error()))
			return boot.Plan{}, cause(err)
		}
	}
	run := p.attempt(profile, now)
	run.Assigned = true
	var next boot.Assignment
	t := &task{keys: []string{keyMachine(id)}}
	t.prepare = func() ([]document, func(), error) {
		rec, ok := r.table.byID[id]
		if !ok || rec.m.Assignment == nil {
			return nil, nil, notDue{boot.ReasonDisarmed}
		}
		cur := rec.m.Assignment
		if !cur.Created.Equal(seen.Created) || cur.Profile != seen.Profile || cur.Mode != seen.Mode {
			return nil, nil, notDue{boot.ReasonToken}
		}
		due, then, reason := cur.Due(target, now)
		if !due {
			if reason == boot.ReasonNone {
				reason = boot.ReasonTokenUsed
			}
			return nil, nil, notDue{reason}
		}
		next = then.Begin(run.ID, now)
		m := rec.m
		m.Assignment = &next
		docs := []document{{store.Kind(kindMachines), string(id), m}, {kindAttempts, run.ID, run.stored()}}
		return docs, func() { r.begun(id, next, run, p, plan, now) }, nil
	}
	t.abandoned = func() {
		// The store may say that it was started: it was not.
		r.table.touch(id)
		r.tokens.gone[run.ID] = struct{}{}
	}
	err := r.do(t, StartTimeout)
	if err == nil {
		e := p.event(boot.KindDecision, boot.ReasonNone, p.title()+" starts "+profile.Name+" ("+string(seen.Mode)+", boot "+count(next.Used)+")")
		e.Action, e.Profile = boot.ActionBoot, profile.Name
		if next.Destructive {
			e.Action = boot.ActionArmed
		}
		r.tell(e)
		return plan, boot.ReasonNone
	}
	var no notDue
	if errors.As(err, &no) {
		return boot.Plan{}, no.reason
	}
	r.tell(p.event(boot.KindWarning, boot.ReasonStateWait, p.title()+": "+err.Error()))
	return boot.Plan{}, boot.ReasonStateWait
}

// begun makes a start that is on the medium true in memory. The mutex is held.
func (r *Registry) begun(id boot.MachineID, next boot.Assignment, run *attempt, p *planning, plan boot.Plan, now time.Time) {
	rec, ok := r.table.byID[id]
	if !ok {
		return // known machines are never forgotten, and changes by the operator wait
	}
	m := rec.m
	m.Assignment = &next
	r.table.set(rec, m)
	r.tokens.begin(run)
	if p.ask.asksOnce() {
		r.handed[id] = &handed{plan: plan, at: now, from: p.ask.From, attempt: next.Attempt, loader: p.ask.Loader}
	}
}

func count(n int) string {
	const digits = "0123456789"
	if n < 10 && n >= 0 {
		return digits[n : n+1]
	}
	return "many"
}

// redeem finds a token and checks that it comes from where it was given.
func (r *Registry) redeem(name string, want purpose, a Ask, now time.Time) (*token, Ask, boot.Reason) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k, ok := r.tokens.find(name, want, now)
	if !ok {
		return nil, Ask{}, boot.ReasonToken
	}
	// The address may belong to another machine by now.
	other := a.Proof == boot.ProofSeen && k.ask.Proof == boot.ProofSeen && a.Sighting.MAC != "" && a.Sighting.MAC != k.ask.Sighting.MAC
	if k.ask.From != a.From || a.Proof == boot.ProofAgainst || other {
		return nil, Ask{}, boot.ReasonIdentityAgainst
	}
	ask := k.ask
	if a.Base != "" {
		ask.Base = a.Base
	}
	return k, ask, boot.ReasonNone
}

// Start hands out the plan of an armed or once assignment and counts it. It is
// on the medium before Start returns; when that takes longer than StartTimeout,
// the reason is ReasonStateWait and nothing was handed out. The same token from
// the same address within Retry gets the same plan again.
func (r *Registry) Start(name string, a Ask) (boot.Plan, boot.Reason) {
	now := r.now()
	k, ask, reason := r.redeem(name, forStart, a, now)
	if reason != boot.ReasonNone {
		return boot.Plan{}, reason
	}
	return r.together("start/"+name, a.From, func() (boot.Plan, boot.Reason) {
		if plan, reason, used := r.spentOn(k, 0, a.From, now); used {
			return plan, reason
		}
		p := r.plans(ask, false, now)
		if p.o.machine.ID == "" || p.o.machine.ID != k.machine {
			return boot.Plan{}, boot.ReasonIdentityDoubt
		}
		choice := boot.Choose(p.snap.catalog, p.o.machine, p.situation(now))
		r.settle(p, choice, now)
		plan, reason := p.started(k, choice, now)
		if reason == boot.ReasonNone {
			r.spend(k, 0, plan, a.From, now)
			p.lead(plan, true, now)
		} else {
			choice.Action, choice.Reason = boot.ActionLocal, reason
			plan.Choice = choice
		}
		r.decided(p, plan, now)
		return plan, reason
	})
}

// started begins what the token was given for, if that is still so.
func (p *planning) started(k *token, choice boot.Choice, now time.Time) (boot.Plan, boot.Reason) {
	a := p.o.machine.Assignment
	if a == nil {
		return boot.Plan{}, boot.ReasonDisarmed
	}
	if a.Profile != k.profile || !a.Created.Equal(k.assigned) {
		return boot.Plan{}, boot.ReasonToken
	}
	if choice.Source != boot.SourceMachine || choice.Profile != k.profile || choice.Action != boot.ActionArmed && choice.Action != boot.ActionBoot {
		if choice.Reason == boot.ReasonNone {
			return boot.Plan{}, boot.ReasonTokenUsed
		}
		return boot.Plan{}, choice.Reason
	}
	profile, target, ok := p.snap.catalog.Resolve(choice.Profile)
	if !ok {
		return boot.Plan{}, boot.ReasonTargetMissing
	}
	return p.begin(choice, profile, target, now)
}

// spentOn is what a token was exchanged for before.
func (r *Registry) spentOn(k *token, n int, from netip.Addr, now time.Time) (plan boot.Plan, reason boot.Reason, used bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	h, ok := k.spent[n]
	switch {
	case !ok:
		return boot.Plan{}, boot.ReasonNone, false
	case !h.again(from, now):
		return boot.Plan{}, boot.ReasonTokenUsed, true
	}
	return h.plan, boot.ReasonNone, true
}

func (r *Registry) spend(k *token, n int, plan boot.Plan, from netip.Addr, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k.spent[n] = &handed{plan: plan, at: now, from: from}
}

// Pick is entry n of a menu, with the code that was typed for it.
func (r *Registry) Pick(name string, n int, code string, a Ask) (boot.Plan, boot.Reason) {
	now := r.now()
	k, ask, reason := r.redeem(name, forMenu, a, now)
	if reason != boot.ReasonNone {
		return boot.Plan{}, reason
	}
	if n < 0 || n >= len(k.entries) || k.entries[n].profile == "" {
		return boot.Plan{}, boot.ReasonNotFound
	}
	e := k.entries[n]
	return r.together("menu/"+name, a.From, func() (boot.Plan, boot.Reason) {
		p := r.plans(ask, false, now)
		if k.machine != "" && p.o.machine.ID != k.machine {
			return boot.Plan{}, boot.ReasonIdentityDoubt
		}
		plan, reason := p.pick(k, n, e, code, false, now)
		if plan.Choice.Action == "" {
			plan.Choice = boot.Choice{
				Machine: p.o.machine.ID, Confidence: p.o.confidence, Source: boot.SourceBuiltIn, Action: boot.ActionLocal, Reason: reason,
				Steps: []boot.Step{{Source: boot.SourceBuiltIn, Name: e.profile, Why: "Picked from a menu. " + reason.Text()}},
			}
			r.decided(p, plan, now)
			return boot.Plan{}, reason
		}
		r.decided(p, plan, now)
		p.lead(plan, false, now)
		return plan, reason
	})
}

// pick looks at everything about a menu's entry again: the menu may be hours
// old, and its address may have been typed by hand. let says that the operator
// let a locked entry.
func (p *planning) pick(k *token, n int, e entry, code string, let bool, now time.Time) (boot.Plan, boot.Reason) {
	profile, target, ok := p.snap.catalog.Resolve(e.profile)
	if !ok {
		return boot.Plan{}, boot.ReasonTargetMissing
	}
	if !p.sees(profile) {
		return boot.Plan{}, boot.ReasonNotFound
	}
	if reason, _ := p.preflight(target); reason != boot.ReasonNone {
		return boot.Plan{}, reason
	}
	if reason := p.allowed(profile, target, now); reason != boot.ReasonNone {
		return boot.Plan{}, reason
	}
	c := boot.Choice{
		Machine: p.o.machine.ID, Confidence: p.o.confidence, Source: boot.SourceBuiltIn,
		Profile: profile.Name, Target: target.Name, Action: boot.ActionBoot,
		Steps: []boot.Step{{Source: boot.SourceBuiltIn, Name: profile.Name, Won: true, Why: "Picked from the menu on the machine's screen."}},
	}
	if target.Destructive {
		if plan, reason, used := p.r.spentOn(k, n, p.ask.From, now); used {
			return plan, reason
		}
		switch {
		case let:
			// The operator let it once, however often the machine asks.
			if !p.r.useUp(k.request) {
				return boot.Plan{}, boot.ReasonTokenUsed
			}
		case !p.r.typed(k, code):
			return boot.Plan{}, boot.ReasonCodeWrong
		}
	}
	if e.locked && !let {
		c.Action, c.Reason = boot.ActionAsk, boot.ReasonNone
		return p.wait(c, e.profile, now), boot.ReasonNone
	}
	plan := p.plain(c, profile, target, now)
	if target.Destructive && plan.Choice.Reason == boot.ReasonNone {
		p.r.spend(k, n, plan, p.ask.From, now)
	}
	return plan, boot.ReasonNone
}

// allowed asks Choose about an entry as if the machine were assigned it: what is
// secret or overwrites something needs the same proof, from wherever it is
// picked.
func (p *planning) allowed(profile boot.Profile, target boot.Target, now time.Time) boot.Reason {
	m := p.o.machine
	want := boot.Assignment{Profile: profile.Name, Mode: boot.AssignAlways}
	if target.Destructive {
		want.Mode = boot.AssignArmed
	}
	a, errs := boot.NewAssignment(want, target, "menu", now)
	if len(errs) > 0 {
		return boot.ReasonTargetMissing
	}
	if !target.Destructive {
		// Nobody has decided about the machine at this moment: a network card
		// counts only if it was its first.
		a.Created = time.Time{}
	}
	m.Assignment = &a
	c := boot.Choose(p.snap.catalog, m, p.situation(now))
	switch c.Action {
	case boot.ActionBoot, boot.ActionArmed:
		if c.Profile == profile.Name {
			return boot.ReasonNone
		}
	case boot.ActionLocal:
		if target.Kind == boot.TargetLocal && c.Source == boot.SourceMachine {
			return boot.ReasonNone
		}
	case boot.ActionSilent:
		return boot.ReasonDenied
	case boot.ActionMenu, boot.ActionAsk:
	}
	if c.Reason == boot.ReasonNone {
		return boot.ReasonNotFound
	}
	return c.Reason
}

// typed compares a code that was typed with the menu's. Five wrong ones end the
// menu.
func (r *Registry) typed(k *token, code string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.tokens.byName[k.name]; !ok {
		return false
	}
	code = tidyCode(code)
	if k.code != "" && subtle.ConstantTimeCompare([]byte(code), []byte(k.code)) == 1 {
		return true
	}
	if k.wrong++; k.wrong >= maxWrong {
		r.tokens.remove(k)
	}
	return false
}

// codeLetters are easy to tell apart on any screen and make no words: no
// vowels, and of letters and digits that look alike at most one.
const codeLetters = "CDFHJKMNPRTVWX34679"

// Lengths of codes.
const (
	menuCode    = 4 // to be typed at the machine; five tries
	requestCode = 5 // names a request; the operator picks it from a list
	armCode     = 4 // only compared by eye
)

// newCode makes a code of n letters.
func (r *Registry) newCode(n int) string {
	code := make([]byte, 0, n)
	for len(code) < n {
		for _, b := range r.random(n) {
			// 247 is the largest multiple of 19 below 256: all letters alike.
			if int(b) < 256/len(codeLetters)*len(codeLetters) && len(code) < n {
				code = append(code, codeLetters[int(b)%len(codeLetters)])
			}
		}
	}
	return string(code)
}

// tidyCode is a code as people type it: any case, with spaces or dashes.
func tidyCode(s string) string {
	if len(s) > 32 {
		return ""
	}
	return strings.Map(func(c rune) rune {
		if c == ' ' || c == '-' {
			return -1
		}
		return c
	}, strings.ToUpper(s))
}

// Wait says whether a machine still has to wait for the operator, and what it
// gets when it has not.
func (r *Registry) Wait(name string, a Ask) (plan boot.Plan, waiting bool, reason boot.Reason) {
	now := r.now()
	k, ask, reason := r.redeem(name, forWait, a, now)
	if reason != boot.ReasonNone {
		return boot.Plan{}, false, reason
	}
	plan, reason = r.together("wait/"+name, a.From, func() (boot.Plan, boot.Reason) {
		return r.awaited(k, ask, now)
	})
	return plan, reason == boot.ReasonNone && plan.Choice.Action == boot.ActionAsk, reason
}

// awaited is what the operator's word gives; a plan to ask again as long as
// there is none.
func (r *Registry) awaited(k *token, ask Ask, now time.Time) (boot.Plan, boot.Reason) {
	if plan, reason, used := r.spentOn(k, 0, ask.From, now); used {
		return plan, reason
	}
	r.mu.Lock()
	q, ok := r.requests.byCode[k.request]
	if !ok || !now.Before(q.expires) {
		r.mu.Unlock()
		return boot.Plan{}, boot.ReasonToken
	}
	word, profile := q.word, q.Profile
	r.mu.Unlock()
	if word == wordNo {
		return boot.Plan{}, boot.ReasonRefused
	}
	p := r.plans(ask, false, now)
	if k.machine != "" && p.o.machine.ID != k.machine {
		return boot.Plan{}, boot.ReasonIdentityDoubt
	}
	var plan boot.Plan
	switch {
	case word == wordNone:
		c := boot.Choice{
			Machine: p.o.machine.ID, Confidence: p.o.confidence, Source: boot.SourceUnknown,
			Action: boot.ActionAsk, Reason: boot.ReasonUnknownAsks,
		}
		if profile != "" {
			c.Source, c.Profile, c.Reason = boot.SourceBuiltIn, profile, boot.ReasonNone
		}
		plan = p.base(c)
		plan.Token, plan.Code = k.name, k.request
		return plan, boot.ReasonNone
	case profile != "":
		var reason boot.Reason
		if plan, reason = p.pick(k, 0, entry{profile: profile, locked: true}, "", true, now); reason != boot.ReasonNone {
			return boot.Plan{}, reason
		}
	default:
		p.o.let = true
		choice := boot.Choose(p.snap.catalog, p.o.machine, p.situation(now))
		r.settle(p, choice, now)
		plan = p.make(choice, now)
	}
	r.decided(p, plan, now)
	p.lead(plan, false, now)
	return plan, boot.ReasonNone
}

// wait makes a machine wait for the operator: to boot at all, or for a locked
// entry of a menu.
func (p *planning) wait(c boot.Choice, profile string, now time.Time) boot.Plan {
	r := p.r
	if p.ask.Proof == boot.ProofAgainst {
		// The operator would let a machine that does not ask.
		c.Action, c.Reason = boot.ActionLocal, boot.ReasonIdentityAgainst
		return p.local(c)
	}
	r.mu.Lock()
	q, reason := r.requests.ask(p.o.machine, p.o.sighting, p.ask.From, profile, func() string { return r.newCode(requestCode) }, now)
	r.mu.Unlock()
	if reason != boot.ReasonNone {
		c.Action, c.Reason = boot.ActionLocal, reason
		return p.local(c)
	}
	plan := p.base(c)
	plan.Code = q.Code
	k := &token{name: r.newToken(), purpose: forWait, expires: now.Add(waitTime), request: q.Code}
	plan.Token = k.name
	p.hand(k, now)
	return plan
}
