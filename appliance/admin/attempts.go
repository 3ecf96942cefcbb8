package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
	"github.com/bootpuck/bootpuck/appliance/journal"
)

// Attempts are the boots of machines, each told as a whole. *journal.Attempts is
// one. Its methods are safe for concurrent use.
type Attempts interface {
	Get(id boot.AttemptID) (boot.Attempt, bool)
	// List returns boots without their events, newest first, and what to ask for
	// After next; "" when there are no more.
	List(q journal.AttemptQuery) ([]boot.Attempt, boot.AttemptID)
	// Subscribe returns nil when there are too many readers.
	Subscribe(ctx context.Context) *journal.AttemptSubscription
}

// Bounds of the list of attempts.
const (
	defaultAttempts = 50
	maxAttempts     = 500
	maxSpan         = 3660 * 24 * time.Hour // ten years: longer is a mistake
)

// typePcap is the media type of packet captures.
const typePcap = "application/vnd.tcpdump.pcap"

// attemptFilters are the parameters that choose among attempts.
var attemptFilters = []string{"machine", "mac", "state", "verdict", "since", "until", "limit", "after"}

func (a *api) attempts() (Attempts, *Problem) {
	if a.Backend.Attempts == nil {
		return nil, causeStarting.problem("The box is still reading its records; ask again in a moment.")
	}
	return a.Backend.Attempts, nil
}

// getAttempts lists boots, or streams them as they go on.
func (a *api) getAttempts(w http.ResponseWriter, c *call) {
	attempts, p := a.attempts()
	if p != nil {
		p.write(w, c.Request)
		return
	}
	q, p := attemptQuery(c.URL.Query(), a.Now())
	if p != nil {
		p.write(w, c.Request)
		return
	}
	live := c.Header.Get("Accept") == typeStream
	switch {
	case live && c.Method == http.MethodHead:
		// A live reader of nothing would hold its connection for ever.
		w.Header().Set("Content-Type", typeStream)
	case live:
		a.follow(w, c, attempts, q)
	default:
		list, next := attempts.List(q)
		writeList(w, c, len(list), string(next), func(i int) any { return attemptDoc(list[i], c.trusted, false) })
	}
}

// attemptQuery reads the parameters of a list of attempts; now is the box's
// clock, from which time spans count.
func attemptQuery(v url.Values, now time.Time) (journal.AttemptQuery, *Problem) {
	q := journal.AttemptQuery{Limit: defaultAttempts}
	var errs boot.FieldErrors
	read := func(name string, take func(s string) error) {
		s := v.Get(name)
		if s == "" {
			return
		}
		if err := take(s); err != nil {
			errs = append(errs, boot.FieldError{Field: name, What: err.Error()})
		}
	}
	read("machine", func(s string) error {
		if !goodName(s) {
			return errors.New("want the id of a machine")
		}
		q.Machine = boot.MachineID(s)
		return nil
	})
	read("mac", func(s string) (err error) {
		q.MAC, err = boot.ParseMAC(s)
		return err
	})
	read("verdict", func(s string) error {
		if !slices.Contains(boot.VerdictNames(), boot.Reason(s)) {
			return fmt.Errorf("want one of %s", joined(boot.VerdictNames()))
		}
		q.Verdict = boot.Reason(s)
		return nil
	})
	read("since", func(s string) (err error) {
		q.Since, err = moment(s, now)
		return err
	})
	read("until", func(s string) (err error) {
		q.Until, err = moment(s, now)
		return err
	})
	read("limit", func(s string) (err error) {
		if q.Limit, err = strconv.Atoi(s); err != nil || q.Limit < 1 || q.Limit > maxAttempts {
			err = fmt.Errorf("want a number from 1 to %d", maxAttempts)
		}
		return err
	})
	read("after", func(s string) error {
		if !goodName(s) {
			return errors.New("want the value of next of the page before")
		}
		q.After = boot.AttemptID(s)
		return nil
	})
	// A comma and another parameter of the name mean the same.
	for s := range strings.SplitSeq(strings.Join(v["state"], ","), ",") {
		state := boot.AttemptState(s)
		switch {
		case s == "" && len(v["state"]) == 0:
		case !slices.Contains(boot.AttemptStates(), state):
			errs = append(errs, boot.FieldError{Field: "state", What: "want some of " + joined(boot.AttemptStates())})
		case !slices.Contains(q.States, state):
			q.States = append(q.States, state)
		}
	}
	if len(errs) > 0 {
		return q, queryProblem(errs...)
	}
	return q, nil
}

func joined[T ~string](list []T) string {
	words := make([]string, 0, len(list))
	for _, w := range list {
		words = append(words, string(w))
	}
	return strings.Join(words, ", ")
}

// moment is a time, or how long ago it was: "2h", "3d".
func moment(s string, now time.Time) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	ago, err := time.ParseDuration(s)
	if days, ok := strings.CutSuffix(s, "d"); ok {
		var n int
		if n, err = strconv.Atoi(days); n > int(maxSpan.Hours()/24) {
			n = -1
		}
		ago = time.Duration(n) * 24 * time.Hour
	}
	if err != nil || ago <= 0 || ago > maxSpan {
		return time.Time{}, errors.New(`want a time like 2026-01-31T15:04:05Z, or how long ago like 90m, 2h or 3d`)
	}
	return now.Add(-ago), nil
}

