package lan

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/packet"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// fakeSockets opens fake packet sockets.
type fakeSockets struct {
	mu   sync.Mutex
	open map[string]*fakeSocket
	errs map[string]error
	n    int // sockets opened so far

	sent     []sent
	writeErr error
}

type fakeSocket struct {
	owner   *fakeSockets
	name    string
	packets chan []byte
	broken  chan error
	closed  chan struct{}
	mac     net.HardwareAddr
}

func (f *fakeSockets) listen(i Interface) (listener, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.errs[i.Name]; err != nil {
		return nil, err
	}
	s := &fakeSocket{
		owner: f, name: i.Name, packets: make(chan []byte, 10_000), broken: make(chan error, 1),
		closed: make(chan struct{}), mac: net.HardwareAddr{2, 0, 0, 0, 0, 0x51},
	}
	f.open[i.Name] = s
	f.n++
	return s, nil
}

func (f *fakeSockets) get(name string) *fakeSocket {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.open[name]
}

func (f *fakeSockets) fail(name string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.errs[name] = err
}

func (s *fakeSocket) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case p := <-s.packets:
		return copy(b, p), &packet.Addr{HardwareAddr: s.mac}, nil
	case err := <-s.broken:
		return 0, nil, err
	case <-s.closed:
		return 0, nil, os.ErrClosed
	}
}

func (s *fakeSocket) WriteTo(b []byte, to net.Addr) (int, error) {
	s.owner.mu.Lock()
	defer s.owner.mu.Unlock()
	if err := s.owner.writeErr; err != nil {
		return 0, err
	}
	s.owner.sent = append(s.owner.sent, sent{s.name, to.(*packet.Addr).HardwareAddr.String(), bytes.Clone(b)})
	return len(b), nil
}

// sent is what was sent, and by whom.
type sent struct {
	name, to string
	packet   []byte
}

func (s *fakeSocket) Close() error {
	s.owner.mu.Lock()
	defer s.owner.mu.Unlock()
	if s.owner.open[s.name] == s {
		delete(s.owner.open, s.name)
	}
	close(s.closed)
	return nil
}

// stand is a running watcher and sentinel over fakes.
type stand struct {
	kernel   *fakeKernel
	sockets  *fakeSockets // for DHCP
	arp      *fakeSockets
	lldp     *fakeSockets
	watcher  *Watcher
	sentinel *Sentinel
	events   *sink
}

func newStand(t *testing.T, s state) *stand {
	st := &stand{kernel: newFakeKernel(s), sockets: &fakeSockets{open: map[string]*fakeSocket{}, errs: map[string]error{}}}
	w, _ := watch(st.kernel, Selection{Names: []string{"lo", "eth0", "eth1"}})
	st.watcher, st.events = w, &sink{}
	st.sentinel = NewSentinel(SentinelConfig{Watcher: w, Sink: st.events.add})
	st.sentinel.open = st.sockets.listen
	st.arp = &fakeSockets{open: map[string]*fakeSocket{}, errs: map[string]error{}}
	st.lldp = &fakeSockets{open: map[string]*fakeSocket{}, errs: map[string]error{}}
	st.sentinel.openARP, st.sentinel.openLLDP = st.arp.listen, st.lldp.listen
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return st
}

// start runs the sentinel; the returned function ends it.
func (st *stand) start(t *testing.T) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- st.sentinel.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("sentinel: %v", err)
		}
	}
}

func (st *stand) set(s state) {
	st.kernel.set(s, true)
	<-time.After(time.Second) // of synctest's clock
	synctest.Wait()
}

func (st *stand) listening() (out []string) {
	st.sockets.mu.Lock()
	defer st.sockets.mu.Unlock()
	for _, name := range []string{"lo", "eth0", "eth1", "lan0", "eth2"} {
		if st.sockets.open[name] != nil {
			out = append(out, name)
		}
	}
	return out
}

func TestSentinelFollowsInterfaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lo := nic(1, "lo", loopback)
		addrs := on(2, "192.0.2.2/24")
		st := newStand(t, state{[]link{lo, nic(2, "eth0"), nic(3, "eth1", down), nic(4, "eth2")}, addrs})
		stop := st.start(t)
		<-st.sentinel.Ready()
		expect := func(when string, want ...string) {
			t.Helper()
			if d := cmp.Diff(want, st.listening()); d != "" {
				t.Errorf("%s: %s", when, d)
			}
		}
		expect("at first", "eth0") // lo hears nobody else, eth1 has no link, eth2 is not served
		st.set(state{[]link{lo, nic(2, "eth0"), nic(3, "eth1")}, addrs})
		expect("link up", "eth0", "eth1")
		st.set(state{[]link{lo, nic(2, "eth0", down), nic(3, "eth1")}, addrs})
		expect("link down", "eth1")
		st.set(state{[]link{lo, nic(9, "eth0"), nic(3, "eth1")}, on(9, "192.0.2.2/24")})
		expect("created again", "eth0", "eth1")

		// One breaks and comes back, the other is left alone.
		opened := st.sockets.n
		st.sockets.get("eth0").broken <- syscall.ENETDOWN
		synctest.Wait()
		expect("broken", "eth1")
		if p := st.sentinel.Problems(); len(p) != 1 || p[0].Reason != boot.ReasonFailed || p[0].Interface != "eth0" {
			t.Errorf("problems %v", p)
		}
		<-time.After(reopenAfter)
		synctest.Wait()
		expect("reopened", "eth0", "eth1")
		if n := st.sockets.n - opened; n != 1 || len(st.sentinel.Problems()) != 0 {
			t.Errorf("%d sockets opened, problems %v", n, st.sentinel.Problems())
		}
		stop()
		expect("stopped")
	})
}

