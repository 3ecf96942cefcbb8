package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/bootpuck/bootpuck/appliance/boot"
	"github.com/bootpuck/bootpuck/appliance/store"
)

// Kinds of documents. KindSite has one document, named KindSite too.
const (
	kindMachines  = "machines"
	kindTargets   = "targets"
	kindProfiles  = "profiles"
	kindGroups    = "groups"
	kindRules     = "rules"
	kindTemplates = "templates"
	kindSite      = "site"
)

// Values of the match argument besides a revision in decimal digits, with or
// without the quotes of an entity tag.
const (
	MatchAny   = ""  // whatever is there
	MatchExist = "*" // must exist
	MatchNew   = "!" // must not exist
)

// Errors of the operator's side, to be recognised by errors.Is. What is wrong
// with a document is boot.FieldErrors, what keeps one from being deleted
// ErrInUse.
var (
	ErrNotFound = errors.New("not found")
	ErrRevision = errors.New("changed by somebody else meanwhile")
	ErrExists   = errors.New("exists already")
)

// ErrInUse says what refers to a document that was to be deleted.
type ErrInUse struct {
	By []string // "profiles/x", "machines/y", "site"
}

func (e ErrInUse) Error() string { return "in use by " + strings.Join(e.By, ", ") }

// InUse names the documents.
func (e ErrInUse) InUse() []string { return e.By }

// Doc is a document with its revision. Value is a boot.Machine, boot.Target,
// boot.Profile, boot.Group, boot.SelectRule, boot.Template or boot.Site.
type Doc struct {
	Kind, Name string
	Rev        uint64
	Value      any
}

// Query is a page of a list.
type Query struct {
	After string // the last name of the page before; "" for the first page
	Limit int    // documents at most; 0: all
}

// checkMatch says whether a change that names match may go on.
func checkMatch(match string, exists bool, rev uint64) error {
	switch match {
	case MatchAny:
		return nil
	case MatchExist:
		if !exists {
			return ErrNotFound
		}
		return nil
	case MatchNew:
		if exists {
			return ErrExists
		}
		return nil
	}
	if !exists {
		return ErrNotFound
	}
	if strings.Trim(match, `"`) != strconv.FormatUint(rev, 10) {
		return ErrRevision
	}
	return nil
}

// sort of document: how a kind is read from and put into the documents.
type sort struct {
	// decode reads one strictly; rev is the revision it gets.
	decode func(name string, body []byte) (any, boot.FieldErrors)
	get    func(d *documents, name string) (value any, rev uint64, ok bool)
	put    func(d *documents, name string, value any)
	del    func(d *documents, name string)
	names  func(d *documents) []string
	stamp  func(value any, rev uint64) any
}

// sortOf makes the sort of a kind whose documents are in a map.
func sortOf[T any](docs func(*documents) *map[string]T, parts func(*T) (name *string, rev *uint64)) sort {
	return sort{
		decode: func(name string, body []byte) (any, boot.FieldErrors) {
			var v T
			if errs := decode(body, &v); len(errs) > 0 {
				return nil, errs
			}
			n, rev := parts(&v)
			if *n != "" && *n != name {
				return nil, boot.FieldErrors{{Field: "name", What: "differs from the name in the address (" + strconv.Quote(name) + "); write the same, or leave it out"}}
			}
			*n, *rev = name, 0
			return v, nil
		},
		get: func(d *documents, name string) (any, uint64, bool) {
			v, ok := (*docs(d))[name]
			_, rev := parts(&v)
			return v, *rev, ok
		},
		put: func(d *documents, name string, value any) {
			m := docs(d)
			*m = with(*m, name, value.(T))
		},
		del: func(d *documents, name string) {
			m := docs(d)
			*m = less(*m, name)
		},
		names: func(d *documents) []string {
			names := make([]string, 0, len(*docs(d)))
			for n := range *docs(d) {
				names = append(names, n)
			}
			slices.Sort(names)
			return names
		},
		stamp: func(value any, rev uint64) any {
			v := value.(T)
			_, r := parts(&v)
			*r = rev
			return v
		},
	}
}

