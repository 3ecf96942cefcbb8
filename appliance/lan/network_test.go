package lan

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// named finds an interface in the latest picture.
func named(w *Watcher, name string) (Interface, bool) {
	list := w.Snapshot()
	n := slices.IndexFunc(list, func(i Interface) bool { return i.Name == name })
	if n < 0 {
		return Interface{}, false
	}
	return list[n], true
}

func TestWatcherOnRealInterfaces(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	r := newRig(t)
	here, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	must(t, err)
	defer here.Close()
	var events sink
	w := NewWatcher(Selection{}, events.add)
	task(t, w)

	eth0, err := here.LinkByName("eth0")
	must(t, err)
	saw := func(what string, ok func(i Interface, there bool) bool, want ...string) {
		t.Helper()
		until(t, what, func() bool { return ok(named(w, "eth0")) })
		var got []string
		for _, e := range events.take() {
			got = append(got, strings.TrimSpace(string(e.Reason)+" "+e.Text))
		}
		for _, text := range want {
			if !slices.Contains(got, text) {
				t.Errorf("%s: not told %q but %q", what, text, got)
			}
		}
	}
	const wait = "; no IPv4 address yet; it is served as soon as it has one."
	saw("eth0 down", func(i Interface, there bool) bool {
		return there && !i.Up && i.Served && i.MAC.String() == boxMAC && i.MTU == 1500
	},
		"eth0 found: no link.", "link_down No served interface has a link. Check cable and switch port.")

	must(t, here.LinkSetUp(eth0))
	saw("link up", func(i Interface, there bool) bool { return i.Up }, "no_address eth0: link up"+wait)

	setAddr(t, here, "eth0", "192.0.2.2/24")
	saw("first address", func(i Interface, there bool) bool { return prefixes(i.Addrs) == "192.0.2.2/24" }, "eth0 has 192.0.2.2/24.")

	setAddr(t, here, "eth0", "192.0.2.3/24") // secondary to the first
	setAddr(t, here, "eth0", "10.0.0.2/8")
	setAddr(t, here, "eth0", "2001:db8::2/64")
	// Duplicate address detection takes a second; until then it is no address.
	if now, _, err := (rtnetlink{}).look(); err != nil || slices.Contains(now.addrs, on(eth0.Attrs().Index, "2001:db8::2/64")[0]) {
		t.Errorf("tentative address taken: %+v, %v", now.addrs, err)
	}
	saw("more addresses, primaries first; IPv6 after duplicate detection", func(i Interface, there bool) bool {
		return prefixes(i.Addrs) == "192.0.2.2/24 10.0.0.2/8 192.0.2.3/24" && strings.Contains(prefixes(i.Addrs6), "2001:db8::2/64")
	})

	// Removing a primary address takes its secondaries along.
	first, err := netlink.ParseAddr("192.0.2.2/24")
	must(t, err)
	must(t, here.AddrDel(eth0, first))
	saw("primary removed", func(i Interface, there bool) bool { return prefixes(i.Addrs) == "10.0.0.2/8" },
		"eth0 lost 192.0.2.2/24, 192.0.2.3/24.", "eth0: answers now come from 10.0.0.2 instead of 192.0.2.2.")

	last, err := netlink.ParseAddr("10.0.0.2/8")
	must(t, err)
	must(t, here.AddrDel(eth0, last))
	saw("no address left", func(i Interface, there bool) bool { return len(i.Addrs) == 0 }, "no_address eth0 lost 10.0.0.2/8"+wait)
	setAddr(t, here, "eth0", "192.0.2.2/24")
	saw("address again", func(i Interface, there bool) bool { return len(i.Addrs) == 1 })

	// The switch port goes dead: no carrier, although eth0 is switched on.
	p0, err := r.site.nl.LinkByName("p0")
	must(t, err)
	must(t, r.site.nl.LinkSetDown(p0))
	saw("carrier lost", func(i Interface, there bool) bool { return there && !i.Up },
		"eth0: link down.", "link_down No served interface has a link. Check cable and switch port.")
	must(t, r.site.nl.LinkSetUp(p0))
	saw("carrier back", func(i Interface, there bool) bool { return i.Up }, "eth0: link up.")

	must(t, here.LinkSetMTU(eth0, 1400))
	saw("MTU", func(i Interface, there bool) bool { return i.MTU == 1400 }, "eth0: MTU changed from 1500 to 1400.")

	must(t, here.LinkSetDown(eth0))
	must(t, here.LinkSetName(eth0, "lan0"))
	must(t, here.LinkSetUp(eth0))
	saw("renamed", func(i Interface, there bool) bool {
		lan0, ok := named(w, "lan0")
		return !there && ok && lan0.Up
	}, "lan0 is the new name of eth0.")
	if i, ok := w.Lookup(eth0.Attrs().Index); !ok || i.Name != "lan0" {
		t.Errorf("lookup by index: %+v, %v", i, ok)
	}
	must(t, here.LinkSetDown(eth0))
	must(t, here.LinkSetName(eth0, "eth0"))
	must(t, here.LinkSetUp(eth0))
	saw("renamed back", func(i Interface, there bool) bool { return there && i.Up })

	// A bridge is made and takes the interface over.
	must(t, here.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "lan", TxQLen: -1}}))
	lan, err := here.LinkByName("lan")
	must(t, err)
	must(t, here.LinkSetMaster(eth0, lan))
	must(t, here.LinkSetUp(lan))
	saw("bridged", func(i Interface, there bool) bool {
		b, ok := named(w, "lan")
		return there && !i.Served && ok && b.Served && b.Up
	}, "eth0 is no longer served: a port of lan.")
	must(t, here.LinkDel(lan))
	saw("bridge gone", func(i Interface, there bool) bool { return i.Served }, "lan is gone.")

	must(t, here.LinkDel(eth0))
	saw("eth0 gone", func(i Interface, there bool) bool { return !there },
		"eth0 is gone.", "link_down There is no network interface to serve.")
	r.plug(t, here, nil, "eth0", boxMAC, "p0")
	saw("eth0 created again", func(i Interface, there bool) bool { return there && i.Index != eth0.Attrs().Index }, "eth0 found: no link.")
}

