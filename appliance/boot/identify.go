package boot

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// sharedGUIDs are identifiers that makers burn into whole series of boards, in
// canonical order. Values of one repeated octet (all zero, all F, the 0x44 of
// the Raspberry Pi 3's ROM) need no entry.
var sharedGUIDs = func() map[GUID]bool {
	m := map[GUID]bool{}
	for _, s := range []string{
		"00020003-0004-0005-0006-000700080009", // AMI's example
		"03000200-0400-0500-0006-000700080009", // the same in the other octet order
		"12345678-1234-5678-90ab-cddeefaabbcc", // Insyde's and Phoenix's example
		"4c4c4544-0000-2010-8020-80c04f202020", // Dell's encoding of an empty service tag
		"4c4c4544-0020-2010-8020-80c04f202020", // the same, later boards
		"fefefefe-fefe-fefe-fefe-fefefefefeff", // cleared flash with a checksum
		"00000000-0000-0000-0000-000000000001", // counted up from nothing
	} {
		g, err := ParseGUID(s)
		if err != nil {
			panic(err) // the list above is part of the program
		}
		m[g], m[g.Swapped()] = true, true
	}
	return m
}()

// UsableGUID says whether g can tell machines apart: it is not zero, not one
// octet repeated, and not a constant that makers left in their boards. Both
// octet orders are recognised.
func UsableGUID(g GUID) bool {
	for _, b := range g {
		if b != g[0] {
			return !sharedGUIDs[g]
		}
	}
	return false
}

// placeholders are serial numbers that say that nobody wrote one, in lower case
// without anything but letters and digits.
var placeholders = func() map[string]bool {
	m := map[string]bool{}
	for _, s := range []string{
		"default", "defaultstring", "string", "none", "na", "nil", "null", "no", "notspecified", "unspecified",
		"notapplicable", "notavailable", "notpresent", "notset", "notdefined", "undefined", "unknown", "invalid", "empty",
		"blank", "oem", "sn", "serial", "serialno", "systemserial", "badindex", "tbd", "todo", "standard", "asset",
		"noassettag", "inventory", "error", "uninitialized", "fillbyoem", "reserved",
	} {
		m[s] = true
	}
	return m
}()

// counted are digit rows that firmware vendors ship as an example.
var counted = [...]string{
	"0123456789abcdefghijklmnopqrstuvwxyz", "1234567890abcdefghijklmnopqrstuvwxyz", "123456789abcdefghijklmnopqrstuvwxyz", "9876543210",
}

// UsableSerial says whether a serial number from SMBIOS can tell machines
// apart. Board makers fill the field with all kinds of words for "nothing".
func UsableSerial(s string) bool {
	if len(s) > MaxClaim {
		return false
	}
	t := strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return unicode.ToLower(r)
		}
		return -1
	}, s)
	if placeholders[t] || strings.Contains(t, "tobefilled") || strings.Contains(t, "serialnum") {
		return false
	}
	for _, c := range counted {
		if len(t) >= 4 && strings.HasPrefix(c, t) {
			return false
		}
	}
	first, _ := utf8.DecodeRuneInString(t)
	if strings.Trim(t, string(first)) == "" {
		return false // nothing, or one character, repeated or not
	}
	return strings.Trim(t, "0fx") != "" // erased flash in all spellings: 0x00, FFFF, XXXX
}

// SameSerial compares serial numbers as Identify does: without regard to case
// and surrounding spaces, which differ between what firmware and stickers say.
func SameSerial(a, b string) bool {
	return strings.EqualFold(strings.TrimSpace(a), strings.TrimSpace(b))
}

// Known says whether the operator has decided something about the machine:
// named it, allowed or denied it, put it into a group, assigned it something, or
// written down a hardware address for it. Notes, tags and variables alone do
// not: "stolen, do not boot" must not let a machine in.
func (m Machine) Known() bool {
	if m.Name != "" || m.Access != AccessDefault || len(m.Groups) > 0 || m.Assignment != nil {
		return true
	}
	return slices.ContainsFunc(m.MACs, func(n NIC) bool { return n.Given })
}

// nic returns the record of a hardware address.
func (m *Machine) nic(mac MAC) (NIC, bool) {
	for _, n := range m.MACs {
		if n.MAC == mac {
			return n, true
		}
	}
	return NIC{}, false
}

// Claim is the bounded, printable form of a string that a client told: at most
// MaxClaim octets of valid UTF-8, control and direction characters replaced by
// "?", without surrounding spaces.
func Claim(s string) string {
	if len(s) > MaxClaim {
		s = s[:MaxClaim]
		for range utf8.UTFMax - 1 { // not within a character
			if r, n := utf8.DecodeLastRuneInString(s); r == utf8.RuneError && n == 1 {
				s = s[:len(s)-1]
			}
		}
	}
	if plain(s) {
		return strings.TrimSpace(s)
	}
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if !printable(r) {
			return '?'
		}
		return r
	}, s))
}

