package admin

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// maxQuirkFile bounds a quirk file, in octets.
const maxQuirkFile = 1 << 20

func (a *api) quirks() (Quirks, *Problem) {
	if a.Backend.Quirks == nil {
		return nil, causeStarting.problem("The box is still reading its records; ask again in a moment.")
	}
	return a.Backend.Quirks, nil
}

func quirkSubject(id string) string { return "The model " + strconv.Quote(id) }

func (a *api) listQuirks(w http.ResponseWriter, c *call) {
	quirks, p := a.quirks()
	if p != nil {
		p.write(w, c.Request)
		return
	}
	limit, after, p := pageOf(c)
	if p != nil {
		p.write(w, c.Request)
		return
	}
	list := slices.DeleteFunc(slices.Clone(quirks.List()), func(q Quirk) bool { return q.ID <= after })
	slices.SortFunc(list, func(x, y Quirk) int { return strings.Compare(x.ID, y.ID) })
	next := ""
	if len(list) > limit {
		list = list[:limit]
		next = list[limit-1].ID
	}
	writeList(w, c, len(list), next, func(i int) any { return list[i] })
}

// quirk finds the model of the address.
func (a *api) quirk(c *call) (Quirks, Quirk, *Problem) {
	quirks, p := a.quirks()
	if p != nil {
		return nil, Quirk{}, p
	}
	id := c.PathValue("id")
	if goodName(id) {
		if q, ok := quirks.Get(id); ok {
			return quirks, q, nil
		}
	}
	return quirks, Quirk{}, causeNotFound.problem(quirkSubject(id) + " does not exist.")
}

// quirkTag is the opaque part of a model's entity tag: of what an operator can
// change. The counters run on by themselves.
func quirkTag(q Quirk) string {
	data, err := json.Marshal(Quirk{Shape: q.Shape, Pinned: q.Pinned, Note: q.Note})
	if err != nil { // texts and numbers only: cannot be
		return "0"
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:8])
}

func writeQuirk(w http.ResponseWriter, code int, q Quirk) {
	w.Header().Set("ETag", quoted(quirkTag(q)))
	writeJSON(w, code, q)
}

func (a *api) getQuirk(w http.ResponseWriter, c *call) {
	_, q, p := a.quirk(c)
	if p != nil {
		p.write(w, c.Request)
		return
	}
	writeQuirk(w, http.StatusOK, q)
}

// checkShape finds what is wrong with a shape that the operator wants.
func checkShape(s boot.Shape) (errs boot.FieldErrors) {
	for _, e := range s.Check() {
		errs = append(errs, boot.FieldError{Field: "shape." + e.Field, What: e.What})
	}
	return errs
}

// putQuirk pins a known model to a shape.
func (a *api) putQuirk(w http.ResponseWriter, c *call) {
	q, p := a.pin(w, c)
	if p != nil {
		p.write(w, c.Request)
		return
	}
	writeQuirk(w, http.StatusOK, q)
}

func (a *api) pin(w http.ResponseWriter, c *call) (Quirk, *Problem) {
	want, p := readConditions(c.Request)
	if p != nil {
		return Quirk{}, p
	}
	var body Quirk
	if _, p = readJSON(w, c.Request, &body); p != nil {
		return Quirk{}, p
	}
	// Nobody else may pin between the look and the change. What the machines
	// teach meanwhile counts less than the operator's word.
	a.pinning.Lock()
	defer a.pinning.Unlock()
	quirks, had, p := a.quirk(c)
	if p != nil {
		return Quirk{}, p
	}
	errs := checkShape(body.Shape)
	for _, f := range []struct{ name, given, own string }{
		{"id", body.ID, had.ID}, {"class", body.Class, had.Class}, {"oui", body.OUI, had.OUI}, {"product", body.Product, had.Product},
	} {
		if f.given != "" && f.given != f.own {
			errs = append(errs, boot.FieldError{Field: f.name, What: "is another model's; leave it out, or pin that one"})
		}
	}
	if len(errs) > 0 {
		return Quirk{}, fieldsProblem(errs)
	}
	if _, p = want.writing(quirkSubject(had.ID), true, quirkTag(had), true); p != nil {
		if p.Reason == causeCondition && had.Pinned && had.Shape == body.Shape && had.Note == body.Note {
			return had, nil
		}
		return Quirk{}, p
	}
	if err := quirks.Pin(had.ID, body.Shape, body.Note); err != nil {
		return Quirk{}, a.explain(quirkSubject(had.ID), err)
	}
	if q, ok := quirks.Get(had.ID); ok {
		return q, nil
	}
	return Quirk{}, causeRevision.problem(quirkSubject(had.ID) + " does not exist (any more).")
}

// modelBody pins a model that is named by its parts.
type modelBody struct {
	Class   string     `json:"class,omitempty"`
	OUI     string     `json:"oui,omitempty"`
	Product string     `json:"product,omitempty"`
	Shape   boot.Shape `json:"shape"`
	Note    string     `json:"note,omitempty"`
}

