package tftp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
	"golang.org/x/sys/unix"
)

func TestNew(t *testing.T) {
	t.Parallel()
	files := mapTree(nil)
	for name, cfg := range map[string]Config{
		"no files":     {},
		"IPv6":         {Files: files, Addr: netip.MustParseAddrPort("[::1]:69")},
		"small block":  {Files: files, MaxBlock: 511},
		"larger block": {Files: files, MaxBlock: 65465},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	s, err := New(Config{Files: files})
	if err != nil || s.String() != "tftp 0.0.0.0:69" || s.cfg.MaxBlock != 1468 {
		t.Errorf("%v, %v", s, err)
	}
}

func TestListen(t *testing.T) {
	t.Parallel()
	s := startServer(t, Config{Files: mapTree(nil)}, nil)
	select {
	case <-s.Ready():
	default:
		t.Error("not ready")
	}
	taken, err := New(Config{Files: mapTree(nil), Addr: s.at("127.0.0.1")})
	if err != nil {
		t.Fatal(err)
	}
	if err := taken.Listen(t.Context()); !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), s.at("127.0.0.1").String()) {
		t.Errorf("taken port: %v", err)
	}
	if err := taken.Run(t.Context()); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("taken port: %v", err)
	}
	// A socket that breaks is an error, not an endless loop; Run can be called again.
	again, err := New(Config{Files: mapTree(map[string][]byte{"a": []byte("x")}), Addr: netip.MustParseAddrPort("127.0.0.1:0")})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := again.Listen(t.Context()); err != nil {
			t.Fatal(err)
		}
		conn := again.conn
		done := make(chan error, 1)
		go func() { done <- again.Run(t.Context()) }()
		got, _ := dial(t, "127.0.0.1", again.Addr()).fetch("a")
		if string(got) != "x" {
			t.Errorf("got %q", got)
		}
		_ = conn.Close()
		if err := <-done; !errors.Is(err, net.ErrClosed) {
			t.Errorf("Run: %v", err)
		}
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

func TestInterfaceFilter(t *testing.T) {
	t.Parallel()
	s := startServer(t, Config{Files: site(), Link: func(int) (Link, bool) { return Link{Name: "eth9"}, false }}, nil)
	c := dial(t, "127.0.0.1", s.at("127.0.0.1"))
	c.send(rrq("undionly.kpxe"), c.to)
	e := s.rec.waitReason(t, boot.ReasonInterface)
	if e.Interface != "eth9" || e.File != "undionly.kpxe" {
		t.Errorf("%+v", e)
	}
	c.quiet(50 * time.Millisecond)
}

func TestSourceFilter(t *testing.T) {
	t.Parallel()
	var index int
	s := startServer(t, Config{Files: site(), Allowed: func(a netip.Addr, i int) boot.Reason {
		switch a.String() {
		case "127.9.9.9":
			index = i
			return boot.ReasonSource
		case "127.8.8.8":
			return boot.ReasonObserve
		}
		return boot.ReasonNone
	}}, nil)
	for from, reason := range map[string]boot.Reason{"127.9.9.9": boot.ReasonSource, "127.8.8.8": boot.ReasonObserve} {
		c := dial(t, from, s.at("127.0.0.1"))
		c.send(rrq("undionly.kpxe"), c.to)
		c.send(packRequest(opWRQ, "x", "octet"), c.to)
		if e := s.rec.waitReason(t, reason); e.Addr.String() != from || e.File != "undionly.kpxe" {
			t.Errorf("%+v", e)
		}
		c.quiet(100 * time.Millisecond)
	}
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	if s.stop(); index != lo.Index {
		t.Errorf("interface %d, want %d", index, lo.Index)
	}
}