// plain says whether s is printable ASCII: the common case, without a copy.
func plain(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// printable leaves out control characters, and those that turn the direction of
// text around or end a line in some programs.
func printable(r rune) bool {
	switch {
	case r < ' ', r >= 0x7f && r < 0xa0, r == utf8.RuneError, r == 0xfeff:
		return false
	case r >= 0x200b && r <= 0x200f, r >= 0x2028 && r <= 0x202e, r >= 0x2060 && r <= 0x2069:
		return false
	}
	return true
}

// SightingOf is what a DHCP packet reveals. addr is the client's address when
// known, iface the box's interface.
func SightingOf(c Client, at time.Time, addr netip.Addr, iface string) Sighting {
	s := Sighting{
		Time: at, MAC: c.MAC, GUID: c.GUID, Addr: addr.Unmap(), Firmware: c.Firmware, Interface: iface,
		Arch: c.Arch, ArchKnown: c.ArchKnown,
	}
	if addr.IsUnspecified() {
		s.Addr = netip.Addr{}
	}
	if c.ArchKnown {
		info, _ := c.Arch.Info()
		s.ArchName, s.CPU, s.Platform = info.Name, info.CPU, info.Platform
	}
	if c.Firmware == FirmwareRPi {
		// It claims to be a PC BIOS.
		s.Platform, s.CPU = PlatformRPI, ""
	}
	if v := c.IPXE.Version; v != [3]byte{} {
		s.IPXE = strconv.Itoa(int(v[0])) + "." + strconv.Itoa(int(v[1])) + "." + strconv.Itoa(int(v[2]))
	}
	return s
}

// Merge lays a newer look over an older one: what the newer one tells counts,
// what it does not tell stays. What belongs to the firmware interface or to the
// network card does not outlive a change of these. Strings are cut to bounds.
// The map of variables is shared with the newer sighting, not copied.
func (s Sighting) Merge(newer Sighting) Sighting {
	if newer.Platform != "" && newer.Platform != s.Platform {
		// The same machine by UEFI instead of BIOS: nothing of the other holds.
		s.SecureBoot, s.IPXE, s.CPU = SecureBootUnknown, "", ""
		s.Arch, s.ArchKnown, s.ArchName = 0, false, ""
	}
	if newer.MAC != "" && newer.MAC != s.MAC {
		s.NIC, s.Addr = "", netip.Addr{}
	}
	if newer.Time.After(s.Time) {
		s.Time = newer.Time
	}
	if newer.ArchKnown {
		s.Arch, s.ArchKnown = newer.Arch, true
	}
	if !newer.GUID.IsZero() {
		s.GUID = newer.GUID
	}
	if newer.Addr.IsValid() {
		s.Addr = newer.Addr
	}
	if newer.Memory > 0 {
		s.Memory = newer.Memory
	}
	if len(newer.Variables) > 0 {
		s.Variables = newer.Variables
	}
	s.MAC = later(s.MAC, newer.MAC)
	s.Firmware = later(s.Firmware, newer.Firmware)
	s.Platform = later(s.Platform, newer.Platform)
	s.SecureBoot = later(s.SecureBoot, newer.SecureBoot)
	s.Interface = later(s.Interface, newer.Interface)
	s.ArchName = later(s.ArchName, newer.ArchName)
	for _, f := range [...]struct {
		to  *string
		now string
	}{
		{&s.Serial, newer.Serial},
		{&s.Manufacturer, newer.Manufacturer},
		{&s.Product, newer.Product},
		{&s.Asset, newer.Asset},
		{&s.Hostname, newer.Hostname},
		{&s.NIC, newer.NIC},
		{&s.CPU, newer.CPU},
		{&s.IPXE, newer.IPXE},
	} {
		*f.to = Claim(later(*f.to, f.now))
	}
	return s
}

// later is what was told later, if anything was.
func later[T ~string](before, now T) T { return first(now, before) }

// MarshalText writes the canonical form; nothing for the zero identifier.
func (g GUID) MarshalText() ([]byte, error) {
	if g.IsZero() {
		return nil, nil
	}
	return []byte(g.String()), nil
}

// UnmarshalText reads what ParseGUID reads; nothing is the zero identifier.
func (g *GUID) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*g = GUID{}
		return nil
	}
	read, err := ParseGUID(string(text))
	if err == nil {
		*g = read
	}
	return err
}
