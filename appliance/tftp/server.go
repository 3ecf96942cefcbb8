package tftp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// Link is what the server needs to know of an interface.
type Link struct {
	Name string // for events
	MTU  int    // octets; zero when unknown
}

// Meter is fed with exact numbers; its methods must not block and are called from
// many goroutines.
type Meter interface {
	TFTPActive(delta int)
	// TFTPBytes: octets of files that clients have acknowledged, and packets that
	// were sent again, since the last call.
	TFTPBytes(n int64, resent int)
	// TFTPDone: a request ended, or was refused. probe is a size probe.
	TFTPDone(r boot.Reason, probe bool, d time.Duration)
}

type noMeter struct{}

func (noMeter) TFTPActive(int)                            {}
func (noMeter) TFTPBytes(int64, int)                      {}
func (noMeter) TFTPDone(boot.Reason, bool, time.Duration) {}

// Config is what a Server needs. Only Files is required.
type Config struct {
	Addr  netip.AddrPort // where requests come in; default 0.0.0.0:69
	Files Files
	// Allowed says why a request from src that came in on the interface is not
	// answered, boot.ReasonNone when it is. It must be quick: it is asked for every
	// datagram before anything else is done. Nil allows everybody.
	Allowed func(src netip.Addr, ifindex int) boot.Reason
	// Link describes an interface; ok is false when it is not served. Nil serves
	// all, as the kernel describes them.
	Link func(ifindex int) (l Link, ok bool)
	// MaxBlock caps the block size, 512 to 65464; default 1468. Lower it for
	// tunnels (1408) and broken paths (512); raise it only where every switch and
	// every client takes jumbo frames.
	MaxBlock int
	// MaxBlockFor caps the block size for one address further, in octets: paths
	// and clients that lose large packets. 0 caps nothing, less than 512 counts as
	// 512. It must be quick and safe for concurrent use. Nil caps nothing.
	MaxBlockFor func(addr netip.Addr) int
	Limits      Limits
	// Drain is how long open transfers may go on after a stop; default 3 s.
	Drain time.Duration
	Sink  boot.Sink
	Meter Meter
}

// requestBuffer holds the requests of a whole site that is switched on at once
// until they are read, in octets.
const requestBuffer = 1 << 20

// Server is the TFTP server, a task of the box. Create it with New.
type Server struct {
	cfg       Config
	engine    engine
	admission *admission
	sources   *sources
	links     linkCache
	firstWait time.Duration // before the first repetition

	mu    sync.Mutex
	conn  *net.UDPConn
	ready chan struct{}
	once  sync.Once
	wg    sync.WaitGroup
}

// New returns a Server. The error names the setting that is wrong.
func New(cfg Config) (*Server, error) {
	if cfg.Files == nil {
		return nil, errors.New("tftp: no files to serve")
	}
	if !cfg.Addr.IsValid() {
		cfg.Addr = netip.AddrPortFrom(netip.IPv4Unspecified(), 69)
	}
	if !cfg.Addr.Addr().Is4() {
		return nil, fmt.Errorf("tftp: address %s: want IPv4", cfg.Addr)
	}
	if cfg.MaxBlock == 0 {
		cfg.MaxBlock = maxBlock
	}
	if cfg.MaxBlock < defaultBlock || cfg.MaxBlock > largestBlock {
		return nil, fmt.Errorf("tftp: block size %d: want %d to %d", cfg.MaxBlock, defaultBlock, largestBlock)
	}
	if cfg.Drain <= 0 {
		cfg.Drain = 3 * time.Second
	}
	if cfg.Allowed == nil {
		cfg.Allowed = func(netip.Addr, int) boot.Reason { return boot.ReasonNone }
	}
	if cfg.Sink == nil {
		cfg.Sink = func(boot.Event) {}
	}
	if cfg.Meter == nil {
		cfg.Meter = noMeter{}
	}
	cfg.Limits = cfg.Limits.withDefaults()
	s := &Server{
		cfg:       cfg,
		engine:    pinEngine{timeout: cfg.Limits.Duration + time.Hour},
		admission: newAdmission(cfg.Limits),
		sources:   newSources(cfg.Limits),
		firstWait: firstWait,
		ready:     make(chan struct{}),
	}
	if s.cfg.Link == nil {
		s.cfg.Link = s.links.get
	}
	return s, nil
}

