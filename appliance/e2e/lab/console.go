package lab

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// consoleLimit bounds what a Console remembers, bytes. A firmware and kernel
// log is a few hundred kilobytes.
const consoleLimit = 2 << 20

// Console collects the output of a process or a serial line, bounded, and lets
// any number of goroutines wait for a text in it. It is safe for concurrent use.
type Console struct {
	mu      sync.Mutex
	buf     []byte
	cut     int // bytes forgotten at the front
	also    io.Writer
	changed chan struct{}
	closed  bool
}

// NewConsole makes a console that copies everything to also, if not nil.
// Errors of that writer are ignored: evidence must not stop a test.
func NewConsole(also io.Writer) *Console {
	return &Console{also: also, changed: make(chan struct{})}
}

// Write appends output. It never fails.
func (c *Console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.also != nil {
		_, _ = c.also.Write(p)
	}
	c.buf = append(c.buf, p...)
	if extra := len(c.buf) - consoleLimit; extra > consoleLimit/4 {
		c.buf = append(c.buf[:0:0], c.buf[extra:]...)
		c.cut += extra
	}
	c.wake()
	return len(p), nil
}

// Close says that no more output comes, so that waiters give up. It never fails.
func (c *Console) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.wake()
	return nil
}

func (c *Console) wake() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// String is what is remembered.
func (c *Console) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return string(c.buf)
}

// Tail is the last n lines with control sequences removed, for error messages.
func (c *Console) Tail(n int) string {
	lines := strings.Split(strings.TrimSpace(plainText(c.String())), "\n")
	if len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	return strings.Join(lines, "\n")
}

// WaitFor waits until one of the texts has appeared since the beginning, and
// returns it with the time it was noticed.
func (c *Console) WaitFor(ctx context.Context, texts ...string) (string, time.Time, error) {
	from := 0 // position in the whole stream from which nothing was found yet
	longest := 1
	for _, t := range texts {
		longest = max(longest, len(t))
	}
	for {
		c.mu.Lock()
		start := max(from-c.cut-longest, 0)
		window := c.buf[start:]
		for _, t := range texts {
			if bytes.Contains(window, []byte(t)) {
				c.mu.Unlock()
				return t, time.Now(), nil
			}
		}
		from = c.cut + len(c.buf)
		changed, closed := c.changed, c.closed
		c.mu.Unlock()
		if closed {
			return "", time.Time{}, fmt.Errorf("wait for %q: output ended", texts)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return "", time.Time{}, fmt.Errorf("wait for %q: %w", texts, context.Cause(ctx))
		}
	}
}

// plainText removes terminal control sequences (ECMA-48) and carriage returns.
func plainText(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == 0x1b && i+1 < len(s) && s[i+1] == '[':
			i += 2
			for i < len(s) && (s[i] < 0x40 || s[i] > 0x7e) {
				i++
			}
		case s[i] == 0x1b:
			i++
		case s[i] == '\n' || s[i] == '\t' || s[i] >= 0x20:
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

// firstLine is the first line of s that says something, or the alternative.
func firstLine(s, alternative string) string {
	for line := range strings.Lines(s) {
		if line = strings.TrimSpace(line); line != "" {
			return line
		}
	}
	return alternative
}

func jsonContains(raw []byte, text string) bool { return bytes.Contains(raw, []byte(text)) }
