package admin

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// TestJudge is the table of who may do what.
func TestJudge(t *testing.T) {
	const (
		near = "127.0.0.1:4711"
		far  = "192.0.2.77:4711"
	)
	bearer := "Authorization: Bearer " + testToken
	for _, c := range []struct {
		name    string
		remote  string
		headers []string
		token   string           // the box's; default testToken
		want    map[access]Cause // "" lets in
		trusted bool
	}{
		{"a stranger", far, nil, "", refusedAs(causeLogin), false},
		{"a stranger with the token", far, []string{bearer}, "", nil, true},
		{"the scheme in another case", far, []string{"Authorization: bearer " + testToken}, "", nil, true},
		{"a wrong token", far, []string{"Authorization: Bearer 0123456789abcdef-tokeN"}, "", everywhere(causeLogin), false},
		{"a longer token", far, []string{bearer + "x"}, "", everywhere(causeLogin), false},
		{"an empty token", far, []string{"Authorization: Bearer "}, "", everywhere(causeLogin), false},
		{"another scheme", far, []string{"Authorization: Basic " + testToken}, "", everywhere(causeLogin), false},
		{"no scheme", far, []string{"Authorization: " + testToken}, "", everywhere(causeLogin), false},
		{"a box without a token", far, []string{"Authorization: Bearer "}, "none", everywhere(causeLogin), false},
		{"a box with a short token", far, []string{"Authorization: Bearer short"}, "short", everywhere(causeLogin), false},
		{"the box itself", near, nil, "", nil, true},
		{"the box itself without a token", near, nil, "none", nil, true},
		{"the box itself by IPv6", "[::1]:4711", []string{"Host: [::1]:8080"}, "", nil, true},
		{"the box itself, mapped", "[::ffff:127.0.0.1]:4711", nil, "", nil, true},
		{"the box itself with a wrong token", near, []string{"Authorization: Bearer wrong"}, "", everywhere(causeLogin), false},
		{"the box itself as localhost", near, []string{"Host: localhost:8080"}, "", nil, true},
		{"the box itself by its name", near, []string{"Host: BOOTPUCK-0001.local."}, "", nil, true},
		{"DNS rebinding", near, []string{"Host: evil.example:8080", "Origin: http://evil.example:8080", "Sec-Fetch-Site: same-origin"}, "", refusedAs(causeHost), false},
		{"a proxy on the box", near, []string{"X-Forwarded-For: 203.0.113.9"}, "", refusedAs(causeLogin), false},
		{"another proxy on the box", near, []string{"Via: 1.1 x"}, "", refusedAs(causeLogin), false},
		{"a proxy with the token", near, []string{"Forwarded: for=203.0.113.9", "Host: boot.example", bearer}, "", nil, true},
		{"another site's page", near, []string{"Sec-Fetch-Site: cross-site", "Origin: https://evil.example"}, "", refusedAs(causeCrossOrigin), false},
		{"another port's page", near, []string{"Sec-Fetch-Site: same-site", "Origin: http://127.0.0.1:3000"}, "", refusedAs(causeCrossOrigin), false},
		{"an old browser, another site", near, []string{"Origin: https://evil.example"}, "", map[access]Cause{accessWrite: causeCrossOrigin}, true},
		{"a sandboxed page", near, []string{"Origin: null"}, "", map[access]Cause{accessWrite: causeCrossOrigin}, true},
		{"our own page", near, []string{"Sec-Fetch-Site: same-origin", "Origin: http://192.0.2.2:8080"}, "", nil, true},
		{"the address line", near, []string{"Sec-Fetch-Site: none"}, "", nil, true},
		{"another site's page with the token", far, []string{"Sec-Fetch-Site: cross-site", "Origin: https://evil.example", bearer}, "", map[access]Cause{accessWrite: causeCrossOrigin}, true},
		{"no address", "pipe", nil, "", refusedAs(causeLogin), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			token := c.token
			switch token {
			case "":
				token = testToken
			case "none":
				token = ""
			}
			for level, method := range map[access]string{accessOpen: "GET", accessSecret: "GET", accessWrite: "PUT"} {
				r := request(t, method, prefix+"/settings", "", append([]string{"-Authorization", "Remote: " + c.remote}, c.headers...)...)
				trusted, refused := judge(callerOf(r), level, token, "bootpuck-0001")
				got := Cause("")
				if refused != nil {
					got = refused.Reason
				}
				if got != c.want[level] {
					t.Errorf("level %d: refused as %q, want %q", level, got, c.want[level])
				}
				if want := c.trusted && c.want[level] == ""; trusted != want {
					t.Errorf("level %d: trusted %v, want %v", level, trusted, want)
				}
			}
		})
	}
	// Two Authorization headers: which one would count?
	r := request(t, "GET", prefix+"/export", "")
	r.Header.Add("Authorization", "Bearer other")
	if _, p := judge(callerOf(r), accessSecret, testToken, ""); p == nil {
		t.Error("two tokens at once are let in")
	}
}

