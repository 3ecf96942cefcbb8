package lab

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Packet is what a rule of a wire is asked about: one frame, as far as rules need
// to know it.
type Packet struct {
	// FromClient says which way it goes.
	FromClient bool
	// At is the time since the machine was last switched on.
	At time.Duration
	// Size is that of the whole frame, octets.
	Size int
	// UDP and TCP say what it is; both are false for everything else.
	UDP, TCP         bool
	Src, Dst         netip.Addr
	SrcPort, DstPort uint16
	// Data are the octets of the UDP payload, which must not be kept or changed.
	Data []byte
}

// Drop says whether a packet is lost.
type Drop func(Packet) bool

// Wire is the cable between a machine and the LAN: frames pass one at a time
// through Go, and what the rule drops is lost. It joins two tap devices, so that
// checksums are whole and nothing is offloaded.
type Wire struct {
	client, lan *os.File
	rule        atomic.Pointer[Drop]
	on          atomic.Int64 // when the machine was switched on, Unix nanoseconds
	wg          sync.WaitGroup
	once        sync.Once
	// Dropped counts lost frames.
	Dropped atomic.Int64
}

func newWire(client, lan *os.File, rule Drop) *Wire {
	w := &Wire{client: client, lan: lan}
	w.Rule(rule)
	w.PoweredOn()
	w.wg.Add(2)
	go w.carry(client, lan, true)
	go w.carry(lan, client, false)
	return w
}

// Rule replaces the rule; nil loses nothing.
func (w *Wire) Rule(d Drop) { w.rule.Store(&d) }

// PoweredOn sets the zero of [Packet].At to now.
func (w *Wire) PoweredOn() { w.on.Store(time.Now().UnixNano()) }

func (w *Wire) carry(from, to *os.File, out bool) {
	defer w.wg.Done()
	buf := make([]byte, maxFrame)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		if d := *w.rule.Load(); d != nil && d(packetOf(buf[:n], out, time.Duration(time.Now().UnixNano()-w.on.Load()))) {
			w.Dropped.Add(1)
			continue
		}
		_, _ = to.Write(buf[:n]) // a full queue loses frames, as on a switch
	}
}

func packetOf(frame []byte, out bool, at time.Duration) Packet {
	p := Packet{FromClient: out, At: at, Size: len(frame)}
	if u, ok := parseUDP(frame); ok {
		p.UDP, p.Src, p.Dst, p.SrcPort, p.DstPort, p.Data = true, u.src, u.dst, u.srcPort, u.dstPort, u.payload
	} else if t, ok := parseTCP(frame); ok {
		p.TCP, p.Src, p.Dst, p.SrcPort, p.DstPort = true, t.src, t.dst, t.srcPort, t.dstPort
	}
	return p
}

// Close cuts the wire.
func (w *Wire) Close() error {
	var err error
	w.once.Do(func() { err = errors.Join(w.client.Close(), w.lan.Close()) })
	w.wg.Wait()
	return err
}

// Loss loses that share of all packets, 0 to 1, in each direction.
func Loss(share float64, seed uint64) Drop {
	var mu sync.Mutex
	rng := newRand(seed)
	return func(Packet) bool {
		mu.Lock()
		defer mu.Unlock()
		return lost(rng, share)
	}
}

func lost(rng *rand.Rand, share float64) bool { return rng.Float64() < share }

// wired makes a namespace whose eth0 hangs on the bridge by a wire.
func (s *Site) wired(role string, mac net.HardwareAddr, bridge string, rule Drop) (*Namespace, *Wire, error) {
	n, err := s.namespace(s.lan.name[:len(s.lan.name)-len("lan")-1], role)
	if err != nil {
		return nil, nil, err
	}
	client, err := n.openTap("eth0")
	if err != nil {
		return nil, nil, err
	}
	link, err := n.nl.LinkByName("eth0")
	if err == nil {
		err = n.nl.LinkSetHardwareAddr(link, mac)
	}
	if err == nil {
		err = n.nl.LinkSetUp(link)
	}
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("wire of %s: %w", role, err), client.Close())
	}
	// No router is to be heard in there, and nothing is to be said unasked.
	_ = n.sysctl("net/ipv6/conf/eth0/disable_ipv6", "1")
	lan, err := s.lan.tap(s.port(), bridge)
	if err != nil {
		return nil, nil, errors.Join(err, client.Close())
	}
	w := newWire(client, lan, rule)
	s.onClose(w.Close)
	return n, w, nil
}
