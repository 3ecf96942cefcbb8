package lan

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/bootpuck/bootpuck/appliance/boot"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var comparePrefixes = cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })

func nic(index int, name string, more ...func(*link)) link {
	l := link{
		index: index, name: name, kind: "device", mac: net.HardwareAddr{2, 0, 0, 0, 0, byte(index)},
		mtu: 1500, up: true, broadcast: true,
	}
	for _, f := range more {
		f(&l)
	}
	return l
}

func down(l *link)                 { l.up = false }
func loopback(l *link)             { l.loopback, l.broadcast, l.mac = true, false, nil }
func tunnel(l *link)               { l.pointToPoint, l.broadcast = true, false }
func noBroadcast(l *link)          { l.broadcast = false }
func kind(k string) func(*link)    { return func(l *link) { l.kind = k } }
func portOf(index int) func(*link) { return func(l *link) { l.master = index } }
func also(n ...string) func(*link) { return func(l *link) { l.altNames = n } }

func on(index int, prefixes ...string) []address {
	var out []address
	for _, p := range prefixes {
		out = append(out, address{index, netip.MustParsePrefix(p)})
	}
	return out
}

func TestServed(t *testing.T) {
	links := []link{
		nic(1, "lo", loopback), nic(2, "eth0", also("enp3s0")), nic(3, "eth1", down), nic(4, "wg0", tunnel),
		nic(5, "ib0", noBroadcast), nic(6, "br0", kind("bridge")), nic(7, "eth2", portOf(6)),
		nic(8, "veth1", kind("veth"), portOf(6)), nic(9, "red", kind("vrf")), nic(10, "eth3", portOf(9)),
		nic(11, "bond0", kind("bond")), nic(12, "eth4", portOf(11)), nic(13, "docker0", kind("bridge")),
		nic(14, "eth5", portOf(99)), // its bridge is in another namespace
	}
	for _, tt := range []struct {
		name    string
		sel     Selection
		want    string
		missing string
	}{
		{"default", Selection{}, "eth0 eth1 br0 red eth3 bond0 docker0 eth5", ""},
		{"named", Selection{Names: []string{"eth1"}}, "eth1", ""},
		{"alternative name", Selection{Names: []string{"enp3s0"}}, "eth0", ""},
		{"loopback by name", Selection{Names: []string{"lo", "eth0"}}, "lo eth0", ""},
		{"bridge port by name", Selection{Names: []string{"eth2"}}, "eth2", ""},
		{"tunnel by name", Selection{Names: []string{"wg0"}}, "wg0", ""},
		{"absent", Selection{Names: []string{"eth9", "eth0", "eth9", "eth8"}}, "eth0", "eth9 eth8"},
		{"only absent", Selection{Names: []string{"eth9"}}, "", "eth9"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := judge(state{links: links}, tt.sel)
			var served []string
			for _, i := range p.Interfaces {
				if i.Served {
					served = append(served, i.Name)
				}
				if i.Served == (i.Unserved != "") {
					t.Errorf("%s: served %v, but unserved because %q", i.Name, i.Served, i.Unserved)
				}
			}
			if got := strings.Join(served, " "); got != tt.want {
				t.Errorf("served %q, want %q", got, tt.want)
			}
			if got := strings.Join(p.Missing, " "); got != tt.missing {
				t.Errorf("missing %q, want %q", got, tt.missing)
			}
		})
	}
}

func TestUnserved(t *testing.T) {
	links := []link{
		nic(1, "lo", loopback), nic(2, "eth0"), nic(4, "wg0", tunnel), nic(5, "can0", noBroadcast),
		nic(6, "br0", kind("bridge")), nic(7, "eth2", portOf(6)),
	}
	for _, tt := range []struct {
		sel  Selection
		want []string
	}{
		{Selection{}, []string{"loopback; name it with -interface to serve it", "", "a point-to-point link", "it cannot broadcast", "", "a port of br0"}},
		{Selection{Names: []string{"eth0"}}, []string{
			"not among the interfaces named by -interface", "", "not among the interfaces named by -interface",
			"not among the interfaces named by -interface", "not among the interfaces named by -interface",
			"not among the interfaces named by -interface",
		}},
	} {
		var got []string
		for _, i := range judge(state{links: links}, tt.sel).Interfaces {
			got = append(got, i.Unserved)
		}
		if d := cmp.Diff(tt.want, got); d != "" {
			t.Errorf("%v: %s", tt.sel.Names, d)
		}
	}
}

