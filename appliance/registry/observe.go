package registry

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// Bounds of what is kept of the parameters of a request, per machine.
const (
	maxVariables     = 32
	maxVariableBytes = 1024
)

// observation is a sighting after the question which machine it is.
type observation struct {
	machine    boot.Machine // the record, or what is known of a machine without one
	sighting   boot.Sighting
	confidence boot.Confidence
	why        string
	known      bool // there was a record before this sighting
	newMAC     bool // it came with a network card that is not the machine's
	// sure says that what follows from this sighting may change what is stored
	// about the machine's boot: the sender is that machine as far as the box can
	// see.
	sure bool
	let  bool
}

// observe finds out which machine a sighting is about and keeps what it tells.
// believed says that the sender's claims are proven, or are to be believed. The
// mutex is held.
func (r *Registry) observe(s boot.Sighting, proof boot.Proof, believed, counts bool, now time.Time) observation {
	s = bounded(s)
	if s.Time.IsZero() {
		s.Time = now
	}
	id := boot.Identify(r.table, s)
	o := observation{sighting: s, confidence: id.Confidence, why: id.Why}
	rec, found := r.table.byID[id.ID]
	if !found {
		o.machine = boot.Machine{Seen: s, First: now, Last: now}
		if proof == boot.ProofAgainst || id.Confidence == boot.ConfidenceNone || !identifies(s) {
			return o
		}
		rec = r.record(s, id, counts, now)
		if rec != nil {
			o.machine = rec.m
			o.sure = believed
		}
		return o
	}
	o.known = true
	o.newMAC = id.NewMAC && len(rec.m.MACs) > 0
	trusted := proof != boot.ProofAgainst
	switch id.Confidence {
	case boot.ConfidenceFull, boot.ConfidenceGood, boot.ConfidenceWeak:
	case boot.ConfidenceNone, boot.ConfidenceDoubt, boot.ConfidenceShared:
		trusted = false
	default:
		trusted = false
	}
	if o.newMAC && trusted && rec.m.Known() {
		rec.claim(s.MAC, believed, now)
		trusted = false
	}
	if trusted {
		r.update(rec, s, id, believed, counts, now)
	}
	o.machine = rec.m
	// What it did not tell now it may have told before: but for what identifies.
	o.sighting = rec.m.Seen.Merge(s)
	o.sighting.GUID, o.sighting.Serial, o.sighting.MAC = s.GUID, s.Serial, s.MAC
	o.sure = trusted && believed
	o.let = now.Before(rec.let)
	return o
}

// identifies says whether a sighting tells anything to recognise a machine by.
func identifies(s boot.Sighting) bool {
	return s.MAC != "" || boot.UsableGUID(s.GUID) || boot.UsableSerial(s.Serial)
}

// maxSameMAC bounds the records with one hardware address: the machines of a
// dock. More of them are one sender's inventions, and every packet of it would
// look at all of them.
const maxSameMAC = 64

// record makes a record of a machine that was never seen; nil when there is no
// room, or when too many new ones come at once.
func (r *Registry) record(s boot.Sighting, id boot.Identity, counts bool, now time.Time) *record {
	if s.MAC != "" && len(r.table.ByMAC(s.MAC)) >= maxSameMAC {
		return nil
	}
	if !r.fresh.take(now) {
		return nil
	}
	m := boot.Machine{ID: r.newID(), Seen: keep(boot.Sighting{}, s), First: now, Last: now}
	if boot.UsableGUID(s.GUID) && !r.contested(s.GUID) {
		m.GUID = s.GUID
	}
	if boot.UsableSerial(s.Serial) {
		m.Serial = m.Seen.Serial
	}
	if s.MAC != "" {
		m.MACs = []boot.NIC{{MAC: m.Seen.MAC, First: now, Last: now, Shared: id.SharedMAC}}
	}
	if counts {
		m.Boots = 1
	}
	rec, ok := r.table.add(m, r.evicted)
	if !ok {
		return nil
	}
	r.table.touch(m.ID)
	if id.SharedMAC {
		r.share(s.MAC, m.ID)
	}
	return rec
}

