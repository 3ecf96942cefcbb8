package proxydhcp

import (
	"errors"
	"io"
	"net"
	"net/netip"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// Option codes (RFC 2132, 3004, 3046, 4578, 5071; 175 is iPXE's).
const (
	optVendor    = 43
	optRequested = 50
	optType      = 53
	optServer    = 54
	optMaxSize   = 57
	optClass     = 60
	optTFTP      = 66
	optBootFile  = 67
	optUserClass = 77
	optRelay     = 82
	optArch      = 93
	optGUID      = 97
	optIPXE      = 175
	optConfig    = 209
	optPrefix    = 210
	optEnd       = 255
)

// Message types (RFC 2132 section 9.6).
const (
	typeDiscover = 1
	typeOffer    = 2
	typeRequest  = 3
	typeAck      = 5
	typeInform   = 8
)

const (
	headerLen = 240 // BOOTP header and magic cookie
	opRequest = 1
	opReply   = 2
	// maxHops is how many relays a packet may have passed (RFC 1542 section 4.1.1).
	maxHops = 16
	// maxPacket is more than an Ethernet frame carries; the codec would join
	// the pieces of options of longer ones without a bound.
	maxPacket = 2048
)

// request is one decoded packet. Everything in it is a stranger's claim.
type request struct {
	p       *dhcpv4.DHCPv4
	hlen    byte // as sent; the codec clamps it
	mac     boot.MAC
	xid     uint32
	typ     byte // option 53; 0 when missing or malformed
	ciaddr  netip.Addr
	giaddr  netip.Addr
	class   boot.Class
	item    uint16 // 43.71: the boot-server type asked for
	hasItem bool   // 43.71 was there
}

func (r *request) option(code uint8) []byte { return r.p.Options[code] }

func (r *request) relayed() bool { return !r.giaddr.IsUnspecified() }

// hardware returns the hardware address of a packet that may not be decodable;
// ok is false when it is too short to have one.
func hardware(raw []byte) (chaddr []byte, ok bool) {
	if len(raw) < 44 {
		return nil, false
	}
	return raw[28 : 28+min(int(raw[2]), 16)], true
}

// decode reads a packet. ok is false when it is not DHCP even after the one
// repair that firmware in the field needs: a missing End option.
func decode(raw []byte, port int) (r *request, ok bool) {
	r = &request{}
	if chaddr, ok := hardware(raw); ok {
		r.hlen, r.mac = raw[2], boot.MACOf(chaddr)
		r.xid = uint32(raw[4])<<24 | uint32(raw[5])<<16 | uint32(raw[6])<<8 | uint32(raw[7])
	}
	if len(raw) > maxPacket {
		return r, false
	}
	p, err := dhcpv4.FromBytes(raw)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		p, err = dhcpv4.FromBytes(append(raw[:len(raw):len(raw)], 0xff))
	}
	if err != nil {
		return r, false
	}
	r.p = p
	r.ciaddr, r.giaddr = addr4(p.ClientIPAddr), addr4(p.GatewayIPAddr)
	if v := r.option(optType); len(v) == 1 {
		r.typ = v[0]
	}
	r.class = boot.ClassOf(string(r.option(optClass)))
	wellFormed := r.readItem()
	// Other vendors put other things into option 43, so only a packet that was
	// sent to a PXE boot server must follow PXE's rules there.
	return r, wellFormed || port != PortBoot
}

// readItem reads 43.71, the boot item: type and layer, two octets each (PXE 2.1
// table 2-1). The layer's top bit asks for credentials nobody uses; the rest
// numbers parts of one boot. Neither changes what we answer.
func (r *request) readItem() (ok bool) {
	ok = true
	boot.WalkSubOptions(r.option(optVendor), func(code byte, v []byte) bool {
		if code != subItem {
			return true
		}
		if len(v) != 4 {
			ok = false
			return false
		}
		r.item, r.hasItem = uint16(v[0])<<8|uint16(v[1]), true
		return true
	}, func() { ok = false })
	if !ok {
		r.item, r.hasItem = 0, false
	}
	return ok
}

// facts are what identity is read from.
func (r *request) facts() boot.Facts {
	return boot.Facts{
		MAC: r.mac, XID: r.xid, Relayed: r.relayed(),
		Class:     string(r.option(optClass)),
		UserClass: r.option(optUserClass),
		Arch:      r.option(optArch),
		GUID:      r.option(optGUID),
		IPXE:      r.option(optIPXE),
	}
}

// lease is the address that a REQUEST asks the site's DHCP server for.
func (r *request) lease() netip.Addr {
	if v := r.option(optRequested); len(v) == 4 {
		return netip.AddrFrom4([4]byte(v))
	}
	return r.ciaddr
}

// badHardware: nothing could be sent to such an address.
func (r *request) badHardware() bool {
	hw := r.p.ClientHWAddr
	if r.hlen == 0 || r.hlen > 16 || hw[0]&1 != 0 {
		return true
	}
	for _, b := range hw {
		if b != 0 {
			return false
		}
	}
	return true
}

// badGUID: option 97 is there and is not a type octet 0 with 16 octets.
func (r *request) badGUID() bool {
	v, there := r.p.Options[optGUID]
	return there && (len(v) != 17 || v[0] != 0)
}

// maxReply is how many octets of UDP payload the client takes: 548 (an IP
// packet of 576, which every host takes) unless option 57 allows more. Some
// clients count IP and UDP headers in option 57 and others do not, so they are
// always subtracted; values beyond an Ethernet frame are a known byte-order bug
// of EDK2.
func (r *request) maxReply() int {
	const headers, least, most = 28, 576, 1500
	size := least
	if v := r.option(optMaxSize); len(v) == 2 {
		size = min(max(int(v[0])<<8|int(v[1]), least), most)
	}
	return size - headers
}

// addr4 converts the codec's address, four octets by construction.
func addr4(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a
}
