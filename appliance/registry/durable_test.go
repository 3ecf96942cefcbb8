package registry

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
	"github.com/bootpuck/bootpuck/appliance/store"
)

// TestBootPathNeverWaits: with a medium that hangs, everything but the start of
// a plan that counts is answered at once.
func TestBootPathNeverWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, func(c *Config) { c.Now = time.Now })
		f.catalog()
		c, other := machine(1), machine(2)
		id := f.id(c, "web1")
		f.assign(id, "install", boot.AssignArmed)
		f.put(kindSite, kindSite, `{"unknown":"ask"}`)
		release := f.db.block()
		go func() { _ = f.Flush() }()
		<-f.db.held // the medium hangs now
		began := time.Now()
		f.Sight(machine(3).sighting())
		f.Rule(boot.Client{MAC: c.mac, GUID: c.guid}, boot.Rule{})
		offer := f.Decide(c.ask())
		f.want(offer, boot.ActionArmed, boot.ReasonNone)
		asks := f.Decide(other.ask())
		f.want(asks, boot.ActionAsk, boot.ReasonUnknownAsks)
		if _, waiting, reason := f.Wait(asks.Token, other.later()); !waiting || reason != boot.ReasonNone {
			t.Errorf("waiting %v, %s", waiting, reason)
		}
		if d := time.Since(began); d != 0 {
			t.Errorf("the boot path waited for %s", d)
		}
		if _, reason := f.Start(offer.Token, c.later()); reason != boot.ReasonStateWait {
			t.Errorf("start: %s", reason)
		}
		if d := time.Since(began); d != StartTimeout {
			t.Errorf("start waited for %s", d)
		}
		if a := f.machine(id).Assignment; a.State != boot.AssignWaiting || a.Used != 0 {
			t.Errorf("nothing was handed out, and yet %+v", a)
		}
		plan := f.Decide(Ask{Sighting: c.sighting(), Proof: boot.ProofSeen, Base: base, From: c.addr, Loader: LoaderGRUB})
		f.want(plan, boot.ActionLocal, boot.ReasonStateWait)
		if plan.Target.Kind != boot.TargetLocal {
			t.Errorf("target %+v", plan.Target)
		}
		release()
		synctest.Wait()
		if _, reason := f.Start(offer.Token, c.later()); reason != boot.ReasonNone {
			t.Errorf("the same token once the medium answers: %s", reason)
		}
	})
}

// TestLateWrite: a start that was given up is taken back in the store, although
// the write came through in the end.
func TestLateWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, func(c *Config) { c.Now = time.Now })
		f.catalog()
		c := machine(1)
		id := f.id(c, "web1")
		f.assign(id, "install", boot.AssignArmed)
		offer := f.Decide(c.ask())
		if err := f.Flush(); err != nil {
			t.Fatal(err)
		}
		release := f.db.block()
		if _, reason := f.Start(offer.Token, c.later()); reason != boot.ReasonStateWait {
			t.Fatal(reason)
		}
		release()
		synctest.Wait()
		if a := f.db.machine(t, id).Assignment; a.State != boot.AssignRunning {
			t.Fatalf("the test expects a write that came through late, not %+v", a)
		}
		if err := f.Flush(); err != nil {
			t.Fatal(err)
		}
		if a := f.db.machine(t, id).Assignment; a.State != boot.AssignWaiting || a.Used != 0 {
			t.Errorf("the store says %+v", a)
		}
		for k := range f.db.docs {
			if len(k) > 9 && k[:9] == "attempts/" {
				t.Errorf("%s is left", k)
			}
		}
	})
}

