// Package journal keeps what was observed: a bounded history of events in
// memory and live subscriptions to it.
//
// It must never block the boot path: recording an event takes no I/O and waits
// for no reader. A reader that is too slow is told that it missed something.
package journal

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// Journal is the bounded event history. What a stranger can make any number of
// has histories of its own, so that it cannot push a machine's boot out of
// memory: LAN chatter (packets that are none of our business, overheard
// leases, what other servers say), offers to clients that may not exist, refused
// requests, transfers under way, and the log lines of machines.
type Journal struct {
	now func() time.Time

	mu       sync.Mutex
	seq      uint64
	boots    ring
	offers   ring
	refused  ring
	chatter  ring
	progress ring
	lines    ring
	subs     map[*Subscription]struct{}
}

// Sizes of a Journal: events kept, and how many live readers there may be.
const (
	DefaultSize    = 4096
	MaxSubscribers = 64
	subscriberRoom = 256
)

// New returns a Journal that keeps the last size events of each history and
// stamps events without a time with now.
func New(size int, now func() time.Time) *Journal {
	part := ring{max: size / 4}
	return &Journal{
		now: now, boots: ring{max: size}, offers: part, refused: part, chatter: part, progress: part, lines: part,
		subs: map[*Subscription]struct{}{},
	}
}

// ring is a bounded sequence of events, oldest first once it has wrapped.
type ring struct {
	max    int
	events []boot.Event
	next   int // where the oldest is, once full
}

func (r *ring) add(e boot.Event) {
	if len(r.events) < r.max {
		r.events = append(r.events, e)
		return
	}
	r.events[r.next] = e
	r.next = (r.next + 1) % r.max
}

// after returns the events with a sequence number above seq, oldest first.
func (r *ring) after(seq uint64) []boot.Event {
	ordered := append(slices.Clone(r.events[r.next:]), r.events[:r.next]...)
	i, _ := slices.BinarySearchFunc(ordered, seq+1, func(e boot.Event, s uint64) int {
		switch {
		case e.Seq < s:
			return -1
		case e.Seq > s:
			return 1
		}
		return 0
	})
	return ordered[i:]
}

// Record takes an event: it gets the next sequence number and, when it has no
// time, the present one. It is a boot.Sink.
func (j *Journal) Record(e boot.Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.seq++
	e.Seq = j.seq
	if e.Time.IsZero() {
		e.Time = j.now()
	}
	// Text and file come from clients: bounded, whoever made them.
	e.File, e.Text = clip(e.File), clip(e.Text)
	j.historyFor(e).add(e)
	for s := range j.subs {
		select {
		case s.events <- e:
		default:
			s.missed++
		}
	}
}

func (j *Journal) historyFor(e boot.Event) *ring {
	switch e.Kind {
	case boot.KindSilence, boot.KindLease, boot.KindForeign:
		return &j.chatter
	case boot.KindOffer, boot.KindAck:
		return &j.offers
	case boot.KindProgress:
		return &j.progress
	case boot.KindSyslog:
		return &j.lines
	case boot.KindTFTP, boot.KindHTTP, boot.KindScript:
		if e.Reason != boot.ReasonNone {
			return &j.refused
		}
	default:
	}
	return &j.boots
}

// maxString bounds every string of an event that is kept, in bytes.
const maxString = 512

func clip(s string) string {
	if len(s) <= maxString {
		return s
	}
	return s[:maxString] + "…"
}

// Since returns at most limit events with a sequence number above seq, oldest
// first; when there are more, the newest of them. Last is the newest number
// given out so far.
func (j *Journal) Since(seq uint64, limit int) (events []boot.Event, last uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	var all []boot.Event
	for _, r := range []*ring{&j.boots, &j.offers, &j.refused, &j.chatter, &j.progress, &j.lines} {
		all = append(all, r.after(seq)...)
	}
	slices.SortFunc(all, func(a, b boot.Event) int {
		if a.Seq < b.Seq {
			return -1
		}
		return 1
	})
	if len(all) > limit {
		all = all[len(all)-limit:]
	}
	return all, j.seq
}

// Subscription is one live reader.
type Subscription struct {
	events chan boot.Event
	missed uint64
	j      *Journal
}

// Subscribe opens a live reader, or returns nil when there are MaxSubscribers
// already. It ends with ctx.
func (j *Journal) Subscribe(ctx context.Context) *Subscription {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.subs) >= MaxSubscribers {
		return nil
	}
	s := &Subscription{events: make(chan boot.Event, subscriberRoom), j: j}
	j.subs[s] = struct{}{}
	context.AfterFunc(ctx, func() {
		j.mu.Lock()
		defer j.mu.Unlock()
		delete(j.subs, s)
		close(s.events)
	})
	return s
}

// Events is closed when the subscription's context ends.
func (s *Subscription) Events() <-chan boot.Event { return s.events }

// Missed returns how many events did not fit since the last call.
func (s *Subscription) Missed() uint64 {
	s.j.mu.Lock()
	defer s.j.mu.Unlock()
	n := s.missed
	s.missed = 0
	return n
}
