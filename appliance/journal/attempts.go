package journal

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// AttemptsConfig says what Attempts works with.
type AttemptsConfig struct {
	// Now is the clock; nil is time.Now. Its times should carry a monotonic
	// reading, so that durations survive a wall clock that is set.
	Now func() time.Time
	// Judge is the doctor, given the present LAN: called when an attempt ended, and
	// about every two seconds while one goes on and changes. nil: no verdicts.
	Judge func(a *boot.Attempt) []boot.Verdict
	// Who names a machine; nil knows nobody. It must be quick.
	Who func(mac boot.MAC, guid boot.GUID) (id boot.MachineID, name, product string)
	// Sink gets a KindVerdict event once per finished attempt, and a second one with
	// the verdict put right when a boot went on after all and ended well instead of
	// badly, or the other way round; nil: nobody.
	Sink boot.Sink
	// Ended is told of every finished attempt once; nil: nobody. It must not change
	// what it is given.
	Ended func(boot.Attempt)
	// Local says which stage a file belongs to, by its name as asked for; an empty
	// answer, and a nil Local, leave it to a built-in guess.
	Local func(name string) boot.StageName
}

// Times of Attempts.
const (
	tickEvery  = 500 * time.Millisecond // conclusions are looked for, and changes told
	judgeEvery = 2 * time.Second        // a verdict on what goes on, at most
	namedEvery = 10 * time.Second       // the registry is asked again who a nameless machine is
)

// Bounds of the queues between Observe and Run, in events. What strangers can
// make any number of waits in a queue of its own: a flood of DISCOVERs costs no
// machine the story of its boot.
const (
	roomCommon   = 2048
	roomPrecious = 2048
)

// Attempts joins events into one attempt per boot of a machine. It is safe for
// concurrent use.
type Attempts struct {
	cfg   AttemptsConfig
	ready chan struct{}
	once  sync.Once
	wake  chan struct{} // events wait
	queue eventQueue

	mu      sync.Mutex
	tracker *tracker
	readers map[*AttemptSubscription]struct{}
	keep    keeper
}

// NewAttempts returns an Attempts without any attempt. Nothing is joined before
// Run.
func NewAttempts(cfg AttemptsConfig) *Attempts {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	var seed [8]byte
	_, _ = rand.Read(seed[:]) // it never fails: it ends the program first
	a := &Attempts{
		keep: keeper{urgent: make(chan struct{}, 1), writing: make(chan struct{}, 1)},
		cfg:  cfg, ready: make(chan struct{}), wake: make(chan struct{}, 1),
		tracker: newTracker(trackerConfig{local: cfg.Local, seed: binary.LittleEndian.Uint64(seed[:])}),
		readers: map[*AttemptSubscription]struct{}{},
	}
	return a
}

// String is the name of the task.
func (a *Attempts) String() string { return "attempts" }

// Ready is closed when Run joins events.
func (a *Attempts) Ready() <-chan struct{} { return a.ready }

// Observe takes an event. It never blocks: when Run does not keep up, events are
// left out and counted.
func (a *Attempts) Observe(e boot.Event) {
	if !concerns(e) {
		return
	}
	if a.queue.put(e) {
		select {
		case a.wake <- struct{}{}:
		default: // it is awake already
		}
	}
}

// concerns says whether an event can be part of a boot.
func concerns(e boot.Event) bool {
	switch e.Kind {
	case boot.KindOffer, boot.KindAck, boot.KindSilence, boot.KindLease, boot.KindForeign, boot.KindQuirk:
		return e.MAC != ""
	case boot.KindTFTP, boot.KindProbe, boot.KindScript, boot.KindHTTP, boot.KindDecision, boot.KindCallback,
		boot.KindProgress, boot.KindSyslog, boot.KindWarning:
		return e.MAC != "" || e.Addr.IsValid() || !e.GUID.IsZero()
	case boot.KindResponder, boot.KindNetwork, boot.KindBox, boot.KindOperator, boot.KindVerdict:
	}
	return false
}

// eventQueue is the bounded way from Observe to Run.
type eventQueue struct {
	mu       sync.Mutex
	seq      uint64
	common   []queued
	precious []queued
	spare    [2][]queued // what the reader has given back
	dropped  atomic.Uint64
}

// queued is an event with its number in the order of arrival.
type queued struct {
	seq   uint64
	event boot.Event
}

