package appliance

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/bootpuck/bootpuck/appliance/admin"
	"github.com/bootpuck/bootpuck/appliance/boot"
	"github.com/bootpuck/bootpuck/appliance/capture"
	"github.com/bootpuck/bootpuck/appliance/journal"
	"github.com/bootpuck/bootpuck/appliance/lan"
	"github.com/bootpuck/bootpuck/appliance/logging"
	"github.com/bootpuck/bootpuck/appliance/metrics"
	"github.com/bootpuck/bootpuck/appliance/proxydhcp"
	"github.com/bootpuck/bootpuck/appliance/quirks"
	"github.com/bootpuck/bootpuck/appliance/registry"
	"github.com/bootpuck/bootpuck/appliance/settings"
	"github.com/bootpuck/bootpuck/appliance/syslog"
	"github.com/bootpuck/bootpuck/appliance/tftp"
)

// Config is everything a box is made of. The zero ports of Ports mean the
// standard ones; tests set free ones.
type Config struct {
	Settings   *settings.Settings
	Version    string
	Log        *slog.Logger
	LogDropped func() uint64 // log lines lost; nil counts none
	Bootfiles  fs.FS         // boot programs by the names machines ask for
	Missing    []string      // boot programs that this build lacks
	State      *StateKeeper
	Forward    *syslog.Forwarder // sends the log elsewhere; nil: nobody does
	Now        func() time.Time
	Ports      Ports
}

// Ports replace the well-known UDP ports, for tests. -1 means any free one.
type Ports struct {
	DHCP, Boot, TFTP, Client, Relay int
}

// clientsRemembered bounds the memory of clients: a large school, several times.
const clientsRemembered = 8192

// drain is how long open transfers may go on after a stop was asked for; the
// whole stop takes at most 5 s.
const drain = 4 * time.Second

// Box is a running bootpuck.
type Box struct {
	cfg        Config
	started    time.Time
	memory     *boot.Memory
	journal    *journal.Journal
	metrics    *metrics.Metrics
	watcher    *lan.Watcher
	sentinel   sentinel
	twin       *twinTask
	dhcp       *proxydhcp.Server
	tftp       *tftp.Server
	web        webTask
	admin      *httpTask
	scrape     *httpTask
	supervisor *supervisor
	files      *fileSet
	registry   *registry.Registry
	awaiting   *boot.Awaiting
	quirks     *quirks.Book
	witnesses  witnesses
	neighbours *neighbours
	keeper     *keeper
	page       *admin.Box

	attempts *journal.Attempts
	capture  *capture.Ring    // nil: no packets are kept
	syslog   *syslog.Receiver // nil: no log lines are taken
	clock    *clockWatch
	board    *metrics.Board
	lan      lanCache

	interfaces atomic.Pointer[converted]
}