// TestBroadcast: a request to a broadcast address is ignored.
func TestBroadcast(t *testing.T) {
	t.Parallel()
	s := startServer(t, Config{Files: site()}, nil)
	c := dial(t, "127.0.0.1", s.at("127.255.255.255"))
	raw, err := c.conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	_ = raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BROADCAST, 1) })
	if err != nil {
		t.Fatal(err)
	}
	c.send(rrq("undionly.kpxe"), c.to)
	s.rec.wait(t, "broadcast", func(e boot.Event) bool { return strings.Contains(e.Text, "broadcast") })
	c.quiet(50 * time.Millisecond)
}

// request is a datagram as it comes from the kernel.
func arriving(src netip.AddrPort) ([]byte, netip.AddrPort) {
	return unix.PktInfo4(&unix.Inet4Pktinfo{Ifindex: 1, Spec_dst: [4]byte{127, 0, 0, 1}, Addr: [4]byte{127, 0, 0, 1}}), src
}

// TestFlood: bad requests are all counted, and told in a few events.
func TestFlood(t *testing.T) {
	t.Parallel()
	s := startServer(t, Config{Files: mapTree(nil), Limits: Limits{Burst: 1000}}, nil)
	const n = 20_000
	oob, src := arriving(netip.MustParseAddrPort("127.0.0.1:9"))
	for i := range n {
		b := rrq("../" + fmt.Sprint(i))
		if i%2 == 1 {
			b = []byte{0, 9, 9, 9, 9}
		}
		s.datagram(t.Context(), s.conn, b, oob, src)
	}
	counted := s.rec.count("tftp_name") + s.rec.count("tftp_request") + s.rec.count("rate")
	if counted != n || s.rec.count("rate") < n/2 {
		t.Errorf("%d requests counted, %d of them over the rate; want %d", counted, s.rec.count("rate"), n)
	}
	if got := len(s.rec.snapshot()); got > eventsPerWindow {
		t.Errorf("%d events", got)
	}
	// Forged sources: the table stays bounded, and so do the events.
	for i := range n {
		oob, src := arriving(netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 1, byte(i >> 8), byte(i)}), 9))
		s.datagram(t.Context(), s.conn, []byte{0, 4, 0, 1}, oob, src)
	}
	s.sources.mu.Lock()
	if got := s.sources.order.Len(); got > s.cfg.Limits.Sources || len(s.sources.m) != got {
		t.Errorf("%d addresses remembered", got)
	}
	s.sources.mu.Unlock()
	if got := s.rec.count("tftp_request"); got < n {
		t.Errorf("%d of them counted", got)
	}
	s.rec.wait(t, "sum", func(e boot.Event) bool { return strings.Contains(e.Text, "more requests of several addresses") })
	// Another client is served meanwhile and afterwards.
	c := dial(t, "127.0.0.2", s.at("127.0.0.1"))
	c.send(rrq("x"), c.to)
	c.expectError(codeNotFound, textNotFound)
}

