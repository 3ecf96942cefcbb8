package registry

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
	"github.com/bootpuck/bootpuck/appliance/exchange"
	"github.com/bootpuck/bootpuck/appliance/store"
)

// ImportErrors are all that is wrong with an imported document, by the names
// that exchange.Locate knows ("targets/debian", "site").
type ImportErrors map[string]boot.FieldErrors

func (e ImportErrors) Error() string {
	var list []string
	for _, key := range slices.Sorted(maps.Keys(e)) {
		for _, f := range e[key] {
			list = append(list, key+": "+f.Field+": "+f.What)
		}
	}
	return strings.Join(list, "\n")
}

func (e ImportErrors) add(key, field, what string) {
	e[key] = append(e[key], boot.FieldError{Field: field, What: what})
}

// Export is all that the operator has decided. Armed assignments are not in it:
// they are an act, not a state, and a file that is imported later must not arm
// anything anew.
func (r *Registry) Export() exchange.Document {
	d := r.snap.Load().docs
	doc := exchange.Document{
		Version: exchange.Version, Site: d.Site, Targets: values(d.Targets), Profiles: values(d.Profiles),
		Groups: values(d.Groups), Rules: values(d.Rules), Templates: values(d.Templates),
	}
	r.mu.Lock()
	for _, rec := range r.table.byID {
		if exported(rec.m) {
			doc.Machines = append(doc.Machines, rec.m)
		}
	}
	r.mu.Unlock()
	for i := range doc.Machines {
		if a := doc.Machines[i].Assignment; a != nil && a.Mode == boot.AssignArmed {
			doc.Machines[i].Assignment = nil
		}
	}
	return exchange.Normal(doc)
}

// exported says whether the operator has said anything about the machine. Others
// come and go by themselves.
func exported(m boot.Machine) bool {
	return m.Known() || m.Notes != "" || len(m.Tags) > 0 || len(m.Variables) > 0
}

// importing is the work of one Import.
type importing struct {
	r        *Registry
	before   *snapshot
	after    *snapshot
	docs     documents
	machines []arrival
	gone     []boot.MachineID // known machines that the file does not have
	errs     ImportErrors
	now      time.Time
}

// arrival is a machine of the file.
type arrival struct {
	boot.Machine
	// keeps says that the record's own assignment stays, as it is by then: the
	// machine may start it while the file is being written.
	keeps    bool
	absorbed []boot.Machine
}

// Import puts the document in place of what is there, all or nothing, durably,
// and says what differs; dry changes nothing. Machines that the file does not
// have are forgotten if the operator had said something about them. Armed
// assignments are not in files: those of machines in the file stay as they are.
// The error is ImportErrors, or why it could not be written.
func (r *Registry) Import(d exchange.Document, dry bool) ([]exchange.Difference, error) {
	r.opMu.Lock()
	defer r.opMu.Unlock()
	differences := exchange.Diff(r.Export(), d)
	i := &importing{r: r, before: r.snap.Load(), errs: ImportErrors{}, now: r.now()}
	i.catalog(exchange.Normal(d))
	i.check(exchange.Normal(d).Machines)
	if len(i.errs) > 0 {
		return nil, i.errs
	}
	if dry || len(differences) == 0 {
		return differences, nil
	}
	if err := i.write(); err != nil {
		return nil, err
	}
	r.tell(boot.Event{Kind: boot.KindOperator, Text: fmt.Sprintf("a file was imported: %d differences", len(differences))})
	return differences, nil
}

// catalog takes the documents over and checks them.
func (i *importing) catalog(d exchange.Document) {
	i.docs = documents{
		Site: d.Site, Targets: map[string]boot.Target{}, Profiles: map[string]boot.Profile{},
		Groups: map[string]boot.Group{}, Rules: map[string]boot.SelectRule{}, Templates: map[string]boot.Template{},
	}
	if i.docs.Site.Unknown == "" {
		i.docs.Site.Unknown = boot.UnknownAllow
	}
	gather(i.errs, kindTargets, i.docs.Targets, d.Targets, func(t boot.Target) string { return t.Name })
	gather(i.errs, kindProfiles, i.docs.Profiles, d.Profiles, func(p boot.Profile) string { return p.Name })
	gather(i.errs, kindGroups, i.docs.Groups, d.Groups, func(g boot.Group) string { return g.Name })
	gather(i.errs, kindRules, i.docs.Rules, d.Rules, func(s boot.SelectRule) string { return s.Name })
	gather(i.errs, kindTemplates, i.docs.Templates, d.Templates, func(t boot.Template) string { return t.Name })
	var errs map[string]boot.FieldErrors
	i.after, errs = newSnapshot(i.before, i.docs)
	for key, list := range errs {
		i.errs[key] = append(i.errs[key], list...)
	}
}

