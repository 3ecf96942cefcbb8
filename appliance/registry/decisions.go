package registry

import (
	"slices"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// Decision is what a machine was told and why.
type Decision struct {
	Time    time.Time      `json:"time"`
	Machine boot.MachineID `json:"machine,omitempty"`
	Name    string         `json:"name,omitempty"`
	MAC     boot.MAC       `json:"mac,omitempty"`
	Addr    string         `json:"addr,omitempty"`
	Loader  string         `json:"loader,omitempty"` // ipxe, pxelinux or grub
	Choice  boot.Choice    `json:"choice"`
}

// maxSteps bounds the steps that the ring remembers in all: the whole reasoning
// of the last decisions, and of those before only what won.
const maxSteps = 20000

// ring remembers the last decisions. The registry's mutex guards it.
type ring struct {
	list  []Decision // newest last
	steps int        // in list[whole:]
	whole int        // decisions before this one are shortened
}

func (g *ring) add(d Decision) {
	d.Choice.Steps = slices.Clip(d.Choice.Steps)
	g.list = append(g.list, d)
	g.steps += len(d.Choice.Steps)
	for g.steps > maxSteps && g.whole < len(g.list)-1 {
		g.shorten()
	}
	if len(g.list) > MaxDecisions {
		if g.whole == 0 {
			g.shorten()
		}
		g.list[0] = Decision{}
		g.list = g.list[1:]
		g.whole--
		if cap(g.list) < MaxDecisions {
			g.list = append(make([]Decision, 0, 2*MaxDecisions), g.list...)
		}
	}
}

// shorten leaves of the oldest whole decision the steps that won.
func (g *ring) shorten() {
	d := &g.list[g.whole]
	g.steps -= len(d.Choice.Steps)
	won := []boot.Step{}
	for _, s := range d.Choice.Steps {
		if s.Won {
			won = append(won, s)
		}
	}
	d.Choice.Steps = won
	g.whole++
}

// Decisions are the last n decisions, newest first; all that are remembered when
// n is 0 or less.
func (r *Registry) Decisions(n int) []Decision {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n <= 0 || n > len(r.ring.list) {
		n = len(r.ring.list)
	}
	out := slices.Clone(r.ring.list[len(r.ring.list)-n:])
	slices.Reverse(out)
	return out
}

// Machines is how many machines are on record.
func (r *Registry) Machines() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.table.byID)
}

// Armed is how many machines wait for an armed boot: the next time they ask,
// something is overwritten.
func (r *Registry) Armed() int {
	now := r.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, rec := range r.table.byID {
		if a := rec.m.Assignment; a != nil && a.Mode == boot.AssignArmed && a.State == boot.AssignWaiting && now.Before(a.Expires) {
			n++
		}
	}
	return n
}

// Who is the machine that a hardware address and an identifier belong to, as far
// as one record alone fits; product is what it told of itself. It decides
// nothing: it is for telling people.
func (r *Registry) Who(mac boot.MAC, guid boot.GUID) (id boot.MachineID, name, product string) {
	s := boot.Sighting{MAC: mac, GUID: guid}
	r.mu.Lock()
	defer r.mu.Unlock()
	rec, ok := r.table.byID[boot.Identify(r.table, s).ID]
	if !ok {
		return "", "", ""
	}
	return rec.m.ID, rec.m.Name, rec.m.Seen.Product
}
