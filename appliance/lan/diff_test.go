package lan

import (
	"fmt"
	"net"
	"testing"

	"github.com/bootpuck/bootpuck/appliance/boot"
	"github.com/google/go-cmp/cmp"
)

func TestDiff(t *testing.T) {
	all, named := Selection{}, func(names ...string) Selection { return Selection{Names: names} }
	eth0 := nic(2, "eth0")
	at := func(sel Selection, addrs []address, links ...link) Picture { return judge(state{links, addrs}, sel) }
	well := at(all, on(2, "192.0.2.2/24"), eth0)
	type event struct {
		Reason boot.Reason
		Iface  string
		Text   string
	}
	for _, tt := range []struct {
		name          string
		before, after Picture
		want          []event
	}{
		{"nothing looked at", Picture{}, Picture{}, nil},
		{"nothing changed", well, at(all, on(2, "192.0.2.2/24"), eth0), nil},
		{"first look", Picture{}, well, []event{{"", "eth0", "eth0 found: link up, 192.0.2.2/24."}}},
		{"first look, no address", Picture{}, at(all, nil, eth0), []event{
			{boot.ReasonNoAddress, "eth0", "eth0 found: link up; no IPv4 address yet; it is served as soon as it has one."},
		}},
		{"first look, unplugged", Picture{}, at(all, nil, nic(2, "eth0", down)), []event{
			{"", "eth0", "eth0 found: no link."},
			{boot.ReasonLinkDown, "", "No served interface has a link. Check cable and switch port."},
		}},
		{"first look, no interface at all", Picture{}, at(all, nil, nic(1, "lo", loopback)), []event{
			{boot.ReasonLinkDown, "", "There is no network interface to serve."},
		}},
		{"first look, named one missing", Picture{}, at(named("eth9"), nil, eth0), []event{
			{boot.ReasonNoInterface, "eth9", `Interface "eth9" does not exist; it is served as soon as it appears.`},
			{boot.ReasonLinkDown, "", "There is no network interface to serve."},
		}},
		{"still missing", at(named("eth9"), nil, eth0), at(named("eth9"), nil, eth0, nic(3, "eth1")), nil},
		{"missing one appears", at(named("eth9"), nil), at(named("eth9"), on(9, "192.0.2.9/24"), nic(9, "eth9")), []event{
			{"", "eth9", "eth9 found: link up, 192.0.2.9/24."},
		}},
		{"named one is removed", at(named("eth0"), nil, eth0), at(named("eth0"), nil), []event{
			{"", "eth0", "eth0 is gone."},
			{boot.ReasonNoInterface, "eth0", `Interface "eth0" does not exist; it is served as soon as it appears.`},
			{boot.ReasonLinkDown, "", "There is no network interface to serve."},
		}},
		{"removed and created again under its name", well, at(all, on(5, "192.0.2.2/24"), nic(5, "eth0")), []event{
			{"", "eth0", "eth0 found: link up, 192.0.2.2/24."}, {"", "eth0", "eth0 is gone."},
		}},
		{"renamed", well, at(all, on(2, "192.0.2.2/24"), nic(2, "lan0")), []event{{"", "lan0", "lan0 is the new name of eth0."}}},
		{"renamed away from its name", at(named("eth0"), on(2, "192.0.2.2/24"), eth0), at(named("eth0"), on(2, "192.0.2.2/24"), nic(2, "lan0")), []event{
			{"", "lan0", "lan0 is no longer served: not among the interfaces named by -interface."},
			{boot.ReasonNoInterface, "eth0", `Interface "eth0" does not exist; it is served as soon as it appears.`},
			{boot.ReasonLinkDown, "", "There is no network interface to serve."},
		}},
		{"link down", well, at(all, on(2, "192.0.2.2/24"), nic(2, "eth0", down)), []event{
			{"", "eth0", "eth0: link down."},
			{boot.ReasonLinkDown, "", "No served interface has a link. Check cable and switch port."},
		}},
		{"link down on one of two", at(all, nil, nic(2, "eth0", down), nic(3, "eth1")), at(all, nil, nic(2, "eth0", down), nic(3, "eth1", down)), []event{
			{"", "eth1", "eth1: link down."},
			{boot.ReasonLinkDown, "", "No served interface has a link. Check cable and switch port."},
		}},
		{"link up", at(all, on(2, "192.0.2.2/24"), nic(2, "eth0", down)), well, []event{{"", "eth0", "eth0: link up."}}},
		{"link up, no address", at(all, nil, nic(2, "eth0", down)), at(all, nil, eth0), []event{
			{boot.ReasonNoAddress, "eth0", "eth0: link up; no IPv4 address yet; it is served as soon as it has one."},
		}},
		{"address arrives", at(all, nil, eth0), well, []event{{"", "eth0", "eth0 has 192.0.2.2/24."}}},
		{"still waiting", at(all, nil, eth0), at(all, on(2, "fe80::1/64"), eth0), nil},
		{"address lost", well, at(all, nil, eth0), []event{
			{boot.ReasonNoAddress, "eth0", "eth0 lost 192.0.2.2/24; no IPv4 address yet; it is served as soon as it has one."},
		}},
		{"address changed", well, at(all, on(2, "192.0.2.7/24"), eth0), []event{
			{"", "eth0", "eth0 lost 192.0.2.2/24."},
			{"", "eth0", "eth0 has 192.0.2.7/24."},
			{"", "eth0", "eth0: answers now come from 192.0.2.7 instead of 192.0.2.2."},
		}},
		{"second address", well, at(all, on(2, "192.0.2.2/24", "198.51.100.2/24"), eth0), []event{{"", "eth0", "eth0 has 198.51.100.2/24."}}},
		{"order of addresses changed", at(all, on(2, "192.0.2.2/24", "198.51.100.2/24"), eth0), at(all, on(2, "198.51.100.2/24", "192.0.2.2/24"), eth0), []event{
			{"", "eth0", "eth0: answers now come from 198.51.100.2 instead of 192.0.2.2."},
		}},
		{"many addresses", at(all, nil, eth0), at(all, on(2, "10.0.0.1/8", "10.0.0.2/8", "10.0.0.3/8", "10.0.0.4/8", "10.0.0.5/8", "10.0.0.6/8"), eth0), []event{
			{"", "eth0", "eth0 has 10.0.0.1/8, 10.0.0.2/8, 10.0.0.3/8, 10.0.0.4/8, and 2 more."},
		}},
		{"hardware address and MTU", well, at(all, on(2, "192.0.2.2/24"), nic(2, "eth0", func(l *link) {
			l.mtu, l.mac = 9000, net.HardwareAddr{2, 0, 0, 0, 0, 9}
		})), []event{
			{"", "eth0", "eth0: hardware address changed from 02:00:00:00:00:02 to 02:00:00:00:00:09."},
			{"", "eth0", "eth0: MTU changed from 1500 to 9000."},
		}},
		{"put into a bridge", well, at(all, on(4, "192.0.2.2/24"), nic(2, "eth0", portOf(4)), nic(4, "br0", kind("bridge"))), []event{
			{"", "eth0", "eth0 is no longer served: a port of br0."}, {"", "br0", "br0 found: link up, 192.0.2.2/24."},
		}},
		{"taken out of a bridge", at(all, nil, nic(2, "eth0", portOf(4)), nic(4, "br0", kind("bridge"), down)), at(all, nil, eth0, nic(4, "br0", kind("bridge"), down)), []event{
			{boot.ReasonNoAddress, "eth0", "eth0 is served from now on: link up; no IPv4 address yet; it is served as soon as it has one."},
		}},
		{"MTU while waiting", at(all, nil, eth0), at(all, nil, nic(2, "eth0", func(l *link) { l.mtu = 9000 })), []event{
			{"", "eth0", "eth0: MTU changed from 1500 to 9000."},
		}},
		{"a container comes", well, at(all, on(2, "192.0.2.2/24"), eth0, nic(7, "wg0", tunnel)), nil},
		{"a container changes", at(all, on(2, "192.0.2.2/24"), eth0, nic(7, "wg0", tunnel)), at(all, on(2, "192.0.2.2/24"), eth0, nic(7, "wg1", tunnel, down)), nil},
		{"a container goes", at(all, on(2, "192.0.2.2/24"), eth0, nic(7, "wg0", tunnel)), well, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []event
			for _, e := range Diff(tt.before, tt.after) {
				if e.Kind != boot.KindNetwork || !e.Time.IsZero() {
					t.Errorf("kind %q, time %v", e.Kind, e.Time)
				}
				got = append(got, event{e.Reason, e.Interface, e.Text})
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestDiffTellsOfOmittedInterfacesOnce(t *testing.T) {
	crowd := func(n int) Picture {
		var s state
		for k := range n {
			s.links = append(s.links, nic(k+1, fmt.Sprintf("veth%d", k), portOf(9999)))
			s.links[k].broadcast = false
		}
		return judge(s, Selection{})
	}
	before, after := crowd(10), crowd(70)
	if got := Diff(before, after); len(got) != 1 || got[0].Text != "This machine has more than 64 network interfaces; 6 that matter least are left out." {
		t.Errorf("got %+v", got)
	}
	if got := Diff(after, crowd(71)); len(got) != 0 {
		t.Errorf("told again: %+v", got)
	}
}
