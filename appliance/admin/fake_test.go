package admin

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
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

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// fake is a small backend with the semantics that the interfaces promise.
type fake struct {
	mu       sync.Mutex
	docs     map[string]map[string]Doc
	used     map[string][]string // "targets/x": by whom
	fail     error               // of every writing method
	onPut    func()              // runs before a Put decides, without the lock
	requests map[string]Request
	approved []string
	trees    map[string]Tree
	imported []string
	attempts *fakeAttempts
	lan      *fakeLAN
	quirks   *fakeQuirks
}

func newFake() *fake {
	t := time.Date(2026, 1, 31, 15, 4, 5, 0, time.UTC)
	f := &fake{
		docs: map[string]map[string]Doc{}, used: map[string][]string{}, requests: map[string]Request{}, trees: map[string]Tree{},
		attempts: newFakeAttempts(), lan: newFakeLAN(), quirks: newFakeQuirks(),
	}
	guid, err := boot.ParseGUID("11111111-2222-3333-4444-555555555555")
	if err != nil {
		panic(err)
	}
	f.set(KindSite, KindSite, boot.Site{Unknown: boot.UnknownAllow, Variables: map[string]string{"key": "site-secret"}})
	f.set(KindTargets, "debian", boot.Target{
		Name: "debian", Kind: boot.TargetLinux, Destructive: true, Tree: "deb", Kernel: "linux", Initrds: []string{"initrd.gz"}, Cmdline: "quiet",
		Needs: boot.Needs{Memory: 512, Platforms: []boot.Platform{boot.PlatformBIOS}},
	})
	f.set(KindTargets, "disk", boot.Target{
		Name: "disk", Kind: boot.TargetSAN, SAN: &boot.SAN{Protocol: boot.SANiSCSI, Host: "192.0.2.9", IQN: "iqn.x:y", User: "u", Password: "san-secret"},
	})
	f.set(KindProfiles, "install", boot.Profile{
		Name: "install", Target: "debian", Variables: map[string]string{"root": "profile-secret"}, Answers: map[string]string{"preseed.cfg": "preseed"},
	})
	f.set(KindGroups, "lab", boot.Group{Name: "lab", Profile: "install", Variables: map[string]string{"k": "group-secret"}})
	f.set(KindRules, "vms", boot.SelectRule{Name: "vms", Order: 5, Match: boot.Match{MAC: []string{"52:54:00"}, Platform: []boot.Platform{boot.PlatformUEFI}}, Profile: "install"})
	f.set(KindTemplates, "preseed", boot.Template{Name: "preseed", Kind: boot.TemplatePreseed, Text: "d-i passwd template-secret"})
	f.set(KindMachines, "m1", boot.Machine{
		ID: "m1", Name: "alpha", Tags: []string{"rack1"}, Groups: []string{"lab"}, GUID: guid, Serial: "S1",
		Variables: map[string]string{"p": "machine-secret"},
		MACs:      []boot.NIC{{MAC: "52:54:00:00:00:01", Given: true}, {MAC: "52:54:00:00:00:02", First: t, Last: t}},
		Seen:      boot.Sighting{Time: t, MAC: "52:54:00:00:00:01", GUID: guid, Manufacturer: "QEMU", Firmware: boot.FirmwareUEFI, Platform: boot.PlatformUEFI, ArchName: "uefi-x64"},
		First:     t, Last: t, Boots: 3,
	})
	f.set(KindMachines, "m2", boot.Machine{
		ID: "m2", Assignment: &boot.Assignment{Profile: "install", Mode: boot.AssignArmed, State: boot.AssignWaiting, Code: "K7P2", Created: t},
	})
	f.requests["Q4ZT"] = Request{Code: "Q4ZT", Machine: "m1", Asked: t, Seen: boot.Sighting{MAC: "52:54:00:00:00:01"}}
	f.trees["deb"] = Tree{Name: "deb", Files: 3, Bytes: 99, Added: t, SHA256: strings.Repeat("ab", 32), Programs: []string{"pxelinux.0"}}
	f.trees["idle"] = Tree{Name: "idle", Added: t, SHA256: strings.Repeat("cd", 32)}
	return f
}

