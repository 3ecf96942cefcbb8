package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// TestPutIsIdempotent: the same PUT twice does the same as once, whatever the
// caller knows of revisions.
func TestPutIsIdempotent(t *testing.T) {
	b, f := newAPI()
	h := Handler(b)
	const body = `{"kind":"linux","kernel":"k"}`
	r, _ := ask(t, h, "PUT", prefix+"/targets/new", body)
	if r.StatusCode != 201 || r.Header.Get("Location") != prefix+"/targets/new" || r.Header.Get("ETag") != `"1"` {
		t.Fatalf("%d %v", r.StatusCode, r.Header)
	}
	for range 2 {
		if r, text := ask(t, h, "PUT", prefix+"/targets/new", `{ "kernel":"k", "kind":"linux", "name":"new", "rev":1 }`); r.StatusCode != 200 || r.Header.Get("ETag") != `"1"` {
			t.Errorf("%d %v %s", r.StatusCode, r.Header, text)
		}
	}
	if d, _ := f.Get(KindTargets, "new"); d.Rev != 1 {
		t.Errorf("revision %d", d.Rev)
	}
	r, text := ask(t, h, "PUT", prefix+"/targets/new", `{"kind":"linux","kernel":"other"}`)
	if p := problemOf(t, r, text); p.Reason != causeCondition || r.Header.Get("ETag") != `"1"` {
		t.Errorf("overwritten unread: %+v", p)
	}
	r, text = ask(t, h, "PUT", prefix+"/targets/new", body, "If-None-Match: *")
	if p := problemOf(t, r, text); p.Reason != causeExists {
		t.Errorf("%+v", p)
	}
	// A machine goes there and back with all that was seen of it.
	r, text = ask(t, h, "GET", prefix+"/machines/m1", "")
	if r, text := ask(t, h, "PUT", prefix+"/machines/m1", text, "If-Match: "+r.Header.Get("ETag")); r.StatusCode != 200 {
		t.Errorf("%d %s", r.StatusCode, text)
	}
	if r, text := ask(t, h, "PUT", prefix+"/machines/m1", text); r.StatusCode != 200 || r.Header.Get("ETag") != `"2"` {
		t.Errorf("%d %v %s", r.StatusCode, r.Header, text)
	}
	m, _ := f.docs[KindMachines]["m1"].Value.(boot.Machine)
	if m.Boots != 3 || m.Seen.Manufacturer != "QEMU" || m.Name != "alpha" {
		t.Errorf("%+v", m)
	}
}

// TestPutPassesWords: the registry gets a machine's body as it was written,
// because what is absent is not what is empty.
func TestPutPassesWords(t *testing.T) {
	b, f := newAPI()
	var got []byte
	b.Backend.Registry = spy{f, &got}
	for _, body := range []string{`{"name":"x","serial":""}`, ` {"macs":[]} `} {
		if r, text := ask(t, Handler(b), "PUT", prefix+"/machines/m1", body, "If-Match: *"); r.StatusCode != 200 {
			t.Fatalf("%d %s", r.StatusCode, text)
		}
		if string(got) != body {
			t.Errorf("%s became %s", body, got)
		}
	}
}

// TestPutSameMachine: what a body leaves out of a machine's identity does not
// make it another one.
func TestPutSameMachine(t *testing.T) {
	for body, want := range map[string]int{
		`{"name":"alpha","tags":["rack1"],"groups":["lab"],"variables":{"p":"machine-secret"}}`:               200,
		`{"name":"alpha","tags":["rack1"],"groups":["lab"],"variables":{"p":"machine-secret"},"serial":"S1"}`: 200,
		`{"name":"alpha","tags":["rack1"],"groups":["lab"],"variables":{"p":"machine-secret"},"serial":""}`:   428,
		`{"name":"alpha","tags":["rack1"],"groups":["lab"],"variables":{"p":"machine-secret"},"macs":[]}`:     428,
		`{"name":"alpha","tags":["rack1"],"groups":["lab"],"variables":{"p":"other"}}`:                        428,
		`{"name":"alpha"}`: 428,
	} {
		b, f := newAPI()
		if r, text := ask(t, Handler(b), "PUT", prefix+"/machines/m1", body); r.StatusCode != want {
			t.Errorf("%s: %d %s", body, r.StatusCode, text)
		}
		if d, _ := f.Get(KindMachines, "m1"); d.Rev != 1 {
			t.Errorf("%s: changed", body)
		}
	}
}

