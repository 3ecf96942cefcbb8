package lan

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

const (
	// hearPerSecond and hearBurst bound the work per interface. What is above
	// stays in the kernel's buffer and is dropped there at no cost: one reply
	// in many is enough to know a server.
	hearPerSecond = 100
	hearBurst     = 200
	// reopenAfter is the pause before an interface that could not be listened
	// on is tried again, unless its state changes earlier.
	reopenAfter = 5 * time.Second
)

// Sentinel is the task that listens to other DHCP and PXE servers on every
// served interface with a link. It is passive: it sees replies that are
// broadcast or meant for this machine, and never asks for one.
type Sentinel struct {
	watcher *Watcher
	sink    boot.Sink
	open    func(Interface) (listener, error)
	table   *table

	ready chan struct{}
	once  sync.Once

	mu      sync.Mutex
	deaf    map[int]Problem // interfaces that cannot be listened on
	refused bool            // told once that there is no permission

	heard, malformed, own atomic.Uint64
}

// listener is a packet socket; tests put a fake in its place.
type listener interface {
	ReadFrom(b []byte) (n int, from net.Addr, err error)
	Close() error
}

// NewSentinel returns a Sentinel for the interfaces that w serves; findings are
// told to sink.
func NewSentinel(w *Watcher, sink boot.Sink) *Sentinel {
	return &Sentinel{
		watcher: w, sink: sink, open: openPacket, table: newTable(),
		ready: make(chan struct{}), deaf: map[int]Problem{},
	}
}

// openPacket opens a socket for DHCP replies on i. It needs CAP_NET_RAW. Bound
// to the IPv4 protocol, it does not see what this machine sends.
func openPacket(i Interface) (listener, error) {
	filter, err := assembled()
	if err != nil {
		return nil, fmt.Errorf("assemble packet filter: %w", err)
	}
	c, err := packet.Listen(&net.Interface{Index: i.Index, Name: i.Name, HardwareAddr: i.MAC},
		packet.Datagram, unix.ETH_P_IP, &packet.Config{Filter: filter})
	if err != nil {
		return nil, err
	}
	return c, nil
}

// String names the task.
func (s *Sentinel) String() string { return "sentinel" }

// Ready is closed when the Sentinel listens on every interface that it can
// listen on; never, while it has no permission.
func (s *Sentinel) Ready() <-chan struct{} { return s.ready }

// ear is one socket and the goroutine that reads it.
type ear struct {
	socket listener
	cancel context.CancelFunc
	done   chan struct{}
	err    error // why reading ended; valid after done
}

func (e *ear) stop() {
	e.cancel()
	_ = e.socket.Close() // only reading: nothing can be lost
	<-e.done
}

