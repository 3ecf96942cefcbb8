package lan

import (
	"context"
	"net/netip"
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
}

// snapshot is a picture with its indexes.
type snapshot struct {
	picture Picture
	byIndex map[int]Interface
	owned   map[netip.Addr]struct{}
	macs    map[boot.MAC]struct{}
}

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
	before, after := w.current.Load().picture, judge(s, w.sel)
	if !same(before, after) {
		w.current.Store(newSnapshot(after))
		now := time.Now()
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
	w.once.Do(func() { close(w.ready) })
	return whole, nil
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