// String names the task.
func (s *Server) String() string { return "tftp " + s.cfg.Addr.String() }

// Ready is closed when the server listens for the first time.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Addr is where the server listens, the configured address when it does not.
func (s *Server) Addr() netip.AddrPort {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == nil {
		return s.cfg.Addr
	}
	return s.conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

// Listen opens the request socket, unless it is open. Run does so too; calling it
// before tells a taken port (syscall.EADDRINUSE) or a missing right
// (syscall.EACCES) before the box is up.
func (s *Server) Listen(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil {
		return nil
	}
	conn, err := listen(ctx, s.cfg.Addr)
	if err != nil {
		return err
	}
	_ = conn.SetReadBuffer(requestBuffer) // as far as the kernel's limit goes
	s.conn = conn
	s.once.Do(func() { close(s.ready) })
	return nil
}

// Close gives up the request socket of a Listen that no Run followed.
func (s *Server) Close() error {
	s.mu.Lock()
	conn := s.conn
	s.conn = nil
	s.mu.Unlock()
	if conn == nil {
		return nil
	}
	return conn.Close()
}

// Run serves until ctx ends, then takes no more requests, lets open transfers go on
// for the drain time, ends the others with an ERROR and returns nil. Any other
// return is an error of the request socket; Run may be called again then.
func (s *Server) Run(ctx context.Context) error {
	if err := s.Listen(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	conn := s.conn
	s.mu.Unlock()
	if conn == nil {
		return net.ErrClosed
	}
	defer s.Close()
	// Transfers outlive ctx by the drain time.
	transfers, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	quit := make(chan struct{})
	var helpers sync.WaitGroup
	helpers.Go(func() { s.tellSums(quit) })
	defer helpers.Wait()
	defer close(quit)
	wake := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(past) })
	defer wake()

	err := s.read(ctx, transfers, conn)
	if ctx.Err() != nil {
		err = nil
	}
	s.drain(cancel)
	return err
}

// drain waits for the open transfers, ends them, and waits a little for that.
func (s *Server) drain(cancel context.CancelFunc) {
	done := make(chan struct{})
	go func() { s.wg.Wait(); close(done) }()
	timer := time.NewTimer(s.cfg.Drain)
	defer timer.Stop()
	select {
	case <-done:
		return
	case <-timer.C:
	}
	cancel()
	for _, t := range s.admission.all() {
		t.stop(result{
			reason: boot.ReasonSend, text: "the server is stopping", code: codeUndefined, tell: textStop,
		})
	}
	// Only Files that ignore their context can hold a transfer longer.
	timer.Reset(time.Second)
	select {
	case <-done:
	case <-timer.C:
	}
}

// tellSums tells the events that were added up, until quit is closed.
func (s *Server) tellSums(quit <-chan struct{}) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-quit:
			return
		case now := <-tick.C:
			for _, e := range s.sources.sums(now) {
				s.cfg.Sink(e)
			}
		}
	}
}

// read takes requests from the socket until it fails or ctx ends.
func (s *Server) read(ctx, transfers context.Context, conn *net.UDPConn) error {
	buf := make([]byte, maxPacket+1)
	oob := make([]byte, 256)
	for {
		n, on, _, src, err := conn.ReadMsgUDPAddrPort(buf, oob)
		if err != nil {
			return fmt.Errorf("read TFTP requests: %w", err)
		}
		if ctx.Err() != nil {
			return nil
		}
		s.datagram(transfers, conn, buf[:n], oob[:on], src)
	}
}

