package bootweb_test

import (
	"net/http"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/bootpuck/bootpuck/appliance/boot"
	"github.com/bootpuck/bootpuck/appliance/bootweb"
)

// desk plays the side that knows tokens.
type desk struct{ asked []bootweb.Query }

func (d *desk) Script(dst []byte, q bootweb.Query) ([]byte, bootweb.Script) {
	d.asked = append(d.asked, q)
	switch {
	case strings.HasPrefix(q.Name, "x/good"):
		return append(dst, "#!ipxe\nboot\n"...), bootweb.Script{}
	case strings.HasPrefix(q.Name, "x/"):
		return append(dst, "#!ipxe\nexit\n"...), bootweb.Script{Reason: boot.ReasonToken}
	case strings.HasPrefix(q.Name, "a/good/"):
		return append(dst, "<xml/>"...), bootweb.Script{Type: "application/xml"}
	case strings.HasPrefix(q.Name, "a/"):
		return dst, bootweb.Script{Reason: boot.ReasonToken, Status: http.StatusNotFound}
	case strings.HasPrefix(q.Name, "cb/good/"):
		return append(dst, "ok\n"...), bootweb.Script{}
	case strings.HasPrefix(q.Name, "cb/"):
		return dst, bootweb.Script{Reason: boot.ReasonTokenUsed, Status: http.StatusGone}
	case strings.HasSuffix(q.Name, "/pxelinux.cfg/default"):
		return append(dst, "default local\n"...), bootweb.Script{}
	}
	return dst, bootweb.Script{Reason: boot.ReasonNotFound}
}

// TestTokens: what may be asked with which method, and that no token is ever
// seen in an event.
func TestTokens(t *testing.T) {
	t.Parallel()
	l := newLog()
	d := &desk{}
	_, base := start(t, bootweb.Config{Scripts: d, Sink: l.sink, Trees: fstest.MapFS{
		"debian/pxelinux.0":               {Data: []byte("px")},
		"debian/pxelinux.cfg/01-52-54-00": {Data: []byte("own")},
	}})
	c := client(t)
	for _, x := range []struct {
		method, path string
		status       int
		body, ctype  string
		allow        string
	}{
		{"GET", "/x/goodsecret", 200, "#!ipxe\nboot\n", "text/plain; charset=utf-8", ""},
		{"HEAD", "/x/goodsecret", 405, "", "text/plain; charset=utf-8", "GET"},
		{"POST", "/x/goodsecret", 405, boot.ReasonMethod.Text() + "\n", "text/plain; charset=utf-8", "GET"},
		{"HEAD", "/m/secret/1", 405, "", "text/plain; charset=utf-8", "GET"},
		{"HEAD", "/w/secret", 405, "", "text/plain; charset=utf-8", "GET"},
		// iPXE shows nothing of a refusal but its number, so it gets a script.
		{"GET", "/x/badsecret", 200, "#!ipxe\nexit\n", "text/plain; charset=utf-8", ""},
		{"GET", "/a/good/secret.xml", 200, "<xml/>", "application/xml", ""},
		{"HEAD", "/a/good/secret.xml", 200, "", "application/xml", ""},
		{"GET", "/a/badsecret/x", 404, boot.ReasonToken.Text() + "\n", "text/plain; charset=utf-8", ""},
		{"GET", "/cb/good/done", 200, "ok\n", "text/plain; charset=utf-8", ""},
		{"POST", "/cb/good/done", 200, "ok\n", "text/plain; charset=utf-8", ""},
		{"HEAD", "/cb/good/done", 405, "", "text/plain; charset=utf-8", "GET, POST"},
		{"GET", "/cb/badsecret/done", 410, boot.ReasonTokenUsed.Text() + "\n", "text/plain; charset=utf-8", ""},
		{"POST", "/b", 405, boot.ReasonMethod.Text() + "\n", "text/plain; charset=utf-8", "GET, HEAD"},
		{"GET", "/trees/debian/pxelinux.0", 200, "px", "application/octet-stream", ""},
		{"GET", "/trees/debian/pxelinux.cfg/01-52-54-00", 200, "own", "application/octet-stream", ""},
		{"GET", "/trees/debian/pxelinux.cfg/default", 200, "default local\n", "text/plain; charset=utf-8", ""},
		{"HEAD", "/trees/debian/pxelinux.cfg/default", 200, "", "text/plain; charset=utf-8", ""},
		{"GET", "/trees/debian/pxelinux.cfg/other", 404, boot.ReasonNotFound.Text() + "\n", "text/plain; charset=utf-8", ""},
		{"GET", "/trees/other/linux", 404, boot.ReasonNotFound.Text() + "\n", "text/plain; charset=utf-8", ""},
		{"GET", "/pxelinux.cfg/default", 404, boot.ReasonNotFound.Text() + "\n", "text/plain; charset=utf-8", ""},
	} {
		a := do(t, c, x.method, base+x.path)
		if a.status != x.status || a.body != x.body || a.header.Get("Content-Type") != x.ctype || a.header.Get("Allow") != x.allow {
			t.Errorf("%s %s: %+v, want %d %q %s", x.method, x.path, a, x.status, x.body, x.ctype)
		}
	}
	for _, e := range l.list() {
		if strings.Contains(e.File, "secret") && !strings.HasSuffix(e.File, "/secret.xml") || strings.Contains(e.File, "good") {
			t.Errorf("a token in an event: %+v", e)
		}
	}
}

// TestCallbackBody: a report may be posted, within bounds.
func TestCallbackBody(t *testing.T) {
	t.Parallel()
	d := &desk{}
	_, base := start(t, bootweb.Config{Scripts: d})
	post := func(body string) int {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+"/cb/good/log", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client(t).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	if got := post("partman: done"); got != 200 || string(d.asked[0].Body) != "partman: done" {
		t.Errorf("status %d, asked %+v", got, d.asked)
	}
	if got := post(strings.Repeat("x", 5000)); got != 413 || len(d.asked) != 1 {
		t.Errorf("status %d for a body beyond the limit, asked %d times", got, len(d.asked))
	}
}
