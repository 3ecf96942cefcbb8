package boot

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, cmp.Compare[string])
	return keys
}

// Check says what is wrong with a profile by itself; whether what it names
// exists is NewCatalog's question. So it is with all documents.
func (p Profile) Check() FieldErrors {
	var k checker
	k.name("name", p.Name)
	k.line("title", p.Title, MaxTitle)
	k.notes(p.Notes)
	k.name("target", p.Target)
	k.variables(p.Variables)
	if k.atMost("answers", len(p.Answers), MaxAnswers) {
		for _, name := range sortedKeys(p.Answers) {
			if !validFile(name) {
				k.add("answers", strconv.Quote(cut(name))+" is no name of a file; write letters, digits, '.', '_' and '-', at most "+strconv.Itoa(MaxName))
				continue
			}
			k.name("answers."+name, p.Answers[name])
		}
	}
	switch p.Loader {
	case LoaderIPXE, LoaderShim, LoaderGRUB, LoaderPXELinux:
	default:
		k.add("loader", "unknown; write shim, grub or pxelinux, or leave it out for iPXE")
	}
	_, errs := CompileMatch(p.Visible)
	k.under("visible", errs)
	return k.errs
}

// validFile says whether s names a file in addresses: no path, nothing hidden.
func validFile(s string) bool {
	if s == "" || len(s) > MaxName || s[0] == '.' || s[0] == '-' {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}

// Check says what is wrong with a group by itself.
func (g Group) Check() FieldErrors {
	var k checker
	k.name("name", g.Name)
	k.notes(g.Notes)
	if g.Profile != "" {
		k.name("profile", g.Profile)
	}
	k.variables(g.Variables)
	return k.errs
}

// Check says what is wrong with a rule by itself.
func (r SelectRule) Check() FieldErrors {
	var k checker
	k.name("name", r.Name)
	k.notes(r.Notes)
	k.between("order", r.Order, -MaxOrder, MaxOrder)
	k.name("profile", r.Profile)
	_, errs := CompileMatch(r.Match)
	k.under("match", errs)
	return k.errs
}

// Check says what is wrong with a template except for its syntax.
func (t Template) Check() FieldErrors {
	var k checker
	k.name("name", t.Name)
	k.notes(t.Notes)
	if !slices.Contains(TemplateKinds(), t.Kind) {
		var kinds []string
		for _, kind := range TemplateKinds() {
			kinds = append(kinds, string(kind))
		}
		k.add("kind", "unknown; write one of "+strings.Join(kinds, ", "))
	}
	if strings.TrimSpace(t.Text) == "" {
		k.add("text", "missing; write the template")
		return k.errs
	}
	k.text("text", t.Text, MaxTemplateText)
	if t.Kind == TemplateCmdline && strings.ContainsAny(strings.TrimSpace(t.Text), "\r\n") {
		k.add("text", "has line breaks; a command line is one line")
	}
	return k.errs
}

// Check says what is wrong with the site's settings by themselves.
func (s Site) Check() FieldErrors {
	var k checker
	switch s.Unknown {
	case UnknownAllow, UnknownAsk, UnknownIgnore:
	default:
		k.add("unknown", "unknown; write allow, ask or ignore")
	}
	if s.Default != "" {
		k.name("default", s.Default)
	}
	k.line("title", s.Title, MaxTitle)
	k.between("seconds", s.Seconds, 0, MaxMenuSeconds)
	k.between("forget_days", s.ForgetDays, 0, MaxForgetDays)
	k.variables(s.Variables)
	_, errs := newList("allow", s.Allow)
	k.errs = append(k.errs, errs...)
	_, errs = newList("deny", s.Deny)
	k.errs = append(k.errs, errs...)
	return k.errs
}

// machineList is the allow- or deny-list.
type machineList struct {
	macs  []string // prefixes as MAC is spelled
	guids map[GUID]bool
}

// newList reads hardware address prefixes and identifiers. What can be read
// counts, even beside errors.
func newList(field string, entries []string) (machineList, FieldErrors) {
	var k checker
	l := machineList{guids: map[GUID]bool{}}
	if !k.atMost(field, len(entries), MaxListed) {
		entries = entries[:MaxListed]
	}
	for i, e := range entries {
		if g, err := ParseGUID(e); err == nil {
			if !UsableGUID(g) {
				k.add(at(field, i), "many machines have this identifier; write hardware addresses instead")
				continue
			}
			l.guids[g] = true
			continue
		}
		prefix, problem := macPrefix(e)
		if problem != "" {
			k.add(at(field, i), `neither a hardware address nor an identifier; write "52:54:00:12:34:56", its first octets, or a UUID`)
			continue
		}
		l.macs = append(l.macs, prefix)
	}
	return l, k.errs
}

// entry finds what of a machine is on the list: what it tells now, its own
// identifier, and hardware addresses that the operator gave it. Addresses it
// was merely seen with do not count, or anybody could put a machine on the
// deny-list by using its name once. Nothing when it is not on the list.
func (l *machineList) entry(m *Machine, s *Sighting) (what string) {
	for _, g := range [...]GUID{s.GUID, m.GUID} {
		if l.guids[g] || l.guids[g.Swapped()] {
			return "identifier " + g.String()
		}
	}
	for _, p := range l.macs {
		if strings.HasPrefix(string(s.MAC), p) {
			return "hardware address " + string(s.MAC)
		}
		for _, n := range m.MACs {
			if n.Given && strings.HasPrefix(string(n.MAC), p) {
				return "hardware address " + string(n.MAC)
			}
		}
	}
	return ""
}

// Check says what is wrong with the operator's part of a machine record.
func (m Machine) Check() FieldErrors {
	var k checker
	if m.ID != "" && !validFile(string(m.ID)) {
		k.add("id", "is none that the box gives; leave it out")
	}
	if m.Name != "" && !validLabel(m.Name) {
		k.add("name", strconv.Quote(cut(m.Name))+" is no name; write letters, digits, '.', '_', '-' and single spaces, at most "+strconv.Itoa(MaxName)+"; notes take any text")
	}
	k.notes(m.Notes)
	if k.atMost("tags", len(m.Tags), MaxTags) {
		seen := map[string]bool{}
		for i, t := range m.Tags {
			switch {
			case !validLabel(t) || strings.Contains(t, " "):
				k.add(at("tags", i), strconv.Quote(cut(t))+" is no tag; write letters, digits, '.', '_' and '-', at most "+strconv.Itoa(MaxName))
			case seen[fold(t)]:
				k.add(at("tags", i), "is there twice; remove one")
			}
			seen[fold(t)] = true
		}
	}
	if k.atMost("groups", len(m.Groups), MaxTags) {
		seen := map[string]bool{}
		for i, g := range m.Groups {
			if k.name(at("groups", i), g) && seen[g] {
				k.add(at("groups", i), "is there twice; remove one")
			}
			seen[g] = true
		}
	}
	switch m.Access {
	case AccessDefault, AccessAllow, AccessDeny:
	default:
		k.add("access", "unknown; write allow or deny, or leave it out")
	}
	k.variables(m.Variables)
	m.checkIdentity(&k)
	if m.Assignment != nil {
		m.Assignment.check(&k, "assignment.")
	}
	return k.errs
}

// validLabel says whether s can name a machine on screens and in host names:
// [A-Za-z0-9][A-Za-z0-9._-]* in words separated by single spaces.
func validLabel(s string) bool {
	if s == "" || len(s) > MaxName || strings.Contains(s, "  ") {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case i > 0 && (c == '.' || c == '_' || c == '-'):
		case i > 0 && i < len(s)-1 && c == ' ':
		default:
			return false
		}
	}
	return true
}

