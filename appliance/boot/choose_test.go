package boot

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// siteOf is a site with one of everything.
func siteOf(t testing.TB, with func(*documents)) *Catalog {
	t.Helper()
	d := documents{
		targets: []Target{
			live, wiping,
			{Name: "local", Kind: TargetLocal},
			menuOf("main", "", "live", "wipe"),
			{Name: "big", Kind: TargetLinux, Kernel: "linux", Needs: Needs{Memory: 4096}},
			{Name: "san", Kind: TargetSAN, SAN: &SAN{Protocol: SANiSCSI, Host: "h", IQN: "iqn.x", User: "u", Password: "secret"}},
		},
		profiles: append(profilesOf("live=live", "wipe=debian", "local=local", "main=main", "big=big", "san=san"),
			Profile{Name: "auto", Target: "live", Answers: map[string]string{"a.cfg": "preseed"}}),
		groups: []Group{{Name: "lab", Profile: "live"}, {Name: "vars"}, {Name: "menu", Profile: "main"}, {Name: "secret", Profile: "auto"}},
		rules: []SelectRule{
			{Name: "off", Order: 1, Profile: "main", Off: true},
			{Name: "acme", Order: 2, Profile: "main", Match: Match{Vendor: []string{"acme*"}}},
			{Name: "qemu", Order: 3, Profile: "local", Match: Match{MAC: []string{"52:54:00"}}},
		},
		templates: []Template{{Name: "preseed", Kind: TemplatePreseed, Text: "x"}},
	}
	if with != nil {
		with(&d)
	}
	c, errs := d.catalog()
	for key := range errs {
		// Some tests are about documents that became bad behind our back.
		if !strings.HasPrefix(t.Name(), "TestChooseBad") && !strings.HasPrefix(t.Name(), "TestNothing") {
			t.Fatalf("%s: %v", key, errs[key])
		}
	}
	return c
}

// asking is a machine that is proven to be the one it says.
func asking() (Machine, Situation) {
	mac := MAC("52:54:00:00:00:aa")
	m := Machine{ID: "m", GUID: GUID{1, 2}, Serial: "S1", MACs: []NIC{{MAC: mac, First: noon.Add(-time.Hour)}}, First: noon.Add(-time.Hour)}
	return m, Situation{
		Sighting:   Sighting{MAC: mac, GUID: GUID{1, 2}, Serial: "S1", Addr: netip.MustParseAddr("192.0.2.7"), Memory: 2048},
		Confidence: ConfidenceFull, Proof: ProofSeen, Known: true, Now: noon,
	}
}

// outcome is a choice in one line.
func outcome(c Choice) string {
	text := string(c.Source) + " " + string(c.Action)
	for _, x := range []string{c.Profile, string(c.Reason)} {
		if x != "" {
			text += " " + x
		}
	}
	return text
}

// checkSteps looks at what holds of every decision.
func checkSteps(t *testing.T, c Choice) {
	t.Helper()
	won := 0
	for i, s := range c.Steps {
		if s.Why == "" || strings.Contains(s.Why, "\n") {
			t.Errorf("step %d without a reason: %+v", i, s)
		}
		if s.Won {
			won++
			if i != len(c.Steps)-1 || s.Source != c.Source {
				t.Errorf("step %d won and is not the last, or another source decided: %+v", i, c)
			}
		}
	}
	if won != 1 {
		t.Errorf("%d steps won: %+v", won, c.Steps)
	}
}

func assignment(t testing.TB, c *Catalog, profile string, mode AssignMode) *Assignment {
	t.Helper()
	_, target, _ := c.Resolve(profile)
	a, errs := NewAssignment(Assignment{Profile: profile, Mode: mode}, target, "K7Q2", noon)
	if errs != nil {
		t.Fatal(errs)
	}
	return &a
}