// Run listens until ctx ends and then returns nil. An error wrapping
// fs.ErrPermission means that the process may not open packet sockets; the box
// serves without. Run may be called again.
func (s *Sentinel) Run(ctx context.Context) error {
	changed, stop := s.watcher.Follow()
	defer stop()
	ears := map[int]*ear{}
	defer func() {
		for _, e := range ears {
			e.stop()
		}
	}()
	ended := make(chan struct{}, 1)
	retry := time.NewTimer(reopenAfter)
	retry.Stop()
	defer retry.Stop()
	select { // without a picture there is nothing to listen on
	case <-ctx.Done():
		return nil
	case <-s.watcher.Ready():
	}
	for {
		again, err := s.attend(ctx, ears, ended)
		if err != nil {
			return err
		}
		s.once.Do(func() { close(s.ready) })
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

// attend opens and closes sockets until they match the interfaces. again means
// that one could not be opened or has failed, and is to be tried again later.
func (s *Sentinel) attend(ctx context.Context, ears map[int]*ear, ended chan<- struct{}) (again bool, err error) {
	deaf := map[int]Problem{}
	fail := func(i Interface, err error) {
		deaf[i.Index] = Problem{boot.ReasonFailed, i.Name, fmt.Sprintf("Cannot listen for other servers on %s: %v.", i.Name, err)}
	}
	wanted := map[int]bool{}
	for _, i := range s.watcher.Snapshot() {
		if !i.Served || !i.Up || i.Loopback {
			continue
		}
		wanted[i.Index] = true
		if e := ears[i.Index]; e != nil {
			select {
			case <-e.done: // the socket broke under the goroutine
				e.stop()
				delete(ears, i.Index)
				fail(i, e.err)
			default:
			}
			continue
		}
		socket, err := s.open(i)
		if errors.Is(err, fs.ErrPermission) {
			s.refuse()
			return false, fmt.Errorf("listen for other servers on %s: %w", i.Name, err)
		}
		if err != nil {
			fail(i, err)
			continue
		}
		ears[i.Index] = s.listen(ctx, i.Index, socket, ended)
	}
	for index, e := range ears {
		if !wanted[index] {
			e.stop()
			delete(ears, index)
		}
	}
	s.mu.Lock()
	s.deaf, s.refused = deaf, false
	s.mu.Unlock()
	return len(deaf) > 0, nil
}

// refuse says once that packet sockets are not allowed.
func (s *Sentinel) refuse() {
	s.mu.Lock()
	told := s.refused
	s.refused = true
	s.mu.Unlock()
	if !told {
		s.sink(boot.Event{
			Time: time.Now(), Kind: boot.KindWarning, Reason: boot.ReasonPermission,
			Text: "No permission to listen for other DHCP and PXE servers; everything else works. Start as root or grant CAP_NET_RAW.",
		})
	}
}

func (s *Sentinel) listen(ctx context.Context, index int, socket listener, ended chan<- struct{}) *ear {
	ctx, cancel := context.WithCancel(ctx)
	e := &ear{socket: socket, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer notify(ended)
		defer close(e.done)
		limit := rate.NewLimiter(hearPerSecond, hearBurst)
		buf := make([]byte, maxFrame)
		for {
			n, from, err := socket.ReadFrom(buf)
			if err != nil {
				e.err = err
				return
			}
			if err := limit.Wait(ctx); err != nil {
				e.err = err
				return
			}
			s.hear(index, from, buf[:n])
		}
	}()
	return e
}

// hear takes in one packet. Whatever is in it, it returns.
func (s *Sentinel) hear(index int, from net.Addr, b []byte) {
	defer func() {
		if recover() != nil {
			s.malformed.Add(1)
		}
	}()
	h, err := parse(b)
	if err != nil {
		s.malformed.Add(1)
		return
	}
	if a, ok := from.(*packet.Addr); ok {
		h.mac = boot.MACOf(a.HardwareAddr)
	}
	// On a machine with two interfaces in one LAN, or behind a relay, our own
	// replies come back to us.
	if s.watcher.Owns(h.source) || s.watcher.Owns(h.server) || s.watcher.OwnsMAC(h.mac) {
		s.own.Add(1)
		return
	}
	s.heard.Add(1)
	i, _ := s.watcher.Lookup(index)
	for _, e := range s.table.observe(h, i.Name, time.Now()) {
		s.sink(e)
	}
}

// Responders returns the servers heard so far, in the order of first sight, at
// most MaxResponders.
func (s *Sentinel) Responders() []Responder { return s.table.responders() }

// Problems says what is wrong for health: findings about other servers that
// were seen within the last hour, and interfaces that cannot be listened on.
func (s *Sentinel) Problems() []Problem {
	out := current(s.Responders(), time.Now())
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refused {
		out = append(out, Problem{Reason: boot.ReasonPermission, Text: boot.ReasonPermission.Text()})
	}
	deaf := make([]Problem, 0, len(s.deaf))
	for _, p := range s.deaf {
		deaf = append(deaf, p)
	}
	slices.SortFunc(deaf, func(a, b Problem) int { return strings.Compare(a.Interface, b.Interface) })
	return append(out, deaf...)
}

// SentinelStats counts packets since the start.
type SentinelStats struct {
	Heard     uint64 `json:"heard"`     // replies of other servers
	Malformed uint64 `json:"malformed"` // not decodable
	Own       uint64 `json:"own"`       // our own, come back
}

// Stats returns the counters.
func (s *Sentinel) Stats() SentinelStats {
	return SentinelStats{s.heard.Load(), s.malformed.Load(), s.own.Load()}
}
