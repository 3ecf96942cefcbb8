package lan

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/net/bpf"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// errARP says why a packet is no ARP packet of an IPv4 LAN (RFC 826).
var errARP = errors.New("not an ARP packet")

// arpLength is the length of an ARP packet for Ethernet and IPv4.
const arpLength = 28

// conflictFor is how long somebody else's claim to an address of the box counts
// after it was last heard. Stations repeat themselves with every request.
const conflictFor = 10 * time.Minute

// parseARP reads who claims which address: the sender's part of a request or an
// answer. A sender without an address is about to ask whether one is free (RFC
// 5227) and claims nothing.
func parseARP(b []byte) (mac boot.MAC, addr netip.Addr, err error) {
	if len(b) < arpLength {
		return "", addr, fmt.Errorf("%w: %d octets", errARP, len(b))
	}
	hardware, protocol := binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	op := binary.BigEndian.Uint16(b[6:])
	if hardware != 1 || protocol != 0x0800 || b[4] != 6 || b[5] != 4 || op != 1 && op != 2 {
		return "", addr, fmt.Errorf("%w: hardware %d, protocol %#04x, operation %d", errARP, hardware, protocol, op)
	}
	addr = address4(b[14:18])
	if !addr.IsValid() {
		return "", addr, fmt.Errorf("%w: nothing is claimed", errARP)
	}
	return boot.MACOf(b[8:14]), addr, nil
}

// maxClaims bounds the addresses that are watched on one interface; a jump in a
// filter reaches no further.
const maxClaims = 64

// claims is a filter that lets through ARP packets whose sender claims one of
// addrs. Everything else, which is nearly all ARP there is, stays in the kernel.
func claims(addrs []netip.Prefix) []bpf.Instruction {
	var own []uint32
	for _, p := range addrs[:min(len(addrs), maxClaims)] {
		if p.Addr().Is4() {
			a := p.Addr().As4()
			own = append(own, binary.BigEndian.Uint32(a[:]))
		}
	}
	out := []bpf.Instruction{bpf.LoadAbsolute{Off: 14, Size: 4}} // sender's protocol address
	for i, a := range own {
		out = append(out, bpf.JumpIf{Cond: bpf.JumpEqual, Val: a, SkipTrue: uint8(len(own) - i)})
	}
	return append(out, bpf.RetConstant{Val: 0}, bpf.RetConstant{Val: maxFrame})
}

type conflictKey struct {
	addr netip.Addr
	mac  boot.MAC
}

// conflicts remembers who else claims addresses of the box. It reads no clock
// and is not safe for concurrent use.
type conflicts struct {
	list   []boot.LANConflict // the longest not heard first
	warned map[conflictKey]time.Time
}

// claim takes in that mac claims addr, which is ours; warn says whether to tell.
func (c *conflicts) claim(ifname string, addr netip.Addr, mac boot.MAC, now time.Time) (warn bool) {
	x := boot.LANConflict{Interface: ifname, Addr: addr, MAC: mac, First: now, Last: now}
	if i := slices.IndexFunc(c.list, func(o boot.LANConflict) bool { return o.Addr == addr && o.MAC == mac }); i >= 0 {
		if now.Sub(c.list[i].Last) < conflictFor {
			x.First = c.list[i].First
		}
		c.list = slices.Delete(c.list, i, i+1)
	} else if len(c.list) >= boot.MaxLANConflicts {
		delete(c.warned, conflictKey{c.list[0].Addr, c.list[0].MAC})
		c.list = slices.Delete(c.list, 0, 1)
	}
	c.list = append(c.list, x)
	key := conflictKey{addr, mac}
	if last, ok := c.warned[key]; ok && now.Sub(last) < warnEvery {
		return false
	}
	if c.warned == nil {
		c.warned = map[conflictKey]time.Time{}
	}
	c.warned[key] = now
	return true
}

// current lists the claims that still count.
func (c *conflicts) current(now time.Time) []boot.LANConflict {
	var out []boot.LANConflict
	for _, x := range c.list {
		if now.Sub(x.Last) < conflictFor {
			out = append(out, x)
		}
	}
	return out
}

func conflictText(x boot.LANConflict) string {
	return fmt.Sprintf("The station %s uses %s on %s, which is an address of this box.", x.MAC, x.Addr, x.Interface)
}