var sorts = map[string]sort{
	kindTargets: sortOf(func(d *documents) *map[string]boot.Target { return &d.Targets },
		func(t *boot.Target) (*string, *uint64) { return &t.Name, &t.Rev }),
	kindProfiles: sortOf(func(d *documents) *map[string]boot.Profile { return &d.Profiles },
		func(p *boot.Profile) (*string, *uint64) { return &p.Name, &p.Rev }),
	kindGroups: sortOf(func(d *documents) *map[string]boot.Group { return &d.Groups },
		func(g *boot.Group) (*string, *uint64) { return &g.Name, &g.Rev }),
	kindRules: sortOf(func(d *documents) *map[string]boot.SelectRule { return &d.Rules },
		func(r *boot.SelectRule) (*string, *uint64) { return &r.Name, &r.Rev }),
	kindTemplates: sortOf(func(d *documents) *map[string]boot.Template { return &d.Templates },
		func(t *boot.Template) (*string, *uint64) { return &t.Name, &t.Rev }),
	kindSite: {
		decode: func(_ string, body []byte) (any, boot.FieldErrors) {
			s := boot.Site{}
			if errs := decode(body, &s); len(errs) > 0 {
				return nil, errs
			}
			s.Rev = 0
			return s, nil
		},
		get: func(d *documents, name string) (any, uint64, bool) {
			return d.Site, d.Site.Rev, name == kindSite
		},
		put:   func(d *documents, _ string, value any) { d.Site = value.(boot.Site) },
		del:   func(d *documents, _ string) { d.Site = defaultSite() },
		names: func(*documents) []string { return []string{kindSite} },
		stamp: func(value any, rev uint64) any {
			s := value.(boot.Site)
			s.Rev = rev
			return s
		},
	},
}

// catalogKinds are the kinds in sorts, in the order in which they are loaded.
var catalogKinds = []string{kindSite, kindTargets, kindTemplates, kindProfiles, kindGroups, kindRules}

// decode reads a JSON document strictly: unknown names are mistakes.
func decode(body []byte, v any) boot.FieldErrors {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	err := d.Decode(v)
	if err == nil {
		if _, err = d.Token(); errors.Is(err, io.EOF) {
			return nil
		}
		err = errors.New("there is something after the document's end")
	}
	field, what := "(root)", strings.TrimPrefix(err.Error(), "json: ")
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) && wrong.Field != "" {
		field, what = wrong.Field, "want "+wrong.Type.String()+", not "+wrong.Value
	}
	if rest, ok := strings.CutPrefix(what, "unknown field "); ok {
		field, what = strings.Trim(rest, `"`), "unknown; remove it or correct the spelling"
	}
	return boot.FieldErrors{{Field: field, What: what}}
}

// Get returns a document. Machines are found by identifier.
func (r *Registry) Get(kind, name string) (Doc, bool) {
	if kind == kindMachines {
		r.mu.Lock()
		defer r.mu.Unlock()
		rec, ok := r.table.byID[boot.MachineID(name)]
		if !ok {
			return Doc{}, false
		}
		return Doc{kind, name, rec.m.Rev, rec.m}, true
	}
	s, ok := sorts[kind]
	if !ok {
		return Doc{}, false
	}
	d := r.snap.Load().docs
	v, rev, ok := s.get(&d, name)
	if !ok {
		return Doc{}, false
	}
	return Doc{kind, name, rev, v}, true
}

// List returns documents sorted by name, machines by identifier, and what to ask
// for After next; "" when there are no more.
func (r *Registry) List(kind string, q Query) (docs []Doc, next string) {
	var names []string
	if kind == kindMachines {
		r.mu.Lock()
		for id := range r.table.byID {
			names = append(names, string(id))
		}
		r.mu.Unlock()
		slices.Sort(names)
	} else if s, ok := sorts[kind]; ok {
		d := r.snap.Load().docs
		names = s.names(&d)
	}
	if q.After != "" {
		i, found := slices.BinarySearch(names, q.After)
		if found {
			i++
		}
		names = names[i:]
	}
	docs = []Doc{}
	for i, n := range names {
		if q.Limit > 0 && len(docs) == q.Limit {
			return docs, names[i-1]
		}
		if d, ok := r.Get(kind, n); ok {
			docs = append(docs, d)
		}
	}
	return docs, ""
}

// nextRev gives out a revision. Revisions are never given twice, also not after
// a document was deleted and made again. The mutex is held.
func (r *Registry) nextRev() (uint64, document) {
	r.rev++
	return r.rev, document{kindMeta, metaName, meta{Rev: r.rev}}
}

// meta is what the registry keeps about itself.
type meta struct {
	Rev uint64 `json:"rev"`
}

