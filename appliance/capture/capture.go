package capture

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// Bounds and defaults.
const (
	DefaultMaxBytes = 4 << 20 // octets of memory of all packets
	DefaultHTTPPort = 80
	MaxInterfaces   = 8 // that are recorded; those with the lowest index

	// readPerSecond and readBurst bound the work per interface. What is above
	// stays in the kernel's buffer and is dropped there at no cost.
	readPerSecond = 4000
	readBurst     = 4000
	// reopenAfter is the pause before an interface that could not be recorded is
	// tried again, unless something changes earlier.
	reopenAfter = 5 * time.Second
	// lookEvery is how often interfaces are looked at without being told.
	lookEvery = time.Minute
)

// Interface is one that is recorded.
type Interface struct {
	Index int    // the kernel's
	Name  string // the kernel's
}

// Config says what is recorded, and where from.
type Config struct {
	// Interfaces returns those that are served and up now.
	Interfaces func() []Interface
	// Changed returns a channel that holds a token after Interfaces may have
	// changed, and a function that ends it; nil: they are looked at once a minute.
	Changed func() (<-chan struct{}, func())
	// MaxBytes bounds the memory of all packets together, octets; 0 is
	// DefaultMaxBytes.
	MaxBytes int
	// HTTPPort is the port of the HTTP server for machines; 0 is DefaultHTTPPort.
	HTTPPort int
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// Log is where trouble with an interface is told; nil: nowhere.
	Log *slog.Logger
	// Sink is told once when there is no permission; nil: nobody.
	Sink boot.Sink
}

// Ring is the task that records. Its other methods are safe for concurrent use
// and work whether it runs or not.
type Ring struct {
	config Config
	open   func(Interface, uint16) (source, error)
	epoch  time.Time // of the times of packets
	ready  chan struct{}
	once   sync.Once

	mu      sync.Mutex
	store   *store
	clients clients
	limits  *limits
	kept    []kept // oldest first
	ears    map[int]*ear
	deaf    map[int]Problem
	refused bool // told once that there is no permission

	packets, octets, dropped atomic.Uint64
}

// source is where frames come from; tests put a fake in its place.
type source interface {
	// read returns the next frame, valid until the next call, and its length on
	// the wire.
	read() (b []byte, wire int, outgoing bool, err error)
	// drops returns how many frames the kernel dropped since the last call.
	drops() uint64
	Close() error
}

// New returns a Ring. It panics when c.Interfaces is nil.
func New(c Config) *Ring {
	if c.Interfaces == nil {
		panic("capture: no interfaces")
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = DefaultMaxBytes
	}
	if c.HTTPPort <= 0 || c.HTTPPort > 65535 {
		c.HTTPPort = DefaultHTTPPort
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Sink == nil {
		c.Sink = func(boot.Event) {}
	}
	return &Ring{
		config: c, open: openSocket, epoch: c.Now(), ready: make(chan struct{}),
		store: newStore(c.MaxBytes), limits: newLimits(), ears: map[int]*ear{}, deaf: map[int]Problem{},
	}
}

// String names the task.
func (r *Ring) String() string { return "capture" }

// Ready is closed when every interface that can be recorded is; never, while
// there is no permission.
func (r *Ring) Ready() <-chan struct{} { return r.ready }

// ear is one socket and the goroutine that reads it.
type ear struct {
	name   string
	source source
	cancel context.CancelFunc
	done   chan struct{}
	err    error // why reading ended; valid after done
}

// Run records until ctx ends and then returns nil. An error wrapping
// fs.ErrPermission means that the process may not open packet sockets; the box
// serves without. Run may be called again.
func (r *Ring) Run(ctx context.Context) error {
	var changed <-chan struct{}
	if r.config.Changed != nil {
		c, stop := r.config.Changed()
		defer stop()
		changed = c
	}
	defer func() {
		for _, index := range r.listening() {
			r.stop(index)
		}
	}()
	ended := make(chan struct{}, 1)
	retry := time.NewTimer(lookEvery)
	defer retry.Stop()
	for {
		again, err := r.attend(ctx, ended)
		if err != nil {
			return err
		}
		r.once.Do(func() { close(r.ready) })
		retry.Reset(lookEvery)
		if again {
			retry.Reset(reopenAfter)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-ended:
		case <-retry.C:
		}
	}
}

func (r *Ring) listening() []int {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]int, 0, len(r.ears))
	for index := range r.ears {
		out = append(out, index)
	}
	return out
}

// stop ends one ear and forgets it.
func (r *Ring) stop(index int) {
	r.mu.Lock()
	e := r.ears[index]
	r.mu.Unlock()
	if e == nil {
		return
	}
	e.cancel()
	r.dropped.Add(e.source.drops())
	_ = e.source.Close() // only reading: nothing can be lost
	<-e.done
	r.mu.Lock()
	delete(r.ears, index)
	r.mu.Unlock()
}

