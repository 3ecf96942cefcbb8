package lan

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/net/bpf"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// reply describes one packet of a server, from the IP header on.
type reply struct {
	from, to       string // IP addresses
	sport, dport   uint16
	yiaddr, siaddr string
	giaddr, ciaddr string
	file, sname    string
	options        []byte // after the cookie, without End
	noEnd          bool
	op             byte
}

// offer is an ordinary DHCP server's OFFER, changed by f.
func offer(f ...func(*reply)) []byte {
	r := reply{
		from: "192.0.2.1", to: "255.255.255.255", sport: 67, dport: 68, yiaddr: "192.0.2.50",
		options: []byte{53, 1, 2, 54, 4, 192, 0, 2, 1, 51, 4, 0, 0, 0x0e, 0x10}, op: 2,
	}
	for _, g := range f {
		g(&r)
	}
	return r.packet()
}

// proxied makes it the OFFER of a PXE proxy.
func proxied(r *reply) {
	r.from, r.yiaddr, r.siaddr, r.file = "192.0.2.9", "", "192.0.2.9", "boot.0"
	r.options = []byte{53, 1, 2, 54, 4, 192, 0, 2, 9}
	option(60, "PXEClient")(r)
}

func option(code byte, v string) func(*reply) {
	return func(r *reply) { r.options = append(append(r.options, code, byte(len(v))), v...) }
}

func kindOf(k dhcpv4.MessageType) func(*reply) {
	return func(r *reply) { r.options[2] = byte(k) }
}

func (r reply) packet() []byte {
	put := func(b []byte, a string) {
		if a != "" {
			copy(b, netip.MustParseAddr(a).AsSlice())
		}
	}
	d := make([]byte, 240)
	d[0], d[1], d[2] = r.op, 1, 6
	put(d[12:], r.ciaddr)
	put(d[16:], r.yiaddr)
	put(d[20:], r.siaddr)
	put(d[24:], r.giaddr)
	copy(d[28:], []byte{2, 0, 0, 0, 0, 0x77})
	copy(d[44:108], r.sname)
	copy(d[108:236], r.file)
	copy(d[236:], []byte{99, 130, 83, 99})
	d = append(d, r.options...)
	if !r.noEnd {
		d = append(d, 255)
	}
	h := make([]byte, 28)
	h[0], h[8], h[9] = 0x45, 64, 17
	binary.BigEndian.PutUint16(h[2:], uint16(28+len(d)))
	put(h[12:], r.from)
	put(h[16:], r.to)
	sum := uint32(0) // bridges drop packets whose IP header is wrong
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(h[i:]))
	}
	binary.BigEndian.PutUint16(h[10:], ^uint16(sum+sum>>16))
	binary.BigEndian.PutUint16(h[20:], r.sport)
	binary.BigEndian.PutUint16(h[22:], r.dport)
	binary.BigEndian.PutUint16(h[24:], uint16(8+len(d)))
	return append(h, d...)
}

