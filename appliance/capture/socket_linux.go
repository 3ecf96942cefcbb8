package capture

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"

	raw "github.com/mdlayher/packet"
	"golang.org/x/sys/unix"
)

// errNoEthernet says that an interface has no Ethernet frames (a tunnel, PPP).
var errNoEthernet = errors.New("not an Ethernet interface")

const (
	// kernelBuffer is how much may wait for the reading goroutine, octets.
	kernelBuffer = 1 << 20
	lenTag       = 4 // of a VLAN tag
	lenAuxdata   = 20
)

// socket reads frames of one interface, those that are sent as well as those
// that come in.
type socket struct {
	conn     *raw.Conn
	ctl      syscall.RawConn
	loopback bool // where every packet is seen twice

	mu     sync.Mutex // kernel statistics, against Close
	closed bool

	buf [lenTag + snapDHCP]byte
	oob [128]byte

	// Results of the latest system call; receive is made once, so that a packet
	// costs no closure.
	receive func(fd uintptr) bool
	n, oobn int
	from    unix.Sockaddr
	err     error
}

// openSocket opens a packet socket on i. It needs CAP_NET_RAW.
func openSocket(i Interface, httpPort uint16) (source, error) {
	filter, err := assembled(httpPort)
	if err != nil {
		return nil, err
	}
	// All protocols, since a socket bound to one does not see what is sent.
	c, err := raw.Listen(&net.Interface{Index: i.Index, Name: i.Name}, raw.Raw, unix.ETH_P_ALL, &raw.Config{Filter: filter})
	if err != nil {
		return nil, err
	}
	s := &socket{conn: c}
	if err := s.prepare(); err != nil {
		_ = c.Close()
		return nil, err
	}
	return s, nil
}

func (s *socket) prepare() (err error) {
	if s.ctl, err = s.conn.SyscallConn(); err != nil {
		return err
	}
	var failed error
	err = s.ctl.Control(func(fd uintptr) {
		var at unix.Sockaddr
		if at, failed = unix.Getsockname(int(fd)); failed != nil {
			return
		}
		switch ll, _ := at.(*unix.SockaddrLinklayer); {
		case ll != nil && ll.Hatype == unix.ARPHRD_ETHER:
		case ll != nil && ll.Hatype == unix.ARPHRD_LOOPBACK:
			s.loopback = true
		default:
			failed = errNoEthernet
			return
		}
		// The length on the wire and the VLAN tag that the kernel has taken off.
		failed = unix.SetsockoptInt(int(fd), unix.SOL_PACKET, unix.PACKET_AUXDATA, 1)
		if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, kernelBuffer) != nil {
			// Without the right to go over the system's bound, the bound will do.
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, kernelBuffer)
		}
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		return fmt.Errorf("prepare packet socket: %w", err)
	}
	s.receive = func(fd uintptr) bool {
		s.n, s.oobn, _, s.from, s.err = unix.Recvmsg(int(fd), s.buf[lenTag:], s.oob[:], unix.MSG_DONTWAIT)
		return !errors.Is(s.err, unix.EAGAIN) && !errors.Is(s.err, unix.EINTR)
	}
	return nil
}

// read returns the next frame.
func (s *socket) read() (b []byte, wire int, outgoing bool, err error) {
	for {
		if err := s.ctl.Read(s.receive); err != nil {
			return nil, 0, false, err
		}
		if errors.Is(s.err, unix.ENETDOWN) {
			continue // told once when the interface goes down; it may come up again
		}
		if s.err != nil {
			return nil, 0, false, fmt.Errorf("read packet: %w", s.err)
		}
		ll, _ := s.from.(*unix.SockaddrLinklayer)
		outgoing = ll != nil && ll.Pkttype == packetOutgoing
		if s.loopback && outgoing {
			continue // it comes in right away
		}
		b, wire = s.tagged(auxdata(s.oob[:s.oobn]))
		return b, wire, outgoing, nil
	}
}

// aux is what the kernel says about a frame beside its octets.
type aux struct {
	wire    int // octets, 0 unknown
	hasTag  bool
	tpid    uint16
	control uint16
}

// auxdata reads the control message of struct tpacket_auxdata (linux/if_packet.h).
func auxdata(oob []byte) (a aux) {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return a
	}
	for _, m := range msgs {
		if m.Header.Level != unix.SOL_PACKET || m.Header.Type != unix.PACKET_AUXDATA || len(m.Data) < lenAuxdata {
			continue
		}
		status := binary.NativeEndian.Uint32(m.Data)
		a.wire = int(binary.NativeEndian.Uint32(m.Data[4:]))
		a.control = binary.NativeEndian.Uint16(m.Data[16:])
		a.hasTag = status&unix.TP_STATUS_VLAN_VALID != 0
		a.tpid = etherVLAN
		if status&unix.TP_STATUS_VLAN_TPID_VALID != 0 {
			a.tpid = binary.NativeEndian.Uint16(m.Data[18:])
		}
	}
	return a
}

// tagged returns the frame that was received with its VLAN tag put back.
func (s *socket) tagged(a aux) (b []byte, wire int) {
	b = s.buf[lenTag : lenTag+s.n]
	if a.hasTag && s.n >= 12 {
		copy(s.buf[:12], b[:12])
		binary.BigEndian.PutUint16(s.buf[12:], a.tpid)
		binary.BigEndian.PutUint16(s.buf[14:], a.control)
		b = s.buf[:lenTag+s.n]
		a.wire += lenTag
	}
	return b, max(a.wire, len(b))
}

// drops asks the kernel, which counts from the last time it was asked.
func (s *socket) drops() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0
	}
	stats, err := s.conn.Stats()
	if err != nil {
		return 0
	}
	return uint64(stats.Drops)
}

// Close ends read.
func (s *socket) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return s.conn.Close()
}
