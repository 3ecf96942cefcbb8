package registry

import (
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/bootpuck/bootpuck/appliance/answer"
	"github.com/bootpuck/bootpuck/appliance/boot"
)

// Limits of what templates of a target may make, in octets.
const (
	maxCmdline = 4096 // kernels read 2048 (x86) to 4096 (s390x) of it
	maxName    = 223  // an iSCSI name (RFC 3720 section 3.2.6.1)
	maxScript  = 64 << 10
	maxAnswer  = 256 << 10
)

// links are the tokens of an attempt while its plan is made. They come to life
// only when the plan is handed out and if something in it leads to them.
type links struct {
	answer, callback string
	used             bool // a template wrote down one of them
}

// planning is the making of one plan: all that it depends on.
type planning struct {
	r     *Registry
	snap  *snapshot
	o     observation
	ask   Ask
	links links
}

// title is what a machine is called on its screen and in events.
func title(m boot.Machine, s boot.Sighting) string {
	switch {
	case m.Name != "":
		return m.Name
	case s.Hostname != "" && printable(s.Hostname):
		return s.Hostname
	case s.MAC != "":
		return string(s.MAC)
	case !s.GUID.IsZero():
		return s.GUID.String()
	case m.ID != "":
		return string(m.ID)
	}
	return "unknown machine"
}

// base is a plan with nothing but the choice in it.
func (p *planning) base(c boot.Choice) boot.Plan {
	plan := boot.Plan{Choice: c, Title: title(p.o.machine, p.o.sighting), Default: -1}
	if c.Reason != boot.ReasonNone {
		plan.Note = ascii(c.Reason.Text())
	}
	return plan
}

// ascii replaces what a firmware's console cannot show.
func ascii(s string) string {
	if printable(s) {
		return s
	}
	return strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' {
			return '?'
		}
		return c
	}, s)
}

// vars are the variables that templates see, the more special ones first.
func (p *planning) vars(profile boot.Profile) map[string]string {
	v := map[string]string{}
	maps.Copy(v, p.snap.docs.Site.Variables)
	maps.Copy(v, profile.Variables)
	groups := p.o.machine.Groups
	for i := len(groups) - 1; i >= 0; i-- {
		maps.Copy(v, p.snap.docs.Groups[groups[i]].Variables)
	}
	maps.Copy(v, p.o.machine.Variables)
	return v
}

// data is what templates of the profile are rendered with.
func (p *planning) data(profile boot.Profile) answer.Data {
	return answer.NewData(p.o.machine, p.o.sighting, p.vars(profile), p.ask.Base,
		func(name string) string {
			p.links.used = true
			return p.ask.Base + "/a/" + p.links.answer + "/" + name
		},
		func(callback string) string {
			p.links.used = true
			return p.ask.Base + "/cb/" + p.links.callback + "/" + callback
		})
}

// renderError says which template could not be rendered.
type renderError struct {
	what string
	err  error
}

func (e renderError) Error() string { return e.what + ": " + e.err.Error() }

// Unwrap returns the template's error.
func (e renderError) Unwrap() error { return e.err }

// errTree says that an uploaded tree is missing.
var errTree = errors.New("the uploaded tree does not exist")

// expand fills in target and, for a network disk with something else to boot,
// Then: templates are rendered, paths folded.
func (p *planning) expand(plan *boot.Plan, profile boot.Profile, target boot.Target) error {
	plan.Profile = profile
	plan.AnswerToken, plan.CallbackToken = p.links.answer, p.links.callback
	data := p.data(profile)
	t, err := p.target(target, data)
	if err != nil {
		return err
	}
	plan.Target = t
	if t.SAN == nil || !t.SAN.Hook || t.SAN.Then == "" {
		return nil
	}
	then, ok := p.snap.docs.Targets[t.SAN.Then]
	if !ok {
		return renderError{"target " + t.SAN.Then, errors.New("it does not exist")}
	}
	then, err = p.target(then, data)
	if err != nil {
		return err
	}
	plan.Then = &then
	return nil
}

