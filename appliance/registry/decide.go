package registry

import (
	"errors"
	"net/netip"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// believed says whether what the sender claims about itself counts as proven.
func believed(site boot.Site, a Ask) bool {
	switch a.Proof {
	case boot.ProofSeen:
		return true
	case boot.ProofAgainst:
		return false
	case boot.ProofNone:
	}
	return a.Routed && site.TrustRouted
}

// situation is what Choose looks at besides catalog and machine.
func (p *planning) situation(now time.Time) boot.Situation {
	return boot.Situation{
		Sighting: p.o.sighting, Confidence: p.o.confidence, NewMAC: p.o.newMAC, Proof: p.ask.Proof,
		Routed: p.ask.Routed, Known: p.o.known, Now: now, Script: p.r.cfg.DefaultScript, Let: p.o.let,
	}
}

// plans begins a plan for a question. counts says that it is a boot of its own,
// not a later question of the same one.
func (r *Registry) plans(a Ask, counts bool, now time.Time) *planning {
	snap := r.snap.Load()
	r.mu.Lock()
	if a.asksOnce() {
		a.Sighting = r.completed(a.Sighting, now)
	}
	o := r.observe(a.Sighting, a.Proof, believed(snap.docs.Site, a), counts, now)
	r.mu.Unlock()
	return &planning{r: r, snap: snap, o: o, ask: a}
}

// Decide says what a machine gets. It waits for nothing, unless the program
// that asks does so only once and the answer is a plan that counts: that is on
// the medium before it is handed out.
func (r *Registry) Decide(a Ask) boot.Plan {
	now := r.now()
	p := r.plans(a, true, now)
	if a.asksOnce() {
		if plan, ok := r.handedOut(p, now); ok {
			return plan
		}
		if plan, ok := r.ledTo(p, now); ok {
			r.decided(p, plan, now)
			return plan
		}
	} else {
		r.bootsAnew(p)
	}
	choice := boot.Choose(p.snap.catalog, p.o.machine, p.situation(now))
	r.settle(p, choice, now)
	plan := p.make(choice, now)
	r.decided(p, plan, now)
	return plan
}

// handedOut is the plan that this machine's loader was given a moment ago.
func (r *Registry) handedOut(p *planning, now time.Time) (boot.Plan, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	h, ok := r.handed[p.o.machine.ID]
	rec, known := r.table.byID[p.o.machine.ID]
	if !ok || !known {
		return boot.Plan{}, false
	}
	a := rec.m.Assignment // as it is now: another question may have started it meanwhile
	if !p.o.sure || !underWay(a, h.attempt) || h.loader != p.ask.Loader || !h.again(p.ask.From, now) {
		return boot.Plan{}, false
	}
	return h.plan, true
}

// underWay says whether an attempt is that of the assignment, and not over: one
// for a single boot is done as soon as it was handed out, an armed one only when
// its installer says so.
func underWay(a *boot.Assignment, attempt string) bool {
	return a != nil && a.Attempt == attempt &&
		(a.State == boot.AssignRunning || a.State == boot.AssignDone && a.Mode == boot.AssignOnce)
}

// settle keeps what the question itself changes about the machine's assignment:
// it ran out, or the loop breaker stopped it. Only the machine itself can bring
// that about.
func (r *Registry) settle(p *planning, c boot.Choice, now time.Time) {
	a := p.o.machine.Assignment
	if a == nil || !p.o.sure || c.Source != boot.SourceSafety {
		return // Choose ends in SourceSafety only for a client it trusts, or when all is over
	}
	_, target, _ := p.snap.catalog.Resolve(a.Profile)
	_, next, _ := a.Due(target, now)
	if next.State == a.State {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	rec, ok := r.table.byID[p.o.machine.ID]
	if !ok || !sameAssignment(rec.m.Assignment, a) {
		return
	}
	m := rec.m
	m.Assignment = &next
	r.table.set(rec, m)
	r.table.touch(m.ID)
	for _, run := range r.tokens.byRun[m.ID] {
		// What was handed out for a boot that must not go on is worth nothing
		// any more; its installer may still report.
		if run.Assigned && next.State == boot.AssignStopped {
			r.tokens.silence(run)
		}
	}
}

// sameAssignment says whether two looks at an assignment are of the same one in
// the same state.
func sameAssignment(a, b *boot.Assignment) bool {
	return a != nil && b != nil && a.Profile == b.Profile && a.Mode == b.Mode && a.State == b.State &&
		a.Attempt == b.Attempt && a.Used == b.Used && a.Created.Equal(b.Created)
}

// make turns a choice into a plan.
func (p *planning) make(c boot.Choice, now time.Time) boot.Plan {
	switch c.Action {
	case boot.ActionSilent:
		return p.base(c)
	case boot.ActionLocal:
		return p.local(c)
	case boot.ActionAsk:
		return p.wait(c, "", now)
	case boot.ActionMenu:
		return p.builtIn(c, now)
	case boot.ActionBoot, boot.ActionArmed:
	}
	profile, target, ok := p.snap.catalog.Resolve(c.Profile)
	if !ok {
		return p.fallback(c, boot.ReasonTargetMissing, nil, now)
	}
	if !boots(p.ask.Loader, target.Kind) {
		return p.fallback(c, boot.ReasonNotBootableHere, nil, now)
	}
	a := p.o.machine.Assignment
	if c.Source == boot.SourceMachine && a != nil && a.Mode != boot.AssignAlways {
		return p.counted(c, *a, profile, target, now)
	}
	return p.plain(c, profile, target, now)
}

// local is the machine's own disk.
func (p *planning) local(c boot.Choice) boot.Plan {
	plan := p.base(c)
	plan.Target = boot.Target{Kind: boot.TargetLocal}
	if profile, target, ok := p.snap.catalog.Resolve(c.Profile); ok && target.Kind == boot.TargetLocal {
		plan.Profile, plan.Target = profile, target
	}
	return plan
}

// builtIn is the menu that ends at the local disk.
func (p *planning) builtIn(c boot.Choice, now time.Time) boot.Plan {
	plan := p.base(c)
	plan.Target = boot.Target{Kind: boot.TargetMenu, Title: p.snap.docs.Site.Title}
	p.withToken(&plan, p.menu(&plan, nil), now)
	return plan
}

// menuTarget is the menu of a target.
func (p *planning) menuTarget(c boot.Choice, profile boot.Profile, target boot.Target, now time.Time) boot.Plan {
	plan := p.base(c)
	plan.Profile, plan.Target = profile, target
	p.withToken(&plan, p.menu(&plan, target.Menu), now)
	return plan
}

// withToken gives a menu its token, if it has anything to pick, and its code, if
// that may be something destructive.
func (p *planning) withToken(plan *boot.Plan, entries []entry, now time.Time) {
	if len(entries) == 0 {
		return
	}
	k := &token{name: p.r.newToken(), purpose: forMenu, expires: now.Add(menuTime), entries: entries}
	for _, e := range plan.Menu {
		if e.Destructive && e.Disabled == boot.ReasonNone {
			k.code = p.r.newCode(menuCode)
			break
		}
	}
	plan.Token, plan.Code = k.name, k.code
	p.hand(k, now)
}

// hand keeps a token.
func (p *planning) hand(k *token, now time.Time) {
	k.machine, k.own, k.ask, k.born = p.o.machine.ID, p.proven(), p.ask, now
	// As it was told, and as a copy: what the record says besides must not come
	// back as a claim, and a claim must not keep its request in memory.
	k.ask.Sighting = keep(boot.Sighting{}, bounded(p.ask.Sighting))
	k.spent = map[int]*handed{}
	p.r.mu.Lock()
	defer p.r.mu.Unlock()
	if _, ok := p.r.table.byID[k.machine]; !ok {
		k.machine = ""
	}
	p.r.tokens.add(k)
}

// proven says that the box has seen that the sender is this machine.
func (p *planning) proven() bool { return p.o.sure && p.ask.Proof == boot.ProofSeen }

// fallback is the safe menu in place of what could not be had.
func (p *planning) fallback(c boot.Choice, reason boot.Reason, err error, now time.Time) boot.Plan {
	if err != nil {
		p.r.tell(p.event(boot.KindWarning, reason, p.title()+": "+err.Error()))
	}
	c.Action, c.Reason = boot.ActionMenu, reason
	c.Steps = append(c.Steps[:len(c.Steps):len(c.Steps)], boot.Step{
		Source: boot.SourceBuiltIn, Won: true, Why: reason.Text(),
	})
	for i := range c.Steps[:len(c.Steps)-1] {
		if c.Steps[i].Won {
			steps := append([]boot.Step(nil), c.Steps...)
			steps[i].Won, steps[i].Why = false, steps[i].Why+" "+reason.Text()
			c.Steps = steps
		}
	}
	c.Source = boot.SourceBuiltIn
	return p.builtIn(c, now)
}

// cause is the reason that stands for an error of expand.
func cause(err error) boot.Reason {
	if errors.Is(err, errTree) {
		return boot.ReasonTargetMissing
	}
	return boot.ReasonTemplate
}

// plain is a plan that may be had any number of times.
func (p *planning) plain(c boot.Choice, profile boot.Profile, target boot.Target, now time.Time) boot.Plan {
	switch target.Kind {
	case boot.TargetMenu:
		return p.menuTarget(c, profile, target, now)
	case boot.TargetLocal:
		c.Action = boot.ActionLocal
		plan := p.base(c)
		plan.Profile, plan.Target = profile, target
		return plan
	case boot.TargetLinux, boot.TargetEFI, boot.TargetWimboot, boot.TargetScript, boot.TargetChain,
		boot.TargetSAN, boot.TargetPXELinux, boot.TargetGRUB:
	}
	if len(profile.Answers) > 0 && p.o.machine.ID == "" {
		return p.fallback(c, boot.ReasonIdentityDoubt, nil, now)
	}
	p.links = links{answer: p.r.newToken(), callback: p.r.newToken()}
	plan := p.base(c)
	if err := p.expand(&plan, profile, target); err != nil {
		return p.fallback(c, cause(err), err, now)
	}
	plan.Choice.Action = boot.ActionBoot
	if !p.links.used && len(profile.Answers) == 0 || p.o.machine.ID == "" {
		plan.AnswerToken, plan.CallbackToken = "", ""
		return plan
	}
	run := p.attempt(profile, now)
	p.r.mu.Lock()
	defer p.r.mu.Unlock()
	if _, ok := p.r.table.byID[run.Machine]; ok {
		p.r.tokens.begin(run)
		p.r.tokens.dirty[run.ID] = struct{}{}
	}
	return plan
}

// attempt is a boot with the tokens of p.links.
func (p *planning) attempt(profile boot.Profile, now time.Time) *attempt {
	run := &attempt{
		ID: p.r.newToken(), Machine: p.o.machine.ID, Profile: profile.Name,
		Callback: p.links.callback, Created: now, sighting: p.o.sighting,
	}
	if len(profile.Answers) > 0 {
		run.Answer = p.links.answer
	}
	if !p.proven() {
		run.From = p.ask.From
	}
	return run
}

// counted is a plan of a once or armed assignment. Programs that can ask again
// get a token to start with; the others get the plan itself, recorded first.
func (p *planning) counted(c boot.Choice, a boot.Assignment, profile boot.Profile, target boot.Target, now time.Time) boot.Plan {
	// What could not be rendered later is found now, before anything counts.
	p.links = links{answer: previewToken, callback: previewToken}
	try := p.base(c)
	try.Target = target
	if target.Kind != boot.TargetMenu {
		if err := p.expand(&try, profile, target); err != nil {
			return p.fallback(c, cause(err), err, now)
		}
	}
	if here := native(p.ask.Loader, try.Target); p.ask.Loader == LoaderGRUB && !here {
		return p.fallback(c, boot.ReasonNotBootableHere, nil, now)
	} else if p.ask.asksOnce() && here {
		plan, reason := p.r.together("loader/"+string(p.o.machine.ID)+"/"+p.ask.Loader, p.ask.From, func() (boot.Plan, boot.Reason) {
			if plan, ok := p.r.handedOut(p, now); ok {
				return plan, boot.ReasonNone
			}
			return p.begin(c, profile, target, now)
		})
		if reason == boot.ReasonNone {
			return plan
		}
		if reason == boot.ReasonTemplate || reason == boot.ReasonTargetMissing {
			return p.fallback(c, reason, nil, now)
		}
		c.Action, c.Source, c.Reason = boot.ActionLocal, boot.SourceSafety, reason
		return p.local(c)
	}
	plan := p.base(c)
	plan.Choice.Action = boot.ActionArmed
	plan.Profile = boot.Profile{Name: profile.Name, Title: profile.Title}
	plan.Target = boot.Target{Name: target.Name, Title: target.Title, Kind: target.Kind, Destructive: target.Destructive}
	k := &token{
		name: p.r.newToken(), purpose: forStart, expires: now.Add(startTime),
		profile: a.Profile, assigned: a.Created,
	}
	plan.Token, plan.Code = k.name, a.Code
	p.hand(k, now)
	return plan
}

// previewToken stands for tokens where nothing may be handed out.
const previewToken = "preview"

func (p *planning) title() string { return title(p.o.machine, p.o.sighting) }

// event is one about the machine.
func (p *planning) event(kind boot.Kind, reason boot.Reason, text string) boot.Event {
	s := p.o.sighting
	return boot.Event{
		Kind: kind, Reason: reason, MAC: s.MAC, GUID: s.GUID, Addr: p.ask.From, Interface: s.Interface,
		Arch: s.Arch, ArchKnown: s.ArchKnown, Firmware: s.Firmware, Text: text,
	}
}

// decided keeps a decision and tells the sink.
func (r *Registry) decided(p *planning, plan boot.Plan, now time.Time) {
	c := plan.Choice
	d := Decision{
		Time: now, Machine: p.o.machine.ID, Name: p.o.machine.Name, MAC: p.o.sighting.MAC,
		Loader: p.ask.Loader, Choice: c,
	}
	if p.ask.From.IsValid() {
		d.Addr = p.ask.From.String()
	}
	text := gets(c)
	r.mu.Lock()
	again := r.repeated(d, text, now)
	if !again {
		r.ring.add(d)
	}
	if c.Reason == boot.ReasonIdentityNewNIC {
		if rec, ok := r.table.byID[p.o.machine.ID]; ok {
			if i := rec.newcomer(p.o.sighting.MAC); i >= 0 {
				rec.newcomers[i].refused = true
			}
		}
	}
	r.mu.Unlock()
	if again {
		return
	}
	e := p.event(boot.KindDecision, c.Reason, p.title()+text)
	e.Time, e.Action, e.Profile = now, plan.Told(), c.Profile
	r.tell(e)
}

// Bounds of what is told of decisions. A machine that asks in a loop, or a
// stranger who asks in many names, must not push the story of the others out.
const (
	sameDecision = 10 * time.Second // the same answer to the same asker is told once in this time
	maxTold      = 4096             // askers that are remembered for it
	decisionRate = 50               // decisions told per second, beyond a burst
	decisionMost = 500
)

// lastTold is the last decision that was told of an asker.
type lastTold struct {
	text   string
	reason boot.Reason
	at     time.Time
}

// repeated says whether a decision is to be passed over: it was told just now, or
// more is going on than anybody could read. The registry's mutex is held.
func (r *Registry) repeated(d Decision, text string, now time.Time) bool {
	who := string(d.Machine)
	if who == "" {
		who = d.Addr + string(d.MAC)
	}
	who += d.Loader
	last, known := r.told[who]
	if known && last.text == text && last.reason == d.Choice.Reason && now.Sub(last.at) < sameDecision && !now.Before(last.at) {
		return true
	}
	if !r.telling.take(now) {
		return true
	}
	if !known && len(r.told) >= maxTold {
		clear(r.told)
	}
	r.told[who] = lastTold{text, d.Choice.Reason, now}
	return false
}

// gets says in a few words what a choice gives.
func gets(c boot.Choice) string {
	by := " (" + string(c.Source) + ")"
	switch c.Action {
	case boot.ActionSilent:
		return " gets no answer" + by
	case boot.ActionLocal:
		return " goes to its own disk" + by
	case boot.ActionMenu:
		return " gets the built-in menu" + by
	case boot.ActionAsk:
		return " waits for the operator" + by
	case boot.ActionArmed:
		return " is offered " + c.Profile + ", which counts" + by
	case boot.ActionBoot:
	}
	return " gets " + c.Profile + by
}

// Rule adds to what the settings say about a DHCP client what was decided about
// the machine: silence, or another first stage.
func (r *Registry) Rule(c boot.Client, rule boot.Rule) boot.Rule {
	snap := r.snap.Load()
	if rule.Deny || !snap.silent && !snap.loaders && r.denied.Load() == 0 {
		return rule
	}
	now := r.now()
	s := boot.SightingOf(c, now, netip.Addr{}, "")
	r.mu.Lock()
	id := boot.Identify(r.table, s)
	rec, known := r.table.byID[id.ID]
	p := &planning{r: r, snap: snap, o: observation{
		machine: boot.Machine{Seen: s}, sighting: s, confidence: id.Confidence, known: known,
	}}
	if known {
		p.o.machine, p.o.sighting, p.o.let = rec.m, rec.m.Seen.Merge(s), now.Before(rec.let)
	}
	r.mu.Unlock()
	// A first stage is no secret: what the machine may have is decided when it
	// asks with an address.
	p.ask.Proof = boot.ProofSeen
	choice := boot.Choose(snap.catalog, p.o.machine, p.situation(now))
	if choice.Action == boot.ActionSilent {
		rule.Deny, rule.Why = true, choice.Reason
		return rule
	}
	if rule.File == "" && snap.loaders && c.Firmware != boot.FirmwareIPXE && c.Firmware != boot.FirmwareRPi {
		rule.File = p.firstStage(choice, c)
	}
	return rule
}

// firstStage is the file that firmware is given instead of our iPXE; empty for
// our iPXE.
func (p *planning) firstStage(choice boot.Choice, c boot.Client) string {
	profile, target, ok := p.snap.catalog.Resolve(choice.Profile)
	if a := p.o.machine.Assignment; !ok && a != nil {
		// A machine whose assignment is over comes by the same program: the
		// firmware may start no other.
		profile, target, ok = p.snap.catalog.Resolve(a.Profile)
	}
	if !ok || profile.Loader == boot.LoaderIPXE || !c.ArchKnown {
		return ""
	}
	info, _ := c.Arch.Info()
	t := fold(target)
	switch profile.Loader {
	case boot.LoaderPXELinux:
		switch {
		case info.Platform != boot.PlatformBIOS:
			return ""
		case t.Kind == boot.TargetPXELinux && t.Program != "":
			return t.Program
		case t.Kind == boot.TargetPXELinux && t.Tree != "":
			return "trees/" + t.Tree + "/pxelinux.0"
		}
		return "pxelinux/lpxelinux.0"
	case boot.LoaderShim, boot.LoaderGRUB:
		if info.Platform != boot.PlatformUEFI {
			return ""
		}
		if t.Kind == boot.TargetGRUB && t.Program != "" {
			return t.Program
		}
		return secondStages[profile.Loader][info.CPU]
	case boot.LoaderIPXE:
	}
	return ""
}

// secondStages are the box's own programs by processor. Where there is none,
// the architecture's usual one is given: GRUB, too, on those without iPXE.
var secondStages = map[boot.Loader]map[string]string{
	boot.LoaderShim: {"x86_64": "x86_64/shimx64.efi", "arm64": "arm64/shimaa64.efi"},
	boot.LoaderGRUB: {"x86_64": "x86_64/grubx64.efi", "arm64": "arm64/grubaa64.efi"},
}
