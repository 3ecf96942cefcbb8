package admin

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

func init() {
	for t := range archives {
		openapi3filter.RegisterBodyDecoder(t, openapi3filter.FileBodyDecoder)
	}
	openapi3filter.RegisterBodyDecoder(typePcap, openapi3filter.FileBodyDecoder)
}

// description is the document as it is served.
func description(t *testing.T) *openapi3.T {
	t.Helper()
	b, _ := newAPI()
	r, text := ask(t, Handler(b), "GET", prefix+"/openapi.yaml", "", "-Authorization")
	if r.StatusCode != 200 || r.Header.Get("Content-Type") != typeYAML {
		t.Fatalf("%d %v", r.StatusCode, r.Header)
	}
	doc, err := openapi3.NewLoader().LoadFromData([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return doc
}

// operations are the document's operations by "METHOD /path".
func operations(doc *openapi3.T) map[string]*openapi3.Operation {
	out := map[string]*openapi3.Operation{}
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			out[method+" "+path] = op
		}
	}
	return out
}

// TestOpenAPIRoutes: every route is in the document with the same rights,
// parameters and media types, and nothing else is.
func TestOpenAPIRoutes(t *testing.T) {
	doc := description(t)
	if s := doc.Servers; len(s) != 1 || s[0].URL != prefix {
		t.Errorf("servers %v", s)
	}
	ops := operations(doc)
	names := map[access]string{accessOpen: "open", accessSecret: "secret", accessWrite: "write"}
	ids := map[string]bool{}
	seen := map[string]bool{}
	for _, r := range routes() {
		key := r.method + " " + r.pattern
		op := ops[key]
		if op == nil {
			t.Errorf("%s: not in openapi.yaml", key)
			continue
		}
		seen[key] = true
		if op.OperationID == "" || ids[op.OperationID] || op.Summary == "" {
			t.Errorf("%s: operationId %q, summary %q", key, op.OperationID, op.Summary)
		}
		ids[op.OperationID] = true
		if got := fmt.Sprint(op.Extensions["x-access"]); got != names[r.access] {
			t.Errorf("%s: x-access %q, handler wants %q", key, got, names[r.access])
		}
		if (op.Security != nil) != (r.access != accessOpen) {
			t.Errorf("%s: security does not fit its access", key)
		}
		var query, path []string
		for _, p := range op.Parameters {
			switch p.Value.In {
			case "query":
				query = append(query, p.Value.Name)
			case "path":
				path = append(path, "{"+p.Value.Name+"}")
			}
			if p.Value.Description == "" {
				t.Errorf("%s: parameter %s has no description", key, p.Value.Name)
			}
		}
		slices.Sort(query)
		if want := slices.Sorted(slices.Values(r.query)); !slices.Equal(query, want) {
			t.Errorf("%s: parameters %v, handler knows %v", key, query, want)
		}
		if strings.Count(r.pattern, "{") != len(path) || len(path) > 0 && !strings.Contains(r.pattern, path[0]) {
			t.Errorf("%s: path parameters %v", key, path)
		}
		var takes []string
		if op.RequestBody != nil {
			takes = slices.Sorted(maps.Keys(op.RequestBody.Value.Content))
		}
		if want := slices.Sorted(slices.Values(r.takes)); !slices.Equal(takes, want) {
			t.Errorf("%s: bodies %v, handler takes %v", key, takes, want)
		}
		answers := map[string]bool{}
		for status, resp := range op.Responses.Map() {
			if strings.HasPrefix(status, "2") {
				for c := range resp.Value.Content {
					answers[c] = true
				}
			}
		}
		for a := range answers {
			if !slices.Contains(r.answers, a) {
				t.Errorf("%s: answers %s, handler knows %v", key, a, r.answers)
			}
		}
		if op.Responses.Value("204") == nil && len(answers) != len(r.answers) {
			t.Errorf("%s: answers %v, handler knows %v", key, answers, r.answers)
		}
		if op.Responses.Default() == nil {
			t.Errorf("%s: no default response", key)
		}
	}
	for key := range ops {
		if !seen[key] {
			t.Errorf("%s: in openapi.yaml, but there is no such route", key)
		}
	}
}

