package lan

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

const (
	// learning is how long servers on an interface are only got to know: which
	// of them was there before the box cannot be told.
	learning = time.Minute
	// learningUnasked is the same where the servers are not asked. They are
	// heard only when a machine boots or a lease is renewed by broadcast.
	learningUnasked = time.Hour
	// goneAfter is how many questions a server stays silent through before it
	// counts as gone.
	goneAfter = 3
	// forgetAfter is when a server that is not heard counts as gone where
	// nobody asks.
	forgetAfter = 24 * time.Hour
)

// judge is classify with what this box knows of itself and of its twins.
func (t *table) judge(h heard) (role, []boot.Reason) {
	kind, reasons := classify(h)
	if t.isTwin(h.server) || slices.Contains(t.known, h.server) {
		// Another bootpuck is a finding of its own, and a boot server that the
		// operator has named is no news.
		reasons = slices.DeleteFunc(reasons, func(r boot.Reason) bool { return r == boot.ReasonOtherPXE })
	}
	if kind != roleDHCP || t.owns == nil {
		return kind, reasons
	}
	next, err := netip.ParseAddr(h.next)
	switch {
	case err != nil: // none, or a name: what it stands for cannot be told here
	case t.owns(next):
		// The operator has pointed the DHCP server to this box.
		reasons = slices.DeleteFunc(reasons, func(r boot.Reason) bool { return r == boot.ReasonServerBootFile })
	case next != h.server && next != h.source:
		// Many servers name themselves in every packet; that means nothing.
		reasons = append(reasons, boot.ReasonWrongNextServer)
	}
	return kind, reasons
}

func (t *table) isTwin(a netip.Addr) bool { return t.twin != nil && t.twin(a) }

// answered takes note that r answered a question of this box. What an earlier
// answer to the same question showed and this one does not has been put right.
func (r *Responder) answered(q question, reasons []boot.Reason) {
	if q == questionNone {
		return
	}
	r.Asked = true
	if q == questionPXE {
		r.Findings = slices.DeleteFunc(r.Findings, func(f Finding) bool { return f.asked && !slices.Contains(reasons, f.Reason) })
	}
}

// circumstances are what a server is judged by besides its own words.
type circumstances struct {
	since map[string]time.Time // by interface: since when it is listened on
	asked map[string]time.Time // by interface: when its servers were first asked since then
}

// present says whether r counts as being on the LAN.
func (c circumstances) present(r *Responder, now time.Time) bool {
	return !r.Gone && now.Sub(r.Last) < forgetAfter && !r.Last.Before(c.since[r.Interface])
}

// survey judges servers by each other: which of them are new, and which DHCP
// server is one too many. It returns what is worth a warning.
func (t *table) survey(c circumstances, now time.Time) []boot.Event {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []boot.Event
	firsts := t.firsts(c, now)
	for _, r := range t.list {
		verdicts := map[boot.Reason]string{}
		if r.DHCP && c.present(r, now) && !t.expected(r, firsts) {
			text := fmt.Sprintf("%s hands out addresses and is not among the expected servers.", r)
			if first := firsts[kindOn{r.Interface, true}]; first != nil && first != r && t.expected(first, firsts) {
				text = fmt.Sprintf("%s hands out addresses beside %s.", r, first.Server)
			}
			verdicts[boot.ReasonRogueDHCP] = text
		}
		if t.isNew(r, c, now) {
			verdicts[boot.ReasonNewResponder] = fmt.Sprintf("%s was not there before: it %s.", r, r.says())
		}
		for _, reason := range []boot.Reason{boot.ReasonNewResponder, boot.ReasonRogueDHCP} {
			text, holds := verdicts[reason]
			if !holds {
				r.Findings = slices.DeleteFunc(r.Findings, func(f Finding) bool { return f.Reason == reason })
				continue
			}
			f := r.find(reason, now)
			f.Last, f.Text = now, text
			if t.warns(r, reason, now) {
				out = append(out, boot.Event{Time: now, Kind: boot.KindWarning, Reason: reason, Interface: r.Interface, Text: text})
			}
		}
	}
	slices.SortFunc(out, func(a, b boot.Event) int { return strings.Compare(a.Text, b.Text) })
	return out
}

// kindOn is a kind of server on an interface.
type kindOn struct {
	ifname string
	dhcp   bool
}

