package lab

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"time"
)

// Link is how good or bad a client's cable is.
type Link struct {
	// Loss is the share of frames lost in each direction, 0 to 1.
	Loss float64
	// Delay is added in each direction.
	Delay time.Duration
	// Seed makes the losses of a run repeatable as a sequence.
	Seed uint64
}

// Shim carries frames between a QEMU network device and a tap on the LAN's
// bridge, one frame at a time through Go. QEMU's side is a stream socket with
// a four-byte length before each frame.
//
// What a client sends is rewritten first, then recorded and decoded, then
// perhaps lost; what it receives is lost first. So the record is the client's
// own view of the wire: everything it sent, and what reached it.
type Shim struct {
	Ring     *Ring
	Timeline *Timeline

	qemu net.Conn
	tap  *os.File
	link Link
	rw   *Rewriter

	mu     sync.Mutex // guards writes to qemu and the random source
	rng    *rand.Rand
	wg     sync.WaitGroup
	closed chan struct{}
	once   sync.Once
}

// maxFrame is an Ethernet frame at MTU 1500 with room for a VLAN tag; QEMU may
// announce more only by mistake.
const maxFrame = 65536

// delayQueue bounds the frames under way on a slow link, in each direction.
// What does not fit is lost, as in a switch.
const delayQueue = 4096

func newShim(qemu net.Conn, tap *os.File, mac net.HardwareAddr, link Link, rw *Rewriter, onMark func(Mark)) *Shim {
	s := &Shim{
		Ring: NewRing(24 << 20), Timeline: NewTimeline(mac, onMark),
		qemu: qemu, tap: tap, link: link, rw: rw,
		rng: newRand(link.Seed), closed: make(chan struct{}),
	}
	s.wg.Add(2)
	go s.fromClient()
	go s.toClient()
	return s
}

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0x6c616273)) }

// Close ends both directions and removes the tap.
func (s *Shim) Close() error {
	var err error
	s.once.Do(func() {
		close(s.closed)
		err = errors.Join(s.qemu.Close(), s.tap.Close())
	})
	s.wg.Wait()
	return err
}

func (s *Shim) fromClient() {
	defer s.wg.Done()
	send, stop := s.line(func(frame []byte) { _, _ = s.tap.Write(frame) })
	defer stop()
	in := bufio.NewReaderSize(s.qemu, 4*maxFrame)
	head := make([]byte, 4)
	buf := make([]byte, maxFrame)
	for {
		if _, err := io.ReadFull(in, head); err != nil {
			return
		}
		n := binary.BigEndian.Uint32(head)
		if n == 0 || n > maxFrame {
			return
		}
		if _, err := io.ReadFull(in, buf[:n]); err != nil {
			return
		}
		frame := s.rw.Frame(buf[:n])
		if frame == nil {
			continue
		}
		now := time.Now()
		s.Ring.Add(now, frame)
		s.Timeline.Feed(now, true, frame)
		send(frame)
	}
}

func (s *Shim) toClient() {
	defer s.wg.Done()
	send, stop := s.line(s.deliver)
	defer stop()
	buf := make([]byte, maxFrame)
	for {
		n, err := s.tap.Read(buf)
		if err != nil {
			return
		}
		send(s.rw.Reply(buf[:n]))
	}
}

// deliver hands a frame to QEMU as the client's network card sees it.
func (s *Shim) deliver(frame []byte) {
	now := time.Now()
	s.Ring.Add(now, frame)
	s.Timeline.Feed(now, false, frame)
	out := make([]byte, 4, 4+len(frame))
	binary.BigEndian.PutUint32(out, uint32(len(frame)))
	_, _ = s.qemu.Write(append(out, frame...))
}

// line returns a function that passes a frame on over this link: at once on a
// perfect one, else perhaps never and later. stop waits for frames under way
// only as long as the shim is open.
func (s *Shim) line(out func([]byte)) (send func([]byte), stop func()) {
	lossy := func(frame []byte, pass func([]byte)) {
		if s.link.Loss > 0 {
			s.mu.Lock()
			lost := s.rng.Float64() < s.link.Loss
			s.mu.Unlock()
			if lost {
				return
			}
		}
		pass(frame)
	}
	if s.link.Delay <= 0 {
		return func(f []byte) { lossy(f, out) }, func() {}
	}
	type late struct {
		due   time.Time
		frame []byte
	}
	queue := make(chan late, delayQueue)
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		timer := time.NewTimer(0)
		defer timer.Stop()
		for l := range queue {
			timer.Reset(time.Until(l.due))
			select {
			case <-timer.C:
				out(l.frame)
			case <-s.closed:
				return
			}
		}
	}()
	send = func(f []byte) {
		lossy(f, func(f []byte) {
			l := late{time.Now().Add(s.link.Delay), append([]byte(nil), f...)}
			select {
			case queue <- l:
			default:
			}
		})
	}
	return send, func() { close(queue); <-finished }
}

// acceptQEMU waits for the one connection QEMU makes to a socket of ours.
func acceptQEMU(l *net.UnixListener, what string, p *Proc, limit time.Duration) (net.Conn, error) {
	if err := l.SetDeadline(time.Now().Add(limit)); err != nil {
		return nil, fmt.Errorf("wait for %s: %w", what, err)
	}
	type result struct {
		c   net.Conn
		err error
	}
	got := make(chan result, 1)
	go func() {
		c, err := l.Accept()
		got <- result{c, err}
	}()
	select {
	case r := <-got:
		if r.err != nil {
			return nil, fmt.Errorf("wait for %s of QEMU: %w", what, r.err)
		}
		return r.c, nil
	case <-p.Done():
		_ = l.Close()
		<-got
		return nil, fmt.Errorf("start QEMU: it ended at once and said:\n%s", p.Out.Tail(12))
	}
}
