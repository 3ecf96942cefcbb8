package boot

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// menuOf is a menu target of entries.
func menuOf(name, byDefault string, profiles ...string) Target {
	t := Target{Name: name, Kind: TargetMenu, Menu: &Menu{Default: byDefault}}
	for _, p := range profiles {
		t.Menu.Entries = append(t.Menu.Entries, MenuEntry{Profile: p})
	}
	return t
}

func profilesOf(pairs ...string) []Profile {
	var out []Profile
	for _, p := range pairs {
		name, target, _ := strings.Cut(p, "=")
		out = append(out, Profile{Name: name, Target: target})
	}
	return out
}

// documents is what goes into a catalog.
type documents struct {
	site      Site
	targets   []Target
	profiles  []Profile
	groups    []Group
	rules     []SelectRule
	templates []Template
}

func (d documents) catalog() (*Catalog, map[string]FieldErrors) {
	if d.site.Unknown == "" {
		d.site.Unknown = UnknownAllow
	}
	return NewCatalog(d.site, d.targets, d.profiles, d.groups, d.rules, d.templates)
}

func problems(errs map[string]FieldErrors) string {
	var out []string
	for _, key := range sortedKeys(errs) {
		out = append(out, key+": "+fieldsOf(errs[key]))
	}
	return strings.Join(out, "; ")
}

