package lan

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/time/rate"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// Limits of the memory of other servers. A stranger can invent as many as it
// likes.
const (
	MaxResponders = 64               // servers kept
	maxValues     = 8                // different boot files, next servers or classes kept of one server
	warnEvery     = 10 * time.Minute // between two warnings of one reason about one server
	// findingFor is how long a finding counts as current after it was last
	// seen. A server that has been put right is not asked again by us, so only
	// time tells.
	findingFor = time.Hour
	// settledReplies and settledAfter are how much and for how long a server has
	// been heard that is part of the LAN, when it has not answered a question.
	settledReplies = 8
	settledAfter   = 10 * time.Minute
)

// Events are limited as a whole too: forged servers are all seen for the first
// time. After a burst, one per eventEvery is told.
const (
	eventBurst   = 64
	warningBurst = 32
	eventEvery   = 10 * time.Second
)

// Responder is a DHCP or PXE server that was heard on the LAN. All its texts
// are a stranger's: whoever prints them escapes them.
type Responder struct {
	Server      netip.Addr `json:"server"`              // option 54, else its IP address
	MAC         boot.MAC   `json:"mac"`                 // last hop: the server itself, a router or a relay
	Address     netip.Addr `json:"address"`             // IP source of its latest reply
	Relay       netip.Addr `json:"relay,omitzero"`      // giaddr of its latest reply
	Interface   string     `json:"interface"`           // where it was heard last
	DHCP        bool       `json:"dhcp"`                // hands out addresses
	PXE         bool       `json:"pxe"`                 // answers network boot clients
	Control     bool       `json:"control,omitempty"`   // sends PXE discovery control or menus (43.6 to 43.10)
	Classes     []string   `json:"classes,omitempty"`   // option 60 values it sends
	BootFiles   []string   `json:"bootFiles,omitempty"` // boot files it names
	NextServers []string   `json:"nextServers,omitempty"`
	First       time.Time  `json:"first"`
	Last        time.Time  `json:"last"`
	Replies     uint64     `json:"replies"`
	Naks        uint64     `json:"naks,omitempty"`  // of them, refusals
	Asked       bool       `json:"asked,omitempty"` // it has answered a question of this box
	Gone        bool       `json:"gone,omitempty"`  // it was silent through several questions
	Findings    []Finding  `json:"findings,omitempty"`

	warned map[boot.Reason]time.Time
	missed int // questions in a row that it was not heard after
}

// Finding is something about a responder that matters to clients of this box.
type Finding struct {
	Reason boot.Reason `json:"reason"` // one of boot.FindingNames
	Text   string      `json:"text"`   // one plain sentence with what was seen
	First  time.Time   `json:"first"`
	Last   time.Time   `json:"last"`
	asked  bool        // last seen in the answer to a question of this box
}

type identity struct {
	server netip.Addr
	mac    boot.MAC
}

// table remembers responders. It reads no clock; safe for concurrent use.
type table struct {
	owns func(netip.Addr) bool // an address of the box; nil: none is
	twin func(netip.Addr) bool // an address of another bootpuck; nil: none is
	// known are the servers that the operator says belong here.
	known []netip.Addr

	mu        sync.Mutex
	list      map[identity]*Responder
	events    *rate.Limiter
	warnings  *rate.Limiter
	overflown time.Time // when the last flood was told of
}

func newTable() *table {
	return &table{
		list:     map[identity]*Responder{},
		events:   rate.NewLimiter(rate.Every(eventEvery), eventBurst),
		warnings: rate.NewLimiter(rate.Every(eventEvery), warningBurst),
	}
}

// observe takes in one reply and returns what is worth telling: a responder
// seen for the first time, one that says something it has not said before, and
// findings that have not been warned of lately.
func (t *table) observe(h heard, ifname string, now time.Time) []boot.Event {
	return t.hear(h, questionNone, ifname, now)
}

