package proxydhcp

import (
	"fmt"
	"log/slog"
	"net/netip"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// Counter counts what happens to packets, each one exactly once. Both methods
// must be quick and safe for concurrent use.
type Counter interface {
	// Silence: a packet was not answered.
	Silence(boot.Reason)
	// Answered: a reply of this form went out; d is packet in to packet out.
	Answered(form boot.Form, d time.Duration)
}

// Settings are what an operator can change while the box runs. Immutable once
// handed over.
type Settings struct {
	Policy      boot.Policy
	Relays      Relays
	LenientGUID bool
	Observe     bool // decide and log, send nothing
	// Standby is asked before an OFFER is made to a client on the link: true
	// leaves this client to another box on the same LAN. It must be quick and
	// safe for concurrent use; nil answers everybody.
	Standby func(ifname string, mac boot.MAC, xid uint32) bool
}

// Config is what a Handler and a Server are made of.
type Config struct {
	// Interfaces returns the box's interfaces as they are now. It is asked for
	// every batch of packets and must be quick and safe for concurrent use.
	Interfaces func() []Interface
	// Settings returns the settings as they are now; same demands.
	Settings func() Settings
	Memory   *boot.Memory // what is remembered of clients; nil makes an own one
	Sink     boot.Sink    // takes events; nil drops them
	Counter  Counter      // nil counts nothing
	Now      func() time.Time
	Log      *slog.Logger // for defects only; nil is silent

	AnswersPerSecond int // over all clients; 0 means DefaultAnswersPerSecond
	Clients          int // hardware addresses kept for rate limits; 0 means DefaultClients

	// The ports to listen on and to send to; 0 means the standard one, -1 (for
	// DHCPPort and BootPort) any free one. Only tests have a reason to set them.
	DHCPPort, BootPort, ClientPort, RelayPort int
}

// Defaults of Config.
const (
	DefaultAnswersPerSecond = 50_000
	DefaultClients          = 8192
)

// Handler turns packets into answers: Reply, with rate limits, the memory of
// clients, counters and events around it. Safe for concurrent use. It has no
// sockets and reads the clock only through Config.Now.
type Handler struct {
	cfg Config

	mu     sync.Mutex
	limits *limiter
	digest *digest
	warned *lru[digestKey, time.Time]
}

// warnAgain is how long a warning about one client is not repeated.
const warnAgain = time.Hour

// NewHandler returns a Handler. Interfaces and Settings of c must be set.
func NewHandler(c Config) *Handler {
	if c.AnswersPerSecond == 0 {
		c.AnswersPerSecond = DefaultAnswersPerSecond
	}
	if c.Clients == 0 {
		c.Clients = DefaultClients
	}
	if c.Memory == nil {
		c.Memory = boot.NewMemory(c.Clients)
	}
	if c.Sink == nil {
		c.Sink = func(boot.Event) {}
	}
	if c.Counter == nil {
		c.Counter = noCounter{}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Handler{
		cfg:    c,
		limits: newLimiter(c.Clients, c.AnswersPerSecond),
		digest: newDigest(c.Now()),
		warned: newLRU[digestKey, time.Time](digestKeys),
	}
}

type noCounter struct{}

func (noCounter) Silence(boot.Reason)               {}
func (noCounter) Answered(boot.Form, time.Duration) {}

// Surroundings are the parts of an Env that packets read together share.
type Surroundings struct {
	Interfaces []Interface
	Settings   Settings
}

// Surroundings asks for interfaces and settings once.
func (h *Handler) Surroundings() Surroundings {
	return Surroundings{Interfaces: h.cfg.Interfaces(), Settings: h.cfg.Settings()}
}

// Inbound is one packet as received.
type Inbound struct {
	Raw         []byte
	Truncated   bool // it was longer than the buffer
	Port        int  // PortDHCP or PortBoot
	IfIndex     int
	Source      netip.AddrPort
	Destination netip.Addr
}

// Outbound is one answer. After sending it, or failing to, tell the Handler by
// Sent.
type Outbound struct {
	Packet  []byte
	To      netip.AddrPort
	Src     netip.Addr
	IfIndex int
	Delay   time.Duration // wait so long before sending; at most MaxDelay

	event    boot.Event
	move     boot.Move
	probe    bool // of another box: counted only
	warnings []boot.Reason
	received time.Time
}

// MaxDelay bounds the delay a rule can ask for.
const MaxDelay = time.Second

// Admit is the first look at a packet, before anything is decoded: false means
// that its client, or all together, have had enough, and it has been counted.
func (h *Handler) Admit(raw []byte) bool {
	chaddr, ok := hardware(raw)
	if !ok {
		return true // too short to be DHCP; that is quickly found
	}
	var key hwKey
	copy(key[:], chaddr)
	now := h.cfg.Now()
	h.mu.Lock()
	b, admitted := h.limits.admit(key, now)
	var mac boot.MAC
	if !admitted {
		if b.mac == "" {
			b.mac = boot.MACOf(chaddr) // once: a flood must not cost an allocation a packet
		}
		mac = b.mac
	}
	h.mu.Unlock()
	if !admitted {
		h.silence(boot.Event{Time: now, Reason: boot.ReasonRate, MAC: mac})
	}
	return admitted
}

// Handle decides about one packet that was admitted. ok is false when nothing
// is to be sent. It copes with any content; a defect of ours is caught, counted
// and told.
func (h *Handler) Handle(in Inbound, s Surroundings) (out Outbound, ok bool) {
	now := h.cfg.Now()
	defer func() {
		if p := recover(); p != nil {
			out, ok = Outbound{}, false
			h.cfg.Log.Error("defect caught while handling a packet", "port", in.Port, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			h.silence(boot.Event{Time: now, Reason: boot.ReasonInternal, Text: strconv.QuoteToASCII(cut(fmt.Sprint(p), 200))})
		}
	}()
	if in.Truncated {
		h.silence(boot.Event{Time: now, Reason: boot.ReasonParse, Text: "longer than a DHCP packet can be"})
		return Outbound{}, false
	}
	res := Reply(in.Raw, Env{
		Port: in.Port, IfIndex: in.IfIndex, Source: in.Source, Destination: in.Destination,
		Interfaces: s.Interfaces, Relays: s.Settings.Relays, Policy: s.Settings.Policy,
		LenientGUID: s.Settings.LenientGUID, Observe: s.Settings.Observe, Now: now,
		History:    func(mac boot.MAC) boot.History { return h.cfg.Memory.History(mac, now) },
		ClientPort: h.cfg.ClientPort, RelayPort: h.cfg.RelayPort,
	})
	if s.Settings.leaves(res) {
		res.Reason, res.Packet = boot.ReasonStandby, nil
	}
	event := describe(in, res, now)
	if res.Reason != boot.ReasonNone {
		if res.Probe {
			h.cfg.Counter.Silence(res.Reason)
			return Outbound{}, false
		}
		h.notAnswered(res, event)
		return Outbound{}, false
	}
	var key hwKey
	if chaddr, ok := hardware(in.Raw); ok {
		copy(key[:], chaddr)
	}
	h.mu.Lock()
	h.limits.answered(key)
	h.mu.Unlock()
	if res.Probe {
		return Outbound{Packet: res.Packet, To: res.To, Src: res.Src, IfIndex: res.IfIndex, event: event, probe: true, received: now}, true
	}
	if res.Ack {
		h.cfg.Memory.Asked(res.Client.MAC, in.Source.Addr())
	} else if h.cfg.Memory.Offered(res.Client, res.Decision, now) {
		res.Warnings = append(res.Warnings, boot.ReasonLoop)
	}
	return Outbound{
		Packet: res.Packet, To: res.To, Src: res.Src, IfIndex: res.IfIndex,
		Delay: min(max(res.Decision.Delay, 0), MaxDelay),
		event: event, move: res.Decision.Move, warnings: res.Warnings, received: now,
	}, true
}

// Sent records the fate of an answer; err is nil when it was handed to the
// kernel.
func (h *Handler) Sent(out Outbound, err error) {
	now := h.cfg.Now()
	e := out.event
	e.Duration = now.Sub(out.received)
	if err != nil && out.probe {
		h.cfg.Counter.Silence(boot.ReasonSend)
		return
	}
	if err != nil {
		e.Kind, e.Reason, e.Text = boot.KindSilence, boot.ReasonSend, join(e.Text, err.Error())
		h.silence(e)
		return
	}
	h.cfg.Counter.Answered(e.Form, e.Duration)
	if out.probe {
		return
	}
	h.tell(e)
	if move := out.move; move != (boot.Move{}) {
		q := e
		q.Kind, q.Reason, q.Text, q.Shape, q.Duration = boot.KindQuirk, move.Reason, move.Text(), &move.To, 0
		h.tell(q)
	}
	h.warn(e, out.warnings)
}

// leaves says whether a client that would get an offer is left to another box.
// Relayed ones never are: what a twin sends to a relay is not heard here, and a
// client that asks port 4011 has chosen this box already.
func (s Settings) leaves(res Result) bool {
	return s.Standby != nil && res.Reason == boot.ReasonNone && !res.Ack && !res.Relay.IsValid() &&
		s.Standby(res.Interface, res.Client.MAC, res.Client.XID)
}

// notAnswered counts and tells a silence, and learns from what was overheard.
func (h *Handler) notAnswered(res Result, e boot.Event) {
	if res.Lease.IsValid() {
		h.cfg.Memory.Leased(res.Client.MAC, res.Lease)
	}
	if res.Lease.IsValid() && res.Client.Class != boot.ClassNone {
		// A boot client taking its address is part of its boot's story.
		h.cfg.Counter.Silence(res.Reason)
		e.Kind, e.Addr, e.Reason = boot.KindLease, res.Lease, boot.ReasonNone
		if res.Server.IsValid() {
			e.Text = "from the DHCP server " + res.Server.String()
		}
		h.tell(e)
	} else {
		h.silence(e)
	}
	h.warn(e, res.Warnings)
}

// Flush tells what has been summed up; call it every second or so.
func (h *Handler) Flush() {
	h.mu.Lock()
	events := h.digest.flush(h.cfg.Now())
	h.mu.Unlock()
	for _, e := range events {
		h.cfg.Sink(e)
	}
}

// silence counts e and tells it unless that has been done lately.
func (h *Handler) silence(e boot.Event) {
	e.Kind = boot.KindSilence
	h.cfg.Counter.Silence(e.Reason)
	h.mu.Lock()
	told := h.digest.silence(&e)
	h.mu.Unlock()
	if told {
		h.cfg.Sink(e)
	}
}

func (h *Handler) tell(e boot.Event) {
	h.mu.Lock()
	told := h.digest.other()
	h.mu.Unlock()
	if told {
		h.cfg.Sink(e)
	}
}

// warn tells each warning about one client at most once an hour. Loops are
// told as often as the loop guard raises them.
func (h *Handler) warn(e boot.Event, reasons []boot.Reason) {
	for _, reason := range reasons {
		key := digestKey{reason, e.MAC}
		h.mu.Lock()
		last := h.warned.get(key)
		again := last != nil && e.Time.Sub(*last) < warnAgain && reason != boot.ReasonLoop
		if !again {
			if last == nil {
				last, _, _ = h.warned.add(key)
			}
			*last = e.Time
		}
		h.mu.Unlock()
		if again {
			continue
		}
		w := e
		w.Kind, w.Reason, w.Text, w.Duration = boot.KindWarning, reason, "", 0
		h.tell(w)
	}
}

// describe makes the event of a packet: what was asked and what it got.
func describe(in Inbound, res Result, now time.Time) boot.Event {
	c := res.Client
	e := boot.Event{
		Time: now, Kind: boot.KindOffer, Reason: res.Reason, MAC: c.MAC, GUID: c.GUID, Interface: res.Interface,
		XID: c.XID, Arch: c.Arch, ArchKnown: c.ArchKnown, Firmware: c.Firmware,
		Form: res.Decision.Form, File: res.Decision.File, Class: cut(res.Class, 64), Secs: res.Secs,
	}
	if res.Ack {
		e.Kind = boot.KindAck
	}
	if !res.Decision.Shape.IsZero() {
		shape := res.Decision.Shape
		e.Shape = &shape
	}
	if res.Relay.IsValid() {
		e.Text = "through the relay " + res.Relay.String()
	} else if a := in.Source.Addr(); !a.IsUnspecified() {
		e.Addr = a
	}
	switch res.Reason {
	case boot.ReasonNone, boot.ReasonObserve:
	default:
		if res.Class != "" {
			e.Text = join(e.Text, "class "+strconv.QuoteToASCII(cut(res.Class, 64)))
		}
	}
	return e
}

func cut(s string, n int) string {
	if len(s) > n {
		return s[:n]
	}
	return s
}
