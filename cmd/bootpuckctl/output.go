package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// hostile says that a character could steer a terminal or hide what stands
// beside it: machines and their strings are strangers.
func hostile(r rune) bool { return r != ' ' && !unicode.IsPrint(r) }

// visible is s with hostile characters written out.
func visible(s string) string {
	if utf8.ValidString(s) && !strings.ContainsFunc(s, hostile) {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], "\uFFFD"):
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case !hostile(r):
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\r':
			b.WriteString(`\r`)
		case r < 0x100:
			fmt.Fprintf(&b, `\x%02x`, r)
		default:
			b.WriteString(jsonEscape(r))
		}
	}
	return b.String()
}

// visibleLines is visible for texts of several lines.
func visibleLines(s string) string {
	lines := strings.Split(strings.ReplaceAll(s, "\r\n", "\n"), "\n")
	for i, l := range lines {
		parts := strings.Split(l, "\t")
		for j := range parts {
			parts[j] = visible(parts[j])
		}
		lines[i] = strings.Join(parts, "\t")
	}
	return strings.Join(lines, "\n")
}

// jsonEscape is r as JSON and double-quoted YAML write it out.
func jsonEscape(r rune) string {
	if r > 0xffff {
		r -= 0x10000
		return fmt.Sprintf(`\u%04x\u%04x`, 0xd800+(r>>10), 0xdc00+(r&0x3ff))
	}
	return fmt.Sprintf(`\u%04x`, r)
}

// escapeRaw writes hostile characters out that an encoder let stand. It is for
// texts where they can only be within double quotes.
func escapeRaw(text []byte) []byte {
	if !bytes.ContainsFunc(text, func(r rune) bool { return r != '\n' && r != '\t' && hostile(r) }) {
		return text
	}
	var b bytes.Buffer
	for _, r := range string(text) {
		switch {
		case r == '\n' || r == '\t' || !hostile(r):
			b.WriteRune(r)
		case r > 0xffff:
			fmt.Fprintf(&b, `\U%08x`, r) // YAML; JSON has been written out before
		default:
			b.WriteString(jsonEscape(r))
		}
	}
	return b.Bytes()
}

// writeJSON prints JSON indented.
func writeJSON(w io.Writer, raw []byte) error {
	var indented bytes.Buffer
	if err := json.Indent(&indented, bytes.TrimSpace(raw), "", "  "); err != nil {
		return fmt.Errorf("read the box's answer: %w", err)
	}
	return writeEscaped(w, indented.String())
}

// writeEscaped prints JSON with hostile characters written out, and ends the
// line.
func writeEscaped(w io.Writer, text string) error {
	var b bytes.Buffer
	for _, r := range text {
		if r != '\n' && r != '\t' && hostile(r) {
			b.WriteString(jsonEscape(r))
			continue
		}
		b.WriteRune(r)
	}
	b.WriteByte('\n')
	_, err := w.Write(b.Bytes())
	return err
}

// column of a table.
type column struct {
	title string
	path  string // of the field; "" the whole document
	show  func(any) string
}

// print prints one document, or with rows a table of them.
func (c *call) print(raw []byte, table func(w io.Writer) error) error {
	switch c.text("o") {
	case "json":
		return writeJSON(c.out, raw)
	case "yaml":
		return writeYAML(c.out, raw)
	}
	return table(c.out)
}

// printList prints documents one a line.
func (c *call) printList(items []json.RawMessage, columns []column) error {
	if items == nil {
		items = []json.RawMessage{}
	}
	raw, err := json.Marshal(items)
	if err != nil {
		return fmt.Errorf("read the box's answer: %w", err)
	}
	return c.print(raw, func(w io.Writer) error {
		rows := make([][]string, 0, len(items)+1)
		head := []string{}
		for _, col := range columns {
			head = append(head, col.title)
		}
		rows = append(rows, head)
		for _, item := range items {
			d, err := decode(item)
			if err != nil {
				return err
			}
			row := []string{}
			for _, col := range columns {
				row = append(row, col.cell(d))
			}
			rows = append(rows, row)
		}
		writeTable(w, rows)
		return nil
	})
}

func (col column) cell(d document) string {
	var v any = d
	if col.path != "" {
		v = lookup(d, col.path)
	}
	if v == nil {
		return ""
	}
	if col.show != nil {
		return col.show(v)
	}
	return plain(v)
}

// lookup is the value at a path of objects.
func lookup(d document, path string) any {
	var v any = d
	for name := range strings.SplitSeq(path, ".") {
		m, ok := v.(document)
		if !ok {
			return nil
		}
		v = m[name]
	}
	return v
}

func textAt(d document, path string) string {
	s, _ := lookup(d, path).(string)
	return s
}