func TestSentinelTellsWhatItHears(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStand(t, state{[]link{nic(2, "eth0"), nic(3, "eth1")}, on(2, "192.0.2.2/24")})
		defer st.start(t)()
		<-st.sentinel.Ready()
		eth0, eth1 := st.sockets.get("eth0"), st.sockets.get("eth1")
		eth0.packets <- offer(option(60, "PXEClient"))
		synctest.Wait()
		// Ours come back through the second interface or a relay; garbage is counted.
		eth1.packets <- offer(proxied, func(r *reply) { r.from = "192.0.2.2" })
		eth1.packets <- offer(proxied, func(r *reply) { copy(r.options[5:], []byte{192, 0, 2, 2}) })
		eth1.packets <- []byte("garbage")
		eth1.packets <- nil
		synctest.Wait()
		eth1.mac = net.HardwareAddr{2, 0, 0, 0, 0, 2} // our own eth0
		eth1.packets <- offer(proxied)
		synctest.Wait()
		want := []string{
			`responder: DHCP server 192.0.2.1 (02:00:00:00:00:51) on eth0 hands out addresses, sends option 60 "PXEClient".`,
			`warning option60: DHCP server 192.0.2.1 (02:00:00:00:00:51) on eth0 sends option 60 "PXEClient" with the addresses it hands out.`,
			`foreign: The server 192.0.2.1 offered the address 192.0.2.50, option 60 "PXEClient".`,
		}
		if d := cmp.Diff(want, told(st.events.take())); d != "" {
			t.Error(d)
		}
		if d := cmp.Diff(SentinelStats{Heard: 1, Malformed: 2, Own: 3}, st.sentinel.Stats()); d != "" {
			t.Error(d)
		}
		if p := st.sentinel.Problems(); len(p) != 1 || p[0].Reason != boot.ReasonOption60 {
			t.Errorf("problems %v", p)
		}
		if st.sentinel.String() != "sentinel" {
			t.Error(st.sentinel)
		}
	})
}

func TestSentinelTakesAFloodSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStand(t, state{[]link{nic(2, "eth0"), nic(3, "eth1")}, on(2, "192.0.2.2/24")})
		stop := st.start(t)
		<-st.sentinel.Ready()
		eth0, eth1 := st.sockets.get("eth0"), st.sockets.get("eth1")
		for range cap(eth0.packets) {
			eth0.packets <- offer()
		}
		<-time.After(time.Second) // of synctest's clock
		eth1.packets <- offer(proxied)
		synctest.Wait()
		if n := st.sentinel.Stats().Heard; n < hearBurst || n > hearBurst+hearPerSecond+2 {
			t.Errorf("%d replies taken in within a second", n)
		}
		if n := len(st.sentinel.Responders()); n != 2 {
			t.Errorf("%d responders: a flood on one interface hides another", n)
		}
		stop() // at once, although the ear is waiting
	})
}

func TestSentinelWithoutPermission(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStand(t, state{[]link{nic(2, "eth0")}, on(2, "192.0.2.2/24")})
		denied := &net.OpError{Op: "listen", Net: "packet", Err: os.NewSyscallError("socket", syscall.EPERM)}
		st.sockets.fail("eth0", denied)
		for range 3 { // as a supervisor does
			if err := st.sentinel.Run(t.Context()); !errors.Is(err, fs.ErrPermission) {
				t.Fatalf("got %v", err)
			}
		}
		if got := st.events.take(); len(got) != 1 || got[0].Kind != boot.KindWarning || got[0].Reason != boot.ReasonPermission {
			t.Errorf("told %v", told(got))
		}
		if p := st.sentinel.Problems(); len(p) != 1 || p[0].Reason != boot.ReasonPermission {
			t.Errorf("problems %v", p)
		}
		select {
		case <-st.sentinel.Ready():
			t.Error("ready without permission")
		default:
		}
		st.sockets.fail("eth0", nil)
		defer st.start(t)()
		<-st.sentinel.Ready()
		if p := st.sentinel.Problems(); len(p) != 0 {
			t.Errorf("problems %v", p)
		}
	})
}

func TestSentinelRetriesAnInterface(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStand(t, state{[]link{nic(2, "eth0"), nic(3, "eth1")}, on(2, "192.0.2.2/24")})
		st.sockets.fail("eth1", syscall.ENODEV)
		defer st.start(t)()
		<-st.sentinel.Ready()
		if d := cmp.Diff([]string{"eth0"}, st.listening()); d != "" {
			t.Error(d)
		}
		st.sockets.fail("eth1", nil)
		<-time.After(reopenAfter)
		synctest.Wait()
		if d := cmp.Diff([]string{"eth0", "eth1"}, st.listening()); d != "" {
			t.Error(d)
		}
	})
}

func TestSentinelSurvivesItsOwnDefects(t *testing.T) {
	w, _ := watch(newFakeKernel(state{}), Selection{})
	s := NewSentinel(SentinelConfig{Watcher: w, Sink: func(boot.Event) { panic("defect") }})
	s.hear(2, nil, offer())
	s.hear(2, &packet.Addr{}, offer())
	if st := s.Stats(); st.Malformed != 1 || st.Heard != 2 {
		t.Errorf("%+v", st)
	}
}

func TestSentinelEndsBeforeThereIsAPicture(t *testing.T) {
	w, _ := watch(newFakeKernel(state{}), Selection{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := NewSentinel(SentinelConfig{Watcher: w, Sink: func(boot.Event) {}}).Run(ctx); err != nil {
		t.Error(err)
	}
}
