package ipxe

import (
	"encoding/hex"
	"net/netip"
	"strings"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// ConfigKey says for which machine a second stage asks for its configuration.
// Exactly one field is set. What is in it is the claim of the sender.
type ConfigKey struct {
	MAC boot.MAC // "01-52-54-00-12-34-56"
	// GUID is the identifier as it was spelled. pxelinux prints the octets of
	// option 97 as they come, so that the machine's canonical identifier is
	// either this or its Swapped form.
	GUID boot.GUID
	// Addr is an IPv4 address, or its first 4 to 28 bits, from one to eight
	// hexadecimal digits.
	Addr netip.Prefix
	// Default is the name that everybody may ask for.
	Default bool
}

// pxelinuxDir is the folder that pxelinux looks into, below where it was loaded
// from.
const pxelinuxDir = "pxelinux.cfg"

// PXELinuxKey parses a name that pxelinux tries for its configuration:
// pxelinux.cfg/ and then a UUID, 01-MAC, one to eight hexadecimal digits of the
// address, or "default", in any case. prefix is the folder before it without
// its final slash, empty at the root. Any other name, also one deeper below
// pxelinux.cfg, is not ok.
func PXELinuxKey(name string) (prefix string, key ConfigKey, ok bool) {
	if len(name) > maxName {
		return "", ConfigKey{}, false
	}
	dir, last, ok := cutLast(name)
	if !ok {
		return "", ConfigKey{}, false
	}
	prefix, dir, ok = cutLast(dir)
	if !ok {
		prefix = ""
	}
	if !strings.EqualFold(dir, pxelinuxDir) || ok && ownPath(prefix) != nil {
		return "", ConfigKey{}, false
	}
	if strings.EqualFold(last, "default") {
		return prefix, ConfigKey{Default: true}, true
	}
	key, ok = configKey(last)
	if !ok {
		prefix = ""
	}
	return prefix, key, ok
}

// GRUBKey parses a name that GRUB's network images try for their
// configuration: grub/grub.cfg, and before that grub.cfg- with a UUID, 01-MAC or
// the first digits of the address.
func GRUBKey(name string) (ConfigKey, bool) {
	if len(name) < len(NameGRUB) || !strings.EqualFold(name[:len(NameGRUB)], NameGRUB) {
		return ConfigKey{}, false
	}
	rest := name[len(NameGRUB):]
	if rest == "" {
		return ConfigKey{Default: true}, true
	}
	if rest[0] != '-' {
		return ConfigKey{}, false
	}
	return configKey(rest[1:])
}

// configKey reads what stands for one machine, or some addresses.
func configKey(s string) (ConfigKey, bool) {
	switch n := len(s); {
	case n == 36 && s[8] == '-' && s[13] == '-' && s[18] == '-' && s[23] == '-':
		g, ok := guid(s)
		if !ok || g.IsZero() {
			return ConfigKey{}, false
		}
		return ConfigKey{GUID: g}, true
	case n == 20 && strings.HasPrefix(s, "01-"):
		if strings.ContainsAny(s, ":.") {
			return ConfigKey{}, false
		}
		mac, err := boot.ParseMAC(s[3:])
		if err != nil {
			return ConfigKey{}, false
		}
		return ConfigKey{MAC: mac}, true
	case n >= 1 && n <= 8:
		b, err := hex.DecodeString(s + "00000000"[n:])
		if err != nil {
			return ConfigKey{}, false
		}
		return ConfigKey{Addr: netip.PrefixFrom(netip.AddrFrom4([4]byte(b)), 4*n)}, true
	}
	return ConfigKey{}, false
}

// cutLast cuts a name before its last part.
func cutLast(name string) (before, last string, ok bool) {
	i := strings.LastIndexByte(name, '/')
	if i < 0 {
		return "", name, false
	}
	return name[:i], name[i+1:], true
}
