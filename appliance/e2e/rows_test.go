package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bootpuck/bootpuck/appliance/e2e/lab"
	"github.com/bootpuck/bootpuck/appliance/image/vm"
)

// The forms a server comes in.
const (
	process = "process" // the box as a plain program
	image   = "image"   // the box as the flashed disk image, from power-on
	dnsmasq = "dnsmasq" // dnsmasq as the proxy, to compare with
)

// trouble is what a site does wrong, and what that means for its rows.
type trouble struct {
	name string
	dhcp func(*lab.DHCPConfig)
	site func(*lab.SiteConfig)
	link lab.Link
	far  bool // clients are behind the relay
	// payload, where the default would take too long on such a network.
	payload lab.Payload
	// limit from power-on, where the default is too short.
	limit time.Duration
	// settings of the box.
	settings map[string]any
	// rival puts a second PXE server beside the box.
	rival bool
	// event is the reason of an event the box must have noted.
	event string
}

// The troubles a site can have.
var (
	none  = trouble{name: "none"}
	late  = trouble{name: "late-lease", dhcp: func(c *lab.DHCPConfig) { c.Late = true }}
	named = trouble{name: "router-names-a-boot-file", dhcp: func(c *lab.DHCPConfig) {
		c.NextServer, c.BootFile = lab.RouterAddr, "router.0"
	}, event: "server_boot_file"}
	// iPXE goes with the first offer that says PXEClient once it has an address:
	// it is the server's ping, on by default in both programs, that lets the
	// box be first. Without it nothing on the wire could help.
	option60 = trouble{name: "option60", dhcp: func(c *lab.DHCPConfig) { c.Option60, c.Ping = true, true }, event: "option60"}
	relayed  = trouble{name: "relay", far: true, site: func(c *lab.SiteConfig) { c.Relay = true }}
	lossy    = trouble{
		name: "loss-5%-delay-20ms", link: lab.Link{Loss: 0.05, Delay: 20 * time.Millisecond},
		payload: lab.Memtest, limit: 10 * time.Minute,
	}
	rival   = trouble{name: "second-proxy", rival: true, event: "other_pxe"}
	silent  = trouble{name: "no-router-advertisements", dhcp: func(c *lab.DHCPConfig) { c.NoAdvertisements = true }}
	crowd   = trouble{name: "three-at-once"}
	direct  = trouble{name: "uefi-first-direct", settings: map[string]any{"uefi-first": "direct"}}
	twoStep = trouble{name: "uefi-first-two-step", settings: map[string]any{"uefi-first": "two-step"}}
)

// group is what shares a site: rows differ in the client alone.
type group struct {
	server  string
	dhcp    lab.DHCPKind
	trouble trouble
}

func (g group) String() string { return g.server + "/" + string(g.dhcp) + "/" + g.trouble.name }

// payload is what the group's clients boot. One group boots the whole
// installer; the others show the same kernel running, which is as real and
// spares 40 MB and ten emulated seconds per row.
func (g group) payload() lab.Payload {
	switch {
	case g.trouble.payload != "":
		return g.trouble.payload
	case g.server == process && g.dhcp == lab.Dnsmasq && g.trouble.name == none.name:
		return lab.Installer
	}
	return lab.Kernel
}

// goal is when a row has booted.
func (g group) goal() lab.Goal {
	goal := g.payload().Goal()
	if goal.Limit = g.trouble.limit; goal.Limit == 0 {
		// Twenty seconds on an idle machine; a busy one is no reason to fail.
		goal.Limit = 4 * time.Minute
	}
	return goal
}

// stage is a group with its site running.
type stage struct {
	group  group
	site   *lab.Site
	server lab.Server
	again  atomic.Uint64 // second tries: each has other losses
}

// open starts a group's site and server.
func (g group) open(ctx context.Context) (*stage, error) {
	files, err := lab.FindBootFiles(distDir)
	if err != nil {
		return nil, err
	}
	cfg := lab.SiteConfig{
		DHCP:       lab.DHCPConfig{Kind: g.dhcp},
		BoxIsGuest: g.server == image,
		KeepDir:    filepath.Join(buildDir, "logs", strings.ReplaceAll(g.String(), "/", "_")),
	}
	if g.trouble.dhcp != nil {
		g.trouble.dhcp(&cfg.DHCP)
	}
	if g.trouble.site != nil {
		g.trouble.site(&cfg)
	}
	if g.trouble.rival {
		payload, err := payloadDir(g.payload(), lab.RivalAddr, "")
		if err != nil {
			return nil, err
		}
		cfg.Rival = &lab.Baseline{Files: files, Payload: payload}
	}
	server, err := g.newServer(files)
	if err != nil {
		return nil, err
	}
	site, err := lab.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if err := server.Start(ctx, site); err != nil {
		return nil, fmt.Errorf("%s: %w", g, errors.Join(err, site.Close()))
	}
	if box, ok := server.(*lab.Image); ok {
		results.note("The image (%s, SeaBIOS, %s) was healthy %.1f s after power-on.", g, box.Accel, box.ReadyAfter.Seconds())
	}
	return &stage{group: g, site: site, server: server}, nil
}