func TestChoosePrecedence(t *testing.T) {
	for _, c := range []struct {
		name string
		site func(*documents)
		with func(*Machine, *Situation)
		want string
	}{
		{"a rule", nil, nil, "rule local local"},
		{"the first rule", nil, func(_ *Machine, s *Situation) { s.Sighting.Manufacturer = "ACME Inc" }, "rule boot main"},
		{"a group", nil, func(m *Machine, _ *Situation) { m.Groups = []string{"lab"} }, "group boot live"},
		{"the first group that decides", nil, func(m *Machine, _ *Situation) { m.Groups = []string{"gone", "vars", "menu", "lab"} }, "group boot main"},
		{"groups that decide nothing", nil, func(m *Machine, _ *Situation) { m.Groups = []string{"gone", "vars"} }, "rule local local"},
		{"a group beyond the bound", nil, func(m *Machine, _ *Situation) {
			m.Groups = append(strings.Fields(strings.Repeat("vars ", MaxTags)), "lab")
		}, "rule local local"},
		{"always", nil, func(m *Machine, _ *Situation) { m.Assignment = &Assignment{Profile: "live", Mode: AssignAlways} }, "machine boot live"},
		{"always, before a group", nil, func(m *Machine, _ *Situation) {
			m.Assignment, m.Groups = &Assignment{Profile: "main", Mode: AssignAlways}, []string{"lab"}
		}, "machine boot main"},
		{"always local", nil, func(m *Machine, _ *Situation) { m.Assignment = &Assignment{Profile: "local", Mode: AssignAlways} }, "machine local local"},
		{"the default", func(d *documents) { d.rules, d.site.Default = nil, "main" }, nil, "default boot main"},
		{"the default before the setting", func(d *documents) { d.rules, d.site.Default = nil, "main" }, func(_ *Machine, s *Situation) { s.Script = true }, "default boot main"},
		{"the setting", func(d *documents) { d.rules = nil }, func(_ *Machine, s *Situation) { s.Script = true }, "settings menu"},
		{"the built-in menu", func(d *documents) { d.rules = nil }, nil, "built-in menu"},

		{"denied", nil, func(m *Machine, _ *Situation) { m.Access = AccessDeny }, "denied silent denied"},
		{"denied and armed", nil, func(m *Machine, _ *Situation) {
			m.Access, m.Assignment = AccessDeny, &Assignment{Profile: "live", Mode: AssignAlways}
		}, "denied silent denied"},
		{"denied by address", func(d *documents) { d.site.Deny = []string{"52:54:00:00"} }, nil, "denied silent denied"},
		{"denied by identifier", func(d *documents) { d.site.Deny = []string{GUID{1, 2}.String()} }, nil, "denied silent denied"},
		{"denied by swapped identifier", func(d *documents) { d.site.Deny = []string{GUID{1, 2}.Swapped().String()} }, nil, "denied silent denied"},
		{"denied by identifier, not told now", func(d *documents) { d.site.Deny = []string{GUID{1, 2}.String()} }, func(_ *Machine, s *Situation) { s.Sighting.GUID = GUID{} }, "denied silent denied"},
		{"denied by identifier, record has none", func(d *documents) { d.site.Deny = []string{GUID{1, 2}.String()} }, func(m *Machine, _ *Situation) { m.GUID = GUID{} }, "denied silent denied"},
		{"denied by another card that the operator gave it", func(d *documents) { d.site.Deny = []string{"00:11:22"} }, func(m *Machine, _ *Situation) {
			m.MACs = append(m.MACs, NIC{MAC: "00:11:22:33:44:55", Given: true})
		}, "denied silent denied"},
		{"a card it was seen with denies nobody", func(d *documents) { d.site.Deny = []string{"00:11:22"} }, func(m *Machine, _ *Situation) {
			m.MACs = append(m.MACs, NIC{MAC: "00:11:22:33:44:55"})
		}, "rule local local"},
		{"denied before allowed", func(d *documents) { d.site.Deny, d.site.Allow = []string{"52:54:00:00"}, []string{"52:54:00:00"} }, func(m *Machine, _ *Situation) { m.Access = AccessAllow }, "denied silent denied"},
		{"others are denied", func(d *documents) { d.site.Deny = []string{"52:54:01", GUID{3}.String()} }, nil, "rule local local"},

		{"unknown, asked", func(d *documents) { d.site.Unknown = UnknownAsk }, nil, "unknown ask unknown_asks"},
		{"unknown, ignored", func(d *documents) { d.site.Unknown = UnknownIgnore }, nil, "unknown silent unknown_ignored"},
		{"unknown, a default does not help", func(d *documents) { d.site.Unknown, d.site.Default = UnknownIgnore, "main" }, nil, "unknown silent unknown_ignored"},
		{"unknown, let", func(d *documents) { d.site.Unknown = UnknownIgnore }, func(_ *Machine, s *Situation) { s.Let = true }, "rule local local"},
		{"unknown, for some hours", func(d *documents) { d.site.Unknown, d.site.AllowUntil = UnknownAsk, noon.Add(1) }, nil, "rule local local"},
		{"unknown, the hours are over", func(d *documents) { d.site.Unknown, d.site.AllowUntil = UnknownAsk, noon }, nil, "unknown ask unknown_asks"},
		{"unknown, on the list", func(d *documents) { d.site.Unknown, d.site.Allow = UnknownIgnore, []string{"52:54:00:00"} }, nil, "rule local local"},
		{"unknown, others on the list", func(d *documents) { d.site.Unknown, d.site.Allow = UnknownIgnore, []string{"52:54:01"} }, nil, "unknown silent unknown_ignored"},
		{"named", func(d *documents) { d.site.Unknown = UnknownIgnore }, func(m *Machine, _ *Situation) { m.Name = "x" }, "rule local local"},
		{"allowed", func(d *documents) { d.site.Unknown = UnknownIgnore }, func(m *Machine, _ *Situation) { m.Access = AccessAllow }, "rule local local"},
		{"assigned", func(d *documents) { d.site.Unknown = UnknownIgnore }, func(m *Machine, _ *Situation) { m.Assignment = &Assignment{Profile: "live", Mode: AssignAlways} }, "machine boot live"},
		{"noted only", func(d *documents) { d.site.Unknown = UnknownIgnore }, func(m *Machine, _ *Situation) { m.Notes = "x" }, "unknown silent unknown_ignored"},

		{"it cannot work there", nil, func(m *Machine, _ *Situation) { m.Assignment = &Assignment{Profile: "big", Mode: AssignAlways} }, "built-in menu needs_memory"},
		{"it can work there", nil, func(m *Machine, s *Situation) {
			m.Assignment, s.Sighting.Memory = &Assignment{Profile: "big", Mode: AssignAlways}, 4096
		}, "machine boot big"},
		{"it cannot work there, by a rule", func(d *documents) { d.rules[2].Profile = "big" }, nil, "built-in menu needs_memory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, s := asking()
			if c.with != nil {
				c.with(&m, &s)
			}
			got := Choose(siteOf(t, c.site), m, s)
			checkSteps(t, got)
			if outcome(got) != c.want {
				t.Errorf("%s, want %s\n%+v", outcome(got), c.want, got.Steps)
			}
			if got.Machine != "m" || got.Confidence != ConfidenceFull {
				t.Errorf("machine %q, confidence %q", got.Machine, got.Confidence)
			}
			if want := map[string]string{"live": "live", "main": "main", "local": "local", "big": "big", "": ""}[got.Profile]; got.Target != want {
				t.Errorf("target %q of profile %q", got.Target, got.Profile)
			}
		})
	}
}

