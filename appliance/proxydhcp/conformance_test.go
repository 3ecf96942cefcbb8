package proxydhcp

import (
	"testing"
)

// conformance are the numbered cases for the DHCP side, each under its number.
// The order is the number's; the texts say what is demanded.
//
// The style of a UEFI PXE client's first offer differs from the reference the
// numbers come from (which offers two-step first): a direct offer saves such a
// client the round to port 4011, about a second. Its retry, with the same
// transaction, gets the two-step shape. Cases 2, 4, 5, 6 and 7 demand both.
var conformance []struct {
	id, text string
	run      func(t *testing.T)
}

func conform(id, text string, run func(t *testing.T)) struct{} {
	conformance = append(conformance, struct {
		id, text string
		run      func(t *testing.T)
	}{id, text, run})
	return struct{}{}
}

func TestConformance(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range conformance {
		if seen[c.id] {
			t.Errorf("case %s twice", c.id)
		}
		seen[c.id] = true
		t.Run(c.id, func(t *testing.T) {
			t.Log(c.text)
			c.run(t)
		})
	}
	if len(seen) != 88 {
		t.Errorf("%d cases, want 88", len(seen))
	}
}
