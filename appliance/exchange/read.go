package exchange

import (
	"bytes"
	"encoding"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// Bounds of a file.
const (
	MaxSize  = 16 << 20 // octets
	maxMarks = 1000000  // lines, list items, pairs and the like together: each costs some hundred octets of memory
	maxDepth = 24       // lists and mappings within each other; a document needs eight
)

// MaxErrors is how many errors are told at once.
const MaxErrors = 100

// Error is a place in a file and what is wrong there.
type Error struct {
	File string
	Line int // from 1; 0 when there is none
	// Field is the document and the field in it: "targets/debian: needs.memory".
	// Empty when the file as a whole is meant.
	Field string
	What  string // what is wrong and what to write instead
}

// Error is file:line: field: what.
func (e Error) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		b.WriteString(":" + strconv.Itoa(e.Line))
	}
	if e.Field != "" {
		b.WriteString(": " + e.Field)
	}
	return b.String() + ": " + e.What
}

// Errors are all that is wrong with a file, by line; at most MaxErrors, the last
// of which then says how many more there are.
type Errors []Error

// Error is a line for each.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i := range e {
		lines[i] = e[i].Error()
	}
	return strings.Join(lines, "\n")
}

// marksOf are what begins a value, or what a reader has to remember, with what
// each weighs: counting them bounds what reading costs before it begins. Those
// that stand in texts are counted too, for what is text only reading tells.
var marksOf = []struct {
	mark   string
	weight int
}{
	{"\n", 1},
	{"\r", 1},
	{"\u0085", 1},
	{"\u2028", 1},
	{"\u2029", 1},
	{"&", 1},
	{"*", 1},
	{"!", 1},
	{": ", 1},
	{"- ", 1},
	{"? ", 1},
	{":\t", 1},
	{"-\t", 1},
	{"?\t", 1},
	{",", 2},
	{"[", 2},
	{"{", 2},
}

// bounded says whether a file is small enough to be read.
func bounded(text string) error {
	if len(text) > MaxSize {
		return fmt.Errorf("it has %d octets, and may have %d; shorten notes or texts", len(text), MaxSize)
	}
	marks := 0
	for _, m := range marksOf {
		marks += strings.Count(text, m.mark) * m.weight
	}
	if marks > maxMarks {
		return fmt.Errorf("its lines, list items, pairs and signs of YAML count %d, and may count %d", marks, maxMarks)
	}
	return nil
}

// Parse reads a file. Its name is for the errors, which are of type Errors: on
// any of them the document is empty. What the values mean is not looked at (see
// Locate), except for what a file must be right about to be read at all.
func Parse(file string, data []byte) (Document, error) {
	d := &decoder{file: file}
	root := d.load(data)
	if root == nil {
		return Document{}, d.result()
	}
	var doc Document
	d.check(root)
	if len(d.errs) == 0 {
		d.value(root, reflect.ValueOf(&doc).Elem(), "")
		d.document(root, doc)
	}
	if err := d.result(); err != nil {
		return Document{}, err
	}
	return doc, nil
}

// limits are those of the YAML library: it asks before it nests deeper, and
// before it follows an alias.
type limits struct{}

func (limits) CheckDepth(depth int, _ *yaml.DepthContext) error {
	if depth > maxDepth {
		return fmt.Errorf("lists and mappings are nested more than %d deep", maxDepth)
	}
	return nil
}

func (limits) CheckAlias(aliases, _ int) error {
	if aliases > 0 {
		return errors.New(noAnchors)
	}
	return nil
}

const noAnchors = "anchors and aliases are not read: write the value out"

type decoder struct {
	file string
	errs Errors
	more int // errors that are not told
}

func (d *decoder) fail(line int, field, format string, args ...any) {
	if len(d.errs) >= MaxErrors {
		d.more++
		return
	}
	d.errs = append(d.errs, Error{File: d.file, Line: line, Field: field, What: fmt.Sprintf(format, args...)})
}

func (d *decoder) result() error {
	if len(d.errs) == 0 {
		return nil
	}
	slices.SortStableFunc(d.errs, func(a, b Error) int { return a.Line - b.Line })
	if d.more > 0 {
		d.errs[MaxErrors-1] = Error{File: d.file, What: fmt.Sprintf("and %d more errors", d.more+1)}
	}
	return d.errs
}

