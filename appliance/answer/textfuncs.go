package answer

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"unicode/utf8"
)

// change makes a function of one text, piece by piece.
func (r *run) change(f func(string) string) func(v any) (any, error) {
	return func(v any) (any, error) {
		out, err := each(v, f)
		if err != nil {
			return nil, err
		}
		return r.made(out)
	}
}

// made pays for a value that a function has made.
func (r *run) made(v any) (any, error) {
	parts, err := partsOf(v)
	if err != nil {
		return nil, err
	}
	n := size(parts)
	if n > maxValue {
		return nil, errValueTooLong
	}
	return v, r.pay(n)
}

// escape makes a function that escapes a text. A text of the operator alone
// stays the operator's; what holds a claim is marked with what it was escaped
// for, and only places that it fits will print it as it is.
func (r *run) escape(f func(string) string, t tag) func(v any) (any, error) {
	return func(v any) (any, error) {
		parts, err := partsOf(v)
		if err != nil {
			return nil, err
		}
		if size(parts) > maxValue {
			return nil, errValueTooLong
		}
		mark := trusted
		for _, p := range parts {
			if p.tag != trusted {
				mark = t
			}
		}
		s, _ := exact(v) // partsOf has read it
		return r.made(textOf([]part{{f(s), mark}}))
	}
}

func (r *run) trim(v any) (any, error) {
	parts, err := partsOf(v)
	if err != nil {
		return nil, err
	}
	out := make([]part, len(parts))
	for i, p := range parts {
		out[i] = part{p.text, min(p.tag, claimed)}
	}
	for len(out) > 0 {
		if out[0].text = strings.TrimSpace(out[0].text); out[0].text != "" || len(out) == 1 {
			break
		}
		out = out[1:]
	}
	return r.made(textOf(trimEnd(out)))
}

func trimEnd(out []part) []part {
	for n := len(out); n > 1; n-- {
		out[n-1].text = strings.TrimRight(out[n-1].text, " \t\r\n")
		if out[n-1].text != "" {
			return out[:n]
		}
	}
	if len(out) > 0 {
		out[0].text = strings.TrimRight(out[0].text, " \t\r\n")
		return out[:1]
	}
	return out
}

// cut makes trimPrefix and trimSuffix, which look at the first or last piece.
func (r *run) cut(f func(s, what string) string) func(what, v any) (any, error) {
	return func(what, v any) (any, error) {
		w, err := exact(what)
		if err != nil {
			return nil, err
		}
		parts, err := partsOf(v)
		if err != nil {
			return nil, err
		}
		out := make([]part, len(parts))
		for i, p := range parts {
			out[i] = part{p.text, min(p.tag, claimed)}
		}
		end := 0
		if f("ab", "b") == "a" {
			end = len(out) - 1
		}
		out[end].text = f(out[end].text, w)
		return r.made(textOf(out))
	}
}

func (r *run) replace(from, to, v any) (any, error) {
	old, err := exact(from)
	if err != nil {
		return nil, err
	}
	if old == "" {
		return nil, errors.New("replace: replace what?")
	}
	fresh, err := partsOf(to)
	if err != nil {
		return nil, err
	}
	parts, err := partsOf(v)
	if err != nil {
		return nil, err
	}
	// Sized before it is made: a letter that becomes a page, many times.
	n, pieces := size(parts), 0
	for _, p := range parts {
		k := strings.Count(p.text, old)
		n += k * (size(fresh) - len(old))
		pieces += k
	}
	if n > maxValue {
		return nil, errValueTooLong
	}
	if err := r.pay(n + size(parts) + 16*pieces*len(fresh)); err != nil {
		return nil, err
	}
	if len(fresh) == 1 && fresh[0].tag == trusted {
		return each(v, func(s string) string { return strings.ReplaceAll(s, old, fresh[0].text) })
	}
	var out []part
	for _, p := range parts {
		for i, s := range strings.Split(p.text, old) {
			if i > 0 {
				out = append(out, fresh...)
			}
			out = append(out, part{s, min(p.tag, claimed)})
		}
	}
	return textOf(out), nil
}

func (r *run) split(sep, v any) ([]any, error) {
	at, err := exact(sep)
	if err != nil {
		return nil, err
	}
	if at == "" {
		return nil, errors.New("split: at what?")
	}
	parts, err := partsOf(v)
	if err != nil {
		return nil, err
	}
	if err := r.pay(size(parts)); err != nil {
		return nil, err
	}
	out := [][]part{nil}
	for _, p := range parts {
		if strings.Count(p.text, at)+len(out) > maxList {
			return nil, fmt.Errorf("split: more than %d pieces", maxList)
		}
		for i, s := range strings.Split(p.text, at) {
			if i > 0 {
				out = append(out, nil)
			}
			out[len(out)-1] = append(out[len(out)-1], part{s, min(p.tag, claimed)})
		}
	}
	list := make([]any, len(out))
	for i, parts := range out {
		list[i] = textOf(parts)
	}
	return list, r.pay(16 * len(list))
}

func (r *run) join(sep, in any) (any, error) {
	between, err := partsOf(sep)
	if err != nil {
		return nil, err
	}
	rv := reflect.ValueOf(in)
	if rv.Kind() != reflect.Slice {
		return nil, fmt.Errorf("join: want a list, got %s", typeName(in))
	}
	var out []part
	n := 0
	for i := range rv.Len() {
		parts, err := partsOf(rv.Index(i).Interface())
		if err != nil {
			return nil, fmt.Errorf("join: element %d: %w", i, err)
		}
		if i > 0 {
			out, n = append(out, between...), n+size(between)
		}
		out, n = append(out, parts...), n+size(parts)
		if n > maxValue {
			return nil, errValueTooLong
		}
	}
	if err := r.pay(16 * len(out)); err != nil {
		return nil, err
	}
	return r.made(textOf(out))
}

