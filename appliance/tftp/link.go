package tftp

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// wire is the datagram socket of one transfer. *net.UDPConn is one.
type wire interface {
	ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error)
	WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error)
	SetReadDeadline(t time.Time) error
	Close() error
}

const (
	// maxStrangers is how many datagrams from other ports are told so in one
	// transfer. The answer is hardly larger than what asked for it, and still must
	// not become a hose to point at somebody.
	maxStrangers = 8
	// meterEvery is after how many blocks the byte counter is moved.
	meterEvery = 64
)

// link is the net.PacketConn that a sender of blocks (an engine) is given for one
// transfer. The engine sees a perfect, quiet network with one peer: its request
// comes first, then for every packet it writes exactly one answer, which is the
// matching acknowledgement or, when the transfer is over, an ERROR. Everything that
// makes a network imperfect ends here: loss, repetition, stale, foreign and
// malformed datagrams, the client's silence. So an engine needs no timer of its
// own, and never gets a datagram it is not waiting for.
//
// ReadFrom is called by one goroutine, WriteTo by one other; the remaining methods
// by any.
type link struct {
	wire   wire
	peer   netip.AddrPort
	addr   *net.UDPAddr // peer, as net.PacketConn wants it
	terms  terms
	meter  Meter
	proven func() // called once, when the client has acknowledged something

	buf    [maxPacket]byte // of the reading goroutine
	failed atomic.Int32    // writes that failed, since one worked

	mu        sync.Mutex
	request   []byte    // for the engine, not yet read
	out       []byte    // the packet that waits for its acknowledgement; the engine's own memory
	block     uint16    // its number
	payload   int       // its octets of the file; negative for an OACK
	sends     int       // how often it was sent
	sentAt    time.Time // when last
	due       time.Time // when it is sent again, or given up
	alarmAt   time.Time // what the socket's deadline is, zero when none
	pace      pace
	acked     bool // the client has acknowledged something
	strangers int
	told      bool // the engine knows of the end
	closed    bool // the engine is done
	unmetered int64
	resent    int // not yet metered
	blocks    int64
	result    result
}

// result is how a transfer went.
type result struct {
	over    bool        // ended from outside: by the client, its silence, or stop
	reason  boot.Reason // why it is no success
	probe   bool        // the client only wanted the size
	text    string      // detail for people
	code    errorCode   // tell the client, when tell is set
	tell    string      // text of the ERROR for the client; empty: say nothing
	bytes   int64       // octets of the file that the client has
	retries int         // packets sent again
	total   int64       // octets of the file
	block   int         // block size agreed, octets
	acked   bool        // the client acknowledged at least one packet
}

// engineError is the ERROR that tells the engine of the end. It never leaves.
var engineError = []byte{0, opERROR, 0, 0, 0}

// past wakes a reader.
var past = time.Unix(1, 0)

func newLink(w wire, peer netip.AddrPort, request []byte, t terms, p pace, m Meter, proven func()) *link {
	return &link{
		wire: w, peer: peer, addr: net.UDPAddrFromAddrPort(peer), terms: t, meter: m, proven: proven,
		request: request, pace: p,
	}
}

// ReadFrom implements net.PacketConn for the engine. It fails with net.ErrClosed
// when the transfer is done, and not before.
func (l *link) ReadFrom(p []byte) (int, net.Addr, error) {
	l.mu.Lock()
	first := l.request
	l.request = nil
	l.mu.Unlock()
	if first != nil {
		return copy(p, first), l.addr, nil
	}
	for {
		var answer []byte
		n, from, err := l.wire.ReadFromUDPAddrPort(l.buf[:])
		if err == nil {
			answer = l.datagram(l.buf[:n], netip.AddrPortFrom(from.Addr().Unmap(), from.Port()))
		} else if answer, err = l.alarm(err); err != nil {
			return 0, nil, err
		}
		if answer != nil {
			return copy(p, answer), l.addr, nil
		}
	}
}

