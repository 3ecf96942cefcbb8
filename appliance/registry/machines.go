package registry

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
	"github.com/bootpuck/bootpuck/appliance/store"
)

// changeMachine changes a record durably. f gets a copy and may be called twice:
// it must not depend on anything but its argument. The caller holds opMu.
func (r *Registry) changeMachine(id boot.MachineID, match string, f func(m *boot.Machine) error) error {
	_, err := r.changed(id, match, f, nil)
	return err
}

// changed is changeMachine; then runs with the change, under the mutex.
func (r *Registry) changed(id boot.MachineID, match string, f func(m *boot.Machine) error, then func()) (boot.Machine, error) {
	var result boot.Machine
	var docs []document
	t := &task{keys: []string{keyOperator, keyMachine(id)}}
	t.prepare = func() ([]document, func(), error) {
		rec, ok := r.table.byID[id]
		if !ok {
			return nil, nil, ErrNotFound
		}
		if err := checkMatch(match, true, rec.m.Rev); err != nil {
			return nil, nil, err
		}
		m := rec.m
		if err := f(&m); err != nil {
			return nil, nil, err
		}
		if same(m, rec.m) && m.Rev != 0 {
			result = m
			return nil, func() {}, nil // it is so already
		}
		rev, note := r.nextRev()
		m.Rev = rev
		docs = []document{{store.Kind(kindMachines), string(id), m}, note}
		return docs, func() { result = r.commit(m, f, then) }, nil
	}
	t.abandoned = func() { r.stale(docs) }
	if err := r.do(t, operatorTimeout); err != nil {
		return boot.Machine{}, err
	}
	return result, nil
}

// commit takes a changed record. What was seen of the machine while it was
// being written stays.
func (r *Registry) commit(m boot.Machine, f func(*boot.Machine) error, then func()) boot.Machine {
	rec, ok := r.table.byID[m.ID]
	if !ok {
		// It made room for others while it was a stranger.
		if rec, ok = r.table.add(m, r.evicted); !ok {
			return m
		}
	} else {
		now := rec.m
		if f(&now) != nil {
			now = m
		}
		now.Rev = m.Rev
		r.table.set(rec, now) // what was seen since is marked as not written already
	}
	r.countDenied()
	if then != nil {
		then()
	}
	return rec.m
}

// putMachine stores the operator's part of a record. Identity that the document
// leaves out stays; what was observed and the assignment are not the document's.
func (r *Registry) putMachine(name string, body []byte, match string) (Doc, bool, error) {
	var m boot.Machine
	if errs := decode(body, &m); len(errs) > 0 {
		return Doc{}, false, errs
	}
	given := map[string]json.RawMessage{}
	if err := json.Unmarshal(body, &given); err != nil {
		return Doc{}, false, boot.FieldErrors{{Field: "(root)", What: err.Error()}}
	}
	id := boot.MachineID(name)
	if m.ID != "" && m.ID != id && name != "" {
		return Doc{}, false, boot.FieldErrors{{Field: "id", What: "differs from the name in the address (" + strconv.Quote(name) + "); write the same, or leave it out"}}
	}
	r.mu.Lock()
	if id == "" {
		if id = m.ID; id == "" {
			id = r.newID()
		}
	}
	m.ID = id
	old, exists := r.table.Record(id)
	errs := r.checkMachine(&m, old, exists, given)
	absorbed := r.strangersIn(m, old)
	full := !exists && len(absorbed) == 0 && len(r.table.byID) >= r.table.max && r.table.strangers.Len() == 0
	r.mu.Unlock()
	if err := checkMatch(match, exists, old.Rev); err != nil {
		return Doc{}, false, err
	}
	if full {
		errs = append(errs, boot.FieldError{Field: "(root)", What: fmt.Sprintf("there are %d machines already, and the operator has said something about each; delete some", r.cfg.MaxMachines)})
	}
	if len(errs) > 0 {
		return Doc{}, false, errs
	}
	apply := func(to *boot.Machine) error {
		applyPut(to, m, given)
		for _, other := range absorbed {
			absorb(to, other)
		}
		return nil
	}
	if exists && len(absorbed) == 0 {
		result, err := r.changed(id, MatchAny, apply, nil)
		if err != nil {
			return Doc{}, false, err
		}
		if result.Rev != old.Rev {
			r.tellMachine(result, "was changed")
		}
		return Doc{kindMachines, string(id), result.Rev, result}, false, nil
	}
	result, err := r.putNew(id, exists, apply, absorbed)
	if err != nil {
		return Doc{}, false, err
	}
	r.tellMachine(result, "was added")
	return Doc{kindMachines, string(id), result.Rev, result}, !exists, nil
}

