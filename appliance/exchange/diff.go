package exchange

import (
	"cmp"
	"encoding"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// MaxDifferences is how many differences are told; the last one then says how
// many more there are.
const MaxDifferences = 5000

// Difference is one thing that is not the same in two documents.
type Difference struct {
	Document string // "targets/debian", "machines/m1", "site"
	Text     string // for people; secrets are not in it
}

// String is the document and the text.
func (d Difference) String() string { return d.Document + ": " + d.Text }

// Diff says what makes b of a, for people, in the order of a file. What Normal
// leaves out does not count. Nil means that both are the same.
//
// Machines are compared by identifier. Those without any are new unless they
// are the same in both, one by one.
func Diff(a, b Document) []Difference {
	a, b = Normal(a), Normal(b)
	var out differences
	out.fields("site", reflect.ValueOf(a.Site), reflect.ValueOf(b.Site))
	va, vb := reflect.ValueOf(a), reflect.ValueOf(b)
	for _, f := range fields[va.Type()] {
		if slices.Contains(kinds, f.name) {
			out.documents(f.name, va.Field(f.index), vb.Field(f.index))
		}
	}
	if out.more > 0 {
		out.list[MaxDifferences-1] = Difference{"(all)", fmt.Sprintf("and %d more differences", out.more+1)}
	}
	return out.list
}

type differences struct {
	list []Difference
	more int
}

func (o *differences) add(document, text string) {
	if len(o.list) >= MaxDifferences {
		o.more++
		return
	}
	o.list = append(o.list, Difference{document, text})
}

func (o *differences) documents(kind string, a, b reflect.Value) {
	old, nameless := byName(kind, a)
	for i := range b.Len() {
		name := nameOf(kind, b.Index(i))
		document := Key(kind, name, i)
		if name == "" {
			if len(nameless) > 0 && reflect.DeepEqual(a.Index(nameless[0]).Interface(), b.Index(i).Interface()) {
				nameless = nameless[1:]
				continue
			}
			o.add(document, "new"+summary(b.Index(i)))
			continue
		}
		before, ok := old[name]
		if !ok {
			o.add(document, "new"+summary(b.Index(i)))
			continue
		}
		delete(old, name)
		o.fields(document, before, b.Index(i))
	}
	for i := range a.Len() { // in the order of the file
		name := nameOf(kind, a.Index(i))
		if _, ok := old[name]; ok || name == "" && slices.Contains(nameless, i) {
			o.add(Key(kind, name, i), "removed"+summary(a.Index(i)))
		}
	}
}

// byName finds documents by their names; nameless are the places of the others.
func byName(kind string, list reflect.Value) (named map[string]reflect.Value, nameless []int) {
	named = make(map[string]reflect.Value, list.Len())
	for i := range list.Len() {
		if name := nameOf(kind, list.Index(i)); name != "" {
			named[name] = list.Index(i)
		} else {
			nameless = append(nameless, i)
		}
	}
	return named, nameless
}

func nameOf(kind string, v reflect.Value) string {
	for _, f := range fields[v.Type()] {
		if f.name == nameField(kind) {
			return v.Field(f.index).String()
		}
	}
	return ""
}

// summary is what people call a document by, other than its name.
func summary(v reflect.Value) string {
	var what string
	switch x := v.Interface().(type) {
	case boot.Machine:
		what = x.Name
		if what == "" && len(x.MACs) > 0 {
			what = string(x.MACs[0].MAC)
		}
	case boot.Target:
		what = cmp.Or(x.Title, string(x.Kind))
	case boot.Profile:
		what = x.Title
	}
	if what == "" {
		return ""
	}
	return ": " + strconv.Quote(cut(what))
}

// fields compares two documents of the same type.
func (o *differences) fields(document string, a, b reflect.Value) {
	if reflect.DeepEqual(a.Interface(), b.Interface()) {
		return
	}
	before, after := map[string]leaf{}, map[string]leaf{}
	var order []string
	flatten(a, "", before, &order)
	flatten(b, "", after, &order)
	seen := map[string]bool{}
	for _, path := range order {
		if seen[path] {
			continue
		}
		seen[path] = true
		x, inA := before[path]
		y, inB := after[path]
		switch {
		case inA && inB && x.value == y.value:
		case !inA:
			o.add(document, path+": new "+y.show(path))
		case !inB:
			o.add(document, path+": "+x.show(path)+" removed")
		default:
			o.add(document, path+": "+change(path, x, y))
		}
	}
}

// leaf is a value at the end of a path.
type leaf struct {
	value string // equal when the values are
	shown string // for people, not masked yet
	text  bool   // of several lines
}

// flatten collects the values that are not empty, by path, and appends their
// paths in the order of a file.
func flatten(v reflect.Value, path string, to map[string]leaf, order *[]string) {
	put := func(l leaf) {
		to[path] = l
		*order = append(*order, path)
	}
	if v.IsZero() {
		return
	}
	switch x := v.Interface().(type) {
	case time.Time:
		put(leaf{value: x.String(), shown: x.Format(time.RFC3339)})
		return
	case []boot.NIC: // by address: one more in front is not a change of all
		for _, n := range x {
			path := join(path, string(n.MAC))
			shown := "address"
			if n.Given {
				shown += ", given"
			}
			if n.Shared {
				shown += ", shared"
			}
			to[path] = leaf{value: shown, shown: shown}
			*order = append(*order, path)
		}
		return
	case encoding.TextMarshaler:
		b, _ := x.MarshalText()
		put(leaf{value: string(b), shown: string(b)})
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		flatten(v.Elem(), path, to, order)
	case reflect.Struct:
		for _, f := range fields[v.Type()] {
			if !f.left {
				flatten(v.Field(f.index), join(path, f.name), to, order)
			}
		}
	case reflect.Map:
		m := map[string]reflect.Value{}
		for it := v.MapRange(); it.Next(); {
			m[it.Key().String()] = it.Value()
		}
		for _, k := range sorted(m) {
			flatten(m[k], join(path, k), to, order)
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.String { // short words: as a whole
			var items []string
			for i := range v.Len() {
				items = append(items, strconv.Quote(v.Index(i).String()))
			}
			s := "[" + strings.Join(items, ", ") + "]"
			put(leaf{value: s, shown: s})
			return
		}
		for i := range v.Len() {
			flatten(v.Index(i), path+"["+strconv.Itoa(i)+"]", to, order)
		}
	case reflect.String:
		s := v.String()
		long := strings.Contains(s, "\n") || path == "text" || path == "script"
		put(leaf{value: s, shown: strconv.Quote(s), text: long})
	default:
		s := fmt.Sprint(v.Interface())
		put(leaf{value: s, shown: s})
	}
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// mask stands for a secret.
const mask = "(secret)"

// secretPath recognises fields and variables that hold secrets by their names.
var secretPath = regexp.MustCompile(`(?i)pass|secret|token|credential|(^|[._-])(key|psk|pw|pwd|pin|hash)([._-]|$)|api_?key|private_?key`)

// Secrets within a text: the password in an address, and a word of a command
// line that says by its name what it is.
var (
	urlPassword  = regexp.MustCompile(`(://[^/@:\s"]*:)[^/@\s"]+@`)
	wordPassword = regexp.MustCompile(`(?i)([a-z0-9_.-]*(?:pass|secret|token)[a-z0-9_.-]*=)[^\s"]+`)
)

// keyField is a menu entry's key on the keyboard, which is no secret.
var keyField = regexp.MustCompile(`\]\.key$`)

// show is a value for people.
func (l leaf) show(path string) string {
	const most = 100
	switch {
	case secretPath.MatchString(path) && !keyField.MatchString(path):
		return mask
	case l.text:
		// A template may hold anything, and nobody reads it in a line.
		return "text of " + lines(strings.Count(l.value, "\n")+1)
	}
	s := urlPassword.ReplaceAllString(l.shown, "${1}"+mask+"@")
	s = wordPassword.ReplaceAllString(s, "${1}"+mask)
	if len(s) <= most {
		return s
	}
	n := most
	for n > 0 && s[n]&0xc0 == 0x80 {
		n--
	}
	return s[:n] + "…"
}

func lines(n int) string {
	if n == 1 {
		return "1 line"
	}
	return strconv.Itoa(n) + " lines"
}

// change is from what to what. Long values are shown from where they differ.
func change(path string, a, b leaf) string {
	x, y := a.show(path), b.show(path)
	switch {
	case x == mask:
		return "another " + mask
	case a.text && b.text:
		before, after := strings.Split(a.value, "\n"), strings.Split(b.value, "\n")
		first := 0
		for first < min(len(before), len(after)) && before[first] == after[first] {
			first++
		}
		end := 0
		for end < min(len(before), len(after))-first && before[len(before)-1-end] == after[len(after)-1-end] {
			end++
		}
		changed := max(len(before), len(after)) - first - end
		return fmt.Sprintf("text differs in %s from line %d on", lines(changed), first+1)
	case x == y:
		return "differs in what is not shown of " + x
	}
	return x + " → " + y
}
