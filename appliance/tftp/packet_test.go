package tftp

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

func TestParseRequest(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		packet  string
		name    string
		mode    string
		options []option
		write   bool
	}{
		{"\x00\x01a\x00octet\x00", "a", "octet", nil, false},
		{"\x00\x02a\x00octet\x00", "a", "octet", nil, true},
		{"\x00\x01a\x00octet", "a", "octet", nil, false}, // no final NUL
		{"\x00\x01\x00octet\x00", "", "octet", nil, false},
		{"\x00\x01a\x00octet\x00tsize\x000\x00", "a", "octet", []option{{"tsize", "0"}}, false},
		{"\x00\x01a\x00octet\x00tsize\x000", "a", "octet", []option{{"tsize", "0"}}, false},
		{"\x00\x01a\x00octet\x00tsize\x00", "a", "octet", nil, false},
		{"\x00\x01a\x00octet\x00tsize", "a", "octet", nil, false},
		{"\x00\x01a\x00octet\x00blksize\x008\x00BLKSIZE\x009\x00", "a", "octet", []option{{"blksize", "8"}}, false},
		{"\x00\x01a\x00octet\x00\x00\x00\x00\x00", "a", "octet", nil, false}, // padded
		{"\x00\x01a\x00octet\x00x\x00\x00y\x001\x00", "a", "octet", []option{{"x", ""}, {"y", "1"}}, false},
	} {
		r, reason := parseRequest([]byte(tt.packet))
		if reason != boot.ReasonNone || string(r.rawName) != tt.name || r.mode != tt.mode || r.write != tt.write || !slices.Equal(r.options, tt.options) {
			t.Errorf("%q: %+v, %q", tt.packet, r, reason)
		}
	}
	many := "\x00\x01a\x00octet\x00"
	for c := 'a'; c < 'a'+26; c++ {
		many += string(c) + "\x001\x00"
	}
	if r, _ := parseRequest([]byte(many)); len(r.options) != maxOptions {
		t.Errorf("%d options", len(r.options))
	}
	for _, bad := range []string{
		"", "\x00", "\x00\x01", "\x00\x01\x00", "\x00\x01abc", "\x00\x01a\x00", "\x00\x01a\x00\x00", "\x00\x01a\x00averylongmode\x00",
		"\x00\x03\x00\x01", "\x00\x04\x00\x01", "\x00\x05\x00\x00x\x00", "\x00\x06a\x00b\x00", "\x01\x00a\x00octet\x00", "\x00\x00a\x00octet\x00",
		"\x00\x01" + strings.Repeat("a", maxPacket) + "\x00octet\x00",
	} {
		if r, reason := parseRequest([]byte(bad)); reason != boot.ReasonTFTPRequest {
			t.Errorf("%.20q: %+v, %q", bad, r, reason)
		}
	}
}

func TestNegotiate(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		options []option
		limit   int
		block   int
		oack    []byte
		timeout time.Duration
	}{
		{"nothing asked", nil, 1468, 512, nil, 0},
		{"only what we do not know", []option{{"windowsize", "4"}, {"multicast", ""}}, 1468, 512, nil, 0},
		{"order and spelling", []option{{"TSIZE", "0"}, {"x", "y"}, {"BlkSize", "1024"}}, 1468, 1024, oack("TSIZE", "9", "BlkSize", "1024"), 0},
		{"clamped", []option{{"blksize", "65464"}}, 1468, 1468, oack("blksize", "1468"), 0},
		{"too large for the standard", []option{{"blksize", "65465"}}, 1468, 512, nil, 0},
		{"below the floor", []option{{"blksize", "511"}}, 1468, 512, nil, 0},
		{"path below the floor", []option{{"blksize", "1468"}}, 500, 512, nil, 0},
		{"leading zero", []option{{"blksize", "01024"}}, 1468, 1024, oack("blksize", "1024"), 0},
		{"timeout", []option{{"timeout", "255"}}, 1468, 512, oack("timeout", "255"), 255 * time.Second},
		{"timeout out of range", []option{{"timeout", "256"}}, 1468, 512, nil, 0},
		{"no number", []option{{"timeout", "1s"}, {"blksize", " 1024"}}, 1468, 512, nil, 0},
	} {
		got := negotiate(tt.options, 9, tt.limit, defaultBlock)
		if got.block != tt.block || !bytes.Equal(got.oack, tt.oack) || got.timeout != tt.timeout {
			t.Errorf("%s: %+v", tt.name, got)
		}
	}
	if got := negotiate([]option{{"blksize", "8"}}, 9, 1468, smallestBlock); got.block != 8 {
		t.Errorf("a sender that can do small blocks: %+v", got)
	}
}

