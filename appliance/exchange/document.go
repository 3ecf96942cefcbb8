package exchange

import (
	"cmp"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// Version is the version of the file's layout.
const Version = 1

// Document is all that an operator has decided.
type Document struct {
	Version   int               `json:"version"`
	Site      boot.Site         `json:"site"`
	Targets   []boot.Target     `json:"targets,omitempty"`
	Profiles  []boot.Profile    `json:"profiles,omitempty"`
	Groups    []boot.Group      `json:"groups,omitempty"`
	Rules     []boot.SelectRule `json:"rules,omitempty"`
	Templates []boot.Template   `json:"templates,omitempty"`
	Machines  []boot.Machine    `json:"machines,omitempty"`
}

// leftOut are the fields that are not in a file, by type: revisions, what the
// box observed, and what became of an assignment.
var leftOut = map[reflect.Type][]string{
	reflect.TypeFor[boot.Site]():       {"rev"},
	reflect.TypeFor[boot.Target]():     {"rev"},
	reflect.TypeFor[boot.Profile]():    {"rev"},
	reflect.TypeFor[boot.Group]():      {"rev"},
	reflect.TypeFor[boot.SelectRule](): {"rev"},
	reflect.TypeFor[boot.Template]():   {"rev"},
	reflect.TypeFor[boot.Machine]():    {"rev", "seen", "first_seen", "last_seen", "boots"},
	reflect.TypeFor[boot.NIC]():        {"first_seen", "last_seen"},
	reflect.TypeFor[boot.Assignment](): {
		"target", "destructive", "code", "state", "created", "used", "started", "finished", "progress", "attempt",
	},
}

// field is a field of a struct as it stands in a file.
type field struct {
	name  string
	index int
	omit  bool // when it is empty
	left  bool // never written
}

// fields are the fields of all structs that a document is made of. It is filled
// once, so that nobody has to lock it.
var fields = func() map[reflect.Type][]field {
	all := map[reflect.Type][]field{}
	var visit func(t reflect.Type)
	visit = func(t reflect.Type) {
		switch t.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Map:
			visit(t.Elem())
			return
		case reflect.Struct:
		default:
			return
		}
		if _, ok := all[t]; ok || t == reflect.TypeFor[time.Time]() {
			return
		}
		var list []field
		for i := range t.NumField() {
			name, options, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
			if name == "" || name == "-" {
				continue
			}
			f := field{name: name, index: i, omit: options != "", left: slices.Contains(leftOut[t], name)}
			list = append(list, f)
		}
		all[t] = list
		for _, f := range list {
			if !f.left {
				visit(t.Field(f.index).Type)
			}
		}
	}
	visit(reflect.TypeFor[Document]())
	return all
}()

// Normal is the document as it is after a round trip through a file: without
// what is left out of one, sorted, and with one spelling for what is empty.
// It shares no memory with d.
//
// Of assignments that once or armed only those are kept that nobody has begun:
// an installation that was done must not be armed anew by importing the file it
// is recorded in.
func Normal(d Document) Document {
	out := Document{}
	normal(reflect.ValueOf(&out).Elem(), reflect.ValueOf(d))
	out.Version = Version
	slices.SortStableFunc(out.Targets, func(a, b boot.Target) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortStableFunc(out.Profiles, func(a, b boot.Profile) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortStableFunc(out.Groups, func(a, b boot.Group) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortStableFunc(out.Rules, func(a, b boot.SelectRule) int { // as they are tried
		return cmp.Or(cmp.Compare(a.Order, b.Order), cmp.Compare(a.Name, b.Name))
	})
	slices.SortStableFunc(out.Templates, func(a, b boot.Template) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortStableFunc(out.Machines, func(a, b boot.Machine) int {
		return compareMachines(a.Name, string(a.ID), b.Name, string(b.ID))
	})
	return out
}

// compareMachines puts those with a name first.
func compareMachines(nameA, idA, nameB, idB string) int {
	switch {
	case nameA == "" && nameB != "":
		return 1
	case nameA != "" && nameB == "":
		return -1
	}
	return cmp.Or(cmp.Compare(nameA, nameB), cmp.Compare(idA, idB))
}

func normal(to, from reflect.Value) {
	switch from.Kind() {
	case reflect.String:
		// A file is UTF-8, as is the JSON that the state is kept in.
		to.SetString(strings.ToValidUTF8(from.String(), "\uFFFD"))
	case reflect.Pointer:
		if from.IsNil() || from.Type() == reflect.TypeFor[*boot.Assignment]() && begun(from.Interface().(*boot.Assignment)) {
			return
		}
		to.Set(reflect.New(from.Type().Elem()))
		normal(to.Elem(), from.Elem())
	case reflect.Slice:
		if from.Len() == 0 {
			return
		}
		to.Set(reflect.MakeSlice(from.Type(), from.Len(), from.Len()))
		for i := range from.Len() {
			normal(to.Index(i), from.Index(i))
		}
	case reflect.Map:
		if from.Len() == 0 {
			return
		}
		to.Set(reflect.MakeMapWithSize(from.Type(), from.Len()))
		for it := from.MapRange(); it.Next(); {
			k, v := reflect.New(from.Type().Key()).Elem(), reflect.New(from.Type().Elem()).Elem()
			normal(k, it.Key())
			normal(v, it.Value())
			to.SetMapIndex(k, v)
		}
	case reflect.Struct:
		if t, ok := from.Interface().(time.Time); ok {
			to.Set(reflect.ValueOf(t.Round(0).UTC())) // no monotonic reading
			return
		}
		for _, f := range fields[from.Type()] {
			if !f.left {
				normal(to.Field(f.index), from.Field(f.index))
			}
		}
	default:
		to.Set(from)
	}
}

func begun(a *boot.Assignment) bool {
	return a.Mode != boot.AssignAlways && (a.Used > 0 || a.State != "" && a.State != boot.AssignWaiting)
}

// Lists of a document by the names of their keys, in the file's order.
var kinds = []string{"targets", "profiles", "groups", "rules", "templates", "machines"}

// nameField is what tells the documents of a kind apart.
func nameField(kind string) string {
	if kind == "machines" {
		return "id"
	}
	return "name"
}