// hear is observe for a reply to a question of this box, or to none.
func (t *table) hear(h heard, q question, ifname string, now time.Time) []boot.Event {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []boot.Event
	r, known := t.list[identity{h.server, h.mac}]
	if !known {
		if len(t.list) >= MaxResponders {
			t.evict(now)
			if t.overflown.IsZero() || now.Sub(t.overflown) >= warnEvery {
				t.overflown = now
				out = append(out, boot.Event{
					Time: now, Kind: boot.KindWarning, Reason: boot.ReasonRate, Interface: ifname,
					Text: fmt.Sprintf("More than %d DHCP servers were heard: a misconfigured LAN, or forged replies. Those heard least are forgotten.", MaxResponders),
				})
			}
		}
		r = &Responder{Server: h.server, MAC: h.mac, First: now}
		t.list[identity{h.server, h.mac}] = r
	}
	kind, reasons := t.judge(h)
	changed := r.learn(h, kind)
	r.Address, r.Relay, r.Interface, r.Last = h.source, h.relay, ifname, now
	r.missed, r.Gone = 0, false
	r.Replies++
	if h.kind == dhcpv4.MessageTypeNak {
		r.Naks++
	}
	r.answered(q, reasons)
	if (!known || changed) && t.events.AllowN(now, 1) {
		again := ""
		if known {
			again = " now"
		}
		out = append(out, boot.Event{
			Time: now, Kind: boot.KindResponder, Interface: ifname, File: h.file,
			Text: fmt.Sprintf("%s%s %s.", r, again, r.says()),
		})
	}
	for _, reason := range reasons {
		f := r.find(reason, now)
		f.Last, f.Text, f.asked = now, fmt.Sprintf("%s %s.", r, evidence(reason, h)), q == questionPXE
		if t.warns(r, reason, now) {
			out = append(out, boot.Event{
				Time: now, Kind: boot.KindWarning, Reason: reason, Interface: ifname, File: h.file, Text: f.Text,
			})
		}
	}
	return out
}

// warns says whether a finding on r is told now, and takes note of it.
func (t *table) warns(r *Responder, reason boot.Reason, now time.Time) bool {
	if last, ok := r.warned[reason]; ok && now.Sub(last) < warnEvery || !t.warnings.AllowN(now, 1) {
		return false
	}
	if r.warned == nil {
		r.warned = map[boot.Reason]time.Time{}
	}
	r.warned[reason] = now
	return true
}

// evict forgets the responder that matters least. Among strangers that is the
// one with the fewest replies, the oldest of equals: forged ones are heard once,
// so they push out each other. Among those that have shown that they belong here
// it is the one that came last: whoever forges more of them comes after the LAN's
// own.
func (t *table) evict(now time.Time) {
	var victim *Responder
	for _, r := range t.list {
		if victim == nil || t.lessThan(r, victim, now) {
			victim = r
		}
	}
	delete(t.list, identity{victim.Server, victim.MAC})
}

// lessThan says whether r is to be forgotten before other.
func (t *table) lessThan(r, other *Responder, now time.Time) bool {
	mine, its := t.standing(r, now), t.standing(other, now)
	switch {
	case mine != its:
		return mine < its
	case mine > 0:
		return r.First.After(other.First)
	case r.Replies != other.Replies:
		return r.Replies < other.Replies
	}
	return r.Last.Before(other.Last)
}

// standing is how surely r belongs to the LAN: 2 when the operator says so, 1 when
// it answered a question of this box or has been heard for long, else 0. Who is
// gone keeps nobody else out.
func (t *table) standing(r *Responder, now time.Time) int {
	switch {
	case r.Gone, now.Sub(r.Last) >= forgetAfter:
		return 0
	case slices.Contains(t.known, r.Server):
		return 2
	case r.Asked, r.Replies >= settledReplies && r.Last.Sub(r.First) >= settledAfter:
		return 1
	}
	return 0
}

// learn takes over what h says and tells whether any of it is new. Values only
// accumulate: servers answer each kind of client differently, and that is no
// change.
func (r *Responder) learn(h heard, kind role) (changed bool) {
	set := func(b *bool, v bool) {
		changed = changed || v && !*b
		*b = *b || v
	}
	add := func(list *[]string, v string) {
		if v != "" && len(*list) < maxValues && !slices.Contains(*list, v) {
			*list, changed = append(*list, v), true
		}
	}
	set(&r.DHCP, kind == roleDHCP)
	set(&r.PXE, kind == rolePXE)
	set(&r.Control, h.control)
	add(&r.Classes, h.class)
	add(&r.BootFiles, h.file)
	add(&r.NextServers, h.next)
	return changed
}

