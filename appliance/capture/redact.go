package capture

import (
	"crypto/sha256"
	"encoding/binary"
	"math/rand/v2"
	"slices"
)

// tries is how often replacements are drawn anew when one of them happens to be
// an address that the capture holds.
const tries = 8

// redact returns copies of packets that tell neither who nor where. What cannot
// be read is left out. Frames keep their length and their order. seed is asked
// for the randomness of the replacements.
func redact(packets []packet, httpPort uint16, seed func() [32]byte) []packet {
	var out []packet
	for range tries {
		r := newRedactor(seed())
		out = make([]packet, 0, len(packets))
		for _, p := range packets {
			p.frame = slices.Clone(p.frame)
			if r.whole(p.frame, httpPort) {
				out = append(out, p)
			}
		}
		if r.disjoint() {
			break
		}
	}
	return out
}

// whole redacts one frame in place and says whether it was done to the end. What
// was not must not leave the box.
func (r *redactor) whole(b []byte, httpPort uint16) (done bool) {
	defer func() {
		if recover() != nil {
			done = false
		}
	}()
	f, ok := parse(b, httpPort)
	if ok {
		r.frame(b, &f)
	}
	return ok
}

// redactor holds the replacements of one file.
type redactor struct {
	key   [32]byte
	rand  *rand.Rand
	macs  map[hwaddr]hwaddr
	base  hwaddr // of invented hardware addresses; the last two octets count
	addrs map[ipaddr]ipaddr
	first [256]byte             // permutation of the first octet of network addresses
	next  map[uint32]*[256]byte // of a later one, by what stands before it
	xids  map[uint32]uint32
}

func newRedactor(seed [32]byte) *redactor {
	r := &redactor{
		key: seed, rand: rand.New(rand.NewChaCha8(seed)),
		macs: map[hwaddr]hwaddr{}, addrs: map[ipaddr]ipaddr{}, next: map[uint32]*[256]byte{}, xids: map[uint32]uint32{},
	}
	// Locally administered (bit 1), for one station (bit 0).
	r.base = hwaddr{2, byte(r.rand.Uint32()), byte(r.rand.Uint32()), byte(r.rand.Uint32())}
	// 169 stays, so that nothing looks like a link-local address that is none.
	r.first = r.permutation(func(o int) bool { return o == 0 || o == 127 || o == 169 || o >= 224 })
	return r
}

// permutation shuffles octets among those that have the same number of decimal
// digits, so that an address takes as much room in a text as the one that it
// stands for. Those that fixed names stay; no other does.
func (r *redactor) permutation(fixed func(octet int) bool) (p [256]byte) {
	for _, digits := range [][2]int{{0, 10}, {10, 100}, {100, 256}} {
		var free []byte
		for o := digits[0]; o < digits[1]; o++ {
			if p[o] = byte(o); !fixed(o) {
				free = append(free, byte(o))
			}
		}
		// One cycle through all of them (Sattolo): nothing stays where it is.
		to := slices.Clone(free)
		for i := len(to) - 1; i > 0; i-- {
			j := r.rand.IntN(i)
			to[i], to[j] = to[j], to[i]
		}
		for i, o := range free {
			p[o] = to[i]
		}
	}
	return p
}

// disjoint says whether no replacement is an address that the capture holds:
// who looks for an address in the file must not find it by chance.
func (r *redactor) disjoint() bool {
	for from, to := range r.addrs {
		if _, there := r.addrs[to]; there && from != to {
			return false
		}
	}
	for from, to := range r.macs {
		if _, there := r.macs[to]; there && from != to {
			return false
		}
	}
	return true
}

// mac returns the replacement of a hardware address. Groups and zeros stay.
func (r *redactor) mac(a hwaddr) hwaddr {
	if a == (hwaddr{}) || a[0]&1 != 0 {
		return a
	}
	to, there := r.macs[a]
	if !there {
		to = r.base
		binary.BigEndian.PutUint16(to[4:], uint16(len(r.macs)+1))
		if len(r.macs) >= 0xffff { // cannot be told apart any more
			binary.BigEndian.PutUint16(to[4:], 0)
		}
		r.macs[a] = to
	}
	return to
}

// linkLocal is the prefix of 169.254 among the permutations.
const linkLocal = 1 << 16

// addr returns the replacement of a network address. The first two octets are
// replaced, and so is the second within the first: stations of one subnet of 16
// bits or more stay in one subnet, which has its size still. Groups, broadcasts,
// loopback and the unspecified address stay as they are, since they name nobody;
// of a link-local address the last two octets are replaced.
func (r *redactor) addr(a ipaddr) ipaddr {
	if a[0] == 0 || a[0] == 127 || a[0] >= 224 {
		return a
	}
	to, there := r.addrs[a]
	if !there {
		to = a
		if a[0] == 169 && a[1] == 254 {
			to[2] = r.after(linkLocal)[a[2]]
			to[3] = r.after(linkLocal | uint32(a[2])<<8)[a[3]]
		} else {
			to[0], to[1] = r.first[a[0]], r.after(uint32(a[0]))[a[1]]
		}
		r.addrs[a] = to
	}
	return to
}