// contested says whether a machine that the operator has said something about
// has this identifier. Boards with one identifier for a whole series get records
// of their own all the same, but a claim must not make a known machine one of
// several: what is told apart by less gets nothing secret.
func (r *Registry) contested(g boot.GUID) bool {
	known := func(id boot.MachineID) bool {
		rec, ok := r.table.byID[id]
		return ok && rec.m.Known()
	}
	return slices.ContainsFunc(r.table.ByGUID(g), known) || slices.ContainsFunc(r.table.ByGUID(g.Swapped()), known)
}

// evicted forgets what belongs to a machine that made room for another.
func (r *Registry) evicted(id boot.MachineID) {
	r.tokens.forget(id)
	r.requests.forget(id)
	r.unhand(id)
}

// newID is a name for a record that says nothing about the machine.
func (r *Registry) newID() boot.MachineID {
	for {
		id := boot.MachineID("m-" + tokenEncoding.EncodeToString(r.random(6))[:10])
		if _, taken := r.table.byID[id]; !taken {
			return id
		}
	}
}

// update keeps what a machine told. Its identity grows only by what does not
// contradict it.
func (r *Registry) update(rec *record, s boot.Sighting, id boot.Identity, believed, counts bool, now time.Time) {
	m := rec.m
	m.Seen = keep(m.Seen, s)
	if m.First.IsZero() {
		m.First = now
	}
	m.Last = now
	if counts {
		m.Boots++
	}
	// What the operator wrote down by hardware address gets its identifier when
	// it is first seen; a claim that nobody has proven does not.
	if adopt := believed || !m.Known(); adopt {
		if m.GUID.IsZero() && boot.UsableGUID(s.GUID) && len(r.table.ByGUID(s.GUID)) == 0 && len(r.table.ByGUID(s.GUID.Swapped())) == 0 {
			m.GUID = s.GUID
		}
		if m.Serial == "" && boot.UsableSerial(s.Serial) && len(r.table.BySerial(s.Manufacturer, s.Serial)) == 0 {
			m.Serial = m.Seen.Serial
		}
	}
	if s.MAC != "" {
		m.MACs = withNIC(m.MACs, m.Seen.MAC, id.SharedMAC, now)
	}
	r.table.set(rec, m)
	r.table.seen(rec)
	r.table.touch(m.ID)
	if id.SharedMAC {
		r.share(s.MAC, m.ID)
	}
}

// nicAge is how exact the time is at which an address was last seen: so that
// not every boot writes a new list.
const nicAge = time.Minute

// withNIC returns the list with mac in it. The least recently seen address that
// the operator has not written down makes room.
func withNIC(list []boot.NIC, mac boot.MAC, shared bool, now time.Time) []boot.NIC {
	i := slices.IndexFunc(list, func(n boot.NIC) bool { return n.MAC == mac })
	if i >= 0 {
		n := list[i]
		shared = shared || n.Shared
		if n.Shared == shared && !n.First.IsZero() && now.Sub(n.Last) < nicAge && now.Sub(n.Last) >= 0 {
			return list
		}
		list = slices.Clone(list)
		if n.First.IsZero() {
			list[i].First = now
		}
		list[i].Last, list[i].Shared = now, shared
		return list
	}
	list = slices.Clone(list)
	if len(list) >= boot.MaxMACs {
		oldest := -1
		for j, n := range list {
			if !n.Given && (oldest < 0 || n.Last.Before(list[oldest].Last)) {
				oldest = j
			}
		}
		if oldest < 0 {
			return list
		}
		list = slices.Delete(list, oldest, oldest+1)
	}
	return append(list, boot.NIC{MAC: mac, First: now, Last: now, Shared: shared})
}

// share marks an address as shared in the records of all other machines that
// were seen with it. What the operator wrote down stays: it identifies.
func (r *Registry) share(mac boot.MAC, but boot.MachineID) {
	for _, id := range r.table.ByMAC(mac) {
		rec, ok := r.table.byID[id]
		if !ok || id == but {
			continue
		}
		i := slices.IndexFunc(rec.m.MACs, func(n boot.NIC) bool { return n.MAC == mac })
		if i < 0 || rec.m.MACs[i].Shared || rec.m.MACs[i].Given {
			continue
		}
		m := rec.m
		m.MACs = slices.Clone(m.MACs)
		m.MACs[i].Shared = true
		r.table.set(rec, m)
		r.table.touch(id)
	}
}

