package capture

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// space is a network namespace: one thread that lives in it. Sockets that are
// made there belong to it wherever they are used.
type space struct {
	jobs   chan func()
	handle netns.NsHandle
	nl     *netlink.Handle
}

func newSpace(t testing.TB) *space {
	t.Helper()
	s := &space{jobs: make(chan func())}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		var err error
		s.handle, err = netns.New()
		started <- err
		for f := range s.jobs {
			f()
		}
	}()
	must(t, <-started)
	var err error
	s.nl, err = netlink.NewHandleAt(s.handle, unix.NETLINK_ROUTE)
	must(t, err)
	t.Cleanup(func() {
		s.nl.Close()
		_ = s.handle.Close()
		close(s.jobs)
	})
	return s
}

func (s *space) do(f func()) {
	done := make(chan struct{})
	s.jobs <- func() {
		defer close(done)
		f()
	}
	<-done
}

func (s *space) index(t testing.TB, name string) int {
	t.Helper()
	l, err := s.nl.LinkByName(name)
	must(t, err)
	return l.Attrs().Index
}

// setUp gives an interface an address and switches it on.
func (s *space) setUp(t testing.TB, name, cidr string) {
	t.Helper()
	l, err := s.nl.LinkByName(name)
	must(t, err)
	a, err := netlink.ParseAddr(cidr)
	must(t, err)
	must(t, s.nl.AddrAdd(l, a))
	must(t, s.nl.LinkSetUp(l))
}

// send puts a frame on the wire.
func (s *space) send(t testing.TB, index int, frame []byte) {
	t.Helper()
	var err error
	s.do(func() {
		var fd int
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
			return
		}
		defer func() { _ = unix.Close(fd) }()
		err = unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: index})
	})
	must(t, err)
}

// wire is a cable between the box's eth0 and a client's c0.
func wire(t testing.TB) (box, client *space) {
	t.Helper()
	if os.Geteuid() != 0 {
		missing(t, "needs root: makes network namespaces")
	}
	box, client = newSpace(t), newSpace(t)
	must(t, box.nl.LinkAdd(&netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: "eth0", TxQLen: -1, HardwareAddr: boxHW[:]},
		PeerName:  "c0", PeerHardwareAddr: clientHW[:], PeerNamespace: netlink.NsFd(client.handle),
	}))
	box.setUp(t, "eth0", "10.77.143.7/22")
	client.setUp(t, "c0", "10.77.143.52/22")
	return box, client
}

// ringIn runs a Ring in a namespace until the returned function is called or the
// test ends.
func ringIn(t testing.TB, s *space, list ...Interface) (r *Ring, stop func()) {
	t.Helper()
	r = New(Config{Interfaces: func() []Interface { return list }})
	open := r.open
	r.open = func(i Interface, port uint16) (src source, err error) {
		s.do(func() { src, err = open(i, port) })
		return src, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("capture: %v", err)
		}
	})
	t.Cleanup(stop)
	select {
	case <-r.Ready():
	case err := <-done:
		done <- err
		t.Fatalf("capture: %v", err)
	case <-time.After(patience):
		t.Fatal("capture is not ready")
	}
	return r, stop
}

const patience = 20 * time.Second

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

func TestRecordsWhatTheBoxSaysAndHears(t *testing.T) {
	box, client := wire(t)
	eth0, c0 := box.index(t, "eth0"), client.index(t, "c0")
	r, _ := ringIn(t, box, Interface{Index: eth0, Name: "eth0"})
	offer := udp(boxHW, everyone, boxIP, broadcast, 67, 68, dhcp(2, clientHW, opt(53, "\x02")))
	long := asks("GET /" + strings.Repeat("a", 1200) + " HTTP/1.1\r\n")
	inOrder := []struct {
		from  *space
		index int
		frame []byte
		kept  bool
	}{
		{client, c0, discover(clientHW), true},
		{box, eth0, offer, true}, // what the box says itself
		{client, c0, udp(clientHW, otherHW, clientIP, serverIP, 68, 67, dhcp(1, clientHW)), false}, // meant for another host
		{client, c0, vlan(discover(clientHW), etherVLAN, 20), true},
		{client, c0, vlan(vlan(discover(clientHW), etherVLAN, 7), etherQinQ, 20), true},
		{box, eth0, vlan(offer, etherVLAN, 30), true},
		{client, c0, toBox(5000, 53, []byte("\x12\x34\x01\x00")), false},
		{client, c0, long, true},
		{client, c0, arp(clientHW, everyone, clientIP, boxIP), true},
	}
	var want [][]byte
	for _, f := range inOrder {
		f.from.send(t, f.index, f.frame)
		if f.kept {
			want = append(want, f.frame)
		}
		// Two senders keep no order by themselves.
		until(t, "the packet", func() bool { return len(ours(r)) >= len(want) })
	}
	got := ours(r)
	if len(got) != len(want) {
		for _, p := range got {
			t.Logf("%x", p.frame)
		}
		t.Fatalf("%d packets, want %d", len(got), len(want))
	}
	for i, p := range got {
		w := want[i]
		if int(p.wire) != len(w) {
			t.Errorf("packet %d: %d octets on the wire, want %d", i, p.wire, len(w))
		}
		if f, _ := parse(w, webPort); f.kind == kindHTTP {
			w = w[:snapRest]
		}
		if !bytes.Equal(p.frame, w) {
			t.Errorf("packet %d:\n%x, want\n%x", i, p.frame, w)
		}
	}
}

// ours are the packets of the test, without what the kernel of the box answers:
// ARP replies, and a reset where nobody listens.
func ours(r *Ring) (out []packet) {
	for _, p := range r.selected(Select{}) {
		f, _ := parse(p.frame, webPort)
		if f.kind == kindARP && f.toHW != (hwaddr{}) || f.kind == kindHTTP && p.frame[f.transport+13]&rst != 0 {
			continue
		}
		out = append(out, p)
	}
	return out
}

