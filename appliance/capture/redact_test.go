package capture

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

func fixedSeed(n byte) func() [32]byte {
	return func() [32]byte { n++; return [32]byte{n, 0xb0, 7} }
}

func packetsOf(frames ...[]byte) []packet {
	var out []packet
	for i, b := range frames {
		kept := b
		if f, ok := parse(b, webPort); ok && f.kind != kindDHCP && len(b) > snapRest {
			kept = b[:snapRest]
		}
		out = append(out, packet{at: time.Duration(i) * time.Millisecond, wire: uint32(len(b)), frame: kept})
	}
	return out
}

// secrets are what the boot below tells of its site; none may be in a redacted
// file. Numbers of one or two digits and words of protocols are no secrets.
var secrets = []string{
	"web-prod-17", "acme-corp", "lab.example", "SN4711XYZ", "4711", "OptiPlex", "tok3nA9fQz", "s3ssionC00kie", "pa55word", "rootpw",
	"janedoe", "10.77.143.52", "10.77.143.7", "10.77.140.1", "172.19.4.9", "52:54:00:a7:31:9c", "52-54-00-a7-31-9c", "525400a7319c",
	"0A4D8F34", "0a4d8f34", "Gi1/0/42", "sw-rack7", "branch9", "cafe.internal", "hunter2", "stale-padding", "relay-secret", "QmX7w", "finance",
	"d17e934c", "private-kernel", "salt", "Bearer",
}

// boot is one boot with everything that could tell something.
func bootFrames() [][]byte {
	hostile := []string{
		opt(12, "web-prod-17"), opt(15, "lab.example"), opt(81, "\x00\x00\x00web-prod-17.lab.example"), opt(61, "\x01"+string(clientHW[:])),
		opt(50, string(clientIP[:])), opt(54, string(serverIP[:])), opt(82, "\x01\x08Gi1/0/42\x02\x08sw-rack7"), opt(125, "\x00\x00\x01\x37\x06branch9"),
		opt(224, "relay-secret"), opt(77, "acme-corp"), opt(119, "\x07finance\x03lab\x07example\x00"), opt(175, "\xbe\x07janedoe\xbf\x08pa55word\x13\x01\x01\xeb\x03\x01\x15\x01"),
		opt(60, "PXEClient:Arch:00007:UNDI:003001:4711000"),
	}
	offer := dhcp(2, clientHW, opt(53, "\x02"), opt(54, string(boxIP[:])), opt(60, "PXEClient"), opt(1, "\xff\xff\xfc\x00"), opt(3, string(serverIP[:])),
		opt(6, string(serverIP[:])+"\xac\x13\x04\x09"), opt(66, "10.77.143.7"), opt(67, "http://10.77.143.7:8080/b?mac=52:54:00:a7:31:9c&serial=SN4711XYZ"),
		opt(43, "\x06\x01\x08\x08\x07\x80\x00\x01\x0a\x4d\x8f\x07\x09\x0e\x00\x00\x0bweb-prod-17\x0a\x05\x00salt\xff"), opt(97, guid))
	copy(offer[20:], boxIP[:])
	copy(offer[16:], clientIP[:])
	copy(offer[44:], "cafe.internal")
	copy(offer[108:], "acme-corp/x86_64/snponly.efi")
	overloaded := dhcp(2, clientHW, opt(53, "\x05"), opt(52, "\x03"), opt(60, "PXEClient"))
	copy(overloaded[44:], opt(12, "web-prod-17")+"\xffstale-padding")
	copy(overloaded[108:], opt(67, "acme-corp.efi")+opt(43, "\x09\x07\x00\x00\x04salt\xff")+"\xff")
	loader := "\x00\x01acme-corp/ipxe.efi\x00octet\x00tsize\x000\x00blksize\x001468\x00hunter2\x00pa55word\x00"
	frames := [][]byte{
		discover(clientHW, hostile...),
		udp(boxHW, everyone, boxIP, broadcast, 67, 68, offer),
		udp(boxHW, clientHW, boxIP, clientIP, 67, 68, overloaded),
		udp(otherHW, everyone, serverIP, broadcast, 67, 68, append(dhcp(2, clientHW, opt(53, "\x02")), "stale-padding"...)),
		udp(otherHW, everyone, serverIP, broadcast, 67, 68, []byte("stale-padding in a short packet")),
		arp(clientHW, everyone, clientIP, boxIP),
		append(arp(clientHW, boxHW, clientIP, boxIP)[:42], "stale-padding!!!!!"...),
		toBox(2070, 69, []byte(loader)),
		toBox(2071, 69, []byte("\x00\x01pxelinux.cfg/01-52-54-00-a7-31-9c\x00octet\x00")),
		toBox(2071, 69, []byte("\x00\x01pxelinux.cfg/0A4D8F34\x00octet\x00")),
		toClient(3000, 2070, []byte("\x00\x06tsize\x001048576\x00blksize\x001468\x00")),
		toClient(3000, 2070, block(3, 1, "#!ipxe\nkernel http://10.77.143.7/private-kernel rootpw=hunter2")),
		toBox(2070, 3000, block(4, 1, "stale-padding")),
		toClient(69, 2071, []byte("\x00\x05\x00\x01open /srv/acme-corp/ipxe.efi: No such file\x00")),
		tcp(clientHW, boxHW, clientIP, boxIP, 40123, webPort, syn, ""),
		asks("GET /x/tok3nA9fQz/1?mac=52%3a54%3a00%3aa7%3a31%3a9c&product=OptiPlex%20QmX7w&serial=SN4711XYZ HTTP/1.1\r\nHost: 10.77.143.7:8080\r\nUser-Agent: iPXE/1.21.1+ (g4e4727)\r\nAuthorization: Bearer tok3nA9fQz\r\n" +
			"Cookie: sid=s3ssionC00kie\r\nX-Site: acme-corp 172.19.4.9\r\n\r\nbody with pa55word"),
		answers("HTTP/1.1 200 OK\r\nContent-Length: 1234\r\nLocation: http://web-prod-17.lab.example/x/tok3nA9fQz\r\nSet-Cookie: s3ssionC00kie\r\n\r\n#!ipxe\nrootpw hunter2\n" + strings.Repeat("finance", 200)),
		asks("stale-padding in the midst of a body"),
		vlan(toBox(2072, 69, []byte("\x00\x01acme-corp\x00octet\x00")), etherVLAN, 20),
	}
	return frames
}

