package appliance

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/bootpuck/bootpuck/appliance/boot"
	"github.com/bootpuck/bootpuck/appliance/health"
	"github.com/bootpuck/bootpuck/appliance/lan"
	"github.com/bootpuck/bootpuck/appliance/proxydhcp"
	"github.com/bootpuck/bootpuck/appliance/settings"
)

// TestProbeIsKnown: the question that one box asks is the one another knows.
func TestProbeIsKnown(t *testing.T) {
	if lan.ProbeClass != proxydhcp.ProbeClass {
		t.Errorf("%q is asked and %q is known", lan.ProbeClass, proxydhcp.ProbeClass)
	}
}

func TestTwinPage(t *testing.T) {
	s := start(t, nil)
	code, body := fetch(t, s.box.Addresses().HTTP.String(), lan.TwinPath)
	if code != http.StatusOK {
		t.Fatalf("status %d: %s", code, body)
	}
	p, err := lan.ParseTwinPage([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	if p.ID != s.box.twin.id || p.Version != "v0-test" || p.Standby || p.Observe || p.Uptime < 0 || p.Uptime > 60 ||
		len(p.For) == 0 || p.For[0].String() != "127.0.0.1" {
		t.Errorf("%+v", p)
	}
	if r := s.box.twin.health(); r.Status != health.OK {
		t.Errorf("alone: %+v", r)
	}
	// It asked from an address of its own: nobody to ask back.
	if due := s.box.twin.Ask(time.Now()); len(due) != 0 {
		t.Errorf("would ask %v", due)
	}
	events, _ := s.box.journal.Since(0, 1000)
	for _, e := range events {
		if e.File == lan.TwinPath {
			t.Errorf("the question became an event: %+v", e)
		}
	}
}

func TestTwinQuestion(t *testing.T) {
	good := lan.TwinPage{Product: "bootpuck", ID: "b", Version: "1", For: []netip.Addr{netip.MustParseAddr("127.0.0.1")}}
	page, err := json.Marshal(good)
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := 0
	s := start(t, nil)
	for _, tt := range []struct {
		name   string
		answer http.HandlerFunc
		ok     bool
	}{
		{"a box", func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodGet || r.URL.Path != lan.TwinPath || !strings.HasPrefix(r.UserAgent(), "bootpuck/") {
				t.Errorf("%s %s from %s", r.Method, r.URL, r.UserAgent())
			}
			_, _ = w.Write(page)
		}, true},
		{"not found", http.NotFound, false},
		{"sent elsewhere", func(w http.ResponseWriter, r *http.Request) {
			if elsewhere++; elsewhere > 1 {
				t.Error("it went there")
			}
			http.Redirect(w, r, "/x", http.StatusFound)
		}, false},
		{"too much", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(page)
			_, _ = w.Write(bytes.Repeat([]byte(" "), 1<<20))
		}, false},
		{"too many headers", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Long", strings.Repeat("x", 1<<16))
			_, _ = w.Write(page)
		}, false},
		{"a web server", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") }, false},
		{"slow", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			srv := httptest.NewServer(tt.answer)
			defer srv.Close()
			began := time.Now()
			p, err := s.box.twin.fetch(t.Context(), netip.MustParseAddrPort(srv.Listener.Addr().String()))
			if (err == nil) != tt.ok || tt.ok && p.ID != "b" {
				t.Errorf("%+v, %v", p, err)
			}
			if d := time.Since(began); d > 2*twinPatience {
				t.Errorf("it waited for %v", d)
			}
		})
	}
}

// twinBox is set in the processes that are the boxes of TestTwoBoxes: the
// directory for their state.
const twinBox = "BOOTPUCK_TWIN_BOX"

// TestTwinBox is no test: it is a box in a namespace of its own, started by
// TestTwoBoxes. It begins when its input says so and ends with it.
func TestTwinBox(t *testing.T) {
	dir := os.Getenv(twinBox)
	if dir == "" {
		t.Skip("only a part of TestTwoBoxes")
	}
	in := bufio.NewReader(os.Stdin)
	if _, err := in.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	doc := settings.Defaults()
	doc.Interface, doc.State, doc.Admin, doc.Metrics = []string{"eth0"}, dir, "127.0.0.1:0", "127.0.0.1:0"
	s, err := doc.Check()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	state := OpenState(ctx, dir, slog.New(slog.DiscardHandler))
	b, err := New(Config{
		Settings: s, Version: "v0-test", Log: slog.New(slog.NewTextHandler(os.Stdout, nil)), Bootfiles: loaders, State: state,
	})
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		_, _ = io.Copy(io.Discard, in)
		cancel()
	}()
	if err := b.Run(ctx); err != nil {
		t.Error(err)
	}
	if err := state.Close(); err != nil {
		t.Error(err)
	}
}

