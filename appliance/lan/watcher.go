package lan

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

const (
	// settle is how long changes are gathered before the next look: switching
	// one interface on makes several messages, and a storm of them must not
	// keep the box busy.
	settle = 50 * time.Millisecond
	// lookEvery is the safety net below the kernel's messages.
	lookEvery = time.Minute
)

// Watcher is the task that follows interfaces, links and addresses. Its
// readers never wait: they see the latest whole picture.
type Watcher struct {
	sel    Selection
	sink   boot.Sink
	kernel kernel

	current atomic.Pointer[snapshot]
	ready   chan struct{}
	once    sync.Once

	mu        sync.Mutex
	followers map[chan struct{}]struct{}
	changes   []boot.LANChange // of the box's addresses, newest last
	gateways  gateways
}

// snapshot is a picture with its indexes.
type snapshot struct {
	picture Picture
	byIndex map[int]Interface
	owned   map[netip.Addr]struct{}
	macs    map[boot.MAC]struct{}
	upSince map[int]time.Time // by index: when the link came up
}

// router is what a kernel that knows routes can do besides.
type router interface{ routes() ([]route, error) }

// NewWatcher returns a Watcher of the network namespace that Run is called in.
// What changes is told to sink.
func NewWatcher(sel Selection, sink boot.Sink) *Watcher {
	w := &Watcher{
		sel: sel, sink: sink, kernel: rtnetlink{},
		ready: make(chan struct{}), followers: map[chan struct{}]struct{}{},
	}
	w.current.Store(&snapshot{})
	return w
}

// String names the task.
func (w *Watcher) String() string { return "interfaces" }

// Ready is closed when the first picture has been taken; interfaces, links and
// addresses may still be missing from it.
func (w *Watcher) Ready() <-chan struct{} { return w.ready }

// Run follows the network until ctx ends and then returns nil. An error means
// that the kernel's interface failed; the last picture stays, and Run may be
// called again.
func (w *Watcher) Run(ctx context.Context) error {
	// Listening begins before the first look, so that no change falls between.
	f, err := w.kernel.follow()
	if err != nil {
		return err
	}
	changed, failed, stopped := make(chan struct{}, 1), make(chan error, 1), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			if err := f.wait(); err != nil {
				failed <- err
				return
			}
			notify(changed)
		}
	}()
	defer func() {
		f.close()
		<-stopped
	}()
	safety := time.NewTicker(lookEvery)
	defer safety.Stop()
	for {
		whole, err := w.look()
		if err != nil {
			return err
		}
		if !whole {
			notify(changed)
		}
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			return err
		case <-safety.C:
		case <-changed:
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(settle):
			}
		}
	}
}

// look takes a new picture, publishes it when it differs, and tells what changed.
func (w *Watcher) look() (whole bool, err error) {
	s, whole, err := w.kernel.look()
	if err != nil {
		return false, err
	}
	last := w.current.Load()
	before, after := last.picture, judge(s, w.sel)
	now := time.Now()
	if !same(before, after) {
		next := newSnapshot(after)
		next.linksUp(last, now)
		w.current.Store(next)
		w.moved(before, after, now)
		for _, e := range Diff(before, after) {
			e.Time = now
			w.sink(e)
		}
		w.mu.Lock()
		for c := range w.followers {
			notify(c)
		}
		w.mu.Unlock()
	}
	w.lookAtRoutes(now)
	w.once.Do(func() { close(w.ready) })
	return whole, nil
}

// lookAtRoutes learns the default routers. That they cannot be read is no reason
// to stop following the interfaces: the next look tries again.
func (w *Watcher) lookAtRoutes(now time.Time) {
	r, ok := w.kernel.(router)
	if !ok {
		return
	}
	routes, err := r.routes()
	if err != nil {
		return
	}
	w.mu.Lock()
	events := w.gateways.learn(routes, w.current.Load().byIndex, now)
	w.mu.Unlock()
	for _, e := range events {
		w.sink(e)
	}
}

// moved notes which addresses of the box that machines are answered from have
// changed.
func (w *Watcher) moved(before, after Picture, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range moves(before, after) {
		c.Time = now
		if len(w.changes) >= boot.MaxLANChanges {
			w.changes = slices.Delete(w.changes, 0, 1)
		}
		w.changes = append(w.changes, c)
	}
}