// datagram handles one datagram of the request socket. A panic in it is a defect
// of ours, told as an event; the next datagram is served.
func (s *Server) datagram(ctx context.Context, conn *net.UDPConn, b, oob []byte, src netip.AddrPort) {
	now := time.Now()
	defer func() {
		if p := recover(); p != nil {
			s.refused(boot.Event{Time: now, Addr: src.Addr(), Reason: boot.ReasonInternal, Text: fmt.Sprint(p)})
		}
	}()
	src = netip.AddrPortFrom(src.Addr().Unmap(), src.Port())
	at, ok := parseArrival(oob)
	link, served := s.cfg.Link(at.ifindex)
	v := decide(arrived{packet: b, src: src, at: at, known: ok, served: served}, s.cfg.Allowed,
		func() bool { return s.sources.take(src.Addr(), now) })
	e := boot.Event{Time: now, Addr: src.Addr(), Interface: link.Name, File: v.shown, Reason: v.reason, Text: v.text}
	if v.reason != boot.ReasonNone {
		if v.answer != nil {
			s.answer(conn, v.answer, at.local, src)
		}
		s.refused(e)
		return
	}
	t := &transfer{
		req:  Request{Client: src, Local: at.local, Interface: at.ifindex, Link: link.Name},
		name: v.name, raw: string(b), start: now,
	}
	t.wants = v.request.clone()
	evict, repeated, reason := s.admission.admit(t)
	switch {
	case repeated:
		return
	case reason != boot.ReasonNone:
		// No answer: a client whose request is lost asks again, one that gets an
		// ERROR gives up.
		e.Reason = reason
		s.refused(e)
		return
	}
	if evict != nil {
		evict.stop(result{reason: boot.ReasonTotalLimit, text: "made way: never acknowledged"})
	}
	s.cfg.Meter.TFTPActive(1)
	s.wg.Go(func() {
		defer s.cfg.Meter.TFTPActive(-1)
		s.transfer(ctx, conn, t, s.blockLimit(src.Addr(), link.MTU))
	})
}

// blockLimit is the largest block for a client on an interface.
func (s *Server) blockLimit(client netip.Addr, mtu int) int {
	limit := blockLimit(s.cfg.MaxBlock, mtu)
	if s.cfg.MaxBlockFor == nil {
		return limit
	}
	if most := s.cfg.MaxBlockFor(client); most > 0 {
		limit = min(limit, max(most, defaultBlock))
	}
	return limit
}

// refused counts a request that led to no transfer and tells of it.
func (s *Server) refused(e boot.Event) {
	s.cfg.Meter.TFTPDone(e.Reason, false, 0)
	s.event(e)
}

// event tells e unless its address has told too much.
func (s *Server) event(e boot.Event) {
	if e.Kind == "" {
		e.Kind = boot.KindTFTP
	}
	if s.sources.pass(e, time.Now()) {
		s.cfg.Sink(e)
	}
}

// answer sends from the request socket, from the address that was asked. A loss is
// the client's to notice.
func (s *Server) answer(conn *net.UDPConn, b []byte, from netip.Addr, to netip.AddrPort) {
	_, _, _ = conn.WriteMsgUDPAddrPort(b, fromAddress(from), to)
}

// transfer carries out an admitted request and tells of its outcome.
func (s *Server) transfer(ctx context.Context, conn *net.UDPConn, t *transfer, limit int) {
	defer s.admission.release(t)
	r := s.serve(ctx, conn, t, limit)
	took := time.Since(t.start)
	s.cfg.Meter.TFTPDone(r.reason, r.probe, took)
	kind := boot.KindTFTP
	if r.probe {
		kind = boot.KindProbe
	}
	s.event(boot.Event{
		Time: time.Now(), Kind: kind, Reason: r.reason, Addr: t.req.Client.Addr(), Interface: t.req.Link,
		File: t.name, Bytes: r.bytes, Duration: took, Retries: r.retries, Text: r.text,
		Total: r.total, Block: r.block, Acked: r.acked,
	})
}

// A transfer under way is told of after progressFirst, and then every
// progressEvery. What is over sooner is told of by its end alone.
const (
	progressFirst = 500 * time.Millisecond
	progressEvery = 2 * time.Second
)

// report tells how far a transfer is, until done is closed. These events are the
// first to go when there are too many: the end tells all that counts.
func (s *Server) report(t *transfer, l *link, size int64, done <-chan struct{}) {
	next := time.NewTimer(progressFirst)
	defer next.Stop()
	for {
		select {
		case <-done:
			return
		case now := <-next.C:
			next.Reset(progressEvery)
			if !s.sources.spare(now) {
				continue
			}
			bytes, retries, acked := l.progress()
			s.cfg.Sink(boot.Event{
				Time: now, Kind: boot.KindProgress, Addr: t.req.Client.Addr(), Interface: t.req.Link, File: t.name,
				Bytes: bytes, Total: size, Retries: retries, Block: l.terms.block, Acked: acked,
			})
		}
	}
}

