package registry

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// until polls for something that other goroutines bring about.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	limit := time.NewTimer(10 * time.Second)
	defer limit.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-limit.C:
			t.Fatal("waited in vain: " + what)
		}
	}
}

// TestImportDuringStart: a file that comes in while a plan is on its way to the
// medium does not arm the machine anew.
func TestImportDuringStart(t *testing.T) {
	for _, mode := range []boot.AssignMode{boot.AssignArmed, boot.AssignOnce} {
		f := newFixture(t)
		f.catalog()
		f.put(kindTargets, "live", `{"kind":"linux","kernel":"files/live","cmdline":"cb={{callback \"done\"}}"}`)
		f.put(kindProfiles, "live", `{"target":"live"}`)
		c := machine(1)
		id := f.id(c, "web1")
		profile := "install"
		if mode == boot.AssignOnce {
			profile = "live"
		}
		f.assign(id, profile, mode)
		doc := f.Export()
		for i := range doc.Machines {
			doc.Machines[i].Notes = "changed in the file"
		}
		doc.Site.Title = "Another title"
		offer := f.Decide(c.ask())
		release := f.db.block()
		plans, imported := make(chan boot.Plan), make(chan error)
		go func() {
			p, _ := f.Start(offer.Token, c.later())
			plans <- p
		}()
		<-f.db.held
		go func() {
			_, err := f.Import(doc, false)
			imported <- err
		}()
		until(t, "the import is queued", func() bool {
			f.writer.mu.Lock()
			defer f.writer.mu.Unlock()
			return len(f.writer.queue) == 1
		})
		release()
		p := <-plans
		if err := <-imported; err != nil {
			t.Fatal(err)
		}
		if p.CallbackToken == "" {
			t.Fatalf("%s: not started: %+v", mode, p.Choice)
		}
		want := boot.AssignRunning
		if mode == boot.AssignOnce {
			want = boot.AssignDone
		}
		if m := f.machine(id); m.Notes != "changed in the file" || m.Assignment == nil || m.Assignment.State != want || m.Assignment.Used != 1 {
			t.Errorf("%s: %+v", mode, m.Assignment)
		}
		if a := f.again().machine(id).Assignment; a == nil || a.State != want || a.Used != 1 {
			t.Errorf("%s: after a restart %+v", mode, a)
		}
		if reason := f.Callback(p.CallbackToken, boot.CallbackDone, "", c.later()); reason != boot.ReasonNone {
			t.Errorf("%s: done: %s", mode, reason)
		}
		if a := f.machine(id).Assignment; a.State != boot.AssignDone || a.Finished.IsZero() {
			t.Errorf("%s: after done %+v", mode, a)
		}
	}
}

// TestDoneEndsRetry: once the installer has said that it is over, the plan is not
// handed out again, however short a time ago that was.
func TestDoneEndsRetry(t *testing.T) {
	for _, loader := range []string{LoaderPXELinux, LoaderGRUB} {
		for _, cb := range []boot.Callback{boot.CallbackDone, boot.CallbackFailed} {
			f := newFixture(t)
			f.catalog()
			c := machine(1)
			f.assign(f.id(c, "web1"), "install", boot.AssignArmed)
			p := f.Decide(c.asks(loader))
			f.want(p, boot.ActionBoot, boot.ReasonNone)
			f.clock.add(20 * time.Second)
			if reason := f.Callback(p.CallbackToken, cb, "", c.later()); reason != boot.ReasonNone {
				t.Fatal(reason)
			}
			f.clock.add(5 * time.Second)
			if again := f.Decide(c.asks(loader)); again.Choice.Action != boot.ActionLocal || again.CallbackToken != "" {
				t.Errorf("%s after %s: %s %s", loader, cb, again.Choice.Action, again.Choice.Profile)
			}
		}
	}
}

// TestRebootEndsRetry: a machine that starts from the beginning is no loader that
// repeats its question.
func TestRebootEndsRetry(t *testing.T) {
	for _, loader := range []string{LoaderPXELinux, LoaderGRUB} {
		f := newFixture(t)
		f.catalog()
		c := machine(1)
		id := f.id(c, "web1")
		f.assign(id, "install", boot.AssignArmed)
		first := f.Decide(c.asks(loader))
		f.want(first, boot.ActionBoot, boot.ReasonNone)
		f.clock.add(time.Second)
		f.Sight(boot.Sighting{MAC: c.mac, GUID: c.guid}) // a packet that was under way
		if p := f.Decide(c.asks(loader)); p.CallbackToken != first.CallbackToken {
			t.Errorf("%s: the next name: %s, %s", loader, p.Choice.Action, p.Choice.Reason)
		}
		f.clock.add(15 * time.Second)
		f.Sight(boot.Sighting{MAC: c.mac, GUID: c.guid})
		f.want(f.Decide(c.asks(loader)), boot.ActionLocal, boot.ReasonLoopBreaker)
		if a := f.machine(id).Assignment; a.State != boot.AssignStopped {
			t.Errorf("%s: %+v", loader, a)
		}
	}
}

