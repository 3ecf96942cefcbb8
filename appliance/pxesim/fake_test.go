package pxesim

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

var (
	testMAC    = net.HardwareAddr{0x52, 0x54, 0, 1, 2, 3}
	dhcpAddr   = netip.MustParseAddr("192.0.2.1")
	proxyAddr  = netip.MustParseAddr("192.0.2.2")
	clientAddr = netip.MustParseAddr("192.0.2.50")
	testUUID   = [16]byte{0x67, 0x45, 0x23, 0x01, 0xab, 0x89, 0xef, 0xcd, 1, 0x23, 4, 5, 6, 7, 8, 9}
)

// lan is a whole network in memory: an untouched DHCP server, a boot server beside it that follows the
// table of reply fields, TFTP and HTTP. Hooks break it one detail at a time.
type lan struct {
	t *testing.T
	// noDHCP and noProxy silence a server; the delays are per answer.
	noDHCP, noProxy, no4011, noACK bool
	dhcpDelay, proxyDelay          time.Duration
	// direct answers UEFI with 43.6 = 8 instead of in two steps.
	direct bool
	// dhcp changes the DHCP server's packets, offer and ack the proxy's. Returning nil is silence.
	dhcp, offer, ack func(req, rep *Packet) *Packet
	script           string
	files            map[string][]byte
	// mute drops requests for these files; dropOACK answers without options.
	mute      string
	noOptions bool
	noTsize   bool
	// maxBlock caps the block size granted; 0 does not.
	maxBlock int
	// rogueACK lets the proxy acknowledge the REQUEST that was meant for the DHCP server.
	rogueACK    bool
	blockHook   func(block uint16, data []byte) []byte
	sent        []Datagram
	discovers   []time.Duration
	asked       []time.Duration
	requests    int
	began       time.Time
	sessions    map[netip.AddrPort]*tftpSession
	names       []string
	tftpErrors  []string
	acks        map[uint16]int
	nextPort    uint16
	httpLog     []string
	httpHandler http.Handler
}

type tftpSession struct {
	port          uint16
	data          []byte
	block, window int
	sentTo        int64
}

func newLAN(t *testing.T) *lan {
	return &lan{
		t: t, began: time.Now(), sessions: map[netip.AddrPort]*tftpSession{}, nextPort: 50000, acks: map[uint16]int{},
		script: "#!ipxe\necho hello\nexit\n",
		files: map[string][]byte{
			"undionly.kpxe":         bytes.Repeat([]byte("U"), 70001),
			"x86_64/snponly.efi":    append([]byte("MZ"), bytes.Repeat([]byte("E"), 146800)...),
			"i386/snponly.efi":      []byte("MZ ia32"),
			"arm64/snponly.efi":     []byte("MZ arm64"),
			"arm32/snponly.efi":     []byte("MZ arm32"),
			"riscv64/snponly.efi":   []byte("MZ riscv64"),
			"loong64/snponly.efi":   []byte("MZ loong64"),
			"bootcode.bin":          bytes.Repeat([]byte("P"), 1024),
			"config.txt":            []byte("arm_64bit=1\n"),
			"1234abcd/start4.elf":   bytes.Repeat([]byte("S"), 3000),
			"x86_64/exactly512.efi": bytes.Repeat([]byte("M"), 1468),
		},
	}
}

var archFile = map[uint16]string{
	0: "undionly.kpxe", 6: "i386/snponly.efi", 7: "x86_64/snponly.efi", 9: "x86_64/snponly.efi",
	10: "arm32/snponly.efi", 11: "arm64/snponly.efi", 15: "i386/snponly.efi", 16: "x86_64/snponly.efi", 17: "x86_64/snponly.efi",
	18: "arm32/snponly.efi", 19: "arm64/snponly.efi", 27: "riscv64/snponly.efi", 28: "riscv64/snponly.efi",
	39: "loong64/snponly.efi", 40: "loong64/snponly.efi",
}

func text(k *Packet, code byte) string {
	o, _ := k.First(code)
	return string(o.Data)
}

