package bootweb_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
	"github.com/bootpuck/bootpuck/appliance/bootweb"
)

func contextWithLocal(r *http.Request, a net.Addr) context.Context {
	return context.WithValue(r.Context(), http.LocalAddrContextKey, a)
}

// watchedListener tells how file contents reach the connection.
type watchedListener struct {
	net.Listener
	files, others atomic.Int64 // octets by ReadFrom from an *os.File, and by anything else
}

func (l *watchedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &watchedConn{TCPConn: c.(*net.TCPConn), l: l}, nil
}

type watchedConn struct {
	*net.TCPConn
	l *watchedListener
}

func (c *watchedConn) ReadFrom(r io.Reader) (int64, error) {
	n, err := c.TCPConn.ReadFrom(r)
	src := r
	if lr, ok := r.(*io.LimitedReader); ok {
		src = lr.R
	}
	if _, ok := src.(*os.File); ok {
		c.l.files.Add(n)
	} else {
		c.l.others.Add(n)
	}
	return n, err
}

func (c *watchedConn) Write(b []byte) (int, error) {
	c.l.others.Add(int64(len(b)))
	return c.TCPConn.Write(b)
}

// TestSendfile: an operator's file reaches the TCP connection as a file, which
// is what net needs for sendfile, through every wrapper there is.
func TestSendfile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	data := bytes.Repeat([]byte("0123456789abcdef"), 5<<20/16+1)
	if err := os.WriteFile(filepath.Join(dir, "big.img"), data, 0o644); err != nil {
		t.Fatal(err)
	}
	var l *watchedListener
	lg := newLog()
	_, base := start(t, bootweb.Config{
		Files: openRoot(t, dir), Sink: lg.sink,
		Listen: func(network, addr string) (net.Listener, error) {
			ln, err := net.Listen(network, addr)
			l = &watchedListener{Listener: ln}
			return l, err
		},
	})
	a := do(t, client(t), "GET", base+"/files/big.img")
	if sha256.Sum256([]byte(a.body)) != sha256.Sum256(data) || a.header.Get("Content-Type") != "application/vnd.efi-img" {
		t.Fatalf("%d of %d octets", len(a.body), len(data))
	}
	lg.wait(t, func(e boot.Event) bool {
		return e.Bytes == int64(len(data)) && e.Reason == "" && e.Kind == boot.KindHTTP
	})
	if n := l.files.Load(); n != int64(len(data)) {
		t.Errorf("%d of %d octets went by ReadFrom of a file", n, len(data))
	}
	if n := l.others.Load(); n > 500 {
		t.Errorf("%d octets besides the file", n)
	}
	l.files.Store(0)
	a = do(t, client(t), "GET", base+"/files/big.img", "Range", "bytes=1048570-3145730")
	if a.status != 206 || a.body != string(data[1048570:3145731]) {
		t.Errorf("range: status %d, %d octets", a.status, len(a.body))
	}
	if n := l.files.Load(); n != 3145731-1048570 {
		t.Errorf("range: %d octets went by ReadFrom", n)
	}
}

// slow opens a connection that asks for a file and reads nothing.
func slow(t *testing.T, addr netip.AddrPort, path string) net.Conn {
	t.Helper()
	d := net.Dialer{Timeout: 5 * time.Second, Control: func(_, _ string, c syscall.RawConn) error {
		var serr error
		err := c.Control(func(fd uintptr) { serr = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096) })
		return errors.Join(err, serr)
	}}
	nc, err := d.DialContext(t.Context(), "tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	if _, err := io.WriteString(nc, get(path)); err != nil {
		t.Fatal(err)
	}
	return nc
}

func bigDir(t *testing.T) fs.FS {
	t.Helper()
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "big.img"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(64 << 20); err != nil {
		t.Fatal(err)
	}
	return openRoot(t, dir)
}

// TestStalledClient: who stops reading is cut off, and is told of.
func TestStalledClient(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]bootweb.Config{
		"file":   {Files: bigDir(t)},
		"memory": {Boot: memory{"files/big.img": 64 << 20}, Files: memory{"big.img": 64 << 20}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLog()
			c.Sink, c.Limits = l.sink, bootweb.Limits{ChunkTime: 200 * time.Millisecond}
			s, _ := start(t, c)
			slow(t, s.Addr(), "/files/big.img")
			e := l.wait(t, func(e boot.Event) bool { return e.Kind == boot.KindHTTP })
			if e.Reason != boot.ReasonInterrupted || e.Bytes <= 0 || e.Bytes >= 64<<20 || e.Duration <= 0 {
				t.Errorf("%+v", e)
			}
		})
	}
}

