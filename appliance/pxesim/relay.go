package pxesim

import (
	"context"
	"net/netip"
)

// RelayConfig describes a relay agent (RFC 1542, RFC 3046).
type RelayConfig struct {
	// Gateway is giaddr: the relay's address on the client's network.
	Gateway netip.Addr
	// Servers are where broadcasts are forwarded to.
	Servers []netip.Addr
	// CircuitID is sub-option 1 of option 82; empty leaves option 82 out.
	CircuitID []byte
}

// RelayLink puts a relay agent between a client and a Link: broadcasts to port 67 leave as unicasts
// from giaddr, and answers to giaddr arrive at the client as broadcasts.
type RelayLink struct {
	Link
	cfg RelayConfig
}

// NewRelayLink wraps a link. A RawLink must own the gateway's address (see RawLink.Own).
func NewRelayLink(inner Link, cfg RelayConfig) *RelayLink {
	return &RelayLink{Link: inner, cfg: cfg}
}

// Send implements Link.
func (r *RelayLink) Send(ctx context.Context, d Datagram) error {
	if d.Dst != netip.AddrPortFrom(broadcast, portServer) {
		return r.Link.Send(ctx, d)
	}
	k, err := ParsePacket(d.Payload)
	if err != nil {
		return err
	}
	k.Hops++
	k.GIAddr = r.cfg.Gateway
	if n := len(r.cfg.CircuitID); n > 0 && n < 200 {
		k.Set(optRelayInfo, append([]byte{1, byte(n)}, r.cfg.CircuitID...)...)
	}
	payload := k.Marshal()
	for _, s := range r.cfg.Servers {
		err := r.Link.Send(ctx, Datagram{Src: netip.AddrPortFrom(r.cfg.Gateway, portServer), Dst: netip.AddrPortFrom(s, portServer), Payload: payload})
		if err != nil {
			return err
		}
	}
	return nil
}

// Receive implements Link.
func (r *RelayLink) Receive(ctx context.Context) (Datagram, error) {
	for {
		d, err := r.Link.Receive(ctx)
		if err != nil || d.Dst.Port() != portServer {
			return d, err
		}
		k, err := ParsePacket(d.Payload)
		if err != nil || k.Op != 2 || k.GIAddr != r.cfg.Gateway {
			continue // not for this relay
		}
		k.Delete(optRelayInfo)
		return Datagram{
			Src:     netip.AddrPortFrom(r.cfg.Gateway, portServer),
			Dst:     netip.AddrPortFrom(broadcast, portClient),
			Payload: k.Marshal(),
		}, nil
	}
}
