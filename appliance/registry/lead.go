package registry

import (
	"slices"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// Times and bounds of plans that lead iPXE to another loader.
const (
	// leadTime is how long the loader may take until it asks for its
	// configuration: it is fetched and started first.
	leadTime = 5 * time.Minute
	// bootAfter is how long after a hand-out a packet of the machine's firmware
	// may still be of the same boot.
	bootAfter = 3 * time.Second
	maxLed    = 256 // plans hold whole configurations
)

// led is a plan that iPXE was given and that consists in starting pxelinux or
// GRUB. What that one asks for next is the same boot: it gets the same plan, with
// the same tokens, and nothing is counted twice.
type led struct {
	handed
	machine boot.MachineID // "" for a machine without a record
	ask     Ask            // iPXE's question
	asked   time.Time      // the first question of the loader; zero before it
}

// over says whether the plan is the answer no more.
func (l *led) over(now time.Time) bool {
	if l.asked.IsZero() {
		return now.Sub(l.at) >= leadTime
	}
	return now.Sub(l.asked) >= Retry
}

// fits says whether a question is of the machine that the plan was given to, as
// far as the box can see. What was given to a proven machine is given to a proven
// one only: names in the question are claims.
func (l *led) fits(a Ask) bool {
	mine := l.ask.Sighting
	switch {
	case a.Loader != l.loader, a.From != l.from, a.Proof == boot.ProofAgainst:
		return false
	case a.Sighting.MAC != "" && mine.MAC != "" && a.Sighting.MAC != mine.MAC:
		return false
	case !a.Sighting.GUID.IsZero() && !mine.GUID.IsZero() && !a.Sighting.GUID.Matches(mine.GUID):
		return false
	case l.ask.Proof == boot.ProofSeen:
		return a.Proof == boot.ProofSeen && a.Sighting.MAC == mine.MAC
	}
	return true
}

// leadsTo is the loader that a plan starts; empty for every other plan, and for
// one that this loader itself asked for.
func (p *planning) leadsTo(plan boot.Plan) string {
	if plan.Choice.Action != boot.ActionBoot || p.ask.asksOnce() {
		return ""
	}
	switch plan.Target.Kind {
	case boot.TargetPXELinux:
		return LoaderPXELinux
	case boot.TargetGRUB:
		return LoaderGRUB
	case boot.TargetLinux, boot.TargetEFI, boot.TargetWimboot, boot.TargetScript, boot.TargetChain, boot.TargetSAN,
		boot.TargetMenu, boot.TargetLocal:
	}
	return ""
}

// lead remembers a plan that was handed out to iPXE for the loader that it
// starts. counts says that it is the boot of an assignment, and lasts no longer
// than that.
func (p *planning) lead(plan boot.Plan, counts bool, now time.Time) {
	loader := p.leadsTo(plan)
	if loader == "" {
		return
	}
	r := p.r
	l := &led{
		handed:  handed{plan: plan, at: now, from: p.ask.From, loader: loader},
		machine: p.o.machine.ID, ask: p.ask,
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.table.byID[l.machine]; !ok {
		l.machine = ""
	}
	if counts {
		run, ok := r.tokens.callbacks[plan.CallbackToken]
		if !ok {
			return // the operator has just decided otherwise
		}
		l.attempt = run.ID
	}
	r.led = slices.DeleteFunc(r.led, func(o *led) bool {
		return o.over(now) || o.from == l.from && o.machine == l.machine && o.ask.Sighting.MAC == l.ask.Sighting.MAC
	})
	if len(r.led) >= maxLed {
		// What counts stays: it is handed out once.
		i := max(0, slices.IndexFunc(r.led, func(o *led) bool { return o.attempt == "" }))
		r.led = slices.Delete(r.led, i, i+1)
	}
	r.led = append(r.led, l)
}

// ledTo is the plan that iPXE was given on this machine and that has started the
// loader which asks now.
func (r *Registry) ledTo(p *planning, now time.Time) (boot.Plan, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range r.led {
		if l.over(now) || !l.fits(p.ask) {
			continue
		}
		if rec, ok := r.table.byID[l.machine]; l.machine != "" {
			if !ok || rec.m.Access == boot.AccessDeny || l.attempt != "" && !underWay(rec.m.Assignment, l.attempt) {
				continue
			}
		}
		if l.asked.IsZero() {
			l.asked = now
		}
		return l.plan, true
	}
	return boot.Plan{}, false
}

// bootsAnew ends what the machine was led to in an earlier boot: its iPXE asks
// from the beginning.
func (r *Registry) bootsAnew(p *planning) {
	if !p.o.sure {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.led = slices.DeleteFunc(r.led, func(l *led) bool { return l.machine == p.o.machine.ID })
}

// rebooted ends the repetition of what was handed out to a machine's loader: its
// firmware asks for an address, so what comes next is another boot. What a loader
// has not asked for yet goes on: a packet is a claim, and that plan was given to
// nobody else. The mutex is held.
func (r *Registry) rebooted(id boot.MachineID, now time.Time) {
	if h, ok := r.handed[id]; ok && now.Sub(h.at) >= bootAfter {
		delete(r.handed, id)
	}
	r.led = slices.DeleteFunc(r.led, func(l *led) bool {
		return l.machine == id && !l.asked.IsZero() && now.Sub(l.asked) >= bootAfter
	})
}

// unhand ends what was handed to a machine's loaders. The mutex is held.
func (r *Registry) unhand(id boot.MachineID) {
	delete(r.handed, id)
	r.led = slices.DeleteFunc(r.led, func(l *led) bool { return l.machine == id })
}

// unhandRun ends the repetition of the plan of an attempt, which is over: whoever
// asks now has booted again. The mutex is held.
func (r *Registry) unhandRun(run *attempt) {
	if h, ok := r.handed[run.Machine]; ok && h.attempt == run.ID {
		delete(r.handed, run.Machine)
	}
	r.led = slices.DeleteFunc(r.led, func(l *led) bool {
		return run.Callback != "" && l.plan.CallbackToken == run.Callback
	})
}
