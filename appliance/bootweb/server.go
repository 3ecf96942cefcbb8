package bootweb

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// Scripts renders the texts machines execute. It is called concurrently and
// must not block.
type Scripts interface {
	// Script appends the text that q asks for to dst.
	Script(dst []byte, q Query) ([]byte, Script)
}

// Query is a request for a text.
type Query struct {
	Name     string      // path below the root, without a leading slash: "b", "grub/grub.cfg"
	RawQuery string      // as received: hostile
	Base     string      // the box's address as the client reached it, without a trailing slash
	Addr     netip.Addr  // the client's address
	Client   boot.Client // who was last seen using that address, if Known
	Known    bool
	Body     []byte // of an installer's report, at most 4 KiB: hostile
}

// Script is what became of a Query.
type Script struct {
	// Reason is ReasonNone for a text that is as it should be, ReasonNotFound for
	// a name there is none for, ReasonParameter when the query is malformed (the
	// text, if any, explains and is sent with status 400); any other says why the
	// text is not what the machine might have got.
	Reason boot.Reason
	// Status is the HTTP status; 0 leaves it to Reason. An answer with a status
	// of 400 and more and without text gets the reason's sentence.
	Status int
	Type   string    // media type; empty: plain text
	MAC    boot.MAC  // what the query says, when it does
	GUID   boot.GUID // same
	Text   string    // one sentence for the event
	// Action and Profile are what was decided about the machine, when the text
	// carries a decision out.
	Action  boot.Action
	Profile string
	// Elsewhere: what it boots is fetched from other servers.
	Elsewhere bool
}

// status is the HTTP status of the answer. Firmware and iPXE show only the
// status of a refusal, so that what has a text goes out as a success.
func (s Script) status() int {
	switch {
	case s.Status != 0:
		return s.Status
	case s.Reason == boot.ReasonNotFound:
		return http.StatusNotFound
	case s.Reason == boot.ReasonParameter:
		return http.StatusBadRequest
	}
	return http.StatusOK
}

// Limits bound what clients can take up. Zero fields mean the default.
type Limits struct {
	Conns      int           // open connections; default 1024
	ConnsPerIP int           // open connections of one address; default 256: a site behind one router is one address
	Transfers  int           // files under way; default 256, more get status 503 and are to come back
	PerIP      int           // of them to one address; default a quarter of Transfers
	Header     int           // octets of a request's header; default 16 KiB
	HeaderTime time.Duration // for a whole request header; default 10 s
	IdleTime   time.Duration // between two requests; default 75 s
	ChunkTime  time.Duration // for 1 MiB of a file, or a whole script, to leave; default 90 s
	Drain      time.Duration // for requests under way when the server stops; default 3 s
}

func (l Limits) withDefaults() Limits {
	set := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	setTime := func(v *time.Duration, d time.Duration) {
		if *v <= 0 {
			*v = d
		}
	}
	set(&l.Conns, 1024)
	set(&l.ConnsPerIP, 256)
	set(&l.Transfers, 256)
	set(&l.PerIP, max(l.Transfers/4, 1))
	set(&l.Header, 16<<10)
	setTime(&l.HeaderTime, 10*time.Second)
	setTime(&l.IdleTime, 75*time.Second)
	setTime(&l.ChunkTime, 90*time.Second)
	setTime(&l.Drain, 3*time.Second)
	return l
}

// Config is what a Server needs. Only Scripts is required.
type Config struct {
	Addr    string       // TCP address to listen on; default ":80"
	Listen  ListenFunc   // opens the listener; default net.Listen
	Scripts Scripts      // renders texts
	BaseURL string       // told to clients instead of the address they reached us on; no trailing slash
	Boot    fs.FS        // boot programs under the names that are offered; nil: none
	Files   fs.FS        // the operator's directory, best os.Root.FS(): no way out by link; nil: none
	Trees   fs.FS        // uploaded trees by their names; nil: none
	Pages   Pages        // the box's own pages; nil: none
	WhoIs   WhoIs        // who uses an address; nil: nobody is known
	Sink    boot.Sink    // takes events; nil: none
	Observe func(Result) // takes every result, unlike events unabridged; nil: none. Must not block
	Log     *slog.Logger // nil: discarded
	Limits  Limits
}

// ListenFunc opens the TCP listener.
type ListenFunc func(network, address string) (net.Listener, error)

// Pages returns the handler of one of the box's own pages, nil for a path that
// is none.
type Pages func(path string) http.Handler

// WhoIs tells which client was last seen using an address.
type WhoIs func(netip.Addr) (boot.Client, bool)

// Server answers machines by HTTP. It is a task: Run serves until its context
// ends.
type Server struct {
	cfg     Config
	limits  Limits
	log     *slog.Logger
	ready   chan struct{}
	onReady sync.Once
	news    *news
	slots   *slots // files under way
	conns   *connTable

	mu       sync.Mutex
	listener net.Listener
	problem  error // why it is not listening
}

