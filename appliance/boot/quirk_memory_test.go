package boot

import (
	"net/netip"
	"slices"
	"testing"
	"time"
)

// loads has the client follow its last offer to a download.
func (p *player) loads(c Client) {
	p.m.Leased(c.MAC, playerAddr)
	p.m.Loaded(playerAddr)
}

// boots is a whole boot: an offer, a download, a script.
func (p *player) boots(c Client, xid uint32) []Outcome {
	p.ask(c, xid, time.Hour)
	p.loads(c)
	return p.m.Succeeded(c.MAC, p.at)
}

func TestStalled(t *testing.T) {
	p := newPlayer(t)
	if mac, m := p.m.Stalled(playerAddr, 1468); mac != "" || m != (Move{}) || p.m.Block(playerAddr) != 0 {
		t.Errorf("a stranger: %q %+v", mac, m)
	}
	p.ask(uefi, 1, 0)
	p.loads(uefi)
	if mac, m := p.m.Stalled(playerAddr, 512); mac != "" || m != (Move{}) {
		t.Errorf("nothing is smaller than 512: %q %+v", mac, m)
	}
	mapped := netip.AddrFrom16(playerAddr.As16())
	for _, c := range []struct{ block, want int }{{1468, 1024}, {1024, 512}, {1000, 0}, {1468, 0}} {
		before := p.m.Block(mapped)
		mac, m := p.m.Stalled(mapped, c.block)
		if p.m.Block(playerAddr) != c.want || mac != uefi.MAC || (m != Move{}) != (before != c.want) || m.To.Block != c.want {
			t.Errorf("after %d: blocks of %d, %+v", c.block, p.m.Block(playerAddr), m)
		}
	}
	// The next offer carries on, and a success keeps what worked.
	p = newPlayer(t)
	p.ask(uefi, 1, 0)
	p.loads(uefi)
	p.m.Stalled(playerAddr, 1468)
	small := Shape{Block: 1024}
	if got := p.ask(uefi, 2, time.Minute); got != small || p.last.Move != (Move{}) {
		t.Errorf("%v %+v", got, p.last.Move)
	}
	p.loads(uefi)
	out := p.m.Succeeded(uefi.MAC, p.at)
	if len(out) != 1 || out[0].Shape != small || out[0].Began != (Shape{}) || out[0].Seed != (Shape{}) || !out[0].Rescued || out[0].Client.MAC != uefi.MAC || out[0].Client.XID != 2 {
		t.Errorf("%+v", out)
	}
	if got := p.ask(uefi, 3, time.Minute); got != small {
		t.Errorf("%v", got)
	}
	// What stalls is whoever was offered something last.
	p.ask(ipxe, 4, time.Second)
	if p.m.Block(playerAddr) != 0 {
		t.Errorf("iPXE is capped at %d", p.m.Block(playerAddr))
	}
	p.m.Stalled(playerAddr, 1432)
	if p.m.Block(playerAddr) != 1024 {
		t.Errorf("iPXE is capped at %d", p.m.Block(playerAddr))
	}
	// Known by a request alone.
	p.m.Asked("52:54:00:00:00:77", netip.MustParseAddr("192.0.2.77"))
	if mac, _ := p.m.Stalled(netip.MustParseAddr("192.0.2.77"), 1468); mac != "52:54:00:00:00:77" {
		t.Errorf("%q", mac)
	}
}

// TestStalledTwice: a client that such blocks have reached is moved by two stalls
// in a row, not by one.
func TestStalledTwice(t *testing.T) {
	p := newPlayer(t)
	p.ask(uefi, 1, 0)
	p.loads(uefi)
	p.m.Fetched(playerAddr, 1432, false, p.at)
	p.m.Fetched(playerAddr, 512, false, p.at)
	p.m.Fetched(playerAddr, 0, false, p.at)
	for i, want := range []int{0, 1024} {
		if mac, m := p.m.Stalled(playerAddr, 1432); p.m.Block(playerAddr) != want || mac != uefi.MAC || (m != Move{}) != (want != 0) {
			t.Errorf("stall %d: blocks of %d", i+1, p.m.Block(playerAddr))
		}
	}
	p = newPlayer(t)
	p.ask(uefi, 1, 0)
	p.loads(uefi)
	p.m.Fetched(playerAddr, 1432, false, p.at)
	for range 3 {
		p.m.Stalled(playerAddr, 1432)
		p.m.Fetched(playerAddr, 1000, false, p.at) // something came through in between
	}
	if p.m.Block(playerAddr) != 0 {
		t.Errorf("blocks of %d", p.m.Block(playerAddr))
	}
	p.m.Stalled(playerAddr, 1433) // larger than anything that ever came through
	if p.m.Block(playerAddr) != 1024 {
		t.Errorf("blocks of %d", p.m.Block(playerAddr))
	}
	p.m.Fetched(netip.MustParseAddr("192.0.2.99"), 1, true, p.at) // a stranger
}

