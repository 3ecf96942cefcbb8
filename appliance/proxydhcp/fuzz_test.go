package proxydhcp

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// FuzzReply: whatever comes in, nothing may crash, and what goes out must be a
// boot server's answer to somewhere we may send to.
func FuzzReply(f *testing.F) {
	for _, p := range []packet{
		d0(), d7(), uefi(6), dh(16), i0(), i7(), p3(), p4(), b7(), bi(), m0(), discovery(3), relayed(d0()), relayed(d7()).with(82),
		selecting(d0()), d0().with(57, 2, 0), d0().with(97, 0), i0().with(77, []byte("\x04iPXE\x01")...), m0().with(43, 71, 255),
	} {
		f.Add(p.bytes(), p.port == PortBoot, []byte{192, 0, 2, 50}, true)
		f.Add(p.bytes(), p.port == PortBoot, []byte{0, 0, 0, 0}, false)
	}
	env := site()
	env.Relays = Relays{}
	env.History = func(boot.MAC) boot.History {
		return boot.History{Form: boot.FormDirect, Age: time.Second, Last: boot.Client{Class: boot.ClassPXE, ArchKnown: true}}
	}
	f.Fuzz(func(t *testing.T, raw []byte, port4011 bool, source []byte, toUs bool) {
		env := env
		env.Port, env.IfIndex, env.Destination = PortDHCP, 2, limitedBroadcast
		if port4011 {
			env.Port = PortBoot
		}
		if toUs {
			env.Destination = us
		}
		if len(source) != 4 {
			return
		}
		from := netip.AddrFrom4([4]byte(source))
		env.Source = netip.AddrPortFrom(from, 68)
		given := slices.Clone(raw)
		res := Reply(raw, env)
		if !slices.Equal(given, raw) {
			t.Fatal("the request was changed")
		}
		if res.Reason != boot.ReasonNone {
			if res.Packet != nil || !slices.Contains(boot.Silences(), res.Reason) {
				t.Fatalf("reason %q, %d octets", res.Reason, len(res.Packet))
			}
			return
		}
		r := parse(t, res.Packet)
		if len(res.Packet) < 300 || len(res.Packet) > 1472 || r.op != 2 || r.yiaddr != zero || !slices.Equal(r.options[54], us.AsSlice()) {
			t.Fatalf("%d octets, op %d, yiaddr %s, 54 % x", len(res.Packet), r.op, r.yiaddr, r.options[54])
		}
		if raw[2] > 16 || string(raw[4:8]) != string(res.Packet[4:8]) || r.chaddr[0]&1 != 0 {
			t.Fatalf("hardware address or transaction differ")
		}
		for _, never := range []byte{1, 3, 6, 13, 15, 50, 51, 52, 55, 57, 58, 59, 61, 93, 94} {
			if v, ok := r.options[never]; ok {
				t.Fatalf("option %d = % x", never, v)
			}
		}
		if want := byte(typeOffer); res.Ack && r.options[53][0] != typeAck || !res.Ack && r.options[53][0] != want {
			t.Fatalf("type %d, ack %v", r.options[53], res.Ack)
		}
		switch to := res.To.Addr(); {
		case to == limitedBroadcast, netip.MustParsePrefix("192.0.2.0/24").Contains(to):
		case env.Port == PortDHCP && to == r.giaddr && inAny(notGlobal, to):
		default:
			t.Fatalf("sent to %s", res.To)
		}
	})
}