// TestChooseBadDocuments: what became bad behind the operator's back (a state
// file of another version, say) ends in the built-in menu.
func TestChooseBadDocuments(t *testing.T) {
	for _, c := range []struct {
		name string
		site func(*documents)
		with func(*Machine)
		want string
	}{
		{"the rule's profile is gone", func(d *documents) { d.rules[2].Profile = "gone" }, nil, "built-in menu target_missing"},
		{"the group's profile is gone", func(d *documents) { d.groups[0].Profile = "gone" }, func(m *Machine) { m.Groups = []string{"lab"} }, "built-in menu target_missing"},
		{"the default is gone", func(d *documents) { d.rules, d.site.Default = nil, "gone" }, nil, "built-in menu target_missing"},
		{"the assigned profile is gone", nil, func(m *Machine) { m.Assignment = &Assignment{Profile: "gone", Mode: AssignAlways} }, "built-in menu target_missing"},
		{"the assigned profile is gone, but it was done", nil, func(m *Machine) { m.Assignment = &Assignment{Profile: "gone", Mode: AssignArmed, State: AssignDone} }, "safety local"},
		{"the kernel is gone", func(d *documents) { d.targets[0].Kernel = "" }, func(m *Machine) { m.Groups = []string{"lab"} }, "built-in menu target_missing"},
		{"the command line has two lines", func(d *documents) { d.targets[0].Cmdline = "a\nb" }, func(m *Machine) { m.Groups = []string{"lab"} }, "built-in menu target_missing"},
		{"a rule does not compile", func(d *documents) { d.rules[2].Match = Match{MAC: []string{"x"}} }, nil, "built-in menu"},
		{"a rule that wipes", func(d *documents) { d.rules[2].Profile = "wipe" }, nil, "built-in menu destructive"},
		{"a group that wipes", func(d *documents) { d.groups[0].Profile = "wipe" }, func(m *Machine) { m.Groups = []string{"lab"} }, "built-in menu destructive"},
		{"a default that wipes", func(d *documents) { d.rules, d.site.Default = nil, "wipe" }, nil, "built-in menu destructive"},
		{"always and wipes", nil, func(m *Machine) { m.Assignment = &Assignment{Profile: "wipe", Mode: AssignAlways} }, "built-in menu destructive"},
		{"once and wipes", nil, func(m *Machine) { m.Assignment = &Assignment{Profile: "wipe", Mode: AssignOnce, State: AssignWaiting} }, "built-in menu destructive"},
		{"armed by a document", nil, func(m *Machine) {
			m.Assignment = &Assignment{Profile: "wipe", Mode: AssignArmed, Boots: 1, Expires: noon.Add(1)}
		}, "safety local disarmed"},
		{"always and disarmed, and the profile is gone", nil, func(m *Machine) {
			m.Assignment = &Assignment{Profile: "gone", Mode: AssignAlways, State: AssignDisarmed}
		}, "safety local disarmed"},
		{"no mode", nil, func(m *Machine) { m.Assignment = &Assignment{Profile: "live"} }, "built-in menu target_missing"},
		{"no mode, wipes", nil, func(m *Machine) { m.Assignment = &Assignment{Profile: "wipe"} }, "built-in menu destructive"},
		{"a policy of another version", func(d *documents) { d.site.Unknown = "perhaps" }, nil, "unknown ask unknown_asks"},
		{"a deny-list with an error", func(d *documents) { d.site.Deny = []string{"nonsense", "52:54:00:00"} }, nil, "denied silent denied"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, s := asking()
			if c.with != nil {
				c.with(&m)
			}
			got := Choose(siteOf(t, c.site), m, s)
			checkSteps(t, got)
			if outcome(got) != c.want {
				t.Errorf("%s, want %s\n%+v", outcome(got), c.want, got.Steps)
			}
		})
	}
	got := Choose(nil, Machine{}, Situation{})
	checkSteps(t, got)
	if outcome(got) != "built-in menu" {
		t.Errorf("without a catalog: %s", outcome(got))
	}
	// By hand: the deny-list counts all the same.
	m, s := asking()
	if got := Choose(&Catalog{Site: Site{Deny: []string{"52"}}}, m, s); outcome(got) != "denied silent denied" {
		t.Errorf("a catalog put together by hand: %s", outcome(got))
	}
}

