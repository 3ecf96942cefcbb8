package lan

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/bpf"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// arp is an ARP packet of mac, who says that it has addr.
func arp(op byte, mac [6]byte, addr, target string) []byte {
	b := make([]byte, 46) // with the frame's padding
	copy(b, []byte{0, 1, 8, 0, 6, 4, 0, op})
	copy(b[8:], mac[:])
	copy(b[14:], netip.MustParseAddr(addr).AsSlice())
	copy(b[24:], netip.MustParseAddr(target).AsSlice())
	return b
}

var strangerMAC = [6]byte{2, 0, 0, 0, 0, 0x66}

func TestParseARP(t *testing.T) {
	for _, op := range []byte{1, 2} {
		mac, addr, err := parseARP(arp(op, strangerMAC, "192.0.2.2", "192.0.2.1"))
		if err != nil || mac != "02:00:00:00:00:66" || addr.String() != "192.0.2.2" {
			t.Errorf("%s %s %v", mac, addr, err)
		}
	}
	good := arp(1, strangerMAC, "192.0.2.2", "192.0.2.1")
	for name, b := range map[string][]byte{
		"nothing": nil, "short": good[:27], "token ring": with(good, 1, 6), "IPX": with(good, 2, 0x81, 0x37),
		"hardware length": with(good, 4, 8), "address length": with(good, 5, 16), "reverse": with(good, 7, 3),
		"a question whether it is free": arp(1, strangerMAC, "0.0.0.0", "192.0.2.2"),
	} {
		if _, _, err := parseARP(b); !errors.Is(err, errARP) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestClaimsFilter(t *testing.T) {
	var own []netip.Prefix
	for _, a := range on(2, "192.0.2.2/24", "10.0.0.2/8", "198.51.100.2/24") {
		own = append(own, a.prefix)
	}
	many := make([]netip.Prefix, 200)
	for i := range many {
		many[i] = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 1, 0, byte(i)}), 24)
	}
	for _, tt := range []struct {
		addrs []netip.Prefix
		claim string
		pass  bool
	}{
		{own, "192.0.2.2", true},
		{own, "10.0.0.2", true},
		{own, "198.51.100.2", true},
		{own, "192.0.2.3", false},
		{own, "0.0.0.0", false},
		{nil, "192.0.2.2", false},
		{many, "10.1.0.0", true},
		{many, fmt.Sprintf("10.1.0.%d", maxClaims-1), true},
		{many, fmt.Sprintf("10.1.0.%d", maxClaims), false}, // beyond what is watched
	} {
		vm, err := bpf.NewVM(claims(tt.addrs))
		if err != nil {
			t.Fatal(err)
		}
		n, err := vm.Run(arp(1, strangerMAC, tt.claim, "192.0.2.99"))
		if err != nil || (n > 0) != tt.pass {
			t.Errorf("%s: %d, %v", tt.claim, n, err)
		}
		if n, err := vm.Run([]byte{0, 1}); err != nil || n != 0 {
			t.Errorf("cut short: %d, %v", n, err)
		}
	}
}

func TestConflicts(t *testing.T) {
	var c conflicts
	a := netip.MustParseAddr("192.0.2.2")
	at := func(d time.Duration) time.Time { return epoch.Add(d) }
	warned := 0
	for n := range 60 { // every 20 s for 20 minutes
		if c.claim("eth0", a, "02:00:00:00:00:66", at(time.Duration(n)*20*time.Second)) {
			warned++
		}
	}
	last := 59 * 20 * time.Second
	want := []boot.LANConflict{{Interface: "eth0", Addr: a, MAC: "02:00:00:00:00:66", First: epoch, Last: at(last)}}
	if d := cmp.Diff(want, c.current(at(last+conflictFor-1)), compareAddrs); d != "" || warned != 2 {
		t.Errorf("%d warnings %s", warned, d)
	}
	if got := c.current(at(last + conflictFor)); got != nil {
		t.Errorf("still there: %v", got)
	}
	// Later it begins anew.
	c.claim("eth0", a, "02:00:00:00:00:66", at(3*time.Hour))
	if got := c.current(at(3 * time.Hour)); len(got) != 1 || !got[0].First.Equal(at(3*time.Hour)) {
		t.Errorf("%v", got)
	}
	for i := range 1000 { // forged
		c.claim("eth0", a, boot.MAC(fmt.Sprint(i)), at(4*time.Hour))
	}
	if len(c.list) != boot.MaxLANConflicts || len(c.warned) > boot.MaxLANConflicts {
		t.Errorf("%d kept, %d warnings remembered", len(c.list), len(c.warned))
	}
}

func TestSentinelSeesTwoUseOneAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		links := []link{nic(2, "eth0"), nic(3, "eth1")}
		st := newStand(t, state{links, on(2, "192.0.2.2/24")})
		defer st.start(t)()
		<-st.sentinel.Ready()
		eth0 := st.arp.get("eth0")
		if eth0 == nil || st.arp.get("eth1") != nil {
			t.Fatal("ARP is to be heard where there is an address, and only there")
		}
		eth0.packets <- arp(1, [6]byte{2, 0, 0, 0, 0, 2}, "192.0.2.2", "192.0.2.1") // our own, come back
		eth0.packets <- arp(1, [6]byte{2, 0, 0, 0, 0, 3}, "192.0.2.2", "192.0.2.1") // our other card
		eth0.packets <- arp(1, strangerMAC, "192.0.2.3", "192.0.2.2")
		eth0.packets <- []byte("garbage")
		synctest.Wait()
		if e := st.events.take(); len(e) != 0 || st.sentinel.LAN(time.Now()).Conflicts != nil || st.sentinel.Stats().Malformed != 1 {
			t.Errorf("told %v", told(e))
		}
		eth0.packets <- arp(2, strangerMAC, "192.0.2.2", "192.0.2.1")
		eth0.packets <- arp(2, strangerMAC, "192.0.2.2", "192.0.2.1")
		synctest.Wait()
		const text = "The station 02:00:00:00:00:66 uses 192.0.2.2 on eth0, which is an address of this box."
		if d := cmp.Diff([]string{"warning duplicate_address: " + text}, told(st.events.take())); d != "" {
			t.Error(d)
		}
		l := st.sentinel.LAN(time.Now())
		if len(l.Conflicts) != 1 || l.Conflicts[0].MAC != "02:00:00:00:00:66" {
			t.Errorf("%+v", l.Conflicts)
		}
		if p := st.sentinel.Problems(); len(p) != 1 || p[0].Reason != boot.ReasonDuplicateAddress || p[0].Text != text {
			t.Errorf("%v", p)
		}
		// The card gets another hardware address: what it had is still ours.
		st.set(state{[]link{nic(2, "eth0", func(l *link) { l.mac = []byte{2, 0, 0, 0, 9, 9} }), nic(3, "eth1")}, on(2, "192.0.2.2/24")})
		st.events.take()
		st.arp.get("eth0").packets <- arp(1, [6]byte{2, 0, 0, 0, 0, 2}, "192.0.2.2", "192.0.2.1")
		synctest.Wait()
		if e := st.events.take(); len(e) != 0 {
			t.Errorf("told %v", told(e))
		}
		// Another address: the filter is made anew, the DHCP socket stays.
		opened, arps := st.sockets.n, st.arp.n
		st.set(state{links, on(2, "192.0.2.7/24")})
		if st.sockets.n != opened || st.arp.n != arps+1 {
			t.Errorf("%d DHCP and %d ARP sockets opened", st.sockets.n-opened, st.arp.n-arps)
		}
	})
}

func FuzzARP(f *testing.F) {
	f.Add(arp(1, strangerMAC, "192.0.2.2", "192.0.2.1"))
	f.Add(arp(2, strangerMAC, "0.0.0.0", "192.0.2.1")[:28])
	f.Add([]byte{0, 1, 8, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		mac, addr, err := parseARP(b)
		if err != nil {
			if !errors.Is(err, errARP) {
				t.Errorf("untyped error %v", err)
			}
			return
		}
		if len(mac) != 17 || !addr.Is4() || binary.BigEndian.Uint32(b[14:]) == 0 {
			t.Errorf("%s %s", mac, addr)
		}
	})
}