// TestStalledDetails: what a stall leaves behind.
func TestStalledDetails(t *testing.T) {
	p := newPlayer(t)
	p.ask(uefi, 1, 0)
	p.loads(uefi)
	if p.m.Stalled(playerAddr, 513); p.m.Block(playerAddr) != 512 {
		t.Errorf("513: blocks of %d", p.m.Block(playerAddr))
	}
	// The client asks for the file again, and boots: the rescue is its own.
	p.m.Loaded(playerAddr)
	out := p.m.Succeeded(uefi.MAC, p.at)
	if len(out) != 1 || out[0].Client.MAC != uefi.MAC || out[0].Client.XID != 1 || !out[0].Rescued || out[0].Shape.Block != 512 {
		t.Errorf("%+v", out)
	}
	if c := p.m.History(uefi.MAC, p.at).rounds[programUEFI].climb; c.ladder.Tried != 0 || c.ladder.Sure || c.best.Block != 512 {
		t.Errorf("%+v", c)
	}
	// Each cap needs two stalls of its own where such blocks have come through.
	p = newPlayer(t)
	p.ask(uefi, 1, 0)
	p.loads(uefi)
	p.m.Fetched(playerAddr, 1468, false, p.at)
	for i, want := range []int{0, 1024, 1024, 512} {
		block := 1468
		if i > 1 {
			block = 1024
		}
		if p.m.Stalled(playerAddr, block); p.m.Block(playerAddr) != want {
			t.Errorf("stall %d: blocks of %d, want %d", i+1, p.m.Block(playerAddr), want)
		}
	}
	// A file by HTTP says nothing about TFTP; a small one by TFTP does.
	for block, want := range map[int]int{0: 1024, 1: 0} {
		p = newPlayer(t)
		p.ask(uefi, 1, 0)
		p.loads(uefi)
		p.m.Fetched(playerAddr, 1468, false, p.at)
		p.m.Stalled(playerAddr, 1468)
		p.m.Fetched(playerAddr, block, false, p.at)
		if p.m.Stalled(playerAddr, 1468); p.m.Block(playerAddr) != want {
			t.Errorf("a file in blocks of %d in between: blocks of %d, want %d", block, p.m.Block(playerAddr), want)
		}
	}
	// A pinned shape stays.
	p = newPlayer(t)
	p.policy.Quirks = func(Client) (Shape, bool) { return Shape{Block: 1400}, true }
	p.ask(uefi, 1, 0)
	p.loads(uefi)
	for range 3 {
		if _, m := p.m.Stalled(playerAddr, 1400); m != (Move{}) || p.m.Block(playerAddr) != 1400 {
			t.Errorf("%+v", m)
		}
	}
}

// fetches has the client download its first stage whole.
func (p *player) fetches(c Client, xid uint32, after time.Duration) Shape {
	s := p.ask(c, xid, after)
	p.loads(c)
	p.m.Fetched(playerAddr, 1468, true, p.at)
	return s
}