// refusedAs refuses what needs a right.
func refusedAs(c Cause) map[access]Cause { return map[access]Cause{accessSecret: c, accessWrite: c} }

// everywhere refuses reading too.
func everywhere(c Cause) map[access]Cause {
	return map[access]Cause{accessOpen: c, accessSecret: c, accessWrite: c}
}

func TestOwnHost(t *testing.T) {
	for host, want := range map[string]bool{
		"192.0.2.2": true, "192.0.2.2:8080": true, "[2001:db8::1]": true, "[2001:db8::1]:8080": true, "localhost": true, "LocalHost:1": true,
		"box": true, "box:8080": true, "box.local": true, "box.": true, "fe80::1": true,
		"": false, ":8080": false, "box.example": false, "localhost.example": false, "xbox": false, "192.0.2.2.nip.example": false,
		"[box]": false, "box:": false, "127.0.0.1.": false, "0x7f000001": false, "2130706433": false,
	} {
		if got := ownHost(host, "box"); got != want {
			t.Errorf("%q: %v, want %v", host, got, want)
		}
	}
	if ownHost("", "") || ownHost(".local", "") {
		t.Error("a box without a name has any name")
	}
}

// TestEveryWriteIsProtected: no operation that changes something or shows a
// secret answers a stranger, another site's page or a rebound name, and none of
// them reaches the backend.
func TestEveryWriteIsProtected(t *testing.T) {
	for _, r := range routes() {
		if (r.method != "GET") != (r.access == accessWrite) {
			t.Errorf("%s %s: access %d", r.method, r.pattern, r.access)
		}
		if r.access == accessOpen {
			continue
		}
		target := prefix + strings.NewReplacer("{name}", "m1", "{code}", "Q4ZT").Replace(r.pattern)
		body := "{}"
		if r.takes == nil {
			body = ""
		}
		for name, c := range map[string]struct {
			headers []string
			want    Cause
		}{
			"stranger": {nil, causeLogin}, "page": {[]string{"Remote: 127.0.0.1:1", "Sec-Fetch-Site: cross-site"}, causeCrossOrigin},
			"rebound": {[]string{"Remote: 127.0.0.1:1", "Host: evil.example"}, causeHost}, "wrong": {[]string{"Authorization: Bearer x"}, causeLogin},
		} {
			b, _ := newAPI()
			// A backend that must not be asked.
			b.Backend.Registry, b.Backend.Exchange, b.Backend.Trees, b.Backend.Preview = nil, nil, nil, nil
			headers := append([]string{"-Authorization"}, c.headers...)
			if r.takes != nil {
				headers = append(headers, "Content-Type: "+r.takes[0])
			}
			resp, text := ask(t, Handler(b), r.method, target, body, headers...)
			p := problemOf(t, resp, text)
			if p.Reason != c.want {
				t.Errorf("%s %s by a %s: %+v", r.method, r.pattern, name, p)
			}
			if (p.Status == 401) != (resp.Header.Get("WWW-Authenticate") != "") {
				t.Errorf("%s: WWW-Authenticate %q", name, resp.Header.Get("WWW-Authenticate"))
			}
		}
		// The token is enough to get past: the missing backend is met.
		b, _ := newAPI()
		b.Backend = Backend{}
		var headers []string
		if r.takes != nil {
			headers = append(headers, "Content-Type: "+r.takes[0])
		}
		resp, text := ask(t, Handler(b), r.method, target, body, headers...)
		if p := problemOf(t, resp, text); p.Reason != causeStarting || resp.Header.Get("Retry-After") == "" {
			t.Errorf("%s %s before the records are there: %+v", r.method, r.pattern, p)
		}
	}
}

