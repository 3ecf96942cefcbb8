package journal

import (
	"net/netip"
	"slices"
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

// TestClaimJoinsNothing: a request by HTTP that names a machine whose address is
// known to be another one changes nothing about its boot.
func TestClaimJoinsNothing(t *testing.T) {
	liar := netip.MustParseAddr("192.0.2.66")
	for name, take := range map[string]func(v *pc) *pc{
		"address seen on the LAN":   func(v *pc) *pc { return v.discover().lease() },
		"address seen on port 4011": func(v *pc) *pc { return v.discover().ask() },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWire(t)
			v := take(w.pc(1, boot.FirmwareUEFI)).tftp("snponly.efi", 280<<10)
			before := w.one()
			for _, e := range []boot.Event{
				{Kind: boot.KindDecision, MAC: v.mac, Addr: liar, Action: boot.ActionLocal},
				{Kind: boot.KindScript, MAC: v.mac, Addr: liar, File: "/s", Action: boot.ActionLocal, Bytes: 1},
				{Kind: boot.KindScript, GUID: v.guid, Addr: liar, File: "/s", Action: boot.ActionLocal, Bytes: 1},
				{Kind: boot.KindScript, MAC: "52:54:00:00:00:66", GUID: v.guid, Addr: liar, File: "/s", Action: boot.ActionLocal, Bytes: 1},
				{Kind: boot.KindHTTP, MAC: v.mac, Addr: liar, File: "/files/vmlinuz", Bytes: 9, Total: 9},
				{Kind: boot.KindScript, Addr: liar, File: "/left", Text: "the machine goes on to its local disk"},
			} {
				w.see(e)
			}
			w.wait(5 * time.Minute)
			a := w.attempts()[0]
			if a.State != boot.AttemptStalled || a.Addr != v.addr || a.Action != "" || stageNames(a) != stageNames(before) {
				t.Errorf("the machine's loader never started; told: %s, address %s, stages %s", a.State, a.Addr, stageNames(a))
			}
			if w.tr.byMAC[v.mac].a.ID != a.ID || len(a.MACs) != 0 {
				t.Error("the machine's next packet goes astray")
			}
		})
	}
}

// TestProofJoins: a report of an installer, and what only the machine was told the
// address of, joins from whatever network address it comes.
func TestProofJoins(t *testing.T) {
	w := newWire(t)
	p := w.pc(1, boot.FirmwareUEFI).loader("snponly.efi").booting(decidedArmed)
	p.addr = netip.MustParseAddr("192.0.2.77") // its installer has another one
	p.script("/x/…", "boot debian (machine)")
	p.callback("is done", boot.ReasonNone)
	if a := w.one(); a.Action != boot.ActionBoot || a.State != boot.AttemptBooted {
		t.Errorf("action %s, %s", a.Action, a.State)
	}
}

// TestSecondCardUnheard: the address of one card says nothing about that of the
// next.
func TestSecondCardUnheard(t *testing.T) {
	w := newWire(t)
	p := w.pc(1, boot.FirmwareUEFI).discover().lease()
	w.wait(20 * time.Second)
	first := p.mac
	p.mac, p.addr = "52:54:00:00:01:01", netip.MustParseAddr("192.0.2.77")
	p.discover().tftp("snponly.efi", 280<<10).booting(decidedBoot)
	if a := w.one(); a.MAC != first || !slices.Contains(a.MACs, p.mac) || !a.Reached(boot.StageScript) {
		t.Errorf("%s %v, stages %s", a.MAC, a.MACs, stageNames(a))
	}
}

