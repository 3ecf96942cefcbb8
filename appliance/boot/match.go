package boot

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Bounds of a Match.
const (
	MaxMatchValues = 64 // values of one field
	maxMatchText   = MaxClaim
	maxWanted      = 3 // values that a sentence names
)

// Matcher is a Match made ready: every list folded and parsed once. The zero
// Matcher matches every machine. It is immutable.
type Matcher struct {
	tests []matchTest
	all   string // the sentence when everything fits
}

// matchTest is one field of a Match.
type matchTest struct {
	what   string // "product"
	wanted string // `"thinkpad*" or "optiplex*"`
	fits   func(v *view) bool
	told   func(v *view) string

	// The sentences of a rule that loses are prepared, because most rules lose.
	before, after, untold string
}

func newTest(what string, values []string, fits func(*view) bool, told func(*view) string) matchTest {
	w := wanted(values)
	return matchTest{
		what: what, wanted: w, fits: fits, told: told,
		before: "the " + what + " is ", after: "; wanted is " + w, untold: "the " + what + " is not known; wanted is " + w,
	}
}

// why says how what was told differs from what is wanted.
func (t *matchTest) why(v *view) string {
	told := t.told(v)
	if told == "" {
		return t.untold
	}
	return t.before + strconv.Quote(told) + t.after
}

// pattern is a folded text; prefix for one that ended with "*".
type pattern struct {
	text   string
	prefix bool
}

func (p pattern) fits(folded string) bool {
	if p.prefix {
		return strings.HasPrefix(folded, p.text)
	}
	return folded == p.text
}

// fitsAny is false for a value that the machine did not tell, whatever is
// wanted: a "*" asks for any value, not for none.
func fitsAny(list []pattern, folded string) bool {
	return folded != "" && slices.ContainsFunc(list, func(p pattern) bool { return p.fits(folded) })
}

// view is a machine and its sighting as rules look at them: folded once for all
// rules. What the sighting does not tell, the machine's last one may have told.
type view struct {
	m *Machine
	s *Sighting

	serial, vendor, product, nic, name string // folded
	tags                               []string
	platform                           Platform
	firmware                           Firmware
	arch                               Arch
	archKnown                          bool
	addr                               string            // in text, once a rule wants it
	vars                               map[string]string // folded, once a rule wants them
}

func fold(s string) string { return strings.ToLower(strings.TrimSpace(s)) }

func newView(m *Machine, s *Sighting) *view {
	v := &view{
		m: m, s: s,
		serial:   fold(first(s.Serial, m.Serial, m.Seen.Serial)),
		vendor:   fold(first(s.Manufacturer, m.Seen.Manufacturer)),
		product:  fold(first(s.Product, m.Seen.Product)),
		nic:      fold(first(s.NIC, m.Seen.NIC)),
		name:     fold(m.Name),
		platform: first(s.Platform, m.Seen.Platform),
		firmware: first(s.Firmware, m.Seen.Firmware),
	}
	if s.MAC != "" && m.Seen.MAC != s.MAC {
		v.nic = fold(s.NIC) // the last one told about another card
	}
	for _, t := range m.Tags {
		v.tags = append(v.tags, fold(t))
	}
	if v.arch, v.archKnown = s.architecture(); !v.archKnown {
		v.arch, v.archKnown = m.Seen.architecture()
	}
	return v
}

