package boot

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestAlphabets holds every check of characters against its pattern, for every
// octet at the beginning, inside and at the end.
func TestAlphabets(t *testing.T) {
	for name, c := range map[string]struct {
		ok      func(string) bool
		pattern string
	}{
		"name":      {ValidName, `^[a-z0-9][a-z0-9._-]{0,62}$`},
		"variable":  {ValidVariable, `^[A-Za-z_][A-Za-z0-9_-]{0,62}$`},
		"file":      {validFile, `^[A-Za-z0-9_][A-Za-z0-9._-]{0,62}$`},
		"parameter": {validParameter, `^[A-Za-z0-9._:/-]{1,64}$`},
		"key":       {validKey, `^[A-Za-z0-9]$`},
		"label":     {validLabel, `^[A-Za-z0-9]([A-Za-z0-9._-]| [A-Za-z0-9._-]){0,62}$`},
		"path":      {func(s string) bool { return s != "." && pathProblem(s) == "" }, `^[A-Za-z0-9_+~@=,:-][A-Za-z0-9._+~@=,:-]*(/[A-Za-z0-9_+~@=,:-][A-Za-z0-9._+~@=,:-]*)*$|^\.[A-Za-z0-9_+~@=,:-]$|/\.[A-Za-z0-9_+~@=,:-]$`},
		"MAC":       {func(s string) bool { _, problem := macPrefix(s); return problem == "" }, `^[:.-]*[0-9A-Fa-f][0-9A-Fa-f:.-]*\*?$`},
	} {
		pattern := regexp.MustCompile(c.pattern)
		for b := range 256 {
			o := string([]byte{byte(b)})
			for _, s := range []string{o, "a" + o, o + "a", "a" + o + "a", "a" + o + o + "a"} {
				if got := c.ok(s); got != pattern.MatchString(s) {
					t.Errorf("%s %q: %v", name, s, got)
				}
			}
		}
	}
	for name, c := range map[string]struct {
		ok   func(string) bool
		most int
	}{
		"name": {ValidName, 63}, "variable": {ValidVariable, 63}, "file": {validFile, 63}, "parameter": {validParameter, 64}, "label": {validLabel, 63},
		"host": {func(s string) bool { return validHost(s) || len(s) > 63 && validHost(s[:63]+"."+s[64:]) }, 127},
	} {
		if !c.ok(strings.Repeat("a", c.most)) || c.ok(strings.Repeat("a", c.most+1)) || c.ok("") {
			t.Errorf("%s: other bounds than %d", name, c.most)
		}
	}
	if !validHost(strings.Repeat("abc.", 63)+"a") || validHost(strings.Repeat("abc.", 63)+"ab") {
		t.Error("a host name has at most 253 octets")
	}
}

