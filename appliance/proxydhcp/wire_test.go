package proxydhcp

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// The packets of the conformance cases are written octet by octet here, and the
// replies read by a parser of the test's own, so that a mistake in the codec
// cannot hide on both sides.

type option struct {
	code  byte
	value []byte
}

// packet is a DHCP message to be.
type packet struct {
	op, htype, hlen, hops          byte
	xid                            uint32
	secs, flags                    uint16
	ciaddr, yiaddr, siaddr, giaddr netip.Addr
	chaddr                         [16]byte
	opts                           []option
	tail                           []byte // after the last option; nil: End
	pad                            int    // octets of 0 between the options

	// Where it comes from and goes to.
	source  string
	dest    string
	port    int
	ifIndex int
}

var (
	zero    = netip.IPv4Unspecified()
	us      = netip.MustParseAddr("192.0.2.2")
	usOther = netip.MustParseAddr("198.51.100.2")
	client  = netip.MustParseAddr("192.0.2.50")
	relay   = netip.MustParseAddr("203.0.113.1")

	pcMAC  = [16]byte{0x52, 0x54, 0x00, 0x12, 0x34, 0x56}
	pi3MAC = [16]byte{0xb8, 0x27, 0xeb, 0x12, 0x34, 0x56}
	pi4MAC = [16]byte{0xdc, 0xa6, 0x32, 0x12, 0x34, 0x56}

	guid = []byte{0, 0x67, 0x45, 0x23, 0x01, 0xab, 0x89, 0xef, 0xcd, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef}

	biosClass = []byte("PXEClient:Arch:00000:UNDI:002001")
	// What iPXE announces: PXE extensions, iSCSI, HTTP, TFTP, DNS, bzImage, and version 1.0.0.
	features = []byte{0x10, 1, 2, 0x11, 1, 1, 0x13, 1, 1, 0x15, 1, 1, 0x17, 1, 1, 0x18, 1, 1, 0xeb, 3, 1, 0, 0}
)

func d0() packet {
	return packet{
		op: 1, htype: 1, hlen: 6, xid: 0xdeadbeef, chaddr: pcMAC,
		ciaddr: zero, yiaddr: zero, siaddr: zero, giaddr: zero,
		opts: []option{
			{53, []byte{1}},
			{55, []byte{1, 2, 3, 5, 6, 11, 12, 13, 15, 16, 17, 18, 22, 23, 28, 40, 41, 42, 43, 50, 51, 54, 58, 59, 60, 66, 67, 97, 128, 129}},
			{57, []byte{0x05, 0xc0}},
			{60, biosClass},
			{93, []byte{0, 0}},
			{94, []byte{1, 2, 1}},
			{97, guid},
		},
		source: "0.0.0.0:68", dest: "255.255.255.255", port: 67, ifIndex: 2,
	}
}

func uefi(arch byte) packet {
	p := d0()
	p.flags = 0x8000
	return p.with(93, 0, arch).with(60, fmt.Appendf(nil, "PXEClient:Arch:%05d:UNDI:003000", arch)...).with(94, 1, 3, 0)
}

func d7() packet { return uefi(7) }

func dh(arch byte) packet {
	return uefi(arch).with(60, fmt.Appendf(nil, "HTTPClient:Arch:%05d:UNDI:003000", arch)...).without(97)
}

func ipxe(p packet) packet {
	p.flags = 0
	return p.with(77, []byte("iPXE")...).with(175, features...)
}

func i0() packet { return ipxe(d0()) }

func i7() packet {
	efi := slices.Clone(features)
	i := slices.Index(efi, 0x18)
	efi[i] = 0x24 // EFI builds announce EFI and no bzImage
	return ipxe(d7()).with(175, efi...)
}

func p3() packet {
	p := d0()
	p.chaddr = pi3MAC
	g := make([]byte, 17)
	for i := range g[1:] {
		g[1+i] = 0x44
	}
	return p.with(97, g...)
}

func p4() packet {
	p := d0()
	p.chaddr = pi4MAC
	return p.with(97, append([]byte("\x00RPi4"), 0x14, 0x31, 0xd0, 0, 0x32, 0x12, 0x34, 0x56, 1, 2, 3, 4)...)
}

func b7() packet {
	p := d7().with(53, 3)
	p.flags, p.ciaddr, p.xid = 0, client, 0xb0b0b0b0
	p.source, p.dest, p.port = "192.0.2.50:4011", "192.0.2.2", 4011
	return p
}

func bi() packet {
	p := i0().with(53, 3).with(54, us.AsSlice()...)
	p.flags, p.ciaddr = 0x8000, client
	p.source, p.dest, p.port = "192.0.2.50:68", "192.0.2.2", 4011
	return p
}

