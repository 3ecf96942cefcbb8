package appliance

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bootpuck/bootpuck/appliance/admin"
	"github.com/bootpuck/bootpuck/appliance/boot"
	"github.com/bootpuck/bootpuck/appliance/capture"
	"github.com/bootpuck/bootpuck/appliance/doctor"
	"github.com/bootpuck/bootpuck/appliance/health"
	"github.com/bootpuck/bootpuck/appliance/ipxe"
	"github.com/bootpuck/bootpuck/appliance/journal"
	"github.com/bootpuck/bootpuck/appliance/metrics"
	"github.com/bootpuck/bootpuck/appliance/proxydhcp"
	"github.com/bootpuck/bootpuck/appliance/quirks"
	"github.com/bootpuck/bootpuck/appliance/settings"
	"github.com/bootpuck/bootpuck/appliance/store"
	"github.com/bootpuck/bootpuck/appliance/syslog"
	"github.com/bootpuck/bootpuck/appliance/system"
	"github.com/bootpuck/bootpuck/appliance/tftp"
	"github.com/bootpuck/bootpuck/appliance/webui"
)

// Names of documents of kind meta, what the box notes for itself: prefixes, and
// behind them the name that the room gives.
const (
	attemptPrefix = "attempt/"
	quirkPrefix   = "quirk/"
)

// notes keeps documents of one room among the box's own notes in the state file.
// Nobody waits for it but the room's writer.
type notes struct {
	db     measured
	prefix string
}

// Load gives every document of the room.
func (n notes) Load(each func(name string, doc []byte) error) error {
	return n.db.Load(store.KindMeta, func(name string, doc []byte) error {
		if rest, ours := strings.CutPrefix(name, n.prefix); ours {
			return each(rest, doc)
		}
		return nil
	})
}

// Write writes all documents or none; a nil document is deleted.
func (n notes) Write(docs map[string][]byte) error {
	changes := make([]store.Change, 0, len(docs))
	for _, name := range slices.Sorted(maps.Keys(docs)) {
		changes = append(changes, store.Change{Kind: store.KindMeta, Name: n.prefix + name, Doc: docs[name]})
	}
	return n.db.Write(changes...)
}

// lanAge is how old the picture of the LAN may be that verdicts rest on.
const lanAge = time.Second

// lanCache keeps the picture of the LAN for a moment: many boots are judged at
// the same time.
type lanCache struct {
	mu sync.Mutex
	at time.Time
	v  boot.LAN
}

// newSeeing makes what the settings may leave out.
func (b *Box) newSeeing() {
	s := b.cfg.Settings
	if s.CaptureBytes > 0 {
		b.capture = capture.New(capture.Config{
			Interfaces: b.captureInterfaces, Changed: b.watcher.Follow, MaxBytes: s.CaptureBytes, HTTPPort: s.Policy.HTTPPort,
			Now: b.cfg.Now, Log: b.cfg.Log, Sink: b.Record,
		})
	}
	if s.SyslogListen != "" {
		b.syslog = syslog.New(syslog.Config{Listen: s.SyslogListen, Allowed: b.inSite, Sink: b.Record, Now: b.cfg.Now, Log: b.cfg.Log})
	}
}

// captureInterfaces are those whose packets are kept.
func (b *Box) captureInterfaces() []capture.Interface {
	var out []capture.Interface
	for _, i := range b.watcher.Snapshot() {
		if i.Served && i.Up && !i.Loopback {
			out = append(out, capture.Interface{Index: i.Index, Name: i.Name})
		}
	}
	return out
}

