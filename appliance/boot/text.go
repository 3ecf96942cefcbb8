package boot

import (
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Bounds of what operators write.
const (
	MaxName         = 63        // octets of the name of a document, a variable, a tag
	MaxTitle        = 80        // octets of a title
	MaxPath         = 255       // octets of a path; TFTP and firmware know no longer ones
	MaxURL          = 1000      // octets of an address
	MaxCmdline      = 4096      // octets of a command line's template; kernels take 2047 and more
	MaxTemplateText = 256 << 10 // octets of a template or script
	MaxVariables    = 64        // variables of one document
	MaxValue        = 4096      // octets of a variable's value: a key, a list of packages
	MaxInitrds      = 16
	MaxWimFiles     = 64
	MaxAnswers      = 16 // answer files of a profile
	MaxMenuEntries  = 64
	MaxMenuSeconds  = 3600
	MaxListed       = 1000 // entries of the site's allow- and deny-list
	MaxOrder        = 1_000_000
	MaxForgetDays   = 3650
	MaxDocuments    = 1000 // documents of one kind, machines excepted
)

// ValidName says whether s can name a document: [a-z0-9][a-z0-9._-]{0,62}. It
// is safe in paths, addresses and scripts.
func ValidName(s string) bool {
	if s == "" || len(s) > MaxName {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
		case i > 0 && (c == '.' || c == '_' || c == '-'):
		default:
			return false
		}
	}
	return true
}

// checker collects what is wrong with a document.
type checker struct{ errs FieldErrors }

func (k *checker) add(field, what string) {
	k.errs = append(k.errs, FieldError{Field: field, What: what})
}

// under adds errors of a part of the document.
func (k *checker) under(prefix string, errs FieldErrors) {
	for _, e := range errs {
		k.add(prefix+"."+e.Field, e.What)
	}
}

// name: a reference to a document, or the document's own name.
func (k *checker) name(field, s string) bool {
	switch {
	case s == "":
		k.add(field, "missing; write a name")
	case !ValidName(s):
		k.add(field, strconv.Quote(cut(s))+" is no name; write lower-case letters, digits, '.', '_' and '-', at most "+strconv.Itoa(MaxName)+", beginning with a letter or digit")
	default:
		return true
	}
	return false
}

func (k *checker) between(field string, n, low, high int) {
	if n < low || n > high {
		k.add(field, strconv.Itoa(n)+" is out of bounds; write a number from "+strconv.Itoa(low)+" to "+strconv.Itoa(high))
	}
}

// atMost says whether a list may be looked at.
func (k *checker) atMost(field string, n, most int) bool {
	if n > most {
		k.add(field, strconv.Itoa(n)+" entries; at most "+strconv.Itoa(most)+" are allowed")
		return false
	}
	return true
}

// isLine says whether s is one line of printable text.
func isLine(s string) bool {
	for _, r := range s {
		if !printable(r) { // what is not UTF-8 is not either
			return false
		}
	}
	return true
}

// line: text on one line, for screens and lists.
func (k *checker) line(field, s string, most int) bool {
	switch {
	case len(s) > most:
		k.add(field, "longer than "+strconv.Itoa(most)+" octets; shorten it")
	case !isLine(s):
		k.add(field, "has line breaks, control characters or is not UTF-8; write one line of text")
	default:
		return true
	}
	return false
}

// text: several lines.
func (k *checker) text(field, s string, most int) {
	switch {
	case len(s) > most:
		k.add(field, "longer than "+strconv.Itoa(most)+" octets; shorten it")
		return
	case !utf8.ValidString(s):
		k.add(field, "is not UTF-8; save the text as UTF-8")
		return
	}
	for i, r := range s {
		if r == '\n' || r == '\t' || strings.HasPrefix(s[i:], "\r\n") {
			continue
		}
		if r < ' ' || r == 0x7f {
			k.add(field, "has a control character in line "+strconv.Itoa(1+strings.Count(s[:i], "\n"))+"; remove it")
			return
		}
	}
}

func (k *checker) notes(s string) { k.text("notes", s, MaxNotes) }

// empty refuses a field that does not count for this kind of document.
func (k *checker) empty(field string, given bool, kind TargetKind) {
	if given {
		k.add(field, "does not count for a target of kind "+string(kind)+"; leave it out")
	}
}