func m0() packet {
	p := bi().without(54).without(77).without(175).with(60, []byte("PXEClient")...).with(43, 71, 4, 0x80, 1, 0, 0, 255)
	p.xid = 0
	return p
}

// with replaces or adds an option, without removes one. Both copy.
func (p packet) with(code byte, value ...byte) packet {
	p.opts = slices.Clone(p.opts)
	for i := range p.opts {
		if p.opts[i].code == code {
			p.opts[i].value = value
			return p
		}
	}
	p.opts = append(p.opts, option{code, value})
	return p
}

func (p packet) without(code byte) packet {
	p.opts = slices.DeleteFunc(slices.Clone(p.opts), func(o option) bool { return o.code == code })
	return p
}

func (p packet) from(source string) packet { p.source = source; return p }
func (p packet) to(dest string) packet     { p.dest = dest; return p }

func (p packet) via(giaddr string) packet {
	p.giaddr, p.hops = netip.MustParseAddr(giaddr), 1
	p.source, p.dest = "203.0.113.1:67", "192.0.2.2"
	return p
}

func (p packet) mac() boot.MAC { return boot.MACOf(p.chaddr[:min(int(p.hlen), 16)]) }

func (p packet) value(code byte) []byte {
	for _, o := range p.opts {
		if o.code == code {
			return o.value
		}
	}
	return nil
}

func (p packet) bytes() []byte {
	b := []byte{p.op, p.htype, p.hlen, p.hops}
	b = binary.BigEndian.AppendUint32(b, p.xid)
	b = binary.BigEndian.AppendUint16(b, p.secs)
	b = binary.BigEndian.AppendUint16(b, p.flags)
	for _, a := range []netip.Addr{p.ciaddr, p.yiaddr, p.siaddr, p.giaddr} {
		b = append(b, a.AsSlice()...)
	}
	b = append(b, p.chaddr[:]...)
	b = append(b, make([]byte, 64+128)...)
	b = append(b, 0x63, 0x82, 0x53, 0x63)
	for _, o := range p.opts {
		b = append(b, o.code, byte(len(o.value)))
		b = append(b, o.value...)
		b = append(b, make([]byte, p.pad)...)
	}
	if p.tail != nil {
		return append(b, p.tail...)
	}
	return append(b, 255)
}

// parsed is a message as the test's own parser reads it.
type parsed struct {
	packet
	raw         []byte
	sname, file []byte // the whole fields
	options     map[byte][]byte
	order       []byte
}

// parse reads a message strictly: each option once, End there, zeros after it.
func parse(t *testing.T, b []byte) parsed {
	t.Helper()
	if len(b) < 241 {
		t.Fatalf("reply of %d octets", len(b))
	}
	addr := func(at int) netip.Addr { return netip.AddrFrom4([4]byte(b[at : at+4])) }
	r := parsed{raw: b, options: map[byte][]byte{}}
	r.op, r.htype, r.hlen, r.hops = b[0], b[1], b[2], b[3]
	r.xid = binary.BigEndian.Uint32(b[4:])
	r.secs, r.flags = binary.BigEndian.Uint16(b[8:]), binary.BigEndian.Uint16(b[10:])
	r.ciaddr, r.yiaddr, r.siaddr, r.giaddr = addr(12), addr(16), addr(20), addr(24)
	r.chaddr = [16]byte(b[28:44])
	r.sname, r.file = b[44:108], b[108:236]
	if string(b[236:240]) != "\x63\x82\x53\x63" {
		t.Fatalf("magic cookie % x", b[236:240])
	}
	rest := b[240:]
	for {
		if len(rest) == 0 {
			t.Fatal("reply without End")
		}
		if rest[0] == 255 {
			break
		}
		if rest[0] == 0 {
			t.Fatal("padding before End") // early Pi 4 EEPROMs misread it
		}
		if len(rest) < 2 || len(rest) < 2+int(rest[1]) {
			t.Fatalf("option %d is cut", rest[0])
		}
		code, value := rest[0], rest[2:2+int(rest[1])]
		if _, twice := r.options[code]; twice {
			t.Fatalf("option %d twice: firmware does not join pieces", code)
		}
		r.options[code] = value
		r.order = append(r.order, code)
		rest = rest[2+len(value):]
	}
	if i := slices.IndexFunc(rest[1:], func(c byte) bool { return c != 0 }); i >= 0 {
		t.Errorf("octet %#x after End", rest[1+i])
	}
	return r
}