func (r *Registry) tellMachine(m boot.Machine, what string) {
	r.tell(boot.Event{Kind: boot.KindOperator, MAC: m.Seen.MAC, GUID: m.GUID, Text: "machine " + title(m, m.Seen) + " " + what})
}

// putNew writes a record together with the deletion of those that it absorbs.
func (r *Registry) putNew(id boot.MachineID, exists bool, apply func(*boot.Machine) error, absorbed []boot.Machine) (boot.Machine, error) {
	var result boot.Machine
	var docs []document
	t := &task{keys: []string{keyOperator, keyMachine(id)}}
	for _, a := range absorbed {
		t.keys = append(t.keys, keyMachine(a.ID))
	}
	t.prepare = func() ([]document, func(), error) {
		m := boot.Machine{ID: id}
		if exists {
			rec, ok := r.table.byID[id]
			if !ok {
				return nil, nil, ErrNotFound
			}
			m = rec.m
		}
		_ = apply(&m)
		rev, note := r.nextRev()
		m.Rev = rev
		docs = []document{{store.Kind(kindMachines), string(id), m}, note}
		for _, a := range absorbed {
			docs = append(docs, document{store.Kind(kindMachines), string(a.ID), nil})
		}
		return docs, func() {
			for _, a := range absorbed {
				r.tokens.rename(a.ID, id)
				r.drop(a.ID)
			}
			result = r.commit(m, apply, nil)
		}, nil
	}
	t.abandoned = func() { r.stale(docs) }
	if err := r.do(t, operatorTimeout); err != nil {
		return boot.Machine{}, err
	}
	return result, nil
}

// applyPut lays the operator's document over a record.
func applyPut(to *boot.Machine, m boot.Machine, given map[string]json.RawMessage) {
	to.Name, to.Notes, to.Tags, to.Groups = m.Name, m.Notes, m.Tags, m.Groups
	to.Access, to.Variables = m.Access, m.Variables
	if _, ok := given["uuid"]; ok {
		to.GUID = m.GUID
	}
	if _, ok := given["serial"]; ok {
		to.Serial = m.Serial
	}
	if _, ok := given["macs"]; !ok {
		return
	}
	var macs []boot.NIC
	for _, n := range m.MACs {
		i := slices.IndexFunc(to.MACs, func(o boot.NIC) bool { return o.MAC == n.MAC })
		if i < 0 {
			// Nobody has seen it: the operator wrote it down.
			macs = append(macs, boot.NIC{MAC: n.MAC, Given: true})
			continue
		}
		seen := to.MACs[i]
		seen.Given = n.Given || seen.Last.IsZero()
		if seen.Given {
			seen.Shared = false // the operator knows whose it is
		}
		macs = append(macs, seen)
	}
	to.MACs = macs
}