// load reads the file into nodes and returns the one at the top, or nil.
func (d *decoder) load(data []byte) (root *yaml.Node) {
	defer func() {
		// The library reports errors by panics of its own; one that it does not
		// catch must not reach whoever serves the API.
		if p := recover(); p != nil {
			d.fail(0, "", "not to be read as YAML: %v", p)
			root = nil
		}
	}()
	if !utf8.Valid(data) {
		d.fail(1+bytes.Count(data[:validPrefix(data)], []byte("\n")), "", "is not UTF-8: save it in that encoding")
		return nil
	}
	if err := bounded(string(data)); err != nil {
		d.fail(0, "", "too large: %v", err)
		return nil
	}
	loader, err := yaml.NewLoader(bytes.NewReader(data), yaml.WithV4Defaults(), yaml.WithPlugin(limits{}))
	if err != nil {
		d.fail(0, "", "%v", err)
		return nil
	}
	var doc, second yaml.Node
	if err := loader.Load(&doc); err != nil {
		d.syntax(err)
		return nil
	}
	if doc.Kind == yaml.DocumentNode && len(doc.Content) == 1 {
		root = doc.Content[0]
	}
	if root == nil || empty(root) {
		d.fail(0, "", `is empty: write at least "version: %d"`, Version)
		return nil
	}
	if err := loader.Load(&second); err == nil {
		d.fail(second.Line, "", "a second document begins: write one")
		return nil
	} else if loadErr := (*yaml.LoadError)(nil); errors.As(err, &loadErr) {
		d.syntax(err)
		return nil
	}
	return root
}

func validPrefix(data []byte) int {
	n := 0
	for n < len(data) {
		r, size := utf8.DecodeRune(data[n:])
		if r == utf8.RuneError && size <= 1 {
			break
		}
		n += size
	}
	return n
}

// syntax tells an error of the library in our form.
func (d *decoder) syntax(err error) {
	if e, ok := errors.AsType[*yaml.LoadError](err); ok {
		what := e.Message
		if e.ContextMsg != "" {
			what = e.ContextMsg + " (line " + strconv.Itoa(e.ContextMark.Line) + "): " + what
		}
		d.fail(e.Mark.Line, "", "not valid YAML: %s", what)
		return
	}
	if errors.Is(err, io.EOF) {
		d.fail(0, "", `is empty: write at least "version: %d"`, Version)
		return
	}
	d.fail(0, "", "not valid YAML: %v", err)
}

// check refuses what is never read, wherever it stands.
func (d *decoder) check(n *yaml.Node) {
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		d.fail(n.Line, "", noAnchors)
		return // an alias may lead to its own beginning
	case n.Style&yaml.TaggedStyle != 0:
		d.fail(n.Line, "", "tags such as %.40q are not read: leave it out", n.Tag)
	}
	for _, c := range n.Content {
		d.check(c)
	}
}

// empty is a value that was left out: "key:" with nothing behind it.
func empty(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.Value == "" && n.Style == 0
}

// found says what stands at a node.
func found(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.ScalarNode:
		if empty(n) {
			return "nothing"
		}
		return strconv.Quote(cut(n.Value))
	default:
		return "something else"
	}
}

func cut(s string) string {
	const most = 40
	if len(s) <= most {
		return s
	}
	n := most
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}

