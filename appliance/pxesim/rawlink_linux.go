package pxesim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/mdlayher/packet"
	"github.com/vishvananda/netlink"
	"golang.org/x/net/bpf"
)

// RawConfig says where a RawLink is plugged in.
type RawConfig struct {
	// Interface is the name of an Ethernet interface that is up.
	Interface string
	// MAC is the client's hardware address; nil takes the interface's own. Another address needs a
	// network that lets two addresses through one port, and promiscuous mode.
	MAC net.HardwareAddr
	// AssignAddress gives a leased address to the interface while the link is open, so that HTTP
	// can use it. Only for network namespaces made for the purpose.
	AssignAddress bool
}

// RawLink is a Link on a real interface, by packet sockets: it works before there is an address, and
// beside a DHCP client that runs on the same interface. It needs CAP_NET_RAW.
//
// Without AssignAddress a leased address lives in this link alone: the link answers ARP for it and
// carries its DHCP and TFTP; HTTP uses the machine's own address. A server in the same network
// namespace cannot be reached through the interface, only its neighbours can.
type RawLink struct {
	cfg  RawConfig
	ifi  *net.Interface
	mac  net.HardwareAddr
	ip   *packet.Conn
	arp  *packet.Conn
	host []netip.Prefix // the machine's own addresses on the interface when it was opened

	queue chan Datagram
	wg    sync.WaitGroup

	mu       sync.Mutex
	own      map[netip.Addr]bool // addresses this link answers ARP for
	lease    Lease
	assigned *netlink.Addr
	conns    map[uint16]*queueConn
	kernel   map[uint16]*net.UDPConn
	neigh    map[netip.Addr]net.HardwareAddr
	learned  chan struct{} // closed and replaced when neigh grows
	closed   bool
}

// maxNeighbours bounds what is remembered of the LAN.
const maxNeighbours = 256

var etherBroadcast = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// OpenRawLink opens a RawLink. Errors are of the interface and of missing privileges.
func OpenRawLink(cfg RawConfig) (*RawLink, error) {
	ifi, err := net.InterfaceByName(cfg.Interface)
	if err != nil {
		return nil, fmt.Errorf("open interface %s: %w", cfg.Interface, err)
	}
	if len(ifi.HardwareAddr) != 6 {
		return nil, fmt.Errorf("open interface %s: not Ethernet", cfg.Interface)
	}
	l := &RawLink{
		cfg: cfg, ifi: ifi, mac: ifi.HardwareAddr, queue: make(chan Datagram, queueLen),
		own: map[netip.Addr]bool{}, conns: map[uint16]*queueConn{}, kernel: map[uint16]*net.UDPConn{},
		neigh: map[netip.Addr]net.HardwareAddr{}, learned: make(chan struct{}),
	}
	if cfg.MAC != nil {
		if len(cfg.MAC) != 6 || cfg.MAC[0]&1 != 0 {
			return nil, fmt.Errorf("hardware address %v: not a unicast Ethernet address", cfg.MAC)
		}
		l.mac = cfg.MAC
	}
	addrs, err := ifi.Addrs()
	if err != nil {
		return nil, fmt.Errorf("read addresses of %s: %w", cfg.Interface, err)
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() {
			l.host = append(l.host, p)
		}
	}
	// Only UDP is wanted; the kernel throws the rest of a busy LAN away.
	filter, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: etherLen + 9, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 17, SkipFalse: 1},
		bpf.RetConstant{Val: maxDHCP + 64},
		bpf.RetConstant{Val: 0},
	})
	if err != nil {
		return nil, fmt.Errorf("assemble filter: %w", err)
	}
	if l.ip, err = packet.Listen(ifi, packet.Raw, etherIPv4, &packet.Config{Filter: filter}); err != nil {
		return nil, fmt.Errorf("open packet socket on %s: %w", cfg.Interface, err)
	}
	if l.arp, err = packet.Listen(ifi, packet.Raw, etherARP, nil); err != nil {
		return nil, errors.Join(fmt.Errorf("open ARP socket on %s: %w", cfg.Interface, err), l.ip.Close())
	}
	if !bytes.Equal(l.mac, ifi.HardwareAddr) {
		if err := l.ip.SetPromiscuous(true); err != nil {
			return nil, errors.Join(fmt.Errorf("listen for %v on %s: %w", l.mac, cfg.Interface, err), l.ip.Close(), l.arp.Close())
		}
	}
	l.wg.Add(2)
	go l.readIP()
	go l.readARP()
	return l, nil
}