func (m Machine) checkIdentity(k *checker) {
	if !m.GUID.IsZero() && !UsableGUID(m.GUID) {
		k.add("uuid", "many machines have this identifier, so it names none; leave it out")
	}
	if m.Serial != "" && k.line("serial", m.Serial, MaxClaim) && !UsableSerial(m.Serial) {
		k.add("serial", "firmware tells this when nobody wrote a serial number; leave it out")
	}
	if k.atMost("macs", len(m.MACs), MaxMACs) {
		seen := map[MAC]bool{}
		for i, n := range m.MACs {
			if what := macProblem(n.MAC); what != "" {
				k.add(at("macs", i)+".mac", what)
			} else if seen[n.MAC] {
				k.add(at("macs", i)+".mac", "is there twice; remove one")
			}
			seen[n.MAC] = true
		}
	}
	if m.GUID.IsZero() && m.Serial == "" && len(m.MACs) == 0 {
		k.add("macs", "nothing here tells the machine from others; write a hardware address, a uuid or a serial number")
	}
}

// macProblem says what is wrong with a hardware address that is to name one
// machine.
func macProblem(m MAC) string {
	parsed, _ := ParseMAC(string(m))
	switch {
	case len(parsed) != len("00:00:00:00:00:00"):
		return `no hardware address; write six octets like "52:54:00:12:34:56"`
	case parsed != m:
		return "write it as " + string(parsed)
	case parsed == "00:00:00:00:00:00":
		return "no machine has the address zero; write the card's own"
	case strings.IndexByte("13579bdf", parsed[1]) >= 0:
		return "is a group address; write the card's own"
	}
	return ""
}

