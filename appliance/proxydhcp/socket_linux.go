package proxydhcp

import (
	"net/netip"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// msgTruncated is set on a packet that was longer than its buffer.
const msgTruncated = unix.MSG_TRUNC

// packetInfo reads the interface and the destination address from the control
// message of a packet.
func packetInfo(oob []byte) (ifIndex int, destination netip.Addr) {
	var cm ipv4.ControlMessage
	if cm.Parse(oob) != nil {
		return 0, netip.Addr{}
	}
	destination, _ = netip.AddrFromSlice(cm.Dst.To4())
	return cm.IfIndex, destination
}