// TestSplitDisarms: nobody knows which of the two the operator meant.
func TestSplitDisarms(t *testing.T) {
	for _, tt := range []struct {
		profile string
		mode    boot.AssignMode
		started bool
		want    boot.AssignState
		split   boot.AssignState
	}{
		{"install", boot.AssignArmed, false, boot.AssignDisarmed, boot.AssignDisarmed},
		{"install", boot.AssignArmed, true, boot.AssignDisarmed, boot.AssignDisarmed},
		{"rescue", boot.AssignOnce, false, boot.AssignDisarmed, boot.AssignDisarmed},
		{"rescue", boot.AssignOnce, true, boot.AssignDone, ""},
		{"rescue", boot.AssignAlways, false, boot.AssignWaiting, ""},
	} {
		f := newFixture(t)
		f.catalog()
		c, dock := machine(1), machine(2)
		id := f.id(c, "web1")
		f.put(kindMachines, string(id), `{"name":"web1","macs":[{"mac":"`+string(c.mac)+`"},{"mac":"`+string(dock.mac)+`"}]}`)
		f.assign(id, tt.profile, tt.mode)
		if tt.started {
			f.start(c)
		}
		made, err := f.Split(id, []boot.MAC{c.mac}, true)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range []*fixture{f, f.again()} {
			if a := r.machine(id).Assignment; a == nil || a.State != tt.want {
				t.Errorf("%+v: the rest has %+v", tt, a)
			}
			switch a := r.machine(made).Assignment; {
			case tt.split == "" && a != nil, tt.split != "" && (a == nil || a.State != tt.split):
				t.Errorf("%+v: what was split off has %+v", tt, a)
			}
		}
		if told := f.sink.has(boot.KindOperator, boot.ReasonNone, "disarmed"); told != (tt.want == boot.AssignDisarmed) {
			t.Errorf("%+v: told %v", tt, told)
		}
		if tt.want == boot.AssignDisarmed {
			rest := boot.Sighting{MAC: dock.mac}
			if p := f.Decide(Ask{Sighting: rest, Proof: boot.ProofSeen, From: dock.addr, Base: base}); p.Choice.Action != boot.ActionLocal || p.Choice.Reason != boot.ReasonDisarmed {
				t.Errorf("%+v: the rest gets %s, %s", tt, p.Choice.Action, p.Choice.Reason)
			}
		}
	}
}

// loaders puts targets that iPXE only leads to.
func (f *fixture) loaders() {
	f.t.Helper()
	f.catalog()
	for _, loader := range []string{LoaderPXELinux, LoaderGRUB} {
		f.put(kindTargets, loader, `{"kind":"`+loader+`","program":"files/boot","script":"# {{answer \"preseed.cfg\"}} {{callback \"done\"}}"}`)
		f.put(kindTargets, loader+"-wipe", `{"kind":"`+loader+`","program":"files/boot","script":"# {{answer \"preseed.cfg\"}} {{callback \"done\"}}","destructive":true}`)
		for _, name := range []string{loader, loader + "-wipe"} {
			f.put(kindProfiles, name, `{"target":"`+name+`","title":"`+name+`","answers":{"preseed.cfg":"preseed"}}`)
		}
	}
}

