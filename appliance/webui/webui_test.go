package webui

import (
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"go.uber.org/goleak"
	"golang.org/x/net/html"

	"github.com/bootpuck/bootpuck/appliance/boot"
	"github.com/bootpuck/bootpuck/appliance/health"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var noon = time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)

func get(t testing.TB, h http.Handler, target string) (*http.Response, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, target, nil))
	r := w.Result()
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r, string(b)
}

// allPages are the addresses of every page of a source.
func allPages(f *fake) []string {
	list := []string{"/", "/boots", "/boots?state=bad&since=24h&verdict=option60&q=web", "/boots?state=nonsense", "/lan", "/nowhere", "/boots/zzz", "/boots/00"}
	for _, a := range f.attempts {
		list = append(list, bootPath(a.ID))
	}
	return list
}

// TestSite: every page's title names the site, as the settings spell it.
func TestSite(t *testing.T) {
	f := morning(noon)
	for _, target := range allPages(f) {
		if _, body := get(t, Handler(f), target); !strings.Contains(body, " · Bench &lt;1&gt; · bootpuck-3f2a · bootpuck</title>") {
			t.Errorf("%s: the title does not name the site", target)
		}
	}
}

func TestHeadlines(t *testing.T) {
	seen := map[string]boot.Reason{}
	for _, r := range append(boot.VerdictNames(), boot.FindingNames()...) {
		h, ok := headlines[r]
		if !ok {
			t.Errorf("%s has no headline", r)
			continue
		}
		if n := utf8.RuneCountInString(h); n > 48 {
			t.Errorf("%s: %q has %d characters: too long for a glance", r, h, n)
		}
		if other, ok := seen[h]; ok && other != r {
			t.Errorf("%s and %s have the same headline %q", r, other, h)
		}
		seen[h] = r
	}
}