// put appends e and says whether the reader is to be woken.
func (q *eventQueue) put(e boot.Event) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	list, room := &q.precious, roomPrecious
	switch e.Kind {
	case boot.KindOffer, boot.KindSilence, boot.KindForeign, boot.KindLease, boot.KindWarning:
		list, room = &q.common, roomCommon
	default:
	}
	if len(*list) >= room {
		q.dropped.Add(1)
		return false
	}
	first := len(q.common)+len(q.precious) == 0
	q.seq++
	*list = append(*list, queued{q.seq, e})
	return first
}

// take empties the queue into each, in the order of arrival.
func (q *eventQueue) take(each func(boot.Event)) {
	q.mu.Lock()
	common, precious := q.common, q.precious
	q.common, q.precious = q.spare[0], q.spare[1]
	q.spare = [2][]queued{}
	q.mu.Unlock()
	i, j := 0, 0
	for i < len(common) || j < len(precious) {
		if j == len(precious) || i < len(common) && common[i].seq < precious[j].seq {
			each(common[i].event)
			i++
		} else {
			each(precious[j].event)
			j++
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.spare = [2][]queued{spare(common), spare(precious)}
}

// spare readies a list for use again. A list that a flood has made long is let
// go, and nothing is held on to by what stays.
func spare(list []queued) []queued {
	if cap(list) > 256 {
		return nil
	}
	clear(list)
	return list[:0]
}

// Dropped is how many events were left out because Run did not keep up.
func (a *Attempts) Dropped() uint64 { return a.queue.dropped.Load() }

// Active is how many attempts are not finished.
func (a *Attempts) Active() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.tracker.active()
}

// Evicted is how many attempts made way for others: all that a flood of invented
// machines does.
func (a *Attempts) Evicted() uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.tracker.evicted
}

// Get returns an attempt whole, with the events that are kept. Nothing in it
// changes afterwards; the caller must not change it either.
func (a *Attempts) Get(id boot.AttemptID) (boot.Attempt, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.tracker.byID[id]
	if t == nil {
		return boot.Attempt{}, false
	}
	return t.whole(), true
}

// Bounds of a list.
const (
	DefaultAttempts = 100
	MaxAttempts     = 1000
)

// AttemptQuery says which attempts are wanted. Zero fields do not count.
type AttemptQuery struct {
	MAC     boot.MAC            // one of the attempt's hardware addresses
	Machine boot.MachineID      // of the registry
	States  []boot.AttemptState // any of them
	Verdict boot.Reason         // among its verdicts, not only the main one
	Since   time.Time           // its latest packet is not older
	Until   time.Time           // it began before
	After   boot.AttemptID      // the last one of the page before: older ones follow
	Limit   int                 // at most; 0 is DefaultAttempts, and never more than MaxAttempts
}

func (q *AttemptQuery) matches(a *boot.Attempt) bool {
	switch {
	case q.MAC != "" && a.MAC != q.MAC && !slices.Contains(a.MACs, q.MAC),
		q.Machine != "" && a.Machine != q.Machine,
		len(q.States) > 0 && !slices.Contains(q.States, a.State),
		!q.Since.IsZero() && a.Last.Before(q.Since),
		!q.Until.IsZero() && !a.Start.Before(q.Until):
		return false
	}
	return q.Verdict == boot.ReasonNone ||
		slices.ContainsFunc(a.Verdicts, func(v boot.Verdict) bool { return v.Name == q.Verdict })
}

// List returns attempts, the one that began last first, without their events.
// next is what After is to be for those that did not fit; it is empty at the
// end. After an attempt that is not kept any more nothing follows.
func (a *Attempts) List(q AttemptQuery) (list []boot.Attempt, next boot.AttemptID) {
	limit := q.Limit
	if limit <= 0 {
		limit = DefaultAttempts
	}
	limit = min(limit, MaxAttempts)
	a.mu.Lock()
	defer a.mu.Unlock()
	before := ^uint64(0)
	if q.After != "" {
		t := a.tracker.byID[q.After]
		if t == nil {
			return nil, ""
		}
		before = t.seq
	}
	for _, t := range a.tracker.newestFirst() {
		if t.seq >= before || !q.matches(&t.a) {
			continue
		}
		if len(list) == limit {
			return list, list[limit-1].ID
		}
		list = append(list, t.summary())
	}
	return list, ""
}

