package registry

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

func (c client) asks(loader string) Ask {
	a := c.ask()
	a.Loader = loader
	// pxelinux and GRUB tell nothing but their names.
	a.Sighting = boot.Sighting{MAC: c.mac, GUID: c.guid, Addr: c.addr}
	return a
}

// TestLoadersAskOnce: for pxelinux and GRUB a plan that counts is counted when
// they ask for their configuration; the same machine within half a minute gets
// the same again, for pxelinux asks under many names.
func TestLoadersAskOnce(t *testing.T) {
	for _, loader := range []string{LoaderPXELinux, LoaderGRUB} {
		f := newFixture(t)
		f.catalog()
		c := machine(1)
		id := f.id(c, "web1")
		f.assign(id, "install", boot.AssignArmed)
		p := f.Decide(c.asks(loader))
		f.want(p, boot.ActionBoot, boot.ReasonNone)
		if p.Target.Kernel != "files/linux" || p.AnswerToken == "" || p.Token != "" {
			t.Errorf("%s: %+v", loader, p)
		}
		if a := f.db.machine(t, id).Assignment; a.State != boot.AssignRunning || a.Used != 1 {
			t.Errorf("%s: the store says %+v", loader, a)
		}
		f.clock.add(Retry / 2)
		byMAC := c.asks(loader)
		byMAC.Sighting.GUID = boot.GUID{}
		if again := f.Decide(byMAC); again.AnswerToken != p.AnswerToken {
			t.Errorf("%s: asked by the next name: %s, %s", loader, again.Choice.Action, again.Choice.Reason)
		}
		unproven := byMAC
		unproven.Proof = boot.ProofNone
		if again := f.Decide(unproven); again.AnswerToken != "" {
			t.Errorf("%s: whoever has the address got it too", loader)
		}
		elsewhere := c.asks(loader)
		elsewhere.From = netip.MustParseAddr("192.0.2.200")
		if again := f.Decide(elsewhere); again.AnswerToken != "" {
			t.Errorf("%s: another address got it too", loader)
		}
		f.assign(id, "install", boot.AssignArmed)
		p = f.Decide(c.asks(loader))
		f.want(p, boot.ActionBoot, boot.ReasonNone)
		f.clock.add(Retry)
		f.want(f.Decide(c.asks(loader)), boot.ActionLocal, boot.ReasonLoopBreaker)
	}
}

// TestLoaderAsksByAddressAlone: what the DHCP exchange of the same boot said
// counts, and only that.
func TestLoaderAsksByAddressAlone(t *testing.T) {
	f := newFixture(t)
	f.catalog()
	c := machine(1)
	id := f.id(c, "web1")
	f.assign(id, "install", boot.AssignArmed)
	byMAC := c.asks(LoaderGRUB)
	byMAC.Sighting.GUID = boot.GUID{}
	f.want(f.Decide(byMAC), boot.ActionMenu, boot.ReasonIdentityDoubt)
	packet := boot.Sighting{MAC: c.mac, GUID: c.guid}
	f.Sight(packet)
	f.Sight(boot.Sighting{MAC: c.mac}) // another machine came with the same dock, and tells nothing
	f.want(f.Decide(byMAC), boot.ActionMenu, boot.ReasonIdentityDoubt)
	f.Sight(packet)
	f.clock.add(toldTime)
	f.want(f.Decide(byMAC), boot.ActionMenu, boot.ReasonIdentityDoubt)
	f.Sight(packet)
	f.want(f.Decide(byMAC), boot.ActionBoot, boot.ReasonNone)
}

