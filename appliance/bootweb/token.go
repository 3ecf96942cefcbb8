package bootweb

import (
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// Addresses that hold a token: what a machine was given for its own boot alone.
// Their names never appear in an event, a log line or a metric, for the journal
// is read by more people than the answer file it would lead to.
const (
	prefixStart    = "x/"  // the script of an armed or once plan; counts the boot
	prefixMenu     = "m/"  // an entry of a menu
	prefixWait     = "w/"  // waiting for the operator
	prefixAnswer   = "a/"  // an answer file
	prefixCallback = "cb/" // an installer's report
)

// maxCallback bounds the body of an installer's report, in octets.
const maxCallback = 4 << 10

// tokenRoute recognises an address with a token. shown is the name without it.
func tokenRoute(name string) (route Route, shown string, ok bool) {
	for _, p := range []struct {
		prefix string
		route  Route
	}{
		{prefixStart, RouteScript},
		{prefixMenu, RouteScript},
		{prefixWait, RouteScript},
		{prefixAnswer, RouteAnswer},
		{prefixCallback, RouteCallback},
	} {
		rest, found := strings.CutPrefix(name, p.prefix)
		if !found {
			continue
		}
		_, tail, more := strings.Cut(rest, "/")
		shown = "/" + p.prefix + "…"
		if more {
			shown += "/" + tail
		}
		return p.route, shown, true
	}
	return "", "", false
}

// serveToken answers for an address with a token.
func (s *Server) serveToken(w http.ResponseWriter, r *http.Request, p *peer, name string, route Route, res *Result, ev *boot.Event) {
	res.Route, ev.Kind = route, boot.KindScript
	if route != RouteScript {
		ev.Kind = boot.KindHTTP
	}
	q := s.query(r, p, name)
	if r.Method == http.MethodPost {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxCallback))
		if err != nil {
			status, reason := http.StatusBadRequest, boot.ReasonInterrupted
			if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
				status, reason = http.StatusRequestEntityTooLarge, boot.ReasonParameter
			}
			s.refuse(w, r, res, status, reason)
			return
		}
		q.Body = body
	}
	s.render(w, r, q, res, ev)
}

// allowed are the methods an address answers. Fetching a script of a plan, or an
// entry of a menu, does something; HEAD there would do it unseen.
func allowed(name string) []string {
	switch {
	case strings.HasPrefix(name, prefixCallback):
		return []string{http.MethodGet, http.MethodPost}
	case strings.HasPrefix(name, prefixStart), strings.HasPrefix(name, prefixMenu), strings.HasPrefix(name, prefixWait):
		return []string{http.MethodGet}
	}
	return []string{http.MethodGet, http.MethodHead}
}