func TestNamedInterfaceAppearsLater(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	here, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	must(t, err)
	defer here.Close()
	var events sink
	w := NewWatcher(Selection{Names: []string{"usb0", "lo"}}, events.add)
	task(t, w)
	if p := w.Picture(); !slices.Equal(p.Missing, []string{"usb0"}) {
		t.Fatalf("missing %q", p.Missing)
	}
	if lo, ok := named(w, "lo"); !ok || !lo.Served || !lo.Loopback {
		t.Errorf("lo named: %+v", lo)
	}
	if got := told(events.take()); !slices.Contains(got, `network no_interface: Interface "usb0" does not exist; it is served as soon as it appears.`) {
		t.Errorf("told %q", got)
	}
	must(t, here.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "usb0", TxQLen: -1}, PeerName: "other"}))
	until(t, "usb0 served", func() bool { i, ok := named(w, "usb0"); return ok && i.Served && len(w.Picture().Missing) == 0 })
	if other, ok := named(w, "other"); ok && other.Served {
		t.Error("an interface that was not named is served")
	}
	usb0, err := here.LinkByName("usb0")
	must(t, err)
	must(t, here.LinkDel(usb0))
	until(t, "usb0 missing", func() bool { return len(w.Picture().Missing) == 1 })
}

// TestOverrun makes the kernel drop messages.
func TestOverrun(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	here, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	must(t, err)
	defer here.Close()
	control, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR)
	must(t, err)
	defer control.Close()
	f, err := rtnetlink{}.follow()
	must(t, err)
	defer f.close()
	lo, err := here.LinkByName("lo")
	must(t, err)
	a, err := netlink.ParseAddr("10.0.0.1/8")
	must(t, err)
	for range 2000 {
		must(t, here.AddrAdd(lo, a))
		must(t, here.AddrDel(lo, a))
	}
	if _, _, err := control.Receive(); !errors.Is(err, unix.ENOBUFS) {
		t.Fatalf("no overrun: %v", err)
	}
	for n := range 3 {
		if err := f.wait(); err != nil {
			t.Fatalf("wait %d: %v", n, err)
		}
	}
	must(t, here.AddrAdd(lo, a))
	s, whole, err := rtnetlink{}.look()
	if err != nil || !whole || !slices.Contains(s.addrs, on(lo.Attrs().Index, "10.0.0.1/8")[0]) {
		t.Errorf("%+v, %v, %v", s, whole, err)
	}
}