// TestLoaderCannot: what a loader cannot boot is not counted.
func TestLoaderCannot(t *testing.T) {
	f := newFixture(t)
	f.catalog()
	f.put(kindTargets, "script", `{"kind":"script","script":"#!ipxe\nshell","destructive":true}`)
	f.put(kindTargets, "settings", `{"kind":"linux","kernel":"files/linux","cmdline":"mac=${mac}","destructive":true}`)
	f.put(kindProfiles, "script", `{"target":"script"}`)
	f.put(kindProfiles, "settings", `{"target":"settings"}`)
	c := machine(1)
	id := f.id(c, "web1")
	for _, profile := range []string{"script", "settings"} {
		f.assign(id, profile, boot.AssignArmed)
		f.want(f.Decide(c.asks(LoaderGRUB)), boot.ActionMenu, boot.ReasonNotBootableHere)
		// pxelinux hands over to iPXE, which starts it.
		f.want(f.Decide(c.asks(LoaderPXELinux)), boot.ActionArmed, boot.ReasonNone)
		if a := f.machine(id).Assignment; a.Used != 0 || a.State != boot.AssignWaiting {
			t.Errorf("%s: counted: %+v", profile, a)
		}
		f.start(c)
	}
}

// TestOnce: one boot, then the local disk; a start counts, an offer does not.
func TestOnce(t *testing.T) {
	f := newFixture(t)
	f.catalog()
	c := machine(1)
	id := f.id(c, "web1")
	f.assign(id, "rescue", boot.AssignOnce)
	f.Decide(c.ask())
	p := f.start(c)
	if p.Target.Cmdline != "quiet host=web1" {
		t.Errorf("command line %q", p.Target.Cmdline)
	}
	f.want(f.Decide(c.ask()), boot.ActionLocal, boot.ReasonNone)
	g := f.again()
	g.want(g.Decide(c.ask()), boot.ActionLocal, boot.ReasonNone)
}

// TestAlways: an assignment for every boot needs no start.
func TestAlways(t *testing.T) {
	f := newFixture(t)
	f.catalog()
	c := machine(1)
	f.assign(f.id(c, "web1"), "rescue", boot.AssignAlways)
	for _, loader := range []string{LoaderIPXE, LoaderPXELinux, LoaderGRUB, LoaderIPXE} {
		a := c.ask()
		a.Loader = loader
		p := f.Decide(a)
		f.want(p, boot.ActionBoot, boot.ReasonNone)
		if p.Target.Cmdline != "quiet host=web1" || p.Token != "" || p.AnswerToken != "" || p.CallbackToken != "" {
			t.Errorf("%+v", p)
		}
	}
}

// TestAlwaysWithAnswers: each boot gets tokens of its own, a few of them at a
// time.
func TestAlwaysWithAnswers(t *testing.T) {
	f := newFixture(t)
	f.catalog()
	f.put(kindProfiles, "live", `{"target":"rescue","answers":{"user-data":"preseed"},"variables":{"secret":"x"}}`)
	c := machine(1)
	f.assign(f.id(c, "web1"), "live", boot.AssignAlways)
	var tokens []string
	for range perMachineRun + 2 {
		p := f.Decide(c.ask())
		f.want(p, boot.ActionBoot, boot.ReasonNone)
		tokens = append(tokens, p.AnswerToken)
	}
	for i, token := range tokens {
		_, _, reason := f.Answer(token, "user-data", c.later())
		if gone := i < 2; gone != (reason == boot.ReasonToken) {
			t.Errorf("token %d of %d: %q", i, len(tokens), reason)
		}
	}
	if err := f.Flush(); err != nil {
		t.Fatal(err)
	}
	if _, _, reason := f.again().Answer(tokens[len(tokens)-1], "user-data", c.later()); reason != boot.ReasonNone {
		t.Errorf("after a restart: %s", reason)
	}
}