// target renders the templates of a target and folds its tree into the paths.
func (p *planning) target(t boot.Target, data answer.Data) (boot.Target, error) {
	if t.Tree != "" && p.r.cfg.HasTree != nil && !p.r.cfg.HasTree(t.Tree) {
		return t, renderError{"tree " + t.Tree, errTree}
	}
	var err error
	render := func(field string, text *string, limit int, oneLine bool) {
		c, ok := p.snap.texts[textKey{kindTargets, t.Name, field}]
		if err != nil || !ok {
			if err == nil && strings.Contains(*text, "{{") {
				err = renderError{"target " + t.Name + ", " + field, errors.New("the template does not compile")}
			}
			return
		}
		out, e := c.text.Render(data, limit)
		if e == nil && oneLine && strings.ContainsFunc(string(out), func(c rune) bool { return c < ' ' || c == 0x7f }) {
			e = errors.New("it makes a line break or another control character")
		}
		if e != nil {
			err = renderError{"target " + t.Name + ", " + field, e}
			return
		}
		*text = string(out)
	}
	render("cmdline", &t.Cmdline, maxCmdline, true)
	render("script", &t.Script, maxScript, false)
	if t.SAN != nil {
		san := *t.SAN
		render("san.iqn", &san.IQN, maxName, true)
		render("san.initiator", &san.Initiator, maxName, true)
		t.SAN = &san
	}
	if err != nil {
		return t, err
	}
	return fold(t), nil
}

// fold makes the target's relative paths names below the box's root.
func fold(t boot.Target) boot.Target {
	if t.Tree == "" {
		return t
	}
	path := func(s string) string {
		if s == "" || strings.Contains(s, "://") || strings.HasPrefix(s, "answer:") {
			return s
		}
		return "trees/" + t.Tree + "/" + strings.TrimPrefix(s, "/")
	}
	t.Kernel, t.Program = path(t.Kernel), path(t.Program)
	if len(t.Initrds) > 0 {
		list := make([]string, len(t.Initrds))
		for i, s := range t.Initrds {
			list[i] = path(s)
		}
		t.Initrds = list
	}
	if t.Wim != nil {
		w := *t.Wim
		w.BCD, w.SDI, w.Wim, w.Boot = path(w.BCD), path(w.SDI), path(w.Wim), path(w.Boot)
		if len(w.Files) > 0 {
			files := make(map[string]string, len(w.Files))
			for name, s := range w.Files {
				files[name] = path(s)
			}
			w.Files = files
		}
		t.Wim = &w
	}
	return t
}

// answerFile renders an answer file of a profile.
func (p *planning) answerFile(profile boot.Profile, name string) (text []byte, contentType string, err error) {
	source, ok := profile.Answers[name]
	if !ok {
		return nil, "", errNoAnswer
	}
	c, ok := p.snap.texts[textKey{kindTemplates, source, "text"}]
	if !ok {
		return nil, "", renderError{"template " + source, errors.New("it does not exist")}
	}
	text, err = c.text.Render(p.data(profile), maxAnswer)
	if err != nil {
		return nil, "", renderError{fmt.Sprintf("answer file %s, template %s", name, source), err}
	}
	return text, answer.ContentType(c.kind), nil
}

// errNoAnswer says that a profile has no answer file of that name.
var errNoAnswer = errors.New("no such answer file")

// menu makes the entries of a menu: the built-in one when m is nil. Entries that
// cannot work on this machine are shown with the reason.
func (p *planning) menu(plan *boot.Plan, m *boot.Menu) []entry {
	visible := boot.Visible(p.snap.catalog, p.o.machine, p.o.sighting)
	site := p.snap.docs.Site
	plan.Seconds, plan.Default = site.Seconds, -1
	var entries []entry
	var want string
	if m != nil {
		plan.Seconds, want = m.Seconds, m.Default
	}
	if plan.Seconds <= 0 {
		plan.Seconds = boot.MenuSeconds
	}
	if m == nil || len(m.Entries) == 0 {
		for _, profile := range visible {
			entries = p.offer(plan, entries, boot.MenuEntry{Profile: profile.Name})
		}
	} else {
		for _, e := range m.Entries {
			entries = p.offer(plan, entries, e)
		}
	}
	for i, e := range entries {
		shown := plan.Menu[i]
		if want != "" && e.profile == want && shown.Disabled == boot.ReasonNone && !shown.Destructive && !shown.Locked && !shown.Gap {
			plan.Default = i
			break
		}
	}
	return entries
}

// entry is a line of a menu that was handed out.
type entry struct {
	profile string
	locked  bool
}

// maxEntries bounds a menu: firmware consoles have 25 lines, and a script of
// thousands would not load.
const maxEntries = 200