// TestLoopbackOnce: where every packet comes in that goes out, it is kept once.
func TestLoopbackOnce(t *testing.T) {
	if os.Geteuid() != 0 {
		missing(t, "needs root: makes network namespaces")
	}
	s := newSpace(t)
	lo, err := s.nl.LinkByName("lo")
	must(t, err)
	must(t, s.nl.LinkSetUp(lo))
	r, _ := ringIn(t, s, Interface{Index: lo.Attrs().Index, Name: "lo"})
	s.do(func() {
		var c net.PacketConn
		if c, err = net.ListenPacket("udp4", "127.0.0.1:0"); err != nil {
			return
		}
		defer c.Close()
		for i := range 3 {
			if _, err = c.WriteTo([]byte(fmt.Sprintf("\x00\x01file%d\x00octet\x00", i)), &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 69}); err != nil {
				return
			}
		}
	})
	must(t, err)
	until(t, "the third request", func() bool {
		p := r.selected(Select{})
		return len(p) > 0 && bytes.Contains(p[len(p)-1].frame, []byte("file2"))
	})
	if n := len(r.selected(Select{})); n != 3 {
		t.Errorf("%d packets, want 3", n)
	}
}

func TestTunnelIsNoEthernet(t *testing.T) {
	if os.Geteuid() != 0 {
		missing(t, "needs root: makes network namespaces")
	}
	s := newSpace(t)
	var err error
	tun := &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: "tun0", TxQLen: -1}, Mode: netlink.TUNTAP_MODE_TUN, NonPersist: true, Queues: 1}
	s.do(func() { err = s.nl.LinkAdd(tun) })
	if err != nil {
		missing(t, "cannot make a tunnel: "+err.Error())
	}
	defer func() {
		for _, f := range tun.Fds {
			_ = f.Close()
		}
	}()
	s.do(func() { _, err = openSocket(Interface{Index: s.index(t, "tun0"), Name: "tun0"}, webPort) })
	if !errors.Is(err, errNoEthernet) {
		t.Errorf("%v", err)
	}
}

// TestInterfaceGoesAway: a socket whose interface is gone neither fails the task
// nor keeps it busy, and ends when it is told to.
func TestInterfaceGoesAway(t *testing.T) {
	box, client := wire(t)
	eth0 := box.index(t, "eth0")
	r, stop := ringIn(t, box, Interface{Index: eth0, Name: "eth0"})
	client.send(t, client.index(t, "c0"), discover(clientHW))
	until(t, "the packet", func() bool { return len(ours(r)) == 1 })
	l, err := box.nl.LinkByName("eth0")
	must(t, err)
	must(t, box.nl.LinkSetDown(l))
	must(t, box.nl.LinkSetUp(l))
	c0, err := client.nl.LinkByName("c0")
	must(t, err)
	until(t, "a link again", func() bool {
		client.send(t, c0.Attrs().Index, discover(clientHW))
		return len(ours(r)) > 1
	})
	must(t, box.nl.LinkDel(l))
	stop()
	if n := len(ours(r)); n < 2 {
		t.Errorf("%d packets", n)
	}
}

// BenchmarkBulkTransfer fetches a large file by HTTP over a pair of virtual
// interfaces, with and without a Ring on the server's. It needs root. Virtual
// interfaces carry several GB/s: what the filter costs shows more than anywhere.
func BenchmarkBulkTransfer(b *testing.B) {
	const size = 256 << 20
	box, client := wire(b)
	file, err := os.CreateTemp(b.TempDir(), "bulk")
	must(b, err)
	must(b, file.Truncate(size))
	var l net.Listener
	box.do(func() { l, err = net.Listen("tcp4", "10.77.143.7:80") })
	must(b, err)
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) { http.ServeFile(w, q, file.Name()) })}
	go func() { _ = srv.Serve(l) }()
	b.Cleanup(func() { _ = srv.Close(); _ = file.Close() })
	fetch := func(b *testing.B) {
		b.SetBytes(size)
		var before, after unix.Rusage
		must(b, unix.Getrusage(unix.RUSAGE_SELF, &before))
		for b.Loop() {
			var c net.Conn
			client.do(func() { c, err = net.Dial("tcp4", "10.77.143.7:80") })
			must(b, err)
			_, err = io.WriteString(c, "GET / HTTP/1.0\r\n\r\n")
			must(b, err)
			got, err := io.Copy(io.Discard, c)
			must(b, err)
			if got < size {
				b.Fatalf("%d octets", got)
			}
			_ = c.Close()
		}
		must(b, unix.Getrusage(unix.RUSAGE_SELF, &after))
		cpu := time.Duration(after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano())
		b.ReportMetric(float64(cpu.Milliseconds())/float64(b.N), "cpu-ms/op")
	}
	for n := range 4 { // one after the other: the machine is not the same all the time
		how := "-large-segments"
		if n >= 2 {
			// Every packet passes the filter by itself, as with cards that cannot
			// segment.
			how = "-single-packets"
			l, err := box.nl.LinkByName("eth0")
			must(b, err)
			must(b, box.nl.LinkSetGSOMaxSegs(l, 1))
		}
		b.Run("without"+how, fetch)
		b.Run("with"+how, func(b *testing.B) {
			r, stop := ringIn(b, box, Interface{Index: box.index(b, "eth0"), Name: "eth0"})
			fetch(b)
			stop()
			packets, octets, dropped := r.Stats()
			b.ReportMetric(float64(packets)/float64(b.N), "kept/op")
			b.Logf("%d packets and %d octets kept, %d dropped", packets, octets, dropped)
		})
	}
}
