package bootweb

import (
	"errors"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"path"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// Route is a family of addresses. The set is closed: it is a metric label.
type Route string

// Routes.
const (
	RouteScript   Route = "script"   // rendered for the request
	RouteAnswer   Route = "answer"   // an answer file, for an installer
	RouteCallback Route = "callback" // an installer's report
	RouteBoot     Route = "boot"     // boot programs of the box
	RouteFiles    Route = "files"    // the operator's files and uploaded trees
	RoutePage     Route = "page"     // the box's own pages
	RouteNone     Route = "none"     // nothing there, or refused before anything was looked up
	RouteConn     Route = "conn"     // a connection refused before any request
)

// Routes lists every Route, for pre-created metrics.
func Routes() []Route {
	return []Route{RouteScript, RouteAnswer, RouteCallback, RouteBoot, RouteFiles, RoutePage, RouteNone, RouteConn}
}

// Result is one finished request, for exact counting.
type Result struct {
	Route    Route
	Status   int           // HTTP status; 0 when no answer was begun
	Reason   boot.Reason   // empty when all went well
	Bytes    int64         // octets of body sent
	Duration time.Duration // from the header's end to the last octet handed over
}

// filesPrefix is where the operator's directory is served, treesPrefix where
// uploaded trees are.
const (
	filesPrefix = "files/"
	treesPrefix = "trees/"
)

// peer is what is known of a connection; it is worked out once, not for every
// request.
type peer struct {
	base string // see Query.Base
	addr netip.Addr
}

type peerKey struct{}

func (s *Server) newPeer(local, remote net.Addr) *peer {
	p := &peer{base: s.cfg.BaseURL, addr: addrPort(remote).Addr()}
	if p.base == "" {
		p.base = baseURL(addrPort(local))
	}
	return p
}

// baseURL is our own address as the client reached us. The address is a
// literal: clients without an operating system often have no DNS.
func baseURL(local netip.AddrPort) string {
	switch {
	case !local.IsValid():
		return ""
	case local.Port() != 80:
		return "http://" + local.String()
	case local.Addr().Is6():
		return "http://[" + local.Addr().String() + "]"
	}
	return "http://" + local.Addr().String()
}

// peerOf finds the peer of r, also when the handler is used without Run.
func (s *Server) peerOf(r *http.Request) *peer {
	if p, ok := r.Context().Value(peerKey{}).(*peer); ok {
		return p
	}
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	remote, _ := netip.ParseAddrPort(r.RemoteAddr)
	return s.newPeer(local, net.TCPAddrFromAddrPort(remote))
}

// ServeHTTP answers one request. It never redirects: firmware reports a
// redirect as an error. That is why there is no http.ServeMux here.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	p := s.peerOf(r)
	res := Result{Route: RouteNone}
	ev := boot.Event{Kind: boot.KindHTTP, Addr: p.addr, File: clip(r.URL.Path)}
	defer func() {
		if v := recover(); v != nil {
			s.log.Error("panic while answering", "panic", v, "path", ev.File, "stack", string(debug.Stack()))
			res.Reason, ev.Reason = boot.ReasonInternal, boot.ReasonInternal
			if res.Status == 0 {
				s.refuse(w, r, &res, http.StatusInternalServerError, boot.ReasonInternal)
			} else {
				defer panic(http.ErrAbortHandler) // the client must not take half an answer for a whole one
			}
		}
		now := time.Now()
		res.Duration = now.Sub(began)
		s.cfg.Observe(res)
		if res.Route == RoutePage && res.Reason == boot.ReasonNone {
			return // people looking at a page are not part of any boot
		}
		ev.Time, ev.Reason, ev.Bytes, ev.Duration = now, res.Reason, res.Bytes, res.Duration
		s.tell(ev)
	}()

	name, ok := cleanName(r.URL.Path)
	route, shown, token := tokenRoute(name)
	switch {
	case token:
		ev.File = clip(shown)
	case !ok:
		// Whatever it is, a token may be in it.
		ev.File = "/…"
	}
	if methods := allowed(name); !slices.Contains(methods, r.Method) {
		w.Header().Set("Allow", strings.Join(methods, ", "))
		s.refuse(w, r, &res, http.StatusMethodNotAllowed, boot.ReasonMethod)
		return
	}
	firmware := strings.HasPrefix(r.UserAgent(), "UefiHttpBoot")
	if firmware {
		// A conditional request would allow status 304, a kind of answer this
		// firmware has no use for. It sends none; a proxy might.
		for _, h := range []string{"If-Modified-Since", "If-None-Match", "If-Match", "If-Unmodified-Since", "If-Range"} {
			r.Header.Del(h)
		}
	}
	switch {
	case !ok:
		s.refuse(w, r, &res, http.StatusNotFound, boot.ReasonNotFound)
	case name == "b", name == "s", name == "left":
		s.serveScript(w, r, p, name, &res, &ev)
	case token:
		s.serveToken(w, r, p, name, route, &res, &ev)
	case strings.HasPrefix(name, filesPrefix):
		s.serveTree(w, r, p, s.cfg.Files, name, filesPrefix, &res, &ev)
	case strings.HasPrefix(name, treesPrefix):
		s.serveTree(w, r, p, s.cfg.Trees, name, treesPrefix, &res, &ev)
	default:
		s.serveOther(w, r, p, name, firmware, &res, &ev)
	}
}

