package tftp

import (
	"container/list"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// Limits bound what clients can take. Zero fields mean the defaults.
type Limits struct {
	PerClient int // transfers of one address at a time; default 64: machines behind one router share an address
	Total     int // transfers at a time; default 256
	// Rate and Burst bound the requests of one address: a second's worth and the
	// most at once; defaults 64 and 512. Raspberry Pi firmware and GRUB ask for
	// dozens of files within a few hundred milliseconds.
	Rate, Burst int
	// Sources is how many addresses are remembered for that; default 4096. The
	// least recently seen is forgotten first.
	Sources int
	// Duration ends a transfer that lasts longer; default 30 minutes.
	Duration time.Duration
}

func (l Limits) withDefaults() Limits {
	def := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	def(&l.PerClient, 64)
	def(&l.Total, 256)
	def(&l.Rate, 64)
	def(&l.Burst, 512)
	def(&l.Sources, 4096)
	if l.Duration <= 0 {
		l.Duration = 30 * time.Minute
	}
	return l
}

// transfer is one admitted request.
type transfer struct {
	req    Request
	name   string
	raw    string // the datagram, to know a repetition
	wants  request
	start  time.Time
	opened atomic.Bool // the file is open and the engine at work
	proven atomic.Bool // the client has acknowledged something

	mu   sync.Mutex
	link *link
	end  *result // set by stop before there was a link
}

// attach gives the transfer its link. It returns false when it was stopped before.
func (t *transfer) attach(l *link) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.link = l
	t.opened.Store(true)
	return t.end == nil
}

// stop ends the transfer wherever it is.
func (t *transfer) stop(r result) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.link != nil {
		t.link.stop(r)
	} else if t.end == nil {
		t.end = &r
	}
}

// key tells transfers apart as a client does: TFTP knows a client by its port.
type key struct {
	client netip.AddrPort
	local  netip.Addr
}

func (t *transfer) key() key { return key{t.req.Client, t.req.Local} }

// evictAge is how old a transfer that was never acknowledged must be to make way
// for another when all are taken. A client on a LAN acknowledges within
// milliseconds; forged requests never do, and without this 256 of them would shut
// everybody out for as long as they are waited for.
const evictAge = 100 * time.Millisecond

// admission counts the open transfers. Safe for concurrent use.
type admission struct {
	limits Limits

	mu    sync.Mutex
	open  map[*transfer]struct{}
	by    map[netip.Addr]int
	byKey map[key]*transfer
}

func newAdmission(l Limits) *admission {
	return &admission{
		limits: l, open: map[*transfer]struct{}{}, by: map[netip.Addr]int{}, byKey: map[key]*transfer{},
	}
}

// admit takes t in, or says why not: the client's or the total limit, or repeated,
// when the same datagram came from the same port before and is being answered (its
// repetition is ours to time). evict, when not nil, has to be stopped by the caller:
// t has its place.
func (a *admission) admit(t *transfer) (evict *transfer, repeated bool, reason boot.Reason) {
	a.mu.Lock()
	defer a.mu.Unlock()
	// Once acknowledged, the same datagram again is a client that has started
	// over: ROMs use the same port each time.
	if old := a.byKey[t.key()]; old != nil && old.raw == t.raw && !old.proven.Load() {
		return nil, true, boot.ReasonNone
	}
	if a.by[t.req.Client.Addr()] >= a.limits.PerClient {
		return nil, false, boot.ReasonClientLimit
	}
	if len(a.open) >= a.limits.Total {
		for o := range a.open {
			// One that is still opening its file would leave a goroutine behind.
			if o.opened.Load() && !o.proven.Load() && t.start.Sub(o.start) > evictAge && (evict == nil || o.start.Before(evict.start)) {
				evict = o
			}
		}
		if evict == nil {
			return nil, false, boot.ReasonTotalLimit
		}
		a.remove(evict)
	}
	a.open[t] = struct{}{}
	a.by[t.req.Client.Addr()]++
	a.byKey[t.key()] = t
	return evict, false, boot.ReasonNone
}

// release gives t's place back. A second call does nothing.
func (a *admission) release(t *transfer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.remove(t)
}

func (a *admission) remove(t *transfer) {
	if _, ok := a.open[t]; !ok {
		return
	}
	delete(a.open, t)
	if ip := t.req.Client.Addr(); a.by[ip] > 1 {
		a.by[ip]--
	} else {
		delete(a.by, ip)
	}
	if a.byKey[t.key()] == t {
		delete(a.byKey, t.key())
	}
}

