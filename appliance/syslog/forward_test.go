package syslog

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

func TestParseTarget(t *testing.T) {
	for _, c := range []struct{ in, network, address string }{
		{"udp://logs.example:1514", "udp", "logs.example:1514"},
		{"tcp://192.0.2.1", "tcp", "192.0.2.1:514"},
		{"tcp://[2001:db8::1]/", "tcp", "[2001:db8::1]:514"},
	} {
		network, address, err := ParseTarget(c.in)
		if network != c.network || address != c.address || err != nil {
			t.Errorf("%s: %s %s %v", c.in, network, address, err)
		}
	}
	for _, s := range []string{
		"", "logs.example", "logs.example:514", "http://x", "udp://", "udp://:514", "udp://x:0", "udp://x:99999", "udp://x:y",
		"udp://u:p@x", "tcp://x/path", "tcp://x?a=b", "tcp://x#y", "tls://x", "udp://x\n",
	} {
		_, _, err := ParseTarget(s)
		if err == nil || !strings.Contains(err.Error(), "write udp://host:514") {
			t.Errorf("%q: %v", s, err)
		}
		if _, _, err := NewForwarder(s, "box", slog.DiscardHandler); err == nil {
			t.Errorf("%q: taken", s)
		}
	}
}

// console is where the next handler writes.
type console struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (c *console) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.buf.Write(b)
}

func (c *console) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.buf.String()
}

func forwarder(t *testing.T, target string) (*slog.Logger, *Forwarder, *console) {
	t.Helper()
	out := &console{}
	h, f, err := NewForwarder(target, "box 1", slog.NewTextHandler(out, nil))
	must(t, err)
	return slog.New(h), f, out
}

func TestForwardsByUDP(t *testing.T) {
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	must(t, err)
	defer c.Close()
	log, f, out := forwarder(t, "udp://"+c.LocalAddr().String())
	run(t, f)
	<-f.Ready()
	log.With("component", "tftp").WithGroup("g").Warn("two\nlines", "name", "a\x1b[31m\nb", "n\n", 1)
	log.Debug("not said")
	log.Error(strings.Repeat("x", 5000))
	log.Info(string(boot.KindSyslog), "text", "from a machine")
	buf := make([]byte, 4096)
	_ = c.SetReadDeadline(time.Now().Add(patience))
	n, _, err := c.ReadFrom(buf)
	must(t, err)
	want := regexp.MustCompile(`^<28>1 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z box1 bootpuck \d+ - - msg="two\\nlines" component=tftp g\.name="a\\x1b\[31m\\nb" "?g\.n\\n"?=1$`)
	if got := string(buf[:n]); !want.MatchString(got) {
		t.Errorf("%q", got)
	}
	n, _, err = c.ReadFrom(buf)
	must(t, err)
	if got := string(buf[:n]); n != maxUDPLine || !strings.HasPrefix(got, "<27>1 ") {
		t.Errorf("%d octets: %.80q", n, got)
	}
	for _, s := range []string{"component=tftp", "from a machine"} {
		if !strings.Contains(out.String(), s) {
			t.Errorf("the console lacks %q", s)
		}
	}
	if strings.Contains(out.String(), "not said") || len(f.queue) != 0 || f.Dropped() != 0 {
		t.Errorf("%d queued, %d dropped", len(f.queue), f.Dropped())
	}
}

// TestForwardedIsReceived: our receiver reads what our forwarder sends.
func TestForwardedIsReceived(t *testing.T) {
	for _, network := range []string{"udp", "tcp"} {
		r, s := receiver(t, Config{})
		log, f, _ := forwarder(t, network+"://"+r.Addr().String())
		stop := run(t, f)
		log.Info("hello", "n", 1)
		log.Info("hello", "n", 2)
		until(t, "both lines by "+network, func() bool { return len(s.events(boot.KindSyslog)) == 2 })
		stop()
		if e := s.events(boot.KindSyslog)[1]; e.Text != "bootpuck: msg=hello n=2" {
			t.Errorf("%q", e.Text)
		}
	}
}

func TestServerComesAndGoes(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	address := l.Addr().String()
	log, f, out := forwarder(t, "tcp://"+address)
	run(t, f)
	log.Info("first")
	c, err := l.Accept()
	must(t, err)
	line, err := newLines(c).next()
	if err != nil || !strings.HasSuffix(string(line), "msg=first") {
		t.Errorf("%q, %v", line, err)
	}
	_ = c.Close()
	_ = l.Close()
	until(t, "that it is said", func() bool { return strings.Contains(out.String(), "cannot be reached") })
	log.Info("second")
	l, err = net.Listen("tcp", address)
	must(t, err)
	defer l.Close()
	c, err = l.Accept()
	must(t, err)
	defer c.Close()
	line, err = newLines(c).next()
	if err != nil || !strings.HasSuffix(string(line), "msg=second") {
		t.Errorf("%q, %v", line, err)
	}
	until(t, "that it is said", func() bool { return strings.Contains(out.String(), "is reached again") })
	if n := strings.Count(out.String(), "cannot be reached"); n != 1 {
		t.Errorf("said %d times", n)
	}
}

