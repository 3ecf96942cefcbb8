package pxesim

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// Config is what a Machine needs to know.
type Config struct {
	// Profile is the firmware.
	Profile Profile
	// MAC is the client's Ethernet address.
	MAC net.HardwareAddr
	// UUID is put into option 97 behind its type byte, unless the profile has its own.
	UUID [16]byte
	// XID draws transaction ids.
	XID func() uint32
	// Lease lets the machine send REQUEST to the DHCP server. Without it the machine goes on as
	// Station after choosing an offer.
	Lease bool
	// Station is the address to use without a lease.
	Station netip.Prefix
	// CameFrom is the server that delivered this program, for profiles with Autoexec.
	CameFrom netip.Addr
}

// Effect is something the Machine wants done: Send, Timer, Address, Fetch, Note or Done.
type Effect interface{ effect() }

// Send transmits one datagram.
type Send struct {
	// Datagram is complete.
	Datagram Datagram
}

// Timer asks for a call of Expired at that time. There is one timer: a new one replaces it.
type Timer struct {
	// At is the time since the start.
	At time.Duration
}

// Address puts the client's new address to use.
type Address struct {
	// Lease is what was granted.
	Lease Lease
}

// Fetch starts a download; the Machine waits for Fetched.
type Fetch struct {
	// Server and Name are for TFTP.
	Server netip.Addr
	// Name is sent byte by byte.
	Name []byte
	// URL is for HTTP, and empty for TFTP.
	URL string
	// Firmware asks for HttpBootDxe's rules, DNS is the name server to use.
	Firmware bool
	// DNS is invalid if there is none.
	DNS netip.Addr
	// Limit ends the attempt early; 0 leaves it to the habits.
	Limit time.Duration
}

// Note reports a Step.
type Note struct {
	// Step lacks nothing.
	Step Step
}

// Done ends the exchange.
type Done struct {
	// Outcome is final.
	Outcome Outcome
}

func (Send) effect()    {}
func (Timer) effect()   {}
func (Address) effect() {}
func (Fetch) effect()   {}
func (Note) effect()    {}
func (Done) effect()    {}

type state int

const (
	stateIdle state = iota
	stateAutoexec
	stateDiscover
	stateRequest
	stateAsk    // port 4011 after a two-step offer
	statePrompt // PXE menu counts down
	stateBoot   // REQUEST with 43.71 to a boot server
	stateFetch
	stateDone
)

const (
	// maxOffers is EDK2's limit (PXEBC_OFFER_MAX_NUM), applied to all.
	maxOffers = 16
	// maxRefused bounds the reports about packets thrown away.
	maxRefused = 64
	// autoexecLimit is how long a silent server delays a chainloaded iPXE (30 s in builds since 2025).
	autoexecLimit = 2 * time.Second
	// maxRestarts bounds the returns to DISCOVER after a NAK.
	maxRestarts = 3
)

// Machine plays one firmware from power-on to its first program. It does no I/O and has no clock:
// every call carries the time since the start. It is not safe for concurrent use.
type Machine struct {
	cfg Config
	p   *Profile

	now      time.Duration
	out      []Effect
	state    state
	since    time.Duration // start of the state
	try      int
	sent     time.Duration // when the last DISCOVER left
	restarts int
	refused  int
	xid      uint32

	offers []Offer
	choice Choice
	why    Why
	lease  Lease
	ack    *Packet

	asked  []netip.Addr // boot servers still to be asked, the current one first
	askID  netip.Addr   // option 54 that the answer must carry (iPXE)
	reply  *Packet
	from   netip.AddrPort
	item   uint16
	menu   *Packet
	server netip.Addr
	files  []Fetch // still to be fetched, the current one first
	end    Outcome
}

