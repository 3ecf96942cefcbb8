package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// document is one as the API has it.
type document = map[string]any

// pairHelp is how pairs are written.
const pairHelp = `  key=value    sets a field            key=        empties it
  key+=a,b     adds to a list          key-=a      takes from a list
  key-         takes the field away    key=@FILE   the file's text ("@-": standard input,
                                                   "@@x": the text "@x")
  A list may be written as [a, "b,c"] too.
`

// fieldFault is what is wrong with one field.
type fieldFault struct {
	Field string `json:"field"`
	What  string `json:"what"`
	File  string `json:"file,omitempty"`
	Line  int    `json:"line,omitempty"`
}

func (f fieldFault) String() string {
	s := f.What
	if f.Field != "" {
		s = f.Field + ": " + s
	}
	switch {
	case f.Line > 0:
		return fmt.Sprintf("%s:%d: %s", f.File, f.Line, s)
	case f.File != "":
		return f.File + ": " + s
	}
	return s
}

// invalid is input that cannot be right.
type invalid []fieldFault

func (e invalid) Error() string {
	lines := make([]string, 0, len(e))
	for _, f := range e {
		lines = append(lines, f.String())
	}
	return strings.Join(lines, "\n")
}

func fault(name, format string, a ...any) error {
	return invalid{{Field: name, What: fmt.Sprintf(format, a...)}}
}

// pairOp is what a pair does to its field.
type pairOp string

const (
	opSet    pairOp = "="
	opAdd    pairOp = "+="
	opTake   pairOp = "-="
	opRemove pairOp = "-"
)

// splitPair takes key, operation and value of a pair apart.
func splitPair(s string) (key string, op pairOp, value string, err error) {
	key, value, ok := strings.Cut(s, "=")
	switch {
	case !ok && len(s) > 1 && strings.HasSuffix(s, "-"):
		return s[:len(s)-1], opRemove, "", nil
	case !ok:
		return "", "", "", usagef("%q: want key=value", s)
	case strings.HasSuffix(key, "+"):
		key, op = key[:len(key)-1], opAdd
	case strings.HasSuffix(key, "-"):
		key, op = key[:len(key)-1], opTake
	default:
		op = opSet
	}
	if key == "" {
		return "", "", "", usagef("%q: want a field before the =", s)
	}
	return key, op, value, nil
}

// applyPairs changes d as the pairs say. read gives the content of a file.
func applyPairs(d document, fields []field, pairs []string, read func(string) (string, error)) error {
	var faults invalid
	for _, p := range pairs {
		key, op, value, err := splitPair(p)
		if err != nil {
			return err
		}
		switch {
		case op == opRemove:
		case strings.HasPrefix(value, "@@"):
			value = value[1:]
		case strings.HasPrefix(value, "@"):
			if value, err = read(value[1:]); err != nil {
				return err
			}
		}
		if err := change(d, fields, key, key, op, value); err != nil {
			if more, ok := errors.AsType[invalid](err); ok {
				faults = append(faults, more...)
				continue
			}
			return err
		}
	}
	if len(faults) > 0 {
		return faults
	}
	return nil
}

// change does one pair; rest is what of the whole key belongs to d.
func change(d document, fields []field, key, rest string, op pairOp, value string) error {
	name, below, deeper := strings.Cut(rest, ".")
	f, ok := find1(fields, name)
	if !ok || f.readOnly {
		return fault(key, "%s", noField(fields, f.readOnly))
	}
	if !deeper {
		return changeHere(d, f, key, op, value)
	}
	inner, _ := d[name].(document)
	if inner == nil {
		inner = document{}
	}
	var err error
	switch f.typ {
	case typeObject:
		err = change(inner, f.sub, key, below, op, value)
	case typeTexts:
		err = changeHere(inner, field{name: below, entry: true}, key, op, value)
	case typeLists:
		err = changeHere(inner, field{name: below, typ: typeList}, key, op, value)
	default:
		err = fault(key, "%s has nothing inside", name)
	}
	if err != nil {
		return err
	}
	if len(inner) == 0 {
		delete(d, name)
	} else {
		d[name] = inner
	}
	return nil
}