// TestLeadsToLoader: the configuration that pxelinux or GRUB asks for when iPXE
// has started it is the plan that iPXE was given.
func TestLeadsToLoader(t *testing.T) {
	for _, loader := range []string{LoaderPXELinux, LoaderGRUB} {
		other := LoaderGRUB
		if loader == other {
			other = LoaderPXELinux
		}
		for _, by := range []string{"armed", "once", "menu", "code", "locked"} {
			f := newFixture(t)
			f.loaders()
			c := machine(1)
			id := f.id(c, "web1")
			var plan boot.Plan
			pick := func(title, code string) boot.Plan {
				p := f.Decide(c.ask())
				n := slices.IndexFunc(p.Menu, func(e boot.PlanEntry) bool { return e.Title == title })
				if code == "" {
					code = p.Code
				}
				plan, reason := f.Pick(p.Token, n, code, c.later())
				if reason != boot.ReasonNone {
					t.Fatal(by, reason)
				}
				return plan
			}
			switch by {
			case "armed":
				f.assign(id, loader+"-wipe", boot.AssignArmed)
				plan = f.start(c)
			case "once":
				f.assign(id, loader, boot.AssignOnce)
				plan = f.start(c)
			case "menu":
				plan = pick(loader, "")
			case "code":
				plan = pick(loader+"-wipe", "")
			case "locked":
				f.put(kindTargets, "menu", `{"kind":"menu","menu":{"entries":[{"profile":"`+loader+`","title":"Behind","locked":true}]}}`)
				f.put(kindProfiles, "menu", `{"target":"menu"}`)
				f.put(kindSite, kindSite, `{"unknown":"allow","default":"menu"}`)
				asks := pick("Behind", "")
				if err := f.Approve(asks.Code, true, false); err != nil {
					t.Fatal(err)
				}
				var reason boot.Reason
				if plan, _, reason = f.Wait(asks.Token, c.later()); reason != boot.ReasonNone {
					t.Fatal(reason)
				}
			}
			if plan.AnswerToken == "" || plan.CallbackToken == "" {
				t.Fatalf("%s %s: %+v", loader, by, plan)
			}
			same := func(what string, p boot.Plan, want bool) {
				t.Helper()
				if got := p.Choice.Action == boot.ActionBoot && p.CallbackToken == plan.CallbackToken && p.AnswerToken == plan.AnswerToken &&
					p.Target.Script == plan.Target.Script; got != want {
					t.Errorf("%s %s: %s: %s, %s", loader, by, what, p.Choice.Action, p.Choice.Reason)
				}
			}
			f.clock.add(4 * time.Minute) // a big program over a slow line
			byAddress := c.asks(loader)
			byAddress.Sighting.GUID = boot.GUID{}
			unproven := byAddress
			unproven.Proof = boot.ProofNone
			elsewhere := c.asks(loader)
			elsewhere.From = netip.MustParseAddr("192.0.2.200")
			machine2 := c.asks(loader)
			machine2.Sighting.MAC, machine2.Sighting.GUID = machine(2).mac, boot.GUID{}
			same("somebody who is not known to be it", f.Decide(unproven), false)
			same("another machine at its address", f.Decide(machine2), false)
			if by != "armed" && by != "once" {
				// These would stop the installation of an armed machine, rightly.
				same("another address", f.Decide(elsewhere), false)
				same("another loader", f.Decide(c.asks(other)), false)
			}
			same("by identifier", f.Decide(c.asks(loader)), true)
			f.clock.add(Retry / 2)
			same("by address", f.Decide(byAddress), true)
			if by == "armed" || by == "once" {
				if a := f.db.machine(t, id).Assignment; a.Used != 1 {
					t.Errorf("%s %s: counted %+v", loader, by, a)
				}
			}
			if _, _, reason := f.Answer(plan.AnswerToken, "preseed.cfg", c.later()); reason != boot.ReasonNone {
				t.Errorf("%s %s: answer: %s", loader, by, reason)
			}
			f.clock.add(Retry / 2)
			late := f.Decide(c.asks(loader))
			same("too late", late, false)
			if by == "armed" {
				f.want(late, boot.ActionLocal, boot.ReasonLoopBreaker)
			}
		}
	}
}