func TestChooseAssignments(t *testing.T) {
	for _, c := range []struct {
		name    string
		profile string
		mode    AssignMode
		with    func(*Assignment, *Situation)
		want    string
	}{
		{"armed", "wipe", AssignArmed, nil, "machine armed wipe"},
		{"armed, harmless", "live", AssignArmed, nil, "machine armed live"},
		{"armed, local disk", "local", AssignArmed, nil, "machine armed local"},
		{"once", "live", AssignOnce, nil, "machine boot live"},
		{"once, local disk", "local", AssignOnce, nil, "machine local local"},
		{"once, secret", "auto", AssignOnce, nil, "machine boot auto"},
		{"once, again", "live", AssignOnce, func(a *Assignment, _ *Situation) { *a = a.Begin("1", noon) }, "safety local"},
		{"once, disarmed", "live", AssignOnce, func(a *Assignment, _ *Situation) { *a = a.Disarm(noon) }, "safety local disarmed"},
		{"always, disarmed", "live", AssignAlways, func(a *Assignment, _ *Situation) { *a = a.Disarm(noon) }, "safety local disarmed"},
		{"always, an installer said done", "live", AssignAlways, func(a *Assignment, _ *Situation) { a.State = AssignDone }, "machine boot live"},
		{"loop", "wipe", AssignArmed, func(a *Assignment, _ *Situation) { *a = a.Begin("1", noon) }, "safety local loop_breaker"},
		{"stopped", "wipe", AssignArmed, func(a *Assignment, _ *Situation) { a.State = AssignStopped }, "safety local loop_breaker"},
		{"harmless, again", "live", AssignArmed, func(a *Assignment, _ *Situation) { *a = a.Begin("1", noon) }, "safety local assign_used_up"},
		{"harmless, restarts", "live", AssignArmed, func(a *Assignment, _ *Situation) { a.Boots = 2; *a = a.Begin("1", noon) }, "machine armed live"},
		{"done", "wipe", AssignArmed, func(a *Assignment, _ *Situation) { *a = a.Begin("1", noon).Report(CallbackDone, "", noon) }, "safety local"},
		{"failed", "wipe", AssignArmed, func(a *Assignment, _ *Situation) { *a = a.Begin("1", noon).Report(CallbackFailed, "", noon) }, "safety local assign_failed"},
		{"expired", "wipe", AssignArmed, func(_ *Assignment, s *Situation) { s.Now = noon.Add(ArmTime) }, "safety local assign_expired"},
		{"expired, as recorded", "wipe", AssignArmed, func(a *Assignment, _ *Situation) { a.State = AssignExpired }, "safety local assign_expired"},
		{"clock lost", "wipe", AssignArmed, func(_ *Assignment, s *Situation) { s.Now = time.Unix(0, 0) }, "built-in menu clock_unset"},
		{"another target since", "wipe", AssignArmed, func(a *Assignment, _ *Situation) { a.Target = "other" }, "built-in menu destructive"},
		{"harmless when armed", "wipe", AssignArmed, func(a *Assignment, _ *Situation) { a.Destructive = false }, "built-in menu destructive"},
		{"it cannot work there, and stays armed", "big", AssignArmed, nil, "built-in menu needs_memory"},
		{"a stranger does not trip the loop breaker", "wipe", AssignArmed, func(a *Assignment, s *Situation) {
			*a = a.Begin("1", noon)
			s.Proof = ProofAgainst
		}, "built-in menu identity_against"},
		{"after the end, nobody has to prove anything", "wipe", AssignArmed, func(a *Assignment, s *Situation) {
			*a = a.Begin("1", noon).Report(CallbackDone, "", noon)
			s.Proof, s.Confidence = ProofNone, ConfidenceDoubt
		}, "safety local"},
	} {
		t.Run(c.name, func(t *testing.T) {
			catalog := siteOf(t, nil)
			m, s := asking()
			m.Groups = []string{"lab"} // never fallen back to
			m.Assignment = assignment(t, catalog, c.profile, c.mode)
			if c.with != nil {
				c.with(m.Assignment, &s)
			}
			before := *m.Assignment
			got := Choose(catalog, m, s)
			checkSteps(t, got)
			if outcome(got) != c.want {
				t.Errorf("%s, want %s\n%+v", outcome(got), c.want, got.Steps)
			}
			if *m.Assignment != before {
				t.Error("a decision changes the machine")
			}
			if got.Action == ActionLocal && got.Source == SourceSafety && (got.Target != "" || got.Profile != "") {
				t.Errorf("the local disk with a target: %+v", got)
			}
		})
	}
}