// Close ends the link and takes an assigned address away again.
func (l *RawLink) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	errs := []error{l.ip.Close(), l.arp.Close()}
	for _, c := range l.kernel {
		errs = append(errs, c.Close())
	}
	assigned := l.assigned
	l.mu.Unlock()
	l.wg.Wait()
	if assigned != nil {
		errs = append(errs, l.unassign(assigned))
	}
	return errors.Join(errs...)
}

func (l *RawLink) unassign(a *netlink.Addr) error {
	link, err := netlink.LinkByIndex(l.ifi.Index)
	if err != nil {
		return fmt.Errorf("remove address %v: %w", a.IPNet, err)
	}
	if err := netlink.AddrDel(link, a); err != nil {
		return fmt.Errorf("remove address %v: %w", a.IPNet, err)
	}
	return nil
}

// HardwareAddr implements Link.
func (l *RawLink) HardwareAddr() net.HardwareAddr { return l.mac }

// Station is the machine's own first address on the interface, for probes; invalid if it has none.
func (l *RawLink) Station() netip.Prefix {
	if len(l.host) == 0 {
		return netip.Prefix{}
	}
	return l.host[0]
}

// Owns tells whether an address is the machine's own.
func (l *RawLink) Owns(a netip.Addr) bool {
	for _, p := range l.host {
		if p.Addr() == a {
			return true
		}
	}
	return false
}

// Own makes the link answer for one more address, such as a relay's.
func (l *RawLink) Own(a netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.own[a] = true
}

// Configure implements Link.
func (l *RawLink) Configure(_ context.Context, lease Lease) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lease = lease
	addr := lease.Addr.Addr()
	if !addr.Is4() || l.Owns(addr) {
		return nil
	}
	if !l.cfg.AssignAddress {
		l.own[addr] = true
		return nil
	}
	if l.assigned != nil && l.assigned.IP.Equal(addr.AsSlice()) {
		return nil
	}
	link, err := netlink.LinkByIndex(l.ifi.Index)
	if err != nil {
		return fmt.Errorf("find interface %s: %w", l.cfg.Interface, err)
	}
	if l.assigned != nil {
		if err := netlink.AddrDel(link, l.assigned); err != nil {
			return fmt.Errorf("replace address %v: %w", l.assigned.IPNet, err)
		}
		l.assigned = nil
	}
	a := &netlink.Addr{IPNet: &net.IPNet{IP: addr.AsSlice(), Mask: net.CIDRMask(lease.Addr.Bits(), 32)}}
	if err := netlink.AddrAdd(link, a); err != nil {
		return fmt.Errorf("assign %v to %s: %w", lease.Addr, l.cfg.Interface, err)
	}
	l.assigned = a
	return nil
}

// kernelHas tells whether packets from an address must go through the machine's own stack.
func (l *RawLink) kernelHas(a netip.Addr) bool {
	return l.Owns(a) || (l.assigned != nil && l.assigned.IP.Equal(a.AsSlice()))
}

