package lan

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// Ports of the replies that are listened to.
const (
	portServer     = 67   // DHCP servers and PXE proxies
	portClient     = 68   // where replies go
	portBootServer = 4011 // PXE boot servers
)

// Limits of what is kept of one reply.
const (
	maxFrame = 2048 // octets read of a packet; DHCP replies are below 1500
	maxText  = 255  // octets of a name, the longest a DHCP option can be
)

// directControl is option 43 of an offer that names its file outright: discovery
// control with the one bit that says so, and the end (PXE 2.1 table 2-1).
const directControl = "\x06\x01\x08\xff"

// errReply says why a packet is no reply of a DHCP server.
var errReply = errors.New("not a DHCP reply")

// heard is what one overheard reply says about its server, and to whom. The
// table of servers keeps nothing of the client; what was said to it becomes an
// event of its boot, and that is all.
type heard struct {
	client boot.MAC   // chaddr: whom it is for
	xid    uint32     // the client's transaction
	your   netip.Addr // the address it is given

	all bool // it was sent to everybody, so that its client heard it too

	mac     boot.MAC   // who put the packet on this wire: the server, its router or relay
	source  netip.Addr // IP source
	port    uint16     // UDP source port
	server  netip.Addr // option 54; the IP source when there is none
	relay   netip.Addr // giaddr, when the reply came through a relay
	kind    dhcpv4.MessageType
	lease   bool   // it grants or confirms an address
	class   string // option 60
	control bool   // option 43 holds PXE discovery control or menus (43.6 to 43.10)
	direct  bool   // option 43 is the one of this product's direct offers
	dns     bool   // it names a DNS server
	header  bool   // the boot file stood in the header field
	file    string // boot file: option 67, else the header field
	next    string // next server: siaddr, else option 66 or the header field
}

// parse reads an IPv4 packet as a DHCP reply. It accepts any bytes.
func parse(packet []byte) (heard, error) {
	var h heard
	payload, err := h.readHeaders(packet)
	if err != nil {
		return h, err
	}
	p, err := decode(payload)
	if err != nil {
		return h, err
	}
	if p.OpCode != dhcpv4.OpcodeBootReply {
		return h, fmt.Errorf("%w: a request", errReply)
	}
	// The library has read the fixed part, so it is there. RFC 2132 section
	// 9.3: both name fields may hold options instead of names.
	sname, file := payload[44:108], payload[108:236]
	o := p.Options
	if overload := o[52]; len(overload) == 1 {
		for _, f := range []struct {
			bit   byte
			field *[]byte
		}{{1, &file}, {2, &sname}} {
			if overload[0]&f.bit != 0 {
				more := dhcpv4.Options{}
				_ = more.FromBytes(*f.field) // what came before an error still counts
				for code, v := range more {
					if _, there := o[code]; !there {
						o[code] = v
					}
				}
				*f.field = nil
			}
		}
	}
	if v := o[53]; len(v) == 1 {
		h.kind = dhcpv4.MessageType(v[0])
	}
	h.server = address4(o[54])
	if !h.server.IsValid() {
		h.server = h.source
	}
	h.xid = binary.BigEndian.Uint32(payload[4:])
	h.client = boot.MACOf(payload[28 : 28+min(int(payload[2]), 16)])
	h.relay = address4(p.GatewayIPAddr.To4())
	h.your = address4(p.YourIPAddr.To4())
	h.lease = h.your.IsValid()
	h.class = text(o[60])
	h.dns = len(o[6]) >= 4
	if h.file = text(o[67]); h.file == "" {
		h.file = text(file)
		h.header = h.file != ""
	}
	if next := address4(p.ServerIPAddr.To4()); next.IsValid() {
		h.next = next.String()
	} else if h.next = text(o[66]); h.next == "" {
		h.next = text(sname)
	}
	h.direct = string(o[43]) == directControl
	if boot.ClassOf(h.class) == boot.ClassPXE {
		boot.WalkSubOptions(o[43], func(code byte, _ []byte) bool {
			h.control = h.control || code >= 6 && code <= 10
			return !h.control
		}, func() {})
	}
	return h, nil
}