// set stores v under the next revision, as a test's beginning.
func (f *fake) set(kind, name string, v any) Doc {
	if f.docs[kind] == nil {
		f.docs[kind] = map[string]Doc{}
	}
	d := Doc{Kind: kind, Name: name, Rev: f.docs[kind][name].Rev + 1}
	switch x := v.(type) {
	case boot.Machine:
		x.Rev = d.Rev
		v = x
	case boot.Target:
		x.Rev = d.Rev
		v = x
	case boot.Profile:
		x.Rev = d.Rev
		v = x
	case boot.Group:
		x.Rev = d.Rev
		v = x
	case boot.SelectRule:
		x.Rev = d.Rev
		v = x
	case boot.Template:
		x.Rev = d.Rev
		v = x
	case boot.Site:
		x.Rev = d.Rev
		v = x
	default:
		panic(fmt.Sprintf("%T", v))
	}
	d.Value = v
	f.docs[kind][name] = d
	return d
}

func (f *fake) Get(kind, name string) (Doc, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	d, ok := f.docs[kind][name]
	return d, ok
}

func (f *fake) List(kind string, q Query) (docs []Doc, next string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(f.docs[kind])) {
		if name <= q.After {
			continue
		}
		if len(docs) == q.Limit {
			return docs, docs[len(docs)-1].Name
		}
		docs = append(docs, f.docs[kind][name])
	}
	return docs, ""
}

// may checks match against what is there.
func (f *fake) may(kind, name, match string) error {
	d, exists := f.docs[kind][name]
	switch match {
	case MatchAny:
	case MatchExist:
		if !exists {
			return ErrNotFound
		}
	case MatchNew:
		if exists {
			return ErrExists
		}
	default:
		if !exists {
			return ErrNotFound
		}
		if strconv.FormatUint(d.Rev, 10) != match {
			return ErrRevision
		}
	}
	return f.fail
}

func (f *fake) Put(kind, name string, body []byte, match string) (Doc, bool, error) {
	if f.onPut != nil {
		f.onPut()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	_, exists := f.docs[kind][name]
	if err := f.may(kind, name, match); err != nil {
		return Doc{}, false, err
	}
	if bytes.Contains(body, []byte(`"title":"bad"`)) || bytes.Contains(body, []byte(`"notes":"bad"`)) {
		return Doc{}, false, boot.FieldErrors{{Field: "title", What: "bad; write something else"}}
	}
	v := newDoc(kind)
	if err := json.Unmarshal(body, v); err != nil {
		return Doc{}, false, err
	}
	switch x := v.(type) {
	case *boot.Machine:
		had, _ := f.docs[kind][name].Value.(boot.Machine)
		x.Assignment, x.Seen, x.First, x.Last, x.Boots = had.Assignment, had.Seen, had.First, had.Last, had.Boots
		return f.set(kind, name, *x), !exists, nil
	case *boot.Target:
		return f.set(kind, name, *x), !exists, nil
	case *boot.Profile:
		return f.set(kind, name, *x), !exists, nil
	case *boot.Group:
		return f.set(kind, name, *x), !exists, nil
	case *boot.SelectRule:
		return f.set(kind, name, *x), !exists, nil
	case *boot.Template:
		return f.set(kind, name, *x), !exists, nil
	case *boot.Site:
		return f.set(kind, name, *x), !exists, nil
	}
	return Doc{}, false, errors.New("no such kind")
}

func (f *fake) Delete(kind, name, match string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.may(kind, name, match); err != nil {
		return err
	}
	if by := f.used[kind+"/"+name]; len(by) > 0 {
		return fmt.Errorf("delete %s: %w", name, InUse{By: by})
	}
	if _, ok := f.docs[kind][name]; !ok {
		return ErrNotFound
	}
	delete(f.docs[kind], name)
	return nil
}

func (f *fake) Assign(id boot.MachineID, a boot.Assignment, match string) (boot.Assignment, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.may(KindMachines, string(id), match); err != nil {
		return a, err
	}
	if _, ok := f.docs[KindProfiles][a.Profile]; !ok {
		return a, boot.FieldErrors{{Field: "profile", What: "there is no such profile"}}
	}
	m := f.docs[KindMachines][string(id)].Value.(boot.Machine)
	a.State, a.Code = boot.AssignWaiting, "B3XK"
	m.Assignment = &a
	f.set(KindMachines, string(id), m)
	return a, nil
}

func (f *fake) Unassign(id boot.MachineID, match string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.may(KindMachines, string(id), match); err != nil {
		return err
	}
	m := f.docs[KindMachines][string(id)].Value.(boot.Machine)
	a := *m.Assignment
	a.State = boot.AssignDisarmed
	m.Assignment = &a
	f.set(KindMachines, string(id), m)
	return nil
}

func (f *fake) Merge(into, from boot.MachineID) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil {
		return f.fail
	}
	a, b := f.docs[KindMachines][string(into)].Value.(boot.Machine), f.docs[KindMachines][string(from)].Value.(boot.Machine)
	a.MACs = append(slices.Clone(a.MACs), b.MACs...)
	delete(f.docs[KindMachines], string(from))
	f.set(KindMachines, string(into), a)
	return nil
}

