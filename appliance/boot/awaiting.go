package boot

import (
	"sync"
	"time"
)

// Awaiting remembers who fetched a first stage and has not been heard of since.
// Firmware with Secure Boot fetches a program whole, refuses to start it and
// tells nobody; a program that hangs looks the same. All the box can see is the
// silence after a complete download. Bounded; reads no clock; safe for
// concurrent use.
type Awaiting struct {
	mu      sync.Mutex
	pending map[MAC]awaited
	said    map[MAC]time.Time // when the silence of a machine was last reported
	each    func(MAC)
}

type awaited struct {
	event Event
	since time.Time
}

// Times and bounds of Awaiting.
const (
	// StartTime is how long a first stage may take from its download to its first
	// packet. iPXE on slow firmware needs a few seconds for the network card, and
	// up to 30 s where spanning tree holds the port.
	StartTime = 45 * time.Second
	// silentAgain is how long the same machine's silence is not reported again:
	// firmware tries the same program by PXE and by HTTP, over IPv4 and IPv6.
	silentAgain = 10 * time.Minute
	maxAwaiting = 1024
)

// NewAwaiting returns an empty Awaiting.
func NewAwaiting() *Awaiting {
	return &Awaiting{pending: map[MAC]awaited{}, said: map[MAC]time.Time{}}
}

// Each has f called for every machine that Silent finds, also for those whose
// silence was reported a short while ago. Call it before anything else.
func (a *Awaiting) Each(f func(MAC)) { a.each = f }

// Fetched notes that a machine has downloaded its first stage: e is the event
// of that transfer. Machines beyond the bound are not watched.
func (a *Awaiting) Fetched(e Event) {
	if e.MAC == "" {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, known := a.pending[e.MAC]; known || len(a.pending) < maxAwaiting {
		a.pending[e.MAC] = awaited{e, e.Time}
	}
}

// Heard notes that what a machine fetched runs: it spoke as iPXE, or asked for
// something else.
func (a *Awaiting) Heard(mac MAC) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.pending, mac)
}

// Silent returns a warning for every machine whose first stage has not been
// heard of for StartTime, once each.
func (a *Awaiting) Silent(now time.Time) []Event {
	out, all := a.silent(now)
	if a.each != nil {
		for _, mac := range all {
			a.each(mac)
		}
	}
	return out
}

func (a *Awaiting) silent(now time.Time) (out []Event, all []MAC) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for mac, w := range a.pending {
		if now.Sub(w.since) < StartTime {
			continue
		}
		delete(a.pending, mac)
		all = append(all, mac)
		if last, ok := a.said[mac]; ok && now.Sub(last) < silentAgain {
			continue
		}
		if len(a.said) < maxAwaiting {
			a.said[mac] = now
		}
		e := w.event
		out = append(out, Event{
			Time: now, Kind: KindWarning, Reason: ReasonNotStarted, MAC: mac, GUID: e.GUID, Addr: e.Addr, Interface: e.Interface,
			Arch: e.Arch, ArchKnown: e.ArchKnown, Firmware: e.Firmware, File: e.File,
		})
	}
	for mac, last := range a.said {
		if now.Sub(last) >= silentAgain {
			delete(a.said, mac)
		}
	}
	return out, all
}