func TestCatalogReferences(t *testing.T) {
	local := Target{Name: "local", Kind: TargetLocal}
	disk := func(then string, destructive bool) Target {
		return Target{Name: "disk", Kind: TargetSAN, Destructive: destructive, SAN: &SAN{Protocol: SANAoE, Shelf: "e0.0", Hook: true, Then: then}}
	}
	preseed := Template{Name: "preseed", Kind: TemplatePreseed, Text: "x"}
	base := documents{
		targets:  []Target{live, wiping, local, menuOf("main", "", "live", "wipe")},
		profiles: profilesOf("live=live", "wipe=debian", "main=main", "local=local"),
	}
	for _, c := range []struct {
		name string
		with func(*documents)
		want string
	}{
		{"all is well", func(*documents) {}, ""},
		{"profile without target", func(d *documents) { d.profiles[0].Target = "gone" }, "profiles/live: target"},
		{"profile without template", func(d *documents) { d.profiles[0].Answers = map[string]string{"a.cfg": "gone"} }, "profiles/live: answers.a.cfg"},
		{"profile with template", func(d *documents) {
			d.profiles[0].Answers = map[string]string{"a.cfg": "preseed"}
			d.templates = []Template{preseed}
		}, ""},
		{"group", func(d *documents) { d.groups = []Group{{Name: "g", Profile: "live"}, {Name: "h"}} }, ""},
		{"group without profile", func(d *documents) { d.groups = []Group{{Name: "g", Profile: "gone"}} }, "groups/g: profile"},
		{"group that wipes", func(d *documents) { d.groups = []Group{{Name: "g", Profile: "wipe"}} }, "groups/g: profile"},
		{"group with a menu that offers it", func(d *documents) { d.groups = []Group{{Name: "g", Profile: "main"}} }, ""},
		{"rule without profile", func(d *documents) { d.rules = []SelectRule{{Name: "r", Profile: "gone"}} }, "rules/r: profile"},
		{"rule that wipes", func(d *documents) { d.rules = []SelectRule{{Name: "r", Profile: "wipe"}} }, "rules/r: profile"},
		{"rule that wipes, switched off", func(d *documents) { d.rules = []SelectRule{{Name: "r", Profile: "wipe", Off: true}} }, "rules/r: profile"},
		{"rule that does not compile", func(d *documents) {
			d.rules = []SelectRule{{Name: "r", Profile: "live", Match: Match{MAC: []string{"x"}}}}
		}, "rules/r: match.mac[0]"},
		{"default", func(d *documents) { d.site.Default = "main" }, ""},
		{"default that does not exist", func(d *documents) { d.site.Default = "gone" }, "site: default"},
		{"default that wipes", func(d *documents) { d.site.Default = "wipe" }, "site: default"},
		{"site by itself", func(d *documents) { d.site.Unknown = "x" }, "site: unknown"},
		{"menu without profile", func(d *documents) { d.targets[3] = menuOf("main", "", "live", "gone") }, "targets/main: menu.entries[1].profile"},
		{"menu with a heading", func(d *documents) {
			d.targets[3].Menu = &Menu{Entries: []MenuEntry{{Gap: "x"}, {Profile: "live"}}}
		}, ""},
		{"menu with a default", func(d *documents) { d.targets[3] = menuOf("main", "live", "live", "wipe") }, ""},
		{"menu of everything with a default", func(d *documents) { d.targets[3] = menuOf("main", "live") }, ""},
		{"menu whose time-out wipes", func(d *documents) { d.targets[3] = menuOf("main", "wipe", "live", "wipe") }, "targets/main: menu.default"},
		{"menu of everything whose time-out wipes", func(d *documents) { d.targets[3] = menuOf("main", "wipe") }, "targets/main: menu.default"},
		{"menu whose time-out leads nowhere", func(d *documents) { d.targets[3] = menuOf("main", "gone") }, "targets/main: menu.default"},
		{"menu whose time-out installs without asking", func(d *documents) {
			d.targets[3] = menuOf("main", "live", "live")
			d.profiles[0].Answers = map[string]string{"a.cfg": "preseed"}
			d.templates = []Template{preseed}
		}, "targets/main: menu.default"},
		{"menu whose time-out has a harmless answer file", func(d *documents) {
			d.targets[3] = menuOf("main", "live", "live")
			d.profiles[0].Answers = map[string]string{"a.ign": "ign"}
			d.templates = []Template{{Name: "ign", Kind: TemplateIgnition, Text: "{}"}}
		}, ""},
		{"menu below a menu", func(d *documents) {
			d.targets = append(d.targets, menuOf("sub", "", "live"))
			d.targets[3] = menuOf("main", "sub", "sub", "live")
			d.profiles = append(d.profiles, Profile{Name: "sub", Target: "sub"})
		}, ""},
		{"menu in itself", func(d *documents) { d.targets[3] = menuOf("main", "", "live", "main") }, "targets/main: menu"},
		{"menu whose time-out is itself", func(d *documents) { d.targets[3] = menuOf("main", "main") }, "targets/main: menu"},
		{"menus in a circle", func(d *documents) {
			d.targets = append(d.targets, menuOf("b", "", "c"), menuOf("c", "", "live", "main"), menuOf("aside", "", "b"))
			d.targets[3] = menuOf("main", "", "b")
			d.profiles = append(d.profiles, profilesOf("b=b", "c=c", "aside=aside")...)
		}, "targets/b: menu; targets/c: menu; targets/main: menu"},
		{"disk", func(d *documents) { d.targets = append(d.targets, disk("live", false)) }, ""},
		{"disk, then nothing", func(d *documents) { d.targets = append(d.targets, disk("gone", false)) }, "targets/disk: san.then"},
		{"disk, then a menu", func(d *documents) { d.targets = append(d.targets, disk("main", false)) }, "targets/disk: san.then"},
		{"disk, then the local disk", func(d *documents) { d.targets = append(d.targets, disk("local", false)) }, "targets/disk: san.then"},
		{"disk, then itself", func(d *documents) { d.targets = append(d.targets, disk("disk", false)) }, "targets/disk: san.then"},
		{"disk, then something that wipes", func(d *documents) { d.targets = append(d.targets, disk("debian", false)) }, "targets/disk: destructive"},
		{"disk that wipes, then something that wipes", func(d *documents) { d.targets = append(d.targets, disk("debian", true)) }, ""},
		{"default that wipes by way of a disk", func(d *documents) {
			d.targets = append(d.targets, disk("debian", true))
			d.profiles = append(d.profiles, Profile{Name: "disk", Target: "disk"})
			d.site.Default = "disk"
		}, "site: default"},
		{"a name twice", func(d *documents) {
			d.targets = append(d.targets, live)
			d.profiles = append(d.profiles, d.profiles[0])
			d.groups = []Group{{Name: "g"}, {Name: "g"}}
			d.rules = []SelectRule{{Name: "r", Profile: "live"}, {Name: "r", Profile: "live"}}
			d.templates = []Template{preseed, preseed}
		}, "groups/g: name; profiles/live: name; rules/r: name; targets/live: name; templates/preseed: name"},
		{"errors of their own", func(d *documents) {
			d.targets[0].Kernel = ""
			d.templates = []Template{{Name: "t", Kind: TemplatePlain}}
			d.groups = []Group{{Name: "G"}}
		}, "groups/G: name; targets/live: kernel; templates/t: text"},
		{"a file of Windows that no profile has", func(d *documents) {
			d.targets = append(d.targets, Target{Name: "win", Kind: TargetWimboot, Kernel: "wimboot", Wim: &Wim{Wim: "boot.wim", Files: map[string]string{"autounattend.xml": "answer:a.xml", "x": "files/x"}}})
			d.profiles = append(d.profiles, Profile{Name: "win", Target: "win", Answers: map[string]string{"b.xml": "u"}}, Profile{Name: "win2", Target: "win", Answers: map[string]string{"a.xml": "u"}})
			d.templates = []Template{{Name: "u", Kind: TemplateAutounattend, Text: "x"}}
		}, "profiles/win: answers"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := base
			d.targets, d.profiles = slices.Clone(base.targets), slices.Clone(base.profiles)
			c.with(&d)
			catalog, errs := d.catalog()
			if got := problems(errs); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
			if c.want == "" && errs != nil {
				t.Error("no errors are an empty map, not nil")
			}
			if catalog == nil {
				t.Fatal("no catalog")
			}
			// A document with errors is handed out to nobody.
			for key := range errs {
				kind, name, _ := strings.Cut(key, "/")
				if _, _, ok := catalog.Resolve(name); ok && kind == "profiles" {
					t.Errorf("profile %s is handed out", name)
				}
				for _, p := range d.profiles {
					if _, _, ok := catalog.Resolve(p.Name); ok && kind == "targets" && p.Target == name {
						t.Errorf("target %s is handed out", name)
					}
				}
			}
		})
	}
}

