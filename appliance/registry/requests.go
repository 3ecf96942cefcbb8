package registry

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// Request is a machine that waits for the operator's word.
type Request struct {
	Code    string         `json:"code"` // shown on the machine's screen
	Machine boot.MachineID `json:"machine,omitempty"`
	Name    string         `json:"name,omitempty"`    // the machine's, when it has one
	Profile string         `json:"profile,omitempty"` // the locked entry it wants; empty: to boot at all
	Asked   time.Time      `json:"asked"`
	Seen    boot.Sighting  `json:"seen"`
}

// word is what the operator said.
type word int

const (
	wordNone word = iota
	wordYes
	wordNo
)

type request struct {
	Request
	who     string // key in byWho
	from    netip.Addr
	word    word
	expires time.Time
}

// requests are the machines that wait. The registry's mutex guards it.
type requests struct {
	byCode map[string]*request
	byWho  map[string]*request // machine or address, and what it wants
}

func newRequests() *requests {
	return &requests{byCode: map[string]*request{}, byWho: map[string]*request{}}
}

// ask enters a request, or finds the one that the machine made before. The
// reason is why there is nothing to wait for.
func (q *requests) ask(m boot.Machine, s boot.Sighting, from netip.Addr, profile string, newCode func() string, now time.Time) (*request, boot.Reason) {
	who := string(m.ID)
	if who == "" {
		who = string(s.MAC) + " " + s.GUID.String()
	}
	who += "\x00" + profile
	if old, ok := q.byWho[who]; ok && now.Before(old.expires) {
		if old.word == wordNo {
			return nil, boot.ReasonRefused
		}
		return old, boot.ReasonNone
	}
	q.expire(now)
	if len(q.byCode) >= MaxRequests || q.waiting(from) >= maxWaiting {
		return nil, boot.ReasonTooManyRequests
	}
	code := newCode()
	for q.byCode[code] != nil {
		code = newCode()
	}
	r := &request{
		Request: Request{Code: code, Machine: m.ID, Name: m.Name, Profile: profile, Asked: now, Seen: keep(boot.Sighting{}, s)},
		who:     who, from: from, expires: now.Add(RequestTime),
	}
	q.byCode[code], q.byWho[who] = r, r
	return r, boot.ReasonNone
}

// maxWaiting is how many requests of one sender wait at a time: whoever asks in
// many names must leave room for the others.
const maxWaiting = 8

// waiting counts the requests of a sender that have no answer.
func (q *requests) waiting(from netip.Addr) int {
	n := 0
	for _, r := range q.byCode {
		if r.from == from && r.word == wordNone {
			n++
		}
	}
	return n
}

func (q *requests) remove(r *request) {
	delete(q.byCode, r.Code)
	if q.byWho[r.who] == r {
		delete(q.byWho, r.who)
	}
}

func (q *requests) expire(now time.Time) {
	for _, r := range q.byCode {
		if !now.Before(r.expires) {
			q.remove(r)
		}
	}
}

// forget ends the requests of a machine.
func (q *requests) forget(id boot.MachineID) {
	for _, r := range q.byCode {
		if r.Machine == id {
			q.remove(r)
		}
	}
}

// Requests are the machines that wait for the operator's word, in the order in
// which they asked.
func (r *Registry) Requests() []Request {
	now := r.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests.expire(now)
	out := []Request{}
	for _, q := range r.requests.byCode {
		if q.word == wordNone {
			out = append(out, q.Request)
		}
	}
	slices.SortFunc(out, func(a, b Request) int {
		return cmp.Or(a.Asked.Compare(b.Asked), cmp.Compare(a.Code, b.Code))
	})
	return out
}

// useUp takes back the operator's yes for something that overwrites: it was
// meant for one boot.
func (r *Registry) useUp(code string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	q, ok := r.requests.byCode[code]
	if !ok || q.word != wordYes {
		return false
	}
	r.requests.remove(q)
	return true
}

// Approve is the operator's word about a request. remember puts the machine on
// the allow-list, which is durable before Approve returns; without it the
// machine is let for this boot. The error is ErrNotFound for a code that nobody
// shows (any more), or why the word could not be kept.
func (r *Registry) Approve(code string, yes, remember bool) error {
	now := r.now()
	code = tidyCode(code)
	r.mu.Lock()
	q, ok := r.requests.byCode[code]
	if !ok || !now.Before(q.expires) {
		r.mu.Unlock()
		return ErrNotFound
	}
	id, profile, seen := q.Machine, q.Profile, q.Seen
	r.mu.Unlock()
	if yes && remember && profile == "" {
		if id == "" {
			return ErrNotFound
		}
		r.opMu.Lock()
		err := r.changeMachine(id, MatchAny, func(m *boot.Machine) error {
			m.Access = boot.AccessAllow
			return nil
		})
		r.opMu.Unlock()
		if err != nil {
			return err
		}
	}
	r.mu.Lock()
	if q, ok = r.requests.byCode[code]; !ok {
		r.mu.Unlock()
		return ErrNotFound
	}
	q.word = wordNo
	if yes {
		q.word = wordYes
		// The machine asks every few seconds; the word counts from now.
		q.expires = now.Add(RequestTime)
		if rec, ok := r.table.byID[id]; ok && profile == "" {
			rec.let = now.Add(letTime)
		}
	}
	r.mu.Unlock()
	text := "The operator let " + title(boot.Machine{ID: id}, seen) + " boot"
	if profile != "" {
		text = "The operator let " + title(boot.Machine{ID: id}, seen) + " boot " + profile
	}
	reason := boot.ReasonNone
	if !yes {
		text, reason = "The operator refused "+title(boot.Machine{ID: id}, seen), boot.ReasonRefused
	}
	r.tell(boot.Event{Kind: boot.KindOperator, Reason: reason, MAC: seen.MAC, GUID: seen.GUID, Addr: seen.Addr, Text: text})
	return nil
}