// attend opens and closes sockets until they match the interfaces. again means
// that one could not be opened or has failed, and is to be tried again later.
func (r *Ring) attend(ctx context.Context, ended chan<- struct{}) (again bool, err error) {
	deaf := map[int]Problem{}
	fail := func(i Interface, err error) {
		p := Problem{boot.ReasonFailed, i.Name, fmt.Sprintf("Cannot record packets on %s: %v.", i.Name, err)}
		again = again || !errors.Is(err, errNoEthernet) // which it will never be
		r.mu.Lock()
		told := r.deaf[i.Index] == p
		r.mu.Unlock()
		if !told {
			r.config.Log.Warn("packets of an interface are not recorded", "interface", i.Name, "error", err)
		}
		deaf[i.Index] = p
	}
	list := slices.Clone(r.config.Interfaces())
	slices.SortFunc(list, func(a, b Interface) int { return a.Index - b.Index })
	wanted := map[int]bool{}
	for _, i := range list[:min(len(list), MaxInterfaces)] {
		wanted[i.Index] = true
		r.mu.Lock()
		e := r.ears[i.Index]
		r.mu.Unlock()
		if e != nil {
			select {
			case <-e.done: // the socket broke under the goroutine
				r.stop(i.Index)
				fail(i, e.err)
				continue
			default:
			}
			if e.name == i.Name {
				continue
			}
			r.stop(i.Index) // renamed
		}
		s, err := r.open(i, uint16(r.config.HTTPPort))
		if errors.Is(err, fs.ErrPermission) {
			r.refuse()
			return false, fmt.Errorf("record packets on %s: %w", i.Name, err)
		}
		if err != nil {
			fail(i, err)
			continue
		}
		r.listen(ctx, i, s, ended)
	}
	for _, index := range r.listening() {
		if !wanted[index] {
			r.stop(index)
		}
	}
	r.mu.Lock()
	r.deaf, r.refused = deaf, false
	r.mu.Unlock()
	return again, nil
}

// refuse says once that packet sockets are not allowed.
func (r *Ring) refuse() {
	r.mu.Lock()
	told := r.refused
	r.refused = true
	r.mu.Unlock()
	if !told {
		r.config.Sink(boot.Event{
			Time: r.config.Now(), Kind: boot.KindWarning, Reason: boot.ReasonPermission,
			Text: "No permission to record packets for captures; everything else works. Start as root or grant CAP_NET_RAW.",
		})
	}
}

func (r *Ring) listen(ctx context.Context, i Interface, s source, ended chan<- struct{}) {
	ctx, cancel := context.WithCancel(ctx)
	e := &ear{name: i.Name, source: s, cancel: cancel, done: make(chan struct{})}
	r.mu.Lock()
	r.ears[i.Index] = e
	r.mu.Unlock()
	go func() {
		defer func() {
			close(e.done)
			select {
			case ended <- struct{}{}:
			default:
			}
		}()
		limit := rate.NewLimiter(readPerSecond, readBurst)
		for {
			b, wire, outgoing, err := s.read()
			if err == nil {
				err = limit.Wait(ctx)
			}
			if err != nil {
				e.err = err
				return
			}
			r.record(i.Name, b, wire, outgoing)
		}
	}()
}

// record takes in one frame. Whatever is in it, it returns.
func (r *Ring) record(name string, b []byte, wire int, outgoing bool) {
	defer func() {
		if recover() != nil {
			r.dropped.Add(1)
		}
	}()
	f, ok := parse(b, uint16(r.config.HTTPPort))
	if !ok {
		return
	}
	at := r.config.Now().Sub(r.epoch)
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.clients.wants(&f, at) {
		return
	}
	if !r.limits.allow(&f, outgoing, at) || !r.store.add(lane{name, f.class()}, at, wire, b) {
		r.dropped.Add(1)
		return
	}
	r.packets.Add(1)
	r.octets.Add(uint64(len(b)))
}

// Stats returns counters since the start: packets and octets that were put into
// the ring, and packets that were not because too many came.
func (r *Ring) Stats() (packets, octets, dropped uint64) {
	r.mu.Lock()
	for _, e := range r.ears {
		r.dropped.Add(e.source.drops())
	}
	r.mu.Unlock()
	return r.packets.Load(), r.octets.Load(), r.dropped.Load()
}

// Problem is what keeps packets from being recorded, for health.
type Problem struct {
	Reason    boot.Reason
	Interface string // empty: all
	Text      string // one sentence
}

// Problems says what is wrong now, in the order of interfaces' names.
func (r *Ring) Problems() []Problem {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]Problem, 0, len(r.deaf)+1)
	if r.refused {
		out = append(out, Problem{Reason: boot.ReasonPermission, Text: boot.ReasonPermission.Text()})
	}
	for _, p := range r.deaf {
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b Problem) int { return strings.Compare(a.Interface, b.Interface) })
	return out
}