// TestOpenAPIMethods: the handler answers just the methods of the document at
// every address of it, and names them in Allow.
func TestOpenAPIMethods(t *testing.T) {
	doc := description(t)
	b, _ := newAPI()
	h := Handler(b)
	for path, item := range doc.Paths.Map() {
		want := []string{"OPTIONS"}
		for m := range item.Operations() {
			want = append(want, m)
			if m == "GET" {
				want = append(want, "HEAD")
			}
		}
		slices.Sort(want)
		target := prefix + strings.NewReplacer("{name}", "x", "{code}", "x", "{id}", "x").Replace(path)
		for _, m := range []string{"GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "PROPFIND"} {
			r, text := ask(t, h, m, target, "")
			if m != "OPTIONS" && slices.Contains(want, m) {
				if r.StatusCode == 405 {
					t.Errorf("%s %s: 405", m, path)
				}
				continue
			}
			allow := strings.Split(r.Header.Get("Allow"), ", ")
			slices.Sort(allow)
			if !slices.Equal(allow, want) {
				t.Errorf("%s %s: Allow %v, want %v", m, path, allow, want)
			}
			if m == "OPTIONS" {
				if r.StatusCode != 204 {
					t.Errorf("OPTIONS %s: %d", path, r.StatusCode)
				}
			} else if m == "HEAD" {
				if r.StatusCode != 405 || text != "" {
					t.Errorf("HEAD %s: %d with a body of %d octets", path, r.StatusCode, len(text))
				}
			} else if p := problemOf(t, r, text); p.Status != 405 || p.Reason != causeMethod {
				t.Errorf("%s %s: %+v", m, path, p)
			}
		}
	}
	for _, target := range []string{prefix + "/", prefix + "/nope", prefix + "/machines/m1/nope", prefix + "/machines/", prefix + "/machines/a/b/c"} {
		r, text := ask(t, h, "GET", target, "")
		if p := problemOf(t, r, text); p.Status != 404 {
			t.Errorf("%s: %+v", target, p)
		}
	}
}

// exercise is a request that leads to one status of one operation.
type exercise struct {
	op     string // "METHOD /path" of the document
	status int
	target string // below prefix; "" when op's path has no parameters
	body   string
	header []string
	setup  func(*fake)
}

// kindExercises are those of one kind: a document that is there (used by
// another one or not) and the body of a new one.
func kindExercises(kind, there, body, changed string, refers bool) []exercise {
	list, one := "/"+kind, "/"+kind+"/{name}"
	at, missing := list+"/"+there, list+"/missing"
	out := []exercise{
		{op: "GET " + list, status: 200},
		{op: "GET " + list, status: 200, target: list + "?limit=1"},
		{op: "GET " + list, status: 400, target: list + "?limit=0"},
		{op: "GET " + one, status: 200, target: at},
		{op: "GET " + one, status: 200, target: at, header: []string{"-Authorization"}},
		{op: "GET " + one, status: 404, target: missing},
		{op: "PUT " + one, status: 201, target: list + "/new", body: body, header: []string{"If-None-Match: *"}},
		{op: "PUT " + one, status: 200, target: at, body: changed, header: []string{`If-Match: "1"`}},
		{op: "PUT " + one, status: 412, target: at, body: changed, header: []string{`If-Match: "7"`}},
		{op: "PUT " + one, status: 422, target: list + "/new", body: strings.Replace(body, "{", `{"name":"other","id":"other","nonsense":1,`, 1)},
		{op: "PUT " + one, status: 428, target: at, body: changed},
		{op: "PUT " + one, status: 401, target: at, body: changed, header: []string{"-Authorization"}},
		{op: "DELETE " + one, status: 204, target: at},
		{op: "DELETE " + one, status: 404, target: missing},
		{op: "DELETE " + one, status: 412, target: at, header: []string{`If-Match: "7"`}},
	}
	if kind != KindMachines {
		out = append(out, exercise{op: "GET " + one, status: 304, target: at, header: []string{`If-None-Match: "1"`}})
	}
	if refers {
		out = append(out, exercise{op: "DELETE " + one, status: 409, target: at, setup: func(f *fake) { f.used[kind+"/"+there] = []string{"profiles/install"} }})
	}
	return out
}