// memory is a file system of zeros in memory.
type memory map[string]int64

func (m memory) Open(name string) (fs.File, error) {
	size, ok := m[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return &zeros{SectionReader: io.NewSectionReader(zeroReader{}, 0, size), size: size}, nil
}

type zeros struct {
	*io.SectionReader
	size int64
}

func (z *zeros) Stat() (fs.FileInfo, error) { return z, nil }
func (z *zeros) Close() error               { return nil }
func (z *zeros) Name() string               { return "zeros" }
func (z *zeros) Size() int64                { return z.size }
func (z *zeros) Mode() fs.FileMode          { return 0o444 }
func (z *zeros) ModTime() time.Time         { return time.Time{} }
func (z *zeros) IsDir() bool                { return false }
func (z *zeros) Sys() any                   { return nil }

type zeroReader struct{}

func (zeroReader) ReadAt(b []byte, _ int64) (int, error) { clear(b); return len(b), nil }

// broken fails after some octets.
type broken struct{ memory }

func (b broken) Open(name string) (fs.File, error) {
	f, err := b.memory.Open(name)
	if err != nil {
		return nil, err
	}
	z := f.(*zeros)
	z.SectionReader = io.NewSectionReader(failAfter(100<<10), 0, z.size)
	return z, nil
}

type failAfter int64

func (n failAfter) ReadAt(b []byte, off int64) (int, error) {
	if off+int64(len(b)) > int64(n) {
		return 0, errors.New("bad block")
	}
	return len(b), nil
}

func TestReadError(t *testing.T) {
	t.Parallel()
	l := newLog()
	s, _ := start(t, bootweb.Config{Files: broken{memory{"x": 1 << 20}}, Sink: l.sink})
	got := raw(t, s.Addr(), get("/files/x"))
	if len(got) > 200<<10 {
		t.Errorf("%d octets of a broken file", len(got))
	}
	if e := l.wait(t, func(boot.Event) bool { return true }); e.Reason != boot.ReasonRead {
		t.Errorf("%+v", e)
	}
}

// TestInterrupted: a client that goes away during a file is not a success.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	l := newLog()
	s, _ := start(t, bootweb.Config{Files: bigDir(t), Sink: l.sink})
	nc := slow(t, s.Addr(), "/files/big.img")
	if _, err := io.ReadFull(nc, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	nc.Close()
	if e := l.wait(t, func(boot.Event) bool { return true }); e.Reason != boot.ReasonInterrupted || e.Bytes >= 64<<20 {
		t.Errorf("%+v", e)
	}
}

// TestSlowHeader: who takes for ever over a request is cut off, and others are
// answered meanwhile.
func TestSlowHeader(t *testing.T) {
	t.Parallel()
	s, base := start(t, bootweb.Config{Limits: bootweb.Limits{HeaderTime: 300 * time.Millisecond}})
	nc, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, err := io.WriteString(nc, "GET /b HTTP/1.1\r\nHost: x\r\nX-Slow: "); err != nil {
		t.Fatal(err)
	}
	if a := do(t, client(t), "GET", base+"/b"); a.status != 200 {
		t.Errorf("%+v", a)
	}
	if err := nc.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(nc); err != nil || strings.Contains(string(b), " 200 ") {
		t.Errorf("%q, %v", b, err)
	}
}

func TestLargeHeader(t *testing.T) {
	t.Parallel()
	s, _ := start(t, bootweb.Config{})
	got := raw(t, s.Addr(), "GET /b HTTP/1.1\r\nHost: x\r\nX-Large: "+strings.Repeat("x", 64<<10)+"\r\nConnection: close\r\n\r\n")
	if !strings.HasPrefix(got, "HTTP/1.1 431 ") {
		t.Errorf("%.100q", got)
	}
}

// hold opens n connections that send nothing.
func hold(t *testing.T, s *bootweb.Server, n int) []net.Conn {
	t.Helper()
	var all []net.Conn
	for range n {
		nc, err := net.Dial("tcp", s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { nc.Close() })
		all = append(all, nc)
	}
	eventually(t, func() bool { return s.Conns() == n }, "connections are open")
	return all
}

// eventually polls until ok, with a limit.
func eventually(t *testing.T, ok func() bool, what string) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("never: %s", what)
		}
	}
}