func (f *fake) Split(id boot.MachineID, macs []boot.MAC, _ bool) (boot.MachineID, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil {
		return "", f.fail
	}
	m := boot.Machine{ID: "m9"}
	for _, mac := range macs {
		m.MACs = append(m.MACs, boot.NIC{MAC: mac})
	}
	f.set(KindMachines, "m9", m)
	return "m9", nil
}

func (f *fake) Requests() []Request {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Collect(maps.Values(f.requests))
}

func (f *fake) Approve(code string, yes, remember bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.requests[code]; !ok {
		return ErrNotFound
	}
	f.approved = append(f.approved, fmt.Sprint(code, yes, remember))
	return f.fail
}

func (f *fake) choice(id boot.MachineID) boot.Choice {
	return boot.Choice{
		Machine: id, Confidence: boot.ConfidenceFull, Source: boot.SourceRule, Profile: "install", Target: "debian", Action: boot.ActionMenu, Reason: boot.ReasonDestructive,
		Steps: []boot.Step{{Source: boot.SourceRule, Name: "vms", Why: "The target is destructive."}, {Source: boot.SourceBuiltIn, Won: true, Why: "Nothing else is left."}},
	}
}

func (f *fake) Decisions(n int) []Decision {
	var out []Decision
	for i := range min(n, 120) {
		id := boot.MachineID("m" + strconv.Itoa(1+i%2))
		out = append(out, Decision{Time: time.Unix(int64(1000-i), 0).UTC(), Machine: id, MAC: "52:54:00:00:00:01", Addr: "192.0.2.7", Loader: "ipxe", Choice: f.choice(id)})
	}
	return out
}

func (f *fake) Preview(id boot.MachineID, base, loader string) (boot.Plan, map[string]Rendered, error) {
	if f.fail != nil {
		return boot.Plan{}, nil, f.fail
	}
	disk := f.docs[KindTargets]["disk"].Value.(boot.Target)
	choice := f.choice(id)
	if f.docs[KindMachines][string(id)].Value.(boot.Machine).Assignment != nil {
		choice.Action = boot.ActionArmed
	}
	plan := boot.Plan{
		Choice: choice, Title: "alpha", Code: "K7P2", Note: "for " + loader, Token: "preview", Profile: boot.Profile{Name: "install"}, Target: disk, Default: -1,
		Menu: []boot.PlanEntry{{Title: "one", Key: "1"}, {Title: "two", Disabled: boot.ReasonNeedsMemory, Detail: "needs 2048 MiB"}},
	}
	answers := map[string]Rendered{
		"preseed.cfg": {Text: "rendered at " + base, ContentType: "text/plain"}, "broken": {Error: "preseed:3:7: no value"},
	}
	return plan, answers, nil
}

func (f *fake) Base(boot.Machine) string { return "http://192.0.2.2" }

func (f *fake) Replies(boot.Machine) []Reply {
	return []Reply{
		{To: "uefi", Form: "proxy", Server: "192.0.2.2", File: "x86_64/snponly.efi", Options: []Option{{Code: 60, Name: "class", Value: "PXEClient"}}},
		{To: "ipxe", Reason: boot.ReasonPolicy, Text: boot.ReasonPolicy.Text()},
	}
}

func (f *fake) Render(p boot.Plan, loader, base string) ([]byte, boot.Reason) {
	if loader == "grub" {
		return nil, boot.ReasonNotBootableHere
	}
	if p.Choice.Action == boot.ActionArmed {
		return []byte("code " + p.Code), boot.ReasonNone
	}
	return []byte("#!" + loader + " " + base + " " + p.Note), boot.ReasonNone
}

// fakeTrees are the trees of a fake.
type fakeTrees struct{ *fake }

