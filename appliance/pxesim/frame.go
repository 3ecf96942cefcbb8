package pxesim

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
)

// errFrame is returned for frames that are not a whole UDP datagram for this client.
var errFrame = errors.New("not a usable frame")

const (
	etherIPv4 = 0x0800
	etherARP  = 0x0806
	etherLen  = 14
)

// sum16 adds b to an Internet checksum in progress (RFC 1071).
func sum16(acc uint32, b []byte) uint32 {
	for ; len(b) >= 2; b = b[2:] {
		acc += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) == 1 {
		acc += uint32(b[0]) << 8
	}
	return acc
}

func fold(acc uint32) uint16 {
	for acc > 0xffff {
		acc = acc>>16 + acc&0xffff
	}
	return ^uint16(acc)
}

// udpFrame wraps a datagram in UDP, IPv4 and Ethernet.
func udpFrame(src, dst net.HardwareAddr, d Datagram) ([]byte, error) {
	if !d.Src.Addr().Is4() || !d.Dst.Addr().Is4() || len(d.Payload) > 65507 {
		return nil, fmt.Errorf("frame %v to %v, %d bytes: %w", d.Src, d.Dst, len(d.Payload), errFrame)
	}
	b := make([]byte, etherLen+28, etherLen+28+len(d.Payload))
	copy(b, dst)
	copy(b[6:], src)
	binary.BigEndian.PutUint16(b[12:], etherIPv4)
	ip, udp := b[etherLen:], b[etherLen+20:]
	ip[0] = 0x45
	binary.BigEndian.PutUint16(ip[2:], uint16(28+len(d.Payload)))
	ip[8], ip[9] = 64, 17
	put4(ip[12:], d.Src.Addr())
	put4(ip[16:], d.Dst.Addr())
	binary.BigEndian.PutUint16(ip[10:], fold(sum16(0, ip[:20])))
	binary.BigEndian.PutUint16(udp, d.Src.Port())
	binary.BigEndian.PutUint16(udp[2:], d.Dst.Port())
	binary.BigEndian.PutUint16(udp[4:], uint16(8+len(d.Payload)))
	acc := sum16(17+uint32(8+len(d.Payload)), ip[12:20])
	check := fold(sum16(sum16(acc, udp[:8]), d.Payload))
	if check == 0 {
		check = 0xffff
	}
	binary.BigEndian.PutUint16(udp[6:], check)
	return append(b, d.Payload...), nil
}

// parseUDPFrame takes a frame apart. The UDP checksum is not verified: on virtual links it is left to
// hardware that is not there. Fragments are refused: DHCP and size-clamped TFTP need none.
func parseUDPFrame(b []byte) (dst net.HardwareAddr, d Datagram, err error) {
	if len(b) < etherLen+28 || binary.BigEndian.Uint16(b[12:]) != etherIPv4 {
		return nil, Datagram{}, errFrame
	}
	ip := b[etherLen:]
	header := int(ip[0]&15) * 4
	total := int(binary.BigEndian.Uint16(ip[2:]))
	if ip[0]>>4 != 4 || header < 20 || total < header+8 || total > len(ip) || ip[9] != 17 ||
		binary.BigEndian.Uint16(ip[6:])&0x3fff != 0 {
		return nil, Datagram{}, errFrame
	}
	udp := ip[header:total]
	length := int(binary.BigEndian.Uint16(udp[4:]))
	if length < 8 || length > len(udp) {
		return nil, Datagram{}, errFrame
	}
	return net.HardwareAddr(b[:6]), Datagram{
		Src:     netip.AddrPortFrom(addr4(ip[12:]), binary.BigEndian.Uint16(udp)),
		Dst:     netip.AddrPortFrom(addr4(ip[16:]), binary.BigEndian.Uint16(udp[2:])),
		Payload: append([]byte(nil), udp[8:length]...),
	}, nil
}

// arpPacket is an Ethernet ARP message for IPv4 (RFC 826).
type arpPacket struct {
	op                 uint16 // 1 request, 2 reply
	senderMAC          net.HardwareAddr
	senderIP, targetIP netip.Addr
	targetMAC          net.HardwareAddr
}

func (a arpPacket) frame(src, dst net.HardwareAddr) []byte {
	b := make([]byte, 60)
	copy(b, dst)
	copy(b[6:], src)
	binary.BigEndian.PutUint16(b[12:], etherARP)
	p := b[etherLen:]
	copy(p, []byte{0, 1, 8, 0, 6, 4})
	binary.BigEndian.PutUint16(p[6:], a.op)
	copy(p[8:14], a.senderMAC)
	put4(p[14:], a.senderIP)
	copy(p[18:24], a.targetMAC)
	put4(p[24:], a.targetIP)
	return b
}

func parseARP(b []byte) (arpPacket, error) {
	if len(b) < etherLen+28 || binary.BigEndian.Uint16(b[12:]) != etherARP || [6]byte(b[14:20]) != [6]byte{0, 1, 8, 0, 6, 4} {
		return arpPacket{}, errFrame
	}
	p := b[etherLen:]
	return arpPacket{
		op:        binary.BigEndian.Uint16(p[6:]),
		senderMAC: append(net.HardwareAddr(nil), p[8:14]...), senderIP: addr4(p[14:]),
		targetMAC: append(net.HardwareAddr(nil), p[18:24]...), targetIP: addr4(p[24:]),
	}, nil
}