func TestWords(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{took(0), "0.0 ms"},
		{took(-time.Second), "0 ms"},
		{took(1500 * time.Microsecond), "1.5 ms"},
		{took(340 * ms), "340 ms"},
		{took(4200 * ms), "4.2 s"},
		{took(59900 * ms), "59 s"},
		{took(2 * time.Minute), "2 min"},
		{took(3*time.Minute + 5*sec), "3 min 05 s"},
		{took(2*time.Hour + 5*time.Minute), "2 h 05 min"},
		{took(math.MaxInt64), "106751 days"},
		{seconds(9*sec + 900*ms), "9 s"},
		{seconds(-sec), "0 s"},
		{plus(0), "0 s"},
		{plus(12 * ms), "+12 ms"},
		{compact(61 * sec), "+1:01"},
		{compact(2*time.Hour + 3*time.Minute), "+2:03 h"},
		{lasting(59 * sec), "less than a minute"},
		{lasting(61 * time.Minute), "1 h"},
		{ago(10 * sec), "just now"},
		{ago(-time.Hour), "just now"},
		{ago(90 * time.Minute), "1 h ago"},
		{ago(90 * time.Hour), "3 days ago"},
		{clock(noon, noon.Add(time.Hour)), "12:00:00"},
		{clock(noon, noon.Add(24*time.Hour)), "14 Mar 12:00"},
		{clock(time.Time{}, noon), ""},
		{size(-1), "0 B"},
		{size(999), "999 B"},
		{size(1_114_112), "1.1 MB"},
		{size(38_200_000), "38 MB"},
		{size(999_600_000), "1.0 GB"},
		{size(math.MaxInt64), "9.2 EB"},
		{rate(1_000_000, sec), "1.0 MB/s"},
		{rate(1_000_000, 0), ""},
		{base("x86_64/snponly.efi"), "snponly.efi"},
		{base("http://a/b/?x=/y"), "b/"},
		{base(""), ""},
		{speedWord(2500), "2.5 Gbit/s"},
		{speedWord(100), "100 Mbit/s"},
		{ordinal(2), "2nd"},
		{ordinal(11), "11th"},
		{ordinal(23), "23rd"},
		{ordinal(112), "112th"},
		{shapeWords(boot.Shape{}), "as usual"},
		{shapeWords(boot.Shape{Form: boot.FormTwoStep, Variant: boot.VariantNative, Delay: 300 * ms, Block: 512, NoPriority: true}), "two-step offer, iPXE with its own drivers, answer delayed by 300 ms, TFTP blocks of at most 512, without iPXE's priority"},
		{clean("plain Ünïcode 漢字", 99), "plain Ünïcode 漢字"},
		{clean("a\x1b[31mb\u202ec\x00\r\n\xff", 99), `a\u001b[31mb\u202ec\u0000\r\n\xff`},
		{clean("e\u0301\u0301\u0301\u0301\u0301x", 99), "e\u0301\u0301x"},
		{clean("abcdef", 3), "abc…"},
		{clean("\ufffd", 9), "\ufffd"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}

// statuses writes a way as one letter per step.
func statuses(a boot.Attempt) string {
	var b strings.Builder
	for _, s := range stepsOf(&a) {
		b.WriteByte(map[string]byte{stepDone: 'D', stepNow: 'N', stepBroken: 'X', stepUnseen: 'u', stepAhead: '.'}[s.Status])
	}
	return b.String()
}

func TestSteps(t *testing.T) {
	without := func(a boot.Attempt) boot.Attempt {
		a.Verdicts = nil
		return a
	}
	stalledAfter := boot.Attempt{State: boot.AttemptStalled, At: boot.StageLoader, Stages: []boot.Stage{{Name: boot.StageDiscover, Count: 1}, {Name: boot.StageLoader, Count: 1, Done: true}}}
	nothing := boot.Attempt{State: boot.AttemptStalled}
	for name, c := range map[string]struct {
		a    boot.Attempt
		want string
	}{
		"tftp stalls":                  {stalledTFTP(noon), "DDDX..."},
		"tftp stalls, no verdict":      {without(stalledTFTP(noon)), "DDDX..."},
		"option 60":                    {option60(noon), "DX....."},
		"no dhcp server":               {noDHCP(noon), "DDX...."},
		"another server won":           {rival(noon), "DXD...."},
		"stalled behind a whole stage": {stalledAfter, "DuuDX.."},
		"nothing known":                {nothing, "X......"},
		"installed":                    {install(noon), "DDDDDDD"},
		"raspberry pi":                 {pi(noon), "DDDDuuD"},
		"http boot":                    {httpBoot(noon), "DDDDDDD"},
		"local disk":                   {local(noon), "DDDDDuD"},
		"ignored":                      {ignored(noon), "D......"},
		"fetching":                     {fetching(noon), "DDDDDN."},
		"asking":                       {asking(noon), "DN....."},
		"just heard":                   {boot.Attempt{State: boot.AttemptRunning}, "N......"},
	} {
		if got := statuses(c.a); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
	p := percentOf(fetching(noon))
	if p != 40 {
		t.Errorf("%d %% of the image, want 40", p)
	}
}

func percentOf(a boot.Attempt) int { return percent(&a) }

func TestAttention(t *testing.T) {
	f := morning(noon)
	a := attentionOf(f.Box(), f.lan, f.findings, f.report, 0)
	if a.Tone != toneBad || a.Title != "3 things need attention" {
		t.Errorf("%s, %q", a.Tone, a.Title)
	}
	if a.Problems[0].Tone != toneBad {
		t.Errorf("first is %+v, want the critical one", a.Problems[0])
	}
	// What a finding says, the health tree need not say again.
	report := health.Report{Status: health.OK, Children: []health.Report{{Status: health.Degraded, Reason: boot.ReasonOption60, Text: "x"}}}
	if a := attentionOf(f.Box(), f.lan, f.findings, report, 0); len(a.Problems) != 2 {
		t.Errorf("%d problems, want the 2 findings", len(a.Problems))
	}
	quiet := attentionOf(f.Box(), boot.LAN{}, nil, health.Report{Status: health.OK}, 0)
	if quiet.Tone != toneGood || quiet.Title != "All is well" {
		t.Errorf("%s, %q", quiet.Tone, quiet.Title)
	}
	// A quiet LAN is no comfort to whoever stands before a machine that did not boot.
	if a := attentionOf(f.Box(), boot.LAN{}, nil, health.Report{Status: health.OK}, 2); a.Tone != toneWarn || a.Title != "2 machines did not boot" {
		t.Errorf("%s, %q", a.Tone, a.Title)
	}
	bad := boot.Attempt{MAC: "52:54:00:00:00:01", Start: noon, State: boot.AttemptStalled}
	good := boot.Attempt{MAC: bad.MAC, Start: noon.Add(time.Minute), State: boot.AttemptBooted}
	other := boot.Attempt{MAC: "52:54:00:00:00:02", Start: noon, State: boot.AttemptFailed}
	if n := unsettled([]boot.Attempt{bad, bad, other}, []boot.Attempt{good, other, bad}); n != 1 {
		t.Errorf("%d machines did not boot, want the one that has not booted since", n)
	}
	f.observe = true
	if a := attentionOf(f.Box(), boot.LAN{Standby: true}, nil, health.Report{Status: health.OK}, 0); a.Tone != toneWarn || len(a.Notes) != 2 {
		t.Errorf("observing and standing by: %s, %q", a.Tone, a.Notes)
	}
	many := make([]boot.Verdict, 1000)
	for i := range many {
		many[i] = boot.Verdict{Name: boot.Reason(strconv.Itoa(i)), Severity: boot.SeverityWarning}
	}
	if a := attentionOf(f.Box(), f.lan, many, f.report, 0); len(a.Problems) > 2*maxProblems {
		t.Errorf("%d problems on one page", len(a.Problems))
	}
}

func TestPages(t *testing.T) {
	f := morning(noon)
	f.crowd(120, noon)
	h := Handler(f)
	for _, c := range []struct {
		target string
		status int
		want   []string
	}{
		{"/", 200, []string{"3 things need attention", "The DHCP server poses as a boot server", "Remove option 60", "Booting now", "ubuntu-24.04-live-server-amd64.iso, 1.1 GB of 2.8 GB", `value="40"`, "Large packets get lost on the way", "sw-basement", "port gi1/0/12", "192.0.2.250", "The state directory cannot be written"}},
		{"/boots", 200, []string{"web-07", "Older", "02:00:00:00:00:01", `action="/boots"`}},
		{"/boots?state=bad&q=WEB", 200, []string{"web-07", `<option value="bad" selected>`, `value="WEB"`}},
		{"/boots?q=3C-EC-EF-12-07-AA", 200, []string{"web-07"}},
		{"/boots?q=192.0.2.91", 200, []string{"pi-door"}},
		{"/boots?verdict=option60", 200, []string{"reception-2"}},
		{"/boots?q=nobody", 200, []string{"No boot fits"}},
		{"/boots?since=1h", 200, []string{"reception-2"}},
		{"/boots?state=nonsense", 400, []string{"is not one of the choices"}},
		{"/boots?since=9y", 400, []string{"is not one of the choices"}},
		{"/boots?verdict=x", 400, []string{"is not one of the choices"}},
		{"/boots?after=../../etc", 400, []string{"not the identifier"}},
		{"/boots?q=" + strings.Repeat("x", 65), 400, []string{"at most 64 octets"}},
		{"/boots?a=%zz", 400, []string{"Malformed address"}},
		{"/boots/5f1c0a77b2d94e10", 200, []string{"Did not boot", "Large packets get lost on the way", "What to do:", "cap the TFTP block size", "stopped here", "DATA 1 sent 6 more times", "quiet 12 s", "/api/v1/attempts/5f1c0a77b2d94e10/capture?redact=true"}},
		{"/boots/77aa10c2d3e4f501", 200, []string{"192.0.2.1 offers a boot", "4th try", "option 60 PXEClient"}},
		{"/boots/abcdef0123456789", 200, []string{"now: two-step offer", "answer delayed by 300 ms", "3 forms tried"}},
		{"/boots/1111222233334444", 200, []string{"It booted", "Installer reported: done", "partman: /dev/sda formatted", "debian-12-auto", "armed"}},
		{"/boots/2222222233334444", 200, []string{"Booting now", "1.1 GB of 2.8 GB"}},
		{"/boots/ffff", 404, []string{"not in memory"}},
		{"/boots/FFFF", 404, []string{"no such boot"}},
		{"/boots/", 404, nil},
		{"/lan", 200, []string{"sends option 60", "answers boot clients", "bootpuckctl lan probe", "wlan0", "VLAN 20", `boot\x64\wdsmgfw.efi`}},
		{"/nowhere", 404, []string{"no such page"}},
	} {
		r, body := get(t, h, c.target)
		if r.StatusCode != c.status {
			t.Errorf("%s: status %d, want %d", c.target, r.StatusCode, c.status)
		}
		for _, w := range c.want {
			if !strings.Contains(body, w) {
				t.Errorf("%s lacks %q", c.target, w)
			}
		}
		if got := r.Header.Get("Content-Security-Policy"); got != policy {
			t.Errorf("%s: policy %q", c.target, got)
		}
		if r.Header.Get("X-Content-Type-Options") != "nosniff" || r.Header.Get("Cache-Control") != "no-store" || r.Header.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("%s: headers %v", c.target, r.Header)
		}
		if n := r.Header.Get("Content-Length"); r.StatusCode != 404 && n != strconv.Itoa(len(body)) {
			t.Errorf("%s: length %s of %d", c.target, n, len(body))
		}
		if strings.Contains(body, "<no value>") || strings.Contains(body, "ZgotmplZ") {
			t.Errorf("%s: a template was given what it cannot write", c.target)
		}
	}
	if _, body := get(t, h, "/boots?q=web"); strings.Contains(body, "reception-2") {
		t.Error("a search for web finds reception-2")
	}
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, "/boots", strings.NewReader("x")))
		if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") == "" {
			t.Errorf("%s: status %d, allow %q", method, w.Code, w.Header().Get("Allow"))
		}
	}
}