func closed(t *testing.T, nc net.Conn) bool {
	t.Helper()
	if err := nc.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	_, err := nc.Read(make([]byte, 1))
	return err != nil && !errors.Is(err, os.ErrDeadlineExceeded)
}

func TestConnsPerIP(t *testing.T) {
	t.Parallel()
	l := newLog()
	s, _ := start(t, bootweb.Config{Limits: bootweb.Limits{ConnsPerIP: 3}, Sink: l.sink, Observe: l.observe})
	held := hold(t, s, 3)
	over, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer over.Close()
	if !closed(t, over) {
		t.Error("the fourth connection of one address stays open")
	}
	e := l.wait(t, func(boot.Event) bool { return true })
	if e.Reason != boot.ReasonClientLimit || e.Addr != netip.MustParseAddr("127.0.0.1") {
		t.Errorf("%+v", e)
	}
	if rs := l.resultList(); len(rs) != 1 || rs[0].Route != bootweb.RouteConn || rs[0].Reason != boot.ReasonClientLimit {
		t.Errorf("%+v", rs)
	}
	// Another address is not held up.
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	other, err := d.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if _, err := io.WriteString(other, get("/b")); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(other); err != nil || !strings.Contains(string(b), "#!ipxe") {
		t.Errorf("%q, %v", b, err)
	}
	// A place that was given back is free.
	held[0].Close()
	eventually(t, func() bool { return s.Conns() == 2 }, "a closed connection is forgotten")
	if got := raw(t, s.Addr(), get("/b")); !strings.Contains(got, "#!ipxe") {
		t.Errorf("%q", got)
	}
}

// TestConnsTotal: with all places taken, the longest idle connection gives way,
// and one that is being served does not.
func TestConnsTotal(t *testing.T) {
	t.Parallel()
	l := newLog()
	s, _ := start(t, bootweb.Config{Files: bigDir(t), Limits: bootweb.Limits{Conns: 3}, Sink: l.sink})
	busy := slow(t, s.Addr(), "/files/big.img")
	if _, err := io.ReadFull(busy, make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	idle := make([]net.Conn, 2)
	for i := range idle {
		nc, err := net.Dial("tcp", s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		idle[i] = nc
		eventually(t, func() bool { return s.Conns() == 2+i }, "an idle connection is counted")
	}
	if got := raw(t, s.Addr(), get("/b")); !strings.Contains(got, "#!ipxe") {
		t.Errorf("%q", got)
	}
	if !closed(t, idle[0]) {
		t.Error("the connection idle longest is still there")
	}
	if _, err := io.ReadFull(busy, make([]byte, 10)); err != nil {
		t.Errorf("the one being served was closed: %v", err)
	}
	if _, err := io.WriteString(idle[1], get("/b")); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(idle[1]); err != nil || !strings.Contains(string(b), "#!ipxe") {
		t.Errorf("the younger idle one: %q, %v", b, err)
	}
	// When all are being served, the newcomer has to go.
	for range 2 {
		nc := slow(t, s.Addr(), "/files/big.img")
		if _, err := io.ReadFull(nc, make([]byte, 10)); err != nil {
			t.Fatal(err)
		}
	}
	over, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer over.Close()
	if !closed(t, over) {
		t.Error("a fourth connection is open")
	}
	l.wait(t, func(e boot.Event) bool { return e.Reason == boot.ReasonTotalLimit })
}

func TestTransferLimit(t *testing.T) {
	t.Parallel()
	s, base := start(t, bootweb.Config{Files: bigDir(t), Boot: bootFiles(), Limits: bootweb.Limits{Transfers: 1}})
	nc := slow(t, s.Addr(), "/files/big.img")
	if _, err := io.ReadFull(nc, make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	a := do(t, client(t), "GET", base+"/undionly.kpxe")
	if a.status != 503 || a.header.Get("Retry-After") != "2" {
		t.Errorf("%+v", a)
	}
	if a := do(t, client(t), "GET", base+"/s"); a.status != 200 {
		t.Errorf("scripts: %+v", a)
	}
	nc.Close()
	eventually(t, func() bool { return s.Transfers() == 0 }, "the slot is given back")
	if a := do(t, client(t), "GET", base+"/undionly.kpxe"); a.status != 200 {
		t.Errorf("%+v", a)
	}
}

// TestKeepAlive: one connection serves several requests.
func TestKeepAlive(t *testing.T) {
	t.Parallel()
	s, _ := start(t, bootweb.Config{Boot: bootFiles(), Files: openRoot(t, operatorDir(t))})
	one := strings.Replace(get("/b"), "Connection: close\r\n", "", 1)
	file := strings.Replace(get("/files/a.ipxe"), "Connection: close\r\n", "", 1)
	got := raw(t, s.Addr(), one+file+one+get("/undionly.kpxe"))
	if strings.Count(got, "HTTP/1.1 200 OK") != 4 || !strings.HasSuffix(got, "undi") {
		t.Errorf("%s", got)
	}
}

// TestFlood: a thousand refused requests raise a handful of events, all are
// counted, and another client's event still comes through.
func TestFlood(t *testing.T) {
	t.Parallel()
	l := newLog()
	s, base := start(t, bootweb.Config{Boot: bootFiles(), Sink: l.sink, Observe: l.observe})
	c := client(t)
	for i := range 1000 {
		do(t, c, "GET", fmt.Sprintf("%s/%d", base, i))
	}
	if n := len(l.list()); n < 1 || n > 60 {
		t.Errorf("%d events", n)
	}
	if n := len(l.resultList()); n != 1000 {
		t.Errorf("%d results", n)
	}
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 3)}}
	nc, err := d.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	io.WriteString(nc, get("/nothing"))
	io.ReadAll(nc)
	l.wait(t, func(e boot.Event) bool {
		return e.Addr == netip.MustParseAddr("127.0.0.3") && e.Reason == boot.ReasonNotFound
	})
}