// inSite says whether log lines are taken from addr: from the box's networks,
// and from inside the site where relays are.
func (b *Box) inSite(addr netip.Addr) bool {
	addr = addr.Unmap()
	if addr.IsLoopback() {
		return true
	}
	for _, i := range b.watcher.Snapshot() {
		if i.Served && slices.ContainsFunc(i.Addrs, func(p netip.Prefix) bool { return p.Contains(addr) }) {
			return true
		}
	}
	return b.cfg.Settings.RelayMode == settings.RelayAuto && proxydhcp.InsideSite(addr) ||
		b.cfg.Settings.RelayMode == settings.RelayList &&
			slices.ContainsFunc(b.cfg.Settings.RelayClients, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// recorder is the ring of packets, for which a missing right is no failure.
type recorder struct{ *capture.Ring }

// Run records until ctx ends.
func (r recorder) Run(ctx context.Context) error { return patiently(ctx, r.Ring.Run) }

// bootsHealth has a reservation while boots are not kept.
func (b *Box) bootsHealth() health.Result {
	r := b.supervisor.check(b.attempts)()
	if err := b.attempts.StoreErr(); r.Status == health.OK && err != nil {
		return health.Result{Status: health.Degraded, Reason: boot.ReasonFailed, Detail: "Boots are shown, but not kept over a restart: " + err.Error()}
	}
	return r
}

// captureHealth has a reservation where packets cannot be recorded.
func (b *Box) captureHealth() health.Result {
	if b.capture == nil {
		return health.Result{Status: health.OK, Detail: "Switched off by the setting capture-memory."}
	}
	for _, p := range b.capture.Problems() {
		return health.Result{Status: health.Degraded, Reason: p.Reason, Detail: p.Text}
	}
	return b.supervisor.check(recorder{b.capture})()
}

// syslogHealth has a reservation where log lines cannot be taken: another
// program may have the port, and machines boot all the same.
func (b *Box) syslogHealth() health.Result {
	if b.syslog == nil {
		return health.Result{Status: health.OK, Detail: "Switched off by the setting syslog-listen."}
	}
	r := b.supervisor.check(b.syslog)()
	if r.Status == health.Failed {
		r.Status = health.Degraded
	}
	return r
}

// measured is the state file with the time of every write told.
type measured struct {
	*store.DB
	meter interface {
		StoreWrite(d time.Duration)
		StoreFailed()
	}
}

// Write implements registry.Store.
func (m measured) Write(changes ...store.Change) error {
	began := time.Now()
	err := m.DB.Write(changes...)
	if err != nil {
		m.meter.StoreFailed()
		return err
	}
	m.meter.StoreWrite(time.Since(began))
	return nil
}

// quirkBook is the book of models as the API sees it.
type quirkBook struct{ box *Box }

func quirkOf(m quirks.Model) admin.Quirk {
	return admin.Quirk{
		ID: m.ID, Class: m.Class, OUI: m.OUI, Product: m.Product, Shape: m.Shape, Pinned: m.Pinned,
		Worked: m.Worked, Failed: m.Failed, First: m.First, Last: m.Last, Note: m.Note,
	}
}

// told translates the book's errors.
func (quirkBook) told(err error) error {
	switch {
	case errors.Is(err, quirks.ErrNotFound):
		return fmt.Errorf("%w: %w", admin.ErrNotFound, err)
	case errors.Is(err, quirks.ErrFull):
		return fmt.Errorf("%w: %w", admin.ErrTooLarge, err)
	}
	return err
}

// List implements admin.Quirks.
func (q quirkBook) List() []admin.Quirk {
	var out []admin.Quirk
	for _, m := range q.box.quirks.List() {
		out = append(out, quirkOf(m))
	}
	return out
}

// Get implements admin.Quirks.
func (q quirkBook) Get(id string) (admin.Quirk, bool) {
	m, ok := q.box.quirks.Get(id)
	return quirkOf(m), ok
}

// Pin implements admin.Quirks.
func (q quirkBook) Pin(id string, s boot.Shape, note string) error {
	return q.told(q.box.quirks.Pin(id, s, note))
}

// PinModel implements admin.Quirks.
func (q quirkBook) PinModel(class, oui, product string, s boot.Shape, note string) (admin.Quirk, error) {
	m, err := q.box.quirks.PinModel(class, oui, product, s, note)
	return quirkOf(m), q.told(err)
}

// Reset implements admin.Quirks.
func (q quirkBook) Reset(id string) error { return q.told(q.box.quirks.Reset(id)) }

// noKey is the error of a box that has no key to sign with.
type noKey struct{}

// Error implements error.
func (noKey) Error() string {
	return "this box has no key to sign quirk files with: its state directory cannot be written"
}

// Reason is why.
func (noKey) Reason() boot.Reason { return boot.ReasonStateVolatile }

// Export implements admin.Quirks.
func (q quirkBook) Export(w io.Writer) error {
	key := q.box.keeper.signer()
	if key == nil {
		return noKey{}
	}
	return q.box.quirks.Export(w, key)
}

// Import implements admin.Quirks. What this box has signed itself it believes.
func (q quirkBook) Import(data []byte) ([]admin.Difference, error) {
	trusted := slices.Clone(q.box.cfg.Settings.QuirkKeys)
	if key := q.box.keeper.signer(); key != nil {
		if own, ok := key.Public().(ed25519.PublicKey); ok {
			trusted = append(trusted, own)
		}
	}
	list, err := q.box.quirks.Import(data, trusted)
	if err != nil {
		return nil, q.told(err)
	}
	out := make([]admin.Difference, 0, len(list))
	for _, d := range list {
		out = append(out, admin.Difference(d))
	}
	return out, nil
}

// LAN is the network around the box as it is now.
func (b *Box) LAN() boot.LAN {
	now := b.cfg.Now()
	b.lan.mu.Lock()
	defer b.lan.mu.Unlock()
	if age := now.Sub(b.lan.at); !b.lan.at.IsZero() && age >= 0 && age < lanAge {
		return b.lan.v
	}
	v := b.sentinel.LAN(now)
	v.Observe, v.ClockSet, v.ClockStep = b.cfg.Settings.Observe, system.ClockSet(now), b.clock.stepped()
	b.lan.v, b.lan.at = v, now
	return v
}

// judge is the doctor's word on an attempt.
func (b *Box) judge(a *boot.Attempt) []boot.Verdict { return doctor.Judge(a, b.LAN()) }

// findings are what is remarkable about the LAN now, the worst first.
func (b *Box) findings() []boot.Verdict { return doctor.Survey(b.LAN()) }

// ended counts an attempt that is over, and keeps the packets of a bad one.
func (b *Box) ended(a boot.Attempt) {
	b.metrics.Ended(a)
	if a.State.Bad() && b.capture != nil {
		b.capture.Keep(a.ID, packetsOf(a, false))
	}
}

// capturePast is what belongs to a boot before the first packet that the box
// took for its beginning, and after its last.
const capturePast = 3 * time.Second

// packetsOf says which packets are those of a boot.
func packetsOf(a boot.Attempt, redact bool) capture.Select {
	s := capture.Select{
		MACs: append([]boot.MAC{a.MAC}, a.MACs...), From: a.Start.Add(-capturePast), To: a.Last.Add(capturePast), Redact: redact,
	}
	if a.Addr.IsValid() {
		s.Addrs = []netip.Addr{a.Addr}
	}
	return s
}

// captures is the ring of packets as the API sees it.
type captures struct{ box *Box }

// noCapture is the error of a box that keeps no packets.
type noCapture struct{}

// Error implements error.
func (noCapture) Error() string { return "no packets are kept: the setting capture-memory is 0" }

// Reason is why there are none.
func (noCapture) Reason() boot.Reason { return boot.ReasonCaptureGone }

// Write implements admin.Captures.
func (c captures) Write(w io.Writer, a boot.Attempt, redact bool) (int, error) {
	ring := c.box.capture
	if ring == nil {
		return 0, noCapture{}
	}
	if a.State.Bad() {
		if n, err := ring.WriteKept(w, a.ID, redact); n > 0 || err == nil {
			return n, err
		}
	}
	return ring.WritePcap(w, packetsOf(a, redact))
}

// surroundings is the LAN as the API sees it.
type surroundings struct{ box *Box }

// LAN implements admin.LANSource.
func (s surroundings) LAN() boot.LAN { return s.box.LAN() }

// Findings implements admin.LANSource.
func (s surroundings) Findings() []boot.Verdict { return s.box.findings() }

// Probe implements admin.LANSource.
func (s surroundings) Probe(ctx context.Context) ([]boot.LANProbe, error) {
	return s.box.sentinel.Probe(ctx)
}

// pages is the box as the pages see it.
type pages struct{ box *Box }

// Box implements webui.Source.
func (p pages) Box() webui.BoxInfo {
	return webui.BoxInfo{
		Site: p.box.cfg.Settings.Site, Name: p.box.name(), Version: p.box.cfg.Version, Observe: p.box.cfg.Settings.Observe, Started: p.box.started, Now: p.box.cfg.Now(),
	}
}

// Health implements webui.Source.
func (p pages) Health() health.Report { return p.box.Health() }

// LAN implements webui.Source.
func (p pages) LAN() boot.LAN { return p.box.LAN() }

// Findings implements webui.Source.
func (p pages) Findings() []boot.Verdict { return p.box.findings() }

// Attempts implements webui.Source. The pages have no login yet: whoever looks
// is a stranger.
func (p pages) Attempts(q webui.Query) ([]boot.Attempt, boot.AttemptID) {
	list, next := p.box.attempts.List(journal.AttemptQuery(q))
	for i, a := range list {
		list[i] = admin.ForStrangers(a)
	}
	return list, next
}

// Attempt implements webui.Source.
func (p pages) Attempt(id boot.AttemptID) (boot.Attempt, bool) {
	a, ok := p.box.attempts.Get(id)
	return admin.ForStrangers(a), ok
}

// Updates implements webui.Source.
func (p pages) Updates(ctx context.Context) <-chan boot.Attempt {
	s := p.box.attempts.Subscribe(ctx)
	if s == nil {
		return nil
	}
	out := make(chan boot.Attempt)
	go func() {
		defer close(out)
		for a := range s.Updates() {
			select {
			case out <- admin.ForStrangers(a):
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

// Events implements webui.Source.
func (p pages) Events(n int) []boot.Event {
	list, _ := p.box.journal.Since(0, n)
	return admin.EventsForStrangers(list)
}

// stageOf says which step of a boot a file belongs to, by its name as asked for.
// What the box serves itself it knows; what operators and trees hold is a target's.
func (f *fileSet) stageOf(asked string) boot.StageName {
	clean, reason := tftp.Clean([]byte(asked))
	if reason != boot.ReasonNone {
		return ""
	}
	name := strings.ToLower(strings.TrimPrefix(clean, "/"))
	head, _, _ := strings.Cut(name, "/")
	switch {
	case name == ipxe.NameMachine, path.Base(path.Dir(name)) == "pxelinux.cfg", strings.HasPrefix(name, "grub/grub.cfg"):
		return boot.StageScript
	case name == ipxe.NameBoot, path.Base(name) == "autoexec.ipxe":
		return boot.StageAutoexec
	case head == "m" || head == "x" || head == "w" || head == "a" || head == "cb":
		return "" // the journal knows these better
	case path.Ext(name) == ".ipxe": // an operator's own script
		return boot.StageScript
	case strings.HasPrefix(name, "memtest/"):
		return boot.StageKernel
	case f.names[name] && !strings.HasPrefix(name, "licenses/"):
		return boot.StageLoader
	}
	return ""
}

// clockWatch notices when the wall clock is set. It compares it with the clock
// that does not jump.
type clockWatch struct {
	now  func() time.Time
	step func() // told of every step

	mu    sync.Mutex
	start time.Time
	drift time.Duration
	last  time.Time
}

// Times of clockWatch.
const (
	clockEvery = 2 * time.Second
	clockLeap  = time.Minute // what a time server corrects bit by bit is less
)

func newClockWatch(now func() time.Time, step func()) *clockWatch {
	return &clockWatch{now: now, step: step, start: now()}
}

// String names the task.
func (*clockWatch) String() string { return "clock" }

// Ready is closed: it has nothing to wait for.
func (*clockWatch) Ready() <-chan struct{} { return always }

// Run looks until ctx ends.
func (c *clockWatch) Run(ctx context.Context) error {
	tick := time.NewTicker(clockEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			c.look()
		}
	}
}

// look compares the two clocks. Times without a monotonic reading, as tests have
// them, never step.
func (c *clockWatch) look() {
	now := c.now()
	drift := now.Round(0).Sub(c.start.Round(0)) - now.Sub(c.start)
	c.mu.Lock()
	stepped := (drift - c.drift).Abs() >= clockLeap
	if stepped {
		c.drift, c.last = drift, now
	}
	c.mu.Unlock()
	if stepped {
		c.step()
	}
}

// stepped is when the clock was last set by more than a minute; zero: never.
func (c *clockWatch) stepped() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}

// sources are the values that a scrape reads.
func (b *Box) sources() metrics.Sources {
	s := b.cfg.Settings
	return metrics.Sources{
		Version: b.cfg.Version, Site: s.Site, Box: b.name(), Health: b.Health, Clients: b.memory.Len, LogDropped: b.cfg.LogDropped,
		Rivals: func() int { return len(b.sentinel.Responders()) }, Machines: func() int { return b.registry.Machines() },
		Waiting: func() int { return len(b.registry.Requests()) }, Armed: func() int { return b.registry.Armed() },
		Active: func() int { return b.attempts.Active() }, AttemptsDropped: func() uint64 { return b.attempts.Dropped() },
		Findings: b.findings, LAN: b.LAN, StoreSize: b.keeper.size, StateDisk: b.stateDisk,
		ClockSet: func() bool { return system.ClockSet(b.cfg.Now()) },
		Heat:     b.board.Heat, Throttled: b.board.Throttled, Capture: b.captured, Syslog: b.logged, Forward: b.forwarded(),
	}
}

// captured counts what the ring of packets took; zeros while there is none.
func (b *Box) captured() (packets, octets, dropped uint64) {
	if b.capture == nil {
		return 0, 0, 0
	}
	return b.capture.Stats()
}

// logged counts the log lines of machines.
func (b *Box) logged() (lines, dropped uint64) {
	if b.syslog == nil {
		return 0, 0
	}
	return b.syslog.Stats()
}

// forwarded counts lines of the box's own log that did not arrive elsewhere.
func (b *Box) forwarded() func() uint64 {
	if b.cfg.Forward == nil {
		return nil
	}
	return b.cfg.Forward.Dropped
}

// stateDisk is the room on the medium of the state.
func (b *Box) stateDisk() (free, size uint64, ok bool) {
	state, err, ready := b.cfg.State.State()
	if !ready || err != nil || !state.Persistent {
		return 0, 0, false
	}
	free, size, err = state.Space()
	return free, size, err == nil
}
