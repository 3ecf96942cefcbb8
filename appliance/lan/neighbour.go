package lan

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// errNoNeighbour says that the kernel knows nobody by that address.
var errNoNeighbour = errors.New("no such neighbour")

// Neighbour returns the hardware address that the kernel last resolved addr to
// on any interface of w that has addr's network (ARP, RFC 826; neighbour
// discovery, RFC 4861). onLink is false for an address that is on none of the
// box's networks: a machine behind a router. ok is false when the kernel has no
// usable entry.
//
// It is the box's own observation, and harder to forge than what a request
// says: who answers for an address on the wire gets the box's packets.
func (w *Watcher) Neighbour(addr netip.Addr) (mac boot.MAC, onLink, ok bool) {
	addr = addr.Unmap().WithZone("")
	for _, i := range w.Snapshot() {
		for _, p := range i.Addrs {
			if !p.Contains(addr) {
				continue
			}
			onLink = true
			if m, err := neighbour(addr, i.Index); err == nil {
				return m, true, true
			}
		}
	}
	return "", onLink, false
}

// neighbour asks the kernel for a single entry of its neighbour table; reading
// the whole table for every script would make a full one slow.
func neighbour(addr netip.Addr, index int) (boot.MAC, error) {
	family := uint8(unix.AF_INET)
	if addr.Is6() {
		family = unix.AF_INET6
	}
	req := nl.NewNetlinkRequest(unix.RTM_GETNEIGH, 0)
	req.AddData(&netlink.Ndmsg{Family: family, Index: uint32(index)})
	req.AddData(nl.NewRtAttr(netlink.NDA_DST, addr.AsSlice()))
	msgs, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWNEIGH)
	if err != nil {
		return "", fmt.Errorf("look up neighbour %s: %w", addr, err)
	}
	for _, m := range msgs {
		if mac, ok := neighbourMAC(m); ok {
			return mac, nil
		}
	}
	return "", errNoNeighbour
}

// sizeofNdmsg is the length of struct ndmsg (rtnetlink(7)).
const sizeofNdmsg = 12

// neighbourMAC reads the hardware address of a neighbour message. An entry that
// failed to resolve, or has not been resolved yet, has none.
func neighbourMAC(m []byte) (boot.MAC, bool) {
	if len(m) < sizeofNdmsg {
		return "", false
	}
	state := binary.NativeEndian.Uint16(m[8:])
	if state&(unix.NUD_REACHABLE|unix.NUD_STALE|unix.NUD_DELAY|unix.NUD_PROBE|unix.NUD_PERMANENT) == 0 {
		return "", false
	}
	attrs, err := nl.ParseRouteAttr(m[sizeofNdmsg:])
	if err != nil {
		return "", false
	}
	for _, a := range attrs {
		if a.Attr.Type == netlink.NDA_LLADDR && len(a.Value) == 6 {
			return boot.MACOf(a.Value), true
		}
	}
	return "", false
}
