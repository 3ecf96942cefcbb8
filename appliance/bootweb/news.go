package bootweb

import (
	"container/list"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// Budgets of events. One machine's boot raises a handful; an installer fetching
// packages, a SAN disk read by ranges or a scanner raises thousands. Those
// beyond the budget are counted by Config.Observe all the same, and mentioned
// in the source's next event.
const (
	fineBurst    = 64
	fineEvery    = 250 * time.Millisecond
	refusedBurst = 8
	refusedEvery = 5 * time.Second
	overallBurst = 64 // refusals of all sources together: addresses can be made up
	overallEvery = 100 * time.Millisecond
	maxSources   = 1024
)

// bucket is a token bucket that is filled by the passing of time.
type bucket struct {
	tokens int
	last   time.Time
}

func (b *bucket) take(now time.Time, burst int, every time.Duration) bool {
	if b.last.IsZero() {
		b.tokens, b.last = burst, now
	}
	if n := int(now.Sub(b.last) / every); n > 0 {
		b.tokens = min(burst, b.tokens+n)
		b.last = b.last.Add(time.Duration(n) * every)
	}
	if b.tokens == 0 {
		return false
	}
	b.tokens--
	return true
}

// news passes events on within budgets, per source address.
type news struct {
	sink boot.Sink

	mu      sync.Mutex
	sources map[netip.Addr]*list.Element // of *source
	order   *list.List                   // front: most recent
	overall bucket
}

type source struct {
	addr          netip.Addr
	fine, refused bucket
	left          int // events left out since the last one passed on
}

func newNews(sink boot.Sink) *news {
	return &news{sink: sink, sources: map[netip.Addr]*list.Element{}, order: list.New()}
}

func (n *news) source(addr netip.Addr) *source {
	if e, ok := n.sources[addr]; ok {
		n.order.MoveToFront(e)
		return e.Value.(*source)
	}
	if n.order.Len() >= maxSources {
		oldest := n.order.Back()
		delete(n.sources, oldest.Value.(*source).addr)
		n.order.Remove(oldest)
	}
	s := &source{addr: addr}
	n.sources[addr] = n.order.PushFront(s)
	return s
}

// fine passes on an event of ordinary service.
func (n *news) fine(now time.Time, ev boot.Event) {
	n.mu.Lock()
	s := n.source(ev.Addr)
	ok := s.fine.take(now, fineBurst, fineEvery)
	n.pass(s, ok, ev)
}

// refused passes on an event of something refused.
func (n *news) refused(now time.Time, ev boot.Event) {
	n.mu.Lock()
	s := n.source(ev.Addr)
	ok := s.refused.take(now, refusedBurst, refusedEvery) && n.overall.take(now, overallBurst, overallEvery)
	n.pass(s, ok, ev)
}

// pass ends the locked part: the sink is called outside of it.
func (n *news) pass(s *source, ok bool, ev boot.Event) {
	if !ok {
		s.left++
		n.mu.Unlock()
		return
	}
	left := s.left
	s.left = 0
	n.mu.Unlock()
	if left > 0 {
		if ev.Text != "" {
			ev.Text += "; "
		}
		ev.Text += fmt.Sprintf("%d more requests of this client not listed", left)
	}
	n.sink(ev)
}