// after returns the permutation of an octet by what stands before it.
func (r *redactor) after(prefix uint32) *[256]byte {
	p, there := r.next[prefix]
	if !there {
		drawn := r.permutation(func(int) bool { return false })
		p = &drawn
		r.next[prefix] = p
	}
	return p
}

// xid returns the replacement of a transaction number: old ROMs make it of their
// hardware address.
func (r *redactor) xid(x uint32) uint32 {
	to, there := r.xids[x]
	if !there && x != 0 {
		for to = r.rand.Uint32(); to == x; {
			to = r.rand.Uint32()
		}
		r.xids[x] = to
	}
	return to
}

// octets replaces b by octets that are the same for the same b.
func (r *redactor) octets(b []byte) {
	stream := r.stream(string(b))
	for i := range b {
		b[i] = stream()
	}
}

// stream returns octets that follow from word and the key of the file alone.
func (r *redactor) stream(word string) func() byte {
	sum := sha256.Sum256(append(r.key[:], word...))
	i := -1
	return func() byte {
		if i++; i == len(sum) {
			sum, i = sha256.Sum256(sum[:]), 0
		}
		return sum[i]
	}
}

// frame redacts one frame in place.
func (r *redactor) frame(b []byte, f *frame) {
	put := func(at int, a hwaddr) {
		to := r.mac(a)
		copy(b[at:], to[:])
	}
	put(0, f.dst)
	put(6, f.src)
	clear(b[f.end:]) // padding: may hold anything
	if f.kind == kindARP {
		put(f.network+8, f.fromHW)
		put(f.network+18, f.toHW)
		r.addrAt(b, f.network+14)
		r.addrAt(b, f.network+24)
		return
	}
	r.addrAt(b, f.network+12)
	r.addrAt(b, f.network+16)
	clear(b[f.network+lenIPv4 : f.transport]) // options of IP; zero ends them
	payload := b[f.payload:f.end]
	switch f.kind {
	case kindDHCP:
		r.dhcp(payload)
	case kindTFTP:
		r.tftp(payload)
	case kindHTTP:
		tcpOptions(b[f.transport+lenTCP : f.payload])
		r.http(payload)
	case kindARP:
	}
	checksums(b, f)
}

func (r *redactor) addrAt(b []byte, at int) {
	to := r.addr(ipaddr(b[at:]))
	copy(b[at:], to[:])
}

// tcpOptions clears the contents of options other than those of RFC 9293 and
// RFC 7323 and selective acknowledgement.
func tcpOptions(b []byte) {
	for len(b) > 0 && b[0] != 0 {
		if b[0] == 1 {
			b = b[1:]
			continue
		}
		if len(b) < 2 || b[1] < 2 || int(b[1]) > len(b) {
			break
		}
		if o := b[0]; o > 5 && o != 8 {
			clear(b[2:b[1]])
		}
		b = b[b[1]:]
	}
	clear(b)
}

// checksums computes those of IP and of UDP or TCP. Of a packet that is cut off
// that cannot be done: zero is written, which in UDP says that there is none.
func checksums(b []byte, f *frame) {
	ip := b[f.network:f.transport]
	ip[10], ip[11] = 0, 0
	binary.BigEndian.PutUint16(ip[10:], ^sum(ip, 0))
	segment := b[f.transport:f.end]
	at := 6 // of UDP
	if f.kind == kindHTTP {
		at = 16
	}
	none := f.kind != kindHTTP && segment[6] == 0 && segment[7] == 0
	segment[at], segment[at+1] = 0, 0
	if none || !f.whole {
		return
	}
	if f.kind != kindHTTP {
		// UDP says its own length, and its checksum covers no more than that.
		n := int(binary.BigEndian.Uint16(segment[4:]))
		if n < lenUDP || n > len(segment) {
			return
		}
		segment = segment[:n]
	}
	pseudo := sum(ip[12:20], uint32(ip[9])+uint32(len(segment)))
	c := ^sum(segment, uint32(pseudo))
	if c == 0 && f.kind != kindHTTP {
		c = 0xffff // RFC 768: zero says that there is none
	}
	binary.BigEndian.PutUint16(segment[at:], c)
}

// sum is the sum of RFC 1071.
func sum(b []byte, start uint32) uint16 {
	s := start
	for ; len(b) >= 2; b = b[2:] {
		s += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) == 1 {
		s += uint32(b[0]) << 8
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}
