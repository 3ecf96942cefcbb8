package exchange

import (
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// Key names a document as Locate knows it: by its name, and a machine that has
// no identifier yet by its place in Normal(d), as "machines[3]".
func Key(kind, name string, i int) string {
	if name == "" {
		return kind + "[" + strconv.Itoa(i) + "]"
	}
	return kind + "/" + name
}

// Locate gives errors that others found in the documents of a file the line
// that each is about. file and data are what Parse was given; errs is by
// document: "site", "targets/debian", or as Key names it. An error about a
// document or field that is not in the file gets the line of what would hold it.
// Everything in errs comes back; nil only when errs is empty.
func Locate(file string, data []byte, errs map[string]boot.FieldErrors) Errors {
	d := &decoder{file: file}
	root := d.load(data)
	d.errs, d.more = nil, 0
	index := map[string]*yaml.Node{}
	if root != nil {
		for _, kind := range kinds {
			items := child(root, kind)
			if items == nil {
				continue
			}
			for i, item := range ordered(kind, items.Content) {
				index[Key(kind, "", i)] = item
				if name := textOf(item, nameField(kind)); name != "" && index[Key(kind, name, i)] == nil {
					index[Key(kind, name, i)] = item
				}
			}
		}
		if site := child(root, "site"); site != nil {
			index["site"] = site
		}
	}
	for _, key := range sorted(errs) {
		node := index[key]
		for _, e := range errs[key] {
			line := 0
			switch {
			case node != nil:
				line = lineOf(node, e.Field)
			case root != nil:
				line = root.Line
				kind, _, _ := strings.Cut(key, "/")
				if k, _ := pair(root, kind); k != nil {
					line = k.Line
				}
			}
			d.fail(line, key+": "+e.Field, "%s", e.What)
		}
	}
	if err := d.result(); err == nil {
		return nil
	}
	return d.errs
}

// ordered are the items of a list in the order of Normal, as far as places count.
func ordered(kind string, items []*yaml.Node) []*yaml.Node {
	if kind != "machines" {
		return items
	}
	items = slices.Clone(items)
	slices.SortStableFunc(items, func(a, b *yaml.Node) int {
		return compareMachines(textOf(a, "name"), textOf(a, "id"), textOf(b, "name"), textOf(b, "id"))
	})
	return items
}

// textOf is the text of a key, empty when there is none.
func textOf(n *yaml.Node, key string) string {
	if v := child(n, key); v != nil && v.Kind == yaml.ScalarNode {
		return v.Value
	}
	return ""
}

// lineOf follows a path such as "menu.entries[0].key" as far as it leads. Keys
// may have dots themselves, so the longest one that fits counts.
func lineOf(n *yaml.Node, path string) int {
	line := n.Line
	for path != "" {
		switch n.Kind {
		case yaml.MappingNode:
			best := -1
			for i := 0; i+1 < len(n.Content); i += 2 {
				key := n.Content[i].Value
				rest, ok := strings.CutPrefix(path, key)
				if ok && (rest == "" || rest[0] == '.' || rest[0] == '[') && (best < 0 || len(key) > len(n.Content[best].Value)) {
					best = i
				}
			}
			if best < 0 {
				return line
			}
			path = strings.TrimPrefix(path[len(n.Content[best].Value):], ".")
			line, n = n.Content[best].Line, n.Content[best+1]
		case yaml.SequenceNode:
			number, rest, ok := strings.Cut(strings.TrimPrefix(path, "["), "]")
			i, err := strconv.Atoi(number)
			if !ok || err != nil || i < 0 || i >= len(n.Content) {
				return line
			}
			path = strings.TrimPrefix(rest, ".")
			n = n.Content[i]
			line = n.Line
		default:
			return line
		}
	}
	return line
}
