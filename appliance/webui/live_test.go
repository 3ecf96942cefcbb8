package webui

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// pipe is a connection for tests in a bubble of synctest: it keeps what is
// written.
type pipe struct {
	mu     sync.Mutex
	header http.Header
	status int
	b      bytes.Buffer
	broken bool
}

func (p *pipe) Header() http.Header { return p.header }
func (p *pipe) WriteHeader(s int)   { p.status = s }
func (p *pipe) Flush()              {}
func (p *pipe) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.broken {
		return 0, http.ErrHandlerTimeout
	}
	return p.b.Write(b)
}

// parts returns the parts that were sent since the last call, by identifier.
func (p *pipe) parts(t *testing.T) map[string]string {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	got := map[string]string{}
	for block := range strings.SplitSeq(p.b.String(), "\n\n") {
		if data, ok := strings.CutPrefix(block, "event: part\ndata: "); ok {
			var part [2]string
			if err := json.Unmarshal([]byte(data), &part); err != nil {
				t.Fatalf("part %q: %v", data, err)
			}
			got[part[0]] = part[1]
		}
	}
	p.b.Reset()
	return got
}

// reader opens a stream in its own goroutine; it ends with stop.
func reader(t *testing.T, h http.Handler, of string) (p *pipe, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	p = &pipe{header: http.Header{}, status: http.StatusOK}
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.ServeHTTP(p, httptest.NewRequestWithContext(ctx, http.MethodGet, "/live?of="+of, nil))
	}()
	return p, func() {
		cancel()
		<-done
	}
}

// counting counts how often the LAN is asked for: once per rendering of the
// overview.
type counting struct {
	*fake
	asked atomic.Int64
}

func (c *counting) LAN() boot.LAN {
	c.asked.Add(1)
	return c.fake.LAN()
}

func TestLiveSendsWhatChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := morning(time.Now())
		f.now = time.Now
		h := Handler(f)
		p, stop := reader(t, h, "/boots/2222222233334444")
		defer stop()
		synctest.Wait()
		if got := p.parts(t); len(got) != 4 || !strings.Contains(got["verdict"], "1.1 GB of 2.8 GB") {
			t.Fatalf("first %d parts", len(got))
		}
		if kind := p.header.Get("Content-Type"); kind != "text/event-stream" {
			t.Errorf("type %q", kind)
		}
		a, _ := f.Attempt("2222222233334444")
		for i := range a.Stages {
			if a.Stages[i].Name == boot.StageFiles {
				a.Stages[i].Bytes = 2_200_000_000
			}
		}
		f.change(a)
		<-time.After(pace)
		synctest.Wait()
		got := p.parts(t)
		if !strings.Contains(got["verdict"], "2.2 GB of 2.8 GB") {
			t.Errorf("after the change: %v", got)
		}
		if got["evidence"] != "" {
			t.Error("a part that did not change was sent again")
		}
	})
}

// However much changes and however many look, a page is rendered twice a second
// at most; the form that somebody may be typing into is left alone.
func TestLiveWorkIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &counting{fake: morning(time.Now())}
		f.now = time.Now
		h := Handler(f)
		var stops []func()
		for range maxReaders {
			_, stop := reader(t, h, "/")
			stops = append(stops, stop)
		}
		synctest.Wait()
		a := asking(time.Now())
		before := f.asked.Load()
		for range 1000 {
			f.change(a)
			<-time.After(10 * ms)
		}
		synctest.Wait()
		// 10 s of changes: at most one rendering per pace, plus those of breath.
		if n := f.asked.Load() - before; n < 10 || n > 10*sec.Milliseconds()/pace.Milliseconds()+6 {
			t.Errorf("%d renderings in 10 s", n)
		}
		// No place is left; the page itself is.
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/live?of=/", nil))
		if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
			t.Errorf("reader %d got status %d", maxReaders+1, w.Code)
		}
		if r, _ := get(t, h, "/"); r.StatusCode != 200 {
			t.Errorf("the page got status %d", r.StatusCode)
		}
		for _, stop := range stops {
			stop()
		}
		p, stop := reader(t, h, "/boots")
		synctest.Wait()
		if got := p.parts(t); got["rows"] == "" || got["filter"] != "" {
			t.Errorf("after the others left: %d parts, form sent: %v", len(got), got["filter"] != "")
		}
		stop()
	})
}

func TestLiveSaysThatItLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		f := morning(start)
		f.now = func() time.Time { return start } // nothing changes
		p, stop := reader(t, Handler(f), "/lan")
		defer stop()
		synctest.Wait()
		p.parts(t)
		<-time.After(quiet + sec)
		synctest.Wait()
		if got := p.b.String(); got != ": still here\n\n" {
			t.Errorf("a quiet page sent %q", got)
		}
	})
}

// A reader that is gone is noticed at the next write, and its place is free.
func TestLiveReaderThatBroke(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := morning(time.Now())
		f.now = time.Now
		s := &site{src: f}
		s.live = newHub(s)
		p := &pipe{header: http.Header{}, broken: true}
		s.live.serve(p, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/live?of=/", nil))
		if s.live.readers != 0 || len(s.live.views) != 0 {
			t.Errorf("%d readers, %d views left", s.live.readers, len(s.live.views))
		}
	})
}

func TestLiveRefusals(t *testing.T) {
	f := morning(noon)
	f.readers = 0
	h := Handler(f)
	for of, want := range map[string]int{
		"": 400, "/nowhere": 400, "/boots/zz": 400, "http://elsewhere/": 400, "//elsewhere/": 400, "%25zz": 400, "/live": 400, "/assets/style.css": 400,
		"/boots?state=nonsense": 400, "/" + strings.Repeat("x", 2000): 400,
		"/": 503, // the source has no room
	} {
		r, _ := get(t, h, "/live?of="+of)
		if r.StatusCode != want {
			t.Errorf("%q: status %d, want %d", of, r.StatusCode, want)
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodHead, "/live?of=/", nil))
	if w.Code != 200 || w.Header().Get("Content-Type") != "text/event-stream" {
		t.Errorf("HEAD: status %d, %q", w.Code, w.Header().Get("Content-Type"))
	}
	// The place of a reader whom the source refused is free again.
	f.readers = -1
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 2 * maxReaders {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, "/live?of=/", nil))
		if w.Code != 200 {
			t.Fatalf("status %d", w.Code)
		}
	}
}

// TestLiveOutlivesTheServersDeadlines: the stream is read over a real
// connection of a server whose deadlines are much shorter than it.
func TestLiveOutlivesTheServersDeadlines(t *testing.T) {
	f := morning(time.Now())
	f.now = time.Now
	srv := httptest.NewUnstartedServer(Handler(f))
	srv.Config.ReadTimeout, srv.Config.WriteTimeout = 200*ms, 200*ms
	srv.Start()
	defer srv.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*sec)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL+"/live?of=/", nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	defer r.Body.Close()
	start, parts := time.Now(), 0
	lines := bufio.NewScanner(r.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "event: part") {
			parts++
		}
		// The running machines' times change, so that something comes.
		if time.Since(start) > 5*sec && parts > 7 {
			return
		}
	}
	t.Errorf("the stream ended after %s with %d parts: %v", time.Since(start), parts, lines.Err())
}

func TestManyPagesAtOnce(t *testing.T) {
	f := morning(time.Now())
	f.now = time.Now
	f.crowd(50, time.Now())
	h := Handler(f)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for _, target := range allPages(f) {
				w := httptest.NewRecorder()
				h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, target, nil))
				if w.Code >= 500 {
					t.Errorf("%s: status %d", target, w.Code)
				}
			}
			a := asking(time.Now())
			a.ID = boot.AttemptID(fmt.Sprintf("%016x", i))
			f.change(a)
		})
	}
	wg.Wait()
}