// value reads a node into v. path names v for people.
func (d *decoder) value(n *yaml.Node, v reflect.Value, path string) {
	switch to := v.Addr().Interface().(type) {
	case *time.Time:
		d.time(n, to, path)
		return
	case *boot.NIC:
		if n.Kind == yaml.ScalarNode && !empty(n) {
			d.mac(n, &to.MAC, path)
			return
		}
	case *boot.MAC:
		d.mac(n, to, path)
		return
	case encoding.TextUnmarshaler:
		if s, ok := d.text(n, path); ok {
			if err := to.UnmarshalText([]byte(s)); err != nil {
				d.fail(n.Line, path, "%v", err)
			}
		}
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		if !empty(n) {
			v.Set(reflect.New(v.Type().Elem()))
			d.value(n, v.Elem(), path)
		}
	case reflect.Struct:
		d.mapping(n, v, path)
	case reflect.Slice:
		d.list(n, v, path)
	case reflect.Map:
		d.table(n, v, path)
	case reflect.String:
		if s, ok := d.text(n, path); ok {
			v.SetString(s)
		}
	case reflect.Bool:
		switch {
		case n.Kind == yaml.ScalarNode && n.Style == 0 && n.Value == "true":
			v.SetBool(true)
		case n.Kind == yaml.ScalarNode && n.Style == 0 && n.Value == "false":
		default:
			d.fail(n.Line, path, "want true or false without quotes, not %s", found(n))
		}
	case reflect.Int:
		i, err := strconv.ParseInt(n.Value, 10, strconv.IntSize)
		if n.Kind != yaml.ScalarNode || n.Style != 0 || err != nil {
			d.fail(n.Line, path, "want a whole number without quotes, not %s", found(n))
			return
		}
		v.SetInt(i)
	default:
		d.fail(n.Line, path, "cannot be read")
	}
}

// text is a scalar as it is written. Whether YAML would take it for a number
// does not matter where text is wanted: a serial number 0042 stays one.
func (d *decoder) text(n *yaml.Node, path string) (string, bool) {
	if n.Kind != yaml.ScalarNode {
		d.fail(n.Line, path, "want a text, not %s", found(n))
		return "", false
	}
	if n.Style == 0 && (n.Value == "~" || strings.EqualFold(n.Value, "null")) {
		d.fail(n.Line, path, `%s means nothing at all to YAML: leave the line out, or write %q in quotes`, n.Value, n.Value)
		return "", false
	}
	return n.Value, true
}

func (d *decoder) time(n *yaml.Node, to *time.Time, path string) {
	s, ok := d.text(n, path)
	if !ok || s == "" {
		return
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		d.fail(n.Line, path, "want a time like 2026-01-31T18:00:00Z, not %s", found(n))
		return
	}
	*to = t.UTC()
}

// mac reads an address in any spelling; one that is none is left to the checks
// of the document.
func (d *decoder) mac(n *yaml.Node, to *boot.MAC, path string) {
	s, ok := d.text(n, path)
	if !ok {
		return
	}
	*to = boot.MAC(s)
	if m, err := boot.ParseMAC(s); err == nil {
		*to = m
	}
}

// mapping reads a struct: known keys, each once.
func (d *decoder) mapping(n *yaml.Node, v reflect.Value, path string) {
	if empty(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		d.fail(n.Line, path, "want a mapping with %s, not %s", list(known(v.Type())), found(n))
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if !d.once(key, seen, path) {
			continue
		}
		at := slices.IndexFunc(fields[v.Type()], func(f field) bool { return f.name == key.Value })
		switch {
		case at < 0:
			d.fail(key.Line, join(path, cut(key.Value)), "unknown key: %s", suggest(key.Value, known(v.Type())))
		case fields[v.Type()][at].left:
			d.fail(key.Line, join(path, key.Value), "the box keeps this itself: leave it out")
		default:
			d.value(value, v.Field(fields[v.Type()][at].index), join(path, key.Value))
		}
	}
}

// once reads a key that may be there only once.
func (d *decoder) once(key *yaml.Node, seen map[string]int, path string) bool {
	if key.Kind != yaml.ScalarNode {
		d.fail(key.Line, path, "a key has to be a text, not %s", found(key))
		return false
	}
	if first, ok := seen[key.Value]; ok {
		d.fail(key.Line, join(path, cut(key.Value)), "is there twice, first in line %d: remove one", first)
		return false
	}
	seen[key.Value] = key.Line
	return true
}

// table reads a map from texts.
func (d *decoder) table(n *yaml.Node, v reflect.Value, path string) {
	if empty(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		d.fail(n.Line, path, "want a mapping of names to values, not %s", found(n))
		return
	}
	if len(n.Content) == 0 {
		return
	}
	v.Set(reflect.MakeMapWithSize(v.Type(), len(n.Content)/2))
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if !d.once(key, seen, path) {
			continue
		}
		to := reflect.New(v.Type().Elem()).Elem()
		d.value(value, to, join(path, cut(key.Value)))
		v.SetMapIndex(reflect.ValueOf(key.Value).Convert(v.Type().Key()), to)
	}
}

