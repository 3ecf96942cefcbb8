package lab

import (
	"bytes"
	"strings"
	"sync/atomic"
)

// Rewriter changes what one client sends and receives. It stands in for
// firmware that does not exist as free software. The zero value passes
// everything on.
//
// One goroutine may call Frame while another calls Reply.
type Rewriter struct {
	// PlainBIOS makes an iPXE ROM pass for a plain PXE ROM until the client's
	// first TFTP read request; from then on the loaded program speaks for
	// itself. What it sends lacks DHCP options 77 (user class) and 175 (iPXE
	// features). And since a PXE ROM takes its boot file from the PXE offer
	// (PXE 2.1, section 2.2.3), where iPXE would prefer the DHCP server's,
	// replies without class PXEClient lose the boot file they name.
	PlainBIOS bool
	// DropClass drops the client's DHCP messages whose option 60 starts with
	// this text, for example "PXEClient" to leave only HTTP Boot. Empty drops
	// nothing.
	DropClass string

	tftpSeen atomic.Bool
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
		r.tftpSeen.Store(true)
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
	if r.PlainBIOS && !r.tftpSeen.Load() {
		return StripOptions(frame, 77, 175)
	}
	return frame
}

// Reply returns the frame to hand to the client in place of one that arrived
// for it. The input is never modified.
func (r *Rewriter) Reply(frame []byte) []byte {
	if !r.PlainBIOS || r.tftpSeen.Load() {
		return frame
	}
	u, ok := parseUDP(frame)
	if !ok || u.srcPort != portDHCPServer {
		return frame
	}
	m, ok := parseDHCP(u.payload)
	if !ok || m.op != 2 || strings.HasPrefix(m.class, "PXEClient") {
		return frame
	}
	out := StripOptions(frame, 66, 67)
	if len(out) > 0 && &out[0] == &frame[0] {
		out = bytes.Clone(frame[:ethLen+u.ipLen+udpLen+len(u.payload)])
	}
	bootp := out[ethLen+u.ipLen+udpLen:]
	clear(bootp[20:24])       // siaddr
	clear(bootp[44:bootpLen]) // sname and file
	fixUDP(out, u.ipLen)
	return out
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
