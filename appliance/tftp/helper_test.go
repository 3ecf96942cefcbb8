package tftp

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recorder keeps events and numbers.
type recorder struct {
	mu      sync.Mutex
	events  []boot.Event
	changed chan struct{}
	active  int
	peak    int
	bytes   int64
	resent  int
	done    map[string]int
}

func newRecorder() *recorder {
	return &recorder{changed: make(chan struct{}, 1), done: map[string]int{}}
}

func (r *recorder) sink(e boot.Event) {
	r.mu.Lock()
	r.events = append(r.events, e)
	r.mu.Unlock()
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

func (r *recorder) TFTPActive(d int) {
	r.mu.Lock()
	r.active += d
	r.peak = max(r.peak, r.active)
	r.mu.Unlock()
}

func (r *recorder) TFTPBytes(n int64, resent int) {
	r.mu.Lock()
	r.bytes += n
	r.resent += resent
	r.mu.Unlock()
}

func (r *recorder) TFTPDone(reason boot.Reason, probe bool, _ time.Duration) {
	r.mu.Lock()
	name := string(reason)
	if probe {
		name = "probe"
	}
	r.done[name]++
	r.mu.Unlock()
}

func (r *recorder) count(name string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.done[name]
}

func (r *recorder) mostActive() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.peak
}

func (r *recorder) snapshot() []boot.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]boot.Event(nil), r.events...)
}

// wait returns the first event that ok accepts.
func (r *recorder) wait(t testing.TB, what string, ok func(boot.Event) bool) boot.Event {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		for _, e := range r.snapshot() {
			if ok(e) {
				return e
			}
		}
		select {
		case <-r.changed:
		case <-deadline:
			t.Fatalf("no event: %s; got %+v", what, r.snapshot())
		}
	}
}

func (r *recorder) waitReason(t testing.TB, reason boot.Reason) boot.Event {
	t.Helper()
	return r.wait(t, "reason "+string(reason), func(e boot.Event) bool { return e.Reason == reason })
}

// testServer is a Server that runs for the length of a test.
type testServer struct {
	*Server
	rec  *recorder
	port uint16
	stop func()
}

// startServer runs a server on all loopback addresses.
func startServer(t testing.TB, cfg Config, tune func(*Server)) *testServer {
	t.Helper()
	rec := newRecorder()
	cfg.Addr = netip.MustParseAddrPort("0.0.0.0:0")
	if cfg.Sink == nil {
		cfg.Sink = rec.sink
	}
	if cfg.Meter == nil {
		cfg.Meter = rec
	}
	allowed := cfg.Allowed
	cfg.Allowed = func(a netip.Addr, i int) boot.Reason {
		if !a.IsLoopback() {
			return boot.ReasonSource
		}
		if allowed != nil {
			return allowed(a, i)
		}
		return boot.ReasonNone
	}
	if cfg.Drain == 0 {
		cfg.Drain = 20 * time.Millisecond // most tests leave clients behind on purpose
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if tune != nil {
		tune(s)
	}
	if err := s.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	ts := &testServer{Server: s, rec: rec, port: s.Addr().Port()}
	go func() { done <- s.Run(ctx) }()
	ts.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		if n := len(s.admission.all()); n != 0 {
			t.Errorf("%d transfers are open after the stop", n)
		}
	})
	t.Cleanup(ts.stop)
	return ts
}

func (s *testServer) at(ip string) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr(ip), s.port)
}

// rawClient sends and receives datagrams, octet by octet.
type rawClient struct {
	t    testing.TB
	conn *net.UDPConn
	to   netip.AddrPort
	buf  [70000]byte
	from netip.AddrPort
	// largest datagram seen, IPv4 and UDP headers included
	largest int
}

func dial(t testing.TB, from string, to netip.AddrPort) *rawClient {
	t.Helper()
	c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(from), 0)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return &rawClient{t: t, conn: c, to: to}
}

func (c *rawClient) send(b []byte, to netip.AddrPort) {
	c.t.Helper()
	if _, err := c.conn.WriteToUDPAddrPort(b, to); err != nil {
		c.t.Fatal(err)
	}
}