func TestNotStartedChangesTheBuild(t *testing.T) {
	native := Shape{Variant: VariantNative}
	p := newPlayer(t)
	p.m.NotStarted(uefi.MAC) // never met
	p.fetches(uefi, 1, 0)
	p.m.NotStarted(uefi.MAC)
	p.m.NotStarted(uefi.MAC) // said once
	if got := p.fetches(uefi, 2, time.Minute); got != native || p.last.File != "x86_64/ipxe.efi" || p.last.Move.Symptom != SymptomNotStarted {
		t.Errorf("%v %s", got, p.last.File)
	}
	p.m.NotStarted(uefi.MAC)
	if got := p.fetches(uefi, 3, time.Minute); got != (Shape{}) || p.last.Move.Reason != ReasonQuirkSpent {
		t.Errorf("%v", got)
	}
	p.m.NotStarted(uefi.MAC)
	if got := p.fetches(uefi, 4, time.Minute); got != (Shape{}) || p.last.Move != (Move{}) {
		t.Errorf("%v", got)
	}
	// The word of whoever watches counts at once.
	p = newPlayer(t)
	p.fetches(uefi, 1, 0)
	p.m.NotStarted(uefi.MAC)
	if got := p.ask(uefi, 2, time.Second); got != native {
		t.Errorf("%v", got)
	}
	// Where there is no other build, nothing was tried: a later doubtful retry is
	// no rescue.
	p = newPlayer(t)
	p.policy.Has = func(f string) bool { return f == "x86_64/snponly.efi" }
	p.fetches(uefi, 1, 0)
	p.m.NotStarted(uefi.MAC)
	p.ask(uefi, 2, time.Minute)
	p.ask(uefi, 2, 4*time.Second)
	p.loads(uefi)
	if out := p.m.Succeeded(uefi.MAC, p.at); len(out) != 1 || out[0].Rescued {
		t.Errorf("%+v", out)
	}
	// Without a word from whoever watches: a machine that comes back after a while.
	for _, c := range []struct {
		after time.Duration
		want  Shape
	}{{StartTime - 1, Shape{}}, {StartTime, native}, {lostTime, native}, {lostTime + 1, Shape{}}} {
		p := newPlayer(t)
		p.fetches(bios, 1, 0)
		if got := p.ask(bios, 2, c.after); got != c.want {
			t.Errorf("after %v: %v", c.after, got)
		}
		if c.want == native && (p.last.File != "ipxe.pxe" || p.m.History(bios.MAC, p.at.Add(StartTime)).rounds[programBIOS].lost) {
			t.Errorf("after %v: %s, or it is still waited for", c.after, p.last.File)
		}
	}
	// Heard of again: iPXE asks, or something else is fetched.
	p = newPlayer(t)
	p.fetches(uefi, 1, 0)
	p.ask(ipxe, 9, 5*time.Second)
	p.m.NotStarted(uefi.MAC)
	if got := p.ask(uefi, 2, time.Minute); got != (Shape{}) {
		t.Errorf("%v", got)
	}
	p = newPlayer(t)
	p.fetches(uefi, 1, 0)
	p.m.Loaded(playerAddr)
	if got := p.ask(uefi, 2, time.Minute); got != (Shape{}) {
		t.Errorf("%v", got)
	}
	// Not a first stage.
	p = newPlayer(t)
	p.ask(uefi, 1, 0)
	p.loads(uefi)
	p.m.Fetched(playerAddr, 1468, false, p.at)
	if got := p.ask(uefi, 2, time.Minute); got != (Shape{}) {
		t.Errorf("%v", got)
	}
	// Another program of the machine is not moved.
	p = newPlayer(t)
	p.fetches(uefi, 1, 0)
	if got := p.ask(bios, 2, time.Minute); got != (Shape{}) {
		t.Errorf("%v", got)
	}
	if got := p.ask(uefi, 3, time.Second); got != native {
		t.Errorf("%v", got)
	}
}

// TestStartedBefore: a machine whose first stage has started before must be
// silent twice in a row.
func TestStartedBefore(t *testing.T) {
	for _, told := range []bool{true, false} {
		p := newPlayer(t)
		p.boots(uefi, 1)
		xid := uint32(1)
		silent := func() Shape {
			xid++
			s := p.fetches(uefi, xid, time.Minute)
			if told {
				p.m.NotStarted(uefi.MAC)
			}
			return s
		}
		if silent(); silent() != (Shape{}) {
			t.Error("one silence moved it")
		}
		if got := silent(); got != (Shape{Variant: VariantNative}) {
			t.Errorf("two silences: %v", got)
		}
		// In between it is heard of.
		for _, heard := range []func(p *player){
			func(p *player) { p.m.Succeeded(uefi.MAC, p.at) },
			func(p *player) { p.ask(ipxe, 99, time.Second) },
		} {
			p := newPlayer(t)
			p.boots(uefi, 1)
			for i := range uint32(4) {
				if got := p.fetches(uefi, 10+i, time.Minute); got != (Shape{}) {
					t.Errorf("%v", got)
				}
				if told {
					p.m.NotStarted(uefi.MAC)
				} else {
					p.at = p.at.Add(time.Minute)
					p.ask(uefi, 20+i, 0)
				}
				heard(p)
			}
		}
	}
}