// ListenUDP implements Link.
func (l *RawLink) ListenUDP(_ context.Context, local netip.AddrPort) (net.PacketConn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !local.Addr().IsValid() || l.kernelHas(local.Addr()) {
		ua := &net.UDPAddr{Port: int(local.Port())}
		if local.Addr().IsValid() {
			ua.IP = local.Addr().AsSlice()
		}
		c, err := net.ListenUDP("udp4", ua)
		if err != nil {
			return nil, fmt.Errorf("open %v: %w", local, err)
		}
		return c, nil
	}
	port := local.Port()
	for try := 0; port == 0; try++ {
		p := uint16(49152 + rand.IntN(16384))
		if l.conns[p] == nil {
			port = p
		} else if try > 100 {
			return nil, errors.New("open endpoint: no free port")
		}
	}
	if l.conns[port] != nil {
		return nil, fmt.Errorf("open endpoint: port %d in use", port)
	}
	c := newQueueConn(netip.AddrPortFrom(local.Addr(), port), l.Send, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.conns, port)
	})
	l.conns[port] = c
	return c, nil
}

// Receive implements Link.
func (l *RawLink) Receive(ctx context.Context) (Datagram, error) {
	select {
	case d, ok := <-l.queue:
		if !ok {
			return Datagram{}, net.ErrClosed
		}
		return d, nil
	case <-ctx.Done():
		return Datagram{}, ctx.Err()
	}
}

// Send implements Link.
func (l *RawLink) Send(ctx context.Context, d Datagram) error {
	src := d.Src.Addr()
	if d.Dst.Addr() == broadcast {
		mac := l.mac
		if l.Owns(src) {
			mac = l.ifi.HardwareAddr
		}
		return l.write(mac, etherBroadcast, d)
	}
	l.mu.Lock()
	kernel := l.kernelHas(src)
	l.mu.Unlock()
	if kernel {
		if conn, err := l.kernelConn(d.Src); err == nil {
			_, err := conn.WriteToUDPAddrPort(d.Payload, d.Dst)
			if err != nil {
				return fmt.Errorf("send to %v: %w", d.Dst, err)
			}
			return nil
		}
		// Somebody else holds the port (a DHCP client on 68): by packet socket then, with the
		// machine's own MAC, and the answer is seen by both.
	}
	mac := l.mac
	if kernel {
		mac = l.ifi.HardwareAddr
	}
	hop, err := l.nextHop(src, d.Dst.Addr())
	if err != nil {
		return err
	}
	to, err := l.resolve(ctx, mac, src, hop)
	if err != nil {
		return err
	}
	return l.write(mac, to, d)
}

// kernelConn is the machine's own socket for a source port. That the socket exists also keeps the
// kernel from answering the reply, which is read by packet socket, with "port unreachable".
func (l *RawLink) kernelConn(src netip.AddrPort) (*net.UDPConn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c := l.kernel[src.Port()]; c != nil && c.LocalAddr().String() == src.String() {
		return c, nil
	}
	c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(src))
	if err != nil {
		return nil, fmt.Errorf("open %v: %w", src, err)
	}
	if old := l.kernel[src.Port()]; old != nil {
		_ = old.Close() // of an earlier address
	}
	l.kernel[src.Port()] = c
	return c, nil
}

func (l *RawLink) write(src, dst net.HardwareAddr, d Datagram) error {
	b, err := udpFrame(src, dst, d)
	if err != nil {
		return err
	}
	if _, err := l.ip.WriteTo(b, &packet.Addr{HardwareAddr: dst}); err != nil {
		return fmt.Errorf("send frame on %s: %w", l.cfg.Interface, err)
	}
	return nil
}

// nextHop is the neighbour that takes a packet to dst.
func (l *RawLink) nextHop(src, dst netip.Addr) (netip.Addr, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lease.Addr.IsValid() && l.lease.Addr.Masked().Contains(dst) {
		return dst, nil
	}
	for _, p := range l.host {
		if p.Masked().Contains(dst) {
			return dst, nil
		}
	}
	if l.lease.Router.IsValid() {
		return l.lease.Router, nil
	}
	return netip.Addr{}, fmt.Errorf("send from %v to %v: not on this network, and no router known", src, dst)
}

