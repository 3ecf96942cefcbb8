package bootweb

import (
	"net/netip"
	"testing"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

func TestSlots(t *testing.T) {
	s := newSlots(4, 2)
	take := func(addr string, want boot.Reason) func() {
		t.Helper()
		release, reason := s.take(netip.MustParseAddr(addr))
		if reason != want {
			t.Errorf("%s: %q, want %q", addr, reason, want)
		}
		return release
	}
	first := take("192.0.2.1", boot.ReasonNone)
	take("192.0.2.1", boot.ReasonNone)
	take("192.0.2.1", boot.ReasonClientLimit)
	take("2001:db8::1", boot.ReasonNone)
	second := take("2001:db8::2", boot.ReasonNone) // the same host may own both
	take("2001:db8::3", boot.ReasonTotalLimit)
	first()
	take("2001:db8::3", boot.ReasonClientLimit)
	second()
	take("2001:db8:0:1::3", boot.ReasonNone)
	take("192.0.2.1", boot.ReasonNone)
	if s.len() != 4 {
		t.Errorf("%d places taken", s.len())
	}
}
