package tftp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// fakeWire is a wire without a network, for tests with a fake clock.
type fakeWire struct {
	in    chan []byte
	peer  netip.AddrPort
	start time.Time

	mu       sync.Mutex
	deadline time.Time
	changed  chan struct{}
	sent     []sentPacket
	onSend   func(b []byte) // answers, outside the lock
	broken   error
}

type sentPacket struct {
	after  time.Duration
	packet []byte
	to     netip.AddrPort
}

func newFakeWire(peer netip.AddrPort) *fakeWire {
	return &fakeWire{in: make(chan []byte, 64), changed: make(chan struct{}), start: time.Now(), peer: peer}
}

func (w *fakeWire) SetReadDeadline(t time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.deadline = t
	close(w.changed)
	w.changed = make(chan struct{})
	return nil
}

func (w *fakeWire) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	for {
		w.mu.Lock()
		deadline, changed := w.deadline, w.changed
		w.mu.Unlock()
		var alarm <-chan time.Time
		if !deadline.IsZero() {
			left := time.Until(deadline)
			if left <= 0 {
				return 0, netip.AddrPort{}, os.ErrDeadlineExceeded
			}
			timer := time.NewTimer(left)
			defer timer.Stop()
			alarm = timer.C
		}
		select {
		case p := <-w.in:
			return copy(b, p), w.peer, nil
		case <-changed:
		case <-alarm:
		}
	}
}

func (w *fakeWire) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	w.mu.Lock()
	w.sent = append(w.sent, sentPacket{time.Since(w.start), bytes.Clone(b), to})
	on, broken := w.onSend, w.broken
	w.mu.Unlock()
	if broken != nil {
		return 0, broken
	}
	if on != nil {
		on(bytes.Clone(b))
	}
	return len(b), nil
}

func (w *fakeWire) Close() error { return nil }

func (w *fakeWire) log() []sentPacket {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]sentPacket(nil), w.sent...)
}

// times of the packets that carry this block (0: the OACK).
func (w *fakeWire) times(block uint16) (out []time.Duration) {
	for _, p := range w.log() {
		op, n := binary.BigEndian.Uint16(p.packet), binary.BigEndian.Uint16(p.packet[2:])
		if op == opDATA && n == block || op == opOACK && block == 0 {
			out = append(out, p.after)
		}
	}
	return out
}

var somebody = netip.MustParseAddrPort("192.0.2.50:2070")

// play sends a file of n octets over w with pin/tftp, to the end.
func play(w *fakeWire, n int, options []option, during func(*link)) (result, error) {
	terms := negotiate(options, int64(n), maxBlock, defaultBlock)
	e := pinEngine{timeout: 100 * time.Hour}
	l := newLink(w, somebody, e.request(terms), terms, newPace(firstWait, terms.timeout), newRecorder(), func() {})
	if during != nil {
		go during(l)
	}
	var failed error
	e.run(l, func(rf io.ReaderFrom) error {
		_, failed = rf.ReadFrom(&guarded{body{file: bytes.NewReader(content(n)), size: int64(n)}})
		return failed
	})
	return l.outcome(), failed
}

// answer acknowledges whatever is sent, after a delay.
func (w *fakeWire) answer(delay time.Duration, drop func(b []byte) bool) {
	w.onSend = func(b []byte) {
		if drop != nil && drop(b) {
			return
		}
		n := binary.BigEndian.Uint16(b[2:])
		if binary.BigEndian.Uint16(b) == opOACK {
			n = 0
		}
		time.AfterFunc(delay, func() { w.in <- ack(n) })
	}
}

func inBubble(t *testing.T, name string, f func(t *testing.T, w *fakeWire)) {
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { f(t, newFakeWire(somebody)) })
	})
}

func equalTimes(t *testing.T, what string, got []time.Duration, want ...time.Duration) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %v, want %v", what, got, want)
		return
	}
	for i := range got {
		if got[i] != want[i] {
			t.Errorf("%s: %v, want %v", what, got, want)
			return
		}
	}
}

