package lan

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

const (
	// probeAfter is when the servers on an interface are asked after listening
	// on it began: links settle, and switches with spanning tree begin to forward.
	probeAfter = 20 * time.Second
	// probeGap is the shortest time between two questions, whoever wants them.
	probeGap = time.Minute
	// probeWait is how long answers are waited for. Servers that first look
	// whether an address is in use take up to three seconds.
	probeWait = 5 * time.Second
	// probeLate is how long an answer is still recognised.
	probeLate = 30 * time.Second
	// maxAnswers bounds the answers kept of one question.
	maxAnswers = 16
)

// ProbeClass is the user class (option 77) of the box's own questions, by which
// another box knows them. It is proxydhcp's of the same name.
const ProbeClass = "bootpuck-probe"

// question is one of the two that are asked.
type question int

const (
	questionNone  question = iota // none: the reply was for somebody else
	questionPlain                 // as an ordinary client
	questionPXE                   // as a network boot client
)

// ProbeError says why the servers were not asked.
type ProbeError struct{ reason boot.Reason }

// Error implements error.
func (e ProbeError) Error() string { return "ask the DHCP servers: " + e.reason.Text() }

// Reason is ReasonProbeOff, ReasonProbeBusy or ReasonPermission.
func (e ProbeError) Reason() boot.Reason { return e.reason }

// probePacket is a DISCOVER of the box's own from the IP header on. It asks for
// a broadcast answer, so that the box's own IP stack does not report the answer
// as undeliverable; it asks for no address and is never followed by a REQUEST.
func probePacket(q question, mac net.HardwareAddr, xid uint32) []byte {
	d := make([]byte, 240, 320)
	d[0], d[1], d[2] = 1, 1, 6 // request, Ethernet
	binary.BigEndian.PutUint32(d[4:], xid)
	d[10] = 0x80 // flags: broadcast (RFC 2131 section 4.1)
	copy(d[28:34], mac)
	copy(d[236:], []byte{99, 130, 83, 99})
	add := func(code byte, v ...byte) { d = append(append(d, code, byte(len(v))), v...) }
	add(53, 1)
	add(55, 1, 3, 6, 15, 43, 54, 60, 66, 67) // what is worth knowing
	add(57, 0x05, 0xc0)
	add(77, []byte(ProbeClass)...)
	if q == questionPXE {
		// What RFC 4578 asks of a client; some servers answer no other.
		add(60, []byte("PXEClient:Arch:00007:UNDI:003016")...)
		add(93, 0, 7)
		add(94, 1, 3, 16)
		id := sha256.Sum256(append([]byte("bootpuck probe "), mac...))
		id[6], id[8] = id[6]&0x0f|0x80, id[8]&0x3f|0x80 // version 8 (RFC 9562 section 5.8)
		add(97, append([]byte{0}, id[:16]...)...)
	}
	d = append(d, 255)
	if short := 300 - len(d); short > 0 { // BOOTP's least size (RFC 1542 section 2.1)
		d = append(d, make([]byte, short)...)
	}
	b := make([]byte, 28, 28+len(d))
	b[0], b[8], b[9] = 0x45, 64, 17
	binary.BigEndian.PutUint16(b[2:], uint16(28+len(d)))
	copy(b[16:20], []byte{255, 255, 255, 255})
	binary.BigEndian.PutUint16(b[10:], ^sum16(b[:20], 0))
	binary.BigEndian.PutUint16(b[20:], portClient)
	binary.BigEndian.PutUint16(b[22:], portServer)
	binary.BigEndian.PutUint16(b[24:], uint16(8+len(d)))
	b = append(b, d...)
	// The pseudo header's addresses are 0 and all ones, whose sum is 0.
	check := ^sum16(b[20:], 17+uint32(8+len(d)))
	if check == 0 {
		check = 0xffff
	}
	binary.BigEndian.PutUint16(b[26:], check)
	return b
}

// sum16 is the ones' complement sum of b (RFC 1071), begun with start.
func sum16(b []byte, start uint32) uint16 {
	for ; len(b) >= 2; b = b[2:] {
		start += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		start += uint32(b[0]) << 8
	}
	for start > 0xffff {
		start = start>>16 + start&0xffff
	}
	return uint16(start)
}

// asking is a question that is out.
type asking struct {
	kind   question
	ifname string
	mac    boot.MAC // whose question it is
	at     time.Time
}

// probes are the questions that are out and the latest of each interface with
// its answers. It reads no clock and is not safe for concurrent use.
type probes struct {
	out  map[uint32]asking
	last map[string]boot.LANProbe
}

// ask notes that questions go out on ifname: one of each kind, by its xid.
func (p *probes) ask(ifname string, mac boot.MAC, xids map[uint32]question, now time.Time) {
	if p.out == nil {
		p.out, p.last = map[uint32]asking{}, map[string]boot.LANProbe{}
	}
	for xid, a := range p.out {
		if now.Sub(a.at) >= probeLate {
			delete(p.out, xid)
		}
	}
	for xid, kind := range xids {
		p.out[xid] = asking{kind, ifname, mac, now}
	}
	if _, known := p.last[ifname]; !known && len(p.last) >= MaxInterfaces {
		clear(p.last) // interfaces that come and go
	}
	p.last[ifname] = boot.LANProbe{Time: now, Interface: ifname, Answers: []netip.Addr{}}
}

// fail notes that a question could not be sent.
func (p *probes) fail(ifname string, err error) {
	l := p.last[ifname]
	l.Err = fmt.Sprintf("send on %s: %v", ifname, err)
	p.last[ifname] = l
}

// answer says which question h answers.
func (p *probes) answer(h heard, now time.Time) question {
	a, ok := p.out[h.xid]
	if !ok || h.client != a.mac || now.Sub(a.at) >= probeLate {
		return questionNone
	}
	l, ok := p.last[a.ifname]
	if ok && l.Time.Equal(a.at) && len(l.Answers) < maxAnswers && !slices.Contains(l.Answers, h.server) {
		// Readers hold the old slice.
		l.Answers = append(slices.Clone(l.Answers), h.server)
		p.last[a.ifname] = l
	}
	return a.kind
}

// list are the latest questions, by interface.
func (p *probes) list() []boot.LANProbe {
	out := make([]boot.LANProbe, 0, len(p.last))
	for _, l := range p.last {
		out = append(out, l)
	}
	slices.SortFunc(out, func(a, b boot.LANProbe) int {
		if a.Interface < b.Interface {
			return -1
		}
		return 1
	})
	return out
}
