package boot

import (
	"net/netip"
	"time"
)

// Outcome is what a success says about a model.
type Outcome struct {
	Client Client // as it asked for the offer that led here
	Shape  Shape  // what it was given
	Began  Shape  // what it was given first in this boot
	Seed   Shape  // what its model was known to need; zero when nothing
	// Rescued: other shapes were tried before and surely failed, though the client
	// had all else that it needs.
	Rescued bool
}

// Overheard records what another server said to a machine.
func (m *Memory) Overheard(mac MAC, f *Foreign) {
	if f == nil || f.Type != "offer" || !f.Your.IsValid() {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if e, ok := m.byMAC[mac]; ok {
		r := e.Value.(*memory)
		r.addressed, r.option60 = true, ClassOf(f.Class) == ClassPXE
	}
}

// Fetched records that the client at addr has a whole file, in TFTP blocks of
// this size (0: by HTTP). stage1 says that the file is a first stage, which is
// to be heard of from now on.
func (m *Memory) Fetched(addr netip.Addr, block int, stage1 bool, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.byAddr[addr.Unmap()]
	if !ok {
		return
	}
	r := e.Value.(*memory)
	if block > 0 {
		r.whole, r.stalls = max(r.whole, block), 0
	}
	if stage1 {
		r.started = noted{now, r.current}
	}
}

// Stalled records a transfer to addr that was agreed on with this block size and
// of which nothing arrived. The move is what the next transfer does otherwise:
// the client may ask again without any DHCP. A client that such blocks have
// reached before must stall twice in a row: one that is switched off looks the
// same.
func (m *Memory) Stalled(addr netip.Addr, block int) (mac MAC, move Move) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.byAddr[addr.Unmap()]
	if !ok || block <= RungBlockLast {
		return "", Move{}
	}
	r := e.Value.(*memory)
	if r.stalls++; r.whole >= block && r.stalls < 2 {
		return r.mac, Move{}
	}
	t := &r.rounds[r.current]
	known := t.standing()
	known.ladder, move = known.ladder.follow(Move{}, SymptomStall, Open{Block: block})
	known.client = r.last
	t.climb = &known
	r.stalls = 0
	return r.mac, move
}

// Block is the cap of TFTP's block size for the client at addr, in octets; 0 is
// none.
func (m *Memory) Block(addr netip.Addr) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.byAddr[addr.Unmap()]
	if !ok {
		return 0
	}
	r := e.Value.(*memory)
	return r.rounds[r.current].standing().ladder.Shape.Block
}

// NotStarted records that the first stage a machine has fetched was not heard of.
// Its next offer is another one: at once when none has ever started there, else
// when it happens twice in a row.
func (m *Memory) NotStarted(mac MAC) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.byMAC[mac]
	if !ok {
		return
	}
	if r := e.Value.(*memory); !r.started.at.IsZero() {
		r.silent()
	}
}

// Succeeded records that mac fetched its script, or a file of what it boots: what
// it was given works. The outcomes are told once for every boot and program, and
// only when there is more to say than that the default works.
func (m *Memory) Succeeded(mac MAC, now time.Time) (out []Outcome) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.byMAC[mac]
	if !ok {
		return nil
	}
	r := e.Value.(*memory)
	r.silences = 0
	for i := range r.rounds {
		t := &r.rounds[i]
		if now.Sub(t.at) > bootTime || !t.loaded || t.counted {
			continue
		}
		t.counted = true
		if t.climb == nil {
			t.proven = true
			continue
		}
		known := *t.climb
		l := known.ladder
		out = append(out, Outcome{
			Client: known.client, Shape: l.Shape, Began: l.Base, Seed: known.seed,
			Rescued: l.Sure && l.Shape != l.Base,
		})
		known.proves(l, !t.proven)
		t.proven = true
		t.climb = &known
	}
	return out
}

// proves takes over what led to a script. What has worked before is given up for
// it only when it surely failed, or failed twice in a row.
func (c *climb) proves(l Ladder, first bool) {
	switch {
	case l.Shape == c.best:
		c.strikes = 0
	case first:
		c.best = l.Shape
	default:
		if c.strikes++; c.strikes >= 2 || l.Sure {
			c.best, c.strikes = l.Shape, 0
		}
	}
	c.ladder.Tried, c.ladder.Sure = 0, false
}

// offered records d as the latest offer to c's program.
func (r *memory) offered(c Client, d Decision, now time.Time) {
	p := c.program()
	switch {
	case p == programIPXE:
		r.started, r.silences = noted{}, 0
	case r.overdue(now):
		r.silent()
	}
	t := &r.rounds[p]
	switch {
	case now.Sub(t.at) >= NewBoot, d.Move.Symptom == SymptomLoop:
		t.asks = 1
	case t.xid != c.XID:
		t.asks++
	}
	t.xid, t.at, t.loaded, t.lost, t.looping = c.XID, now, false, false, false
	if d.ladder != (Ladder{}) || t.climb != nil {
		known := t.standing()
		known.ladder, known.seed, known.client = d.ladder, d.seed, c
		t.climb = &known
	}
	t.counted = false
	r.current, r.addressed = p, false
}

// fetches records that the machine fetches something: whoever was offered
// something last has followed, and whatever it fetched before runs.
func (r *memory) fetches() {
	t := &r.rounds[r.current]
	t.loaded, t.asks = true, 0
	r.started = noted{}
}

// overdue says whether a first stage should have been heard of, and is not
// forgotten yet.
func (r *memory) overdue(now time.Time) bool {
	since := now.Sub(r.started.at)
	return since >= StartTime && since <= lostTime
}

// suspect says whether so many silences in a row show that the first stage does
// not start.
func (r *memory) suspect(p program, silences int) bool {
	return silences > 1 || !r.rounds[p].proven
}

// silent counts a first stage that was not heard of.
func (r *memory) silent() {
	r.silences++
	t := &r.rounds[r.started.who]
	if r.suspect(r.started.who, r.silences) {
		t.lost = true
	}
	r.started = noted{}
}
