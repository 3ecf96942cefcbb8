package boot

import (
	"cmp"
	"slices"
)

// Records is read access to the machine records, indexed. Answers may be in any
// order and hold more than was asked for: Identify looks at every record itself.
type Records interface {
	ByGUID(GUID) []MachineID                          // records with this identifier, canonical order; Identify asks for both orders
	BySerial(manufacturer, serial string) []MachineID // manufacturer may be empty: records whose maker is not known
	ByMAC(MAC) []MachineID                            // records that were seen with it, or given it
	Record(MachineID) (Machine, bool)
}

// Identity is who a client is among the known machines.
type Identity struct {
	// ID is empty when nobody known fits: make a record, unless Confidence is
	// ConfidenceNone, which leaves nothing to make one from.
	ID         MachineID
	Confidence Confidence
	Others     []MachineID // records it also points to, sorted
	Why        string      // one sentence
	SharedMAC  bool        // the hardware address belongs to more than one machine
	// NewMAC: the record knows hardware addresses, and this is none of them.
	NewMAC bool
}

// maxCandidates bounds the records that are looked at for one client: a
// stranger may have made thousands with one hardware address.
const maxCandidates = 64

// agreement is how a record compares with what a client told.
type agreement int

const (
	unknown agreement = iota // one of the two says nothing that identifies
	agrees
	differs
)

// candidate is a record that something of a sighting points to.
type candidate struct {
	Machine
	guid, serial agreement
	nic          NIC
	hasNIC       bool
}

// contradicts says whether the client cannot be this record's machine.
func (c *candidate) contradicts() bool { return c.guid == differs || c.serial == differs }

// identifying is the work of Identify.
type identifying struct {
	r            Records
	s            Sighting
	guid, serial bool // the client told one that identifies
	byGUID       []candidate
	bySerial     []candidate
	byMAC        []candidate
}

// Identify says which record a client belongs to. The SMBIOS identifier goes
// first, then the serial number; the hardware address decides only when they are
// missing or shared, because docks and USB adapters move between machines.
// Where the three point to different records, the answer says so instead of
// guessing, and nothing that harms or is secret is handed out on it.
func Identify(r Records, s Sighting) Identity {
	q := identifying{r: r, s: s, guid: UsableGUID(s.GUID), serial: UsableSerial(s.Serial)}
	if q.guid {
		ids := slices.Clone(r.ByGUID(s.GUID))
		if other := s.GUID.Swapped(); other != s.GUID {
			ids = append(ids, r.ByGUID(other)...)
		}
		q.byGUID = q.look(ids, func(c *candidate) bool { return c.guid == agrees })
	}
	if q.serial {
		ids := slices.Clone(r.BySerial(s.Manufacturer, s.Serial))
		if s.Manufacturer != "" {
			ids = append(ids, r.BySerial("", s.Serial)...)
		}
		q.bySerial = q.look(ids, func(c *candidate) bool {
			maker := c.Seen.Manufacturer
			return c.serial == agrees && (maker == "" || s.Manufacturer == "" || SameSerial(maker, s.Manufacturer))
		})
	}
	q.byMAC = q.look(r.ByMAC(s.MAC), func(c *candidate) bool { return c.hasNIC })
	var id Identity
	switch {
	case len(q.byGUID) > 0:
		id = q.identifier()
	case len(q.bySerial) > 0:
		id = q.serialNumber()
	case len(q.byMAC) > 0:
		id = q.address()
	default:
		id = q.nobody()
	}
	id.Others = slices.DeleteFunc(id.Others, func(o MachineID) bool { return o == id.ID })
	slices.Sort(id.Others)
	id.Others = slices.Compact(id.Others)
	return id
}

// look reads the records and keeps those that really fit, in the order of
// their names, so that the outcome does not depend on the index.
func (q *identifying) look(ids []MachineID, fits func(*candidate) bool) []candidate {
	ids = slices.Clone(ids)
	slices.Sort(ids)
	ids = slices.Compact(ids)
	ids = ids[:min(len(ids), maxCandidates)]
	var out []candidate
	for _, id := range ids {
		m, _ := q.r.Record(id) // nothing fits one that is gone
		m.ID = id
		c := candidate{Machine: m}
		if q.guid && UsableGUID(m.GUID) {
			c.guid = differs
			if m.GUID.Matches(q.s.GUID) {
				c.guid = agrees
			}
		}
		if q.serial && UsableSerial(m.Serial) {
			c.serial = differs
			if SameSerial(m.Serial, q.s.Serial) {
				c.serial = agrees
			}
		}
		if q.s.MAC != "" {
			c.nic, c.hasNIC = m.nic(q.s.MAC)
		}
		if fits(&c) {
			out = append(out, c)
		}
	}
	return out
}