// lanOfTwo is a bridge in a namespace of the calling thread, and boxes on it.
type lanOfTwo struct {
	t    *testing.T
	nl   *netlink.Handle
	conn net.PacketConn
	xid  uint32
}

func newLANOfTwo(t *testing.T) *lanOfTwo {
	t.Helper()
	if os.Geteuid() != 0 {
		skipOrFail(t, "needs root: makes network namespaces")
	}
	// Never unlocked: the thread ends with the test, and its namespace.
	runtime.LockOSThread()
	h, err := netns.New()
	if err != nil {
		skipOrFail(t, "cannot make a network namespace: "+err.Error())
	}
	t.Cleanup(func() { _ = h.Close() })
	l := &lanOfTwo{t: t}
	l.nl, err = netlink.NewHandle(unix.NETLINK_ROUTE)
	l.must(err)
	t.Cleanup(l.nl.Close)
	br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0", TxQLen: -1}}
	l.must(l.nl.LinkAdd(br))
	l.must(l.nl.LinkSetUp(br))
	l.addr(l.nl, "br0", "192.0.2.1/24")
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		if e := c.Control(func(fd uintptr) {
			err = errors.Join(unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BROADCAST, 1),
				unix.SetsockoptString(int(fd), unix.SOL_SOCKET, unix.SO_BINDTODEVICE, "br0"))
		}); e != nil {
			return e
		}
		return err
	}}
	l.conn, err = lc.ListenPacket(t.Context(), "udp4", "0.0.0.0:68")
	l.must(err)
	t.Cleanup(func() { _ = l.conn.Close() })
	return l
}

func skipOrFail(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("BOOTPUCK_E2E") == "1" {
		t.Fatal(what)
	}
	t.Skip(what)
}

func (l *lanOfTwo) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

func (l *lanOfTwo) addr(nl *netlink.Handle, ifname, cidr string) {
	l.t.Helper()
	i, err := nl.LinkByName(ifname)
	l.must(err)
	a, err := netlink.ParseAddr(cidr)
	l.must(err)
	l.must(nl.AddrAdd(i, a))
}

// box starts a box at addr and returns how to pull its plug.
func (l *lanOfTwo) box(n int, addr string) (unplug func()) {
	l.t.Helper()
	cmd := exec.CommandContext(l.t.Context(), os.Args[0], "-test.run=^TestTwinBox$", "-test.timeout=5m")
	cmd.Env = append(os.Environ(), twinBox+"="+l.t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	out := &lockedBuffer{}
	cmd.Stdout, cmd.Stderr = out, out
	in, err := cmd.StdinPipe()
	l.must(err)
	l.must(cmd.Start())
	unplugged := false
	unplug = func() {
		if !unplugged {
			unplugged = true
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}
	l.t.Cleanup(func() {
		unplug()
		if l.t.Failed() {
			l.t.Logf("box %s said:\n%s", addr, out)
		}
	})
	port := fmt.Sprintf("p%d", n)
	l.must(l.nl.LinkAdd(&netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: port, TxQLen: -1}, PeerName: "eth0",
		PeerHardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, byte(n)}, PeerNamespace: netlink.NsPid(cmd.Process.Pid),
	}))
	br, err := l.nl.LinkByName("br0")
	l.must(err)
	p, err := l.nl.LinkByName(port)
	l.must(err)
	l.must(l.nl.LinkSetMaster(p, br))
	l.must(l.nl.LinkSetUp(p))
	its, err := netns.GetFromPid(cmd.Process.Pid)
	l.must(err)
	defer func() { _ = its.Close() }()
	nl, err := netlink.NewHandleAt(its, unix.NETLINK_ROUTE)
	l.must(err)
	defer nl.Close()
	l.addr(nl, "eth0", addr+"/24")
	for _, ifname := range []string{"lo", "eth0"} {
		i, err := nl.LinkByName(ifname)
		l.must(err)
		l.must(nl.LinkSetUp(i))
	}
	_, err = io.WriteString(in, "go\n")
	l.must(err)
	return unplug
}