func TestRedactedLeaksNothing(t *testing.T) {
	for n := range byte(20) {
		in := packetsOf(bootFrames()...)
		out := redact(in, webPort, fixedSeed(n))
		if len(out) != len(in) {
			t.Fatalf("%d of %d packets", len(out), len(in))
		}
		var file bytes.Buffer
		must(t, writePcap(&file, out, func(d time.Duration) time.Time { return time.Unix(1_790_000_000, 0).Add(d) }))
		low := bytes.ToLower(file.Bytes())
		for _, s := range secrets {
			if bytes.Contains(low, bytes.ToLower([]byte(s))) {
				t.Errorf("seed %d: %q is in the file", n, s)
			}
		}
		for _, a := range []hwaddr{clientHW, boxHW, otherHW} {
			if bytes.Contains(file.Bytes(), a[:]) || bytes.Contains(low, []byte(hex.EncodeToString(a[:]))) {
				t.Errorf("seed %d: hardware address %x is in the file", n, a)
			}
		}
		for _, a := range []ipaddr{clientIP, boxIP, serverIP, ip("172.19.4.9")} {
			if bytes.Contains(file.Bytes(), a[:]) {
				t.Errorf("seed %d: address %v is in the file", n, a.netip())
			}
		}
		if bytes.Contains(file.Bytes(), []byte(guid[1:9])) || bytes.Contains(file.Bytes(), []byte("\x8b\x42\x91\x1f")) {
			t.Errorf("seed %d: identifier or transaction is in the file", n)
		}
		if !slices.EqualFunc(in, packetsOf(bootFrames()...), func(a, b packet) bool { return bytes.Equal(a.frame, b.frame) }) {
			t.Fatal("what is in the ring was changed")
		}
	}
}

// TestLeakTestBites: the secrets are in the file that is not redacted, so that
// the test above can fail.
func TestLeakTestBites(t *testing.T) {
	var file bytes.Buffer
	must(t, writePcap(&file, packetsOf(bootFrames()...), func(time.Duration) time.Time { return time.Unix(1, 0) }))
	low := bytes.ToLower(file.Bytes())
	there := 0
	for _, s := range secrets {
		if bytes.Contains(low, []byte(strings.ToLower(s))) {
			there++
		}
	}
	// Those that are missing stand there in other forms: octets, percent signs.
	if there < len(secrets)-8 {
		t.Errorf("only %d of %d secrets are in the file to begin with", there, len(secrets))
	}
}

