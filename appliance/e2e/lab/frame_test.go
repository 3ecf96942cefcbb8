package lab

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
)

var (
	testMAC   = net.HardwareAddr{0x52, 0x54, 0, 1, 2, 3}
	serverMAC = net.HardwareAddr{0x52, 0x54, 0, 9, 9, 9}
	broadcast = net.HardwareAddr{255, 255, 255, 255, 255, 255}
)

// option is one DHCP option of a test message.
type option struct {
	code  byte
	value []byte
}

// message makes a DHCP message of at least 300 bytes.
func message(op byte, mac net.HardwareAddr, yiaddr string, options ...option) []byte {
	m := make([]byte, dhcpOptions)
	m[0], m[1], m[2] = op, 1, 6
	if yiaddr != "" {
		a := netip.MustParseAddr(yiaddr).As4()
		copy(m[16:], a[:])
	}
	copy(m[28:], mac)
	binary.BigEndian.PutUint32(m[bootpLen:], dhcpCookie)
	for _, o := range options {
		m = append(m, o.code, byte(len(o.value)))
		m = append(m, o.value...)
	}
	m = append(m, 255)
	for len(m) < 300 {
		m = append(m, 0)
	}
	return m
}

func udp(t testing.TB, from net.HardwareAddr, src, dst string, payload []byte) []byte {
	t.Helper()
	to := serverMAC
	if bytes.Equal(from, serverMAC) {
		to = testMAC
	}
	f, err := BuildUDP(from, to, netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst), payload)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// sumsRight verifies both checksums of an IPv4 UDP frame.
func sumsRight(frame []byte) bool {
	ip, ihl, proto, ok := ipv4Of(frame)
	if !ok || proto != protoUDP || checksum(ip[:ihl]) != 0 {
		return false
	}
	udp := ip[ihl:]
	pseudo := append(append([]byte(nil), ip[12:20]...), 0, protoUDP, udp[4], udp[5])
	return checksum(pseudo, udp) == 0
}

func TestBuildUDP(t *testing.T) {
	for _, payload := range [][]byte{nil, {1}, []byte("odd"), bytes.Repeat([]byte{0xff}, 1472)} {
		f := udp(t, testMAC, "0.0.0.0:68", "255.255.255.255:67", payload)
		if !sumsRight(f) {
			t.Errorf("payload of %d bytes: wrong checksum", len(payload))
		}
		u, ok := parseUDP(f)
		if !ok || !bytes.Equal(u.payload, payload) || u.srcPort != 68 || u.dstPort != 67 {
			t.Errorf("payload of %d bytes: read back as %+v", len(payload), u)
		}
	}
	if _, err := BuildUDP(testMAC, broadcast, netip.MustParseAddrPort("0.0.0.0:1"), netip.MustParseAddrPort("0.0.0.0:1"), make([]byte, 1473)); err == nil {
		t.Error("a datagram longer than a frame was accepted")
	}
	if _, err := BuildUDP(testMAC[:3], broadcast, netip.MustParseAddrPort("0.0.0.0:1"), netip.MustParseAddrPort("0.0.0.0:1"), nil); err == nil {
		t.Error("a short hardware address was accepted")
	}
}

func TestParseUDPRefuses(t *testing.T) {
	good := udp(t, testMAC, "10.0.0.1:68", "10.0.0.2:67", []byte("payload"))
	for name, spoil := range map[string]func([]byte) []byte{
		"nothing":        func([]byte) []byte { return nil },
		"cut":            func(f []byte) []byte { return f[:len(f)-1] },
		"ARP":            func(f []byte) []byte { f[13] = 6; return f },
		"IPv6":           func(f []byte) []byte { f[ethLen] = 0x65; return f },
		"header of 16":   func(f []byte) []byte { f[ethLen] = 0x44; return f },
		"fragment":       func(f []byte) []byte { f[ethLen+6] = 0x20; return f },
		"later fragment": func(f []byte) []byte { f[ethLen+7] = 8; return f },
		"TCP":            func(f []byte) []byte { f[ethLen+9] = 6; return f },
		"UDP too long":   func(f []byte) []byte { f[ethLen+25]++; return f },
		"UDP too short":  func(f []byte) []byte { f[ethLen+24], f[ethLen+25] = 0, 7; return f },
	} {
		if u, ok := parseUDP(spoil(bytes.Clone(good))); ok {
			t.Errorf("%s: read as %+v", name, u)
		}
	}
}

func TestParseDHCP(t *testing.T) {
	m, ok := parseDHCP(message(2, testMAC, "10.77.0.100", option{53, []byte{2}}, option{60, []byte("PXEClient")},
		option{54, []byte{10, 77, 0, 1}}, option{60, []byte("second")}))
	if !ok || m.op != 2 || m.msgType != 2 || m.class != "PXEClient" || m.server.String() != "10.77.0.1" ||
		m.yiaddr.String() != "10.77.0.100" || m.chaddr.String() != testMAC.String() {
		t.Errorf("read as %+v, %v", m, ok)
	}
	cut := message(1, testMAC, "", option{53, []byte{1}}, option{12, []byte("name")})
	cut[dhcpOptions+4] = 250 // longer than the message
	if m, ok := parseDHCP(cut); !ok || m.msgType != 1 || m.options[12] != nil {
		t.Errorf("a cut option list was read as %+v, %v", m, ok)
	}
	if _, ok := parseDHCP(make([]byte, 300)); ok {
		t.Error("a message without the magic cookie was accepted")
	}
}