// Every part of every page is rendered: a template that fails leaves its part
// out silently.
func TestEveryPartRenders(t *testing.T) {
	for name, f := range map[string]*fake{"morning": morning(noon), "hostile": hostileMorning(noon), "empty": {now: func() time.Time { return noon }}} {
		s := &site{src: f}
		for _, target := range allPages(f) {
			u, err := url.Parse(target)
			if err != nil {
				t.Fatal(err)
			}
			p := s.page(u)
			for _, part := range p.Parts {
				var b strings.Builder
				if err := templates.ExecuteTemplate(&b, part.ID, part.Data); err != nil {
					t.Errorf("%s: %s: part %s: %v", name, target, part.ID, err)
				}
			}
		}
	}
}

// Paging goes through everything once.
func TestPaging(t *testing.T) {
	f := morning(noon)
	f.crowd(200, noon)
	h := Handler(f)
	for _, start := range []string{"/boots", "/boots?q=0", "/boots?state=bad"} {
		seen := map[string]bool{}
		target := start
		for range 20 {
			_, body := get(t, h, target)
			doc := parse(t, body)
			target = ""
			for _, n := range elements(doc) {
				if n.Data == "a" && attr(n, "class") == "who" {
					if seen[attr(n, "href")] {
						t.Errorf("%s: %s twice", start, attr(n, "href"))
					}
					seen[attr(n, "href")] = true
				}
				if n.Data == "a" && attr(n, "rel") == "next" {
					target = attr(n, "href")
				}
			}
			if target == "" {
				break
			}
		}
		want := 0
		for _, a := range f.attempts {
			if !strings.Contains(start, "bad") || a.State.Bad() {
				want++
			}
		}
		if len(seen) != want {
			t.Errorf("%s: %d boots seen, want %d", start, len(seen), want)
		}
	}
}

