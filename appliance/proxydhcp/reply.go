package proxydhcp

import (
	"net/netip"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// Result is what is to be done about one packet.
type Result struct {
	// Reason is ReasonNone when Packet is to be sent. With ReasonObserve all
	// other fields are filled as if it were; with any other reason Packet is nil.
	Reason  boot.Reason
	Packet  []byte
	To      netip.AddrPort
	Src     netip.Addr // address to send from; it is option 54
	IfIndex int        // interface to send through; 0 leaves it to the routing table
	Ack     bool       // an ACK to a boot-server request, not an OFFER

	Interface string      // name of the interface the packet came in on
	Client    boot.Client // as far as it could be read: at least the MAC
	Decision  boot.Decision
	Relay     netip.Addr // giaddr, when the packet came through a relay
	// Lease is the address that the client asks the site's DHCP server for, in
	// a REQUEST that was overheard (Reason is ReasonType then).
	Lease netip.Addr
	// Server is the DHCP server that an overheard REQUEST is addressed to.
	Server netip.Addr
	// Warnings are things to tell the operator besides.
	Warnings []boot.Reason
	// Class is option 60 as sent: hostile text.
	Class string
	// Probe: another box looks for the servers of its LAN (see ProbeClass).
	Probe bool
	// Secs is the secs field as sent.
	Secs uint16
}

// relayedOffer is how long a relayed offer vouches for a request that comes to
// port 4011 from beyond the link. A person may sit in front of a prompt.
const relayedOffer = 10 * time.Minute

// Reply decides about one packet. It is pure, keeps no reference to raw and
// copes with any content. The tests come in a fixed order: the reason given is
// the first that applies.
func Reply(raw []byte, env Env) Result {
	e := &env
	r, ok := decode(raw, e.Port)
	res := Result{Client: boot.Client{MAC: r.mac, XID: r.xid}}
	if !ok {
		res.Reason = boot.ReasonParse
		return res
	}
	res.Class = string(r.option(optClass))
	res.Secs = r.p.NumSeconds
	res.Probe = r.typ == typeDiscover && string(r.option(optUserClass)) == ProbeClass
	if r.relayed() {
		res.Relay = r.giaddr
	}
	in, at, reason := e.sender(r)
	res.Interface = in.Name
	if reason == boot.ReasonNone {
		reason = e.message(r, &res)
	}
	if reason != boot.ReasonNone {
		if r.class != boot.ClassNone && r.typ == typeDiscover && !r.badHardware() {
			res.Client = boot.NewClient(r.facts()) // its boot is worth a story all the same
		}
		res.Reason = reason
		return res
	}
	ack := r.typ != typeDiscover
	res.Client = e.client(r)
	past := e.history(r.mac)
	past.Settled = ack
	d := boot.Decide(res.Client, e.Policy, past, at, e.Now)
	res.Decision, res.Ack = d, ack
	switch {
	case d.Reason != boot.ReasonNone:
		res.Reason = d.Reason
		return res
	case r.hasItem && r.item == itemLocal && ack && d.Form != boot.FormRPi:
		// The person at the machine chose "boot from disk" in a menu.
		res.Reason = boot.ReasonPolicy
		return res
	case e.Port == PortBoot && res.Client.Class == boot.ClassHTTP:
		res.Reason = boot.ReasonHTTP4011
		return res
	}
	if d.Warning != boot.ReasonNone {
		res.Warnings = append(res.Warnings, d.Warning)
	}
	if res.Client.ArchConflict {
		res.Warnings = append(res.Warnings, boot.ReasonArchConflict)
	}
	packet, ok := e.encode(r, d, at, ack)
	if !ok {
		res.Reason = boot.ReasonTooLong
		return res
	}
	res.Packet, res.Src, res.To = packet, at, e.destination(in, r, ack)
	// A broadcast, and a unicast on the link, leave where the request came in.
	// A routed answer follows the routes: forced out of an interface without
	// one, the kernel would look for the far host on the link.
	if to := res.To.Addr(); to == limitedBroadcast || in.onLink(to) {
		res.IfIndex = in.Index
	}
	if e.Observe {
		res.Reason = boot.ReasonObserve
	}
	return res
}

// sender judges who sent the packet and which way it came, and chooses the
// address to answer from.
func (e *Env) sender(r *request) (in Interface, at netip.Addr, reason boot.Reason) {
	in = e.arrival()
	switch {
	case r.p.OpCode != opRequest:
		return in, at, boot.ReasonNotRequest
	case e.own(e.Source.Addr()) || e.ownMAC(r.mac):
		return in, at, boot.ReasonSelf
	case r.p.HopCount > maxHops:
		return in, at, boot.ReasonHops
	case !in.Served:
		return in, at, boot.ReasonInterface
	}
	if at = e.address(in, r); !at.IsValid() {
		return in, at, boot.ReasonNoAddress
	}
	if r.relayed() && (e.own(r.giaddr) || !e.Relays.allowsRelay(r.giaddr, in)) {
		return in, at, boot.ReasonRelay
	}
	// Where the answer goes to the packet's source address, that must be an
	// address we may send to: 4011, and boot-server discovery on 67.
	if e.Port == PortBoot || r.discovery() && !r.relayed() {
		if !e.Relays.allowsClient(e.Source.Addr(), in, func() bool {
			h := e.history(r.mac)
			return h.Last.Relayed && h.Age <= relayedOffer
		}) {
			return in, at, boot.ReasonSource
		}
	}
	return in, at, boot.ReasonNone
}

// discovery says whether a packet on port 67 looks for a boot server rather
// than for a lease: 43.71, with an address of its own and none asked for.
func (r *request) discovery() bool {
	return (r.typ == typeRequest || r.typ == typeInform) && r.hasItem &&
		r.class == boot.ClassPXE && !r.ciaddr.IsUnspecified() && len(r.option(optRequested)) == 0
}

// message judges what the packet says.
func (e *Env) message(r *request, res *Result) boot.Reason {
	if r.typ == 0 {
		return boot.ReasonNoType
	}
	if e.Port == PortBoot {
		if r.typ != typeRequest && r.typ != typeInform {
			return boot.ReasonType
		}
	} else if r.typ != typeDiscover && !r.discovery() {
		e.overhear(r, res)
		return boot.ReasonType
	}
	if r.class == boot.ClassNone && !e.classless(r) {
		return boot.ReasonClass
	}
	if r.typ != typeDiscover {
		if v, there := r.p.Options[optServer]; there && (len(v) != 4 || !e.own(netip.AddrFrom4([4]byte(v)))) {
			return boot.ReasonOtherServer
		}
		// A broadcast for one of the registered boot-server types (PXE 2.1
		// table 2-1) looks for that product; only the vendor range is ours.
		if r.item != itemLocal && r.item < itemVendor && !e.own(e.Destination) {
			return boot.ReasonOtherServer
		}
	}
	if r.badHardware() {
		return boot.ReasonHW
	}
	if r.badGUID() && !e.LenientGUID {
		return boot.ReasonGUID
	}
	return boot.ReasonNone
}

// overhear notes what a REQUEST to the site's DHCP server tells us.
func (e *Env) overhear(r *request, res *Result) {
	if r.typ != typeRequest || r.badHardware() {
		return
	}
	if a := r.lease(); !a.IsUnspecified() {
		res.Lease = a
	}
	if v := r.option(optServer); len(v) == 4 {
		res.Server = netip.AddrFrom4([4]byte(v))
	}
	if e.own(res.Server) {
		res.Warnings = append(res.Warnings, boot.ReasonNoLease)
	}
	if r.class != boot.ClassNone {
		res.Client = boot.NewClient(r.facts())
	}
}

// classless says whether a request without option 60 is a boot client all the
// same: the Raspberry Pi 4 leaves it out on port 4011.
func (e *Env) classless(r *request) bool {
	if _, there := r.p.Options[optClass]; there || e.Port != PortBoot {
		return false
	}
	return len(r.option(optArch)) > 0 || e.recent(r.mac)
}

// recent says whether we have just made this hardware address an offer.
func (e *Env) recent(mac boot.MAC) bool {
	h := e.history(mac)
	return h.Last.Class != boot.ClassNone && h.Age <= boot.RecentOffer
}

func (e *Env) history(mac boot.MAC) boot.History {
	if e.History == nil {
		return boot.History{}
	}
	return e.History(mac)
}

// client reads who is asking. A boot-server request may leave out what the
// DISCOVER said; a recent offer to the same address then completes it.
func (e *Env) client(r *request) boot.Client {
	f := r.facts()
	if r.class == boot.ClassNone {
		f.Class = string(boot.ClassPXE)
	}
	c := boot.NewClient(f)
	if r.typ == typeDiscover || !e.recent(r.mac) {
		return c
	}
	last := e.history(r.mac).Last
	if r.class == boot.ClassNone {
		c.Class = last.Class
	}
	if c.GUID.IsZero() {
		c.GUID = last.GUID
		if c.Firmware == boot.FirmwareBIOS && last.Firmware == boot.FirmwareRPi {
			c.Firmware = last.Firmware // the identifier was what told the two apart
		}
	}
	if !c.ArchKnown {
		c.Arch, c.Archs, c.ArchKnown = last.Arch, last.Archs, last.ArchKnown
		if c.Firmware == boot.FirmwareUnknown {
			c.Firmware, c.IPXE, c.Ours = last.Firmware, last.IPXE, last.Ours
		}
	}
	return c
}