// TestSentencesSayTheBound: what is too much is refused with the number that is
// allowed, and that number is.
func TestSentencesSayTheBound(t *testing.T) {
	text := func(n int) string { return strings.Repeat("x", n) }
	lines := func(n int, s string) []string { return slices.Repeat([]string{s}, n) }
	table := func(n int, value string) map[string]string {
		m := map[string]string{}
		for i := range n {
			m[fmt.Sprintf("n%d", i)] = value
		}
		return m
	}
	linux := func(with func(*Target)) FieldErrors {
		target := Target{Name: "t", Kind: TargetLinux, Kernel: "k"}
		with(&target)
		return target.Check()
	}
	menu := func(m Menu) FieldErrors { return Target{Name: "t", Kind: TargetMenu, Menu: &m}.Check() }
	san := func(with func(*SAN)) FieldErrors {
		s := SAN{Protocol: SANiSCSI, Host: "h", IQN: "iqn.x"}
		with(&s)
		return Target{Name: "t", Kind: TargetSAN, SAN: &s}.Check()
	}
	match := func(m Match) FieldErrors { _, errs := CompileMatch(m); return errs }
	for _, c := range []struct {
		field string
		most  int
		of    func(n int) FieldErrors
	}{
		{"name", 63, func(n int) FieldErrors { return Profile{Name: text(n), Target: "t"}.Check() }},
		{"target", 63, func(n int) FieldErrors { return Profile{Name: "p", Target: text(n)}.Check() }},
		{"title", 80, func(n int) FieldErrors { return Profile{Name: "p", Target: "t", Title: text(n)}.Check() }},
		{"notes", 4000, func(n int) FieldErrors { return Profile{Name: "p", Target: "t", Notes: text(n)}.Check() }},
		{"answers", 16, func(n int) FieldErrors { return Profile{Name: "p", Target: "t", Answers: table(n, "t")}.Check() }},
		{"answers", 63, func(n int) FieldErrors {
			return Profile{Name: "p", Target: "t", Answers: map[string]string{text(n): "t"}}.Check()
		}},
		{"variables", 64, func(n int) FieldErrors { return Group{Name: "g", Variables: table(n, "x")}.Check() }},
		{"variables.a", 4096, func(n int) FieldErrors { return Group{Name: "g", Variables: map[string]string{"a": text(n)}}.Check() }},
		{"order", 1000000, func(n int) FieldErrors { return SelectRule{Name: "r", Profile: "p", Order: n}.Check() }},
		{"order", 1000000, func(n int) FieldErrors { return SelectRule{Name: "r", Profile: "p", Order: -n}.Check() }},
		{"text", 262144, func(n int) FieldErrors { return Template{Name: "t", Kind: TemplatePlain, Text: text(n)}.Check() }},
		{"title", 80, func(n int) FieldErrors { return Site{Unknown: UnknownAsk, Title: text(n)}.Check() }},
		{"seconds", 3600, func(n int) FieldErrors { return Site{Unknown: UnknownAsk, Seconds: n}.Check() }},
		{"forget_days", 3650, func(n int) FieldErrors { return Site{Unknown: UnknownAsk, ForgetDays: n}.Check() }},
		{"allow", 1000, func(n int) FieldErrors { return Site{Unknown: UnknownAsk, Allow: lines(n, "52")}.Check() }},
		{"deny", 1000, func(n int) FieldErrors { return Site{Unknown: UnknownAsk, Deny: lines(n, "52")}.Check() }},
		{"name", 63, func(n int) FieldErrors { return Machine{Serial: "S1", Name: text(n)}.Check() }},
		{"tags[0]", 63, func(n int) FieldErrors { return Machine{Serial: "S1", Tags: []string{text(n)}}.Check() }},
		{"serial", 128, func(n int) FieldErrors { return Machine{Serial: text(n-1) + "y"}.Check() }},
		{"assignment.boots", 10, func(n int) FieldErrors {
			return Machine{Serial: "S1", Assignment: &Assignment{Profile: "p", Mode: AssignArmed, Boots: n}}.Check()
		}},
		{"title", 80, func(n int) FieldErrors { return linux(func(t *Target) { t.Title = text(n) }) }},
		{"kernel", 255, func(n int) FieldErrors { return linux(func(t *Target) { t.Kernel = text(n) }) }},
		{"kernel", 1000, func(n int) FieldErrors { return linux(func(t *Target) { t.Kernel = "tftp://h/" + text(n-9) }) }},
		{"initrds", 16, func(n int) FieldErrors { return linux(func(t *Target) { t.Initrds = lines(n, "i") }) }},
		{"cmdline", 4096, func(n int) FieldErrors { return linux(func(t *Target) { t.Cmdline = text(n) }) }},
		{"needs.memory", 16777216, func(n int) FieldErrors { return linux(func(t *Target) { t.Needs.Memory = n }) }},
		{"needs.platforms", 2, func(n int) FieldErrors {
			return linux(func(t *Target) { t.Needs.Platforms = slices.Repeat([]Platform{PlatformBIOS}, n) })
		}},
		{"needs.cpus", 7, func(n int) FieldErrors { return linux(func(t *Target) { t.Needs.CPUs = lines(n, "arm64") }) }},
		{"wim.files", 64, func(n int) FieldErrors {
			return Target{Name: "t", Kind: TargetWimboot, Kernel: "k", Wim: &Wim{Wim: "w", Files: table(n, "f")}}.Check()
		}},
		{"menu.title", 80, func(n int) FieldErrors { return menu(Menu{Title: text(n)}) }},
		{"menu.seconds", 3600, func(n int) FieldErrors { return menu(Menu{Seconds: n}) }},
		{"menu.entries", 64, func(n int) FieldErrors { return menu(Menu{Entries: slices.Repeat([]MenuEntry{{Profile: "p"}}, n)}) }},
		{"menu.entries[0].title", 80, func(n int) FieldErrors { return menu(Menu{Entries: []MenuEntry{{Profile: "p", Title: text(n)}}}) }},
		{"menu.entries[0].gap", 80, func(n int) FieldErrors { return menu(Menu{Entries: []MenuEntry{{Gap: text(n)}}}) }},
		{"san.port", 65535, func(n int) FieldErrors { return san(func(s *SAN) { s.Port = n }) }},
		{"san.iqn", 255, func(n int) FieldErrors { return san(func(s *SAN) { s.IQN = text(n) }) }},
		{"san.initiator", 255, func(n int) FieldErrors { return san(func(s *SAN) { s.Initiator = text(n) }) }},
		{"san.user", 255, func(n int) FieldErrors { return san(func(s *SAN) { s.User = text(n) }) }},
		{"san.file", 255, func(n int) FieldErrors { return san(func(s *SAN) { s.File = text(n) }) }},
		{"san.drive", 143, func(n int) FieldErrors { return san(func(s *SAN) { s.Drive = n }) }},
		{"serial", 64, func(n int) FieldErrors { return match(Match{Serial: lines(n, "x")}) }},
		{"serial[0]", 128, func(n int) FieldErrors { return match(Match{Serial: []string{text(n)}}) }},
		{"tag[0]", 128, func(n int) FieldErrors { return match(Match{Tag: []string{text(n)}}) }},
		{"mac[0]", 48, func(n int) FieldErrors { return match(Match{MAC: []string{"5" + strings.Repeat(":", n-1)}}) }},
		{"mac[0]", 32, func(n int) FieldErrors { return match(Match{MAC: []string{strings.Repeat("5", n)}}) }},
		{"rules/r", 1000, func(n int) FieldErrors {
			var rules []SelectRule
			for i := range n - 1 {
				rules = append(rules, SelectRule{Name: fmt.Sprintf("a%d", i), Profile: "p"})
			}
			_, errs := NewCatalog(Site{Unknown: UnknownAsk}, []Target{{Name: "t", Kind: TargetLocal}}, profilesOf("p=t"), nil, append(rules, SelectRule{Name: "r", Profile: "p"}), nil)
			for _, e := range errs["rules/r"] {
				return FieldErrors{{Field: "rules/r", What: e.What}}
			}
			return nil
		}},
	} {
		if errs := c.of(c.most); errs != nil {
			t.Errorf("%s: %d is too much: %v", c.field, c.most, errs)
		}
		errs := c.of(c.most + 1)
		if fieldsOf(errs) != c.field {
			t.Errorf("%s: %d gives %v", c.field, c.most+1, errs)
			continue
		}
		what := errs[0].What
		if n := fmt.Sprint(c.most); !strings.Contains(what, n) && !slices.Contains([]string{"mac[0]", "san.user", "san.file"}, c.field) {
			t.Errorf("%s: the sentence says no %s: %s", c.field, n, what)
		}
	}
}

