package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// TestFieldsAreTheBoxes holds the fields known here against the documents of
// the box: every one is there, by its name, with its type.
func TestFieldsAreTheBoxes(t *testing.T) {
	for plural, of := range map[string]any{
		"machines": boot.Machine{}, "targets": boot.Target{}, "profiles": boot.Profile{}, "groups": boot.Group{},
		"rules": boot.SelectRule{}, "templates": boot.Template{}, "settings": boot.Site{},
	} {
		sameFields(t, plural, kindByPlural(plural).fields, reflect.TypeOf(of))
	}
}

func sameFields(t *testing.T, at string, list []field, of reflect.Type) {
	t.Helper()
	names := []string{}
	for f := range of.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" {
			continue
		}
		names = append(names, name)
		mine, ok := find1(list, name)
		if !ok {
			t.Errorf("%s: %s is missing", at, name)
			continue
		}
		ft := f.Type
		if ft.Kind() == reflect.Pointer {
			ft = ft.Elem()
		}
		if want := typeOf(ft); mine.typ != want {
			t.Errorf("%s.%s: has type %d, want %d for %v", at, name, mine.typ, want, ft)
		}
		if len(mine.sub) == 0 {
			continue
		}
		if ft.Kind() == reflect.Slice {
			ft = ft.Elem()
		}
		sameFields(t, at+"."+name, mine.sub, ft)
	}
	for _, f := range list {
		if !slices.Contains(names, f.name) {
			t.Errorf("%s: the box has no %s", at, f.name)
		}
	}
}

func typeOf(t reflect.Type) fieldType {
	switch t {
	case reflect.TypeFor[time.Time]():
		return typeTime
	case reflect.TypeFor[boot.GUID]():
		return typeText
	}
	switch t.Kind() {
	case reflect.String:
		return typeText
	case reflect.Bool:
		return typeBool
	case reflect.Int, reflect.Uint64:
		return typeNumber
	case reflect.Struct:
		return typeObject
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Struct {
			return typeObjects
		}
		return typeList
	case reflect.Map:
		if t.Elem().Kind() == reflect.Slice {
			return typeLists
		}
		return typeTexts
	default:
		return typeAny
	}
}

func TestKindsAreTheBoxes(t *testing.T) {
	values := func(list []field, name string) []string {
		f, _ := find1(list, name)
		return f.values
	}
	var targets, templates []string
	for _, k := range boot.TargetKinds() {
		targets = append(targets, string(k))
	}
	for _, k := range boot.TemplateKinds() {
		templates = append(templates, string(k))
	}
	if diff := cmp.Diff(targets, values(targetFields(), "kind")); diff != "" {
		t.Errorf("kinds of targets: %s", diff)
	}
	if diff := cmp.Diff(templates, values(templateFields(), "kind")); diff != "" {
		t.Errorf("kinds of templates: %s", diff)
	}
}

func TestCommandsAreSound(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range commands() {
		if seen[c.name] || c.run == nil || c.help == "" {
			t.Errorf("%q: twice, or without help or function", c.name)
		}
		seen[c.name] = true
		flags := map[string]bool{}
		for _, f := range c.allFlags() {
			if flags[f.name] || f.help == "" || (f.kind == flagBool) != (f.value == "") {
				t.Errorf("%s -%s: twice, without help, or with no word for its value", c.name, f.name)
			}
			if f.def != "" && f.check(f.def) != nil {
				t.Errorf("%s -%s: refuses its own default", c.name, f.name)
			}
			flags[f.name] = true
		}
		for i, a := range c.args {
			if (a.many || a.opt) && i != len(c.args)-1 {
				t.Errorf("%s: %s is not the last argument", c.name, a.name)
			}
		}
		var b bytes.Buffer
		c.printHelp(&b)
		for line := range strings.Lines(b.String()) {
			if strings.HasSuffix(line, " \n") {
				t.Errorf("%s: help line %q ends with a space", c.name, line)
			}
		}
	}
}