// Check says what is wrong with a target by itself: fields that are missing or
// do not count for its kind, and everything that could not be written into a
// script.
func (t Target) Check() FieldErrors {
	var k checker
	k.name("name", t.Name)
	k.line("title", t.Title, MaxTitle)
	k.notes(t.Notes)
	t.Needs.check(&k)
	if !slices.Contains(TargetKinds(), t.Kind) {
		var kinds []string
		for _, kind := range TargetKinds() {
			kinds = append(kinds, string(kind))
		}
		k.add("kind", "unknown; write one of "+strings.Join(kinds, ", "))
		return k.errs
	}
	t.checkFields(&k)
	if t.Destructive && (t.Kind == TargetLocal || t.Kind == TargetMenu) {
		k.add("destructive", "a target of kind "+string(t.Kind)+" overwrites nothing; leave it out")
	}
	if t.Tree != "" {
		k.name("tree", t.Tree)
	}
	switch t.Kind {
	case TargetLinux:
		t.checkLinux(&k)
	case TargetEFI:
		k.fileRef("program", t.Program)
	case TargetWimboot:
		k.fileRef("kernel", t.Kernel)
		t.Wim.check(&k)
	case TargetScript:
		if strings.TrimSpace(t.Script) == "" {
			k.add("script", "missing; write the lines of an iPXE script")
		}
	case TargetChain:
		k.url("url", t.URL, true, "http", "https", "tftp", "ftp")
	case TargetSAN:
		t.SAN.check(&k)
	case TargetLocal:
		switch t.Local {
		case LocalAuto, LocalExit, LocalSanboot, LocalNext:
		default:
			k.add("local", "unknown; write exit, sanboot or loader, or leave it out for what suits the firmware")
		}
	case TargetPXELinux, TargetGRUB:
		if t.Program != "" {
			k.fileRef("program", t.Program)
		}
	case TargetMenu:
		t.Menu.check(&k)
	}
	k.text("script", t.Script, MaxTemplateText)
	return k.errs
}

// checkFields refuses fields that do not count: what is written into them would
// silently be ignored.
func (t *Target) checkFields(k *checker) {
	is := func(kinds ...TargetKind) bool { return slices.Contains(kinds, t.Kind) }
	for _, f := range [...]struct {
		field string
		given bool
		ok    bool
	}{
		{"tree", t.Tree != "", is(TargetLinux, TargetEFI, TargetWimboot, TargetPXELinux, TargetGRUB)},
		{"kernel", t.Kernel != "", is(TargetLinux, TargetWimboot)},
		{"initrds", len(t.Initrds) > 0, is(TargetLinux)},
		{"cmdline", t.Cmdline != "", is(TargetLinux)},
		{"program", t.Program != "", is(TargetEFI, TargetPXELinux, TargetGRUB)},
		{"script", t.Script != "", is(TargetScript, TargetPXELinux, TargetGRUB)},
		{"url", t.URL != "", is(TargetChain)},
		{"wim", t.Wim != nil, is(TargetWimboot)},
		{"san", t.SAN != nil, is(TargetSAN)},
		{"local", t.Local != "", is(TargetLocal)},
		{"menu", t.Menu != nil, is(TargetMenu)},
	} {
		k.empty(f.field, f.given && !f.ok, t.Kind)
	}
}

func (t *Target) checkLinux(k *checker) {
	k.fileRef("kernel", t.Kernel)
	if k.atMost("initrds", len(t.Initrds), MaxInitrds) {
		for i, p := range t.Initrds {
			k.fileRef(at("initrds", i), p)
		}
	}
	k.line("cmdline", t.Cmdline, MaxCmdline)
}

// needsCPUs are the processors of the architecture table.
func needsCPUs() []string {
	var out []string
	for i := range archs {
		if c := archs[i].CPU; c != "" && !slices.Contains(out, c) {
			out = append(out, c)
		}
	}
	return out
}