// first is the first value that says something.
func first[T ~string](values ...T) T {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// architecture is the type of option 93, from whatever the sighting kept of it:
// stored ones have its name, a request from iPXE has platform and CPU only.
func (s *Sighting) architecture() (Arch, bool) {
	if s.ArchKnown {
		return s.Arch, true
	}
	for i := range archs {
		a := &archs[i]
		if a.Name == s.ArchName {
			return a.Arch, true
		}
	}
	if s.ArchName != "" || s.CPU == "" {
		return 0, false
	}
	for i := range archs {
		if a := &archs[i]; a.Platform == s.Platform && a.CPU == s.CPU {
			return a.Arch, true
		}
	}
	return 0, false
}

// variable is a parameter of the boot script's request. Those that the sighting
// keeps in fields of their own are found there too.
func (v *view) variable(name string) string {
	if x := v.s.Variables[name]; x != "" {
		return x
	}
	s := v.s
	switch name {
	case "mac":
		return string(s.MAC)
	case "uuid":
		if !s.GUID.IsZero() {
			return s.GUID.String()
		}
	case "ip":
		if s.Addr.IsValid() {
			return s.Addr.String()
		}
	case "serial":
		return s.Serial
	case "manufacturer":
		return s.Manufacturer
	case "product":
		return s.Product
	case "asset":
		return s.Asset
	case "hostname":
		return s.Hostname
	case "buildarch":
		return s.CPU
	case "version":
		return s.IPXE
	case "memory":
		if s.Memory > 0 {
			return strconv.Itoa(s.Memory)
		}
	}
	if len(s.Variables) == 0 {
		return v.m.Seen.Variables[name]
	}
	return ""
}

// folded is variable for comparisons; many rules ask for the same ones.
func (v *view) folded(name string) string {
	x, ok := v.vars[name]
	if !ok {
		if v.vars == nil {
			v.vars = map[string]string{}
		}
		x = fold(v.variable(name))
		v.vars[name] = x
	}
	return x
}

// VariableName is the name under which a parameter of the boot script is kept:
// the two that many hand-written scripts spell without a dash get it.
func VariableName(name string) string {
	switch name {
	case "nextserver":
		return "next-server"
	case "userclass":
		return "user-class"
	}
	return name
}

// CompileMatch makes a Match ready. What is wrong with it is named by field; the
// Matcher is then one that matches nothing.
func CompileMatch(m Match) (Matcher, FieldErrors) {
	b := matchBuilder{}
	b.mac(m.MAC)
	b.uuid(m.UUID)
	b.texts("serial", "serial number", m.Serial, func(v *view) string { return v.serial })
	b.texts("vendor", "manufacturer", m.Vendor, func(v *view) string { return v.vendor })
	b.texts("product", "product", m.Product, func(v *view) string { return v.product })
	b.arch(m.Arch)
	b.platform(m.Platform)
	b.firmware(m.Firmware)
	b.texts("nic", "network card", m.NIC, func(v *view) string { return v.nic })
	b.subnet(m.Subnet)
	b.tag(m.Tag)
	b.texts("name", "machine's name", m.Name, func(v *view) string { return v.name })
	b.variables(m.Variables)
	if len(b.errs) > 0 {
		return nothing, b.errs
	}
	parts := make([]string, 0, len(b.tests))
	for _, t := range b.tests {
		parts = append(parts, "the "+t.what+" is "+t.wanted)
	}
	return Matcher{tests: b.tests, all: strings.Join(parts, ", ")}, nil
}

// nothing matches no machine: what became of a Match that does not compile.
var nothing = Matcher{tests: []matchTest{newTest("rule", []string{"one that can be used"},
	func(*view) bool { return false },
	func(*view) string { return "" },
)}}

// Match says whether the machine fits, and in one sentence why or why not.
func (m Matcher) Match(mc Machine, s Sighting) (ok bool, why string) {
	return m.match(newView(&mc, &s))
}

func (m Matcher) match(v *view) (bool, string) {
	for i := range m.tests {
		t := &m.tests[i]
		if t.fits(v) {
			continue
		}
		return false, t.why(v)
	}
	if m.all == "" {
		return true, "it matches every machine"
	}
	return true, m.all
}

// matchBuilder collects the tests of a Match and what is wrong with it.
type matchBuilder struct {
	tests []matchTest
	errs  FieldErrors
}

func (b *matchBuilder) bad(field string, i int, what string) {
	b.errs = append(b.errs, FieldError{Field: at(field, i), What: what})
}

func at(field string, i int) string { return field + "[" + strconv.Itoa(i) + "]" }

// counted says whether a field has values, and not too many.
func (b *matchBuilder) counted(field string, n int) bool {
	if n > MaxMatchValues {
		b.errs = append(b.errs, FieldError{Field: field, What: "more than " + strconv.Itoa(MaxMatchValues) + " values; make several rules of it"})
		return false
	}
	return n > 0
}

func (b *matchBuilder) add(what string, values []string, fits func(*view) bool, told func(*view) string) {
	b.tests = append(b.tests, newTest(what, values, fits, told))
}

// wanted lists values for a sentence.
func wanted(values []string) string {
	var s strings.Builder
	for i, v := range values {
		switch {
		case i == maxWanted:
			s.WriteString(" or " + strconv.Itoa(len(values)-i) + " more")
			return s.String()
		case i > 0:
			s.WriteString(" or ")
		}
		s.WriteString(strconv.Quote(v))
	}
	return s.String()
}

// patterns folds texts; a star anywhere but at the end is an error, because it
// would look like a pattern and match nothing.
func (b *matchBuilder) patterns(field string, values []string) []pattern {
	var list []pattern
	for i, v := range values {
		text, star := strings.CutSuffix(fold(v), "*")
		switch {
		case text == "" && !star:
			b.bad(field, i, `empty; write a text, or "*" for any`)
		case len(v) > maxMatchText:
			b.bad(field, i, "longer than "+strconv.Itoa(maxMatchText)+" octets, which no machine tells")
		case !isLine(v):
			b.bad(field, i, "has control characters or is not UTF-8; write one line of text")
		case strings.Contains(text, "*"):
			b.bad(field, i, `"*" may stand at the end only`)
		default:
			list = append(list, pattern{text, star})
		}
	}
	return list
}

func (b *matchBuilder) texts(field, what string, values []string, of func(*view) string) {
	if !b.counted(field, len(values)) {
		return
	}
	list := b.patterns(field, values)
	b.add(what, values, func(v *view) bool { return fitsAny(list, of(v)) }, of)
}

func (b *matchBuilder) tag(values []string) {
	if !b.counted("tag", len(values)) {
		return
	}
	list := b.patterns("tag", values)
	b.add("list of tags", values, func(v *view) bool {
		return slices.ContainsFunc(v.tags, func(t string) bool { return fitsAny(list, t) })
	}, func(v *view) string { return strings.Join(v.tags, " ") })
}

func (b *matchBuilder) mac(values []string) {
	if !b.counted("mac", len(values)) {
		return
	}
	var list []string
	for i, v := range values {
		prefix, err := macPrefix(v)
		if err != "" {
			b.bad("mac", i, err)
			continue
		}
		list = append(list, prefix)
	}
	b.add("hardware address", values, func(v *view) bool {
		return slices.ContainsFunc(list, func(p string) bool { return strings.HasPrefix(string(v.s.MAC), p) })
	}, func(v *view) string { return string(v.s.MAC) })
}

// macPrefix reads the beginning of a hardware address in any spelling and
// returns it as MAC is spelled, so that a comparison of texts is enough. The
// error is a sentence for a field.
func macPrefix(s string) (prefix, problem string) {
	var out []byte
	digits := 0
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'A' && c <= 'F':
			c += 'a' - 'A'
		case c >= '0' && c <= '9', c >= 'a' && c <= 'f':
		case c == ':' || c == '-' || c == '.':
			continue
		case c == '*' && i == len(s)-1:
			continue
		default:
			return "", `no hardware address; write its first octets like "52:54:00"`
		}
		if digits > 0 && digits%2 == 0 {
			out = append(out, ':')
		}
		out = append(out, c)
		digits++
	}
	switch {
	case digits == 0:
		return "", `empty; write the first octets of hardware addresses like "52:54:00"`
	case digits > 32 || len(s) > 48:
		return "", "longer than a hardware address"
	}
	return string(out), ""
}

