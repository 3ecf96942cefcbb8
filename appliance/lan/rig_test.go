package lan

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

const (
	insideVar = "BOOTPUCK_LAN_NETNS" // set in the child that owns a namespace
	patience  = 20 * time.Second     // for anything real
)

// missing skips, or fails where everything is supposed to be there.
func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("BOOTPUCK_E2E") == "1" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// inNamespace runs the calling test in a child process with a network namespace
// of its own, so that all its goroutines live there. It returns true in the
// child, where the test is to go on.
func inNamespace(t *testing.T, programs ...string) bool {
	t.Helper()
	if os.Getenv(insideVar) == "1" {
		return true
	}
	if os.Geteuid() != 0 {
		missing(t, "needs root: makes network namespaces")
	}
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			missing(t, "needs the program "+p+" in PATH")
		}
	}
	// The child dies with the thread that started it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=5m")
	cmd.Env = append(os.Environ(), insideVar+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Start()
	if err != nil {
		missing(t, "cannot make a network namespace: "+err.Error())
	}
	if err := cmd.Wait(); err != nil || !strings.Contains(out.String(), "--- PASS: "+t.Name()) {
		t.Fatalf("in the namespace: %v\n%s", err, out.String())
	}
	return false
}

// must ends the test on an error.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// otherSpace is a second namespace: one thread that lives in it. What it starts
// belongs to it.
type otherSpace struct {
	jobs   chan func()
	handle netns.NsHandle
	nl     *netlink.Handle
}

func newSpace(t *testing.T) *otherSpace {
	t.Helper()
	s := &otherSpace{jobs: make(chan func())}
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

func (s *otherSpace) do(f func()) {
	done := make(chan struct{})
	s.jobs <- func() {
		defer close(done)
		f()
	}
	<-done
}

// start runs a program in the namespace until the test ends and returns its
// output.
func (s *otherSpace) start(t *testing.T, name string, args ...string) *output {
	t.Helper()
	cmd := exec.Command(name, args...)
	out := &output{}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var err error
	s.do(func() { err = cmd.Start() })
	must(t, err)
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s said:\n%s", name, out)
		}
	})
	return out
}

// output collects what a program prints.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// rig is a LAN: a bridge br0 with 192.0.2.1 in the site's namespace, our eth0
// on it, and a client's c0 in a third namespace.
type rig struct {
	site, client *otherSpace
}

const (
	boxMAC    = "02:00:00:00:00:02"
	clientMAC = "02:00:00:00:00:77"
)

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{site: newSpace(t), client: newSpace(t)}
	br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0", TxQLen: -1}}
	must(t, r.site.nl.LinkAdd(br))
	must(t, r.site.nl.LinkSetUp(br))
	setAddr(t, r.site.nl, "br0", "192.0.2.1/24")
	here, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	must(t, err)
	t.Cleanup(here.Close)
	r.plug(t, here, nil, "eth0", boxMAC, "p0")
	r.plug(t, here, r.client, "c0", clientMAC, "p1")
	c0, err := r.client.nl.LinkByName("c0")
	must(t, err)
	must(t, r.client.nl.LinkSetUp(c0))
	return r
}

// plug makes a cable from port on the site's bridge to ifname here, or in space.
func (r *rig) plug(t *testing.T, here *netlink.Handle, space *otherSpace, ifname, mac, port string) {
	t.Helper()
	hw, err := net.ParseMAC(mac)
	must(t, err)
	attrs := netlink.LinkAttrs{Name: ifname, HardwareAddr: hw, TxQLen: -1}
	if space != nil {
		attrs.Namespace = netlink.NsFd(space.handle)
	}
	must(t, here.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: port, PeerNamespace: netlink.NsFd(r.site.handle)}))
	p, err := r.site.nl.LinkByName(port)
	must(t, err)
	br, err := r.site.nl.LinkByName("br0")
	must(t, err)
	must(t, r.site.nl.LinkSetMaster(p, br))
	must(t, r.site.nl.LinkSetUp(p))
}

func setAddr(t *testing.T, nl *netlink.Handle, ifname, cidr string) {
	t.Helper()
	l, err := nl.LinkByName(ifname)
	must(t, err)
	a, err := netlink.ParseAddr(cidr)
	must(t, err)
	must(t, nl.AddrAdd(l, a))
}

// fromClient sends one frame into the LAN from the client's interface.
func (r *rig) fromClient(t *testing.T, to net.HardwareAddr, ipPacket []byte) {
	t.Helper()
	var err error
	r.client.do(func() {
		var fd int
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return
		}
		defer func() { _ = unix.Close(fd) }()
		var c0 *net.Interface
		if c0, err = net.InterfaceByName("c0"); err != nil {
			return
		}
		sa := &unix.SockaddrLinklayer{Protocol: 0x0008, Ifindex: c0.Index, Halen: 6} // IPv4, network order
		copy(sa.Addr[:], to)
		err = unix.Sendto(fd, ipPacket, 0, sa)
	})
	must(t, err)
}

var everyone = net.HardwareAddr{255, 255, 255, 255, 255, 255}

// discover broadcasts a DISCOVER that asks for a broadcast answer, as EDK2
// does; class is option 60, empty for an ordinary client.
func (r *rig) discover(t *testing.T, class string) {
	t.Helper()
	q := reply{from: "0.0.0.0", to: "255.255.255.255", sport: 68, dport: 67, op: 1}
	q.options = []byte{53, 1, 1, 55, 6, 1, 3, 43, 60, 66, 67}
	if class != "" {
		option(60, class)(&q)
		option(93, "\x00\x07")(&q)
		option(94, "\x01\x03\x10")(&q)
		option(97, "\x00"+strings.Repeat("g", 16))(&q)
	}
	b := q.packet()
	b[28+10] = 0x80 // flags: broadcast
	r.fromClient(t, everyone, b)
}

// until waits for a condition of the world outside, checked every 20 ms.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
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

// task runs a task until the test ends and waits for it to be ready.
func task(t *testing.T, x interface {
	Run(context.Context) error
	Ready() <-chan struct{}
	String() string
},
) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- x.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("%s: %v", x, err)
		}
	})
	select {
	case <-x.Ready():
	case err := <-done:
		done <- err
		t.Fatalf("%s: %v", x, err)
	case <-time.After(patience):
		t.Fatalf("%s is not ready", x)
	}
}

func prefixes(list []netip.Prefix) string {
	var out []string
	for _, p := range list {
		out = append(out, p.String())
	}
	return strings.Join(out, " ")
}