// NewMachine checks the configuration. The error names what cannot be played.
func NewMachine(cfg Config) (*Machine, error) {
	if err := cfg.Profile.check(); err != nil {
		return nil, err
	}
	if len(cfg.MAC) != 6 {
		return nil, fmt.Errorf("hardware address %v: not six bytes", cfg.MAC)
	}
	if cfg.XID == nil {
		return nil, fmt.Errorf("no source of transaction ids")
	}
	if !cfg.Lease && !cfg.Station.Addr().Is4() {
		return nil, fmt.Errorf("neither a lease allowed nor an own IPv4 address to probe from")
	}
	m := &Machine{cfg: cfg}
	m.p = &m.cfg.Profile
	return m, nil
}

// Offers are the offers kept so far; Choice and Why are the firmware's view of them.
func (m *Machine) Offers() []Offer { return m.offers }

// Choice is the last selection.
func (m *Machine) Choice() (Choice, Why) { return m.choice, m.why }

// Lease is what was granted or, in a probe, offered.
func (m *Machine) Lease() Lease { return m.lease }

func (m *Machine) flush() []Effect {
	out := m.out
	m.out = nil
	return out
}

func (m *Machine) do(e Effect) { m.out = append(m.out, e) }

func (m *Machine) note(kind StepKind, peer netip.AddrPort, format string, args ...any) {
	m.do(Note{Step{At: m.now, Kind: kind, Peer: peer, Text: fmt.Sprintf(format, args...)}})
}

func (m *Machine) enter(s state) {
	m.state, m.since, m.try = s, m.now, 0
}

// Start powers the client on.
func (m *Machine) Start(now time.Duration) []Effect {
	m.now = now
	if m.state != stateIdle {
		return nil
	}
	if m.p.Autoexec && m.cfg.CameFrom.Is4() {
		m.enter(stateAutoexec)
		// The program inherits the address of the firmware that loaded it.
		m.lease.Addr = m.cfg.Station
		m.server = m.cfg.CameFrom
		m.fetch(Fetch{Server: m.cfg.CameFrom, Name: []byte("autoexec.ipxe"), Limit: autoexecLimit})
		return m.flush()
	}
	m.discover()
	return m.flush()
}

func (m *Machine) discover() {
	m.enter(stateDiscover)
	m.offers = nil
	m.newXID()
	m.sendDiscover()
}

func (m *Machine) newXID() {
	m.xid = m.p.FixedXID
	if m.xid == 0 {
		m.xid = m.cfg.XID()
	}
}

func (m *Machine) sendDiscover() {
	k := m.request(typeDiscover)
	if m.p.Broadcast {
		k.Flags = 0x8000
	}
	k.Secs = m.secs()
	m.note(StepDiscover, netip.AddrPort{}, "DISCOVER %d of %d, xid %08x", m.try+1, len(m.p.DiscoverWaits), m.xid)
	m.do(Send{Datagram{Src: netip.AddrPortFrom(netip.IPv4Unspecified(), portClient), Dst: netip.AddrPortFrom(broadcast, portServer), Payload: k.Marshal()}})
	m.do(Timer{m.now + m.p.DiscoverWaits[m.try]})
	m.sent = m.now
	m.try++
}

// secs is the secs field of the DISCOVER that is sent now. iPXE counts packets in
// fours, beginning with the first; the others write seconds since they began.
func (m *Machine) secs() uint16 {
	if m.p.Family == FamilyIPXE {
		return uint16(4 * (m.try + 1))
	}
	return uint16(min(m.now-m.since, 0xffff*time.Second) / time.Second)
}

// request builds a message with the options the firmware always sends.
func (m *Machine) request(kind byte) *Packet {
	p := m.p
	k := &Packet{Op: 1, HType: 1, HLen: 6, XID: m.xid}
	copy(k.CHAddr[:], m.cfg.MAC)
	k.Set(optType, kind)
	k.Set(optMaxSize, 1472>>8, 1472&0xff)
	if len(p.ParamList) > 0 {
		k.Set(optParamList, p.ParamList...)
	}
	k.Set(optClass, []byte(p.class())...)
	if !p.OmitArch {
		k.Set(optArch, byte(p.Arch>>8), byte(p.Arch))
	}
	if p.UNDI != [3]byte{} {
		k.Set(optUNDI, p.UNDI[:]...)
	}
	switch {
	case p.OmitGUID:
	case p.GUID != nil:
		k.Set(optGUID, p.GUID...)
	default:
		k.Set(optGUID, append([]byte{0}, m.cfg.UUID[:]...)...)
	}
	if len(p.UserClass) > 0 {
		k.Set(optUserClass, p.UserClass...)
	}
	if p.Family == FamilyIPXE {
		k.Set(optClientID, append([]byte{1}, m.cfg.MAC...)...)
		k.Set(optIPXE, p.encapsulated()...)
	}
	return k
}