// checkMachine checks the operator's part, and what it says about others. The
// mutex is held.
func (r *Registry) checkMachine(m *boot.Machine, old boot.Machine, exists bool, given map[string]json.RawMessage) boot.FieldErrors {
	var errs boot.FieldErrors
	for i, n := range m.MACs {
		// What was read from the API is canonical; what people write need not be.
		if mac, err := boot.ParseMAC(string(n.MAC)); err == nil {
			m.MACs[i].MAC = mac
		}
	}
	check := *m
	check.Assignment = nil
	check.MACs = nil
	for _, n := range m.MACs {
		if _, observed := findNIC(old.MACs, n.MAC); !observed || n.Given {
			check.MACs = append(check.MACs, n)
		}
	}
	for _, e := range check.Check() {
		if e.Field == "macs" && len(check.MACs) == 0 && (len(m.MACs) > 0 || exists && given["macs"] == nil && len(old.MACs) > 0 ||
			exists && given["uuid"] == nil && !old.GUID.IsZero() || exists && given["serial"] == nil && old.Serial != "") {
			continue // what was observed identifies it
		}
		errs = append(errs, e)
	}
	if len(m.MACs) > boot.MaxMACs && len(check.MACs) <= boot.MaxMACs {
		errs = append(errs, boot.FieldError{Field: "macs", What: "at most " + strconv.Itoa(boot.MaxMACs)})
	}
	if a := m.Assignment; a != nil && (old.Assignment == nil || a.Profile != old.Assignment.Profile || a.Mode != old.Assignment.Mode) {
		errs = append(errs, boot.FieldError{Field: "assignment", What: "is changed at the machine's own address /assignment; leave it out here"})
	}
	groups := r.snap.Load().docs.Groups
	for i, g := range m.Groups {
		if _, ok := groups[g]; !ok && boot.ValidName(g) {
			errs = append(errs, boot.FieldError{Field: "groups[" + strconv.Itoa(i) + "]", What: "there is no group " + strconv.Quote(g) + "; make it first"})
		}
	}
	if !m.GUID.IsZero() && m.GUID != old.GUID {
		if other := r.holder(m.ID, slices.Concat(r.table.ByGUID(m.GUID), r.table.ByGUID(m.GUID.Swapped())), m.Serial); other != "" {
			errs = append(errs, boot.FieldError{Field: "uuid", What: "machine " + string(other) + " has it; merge the two, or take it from that one first"})
		}
	}
	for i, n := range m.MACs {
		if _, had := findNIC(old.MACs, n.MAC); had && !n.Given {
			continue
		}
		for _, id := range r.table.ByMAC(n.MAC) {
			rec := r.table.byID[id]
			if o, _ := findNIC(rec.m.MACs, n.MAC); id != m.ID && o.Given {
				errs = append(errs, boot.FieldError{Field: "macs[" + strconv.Itoa(i) + "].mac", What: "machine " + string(id) + " was given it; merge the two, or take it from that one first"})
			}
		}
	}
	return errs
}

// holder is a known machine among ids other than id that cannot be told apart
// by its serial number.
func (r *Registry) holder(id boot.MachineID, ids []boot.MachineID, serial string) boot.MachineID {
	for _, o := range ids {
		rec, ok := r.table.byID[o]
		if !ok || o == id || !rec.m.Known() {
			continue
		}
		if boot.UsableSerial(serial) && boot.UsableSerial(rec.m.Serial) && !boot.SameSerial(serial, rec.m.Serial) {
			continue
		}
		return o
	}
	return ""
}

func findNIC(list []boot.NIC, mac boot.MAC) (boot.NIC, bool) {
	for _, n := range list {
		if n.MAC == mac {
			return n, true
		}
	}
	return boot.NIC{}, false
}