// trunc cuts a text to n octets, at the start of a character.
func (r *run) trunc(n int, v any) (any, error) {
	parts, err := partsOf(v)
	if err != nil {
		return nil, err
	}
	if n < 0 {
		return nil, fmt.Errorf("trunc %d: want 0 or more octets", n)
	}
	var out []part
	for _, p := range parts {
		s := p.text
		if len(s) > n {
			s = s[:n]
			for len(s) > 0 && !utf8.RuneStart(p.text[len(s)]) {
				s = s[:len(s)-1]
			}
		}
		out, n = append(out, part{s, min(p.tag, claimed)}), n-len(s)
	}
	return r.made(textOf(out))
}

// quote puts a text into double quotes with backslashes before quotes and
// backslashes. It is for the operator's own texts: a claim within stays in its
// safe form, because nobody can say what reads the quotes.
func (r *run) quote(v any) (any, error) {
	inner, err := each(v, strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace)
	if err != nil {
		return nil, err
	}
	parts, err := partsOf(inner)
	if err != nil {
		return nil, err
	}
	out := append([]part{{text: `"`}}, parts...)
	return r.made(textOf(append(out, part{text: `"`})))
}

// indent puts n spaces before every line, for YAML's block scalars.
func (r *run) indent(n int, v any) (any, error) {
	parts, err := partsOf(v)
	if err != nil {
		return nil, err
	}
	if n < 0 || n > 100 {
		return nil, fmt.Errorf("indent %d: want 0 to 100 spaces", n)
	}
	total := size(parts) + n
	for _, p := range parts {
		total += n * strings.Count(p.text, "\n")
	}
	if total > maxValue {
		return nil, errValueTooLong
	}
	space := strings.Repeat(" ", n)
	out := []part{{text: space}}
	for _, p := range parts {
		out = append(out, part{strings.ReplaceAll(p.text, "\n", "\n"+space), p.tag})
	}
	return r.made(textOf(out))
}

// nindent begins with a new line.
func (r *run) nindent(n int, v any) (any, error) {
	in, err := r.indent(n, v)
	if err != nil {
		return nil, err
	}
	parts, err := partsOf(in)
	if err != nil {
		return nil, err
	}
	return r.made(textOf(append([]part{{text: "\n"}}, parts...)))
}

// printf is fmt.Sprintf with the verbs s, v, d, q, x, X and % alone, flags -, 0,
// + and a space, and widths and precisions up to 99. fmt itself would make a
// million spaces of two characters, and would show what a type of ours holds in
// its words for a wrong verb.
func (r *run) printf(format string, args ...any) (any, error) {
	var out []part
	n := 0
	put := func(p ...part) error {
		if n += size(p); n > maxValue {
			return errValueTooLong
		}
		out = append(out, p...)
		return r.pay(16)
	}
	for format != "" {
		text, rest, ok := strings.Cut(format, "%")
		if err := put(part{text: text}); err != nil {
			return nil, err
		}
		if !ok {
			break
		}
		spec := len(rest) - len(strings.TrimLeft(rest, "-+ 0123456789."))
		if spec == len(rest) || spec > 6 || tooWide(rest[:spec]) {
			return nil, fmt.Errorf("printf: %%%.8s is no format", rest)
		}
		verb := rest[spec]
		flags := rest[:spec]
		format = rest[spec+1:]
		if verb == '%' {
			if err := put(part{text: "%"}); err != nil {
				return nil, err
			}
			continue
		}
		if len(args) == 0 {
			return nil, fmt.Errorf("printf: nothing left for %%%s%c", flags, verb)
		}
		parts, err := formatted(flags, verb, args[0])
		if err != nil {
			return nil, err
		}
		args = args[1:]
		if err := put(parts...); err != nil {
			return nil, err
		}
	}
	if len(args) > 0 {
		return nil, fmt.Errorf("printf: %d values too many", len(args))
	}
	return r.made(textOf(out))
}

// tooWide says whether flags hold a number of more than two digits.
func tooWide(flags string) bool {
	digits := 0
	for i := range len(flags) {
		if c := flags[i]; c < '0' || c > '9' {
			digits = 0
		} else if digits++; digits > 2 {
			return true
		}
	}
	return false
}

// formatted is one value in the format of a verb.
func formatted(flags string, verb byte, v any) ([]part, error) {
	switch verb {
	case 'd':
		n, err := number(v)
		if err != nil {
			return nil, fmt.Errorf("printf: %%d: %w", err)
		}
		return []part{{text: fmt.Sprintf("%"+flags+"d", n)}}, nil
	case 'x', 'X':
		if n, ok := intOf(v); ok {
			return []part{{text: fmt.Sprintf("%"+flags+string(verb), n)}}, nil
		}
		fallthrough
	case 's', 'v', 'q':
		parts, err := partsOf(v)
		if err != nil {
			return nil, fmt.Errorf("printf: %%%c: %w", verb, err)
		}
		if flags == "" && verb != 'q' && verb != 'x' && verb != 'X' {
			return parts, nil
		}
		if verb == 'v' {
			verb = 's'
		}
		s, mark := "", trusted
		for _, p := range parts {
			s += p.text
			mark = max(mark, min(p.tag, claimed))
		}
		return []part{{fmt.Sprintf("%"+flags+string(verb), s), mark}}, nil
	}
	return nil, fmt.Errorf("printf: %%%c: there are %%s, %%d, %%q, %%x, %%v and %%%%", verb)
}
