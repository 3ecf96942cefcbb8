package boot

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// compiled is what NewCatalog works out once, so that a decision parses,
// searches and allocates little.
type compiled struct {
	rules       []Matcher // as Catalog.Rules
	visible     map[string]Matcher
	listed      []string        // profiles for menus, by title
	broken      map[string]bool // "targets/x": has errors of its own, is not handed out
	usedBy      map[string][]string
	allow, deny machineList
}

// Kinds of documents as they are named in the keys of NewCatalog's errors and
// by UsedBy.
const (
	docTargets   = "targets"
	docProfiles  = "profiles"
	docGroups    = "groups"
	docRules     = "rules"
	docTemplates = "templates"
	docSite      = "site"
)

// NewCatalog makes the operator's documents ready for decisions and checks each
// of them and what they say about one another: names that do not exist, menus
// that lead back to themselves, defaults that would overwrite something. The
// errors are by document ("targets/NAME", "site").
//
// The catalog is usable even beside errors. A document that has some is never
// handed out to a machine; what refers to it leads to the built-in menu.
func NewCatalog(site Site, targets []Target, profiles []Profile, groups []Group, rules []SelectRule, templates []Template) (*Catalog, map[string]FieldErrors) {
	b := cataloging{
		c: &Catalog{
			Site: site, Targets: map[string]Target{}, Profiles: map[string]Profile{},
			Groups: map[string]Group{}, Templates: map[string]Template{},
		},
		errs: map[string]FieldErrors{},
	}
	k := &b.c.compiled
	k.visible, k.broken, k.usedBy = map[string]Matcher{}, map[string]bool{}, map[string][]string{}

	collect(&b, docTargets, b.c.Targets, targets, func(t *Target) string { return t.Name }, Target.Check)
	collect(&b, docTemplates, b.c.Templates, templates, func(t *Template) string { return t.Name }, Template.Check)
	collect(&b, docProfiles, b.c.Profiles, profiles, func(p *Profile) string { return p.Name }, Profile.Check)
	collect(&b, docGroups, b.c.Groups, groups, func(g *Group) string { return g.Name }, Group.Check)
	b.rules(rules)
	b.fail(docSite, site.Check()...)
	k.allow, _ = newList("allow", site.Allow)
	k.deny, _ = newList("deny", site.Deny)

	b.targets()
	b.profiles()
	b.groups()
	b.site()
	for _, users := range k.usedBy {
		slices.Sort(users)
	}
	for key := range b.errs {
		k.broken[key] = true
	}
	b.listed()
	if len(b.errs) == 0 {
		b.errs = nil
	}
	b.c.ready = true
	return b.c, b.errs
}

// cataloging is the work of NewCatalog.
type cataloging struct {
	c    *Catalog
	errs map[string]FieldErrors
}

func (b *cataloging) fail(key string, errs ...FieldError) {
	if len(errs) > 0 {
		b.errs[key] = append(b.errs[key], errs...)
	}
}

func collect[T any](b *cataloging, kind string, into map[string]T, docs []T, name func(*T) string, check func(T) FieldErrors) {
	for i := range docs {
		d := docs[i]
		key := kind + "/" + name(&d)
		if _, twice := into[name(&d)]; twice {
			b.fail(key, FieldError{"name", "is used by another document of this kind; write another one"})
			continue
		}
		if len(into) >= MaxDocuments {
			b.fail(key, FieldError{"name", "there are " + strconv.Itoa(MaxDocuments) + " " + kind + " already; delete some"})
			continue
		}
		into[name(&d)] = d
		b.fail(key, check(d)...)
	}
}

// rules sorts and compiles. A rule that does not compile matches nothing.
func (b *cataloging) rules(rules []SelectRule) {
	byName := map[string]SelectRule{}
	collect(b, docRules, byName, rules, func(r *SelectRule) string { return r.Name }, SelectRule.Check)
	for _, r := range byName {
		b.c.Rules = append(b.c.Rules, r)
	}
	slices.SortFunc(b.c.Rules, func(x, y SelectRule) int {
		return cmp.Or(cmp.Compare(x.Order, y.Order), cmp.Compare(x.Name, y.Name))
	})
	for i := range b.c.Rules {
		m, _ := CompileMatch(b.c.Rules[i].Match)
		b.c.compiled.rules = append(b.c.compiled.rules, m)
	}
}

func (b *cataloging) use(kind, name, user string) {
	key := kind + "/" + name
	if !slices.Contains(b.c.compiled.usedBy[key], user) {
		b.c.compiled.usedBy[key] = append(b.c.compiled.usedBy[key], user)
	}
}