// serveTree answers for names below a prefix: a file of fsys, else a text that
// is rendered for the place (pxelinux.cfg/… beside an uploaded pxelinux.0).
func (s *Server) serveTree(w http.ResponseWriter, r *http.Request, p *peer, fsys fs.FS, name, prefix string, res *Result, ev *boot.Event) {
	res.Route = RouteFiles
	switch {
	case s.serveFile(w, r, fsys, name[len(prefix):], res, ev):
	case isConfigName(name):
		s.serveScript(w, r, p, name, res, ev)
	default:
		s.refuse(w, r, res, http.StatusNotFound, boot.ReasonNotFound)
	}
}

// serveOther answers for names at the root: an operator's own file of the same
// name, the box's boot programs, rendered texts, pages.
func (s *Server) serveOther(w http.ResponseWriter, r *http.Request, p *peer, name string, firmware bool, res *Result, ev *boot.Event) {
	script := isScriptName(name)
	bootFile := !script && s.hasBoot(name)
	if script || bootFile || isLoaderName(name) {
		res.Route = RouteFiles
		if s.serveFile(w, r, s.cfg.Files, name, res, ev) {
			return
		}
	}
	switch {
	case bootFile:
		res.Route = RouteBoot
		if s.serveFile(w, r, s.cfg.Boot, name, res, ev) {
			return
		}
	case script:
		s.serveScript(w, r, p, name, res, ev)
		return
	case s.cfg.Pages != nil && !firmware:
		if h := s.cfg.Pages(r.URL.Path); h != nil {
			res.Route = RoutePage
			cw := &countWriter{ResponseWriter: w, status: http.StatusOK}
			h.ServeHTTP(cw, r)
			if res.Status = cw.status; r.Method != http.MethodHead {
				res.Bytes = cw.n
			}
			return
		}
	}
	res.Route = RouteNone
	s.refuse(w, r, res, http.StatusNotFound, boot.ReasonNotFound)
}

// cleanName turns a request path into a name below the root. Doubled slashes,
// which careless joining of addresses makes, count as one; anything with a dot
// segment, a NUL or no leading slash is no name. The root itself is ".".
func cleanName(p string) (string, bool) {
	if p == "" || p[0] != '/' || strings.IndexByte(p, 0) >= 0 || len(p) > 1024 {
		return "", false
	}
	p = strings.TrimLeft(p, "/")
	if p == "" {
		return ".", true
	}
	if strings.Contains(p, "//") {
		parts := strings.Split(p, "/")
		kept := parts[:0]
		for i, part := range parts {
			if part != "" || i == len(parts)-1 {
				kept = append(kept, part)
			}
		}
		p = strings.Join(kept, "/")
	}
	// A trailing slash names a directory: never a file of ours, but perhaps a
	// page, which is looked up by the path as it came.
	return p, fs.ValidPath(strings.TrimSuffix(p, "/"))
}

// isScriptName says whether the text of that name is rendered.
func isScriptName(name string) bool {
	return path.Base(name) == "autoexec.ipxe" || strings.HasPrefix(name, "grub/grub.cfg") || isConfigName(name)
}

// isConfigName says whether the name is one that pxelinux tries for its
// configuration, in whatever folder it was started from.
func isConfigName(name string) bool { return path.Base(path.Dir(name)) == "pxelinux.cfg" }

// loaderNames are the boot programs that may be offered; an operator can supply
// one that the box lacks, or replace one, by putting it into the directory under
// the same name.
var loaderNames = sync.OnceValue(func() map[string]bool {
	m := map[string]bool{}
	for _, a := range boot.Archs() {
		if a.Loader != "" {
			m[a.Loader] = true
		}
	}
	return m
})

func isLoaderName(name string) bool { return loaderNames()[name] }

func (s *Server) hasBoot(name string) bool {
	if s.cfg.Boot == nil {
		return false
	}
	fi, err := fs.Stat(s.cfg.Boot, name)
	return err == nil && fi.Mode().IsRegular()
}

