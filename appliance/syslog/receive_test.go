package syslog

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

const patience = 10 * time.Second

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// until waits for a condition of the world outside, checked every 5 ms.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited %v for: %s", patience, what)
		}
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

func (s *sink) events(k boot.Kind) (out []boot.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.list {
		if e.Kind == k {
			out = append(out, e)
		}
	}
	return out
}

// run starts a task that ends with the test.
func run(t *testing.T, task interface {
	Run(context.Context) error
	Ready() <-chan struct{}
},
) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- task.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("task: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func receiver(t *testing.T, c Config) (*Receiver, *sink) {
	t.Helper()
	s := &sink{}
	c.Listen, c.Sink = "127.0.0.1:0", s.add
	r := New(c)
	must(t, r.Listen(t.Context()))
	run(t, r)
	<-r.Ready()
	return r, s
}

func dial(t *testing.T, network string, r *Receiver) net.Conn {
	t.Helper()
	c, err := net.Dial(network, r.Addr().String())
	must(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func send(t *testing.T, c net.Conn, s string) {
	t.Helper()
	_, err := c.Write([]byte(s))
	must(t, err)
}

func TestReceives(t *testing.T) {
	now := time.Date(2026, 5, 1, 10, 0, 0, 0, time.UTC)
	r, s := receiver(t, Config{Now: func() time.Time { return now }})
	send(t, dial(t, "udp", r), "<13>Oct 11 22:14:15 node1 anaconda[77]: by UDP\n")
	until(t, "a datagram", func() bool { return len(s.events(boot.KindSyslog)) == 1 })
	c := dial(t, "tcp", r)
	send(t, c, "<13>anaconda: li")
	send(t, c, "ne\n22 <13>anaconda: counted\n")
	until(t, "two lines", func() bool { return len(s.events(boot.KindSyslog)) == 3 })
	for i, want := range []string{"anaconda: by UDP", "anaconda: line", "anaconda: counte"} {
		e := s.events(boot.KindSyslog)[i]
		if !strings.HasPrefix(e.Text, want) || e.Addr != netip.MustParseAddr("127.0.0.1") || !e.Time.Equal(now) {
			t.Errorf("event %d: %+v", i, e)
		}
	}
	if n, dropped := r.Stats(); n != 3 || dropped != 0 || r.Refused() != 0 {
		t.Errorf("%d lines, %d dropped, %d refused", n, dropped, r.Refused())
	}
}

func TestStrangersAreRefused(t *testing.T) {
	r, s := receiver(t, Config{Allowed: func(a netip.Addr) bool { return a == netip.MustParseAddr("192.0.2.1") }})
	send(t, dial(t, "udp", r), "<13>x: y")
	c := dial(t, "tcp", r)
	_ = c.SetReadDeadline(time.Now().Add(patience))
	if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the connection stays open: %v", err)
	}
	until(t, "both refused", func() bool { return r.Refused() == 2 })
	if n := len(s.events(boot.KindSyslog)); n != 0 {
		t.Errorf("%d events", n)
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	r, s := receiver(t, Config{})
	var conns []net.Conn
	for range maxPeerConns {
		c := dial(t, "tcp", r)
		send(t, c, "<13>x: y\n")
		conns = append(conns, c)
	}
	until(t, "all of one address", func() bool { return len(s.events(boot.KindSyslog)) == maxPeerConns })
	for range 3 {
		c := dial(t, "tcp", r)
		_ = c.SetReadDeadline(time.Now().Add(patience))
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("one too many")
		}
	}
	_ = conns[0].Close()
	until(t, "a place", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.conns) < maxPeerConns
	})
	send(t, dial(t, "tcp", r), "<13>x: again\n")
	until(t, "the line", func() bool { return len(s.events(boot.KindSyslog)) == maxPeerConns+1 })
	// In all, whoever they are.
	for i := range 2 * maxConns {
		_ = r.admit(&net.TCPConn{}, netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}))
	}
	r.mu.Lock()
	n := len(r.conns)
	for c := range r.conns {
		if c.RemoteAddr() == nil {
			delete(r.conns, c)
		}
	}
	r.mu.Unlock()
	if n != maxConns {
		t.Errorf("%d connections", n)
	}
}

