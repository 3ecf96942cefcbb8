package logging

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestWriterKeepsOrderAndFlushes(t *testing.T) {
	var out bytes.Buffer
	w := NewWriter(&out)
	for _, s := range []string{"one\n", "two\n", "three\n"} {
		if n, err := w.Write([]byte(s)); n != len(s) || err != nil {
			t.Errorf("%d, %v", n, err)
		}
	}
	_ = w.Close()
	_ = w.Close() // twice is harmless
	if out.String() != "one\ntwo\nthree\n" {
		t.Errorf("got %q", out.String())
	}
}

// blocked is a console that has stopped.
type blocked struct{ release chan struct{} }

func (b blocked) Write(p []byte) (int, error) { <-b.release; return len(p), nil }

func TestStoppedConsoleDropsLinesAndNeverBlocks(t *testing.T) {
	b := blocked{make(chan struct{})}
	w := NewWriter(b)
	const n = 3 * queueLines
	// The writer holds one batch besides the queue: a few lines as long as these.
	const held = 2 * batchBytes / maxLine
	line := bytes.Repeat([]byte("x"), maxLine)
	for range n {
		_, _ = w.Write(line)
	}
	if d := w.Dropped(); d < n-queueLines-held || d > n-queueLines {
		t.Errorf("%d of %d dropped; the queue holds %d", d, n, queueLines)
	}
	close(b.release)
	_ = w.Close()
}

func TestLinesAreBounded(t *testing.T) {
	var out bytes.Buffer
	w := NewWriter(&out)
	_, _ = w.Write(bytes.Repeat([]byte("x"), 1<<20))
	_ = w.Close()
	if out.Len() != maxLine || out.Bytes()[maxLine-1] != '\n' {
		t.Errorf("%d bytes", out.Len())
	}
}

func TestEventLine(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	Event(log, boot.Event{
		Kind: boot.KindTFTP, Reason: boot.ReasonNotFound, MAC: "52:54:00:00:00:01", File: "x\nlevel=ERROR msg=forged", Bytes: 3,
	})
	line := out.String()
	if strings.Count(line, "\n") != 1 {
		t.Errorf("a client's file name forged a line: %q", line)
	}
	for _, want := range []string{"msg=tftp", "reason=not_found", "mac=52:54:00:00:00:01", "bytes=3", boot.ReasonNotFound.Text()} {
		if !strings.Contains(line, want) {
			t.Errorf("no %q in %q", want, line)
		}
	}
}

func TestLevels(t *testing.T) {
	for _, c := range []struct {
		e    boot.Event
		want string
	}{
		{boot.Event{Kind: boot.KindSilence, Reason: boot.ReasonClass}, ""},
		{boot.Event{Kind: boot.KindLease}, ""},
		{boot.Event{Kind: boot.KindSilence, Reason: boot.ReasonNoLoader}, "level=INFO"},
		{boot.Event{Kind: boot.KindWarning, Reason: boot.ReasonLoop}, "level=WARN"},
		{boot.Event{Kind: boot.KindSilence, Reason: boot.ReasonInternal}, "level=ERROR"},
		{boot.Event{Kind: boot.KindOffer}, "level=INFO"},
	} {
		var out bytes.Buffer
		Event(slog.New(slog.NewTextHandler(&out, nil)), c.e)
		if !strings.Contains(out.String(), c.want) || c.want == "" && out.Len() > 0 {
			t.Errorf("%s/%s: %q, want %s", c.e.Kind, c.e.Reason, out.String(), c.want)
		}
	}
}
