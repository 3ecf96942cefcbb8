// Package webui is the live side of the box for people: what the LAN looks
// like, which machines boot now, why one did not. Pages are rendered here, whole
// and readable without any script; one small script replaces the parts that
// changed while a page is open.
//
// It decides nothing and changes nothing: it reads what others know (Source) and
// every address answers GET and HEAD only.
//
// Threat model. Nearly every text that is shown came from a stranger: host
// names, vendor classes, file names, log lines, what a switch says about
// itself. html/template escapes all of them, in drawings too; control characters
// and those that turn the direction of text are made visible before (clean), and
// long ones are cut. The policy that goes with each page forbids inline scripts
// and styles, framing and everything from elsewhere, so that even a mistake here
// runs nothing. Whoever reaches the admin port can look, hence no page shows
// what the JSON API masks. Readers are bounded: live ones by number, all by the
// bounded size of what is shown, and a part is rendered at most twice a second
// however many machines boot and however many people look.
package webui

import (
	"bytes"
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
	"github.com/bootpuck/bootpuck/appliance/health"
)

// Source is what the pages are made of. All of it is called per request or, for
// live readers, at most twice a second; nothing of it may block.
type Source interface {
	// Box is who this is.
	Box() BoxInfo
	// Health is the health tree as it is now.
	Health() health.Report
	// LAN is what is known of the network around the box.
	LAN() boot.LAN
	// Findings are what is wrong with the LAN now, worst first.
	Findings() []boot.Verdict
	// Attempts lists attempts without their events, newest first; next is what
	// After of the following page is to be, empty when there is none.
	Attempts(q Query) (list []boot.Attempt, next boot.AttemptID)
	// Attempt is one of them, whole.
	Attempt(id boot.AttemptID) (boot.Attempt, bool)
	// Updates tells of attempts that changed, until ctx ends; nil when there are
	// too many readers. The channel is closed at the end.
	Updates(ctx context.Context) <-chan boot.Attempt
	// Events are the latest n events, oldest first.
	Events(n int) []boot.Event
}

// BoxInfo is who the box is.
type BoxInfo struct {
	Site    string // what the operator calls the place; may be empty
	Name    string
	Version string
	Observe bool      // the box sends nothing
	Started time.Time // of this run
	Now     time.Time
}

// Query says which attempts are wanted; zero fields match everything. It has the
// same fields as the journal's, so that one converts to the other.
type Query struct {
	MAC          boot.MAC
	Machine      boot.MachineID
	States       []boot.AttemptState
	Verdict      boot.Reason
	Since, Until time.Time
	After        boot.AttemptID
	Limit        int
}

// policy is the Content-Security-Policy of every page: nothing but our own
// style, script, pictures and live stream.
const policy = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; " +
	"frame-ancestors 'none'; base-uri 'none'; form-action 'self'"

// site is the handler and what its requests share.
type site struct {
	src  Source
	live *hub
}

// Handler serves the pages at /, their assets below /assets/ and the live stream
// at /live.
func Handler(src Source) http.Handler {
	s := &site{src: src}
	s.live = newHub(s)
	mux := http.NewServeMux()
	for _, r := range routes {
		mux.HandleFunc("GET "+r.pattern, func(w http.ResponseWriter, req *http.Request) {
			s.serve(w, s.page(req.URL))
		})
	}
	mux.HandleFunc("GET /live", s.live.serve)
	mux.HandleFunc("GET /assets/{name}", asset)
	mux.HandleFunc("/", func(w http.ResponseWriter, req *http.Request) {
		if req.Method != http.MethodGet && req.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "only GET and HEAD are answered here", http.StatusMethodNotAllowed)
			return
		}
		s.serve(w, notice(s.src.Box(), http.StatusNotFound, "Not found", "There is no such page."))
	})
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		mux.ServeHTTP(w, req)
	})
}

// serve sends a page. It is rendered before the first octet leaves: half a page
// with status 200 would be taken for a whole one.
func (s *site) serve(w http.ResponseWriter, p *page) {
	var b bytes.Buffer
	if err := templates.ExecuteTemplate(&b, "page", struct {
		*page
		Rendered []fragment
	}{p, renderParts(p)}); err != nil {
		http.Error(w, "the page could not be made", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(b.Len()))
	w.WriteHeader(p.Status)
	_, _ = w.Write(b.Bytes())
}