func TestSources(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_000_000, 0)
	s := newSources(Limits{Rate: 10, Burst: 20, Sources: 2}.withDefaults())
	a, b, c := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("192.0.2.3")
	taken := func(addr netip.Addr, tries int) (n int) {
		for range tries {
			if s.take(addr, now) {
				n++
			}
		}
		return n
	}
	if n := taken(a, 100); n != 20 {
		t.Errorf("%d at once, want the burst", n)
	}
	if n := taken(b, 1); n != 1 {
		t.Error("another address waits")
	}
	now = now.Add(time.Second)
	if n := taken(a, 100); n != 10 {
		t.Errorf("%d after a second", n)
	}
	now = now.Add(-time.Hour) // a clock that jumps back gives nothing
	if n := taken(a, 100); n != 0 {
		t.Errorf("%d after the clock went back", n)
	}
	now = now.Add(2 * time.Hour)

	told := 0
	for range 200 {
		if s.pass(boot.Event{Addr: a, Reason: boot.ReasonNotFound, File: "x"}, now) {
			told++
		}
	}
	if told != eventsPerWindow {
		t.Errorf("%d events told", told)
	}
	if got := s.sums(now.Add(eventWindow / 2)); len(got) != 0 {
		t.Errorf("sums in the window: %+v", got)
	}
	now = now.Add(eventWindow)
	got := s.sums(now)
	if len(got) != 1 || got[0].Reason != boot.ReasonNotFound || got[0].Addr != a || got[0].File != "x" || !strings.Contains(got[0].Text, "136 more requests of this address") {
		t.Errorf("sums: %+v", got)
	}
	if got := s.sums(now); len(got) != 0 {
		t.Errorf("sums told twice: %+v", got)
	}
	if !s.pass(boot.Event{Addr: a}, now) {
		t.Error("the next window tells nothing")
	}
	// Forgotten addresses leave their sum to the common one.
	for range eventsPerWindow + 5 {
		s.pass(boot.Event{Addr: a}, now)
	}
	s.take(b, now)
	s.take(c, now)
	if _, ok := s.m[a]; ok || len(s.m) != 2 {
		t.Errorf("remembered: %v", s.m)
	}
	got = s.sums(now.Add(time.Second))
	if len(got) != 1 || got[0].Addr.IsValid() || !strings.Contains(got[0].Text, "6 more requests of several addresses") {
		t.Errorf("sums: %+v", got)
	}
}

func TestAdmission(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_000_000, 0)
	a := newAdmission(Limits{PerClient: 2, Total: 4}.withDefaults())
	mk := func(client, raw string) *transfer {
		return &transfer{
			req: Request{Client: netip.MustParseAddrPort(client), Local: netip.MustParseAddr("192.0.2.2")}, raw: raw, start: now,
		}
	}
	must := func(tr *transfer, want string) *transfer {
		t.Helper()
		evict, repeated, reason := a.admit(tr)
		got := string(reason)
		if repeated {
			got = "repeated"
		}
		if got != want {
			t.Errorf("admit %s %q: %q, want %q", tr.req.Client, tr.raw, got, want)
		}
		return evict
	}
	first := mk("192.0.2.50:1", "x")
	must(first, "")
	must(mk("192.0.2.50:1", "x"), "repeated")
	must(mk("192.0.2.50:2", "x"), "")
	must(mk("192.0.2.50:3", "x"), "client_limit")
	a.release(first)
	a.release(first)
	must(mk("192.0.2.50:1", "y"), "")
	must(mk("192.0.2.51:1", "x"), "")
	full := mk("192.0.2.52:1", "x")
	must(full, "")
	// All taken, and none is old enough to be given up.
	must(mk("192.0.2.53:1", "x"), "total_limit")
	now = now.Add(time.Second)
	must(mk("192.0.2.53:1", "x"), "total_limit") // none has its file open yet
	for o := range a.open {
		o.opened.Store(true)
		o.proven.Store(o != full)
	}
	if evicted := must(mk("192.0.2.53:1", "x"), ""); evicted != full {
		t.Errorf("evicted %+v", evicted)
	}
	must(mk("192.0.2.52:1", "x"), "total_limit") // the rest has proven to be there
	if len(a.open) != 4 || len(a.by) != 3 {
		t.Errorf("%d open, %v", len(a.open), a.by)
	}
	for _, tr := range a.all() {
		a.release(tr)
	}
	if len(a.open)+len(a.by)+len(a.byKey) != 0 {
		t.Errorf("left: %v %v %v", a.open, a.by, a.byKey)
	}
}

// TestHalfOpen: forged requests that nobody ever acknowledges do not shut others out.
func TestHalfOpen(t *testing.T) {
	t.Parallel()
	s := startServer(t, Config{Files: site(), Limits: Limits{Total: 8}}, nil)
	for i := range 8 {
		c := dial(t, fmt.Sprintf("127.0.1.%d", i+1), s.at("127.0.0.1"))
		c.send(rrq("undionly.kpxe"), c.to)
		c.expectData(1, undionly[:512])
		c.expectData(1, undionly[:512]) // repeated: so it is old enough
	}
	got, _ := dial(t, "127.0.0.1", s.at("127.0.0.1")).fetch("undionly.kpxe", "blksize", "1468")
	if !bytes.Equal(got, undionly) {
		t.Error("the file differs")
	}
	if n := s.rec.mostActive(); n > 9 {
		t.Errorf("%d transfers at a time", n)
	}
}

