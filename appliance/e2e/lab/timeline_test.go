package lab

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// tcp makes a TCP frame; checksums are left out, the decoder does not look.
func tcp(fromClient bool, src, dst string, seq, ack uint32, flags byte, payload string) []byte {
	f := make([]byte, ethLen+40, ethLen+40+len(payload))
	copy(f, serverMAC)
	copy(f[6:], testMAC)
	if !fromClient {
		copy(f, testMAC)
		copy(f[6:], serverMAC)
	}
	binary.BigEndian.PutUint16(f[12:], etherIPv4)
	ip := f[ethLen:]
	s, d := netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
	a, b := s.Addr().As4(), d.Addr().As4()
	ip[0], ip[9] = 0x45, protoTCP
	copy(ip[12:], a[:])
	copy(ip[16:], b[:])
	binary.BigEndian.PutUint16(ip[2:], uint16(40+len(payload)))
	binary.BigEndian.PutUint16(ip[20:], s.Port())
	binary.BigEndian.PutUint16(ip[22:], d.Port())
	binary.BigEndian.PutUint32(ip[24:], seq)
	binary.BigEndian.PutUint32(ip[28:], ack)
	ip[32], ip[33] = 5<<4, flags
	return append(f, payload...)
}

type player struct {
	t  *testing.T
	tl *Timeline
	at time.Time
}

func newPlayer(t *testing.T) *player {
	return &player{t, NewTimeline(testMAC, nil), time.Unix(1000, 0)}
}

// sent and got feed a frame, a tenth of a second apart.
func (p *player) sent(frame []byte) { p.feed(true, frame) }
func (p *player) got(frame []byte)  { p.feed(false, frame) }
func (p *player) feed(fromClient bool, frame []byte) {
	p.at = p.at.Add(100 * time.Millisecond)
	p.tl.Feed(p.at, fromClient, frame)
}

func (p *player) want(lines ...string) {
	p.t.Helper()
	var got []string
	for _, m := range p.tl.Marks() {
		got = append(got, fmt.Sprintf("%.1f %s", m.At.Sub(time.Unix(1000, 0)).Seconds(), m))
	}
	if !slices.Equal(got, lines) {
		p.t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(lines, "\n"))
	}
}

func TestTimelineDHCP(t *testing.T) {
	p := newPlayer(t)
	p.sent(udp(t, testMAC, "0.0.0.0:68", "255.255.255.255:67", message(1, testMAC, "", option{53, []byte{1}}, option{60, []byte("PXEClient")})))
	p.got(udp(t, serverMAC, "10.77.0.5:67", "255.255.255.255:68", message(2, testMAC, "", option{53, []byte{2}}, option{67, []byte("x.efi\x00")})))
	p.got(udp(t, serverMAC, "10.77.0.1:67", "255.255.255.255:68", message(2, testMAC, "10.77.0.100", option{53, []byte{2}})))
	// Another machine's, seen because it is broadcast.
	p.got(udp(t, serverMAC, "10.77.0.1:67", "255.255.255.255:68", message(2, serverMAC, "10.77.0.101", option{53, []byte{2}})))
	p.sent(udp(t, testMAC, "0.0.0.0:68", "255.255.255.255:67", message(1, testMAC, "", option{53, []byte{3}})))
	p.got(udp(t, serverMAC, "10.77.0.1:67", "10.77.0.100:68", message(2, testMAC, "10.77.0.100", option{53, []byte{5}})))
	p.sent(udp(t, testMAC, "10.77.0.100:4011", "10.77.0.5:4011", message(1, testMAC, "", option{53, []byte{3}})))
	p.got(udp(t, serverMAC, "10.77.0.5:4011", "10.77.0.100:4011", message(2, testMAC, "", option{53, []byte{5}})))
	p.want("0.1 discover (PXEClient)", `0.2 boot-offer "x.efi" 10.77.0.5`, "0.3 lease-offer 10.77.0.1",
		"0.5 request", "0.6 ack 10.77.0.1", "0.7 pxe-request 10.77.0.5", "0.8 pxe-ack 10.77.0.5")
}