// TestListsAreNotReadBeyondTheirBound: one error, not a thousand.
func TestListsAreNotReadBeyondTheirBound(t *testing.T) {
	bad := func(n int) map[string]string {
		m := map[string]string{}
		for i := range n {
			m[fmt.Sprintf("-%d", i)] = "\x00"
		}
		return m
	}
	for want, errs := range map[string]FieldErrors{
		"answers":         Profile{Name: "p", Target: "t", Answers: bad(MaxAnswers + 1)}.Check(),
		"variables":       Group{Name: "g", Variables: bad(MaxVariables + 1)}.Check(),
		"deny":            Site{Unknown: UnknownAsk, Deny: append(slices.Repeat([]string{"5"}, MaxListed), "bad")}.Check(),
		"tags":            Machine{Serial: "S1", Tags: slices.Repeat([]string{""}, MaxTags+1)}.Check(),
		"groups":          Machine{Serial: "S1", Groups: slices.Repeat([]string{""}, MaxTags+1)}.Check(),
		"macs":            Machine{MACs: make([]NIC, MaxMACs+1)}.Check(),
		"initrds":         Target{Name: "t", Kind: TargetLinux, Kernel: "k", Initrds: make([]string, MaxInitrds+1)}.Check(),
		"needs.platforms": Target{Name: "t", Kind: TargetLocal, Needs: Needs{Platforms: make([]Platform, 3)}}.Check(),
		"needs.cpus":      Target{Name: "t", Kind: TargetLocal, Needs: Needs{CPUs: make([]string, 8)}}.Check(),
		"wim.files":       Target{Name: "t", Kind: TargetWimboot, Kernel: "k", Wim: &Wim{Wim: "w", Files: bad(MaxWimFiles + 1)}}.Check(),
		"menu.entries":    Target{Name: "t", Kind: TargetMenu, Menu: &Menu{Entries: make([]MenuEntry, MaxMenuEntries+1)}}.Check(),
	} {
		if got := fieldsOf(errs); got != want {
			t.Errorf("%s: %q", want, got)
		}
	}
	if l, _ := newList("deny", append(slices.Repeat([]string{"5"}, MaxListed), "6")); len(l.macs) != MaxListed {
		t.Errorf("%d entries of the list are read", len(l.macs))
	}
}