// plain is a value as one word or a few.
func plain(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case bool:
		if v {
			return "yes"
		}
		return "no"
	case []any:
		words := []string{}
		for _, item := range v {
			words = append(words, plain(item))
		}
		return strings.Join(words, ", ")
	case document:
		words := []string{}
		for _, k := range sortedKeys(v) {
			words = append(words, k+"="+plain(v[k]))
		}
		return strings.Join(words, " ")
	}
	return fmt.Sprint(v)
}

func sortedKeys(d document) []string {
	keys := make([]string, 0, len(d))
	for k := range d {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// maxCell is where a cell other than a row's last is cut.
const maxCell = 60

// writeTable prints rows aligned; the first is the head.
func writeTable(w io.Writer, rows [][]string) {
	widths := []int{}
	for y, row := range rows {
		for x, cell := range row {
			cell = visible(cell)
			if r := []rune(cell); len(r) > maxCell && x < len(row)-1 {
				cell = string(r[:maxCell-1]) + "…"
			}
			rows[y][x] = cell
			if x == len(widths) {
				widths = append(widths, 0)
			}
			widths[x] = max(widths[x], cells(cell))
		}
	}
	for _, row := range rows {
		var b strings.Builder
		for x, cell := range row {
			b.WriteString(cell)
			if x < len(row)-1 {
				b.WriteString(strings.Repeat(" ", widths[x]-cells(cell)+2))
			}
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
}

// cells is how many places of a terminal s takes.
func cells(s string) int {
	n := 0
	for _, r := range s {
		switch {
		case unicode.In(r, unicode.Mn, unicode.Me):
		case unicode.In(r, unicode.Han, unicode.Hangul, unicode.Hiragana, unicode.Katakana), r >= 0xff01 && r <= 0xff60:
			n += 2
		default:
			n++
		}
	}
	return n
}

// writeDocument prints a document field by field: those known here first, in
// their order, then the rest.
func writeDocument(w io.Writer, d document, fields []field) {
	rows, texts := [][]string{}, [][2]string{}
	var walk func(d document, fields []field, prefix string)
	walk = func(d document, fields []field, prefix string) {
		names := []string{}
		for _, f := range fields {
			names = append(names, f.name)
		}
		for _, k := range sortedKeys(d) {
			if !slices.Contains(names, k) {
				names = append(names, k)
			}
		}
		for _, name := range names {
			v, ok := d[name]
			if !ok || v == nil {
				continue
			}
			f, _ := find1(fields, name)
			switch v := v.(type) {
			case document:
				walk(v, f.sub, prefix+name+".")
			case []any:
				rows = append(rows, listRows(prefix+name, v)...)
			case string:
				switch {
				case strings.Contains(v, "\n"):
					texts = append(texts, [2]string{prefix + name, v})
				case v != "":
					if t := showTime(v); f.typ == typeTime || t != v {
						v = t
					}
					rows = append(rows, []string{prefix + name, v})
				}
			default:
				rows = append(rows, []string{prefix + name, plain(v)})
			}
		}
	}
	walk(d, fields, "")
	writeTable(w, rows)
	for _, t := range texts {
		fmt.Fprintf(w, "%s:\n", visible(t[0]))
		for line := range strings.Lines(visibleLines(t[1])) {
			fmt.Fprintf(w, "    %s\n", strings.TrimSuffix(line, "\n"))
		}
	}
}

// listRows are the items of a list: words on one line, objects one a line.
func listRows(name string, list []any) [][]string {
	if len(list) == 0 {
		return nil
	}
	if _, ok := list[0].(document); !ok {
		return [][]string{{name, plain(list)}}
	}
	rows := [][]string{}
	for i, item := range list {
		rows = append(rows, []string{fmt.Sprintf("%s[%d]", name, i), plain(item)})
	}
	return rows
}

// showTime is a time as people here read it.
func showTime(v any) string {
	s, _ := v.(string)
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return s
	}
	return t.Local().Format("2006-01-02 15:04:05")
}

func showKeys(v any) string {
	d, _ := v.(document)
	return strings.Join(sortedKeys(d), ", ")
}

func showMACs(v any) string {
	list, _ := v.([]any)
	if len(list) == 0 {
		return ""
	}
	first, _ := list[0].(document)
	s := textAt(first, "mac")
	if len(list) > 1 {
		s += fmt.Sprintf(" +%d", len(list)-1)
	}
	return s
}

func showProduct(v any) string {
	d, _ := v.(document)
	return strings.TrimSpace(textAt(d, "seen.manufacturer") + " " + textAt(d, "seen.product"))
}

func showAssignment(v any) string {
	d, _ := v.(document)
	return strings.Join(strings.Fields(textAt(d, "profile")+" "+textAt(d, "mode")+" "+textAt(d, "state")), " ")
}

func showMatch(v any) string {
	d, _ := v.(document)
	words := []string{}
	for _, k := range sortedKeys(d) {
		words = append(words, k+"="+strings.ReplaceAll(plain(d[k]), ", ", ","))
	}
	return strings.Join(words, " ")
}
