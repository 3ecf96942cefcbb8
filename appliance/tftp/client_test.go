package tftp

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// relay is a lossy, slow link between clients and a TFTP server, in user space. It
// knows that a server answers from a port of its own and stands in for it.
type relay struct {
	front  *net.UDPConn
	server netip.AddrPort
	delay  time.Duration // each way
	loss   float64       // each way

	mu      sync.Mutex
	rng     *rand.Rand
	paths   map[netip.AddrPort]*route
	largest int
	wg      sync.WaitGroup
}

// route is one client's way.
type route struct {
	up, down *net.UDPConn // towards the server, towards the client
	client   netip.AddrPort

	mu     sync.Mutex
	server netip.AddrPort
}

func newRelay(t testing.TB, server netip.AddrPort, delay time.Duration, loss float64) *relay {
	t.Helper()
	r := &relay{
		front: listenLoopback(t), server: server, delay: delay, loss: loss,
		rng: rand.New(rand.NewPCG(1, 2)), paths: map[netip.AddrPort]*route{},
	}
	r.wg.Go(func() { r.copy(r.front, func(b []byte, from netip.AddrPort) { r.request(t, b, from) }) })
	t.Cleanup(r.close)
	return r
}

func listenLoopback(t testing.TB) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (r *relay) close() {
	_ = r.front.Close()
	r.mu.Lock()
	for _, p := range r.paths {
		_, _ = p.up.Close(), p.down.Close()
	}
	r.mu.Unlock()
	r.wg.Wait()
}

func (r *relay) addr() netip.AddrPort { return r.front.LocalAddr().(*net.UDPAddr).AddrPort() }

// copy hands what conn receives to f, in order, after the delay and unless lost.
func (r *relay) copy(conn *net.UDPConn, f func(b []byte, from netip.AddrPort)) {
	type held struct {
		b    []byte
		from netip.AddrPort
		due  time.Time
	}
	queue := make(chan held, 1024)
	var sender sync.WaitGroup
	sender.Go(func() {
		for h := range queue {
			if wait := time.Until(h.due); wait > 0 {
				time.Sleep(wait) //nolint:forbidigo // the link's delay, which is what a relay is for
			}
			f(h.b, h.from)
		}
	})
	defer sender.Wait()
	defer close(queue)
	buf := make([]byte, 65536)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		r.mu.Lock()
		lost := r.rng.Float64() < r.loss
		r.largest = max(r.largest, n+28)
		r.mu.Unlock()
		if !lost {
			queue <- held{bytes.Clone(buf[:n]), from, time.Now().Add(r.delay)}
		}
	}
}

func (r *relay) request(t testing.TB, b []byte, client netip.AddrPort) {
	r.mu.Lock()
	p := r.paths[client]
	if p == nil {
		p = &route{up: listenLoopback(t), down: listenLoopback(t), client: client}
		r.paths[client] = p
		r.wg.Go(func() {
			r.copy(p.up, func(b []byte, from netip.AddrPort) {
				p.mu.Lock()
				p.server = from
				p.mu.Unlock()
				_, _ = p.down.WriteToUDPAddrPort(b, p.client)
			})
		})
		r.wg.Go(func() {
			r.copy(p.down, func(b []byte, _ netip.AddrPort) {
				p.mu.Lock()
				to := p.server
				p.mu.Unlock()
				_, _ = p.up.WriteToUDPAddrPort(b, to)
			})
		})
	}
	r.mu.Unlock()
	_, _ = p.up.WriteToUDPAddrPort(b, r.server)
}

// fetchWith takes a file in lock-step as firmware does: it acknowledges a block it
// has seen before again (pin/tftp's client does not, and waits out its time), and
// repeats its last packet when nothing comes. block 0 asks for no options.
func fetchWith(server netip.AddrPort, name string, block int) ([]byte, error) {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	last, to := rrq(name), server
	size := defaultBlock
	if block != 0 {
		last = rrq(name, "blksize", strconv.Itoa(block), "tsize", "0")
	}
	var out []byte
	var tid netip.AddrPort
	next := uint16(1)
	buf := make([]byte, 65536)
	send := true
	for tries := 0; ; {
		if send {
			if _, err := conn.WriteToUDPAddrPort(last, to); err != nil {
				return out, err
			}
		}
		send = true
		_ = conn.SetReadDeadline(time.Now().Add(time.Second))
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			if tries++; tries > 10 {
				return out, err
			}
			continue
		}
		if tid.IsValid() && from != tid {
			send = false
			continue
		}
		switch b := buf[:n]; binary.BigEndian.Uint16(b) {
		case opOACK:
			fields := strings.Split(string(b[2:n-1]), "\x00")
			for i := 0; i+1 < len(fields); i += 2 {
				if fields[i] == "blksize" {
					size, _ = decimal(fields[i+1])
				}
			}
			if next == 1 && len(out) == 0 {
				last = ack(0)
			}
		case opDATA:
			if got := binary.BigEndian.Uint16(b[2:]); got != next {
				send = got == next-1
				break
			}
			out = append(out, b[4:]...)
			last = ack(next)
			next++
			if n-4 < size {
				_, err := conn.WriteToUDPAddrPort(last, from)
				return out, err
			}
		case opERROR:
			return out, fmt.Errorf("error %d %q", binary.BigEndian.Uint16(b[2:]), b[4:])
		}
		tid, to, tries = from, from, 0
	}
}