func (g group) newServer(files lab.BootFiles) (lab.Server, error) {
	grubPath := "/files"
	if g.server == dnsmasq {
		grubPath = ""
	}
	payload, err := payloadDir(g.payload(), lab.BoxAddr, grubPath)
	if err != nil {
		return nil, err
	}
	script := "files/" + lab.ScriptName
	switch g.server {
	case dnsmasq:
		return &lab.Baseline{Files: files, Payload: payload}, nil
	case process:
		program, err := boxBinary()
		if err != nil {
			return nil, err
		}
		return &lab.Process{Binary: program, Files: payload, DefaultScript: script, Settings: g.trouble.settings}, nil
	case image:
		if _, err := os.Stat(imagePath()); err != nil {
			return nil, fmt.Errorf("the image is not built (make image): %w", err)
		}
		perm := filepath.Join(buildDir, "perm")
		if err := os.RemoveAll(perm); err != nil {
			return nil, err
		}
		if err := lab.WritePerm(perm, payload, script); err != nil {
			return nil, err
		}
		return &lab.Image{Disk: imagePath(), Perm: perm, Prepare: vm.WithPerm, Firmware: lab.SeaBIOS, Accel: lab.TCG}, nil
	}
	return nil, fmt.Errorf("no server of form %q", g.server)
}

// boot starts one client of a group and follows it to the goal.
func (s *stage) boot(ctx context.Context, c lab.Client, goal lab.Goal) (lab.Result, error) {
	r := lab.Result{Server: s.group.server, DHCP: string(s.group.dhcp), Trouble: s.group.trouble.name, Client: c.Name}
	newerDir := ""
	if c.NeedsNewer() {
		var err error
		if newerDir, err = newer(); err != nil {
			return r, err
		}
	}
	accel, _ := accelerators.For(ctx, c.Firmware, newerDir)
	row := s.group.String() + "/" + c.Name
	link := s.group.trouble.link
	link.Seed = uint64(lab.MACFor(row)[5]) + s.again.Load()<<8
	guest, err := s.site.Boot(ctx, lab.Boot{Row: row, Client: c, Accel: accel, Newer: newerDir, Link: link, Far: s.group.trouble.far})
	if err != nil {
		return r, err
	}
	defer guest.Stop()
	seen := lab.Watch(ctx, guest, goal)
	seen.Server, seen.DHCP, seen.Trouble, seen.Client, seen.Accel = r.Server, r.DHCP, r.Trouble, r.Client, accel
	if seen.Error != "" && link.Loss > 0 {
		lost, err := s.offersLost(ctx, row, guest.Shim.Timeline.Marks())
		if err != nil {
			return seen, err
		}
		if lost {
			return seen, errOffersLost
		}
	}
	if seen.Error != "" {
		dir := filepath.Join(buildDir, "failed")
		if err := errors.Join(os.MkdirAll(dir, 0o755), guest.Keep(dir)); err != nil {
			return seen, err
		}
	}
	return seen, nil
}

// errOffersLost: the wire took every OFFER of the box in a client's last
// exchange, and let the DHCP server's through. iPXE then goes on without a boot
// server and ends; one answer per question is all that a proxy may give. With 5%
// of all packets lost that is one power-on in some hundred.
var errOffersLost = errors.New("the wire lost every OFFER of the box")

// offersLost says whether it went so: the client's last round of DISCOVERs got
// leases and no boot offer, while the box has sent one for each.
func (s *stage) offersLost(ctx context.Context, row string, marks []lab.Mark) (bool, error) {
	last := len(marks)
	for i, m := range slices.Backward(marks) {
		if m.Kind == lab.KindTFTPDone || m.Kind == lab.KindHTTPDone || m.Kind == lab.KindScript {
			break
		}
		last = i
	}
	var discovers, leases, offers int
	for _, m := range marks[last:] {
		switch m.Kind {
		case lab.KindDiscover:
			discovers++
		case lab.KindLeaseOffer:
			leases++
		case lab.KindBootOffer:
			offers++
		default:
		}
	}
	if discovers == 0 || leases == 0 || offers > 0 {
		return false, nil
	}
	events, err := s.site.Events(ctx, s.server.Admin())
	if err != nil {
		return false, err
	}
	sent := 0
	for _, e := range events {
		if e.Kind == "offer" && e.MAC == lab.MACFor(row).String() && e.Time.After(marks[last].At.Add(-time.Second)) {
			sent++
		}
	}
	return sent > 0, nil
}