// fits says whether an attempt is one that the query asks for, as List does.
func fits(q journal.AttemptQuery, t *boot.Attempt) bool {
	switch {
	case q.Machine != "" && t.Machine != q.Machine,
		q.MAC != "" && t.MAC != q.MAC && !slices.Contains(t.MACs, q.MAC),
		len(q.States) > 0 && !slices.Contains(q.States, t.State),
		q.Verdict != "" && !slices.ContainsFunc(t.Verdicts, func(v boot.Verdict) bool { return v.Name == q.Verdict }),
		!q.Since.IsZero() && t.Last.Before(q.Since),
		!q.Until.IsZero() && !t.Start.Before(q.Until):
		return false
	}
	return true
}

// attemptDoc is an attempt as the caller may see it, with its events or
// without.
func attemptDoc(t boot.Attempt, trusted, events bool) boot.Attempt {
	t.Stages = orEmpty(t.Stages)
	if !trusted {
		t.Verdicts = maskVerdicts(t.Verdicts)
	}
	switch {
	case !events:
		t.Events = nil
	case !trusted:
		list := make([]boot.Event, 0, len(t.Events))
		for _, e := range t.Events {
			list = append(list, maskEvent(e))
		}
		t.Events = list
	}
	return t
}

// follow sends past attempts, oldest first, then each one as it changes, until
// the reader leaves.
func (a *api) follow(w http.ResponseWriter, c *call, attempts Attempts, q journal.AttemptQuery) {
	// Nothing may be missed between the past and the live ones.
	sub := attempts.Subscribe(c.Context())
	if sub == nil {
		causeBusy.problem("There are too many live readers.").write(w, c.Request)
		return
	}
	rc := http.NewResponseController(w)
	w.Header().Set("Content-Type", typeStream)
	send := func(t boot.Attempt) bool {
		data, err := json.Marshal(attemptDoc(t, c.trusted, false))
		if err != nil {
			return false
		}
		// A reader that stopped reading must not hold the connection for ever.
		_ = rc.SetWriteDeadline(a.Now().Add(2 * keepAlive))
		_, err = fmt.Fprintf(w, "event: attempt\ndata: %s\n\n", data)
		return err == nil
	}
	past, _ := attempts.List(q)
	for _, t := range slices.Backward(past) {
		if !send(t) {
			return
		}
	}
	if _, err := fmt.Fprint(w, ": live\n\n"); err != nil || rc.Flush() != nil {
		return
	}
	tick := time.NewTicker(keepAlive)
	defer tick.Stop()
	for {
		select {
		case t, open := <-sub.Updates():
			if !open {
				return
			}
			if !fits(q, &t) {
				continue
			}
			if !send(t) {
				return
			}
		case <-tick.C:
			_ = rc.SetWriteDeadline(a.Now().Add(2 * keepAlive))
			if _, err := fmt.Fprint(w, ": still here\n\n"); err != nil {
				return
			}
		}
		if rc.Flush() != nil {
			return
		}
	}
}

// attempt finds the attempt of the address.
func (a *api) attempt(c *call) (boot.Attempt, *Problem) {
	attempts, p := a.attempts()
	if p != nil {
		return boot.Attempt{}, p
	}
	id := c.PathValue("id")
	if goodName(id) {
		if t, ok := attempts.Get(boot.AttemptID(id)); ok {
			return t, nil
		}
	}
	return boot.Attempt{}, causeNotFound.problem("The boot " + strconv.Quote(id) + " does not exist, or is not kept any more.")
}

func (a *api) getAttempt(w http.ResponseWriter, c *call) {
	t, p := a.attempt(c)
	if p != nil {
		p.write(w, c.Request)
		return
	}
	writeJSON(w, http.StatusOK, attemptDoc(t, c.trusted, true))
}

// getCapture answers with the packets of an attempt.
func (a *api) getCapture(w http.ResponseWriter, c *call) {
	t, data, p := a.capture(c)
	if p != nil {
		p.write(w, c.Request)
		return
	}
	h := w.Header()
	h.Set("Content-Type", typePcap)
	h.Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", "boot-"+string(t.ID)+".pcap"))
	h.Set("Content-Length", strconv.Itoa(len(data)))
	_ = http.NewResponseController(w).SetWriteDeadline(a.Now().Add(transferTime))
	_, _ = w.Write(data)
}

// capture gathers the packets first: what goes wrong can then still be told. It
// is no more than the rings hold.
func (a *api) capture(c *call) (boot.Attempt, []byte, *Problem) {
	fail := func(p *Problem) (boot.Attempt, []byte, *Problem) { return boot.Attempt{}, nil, p }
	redact, p := flag(c, "redact")
	if p != nil {
		return fail(p)
	}
	if a.Backend.Capture == nil {
		return fail(causeStarting.problem("The box does not record packets yet; ask again in a moment."))
	}
	t, p := a.attempt(c)
	if p != nil {
		return fail(p)
	}
	give, p := take(c.Context(), a.gather)
	if p != nil {
		return fail(p)
	}
	defer give()
	var b bytes.Buffer
	n, err := a.Backend.Capture.Write(&b, t, redact)
	if err != nil {
		return fail(a.explain("The capture", err))
	}
	if n == 0 {
		return fail(causeGone.problem(boot.ReasonCaptureGone.Text()))
	}
	return t, b.Bytes(), nil
}

// flag reads a parameter that is on or off.
func flag(c *call, name string) (bool, *Problem) {
	switch c.URL.Query().Get(name) {
	case "", "0", "false":
		return false, nil
	case "1", "true":
		return true, nil
	}
	return false, queryProblem(boot.FieldError{Field: name, What: "want true or false"})
}
