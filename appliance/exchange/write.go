package exchange

import (
	"encoding"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

const (
	header = `# Everything that bootpuck was told. An import puts this file in place of what a
# box knows. It may hold passwords: keep it as you keep those.
`
	maxFlow = 60 // columns of a list that stands on one line
	// maxKey bounds the key of a mapping in octets: readers look no further for
	// its colon (YAML 1.2, section 7.4.3).
	maxKey = 1000
)

// Export writes the document as a file that Parse reads back to Normal(d). It
// writes nothing if it would be larger than Parse takes, and says so.
func Export(w io.Writer, d Document) error {
	e := &emitter{}
	e.out.WriteString(header)
	e.document(reflect.ValueOf(Normal(d)))
	if e.err != nil {
		return fmt.Errorf("export: %w", e.err)
	}
	text := e.out.String()
	if err := bounded(text); err != nil {
		return fmt.Errorf("export: the file could not be imported: %w", err)
	}
	if _, err := io.WriteString(w, text); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	return nil
}

// emitter writes YAML, version 1.2, such that readers of 1.1 understand the same.
type emitter struct {
	out strings.Builder
	// kept says that a text with empty lines at its end came last: an empty
	// line more would belong to it.
	kept bool
	err  error
}

func (e *emitter) document(v reflect.Value) {
	for _, f := range fields[v.Type()] {
		part := v.Field(f.index)
		if f.omit && part.IsZero() {
			continue
		}
		if f.name != "version" {
			e.gap()
		}
		e.out.WriteString(f.name + ":")
		if part.Kind() != reflect.Slice {
			e.value(part, 0)
			continue
		}
		e.out.WriteString("\n")
		for i := range part.Len() {
			if i > 0 {
				e.gap()
			}
			e.out.WriteString("  - ")
			e.mapping(part.Index(i), 4, true)
		}
	}
}

func (e *emitter) gap() {
	if !e.kept {
		e.out.WriteString("\n")
	}
	e.kept = false
}

func (e *emitter) indent(n int) {
	e.kept = false
	for range n {
		e.out.WriteByte(' ')
	}
}

// mapping writes the fields of a struct. started: the first one goes on in the
// line that has been begun.
func (e *emitter) mapping(v reflect.Value, indent int, started bool) {
	for _, f := range fields[v.Type()] {
		part := v.Field(f.index)
		if f.left || f.omit && part.IsZero() {
			continue
		}
		if !started {
			e.indent(indent)
		}
		started = false
		e.out.WriteString(f.name + ":")
		e.value(part, indent)
	}
	if started {
		e.out.WriteString("{}\n")
	}
}

// value writes what comes after a colon, or after the dash of a list, with the
// line's end. indent is that of the key.
func (e *emitter) value(v reflect.Value, indent int) {
	if s, ok := e.scalar(v); ok {
		e.out.WriteByte(' ')
		e.text(s, v.Kind() == reflect.String, indent)
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		e.value(v.Elem(), indent)
	case reflect.Struct:
		if e.empty(v) {
			e.out.WriteString(" {}\n")
			return
		}
		e.out.WriteString("\n")
		e.mapping(v, indent+2, false)
	case reflect.Map:
		e.out.WriteString("\n")
		keys := v.MapKeys()
		slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
		for _, k := range keys {
			e.indent(indent + 2)
			key := inline(k.String(), false)
			if len(key) > maxKey {
				e.err = fmt.Errorf("the key %.40q… is too long for a file", k.String())
			}
			e.out.WriteString(key + ":")
			e.value(v.MapIndex(k), indent+2)
		}
	case reflect.Slice:
		e.list(v, indent)
	default:
		e.err = fmt.Errorf("no form for %s", v.Type())
	}
}

func (e *emitter) empty(v reflect.Value) bool {
	for _, f := range fields[v.Type()] {
		if !f.left && (!f.omit || !v.Field(f.index).IsZero()) {
			return false
		}
	}
	return true
}

// scalar is the text of a value that is neither list nor mapping.
func (e *emitter) scalar(v reflect.Value) (string, bool) {
	switch x := v.Interface().(type) {
	case time.Time:
		if y := x.Year(); y < 0 || y > 9999 {
			e.err = fmt.Errorf("the year %d does not fit into a file", y)
		}
		return x.Format(time.RFC3339Nano), true
	case boot.NIC:
		if !x.Given && !x.Shared {
			return inline(string(x.MAC), false), true
		}
		return "", false
	case encoding.TextMarshaler:
		b, err := x.MarshalText()
		if err != nil {
			e.err = err
		}
		return inline(string(b), false), true
	}
	switch v.Kind() {
	case reflect.String:
		return v.String(), true
	case reflect.Bool:
		return strconv.FormatBool(v.Bool()), true
	case reflect.Int:
		return strconv.FormatInt(v.Int(), 10), true
	default:
		return "", false
	}
}

func (e *emitter) list(v reflect.Value, indent int) {
	if v.Len() == 0 { // in a map; elsewhere it is left out
		e.out.WriteString(" []\n")
		return
	}
	if v.Type().Elem().Kind() == reflect.String {
		if line, ok := flow(v); ok {
			e.out.WriteString(" " + line + "\n")
			return
		}
	}
	e.out.WriteString("\n")
	for i := range v.Len() {
		item := v.Index(i)
		e.indent(indent + 2)
		e.out.WriteString("-")
		if _, ok := e.scalar(item); ok || item.Kind() != reflect.Struct {
			e.value(item, indent+2)
			continue
		}
		e.out.WriteByte(' ')
		e.mapping(item, indent+4, true)
	}
}

// flow is a short list of short words on one line.
func flow(v reflect.Value) (string, bool) {
	var b strings.Builder
	b.WriteByte('[')
	for i := range v.Len() {
		if i > 0 {
			b.WriteString(", ")
		}
		s := v.Index(i).String()
		if len(s) > maxFlow || b.Len() > maxFlow {
			return "", false
		}
		b.WriteString(inline(s, true))
	}
	b.WriteByte(']')
	return b.String(), b.Len() <= maxFlow
}

// text writes a scalar and ends the line. Text of several lines stands as it
// is, below the key, when a reader gets exactly it back from that.
func (e *emitter) text(s string, isString bool, indent int) {
	if !isString {
		e.out.WriteString(s + "\n")
		return
	}
	if !literal(s) {
		e.out.WriteString(inline(s, false) + "\n")
		return
	}
	e.out.WriteByte('|')
	if s[0] == ' ' || s[0] == '\t' || s[0] == '\n' {
		e.out.WriteByte('2') // else the reader takes the first line's indentation for that of all
	}
	body := strings.TrimRight(s, "\n")
	switch trailing := len(s) - len(body); trailing {
	case 0:
		e.out.WriteByte('-')
	case 1:
	default:
		e.out.WriteByte('+')
		defer func() { e.kept = true }()
	}
	e.out.WriteByte('\n')
	for line := range strings.SplitSeq(body, "\n") {
		if line != "" {
			e.indent(indent + 2)
			e.out.WriteString(line)
		}
		e.out.WriteByte('\n')
	}
	for range len(s) - len(body) - 1 {
		e.out.WriteByte('\n')
	}
}

// literal says whether s can stand as a block: several lines of visible
// characters, none of which is made of blanks alone.
func literal(s string) bool {
	if !strings.Contains(s, "\n") || strings.Trim(s, "\n") == "" {
		return false
	}
	for line := range strings.SplitSeq(s, "\n") {
		if line != "" && strings.Trim(line, " \t") == "" {
			return false
		}
	}
	for _, r := range s {
		if r != '\n' && r != '\t' && !visible(r) {
			return false
		}
	}
	return true
}

// visible says whether a character may stand in a file as it is.
func visible(r rune) bool {
	switch r {
	case utf8.RuneError, '\uFEFF':
		return false
	}
	return unicode.IsPrint(r) // no line separators, no control characters
}

// inline is the shortest form of a text on one line: plain, in single quotes if
// that spares it escapes, or in double quotes.
func inline(s string, inFlow bool) string {
	if plain(s, inFlow) {
		return s
	}
	quotes := strings.ContainsAny(s, `"\`)
	for _, r := range s {
		if !visible(r) {
			return double(s)
		}
	}
	if quotes {
		return "'" + strings.ReplaceAll(s, "'", "''") + "'"
	}
	return `"` + s + `"`
}

func double(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\r':
			b.WriteString(`\r`)
		case visible(r):
			b.WriteRune(r)
		case r < 0x100:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// words that some version of YAML takes for something other than text.
var words = map[string]bool{
	"y": true, "n": true, "yes": true, "no": true, "on": true, "off": true, "true": true, "false": true,
	"null": true, "~": true, "nan": true, "inf": true,
}

// plain says whether a text needs no quotes. It is stricter than YAML.
func plain(s string, inFlow bool) bool {
	if s == "" || words[strings.ToLower(s)] || numeric(s) {
		return false
	}
	for i, r := range s {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '/', r == '_', r == '(', r == '$', r == '+', r == ';':
		case r > 0x7f && visible(r) && !unicode.IsSpace(r):
		case i == 0:
			return false
		case r == '.', r == '-', r == '@', r == '=', r == '~', r == ')', r == '%', r == '^', r == '<', r == '>', r == '&', r == '*', r == '!', r == '?', r == '|', r == '\'', r == '"', r == '`', r == '\\':
		case r == ',' || r == '[' || r == ']' || r == '{' || r == '}':
			if inFlow {
				return false
			}
		case r == ':': // not before a blank, and not at the end
			if inFlow || i+1 == len(s) || s[i+1] == ' ' {
				return false
			}
		case r == ' ': // not before a comment, and not at the end
			if i+1 == len(s) || s[i+1] == '#' {
				return false
			}
		case r == '#':
		default:
			return false
		}
	}
	return true
}

// numeric says whether some version of YAML could take the text for a number
// or a date: 0x1f, 1_000, 1e3, 010, 12:30:45 (base 60 in YAML 1.1), 2026-01-02.
func numeric(s string) bool {
	if s[0] != '.' && s[0] != '+' && s[0] != '-' && (s[0] < '0' || s[0] > '9') {
		return false
	}
	if _, err := strconv.ParseFloat(strings.ReplaceAll(s, "_", ""), 64); err == nil {
		return true
	}
	if _, err := strconv.ParseInt(s, 0, 64); err == nil {
		return true
	}
	rest := strings.TrimLeft(s, "0123456789")
	return strings.Trim(s, "0123456789:_.+") == "" && strings.Count(s, ".") < 2 || len(s)-len(rest) == 4 && strings.HasPrefix(rest, "-")
}