// TestTemplateErrors: a template that fails costs nothing and never reaches a
// machine.
func TestTemplateErrors(t *testing.T) {
	f := newFixture(t)
	f.catalog()
	f.put(kindTargets, "broken", `{"kind":"linux","kernel":"files/k","cmdline":"x={{required \"a rack\" .Vars.rack}}"}`)
	f.put(kindTargets, "wipe", `{"kind":"linux","kernel":"files/k","cmdline":"x={{required \"a rack\" .Vars.rack}}","destructive":true}`)
	f.put(kindTemplates, "bad", `{"kind":"plain","text":"{{required \"a rack\" .Vars.rack}}"}`)
	f.put(kindProfiles, "broken", `{"target":"broken"}`)
	f.put(kindProfiles, "wipe", `{"target":"wipe","answers":{"a":"bad"}}`)
	c := machine(1)
	id := f.id(c, "web1")
	f.assign(id, "broken", boot.AssignAlways)
	f.want(f.Decide(c.ask()), boot.ActionMenu, boot.ReasonTemplate)
	if !f.sink.has(boot.KindWarning, boot.ReasonTemplate, "target broken, cmdline") {
		t.Errorf("no event: %+v", f.sink.list)
	}
	f.assign(id, "wipe", boot.AssignArmed)
	for _, loader := range []string{LoaderIPXE, LoaderPXELinux, LoaderGRUB} {
		a := c.ask()
		a.Loader = loader
		f.want(f.Decide(a), boot.ActionMenu, boot.ReasonTemplate)
	}
	if a := f.machine(id).Assignment; a.Used != 0 {
		t.Errorf("counted: %+v", a)
	}
	f.put(kindTargets, "wipe", `{"kind":"linux","kernel":"files/k","destructive":true}`)
	p := f.start(c)
	if _, _, reason := f.Answer(p.AnswerToken, "a", c.later()); reason != boot.ReasonTemplate {
		t.Errorf("answer: %s", reason)
	}
	if !f.sink.has(boot.KindWarning, boot.ReasonTemplate, "answer file a, template bad") {
		t.Error("no event")
	}
}

// TestTrees: relative paths of a target with a tree are below it.
func TestTrees(t *testing.T) {
	trees := map[string]bool{"debian": true}
	f := newFixture(t, func(c *Config) { c.HasTree = func(name string) bool { return trees[name] } })
	f.put(kindTargets, "deb", `{"kind":"linux","tree":"debian","kernel":"amd64/linux","initrds":["amd64/initrd.gz","http://192.0.2.9/x"]}`)
	f.put(kindProfiles, "deb", `{"target":"deb"}`)
	c := machine(1)
	f.assign(f.id(c, "web1"), "deb", boot.AssignAlways)
	p := f.Decide(c.ask())
	f.want(p, boot.ActionBoot, boot.ReasonNone)
	if p.Target.Kernel != "trees/debian/amd64/linux" || !slices.Equal(p.Target.Initrds, []string{"trees/debian/amd64/initrd.gz", "http://192.0.2.9/x"}) {
		t.Errorf("%+v", p.Target)
	}
	trees["debian"] = false
	f.want(f.Decide(c.ask()), boot.ActionMenu, boot.ReasonTargetMissing)
}