// firsts are the servers of each kind that have been known longest, of those
// that are present and not behind a relay. Where the operator has named some,
// those come first.
func (t *table) firsts(c circumstances, now time.Time) map[kindOn]*Responder {
	out := map[kindOn]*Responder{}
	for _, r := range t.list {
		if r.Relay.IsValid() || !c.present(r, now) {
			continue
		}
		key := kindOn{r.Interface, r.DHCP}
		if first := out[key]; first == nil || t.goesBefore(r, first) {
			out[key] = r
		}
	}
	return out
}

func (t *table) goesBefore(a, b *Responder) bool {
	if x, y := slices.Contains(t.known, a.Server), slices.Contains(t.known, b.Server); x != y {
		return x
	}
	if !a.First.Equal(b.First) {
		return a.First.Before(b.First)
	}
	if a.Server != b.Server {
		return a.Server.Less(b.Server)
	}
	return a.MAC < b.MAC
}

// expected says whether r belongs here: the operator said so, or nobody did and
// it was the first of its kind on its interface. What comes through a relay was
// let in by whoever runs the relay. A twin hands out no addresses: one that
// seems to is treated as any other server.
func (t *table) expected(r *Responder, firsts map[kindOn]*Responder) bool {
	switch {
	case !r.DHCP && t.isTwin(r.Server), slices.Contains(t.known, r.Server):
		return true
	case len(t.known) > 0:
		return false
	case r.Relay.IsValid():
		return true
	}
	return firsts[kindOn{r.Interface, r.DHCP}] == r
}

// isNew says whether r came when the servers of its LAN were known already.
func (t *table) isNew(r *Responder, c circumstances, now time.Time) bool {
	since, listening := c.since[r.Interface]
	known := since.Add(learningUnasked)
	if asked, ok := c.asked[r.Interface]; ok {
		known = since.Add(learning)
		if answered := asked.Add(probeLate); answered.After(known) {
			known = answered
		}
	}
	return listening && c.present(r, now) && !r.First.Before(known) && now.Sub(r.First) < findingFor &&
		!slices.Contains(t.known, r.Server) && !t.isTwin(r.Server)
}

// probed takes note that the servers on ifname were asked at that time and have
// had time to answer, and returns who is gone.
func (t *table) probed(ifname string, at, now time.Time) []boot.Event {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []boot.Event
	for key, r := range t.list {
		if r.Interface != ifname || !r.Last.Before(at) {
			continue
		}
		if r.missed++; r.missed < goneAfter {
			continue
		}
		if now.Sub(r.Last) >= forgetAfter {
			delete(t.list, key)
			continue
		}
		if r.Gone {
			continue
		}
		r.Gone = true
		if t.events.AllowN(now, 1) {
			out = append(out, boot.Event{
				Time: now, Kind: boot.KindResponder, Interface: ifname,
				Text: fmt.Sprintf("%s is gone: nothing was heard of it through %d questions.", r, goneAfter),
			})
		}
	}
	slices.SortFunc(out, func(a, b boot.Event) int { return strings.Compare(a.Text, b.Text) })
	return out
}

// servers lists those that are there, in the order of first sight.
func (t *table) servers(c circumstances, now time.Time) []boot.LANServer {
	t.mu.Lock()
	defer t.mu.Unlock()
	out, firsts := []boot.LANServer{}, t.firsts(c, now)
	for _, r := range t.list {
		if !c.present(r, now) {
			continue
		}
		s := boot.LANServer{
			Server: r.Server, MAC: r.MAC, Interface: r.Interface, Relay: r.Relay, DHCP: r.DHCP, PXE: r.PXE,
			Classes: slices.Clone(r.Classes), BootFiles: slices.Clone(r.BootFiles), NextServers: slices.Clone(r.NextServers),
			First: r.First, Last: r.Last, Replies: r.Replies, Naks: r.Naks, Asked: r.Asked,
			Twin: t.isTwin(r.Server), Expected: t.expected(r, firsts),
		}
		if s.Twin {
			s.Findings = append(s.Findings, boot.ReasonTwin)
		}
		for _, f := range r.Findings {
			if now.Sub(f.Last) < findingFor && (f.Reason != boot.ReasonOtherPXE || !s.Twin) {
				s.Findings = append(s.Findings, f.Reason)
			}
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b boot.LANServer) int {
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
