package boot

import "strings"

// Firmware is the kind of program that is talking. One power-on often shows
// several in turn: the NIC's ROM, then iPXE.
type Firmware string

// Firmware kinds. The set is closed: it is a metric label.
const (
	FirmwareUnknown Firmware = "unknown"
	FirmwareBIOS    Firmware = "bios"      // PXE ROM of a PC BIOS
	FirmwareUEFI    Firmware = "uefi"      // UEFI PXE (EDK2 and its descendants)
	FirmwareHTTP    Firmware = "uefi-http" // UEFI HTTP Boot
	FirmwareIPXE    Firmware = "ipxe"      // iPXE or gPXE, ours or foreign
	FirmwareRPi     Firmware = "rpi"       // Raspberry Pi boot ROM or EEPROM; claims to be a BIOS
	FirmwareOther   Firmware = "other"     // PXE client of some other platform
)

// Class is the part of option 60 that decides the form of our answer.
type Class string

// Vendor classes we may answer (PXE 2.1 section 2.2, UEFI HTTP Boot).
const (
	ClassNone Class = ""
	ClassPXE  Class = "PXEClient"
	ClassHTTP Class = "HTTPClient"
)

// ClassOf recognises the vendor class by case-sensitive prefix of 9 or 10
// octets: iPXE's menu request carries the bare word, others a tail.
func ClassOf(option60 string) Class {
	switch {
	case strings.HasPrefix(option60, string(ClassPXE)):
		return ClassPXE
	case strings.HasPrefix(option60, string(ClassHTTP)):
		return ClassHTTP
	}
	return ClassNone
}

// UserClassOurs is the user class our own scripts set, so that an iPXE that has
// already run them is never given a first stage again.
const UserClassOurs = "bootpuck"

// IPXEFeature is a feature code of option 175 (iPXE's DHCP options).
type IPXEFeature byte

// Feature codes that decisions depend on. Codes 0x10 to 0x2a are features.
const (
	FeatureHTTP IPXEFeature = 0x13
	FeatureEFI  IPXEFeature = 0x24

	featureFirst = 0x10
	featureLast  = 0x2a
	// ipxeVersion is the sub-option that holds iPXE's version.
	ipxeVersion = 0xeb
)

// IPXE is what option 175 of a request says.
type IPXE struct {
	Present  bool    // a version or a known feature code was there
	Features uint32  // bit n set: feature code 0x10+n present
	Version  [3]byte // major, minor, patch; zero when absent
}

// Has says whether the feature was announced.
func (x IPXE) Has(f IPXEFeature) bool {
	return f >= featureFirst && f <= featureLast && x.Features&(1<<(f-featureFirst)) != 0
}

// ParseIPXE walks option 175 with its own bounds checks. ok is false when a
// sub-option runs past the end; what came before it still counts, because an
// odd tail is no reason to take an iPXE for a plain ROM.
func ParseIPXE(b []byte) (x IPXE, ok bool) {
	ok = true
	WalkSubOptions(b, func(code byte, v []byte) bool {
		switch {
		case code >= featureFirst && code <= featureLast:
			x.Present = true
			// The value is a version number of the feature, 1 in all builds
			// seen but for PXE extensions (2); zero means absent.
			if len(v) > 0 && v[0] != 0 {
				x.Features |= 1 << (code - featureFirst)
			}
		case code == ipxeVersion:
			x.Present = true
			copy(x.Version[:], v)
		}
		return true
	}, func() { ok = false })
	return x, ok
}

// WalkSubOptions visits the code/length/value triples of an encapsulated
// option (43 or 175). It stops at code 255, at the end, when visit returns
// false, or at a truncated triple, for which it calls truncated once. Code 0 is
// padding.
func WalkSubOptions(b []byte, visit func(code byte, value []byte) bool, truncated func()) {
	for len(b) > 0 {
		switch b[0] {
		case 0:
			b = b[1:]
			continue
		case 255:
			return
		}
		if len(b) < 2 || len(b) < 2+int(b[1]) {
			truncated()
			return
		}
		if !visit(b[0], b[2:2+int(b[1])]) {
			return
		}
		b = b[2+int(b[1]):]
	}
}

// UserClasses splits option 77 into its classes. iPXE sends the raw text; RFC
// 3004 prefixes every class with its length. Both readings are kept when both
// are possible, bounded to 8 classes.
func UserClasses(b []byte) []string {
	if len(b) == 0 {
		return nil
	}
	out := []string{string(b)}
	rest := b
	var parts []string
	for len(rest) > 0 && len(parts) < 8 {
		n := int(rest[0])
		if n == 0 || len(rest) < 1+n {
			return out
		}
		parts = append(parts, string(rest[1:1+n]))
		rest = rest[1+n:]
	}
	if len(rest) == 0 {
		out = append(out, parts...)
	}
	return out
}

// Facts are the raw values of one request that identity is read from. All are
// claims of a stranger.
type Facts struct {
	MAC       MAC
	XID       uint32
	Class     string // option 60
	UserClass []byte // option 77
	Arch      []byte // option 93
	GUID      []byte // option 97, type octet included
	IPXE      []byte // option 175
	Relayed   bool   // giaddr was set
}