func decode(t *testing.T, b []byte) gopacket.Packet {
	t.Helper()
	return gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.Default)
}

// TestRedactedStaysReadable: what a diagnosis needs is still there, equal things
// stay equal, and checksums are right.
func TestRedactedStaysReadable(t *testing.T) {
	in := packetsOf(bootFrames()...)
	out := redact(in, webPort, fixedSeed(3))
	for i, p := range out {
		if len(p.frame) != len(in[i].frame) || p.wire != in[i].wire || p.at != in[i].at {
			t.Errorf("packet %d: %d of %d octets at %v", i, len(p.frame), p.wire, p.at)
		}
		f, ok := parse(p.frame, webPort)
		was, _ := parse(in[i].frame, webPort)
		if !ok || f.kind != was.kind || f.sport != was.sport || f.dport != was.dport || f.opcode != was.opcode {
			t.Errorf("packet %d: kind %d, ports %d and %d", i, f.kind, f.sport, f.dport)
		}
		verify(t, i, p.frame, &f)
	}
	dhcpOf := func(i int) *layers.DHCPv4 {
		d, ok := decode(t, out[i].frame).Layer(layers.LayerTypeDHCPv4).(*layers.DHCPv4)
		if !ok {
			t.Fatalf("packet %d is no DHCP packet any more", i)
		}
		return d
	}
	first, second := dhcpOf(0), dhcpOf(1)
	if !bytes.Equal(first.ClientHWAddr, second.ClientHWAddr) || first.Xid != second.Xid || first.ClientHWAddr[0]&3 != 2 {
		t.Errorf("clients %v and %v", first.ClientHWAddr, second.ClientHWAddr)
	}
	values := func(d *layers.DHCPv4) map[byte]string {
		m := map[byte]string{}
		for _, o := range d.Options {
			m[byte(o.Type)] = string(o.Data)
		}
		return m
	}
	a, b := values(first), values(second)
	if !strings.HasPrefix(a[60], "PXEClient:Arch:00007:UNDI:003001:") || a[93] != "\x00\x07" || a[55] != "\x01\x03\x2b\x3c\x42\x43" || a[53] != "\x01" {
		t.Errorf("options %q", a)
	}
	if a[97] != b[97] || a[97][0] != 0 || a[61] != "\x01"+string(first.ClientHWAddr) || a[54] != b[3] || !strings.Contains(a[81], a[12]+"."+a[15]) {
		t.Errorf("equal things differ: %q, %q", a, b)
	}
	if a[175][len(a[175])-8:] != "\x13\x01\x01\xeb\x03\x01\x15\x01" {
		t.Errorf("iPXE's features: %q", a[175])
	}
	// Everything about one server says the same server.
	box := netip.AddrFrom4([4]byte(second.NextServerIP.To4()))
	if b[66] != box.String() || !strings.HasPrefix(b[67], "http://"+box.String()+":8080/b?mac="+first.ClientHWAddr.String()+"&serial=") {
		t.Errorf("%v: %q and %q", box, b[66], b[67])
	}
	if b[43][:7] != "\x06\x01\x08\x08\x07\x80\x00" || b[43][8:12] != string(second.NextServerIP.To4()) || b[1] != "\xff\xff\xfc\x00" {
		t.Errorf("vendor options %q, mask %q", b[43], b[1])
	}
	// Same subnet, same subnet: all of the site's are within 10.77.140.0/22.
	site := netip.PrefixFrom(box, 22).Masked()
	for _, v := range []string{b[3], b[54], string(second.YourClientIP.To4())} {
		if addr := netip.AddrFrom4([4]byte([]byte(v))); !site.Contains(addr) {
			t.Errorf("%v is not in %v", addr, site)
		}
	}
	if other := netip.AddrFrom4([4]byte([]byte(b[6][4:]))); site.Contains(other) {
		t.Errorf("%v is in %v", other, site)
	}
	if file := string(bytes.TrimRight(second.File, "\x00")); !strings.HasSuffix(file, "/x86_64/snponly.efi") {
		t.Errorf("boot file %q", file)
	}
	request := string(out[7].frame[42:])
	if !strings.Contains(request, "/ipxe.efi\x00octet\x00tsize\x000\x00blksize\x001468\x00") {
		t.Errorf("request %q", request)
	}
	if !bytes.Contains(out[10].frame, []byte("tsize\x001048576\x00")) || !bytes.Contains(out[13].frame, []byte("ipxe.efi: No such file\x00")) {
		t.Errorf("answers %q, %q", out[10].frame[42:], out[13].frame[42:])
	}
	get, ok := string(out[15].frame[66:]), string(out[16].frame[66:])
	if !strings.HasPrefix(get, "GET /x/") || !strings.Contains(get, " HTTP/1.1\r\nHost: "+box.String()+":8080\r\nUser-Agent: iPXE/1.21.1+ (") || !strings.HasSuffix(get, "\r\n\r\nxxxxxxxxxxxxxxxxxx") {
		t.Errorf("request %q", get)
	}
	if !strings.HasPrefix(ok, "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\nLocation: http://") || !strings.HasSuffix(ok, "xxxx") {
		t.Errorf("answer %q", ok)
	}
	if binary.BigEndian.Uint16(out[18].frame[12:]) != etherVLAN || out[18].frame[15] != 20 {
		t.Errorf("tag %x", out[18].frame[12:16])
	}
}