func exercises() []exercise {
	yaml := "Content-Type: " + typeYAML
	gz := "Content-Type: application/gzip"
	out := slices.Concat(
		kindExercises(KindMachines, "m1", `{"name":"beta","macs":[{"mac":"52:54:00:00:00:09","given":true}],"access":"allow"}`, `{"name":"gamma","tags":["x"],"variables":{"a":"b"}}`, false),
		kindExercises(KindTargets, "debian", `{"kind":"wimboot","kernel":"wimboot","wim":{"boot_wim":"boot.wim","files":{"autounattend.xml":"answer:x"}},"needs":{"memory":2048,"platforms":["uefi"],"cpus":["x86_64"],"signed":true}}`, `{"kind":"menu","menu":{"seconds":5,"entries":[{"profile":"install","key":"i","locked":true},{"gap":"more"}]}}`, true),
		kindExercises(KindProfiles, "install", `{"target":"debian","loader":"shim","visible":{"tag":["x"]}}`, `{"target":"disk","hidden":true}`, true),
		kindExercises(KindGroups, "lab", `{"profile":"install"}`, `{"notes":"n"}`, true),
		kindExercises(KindRules, "vms", `{"order":-1,"match":{"subnet":["192.0.2.0/24"],"variables":{"user-class":["x"]}},"profile":"install"}`, `{"order":7,"match":{},"profile":"install","off":true}`, false),
		kindExercises(KindTemplates, "preseed", `{"kind":"plain","text":"x"}`, `{"kind":"preseed","text":"y"}`, true),
	)
	return append(
		out,
		exercise{op: "GET /machines", status: 200, target: "/machines?q=alpha&mac=52-54-00-00-00-01&uuid=11111111222233334444555555555555&serial=s1&tag=rack1&group=lab"},
		exercise{op: "GET /machines/{name}/assignment", status: 200, target: "/machines/m2/assignment"},
		exercise{op: "GET /machines/{name}/assignment", status: 404, target: "/machines/m1/assignment"},
		exercise{op: "PUT /machines/{name}/assignment", status: 201, target: "/machines/m1/assignment", body: `{"profile":"install","mode":"armed","expires":"2026-02-01T00:00:00Z","boots":2}`},
		exercise{op: "PUT /machines/{name}/assignment", status: 200, target: "/machines/m2/assignment", body: `{"profile":"install","mode":"once"}`, header: []string{`If-Match: "1"`}},
		exercise{op: "PUT /machines/{name}/assignment", status: 404, target: "/machines/missing/assignment", body: `{"profile":"install","mode":"once"}`},
		exercise{op: "PUT /machines/{name}/assignment", status: 412, target: "/machines/m2/assignment", body: `{"profile":"install","mode":"once"}`, header: []string{`If-None-Match: *`}},
		exercise{op: "PUT /machines/{name}/assignment", status: 422, target: "/machines/m1/assignment", body: `{"profile":"missing","mode":"once"}`},
		exercise{op: "PUT /machines/{name}/assignment", status: 428, target: "/machines/m2/assignment", body: `{"profile":"install","mode":"once"}`},
		exercise{op: "DELETE /machines/{name}/assignment", status: 204, target: "/machines/m2/assignment"},
		exercise{op: "DELETE /machines/{name}/assignment", status: 404, target: "/machines/m1/assignment"},
		exercise{op: "DELETE /machines/{name}/assignment", status: 412, target: "/machines/m2/assignment", header: []string{`If-Match: "9"`}},
		exercise{op: "POST /machines/{name}/merge", status: 200, target: "/machines/m1/merge", body: `{"from":"m2"}`},
		exercise{op: "POST /machines/{name}/merge", status: 404, target: "/machines/missing/merge", body: `{"from":"m2"}`},
		exercise{op: "POST /machines/{name}/merge", status: 412, target: "/machines/m1/merge", body: `{"from":"m2"}`, header: []string{`If-Match: "9"`}},
		exercise{op: "POST /machines/{name}/merge", status: 422, target: "/machines/m1/merge", body: `{"from":"missing"}`},
		exercise{op: "POST /machines/{name}/split", status: 201, target: "/machines/m1/split", body: `{"macs":["52:54:00:00:00:02"],"uuid":true}`},
		exercise{op: "POST /machines/{name}/split", status: 404, target: "/machines/missing/split", body: `{"uuid":true}`},
		exercise{op: "POST /machines/{name}/split", status: 412, target: "/machines/m1/split", body: `{"uuid":true}`, header: []string{`If-Match: "9"`}},
		exercise{op: "POST /machines/{name}/split", status: 422, target: "/machines/m1/split", body: `{"macs":["52:54:00:00:00:99"]}`},
		exercise{op: "GET /machines/{name}/preview", status: 200, target: "/machines/m1/preview"},
		exercise{op: "GET /machines/{name}/preview", status: 200, target: "/machines/m1/preview?loader=grub"},
		exercise{op: "GET /machines/{name}/preview", status: 200, target: "/machines/m2/preview"},
		exercise{op: "GET /machines/{name}/preview", status: 404, target: "/machines/missing/preview"},
		exercise{op: "GET /machines/{name}/preview", status: 401, target: "/machines/m1/preview", header: []string{"-Authorization"}},
		exercise{op: "GET /machines/{name}/observation", status: 200, target: "/machines/m1/observation"},
		exercise{op: "GET /machines/{name}/observation", status: 404, target: "/machines/missing/observation"},
		exercise{op: "GET /observations", status: 200},
		exercise{op: "GET /assignments", status: 200},
		exercise{op: "GET /settings", status: 200},
		exercise{op: "GET /settings", status: 304, header: []string{`If-None-Match: "1"`}},
		exercise{op: "PUT /settings", status: 200, body: `{"unknown":"ask","deny":["52:54"],"forget_days":30}`, header: []string{`If-Match: "1"`}},
		exercise{op: "PUT /settings", status: 412, body: `{"unknown":"ask"}`, header: []string{`If-Match: "2"`}},
		exercise{op: "PUT /settings", status: 422, body: `{"unknown":"ask","title":"bad"}`, header: []string{`If-Match: *`}},
		exercise{op: "PUT /settings", status: 428, body: `{"unknown":"ask"}`},
		exercise{op: "GET /requests", status: 200},
		exercise{op: "POST /requests/{code}", status: 204, target: "/requests/Q4ZT", body: `{"allow":true,"remember":true}`},
		exercise{op: "POST /requests/{code}", status: 404, target: "/requests/ZZZZ", body: `{"allow":false}`},
		exercise{op: "POST /requests/{code}", status: 422, target: "/requests/Q4ZT", body: `{"remember":true}`},
		exercise{op: "GET /decisions", status: 200, target: "/decisions?limit=3&machine=m1"},
		exercise{op: "GET /trees", status: 200},
		exercise{op: "GET /trees/{name}", status: 200, target: "/trees/deb"},
		exercise{op: "GET /trees/{name}", status: 304, target: "/trees/deb", header: []string{"If-None-Match: W/" + quoted(strings.Repeat("ab", 32))}},
		exercise{op: "GET /trees/{name}", status: 404, target: "/trees/missing"},
		exercise{op: "PUT /trees/{name}", status: 201, target: "/trees/new", body: "archive", header: []string{gz}},
		exercise{op: "PUT /trees/{name}", status: 200, target: "/trees/deb", body: "archive", header: []string{"Content-Type: application/zip", "If-Match: " + quoted(strings.Repeat("ab", 32))}},
		exercise{op: "PUT /trees/{name}", status: 412, target: "/trees/deb", body: "archive", header: []string{gz, `If-Match: "x"`}},
		exercise{op: "PUT /trees/{name}", status: 422, target: "/trees/new", body: "archive", header: []string{gz}, setup: func(f *fake) { f.fail = entryError{"../etc/passwd"} }},
		exercise{op: "PUT /trees/{name}", status: 428, target: "/trees/deb", body: "archive", header: []string{gz}},
		exercise{op: "DELETE /trees/{name}", status: 204, target: "/trees/idle"},
		exercise{op: "DELETE /trees/{name}", status: 404, target: "/trees/missing"},
		exercise{op: "DELETE /trees/{name}", status: 409, target: "/trees/deb"},
		exercise{op: "DELETE /trees/{name}", status: 412, target: "/trees/idle", header: []string{`If-Match: "x"`}},
		exercise{op: "GET /attempts", status: 200},
		exercise{op: "GET /attempts", status: 200, target: "/attempts?machine=m2&mac=52-54-00-00-00-12&state=stalled,failed&state=running&verdict=tftp_large_blocks&since=3d&until=2099-01-01T00:00:00Z&limit=1"},
		exercise{op: "GET /attempts", status: 200, target: "/attempts?limit=1&after=a3"},
		exercise{op: "GET /attempts", status: 400, target: "/attempts?limit=0"},
		exercise{op: "GET /attempts/{id}", status: 200, target: "/attempts/a2"},
		exercise{op: "GET /attempts/{id}", status: 200, target: "/attempts/a1", header: []string{"-Authorization"}},
		exercise{op: "GET /attempts/{id}", status: 404, target: "/attempts/missing"},
		exercise{op: "GET /attempts/{id}/capture", status: 200, target: "/attempts/a2/capture?redact=true"},
		exercise{op: "GET /attempts/{id}/capture", status: 404, target: "/attempts/missing/capture"},
		exercise{op: "GET /attempts/{id}/capture", status: 410, target: "/attempts/a1/capture"},
		exercise{op: "GET /attempts/{id}/capture", status: 401, target: "/attempts/a2/capture", header: []string{"-Authorization"}},
		exercise{op: "GET /doctor", status: 200},
		exercise{op: "GET /lan", status: 200},
		exercise{op: "POST /lan/probe", status: 200},
		exercise{op: "POST /lan/probe", status: 409, setup: func(f *fake) { f.lan.err = because(boot.ReasonProbeOff) }},
		exercise{op: "POST /lan/probe", status: 503, setup: func(f *fake) { f.lan.err = because(boot.ReasonProbeBusy) }},
		exercise{op: "GET /quirks", status: 200, target: "/quirks?limit=1"},
		exercise{op: "POST /quirks", status: 201, body: `{"class":"PXEClient","oui":"525400","product":"x","shape":{"form":"direct","loader":"native","delay_ns":300000000,"blocksize":512,"no_priority":true},"note":"n"}`},
		exercise{op: "POST /quirks", status: 200, body: `{"class":"c","oui":"52:54:00","shape":{}}`, setup: func(f *fake) { _, _ = f.quirks.PinModel("c", "52:54:00", "", boot.Shape{}, "") }},
		exercise{op: "POST /quirks", status: 422, body: `{"nonsense":1,"class":"c","shape":{}}`},
		exercise{op: "GET /quirks/{id}", status: 200, target: "/quirks/00aa"},
		exercise{op: "GET /quirks/{id}", status: 404, target: "/quirks/missing"},
		exercise{op: "PUT /quirks/{id}", status: 200, target: "/quirks/00bb", body: `{"shape":{"delay_ns":1000000000}}`},
		exercise{op: "PUT /quirks/{id}", status: 200, target: "/quirks/00bb", body: `{"shape":{"form":"two-step"},"note":"x"}`, header: []string{"If-Match: *"}},
		exercise{op: "PUT /quirks/{id}", status: 404, target: "/quirks/missing", body: `{"shape":{}}`},
		exercise{op: "PUT /quirks/{id}", status: 412, target: "/quirks/00aa", body: `{"shape":{}}`, header: []string{`If-Match: "7"`}},
		exercise{op: "PUT /quirks/{id}", status: 422, target: "/quirks/00aa", body: `{"nonsense":1,"shape":{}}`},
		exercise{op: "PUT /quirks/{id}", status: 428, target: "/quirks/00aa", body: `{"shape":{}}`},
		exercise{op: "DELETE /quirks/{id}", status: 204, target: "/quirks/00aa"},
		exercise{op: "DELETE /quirks/{id}", status: 404, target: "/quirks/missing"},
		exercise{op: "DELETE /quirks/{id}", status: 412, target: "/quirks/00aa", header: []string{`If-Match: "7"`}},
		exercise{op: "GET /quirks/export", status: 200},
		exercise{op: "POST /quirks/import", status: 200, body: `{"bootpuck_quirks":1}`},
		exercise{op: "POST /quirks/import", status: 422, body: `{"key":"forged"}`},
		exercise{op: "POST /quirks/import", status: 422, body: `{"key":"broken"}`},
		exercise{op: "GET /export", status: 200},
		exercise{op: "GET /export", status: 401, header: []string{"-Authorization"}},
		exercise{op: "POST /import", status: 200, target: "/import?dry=1", body: "version: 1\n", header: []string{yaml}},
		exercise{op: "POST /import", status: 422, body: "targets:\n  x: wrong\n", header: []string{yaml}},
		exercise{op: "GET /status", status: 200},
		exercise{op: "GET /events", status: 200},
		exercise{op: "GET /events", status: 400, target: "/events?limit=0"},
		exercise{op: "GET /openapi.yaml", status: 200},
		exercise{op: "GET /openapi.yaml", status: 304, header: []string{"If-None-Match: " + quoted(openAPITag)}},
	)
}

