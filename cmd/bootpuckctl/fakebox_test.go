package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"
)

// boxToken is what the fake box wants for changes.
const boxToken = "token-of-the-fake-box"

// boxTime is the fake box's clock.
var boxTime = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

// fakeBox keeps enough of a box in memory to answer the whole API. What it is
// asked and what it answers is held against the API's own description, so that
// it cannot agree with this program alone.
type fakeBox struct {
	t    testing.TB
	url  string
	spec routers.Router

	mu      sync.Mutex
	docs    map[string]map[string]document // kind, name
	revs    map[string]int
	trees   map[string]document
	asked   []string        // "GET /machines …"
	trouble map[string]bool // what goes wrong, see the box command of the scripts
	hold    []document      // requests
	models  map[string]document
	imports int
}

func newFakeBox(t testing.TB) *fakeBox {
	b := &fakeBox{
		t: t, spec: apiSpec(t), revs: map[string]int{}, trees: map[string]document{}, trouble: map[string]bool{},
		docs: map[string]map[string]document{}, models: fakeQuirks(),
		hold: []document{{
			"code": "4711", "machine": "m3", "asked": boxTime.Format(time.RFC3339),
			"seen": document{"mac": "52:54:00:00:00:03", "addr": "192.0.2.3", "manufacturer": "ACME", "product": "Box\x1b]0;evil\x07"},
		}},
	}
	for _, k := range kinds() {
		b.docs[k.plural] = map[string]document{}
	}
	b.docs["settings"]["settings"] = document{"unknown": "ask", "rev": 1, "forget_days": 90}
	b.revs["settings/settings"] = 1
	b.machine("m1", document{
		"name": "web01", "uuid": "11223344-5566-7788-99aa-bbccddeeff00", "serial": "SER-1", "tags": []any{"rack1"},
		"macs": []any{document{"mac": "52:54:00:00:00:01", "given": true}, document{"mac": "52:54:00:00:00:aa", "shared": true}},
	}, document{"manufacturer": "QEMU", "product": "Standard\x1b[2J PC\u202e", "serial": "SER-1", "mac": "52:54:00:00:00:01"})
	b.machine("m2", document{
		"name": "web02", "serial": "SER-2",
		"macs": []any{document{"mac": "52:54:00:00:00:02"}, document{"mac": "52:54:00:00:00:aa", "shared": true}},
	}, document{"manufacturer": "QEMU", "product": "Standard PC", "mac": "52:54:00:00:00:02"})
	// A stranger that claims the name of a machine as its serial number.
	b.machine("m3", document{"macs": []any{document{"mac": "52:54:00:00:00:03"}}}, document{"serial": "web01", "mac": "52:54:00:00:00:03"})
	s := httptest.NewServer(http.HandlerFunc(b.serve))
	t.Cleanup(s.Close)
	b.url = s.URL
	return b
}

func (b *fakeBox) machine(id string, d, seen document) {
	d["id"], d["seen"], d["rev"] = id, seen, 1
	d["first_seen"], d["last_seen"] = "2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z"
	b.docs["machines"][id], b.revs["machines/"+id] = d, 1
}

var readSpec = sync.OnceValues(func() (routers.Router, error) {
	doc, err := openapi3.NewLoader().LoadFromFile("../../appliance/admin/openapi.yaml")
	if err != nil {
		return nil, err
	}
	doc.Servers = nil // whatever its address
	return legacy.NewRouter(doc)
})

func apiSpec(t testing.TB) routers.Router {
	t.Helper()
	spec, err := readSpec()
	if err != nil {
		t.Fatalf("read the description of the API: %v", err)
	}
	for _, media := range []string{"application/gzip", "application/x-tar", "application/vnd.tcpdump.pcap", "text/event-stream"} {
		openapi3filter.RegisterBodyDecoder(media, openapi3filter.FileBodyDecoder)
	}
	return spec
}

// serve answers, and holds question and answer against the description.
func (b *fakeBox) serve(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		b.t.Errorf("%s %s: %v", r.Method, r.URL, err)
	}
	rec := httptest.NewRecorder()
	rec.Header().Set("Date", boxTime.Format(http.TimeFormat))
	path, api := strings.CutPrefix(r.URL.Path, "/api/v1")
	switch {
	case b.trouble["html"]:
		fmt.Fprint(rec, "<html>a router</html>")
	case b.trouble["old"]:
		http.NotFound(rec, r)
	case b.trouble["moved"]:
		http.Redirect(rec, r, "http://192.0.2.99/", http.StatusFound)
	case b.trouble["starting"]:
		fail(rec, 503, "starting", "The box is still reading its records; ask again in a moment.", nil)
	case path == "/health.json":
		fmt.Fprint(rec, `{"worst":"ok","title":"Box","status":"ok"}`)
	case !api:
		http.NotFound(rec, r)
	default:
		b.asked = append(b.asked, r.Method+" "+strings.TrimPrefix(r.URL.RequestURI(), "/api/v1"))
		b.answer(rec, r, path, body)
		b.compare(r, path, body, rec)
	}
	maps.Copy(w.Header(), rec.Header())
	w.WriteHeader(rec.Code)
	_, _ = w.Write(rec.Body.Bytes())
}