// TestMenu: what cannot work is shown with the reason, what is not visible is
// not there, and time-out never takes anything that hurts.
func TestMenu(t *testing.T) {
	f := newFixture(t)
	f.catalog()
	f.put(kindTargets, "big", `{"kind":"linux","kernel":"files/big","needs":{"memory":999999}}`)
	f.put(kindProfiles, "big", `{"target":"big","title":"Big"}`)
	f.put(kindProfiles, "others", `{"target":"rescue","visible":{"vendor":["Other"]}}`)
	f.put(kindProfiles, "hidden", `{"target":"rescue","hidden":true}`)
	f.put(kindTargets, "menu", `{"kind":"menu","menu":{"title":"All","seconds":7,"default":"rescue","entries":[
		{"gap":"Harmless"},{"profile":"rescue","key":"r"},{"profile":"hidden","title":"By hand"},{"profile":"others"},{"gap":"Not so"},{"profile":"install"},{"profile":"big"}]}}`)
	f.put(kindProfiles, "menu", `{"target":"menu","hidden":true}`)
	c := machine(1)
	p := f.Decide(c.ask())
	f.want(p, boot.ActionMenu, boot.ReasonNone)
	var titles []string
	for _, e := range p.Menu {
		titles = append(titles, e.Title)
	}
	if want := []string{"Big", "Disk", "Install", "Rescue"}; !slices.Equal(titles, want) {
		t.Errorf("menu of %q, want %q", titles, want)
	}
	if p.Default != -1 || p.Seconds != boot.MenuSeconds || p.Menu[0].Disabled != boot.ReasonNeedsMemory || p.Menu[0].Detail == "" || !p.Menu[2].Destructive || len(p.Code) != menuCode {
		t.Errorf("%+v", p)
	}
	f.put(kindSite, kindSite, `{"unknown":"allow","default":"menu"}`)
	p = f.Decide(c.ask())
	f.want(p, boot.ActionBoot, boot.ReasonNone)
	if len(p.Menu) != 6 || p.Default != 1 || p.Seconds != 7 || !p.Menu[0].Gap || p.Menu[1].Key != "r" || p.Menu[2].Title != "By hand" {
		t.Fatalf("%+v", p)
	}
	for n, want := range map[int]boot.Reason{
		-1: boot.ReasonNotFound, 0: boot.ReasonNotFound, 1: boot.ReasonNone, 2: boot.ReasonNone,
		4: boot.ReasonCodeWrong, 5: boot.ReasonNeedsMemory, 6: boot.ReasonNotFound,
	} {
		plan, reason := f.Pick(p.Token, n, "", c.later())
		if reason != want {
			t.Errorf("entry %d: %q, want %q", n, reason, want)
		}
		if reason == boot.ReasonNone && plan.Target.Kernel != "files/vmlinuz" {
			t.Errorf("entry %d: %+v", n, plan.Target)
		}
	}
	// What changed since the menu was shown counts.
	f.put(kindProfiles, "hidden", `{"target":"rescue","hidden":true,"visible":{"vendor":["Other"]}}`)
	if _, reason := f.Pick(p.Token, 2, "", c.later()); reason != boot.ReasonNotFound {
		t.Errorf("an entry that is not visible any more: %s", reason)
	}
}

// TestMenuDestructive: a person at the machine types the code of its screen; five
// wrong ones end the menu, a right one counts once.
func TestMenuDestructive(t *testing.T) {
	f := newFixture(t)
	f.catalog()
	c := machine(1)
	f.id(c, "web1")
	entryOf := func(p boot.Plan) int {
		return slices.IndexFunc(p.Menu, func(e boot.PlanEntry) bool { return e.Title == "Install" })
	}
	p := f.Decide(c.ask())
	n := entryOf(p)
	for range maxWrong - 1 {
		if _, reason := f.Pick(p.Token, n, "WRNG", c.later()); reason != boot.ReasonCodeWrong {
			t.Fatal(reason)
		}
	}
	plan, reason := f.Pick(p.Token, n, " "+strings.ToLower(p.Code[:2])+"-"+p.Code[2:], c.later())
	if reason != boot.ReasonNone || plan.Choice.Action != boot.ActionBoot || plan.AnswerToken == "" {
		t.Fatalf("%s: %+v", reason, plan)
	}
	if again, reason := f.Pick(p.Token, n, p.Code, c.later()); reason != boot.ReasonNone || again.AnswerToken != plan.AnswerToken {
		t.Errorf("the same request again: %s", reason)
	}
	f.clock.add(Retry)
	if _, reason := f.Pick(p.Token, n, p.Code, c.later()); reason != boot.ReasonTokenUsed {
		t.Errorf("later: %s", reason)
	}
	p = f.Decide(c.ask())
	for range maxWrong {
		if _, reason := f.Pick(p.Token, n, "WRNG", c.later()); reason != boot.ReasonCodeWrong {
			t.Fatal(reason)
		}
	}
	if _, reason := f.Pick(p.Token, n, p.Code, c.later()); reason != boot.ReasonToken {
		t.Errorf("after %d wrong codes: %s", maxWrong, reason)
	}
	// Without proof of who it is, the code does not help.
	a := c.ask()
	a.Proof = boot.ProofNone
	p = f.Decide(a)
	l := c.later()
	l.Proof = boot.ProofNone
	if _, reason := f.Pick(p.Token, n, p.Code, l); reason != boot.ReasonIdentityUnproven {
		t.Errorf("unproven: %s", reason)
	}
}