// all returns the open transfers.
func (a *admission) all() []*transfer {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := make([]*transfer, 0, len(a.open))
	for t := range a.open {
		out = append(out, t)
	}
	return out
}

const (
	// eventWindow and eventsPerWindow: what one address may put into the journal.
	// A boot makes some 50 events (a Raspberry Pi's misses); the rest of a window
	// is told in one sum.
	eventWindow     = 10 * time.Second
	eventsPerWindow = 64
	// eventsPerSecond is for all addresses together, because sources can be forged.
	eventsPerSecond = 100
)

// sources remembers the addresses that ask: how many requests each may still make,
// and how many events it has caused. Bounded; safe for concurrent use.
type sources struct {
	rate, burst float64
	max         int

	mu     sync.Mutex
	m      map[netip.Addr]*list.Element // of *source
	order  *list.List                   // front: seen last
	second time.Time                    // start of the second that spent counts
	spent  int
	lost   dropped // of addresses that were forgotten, or over everybody's budget
}

type source struct {
	addr   netip.Addr
	tokens float64
	seen   time.Time
	window time.Time
	events int
	dropped
}

// dropped sums up events that were not told one by one.
type dropped struct {
	n    int
	last boot.Event
}

func (d *dropped) add(e boot.Event) { d.n++; d.last = e }

func newSources(l Limits) *sources {
	return &sources{
		rate: float64(l.Rate), burst: float64(l.Burst), max: l.Sources,
		m: map[netip.Addr]*list.Element{}, order: list.New(),
	}
}

// take spends one of addr's requests; false when it has none left.
func (s *sources) take(addr netip.Addr, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	src := s.touch(addr, now)
	if src.tokens < 1 {
		return false
	}
	src.tokens--
	return true
}

// touch returns addr's entry with its tokens brought up to date. s.mu is held.
func (s *sources) touch(addr netip.Addr, now time.Time) *source {
	if e, ok := s.m[addr]; ok {
		s.order.MoveToFront(e)
		src := e.Value.(*source)
		src.tokens = min(s.burst, src.tokens+max(0, now.Sub(src.seen).Seconds())*s.rate)
		src.seen = now
		return src
	}
	if s.order.Len() >= s.max {
		oldest := s.order.Back()
		src := oldest.Value.(*source)
		if src.n > 0 {
			s.lost.n += src.n
			s.lost.last = src.last
		}
		delete(s.m, src.addr)
		s.order.Remove(oldest)
	}
	src := &source{addr: addr, tokens: s.burst, seen: now, window: now}
	s.m[addr] = s.order.PushFront(src)
	return src
}

// pass says whether e is to be told now; otherwise it is added up.
func (s *sources) pass(e boot.Event, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	src := s.touch(e.Addr, now)
	if src.n == 0 && now.Sub(src.window) >= eventWindow {
		src.window, src.events = now, 0
	}
	if src.events >= eventsPerWindow {
		src.dropped.add(e)
		return false
	}
	if !s.budget(now) {
		s.lost.add(e)
		return false
	}
	src.events++
	return true
}

// spare says whether there is room for an event that nobody would miss.
func (s *sources) spare(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.budget(now)
}

// budget spends one event of everybody's. s.mu is held.
func (s *sources) budget(now time.Time) bool {
	if now.Sub(s.second) >= time.Second {
		s.second, s.spent = now, 0
	}
	if s.spent >= eventsPerSecond {
		return false
	}
	s.spent++
	return true
}

// sums returns, as events, what was added up in windows that are over. At most one
// per address and one for all the others, within everybody's budget.
func (s *sources) sums(now time.Time) []boot.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []boot.Event
	for e := s.order.Front(); e != nil; e = e.Next() {
		src := e.Value.(*source)
		if src.n == 0 || now.Sub(src.window) < eventWindow {
			continue
		}
		if !s.budget(now) {
			break
		}
		out = append(out, src.sum(now, "this address"))
		src.dropped, src.window, src.events = dropped{}, now, 0
	}
	if s.lost.n > 0 && s.budget(now) {
		e := s.lost.sum(now, "several addresses")
		e.Addr = netip.Addr{}
		out = append(out, e)
		s.lost = dropped{}
	}
	return out
}

func (d dropped) sum(now time.Time, who string) boot.Event {
	return boot.Event{
		Time: now, Kind: boot.KindTFTP, Reason: d.last.Reason, Addr: d.last.Addr, Interface: d.last.Interface, File: d.last.File,
		Text: fmt.Sprintf("and %d more requests of %s, the last one shown here", d.n, who),
	}
}
