package lan

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// tlv is one element of an LLDP frame.
func tlv(kind int, v string) []byte {
	return append([]byte{byte(kind<<1 | len(v)>>8), byte(len(v))}, v...)
}

// fromSwitch is what a managed switch announces, changed by more elements.
func fromSwitch(more ...[]byte) []byte {
	return slices.Concat(
		tlv(tlvChassis, "\x04\x00\x1b\x21\xaa\xbb\xcc"), tlv(tlvPort, "\x05GigabitEthernet1/0/12"), tlv(tlvTTL, "\x00\x78"),
		tlv(tlvPortDescription, "room 12 left"), tlv(tlvSystemName, "sw-3.example"), tlv(tlvSystemDescription, "an operating system, version 1"),
		tlv(tlvCapabilities, "\x00\x14\x00\x04"), tlv(tlvOrganisation, "\x00\x80\xc2\x01\x00\x2a"), tlv(tlvOrganisation, "\x00\x12\x0f\x01\x03\x00\x00\x00\x10"),
		slices.Concat(more...), tlv(tlvEnd, ""),
	)
}

func TestParseLLDP(t *testing.T) {
	minimal := func(chassis, port string) []byte {
		return slices.Concat(tlv(tlvChassis, chassis), tlv(tlvPort, port), tlv(tlvTTL, "\x00\x78"), tlv(tlvEnd, ""))
	}
	sw := boot.LLDP{Chassis: "00:1b:21:aa:bb:cc", Port: "GigabitEthernet1/0/12", PortDescription: "room 12 left", System: "sw-3.example", VLAN: 42}
	for _, tt := range []struct {
		name   string
		b      []byte
		want   boot.LLDP
		bridge bool
	}{
		{"a switch", fromSwitch(), sw, true},
		{"padded", append(fromSwitch(), make([]byte, 20)...), sw, true},
		{"without an end", fromSwitch()[:len(fromSwitch())-2], sw, true},
		{"a station", minimal("\x04\x02\x00\x00\x00\x00\x77", "\x03\x02\x00\x00\x00\x00\x77"), boot.LLDP{Chassis: "02:00:00:00:00:77", Port: "02:00:00:00:00:77"}, false},
		{"network addresses", minimal("\x05\x01\xc0\x00\x02\x09", "\x04\x02"+strings.Repeat("\x00", 15)+"\x01"), boot.LLDP{Chassis: "192.0.2.9", Port: "::1"}, false},
		{"names", minimal("\x07chassis 1", "\x077"), boot.LLDP{Chassis: "chassis 1", Port: "7"}, false},
		{"no text", minimal("\x07\x01\x02", "\x07\x1b[31m"), boot.LLDP{Chassis: "0102", Port: "1b5b33316d"}, false},
		{"an address of the wrong size", minimal("\x04\x01\x02\x03", "\x05eth0"), boot.LLDP{Chassis: "010203", Port: "eth0"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, err := parseLLDP(tt.b)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, a.LLDP); d != "" || a.ttl != 2*time.Minute || a.bridge != tt.bridge {
				t.Errorf("ttl %v, bridge %v, %s", a.ttl, a.bridge, d)
			}
		})
	}
	if a, err := parseLLDP(slices.Concat(tlv(1, "\x07c"), tlv(2, "\x07p"), tlv(3, "\x00\x00"), []byte{0xff, 0xff})); err != nil || a.ttl != 0 {
		t.Errorf("a farewell: %+v, %v", a, err)
	}
	for name, b := range map[string][]byte{
		"nothing": nil, "one octet": {2}, "wrong order": slices.Concat(tlv(2, "\x07p"), tlv(1, "\x07c"), tlv(3, "\x00\x78")),
		"cut in an element": fromSwitch()[:20], "cut between": fromSwitch()[:9], "no time to live": slices.Concat(tlv(1, "\x07c"), tlv(2, "\x07p"), tlv(3, "\x01")),
		"empty chassis": slices.Concat(tlv(1, "\x07"), tlv(2, "\x07p"), tlv(3, "\x00\x78")), "long chassis": slices.Concat(tlv(1, strings.Repeat("x", 257)), tlv(2, "\x07p"), tlv(3, "\x00\x78")),
		"an end in front": slices.Concat(tlv(0, ""), fromSwitch()),
	} {
		if a, err := parseLLDP(b); !errors.Is(err, errLLDP) {
			t.Errorf("%s: %+v, %v", name, a, err)
		}
	}
}

