package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"

	"go.yaml.in/yaml/v4"
)

// parseYAML reads one document of YAML, which JSON is too. Anchors are refused:
// a document is what it says, nothing is multiplied.
func parseYAML(file string, data []byte) (*yaml.Node, error) {
	if json.Valid(data) {
		data = joinSurrogates(data)
	}
	loader, err := yaml.NewLoader(bytes.NewReader(data), yaml.WithUniqueKeys(true))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	var n yaml.Node
	if err := loader.Load(&n); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, invalid{{File: file, What: "is empty"}}
		}
		return nil, yamlFault(file, err)
	}
	var second yaml.Node
	if err := loader.Load(&second); err == nil {
		return nil, invalid{{File: file, Line: second.Line, What: "a second document begins; want one"}}
	} else if !errors.Is(err, io.EOF) {
		return nil, yamlFault(file, err)
	}
	root := &n
	if root.Kind == yaml.DocumentNode && len(root.Content) == 1 {
		root = root.Content[0]
	}
	return root, nil
}

// joinSurrogates writes the two halves by which JSON escapes a character beyond
// U+FFFF as the one that YAML knows.
func joinSurrogates(text []byte) []byte {
	var b bytes.Buffer
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' || i+1 == len(text) {
			b.WriteByte(text[i])
			continue
		}
		if i+12 <= len(text) && text[i+1] == 'u' && text[i+6] == '\\' && text[i+7] == 'u' {
			high, errHigh := strconv.ParseUint(string(text[i+2:i+6]), 16, 16)
			low, errLow := strconv.ParseUint(string(text[i+8:i+12]), 16, 16)
			if r := utf16.DecodeRune(rune(high), rune(low)); errHigh == nil && errLow == nil && r != unicode.ReplacementChar {
				fmt.Fprintf(&b, `\U%08x`, r)
				i += 11
				continue
			}
		}
		b.Write(text[i : i+2])
		i++
	}
	return b.Bytes()
}

// yamlFault gives the library's complaint the form of ours.
func yamlFault(file string, err error) error {
	f := fieldFault{File: file, What: strings.TrimPrefix(err.Error(), "yaml: ")}
	if e, ok := errors.AsType[*yaml.LoadError](err); ok && e.Mark.Line > 0 {
		f.Line, f.What = e.Mark.Line, e.Message
	}
	return invalid{f}
}

// fromYAML makes of a node the value that f has in JSON. A text may be written
// without quotes even where YAML sees a number or a date in it: a serial number
// 0123 stays as it is.
func fromYAML(n *yaml.Node, f field, path string) (any, invalid) {
	bad := func(format string, a ...any) invalid {
		return invalid{{Field: path, Line: n.Line, What: fmt.Sprintf(format, a...)}}
	}
	if n.Kind == yaml.AliasNode || n.Anchor != "" {
		return nil, bad("anchors and aliases are not read; write it out")
	}
	if n.ShortTag() == "!!null" {
		return nil, nil
	}
	switch f.typ {
	case typeText, typeTime:
		if n.Kind != yaml.ScalarNode {
			return nil, bad("want a text")
		}
		return n.Value, nil
	case typeNumber:
		if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!int" {
			return nil, bad("want a whole number")
		}
		v, err := strconv.ParseInt(n.Value, 0, 64)
		if err != nil {
			return nil, bad("%q: want a whole number", n.Value)
		}
		return json.Number(strconv.FormatInt(v, 10)), nil
	case typeBool:
		if n.ShortTag() != "!!bool" {
			return nil, bad("want true or false")
		}
		return strings.EqualFold(n.Value, "true"), nil
	case typeList, typeObjects:
		return listFromYAML(n, f, path)
	case typeObject, typeTexts, typeLists:
		return mapFromYAML(n, f, path)
	case typeAny:
		return anyFromYAML(n, f, path)
	}
	return nil, nil
}

func listFromYAML(n *yaml.Node, f field, path string) (any, invalid) {
	if n.Kind != yaml.SequenceNode {
		return nil, invalid{{Field: path, Line: n.Line, What: "want a list"}}
	}
	item := field{name: f.name}
	if f.typ == typeObjects {
		item.typ, item.sub = typeObject, f.sub
	}
	var faults invalid
	out := make([]any, 0, len(n.Content))
	for i, c := range n.Content {
		v, more := fromYAML(c, item, fmt.Sprintf("%s[%d]", path, i))
		if v == nil && len(more) == 0 {
			more = invalid{{Field: fmt.Sprintf("%s[%d]", path, i), Line: c.Line, What: "is empty"}}
		}
		faults = append(faults, more...)
		out = append(out, v)
	}
	return out, faults
}

func mapFromYAML(n *yaml.Node, f field, path string) (any, invalid) {
	if n.Kind != yaml.MappingNode {
		return nil, invalid{{Field: path, Line: n.Line, What: "want fields below it"}}
	}
	var faults invalid
	out := document{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name := n.Content[i].Value
		at := strings.TrimPrefix(path+"."+name, ".")
		if _, again := out[name]; again || n.Content[i].Kind != yaml.ScalarNode {
			faults = append(faults, fieldFault{Field: at, Line: n.Content[i].Line, What: "is there twice, or no plain name"})
			continue
		}
		item, ok := f.inside(name)
		if !ok {
			names := []string{}
			for _, s := range f.sub {
				names = append(names, s.name)
			}
			faults = append(faults, fieldFault{Field: at, Line: n.Content[i].Line, What: "no such field; want " + oneOf(names)})
			continue
		}
		v, more := fromYAML(n.Content[i+1], item, at)
		faults = append(faults, more...)
		if v != nil {
			out[name] = v
		}
	}
	return out, faults
}