// TestSentences are words that people act on.
func TestSentences(t *testing.T) {
	what := func(errs FieldErrors) string {
		if len(errs) != 1 {
			return fmt.Sprint(errs)
		}
		return errs[0].What
	}
	kernel := func(s string) string { return what(Target{Name: "t", Kind: TargetLinux, Kernel: s}.Check()) }
	chain := func(s string) string { return what(Target{Name: "t", Kind: TargetChain, URL: s}.Check()) }
	long := strings.Repeat("X", 50)
	for _, c := range []struct{ got, want string }{
		{what(Group{}.Check()), "missing; write a name"},
		{what(Group{Name: strings.Repeat("X", 40)}.Check()), `"` + strings.Repeat("X", 40) + `" is no name`},
		{what(Group{Name: long[:41]}.Check()), `"` + strings.Repeat("X", 40) + `…" is no name`},
		{what(Group{Name: long}.Check()), `"` + strings.Repeat("X", 40) + `…" is no name`},
		{what(Template{Name: "t", Kind: "x", Text: "x"}.Check()), "script, cmdline, kickstart, preseed, autoinstall, ignition, autounattend, autoyast, plain"},
		{what(Target{Name: "t"}.Check()), "linux, efi, wimboot, script, chain, san, local, pxelinux, grub, menu"},
		{what(Target{Name: "t", Kind: TargetLocal, Needs: Needs{CPUs: []string{"vax"}}}.Check()), "unknown; write one of i386, x86_64, arm32, arm64, riscv32, riscv64, loong64"},
		{kernel(""), "missing; write a path"},
		{kernel("/x"), "begins with a slash"},
		{kernel("x/"), "names a folder"},
		{kernel("a//b"), "has an empty part"},
		{kernel("a/../b"), `has ".." as a part`},
		{kernel("a b"), `has ' '`},
		{kernel("tftp://192.0.2.1/x y"), "has a space"},
		{kernel("gopher://x/"), "write http, https, tftp, ftp"},
		{kernel("http://x/${mac}"), "which does not count here"},
		{chain(""), "missing; write an address like http://192.0.2.1/path"},
		{chain("http://x/" + strings.Repeat("u", MaxURL)), "longer than 1000 octets"},
		{chain("http://x/\x7f"), "has a space or a character"},
		{chain("http://x/\x80"), "has a space or a character"},
		{chain("http://x/${mac"), "has a broken ${…}"},
		{chain("http://x/}"), "has a broken ${…}"},
		{chain("http:///x"), "has no host"},
		{chain("http://x:0/"), "has a port that does not exist"},
		{chain("http://x:99999999999999999999/"), "has a port that does not exist"},
		{what(Machine{Assignment: &Assignment{Profile: "p", Mode: "x"}, Serial: "S1"}.Check()), "write always, once or armed"},
	} {
		if !strings.Contains(c.got, c.want) {
			t.Errorf("%q does not say %q", c.got, c.want)
		}
	}
	for _, ok := range []string{"http://x:1/", "http://x:65535/", "http://x/!~", "http://${host}:${port}/${a}${b}", "tftp://x/y", "ftp://x/y", "https://x"} {
		if errs := (Target{Name: "t", Kind: TargetChain, URL: ok}).Check(); errs != nil {
			t.Errorf("%s: %v", ok, errs)
		}
	}
	if errs := (Target{Name: "t", Kind: TargetSAN, SAN: &SAN{Protocol: SANHTTP, URL: "http://x/${mac}.img"}}).Check(); errs != nil {
		t.Error(errs)
	}
	if got := fieldsOf(Machine{Serial: "S1", Groups: []string{"B", "B"}}.Check()); got != "groups[0] groups[1]" {
		t.Error("a bad name is also said to be there twice:", got)
	}
	if ok, why := nothing.Match(Machine{}, Sighting{}); ok || why != `the rule is not known; wanted is "one that can be used"` {
		t.Error(why)
	}
}

