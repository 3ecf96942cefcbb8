package proxydhcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/net/ipv4"
)

const (
	// batch is how many packets are read or written by one system call.
	batch     = 64
	bufferLen = maxPacket
	oobLen    = 64 // one IP_PKTINFO message
	flushTime = time.Second
)

// Server answers on UDP 67 and 4011. It is a Task: Run, Ready, String.
type Server struct {
	handler *Handler
	ports   [2]int // wanted
	ready   chan struct{}
	once    sync.Once

	mu    sync.Mutex
	socks []*socket // open
}

type socket struct {
	service int // PortDHCP or PortBoot: the role, whatever the number
	pc      *ipv4.PacketConn
	udp     *net.UDPConn
	delayed *delayQueue
	sending sync.Mutex
	queue   []Outbound     // answers of the current batch
	out     []ipv4.Message // scratch for write
}

// New returns a Server. Interfaces and Settings of c must be set.
func New(c Config) *Server {
	s := &Server{handler: NewHandler(c), ready: make(chan struct{}), ports: [2]int{PortDHCP, PortBoot}}
	if c.DHCPPort != 0 {
		s.ports[0] = c.DHCPPort
	}
	if c.BootPort != 0 {
		s.ports[1] = c.BootPort
	}
	return s
}

// String names the task.
func (s *Server) String() string { return "proxydhcp" }

// Ready is closed once both ports are open for the first time.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Listen opens both ports, or none: the error is then a *ListenError that names
// the port. It does nothing when they are open. Run calls it; call it before to
// learn early that a port is taken.
func (s *Server) Listen() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.socks != nil {
		return nil
	}
	var socks []*socket
	for i, service := range []int{PortDHCP, PortBoot} {
		pc, udp, err := openSocket(s.ports[i])
		if err != nil {
			for _, k := range socks {
				err = errors.Join(err, k.udp.Close())
			}
			return err
		}
		socks = append(socks, &socket{service: service, pc: pc, udp: udp, delayed: newDelayQueue()})
	}
	s.socks = socks
	s.once.Do(func() { close(s.ready) })
	return nil
}

// Ports returns the numbers of the open ports, DHCP first; zeros when closed.
func (s *Server) Ports() (dhcp, boot int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.socks == nil {
		return 0, 0
	}
	port := func(k *socket) int { return k.udp.LocalAddr().(*net.UDPAddr).Port }
	return port(s.socks[0]), port(s.socks[1])
}

// Close closes the ports if they are open. Run does it when it ends.
func (s *Server) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	for _, k := range s.socks {
		err = errors.Join(err, k.udp.Close())
	}
	s.socks = nil
	return err
}

// Run serves until ctx ends, then returns nil with the ports closed. Any other
// return is an error and also closes them; Run may be called again.
func (s *Server) Run(ctx context.Context) error {
	if err := s.Listen(); err != nil {
		return err
	}
	s.mu.Lock()
	socks := s.socks
	s.mu.Unlock()
	parent := ctx
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	var wg sync.WaitGroup
	for _, k := range socks {
		wg.Go(func() {
			cancel(s.serve(ctx, k))
		})
		wg.Go(func() {
			k.delayed.run(ctx, func(out Outbound) { s.write(k, []Outbound{out}) })
		})
	}
	wg.Go(func() {
		tick := time.NewTicker(flushTime)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				s.handler.Flush()
			}
		}
	})
	<-ctx.Done()
	// Closing is what wakes the readers.
	err := s.Close()
	wg.Wait()
	if parent.Err() != nil {
		return nil
	}
	return errors.Join(context.Cause(ctx), err)
}

// serve reads packets in batches and answers them, each batch in one go.
func (s *Server) serve(ctx context.Context, k *socket) error {
	in := make([]ipv4.Message, batch)
	buffers := make([]byte, batch*bufferLen)
	oob := make([]byte, batch*oobLen)
	for i := range in {
		in[i].Buffers = [][]byte{buffers[i*bufferLen : (i+1)*bufferLen : (i+1)*bufferLen]}
		in[i].OOB = oob[i*oobLen : (i+1)*oobLen : (i+1)*oobLen]
	}
	for {
		n, err := k.pc.ReadBatch(in, 0)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("read port %d: %w", k.service, err)
		}
		s.answer(k, in[:n])
	}
}

// answer handles one batch.
func (s *Server) answer(k *socket, in []ipv4.Message) {
	var around Surroundings
	asked := false
	k.queue = k.queue[:0]
	for i := range in {
		m := &in[i]
		raw := m.Buffers[0][:m.N]
		if !s.handler.Admit(raw) {
			continue
		}
		if !asked {
			// Not before: a flood that is not admitted costs nothing more.
			around, asked = s.handler.Surroundings(), true
		}
		packet := Inbound{
			Raw: raw, Port: k.service,
			Truncated: m.Flags&msgTruncated != 0,
		}
		if a, ok := m.Addr.(*net.UDPAddr); ok {
			packet.Source = netip.AddrPortFrom(a.AddrPort().Addr().Unmap(), uint16(a.Port))
		}
		packet.IfIndex, packet.Destination = packetInfo(m.OOB[:m.NN])
		out, ok := s.handler.Handle(packet, around)
		switch {
		case !ok:
		case out.Delay > 0 && k.delayed.put(out):
		default:
			k.queue = append(k.queue, out)
		}
	}
	if len(k.queue) > 0 {
		s.write(k, k.queue)
	}
}

// write sends answers, as many as possible by one system call. One that cannot
// be sent (link down, no neighbour) is told and does not stop the others.
func (s *Server) write(k *socket, outs []Outbound) {
	k.sending.Lock()
	defer k.sending.Unlock()
	k.out = k.out[:0]
	for i := range outs {
		o := &outs[i]
		k.out = append(k.out, ipv4.Message{
			Buffers: [][]byte{o.Packet},
			OOB:     (&ipv4.ControlMessage{IfIndex: o.IfIndex, Src: o.Src.AsSlice()}).Marshal(),
			Addr:    net.UDPAddrFromAddrPort(o.To),
		})
	}
	for rest := k.out; len(rest) > 0; {
		n, err := k.pc.WriteBatch(rest, 0)
		if err == nil && n == 0 {
			err = errors.New("nothing was sent")
		}
		n = max(n, 0)
		for i := range n {
			s.handler.Sent(outs[i], nil)
		}
		rest, outs = rest[n:], outs[n:]
		if err != nil && len(rest) > 0 {
			s.handler.Sent(outs[0], err)
			rest, outs = rest[1:], outs[1:]
		}
	}
	clear(k.out)
}