// pipe is a connection whose other end a test holds.
type pipe struct {
	net.Conn
	closed chan struct{}
	once   sync.Once
	mu     sync.Mutex
	got    bytes.Buffer
}

func (p *pipe) Read([]byte) (int, error)         { <-p.closed; return 0, io.EOF }
func (p *pipe) Write(b []byte) (int, error)      { p.mu.Lock(); defer p.mu.Unlock(); return p.got.Write(b) }
func (p *pipe) SetWriteDeadline(time.Time) error { return nil }
func (p *pipe) Close() error                     { p.once.Do(func() { close(p.closed) }); return nil }

// TestServerIsGone: nothing waits for it, what is too much is counted and told,
// the waits grow, and its failure is not forwarded.
func TestServerIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, f, out := forwarder(t, "tcp://192.0.2.1")
		var mu sync.Mutex
		var dials []time.Time
		there := false
		conn := &pipe{closed: make(chan struct{})}
		f.dial = func(context.Context, string, string) (net.Conn, error) {
			mu.Lock()
			defer mu.Unlock()
			dials = append(dials, time.Now())
			if !there {
				return nil, errors.New("no route")
			}
			return conn, nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- f.Run(ctx) }()
		for i := range queueLines + 500 {
			log.Info("line", "i", i)
		}
		<-time.After(time.Hour)
		synctest.Wait()
		if f.Dropped() != 500 || len(f.queue) != queueLines {
			t.Errorf("%d dropped, %d wait", f.Dropped(), len(f.queue))
		}
		mu.Lock()
		if n := len(dials); n < 60 || n > 70 || dials[1].Sub(dials[0]) != firstBackoff || dials[n-1].Sub(dials[n-2]) != maxBackoff {
			t.Errorf("%d tries", n)
		}
		if n := strings.Count(out.String(), "cannot be reached"); n != 1 {
			t.Errorf("said %d times", n)
		}
		there = true
		mu.Unlock()
		<-time.After(2 * maxBackoff)
		synctest.Wait()
		conn.mu.Lock()
		got := conn.got.String()
		conn.mu.Unlock()
		if strings.Count(got, "msg=line") != queueLines || strings.Count(got, `msg="log lines were dropped" lines=500`) != 1 || strings.Contains(got, "cannot be reached") {
			t.Errorf("%d lines sent", strings.Count(got, "msg=line"))
		}
		log.Info("last")
		cancel()
		must(t, <-done)
		if !strings.HasSuffix(conn.got.String(), "msg=last") {
			t.Errorf("ends in %q", conn.got.String()[conn.got.Len()-40:])
		}
		if _, ok := <-conn.closed; ok {
			t.Error("left open")
		}
	})
}

func TestClockNotSet(t *testing.T) {
	f := &Forwarder{network: "udp", name: header("", 255)}
	if b := string(f.encode(line{time.Unix(5, 0), 6, "x\x1by\u009bz"})); !strings.HasPrefix(b, "<30>1 - - bootpuck ") || !strings.HasSuffix(b, " - - x y z") {
		t.Errorf("%q", b)
	}
}

// FuzzForward: whatever is logged, one message comes out, bounded and clean.
func FuzzForward(f *testing.F) {
	f.Add("text", "key", "value")
	f.Add("a\nb", "k\x1b", "\xff\u202e")
	f.Fuzz(func(t *testing.T, text, key, value string) {
		for _, network := range []string{"udp", "tcp"} {
			h, fw, err := NewForwarder(network+"://192.0.2.1", value, slog.DiscardHandler)
			must(t, err)
			fw.put(t.Context(), h.(*handler).text, func() slog.Record {
				r := slog.NewRecord(time.Now(), slog.LevelInfo, text, 0)
				r.Add(key, value)
				return r
			}())
			if len(fw.queue) != 1 {
				t.Fatalf("%d messages", len(fw.queue))
			}
			b := fw.encode(<-fw.queue)
			if len(b) > maxTCPLine+8 || network == "udp" && len(b) > maxUDPLine {
				t.Errorf("%d octets", len(b))
			}
			if bytes.ContainsFunc(b, func(c rune) bool { return c < ' ' || c >= 0x7f && c < 0xa0 }) {
				t.Errorf("%q", b)
			}
			if network == "tcp" {
				if lines, err := all(newLines(bytes.NewReader(b))); len(lines) != 1 || !errors.Is(err, io.EOF) {
					t.Errorf("%d lines, %v", len(lines), err)
				}
			}
		}
	})
}