func (b *fakeBox) compare(r *http.Request, path string, body []byte, rec *httptest.ResponseRecorder) {
	if path == "/events" || b.trouble["endless"] {
		return
	}
	req := r.Clone(r.Context())
	req.URL.Path, req.URL.RawPath, req.Body = path, "", io.NopCloser(bytes.NewReader(body))
	route, params, err := b.spec.FindRoute(req)
	if err != nil {
		b.t.Errorf("%s %s: %v", r.Method, r.URL, err)
		return
	}
	in := &openapi3filter.RequestValidationInput{Request: req, PathParams: params, Route: route, Options: &openapi3filter.Options{
		AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true, MultiError: true,
		ExcludeReadOnlyValidations: true,
	}}
	// What the box refuses need not be right.
	if err := openapi3filter.ValidateRequest(r.Context(), in); err != nil && rec.Code < 300 {
		b.t.Errorf("asked %s %s %s: %v", r.Method, r.URL, body, err)
	}
	for name := range r.URL.Query() {
		known := func(p *openapi3.ParameterRef) bool { return p.Value.In == "query" && p.Value.Name == name }
		if !slices.ContainsFunc(route.Operation.Parameters, known) {
			b.t.Errorf("asked %s %s: no parameter %s", r.Method, r.URL, name)
		}
	}
	out := &openapi3filter.ResponseValidationInput{RequestValidationInput: in, Status: rec.Code, Header: rec.Header(), Options: in.Options}
	if err := openapi3filter.ValidateResponse(r.Context(), out.SetBodyBytes(rec.Body.Bytes())); err != nil {
		b.t.Errorf("the fake box answered %s %s with %d %s: %v", r.Method, r.URL, rec.Code, rec.Body, err)
	}
}

// fail writes a problem.
func fail(w http.ResponseWriter, status int, reason, detail string, more document) {
	p := document{"type": "urn:bootpuck:problem:" + reason, "title": http.StatusText(status), "status": status, "detail": detail, "reason": reason}
	maps.Copy(p, more)
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(p)
}

func wrong(w http.ResponseWriter, faults ...fieldFault) {
	fail(w, 422, "fields", "Some fields are wrong.", document{"errors": faults})
}