func parse(t testing.TB, body string) *html.Node {
	t.Helper()
	doc, err := html.Parse(strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func elements(doc *html.Node) []*html.Node {
	var list []*html.Node
	for n := range doc.Descendants() {
		if n.Type == html.ElementNode {
			list = append(list, n)
		}
	}
	return list
}

func attr(n *html.Node, key string) string {
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val
		}
	}
	return ""
}

// known are the elements of our templates. Whatever else appears came from a
// stranger.
var known = strings.Fields(`html head meta title link script body a header span b nav p main div footer time article h1 h2 h3 details summary
	ul ol li bdi em section form label input select option button table thead tbody tr th td dl dt dd code br progress img
	svg rect line text circle path g ellipse`)

// checkHarmless fails when something of a page is not from our templates, or
// when characters that are not to be shown got through.
func checkHarmless(t *testing.T, where, body string) {
	t.Helper()
	for i, r := range body {
		switch {
		case r == '\n' || r == ' ':
		case r == utf8.RuneError:
			t.Errorf("%s: broken UTF-8 at %d", where, i)
			return
		case !unicode.IsPrint(r) && !unicode.Is(unicode.M, r):
			t.Errorf("%s: %U at %d: …%q", where, r, i, body[max(i-40, 0):i])
			return
		}
	}
	for _, n := range elements(parse(t, body)) {
		if !slices.Contains(known, n.Data) {
			t.Errorf("%s: element <%s>", where, n.Data)
		}
		if n.Data == "script" && (n.FirstChild != nil || !strings.HasPrefix(attr(n, "src"), "/assets/")) {
			t.Errorf("%s: a script that is not ours", where)
		}
		if n.Data == "img" && !strings.HasPrefix(attr(n, "src"), "/assets/") {
			t.Errorf("%s: an image that is not ours", where)
		}
		for _, a := range n.Attr {
			if strings.HasPrefix(a.Key, "on") && a.Key != "on" || a.Key == "style" || a.Key == "srcdoc" {
				t.Errorf("%s: attribute %s=%q of <%s>", where, a.Key, a.Val, n.Data)
			}
			if (a.Key == "href" || a.Key == "src" || a.Key == "action") && !strings.HasPrefix(a.Val, "/") && !strings.HasPrefix(a.Val, "#") {
				t.Errorf("%s: %s=%q", where, a.Key, a.Val)
			}
		}
	}
}

