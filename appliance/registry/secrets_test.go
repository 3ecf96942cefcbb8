package registry

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// TestOtherMachinesAnswer: a machine reads only what was rendered for it.
func TestOtherMachinesAnswer(t *testing.T) {
	f := newFixture(t)
	f.catalog()
	victim, thief := machine(1), machine(2)
	f.assign(f.id(victim, "victim"), "install", boot.AssignArmed)
	f.id(thief, "thief")

	t.Run("spoofed query", func(t *testing.T) {
		for name, a := range map[string]Ask{
			"address is the thief's":                     {Sighting: victim.sighting(), Proof: boot.ProofAgainst, From: thief.addr},
			"address is nobody's":                        {Sighting: victim.sighting(), Proof: boot.ProofNone, From: thief.addr},
			"behind a router":                            {Sighting: victim.sighting(), Proof: boot.ProofNone, Routed: true, From: thief.addr},
			"identifier with own MAC":                    {Sighting: boot.Sighting{MAC: thief.mac, GUID: victim.guid, Serial: victim.serial}, Proof: boot.ProofSeen, From: thief.addr},
			"serial with own MAC":                        {Sighting: boot.Sighting{MAC: thief.mac, Serial: victim.serial, Manufacturer: "ACME"}, Proof: boot.ProofSeen, From: thief.addr},
			"MAC alone, of a machine with an identifier": {Sighting: boot.Sighting{MAC: victim.mac}, Proof: boot.ProofAgainst, From: thief.addr},
		} {
			a.Base = base
			p := f.Decide(a)
			if p.Choice.Action == boot.ActionArmed || p.AnswerToken != "" || p.CallbackToken != "" || p.Choice.Profile == "install" {
				t.Errorf("%s: got %s, profile %q", name, p.Choice.Action, p.Choice.Profile)
			}
			if p.Choice.Reason == boot.ReasonNone && p.Choice.Machine == f.Decide(victim.ask()).Choice.Machine {
				t.Errorf("%s: taken for the victim without a reason", name)
			}
		}
	})

	plan := f.start(victim)
	if !strings.Contains(plan.Target.Cmdline, "/a/"+plan.AnswerToken+"/preseed.cfg") {
		t.Fatalf("command line %q", plan.Target.Cmdline)
	}
	text, kind, reason := f.Answer(plan.AnswerToken, "preseed.cfg", victim.later())
	if reason != boot.ReasonNone || !strings.Contains(string(text), "of victim") || !strings.HasPrefix(kind, "text/plain") {
		t.Fatalf("%q, %s, %s", text, kind, reason)
	}

	t.Run("guessed name", func(t *testing.T) {
		for _, name := range []string{"", "preseed", "../preseed.cfg", "preseed.cfg/", "user-data", "PRESEED.CFG", "preseed.cfg\x00"} {
			if text, _, reason := f.Answer(plan.AnswerToken, name, victim.later()); reason != boot.ReasonNotFound || text != nil {
				t.Errorf("%q: %q, %s", name, text, reason)
			}
		}
	})
	t.Run("guessed token", func(t *testing.T) {
		for _, token := range []string{"", "preview", plan.CallbackToken, plan.Token, strings.ToUpper(plan.AnswerToken), plan.AnswerToken + "a", plan.AnswerToken[:25]} {
			if text, _, reason := f.Answer(token, "preseed.cfg", victim.later()); reason != boot.ReasonToken || text != nil {
				t.Errorf("%q: %q, %s", token, text, reason)
			}
		}
	})
	t.Run("stolen token", func(t *testing.T) {
		if _, _, reason := f.Answer(plan.AnswerToken, "preseed.cfg", thief.later()); reason != boot.ReasonIdentityAgainst {
			t.Errorf("another machine read it: %s", reason)
		}
		if reason := f.Callback(plan.CallbackToken, boot.CallbackDone, "", thief.later()); reason != boot.ReasonIdentityAgainst {
			t.Errorf("another machine reported: %s", reason)
		}
	})
	t.Run("other network card of the same machine", func(t *testing.T) {
		a := Ask{Sighting: boot.Sighting{MAC: "52:54:00:99:99:99"}, Proof: boot.ProofSeen, Base: base, From: netip.MustParseAddr("192.0.2.77")}
		if _, _, reason := f.Answer(plan.AnswerToken, "preseed.cfg", a); reason != boot.ReasonNone {
			t.Errorf("an installer on the second card: %s", reason)
		}
	})
	t.Run("old token", func(t *testing.T) {
		if reason := f.Callback(plan.CallbackToken, boot.CallbackDone, "", victim.later()); reason != boot.ReasonNone {
			t.Fatal(reason)
		}
		if text, _, reason := f.Answer(plan.AnswerToken, "preseed.cfg", victim.later()); reason != boot.ReasonToken || text != nil {
			t.Errorf("after done: %q, %s", text, reason)
		}
	})
}