// strangersIn are the records that were made by themselves of the machine that
// the operator describes now: they have its identifier, or an address that is
// newly written down, and nothing that contradicts it. The mutex is held.
func (r *Registry) strangersIn(m, old boot.Machine) []boot.Machine {
	var ids []boot.MachineID
	if !m.GUID.IsZero() {
		ids = append(ids, r.table.ByGUID(m.GUID)...)
		ids = append(ids, r.table.ByGUID(m.GUID.Swapped())...)
	}
	for _, n := range m.MACs {
		if _, had := findNIC(old.MACs, n.MAC); !had {
			ids = append(ids, r.table.ByMAC(n.MAC)...)
		}
	}
	guid, serial := m.GUID, m.Serial
	if guid.IsZero() {
		guid = old.GUID
	}
	if serial == "" {
		serial = old.Serial
	}
	slices.Sort(ids)
	var out []boot.Machine
	for _, id := range slices.Compact(ids) {
		rec, ok := r.table.byID[id]
		if !ok || id == m.ID || rec.m.Known() {
			continue
		}
		o := rec.m
		shared := slices.ContainsFunc(o.MACs, func(n boot.NIC) bool {
			_, ours := findNIC(m.MACs, n.MAC)
			return ours && n.Shared
		})
		contradicts := !guid.IsZero() && !o.GUID.IsZero() && !guid.Matches(o.GUID) ||
			serial != "" && o.Serial != "" && !boot.SameSerial(serial, o.Serial)
		if shared || contradicts {
			continue
		}
		if guid.IsZero() {
			guid = o.GUID // the next one must not contradict this one
		}
		if serial == "" {
			serial = o.Serial
		}
		out = append(out, o)
	}
	return out
}

// absorb lays what was observed of from under to.
func absorb(to *boot.Machine, from boot.Machine) {
	if to.GUID.IsZero() {
		to.GUID = from.GUID
	}
	if to.Serial == "" {
		to.Serial = from.Serial
	}
	to.MACs = joinNICs(to.MACs, from.MACs)
	if to.First.IsZero() || !from.First.IsZero() && from.First.Before(to.First) {
		to.First = from.First
	}
	if from.Last.After(to.Last) {
		to.Last = from.Last
		to.Seen = to.Seen.Merge(from.Seen)
	} else {
		to.Seen = from.Seen.Merge(to.Seen)
	}
	to.Boots = max(to.Boots, from.Boots)
}

// joinNICs joins two lists, at most MaxMACs: what was given first, then the most
// recently seen.
func joinNICs(a, b []boot.NIC) []boot.NIC {
	out := slices.Clone(a)
	for _, n := range b {
		i := slices.IndexFunc(out, func(o boot.NIC) bool { return o.MAC == n.MAC })
		if i < 0 {
			out = append(out, n)
			continue
		}
		o := &out[i]
		o.Given = o.Given || n.Given
		o.Shared = o.Shared && n.Shared // shared with each other it is no more
		if o.First.IsZero() || !n.First.IsZero() && n.First.Before(o.First) {
			o.First = n.First
		}
		if n.Last.After(o.Last) {
			o.Last = n.Last
		}
	}
	if len(out) <= boot.MaxMACs {
		return out
	}
	slices.SortStableFunc(out, func(x, y boot.NIC) int {
		if x.Given != y.Given {
			if x.Given {
				return -1
			}
			return 1
		}
		return y.Last.Compare(x.Last)
	})
	return out[:boot.MaxMACs]
}

// deleteMachine forgets a machine and all that was handed to it.
func (r *Registry) deleteMachine(id boot.MachineID, match string) error {
	var gone boot.Machine
	var docs []document
	t := &task{keys: []string{keyOperator, keyMachine(id)}}
	t.prepare = func() ([]document, func(), error) {
		rec, ok := r.table.byID[id]
		if !ok {
			return nil, nil, ErrNotFound
		}
		if err := checkMatch(match, true, rec.m.Rev); err != nil {
			return nil, nil, err
		}
		gone = rec.m
		_, note := r.nextRev()
		docs = []document{{store.Kind(kindMachines), string(id), nil}, note}
		return docs, func() {
			r.drop(id)
			delete(r.table.gone, id) // it is gone there
		}, nil
	}
	t.abandoned = func() { r.stale(docs) }
	if err := r.do(t, operatorTimeout); err != nil {
		return err
	}
	r.tellMachine(gone, "was deleted")
	return nil
}