// TestOpenAPIExercises drives every operation of the document against the
// handler, to every status that the document names, and validates what was
// asked and what was answered.
func TestOpenAPIExercises(t *testing.T) {
	doc := description(t)
	ops := operations(doc)
	done := map[string]bool{}
	for _, e := range exercises() {
		t.Run(fmt.Sprintf("%s %d", e.op, e.status), func(t *testing.T) {
			op := ops[e.op]
			if op == nil {
				t.Fatal("no such operation in the document")
			}
			drive(t, doc, op, e)
			done[op.OperationID+" "+strconv.Itoa(e.status)] = true
		})
	}
	for key, op := range ops {
		for status := range op.Responses.Map() {
			if status != "default" && !done[op.OperationID+" "+status] {
				t.Errorf("%s: no exercise leads to %s", key, status)
			}
		}
	}
}

func drive(t *testing.T, doc *openapi3.T, op *openapi3.Operation, e exercise) {
	t.Helper()
	b, f := newAPI()
	b.Journal.Record(boot.Event{
		Kind: boot.KindTFTP, Reason: boot.ReasonNotFound, MAC: "52:54:00:00:00:01", GUID: boot.GUID{1}, ArchKnown: true,
		Interface: "eth0", XID: 1, Firmware: boot.FirmwareUEFI, File: "x", Bytes: 1, Duration: time.Second, Retries: 1, Text: "t",
	})
	if e.setup != nil {
		e.setup(f)
	}
	method, path, _ := strings.Cut(e.op, " ")
	target := e.target
	if target == "" {
		target = path
	}
	r := request(t, method, prefix+target, e.body, e.header...)
	params := map[string]string{}
	pattern := strings.Split(path, "/")
	for i, part := range strings.Split(strings.TrimPrefix(r.URL.Path, prefix), "/") {
		if name, ok := strings.CutPrefix(pattern[i], "{"); ok {
			params[strings.TrimSuffix(name, "}")] = part
		}
	}
	in := &openapi3filter.RequestValidationInput{
		Request: r, PathParams: params, QueryParams: r.URL.Query(),
		Route: &routers.Route{Spec: doc, Server: doc.Servers[0], Path: path, PathItem: doc.Paths.Value(path), Method: method, Operation: op},
		Options: &openapi3filter.Options{
			AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true, MultiError: true, RejectWhenRequestBodyNotSpecified: true,
		},
	}
	// What the handler refuses as a bad request, the document refuses too.
	bad := e.status == 400 || e.status == 422 && strings.Contains(e.body, "nonsense")
	if err := openapi3filter.ValidateRequest(t.Context(), in); bad != (err != nil) && !(e.status == 422 && strings.HasPrefix(e.body, `{"remember"`)) {
		t.Errorf("the document says of the request: %v", err)
	}
	w := httptest.NewRecorder()
	Handler(b).ServeHTTP(w, r)
	if w.Code != e.status {
		t.Fatalf("status %d, want %d: %s", w.Code, e.status, w.Body)
	}
	out := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: in, Status: w.Code, Header: w.Header(), Body: io.NopCloser(bytes.NewReader(w.Body.Bytes())), Options: in.Options,
	}
	if err := openapi3filter.ValidateResponse(t.Context(), out); err != nil {
		t.Errorf("the document says of the response: %v\n%s", err, w.Body)
	}
	if resp := op.Responses.Status(w.Code); resp != nil {
		for name := range resp.Value.Headers {
			// Link is there when there is a next page.
			if w.Header().Get(name) == "" && name != "Link" {
				t.Errorf("header %s is missing", name)
			}
		}
	}
}