// AttemptSubscription is one live reader of attempts.
type AttemptSubscription struct {
	updates chan boot.Attempt
	wake    chan struct{}

	mu      sync.Mutex
	pending map[boot.AttemptID]boot.Attempt
	order   []boot.AttemptID // of pending, oldest change first
}

// Subscribe opens a live reader, or returns nil when there are MaxSubscribers
// already. It ends with ctx.
func (a *Attempts) Subscribe(ctx context.Context) *AttemptSubscription {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.readers) >= MaxSubscribers {
		return nil
	}
	s := &AttemptSubscription{
		updates: make(chan boot.Attempt), wake: make(chan struct{}, 1), pending: map[boot.AttemptID]boot.Attempt{},
	}
	a.readers[s] = struct{}{}
	go func() {
		s.pump(ctx)
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.readers, s)
	}()
	return s
}

// Updates gives every attempt that began or changed, without its events. A
// reader that is slow gets the latest state of each alone. The channel is closed
// when the subscription's context ends.
func (s *AttemptSubscription) Updates() <-chan boot.Attempt { return s.updates }

// offer notes the present state of an attempt for the reader.
func (s *AttemptSubscription) offer(a boot.Attempt) {
	s.mu.Lock()
	if _, waits := s.pending[a.ID]; !waits {
		if len(s.order) >= maxAttempts {
			delete(s.pending, s.order[0])
			s.order = s.order[1:]
		}
		s.order = append(s.order, a.ID)
	}
	s.pending[a.ID] = a
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *AttemptSubscription) next() (a boot.Attempt, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.order) == 0 {
		return a, false
	}
	id := s.order[0]
	s.order = s.order[1:]
	a = s.pending[id]
	delete(s.pending, id)
	return a, true
}

func (s *AttemptSubscription) pump(ctx context.Context) {
	defer close(s.updates)
	for {
		a, ok := s.next()
		if !ok {
			select {
			case <-ctx.Done():
				return
			case <-s.wake:
			}
			continue
		}
		select {
		case <-ctx.Done():
			return
		case s.updates <- a:
		}
	}
}

// Run joins events and draws conclusions until ctx ends.
func (a *Attempts) Run(ctx context.Context) error {
	a.once.Do(func() { close(a.ready) })
	ticker := time.NewTicker(tickEvery)
	defer ticker.Stop()
	// Nobody waits for it: a medium that hangs does not keep the box from its end.
	// Close writes what is left, and knows how long it may wait.
	go a.keepWriting(ctx)
	for {
		select {
		case <-ctx.Done():
			a.join()
			a.tick(a.cfg.Now())
			return ctx.Err()
		case <-a.wake:
			a.join()
		case <-ticker.C:
			a.join()
			a.tick(a.cfg.Now())
		}
	}
}

// join works off the queue.
func (a *Attempts) join() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.queue.take(func(e boot.Event) {
		if e.Time.IsZero() {
			e.Time = a.cfg.Now()
		}
		a.tracker.observe(e)
	})
}

// judgedAtOnce is how many attempts that go on are judged in one tick. More than
// that are a flood, and wait for the next.
const judgedAtOnce = 64

// job is what is to be done about an attempt without the lock.
type job struct {
	t                   *try
	a                   boot.Attempt
	who, judge, changed bool
}

// jobs draws conclusions and says what is to be looked at.
func (a *Attempts) jobs(now time.Time) []job {
	a.mu.Lock()
	defer a.mu.Unlock()
	var jobs []job
	judged := 0
	for _, t := range a.tracker.tick(now) {
		ends := t.finished() && (!t.told || t.changed)
		j := job{t: t, changed: t.changed}
		j.judge = a.cfg.Judge != nil && (ends || now.Sub(t.judged) >= judgeEvery && judged < judgedAtOnce)
		j.who = a.cfg.Who != nil && (ends || t.a.Machine == "" && now.Sub(t.named) >= namedEvery && judged < judgedAtOnce)
		if j.judge || j.who {
			judged++
		}
		if j.judge || j.who || t.changed {
			j.a = t.whole()
			jobs = append(jobs, j)
		}
		t.changed = false
	}
	return jobs
}