// TestSubMenu: a menu in a menu has a token of its own.
func TestSubMenu(t *testing.T) {
	f := newFixture(t)
	f.catalog()
	f.put(kindTargets, "sub", `{"kind":"menu","menu":{"entries":[{"profile":"rescue"}]}}`)
	f.put(kindProfiles, "sub", `{"target":"sub","title":"A sub-menu"}`)
	c := machine(1)
	p := f.Decide(c.ask())
	if !p.Menu[0].Sub {
		t.Fatalf("%+v", p.Menu)
	}
	sub, reason := f.Pick(p.Token, 0, "", c.later())
	if reason != boot.ReasonNone || sub.Token == "" || sub.Token == p.Token || len(sub.Menu) != 1 {
		t.Fatalf("%s %+v", reason, sub)
	}
	if plan, reason := f.Pick(sub.Token, 0, "", c.later()); reason != boot.ReasonNone || plan.Target.Name != "rescue" {
		t.Errorf("%s %+v", reason, plan)
	}
	// The machine's disk, from a menu.
	if plan, reason := f.Pick(p.Token, 1, "", c.later()); reason != boot.ReasonNone || plan.Choice.Action != boot.ActionLocal {
		t.Errorf("%s %+v", reason, plan)
	}
}

// TestUnknownAsks: a code on the screen until the operator says a word.
func TestUnknownAsks(t *testing.T) {
	f := newFixture(t)
	f.catalog()
	f.put(kindSite, kindSite, `{"unknown":"ask","default":"rescue"}`)
	ask := func(c client) (boot.Plan, string) {
		p := f.Decide(c.ask())
		f.want(p, boot.ActionAsk, boot.ReasonUnknownAsks)
		if len(p.Code) != requestCode || strings.ContainsAny(p.Code, "AEIOU0158BSZ2LQG") {
			t.Fatalf("code %q", p.Code)
		}
		return p, p.Code
	}
	t.Run("yes", func(t *testing.T) {
		c := machine(1)
		p, code := ask(c)
		if _, again := ask(c); again != code {
			t.Errorf("the same machine asks under %s and %s", code, again)
		}
		plan, waiting, reason := f.Wait(p.Token, c.later())
		if !waiting || reason != boot.ReasonNone || plan.Code != code || plan.Token != p.Token {
			t.Fatalf("%v %s %+v", waiting, reason, plan)
		}
		if q := f.Requests(); len(q) != 1 || q[0].Code != code || q[0].Seen.MAC != c.mac || q[0].Machine == "" {
			t.Errorf("requests %+v", q)
		}
		if err := f.Approve(strings.ToLower(code), true, false); err != nil {
			t.Fatal(err)
		}
		if len(f.Requests()) != 0 {
			t.Error("the request is still open")
		}
		plan, waiting, reason = f.Wait(p.Token, c.later())
		if waiting || reason != boot.ReasonNone || plan.Choice.Profile != "rescue" {
			t.Errorf("%v %s %+v", waiting, reason, plan.Choice)
		}
		f.want(f.Decide(c.ask()), boot.ActionBoot, boot.ReasonNone) // for this boot
		f.clock.add(letTime)
		ask(c)
	})
	t.Run("remember", func(t *testing.T) {
		c := machine(2)
		p, code := ask(c)
		if err := f.Approve(code, true, true); err != nil {
			t.Fatal(err)
		}
		if m := f.db.machine(t, p.Choice.Machine); m.Access != boot.AccessAllow {
			t.Errorf("the store says %+v", m)
		}
		f.clock.add(24 * time.Hour)
		f.want(f.Decide(c.ask()), boot.ActionBoot, boot.ReasonNone)
	})
	t.Run("no", func(t *testing.T) {
		c := machine(3)
		p, code := ask(c)
		if err := f.Approve(code, false, false); err != nil {
			t.Fatal(err)
		}
		if _, waiting, reason := f.Wait(p.Token, c.later()); waiting || reason != boot.ReasonRefused {
			t.Errorf("%v %s", waiting, reason)
		}
		f.want(f.Decide(c.ask()), boot.ActionLocal, boot.ReasonRefused)
		f.clock.add(RequestTime)
		ask(c)
	})
	t.Run("nobody", func(t *testing.T) {
		c := machine(4)
		p, code := ask(c)
		f.clock.add(RequestTime)
		if err := f.Approve(code, true, false); err != ErrNotFound { //nolint:errorlint // it is the value itself
			t.Errorf("%v", err)
		}
		if _, waiting, reason := f.Wait(p.Token, c.later()); waiting || reason != boot.ReasonToken {
			t.Errorf("%v %s", waiting, reason)
		}
	})
	t.Run("somebody else's token", func(t *testing.T) {
		c := machine(5)
		p, _ := ask(c)
		if _, _, reason := f.Wait(p.Token, machine(6).later()); reason != boot.ReasonIdentityAgainst {
			t.Error(reason)
		}
	})
	t.Run("too many", func(t *testing.T) {
		f.clock.add(RequestTime)
		for i := range MaxRequests {
			ask(machine(100 + i))
		}
		f.want(f.Decide(machine(99).ask()), boot.ActionLocal, boot.ReasonTooManyRequests)
	})
}

