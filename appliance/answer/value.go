package answer

import (
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// Claim is a text that a client told. It holds the exact value (printable,
// boot.MaxClaim octets at most) for comparisons and for the functions that
// escape; whatever prints it gets the safe form.
type Claim string

// NewClaim cuts s to what a client may tell: boot.MaxClaim octets, and no
// control characters, line or direction marks, or broken UTF-8, each of which
// becomes "_".
func NewClaim(s string) Claim {
	if len(s) > boot.MaxClaim {
		n := boot.MaxClaim
		for n > 0 && !utf8.RuneStart(s[n]) {
			n--
		}
		s = s[:n]
	}
	return Claim(strings.Map(func(r rune) rune {
		if r == utf8.RuneError || r != ' ' && !unicode.IsGraphic(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp) {
			return '_'
		}
		return r
	}, s))
}

// String is the safe form of the strictest kind of file.
func (c Claim) String() string { return safeForm(string(c), false) }

// Format prints the safe form whatever the verb, so that no verb of the fmt
// package leads around it.
func (c Claim) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, c.String()) }

// safeForm keeps letters, digits and [._:@+-], and spaces if asked to; all
// other characters become "_". So does a character of those where it could mean
// something: one of "-.@:" at the start (options, hidden files and "..", YAML's
// indicators), a dash after a space (options), a colon that no letter or digit
// follows (a YAML mapping), and spaces at the ends.
func safeForm(s string, spaces bool) string {
	var b strings.Builder
	b.Grow(len(s))
	for i, r := range s {
		switch {
		case r >= utf8.RuneSelf:
			b.WriteByte('_')
		case alnum(byte(r)) || r == '_' || r == '+':
			b.WriteByte(byte(r))
		case i == 0:
			b.WriteByte('_')
		case r == '.' || r == '@', r == '-' && s[i-1] != ' ':
			b.WriteByte(byte(r))
		case r == ':' && i+1 < len(s) && alnum(s[i+1]), spaces && r == ' ' && i+1 < len(s):
			b.WriteByte(byte(r))
		default:
			b.WriteByte('_')
		}
	}
	return b.String()
}

func alnum(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// tag says what a piece of text is: the operator's own words, a client's, or a
// client's escaped for some place.
type tag uint8

const (
	trusted    tag = iota // the operator's, or of an alphabet that means nothing anywhere
	claimed               // a client's, exact
	forXML                // a client's, escaped …
	forCDATA              //
	forJSON               // a string with its quotes
	forYAML               // a double-quoted scalar
	forShell              // a single-quoted word
	forURI                // percent-encoded
	forPreseed            // on one line, without continuation
	forWord               // one word of a command line or an iPXE script
)

// part is a piece of text with one tag.
type part struct {
	text string
	tag  tag
}

// mixed is a text put together from pieces of which at least one is not
// trusted. It is handled by pointer and never empty, so that a template's if
// finds it true.
type mixed struct{ parts []part }

// String is the safe form.
func (m *mixed) String() string {
	var b strings.Builder
	for _, p := range m.parts {
		if p.tag == trusted {
			b.WriteString(p.text)
		} else {
			b.WriteString(safeForm(p.text, false))
		}
	}
	return b.String()
}

// Format prints the safe form whatever the verb.
func (m *mixed) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, m.String()) }

// partsOf takes a value of a template apart. Lists, maps and nothing at all are
// errors: they have no text.
func partsOf(v any) ([]part, error) {
	switch v := v.(type) {
	case string:
		return []part{{text: v}}, nil
	case Claim:
		return []part{{string(v), claimed}}, nil
	case *mixed:
		return v.parts, nil
	case bool:
		return []part{{text: strconv.FormatBool(v)}}, nil
	case float64:
		return []part{{text: strconv.FormatFloat(v, 'g', -1, 64)}}, nil
	}
	if n, ok := intOf(v); ok {
		return []part{{text: strconv.FormatInt(n, 10)}}, nil
	}
	return nil, fmt.Errorf("want a text or a number, got %s", typeName(v))
}

// exact is the text of a value with all its pieces as they are. It is for
// comparing and for what makes trusted text of it, never for printing.
func exact(v any) (string, error) {
	parts, err := partsOf(v)
	if err != nil {
		return "", err
	}
	if len(parts) == 1 {
		return parts[0].text, nil
	}
	var b strings.Builder
	for _, p := range parts {
		b.WriteString(p.text)
	}
	return b.String(), nil
}

// textOf puts pieces together again, as the simplest type that holds them.
func textOf(parts []part) any {
	var (
		merged []part
		run    strings.Builder // trusted pieces that follow each other
	)
	flush := func() {
		if run.Len() > 0 {
			merged = append(merged, part{text: run.String()})
			run.Reset()
		}
	}
	for _, p := range parts {
		switch {
		case p.text == "":
		case p.tag == trusted:
			run.WriteString(p.text)
		default:
			flush()
			merged = append(merged, p)
		}
	}
	flush()
	switch {
	case len(merged) == 0:
		return ""
	case len(merged) > 1:
		return &mixed{merged}
	case merged[0].tag == trusted:
		return merged[0].text
	case merged[0].tag == claimed:
		return Claim(merged[0].text)
	}
	return &mixed{merged}
}

// size is the number of octets of pieces.
func size(parts []part) int {
	n := 0
	for _, p := range parts {
		n += len(p.text)
	}
	return n
}

// each applies f to every piece. What was escaped is a plain claim afterwards:
// nobody knows whether it still is escaped.
func each(v any, f func(string) string) (any, error) {
	parts, err := partsOf(v)
	if err != nil {
		return nil, err
	}
	out := make([]part, len(parts))
	for i, p := range parts {
		out[i] = part{f(p.text), min(p.tag, claimed)}
	}
	return textOf(out), nil
}

// intOf reads a whole number of any of Go's types.
func intOf(v any) (int64, bool) {
	rv := reflect.ValueOf(v)
	switch {
	case !rv.IsValid():
		return 0, false
	case rv.CanInt():
		return rv.Int(), true
	case rv.CanUint() && rv.Uint() < 1<<63:
		return int64(rv.Uint()), true
	}
	return 0, false
}

// typeName is the name of a value's type in an operator's words.
func typeName(v any) string {
	switch v.(type) {
	case nil:
		return "nothing"
	case string, Claim, *mixed:
		return "a text"
	case bool:
		return "true or false"
	case float64:
		return "a number with a fraction"
	}
	if _, ok := intOf(v); ok {
		return "a number"
	}
	switch reflect.TypeOf(v).Kind() { //nolint:exhaustive // the rest has one name
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Map:
		return "a table"
	default:
		return "something that has no text"
	}
}
