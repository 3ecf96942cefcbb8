package proxydhcp

import (
	"encoding/binary"
	"net/netip"
	"strings"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// Sub-options of option 43 (PXE 2.1 table 2-1) and the values we use.
const (
	subControl = 6  // discovery control
	subMenu    = 9  // boot menu
	subPrompt  = 10 // menu prompt and time-out
	subItem    = 71 // boot item
	subEnd     = 255

	// controlBootFile (bit 3): fetch the file of this offer without prompt,
	// menu or discovery. Without it EDK2 ends with PXE-E21.
	controlBootFile = 0x08
	// controlUnicast (bits 0 and 1): neither broadcast nor multicast discovery.
	controlUnicast = 0x03

	itemLocal  = 0      // "boot from the local disk"
	itemVendor = 0x8000 // first boot-server type that no product is registered for

	flagBroadcast = 0x8000
	// minReply is the length of a BOOTP message; some stacks and relays drop
	// shorter ones (RFC 1542 section 2.1).
	minReply     = 300
	maxFileField = 127 // of 128, one octet is the terminator
	maxOption    = 255
)

var magicCookie = [4]byte{0x63, 0x82, 0x53, 0x63}

// Option 43 as sent, ready-made. It always ends with its own End.
var (
	vendorDirect = []byte{subControl, 1, controlBootFile, subEnd}
	vendorPi     = piMenu("Raspberry Pi Boot")
	// The ROM of the Pi 3 compares 20 characters (raspberrypi/firmware#801).
	vendorPi3 = piMenu("Raspberry Pi Boot   ")
	// ipxePriority makes our offer win over a boot file or an option 60 that
	// the site's DHCP server hands out.
	ipxePriority = []byte{1, 1, 1}
)

// piMenu is the menu a Raspberry Pi looks for: one entry, no padding before the
// end, which early EEPROMs misread.
func piMenu(text string) []byte {
	b := []byte{subControl, 1, controlUnicast, subPrompt, 4, 0, 'P', 'X', 'E'}
	b = append(b, subMenu, byte(3+len(text)), itemLocal, itemLocal, byte(len(text)))
	return append(append(b, text...), subEnd)
}

// encode writes the reply; ok is false when the boot file name or the whole
// packet does not fit. A name is never cut and never split over two options:
// neither EDK2 nor iPXE joins the pieces.
//
// The codec's encoder is not used: it takes as long as everything else together
// and sorts the options by code, while old ROMs want 53, 54 and 60 first.
func (e *Env) encode(r *request, d boot.Decision, at netip.Addr, ack bool) (packet []byte, ok bool) {
	p := reply{b: make([]byte, headerLen, 512)}
	p.header(e, r, d, at, ack)
	if ack {
		p.option(optType, typeAck)
	} else {
		p.option(optType, typeOffer)
	}
	us := at.As4()
	p.option(optServer, us[:]...)
	if d.Form == boot.FormHTTP {
		p.text(optClass, string(boot.ClassHTTP))
	} else {
		p.text(optClass, string(boot.ClassPXE))
	}
	switch {
	case d.Form == boot.FormRPi && r.mac.Vendor() == boot.OUIPi3:
		p.option(optVendor, vendorPi3...)
	case d.Form == boot.FormRPi:
		p.option(optVendor, vendorPi...)
	case ack && r.hasItem:
		p.option(optVendor, subItem, 4, byte(r.item>>8), byte(r.item), 0, 0, subEnd)
	case d.Form == boot.FormScript || d.Form == boot.FormDirect && !ack:
		p.option(optVendor, vendorDirect...)
	}
	if d.NextServer {
		// A NUL after this text upsets the Pi 3 and early EEPROMs of the Pi 4.
		p.text(optTFTP, at.String())
	}
	p.file(d.File)
	if v, there := r.p.Options[optGUID]; there && !r.badGUID() {
		p.option(optGUID, v...)
	}
	if d.Priority {
		p.option(optIPXE, ipxePriority...)
	}
	if d.Form == boot.FormDirect || d.Form == boot.FormTwoStep && ack {
		if d.Config != "" {
			p.text(optConfig, d.Config)
		}
		if d.Prefix != "" {
			p.text(optPrefix, d.Prefix)
		}
	}
	if v, there := r.p.Options[optRelay]; there && e.Port == PortDHCP {
		p.option(optRelay, v...) // the last one: RFC 3046 section 2.1
	}
	p.b = append(p.b, optEnd)
	for len(p.b) < minReply {
		p.b = append(p.b, 0)
	}
	return p.b, !p.tooLong && len(p.b) <= r.maxReply()
}

// reply is a packet being written.
type reply struct {
	b       []byte
	tooLong bool // something did not fit
}

// Offsets in the fixed header (RFC 2131 section 2).
const (
	atFlags, atCiaddr, atSiaddr, atGiaddr = 10, 12, 20, 24
	atChaddr, atSname, atFile, atCookie   = 28, 44, 108, 236
)

func (p *reply) header(e *Env, r *request, d boot.Decision, at netip.Addr, ack bool) {
	b := p.b
	b[0], b[1], b[2] = opReply, byte(r.p.HWType), r.hlen
	copy(b[4:], r.p.TransactionID[:])
	flags := r.p.Flags
	if !ack || r.relayed() && e.Port == PortDHCP {
		// The client has no address to be reached at, and many that need a
		// broadcast do not say so. It also makes relays flood the answer.
		flags = flagBroadcast
	}
	binary.BigEndian.PutUint16(b[atFlags:], flags)
	if ack {
		copy(b[atCiaddr:], r.p.ClientIPAddr)
	}
	us := at.As4()
	copy(b[atSiaddr:], us[:])
	if e.Port == PortDHCP {
		copy(b[atGiaddr:], r.p.GatewayIPAddr)
	}
	copy(b[atChaddr:], r.p.ClientHWAddr)
	if d.Form == boot.FormRPi || d.Form == boot.FormDirect && !ack {
		at.AppendTo(b[:atSname])
	}
	copy(b[atCookie:], magicCookie[:])
}

// option appends an option.
func (p *reply) option(code byte, value ...byte) {
	if len(value) > maxOption {
		p.tooLong = true
		return
	}
	p.b = append(append(p.b, code, byte(len(value))), value...)
}

func (p *reply) text(code byte, value string) {
	if len(value) > maxOption {
		p.tooLong = true
		return
	}
	p.b = append(append(p.b, code, byte(len(value))), value...)
}

// file puts the name into the header field and into option 67: clients disagree
// on which of the two they read, and several read only the header.
func (p *reply) file(name string) {
	if name == "" {
		return
	}
	if len(name) <= maxFileField {
		copy(p.b[atFile:], name)
	}
	if strings.Contains(name, "://") {
		p.text(optBootFile, name)
		return
	}
	if len(name) >= maxOption {
		p.tooLong = true
		return
	}
	// The NUL cures firmware that drops the last character of option 67, or
	// picks up the octet after it (EDK2 before 2014). Harmless elsewhere.
	p.b = append(append(append(p.b, optBootFile, byte(len(name)+1)), name...), 0)
}
