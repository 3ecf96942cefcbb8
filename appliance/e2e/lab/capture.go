package lab

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Capture records what one interface of a station sends and receives, and can
// send frames of its own. Close it.
type Capture struct {
	Ring *Ring

	sock *os.File
	wg   sync.WaitGroup
}

// Capture starts recording on an interface of a namespace.
func (s *Site) Capture(ns *Namespace, ifname string) (*Capture, error) {
	c := &Capture{Ring: NewRing(16 << 20)}
	err := ns.Do(func() error {
		iface, err := net.InterfaceByName(ifname)
		if err != nil {
			return err
		}
		all := uint16(unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8)
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, int(all))
		if err != nil {
			return err
		}
		if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: iface.Index}); err != nil {
			return errors.Join(err, unix.Close(fd))
		}
		mreq := &unix.PacketMreq{Ifindex: int32(iface.Index), Type: unix.PACKET_MR_PROMISC}
		if err := unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, mreq); err != nil {
			return errors.Join(err, unix.Close(fd))
		}
		c.sock = os.NewFile(uintptr(fd), "capture "+ifname)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("capture on %s: %w", ifname, err)
	}
	c.wg.Go(func() {
		buf := make([]byte, maxFrame)
		for {
			n, err := c.sock.Read(buf)
			if err != nil {
				return
			}
			c.Ring.Add(time.Now(), buf[:n])
		}
	})
	s.onClose(c.Close)
	return c, nil
}

// Send puts a frame on the wire.
func (c *Capture) Send(frame []byte) error {
	if _, err := c.sock.Write(frame); err != nil {
		return fmt.Errorf("send frame: %w", err)
	}
	return nil
}

// Close ends the recording. It can be called again.
func (c *Capture) Close() error {
	err := c.sock.Close()
	c.wg.Wait()
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}

// Seen is one recorded frame as far as a test of a DHCP client's peace needs it.
type Seen struct {
	At       time.Time
	From, To net.HardwareAddr
	// UDP ports; zero if it is something else.
	SrcPort, DstPort uint16
	// DHCP message type (option 53) and hardware address; zero and nil if it
	// is something else.
	Type   byte
	Client net.HardwareAddr
	// ARPTarget is the address an ARP request asks for.
	ARPTarget net.IP
}

// Seen decodes everything recorded so far.
func (c *Capture) Seen() []Seen {
	var all []Seen
	c.Ring.Frames(func(at time.Time, frame []byte) bool {
		if len(frame) < ethLen {
			return true
		}
		s := Seen{At: at, To: append(net.HardwareAddr(nil), frame[0:6]...), From: append(net.HardwareAddr(nil), frame[6:12]...)}
		if u, ok := parseUDP(frame); ok {
			s.SrcPort, s.DstPort = u.srcPort, u.dstPort
			if m, ok := parseDHCP(u.payload); ok {
				s.Type, s.Client = m.msgType, append(net.HardwareAddr(nil), m.chaddr...)
			}
		}
		if frame[12] == 8 && frame[13] == 6 && len(frame) >= ethLen+28 && frame[ethLen+7] == 1 {
			s.ARPTarget = append(net.IP(nil), frame[ethLen+24:ethLen+28]...)
		}
		all = append(all, s)
		return true
	})
	return all
}
