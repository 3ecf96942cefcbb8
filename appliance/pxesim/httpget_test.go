package pxesim

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

type handlerTransport struct {
	http.Handler
	log *[]string
}

func (h handlerTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	*h.log = append(*h.log, r.Method+" "+r.URL.Path)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	res := w.Result()
	res.Request = r
	return res, nil
}

// The rules of HttpBootDxe, and what iPXE makes of the same server.
func TestHTTPRules(t *testing.T) {
	body := strings.Repeat("x", 3000)
	serve := func(kind string, length bool) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", kind)
			if length {
				w.Header().Set("Content-Length", "3000")
			}
			if r.Method == http.MethodGet {
				_, _ = w.Write([]byte(body))
			}
		}
	}
	redirect := http.RedirectHandler("/final.efi", http.StatusFound)
	busy := 0
	tests := []struct {
		name, path string
		handler    http.Handler
		firmware   HTTPFailure
		ipxe       HTTPFailure
		requests   int // of the firmware
	}{
		{"type and extension", "/a.efi", serve("application/efi", true), 0, 0, 2},
		{"extension only", "/a.EFI", serve("text/plain", true), 0, 0, 2},
		{"type only", "/a", serve("application/efi; charset=x", true), 0, 0, 2},
		{"iso", "/a.iso", serve("", true), 0, 0, 2},
		{"neither: fails after HEAD and GET", "/a", serve("application/octet-stream", true), HTTPNoType, 0, 2},
		{"no length", "/a.efi", serve("application/efi", false), HTTPNoLength, 0, 2},
		{"not found", "/a.efi", http.NotFoundHandler(), HTTPStatus, HTTPStatus, 1},
		{"redirect", "/a.efi", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/final.efi" {
				serve("application/efi", true)(w, r)
				return
			}
			redirect.ServeHTTP(w, r)
		}), HTTPRedirect, 0, 1},
		{"endless redirect", "/a.efi", redirect, HTTPRedirect, HTTPRedirect, 1},
		{"busy", "/a.efi", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if busy++; busy <= 2 {
				w.Header().Set("Retry-After", "2")
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			serve("application/efi", true)(w, r)
		}), HTTPStatus, 0, 1},
		{"too large", "/a.efi", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "5000")
			if r.Method == http.MethodGet {
				_, _ = w.Write(make([]byte, 5000))
			}
		}), HTTPTooLarge, HTTPTooLarge, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				for _, firmware := range []bool{true, false} {
					busy = 0
					var log []string
					c := &HTTPClient{Transport: handlerTransport{tt.handler, &log}, Firmware: firmware, MaxBytes: 4000, Keep: 4}
					began := time.Now()
					d, err := c.Get(t.Context(), "http://192.0.2.2"+tt.path)
					want := tt.ipxe
					if firmware {
						want = tt.firmware
					}
					got := HTTPFailure(0)
					if e, ok := errors.AsType[*HTTPError](err); ok {
						got = e.Failure
					}
					if got != want {
						t.Errorf("firmware %v: failure %d (%v), want %d", firmware, got, err, want)
					}
					if err == nil && (d.Bytes != 3000 || string(d.Head) != "xxxx") {
						t.Errorf("firmware %v: %d bytes, head %q", firmware, d.Bytes, d.Head)
					}
					if firmware && len(log) != tt.requests {
						t.Errorf("requests %q", log)
					}
					if !firmware && tt.name == "busy" && time.Since(began) != 4*time.Second {
						t.Errorf("Retry-After honoured for %v", time.Since(began))
					}
				}
			})
		})
	}
}

func TestHTTPURLs(t *testing.T) {
	var log []string
	c := &HTTPClient{Transport: handlerTransport{http.NotFoundHandler(), &log}, RefusePlain: true}
	for _, u := range []string{"", "x", "ftp://h/x", "http:///x", "http://h/%zz", "http://192.0.2.2/x.efi", "http://h\n/x"} {
		_, err := c.Get(t.Context(), u)
		if e, ok := errors.AsType[*HTTPError](err); !ok || e.Failure != HTTPBadURL {
			t.Errorf("%q: %v", u, err)
		}
	}
	if len(log) != 0 {
		t.Errorf("requests went out: %q", log)
	}
}

// UEFI HTTP boot end to end: HEAD before GET with the firmware's name, plain http refused where the
// vendor says so, misleading errors as in the field.
func TestHTTPBoot(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newLAN(t)
		r := l.play(profile(t, "http-x64"))
		want := "HEAD http://192.0.2.2/x86_64/snponly.efi UefiHttpBoot/1.0 GET http://192.0.2.2/x86_64/snponly.efi UefiHttpBoot/1.0"
		if got := strings.Join(l.httpLog, " "); got != want || !r.OK {
			t.Errorf("%s; requests %s", r.Verdict, got)
		}
	})
	for _, tt := range []struct {
		handler http.Handler
		https   bool
		code    Code
	}{
		{http.NotFoundHandler(), false, CodeHTTPServer},
		{http.RedirectHandler("/x", 302), false, CodeHTTPServer},
		{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(200) }), false, CodeHTTPSize},
		{nil, true, CodeHTTPServer},
	} {
		bubble(t, func(t *testing.T) {
			l := newLAN(t)
			l.httpHandler = tt.handler
			p := profile(t, "http-x64")
			p.Quirks.RefusePlainHTTP = tt.https
			if r := l.play(p); r.Code != tt.code {
				t.Errorf("code %q (%s), want %q", r.Code, r.Verdict, tt.code)
			}
		})
	}
}
