package appliance

import (
	"net/netip"
	"slices"

	"github.com/bootpuck/bootpuck/appliance/boot"
	"github.com/bootpuck/bootpuck/appliance/lan"
	"github.com/bootpuck/bootpuck/appliance/proxydhcp"
	"github.com/bootpuck/bootpuck/appliance/settings"
	"github.com/bootpuck/bootpuck/appliance/tftp"
)

// converted is a lan snapshot in proxydhcp's words, kept until the snapshot
// changes: it is asked for with every batch of packets.
type converted struct {
	from []lan.Interface
	to   []proxydhcp.Interface
}

// dhcpInterfaces is the present picture of the interfaces for proxydhcp.
func (b *Box) dhcpInterfaces() []proxydhcp.Interface {
	now := b.watcher.Snapshot()
	if c := b.interfaces.Load(); c != nil && sameSlice(c.from, now) {
		return c.to
	}
	to := make([]proxydhcp.Interface, 0, len(now))
	for _, i := range now {
		var mac boot.MAC
		if len(i.MAC) > 0 {
			mac = boot.MACOf(i.MAC)
		}
		to = append(to, proxydhcp.Interface{
			Index: i.Index, Name: i.Name, MAC: mac, Prefixes: i.Addrs, Address: i.Preferred, Up: i.Up, MTU: i.MTU, Served: i.Served,
		})
	}
	b.interfaces.Store(&converted{now, to})
	return to
}

// dhcpSettings is what decisions about DHCP packets depend on at present.
func (b *Box) dhcpSettings() proxydhcp.Settings {
	s := b.cfg.Settings
	policy := s.Policy
	policy.HTTPPort, policy.Has, policy.Machines = b.httpPort(), b.files.has, b.registry.Rule
	policy.Quirks = b.modelShape
	return proxydhcp.Settings{
		Policy: policy, LenientGUID: s.LenientGUID, Observe: s.Observe, Standby: b.twin.leaves,
		Relays: proxydhcp.Relays{Mode: proxydhcp.RelayMode(s.RelayMode), Allow: s.RelayAllow, Clients: s.RelayClients},
	}
}

// sameSlice says whether two snapshots are the very same one.
func sameSlice(a, b []lan.Interface) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// tftpAllowed is the answer to: may src, on this interface, read files? TFTP
// sends many octets for few, so what is not near is not answered: clients are
// on the link, behind an allowed relay, or at least inside the site.
func (b *Box) tftpAllowed(src netip.Addr, ifindex int) boot.Reason {
	i, ok := b.watcher.Lookup(ifindex)
	if !ok || !i.Served && !i.Loopback {
		return boot.ReasonInterface
	}
	if b.cfg.Settings.Observe {
		return boot.ReasonObserve
	}
	src = src.Unmap()
	for _, p := range i.Addrs {
		if p.Contains(src) {
			return boot.ReasonNone
		}
	}
	switch b.cfg.Settings.RelayMode {
	case settings.RelayAuto:
		if src.IsLoopback() || proxydhcp.InsideSite(src) {
			return boot.ReasonNone
		}
	case settings.RelayList:
		if slices.ContainsFunc(b.cfg.Settings.RelayClients, func(p netip.Prefix) bool { return p.Contains(src) }) {
			return boot.ReasonNone
		}
	case settings.RelayOff:
	}
	return boot.ReasonSource
}

// tftpLink describes an interface for the TFTP server.
func (b *Box) tftpLink(ifindex int) (tftp.Link, bool) {
	i, ok := b.watcher.Lookup(ifindex)
	return tftp.Link{Name: i.Name, MTU: i.MTU}, ok && (i.Served || i.Loopback)
}
