package pxesim

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

// DHCP message types (RFC 2132 section 9.6) that the simulated firmware sends or reads.
const (
	typeDiscover = 1
	typeOffer    = 2
	typeRequest  = 3
	typeACK      = 5
	typeNAK      = 6
	typeRelease  = 7
)

// Option codes (RFC 2132, RFC 3004, RFC 3046, RFC 4578; 175 is iPXE's own).
const (
	optMask       = 1
	optRouter     = 3
	optDNS        = 6
	optFileSize   = 13
	optVendor     = 43
	optRequestIP  = 50
	optOverload   = 52
	optType       = 53
	optServerID   = 54
	optParamList  = 55
	optMaxSize    = 57
	optClass      = 60
	optClientID   = 61
	optTFTPServer = 66
	optBootFile   = 67
	optUserClass  = 77
	optRelayInfo  = 82
	optArch       = 93
	optUNDI       = 94
	optGUID       = 97
	optIPXE       = 175
	optEnd        = 255
)

// Sub-options of option 43 in a PXE exchange (PXE 2.1, table 2-1).
const (
	pxeDiscoveryControl = 6
	pxeMulticast        = 7
	pxeServers          = 8
	pxeMenu             = 9
	pxePrompt           = 10
	pxeItem             = 71
)

// UDP ports of the exchange.
const (
	portServer = 67
	portClient = 68
	portTFTP   = 69
	portBINL   = 4011
)

const (
	headerLen = 236
	// minDHCP is header plus magic cookie: shorter is not DHCP.
	minDHCP = headerLen + 4
	// maxDHCP bounds what is read at all: the largest Ethernet frame in use.
	maxDHCP = 9216
	// minPadded is the BOOTP minimum that every firmware pads its own messages to (RFC 1542).
	minPadded = 300
)

// Errors of [ParsePacket], for errors.Is.
var (
	// ErrShort means fewer bytes than header and magic cookie.
	ErrShort = errors.New("short packet")
	// ErrLong means more bytes than any link carries.
	ErrLong = errors.New("oversized packet")
	// ErrCookie means the DHCP magic cookie is missing (RFC 2131 section 3).
	ErrCookie = errors.New("no magic cookie")
	// ErrOption means an option reaches past the end of the packet.
	ErrOption = errors.New("option past end of packet")
)

// Option is one DHCP option as it stood in the packet. Order and repetition are kept: firmware
// looks at the first one only and joins nothing.
type Option struct {
	// Code is the option code.
	Code byte
	// Data is the value; it aliases the packet.
	Data []byte
	// at is the offset of Data in the packet, to see what follows an unterminated value.
	at int
}

// Packet is a decoded BOOTP/DHCP message (RFC 2131 section 2).
type Packet struct {
	// Op is 1 for requests, 2 for replies.
	Op byte
	// HType and HLen describe the hardware address, Hops counts relays.
	HType, HLen, Hops byte
	// XID is the transaction id.
	XID uint32
	// Secs and Flags are the header fields; bit 15 of Flags asks for a broadcast answer.
	Secs, Flags uint16
	// CIAddr, YIAddr, SIAddr and GIAddr are the header addresses; unspecified is 0.0.0.0.
	CIAddr, YIAddr, SIAddr, GIAddr netip.Addr
	// CHAddr is the hardware address field.
	CHAddr [16]byte
	// SName and File are the fixed fields, not option 66 and 67.
	SName [64]byte
	// File is the fixed boot file field.
	File [128]byte
	// Options are the options of the options area in packet order.
	Options []Option
	// raw is the packet as received; nil for one being built.
	raw []byte
}

func addr4(b []byte) netip.Addr { return netip.AddrFrom4([4]byte(b[:4])) }

func put4(b []byte, a netip.Addr) {
	if a.Is4() {
		v := a.As4()
		copy(b, v[:])
	}
}

// unset tells whether an address field is empty.
func unset(a netip.Addr) bool { return !a.IsValid() || a.IsUnspecified() }