// offer adds a line to the menu, unless this machine is not to see it.
func (p *planning) offer(plan *boot.Plan, entries []entry, e boot.MenuEntry) []entry {
	if len(entries) >= maxEntries {
		return entries
	}
	if e.Gap != "" {
		plan.Menu = append(plan.Menu, boot.PlanEntry{Title: e.Gap, Gap: true})
		return append(entries, entry{})
	}
	profile, target, ok := p.snap.catalog.Resolve(e.Profile)
	line := boot.PlanEntry{Title: e.Title, Key: e.Key, Locked: e.Locked}
	switch {
	case !ok && profile.Name == "":
		line.Disabled, line.Detail = boot.ReasonTargetMissing, e.Profile
		if line.Title == "" {
			line.Title = e.Profile
		}
	case !p.sees(profile):
		return entries
	case !ok:
		line.Disabled, line.Detail = boot.ReasonTargetMissing, profile.Target
	default:
		line.Sub = target.Kind == boot.TargetMenu
		line.Destructive = target.Destructive
		line.Disabled, line.Detail = p.preflight(target)
	}
	if line.Title == "" {
		line.Title = profile.Title
	}
	if line.Title == "" {
		line.Title = profile.Name
	}
	plan.Menu = append(plan.Menu, line)
	return append(entries, entry{profile: e.Profile, locked: e.Locked})
}

// sees says whether the profile is visible to the machine.
func (p *planning) sees(profile boot.Profile) bool {
	m, ok := p.snap.visible[profile.Name]
	if !ok {
		return false
	}
	visible, _ := m.Match(p.o.machine, p.o.sighting)
	return visible
}

// preflight says why a target cannot work on the machine, or with the program
// that asks.
func (p *planning) preflight(t boot.Target) (boot.Reason, string) {
	if reason, detail := boot.Preflight(t, p.o.sighting); reason != boot.ReasonNone {
		return reason, detail
	}
	if !boots(p.ask.Loader, t.Kind) {
		return boot.ReasonNotBootableHere, p.ask.Loader
	}
	if t.Tree != "" && p.r.cfg.HasTree != nil && !p.r.cfg.HasTree(t.Tree) {
		return boot.ReasonTargetMissing, "tree " + t.Tree
	}
	return boot.ReasonNone, ""
}

// boots says whether a loader can boot a kind of target at all. iPXE can do all
// of them; what it lacks on one kind of firmware is Preflight's. pxelinux hands
// over to iPXE what it cannot boot itself.
func boots(loader string, kind boot.TargetKind) bool {
	if loader != LoaderGRUB {
		return true
	}
	switch kind {
	case boot.TargetLinux, boot.TargetLocal, boot.TargetMenu, boot.TargetEFI, boot.TargetGRUB:
		return true
	case boot.TargetWimboot, boot.TargetScript, boot.TargetChain, boot.TargetSAN, boot.TargetPXELinux:
	}
	return false
}

// maxLoaderLine is the longest line that pxelinux reads, with some room.
const maxLoaderLine = 1900

// native says whether a loader boots the plan itself, down to its texts: what
// pxelinux hands over to iPXE counts when iPXE starts it, and what GRUB cannot
// read must not count at all.
func native(loader string, t boot.Target) bool {
	switch {
	case t.Kind == boot.TargetLocal, t.Kind == boot.TargetMenu:
		return true
	case loader == LoaderGRUB:
		if t.Kind != boot.TargetLinux && t.Kind != boot.TargetEFI {
			return boots(loader, t.Kind)
		}
	case t.Kind == boot.TargetPXELinux:
		return true
	case t.Kind != boot.TargetLinux:
		return false
	}
	files := append([]string{t.Kernel, t.Program}, t.Initrds...)
	for _, f := range files {
		scheme, _, absolute := strings.Cut(f, "://")
		switch {
		case strings.Contains(f, "${"), strings.Contains(f, ","):
			return false
		case absolute && scheme != "http" && scheme != "tftp" && (scheme != "ftp" || loader == LoaderGRUB):
			return false
		}
	}
	if strings.Contains(t.Cmdline, "${") {
		return false
	}
	// Every initrd is written down with the box's address before it.
	long := len(strings.Join(t.Initrds, ",")) + 64*len(t.Initrds)
	return loader == LoaderGRUB || len(t.Cmdline) <= maxLoaderLine && long <= maxLoaderLine
}