func (n Needs) check(k *checker) {
	k.between("needs.memory", n.Memory, 0, 1<<24)
	if k.atMost("needs.platforms", len(n.Platforms), 2) {
		for i, p := range n.Platforms {
			if p != PlatformBIOS && p != PlatformUEFI {
				k.add(at("needs.platforms", i), "unknown; write bios or uefi")
			}
		}
	}
	known := needsCPUs()
	if k.atMost("needs.cpus", len(n.CPUs), len(known)) {
		for i, c := range n.CPUs {
			if !slices.Contains(known, c) {
				k.add(at("needs.cpus", i), "unknown; write one of "+strings.Join(known, ", "))
			}
		}
	}
	if n.IPXE != "" && !validVersion(n.IPXE) {
		k.add("needs.ipxe", `is no version; write numbers like "1.21.1"`)
	}
	if n.SecureBoot && len(n.Platforms) > 0 && !slices.Contains(n.Platforms, PlatformUEFI) {
		k.add("needs.signed", "Secure Boot exists with UEFI only; add uefi to the platforms or leave it out")
	}
}

func validVersion(s string) bool {
	parts := strings.Split(s, ".")
	for _, p := range parts {
		if n, err := strconv.Atoi(p); err != nil || n > 99999 || p[0] == '+' || p[0] == '-' {
			return false
		}
	}
	return len(parts) <= 4
}

func (w *Wim) check(k *checker) {
	if w == nil {
		k.add("wim", "missing; write at least boot_wim")
		return
	}
	k.fileRef("wim.boot_wim", w.Wim)
	for _, f := range [...]struct{ field, path string }{{"wim.bcd", w.BCD}, {"wim.sdi", w.SDI}, {"wim.bootmgr", w.Boot}} {
		if f.path != "" {
			k.fileRef(f.field, f.path)
		}
	}
	if !k.atMost("wim.files", len(w.Files), MaxWimFiles) {
		return
	}
	seen := map[string]bool{}
	for _, name := range sortedKeys(w.Files) {
		field := "wim.files." + name
		switch {
		case !validFile(name):
			k.add("wim.files", strconv.Quote(cut(name))+" is no name of a file; write letters, digits, '.', '_' and '-'")
			continue
		case seen[fold(name)]:
			k.add(field, "differs from another one in case only, which Windows does not tell apart")
		}
		seen[fold(name)] = true
		if answer, ok := strings.CutPrefix(w.Files[name], AnswerPrefix); ok {
			if !validFile(answer) {
				k.add(field, "names no answer file; write "+AnswerPrefix+"NAME with the name of one of the profile's answer files")
			}
			continue
		}
		k.fileRef(field, w.Files[name])
	}
}

// AnswerPrefix marks a value of Wim.Files as the name of an answer file of the
// profile.
const AnswerPrefix = "answer:"

