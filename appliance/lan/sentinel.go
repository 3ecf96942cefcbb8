package lan

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

const (
	// hearPerSecond and hearBurst bound the work per interface. What is above
	// stays in the kernel's buffer and is dropped there at no cost: one reply
	// in many is enough to know a server.
	hearPerSecond = 100
	hearBurst     = 200
	// reopenAfter is the pause before an interface that could not be listened
	// on is tried again, unless its state changes earlier.
	reopenAfter = 5 * time.Second
	// surveyEvery is how often servers are judged by each other when none of
	// them is heard, surveyGap the shortest time between two such judgements: with
	// a table full of forged servers each takes some hundred microseconds.
	surveyEvery = 2 * time.Second
	surveyGap   = time.Second
)

// SentinelConfig is what a Sentinel is made of.
type SentinelConfig struct {
	Watcher *Watcher  // knows the interfaces that are listened on
	Sink    boot.Sink // takes what is found
	// Observe says whether the box is to send nothing at present; nil: it may send.
	Observe func() bool
	// ProbeEvery is the time between two questions to the DHCP servers, give or
	// take a tenth; 0: they are asked on demand only.
	ProbeEvery time.Duration
	// Expected are the DHCP and boot servers that belong here, by the operator's
	// word. None: the first of its kind belongs here.
	Expected []netip.Addr
	Twins    *Twins        // learns of other boxes; nil: nobody does
	Log      *slog.Logger  // nil is silent
	Rand     func() uint64 // transaction numbers and jitter; nil: random ones
}

// Sentinel is the task that listens to other DHCP and PXE servers on every
// served interface with a link, to announcements of switches (LLDP) and to
// claims of the box's own addresses (ARP). It hears what is broadcast or meant
// for this machine. The only thing it sends is a DISCOVER of its own now and
// then, see Probe.
type Sentinel struct {
	cfg     SentinelConfig
	watcher *Watcher
	sink    boot.Sink
	open    func(Interface) (listener, error) // for DHCP
	table   *table

	openARP, openLLDP func(Interface) (listener, error)

	ready chan struct{}
	once  sync.Once

	mu       sync.Mutex
	deaf     map[earKey]Problem // what cannot be listened on
	refused  bool               // told once that there is no permission
	mouths   []mouth            // interfaces that questions can be sent on
	around   circumstances
	surveyed time.Time
	foreign  *foreignLimit
	conflict conflicts
	switches map[int]*neighbourhood // by interface
	ownMACs  map[boot.MAC]time.Time // hardware addresses that were ours lately
	probes   probes
	probed   time.Time // when the servers were asked last

	heard, malformed, own atomic.Uint64
}

// mouth is an interface that a question can be sent on.
type mouth struct {
	Interface
	socket listener
}

// sense is a protocol that is listened to.
type sense int

const (
	senseDHCP sense = iota
	senseARP
	senseLLDP
)

type earKey struct {
	index int // of the interface
	sense sense
}

// listener is a packet socket; tests put a fake in its place.
type listener interface {
	ReadFrom(b []byte) (n int, from net.Addr, err error)
	WriteTo(b []byte, to net.Addr) (n int, err error)
	Close() error
}

