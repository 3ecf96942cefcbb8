package lan

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// fakeKernel is a kernel whose state the test sets.
type fakeKernel struct {
	mu      sync.Mutex
	s       state
	torn    int // that many looks report that things changed meanwhile
	lookErr error
	looks   int

	followErr error
	events    chan error // nil: a change; else the subscription breaks
	closed    chan struct{}
}

func newFakeKernel(s state) *fakeKernel { return &fakeKernel{s: s, events: make(chan error, 100)} }

func (k *fakeKernel) follow() (follower, error) {
	if k.followErr != nil {
		return nil, k.followErr
	}
	k.closed = make(chan struct{})
	return k, nil
}

func (k *fakeKernel) wait() error {
	select {
	case err := <-k.events:
		return err
	case <-k.closed:
		return os.ErrClosed
	}
}

func (k *fakeKernel) close() { close(k.closed) }

func (k *fakeKernel) look() (state, bool, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.looks++
	if k.torn > 0 {
		k.torn--
		return k.s, false, nil
	}
	return k.s, true, k.lookErr
}

// set changes the state; tell says whether the kernel sends a message about it.
func (k *fakeKernel) set(s state, tell bool) {
	k.mu.Lock()
	k.s = s
	k.mu.Unlock()
	if tell {
		k.events <- nil
	}
}

// sink collects events.
type sink struct {
	mu   sync.Mutex
	list []boot.Event
}

func (s *sink) add(e boot.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, e)
}

// take returns what has come since the last call.
func (s *sink) take() []boot.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.list
	s.list = nil
	return l
}

func watch(k kernel, sel Selection) (*Watcher, *sink) {
	var s sink
	w := NewWatcher(sel, s.add)
	w.kernel = k
	return w, &s
}

func TestWatcherFollows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newFakeKernel(state{links: []link{nic(2, "eth0")}})
		w, events := watch(k, Selection{})
		if got := w.Problems(); len(got) != 1 || got[0].Reason != boot.ReasonStarting {
			t.Errorf("before the first look: %v", got)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		changed, stop := w.Follow()
		defer stop()
		go func() { done <- w.Run(ctx) }()
		<-w.Ready()
		synctest.Wait()
		if got := events.take(); len(got) != 1 || got[0].Reason != boot.ReasonNoAddress || !got[0].Time.Equal(time.Now()) {
			t.Errorf("first look: %+v", got)
		}
		<-changed

		start := time.Now()
		k.set(state{[]link{nic(2, "eth0")}, on(2, "192.0.2.2/24")}, true)
		<-changed
		if d := time.Since(start); d > 100*time.Millisecond {
			t.Errorf("the address was seen after %v", d)
		}
		if i, ok := w.Lookup(2); !ok || len(i.Addrs) != 1 || i.Name != "eth0" {
			t.Errorf("lookup: %+v, %v", i, ok)
		}
		if _, ok := w.Lookup(3); ok {
			t.Error("found an interface that is not there")
		}
		mac := boot.MAC("02:00:00:00:00:02")
		if !w.Owns(netip.MustParseAddr("192.0.2.2")) || !w.Owns(netip.MustParseAddr("::ffff:192.0.2.2")) ||
			w.Owns(netip.MustParseAddr("192.0.2.3")) || w.Owns(netip.Addr{}) || !w.OwnsMAC(mac) || w.OwnsMAC("") {
			t.Error("own addresses are not known")
		}
		if got := w.Problems(); len(got) != 0 {
			t.Errorf("problems %v", got)
		}

		// A renewal: the kernel tells, nothing changed, nobody is woken.
		events.take()
		before := w.current.Load()
		k.set(state{[]link{nic(2, "eth0")}, on(2, "192.0.2.2/24")}, true)
		<-time.After(time.Second) // of synctest's clock
		select {
		case <-changed:
			t.Error("woken without a change")
		default:
		}
		if got := events.take(); len(got) != 0 || w.current.Load() != before {
			t.Errorf("renewal told as %v", got)
		}

		// A message was lost: the safety net finds the change.
		k.set(state{[]link{nic(2, "eth0", down)}, on(2, "192.0.2.2/24")}, false)
		<-changed
		if i, _ := w.Lookup(2); i.Up {
			t.Error("link still up")
		}
		if d := time.Since(start); d > 2*lookEvery {
			t.Errorf("seen after %v", d)
		}

		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
		if w.String() != "interfaces" {
			t.Error(w.String())
		}
	})
}

func TestWatcherGathersAStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newFakeKernel(state{links: []link{nic(2, "eth0")}})
		w, _ := watch(k, Selection{})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- w.Run(ctx) }()
		<-w.Ready()
		for range 1000 {
			k.events <- nil
			<-time.After(time.Millisecond) // of synctest's clock
		}
		synctest.Wait()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if k.looks > 25 {
			t.Errorf("%d looks during one second of messages", k.looks)
		}
	})
}

func TestWatcherLooksAgainWhenTorn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newFakeKernel(state{links: []link{nic(2, "eth0")}})
		k.torn = 3
		w, _ := watch(k, Selection{})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- w.Run(ctx) }()
		<-time.After(time.Second) // of synctest's clock
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if k.looks != 4 {
			t.Errorf("%d looks, want 3 torn ones and a whole one", k.looks)
		}
	})
}

func TestWatcherFailsAndRunsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newFakeKernel(state{[]link{nic(2, "eth0")}, on(2, "192.0.2.2/24")})
		w, _ := watch(k, Selection{})
		broken := errors.New("broken")

		k.followErr = broken
		if err := w.Run(t.Context()); !errors.Is(err, broken) {
			t.Errorf("no subscription: %v", err)
		}
		k.followErr, k.lookErr = nil, broken
		if err := w.Run(t.Context()); !errors.Is(err, broken) {
			t.Errorf("no look: %v", err)
		}
		select {
		case <-w.Ready():
			t.Error("ready without a picture")
		default:
		}
		k.lookErr = nil
		k.events <- broken
		if err := w.Run(t.Context()); !errors.Is(err, broken) {
			t.Errorf("subscription broke: %v", err)
		}
		if len(w.Snapshot()) != 1 {
			t.Error("the last picture was lost")
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := w.Run(ctx); err != nil {
			t.Errorf("second run: %v", err)
		}
	})
}
