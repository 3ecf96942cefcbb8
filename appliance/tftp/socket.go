package tftp

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// arrival says where a datagram came in.
type arrival struct {
	ifindex int
	local   netip.Addr // the address it was sent to, when that is one of ours
	direct  bool       // it was sent to that address, not to a broadcast or group
}

// listen opens the request socket and has the kernel say where each datagram came
// in (IP_PKTINFO). Errors are those of net.ListenConfig; a taken port is
// syscall.EADDRINUSE, a missing right syscall.EACCES.
func listen(ctx context.Context, at netip.AddrPort) (*net.UDPConn, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) {
			failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
		})
		if err != nil {
			return err
		}
		return failed
	}}
	// udp4, not udp: an IPv4 request on a socket of both families would be answered
	// from a mapped address.
	c, err := lc.ListenPacket(ctx, "udp4", at.String())
	if err != nil {
		return nil, fmt.Errorf("listen for TFTP on %s: %w", at, err)
	}
	return c.(*net.UDPConn), nil
}

// parseArrival reads the control messages of a datagram; ok is false without a
// usable IP_PKTINFO.
func parseArrival(oob []byte) (a arrival, ok bool) {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return a, false
	}
	for _, m := range msgs {
		if m.Header.Level != unix.IPPROTO_IP || m.Header.Type != unix.IP_PKTINFO || len(m.Data) < unix.SizeofInet4Pktinfo {
			continue
		}
		info := (*unix.Inet4Pktinfo)(unsafe.Pointer(&m.Data[0]))
		a.ifindex = int(info.Ifindex)
		// Addr is what the header said, Spec_dst which of our addresses that means.
		a.local = netip.AddrFrom4(info.Spec_dst)
		a.direct = info.Addr == info.Spec_dst
		return a, true
	}
	return a, false
}

// fromAddress is the control message that makes a datagram leave from addr.
func fromAddress(addr netip.Addr) []byte {
	return unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: addr.As4()})
}

// openWire opens the socket of one transfer on the address that was asked, on a
// port of the kernel's choice.
func openWire(local netip.Addr) (wire, error) {
	c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(local, 0)))
	if err != nil {
		return nil, fmt.Errorf("open transfer socket on %s: %w", local, err)
	}
	return c, nil
}
