package pxesim

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

// Datagram is one UDP datagram.
type Datagram struct {
	// Src and Dst are the endpoints; a Dst of 255.255.255.255 is a link broadcast.
	Src, Dst netip.AddrPort
	// Payload is owned by the receiver.
	Payload []byte
}

// Lease is what the DHCP server granted, or in a probe what it would have.
type Lease struct {
	// Addr is the client's address with the prefix length of option 1 (a /32 if that is missing).
	Addr netip.Prefix
	// Router is the first address of option 3, DNS the first of option 6; invalid if absent.
	Router, DNS netip.Addr
	// Server is option 54.
	Server netip.Addr
}

// Link is where the client is plugged in. DHCP uses Send and Receive, TFTP uses ListenUDP.
// A Link serves one client at a time.
type Link interface {
	// HardwareAddr is the hardware address the client uses unless told otherwise.
	HardwareAddr() net.HardwareAddr
	// Send transmits one datagram. It may block for address resolution, but not beyond ctx.
	Send(ctx context.Context, d Datagram) error
	// Receive returns the next datagram for the client that no ListenUDP endpoint claims,
	// broadcasts included, or ctx's error.
	Receive(ctx context.Context) (Datagram, error)
	// Configure gives the client an address. From then on the link answers for it.
	Configure(ctx context.Context, l Lease) error
	// ListenUDP opens an endpoint at local for TFTP. Port 0 picks a free one.
	ListenUDP(ctx context.Context, local netip.AddrPort) (net.PacketConn, error)
}

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// queueLen bounds every queue of received datagrams; what does not fit is lost, as on a wire.
const queueLen = 256

// Delivery is a datagram that a Memory server sends, after a delay.
type Delivery struct {
	// Datagram is what the client receives.
	Datagram Datagram
	// After is the time from the client's transmission to its arrival.
	After time.Duration
}

// Memory is a Link without a network: Serve is everybody else on the LAN. Its timers are ordinary
// ones, so that testing/synctest can drive a whole exchange.
type Memory struct {
	// MAC is the client's hardware address.
	MAC net.HardwareAddr
	// Serve is called for every datagram the client sends, one call at a time. It must not block.
	Serve func(Datagram) []Delivery

	serveMu sync.Mutex
	mu      sync.Mutex
	queue   chan Datagram
	conns   map[uint16]*queueConn
	next    uint16
	lease   Lease
}

// NewMemory returns a link whose other end is serve.
func NewMemory(mac net.HardwareAddr, serve func(Datagram) []Delivery) *Memory {
	return &Memory{MAC: mac, Serve: serve, queue: make(chan Datagram, queueLen), conns: map[uint16]*queueConn{}, next: 49152}
}

// HardwareAddr implements Link.
func (m *Memory) HardwareAddr() net.HardwareAddr { return m.MAC }

// Lease is what Configure was last called with.
func (m *Memory) Lease() Lease {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.lease
}

// Configure implements Link.
func (m *Memory) Configure(_ context.Context, l Lease) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lease = l
	return nil
}

// Send implements Link.
func (m *Memory) Send(_ context.Context, d Datagram) error {
	d.Payload = append([]byte(nil), d.Payload...)
	m.serveMu.Lock()
	out := m.Serve(d)
	m.serveMu.Unlock()
	for _, o := range out {
		if o.After <= 0 {
			m.deliver(o.Datagram)
			continue
		}
		time.AfterFunc(o.After, func() { m.deliver(o.Datagram) })
	}
	return nil
}

func (m *Memory) deliver(d Datagram) {
	m.mu.Lock()
	conn := m.conns[d.Dst.Port()]
	m.mu.Unlock()
	queue := m.queue
	if conn != nil {
		queue = conn.queue
	}
	select {
	case queue <- d:
	default: // full: lost
	}
}

// Receive implements Link.
func (m *Memory) Receive(ctx context.Context) (Datagram, error) {
	select {
	case d := <-m.queue:
		return d, nil
	case <-ctx.Done():
		return Datagram{}, ctx.Err()
	}
}

// ListenUDP implements Link.
func (m *Memory) ListenUDP(_ context.Context, local netip.AddrPort) (net.PacketConn, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	port := local.Port()
	if port == 0 {
		if len(m.conns) > 1000 {
			return nil, errors.New("open endpoint: too many open")
		}
		for m.conns[m.next] != nil || m.next < 49152 {
			m.next++
		}
		port = m.next
		m.next++
	}
	if m.conns[port] != nil {
		return nil, fmt.Errorf("open endpoint: port %d in use", port)
	}
	c := newQueueConn(netip.AddrPortFrom(local.Addr(), port),
		func(ctx context.Context, d Datagram) error { return m.Send(ctx, d) },
		func() {
			m.mu.Lock()
			defer m.mu.Unlock()
			delete(m.conns, port)
		})
	m.conns[port] = c
	return c, nil
}

// queueConn is a UDP endpoint on top of a datagram link.
type queueConn struct {
	local  netip.AddrPort
	queue  chan Datagram
	send   func(context.Context, Datagram) error
	onDone func()

	mu       sync.Mutex
	deadline time.Time
	closed   chan struct{}
	once     sync.Once
}

func newQueueConn(local netip.AddrPort, send func(context.Context, Datagram) error, onDone func()) *queueConn {
	return &queueConn{local: local, queue: make(chan Datagram, queueLen), send: send, onDone: onDone, closed: make(chan struct{})}
}

// ReadFrom implements net.PacketConn. A deadline set while it waits does not wake it: the TFTP
// client, its only user, sets the deadline first.
func (c *queueConn) ReadFrom(b []byte) (int, net.Addr, error) {
	c.mu.Lock()
	deadline := c.deadline
	c.mu.Unlock()
	var expired <-chan time.Time
	if !deadline.IsZero() {
		t := time.NewTimer(time.Until(deadline))
		defer t.Stop()
		expired = t.C
	}
	select {
	case d := <-c.queue:
		return copy(b, d.Payload), net.UDPAddrFromAddrPort(d.Src), nil
	case <-expired:
		return 0, nil, os.ErrDeadlineExceeded
	case <-c.closed:
		return 0, nil, net.ErrClosed
	}
}

// WriteTo implements net.PacketConn.
func (c *queueConn) WriteTo(b []byte, to net.Addr) (int, error) {
	ua, ok := to.(*net.UDPAddr)
	if !ok {
		return 0, fmt.Errorf("write to %T: not a UDP address", to)
	}
	ap := ua.AddrPort()
	d := Datagram{Src: c.local, Dst: netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()), Payload: b}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := c.send(ctx, d); err != nil {
		return 0, err
	}
	return len(b), nil
}

// Close implements net.PacketConn.
func (c *queueConn) Close() error {
	c.once.Do(func() {
		close(c.closed)
		c.onDone()
	})
	return nil
}

// LocalAddr implements net.PacketConn.
func (c *queueConn) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(c.local) }

// SetDeadline implements net.PacketConn.
func (c *queueConn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// SetReadDeadline implements net.PacketConn.
func (c *queueConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline = t
	return nil
}

// SetWriteDeadline implements net.PacketConn; writes do not wait longer than 5 s anyway.
func (c *queueConn) SetWriteDeadline(time.Time) error { return nil }