func noField(fields []field, readOnly bool) string {
	if readOnly {
		return "is the box's own and cannot be set"
	}
	names := []string{}
	for _, f := range fields {
		if !f.readOnly {
			names = append(names, f.name)
		}
	}
	return "no such field; want " + oneOf(names)
}

func changeHere(d document, f field, key string, op pairOp, value string) error {
	// An empty text is something among texts by name only.
	if op == opRemove || op == opSet && value == "" && !f.entry {
		delete(d, f.name)
		return nil
	}
	listed := f.typ == typeList || f.typ == typeObjects
	if op != opSet && !listed {
		return fault(key, "is no list; want %s=…", key)
	}
	v, err := f.read(key, value)
	if err != nil {
		return err
	}
	if op == opSet {
		d[f.name] = v
		return nil
	}
	had, _ := d[f.name].([]any)
	had = slices.Clone(had)
	for _, item := range v.([]any) {
		at := slices.IndexFunc(had, func(h any) bool { return sameItem(h, item) })
		switch {
		case op == opTake && at < 0:
			return fault(key, "%s is not in it", itemText(item))
		case op == opTake:
			had = slices.Delete(had, at, at+1)
		case at < 0:
			had = append(had, item)
		default:
			had[at] = item // written down again: an observation becomes the operator's word
		}
	}
	d[f.name] = had
	return nil
}

// sameItem compares items of lists; hardware addresses by themselves.
func sameItem(a, b any) bool { return strings.EqualFold(itemText(a), itemText(b)) }

func itemText(v any) string {
	if m, ok := v.(document); ok {
		if mac, ok := m["mac"].(string); ok {
			return mac
		}
		data, _ := json.Marshal(m)
		return string(data)
	}
	return fmt.Sprint(v)
}

// read makes of the text of a pair the value that the field has in JSON.
func (f field) read(key, value string) (any, error) {
	switch f.typ {
	case typeText, typeTime:
		return value, nil
	case typeNumber:
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			return nil, fault(key, "%q: want a whole number", value)
		}
		return json.Number(strconv.FormatInt(n, 10)), nil
	case typeBool:
		switch strings.ToLower(value) {
		case "true", "yes", "on":
			return true, nil
		case "false", "no", "off":
			return false, nil
		}
		return nil, fault(key, "%q: want true or false", value)
	case typeList:
		return readList(key, value)
	case typeObjects:
		if f.name == "macs" && !strings.HasPrefix(value, "[") {
			return readMACs(key, value)
		}
	case typeTexts, typeLists, typeObject, typeAny:
	}
	n, err := parseYAML(key, []byte(value))
	if err != nil {
		return nil, fault(key, "%q: want %s", value, f.typ.short())
	}
	v, faults := fromYAML(n, f, key)
	if len(faults) > 0 {
		for i := range faults {
			faults[i].Line = 0
		}
		return nil, faults
	}
	return v, nil
}

func readList(key, value string) (any, error) {
	if strings.HasPrefix(value, "[") {
		var list []string
		if err := yaml.Unmarshal([]byte(value), &list); err != nil {
			return nil, fault(key, "%q: want a list like a,b or [a, b]", value)
		}
		return anyList(list), nil
	}
	return anyList(strings.Split(value, ",")), nil
}

func anyList(list []string) []any {
	out := make([]any, 0, len(list))
	for _, s := range list {
		out = append(out, strings.TrimSpace(s))
	}
	return out
}

// readMACs takes hardware addresses as the operator's: they identify.
func readMACs(key, value string) (any, error) {
	list, err := readList(key, value)
	if err != nil {
		return nil, err
	}
	out := []any{}
	for _, mac := range list.([]any) {
		out = append(out, document{"mac": strings.ToLower(strings.ReplaceAll(mac.(string), "-", ":")), "given": true})
	}
	return out, nil
}