// broken is a File that fails in some way.
type broken struct {
	size   int64
	readAt func(b []byte, off int64) (int, error)
	closed chan struct{}
}

func (b *broken) Size() int64                             { return b.size }
func (b *broken) ReadAt(p []byte, off int64) (int, error) { return b.readAt(p, off) }
func (b *broken) Close() error                            { close(b.closed); return nil }

func TestBrokenFiles(t *testing.T) {
	t.Parallel()
	closed := make(chan struct{})
	s := startServer(t, Config{Files: FilesFunc(func(_ context.Context, _ Request, name string) (File, error) {
		switch name {
		case "panic-open":
			panic("secret")
		case "denied":
			return nil, fs.ErrPermission
		case "invalid":
			return nil, fs.ErrInvalid
		case "short":
			return &broken{2000, bytes.NewReader(make([]byte, 700)).ReadAt, closed}, nil
		case "fails":
			return &broken{2000, func(b []byte, off int64) (int, error) {
				if off > 0 {
					return 0, errors.New("secret disk")
				}
				return len(b), nil
			}, make(chan struct{})}, nil
		case "panic-read":
			return &broken{2000, func([]byte, int64) (int, error) { panic("secret") }, make(chan struct{})}, nil
		}
		return nil, fs.ErrNotExist
	})}, patient)
	for _, tt := range []struct {
		name   string
		blocks uint16
		code   errorCode
		text   string
		reason boot.Reason
	}{
		{"panic-open", 0, codeUndefined, textRead, boot.ReasonInternal},
		{"denied", 0, codeUndefined, textRead, boot.ReasonRead},
		{"invalid", 0, codeNotFound, textNotFound, boot.ReasonNotFound},
		{"short", 1, codeUndefined, textRead, boot.ReasonRead},
		{"fails", 1, codeUndefined, textRead, boot.ReasonRead},
		{"panic-read", 0, codeUndefined, textRead, boot.ReasonInternal},
	} {
		c := dial(t, "127.0.0.1", s.at("127.0.0.1"))
		c.send(rrq(tt.name), c.to)
		for i := range tt.blocks {
			c.expect("DATA")
			c.send(ack(i+1), c.from)
		}
		c.expectError(tt.code, tt.text)
		s.rec.wait(t, tt.name, func(e boot.Event) bool { return e.File == tt.name && e.Reason == tt.reason })
	}
	<-closed
}

func TestSilentClientsFile(t *testing.T) {
	t.Parallel()
	closed := make(chan struct{})
	s := startServer(t, Config{Limits: Limits{Duration: 50 * time.Millisecond}, Files: FilesFunc(func(context.Context, Request, string) (File, error) {
		return &broken{1 << 20, func(b []byte, _ int64) (int, error) { return len(b), nil }, closed}, nil
	})}, patient)
	c := dial(t, "127.0.0.1", s.at("127.0.0.1"))
	c.send(rrq("a"), c.to)
	c.expect("DATA 1")
	c.expectError(codeUndefined, textTooLong) // the longest time a transfer may take
	if e := s.rec.waitReason(t, boot.ReasonClientSilent); !strings.Contains(e.Text, "too long") {
		t.Errorf("%+v", e)
	}
	<-closed
}