// encapsulated is option 175 of a request.
func (p *Profile) encapsulated() []byte {
	// A PCI bus id: the network card of QEMU's default machine.
	b := []byte{ipxeBusID, 5, 1, 0x80, 0x86, 0x10, 0x0e}
	if n := len(p.Version); n > 0 && n < 16 {
		b = append(append(b, ipxeVersion, byte(n)), p.Version...)
	}
	for _, f := range p.Features {
		b = append(b, f, 1, 1)
	}
	return b
}

// Packet takes one datagram from the network.
func (m *Machine) Packet(now time.Duration, d Datagram) []Effect {
	m.now = now
	k, err := ParsePacket(d.Payload)
	if err != nil {
		if d.Src.Port() == portServer || d.Src.Port() == portBINL {
			m.ignore(d.Src, "%v", err)
		}
		return m.flush()
	}
	if k.Op != 2 || k.HLen != 6 || !bytes.Equal(k.CHAddr[:6], m.cfg.MAC) {
		return m.flush() // somebody else's
	}
	switch m.state {
	case stateDiscover:
		m.offer(d, k)
	case stateRequest:
		m.acked(d, k)
	case stateAsk:
		m.answered(d, k)
	case stateBoot:
		m.bootAnswered(d, k)
	default:
	}
	return m.flush()
}

// ignore reports a packet for this client that it throws away.
func (m *Machine) ignore(from netip.AddrPort, format string, args ...any) {
	if m.refused < maxRefused {
		m.refused++
		m.note(StepIgnored, from, format, args...)
	}
}

// mine checks port and transaction; a mismatch is reported.
func (m *Machine) mine(d Datagram, k *Packet, port uint16) bool {
	switch {
	case d.Dst.Port() != port:
		m.ignore(d.Src, "reply to port %d while the client listens on %d", d.Dst.Port(), port)
	case k.XID != m.xid:
		m.ignore(d.Src, "reply to transaction %08x while %08x is open", k.XID, m.xid)
	default:
		return true
	}
	return false
}

func (m *Machine) offer(d Datagram, k *Packet) {
	if !m.mine(d, k, portClient) {
		return
	}
	if early := m.p.Quirks.MissesEarly; m.now-m.sent < early {
		m.ignore(d.Src, "offer after %v: this firmware does not listen before %v", m.now-m.sent, early)
		return
	}
	o := Offer{From: d.Src, At: m.now, Packet: k}
	class, refusal := Classify(m.p, o)
	if len(m.offers) >= maxOffers {
		m.ignore(d.Src, "more than %d offers", maxOffers)
		return
	}
	m.offers = append(m.offers, o)
	text := describe(m.p, k)
	if refusal != "" {
		text += "; refused: " + refusal
	}
	m.do(Note{Step{At: m.now, Kind: StepOffer, Peer: d.Src, Class: class, Text: text}})

	switch m.p.Family {
	case FamilyIPXE:
		m.choice, m.why = Select(m.p, m.offers)
		if m.choice.OK() && (m.choice.Proxy >= 0 || ipxeIgnoresProxy(m.offers[m.choice.DHCP].Packet) || m.now-m.since > m.p.ProxyWait) {
			m.chosen()
		}
	case FamilyPi3, FamilyPi4:
		if m.choice, m.why = Select(m.p, m.offers); m.choice.OK() {
			m.chosen()
		}
	case FamilyBIOS, FamilyUEFI, FamilyHTTP:
		// They choose when the wait is over, whatever arrived.
	}
}