func TestTimelineTFTP(t *testing.T) {
	p := newPlayer(t)
	rrq := udp(t, testMAC, "10.77.0.100:2000", "10.77.0.5:69", []byte("\x00\x01x.efi\x00octet\x00blksize\x001000\x00"))
	p.sent(rrq)
	p.sent(rrq) // no answer yet: asked again
	p.got(udp(t, serverMAC, "10.77.0.5:50000", "10.77.0.100:2000", []byte("\x00\x06blksize\x001000\x00")))
	block := func(n byte, size int) []byte { return append([]byte{0, 3, 0, n}, make([]byte, size)...) }
	p.got(udp(t, serverMAC, "10.77.0.5:50000", "10.77.0.100:2000", block(1, 1000)))
	p.got(udp(t, serverMAC, "10.77.0.5:50000", "10.77.0.100:2000", block(1, 1000))) // resent
	p.got(udp(t, serverMAC, "10.77.0.5:50001", "10.77.0.100:2000", block(2, 1000))) // another transfer's port
	p.got(udp(t, serverMAC, "10.77.0.5:50000", "10.77.0.100:2000", block(2, 1)))    // short: the end
	p.got(udp(t, serverMAC, "10.77.0.5:50000", "10.77.0.100:2000", block(3, 1)))    // after the end
	p.sent(udp(t, testMAC, "10.77.0.100:2001", "10.77.0.5:69", []byte("\x00\x01autoexec.ipxe\x00octet\x00")))
	p.got(udp(t, serverMAC, "10.77.0.5:50002", "10.77.0.100:2001", append([]byte{0, 3, 0, 1}, "#!ipxe\n"...)))
	p.sent(udp(t, testMAC, "10.77.0.100:2002", "10.77.0.5:69", []byte("\x00\x01probe\x00octet\x00tsize\x000\x00")))
	p.sent(udp(t, testMAC, "10.77.0.100:2002", "10.77.0.5:50003", []byte("\x00\x05\x00\x08enough\x00")))
	p.want(`0.1 tftp-request "x.efi" 10.77.0.5`, `0.7 tftp-done "x.efi" 10.77.0.5 1001 bytes`,
		`0.9 tftp-request "autoexec.ipxe" 10.77.0.5`, `0.9 script "autoexec.ipxe" 10.77.0.5 (tftp)`, `1.0 tftp-done "autoexec.ipxe" 10.77.0.5 7 bytes`,
		`1.1 tftp-request "probe" 10.77.0.5`, `1.2 tftp-error "probe" 10.77.0.5 (8 enough)`)
}

func TestTimelineHTTP(t *testing.T) {
	const client, server = "10.77.0.100:3000", "10.77.0.5:80"
	p := newPlayer(t)
	p.sent(tcp(true, client, server, 99, 0, tcpSYN, ""))
	get := tcp(true, client, server, 100, 4294967290, tcpACK, "GET /b?mac=1 HTTP/1.1\r\n\r\n") // the answer wraps round
	p.sent(get)
	p.sent(get) // retransmitted
	head := "HTTP/1.1 200 OK\r\nContent-length: 10\r\n\r\n"
	at := func(off int) uint32 { return 4294967290 + uint32(off) }
	p.got(tcp(false, server, client, at(len(head)+6), 0, tcpACK, "\n123")) // the end first
	p.got(tcp(false, server, client, at(20), 0, tcpACK, head[20:]+"#!ip")) // a piece after a hole
	p.got(tcp(false, server, client, at(0), 0, tcpACK, head[:20]))         // the hole
	p.got(tcp(false, server, client, at(len(head)+2), 0, tcpACK, "ipxe"))  // overlaps
	p.got(tcp(false, server, client, at(len(head)+2), 0, tcpACK, "ipxe"))  // after the end
	p.sent(tcp(true, client, server, 200, at(len(head)+10), tcpACK, "HEAD /x.efi HTTP/1.1\r\n\r\n"))
	p.got(tcp(false, server, client, at(len(head)+10), 0, tcpACK, "HTTP/1.1 404 Not Found\r\nContent-Length: 500\r\n\r\n"))
	p.want(`0.2 http-request "/b" 10.77.0.5 (GET)`, `0.2 script "/b" 10.77.0.5 (http)`, `0.7 http-done "/b" 10.77.0.5 10 bytes (GET 200)`,
		`0.9 http-request "/x.efi" 10.77.0.5 (HEAD)`, `1.0 http-done "/x.efi" 10.77.0.5 (HEAD 404)`)
	if m, _ := p.tl.First(func(m Mark) bool { return m.Kind == KindScript }); m.Query != "mac=1" {
		t.Errorf("query is %q", m.Query)
	}
}