// spy keeps the body of a Put.
type spy struct {
	*fake
	body *[]byte
}

func (s spy) Put(kind, name string, body []byte, match string) (Doc, bool, error) {
	*s.body = body
	return s.fake.Put(kind, name, body, match)
}

// TestAssignTakesNoState: nobody can hand a state or a code to an assignment.
func TestAssignTakesNoState(t *testing.T) {
	b, f := newAPI()
	body := `{"profile":"install","mode":"armed","boots":2,"state":"done","code":"MINE","used":9,"attempt":"x","target":"disk","destructive":false,"started":"2026-01-01T00:00:00Z"}`
	if r, text := ask(t, Handler(b), "PUT", prefix+"/machines/m1/assignment", body); r.StatusCode != 201 {
		t.Fatalf("%d %s", r.StatusCode, text)
	}
	a := f.docs[KindMachines]["m1"].Value.(boot.Machine).Assignment
	if a.State != boot.AssignWaiting || a.Code != "B3XK" || a.Used != 0 || a.Attempt != "" || a.Target != "" || !a.Started.IsZero() || a.Boots != 2 {
		t.Errorf("%+v", a)
	}
}

// TestRaces: somebody else is faster between the handler's look and the
// registry's decision.
func TestRaces(t *testing.T) {
	b, f := newAPI()
	h := Handler(b)
	f.onPut = func() { f.set(KindTargets, "new", boot.Target{Name: "new", Kind: boot.TargetEFI}) }
	r, text := ask(t, h, "PUT", prefix+"/targets/new", `{"kind":"linux"}`)
	if p := problemOf(t, r, text); p.Reason != causeCondition {
		t.Errorf("made meanwhile: %+v", p)
	}
	delete(f.docs[KindTargets], "new")
	r, text = ask(t, h, "PUT", prefix+"/targets/new", `{"kind":"linux"}`, "If-None-Match: *")
	if p := problemOf(t, r, text); p.Reason != causeExists {
		t.Errorf("made meanwhile: %+v", p)
	}
	f.onPut = func() { f.set(KindTargets, "disk", boot.Target{Name: "disk", Kind: boot.TargetEFI}) }
	r, text = ask(t, h, "PUT", prefix+"/targets/disk", `{"kind":"linux"}`, `If-Match: "1"`)
	if p := problemOf(t, r, text); p.Reason != causeRevision {
		t.Errorf("changed meanwhile: %+v", p)
	}
	f.onPut = func() { delete(f.docs[KindTargets], "disk") }
	r, text = ask(t, h, "PUT", prefix+"/targets/disk", `{"kind":"linux"}`, `If-Match: *`)
	if p := problemOf(t, r, text); p.Reason != causeRevision {
		t.Errorf("deleted meanwhile: %+v", p)
	}
}

// TestAssignRace: what was looked at is what is assigned, although the caller
// named no revision.
func TestAssignRace(t *testing.T) {
	b, f := newAPI()
	b.Backend.Registry = hasty{f}
	r, text := ask(t, Handler(b), "PUT", prefix+"/machines/m1/assignment", `{"profile":"install","mode":"armed"}`)
	if p := problemOf(t, r, text); p.Reason != causeRevision {
		t.Errorf("armed over somebody else's change: %+v", p)
	}
}

// hasty is a registry in which somebody else always comes first.
type hasty struct{ *fake }

func (h hasty) Assign(id boot.MachineID, a boot.Assignment, match string) (boot.Assignment, error) {
	h.mu.Lock()
	h.set(KindMachines, string(id), h.docs[KindMachines][string(id)].Value)
	h.mu.Unlock()
	return h.fake.Assign(id, a, match)
}

// TestMachinesAreNeverUnchanged: observations change without the revision, so
// the ETag cannot spare a reader the machine.
func TestMachinesAreNeverUnchanged(t *testing.T) {
	b, _ := newAPI()
	if r, text := ask(t, Handler(b), "GET", prefix+"/machines/m1", "", `If-None-Match: "1"`); r.StatusCode != 200 || !strings.Contains(text, "alpha") {
		t.Errorf("%d %s", r.StatusCode, text)
	}
	if r, text := ask(t, Handler(b), "GET", prefix+"/groups/lab", "", `If-None-Match: "1"`); r.StatusCode != 304 || text != "" {
		t.Errorf("%d %s", r.StatusCode, text)
	}
}

