package registry

import (
	"container/list"
	"encoding/base32"
	"net/netip"
	"slices"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// Bounds of what was handed out.
const (
	maxTokens     = 8192 // of menus, starts and waits
	maxAttempts   = 8192 // boots with answer files or callbacks
	perMachine    = 8    // tokens of one machine
	perMachineRun = 4    // attempts of one machine, and as many of its assignment
	perAddr       = 64   // tokens handed to one address: one sender cannot push out the others'
	perAddrRun    = 16   // attempts of one address that is not known to be the machine's
	maxReads      = 64   // of the answer files of one attempt
	maxReports    = 5000 // callbacks of one attempt
	maxWrong      = 5    // wrong codes that a token survives

	startTime    = 10 * time.Minute // from the code on the screen to the start
	menuTime     = 2 * time.Hour    // a person reads a menu
	waitTime     = RequestTime + letTime
	answerTime   = 24 * time.Hour
	callbackTime = 72 * time.Hour // installers of big machines, and people who let them wait
)

// purpose is the only thing a token is good for.
type purpose string

const (
	forStart purpose = "start"
	forMenu  purpose = "menu"
	forWait  purpose = "wait"
)

// token is what a machine holds to go on with its boot. It lives in memory
// only: a machine that comes back after a restart of the box asks again.
type token struct {
	name    string
	purpose purpose
	machine boot.MachineID // "" for a machine without a record
	own     bool           // the box has seen that the sender is that machine
	ask     Ask            // the question it was given for
	born    time.Time
	expires time.Time

	profile  string    // forStart: what was assigned
	assigned time.Time // forStart: when, so that a new assignment is not started by it
	entries  []entry   // forMenu
	code     string    // forMenu: for destructive entries
	wrong    int       // forMenu: codes that were wrong
	request  string    // forWait: the request's code

	spent map[int]*handed // what it was exchanged for, by entry; forStart: 0
	place *list.Element
}

// handed is a plan that was handed out and counts.
type handed struct {
	plan boot.Plan
	at   time.Time
	from netip.Addr
	// attempt is the assignment's at that moment, loader who asked: for loaders
	// that come without a token.
	attempt string
	loader  string
}

// again says whether the same plan is the answer once more.
func (h *handed) again(from netip.Addr, now time.Time) bool {
	return h.from == from && now.Sub(h.at) < Retry
}

// attempt is one boot of something that has answer files or calls back. It
// outlives a restart of the box.
type attempt struct {
	ID       string         `json:"id"`
	Machine  boot.MachineID `json:"machine"`
	Profile  string         `json:"profile"`
	Assigned bool           `json:"assigned,omitempty"` // it is the attempt of the machine's assignment
	Answer   string         `json:"answer,omitempty"`   // token
	Callback string         `json:"callback,omitempty"` // token
	Created  time.Time      `json:"created"`
	Final    boot.Callback  `json:"final,omitempty"` // done or failed, once that was said
	Reads    int            `json:"reads,omitempty"`
	Reports  int            `json:"reports,omitempty"`
	// From is the sender when the box has not seen that it is the machine. Then
	// it makes room for attempts of the same sender, not of the machine.
	From netip.Addr `json:"from,omitzero"`

	sighting boot.Sighting
	place    *list.Element
}

// stored is a copy for the store.
func (a *attempt) stored() attempt {
	c := *a
	c.sighting, c.place = boot.Sighting{}, nil
	return c
}

// tokens is everything that was handed out. The registry's mutex guards it.
type tokens struct {
	byName    map[string]*token
	order     *list.List // of *token, oldest first
	byMachine map[boot.MachineID][]*token
	proven    map[boot.MachineID][]*token // those of byMachine that are the machine's own
	byAddr    map[netip.Addr][]*token

	attempts  map[string]*attempt
	answers   map[string]*attempt
	callbacks map[string]*attempt
	runs      *list.List // of *attempt, oldest first
	byRun     map[boot.MachineID][]*attempt
	byQuota   map[quota][]*attempt
	dirty     map[string]struct{}
	gone      map[string]struct{}
}

func newTokens() *tokens {
	return &tokens{
		byName: map[string]*token{}, order: list.New(), byMachine: map[boot.MachineID][]*token{},
		proven: map[boot.MachineID][]*token{}, byQuota: map[quota][]*attempt{},
		byAddr: map[netip.Addr][]*token{}, attempts: map[string]*attempt{}, answers: map[string]*attempt{},
		callbacks: map[string]*attempt{}, runs: list.New(), byRun: map[boot.MachineID][]*attempt{},
		dirty: map[string]struct{}{}, gone: map[string]struct{}{},
	}
}

var tokenEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// newToken is 128 random bits as 26 characters.
func (r *Registry) newToken() string { return tokenEncoding.EncodeToString(r.random(16)) }

// add takes a token in; the oldest of the machine, of the address and of all
// make room. Those of senders who only say that they are the machine do not count
// as its own: they would push out what it holds.
func (t *tokens) add(k *token) {
	k.own = k.own && k.machine != ""
	if own := t.proven[k.machine]; k.own && len(own) >= perMachine {
		t.remove(own[0])
	}
	if own := t.byAddr[k.ask.From]; len(own) >= perAddr {
		t.remove(own[0])
	}
	if t.order.Len() >= maxTokens {
		t.remove(t.order.Front().Value.(*token))
	}
	t.byName[k.name] = k
	k.place = t.order.PushBack(k)
	if k.machine != "" {
		t.byMachine[k.machine] = append(t.byMachine[k.machine], k)
	}
	if k.own {
		t.proven[k.machine] = append(t.proven[k.machine], k)
	}
	t.byAddr[k.ask.From] = append(t.byAddr[k.ask.From], k)
}

func (t *tokens) remove(k *token) {
	if k.place == nil {
		return
	}
	t.order.Remove(k.place)
	k.place = nil
	delete(t.byName, k.name)
	without(t.byMachine, k.machine, k)
	without(t.proven, k.machine, k)
	without(t.byAddr, k.ask.From, k)
}

func without[K comparable, V comparable](m map[K][]V, key K, v V) {
	list := m[key]
	if i := slices.Index(list, v); i >= 0 {
		list = slices.Delete(list, i, i+1)
	}
	if len(list) == 0 {
		delete(m, key)
	} else {
		m[key] = list
	}
}

// find returns a token that is good for p now.
func (t *tokens) find(name string, p purpose, now time.Time) (*token, bool) {
	k, ok := t.byName[name]
	if !ok || k.purpose != p || !now.Before(k.expires) {
		return nil, false
	}
	return k, true
}

// quota is what an attempt counts under: what others begin never makes room at
// its cost.
type quota struct {
	machine  boot.MachineID // of the attempts that the machine itself began
	assigned bool
	from     netip.Addr // of those that somebody began in its name
}

func (a *attempt) quota() (q quota, limit int) {
	if a.From.IsValid() && !a.Assigned {
		return quota{from: a.From}, perAddrRun
	}
	return quota{machine: a.Machine, assigned: a.Assigned}, perMachineRun
}

// begin takes an attempt in. One that is there already stays as it is.
func (t *tokens) begin(a *attempt) {
	if t.attempts[a.ID] != nil {
		return
	}
	q, limit := a.quota()
	if own := t.byQuota[q]; len(own) >= limit {
		t.end(own[0])
	}
	if t.runs.Len() >= maxAttempts {
		t.end(t.oldest())
	}
	t.attempts[a.ID] = a
	if a.Answer != "" {
		t.answers[a.Answer] = a
	}
	if a.Callback != "" {
		t.callbacks[a.Callback] = a
	}
	a.place = t.runs.PushBack(a)
	t.byRun[a.Machine] = append(t.byRun[a.Machine], a)
	t.byQuota[q] = append(t.byQuota[q], a)
}

// oldest is the attempt that makes room when there are too many: one of an
// assignment only when there is no other.
func (t *tokens) oldest() *attempt {
	for e := t.runs.Front(); e != nil; e = e.Next() {
		if a := e.Value.(*attempt); !a.Assigned {
			return a
		}
	}
	return t.runs.Front().Value.(*attempt)
}

// end forgets an attempt and its tokens.
func (t *tokens) end(a *attempt) {
	if a.place == nil {
		return
	}
	t.runs.Remove(a.place)
	a.place = nil
	delete(t.attempts, a.ID)
	delete(t.answers, a.Answer)
	delete(t.callbacks, a.Callback)
	without(t.byRun, a.Machine, a)
	q, _ := a.quota()
	without(t.byQuota, q, a)
	delete(t.dirty, a.ID)
	t.gone[a.ID] = struct{}{}
}

// silence ends the answer files of an attempt, whose callbacks go on.
func (t *tokens) silence(a *attempt) {
	delete(t.answers, a.Answer)
	a.Answer = ""
	t.dirty[a.ID] = struct{}{}
}

// unassign ends what belongs to a machine's assignment.
func (t *tokens) unassign(id boot.MachineID) {
	for _, k := range slices.Clone(t.byMachine[id]) {
		if k.purpose == forStart {
			t.remove(k)
		}
	}
	for _, a := range slices.Clone(t.byRun[id]) {
		if a.Assigned {
			t.end(a)
		}
	}
}

// forget ends everything of a machine.
func (t *tokens) forget(id boot.MachineID) {
	for _, k := range slices.Clone(t.byMachine[id]) {
		t.remove(k)
	}
	for _, a := range slices.Clone(t.byRun[id]) {
		t.end(a)
	}
}

// rename gives everything of one machine to another.
func (t *tokens) rename(from, to boot.MachineID) {
	if from == to {
		return
	}
	for _, k := range t.byMachine[from] {
		k.machine = to
		t.byMachine[to] = append(t.byMachine[to], k)
	}
	delete(t.byMachine, from)
	if own := t.proven[from]; len(own) > 0 {
		t.proven[to] = append(t.proven[to], own...)
		delete(t.proven, from)
	}
	for _, a := range t.byRun[from] {
		was, _ := a.quota()
		a.Machine = to
		if now, _ := a.quota(); now != was {
			without(t.byQuota, was, a)
			t.byQuota[now] = append(t.byQuota[now], a)
		}
		t.byRun[to] = append(t.byRun[to], a)
		t.dirty[a.ID] = struct{}{}
	}
	delete(t.byRun, from)
}

// expire ends what has outlived its time.
func (t *tokens) expire(now time.Time) {
	for e := t.order.Front(); e != nil; {
		next := e.Next()
		k := e.Value.(*token)
		if !now.Before(k.expires) {
			t.remove(k)
		}
		for n, h := range k.spent {
			if now.Sub(h.at) >= Retry {
				h.plan = boot.Plan{} // only that it was used is still needed
				k.spent[n] = h
			}
		}
		e = next
	}
	for e := t.runs.Front(); e != nil; {
		next := e.Next()
		a := e.Value.(*attempt)
		switch age := now.Sub(a.Created); {
		case age >= callbackTime:
			t.end(a)
		case age >= answerTime && a.Answer != "":
			t.silence(a)
		}
		e = next
	}
}