func TestInstallerTemplates(t *testing.T) {
	harmless := map[TemplateKind]bool{TemplateScript: true, TemplateCmdline: true, TemplateIgnition: true, TemplatePlain: true}
	for _, kind := range TemplateKinds() {
		d := documents{
			targets: []Target{live, menuOf("main", "live", "live")}, profiles: profilesOf("live=live"),
			templates: []Template{{Name: "x", Kind: kind, Text: "x"}},
		}
		d.profiles[0].Answers = map[string]string{"a": "x"}
		if _, errs := d.catalog(); (errs == nil) != harmless[kind] {
			t.Errorf("%s: %v", kind, errs)
		}
	}
}

func TestCatalogIsSortedAndBounded(t *testing.T) {
	d := documents{targets: []Target{live}, profiles: profilesOf("live=live")}
	for i := range MaxDocuments + 2 {
		d.rules = append(d.rules, SelectRule{Name: fmt.Sprintf("r%04d", MaxDocuments+1-i), Order: i % 2, Profile: "live"})
	}
	c, errs := d.catalog()
	if len(c.Rules) != MaxDocuments || len(errs) != 2 || fieldsOf(errs["rules/r0000"]) != "name" {
		t.Errorf("%d rules, %d errors", len(c.Rules), len(errs))
	}
	if !slices.IsSortedFunc(c.Rules, func(x, y SelectRule) int {
		if x.Order != y.Order {
			return x.Order - y.Order
		}
		return strings.Compare(x.Name, y.Name)
	}) {
		t.Error("rules are not in their order")
	}
}