// TestPages: going by next, or by Link, meets every document once, with and
// without filters.
func TestPages(t *testing.T) {
	b, f := newAPI()
	for i := range 1234 {
		tags := []string{"even"}
		if i%2 == 1 {
			tags = []string{"Odd"}
		}
		name := fmt.Sprintf("x%04d", i)
		f.set(KindMachines, name, boot.Machine{ID: boot.MachineID(name), Tags: tags})
	}
	h := Handler(b)
	for query, want := range map[string]int{"": 1236, "tag=odd": 617, "q=x000": 10, "mac=52:54:00:00:00:02": 1, "tag=none": 0, "q=x&tag=even": 617, "group=LAB": 1, "uuid=11111111-2222-3333-4444-555555555555": 1, "serial=s1": 1} {
		for _, limit := range []string{"", "limit=7", "limit=500"} {
			if limit == "limit=7" && want > 700 {
				continue
			}
			next := prefix + "/machines?" + strings.Trim(query+"&"+limit, "&")
			seen := map[string]bool{}
			for next != "" {
				r, text := ask(t, h, "GET", next, "")
				var page struct {
					Items []struct{ ID string }
					Next  string
				}
				if err := json.Unmarshal([]byte(text), &page); err != nil || r.StatusCode != 200 || page.Items == nil {
					t.Fatalf("%s: %d %v %s", next, r.StatusCode, err, text)
				}
				for _, m := range page.Items {
					if seen[m.ID] {
						t.Fatalf("%s: %s again", next, m.ID)
					}
					seen[m.ID] = true
				}
				link := r.Header.Get("Link")
				if (page.Next == "") != (link == "") {
					t.Fatalf("next %q, Link %q", page.Next, link)
				}
				next = ""
				if link != "" {
					to, rel, _ := strings.Cut(strings.TrimPrefix(link, "<"), ">")
					if rel != `; rel="next"` || !strings.Contains(to, "after="+page.Next) {
						t.Fatalf("Link %q", link)
					}
					next = to
				}
			}
			if len(seen) != want {
				t.Errorf("%s %s: %d machines, want %d", query, limit, len(seen), want)
			}
		}
	}
}

// TestWrongParameters: each is told by its name, and nothing is guessed.
func TestWrongParameters(t *testing.T) {
	b, f := newAPI()
	h := Handler(b)
	for target, field := range map[string]string{
		"/machines?limit=x": "limit", "/machines?limit=501": "limit", "/machines?limit=-1": "limit", "/machines?after=..%2Fx": "after",
		"/machines?mac=x": "mac", "/machines?uuid=x": "uuid", "/machines?colour=red": "colour", "/machines?limit=1&limit=2": "limit",
		"/targets?tag=x": "tag", "/machines/m1?x=1": "x", "/decisions?limit=501": "limit", "/machines/m1/preview?loader=lilo": "loader",
		"/trees?limit=0": "limit", "/assignments?mac=1": "mac", "/observations?uuid=1": "uuid",
	} {
		r, text := ask(t, h, "GET", prefix+target, "")
		if p := problemOf(t, r, text); p.Reason != causeQuery || len(p.Errors) == 0 || p.Errors[0].Field != field {
			t.Errorf("%s: %+v", target, p)
		}
	}
	for _, target := range []string{"/import?dryrun=1", "/import?dry=yes", "/import?dry=1;x", "/import?dry=0&dry=1", "/import?DRY=1", "/import?%zz"} {
		r, text := ask(t, h, "POST", prefix+target, "version: 1\n", "Content-Type: "+typeYAML)
		if p := problemOf(t, r, text); p.Reason != causeQuery {
			t.Errorf("%s: %+v", target, p)
		}
	}
	if r, text := ask(t, h, "GET", prefix+"/machines?q="+strings.Repeat("x", 3000), ""); problemOf(t, r, text).Reason != causeQuery {
		t.Error("a long query is accepted")
	}
	if len(f.imported) > 0 {
		t.Errorf("imported by mistake: %v", f.imported)
	}
}