// dnsmasq starts a server on the site's bridge and waits until it serves.
func (r *rig) dnsmasq(t *testing.T, args ...string) *output {
	t.Helper()
	dir := t.TempDir()
	out := r.site.start(t, "dnsmasq", append([]string{
		"--no-daemon", "--conf-file=/dev/null", "--port=0", "--interface=br0", "--bind-interfaces", "--user=root",
		"--no-hosts", "--no-resolv", "--no-ping", "--log-facility=-", "--pid-file=" + filepath.Join(dir, "pid"),
		"--dhcp-leasefile=" + filepath.Join(dir, "leases"),
	}, args...)...)
	until(t, "dnsmasq to serve", func() bool { return strings.Contains(out.String(), "DHCP,") })
	return out
}

func TestSentinelHearsRealServers(t *testing.T) {
	if !inNamespace(t, "dnsmasq") {
		return
	}
	r := newRig(t)
	here, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	must(t, err)
	defer here.Close()
	eth0, err := here.LinkByName("eth0")
	must(t, err)
	must(t, here.LinkSetUp(eth0))
	setAddr(t, here, "eth0", "192.0.2.2/24")
	const pool = "--dhcp-range=192.0.2.100,192.0.2.150,1h"
	const pxe = "PXEClient:Arch:00007:UNDI:003016"
	for _, tt := range []struct {
		name      string
		args      []string
		class     string
		dhcp, pxe bool
		want      []boot.Reason
		text      string // in the first finding
	}{
		{"plain", []string{pool}, "", true, false, nil, ""},
		{"plain, PXE client", []string{pool}, pxe, true, false, nil, ""},
		{
			"option 60",
			[]string{pool, "--dhcp-option-force=60,PXEClient"},
			pxe, true, false,
			[]boot.Reason{boot.ReasonOption60},
			`sends option 60 "PXEClient"`,
		},
		{
			"boot file",
			[]string{pool, "--dhcp-boot=pxelinux.0,tftp,192.0.2.7"},
			pxe, true, false,
			[]boot.Reason{boot.ReasonServerBootFile, boot.ReasonWrongNextServer},
			`names boot file "pxelinux.0"`,
		},
		{
			"both",
			[]string{pool, "--dhcp-boot=pxelinux.0", "--dhcp-option-force=60,PXEClient"},
			pxe, true, false,
			[]boot.Reason{boot.ReasonOption60, boot.ReasonServerBootFile},
			"",
		},
		{
			"proxy",
			[]string{"--dhcp-range=192.0.2.0,proxy", "--pxe-service=X86-64_EFI,Boot,boot.efi", "--pxe-prompt=Wait,3"},
			pxe, false, true,
			[]boot.Reason{boot.ReasonOtherPXE},
			`answers network boot clients (option 60 "PXEClient"`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var events sink
			w := NewWatcher(Selection{}, func(boot.Event) {})
			task(t, w)
			until(t, "eth0 up", func() bool { i, _ := named(w, "eth0"); return i.Up && len(i.Addrs) > 0 })
			s := NewSentinel(SentinelConfig{Watcher: w, Sink: events.add})
			task(t, s)
			r.dnsmasq(t, tt.args...)
			// Several rounds: events must come once. The client repeats as real
			// ones do: the bridge begins to forward to eth0 some time after
			// eth0 itself is up.
			until(t, "three replies", func() bool {
				if s.Stats().Heard < 3 {
					r.discover(t, tt.class)
				}
				return s.Stats().Heard >= 3
			})
			list := s.Responders()
			if len(list) != 1 {
				t.Fatalf("%d responders: %+v", len(list), list)
			}
			got := list[0]
			br0, err := r.site.nl.LinkByName("br0")
			must(t, err)
			if got.Server.String() != "192.0.2.1" || got.MAC != boot.MACOf(br0.Attrs().HardwareAddr) || got.Interface != "eth0" ||
				got.DHCP != tt.dhcp || got.PXE != tt.pxe {
				t.Errorf("heard %+v", got)
			}
			var found []boot.Reason
			for _, f := range got.Findings {
				found = append(found, f.Reason)
			}
			if !slices.Equal(found, tt.want) || tt.text != "" && !strings.Contains(got.Findings[0].Text, tt.text) {
				t.Errorf("found %+v, want %v", got.Findings, tt.want)
			}
			count := map[boot.Kind]int{}
			for _, e := range events.take() {
				count[e.Kind]++
				t.Logf("%s %s: %s", e.Kind, e.Reason, e.Text)
			}
			if count[boot.KindResponder] != 1 || count[boot.KindWarning] != len(tt.want) || len(s.Problems()) != len(tt.want) {
				t.Errorf("events %v, problems %v", count, s.Problems())
			}
		})
	}
}