func gather[T any](errs ImportErrors, kind string, into map[string]T, list []T, name func(T) string) {
	for n, v := range list {
		if _, twice := into[name(v)]; twice {
			errs.add(exchange.Key(kind, name(v), n), "name", "is there twice; write another one")
		}
		into[name(v)] = v
	}
}

// check checks the machines, by themselves and against each other.
func (i *importing) check(machines []boot.Machine) {
	i.r.mu.Lock()
	defer i.r.mu.Unlock()
	ids, guids, macs := map[boot.MachineID]bool{}, map[boot.GUID]int{}, map[boot.MAC]bool{}
	for n := range machines {
		m := machines[n]
		key := exchange.Key(kindMachines, string(m.ID), n)
		if bad := m.Check(); len(bad) > 0 {
			i.errs[key] = append(i.errs[key], bad...)
		}
		if m.ID == "" {
			m.ID = i.find(m)
		}
		if ids[m.ID] {
			i.errs.add(key, "id", "is there twice; leave one out")
		}
		ids[m.ID] = true
		for at, g := range m.Groups {
			if _, ok := i.docs.Groups[g]; !ok {
				i.errs.add(key, "groups["+strconv.Itoa(at)+"]", "there is no group "+strconv.Quote(g)+" in the file; add it")
			}
		}
		if j, ok := guids[m.GUID]; ok && !m.GUID.IsZero() && (m.Serial == "" || machines[j].Serial == "" || boot.SameSerial(m.Serial, machines[j].Serial)) {
			i.errs.add(key, "uuid", "another machine of the file has it, and no serial number tells them apart")
		}
		guids[m.GUID] = n
		for at, nic := range m.MACs {
			if nic.Given && macs[nic.MAC] {
				i.errs.add(key, "macs["+strconv.Itoa(at)+"].mac", "another machine of the file was given it; it can be that of one only")
			}
			macs[nic.MAC] = macs[nic.MAC] || nic.Given
		}
		a := arrival{Machine: m}
		i.assignment(key, &a)
		i.machines = append(i.machines, a)
	}
	if len(ids) > i.r.cfg.MaxMachines {
		i.errs.add(kindMachines, "(root)", fmt.Sprintf("are more than this box keeps (%d); leave some out", i.r.cfg.MaxMachines))
	}
	taken := map[boot.MachineID]bool{}
	for n := range i.machines {
		a := &i.machines[n]
		old, _ := i.r.table.Record(a.ID)
		for _, o := range i.r.strangersIn(a.Machine, old) {
			if !ids[o.ID] && !taken[o.ID] {
				taken[o.ID] = true
				a.absorbed = append(a.absorbed, o)
			}
		}
	}
	for id, rec := range i.r.table.byID {
		if !ids[id] && !taken[id] && exported(rec.m) {
			i.gone = append(i.gone, id)
		}
	}
	slices.Sort(i.gone)
}