func TestMatchWhys(t *testing.T) {
	match := func(m Match, mc Machine, s Sighting) string {
		x, errs := CompileMatch(m)
		if errs != nil {
			t.Fatal(errs)
		}
		ok, why := x.Match(mc, s)
		return fmt.Sprint(ok, " ", why)
	}
	one, two, three := guidOf(t, "1"), guidOf(t, "2"), guidOf(t, "3")
	for _, c := range []struct{ got, want string }{
		{match(Match{Product: []string{"x"}}, Machine{}, Sighting{Product: `a"b\c`}), `false the product is "a\"b\\c"; wanted is "x"`},
		{match(Match{Product: []string{"x"}}, Machine{}, Sighting{Product: "é"}), `false the product is "é"; wanted is "x"`},
		{match(Match{UUID: []string{three.String()}}, Machine{GUID: one}, Sighting{GUID: two}), `false the identifier is "` + two.String() + `"; wanted is "` + three.String() + `"`},
		{match(Match{UUID: []string{three.String()}}, Machine{GUID: one}, Sighting{}), `false the identifier is "` + one.String() + `"; wanted is "` + three.String() + `"`},
		{match(Match{UUID: []string{two.String()}}, Machine{GUID: one}, Sighting{GUID: two}), `true the identifier is "` + two.String() + `"`},
		{match(Match{UUID: []string{one.String()}}, Machine{GUID: one}, Sighting{GUID: two}), `false the identifier is "` + two.String() + `"; wanted is "` + one.String() + `"`},
		{match(Match{Firmware: []Firmware{FirmwareUEFI, FirmwareBIOS}}, Machine{}, Sighting{Firmware: FirmwareIPXE}), `false the firmware is "ipxe"; wanted is "uefi" or "bios"`},
		{match(Match{NIC: []string{"x"}}, Machine{Seen: Sighting{MAC: macOf("a"), NIC: "X"}}, Sighting{}), `true the network card is "x"`},
		{match(Match{Arch: []string{"bios"}}, Machine{}, Sighting{Platform: PlatformUEFI, CPU: "vax"}), `false the architecture is not known; wanted is "bios"`},
		{match(Match{Arch: []string{"bios"}}, Machine{}, Sighting{Platform: PlatformUEFI, CPU: "i386"}), `false the architecture is "uefi-ia32"; wanted is "bios"`},
		{match(Match{Variables: map[string][]string{"memory": {"1"}}}, Machine{}, Sighting{Memory: 1}), `true the variable memory is "1"`},
	} {
		if c.got != c.want {
			t.Errorf("%s\nwant %s", c.got, c.want)
		}
	}
	if _, errs := CompileMatch(Match{UUID: []string{"0123456789abcdef0123456789abcdeg"}}); len(errs) != 1 {
		t.Error("an identifier with a broken end is taken:", errs)
	}
}

func TestCatalogDetails(t *testing.T) {
	// The sentence shows the way around.
	d := documents{
		targets:  []Target{live, menuOf("a", "", "b", "live", "b"), menuOf("b", "", "c"), menuOf("c", "", "a")},
		profiles: profilesOf("a=a", "b=b", "c=c", "live=live"),
	}
	_, errs := d.catalog()
	if what := errs["targets/a"][0].What; what != "leads back to itself: a → b → c → a; take out one of these entries" {
		t.Error(what)
	}
	// A menu below a menu that lists everything.
	d = documents{targets: []Target{live, menuOf("a", "", "b"), {Name: "b", Kind: TargetMenu}, menuOf("c", "live")}, profiles: profilesOf("b=b", "live=live")}
	c, errs := d.catalog()
	if errs != nil {
		t.Error(errs)
	}
	if got := c.UsedBy("profiles", "live"); !slices.Equal(got, []string{"targets/c"}) {
		t.Errorf("the default of a menu of everything: %v", got)
	}
	// A profile without a target has one error, not two.
	d = documents{profiles: []Profile{{Name: "p"}}}
	if _, errs = d.catalog(); fieldsOf(errs["profiles/p"]) != "target" {
		t.Error(errs)
	}
	// A card of the operator's that is not on the list denies nobody.
	l, _ := newList("deny", []string{"00:11"})
	if what := l.entry(&Machine{MACs: []NIC{{MAC: macOf("a"), Given: true}}}, &Sighting{MAC: macOf("b")}); what != "" {
		t.Error(what)
	}
}