func TestLink(t *testing.T) {
	ms := time.Millisecond
	inBubble(t, "never answered", func(t *testing.T, w *fakeWire) {
		r, err := play(w, 5000, nil, nil)
		equalTimes(t, "DATA 1", w.times(1), 0, 250*ms)
		if r.reason != boot.ReasonClientSilent || r.retries != 1 || err == nil || time.Since(w.start) != 2250*ms {
			t.Errorf("%+v after %s", r, time.Since(w.start))
		}
	})
	inBubble(t, "never answered, options asked", func(t *testing.T, w *fakeWire) {
		r, _ := play(w, 5000, []option{{"blksize", "1468"}, {"timeout", "200"}}, nil)
		equalTimes(t, "OACK", w.times(0), 0, 250*ms)
		if r.reason != boot.ReasonClientSilent || len(w.log()) != 2 {
			t.Errorf("%+v, %d packets", r, len(w.log()))
		}
	})
	inBubble(t, "silent in the middle", func(t *testing.T, w *fakeWire) {
		w.answer(ms, func(b []byte) bool { return b[3] == 2 })
		r, _ := play(w, 5000, nil, nil)
		equalTimes(t, "DATA 2", w.times(2), ms, 251*ms, 751*ms, 1751*ms, 3751*ms, 7751*ms)
		if r.reason != boot.ReasonClientSilent || r.retries != 5 || r.bytes != 512 || time.Since(w.start) != 11751*ms {
			t.Errorf("%+v after %s", r, time.Since(w.start))
		}
	})
	inBubble(t, "patience asked", func(t *testing.T, w *fakeWire) {
		w.answer(ms, func(b []byte) bool { return b[1] == opDATA && b[3] == 2 })
		r, _ := play(w, 5000, []option{{"timeout", "30"}}, nil)
		equalTimes(t, "DATA 2", w.times(2), 2*ms, 252*ms, 752*ms, 1752*ms, 3752*ms, 7752*ms)
		if r.reason != boot.ReasonClientSilent || time.Since(w.start) != 37752*ms {
			t.Errorf("%+v after %s", r, time.Since(w.start))
		}
	})
	inBubble(t, "one loss", func(t *testing.T, w *fakeWire) {
		var lost atomic.Bool
		w.answer(ms, func(b []byte) bool { return b[3] == 3 && lost.CompareAndSwap(false, true) })
		r, err := play(w, 5000, nil, nil)
		equalTimes(t, "DATA 3", w.times(3), 2*ms, 252*ms)
		if err != nil || r.over || r.retries != 1 || r.bytes != 5000 {
			t.Errorf("%+v, %v", r, err)
		}
	})
	inBubble(t, "slow path", func(t *testing.T, w *fakeWire) {
		w.answer(400*ms, nil)
		r, err := play(w, 100*512, nil, nil)
		// Only until the round trip is known.
		if err != nil || r.retries > 3 || r.bytes != 100*512 {
			t.Errorf("%+v, %v", r, err)
		}
	})
	inBubble(t, "last acknowledgement lost", func(t *testing.T, w *fakeWire) {
		w.answer(ms, func(b []byte) bool { return b[3] == 10 })
		r, _ := play(w, 5000, nil, nil)
		if r.reason != boot.ReasonNone || r.probe || r.bytes != 5000 || r.text == "" {
			t.Errorf("%+v", r)
		}
	})
	inBubble(t, "single block never acknowledged", func(t *testing.T, w *fakeWire) {
		r, _ := play(w, 100, nil, nil)
		if r.reason != boot.ReasonClientSilent || r.bytes != 0 {
			t.Errorf("%+v", r)
		}
	})
	inBubble(t, "acknowledged twice each", func(t *testing.T, w *fakeWire) {
		w.onSend = func(b []byte) {
			n := binary.BigEndian.Uint16(b[2:])
			w.in <- ack(n)
			w.in <- ack(n)
		}
		r, err := play(w, 50*512+1, nil, nil)
		if err != nil || r.bytes != 50*512+1 || len(w.log()) != 51 {
			t.Errorf("%+v, %v, %d packets", r, err, len(w.log()))
		}
	})
	inBubble(t, "no packet leaves", func(t *testing.T, w *fakeWire) {
		w.broken = errors.New("network is unreachable")
		r, _ := play(w, 5000, nil, nil)
		if r.reason != boot.ReasonSend || len(w.log()) != 2 {
			t.Errorf("%+v, %d packets", r, len(w.log()))
		}
	})
	inBubble(t, "junk does not delay the repetition", func(t *testing.T, w *fakeWire) {
		w.answer(ms, func(b []byte) bool { return b[3] == 2 })
		quit := make(chan struct{})
		go func() {
			tick := time.NewTicker(10 * ms)
			defer tick.Stop()
			for {
				select {
				case <-quit:
					return
				case <-tick.C:
					w.in <- ack(1)
				}
			}
		}()
		r, _ := play(w, 5000, nil, nil)
		close(quit)
		equalTimes(t, "DATA 2", w.times(2), ms, 251*ms, 751*ms, 1751*ms, 3751*ms, 7751*ms)
		if r.reason != boot.ReasonClientSilent {
			t.Errorf("%+v", r)
		}
	})
	inBubble(t, "stopped", func(t *testing.T, w *fakeWire) {
		w.answer(ms, func(b []byte) bool { return b[3] == 5 })
		r, _ := play(w, 5000, nil, func(l *link) {
			time.Sleep(100 * ms) //nolint:forbidigo // the bubble's clock
			l.stop(result{reason: boot.ReasonSend, tell: textStop})
			l.stop(result{reason: boot.ReasonInternal}) // the first counts
		})
		if r.reason != boot.ReasonSend || r.tell != textStop || r.bytes != 4*512 || time.Since(w.start) != 100*ms {
			t.Errorf("%+v after %s", r, time.Since(w.start))
		}
	})
	inBubble(t, "stopped before the start", func(t *testing.T, w *fakeWire) {
		terms := negotiate(nil, 5000, maxBlock, defaultBlock)
		e := pinEngine{timeout: time.Hour}
		l := newLink(w, somebody, e.request(terms), terms, newPace(firstWait, terms.timeout), newRecorder(), func() {})
		l.stop(result{reason: boot.ReasonSend})
		e.run(l, func(rf io.ReaderFrom) error {
			_, err := rf.ReadFrom(bytes.NewReader(content(5000)))
			return err
		})
		if r := l.outcome(); r.reason != boot.ReasonSend || len(w.log()) != 0 {
			t.Errorf("%+v, %d packets", r, len(w.log()))
		}
	})
	inBubble(t, "handler does nothing", func(t *testing.T, w *fakeWire) {
		terms := negotiate(nil, 5000, maxBlock, defaultBlock)
		e := pinEngine{timeout: time.Hour}
		l := newLink(w, somebody, e.request(terms), terms, newPace(firstWait, terms.timeout), newRecorder(), func() {})
		e.run(l, func(io.ReaderFrom) error { return nil })
		e = pinEngine{timeout: time.Hour}
		l = newLink(w, somebody, e.request(terms), terms, newPace(firstWait, terms.timeout), newRecorder(), func() {})
		e.run(l, func(io.ReaderFrom) error { panic("defect") })
		if len(w.log()) != 0 {
			t.Errorf("%d packets", len(w.log()))
		}
	})
}