// TestLeadsToLoaderEnds: what iPXE was led to ends with its time, with the next
// boot and with the operator's word.
func TestLeadsToLoaderEnds(t *testing.T) {
	c := machine(1)
	for name, end := range map[string]func(f *fixture, id boot.MachineID, p boot.Plan){
		"time": func(f *fixture, _ boot.MachineID, _ boot.Plan) { f.clock.add(leadTime) },
		"next": func(f *fixture, _ boot.MachineID, _ boot.Plan) {
			f.want(f.Decide(c.ask()), boot.ActionLocal, boot.ReasonLoopBreaker)
		},
		"reboot": func(f *fixture, _ boot.MachineID, p boot.Plan) {
			if again := f.Decide(c.asks(LoaderGRUB)); again.CallbackToken != p.CallbackToken {
				f.t.Errorf("%+v", again.Choice)
			}
			f.clock.add(20 * time.Second)
			f.Sight(boot.Sighting{MAC: c.mac, GUID: c.guid})
		},
		"stopped": func(f *fixture, _ boot.MachineID, _ boot.Plan) {
			f.want(f.Decide(c.asks(LoaderPXELinux)), boot.ActionLocal, boot.ReasonLoopBreaker)
		},
		"done": func(f *fixture, _ boot.MachineID, p boot.Plan) {
			f.Callback(p.CallbackToken, boot.CallbackDone, "", c.later())
		},
		"disarmed": func(f *fixture, id boot.MachineID, _ boot.Plan) { _ = f.Unassign(id, MatchAny) },
		"denied":   func(f *fixture, id boot.MachineID, _ boot.Plan) { f.put(kindMachines, string(id), `{"access":"deny"}`) },
		"deleted":  func(f *fixture, id boot.MachineID, _ boot.Plan) { _ = f.Delete(kindMachines, string(id), MatchAny) },
	} {
		f := newFixture(t)
		f.loaders()
		id := f.id(c, "web1")
		f.assign(id, "grub-wipe", boot.AssignArmed)
		p := f.start(c)
		end(f, id, p)
		if again := f.Decide(c.asks(LoaderGRUB)); again.CallbackToken != "" || again.Choice.Action == boot.ActionBoot {
			t.Errorf("%s: %+v", name, again.Choice)
		}
	}
	f := newFixture(t)
	f.loaders()
	pick := func(c client) boot.Plan {
		p := f.Decide(c.ask())
		n := slices.IndexFunc(p.Menu, func(e boot.PlanEntry) bool { return e.Title == "grub" })
		plan, reason := f.Pick(p.Token, n, "", c.later())
		if reason != boot.ReasonNone {
			t.Fatal(reason)
		}
		return plan
	}
	pick(c)
	f.want(f.Decide(c.ask()), boot.ActionMenu, boot.ReasonNone) // it was started anew
	f.want(f.Decide(c.asks(LoaderGRUB)), boot.ActionMenu, boot.ReasonNone)
	for i := range maxLed + 20 {
		pick(machine(i))
		if i == 0 {
			id := f.id(machine(9999), "web1")
			f.assign(id, "grub-wipe", boot.AssignArmed)
			f.start(machine(9999))
		}
	}
	if len(f.led) != maxLed {
		t.Errorf("%d plans are kept", len(f.led))
	}
	f.want(f.Decide(machine(9999).asks(LoaderGRUB)), boot.ActionBoot, boot.ReasonNone)
	f.clock.add(leadTime + Retry)
	f.sweep()
	if len(f.led) != 0 {
		t.Errorf("%d plans are left", len(f.led))
	}
}

// TestClaimsEvictNothing: whoever claims to be a machine cannot push out what
// was handed to it.
func TestClaimsEvictNothing(t *testing.T) {
	victim, thief := machine(1), machine(2)
	for name, a := range map[string]Ask{
		"unproven": {Sighting: victim.sighting(), Proof: boot.ProofNone},
		"against":  {Sighting: victim.sighting(), Proof: boot.ProofAgainst},
		"new card": {Sighting: boot.Sighting{MAC: thief.mac, GUID: victim.guid, Serial: victim.serial, Manufacturer: "ACME"}, Proof: boot.ProofSeen},
	} {
		a.From, a.Base, a.Loader = thief.addr, base, LoaderIPXE
		f := newFixture(t)
		f.catalog()
		f.put(kindTargets, "live", `{"kind":"linux","kernel":"files/live","cmdline":"cb={{callback \"done\"}}"}`)
		f.put(kindProfiles, "live", `{"target":"live","title":"Live"}`)
		id := f.id(victim, "victim")
		f.assign(id, "install", boot.AssignArmed)
		picked := 0
		claim := func() {
			for range perMachine + perMachineRun + 2 {
				p := f.Decide(a)
				n := slices.IndexFunc(p.Menu, func(e boot.PlanEntry) bool { return e.Title == "Live" })
				later := a
				later.Sighting = boot.Sighting{MAC: a.Sighting.MAC}
				if got, _ := f.Pick(p.Token, n, "", later); got.CallbackToken != "" {
					picked++
				}
			}
		}
		offer := f.Decide(victim.ask())
		claim()
		plan, reason := f.Start(offer.Token, victim.later())
		if reason != boot.ReasonNone {
			t.Errorf("%s: the start token: %s", name, reason)
			continue
		}
		claim()
		if _, _, reason := f.Answer(plan.AnswerToken, "preseed.cfg", victim.later()); reason != boot.ReasonNone {
			t.Errorf("%s: the answer token: %s", name, reason)
		}
		if err := f.Flush(); err != nil {
			t.Fatal(err)
		}
		if g := f.again(); len(g.tokens.attempts) != len(f.tokens.attempts) {
			t.Errorf("%s: %d attempts after a restart, %d before", name, len(g.tokens.attempts), len(f.tokens.attempts))
		}
		if reason := f.Callback(plan.CallbackToken, boot.CallbackDone, "", victim.later()); reason != boot.ReasonNone {
			t.Errorf("%s: the callback token: %s", name, reason)
		}
		if (picked > 0) != (name != "against") {
			t.Errorf("%s: %d picked: the test looks at nothing", name, picked)
		}
		if n := len(f.tokens.attempts); n > 1+perAddrRun {
			t.Errorf("%s: %d attempts", name, n)
		}
	}
}