// verify checks checksums with nothing but RFC 1071.
func verify(t *testing.T, i int, b []byte, f *frame) {
	t.Helper()
	if f.kind == kindARP {
		return
	}
	if got := sum(b[f.network:f.transport], 0); got != 0xffff {
		t.Errorf("packet %d: checksum of IP: %04x", i, got)
	}
	segment := b[f.transport:f.end]
	pseudo := uint32(sum(b[f.network+12:f.network+20], uint32(b[f.network+9])+uint32(len(segment))))
	at := 6
	if f.kind == kindHTTP {
		at = 16
	}
	if !f.whole {
		if segment[at] != 0 || segment[at+1] != 0 {
			t.Errorf("packet %d is cut off and has a checksum", i)
		}
		return
	}
	if got := sum(segment, pseudo); got != 0xffff {
		t.Errorf("packet %d: checksum: %04x", i, got)
	}
}

func TestAddressReplacements(t *testing.T) {
	for n := range byte(50) {
		r := newRedactor([32]byte{n})
		seen := map[ipaddr]ipaddr{}
		for _, s := range []string{"10.0.0.1", "10.0.3.255", "10.1.0.1", "192.168.1.20", "192.168.0.20", "172.16.9.9", "8.8.8.8", "100.64.0.1", "223.255.1.1", "169.253.1.1", "169.254.17.8"} {
			from := ip(s)
			to := r.addr(from)
			if to == from || len(to.netip().String()) != len(s) {
				t.Errorf("seed %d: %s becomes %v", n, s, to.netip())
			}
			if other, there := seen[to]; there {
				t.Errorf("seed %d: %s and %v become the same", n, s, other.netip())
			}
			if to[0] == 0 || to[0] == 127 || to[0] >= 224 || (to[0] == 169) != (from[0] == 169) {
				t.Errorf("seed %d: %s becomes %v, which is a special one", n, s, to.netip())
			}
			seen[to] = from
			if r.addr(from) != to {
				t.Errorf("seed %d: %s becomes two", n, s)
			}
		}
		for _, s := range []string{"0.0.0.0", "255.255.255.255", "224.0.0.251", "127.0.0.1"} {
			if r.addr(ip(s)) != ip(s) {
				t.Errorf("seed %d: %s does not stay", n, s)
			}
		}
		if a, b := r.addr(ip("169.254.17.8")), r.addr(ip("169.254.17.9")); a[0] != 169 || a[1] != 254 || a[2] != b[2] || a[3] == b[3] {
			t.Errorf("seed %d: link-local %v and %v", n, a.netip(), b.netip())
		}
	}
}