// TestAnswerEnds: an answer token ends by time, by reads, and with its
// assignment.
func TestAnswerEnds(t *testing.T) {
	c := machine(1)
	for name, end := range map[string]func(f *fixture, id boot.MachineID, p boot.Plan){
		"time": func(f *fixture, _ boot.MachineID, _ boot.Plan) { f.clock.add(answerTime) },
		"failed": func(f *fixture, _ boot.MachineID, p boot.Plan) {
			f.Callback(p.CallbackToken, boot.CallbackFailed, "", c.later())
		},
		"disarmed":  func(f *fixture, id boot.MachineID, _ boot.Plan) { _ = f.Unassign(id, MatchAny) },
		"new one":   func(f *fixture, id boot.MachineID, _ boot.Plan) { f.assign(id, "rescue", boot.AssignAlways) },
		"deleted":   func(f *fixture, id boot.MachineID, _ boot.Plan) { _ = f.Delete(kindMachines, string(id), MatchAny) },
		"loop":      func(f *fixture, _ boot.MachineID, _ boot.Plan) { f.Decide(c.ask()) },
		"reads":     func(f *fixture, _ boot.MachineID, p boot.Plan) { readAll(f, c, p) },
		"forgotten": func(f *fixture, _ boot.MachineID, _ boot.Plan) { f.clock.add(callbackTime); f.sweep() },
	} {
		f := newFixture(t)
		f.catalog()
		id := f.id(c, "web1")
		f.assign(id, "install", boot.AssignArmed)
		p := f.start(c)
		if _, _, reason := f.Answer(p.AnswerToken, "preseed.cfg", c.later()); reason != boot.ReasonNone {
			t.Fatal(reason)
		}
		end(f, id, p)
		want := boot.ReasonToken
		if name == "reads" {
			want = boot.ReasonTokenUsed
		}
		if text, _, reason := f.Answer(p.AnswerToken, "preseed.cfg", c.later()); reason != want || text != nil {
			t.Errorf("%s: %q, %s", name, text, reason)
		}
	}
}

func readAll(f *fixture, c client, p boot.Plan) {
	for range maxReads - 1 {
		if _, _, reason := f.Answer(p.AnswerToken, "preseed.cfg", c.later()); reason != boot.ReasonNone {
			f.t.Fatal(reason)
		}
	}
}

