package admin

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func recorder() *httptest.ResponseRecorder { return httptest.NewRecorder() }

// TestUploadFormats: the Content-Type decides the form.
func TestUploadFormats(t *testing.T) {
	for media, want := range archives {
		b, f := newAPI()
		r, text := ask(t, Handler(b), "PUT", prefix+"/trees/new", "data", "Content-Type: "+media)
		if r.StatusCode != 201 || r.Header.Get("Location") != prefix+"/trees/new" || len(f.trees["new"].Programs) != 1 || f.trees["new"].Programs[0] != want {
			t.Errorf("%s: %d %s", media, r.StatusCode, text)
		}
		if tag := r.Header.Get("ETag"); tag != quoted(f.trees["new"].SHA256) {
			t.Errorf("%s: ETag %s", media, tag)
		}
	}
}

// TestUploadBound: too large is told as such, announced or not, whatever the
// unpacker makes of it.
func TestUploadBound(t *testing.T) {
	for _, announced := range []bool{true, false} {
		b, f := newAPI()
		b.Backend.MaxUpload = 1000
		r := request(t, "PUT", prefix+"/trees/new", strings.Repeat("x", 1001), "Content-Type: application/zip")
		if !announced {
			r.ContentLength = -1
		}
		w := recorder()
		Handler(b).ServeHTTP(w, r)
		if p := problemOf(t, w.Result(), w.Body.String()); p.Reason != causeTooLarge || !strings.Contains(p.Detail, "1000") {
			t.Errorf("announced %v: %+v", announced, p)
		}
		if _, ok := f.trees["new"]; ok {
			t.Error("kept")
		}
	}
}

// brokenBody fails while it is read.
type brokenBody struct{ err error }

func (b brokenBody) Read([]byte) (int, error) { return 0, b.err }
func (b brokenBody) Close() error             { return nil }

type timeoutError struct{}

func (timeoutError) Error() string { return "i/o timeout" }
func (timeoutError) Timeout() bool { return true }

// TestUploadCut: a body that ends early or stands still, whatever the unpacker
// makes of it.
func TestUploadCut(t *testing.T) {
	for _, c := range []struct {
		err  error
		want Cause
	}{{timeoutError{}, causeTimeout}, {io.ErrUnexpectedEOF, causeMalformed}, {errors.New("reset"), causeMalformed}} {
		for _, target := range []string{"/trees/new", "/import", "/groups/g"} {
			b, f := newAPI()
			method, media := "PUT", "application/zip"
			switch target {
			case "/import":
				method, media = "POST", typeYAML
			case "/groups/g":
				media = typeJSON
			}
			r := request(t, method, prefix+target, "x", "Content-Type: "+media)
			r.Body, r.ContentLength = brokenBody{c.err}, -1
			w := recorder()
			Handler(b).ServeHTTP(w, r)
			if p := problemOf(t, w.Result(), w.Body.String()); p.Reason != c.want {
				t.Errorf("%s, %v: %+v", target, c.err, p)
			}
			if _, ok := f.trees["new"]; ok || len(f.imported) > 0 {
				t.Error("kept")
			}
		}
	}
}

// TestUploadTooSlow: an upload that drips on ends when its time is over.
func TestUploadTooSlow(t *testing.T) {
	b, _ := newAPI()
	now := time.Now()
	b.Now = func() time.Time {
		now = now.Add(10 * time.Minute)
		return now
	}
	r := request(t, "PUT", prefix+"/trees/new", "x", "Content-Type: application/zip")
	r.Body, r.ContentLength = io.NopCloser(endless{}), -1
	w := recorder()
	Handler(b).ServeHTTP(w, r)
	if p := problemOf(t, w.Result(), w.Body.String()); p.Reason != causeTimeout {
		t.Errorf("%+v", p)
	}
}

// endless gives one octet at a time.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	p[0] = 'x'
	return 1, nil
}

// TestUploadOutlivesTheServersTime: over a real connection, an upload that
// keeps arriving takes longer than the server's limits for a whole request, and
// another one meanwhile waits its turn.
func TestUploadOutlivesTheServersTime(t *testing.T) {
	b, f := newAPI()
	srv := httptest.NewUnstartedServer(Handler(b))
	srv.Config.ReadTimeout, srv.Config.WriteTimeout = 300*time.Millisecond, 300*time.Millisecond
	srv.Start()
	defer srv.Close()
	var d net.Dialer
	conn, err := d.DialContext(t.Context(), "tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const parts = 8
	fmt.Fprintf(conn, "PUT %s/trees/new HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-tar\r\nContent-Length: %d\r\n\r\n", prefix, parts)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for range parts {
		<-tick.C
		if _, err := conn.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 201 || f.trees["new"].Bytes != parts {
		t.Errorf("%d %s %v", resp.StatusCode, text, err)
	}
}

// TestOneUploadAtATime: the second waits, and is told when it waits in vain.
func TestOneUploadAtATime(t *testing.T) {
	places := make(chan struct{}, 1)
	give, p := take(t.Context(), places)
	if p != nil {
		t.Fatalf("%+v", p)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, p := take(ctx, places); p == nil || p.Reason != causeBusy {
		t.Errorf("%+v", p)
	}
	give()
	give, p = take(t.Context(), places)
	if p != nil {
		t.Fatalf("%+v", p)
	}
	give()
}

// TestDeleteTreeInUse: a tree that a target needs stays.
func TestDeleteTreeInUse(t *testing.T) {
	b, f := newAPI()
	h := Handler(b)
	r, text := ask(t, h, "DELETE", prefix+"/trees/deb", "")
	if p := problemOf(t, r, text); p.Reason != causeInUse || len(p.By) != 1 || p.By[0] != "targets/debian" {
		t.Errorf("%+v", p)
	}
	if r, text := ask(t, h, "DELETE", prefix+"/targets/debian", ""); r.StatusCode != 204 {
		t.Fatalf("%d %s", r.StatusCode, text)
	}
	if r, text := ask(t, h, "DELETE", prefix+"/trees/deb", "", "If-Match: "+quoted(strings.Repeat("ab", 32))); r.StatusCode != 204 || len(f.trees) != 1 {
		t.Errorf("%d %s", r.StatusCode, text)
	}
}