// schemaTypes are the types behind the document's schemas. Those of fields are
// found from here.
func schemaTypes() map[string]reflect.Type {
	return map[string]reflect.Type{
		"Machine": reflect.TypeFor[boot.Machine](), "Target": reflect.TypeFor[boot.Target](), "Profile": reflect.TypeFor[boot.Profile](),
		"Group": reflect.TypeFor[boot.Group](), "SelectRule": reflect.TypeFor[boot.SelectRule](), "Template": reflect.TypeFor[boot.Template](),
		"Site": reflect.TypeFor[boot.Site](), "Assignment": reflect.TypeFor[boot.Assignment](), "Observation": reflect.TypeFor[observation](),
		"MachineAssignment": reflect.TypeFor[machineAssignment](), "Merge": reflect.TypeFor[mergeBody](), "Split": reflect.TypeFor[splitBody](),
		"Approve": reflect.TypeFor[approveBody](), "Request": reflect.TypeFor[Request](), "Decision": reflect.TypeFor[Decision](),
		"Preview": reflect.TypeFor[previewDoc](), "Tree": reflect.TypeFor[Tree](), "ImportResult": reflect.TypeFor[importResult](),
		"Interface": reflect.TypeFor[Interface](), "Responder": reflect.TypeFor[Responder](), "Problem": reflect.TypeFor[Problem](),
		"Attempt": reflect.TypeFor[boot.Attempt](), "Doctor": reflect.TypeFor[doctorDoc](), "LAN": reflect.TypeFor[boot.LAN](),
		"Quirk": reflect.TypeFor[Quirk](), "Model": reflect.TypeFor[modelBody](),
	}
}