// TestLockedEntry: it boots after the operator has let it, and something that
// overwrites only once.
func TestLockedEntry(t *testing.T) {
	f := newFixture(t)
	f.catalog()
	f.put(kindTargets, "menu", `{"kind":"menu","menu":{"entries":[{"profile":"rescue","locked":true},{"profile":"install","locked":true}]}}`)
	f.put(kindProfiles, "menu", `{"target":"menu"}`)
	f.put(kindSite, kindSite, `{"unknown":"allow","default":"menu"}`)
	c := machine(1)
	f.id(c, "web1")
	pick := func(n int) (boot.Plan, boot.Plan) {
		menu := f.Decide(c.ask())
		p, reason := f.Pick(menu.Token, n, menu.Code, c.later())
		if reason != boot.ReasonNone || p.Choice.Action != boot.ActionAsk || p.Code == "" || p.Choice.Profile == "" {
			t.Fatalf("%s %+v", reason, p)
		}
		return menu, p
	}
	_, p := pick(0)
	if q := f.Requests(); len(q) != 1 || q[0].Profile != "rescue" || q[0].Name != "web1" {
		t.Fatalf("%+v", q)
	}
	if _, waiting, _ := f.Wait(p.Token, c.later()); !waiting {
		t.Fatal("does not wait")
	}
	if err := f.Approve(p.Code, true, true); err != nil {
		t.Fatal(err)
	}
	plan, waiting, reason := f.Wait(p.Token, c.later())
	if waiting || reason != boot.ReasonNone || plan.Target.Name != "rescue" {
		t.Errorf("%v %s %+v", waiting, reason, plan)
	}
	_, p = pick(1)
	_, q := pick(1)
	if err := f.Approve(p.Code, true, false); err != nil {
		t.Fatal(err)
	}
	plan, _, reason = f.Wait(p.Token, c.later())
	if reason != boot.ReasonNone || plan.Target.Name != "install" {
		t.Fatalf("%s %+v", reason, plan)
	}
	if again, _, reason := f.Wait(p.Token, c.later()); reason != boot.ReasonNone || again.AnswerToken != plan.AnswerToken {
		t.Errorf("the same request again: %s", reason)
	}
	if _, _, reason := f.Wait(q.Token, c.later()); reason != boot.ReasonToken {
		t.Errorf("a second time by another token: %s", reason)
	}
	f.clock.add(Retry)
	if _, _, reason := f.Wait(p.Token, c.later()); reason != boot.ReasonTokenUsed {
		t.Errorf("later: %s", reason)
	}
	_, p = pick(1) // asks again
	if _, waiting, _ := f.Wait(p.Token, c.later()); !waiting {
		t.Error("the word counts for a second wipe")
	}
}

