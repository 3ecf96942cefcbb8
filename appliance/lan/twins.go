package lan

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/time/rate"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// TwinPath is where a box says who it is, on the port that machines boot from.
const TwinPath = "/.well-known/bootpuck"

// MaxTwinPage bounds what is read of another box's page, in octets.
const MaxTwinPage = 4096

// TwinPage is what a box says of itself. Read from another one, all of it is a
// stranger's claim.
type TwinPage struct {
	Product string       `json:"product"`          // "bootpuck"
	ID      string       `json:"id"`               // new with every start
	Version string       `json:"version"`          // of the program
	Uptime  float64      `json:"uptime_s"`         // seconds since the start
	Standby bool         `json:"standby"`          // it leaves machines to another box
	Behind  string       `json:"behind,omitempty"` // that box's ID
	Observe bool         `json:"observe,omitempty"`
	For     []netip.Addr `json:"for"` // its addresses
}

// productName is TwinPage.Product of this product.
const productName = "bootpuck"

// Bounds of a page.
const (
	// MaxTwinAddrs bounds the addresses of a page.
	MaxTwinAddrs = 64

	maxTwinText = 64
	maxUptime   = 100 * 365 * 24 * time.Hour
)

var errPage = errors.New("not a bootpuck's page")

// ParseTwinPage reads the page of another box. It accepts any bytes.
func ParseTwinPage(b []byte) (TwinPage, error) {
	if len(b) > MaxTwinPage {
		return TwinPage{}, fmt.Errorf("%w: longer than %d octets", errPage, MaxTwinPage)
	}
	var p TwinPage
	if err := json.Unmarshal(b, &p); err != nil {
		return TwinPage{}, fmt.Errorf("%w: %w", errPage, err)
	}
	word := func(s string) bool { return s != "" && len(s) <= maxTwinText && !strings.ContainsFunc(s, odd) }
	switch {
	case p.Product != productName:
		return TwinPage{}, fmt.Errorf("%w: another product", errPage)
	case !word(p.ID) || !word(p.Version) || p.Behind != "" && !word(p.Behind):
		return TwinPage{}, fmt.Errorf("%w: id or version is malformed", errPage)
	case !(p.Uptime >= 0 && p.Uptime <= maxUptime.Seconds()):
		return TwinPage{}, fmt.Errorf("%w: uptime %v", errPage, p.Uptime)
	case len(p.For) == 0 || len(p.For) > MaxTwinAddrs:
		return TwinPage{}, fmt.Errorf("%w: %d addresses", errPage, len(p.For))
	}
	for i, a := range p.For {
		p.For[i] = a.Unmap().WithZone("")
	}
	return p, nil
}

// odd says whether r has no place in an id or a version.
func odd(r rune) bool {
	return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && !strings.ContainsRune(".-+_", r)
}

// TwinVersion is a program's version as it may stand on a page.
func TwinVersion(v string) string {
	v = strings.Map(func(r rune) rune {
		if odd(r) {
			return '_'
		}
		return r
	}, v)
	if v == "" {
		return "unknown"
	}
	return v[:min(len(v), maxTwinText)]
}

const (
	// twinEvery and twinStandbyEvery are the times between two questions to a
	// box, the latter to one that is left to answer: when it is gone, machines
	// must not wait long.
	twinEvery        = time.Minute
	twinStandbyEvery = 20 * time.Second
	// twinNever bounds the time until a server that is no box is asked again.
	twinNever = time.Hour
	// twinSilent is how many questions without an answer mean that it is gone.
	twinSilent = 3
	// resumeFor is how long a box answers again after a machine was left alone
	// by the one that it stood by for.
	resumeFor = 5 * time.Minute
	// repeatAfter and sameAfter tell a machine that asks again from copies of
	// one packet, which arrive together, and from a twin that takes its time.
	repeatAfter = 2 * time.Second
	sameAfter   = 1500 * time.Millisecond
	// attentionFor is how long a DISCOVER counts as the one before. Firmware
	// waits up to 32 s between two (PXE 2.1 section 2.2.3).
	attentionFor = 40 * time.Second
	// restarted is by how much a box's start may seem to move before it is a
	// new start: answers take time, and clocks differ.
	restarted = 30 * time.Second

	// A machine that a twin has answered and that asks vainAsks times more is
	// not helped by it; after vainBoots such boots within vainFor this box
	// answers too.
	vainAsks  = 2
	vainBoots = 3
	vainFor   = 30 * time.Minute

	maxSuspects = 16   // addresses asked
	maxWaiting  = 1024 // machines watched while standing by
)