// TestOpenAPISchemas: the schemas' fields, their types and their enumerations
// are those of the Go types.
func TestOpenAPISchemas(t *testing.T) {
	doc := description(t)
	c := schemaCheck{T: t, doc: doc, seen: map[string]bool{}, enums: constants(t)}
	if len(c.enums["TargetKind"]) != len(boot.TargetKinds()) || len(c.enums["Cause"]) != len(causes) {
		t.Fatalf("the constants were not found: %v", c.enums)
	}
	// Made by hand or by the list writer.
	for _, name := range []string{"Status", "Event", "EventList"} {
		c.seen[name] = true
	}
	for name, typ := range schemaTypes() {
		c.check(name, &openapi3.SchemaRef{Ref: "#/components/schemas/" + name, Value: doc.Components.Schemas[name].Value}, typ)
	}
	for name, s := range doc.Components.Schemas {
		if !c.seen[name] && !strings.HasSuffix(name, "List") {
			t.Errorf("schema %s belongs to no type", name)
		}
		if s.Value.Description == "" {
			t.Errorf("schema %s has no description", name)
		}
		for field, p := range s.Value.Properties {
			if p.Value.Description == "" {
				t.Errorf("%s.%s has no description", name, field)
			}
		}
	}
}

type schemaCheck struct {
	*testing.T
	doc   *openapi3.T
	seen  map[string]bool
	enums map[string][]string
}