func names(lists ...[]candidate) []MachineID {
	var out []MachineID
	for _, l := range lists {
		for i := range l {
			out = append(out, l[i].ID)
		}
	}
	return out
}

func filter(list []candidate, keep func(*candidate) bool) []candidate {
	var out []candidate
	for i := range list {
		if keep(&list[i]) {
			out = append(out, list[i])
		}
	}
	return out
}

// identifier decides when records have the client's SMBIOS identifier.
func (q *identifying) identifier() Identity {
	all := q.byGUID
	if same := filter(all, func(c *candidate) bool { return c.serial == agrees }); len(same) > 0 {
		if len(same) == 1 {
			return q.settle(same[0], ConfidenceFull, "identifier and serial number are those of this machine")
		}
		return q.narrow(same, "several records have this identifier and serial number")
	}
	fit := filter(all, func(c *candidate) bool { return c.serial != differs })
	switch {
	case len(fit) == 0:
		// Boards with one identifier for a whole series. Each becomes a record
		// of its own, told apart by serial number from now on.
		if others := filter(q.bySerial, func(c *candidate) bool { return c.guid == unknown }); len(others) == 1 {
			return Identity{
				ID: others[0].ID, Confidence: ConfidenceDoubt, Others: names(all),
				Why: "the serial number is that of this machine, but another one has the identifier",
			}
		}
		return Identity{
			Confidence: ConfidenceDoubt, Others: names(all, q.bySerial),
			Why: "a known machine has this identifier but another serial number",
		}
	case len(all) == 1:
		if len(q.bySerial) > 0 {
			return Identity{
				ID: fit[0].ID, Confidence: ConfidenceDoubt, Others: names(q.bySerial), NewMAC: q.newMAC(&fit[0]),
				Why: "the identifier is that of this machine, but the serial number is that of another one",
			}
		}
		return q.settle(fit[0], ConfidenceGood, "the identifier is that of this machine")
	}
	return q.narrow(fit, "several records have this identifier")
}

// serialNumber decides when no record has the identifier, but some have the
// serial number.
func (q *identifying) serialNumber() Identity {
	fit := filter(q.bySerial, func(c *candidate) bool { return c.guid != differs })
	switch {
	case len(fit) == 0:
		return Identity{
			Confidence: ConfidenceDoubt, Others: names(q.bySerial),
			Why: "a known machine has this serial number but another identifier: a new main board, or a number used twice",
		}
	case len(q.bySerial) == 1:
		return q.settle(fit[0], ConfidenceGood, "the serial number is that of this machine")
	}
	return q.narrow(fit, "several records have this serial number")
}

// narrow tells records apart by hardware address that have everything else in
// common. What identifies is then the address alone.
func (q *identifying) narrow(list []candidate, why string) Identity {
	with := filter(list, func(c *candidate) bool { return c.hasNIC })
	if given := filter(with, func(c *candidate) bool { return c.nic.Given }); len(given) == 1 {
		with = given
	}
	others := names(q.byGUID, q.bySerial, q.byMAC)
	switch {
	case len(with) == 1:
		confidence := ConfidenceWeak
		if c := &with[0]; !c.nic.Given && (q.guid && c.guid == unknown || q.serial && c.serial == unknown) {
			// The record would learn from a client that it shares no name of
			// its own with.
			confidence = ConfidenceDoubt
		}
		id := q.settle(with[0], confidence, why+"; the hardware address is that of this one")
		id.Others = append(id.Others, others...)
		return id
	case len(with) > 1:
		return Identity{ID: with[0].ID, Confidence: ConfidenceDoubt, Others: others, SharedMAC: true, Why: why + ", and this hardware address too"}
	case q.s.MAC == "":
		return Identity{ID: list[0].ID, Confidence: ConfidenceDoubt, Others: others, Why: why + ", and the client told no hardware address"}
	}
	return Identity{Confidence: ConfidenceDoubt, Others: others, Why: why + ", and none this hardware address"}
}

func (q *identifying) newMAC(c *candidate) bool {
	return q.s.MAC != "" && !c.hasNIC && len(c.MACs) > 0
}