func reply(w http.ResponseWriter, status int, tag string, v any) {
	if tag != "" {
		w.Header().Set("ETag", strconv.Quote(tag))
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func (b *fakeBox) answer(w http.ResponseWriter, r *http.Request, path string, body []byte) {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	secret := parts[0] == "export" || strings.HasSuffix(path, "/preview") || strings.HasSuffix(path, "/capture") || path == "/quirks/export"
	if (secret || r.Method != http.MethodGet) && r.Header.Get("Authorization") != "Bearer "+boxToken {
		fail(w, 401, "login", "Send the box's token.", nil)
		return
	}
	switch {
	case parts[0] == "events":
		fmt.Fprint(w, `{"events":[{"seq":1,"time":"2026-03-04T05:06:07Z","kind":"offer"}],"last":1}`)
	case parts[0] == "attempts":
		b.attempts(w, r, parts)
	case parts[0] == "doctor":
		b.doctor(w)
	case parts[0] == "lan":
		b.lan(w, r, parts)
	case parts[0] == "quirks":
		b.quirk(w, r, parts, body)
	case parts[0] == "requests":
		b.requests(w, parts, body)
	case parts[0] == "decisions":
		b.decisions(w, r)
	case parts[0] == "trees":
		b.tree(w, r, parts, body)
	case parts[0] == "export":
		b.export(w)
	case parts[0] == "import":
		b.load(w, r, body)
	case parts[0] == "assignments":
		b.assignments(w)
	case parts[0] == "machines" && len(parts) == 3:
		b.act(w, r, parts[1], parts[2], body)
	case len(parts) == 1 && parts[0] != "settings":
		b.list(w, r, parts[0])
	case parts[0] == "settings":
		b.document(w, r, "settings", "settings", body)
	default:
		b.document(w, r, parts[0], parts[1], body)
	}
}

// list answers with pages of two, so that there always are some.
func (b *fakeBox) list(w http.ResponseWriter, r *http.Request, kind string) {
	q, items, next := r.URL.Query(), []any{}, ""
	if b.trouble["endless"] {
		reply(w, 200, "", document{"items": items, "next": "again"})
		return
	}
	for _, name := range sortedNames(b.docs[kind]) {
		d := b.docs[kind][name]
		if name <= q.Get("after") || kind == "machines" && !chosen(d, q) {
			continue
		}
		if len(items) == 2 {
			next = lastName(items)
			break
		}
		items = append(items, d)
	}
	out := document{"items": items}
	if next != "" {
		out["next"] = next
	}
	reply(w, 200, "", out)
}

func lastName(items []any) string {
	d := items[len(items)-1].(document)
	if id, ok := d["id"].(string); ok {
		return id
	}
	return d["name"].(string)
}

func sortedNames(m map[string]document) []string { return slices.Sorted(maps.Keys(m)) }

// chosen is the box's filter of machines, as far as it is used here.
func chosen(d document, q map[string][]string) bool {
	text, _ := json.Marshal(d)
	has := func(s string) bool { return strings.Contains(strings.ToLower(string(text)), strings.ToLower(s)) }
	for name, v := range q {
		switch name {
		case "limit", "after":
		case "uuid":
			id, _ := parseUUID(v[0])
			mine, ok := parseUUID(textAt(d, "uuid"))
			if !ok || id != mine && otherOrder(id) != mine {
				return false
			}
		default:
			if !has(v[0]) {
				return false
			}
		}
	}
	return true
}

// document answers for one document of a kind.
func (b *fakeBox) document(w http.ResponseWriter, r *http.Request, kind, name string, body []byte) {
	key := kind + "/" + name
	had, exists := b.docs[kind][name]
	if r.Method == http.MethodGet {
		if !exists {
			fail(w, 404, "not_found", fmt.Sprintf("The %s %q does not exist.", kind, name), nil)
			return
		}
		reply(w, 200, strconv.Itoa(b.revs[key]), had)
		return
	}
	if !b.condition(w, r, exists, strconv.Itoa(b.revs[key])) {
		return
	}
	if r.Method == http.MethodDelete {
		if by := b.usedBy(kind, name); len(by) > 0 {
			fail(w, 409, "in_use", "It is in use.", document{"by": by})
			return
		}
		delete(b.docs[kind], name)
		w.WriteHeader(http.StatusNoContent)
		return
	}
	d, err := decode(body)
	if err != nil {
		fail(w, 400, "malformed", err.Error(), nil)
		return
	}
	if faults := b.check(kind, d); len(faults) > 0 {
		wrong(w, faults...)
		return
	}
	b.revs[key]++
	d["rev"] = b.revs[key]
	if kind == "machines" {
		d["id"] = name
		for _, own := range []string{"seen", "assignment", "first_seen", "last_seen"} {
			if v, ok := had[own]; ok {
				d[own] = v
			}
		}
	} else if kind != "settings" {
		d["name"] = name
	}
	b.docs[kind][name] = d
	reply(w, map[bool]int{true: 200, false: 201}[exists], strconv.Itoa(b.revs[key]), d)
}

// condition checks If-Match and If-None-Match. The troubles "race" and "races"
// are somebody else who is faster, once or always.
func (b *fakeBox) condition(w http.ResponseWriter, r *http.Request, exists bool, tag string) bool {
	match, none := r.Header.Get("If-Match"), r.Header.Get("If-None-Match")
	switch {
	case b.trouble["race"] || b.trouble["races"]:
		delete(b.trouble, "race")
		fail(w, 412, "revision", "It is no longer as you have read it; read it again.", nil)
	case none == "*" && exists:
		fail(w, 412, "exists", "It exists already.", nil)
	case match != "" && (!exists || match != strconv.Quote(tag)):
		fail(w, 412, "revision", "It is no longer as you have read it; read it again.", nil)
	case r.Method == http.MethodPut && exists && match == "":
		fail(w, 428, "condition_required", "It exists already.", nil)
	case r.Method == http.MethodDelete && !exists:
		fail(w, 404, "not_found", "It does not exist.", nil)
	default:
		return true
	}
	return false
}

func (b *fakeBox) check(kind string, d document) []fieldFault {
	var faults []fieldFault
	switch kind {
	case "targets":
		f, _ := find1(targetFields(), "kind")
		if k, _ := d["kind"].(string); !slices.Contains(f.values, k) {
			faults = append(faults, fieldFault{Field: "kind", What: "want linux, efi or another kind"})
		}
		if d["kind"] == "linux" && textAt(d, "kernel") == "" {
			faults = append(faults, fieldFault{Field: "kernel", What: "want a path\x1b[31m"})
		}
	case "profiles":
		if t, _ := d["target"].(string); b.docs["targets"][t] == nil {
			faults = append(faults, fieldFault{Field: "target", What: "there is no target " + t})
		}
	case "groups", "rules":
		if p, _ := d["profile"].(string); p != "" && b.docs["profiles"][p] == nil {
			faults = append(faults, fieldFault{Field: "profile", What: "there is no profile " + p})
		}
	}
	return faults
}

func (b *fakeBox) usedBy(kind, name string) []string {
	var by []string
	if kind == "targets" {
		for _, p := range sortedNames(b.docs["profiles"]) {
			if b.docs["profiles"][p]["target"] == name {
				by = append(by, "profiles/"+p)
			}
		}
	}
	return by
}