// New makes a box. It opens no sockets; the error is of a setting that cannot
// be carried out.
func New(cfg Config) (*Box, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.LogDropped == nil {
		cfg.LogDropped = func() uint64 { return 0 }
	}
	s := cfg.Settings
	b := &Box{
		cfg: cfg, started: cfg.Now(), memory: boot.NewMemory(clientsRemembered), awaiting: boot.NewAwaiting(),
		journal: journal.New(journal.DefaultSize, cfg.Now), supervisor: newSupervisor(cfg.Log),
	}
	b.quirks = quirks.New(quirks.Config{Now: cfg.Now, Sink: b.Record})
	b.awaiting.Each(b.memory.NotStarted)
	b.board = metrics.NewBoard(os.DirFS("/sys"))
	b.attempts = journal.NewAttempts(journal.AttemptsConfig{
		Now: cfg.Now, Judge: b.judge, Sink: b.Record, Ended: b.ended,
		Who:   func(mac boot.MAC, guid boot.GUID) (boot.MachineID, string, string) { return b.registry.Who(mac, guid) },
		Local: func(name string) boot.StageName { return b.files.stageOf(name) },
	})
	b.clock = newClockWatch(cfg.Now, b.attempts.ClockStepped)
	b.watcher = lan.NewWatcher(lan.Selection{Names: s.Interfaces}, b.Record)
	b.neighbours = newNeighbours(b.watcher.Neighbour, cfg.Now)
	b.twin = newTwins(b)
	b.sentinel = b.newSentinel()
	var err error
	b.registry, err = registry.Open(registry.Config{
		Now: cfg.Now, Sink: b.Record, Log: cfg.Log, DefaultScript: s.DefaultScript != "", HasTree: b.hasTree,
	})
	if err != nil {
		return nil, err
	}
	b.keeper = newKeeper(b)
	b.metrics = metrics.New(prometheus.NewPedanticRegistry(), b.sources())
	if b.files, err = newFileSet(cfg.Bootfiles, treeFS{b.keeper}, s, b.Record, b.base); err != nil {
		return nil, err
	}
	b.files.config = b.config
	b.dhcp = proxydhcp.New(proxydhcp.Config{
		Interfaces: b.dhcpInterfaces,
		Settings:   b.dhcpSettings,
		Memory:     b.memory, Sink: b.Record, Counter: b.metrics, Now: cfg.Now, Log: cfg.Log, AnswersPerSecond: s.DHCPRate,
		DHCPPort: cfg.Ports.DHCP, BootPort: cfg.Ports.Boot, ClientPort: cfg.Ports.Client, RelayPort: cfg.Ports.Relay,
	})
	b.tftp, err = tftp.New(tftp.Config{
		Addr:  netip.AddrPortFrom(netip.IPv4Unspecified(), tftpPort(cfg.Ports.TFTP)),
		Files: b.files, Allowed: b.tftpAllowed, Link: b.tftpLink, MaxBlock: s.TFTPBlock, MaxBlockFor: b.memory.Block, Drain: drain, Sink: b.Record, Meter: b.metrics,
	})
	if err != nil {
		return nil, err
	}
	b.newSeeing()
	b.page = b.adminBox()
	b.web = b.newWeb()
	b.admin = newHTTPTask("admin", s.Admin, admin.Handler(b.page))
	b.scrape = newHTTPTask("metrics", s.Metrics, metricsHandler(b.metrics.Handler()))
	return b, nil
}

// tftpPort is the port to listen on: 69 unless a test wants another, -1 any.
func tftpPort(p int) uint16 {
	switch {
	case p == 0:
		return 69
	case p < 0:
		return 0
	}
	return uint16(p)
}

// Record takes an event from any room: what was learned of a client is
// remembered, the journal keeps it, the metrics count it, the log prints it.
func (b *Box) Record(e boot.Event) {
	if e.Time.IsZero() {
		e.Time = b.cfg.Now()
	}
	arch, known := e.Arch, e.ArchKnown
	if e.Addr.IsValid() && (e.MAC == "" || !known) {
		if c, ok := b.memory.WhoIs(e.Addr); ok {
			if e.MAC == "" {
				e.MAC, e.GUID = c.MAC, c.GUID
			}
			if !known && (e.MAC == c.MAC) {
				arch, known = c.Arch, c.ArchKnown
			}
		}
	}
	if e.MAC == "" && e.Addr.IsValid() {
		e.MAC = b.fromWire(e)
	}
	e.Arch, e.ArchKnown = arch, known
	stage, ok := b.files.stage(e)
	if ok {
		b.metrics.Passed(stage, arch, known)
	}
	honest := b.speaksFor(e)
	if honest {
		b.await(e, stage)
	}
	switch e.Kind {
	case boot.KindTFTP, boot.KindHTTP, boot.KindScript:
		if e.Reason == boot.ReasonNone && e.Addr.IsValid() {
			b.memory.Loaded(e.Addr)
		}
	case boot.KindProbe:
		if e.Addr.IsValid() {
			b.memory.Loaded(e.Addr)
		}
	default:
	}
	if honest {
		b.observeQuirks(e, stage)
	}
	b.attempts.Observe(e)
	b.sight(e)
	b.metrics.Record(e)
	b.journal.Record(e)
	logging.Event(b.cfg.Log, e)
}

