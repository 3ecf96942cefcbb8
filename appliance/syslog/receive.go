package syslog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// Bounds of a Receiver.
const (
	maxConns      = 32 // TCP connections
	maxPeerConns  = 4  // of one address
	maxSources    = 1024
	linesPerPeer  = 20 // a second
	burstPeer     = 100
	linesTotal    = 200 // a second
	burstTotal    = 400
	datagramsRead = 4000 // a second; what is above stays in the kernel and is dropped there
	bytesPerConn  = 256 << 10
	idleConn      = 30 * time.Minute
	floodEvery    = time.Minute // an event for one source, and for all together
	maxDatagram   = 8 << 10
)

// Config says where a Receiver listens and whom it hears.
type Config struct {
	// Listen is "host:port" for UDP and TCP; the host may be missing. Port 0 is a
	// free one, the same for both.
	Listen string
	// Allowed says whether an address may send; nil: every one.
	Allowed func(netip.Addr) bool
	// Sink gets an event for every line, and one for a flood; nil: nobody.
	Sink boot.Sink
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// Log is where trouble is told; nil: nowhere.
	Log *slog.Logger
}

// Receiver is the task that receives syslog by UDP and TCP.
type Receiver struct {
	config Config
	ready  chan struct{}
	once   sync.Once

	mu    sync.Mutex // sockets
	udp   *net.UDPConn
	tcp   *net.TCPListener
	conns map[net.Conn]netip.Addr

	limits *limits

	taken, dropped, refused atomic.Uint64
}

// New returns a Receiver.
func New(c Config) *Receiver {
	if c.Allowed == nil {
		c.Allowed = func(netip.Addr) bool { return true }
	}
	if c.Sink == nil {
		c.Sink = func(boot.Event) {}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Receiver{config: c, ready: make(chan struct{}), conns: map[net.Conn]netip.Addr{}, limits: newLimits()}
}

// String names the task.
func (r *Receiver) String() string { return "syslog" }

// Ready is closed when both ports are open for the first time.
func (r *Receiver) Ready() <-chan struct{} { return r.ready }

// Listen opens both ports, or none. It does nothing when they are open. Errors
// are those of net.ListenConfig: a taken port is syscall.EADDRINUSE, a missing
// right syscall.EACCES. Run calls it; call it before to learn early.
func (r *Receiver) Listen(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.udp != nil {
		return nil
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", r.config.Listen)
	if err != nil {
		return fmt.Errorf("listen for syslog on TCP %s: %w", r.config.Listen, err)
	}
	host, _, _ := net.SplitHostPort(r.config.Listen) // it was good enough to listen on
	_, port, _ := net.SplitHostPort(l.Addr().String())
	c, err := lc.ListenPacket(ctx, "udp", net.JoinHostPort(host, port))
	if err != nil {
		return errors.Join(fmt.Errorf("listen for syslog on UDP %s: %w", r.config.Listen, err), l.Close())
	}
	r.udp, r.tcp = c.(*net.UDPConn), l.(*net.TCPListener)
	r.once.Do(func() { close(r.ready) })
	return nil
}

// Addr is where it listens, the same for UDP and TCP; invalid when it does not.
func (r *Receiver) Addr() netip.AddrPort {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.udp == nil {
		return netip.AddrPort{}
	}
	return r.udp.LocalAddr().(*net.UDPAddr).AddrPort()
}

// Close closes the ports and all connections. Run does it when it ends.
func (r *Receiver) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.udp == nil {
		return nil
	}
	err := errors.Join(r.udp.Close(), r.tcp.Close())
	for c := range r.conns {
		_ = c.Close() // only reading: nothing can be lost
	}
	r.udp, r.tcp = nil, nil
	return err
}

// Run receives until ctx ends, then returns nil with the ports closed. Any other
// return is an error and also closes them; Run may be called again.
func (r *Receiver) Run(ctx context.Context) error {
	if err := r.Listen(ctx); err != nil {
		return err
	}
	r.mu.Lock()
	udp, tcp := r.udp, r.tcp
	r.mu.Unlock()
	parent := ctx
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	var wg sync.WaitGroup
	if udp != nil { // closed in between
		wg.Go(func() { cancel(r.datagrams(ctx, udp)) })
		wg.Go(func() { cancel(r.accept(ctx, tcp, &wg)) })
	} else {
		cancel(net.ErrClosed)
	}
	<-ctx.Done()
	err := r.Close() // what wakes the readers
	wg.Wait()
	if parent.Err() != nil {
		return nil
	}
	return errors.Join(context.Cause(ctx), err)
}

func (r *Receiver) datagrams(ctx context.Context, c *net.UDPConn) error {
	limit := rate.NewLimiter(datagramsRead, datagramsRead)
	buf := make([]byte, maxDatagram)
	for {
		n, from, err := c.ReadFromUDPAddrPort(buf)
		if err != nil {
			return fmt.Errorf("read syslog: %w", err)
		}
		if err := limit.Wait(ctx); err != nil {
			return err
		}
		r.take(from.Addr(), buf[:n])
	}
}

func (r *Receiver) accept(ctx context.Context, l *net.TCPListener, wg *sync.WaitGroup) error {
	limit := rate.NewLimiter(maxConns, maxConns) // new connections a second
	for {
		c, err := l.AcceptTCP()
		if err != nil {
			var temporary interface{ Temporary() bool }
			if !errors.As(err, &temporary) || !temporary.Temporary() {
				return fmt.Errorf("accept syslog: %w", err)
			}
			r.config.Log.Warn("a syslog connection was not accepted", "error", err)
			c = nil
		}
		if err := limit.Wait(ctx); err != nil {
			if c != nil {
				_ = c.Close()
			}
			return err
		}
		if c == nil {
			continue
		}
		peer := c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
		if !r.admit(c, peer) {
			_ = c.Close()
			r.refused.Add(1)
			continue
		}
		wg.Go(func() {
			defer r.leave(c)
			r.stream(ctx, c, peer)
		})
	}
}

// admit says whether one more connection may stay open.
func (r *Receiver) admit(c net.Conn, peer netip.Addr) bool {
	if !r.config.Allowed(peer) {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	same := 0
	for _, p := range r.conns {
		if p == peer {
			same++
		}
	}
	if r.tcp == nil || len(r.conns) >= maxConns || same >= maxPeerConns {
		return false
	}
	r.conns[c] = peer
	return true
}

func (r *Receiver) leave(c net.Conn) {
	_ = c.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, c)
}

// stream reads one connection until it ends, is idle for long, or carries
// something else than syslog.
func (r *Receiver) stream(ctx context.Context, c *net.TCPConn, peer netip.Addr) {
	in := newLines(&slowed{ctx: ctx, conn: c, limit: rate.NewLimiter(bytesPerConn, bytesPerConn)})
	for {
		line, err := in.next()
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) && ctx.Err() == nil {
				r.config.Log.Debug("a syslog connection ended", "addr", peer, "error", err)
			}
			return
		}
		if len(line) > 0 {
			r.take(peer, line)
		}
	}
}