// NewSentinel returns a Sentinel for the interfaces that c.Watcher serves.
func NewSentinel(c SentinelConfig) *Sentinel {
	if c.Observe == nil {
		c.Observe = func() bool { return false }
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Rand == nil {
		c.Rand = rand.Uint64
	}
	s := &Sentinel{
		cfg: c, watcher: c.Watcher, sink: c.Sink, open: openPacket, openARP: openARP, openLLDP: openLLDP,
		table: newTable(), ready: make(chan struct{}), deaf: map[earKey]Problem{}, foreign: newForeignLimit(),
		switches: map[int]*neighbourhood{}, ownMACs: map[boot.MAC]time.Time{},
	}
	s.table.owns, s.table.known = c.Watcher.Owns, c.Expected
	if c.Twins != nil {
		s.table.twin = c.Twins.Is
	}
	return s
}

// openPacket opens a socket for DHCP replies on i. It needs CAP_NET_RAW. Bound
// to the IPv4 protocol, it does not see what this machine sends.
func openPacket(i Interface) (listener, error) {
	filter, err := assembled()
	if err != nil {
		return nil, fmt.Errorf("assemble packet filter: %w", err)
	}
	return openSocket(i, unix.ETH_P_IP, filter)
}

// openARP opens a socket for claims of the addresses of i.
func openARP(i Interface) (listener, error) {
	filter, err := bpf.Assemble(append(slices.Clone(guard), claims(i.Addrs)...))
	if err != nil {
		return nil, fmt.Errorf("assemble packet filter: %w", err)
	}
	return openSocket(i, unix.ETH_P_ARP, filter)
}

// openLLDP opens a socket for the announcements of switches on i and joins the
// groups they are sent to. That is no promiscuous mode: the card lets in three
// more addresses.
func openLLDP(i Interface) (listener, error) {
	c, err := openSocket(i, ethertypeLLDP, nil)
	if err != nil {
		return nil, err
	}
	for _, group := range lldpGroups {
		if err := c.JoinGroup(group); err != nil {
			_ = c.Close()
			return nil, fmt.Errorf("join the group %s: %w", group, err)
		}
	}
	return c, nil
}

func openSocket(i Interface, protocol int, filter []bpf.RawInstruction) (*packet.Conn, error) {
	return packet.Listen(&net.Interface{Index: i.Index, Name: i.Name, HardwareAddr: i.MAC},
		packet.Datagram, protocol, &packet.Config{Filter: filter})
}

// String names the task.
func (s *Sentinel) String() string { return "sentinel" }

// Ready is closed when the Sentinel listens on every interface that it can
// listen on; never, while it has no permission.
func (s *Sentinel) Ready() <-chan struct{} { return s.ready }

// ear is one socket and the goroutine that reads it.
type ear struct {
	socket listener
	on     Interface // as it was when the socket was opened
	since  time.Time
	cancel context.CancelFunc
	done   chan struct{}
	err    error // why reading ended; valid after done
}

func (e *ear) stop() {
	e.cancel()
	_ = e.socket.Close() // only reading: nothing can be lost
	<-e.done
}

// Run listens until ctx ends and then returns nil. An error wrapping
// fs.ErrPermission means that the process may not open packet sockets; the box
// serves without. Run may be called again.
func (s *Sentinel) Run(ctx context.Context) error {
	changed, stop := s.watcher.Follow()
	defer stop()
	ears := map[earKey]*ear{}
	defer func() {
		s.mu.Lock()
		s.mouths = nil
		s.mu.Unlock()
		for _, e := range ears {
			e.stop()
		}
	}()
	var asking sync.WaitGroup
	defer asking.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan struct{}, 1)
	retry := time.NewTimer(reopenAfter)
	retry.Stop()
	defer retry.Stop()
	ask := newSchedule()
	defer ask.timer.Stop()
	survey := time.NewTicker(surveyEvery)
	defer survey.Stop()
	select { // without a picture there is nothing to listen on
	case <-ctx.Done():
		return nil
	case <-s.watcher.Ready():
	}
	for {
		again, fresh, err := s.attend(ctx, ears, ended)
		if err != nil {
			return err
		}
		s.once.Do(func() { close(s.ready) })
		if again {
			retry.Reset(reopenAfter)
		}
		if fresh && s.cfg.ProbeEvery > 0 {
			ask.sooner(time.Now().Add(probeAfter))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-ended:
		case <-retry.C:
		case <-survey.C:
			s.surveyNow(time.Now())
		case <-ask.timer.C:
			ask.next(time.Now().Add(s.jittered(s.cfg.ProbeEvery)))
			asking.Go(func() {
				if _, err := s.Probe(ctx); err != nil {
					s.cfg.Log.Debug("the DHCP servers were not asked", "error", err)
				}
			})
		}
	}
}

// jittered is d, give or take a tenth: boxes that were switched on together do
// not go on asking together.
func (s *Sentinel) jittered(d time.Duration) time.Duration {
	tenth := d / 10
	if tenth <= 0 {
		return d
	}
	return d - tenth + time.Duration(s.cfg.Rand()%uint64(2*tenth))
}