// TestOwnBootsEvictNothing: nor does what the machine itself picks from a menu
// end the installation that runs on it.
func TestOwnBootsEvictNothing(t *testing.T) {
	f := newFixture(t)
	f.catalog()
	f.put(kindTargets, "live", `{"kind":"linux","kernel":"files/live","cmdline":"cb={{callback \"done\"}}"}`)
	f.put(kindProfiles, "live", `{"target":"live","title":"Live"}`)
	c := machine(1)
	id := f.id(c, "web1")
	menu := f.Decide(c.ask())
	f.assign(id, "install", boot.AssignArmed)
	plan := f.start(c)
	n := slices.IndexFunc(menu.Menu, func(e boot.PlanEntry) bool { return e.Title == "Live" })
	for range perMachineRun + 2 {
		if got, reason := f.Pick(menu.Token, n, "", c.later()); got.CallbackToken == "" {
			t.Fatal(reason)
		}
	}
	if reason := f.Callback(plan.CallbackToken, boot.CallbackDone, "", c.later()); reason != boot.ReasonNone {
		t.Error(reason)
	}
	if len(f.tokens.byRun[id]) != 1+perMachineRun {
		t.Errorf("%d attempts", len(f.tokens.byRun[id]))
	}
}

// TestAttemptsAreBounded: those of assignments stay when the others make room.
func TestAttemptsAreBounded(t *testing.T) {
	f := newFixture(t)
	f.catalog()
	c := machine(1)
	f.assign(f.id(c, "web1"), "install", boot.AssignArmed)
	plan := f.start(c)
	f.mu.Lock()
	for i := range maxAttempts + 50 {
		f.tokens.begin(&attempt{ID: f.newToken(), Machine: boot.MachineID(machine(i).mac), Callback: f.newToken(), Created: f.clock.Now()})
	}
	n, gone := f.tokens.runs.Len(), len(f.tokens.attempts) != f.tokens.runs.Len() || len(f.tokens.callbacks) != f.tokens.runs.Len()
	f.mu.Unlock()
	if n != maxAttempts || gone {
		t.Errorf("%d attempts", n)
	}
	if reason := f.Callback(plan.CallbackToken, boot.CallbackDone, "", c.later()); reason != boot.ReasonNone {
		t.Errorf("the machine's own: %s", reason)
	}
}

// TestRequestsPerSender: one sender under many names leaves room for the others.
func TestRequestsPerSender(t *testing.T) {
	f := newFixture(t)
	f.catalog()
	f.put(kindSite, kindSite, `{"unknown":"ask"}`)
	from := netip.MustParseAddr("192.0.2.250")
	for i := range 300 {
		a := machine(1000 + i).ask()
		a.From, a.Proof = from, boot.ProofNone
		p := f.Decide(a)
		if i < maxWaiting {
			f.want(p, boot.ActionAsk, boot.ReasonUnknownAsks)
		} else {
			f.want(p, boot.ActionLocal, boot.ReasonTooManyRequests)
		}
	}
	a := machine(1).ask()
	a.Proof = boot.ProofAgainst
	f.want(f.Decide(a), boot.ActionLocal, boot.ReasonIdentityAgainst)
	if n := len(f.Requests()); n != maxWaiting {
		t.Errorf("%d requests", n)
	}
	f.want(f.Decide(machine(2).ask()), boot.ActionAsk, boot.ReasonUnknownAsks)
	f.clock.add(RequestTime)
	again := machine(2000).ask()
	again.From, again.Proof = from, boot.ProofNone
	f.want(f.Decide(again), boot.ActionAsk, boot.ReasonUnknownAsks)
}

