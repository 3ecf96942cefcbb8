package journal

import (
	"container/list"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// Bounds of what is kept of one attempt besides boot's own.
const (
	maxActs     = 16
	maxXIDs     = 16
	maxAddrs    = 8
	maxInFlight = 8
	// keepFirst events are never pushed out: how a boot began says most.
	keepFirst = boot.MaxAttemptEvents / 4
	// maxNoise is how many events of a kind that may come by the dozen are kept of
	// one attempt, so that a talkative installer or other server does not push out
	// how the boot went.
	maxNoise = boot.MaxAttemptEvents / 4
	// maxEventText bounds every string of an event of an attempt, in octets.
	maxEventText = 256
)

// try is an attempt and what is needed to go on with it. It is a fold over the
// events of one boot: apply takes one, settle draws the conclusion. Neither
// reads a clock.
type try struct {
	a    boot.Attempt
	seq  uint64    // in the order in which they began, over restarts
	base time.Time // what Took is counted from, on the clock that does not jump

	acts     []act // who asked for an address, in order; the last one is on stage
	xids     []uint32
	addrs    []netip.Addr
	native   bool      // the first to speak was iPXE itself
	heard    time.Time // latest packet of the machine
	followed bool      // the act on stage went on beyond DHCP
	deep     bool      // more was seen than what anybody can invent by DHCP
	strong   bool      // Addr was taken by DHCP, as overheard

	answered bool        // an offer was sent
	purpose  boot.Reason // why nothing was said, on purpose
	refused  boot.Reason // why nothing could be said
	flight   map[string]flight
	done     map[boot.StageName]int64 // octets of files that came to their end
	kernel   string                   // name of the target's first file
	left     leave
	life     bool // what was booted gave a sign
	calls    bool // the installer reports
	callback boot.Callback

	// Of the tracker and of Attempts.
	rank    rank
	elem    *list.Element
	tally   *tally // of its source, in the ranks that have one
	cost    int
	changed bool              // since it was last told of
	told    bool              // Ended and Sink know
	said    boot.AttemptState // what Sink was told; empty when it is told no more
	judged  time.Time         // when the doctor last looked
	named   time.Time         // when the registry was last asked
	stored  time.Time         // when it was last handed to the store
	unkept  bool              // the store has an older state
	kept    bool              // the store has it
	listed  bool              // of a tick
}

// act is one program on one network card asking for an address.
type act struct {
	mac         boot.MAC
	firmware    boot.Firmware
	first, last time.Time
	xid         uint32
	rounds      int // different transactions
	leased      bool
}

// flight is a transfer under way.
type flight struct {
	stage        boot.StageName
	bytes, total int64
}

// leave says whether and how the machine said that it leaves for its disk.
type leave byte

const (
	leaveNot    leave = iota
	leaveLocal        // as decided, by a person, or by time
	leaveEnded        // what was booted has ended
	leaveFailed       // a step of its script failed
)

// isDHCP says whether an event is of a packet of the machine's own DHCP.
func isDHCP(e *boot.Event) bool {
	switch e.Kind {
	case boot.KindOffer, boot.KindAck, boot.KindSilence, boot.KindLease:
		return true
	default:
		return false
	}
}

// bootClient says whether a DHCP event is of a client that boots.
func bootClient(e *boot.Event) bool {
	return boot.ClassOf(e.Class) != boot.ClassNone || e.Firmware != "" && e.Firmware != boot.FirmwareUnknown
}

// silencePurpose are the silences that are meant.
var silencePurpose = map[boot.Reason]bool{
	boot.ReasonPolicy: true, boot.ReasonDenied: true, boot.ReasonUnknownIgnored: true, boot.ReasonObserve: true, boot.ReasonStandby: true,
}

// silenceError are those that are not: the machine wanted to boot and could not
// be helped.
var silenceError = map[boot.Reason]bool{
	boot.ReasonNoAddress: true, boot.ReasonGUID: true, boot.ReasonArch: true, boot.ReasonNoLoader: true, boot.ReasonTooLong: true,
	boot.ReasonRate: true, boot.ReasonSend: true, boot.ReasonInternal: true,
}

// discovers says whether an event stands for a DISCOVER of a boot client: the
// only thing that begins a boot.
func discovers(e *boot.Event) bool {
	switch e.Kind {
	case boot.KindOffer:
		return true
	case boot.KindSilence:
		return bootClient(e) && (silencePurpose[e.Reason] || silenceError[e.Reason])
	default:
		return false
	}
}

// isSystem says whether an event is of an operating system's or installer's DHCP
// client.
func isSystem(e *boot.Event) bool {
	return e.Kind == boot.KindSilence && e.Reason == boot.ReasonClass && !bootClient(e)
}

// ofSystem says whether an event is of an operating system, whichever it is that
// runs: the one that was booted, or that on the disk.
func ofSystem(e *boot.Event) bool {
	return e.Kind == boot.KindSyslog || isSystem(e) || e.Kind == boot.KindLease && !bootClient(e)
}

// ofMachine says whether an event means that the machine itself did something
// then. That a transfer was given up is not one.
func ofMachine(e *boot.Event) bool {
	switch e.Kind {
	case boot.KindOffer, boot.KindAck, boot.KindLease, boot.KindProbe, boot.KindScript, boot.KindCallback, boot.KindSyslog:
		return true
	case boot.KindProgress:
		return true
	case boot.KindSilence:
		return discovers(e) || isSystem(e)
	case boot.KindTFTP, boot.KindHTTP:
		return e.Reason != boot.ReasonClientSilent
	default:
		return false
	}
}

// apply takes an event into the attempt.
func (t *try) apply(e boot.Event, local func(string) boot.StageName) {
	t.changed = true
	t.identity(&e)
	// That a system talks on is no reason to look at its boot again for hours.
	if ofMachine(&e) && (!t.finished() || !ofSystem(&e)) {
		t.times(&e)
	}
	switch e.Kind {
	case boot.KindOffer:
		t.answered = true
		t.discover(&e)
		t.mark(boot.StageOffer, &e).Done = true
		t.shape(&e)
	case boot.KindSilence:
		t.silence(&e)
	case boot.KindLease:
		t.mark(boot.StageLease, &e).Done = true
		t.onStage(&e).leased = true
	case boot.KindAck:
		t.deep, t.followed = true, true
		t.speaks(e.Firmware)
		t.mark(boot.StageAsk, &e).Done = true
		t.shape(&e)
	case boot.KindProbe:
		t.deep, t.followed = true, true
		t.mark(boot.StageProbe, &e).Done = true
	case boot.KindTFTP, boot.KindHTTP, boot.KindProgress:
		t.transfer(&e, local)
	case boot.KindScript:
		t.script(&e, local)
	case boot.KindDecision:
		t.decided(&e)
	case boot.KindCallback:
		t.reports(&e)
	case boot.KindSyslog:
		t.sign(boot.StageInstaller, &e)
	case boot.KindForeign:
		t.foreign(&e)
	default:
	}
	t.reach()
	t.keepEvent(e)
}

// identity notes what an event says about who the machine is.
func (t *try) identity(e *boot.Event) {
	a := &t.a
	switch {
	case e.MAC == "" || e.MAC == a.MAC || slices.Contains(a.MACs, e.MAC):
	case a.MAC == "":
		a.MAC = e.MAC
	case len(a.MACs) < boot.MaxMACs:
		a.MACs = append(a.MACs, e.MAC)
	}
	if a.GUID.IsZero() {
		a.GUID = e.GUID
	}
	if a.Interface == "" {
		a.Interface = e.Interface
	}
	if e.ArchKnown && !a.ArchKnown && e.Kind != boot.KindForeign {
		a.Arch, a.ArchKnown, a.ArchName = e.Arch, true, e.Arch.String()
	}
	if a.Class == "" && boot.ClassOf(e.Class) != boot.ClassNone && isDHCP(e) {
		a.Class = e.Class
	}
	if isDHCP(e) && strings.Contains(e.Text, "through the relay ") {
		a.Relayed = true
	}
	if !e.Addr.IsValid() || e.Addr.IsUnspecified() {
		return
	}
	switch e.Kind {
	case boot.KindLease, boot.KindAck:
		a.Addr, t.strong = e.Addr, true
	case boot.KindTFTP, boot.KindProbe, boot.KindHTTP, boot.KindProgress, boot.KindScript:
		if a.Addr != e.Addr {
			a.Addr, t.strong = e.Addr, false
		}
	default:
		if !a.Addr.IsValid() && e.Kind != boot.KindForeign && !isDHCP(e) {
			a.Addr = e.Addr
		}
	}
}

// times moves the attempt's ends. An event of a finished transfer tells of its
// beginning too. How long a boot took is settled with its end: what runs then may
// be heard of for days.
func (t *try) times(e *boot.Event) {
	if t.heard.IsZero() || e.Time.After(t.heard) {
		t.heard = e.Time
	}
	if t.finished() {
		return
	}
	if t.a.Last.IsZero() || e.Time.After(t.a.Last) {
		t.a.Last = e.Time
	}
	// Events of one moment come in any order. An older one than that is of a clock
	// that was wrong.
	if began := e.Time.Add(-spent(e)); began.Before(t.a.Start) && t.a.Start.Sub(began) < joinGap && t.base.Equal(t.a.Start) {
		t.a.Start, t.base = began, began
	}
	t.a.Took = max(t.a.Last.Sub(t.base), 0)
}

// extend moves the end of an attempt that went on after it counted as over.
func (t *try) extend() {
	if t.heard.After(t.a.Last) {
		t.a.Last = t.heard
	}
	t.a.Took = max(t.a.Last.Sub(t.base), t.a.Took)
}

// spent is how long before the time of an event what it tells of began.
func spent(e *boot.Event) time.Duration {
	switch e.Kind {
	case boot.KindTFTP, boot.KindHTTP, boot.KindProbe, boot.KindProgress:
		return min(max(e.Duration, 0), 6*time.Hour)
	default:
		return 0
	}
}

// mark notes that a stage was seen once more.
func (t *try) mark(name boot.StageName, e *boot.Event) *boot.Stage {
	s := t.touch(name, e)
	s.Count++
	if e.Reason != boot.ReasonNone {
		s.Reason = e.Reason
	}
	return s
}

// touch notes that a stage was seen, without counting it.
func (t *try) touch(name boot.StageName, e *boot.Event) *boot.Stage {
	order := stageOrder[name]
	i := 0
	for i < len(t.a.Stages) && stageOrder[t.a.Stages[i].Name] < order {
		i++
	}
	began := e.Time.Add(-spent(e))
	if i == len(t.a.Stages) || t.a.Stages[i].Name != name {
		t.a.Stages = slices.Insert(t.a.Stages, i, boot.Stage{Name: name, First: began, Last: e.Time})
	}
	s := &t.a.Stages[i]
	if began.Before(s.First) {
		s.First = began
	}
	if e.Time.After(s.Last) {
		s.Last = e.Time
	}
	s.Took = max(s.Last.Sub(s.First), 0)
	if e.File != "" {
		s.File = e.File
	}
	return s
}

// stageOrder is the place of each stage in boot.StageNames.
var stageOrder = func() map[boot.StageName]int {
	m := map[boot.StageName]int{}
	for i, n := range boot.StageNames() {
		m[n] = i
	}
	return m
}()

// reach sets At to the furthest stage. What an operating system does afterwards
// is no step on the way, unless it is what was booted.
func (t *try) reach() {
	for i := len(t.a.Stages) - 1; i >= 0; i-- {
		if n := t.a.Stages[i].Name; n != boot.StageSystem || t.a.State == boot.AttemptBooted {
			t.a.At = n
			return
		}
	}
}

func (t *try) speaks(f boot.Firmware) {
	if f == "" {
		return
	}
	if len(t.a.Firmwares) == 0 {
		t.native = f == boot.FirmwareIPXE
	}
	if !slices.Contains(t.a.Firmwares, f) && len(t.a.Firmwares) < maxActs {
		t.a.Firmwares = append(t.a.Firmwares, f)
	}
}

// onStage returns the act of the one who sent a DHCP packet.
func (t *try) onStage(e *boot.Event) *act {
	if n := len(t.acts); n > 0 && (t.acts[n-1].mac == e.MAC || e.MAC == "") && (e.Firmware == "" || t.acts[n-1].firmware == e.Firmware) {
		return &t.acts[n-1]
	}
	if len(t.acts) == maxActs {
		t.acts = slices.Delete(t.acts, 0, 1)
	}
	if n := len(t.acts); n > 0 && t.acts[n-1].mac != e.MAC {
		t.strong = false // another card gets an address of its own
	}
	t.acts = append(t.acts, act{mac: e.MAC, firmware: e.Firmware, first: e.Time, last: e.Time})
	t.followed = false
	return &t.acts[len(t.acts)-1]
}

func (t *try) discover(e *boot.Event) {
	t.speaks(e.Firmware)
	a := t.onStage(e)
	if a.rounds == 0 || a.xid != e.XID {
		a.rounds, a.xid = a.rounds+1, e.XID
	}
	if e.Time.After(a.last) {
		a.last = e.Time
	}
	if e.XID != 0 && !slices.Contains(t.xids, e.XID) {
		if len(t.xids) == maxXIDs {
			t.xids = slices.Delete(t.xids, 0, 1)
		}
		t.xids = append(t.xids, e.XID)
	}
	s := t.mark(boot.StageDiscover, e)
	s.File, s.Done = "", s.Done || t.answered
}

func (t *try) silence(e *boot.Event) {
	switch {
	case discovers(e):
		if silencePurpose[e.Reason] {
			t.purpose = e.Reason
		} else {
			t.refused = e.Reason
		}
		t.discover(e)
	case isSystem(e):
		t.sign(boot.StageSystem, e)
	}
}

// sign takes that an operating system of the machine was heard. It is what was
// booted only when that was fetched whole, and not long ago: a system on the disk
// asks for addresses and logs as well.
func (t *try) sign(stage boot.StageName, e *boot.Event) {
	if !t.complete() || e.Time.Sub(t.fetched()) > quietArmed {
		stage = boot.StageSystem
	} else {
		t.life = true
	}
	s := t.mark(stage, e)
	s.Done, s.Reason = true, boot.ReasonNone // it is none of the box's business, and no failure
}

// complete says whether everything that was asked for of the target was fetched.
func (t *try) complete() bool {
	files := t.a.Stage(boot.StageFiles)
	return t.a.Stage(boot.StageKernel).Done && (files.Count == 0 || files.Done)
}

// fetched is when something of the target was fetched last.
func (t *try) fetched() time.Time {
	at := t.a.Stage(boot.StageKernel).Last
	if files := t.a.Stage(boot.StageFiles); files.Last.After(at) {
		at = files.Last
	}
	return at
}

// afterlife says whether an event is of a system that runs long after the boot,
// and tells nothing of it: neither that it went well after all, nor how long it
// took.
func (t *try) afterlife(e *boot.Event) bool {
	return t.finished() && ofSystem(e) && (t.a.State.Bad() || e.Time.Sub(t.heard) > quietArmed)
}

func (t *try) shape(e *boot.Event) {
	var s boot.Shape
	if e.Shape != nil {
		s = *e.Shape
	}
	if s.Form == boot.FormNone && (e.Form == boot.FormDirect || e.Form == boot.FormTwoStep) && e.Kind == boot.KindOffer {
		s.Form = e.Form
	}
	if s == (boot.Shape{}) || slices.Contains(t.a.Shapes, s) || len(t.a.Shapes) >= boot.MaxAttemptShapes {
		return
	}
	t.a.Shapes = append(t.a.Shapes, s)
}

func (t *try) foreign(e *boot.Event) {
	f := *e.Foreign
	f.XID = 0
	for _, old := range t.a.Foreign {
		old.XID = 0
		if old == f {
			return
		}
	}
	if len(t.a.Foreign) < boot.MaxAttemptForeign {
		t.a.Foreign = append(t.a.Foreign, *e.Foreign)
	}
}

// transfer takes what TFTP and HTTP tell of a file, under way or at its end.
func (t *try) transfer(e *boot.Event, local func(string) boot.StageName) {
	name := t.stageOf(*e, local)
	if name == "" {
		return
	}
	if name == boot.StageInstaller {
		// The registry tells of the report itself, in words.
		if e.Kind == boot.KindHTTP && e.Reason == boot.ReasonNone {
			t.reported(boot.Callback(fileName(e.File)[strings.LastIndexByte(fileName(e.File), '/')+1:]))
			t.touch(name, e).Done = true
		}
		return
	}
	if name == boot.StageKernel && !t.isPi() {
		file := fileName(e.File)
		switch {
		case t.kernel == "":
			t.kernel = file
		case t.kernel != file:
			name = boot.StageFiles
		}
	}
	if e.Reason == boot.ReasonNone || e.Acked || e.Bytes > 0 && e.Reason != boot.ReasonNotFound {
		t.deep = true
	}
	t.followed = true
	var s *boot.Stage
	own := name == boot.StageScript || name == boot.StageAutoexec || name == boot.StageMenu
	_, flying := t.flight[e.File]
	switch {
	case flying, own && t.a.Stage(name).Count > 0 && e.Reason == boot.ReasonNone:
		s = t.touch(name, e) // counted when it began
		if e.Reason != boot.ReasonNone {
			s.Reason = e.Reason
		}
	default:
		before := t.a.Stage(name).Reason
		s = t.mark(name, e)
		if e.Reason == boot.ReasonNotFound && t.wentOn(name) {
			s.Reason = before // it asks for more than it needs
		}
	}
	if e.Kind == boot.KindProgress {
		t.under(e, name)
		s.Done = false
		t.octets(s)
		return
	}
	delete(t.flight, e.File)
	s.Retries += max(e.Retries, 0)
	t.ended(s, e)
	if name == boot.StageAnswer && e.Reason == boot.ReasonNone {
		t.life = true
	}
}

func (t *try) isPi() bool {
	return slices.Contains(t.a.Firmwares, boot.FirmwareRPi) && !slices.Contains(t.a.Firmwares, boot.FirmwareIPXE)
}

// wentOn says whether a stage after name came to its end.
func (t *try) wentOn(name boot.StageName) bool {
	return slices.ContainsFunc(t.a.Stages, func(s boot.Stage) bool {
		return s.Done && s.Name != boot.StageSystem && stageOrder[s.Name] > stageOrder[name]
	})
}

// forgive takes back that files were missing on the way to a stage that came to
// its end: boot programs try names in turn.
func (t *try) forgive(name boot.StageName) {
	for i := range t.a.Stages {
		if s := &t.a.Stages[i]; s.Reason == boot.ReasonNotFound && stageOrder[s.Name] < stageOrder[name] {
			s.Reason = boot.ReasonNone
		}
	}
}

// under notes a transfer under way.
func (t *try) under(e *boot.Event, name boot.StageName) {
	if t.flight == nil {
		t.flight = map[string]flight{}
	}
	if _, known := t.flight[e.File]; known || len(t.flight) < maxInFlight {
		t.flight[e.File] = flight{stage: name, bytes: max(e.Bytes, 0), total: max(e.Total, 0)}
	}
}

// ended notes the end of a transfer, for better or worse.
func (t *try) ended(s *boot.Stage, e *boot.Event) {
	got := max(e.Bytes, 0)
	switch {
	case e.Reason == boot.ReasonNotFound:
		// Firmware and second stages try names in turn: no harm to what is there.
		got = 0
	case e.Reason != boot.ReasonNone:
		s.Done = false
	case got == 0 || e.Total > got:
		// A question for the size, or a part.
	default:
		s.Done, s.Reason = true, boot.ReasonNone
		t.forgive(s.Name)
	}
	if t.done == nil {
		t.done = map[boot.StageName]int64{}
	}
	t.done[s.Name] += got
	t.octets(s)
	if e.Total > got && e.Reason != boot.ReasonNone && e.Reason != boot.ReasonNotFound {
		s.Total += e.Total - got // how far it came shows
	}
	for _, f := range t.flight {
		if f.stage == s.Name {
			s.Done = false
		}
	}
}

// octets sums up a stage: what came to its end and what is under way.
func (t *try) octets(s *boot.Stage) {
	s.Bytes = t.done[s.Name]
	s.Total = s.Bytes
	known := true
	for _, f := range t.flight {
		if f.stage == s.Name {
			s.Bytes += f.bytes
			s.Total += f.total
			known = known && f.total > 0
		}
	}
	if !known {
		s.Total = 0
	}
}

// notDelivered are the reasons for which no script at all went out.
var notDelivered = map[boot.Reason]bool{
	boot.ReasonNotFound: true, boot.ReasonInterrupted: true, boot.ReasonMethod: true, boot.ReasonObserve: true, boot.ReasonInternal: true,
}

// script takes that a text was rendered for the machine.
func (t *try) script(e *boot.Event, local func(string) boot.StageName) {
	t.deep, t.followed = true, true
	if fileName(e.File) == "left" {
		t.leaves(e)
		return
	}
	name := t.stageOf(*e, local)
	if name == "" {
		return
	}
	switch file := fileName(e.File); {
	case name == boot.StageAutoexec && !strings.HasSuffix(file, "grub.cfg"), file == "s":
		t.speaks(boot.FirmwareIPXE) // nobody else asks for these
	}
	s := t.mark(name, e)
	if notDelivered[e.Reason] {
		s.Done = false
		return
	}
	s.Done = true
	if e.Reason == boot.ReasonNone {
		s.Reason = boot.ReasonNone
	}
	t.forgive(name)
	t.decided(e)
	if name == boot.StageScript && t.a.Action == "" {
		t.a.Action = boot.ActionMenu // nothing was said: the built-in menu, or the start-up script
	}
}

// decided takes what the machine is to do, from a decision or the text that
// carries it out. A boot that was armed stays so when its code is taken.
func (t *try) decided(e *boot.Event) {
	if e.Action == "" {
		return
	}
	t.a.Action = e.Action
	if e.Profile != "" {
		t.a.Profile = e.Profile
	}
	t.a.Armed = t.a.Armed || e.Action == boot.ActionArmed
	t.a.Elsewhere = t.a.Elsewhere || e.Elsewhere
}

// leaves takes that a script told that it leaves for the disk.
func (t *try) leaves(e *boot.Event) {
	switch {
	case e.Reason != boot.ReasonNone && e.Reason != boot.ReasonFetchBroken:
		return // it was not understood
	case e.Reason != boot.ReasonNone || strings.HasPrefix(e.Text, "a step failed"):
		t.left = leaveFailed
		if s := t.a.Stage(boot.StageKernel); s.Count > 0 {
			t.touch(boot.StageKernel, e).Reason = boot.ReasonFetchBroken
		} else {
			t.touch(boot.StageScript, e).Reason = boot.ReasonFetchBroken
		}
	case strings.HasPrefix(e.Text, "the program has ended"):
		t.left = leaveEnded
	default:
		t.left = leaveLocal
	}
}

// reports takes an installer's report, as the registry tells of it.
func (t *try) reports(e *boot.Event) {
	t.life, t.calls, t.deep = true, true, true
	s := t.mark(boot.StageInstaller, e)
	switch {
	case e.Reason == boot.ReasonAssignFailed || strings.HasPrefix(e.Text, string(boot.CallbackFailed)):
		s.Done, s.Reason = false, boot.ReasonAssignFailed
		t.callback = boot.CallbackFailed
	case strings.Contains(e.Text, " is done") || strings.HasPrefix(e.Text, string(boot.CallbackDone)):
		s.Done = true
		t.callback = boot.CallbackDone
	}
}

// reported takes the address that a report came to: it names what is said.
func (t *try) reported(c boot.Callback) {
	switch c {
	case boot.CallbackDone, boot.CallbackFailed:
		t.callback = c
	case boot.CallbackStarted, boot.CallbackProgress, boot.CallbackLog:
	default:
		return
	}
	t.life, t.calls, t.deep = true, true, true
}

// keepEvent puts an event into its place in the timeline and keeps the bound.
func (t *try) keepEvent(e boot.Event) {
	list := t.a.Events
	if e.Kind == boot.KindProgress || e.Kind == boot.KindTFTP || e.Kind == boot.KindHTTP {
		// Only the latest of a transfer under way, and nothing of it once it is over.
		for i := len(list) - 1; i >= 0 && i >= len(list)-maxInFlight; i-- {
			if list[i].Kind == boot.KindProgress && list[i].File == e.File {
				t.cost -= eventCost(&list[i])
				list = slices.Delete(list, i, i+1)
				break
			}
		}
	}
	if n := len(list); noisy(e.Kind) && n > 0 {
		count, oldest := 0, -1
		for i := range list {
			if list[i].Kind == e.Kind {
				count++
				if oldest < 0 && (i >= keepFirst || e.Kind == boot.KindSyslog || e.Kind == boot.KindCallback) {
					oldest = i
				}
			}
		}
		if count >= maxNoise && oldest >= 0 {
			list = t.forget(list, oldest)
		}
	}
	if len(list) >= boot.MaxAttemptEvents {
		list = t.forget(list, keepFirst)
	}
	i := len(list)
	for i > 0 && e.Time.Before(list[i-1].Time) {
		i--
	}
	t.a.Events = slices.Insert(list, i, e)
	t.cost += eventCost(&e)
}

// forget drops an event from the timeline.
func (t *try) forget(list []boot.Event, i int) []boot.Event {
	t.cost -= eventCost(&list[i])
	t.a.Omitted++
	return slices.Delete(list, i, i+1)
}

// noisy are the kinds of events that may come by the dozen.
func noisy(k boot.Kind) bool {
	switch k {
	case boot.KindOffer, boot.KindSilence, boot.KindForeign, boot.KindSyslog, boot.KindCallback, boot.KindDecision, boot.KindWarning,
		boot.KindProbe, boot.KindQuirk:
		return true
	default:
		return false
	}
}

// eventSize is what an event takes in memory without its strings, in octets, and
// foreignSize what the packet of another server adds.
const (
	eventSize   = 384
	foreignSize = 256
)

// eventCost is about what an event takes in memory.
func eventCost(e *boot.Event) int {
	n := eventSize + len(e.File) + len(e.Text) + len(e.Class)
	if e.Foreign != nil {
		n += foreignSize + len(e.Foreign.Class) + len(e.Foreign.File) + len(e.Foreign.Next)
	}
	return n
}

// thin drops the middle of the timeline until most events remain.
func (t *try) thin(most int) {
	for len(t.a.Events) > most {
		t.a.Events = t.forget(t.a.Events, min(most/2, len(t.a.Events)-1))
	}
	t.a.Events = slices.Clip(slices.Clone(t.a.Events))
}

// whole is a copy that nothing changes any more.
func (t *try) whole() boot.Attempt {
	a := t.summary()
	a.Events = slices.Clone(t.a.Events)
	return a
}

// summary is whole without the events.
func (t *try) summary() boot.Attempt {
	a := t.a
	a.Events = nil
	a.MACs, a.Firmwares, a.Stages = slices.Clone(a.MACs), slices.Clone(a.Firmwares), slices.Clone(a.Stages)
	a.Foreign, a.Shapes, a.Verdicts = slices.Clone(a.Foreign), slices.Clone(a.Shapes), slices.Clone(a.Verdicts)
	if a.Stages == nil {
		a.Stages = []boot.Stage{}
	}
	return a
}

// finished says whether the attempt came to its end.
func (t *try) finished() bool { return !t.a.End.IsZero() }
