package proxydhcp

import (
	"testing"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// TestUnansweredIsKnown: of a boot client that could not be answered the box tells
// who it is and how long it has been asking; of all else, no more than needed.
func TestUnansweredIsKnown(t *testing.T) {
	env := site()
	env.Interfaces[1].Prefixes = nil
	p := d7()
	p.secs = 12
	res := silence(t, env, p, boot.ReasonNoAddress)
	if res.Secs != 12 || res.Client.Firmware != boot.FirmwareUEFI || !res.Client.ArchKnown || res.Client.Arch != 7 || res.Client.GUID.IsZero() {
		t.Errorf("unanswered client: %+v, secs %d", res.Client, res.Secs)
	}
	if _, res := answer(t, site(), p); res.Secs != 12 {
		t.Errorf("answered client: secs %d", res.Secs)
	}
	for name, p := range map[string]packet{
		"no boot client":  d7().without(60),
		"taking an offer": d7().with(53, 3),
		"no hardware":     func() packet { p := d7(); p.chaddr[0] |= 1; return p }(),
	} {
		if res := ask(t, env, p); res.Reason == boot.ReasonNone || res.Client.ArchKnown || res.Client.Firmware != "" {
			t.Errorf("%s: %q, client %+v", name, res.Reason, res.Client)
		}
	}
}