// schedule is a timer that can be brought forward.
type schedule struct {
	timer *time.Timer
	at    time.Time // zero: not set
}

func newSchedule() *schedule {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return &schedule{timer: t}
}

func (s *schedule) next(at time.Time) {
	s.at = at
	s.timer.Reset(time.Until(at))
}

func (s *schedule) sooner(at time.Time) {
	if s.at.IsZero() || at.Before(s.at) {
		s.next(at)
	}
}

// attend opens and closes sockets until they match the interfaces. again means
// that one could not be opened or has failed, and is to be tried again later;
// fresh that an interface is listened on that was not.
func (s *Sentinel) attend(ctx context.Context, ears map[earKey]*ear, ended chan<- struct{}) (again, fresh bool, err error) {
	deaf := map[earKey]Problem{}
	wanted := map[earKey]bool{}
	now := time.Now()
	for _, i := range s.watcher.Snapshot() {
		if !i.Served || !i.Up || i.Loopback {
			continue
		}
		for _, sense := range []sense{senseDHCP, senseARP, senseLLDP} {
			key := earKey{i.Index, sense}
			if sense == senseARP && len(i.Addrs) == 0 {
				continue // nothing that could be claimed
			}
			wanted[key] = true
			opened, err := s.attendTo(ctx, key, i, ears, ended)
			if errors.Is(err, fs.ErrPermission) {
				s.refuse()
				return false, false, fmt.Errorf("listen for other servers on %s: %w", i.Name, err)
			}
			if err != nil {
				deaf[key] = Problem{boot.ReasonFailed, i.Name, deafText(sense, i.Name, err)}
			}
			fresh = fresh || opened && sense == senseDHCP
		}
	}
	for key, e := range ears {
		if !wanted[key] {
			e.stop()
			delete(ears, key)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deaf, s.refused = deaf, false
	s.remember(ears, now)
	return len(deaf) > 0, fresh, nil
}

// attendTo makes sure that one protocol is listened to on i. An error means that
// it is not.
func (s *Sentinel) attendTo(ctx context.Context, key earKey, i Interface, ears map[earKey]*ear, ended chan<- struct{}) (opened bool, err error) {
	if e := ears[key]; e != nil {
		select {
		case <-e.done: // the socket broke under the goroutine
			e.stop()
			delete(ears, key)
			return false, e.err
		default:
		}
		if key.sense != senseARP || slices.Equal(e.on.Addrs, i.Addrs) {
			return false, nil
		}
		e.stop() // its filter knows other addresses
		delete(ears, key)
	}
	open, hear := s.open, s.hear
	switch key.sense {
	case senseDHCP:
	case senseARP:
		open, hear = s.openARP, s.hearARP
	case senseLLDP:
		open, hear = s.openLLDP, s.hearLLDP
	}
	socket, err := open(i)
	if err != nil {
		return false, err
	}
	ears[key] = s.listen(ctx, i, socket, hear, ended)
	return true, nil
}

func deafText(x sense, ifname string, err error) string {
	what := map[sense]string{
		senseDHCP: "for other servers", senseARP: "for others that use the box's addresses", senseLLDP: "for the switch (LLDP)",
	}[x]
	return fmt.Sprintf("Cannot listen %s on %s: %v.", what, ifname, err)
}

// remember takes over what follows from the sockets that are open; s.mu is held.
func (s *Sentinel) remember(ears map[earKey]*ear, now time.Time) {
	since, asked := map[string]time.Time{}, map[string]time.Time{}
	s.mouths = nil
	for key, e := range ears {
		if key.sense != senseDHCP {
			continue
		}
		i, ok := s.watcher.Lookup(key.index)
		if !ok {
			i = e.on
		}
		since[i.Name] = e.since
		if at, ok := s.around.asked[i.Name]; ok && at.After(e.since) {
			asked[i.Name] = at
		}
		s.mouths = append(s.mouths, mouth{i, e.socket})
	}
	slices.SortFunc(s.mouths, func(a, b mouth) int { return a.Index - b.Index })
	s.around.since, s.around.asked = since, asked
	for index := range s.switches {
		if _, there := ears[earKey{index, senseLLDP}]; !there {
			delete(s.switches, index) // another cable, another switch
		}
	}
	for mac, at := range s.ownMACs {
		if now.Sub(at) >= conflictFor {
			delete(s.ownMACs, mac)
		}
	}
	for _, i := range s.watcher.Snapshot() {
		if len(i.MAC) > 0 {
			s.ownMACs[boot.MACOf(i.MAC)] = now
		}
	}
}

// refuse says once that packet sockets are not allowed.
func (s *Sentinel) refuse() {
	s.mu.Lock()
	told := s.refused
	s.refused = true
	s.mu.Unlock()
	if !told {
		s.sink(boot.Event{
			Time: time.Now(), Kind: boot.KindWarning, Reason: boot.ReasonPermission,
			Text: "No permission to listen for other DHCP and PXE servers; everything else works. Start as root or grant CAP_NET_RAW.",
		})
	}
}

func (s *Sentinel) listen(ctx context.Context, on Interface, socket listener, hear func(int, net.Addr, []byte), ended chan<- struct{}) *ear {
	ctx, cancel := context.WithCancel(ctx)
	e := &ear{socket: socket, on: on, since: time.Now(), cancel: cancel, done: make(chan struct{})}
	go func() {
		defer notify(ended)
		defer close(e.done)
		limit := rate.NewLimiter(hearPerSecond, hearBurst)
		buf := make([]byte, maxFrame)
		for {
			n, from, err := socket.ReadFrom(buf)
			if err != nil {
				e.err = err
				return
			}
			if err := limit.Wait(ctx); err != nil {
				e.err = err
				return
			}
			hear(on.Index, from, buf[:n])
		}
	}()
	return e
}

// caught is deferred while one packet is taken in: whatever is in it, the
// Sentinel goes on.
func (s *Sentinel) caught() {
	if recover() != nil {
		s.malformed.Add(1)
	}
}

// hear takes in one DHCP reply.
func (s *Sentinel) hear(index int, from net.Addr, b []byte) {
	defer s.caught()
	h, err := parse(b)
	if err != nil {
		s.malformed.Add(1)
		return
	}
	if a, ok := from.(*packet.Addr); ok {
		h.mac = boot.MACOf(a.HardwareAddr)
	}
	// On a machine with two interfaces in one LAN, or behind a relay, our own
	// replies come back to us.
	if s.watcher.Owns(h.source) || s.watcher.Owns(h.server) || s.watcher.OwnsMAC(h.mac) {
		s.own.Add(1)
		return
	}
	s.heard.Add(1)
	i, _ := s.watcher.Lookup(index)
	now := time.Now()
	if s.cfg.Twins != nil && h.likeABox() {
		s.cfg.Twins.Suspect(h.server, now)
	}
	s.mu.Lock()
	q := s.probes.answer(h, now)
	s.mu.Unlock()
	events := s.table.hear(h, q, i.Name, now)
	events = append(events, s.surveySometimes(now)...)
	if e, ok := s.overheard(h, i.Name, now); ok {
		events = append(events, e)
	}
	for _, e := range events {
		s.sink(e)
	}
}

// overheard makes an event of what h says to its client, unless that is this box.
func (s *Sentinel) overheard(h heard, ifname string, now time.Time) (boot.Event, bool) {
	f, ok := h.foreign()
	if !ok || s.watcher.OwnsMAC(h.client) {
		return boot.Event{}, false
	}
	if s.cfg.Twins != nil {
		f.Twin = s.cfg.Twins.Is(h.server)
		if h.all { // what was sent to this box alone has answered no machine
			s.cfg.Twins.Overheard(h.client, f, now)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.foreign.allow(f, h.client, now) {
		return boot.Event{}, false
	}
	return boot.Event{
		Time: now, Kind: boot.KindForeign, MAC: h.client, XID: h.xid, Interface: ifname, Foreign: &f, Text: foreignText(f),
	}, true
}

// hearARP takes in one claim of an address of this box.
func (s *Sentinel) hearARP(index int, _ net.Addr, b []byte) {
	defer s.caught()
	mac, addr, err := parseARP(b)
	if err != nil {
		s.malformed.Add(1)
		return
	}
	// The filter has let it through, and is a moment behind at most.
	i, ok := s.watcher.Lookup(index)
	if !ok || !i.has(addr) || s.watcher.OwnsMAC(mac) {
		return
	}
	now := time.Now()
	s.mu.Lock()
	_, ours := s.ownMACs[mac]
	warn := !ours && s.conflict.claim(i.Name, addr, mac, now)
	s.mu.Unlock()
	if warn {
		s.sink(boot.Event{
			Time: now, Kind: boot.KindWarning, Reason: boot.ReasonDuplicateAddress, Interface: i.Name,
			Text: conflictText(boot.LANConflict{Interface: i.Name, Addr: addr, MAC: mac}),
		})
	}
}

// hearLLDP takes in one announcement.
func (s *Sentinel) hearLLDP(index int, from net.Addr, b []byte) {
	defer s.caught()
	a, err := parseLLDP(b)
	if err != nil {
		s.malformed.Add(1)
		return
	}
	if src, ok := from.(*packet.Addr); ok && s.watcher.OwnsMAC(boot.MACOf(src.HardwareAddr)) {
		return // the host's own LLDP program
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.switches[index] == nil {
		s.switches[index] = &neighbourhood{}
	}
	s.switches[index].hear(a, time.Now())
}

// surveySometimes is survey unless that was done a moment ago; then Run does it
// within surveyEvery.
func (s *Sentinel) surveySometimes(now time.Time) []boot.Event {
	s.mu.Lock()
	lately := now.Sub(s.surveyed) < surveyGap
	s.mu.Unlock()
	if lately {
		return nil
	}
	return s.survey(now)
}

// survey judges the servers by each other.
func (s *Sentinel) survey(now time.Time) []boot.Event {
	s.mu.Lock()
	around := s.around
	s.surveyed = now
	s.mu.Unlock()
	return s.table.survey(around, now)
}

func (s *Sentinel) surveyNow(now time.Time) {
	for _, e := range s.survey(now) {
		s.sink(e)
	}
}

// everyoneMAC is Ethernet's broadcast address.
var everyoneMAC = net.HardwareAddr{255, 255, 255, 255, 255, 255}

// Probe asks the DHCP and boot servers of every interface that is listened on,
// once as an ordinary client and once as a network boot client, and returns who
// offered something. It sends a DISCOVER with the box's own hardware address and
// never a REQUEST, so nothing is taken from any server. It takes five seconds. A
// ProbeError means that nothing was asked: in observe mode, within a minute of
// the last question, or without the right to.
func (s *Sentinel) Probe(ctx context.Context) ([]boot.LANProbe, error) {
	if s.cfg.Observe() {
		return nil, ProbeError{boot.ReasonProbeOff}
	}
	now := time.Now()
	s.mu.Lock()
	if s.refused {
		s.mu.Unlock()
		return nil, ProbeError{boot.ReasonPermission}
	}
	if !s.probed.IsZero() && now.Sub(s.probed) < probeGap {
		s.mu.Unlock()
		return nil, ProbeError{boot.ReasonProbeBusy}
	}
	s.probed = now
	mouths := slices.Clone(s.mouths)
	s.mu.Unlock()
	for _, m := range mouths {
		s.askOn(m, now)
	}
	wait := time.NewTimer(probeWait)
	defer wait.Stop()
	var err error
	select {
	case <-ctx.Done():
		err = fmt.Errorf("ask the DHCP servers: %w", ctx.Err())
	case <-wait.C:
		s.conclude(mouths, now)
	}
	return s.asked(mouths), err
}

// askOn sends both questions on one interface.
func (s *Sentinel) askOn(m mouth, now time.Time) {
	if len(m.MAC) != 6 {
		return // not Ethernet
	}
	xids := map[uint32]question{}
	order := []question{questionPlain, questionPXE}
	packets := make([][]byte, 0, len(order))
	for _, q := range order {
		xid := uint32(s.cfg.Rand()) | 1 // 0 is what some clients use for everything
		for xids[xid] != questionNone {
			xid += 2
		}
		xids[xid] = q
		packets = append(packets, probePacket(q, m.MAC, xid))
	}
	s.mu.Lock()
	s.probes.ask(m.Name, boot.MACOf(m.MAC), xids, now)
	s.mu.Unlock()
	for _, p := range packets {
		if _, err := m.socket.WriteTo(p, &packet.Addr{HardwareAddr: everyoneMAC}); err != nil {
			s.mu.Lock()
			s.probes.fail(m.Name, err)
			s.mu.Unlock()
			return
		}
	}
}

// conclude takes note of who stayed silent.
func (s *Sentinel) conclude(mouths []mouth, at time.Time) {
	now := time.Now()
	for _, m := range mouths {
		s.mu.Lock()
		last := s.probes.last[m.Name]
		well := last.Time.Equal(at) && last.Err == ""
		if since, listening := s.around.since[m.Name]; well && listening && at.After(since) {
			if _, before := s.around.asked[m.Name]; !before {
				asked := maps.Clone(s.around.asked) // the old one may be in use
				asked[m.Name] = at
				s.around.asked = asked
			}
		}
		s.mu.Unlock()
		if !well {
			continue
		}
		for _, e := range s.table.probed(m.Name, at, now) {
			s.sink(e)
		}
	}
	s.surveyNow(now)
}

// asked are the latest questions on mouths.
func (s *Sentinel) asked(mouths []mouth) []boot.LANProbe {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := []boot.LANProbe{}
	for _, p := range s.probes.list() {
		if slices.ContainsFunc(mouths, func(m mouth) bool { return m.Name == p.Interface }) {
			out = append(out, p)
		}
	}
	return out
}

// LAN is the whole picture of the network around the box. The caller adds what
// this package does not know: the mode of the box and its clock.
func (s *Sentinel) LAN(now time.Time) boot.LAN {
	l := boot.LAN{Now: now}
	s.watcher.fill(&l)
	s.mu.Lock()
	around := s.around
	l.Conflicts, l.Probes = s.conflict.current(now), s.probes.list()
	for k := range l.Ports {
		for _, i := range s.watcher.Snapshot() {
			if n := s.switches[i.Index]; n != nil && i.Name == l.Ports[k].Name {
				l.Ports[k].Neighbour = n.best(now)
			}
		}
	}
	s.mu.Unlock()
	l.Servers = s.table.servers(around, now)
	if s.cfg.Twins != nil {
		l.Twins, l.Standby = s.cfg.Twins.List(now), s.cfg.Twins.Standby()
	}
	return l
}

// Hears says whether other servers can be heard on any interface at all.
func (s *Sentinel) Hears() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.mouths) > 0
}

// Responders returns the servers heard so far, in the order of first sight, at
// most MaxResponders.
func (s *Sentinel) Responders() []Responder { return s.table.responders() }

// Problems says what is wrong for health: findings about other servers that
// were seen within the last hour, stations that use an address of the box, and
// interfaces that cannot be listened on.
func (s *Sentinel) Problems() []Problem {
	now := time.Now()
	out := current(s.Responders(), now)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range s.conflict.current(now) {
		out = append(out, Problem{boot.ReasonDuplicateAddress, x.Interface, conflictText(x)})
	}
	if s.refused {
		out = append(out, Problem{Reason: boot.ReasonPermission, Text: boot.ReasonPermission.Text()})
	}
	deaf := make([]Problem, 0, len(s.deaf))
	for _, p := range s.deaf {
		deaf = append(deaf, p)
	}
	slices.SortFunc(deaf, func(a, b Problem) int { return strings.Compare(a.Interface+a.Text, b.Interface+b.Text) })
	return append(out, deaf...)
}

// SentinelStats counts packets since the start.
type SentinelStats struct {
	Heard     uint64 `json:"heard"`     // replies of other servers
	Malformed uint64 `json:"malformed"` // not decodable
	Own       uint64 `json:"own"`       // our own, come back
}

// Stats returns the counters.
func (s *Sentinel) Stats() SentinelStats {
	return SentinelStats{s.heard.Load(), s.malformed.Load(), s.own.Load()}
}