// New returns a Server that does nothing yet.
func New(c Config) *Server {
	if c.Addr == "" {
		c.Addr = ":80"
	}
	if c.Listen == nil {
		c.Listen = net.Listen
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Sink == nil {
		c.Sink = func(boot.Event) {}
	}
	if c.Observe == nil {
		c.Observe = func(Result) {}
	}
	l := c.Limits.withDefaults()
	s := &Server{
		cfg: c, limits: l, log: c.Log.With("component", "bootweb"), ready: make(chan struct{}),
		news: newNews(c.Sink), slots: newSlots(l.Transfers, l.PerIP),
	}
	s.conns = newConnTable(l.Conns, l.ConnsPerIP)
	return s
}

// String names the task.
func (s *Server) String() string { return "http " + s.cfg.Addr }

// Ready is closed once the server listens.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Listen opens the port, so that a caller can tell "port taken" and "no
// permission" before anything runs. Run does it itself when nobody has. The
// error wraps the system's.
func (s *Server) Listen() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener != nil {
		return nil
	}
	ln, err := s.cfg.Listen("tcp", s.cfg.Addr)
	if err != nil {
		s.problem = fmt.Errorf("listen for machines by HTTP on %s: %w", s.cfg.Addr, err)
		return s.problem
	}
	s.listener, s.problem = ln, nil
	s.onReady.Do(func() { close(s.ready) })
	return nil
}

// Close gives up the port of a Listen that no Run followed.
func (s *Server) Close() error {
	s.mu.Lock()
	ln := s.listener
	s.listener = nil
	s.mu.Unlock()
	if ln == nil {
		return nil
	}
	return ln.Close()
}

// Addr is the address the server listens on, invalid before Listen.
func (s *Server) Addr() netip.AddrPort {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener == nil {
		return netip.AddrPort{}
	}
	return addrPort(s.listener.Addr())
}

// Problem says why the server is not listening; nil when it is, or has not
// tried yet.
func (s *Server) Problem() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.problem
}

// Conns is the number of open connections.
func (s *Server) Conns() int { return s.conns.len() }

// Transfers is the number of files under way.
func (s *Server) Transfers() int { return s.slots.len() }

// Run serves until ctx ends, then lets requests under way finish for
// Limits.Drain. A port that cannot be opened is tried again with growing
// pauses, so that the rest of the box is not held up; Problem tells. The error
// is nil after ctx has ended.
func (s *Server) Run(ctx context.Context) error {
	for {
		ln, err := s.open(ctx)
		if err != nil {
			return nil // ctx ended before the port was free
		}
		err = s.serve(ctx, ln)
		s.mu.Lock()
		s.listener = nil
		if err != nil {
			s.problem = fmt.Errorf("serve machines by HTTP on %s: %w", s.cfg.Addr, err)
		}
		s.mu.Unlock()
		if ctx.Err() != nil {
			return nil
		}
		s.log.Error("HTTP server stopped, opening the port again", "err", err)
		if !sleep(ctx, time.Second) {
			return nil
		}
	}
}

// open returns the listener, waiting for the port as long as it takes.
func (s *Server) open(ctx context.Context) (net.Listener, error) {
	for pause := 500 * time.Millisecond; ; pause = min(2*pause, 15*time.Second) {
		err := s.Listen()
		if err == nil {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.listener, nil
		}
		s.log.Error("cannot open the port for machines, trying again", "err", err, "pause", pause)
		if !sleep(ctx, pause) {
			return nil, ctx.Err()
		}
	}
}

// serve runs net/http on ln until ctx ends or the listener breaks.
func (s *Server) serve(ctx context.Context, ln net.Listener) error {
	srv := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: s.limits.HeaderTime,
		ReadTimeout:       s.limits.HeaderTime,
		WriteTimeout:      s.limits.ChunkTime, // extended for every chunk of a file
		IdleTimeout:       s.limits.IdleTime,
		MaxHeaderBytes:    s.limits.Header,
		ConnState:         s.conns.state,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, peerKey{}, s.newPeer(c.LocalAddr(), c.RemoteAddr()))
		},
		// net/http's own lines are about single clients' broken connections.
		ErrorLog: log.New(debugWriter{s.log}, "", 0),
	}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(&limitListener{Listener: ln, table: s.conns, refused: s.refused}) }()
	select {
	case err := <-failed:
		srv.Close()
		return err
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.limits.Drain)
	defer cancel()
	err := srv.Shutdown(drain)
	if err != nil {
		srv.Close()
	}
	if serr := <-failed; !errors.Is(serr, http.ErrServerClosed) {
		return serr
	}
	return nil
}

// refused counts a connection that was over a limit.
func (s *Server) refused(addr netip.Addr, reason boot.Reason) {
	now := time.Now()
	s.cfg.Observe(Result{Route: RouteConn, Status: 0, Reason: reason})
	s.news.refused(now, boot.Event{Time: now, Kind: boot.KindHTTP, Reason: reason, Addr: addr, Text: "connection refused"})
}

// debugWriter passes net/http's log lines on at debug level.
type debugWriter struct{ log *slog.Logger }

func (w debugWriter) Write(b []byte) (int, error) {
	w.log.Debug("net/http", "line", string(b))
	return len(b), nil
}

// sleep waits for d, or until ctx ends, in which case it returns false.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// addrPort reads a TCP address, without zone and not in IPv6-mapped form.
func addrPort(a net.Addr) netip.AddrPort {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := t.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port())
}