// TestNegotiation: 406 and 415, and what is no reason for them.
func TestNegotiation(t *testing.T) {
	for _, c := range []struct {
		method, target, body string
		headers              []string
		want                 Cause
	}{
		{"GET", "/machines", "", []string{"Accept: text/html"}, causeNotAcceptable},
		{"GET", "/machines", "", []string{"Accept: application/*"}, ""},
		{"GET", "/export", "", []string{"Accept: application/json"}, causeNotAcceptable},
		{"GET", "/export", "", []string{"Accept: application/json, application/yaml;q=0.9"}, ""},
		{"PUT", "/groups/g", `{}`, []string{"Content-Type: text/plain"}, causeMediaType},
		{"PUT", "/groups/g", `{}`, []string{"-Content-Type"}, causeMediaType},
		{"PUT", "/groups/g", `{}`, []string{"Content-Type: application/x-www-form-urlencoded"}, causeMediaType},
		{"PUT", "/groups/g", `{}`, []string{"Content-Type: application/json;;"}, causeMediaType},
		{"PUT", "/groups/g", `{}`, []string{"Content-Type: application/yaml"}, causeMediaType},
		{"PUT", "/groups/g", `{}`, []string{"Content-Encoding: gzip"}, causeMediaType},
		{"PUT", "/groups/g", `{}`, []string{"Content-Type: Application/JSON; charset=utf-8"}, ""},
		{"POST", "/import", `{}`, nil, causeMediaType},
		{"PUT", "/trees/t", `x`, nil, causeMediaType},
		{"PUT", "/trees/t", `x`, []string{"Content-Type: application/x-xz"}, causeMediaType},
		{"PUT", "/trees/t", `x`, []string{"Content-Type: application/x-tar"}, ""},
	} {
		b, _ := newAPI()
		r, text := ask(t, Handler(b), c.method, prefix+c.target, c.body, c.headers...)
		if c.want == "" {
			if r.StatusCode >= 300 {
				t.Errorf("%+v: %d %s", c, r.StatusCode, text)
			}
		} else if p := problemOf(t, r, text); p.Reason != c.want {
			t.Errorf("%+v: %+v", c, p)
		}
	}
}

// TestNames: what can be no name never reaches the backend.
func TestNames(t *testing.T) {
	for _, name := range []string{"..%2Fx", "%2e%2e", "a%2Fb", "a%00b", "a%20b", ".hidden", "%C3%A9", strings.Repeat("x", maxName+1), "%22"} {
		b, _ := newAPI()
		h := Handler(b)
		for _, kind := range append([]string{"trees"}, collections...) {
			for method, want := range map[string]int{"GET": 404, "DELETE": 404, "PUT": 422} {
				body, headers := "", []string{}
				if method == "PUT" {
					body = "{}"
					if kind == "trees" {
						headers = []string{"Content-Type: application/zip"}
					}
				}
				r, text := ask(t, h, method, prefix+"/"+kind+"/"+name, body, headers...)
				// The mux itself turns dots into another address.
				if r.StatusCode != want && r.StatusCode/100 != 3 {
					t.Errorf("%s %s/%s: %d %s", method, kind, name, r.StatusCode, text)
				}
			}
		}
	}
	b, _ := newAPI()
	r, text := ask(t, Handler(b), "PUT", prefix+"/targets/one", `{"name":"two","kind":"efi"}`)
	if p := problemOf(t, r, text); p.Reason != causeFields || p.Errors[0].Field != "name" {
		t.Errorf("%+v", p)
	}
	r, text = ask(t, Handler(b), "PUT", prefix+"/machines/one", `{"id":"two"}`)
	if p := problemOf(t, r, text); p.Reason != causeFields || p.Errors[0].Field != "id" {
		t.Errorf("%+v", p)
	}
}

// storeError is an error as the registry has them.
type storeError struct{ reason boot.Reason }

func (e storeError) Error() string       { return "write: device /dev/x is gone" }
func (e storeError) Reason() boot.Reason { return e.reason }

// otherInUse is another package's error of the same meaning.
type otherInUse struct{}

func (otherInUse) Error() string   { return "in use" }
func (otherInUse) InUse() []string { return []string{"site"} }