func (r *Responder) find(reason boot.Reason, now time.Time) *Finding {
	for i := range r.Findings {
		if r.Findings[i].Reason == reason {
			return &r.Findings[i]
		}
	}
	r.Findings = append(r.Findings, Finding{Reason: reason, First: now})
	return &r.Findings[len(r.Findings)-1]
}

// String names the responder in a sentence.
func (r *Responder) String() string {
	what := "Server"
	switch {
	case r.DHCP && r.PXE:
		what = "DHCP and PXE server"
	case r.DHCP:
		what = "DHCP server"
	case r.PXE:
		what = "PXE server"
	}
	via := ""
	if r.Relay.IsValid() {
		via = fmt.Sprintf(" through relay %s", r.Relay)
	}
	return fmt.Sprintf("%s %s (%s)%s on %s", what, r.Server, r.MAC, via, r.Interface)
}

// says words everything known of r, as the end of a sentence.
func (r *Responder) says() string {
	var parts []string
	if r.DHCP {
		parts = append(parts, "hands out addresses")
	}
	if r.PXE {
		parts = append(parts, "answers network boot clients")
	}
	if !r.DHCP && !r.PXE {
		parts = append(parts, "answers DHCP clients without giving an address")
	}
	for _, v := range []struct {
		name   string
		values []string
	}{{"sends option 60", r.Classes}, {"names boot file", r.BootFiles}, {"names next server", r.NextServers}} {
		if len(v.values) > 0 {
			parts = append(parts, v.name+" "+quoted(v.values))
		}
	}
	if r.Control {
		parts = append(parts, "sends PXE discovery control")
	}
	return strings.Join(parts, ", ")
}

// evidence words what in h led to reason.
func evidence(reason boot.Reason, h heard) string {
	switch reason {
	case boot.ReasonOption60:
		return fmt.Sprintf("sends option 60 %q with the addresses it hands out", h.class)
	case boot.ReasonWrongNextServer:
		return fmt.Sprintf("names next server %q with the addresses it hands out", h.next)
	case boot.ReasonServerBootFile:
		return fmt.Sprintf("names boot file %q with the addresses it hands out", h.file)
	default:
		name := "no boot file"
		if h.file != "" {
			name = fmt.Sprintf("boot file %q", h.file)
		}
		return fmt.Sprintf("answers network boot clients (option 60 %q, %s)", h.class, name)
	}
}

func quoted(list []string) string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = fmt.Sprintf("%q", s)
	}
	return strings.Join(out, ", ")
}

// responders returns copies, in the order of first sight.
func (t *table) responders() []Responder {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make([]Responder, 0, len(t.list))
	for _, r := range t.list {
		c := *r
		c.Classes, c.BootFiles, c.NextServers = slices.Clone(r.Classes), slices.Clone(r.BootFiles), slices.Clone(r.NextServers)
		c.Findings, c.warned = slices.Clone(r.Findings), nil
		if t.isTwin(r.Server) { // found out after it was heard
			c.Findings = slices.DeleteFunc(c.Findings, func(f Finding) bool { return f.Reason == boot.ReasonOtherPXE })
		}
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b Responder) int {
		if n := a.First.Compare(b.First); n != 0 {
			return n
		}
		if n := a.Server.Compare(b.Server); n != 0 {
			return n
		}
		return strings.Compare(string(a.MAC), string(b.MAC))
	})
	return out
}

// current lists the findings that were seen within the last hour and that
// something has to be done about; that a server is new is only worth knowing.
func current(list []Responder, now time.Time) []Problem {
	var out []Problem
	for _, r := range list {
		for _, f := range r.Findings {
			if f.Reason != boot.ReasonNewResponder && !r.Gone && now.Sub(f.Last) < findingFor {
				out = append(out, Problem{f.Reason, r.Interface, f.Text})
			}
		}
	}
	return out
}
