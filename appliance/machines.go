package appliance

import (
	"context"
	"net/netip"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
	"github.com/bootpuck/bootpuck/appliance/metrics"
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

// await watches whether the first stage that a UEFI machine fetched is heard of
// again.
func (b *Box) await(e boot.Event, stage metrics.Stage) {
	info, known := e.Arch.Info()
	switch {
	case e.MAC == "" || e.Kind == boot.KindLease || e.Kind == boot.KindSilence:
	case stage == metrics.StageLoaderTFTP || stage == metrics.StageLoaderHTTP:
		if e.ArchKnown && known && info.Platform == boot.PlatformUEFI && e.Bytes > 0 {
			b.awaiting.Fetched(e)
		}
	case e.Kind == boot.KindOffer || e.Kind == boot.KindAck:
		if e.Firmware == boot.FirmwareIPXE {
			b.awaiting.Heard(e.MAC)
		}
	case e.Kind == boot.KindScript || e.Kind == boot.KindHTTP && e.Bytes > 0 || e.Kind == boot.KindTFTP:
		b.awaiting.Heard(e.MAC)
	default:
	}
}

// listener is the task that tells of machines that were not heard of again.
type listener struct{ box *Box }

// String names the task.
func (listener) String() string { return "boot programs that do not start" }

// Ready is closed: it has nothing to wait for.
func (listener) Ready() <-chan struct{} { return always }

// always is a channel that is closed.
var always = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// listenEvery is how often it looks.
const listenEvery = 5 * time.Second

// Run looks until ctx ends.
func (l listener) Run(ctx context.Context) error {
	tick := time.NewTicker(listenEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			for _, e := range l.box.awaiting.Silent(l.box.cfg.Now()) {
				l.box.Record(e)
			}
		}
	}
}

// ask is a machine's question to the registry, with what the box itself knows
// of the sender.
func (b *Box) ask(s boot.Sighting, addr netip.Addr, base, loader string) registry.Ask {
	a := registry.Ask{Sighting: s, Base: base, From: addr, Loader: loader}
	seen, overheard, routed := b.sender(addr)
	a.Routed = routed
	switch {
	case seen == "":
	case s.MAC == "":
		// GRUB and pxelinux may ask without a name: the wire tells whose it is.
		a.Sighting.MAC, a.Proof = seen, boot.ProofSeen
	case seen == s.MAC:
		a.Proof = boot.ProofSeen
	case overheard == s.MAC:
		// A bridge that puts its own address on the wire, as those to a wireless
		// network do; or somebody who forges DHCP packets. Neither for nor against.
	default:
		a.Proof = boot.ProofAgainst
	}
	a.Sighting.Addr, a.Sighting.Time = addr, b.cfg.Now()
	return a
}

// sender is the hardware address behind an address as far as the box has seen
// it itself: on the wire, else in the DHCP exchange it overheard, which is
// returned too. routed is true for addresses on none of the box's networks. What
// overheard packets say can be forged more easily than ARP, so the wire goes
// first.
func (b *Box) sender(addr netip.Addr) (mac, overheard boot.MAC, routed bool) {
	if addr.IsLoopback() {
		return "", "", false
	}
	if c, known := b.memory.WhoIs(addr); known {
		overheard = c.MAC
	}
	mac, onLink, ok := b.neighbours.get(addr)
	if !ok {
		mac = overheard
	}
	return mac, overheard, !onLink
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
