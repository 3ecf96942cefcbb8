package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/bootpuck/bootpuck/appliance/boot"
	"github.com/bootpuck/bootpuck/appliance/health"
	"github.com/bootpuck/bootpuck/appliance/journal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newBox() *Box {
	return &Box{
		Name: "bootpuck-0001", Version: "v0", AdminPort: 8080, Now: time.Now, Started: time.Now(),
		Journal: journal.New(100, time.Now),
		Health: func() health.Report {
			return health.Report{Name: "box", Title: "Box", Status: health.OK, Children: []health.Report{
				{Name: "state", Title: "State", Status: health.Degraded, Reason: boot.ReasonStateVolatile, Text: boot.ReasonStateVolatile.Text()},
			}}
		},
		Interfaces: func() []Interface {
			return []Interface{{Name: "eth0", MAC: "52:54:00:00:00:01", Up: true, Served: true, Addrs: []string{}}}
		},
		Responders: func() []Responder {
			return []Responder{{Addr: "192.0.2.1", Role: "DHCP server", Says: []string{"sends option 60"}}}
		},
	}
}

func get(t *testing.T, h http.Handler, method, target string) *http.Response {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, target, nil))
	return w.Result()
}

func body(t *testing.T, r *http.Response) string {
	t.Helper()
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestPagesAreServed: what is not the API's is left to the pages, with the
// headers that keep hostile strings harmless.
func TestPagesAreServed(t *testing.T) {
	b := newBox()
	b.Pages = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "page "+r.URL.Path) })
	h := Handler(b)
	for path, want := range map[string]string{"/": "page /", "/boots/x": "page /boots/x", "/api/v1/nope": "openapi.yaml"} {
		r := get(t, h, "GET", path)
		if text := body(t, r); !strings.Contains(text, want) {
			t.Errorf("%s: %q", path, text)
		}
		if csp := r.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "script-src") {
			t.Errorf("%s: policy %q", path, csp)
		}
	}
}

func TestHealthAndStatusJSON(t *testing.T) {
	b := newBox()
	var h struct {
		Worst    string
		Children []struct{ Name, Status, Reason, Text string }
	}
	r := get(t, Handler(b), "GET", "/health.json")
	if err := json.Unmarshal([]byte(body(t, r)), &h); err != nil {
		t.Fatal(err)
	}
	if r.StatusCode != 200 || h.Worst != "degraded" || h.Children[0].Reason != "state_volatile" {
		t.Errorf("%d %+v: a reservation is no failure", r.StatusCode, h)
	}
	b.Health = func() health.Report { return health.Report{Status: health.Failed} }
	if r := get(t, Handler(b), "GET", "/health.json"); r.StatusCode != 503 {
		t.Errorf("a failed box answers %d", r.StatusCode)
	}
	var s map[string]any
	if err := json.Unmarshal([]byte(body(t, get(t, Handler(b), "GET", "/api/v1/status"))), &s); err != nil || s["name"] != "bootpuck-0001" {
		t.Errorf("%v %v", s, err)
	}
}

func TestEventsJSON(t *testing.T) {
	b := newBox()
	for range 5 {
		b.Journal.Record(boot.Event{Kind: boot.KindOffer})
	}
	for target, want := range map[string]int{"/api/v1/events": 5, "/api/v1/events?after=3": 2, "/api/v1/events?limit=1": 1, "/api/v1/events?after=99": 0} {
		var got struct {
			Events []map[string]any
			Last   uint64
		}
		r := get(t, Handler(b), "GET", target)
		if err := json.Unmarshal([]byte(body(t, r)), &got); err != nil || got.Events == nil || len(got.Events) != want || got.Last != 5 {
			t.Errorf("%s: %+v, %v", target, got, err)
		}
	}
	for _, target := range []string{"/api/v1/events?after=x", "/api/v1/events?limit=0", "/api/v1/events?limit=99999"} {
		r := get(t, Handler(b), "GET", target)
		if text := body(t, r); r.StatusCode != 400 || !strings.Contains(text, "want a") {
			t.Errorf("%s: %d %s", target, r.StatusCode, text)
		}
	}
}

func TestOnlyReading(t *testing.T) {
	h := Handler(newBox())
	for _, m := range []string{"POST", "PUT", "DELETE", "PATCH"} {
		for _, p := range []string{"/", "/api/v1/events", "/nope"} {
			if r := get(t, h, m, p); r.StatusCode != http.StatusMethodNotAllowed {
				t.Errorf("%s %s: %d", m, p, r.StatusCode)
			}
		}
	}
	if r := get(t, h, "GET", "/nope"); r.StatusCode != 404 {
		t.Errorf("%d", r.StatusCode)
	}
}

// TestStream reads history, then a live event, over a real connection.
func TestStream(t *testing.T) {
	b := newBox()
	b.Journal.Record(boot.Event{Kind: boot.KindOffer})
	b.Journal.Record(boot.Event{Kind: boot.KindTFTP})
	srv := httptest.NewServer(Handler(b))
	defer srv.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL+"/api/v1/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	req.Header.Set("Last-Event-ID", "1")
	r, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if ct := r.Header.Get("Content-Type"); ct != "text/event-stream" {
		t.Errorf("type %q", ct)
	}
	lines := bufio.NewScanner(r.Body)
	var got []string
	for lines.Scan() {
		line := lines.Text()
		switch {
		case strings.HasPrefix(line, "id: "):
			got = append(got, line)
		case line == ": live":
			b.Journal.Record(boot.Event{Kind: boot.KindScript})
		}
		if len(got) == 2 {
			break
		}
	}
	if strings.Join(got, ",") != "id: 2,id: 3" {
		t.Errorf("got %v, want the event after the last one seen, then the live one", got)
	}
	cancel()
}

func TestFrontPageLink(t *testing.T) {
	for host, want := range map[string]string{
		"192.0.2.2": "http://192.0.2.2:8080/", "192.0.2.2:80": "http://192.0.2.2:8080/", "[fe80::1]": "http://[fe80::1]:8080/",
		"bootpuck.local": "http://bootpuck.local:8080/", `evil"><b>`: "", "": "", "a@b": "",
	} {
		if got := adminURL(host, 8080); got != want {
			t.Errorf("host %q: link %q, want %q", host, got, want)
		}
	}
	page := body(t, get(t, FrontPage(newBox()), "GET", "http://192.0.2.2/"))
	if !strings.Contains(page, `href="http://192.0.2.2:8080/"`) || strings.Contains(page, "52:54:00") {
		t.Errorf("front page: %s", page)
	}
}
