package admin

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// singular names one document of a kind in sentences.
var singular = map[string]string{
	KindMachines: "machine", KindTargets: "target", KindProfiles: "profile", KindGroups: "group",
	KindRules: "rule", KindTemplates: "template", KindSite: "settings",
}

// subject names a document in sentences.
func subject(kind, name string) string {
	if kind == KindSite {
		return "The settings document"
	}
	return "The " + singular[kind] + " " + strconv.Quote(name)
}

// newDoc returns a pointer to an empty document of the kind.
func newDoc(kind string) any {
	switch kind {
	case KindMachines:
		return &boot.Machine{}
	case KindTargets:
		return &boot.Target{}
	case KindProfiles:
		return &boot.Profile{}
	case KindGroups:
		return &boot.Group{}
	case KindRules:
		return &boot.SelectRule{}
	case KindTemplates:
		return &boot.Template{}
	default:
		return &boot.Site{}
	}
}

// operators leaves in a document what the operator says: name and revision are
// those of the address and of the registry, observations those of the box.
// It works on what newDoc returns.
func operators(v any, name string) {
	switch d := v.(type) {
	case *boot.Machine:
		d.ID, d.Rev = boot.MachineID(name), 0
		d.Assignment, d.Seen, d.First, d.Last, d.Boots = nil, boot.Sighting{}, time.Time{}, time.Time{}, 0
		macs := make([]boot.NIC, 0, len(d.MACs))
		for _, n := range d.MACs {
			macs = append(macs, boot.NIC{MAC: n.MAC, Given: n.Given})
		}
		d.MACs = macs
	case *boot.Target:
		d.Name, d.Rev = name, 0
	case *boot.Profile:
		d.Name, d.Rev = name, 0
	case *boot.Group:
		d.Name, d.Rev = name, 0
	case *boot.SelectRule:
		d.Name, d.Rev = name, 0
	case *boot.Template:
		d.Name, d.Rev = name, 0
	case *boot.Site:
		d.Rev = 0
	}
}

// ownName is the name that a document says it has, and the field it says it in.
func ownName(v any) (field, name string) {
	switch d := v.(type) {
	case *boot.Machine:
		return "id", string(d.ID)
	case *boot.Target:
		return "name", d.Name
	case *boot.Profile:
		return "name", d.Name
	case *boot.Group:
		return "name", d.Name
	case *boot.SelectRule:
		return "name", d.Name
	case *boot.Template:
		return "name", d.Name
	}
	return "", ""
}

// goodName says whether a text of an address can be a document's name at all;
// the registry is stricter. Nothing else ever reaches it or the trees.
func goodName(s string) bool {
	if s == "" || len(s) > maxName || s[0] == '.' {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		plain := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r)
		return !plain
	})
}

func badName(field string) *Problem {
	return fieldsProblem(boot.FieldErrors{{Field: field, What: "want letters, digits, dots, dashes and underscores, at most " + strconv.Itoa(maxName) + ", the first no dot"}})
}

// find reads a document.
func (a *api) find(kind, name string) (Doc, *Problem) {
	reg, p := a.registry()
	if p != nil {
		return Doc{}, p
	}
	if goodName(name) {
		if d, ok := reg.Get(kind, name); ok {
			return d, nil
		}
	}
	return Doc{}, causeNotFound.problem(subject(kind, name) + " does not exist.")
}

// docTag is the opaque part of a document's entity tag as the caller sees it.
func docTag(d Doc, trusted bool) string {
	if !trusted && !reflect.DeepEqual(d.Value, masked(d.Value)) {
		return revTag(d.Rev) + maskedSuffix
	}
	return revTag(d.Rev)
}