// overwrites says whether a profile's target does. A profile that does not
// exist overwrites nothing. (A disk that is attached for a program that does has
// to be marked itself.)
func (b *cataloging) overwrites(profile string) bool {
	return b.c.Targets[b.c.Profiles[profile].Target].Destructive
}

// reaches checks a profile that machines get without anybody having said so
// for that machine.
func (b *cataloging) reaches(key, field, profile string) {
	b.use(docProfiles, profile, key)
	switch _, ok := b.c.Profiles[profile]; {
	case !ok:
		b.fail(key, FieldError{field, "there is no profile " + strconv.Quote(cut(profile)) + "; make it first"})
	case b.overwrites(profile):
		b.fail(key, FieldError{field, "the target of profile " + strconv.Quote(profile) + " overwrites something: it boots only armed for one machine; write another profile, or a menu that offers it"})
	}
}

func (b *cataloging) targets() {
	for _, name := range sortedKeys(b.c.Targets) {
		t := b.c.Targets[name]
		key := docTargets + "/" + name
		if t.SAN != nil && t.SAN.Then != "" {
			b.then(key, &t)
		}
		if t.Menu != nil {
			b.menu(key, t.Menu)
			if way := b.cycle(name); way != nil {
				b.fail(key, FieldError{"menu", "leads back to itself: " + strings.Join(way, " → ") + "; take out one of these entries"})
			}
		}
	}
}

// then checks what is booted with a network disk attached.
func (b *cataloging) then(key string, t *Target) {
	b.use(docTargets, t.SAN.Then, key)
	then, ok := b.c.Targets[t.SAN.Then]
	switch {
	case !ok:
		b.fail(key, FieldError{"san.then", "there is no target " + strconv.Quote(cut(t.SAN.Then)) + "; make it first"})
	case then.Kind == TargetSAN || then.Kind == TargetMenu || then.Kind == TargetLocal:
		b.fail(key, FieldError{"san.then", "a target of kind " + string(then.Kind) + " cannot be booted with the disk attached; write one that starts a program"})
	case then.Destructive && !t.Destructive:
		b.fail(key, FieldError{"destructive", "target " + strconv.Quote(t.SAN.Then) + " overwrites something, so this one does; set it"})
	}
}

// installers are the templates that tell an installer not to ask. Even where
// nobody marked the target as destructive, no menu takes such an entry by
// itself.
func (k TemplateKind) installer() bool {
	switch k {
	case TemplateKickstart, TemplatePreseed, TemplateAutoinstall, TemplateAutounattend, TemplateAutoYaST:
		return true
	default:
		return false
	}
}

func (b *cataloging) menu(key string, m *Menu) {
	for i, e := range m.Entries {
		if e.Profile == "" {
			continue
		}
		b.use(docProfiles, e.Profile, key)
		if _, ok := b.c.Profiles[e.Profile]; !ok {
			b.fail(key, FieldError{at("menu.entries", i) + ".profile", "there is no profile " + strconv.Quote(cut(e.Profile)) + "; make it first"})
		}
	}
	if m.Default == "" {
		return
	}
	b.use(docProfiles, m.Default, key)
	p, ok := b.c.Profiles[m.Default]
	switch {
	case !ok:
		b.fail(key, FieldError{"menu.default", "there is no profile " + strconv.Quote(cut(m.Default)) + "; make it first"})
		return
	case b.overwrites(m.Default):
		b.fail(key, FieldError{"menu.default", "the entry overwrites something, and a time-out must not; write another one, or leave it out for the local disk"})
	}
	for _, name := range sortedKeys(p.Answers) {
		if b.c.Templates[p.Answers[name]].Kind.installer() {
			b.fail(key, FieldError{"menu.default", "the entry starts an installation that asks nothing (" + name + "), and a time-out must not; write another one, or leave it out for the local disk"})
		}
	}
}

// below lists the targets that a menu leads to by its entries or its time-out.
func (b *cataloging) below(target string) []string {
	m := b.c.Targets[target].Menu
	if m == nil {
		return nil
	}
	profiles := []string{m.Default}
	for _, e := range m.Entries {
		profiles = append(profiles, e.Profile)
	}
	var out []string
	for _, p := range profiles {
		out = append(out, b.c.Profiles[p].Target)
	}
	return out
}