type entryError struct{ entry string }

func (e entryError) Error() string {
	return "entry " + strconv.Quote(e.entry) + " leads out of the tree"
}
func (e entryError) Entry() string { return e.entry }

func (f fakeTrees) Import(_ context.Context, name string, r io.Reader, format string) (Tree, error) {
	h := sha256.New()
	n, err := io.Copy(h, r)
	if err != nil {
		return Tree{}, errors.New("unpack: something else") // hides the cause
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil {
		return Tree{}, f.fail
	}
	t := Tree{Name: name, Files: 1, Bytes: n, Added: time.Unix(1, 0).UTC(), SHA256: hex.EncodeToString(h.Sum(nil)), Programs: []string{format}}
	f.trees[name] = t
	return t, nil
}

func (f fakeTrees) Delete(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.trees, name)
	return f.fail
}

func (f fakeTrees) List() []Tree {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Collect(maps.Values(f.trees))
}

func (f fakeTrees) Get(name string) (Tree, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t, ok := f.trees[name]
	return t, ok
}

// fakeExchange is the import and export of a fake.
type fakeExchange struct{ *fake }

func (f fakeExchange) Export(w io.Writer) error {
	if f.fail != nil {
		return f.fail
	}
	_, err := io.WriteString(w, "version: 1\nsite:\n  unknown: allow\n")
	return err
}

func (f fakeExchange) Import(file string, data []byte, dry bool) ([]Difference, error) {
	if bytes.Contains(data, []byte("wrong")) {
		return nil, ImportErrors{{File: file, Line: 2, Field: "targets.x.kind", What: "want one of linux, efi"}}
	}
	if f.fail != nil {
		return nil, f.fail
	}
	f.imported = append(f.imported, fmt.Sprint(len(data), dry))
	return []Difference{{Document: "targets/debian", Text: `cmdline: "quiet" → "quiet splash"`}}, nil
}

const testToken = "0123456789abcdef-token"

// newAPI is a box with a fake behind it.
func newAPI() (*Box, *fake) {
	f := newFake()
	b := newBox()
	b.Token = func() string { return testToken }
	b.Settings = func() any { return map[string]any{"version": 1, "http": ":80"} }
	b.Backend = Backend{
		Registry: f, Exchange: fakeExchange{f}, Trees: fakeTrees{f}, Preview: f,
		Attempts: f.attempts, LAN: f.lan, Quirks: f.quirks, Capture: fakeCaptures{"a2"},
	}
	return b, f
}

// ask sends a request as the operator, who has the token, unless headers say
// otherwise ("-Authorization" takes it away). Headers are "Name: value".
func ask(t *testing.T, h http.Handler, method, target, body string, headers ...string) (*http.Response, string) {
	t.Helper()
	r := request(t, method, target, body, headers...)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result(), w.Body.String()
}

func request(t *testing.T, method, target, body string, headers ...string) *http.Request {
	t.Helper()
	if strings.HasPrefix(target, "/") {
		target = "http://192.0.2.2:8080" + target
	}
	var from io.Reader
	if body != "" {
		from = strings.NewReader(body)
	}
	r := httptest.NewRequestWithContext(t.Context(), method, target, from)
	r.Header.Set("Authorization", "Bearer "+testToken)
	if body != "" {
		r.Header.Set("Content-Type", typeJSON)
	}
	for _, h := range headers {
		if name, ok := strings.CutPrefix(h, "-"); ok {
			r.Header.Del(name)
			continue
		}
		name, value, _ := strings.Cut(h, ": ")
		switch name {
		case "Host":
			r.Host = value
		case "Remote":
			r.RemoteAddr = value
		default:
			r.Header.Set(name, value)
		}
	}
	return r
}

// problemOf reads a problem answer.
func problemOf(t *testing.T, r *http.Response, text string) Problem {
	t.Helper()
	var p Problem
	if ct := r.Header.Get("Content-Type"); ct != typeProblem {
		t.Fatalf("status %d: type %q is no problem: %s", r.StatusCode, ct, text)
	}
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		t.Fatal(err)
	}
	if p.Status != r.StatusCode || p.Type != "urn:bootpuck:problem:"+string(p.Reason) || p.Title == "" || p.Detail == "" {
		t.Errorf("status %d: incomplete problem %+v", r.StatusCode, p)
	}
	return p
}