func TestJudgeKeepsTheKernelsOrder(t *testing.T) {
	s := state{links: []link{nic(3, "eth1"), nic(2, "eth0")}}
	s.addrs = append(s.addrs, on(2, "198.51.100.9/24", "fe80::1/64")...)
	s.addrs = append(s.addrs, on(3, "192.0.2.2/24")...)
	s.addrs = append(s.addrs, on(2, "10.0.0.1/8", "2001:db8::1/64")...)
	s.addrs = append(s.addrs, on(99, "10.9.9.9/8")...) // of an interface that is gone meanwhile
	got := judge(s, Selection{Sources: map[string]netip.Addr{
		"eth0": netip.MustParseAddr("10.0.0.1"), "eth1": netip.MustParseAddr("192.0.2.77"),
	}})
	want := []Interface{
		{
			Index: 2, Name: "eth0", MAC: net.HardwareAddr{2, 0, 0, 0, 0, 2}, MTU: 1500, Up: true, Served: true,
			Addrs:     []netip.Prefix{netip.MustParsePrefix("198.51.100.9/24"), netip.MustParsePrefix("10.0.0.1/8")},
			Addrs6:    []netip.Prefix{netip.MustParsePrefix("fe80::1/64"), netip.MustParsePrefix("2001:db8::1/64")},
			Preferred: netip.MustParseAddr("10.0.0.1"),
		},
		{
			Index: 3, Name: "eth1", MAC: net.HardwareAddr{2, 0, 0, 0, 0, 3}, MTU: 1500, Up: true, Served: true,
			Addrs: []netip.Prefix{netip.MustParsePrefix("192.0.2.2/24")},
		},
	}
	if d := cmp.Diff(want, got.Interfaces, comparePrefixes, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
		t.Error(d)
	}
}

func TestJudgeIsBounded(t *testing.T) {
	var s state
	for n := range 500 { // a container host: ports of a bridge come and go
		s.links = append(s.links, nic(1000+n, fmt.Sprintf("veth%d", n), kind("veth"), portOf(2000)))
	}
	s.links = append(s.links, nic(2000, "br0", kind("bridge")), nic(2001, "eth0"), nic(2002, "wg0", tunnel))
	for n := range 300 {
		s.addrs = append(s.addrs, address{2001, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}), 8)})
	}
	s.addrs = append(s.addrs, on(2002, "10.1.1.1/32")...)
	p := judge(s, Selection{})
	if len(p.Interfaces) != MaxInterfaces || p.Omitted != 503-MaxInterfaces {
		t.Errorf("%d interfaces, %d omitted", len(p.Interfaces), p.Omitted)
	}
	kept := map[string]Interface{}
	for _, i := range p.Interfaces {
		kept[i.Name] = i
	}
	for _, name := range []string{"br0", "eth0", "wg0"} {
		if _, ok := kept[name]; !ok {
			t.Errorf("%s was left out in favour of container links", name)
		}
	}
	if n := len(kept["eth0"].Addrs); n != MaxAddresses {
		t.Errorf("%d addresses kept", n)
	}
	names := make([]string, 200)
	for n := range names {
		names[n] = fmt.Sprintf("x%d", n)
	}
	if p := judge(s, Selection{Names: names}); len(p.Missing) != maxNames {
		t.Errorf("%d missing names", len(p.Missing))
	}
}