// TestSentinelBesideDHCPClients runs ordinary DHCP clients on the interface
// that is listened on.
func TestSentinelBesideDHCPClients(t *testing.T) {
	if !inNamespace(t, "dnsmasq", "udhcpc", "dhclient") {
		return
	}
	r := newRig(t)
	here, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	must(t, err)
	defer here.Close()
	eth0, err := here.LinkByName("eth0")
	must(t, err)
	must(t, here.LinkSetUp(eth0))
	r.dnsmasq(t, "--dhcp-range=192.0.2.100,192.0.2.150,1h")
	dir := t.TempDir()
	for _, argv := range [][]string{
		{"udhcpc", "-i", "eth0", "-n", "-q", "-f", "-t", "10", "-T", "1", "-s", "/bin/true"},
		{"dhclient", "-4", "-d", "-1", "-sf", "/bin/true", "-cf", "/dev/null", "-lf", filepath.Join(dir, "lease"), "-pf", filepath.Join(dir, "pid"), "eth0"},
	} {
		t.Run(argv[0], func(t *testing.T) {
			w := NewWatcher(Selection{}, func(boot.Event) {})
			task(t, w)
			until(t, "eth0 up", func() bool { i, _ := named(w, "eth0"); return i.Up })
			s := NewSentinel(SentinelConfig{Watcher: w, Sink: func(boot.Event) {}})
			task(t, s)
			out := &output{}
			cmd := exec.Command(argv[0], argv[1:]...)
			cmd.Stdout, cmd.Stderr = out, out
			must(t, cmd.Start())
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			// dhclient stays after its lease, udhcpc -q goes.
			until(t, "a lease", func() bool {
				return strings.Contains(out.String(), "obtained from 192.0.2.1") || strings.Contains(out.String(), "bound to 192.0.2.1")
			})
			if argv[0] == "dhclient" {
				must(t, cmd.Process.Kill())
			}
			if err := <-ended; err != nil && argv[0] != "dhclient" {
				t.Errorf("%v\n%s", err, out)
			}
			// OFFER and ACK were unicast to this machine's own address.
			until(t, "both replies", func() bool { return s.Stats().Heard >= 2 })
			if list := s.Responders(); len(list) != 1 || !list[0].DHCP || list[0].PXE || len(list[0].Findings) != 0 {
				t.Errorf("heard %+v", list)
			}
		})
	}
}