// moves compares the addresses that answers come from, of interfaces that are or
// were served.
func moves(before, after Picture) []boot.LANChange {
	var out []boot.LANChange
	add := func(name string, from, to netip.Addr) {
		if from != to {
			out = append(out, boot.LANChange{Interface: name, From: from, To: to})
		}
	}
	source := func(i Interface) netip.Addr {
		a, _ := AddressFor(i, netip.Addr{})
		return a
	}
	old := map[int]Interface{}
	for _, i := range before.Interfaces {
		if i.Served {
			old[i.Index] = i
		}
	}
	for _, i := range after.Interfaces {
		if !i.Served {
			continue
		}
		add(i.Name, source(old[i.Index]), source(i))
		delete(old, i.Index)
	}
	for _, i := range before.Interfaces { // in order
		if o, gone := old[i.Index]; gone {
			add(o.Name, source(o), netip.Addr{})
		}
	}
	return out
}

// linksUp takes over since when links are up from the picture before.
func (s *snapshot) linksUp(before *snapshot, now time.Time) {
	s.upSince = map[int]time.Time{}
	for _, i := range s.picture.Interfaces {
		if !i.Up {
			continue
		}
		since, was := before.upSince[i.Index]
		if !was {
			since = now
		}
		s.upSince[i.Index] = since
	}
}

// fill puts what the Watcher knows into l: the box's interfaces, the changes of
// its addresses and its routers.
func (w *Watcher) fill(l *boot.LAN) {
	s := w.current.Load()
	l.Ports = make([]boot.LANPort, 0, len(s.picture.Interfaces))
	for _, i := range s.picture.Interfaces {
		if i.Loopback {
			continue
		}
		p := boot.LANPort{
			Name: i.Name, Up: i.Up, UpSince: s.upSince[i.Index], Served: i.Served, MTU: i.MTU, Speed: i.Speed, Addrs: i.Addrs,
		}
		if len(i.MAC) > 0 {
			p.MAC = boot.MACOf(i.MAC)
		}
		l.Ports = append(l.Ports, p)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	l.Changes, l.Gateways = slices.Clone(w.changes), slices.Clone(w.gateways.list)
}

func newSnapshot(p Picture) *snapshot {
	s := &snapshot{
		picture: p, byIndex: make(map[int]Interface, len(p.Interfaces)),
		owned: map[netip.Addr]struct{}{}, macs: map[boot.MAC]struct{}{},
	}
	for _, i := range p.Interfaces {
		s.byIndex[i.Index] = i
		if len(i.MAC) > 0 {
			s.macs[boot.MACOf(i.MAC)] = struct{}{}
		}
		for _, list := range [][]netip.Prefix{i.Addrs, i.Addrs6} {
			for _, a := range list {
				s.owned[a.Addr()] = struct{}{}
			}
		}
	}
	return s
}

// Picture returns the latest picture. Its slices are shared and must not be
// written to.
func (w *Watcher) Picture() Picture { return w.current.Load().picture }

// Snapshot returns all interfaces known now, in the order of their index. The
// slice is shared and must not be written to.
func (w *Watcher) Snapshot() []Interface { return w.current.Load().picture.Interfaces }

// Lookup finds an interface by the kernel's index; it takes no lock.
func (w *Watcher) Lookup(index int) (Interface, bool) {
	i, ok := w.current.Load().byIndex[index]
	return i, ok
}

// Owns says whether addr is one of this machine's own, served or not.
func (w *Watcher) Owns(addr netip.Addr) bool {
	_, ok := w.current.Load().owned[addr.Unmap()]
	return ok
}

// OwnsMAC says whether mac is one of this machine's own interfaces.
func (w *Watcher) OwnsMAC(mac boot.MAC) bool {
	_, ok := w.current.Load().macs[mac]
	return ok
}

// Problems says what keeps the network from being served, for health.
func (w *Watcher) Problems() []Problem { return w.Picture().Problems() }

// Follow returns a channel that holds a token after the picture has changed
// (several changes may share one), and a function that ends it.
func (w *Watcher) Follow() (changed <-chan struct{}, stop func()) {
	c := make(chan struct{}, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.followers[c] = struct{}{}
	return c, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.followers, c)
	}
}

// notify leaves a token unless there is one.
func notify(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
