package monitoring

import (
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

func get(t *testing.T, method, path string, header ...string) *http.Response {
	t.Helper()
	r := httptest.NewRequest(method, path, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	Handler().ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestHandler(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		method, path string
		status       int
		mime, has    string
	}{
		{"GET", "/monitoring/", 200, mimePage, "dashboard.json"},
		{"GET", "/monitoring", 301, "", ""},
		{"GET", "/monitoring/dashboard.json", 200, "application/json", `"title": "bootpuck"`},
		{"GET", "/monitoring/rules/alerts.yml", 200, mimeText, "alert: BootpuckDown"},
		{"GET", "/monitoring/rules/recording.yml", 200, mimeText, "record: "},
		{"GET", "/monitoring/tests/lan.yml", 200, mimeText, "BootpuckRogueDHCP"},
		{"GET", "/monitoring/prometheus.example.yml", 200, mimeText, "job_name: bootpuck"},
		{"GET", "/monitoring/runbooks/BootpuckDown", 200, mimePage, "<h1>BootpuckDown</h1>"},
		{"GET", "/monitoring/runbooks/BootpuckDown.md", 200, mimeText, "# BootpuckDown"},
		{"HEAD", "/monitoring/runbooks/BootpuckDown", 200, mimePage, ""},
		{"POST", "/monitoring/", 405, mimeText, ""},
		{"GET", "/monitoring/runbooks/", 404, mimeText, ""},
		{"GET", "/monitoring/../monitoring.go", 404, mimeText, ""},
		{"GET", "/monitoring/hour_test.go", 404, mimeText, ""},
		{"GET", "/elsewhere", 404, mimeText, ""},
	} {
		r := get(t, tt.method, tt.path)
		text := body(t, r)
		if r.StatusCode != tt.status || tt.mime != "" && r.Header.Get("Content-Type") != tt.mime || !strings.Contains(text, tt.has) {
			t.Errorf("%s %s: %d %s %.80q", tt.method, tt.path, r.StatusCode, r.Header.Get("Content-Type"), text)
		}
		if tt.method == "HEAD" && text != "" {
			t.Errorf("HEAD has a body")
		}
		if p := r.Header.Get("Content-Security-Policy"); !strings.HasPrefix(p, "default-src 'none'; style-src 'sha256-") || r.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: policy %q", tt.path, p)
		}
	}
	tag := get(t, "GET", "/monitoring/").Header.Get("ETag")
	if r := get(t, "GET", "/monitoring/", "If-None-Match", tag); tag == "" || r.StatusCode != 304 {
		t.Errorf("tag %q: %d", tag, r.StatusCode)
	}
	// A stranger's path is not sent back.
	if text := body(t, get(t, "GET", "/monitoring/%3Cscript%3E")); strings.Contains(text, "script") {
		t.Errorf("the path came back: %q", text)
	}
}

// TestLinksLead: every link on every page is answered.
func TestLinksLead(t *testing.T) {
	t.Parallel()
	href := regexp.MustCompile(`href="([^"]*)"`)
	seen, todo := map[string]bool{Prefix: true}, []string{Prefix}
	for len(todo) > 0 {
		at := todo[0]
		todo = todo[1:]
		r := get(t, "GET", at)
		if r.StatusCode != 200 {
			t.Errorf("%s: status %d", at, r.StatusCode)
			continue
		}
		if r.Header.Get("Content-Type") != mimePage {
			continue
		}
		base, err := url.Parse(at)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range href.FindAllStringSubmatch(body(t, r), -1) {
			u, err := base.Parse(html.UnescapeString(m[1]))
			if err != nil {
				t.Errorf("%s: %v", at, err)
				continue
			}
			if !seen[u.Path] {
				seen[u.Path] = true
				todo = append(todo, u.Path)
			}
		}
	}
	for path := range documents() {
		if !seen[Prefix+path] && !strings.HasSuffix(path, ".md") {
			t.Errorf("no link leads to %s", path)
		}
	}
}

func TestRender(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, source, want string }{
		{"heading", "# A <b>\n\ntext", "<h1>A &lt;b&gt;</h1>\n<p>text</p>\n"},
		{"list", "- a\n  b\n- c\n\nend", "<ul>\n<li>a\nb</li>\n<li>c</li>\n</ul>\n<p>end</p>\n"},
		{"code", "x\n\n    a < b\n    c\n\ny", "<p>x</p>\n<pre>a &lt; b\nc</pre>\n<p>y</p>\n"},
		{"inline", "`<a>` and [x](y?a&b) [z](javascript:1)", "<p><code>&lt;a&gt;</code> and <a href=\"y?a&amp;b\">x</a> [z](javascript:1)</p>\n"},
		{"not closed", "a ` b [c](d", "<p>a ` b [c](d</p>\n"},
		{"no heading", "#x\n#### y", "<p>#x\n#### y</p>\n"},
	} {
		if got := render(tt.source); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// FuzzRender: whatever the text, only the few elements come out, each closed.
func FuzzRender(f *testing.F) {
	for _, s := range []string{"# a\n- b\n  c\n\n    d", "[a](b)`c`", "<script>", "- \n-", "[[a](b)", "[a](\"x)", "`[`](a)", "    \n\t", "[](javascript:x)"} {
		f.Add(s)
	}
	tag := regexp.MustCompile(`</?(?:h[123]|p|ul|li|pre|code|a)>|<a href="[^"<>]*">`)
	f.Fuzz(func(t *testing.T, source string) {
		out := render(source)
		var open []string
		for _, m := range tag.FindAllString(out, -1) {
			name := strings.Trim(strings.SplitN(m, " ", 2)[0], "</>")
			if !strings.HasPrefix(m, "</") {
				open = append(open, name)
				continue
			}
			if len(open) == 0 || open[len(open)-1] != name {
				t.Fatalf("%q: %q is closed out of order", out, name)
			}
			open = open[:len(open)-1]
		}
		if rest := tag.ReplaceAllString(out, ""); len(open) > 0 || strings.ContainsAny(rest, "<>") {
			t.Fatalf("%q: open %v", out, open)
		}
		if strings.Contains(strings.ToLower(out), `href="javascript:`) {
			t.Fatalf("a script became a link: %q", out)
		}
	})
}
