package capture

import (
	"bytes"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// reading says how a text is redacted.
type reading uint8

const (
	asWords    reading = iota // known words stay
	asClass                   // and so do numbers of a vendor class
	asVersions                // and so do all but very long numbers
	asSecret                  // nothing stays
)

// known are words that name neither person nor place: those of protocols, of
// firmware, and of the files of boot programs.
var known = func() map[string]bool {
	list := strings.Fields(`
		pxeclient httpclient udhcp dhcpcd msft pxe arch undi uefi efi http https tftp ftp nfs iscsi
		ipxe gpxe etherboot undionly snponly kpxe kkpxe lkrn pxelinux syslinux lpxelinux ldlinux c32 cfg
		menu default grub grubx64 grubaa64 grubia32 grubnetx64 shim shimx64 shimaa64 bootx64 bootaa64 bootia32
		bootmgfw memtest mt86plus wimboot bootmgr bcd sdi wim winpe kernel kernel7 kernel8 vmlinuz vmlinux linux bzimage
		initrd initramfs img gz xz zst iso squashfs autoexec boot bootpuck bootcode bootcode4 bootsys bin start start4 start4cd
		start4db start4x config cmdline txt elf fixup fixup4 dat dtb overlays recovery raspberry pi
		x86 x64 x86_64 i386 i486 i586 i686 amd64 arm arm32 arm64 aarch64 riscv64 ia32 64 32
		preseed ks autoinstall user data meta unattend xml json yaml
		octet netascii mail blksize tsize timeout windowsize multicast rollover
		get head post put delete options 200 206 301 302 304 400 401 403 404 405 408 416 429 500 502 503
		ok found moved permanently modified partial content not bad request forbidden unauthorized unavailable
		service internal server error gone unsupported range satisfiable too many requests
		length type accept ranges encoding language connection keep alive close host agent cache control no store
		transfer chunked bytes etag last date expires age location application text plain html octet stream none
		identity gzip deflate if since match modified pragma upgrade insecure via vary expect continue
		mon tue wed thu fri sat sun jan feb mar apr may jun jul aug sep oct nov dec gmt utc
		ipxe uefihttpboot curl wget busybox debian apt anaconda libcurl dracut grub2 nginx apache python u uboot
		mac uuid ip net gateway dns netmask domain hostname serial product manufacturer asset platform buildarch version
		memory memsize cpu chip bus filename script local left token code name id m x w a s b
		file access violation disk full illegal operation unknown transfer already exists such aborted aborting user
		option negotiation failed undefined rrq wrq terminated directory permission denied size only invalid mode
		no next try timed out`)
	m := make(map[string]bool, len(list))
	for _, w := range list {
		m[w] = true
	}
	return m
}()

// numbers is how many digits a number of a text may have to stay: those of a
// vendor class are versions, but it may hold a serial number too; others are
// sizes and dates.
var numbers = map[reading]int{asWords: 0, asClass: 6, asVersions: 12, asSecret: 0}

// text redacts b in place. Words (runs of letters and digits, and of whatever is
// not ASCII) are replaced unless they are known, letter by letter and digit by
// digit; the same word becomes the same. Network and hardware addresses become
// what they become elsewhere in the file. Everything between words stays.
func (r *redactor) text(b []byte, how reading) {
	for i := 0; i < len(b); {
		if !inWord(b[i]) {
			i++
			continue
		}
		if n := r.addressIn(b[i:]); n > 0 {
			i += n
			if n := port(b[i:]); n > 0 {
				i += n
			}
			continue
		}
		if n := r.macIn(b[i:]); n > 0 {
			i += n
			continue
		}
		n := i
		for n < len(b) && inWord(b[n]) {
			n++
		}
		r.word(b[i:n], how)
		i = n
	}
}

func inWord(c byte) bool  { return isDigit(c) || isLetter(c) || c >= 0x80 }
func isDigit(c byte) bool { return c >= '0' && c <= '9' }
func isLetter(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// word replaces one word in place unless it may stay.
func (r *redactor) word(b []byte, how reading) {
	if how != asSecret && known[strings.ToLower(string(b))] {
		return
	}
	if len(b) <= numbers[how] && !slices.ContainsFunc(b, func(c byte) bool { return !isDigit(c) }) {
		return
	}
	was := string(b)
	stream := r.stream(was)
	for range 16 { // it may become itself, when it is short
		for i, c := range []byte(was) {
			switch o := stream(); {
			case isDigit(c):
				b[i] = '0' + o%10
			case c >= 'A' && c <= 'Z':
				b[i] = 'A' + o%26
			default:
				b[i] = 'a' + o%26
			}
		}
		if string(b) != was {
			return
		}
	}
}

// addressIn replaces an IPv4 address at the beginning of b by one of the same
// length and returns that; 0 when there is none.
func (r *redactor) addressIn(b []byte) int {
	n, dots := 0, 0
	for n < len(b) && (isDigit(b[n]) || b[n] == '.' && n+1 < len(b) && isDigit(b[n+1])) {
		if b[n] == '.' {
			dots++
		}
		n++
	}
	if dots != 3 || n < len(b) && inWord(b[n]) {
		return 0
	}
	a, err := netip.ParseAddr(string(b[:n]))
	if err != nil {
		return 0 // octets above 255, or leading zeros
	}
	to := r.addr(a.As4())
	copy(b, to.netip().String())
	return n
}

// port returns the length of a port number with its colon at the beginning of b.
func port(b []byte) int {
	if len(b) < 2 || b[0] != ':' {
		return 0
	}
	n := 1
	for n < len(b) && isDigit(b[n]) {
		n++
	}
	if v, err := strconv.Atoi(string(b[1:n])); err != nil || v > 65535 || n < len(b) && inWord(b[n]) {
		return 0
	}
	return n
}

// macIn replaces a hardware address at the beginning of b, six pairs of digits
// with colons or dashes, and returns its length; 0 when there is none. Of seven
// pairs the first is the hardware type, as pxelinux writes it.
func (r *redactor) macIn(b []byte) int {
	const length = 17
	if n := pairs(b); n == 7 {
		return 3
	} else if n != 6 {
		return 0
	}
	var a hwaddr
	for i := range a {
		v, _ := strconv.ParseUint(string(b[3*i:3*i+2]), 16, 8) // digits, as was seen
		a[i] = byte(v)
	}
	const digits = "0123456789abcdef"
	for i, o := range r.mac(a) {
		b[3*i], b[3*i+1] = digits[o>>4], digits[o&15]
	}
	return length
}

// pairs returns how many pairs of hexadecimal digits b begins with, joined by
// colons or by dashes; 0 when the last one is part of a word. It counts to 8.
func pairs(b []byte) (n int) {
	for n < 8 {
		at := 3 * n
		if len(b) < at+2 || !isHex(b[at]) || !isHex(b[at+1]) {
			return 0
		}
		n++
		if len(b) <= at+2 || b[at+2] != ':' && b[at+2] != '-' || b[at+2] != b[2] || len(b) == at+3 || !inWord(b[at+3]) {
			if len(b) > at+2 && inWord(b[at+2]) {
				return 0
			}
			return n
		}
	}
	return n
}

func isHex(c byte) bool { return isDigit(c) || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F' }

// headers of HTTP whose values hold numbers that name nobody.
var harmless = map[string]reading{
	"host": asWords, "location": asWords, "user-agent": asVersions, "server": asVersions,
	"content-length": asVersions, "content-type": asVersions, "content-range": asVersions, "range": asVersions,
	"accept": asVersions, "accept-ranges": asVersions, "accept-encoding": asVersions, "connection": asVersions,
	"keep-alive": asVersions, "transfer-encoding": asVersions, "cache-control": asVersions, "date": asVersions,
	"last-modified": asVersions, "expires": asVersions, "age": asVersions, "retry-after": asVersions,
}

// http redacts what one TCP segment carries: the head of a request or of an
// answer. Bodies, and segments that begin with something else, are blanked.
func (r *redactor) http(b []byte) {
	if !beginsHTTP(b) {
		blank(b)
		return
	}
	line, rest, more := bytes.Cut(b, []byte("\n"))
	r.startLine(line)
	for more {
		line, rest, more = bytes.Cut(rest, []byte("\n"))
		if len(bytes.TrimRight(line, "\r")) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		how, there := harmless[strings.ToLower(string(name))]
		if !there {
			how = asSecret
		}
		r.text(name, asWords)
		r.text(value, how)
	}
	blank(rest)
}

func beginsHTTP(b []byte) bool {
	if bytes.HasPrefix(b, []byte("HTTP/1.")) {
		return true
	}
	return len(b) >= 4 && slices.Contains(methods, string(b[:4]))
}

func (r *redactor) startLine(b []byte) {
	if bytes.HasPrefix(b, []byte("HTTP/1.")) {
		r.text(b[len("HTTP/1."):], asVersions)
		return
	}
	if i := bytes.LastIndex(b, []byte(" HTTP/1.")); i >= 0 {
		b = b[:i]
	}
	r.text(b, asWords)
}