// TestLateChange: a change that the operator was told has failed is not there
// after a restart, although the write came through in the end.
func TestLateChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, func(c *Config) { c.Now = time.Now })
		f.catalog()
		id := f.id(machine(1), "web1")
		old := f.put(kindGroups, "old", `{"notes":"as it was"}`)
		release := f.db.block()
		for what, err := range map[string]error{
			"new":     second(second2(f.Put(kindGroups, "new", []byte(`{}`), MatchAny))),
			"old":     second(second2(f.Put(kindGroups, "old", []byte(`{"notes":"changed"}`), MatchAny))),
			"machine": second(second2(f.Put(kindMachines, string(id), []byte(`{"name":"other"}`), MatchAny))),
			"delete":  f.Delete(kindProfiles, "disk", MatchAny),
		} {
			if !errors.Is(err, errTimeout) {
				t.Errorf("%s: %v", what, err)
			}
		}
		if n := len(f.writer.queue); n != 0 {
			t.Errorf("%d changes are still queued", n)
		}
		release()
		synctest.Wait()
		if err := f.Flush(); err != nil {
			t.Fatal(err)
		}
		g := f.again()
		if _, ok := g.Get(kindGroups, "new"); ok {
			t.Error("the new group is there")
		}
		if d, _ := g.Get(kindGroups, "old"); !same(d, old) {
			t.Errorf("%+v", d)
		}
		if m := g.machine(id); m.Name != "web1" {
			t.Errorf("%+v", m)
		}
		if _, ok := g.Get(kindProfiles, "disk"); !ok {
			t.Error("the profile is gone")
		}
	})
}

func second2[A, B, C any](a A, _ B, c C) (A, C) { return a, c }

// TestFailedWrite: what could not be written has not happened.
func TestFailedWrite(t *testing.T) {
	f := newFixture(t)
	f.catalog()
	c := machine(1)
	id := f.id(c, "web1")
	f.assign(id, "install", boot.AssignArmed)
	offer := f.Decide(c.ask())
	f.db.fail = fmt.Errorf("write: %w", store.ErrFull)
	if _, reason := f.Start(offer.Token, c.later()); reason != boot.ReasonStateWait {
		t.Errorf("start: %s", reason)
	}
	var because interface{ Reason() boot.Reason }
	_, _, err := f.Put(kindGroups, "lab", []byte(`{}`), MatchAny)
	if !errors.As(err, &because) || because.Reason() != boot.ReasonStateFull {
		t.Errorf("put: %v", err)
	}
	f.db.fail = store.ErrReadOnly
	if _, _, err = f.Put(kindGroups, "lab", []byte(`{}`), MatchAny); !errors.As(err, &because) || because.Reason() != boot.ReasonStateVolatile {
		t.Errorf("put on a read-only medium: %v", err)
	}
	if _, ok := f.Get(kindGroups, "lab"); ok {
		t.Error("the group is there")
	}
	for name, err := range map[string]error{
		"delete":   f.Delete(kindProfiles, "disk", MatchAny),
		"machine":  f.Delete(kindMachines, string(id), MatchAny),
		"unassign": f.Unassign(id, MatchAny),
	} {
		if !errors.As(err, &because) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := f.Assign(id, boot.Assignment{Profile: "rescue", Mode: boot.AssignAlways}, MatchAny); !errors.As(err, &because) {
		t.Errorf("assign: %v", err)
	}
	if a := f.machine(id).Assignment; a == nil || a.State != boot.AssignWaiting || a.Profile != "install" {
		t.Errorf("assignment %+v", a)
	}
	stranger := f.id(machine(7), "")
	if err := f.Flush(); err == nil {
		t.Error("flush: no error")
	}
	f.db.fail = nil
	if _, reason := f.Start(offer.Token, c.later()); reason != boot.ReasonNone {
		t.Errorf("afterwards: %s", reason)
	}
	if err := f.Flush(); err != nil {
		t.Error(err)
	}
	f.db.machine(t, stranger)
	if f.db.machine(t, id).Boots == 0 {
		t.Error("what was seen while nothing could be written is lost")
	}
}

// TestDoneWithoutMedium: done counts at once, and is said to be kept only when
// it is.
func TestDoneWithoutMedium(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, func(c *Config) { c.Now = time.Now })
		f.catalog()
		c := machine(1)
		id := f.id(c, "web1")
		f.assign(id, "install", boot.AssignArmed)
		p := f.start(c)
		release := f.db.block()
		if reason := f.Callback(p.CallbackToken, boot.CallbackDone, "", c.later()); reason != boot.ReasonStateWait {
			t.Errorf("done: %s", reason)
		}
		f.want(f.Decide(c.ask()), boot.ActionLocal, boot.ReasonNone)
		release()
		synctest.Wait()
		if err := f.Flush(); err != nil {
			t.Fatal(err)
		}
		if a := f.db.machine(t, id).Assignment; a.State != boot.AssignDone {
			t.Errorf("the store says %+v", a)
		}
		if reason := f.Callback(p.CallbackToken, boot.CallbackDone, "", c.later()); reason != boot.ReasonNone {
			t.Errorf("done again: %s", reason)
		}
	})
}