func TestChooseReasoning(t *testing.T) {
	m, s := asking()
	m.Groups = []string{"gone", "vars"}
	s.Sighting.Manufacturer = "QEMU"
	got := Choose(siteOf(t, nil), m, s)
	var lines []string
	for _, step := range got.Steps {
		lines = append(lines, fmt.Sprintf("%s/%s %v: %s", step.Source, step.Name, step.Won, step.Why))
	}
	want := []string{
		"machine/ false: nothing is assigned to this machine",
		"unknown/ false: the operator has decided about this machine",
		"group/gone false: there is no such group",
		"group/vars false: the group decides nothing",
		"rule/off false: the rule is switched off",
		`rule/acme false: the manufacturer is "qemu"; wanted is "acme*"`,
		`rule/qemu true: the hardware address is "52:54:00"`,
	}
	if strings.Join(lines, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s", strings.Join(lines, "\n"))
	}

	// More rules than a person reads: the last step says how many there were.
	many := siteOf(t, func(d *documents) {
		for i := range 400 {
			d.rules = append(d.rules, SelectRule{Name: fmt.Sprintf("x%03d", i), Order: 10 + i, Profile: "live", Match: Match{Serial: []string{"none-such"}}})
		}
		d.rules = append(d.rules[3:], SelectRule{Name: "last", Order: 999, Profile: "live"})
	})
	got = Choose(many, m, s)
	checkSteps(t, got)
	if n := len(got.Steps); outcome(got) != "rule boot live" || n > MaxSteps || n < stepsKept || got.Steps[n-2].Why != "further rules that did not match: 114" || got.Steps[n-1].Name != "last" {
		t.Errorf("%s, %d steps: %+v", outcome(got), n, got.Steps[n-2:])
	}
	s.Script = false
	many.Rules, many.compiled.rules = many.Rules[:400], many.compiled.rules[:400]
	got = Choose(many, m, s)
	checkSteps(t, got)
	if n := len(got.Steps); outcome(got) != "built-in menu" || n > MaxSteps || got.Steps[n-2].Why != "further rules that did not match: 114" {
		t.Errorf("%s, %d steps", outcome(got), n)
	}
}