// tick draws conclusions, has attempts judged, and tells of those that changed.
// The doctor, the registry and whoever is told are asked without the lock.
func (a *Attempts) tick(now time.Time) {
	jobs := a.jobs(now)
	for i := range jobs {
		j := &jobs[i]
		if j.who {
			id, name, product := a.cfg.Who(j.a.MAC, j.a.GUID)
			j.a.Machine, j.a.Name, j.a.Product = id, boot.Claim(name), boot.Claim(product)
		}
		if j.judge {
			j.a.Verdicts = a.cfg.Judge(&j.a)
			j.a.Verdicts = j.a.Verdicts[:min(len(j.a.Verdicts), boot.MaxAttemptVerdicts)]
		}
	}
	ended, righted := a.settleJobs(jobs, now)
	for _, e := range ended {
		if a.cfg.Ended != nil {
			a.cfg.Ended(e)
		}
		if a.cfg.Sink != nil {
			a.cfg.Sink(verdictEvent(e, now))
		}
	}
	for _, e := range righted {
		if a.cfg.Sink != nil {
			a.cfg.Sink(verdictEvent(e, now))
		}
	}
}

// settleJobs puts down what was found out, tells the readers, and returns the
// attempts that ended, and those that went on after they were told of and ended
// otherwise.
func (a *Attempts) settleJobs(jobs []job, now time.Time) (ended, righted []boot.Attempt) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, j := range jobs {
		t := j.t
		if a.tracker.byID[t.a.ID] != t {
			continue // it made way meanwhile
		}
		if j.who {
			t.named = now
			if j.a.Machine != "" && (t.a.Machine != j.a.Machine || t.a.Name != j.a.Name) {
				t.a.Machine, t.a.Name, j.changed = j.a.Machine, j.a.Name, true
			}
			if j.a.Product != "" && t.a.Product != j.a.Product {
				t.a.Product, j.changed = j.a.Product, true
			}
		}
		if j.judge {
			j.changed = j.changed || !slices.EqualFunc(t.a.Verdicts, j.a.Verdicts, sameVerdict)
			t.judged, t.a.Verdicts = now, j.a.Verdicts
		}
		switch {
		case !t.finished():
		case !t.told:
			t.told, t.said = true, t.a.State
			ended = append(ended, t.whole())
			a.keep.hurry()
		case t.said != "" && t.said.Bad() != t.a.State.Bad():
			t.said = "" // once is enough
			righted = append(righted, t.whole())
			a.keep.hurry()
		}
		if !j.changed {
			continue
		}
		t.unkept = true
		s := t.summary()
		for r := range a.readers {
			r.offer(s)
		}
	}
	return ended, righted
}

// sameVerdict says whether two verdicts say the same to a reader.
func sameVerdict(a, b boot.Verdict) bool {
	return a.Name == b.Name && a.Confidence == b.Confidence && a.Severity == b.Severity && a.Text == b.Text && a.Fix == b.Fix &&
		len(a.Evidence) == len(b.Evidence)
}

// verdictEvent is what everybody is told of a finished attempt.
func verdictEvent(a boot.Attempt, now time.Time) boot.Event {
	v := a.Verdict()
	if v.Name == boot.ReasonNone {
		v.Name = plainVerdict(a.State)
		v.Text = v.Name.Text()
	}
	return boot.Event{
		Time: now, Kind: boot.KindVerdict, Reason: v.Name, MAC: a.MAC, GUID: a.GUID, Addr: a.Addr, Interface: a.Interface,
		Arch: a.Arch, ArchKnown: a.ArchKnown, Attempt: a.ID, Duration: a.Took, Text: v.Text,
		File: a.Stage(a.At).File, // what it was at last
	}
}

// plainVerdict is the verdict that a state is by itself.
func plainVerdict(s boot.AttemptState) boot.Reason {
	switch s {
	case boot.AttemptBooted:
		return boot.ReasonBooted
	case boot.AttemptLocal:
		return boot.ReasonLeftLocal
	case boot.AttemptIgnored:
		return boot.ReasonIgnored
	case boot.AttemptRunning, boot.AttemptStalled, boot.AttemptFailed:
	}
	return boot.ReasonUnexplained
}

// ClockStepped says that the wall clock was set: the times shown of the attempts
// since the start are moved with it. Their durations never depended on it.
func (a *Attempts) ClockStepped() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tracker.stepped(a.cfg.Now())
}
