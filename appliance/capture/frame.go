package capture

import (
	"encoding/binary"
	"net/netip"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// kind says what a frame is about.
type kind uint8

const (
	kindARP kind = iota
	kindDHCP
	kindTFTP
	kindHTTP
)

// class is the share of memory that a frame takes part in. Anybody can send
// broadcasts; a flood of them must not push out transfers.
type class uint8

const (
	classAsking   class = iota // DHCP, ARP
	classFetching              // TFTP, HTTP
)

type (
	hwaddr [6]byte
	ipaddr [4]byte
)

func (a ipaddr) netip() netip.Addr { return netip.AddrFrom4(a) }

// Lengths of headers, octets.
const (
	lenEther = 14
	lenIPv4  = 20
	lenUDP   = 8
	lenTCP   = 20
	lenARP   = 28  // of Ethernet and IPv4
	lenDHCP  = 240 // fixed part with the magic cookie, RFC 2131 section 2
)

// frame is what is read of an Ethernet frame. Slices point into it.
type frame struct {
	kind     kind
	dst, src hwaddr
	network  int // offset of the ARP or IPv4 header

	// ARP: who asks and who is asked for; IPv4: sender and receiver.
	fromHW, toHW hwaddr // ARP only
	from, to     ipaddr

	transport    int // offset of the UDP or TCP header
	sport, dport uint16
	payload      int  // offset of what UDP or TCP carries; len of the frame when nothing is there
	end          int  // offset behind the IPv4 packet, or of the end of the frame
	whole        bool // the IPv4 packet is complete, and no fragment

	// DHCP
	client     hwaddr // chaddr of six octets; zero otherwise
	ciaddr     ipaddr
	yiaddr     ipaddr
	bootClient bool // a request of firmware or a boot program

	opcode uint16 // TFTP
}

func (f *frame) class() class {
	switch f.kind {
	case kindARP, kindDHCP:
		return classAsking
	case kindTFTP, kindHTTP:
	}
	return classFetching
}

// parse reads a frame that may be cut off. ok is false for what the filter does
// not let through: the filter saves work, this decides.
func parse(b []byte, httpPort uint16) (f frame, ok bool) {
	if len(b) < lenEther {
		return f, false
	}
	f.dst, f.src = hwaddr(b), hwaddr(b[6:])
	at := 12
	for range 2 { // at most two VLAN tags
		if t := binary.BigEndian.Uint16(b[at:]); t != etherVLAN && t != etherQinQ || len(b) < at+6 {
			break
		}
		at += 4
	}
	f.network = at + 2
	f.end = len(b)
	switch binary.BigEndian.Uint16(b[at:]) {
	case etherARP:
		return f, f.parseARP(b[f.network:])
	case etherIPv4:
		return f, f.parseIPv4(b, httpPort)
	}
	return f, false
}

func (f *frame) parseARP(b []byte) bool {
	f.kind = kindARP
	if len(b) < lenARP || binary.BigEndian.Uint32(b) != 0x0001_0800 || b[4] != 6 || b[5] != 4 {
		return false
	}
	f.fromHW, f.from, f.toHW, f.to = hwaddr(b[8:]), ipaddr(b[14:]), hwaddr(b[18:]), ipaddr(b[24:])
	f.end = f.network + lenARP
	return true
}

func (f *frame) parseIPv4(b []byte, httpPort uint16) bool {
	ip := b[f.network:]
	if len(ip) < lenIPv4 || ip[0]>>4 != 4 {
		return false
	}
	header, total := int(ip[0]&15)*4, int(binary.BigEndian.Uint16(ip[2:]))
	fragment := binary.BigEndian.Uint16(ip[6:])
	if header < lenIPv4 || len(ip) < header || fragment&0x1fff != 0 {
		return false
	}
	f.from, f.to = ipaddr(ip[12:]), ipaddr(ip[16:])
	f.whole = total >= header && total <= len(ip) && fragment&0x2000 == 0
	if total >= header && total < len(ip) {
		f.end = f.network + total // what follows is padding
	}
	f.transport = f.network + header
	segment := b[f.transport:f.end]
	switch ip[9] {
	case 17:
		return f.parseUDP(segment)
	case 6:
		return f.parseTCP(segment, httpPort)
	}
	return false
}

func (f *frame) parseUDP(b []byte) bool {
	if len(b) < lenUDP {
		return false
	}
	f.sport, f.dport = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	f.payload = f.transport + lenUDP
	b = b[lenUDP:]
	for _, p := range []uint16{f.sport, f.dport} {
		if p == portServer || p == portClient || p == portBootServer {
			f.kind = kindDHCP
			f.parseDHCP(b)
			return true
		}
	}
	f.kind = kindTFTP
	if len(b) < 4 {
		return false
	}
	f.opcode = binary.BigEndian.Uint16(b)
	switch f.opcode {
	case tftpRead, tftpWrite:
		return f.dport == portTFTP
	case tftpData, tftpAck, tftpError, tftpOack:
		return true
	}
	return false
}

// parseDHCP reads as much as is there; a packet that is none is kept all the
// same, since a malformed one may be the very reason why a machine does not boot.
func (f *frame) parseDHCP(b []byte) {
	if len(b) < lenDHCP {
		return
	}
	f.ciaddr, f.yiaddr = ipaddr(b[12:]), ipaddr(b[16:])
	if b[2] == 6 {
		f.client = hwaddr(b[28:])
	}
	boot.WalkSubOptions(b[lenDHCP:], func(code byte, v []byte) bool {
		switch code {
		case 60: // vendor class
			f.bootClient = f.bootClient || boot.ClassOf(string(v)) != boot.ClassNone
		case 77, 93, 97, 175: // user class, architecture, machine identifier, iPXE
			f.bootClient = true
		}
		return !f.bootClient
	}, func() {})
}

func (f *frame) parseTCP(b []byte, httpPort uint16) bool {
	if len(b) < lenTCP {
		return false
	}
	f.kind = kindHTTP
	f.sport, f.dport = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	header := int(b[12]>>4) * 4
	if header < lenTCP {
		return false
	}
	f.payload = f.transport + min(header, len(b))
	return f.sport == httpPort || f.dport == httpPort
}

// about says whether the frame has to do with one of the stations.
func (f *frame) about(macs map[hwaddr]bool, addrs map[ipaddr]bool) bool {
	if len(macs) > 0 {
		if macs[f.src] || macs[f.dst] {
			return true
		}
		if f.kind == kindARP && (macs[f.fromHW] || macs[f.toHW]) || f.kind == kindDHCP && macs[f.client] {
			return true
		}
	}
	if len(addrs) > 0 {
		if addrs[f.from] || addrs[f.to] || f.kind == kindDHCP && (addrs[f.ciaddr] || addrs[f.yiaddr]) {
			return true
		}
	}
	return false
}