// page is what the box at addr says of itself; nil while it says nothing. The
// connection is made by this very thread, for the namespace is the thread's.
func (l *lanOfTwo) page(addr string) *lan.TwinPage {
	conn, err := net.DialTimeout("tcp4", addr+":80", time.Second)
	if err != nil {
		return nil
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
		return nil
	}
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", lan.TwinPath, addr); err != nil {
		return nil
	}
	r, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return nil
	}
	defer func() { _ = r.Body.Close() }()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return nil
	}
	p, err := lan.ParseTwinPage(b)
	if err != nil {
		return nil
	}
	return &p
}

// discover broadcasts what firmware asks for, from one of many machines.
func (l *lanOfTwo) discover(machine uint16) (xid uint32) {
	l.t.Helper()
	l.xid++
	d := make([]byte, 240, 400)
	d[0], d[1], d[2], d[10] = 1, 1, 6, 0x80
	binary.BigEndian.PutUint32(d[4:], l.xid)
	copy(d[28:], []byte{2, 0, 0, 7, byte(machine >> 8), byte(machine)})
	copy(d[236:], []byte{99, 130, 83, 99})
	d = append(d, 53, 1, 1, 93, 2, 0, 7, 94, 3, 1, 3, 16, 60, 32)
	d = append(d, "PXEClient:Arch:00007:UNDI:003016"...)
	d = append(d, 255)
	d = append(d, make([]byte, 300-len(d))...)
	_, err := l.conn.WriteTo(d, &net.UDPAddr{IP: net.IPv4bcast, Port: 67})
	l.must(err)
	return l.xid
}

// offers are who answers a machine within a moment.
func (l *lanOfTwo) offers(xid uint32) map[string]bool {
	l.t.Helper()
	out := map[string]bool{}
	l.must(l.conn.SetReadDeadline(time.Now().Add(400 * time.Millisecond)))
	b := make([]byte, 2048)
	for {
		n, from, err := l.conn.ReadFrom(b)
		if err != nil {
			return out
		}
		if n > 240 && binary.BigEndian.Uint32(b[4:]) == xid {
			out[from.(*net.UDPAddr).IP.String()] = true
		}
	}
}

// until waits for the world outside.
func (l *lanOfTwo) until(what string, limit time.Duration, ok func() bool) {
	l.t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	deadline := time.Now().Add(limit)
	for !ok() {
		if time.Now().After(deadline) {
			l.t.Fatalf("waited %v for: %s", limit, what)
		}
		<-tick.C
	}
}

// TestTwoBoxes plugs a second box into a LAN: the first one stands by, visibly,
// and answers again when the second is unplugged.
func TestTwoBoxes(t *testing.T) {
	l := newLANOfTwo(t)
	const older, younger = "192.0.2.2", "192.0.2.3"
	l.box(2, older)
	next := uint16(0)
	// whose asks with a new machine every time: a repetition would end the standby.
	whose := func() string {
		next++
		got := l.offers(l.discover(next))
		var list []string
		for _, a := range []string{older, younger} {
			if got[a] {
				list = append(list, a)
			}
		}
		return strings.Join(list, " ")
	}
	l.until("the first box to answer", 30*time.Second, func() bool { return strings.Contains(whose(), older) })
	unplug := l.box(3, younger)
	l.until("the second box to answer", 30*time.Second, func() bool { return strings.Contains(whose(), younger) })
	l.until("the older one to stand by", 30*time.Second, func() bool {
		p := l.page(older)
		return p != nil && p.Standby
	})
	if p, o := l.page(younger), l.page(older); p == nil || p.Standby || o == nil || o.Behind != p.ID {
		t.Errorf("the younger box says %+v, the older one %+v", p, o)
	}
	for range 3 {
		if who := whose(); who != younger {
			t.Errorf("%q answers", who)
		}
	}
	unplug()
	// A machine asks, and asks again: nobody has answered it.
	l.discover(5000)
	began := time.Now()
	l.until("the older one to answer again", 20*time.Second, func() bool { return l.offers(l.discover(5000))[older] })
	if d := time.Since(began); d < time.Second || d > 10*time.Second {
		t.Errorf("it took %v", d)
	}
	if p := l.page(older); p == nil || p.Standby {
		t.Errorf("it says %+v", p)
	}
	if who := whose(); who != older { // from now on everybody is answered at once
		t.Errorf("%q answers", who)
	}
}