// TestChooseSteps: the whole reasoning, step by step, where it ends early.
func TestChooseSteps(t *testing.T) {
	for _, c := range []struct {
		name string
		site func(*documents)
		with func(*Machine, *Situation)
		want []string
	}{
		{"denied", nil, func(m *Machine, _ *Situation) { m.Access = AccessDeny }, []string{"denied/ won: the operator denied this machine"}},
		{"on the deny-list", func(d *documents) { d.site.Deny = []string{"52:54"} }, nil, []string{"denied/ won: the site's deny-list has hardware address 52:54:00:00:00:aa"}},
		{"asked", func(d *documents) { d.site.Unknown = UnknownAsk }, nil, []string{
			"machine/: nothing is assigned to this machine", "unknown/ won: the machine is unknown, and the operator is asked",
		}},
		{"allowed for some time", func(d *documents) { d.rules, d.site.AllowUntil = nil, noon.Add(time.Hour) }, nil, []string{
			"machine/: nothing is assigned to this machine", "unknown/: all unknown machines are allowed until 2026-03-01T13:00:00Z",
			"built-in/ won: nothing else decides: the built-in menu, which goes on to the local disk",
		}},
		{"unknown, allowed", func(d *documents) { d.rules = nil }, nil, []string{
			"machine/: nothing is assigned to this machine", "unknown/: unknown machines are allowed",
			"built-in/ won: nothing else decides: the built-in menu, which goes on to the local disk",
		}},
		{"on the allow-list", func(d *documents) { d.rules, d.site.Allow = nil, []string{GUID{1, 2}.String()} }, nil, []string{
			"machine/: nothing is assigned to this machine", "unknown/: the site's allow-list has identifier " + GUID{1, 2}.String(),
			"built-in/ won: nothing else decides: the built-in menu, which goes on to the local disk",
		}},
		{"always", nil, func(m *Machine, _ *Situation) { m.Assignment = &Assignment{Profile: "live", Mode: AssignAlways} }, []string{
			"machine/live won: assigned to this machine, always",
		}},
		{"done", nil, func(m *Machine, _ *Situation) {
			m.Assignment = &Assignment{Profile: "live", Mode: AssignOnce, State: AssignDone}
		}, []string{
			"machine/live: the assignment is over", "safety/ won: the assignment of profile live has served its purpose: the local disk",
		}},
		{"expired", nil, func(m *Machine, _ *Situation) {
			m.Assignment = &Assignment{Profile: "live", Mode: AssignArmed, State: AssignExpired}
		}, []string{
			"machine/live: the assignment is over", "safety/ won: " + ReasonAssignExpired.Text(),
		}},
		{"gone", nil, func(m *Machine, _ *Situation) { m.Assignment = &Assignment{Profile: "gone", Mode: AssignAlways} }, []string{
			"machine/gone: its profile or target does not exist or has errors", "built-in/ won: " + insteadMenu,
		}},
		{"wipes, and nobody knows who asks", nil, func(m *Machine, s *Situation) {
			m.Assignment, s.Proof = &Assignment{Profile: "wipe", Mode: AssignAlways}, ProofNone
		}, []string{
			"machine/wipe: its target overwrites something, and only an armed assignment may", "built-in/ won: " + insteadMenu,
		}},
		{"another target now", nil, func(m *Machine, _ *Situation) {
			m.Assignment = assignment(t, siteOf(t, nil), "wipe", AssignArmed)
			m.Assignment.Target = "other"
		}, []string{
			"machine/wipe: what was armed is not what the profile names now; arm the machine again", "built-in/ won: " + insteadMenu,
		}},
		{"unproven", nil, func(m *Machine, s *Situation) {
			m.Assignment, s.Proof = &Assignment{Profile: "auto", Mode: AssignAlways}, ProofNone
		}, []string{
			"machine/auto: nothing proves that the sender is this machine", "built-in/ won: " + insteadMenu,
		}},
		{"too little memory, in a group", func(d *documents) { d.groups[0].Profile = "big" }, func(m *Machine, _ *Situation) { m.Groups = []string{"lab"} }, []string{
			"machine/: nothing is assigned to this machine", "unknown/: the operator has decided about this machine",
			"group/lab: profile big needs 4096 MiB, this machine has 2048", "built-in/ won: " + insteadMenu,
		}},
		{"the setting", func(d *documents) { d.rules = nil }, func(_ *Machine, s *Situation) { s.Script, s.Let = true, true }, []string{
			"machine/: nothing is assigned to this machine", "unknown/: the operator let this machine",
			"settings/ won: the start-up setting default-script decides about all other machines",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, s := asking()
			if c.with != nil {
				c.with(&m, &s)
			}
			var got []string
			for _, step := range Choose(siteOf(t, c.site), m, s).Steps {
				text := string(step.Source) + "/" + step.Name
				if step.Won {
					text += " won"
				}
				got = append(got, text+": "+step.Why)
			}
			if strings.Join(got, "\n") != strings.Join(c.want, "\n") {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
		})
	}
	// One rule more than is told one by one.
	m, s := asking()
	c := siteOf(t, func(d *documents) {
		d.rules = nil
		for i := range stepsKept - 1 {
			d.rules = append(d.rules, SelectRule{Name: fmt.Sprintf("x%03d", i), Profile: "live", Off: true})
		}
	})
	steps := Choose(c, m, s).Steps
	if step := steps[len(steps)-2]; step != (Step{Source: SourceRule, Why: "further rules that did not match: 1"}) || len(steps) != stepsKept+2 {
		t.Errorf("%d steps, %+v", len(steps), step)
	}
}

// catalogOf200 is a site with as many rules as anybody has.
func catalogOf200(tb testing.TB) *Catalog {
	tb.Helper()
	d := documents{targets: []Target{live}, profiles: profilesOf("live=live")}
	for i := range 200 {
		m := Match{Vendor: []string{"acme*"}, Product: []string{fmt.Sprintf("model %d*", i)}}
		switch i % 4 {
		case 0:
			m = Match{MAC: []string{fmt.Sprintf("00:11:%02x", i)}}
		case 1:
			m = Match{Subnet: []string{fmt.Sprintf("10.%d.0.0/16", i)}, Arch: []string{"uefi-x64"}}
		case 2:
			m = Match{Variables: map[string][]string{"domain": {fmt.Sprintf("site%d.example.org", i)}}}
		}
		d.rules = append(d.rules, SelectRule{Name: fmt.Sprintf("r%03d", i), Order: i, Profile: "live", Match: m})
	}
	c, errs := d.catalog()
	if errs != nil {
		tb.Fatal(errs)
	}
	return c
}

// BenchmarkChoose is a decision that 200 rules lose.
func BenchmarkChoose(b *testing.B) {
	c := catalogOf200(b)
	m, s := laptop(b)
	situation := Situation{Sighting: s, Confidence: ConfidenceFull, Proof: ProofSeen, Now: noon}
	b.ReportAllocs()
	for b.Loop() {
		if out := Choose(c, m, situation); out.Action != ActionMenu || len(out.Steps) < 200 {
			b.Fatal(out)
		}
	}
}

// BenchmarkNewCatalog is what a change of any document costs.
func BenchmarkNewCatalog(b *testing.B) {
	c := catalogOf200(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, errs := NewCatalog(c.Site, values(c.Targets), values(c.Profiles), nil, c.Rules, nil); errs != nil {
			b.Fatal(errs)
		}
	}
}
