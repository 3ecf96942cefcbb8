package lab

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
)

// Protocol numbers and ports the lab looks at (IANA registries).
const (
	etherIPv4 = 0x0800
	protoTCP  = 6
	protoUDP  = 17

	portDHCPServer = 67
	portDHCPClient = 68
	portTFTP       = 69
	portPXE        = 4011
)

const (
	ethLen      = 14
	ipv4MinLen  = 20
	udpLen      = 8
	bootpLen    = 236 // fixed BOOTP header, RFC 951
	dhcpCookie  = 0x63825363
	dhcpOptions = bootpLen + 4
)

// udpFrame is a view into an Ethernet frame that carries one unfragmented
// IPv4 UDP datagram. The slices alias the frame.
type udpFrame struct {
	srcMAC, dstMAC   net.HardwareAddr
	src, dst         netip.Addr
	srcPort, dstPort uint16
	ipLen            int // length of the IPv4 header, bytes
	payload          []byte
}

// tcpFrame is the same view for one TCP segment.
type tcpFrame struct {
	srcMAC, dstMAC   net.HardwareAddr
	src, dst         netip.Addr
	srcPort, dstPort uint16
	seq, ack         uint32
	flags            byte
	payload          []byte
}

const (
	tcpFIN = 1 << 0
	tcpSYN = 1 << 1
	tcpRST = 1 << 2
	tcpACK = 1 << 4
)

// ipv4Of returns the IPv4 header length and the packet cut to its total
// length, or ok=false for everything that is not a whole, unfragmented IPv4
// packet in an untagged Ethernet frame.
func ipv4Of(frame []byte) (ip []byte, ihl int, proto byte, ok bool) {
	if len(frame) < ethLen+ipv4MinLen || binary.BigEndian.Uint16(frame[12:]) != etherIPv4 {
		return nil, 0, 0, false
	}
	ip = frame[ethLen:]
	if ip[0]>>4 != 4 {
		return nil, 0, 0, false
	}
	ihl = int(ip[0]&0x0f) * 4
	total := int(binary.BigEndian.Uint16(ip[2:]))
	if ihl < ipv4MinLen || total < ihl || total > len(ip) {
		return nil, 0, 0, false
	}
	// More fragments, or an offset: neither carries a header we could trust.
	if binary.BigEndian.Uint16(ip[6:])&0x3fff != 0 {
		return nil, 0, 0, false
	}
	return ip[:total], ihl, ip[9], true
}

func parseUDP(frame []byte) (udpFrame, bool) {
	ip, ihl, proto, ok := ipv4Of(frame)
	if !ok || proto != protoUDP || len(ip) < ihl+udpLen {
		return udpFrame{}, false
	}
	udp := ip[ihl:]
	n := int(binary.BigEndian.Uint16(udp[4:]))
	if n < udpLen || n > len(udp) {
		return udpFrame{}, false
	}
	return udpFrame{
		dstMAC: frame[0:6], srcMAC: frame[6:12],
		src: netip.AddrFrom4([4]byte(ip[12:16])), dst: netip.AddrFrom4([4]byte(ip[16:20])),
		srcPort: binary.BigEndian.Uint16(udp), dstPort: binary.BigEndian.Uint16(udp[2:]),
		ipLen: ihl, payload: udp[udpLen:n],
	}, true
}

func parseTCP(frame []byte) (tcpFrame, bool) {
	ip, ihl, proto, ok := ipv4Of(frame)
	if !ok || proto != protoTCP || len(ip) < ihl+20 {
		return tcpFrame{}, false
	}
	tcp := ip[ihl:]
	off := int(tcp[12]>>4) * 4
	if off < 20 || off > len(tcp) {
		return tcpFrame{}, false
	}
	return tcpFrame{
		dstMAC: frame[0:6], srcMAC: frame[6:12],
		src: netip.AddrFrom4([4]byte(ip[12:16])), dst: netip.AddrFrom4([4]byte(ip[16:20])),
		srcPort: binary.BigEndian.Uint16(tcp), dstPort: binary.BigEndian.Uint16(tcp[2:]),
		seq: binary.BigEndian.Uint32(tcp[4:]), ack: binary.BigEndian.Uint32(tcp[8:]),
		flags: tcp[13], payload: tcp[off:],
	}, true
}

// dhcpMessage is the little the lab reads from a DHCP message. It is a second,
// independent reading of the wire: it shares no code with the product.
type dhcpMessage struct {
	op      byte
	xid     uint32
	yiaddr  netip.Addr
	siaddr  netip.Addr
	chaddr  net.HardwareAddr
	file    string
	msgType byte
	class   string     // option 60
	server  netip.Addr // option 54, invalid if absent
	options map[byte][]byte
}