// TestTwinIsSeen: what a box tells of another one. Only the watcher of this box
// runs, so that nobody asks in between.
func TestTwinIsSeen(t *testing.T) {
	doc := settings.Defaults()
	doc.Interface, doc.State = []string{"lo"}, t.TempDir()
	set, err := doc.Check()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	state := OpenState(ctx, doc.State, slog.New(slog.DiscardHandler))
	b, err := New(Config{Settings: set, Version: "v0-test", Bootfiles: loaders, State: state})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- b.watcher.Run(ctx) }()
	defer func() {
		cancel()
		if err := errors.Join(<-done, state.Close()); err != nil {
			t.Error(err)
		}
	}()
	<-b.watcher.Ready()
	addr, now := netip.MustParseAddr("127.0.0.9"), time.Now()
	b.twin.Suspect(addr, now)
	if due := b.twin.Ask(now); len(due) != 1 || due[0] != addr {
		t.Fatalf("asks %v", due)
	}
	b.twin.Answer(addr, lan.TwinPage{Product: "bootpuck", ID: "b", Version: "1", For: []netip.Addr{addr}}, nil, now.Add(time.Minute))
	if r := b.twin.health(); r.Status != health.Degraded || r.Reason != boot.ReasonTwin || !strings.Contains(r.Detail, "127.0.0.9") {
		t.Errorf("%+v", r)
	}
	if l := b.sentinel.LAN(time.Now()); len(l.Twins) != 1 || l.Twins[0].ID != "b" || l.Standby {
		t.Errorf("%+v", l)
	}
	if news := b.twin.Tick(now); len(news) != 1 || news[0].Kind != boot.KindWarning || news[0].Reason != boot.ReasonTwin {
		t.Errorf("told %+v", news)
	}
	// It hears nothing on loopback, so it does not stand by and answers.
	if b.twin.leaves("lo", "02:00:00:00:00:01", 1) {
		t.Error("a box that hears nothing leaves machines to another")
	}
}

// TestTwinFollowed: machines that take addresses and go on with another
// transaction are well served by the twin; others are not.
func TestTwinFollowed(t *testing.T) {
	s := start(t, nil)
	addr, began := netip.MustParseAddr("192.0.2.9"), time.Now()
	for _, well := range []bool{true, false} {
		task := &twinTask{box: s.box, Twins: lan.NewTwins(lan.TwinsConfig{
			ID: "a", Started: began, Near: func(string, netip.Addr) bool { return true },
			Owns: func(netip.Addr) bool { return false }, Ready: func() bool { return true },
		})}
		if task.follow(7) != 7 {
			t.Error("it looks at events while it does not stand by")
		}
		now := began.Add(time.Hour)
		task.Suspect(addr, now)
		task.Ask(now)
		task.Answer(addr, lan.TwinPage{Product: "bootpuck", ID: "b", Version: "1", For: []netip.Addr{addr}}, nil, now)
		if !task.Standby() {
			t.Fatal("it does not stand by")
		}
		seen := uint64(0)
		for m := range 9 {
			mac := boot.MAC(fmt.Sprintf("52:54:00:00:02:0%d", m))
			for xid := range uint32(3) {
				now = now.Add(4 * time.Second)
				task.Leaves("eth0", mac, xid, now)
				task.Overheard(mac, boot.Foreign{Type: "offer", Server: addr, Class: "PXEClient", XID: xid}, now)
				if well {
					s.box.journal.Record(boot.Event{Kind: boot.KindLease, MAC: mac})
				}
				if last := task.follow(seen); well && last <= seen {
					t.Fatalf("events up to %d after %d", last, seen)
				} else if task.Standby() {
					seen = last
				}
			}
		}
		if task.Standby() != well {
			t.Errorf("machines are well served: %v; stands by: %v", well, task.Standby())
		}
	}
}
