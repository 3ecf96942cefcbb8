package capture

import (
	"bytes"
	"encoding/binary"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// secrecy says what is done with the value of a DHCP option. What is not listed
// is replaced: a new option cannot tell anything by not being known here.
type secrecy uint8

const (
	replaced secrecy = iota // by octets that are the same for the same value
	plain                   // names nobody
	address                 // network addresses
	words                   // text with names, paths and addresses
)

// options of DHCP (RFC 2132, RFC 4578 and others) by what is done with them.
var options = func() (table [256]secrecy) {
	for what, codes := range map[secrecy][]byte{
		plain:   {1, 2, 13, 19, 20, 23, 26, 27, 29, 30, 31, 34, 36, 37, 38, 39, 46, 51, 52, 53, 55, 57, 58, 59, 93, 94, 116},
		address: {3, 4, 5, 6, 7, 8, 9, 10, 11, 16, 28, 32, 33, 41, 42, 44, 45, 48, 49, 50, 54, 65, 68, 69, 70, 71, 72, 73, 74, 75, 76, 118, 150},
		words:   {12, 14, 15, 17, 18, 40, 47, 56, 64, 66, 67, 77, 81, 114, 119, 209, 210},
	} {
		for _, c := range codes {
			table[c] = what
		}
	}
	return table
}()

// dhcp redacts a DHCP packet (RFC 2131 section 2) in place. What cannot be read
// is cleared.
func (r *redactor) dhcp(b []byte) {
	if len(b) < lenDHCP {
		clear(b)
		return
	}
	binary.BigEndian.PutUint32(b[4:], r.xid(binary.BigEndian.Uint32(b[4:])))
	for _, at := range []int{12, 16, 20, 24} { // ciaddr, yiaddr, siaddr, giaddr
		r.addrAt(b, at)
	}
	if b[1] == 1 && b[2] == 6 { // Ethernet
		to := r.mac(hwaddr(b[28:]))
		copy(b[28:], to[:])
		clear(b[34:44])
	} else if !allZero(b[28:44]) {
		r.octets(b[28:44])
	}
	sname, file, rest := b[44:108], b[108:236], b[lenDHCP:]
	if !bytes.Equal(b[236:lenDHCP], []byte{99, 130, 83, 99}) {
		clear(rest) // plain BOOTP: a vendor's area
		rest = nil
	}
	// The vendor's options mean what they mean by the class, wherever it stands.
	var overload byte
	pxe := false
	look := func(code byte, v []byte) bool {
		switch {
		case code == 52 && len(v) == 1:
			overload |= v[0]
		case code == 60 && boot.ClassOf(string(v)) == boot.ClassPXE:
			pxe = true
		}
		return true
	}
	boot.WalkSubOptions(rest, look, func() {})
	for _, f := range []struct {
		field []byte
		bit   byte
	}{{file, 1}, {sname, 2}} {
		if overload&f.bit != 0 {
			boot.WalkSubOptions(f.field, look, func() {})
		}
	}
	r.options(rest, pxe)
	for _, f := range []struct {
		field []byte
		bit   byte
	}{{file, 1}, {sname, 2}} {
		if overload&f.bit != 0 {
			r.options(f.field, pxe)
			continue
		}
		name, _, _ := bytes.Cut(f.field, []byte{0})
		r.text(name, asWords)
		clear(f.field[len(name):])
	}
}

// options redacts a field of options in place; pxe says that vendor options are
// those of PXE.
func (r *redactor) options(b []byte, pxe bool) {
	eachOption(b, func(code byte, v []byte) {
		switch {
		case code == 43 && pxe:
			r.vendor(v)
		case code == 60:
			r.text(v, asClass)
		case code == 61 && len(v) == 7 && v[0] == 1: // type 1: a hardware address
			to := r.mac(hwaddr(v[1:]))
			copy(v[1:], to[:])
		case (code == 61 || code == 97) && len(v) > 1:
			if !allZero(v[1:]) {
				r.octets(v[1:]) // after the type
			}
		case code == 82: // relay agent information, RFC 3046
			eachOption(v, func(_ byte, v []byte) { r.octets(v) })
		case code == 175:
			r.ipxe(v)
		default:
			r.option(options[code], v)
		}
	})
}

func (r *redactor) option(what secrecy, v []byte) {
	switch what {
	case plain:
	case address:
		for ; len(v) >= 4; v = v[4:] {
			r.addrAt(v, 0)
		}
		clear(v)
	case words:
		r.text(v, asWords)
	case replaced:
		r.octets(v)
	}
}

// vendor redacts option 43 of PXE (PXE 2.1, tables 2-1 and 2-3).
func (r *redactor) vendor(b []byte) {
	eachOption(b, func(code byte, v []byte) {
		switch {
		case code == 6 || code == 71: // discovery control, chosen entry
		case code == 1 || code == 7: // multicast addresses
			r.option(address, v)
		case code >= 2 && code <= 5 && len(v) <= 2: // ports and waits
		case code == 8: // lists of boot servers: type, number, addresses
			for len(v) >= 3 {
				n := min(3+4*int(v[2]), len(v))
				r.option(address, v[3:n])
				v = v[n:]
			}
			clear(v)
		case code == 9: // menu: type, length, text
			for len(v) >= 3 {
				n := min(3+int(v[2]), len(v))
				r.text(v[3:n], asWords)
				v = v[n:]
			}
			clear(v)
		case code == 10 && len(v) > 1: // prompt: seconds, text
			r.text(v[1:], asWords)
		default:
			r.octets(v)
		}
	})
}

// ipxe redacts option 175: features are single octets and name nobody; version
// and bus number neither. The rest can be anything, passwords among it.
func (r *redactor) ipxe(b []byte) {
	const version, bus = 0xeb, 0xb1
	eachOption(b, func(code byte, v []byte) {
		if len(v) > 1 && code != version && code != bus {
			r.octets(v)
		}
	})
}

// eachOption calls visit with every option of b and clears what follows the end
// or cannot be read.
func eachOption(b []byte, visit func(code byte, value []byte)) {
	for len(b) > 0 {
		if b[0] == 0 {
			b = b[1:]
			continue
		}
		if b[0] == 255 {
			b = b[1:]
			break
		}
		if len(b) < 2 || len(b) < 2+int(b[1]) {
			break
		}
		visit(b[0], b[2:2+int(b[1])])
		b = b[2+int(b[1]):]
	}
	clear(b)
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// tftp redacts a TFTP packet in place.
func (r *redactor) tftp(b []byte) {
	rest := b[2:]
	switch binary.BigEndian.Uint16(b) {
	case tftpRead, tftpWrite: // name, mode, then pairs of option and value
		for i := 0; len(rest) > 0; i++ {
			s, after, _ := bytes.Cut(rest, []byte{0})
			if i < 2 {
				r.text(s, asWords)
			} else {
				r.text(s, asVersions)
			}
			rest = after
		}
	case tftpOack:
		r.text(rest, asVersions)
	case tftpError:
		r.text(rest[2:], asWords)
	case tftpAck:
		clear(rest[2:])
	case tftpData:
		blank(rest[2:])
	default:
		clear(rest)
	}
}

// blank overwrites contents.
func blank(b []byte) {
	for i := range b {
		b[i] = 'x'
	}
}