func TestFlood(t *testing.T) {
	var mu sync.Mutex
	now := time.Date(2026, 5, 1, 10, 0, 0, 0, time.UTC)
	s := &sink{}
	r := New(Config{Sink: s.add, Now: func() time.Time { mu.Lock(); defer mu.Unlock(); return now }})
	one := netip.MustParseAddr("192.0.2.1")
	for range 1000 {
		r.take(one, []byte("<13>x: y"))
	}
	flood := s.events(boot.KindWarning)
	if n := len(s.events(boot.KindSyslog)); n != burstPeer || len(flood) != 1 || flood[0].Reason != boot.ReasonSyslogFlood || flood[0].Addr != one {
		t.Errorf("%d lines, %+v", n, flood)
	}
	// Ten seconds of one machine's flood, and another that says little.
	other := netip.MustParseAddr("192.0.2.2")
	for i := range 10_000 {
		now = now.Add(time.Millisecond)
		r.take(one, []byte("<13>x: y"))
		if i%1000 == 0 {
			r.take(other, []byte("<13>x: little"))
		}
	}
	lines := s.events(boot.KindSyslog)
	little := 0
	for _, e := range lines {
		if e.Addr == other {
			little++
		}
	}
	if n := len(lines) - little - burstPeer; n < 195 || n > 205 || little != 10 {
		t.Errorf("%d lines of the flood in ten seconds, %d of the other", n, little)
	}
	// Invented senders: bounded memory, bounded lines, one event a minute.
	before := len(lines)
	for i := range 100_000 {
		now = now.Add(100 * time.Microsecond)
		r.take(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), []byte("<13>x: y"))
	}
	if n := len(s.events(boot.KindSyslog)) - before; n > burstTotal+10*linesTotal {
		t.Errorf("%d lines of invented senders", n)
	}
	if n := len(r.limits.sources); n > maxSources {
		t.Errorf("%d senders remembered", n)
	}
	if w := s.events(boot.KindWarning); len(w) != 2 || w[1].Addr.IsValid() {
		t.Errorf("%d events: %+v", len(w), w[len(w)-1])
	}
	now = now.Add(2 * floodEvery)
	r.take(netip.MustParseAddr("192.0.2.3"), []byte("<13>x: afterwards"))
	if l := s.events(boot.KindSyslog); l[len(l)-1].Text != "x: afterwards" {
		t.Error("nobody is heard after the flood")
	}
	if _, dropped := r.Stats(); dropped == 0 {
		t.Error("nothing counted")
	}
}

func TestListenErrors(t *testing.T) {
	r, _ := receiver(t, Config{})
	second := New(Config{Listen: r.Addr().String()})
	if err := second.Listen(t.Context()); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("%v", err)
	}
	if err := second.Run(t.Context()); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("%v", err)
	}
	select {
	case <-second.Ready():
		t.Error("ready")
	default:
	}
	if second.Addr().IsValid() || second.Close() != nil {
		t.Error("half open")
	}
}

func TestRunsAgain(t *testing.T) {
	s := &sink{}
	r := New(Config{Listen: "127.0.0.1:0", Sink: s.add})
	for i := range 2 {
		stop := run(t, r)
		until(t, "the ports", func() bool { return r.Addr().IsValid() })
		c := dial(t, "tcp", r)
		send(t, c, fmt.Sprintf("<13>x: %d\n", i))
		until(t, "a line", func() bool { return len(s.events(boot.KindSyslog)) == i+1 })
		stop() // with the connection open
		if r.Addr().IsValid() {
			t.Error("still open")
		}
	}
}