func (c *schemaCheck) check(at string, s *openapi3.SchemaRef, typ reflect.Type) {
	c.Helper()
	if typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	if name, ok := strings.CutPrefix(s.Ref, "#/components/schemas/"); ok {
		if c.seen[name] {
			return
		}
		c.seen[name] = true
	}
	want, isText := "", typ == reflect.TypeFor[time.Time]() || reflect.PointerTo(typ).Implements(textReader)
	switch kind := typ.Kind(); {
	case isText || kind == reflect.String:
		want = "string"
	case kind == reflect.Bool:
		want = "boolean"
	case kind >= reflect.Int && kind <= reflect.Uint64:
		want = "integer"
	case kind == reflect.Slice:
		want = "array"
	case kind == reflect.Struct || kind == reflect.Map:
		want = "object"
	}
	if s.Value.Type == nil || !s.Value.Type.Is(want) {
		c.Errorf("%s: type %v, want %s for %v", at, s.Value.Type, want, typ)
		return
	}
	switch want {
	case "string":
		if (typ == reflect.TypeFor[time.Time]()) != (s.Value.Format == "date-time") {
			c.Errorf("%s: format %q for %v", at, s.Value.Format, typ)
		}
		c.enum(at, s, typ)
	case "array":
		c.check(at+"[]", s.Value.Items, typ.Elem())
	case "object":
		c.object(at, s, typ)
	}
}