// Questions to possible twins, all together: a burst of eight, then one in five
// seconds.
const (
	questionEvery = 5 * time.Second
	questionBurst = 8
)

// TwinsConfig is what Twins are made of. The functions must be quick and safe
// for concurrent use, and must not call Twins.
type TwinsConfig struct {
	ID      string    // this box's, new with every start
	Started time.Time // with the monotonic clock's reading
	// Near says whether an address is on a LAN of an interface that is served;
	// no other is ever asked. With a name, on that interface's.
	Near func(ifname string, addr netip.Addr) bool
	// Owns says whether an address is this box's own.
	Owns func(netip.Addr) bool
	// Ready says whether this box may stand by at all: it hears what a twin
	// sends and is not in observe mode.
	Ready func() bool
}

// Twins knows the other bootpucks on the LAN and decides which box answers
// machines: the one that was started last, so that a box which is plugged in
// does what its bearer expects. It decides purely: time and answers are passed
// in. Safe for concurrent use.
//
// A page on the LAN is anybody's claim, and so is an offer. A machine that asks
// again and was not offered anything to boot by the twin is answered, and
// standing by ends for five minutes. It does too after a few boots in which the
// twin's offers led to nothing: the machine asked on and took no address.
type Twins struct {
	cfg TwinsConfig

	standing atomic.Bool // read with every packet

	mu        sync.Mutex
	suspects  map[netip.Addr]*suspect
	twins     map[string]*twin // by ID
	waiting   map[boot.MAC]waiting
	resumed   time.Time   // standing by ended early at this time; zero: it did not
	vain      []time.Time // when a boot with the twin's offers led to nothing; fewer than vainBoots
	behind    string      // the ID of the box that is left to answer
	questions *rate.Limiter
	news      []boot.Event // not told yet
}

// suspect is an address that behaves like a box's.
type suspect struct {
	next     time.Time // when to ask
	asked    time.Time
	refusals int    // answers in a row that no box gives, or none
	id       string // of the box there, when there is one
}

type twin struct {
	addr    netip.Addr
	page    TwinPage
	started time.Time // by this box's clock
	last    time.Time // its latest answer
	missed  int
	older   bool // it was started before this box: this one answers
	byID    bool // older was settled by comparing IDs
}

// waiting is a machine that was left to a twin.
type waiting struct {
	at       time.Time
	xid      uint32
	answered bool   // the twin was heard to answer
	followed bool   // it was heard to take an address then
	early    uint32 // with isEarly: the twin was heard to answer this transaction, before it was heard to begin
	isEarly  bool
	asked    time.Time // when it asked last, copies left out
	again    int       // how often it has asked on though it was answered
}

// NewTwins returns a Twins that knows nobody.
func NewTwins(c TwinsConfig) *Twins {
	return &Twins{
		cfg: c, suspects: map[netip.Addr]*suspect{}, twins: map[string]*twin{}, waiting: map[boot.MAC]waiting{},
		questions: rate.NewLimiter(rate.Every(questionEvery), questionBurst),
	}
}

// likeABox says whether a reply could be another bootpuck's: an OFFER without an
// address from who is also the file server, direct or in two steps.
func (h heard) likeABox() bool {
	return h.kind == dhcpv4.MessageTypeOffer && h.port == portServer && !h.lease && h.server == h.source &&
		boot.ClassOf(h.class) != boot.ClassNone && (h.direct || !h.control) && (h.next == h.server.String() || h.next == "")
}