// Put stores a document: body is its JSON. The change is durable when Put
// returns. A machine with an empty name is given one. Nothing is written when
// the document is there just so. Errors: ErrNotFound, ErrRevision, ErrExists,
// boot.FieldErrors, or why it could not be written.
func (r *Registry) Put(kind, name string, body []byte, match string) (Doc, bool, error) {
	r.opMu.Lock()
	defer r.opMu.Unlock()
	if kind == kindMachines {
		return r.putMachine(name, body, match)
	}
	s, ok := sorts[kind]
	if !ok || kind == kindSite && name != kindSite {
		return Doc{}, false, ErrNotFound
	}
	before := r.snap.Load()
	d := before.docs
	old, rev, exists := s.get(&d, name)
	if err := checkMatch(match, exists, rev); err != nil {
		return Doc{}, false, err
	}
	v, errs := s.decode(name, body)
	if len(errs) > 0 {
		return Doc{}, false, errs
	}
	if exists && same(s.stamp(v, rev), old) && rev != 0 {
		return Doc{kind, name, rev, old}, false, nil
	}
	r.mu.Lock()
	rev, note := r.nextRev()
	r.mu.Unlock()
	v = s.stamp(v, rev)
	s.put(&d, name, v)
	doc := document{store.Kind(kind), name, v}
	if err := r.changeCatalog(before, d, docKey(kind, name), doc, note); err != nil {
		return Doc{}, false, err
	}
	r.tell(boot.Event{Kind: boot.KindOperator, Text: docKey(kind, name) + " was changed"})
	return Doc{kind, name, rev, v}, !exists, nil
}

// docKey is a document as errors and references name it.
func docKey(kind, name string) string {
	if kind == kindSite {
		return kindSite
	}
	return kind + "/" + name
}

// changeCatalog checks the changed documents, writes and takes them.
func (r *Registry) changeCatalog(before *snapshot, d documents, key string, docs ...document) error {
	after, errs := newSnapshot(before, d)
	_, had := newSnapshot(before, before.docs)
	if bad := refusals(key, had, errs); len(bad) > 0 {
		return bad
	}
	return r.do(&task{
		keys:      []string{keyOperator},
		prepare:   func() ([]document, func(), error) { return docs, func() { r.snap.Store(after) }, nil },
		abandoned: func() { r.stale(docs) },
	}, operatorTimeout)
}

// stale remembers documents of which the store may hold something that is not
// so. The mutex is held.
func (r *Registry) stale(docs []document) {
	for _, d := range docs {
		if d.kind == kindMachines {
			if _, ok := r.table.byID[boot.MachineID(d.name)]; ok {
				r.table.touch(boot.MachineID(d.name))
			} else {
				r.table.gone[boot.MachineID(d.name)] = struct{}{}
			}
			continue
		}
		if _, ok := sorts[string(d.kind)]; ok {
			r.doubtful[docID{string(d.kind), d.name}] = struct{}{}
		}
	}
}

// docID names a document of the catalog.
type docID struct{ kind, name string }

// same compares documents as they are written.
func same(a, b any) bool {
	x, err := json.Marshal(a)
	if err != nil {
		return false
	}
	y, err := json.Marshal(b)
	return err == nil && bytes.Equal(x, y)
}

// Delete removes a document, durably. The site is set back to what it was at
// first. The error is ErrInUse as long as something refers to it.
func (r *Registry) Delete(kind, name, match string) error {
	r.opMu.Lock()
	defer r.opMu.Unlock()
	if kind == kindMachines {
		return r.deleteMachine(boot.MachineID(name), match)
	}
	s, ok := sorts[kind]
	if !ok {
		return ErrNotFound
	}
	before := r.snap.Load()
	d := before.docs
	_, rev, exists := s.get(&d, name)
	if !exists {
		return ErrNotFound
	}
	if err := checkMatch(match, exists, rev); err != nil {
		return err
	}
	by := before.catalog.UsedBy(kind, name)
	by = append(by, r.machinesWith(kind, name)...)
	if len(by) > 0 {
		return ErrInUse{By: by}
	}
	s.del(&d, name)
	r.mu.Lock()
	_, note := r.nextRev()
	r.mu.Unlock()
	err := r.changeCatalog(before, d, docKey(kind, name), document{store.Kind(kind), name, nil}, note)
	if err != nil {
		return err
	}
	r.tell(boot.Event{Kind: boot.KindOperator, Text: docKey(kind, name) + " was deleted"})
	return nil
}

// maxUsers bounds the machines that an error names.
const maxUsers = 20

// machinesWith are the machines that refer to a group or profile. An assignment
// that is over does not count.
func (r *Registry) machinesWith(kind, name string) []string {
	var by []string
	r.mu.Lock()
	for id, rec := range r.table.byID {
		a := rec.m.Assignment
		if kind == kindGroups && slices.Contains(rec.m.Groups, name) || kind == kindProfiles && a != nil && a.Profile == name && !a.Over() {
			by = append(by, keyMachine(id))
		}
	}
	r.mu.Unlock()
	slices.Sort(by)
	if len(by) > maxUsers {
		more := len(by) - maxUsers
		by = append(by[:maxUsers], "and "+strconv.Itoa(more)+" more machines")
	}
	return by
}
