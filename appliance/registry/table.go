package registry

import (
	"container/list"
	"slices"
	"strings"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// record is a machine in memory. Slices and maps inside m are never changed in
// place: copies of m are read without the lock.
type record struct {
	m boot.Machine
	// elem is the record's place among the strangers; nil for machines that the
	// operator has said something about.
	elem *list.Element
	// let is until when the operator let the machine after it asked.
	let time.Time
	// newcomers are network cards that claimed this machine's identifier and are
	// not taken for its own.
	newcomers []newcomer
	// told is what its last DHCP exchange said together.
	told told
}

// told is an identifier and an address that came in one packet.
type told struct {
	mac  boot.MAC
	guid boot.GUID
	at   time.Time
}

// toldTime is how long a packet vouches for a later question of the same boot
// that says less.
const toldTime = 10 * time.Minute

// newcomer is a hardware address that came with a machine's identifier.
type newcomer struct {
	mac     boot.MAC
	at      time.Time
	seen    bool // the address did belong to whoever asked
	refused bool // something was kept back because of it
}

// maxNewcomers bounds them, per machine.
const maxNewcomers = 4

// table is the machine records with their indexes. It implements boot.Records.
type table struct {
	max       int
	byID      map[boot.MachineID]*record
	byGUID    map[boot.GUID][]boot.MachineID
	bySerial  map[string][]boot.MachineID
	byMAC     map[boot.MAC][]boot.MachineID
	strangers *list.List // records nobody has decided about; front: least recently seen
	denied    int        // records with AccessDeny

	dirty map[boot.MachineID]struct{} // differ from the store
	gone  map[boot.MachineID]struct{} // are to be deleted there
}

func newTable(limit int) *table {
	return &table{
		max: limit, byID: map[boot.MachineID]*record{}, byGUID: map[boot.GUID][]boot.MachineID{},
		bySerial: map[string][]boot.MachineID{}, byMAC: map[boot.MAC][]boot.MachineID{},
		strangers: list.New(), dirty: map[boot.MachineID]struct{}{}, gone: map[boot.MachineID]struct{}{},
	}
}

// ByGUID implements boot.Records.
func (t *table) ByGUID(g boot.GUID) []boot.MachineID { return t.byGUID[g] }

// ByMAC implements boot.Records.
func (t *table) ByMAC(m boot.MAC) []boot.MachineID { return t.byMAC[m] }

// BySerial implements boot.Records. A record whose manufacturer was never told
// is found by its serial number alone.
func (t *table) BySerial(manufacturer, serial string) []boot.MachineID {
	if serial == "" {
		return nil
	}
	ids := t.bySerial[serialKey(manufacturer, serial)]
	if manufacturer == "" {
		return ids
	}
	if bare := t.bySerial[serialKey("", serial)]; len(bare) > 0 {
		return append(slices.Clone(ids), bare...)
	}
	return ids
}

// Record implements boot.Records.
func (t *table) Record(id boot.MachineID) (boot.Machine, bool) {
	rec, ok := t.byID[id]
	if !ok {
		return boot.Machine{}, false
	}
	return rec.m, true
}

func serialKey(manufacturer, serial string) string {
	return strings.ToLower(manufacturer) + "\x00" + strings.ToLower(serial)
}

// add puts a new record into the table. When that is full, the stranger who was
// not seen for longest makes room; ok is false when there is none.
func (t *table) add(m boot.Machine, evicted func(boot.MachineID)) (rec *record, ok bool) {
	if len(t.byID) >= t.max {
		oldest := t.strangers.Front()
		if oldest == nil {
			return nil, false
		}
		id := oldest.Value.(*record).m.ID
		t.remove(id)
		evicted(id)
	}
	rec = &record{}
	t.byID[m.ID] = rec
	delete(t.gone, m.ID)
	rec.m.ID = m.ID
	t.set(rec, m)
	return rec, true
}

// set replaces what a record says and keeps the indexes right.
func (t *table) set(rec *record, m boot.Machine) {
	old := rec.m
	rec.m = m
	if old.GUID != m.GUID {
		if !old.GUID.IsZero() {
			unindex(t.byGUID, old.GUID, m.ID)
		}
		if !m.GUID.IsZero() {
			index(t.byGUID, m.GUID, m.ID)
		}
	}
	if old.Serial != m.Serial || old.Seen.Manufacturer != m.Seen.Manufacturer {
		if old.Serial != "" {
			unindex(t.bySerial, serialKey(old.Seen.Manufacturer, old.Serial), m.ID)
		}
		if m.Serial != "" {
			index(t.bySerial, serialKey(m.Seen.Manufacturer, m.Serial), m.ID)
		}
	}
	if !sameMACs(old.MACs, m.MACs) {
		for _, n := range old.MACs {
			unindex(t.byMAC, n.MAC, m.ID)
		}
		for _, n := range m.MACs {
			index(t.byMAC, n.MAC, m.ID)
		}
	}
	if old.Access == boot.AccessDeny {
		t.denied--
	}
	if m.Access == boot.AccessDeny {
		t.denied++
	}
	t.place(rec)
}

// place keeps the record among the strangers, or takes it out.
func (t *table) place(rec *record) {
	switch stranger := !rec.m.Known(); {
	case stranger && rec.elem == nil:
		rec.elem = t.strangers.PushBack(rec)
	case !stranger && rec.elem != nil:
		t.strangers.Remove(rec.elem)
		rec.elem = nil
	}
}

// remove takes a record out; the store is told with the next batch.
func (t *table) remove(id boot.MachineID) {
	rec, ok := t.byID[id]
	if !ok {
		return
	}
	if rec.elem != nil {
		t.strangers.Remove(rec.elem)
		rec.elem = nil
	}
	m := boot.Machine{ID: id, Name: "x"} // not a stranger: set leaves the list alone
	t.set(rec, m)
	delete(t.byID, id)
	delete(t.dirty, id)
	t.gone[id] = struct{}{}
}

// touch marks a record as different from the store.
func (t *table) touch(id boot.MachineID) { t.dirty[id] = struct{}{} }

// seen moves a stranger to the end of the line.
func (t *table) seen(rec *record) {
	if rec.elem != nil {
		t.strangers.MoveToBack(rec.elem)
	}
}

func sameMACs(a, b []boot.NIC) bool {
	return slices.EqualFunc(a, b, func(x, y boot.NIC) bool { return x.MAC == y.MAC })
}

// index adds id under key. The slice is replaced, never changed: Identify may
// hold the old one.
func index[K comparable](m map[K][]boot.MachineID, key K, id boot.MachineID) {
	ids := m[key]
	if slices.Contains(ids, id) {
		return
	}
	m[key] = append(ids[:len(ids):len(ids)], id)
}

func unindex[K comparable](m map[K][]boot.MachineID, key K, id boot.MachineID) {
	ids := m[key]
	i := slices.Index(ids, id)
	switch {
	case i < 0:
	case len(ids) == 1:
		delete(m, key)
	default:
		rest := make([]boot.MachineID, 0, len(ids)-1)
		m[key] = append(append(rest, ids[:i]...), ids[i+1:]...)
	}
}
