package doctor

import (
	"net/netip"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// Times that rules rest on.
const (
	// probeFresh is how far from an attempt a probe of the DHCP servers may be to
	// say something about it.
	probeFresh = 30 * time.Minute
	// serverFresh is how long before an attempt a DHCP server was heard that is
	// taken to be alive.
	serverFresh = 5 * time.Minute
	// patience is how long a running attempt may take over what is usually done at
	// once, before anything is said about it. Firmware repeats a DISCOVER after 4, 8
	// and 16 s, so that lost packets alone explain 12 s.
	patience = 20 * time.Second
)

// foreign is a packet of another server, and when it was heard: zero when only
// the attempt's summary has it.
type foreign struct {
	*boot.Foreign
	at time.Time
}

// view is an attempt as the rules look at it: its events by kind, and what
// follows from them. Events are what was seen; where some are not kept, the
// stages say what they said.
type view struct {
	a     *boot.Attempt
	lan   *boot.LAN
	now   time.Time
	final bool

	events    []boot.Event // in order of time
	offers    []*boot.Event
	mute      []*boot.Event // DISCOVERs that were not answered
	leases    []*boot.Event
	acks      []*boot.Event
	barred    []*boot.Event // requests on 4011 that were not answered
	fetches   []*boot.Event // ends of transfers, good and bad, size probes included
	autoexecs []*boot.Event
	scripts   []*boot.Event
	answers   []*boot.Event
	reports   []*boot.Event // callbacks
	progress  []*boot.Event
	others    []*boot.Event // warnings, decisions, quirks
	left      *boot.Event   // iPXE tells that it leaves for the disk, or that a step failed
	foreign   []foreign

	lead  boot.Firmware // who spoke first
	cur   boot.Firmware // who asked for an address last
	phase time.Time     // since when cur is the one that asks
	last  time.Time     // latest packet of the machine
}

func newView(a *boot.Attempt, lan *boot.LAN) *view {
	v := &view{a: a, lan: lan, now: lan.Now, final: a.State != boot.AttemptRunning}
	from := a.Events
	if n := len(from); n > maxEvents {
		from = append(slices.Clone(from[:maxEvents/4]), from[n-(maxEvents-maxEvents/4):]...)
	}
	v.events = slices.Clone(from)
	slices.SortStableFunc(v.events, func(a, b boot.Event) int { return a.Time.Compare(b.Time) })
	for i := range v.events {
		v.sort(&v.events[i])
	}
	for i := range min(len(a.Foreign), boot.MaxAttemptForeign) {
		f := &a.Foreign[i]
		if !slices.ContainsFunc(v.foreign, func(h foreign) bool { return *h.Foreign == *f }) {
			v.foreign = append(v.foreign, foreign{Foreign: f})
		}
	}
	if v.last.IsZero() {
		v.last = a.Last
	}
	if v.now.Before(v.last) {
		v.now = v.last // a clock that was set back, or a LAN that is not known
	}
	v.speakers()
	return v
}

// sort puts an event where the rules look for it.
func (v *view) sort(e *boot.Event) {
	own := true // a packet of the machine itself
	switch e.Kind {
	case boot.KindOffer:
		v.offers = append(v.offers, e)
	case boot.KindAck:
		v.acks = append(v.acks, e)
	case boot.KindLease:
		v.leases = append(v.leases, e)
	case boot.KindSilence:
		switch silence(e.Reason) {
		case silenceDiscover:
			v.mute = append(v.mute, e)
		case silenceAsk:
			v.barred = append(v.barred, e)
		case silenceOther:
		}
	case boot.KindForeign:
		own = false
		if e.Foreign != nil {
			v.foreign = append(v.foreign, foreign{e.Foreign, e.Time})
		}
	case boot.KindTFTP, boot.KindProbe, boot.KindHTTP:
		if part(e.File) == boot.StageAnswer {
			v.answers = append(v.answers, e)
		} else {
			v.fetches = append(v.fetches, e)
		}
	case boot.KindScript:
		switch part(e.File) {
		case nameLeft:
			v.left = e
		case boot.StageAutoexec:
			v.autoexecs = append(v.autoexecs, e)
		case boot.StageAnswer:
			v.answers = append(v.answers, e)
		default:
			v.scripts = append(v.scripts, e)
		}
	case boot.KindCallback:
		v.reports = append(v.reports, e)
	case boot.KindProgress:
		v.progress = append(v.progress, e)
	case boot.KindSyslog:
	case boot.KindWarning, boot.KindDecision, boot.KindQuirk:
		own = false
		v.others = append(v.others, e)
	case boot.KindResponder, boot.KindNetwork, boot.KindBox, boot.KindOperator, boot.KindVerdict:
		own = false
	}
	if own && e.Time.After(v.last) {
		v.last = e.Time
	}
}

// nameLeft is what part calls the word of a script that it leaves for the disk.
const nameLeft boot.StageName = "left"

// stepFailed is what iPXE says of a step of its script that failed; nil when it
// says nothing.
func (v *view) stepFailed() *boot.Event {
	if v.left != nil && v.left.Reason == boot.ReasonFetchBroken {
		return v.left
	}
	return nil
}

// Kinds of silence.
const (
	silenceOther    = iota
	silenceDiscover // a boot client's DISCOVER was heard and not answered
	silenceAsk      // a request for boot information (4011) was heard and not answered
)

func silence(r boot.Reason) int {
	switch r {
	case boot.ReasonPolicy, boot.ReasonDenied, boot.ReasonUnknownIgnored, boot.ReasonArch, boot.ReasonNoLoader, boot.ReasonObserve,
		boot.ReasonStandby, boot.ReasonNoAddress, boot.ReasonGUID, boot.ReasonTooLong, boot.ReasonRate, boot.ReasonSend,
		boot.ReasonInternal, boot.ReasonRelay, boot.ReasonHops:
		return silenceDiscover
	case boot.ReasonSource, boot.ReasonOtherServer, boot.ReasonHTTP4011:
		return silenceAsk
	default:
		return silenceOther
	}
}

// part says what a name stands for in the story of a boot; empty for a file of
// which only the moment says what it is.
func part(name string) boot.StageName {
	c := cleaned(name)
	base := path.Base(c)
	switch {
	case c == "left":
		return nameLeft
	case c == "b", base == "autoexec.ipxe", c == "grub/grub.cfg":
		return boot.StageAutoexec
	case c == "s", strings.HasPrefix(c, "m/"), strings.HasPrefix(c, "x/"), strings.HasPrefix(c, "w/"),
		path.Base(path.Dir(c)) == "pxelinux.cfg", strings.HasPrefix(base, "grub.cfg"):
		return boot.StageScript
	case strings.HasPrefix(c, "a/"):
		return boot.StageAnswer
	case strings.HasPrefix(base, "kernel") && path.Ext(base) == ".img": // of a Raspberry Pi
		return boot.StageKernel
	}
	switch path.Ext(base) {
	case ".c32", ".mod", ".lst", ".kpxe", ".kkpxe", ".pxe", ".0":
		return boot.StageLoader
	}
	return ""
}

// isTarget says whether a transfer is of the target: a kernel and what follows.
func (v *view) isTarget(e *boot.Event) bool {
	switch part(e.File) {
	case boot.StageLoader, boot.StageAutoexec, boot.StageScript, boot.StageAnswer:
		return false
	case boot.StageKernel:
		return true
	default:
	}
	return len(v.scripts) > 0 && !e.Time.Before(v.scripts[0].Time)
}

// isLoader says whether a transfer is of a boot program.
func (v *view) isLoader(e *boot.Event) bool {
	switch part(e.File) {
	case boot.StageAutoexec, boot.StageScript, boot.StageAnswer:
		return false
	default:
	}
	return !v.isTarget(e)
}

// talks says whether an event is a DHCP packet of the machine.
func talks(e *boot.Event) bool {
	switch e.Kind {
	case boot.KindOffer, boot.KindAck, boot.KindLease:
		return e.Firmware != ""
	case boot.KindSilence:
		return e.Firmware != "" && silence(e.Reason) != silenceOther
	default:
		return false
	}
}

// speakers finds who asked for an address first and last, and since when the
// last one is the one that asks. A program that was loaded and asks again begins
// a new round, also when it calls itself the same.
func (v *view) speakers() {
	var loaded time.Time
	for i := range v.events {
		e := &v.events[i]
		switch {
		case v.whole(e) && v.isLoader(e):
			loaded = e.Time
		case talks(e):
			if v.lead == "" {
				v.lead = e.Firmware
			}
			if e.Firmware != v.cur || !loaded.IsZero() && v.phase.Before(loaded) {
				v.cur, v.phase = e.Firmware, e.Time
			}
		}
	}
	if f := v.a.Firmwares; len(f) > 0 {
		v.lead = f[0]
		if v.cur == "" {
			v.cur = f[len(f)-1]
		}
	}
}

// maxRounds bounds how many programs of one attempt are looked at.
const maxRounds = 4

// rounds are the attempt as if each program that asked for an address before the
// last one had been the only one.
func (v *view) rounds() []boot.Attempt {
	type round struct {
		fw    boot.Firmware
		start time.Time
	}
	var all []round
	for i := range v.events {
		if e := &v.events[i]; talks(e) && (len(all) == 0 || all[len(all)-1].fw != e.Firmware) {
			all = append(all, round{e.Firmware, e.Time})
		}
	}
	var out []boot.Attempt
	for i := range min(max(len(all)-1, 0), maxRounds) {
		from, to := all[i].start, all[i+1].start
		a := *v.a
		a.Firmwares, a.Foreign, a.Stages, a.Shapes, a.Events = []boot.Firmware{all[i].fw}, nil, nil, nil, nil
		a.State, a.Start, a.Last = boot.AttemptStalled, from, to
		for j := range v.events {
			e := &v.events[j]
			// Other servers may be heard before the box has answered the same DISCOVER.
			early := time.Duration(0)
			if e.Kind == boot.KindForeign {
				early = time.Second
			}
			if !e.Time.Before(from.Add(-early)) && e.Time.Before(to.Add(-early)) {
				a.Events = append(a.Events, *e)
			}
		}
		out = append(out, a)
	}
	return out
}

// whole says whether e is the good end of a transfer.
func (v *view) whole(e *boot.Event) bool {
	return (e.Kind == boot.KindTFTP || e.Kind == boot.KindHTTP) && e.Reason == boot.ReasonNone
}

// recent are the events since the last program began to ask.
func (v *view) recent(list []*boot.Event) []*boot.Event {
	i := 0
	for i < len(list) && list[i].Time.Before(v.phase) {
		i++
	}
	return list[i:]
}

// asks is how often the last program asked for an address.
func (v *view) asks() int {
	n := len(v.recent(v.offers)) + len(v.recent(v.mute))
	if v.cur == v.lead && len(v.a.Firmwares) < 2 {
		n = max(n, v.a.Stage(boot.StageDiscover).Count) // some events may not be kept
	}
	return n
}

// offered says whether the last program was offered something.
func (v *view) offered() bool {
	return len(v.recent(v.offers)) > 0 || len(v.events) == 0 && v.a.Reached(boot.StageOffer)
}

// lastOffer is the last offer to the last program; nil when there is none.
func (v *view) lastOffer() *boot.Event {
	if o := v.recent(v.offers); len(o) > 0 {
		return o[len(o)-1]
	}
	return nil
}

// leased says whether the last program took an address.
func (v *view) leased() bool {
	if len(v.recent(v.leases)) > 0 || len(v.events) == 0 && v.a.Reached(boot.StageLease) {
		return true
	}
	return v.heard(func(f foreign) bool { return f.Type == "ack" && f.Your.IsValid() }) != nil
}

// heard is the latest packet of another server in the last program's round for
// which want says yes; nil when there is none.
func (v *view) heard(want func(foreign) bool) *foreign {
	for i := len(v.foreign) - 1; i >= 0; i-- {
		f := &v.foreign[i]
		// Offers may be heard before the box has answered the same DISCOVER.
		if !f.at.IsZero() && f.at.Before(v.phase.Add(-time.Second)) {
			continue
		}
		if want(*f) {
			return f
		}
	}
	return nil
}

// dhcpHeard is an offer or grant of an address to the last program.
func (v *view) dhcpHeard() *foreign {
	return v.heard(func(f foreign) bool { return f.Your.IsValid() && f.Type != "nak" })
}

// fetched says whether the machine asked this box for anything by TFTP or HTTP.
func (v *view) fetched() bool {
	if len(v.fetches) > 0 || len(v.autoexecs) > 0 || len(v.scripts) > 0 || len(v.answers) > 0 || len(v.progress) > 0 || len(v.reports) > 0 {
		return true
	}
	for _, n := range []boot.StageName{
		boot.StageProbe, boot.StageLoader, boot.StageAutoexec, boot.StageScript, boot.StageMenu, boot.StageKernel,
		boot.StageFiles, boot.StageAnswer, boot.StageInstaller,
	} {
		if v.a.Reached(n) {
			return true
		}
	}
	return false
}

// fetchedSince says the same of the time from t on.
func (v *view) fetchedSince(t time.Time) bool {
	for _, l := range [][]*boot.Event{v.fetches, v.autoexecs, v.scripts, v.answers, v.progress, v.reports} {
		if n := len(l); n > 0 && !l[n-1].Time.Before(t) {
			return true
		}
	}
	return false
}

// stuck says whether the last program that asked for an address got no further
// than DHCP: the rules about offers and addresses look at its round.
func (v *view) stuck() bool {
	if !v.fetched() {
		return true
	}
	return v.started() && v.cur == boot.FirmwareIPXE && !v.phase.IsZero() && !v.scripted() && !v.fetchedSince(v.phase)
}

// loaded is the last whole transfer of a boot program; nil when there is none.
func (v *view) loaded() *boot.Event {
	for i := len(v.fetches) - 1; i >= 0; i-- {
		if e := v.fetches[i]; v.whole(e) && v.isLoader(e) {
			return e
		}
	}
	return nil
}

// hasLoader says whether a boot program was fetched whole.
func (v *view) hasLoader() bool {
	return v.loaded() != nil || v.a.Stage(boot.StageLoader).Done && v.a.Stage(boot.StageLoader).Reason == boot.ReasonNone
}

// started says whether a boot program is known to run: it spoke as iPXE, or asked
// for something that the firmware was not told of.
func (v *view) started() bool {
	if len(v.autoexecs) > 0 || v.scripted() || v.a.Reached(boot.StageAutoexec) || v.a.Reached(boot.StageMenu) || v.a.Reached(boot.StageKernel) {
		return true
	}
	if v.lead == boot.FirmwareIPXE && !v.hasLoader() {
		return true // the program in the card's ROM
	}
	if v.lead != boot.FirmwareIPXE && slices.Contains(v.a.Firmwares, boot.FirmwareIPXE) {
		return true
	}
	var since time.Time
	known := map[string]bool{}
	for i := range v.events {
		e := &v.events[i]
		switch e.Kind {
		case boot.KindOffer, boot.KindAck:
			known[cleaned(e.File)] = true
			if !since.IsZero() && e.Firmware == boot.FirmwareIPXE {
				return true
			}
		case boot.KindTFTP, boot.KindHTTP, boot.KindProbe:
			if !since.IsZero() && !known[cleaned(e.File)] {
				return true
			}
			if since.IsZero() && v.whole(e) && v.isLoader(e) {
				since = e.Time
				known[cleaned(e.File)] = true
			}
		default:
		}
	}
	return false
}

// scripted says whether the machine's own script was delivered.
func (v *view) scripted() bool { return len(v.scripts) > 0 || v.a.Reached(boot.StageScript) }

// targeted says whether anything of the target was asked for.
func (v *view) targeted() bool {
	return v.a.Reached(boot.StageKernel) || v.a.Reached(boot.StageFiles) || slices.ContainsFunc(v.fetches, v.isTarget)
}

// reported says whether the installer was heard.
func (v *view) reported() bool {
	return len(v.reports) > 0 || v.a.Reached(boot.StageInstaller) ||
		slices.ContainsFunc(v.events, func(e boot.Event) bool { return e.Kind == boot.KindSyslog })
}

// refusal is the latest script or decision that was not what was to boot for one
// of the given reasons.
func (v *view) refusal(reasons ...boot.Reason) *boot.Event {
	for i := len(v.events) - 1; i >= 0; i-- {
		e := &v.events[i]
		if (e.Kind == boot.KindScript || e.Kind == boot.KindDecision || e.Kind == boot.KindWarning) && slices.Contains(reasons, e.Reason) {
			return e
		}
	}
	return nil
}

// refusedWith says the same of the stages, for an attempt whose events are gone.
func (v *view) refusedWith(reasons ...boot.Reason) (boot.Reason, bool) {
	if e := v.refusal(reasons...); e != nil {
		return e.Reason, true
	}
	if r := v.a.Stage(boot.StageScript).Reason; slices.Contains(reasons, r) {
		return r, true
	}
	return "", false
}

// blocking is the last transfer, if it failed and nothing came after it: what
// stopped the boot, and not one of the files that programs ask for in vain.
func (v *view) blocking() *boot.Event {
	var last *boot.Event
	for i := range v.events {
		e := &v.events[i]
		switch e.Kind {
		case boot.KindTFTP, boot.KindHTTP, boot.KindScript:
			if part(e.File) == nameLeft {
				continue
			}
			last = nil
			if e.Reason != boot.ReasonNone {
				last = e
			}
		case boot.KindCallback, boot.KindSyslog:
			last = nil
		case boot.KindProgress:
			// The next try has begun, or the packet was told late.
			if last != nil && e.Bytes > 0 && cleaned(last.File) != cleaned(e.File) {
				last = nil
			}
		default:
		}
	}
	return last
}

// quiet says whether the attempt is over, or nothing was heard for d.
func (v *view) quiet(d time.Duration) bool { return v.final || v.now.Sub(v.last) >= d }

// waited says whether the attempt is over, or the last program was first offered
// something at least d ago.
func (v *view) waited(d time.Duration) bool {
	if v.final {
		return true
	}
	o := v.recent(v.offers)
	return len(o) > 0 && v.now.Sub(o[0].Time) >= d
}

// uefi says whether the last program follows EDK2's rules of choosing.
func (v *view) uefi() bool { return v.cur == boot.FirmwareUEFI }

// server is a DHCP server of the LAN that a machine in this attempt may be
// served by.
func (v *view) servers(want func(*boot.LANServer) bool) []*boot.LANServer {
	var out []*boot.LANServer
	for i := range v.lan.Servers {
		s := &v.lan.Servers[i]
		if v.a.Interface != "" && s.Interface != "" && s.Interface != v.a.Interface {
			continue
		}
		if want(s) {
			out = append(out, s)
		}
	}
	return out
}

// probe is the latest question to the DHCP servers on the attempt's interface that
// says something about it.
func (v *view) probe() *boot.LANProbe {
	var out *boot.LANProbe
	for i := range v.lan.Probes {
		p := &v.lan.Probes[i]
		if p.Err != "" || v.a.Interface != "" && p.Interface != "" && p.Interface != v.a.Interface {
			continue
		}
		if p.Time.Before(v.a.Start.Add(-probeFresh)) || p.Time.After(v.last.Add(probeFresh)) {
			continue
		}
		if out == nil || p.Time.After(out.Time) {
			out = p
		}
	}
	return out
}

// posesAs is the hardware address by which the server that f names is known, when
// f came from another station; empty when it did not, or that cannot be told. What
// comes through a relay comes from the router's side of the LAN.
func (v *view) posesAs(f foreign) boot.MAC {
	if f.MAC == "" || f.Relay.IsValid() {
		return ""
	}
	var first *boot.LANServer // who speaks in a server's name comes after it
	for _, s := range v.servers(func(s *boot.LANServer) bool { return s.Server == f.Server && s.MAC != "" && !s.Relay.IsValid() }) {
		if first == nil || s.First.Before(first.First) {
			first = s
		}
	}
	if first == nil || first.MAC == f.MAC {
		return ""
	}
	return first.MAC
}

// genuine is heard, of packets that came from the server itself, as far as can be
// told; of others only when there is no such.
func (v *view) genuine(want func(foreign) bool) *foreign {
	if f := v.heard(func(f foreign) bool { return want(f) && v.posesAs(f) == "" }); f != nil {
		return f
	}
	return v.heard(want)
}

// later says whether the last program that asked for an address was not the first.
func (v *view) later() bool {
	return slices.ContainsFunc(v.events, func(e boot.Event) bool { return talks(&e) && e.Time.Before(v.phase) })
}

// alive lists the DHCP servers that answered somebody since the last program
// began to ask. What was heard before says nothing: the server may be gone since,
// be it that it answered this machine itself or a question of the box's.
func (v *view) alive() []netip.Addr {
	since := v.a.Start
	if v.later() {
		since = v.phase.Add(-time.Second) // answers may be heard before the box has sent its own
	}
	var out []netip.Addr
	for _, s := range v.servers(func(s *boot.LANServer) bool { return s.DHCP && !s.Last.Before(since) }) {
		out = append(out, s.Server)
	}
	if p := v.probe(); p != nil && !p.Time.Before(since) {
		for _, a := range p.Answers {
			if !slices.Contains(out, a) {
				out = append(out, a)
			}
		}
	}
	return out
}

// addressed says whether any program of the attempt was offered an address, or
// took one, as far as was heard.
func (v *view) addressed() bool {
	return len(v.leases) > 0 || v.a.Reached(boot.StageLease) ||
		slices.ContainsFunc(v.foreign, func(f foreign) bool { return f.Your.IsValid() && f.Type != "nak" })
}

// pressed is how often a REQUEST must come, without a DISCOVER in between, before
// it counts as not acknowledged; copies that a relay makes come at once.
const (
	pressed = 3
	copied  = 200 * time.Millisecond
)

// unacknowledged lists the REQUESTs of the last program for an address that it
// was offered and never granted; nil when there is no sign of that. ROMs use one
// transaction number for everything, so a DISCOVER in between begins anew.
func (v *view) unacknowledged() []*boot.Event {
	if !v.stuck() || len(v.recent(v.acks)) > 0 || v.heard(func(f foreign) bool { return f.Type == "ack" && f.Your.IsValid() }) != nil {
		return nil
	}
	var run, longest []*boot.Event
	for i := range v.events {
		e := &v.events[i]
		if e.Time.Before(v.phase) || !talks(e) {
			continue
		}
		if e.Kind != boot.KindLease || len(run) > 0 && run[0].XID != e.XID {
			run = nil
		}
		if e.Kind != boot.KindLease || len(run) > 0 && e.Time.Sub(run[len(run)-1].Time) < copied {
			continue
		}
		if run = append(run, e); len(run) > len(longest) {
			longest = run
		}
	}
	if len(longest) < pressed {
		return nil
	}
	return longest
}

// unanswered is the latest question to the DHCP servers about the time of the
// attempt, when nobody answered it.
func (v *view) unanswered() *boot.LANProbe {
	if p := v.probe(); p != nil && len(p.Answers) == 0 {
		return p
	}
	return nil
}

// knownDHCP lists the DHCP servers that were ever heard.
func (v *view) knownDHCP() []*boot.LANServer {
	return v.servers(func(s *boot.LANServer) bool { return s.DHCP })
}

// ours says whether an address is the box's own.
func (v *view) ours(text string) bool {
	a, err := netip.ParseAddr(text)
	if err != nil {
		return false
	}
	for _, p := range v.lan.Ports {
		for _, own := range p.Addrs {
			if own.Addr().Unmap() == a.Unmap() {
				return true
			}
		}
	}
	return false
}

// port is the interface that the attempt came in on.
func (v *view) port() *boot.LANPort {
	for i := range v.lan.Ports {
		if v.lan.Ports[i].Name == v.a.Interface {
			return &v.lan.Ports[i]
		}
	}
	return nil
}

// evidence makes evidence of events.
func evidence(lists ...[]*boot.Event) []boot.Evidence {
	var out []boot.Evidence
	for _, l := range lists {
		for _, e := range l {
			if e != nil {
				out = append(out, boot.Evidence{Time: e.Time, Text: eventWord(e)})
			}
		}
	}
	slices.SortStableFunc(out, func(a, b boot.Evidence) int { return a.Time.Compare(b.Time) })
	return out
}

func (f *foreign) evidence() []boot.Evidence {
	if f == nil {
		return nil
	}
	return []boot.Evidence{{Time: f.at, Text: foreignWord(f.Foreign)}}
}