// Client is what one request reveals about the machine that sent it.
type Client struct {
	MAC       MAC
	XID       uint32
	GUID      GUID // zero when absent or unusable
	Class     Class
	Vendor    string // option 60 as sent, cut to MaxVendor octets: a stranger's text
	Firmware  Firmware
	Arch      Arch
	ArchKnown bool   // an architecture was found in option 93 or the class string
	Archs     []Arch // every value of option 93, in order (RFC 4578 allows a list)
	// ArchConflict: option 93 and the class string name different
	// architectures. Option 93 wins; worth one line in the log.
	ArchConflict bool
	IPXE         IPXE
	Ours         bool // our own script has run in this iPXE
	Relayed      bool
}

// MaxVendor bounds Client.Vendor, in octets.
const MaxVendor = 64

// Model is what a client reveals of its make before it boots: the vendor class
// and the maker of its network card. iPXE is told apart from the firmware under
// it, which may send the very same class.
func (c Client) Model() (class, oui string) {
	class = c.Vendor
	if c.Firmware == FirmwareIPXE {
		class = "iPXE " + class
	}
	return class, c.MAC.Vendor()
}

// CanHTTP says whether the client can fetch its next stage by HTTP.
func (c Client) CanHTTP() bool {
	return c.Firmware == FirmwareHTTP || c.Firmware == FirmwareIPXE && c.IPXE.Has(FeatureHTTP) || c.Ours
}

// NewClient reads a client from the facts of its request. It never fails:
// what is missing or malformed stays zero and the caller's rules decide.
func NewClient(f Facts) Client {
	c := Client{MAC: f.MAC, XID: f.XID, Class: ClassOf(f.Class), Vendor: f.Class[:min(len(f.Class), MaxVendor)], Relayed: f.Relayed}
	if len(f.GUID) == 17 && f.GUID[0] == 0 {
		c.GUID = GUIDFromOption97([16]byte(f.GUID[1:]))
	}
	c.readArch(f)
	c.IPXE, _ = ParseIPXE(f.IPXE)
	ipxe := c.IPXE.Present
	for _, u := range UserClasses(f.UserClass) {
		switch u {
		case "iPXE", "gPXE":
			ipxe = true
		case UserClassOurs:
			ipxe, c.Ours = true, true
		}
	}
	switch info, known := c.Arch.Info(); {
	case ipxe:
		c.Firmware = FirmwareIPXE
	case c.Class == ClassHTTP:
		c.Firmware = FirmwareHTTP
	case c.ArchKnown && c.Arch == ArchBIOS && isRaspberryPi(f):
		c.Firmware = FirmwareRPi
	case !c.ArchKnown || !known:
		c.Firmware = FirmwareUnknown
	case info.Platform == PlatformBIOS:
		c.Firmware = FirmwareBIOS
	case info.Platform == PlatformUEFI:
		c.Firmware = FirmwareUEFI
	default:
		c.Firmware = FirmwareOther
	}
	return c
}

// readArch takes the architecture from option 93, else from the class string
// ("PXEClient:Arch:00007:UNDI:003016"), which U-Boot and old ROMs send alone.
func (c *Client) readArch(f Facts) {
	fromClass, haveClass := archFromClass(f.Class)
	if n := len(f.Arch); n > 0 && n%2 == 0 {
		for i := 0; i < n && i < 32; i += 2 {
			c.Archs = append(c.Archs, Arch(f.Arch[i])<<8|Arch(f.Arch[i+1]))
		}
		c.Arch, c.ArchKnown = c.Archs[0], true
		// The first value we can serve, of a list.
		for _, a := range c.Archs {
			if i, ok := a.Info(); ok && i.Loader != "" {
				c.Arch = a
				break
			}
		}
		c.ArchConflict = haveClass && fromClass != c.Archs[0]
		return
	}
	if haveClass {
		c.Arch, c.ArchKnown, c.Archs = fromClass, true, []Arch{fromClass}
	}
}

func archFromClass(class string) (Arch, bool) {
	_, rest, ok := strings.Cut(class, ":Arch:")
	if !ok {
		return 0, false
	}
	n, digits := 0, 0
	for digits < len(rest) && digits < 5 && rest[digits] >= '0' && rest[digits] <= '9' {
		n = n*10 + int(rest[digits]-'0')
		digits++
	}
	if digits == 0 || n > 0xffff {
		return 0, false
	}
	return Arch(n), true
}

// raspberryPiOUIs are the blocks registered to the Raspberry Pi makers. A Pi
// claims to be a PC BIOS, so this and option 97 are all there is to tell.
var raspberryPiOUIs = map[string]bool{
	"b8:27:eb": true, "dc:a6:32": true, "e4:5f:01": true, "28:cd:c1": true,
	"d8:3a:dd": true, "2c:cf:67": true, "88:a2:9e": true,
}

// OUIPi3 is the block of the Pi 3, whose ROM wants the menu text with three
// trailing spaces (raspberrypi/firmware#801).
const OUIPi3 = "b8:27:eb"

func isRaspberryPi(f Facts) bool {
	if len(f.GUID) == 17 && f.GUID[0] == 0 {
		id := f.GUID[1:]
		// Pi 4, 5 and later: a FourCC, then board revision, MAC tail, serial.
		if string(id[:3]) == "RPi" {
			return true
		}
		// The Pi 3 ROM sends a constant.
		for _, b := range id {
			if b != 0x44 {
				// A PC's identifier contradicts a Pi's hardware address:
				// a USB adapter with a Pi vendor's chip in a PC.
				return false
			}
		}
		return true
	}
	return raspberryPiOUIs[f.MAC.Vendor()]
}