func b4(a netip.Addr) []byte { v := a.As4(); return v[:] }

// dhcpReply is a plain DHCP server: an address, mask, router, no boot options.
func (l *lan) dhcpReply(req *Packet, kind byte) *Packet {
	k := &Packet{Op: 2, HType: 1, HLen: 6, XID: req.XID, Flags: req.Flags, GIAddr: req.GIAddr, CHAddr: req.CHAddr, YIAddr: clientAddr, SIAddr: dhcpAddr}
	k.Set(optType, kind)
	k.Set(optServerID, b4(dhcpAddr)...)
	k.Set(51, 0, 0, 14, 16)
	k.Set(optMask, 255, 255, 255, 0)
	k.Set(optRouter, b4(dhcpAddr)...)
	if l.dhcp != nil {
		k = l.dhcp(req, k)
	}
	return reparse(l.t, k)
}

// proxyReply follows the columns B, U, K, H, I and R.
func (l *lan) proxyReply(req *Packet, kind byte) *Packet {
	k := &Packet{Op: 2, HType: 1, HLen: 6, XID: req.XID, Flags: 0x8000, GIAddr: req.GIAddr, CHAddr: req.CHAddr, SIAddr: proxyAddr}
	if kind == typeACK {
		k.Flags, k.CIAddr = req.Flags, req.CIAddr
	}
	k.Set(optType, kind)
	k.Set(optServerID, b4(proxyAddr)...)
	k.Set(optClass, []byte("PXEClient")...)
	if g, ok := req.First(optGUID); ok {
		k.Set(optGUID, g.Data...)
	}
	arch := uint16(0)
	if a, ok := req.First(optArch); ok {
		arch = binary.BigEndian.Uint16(a.Data)
	}
	name := func(s string, nul bool) {
		copy(k.File[:127], s)
		v := []byte(s)
		if nul {
			v = append(v, 0)
		}
		k.Set(optBootFile, v...)
	}
	direct := func() { k.Set(optVendor, 6, 1, 8, 0xff) }
	guid := text(req, optGUID)
	features, _ := req.First(optIPXE)
	subs, _ := subOptions(features.Data)
	_, hasHTTP := findSub(subs, ipxeHTTP)
	switch {
	case strings.HasPrefix(text(req, optClass), "HTTPClient"):
		k.SIAddr = proxyAddr
		k.Set(optClass, []byte("HTTPClient")...)
		name("http://192.0.2.2/"+archFile[arch], false)
	case strings.HasPrefix(guid, "\x00DDDD"):
		k.Set(optVendor, []byte("\x06\x01\x03\x0a\x04\x00PXE\x09\x17\x00\x00\x14Raspberry Pi Boot   \xff")...)
		k.Set(optTFTPServer, []byte(proxyAddr.String())...)
	case strings.HasPrefix(guid, "\x00RPi4"):
		k.Set(optVendor, []byte("\x06\x01\x03\x0a\x04\x00PXE\x09\x14\x00\x00\x11Raspberry Pi Boot\xff")...)
		k.Set(optTFTPServer, []byte(proxyAddr.String())...)
	case len(text(req, optUserClass)) > 0 && hasHTTP:
		name("http://192.0.2.2/b", false)
		direct()
		k.Set(optIPXE, 1, 1, 1)
	case len(text(req, optUserClass)) > 0:
		name("tftp://192.0.2.2/undionly.kpxe", false)
		direct()
		k.Set(optIPXE, 1, 1, 1)
	case arch == 0:
		name(archFile[0], true)
		if kind == typeOffer {
			direct()
		}
	default:
		name(archFile[arch], true)
		if l.direct && kind == typeOffer {
			direct()
		}
	}
	hook := l.offer
	if kind == typeACK {
		hook = l.ack
	}
	if hook != nil {
		k = hook(req, k)
	}
	return reparse(l.t, k)
}

// reparse gives a built packet the bytes behind it, as if it had been received.
func reparse(t *testing.T, k *Packet) *Packet {
	t.Helper()
	if k == nil {
		return nil
	}
	out, err := ParsePacket(k.Marshal())
	if err != nil {
		t.Fatalf("test packet does not parse: %v", err)
	}
	return out
}