// serve opens the file, agrees on the options and has the engine send it.
func (s *Server) serve(ctx context.Context, conn *net.UDPConn, t *transfer, limit int) (r result) {
	defer func() {
		if p := recover(); p != nil {
			r = result{reason: boot.ReasonInternal, text: fmt.Sprint(p), bytes: r.bytes}
			s.answer(conn, errorPacket(codeUndefined, textRead), t.req.Local, t.req.Client)
		}
	}()
	file, err := s.cfg.Files.Open(ctx, t.req, t.name)
	if err != nil {
		r = result{reason: boot.ReasonRead, text: err.Error(), tell: textRead}
		if notThere(err) {
			r = result{reason: boot.ReasonNotFound, code: codeNotFound, tell: textNotFound}
			if raw := string(t.wants.rawName); raw != t.name {
				r.text = "asked as " + strconv.QuoteToASCII(raw)
			}
		}
		s.answer(conn, errorPacket(r.code, r.tell), t.req.Local, t.req.Client)
		return r
	}
	if c, ok := file.(io.Closer); ok {
		defer c.Close()
	}
	size := file.Size()
	w, err := openWire(t.req.Local)
	if err != nil {
		return result{reason: boot.ReasonSend, text: err.Error()}
	}
	defer w.Close()
	terms := negotiate(t.wants.options, size, limit, s.engine.floor())
	l := newLink(w, t.req.Client, s.engine.request(terms), terms, newPace(s.firstWait, terms.timeout),
		s.cfg.Meter, func() { t.proven.Store(true) })
	if !t.attach(l) { // stopped while the file was being opened
		l.stop(*t.end)
	}
	lifetime := time.AfterFunc(s.cfg.Limits.Duration, func() {
		l.stop(result{reason: boot.ReasonClientSilent, text: "the transfer took too long", tell: textTooLong})
	})
	defer lifetime.Stop()

	done := make(chan struct{})
	defer close(done)
	s.wg.Go(func() { s.report(t, l, size, done) })

	var failed error
	s.engine.run(l, func(rf io.ReaderFrom) error {
		_, failed = rf.ReadFrom(&guarded{body{file: file, size: size}})
		return failed
	})
	r = l.outcome()
	r.total, r.block = size, terms.block
	if !r.over && failed != nil {
		r.reason, r.text, r.tell = boot.ReasonRead, failed.Error(), textRead
		if errors.Is(failed, errPanic) {
			r.reason = boot.ReasonInternal
		}
	}
	if r.tell != "" {
		_, _ = w.WriteToUDPAddrPort(errorPacket(r.code, r.tell), t.req.Client)
	}
	return r
}

// guarded is a body whose panics are errors.
type guarded struct{ body }

// Read implements io.Reader.
func (g *guarded) Read(p []byte) (n int, err error) {
	defer func() {
		if v := recover(); v != nil {
			n, err = 0, fmt.Errorf("%w: %v", errPanic, v)
		}
	}()
	return g.body.Read(p)
}

// notThere says whether an error of Files means that there is no such file.
// To a client, a name that cannot exist and a link that leads out of the folder
// are the same as one that does not.
func notThere(err error) bool {
	var p *fs.PathError
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) || errors.Is(err, syscall.ENOTDIR) ||
		errors.Is(err, syscall.ENAMETOOLONG) || errors.Is(err, syscall.ELOOP) ||
		errors.As(err, &p) && p.Err.Error() == "path escapes from parent" // os.Root's own error, which has no name
}

// linkCache asks the kernel about interfaces, at most once in two seconds each.
type linkCache struct {
	mu sync.Mutex
	m  map[int]cachedLink
}

type cachedLink struct {
	Link
	at time.Time
}

const linkCacheAge = 2 * time.Second

func (c *linkCache) get(ifindex int) (Link, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if l, ok := c.m[ifindex]; ok && time.Since(l.at) < linkCacheAge {
		return l.Link, true
	}
	var l Link
	if i, err := net.InterfaceByIndex(ifindex); err == nil {
		l = Link{Name: i.Name, MTU: i.MTU}
	}
	if c.m == nil || len(c.m) >= 256 { // interfaces come and go; indices are not reused
		c.m = map[int]cachedLink{}
	}
	c.m[ifindex] = cachedLink{l, time.Now()}
	return l, true
}