func TestResolve(t *testing.T) {
	d := documents{
		targets: []Target{
			live, wiping,
			{Name: "disk", Kind: TargetSAN, SAN: &SAN{Protocol: SANAoE, Shelf: "e0.0", Hook: true, Then: "debian"}, Destructive: true},
			{Name: "unhooked", Kind: TargetSAN, SAN: &SAN{Protocol: SANAoE, Shelf: "e0.0"}},
			{Name: "bad-then", Kind: TargetSAN, SAN: &SAN{Protocol: SANAoE, Shelf: "e0.0", Hook: true, Then: "bad"}},
			{Name: "bad", Kind: TargetLinux},
		},
		profiles:  append(profilesOf("live=live", "wipe=debian", "disk=disk", "unhooked=unhooked", "bad-then=bad-then", "bad=bad", "gone=gone"), Profile{Name: "tpl", Target: "live", Answers: map[string]string{"a": "bad"}}, Profile{Name: "tpl2", Target: "live", Answers: map[string]string{"a": "good"}}),
		templates: []Template{{Name: "bad", Kind: TemplatePlain}, {Name: "good", Kind: TemplatePlain, Text: "x"}},
	}
	c, _ := d.catalog()
	for name, want := range map[string]string{
		"live": "live", "wipe": "debian!", "disk": "disk!", "unhooked": "unhooked", "tpl2": "live", "bad-then": "", "bad": "", "gone": "", "tpl": "", "none": "", "": "",
	} {
		p, target, ok := c.Resolve(name)
		got := target.Name
		if target.Destructive {
			got += "!"
		}
		if got != want || ok != (want != "") || ok && p.Name != name {
			t.Errorf("%s: %q %v", name, got, ok)
		}
	}
	// What was put together by hand, with the mark missing on the disk.
	disk := d.targets[2]
	disk.Destructive = false
	byHand := &Catalog{
		Targets:  map[string]Target{"debian": wiping, "disk": disk, "live": live},
		Profiles: map[string]Profile{"disk": {Name: "disk", Target: "disk"}, "live": {Name: "live", Target: "live"}},
	}
	if _, target, ok := byHand.Resolve("live"); !ok || target.Name != "live" {
		t.Error("a catalog put together by hand resolves nothing")
	}
	if _, target, ok := byHand.Resolve("disk"); ok && !target.Destructive {
		t.Error("a disk whose program wipes passes for harmless")
	}
	if _, _, ok := (*Catalog)(nil).Resolve("x"); ok {
		t.Error("no catalog resolves something")
	}
}

func TestUsedBy(t *testing.T) {
	d := documents{
		site: Site{Unknown: UnknownAllow, Default: "main"},
		targets: []Target{
			live, wiping, menuOf("main", "live", "live", "live", "wipe"),
			{Name: "disk", Kind: TargetSAN, SAN: &SAN{Protocol: SANAoE, Shelf: "e0.0", Hook: true, Then: "live"}},
			{Name: "disk2", Kind: TargetSAN, SAN: &SAN{Protocol: SANAoE, Shelf: "e0.0"}},
		},
		profiles:  append(profilesOf("live=live", "main=main"), Profile{Name: "wipe", Target: "debian", Answers: map[string]string{"a": "t", "b": "t"}}),
		groups:    []Group{{Name: "g", Profile: "live"}},
		rules:     []SelectRule{{Name: "r", Profile: "live"}},
		templates: []Template{{Name: "t", Kind: TemplatePreseed, Text: "x"}},
	}
	c, errs := d.catalog()
	if errs != nil {
		t.Fatal(errs)
	}
	for key, want := range map[string]string{
		"targets/live": "profiles/live targets/disk", "targets/debian": "profiles/wipe", "profiles/live": "groups/g rules/r targets/main",
		"profiles/main": "site", "profiles/wipe": "targets/main", "templates/t": "profiles/wipe", "groups/g": "", "targets/gone": "", "targets/": "",
	} {
		kind, name, _ := strings.Cut(key, "/")
		users := c.UsedBy(kind, name)
		if got := strings.Join(users, " "); got != want {
			t.Errorf("%s: %q, want %q", key, got, want)
		}
		if len(users) > 0 {
			users[0] = "changed"
		}
		if got := strings.Join(c.UsedBy(kind, name), " "); got != want {
			t.Errorf("%s: the caller changes the catalog", key)
		}
	}
}