// slowed reads a connection no faster than a bound, and gives up on an idle one.
type slowed struct {
	ctx   context.Context
	conn  *net.TCPConn
	limit *rate.Limiter
}

// Read implements io.Reader.
func (s *slowed) Read(b []byte) (int, error) {
	if err := s.conn.SetReadDeadline(time.Now().Add(idleConn)); err != nil {
		return 0, err
	}
	n, err := s.conn.Read(b[:min(len(b), bytesPerConn)])
	if n > 0 {
		if err := s.limit.WaitN(s.ctx, n); err != nil {
			return 0, err
		}
	}
	return n, err
}

// take turns one message into an event, unless it is one too many.
func (r *Receiver) take(from netip.Addr, line []byte) {
	from = from.Unmap().WithZone("")
	if !r.config.Allowed(from) {
		r.refused.Add(1)
		return
	}
	now := r.config.Now()
	ok, told := r.limits.allow(from, now)
	if told != "" {
		e := boot.Event{Time: now, Kind: boot.KindWarning, Reason: boot.ReasonSyslogFlood, Text: told}
		if told == floodOne {
			e.Addr = from
		}
		r.config.Sink(e)
	}
	if !ok {
		r.dropped.Add(1)
		return
	}
	m, ok := Parse(line)
	if !ok {
		return
	}
	r.taken.Add(1)
	r.config.Sink(boot.Event{Time: now, Kind: boot.KindSyslog, Addr: from, Text: m.String()})
}

// Stats returns counters since the start: lines that became events, and lines
// that did not because too many came.
func (r *Receiver) Stats() (lines, dropped uint64) { return r.taken.Load(), r.dropped.Load() }

// Refused returns how many lines and connections were refused since the start,
// since their sender is not allowed or there were too many connections.
func (r *Receiver) Refused() uint64 { return r.refused.Load() }

// What is said about a flood.
const (
	floodOne = "This machine sends more log lines than are kept: at most 20 a second."
	floodAll = "All machines together send more log lines than are kept: at most 200 a second."
)

// limits decides how many lines are kept.
type limits struct {
	mu      sync.Mutex
	total   *rate.Limiter
	told    time.Time // of floodAll
	sources map[netip.Addr]*source
	turned  time.Time
}

type source struct {
	limit *rate.Limiter
	told  time.Time
	last  time.Time
}

func newLimits() *limits {
	return &limits{total: rate.NewLimiter(linesTotal, burstTotal), sources: map[netip.Addr]*source{}}
}

// allow says whether a line is kept, and what is to be told about a flood.
func (l *limits) allow(from netip.Addr, now time.Time) (ok bool, tell string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.sources[from]
	if s == nil {
		if l.forget(now); len(l.sources) >= maxSources {
			// So many senders are a flood in itself; those that are known go on.
			return false, due(&l.told, now, floodAll)
		}
		s = &source{limit: rate.NewLimiter(linesPerPeer, burstPeer)}
		l.sources[from] = s
	}
	s.last = now
	if !s.limit.AllowN(now, 1) {
		return false, due(&s.told, now, floodOne)
	}
	if !l.total.AllowN(now, 1) {
		return false, due(&l.told, now, floodAll)
	}
	return true, ""
}

func due(told *time.Time, now time.Time, text string) string {
	if !told.IsZero() && now.Sub(*told) < floodEvery {
		return ""
	}
	*told = now
	return text
}

// forget drops sources that have been silent long enough for their limits to be
// whole again, when the table is full and not more than once a second.
func (l *limits) forget(now time.Time) {
	if len(l.sources) < maxSources || !l.turned.IsZero() && now.Sub(l.turned) < time.Second {
		return
	}
	l.turned = now
	for a, s := range l.sources {
		if now.Sub(s.last) > floodEvery {
			delete(l.sources, a)
		}
	}
}
