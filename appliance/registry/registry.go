package registry

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
	"github.com/bootpuck/bootpuck/appliance/store"
)

// Bounds and times.
const (
	DefaultMaxMachines = 20000
	MaxDecisions       = 500 // decisions that are remembered
	MaxRequests        = 256 // machines that wait for the operator

	// FlushEvery is how often what was seen is written, in one transaction.
	FlushEvery = 5 * time.Second
	// StartTimeout is how long a machine that starts an armed or once plan waits
	// for the medium. After that it gets nothing.
	StartTimeout = 5 * time.Second
	// operatorTimeout is how long a change by the operator waits for the medium.
	operatorTimeout = 30 * time.Second
	// Retry is how long the same plan is handed out again to the same address:
	// loaders repeat a request whose answer was lost.
	Retry = 30 * time.Second
	// RequestTime is how long a machine waits for the operator's word.
	RequestTime = 10 * time.Minute
	// letTime is how long a machine stays let that the operator let without
	// remembering it: long enough for its boot.
	letTime = 30 * time.Minute
	// flushDocs bounds the documents of one batched transaction.
	flushDocs = 1000
	// defaultForget is Site.ForgetDays when it is not set.
	defaultForget = 90
)

// Store is where documents are kept. *store.DB is one.
type Store interface {
	// Load calls each for every document of a kind.
	Load(kind store.Kind, each func(name string, doc []byte) error) error
	// Write is one durable transaction: all changes or none.
	Write(changes ...store.Change) error
}

// Config is what a Registry works with. The zero value of every field has a
// meaning.
type Config struct {
	DB     Store            // nil: nothing is kept until SetDB
	Now    func() time.Time // default time.Now
	Random io.Reader        // tokens and codes; default crypto/rand
	Sink   boot.Sink        // told of decisions, callbacks and changes; default nobody
	Log    *slog.Logger     // default discards
	// MaxMachines bounds the records; default DefaultMaxMachines. Machines that
	// the operator has said something about are never forgotten to make room.
	MaxMachines int
	// DefaultScript says that the start-up setting default-script is set.
	DefaultScript bool
	// HasTree says whether an uploaded tree exists; nil: all do.
	HasTree func(name string) bool
}

// Ask is a machine's question, with what the box itself knows of the sender.
type Ask struct {
	Sighting boot.Sighting // what the sender claims
	Proof    boot.Proof    // whether the box has seen that it is so
	Routed   bool          // the sender is on none of the box's networks
	Base     string        // the box as the sender reaches it: "http://192.0.2.1", no trailing slash
	From     netip.Addr    // sender
	Loader   string        // program that will read the answer: LoaderIPXE, LoaderPXELinux, LoaderGRUB
}

// Programs that read an answer, for Ask.Loader. Anything else is taken for
// iPXE.
const (
	LoaderIPXE     = "ipxe"
	LoaderPXELinux = "pxelinux"
	LoaderGRUB     = "grub"
)

// asksOnce says that the loader asks a single time, so that a plan that counts
// is handed out by Decide itself.
func (a Ask) asksOnce() bool { return a.Loader == LoaderPXELinux || a.Loader == LoaderGRUB }

// Registry is the state. All its methods are safe for concurrent use.
type Registry struct {
	cfg Config
	now func() time.Time
	log *slog.Logger

	snap   atomic.Pointer[snapshot]
	denied atomic.Int64 // machines on the deny-list by their own record
	ready  chan struct{}
	once   sync.Once

	randomMu sync.Mutex
	opMu     sync.Mutex // held during a change by the operator: each is checked against the one before

	mu       sync.Mutex
	table    *table
	tokens   *tokens
	requests *requests
	ring     ring
	flights  map[string]*flight         // hand-outs on their way to the medium
	handed   map[boot.MachineID]*handed // to loaders that ask once, and came by themselves
	led      []*led                     // to iPXE, which starts such a loader; oldest first
	fresh    bucket                     // new records
	telling  bucket                     // decisions that are told
	told     map[string]lastTold
	rev      uint64             // last revision given out
	doubtful map[docID]struct{} // documents of which the store may hold something else

	writer writer
}

