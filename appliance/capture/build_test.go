package capture

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The stations of the tests.
var (
	clientHW  = hwaddr{0x52, 0x54, 0x00, 0xa7, 0x31, 0x9c}
	boxHW     = hwaddr{0x02, 0x1f, 0x0e, 0x77, 0x42, 0xd1}
	otherHW   = hwaddr{0x3c, 0xec, 0xef, 0x5b, 0x18, 0x63}
	everyone  = hwaddr{255, 255, 255, 255, 255, 255}
	clientIP  = ip("10.77.143.52")
	boxIP     = ip("10.77.143.7")
	serverIP  = ip("10.77.140.1")
	broadcast = ip("255.255.255.255")
)

const webPort = 80

func ip(s string) ipaddr { return netip.MustParseAddr(s).As4() }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func ether(dst, src hwaddr, etherType uint16, payload []byte) []byte {
	b := append(append([]byte{}, dst[:]...), src[:]...)
	b = append(binary.BigEndian.AppendUint16(b, etherType), payload...)
	for len(b) < 60 { // as on the wire
		b = append(b, 0)
	}
	return b
}

func vlan(b []byte, tpid, id uint16) []byte {
	out := binary.BigEndian.AppendUint16(bytes.Clone(b[:12]), tpid)
	return append(binary.BigEndian.AppendUint16(out, id), b[12:]...)
}

func arp(src, dst hwaddr, from, to ipaddr) []byte {
	b := []byte{0, 1, 8, 0, 6, 4, 0, 1}
	b = append(append(b, src[:]...), from[:]...)
	b = append(append(b, make([]byte, 6)...), to[:]...)
	return ether(dst, src, etherARP, b)
}

// ipv4 puts correct headers and checksums around a segment.
func ipv4(proto byte, from, to ipaddr, segment []byte) []byte {
	b := make([]byte, lenIPv4, lenIPv4+len(segment))
	b[0], b[8], b[9] = 0x45, 64, proto
	binary.BigEndian.PutUint16(b[2:], uint16(lenIPv4+len(segment)))
	copy(b[12:], from[:])
	copy(b[16:], to[:])
	binary.BigEndian.PutUint16(b[10:], ^sum(b, 0))
	at := 6
	if proto == 6 {
		at = 16
	}
	c := ^sum(segment, uint32(sum(b[12:20], uint32(proto)+uint32(len(segment)))))
	binary.BigEndian.PutUint16(segment[at:], c)
	return append(b, segment...)
}

func udp(src, dst hwaddr, from, to ipaddr, sport, dport uint16, payload []byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, sport)
	b = binary.BigEndian.AppendUint16(b, dport)
	b = binary.BigEndian.AppendUint16(b, uint16(lenUDP+len(payload)))
	b = append(append(b, 0, 0), payload...)
	return ether(dst, src, etherIPv4, ipv4(17, from, to, b))
}

const (
	fin, syn, rst, ack = 1, 2, 4, 16
)

func tcp(src, dst hwaddr, from, to ipaddr, sport, dport uint16, flags byte, payload string) []byte {
	b := binary.BigEndian.AppendUint16(nil, sport)
	b = binary.BigEndian.AppendUint16(b, dport)
	b = append(b, 0, 0, 1, 0, 0, 0, 2, 0, 0x80, flags, 16, 0, 0, 0, 0, 0)
	b = append(b, 1, 1, 8, 10, 0, 0, 0, 9, 0, 0, 0, 8) // two no-ops, time stamps
	return ether(dst, src, etherIPv4, ipv4(6, from, to, append(b, payload...)))
}

// opt is one DHCP option.
func opt(code byte, value string) string { return string([]byte{code, byte(len(value))}) + value }

// dhcp is the UDP payload of a DHCP packet.
func dhcp(op byte, hw hwaddr, options ...string) []byte {
	b := make([]byte, lenDHCP)
	b[0], b[1], b[2] = op, 1, 6
	copy(b[4:], "\x8b\x42\x91\x1f")
	copy(b[28:], hw[:])
	copy(b[236:], "\x63\x82\x53\x63")
	return append(b, strings.Join(options, "")+"\xff"...)
}

const (
	uefiClass = "PXEClient:Arch:00007:UNDI:003001"
	guid      = "\x00\xd1\x7e\x93\x4c\x21\x5a\x44\x10\x80\x4d\xb6\xc0\x4f\x58\x37\x32"
)

func discover(hw hwaddr, more ...string) []byte {
	options := append([]string{
		opt(53, "\x01"), opt(55, "\x01\x03\x2b\x3c\x42\x43"), opt(57, "\x05\xc0"), opt(60, uefiClass),
		opt(93, "\x00\x07"), opt(94, "\x01\x03\x01"), opt(97, guid),
	}, more...)
	return udp(hw, everyone, ipaddr{}, broadcast, 68, 67, dhcp(1, hw, options...))
}

func block(op byte, n uint16, data string) []byte {
	return append([]byte{0, op, byte(n >> 8), byte(n)}, data...)
}

// toBox and toClient are UDP packets between the two.
func toBox(sport, dport uint16, payload []byte) []byte {
	return udp(clientHW, boxHW, clientIP, boxIP, sport, dport, payload)
}

func toClient(sport, dport uint16, payload []byte) []byte {
	return udp(boxHW, clientHW, boxIP, clientIP, sport, dport, payload)
}

func asks(payload string) []byte {
	return tcp(clientHW, boxHW, clientIP, boxIP, 40123, webPort, ack, payload)
}

func answers(payload string) []byte {
	return tcp(boxHW, clientHW, boxIP, clientIP, webPort, 40123, ack, payload)
}