func TestHostileTextsAreHarmless(t *testing.T) {
	f := hostileMorning(noon)
	h := Handler(f)
	for _, target := range append(allPages(f), "/boots?q="+url.QueryEscape(hostileText[:64]), "/boots?state="+url.QueryEscape(hostileText), "/"+url.PathEscape(hostileText)) {
		_, body := get(t, h, target)
		checkHarmless(t, target, body)
		if len(body) > 1<<20 {
			t.Errorf("%s: %d octets", target, len(body))
		}
	}
	_, body := get(t, h, "/boots/bad0bad0bad0bad0")
	if !strings.Contains(body, "&lt;script&gt;") || !strings.Contains(body, `\u202e`) {
		t.Error("the hostile text is not shown")
	}
}

// A stored attempt may hold more of everything than the bounds say; the page
// stays of a bounded size.
func TestPageOfAHugeAttemptIsBounded(t *testing.T) {
	long := strings.Repeat("<&\"'\u202e", 4000)
	a := hostile(noon)
	for range 40 {
		a.Foreign = append(a.Foreign, boot.Foreign{Type: long, Server: ip("192.0.2.9"), File: long + strconv.Itoa(len(a.Foreign)), Next: long, Class: long})
		a.Shapes = append(a.Shapes, boot.Shape{Block: len(a.Shapes)})
		a.MACs = append(a.MACs, boot.MAC(long))
		a.Firmwares = append(a.Firmwares, boot.Firmware(long))
		a.Verdicts = append(a.Verdicts, boot.Verdict{Name: boot.Reason(long), Text: long, Fix: long, Evidence: make([]boot.Evidence, 400)})
		a.Stages = append(a.Stages, boot.Stage{Name: boot.StageName(long), File: long, Count: 1, Reason: boot.Reason(long)})
	}
	for i := range a.Events {
		a.Events[i].Text, a.Events[i].File = long, long
	}
	f := &fake{now: func() time.Time { return noon }, attempts: []boot.Attempt{a}}
	_, body := get(t, Handler(f), bootPath(a.ID))
	if len(body) > 1<<20 {
		t.Errorf("%d octets", len(body))
	}
	checkHarmless(t, "huge", body)
}

// Every link leads somewhere: here, or to what the admin plane serves itself.
func TestLinks(t *testing.T) {
	f := morning(noon)
	f.crowd(120, noon)
	h := Handler(f)
	elsewhere := []string{"/health.json", "/metrics", "/api/v1/events", "/api/v1/attempts"}
	checked := map[string]bool{}
	for _, target := range allPages(f) {
		_, body := get(t, h, target)
		doc := parse(t, body)
		ids := map[string]bool{}
		for _, n := range elements(doc) {
			id := attr(n, "id")
			if id != "" && ids[id] {
				t.Errorf("%s: two elements with id %q", target, id)
			}
			ids[id] = true
		}
		for _, n := range elements(doc) {
			for _, key := range []string{"href", "src", "action", "data-live"} {
				link := attr(n, key)
				switch {
				case link == "" || checked[link] || slices.Contains(elsewhere, link):
					continue
				case strings.HasPrefix(link, "#"):
					if !ids[link[1:]] {
						t.Errorf("%s: nothing at %s", target, link)
					}
					continue
				case strings.HasPrefix(link, "/api/v1/attempts/"):
					rest := strings.TrimPrefix(link, "/api/v1/attempts/")
					id, what, _ := strings.Cut(rest, "/")
					if _, ok := f.Attempt(boot.AttemptID(id)); !ok || !slices.Contains([]string{"", "capture", "capture?redact=true"}, what) {
						t.Errorf("%s links to %s", target, link)
					}
					continue
				}
				checked[link] = true
				if key == "data-live" {
					w := httptest.NewRecorder()
					h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodHead, link, nil))
					if w.Code != 200 {
						t.Errorf("%s: live stream %s: status %d", target, link, w.Code)
					}
					continue
				}
				if r, _ := get(t, h, link); r.StatusCode != 200 {
					t.Errorf("%s: %s: status %d", target, link, r.StatusCode)
				}
			}
		}
	}
	if len(checked) < 20 {
		t.Errorf("only %d links found", len(checked))
	}
}