// run boots one client in a running group as a subtest's body: it must reach
// the group's payload.
func (s *stage) run(t *testing.T, name string) lab.Result {
	t.Helper()
	c := client(t, name)
	r, err := s.boot(t.Context(), c, s.group.goal())
	if errors.Is(err, errOffersLost) {
		t.Logf("%v (received %v): switched off and on again, as a person would", err, r.Path)
		s.again.Add(1)
		r, err = s.boot(t.Context(), c, s.group.goal())
	}
	if err != nil {
		t.Fatal(err)
	}
	results.add(r)
	if r.Error != "" {
		t.Errorf("did not boot: %s; received %v; evidence in .build/e2e/failed", r.Error, r.Path)
	}
	// iPXE asks for unicast answers, which a switch hides from the box; UEFI
	// firmware asks for broadcasts.
	if want := s.group.trouble.event; want != "" && c.UEFI() && !c.ROM {
		s.noted(t, want)
	}
	t.Logf("%s: script after %s s, kernel after %s s, payload after %s s; %s", r.Booted, r.Script, r.Kernel, r.Payload, strings.Join(r.Path, " → "))
	return r
}

// noted fails the test unless the box's journal holds an event with this
// reason, and returns what it says.
func (s *stage) noted(t *testing.T, reason string) string {
	t.Helper()
	events, err := s.site.Events(t.Context(), s.server.Admin())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		if e.Reason == reason {
			return e.Text + " " + e.ReasonText
		}
	}
	t.Errorf("none of the box's %d events says %s", len(events), reason)
	return ""
}

// client finds a client kind; newer firmware that cannot be had here skips.
func client(t *testing.T, name string) lab.Client {
	t.Helper()
	c, err := lab.ClientNamed(name)
	if err != nil {
		t.Fatal(err)
	}
	if c.NeedsNewer() {
		if _, err := newer(); err != nil {
			t.Skipf("newer firmware cannot be had here: %v", err)
		}
	}
	return c
}

// lazy opens a group's site when its first row runs, so that -run pays only
// for what it selects, and closes it with the parent test.
type lazy struct {
	group group
	once  sync.Once
	stage *stage
	err   error
}

func newLazy(parent *testing.T, g group) *lazy {
	l := &lazy{group: g}
	parent.Cleanup(func() {
		if l.stage == nil {
			return
		}
		if err := l.stage.site.Close(); err != nil {
			parent.Errorf("clean up: %v", err)
		}
	})
	return l
}

func (l *lazy) get(t *testing.T) *stage {
	t.Helper()
	// Not the row's context: the site outlives its first row.
	l.once.Do(func() { l.stage, l.err = l.group.open(context.Background()) })
	if l.err != nil {
		t.Fatal(l.err)
	}
	return l.stage
}

// resultList gathers the rows of the whole run.
type resultList struct {
	mu    sync.Mutex
	rows  []lab.Result
	notes []string
}

var results resultList

func (l *resultList) add(r lab.Result) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rows = append(l.rows, r)
}

// note adds a sentence below the table.
func (l *resultList) note(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.notes = append(l.notes, fmt.Sprintf(format, args...))
}

// find returns a row that has been run already.
func (l *resultList) find(g group, client string) (lab.Result, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.rows {
		if r.Server == g.server && r.DHCP == string(g.dhcp) && r.Trouble == g.trouble.name && r.Client == client {
			return r, true
		}
	}
	return lab.Result{}, false
}

// write prints the table and writes it to files.
func (l *resultList) write() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.rows) == 0 {
		return nil
	}
	slices.SortStableFunc(l.rows, func(a, b lab.Result) int {
		return strings.Compare(a.Trouble+a.DHCP, b.Trouble+b.DHCP)
	})
	table := "# End to end\n\nFirmware emulated; seconds are comparable within one run only.\n\n" + lab.Table(l.rows) +
		"\n" + lab.Comparison(l.rows, process, dnsmasq) + "\n" + strings.Join(l.notes, "\n") + "\n"
	fmt.Println(table)
	text, err := lab.JSON(l.rows)
	if err != nil {
		return err
	}
	return errors.Join(os.MkdirAll(buildDir, 0o755),
		os.WriteFile(filepath.Join(buildDir, "results.md"), []byte(table), 0o644),
		os.WriteFile(filepath.Join(buildDir, "results.json"), text, 0o644))
}