// Open returns a Registry over cfg.DB, or over memory alone when that is nil.
func Open(cfg Config) (*Registry, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Random == nil {
		cfg.Random = rand.Reader
	}
	if cfg.Sink == nil {
		cfg.Sink = func(boot.Event) {}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.MaxMachines <= 0 {
		cfg.MaxMachines = DefaultMaxMachines
	}
	r := &Registry{
		cfg: cfg, now: cfg.Now, log: cfg.Log.With("component", "registry"), ready: make(chan struct{}),
		table: newTable(cfg.MaxMachines), tokens: newTokens(), requests: newRequests(),
		flights: map[string]*flight{}, handed: map[boot.MachineID]*handed{},
		fresh: bucket{rate: 20, burst: 1000}, telling: bucket{rate: decisionRate, burst: decisionMost}, told: map[string]lastTold{}, doubtful: map[docID]struct{}{},
	}
	r.cfg.DB = nil
	empty, _ := newSnapshot(nil, documents{Site: defaultSite()})
	r.snap.Store(empty)
	if present(cfg.DB) {
		if err := r.SetDB(cfg.DB); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// present says whether there is a store; a nil *store.DB in the interface is
// none.
func present(s Store) bool {
	if s == nil {
		return false
	}
	db, ok := s.(*store.DB)
	return !ok || db != nil
}

// String names the task.
func (r *Registry) String() string { return "registry" }

// Ready is closed when Run works.
func (r *Registry) Ready() <-chan struct{} { return r.ready }

// Run writes what was seen in batches, and lets expire what has an end, until
// ctx ends; then it writes the rest, for at most two seconds. It may be called
// again after it has ended.
func (r *Registry) Run(ctx context.Context) error {
	r.once.Do(func() { close(r.ready) })
	flush := time.NewTicker(FlushEvery)
	defer flush.Stop()
	sweep := time.NewTicker(time.Minute)
	defer sweep.Stop()
	for {
		select {
		case <-ctx.Done():
			if err := r.last(); err != nil {
				r.log.Warn("what was seen last could not be written", "error", err)
			}
			return nil
		case <-flush.C:
			if err := r.flushUntil(ctx.Done()); err != nil && ctx.Err() == nil {
				r.log.Warn("what was seen could not be written; it is tried again", "error", err)
			}
		case <-sweep.C:
			r.sweep()
		}
	}
}

// Close writes what is not written yet, for at most two seconds, and lets the
// store go. The Registry goes on in memory. The error says that something is not
// written, or may not be.
func (r *Registry) Close() error {
	err := r.last()
	if err != nil {
		r.log.Warn("what was seen last could not be written", "error", err)
	}
	r.writer.detach()
	return err
}

// random returns n random octets.
func (r *Registry) random(n int) []byte {
	b := make([]byte, n)
	r.randomMu.Lock()
	_, err := io.ReadFull(r.cfg.Random, b)
	r.randomMu.Unlock()
	if err != nil {
		// A guessable token is worse than any other source.
		_, _ = rand.Read(b)
	}
	return b
}

// sweep ends what has outlived its time.
func (r *Registry) sweep() {
	now := r.now()
	r.mu.Lock()
	r.tokens.expire(now)
	r.requests.expire(now)
	for id, h := range r.handed {
		if now.Sub(h.at) > Retry {
			delete(r.handed, id)
		}
	}
	r.led = slices.DeleteFunc(r.led, func(l *led) bool { return l.over(now) })
	r.mu.Unlock()
	r.expireAssignments(now)
	r.forget(now)
}

// expireAssignments writes down that armed assignments ran out, so that they do
// not come back to life when the box starts with a clock that is behind.
func (r *Registry) expireAssignments(now time.Time) {
	catalog := r.snap.Load().catalog
	var events []boot.Event
	r.mu.Lock()
	for id, rec := range r.table.byID {
		a := rec.m.Assignment
		if a == nil || a.State != boot.AssignWaiting || a.Expires.IsZero() || now.Before(a.Expires) {
			continue
		}
		_, t, _ := catalog.Resolve(a.Profile)
		if _, next, reason := a.Due(t, now); next.State != a.State {
			m := rec.m
			m.Assignment = &next
			r.table.set(rec, m)
			r.table.touch(id)
			events = append(events, boot.Event{
				Kind: boot.KindDecision, Reason: reason, MAC: m.Seen.MAC, GUID: m.GUID,
				Text: title(m, m.Seen) + ": the assignment to " + a.Profile + " ended by time",
			})
		}
	}
	r.mu.Unlock()
	r.tell(events...)
}

// clockSet is the time before which a clock cannot have been set.
var clockSet = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)

// forget deletes machines that the operator has said nothing about and that
// have not been seen for Site.ForgetDays. Where the clock has not been set no
// age is known, and nobody is forgotten.
func (r *Registry) forget(now time.Time) {
	days := r.snap.Load().catalog.Site.ForgetDays
	if days <= 0 {
		days = defaultForget
	}
	if now.Before(clockSet) {
		return
	}
	limit := now.AddDate(0, 0, -days)
	r.mu.Lock()
	defer r.mu.Unlock()
	for e := r.table.strangers.Front(); e != nil; {
		next := e.Next()
		rec := e.Value.(*record)
		switch {
		case rec.m.Last.Before(clockSet):
			// Seen while the clock was not set: its age counts from now.
			m := rec.m
			m.Last = now
			r.table.set(rec, m)
			r.table.touch(m.ID)
		case rec.m.Last.Before(limit):
			r.drop(rec.m.ID)
		}
		e = next
	}
}

// drop removes a record and all that belongs to it. The mutex is held.
func (r *Registry) drop(id boot.MachineID) {
	r.table.remove(id)
	r.tokens.forget(id)
	r.requests.forget(id)
	r.unhand(id)
	r.countDenied()
}

func (r *Registry) countDenied() { r.denied.Store(int64(r.table.denied)) }

// tell gives events to the sink. It is called without the mutex.
func (r *Registry) tell(events ...boot.Event) {
	for _, e := range events {
		if e.Time.IsZero() {
			e.Time = r.now()
		}
		r.cfg.Sink(e)
	}
}

// bucket is a token bucket: how many new things strangers may cause.
type bucket struct {
	rate, burst float64
	level       float64
	last        time.Time
}

func (b *bucket) take(now time.Time) bool {
	switch {
	case b.last.IsZero():
		b.level = b.burst
	default:
		if d := now.Sub(b.last); d > 0 {
			b.level = min(b.burst, b.level+b.rate*d.Seconds())
		}
	}
	b.last = now
	if b.level < 1 {
		return false
	}
	b.level--
	return true
}

// stateError says why a change could not be kept.
type stateError struct {
	reason boot.Reason
	err    error
}

func (e stateError) Error() string { return fmt.Sprintf("write the state: %v", e.err) }

// Unwrap returns the cause.
func (e stateError) Unwrap() error { return e.err }

// Reason says it as one of the box's reasons.
func (e stateError) Reason() boot.Reason { return e.reason }
