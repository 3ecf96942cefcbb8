package proxydhcp

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// space is a network namespace of its own with a thread that lives in it. It
// has no name: it is gone with the test.
type space struct {
	t      *testing.T
	jobs   chan func()
	handle netns.NsHandle
	nl     *netlink.Handle
}

// newSpace makes a namespace, or skips the test with the reason. With
// BOOTPUCK_E2E=1 that is a failure.
func newSpace(t *testing.T) *space {
	t.Helper()
	if testing.Short() {
		t.Skip("short run: no network namespaces")
	}
	s := &space{t: t, jobs: make(chan func())}
	started := make(chan error)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		runtime.LockOSThread() // and never unlocked: the thread ends with us
		var err error
		s.handle, err = netns.New()
		started <- err
		for f := range s.jobs {
			f()
		}
	}()
	if err := <-started; err != nil {
		close(s.jobs)
		if os.Getenv("BOOTPUCK_E2E") == "1" {
			t.Fatalf("make a network namespace: %v", err)
		}
		t.Skipf("needs the right to make network namespaces (root): %v", err)
	}
	var err error
	if s.nl, err = netlink.NewHandleAt(s.handle, unix.NETLINK_ROUTE); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.nl.Close()
		close(s.jobs)
		<-ended
		_ = s.handle.Close()
	})
	s.in(func() error {
		for _, key := range []string{"all", "default"} {
			if err := os.WriteFile("/proc/sys/net/ipv4/conf/"+key+"/rp_filter", []byte("0"), 0); err != nil {
				return err
			}
		}
		return nil
	})
	s.up("lo")
	return s
}

// in runs f on the namespace's thread.
func (s *space) in(f func() error) {
	s.t.Helper()
	result := make(chan error)
	s.jobs <- func() { result <- f() }
	if err := <-result; err != nil {
		s.t.Fatal(err)
	}
}

func (s *space) link(name string) netlink.Link {
	s.t.Helper()
	l, err := s.nl.LinkByName(name)
	if err != nil {
		s.t.Fatal(err)
	}
	return l
}

func (s *space) up(name string) {
	s.t.Helper()
	if err := s.nl.LinkSetUp(s.link(name)); err != nil {
		s.t.Fatal(err)
	}
}

// carrier waits until the interface can send: after a link comes up the kernel
// drops packets for a moment.
func (s *space) carrier(name string) {
	s.t.Helper()
	deadline, tick := time.After(patience), time.NewTicker(5*time.Millisecond)
	defer tick.Stop()
	for s.link(name).Attrs().OperState != netlink.OperUp {
		select {
		case <-tick.C:
		case <-deadline:
			s.t.Fatalf("%s has no carrier", name)
		}
	}
}

func (s *space) down(name string) {
	s.t.Helper()
	if err := s.nl.LinkSetDown(s.link(name)); err != nil {
		s.t.Fatal(err)
	}
}

func (s *space) addr(name, cidr string) {
	s.t.Helper()
	a, err := netlink.ParseAddr(cidr)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.nl.AddrAdd(s.link(name), a); err != nil {
		s.t.Fatal(err)
	}
}

// cable connects an interface here with one there.
func (s *space) cable(name string, peer *space, peerName string) {
	s.t.Helper()
	v := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: peerName, PeerNamespace: netlink.NsFd(int(peer.handle))}
	if err := s.nl.LinkAdd(v); err != nil {
		s.t.Fatal(err)
	}
	s.up(name)
	peer.up(peerName)
	s.carrier(name)
	peer.carrier(peerName)
}

// interfaces is the picture that the lan room would give.
func (s *space) interfaces() []Interface {
	links, err := s.nl.LinkList()
	if err != nil {
		s.t.Error(err)
	}
	var out []Interface
	for _, l := range links {
		a := l.Attrs()
		i := Interface{Index: a.Index, Name: a.Name, MAC: boot.MACOf(a.HardwareAddr), MTU: a.MTU, Up: a.OperState == netlink.OperUp, Served: a.Name != "lo"}
		addrs, err := s.nl.AddrList(l, netlink.FAMILY_V4)
		if err != nil {
			s.t.Error(err)
		}
		for _, x := range addrs {
			ones, _ := x.Mask.Size()
			ip, _ := netip.AddrFromSlice(x.IP.To4())
			i.Prefixes = append(i.Prefixes, netip.PrefixFrom(ip, ones))
		}
		out = append(out, i)
	}
	return out
}

