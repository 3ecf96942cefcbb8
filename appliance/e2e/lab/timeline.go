package lab

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Kind names one step of a boot as seen on the wire.
type Kind string

// The steps a [Timeline] tells apart.
const (
	KindDiscover    Kind = "discover"     // DHCPDISCOVER from the client
	KindLeaseOffer  Kind = "lease-offer"  // OFFER with an address
	KindBootOffer   Kind = "boot-offer"   // OFFER without an address: a proxy's
	KindRequest     Kind = "request"      // REQUEST on port 67
	KindAck         Kind = "ack"          // ACK for the lease
	KindNak         Kind = "nak"          // NAK from anybody
	KindPXERequest  Kind = "pxe-request"  // REQUEST on port 4011
	KindPXEAck      Kind = "pxe-ack"      // its answer
	KindTFTPRequest Kind = "tftp-request" // RRQ
	KindTFTPDone    Kind = "tftp-done"    // last DATA block arrived
	KindTFTPError   Kind = "tftp-error"   // ERROR, either side
	KindHTTPRequest Kind = "http-request" // GET or HEAD
	KindHTTPDone    Kind = "http-done"    // the answer's last byte reached the client
	KindScript      Kind = "script"       // a request that was answered with an iPXE script or a GRUB configuration; time of the request
)

// Mark is one step with its time.
type Mark struct {
	At     time.Time
	Kind   Kind
	Server netip.Addr // who it was addressed to or came from; invalid for broadcasts
	Name   string     // file or path, without query string
	Query  string     // query string of an HTTP request
	Bytes  int64      // size of a finished transfer
	Note   string     // class of an offer, HTTP status, TFTP error text, transport of a script
}

// String is one readable line without the time.
func (m Mark) String() string {
	var b strings.Builder
	b.WriteString(string(m.Kind))
	if m.Name != "" {
		b.WriteString(" " + strconv.Quote(m.Name))
	}
	if m.Server.IsValid() {
		b.WriteString(" " + m.Server.String())
	}
	if m.Bytes > 0 {
		fmt.Fprintf(&b, " %d bytes", m.Bytes)
	}
	if m.Note != "" {
		b.WriteString(" (" + m.Note + ")")
	}
	return b.String()
}

// Limits of a Timeline: a boot makes a few hundred marks over a few dozen
// connections; anything beyond is not a boot and is not remembered.
const (
	maxMarks = 8192
	maxFlows = 512
	maxHead  = 8192
)

// Timeline decodes the frames of one client, sent and received, into marks. It
// only listens. Frames that are no part of a boot are ignored.
// It is safe for concurrent use.
type Timeline struct {
	mac net.HardwareAddr

	mu      sync.Mutex
	marks   []Mark
	onMark  func(Mark)
	changed chan struct{}
	http    map[httpKey]*httpFlow
	tftp    map[uint16]*tftpFlow
}

type httpKey struct {
	server     netip.Addr
	serverPort uint16
	clientPort uint16
}

type httpFlow struct {
	active   bool
	method   string
	path     string
	query    string
	asked    time.Time
	reqSeq   uint32
	base     uint32 // sequence number of the answer's first byte
	head     []byte // the answer's beginning
	have     []span // pieces of head that have arrived, as offsets
	headDone bool
	status   string
	script   bool // already marked
	end      int64
	endKnown bool
	next     int64    // offset up to which everything has arrived
	early    []span64 // what has arrived beyond that
}

type span64 struct{ from, to int64 }

type span struct{ from, to int }

type tftpFlow struct {
	server  netip.Addr
	port    uint16 // server's transfer port, 0 until it answers
	name    string
	asked   time.Time
	blksize int
	next    uint16
	bytes   int64
	done    bool
}

// NewTimeline makes a decoder for the client with this hardware address.
// onMark, if not nil, is called for each mark in order, from the goroutine
// that feeds frames; it must not block.
func NewTimeline(mac net.HardwareAddr, onMark func(Mark)) *Timeline {
	return &Timeline{
		mac: mac, onMark: onMark, changed: make(chan struct{}),
		http: make(map[httpKey]*httpFlow), tftp: make(map[uint16]*tftpFlow),
	}
}

// Marks returns a copy of all marks so far.
func (t *Timeline) Marks() []Mark {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]Mark(nil), t.marks...)
}

// First returns the first mark that satisfies all conditions.
func (t *Timeline) First(match func(Mark) bool) (Mark, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, m := range t.marks {
		if match(m) {
			return m, true
		}
	}
	return Mark{}, false
}

// Changed returns a channel that is closed at the next mark.
func (t *Timeline) Changed() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.changed
}

func (t *Timeline) add(m Mark) {
	if len(t.marks) >= maxMarks {
		return
	}
	t.marks = append(t.marks, m)
	close(t.changed)
	t.changed = make(chan struct{})
	if t.onMark != nil {
		t.onMark(m)
	}
}