// claim remembers an address that came with a known machine's identifier. It is
// not one of the machine's until the operator says so: else the second claim
// would find it there.
func (rec *record) claim(mac boot.MAC, seen bool, now time.Time) {
	n := newcomer{mac: boot.MAC(strings.Clone(string(mac))), at: now, seen: seen}
	if i := rec.newcomer(mac); i >= 0 {
		n.refused = rec.newcomers[i].refused
		rec.newcomers = slices.Delete(rec.newcomers, i, i+1)
	}
	if len(rec.newcomers) >= maxNewcomers {
		rec.newcomers = slices.Delete(rec.newcomers, 0, 1)
	}
	rec.newcomers = append(rec.newcomers, n)
}

func (rec *record) newcomer(mac boot.MAC) int {
	return slices.IndexFunc(rec.newcomers, func(n newcomer) bool { return n.mac == mac })
}

// bounded cuts what a client told to what is kept of it.
func bounded(s boot.Sighting) boot.Sighting {
	for _, f := range sightingStrings(&s) {
		*f = boot.Claim(*f)
	}
	size := 0
	fits := len(s.Variables) <= maxVariables
	for k, v := range s.Variables {
		size += len(k) + len(v)
		fits = fits && len(k) <= boot.MaxClaim && len(v) <= boot.MaxClaim && printable(k) && printable(v)
	}
	if fits && size <= maxVariableBytes {
		return s
	}
	small := map[string]string{}
	size = 0
	for _, k := range slices.Sorted(maps.Keys(s.Variables)) {
		v := boot.Claim(s.Variables[k])
		if len(small) >= maxVariables || len(k) > boot.MaxClaim || !printable(k) || size+len(k)+len(v) > maxVariableBytes {
			continue
		}
		small[k] = v
		size += len(k) + len(v)
	}
	s.Variables = small
	return s
}

func sightingStrings(s *boot.Sighting) []*string {
	return []*string{
		&s.Serial, &s.Manufacturer, &s.Product, &s.Asset, &s.Hostname, &s.NIC, &s.CPU, &s.ArchName,
		&s.IPXE, &s.Interface, (*string)(&s.Firmware), (*string)(&s.Platform), (*string)(&s.SecureBoot),
	}
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// keep merges a sighting into what is stored. Texts are copied: those of a
// request are parts of it, and would keep all of it in memory.
func keep(old, s boot.Sighting) boot.Sighting {
	m := old.Merge(s)
	was := sightingStrings(&old)
	for i, f := range sightingStrings(&m) {
		if *f == *was[i] {
			*f = *was[i]
		} else {
			*f = strings.Clone(*f)
		}
	}
	if m.MAC == old.MAC {
		m.MAC = old.MAC
	} else {
		m.MAC = boot.MAC(strings.Clone(string(m.MAC)))
	}
	if maps.Equal(m.Variables, old.Variables) {
		m.Variables = old.Variables
		return m
	}
	m = bounded(m)
	v := make(map[string]string, len(m.Variables))
	for k, x := range m.Variables {
		v[strings.Clone(k)] = strings.Clone(x)
	}
	m.Variables = v
	return m
}

// Sight keeps what a packet of a machine revealed. It waits for nothing.
func (r *Registry) Sight(s boot.Sighting) {
	now := r.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	o := r.observe(s, boot.ProofNone, false, false, now)
	for _, id := range r.table.ByMAC(s.MAC) {
		if rec, ok := r.table.byID[id]; ok && rec.told.mac == s.MAC {
			rec.told = told{} // this one says otherwise, or nothing
		}
		r.rebooted(id, now)
	}
	rec, ok := r.table.byID[o.machine.ID]
	if _, own := findNIC(o.machine.MACs, s.MAC); ok && own && !o.newMAC && rec.m.GUID.Matches(s.GUID) && boot.UsableGUID(s.GUID) {
		rec.told = told{mac: o.machine.Seen.MAC, guid: s.GUID, at: now}
	}
}

// completed adds the identifier that the same address gave in its DHCP exchange
// a moment ago: pxelinux and GRUB ask by hardware address alone, and that one may
// be a dock's. The mutex is held.
func (r *Registry) completed(s boot.Sighting, now time.Time) boot.Sighting {
	if ids := r.table.ByMAC(s.MAC); s.MAC != "" && s.GUID.IsZero() && len(ids) == 1 {
		if rec, ok := r.table.byID[ids[0]]; ok && rec.told.mac == s.MAC && now.Sub(rec.told.at) < toldTime {
			s.GUID = rec.told.guid
		}
	}
	return s
}