func (l *lan) since() time.Duration { return time.Since(l.began) }

func (l *lan) serve(d Datagram) []Delivery {
	l.sent = append(l.sent, d)
	switch d.Dst.Port() {
	case portServer:
		return l.serveDHCP(d)
	case portBINL:
		req, err := ParsePacket(d.Payload)
		if err != nil {
			l.t.Errorf("client sent a bad packet: %v", err)
			return nil
		}
		l.asked = append(l.asked, l.since())
		if l.no4011 || d.Dst.Addr() != proxyAddr {
			return nil
		}
		if rep := l.proxyReply(req, typeACK); rep != nil {
			return []Delivery{{Datagram{netip.AddrPortFrom(proxyAddr, portBINL), d.Src, rep.raw}, l.proxyDelay}}
		}
		return nil
	}
	return l.serveTFTP(d)
}

func (l *lan) serveDHCP(d Datagram) []Delivery {
	req, err := ParsePacket(d.Payload)
	if err != nil {
		l.t.Errorf("client sent a bad packet: %v", err)
		return nil
	}
	to := netip.AddrPortFrom(broadcast, portClient)
	if !unset(req.GIAddr) {
		to = netip.AddrPortFrom(req.GIAddr, portServer)
	}
	var out []Delivery
	switch req.Type() {
	case typeDiscover:
		l.discovers = append(l.discovers, l.since())
		if !l.noProxy {
			if rep := l.proxyReply(req, typeOffer); rep != nil {
				out = append(out, Delivery{Datagram{netip.AddrPortFrom(proxyAddr, portServer), to, rep.raw}, l.proxyDelay})
			}
		}
		if !l.noDHCP {
			if rep := l.dhcpReply(req, typeOffer); rep != nil {
				out = append(out, Delivery{Datagram{netip.AddrPortFrom(dhcpAddr, portServer), to, rep.raw}, l.dhcpDelay})
			}
		}
	case typeRequest:
		l.requests++
		if l.rogueACK {
			rogue := l.proxyReply(req, typeACK)
			rogue.YIAddr = addrs("192.0.2.66")[0]
			out = append(out, Delivery{Datagram{netip.AddrPortFrom(proxyAddr, portServer), to, reparse(l.t, rogue).raw}, 0})
		}
		if req.ServerID() == dhcpAddr && !l.noACK {
			out = append(out, Delivery{Datagram{netip.AddrPortFrom(dhcpAddr, portServer), to, l.dhcpReply(req, typeACK).raw}, 0})
		}
	}
	return out
}

func (l *lan) serveTFTP(d Datagram) []Delivery {
	reply := func(port uint16, b []byte) Delivery {
		return Delivery{Datagram{netip.AddrPortFrom(d.Dst.Addr(), port), d.Src, b}, 0}
	}
	op := binary.BigEndian.Uint16(d.Payload)
	if op == tftpRRQ {
		fields := bytes.Split(d.Payload[2:], []byte{0})
		name := string(fields[0])
		l.names = append(l.names, name)
		l.nextPort++
		if name == l.mute {
			return nil
		}
		data, ok := l.files[name]
		if !ok || d.Dst.Addr() != proxyAddr {
			return []Delivery{reply(l.nextPort, []byte("\x00\x05\x00\x01not found\x00"))}
		}
		s := &tftpSession{port: l.nextPort, data: data, block: 512, window: 1}
		l.sessions[d.Src] = s
		oack := []byte{0, tftpOACK}
		for i := 2; i+1 < len(fields) && !l.noOptions; i += 2 {
			v := string(fields[i+1])
			n, _ := strconv.Atoi(v)
			switch string(fields[i]) {
			case "tsize":
				if l.noTsize {
					continue
				}
				v = strconv.Itoa(len(data))
			case "blksize":
				if l.maxBlock > 0 {
					n = min(n, l.maxBlock)
					v = strconv.Itoa(n)
				}
				s.block = n
			case "windowsize":
				s.window = n
			default:
				continue
			}
			oack = append(append(append(append(oack, fields[i]...), 0), v...), 0)
		}
		if len(oack) > 2 {
			return []Delivery{reply(s.port, oack)}
		}
		return l.window(s, 0, reply)
	}
	s := l.sessions[d.Src]
	if s == nil || s.port != d.Dst.Port() {
		return nil
	}
	switch op {
	case tftpERROR:
		l.tftpErrors = append(l.tftpErrors, fmt.Sprintf("%d %s", binary.BigEndian.Uint16(d.Payload[2:]), cutNUL(d.Payload[4:])))
		delete(l.sessions, d.Src)
	case tftpACK:
		n := binary.BigEndian.Uint16(d.Payload[2:])
		l.acks[n]++
		// Only the acknowledgement of the last block sent moves things on: no Sorcerer's Apprentice.
		if n == uint16(s.sentTo) {
			return l.window(s, s.sentTo, reply)
		}
	}
	return nil
}

