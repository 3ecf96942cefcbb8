package pxesim

import (
	"fmt"
	"slices"
	"time"
)

// Family is the code base a firmware comes from; it decides the shape of the exchange.
type Family int

// The families.
const (
	// FamilyBIOS is a PXE 2.1 option ROM for BIOS.
	FamilyBIOS Family = iota + 1
	// FamilyIPXE is iPXE or gPXE, in a ROM or chainloaded.
	FamilyIPXE
	// FamilyUEFI is the PXE driver of EDK2 (UefiPxeBcDxe) and its descendants.
	FamilyUEFI
	// FamilyHTTP is EDK2's HttpBootDxe.
	FamilyHTTP
	// FamilyPi3 is the boot ROM of the Raspberry Pi 3.
	FamilyPi3
	// FamilyPi4 is the EEPROM boot loader of the Raspberry Pi 4 and 5.
	FamilyPi4
)

// String is the family's short name.
func (f Family) String() string {
	switch f {
	case FamilyBIOS:
		return "bios"
	case FamilyIPXE:
		return "ipxe"
	case FamilyUEFI:
		return "uefi"
	case FamilyHTTP:
		return "http"
	case FamilyPi3:
		return "pi3"
	case FamilyPi4:
		return "pi4"
	}
	return fmt.Sprintf("family(%d)", int(f))
}

// Quirks are the known deviations of one firmware, each with the change or product that made it known.
type Quirks struct {
	// DropDirectOffers: proxy offers with 43.6 to 43.10 are thrown away (EDK2 November 2010,
	// a3bcde70e6, to April 2017, 8cdd559be6).
	DropDirectOffers bool
	// IgnoreBit3: bit 3 of 43.6 has no effect (EDK2 before May 2013, 30a95d4d39).
	IgnoreBit3 bool
	// Unterminated67: option 67 is read as a C string beyond its end (EDK2 before January 2014,
	// 8cb92971e4): the End byte 0xFF, or the next options, become part of the name.
	Unterminated67 bool
	// AlwaysAsk4011: port 4011 is asked even after an offer that names a file and sets bit 3
	// (Intel UNDI PXE-2.0 build 071).
	AlwaysAsk4011 bool
	// HeaderFileOnly: option 67 is never read, only the header field.
	HeaderFileOnly bool
	// Chop67: the last byte of option 67 is taken for a terminator and lost (Soekris and others).
	Chop67 bool
	// RefusePlainHTTP: only https is allowed (EDK2 with PcdAllowHttpConnections off).
	RefusePlainHTTP bool
	// Huge57: the REQUEST carries 0xff00 as maximum size (EDK2).
	Huge57 bool
	// MissesEarly: offers that arrive sooner than this after the DISCOVER are lost: the firmware is
	// not listening yet (the reason for dnsmasq's --dhcp-reply-delay).
	MissesEarly time.Duration
}

// Profile is one kind of firmware as data. The zero value is not usable; take one from [Profiles]
// or [Lookup] and change what a test needs.
type Profile struct {
	// Name identifies the profile on a command line.
	Name string
	// Title is a line for people.
	Title string
	// Family decides the shape of the exchange.
	Family Family
	// Arch is option 93 (IANA "Processor Architecture Types").
	Arch uint16
	// OmitArch leaves option 93 out: only the class string names the architecture.
	OmitArch bool
	// UNDI is option 94: type, major, minor. All zero leaves it out.
	UNDI [3]byte
	// Class replaces option 60; empty means `PXEClient:Arch:<93>:UNDI:<94>` (or HTTPClient).
	Class string
	// Broadcast sets flag 0x8000 in DISCOVER and REQUEST.
	Broadcast bool
	// OmitGUID leaves option 97 out (iPXE without SMBIOS, some Intel ROMs).
	OmitGUID bool
	// GUID replaces option 97 whole, for firmware that puts something else there.
	GUID []byte
	// UserClass is option 77, raw bytes. iPXE does not use the RFC 3004 form.
	UserClass []byte
	// Features are iPXE feature codes, sent as 175.<code> = 1.
	Features []byte
	// Version is 175.235.
	Version []byte
	// ParamList is option 55; empty leaves it out.
	ParamList []byte
	// FixedXID is used for every message if not 0 (Raspberry Pi 3).
	FixedXID uint32
	// DiscoverWaits are the times after each DISCOVER; their number is the number of tries.
	DiscoverWaits []time.Duration
	// RequestWaits are the same for the REQUEST to the DHCP server.
	RequestWaits []time.Duration
	// BINLWaits are the same for the REQUEST to port 4011.
	BINLWaits []time.Duration
	// BINLWholeWait: an answer on 4011 is looked at only when the wait is over (EDK2): this is the
	// second that a two-step boot costs.
	BINLWholeWait bool
	// BINLSource is the source port of 4011 requests.
	BINLSource uint16
	// ProxyWait is how long iPXE waits for a proxy offer once it has an address offered, and the
	// time after which an unanswered 4011 request is abandoned.
	ProxyWait time.Duration
	// Quirks are deviations.
	Quirks Quirks
	// TFTP is how files are asked for.
	TFTP TFTPHabits
	// Autoexec: before its own DHCP the program asks the server it came from for autoexec.ipxe
	// (UEFI iPXE since January 2022).
	Autoexec bool
	// UserAgent is sent over HTTP.
	UserAgent string
	// Next is the profile that runs after this one has loaded an iPXE binary.
	Next string
}

// HasHTTP tells whether an iPXE profile announces HTTP (feature 0x13).
func (p *Profile) HasHTTP() bool { return slices.Contains(p.Features, ipxeHTTP) }

// class is the value of option 60.
func (p *Profile) class() string {
	if p.Class != "" {
		return p.Class
	}
	name := "PXEClient"
	if p.Family == FamilyHTTP {
		name = "HTTPClient"
	}
	return fmt.Sprintf("%s:Arch:%05d:UNDI:%03d%03d", name, p.Arch, p.UNDI[1], p.UNDI[2])
}

// check reports a profile that cannot be played.
func (p *Profile) check() error {
	switch {
	case p.Family < FamilyBIOS || p.Family > FamilyPi4:
		return fmt.Errorf("profile %q: unknown %v", p.Name, p.Family)
	case len(p.DiscoverWaits) == 0:
		return fmt.Errorf("profile %q: no discover waits", p.Name)
	case len(p.class()) > 255:
		return fmt.Errorf("profile %q: class of %d bytes", p.Name, len(p.class()))
	case len(p.RequestWaits) == 0 && p.Family != FamilyPi3:
		return fmt.Errorf("profile %q: no request waits", p.Name)
	case len(p.BINLWaits) == 0 && (p.Family == FamilyBIOS || p.Family == FamilyUEFI || p.Family == FamilyIPXE):
		return fmt.Errorf("profile %q: no waits for port 4011", p.Name)
	case len(p.TFTP.Waits) == 0 && p.Family != FamilyHTTP:
		return fmt.Errorf("profile %q: no tftp waits", p.Name)
	}
	return nil
}
