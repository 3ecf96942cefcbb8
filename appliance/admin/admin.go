// Package admin is the operator's side of the box over HTTP: the health tree and
// the JSON API below /api/v1, which openapi.yaml describes.
// It has its own listeners, apart from the boot plane. It decides nothing about
// machines: that is the Registry's.
//
// Threat model, until claim and login exist. A stranger on the LAN can look at
// what he could overhear anyway (hardware addresses, boot file names, which
// machine boots what). He can neither change anything nor read what the boot
// plane gives only to the machine that it is for: passwords, variables,
// templates, rendered texts; nor what machines logged, where such things turn
// up, nor packets. For those a caller must sit on the box itself or
// show the token that stands in the state directory. A web page in a browser on
// the box is no caller on the box: requests of other sites are refused, and so
// are those under a name that somebody else may have made to point to us. A
// caller with the token may do everything, but not by mistake: nothing is
// overwritten that he has not read, no body is half understood, and no body or
// answer is larger than its bound. Every page sends a policy that forbids
// scripts and framing and escapes whatever came from clients.
package admin

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
	"github.com/bootpuck/bootpuck/appliance/health"
	"github.com/bootpuck/bootpuck/appliance/journal"
)

// Box is what the pages show of the box; the functions are called per request
// and must not block.
type Box struct {
	Name       string
	Version    string
	AdminPort  int // for the link from the boot plane's page; 0: no link
	Started    time.Time
	Observe    bool
	Health     func() health.Report
	Interfaces func() []Interface
	Responders func() []Responder
	Journal    *journal.Journal
	Metrics    http.Handler // nil: no /metrics on the admin port
	Now        func() time.Time
	Log        *slog.Logger // nil: nothing is logged
	// Token is what callers from elsewhere must show to change anything or to
	// read secrets; nil, or one shorter than 16 octets: nobody can.
	Token func() string
	// Settings is the start-up settings document, to be shown; nil: none.
	Settings func() any
	Backend  Backend
	// Pages serves what is not the API: the live page and all below it. Nil: there
	// are none.
	Pages http.Handler
	// Monitoring serves /monitoring/: dashboard, rules, runbooks. Nil: not there.
	Monitoring http.Handler
}

// Interface is a network interface as the status page shows it.
type Interface struct {
	Name   string   `json:"name"`
	MAC    string   `json:"mac"`
	Up     bool     `json:"up"`
	Served bool     `json:"served"`
	Addrs  []string `json:"addresses"`
}

// Responder is another DHCP or PXE server as the status page shows it.
type Responder struct {
	Addr      string    `json:"addr"`
	MAC       string    `json:"mac"`
	Interface string    `json:"interface"`
	Role      string    `json:"role"`
	Says      []string  `json:"says,omitempty"`
	LastSeen  time.Time `json:"last_seen"`
}

// Limits of the event API.
const (
	defaultEvents = 200
	maxEvents     = 4096
	// keepAlive is how often an idle stream gets a comment, so that proxies and
	// the reader know that it lives.
	keepAlive = 15 * time.Second
)

// Handler is the admin plane.
func Handler(b *Box) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health.json", b.health)
	mux.Handle(prefix+"/", apiHandler(b))
	if b.Metrics != nil {
		mux.Handle("GET /metrics", b.Metrics)
	}
	if b.Monitoring != nil {
		mux.Handle("GET /monitoring/", b.Monitoring)
	}
	if b.Pages != nil {
		mux.Handle("/", b.Pages) // it refuses what is neither GET nor HEAD itself
		return guard(mux)
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "only GET and HEAD are answered here", http.StatusMethodNotAllowed)
			return
		}
		http.Error(w, "no such page; see /", http.StatusNotFound)
	})
	return guard(mux)
}

// guard sets the headers that keep hostile strings harmless in a browser.
func guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

func (b *Box) health(w http.ResponseWriter, _ *http.Request) {
	r := b.Health()
	code := http.StatusOK
	if s := r.Worst(); s == health.Failed || s == health.Blocked {
		code = http.StatusServiceUnavailable
	}
	writeJSON(w, code, struct {
		Worst health.Status `json:"worst"`
		health.Report
	}{r.Worst(), r})
}

func (b *Box) statusJSON(w http.ResponseWriter, _ *http.Request) {
	var settings any
	if b.Settings != nil {
		settings = b.Settings()
	}
	writeJSON(w, http.StatusOK, struct {
		Name       string      `json:"name"`
		Version    string      `json:"version"`
		Started    time.Time   `json:"started"`
		Observe    bool        `json:"observe"`
		Interfaces []Interface `json:"interfaces"`
		Responders []Responder `json:"responders"`
		Settings   any         `json:"settings,omitempty"`
	}{b.Name, b.Version, b.Started, b.Observe, orEmpty(b.Interfaces()), orEmpty(b.Responders()), settings})
}

