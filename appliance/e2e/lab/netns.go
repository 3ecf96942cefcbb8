package lab

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// prefix starts every name the lab gives to something outside its process:
// prefix + pid + "-" + role. It is how the next run tells our leftovers from
// everything else.
const (
	prefix   = "bpe2e-"
	netnsDir = "/run/netns"
)

// Namespace is a network namespace with one operating-system thread that lives
// in it. It shows in `ip netns` as long as it is open.
type Namespace struct {
	name   string
	handle netns.NsHandle
	nl     *netlink.Handle
	jobs   chan func()
	quit   chan struct{}
	done   chan struct{}
}

// newNamespace creates a namespace with only loopback, up.
func newNamespace(name string) (*Namespace, error) {
	n := &Namespace{name: name, jobs: make(chan func()), quit: make(chan struct{}), done: make(chan struct{})}
	started := make(chan error)
	go n.thread(started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("create namespace %s: %w", name, err)
	}
	nl, err := netlink.NewHandleAt(n.handle, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("netlink in namespace %s: %w", name, err), n.close())
	}
	n.nl = nl
	lo, err := nl.LinkByName("lo")
	if err == nil {
		err = nl.LinkSetUp(lo)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("loopback in namespace %s: %w", name, err), n.close())
	}
	return n, nil
}

// thread is the namespace's own thread. It is never unlocked: when it ends, the
// thread ends with it, and children started from it receive their
// parent-death signal.
func (n *Namespace) thread(started chan<- error) {
	runtime.LockOSThread()
	defer close(n.done)
	h, err := netns.NewNamed(n.name)
	if err != nil {
		started <- err
		return
	}
	n.handle = h
	started <- nil
	for {
		select {
		case f := <-n.jobs:
			f()
		case <-n.quit:
			return
		}
	}
}

// Do runs f on the namespace's thread: sockets it opens and processes it
// starts belong to the namespace. f must not block for long. When the
// namespace is gone, f is not run and the error is net.ErrClosed.
func (n *Namespace) Do(f func() error) error {
	result := make(chan error, 1)
	select {
	case n.jobs <- func() { result <- f() }:
		return <-result
	case <-n.done:
		return fmt.Errorf("namespace %s: %w", n.name, net.ErrClosed)
	}
}

// Name is what `ip netns exec` wants.
func (n *Namespace) Name() string { return n.name }

func (n *Namespace) close() error {
	close(n.quit)
	<-n.done
	if n.nl != nil {
		n.nl.Close()
	}
	return errors.Join(n.handle.Close(), netns.DeleteNamed(n.name))
}

// Address gives the station's interface eth0 an address in CIDR notation.
func (n *Namespace) Address(cidr string) error { return n.addr("eth0", cidr) }

// DropAddress takes an address in CIDR notation from eth0 again.
func (n *Namespace) DropAddress(cidr string) error {
	link, err := n.nl.LinkByName("eth0")
	if err != nil {
		return fmt.Errorf("find eth0 in %s: %w", n.name, err)
	}
	a, err := netlink.ParseAddr(cidr)
	if err != nil {
		return fmt.Errorf("address %s: %w", cidr, err)
	}
	if err := n.nl.AddrDel(link, a); err != nil {
		return fmt.Errorf("remove %s from eth0 in %s: %w", cidr, n.name, err)
	}
	return nil
}

// Route adds a default route.
func (n *Namespace) Route(via string) error { return n.route("", via) }

// addr gives an interface an address in CIDR notation and brings it up.
func (n *Namespace) addr(ifname string, cidrs ...string) error {
	link, err := n.nl.LinkByName(ifname)
	if err != nil {
		return fmt.Errorf("find %s in %s: %w", ifname, n.name, err)
	}
	for _, cidr := range cidrs {
		a, err := netlink.ParseAddr(cidr)
		if err != nil {
			return fmt.Errorf("address %s: %w", cidr, err)
		}
		if a.IP.To4() == nil {
			// No duplicate address detection: nobody else is here, and servers
			// that bind at once would otherwise fail for a second.
			a.Flags = unix.IFA_F_NODAD
		}
		if err := n.nl.AddrAdd(link, a); err != nil {
			return fmt.Errorf("add %s to %s in %s: %w", cidr, ifname, n.name, err)
		}
	}
	if err := n.nl.LinkSetUp(link); err != nil {
		return fmt.Errorf("bring up %s in %s: %w", ifname, n.name, err)
	}
	return nil
}

// route adds an IPv4 route; an empty destination is the default route.
func (n *Namespace) route(dst, via string) error {
	r := &netlink.Route{Gw: net.ParseIP(via)}
	if dst != "" {
		_, d, err := net.ParseCIDR(dst)
		if err != nil {
			return fmt.Errorf("route to %s: %w", dst, err)
		}
		r.Dst = d
	}
	if err := n.nl.RouteAdd(r); err != nil {
		return fmt.Errorf("route %q via %s in %s: %w", dst, via, n.name, err)
	}
	return nil
}