// Assign says what a machine is to boot, durably. What was handed out for the
// assignment before is worth nothing any more. Match is about the machine's
// revision. Errors: ErrNotFound, ErrRevision, boot.FieldErrors.
func (r *Registry) Assign(id boot.MachineID, a boot.Assignment, match string) (boot.Assignment, error) {
	r.opMu.Lock()
	defer r.opMu.Unlock()
	now := r.now()
	profile, target, ok := r.snap.Load().catalog.Resolve(a.Profile)
	if !ok {
		return boot.Assignment{}, r.assignProblem(id, a)
	}
	fresh, errs := boot.NewAssignment(a, target, r.newCode(armCode), now)
	if len(errs) > 0 {
		return boot.Assignment{}, errs
	}
	var adopted []boot.MAC
	m, err := r.changed(id, match, func(m *boot.Machine) error {
		if old := m.Assignment; old != nil && old.Mode == boot.AssignAlways && fresh.Mode == boot.AssignAlways &&
			old.Profile == fresh.Profile && old.Target == fresh.Target && old.Destructive == fresh.Destructive && !old.Over() {
			return nil
		}
		adopted = r.adopt(m)
		m.Assignment = &fresh
		return nil
	}, func() {
		r.tokens.unassign(id)
		r.unhand(id)
		if rec, ok := r.table.byID[id]; ok && len(adopted) > 0 {
			rec.newcomers = nil
		}
	})
	if err != nil {
		return boot.Assignment{}, err
	}
	text := "machine " + title(m, m.Seen) + " was assigned " + profile.Name + " (" + string(fresh.Mode) + ")"
	for _, mac := range adopted {
		text += "; network card " + string(mac) + " is its own from now on"
	}
	r.tell(boot.Event{Kind: boot.KindOperator, MAC: m.Seen.MAC, GUID: m.GUID, Text: text})
	return *m.Assignment, nil
}

// adopt takes a network card for the machine's own that kept it from getting its
// last assignment, when the operator assigns again: that is what the reason on
// the screen says. Only if it is a single one, and was seen on the wire. The
// mutex is held.
func (r *Registry) adopt(m *boot.Machine) []boot.MAC {
	rec, ok := r.table.byID[m.ID]
	if !ok || m.Assignment == nil || len(rec.newcomers) != 1 {
		return nil
	}
	n := rec.newcomers[0]
	if !n.refused || !n.seen || len(m.MACs) >= boot.MaxMACs {
		return nil
	}
	if _, has := findNIC(m.MACs, n.mac); has {
		return nil
	}
	m.MACs = append(slices.Clone(m.MACs), boot.NIC{MAC: n.mac, First: n.at, Last: n.at})
	return []boot.MAC{n.mac}
}

// assignProblem says why a profile cannot be assigned.
func (r *Registry) assignProblem(id boot.MachineID, a boot.Assignment) error {
	if _, ok := r.Get(kindMachines, string(id)); !ok {
		return ErrNotFound
	}
	if p, ok := r.snap.Load().docs.Profiles[a.Profile]; ok {
		return boot.FieldErrors{{Field: "profile", What: "profile " + strconv.Quote(p.Name) + " or its target " + strconv.Quote(p.Target) + " has errors; correct them first"}}
	}
	return boot.FieldErrors{{Field: "profile", What: "there is no such profile; make it first"}}
}

// Unassign ends a machine's assignment, durably. An armed one that has not ended
// is disarmed: the machine boots from its own disk until the operator assigns
// again, or takes the assignment away by a second Unassign.
func (r *Registry) Unassign(id boot.MachineID, match string) error {
	r.opMu.Lock()
	defer r.opMu.Unlock()
	now := r.now()
	text := ""
	m, err := r.changed(id, match, func(m *boot.Machine) error {
		switch a := m.Assignment; {
		case a == nil:
		case a.Mode == boot.AssignArmed && !a.Over():
			next := a.Disarm(now)
			m.Assignment = &next
			text = "was disarmed"
		default:
			m.Assignment = nil
			text = "has no assignment any more"
		}
		return nil
	}, func() {
		r.tokens.unassign(id)
		r.unhand(id)
	})
	if err == nil && text != "" {
		r.tellMachine(m, text)
	}
	return err
}