func (b *matchBuilder) uuid(values []string) {
	if !b.counted("uuid", len(values)) {
		return
	}
	var list []GUID
	for i, v := range values {
		g, err := ParseGUID(v)
		if err != nil || g.IsZero() {
			b.bad("uuid", i, `no identifier; write 32 hexadecimal digits like "01234567-89ab-cdef-0123-456789abcdef"`)
			continue
		}
		list = append(list, g)
	}
	b.add("identifier", values, func(v *view) bool {
		told := v.s.GUID
		if told.IsZero() {
			told = v.m.GUID
		}
		return slices.ContainsFunc(list, told.Matches)
	}, func(v *view) string {
		switch {
		case !v.s.GUID.IsZero():
			return v.s.GUID.String()
		case !v.m.GUID.IsZero():
			return v.m.GUID.String()
		}
		return ""
	})
}

func (b *matchBuilder) arch(values []string) {
	if !b.counted("arch", len(values)) {
		return
	}
	var list []Arch
	for i, v := range values {
		a, err := ParseArch(strings.ToLower(v))
		if err != nil {
			b.bad("arch", i, "unknown architecture; write a name like uefi-x64 or the number of option 93")
			continue
		}
		list = append(list, a)
	}
	b.add("architecture", values, func(v *view) bool { return v.archKnown && slices.Contains(list, v.arch) },
		func(v *view) string {
			if !v.archKnown {
				return ""
			}
			return v.arch.String()
		})
}