// TestSpoofedUUID: whoever claims another machine's identifier changes nothing
// that is stored about it, uses nothing up and stops nothing, however often.
func TestSpoofedUUID(t *testing.T) {
	f := newFixture(t)
	f.catalog()
	victim, thief := machine(1), machine(2)
	id := f.id(victim, "victim")
	f.assign(id, "install", boot.AssignArmed)
	before := f.machine(id)
	claims := []Ask{
		{Sighting: boot.Sighting{MAC: thief.mac, GUID: victim.guid}, Proof: boot.ProofSeen},
		{Sighting: boot.Sighting{MAC: thief.mac, GUID: victim.guid, Serial: victim.serial, Manufacturer: "ACME"}, Proof: boot.ProofSeen},
		{Sighting: boot.Sighting{MAC: thief.mac, GUID: victim.guid.Swapped()}, Proof: boot.ProofSeen},
		{Sighting: boot.Sighting{MAC: thief.mac, GUID: victim.guid, Serial: "STOLEN42"}, Proof: boot.ProofSeen},
		{Sighting: boot.Sighting{MAC: victim.mac, GUID: thief.guid, Serial: thief.serial}, Proof: boot.ProofAgainst},
		{Sighting: victim.sighting(), Proof: boot.ProofAgainst},
	}
	for range 3 {
		for i, a := range claims {
			a.From, a.Base = thief.addr, base
			for _, loader := range []string{LoaderIPXE, LoaderPXELinux, LoaderGRUB} {
				a.Loader = loader
				if p := f.Decide(a); p.Choice.Profile == "install" || p.AnswerToken != "" {
					t.Fatalf("claim %d by %s: got %s %s", i, loader, p.Choice.Action, p.Choice.Profile)
				}
			}
			f.Sight(a.Sighting)
		}
	}
	after := f.machine(id)
	if after.GUID != before.GUID || after.Serial != before.Serial || len(after.MACs) != 1 || after.MACs[0].MAC != victim.mac {
		t.Errorf("identity changed: %+v", after)
	}
	if *after.Assignment != *before.Assignment {
		t.Errorf("assignment changed: %+v", after.Assignment)
	}
	if p := f.Decide(victim.asks(LoaderPXELinux)); p.Choice.Confidence != boot.ConfidenceGood {
		t.Errorf("by its identifier alone the victim is known with confidence %s", p.Choice.Confidence)
	}
	f.assign(id, "install", boot.AssignArmed)
	f.start(victim) // the victim still gets it
	// And while it runs, a claim does not stop it.
	for i, a := range claims {
		a.From, a.Base = thief.addr, base
		if p := f.Decide(a); p.Choice.Reason == boot.ReasonLoopBreaker {
			t.Errorf("claim %d is told of the victim's installation", i)
		}
	}
	if a := f.machine(id).Assignment; a.State != boot.AssignRunning {
		t.Errorf("the installation was stopped: %+v", a)
	}
}

// TestLoopBreaker: a destructive target is not started twice without done.
func TestLoopBreaker(t *testing.T) {
	f := newFixture(t)
	f.catalog()
	c := machine(1)
	id := f.id(c, "web1")
	f.assign(id, "install", boot.AssignArmed)
	first := f.Decide(c.ask())
	second := f.Decide(c.ask()) // before it was started, asking again is no loop
	if _, reason := f.Start(first.Token, c.later()); reason != boot.ReasonNone {
		t.Fatal(reason)
	}
	f.clock.add(time.Minute)
	if _, reason := f.Start(second.Token, c.later()); reason != boot.ReasonLoopBreaker {
		t.Errorf("the other token: %s", reason)
	}
	p := f.Decide(c.ask())
	f.want(p, boot.ActionLocal, boot.ReasonLoopBreaker)
	if p.Note == "" || p.Choice.Source != boot.SourceSafety {
		t.Errorf("plan %+v", p)
	}
	if a := f.machine(id).Assignment; a.State != boot.AssignStopped {
		t.Errorf("state %s", a.State)
	}
	if !f.sink.has(boot.KindDecision, boot.ReasonLoopBreaker, "web1") {
		t.Error("no event")
	}
	if err := f.Flush(); err != nil {
		t.Fatal(err)
	}
	g := f.again()
	g.want(g.Decide(c.ask()), boot.ActionLocal, boot.ReasonLoopBreaker)
	g.assign(id, "install", boot.AssignArmed)
	g.start(c)
}

