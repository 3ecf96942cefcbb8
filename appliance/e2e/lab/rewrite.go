package lab

import (
	"bytes"
	"strings"
)

// Rewriter changes what one client sends. It stands in for firmware that does
// not exist as free software. The zero value passes everything on.
//
// It is not safe for concurrent use: one goroutine reads a client.
type Rewriter struct {
	// PlainBIOS hides that the ROM is iPXE: DHCP options 77 (user class) and
	// 175 (iPXE features) are removed until the client's first TFTP read
	// request. From then on the loaded program speaks for itself.
	PlainBIOS bool
	// DropClass drops the client's DHCP messages whose option 60 starts with
	// this text, for example "PXEClient" to leave only HTTP Boot. Empty drops
	// nothing.
	DropClass string

	tftpSeen bool
}

// Frame returns the frame to pass on in place of the one the client sent, or
// nil to drop it. The input is never modified; what needs no change is
// returned as it is.
func (r *Rewriter) Frame(frame []byte) []byte {
	if !r.PlainBIOS && r.DropClass == "" {
		return frame
	}
	u, ok := parseUDP(frame)
	if !ok {
		return frame
	}
	if u.dstPort == portTFTP && len(u.payload) > 2 && u.payload[0] == 0 && u.payload[1] == 1 {
		r.tftpSeen = true
		return frame
	}
	if u.dstPort != portDHCPServer && u.dstPort != portPXE {
		return frame
	}
	m, ok := parseDHCP(u.payload)
	if !ok || m.op != 1 {
		return frame
	}
	if r.DropClass != "" && strings.HasPrefix(m.class, r.DropClass) {
		return nil
	}
	if r.PlainBIOS && !r.tftpSeen {
		return StripOptions(frame, 77, 175)
	}
	return frame
}

// StripOptions returns a copy of an IPv4 UDP frame with a DHCP message from
// which the given options are removed, lengths and checksums corrected. A
// frame that holds none of them, or is no such frame, is returned unchanged.
//
// A message never gets shorter than 300 bytes: BOOTP relays and servers may
// drop shorter ones (RFC 1542), so the end is filled with zeros as firmware
// does.
func StripOptions(frame []byte, codes ...byte) []byte {
	u, ok := parseUDP(frame)
	if !ok || len(u.payload) < dhcpOptions {
		return frame
	}
	if _, ok := parseDHCP(u.payload); !ok {
		return frame
	}
	area := u.payload[dhcpOptions:]
	kept := make([]byte, 0, len(area))
	found := false
	rest := area
	for len(rest) > 0 && rest[0] != 255 {
		if rest[0] == 0 {
			kept = append(kept, 0)
			rest = rest[1:]
			continue
		}
		if len(rest) < 2 || len(rest) < 2+int(rest[1]) {
			break // malformed from here on: leave the tail as it is
		}
		n := 2 + int(rest[1])
		if bytes.IndexByte(codes, rest[0]) >= 0 {
			found = true
		} else {
			kept = append(kept, rest[:n]...)
		}
		rest = rest[n:]
	}
	if !found {
		return frame
	}
	kept = append(kept, rest...)
	head := ethLen + u.ipLen + udpLen + dhcpOptions
	out := make([]byte, 0, len(frame))
	out = append(out, frame[:head]...)
	out = append(out, kept...)
	for want := min(len(u.payload), 300); len(out)-(head-dhcpOptions) < want; {
		out = append(out, 0)
	}
	fixUDP(out, u.ipLen)
	return out
}