// Header values, kept as slices so that setting them allocates nothing.
var (
	textPlain = []string{"text/plain; charset=utf-8"}
	noStore   = []string{"no-store"}
	nosniff   = []string{"nosniff"}
)

// scriptBuffers holds the buffers scripts are rendered into.
var scriptBuffers = sync.Pool{New: func() any { b := make([]byte, 0, 8<<10); return &b }}

// query is a request for a text.
func (s *Server) query(r *http.Request, p *peer, name string) Query {
	q := Query{Name: name, RawQuery: r.URL.RawQuery, Base: p.base, Addr: p.addr}
	if s.cfg.WhoIs != nil {
		q.Client, q.Known = s.cfg.WhoIs(p.addr)
	}
	return q
}

// serveScript renders a text for the client. HEAD is a question like GET, also
// where asking counts as a boot: GRUB under HTTP Boot sends it first, for the
// length, and a repeated question does not count again.
func (s *Server) serveScript(w http.ResponseWriter, r *http.Request, p *peer, name string, res *Result, ev *boot.Event) {
	res.Route, ev.Kind = RouteScript, boot.KindScript
	s.render(w, r, s.query(r, p, name), res, ev)
}

// render answers with the text that q asks for.
func (s *Server) render(w http.ResponseWriter, r *http.Request, q Query, res *Result, ev *boot.Event) {
	buf := scriptBuffers.Get().(*[]byte)
	defer scriptBuffers.Put(buf)
	text, script := s.cfg.Scripts.Script((*buf)[:0], q)
	if cap(text) <= 64<<10 {
		*buf = text
	}
	s.identify(ev, q, script)
	ev.Text, ev.Action, ev.Profile, ev.Elsewhere = script.Text, script.Action, script.Profile, script.Elsewhere
	res.Reason = script.Reason
	status := script.status()
	if script.Reason == boot.ReasonNotFound || status >= http.StatusBadRequest && len(text) == 0 {
		s.refuse(w, r, res, status, script.Reason)
		return
	}
	h := w.Header()
	h["Content-Type"] = textPlain
	if script.Type != "" {
		h["Content-Type"] = []string{script.Type}
	}
	h["Content-Length"] = []string{strconv.Itoa(len(text))}
	h["Cache-Control"] = noStore
	h["X-Content-Type-Options"] = nosniff
	res.Status = status
	w.WriteHeader(status)
	if r.Method == http.MethodHead {
		return
	}
	n, err := w.Write(text)
	res.Bytes = int64(n)
	if err != nil {
		res.Reason = boot.ReasonInterrupted
	}
}

// identify says whose event it is: what the query states, else who was last
// seen using the address.
func (s *Server) identify(ev *boot.Event, q Query, script Script) {
	ev.MAC, ev.GUID = script.MAC, script.GUID
	if !q.Known {
		return
	}
	if ev.MAC == "" {
		ev.MAC = q.Client.MAC
	}
	if ev.GUID.IsZero() {
		ev.GUID = q.Client.GUID
	}
	ev.Arch, ev.ArchKnown, ev.Firmware = q.Client.Arch, q.Client.ArchKnown, q.Client.Firmware
}

// refuse answers with a status and a constant sentence: nothing of the request
// comes back.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, res *Result, status int, reason boot.Reason) {
	res.Status, res.Reason = status, reason
	body := reason.Text() + "\n"
	h := w.Header()
	h["Content-Type"] = textPlain
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	h["Cache-Control"] = noStore
	if status == http.StatusServiceUnavailable {
		h.Set("Retry-After", "2") // iPXE waits that long and asks again
	}
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		n, err := w.Write([]byte(body))
		res.Bytes = int64(n)
		if err != nil && !errors.Is(err, http.ErrBodyNotAllowed) {
			res.Reason = boot.ReasonInterrupted
		}
	}
}

// tell completes an event with the client and passes it on, abridged if its
// source raises too many.
func (s *Server) tell(ev boot.Event) {
	s.whose(&ev)
	if ev.Reason == boot.ReasonNone || ev.Reason == boot.ReasonInterrupted {
		s.news.fine(ev.Time, ev)
		return
	}
	s.news.refused(ev.Time, ev)
}

// whose says whose event it is, when the request did not.
func (s *Server) whose(ev *boot.Event) {
	if ev.MAC != "" || s.cfg.WhoIs == nil || ev.Kind == boot.KindScript {
		return
	}
	if c, ok := s.cfg.WhoIs(ev.Addr); ok {
		s.identify(ev, Query{Client: c, Known: true}, Script{})
	}
}

// clip bounds what a client's path takes up in an event.
func clip(p string) string {
	if len(p) > 256 {
		return p[:256]
	}
	return p
}