// TestArmedToDone: from arming to the machine's own disk.
func TestArmedToDone(t *testing.T) {
	f := newFixture(t)
	f.catalog()
	c := machine(1)
	id := f.id(c, "web1")
	a := f.assign(id, "install", boot.AssignArmed)
	offer := f.Decide(c.ask())
	f.want(offer, boot.ActionArmed, boot.ReasonNone)
	if offer.Code != a.Code || a.Code == "" || offer.Target.Cmdline != "" || offer.AnswerToken != "" {
		t.Errorf("the offer says %+v", offer)
	}
	p, reason := f.Start(offer.Token, c.later())
	if reason != boot.ReasonNone || p.Choice.Action != boot.ActionBoot || p.Target.Kernel != "files/linux" {
		t.Fatalf("%s %+v", reason, p)
	}
	if got := f.db.machine(t, id).Assignment; got == nil || got.State != boot.AssignRunning || got.Used != 1 {
		t.Errorf("in the store when it was handed out: %+v", got)
	}
	if tokenOf(t, p.Target.Cmdline, "cb="+base+"/cb/") != p.CallbackToken {
		t.Errorf("callback token %q is not in %q", p.CallbackToken, p.Target.Cmdline)
	}
	for _, cb := range []boot.Callback{boot.CallbackStarted, boot.CallbackProgress, boot.CallbackLog} {
		if reason := f.Callback(p.CallbackToken, cb, "half \x1b[31mway\nthere", c.later()); reason != boot.ReasonNone {
			t.Errorf("%s: %s", cb, reason)
		}
	}
	if got := f.machine(id).Assignment; got.State != boot.AssignRunning || !strings.Contains(got.Progress, "there") || strings.ContainsAny(got.Progress, "\x1b\n") {
		t.Errorf("progress: %+v", got)
	}
	if !f.sink.has(boot.KindCallback, boot.ReasonNone, "way there") {
		t.Error("no event")
	}
	if reason := f.Callback(p.CallbackToken, "nonsense", "", c.later()); reason != boot.ReasonParameter {
		t.Errorf("nonsense: %s", reason)
	}
	if reason := f.Callback(p.CallbackToken, boot.CallbackDone, "", c.later()); reason != boot.ReasonNone {
		t.Fatal(reason)
	}
	if got := f.db.machine(t, id).Assignment; got.State != boot.AssignDone {
		t.Errorf("in the store when done was acknowledged: %+v", got)
	}
	if reason := f.Callback(p.CallbackToken, boot.CallbackDone, "", c.later()); reason != boot.ReasonNone {
		t.Errorf("done again: %s", reason)
	}
	for _, cb := range []boot.Callback{boot.CallbackFailed, boot.CallbackProgress, boot.CallbackStarted} {
		if reason := f.Callback(p.CallbackToken, cb, "", c.later()); reason != boot.ReasonTokenUsed {
			t.Errorf("%s after done: %s", cb, reason)
		}
	}
	f.want(f.Decide(c.ask()), boot.ActionLocal, boot.ReasonNone)
	if _, reason := f.Start(offer.Token, c.later()); reason != boot.ReasonNone {
		t.Errorf("within %s the same answer: %s", Retry, reason)
	}
	f.clock.add(Retry)
	if _, reason := f.Start(offer.Token, c.later()); reason != boot.ReasonTokenUsed {
		t.Errorf("later: %s", reason)
	}
}

// TestFailed: an installer that failed leaves the machine to its disk.
func TestFailed(t *testing.T) {
	f := newFixture(t)
	f.catalog()
	c := machine(1)
	id := f.id(c, "web1")
	f.assign(id, "install", boot.AssignArmed)
	p := f.start(c)
	if reason := f.Callback(p.CallbackToken, boot.CallbackFailed, "no disk", c.later()); reason != boot.ReasonNone {
		t.Fatal(reason)
	}
	f.want(f.Decide(c.ask()), boot.ActionLocal, boot.ReasonAssignFailed)
	if !f.sink.has(boot.KindCallback, boot.ReasonAssignFailed, "no disk") {
		t.Error("no event")
	}
}