// TestReplacementsAreNoOriginals: two subnets must not change places.
func TestReplacementsAreNoOriginals(t *testing.T) {
	var frames [][]byte
	for a := 10; a < 100; a += 30 { // few enough that a draw without a clash is found
		frames = append(frames, udp(clientHW, boxHW, ipaddr{byte(a), 20, 1, 1}, boxIP, 68, 67, dhcp(1, clientHW)))
	}
	again := 0
	for n := range byte(200) {
		tried := byte(0)
		out := redact(packetsOf(frames...), webPort, func() [32]byte { tried++; return [32]byte{n, tried} })
		if tried > 1 {
			again++
		}
		for _, p := range out {
			f, _ := parse(p.frame, webPort)
			for _, b := range frames {
				if was, _ := parse(b, webPort); f.from == was.from {
					t.Errorf("seed %d: %v is an address of the site", n, f.from.netip())
				}
			}
		}
	}
	t.Logf("%d of 200 files were drawn more than once", again)
}

func TestTexts(t *testing.T) {
	r := newRedactor([32]byte{1})
	for _, c := range []struct {
		how      reading
		in, want string // "?" any letter or digit other than in
	}{
		{asWords, "x86_64/ipxe.efi", "x86_64/ipxe.efi"},
		{asWords, "PXELINUX.CFG/default", "PXELINUX.CFG/default"},
		{asWords, "vmlinuz-6.1", "vmlinuz-?.?"},
		{asVersions, "iPXE/1.21", "iPXE/1.21"},
		{asVersions, "bytes 0-999999999999/9999999999999", "bytes 0-999999999999/?????????????"},
		{asClass, "PXEClient:Arch:00011:UNDI:003001:1234567", "PXEClient:Arch:00011:UNDI:003001:???????"},
		{asSecret, "boot 1", "???? ?"},
		{asWords, "M\xfcller", "??????"},
		{asWords, "a.b/c", "a.b/?"},
		{asWords, "10.0.0.1.example", "??.?.?.?.???????"},
		{asWords, "10.0.0.300", "??.?.?.???"},
		{asWords, "v10.0.0.1", "???.?.?.?"},
		{asWords, "01-52-54-00-12-34-5", "??-??-??-??-??-??-?"},
		{asWords, "", ""},
	} {
		got := []byte(c.in)
		r.text(got, c.how)
		ok := len(got) == len(c.want)
		for i := 0; ok && i < len(got); i++ {
			ok = got[i] == c.want[i] || c.want[i] == '?' && inWord(got[i]) && got[i] < 0x80
		}
		if !ok || strings.Contains(c.want, "?") && string(got) == c.in {
			t.Errorf("%q: %q, want %q", c.in, got, c.want)
		}
	}
	mac := []byte("01-52-54-00-A7-31-9C:52:54:00:a7:31:9c")
	r.text(mac, asWords)
	to := r.mac(clientHW)
	hw := net.HardwareAddr(to[:]).String()
	if s := string(mac); !strings.HasSuffix(s, ":"+hw) {
		t.Errorf("%q does not end in %s", s, hw)
	}
}

// FuzzRedact: whatever is in a frame, redaction keeps its length, leaves it
// readable, and takes the stations' addresses out of its headers.
func FuzzRedact(f *testing.F) {
	for _, b := range bootFrames() {
		f.Add(b, byte(0))
	}
	f.Add(toClient(3000, 2070, block(3, 1, "x")), byte(7))
	f.Add(asks("GET / HTTP/1.1\n\n\n")[:70], byte(7))
	f.Fuzz(func(t *testing.T, b []byte, seed byte) {
		was, ok := parse(b, webPort)
		out := redact([]packet{{frame: b, wire: uint32(len(b))}}, webPort, fixedSeed(seed))
		if ok != (len(out) == 1) {
			t.Fatalf("readable %v, %d packets", ok, len(out))
		}
		if !ok {
			return
		}
		got := out[0].frame
		f, ok := parse(got, webPort)
		if !ok || len(got) != len(b) || f.kind != was.kind || f.end != was.end || f.payload != was.payload || f.whole != was.whole {
			t.Fatalf("was %+v, is %+v, %d of %d octets", was, f, len(got), len(b))
		}
		if f.src == was.src && was.src != (hwaddr{}) && was.src[0]&1 == 0 {
			t.Errorf("hardware address stays: %x", f.src)
		}
		if f.from == was.from && was.from[0] != 0 && was.from[0] != 127 && was.from[0] < 224 {
			t.Errorf("address stays: %v", f.from.netip())
		}
		if f.kind == kindDHCP && f.client == was.client && was.client != (hwaddr{}) && was.client[0]&1 == 0 && b[was.payload+1] == 1 {
			t.Errorf("client stays: %x", f.client)
		}
	})
}