// Suspect takes note that a box may be at addr: it sent an offer like one, or
// has asked this box who it is.
func (t *Twins) Suspect(addr netip.Addr, now time.Time) {
	addr = addr.Unmap()
	if !addr.Is4() || t.cfg.Owns(addr) || !t.cfg.Near("", addr) {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, known := t.suspects[addr]; known {
		return
	}
	if len(t.suspects) >= maxSuspects {
		// Who has shown to be no box gives way, and a box's other addresses do;
		// boxes that are kept never do.
		var victim netip.Addr
		for a, s := range t.suspects {
			if !t.known(a) && (!victim.IsValid() || s.refusals > t.suspects[victim].refusals) {
				victim = a
			}
		}
		if !victim.IsValid() {
			return
		}
		delete(t.suspects, victim)
	}
	t.suspects[addr] = &suspect{next: now}
}

// Ask returns whom to ask now, and takes note that they are being asked.
func (t *Twins) Ask(now time.Time) []netip.Addr {
	t.mu.Lock()
	defer t.mu.Unlock()
	var due []netip.Addr
	for a, s := range t.suspects {
		if !now.Before(s.next) {
			due = append(due, a)
		}
	}
	slices.SortFunc(due, func(a, b netip.Addr) int {
		// Known boxes first: standing by depends on them. Then who waits longest,
		// so that nobody is kept from being asked.
		if x, y := t.known(a), t.known(b); x != y {
			if x {
				return -1
			}
			return 1
		}
		return cmp.Or(t.suspects[a].next.Compare(t.suspects[b].next), a.Compare(b))
	})
	for i, a := range due {
		if !t.questions.AllowN(now, 1) {
			return due[:i]
		}
		s := t.suspects[a]
		s.asked = now
		s.next = now.Add(t.pause(s))
	}
	return due
}

// known says whether a box that is kept has answered at a, and not elsewhere since.
func (t *Twins) known(a netip.Addr) bool {
	x := t.twins[t.suspects[a].id]
	return x != nil && x.addr == a
}

// pause is how long to wait after a question to s.
func (t *Twins) pause(s *suspect) time.Duration {
	switch {
	case s.id != "" && s.id == t.behind:
		return twinStandbyEvery
	case s.id != "":
		return twinEvery
	}
	return min(twinEvery<<min(s.refusals, 6), twinNever)
}

// Answer takes in what was found at addr: a page, or err for why there is none.
func (t *Twins) Answer(addr netip.Addr, p TwinPage, err error, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s, asked := t.suspects[addr]
	if !asked {
		return
	}
	if err == nil && !slices.Contains(p.For, addr) {
		err = fmt.Errorf("%w: it does not know the address it was asked at", errPage)
	}
	if err == nil && p.ID == t.cfg.ID {
		err = fmt.Errorf("%w: it is this one", errPage)
	}
	if err != nil {
		t.unanswered(s, err, now)
		return
	}
	if s.id != p.ID {
		delete(t.twins, s.id) // it was started again, or another took its place
	}
	started := now.Add(-time.Duration(p.Uptime * float64(time.Second)))
	x, known := t.twins[p.ID]
	if !known {
		x = &twin{page: p, older: started.Before(t.cfg.Started)}
		if !t.room(x) {
			// It is asked again, ever more seldom, and gives way to other addresses.
			s.id = ""
			s.refusals++
			s.next = s.asked.Add(t.pause(s))
			return
		}
		t.twins[p.ID] = x
	}
	s.id, s.refusals = p.ID, 0
	if shift := started.Sub(x.started); !known || shift > restarted || shift < -restarted {
		// The order is settled once: measured again and again it might change.
		x.started, x.byID = started, false
		x.older = started.Before(t.cfg.Started)
	}
	if p.Standby && p.Behind == t.cfg.ID && t.behind == p.ID && !x.byID {
		// Both stand by for each other: they were started so close together
		// that each thinks it is the older one.
		x.byID, x.older = true, p.ID < t.cfg.ID
	}
	told := known && x.page.Standby == p.Standby && x.page.Observe == p.Observe
	x.addr, x.page, x.last, x.missed = addr, p, now, 0
	if !told {
		t.tell(now, boot.ReasonTwin, x.sentence(now))
	}
	t.settle(now)
}

// room says whether there is room for x, and makes it: of more boxes than are
// kept, those that answer machines in the place of this one matter most, and
// those that answer nobody least. Otherwise a few pages of the latter would hide
// the box that is in the way. Of equals the first stay.
func (t *Twins) room(x *twin) bool {
	if len(t.twins) < boot.MaxLANTwins {
		return true
	}
	var least *twin
	for id, y := range t.twins {
		if id != t.behind && (least == nil || t.weight(y) < t.weight(least) || t.weight(y) == t.weight(least) && y.last.After(least.last)) {
			least = y
		}
	}
	if least == nil || t.weight(least) >= t.weight(x) {
		return false
	}
	delete(t.twins, least.page.ID)
	for _, s := range t.suspects {
		if s.id == least.page.ID {
			s.id, s.refusals = "", 1
		}
	}
	return true
}

// weight is how much x matters when not all boxes can be kept.
func (t *Twins) weight(x *twin) int {
	switch {
	case x.page.Observe, x.missed > 0:
		return 0
	case !x.answersFor(t.cfg.ID):
		return 1
	}
	return 2
}

// unanswered takes in that there was no box's page at an address.
func (t *Twins) unanswered(s *suspect, err error, now time.Time) {
	s.refusals++
	x := t.twins[s.id]
	if x == nil || t.suspects[x.addr] != s { // none, or it has another address by now
		s.id = ""
		s.next = s.asked.Add(t.pause(s))
		return
	}
	// A page that says something else is as good as none, but one that is no
	// longer a bootpuck's at all is an answer.
	if x.missed++; x.missed < twinSilent && !errors.Is(err, errPage) {
		return
	}
	delete(t.twins, s.id)
	t.tell(now, boot.ReasonNone, fmt.Sprintf("The bootpuck at %s is gone.", x.addr))
	s.id, s.refusals = "", 1
	s.next = s.asked.Add(t.pause(s))
	t.settle(now)
}

// settle decides whether this box stands by, and says so when that changes.
func (t *Twins) settle(now time.Time) {
	before := t.behind
	t.behind = ""
	if t.cfg.Ready() && (t.resumed.IsZero() || now.Sub(t.resumed) >= resumeFor) {
		var to *twin
		for _, x := range t.twins {
			if x.answersFor(t.cfg.ID) && (to == nil || x.started.After(to.started) || x.started.Equal(to.started) && x.page.ID < to.page.ID) {
				to = x
			}
		}
		if to != nil {
			t.behind = to.page.ID
			if s := t.suspects[to.addr]; s != nil && before == "" {
				s.next = now.Add(twinStandbyEvery)
			}
		}
	}
	t.standing.Store(t.behind != "")
	switch {
	case t.behind != "" && before == "":
		clear(t.waiting)
		t.tell(now, boot.ReasonStandby, fmt.Sprintf("This box stands by: the bootpuck at %s was started later and answers.", t.twins[t.behind].addr))
	case t.behind == "" && before != "":
		clear(t.waiting)
		t.tell(now, boot.ReasonNone, "This box answers again.")
	}
}

// answersFor says whether x answers machines in the place of the box self.
func (x *twin) answersFor(self string) bool {
	if x.older || x.page.Observe {
		return false
	}
	// One that stands by itself answers nobody; unless it waits for this very
	// box, and it was settled that it should not.
	return !x.page.Standby || x.byID && x.page.Behind == self
}

// tell queues an event; Tick hands it out. Nothing may block where it happens.
func (t *Twins) tell(now time.Time, reason boot.Reason, text string) {
	kind := boot.KindWarning
	if reason == boot.ReasonNone {
		kind = boot.KindBox
	}
	const enough = 16
	if len(t.news) < enough {
		t.news = append(t.news, boot.Event{Time: now, Kind: kind, Reason: reason, Text: text})
	}
}

func (x *twin) sentence(now time.Time) string {
	does := "It was started later than this box and answers machines."
	switch {
	case x.page.Observe:
		does = "It is in observe mode and answers nobody."
	case x.page.Standby:
		does = "It stands by."
	case x.older:
		does = "It was started earlier than this box and will stand by."
	}
	return fmt.Sprintf("Another bootpuck (version %s, up %s) is at %s. %s",
		x.page.Version, now.Sub(x.started).Round(time.Second), x.addr, does)
}

// Tick settles what only time changes and returns what there is to tell. Call
// it every second.
func (t *Twins) Tick(now time.Time) []boot.Event {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.twins) > 0 || t.behind != "" {
		t.settle(now)
	}
	for mac, w := range t.waiting {
		if now.Sub(w.asked) >= attentionFor {
			delete(t.waiting, mac)
		}
	}
	news := t.news
	t.news = nil
	return news
}