func TestParseLine(t *testing.T) {
	for line, want := range map[string]string{
		"target set x a=b -f y":               "target set [x a=b] map[f:[y]]",
		"-box http://b -o json targets":       "target list [] map[box:[http://b] o:[json]]",
		"targets list --n=3":                  "target list [] map[n:[3]]",
		"machine split m -mac a --mac b":      "machine split [m] map[mac:[a b]]",
		"arm --for 2d m p --boots 2":          "arm [m p] map[boots:[2] for:[48h0m0s]]",
		"tree upload x - -progress":           "tree upload [x -] map[progress:[true]]",
		"assign -once=false -- -m -p":         "assign [-m -p] map[once:[false]]",
		"settings":                            "settings show [] map[]",
		"delete target":                       `no command "delete"`,
		"target":                              "target list [] map[]",
		"machine observation":                 "want MACHINE",
		"target delete":                       "want NAME…",
		"assign m p x":                        `unexpected argument "x"`,
		"assign m p -once=maybe":              "-once=maybe: want true, false or nothing after it",
		"target list -n -1":                   "-n -1: want a whole number",
		"-f":                                  "no flag -f before the command",
		"arm m p -for 0h":                     "-for 0h: want a time like 90m, 4h or 2d",
		"arm m p -for 99999d":                 "-for 99999d: want a time like 90m, 4h or 2d",
		"completion":                          "want SHELL",
		"preview m -loader lilo":              "-loader lilo: want ipxe, pxelinux or grub",
		"export a b":                          `unexpected argument "b"`,
		"target show a -json":                 "target show takes no flag -json",
		"tree upload a b -progress=false -- ": `unexpected argument ""`,
	} {
		p, err := parseLine(commands(), strings.Split(line, " "))
		var got string
		if err != nil {
			got = err.Error()
		} else {
			if v, ok := p.flags["for"]; ok {
				d, _ := parseSpan(v[0])
				p.flags["for"] = []string{d.String()}
			}
			got = fmt.Sprint(p.cmd.name, " ", p.args, " ", p.flags)
		}
		if got != want {
			t.Errorf("%s\n got %s\nwant %s", line, got, want)
		}
	}
	for _, help := range []string{"-h", "--help", "target -help", "target set x --help y", "help -h"} {
		if _, err := parseLine(commands(), strings.Fields(help)); !errors.Is(err, errHelp) {
			t.Errorf("%s: %v", help, err)
		}
	}
}