// cstring returns a header field up to its NUL; there must be one and nothing
// after it.
func cstring(t *testing.T, field []byte) string {
	t.Helper()
	n := slices.Index(field, 0)
	if n < 0 {
		t.Fatalf("field %q is not terminated", field)
	}
	for _, c := range field[n:] {
		if c != 0 {
			t.Fatalf("field %q has text after its end", field)
		}
	}
	return string(field[:n])
}

var testTime = time.Unix(1_800_000_000, 0)

// site is the setup of the conformance cases.
func site() Env {
	return Env{
		Interfaces: []Interface{
			{Index: 1, Name: "lo", Prefixes: prefixes("127.0.0.1/8"), Up: true},
			{
				Index: 2, Name: "eth0", MAC: "52:54:00:00:00:02", Up: true, MTU: 1500, Served: true,
				Prefixes: prefixes("192.0.2.2/24"),
			},
			{
				Index: 3, Name: "eth1", MAC: "52:54:00:00:00:03", Up: true, MTU: 1500, Served: true,
				Prefixes: prefixes("198.51.100.2/24"),
			},
			{
				Index: 4, Name: "wan", MAC: "52:54:00:00:00:04", Up: true, MTU: 1500,
				Prefixes: prefixes("198.18.0.2/24"),
			},
			{Index: 5, Name: "eth2", MAC: "52:54:00:00:00:05", Up: true, Served: true, Prefixes: prefixes("fe80::1/64")},
		},
		Relays: Relays{Mode: RelayList, Allow: []netip.Addr{relay}, Clients: prefixes("203.0.113.0/24")},
		Now:    testTime,
	}
}

func prefixes(texts ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(texts))
	for i, t := range texts {
		out[i] = netip.MustParsePrefix(t)
	}
	return out
}

// ask runs the pure core on p and proves that it leaves the packet alone.
func ask(t *testing.T, env Env, p packet) Result {
	t.Helper()
	env.Port, env.IfIndex = p.port, p.ifIndex
	env.Source, env.Destination = netip.MustParseAddrPort(p.source), netip.MustParseAddr(p.dest)
	raw := p.bytes()
	given := slices.Clone(raw)
	res := Reply(raw, env)
	if !slices.Equal(raw, given) {
		t.Error("the request was changed")
	}
	if again := Reply(raw, env); again.Reason != res.Reason || !slices.Equal(again.Packet, res.Packet) || again.To != res.To {
		t.Errorf("asked twice: %v, then %v", res, again)
	}
	return res
}

// answer demands a reply and makes every check that all replies must pass.
func answer(t *testing.T, env Env, p packet) (parsed, Result) {
	t.Helper()
	res := ask(t, env, p)
	if res.Reason != boot.ReasonNone {
		t.Fatalf("silence: %s", res.Reason)
	}
	return judge(t, p, res.Packet, res.Src), res
}

// judge makes the checks that every reply must pass.
func judge(t *testing.T, p packet, raw []byte, src netip.Addr) parsed {
	t.Helper()
	if len(raw) < 300 || len(raw) > 548 {
		t.Errorf("length %d", len(raw))
	}
	r := parse(t, raw)
	if r.op != 2 || r.htype != p.htype || r.hlen != p.hlen || r.xid != p.xid || r.chaddr != p.chaddr {
		t.Errorf("op %d, htype %d, hlen %d, xid %#x, chaddr % x", r.op, r.htype, r.hlen, r.xid, r.chaddr)
	}
	if r.yiaddr != zero || r.hops != 0 || r.secs != 0 {
		t.Errorf("yiaddr %s, hops %d, secs %d", r.yiaddr, r.hops, r.secs)
	}
	if want := src.AsSlice(); !slices.Equal(r.options[54], want) {
		t.Errorf("option 54 % d, sent from %s", r.options[54], src)
	}
	for _, never := range []byte{1, 3, 6, 13, 15, 51, 52, 55, 57, 58, 59, 61, 93, 94} {
		if v, ok := r.options[never]; ok {
			t.Errorf("option %d = % x must never be sent", never, v)
		}
	}
	known := []byte{43, 53, 54, 60, 66, 67, 82, 97, 175, 209, 210}
	for _, code := range r.order {
		if !slices.Contains(known, code) {
			t.Errorf("option %d is not one of ours", code)
		}
	}
	if i := slices.Index(r.order, 82); i >= 0 && i != len(r.order)-1 {
		t.Errorf("option 82 is not the last: %d", r.order)
	}
	lib, err := dhcpv4.FromBytes(raw)
	if err != nil {
		t.Fatalf("the codec cannot read it: %v", err)
	}
	if len(lib.Options) != len(r.options) {
		t.Errorf("the codec sees %d options, the test %d", len(lib.Options), len(r.options))
	}
	return r
}