// orEmpty keeps a list a list in JSON.
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// events answers with JSON, or with a stream when the reader asks for
// text/event-stream. Parameters: after (sequence number), limit. A stream
// resumes by the Last-Event-ID header.
// To strangers, what machines logged is masked.
func (b *Box) events(w http.ResponseWriter, r *http.Request, trusted bool) {
	after, limit := uint64(0), defaultEvents
	var err error
	q := r.URL.Query()
	if s := q.Get("after"); s != "" {
		if after, err = strconv.ParseUint(s, 10, 64); err != nil {
			queryProblem(boot.FieldError{Field: "after", What: "want a sequence number"}).write(w, r)
			return
		}
	}
	if s := q.Get("limit"); s != "" {
		if limit, err = strconv.Atoi(s); err != nil || limit < 1 || limit > maxEvents {
			queryProblem(boot.FieldError{Field: "limit", What: fmt.Sprintf("want a number from 1 to %d", maxEvents)}).write(w, r)
			return
		}
	}
	live := r.Header.Get("Accept") == typeStream
	switch {
	case r.Method == http.MethodHead:
		// A live reader of nothing would hold its connection for ever.
		w.Header().Set("Content-Type", map[bool]string{true: typeStream, false: typeJSON}[live])
		return
	case !live:
		b.history(w, after, limit, trusted)
		return
	}
	if s := r.Header.Get("Last-Event-ID"); s != "" {
		if n, err := strconv.ParseUint(s, 10, 64); err == nil {
			after = n
		}
	}
	b.stream(w, r, after, limit, trusted)
}

// history writes past events one by one: the whole as one text would be many
// times as large as the events are in memory, for every reader at once.
func (b *Box) history(w http.ResponseWriter, after uint64, limit int, trusted bool) {
	list, last := b.Journal.Since(after, limit)
	w.Header().Set("Content-Type", typeJSON)
	if _, err := fmt.Fprint(w, "{\n  \"events\": ["); err != nil {
		return
	}
	separator := "\n    "
	for _, e := range list {
		if !trusted {
			e = maskEvent(e)
		}
		data, err := json.Marshal(e)
		if err != nil {
			continue // no event can be like that; the others still count
		}
		if _, err := fmt.Fprintf(w, "%s%s", separator, data); err != nil {
			return
		}
		separator = ",\n    "
	}
	fmt.Fprintf(w, "\n  ],\n  \"last\": %d\n}\n", last)
}

// stream sends past events above after, then live ones until the reader leaves.
func (b *Box) stream(w http.ResponseWriter, r *http.Request, after uint64, limit int, trusted bool) {
	sub := b.Journal.Subscribe(r.Context())
	if sub == nil {
		causeBusy.problem("There are too many live readers.").write(w, r)
		return
	}
	rc := http.NewResponseController(w)
	w.Header().Set("Content-Type", typeStream)
	send := func(e boot.Event) bool {
		if e.Seq <= after {
			return true // was in the history already
		}
		after = e.Seq
		if !trusted {
			e = maskEvent(e)
		}
		data, err := json.Marshal(e)
		if err != nil {
			return false
		}
		// A reader that stopped reading must not hold the connection for ever.
		_ = rc.SetWriteDeadline(b.Now().Add(2 * keepAlive))
		_, err = fmt.Fprintf(w, "id: %d\nevent: %s\ndata: %s\n\n", e.Seq, e.Kind, data)
		return err == nil
	}
	past, _ := b.Journal.Since(after, limit)
	for _, e := range past {
		if !send(e) {
			return
		}
	}
	_, _ = fmt.Fprint(w, ": live\n\n")
	if rc.Flush() != nil {
		return
	}
	tick := time.NewTicker(keepAlive)
	defer tick.Stop()
	for {
		select {
		case e, open := <-sub.Events():
			if !open || !send(e) {
				return
			}
			if n := sub.Missed(); n > 0 {
				if _, err := fmt.Fprintf(w, "event: missed\ndata: %d\n\n", n); err != nil {
					return
				}
			}
		case <-tick.C:
			_ = rc.SetWriteDeadline(b.Now().Add(2 * keepAlive))
			if _, err := fmt.Fprint(w, ": still here\n\n"); err != nil {
				return
			}
		}
		if rc.Flush() != nil {
			return
		}
	}
}

func writeJSON(w http.ResponseWriter, code int, v any) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", typeJSON)
	w.Header().Set("Content-Length", strconv.Itoa(buf.Len()))
	w.WriteHeader(code)
	_, _ = w.Write(buf.Bytes())
}

//go:embed pages.html
var pagesText string

var pages = template.Must(template.New("").Parse(pagesText))

// FrontPage is the box's page on the boot plane: who this is and where the
// operator's side is, nothing else.
func FrontPage(b *Box) http.Handler {
	return guard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		link := ""
		if b.AdminPort != 0 {
			link = adminURL(r.Host, b.AdminPort)
		}
		b.page(w, "front", map[string]any{"Box": b, "Link": link, "Health": b.Health()})
	}))
}

func (b *Box) page(w http.ResponseWriter, name string, data any) {
	var buf bytes.Buffer
	if err := pages.ExecuteTemplate(&buf, name, data); err != nil {
		http.Error(w, "the page could not be made", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(buf.Len()))
	_, _ = w.Write(buf.Bytes())
}