// ParsePacket decodes one message. It keeps a reference to b. The errors are ErrShort, ErrLong,
// ErrCookie and ErrOption. A missing End option is accepted, as all firmware known here does.
func ParsePacket(b []byte) (*Packet, error) {
	switch {
	case len(b) < minDHCP:
		return nil, fmt.Errorf("parse dhcp: %d bytes: %w", len(b), ErrShort)
	case len(b) > maxDHCP:
		return nil, fmt.Errorf("parse dhcp: %d bytes: %w", len(b), ErrLong)
	case binary.BigEndian.Uint32(b[headerLen:]) != 0x63825363:
		return nil, fmt.Errorf("parse dhcp: %w", ErrCookie)
	}
	p := &Packet{
		Op: b[0], HType: b[1], HLen: b[2], Hops: b[3],
		XID:    binary.BigEndian.Uint32(b[4:]),
		Secs:   binary.BigEndian.Uint16(b[8:]),
		Flags:  binary.BigEndian.Uint16(b[10:]),
		CIAddr: addr4(b[12:]), YIAddr: addr4(b[16:]), SIAddr: addr4(b[20:]), GIAddr: addr4(b[24:]),
		raw: b,
	}
	copy(p.CHAddr[:], b[28:44])
	copy(p.SName[:], b[44:108])
	copy(p.File[:], b[108:236])
	opts, err := walkOptions(b, minDHCP, len(b))
	if err != nil {
		return nil, fmt.Errorf("parse dhcp: %w", err)
	}
	p.Options = opts
	return p, nil
}

// walkOptions reads options in b[from:to] up to End.
func walkOptions(b []byte, from, to int) ([]Option, error) {
	var out []Option
	for i := from; i < to; {
		code := b[i]
		if code == optEnd {
			return out, nil
		}
		if code == 0 {
			i++
			continue
		}
		if i+1 >= to || i+2+int(b[i+1]) > to {
			return out, fmt.Errorf("option %d at %d: %w", code, i, ErrOption)
		}
		n := int(b[i+1])
		out = append(out, Option{Code: code, Data: b[i+2 : i+2+n : i+2+n], at: i + 2})
		i += 2 + n
	}
	return out, nil
}

// First is the first option with that code in the options area.
func (p *Packet) First(code byte) (Option, bool) {
	for _, o := range p.Options {
		if o.Code == code {
			return o, true
		}
	}
	return Option{}, false
}

// firstOverloaded is First, and then the file and sname fields when option 52 says that they hold
// options (RFC 2132 section 9.3). EDK2 and BIOS ROMs read those, iPXE does not.
func (p *Packet) firstOverloaded(code byte) (Option, bool) {
	if o, ok := p.First(code); ok {
		return o, true
	}
	over, ok := p.First(optOverload)
	if !ok || len(over.Data) != 1 || p.raw == nil {
		return Option{}, false
	}
	areas := [2][2]int{{108, 236}, {44, 108}}
	for i, area := range areas {
		if over.Data[0]&(1<<i) == 0 {
			continue
		}
		// A broken area still yields what came before the break.
		opts, _ := walkOptions(p.raw, area[0], area[1])
		for _, o := range opts {
			if o.Code == code {
				return o, true
			}
		}
	}
	return Option{}, false
}

// overloadsFile tells whether the file field holds options instead of a name.
func (p *Packet) overloadsFile() bool {
	o, ok := p.First(optOverload)
	return ok && len(o.Data) == 1 && o.Data[0]&1 != 0
}

// Type is the DHCP message type, 0 if option 53 is absent or not one byte.
func (p *Packet) Type() byte {
	o, ok := p.First(optType)
	if !ok || len(o.Data) != 1 {
		return 0
	}
	return o.Data[0]
}

