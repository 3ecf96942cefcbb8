package syslog

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

const (
	queueLines   = 1024
	maxUDPLine   = 1400 // octets: one Ethernet frame
	maxTCPLine   = 8 << 10
	sendTime     = 5 * time.Second
	dialTime     = 5 * time.Second
	firstBackoff = time.Second
	maxBackoff   = time.Minute
	lastWords    = 500 * time.Millisecond // for what waits when the box stops
	facility     = 3                      // system daemons, RFC 5424 table 1
	appName      = "bootpuck"
)

// Forwarder is the task that sends log lines to a syslog server, in the form of
// RFC 5424; by TCP with counted frames (RFC 6587). It connects again with growing
// waits when the server is gone, and says so in the next handler's log alone.
type Forwarder struct {
	network, address string
	name             string
	next             slog.Handler
	now              func() time.Time
	dial             func(ctx context.Context, network, address string) (net.Conn, error)
	ready            chan struct{}
	once             sync.Once

	queue   chan line
	dropped atomic.Uint64

	mu      sync.Mutex // format
	current line
	text    slog.Handler
}

// line is one record on its way.
type line struct {
	time     time.Time
	severity int // RFC 5424 table 2
	text     string
}

// NewForwarder returns a handler that passes everything on to next and also
// queues it for the server at target: "udp://host:514" or "tcp://host:514", the
// port may be missing. The task sends what is queued. name is what the box is
// called. The error says what is wrong with target.
func NewForwarder(target, name string, next slog.Handler) (slog.Handler, *Forwarder, error) {
	network, address, err := ParseTarget(target)
	if err != nil {
		return nil, nil, err
	}
	f := &Forwarder{
		network: network, address: address, name: header(name, 255), next: next, now: time.Now,
		dial: (&net.Dialer{Timeout: dialTime, KeepAlive: 30 * time.Second}).DialContext, ready: make(chan struct{}), queue: make(chan line, queueLines),
	}
	f.text = slog.NewTextHandler(&formatted{f}, &slog.HandlerOptions{
		Level: slog.Level(-128), // next decides
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey) {
				return slog.Attr{} // the header has them
			}
			return a
		},
	})
	return &handler{f: f, next: next, text: f.text}, f, nil
}

// ParseTarget reads the address of a syslog server.
func ParseTarget(target string) (network, address string, err error) {
	const want = "write udp://host:514 or tcp://host:514"
	u, err := url.Parse(target)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Path != "" && u.Path != "/" {
		return "", "", fmt.Errorf("syslog server %q: %s", target, want)
	}
	if u.Scheme != "udp" && u.Scheme != "tcp" {
		return "", "", fmt.Errorf("syslog server %q: protocol %q; %s", target, u.Scheme, want)
	}
	port := u.Port()
	if port == "" {
		port = "514"
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 || u.Hostname() == "" {
		return "", "", fmt.Errorf("syslog server %q: %s", target, want)
	}
	return u.Scheme, net.JoinHostPort(u.Hostname(), port), nil
}

// handler is the slog.Handler.
type handler struct {
	f    *Forwarder
	next slog.Handler
	text slog.Handler
}

// Enabled implements slog.Handler.
func (h *handler) Enabled(ctx context.Context, l slog.Level) bool { return h.next.Enabled(ctx, l) }

// WithAttrs implements slog.Handler.
func (h *handler) WithAttrs(a []slog.Attr) slog.Handler {
	return &handler{h.f, h.next.WithAttrs(a), h.text.WithAttrs(a)}
}

// WithGroup implements slog.Handler.
func (h *handler) WithGroup(name string) slog.Handler {
	return &handler{h.f, h.next.WithGroup(name), h.text.WithGroup(name)}
}

// Handle implements slog.Handler. It never waits for the server.
func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	// What machines logged is not ours to forward: see the package comment.
	if r.Message != string(boot.KindSyslog) {
		h.f.put(ctx, h.text, r)
	}
	return h.next.Handle(ctx, r)
}

