package ipxe

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// Bounds of a request for the machine's script. A full set of the parameters
// our boot script sends is below 1 kB even with long SMBIOS strings.
const (
	maxQuery  = 4096 // octets of the raw query
	maxPairs  = 64   // name=value pairs
	maxString = 128  // octets kept of a free-text value
	maxIdent  = 64   // octets of a value that identifies
)

// ErrParameter is wrapped by every error of ParseParams. The error text names
// the parameter, never its value.
var ErrParameter = errors.New("malformed parameter")

// paramError says which parameter was unusable.
type paramError struct{ name string }

func (e paramError) Error() string { return "parameter " + e.name + ": " + ErrParameter.Error() }
func (e paramError) Unwrap() error { return ErrParameter }

// SecureBoot is the state of UEFI Secure Boot as the client reports it.
type SecureBoot = boot.SecureBoot

// Secure Boot states.
const (
	SecureBootUnknown = boot.SecureBootUnknown // BIOS, or an iPXE that cannot read EFI variables
	SecureBootOff     = boot.SecureBootOff     // EFI variable SecureBoot = 0
	SecureBootOn      = boot.SecureBootOn      // EFI variable SecureBoot = 1
)

// Params is what a machine says about itself when it asks for its script. All
// of it is a claim by a stranger. MAC, GUID and the addresses are parsed; the
// strings are bounded and printable but otherwise free, and must be escaped by
// whoever shows them and never be written into a script.
type Params struct {
	MAC        boot.MAC   // empty when not given
	GUID       boot.GUID  // zero when not given
	IP         netip.Addr // invalid when not given or not an address; so are the next three
	Gateway    netip.Addr
	DNS        netip.Addr
	NextServer netip.Addr
	Netmask    string

	Asset, Domain, Filename, Hostname, UserClass string
	Manufacturer, Product, Serial                string

	NIC  string // iPXE's ${netX/busid}: bus type, vendor and device of the card in use ("01:80:86:10:0e")
	Chip string // iPXE's ${netX/chip}: its driver's name of the card

	Platform   string // iPXE's ${platform}: "pcbios" or "efi"
	BuildArch  string // iPXE's ${buildarch}: the CPU iPXE was built for
	CPU        string // "x86_64" when a BIOS build, which is always i386, found a 64-bit processor
	Version    string // iPXE's ${version}
	Memory     int    // MiB from SMBIOS, 0 when unknown
	SecureBoot SecureBoot
}

// ParseParams reads the query of a request for the machine's script. Hardware
// address and identifier decide what a machine gets, so a malformed one is an
// error (wrapping ErrParameter), as is a query out of bounds. Other values come
// from SMBIOS tables of any quality: they are cut and cleaned, for a vendor's
// garbage must not keep a machine from booting. Unknown names are ignored; of
// a repeated name the first counts.
func ParseParams(rawQuery string) (Params, error) {
	var p Params
	if len(rawQuery) > maxQuery {
		return p, paramError{"query"}
	}
	var dimms, spans string
	var seen [len(paramNames)]bool
	for pairs := 0; rawQuery != ""; pairs++ {
		if pairs == maxPairs {
			return Params{}, paramError{"query"}
		}
		var pair string
		pair, rawQuery, _ = strings.Cut(rawQuery, "&")
		name, raw, _ := strings.Cut(pair, "=")
		i, known := paramIndexes[name]
		if !known || seen[i] {
			continue
		}
		seen[i] = true
		switch id := paramNames[i]; id {
		case "mac":
			s, ok := identity(raw)
			if !ok {
				return Params{}, paramError{id}
			}
			if s == "" {
				continue
			}
			mac, err := boot.ParseMAC(s)
			if err != nil {
				return Params{}, paramError{id}
			}
			p.MAC = mac
		case "uuid":
			s, ok := identity(raw)
			if !ok {
				return Params{}, paramError{id}
			}
			if s == "" {
				continue
			}
			g, ok := guid(s)
			if !ok {
				return Params{}, paramError{id}
			}
			p.GUID = g
		case "ip":
			p.IP = address(raw)
		case "gateway":
			p.Gateway = address(raw)
		case "dns":
			p.DNS = address(raw)
		case "next-server":
			p.NextServer = address(raw)
		case "netmask":
			if a := address(raw); a.Is4() {
				p.Netmask = a.String()
			}
		case "asset":
			p.Asset = text(raw)
		case "domain":
			p.Domain = text(raw)
		case "filename":
			p.Filename = text(raw)
		case "hostname":
			p.Hostname = text(raw)
		case "user-class":
			p.UserClass = text(raw)
		case "manufacturer":
			p.Manufacturer = text(raw)
		case "product":
			p.Product = text(raw)
		case "serial":
			p.Serial = text(raw)
		case "nic":
			p.NIC = word(raw)
		case "chip":
			p.Chip = text(raw)
		case "cpu":
			p.CPU = word(raw)
		case "platform":
			p.Platform = word(raw)
		case "buildarch":
			p.BuildArch = word(raw)
		case "version":
			p.Version = text(raw)
		case "memory":
			if n, err := strconv.Atoi(raw); err == nil && n > 0 && n < 1<<30 {
				p.Memory = n
			}
		case "dimms":
			dimms = raw
		case "spans":
			spans = raw
		case "secureboot":
			switch raw {
			case "00":
				p.SecureBoot = SecureBootOff
			case "01":
				p.SecureBoot = SecureBootOn
			}
		}
	}
	if p.Memory == 0 {
		p.Memory = max(memoryOfDevices(dimms), memoryOfSpans(spans))
	}
	return p, nil
}