// TestRule: DHCP is told who gets no answer and who another first stage.
func TestRule(t *testing.T) {
	f := newFixture(t)
	f.catalog()
	bios := func(c client) boot.Client {
		return boot.Client{MAC: c.mac, GUID: c.guid, Arch: boot.ArchBIOS, ArchKnown: true, Firmware: boot.FirmwareBIOS}
	}
	uefi := func(c client) boot.Client {
		return boot.Client{MAC: c.mac, GUID: c.guid, Arch: boot.ArchUEFIx64, ArchKnown: true, Firmware: boot.FirmwareUEFI}
	}
	c := machine(1)
	id := f.id(c, "web1")
	given := boot.Rule{File: "mine", Config: "x"}
	if got := f.Rule(bios(c), given); got.File != "mine" || got.Deny {
		t.Errorf("%+v", got)
	}
	if n := testing.AllocsPerRun(100, func() { f.Rule(bios(c), boot.Rule{}) }); n != 0 {
		t.Errorf("%v allocations although nothing asks for anything", n)
	}
	f.put(kindTargets, "own", `{"kind":"pxelinux","tree":"debian"}`)
	f.put(kindProfiles, "pxe", `{"target":"rescue","loader":"pxelinux"}`)
	f.put(kindProfiles, "own", `{"target":"own","loader":"pxelinux"}`)
	f.put(kindProfiles, "shim", `{"target":"rescue","loader":"shim"}`)
	f.put(kindProfiles, "grub", `{"target":"rescue","loader":"grub"}`)
	for _, row := range []struct{ profile, bios, uefi string }{
		{"rescue", "", ""},
		{"pxe", "pxelinux/lpxelinux.0", ""},
		{"own", "trees/debian/pxelinux.0", ""},
		{"shim", "", "x86_64/shimx64.efi"},
		{"grub", "", "x86_64/grubx64.efi"},
	} {
		f.assign(id, row.profile, boot.AssignAlways)
		if got := f.Rule(bios(c), boot.Rule{}).File; got != row.bios {
			t.Errorf("%s: BIOS gets %q, want %q", row.profile, got, row.bios)
		}
		if got := f.Rule(uefi(c), boot.Rule{}).File; got != row.uefi {
			t.Errorf("%s: UEFI gets %q, want %q", row.profile, got, row.uefi)
		}
		if got := f.Rule(bios(c), given).File; got != "mine" {
			t.Errorf("%s: the settings' file became %q", row.profile, got)
		}
		x := bios(c)
		x.Firmware = boot.FirmwareIPXE
		if got := f.Rule(x, boot.Rule{}).File; got != "" {
			t.Errorf("%s: iPXE gets %q", row.profile, got)
		}
	}
	// After the assignment is over it comes by the same program to its disk.
	f.assign(id, "shim", boot.AssignOnce)
	f.start(c)
	if got := f.Rule(uefi(c), boot.Rule{}).File; got != "x86_64/shimx64.efi" {
		t.Errorf("afterwards UEFI gets %q", got)
	}

	f.put(kindMachines, string(id), `{"name":"web1","access":"deny"}`)
	if got := f.Rule(bios(c), boot.Rule{}); !got.Deny || got.Why != boot.ReasonDenied {
		t.Errorf("denied: %+v", got)
	}
	f.want(f.Decide(c.ask()), boot.ActionSilent, boot.ReasonDenied)
	f.put(kindMachines, string(id), `{"name":"web1"}`)
	if got := f.Rule(bios(c), boot.Rule{}); got.Deny {
		t.Errorf("allowed again: %+v", got)
	}
	f.put(kindSite, kindSite, `{"unknown":"ignore"}`)
	if got := f.Rule(bios(machine(9)), boot.Rule{}); !got.Deny || got.Why != boot.ReasonUnknownIgnored {
		t.Errorf("unknown: %+v", got)
	}
	if got := f.Rule(bios(c), boot.Rule{}); got.Deny {
		t.Errorf("known: %+v", got)
	}
	f.put(kindSite, kindSite, `{"unknown":"ignore","allow_until":"`+f.clock.Now().Add(time.Hour).Format(time.RFC3339)+`"}`)
	if got := f.Rule(bios(machine(9)), boot.Rule{}); got.Deny {
		t.Errorf("while all are allowed: %+v", got)
	}
	f.clock.add(2 * time.Hour)
	if got := f.Rule(bios(machine(9)), boot.Rule{}); !got.Deny {
		t.Errorf("after that: %+v", got)
	}
	f.put(kindSite, kindSite, `{"unknown":"allow","deny":["`+string(machine(9).mac)+`"]}`)
	if got := f.Rule(bios(machine(9)), boot.Rule{}); !got.Deny || got.Why != boot.ReasonDenied {
		t.Errorf("on the site's deny-list: %+v", got)
	}
}