// describe is an offer in words.
func describe(p *Profile, k *Packet) string {
	text := "offers no address"
	if !unset(k.YIAddr) {
		text = "offers " + k.YIAddr.String()
	}
	if o, ok := k.First(optClass); ok {
		text += ", class " + clip(o.Data, 40)
	}
	if f := fileOf(p, k); len(f) > 0 {
		text += ", file " + clip(f, 128)
	}
	if !unset(k.SIAddr) {
		text += ", next server " + k.SIAddr.String()
	}
	if v := readVendor(k); v.hasControl {
		text += fmt.Sprintf(", 43.6 = %d", v.control)
	}
	return text
}

// fileOf is the boot file name by the firmware's rules.
func fileOf(p *Profile, k *Packet) []byte {
	switch p.Family {
	case FamilyUEFI:
		return uefiFile(p, k)
	case FamilyHTTP:
		return httpURI(k)
	case FamilyIPXE:
		return ipxeFile(k)
	case FamilyBIOS:
		return biosFile(p, k)
	default:
	}
	return k.fileField()
}

// Expired is called when the timer runs out.
func (m *Machine) Expired(now time.Duration) []Effect {
	m.now = now
	switch m.state {
	case stateDiscover:
		m.discoverExpired()
	case stateRequest:
		if m.try < len(m.p.RequestWaits) {
			m.sendRequest()
			break
		}
		code := map[Family]Code{FamilyBIOS: CodeE51, FamilyUEFI: CodeE16, FamilyHTTP: CodeHTTPNoOffer, FamilyIPXE: CodeNoConfig}[m.p.Family]
		if code == "" {
			code = CodePiDHCP
		}
		m.fail(code, "the DHCP server offered an address and then did not acknowledge it")
	case stateAsk:
		m.askExpired()
	case statePrompt:
		m.askBootServers()
	case stateBoot:
		m.bootExpired()
	default:
	}
	return m.flush()
}

func (m *Machine) discoverExpired() {
	m.choice, m.why = Select(m.p, m.offers)
	ready := m.choice.OK()
	if m.p.Family == FamilyIPXE {
		ready = ready && m.now-m.since > m.p.ProxyWait
	}
	switch {
	case ready:
		m.chosen()
	case m.try < len(m.p.DiscoverWaits):
		m.note(StepWaiting, netip.AddrPort{}, "%s", m.why.Text)
		m.sendDiscover()
	case m.choice.OK(): // iPXE out of tries, but with an address
		m.chosen()
	default:
		m.fail(m.why.Code, m.why.Text)
	}
}

// chosen goes on with the selected offers.
func (m *Machine) chosen() {
	o := m.offers[m.choice.DHCP]
	m.note(StepChosen, o.From, "%s", m.why.Text)
	m.lease = leaseOf(o.Packet)
	if m.p.Family == FamilyPi3 {
		// The ROM takes the offered address without asking for it.
		if !m.cfg.Lease {
			m.note(StepNoRequest, netip.AddrPort{}, "probe: going on as %v", m.cfg.Station.Addr())
			m.lease.Addr = m.cfg.Station
		}
		m.ack = o.Packet
		m.do(Address{m.lease})
		m.bound()
		return
	}
	if !m.cfg.Lease {
		m.note(StepNoRequest, o.From, "probe: no REQUEST to the DHCP server, going on as %v", m.cfg.Station.Addr())
		m.lease.Addr = m.cfg.Station
		m.ack = o.Packet
		m.bound()
		return
	}
	if o.Packet.Type() == 0 { // BOOTP: the reply is the lease
		m.ack = o.Packet
		m.do(Address{m.lease})
		m.bound()
		return
	}
	m.enter(stateRequest)
	m.sendRequest()
}

func leaseOf(k *Packet) Lease {
	l := Lease{Router: k.Addr(optRouter), DNS: k.Addr(optDNS), Server: k.ServerID()}
	bits := 32
	if o, ok := k.First(optMask); ok && len(o.Data) == 4 {
		if ones, size := net.IPMask(o.Data).Size(); size == 32 {
			bits = ones
		}
	}
	l.Addr = netip.PrefixFrom(k.YIAddr, bits)
	return l
}