func TestTimelineHTTPUntilClose(t *testing.T) {
	const client, server = "10.77.0.100:3000", "10.77.0.5:80"
	p := newPlayer(t)
	p.sent(tcp(true, client, server, 1, 1, tcpACK, "GET /linux HTTP/1.0\r\n\r\n"))
	p.got(tcp(false, server, client, 1, 0, tcpACK, "HTTP/1.0 200 OK\r\n\r\nabc"))
	p.got(tcp(false, server, client, 23, 0, tcpACK|tcpFIN, "de"))
	p.want(`0.1 http-request "/linux" 10.77.0.5 (GET)`, `0.3 http-done "/linux" 10.77.0.5 5 bytes (GET 200)`)
}

// A flood of anything must not grow a timeline without end.
func TestTimelineIsBounded(t *testing.T) {
	tl := NewTimeline(testMAC, nil)
	for i := range 70000 {
		src := netip.AddrPortFrom(netip.MustParseAddr("10.77.0.100"), uint16(i)).String()
		tl.Feed(time.Time{}, true, udp(t, testMAC, src, "10.77.0.5:69", []byte("\x00\x01x\x00octet\x00")))
	}
	if n := len(tl.Marks()); n > maxMarks {
		t.Errorf("%d marks", n)
	}
	if len(tl.tftp) > maxFlows {
		t.Errorf("%d transfers remembered", len(tl.tftp))
	}
}

func FuzzTimeline(f *testing.F) {
	f.Add(true, ipxeDiscover(f))
	f.Add(true, udp(f, testMAC, "10.77.0.100:2000", "10.77.0.5:69", []byte("\x00\x01x\x00octet\x00")))
	f.Add(false, udp(f, serverMAC, "10.77.0.5:50000", "10.77.0.100:2000", []byte("\x00\x06blksize\x008\x00")))
	f.Add(true, tcp(true, "10.77.0.100:3000", "10.77.0.5:80", 1, 1, tcpACK, "GET / HTTP/1.1\r\n\r\n"))
	f.Add(false, tcp(false, "10.77.0.5:80", "10.77.0.100:3000", 1, 1, tcpACK, "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n#!ipxe"))
	f.Fuzz(func(t *testing.T, fromClient bool, frame []byte) {
		tl := NewTimeline(testMAC, nil)
		before := bytes.Clone(frame)
		// With a request and a read under way, so that answers mean something.
		tl.Feed(time.Unix(1, 0), true, udp(t, testMAC, "10.77.0.100:2000", "10.77.0.5:69", []byte("\x00\x01x\x00octet\x00")))
		tl.Feed(time.Unix(1, 0), true, tcp(true, "10.77.0.100:3000", "10.77.0.5:80", 1, 1, tcpACK, "GET / HTTP/1.1\r\n\r\n"))
		tl.Feed(time.Unix(2, 0), fromClient, frame)
		if !bytes.Equal(frame, before) {
			t.Fatal("the frame was changed")
		}
		if n := len(tl.Marks()); n > 5 {
			t.Fatalf("%d marks from three frames", n)
		}
	})
}