// TestDecisionsAreBounded: the ring keeps the last decisions, and the whole
// reasoning only as long as there is room.
func TestDecisionsAreBounded(t *testing.T) {
	var g ring
	for i := range 3 * MaxDecisions {
		steps := make([]boot.Step, 200)
		steps[199] = boot.Step{Source: boot.SourceRule, Won: true, Why: fmt.Sprint(i)}
		g.add(Decision{Choice: boot.Choice{Steps: steps}})
	}
	total := 0
	for i, d := range g.list {
		total += len(d.Choice.Steps)
		last := d.Choice.Steps[len(d.Choice.Steps)-1]
		if want := fmt.Sprint(2*MaxDecisions + i); !last.Won || last.Why != want {
			t.Fatalf("decision %d ends with %+v, want %s", i, last, want)
		}
	}
	if len(g.list) != MaxDecisions || total > maxSteps+MaxDecisions || len(g.list[MaxDecisions-1].Choice.Steps) != 200 || cap(g.list) > 3*MaxDecisions {
		t.Errorf("%d decisions, %d steps, room for %d", len(g.list), total, cap(g.list))
	}
	f := newFixture(t)
	f.Decide(machine(1).ask())
	f.Decide(machine(2).ask())
	if d := f.Decisions(1); len(d) != 1 || d[0].MAC != machine(2).mac || d[0].Addr != "192.0.2.2" || len(d[0].Choice.Steps) == 0 {
		t.Errorf("%+v", d)
	}
	if d := f.Decisions(0); len(d) != 2 || d[1].MAC != machine(1).mac {
		t.Errorf("%+v", d)
	}
}

// TestPreview: what a machine would get, and nothing changes.
func TestPreview(t *testing.T) {
	f := newFixture(t)
	f.catalog()
	c := machine(1)
	id := f.id(c, "web1")
	a := f.assign(id, "install", boot.AssignArmed)
	before, tokens, decisions := f.machine(id), f.tokens.order.Len(), len(f.Decisions(0))
	for _, loader := range []string{LoaderIPXE, LoaderPXELinux, LoaderGRUB} {
		p, answers, err := f.Preview(id, base, loader)
		if err != nil {
			t.Fatal(err)
		}
		// pxelinux and GRUB ask a single time and get the thing itself.
		action, token := boot.ActionBoot, ""
		if loader == LoaderIPXE {
			action, token = boot.ActionArmed, "preview"
		}
		f.want(p, action, boot.ReasonNone)
		if p.Code != a.Code || p.Token != token || !strings.Contains(p.Target.Cmdline, base+"/a/preview/preseed.cfg") {
			t.Errorf("%+v", p)
		}
		if got := answers["preseed.cfg"]; !strings.Contains(got.Text, "of web1") || got.Error != "" || got.ContentType == "" {
			t.Errorf("%+v", answers)
		}
	}
	if after := f.machine(id); !same(before, after) || f.tokens.order.Len() != tokens || len(f.Decisions(0)) != decisions || len(f.tokens.attempts) != 0 {
		t.Error("a preview changed something")
	}
	if _, _, reason := f.Answer("preview", "preseed.cfg", c.later()); reason != boot.ReasonToken {
		t.Errorf("the preview's token: %s", reason)
	}
	if _, _, err := f.Preview("nobody", base, LoaderIPXE); err != ErrNotFound { //nolint:errorlint // it is the value itself
		t.Error(err)
	}
	stranger := f.id(machine(2), "")
	if p, _, err := f.Preview(stranger, base, LoaderIPXE); err != nil || p.Choice.Action != boot.ActionMenu || len(p.Menu) != 3 || p.Token != "preview" {
		t.Errorf("%v %+v", err, p)
	}
}