// silence demands a reason.
func silence(t *testing.T, env Env, p packet, want boot.Reason) Result {
	t.Helper()
	res := ask(t, env, p)
	if res.Reason != want || res.Packet != nil {
		t.Errorf("reason %q and %d octets, want silence for %q", res.Reason, len(res.Packet), want)
	}
	return res
}

// has demands option values; nil means that the option is absent.
func (r parsed) has(t *testing.T, want map[byte][]byte) {
	t.Helper()
	for code, v := range want {
		got, there := r.options[code]
		if there != (v != nil) || !slices.Equal(got, v) {
			t.Errorf("option %d = %q (there: %v), want %q", code, got, there, v)
		}
	}
}

// header demands the fields that the columns of the reply table differ in.
func (r parsed) header(t *testing.T, flags uint16, ciaddr, siaddr netip.Addr, sname, file string) {
	t.Helper()
	if r.flags != flags || r.ciaddr != ciaddr || r.siaddr != siaddr {
		t.Errorf("flags %#x, ciaddr %s, siaddr %s; want %#x, %s, %s", r.flags, r.ciaddr, r.siaddr, flags, ciaddr, siaddr)
	}
	if got := cstring(t, r.sname); got != sname {
		t.Errorf("sname %q, want %q", got, sname)
	}
	if got := cstring(t, r.file); got != file {
		t.Errorf("file %q, want %q", got, file)
	}
}

var (
	piText  = "\x06\x01\x03\x0a\x04\x00PXE\x09\x14\x00\x00\x11Raspberry Pi Boot\xff"
	pi3Text = "\x06\x01\x03\x0a\x04\x00PXE\x09\x17\x00\x00\x14Raspberry Pi Boot   \xff"
	direct  = []byte{6, 1, 8, 255}
)

// Columns of the reply table.

func (r parsed) isDirect(t *testing.T, at netip.Addr, file string) {
	t.Helper()
	r.header(t, 0x8000, zero, at, at.String(), file)
	r.has(t, map[byte][]byte{53: {2}, 60: []byte("PXEClient"), 43: direct, 67: []byte(file + "\x00"), 66: nil, 175: nil})
}

func (r parsed) isTwoStep(t *testing.T, at netip.Addr, file string) {
	t.Helper()
	r.header(t, 0x8000, zero, at, "", file)
	r.has(t, map[byte][]byte{53: {2}, 60: []byte("PXEClient"), 43: nil, 67: []byte(file + "\x00"), 66: nil, 175: nil, 209: nil, 210: nil})
}

func (r parsed) isAck(t *testing.T, p packet, at netip.Addr, file string) {
	t.Helper()
	r.header(t, p.flags, p.ciaddr, at, "", file)
	if r.giaddr != zero {
		t.Errorf("giaddr %s", r.giaddr)
	}
	r.has(t, map[byte][]byte{53: {5}, 60: []byte("PXEClient"), 67: []byte(file + "\x00"), 66: nil, 82: nil, 175: nil, 97: p.value(97)})
}

func (r parsed) isHTTP(t *testing.T, at netip.Addr, url string) {
	t.Helper()
	r.header(t, 0x8000, zero, at, "", url)
	r.has(t, map[byte][]byte{53: {2}, 60: []byte("HTTPClient"), 43: nil, 67: []byte(url), 66: nil, 175: nil, 209: nil, 210: nil})
}

func (r parsed) isScript(t *testing.T, at netip.Addr, url string) {
	t.Helper()
	r.header(t, 0x8000, zero, at, "", url)
	r.has(t, map[byte][]byte{53: {2}, 60: []byte("PXEClient"), 43: direct, 67: []byte(url), 66: nil, 175: {1, 1, 1}, 209: nil, 210: nil})
}

func (r parsed) isPi(t *testing.T, at netip.Addr, menu string) {
	t.Helper()
	r.header(t, 0x8000, zero, at, at.String(), "")
	r.has(t, map[byte][]byte{53: {2}, 60: []byte("PXEClient"), 43: []byte(menu), 66: []byte(at.String()), 67: nil, 175: nil, 209: nil, 210: nil})
}

// goes demands a route.
func goes(t *testing.T, res Result, to string, from netip.Addr, ifIndex int) {
	t.Helper()
	if res.To.String() != to || res.Src != from || res.IfIndex != ifIndex {
		t.Errorf("to %s from %s through %d, want to %s from %s through %d", res.To, res.Src, res.IfIndex, to, from, ifIndex)
	}
}

const broadcast = "255.255.255.255:68"
