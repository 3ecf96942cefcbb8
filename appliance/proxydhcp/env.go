package proxydhcp

import (
	"net/netip"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// The well-known UDP ports (RFC 2131 section 4.1, PXE 2.1 section 2.2.1).
const (
	PortDHCP   = 67   // DHCP server, and relays
	PortClient = 68   // DHCP client
	PortBoot   = 4011 // PXE boot server
)

// ProbeClass is the user class (option 77) of a DISCOVER by which a box finds
// out which servers are on its LAN. It is answered like that of any client, so
// that the boxes find each other, but no machine boots behind it: it is counted
// and nothing else is remembered or told of it.
const ProbeClass = "bootpuck-probe"

// Interface is one network interface of the box at one moment. Values and the
// slices in them are never changed once handed over.
type Interface struct {
	Index int      // kernel's interface index, from 1
	Name  string   // "eth0"
	MAC   boot.MAC // its hardware address; empty when it has none
	// Prefixes are its addresses with their prefix lengths, in the kernel's
	// order. IPv6 ones are ignored.
	Prefixes []netip.Prefix
	// Address pins the address that clients on this interface are answered
	// from. Zero means: choose.
	Address netip.Addr
	Up      bool // link and administrative state
	MTU     int  // octets
	Served  bool // the settings want clients on this interface answered
}

// onLink says whether a is in one of the interface's networks.
func (i Interface) onLink(a netip.Addr) bool {
	for _, p := range i.Prefixes {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// has says whether a is one of the interface's own addresses.
func (i Interface) has(a netip.Addr) bool {
	for _, p := range i.Prefixes {
		if p.Addr() == a {
			return true
		}
	}
	return false
}

// isBroadcast says whether a is the directed broadcast address of one of the
// interface's networks.
func (i Interface) isBroadcast(a netip.Addr) bool {
	for _, p := range i.Prefixes {
		if !p.Addr().Is4() || p.Bits() >= 31 || !p.Contains(a) {
			continue
		}
		b, host := a.As4(), 32-p.Bits()
		v := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
		if mask := uint32(1)<<host - 1; v&mask == mask {
			return true
		}
	}
	return false
}

// first is the address to use when nothing else decides: the first global one,
// else a link-local one (a site without a DHCP server), else loopback (tests).
func (i Interface) first() netip.Addr {
	var local, loopback netip.Addr
	for _, p := range i.Prefixes {
		switch a := p.Addr(); {
		case !a.Is4():
		case a.IsGlobalUnicast():
			return a
		case a.IsLinkLocalUnicast() && !local.IsValid():
			local = a
		case a.IsLoopback() && !loopback.IsValid():
			loopback = a
		}
	}
	if local.IsValid() {
		return local
	}
	return loopback
}

// Env is everything a reply depends on besides the packet.
type Env struct {
	Port        int            // PortDHCP or PortBoot: where it came in
	IfIndex     int            // interface it came in on
	Source      netip.AddrPort // who sent it
	Destination netip.Addr     // whom it was sent to (IP header)
	Interfaces  []Interface    // all of the box's interfaces, served or not
	Relays      Relays
	Policy      boot.Policy
	// History looks up what is remembered of a hardware address; nil means
	// nothing is. It must not change anything.
	History     func(boot.MAC) boot.History
	LenientGUID bool // answer clients with a malformed option 97, without one
	Observe     bool // decide, but say ReasonObserve
	Now         time.Time

	// ClientPort and RelayPort replace PortClient and PortDHCP as destination
	// ports when not 0: for tests that may not use the well-known ones.
	ClientPort, RelayPort int
}

func (e *Env) clientPort() uint16 {
	if e.ClientPort != 0 {
		return uint16(e.ClientPort)
	}
	return PortClient
}

func (e *Env) relayPort() uint16 {
	if e.RelayPort != 0 {
		return uint16(e.RelayPort)
	}
	return PortDHCP
}

// own says whether a is an address of the box.
func (e *Env) own(a netip.Addr) bool {
	for i := range e.Interfaces {
		if e.Interfaces[i].has(a) {
			return true
		}
	}
	return false
}

// ownMAC says whether mac is a hardware address of the box.
func (e *Env) ownMAC(mac boot.MAC) bool {
	for i := range e.Interfaces {
		if mac != "" && e.Interfaces[i].MAC == mac {
			return true
		}
	}
	return false
}

// arrival is the interface the packet came in on. One that is not known, for
// example because it has just appeared, is not served.
func (e *Env) arrival() Interface {
	for _, i := range e.Interfaces {
		if i.Index == e.IfIndex {
			return i
		}
	}
	return Interface{}
}

// address chooses the address that the client is answered from. It is at once
// the sender, option 54 and the file server: iPXE compares the identity of an
// ACK with the offer's, and the Pi 3 loads from whoever answered.
func (e *Env) address(in Interface, r *request) netip.Addr {
	// The client or relay chose: a unicast is answered from where it went,
	// even when that address is on another interface (relays, routed 4011).
	if in.has(e.Destination) || (e.Port == PortBoot || r.relayed()) && e.own(e.Destination) {
		return e.Destination
	}
	if in.Address.Is4() && in.has(in.Address) {
		return in.Address
	}
	for _, peer := range [...]netip.Addr{r.giaddr, r.ciaddr, e.Source.Addr()} {
		if peer.IsUnspecified() {
			continue
		}
		for _, p := range in.Prefixes {
			if p.Addr().Is4() && p.Contains(peer) {
				return p.Addr()
			}
		}
	}
	return in.first()
}

var limitedBroadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// destination is where the reply goes. A request's ciaddr and giaddr are mere
// claims: ciaddr is used only when the packet has no source address and then
// only on the link, giaddr only after the relay policy has agreed.
func (e *Env) destination(in Interface, r *request, ack bool) netip.AddrPort {
	switch {
	case e.Port == PortDHCP && r.relayed():
		return netip.AddrPortFrom(r.giaddr, e.relayPort())
	case ack && !e.Source.Addr().IsUnspecified():
		// From port 4011 with EDK2, 68 with iPXE and old ROMs. iPXE sets the
		// broadcast flag in its unicast request; that changes nothing.
		return e.Source
	case ack && !r.ciaddr.IsUnspecified() && in.onLink(r.ciaddr) && !in.isBroadcast(r.ciaddr):
		return netip.AddrPortFrom(r.ciaddr, e.clientPort())
	}
	return netip.AddrPortFrom(limitedBroadcast, e.clientPort())
}