func TestVisible(t *testing.T) {
	for in, want := range map[string]string{
		"plain ä 漢":            "plain ä 漢",
		"a\x1b[2J\x07\x7f":     `a\x1b[2J\x07\x7f`,
		"a\u0085\u009bb":       `a\x85\x9bb`,
		"x\u202ey\u2028\u200d": `x\u202ey\u2028\u200d`,
		"\xff\xfe":             `\xff\xfe`,
		"\uFFFD":               "\uFFFD",
		"a\n\tb\r":             `a\n\tb\r`,
		"\U000e0041":           `\udb40\udc41`,
	} {
		if got := visible(in); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}

func TestTable(t *testing.T) {
	var b bytes.Buffer
	writeTable(&b, [][]string{{"A", "B"}, {"漢字", "x"}, {"e\u0301", ""}, {strings.Repeat("l", 70), strings.Repeat("r", 70)}})
	want := "A" + strings.Repeat(" ", 61) + "B\n漢字" + strings.Repeat(" ", 58) + "x\ne\u0301\n" +
		strings.Repeat("l", 59) + "…  " + strings.Repeat("r", 70) + "\n"
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

// TestTokenStaysHome: the box's own token file is for that box only.
func TestTokenStaysHome(t *testing.T) {
	file := filepath.Join(t.TempDir(), "api-token")
	if err := os.WriteFile(file, []byte("own-token-of-the-box\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	saved := tokenFiles
	t.Cleanup(func() { tokenFiles = saved })
	tokenFiles = []string{filepath.Join(t.TempDir(), "missing"), file}
	for _, c := range []struct {
		box, env, flag, want string
	}{
		{"http://127.0.0.1:8080", "", "", "own-token-of-the-box"},
		{"http://[::1]:8080", "", "", "own-token-of-the-box"},
		{"http://localhost", "", "", "own-token-of-the-box"},
		{"http://192.0.2.1:8080", "", "", ""},
		{"http://localhost.example", "", "", ""},
		{"http://127.0.0.1.example", "", "", ""},
		{"http://127.0.0.1", "of-env", "", "of-env"},
		{"http://192.0.2.1", "of-env", "of-flag", "of-flag"},
	} {
		u, err := url.Parse(c.box)
		if err != nil {
			t.Fatal(err)
		}
		call := &call{cmd: commands()[0], flags: map[string][]string{}, stdio: stdio{getenv: func(string) string { return c.env }}}
		if c.flag != "" {
			call.flags["token"] = []string{c.flag}
		}
		if got, err := call.readToken(u); err != nil || got != c.want {
			t.Errorf("%s: %q, %v; want %q", c.box, got, err, c.want)
		}
	}
}

func TestProgress(t *testing.T) {
	now := time.Unix(0, 0)
	moves := 0
	var b bytes.Buffer
	p := &progress{from: strings.NewReader(strings.Repeat("x", 100)), total: 100, out: &b, lines: true, moved: func() { moves++ }, now: func() time.Time { return now }}
	if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, p, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	if strings.Count(b.String(), "\n") != 10 || !strings.HasSuffix(b.String(), "100% 100 octets\n") || moves != 20 {
		t.Errorf("%d moves, lines:\n%s", moves, b.String())
	}
	// On a terminal one line changes, five times a second at most.
	b.Reset()
	p = &progress{from: strings.NewReader(strings.Repeat("x", 100)), total: 100, out: &b, live: true, moved: func() {}, now: func() time.Time {
		now = now.Add(50 * time.Millisecond)
		return now
	}}
	if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, p, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	p.end()
	if n := strings.Count(b.String(), "\r"); n < 5 || n > 7 || !strings.Contains(b.String(), "\r100% 0.0 of 0.0 MiB") || !strings.HasSuffix(b.String(), "\n") {
		t.Errorf("%d times: %q", n, b.String())
	}
}

func TestArchiveType(t *testing.T) {
	oldTar := make([]byte, 512)
	newTar := make([]byte, 512)
	copy(newTar[257:], "ustar\x00")
	for _, c := range []struct {
		name, head, want string
	}{
		{"x.zip", "\x1f\x8b\x08", "application/gzip"}, // the name lies
		{"x", "PK\x03\x04", "application/zip"},
		{"x", string(newTar), "application/x-tar"},
		{"x.tar", string(oldTar), "application/x-tar"},
		{"x.tar.xz", "\xfd7zXZ\x00", ""},
		{"x.tgz", "text", ""},
		{"x", "", ""},
	} {
		if got, ok := archiveType(c.name, []byte(c.head)); got != c.want || ok != (c.want != "") {
			t.Errorf("%s %q: %q, want %q", c.name, c.head, got, c.want)
		}
	}
}

func TestSplitLine(t *testing.T) {
	for line, want := range map[string][]string{
		"":                          {""},
		"a b":                       {"a", "b"},
		"a  b ":                     {"a", "b", ""},
		`a 'b c' "d\"e" f\ g`:       {"a", "b c", `d"e`, "f g"},
		`a "open b`:                 {"a", "open b"},
		`a ''`:                      {"a", ""},
		`target set x 'cmdline=a b`: {"target", "set", "x", "cmdline=a b"},
	} {
		if diff := cmp.Diff(want, splitLine(line)); diff != "" {
			t.Errorf("%q: %s", line, diff)
		}
	}
}

// FuzzText: whatever text a document holds, its YAML steers no terminal and
// reads back as the same.
func FuzzText(f *testing.F) {
	for _, s := range []string{
		"", "a", "a\nb\n", "\n a", "  a\n b", "a\r\nb", "a\u0085b", "\ufeffa", "a \n\tb\n\n", "null", "0123", "2026-01-01", "a: b", "#x",
		"\x1b[2J", "\u202ex", "\U000e0041", "'", "\"", "\\", "- a", "{{ .X }}", "a\x00", "~", "\t", "a\n\x1b", "%x", "!a", "&a", "*a", "---\na", "a\n---\n", "...\n",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !utf8.ValidString(s) {
			return
		}
		raw, err := json.Marshal(document{"notes": s, "tags": []string{s}})
		if err != nil {
			t.Fatal(err)
		}
		var y, j bytes.Buffer
		if err := errors.Join(writeYAML(&y, raw), writeJSON(&j, raw)); err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{y.String(), j.String()} {
			if strings.ContainsFunc(text, func(r rune) bool { return r != '\n' && r != '\t' && hostile(r) }) {
				t.Errorf("%q: hostile in %q", s, text)
			}
			d, _, err := readDocument("f", []byte(text), machineFields())
			if err != nil {
				t.Fatalf("%q: %v in\n%s", s, err, text)
			}
			if d["notes"] != s || d["tags"].([]any)[0] != s {
				t.Errorf("%q became %q in\n%s", s, d, text)
			}
		}
	})
}

// FuzzAnswer: whatever a box answers, printing it neither fails badly nor
// steers the terminal.
func FuzzAnswer(f *testing.F) {
	for _, s := range []string{
		`{"items":[]}`, `{"name":"a\u001b[2J","macs":[{"mac":1}],"seen":[1]}`, `[]`, `null`, `{"choice":{"steps":[1,{"won":true}]},"plan":{"menu":[[]]}}`,
		`{"replies":[{"options":[1]}],"texts":[{}],"answers":{"a":1}}`, `{"a":1e999}`, `{"id":{}}`, "{\"a\":\"\xff\"}", `{"assignment":[],"a":-0.0}`, `{"` + strings.Repeat(`a":{"`, 50),
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) > 1<<16 {
			return
		}
		for _, format := range []string{"table", "json", "yaml"} {
			var b bytes.Buffer
			c := &call{cmd: &command{}, stdio: stdio{out: &b}, flags: map[string][]string{"o": {format}}}
			_ = c.printDocument(raw, targetFields())
			if json.Valid(raw) {
				for _, k := range kinds() {
					_ = c.printList([]json.RawMessage{raw}, k.columns)
				}
				_ = c.printList([]json.RawMessage{raw}, assignmentColumns())
				_ = c.printDifferences([]json.RawMessage{raw})
			}
			if d, err := decode(raw); err == nil {
				writePreview(&b, machine{ID: "m"}, d)
			}
			if strings.ContainsFunc(b.String(), func(r rune) bool { return r != '\n' && r != '\t' && hostile(r) }) {
				t.Errorf("%s: hostile in %q", format, b.String())
			}
		}
		var m machine
		if json.Unmarshal(raw, &m) == nil {
			m.bears("52:54:00:00:00:01")
		}
	})
}

// FuzzDocument: a file to send is read or refused with file and line.
func FuzzDocument(f *testing.F) {
	for _, s := range []string{"kind: linux\nneeds: {memory: 5}\n", "a: &a [*a]", "- x", "? [a]: b", "kind: !!binary x", "wim: {files: {a: ~}}", "menu: {entries: [{key: 1}]}", "<<: {kind: a}", "\x00", "%YAML 9"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<16 {
			return
		}
		for _, k := range kinds() {
			d, at, err := readDocument("f.yaml", data, k.fields)
			if err != nil {
				faults, ok := errors.AsType[invalid](err)
				if !ok || len(faults) == 0 || !strings.HasPrefix(faults[0].String(), "f.yaml:") {
					t.Errorf("%q: %v", data, err)
				}
				continue
			}
			if _, err := json.Marshal(d); err != nil {
				t.Errorf("%q: %v", data, err)
			}
			if at.of("kind") < 1 {
				t.Errorf("%q: no line", data)
			}
		}
	})
}
