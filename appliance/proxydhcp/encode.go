package proxydhcp

import (
	"net/netip"
	"strings"

	"github.com/insomniacslk/dhcp/dhcpv4"

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
	maxFileField  = 127 // of 128, one octet is the terminator
	maxOption     = 255
)

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
func (e *Env) encode(r *request, d boot.Decision, at netip.Addr, ack bool) (packet []byte, ok bool) {
	p := &dhcpv4.DHCPv4{
		OpCode: opReply, HWType: r.p.HWType, ClientHWAddr: r.p.ClientHWAddr,
		TransactionID: r.p.TransactionID,
		ServerIPAddr:  at.AsSlice(),
		Flags:         r.p.Flags,
		Options:       make(dhcpv4.Options, 12),
	}
	o := p.Options
	o[optServer] = p.ServerIPAddr
	if e.Port == PortDHCP {
		p.GatewayIPAddr = r.p.GatewayIPAddr
		if v, there := r.p.Options[optRelay]; there {
			o[optRelay] = v
		}
	}
	if ack {
		o[optType], p.ClientIPAddr = []byte{typeAck}, r.p.ClientIPAddr
	} else {
		o[optType] = []byte{typeOffer}
	}
	if !ack || r.relayed() && e.Port == PortDHCP {
		// The client has no address to be reached at, and many that need a
		// broadcast do not say so. It also makes relays flood the answer.
		p.Flags = flagBroadcast
	}
	if !r.badGUID() {
		if v, there := r.p.Options[optGUID]; there {
			o[optGUID] = v
		}
	}
	o[optClass] = []byte(boot.ClassPXE)
	switch {
	case d.Form == boot.FormHTTP:
		o[optClass] = []byte(boot.ClassHTTP)
	case d.Form == boot.FormRPi:
		o[optVendor] = vendorPi
		if r.mac.Vendor() == boot.OUIPi3 {
			o[optVendor] = vendorPi3
		}
		// Siaddr is ignored by the Pi 3 and by early EEPROMs of the Pi 4, and a
		// NUL after the text of option 66 upsets them.
		p.ServerHostName = at.String()
		if d.NextServer {
			o[optTFTP] = []byte(p.ServerHostName)
		}
	case ack && r.hasItem:
		o[optVendor] = []byte{subItem, 4, byte(r.item >> 8), byte(r.item), 0, 0, subEnd}
	case d.Form == boot.FormScript || d.Form == boot.FormDirect && !ack:
		o[optVendor] = vendorDirect
	}
	if d.Form == boot.FormDirect && !ack {
		p.ServerHostName = at.String()
	}
	if d.Form == boot.FormScript && d.Priority {
		o[optIPXE] = ipxePriority
	}
	if d.Form == boot.FormDirect || d.Form == boot.FormTwoStep && ack {
		setText(o, optConfig, d.Config)
		setText(o, optPrefix, d.Prefix)
	}
	if !nameFile(p, d.File) {
		return nil, false
	}
	for _, v := range o {
		if len(v) > maxOption {
			return nil, false
		}
	}
	packet = p.ToBytes()
	return packet, len(packet) <= r.maxReply()
}

// nameFile puts the name into the header field and into option 67: clients
// disagree on which of the two they read, and several read only the header.
func nameFile(p *dhcpv4.DHCPv4, name string) bool {
	if name == "" {
		return true
	}
	if len(name) <= maxFileField {
		p.BootFileName = name
	}
	value := []byte(name)
	if !strings.Contains(name, "://") {
		// Cures firmware that drops the last character of option 67, or picks
		// up the octet after it (EDK2 before 2014). Harmless elsewhere.
		value = append(value, 0)
	}
	p.Options[optBootFile] = value
	return len(value) <= maxOption
}

func setText(o dhcpv4.Options, code uint8, text string) {
	if text != "" {
		o[code] = []byte(text)
	}
}