func TestLoopOfIPXE(t *testing.T) {
	p := newPlayer(t)
	without := Shape{NoPriority: true}
	var got []Shape
	for i := range uint32(8) {
		p.ask(ipxe, i, time.Second) // retries of one transaction count once
		p.ask(ipxe, i, time.Second)
		got = append(got, p.last.Shape)
	}
	if want := []Shape{{}, {}, {}, without, without, without, {}, {}}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	for name, between := range map[string]func(p *player){
		"a download":    func(p *player) { p.loads(ipxe) },
		"half a minute": func(p *player) { p.at = p.at.Add(NewBoot - 1) },
	} {
		p := newPlayer(t)
		for i := range uint32(9) {
			if got := p.ask(ipxe, i, 1); got != (Shape{}) {
				t.Errorf("%s in between: %v", name, got)
			}
			between(p)
		}
	}
	// Half a minute less a moment is not enough, and a download counts once.
	p = newPlayer(t)
	got = nil
	for i := range uint32(6) {
		if p.ask(ipxe, i, NewBoot-1); i == 0 {
			p.loads(ipxe)
		}
		got = append(got, p.last.Shape)
	}
	if want := []Shape{{}, {}, {}, {}, without, without}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	// A cut-down iPXE that loads our first stage over and over: the loop guard.
	dumb := client(FirmwareIPXE, 7)
	p = newPlayer(t)
	got = nil
	for i := range uint32(9) {
		p.ask(dumb, i, time.Second)
		p.loads(dumb)
		got = append(got, p.last.Shape)
	}
	if want := []Shape{{}, {}, {}, {}, without, without, without, without, without}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	// Firmware that loops says nothing about iPXE.
	p = newPlayer(t)
	p.ask(ipxe, 98, 0)
	for i := range uint32(6) {
		p.ask(bios, i, time.Second)
	}
	if got := p.ask(ipxe, 99, time.Second); got != (Shape{}) {
		t.Errorf("%v", got)
	}
}

