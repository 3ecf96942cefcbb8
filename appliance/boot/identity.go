package boot

import (
	"encoding/hex"
	"fmt"
	"net"
	"strings"
)

// MAC is a hardware address in canonical text form (lower case hexadecimal,
// colons), up to 16 octets as in the chaddr field (RFC 2131 section 2). Being a
// string it is comparable, printable and never shares memory with a packet.
type MAC string

// MACOf returns the canonical form of hardware address octets.
func MACOf(hw []byte) MAC { return MAC(net.HardwareAddr(hw).String()) }

// ParseMAC accepts colons, dashes or dots and any case. It is the reader for
// what people and query strings write; an error names the text (quoted).
func ParseMAC(s string) (MAC, error) {
	if len(s) > 59 { // 20 octets in colon form, the longest net.ParseMAC knows
		return "", fmt.Errorf("hardware address of %d characters: too long", len(s))
	}
	hw, err := net.ParseMAC(s)
	if err != nil {
		return "", fmt.Errorf("hardware address %q: want six octets like 52:54:00:12:34:56", s)
	}
	return MACOf(hw), nil
}

// Vendor returns the first three octets ("b8:27:eb"), the registered OUI, or
// "" when the address is shorter.
func (m MAC) Vendor() string {
	if len(m) < 8 {
		return ""
	}
	return string(m[:8])
}

// GUID is a machine identifier (SMBIOS type 1 UUID) in canonical octet order,
// that is as `dmidecode` and iPXE's ${uuid} print it.
type GUID [16]byte

// guidSwap exchanges between canonical order and the order of DHCP option 97,
// in which the first three fields are little-endian. EDK2 and iPXE send it so
// (seen on the wire); the operation is its own inverse.
func guidSwap(g GUID) GUID {
	g[0], g[1], g[2], g[3] = g[3], g[2], g[1], g[0]
	g[4], g[5] = g[5], g[4]
	g[6], g[7] = g[7], g[6]
	return g
}

// GUIDFromOption97 reads the 16 octets that follow the type octet of option 97
// (RFC 4578 section 2.3).
func GUIDFromOption97(b [16]byte) GUID { return guidSwap(GUID(b)) }

// ParseGUID reads 32 hexadecimal digits with or without dashes and braces, as
// written in canonical order. Errors quote the text.
func ParseGUID(s string) (GUID, error) {
	var g GUID
	t := strings.NewReplacer("-", "", "{", "", "}", "").Replace(s)
	if len(t) != 32 || len(s) > 38 {
		return g, fmt.Errorf("UUID %.40q: want 32 hexadecimal digits", s)
	}
	if _, err := hex.Decode(g[:], []byte(t)); err != nil {
		return g, fmt.Errorf("UUID %.40q: want 32 hexadecimal digits", s)
	}
	return g, nil
}

// String prints the canonical form, lower case with dashes.
func (g GUID) String() string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", g[0:4], g[4:6], g[6:8], g[8:10], g[10:])
}

// Swapped returns the identifier as a reader sees it who prints the octets of
// option 97 as they come (pxelinux does).
func (g GUID) Swapped() GUID { return guidSwap(g) }

// Matches says whether other means the same machine in either octet order: an
// operator may have copied the spelling that pxelinux shows, or dmidecode's.
func (g GUID) Matches(other GUID) bool { return g == other || guidSwap(g) == other }

// IsZero says that no identifier is set.
func (g GUID) IsZero() bool { return g == GUID{} }