// Addr reads the first four bytes of an option as an address; invalid if absent or short.
func (p *Packet) Addr(code byte) netip.Addr {
	o, ok := p.First(code)
	if !ok || len(o.Data) < 4 {
		return netip.Addr{}
	}
	return addr4(o.Data)
}

// ServerID is option 54; invalid if absent.
func (p *Packet) ServerID() netip.Addr { return p.Addr(optServerID) }

// classHasPrefix compares the start of option 60; case counts.
func (p *Packet) classHasPrefix(prefix string) bool {
	o, ok := p.First(optClass)
	return ok && len(o.Data) >= len(prefix) && string(o.Data[:len(prefix)]) == prefix
}

// isPXE tells whether a packet carries the 9 bytes every PXE client looks for.
func (p *Packet) isPXE() bool { return p.classHasPrefix("PXEClient") }

// fileField is the header field up to its first NUL; empty when it holds options instead.
func (p *Packet) fileField() []byte {
	if p.overloadsFile() {
		return nil
	}
	return cutNUL(p.File[:])
}

func cutNUL(b []byte) []byte {
	for i, c := range b {
		if c == 0 {
			return b[:i]
		}
	}
	return b
}

// cString reads from the start of an option's value to the next NUL wherever that is, the way
// firmware does that takes the value for a terminated string. It stops at the end of the packet.
func (p *Packet) cString(o Option) []byte {
	if p.raw == nil || o.at <= 0 || o.at > len(p.raw) {
		return cutNUL(o.Data)
	}
	return cutNUL(p.raw[o.at:])
}

// subOptions walks an encapsulated option block (43 or 175). A sub-option that is cut off ends the
// walk; the second value says so. The nested End byte is honoured.
func subOptions(b []byte) (subs []Option, truncated bool) {
	subs, err := walkOptions(b, 0, len(b))
	return subs, err != nil
}

func findSub(subs []Option, code byte) (Option, bool) {
	for _, s := range subs {
		if s.Code == code {
			return s, true
		}
	}
	return Option{}, false
}

// Set replaces every option of that code by one value, or adds it at the end.
func (p *Packet) Set(code byte, data ...byte) {
	kept := p.Options[:0]
	done := false
	for _, o := range p.Options {
		if o.Code != code {
			kept = append(kept, o)
			continue
		}
		if !done {
			kept = append(kept, Option{Code: code, Data: data})
			done = true
		}
	}
	if !done {
		kept = append(kept, Option{Code: code, Data: data})
	}
	p.Options = kept
}

// Delete removes every option of that code.
func (p *Packet) Delete(code byte) {
	kept := p.Options[:0]
	for _, o := range p.Options {
		if o.Code != code {
			kept = append(kept, o)
		}
	}
	p.Options = kept
}

// Marshal encodes the packet, options in their order, End, padded with zeros to 300 bytes. Values
// longer than 255 bytes are an error of the caller and are cut.
func (p *Packet) Marshal() []byte {
	b := make([]byte, minDHCP, 512)
	b[0], b[1], b[2], b[3] = p.Op, p.HType, p.HLen, p.Hops
	binary.BigEndian.PutUint32(b[4:], p.XID)
	binary.BigEndian.PutUint16(b[8:], p.Secs)
	binary.BigEndian.PutUint16(b[10:], p.Flags)
	put4(b[12:], p.CIAddr)
	put4(b[16:], p.YIAddr)
	put4(b[20:], p.SIAddr)
	put4(b[24:], p.GIAddr)
	copy(b[28:], p.CHAddr[:])
	copy(b[44:], p.SName[:])
	copy(b[108:], p.File[:])
	binary.BigEndian.PutUint32(b[headerLen:], 0x63825363)
	for _, o := range p.Options {
		data := o.Data
		if len(data) > 255 {
			data = data[:255]
		}
		b = append(b, o.Code, byte(len(data)))
		b = append(b, data...)
	}
	b = append(b, optEnd)
	for len(b) < minPadded {
		b = append(b, 0)
	}
	return b
}