func TestSucceeded(t *testing.T) {
	tw := Shape{Form: FormTwoStep}
	p := newPlayer(t)
	if out := p.m.Succeeded(uefi.MAC, p.at); out != nil {
		t.Errorf("a stranger: %+v", out)
	}
	if out := p.boots(uefi, 1); out != nil {
		t.Errorf("the default works: %+v", out)
	}
	// A rescue is one only when the client surely had an address.
	for name, c := range map[string]struct {
		heard   func(p *player)
		rescued bool
	}{
		"nothing heard":     {func(*player) {}, false},
		"an address":        {func(p *player) { p.m.Overheard(uefi.MAC, &Foreign{Type: "offer", Your: playerAddr}) }, true},
		"no address":        {func(p *player) { p.m.Overheard(uefi.MAC, &Foreign{Type: "offer"}) }, false},
		"an ack":            {func(p *player) { p.m.Overheard(uefi.MAC, &Foreign{Type: "ack", Your: playerAddr}) }, false},
		"nothing":           {func(p *player) { p.m.Overheard(uefi.MAC, nil) }, false},
		"somebody else's":   {func(p *player) { p.m.Overheard("52:54:00:00:00:99", &Foreign{Type: "offer", Your: playerAddr}) }, false},
		"taking an address": {func(p *player) { p.m.Leased(uefi.MAC, playerAddr) }, true},
		"port 4011":         {func(p *player) { p.m.Asked(uefi.MAC, playerAddr) }, true},
	} {
		p := newPlayer(t)
		p.ask(uefi, 1, 0)
		c.heard(p)
		p.ask(uefi, 1, 4*time.Second)
		p.loads(uefi)
		out := p.m.Succeeded(uefi.MAC, p.at)
		if len(out) != 1 || out[0].Shape != tw || out[0].Began != (Shape{}) || out[0].Rescued != c.rescued {
			t.Errorf("%s: %+v", name, out)
		}
		if again := p.m.Succeeded(uefi.MAC, p.at); again != nil {
			t.Errorf("%s: told twice: %+v", name, again)
		}
		if out = p.boots(uefi, 2); len(out) != 1 || out[0].Shape != tw || out[0].Began != tw || out[0].Rescued {
			t.Errorf("%s: the next boot: %+v", name, out)
		}
	}
	// One sure failure is enough, and coming back to the beginning is no rescue.
	p = newPlayer(t)
	p.ask(uefi, 1, 0)
	p.m.Leased(uefi.MAC, playerAddr)
	p.ask(uefi, 1, 4*time.Second)
	p.ask(uefi, 1, 4*time.Second)
	p.loads(uefi)
	if out := p.m.Succeeded(uefi.MAC, p.at); len(out) != 1 || !out[0].Rescued || out[0].Shape != (Shape{Delay: RungDelay}) {
		t.Errorf("%+v", out)
	}
	p = newPlayer(t)
	for range 5 {
		p.ask(uefi, 1, 4*time.Second)
		p.m.Leased(uefi.MAC, playerAddr)
	}
	p.loads(uefi)
	if out := p.m.Succeeded(uefi.MAC, p.at); len(out) != 1 || out[0].Rescued || out[0].Shape != (Shape{}) {
		t.Errorf("%+v", out)
	}
	// What was sure of one boot is not of the next.
	p = newPlayer(t)
	p.ask(uefi, 1, 0)
	p.m.Leased(uefi.MAC, playerAddr)
	p.ask(uefi, 1, 4*time.Second)
	p.loads(uefi) // a download, and nothing more
	p.ask(uefi, 2, time.Hour)
	p.ask(uefi, 2, 4*time.Second)
	p.loads(uefi)
	if out := p.m.Succeeded(uefi.MAC, p.at); len(out) != 1 || out[0].Rescued {
		t.Errorf("%+v", out)
	}
	// An address that was heard before the last offer says nothing about it.
	p = newPlayer(t)
	p.ask(uefi, 1, 0)
	p.m.Leased(uefi.MAC, playerAddr)
	p.ask(uefi, 2, 0)
	p.loads(uefi)
	p.m.Succeeded(uefi.MAC, p.at)
	p = newPlayer(t)
	p.m.Asked(uefi.MAC, playerAddr)
	p.m.Overheard(uefi.MAC, &Foreign{Type: "offer", Your: playerAddr})
	p.ask(uefi, 1, 0)
	p.ask(uefi, 1, 4*time.Second)
	p.loads(uefi)
	if out := p.m.Succeeded(uefi.MAC, p.at); len(out) != 1 || out[0].Rescued {
		t.Errorf("%+v", out)
	}
	// Nothing was fetched, or it is long ago.
	p = newPlayer(t)
	p.policy.Quirks = func(Client) (Shape, bool) { return tw, false }
	p.ask(uefi, 1, 0)
	if out := p.m.Succeeded(uefi.MAC, p.at); out != nil {
		t.Errorf("nothing was fetched: %+v", out)
	}
	p.loads(uefi)
	if out := p.m.Succeeded(uefi.MAC, p.at.Add(bootTime+1)); out != nil {
		t.Errorf("long ago: %+v", out)
	}
	out := p.m.Succeeded(uefi.MAC, p.at.Add(bootTime))
	if len(out) != 1 || out[0].Seed != tw || out[0].Began != tw || out[0].Shape != tw || out[0].Rescued {
		t.Errorf("%+v", out)
	}
	// Two programs in one boot.
	p = newPlayer(t)
	p.policy.Quirks = func(Client) (Shape, bool) { return Shape{Delay: 1, NoPriority: true}, true }
	p.ask(uefi, 1, 0)
	p.loads(uefi)
	p.ask(ipxe, 2, 0)
	p.loads(ipxe)
	if out = p.m.Succeeded(uefi.MAC, p.at); len(out) != 2 || out[0].Client.Firmware != FirmwareUEFI || out[1].Client.Firmware != FirmwareIPXE {
		t.Errorf("%+v", out)
	}
}

