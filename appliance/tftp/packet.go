package tftp

import (
	"bytes"
	"encoding/binary"
	"strconv"
	"strings"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// Opcodes (RFC 1350 section 5, RFC 2347).
const (
	opRRQ   = 1
	opWRQ   = 2
	opDATA  = 3
	opACK   = 4
	opERROR = 5
	opOACK  = 6
)

// errorCode is an error code of RFC 1350.
type errorCode uint16

const (
	codeUndefined  errorCode = 0
	codeNotFound   errorCode = 1
	codeAccess     errorCode = 2
	codeIllegal    errorCode = 4
	codeUnknownTID errorCode = 5
	codeUserAbort  errorCode = 8 // RFC 2347: the client refuses the options; EDK2 ends its size probe with it
)

// Texts of our ERROR packets. They are constant: nothing of the request, of a path
// or of an internal error is ever told to the network.
const (
	textNotFound = "file not found"
	textWrite    = "read only"
	textMode     = "mode not supported"
	textPort     = "unknown transfer"
	textRead     = "file not readable"
	textStop     = "server is stopping"
	textTooLong  = "transfer took too long"
)

const (
	// defaultBlock is the block size without the blksize option.
	defaultBlock = 512
	// maxBlock: 1468 + 4 (TFTP) + 8 (UDP) + 20 (IPv4) = 1500. Larger blocks are
	// fragmented on Ethernet, and many ROMs cannot put fragments together.
	maxBlock = 1468
	// blockOverhead is what MTU must hold besides the block.
	blockOverhead = 32
	// smallestBlock and largestBlock are the limits of RFC 2348.
	smallestBlock = 8
	largestBlock  = 65464

	// maxPacket bounds what is read from the network. RFC 2347 allows requests of
	// 512 octets; everything else a client sends is smaller.
	maxPacket  = 2048
	maxOptions = 16
)

// option is one option of a request, spelled as the client did.
type option struct{ name, value string }

// request is a decoded RRQ or WRQ.
type request struct {
	write   bool
	rawName []byte // as sent, without the NUL
	mode    string
	options []option
}

// parseRequest decodes a datagram that came to the request port. The only failure
// is boot.ReasonTFTPRequest: anything but a well-formed RRQ or WRQ. A missing NUL
// behind the last text is forgiven, and so is an option without a value, which is
// dropped; of repeated options the first counts. The result refers to b.
func parseRequest(b []byte) (request, boot.Reason) {
	if len(b) < 4 || len(b) > maxPacket {
		return request{}, boot.ReasonTFTPRequest
	}
	var r request
	switch binary.BigEndian.Uint16(b) {
	case opRRQ:
	case opWRQ:
		r.write = true
	default:
		return request{}, boot.ReasonTFTPRequest
	}
	name, rest, ok := bytes.Cut(b[2:], []byte{0})
	if !ok {
		return request{}, boot.ReasonTFTPRequest
	}
	r.rawName = name
	mode, rest, _ := bytes.Cut(rest, []byte{0})
	// The longest mode is "netascii"; a text that is no mode at all means that the
	// datagram is not what it claims to be.
	if len(mode) == 0 || len(mode) > len("netascii") {
		return request{}, boot.ReasonTFTPRequest
	}
	r.mode = string(mode)
	for len(rest) > 0 && len(r.options) < maxOptions {
		var key, value []byte
		key, rest, ok = bytes.Cut(rest, []byte{0})
		if !ok || len(key) == 0 || len(rest) == 0 {
			break
		}
		value, rest, _ = bytes.Cut(rest, []byte{0})
		if r.option(string(key)) == nil {
			r.options = append(r.options, option{string(key), string(value)})
		}
	}
	return r, boot.ReasonNone
}

func (r *request) option(name string) *option {
	for i := range r.options {
		if strings.EqualFold(r.options[i].name, name) {
			return &r.options[i]
		}
	}
	return nil
}

// modeServed says whether files go out in this mode. netascii gets the file's
// octets unchanged like octet: whoever asks for a boot program in netascii does not
// mean that its line feeds be doubled.
func modeServed(mode string) bool {
	return strings.EqualFold(mode, "octet") || strings.EqualFold(mode, "netascii")
}

// terms is what a transfer agrees on.
type terms struct {
	block   int           // octets per DATA
	sized   bool          // blksize is part of the answer
	tsize   bool          // the client asked for the size: it may be only probing
	timeout time.Duration // asked with the timeout option; zero when not
	oack    []byte        // the OACK to send, nil when the transfer starts with DATA 1
}

// negotiate decides which options are granted (RFC 2347 to 2349). size is the
// file's, limit the largest block that the path takes, floor the smallest that the
// sender can do. The OACK lists options in the order and the spelling in which they
// were asked, and nothing that was not asked: EDK2 refuses such an answer.
//
//   - blksize: the smaller of what was asked and limit. Values that are no number of
//     RFC 2348, and those that end below floor, are left out; the client then
//     expects 512.
//   - tsize: the size, whatever value was asked. EDK2 fails without it.
//   - timeout: granted as asked, 1 to 255 s (a client must refuse another value).
//   - everything else, windowsize among it, is left out.
func negotiate(options []option, size int64, limit, floor int) terms {
	t := terms{block: defaultBlock}
	var oack []byte
	grant := func(o option, value string) {
		oack = append(oack, o.name...)
		oack = append(oack, 0)
		oack = append(oack, value...)
		oack = append(oack, 0)
	}
	for _, o := range options {
		switch strings.ToLower(o.name) {
		case "blksize":
			n, ok := decimal(o.value)
			if !ok || n < smallestBlock || n > largestBlock {
				continue
			}
			if n = min(n, limit); n < floor {
				continue
			}
			t.block, t.sized = n, true
			grant(o, strconv.Itoa(n))
		case "tsize":
			t.tsize = true
			grant(o, strconv.FormatInt(size, 10))
		case "timeout":
			n, ok := decimal(o.value)
			if !ok || n < 1 || n > 255 {
				continue
			}
			t.timeout = time.Duration(n) * time.Second
			grant(o, o.value)
		}
	}
	if oack != nil {
		t.oack = append([]byte{0, opOACK}, oack...)
	}
	return t
}

// decimal reads a number of at most seven digits and nothing else.
func decimal(s string) (int, bool) {
	if len(s) == 0 || len(s) > 7 {
		return 0, false
	}
	n := 0
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, true
}

// blockLimit is the largest block for an interface: ceiling is the configured
// maximum, mtu the interface's, zero when unknown.
func blockLimit(ceiling, mtu int) int {
	if mtu <= 0 {
		mtu = maxBlock + blockOverhead
	}
	return min(ceiling, mtu-blockOverhead)
}

// errorPacket builds an ERROR.
func errorPacket(code errorCode, text string) []byte {
	b := make([]byte, 0, 5+len(text))
	b = append(b, 0, opERROR, byte(code>>8), byte(code))
	b = append(b, text...)
	return append(b, 0)
}

// meaning is what a datagram says to a transfer.
type meaning int

const (
	meansNothing meaning = iota // stale, malformed or none of a client's business: ignored
	meansAcked                  // the outstanding packet has arrived
	meansError                  // the client ends the transfer
)

// judge reads a datagram from a transfer's own client. outstanding says whether a
// packet waits for its acknowledgement, block is that packet's number (0 for an
// OACK). An acknowledgement of an earlier block means nothing: to send the next
// block again for each of them is the Sorcerer's Apprentice (RFC 1123, 4.2.3.1).
// Octets behind an ACK are forgiven (Raspberry Pi 5).
func judge(b []byte, outstanding bool, block uint16) (meaning, errorCode) {
	if len(b) < 4 {
		return meansNothing, 0
	}
	n := binary.BigEndian.Uint16(b[2:])
	switch binary.BigEndian.Uint16(b) {
	case opACK:
		if outstanding && n == block {
			return meansAcked, 0
		}
	case opERROR:
		return meansError, errorCode(n)
	}
	return meansNothing, 0
}

// isProbe says whether a client's ERROR ends a size probe rather than a transfer:
// it has its OACK, perhaps acknowledged it, and took no block. EDK2 sends code 8,
// BIOS ROMs and the Raspberry Pi code 0.
func isProbe(code errorCode, blocks int64, atOACK, askedSize bool) bool {
	return blocks == 0 && (atOACK || askedSize) && (code == codeUndefined || code == codeUserAbort)
}