func (s *SAN) check(k *checker) {
	if s == nil {
		k.add("san", "missing; write protocol and where the disk is")
		return
	}
	is := func(p ...SANProtocol) bool { return slices.Contains(p, s.Protocol) }
	if !is(SANiSCSI, SANAoE, SANHTTP) {
		k.add("san.protocol", "unknown; write iscsi, aoe or http")
		return
	}
	for _, f := range [...]struct {
		field string
		given bool
		ok    bool
	}{
		{"host", s.Host != "", is(SANiSCSI)},
		{"port", s.Port != 0, is(SANiSCSI)},
		{"lun", s.LUN != "", is(SANiSCSI)},
		{"iqn", s.IQN != "", is(SANiSCSI)},
		{"initiator", s.Initiator != "", is(SANiSCSI)},
		{"user", s.User != "", is(SANiSCSI)},
		{"password", s.Password != "", is(SANiSCSI)},
		{"shelf", s.Shelf != "", is(SANAoE)},
		{"url", s.URL != "", is(SANHTTP)},
	} {
		if f.given && !f.ok {
			k.add("san."+f.field, "does not count for "+string(s.Protocol)+"; leave it out")
		}
	}
	switch s.Protocol {
	case SANiSCSI:
		s.checkISCSI(k)
	case SANAoE:
		if !validShelf(s.Shelf) {
			k.add("san.shelf", `is no AoE disk; write shelf and slot like "e0.0"`)
		}
	case SANHTTP:
		k.url("san.url", s.URL, true, "http", "https")
	}
	if s.Drive != 0 {
		k.between("san.drive", s.Drive, 0x80, 0x8f)
	}
	if s.File != "" {
		if what := pathProblem(strings.TrimPrefix(strings.ReplaceAll(s.File, `\`, "/"), "/")); what != "" || len(s.File) > MaxPath {
			k.add("san.file", `is no path on the disk; write it like \EFI\debian\grubx64.efi`)
		}
	}
	switch {
	case !s.Hook && s.Then != "":
		k.add("san.then", "counts with hook only; set hook or leave it out")
	case s.Hook:
		k.name("san.then", s.Then)
	}
}

func (s *SAN) checkISCSI(k *checker) {
	if !validHost(s.Host) {
		k.add("san.host", "is no host; write the server's address like 192.0.2.1, or its name")
	}
	k.between("san.port", s.Port, 0, 65535)
	if !validLUN(s.LUN) {
		k.add("san.lun", `is no logical unit; write a number like "0" or "1", in hexadecimal`)
	}
	if s.IQN == "" {
		k.add("san.iqn", "missing; write the target's name like iqn.2024-01.example:disk")
	}
	for _, f := range [...]struct{ field, text string }{{"san.iqn", s.IQN}, {"san.initiator", s.Initiator}} {
		if k.line(f.field, f.text, MaxPath) && !strings.Contains(f.text, "{{") && strings.ContainsAny(f.text, " \"'`$\\") {
			k.add(f.field, "has a character that iSCSI names do not have; write letters, digits, '.', ':' and '-'")
		}
	}
	for _, f := range [...]struct{ field, text string }{{"san.user", s.User}, {"san.password", s.Password}} {
		if len(f.text) > MaxPath || !plain(f.text) {
			k.add(f.field, "has characters that iPXE cannot send, or too many; write printable ASCII")
		}
	}
	if s.Password != "" && s.User == "" {
		k.add("san.user", "missing; a password needs a user name")
	}
}

// validHost takes an address or a host name.
func validHost(s string) bool {
	if _, err := netip.ParseAddr(s); err == nil {
		return !strings.Contains(s, "%")
	}
	if len(s) > 253 {
		return false
	}
	for part := range strings.SplitSeq(s, ".") {
		if !validFile(part) || strings.HasSuffix(part, "-") {
			return false
		}
	}
	return true
}

// validLUN takes what iPXE does: up to four groups of four hexadecimal digits.
func validLUN(s string) bool {
	if s == "" {
		return true
	}
	groups := strings.Split(s, "-")
	for _, g := range groups {
		if _, err := strconv.ParseUint(g, 16, 64); err != nil || len(g) > 4 {
			return false
		}
	}
	return len(groups) <= 4
}

func validShelf(s string) bool {
	shelf, slot, ok := strings.Cut(strings.TrimPrefix(s, "e"), ".")
	if !ok || s[0] != 'e' {
		return false
	}
	a, err := strconv.ParseUint(shelf, 10, 64)
	b, err2 := strconv.ParseUint(slot, 10, 64)
	return err == nil && err2 == nil && a < 65535 && b < 255
}

func (m *Menu) check(k *checker) {
	if m == nil {
		return // every profile that the machine may see
	}
	k.line("menu.title", m.Title, MaxTitle)
	k.between("menu.seconds", m.Seconds, 0, MaxMenuSeconds)
	if m.Default != "" {
		k.name("menu.default", m.Default)
	}
	if !k.atMost("menu.entries", len(m.Entries), MaxMenuEntries) {
		return
	}
	keys := map[string]bool{}
	found := len(m.Entries) == 0
	for i, e := range m.Entries {
		field := at("menu.entries", i)
		if e.Gap != "" {
			k.line(field+".gap", e.Gap, MaxTitle)
			if e.Profile != "" || e.Key != "" || e.Title != "" || e.Locked {
				k.add(field, "is a heading and an entry at once; make two of it")
			}
			continue
		}
		k.name(field+".profile", e.Profile)
		k.line(field+".title", e.Title, MaxTitle)
		switch {
		case e.Key == "":
		case !validKey(e.Key):
			k.add(field+".key", "write one letter or digit")
		case keys[fold(e.Key)]:
			k.add(field+".key", "another entry has this key; write another one")
		}
		keys[fold(e.Key)] = true
		if e.Profile == m.Default {
			found = true
			if e.Locked {
				k.add("menu.default", "is a locked entry, and a menu must not wait for ever; write another one, or leave it out for the local disk")
			}
		}
	}
	if m.Default != "" && !found {
		k.add("menu.default", "is none of the entries; add it, or leave it out for the local disk")
	}
}

func validKey(s string) bool {
	return len(s) == 1 && (s[0] >= 'a' && s[0] <= 'z' || s[0] >= 'A' && s[0] <= 'Z' || s[0] >= '0' && s[0] <= '9')
}