// TestGroupCommit: many machines that start at once share transactions.
func TestGroupCommit(t *testing.T) {
	f := newFixture(t)
	f.catalog()
	const n = 50
	offers := make([]boot.Plan, n)
	for i := range n {
		id := f.id(machine(i), fmt.Sprintf("web%d", i))
		f.assign(id, "install", boot.AssignArmed)
		offers[i] = f.Decide(machine(i).ask())
	}
	release := f.db.block()
	go func() { _ = f.Flush() }()
	<-f.db.held
	before := f.db.writes
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			if _, reason := f.Start(offers[i].Token, machine(i).later()); reason != boot.ReasonNone {
				t.Errorf("machine %d: %s", i, reason)
			}
		})
	}
	for queued := 0; queued < n; {
		f.writer.mu.Lock()
		queued = len(f.writer.queue)
		f.writer.mu.Unlock()
	}
	release()
	wg.Wait()
	if got := f.db.writes - before; got > 4 {
		t.Errorf("%d transactions for %d starts", got, n)
	}
}

// TestConcurrentStart: two requests with one token at the same time are one.
func TestConcurrentStart(t *testing.T) {
	f := newFixture(t)
	f.catalog()
	c := machine(1)
	id := f.id(c, "web1")
	f.assign(id, "install", boot.AssignArmed)
	offer := f.Decide(c.ask())
	var wg sync.WaitGroup
	tokens := make([]string, 20)
	for i := range tokens {
		wg.Go(func() {
			p, reason := f.Start(offer.Token, c.later())
			if reason != boot.ReasonNone {
				t.Errorf("%s", reason)
			}
			tokens[i] = p.AnswerToken
		})
	}
	wg.Wait()
	for _, token := range tokens {
		if token == "" || token != tokens[0] {
			t.Fatalf("different plans: %q", tokens)
		}
	}
	if a := f.machine(id).Assignment; a.Used != 1 {
		t.Errorf("used %d times", a.Used)
	}
}

// TestConcurrentLoader: nor are two of GRUB a loop.
func TestConcurrentLoader(t *testing.T) {
	f := newFixture(t)
	f.catalog()
	c := machine(1)
	id := f.id(c, "web1")
	for range 20 {
		f.assign(id, "install", boot.AssignArmed)
		var wg sync.WaitGroup
		tokens := make([]string, 8)
		for i := range tokens {
			wg.Go(func() { tokens[i] = f.Decide(c.asks(LoaderGRUB)).AnswerToken })
		}
		wg.Wait()
		for _, token := range tokens {
			if token == "" || token != tokens[0] {
				t.Fatalf("different plans: %q", tokens)
			}
		}
		if a := f.machine(id).Assignment; a.Used != 1 || a.State != boot.AssignRunning {
			t.Fatalf("%+v", a)
		}
	}
}