// TestIdentifierIsClaimed: a machine that has just asked waits for an offer; who
// comes with its identifier on another card meanwhile is another one.
func TestIdentifierIsClaimed(t *testing.T) {
	w := newWire(t)
	v := w.pc(1, boot.FirmwareUEFI).discover(4*time.Second, 8*time.Second)
	liar := w.pc(66, boot.FirmwareBIOS)
	liar.guid = v.guid
	liar.discover().lease().tftp("undionly.kpxe", 1000).as(boot.FirmwareIPXE).booting(decidedLocal)
	w.wait(5 * time.Minute)
	for _, a := range w.attempts() {
		want := boot.AttemptLocal
		if a.MAC == v.mac {
			want = boot.AttemptStalled // it follows no offer
		}
		if a.State != want || len(a.MACs) != 0 {
			t.Errorf("%s %v: %s, want %s", a.MAC, a.MACs, a.State, want)
		}
	}
}

// TestForgedRequestsPushOutNothing: a host that asks in the names of thousands of
// machines, by HTTP or on port 4011, costs no real failure its place.
func TestForgedRequestsPushOutNothing(t *testing.T) {
	for name, forge := range map[string]func(n int) boot.Event{
		"scripts": func(n int) boot.Event {
			return boot.Event{Kind: boot.KindScript, MAC: mac(n), GUID: boot.GUID{byte(n), byte(n >> 8), 3: 1}, Addr: netip.MustParseAddr("192.0.2.66"), File: "/s", Action: boot.ActionBoot, Bytes: 100}
		},
		"scripts for the disk": func(n int) boot.Event {
			return boot.Event{Kind: boot.KindScript, MAC: mac(n), Addr: netip.MustParseAddr("192.0.2.66"), File: "/s", Action: boot.ActionLocal, Bytes: 100}
		},
		"asks on port 4011": func(n int) boot.Event {
			return boot.Event{Kind: boot.KindAck, MAC: mac(n), XID: uint32(n), Firmware: boot.FirmwareUEFI, Class: "PXEClient:Arch:00007", Addr: netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)})}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWire(t)
			p := w.pc(9, boot.FirmwareUEFI).loader("snponly.efi").booting(decidedBoot)
			p.httpEnd("/files/vmlinuz", 100, 8<<20, boot.ReasonInterrupted)
			// Another one is lost before it fetches anything: its name is what keeps it.
			q := w.pc(8, boot.FirmwareUEFI).discover().lease()
			lost := w.tr.byMAC[q.mac]
			lost.a.Machine, lost.a.Name = "m8", "office"
			w.wait(2 * time.Minute)
			failed := w.tr.byMAC[p.mac]
			if failed.a.State != boot.AttemptFailed || lost.a.State != boot.AttemptStalled {
				t.Fatalf("%s, %s", failed.a.State, lost.a.State)
			}
			for n := range 4 * maxAttempts {
				e := forge(n)
				w.now = w.now.Add(250 * time.Millisecond)
				e.Time = w.now
				w.tr.observe(e)
				if n%8 == 0 {
					w.tr.tick(w.now)
				}
				if w.tr.byID[failed.a.ID] == nil || w.tr.byID[lost.a.ID] == nil {
					t.Fatalf("a real failure is gone after %d forged requests", n+1)
				}
			}
			w.check()
		})
	}
}

// TestBootLoopPushesOutItself: a machine that fails over and over pushes out its
// own failures, not what is known of others.
func TestBootLoopPushesOutItself(t *testing.T) {
	w := newWire(t)
	fail := func(n byte) boot.AttemptID {
		p := w.pc(n, boot.FirmwareUEFI).discover().lease().tftp("snponly.efi", 280<<10)
		w.wait(time.Minute)
		return w.tr.byMAC[p.mac].a.ID
	}
	other := fail(2)
	first := fail(1)
	var last boot.AttemptID
	for range maxBad + 20 {
		last = fail(1)
	}
	w.check()
	if w.tr.byID[other] == nil || w.tr.byID[last] == nil || w.tr.byID[first] != nil {
		t.Errorf("kept: the other %v, its first %v, its last %v", w.tr.byID[other] != nil, w.tr.byID[first] != nil, w.tr.byID[last] != nil)
	}
	if n := w.tr.ranks[rankBad].Len(); n != maxBad {
		t.Errorf("%d failures are kept", n)
	}
}