// port is a client's socket on one interface, on UDP 68, 67 or 4011.
type port struct {
	t    *testing.T
	conn *net.UDPConn
	pc   *ipv4.PacketConn
}

// open binds a socket to one interface, so that what it sends without an
// address leaves there with the source 0.0.0.0.
func (s *space) open(ifname string, number int) *port {
	s.t.Helper()
	p := &port{t: s.t}
	s.in(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return err
		}
		f := os.NewFile(uintptr(fd), "client")
		defer f.Close()
		for _, err := range []error{
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BROADCAST, 1),
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
			unix.BindToDevice(fd, ifname),
			unix.Bind(fd, &unix.SockaddrInet4{Port: number}),
		} {
			if err != nil {
				return err
			}
		}
		c, err := net.FilePacketConn(f)
		if err != nil {
			return err
		}
		p.conn = c.(*net.UDPConn)
		return nil
	})
	s.t.Cleanup(func() { _ = p.conn.Close() })
	p.pc = ipv4.NewPacketConn(p.conn)
	if err := p.pc.SetControlMessage(ipv4.FlagInterface|ipv4.FlagDst, true); err != nil {
		s.t.Fatal(err)
	}
	return p
}

func (p *port) send(raw []byte, to string) {
	p.t.Helper()
	if _, err := p.conn.WriteToUDPAddrPort(raw, netip.MustParseAddrPort(to)); err != nil {
		p.t.Fatal(err)
	}
}

// receive waits for the answer to xid. Any other answer is one too many.
func (p *port) receive(xid uint32) (raw []byte, from netip.AddrPort, to netip.Addr) {
	p.t.Helper()
	if err := p.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		p.t.Fatal(err)
	}
	buf := make([]byte, 2048)
	n, cm, src, err := p.pc.ReadFrom(buf)
	if err != nil {
		p.t.Fatalf("no answer to %#x: %v", xid, err)
	}
	if got := binary.BigEndian.Uint32(buf[4:]); got != xid {
		p.t.Fatalf("answer to %#x, want %#x: a packet was answered twice, or the wrong one", got, xid)
	}
	to, _ = netip.AddrFromSlice(cm.Dst.To4())
	return buf[:n], src.(*net.UDPAddr).AddrPort(), to
}

// await returns the answer to xid, whatever else arrives, or nil.
func (p *port) await(xid uint32, within time.Duration) []byte {
	p.t.Helper()
	if err := p.conn.SetReadDeadline(time.Now().Add(within)); err != nil {
		p.t.Fatal(err)
	}
	buf := make([]byte, 2048)
	for {
		n, _, err := p.conn.ReadFrom(buf)
		if err != nil {
			return nil
		}
		if n > 8 && binary.BigEndian.Uint32(buf[4:]) == xid {
			return buf[:n]
		}
	}
}

// ask is one exchange on the wire; the next one proves that there was but one
// answer to it.
func (p *port) ask(q packet, to string, from, dest string) parsed {
	p.t.Helper()
	p.send(q.bytes(), to)
	raw, src, dst := p.receive(q.xid)
	if src.String() != from || dst.String() != dest {
		p.t.Errorf("answer from %s to %s, want from %s to %s", src, dst, from, dest)
	}
	return judge(p.t, q, raw, src.Addr())
}

