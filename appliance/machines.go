package appliance

import (
	"net/netip"

	"github.com/bootpuck/bootpuck/appliance/boot"
	"github.com/bootpuck/bootpuck/appliance/registry"
)

// sight tells the registry what a DHCP packet revealed.
func (b *Box) sight(e boot.Event) {
	switch e.Kind {
	case boot.KindOffer, boot.KindAck:
	case boot.KindSilence:
		switch e.Reason {
		case boot.ReasonPolicy, boot.ReasonDenied, boot.ReasonUnknownIgnored, boot.ReasonArch, boot.ReasonNoLoader, boot.ReasonObserve:
			// It wanted to boot; the operator should see it.
		default:
			return
		}
	default:
		return
	}
	if e.MAC == "" {
		return
	}
	b.registry.Sight(boot.SightingOf(boot.Client{
		MAC: e.MAC, GUID: e.GUID, Arch: e.Arch, ArchKnown: e.ArchKnown, Firmware: e.Firmware,
	}, e.Time, e.Addr, e.Interface))
}

// ask is a machine's question to the registry, with what the box itself knows
// of the sender.
func (b *Box) ask(s boot.Sighting, addr netip.Addr, base, loader string) registry.Ask {
	a := registry.Ask{Sighting: s, Base: base, From: addr, Loader: loader}
	seen, routed := b.sender(addr)
	a.Routed = routed
	switch {
	case seen == "":
	case s.MAC == "":
		// GRUB and pxelinux may ask without a name: the wire tells whose it is.
		a.Sighting.MAC, a.Proof = seen, boot.ProofSeen
	case seen == s.MAC:
		a.Proof = boot.ProofSeen
	default:
		a.Proof = boot.ProofAgainst
	}
	a.Sighting.Addr, a.Sighting.Time = addr, b.cfg.Now()
	return a
}

// sender is the hardware address behind an address as far as the box has seen
// it itself: on the wire, else in the DHCP exchange it overheard. routed is true
// for addresses on none of the box's networks. What overheard packets say can be
// forged more easily than ARP, so the wire goes first.
func (b *Box) sender(addr netip.Addr) (mac boot.MAC, routed bool) {
	if addr.IsLoopback() {
		return "", false
	}
	mac, onLink, ok := b.watcher.Neighbour(addr)
	if ok {
		return mac, false
	}
	if c, known := b.memory.WhoIs(addr); known {
		return c.MAC, !onLink
	}
	return "", !onLink
}

// hasTree says whether an uploaded tree exists. While the state directory is
// being opened nobody can tell, and nothing is refused for it.
func (b *Box) hasTree(name string) bool {
	m := b.keeper.media()
	if m == nil {
		return true
	}
	_, ok := m.Get(name)
	return ok
}