// Leaves says whether a machine's DISCOVER, heard on ifname, is left to a twin.
// It costs next to nothing while this box does not stand by.
func (t *Twins) Leaves(ifname string, mac boot.MAC, xid uint32, now time.Time) bool {
	if !t.standing.Load() {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	x := t.twins[t.behind]
	if x == nil || !slices.ContainsFunc(x.page.For, func(a netip.Addr) bool { return t.cfg.Near(ifname, a) }) {
		return false // it is not on that LAN
	}
	w, again := t.waiting[mac]
	age := now.Sub(w.at)
	if !again || age < 0 || now.Sub(w.asked) >= attentionFor {
		t.wait(mac, waiting{at: now, xid: xid, asked: now})
		return true
	}
	if w.answered {
		// One that took an address and comes with a new transaction is the next
		// program of a boot that goes well.
		goesOn := w.followed && xid != w.xid
		if now.Sub(w.asked) >= repeatAfter {
			w.asked = now
			if !goesOn {
				w.again++
			}
			if !goesOn && w.again == vainAsks && t.inVain(now) {
				return false
			}
		}
		if xid != w.xid || age >= attentionFor { // the twin is to answer this one too
			w = waiting{at: now, xid: xid, asked: now, again: w.again, answered: w.isEarly && w.early == xid}
		}
		t.wait(mac, w)
		return true
	}
	if age >= repeatAfter || xid == w.xid && now.Sub(w.asked) >= sameAfter {
		// The machine asks again and nobody has answered it.
		t.resumed = now
		t.settle(now)
		return false
	}
	if xid != w.xid {
		w.xid, w.asked, w.answered = xid, now, w.isEarly && w.early == xid
		t.wait(mac, w)
	}
	return true
}

// inVain takes note that a boot with the twin's offers led to nothing, and says
// whether standing by ends for it.
func (t *Twins) inVain(now time.Time) bool {
	t.vain = append(slices.DeleteFunc(t.vain, func(at time.Time) bool { return now.Sub(at) >= vainFor }), now)
	if len(t.vain) < vainBoots {
		return false
	}
	t.vain = nil
	t.tell(now, boot.ReasonTwin, fmt.Sprintf(
		"The bootpuck at %s made offers to machines %d times, and they asked on. This box answers too for %.0f minutes.",
		t.twins[t.behind].addr, vainBoots, resumeFor.Minutes()))
	t.resumed = now
	t.settle(now)
	return true
}

// Followed takes in that a machine was heard to take an address.
func (t *Twins) Followed(mac boot.MAC) {
	if !t.standing.Load() {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if w, there := t.waiting[mac]; there && w.answered {
		w.followed = true
		t.waiting[mac] = w
	}
}

func (t *Twins) wait(mac boot.MAC, w waiting) {
	if _, there := t.waiting[mac]; !there && len(t.waiting) >= maxWaiting {
		for m := range t.waiting { // any: a flood of invented addresses pushes out mostly its own
			delete(t.waiting, m)
			break
		}
	}
	t.waiting[mac] = w
}

// Overheard takes in what another server has broadcast to a machine. Only an
// offer of something to boot counts, in the transaction that the machine is in.
func (t *Twins) Overheard(mac boot.MAC, f boot.Foreign, now time.Time) {
	if !t.standing.Load() || f.Type != "offer" || !f.Boots() {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	x := t.twins[t.behind]
	w, there := t.waiting[mac]
	if x == nil || !slices.Contains(x.page.For, f.Server) {
		return
	}
	switch {
	case !there: // it was quicker than our own reading of the DISCOVER
		w = waiting{at: now, xid: f.XID, asked: now}
	case f.XID != w.xid:
		w.early, w.isEarly = f.XID, true
		t.wait(mac, w)
		return
	}
	w.answered = true
	t.wait(mac, w)
}

// Standby says whether this box leaves machines to a twin.
func (t *Twins) Standby() bool { return t.standing.Load() }

// Behind is the ID of the twin that is left to answer; empty for none.
func (t *Twins) Behind() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.behind
}

// Is says whether a box has answered at addr. What else a page says about
// addresses is not believed: it could cover up for another server.
func (t *Twins) Is(addr netip.Addr) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.suspects[addr]
	return s != nil && s.id != ""
}

// List is the other boxes, the one that was started last first.
func (t *Twins) List(now time.Time) []boot.LANTwin {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []boot.LANTwin
	for _, x := range t.twins {
		out = append(out, boot.LANTwin{
			ID: x.page.ID, Addr: x.addr, Version: x.page.Version, Uptime: max(now.Sub(x.started), 0), Older: x.older,
			Standby: x.page.Standby, Last: x.last,
		})
	}
	slices.SortFunc(out, func(a, b boot.LANTwin) int {
		if a.Uptime != b.Uptime {
			if a.Uptime < b.Uptime {
				return -1
			}
			return 1
		}
		return strings.Compare(a.ID, b.ID)
	})
	return out
}