// readHeaders reads the IP and UDP headers and returns what follows them. The
// socket's filter has checked most of it; it is checked again, since the filter
// is only there to save work. Checksums are not: packets between virtual
// machines on one host never get any.
func (h *heard) readHeaders(b []byte) (payload []byte, err error) {
	if len(b) < 20 || b[0]>>4 != 4 {
		return nil, fmt.Errorf("%w: no IPv4 header", errReply)
	}
	header, total := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
	fragment := binary.BigEndian.Uint16(b[6:]) & 0x3fff // more-fragments flag and offset
	if header < 20 || total < header+8 || total > len(b) || b[9] != 17 || fragment != 0 {
		return nil, fmt.Errorf("%w: not one whole UDP packet", errReply)
	}
	udp := b[header:total]
	n := int(binary.BigEndian.Uint16(udp[4:]))
	if n < 8 || n > len(udp) {
		return nil, fmt.Errorf("%w: UDP length %d of %d", errReply, n, len(udp))
	}
	h.source = netip.AddrFrom4([4]byte(b[12:]))
	h.all = [4]byte(b[16:]) == [4]byte{255, 255, 255, 255}
	h.port = binary.BigEndian.Uint16(udp)
	if to := binary.BigEndian.Uint16(udp[2:]); h.port != portServer && h.port != portBootServer || to != portClient {
		return nil, fmt.Errorf("%w: port %d to %d", errReply, h.port, to)
	}
	return udp[8:n], nil
}

// decode reads a DHCP packet. A missing End option is forgiven, as clients do.
func decode(b []byte) (p *dhcpv4.DHCPv4, err error) {
	defer func() {
		if r := recover(); r != nil {
			p, err = nil, fmt.Errorf("%w: decoder: %v", errReply, r)
		}
	}()
	if p, err = dhcpv4.FromBytes(b); err != nil {
		p, err = dhcpv4.FromBytes(append(bytes.Clone(b), 255))
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errReply, err)
	}
	return p, nil
}

// address4 is the IPv4 address in four octets; invalid for any other length
// and for 0.0.0.0.
func address4(b []byte) netip.Addr {
	if len(b) != 4 || [4]byte(b) == [4]byte{} {
		return netip.Addr{}
	}
	return netip.AddrFrom4([4]byte(b))
}

// text is a name up to its NUL, cut to its limit, in valid UTF-8. It is still a
// stranger's text.
func text(b []byte) string {
	if n := bytes.IndexByte(b, 0); n >= 0 {
		b = b[:n]
	}
	return strings.ToValidUTF8(string(b[:min(len(b), maxText)]), "?")
}

// role is what a reply shows its sender to be.
type role int

const (
	roleOther role = iota // answers, but neither of the two below
	roleDHCP              // hands out addresses
	rolePXE               // a boot server, with or without addresses
)

// classify says what a reply shows its server to be, and what is wrong with it
// for clients that are to boot from this box.
func classify(h heard) (role, []boot.Reason) {
	class := boot.ClassOf(h.class)
	switch {
	case h.port == portBootServer && class != boot.ClassNone:
		return rolePXE, []boot.Reason{boot.ReasonOtherPXE}
	case h.kind == dhcpv4.MessageTypeNak:
		return roleDHCP, nil
	case h.lease:
		var found []boot.Reason
		if class == boot.ClassPXE {
			found = append(found, boot.ReasonOption60)
		}
		if h.file != "" {
			found = append(found, boot.ReasonServerBootFile)
		}
		return roleDHCP, found
	case class != boot.ClassNone && h.kind == dhcpv4.MessageTypeOffer:
		// Only an OFFER without an address is a proxy's: an ACK without one
		// answers an INFORM, and comes from DHCP servers.
		return rolePXE, []boot.Reason{boot.ReasonOtherPXE}
	}
	return roleOther, nil
}