func TestParseAndClassify(t *testing.T) {
	type facts struct {
		Server, Relay, Class, File, Next string
		Lease, Control                   bool
		Role                             role
		Reasons                          []boot.Reason
	}
	reasons := func(r ...boot.Reason) []boot.Reason { return r }
	for _, tt := range []struct {
		name   string
		packet []byte
		want   facts
	}{
		{"plain DHCP server", offer(), facts{Server: "192.0.2.1", Lease: true, Role: roleDHCP}},
		{"ACK", offer(kindOf(5)), facts{Server: "192.0.2.1", Lease: true, Role: roleDHCP}},
		{"NAK", offer(kindOf(6), func(r *reply) { r.yiaddr = "" }), facts{Server: "192.0.2.1", Role: roleDHCP}},
		{
			"BOOTP server", offer(func(r *reply) { r.options, r.file = nil, "vmlinuz" }),
			facts{Server: "192.0.2.1", File: "vmlinuz", Lease: true, Role: roleDHCP, Reasons: reasons(boot.ReasonServerBootFile)},
		},
		{
			"next server alone does no harm", offer(func(r *reply) { r.siaddr = "192.0.2.1" }),
			facts{Server: "192.0.2.1", Next: "192.0.2.1", Lease: true, Role: roleDHCP},
		},
		{
			"boot file in the header", offer(func(r *reply) { r.siaddr, r.file = "192.0.2.7", "pxelinux.0" }),
			facts{Server: "192.0.2.1", Next: "192.0.2.7", File: "pxelinux.0", Lease: true, Role: roleDHCP, Reasons: reasons(boot.ReasonServerBootFile)},
		},
		{
			"boot file as options", offer(option(66, "tftp.example"), option(67, "a/b.efi\x00")),
			facts{Server: "192.0.2.1", Next: "tftp.example", File: "a/b.efi", Lease: true, Role: roleDHCP, Reasons: reasons(boot.ReasonServerBootFile)},
		},
		{"names in overloaded fields", offer(option(52, "\x03"), func(r *reply) {
			r.file, r.sname = "\x43\x05a.efi\xff", "\x3c\x09PXEClient\x42\x03abc\xff"
		}), facts{
			Server: "192.0.2.1", Next: "abc", File: "a.efi", Class: "PXEClient", Lease: true, Role: roleDHCP,
			Reasons: reasons(boot.ReasonOption60, boot.ReasonServerBootFile),
		}},
		{
			"an option before one in an overloaded field", offer(option(52, "\x01"), option(67, "first"), func(r *reply) { r.file = "\x43\x06second\xff" }),
			facts{Server: "192.0.2.1", File: "first", Lease: true, Role: roleDHCP, Reasons: reasons(boot.ReasonServerBootFile)},
		},
		{
			"overloaded field is no name", offer(option(52, "\x01"), func(r *reply) { r.file, r.sname = "\x0c\x02hi\xff", "srv" }),
			facts{Server: "192.0.2.1", Next: "srv", Lease: true, Role: roleDHCP},
		},
		{
			"option 60", offer(option(60, "PXEClient")),
			facts{Server: "192.0.2.1", Class: "PXEClient", Lease: true, Role: roleDHCP, Reasons: reasons(boot.ReasonOption60)},
		},
		{
			"option 60 echoed with its tail", offer(option(60, "PXEClient:Arch:00007:UNDI:003016")),
			facts{Server: "192.0.2.1", Class: "PXEClient:Arch:00007:UNDI:003016", Lease: true, Role: roleDHCP, Reasons: reasons(boot.ReasonOption60)},
		},
		{"option 60 of something else", offer(option(60, "MSFT 5.0")), facts{Server: "192.0.2.1", Class: "MSFT 5.0", Lease: true, Role: roleDHCP}},
		{
			"HTTP Boot from the DHCP server", offer(option(60, "HTTPClient"), option(67, "http://192.0.2.1/a.efi")),
			facts{Server: "192.0.2.1", Class: "HTTPClient", File: "http://192.0.2.1/a.efi", Lease: true, Role: roleDHCP, Reasons: reasons(boot.ReasonServerBootFile)},
		},
		{"proxy", offer(proxied), facts{Server: "192.0.2.9", Class: "PXEClient", File: "boot.0", Next: "192.0.2.9", Role: rolePXE, Reasons: reasons(boot.ReasonOtherPXE)}},
		{
			"proxy with menu", offer(proxied, option(43, "\x06\x01\x08\xff")),
			facts{Server: "192.0.2.9", Class: "PXEClient", File: "boot.0", Next: "192.0.2.9", Control: true, Role: rolePXE, Reasons: reasons(boot.ReasonOtherPXE)},
		},
		{
			"proxy with a truncated 43", offer(proxied, option(43, "\x01\x00\x06")),
			facts{Server: "192.0.2.9", Class: "PXEClient", File: "boot.0", Next: "192.0.2.9", Role: rolePXE, Reasons: reasons(boot.ReasonOtherPXE)},
		},
		{"43 without class is another vendor's", offer(option(43, "\x06\x01\x08\xff")), facts{Server: "192.0.2.1", Lease: true, Role: roleDHCP}},
		{
			"HTTP proxy", offer(func(r *reply) { r.yiaddr = "" }, option(60, "HTTPClient")),
			facts{Server: "192.0.2.1", Class: "HTTPClient", Role: rolePXE, Reasons: reasons(boot.ReasonOtherPXE)},
		},
		{
			"proxy without class or server identifier", offer(func(r *reply) { r.from, r.yiaddr, r.options, r.file = "192.0.2.9", "", []byte{53, 1, 2}, "x" }),
			facts{Server: "192.0.2.9", File: "x", Role: roleOther},
		},
		{
			"ACK from 4011", offer(proxied, kindOf(5), func(r *reply) { r.sport, r.ciaddr = 4011, "192.0.2.50" }),
			facts{Server: "192.0.2.9", Class: "PXEClient", File: "boot.0", Next: "192.0.2.9", Role: rolePXE, Reasons: reasons(boot.ReasonOtherPXE)},
		},
		{
			"answer to an INFORM is no proxy's", offer(kindOf(5), option(60, "PXEClient"), func(r *reply) { r.yiaddr, r.ciaddr = "", "192.0.2.50" }),
			facts{Server: "192.0.2.1", Class: "PXEClient", Role: roleOther},
		},
		{"Apple's BSDP", offer(kindOf(5), option(60, "AAPLBSDPC"), func(r *reply) { r.yiaddr = "" }), facts{Server: "192.0.2.1", Class: "AAPLBSDPC", Role: roleOther}},
		{
			"relayed", offer(func(r *reply) { r.from, r.giaddr = "203.0.113.1", "203.0.113.1" }),
			facts{Server: "192.0.2.1", Relay: "203.0.113.1", Lease: true, Role: roleDHCP},
		},
		{"without End", offer(func(r *reply) { r.noEnd = true }), facts{Server: "192.0.2.1", Lease: true, Role: roleDHCP}},
		{
			"server identifier of the wrong size", offer(func(r *reply) { r.options = []byte{53, 1, 2, 54, 2, 1, 2} }),
			facts{Server: "192.0.2.1", Lease: true, Role: roleDHCP},
		},
		{
			"hostile text", offer(option(67, "\xff\xfe<b>"+strings.Repeat("x", 200))),
			facts{Server: "192.0.2.1", File: "?<b>" + strings.Repeat("x", 200), Lease: true, Role: roleDHCP, Reasons: reasons(boot.ReasonServerBootFile)},
		},
		{"Ethernet padding behind the packet", append(offer(), make([]byte, 40)...), facts{Server: "192.0.2.1", Lease: true, Role: roleDHCP}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h, err := parse(tt.packet)
			if err != nil {
				t.Fatal(err)
			}
			got := facts{Server: h.server.String(), Class: h.class, File: h.file, Next: h.next, Lease: h.lease, Control: h.control}
			if h.relay.IsValid() {
				got.Relay = h.relay.String()
			}
			got.Role, got.Reasons = classify(h)
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

// with returns b with the octets at i replaced.
func with(b []byte, i int, v ...byte) []byte {
	b = bytes.Clone(b)
	copy(b[i:], v)
	return b
}

func TestParseRefuses(t *testing.T) {
	good := offer()
	for name, b := range map[string][]byte{
		"nothing":               nil,
		"IPv6":                  with(good, 0, 0x65),
		"IP header too short":   with(good, 0, 0x44),
		"IP header past end":    with(good, 2, 0, 30),
		"longer than captured":  with(good, 2, 0xff, 0xff),
		"TCP":                   with(good, 9, 6),
		"first fragment":        with(good, 6, 0x20, 0),
		"later fragment":        with(good, 6, 0, 5),
		"UDP length too small":  with(good, 24, 0, 7),
		"UDP length past end":   with(good, 24, 0xff, 0xff),
		"from another port":     with(good, 20, 0, 69),
		"to the server port":    with(good, 22, 0, 67),
		"a request":             with(good, 28, 1),
		"bad cookie":            with(good, 28+236, 1),
		"cut in the header":     offer(func(r *reply) { r.options = nil })[:200],
		"option past the end":   offer(func(r *reply) { r.options, r.noEnd = []byte{53, 1, 2, 54, 200, 1}, true }),
		"fixed part incomplete": with(good[:100], 2, 0, 100, 24, 0, 80),
	} {
		if h, err := parse(b); !errors.Is(err, errReply) {
			t.Errorf("%s: %+v, %v", name, h, err)
		}
	}
}

func TestFilter(t *testing.T) {
	if _, err := assembled(); err != nil {
		t.Fatal(err)
	}
	// The interpreter does not know packet types, so the guard is left to the
	// test with real interfaces.
	vm, err := bpf.NewVM(replies)
	if err != nil {
		t.Fatal(err)
	}
	longHeader := append(append([]byte{0x46}, offer()[1:20]...), append([]byte{1, 1, 1, 1}, offer()[20:]...)...)
	for _, tt := range []struct {
		name string
		b    []byte
		pass bool
	}{
		{"OFFER", offer(), true},
		{"from 4011", offer(func(r *reply) { r.sport = 4011 }), true},
		{"with IP options", longHeader, true},
		{"a client's DISCOVER", offer(func(r *reply) { r.sport, r.dport = 68, 67 }), false},
		{"between servers", offer(func(r *reply) { r.dport = 67 }), false},
		{"from another port", offer(func(r *reply) { r.sport = 69 }), false},
		{"DNS", offer(func(r *reply) { r.sport, r.dport = 53, 53 }), false},
		{"TCP", with(offer(), 9, 6), false},
		{"do not fragment", with(offer(), 6, 0x40, 0), true},
		{"first fragment", with(offer(), 6, 0x20, 0), false},
		{"later fragment", with(offer(), 6, 0, 1), false},
		{"cut short", offer()[:21], false},
		{"empty", nil, false},
	} {
		n, err := vm.Run(tt.b)
		if err != nil {
			t.Fatal(err)
		}
		if (n > 0) != tt.pass {
			t.Errorf("%s: passes %v, want %v", tt.name, n > 0, tt.pass)
		}
	}
}