// settle looks at whether the hardware address contradicts a record that was
// found by something better.
func (q *identifying) settle(c candidate, confidence Confidence, why string) Identity {
	id := Identity{ID: c.ID, Confidence: confidence, Why: why, NewMAC: q.newMAC(&c)}
	others := filter(q.byMAC, func(o *candidate) bool { return o.ID != c.ID })
	id.Others = names(others)
	id.SharedMAC = c.nic.Shared
	for i := range others {
		o := &others[i]
		if o.contradicts() || o.guid == agrees || o.nic.Shared {
			id.SharedMAC = true
		}
		if !o.nic.Given || c.nic.Given {
			continue
		}
		if len(others) == 1 && !o.contradicts() && q.onlyObserved(&c, o) {
			// The operator has written down a machine that had been recorded
			// by itself before: what the operator wrote counts.
			return Identity{
				ID: o.ID, Confidence: ConfidenceWeak, Others: []MachineID{c.ID},
				Why: "the operator gave this hardware address to this machine; merge the record that was made by itself",
			}
		}
		id.Confidence = ConfidenceDoubt
		id.Why = "the operator gave this hardware address to another machine than the one with this identifier or serial number"
	}
	return id
}

// onlyObserved says whether record c is nothing but an earlier look at the
// machine that the operator described in o: the operator said nothing about c, c
// never came by another card, and the card never came with another machine.
func (q *identifying) onlyObserved(c, o *candidate) bool {
	return !c.Known() && len(c.MACs) == 1 && c.hasNIC && !c.nic.Shared && !o.nic.Shared
}

// address decides when nothing but the hardware address is known.
func (q *identifying) address() Identity {
	all := q.byMAC
	fit := filter(all, func(c *candidate) bool { return !c.contradicts() })
	shared := len(all) > 1 || len(fit) == 0 || slices.ContainsFunc(all, func(c candidate) bool { return c.nic.Shared })
	if !shared {
		id := Identity{ID: fit[0].ID, Confidence: ConfidenceWeak, Why: "the hardware address is that of this machine, and nothing else tells"}
		if q.elsewhere(&fit[0]) {
			id.Confidence = ConfidenceDoubt
			id.Why = "the hardware address is that of this machine, but the client tells nothing of the identifier or serial number that it has"
		}
		return id
	}
	given := slices.ContainsFunc(all, func(c candidate) bool { return c.nic.Given })
	if q.guid || q.serial {
		// It has an identity of its own that nobody knows yet: a dock or
		// adapter came with a new machine.
		id := Identity{Confidence: ConfidenceGood, Others: names(all), SharedMAC: true, Why: "the hardware address came with other machines before; identifier or serial number are new"}
		if given {
			id.Confidence = ConfidenceDoubt
			id.Why = "the operator gave this hardware address to a machine with another identifier or serial number, or it is a shared one"
		}
		return id
	}
	id := Identity{Confidence: ConfidenceShared, Others: names(all), SharedMAC: true, Why: "the hardware address came with several machines, and nothing else tells"}
	// The record for whatever shows this address alone, so that a client that
	// tells nothing else does not make a new record at every boot.
	best := slices.MinFunc(all, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(rank(&a), rank(&b)), cmp.Compare(a.ID, b.ID))
	})
	if rank(&best) < 2 {
		id.ID = best.ID
	}
	return id
}

// elsewhere says whether the client has a name of its own, and none that the
// record knows, though the record has one too: another machine in the same dock
// looks like this. Were it taken for this one, the record would learn its name.
func (q *identifying) elsewhere(c *candidate) bool {
	switch {
	case UsableGUID(c.GUID):
		return q.serial || !q.s.GUID.IsZero() // a junk identifier is not this one either
	case UsableSerial(c.Serial):
		return q.guid
	}
	return false
}

// rank orders the records of a shared address for a client that tells nothing
// else: what the operator gave it to, a record without identity, others.
func rank(c *candidate) int {
	switch {
	case c.nic.Given:
		return 0
	case !UsableGUID(c.GUID) && !UsableSerial(c.Serial):
		return 1
	}
	return 2
}

// nobody is the answer for a client that no record fits.
func (q *identifying) nobody() Identity {
	switch {
	case q.guid && q.serial:
		return Identity{Confidence: ConfidenceFull, Why: "a machine that was not seen before"}
	case q.guid || q.serial:
		return Identity{Confidence: ConfidenceGood, Why: "a machine that was not seen before"}
	case q.s.MAC != "":
		return Identity{Confidence: ConfidenceWeak, Why: "a hardware address that was not seen before, and nothing else tells"}
	}
	return Identity{Confidence: ConfidenceNone, Why: "the client told nothing that identifies"}
}
