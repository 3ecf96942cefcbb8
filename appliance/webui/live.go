package webui

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// Bounds of live reading.
const (
	maxReaders = 16
	// pace is the shortest time between two renderings of a page's parts: more
	// often nobody reads.
	pace = 500 * time.Millisecond
	// breath is how often parts are rendered without being told of a change: what
	// has no news of its own (the LAN, health, elapsed time).
	breath = 2 * time.Second
	// quiet is after how long an unchanged page gets a comment, so that the
	// browser and proxies know that the stream lives.
	quiet = 15 * time.Second
	// patience is how long one write may take: a reader that stopped reading must
	// not hold its place for ever.
	patience = 30 * time.Second
	// retry is what browsers are told to wait before they come back.
	retry = 3 * time.Second
)

// hub counts the live readers and renders once for those that look at the same
// page.
type hub struct {
	site *site

	mu      sync.Mutex
	readers int
	views   map[string]*view // by address; as many as readers at most
}

// view is a page that somebody looks at.
type view struct {
	readers int // guarded by hub.mu

	mu    sync.Mutex
	made  time.Time
	parts []fragment
}

func newHub(s *site) *hub {
	return &hub{site: s, views: map[string]*view{}}
}

// enter takes a place for a reader of an address; nil when all are taken.
func (h *hub) enter(of string) *view {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.readers >= maxReaders {
		return nil
	}
	h.readers++
	v := h.views[of]
	if v == nil {
		v = &view{}
		h.views[of] = v
	}
	v.readers++
	return v
}

func (h *hub) leave(of string, v *view) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.readers--
	if v.readers--; v.readers == 0 {
		delete(h.views, of)
	}
}

// look returns the parts of the view, rendered not longer than pace ago.
func (h *hub) look(v *view, u *url.URL) []fragment {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := time.Now() // for measuring only; what is shown has the box's time
	if v.parts != nil && now.Sub(v.made) < pace {
		return v.parts
	}
	p := h.site.page(u)
	p.Parts = slices.DeleteFunc(p.Parts, func(p part) bool { return p.Fixed })
	v.parts, v.made = renderParts(p), now
	return v.parts
}

// serve is the stream: every part once, then each when it has changed.
func (h *hub) serve(w http.ResponseWriter, r *http.Request) {
	of := r.URL.Query().Get("of")
	u, err := url.Parse(of)
	if err != nil || len(of) > 1000 || u.IsAbs() || u.Host != "" || h.site.page(u).Live == "" {
		http.Error(w, "of: want the address of a page with live parts, like /live?of=/", http.StatusBadRequest)
		return
	}
	if r.Method == http.MethodHead { // would hold a place and read nothing
		w.Header().Set("Content-Type", "text/event-stream")
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	v := h.enter(of)
	if v == nil {
		busy(w)
		return
	}
	defer h.leave(of, v)
	updates := h.site.src.Updates(ctx)
	if updates == nil {
		busy(w)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no")
	s := &stream{w: w, rc: http.NewResponseController(w), seed: maphash.MakeSeed(), sent: map[string]uint64{}}
	// The server's own deadline is for requests, and this one never ends.
	_ = s.rc.SetReadDeadline(time.Time{})
	s.follow(ctx, updates, func() []fragment { return h.look(v, u) })
}

// busy turns a live reader away; its page stays readable and tries again.
func busy(w http.ResponseWriter) {
	w.Header().Set("Retry-After", "60")
	http.Error(w, "There are too many live readers. The page itself can be loaded again at any time.", http.StatusServiceUnavailable)
}

// stream is one reader's connection.
type stream struct {
	w    http.ResponseWriter
	rc   *http.ResponseController
	seed maphash.Seed
	sent map[string]uint64 // what the reader has, by part
}

func (s *stream) follow(ctx context.Context, updates <-chan boot.Attempt, look func() []fragment) {
	if !s.write(fmt.Sprintf("retry: %d\n\n", retry.Milliseconds())) || !s.send(look()) {
		return
	}
	breathe, comment := time.NewTicker(breath), time.NewTicker(quiet)
	defer breathe.Stop()
	defer comment.Stop()
	// due fires when a change that was told of may be rendered.
	due := time.NewTimer(0)
	due.Stop()
	defer due.Stop()
	waiting := false
	for {
		alive := true
		select {
		case <-ctx.Done():
			return
		case _, open := <-updates:
			if !open {
				return
			}
			if !waiting {
				waiting = true
				due.Reset(pace)
			}
		case <-due.C:
			waiting = false
			alive = s.send(look())
		case <-breathe.C:
			alive = s.send(look())
		case <-comment.C:
			alive = s.write(": still here\n\n")
		}
		if !alive {
			return
		}
	}
}

// send writes the parts that are not what the reader has.
func (s *stream) send(parts []fragment) bool {
	var b bytes.Buffer
	for _, f := range parts {
		sum := maphash.String(s.seed, string(f.HTML))
		if s.sent[f.ID] == sum {
			continue
		}
		data, err := json.Marshal([2]string{f.ID, string(f.HTML)})
		if err != nil {
			return false
		}
		s.sent[f.ID] = sum
		fmt.Fprintf(&b, "event: part\ndata: %s\n\n", data)
	}
	return b.Len() == 0 || s.write(b.String())
}

func (s *stream) write(text string) bool {
	_ = s.rc.SetWriteDeadline(time.Now().Add(patience))
	if _, err := s.w.Write([]byte(text)); err != nil {
		return false
	}
	return s.rc.Flush() == nil
}
