package lab

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"unicode/utf16"
)

// NVRAM edits the variable store of EDK2 firmware (the OVMF_VARS and
// AAVMF_VARS files): it appends boot options, so that a client tries HTTP Boot
// first instead of after every PXE attempt has timed out. Layout: EDK2
// MdeModulePkg, VariableFormat.h (authenticated variables) and the UEFI
// specification, "Boot Manager".

// GUIDs as EDK2 stores them: the first three fields little-endian.
var (
	guidAuthStore = []byte{0x78, 0x2c, 0xf3, 0xaa, 0x7b, 0x94, 0x9a, 0x43, 0xa1, 0x80, 0x2e, 0x14, 0x4e, 0xc3, 0x77, 0x92}
	guidNVData    = []byte{0x8d, 0x2b, 0xf1, 0xff, 0x96, 0x76, 0x8b, 0x4c, 0xa9, 0x85, 0x27, 0x47, 0x07, 0x5b, 0x4f, 0x50}
	guidGlobalVar = []byte{0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11, 0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c}
)

const (
	varHeaderLen = 60
	varStartID   = 0x55aa
	varAdded     = 0x3f // VAR_ADDED
	varDeleted   = 0xfd // VAR_DELETED, a mask
	// Non-volatile, boot-service and run-time access: what every boot option has.
	varAttributes = 7
)

// BootEntry is one UEFI boot option.
type BootEntry struct {
	Name string
	// Path is an EFI device path, end node included.
	Path []byte
}

// SetBootOrder returns a copy of a variable store in which the given entries
// are the boot options Boot0000…, in this order, ahead of what the firmware
// finds itself. Variables of those names that the store has already are deleted:
// the one with Microsoft's keys was written by running the firmware.
func SetBootOrder(store []byte, entries ...BootEntry) ([]byte, error) {
	out := bytes.Clone(store)
	if len(out) >= flashVolume && allZero(out[:flashVolume]) {
		// Arm firmware is shipped with a blank store and lays it out at the
		// first start.
		formatStore(out[:flashVolume])
	}
	if len(out) < 0x48 || !bytes.Equal(out[40:44], []byte("_FVH")) {
		return nil, errors.New("variable store: no firmware volume")
	}
	start := int(binary.LittleEndian.Uint16(out[48:]))
	if len(out) < start+28 || !bytes.Equal(out[start:start+16], guidAuthStore) {
		return nil, errors.New("variable store: not in the authenticated format")
	}
	size := int(binary.LittleEndian.Uint32(out[start+16:]))
	if size < 28 || size > len(out)-start {
		return nil, fmt.Errorf("variable store: announces %d bytes of %d", size, len(out)-start)
	}
	end := start + size
	at := start + 28
	ours := map[string]bool{string(utf16le("BootOrder")): true}
	for i := range entries {
		ours[string(utf16le(fmt.Sprintf("Boot%04X", i)))] = true
	}
	for at+varHeaderLen <= end && binary.LittleEndian.Uint16(out[at:]) == varStartID {
		name, data := binary.LittleEndian.Uint32(out[at+36:]), binary.LittleEndian.Uint32(out[at+40:])
		if name > uint32(size) || data > uint32(size) || at+varHeaderLen+int(name)+int(data) > end {
			return nil, errors.New("variable store: variable longer than the store")
		}
		text := out[at+varHeaderLen : at+varHeaderLen+int(name)]
		if bytes.Equal(out[at+44:at+60], guidGlobalVar) && ours[string(text)] {
			out[at+2] &= varDeleted
		}
		at = (at + varHeaderLen + int(name) + int(data) + 3) &^ 3
	}
	order := make([]byte, 0, 2*len(entries))
	put := func(name string, data []byte) error {
		text := utf16le(name)
		next := (at + varHeaderLen + len(text) + len(data) + 3) &^ 3
		if next > end {
			return errors.New("variable store: full")
		}
		v := out[at:next]
		if !allFF(v) {
			return errors.New("variable store: free space is not erased")
		}
		clear(v[:varHeaderLen])
		binary.LittleEndian.PutUint16(v, varStartID)
		v[2] = varAdded
		binary.LittleEndian.PutUint32(v[4:], varAttributes)
		binary.LittleEndian.PutUint32(v[36:], uint32(len(text)))
		binary.LittleEndian.PutUint32(v[40:], uint32(len(data)))
		copy(v[44:], guidGlobalVar)
		copy(v[varHeaderLen:], text)
		copy(v[varHeaderLen+len(text):], data)
		at = next
		return nil
	}
	for i, e := range entries {
		option := binary.LittleEndian.AppendUint32(nil, 1) // LOAD_OPTION_ACTIVE
		option = binary.LittleEndian.AppendUint16(option, uint16(len(e.Path)))
		option = append(option, utf16le(e.Name)...)
		option = append(option, e.Path...)
		if err := put(fmt.Sprintf("Boot%04X", i), option); err != nil {
			return nil, err
		}
		order = binary.LittleEndian.AppendUint16(order, uint16(i))
	}
	if err := put("BootOrder", order); err != nil {
		return nil, err
	}
	return out, nil
}