// TestSentinelHearsNothingPrivate sends what must not be taken in, then one
// packet that must: the kernel keeps the order.
func TestSentinelHearsNothingPrivate(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	r := newRig(t)
	here, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	must(t, err)
	defer here.Close()
	eth0, err := here.LinkByName("eth0")
	must(t, err)
	must(t, here.LinkSetUp(eth0))
	setAddr(t, here, "eth0", "192.0.2.2/24")
	w := NewWatcher(Selection{}, func(boot.Event) {})
	task(t, w)
	until(t, "eth0 up", func() bool { i, _ := named(w, "eth0"); return i.Up && len(i.Addrs) > 0 })
	s := NewSentinel(SentinelConfig{Watcher: w, Sink: func(boot.Event) {}})
	task(t, s)
	isPromiscuous := func() bool {
		l, err := here.LinkByName("eth0")
		must(t, err)
		return l.Attrs().Promisc > 0
	}
	if isPromiscuous() {
		t.Error("the sentinel made the interface promiscuous")
	}
	must(t, here.SetPromiscOn(eth0)) // somebody else does
	if !isPromiscuous() {
		t.Fatal("the interface is not promiscuous")
	}
	heard := func(server string) bool {
		return slices.ContainsFunc(s.Responders(), func(x Responder) bool { return x.Server.String() == server })
	}
	from := func(ip string, sport, dport uint16) []byte {
		return offer(func(r *reply) { r.from, r.sport, r.dport, r.options = ip, sport, dport, []byte{53, 1, 2} })
	}
	until(t, "the bridge to forward", func() bool {
		r.fromClient(t, everyone, from("192.0.2.201", 67, 68))
		return heard("192.0.2.201")
	})
	r.fromClient(t, net.HardwareAddr{2, 0, 0, 0, 0, 0x99}, from("192.0.2.202", 67, 68)) // to another host
	r.fromClient(t, everyone, from("192.0.2.203", 68, 67))                              // a client's
	r.fromClient(t, everyone, from("192.0.2.204", 53, 53))                              // other traffic
	own, err := net.DialUDP("udp4", &net.UDPAddr{IP: net.IPv4(192, 0, 2, 2), Port: 67}, &net.UDPAddr{IP: net.IPv4(192, 0, 2, 255), Port: 68})
	must(t, err)
	defer func() { _ = own.Close() }()
	_, err = own.Write(offer(proxied)[28:])
	must(t, err)
	r.fromClient(t, everyone, from("192.0.2.205", 67, 68))
	until(t, "the last packet", func() bool { return heard("192.0.2.205") })
	if st := s.Stats(); st.Malformed != 0 || st.Own != 0 {
		t.Errorf("taken in as well: %+v", st)
	}
	if list := s.Responders(); len(list) != 2 || list[1].MAC != clientMAC {
		t.Errorf("heard %+v", list)
	}
}

func TestSentinelFollowsRealInterfaces(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	r := newRig(t)
	here, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	must(t, err)
	defer here.Close()
	eth0, err := here.LinkByName("eth0")
	must(t, err)
	w := NewWatcher(Selection{}, func(boot.Event) {})
	task(t, w)
	s := NewSentinel(SentinelConfig{Watcher: w, Sink: func(boot.Event) {}})
	task(t, s) // nothing is up yet
	n := 0
	hears := func(ifname string) {
		t.Helper()
		n++
		from := fmt.Sprintf("198.51.100.%d", n)
		until(t, "a reply heard on "+ifname, func() bool {
			r.fromClient(t, everyone, offer(func(r *reply) { r.from, r.options = from, []byte{53, 1, 2} }))
			for _, x := range s.Responders() {
				if x.Server.String() == from && (x.Interface == ifname || ifname == "any") {
					return true
				}
			}
			return false
		})
	}
	must(t, here.LinkSetUp(eth0))
	hears("eth0")
	must(t, here.LinkSetDown(eth0))
	until(t, "eth0 down", func() bool { i, _ := named(w, "eth0"); return !i.Up })
	must(t, here.LinkSetUp(eth0))
	hears("eth0")
	must(t, here.LinkSetName(eth0, "lan0"))
	hears("lan0")
	must(t, here.LinkDel(eth0))
	until(t, "lan0 gone", func() bool { return len(w.Snapshot()) == 1 })
	r.plug(t, here, nil, "eth1", boxMAC, "p2")
	eth1, err := here.LinkByName("eth1")
	must(t, err)
	must(t, here.LinkSetUp(eth1))
	hears("eth1")
	for _, p := range s.Problems() {
		// The replies came from another server each time.
		if p.Reason != boot.ReasonRogueDHCP {
			t.Errorf("problem %v", p)
		}
	}
}

