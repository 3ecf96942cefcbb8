package proxydhcp

import (
	"fmt"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// Bounds of what is told one by one. Counters see everything.
const (
	digestWindow  = 10 * time.Second
	digestKeys    = 1024
	digestSilence = 100  // silence events per window, all clients together
	digestEvents  = 5000 // other events per window
)

// digest keeps a flood of packets from becoming a flood of events: one event
// per reason and client in ten seconds, with a count; and a bound on all
// together, with the rest summed up.
type digest struct {
	seen    *lru[digestKey, repeat]
	rest    map[boot.Reason]int // silences of clients that had no room; reasons are a closed set
	dropped int                 // other events left out
	start   time.Time           // of the window
	silent  int                 // silence events in this window
	events  int                 // other events in this window
}

type digestKey struct {
	reason boot.Reason
	mac    boot.MAC
}

type repeat struct {
	last  time.Time  // when it was last told
	count int        // since then
	event boot.Event // the most recent one not told
}

func newDigest(now time.Time) *digest {
	return &digest{start: now, seen: newLRU[digestKey, repeat](digestKeys), rest: map[boot.Reason]int{}}
}

// silence decides whether e, an event about a client that was not answered, is
// told now. It may add to its text.
func (d *digest) silence(e *boot.Event) bool {
	key := digestKey{e.Reason, e.MAC}
	r := d.seen.get(key)
	if r == nil {
		if d.silent >= digestSilence {
			d.rest[e.Reason]++
			return false
		}
		var old repeat
		var evicted bool
		if r, old, evicted = d.seen.add(key); evicted && old.count > 0 {
			d.rest[old.event.Reason] += old.count
		}
	} else if e.Time.Sub(r.last) < digestWindow || d.silent >= digestSilence {
		r.count++
		r.event = *e
		return false
	}
	if r.count > 0 {
		e.Text = join(e.Text, fmt.Sprintf("and %d more since the last report", r.count))
	}
	*r = repeat{last: e.Time}
	d.silent++
	return true
}

// other decides whether an event that is not a silence is told.
func (d *digest) other() bool {
	if d.events >= digestEvents {
		d.dropped++
		return false
	}
	d.events++
	return true
}

// flush starts a new window when it is time, and returns the events that sum
// up what was not told one by one.
func (d *digest) flush(now time.Time) []boot.Event {
	if now.Sub(d.start) < digestWindow {
		return nil
	}
	d.start, d.silent, d.events = now, 0, 0
	var out []boot.Event
	d.seen.each(func(_ digestKey, r *repeat) {
		if r.count == 0 || now.Sub(r.last) < digestWindow {
			return
		}
		if len(out) >= digestSilence {
			return // the next window takes it
		}
		e := r.event
		e.Text = join(e.Text, fmt.Sprintf("%d times since the last report", r.count))
		*r = repeat{last: now}
		out = append(out, e)
	})
	d.silent = len(out)
	for reason, n := range d.rest {
		out = append(out, boot.Event{Time: now, Kind: boot.KindSilence, Reason: reason, Text: fmt.Sprintf("%d packets of further clients", n)})
	}
	clear(d.rest)
	if d.dropped > 0 {
		out = append(out, boot.Event{
			Time: now, Kind: boot.KindWarning, Reason: boot.ReasonEventsDropped,
			Text: fmt.Sprintf("%d events were counted but not recorded one by one", d.dropped),
		})
		d.dropped = 0
	}
	return out
}

func join(a, b string) string {
	if a == "" {
		return b
	}
	return a + "; " + b
}