func (c *schemaCheck) object(at string, s *openapi3.SchemaRef, typ reflect.Type) {
	if typ.Kind() == reflect.Map {
		c.check(at+"{}", s.Value.AdditionalProperties.Schema, typ.Elem())
		return
	}
	fields := jsonFields(typ)
	if got, want := sortedKeys(s.Value.Properties), sortedKeys(fields); !slices.Equal(got, want) {
		c.Errorf("%s: fields %v, the type has %v", at, got, want)
	}
	if has := s.Value.AdditionalProperties.Has; has == nil || *has {
		c.Errorf("%s: lets unknown fields through", at)
	}
	for name, ft := range fields {
		if p := s.Value.Properties[name]; p != nil {
			c.check(at+"."+name, p, ft)
		}
	}
}

// open are text types whose values are not enumerated: many, or not closed.
var open = []string{"Reason", "Kind", "Form"}

func (c *schemaCheck) enum(at string, s *openapi3.SchemaRef, typ reflect.Type) {
	want := c.enums[typ.Name()]
	if typ.PkgPath() == "" || len(want) == 0 || slices.Contains(open, typ.Name()) {
		return
	}
	var got []string
	for _, v := range s.Value.Enum {
		got = append(got, fmt.Sprint(v))
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		c.Errorf("%s: values %q, the constants of %v are %q", at, got, typ, want)
	}
}

// constants are the values of the text constants of boot and of this package by
// the name of their type, sorted.
func constants(t *testing.T) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	for _, pattern := range []string{"../boot/*.go", "*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) < 5 {
			t.Fatalf("%v %v", files, err)
		}
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(f, func(n ast.Node) bool {
				spec, ok := n.(*ast.ValueSpec)
				if !ok || len(spec.Values) != 1 {
					return true
				}
				typ, isName := spec.Type.(*ast.Ident)
				lit, isText := spec.Values[0].(*ast.BasicLit)
				if isName && isText && lit.Kind == token.STRING {
					if v, err := strconv.Unquote(lit.Value); err == nil {
						out[typ.Name] = append(out[typ.Name], v)
					}
				}
				return true
			})
		}
	}
	for k := range out {
		slices.Sort(out[k])
	}
	return out
}

// TestOpenAPICauses: the causes of problems are all in the descriptions of
// errors, each with its status.
func TestOpenAPICauses(t *testing.T) {
	for c, k := range causes {
		if http.StatusText(k.status) == "" || k.title == "" {
			t.Errorf("%s: %+v", c, k)
		}
		if p := c.problem("x"); p.Type != "urn:bootpuck:problem:"+string(c) || p.Status != k.status {
			t.Errorf("%+v", p)
		}
	}
	var all []string
	for name, r := range description(t).Components.Responses {
		if r.Value.Description == nil {
			t.Fatalf("response %s has no description", name)
		}
		all = append(all, *r.Value.Description)
	}
	text := strings.Join(all, "\n")
	for c := range causes {
		if !strings.Contains(text, string(c)) && c != causeNotFound && c != causeMethod {
			t.Errorf("no response of the document names the cause %s", c)
		}
	}
}
