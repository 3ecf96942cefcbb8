package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
	"github.com/bootpuck/bootpuck/appliance/store"
)

// clock is a clock that tests set.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// memory is a store in memory whose writes can be held up or fail.
type memory struct {
	mu     sync.Mutex
	docs   map[string][]byte
	writes int
	fail   error
	hold   chan struct{} // non-nil: writes wait until it is closed
	held   chan struct{} // gets a value when a write waits
}

func newMemory() *memory { return &memory{docs: map[string][]byte{}, held: make(chan struct{}, 100)} }

func (s *memory) Load(kind store.Kind, each func(name string, doc []byte) error) error {
	s.mu.Lock()
	names := []string{}
	for k := range s.docs {
		if rest, ok := strings.CutPrefix(k, string(kind)+"/"); ok {
			names = append(names, rest)
		}
	}
	slices.Sort(names)
	docs := make([][]byte, len(names))
	for i, n := range names {
		docs[i] = s.docs[string(kind)+"/"+n]
	}
	s.mu.Unlock()
	for i, n := range names {
		if err := each(n, docs[i]); err != nil {
			return err
		}
	}
	return nil
}

func (s *memory) Write(changes ...store.Change) error {
	s.mu.Lock()
	hold, fail := s.hold, s.fail
	s.mu.Unlock()
	if hold != nil {
		s.held <- struct{}{}
		<-hold
	}
	if fail != nil {
		return fail
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes++
	for _, c := range changes {
		key := string(c.Kind) + "/" + c.Name
		if c.Doc == nil {
			delete(s.docs, key)
		} else {
			s.docs[key] = slices.Clone(c.Doc)
		}
	}
	return nil
}

func (s *memory) block() (release func()) {
	hold := make(chan struct{})
	s.mu.Lock()
	s.hold = hold
	s.mu.Unlock()
	return func() {
		s.mu.Lock()
		s.hold = nil
		s.mu.Unlock()
		close(hold)
	}
}

func (s *memory) machine(t *testing.T, id boot.MachineID) boot.Machine {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	var m boot.Machine
	if doc, ok := s.docs["machines/"+string(id)]; !ok {
		t.Fatalf("machine %s is not in the store", id)
	} else if err := json.Unmarshal(doc, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// events collects what the sink is told.
type events struct {
	mu   sync.Mutex
	list []boot.Event
}

func (e *events) sink(ev boot.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, ev)
}

func (e *events) has(kind boot.Kind, reason boot.Reason, text string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.ContainsFunc(e.list, func(ev boot.Event) bool {
		return ev.Kind == kind && ev.Reason == reason && strings.Contains(ev.Text, text)
	})
}

// fixture is a registry with a clock, a store and its events.
type fixture struct {
	*Registry
	t     testing.TB
	clock *clock
	db    *memory
	sink  *events
}

func newFixture(t testing.TB, change ...func(*Config)) *fixture {
	t.Helper()
	f := &fixture{t: t, clock: newClock(), db: newMemory(), sink: &events{}}
	cfg := Config{DB: f.db, Now: f.clock.Now, Sink: f.sink.sink}
	for _, c := range change {
		c(&cfg)
	}
	r, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	f.Registry = r
	return f
}

// again is another registry over the same store: the box after a restart.
func (f *fixture) again() *fixture {
	f.t.Helper()
	g := &fixture{t: f.t, clock: f.clock, db: f.db, sink: &events{}}
	r, err := Open(Config{DB: f.db, Now: f.clock.Now, Sink: g.sink.sink})
	if err != nil {
		f.t.Fatal(err)
	}
	g.Registry = r
	return g
}

func (f *fixture) put(kind, name, body string) Doc {
	f.t.Helper()
	d, _, err := f.Put(kind, name, []byte(body), MatchAny)
	if err != nil {
		f.t.Fatalf("put %s/%s: %v", kind, name, err)
	}
	return d
}

// catalog puts what most tests need: targets of all tempers, and profiles.
func (f *fixture) catalog() {
	f.t.Helper()
	f.put(kindTargets, "rescue", `{"kind":"linux","kernel":"files/vmlinuz","initrds":["files/initrd"],"cmdline":"quiet host={{.Machine.Name}}"}`)
	f.put(kindTargets, "install", `{"kind":"linux","kernel":"files/linux","cmdline":"auto url={{answer \"preseed.cfg\"}} cb={{callback \"done\"}}","destructive":true}`)
	f.put(kindTargets, "disk", `{"kind":"local"}`)
	f.put(kindTemplates, "preseed", `{"kind":"preseed","text":"d-i netcfg/get_hostname string {{.Machine.Name}}\nd-i passwd/root-password password {{.Vars.secret}}\n"}`)
	f.put(kindProfiles, "rescue", `{"target":"rescue","title":"Rescue"}`)
	f.put(kindProfiles, "install", `{"target":"install","title":"Install","answers":{"preseed.cfg":"preseed"},"variables":{"secret":"of the profile"}}`)
	f.put(kindProfiles, "disk", `{"target":"disk","title":"Disk"}`)
}

const base = "http://192.0.2.1"

// client is a machine on the wire.
type client struct {
	mac    boot.MAC
	guid   boot.GUID
	serial string
	addr   netip.Addr
}

func machine(n int) client {
	return client{
		mac:    boot.MAC(fmt.Sprintf("52:54:00:00:%02x:%02x", n>>8, n&255)),
		guid:   boot.GUID{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, byte(n >> 16), byte(n >> 8), byte(n)},
		serial: fmt.Sprintf("SN%05dQ", n), addr: netip.AddrFrom4([4]byte{192, 0, byte(2 + n>>8), byte(n)}),
	}
}

func (c client) sighting() boot.Sighting {
	return boot.Sighting{
		MAC: c.mac, GUID: c.guid, Serial: c.serial, Addr: c.addr, Manufacturer: "ACME", Product: "Puck",
		Platform: boot.PlatformBIOS, CPU: "x86_64", Memory: 4096, Firmware: boot.FirmwareIPXE,
		Variables: map[string]string{"mac": string(c.mac), "buildarch": "x86_64"},
	}
}

// ask is the machine's own question, from its own address.
func (c client) ask() Ask {
	return Ask{Sighting: c.sighting(), Proof: boot.ProofSeen, Base: base, From: c.addr, Loader: LoaderIPXE}
}

// later is a question with a token: the box knows whose the address is.
func (c client) later() Ask {
	return Ask{Sighting: boot.Sighting{MAC: c.mac}, Proof: boot.ProofSeen, Base: base, From: c.addr, Loader: LoaderIPXE}
}

// id makes the machine known under a name, and returns its identifier.
func (f *fixture) id(c client, name string) boot.MachineID {
	f.t.Helper()
	p := f.Decide(c.ask())
	if p.Choice.Machine == "" {
		f.t.Fatalf("no record of %s", c.mac)
	}
	if name != "" {
		f.put(kindMachines, string(p.Choice.Machine), `{"name":"`+name+`","variables":{"secret":"of `+name+`"}}`)
	}
	return p.Choice.Machine
}

func (f *fixture) machine(id boot.MachineID) boot.Machine {
	f.t.Helper()
	d, ok := f.Get(kindMachines, string(id))
	if !ok {
		f.t.Fatalf("machine %s is gone", id)
	}
	return d.Value.(boot.Machine)
}

func (f *fixture) assign(id boot.MachineID, profile string, mode boot.AssignMode) boot.Assignment {
	f.t.Helper()
	a, err := f.Assign(id, boot.Assignment{Profile: profile, Mode: mode}, MatchAny)
	if err != nil {
		f.t.Fatal(err)
	}
	return a
}

// start asks and starts what is offered.
func (f *fixture) start(c client) boot.Plan {
	f.t.Helper()
	p := f.Decide(c.ask())
	if p.Choice.Action != boot.ActionArmed || p.Token == "" {
		f.t.Fatalf("offered %s, token %q, reason %s; steps %+v", p.Choice.Action, p.Token, p.Choice.Reason, p.Choice.Steps)
	}
	plan, reason := f.Start(p.Token, c.later())
	if reason != boot.ReasonNone {
		f.t.Fatalf("start: %s", reason)
	}
	return plan
}

func (f *fixture) want(p boot.Plan, action boot.Action, reason boot.Reason) {
	f.t.Helper()
	if p.Choice.Action != action || p.Choice.Reason != reason {
		f.t.Fatalf("got %s, reason %q; want %s, %q; steps %+v", p.Choice.Action, p.Choice.Reason, action, reason, p.Choice.Steps)
	}
}

// tokenOf finds the token after a prefix in a text.
func tokenOf(t testing.TB, text, prefix string) string {
	t.Helper()
	_, rest, ok := strings.Cut(text, prefix)
	if !ok {
		t.Fatalf("no %s in %q", prefix, text)
	}
	token, _, _ := strings.Cut(rest, "/")
	if len(token) != 26 {
		t.Fatalf("token %q is not 26 characters", token)
	}
	return token
}

// disk is a registry over a real store file.
func openDisk(t testing.TB, dir string, now func() time.Time) (*Registry, *store.DB) {
	t.Helper()
	db, _, err := store.Open(filepath.Join(dir, "test.db"), nil, now)
	if err != nil {
		t.Fatal(err)
	}
	r, err := Open(Config{DB: db, Now: now})
	if err != nil {
		t.Fatal(errors.Join(err, db.Close()))
	}
	return r, db
}

func contextWithCancel(t *testing.T) (context.Context, context.CancelFunc) {
	return context.WithCancel(t.Context())
}