// inside is the field name within f. Objects whose fields are not known here
// take everything as it is written.
func (f field) inside(name string) (field, bool) {
	switch {
	case f.typ == typeTexts:
		return field{name: name}, true
	case f.typ == typeLists:
		return field{name: name, typ: typeList}, true
	case len(f.sub) == 0:
		return field{name: name, typ: typeAny}, true
	}
	return find1(f.sub, name)
}

// anyFromYAML is a value of which nothing is known.
func anyFromYAML(n *yaml.Node, f field, path string) (any, invalid) {
	switch {
	case n.Kind == yaml.SequenceNode:
		out := make([]any, 0, len(n.Content))
		var faults invalid
		for i, c := range n.Content {
			v, more := fromYAML(c, f, fmt.Sprintf("%s[%d]", path, i))
			faults = append(faults, more...)
			out = append(out, v)
		}
		return out, faults
	case n.Kind == yaml.MappingNode:
		return mapFromYAML(n, f, path)
	case n.ShortTag() == "!!bool":
		return strings.EqualFold(n.Value, "true"), nil
	case n.ShortTag() == "!!int":
		if v, err := strconv.ParseInt(n.Value, 0, 64); err == nil {
			return json.Number(strconv.FormatInt(v, 10)), nil
		}
	}
	return n.Value, nil
}

// readDocument makes of a file the document that it describes, and remembers
// the lines of its fields.
func readDocument(file string, data []byte, fields []field) (document, lines, error) {
	n, err := parseYAML(file, data)
	if err != nil {
		return nil, nil, err
	}
	v, faults := fromYAML(n, field{typ: typeObject, sub: fields}, "")
	if len(faults) > 0 {
		for i := range faults {
			faults[i].File = file
		}
		return nil, nil, faults
	}
	d, ok := v.(document)
	if !ok {
		return nil, nil, invalid{{File: file, What: "is empty"}}
	}
	at := lines{}
	at.collect(n, "")
	return d, at, nil
}

// lines are where the fields of a file stand.
type lines map[string]int

func (l lines) collect(n *yaml.Node, path string) {
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			p := strings.TrimPrefix(path+"."+n.Content[i].Value, ".")
			l[p] = n.Content[i].Line
			l.collect(n.Content[i+1], p)
		}
	case yaml.SequenceNode:
		for i, c := range n.Content {
			p := fmt.Sprintf("%s[%d]", path, i)
			l[p] = c.Line
			l.collect(c, p)
		}
	case yaml.DocumentNode, yaml.ScalarNode, yaml.AliasNode, yaml.StreamNode:
	}
}

// of is the line of a field, or of the nearest one around it.
func (l lines) of(path string) int {
	for path != "" {
		if n, ok := l[path]; ok {
			return n
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
	return 1
}

// toYAML makes a node of JSON; fields keep the order that the box gave them.
func toYAML(raw []byte) (*yaml.Node, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	return nodeOf(d)
}

func nodeOf(d *json.Decoder) (*yaml.Node, error) {
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t := t.(type) {
	case json.Delim:
		n := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
		if t == '[' {
			n = &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
		}
		for d.More() {
			c, err := nodeOf(d)
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, c)
		}
		if len(n.Content) == 0 {
			n.Style = yaml.FlowStyle
		}
		_, err := d.Token()
		return n, err
	case string:
		return textNode(t), nil
	case json.Number:
		tag := "!!int"
		if strings.ContainsAny(t.String(), ".eE") {
			tag = "!!float"
		}
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: t.String()}, nil
	case bool:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: strconv.FormatBool(t)}, nil
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "null"}, nil
}

// textNode is a text: of several lines as they are, quoted where a terminal
// could be steered by it.
func textNode(s string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s}
	switch {
	case strings.ContainsFunc(s, func(r rune) bool { return r != '\n' && r != '\t' && hostile(r) }):
		n.Style = yaml.DoubleQuotedStyle
	case strings.Contains(s, "\n"):
		n.Style = yaml.LiteralStyle
	}
	return n
}

// writeYAML prints JSON as YAML.
func writeYAML(w io.Writer, raw []byte) error {
	n, err := toYAML(raw)
	if err != nil {
		return fmt.Errorf("read the box's answer: %w", err)
	}
	text, err := dumpYAML(n)
	if err != nil {
		return err
	}
	_, err = w.Write(text)
	return err
}

func dumpYAML(n *yaml.Node) ([]byte, error) {
	var b bytes.Buffer
	d, err := yaml.NewDumper(&b, yaml.WithIndent(2), yaml.WithLineWidth(-1))
	if err != nil {
		return nil, fmt.Errorf("print as YAML: %w", err)
	}
	if err := errors.Join(d.Dump(n), d.Close()); err != nil {
		return nil, fmt.Errorf("print as YAML: %w", err)
	}
	return escapeRaw(b.Bytes()), nil
}

// dropFields takes fields out of a mapping.
func dropFields(n *yaml.Node, names ...string) {
	for i := 0; i+1 < len(n.Content); {
		if slices.Contains(names, n.Content[i].Value) {
			n.Content = slices.Delete(n.Content, i, i+2)
			continue
		}
		i += 2
	}
}