// WriteTo implements net.PacketConn for the engine: the packet is sent, and kept
// until it is acknowledged. The engine must not change it before that.
func (l *link) WriteTo(p []byte, _ net.Addr) (int, error) {
	if len(p) < 4 || binary.BigEndian.Uint16(p) == opERROR {
		// What a client is told is decided by the result, not by the engine, which
		// would answer an ERROR with another and put internal texts in it.
		return len(p), nil
	}
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return 0, net.ErrClosed
	}
	l.out, l.block, l.payload, l.sends = p, binary.BigEndian.Uint16(p[2:]), len(p)-4, 1
	if binary.BigEndian.Uint16(p) == opOACK {
		l.out, l.block, l.payload = l.terms.oack, 0, -1
	}
	out := l.out
	if l.result.over {
		l.setAlarm(past)
		l.mu.Unlock()
		return len(p), nil
	}
	l.arm()
	l.mu.Unlock()
	l.send(out)
	return len(p), nil
}

// send writes to the client. An error is like a loss: the packet is repeated, and
// when every repetition fails that is the transfer's end.
func (l *link) send(b []byte) {
	if _, err := l.wire.WriteToUDPAddrPort(b, l.peer); err != nil {
		l.failed.Add(1)
		return
	}
	l.failed.Store(0)
}

// arm sets the time for the outstanding packet. An alarm that rings earlier is left
// alone: it rings once in many blocks and then moves itself. l.mu is held.
func (l *link) arm() {
	l.sentAt = time.Now()
	l.due = l.sentAt.Add(l.pace.next(l.sends, l.acked))
	if l.alarmAt.IsZero() || l.due.Before(l.alarmAt) {
		l.setAlarm(l.due)
	}
}

// setAlarm makes the reading goroutine look around at t. l.mu is held.
func (l *link) setAlarm(t time.Time) {
	l.alarmAt = t
	_ = l.wire.SetReadDeadline(t)
}

// alarm handles an error of the socket: nearly always the deadline, which is our
// clock. It returns what the engine is to get, if anything.
func (l *link) alarm(err error) ([]byte, error) {
	var ne net.Error
	timeout := errors.As(err, &ne) && ne.Timeout()
	l.mu.Lock()
	if l.closed || !timeout && l.out == nil {
		l.mu.Unlock()
		return nil, net.ErrClosed
	}
	l.alarmAt = time.Time{}
	if !timeout {
		l.endLocked(result{reason: boot.ReasonSend, text: "the socket of the transfer failed"})
	}
	switch {
	case l.out == nil:
		// The engine is reading the file. Its next packet sets the alarm again.
		l.setAlarm(time.Time{})
	case l.result.over:
		defer l.mu.Unlock()
		return l.tellEngine(), nil
	case time.Now().Before(l.due):
		l.setAlarm(l.due)
	case l.sends >= sendsLimit(l.acked):
		defer l.mu.Unlock()
		l.endLocked(l.silence())
		return l.tellEngine(), nil
	default:
		l.sends++
		l.result.retries++
		l.resent++
		out := l.out
		l.arm()
		l.mu.Unlock()
		l.send(out)
		return nil, nil
	}
	l.mu.Unlock()
	return nil, nil
}

// silence is the result of a client that has stopped answering. l.mu is held.
func (l *link) silence() result {
	switch {
	case int(l.failed.Load()) >= l.sends:
		return result{reason: boot.ReasonSend, text: "no packet could be sent to the client"}
	case l.acked && l.payload >= 0 && l.payload < l.terms.block:
		// Only the acknowledgement of the last block is missing. Firmware sends it
		// once and starts what it has loaded: if it is lost, nobody is left to
		// repeat it. Everything before was acknowledged, so the file is there.
		l.count()
		return result{text: "the last block was not acknowledged"}
	}
	return result{reason: boot.ReasonClientSilent}
}