// parseDHCP reads a BOOTP/DHCP message (RFC 2131). ok is false unless the fixed
// header and the magic cookie are there; a truncated option list is read as
// far as it goes.
func parseDHCP(b []byte) (dhcpMessage, bool) {
	if len(b) < dhcpOptions || binary.BigEndian.Uint32(b[bootpLen:]) != dhcpCookie {
		return dhcpMessage{}, false
	}
	m := dhcpMessage{
		op: b[0], xid: binary.BigEndian.Uint32(b[4:]),
		yiaddr: netip.AddrFrom4([4]byte(b[16:20])), siaddr: netip.AddrFrom4([4]byte(b[20:24])),
		chaddr: net.HardwareAddr(b[28:34]), file: cstring(b[108:236]),
		options: make(map[byte][]byte),
	}
	for code, value := range dhcpOptionList(b[dhcpOptions:]) {
		if _, seen := m.options[code]; !seen {
			m.options[code] = value
		}
	}
	if v := m.options[53]; len(v) == 1 {
		m.msgType = v[0]
	}
	m.class = string(m.options[60])
	if v := m.options[54]; len(v) == 4 {
		m.server = netip.AddrFrom4([4]byte(v))
	}
	return m, true
}

// dhcpOptionList walks an option area: every option once, in order, until the
// end option or the first one that does not fit.
func dhcpOptionList(b []byte) func(yield func(byte, []byte) bool) {
	return func(yield func(byte, []byte) bool) {
		for len(b) > 0 {
			code := b[0]
			if code == 255 {
				return
			}
			if code == 0 {
				b = b[1:]
				continue
			}
			if len(b) < 2 || len(b) < 2+int(b[1]) {
				return
			}
			n := int(b[1])
			if !yield(code, b[2:2+n]) {
				return
			}
			b = b[2+n:]
		}
	}
}

func cstring(b []byte) string {
	for i, c := range b {
		if c == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}

// checksum is the Internet checksum (RFC 1071) of the parts, each but the last
// of even length.
func checksum(parts ...[]byte) uint16 {
	var sum uint32
	for _, p := range parts {
		for ; len(p) >= 2; p = p[2:] {
			sum += uint32(p[0])<<8 | uint32(p[1])
		}
		if len(p) == 1 {
			sum += uint32(p[0]) << 8
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// fixUDP rewrites the lengths and both checksums of an IPv4 UDP frame whose
// payload now reaches to the end of the slice.
func fixUDP(frame []byte, ihl int) {
	ip := frame[ethLen:]
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	ip[10], ip[11] = 0, 0
	binary.BigEndian.PutUint16(ip[10:], checksum(ip[:ihl]))
	udp := ip[ihl:]
	binary.BigEndian.PutUint16(udp[4:], uint16(len(udp)))
	udp[6], udp[7] = 0, 0
	sum := udpChecksum(ip, udp)
	binary.BigEndian.PutUint16(udp[6:], sum)
}

// udpChecksum computes the UDP checksum with the pseudo header of RFC 768;
// zero is sent as ones, because zero means "none".
func udpChecksum(ip, udp []byte) uint16 {
	pseudo := make([]byte, 12)
	copy(pseudo, ip[12:20])
	pseudo[9] = protoUDP
	binary.BigEndian.PutUint16(pseudo[10:], uint16(len(udp)))
	sum := checksum(pseudo, udp)
	if sum == 0 {
		sum = 0xffff
	}
	return sum
}

// BuildUDP makes a complete Ethernet frame with one IPv4 UDP datagram, for
// tests that speak on the LAN without an address of their own.
func BuildUDP(srcMAC, dstMAC net.HardwareAddr, src, dst netip.AddrPort, payload []byte) ([]byte, error) {
	if len(srcMAC) != 6 || len(dstMAC) != 6 {
		return nil, fmt.Errorf("build frame: hardware addresses of %d and %d bytes", len(srcMAC), len(dstMAC))
	}
	if !src.Addr().Is4() || !dst.Addr().Is4() {
		return nil, fmt.Errorf("build frame: %s to %s is not IPv4", src, dst)
	}
	if len(payload) > 1472 {
		return nil, fmt.Errorf("build frame: payload of %d bytes exceeds one frame", len(payload))
	}
	frame := make([]byte, ethLen+ipv4MinLen+udpLen, ethLen+ipv4MinLen+udpLen+len(payload))
	copy(frame, dstMAC)
	copy(frame[6:], srcMAC)
	binary.BigEndian.PutUint16(frame[12:], etherIPv4)
	ip := frame[ethLen:]
	ip[0], ip[8], ip[9] = 0x45, 64, protoUDP
	s, d := src.Addr().As4(), dst.Addr().As4()
	copy(ip[12:], s[:])
	copy(ip[16:], d[:])
	binary.BigEndian.PutUint16(ip[20:], src.Port())
	binary.BigEndian.PutUint16(ip[22:], dst.Port())
	frame = append(frame, payload...)
	fixUDP(frame, ipv4MinLen)
	return frame, nil
}
