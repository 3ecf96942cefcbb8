package registry

import (
	"slices"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// Rendered is an answer file as a machine would get it.
type Rendered struct {
	Text        string `json:"text,omitempty"`
	ContentType string `json:"content_type,omitempty"`
	Error       string `json:"error,omitempty"` // why there is no text
}

// Preview is the plan that a machine would get now if it asked as it was last
// seen and proved to be itself, with its answer files. Nothing changes: no token
// is made, nothing is counted, and all tokens in the texts are "preview". The
// target of an armed plan is filled in as it would be after the start. The error
// is ErrNotFound.
func (r *Registry) Preview(id boot.MachineID, base, loader string) (boot.Plan, map[string]Rendered, error) {
	now := r.now()
	r.mu.Lock()
	rec, ok := r.table.byID[id]
	if !ok {
		r.mu.Unlock()
		return boot.Plan{}, nil, ErrNotFound
	}
	m := rec.m
	let := now.Before(rec.let)
	r.mu.Unlock()
	p := &planning{r: r, snap: r.snap.Load(), ask: Ask{Proof: boot.ProofSeen, Base: base, Loader: loader, From: m.Seen.Addr}}
	p.o = observation{machine: m, sighting: m.Seen, known: true, let: let, confidence: sureness(m)}
	if p.o.sighting.MAC == "" && len(m.MACs) > 0 {
		p.o.sighting.MAC = m.MACs[0].MAC
	}
	if p.o.sighting.GUID.IsZero() {
		p.o.sighting.GUID = m.GUID
	}
	if p.o.sighting.Serial == "" {
		p.o.sighting.Serial = m.Serial
	}
	p.links = links{answer: previewToken, callback: previewToken}
	choice := boot.Choose(p.snap.catalog, m, p.situation(now))
	plan := p.shown(choice)
	answers := map[string]Rendered{}
	if profile, _, ok := p.snap.catalog.Resolve(plan.Choice.Profile); ok {
		for name := range profile.Answers {
			text, contentType, err := p.answerFile(profile, name)
			if err != nil {
				answers[name] = Rendered{Error: err.Error()}
				continue
			}
			answers[name] = Rendered{Text: string(text), ContentType: contentType}
		}
	}
	return plan, answers, nil
}

// sureness is how sure the box would be of a machine that tells all it told
// before.
func sureness(m boot.Machine) boot.Confidence {
	switch {
	case !m.GUID.IsZero() && m.Serial != "":
		return boot.ConfidenceFull
	case !m.GUID.IsZero() || m.Serial != "":
		return boot.ConfidenceGood
	case len(m.MACs) > 0:
		return boot.ConfidenceWeak
	}
	return boot.ConfidenceNone
}

// shown is make without any effect.
func (p *planning) shown(c boot.Choice) boot.Plan {
	menu := func(plan boot.Plan, m *boot.Menu) boot.Plan {
		if len(p.menu(&plan, m)) > 0 {
			plan.Token = previewToken
		}
		if slices.ContainsFunc(plan.Menu, func(e boot.PlanEntry) bool { return e.Destructive && e.Disabled == boot.ReasonNone }) {
			plan.Code = previewToken
		}
		return plan
	}
	builtIn := func(c boot.Choice) boot.Plan {
		plan := p.base(c)
		plan.Target = boot.Target{Kind: boot.TargetMenu, Title: p.snap.docs.Site.Title}
		return menu(plan, nil)
	}
	instead := func(reason boot.Reason) boot.Plan {
		d := c
		d.Action, d.Source, d.Reason = boot.ActionMenu, boot.SourceBuiltIn, reason
		return builtIn(d)
	}
	switch c.Action {
	case boot.ActionSilent:
		return p.base(c)
	case boot.ActionLocal:
		return p.local(c)
	case boot.ActionAsk:
		plan := p.base(c)
		plan.Token, plan.Code = previewToken, previewToken
		return plan
	case boot.ActionMenu:
		return builtIn(c)
	case boot.ActionBoot, boot.ActionArmed:
	}
	profile, target, ok := p.snap.catalog.Resolve(c.Profile)
	switch {
	case !ok:
		return instead(boot.ReasonTargetMissing)
	case !boots(p.ask.Loader, target.Kind):
		return instead(boot.ReasonNotBootableHere)
	}
	plan := p.base(c)
	if a := p.o.machine.Assignment; a != nil && c.Source == boot.SourceMachine && a.Mode != boot.AssignAlways {
		plan.Code = a.Code
	}
	if target.Kind == boot.TargetMenu {
		plan.Profile, plan.Target = profile, target
		return menu(plan, target.Menu)
	}
	if err := p.expand(&plan, profile, target); err != nil {
		plan = instead(cause(err))
		plan.Note = ascii(plan.Note + " " + err.Error())
		return plan
	}
	if a := p.o.machine.Assignment; a != nil && c.Source == boot.SourceMachine && a.Mode != boot.AssignAlways {
		// As counted does: a program that asks a single time gets the thing itself,
		// the others something to start it with.
		if p.ask.asksOnce() && native(p.ask.Loader, plan.Target) {
			plan.Choice.Action = boot.ActionBoot
		} else {
			plan.Choice.Action, plan.Token = boot.ActionArmed, previewToken
		}
	}
	return plan
}