// TestLossyLink: every file arrives whole over a link that loses 5% each way.
func TestLossyLink(t *testing.T) {
	t.Parallel()
	want := content(100_000)
	s := startServer(t, Config{Files: mapTree(map[string][]byte{"a": want})}, nil)
	r := newRelay(t, s.at("127.0.0.1"), time.Millisecond, 0.05)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			got, err := fetchWith(r.addr(), "a", []int{0, 1468}[i%2])
			if err != nil || sha256.Sum256(got) != sha256.Sum256(want) {
				t.Errorf("client %d: %d octets, %v", i, len(got), err)
			}
		})
	}
	wg.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.largest > 1500 {
		t.Errorf("a datagram of %d octets", r.largest)
	}
	s.stop()
	if s.rec.resent == 0 {
		t.Error("nothing was sent again: the link was not lossy")
	}
	t.Logf("%d packets sent again, largest datagram %d", s.rec.resent, r.largest)
}

// TestManyClients: 64 clients at once, content equal, and nothing left behind.
func TestManyClients(t *testing.T) {
	t.Parallel()
	want := content(300_000)
	s := startServer(t, Config{Files: mapTree(map[string][]byte{"a": want}), Limits: Limits{PerClient: 64}}, nil)
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			got, err := fetchWith(s.at("127.0.0.1"), "a", 1468)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%d octets, %v", len(got), err)
			}
		})
	}
	wg.Wait()
	s.stop()
	if s.rec.done[""] != 64 {
		t.Errorf("outcomes %v", s.rec.done)
	}
}

// TestRealClients: the clients of a Debian machine fetch files intact.
func TestRealClients(t *testing.T) {
	t.Parallel()
	files := map[string][]byte{"small": content(10), "exact": content(512 * 20), "large": content(1_000_003)}
	s := startServer(t, Config{Files: mapTree(files)}, nil)
	port := fmt.Sprint(s.port)
	for _, client := range []struct {
		name string
		args func(name, out string) []string
	}{
		{"tftp", func(name, out string) []string {
			return []string{"-4", "-m", "binary", "127.0.0.1", port, "-c", "get", name, out}
		}},
		{"atftp", func(name, out string) []string {
			return []string{"--get", "--remote-file", name, "--local-file", out, "127.0.0.1", port}
		}},
		{"atftp", func(name, out string) []string {
			return []string{
				"--option", "blksize 1428", "--option", "tsize 0", "--option", "timeout 2",
				"--get", "--remote-file", name, "--local-file", out, "127.0.0.1", port,
			}
		}},
		{"curl", func(name, out string) []string {
			return []string{"-sS", "-o", out, "tftp://127.0.0.1:" + port + "/" + name}
		}},
		{"curl", func(name, out string) []string {
			return []string{"-sS", "--tftp-blksize", "1468", "-o", out, "tftp://127.0.0.1:" + port + "/" + name}
		}},
		{"busybox", func(name, out string) []string {
			return []string{"tftp", "-g", "-b", "1468", "-r", name, "-l", out, "127.0.0.1", port}
		}},
	} {
		t.Run(client.name, func(t *testing.T) {
			bin, err := exec.LookPath(client.name)
			if errors.Is(err, exec.ErrNotFound) {
				if os.Getenv("BOOTPUCK_E2E") == "1" {
					t.Fatalf("%s is not installed", client.name)
				}
				t.Skipf("%s is not installed", client.name)
			}
			for name, want := range files {
				out := filepath.Join(t.TempDir(), name)
				text, err := exec.CommandContext(t.Context(), bin, client.args(name, out)...).CombinedOutput()
				if err != nil {
					t.Errorf("%s: %v: %s", name, err, text)
					continue
				}
				got, err := os.ReadFile(out)
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("%s: %d octets of %d, %v, %s", name, len(got), len(want), err, text)
				}
			}
		})
	}
}