// TestWithoutStore: armed assignments work in memory, and come to the store when
// there is one.
func TestWithoutStore(t *testing.T) {
	db := newMemory()
	f := newFixture(t, func(c *Config) { c.DB = (*store.DB)(nil) })
	f.catalog()
	c := machine(1)
	id := f.id(c, "web1")
	f.assign(id, "install", boot.AssignArmed)
	p := f.start(c)
	if err := f.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := f.SetDB(db); err != nil {
		t.Fatal(err)
	}
	if err := f.Flush(); err != nil {
		t.Fatal(err)
	}
	if a := db.machine(t, id).Assignment; a == nil || a.State != boot.AssignRunning {
		t.Errorf("in the store: %+v", a)
	}
	if _, ok := db.docs["targets/install"]; !ok {
		t.Error("the target is not in the store")
	}
	if reason := f.Callback(p.CallbackToken, boot.CallbackDone, "", c.later()); reason != boot.ReasonNone {
		t.Error(reason)
	}
	f.want(f.Decide(c.ask()), boot.ActionLocal, boot.ReasonNone)
}

// TestSetDBMerges: what was met before the store was there finds its record.
func TestSetDBMerges(t *testing.T) {
	f := newFixture(t)
	f.catalog()
	c, stranger := machine(1), machine(2)
	id := f.id(c, "web1")
	f.id(stranger, "")
	f.assign(id, "install", boot.AssignArmed)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	g := newFixture(t, func(cfg *Config) { cfg.DB, cfg.Now = nil, f.clock.Now })
	f.clock.add(time.Hour)
	early := g.Decide(c.ask())
	g.want(early, boot.ActionMenu, boot.ReasonNone)
	fresh := g.id(machine(3), "")
	dock := c
	dock.mac = "52:54:00:dd:dd:dd"
	g.Sight(dock.sighting()) // with the identifier of a known machine
	if err := g.SetDB(f.db); err != nil {
		t.Fatal(err)
	}
	p := g.Decide(c.ask())
	g.want(p, boot.ActionArmed, boot.ReasonNone)
	if p.Choice.Machine != id {
		t.Errorf("machine %s, was %s", p.Choice.Machine, id)
	}
	if m := g.machine(id); len(m.MACs) != 1 {
		t.Errorf("a claim became the machine's: %+v", m.MACs)
	}
	if m := g.machine(id); m.Boots < 3 || !m.Last.Equal(f.clock.Now()) || m.Name != "web1" {
		t.Errorf("record %+v", m)
	}
	if _, ok := g.Get(kindMachines, string(early.Choice.Machine)); ok {
		t.Error("the machine has two records")
	}
	if docs, _ := g.List(kindMachines, Query{}); len(docs) != 3 {
		t.Errorf("%d records", len(docs))
	}
	g.machine(fresh)
}

// TestRestart: over a real file, a new Registry sees what was acknowledged.
func TestRestart(t *testing.T) {
	dir, ck := t.TempDir(), newClock()
	r, db := openDisk(t, dir, ck.Now)
	f := &fixture{Registry: r, t: t, clock: ck, sink: &events{}}
	f.catalog()
	f.put(kindSite, kindSite, `{"unknown":"allow","title":"Lab"}`)
	c, waiting := machine(1), machine(2)
	id := f.id(c, "web1")
	other := f.id(waiting, "web2")
	f.assign(id, "install", boot.AssignArmed)
	f.assign(other, "install", boot.AssignArmed)
	p := f.start(c)
	rev := f.machine(id).Rev
	// No Close: the power goes.
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	ck.add(time.Hour)
	r2, db2 := openDisk(t, dir, ck.Now)
	defer db2.Close()
	g := &fixture{Registry: r2, t: t, clock: ck, sink: &events{}}
	if a := g.machine(id).Assignment; a.State != boot.AssignRunning || a.Used != 1 {
		t.Errorf("assignment %+v", a)
	}
	if d, _ := g.Get(kindSite, kindSite); d.Value.(boot.Site).Title != "Lab" {
		t.Errorf("site %+v", d)
	}
	if got := g.machine(id).Rev; got != rev {
		t.Errorf("revision %d, was %d", got, rev)
	}
	if text, _, reason := g.Answer(p.AnswerToken, "preseed.cfg", c.later()); reason != boot.ReasonNone {
		t.Errorf("answer: %s %q", reason, text)
	}
	if reason := g.Callback(p.CallbackToken, boot.CallbackDone, "", c.later()); reason != boot.ReasonNone {
		t.Errorf("callback: %s", reason)
	}
	g.want(g.Decide(c.ask()), boot.ActionLocal, boot.ReasonNone)
	g.start(waiting)
	d := g.put(kindGroups, "lab", `{}`)
	if d.Rev <= rev {
		t.Errorf("a new document got revision %d, an old one has %d", d.Rev, rev)
	}
}