// TestWhatWorkedStays: another shape takes the place of the one that worked when
// that surely failed, or when it was needed twice in a row.
func TestWhatWorkedStays(t *testing.T) {
	retry := func(p *player, xid uint32, sure bool) {
		p.ask(uefi, xid, time.Hour)
		if sure {
			p.m.Overheard(uefi.MAC, &Foreign{Type: "offer", Your: playerAddr})
		}
		p.ask(uefi, xid, 4*time.Second)
		p.loads(uefi)
		p.m.Succeeded(uefi.MAC, p.at)
	}
	begins := func(p *player) Shape { return p.ask(uefi, 1000, time.Hour) }
	tw := Shape{Form: FormTwoStep}

	p := newPlayer(t)
	p.boots(uefi, 1)
	retry(p, 2, false)
	if got := begins(p); got != (Shape{}) {
		t.Errorf("one doubtful failure: %v", got)
	}
	p = newPlayer(t)
	p.boots(uefi, 1)
	retry(p, 2, false)
	retry(p, 3, false)
	if got := begins(p); got != tw {
		t.Errorf("two doubtful failures: %v", got)
	}
	p = newPlayer(t)
	p.boots(uefi, 1)
	retry(p, 2, false)
	p.boots(uefi, 3)
	retry(p, 4, false)
	if got := begins(p); got != (Shape{}) {
		t.Errorf("a success in between: %v", got)
	}
	p = newPlayer(t)
	p.boots(uefi, 1)
	retry(p, 2, false)
	p.boots(uefi, 3)
	p.boots(uefi, 4)
	retry(p, 5, false)
	if got := begins(p); got != (Shape{}) {
		t.Errorf("two successes in between: %v", got)
	}
	p = newPlayer(t)
	p.boots(uefi, 1)
	retry(p, 2, true)
	if got := begins(p); got != tw {
		t.Errorf("a sure failure: %v", got)
	}
	// And back again, the same way.
	retry(p, 5, false)
	if got := begins(p); got != tw {
		t.Errorf("one doubtful failure: %v", got)
	}
	retry(p, 7, false)
	retry(p, 8, false)
	if got := begins(p); got != (Shape{}) {
		t.Errorf("two doubtful failures: %v", got)
	}
}

func TestOption60(t *testing.T) {
	heard := func(class string) *Foreign { return &Foreign{Type: "offer", Your: playerAddr, Class: class} }
	p := newPlayer(t)
	p.ask(uefi, 1, 0)
	p.m.Overheard(uefi.MAC, heard("PXEClient"))
	for i := range 3 {
		got := p.ask(uefi, 1, 4*time.Second)
		if want := i == 0; got != (Shape{}) || (p.last.Move.Reason == ReasonOption60) != want || !want && p.last.Move != (Move{}) {
			t.Errorf("retry %d: %v %+v", i, got, p.last.Move)
		}
	}
	// It stopped sending it.
	p.m.Overheard(uefi.MAC, heard("HTTPClient"))
	if got := p.ask(uefi, 1, 4*time.Second); got != (Shape{Form: FormTwoStep}) {
		t.Errorf("%v", got)
	}
	// Said once, whatever was tried before, and what was not tried still is.
	p = newPlayer(t)
	p.ask(uefi, 1, 0)
	p.ask(uefi, 1, 4*time.Second)
	p.m.Overheard(uefi.MAC, heard("PXEClient"))
	if got := p.ask(uefi, 1, 4*time.Second); got != (Shape{Form: FormTwoStep}) || p.last.Move.Reason != ReasonOption60 {
		t.Errorf("%v %+v", got, p.last.Move)
	}
	p = newPlayer(t)
	p.policy.FirstForm = FormTwoStep
	p.ask(uefi, 1, 0)
	p.m.Overheard(uefi.MAC, heard("PXEClient"))
	p.ask(uefi, 1, 4*time.Second)
	p.m.Overheard(uefi.MAC, heard(""))
	if got := p.ask(uefi, 1, 4*time.Second); got != (Shape{Form: FormDirect}) {
		t.Errorf("%v %+v", got, p.last.Move)
	}
	// BIOS ROMs differ: everything is tried.
	p = newPlayer(t)
	p.ask(bios, 1, 0)
	p.m.Overheard(bios.MAC, heard("PXEClient"))
	if got := p.ask(bios, 1, 4*time.Second); got != (Shape{Delay: RungDelay}) {
		t.Errorf("%v", got)
	}
}

func TestAwaitingTellsEach(t *testing.T) {
	a := NewAwaiting()
	var each []MAC
	a.Each(func(m MAC) { each = append(each, m) })
	at := now
	for range 2 {
		a.Fetched(Event{Time: at, MAC: "02:00:00:00:00:01"})
		at = at.Add(time.Minute)
		a.Silent(at)
	}
	if want := []MAC{"02:00:00:00:00:01", "02:00:00:00:00:01"}; !slices.Equal(each, want) {
		t.Errorf("%v", each)
	}
}