// paramNames are the names the boot script sends; a test ties the two together.
var paramNames = [...]string{
	"mac", "uuid", "ip", "netmask", "gateway", "dns", "domain", "filename", "next-server", "hostname",
	"user-class", "manufacturer", "product", "serial", "asset", "nic", "chip", "platform", "buildarch", "cpu",
	"version", "memory", "dimms", "spans", "secureboot",
}

// paramIndexes finds a name in paramNames, also in the spelling without dashes
// that many hand-written boot scripts use.
var paramIndexes = func() map[string]int {
	m := make(map[string]int, len(paramNames)+2)
	for i, name := range paramNames {
		m[name] = i
	}
	m["nextserver"], m["userclass"] = m["next-server"], m["user-class"]
	return m
}()

// identity decodes a value that identifies: short, and of the allow-list only.
func identity(raw string) (string, bool) {
	if len(raw) > 3*maxIdent {
		return "", false
	}
	s, err := url.PathUnescape(raw)
	if err != nil || len(s) > maxIdent {
		return "", false
	}
	return s, safe(s)
}

// guid reads a UUID, the form iPXE prints without going through the reader for
// people's spellings.
func guid(s string) (g boot.GUID, ok bool) {
	if len(s) == 36 && s[8] == '-' && s[13] == '-' && s[18] == '-' && s[23] == '-' {
		var digits [32]byte
		n := copy(digits[:], s[:8])
		n += copy(digits[n:], s[9:13])
		n += copy(digits[n:], s[14:18])
		n += copy(digits[n:], s[19:23])
		copy(digits[n:], s[24:])
		_, err := hex.Decode(g[:], digits[:])
		return g, err == nil
	}
	g, err := boot.ParseGUID(s)
	return g, err == nil
}

// safe says whether s consists of [A-Za-z0-9._:-] only.
func safe(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case c == '.', c == '_', c == ':', c == '-':
		default:
			return false
		}
	}
	return true
}

// word decodes a value of the allow-list, else nothing.
func word(raw string) string {
	s, ok := identity(raw)
	if !ok {
		return ""
	}
	return s
}

// address decodes an IP address, else nothing.
func address(raw string) netip.Addr {
	a, err := netip.ParseAddr(word(raw))
	if err != nil {
		return netip.Addr{}
	}
	return a.Unmap()
}

// text decodes a free value: bounded, valid UTF-8, no control characters.
func text(raw string) string {
	if len(raw) > 3*maxString {
		// Cut before decoding, not within an escape.
		raw = raw[:3*maxString]
		if i := strings.LastIndexByte(raw, '%'); i >= len(raw)-2 {
			raw = raw[:i]
		}
	}
	s, err := url.PathUnescape(raw)
	if err != nil {
		return ""
	}
	if len(s) > maxString {
		s = s[:maxString]
		for len(s) > 0 && !utf8.RuneStart(s[len(s)-1]) {
			s = s[:len(s)-1]
		}
		if r, n := utf8.DecodeLastRuneInString(s); r == utf8.RuneError && n == 1 {
			s = s[:len(s)-1]
		}
	}
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == utf8.RuneError || r >= 0x80 && r < 0xa0 || r >= 0x2028 && r <= 0x202e {
			return '?'
		}
		return r
	}, s))
}

// memoryOfDevices sums the sizes of SMBIOS memory devices (type 17, offset 0x0c,
// two octets, little-endian), given as hexadecimal separated by dots. Bit 15
// set means KiB; 0x7fff means "32 GiB or more, see elsewhere" and 0xffff
// unknown: then the sum is too small and the address ranges know better.
func memoryOfDevices(s string) int {
	var kib uint64
	for part := range strings.SplitSeq(s, ".") {
		var b [2]byte
		if len(part) != 2*len(b) {
			continue
		}
		if _, err := hex.Decode(b[:], []byte(part)); err != nil {
			continue
		}
		switch n := uint64(binary.LittleEndian.Uint16(b[:])); {
		case n == 0xffff:
		case n == 0x7fff:
			kib += 32 << 20
		case n&0x8000 != 0:
			kib += n & 0x7fff
		default:
			kib += n << 10
		}
	}
	return int(kib >> 10)
}

// memoryOfSpans sums SMBIOS mapped address ranges (type 19, offsets 4 to 11:
// first and last address in KiB, little-endian).
func memoryOfSpans(s string) int {
	var kib uint64
	for part := range strings.SplitSeq(s, ".") {
		var b [8]byte
		if len(part) != 2*len(b) {
			continue
		}
		if _, err := hex.Decode(b[:], []byte(part)); err != nil {
			continue
		}
		first, last := binary.LittleEndian.Uint32(b[:4]), binary.LittleEndian.Uint32(b[4:])
		if last > first && last != 0xffffffff {
			kib += uint64(last) - uint64(first) + 1
		}
	}
	return int(kib >> 10)
}
