package appliance

import (
	"net/netip"
	"sync"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// neighbours remembers for a moment who answers for an address on the wire, for
// machines ask several times in a boot and the kernel's table is behind a system
// call. Only answers are remembered, so that one that comes late is not missed.
type neighbours struct {
	look func(netip.Addr) (mac boot.MAC, onLink, ok bool)
	now  func() time.Time

	mu   sync.Mutex
	seen map[netip.Addr]neighbour
}

type neighbour struct {
	mac boot.MAC
	at  time.Time
}

// Bounds of neighbours.
const (
	neighbourAge  = time.Second
	maxNeighbours = 1024
)

func newNeighbours(look func(netip.Addr) (boot.MAC, bool, bool), now func() time.Time) *neighbours {
	return &neighbours{look: look, now: now, seen: map[netip.Addr]neighbour{}}
}

// get is who answers for addr; onLink is false for addresses on none of the box's
// networks.
func (n *neighbours) get(addr netip.Addr) (mac boot.MAC, onLink, ok bool) {
	now := n.now()
	n.mu.Lock()
	s, known := n.seen[addr]
	n.mu.Unlock()
	if age := now.Sub(s.at); known && age >= 0 && age < neighbourAge {
		return s.mac, true, true
	}
	if mac, onLink, ok = n.look(addr); !ok {
		return "", onLink, false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.seen) >= maxNeighbours {
		clear(n.seen)
	}
	n.seen[addr] = neighbour{mac, now}
	return mac, onLink, true
}
