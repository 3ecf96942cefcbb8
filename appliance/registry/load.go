package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/bootpuck/bootpuck/appliance/boot"
	"github.com/bootpuck/bootpuck/appliance/store"
)

// loaded is what a store held.
type loaded struct {
	docs     documents
	machines []boot.Machine
	attempts []*attempt
	rev      uint64
}

// SetDB loads what the store holds, lays what happened meanwhile over it, and
// writes through to it from now on. What the operator changed meanwhile counts.
// It may be called again, with the same store opened anew: what is in memory is
// the newer then.
// The error is one of reading; then nothing has changed.
func (r *Registry) SetDB(db Store) error {
	if !present(db) {
		return errors.New("no store")
	}
	r.opMu.Lock()
	defer r.opMu.Unlock()
	l, err := r.read(db)
	if err != nil {
		return err
	}
	mine := r.snap.Load().docs
	var changed []docID
	for _, kind := range catalogKinds {
		s := sorts[kind]
		for _, name := range s.names(&mine) {
			if v, rev, _ := s.get(&mine, name); rev != 0 {
				s.put(&l.docs, name, v)
				changed = append(changed, docID{kind, name})
			}
		}
	}
	snap, errs := newSnapshot(nil, l.docs)
	for doc, bad := range errs {
		r.log.Warn("a stored document has errors and is not used", "document", doc, "errors", bad.Error())
	}
	r.mu.Lock()
	r.rev = max(r.rev, l.rev)
	for _, id := range changed {
		r.doubtful[id] = struct{}{}
	}
	r.take(l)
	r.snap.Store(snap)
	r.countDenied()
	r.writer.attach(db)
	r.mu.Unlock()
	return nil
}

// read decodes everything. A document that cannot be decoded is left alone: it
// stays in the store, and the others still count.
func (r *Registry) read(db Store) (*loaded, error) {
	l := &loaded{docs: documents{Site: defaultSite()}}
	for _, kind := range catalogKinds {
		s := sorts[kind]
		err := db.Load(store.Kind(kind), func(name string, doc []byte) error {
			var rev struct {
				Rev uint64 `json:"rev"`
			}
			v, errs := s.decode(name, doc)
			if err := errors.Join(errs.Err(), json.Unmarshal(doc, &rev)); err != nil {
				r.log.Error("a stored document cannot be read", "document", docKey(kind, name), "error", err)
				return nil
			}
			l.rev = max(l.rev, rev.Rev)
			s.put(&l.docs, name, s.stamp(v, rev.Rev))
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("load %s: %w", kind, err)
		}
	}
	err := db.Load(store.Kind(kindMachines), func(name string, doc []byte) error {
		var m boot.Machine
		if err := json.Unmarshal(doc, &m); err != nil {
			r.log.Error("a stored document cannot be read", "document", docKey(kindMachines, name), "error", err)
			return nil
		}
		m.ID = boot.MachineID(name)
		if a, err := boot.ParseArch(m.Seen.ArchName); err == nil {
			m.Seen.Arch, m.Seen.ArchKnown = a, true
		}
		l.rev = max(l.rev, m.Rev)
		l.machines = append(l.machines, m)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("load machines: %w", err)
	}
	err = db.Load(kindAttempts, func(name string, doc []byte) error {
		a := &attempt{}
		if err := json.Unmarshal(doc, a); err != nil {
			r.log.Error("a stored document cannot be read", "document", docKey(string(kindAttempts), name), "error", err)
			return nil
		}
		a.ID = name
		l.attempts = append(l.attempts, a)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("load attempts: %w", err)
	}
	err = db.Load(kindMeta, func(name string, doc []byte) error {
		var m meta
		if name == metaName && json.Unmarshal(doc, &m) == nil {
			l.rev = max(l.rev, m.Rev)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("load meta: %w", err)
	}
	// Strangers enter in the order in which they were last seen: that is the
	// order in which they are forgotten.
	slices.SortStableFunc(l.machines, func(a, b boot.Machine) int {
		if a.Known() != b.Known() {
			if a.Known() {
				return -1
			}
			return 1
		}
		return a.Last.Compare(b.Last)
	})
	return l, nil
}

// take puts loaded machines and attempts under those that were met meanwhile.
// The mutex is held.
func (r *Registry) take(l *loaded) {
	before := r.table
	r.table = newTable(r.cfg.MaxMachines)
	r.table.gone = before.gone // what was forgotten meanwhile does not come back
	for _, m := range l.machines {
		if _, forgotten := r.table.gone[m.ID]; !forgotten {
			r.table.add(m, func(boot.MachineID) {})
		}
	}
	now := r.now()
	for _, a := range l.attempts {
		if _, over := r.tokens.gone[a.ID]; over || r.tokens.attempts[a.ID] != nil {
			continue // what is in memory is newer: this is not the first time
		}
		if a.Created.Before(clockSet) {
			a.Created = now // its age is not known
		}
		if _, ok := r.table.byID[a.Machine]; !ok || now.Sub(a.Created) >= callbackTime {
			r.tokens.gone[a.ID] = struct{}{}
			continue
		}
		r.tokens.begin(a)
	}
	for _, rec := range before.byID {
		r.rejoin(rec)
	}
}

// rejoin takes a record of before the store was there: the operator's as it is,
// others are what a machine told, which may have a record in the store.
func (r *Registry) rejoin(rec *record) {
	m := rec.m
	if old, ok := r.table.byID[m.ID]; ok {
		// The same record, as it was written some time ago.
		r.table.set(old, m)
		r.table.touch(m.ID)
		old.let, old.newcomers, old.told = rec.let, rec.newcomers, rec.told
		return
	}
	if !m.Known() {
		id := boot.Identify(r.table, m.Seen)
		if old, ok := r.table.byID[id.ID]; ok {
			switch id.Confidence {
			case boot.ConfidenceFull, boot.ConfidenceGood, boot.ConfidenceWeak:
				known := old.m
				known.Boots += m.Boots
				r.table.set(old, known)
				if !id.NewMAC || len(known.MACs) == 0 || !known.Known() {
					r.update(old, m.Seen, id, false, false, m.Last)
				}
			case boot.ConfidenceNone, boot.ConfidenceDoubt, boot.ConfidenceShared:
			}
			old.let, old.newcomers = rec.let, rec.newcomers
			r.tokens.rename(m.ID, id.ID)
			for _, q := range r.requests.byCode {
				if q.Machine == m.ID {
					q.Machine = id.ID
				}
			}
			return
		}
	}
	fresh, ok := r.table.add(m, r.evicted)
	if !ok {
		return
	}
	fresh.let, fresh.newcomers, fresh.told = rec.let, rec.newcomers, rec.told
	r.table.touch(m.ID)
}