// TestSecretsAreMasked: what strangers read holds no secret anywhere, and who
// has the token reads all of them.
func TestSecretsAreMasked(t *testing.T) {
	b, _ := newAPI()
	h := Handler(b)
	found := map[string]bool{}
	for _, r := range routes() {
		if r.method != "GET" || r.pattern == "/events" {
			continue
		}
		var targets []string
		switch kind := strings.Split(r.pattern, "/")[1]; {
		case r.pattern == "/machines/{name}/assignment":
			targets = []string{"/machines/m2/assignment"}
		case strings.HasPrefix(r.pattern, "/machines/{name}"):
			targets = []string{strings.Replace(r.pattern, "{name}", "m1", 1)}
		case strings.Contains(r.pattern, "{name}"):
			for _, name := range []string{"debian", "disk", "install", "lab", "vms", "preseed", "deb"} {
				targets = append(targets, "/"+kind+"/"+name)
			}
		default:
			targets = []string{r.pattern}
		}
		for _, target := range targets {
			_, open := ask(t, h, "GET", prefix+target, "")
			for _, s := range []string{"san-secret", "profile-secret", "group-secret", "template-secret", "machine-secret", "site-secret"} {
				found[s] = found[s] || strings.Contains(open, s)
			}
			for name, headers := range map[string][]string{
				"a stranger": {"-Authorization"}, "a rebound name": {"-Authorization", "Remote: 127.0.0.1:1", "Host: evil.example"},
				"another site": {"-Authorization", "Remote: 127.0.0.1:1", "Sec-Fetch-Site: cross-site"},
			} {
				resp, text := ask(t, h, "GET", prefix+target, "", headers...)
				if strings.Contains(text, "-secret") {
					t.Errorf("%s reads a secret at %s: %s", name, target, text)
				}
				if !slices.Contains(resp.Header.Values("Vary"), "Authorization") && resp.StatusCode == 200 {
					t.Errorf("%s: no Vary", target)
				}
			}
		}
	}
	if len(found) != 6 {
		t.Fatal(found)
	}
	for s, ok := range found {
		if !ok {
			t.Errorf("the operator does not see %s anywhere", s)
		}
	}
}

// TestMaskedIsNotWrittenBack: a document that was read without its secrets
// cannot destroy them, by its text or by its ETag.
func TestMaskedIsNotWrittenBack(t *testing.T) {
	for path, text := range map[string]string{
		"/targets/disk": "san.password", "/profiles/install": "variables.root", "/groups/lab": "variables.k",
		"/templates/preseed": "text", "/settings": "variables.key", "/machines/m1": "variables.p",
	} {
		b, f := newAPI()
		h := Handler(b)
		resp, doc := ask(t, h, "GET", prefix+path, "", "-Authorization")
		tag := resp.Header.Get("ETag")
		if tag != `"1-masked"` || !strings.Contains(doc, Masked) {
			t.Fatalf("%s: ETag %s: %s", path, tag, doc)
		}
		r, text2 := ask(t, h, "PUT", prefix+path, doc, `If-Match: "1"`)
		if p := problemOf(t, r, text2); p.Reason != causeFields || len(p.Errors) != 1 || p.Errors[0].Field != text {
			t.Errorf("%s: %+v", path, p)
		}
		doc = strings.ReplaceAll(doc, Masked, "new")
		r, text2 = ask(t, h, "PUT", prefix+path, doc, "If-Match: "+tag)
		if p := problemOf(t, r, text2); p.Reason != causeRevision || !strings.Contains(p.Detail, "without its secrets") || r.Header.Get("ETag") != `"1"` {
			t.Errorf("%s: %+v %v", path, p, r.Header)
		}
		for kind, docs := range f.docs {
			for name, d := range docs {
				if d.Rev != 1 {
					t.Errorf("%s/%s was changed", kind, name)
				}
			}
		}
	}
	// The registry's own document is not what is masked.
	b, f := newAPI()
	ask(t, Handler(b), "GET", prefix+"/targets/disk", "", "-Authorization")
	d, _ := f.Get(KindTargets, "disk")
	if disk, ok := d.Value.(boot.Target); !ok || disk.SAN.Password != "san-secret" {
		t.Errorf("masking has changed the record: %+v", d.Value)
	}
}

// TestCallerOf: a remote address that is none is nobody's.
func TestCallerOf(t *testing.T) {
	for remote, want := range map[string]string{
		"192.0.2.1:5": "192.0.2.1", "[::ffff:192.0.2.1]:5": "192.0.2.1", "[fe80::1%eth0]:5": "fe80::1%eth0", "@": "", "": "", "192.0.2.1": "",
	} {
		c := callerOf(&http.Request{Method: "GET", RemoteAddr: remote, Header: http.Header{}})
		if want == "" && c.remote.IsValid() || want != "" && c.remote != netip.MustParseAddr(want) {
			t.Errorf("%q: %v", remote, c.remote)
		}
	}
}
