package journal

import (
	"cmp"
	"container/list"
	"encoding/hex"
	"net/netip"
	"slices"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// Bounds of a tracker.
const (
	// maxAttempts are kept in memory, going on and finished.
	maxAttempts = 1024
	// maxCost is about what all their events may take in memory, in octets.
	maxCost = 12 << 20
	// maxGood and maxBad finished attempts are kept, here and in the store.
	maxGood = 200
	maxBad  = 500
	// maxPending packets of other servers wait for the machine they are for.
	maxPending    = 256
	pendingPerMAC = 4
	maxShared     = 256
)

// Times of a tracker.
const (
	// MaxTryGap is how long after an attempt another one of the same machine counts
	// as tried again.
	MaxTryGap = 10 * time.Minute
	// joinGap is how long firmware may be busy with what the box does not see (IPv6,
	// its own menus) before it asks with its next program or card in the same boot.
	joinGap = 150 * time.Second
	// startGap is how long a program may take from its download to its first packet
	// to count as the same boot. It is longer than boot.StartTime: that it was
	// given up for lost does not make it another boot.
	startGap = 5 * time.Minute
	// roundTime is how long one round of DISCOVERs of firmware lasts, and roundGap
	// the longest pause within it (PXE 2.1 section 2.2.4).
	roundTime = 75 * time.Second
	roundGap  = 40 * time.Second
	// manyRounds of iPXE, or longTry, are no boot that goes on but one that begins
	// again and again.
	manyRounds = 8
	longTry    = 30 * time.Minute
	// pendingTime is how long a packet of another server waits for our own event of
	// the same DISCOVER.
	pendingTime = 10 * time.Second
	// sharedTime is how long an identifier that two machines were seen with is not
	// used to join by.
	sharedTime = 24 * time.Hour
	// waitTime is how long a card that has just asked waits for an offer at least,
	// before the machine tries the next one (4 s, less a random second: PXE 2.1
	// section 2.2.4).
	waitTime = 3 * time.Second
	// busyTime: what a machine did so recently on one card it is still doing.
	busyTime = 5 * time.Second
)

// rank says how much an attempt is worth keeping, least first.
type rank byte

// Ranks.
const (
	rankOnce    rank = iota // goes on; one DISCOVER, as anybody can invent
	rankShallow             // finished; nothing was seen that a stranger could not invent
	rankAgain               // goes on; asked again after seconds, as a client does, or got further
	rankGood                // finished well
	rankBad                 // finished badly
	rankDeep                // goes on; its DISCOVER was heard, and it fetched something
	ranks
)

// realOctets are what a machine has to fetch for its attempt to be kept like one
// that is real: more than a script.
const realOctets = 4 << 10

// quota are the attempts of each rank that nothing of another rank pushes out.
// They add up to maxAttempts.
var quota = [ranks]int{rankOnce: 128, rankShallow: 164, rankAgain: 64, rankGood: maxGood, rankBad: maxBad - 164, rankDeep: 132}

// trackerConfig is what a tracker depends on. seed makes identifiers unlike those
// of other runs.
type trackerConfig struct {
	local func(name string) boot.StageName
	seed  uint64
}

// tracker joins events into attempts. It is a pure state machine: observe takes
// an event, tick the time; it reads no clock and does no I/O.
type tracker struct {
	cfg     trackerConfig
	seq     uint64
	ids     uint64
	cost    int
	evicted uint64

	byID    map[boot.AttemptID]*try
	byMAC   map[boot.MAC]*try
	byAddr  map[netip.Addr]*try
	byGUID  map[boot.GUID]*try
	ranks   [ranks]*list.List // of *try, the one seen last at the back
	tallies map[source]*tally
	shared  map[boot.GUID]time.Time
	pending map[boot.MAC][]boot.Event // packets of other servers
	waiting []boot.MAC                // of pending, oldest first

	gone []boot.AttemptID // made way since the last call of takeGone
}

func newTracker(cfg trackerConfig) *tracker {
	tr := &tracker{
		cfg: cfg, byID: map[boot.AttemptID]*try{}, byMAC: map[boot.MAC]*try{}, byAddr: map[netip.Addr]*try{}, byGUID: map[boot.GUID]*try{},
		tallies: map[source]*tally{}, shared: map[boot.GUID]time.Time{}, pending: map[boot.MAC][]boot.Event{},
	}
	for i := range tr.ranks {
		tr.ranks[i] = list.New()
	}
	return tr
}

// newID is unlike any other of this run, and without meaning: a bijection of the
// counter, moved by the seed.
func (tr *tracker) newID() boot.AttemptID {
	for {
		tr.ids++
		x := tr.cfg.seed + tr.ids*0x9e3779b97f4a7c15
		x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
		x = (x ^ x>>27) * 0x94d049bb133111eb
		x ^= x >> 31
		var b [8]byte
		for i := range b {
			b[i] = byte(x >> (8 * i))
		}
		id := boot.AttemptID(hex.EncodeToString(b[:]))
		if _, taken := tr.byID[id]; !taken {
			return id
		}
	}
}

// observe joins an event to the attempt that it is part of, or begins one.
func (tr *tracker) observe(e boot.Event) {
	e.File, e.Text, e.Class = clipTo(e.File, maxEventText), clipTo(e.Text, maxEventText), clipTo(e.Class, 64)
	if e.Kind == boot.KindForeign {
		tr.foreign(e)
		return
	}
	start := discovers(&e)
	t, by := tr.find(&e)
	if t != nil && by != foundAddr && tr.claims(t, &e) {
		// What is claimed counts for nothing, also not for what else it is joined to.
		e.MAC, e.GUID = "", boot.GUID{}
		t, by = tr.find(&e)
	}
	var before *try
	switch {
	case t == nil:
	case by == foundMAC && t.parallel(&e):
		t = tr.split(t, e.MAC, e.Time)
	case start && !t.same(&e):
		before = t
		if by == foundMAC {
			t.supersede(e.Time)
			tr.place(t)
		} else if !t.finished() {
			before = nil // another machine, or the same on another card: it ends by itself
		}
		t = nil
	case start && by == foundGUID && t.busy(e.Time):
		// A machine does one thing after the other. Two that do them at once have
		// the same identifier.
		tr.share(e.GUID, e.Time)
		t = nil
	case !start && t.finished() && (e.Time.Sub(t.heard) > stayOpen || t.over() && t.begins(&e, tr.cfg.local)):
		// Its DISCOVER was not heard: it came by another way, or in a moment when
		// too much was going on.
		before, t = t, nil
	}
	if t != nil && t.afterlife(&e) {
		return
	}
	if t == nil {
		if !founds(&e) {
			return
		}
		t = tr.begin(&e, before)
	}
	tr.add(t, e)
}

// clipTo cuts a text. What is kept shares no memory with what was longer.
func clipTo(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return string([]byte(s[:most]))
}

// found says by what an attempt was found.
type found byte

const (
	foundNone found = iota
	foundMAC
	foundAddr
	foundGUID
)

// find returns the attempt that an event may be part of: that of its hardware
// address, else of its network address, else of its identifier.
func (tr *tracker) find(e *boot.Event) (*try, found) {
	var byAddr *try
	if !isDHCP(e) && e.Addr.IsValid() {
		byAddr = tr.byAddr[e.Addr]
	}
	if t := tr.byMAC[e.MAC]; e.MAC != "" && t != nil {
		// This card's latest boot is over, and another card of the same machine is in
		// the middle of the next.
		if t.finished() && boot.UsableGUID(e.GUID) && discovers(e) {
			if other := tr.byGUID[e.GUID]; other != nil && other.seq > t.seq && !other.finished() && other.same(e) && !other.busy(e.Time) {
				return other, foundGUID
			}
		}
		return t, foundMAC
	}
	if byAddr != nil && (e.MAC == "" || !differ(e.GUID, byAddr.a.GUID)) {
		return byAddr, foundAddr
	}
	if boot.UsableGUID(e.GUID) {
		if at, shared := tr.shared[e.GUID]; shared && e.Time.Sub(at) < sharedTime {
			return nil, foundNone
		}
		if t := tr.byGUID[e.GUID]; t != nil {
			return t, foundGUID
		}
	}
	return nil, foundNone
}

// claims says whether an event merely claims to be of the machine of an attempt:
// whoever asks by HTTP may name any hardware address and identifier. A network
// address that the machine was seen taking is better evidence. What comes to a
// secret address needs none: only the machine was told of it.
func (tr *tracker) claims(t *try, e *boot.Event) bool {
	if isDHCP(e) || e.Kind == boot.KindCallback || !e.Addr.IsValid() || !t.strong || t.a.Addr == e.Addr || tr.byAddr[e.Addr] == t {
		return false
	}
	if t.finished() && e.Time.Sub(t.heard) > stayOpen {
		return false // it may have another address today
	}
	return !secret(fileName(e.File))
}

// differ says whether two identifiers are of different machines for sure.
func differ(a, b boot.GUID) bool {
	return boot.UsableGUID(a) && boot.UsableGUID(b) && !a.Matches(b)
}

// founds says whether an event alone is reason to think that a machine boots.
// DISCOVERs are; the rest is what is seen of a boot whose beginning was missed.
func founds(e *boot.Event) bool {
	if discovers(e) {
		return true
	}
	switch e.Kind {
	case boot.KindAck, boot.KindLease:
		return bootClient(e)
	case boot.KindTFTP, boot.KindProbe, boot.KindProgress:
		return e.Reason == boot.ReasonNone && (e.MAC != "" || e.Block != 0)
	case boot.KindScript:
		return e.MAC != "" && !notDelivered[e.Reason] && fileName(e.File) != "left"
	default:
		return false
	}
}

// same says whether a DISCOVER belongs to the attempt, or begins the next one.
func (t *try) same(e *boot.Event) bool {
	gap := e.Time.Sub(t.heard)
	ipxe := e.Firmware == boot.FirmwareIPXE
	scripted := t.a.Stage(boot.StageScript).Done
	switch {
	case gap < 0:
		return -gap < roundTime // told late
	case t.over():
		return false
	case !ipxe && differ(e.GUID, t.a.GUID):
		return false // the card was moved to another machine
	case ipxe:
		// A program that was fetched asks for an address again, and may do so more
		// than once. iPXE in the card's own memory begins a boot with it.
		a := t.act(e.MAC, e.Firmware)
		switch {
		case t.native && scripted, gap > startGap, a != nil && gap > joinGap, e.Time.Sub(t.base) > longTry && !scripted:
			return false
		case a != nil && a.xid != e.XID && a.rounds >= manyRounds:
			return false
		}
		return true
	case scripted, gap > joinGap, e.Time.Sub(t.base) > longTry:
		return false
	}
	a := t.act(e.MAC, e.Firmware)
	switch {
	case a == nil:
		return true // its next program, or its next card
	case a != &t.acts[len(t.acts)-1], t.followed:
		return false // it came round again
	case a.leased && a.xid != e.XID:
		return false
	}
	return e.Time.Sub(a.first) <= roundTime && e.Time.Sub(a.last) <= roundGap
}

// begins says whether an event that is no DISCOVER is of the beginning of a boot.
func (t *try) begins(e *boot.Event, local func(string) boot.StageName) bool {
	switch e.Kind {
	case boot.KindAck, boot.KindLease:
		return bootClient(e)
	case boot.KindProbe:
		return true
	case boot.KindTFTP, boot.KindProgress:
		return t.stageOf(*e, local) == boot.StageLoader
	default:
		return false
	}
}

// over says whether what was to be booted was, or the machine went on to its
// disk: whatever comes next is another boot.
func (t *try) over() bool {
	if t.left != leaveNot || t.calls || t.finished() && (t.a.State == boot.AttemptBooted || t.a.State == boot.AttemptLocal) {
		return true
	}
	for _, n := range []boot.StageName{boot.StageKernel, boot.StageFiles, boot.StageAnswer, boot.StageInstaller} {
		if t.a.Reached(n) {
			return true
		}
	}
	return false
}

func (t *try) act(mac boot.MAC, f boot.Firmware) *act {
	for i := len(t.acts) - 1; i >= 0; i-- {
		if t.acts[i].mac == mac && t.acts[i].firmware == f {
			return &t.acts[i]
		}
	}
	return nil
}

// busy says whether the machine is in the middle of something on another card.
func (t *try) busy(now time.Time) bool {
	if t.finished() {
		return false
	}
	if n := len(t.acts); n > 0 && !t.followed && !t.acts[n-1].leased && now.Sub(t.acts[n-1].last) < waitTime {
		return true
	}
	return len(t.flight) > 0 && now.Sub(t.heard) < busyTime || t.a.Reached(boot.StageKernel)
}

// parallel says whether an event proves that two machines with one identifier
// are taken for one: what one of them had begun goes on after the other spoke.
func (t *try) parallel(e *boot.Event) bool {
	if len(t.a.MACs) == 0 || len(t.acts) < 2 || e.MAC == "" {
		return false
	}
	last := &t.acts[len(t.acts)-1]
	if last.mac == e.MAC || !e.Time.After(last.last) {
		return false
	}
	switch {
	case isDHCP(e) && e.XID != 0 && !isSystem(e):
		for i := range t.acts {
			if a := &t.acts[i]; a.mac == e.MAC && a.xid == e.XID && a.firmware == e.Firmware && e.Time.Sub(a.last) < joinGap {
				return true
			}
		}
	case (e.Kind == boot.KindTFTP || e.Kind == boot.KindProbe || e.Kind == boot.KindProgress) && e.Reason == boot.ReasonNone:
		return e.Time.Add(-e.Duration).After(last.first) && slices.ContainsFunc(t.acts, func(a act) bool { return a.mac == e.MAC })
	}
	return false
}

// share notes that an identifier is of more than one machine.
func (tr *tracker) share(g boot.GUID, now time.Time) {
	if !boot.UsableGUID(g) {
		return
	}
	if len(tr.shared) >= maxShared {
		oldest, at := g, now
		for k, v := range tr.shared {
			if v.Before(at) {
				oldest, at = k, v
			}
		}
		delete(tr.shared, oldest)
	}
	tr.shared[g] = now
	delete(tr.byGUID, g)
}

// split takes one hardware address out of an attempt that two machines were
// joined into, and gives it an attempt of its own: both are told again from what
// is kept of them. It returns the attempt of mac.
func (tr *tracker) split(t *try, mac boot.MAC, now time.Time) *try {
	tr.place(t) // it is on stage now: the one that is to come pushes out others
	tr.share(t.a.GUID, now)
	other := mac
	if mac == t.a.MAC {
		other = t.acts[len(t.acts)-1].mac // the first one keeps the attempt
	}
	var rest, moved []boot.Event
	for _, e := range t.a.Events {
		if e.MAC == other {
			moved = append(moved, e)
		} else {
			rest = append(rest, e)
		}
	}
	if len(moved) == 0 || len(rest) == 0 {
		return t
	}
	n := tr.begin(&moved[0], nil, t)
	for _, e := range moved {
		tr.add(n, e)
	}
	tr.cost -= t.cost
	if t.a.Omitted == 0 {
		t.retell(rest, tr.cfg.local)
	} else {
		t.a.MACs = slices.DeleteFunc(t.a.MACs, func(m boot.MAC) bool { return m == other })
		t.acts = slices.DeleteFunc(t.acts, func(a act) bool { return a.mac == other })
	}
	t.recount()
	tr.cost += t.cost
	tr.index(t)
	tr.place(t)
	if other == mac {
		return n
	}
	return t
}

// retell builds the attempt anew from events, keeping who it is for the outside.
func (t *try) retell(events []boot.Event, local func(string) boot.StageName) {
	old := t.a
	fresh := &try{seq: t.seq, rank: t.rank, elem: t.elem, tally: t.tally, told: t.told, said: t.said, judged: t.judged, named: t.named, stored: t.stored, kept: t.kept}
	fresh.a = boot.Attempt{
		ID: old.ID, Machine: old.Machine, Name: old.Name, Product: old.Product, Again: old.Again, Before: old.Before,
		State: boot.AttemptRunning, Verdicts: old.Verdicts,
	}
	began := events[0].Time.Add(-spent(&events[0]))
	fresh.a.Start, fresh.a.Last, fresh.base, fresh.heard = began, events[0].Time, began, events[0].Time
	for _, e := range events {
		fresh.apply(e, local)
	}
	addrs := t.addrs
	*t = *fresh
	t.addrs, t.changed, t.unkept = addrs, true, true
}

// recount sums up the cost of the events.
func (t *try) recount() {
	t.cost = 0
	for i := range t.a.Events {
		t.cost += eventCost(&t.a.Events[i])
	}
}

// begin starts an attempt for the event that founds it; add puts it in. before is
// the one that the same machine made last, nil when there is none. spare do not
// make way for it.
func (tr *tracker) begin(e *boot.Event, before *try, spare ...*try) *try {
	began := e.Time.Add(-spent(e))
	tr.seq++
	t := &try{seq: tr.seq, base: began, heard: e.Time, a: boot.Attempt{
		ID: tr.newID(), State: boot.AttemptRunning, Start: began, Last: e.Time, Took: spent(e),
	}}
	if before != nil && before.sameMachine(e) {
		t.a.Before = before.a.ID
		gap := e.Time.Sub(before.heard)
		t.a.Again = gap <= MaxTryGap && gap > -roundTime
		if before.a.Machine != "" {
			t.a.Machine, t.a.Name, t.a.Product = before.a.Machine, before.a.Name, before.a.Product
		}
	}
	tr.byID[t.a.ID] = t
	t.rank = rankOnce
	t.elem = tr.ranks[rankOnce].PushBack(t)
	for len(tr.byID) > maxAttempts {
		tr.evict(append(spare, t)...)
	}
	return t
}

// sameMachine says whether an event is of the machine of the attempt for sure: a
// card may be moved to another machine, and makers leave one identifier in many.
func (t *try) sameMachine(e *boot.Event) bool {
	if differ(e.GUID, t.a.GUID) {
		return false
	}
	return e.MAC == t.a.MAC || slices.Contains(t.a.MACs, e.MAC)
}

// add applies an event to an attempt and keeps the indices and bounds.
func (tr *tracker) add(t *try, e boot.Event) {
	before := t.cost
	if isDHCP(&e) && !isSystem(&e) {
		for _, f := range tr.takePending(&e) {
			t.apply(f, tr.cfg.local)
		}
	}
	t.apply(e, tr.cfg.local)
	tr.cost += t.cost - before
	if e.MAC != "" && (e.MAC == t.a.MAC || slices.Contains(t.a.MACs, e.MAC)) {
		tr.byMAC[e.MAC] = t
	}
	if t.a.Addr.IsValid() && tr.byAddr[t.a.Addr] != t && t.a.Addr == e.Addr {
		tr.byAddr[t.a.Addr] = t
		if !slices.Contains(t.addrs, t.a.Addr) {
			if len(t.addrs) == maxAddrs {
				tr.dropAddr(t, t.addrs[0])
				t.addrs = slices.Delete(t.addrs, 0, 1)
			}
			t.addrs = append(t.addrs, t.a.Addr)
		}
	}
	if _, shared := tr.shared[t.a.GUID]; !shared && boot.UsableGUID(t.a.GUID) {
		tr.byGUID[t.a.GUID] = t
	}
	t.unkept = true
	t.settle(e.Time)
	tr.place(t)
	if tr.cost > maxCost {
		tr.thin(t)
	}
}

// index enters an attempt that came to be by other ways than add.
func (tr *tracker) index(t *try) {
	for _, m := range append([]boot.MAC{t.a.MAC}, t.a.MACs...) {
		if m != "" {
			tr.byMAC[m] = t
		}
	}
	if t.a.Addr.IsValid() {
		tr.byAddr[t.a.Addr] = t
		if !slices.Contains(t.addrs, t.a.Addr) {
			t.addrs = append(t.addrs, t.a.Addr)
		}
	}
	if _, shared := tr.shared[t.a.GUID]; !shared && boot.UsableGUID(t.a.GUID) {
		tr.byGUID[t.a.GUID] = t
	}
}

func (tr *tracker) dropAddr(t *try, a netip.Addr) {
	if tr.byAddr[a] == t {
		delete(tr.byAddr, a)
	}
}

// real says whether so much was seen of a machine that one packet or request
// with an invented hardware address does not make another like it: its DISCOVER,
// and a transfer that came to something, for which its address must be its own.
func (t *try) real() bool {
	var octets int64
	for _, n := range []boot.StageName{boot.StageLoader, boot.StageKernel, boot.StageFiles} {
		octets += t.a.Stage(n).Bytes
	}
	return octets >= realOctets && t.a.Reached(boot.StageDiscover)
}

// worth is the rank of an attempt.
func (t *try) worth() rank {
	whole, asked := t.real(), t.a.Stage(boot.StageDiscover)
	switch {
	case t.finished() && !whole:
		return rankShallow
	case t.finished() && t.a.State.Bad():
		return rankBad
	case t.finished():
		return rankGood
	case whole:
		return rankDeep
	case asked.Count > 1 && asked.Took >= time.Second, asked.Count > 0 && t.deep:
		return rankAgain
	}
	return rankOnce
}

// known says whether the operator has given the machine a name.
func (t *try) known() bool { return t.a.Machine != "" && t.a.Name != "" }

// source is where an attempt comes from, as far as that is known: its network
// address, without one its hardware address.
type source struct {
	addr netip.Addr
	mac  boot.MAC
}

func (t *try) source() source {
	if t.a.Addr.IsValid() {
		return source{addr: t.a.Addr}
	}
	return source{mac: t.a.MAC}
}

// tally counts what is kept of one source: finished attempts that did not end
// well, or of which little was seen.
type tally struct {
	of source
	n  int
}

// count enters an attempt into the tally of its source, or takes it out.
func (tr *tracker) count(t *try, in bool) {
	of := t.source()
	if t.tally != nil && (!in || t.tally.of != of) {
		if t.tally.n--; t.tally.n == 0 {
			delete(tr.tallies, t.tally.of)
		}
		t.tally = nil
	}
	if !in || t.tally != nil {
		return
	}
	c := tr.tallies[of]
	if c == nil {
		c = &tally{of: of}
		tr.tallies[of] = c
	}
	c.n++
	t.tally = c
}

// knownWorth is how many attempts of one source with a name count as one of a
// source without.
const knownWorth = 8

// least is the attempt of a rank that is missed least: of the source with most,
// those of machines with a name last; of that source the one that was quiet
// longest. nil: there is none beside spare.
func (tr *tracker) least(r rank, spare ...*try) *try {
	list := tr.ranks[r]
	var least *try
	weight := 0
	for el := list.Front(); el != nil; el = el.Next() {
		t := el.Value.(*try)
		if slices.Contains(spare, t) {
			continue
		}
		if t.tally == nil {
			return t
		}
		w := t.tally.n
		if !t.known() {
			w *= knownWorth
		}
		if w > weight {
			least, weight = t, w
		}
	}
	return least
}

// place moves an attempt to the back of its rank.
func (tr *tracker) place(t *try) {
	if r := t.worth(); r != t.rank {
		tr.ranks[t.rank].Remove(t.elem)
		t.rank, t.elem = r, tr.ranks[r].PushBack(t)
	} else {
		tr.ranks[r].MoveToBack(t.elem)
	}
	tr.count(t, t.rank == rankShallow || t.rank == rankBad)
	for tr.ranks[rankGood].Len() > maxGood {
		tr.remove(tr.ranks[rankGood].Front().Value.(*try))
	}
	for tr.ranks[rankShallow].Len()+tr.ranks[rankBad].Len() > maxBad {
		r := rankBad
		if tr.ranks[rankShallow].Len() > quota[rankShallow] {
			r = rankShallow
		}
		tr.remove(tr.least(r))
	}
}

// evict makes room: the least valuable rank that is above its quota gives the
// attempt that is missed least. spare stays.
func (tr *tracker) evict(spare ...*try) {
	for r := range ranks {
		if tr.ranks[r].Len() <= quota[r] {
			continue
		}
		if t := tr.least(r, spare...); t != nil {
			tr.evicted++
			tr.remove(t)
			return
		}
	}
}

// remove forgets an attempt.
func (tr *tracker) remove(t *try) {
	tr.count(t, false)
	tr.ranks[t.rank].Remove(t.elem)
	delete(tr.byID, t.a.ID)
	tr.cost -= t.cost
	for _, m := range append([]boot.MAC{t.a.MAC}, t.a.MACs...) {
		if tr.byMAC[m] == t {
			delete(tr.byMAC, m)
		}
	}
	for _, a := range t.addrs {
		tr.dropAddr(t, a)
	}
	if tr.byGUID[t.a.GUID] == t {
		delete(tr.byGUID, t.a.GUID)
	}
	if t.kept {
		tr.gone = append(tr.gone, t.a.ID)
	}
}

// thin makes room in memory: the timelines of what is worth least lose their
// middle first. spare is thinned last.
func (tr *tracker) thin(spare *try) {
	for _, most := range []int{keepFirst, keepFirst / 2} {
		for r := range ranks {
			for el := tr.ranks[r].Front(); el != nil; el = el.Next() {
				t := el.Value.(*try)
				if t == spare || len(t.a.Events) <= most {
					continue
				}
				tr.cost -= t.cost
				t.thin(most)
				t.recount()
				tr.cost += t.cost
				if tr.cost < maxCost/8*7 {
					return
				}
			}
		}
	}
}

// foreign joins what another server said to a machine. It may come before our own
// event of the same packet, and it may be for an operating system.
func (tr *tracker) foreign(e boot.Event) {
	if e.Foreign == nil || e.MAC == "" {
		return
	}
	f := *e.Foreign
	f.Class, f.File, f.Next = clipTo(f.Class, 64), clipTo(f.File, maxEventText), clipTo(f.Next, 64)
	e.Foreign = &f
	if t := tr.byMAC[e.MAC]; t != nil && !t.over() {
		if xid := cmp.Or(e.XID, f.XID); slices.Contains(t.xids, xid) || f.Port == 4011 && !t.finished() {
			tr.add(t, e)
			return
		}
	}
	list := tr.pending[e.MAC]
	if len(list) == 0 {
		if len(tr.waiting) >= maxPending {
			delete(tr.pending, tr.waiting[0])
			tr.waiting = slices.Delete(tr.waiting, 0, 1)
		}
		tr.waiting = append(tr.waiting, e.MAC)
	}
	if len(list) < pendingPerMAC {
		tr.pending[e.MAC] = append(list, e)
	}
}

// takePending returns the packets of other servers that wait for this one.
func (tr *tracker) takePending(e *boot.Event) []boot.Event {
	list, ok := tr.pending[e.MAC]
	if !ok {
		return nil
	}
	delete(tr.pending, e.MAC)
	tr.waiting = slices.DeleteFunc(tr.waiting, func(m boot.MAC) bool { return m == e.MAC })
	return slices.DeleteFunc(list, func(f boot.Event) bool {
		age := e.Time.Sub(f.Time)
		return cmp.Or(f.XID, f.Foreign.XID) != e.XID || age > pendingTime || age < -pendingTime
	})
}

// tick draws the conclusions that time alone brings, and returns what is to be
// looked at: what changed since it was last told of, and what goes on.
func (tr *tracker) tick(now time.Time) []*try {
	var out []*try
	for len(tr.waiting) > 0 && now.Sub(tr.pending[tr.waiting[0]][0].Time) > pendingTime {
		delete(tr.pending, tr.waiting[0])
		tr.waiting = tr.waiting[1:]
	}
	for _, r := range []rank{rankDeep, rankAgain, rankOnce} {
		for el := tr.ranks[r].Front(); el != nil; {
			t := el.Value.(*try)
			el = el.Next() // place may move t to another list
			t.settle(now)
			if t.finished() {
				t.unkept = true
				tr.place(t)
			}
			out = append(out, t)
		}
	}
	listed := len(out)
	for _, t := range out {
		t.listed = true
	}
	for _, r := range []rank{rankBad, rankGood, rankShallow} {
		for el := tr.ranks[r].Front(); el != nil; el = el.Next() {
			if t := el.Value.(*try); t.changed && !t.listed {
				out = append(out, t)
			}
		}
	}
	for _, t := range out[:listed] {
		t.listed = false
	}
	return out
}

// restore takes what an earlier run has kept, oldest first. What was going on
// goes on, and the machine is given the time that it would have had, unless the
// clock says that it cannot. What was over is over for good: no clock can be
// trusted to tell how long ago it was.
func (tr *tracker) restore(kept []keptAttempt, now time.Time) {
	slices.SortStableFunc(kept, func(a, b keptAttempt) int { return cmp.Compare(a.Seq, b.Seq) })
	believed := believe(kept)
	// What this run has seen already is newer.
	for _, t := range tr.byID {
		t.seq += uint64(len(kept)) + lastSeq(kept)
	}
	tr.seq += uint64(len(kept)) + lastSeq(kept)
	for i, k := range kept {
		if _, taken := tr.byID[k.Attempt.ID]; taken {
			continue
		}
		t := &try{seq: k.Seq, heard: now, a: boot.Attempt{State: boot.AttemptRunning}}
		for _, e := range k.Attempt.Events {
			t.apply(e, tr.cfg.local)
		}
		t.a, t.acts, t.flight, t.heard = k.Attempt, nil, nil, now
		over := t.finished()
		if over {
			t.heard, t.xids = now.Add(-2*stayOpen), nil // nothing is joined to it
		} else {
			t.resume(now)
		}
		t.base = t.heard.Add(-k.Attempt.Took)
		t.done = map[boot.StageName]int64{}
		for _, s := range t.a.Stages {
			t.done[s.Name] = s.Bytes
			t.deep = t.deep || stageOrder[s.Name] > stageOrder[boot.StageLease] && s.Name != boot.StageSystem
			t.answered = t.answered || s.Name == boot.StageOffer
		}
		t.recount()
		t.changed, t.told, t.kept, t.stored = false, over, true, now
		t.unkept = i >= believed
		if t.finished() && !over {
			t.changed, t.unkept, t.stored = true, true, time.Time{} // the store does not know that it is over
		}
		tr.cost += t.cost
		tr.byID[t.a.ID] = t
		t.rank = t.worth()
		t.elem = tr.ranks[t.rank].PushBack(t)
		for _, m := range append([]boot.MAC{t.a.MAC}, t.a.MACs...) {
			if old := tr.byMAC[m]; m != "" && (old == nil || old.seq < t.seq) {
				tr.byMAC[m] = t
			}
		}
		if g := t.a.GUID; boot.UsableGUID(g) && (tr.byGUID[g] == nil || tr.byGUID[g].seq < t.seq) {
			tr.byGUID[g] = t
		}
		if addr := t.a.Addr; addr.IsValid() && !t.finished() && tr.byAddr[addr] == nil {
			tr.byAddr[addr], t.addrs = t, []netip.Addr{addr}
		}
		tr.place(t)
		for len(tr.byID) > maxAttempts {
			tr.evict(nil)
		}
	}
	if tr.cost > maxCost {
		tr.thin(nil)
	}
}

// resume takes up an attempt that was going on when the earlier run ended. Its
// times are put on the clock of this run that does not jump. When the wall clock
// is behind them, or far ahead, then it is not the one that they were read from:
// the attempt ends as far as it came.
func (t *try) resume(now time.Time) {
	a := &t.a
	if gap := now.Round(0).Sub(a.Last); gap < 0 || gap > stayOpen {
		if a.End = a.Last; a.End.IsZero() {
			a.End = time.Unix(0, 0) // finished, nobody knows when
		}
		if a.State == boot.AttemptRunning {
			a.State = boot.AttemptStalled
		}
		t.heard, t.xids = now.Add(-2*stayOpen), nil
		return
	}
	anchor := func(x *time.Time) { *x = now.Add(x.Sub(now)) }
	anchor(&a.Start)
	anchor(&a.Last)
	for i := range a.Stages {
		anchor(&a.Stages[i].First)
		anchor(&a.Stages[i].Last)
	}
	for i := range a.Events {
		anchor(&a.Events[i].Time)
	}
}

// believe gives documents with a number that nobody can have counted to one that
// follows the others', and returns how many, of the sorted ones, have their own.
func believe(kept []keptAttempt) int {
	believed := len(kept)
	for believed > 0 && kept[believed-1].Seq > maxSeq {
		believed--
	}
	last := lastSeq(kept[:believed])
	for i := believed; i < len(kept); i++ {
		last++
		kept[i].Seq = last
	}
	return believed
}

func lastSeq(kept []keptAttempt) uint64 {
	if len(kept) == 0 {
		return 0
	}
	return kept[len(kept)-1].Seq
}

// active is how many attempts are not finished.
func (tr *tracker) active() int {
	return tr.ranks[rankOnce].Len() + tr.ranks[rankAgain].Len() + tr.ranks[rankDeep].Len()
}

// newestFirst lists all attempts, the one that began last first.
func (tr *tracker) newestFirst() []*try {
	all := make([]*try, 0, len(tr.byID))
	for _, t := range tr.byID {
		all = append(all, t)
	}
	slices.SortFunc(all, func(a, b *try) int { return cmp.Compare(b.seq, a.seq) })
	return all
}

// takeGone returns which attempts that the store has are not kept any more.
func (tr *tracker) takeGone() []boot.AttemptID {
	gone := tr.gone
	tr.gone = nil
	return gone
}

// stepped moves every time of this run to the present wall clock, of which now is
// a reading.
func (tr *tracker) stepped(now time.Time) {
	for _, t := range tr.byID {
		t.stepped(now)
	}
}

func (t *try) stepped(now time.Time) {
	moved := false
	fix := func(x *time.Time) {
		// Without a reading of the clock that does not jump it is a time of an
		// earlier run, about which nothing is known.
		if x.IsZero() || !monotonic(*x) {
			return
		}
		to := now.Add(x.Sub(now))
		moved = moved || to.Round(0) != x.Round(0)
		*x = to
	}
	a := &t.a
	for _, x := range []*time.Time{&a.Start, &a.Last, &a.End, &t.base, &t.heard, &t.judged, &t.named, &t.stored} {
		fix(x)
	}
	for i := range a.Stages {
		fix(&a.Stages[i].First)
		fix(&a.Stages[i].Last)
	}
	for i := range a.Events {
		fix(&a.Events[i].Time)
	}
	for i := range t.acts {
		fix(&t.acts[i].first)
		fix(&t.acts[i].last)
	}
	verdicts := slices.Clone(a.Verdicts)
	for i := range verdicts {
		verdicts[i].Evidence = slices.Clone(verdicts[i].Evidence)
		for j := range verdicts[i].Evidence {
			fix(&verdicts[i].Evidence[j].Time)
		}
	}
	a.Verdicts = verdicts
	if moved {
		t.changed, t.unkept = true, true
	}
}

// monotonic says whether a time has a reading of the clock that does not jump.
// Taking it away changes nothing in one that has none.
func monotonic(x time.Time) bool { return x.Round(0) != x }