// sysctl writes one value below /proc/sys inside the namespace.
func (n *Namespace) sysctl(key, value string) error {
	return n.Do(func() error {
		return os.WriteFile(filepath.Join("/proc/sys", key), []byte(value), 0)
	})
}

// bridge makes a bridge that forwards at once and does not snoop.
func (n *Namespace) bridge(name string) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	off := false
	br := &netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &off}
	if err := n.nl.LinkAdd(br); err != nil {
		return fmt.Errorf("add bridge %s in %s: %w", name, n.name, err)
	}
	if err := n.nl.LinkSetUp(br); err != nil {
		return fmt.Errorf("bring up bridge %s in %s: %w", name, n.name, err)
	}
	return nil
}

// plug connects a namespace to a bridge in another one: a veth pair whose one
// end is a bridge port and whose other end is ifname inside n, with the given
// hardware address, still down.
func (n *Namespace) plug(ifname string, mac net.HardwareAddr, lan *Namespace, bridge, port string) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = port
	veth := &netlink.Veth{
		LinkAttrs: attrs, PeerName: ifname, PeerHardwareAddr: mac,
		PeerNamespace: netlink.NsFd(n.handle),
	}
	if err := lan.nl.LinkAdd(veth); err != nil {
		return fmt.Errorf("connect %s in %s: %w", ifname, n.name, err)
	}
	return lan.enslave(port, bridge)
}

func (n *Namespace) enslave(port, bridge string) error {
	br, err := n.nl.LinkByName(bridge)
	if err != nil {
		return fmt.Errorf("find bridge %s: %w", bridge, err)
	}
	link, err := n.nl.LinkByName(port)
	if err != nil {
		return fmt.Errorf("find port %s: %w", port, err)
	}
	if err := n.nl.LinkSetMaster(link, br); err != nil {
		return fmt.Errorf("put %s on %s: %w", port, bridge, err)
	}
	if err := n.nl.LinkSetUp(link); err != nil {
		return fmt.Errorf("bring up port %s: %w", port, err)
	}
	return nil
}

// tap makes a tap device, puts it on the bridge and returns its file: one read
// or write is one frame. Closing the file removes the device.
func (n *Namespace) tap(name, bridge string) (*os.File, error) {
	f, err := n.openTap(name)
	if err != nil {
		return nil, err
	}
	if err := n.enslave(name, bridge); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// openTap makes a tap device that is down and on no bridge.
func (n *Namespace) openTap(name string) (*os.File, error) {
	var f *os.File
	err := n.Do(func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return fmt.Errorf("open /dev/net/tun: %w", err)
		}
		req, err := unix.NewIfreq(name)
		if err == nil {
			req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
			err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
		}
		if err != nil {
			unix.Close(fd)
			return fmt.Errorf("make tap %s: %w", name, err)
		}
		// Only now: the poller refuses a tun file that is no device yet.
		f = os.NewFile(uintptr(fd), "tap "+name)
		return nil
	})
	return f, err
}

// sweep removes what dead runs left: namespaces named after a pid that is gone,
// with the processes still in them, and their temporary directories. It never
// touches a live run's.
func sweep() error {
	var errs []error
	entries, err := os.ReadDir(netnsDir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		errs = append(errs, err)
	}
	for _, e := range entries {
		if !stale(e.Name()) {
			continue
		}
		killInside(filepath.Join(netnsDir, e.Name()))
		if err := netns.DeleteNamed(e.Name()); err != nil {
			errs = append(errs, fmt.Errorf("remove stale namespace %s: %w", e.Name(), err))
		}
	}
	temps, _ := filepath.Glob(filepath.Join(os.TempDir(), prefix+"*"))
	for _, dir := range temps {
		if stale(filepath.Base(dir)) {
			errs = append(errs, os.RemoveAll(dir))
		}
	}
	return errors.Join(errs...)
}

// stale tells whether a name is ours and its run is dead.
func stale(name string) bool {
	rest, ok := strings.CutPrefix(name, prefix)
	if !ok {
		return false
	}
	number, _, ok := strings.Cut(rest, "-")
	pid, err := strconv.Atoi(number)
	if !ok || err != nil || pid <= 0 {
		return false
	}
	return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
}

// killInside ends the processes of one namespace. They can only be ours: the
// namespace was.
func killInside(path string) {
	var ns unix.Stat_t
	if unix.Stat(path, &ns) != nil {
		return
	}
	procs, _ := filepath.Glob("/proc/[0-9]*/ns/net")
	for _, p := range procs {
		var st unix.Stat_t
		if unix.Stat(p, &st) != nil || st.Ino != ns.Ino || st.Dev != ns.Dev {
			continue
		}
		if pid, err := strconv.Atoi(strings.Split(p, "/")[2]); err == nil && pid > 1 {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}