// cycle finds a way from a menu back to itself, nil when there is none.
func (b *cataloging) cycle(start string) []string {
	from := map[string]string{} // menu: the one that leads there
	queue := []string{start}
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		for _, next := range b.below(at) {
			if next == start {
				way := []string{start}
				for ; at != start; at = from[at] {
					way = append(way, at)
				}
				way = append(way, start)
				slices.Reverse(way)
				return way
			}
			if _, seen := from[next]; !seen {
				from[next] = at
				queue = append(queue, next)
			}
		}
	}
	return nil
}

func (b *cataloging) profiles() {
	for _, name := range sortedKeys(b.c.Profiles) {
		p := b.c.Profiles[name]
		key := docProfiles + "/" + name
		b.use(docTargets, p.Target, key)
		t, ok := b.c.Targets[p.Target]
		if !ok && p.Target != "" {
			b.fail(key, FieldError{"target", "there is no target " + strconv.Quote(cut(p.Target)) + "; make it first"})
		}
		for _, file := range sortedKeys(p.Answers) {
			b.use(docTemplates, p.Answers[file], key)
			if _, ok := b.c.Templates[p.Answers[file]]; !ok {
				b.fail(key, FieldError{"answers." + file, "there is no template " + strconv.Quote(cut(p.Answers[file])) + "; make it first"})
			}
		}
		if t.Wim != nil {
			for _, file := range sortedKeys(t.Wim.Files) {
				answer, is := strings.CutPrefix(t.Wim.Files[file], AnswerPrefix)
				if _, ok := p.Answers[answer]; is && !ok {
					b.fail(key, FieldError{"answers", "target " + strconv.Quote(p.Target) + " wants the answer file " + strconv.Quote(cut(answer)) + "; add it"})
				}
			}
		}
		b.c.compiled.visible[name], _ = CompileMatch(p.Visible)
	}
}

func (b *cataloging) groups() {
	for _, name := range sortedKeys(b.c.Groups) {
		if p := b.c.Groups[name].Profile; p != "" {
			b.reaches(docGroups+"/"+name, "profile", p)
		}
	}
	for i := range b.c.Rules {
		b.reaches(docRules+"/"+b.c.Rules[i].Name, "profile", b.c.Rules[i].Profile)
	}
}

func (b *cataloging) site() {
	if p := b.c.Site.Default; p != "" {
		b.reaches(docSite, "default", p)
	}
}

// listed sorts the profiles that menus list by themselves.
func (b *cataloging) listed() {
	k := &b.c.compiled
	for _, name := range sortedKeys(b.c.Profiles) {
		if _, _, ok := b.c.resolve(name); ok && !b.c.Profiles[name].Hidden {
			k.listed = append(k.listed, name)
		}
	}
	slices.SortStableFunc(k.listed, func(x, y string) int {
		p, q := b.c.Profiles[x], b.c.Profiles[y]
		return cmp.Compare(fold(p.title()), fold(q.title()))
	})
}

// title is what people see.
func (p *Profile) title() string { return first(p.Title, p.Name) }

// usable is a catalog that NewCatalog made: one that was put together by hand is
// made ready first, rather than decided upon without its deny-list.
func (c *Catalog) usable() *Catalog {
	if c == nil {
		c = &Catalog{}
	}
	if c.ready {
		return c
	}
	ready, _ := NewCatalog(c.Site, values(c.Targets), values(c.Profiles), values(c.Groups), c.Rules, values(c.Templates))
	return ready
}

func values[V any](m map[string]V) []V {
	out := make([]V, 0, len(m))
	for _, k := range sortedKeys(m) {
		out = append(out, m[k])
	}
	return out
}

// Resolve finds a profile and its target; ok is false when one of them, or
// something they need, does not exist or has errors.
func (c *Catalog) Resolve(profile string) (Profile, Target, bool) { return c.usable().resolve(profile) }

func (c *Catalog) resolve(profile string) (Profile, Target, bool) {
	p := c.Profiles[profile]
	t, ok := c.Targets[p.Target]
	if !ok || c.compiled.broken[docProfiles+"/"+profile] || c.compiled.broken[docTargets+"/"+p.Target] {
		return Profile{}, Target{}, false
	}
	if t.SAN != nil && c.compiled.broken[docTargets+"/"+t.SAN.Then] {
		return Profile{}, Target{}, false
	}
	for _, name := range p.Answers {
		if c.compiled.broken[docTemplates+"/"+name] {
			return Profile{}, Target{}, false
		}
	}
	return p, t, true
}

// UsedBy lists what refers to a document ("profiles/x", "rules/y", "site"),
// sorted. kind is targets, profiles, groups or templates; what machines refer to
// is not in the catalog.
func (c *Catalog) UsedBy(kind, name string) []string {
	return slices.Clone(c.usable().compiled.usedBy[kind+"/"+name])
}
