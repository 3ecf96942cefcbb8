package proxydhcp

import (
	"net/netip"
	"slices"
)

// RelayMode says which relayed packets are answered.
type RelayMode string

// Relay modes. The empty string means RelayAuto.
const (
	// RelayAuto answers relays whose address is on the link or not globally
	// reachable: private, shared, link-local and documentation networks. The
	// worst a forged giaddr can then do is to send one small packet per
	// request to a machine inside the site.
	RelayAuto RelayMode = "auto"
	RelayOff  RelayMode = "off"  // no relayed packet is answered
	RelayList RelayMode = "list" // only relays and clients that are listed
)

// Relays is the policy for packets that come from beyond the link.
type Relays struct {
	Mode    RelayMode
	Allow   []netip.Addr   // RelayList: addresses of relays (giaddr)
	Clients []netip.Prefix // RelayList: networks of clients that may ask on 4011
}

// notGlobal are the IPv4 networks of IANA's special-purpose registry that are
// not globally reachable and may hold a relay. Loopback and "this network" are
// left out: nothing on a wire may claim them.
var notGlobal = mustPrefixes(
	"10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
	"192.0.2.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
)

func mustPrefixes(texts ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(texts))
	for i, t := range texts {
		out[i] = netip.MustParsePrefix(t)
	}
	return out
}

// InsideSite says whether a belongs to a network that the internet does not
// route: such an address can be a client behind a relay of this site.
func InsideSite(a netip.Addr) bool { return inAny(notGlobal, a) }

func inAny(prefixes []netip.Prefix, a netip.Addr) bool {
	for _, p := range prefixes {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// allowsRelay says whether a packet that claims to come through the relay
// giaddr is answered when it arrives on in.
func (l Relays) allowsRelay(giaddr netip.Addr, in Interface) bool {
	if giaddr.IsMulticast() || giaddr == limitedBroadcast || in.isBroadcast(giaddr) {
		return false
	}
	switch l.Mode {
	case RelayOff:
		return false
	case RelayList:
		return slices.Contains(l.Allow, giaddr)
	default:
	}
	return in.onLink(giaddr) || inAny(notGlobal, giaddr)
}

// allowsClient says whether a request whose answer goes to its source address
// is answered. relayed: we have lately answered a DISCOVER of this hardware
// address through a relay, so a source beyond the link is what to expect.
func (l Relays) allowsClient(source netip.Addr, in Interface, relayed func() bool) bool {
	if source.IsUnspecified() {
		return true
	}
	if source.IsMulticast() || source == limitedBroadcast || in.isBroadcast(source) {
		return false
	}
	if in.onLink(source) {
		return true
	}
	switch l.Mode {
	case RelayOff:
		return false
	case RelayList:
		return inAny(l.Clients, source)
	default:
	}
	return relayed()
}