// recv waits for the next datagram; nil when none came in time.
func (c *rawClient) recv(wait time.Duration) []byte {
	c.t.Helper()
	_ = c.conn.SetReadDeadline(time.Now().Add(wait))
	n, from, err := c.conn.ReadFromUDPAddrPort(c.buf[:])
	if err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		c.t.Fatal(err)
	}
	c.from = from
	c.largest = max(c.largest, n+28)
	return c.buf[:n]
}

const soon = 5 * time.Second

// expect is recv that must succeed.
func (c *rawClient) expect(what string) []byte {
	c.t.Helper()
	b := c.recv(soon)
	if b == nil {
		c.t.Fatalf("no answer, want %s", what)
	}
	return b
}

// quiet fails when anything comes within the time.
func (c *rawClient) quiet(wait time.Duration) {
	c.t.Helper()
	if b := c.recv(wait); b != nil {
		c.t.Fatalf("got % x, want nothing", b[:min(len(b), 32)])
	}
}

func rrq(name string, options ...string) []byte { return packRequest(opRRQ, name, "octet", options...) }

func packRequest(op byte, name, mode string, options ...string) []byte {
	b := append([]byte{0, op}, name...)
	b = append(b, 0)
	b = append(append(b, mode...), 0)
	for _, o := range options {
		b = append(append(b, o...), 0)
	}
	return b
}

func ack(block uint16) []byte { return []byte{0, opACK, byte(block >> 8), byte(block)} }

func oack(options ...string) []byte {
	b := []byte{0, opOACK}
	for _, o := range options {
		b = append(append(b, o...), 0)
	}
	return b
}

func (c *rawClient) expectBytes(what string, want []byte) {
	c.t.Helper()
	if got := c.expect(what); !bytes.Equal(got, want) {
		c.t.Fatalf("%s: got % x\nwant % x", what, got[:min(len(got), 64)], want[:min(len(want), 64)])
	}
}

func (c *rawClient) expectData(block uint16, payload []byte) {
	c.t.Helper()
	c.expectBytes(fmt.Sprintf("DATA %d", block), append([]byte{0, opDATA, byte(block >> 8), byte(block)}, payload...))
}

func (c *rawClient) expectError(code errorCode, text string) {
	c.t.Helper()
	c.expectBytes("ERROR "+text, errorPacket(code, text))
}

// fetch takes a whole file in lock-step and returns its content and block size.
func (c *rawClient) fetch(name string, options ...string) ([]byte, int) {
	c.t.Helper()
	c.send(rrq(name, options...), c.to)
	var out []byte
	size := defaultBlock
	next := uint16(1)
	var server netip.AddrPort
	for {
		b := c.expect("a block of " + name)
		if !server.IsValid() {
			server = c.from
		} else if c.from != server {
			c.t.Fatalf("a datagram from %s, want %s", c.from, server)
		}
		switch binary.BigEndian.Uint16(b) {
		case opOACK:
			fields := strings.Split(string(b[2:len(b)-1]), "\x00")
			for i := 0; i+1 < len(fields); i += 2 {
				if strings.EqualFold(fields[i], "blksize") {
					size, _ = decimal(fields[i+1])
				}
			}
			c.send(ack(0), server)
		case opDATA:
			n := binary.BigEndian.Uint16(b[2:])
			if n != next {
				continue
			}
			out = append(out, b[4:]...)
			c.send(ack(n), server)
			next++
			if len(b)-4 < size {
				return out, size
			}
		default:
			c.t.Fatalf("%s: got % x", name, b[:min(len(b), 64)])
		}
	}
}

// content is n octets that differ from block to block.
func content(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(n), byte(n >> 8), byte(n >> 16)})
	_, _ = r.Read(b)
	return b
}

func mapTree(files map[string][]byte) *Tree {
	m := fstest.MapFS{}
	for name, b := range files {
		m[name] = &fstest.MapFile{Data: b}
	}
	return NewTree(m, 1000, 0)
}

// patient makes a server repeat nothing for a while, for tests that are about
// something else, so that a busy machine does not disturb them.
func patient(s *Server) { s.firstWait = time.Minute }