// Merge makes one record of two that are the same machine. What the operator
// said in into counts, what it leaves empty is taken from from, which is deleted.
// Errors: ErrNotFound; boot.FieldErrors when both have an assignment that has not
// ended.
func (r *Registry) Merge(into, from boot.MachineID) error {
	r.opMu.Lock()
	defer r.opMu.Unlock()
	if into == from {
		return boot.FieldErrors{{Field: "from", What: "is the same machine; write another one"}}
	}
	var result boot.Machine
	var docs []document
	t := &task{keys: []string{keyOperator, keyMachine(into), keyMachine(from)}}
	t.prepare = func() ([]document, func(), error) {
		a, ok := r.table.byID[into]
		b, ok2 := r.table.byID[from]
		if !ok || !ok2 {
			return nil, nil, ErrNotFound
		}
		merge := func(to *boot.Machine, o boot.Machine) error {
			if to.Assignment != nil && o.Assignment != nil && !to.Assignment.Over() && !o.Assignment.Over() {
				return boot.FieldErrors{{Field: "from", What: "both machines have an assignment; take one away first"}}
			}
			mergeInto(to, o)
			return nil
		}
		m, other := a.m, b.m
		if err := merge(&m, other); err != nil {
			return nil, nil, err
		}
		rev, note := r.nextRev()
		m.Rev = rev
		docs = []document{{store.Kind(kindMachines), string(into), m}, {store.Kind(kindMachines), string(from), nil}, note}
		return docs, func() {
			if b, ok := r.table.byID[from]; ok {
				other = b.m
			}
			r.tokens.rename(from, into)
			r.drop(from)
			delete(r.table.gone, from)
			result = r.commit(m, func(to *boot.Machine) error { return merge(to, other) }, nil)
		}, nil
	}
	t.abandoned = func() { r.stale(docs) }
	if err := r.do(t, operatorTimeout); err != nil {
		return err
	}
	r.tellMachine(result, "was merged with "+string(from))
	return nil
}

// mergeInto lays from under to.
func mergeInto(to *boot.Machine, from boot.Machine) {
	boots := to.Boots + from.Boots
	absorb(to, from)
	to.Boots = boots
	if to.Name == "" {
		to.Name = from.Name
	}
	if to.Notes == "" {
		to.Notes = from.Notes
	}
	if to.Access == boot.AccessDefault || from.Access == boot.AccessDeny {
		to.Access = from.Access
	}
	to.Tags, to.Groups = union(to.Tags, from.Tags), union(to.Groups, from.Groups)
	if len(from.Variables) > 0 {
		vars := maps.Clone(from.Variables)
		maps.Copy(vars, to.Variables)
		to.Variables = vars
	}
	if to.Assignment == nil || to.Assignment.Over() && from.Assignment != nil && !from.Assignment.Over() {
		to.Assignment = from.Assignment
	}
}

func union(a, b []string) []string {
	out := slices.Clone(a)
	for _, s := range b {
		if !slices.Contains(out, s) && len(out) < boot.MaxTags {
			out = append(out, s)
		}
	}
	return out
}

