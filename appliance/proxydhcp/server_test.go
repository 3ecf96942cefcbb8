package proxydhcp

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/ipv4"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// patience is how long a test waits for what must happen; it says nothing about
// how long it takes.
const patience = 20 * time.Second

// tally is a Counter and a Sink that a test can wait on.
type tally struct {
	mu       sync.Mutex
	silences map[boot.Reason]int
	answered int
	events   []boot.Event
	changed  chan struct{}
}

func newTally() *tally {
	return &tally{silences: map[boot.Reason]int{}, changed: make(chan struct{}, 1)}
}

func (c *tally) do(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

func (c *tally) Silence(r boot.Reason)             { c.do(func() { c.silences[r]++ }) }
func (c *tally) Answered(boot.Form, time.Duration) { c.do(func() { c.answered++ }) }
func (c *tally) sink(e boot.Event)                 { c.do(func() { c.events = append(c.events, e) }) }

func (c *tally) counts() (answered int, s map[boot.Reason]int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s = map[boot.Reason]int{}
	for k, v := range c.silences {
		s[k] = v
	}
	return c.answered, s
}

// until waits for a condition on the counters.
func (c *tally) until(t *testing.T, what string, ok func(answered int, silences map[boot.Reason]int) bool) {
	t.Helper()
	deadline := time.After(patience)
	for {
		if a, s := c.counts(); ok(a, s) {
			return
		}
		select {
		case <-c.changed:
		case <-deadline:
			a, s := c.counts()
			t.Fatalf("%s: not within %v; %d answered, silences %v", what, patience, a, s)
		}
	}
}

// start runs a server until the test ends, or stop is called.
func start(t *testing.T, s *Server) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			select {
			case err := <-done:
				if err != nil {
					t.Errorf("run: %v", err)
				}
			case <-time.After(patience):
				t.Error("the server does not stop")
			}
			if a, b := s.Ports(); a != 0 || b != 0 {
				t.Error("ports are open after the end")
			}
		})
	}
	t.Cleanup(stop)
	select {
	case <-s.Ready():
	case <-time.After(patience):
		t.Fatal("not ready")
	}
	return stop
}

// loopback finds lo, which every test machine has.
func loopback(t *testing.T) Interface {
	t.Helper()
	list, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range list {
		if i.Flags&net.FlagLoopback != 0 {
			return Interface{Index: i.Index, Name: i.Name, Up: true, MTU: i.MTU, Served: true, Prefixes: prefixes("127.0.0.1/8")}
		}
	}
	t.Skip("no loopback interface")
	return Interface{}
}

// TestServerOnLoopback runs the real sockets without any privilege: a relay and
// a boot client on other addresses of the loopback network.
func TestServerOnLoopback(t *testing.T) {
	lo := loopback(t)
	relay, err := net.ListenPacket("udp4", "127.0.0.9:0")
	if err != nil {
		t.Skipf("no second loopback address: %v", err)
	}
	defer relay.Close()
	count := newTally()
	cfg := Config{
		Interfaces: func() []Interface { return []Interface{lo} },
		Settings: func() Settings {
			return Settings{Policy: boot.Policy{Rules: []boot.Rule{{MAC: "52:54:00:12:34:99", Delay: 30 * time.Millisecond}}}}
		},
		Counter: count, Sink: count.sink,
		DHCPPort: -1, BootPort: -1, RelayPort: relay.LocalAddr().(*net.UDPAddr).Port,
	}
	s := New(cfg)
	if s.String() == "" {
		t.Error("a task without a name")
	}
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	dhcp, bootPort := s.Ports()
	// A second server finds the port taken, says so and leaves nothing open.
	taken := cfg
	taken.BootPort = bootPort
	second := New(taken)
	var e *ListenError
	if err := second.Run(t.Context()); !errors.As(err, &e) || e.Port != bootPort || e.Reason != boot.ReasonPortTaken || !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("second server: %v", err)
	}
	if a, b := second.Ports(); a != 0 || b != 0 {
		t.Error("a port stayed open")
	}
	stop := start(t, s)
	exchange := func(p packet, port int) parsed {
		t.Helper()
		if _, err := relay.WriteTo(p.bytes(), &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}); err != nil {
			t.Fatal(err)
		}
		if err := relay.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 2048)
		n, from, err := relay.ReadFrom(buf)
		if err != nil {
			t.Fatal(err)
		}
		if got := from.(*net.UDPAddr).AddrPort(); got != netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(port)) {
			t.Errorf("answer from %s", got)
		}
		return judge(t, p, buf[:n], netip.MustParseAddr("127.0.0.1"))
	}
	lo1 := netip.MustParseAddr("127.0.0.1")
	discover := d0()
	discover.giaddr, discover.hops = netip.MustParseAddr("127.0.0.9"), 1
	r := exchange(discover, dhcp)
	r.isDirect(t, lo1, "undionly.kpxe")
	delayed := discover
	delayed.chaddr[5] = 0x99
	exchange(delayed, dhcp)
	r = exchange(b7(), bootPort)
	r.isAck(t, b7(), lo1, "x86_64/snponly.efi")
	// Silence: nothing comes, one is counted.
	for _, raw := range [][]byte{{1}, make([]byte, 3000), discover.with(60, 'x').bytes()} {
		if _, err := relay.WriteTo(raw, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: dhcp}); err != nil {
			t.Fatal(err)
		}
	}
	count.until(t, "silences", func(answered int, s map[boot.Reason]int) bool {
		return answered == 3 && s[boot.ReasonParse] == 2 && s[boot.ReasonClass] == 1
	})
	stop()
	// The same server starts again.
	s2 := New(Config{Interfaces: cfg.Interfaces, Settings: cfg.Settings, DHCPPort: dhcp, BootPort: bootPort, RelayPort: cfg.RelayPort})
	start(t, s2)
	exchange(discover, dhcp)
}

// TestWriteBatchGoesOn: an answer that cannot be sent does not keep the ones
// behind it.
func TestWriteBatchGoesOn(t *testing.T) {
	count := newTally()
	client, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	s := New(Config{DHCPPort: -1, BootPort: -1, Counter: count, Sink: count.sink})
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	good := client.LocalAddr().(*net.UDPAddr).AddrPort()
	ok := Outbound{Packet: []byte("ok"), To: good, Src: netip.MustParseAddr("127.0.0.1")}
	bad := ok
	bad.Src = netip.MustParseAddr("203.0.113.99") // not ours: the kernel refuses
	s.write(s.socks[0], []Outbound{bad, ok, bad, bad, ok})
	a, silences := count.counts()
	if a != 2 || silences[boot.ReasonSend] != 3 {
		t.Errorf("%d sent, %v", a, silences)
	}
	buf := make([]byte, 10)
	for range 2 {
		if err := client.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		if n, _, err := client.ReadFrom(buf); err != nil || string(buf[:n]) != "ok" {
			t.Errorf("%q, %v", buf[:n], err)
		}
	}
}

func TestPacketInfo(t *testing.T) {
	cm := &ipv4.ControlMessage{IfIndex: 7, Src: net.IPv4(192, 0, 2, 2)}
	index, _ := packetInfo(cm.Marshal())
	if index != 7 {
		t.Errorf("index %d", index)
	}
	for _, bad := range [][]byte{nil, {1, 2, 3}, make([]byte, 64)} {
		if index, dst := packetInfo(bad); index != 0 || dst.IsValid() {
			t.Errorf("% x: %d, %s", bad, index, dst)
		}
	}
}