func TestVisible(t *testing.T) {
	d := documents{
		targets: []Target{live, wiping, {Name: "bad", Kind: TargetLinux}},
		profiles: []Profile{
			{Name: "c", Target: "live", Title: "alpha"},
			{Name: "b", Target: "live"},
			{Name: "d", Target: "debian", Title: "Beta"},
			{Name: "a", Target: "live", Title: "Alpha"},
			{Name: "hidden", Target: "live", Hidden: true},
			{Name: "bad", Target: "bad"},
			{Name: "lab", Target: "live", Title: "Zeta", Visible: Match{Tag: []string{"lab"}}},
			{Name: "others", Target: "live", Visible: Match{Tag: []string{"office"}}},
			{Name: "broken", Target: "live", Visible: Match{MAC: []string{"x"}}},
		},
	}
	c, _ := d.catalog()
	var got []string
	m, s := laptop(t)
	for _, p := range Visible(c, m, s) {
		got = append(got, p.Name)
	}
	if text := strings.Join(got, " "); text != "a c b d lab" {
		t.Errorf("visible: %s", text)
	}
	if got := Visible(nil, m, s); got != nil {
		t.Errorf("visible of nothing: %v", got)
	}
}

func FuzzNewCatalog(f *testing.F) {
	for _, s := range []string{
		`{}`,
		`{"site":{"unknown":"ask","default":"p"},"targets":[{"name":"t","kind":"local"}],"profiles":[{"name":"p","target":"t"}]}`,
		`{"targets":[{"name":"m","kind":"menu","menu":{"default":"p","entries":[{"profile":"p"}]}}],"profiles":[{"name":"p","target":"m"}]}`,
		`{"targets":[{"name":"d","kind":"linux","kernel":"k","destructive":true},{"name":"s","kind":"san","san":{"protocol":"aoe","shelf":"e0.0","hook":true,"then":"d"}}],"profiles":[{"name":"p","target":"s"}],"rules":[{"name":"r","profile":"p","match":{"mac":["5"]}}]}`,
		`{"targets":[{"name":"w","kind":"wimboot","kernel":"k","wim":{"boot_wim":"b","files":{"a":"answer:x"}}}],"profiles":[{"name":"p","target":"w","answers":{"x":"t"}}],"templates":[{"name":"t","kind":"autounattend","text":"x"}]}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		var d struct {
			Site      Site
			Targets   []Target
			Profiles  []Profile
			Groups    []Group
			Rules     []SelectRule
			Templates []Template
			Machine   Machine
			Sighting  Sighting
		}
		if json.Unmarshal(doc, &d) != nil {
			return
		}
		c, errs := NewCatalog(d.Site, d.Targets, d.Profiles, d.Groups, d.Rules, d.Templates)
		for key, list := range errs {
			if len(list) == 0 {
				t.Errorf("%s: an empty list of errors", key)
			}
			for _, e := range list {
				if e.Field == "" || e.What == "" {
					t.Errorf("%s: %+v", key, e)
				}
			}
		}
		_ = d.Machine.Check()
		for _, proof := range []Proof{ProofNone, ProofSeen, ProofAgainst} {
			out := Choose(c, d.Machine, Situation{Sighting: d.Sighting, Confidence: ConfidenceFull, Proof: proof, Now: noon})
			won := 0
			for _, s := range out.Steps {
				if s.Won {
					won++
				}
			}
			if won != 1 || out.Action == "" || out.Source == "" || len(out.Steps) > MaxSteps {
				t.Errorf("%s: %+v", doc, out)
			}
			if _, target, _ := c.Resolve(out.Profile); target.Destructive && (out.Action != ActionArmed || proof != ProofSeen) {
				t.Errorf("%s: %+v", doc, out)
			}
		}
		Visible(c, d.Machine, d.Sighting)
	})
}