func (m *Machine) sendRequest() {
	o := m.offers[m.choice.DHCP].Packet
	k := m.request(typeRequest)
	if m.p.Broadcast {
		k.Flags = 0x8000
	}
	if m.p.Quirks.Huge57 {
		k.Set(optMaxSize, 0xff, 0x00)
	}
	if m.p.Family == FamilyPi4 {
		k.Delete(optClass)
	}
	ip := o.YIAddr.As4()
	k.Set(optRequestIP, ip[:]...)
	if id := o.ServerID(); id.IsValid() {
		b := id.As4()
		k.Set(optServerID, b[:]...)
	}
	m.note(StepRequest, m.offers[m.choice.DHCP].From, "REQUEST for %v", o.YIAddr)
	m.do(Send{Datagram{Src: netip.AddrPortFrom(netip.IPv4Unspecified(), portClient), Dst: netip.AddrPortFrom(broadcast, portServer), Payload: k.Marshal()}})
	m.do(Timer{m.now + m.p.RequestWaits[m.try]})
	m.try++
}

func (m *Machine) acked(d Datagram, k *Packet) {
	if !m.mine(d, k, portClient) {
		return
	}
	want := m.offers[m.choice.DHCP].Packet.ServerID()
	switch {
	case k.Type() != typeACK && k.Type() != typeNAK:
		m.ignore(d.Src, "message type %d while waiting for an ACK", k.Type())
	case d.Src.Port() != portServer:
		m.ignore(d.Src, "acknowledgement from port %d", d.Src.Port())
	case k.ServerID() != want:
		m.ignore(d.Src, "acknowledgement by %v while %v was asked", k.ServerID(), want)
	case k.Type() == typeNAK:
		m.note(StepNAK, d.Src, "NAK")
		if m.restarts++; m.restarts > maxRestarts {
			m.fail(m.noAddress(), "the DHCP server refuses every address it offers")
			return
		}
		m.discover()
	default:
		m.lease, m.ack = leaseOf(k), k
		m.note(StepACK, d.Src, "ACK for %v", m.lease.Addr)
		m.do(Address{m.lease})
		m.bound()
	}
}

func (m *Machine) noAddress() Code {
	switch m.p.Family {
	case FamilyBIOS:
		return CodeE51
	case FamilyUEFI:
		return CodeE16
	case FamilyHTTP:
		return CodeHTTPNoOffer
	case FamilyIPXE:
		return CodeNoConfig
	default:
	}
	return CodePiDHCP
}

func (m *Machine) fail(code Code, text string) {
	m.end.Code, m.end.Verdict = code, string(code)+": "+text
	m.finish()
}

func (m *Machine) finish() {
	m.state = stateDone
	m.note(StepVerdict, netip.AddrPort{}, "%s", m.end.Verdict)
	m.do(Done{m.end})
}

// station is the client's own address from here on.
func (m *Machine) station() netip.Addr { return m.lease.Addr.Addr() }

// Release is the DHCPRELEASE for the lease held, or false if there is none. No firmware sends it;
// it is for callers that want to leave nothing behind.
func (m *Machine) Release() (Datagram, bool) {
	if !m.cfg.Lease || m.ack == nil || m.p.Family == FamilyPi3 || !m.lease.Server.IsValid() {
		return Datagram{}, false
	}
	m.newXID()
	k := &Packet{Op: 1, HType: 1, HLen: 6, XID: m.xid, CIAddr: m.station()}
	copy(k.CHAddr[:], m.cfg.MAC)
	id := m.lease.Server.As4()
	k.Set(optType, typeRelease)
	k.Set(optServerID, id[:]...)
	if m.p.Family == FamilyIPXE {
		// The server files the lease under the client id of the REQUEST.
		k.Set(optClientID, append([]byte{1}, m.cfg.MAC...)...)
	}
	return Datagram{Src: netip.AddrPortFrom(m.station(), portClient), Dst: netip.AddrPortFrom(m.lease.Server, portServer), Payload: k.Marshal()}, true
}