func TestNeighbourhood(t *testing.T) {
	heard := func(chassis string, bridge bool, ttl time.Duration) announcement {
		return announcement{boot.LLDP{Chassis: chassis, Port: "p"}, ttl, bridge}
	}
	at := func(s int) time.Time { return epoch.Add(time.Duration(s) * time.Second) }
	best := func(n neighbourhood, s int) string {
		if b := n.best(at(s)); b != nil {
			return b.Chassis
		}
		return ""
	}
	var n neighbourhood
	if best(n, 0) != "" {
		t.Error("a neighbour out of nothing")
	}
	n.hear(heard("pc", false, time.Minute), at(0))
	n.hear(heard("switch", true, time.Minute), at(1))
	n.hear(heard("phone", false, time.Hour), at(2))
	if got := best(n, 3); got != "switch" {
		t.Errorf("best is %q", got)
	}
	if l := n.best(at(3)); !l.Last.Equal(at(1)) {
		t.Errorf("%+v", l)
	}
	if got := best(n, 62); got != "phone" { // the switch is not heard any more
		t.Errorf("best is %q", got)
	}
	n.hear(heard("phone", false, 0), at(63)) // it says goodbye
	if got := best(n, 64); got != "" {
		t.Errorf("best is %q", got)
	}
	n.hear(heard("switch", true, time.Hour), at(70))
	for i := range 1000 {
		n.hear(heard(fmt.Sprint(i), false, time.Hour), at(71))
	}
	if got := best(n, 72); got != "switch" || len(n) != maxNeighbours {
		t.Errorf("best of %d is %q", len(n), got)
	}
	for i := range 10 {
		n.hear(heard(fmt.Sprint("sw", i), true, time.Hour), at(73))
	}
	if len(n) != maxNeighbours {
		t.Errorf("%d kept", len(n))
	}
}

func TestSentinelKnowsTheSwitch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		both := []link{nic(2, "eth0"), nic(3, "eth1")}
		st := newStand(t, state{both, on(2, "192.0.2.2/24")})
		defer st.start(t)()
		<-st.sentinel.Ready()
		eth0, eth1 := st.lldp.get("eth0"), st.lldp.get("eth1")
		eth0.packets <- fromSwitch()
		eth0.packets <- []byte("garbage")
		eth1.mac = []byte{2, 0, 0, 0, 0, 2} // our own eth0, looped
		eth1.packets <- fromSwitch()
		synctest.Wait()
		port := func(name string) boot.LANPort {
			for _, p := range st.sentinel.LAN(time.Now()).Ports {
				if p.Name == name {
					return p
				}
			}
			return boot.LANPort{}
		}
		if n := port("eth0").Neighbour; n == nil || n.System != "sw-3.example" || n.VLAN != 42 {
			t.Errorf("%+v", n)
		}
		if n := port("eth1").Neighbour; n != nil || st.sentinel.Stats().Malformed != 1 {
			t.Errorf("%+v", n)
		}
		<-time.After(2*time.Minute + 1)
		if n := port("eth0").Neighbour; n != nil {
			t.Errorf("not heard for two minutes: %+v", n)
		}
		eth0.packets <- fromSwitch()
		synctest.Wait()
		// Another cable.
		st.set(state{[]link{nic(2, "eth0", down), nic(3, "eth1")}, on(2, "192.0.2.2/24")})
		st.set(state{both, on(2, "192.0.2.2/24")})
		if n := port("eth0").Neighbour; n != nil {
			t.Errorf("the switch of the old cable: %+v", n)
		}
	})
}

func FuzzLLDP(f *testing.F) {
	f.Add(fromSwitch())
	f.Add(fromSwitch(tlv(tlvSystemName, "\xff\xfe\x1b[31m")))
	f.Add(slices.Concat(tlv(1, "\x05\x02"+strings.Repeat("x", 16)), tlv(2, "\x03abcdef"), tlv(3, "\xff\xff")))
	f.Add([]byte{2, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := parseLLDP(b)
		if err != nil {
			if !errors.Is(err, errLLDP) {
				t.Errorf("untyped error %v", err)
			}
			return
		}
		for _, s := range []string{a.Chassis, a.Port, a.PortDescription, a.System} {
			if !utf8.ValidString(s) || len(s) > 3*maxText {
				t.Errorf("text %q", s)
			}
		}
		if a.ttl > 0 && (a.Chassis == "" || a.Port == "") || a.ttl < 0 || a.VLAN < 0 || a.VLAN > 4095 {
			t.Errorf("%+v", a)
		}
		var n neighbourhood
		n.hear(a, epoch)
		if got := n.best(epoch); (got != nil) != (a.ttl > 0) {
			t.Errorf("%+v", got)
		}
	})
}