func TestAddressFor(t *testing.T) {
	iface := func(prefixes ...string) Interface {
		return judge(state{links: []link{nic(2, "eth0")}, addrs: on(2, prefixes...)}, Selection{}).Interfaces[0]
	}
	preferring := func(a string, i Interface) Interface {
		i.Preferred = netip.MustParseAddr(a)
		return i
	}
	for _, tt := range []struct {
		name  string
		iface Interface
		peer  string // "" is the zero address
		want  string // "" is none
	}{
		{"no address", iface(), "192.0.2.50", ""},
		{"only IPv6", iface("2001:db8::1/64"), "", ""},
		{"first", iface("192.0.2.2/24", "198.51.100.2/24"), "", "192.0.2.2"},
		{"unspecified peer", iface("192.0.2.2/24", "198.51.100.2/24"), "0.0.0.0", "192.0.2.2"},
		{"same network as the peer", iface("192.0.2.2/24", "198.51.100.2/24"), "198.51.100.7", "198.51.100.2"},
		{"mapped peer", iface("192.0.2.2/24", "198.51.100.2/24"), "::ffff:198.51.100.7", "198.51.100.2"},
		{"narrowest network", iface("10.0.0.1/8", "10.1.0.1/16", "10.1.2.1/30"), "10.1.9.9", "10.1.0.1"},
		{"peer elsewhere", iface("192.0.2.2/24", "198.51.100.2/24"), "203.0.113.1", "192.0.2.2"},
		{"global before link-local", iface("169.254.3.4/16", "192.0.2.2/24"), "", "192.0.2.2"},
		{"link-local peer", iface("192.0.2.2/24", "169.254.3.4/16"), "169.254.9.9", "169.254.3.4"},
		{"only link-local", iface("169.254.3.4/16"), "203.0.113.1", "169.254.3.4"},
		{"only loopback", iface("127.0.0.1/8"), "", "127.0.0.1"},
		{"configured", preferring("192.0.2.9", iface("192.0.2.2/24", "192.0.2.9/24")), "192.0.2.50", "192.0.2.9"},
		{"configured, peer elsewhere", preferring("192.0.2.9", iface("198.51.100.2/24", "192.0.2.9/24")), "198.51.100.7", "192.0.2.9"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var peer netip.Addr
			if tt.peer != "" {
				peer = netip.MustParseAddr(tt.peer)
			}
			got, ok := AddressFor(tt.iface, peer)
			if ok != (tt.want != "") || ok && got.String() != tt.want {
				t.Errorf("got %v, %v; want %q", got, ok, tt.want)
			}
		})
	}
}

func TestProblems(t *testing.T) {
	for _, tt := range []struct {
		name string
		p    Picture
		want []boot.Reason
	}{
		{"not looked yet", Picture{}, []boot.Reason{boot.ReasonStarting}},
		{"no interface", judge(state{}, Selection{}), []boot.Reason{boot.ReasonLinkDown}},
		{"well", judge(state{[]link{nic(2, "eth0"), nic(3, "eth1", down)}, on(2, "192.0.2.2/24")}, Selection{}), nil},
		{"unplugged", judge(state{[]link{nic(2, "eth0", down)}, on(2, "192.0.2.2/24")}, Selection{}), []boot.Reason{boot.ReasonLinkDown}},
		{"no address", judge(state{[]link{nic(2, "eth0")}, nil}, Selection{}), []boot.Reason{boot.ReasonNoAddress}},
		{"no address on the second", judge(state{[]link{nic(2, "eth0"), nic(3, "eth1")}, on(2, "192.0.2.2/24")}, Selection{}), []boot.Reason{boot.ReasonNoAddress}},
		{"unserved without address", judge(state{[]link{nic(2, "eth0"), nic(3, "eth1")}, on(2, "192.0.2.2/24")}, Selection{Names: []string{"eth0"}}), nil},
		{"missing", judge(state{[]link{nic(2, "eth0")}, on(2, "192.0.2.2/24")}, Selection{Names: []string{"eth0", "eth9"}}), []boot.Reason{boot.ReasonNoInterface}},
		{"only missing", judge(state{[]link{nic(2, "eth0")}, on(2, "192.0.2.2/24")}, Selection{Names: []string{"eth9"}}), []boot.Reason{boot.ReasonLinkDown, boot.ReasonNoInterface}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []boot.Reason
			for _, p := range tt.p.Problems() {
				got = append(got, p.Reason)
				if !strings.HasSuffix(p.Text, ".") {
					t.Errorf("not a sentence: %q", p.Text)
				}
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}