// TestOnTheWire runs the server in a namespace with two network cards and
// several addresses; clients and a relay are on the other ends.
func TestOnTheWire(t *testing.T) {
	box, lan := newSpace(t), newSpace(t)
	box.cable("eth0", lan, "pc0")
	box.cable("eth1", lan, "pc1")
	box.addr("eth0", "192.0.2.2/24")
	box.addr("eth0", "192.0.2.77/24")
	count := newTally()
	var rule atomic.Int64 // delay of the answers
	s := New(Config{
		Interfaces: box.interfaces,
		Settings: func() Settings {
			return Settings{Policy: boot.Policy{Rules: []boot.Rule{{MAC: "52:54:00:12:34:dd", Delay: time.Duration(rule.Load())}}}}
		},
		Counter: count, Sink: count.sink,
	})
	box.in(s.Listen)
	stop := start(t, s)
	pc0, pc1 := lan.open("pc0", 68), lan.open("pc1", 68)
	const everybody = "255.255.255.255:67"
	xid := uint32(1)
	next := func(p packet) packet {
		xid++
		p.xid = xid
		if p.chaddr == pcMAC {
			p.chaddr[3] = byte(xid) // another machine each time: one gets ten answers in ten seconds
		}
		return p
	}

	r := pc0.ask(next(d0()), everybody, "192.0.2.2:67", "255.255.255.255")
	r.isDirect(t, us, "undionly.kpxe")

	// A card without an address: silence, until it has one.
	pc1.send(next(i0()).bytes(), everybody)
	count.until(t, "no address", func(_ int, s map[boot.Reason]int) bool { return s[boot.ReasonNoAddress] == 1 })
	box.addr("eth1", "198.51.100.2/24")
	r = pc1.ask(next(i0()), everybody, "198.51.100.2:67", "255.255.255.255")
	r.isScript(t, usOther, "http://198.51.100.2/b")
	r = pc0.ask(next(i0()), everybody, "192.0.2.2:67", "255.255.255.255")
	r.isScript(t, us, script)

	// The second step, from the port EDK2 uses, to either of the addresses.
	lan.addr("pc0", "192.0.2.50/24")
	second := lan.open("pc0", 4011)
	r = second.ask(next(b7()), "192.0.2.2:4011", "192.0.2.2:4011", "192.0.2.50")
	r.isAck(t, b7(), us, "x86_64/snponly.efi")
	second.ask(next(b7()), "192.0.2.77:4011", "192.0.2.77:4011", "192.0.2.50")
	// iPXE asks from port 68.
	pc0.ask(next(bi()), "192.0.2.2:4011", "192.0.2.2:4011", "192.0.2.50")
	// Boot-server discovery by broadcast on 67.
	pc0.ask(next(discovery(3)), everybody, "192.0.2.2:67", "192.0.2.50")

	// A relay on the second card, reached through a route: unicast, from the
	// address it used.
	lan.addr("pc1", "198.51.100.1/24")
	lan.addr("lo", "203.0.113.1/32")
	if err := box.nl.RouteAdd(&netlink.Route{Dst: &net.IPNet{IP: net.IPv4(203, 0, 113, 0), Mask: net.CIDRMask(24, 32)}, Gw: net.IPv4(198, 51, 100, 1)}); err != nil {
		t.Fatal(err)
	}
	agent := lan.open("pc1", 67)
	r = agent.ask(next(relayed(d0())), "198.51.100.2:67", "198.51.100.2:67", "203.0.113.1")
	r.has(t, map[byte][]byte{82: relayOption})
	near := d0()
	near.giaddr, near.hops = netip.MustParseAddr("198.51.100.1"), 1
	agent.ask(next(near), "198.51.100.2:67", "198.51.100.2:67", "198.51.100.1")

	// The link goes away before a delayed answer, and comes back.
	rule.Store(int64(300 * time.Millisecond))
	late := d0()
	late.chaddr[5] = 0xdd
	pc0.ask(next(late), everybody, "192.0.2.2:67", "255.255.255.255")
	rule.Store(int64(MaxDelay))
	pc0.send(next(late).bytes(), everybody)
	pc1.ask(next(i0()), everybody, "198.51.100.2:67", "255.255.255.255") // meanwhile others are served
	box.down("eth0")
	count.until(t, "failed send", func(_ int, s map[boot.Reason]int) bool { return s[boot.ReasonSend] == 1 })
	box.up("eth0")
	box.carrier("eth0")
	lan.carrier("pc0")
	pc0.ask(next(d7()), everybody, "192.0.2.2:67", "255.255.255.255")

	// Restart: nothing lingers, and memory of what was offered is not needed.
	stop()
	s = New(Config{Interfaces: box.interfaces, Settings: func() Settings { return Settings{} }, Counter: count, Sink: count.sink})
	box.in(s.Listen)
	start(t, s)
	second.ask(next(b7()), "192.0.2.2:4011", "192.0.2.2:4011", "192.0.2.50")
	pc0.ask(next(d0()), everybody, "192.0.2.2:67", "255.255.255.255")
	pc1.ask(next(d0()), everybody, "198.51.100.2:67", "255.255.255.255")
	// Ordinary clients see nothing: the next answer is to the next boot client.
	for _, p := range []packet{selecting(d0()), d0().without(60), d0().with(60, []byte("udhcp 1.36")...), d0().with(53, 7)} {
		pc0.send(next(p).bytes(), everybody)
	}
	pc0.ask(next(i0()), everybody, "192.0.2.2:67", "255.255.255.255")

	// The port is held: a typed error that names the port and us.
	third := New(Config{Interfaces: box.interfaces, Settings: func() Settings { return Settings{} }})
	box.in(func() error {
		var e *ListenError
		err := third.Listen()
		if !errors.As(err, &e) || e.Port != 67 || e.Reason != boot.ReasonPortTaken || !strings.Contains(err.Error(), fmt.Sprintf("(pid %d)", os.Getpid())) {
			t.Errorf("listen: %v", err)
		}
		return nil
	})
	if silent := seen(count, boot.ReasonInternal, boot.ReasonSelf, boot.ReasonInterface); silent != "" {
		t.Error(silent)
	}
}