func TestJudge(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name        string
		packet      []byte
		outstanding bool
		want        meaning
	}{
		{"the block", ack(7), true, meansAcked},
		{"with octets behind", append(ack(7), 1, 2, 3), true, meansAcked},
		{"the block before", ack(6), true, meansNothing},
		{"a block to come", ack(8), true, meansNothing},
		{"nothing outstanding", ack(7), false, meansNothing},
		{"short", ack(7)[:3], true, meansNothing},
		{"empty", nil, true, meansNothing},
		{"error", errorPacket(3, "full"), true, meansError},
		{"error without text", []byte{0, 5, 0, 3}, true, meansError},
		{"data", []byte{0, 3, 0, 7, 1}, true, meansNothing},
		{"request", rrq("a"), true, meansNothing},
		{"OACK", oack("tsize", "1"), true, meansNothing},
		{"opcode with a high octet", []byte{1, 4, 0, 7}, true, meansNothing},
	} {
		if got, _ := judge(tt.packet, tt.outstanding, 7); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
	for _, tt := range []struct {
		name          string
		code          errorCode
		blocks        int64
		atOACK, asked bool
		want          bool
	}{
		{"EDK2", 8, 0, true, true, true},
		{"BIOS ROM", 0, 0, true, true, true},
		{"OACK without a size", 8, 0, true, false, true},
		{"after ACK 0", 0, 0, false, true, true},
		{"no options at all", 0, 0, false, false, false},
		{"disk full", 3, 0, true, true, false},
		{"in the middle", 8, 1, false, true, false},
	} {
		if got := isProbe(tt.code, tt.blocks, tt.atOACK, tt.asked); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

func TestPace(t *testing.T) {
	t.Parallel()
	ms := time.Millisecond
	waits := func(p pace, acked bool) (w []time.Duration) {
		for n := 1; n <= sendsLimit(acked); n++ {
			w = append(w, p.next(n, acked))
		}
		return w
	}
	for _, tt := range []struct {
		name    string
		timeout time.Duration
		acked   bool
		want    []time.Duration
	}{
		{"never acknowledged", 0, false, []time.Duration{250 * ms, 2000 * ms}},
		{"never acknowledged, patience asked", 255 * time.Second, false, []time.Duration{250 * ms, 2000 * ms}},
		{"acknowledged", 0, true, []time.Duration{250 * ms, 500 * ms, 1000 * ms, 2000 * ms, 4000 * ms, 4000 * ms}},
		{"1 s asked", time.Second, true, []time.Duration{250 * ms, 500 * ms, 1000 * ms, 1000 * ms, 1000 * ms, 1000 * ms}},
		{"30 s asked", 30 * time.Second, true, []time.Duration{250 * ms, 500 * ms, 1000 * ms, 2000 * ms, 4000 * ms, 30000 * ms}},
		{"too much asked", 255 * time.Second, true, []time.Duration{250 * ms, 500 * ms, 1000 * ms, 2000 * ms, 4000 * ms, 60000 * ms}},
	} {
		if got := waits(newPace(firstWait, tt.timeout), tt.acked); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}

	p := newPace(firstWait, 0)
	for range 50 {
		p.acked(ms, 1)
	}
	if got := p.next(1, true); got != firstWait {
		t.Errorf("1 ms round trip: waits %s", got)
	}
	p.acked(600*ms, 2) // answered after a repetition: the wait grows until one goes through at once
	if got := p.next(1, true); got != 2*firstWait {
		t.Errorf("after a repetition: waits %s", got)
	}
	p.acked(ms, 1)
	if got := p.next(1, true); got != firstWait {
		t.Errorf("after a clean one: waits %s", got)
	}
	for range 50 {
		p.acked(400*ms, 1)
	}
	if got := p.next(1, true); got < 400*ms || got > 800*ms {
		t.Errorf("400 ms round trip: waits %s", got)
	}
	for range 20 {
		p.acked(ms, 6)
	}
	if got := p.next(1, true); got > maxWait {
		t.Errorf("waits %s", got)
	}
}

func TestDecide(t *testing.T) {
	t.Parallel()
	ours := netip.MustParseAddr("192.0.2.2")
	good := arrived{
		packet: rrq("a"), src: netip.MustParseAddrPort("192.0.2.50:2070"),
		at: arrival{ifindex: 2, local: ours, direct: true}, known: true, served: true,
	}
	if v := decide(good, func(netip.Addr, int) boot.Reason { return "" }, func() bool { return true }); v.reason != "" || v.name != "a" || v.answer != nil {
		t.Fatalf("a good request: %+v", v)
	}
	for _, tt := range []struct {
		name   string
		change func(*arrived)
		reason boot.Reason
		answer []byte
	}{
		{"other interface", func(a *arrived) { a.served = false }, boot.ReasonInterface, nil},
		{"arrival unknown", func(a *arrived) { a.known = false }, boot.ReasonInterface, nil},
		{"broadcast", func(a *arrived) { a.at.direct = false }, boot.ReasonTFTPRequest, nil},
		{"port 0", func(a *arrived) { a.src = netip.MustParseAddrPort("192.0.2.50:0") }, boot.ReasonSource, nil},
		{"from 0.0.0.0", func(a *arrived) { a.src = netip.MustParseAddrPort("0.0.0.0:1000") }, boot.ReasonSource, nil},
		{"from a group", func(a *arrived) { a.src = netip.MustParseAddrPort("224.0.0.1:1000") }, boot.ReasonSource, nil},
		{"from broadcast", func(a *arrived) { a.src = netip.MustParseAddrPort("255.255.255.255:1000") }, boot.ReasonSource, nil},
		{"IPv6", func(a *arrived) { a.src = netip.MustParseAddrPort("[fe80::1]:1000") }, boot.ReasonSource, nil},
		{"off link", func(a *arrived) { a.src = netip.MustParseAddrPort("10.9.9.9:1000") }, boot.ReasonSource, nil},
		{"observe", func(a *arrived) { a.src = netip.MustParseAddrPort("192.0.2.99:1000") }, boot.ReasonObserve, nil},
		{"no budget left", func(a *arrived) { a.src = netip.MustParseAddrPort("192.0.2.98:1000") }, boot.ReasonRate, nil},
		{"ERROR", func(a *arrived) { a.packet = errorPacket(0, "x") }, boot.ReasonTFTPRequest, nil},
		{"ACK", func(a *arrived) { a.packet = ack(1) }, boot.ReasonTFTPRequest, nil},
		{"WRQ", func(a *arrived) { a.packet = packRequest(opWRQ, "a", "octet") }, boot.ReasonTFTPWrite, errorPacket(2, textWrite)},
		{"WRQ from off link", func(a *arrived) {
			a.packet, a.src = packRequest(opWRQ, "a", "octet"), netip.MustParseAddrPort("10.9.9.9:1000")
		}, boot.ReasonSource, nil},
		{"mail", func(a *arrived) { a.packet = packRequest(opRRQ, "a", "mail") }, boot.ReasonTFTPRequest, errorPacket(4, textMode)},
		{"name", func(a *arrived) { a.packet = rrq("../a") }, boot.ReasonTFTPName, errorPacket(1, textNotFound)},
	} {
		a := good
		tt.change(&a)
		v := decide(a, func(src netip.Addr, ifindex int) boot.Reason {
			switch src.String() {
			case "10.9.9.9":
				return boot.ReasonSource
			case "192.0.2.99":
				return boot.ReasonObserve
			}
			return boot.ReasonNone
		}, func() bool { return a.src.Addr().String() != "192.0.2.98" })
		if v.reason != tt.reason || !bytes.Equal(v.answer, tt.answer) {
			t.Errorf("%s: %q, % x", tt.name, v.reason, v.answer)
		}
	}
}

func FuzzRequest(f *testing.F) {
	f.Add(rrq("undionly.kpxe", "tsize", "0", "blksize", "1468", "windowsize", "4"), 1500)
	f.Add(packRequest(opRRQ, `\a\b`+"\xff", "NETASCII", "BLKSIZE", "8", "timeout", "255"), 576)
	f.Add(packRequest(opWRQ, "x", "octet"), 1500)
	f.Add([]byte("\x00\x01\x00\x00\x00\x00"), 0)
	f.Add([]byte{0, 5, 0, 0, 0}, 9000)
	constant := [][]byte{errorPacket(1, textNotFound), errorPacket(2, textWrite), errorPacket(4, textMode)}
	f.Fuzz(func(t *testing.T, b []byte, mtu int) {
		v := decide(arrived{
			packet: b, src: netip.MustParseAddrPort("192.0.2.50:2070"),
			at: arrival{local: netip.MustParseAddr("192.0.2.2"), direct: true}, known: true, served: true,
		}, func(netip.Addr, int) boot.Reason { return "" }, func() bool { return true })
		if v.answer != nil && !slices.ContainsFunc(constant, func(c []byte) bool { return bytes.Equal(c, v.answer) }) {
			t.Fatalf("answer % x", v.answer)
		}
		if v.answer != nil && (len(b) < 4 || binary.BigEndian.Uint16(b) > opWRQ) {
			t.Fatalf("% x is answered", b)
		}
		if v.reason != boot.ReasonNone {
			return
		}
		limit := blockLimit(maxBlock, mtu)
		terms := negotiate(v.request.options, 12345, limit, defaultBlock)
		if terms.sized && (terms.block > limit || terms.block < defaultBlock) || !terms.sized && terms.block != defaultBlock {
			t.Fatalf("block size %d, limit %d", terms.block, limit)
		}
		if len(terms.oack) > defaultBlock+4 {
			t.Fatalf("OACK of %d octets", len(terms.oack))
		}
		if terms.oack == nil {
			return
		}
		fields := strings.Split(string(terms.oack[2:len(terms.oack)-1]), "\x00")
		for i := 0; i < len(fields); i += 2 {
			if v.request.option(fields[i]) == nil {
				t.Fatalf("OACK %q has an option that was not asked", terms.oack)
			}
		}
	})
}