// datagram handles what came in. It returns what the engine is to get, if anything.
func (l *link) datagram(b []byte, from netip.AddrPort) []byte {
	if from != l.peer {
		l.stranger(b, from)
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.result.over || l.closed {
		return l.tellEngine()
	}
	m, code := judge(b, l.out != nil, l.block)
	switch m {
	case meansAcked:
		l.pace.acked(time.Since(l.sentAt), l.sends)
		if !l.acked {
			l.acked = true
			l.proven()
		}
		l.count()
		l.out = nil
		return b[:4]
	case meansError:
		r := result{reason: boot.ReasonClientAborted, text: "error " + strconv.Itoa(int(code)) + " " + quoteText(b[4:])}
		if isProbe(code, l.blocks, l.out != nil && l.payload < 0, l.terms.tsize) {
			r.reason, r.probe = boot.ReasonNone, true
		}
		l.endLocked(r)
		return l.tellEngine()
	default:
	}
	return nil
}

// count takes the outstanding packet for received. l.mu is held.
func (l *link) count() {
	if l.payload < 0 {
		return
	}
	l.blocks++
	l.result.bytes += int64(l.payload)
	l.unmetered += int64(l.payload)
	if l.blocks%meterEvery == 0 {
		l.flush()
	}
}

// flush moves the counters. l.mu is held.
func (l *link) flush() {
	if l.unmetered != 0 || l.resent != 0 {
		l.meter.TFTPBytes(l.unmetered, l.resent)
		l.unmetered, l.resent = 0, 0
	}
}

// stranger answers a datagram from another address or port: whoever sent it is in
// no transfer with us (RFC 1350 section 4). An ERROR is never answered.
func (l *link) stranger(b []byte, from netip.AddrPort) {
	if len(b) < 2 || binary.BigEndian.Uint16(b) == opERROR || from.Port() == 0 || from.Addr().IsMulticast() {
		return
	}
	l.mu.Lock()
	l.strangers++
	answer := l.strangers <= maxStrangers
	l.mu.Unlock()
	if answer {
		_, _ = l.wire.WriteToUDPAddrPort(errorPacket(codeUnknownTID, textPort), from)
	}
}

// endLocked ends the transfer, once; the first reason counts. l.mu is held.
func (l *link) endLocked(r result) {
	if l.result.over {
		return
	}
	r.over, r.bytes, r.retries = true, l.result.bytes, l.result.retries
	l.result = r
}

// tellEngine returns the ERROR for the engine if it waits for an answer and has not
// had it. Otherwise its next packet brings us here again. l.mu is held.
func (l *link) tellEngine() []byte {
	if l.out == nil || l.told || l.closed {
		return nil
	}
	l.out, l.told = nil, true
	return engineError
}

// stop ends the transfer from our side.
func (l *link) stop(r result) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.endLocked(r)
	l.setAlarm(past)
}

// finish is called when the engine has done its work or given up.
func (l *link) finish() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed, l.out = true, nil
	l.flush()
	l.setAlarm(past)
}

// outcome returns how it went.
func (l *link) outcome() result {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.result
	r.acked = l.acked
	return r
}

// progress returns how far the transfer is.
func (l *link) progress() (bytes int64, retries int, acked bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.result.bytes, l.result.retries, l.acked
}

// LocalAddr implements net.PacketConn. The engine only looks at its form.
func (l *link) LocalAddr() net.Addr { return &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)} }

// Close implements net.PacketConn: the socket belongs to the transfer, not to the engine.
func (l *link) Close() error { return nil }

// SetDeadline implements net.PacketConn; the link keeps time, not the engine.
func (l *link) SetDeadline(time.Time) error { return nil }

// SetReadDeadline implements net.PacketConn; the link keeps time, not the engine.
func (l *link) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline implements net.PacketConn; the link keeps time, not the engine.
func (l *link) SetWriteDeadline(time.Time) error { return nil }

// quoteText makes the text of a client's ERROR fit for an event: bounded, quoted.
func quoteText(b []byte) string {
	for i, c := range b {
		if c == 0 {
			b = b[:i]
			break
		}
	}
	return strconv.QuoteToASCII(string(b[:min(len(b), 80)]))
}