// Feed takes one frame. fromClient tells the direction. The frame is not kept.
func (t *Timeline) Feed(at time.Time, fromClient bool, frame []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if u, ok := parseUDP(frame); ok {
		t.feedUDP(at, fromClient, u)
		return
	}
	if s, ok := parseTCP(frame); ok {
		t.feedTCP(at, fromClient, s)
	}
}

func (t *Timeline) feedUDP(at time.Time, fromClient bool, u udpFrame) {
	switch {
	case fromClient && (u.dstPort == portDHCPServer || u.dstPort == portPXE):
		t.dhcpSent(at, u)
	case !fromClient && (u.srcPort == portDHCPServer || u.srcPort == portPXE):
		t.dhcpReceived(at, u)
	case fromClient && u.dstPort == portTFTP:
		t.tftpRead(at, u)
	default:
		t.tftpTransfer(at, fromClient, u)
	}
}

func (t *Timeline) dhcpSent(at time.Time, u udpFrame) {
	m, ok := parseDHCP(u.payload)
	if !ok || m.op != 1 || !bytes.Equal(m.chaddr, t.mac) {
		return
	}
	mark := Mark{At: at, Note: m.class}
	if !isBroadcast(u.dst) {
		mark.Server = u.dst
	}
	switch {
	case u.dstPort == portPXE && (m.msgType == 3 || m.msgType == 8):
		mark.Kind = KindPXERequest
	case u.dstPort == portDHCPServer && m.msgType == 1:
		mark.Kind = KindDiscover
	case u.dstPort == portDHCPServer && m.msgType == 3:
		mark.Kind = KindRequest
	default:
		return
	}
	t.add(mark)
}

func (t *Timeline) dhcpReceived(at time.Time, u udpFrame) {
	m, ok := parseDHCP(u.payload)
	if !ok || m.op != 2 || !bytes.Equal(m.chaddr, t.mac) {
		return
	}
	name := m.file
	if name == "" {
		name = cstring(m.options[67])
	}
	mark := Mark{At: at, Server: u.src, Name: name, Note: m.class}
	switch m.msgType {
	case 2:
		mark.Kind = KindBootOffer
		if !m.yiaddr.IsUnspecified() {
			mark.Kind = KindLeaseOffer
		}
	case 5:
		mark.Kind = KindAck
		if u.srcPort == portPXE || m.yiaddr.IsUnspecified() {
			mark.Kind = KindPXEAck
		}
	case 6:
		mark.Kind = KindNak
	default:
		return
	}
	t.add(mark)
}

func (t *Timeline) tftpRead(at time.Time, u udpFrame) {
	if len(u.payload) < 4 || binary.BigEndian.Uint16(u.payload) != 1 {
		return
	}
	name, _, ok := bytes.Cut(u.payload[2:], []byte{0})
	if !ok {
		return
	}
	if f := t.tftp[u.srcPort]; f != nil && !f.done && f.name == string(name) && f.port == 0 {
		return // the same question again: its first time counts
	}
	if len(t.tftp) >= maxFlows {
		return
	}
	f := &tftpFlow{server: u.dst, name: string(name), asked: at, blksize: 512, next: 1}
	t.tftp[u.srcPort] = f
	t.add(Mark{At: at, Kind: KindTFTPRequest, Server: u.dst, Name: f.name})
}

func (t *Timeline) tftpTransfer(at time.Time, fromClient bool, u udpFrame) {
	clientPort, peer, peerPort := u.dstPort, u.src, u.srcPort
	if fromClient {
		clientPort, peer, peerPort = u.srcPort, u.dst, u.dstPort
	}
	f := t.tftp[clientPort]
	if f == nil || f.done || f.server != peer || len(u.payload) < 4 || f.port != 0 && f.port != peerPort {
		return
	}
	switch op := binary.BigEndian.Uint16(u.payload); {
	case op == 5:
		f.done = true
		t.add(Mark{
			At: at, Kind: KindTFTPError, Server: f.server, Name: f.name,
			Note: fmt.Sprintf("%d %s", binary.BigEndian.Uint16(u.payload[2:]), cstring(u.payload[4:])),
		})
	case fromClient:
	case op == 6:
		f.port = peerPort
		fields := strings.Split(string(u.payload[2:]), "\x00")
		for i := 0; i+1 < len(fields); i += 2 {
			if n, err := strconv.Atoi(fields[i+1]); err == nil && strings.EqualFold(fields[i], "blksize") && n >= 8 {
				f.blksize = n
			}
		}
	case op == 3:
		f.port = peerPort
		block, data := binary.BigEndian.Uint16(u.payload[2:]), u.payload[4:]
		if block != f.next {
			return
		}
		if f.bytes == 0 && isScript(data, f.name) {
			t.add(Mark{At: f.asked, Kind: KindScript, Server: f.server, Name: f.name, Note: "tftp"})
		}
		f.next++
		f.bytes += int64(len(data))
		if len(data) < f.blksize {
			f.done = true
			t.add(Mark{At: at, Kind: KindTFTPDone, Server: f.server, Name: f.name, Bytes: f.bytes})
		}
	}
}