// TestRevisionsAreNeverReused: a document that was deleted and made again is not
// taken for the old one, also after a restart.
func TestRevisionsAreNeverReused(t *testing.T) {
	f := newFixture(t)
	a := f.put(kindGroups, "lab", `{"notes":"a"}`)
	if err := f.Delete(kindGroups, "lab", MatchAny); err != nil {
		t.Fatal(err)
	}
	g := f.again()
	b := g.put(kindGroups, "lab", `{"notes":"b"}`)
	if b.Rev <= a.Rev {
		t.Errorf("revisions %d, then %d", a.Rev, b.Rev)
	}
}

// TestRun: sightings are written every few seconds and at the end; what has an
// end, ends.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, func(c *Config) { c.Now = time.Now })
		f.catalog()
		done := make(chan error, 1)
		ctx, cancel := contextWithCancel(t)
		go func() { done <- f.Run(ctx) }()
		<-f.Ready()
		before := f.db.writes
		for i := range 100 {
			for range 10 {
				f.Sight(machine(i).sighting())
			}
		}
		<-time.After(FlushEvery + time.Millisecond)
		synctest.Wait()
		if got := f.db.writes - before; got != 1 {
			t.Errorf("%d transactions for 1000 sightings", got)
		}
		id := f.id(machine(1), "web1")
		f.assign(id, "install", boot.AssignArmed)
		offer := f.Decide(machine(1).ask())
		<-time.After(boot.ArmTime + 2*time.Minute)
		synctest.Wait()
		if a := f.db.machine(t, id).Assignment; a.State != boot.AssignExpired {
			t.Errorf("the store says %+v", a)
		}
		if f.tokens.order.Len() != 0 {
			t.Errorf("%d tokens are left, among them %s", f.tokens.order.Len(), offer.Token)
		}
		f.want(f.Decide(machine(1).ask()), boot.ActionLocal, boot.ReasonAssignExpired)
		f.Sight(machine(200).sighting())
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		n := 0
		for k := range f.db.docs {
			if len(k) > 9 && k[:9] == "machines/" {
				n++
			}
		}
		if n != 101 {
			t.Errorf("%d machines in the store", n)
		}
	})
}

// TestForget: strangers are forgotten after a while, others never; without a
// clock nobody is.
func TestForget(t *testing.T) {
	f := newFixture(t)
	f.catalog()
	stranger, named := f.id(machine(1), ""), f.id(machine(2), "web2")
	if err := f.Flush(); err != nil {
		t.Fatal(err)
	}
	f.clock.add(89 * 24 * time.Hour)
	f.sweep()
	f.machine(stranger)
	f.clock.add(2 * 24 * time.Hour)
	f.sweep()
	if _, ok := f.Get(kindMachines, string(stranger)); ok {
		t.Error("the stranger is still there")
	}
	f.machine(named)
	if err := f.Flush(); err != nil {
		t.Fatal(err)
	}
	if _, ok := f.db.docs["machines/"+string(stranger)]; ok {
		t.Error("the stranger is still in the store")
	}

	g := newFixture(t)
	g.clock.now = time.Unix(1000, 0)
	id := g.id(machine(1), "")
	g.clock.now = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	g.sweep()
	g.machine(id) // seen when the clock was not set: that says nothing of its age
	g.clock.add(100 * 24 * time.Hour)
	g.sweep()
	if _, ok := g.Get(kindMachines, string(id)); ok {
		t.Error("not forgotten after all")
	}
}