func (b *matchBuilder) platform(values []Platform) {
	if !b.counted("platform", len(values)) {
		return
	}
	var wants []string
	for i, v := range values {
		if v != PlatformBIOS && v != PlatformUEFI {
			b.bad("platform", i, "unknown platform; write bios or uefi")
		}
		wants = append(wants, string(v))
	}
	values = slices.Clone(values)
	b.add("platform", wants, func(v *view) bool { return slices.Contains(values, v.platform) },
		func(v *view) string { return string(v.platform) })
}

// firmwares are the kinds a rule may name.
var firmwares = [...]Firmware{FirmwareBIOS, FirmwareUEFI, FirmwareHTTP, FirmwareIPXE, FirmwareRPi, FirmwareOther, FirmwareUnknown}

func (b *matchBuilder) firmware(values []Firmware) {
	if !b.counted("firmware", len(values)) {
		return
	}
	var wants []string
	for i, v := range values {
		if !slices.Contains(firmwares[:], v) {
			b.bad("firmware", i, "unknown firmware; write bios, uefi, uefi-http, ipxe, rpi or other")
		}
		wants = append(wants, string(v))
	}
	values = slices.Clone(values)
	b.add("firmware", wants, func(v *view) bool { return slices.Contains(values, v.firmware) },
		func(v *view) string { return string(v.firmware) })
}

func (b *matchBuilder) subnet(values []string) {
	if !b.counted("subnet", len(values)) {
		return
	}
	var list []netip.Prefix
	for i, v := range values {
		p, err := netip.ParsePrefix(v)
		if err != nil {
			b.bad("subnet", i, `no network; write it like "192.0.2.0/24"`)
			continue
		}
		if p != p.Masked() {
			b.bad("subnet", i, "the address has bits beyond its length; write "+p.Masked().String())
			continue
		}
		list = append(list, p)
	}
	b.add("address", values, func(v *view) bool {
		return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(v.s.Addr.Unmap()) })
	}, func(v *view) string {
		if v.addr == "" && v.s.Addr.IsValid() {
			v.addr = v.s.Addr.String()
		}
		return v.addr
	})
}

func (b *matchBuilder) variables(vars map[string][]string) {
	if !b.counted("variables", len(vars)) {
		return
	}
	names := make([]string, 0, len(vars))
	for name := range vars {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		field := "variables." + name
		if !validParameter(name) {
			b.errs = append(b.errs, FieldError{Field: "variables", What: "the name " + strconv.Quote(cut(name)) + " is none of a parameter; write letters, digits, '-', '_' and '.'"})
			continue
		}
		if len(vars[name]) == 0 {
			b.errs = append(b.errs, FieldError{Field: field, What: `no value; write at least one, or "*" for any`})
			continue
		}
		kept := VariableName(name)
		b.texts(field, "variable "+name, vars[name], func(v *view) string { return v.folded(kept) })
	}
}

// validParameter says whether s may name a parameter of the boot script.
func validParameter(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_', c == '.', c == '/', c == ':':
		default:
			return false
		}
	}
	return true
}

// cut shortens what a message quotes.
func cut(s string) string {
	if len(s) > 40 {
		return s[:40] + "…"
	}
	return s
}