// fromWire is whose transfer an event is when no lease of it was heard: the ROM of
// the Raspberry Pi 3 uses the address that it is offered without asking for it.
// Who answers for the address on the wire is whose it is.
func (b *Box) fromWire(e boot.Event) boot.MAC {
	switch e.Kind {
	case boot.KindTFTP, boot.KindProbe, boot.KindProgress:
	default:
		return "" // HTTP has its own ways of telling, and nothing else comes from an address alone
	}
	mac, _, _ := b.neighbours.get(e.Addr)
	return mac
}

// Listen opens every port, or none: what a person can put right (a port that is
// taken, a missing right) is told at once instead of being retried in the dark.
func (b *Box) Listen(ctx context.Context) error {
	var open []interface{ Close() error }
	for _, p := range []struct {
		what   string
		listen func(context.Context) error
		close  func() error
	}{
		{"DHCP", func(context.Context) error { return b.dhcp.Listen() }, b.dhcp.Close},
		{"TFTP", b.tftp.Listen, b.tftp.Close},
		{"HTTP for machines", b.web.Listen, b.web.Close},
		{"status page", b.admin.Listen, b.admin.Close},
		{"metrics", b.scrape.Listen, b.scrape.Close},
	} {
		if err := p.listen(ctx); err != nil {
			for _, o := range open {
				_ = o.Close()
			}
			return explainListen(p.what, err)
		}
		open = append(open, closer(p.close))
	}
	return nil
}

type closer func() error

// Close implements io.Closer.
func (c closer) Close() error { return c() }

// explainListen adds what to do to an error of listening.
func explainListen(what string, err error) error {
	switch {
	case isInUse(err):
		return fmt.Errorf("%s: %w\n%s Stop it, or give bootpuck another address (see -help)", what, err, boot.ReasonPortTaken.Text())
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%s: %w\n%s", what, err, boot.ReasonPermission.Text())
	}
	return fmt.Errorf("%s: %w", what, err)
}

// Run listens and works until ctx ends, then lets open transfers finish within
// 5 s. An error means that the box could not start.
func (b *Box) Run(ctx context.Context) error {
	if err := b.Listen(ctx); err != nil {
		return err
	}
	b.Record(boot.Event{Kind: boot.KindBox, Text: "bootpuck " + b.cfg.Version + " started" + observing(b.cfg.Settings.Observe)})
	var wg sync.WaitGroup
	for _, t := range b.tasks() {
		wg.Go(func() { b.supervisor.run(ctx, t) })
	}
	wg.Wait()
	if err := b.keeper.Close(); err != nil {
		b.cfg.Log.Error("the last changes may not have been kept", "error", err)
	}
	b.Record(boot.Event{Kind: boot.KindBox, Text: "stopped"})
	return nil
}

func observing(on bool) string {
	if on {
		return ", in observe mode: nothing is sent"
	}
	return ""
}

// tasks lists everything long-running, in the order of the health tree.
func (b *Box) tasks() []Task {
	tasks := []Task{b.watcher, b.sentinel, b.twin, b.keeper, b.files, listener{b}, b.dhcp, b.tftp, b.web, b.admin, b.scrape, b.attempts, b.clock}
	if b.capture != nil {
		tasks = append(tasks, recorder{b.capture})
	}
	if b.syslog != nil {
		tasks = append(tasks, b.syslog)
	}
	if b.cfg.Forward != nil {
		tasks = append(tasks, b.cfg.Forward)
	}
	return tasks
}

// Addresses are where a running box listens; ports may have been chosen by the
// system.
type Addresses struct {
	HTTP, TFTP     netip.AddrPort
	Admin, Metrics net.Addr
}

// Addresses returns the addresses after Listen.
func (b *Box) Addresses() Addresses {
	return Addresses{HTTP: b.web.Addr(), Admin: b.admin.Addr(), Metrics: b.scrape.Addr(), TFTP: b.tftp.Addr()}
}