// ValidVariable says whether s can name a variable: [A-Za-z_][A-Za-z0-9_-]{0,62}.
func ValidVariable(s string) bool {
	if s == "" || len(s) > MaxName {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '_':
		case i > 0 && (c >= '0' && c <= '9' || c == '-'):
		default:
			return false
		}
	}
	return true
}

func (k *checker) variables(vars map[string]string) {
	if !k.atMost("variables", len(vars), MaxVariables) {
		return
	}
	for _, name := range sortedKeys(vars) {
		if !ValidVariable(name) {
			k.add("variables", strconv.Quote(cut(name))+" is no name of a variable; write letters, digits, '_' and '-', beginning with a letter")
			continue
		}
		k.text("variables."+name, vars[name], MaxValue)
	}
}

// fileRef: a path below the box's root or the target's tree, or an address.
func (k *checker) fileRef(field, s string) {
	if strings.Contains(s, "://") {
		k.url(field, s, false, "http", "https", "tftp", "ftp")
		return
	}
	if what := fileProblem(s); what != "" {
		k.add(field, what)
	}
}

func fileProblem(s string) string {
	switch {
	case s == "":
		return "missing; write a path or an address"
	case len(s) > MaxPath:
		return "longer than " + strconv.Itoa(MaxPath) + " octets; move the file"
	case s[0] == '/':
		return "begins with a slash; write the path below the box's root or the tree, without it"
	case s[len(s)-1] == '/':
		return "names a folder; write the path of a file"
	}
	return pathProblem(s)
}

// pathProblem says what is wrong with a relative path. Only characters pass
// that mean nothing to iPXE, GRUB, pxelinux or in an address.
func pathProblem(s string) string {
	for part := range strings.SplitSeq(s, "/") {
		switch part {
		case "":
			return "has an empty part (two slashes); remove one"
		case ".", "..":
			return `has "` + part + `" as a part; write the path without it`
		}
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case strings.IndexByte("/._-+~@=,:", c) >= 0:
		default:
			return "has " + strconv.QuoteRune(rune(c)) + ", which boot programs do not take in names; rename the file to letters, digits and . _ - + ~ @ = , :"
		}
	}
	return ""
}

// url: an absolute address. settings allows iPXE's ${name}, which the machine
// fills in itself.
func (k *checker) url(field, s string, settings bool, schemes ...string) {
	if what := urlProblem(s, settings, schemes); what != "" {
		k.add(field, what)
	}
}

func urlProblem(s string, settings bool, schemes []string) string {
	example := "; write an address like " + schemes[0] + "://192.0.2.1/path"
	switch {
	case s == "":
		return "missing" + example
	case len(s) > MaxURL:
		return "longer than " + strconv.Itoa(MaxURL) + " octets; shorten it"
	}
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte("\"'`<>\\^|", c) >= 0 {
			return "has a space or a character that an address must not have; write it as %20 or the like"
		}
	}
	rest := withoutSettings(s)
	if strings.ContainsAny(rest, "{}$") {
		return "has a broken ${…}; write settings of iPXE like ${mac} or ${net0/ip}, and the characters themselves as %24, %7B and %7D"
	}
	if rest != s && !settings {
		return "has a setting of iPXE, which does not count here; write the address out"
	}
	u, err := url.Parse(rest)
	if err != nil {
		return "is no address" + example
	}
	known := false
	for _, scheme := range schemes {
		known = known || u.Scheme == scheme
	}
	switch {
	case !known:
		return "has a scheme that boot programs do not know here; write " + strings.Join(schemes, ", ")
	case u.Hostname() == "":
		return "has no host" + example
	case u.User != nil:
		return "has a user name or password, which everybody on the LAN could read; leave it out"
	case u.Fragment != "":
		return "has a part behind '#', which is never sent; leave it out"
	}
	if p := u.Port(); p != "" {
		if n, _ := strconv.Atoi(p); n < 1 || n > 65535 {
			return "has a port that does not exist; write 1 to 65535"
		}
	}
	return ""
}

// withoutSettings replaces iPXE's ${name} by a digit, which may stand in a host
// and in a port. One that is not closed, or that has characters which no
// setting's name has, stays.
func withoutSettings(s string) string {
	var b strings.Builder
	for {
		before, after, _ := strings.Cut(s, "${")
		b.WriteString(before)
		name, tail, closed := strings.Cut(after, "}")
		if !closed || !validParameter(name) {
			b.WriteString(s[len(before):])
			return b.String()
		}
		b.WriteByte('1')
		s = tail
	}
}