// TestExplain: every error of the backend, and what the caller is told.
func TestExplain(t *testing.T) {
	for _, c := range []struct {
		err    error
		want   Cause
		status int
		tells  string
	}{
		{ErrNotFound, causeNotFound, 404, ""},
		{fmt.Errorf("x: %w", ErrNotFound), causeNotFound, 404, ""},
		{ErrRevision, causeRevision, 412, ""},
		{ErrExists, causeExists, 412, ""},
		{fmt.Errorf("more than 5 GiB: %w", ErrTooLarge), causeTooLarge, 413, "more than 5 GiB"},
		{InUse{By: []string{"profiles/a", "site"}}, causeInUse, 409, "profiles/a"},
		{fmt.Errorf("x: %w", otherInUse{}), causeInUse, 409, `"site"`},
		{boot.FieldErrors{{Field: "kind", What: "want linux"}}, causeFields, 422, "want linux"},
		{fmt.Errorf("x: %w", boot.FieldErrors{{Field: "kind", What: "want linux"}}), causeFields, 422, "want linux"},
		{ImportErrors{{File: "f", Line: 3, Field: "site", What: "x"}, {File: "f", What: "y"}}, causeFields, 422, `"line": 3`},
		{entryError{"a/../../b"}, causeArchive, 422, `"field": "a/../../b"`},
		{entryError{""}, causeArchive, 422, `"field": "(archive)"`},
		{fmt.Errorf("%w: %w", ErrTooLarge, entryError{"bomb"}), causeArchive, 422, `"field": "bomb"`},
		{storeError{boot.ReasonStateFull}, causeStateFull, 507, boot.ReasonStateFull.Text()},
		{fmt.Errorf("x: %w", storeError{boot.ReasonStateWait}), causeState, 503, boot.ReasonStateWait.Text()},
		{errors.New("panic in /secret/path"), causeInternal, 500, ""},
		{boot.FieldErrors{}, causeInternal, 500, ""},
	} {
		b, f := newAPI()
		var log bytes.Buffer
		b.Log = slog.New(slog.NewTextHandler(&log, nil))
		f.fail = c.err
		r, text := ask(t, Handler(b), "DELETE", prefix+"/rules/vms", "")
		p := problemOf(t, r, text)
		if p.Reason != c.want || p.Status != c.status || !strings.Contains(text, c.tells) {
			t.Errorf("%v: %s", c.err, text)
		}
		if strings.Contains(text, "secret/path") || strings.Contains(text, "/dev/x") {
			t.Errorf("tells the box's insides: %s", text)
		}
		if logged := log.Len() > 0; logged != (c.want == causeInternal) {
			t.Errorf("%v: logged %q", c.err, log.String())
		}
		if (p.Status == 503) != (r.Header.Get("Retry-After") != "") {
			t.Errorf("%v: Retry-After %q", c.err, r.Header.Get("Retry-After"))
		}
	}
	if got := (ImportErrors{{File: "a.yaml", Line: 3, Field: "site.unknown", What: "want allow"}, {File: "a.yaml", What: "empty"}}).Error(); got != "a.yaml:3: site.unknown: want allow\na.yaml: empty" {
		t.Errorf("%q", got)
	}
}

// TestHead: HEAD is GET without the body.
func TestHead(t *testing.T) {
	b, _ := newAPI()
	h := Handler(b)
	for _, r := range routes() {
		if r.method != "GET" {
			continue
		}
		target := prefix + strings.Replace(r.pattern, "{name}", map[bool]string{true: "m1", false: "debian"}[strings.HasPrefix(r.pattern, "/machines")], 1)
		resp := get2(t, h, "GET", target)
		head := get2(t, h, "HEAD", target)
		if head.StatusCode != resp.StatusCode || head.Header.Get("Content-Type") != resp.Header.Get("Content-Type") || head.Header.Get("ETag") != resp.Header.Get("ETag") {
			t.Errorf("%s: GET %d %v, HEAD %d %v", target, resp.StatusCode, resp.Header, head.StatusCode, head.Header)
		}
	}
	// A live stream by HEAD ends at once.
	r, text := ask(t, h, "HEAD", prefix+"/events", "", "Accept: text/event-stream")
	if r.StatusCode != 200 || r.Header.Get("Content-Type") != typeStream || text != "" {
		t.Errorf("%d %v %q", r.StatusCode, r.Header, text)
	}
}

func get2(t *testing.T, h http.Handler, method, target string) *http.Response {
	t.Helper()
	r, _ := ask(t, h, method, target, "")
	return r
}

// TestPreview: all loaders by default, one on demand; no token but "preview".
func TestPreview(t *testing.T) {
	b, _ := newAPI()
	h := Handler(b)
	for query, want := range map[string]string{"": "ipxe,pxelinux,grub", "?loader=pxelinux": "pxelinux"} {
		r, text := ask(t, h, "GET", prefix+"/machines/m1/preview"+query, "")
		var p previewDoc
		if err := json.Unmarshal([]byte(text), &p); err != nil || r.StatusCode != 200 {
			t.Fatalf("%d %v %s", r.StatusCode, err, text)
		}
		var loaders []string
		for _, x := range p.Texts {
			loaders = append(loaders, x.Loader)
			if x.Loader == "grub" {
				if x.Text != "" || x.ReasonText != boot.ReasonNotBootableHere.Text() {
					t.Errorf("%+v", x)
				}
			} else if x.Text != "#!"+x.Loader+" http://192.0.2.2 for "+x.Loader {
				t.Errorf("%+v", x)
			}
		}
		if strings.Join(loaders, ",") != want || p.Answers["preseed.cfg"].Text != "rendered at http://192.0.2.2" || p.Answers["broken"].Error == "" ||
			len(p.Choice.Steps) != 2 || len(p.Replies) != 2 || p.Plan.Menu[1].DisabledText == "" || p.Plan.Default != -1 {
			t.Errorf("%s: %s", query, text)
		}
	}
}