// Sizes of the arm64 "virt" machine's store (EDK2 ArmVirtPkg): variables, working
// area and spare, one flash block of 256 KiB each.
const (
	flashBlock  = 0x40000
	flashVolume = 3 * flashBlock
)

// formatStore writes what the firmware would write into a blank flash: a
// firmware volume header (UEFI Platform Initialization specification, volume
// 3) and an empty variable store.
func formatStore(flash []byte) {
	for i := range flash {
		flash[i] = 0xff
	}
	const headerLen = 0x48
	h := flash[:headerLen]
	clear(h)
	copy(h[16:], guidNVData)
	binary.LittleEndian.PutUint64(h[32:], flashVolume)
	copy(h[40:], "_FVH")
	// Readable, writable, sticky, memory-mapped, erases to ones.
	binary.LittleEndian.PutUint32(h[44:], 0x0e36)
	binary.LittleEndian.PutUint16(h[48:], headerLen)
	h[55] = 2 // revision
	binary.LittleEndian.PutUint32(h[56:], flashVolume/flashBlock)
	binary.LittleEndian.PutUint32(h[60:], flashBlock)
	var sum uint16
	for i := 0; i < headerLen; i += 2 {
		sum += binary.LittleEndian.Uint16(h[i:])
	}
	binary.LittleEndian.PutUint16(h[50:], -sum)
	v := flash[headerLen : headerLen+28]
	clear(v)
	copy(v, guidAuthStore)
	binary.LittleEndian.PutUint32(v[16:], flashBlock-headerLen)
	v[20], v[21] = 0x5a, 0xfe // formatted, healthy
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// HTTPBootPath is the device path of HTTP Boot over IPv4 with an address and
// URI from DHCP, for a network card in the given slot of the root bus.
func HTTPBootPath(slot byte, mac net.HardwareAddr) []byte {
	p := netPath(slot, mac)
	p = append(p, 3, 24, 4, 0) // Uri(), empty: ask DHCP
	return append(p, 0x7f, 0xff, 4, 0)
}

// PXEBootPath is the same for PXE over IPv4.
func PXEBootPath(slot byte, mac net.HardwareAddr) []byte {
	return append(netPath(slot, mac), 0x7f, 0xff, 4, 0)
}

// netPath is PciRoot(0)/Pci(slot,0)/MAC(mac,1)/IPv4(0.0.0.0).
func netPath(slot byte, mac net.HardwareAddr) []byte {
	p := []byte{2, 1, 12, 0, 0xd0, 0x41, 0x03, 0x0a, 0, 0, 0, 0} // Acpi(PNP0A03,0)
	p = append(p, 1, 1, 6, 0, 0, slot)                           // Pci(slot,0)
	m := make([]byte, 37)
	m[0], m[1], m[2] = 3, 11, 37
	copy(m[4:], mac)
	m[36] = 1 // Ethernet
	p = append(p, m...)
	ip := make([]byte, 27)
	ip[0], ip[1], ip[2] = 3, 12, 27
	return append(p, ip...)
}

func utf16le(s string) []byte {
	var b []byte
	for _, u := range utf16.Encode([]rune(s)) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return append(b, 0, 0)
}

func allFF(b []byte) bool {
	for _, c := range b {
		if c != 0xff {
			return false
		}
	}
	return true
}