func TestOpenPacketNeedsPermission(t *testing.T) {
	done := make(chan error)
	go func() {
		// Never unlocked: the thread that gave up its rights ends here.
		runtime.LockOSThread()
		if os.Geteuid() == 0 {
			if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, 65534, 65534, 65534); e != 0 {
				done <- e
				return
			}
		}
		c, err := openPacket(Interface{Index: 1, Name: "lo"})
		if err == nil {
			err = c.Close()
		}
		done <- err
	}()
	if err := <-done; !errors.Is(err, fs.ErrPermission) {
		t.Errorf("got %v", err)
	}
}

// standing makes the rig's eth0 ready and returns a running watcher and sentinel
// on it.
func (r *rig) standing(t *testing.T, here *netlink.Handle, c SentinelConfig) (*Sentinel, *sink) {
	t.Helper()
	eth0, err := here.LinkByName("eth0")
	must(t, err)
	must(t, here.LinkSetUp(eth0))
	setAddr(t, here, "eth0", "192.0.2.2/24")
	events := &sink{}
	w := NewWatcher(Selection{}, events.add)
	task(t, w)
	until(t, "eth0 up", func() bool { i, _ := named(w, "eth0"); return i.Up && len(i.Addrs) > 0 })
	c.Watcher, c.Sink = w, events.add
	s := NewSentinel(c)
	task(t, s)
	return s, events
}

// ask probes until somebody answers: the bridge begins to forward some time
// after eth0 is up. The pause between two questions is left out.
func ask(t *testing.T, s *Sentinel) boot.LANProbe {
	t.Helper()
	var list []boot.LANProbe
	until(t, "an answer to a question", func() bool {
		s.mu.Lock()
		s.probed = time.Time{}
		s.mu.Unlock()
		var err error
		list, err = s.Probe(t.Context())
		must(t, err)
		return len(list) == 1 && len(list[0].Answers) > 0
	})
	return list[0]
}

// TestProbeFindsRealServers asks a real DHCP server and a real boot server.
func TestProbeFindsRealServers(t *testing.T) {
	if !inNamespace(t, "dnsmasq") {
		return
	}
	r := newRig(t)
	here, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	must(t, err)
	defer here.Close()
	log := r.dnsmasq(t, "--dhcp-range=192.0.2.100,192.0.2.100,1h", "--dhcp-option-force=60,PXEClient", "--log-dhcp")
	s, events := r.standing(t, here, SentinelConfig{})
	p := ask(t, s)
	if p.Interface != "eth0" || p.Err != "" || len(p.Answers) != 1 || p.Answers[0].String() != "192.0.2.1" {
		t.Errorf("%+v", p)
	}
	l := s.LAN(time.Now())
	if len(l.Servers) != 1 || !l.Servers[0].Asked || !l.Servers[0].Expected || !slices.Equal(l.Servers[0].Findings, []boot.Reason{boot.ReasonOption60}) {
		t.Errorf("%+v", l.Servers)
	}
	for _, e := range events.take() {
		if e.Kind == boot.KindForeign {
			t.Errorf("the box's own question became somebody's boot: %+v", e)
		}
	}
	// Nothing was taken: the only address goes to the next client.
	text := log.String()
	if !strings.Contains(text, "DHCPDISCOVER(br0) "+boxMAC) || !strings.Contains(text, "user class: "+ProbeClass) ||
		strings.Contains(text, "DHCPREQUEST") || strings.Contains(text, "DHCPACK") {
		t.Errorf("the server saw:\n%s", text)
	}
}