// FuzzTransfer feeds datagrams to a transfer as the network would, and checks that
// nothing but the right acknowledgement moves it, and that what is sent is bounded.
func FuzzTransfer(f *testing.F) {
	f.Add([]byte{4, 0, 4, 0, 1, 4, 0, 4, 0, 2, 5, 0, 5, 0, 0, 0}, true)
	f.Add([]byte{6, 0, 4, 0, 0, 9, 9, 4, 0, 4, 0, 1, 4, 0, 4, 0, 1, 132, 0, 4, 0, 1}, false)
	f.Add([]byte{0, 1, 0, 255, 1, 2, 3}, true)
	f.Fuzz(func(t *testing.T, script []byte, sized bool) {
		var options []option
		if sized {
			options = []option{{"tsize", "0"}, {"blksize", "1468"}}
		}
		terms := negotiate(options, 1<<20, maxBlock, defaultBlock)
		w := newFakeWire(somebody)
		proofs := 0
		l := newLink(w, somebody, nil, terms, newPace(firstWait, terms.timeout), newRecorder(), func() { proofs++ })
		next := uint16(1)
		pending, taken := uint16(0), 0
		packet := make([]byte, terms.block+4)
		write := func(block uint16) {
			copy(packet, []byte{0, opDATA, byte(block >> 8), byte(block)})
			if _, err := l.WriteTo(packet, nil); err != nil {
				t.Fatal(err)
			}
			pending = block
		}
		if terms.oack != nil {
			_, _ = l.WriteTo([]byte{0, opOACK, 0, 0, 0}, nil)
		} else {
			write(next)
			next++
		}
		other := netip.MustParseAddrPort("192.0.2.51:9")
		told := false
		for len(script) > 0 {
			n := int(script[0] & 0x7f)
			from := somebody
			if script[0]&0x80 != 0 {
				from = other
			}
			script = script[1:]
			n = min(n, len(script))
			in := script[:n]
			script = script[n:]
			before := len(w.log())
			out := l.datagram(in, from)
			sent := len(w.log()) - before
			if from == other {
				if out != nil || sent > 1 {
					t.Fatalf("a stranger's % x: %x, %d packets", in, out, sent)
				}
				continue
			}
			if sent != 0 {
				t.Fatalf("% x is answered", in)
			}
			switch {
			case out == nil:
				if !told && len(in) >= 4 && binary.BigEndian.Uint16(in) == opACK && binary.BigEndian.Uint16(in[2:]) == pending {
					t.Fatalf("% x is ignored, block %d is outstanding", in, pending)
				}
			case told:
				t.Fatalf("% x moves a transfer that has ended", in)
			case bytes.Equal(out, engineError):
				told = true
				if len(in) < 4 || binary.BigEndian.Uint16(in) != opERROR {
					t.Fatalf("% x ends the transfer", in)
				}
			default:
				if len(out) != 4 || binary.BigEndian.Uint16(out[2:]) != pending {
					t.Fatalf("% x is taken for an acknowledgement of %d", in, pending)
				}
				taken++
				write(next)
				next++
			}
		}
		if limit := taken + 1 + maxStrangers; len(w.log()) > limit {
			t.Fatalf("%d packets, at most %d", len(w.log()), limit)
		}
		if proofs > 1 || taken > 0 && proofs != 1 {
			t.Fatalf("%d acknowledgements, %d proofs", taken, proofs)
		}
	})
}