func (f *Forwarder) put(ctx context.Context, text slog.Handler, r slog.Record) {
	if len(f.queue) == cap(f.queue) {
		f.dropped.Add(1)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.current = line{time: r.Time, severity: severity(r.Level)}
	_ = text.Handle(ctx, r) // ends in formatted.Write, which does not fail
}

// formatted receives what the text handler has made of the current record.
type formatted struct{ f *Forwarder }

// Write implements io.Writer.
func (w *formatted) Write(b []byte) (int, error) {
	l := w.f.current
	l.text = cut(strings.TrimSuffix(string(b[:min(len(b), maxTCPLine)]), "\n"), maxTCPLine)
	select {
	case w.f.queue <- l:
	default:
		w.f.dropped.Add(1)
	}
	return len(b), nil
}

func severity(l slog.Level) int {
	switch {
	case l >= slog.LevelError:
		return 3
	case l >= slog.LevelWarn:
		return 4
	case l >= slog.LevelInfo:
		return 6
	}
	return 7
}

// String names the task.
func (f *Forwarder) String() string { return "log-forwarder" }

// Ready is closed when the server could be reached for the first time; by UDP
// that says only that there is a way to it.
func (f *Forwarder) Ready() <-chan struct{} { return f.ready }

// Dropped returns how many lines were not sent since the start.
func (f *Forwarder) Dropped() uint64 { return f.dropped.Load() }

// Run sends until ctx ends, then what waits still, for at most half a second,
// and returns nil. It never returns an error.
func (f *Forwarder) Run(ctx context.Context) error {
	backoff, told := firstBackoff, false
	var lost uint64 // already told to the server
	for {
		conn, err := f.dial(ctx, f.network, f.address)
		if err == nil {
			began := f.now()
			f.once.Do(func() { close(f.ready) })
			if told && f.network == "tcp" { // by UDP nobody says so
				f.say(slog.LevelInfo, "the syslog server is reached again", "server", f.address)
				told = false
			}
			err = f.send(ctx, conn, &lost)
			if f.now().Sub(began) > maxBackoff {
				backoff, told = firstBackoff, false
			}
		}
		if ctx.Err() != nil {
			return nil
		}
		if !told {
			f.say(slog.LevelWarn, "the syslog server cannot be reached; lines wait", "server", f.address, "error", err)
			told = true
		}
		t := time.NewTimer(backoff)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil
		case <-t.C:
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

// send writes lines until it cannot or ctx ends.
func (f *Forwarder) send(ctx context.Context, conn net.Conn, lost *uint64) error {
	gone := make(chan error, 1)
	var reader sync.WaitGroup
	defer reader.Wait()
	defer func() { _ = conn.Close() }() // what could not be sent has been counted
	if f.network == "tcp" {
		reader.Go(func() { // nothing comes back; reading tells that the server has hung up
			var b [512]byte
			for {
				if _, err := conn.Read(b[:]); err != nil {
					gone <- err
					return
				}
			}
		})
	}
	for {
		if n := f.dropped.Load(); n != *lost {
			text := "msg=\"log lines were dropped\" lines=" + strconv.FormatUint(n-*lost, 10)
			if err := f.write(conn, line{f.now(), 4, text}, sendTime); err != nil {
				return err
			}
			*lost = n
		}
		select {
		case <-ctx.Done():
			f.drain(conn)
			return nil
		case err := <-gone:
			return fmt.Errorf("the server closed the connection: %w", err)
		case l := <-f.queue:
			if err := f.write(conn, l, sendTime); err != nil {
				f.dropped.Add(1)
				return err
			}
		}
	}
}

// drain sends what waits when the box stops.
func (f *Forwarder) drain(conn net.Conn) {
	end := time.Now().Add(lastWords)
	for {
		select {
		case l := <-f.queue:
			if left := time.Until(end); left <= 0 || f.write(conn, l, left) != nil {
				return
			}
		default:
			return
		}
	}
}

func (f *Forwarder) write(conn net.Conn, l line, within time.Duration) error {
	b := f.encode(l)
	if err := conn.SetWriteDeadline(time.Now().Add(within)); err != nil {
		return err
	}
	_, err := conn.Write(b)
	return err
}

// encode is the message of RFC 5424 section 6, with a count before it on TCP.
func (f *Forwarder) encode(l line) []byte {
	most := maxTCPLine
	if f.network == "udp" {
		most = maxUDPLine
	}
	stamp := "-" // section 6.2.3: the clock is not known
	if l.time.Year() >= 2020 {
		stamp = l.time.UTC().Format("2006-01-02T15:04:05.000000Z07:00")
	}
	b := make([]byte, 0, 256+len(l.text))
	b = fmt.Appendf(b, "<%d>1 %s %s %s %d - - ", facility*8+l.severity, stamp, f.name, appName, os.Getpid())
	b = append(b, cut(harmless(l.text), most-len(b))...)
	if f.network == "udp" {
		return b
	}
	return append([]byte(strconv.Itoa(len(b))+" "), b...)
}

// harmless takes out control characters, which the text handler has quoted in
// values but which keys may hold.
func harmless(s string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsControl(c) {
			return ' '
		}
		return c
	}, strings.ToValidUTF8(s, "\ufffd"))
}

// header makes a field of the header: printable ASCII without blanks, "-" when
// nothing is left.
func header(s string, most int) string {
	s = strings.Map(func(c rune) rune {
		if c <= ' ' || c >= 0x7f {
			return -1
		}
		return c
	}, s)
	if s = cut(s, most); s == "" {
		return "-"
	}
	return s
}

// say logs to the next handler alone: a line about the way to the server must
// not wait for that way.
func (f *Forwarder) say(level slog.Level, text string, args ...any) {
	ctx := context.Background()
	if !f.next.Enabled(ctx, level) {
		return
	}
	r := slog.NewRecord(f.now(), level, text, 0)
	r.Add("component", f.String())
	r.Add(args...)
	_ = f.next.Handle(ctx, r) // when the log itself is broken there is nobody to tell
}