func TestAssets(t *testing.T) {
	h := Handler(morning(noon))
	for name := range assets {
		r, body := get(t, h, "/assets/"+name)
		etag := r.Header.Get("ETag")
		if r.StatusCode != 200 || body != string(assets[name].data) || etag == "" || r.Header.Get("Cache-Control") != "no-cache" {
			t.Errorf("%s: status %d, %d octets, etag %q, %q", name, r.StatusCode, len(body), etag, r.Header.Get("Cache-Control"))
		}
		if kind := r.Header.Get("Content-Type"); kind == "" || strings.HasPrefix(kind, "text/plain") {
			t.Errorf("%s: type %q", name, kind)
		}
		if r, _ := get(t, h, assetURL(name)); !strings.Contains(r.Header.Get("Cache-Control"), "immutable") {
			t.Errorf("%s with its version: %q", name, r.Header.Get("Cache-Control"))
		}
		if r, _ := get(t, h, "/assets/"+name+"?v=old"); strings.Contains(r.Header.Get("Cache-Control"), "immutable") {
			t.Errorf("%s with another version is kept for ever", name)
		}
		req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/assets/"+name, nil)
		req.Header.Set("If-None-Match", `"x", W/`+etag)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, req)
		if w.Code != http.StatusNotModified || w.Body.Len() != 0 {
			t.Errorf("%s: status %d for one who has it", name, w.Code)
		}
	}
	if n := len(assets["live.js"].data); n == 0 || n > 4000 {
		t.Errorf("the script has %d octets", n)
	}
	for _, bad := range []string{"/assets/", "/assets/none.css", "/assets/..%2fwebui.go", "/assets/a/b"} {
		if r, _ := get(t, h, bad); r.StatusCode != 404 {
			t.Errorf("%s: status %d", bad, r.StatusCode)
		}
	}
	for _, forbidden := range []string{"http://", "https://", "@import", "url("} {
		if strings.Contains(string(assets["style.css"].data), forbidden) {
			t.Errorf("the style has %q: nothing comes from elsewhere", forbidden)
		}
	}
}

// Contrast of texts on what lies behind them, by WCAG 2.1, section 1.4.3.
func TestContrast(t *testing.T) {
	css := string(assets["style.css"].data)
	light, dark, found := strings.Cut(css, "prefers-color-scheme: dark")
	if !found {
		t.Fatal("no dark colours")
	}
	schemes := map[string]map[string]float64{"light": colours(t, light), "dark": colours(t, dark)}
	for name, c := range schemes {
		check := func(front, back string, least float64) {
			a, b := c[front], c[back]
			if a == 0 && b == 0 {
				t.Errorf("%s: %s or %s is missing", name, front, back)
				return
			}
			if r := (max(a, b) + 0.05) / (min(a, b) + 0.05); r < least {
				t.Errorf("%s: %s on %s has contrast %.2f, want %.1f", name, front, back, r, least)
			}
		}
		for _, back := range []string{"page", "card", "dim-wash", "quiet"} {
			check("ink", back, 4.5)
			check("soft", back, 4.5)
		}
		for _, tone := range []string{"good", "bad", "warn", "now", "dim"} {
			check(tone, "card", 4.5)
			check(tone, "page", 4.5)
			check(tone, tone+"-wash", 4.5)
			check("ink", tone+"-wash", 4.5)
			check("soft", tone+"-wash", 4.5)
		}
		check("link", "card", 4.5)
		check("link", "page", 4.5)
		for _, lane := range []string{"dhcp", "other", "tftp", "http", "system"} {
			check(lane, "card", 4.5)
			check(lane, "bad-wash", 4.5)
			check(lane, "quiet", 3)
		}
	}
}