func (d *decoder) list(n *yaml.Node, v reflect.Value, path string) {
	if empty(n) {
		return
	}
	if n.Kind != yaml.SequenceNode {
		d.fail(n.Line, path, `want a list, not %s: write each item in a line of its own behind "- "`, found(n))
		return
	}
	if len(n.Content) == 0 {
		return
	}
	named := slices.Contains(kinds, path)
	v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
	for i, c := range n.Content {
		item := path + "[" + strconv.Itoa(i) + "]"
		if named {
			item = label(path, i, c) + ": "
		}
		if named && empty(c) {
			d.fail(c.Line, strings.TrimSuffix(item, ": "), "is empty: remove the line")
			continue
		}
		d.value(c, v.Index(i), item)
	}
}

// label names a document of a list for people: by its name if it has one.
func label(kind string, i int, n *yaml.Node) string {
	for _, key := range []string{nameField(kind), "name"} {
		if v := child(n, key); v != nil && v.Kind == yaml.ScalarNode && v.Value != "" {
			return kind + "/" + cut(v.Value)
		}
	}
	return kind + "[" + strconv.Itoa(i) + "]"
}

// child is the value of a key, or nil.
func child(n *yaml.Node, key string) *yaml.Node {
	_, value := pair(n, key)
	return value
}

// pair is a key of a mapping and its value, or nil.
func pair(n *yaml.Node, name string) (key, value *yaml.Node) {
	if n.Kind != yaml.MappingNode {
		return nil, nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			return n.Content[i], n.Content[i+1]
		}
	}
	return nil, nil
}

func join(path, name string) string {
	if path == "" || strings.HasSuffix(path, ": ") {
		return path + name
	}
	if path == "site" {
		return path + ": " + name
	}
	return path + "." + name
}

// known are the keys of a struct.
func known(t reflect.Type) []string {
	var names []string
	for _, f := range fields[t] {
		if !f.left {
			names = append(names, f.name)
		}
	}
	return names
}

func list(names []string) string {
	if len(names) == 1 {
		return names[0]
	}
	return strings.Join(names[:len(names)-1], ", ") + " or " + names[len(names)-1]
}

// suggest is the known key that was probably meant, or all of them.
func suggest(key string, names []string) string {
	best, distance := "", 3
	for _, name := range names {
		if n := edits(strings.ToLower(cut(key)), name); n < distance {
			best, distance = name, n
		}
	}
	if best != "" {
		return "did you mean " + best + "?"
	}
	return "write " + list(names)
}

// edits is the number of single changes that make b of a (Levenshtein).
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// document checks what has to be right for the documents to be told apart.
func (d *decoder) document(root *yaml.Node, doc Document) {
	version := child(root, "version")
	switch {
	case root.Kind != yaml.MappingNode:
		return
	case version == nil:
		d.fail(root.Line, "version", `missing: write "version: %d"`, Version)
	case doc.Version != Version && !d.failed("version"):
		d.fail(version.Line, "version", "this release reads version %d, the file says %d", Version, doc.Version)
	}
	for _, kind := range kinds {
		items := child(root, kind)
		if items == nil || items.Kind != yaml.SequenceNode {
			continue
		}
		first := map[string]int{}
		for i, item := range items.Content {
			if item.Kind != yaml.MappingNode {
				continue
			}
			n := child(item, nameField(kind))
			if n == nil || n.Kind == yaml.ScalarNode && n.Value == "" {
				if kind != "machines" { // a machine without an identifier is a new one
					d.fail(item.Line, kind+"["+strconv.Itoa(i)+"]: name", "missing: write a name")
				}
				continue
			}
			if n.Kind != yaml.ScalarNode {
				continue
			}
			if line, ok := first[n.Value]; ok {
				d.fail(n.Line, kind+"/"+cut(n.Value)+": "+nameField(kind), "%q is there twice, first in line %d: remove one or give it another name", cut(n.Value), line)
				continue
			}
			first[n.Value] = n.Line
		}
	}
}

func (d *decoder) failed(field string) bool {
	return slices.ContainsFunc(d.errs, func(e Error) bool { return e.Field == field })
}