// writeDoc answers with a document.
func writeDoc(w http.ResponseWriter, c *call, code int, d Doc) {
	tag := docTag(d, c.trusted)
	w.Header().Set("ETag", quoted(tag))
	// A machine's observations change without its revision.
	if c.method() == http.MethodGet && d.Kind != KindMachines && unchanged(c.Request, tag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	v := d.Value
	if !c.trusted {
		v = masked(v)
	}
	writeJSON(w, code, v)
}

// method is the route's: HEAD counts as GET.
func (c *call) method() string { return c.route.method }

func getOf(kind string) func(*api, http.ResponseWriter, *call) {
	return func(a *api, w http.ResponseWriter, c *call) { a.getDoc(w, c, kind, c.PathValue("name")) }
}

func (a *api) getDoc(w http.ResponseWriter, c *call, kind, name string) {
	d, p := a.find(kind, name)
	if p != nil {
		p.write(w, c.Request)
		return
	}
	writeDoc(w, c, http.StatusOK, d)
}

func putOf(kind string) func(*api, http.ResponseWriter, *call) {
	return func(a *api, w http.ResponseWriter, c *call) { a.putDoc(w, c, kind, c.PathValue("name")) }
}

func (a *api) getSite(w http.ResponseWriter, c *call) { a.getDoc(w, c, KindSite, KindSite) }
func (a *api) putSite(w http.ResponseWriter, c *call) { a.putDoc(w, c, KindSite, KindSite) }

// putDoc stores a document.
func (a *api) putDoc(w http.ResponseWriter, c *call, kind, name string) {
	d, created, p := a.store(w, c, kind, name)
	if p != nil {
		p.write(w, c.Request)
		return
	}
	code := http.StatusOK
	if created && kind != KindSite {
		code = http.StatusCreated
		w.Header().Set("Location", prefix+"/"+kind+"/"+url.PathEscape(d.Name))
	}
	writeDoc(w, c, code, d)
}

// store checks a document from a request and gives it to the registry. What is
// there already in the same words is left as it is, whatever the caller knew
// of it: PUT is idempotent.
func (a *api) store(w http.ResponseWriter, c *call, kind, name string) (d Doc, created bool, p *Problem) {
	reg, p := a.registry()
	if p != nil {
		return Doc{}, false, p
	}
	want, p := readConditions(c.Request)
	if p != nil {
		return Doc{}, false, p
	}
	v := newDoc(kind)
	body, p := readJSON(w, c.Request, v)
	if p != nil {
		return Doc{}, false, p
	}
	field, own := ownName(v)
	switch {
	case !goodName(name):
		return Doc{}, false, badName(field)
	case own != "" && own != name:
		return Doc{}, false, fieldsProblem(boot.FieldErrors{{Field: field, What: "is " + strconv.Quote(name) + " in the address; write the same or leave it out"}})
	}
	if errs := checkMasked(v); len(errs) > 0 {
		return Doc{}, false, fieldsProblem(errs)
	}
	had, exists := reg.Get(kind, name)
	match, p := want.writing(subject(kind, name), exists, revTag(had.Rev), true)
	if p != nil {
		if p.Reason == causeCondition && sameWords(had.Value, v, body, name) {
			return had, false, nil
		}
		return Doc{}, false, p
	}
	d, created, err := reg.Put(kind, name, body, match)
	switch {
	case err == nil:
		return d, created, nil
	case errors.Is(err, ErrExists) && !want.noneMatch.given:
		// Somebody else made it since we looked.
		return Doc{}, false, causeCondition.problem(subject(kind, name) + " exists already. To change it, send the ETag that you have read in If-Match.")
	case errors.Is(err, ErrNotFound):
		err = ErrRevision // it was there, or must be there
	}
	return Doc{}, false, a.explain(subject(kind, name), err)
}

// sameWords says whether the stored value says what the body says, which was
// read as v. The identity of a machine that a body leaves out stays as it is.
func sameWords(stored, v any, body []byte, name string) bool {
	p := reflect.New(reflect.TypeOf(stored))
	p.Elem().Set(reflect.ValueOf(stored))
	had, isMachine := p.Interface().(*boot.Machine)
	if now, ok := v.(*boot.Machine); ok && isMachine {
		given := map[string]json.RawMessage{}
		if json.Unmarshal(body, &given) != nil {
			return false
		}
		if given["uuid"] == nil {
			now.GUID = had.GUID
		}
		if given["serial"] == nil {
			now.Serial = had.Serial
		}
		if given["macs"] == nil {
			now.MACs = had.MACs
		}
	}
	operators(p.Interface(), name)
	operators(v, name)
	x, err := json.Marshal(p.Interface())
	if err != nil {
		return false
	}
	y, err := json.Marshal(v)
	return err == nil && string(x) == string(y)
}

func deleteOf(kind string) func(*api, http.ResponseWriter, *call) {
	return func(a *api, w http.ResponseWriter, c *call) {
		if p := a.remove(c, kind, c.PathValue("name")); p != nil {
			p.write(w, c.Request)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}
}

func (a *api) remove(c *call, kind, name string) *Problem {
	reg, p := a.registry()
	if p != nil {
		return p
	}
	want, p := readConditions(c.Request)
	if p != nil {
		return p
	}
	d, p := a.find(kind, name)
	if p != nil && !want.match.given {
		return p
	}
	match, p := want.writing(subject(kind, name), p == nil, revTag(d.Rev), false)
	if p != nil {
		return p
	}
	if err := reg.Delete(kind, name, match); err != nil {
		return a.explain(subject(kind, name), err)
	}
	return nil
}

// machineFilters are the parameters that choose among machines.
var machineFilters = []string{"q", "mac", "uuid", "serial", "tag", "group"}

// machineFilter makes a test of the parameters; nil when none is given.
func machineFilter(c *call) (func(boot.Machine) bool, *Problem) {
	q := c.URL.Query()
	var tests []func(boot.Machine) bool
	text := func(name string, has func(m boot.Machine, v string) bool) {
		if v := q.Get(name); v != "" {
			tests = append(tests, func(m boot.Machine) bool { return has(m, v) })
		}
	}
	if s := q.Get("mac"); s != "" {
		mac, err := boot.ParseMAC(s)
		if err != nil {
			return nil, queryProblem(boot.FieldError{Field: "mac", What: err.Error()})
		}
		tests = append(tests, func(m boot.Machine) bool {
			for _, n := range m.MACs {
				if n.MAC == mac {
					return true
				}
			}
			return false
		})
	}
	if s := q.Get("uuid"); s != "" {
		id, err := boot.ParseGUID(s)
		if err != nil {
			return nil, queryProblem(boot.FieldError{Field: "uuid", What: err.Error()})
		}
		tests = append(tests, func(m boot.Machine) bool { return id.Matches(m.GUID) || id.Matches(m.Seen.GUID) })
	}
	text("serial", func(m boot.Machine, v string) bool {
		return strings.EqualFold(m.Serial, v) || strings.EqualFold(m.Seen.Serial, v)
	})
	text("tag", func(m boot.Machine, v string) bool { return hasFold(m.Tags, v) })
	text("group", func(m boot.Machine, v string) bool { return hasFold(m.Groups, v) })
	text("q", func(m boot.Machine, v string) bool { return mentions(m, strings.ToLower(v)) })
	if len(tests) == 0 {
		return nil, nil
	}
	return func(m boot.Machine) bool {
		for _, ok := range tests {
			if !ok(m) {
				return false
			}
		}
		return true
	}, nil
}

func hasFold(list []string, v string) bool {
	for _, s := range list {
		if strings.EqualFold(s, v) {
			return true
		}
	}
	return false
}

// mentions says whether the machine's record has the text v, in lower case,
// where people look for it.
func mentions(m boot.Machine, v string) bool {
	all := []string{
		string(m.ID), m.Name, m.Notes, m.Serial, m.Seen.Serial, m.Seen.Manufacturer, m.Seen.Product,
		m.Seen.Asset, m.Seen.Hostname, m.Seen.ArchName, m.GUID.String(), m.Seen.GUID.String(),
	}
	for _, n := range m.MACs {
		all = append(all, string(n.MAC))
	}
	if m.Seen.Addr.IsValid() {
		all = append(all, m.Seen.Addr.String())
	}
	for _, s := range append(all, m.Tags...) {
		if strings.Contains(strings.ToLower(s), v) {
			return true
		}
	}
	return false
}

func listOf(kind string) func(*api, http.ResponseWriter, *call) {
	return func(a *api, w http.ResponseWriter, c *call) {
		var keep func(Doc) bool
		var p *Problem
		if kind == KindMachines {
			keep, p = keepMachines(c, nil)
		}
		if p != nil {
			p.write(w, c.Request)
			return
		}
		a.listDocs(w, c, kind, keep, func(d Doc) any {
			if c.trusted {
				return d.Value
			}
			return masked(d.Value)
		})
	}
}

// keepMachines makes a test of documents from the parameters and one more test,
// which may be nil; nil when every machine passes.
func keepMachines(c *call, also func(boot.Machine) bool) (func(Doc) bool, *Problem) {
	filter, p := machineFilter(c)
	if p != nil || filter == nil && also == nil {
		return nil, p
	}
	return func(d Doc) bool {
		m, ok := d.Value.(boot.Machine)
		return ok && (filter == nil || filter(m)) && (also == nil || also(m))
	}, nil
}

// listDocs answers with a page of the documents that keep lets through (nil:
// all), each as show has it.
func (a *api) listDocs(w http.ResponseWriter, c *call, kind string, keep func(Doc) bool, show func(Doc) any) {
	docs, next, p := a.page(c, kind, keep)
	if p != nil {
		p.write(w, c.Request)
		return
	}
	writeList(w, c, len(docs), next, func(i int) any { return show(docs[i]) })
}

// page gathers a page of documents.
func (a *api) page(c *call, kind string, keep func(Doc) bool) (docs []Doc, next string, p *Problem) {
	reg, p := a.registry()
	if p != nil {
		return nil, "", p
	}
	limit, after, p := pageOf(c)
	if p != nil {
		return nil, "", p
	}
	give, p := take(c.Context(), a.gather)
	if p != nil {
		return nil, "", p
	}
	defer give()
	chunk := limit
	if keep != nil {
		chunk = scanned
	}
	for {
		some, more := reg.List(kind, Query{After: after, Limit: chunk})
		if keep == nil {
			return some, more, nil
		}
		for _, d := range some {
			if !keep(d) {
				continue
			}
			if len(docs) == limit {
				return docs, docs[limit-1].Name, nil
			}
			docs = append(docs, d)
		}
		if more == "" || more == after || c.Context().Err() != nil {
			return docs, "", nil
		}
		after = more
	}
}

// pageOf reads the parameters of a page.
func pageOf(c *call) (limit int, after string, p *Problem) {
	if limit, p = number(c, "limit", defaultPer, 1, maxPer); p != nil {
		return 0, "", p
	}
	after = c.URL.Query().Get("after")
	if after != "" && !goodName(after) {
		return 0, "", queryProblem(boot.FieldError{Field: "after", What: "want the value of next of the page before"})
	}
	return limit, after, nil
}

// writeList answers with n items and a link to the next page. They are written
// one by one: the whole as one text would be many times as large as what it is
// made of, for every reader at once.
func writeList(w http.ResponseWriter, c *call, n int, next string, item func(i int) any) {
	h := w.Header()
	h.Set("Content-Type", typeJSON)
	if next != "" {
		q := c.URL.Query()
		q.Set("after", next)
		h.Set("Link", fmt.Sprintf("<%s?%s>; rel=\"next\"", c.URL.EscapedPath(), q.Encode()))
	}
	if c.Method == http.MethodHead {
		return
	}
	out := bufio.NewWriterSize(w, 8<<10)
	fmt.Fprint(out, "{\n  \"items\": [")
	separator := "\n    "
	for i := range n {
		data, err := json.Marshal(item(i))
		if err != nil {
			continue // none can be like that; the others still count
		}
		fmt.Fprint(out, separator)
		if _, err := out.Write(data); err != nil {
			return // the reader has gone
		}
		separator = ",\n    "
	}
	end, err := json.Marshal(next)
	if err == nil && next != "" {
		fmt.Fprintf(out, "\n  ],\n  \"next\": %s\n}\n", end)
	} else {
		fmt.Fprint(out, "\n  ]\n}\n")
	}
	_ = out.Flush()
}

// observation is what was seen of a machine, without what the operator says.
type observation struct {
	Machine boot.MachineID `json:"machine"`
	Name    string         `json:"name,omitempty"`
	GUID    boot.GUID      `json:"uuid,omitzero"`
	Serial  string         `json:"serial,omitempty"`
	MACs    []boot.NIC     `json:"macs,omitempty"`
	Seen    boot.Sighting  `json:"seen,omitzero"`
	First   time.Time      `json:"first_seen,omitzero"`
	Last    time.Time      `json:"last_seen,omitzero"`
	Boots   uint64         `json:"boots,omitempty"`
}

func observationOf(m boot.Machine) observation {
	return observation{m.ID, m.Name, m.GUID, m.Serial, m.MACs, m.Seen, m.First, m.Last, m.Boots}
}

func (a *api) listObservations(w http.ResponseWriter, c *call) {
	keep, p := keepMachines(c, nil)
	if p != nil {
		p.write(w, c.Request)
		return
	}
	a.listDocs(w, c, KindMachines, keep, func(d Doc) any {
		m, _ := d.Value.(boot.Machine)
		return observationOf(m)
	})
}

func (a *api) getObservation(w http.ResponseWriter, c *call) {
	m, p := a.machine(c)
	if p != nil {
		p.write(w, c.Request)
		return
	}
	writeJSON(w, http.StatusOK, observationOf(m))
}

// machine finds the machine of the address.
func (a *api) machine(c *call) (boot.Machine, *Problem) {
	d, p := a.find(KindMachines, c.PathValue("name"))
	if p != nil {
		return boot.Machine{}, p
	}
	m, _ := d.Value.(boot.Machine)
	m.Rev = d.Rev
	return m, nil
}

// machineAssignment is an assignment with the machine that has it.
type machineAssignment struct {
	Machine    boot.MachineID   `json:"machine"`
	Name       string           `json:"name,omitempty"`
	Rev        uint64           `json:"rev"` // the machine's
	Assignment *boot.Assignment `json:"assignment"`
}

func (a *api) listAssignments(w http.ResponseWriter, c *call) {
	keep, p := keepMachines(c, func(m boot.Machine) bool { return m.Assignment != nil })
	if p != nil {
		p.write(w, c.Request)
		return
	}
	a.listDocs(w, c, KindMachines, keep, func(d Doc) any {
		m, _ := d.Value.(boot.Machine)
		return machineAssignment{m.ID, m.Name, d.Rev, m.Assignment}
	})
}