// TestSentinelSeesTheSwitchAndAnImpostor uses real frames on a real wire.
func TestSentinelSeesTheSwitchAndAnImpostor(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	r := newRig(t)
	here, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	must(t, err)
	defer here.Close()
	s, events := r.standing(t, here, SentinelConfig{})
	frame := func(space *otherSpace, ifname string, to net.HardwareAddr, protocol uint16, data []byte) {
		t.Helper()
		var err error
		space.do(func() {
			var fd int
			if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
				return
			}
			defer func() { _ = unix.Close(fd) }()
			var i *net.Interface
			if i, err = net.InterfaceByName(ifname); err != nil {
				return
			}
			sa := &unix.SockaddrLinklayer{Protocol: protocol>>8 | protocol<<8, Ifindex: i.Index, Halen: 6}
			copy(sa.Addr[:], to)
			err = unix.Sendto(fd, data, 0, sa)
		})
		must(t, err)
	}
	port := func() boot.LANPort {
		l := s.LAN(time.Now())
		i := slices.IndexFunc(l.Ports, func(p boot.LANPort) bool { return p.Name == "eth0" })
		return l.Ports[i]
	}
	// The switch speaks on its own port; the group address is not forwarded.
	until(t, "the switch", func() bool {
		frame(r.site, "p0", lldpGroups[0], ethertypeLLDP, fromSwitch())
		return port().Neighbour != nil
	})
	if n := port().Neighbour; n.System != "sw-3.example" || n.Port != "GigabitEthernet1/0/12" {
		t.Errorf("%+v", n)
	}
	if p := port(); p.UpSince.IsZero() || p.MAC != boxMAC {
		t.Errorf("%+v", p)
	}
	l, err := here.LinkByName("eth0")
	must(t, err)
	if l.Attrs().Promisc != 0 {
		t.Error("listening to the switch made the interface promiscuous")
	}

	// Another station claims our address; others claim theirs.
	until(t, "the impostor", func() bool {
		frame(r.client, "c0", everyone, unix.ETH_P_ARP, arp(1, [6]byte{2, 0, 0, 0, 0, 0x77}, "192.0.2.3", "192.0.2.1")[:28])
		frame(r.client, "c0", everyone, unix.ETH_P_ARP, arp(1, [6]byte{2, 0, 0, 0, 0, 0x77}, "192.0.2.2", "192.0.2.2")[:28])
		return len(s.LAN(time.Now()).Conflicts) > 0
	})
	if c := s.LAN(time.Now()).Conflicts; len(c) != 1 || c[0].MAC != clientMAC || c[0].Addr.String() != "192.0.2.2" || c[0].Interface != "eth0" {
		t.Errorf("%+v", c)
	}
	warned := 0
	for _, e := range events.take() {
		if e.Reason == boot.ReasonDuplicateAddress {
			warned++
		}
	}
	if warned != 1 {
		t.Errorf("warned %d times", warned)
	}
}

// TestWatcherSeesTheRouterChange changes a real route.
func TestWatcherSeesTheRouterChange(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	r := newRig(t)
	here, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	must(t, err)
	defer here.Close()
	s, events := r.standing(t, here, SentinelConfig{})
	eth0, err := here.LinkByName("eth0")
	must(t, err)
	gateways := func() (out []string) {
		for _, g := range s.LAN(time.Now()).Gateways {
			out = append(out, g.Interface+" "+g.Addr.String())
		}
		return out
	}
	for n, gw := range []string{"192.0.2.1", "192.0.2.254"} {
		must(t, here.RouteReplace(&netlink.Route{LinkIndex: eth0.Attrs().Index, Gw: net.ParseIP(gw)}))
		until(t, "the router "+gw, func() bool { return len(gateways()) == n+1 })
	}
	if got := strings.Join(gateways(), ", "); got != "eth0 192.0.2.1, eth0 192.0.2.254" {
		t.Errorf("routers %s", got)
	}
	var texts []string
	until(t, "the warning", func() bool {
		for _, e := range events.take() {
			if e.Reason == boot.ReasonGatewayChanged {
				texts = append(texts, e.Text)
			}
		}
		return len(texts) > 0
	})
	if len(texts) != 1 || texts[0] != "The router of eth0 is 192.0.2.254 now, instead of 192.0.2.1." {
		t.Errorf("told %q", texts)
	}
	// The hardware address, once the kernel has it.
	hw, err := net.ParseMAC("02:00:00:00:00:fe")
	must(t, err)
	must(t, here.NeighSet(&netlink.Neigh{
		LinkIndex: eth0.Attrs().Index, State: netlink.NUD_REACHABLE, IP: net.ParseIP("192.0.2.254"), HardwareAddr: hw,
	}))
	routes, err := (rtnetlink{}).routes()
	must(t, err)
	if len(routes) != 1 || routes[0].mac != "02:00:00:00:00:fe" || routes[0].addr.String() != "192.0.2.254" {
		t.Errorf("%+v", routes)
	}
}