// TestPortTaken: Run keeps trying, says what is wrong, and serves once it can.
func TestPortTaken(t *testing.T) {
	t.Parallel()
	var free atomic.Bool
	var tries atomic.Int32
	s := bootweb.New(bootweb.Config{
		Scripts: renderer(t), Addr: "127.0.0.1:0",
		Listen: func(network, addr string) (net.Listener, error) {
			tries.Add(1)
			if !free.Load() {
				return nil, syscall.EADDRINUSE
			}
			return net.Listen(network, addr)
		},
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	eventually(t, func() bool { return tries.Load() > 0 && s.Problem() != nil }, "it says that the port is taken")
	if !errors.Is(s.Problem(), syscall.EADDRINUSE) {
		t.Errorf("%v", s.Problem())
	}
	select {
	case <-s.Ready():
		t.Error("ready without a port")
	default:
	}
	free.Store(true)
	<-s.Ready()
	if s.Problem() != nil {
		t.Errorf("%v", s.Problem())
	}
	if got := raw(t, s.Addr(), get("/b")); !strings.Contains(got, "#!ipxe") {
		t.Errorf("%q", got)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestRecovers: a listener that breaks is opened again.
func TestRecovers(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var last net.Listener
	s, _ := start(t, bootweb.Config{Listen: func(network, addr string) (net.Listener, error) {
		ln, err := net.Listen(network, addr)
		mu.Lock()
		defer mu.Unlock()
		last = ln
		return ln, err
	}})
	mu.Lock()
	last.Close()
	mu.Unlock()
	eventually(t, func() bool { return s.Problem() != nil }, "the failure shows")
	eventually(t, func() bool { return s.Problem() == nil && s.Addr().IsValid() }, "the port is open again")
	if got := raw(t, s.Addr(), get("/b")); !strings.Contains(got, "#!ipxe") {
		t.Errorf("%q", got)
	}
}

// TestDrain: a request under way is finished when the server is told to stop,
// one that never ends is not waited for.
func TestDrain(t *testing.T) {
	t.Parallel()
	s := bootweb.New(bootweb.Config{Scripts: renderer(t), Addr: "127.0.0.1:0", Files: bigDir(t), Limits: bootweb.Limits{Drain: 100 * time.Millisecond}})
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	nc := slow(t, s.Addr(), "/files/big.img")
	if _, err := io.ReadFull(nc, make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("it waits for ever")
	}
	eventually(t, func() bool { return s.Conns() == 0 && s.Transfers() == 0 }, "everything is given back")
}

// TestIPv6 serves on both families from one listener.
func TestIPv6(t *testing.T) {
	t.Parallel()
	probe, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Skipf("no IPv6 on loopback: %v", err)
	}
	probe.Close()
	s, _ := start(t, bootweb.Config{Addr: ":0"})
	port := s.Addr().Port()
	for _, host := range []string{"127.0.0.1", "::1"} {
		at := netip.AddrPortFrom(netip.MustParseAddr(host), port)
		if got := raw(t, at, get("/b")); !strings.Contains(got, "http://"+at.String()+"/s?") {
			t.Errorf("%s: %s", host, got)
		}
	}
}
