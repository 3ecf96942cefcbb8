package journal

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// TestCardMoves: a dock or card that is moved to another machine brings neither
// the name nor the history of the first one along.
func TestCardMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := run(t, AttemptsConfig{Who: func(_ boot.MAC, u boot.GUID) (boot.MachineID, string, string) {
			if u == guid(1) {
				return "m1", "first", "X1"
			}
			return "", "", ""
		}}, nil)
		for n, gap := range []time.Duration{time.Minute * 2, time.Minute * 2, time.Minute * 2} {
			e := offerA()
			e.GUID, e.XID = guid(byte(1+n/2)), uint32(n)
			g.Observe(e)
			pass(gap)
		}
		list, _ := g.List(AttemptQuery{})
		if len(list) != 3 {
			t.Fatalf("%d attempts", len(list))
		}
		if a := list[1]; a.Machine != "m1" || a.Before != list[2].ID || !a.Again {
			t.Errorf("the same machine again: machine %q, before %q, again %v", a.Machine, a.Before, a.Again)
		}
		if a := list[0]; a.GUID != guid(2) || a.Machine != "" || a.Name != "" || a.Product != "" || a.Before != "" || a.Again {
			t.Errorf("boot of %s is told as %q %q, before %q, again %v", a.GUID, a.Machine, a.Name, a.Before, a.Again)
		}
		g.stop()
	})
}

// TestPoolWithOneIdentifier: machines that share an identifier and boot one after
// the other are told each for itself.
func TestPoolWithOneIdentifier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := run(t, AttemptsConfig{Who: func(m boot.MAC, _ boot.GUID) (boot.MachineID, string, string) {
			if m == mac(1) {
				return "vm-1", "vm-1", ""
			}
			return "", "", ""
		}}, nil)
		for n := 1; n <= 3; n++ {
			e := offerA()
			e.MAC, e.GUID, e.XID = mac(n), guid(7), uint32(n)
			g.Observe(e)
			pass(5 * time.Minute)
		}
		list, _ := g.List(AttemptQuery{})
		for _, a := range list {
			if (a.Machine != "") != (a.MAC == mac(1)) || a.Again || a.Before != "" {
				t.Errorf("%s is told as machine %q, again %v", a.MAC, a.Machine, a.Again)
			}
		}
		g.stop()
	})
}

// TestSplitWhenFull: the attempt that two machines are split out of does not make
// way for its own second half.
func TestSplitWhenFull(t *testing.T) {
	w := newWire(t)
	a, b := w.pc(1, boot.FirmwareUEFI), w.pc(2, boot.FirmwareUEFI)
	b.guid = a.guid
	a.discover()
	w.wait(20 * time.Second)
	b.discover()
	joined := w.tr.byMAC[a.mac]
	if joined != w.tr.byMAC[b.mac] {
		t.Fatal("they are not taken for one: there is nothing to split")
	}
	for range 2 { // each asks again, as a client does
		w.now = w.now.Add(4 * time.Second)
		for n := range maxAttempts - 1 {
			w.tr.observe(boot.Event{Time: w.now, Kind: boot.KindOffer, MAC: mac(n), XID: uint32(n), Firmware: boot.FirmwareUEFI, Class: "PXEClient:Arch:00007"})
		}
	}
	if len(w.tr.byID) != maxAttempts {
		t.Fatalf("%d attempts", len(w.tr.byID))
	}
	w.see(a.dhcp(boot.KindOffer)) // proves that they are two; see checks the invariants
	if w.tr.byID[joined.a.ID] != joined || w.tr.byMAC[a.mac] != joined || w.tr.byMAC[b.mac] == joined {
		t.Error("they are not two, or one is gone")
	}
}