func (l *lan) window(s *tftpSession, acked int64, reply func(uint16, []byte) Delivery) []Delivery {
	var out []Delivery
	for i := acked; i < acked+int64(s.window); i++ {
		from := i * int64(s.block)
		if from > int64(len(s.data)) {
			break
		}
		b := []byte{0, tftpDATA, byte((i + 1) >> 8), byte(i + 1)}
		b = append(b, s.data[from:min(from+int64(s.block), int64(len(s.data)))]...)
		if l.blockHook != nil {
			if b = l.blockHook(uint16(i+1), b); b == nil {
				continue
			}
		}
		s.sentTo = i + 1
		out = append(out, reply(s.port, b))
	}
	return out
}

// RoundTrip makes the LAN an HTTP transport.
func (l *lan) RoundTrip(r *http.Request) (*http.Response, error) {
	l.httpLog = append(l.httpLog, r.Method+" "+r.URL.String()+" "+r.UserAgent())
	w := httptest.NewRecorder()
	h := l.httpHandler
	if h == nil {
		h = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			name := strings.TrimPrefix(r.URL.Path, "/")
			if name == "b" {
				http.ServeContent(w, r, "b.txt", time.Time{}, strings.NewReader(l.script))
				return
			}
			data, ok := l.files[name]
			if !ok {
				http.NotFound(w, r)
				return
			}
			w.Header().Set("Content-Type", "application/efi")
			http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(data))
		})
	}
	h.ServeHTTP(w, r)
	res := w.Result()
	res.Request = r
	return res, nil
}

// suit makes the LAN what a profile needs that the default does not suit.
func (l *lan) suit(p Profile) {
	if p.TFTP.LosesAbove > 0 {
		l.maxBlock = 512
	}
	if early := p.Quirks.MissesEarly; early > 0 {
		l.dhcpDelay, l.proxyDelay = max(l.dhcpDelay, early), max(l.proxyDelay, early)
	}
}

// play runs one profile on the LAN inside a bubble, with a lease.
func (l *lan) play(p Profile, change ...func(*Options)) Result {
	l.t.Helper()
	o := Options{Lease: true, UUID: testUUID, HTTP: l}
	for _, c := range change {
		c(&o)
	}
	l.began = time.Now()
	link := NewMemory(testMAC, l.serve)
	r, err := Run(l.t.Context(), p, link, o)
	if err != nil {
		l.t.Fatalf("%s: %v", p.Name, err)
	}
	return r
}

func profile(t *testing.T, name string) Profile {
	t.Helper()
	p, err := Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// bubble runs f with a fake clock.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

func trace(r Result) string {
	var b strings.Builder
	for _, s := range r.Steps {
		fmt.Fprintf(&b, "%8v %-12s %v %s %s\n", s.At, s.Kind, s.Peer, s.Class, s.Text)
	}
	return b.String()
}

var netipZero = netip.IPv4Unspecified()

func pfx(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func addrs(list ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

func timeout(t *testing.T, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Context(), d)
}
