package lan

import (
	"bytes"
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// Limits of one picture. A container host may have hundreds of virtual links;
// those that are named or served are kept first.
const (
	MaxInterfaces = 64 // interfaces kept
	MaxAddresses  = 64 // addresses kept per interface and family
	maxNames      = 64 // names in Selection
)

// Interface is one network interface at one moment. It is immutable: slices are
// shared by every reader and must not be written to.
type Interface struct {
	Index    int              `json:"index"`              // the kernel's number; survives renaming
	Name     string           `json:"name"`               // as the kernel calls it now
	MAC      net.HardwareAddr `json:"-"`                  // empty on interfaces without one
	MTU      int              `json:"mtu"`                // octets
	Speed    int              `json:"speed,omitempty"`    // of the link, Mbit/s; 0 unknown
	Up       bool             `json:"up"`                 // switched on and with carrier
	Loopback bool             `json:"loopback,omitempty"` // lo
	Served   bool             `json:"served"`             // clients on it are answered
	// Unserved says in one clause why Served is false; empty otherwise.
	Unserved string `json:"unserved,omitempty"`
	// Addrs are the IPv4 addresses in the kernel's order, the primary one first.
	Addrs []netip.Prefix `json:"addresses"`
	// Addrs6 are the IPv6 addresses that can be used (duplicate address
	// detection is over and found none), in the kernel's order.
	Addrs6 []netip.Prefix `json:"addresses6,omitempty"`
	// Preferred is the configured source address, set only while the interface
	// has it.
	Preferred netip.Addr `json:"preferred,omitzero"`
}

// Picture is everything known of the machine's interfaces at one moment, in
// the order of their index. The zero value means that nobody has looked yet.
type Picture struct {
	Known      bool        // somebody has looked
	Interfaces []Interface // at most MaxInterfaces
	Missing    []string    // interfaces that were asked for by name and do not exist
	Omitted    int         // interfaces left out because of MaxInterfaces
}

// Selection says which interfaces to serve.
type Selection struct {
	// Names are the interfaces to serve (the -interface flag; a kernel name or
	// an alternative name). Empty: every interface that can broadcast and is
	// neither loopback, point-to-point nor a port of a bridge or bond.
	Names []string
	// Sources are configured source addresses by interface name. One that its
	// interface does not have is ignored until it has it.
	Sources map[string]netip.Addr
}

// link and address are what the kernel says, before any judgement.
type link struct {
	index        int
	name         string
	altNames     []string
	kind         string // "bridge", "veth", "bond"; "device" for hardware
	mac          net.HardwareAddr
	mtu          int
	speed        int // Mbit/s; 0 unknown
	master       int // index of the bridge or bond this is a port of; 0: none
	up           bool
	loopback     bool
	broadcast    bool
	pointToPoint bool
}

type address struct {
	index  int
	prefix netip.Prefix
}

type state struct {
	links []link
	addrs []address // in the kernel's order
}

func (l link) isCalled(name string) bool { return l.name == name || slices.Contains(l.altNames, name) }

// judge makes a Picture of what the kernel says.
func judge(s state, sel Selection) Picture {
	p := Picture{Known: true}
	kinds := make(map[int]link, len(s.links))
	for _, l := range s.links {
		kinds[l.index] = l
	}
	names := sel.Names[:min(len(sel.Names), maxNames)]
	for _, n := range names {
		if !slices.ContainsFunc(s.links, func(l link) bool { return l.isCalled(n) }) && !slices.Contains(p.Missing, n) {
			p.Missing = append(p.Missing, n)
		}
	}
	for _, l := range s.links {
		i := Interface{Index: l.index, Name: l.name, MAC: bytes.Clone(l.mac), MTU: l.mtu, Speed: l.speed, Up: l.up, Loopback: l.loopback}
		i.Unserved = unserved(l, kinds, names)
		i.Served = i.Unserved == ""
		for _, a := range s.addrs {
			switch {
			case a.index != l.index:
			case a.prefix.Addr().Is4() && len(i.Addrs) < MaxAddresses:
				i.Addrs = append(i.Addrs, a.prefix)
			case a.prefix.Addr().Is6() && len(i.Addrs6) < MaxAddresses:
				i.Addrs6 = append(i.Addrs6, a.prefix)
			}
		}
		for n, a := range sel.Sources {
			if l.isCalled(n) && i.has(a) {
				i.Preferred = a
			}
		}
		p.Interfaces = append(p.Interfaces, i)
	}
	if over := len(p.Interfaces) - MaxInterfaces; over > 0 {
		slices.SortStableFunc(p.Interfaces, func(a, b Interface) int {
			return cmp.Or(rank(a)-rank(b), a.Index-b.Index)
		})
		p.Interfaces, p.Omitted = slices.Clone(p.Interfaces[:MaxInterfaces]), over
	}
	slices.SortFunc(p.Interfaces, func(a, b Interface) int { return a.Index - b.Index })
	return p
}

// rank orders interfaces by how much they matter when not all can be kept.
func rank(i Interface) int {
	switch {
	case i.Served && len(i.Addrs) > 0:
		return 0
	case i.Served:
		return 1
	case len(i.Addrs) > 0: // its addresses are ours: needed to know our own packets
		return 2
	}
	return 3
}

// unserved says why l is not served, or "" when it is.
func unserved(l link, byIndex map[int]link, names []string) string {
	if len(names) > 0 {
		if slices.ContainsFunc(names, l.isCalled) {
			return ""
		}
		return "not among the interfaces named by -interface"
	}
	switch master, enslaved := byIndex[l.master]; {
	case l.loopback:
		return "loopback; name it with -interface to serve it"
	case l.pointToPoint:
		return "a point-to-point link"
	case !l.broadcast:
		return "it cannot broadcast"
	case l.master != 0 && enslaved && master.kind != "vrf":
		// Its packets arrive on the bridge or bond, which is served instead.
		return "a port of " + master.name
	}
	return ""
}

func (i Interface) has(a netip.Addr) bool {
	return slices.ContainsFunc(i.Addrs, func(p netip.Prefix) bool { return p.Addr() == a })
}

// waiting says that only an address is missing.
func (i Interface) waiting() bool { return i.Served && i.Up && len(i.Addrs) == 0 }

// AddressFor chooses the IPv4 address that a reply on i comes from: the
// configured one; else the one in the same network as peer (the client's
// address, or giaddr for relayed requests; the narrowest such network); else
// the first global one; else a link-local one. A zero or unspecified peer
// matches no network. ok is false when i has no IPv4 address.
func AddressFor(i Interface, peer netip.Addr) (addr netip.Addr, ok bool) {
	if i.Preferred.IsValid() {
		return i.Preferred, true
	}
	if peer = peer.Unmap(); peer.IsValid() && !peer.IsUnspecified() {
		best := -1
		for _, p := range i.Addrs {
			if p.Bits() > best && p.Contains(peer) {
				best, addr = p.Bits(), p.Addr()
			}
		}
		if best >= 0 {
			return addr, true
		}
	}
	for _, good := range []func(netip.Addr) bool{
		netip.Addr.IsGlobalUnicast,
		netip.Addr.IsLinkLocalUnicast,
		netip.Addr.IsLoopback,
	} {
		for _, p := range i.Addrs {
			if good(p.Addr()) {
				return p.Addr(), true
			}
		}
	}
	return netip.Addr{}, false
}

// Problem is one thing that keeps the network from being served.
type Problem struct {
	Reason    boot.Reason `json:"reason"`
	Interface string      `json:"interface,omitempty"` // empty: the machine as a whole
	Text      string      `json:"text"`                // one plain sentence
}

// Problems lists what keeps p from being served whole, the widest first. An
// interface without a cable is no problem as long as another one has a link.
func (p Picture) Problems() []Problem {
	if !p.Known {
		return []Problem{{Reason: boot.ReasonStarting, Text: "The network interfaces have not been read yet."}}
	}
	var out []Problem
	if p.linkless() {
		text := "No served interface has a link. Check cable and switch port."
		if !slices.ContainsFunc(p.Interfaces, func(i Interface) bool { return i.Served }) {
			text = "There is no network interface to serve."
		}
		out = append(out, Problem{Reason: boot.ReasonLinkDown, Text: text})
	}
	for _, name := range p.Missing {
		out = append(out, Problem{boot.ReasonNoInterface, name, missingText(name)})
	}
	for _, i := range p.Interfaces {
		if i.waiting() {
			out = append(out, Problem{boot.ReasonNoAddress, i.Name, fmt.Sprintf("%s has a link but %s.", i.Name, waitingClause)})
		}
	}
	return out
}

// linkless says that nothing that is served can carry a packet.
func (p Picture) linkless() bool {
	return p.Known && !slices.ContainsFunc(p.Interfaces, func(i Interface) bool { return i.Served && i.Up })
}

const waitingClause = "no IPv4 address yet; it is served as soon as it has one"

func missingText(name string) string {
	return fmt.Sprintf("Interface %q does not exist; it is served as soon as it appears.", name)
}

func same(a, b Picture) bool {
	return a.Known == b.Known && a.Omitted == b.Omitted && slices.Equal(a.Missing, b.Missing) &&
		slices.EqualFunc(a.Interfaces, b.Interfaces, sameInterface)
}

func sameInterface(a, b Interface) bool {
	return a.Index == b.Index && a.Name == b.Name && bytes.Equal(a.MAC, b.MAC) && a.MTU == b.MTU && a.Speed == b.Speed &&
		a.Up == b.Up && a.Loopback == b.Loopback && a.Served == b.Served && a.Unserved == b.Unserved &&
		a.Preferred == b.Preferred && slices.Equal(a.Addrs, b.Addrs) && slices.Equal(a.Addrs6, b.Addrs6)
}

// listed joins addresses for a sentence, a few of them.
func listed(ps []netip.Prefix) string {
	const few = 4
	var out []string
	for _, p := range ps[:min(len(ps), few)] {
		out = append(out, p.String())
	}
	if more := len(ps) - few; more > 0 {
		out = append(out, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(out, ", ")
}