// resolve asks by ARP, three times half a second apart.
func (l *RawLink) resolve(ctx context.Context, mac net.HardwareAddr, src, hop netip.Addr) (net.HardwareAddr, error) {
	for range 3 {
		l.mu.Lock()
		known, changed := l.neigh[hop], l.learned
		l.mu.Unlock()
		if known != nil {
			return known, nil
		}
		q := arpPacket{op: 1, senderMAC: mac, senderIP: src, targetIP: hop, targetMAC: make(net.HardwareAddr, 6)}
		if _, err := l.arp.WriteTo(q.frame(mac, etherBroadcast), &packet.Addr{HardwareAddr: etherBroadcast}); err != nil {
			return nil, fmt.Errorf("ask for %v on %s: %w", hop, l.cfg.Interface, err)
		}
		limit := time.NewTimer(500 * time.Millisecond)
	wait:
		for {
			select {
			case <-changed:
				l.mu.Lock()
				known, changed = l.neigh[hop], l.learned
				l.mu.Unlock()
				if known != nil {
					limit.Stop()
					return known, nil
				}
			case <-limit.C:
				break wait
			case <-ctx.Done():
				limit.Stop()
				return nil, ctx.Err()
			}
		}
	}
	return nil, fmt.Errorf("no neighbour %v on %s answers", hop, l.cfg.Interface)
}

func (l *RawLink) readIP() {
	defer l.wg.Done()
	defer close(l.queue)
	buf := make([]byte, maxDHCP+64)
	for {
		n, _, err := l.ip.ReadFrom(buf)
		if err != nil {
			if errors.Is(err, net.ErrClosed) || l.isClosed() {
				return
			}
			// A link that goes down reports once; reading goes on.
			time.Sleep(50 * time.Millisecond) //nolint:forbidigo // there is nothing to wait for
			continue
		}
		dst, d, err := parseUDPFrame(buf[:n])
		if err != nil {
			continue
		}
		toAll := bytes.Equal(dst, etherBroadcast)
		if !toAll && !bytes.Equal(dst, l.mac) && !bytes.Equal(dst, l.ifi.HardwareAddr) {
			continue
		}
		l.mu.Lock()
		queue := l.queue
		if c := l.conns[d.Dst.Port()]; c != nil && c.local.Addr() == d.Dst.Addr() {
			queue = c.queue
		} else if d.Dst.Port() != portClient && d.Dst.Port() != portBINL && !(d.Dst.Port() == portServer && l.own[d.Dst.Addr()]) {
			queue = nil
		}
		l.mu.Unlock()
		if queue == nil {
			continue
		}
		select {
		case queue <- d:
		default: // full: lost
		}
	}
}

func (l *RawLink) isClosed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed
}

func (l *RawLink) readARP() {
	defer l.wg.Done()
	buf := make([]byte, 256)
	for {
		n, _, err := l.arp.ReadFrom(buf)
		if err != nil {
			if errors.Is(err, net.ErrClosed) || l.isClosed() {
				return
			}
			time.Sleep(50 * time.Millisecond) //nolint:forbidigo // there is nothing to wait for
			continue
		}
		a, err := parseARP(buf[:n])
		if err != nil || unset(a.senderIP) || bytes.Equal(a.senderMAC, l.mac) {
			continue
		}
		l.mu.Lock()
		if _, known := l.neigh[a.senderIP]; known || len(l.neigh) < maxNeighbours {
			l.neigh[a.senderIP] = a.senderMAC
			close(l.learned)
			l.learned = make(chan struct{})
		}
		answer := a.op == 1 && l.own[a.targetIP] && !l.kernelHas(a.targetIP)
		l.mu.Unlock()
		if answer {
			r := arpPacket{op: 2, senderMAC: l.mac, senderIP: a.targetIP, targetMAC: a.senderMAC, targetIP: a.senderIP}
			// A lost answer is asked for again.
			_, _ = l.arp.WriteTo(r.frame(l.mac, a.senderMAC), &packet.Addr{HardwareAddr: a.senderMAC})
		}
	}
}