// find gives a machine without an identifier that of the record that it
// describes, else a new one.
func (i *importing) find(m boot.Machine) boot.MachineID {
	t := i.r.table
	ids := t.ByGUID(m.GUID)
	for _, n := range m.MACs {
		ids = slices.Concat(ids, t.ByMAC(n.MAC))
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	if len(ids) == 1 {
		return ids[0]
	}
	return i.r.newID()
}

// assignment makes of what the file says what the record will have.
func (i *importing) assignment(key string, m *arrival) {
	var current *boot.Assignment
	if rec, ok := i.r.table.byID[m.ID]; ok {
		current = rec.m.Assignment
	}
	switch want := m.Assignment; {
	case want == nil && unspoken(current):
		m.keeps = true
		if _, ok := i.docs.Profiles[current.Profile]; !ok && !current.Over() {
			i.errs.add(key, "assignment", "the machine is armed with profile "+strconv.Quote(current.Profile)+", which the file does not have; disarm it first")
		}
	case want == nil:
	case current != nil && current.Profile == want.Profile && current.Mode == want.Mode && (want.Expires.IsZero() || want.Expires.Equal(current.Expires)):
		m.keeps = true
	default:
		_, target, ok := i.after.catalog.Resolve(want.Profile)
		if !ok {
			i.errs.add(key, "assignment.profile", "there is no profile "+strconv.Quote(want.Profile)+" in the file, or it has errors")
			return
		}
		fresh, errs := boot.NewAssignment(*want, target, i.r.newCode(armCode), i.now)
		for _, e := range errs {
			i.errs.add(key, "assignment."+e.Field, e.What)
		}
		m.Assignment = &fresh
	}
}

// unspoken says whether an assignment is one that no file speaks of: it is armed,
// or was used up.
func unspoken(a *boot.Assignment) bool {
	return a != nil && (a.Mode == boot.AssignArmed || a.Mode == boot.AssignOnce && a.State != boot.AssignWaiting)
}

// write writes all that changes in one transaction and takes it.
func (i *importing) write() error {
	r := i.r
	var docs []document
	t := &task{} // nothing else at the same time
	t.prepare = func() ([]document, func(), error) {
		docs = i.catalogChanges()
		for n := range i.machines {
			a := &i.machines[n]
			m, _ := r.table.Record(a.ID)
			old := m
			i.apply(&m, a)
			if old.Rev != 0 && same(m, old) {
				a.Rev = old.Rev
				continue
			}
			rev, _ := r.nextRev()
			a.Rev, m.Rev = rev, rev
			docs = append(docs, document{store.Kind(kindMachines), string(a.ID), m})
			for _, o := range a.absorbed {
				docs = append(docs, document{store.Kind(kindMachines), string(o.ID), nil})
			}
		}
		for _, id := range i.gone {
			docs = append(docs, document{store.Kind(kindMachines), string(id), nil})
		}
		_, note := r.nextRev()
		docs = append(docs, note)
		return docs, i.commit, nil
	}
	t.abandoned = func() { r.stale(docs) }
	return r.do(t, operatorTimeout)
}

// catalogChanges gives changed documents their revision, the others keep
// theirs. The snapshot is made anew for them.
func (i *importing) catalogChanges() []document {
	var docs []document
	for _, kind := range catalogKinds {
		s := sorts[kind]
		for _, name := range s.names(&i.docs) {
			v, _, _ := s.get(&i.docs, name)
			old, rev, exists := s.get(&i.before.docs, name)
			if exists && rev != 0 && same(s.stamp(v, rev), old) {
				s.put(&i.docs, name, old)
				continue
			}
			if kind == kindSite && same(s.stamp(v, 0), defaultSite()) && rev == 0 {
				continue
			}
			fresh, _ := i.r.nextRev()
			v = s.stamp(v, fresh)
			s.put(&i.docs, name, v)
			docs = append(docs, document{store.Kind(kind), name, v})
		}
		for _, name := range s.names(&i.before.docs) {
			if _, _, still := s.get(&i.docs, name); !still {
				docs = append(docs, document{store.Kind(kind), name, nil})
			}
		}
	}
	i.after, _ = newSnapshot(i.after, i.docs)
	return docs
}

// apply lays a machine of the file over a record.
func (i *importing) apply(to *boot.Machine, a *arrival) {
	to.ID = a.ID
	to.Name, to.Notes, to.Tags, to.Groups = a.Name, a.Notes, a.Tags, a.Groups
	to.Access, to.Variables = a.Access, a.Variables
	to.GUID, to.Serial = a.GUID, a.Serial
	if !a.keeps && (a.Assignment != nil || !unspoken(to.Assignment)) {
		to.Assignment = a.Assignment
	}
	var macs []boot.NIC
	for _, n := range a.MACs {
		if o, ok := findNIC(to.MACs, n.MAC); ok {
			n.First, n.Last = o.First, o.Last
		}
		macs = append(macs, n)
	}
	to.MACs = macs
	for _, o := range a.absorbed {
		absorb(to, o)
	}
}

// commit makes the import true in memory. The mutex is held.
func (i *importing) commit() {
	r := i.r
	r.snap.Store(i.after)
	for _, id := range i.gone {
		r.drop(id)
		delete(r.table.gone, id)
	}
	for n := range i.machines {
		a := &i.machines[n]
		for _, o := range a.absorbed {
			r.tokens.rename(o.ID, a.ID)
			r.drop(o.ID)
		}
		rec, ok := r.table.byID[a.ID]
		var m boot.Machine
		if ok {
			m = rec.m
		}
		old := m.Assignment
		i.apply(&m, a)
		m.Rev = a.Rev
		if ok {
			r.table.set(rec, m)
		} else {
			r.table.add(m, r.evicted)
		}
		if old != nil && old != m.Assignment {
			r.tokens.unassign(a.ID)
			r.unhand(a.ID)
		}
	}
	r.countDenied()
}