// TestShutdownDoesNotWait: a medium that hangs does not hold up the end.
func TestShutdownDoesNotWait(t *testing.T) {
	for _, during := range []string{"flush", "nothing", "close", "close while it writes"} {
		synctest.Test(t, func(t *testing.T) {
			f := newFixture(t, func(c *Config) { c.Now = time.Now })
			f.id(machine(1), "")
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			release := f.db.block()
			defer func() {
				release()
				synctest.Wait()
			}()
			if during == "close while it writes" {
				go func() { _ = f.Flush() }()
				<-f.db.held
			}
			if strings.HasPrefix(during, "close") {
				began := time.Now()
				if err := f.Close(); !errors.Is(err, errTimeout) {
					t.Errorf("close: %v", err)
				}
				if d := time.Since(began); d > 2*time.Second {
					t.Errorf("close took %s", d)
				}
				return
			}
			done := make(chan error)
			go func() { done <- f.Run(ctx) }()
			if during == "flush" {
				<-f.db.held
			} else {
				synctest.Wait()
			}
			began := time.Now()
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
			if d := time.Since(began); d > 2*time.Second {
				t.Errorf("during %s: the end took %s", during, d)
			}
		})
	}
}

// TestSetDBAgain: a task that starts anew after a fault loads what is in memory
// already.
func TestSetDBAgain(t *testing.T) {
	f := newFixture(t)
	f.catalog()
	c, stranger, gone := machine(1), machine(2), machine(3)
	id := f.id(c, "web1")
	f.assign(id, "install", boot.AssignArmed)
	p := f.start(c)
	other := f.id(stranger, "")
	dropped := f.id(gone, "")
	if err := f.Flush(); err != nil {
		t.Fatal(err)
	}
	boots := f.machine(other).Boots
	if _, _, reason := f.Answer(p.AnswerToken, "preseed.cfg", c.later()); reason != boot.ReasonNone {
		t.Fatal(reason)
	}
	f.mu.Lock()
	f.drop(dropped) // not written yet
	f.mu.Unlock()
	for range 3 {
		if err := f.SetDB(f.db); err != nil {
			t.Fatal(err)
		}
	}
	if n, m := len(f.tokens.byRun[id]), f.tokens.runs.Len(); n != 1 || m != 1 || len(f.tokens.attempts) != 1 {
		t.Errorf("%d and %d attempts of one boot", n, m)
	}
	for _, run := range f.tokens.attempts {
		if run.Reads != 1 {
			t.Errorf("read %d times", run.Reads)
		}
	}
	if m := f.machine(other); m.Boots != boots {
		t.Errorf("%d boots, were %d", m.Boots, boots)
	}
	if _, ok := f.Get(kindMachines, string(dropped)); ok {
		t.Error("a machine that was forgotten is back")
	}
	if reason := f.Callback(p.CallbackToken, boot.CallbackDone, "", c.later()); reason != boot.ReasonNone {
		t.Error(reason)
	}
	if err := f.Flush(); err != nil {
		t.Fatal(err)
	}
	g := f.again()
	if a := g.machine(id).Assignment; a.State != boot.AssignDone || len(g.tokens.attempts) != 1 {
		t.Errorf("%+v", a)
	}
	if _, ok := g.Get(kindMachines, string(dropped)); ok {
		t.Error("a machine that was forgotten is back after a restart")
	}
}

// TestShutdownWritesOnceMore: what was being written when the end came, and
// failed, is written after all when there is time.
func TestShutdownWritesOnceMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, func(c *Config) { c.Now = time.Now })
		id := f.id(machine(1), "")
		f.db.fail = errors.New("a bad moment")
		release := f.db.block()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- f.Run(ctx) }()
		<-f.db.held
		f.db.mu.Lock()
		f.db.fail = nil
		f.db.mu.Unlock()
		cancel()
		synctest.Wait() // the end waits for the write that is under way
		release()
		if err := <-done; err != nil {
			t.Error(err)
		}
		f.db.machine(t, id)
	})
}

// TestOneAddressManyIdentifiers: a sender that invents identifiers under one
// hardware address makes no more records than a dock has machines.
func TestOneAddressManyIdentifiers(t *testing.T) {
	f := newFixture(t)
	for i := range 500 {
		s := boot.Sighting{MAC: "02:00:00:00:00:99", Time: f.now()}
		s.GUID = boot.GUID{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, byte(i >> 8), byte(i)}
		f.Sight(s)
	}
	if n := len(f.table.ByMAC("02:00:00:00:00:99")); n != maxSameMAC {
		t.Errorf("%d records", n)
	}
}
