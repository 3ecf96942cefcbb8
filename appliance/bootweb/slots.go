package bootweb

import (
	"net/netip"
	"sync"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// slots counts files under way, in all and per client address, so that one slow
// or hostile client cannot keep everybody else from their loaders.
type slots struct {
	max, perIP int

	mu     sync.Mutex
	all    int
	perIPs map[netip.Addr]int
}

func newSlots(limit, perIP int) *slots {
	return &slots{max: limit, perIP: perIP, perIPs: map[netip.Addr]int{}}
}

// share is what counts as one client: an IPv6 host owns a whole /64.
func share(addr netip.Addr) netip.Addr {
	if addr.Is6() && !addr.Is4In6() {
		if p, err := addr.WithZone("").Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return addr
}

// take reserves a place, to be given back by release, or says which limit is
// reached.
func (s *slots) take(addr netip.Addr) (release func(), reason boot.Reason) {
	addr = share(addr)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.all >= s.max:
		return nil, boot.ReasonTotalLimit
	case s.perIPs[addr] >= s.perIP:
		return nil, boot.ReasonClientLimit
	}
	s.all++
	s.perIPs[addr]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.all--
		if s.perIPs[addr]--; s.perIPs[addr] == 0 {
			delete(s.perIPs, addr)
		}
	}, boot.ReasonNone
}

func (s *slots) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all
}
