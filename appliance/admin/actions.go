package admin

import (
	"bytes"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// writeAssignment answers with a machine's assignment. Its entity tag is the
// machine's revision.
func writeAssignment(w http.ResponseWriter, code int, a boot.Assignment, rev uint64) {
	w.Header().Set("ETag", quoted(revTag(rev)))
	writeJSON(w, code, a)
}

func (a *api) getAssignment(w http.ResponseWriter, c *call) {
	m, p := a.machine(c)
	if p == nil && m.Assignment == nil {
		p = causeNotFound.problem(subject(KindMachines, string(m.ID)) + " has no assignment.")
	}
	if p != nil {
		p.write(w, c.Request)
		return
	}
	writeAssignment(w, http.StatusOK, *m.Assignment, m.Rev)
}

// putAssignment assigns a profile to a machine, or arms it. What is running or
// over counts as there: to do it again needs its ETag.
func (a *api) putAssignment(w http.ResponseWriter, c *call) {
	m, assigned, created, p := a.assign(w, c)
	if p != nil {
		p.write(w, c.Request)
		return
	}
	code := http.StatusOK
	if created {
		code = http.StatusCreated
		w.Header().Set("Location", prefix+"/machines/"+url.PathEscape(string(m.ID))+"/assignment")
	}
	writeAssignment(w, code, assigned, m.Rev)
}

func (a *api) assign(w http.ResponseWriter, c *call) (m boot.Machine, assigned boot.Assignment, created bool, p *Problem) {
	fail := func(p *Problem) (boot.Machine, boot.Assignment, bool, *Problem) {
		return boot.Machine{}, boot.Assignment{}, false, p
	}
	reg, p := a.registry()
	if p != nil {
		return fail(p)
	}
	want, p := readConditions(c.Request)
	if p != nil {
		return fail(p)
	}
	var body boot.Assignment
	if _, p = readJSON(w, c.Request, &body); p != nil {
		return fail(p)
	}
	if m, p = a.machine(c); p != nil {
		return fail(p)
	}
	what := "The assignment of " + string(m.ID)
	exists := m.Assignment != nil
	if _, p = want.writing(what, exists, revTag(m.Rev), true); p != nil {
		return fail(p)
	}
	// Its state is the box's to say. The revision that was looked at counts,
	// even when the caller sent none: there was no assignment in it.
	body = boot.Assignment{Profile: body.Profile, Mode: body.Mode, Expires: body.Expires, Boots: body.Boots}
	assigned, err := reg.Assign(m.ID, body, revTag(m.Rev))
	if err != nil {
		return fail(a.explain(what, err))
	}
	if d, ok := reg.Get(KindMachines, string(m.ID)); ok {
		m.Rev = d.Rev
	}
	return m, assigned, !exists, nil
}

// deleteAssignment takes an assignment back, or disarms it.
func (a *api) deleteAssignment(w http.ResponseWriter, c *call) {
	if p := a.unassign(c); p != nil {
		p.write(w, c.Request)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (a *api) unassign(c *call) *Problem {
	reg, p := a.registry()
	if p != nil {
		return p
	}
	want, p := readConditions(c.Request)
	if p != nil {
		return p
	}
	m, p := a.machine(c)
	if p != nil {
		return p
	}
	what := "The assignment of " + string(m.ID)
	if m.Assignment == nil && !want.match.given {
		return causeNotFound.problem(what + " does not exist.")
	}
	match, p := want.writing(what, m.Assignment != nil, revTag(m.Rev), false)
	if p != nil {
		return p
	}
	if err := reg.Unassign(m.ID, match); err != nil {
		return a.explain(what, err)
	}
	return nil
}

// mergeBody is the body of a merge.
type mergeBody struct {
	From boot.MachineID `json:"from"`
}

// subjectOf finds the machine that an action is about and checks If-Match
// against it.
func (a *api) subjectOf(c *call) (Registry, boot.Machine, *Problem) {
	reg, p := a.registry()
	if p != nil {
		return nil, boot.Machine{}, p
	}
	want, p := readConditions(c.Request)
	if p != nil {
		return nil, boot.Machine{}, p
	}
	m, p := a.machine(c)
	if p != nil {
		return nil, boot.Machine{}, p
	}
	if want.match.given || want.noneMatch.given {
		_, p = want.writing(subject(KindMachines, string(m.ID)), true, revTag(m.Rev), false)
	}
	return reg, m, p
}

// postMerge makes one machine of two records: the address's takes in the
// other's, which is gone then.
func (a *api) postMerge(w http.ResponseWriter, c *call) {
	p := a.merge(w, c)
	if p != nil {
		p.write(w, c.Request)
		return
	}
	a.getDoc(w, c, KindMachines, c.PathValue("name"))
}

func (a *api) merge(w http.ResponseWriter, c *call) *Problem {
	var body mergeBody
	if _, p := readJSON(w, c.Request, &body); p != nil {
		return p
	}
	reg, m, p := a.subjectOf(c)
	if p != nil {
		return p
	}
	wrong := ""
	switch body.From {
	case "":
		wrong = "want the id of the machine to take in"
	case m.ID:
		wrong = "is the same machine; want another one's id"
	default:
		if _, p := a.find(KindMachines, string(body.From)); p != nil {
			wrong = "there is no such machine"
		}
	}
	if wrong != "" {
		return fieldsProblem(boot.FieldErrors{{Field: "from", What: wrong}})
	}
	if err := reg.Merge(m.ID, body.From); err != nil {
		return a.explain(subject(KindMachines, string(m.ID)), err)
	}
	return nil
}

// splitBody is the body of a split.
type splitBody struct {
	MACs []boot.MAC `json:"macs,omitempty"`
	UUID bool       `json:"uuid,omitempty"`
}

// postSplit makes a machine of its own of some hardware addresses, and of the
// identifier, of one record.
func (a *api) postSplit(w http.ResponseWriter, c *call) {
	id, p := a.split(w, c)
	if p == nil {
		var d Doc
		if d, p = a.find(KindMachines, string(id)); p == nil {
			w.Header().Set("Location", prefix+"/machines/"+url.PathEscape(string(id)))
			writeDoc(w, c, http.StatusCreated, d)
			return
		}
	}
	p.write(w, c.Request)
}

func (a *api) split(w http.ResponseWriter, c *call) (boot.MachineID, *Problem) {
	var body splitBody
	if _, p := readJSON(w, c.Request, &body); p != nil {
		return "", p
	}
	reg, m, p := a.subjectOf(c)
	if p != nil {
		return "", p
	}
	var errs boot.FieldErrors
	if len(body.MACs) == 0 && !body.UUID {
		errs = append(errs, boot.FieldError{Field: "macs", What: "want hardware addresses, or uuid: true"})
	}
	for i, text := range body.MACs {
		at := "macs[" + strconv.Itoa(i) + "]"
		mac, err := boot.ParseMAC(string(text))
		switch {
		case err != nil:
			errs = append(errs, boot.FieldError{Field: at, What: err.Error()})
		case !slices.ContainsFunc(m.MACs, func(n boot.NIC) bool { return n.MAC == mac }):
			errs = append(errs, boot.FieldError{Field: at, What: "the machine has no such address"})
		}
		body.MACs[i] = mac
	}
	if len(errs) > 0 {
		return "", fieldsProblem(errs)
	}
	id, err := reg.Split(m.ID, body.MACs, body.UUID)
	if err != nil {
		return "", a.explain(subject(KindMachines, string(m.ID)), err)
	}
	return id, nil
}

func (a *api) listRequests(w http.ResponseWriter, c *call) {
	reg, p := a.registry()
	if p != nil {
		p.write(w, c.Request)
		return
	}
	list := reg.Requests()
	writeList(w, c, len(list), "", func(i int) any { return list[i] })
}

// approveBody is the operator's word on a request.
type approveBody struct {
	Allow    *bool `json:"allow"`
	Remember bool  `json:"remember,omitempty"`
}

// postRequest lets a waiting machine boot, or not.
func (a *api) postRequest(w http.ResponseWriter, c *call) {
	if p := a.approve(w, c); p != nil {
		p.write(w, c.Request)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (a *api) approve(w http.ResponseWriter, c *call) *Problem {
	var body approveBody
	if _, p := readJSON(w, c.Request, &body); p != nil {
		return p
	}
	reg, p := a.registry()
	if p != nil {
		return p
	}
	if body.Allow == nil {
		// Neither answer may be the one for a mistyped body.
		return fieldsProblem(boot.FieldErrors{{Field: "allow", What: "want true or false"}})
	}
	code := c.PathValue("code")
	what := "A request with the code " + strconv.Quote(code)
	if !goodName(code) {
		return causeNotFound.problem(what + " does not exist.")
	}
	if err := reg.Approve(code, *body.Allow, body.Remember); err != nil {
		return a.explain(what, err)
	}
	return nil
}

// Bounds of the list of decisions.
const (
	defaultDecisions = 50
	maxDecisions     = 500
)

func (a *api) listDecisions(w http.ResponseWriter, c *call) {
	list, p := a.decisions(c)
	if p != nil {
		p.write(w, c.Request)
		return
	}
	writeList(w, c, len(list), "", func(i int) any { return list[i] })
}

func (a *api) decisions(c *call) ([]Decision, *Problem) {
	reg, p := a.registry()
	if p != nil {
		return nil, p
	}
	limit, p := number(c, "limit", defaultDecisions, 1, maxDecisions)
	if p != nil {
		return nil, p
	}
	id := boot.MachineID(c.URL.Query().Get("machine"))
	if id == "" {
		return reg.Decisions(limit), nil
	}
	list := slices.DeleteFunc(reg.Decisions(maxDecisions), func(d Decision) bool { return d.Machine != id })
	return list[:min(limit, len(list))], nil
}

// previewDoc is everything that a machine would get now.
type previewDoc struct {
	Machine boot.MachineID      `json:"machine"`
	Base    string              `json:"base"` // the boot plane as the machine reaches it
	Choice  boot.Choice         `json:"choice"`
	Plan    previewPlan         `json:"plan"`
	Replies []Reply             `json:"replies"`
	Texts   []previewText       `json:"texts"`
	Answers map[string]Rendered `json:"answers"`
}

// previewPlan is a boot.Plan without its tokens.
type previewPlan struct {
	Title   string         `json:"title,omitempty"`
	Note    string         `json:"note,omitempty"`
	Profile string         `json:"profile,omitempty"`
	Target  *boot.Target   `json:"target,omitempty"`
	Then    *boot.Target   `json:"then,omitempty"`
	Menu    []previewEntry `json:"menu,omitempty"`
	Seconds int            `json:"seconds,omitempty"`
	Default int            `json:"default"`
}

// previewEntry is a line of the menu.
type previewEntry struct {
	Title        string      `json:"title"`
	Key          string      `json:"key,omitempty"`
	Gap          bool        `json:"gap,omitempty"`
	Sub          bool        `json:"sub,omitempty"`
	Destructive  bool        `json:"destructive,omitempty"`
	Locked       bool        `json:"locked,omitempty"`
	Disabled     boot.Reason `json:"disabled,omitempty"`
	DisabledText string      `json:"disabled_text,omitempty"`
	Detail       string      `json:"detail,omitempty"`
}

// previewText is what one loader would be given.
type previewText struct {
	Loader     string      `json:"loader"`
	Action     boot.Action `json:"action"`
	Reason     boot.Reason `json:"reason,omitempty"` // why there is no text
	ReasonText string      `json:"reason_text,omitempty"`
	Text       string      `json:"text,omitempty"`
	// Then is what Text leads to when it shows the code of an armed assignment.
	Then string `json:"then,omitempty"`
}

func planOf(p boot.Plan) previewPlan {
	out := previewPlan{Title: p.Title, Note: p.Note, Profile: p.Profile.Name, Then: p.Then, Seconds: p.Seconds, Default: p.Default}
	if p.Target.Kind != "" {
		out.Target = &p.Target
	}
	for _, e := range p.Menu {
		entry := previewEntry{e.Title, e.Key, e.Gap, e.Sub, e.Destructive, e.Locked, e.Disabled, "", e.Detail}
		if e.Disabled != boot.ReasonNone {
			entry.DisabledText = e.Disabled.Text()
		}
		out.Menu = append(out.Menu, entry)
	}
	return out
}

// getPreview shows what the machine would get now. It changes nothing.
func (a *api) getPreview(w http.ResponseWriter, c *call) {
	doc, p := a.preview(c)
	if p != nil {
		p.write(w, c.Request)
		return
	}
	writeJSON(w, http.StatusOK, doc)
}

func (a *api) preview(c *call) (previewDoc, *Problem) {
	loaders := previewLoaders
	if l := c.URL.Query().Get("loader"); l != "" {
		if !slices.Contains(previewLoaders, l) {
			return previewDoc{}, queryProblem(boot.FieldError{Field: "loader", What: "want ipxe, pxelinux or grub"})
		}
		loaders = []string{l}
	}
	reg, p := a.registry()
	if p != nil {
		return previewDoc{}, p
	}
	if a.Backend.Preview == nil {
		return previewDoc{}, causeStarting.problem("The box cannot show previews yet; ask again in a moment.")
	}
	m, p := a.machine(c)
	if p != nil {
		return previewDoc{}, p
	}
	give, p := take(c.Context(), a.gather)
	if p != nil {
		return previewDoc{}, p
	}
	defer give()
	doc := previewDoc{Machine: m.ID, Base: a.Backend.Preview.Base(m), Replies: a.Backend.Preview.Replies(m), Answers: map[string]Rendered{}}
	if doc.Replies == nil {
		doc.Replies = []Reply{}
	}
	for i, loader := range loaders {
		plan, answers, err := reg.Preview(m.ID, doc.Base, loader)
		if err != nil {
			return previewDoc{}, a.explain(subject(KindMachines, string(m.ID)), err)
		}
		if plan.Choice.Steps == nil {
			plan.Choice.Steps = []boot.Step{}
		}
		if i == 0 {
			doc.Choice, doc.Plan = plan.Choice, planOf(plan)
			for name, r := range answers {
				doc.Answers[name] = r
			}
		}
		text, reason := a.Backend.Preview.Render(plan, loader, doc.Base)
		t := previewText{Loader: loader, Action: plan.Choice.Action, Reason: reason, Text: string(text)}
		if reason != boot.ReasonNone {
			t.ReasonText = reason.Text()
		}
		if plan.Choice.Action == boot.ActionArmed && reason == boot.ReasonNone {
			plan.Choice.Action = boot.ActionBoot
			then, _ := a.Backend.Preview.Render(plan, loader, doc.Base)
			t.Then = string(then)
		}
		doc.Texts = append(doc.Texts, t)
	}
	return doc, nil
}

// getExport answers with everything the operator has decided, as YAML.
func (a *api) getExport(w http.ResponseWriter, c *call) {
	data, p := a.export(c)
	if p != nil {
		p.write(w, c.Request)
		return
	}
	h := w.Header()
	h.Set("Content-Type", typeYAML)
	h.Set("Content-Disposition", `attachment; filename="bootpuck.yaml"`)
	h.Set("Content-Length", strconv.Itoa(len(data)))
	_ = http.NewResponseController(w).SetWriteDeadline(a.Now().Add(transferTime))
	_, _ = w.Write(data)
}

// export holds the place only while the text is made: a slow reader must not
// shut others out.
func (a *api) export(c *call) ([]byte, *Problem) {
	if a.Backend.Exchange == nil {
		return nil, causeStarting.problem("The box is still reading its records; ask again in a moment.")
	}
	give, p := take(c.Context(), a.exchanges)
	if p != nil {
		return nil, p
	}
	defer give()
	var b bytes.Buffer
	if err := a.Backend.Exchange.Export(&b); err != nil {
		return nil, a.explain("The export", err)
	}
	return b.Bytes(), nil
}

// transferTime is how long a whole export or import may be on its way.
const transferTime = 5 * time.Minute

// importResult says what an import changed, or would change.
type importResult struct {
	Applied     bool         `json:"applied"`
	Differences []Difference `json:"differences"`
}

// postImport puts an exported file in place of what is there.
func (a *api) postImport(w http.ResponseWriter, c *call) {
	out, p := a.load(w, c)
	_ = http.NewResponseController(w).SetWriteDeadline(a.Now().Add(stallTime))
	if p != nil {
		p.write(w, c.Request)
		return
	}
	writeJSON(w, http.StatusOK, out)
}

func (a *api) load(w http.ResponseWriter, c *call) (importResult, *Problem) {
	var none importResult
	dry := false
	switch v := c.URL.Query().Get("dry"); v {
	case "", "0", "false":
	case "1", "true":
		dry = true
	default:
		return none, queryProblem(boot.FieldError{Field: "dry", What: "want 1 (change nothing) or 0"})
	}
	if a.Backend.Exchange == nil {
		return none, causeStarting.problem("The box is still reading its records; ask again in a moment.")
	}
	give, p := take(c.Context(), a.exchanges)
	if p != nil {
		return none, p
	}
	defer give()
	if c.ContentLength > maxImport {
		return none, causeTooLarge.problem("An import file may have at most " + strconv.Itoa(maxImport) + " octets.")
	}
	body := newBody(w, c.Request, maxImport, a.Now, transferTime)
	c.Body = body
	data, p := readAll(w, c.Request, maxImport)
	switch {
	case p != nil:
		return none, p
	case !utf8.Valid(data):
		return none, causeMalformed.problem("The file is not UTF-8.")
	}
	list, err := a.Backend.Exchange.Import("import", data, dry)
	switch {
	case errors.Is(err, ErrNotFound):
		// A document that another one refers to; the importer names it better.
		return none, fieldsProblem(boot.FieldErrors{{Field: "(file)", What: err.Error()}})
	case err != nil:
		return none, a.explain("The import", err)
	}
	if list == nil {
		list = []Difference{}
	}
	return importResult{Applied: !dry, Differences: list}, nil
}