func TestDrain(t *testing.T) {
	t.Parallel()
	s := startServer(t, Config{Files: site(), Drain: time.Second}, patient)
	want := content(4 * 512)
	busy, idle := dial(t, "127.0.0.1", s.at("127.0.0.1")), dial(t, "127.0.0.2", s.at("127.0.0.1"))
	for _, c := range []*rawClient{busy, idle} {
		c.send(rrq("exact.bin"), c.to)
		c.expectData(1, want[:512])
	}
	stopped := make(chan struct{})
	go func() { defer close(stopped); s.stop() }()
	for i := 1; i <= 5; i++ {
		busy.send(ack(uint16(i)), busy.from)
		if i < 5 {
			busy.expectData(uint16(i+1), want[i*512:min(len(want), i*512+512)])
		}
	}
	idle.expectError(codeUndefined, textStop)
	<-stopped
	e := s.rec.wait(t, "the finished one", func(e boot.Event) bool { return e.Reason == "" })
	if e.Bytes != int64(len(want)) {
		t.Errorf("%+v", e)
	}
	s.rec.waitReason(t, boot.ReasonSend)
}

// TestStuckFiles: Files that ignore their context do not keep Run from returning.
func TestStuckFiles(t *testing.T) {
	t.Parallel()
	release, opened := make(chan struct{}), make(chan struct{})
	s := startServer(t, Config{Files: FilesFunc(func(context.Context, Request, string) (File, error) {
		close(opened)
		<-release
		return nil, fs.ErrNotExist
	})}, nil)
	c := dial(t, "127.0.0.1", s.at("127.0.0.1"))
	c.send(rrq("a"), c.to)
	<-opened
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	start := time.Now()
	s.drain(cancel)
	if took := time.Since(start); took < time.Second || ctx.Err() == nil {
		t.Errorf("after %s", took)
	}
	close(release)
}

func TestMeter(t *testing.T) {
	t.Parallel()
	s := startServer(t, Config{Files: site()}, nil)
	for range 3 {
		dial(t, "127.0.0.1", s.at("127.0.0.1")).fetch("undionly.kpxe", "blksize", "1024")
	}
	s.stop()
	r := s.rec
	if r.active != 0 || r.bytes != 3*int64(len(undionly)) || r.resent != 0 || r.done[""] != 3 || len(r.done) != 1 {
		t.Errorf("active %d, bytes %d, resent %d, done %v", r.active, r.bytes, r.resent, r.done)
	}
}

func TestTree(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("EFI/Boot/BOOTx64.efi", "one")
	write("same", "lower")
	write("SAME", "upper")
	outside := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(outside, []byte("secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	// Opening it would block until somebody writes to it.
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o644); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	tree := NewTree(root.FS(), 100, time.Nanosecond)
	read := func(name string) string {
		t.Helper()
		f, err := tree.Open(t.Context(), Request{}, name)
		if err != nil {
			return "error " + fmt.Sprint(errors.Is(err, fs.ErrNotExist))
		}
		defer f.(io.Closer).Close()
		b, err := io.ReadAll(io.NewSectionReader(f, 0, f.Size()))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for name, want := range map[string]string{
		"EFI/Boot/BOOTx64.efi": "one", "efi/boot/bootx64.EFI": "one", "same": "lower", "SAME": "upper", "Same": "upper",
		"EFI": "error true", "efi/boot": "error true", "link": "error true", "LINK": "error true", "pipe": "error true", "same/x": "error true", strings.Repeat("x", 300): "error true",
		"missing": "error true", "../secret": "error true", "/same": "error true", "\xff": "error true", "": "error true",
	} {
		if got := read(name); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
	// New files appear, by exact name at once, by another spelling when the index is old.
	write("New.cfg", "new")
	if got := read("New.cfg"); got != "new" {
		t.Errorf("new file: %q", got)
	}
	if got := read("NEW.CFG"); got != "new" {
		t.Errorf("new file, other spelling: %q", got)
	}
	bounded := NewTree(fstest.MapFS{"a": {}, "b": {}, "c": {}}, 2, 0)
	if len(bounded.index) != 2 {
		t.Errorf("index of %d", len(bounded.index))
	}
}