// colours reads the custom properties and gives their relative luminance.
func colours(t *testing.T, css string) map[string]float64 {
	t.Helper()
	m := map[string]float64{}
	for _, decl := range strings.FieldsFunc(css[:strings.Index(css+"}", "}")], func(r rune) bool { return r == ';' || r == '{' }) {
		name, value, ok := strings.Cut(strings.TrimSpace(decl), ":")
		value = strings.TrimSpace(value)
		if !ok || !strings.HasPrefix(name, "--") || len(value) != 7 || value[0] != '#' {
			continue
		}
		n, err := strconv.ParseUint(value[1:], 16, 32)
		if err != nil {
			t.Fatalf("%s: %v", decl, err)
		}
		part := func(v uint64) float64 {
			f := float64(v&255) / 255
			if f <= 0.03928 {
				return f / 12.92
			}
			return math.Pow((f+0.055)/1.055, 2.4)
		}
		m[name[2:]] = 0.2126*part(n>>16) + 0.7152*part(n>>8) + 0.0722*part(n)
	}
	if len(m) < 20 {
		t.Fatalf("%d colours found", len(m))
	}
	return m
}

func FuzzPage(f *testing.F) {
	for _, s := range []string{"/", "/boots", "/boots/5f1c0a77b2d94e10", "/lan", "/live?of=/", "/assets/style.css", "/boots/../..", "/boots?q=%00&state=bad&after=ff", "//evil.example/", "/live?of=http://evil.example/", "/.?\xd9"} {
		u, _ := url.Parse(s)
		f.Add(u.Path, u.RawQuery)
	}
	h := Handler(hostileMorning(noon))
	f.Fuzz(func(t *testing.T, path, query string) {
		req := &http.Request{Method: http.MethodGet, URL: &url.URL{Path: "/" + strings.TrimPrefix(path, "/"), RawQuery: query}, Header: http.Header{}, Host: "box"}
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // a stream ends at once
		w := httptest.NewRecorder()
		h.ServeHTTP(w, req.WithContext(ctx))
		if w.Code >= 500 || w.Code == 0 {
			t.Errorf("status %d", w.Code)
		}
		if w.Body.Len() > 1<<20 {
			t.Errorf("%d octets", w.Body.Len())
		}
		// A redirection to the tidy form of a path is net/http's.
		if w.Code/100 != 3 && strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") {
			checkHarmless(t, path, w.Body.String())
		}
	})
}

func FuzzClean(f *testing.F) {
	f.Add(hostileText, 40)
	f.Add("\xf0\x9f", 1)
	f.Fuzz(func(t *testing.T, s string, most int) {
		most = min(max(most, 0), 1000)
		got := clean(s, most)
		if !utf8.ValidString(got) {
			t.Errorf("%q is not UTF-8", got)
		}
		if n := utf8.RuneCountInString(got); n > most*10+1+2 { // \U escapes of one rune are at most 8 long, and two accents each
			t.Errorf("%d characters, want at most %d", n, most*10)
		}
		for _, r := range got {
			if !unicode.IsPrint(r) && !unicode.Is(unicode.M, r) {
				t.Errorf("%U got through", r)
			}
		}
	})
}

func BenchmarkOverview(b *testing.B) {
	f := morning(noon)
	f.crowd(1000, noon)
	h := Handler(f)
	for b.Loop() {
		get(b, h, "/")
	}
}

func BenchmarkBoot(b *testing.B) {
	f := morning(noon)
	h := Handler(f)
	for b.Loop() {
		get(b, h, "/boots/1111222233334444")
	}
}

func ExampleHandler() {
	srv := httptest.NewServer(Handler(morning(noon)))
	defer srv.Close()
	r, err := http.Get(srv.URL + "/boots/5f1c0a77b2d94e10")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer r.Body.Close()
	fmt.Println(r.StatusCode, r.Header.Get("Content-Type"))
	// Output: 200 text/html; charset=utf-8
}