// TestPreviewOfArmed: both the code and what comes after it are shown.
func TestPreviewOfArmed(t *testing.T) {
	b, _ := newAPI()
	_, text := ask(t, Handler(b), "GET", prefix+"/machines/m2/preview", "")
	var p previewDoc
	if err := json.Unmarshal([]byte(text), &p); err != nil || len(p.Texts) != 3 {
		t.Fatalf("%v %s", err, text)
	}
	if x := p.Texts[0]; x.Action != boot.ActionArmed || x.Text != "code K7P2" || x.Then != "#!ipxe http://192.0.2.2 for ipxe" {
		t.Errorf("%+v", x)
	}
	if x := p.Texts[2]; x.Text != "" || x.Then != "" || x.Reason != boot.ReasonNotBootableHere {
		t.Errorf("%+v", x)
	}
}

// TestImport: the whole file or nothing, with lines; one at a time.
func TestImport(t *testing.T) {
	b, f := newAPI()
	h := Handler(b)
	yaml := "Content-Type: " + typeYAML
	for query, applied := range map[string]bool{"": true, "?dry=0": true, "?dry=1": false, "?dry=true": false} {
		f.imported = nil
		r, text := ask(t, h, "POST", prefix+"/import"+query, "version: 1\n", yaml)
		var got importResult
		if err := json.Unmarshal([]byte(text), &got); err != nil || r.StatusCode != 200 || got.Applied != applied || len(got.Differences) != 1 {
			t.Errorf("%q: %d %s", query, r.StatusCode, text)
		}
		if len(f.imported) != 1 || f.imported[0] != fmt.Sprint(11, !applied) {
			t.Errorf("%q: %v", query, f.imported)
		}
	}
	r, text := ask(t, h, "POST", prefix+"/import", "wrong", yaml)
	if p := problemOf(t, r, text); len(p.Errors) != 1 || p.Errors[0] != (ProblemField{"targets.x.kind", "want one of linux, efi", "import", 2}) {
		t.Errorf("%+v", p)
	}
	r, text = ask(t, h, "POST", prefix+"/import", "\xff", yaml)
	if p := problemOf(t, r, text); p.Reason != causeMalformed {
		t.Errorf("%+v", p)
	}
	r, text = ask(t, h, "POST", prefix+"/import", strings.Repeat("#", maxImport+1), yaml)
	if p := problemOf(t, r, text); p.Reason != causeTooLarge {
		t.Errorf("%+v", p)
	}
}

// TestBodyBound: a JSON body above its bound is refused, announced or not.
func TestBodyBound(t *testing.T) {
	b, _ := newAPI()
	h := Handler(b)
	body := `{"notes":"` + strings.Repeat("x", maxBody) + `"}`
	r, text := ask(t, h, "PUT", prefix+"/groups/g", body)
	if p := problemOf(t, r, text); p.Reason != causeTooLarge {
		t.Errorf("%+v", p)
	}
	req := request(t, "PUT", prefix+"/groups/g", body)
	req.ContentLength = -1
	w := recorder()
	h.ServeHTTP(w, req)
	if p := problemOf(t, w.Result(), w.Body.String()); p.Reason != causeTooLarge {
		t.Errorf("%+v", p)
	}
}

// TestDecisionsOfOneMachine: the limit counts after the choice.
func TestDecisionsOfOneMachine(t *testing.T) {
	b, _ := newAPI()
	h := Handler(b)
	for query, want := range map[string]int{"": 50, "?limit=500": 120, "?limit=7&machine=m2": 7, "?machine=m2&limit=500": 60, "?machine=none": 0} {
		r, text := ask(t, h, "GET", prefix+"/decisions"+query, "")
		var page struct{ Items []Decision }
		if err := json.Unmarshal([]byte(text), &page); err != nil || r.StatusCode != 200 || len(page.Items) != want {
			t.Errorf("%s: %d %v, %d decisions, want %d", query, r.StatusCode, err, len(page.Items), want)
		}
	}
}