// postQuirk pins a model that need not have been seen yet.
func (a *api) postQuirk(w http.ResponseWriter, c *call) {
	q, created, p := a.pinModel(w, c)
	if p != nil {
		p.write(w, c.Request)
		return
	}
	code := http.StatusOK
	w.Header().Set("Location", prefix+"/quirks/"+url.PathEscape(q.ID))
	if created {
		code = http.StatusCreated
	}
	writeQuirk(w, code, q)
}

func (a *api) pinModel(w http.ResponseWriter, c *call) (Quirk, bool, *Problem) {
	fail := func(p *Problem) (Quirk, bool, *Problem) { return Quirk{}, false, p }
	quirks, p := a.quirks()
	if p != nil {
		return fail(p)
	}
	var body modelBody
	if _, p = readJSON(w, c.Request, &body); p != nil {
		return fail(p)
	}
	errs := checkShape(body.Shape)
	if body.Class == "" && body.OUI == "" && body.Product == "" {
		errs = append(errs, boot.FieldError{Field: "class", What: "missing; write at least one of class, oui and product"})
	}
	oui, ok := parseOUI(body.OUI)
	if !ok {
		errs = append(errs, boot.FieldError{Field: "oui", What: "want the first three octets of a hardware address like 52:54:00"})
	}
	if len(errs) > 0 {
		return fail(fieldsProblem(errs))
	}
	a.pinning.Lock()
	defer a.pinning.Unlock()
	before := quirks.List()
	q, err := quirks.PinModel(body.Class, oui, body.Product, body.Shape, body.Note)
	if err != nil {
		return fail(a.explain("The model", err))
	}
	return q, !slices.ContainsFunc(before, func(b Quirk) bool { return b.ID == q.ID }), nil
}

// parseOUI reads the first half of a hardware address in its usual spellings and
// returns it with colons; an empty one stays empty.
func parseOUI(s string) (string, bool) {
	if s == "" {
		return "", true
	}
	if plain := strings.NewReplacer(":", "", "-", "", ".", "").Replace(s); len(plain) == 6 {
		if mac, err := boot.ParseMAC(plain[:2] + ":" + plain[2:4] + ":" + plain[4:] + ":00:00:00"); err == nil {
			return mac.Vendor(), true
		}
	}
	return "", false
}

// deleteQuirk forgets what was learned of a model, and its pin.
func (a *api) deleteQuirk(w http.ResponseWriter, c *call) {
	if p := a.reset(c); p != nil {
		p.write(w, c.Request)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (a *api) reset(c *call) *Problem {
	want, p := readConditions(c.Request)
	if p != nil {
		return p
	}
	a.pinning.Lock()
	defer a.pinning.Unlock()
	quirks, had, p := a.quirk(c)
	if p != nil && (quirks == nil || !want.match.given) {
		return p
	}
	if _, p = want.writing(quirkSubject(c.PathValue("id")), p == nil, quirkTag(had), false); p != nil {
		return p
	}
	if err := quirks.Reset(had.ID); err != nil {
		return a.explain(quirkSubject(had.ID), err)
	}
	return nil
}

// getQuirkFile answers with all models as a signed file.
func (a *api) getQuirkFile(w http.ResponseWriter, c *call) {
	quirks, p := a.quirks()
	if p != nil {
		p.write(w, c.Request)
		return
	}
	var b bytes.Buffer
	if err := quirks.Export(&b); err != nil {
		a.explain("The quirk file", err).write(w, c.Request)
		return
	}
	h := w.Header()
	h.Set("Content-Type", typeJSON)
	h.Set("Content-Disposition", `attachment; filename="bootpuck-quirks.json"`)
	h.Set("Content-Length", strconv.Itoa(b.Len()))
	_, _ = w.Write(b.Bytes())
}

// postQuirkFile takes over the models of a signed file. What the file says is
// the importer's to judge: its signature is over every octet.
func (a *api) postQuirkFile(w http.ResponseWriter, c *call) {
	out, p := a.loadQuirks(w, c)
	if p != nil {
		p.write(w, c.Request)
		return
	}
	writeJSON(w, http.StatusOK, out)
}

func (a *api) loadQuirks(w http.ResponseWriter, c *call) (importResult, *Problem) {
	quirks, p := a.quirks()
	if p != nil {
		return importResult{}, p
	}
	data, p := readAll(w, c.Request, maxQuirkFile)
	if p != nil {
		return importResult{}, p
	}
	a.pinning.Lock()
	defer a.pinning.Unlock()
	list, err := quirks.Import(data)
	if err != nil {
		return importResult{}, a.explain("The quirk file", err)
	}
	return importResult{Applied: true, Differences: orEmpty(list)}, nil
}