// isScript tells by content, because no server is trusted to say it.
func isScript(body []byte, name string) bool {
	return bytes.HasPrefix(body, []byte("#!ipxe")) || strings.HasSuffix(name, "grub.cfg") && len(body) > 0
}

func (t *Timeline) feedTCP(at time.Time, fromClient bool, s tcpFrame) {
	if fromClient {
		key := httpKey{s.dst, s.dstPort, s.srcPort}
		if s.flags&tcpSYN != 0 {
			delete(t.http, key)
			return
		}
		t.httpAsked(at, key, t.http[key], s)
		return
	}
	f := t.http[httpKey{s.src, s.srcPort, s.dstPort}]
	if f == nil || !f.active {
		return
	}
	off := int64(int32(s.seq - f.base))
	if s.flags&tcpFIN != 0 && !f.endKnown {
		f.end, f.endKnown = off+int64(len(s.payload)), true
	}
	if off >= 0 && off < maxHead && len(s.payload) > 0 {
		f.fill(int(off), s.payload)
		t.httpHead(s.src, f)
	}
	f.arrived(off, off+int64(len(s.payload)))
	if f.headDone && f.endKnown && f.next >= f.end {
		f.active = false
		bodyLen := f.end - int64(bytes.Index(f.head, []byte("\r\n\r\n"))+4)
		t.add(Mark{
			At: at, Kind: KindHTTPDone, Server: s.src, Name: f.path, Query: f.query, Bytes: bodyLen,
			Note: f.method + " " + f.status,
		})
	}
}

// arrived notes a piece of the answer, in whatever order the network brings
// it. The last byte's arrival is what counts: a client that starts what it
// fetched may never acknowledge it.
func (f *httpFlow) arrived(from, to int64) {
	if to > f.next && len(f.early) < 1024 {
		f.early = append(f.early, span64{from, to})
	}
	for again := true; again; {
		again = false
		for i := len(f.early) - 1; i >= 0; i-- {
			if e := f.early[i]; e.from <= f.next {
				f.next = max(f.next, e.to)
				f.early = slices.Delete(f.early, i, i+1)
				again = true
			}
		}
	}
}

func (t *Timeline) httpAsked(at time.Time, key httpKey, f *httpFlow, s tcpFrame) {
	method, rest, ok := bytes.Cut(s.payload, []byte(" "))
	if !ok || string(method) != "GET" && string(method) != "HEAD" {
		return
	}
	target, rest, ok := bytes.Cut(rest, []byte(" "))
	if !ok || !bytes.HasPrefix(rest, []byte("HTTP/")) {
		return
	}
	if f != nil && f.active && f.reqSeq == s.seq {
		return // retransmitted
	}
	if f == nil {
		if len(t.http) >= maxFlows {
			return
		}
		f = &httpFlow{}
		t.http[key] = f
	}
	path, query, _ := strings.Cut(string(target), "?")
	*f = httpFlow{active: true, method: string(method), path: path, query: query, asked: at, reqSeq: s.seq, base: s.ack}
	t.add(Mark{At: at, Kind: KindHTTPRequest, Server: key.server, Name: path, Query: query, Note: f.method})
}

// fill copies a piece of the answer's beginning into place; pieces may come in
// any order and more than once.
func (f *httpFlow) fill(off int, data []byte) {
	if n := maxHead - off; len(data) > n {
		data = data[:n]
	}
	if need := off + len(data); need > len(f.head) {
		f.head = append(f.head, make([]byte, need-len(f.head))...)
	}
	copy(f.head[off:], data)
	if len(f.have) < 64 {
		f.have = append(f.have, span{off, off + len(data)})
	}
}

// contiguous is the length of the gapless beginning.
func (f *httpFlow) contiguous() int {
	end := 0
	for again := true; again; {
		again = false
		for _, s := range f.have {
			if s.from <= end && s.to > end {
				end, again = s.to, true
			}
		}
	}
	return end
}

func (t *Timeline) httpHead(server netip.Addr, f *httpFlow) {
	if f.script {
		return
	}
	got := f.head[:f.contiguous()]
	head, body, ok := bytes.Cut(got, []byte("\r\n\r\n"))
	if !ok {
		return
	}
	if !f.headDone {
		f.headDone = true
		line, rest, _ := strings.Cut(string(head), "\r\n")
		if _, status, ok := strings.Cut(line, " "); ok {
			f.status, _, _ = strings.Cut(status, " ")
		}
		length, known := int64(0), f.method == "HEAD"
		for field := range strings.SplitSeq(rest, "\r\n") {
			name, value, _ := strings.Cut(field, ":")
			if strings.EqualFold(name, "Content-Length") && !known {
				if n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64); err == nil && n >= 0 {
					length, known = n, true
				}
			}
		}
		if known {
			f.end, f.endKnown = int64(len(head)+4)+length, true
		}
	}
	if f.method == "GET" && f.status == "200" && len(body) >= 6 && isScript(body, f.path) {
		f.script = true
		t.add(Mark{At: f.asked, Kind: KindScript, Server: server, Name: f.path, Query: f.query, Note: "http"})
	}
}

func isBroadcast(a netip.Addr) bool { return a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) }