// TestTokenReplay: tokens are good for one thing, from one address, for a time.
func TestTokenReplay(t *testing.T) {
	f := newFixture(t)
	f.catalog()
	c, other := machine(1), machine(2)
	id := f.id(c, "web1")
	f.assign(id, "install", boot.AssignArmed)
	offer := f.Decide(c.ask())
	menu := f.Decide(other.ask())
	if menu.Token == "" || menu.Choice.Action != boot.ActionMenu {
		t.Fatalf("%+v", menu)
	}
	t.Run("other purpose", func(t *testing.T) {
		if _, reason := f.Pick(offer.Token, 0, "", c.later()); reason != boot.ReasonToken {
			t.Error(reason)
		}
		if _, _, reason := f.Wait(offer.Token, c.later()); reason != boot.ReasonToken {
			t.Error(reason)
		}
		if _, reason := f.Start(menu.Token, other.later()); reason != boot.ReasonToken {
			t.Error(reason)
		}
		if reason := f.Callback(offer.Token, boot.CallbackDone, "", c.later()); reason != boot.ReasonToken {
			t.Error(reason)
		}
	})
	t.Run("other address", func(t *testing.T) {
		if _, reason := f.Start(offer.Token, other.later()); reason != boot.ReasonIdentityAgainst {
			t.Error(reason)
		}
		a := c.later()
		a.Sighting.MAC = other.mac // the address belongs to another machine now
		if _, reason := f.Start(offer.Token, a); reason != boot.ReasonIdentityAgainst {
			t.Error(reason)
		}
		a.Proof = boot.ProofAgainst
		if _, reason := f.Start(offer.Token, a); reason != boot.ReasonIdentityAgainst {
			t.Error(reason)
		}
	})
	t.Run("too late", func(t *testing.T) {
		late := f.Decide(c.ask())
		f.clock.add(startTime)
		if _, reason := f.Start(late.Token, c.later()); reason != boot.ReasonToken {
			t.Error(reason)
		}
	})
	t.Run("assigned anew", func(t *testing.T) {
		p := f.Decide(c.ask())
		f.clock.add(time.Second)
		f.assign(id, "install", boot.AssignArmed)
		if _, reason := f.Start(p.Token, c.later()); reason != boot.ReasonToken {
			t.Error(reason)
		}
	})
	t.Run("disarmed", func(t *testing.T) {
		p := f.Decide(c.ask())
		if err := f.Unassign(id, MatchAny); err != nil {
			t.Fatal(err)
		}
		if _, reason := f.Start(p.Token, c.later()); reason != boot.ReasonToken {
			t.Error(reason)
		}
		f.want(f.Decide(c.ask()), boot.ActionLocal, boot.ReasonDisarmed)
	})
	t.Run("retry", func(t *testing.T) {
		f.assign(id, "install", boot.AssignArmed)
		p := f.Decide(c.ask())
		first, reason := f.Start(p.Token, c.later())
		if reason != boot.ReasonNone {
			t.Fatal(reason)
		}
		f.clock.add(Retry - time.Second)
		again, reason := f.Start(p.Token, c.later())
		if reason != boot.ReasonNone || again.AnswerToken != first.AnswerToken {
			t.Errorf("%s, %q and %q", reason, first.AnswerToken, again.AnswerToken)
		}
		if a := f.machine(id).Assignment; a.Used != 1 || a.State != boot.AssignRunning {
			t.Errorf("a repeated request used up %+v", a)
		}
		f.clock.add(time.Second)
		if _, reason := f.Start(p.Token, c.later()); reason != boot.ReasonTokenUsed {
			t.Error(reason)
		}
	})
}