// Split takes hardware addresses, or identifier and serial number, out of a
// record and makes another one of them: two machines had been taken for one. The
// new record is one that the operator has said nothing about, apart from
// addresses that were written down, unless the machine had an armed assignment,
// or one for a single boot, that has not ended: that is disarmed in both.
func (r *Registry) Split(id boot.MachineID, macs []boot.MAC, uuid bool) (boot.MachineID, error) {
	r.opMu.Lock()
	defer r.opMu.Unlock()
	r.mu.Lock()
	other := r.newID()
	r.mu.Unlock()
	now := r.now()
	var docs []document
	var made boot.Machine
	var disarmed bool
	t := &task{keys: []string{keyOperator, keyMachine(id), keyMachine(other)}}
	t.prepare = func() ([]document, func(), error) {
		rec, ok := r.table.byID[id]
		if !ok {
			return nil, nil, ErrNotFound
		}
		if len(r.table.byID) >= r.table.max && r.table.strangers.Len() == 0 {
			return nil, nil, boot.FieldErrors{{Field: "(root)", What: "there is no room for another machine; delete some"}}
		}
		old, fresh, errs := divide(rec.m, macs, uuid)
		if len(errs) > 0 {
			return nil, nil, errs
		}
		if old.Assignment, disarmed = apart(rec.m.Assignment, now); disarmed {
			fresh.Assignment = old.Assignment
		}
		fresh.ID, made = other, fresh
		rev, note := r.nextRev()
		old.Rev = rev
		docs = []document{{store.Kind(kindMachines), string(id), old}, {store.Kind(kindMachines), string(other), fresh}, note}
		return docs, func() {
			r.commit(old, func(to *boot.Machine) error {
				rest, _, errs := divide(*to, macs, uuid)
				rest.Assignment, _ = apart(to.Assignment, now)
				*to = rest
				return errs.Err()
			}, nil)
			r.table.add(fresh, r.evicted)
			r.tokens.unassign(id)
			r.unhand(id)
		}, nil
	}
	t.abandoned = func() { r.stale(docs) }
	if err := r.do(t, operatorTimeout); err != nil {
		return "", err
	}
	text := "was split off from " + string(id)
	if disarmed {
		text += "; both are disarmed: assign again the one that was meant"
	}
	r.tellMachine(made, text)
	return other, nil
}

// apart is what a record's assignment becomes when the record is split. Nobody
// knows which of the two machines the operator meant, and one of them must not be
// overwritten in the other's place.
func apart(a *boot.Assignment, now time.Time) (next *boot.Assignment, disarmed bool) {
	if a == nil || a.Mode == boot.AssignAlways || a.Over() {
		return a, false
	}
	d := a.Disarm(now)
	return &d, true
}

// divide makes two machines of one.
func divide(m boot.Machine, macs []boot.MAC, uuid bool) (rest, split boot.Machine, errs boot.FieldErrors) {
	rest = m
	split = boot.Machine{First: m.First, Last: m.Last}
	rest.MACs = nil
	for _, n := range m.MACs {
		if slices.Contains(macs, n.MAC) {
			n.Shared = false
			split.MACs = append(split.MACs, n)
		} else {
			rest.MACs = append(rest.MACs, n)
		}
	}
	for i, mac := range macs {
		if _, ok := findNIC(m.MACs, mac); !ok {
			errs = append(errs, boot.FieldError{Field: "macs[" + strconv.Itoa(i) + "]", What: "is no address of this machine; write one of its own"})
		}
	}
	if uuid {
		split.GUID, split.Serial = m.GUID, m.Serial
		rest.GUID, rest.Serial = boot.GUID{}, ""
		if split.GUID.IsZero() && split.Serial == "" {
			errs = append(errs, boot.FieldError{Field: "uuid", What: "the machine has neither identifier nor serial number; leave it out"})
		}
	}
	empty := func(m boot.Machine) bool { return len(m.MACs) == 0 && m.GUID.IsZero() && m.Serial == "" }
	if len(errs) == 0 && empty(split) {
		errs = append(errs, boot.FieldError{Field: "macs", What: "nothing is taken out; write at least one address, or take out the identifier"})
	}
	if len(errs) == 0 && empty(rest) {
		errs = append(errs, boot.FieldError{Field: "macs", What: "nothing would be left; keep at least one address or the identifier"})
	}
	seen := m.Seen
	if _, moved := findNIC(split.MACs, seen.MAC); moved || uuid && len(macs) == 0 {
		split.Seen = seen
		rest.Seen = boot.Sighting{}
	}
	return rest, split, errs
}