func seen(c *tally, reasons ...boot.Reason) string {
	_, silences := c.counts()
	for _, r := range reasons {
		if silences[r] > 0 {
			return fmt.Sprintf("%d packets silent for %s", silences[r], r)
		}
	}
	return ""
}

// TestFlood: one client sends as fast as it can; every other client's DISCOVER
// is answered all the same.
func TestFlood(t *testing.T) {
	box, lan := newSpace(t), newSpace(t)
	box.cable("eth0", lan, "pc0")
	box.addr("eth0", "192.0.2.2/24")
	count := newTally()
	static := box.interfaces()
	s := New(Config{
		Interfaces: func() []Interface { return static },
		Settings:   func() Settings { return Settings{} },
		Counter:    count, Sink: count.sink,
	})
	box.in(s.Listen)
	start(t, s)
	flood, begun := lan.open("pc0", 0), time.Now()
	ctx, cancel := context.WithCancel(t.Context())
	flooded := make(chan struct{})
	var sent atomic.Int64
	go func() {
		defer close(flooded)
		raw := d0().bytes()
		to := netip.MustParseAddrPort("255.255.255.255:67")
		for ctx.Err() == nil {
			if _, err := flood.conn.WriteToUDPAddrPort(raw, to); err == nil {
				sent.Add(1)
			}
		}
	}()
	// The flood has begun when its client has had enough.
	count.until(t, "rate limit", func(_ int, s map[boot.Reason]int) bool { return s[boot.ReasonRate] > 1000 })
	pc := lan.open("pc0", 68)
	const enough = 50_000 // packets of the flood
	others, retries := 0, 0
	for i := 0; i < 200 || sent.Load() < enough && i < 1<<16; i++ {
		others++
		p := d0()
		p.chaddr[3], p.chaddr[4], p.chaddr[5] = 0x77, byte(i>>8), byte(i)
		p.xid = uint32(0x1000 + i)
		// The kernel may drop a packet before any program sees it, when the
		// flood fills its queue; then the client asks again, as firmware does.
		answered := false
		for try := 0; try < 8 && !answered; try++ {
			if try > 0 {
				retries++
			}
			pc.send(p.bytes(), "255.255.255.255:67")
			raw := pc.await(p.xid, 2*time.Second)
			if answered = raw != nil; answered {
				judge(t, p, raw, us)
			}
		}
		if !answered {
			t.Fatalf("client %d was not answered", others)
		}
	}
	cancel()
	<-flooded
	// The flooding client gets its ten every ten seconds and no more.
	count.until(t, "all answers", func(answered int, s map[boot.Reason]int) bool {
		return answered >= others+limitAnswers && s[boot.ReasonRate] >= enough/2
	})
	answered, silences := count.counts()
	t.Logf("%d packets of the flood sent, %d of them refused; %d answers, %d retries", sent.Load(), silences[boot.ReasonRate], answered, retries)
	windows := int(time.Since(begun)/limitWindow) + 2
	if answered > others+retries+windows*limitAnswers {
		t.Errorf("%d answers for %d other clients", answered, others)
	}
	count.mu.Lock()
	defer count.mu.Unlock()
	if len(count.events) > windows*(digestEvents+digestSilence) {
		t.Errorf("%d events for %d answers", len(count.events), answered)
	}
}
