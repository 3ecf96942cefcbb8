package exchange

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// TestErrors has a file for every way to be wrong, with all that is said about
// it.
func TestErrors(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"empty", "", `f: is empty: write at least "version: 1"`},
		{"comment only", "# nothing\n", `f: is empty: write at least "version: 1"`},
		{"null", "---\n...\n", `f: is empty: write at least "version: 1"`},
		{"a text", "hello\n", `f:1: want a mapping with version, site, targets, profiles, groups, rules, templates or machines, not "hello"`},
		{"a list", "- version: 1\n", `f:1: want a mapping with version, site, targets, profiles, groups, rules, templates or machines, not a list`},
		{"no version", "site: {unknown: ask}\n", `f:1: version: missing: write "version: 1"`},
		{"newer", "version: 2\n", `f:1: version: this release reads version 1, the file says 2`},
		{"version as text", "version: \"1\"\n", `f:1: version: want a whole number without quotes, not "1"`},
		{"syntax", "version: 1\nsite: [\n", `f:3: not valid YAML: while parsing a flow node (line 3): did not find expected node content`},
		{"indentation", "version: 1\nsite:\n  unknown: ask\n default: x\n", `f:4: not valid YAML: while parsing a block mapping (line 1): did not find expected key`},
		{"tab", "version: 1\nsite:\n\tunknown: ask\n", `f:3: not valid YAML: while scanning for the next token (line 3): found character that cannot start any token`},
		{"two documents", "version: 1\n---\nversion: 1\n", `f:2: a second document begins: write one`},
		{"latin 1", "version: 1\nsite:\n  title: \"B\xfcro\"\n", `f:3: is not UTF-8: save it in that encoding`},
		{"unknown section", "version: 1\ntarget: []\n", `f:2: target: unknown key: did you mean targets?`},
		{"unknown key", "version: 1\ntargets:\n  - name: debian\n    kernal: linux\n", `f:4: targets/debian: kernal: unknown key: did you mean kernel?`},
		{"unknown key, nothing near", "version: 1\ngroups:\n  - name: web\n    colour: red\n", `f:4: groups/web: colour: unknown key: write name, notes, profile or variables`},
		{"deep", "version: 1\ntargets:\n  - name: m\n    menu:\n      entries:\n        - profile: a\n        - profile: b\n          locked: sure\n", `f:8: targets/m: menu.entries[1].locked: want true or false without quotes, not "sure"`},
		{"observation", "version: 1\nmachines:\n  - id: m1\n    last_seen: 2026-01-01T00:00:00Z\n", `f:4: machines/m1: last_seen: the box keeps this itself: leave it out`},
		{"state", "version: 1\nmachines:\n  - name: web\n    assignment:\n      state: done\n", `f:5: machines/web: assignment.state: the box keeps this itself: leave it out`},
		{"number", "version: 1\ntargets:\n  - name: a\n    needs:\n      memory: 2 GiB\n", `f:5: targets/a: needs.memory: want a whole number without quotes, not "2 GiB"`},
		{"huge number", "version: 1\nsite:\n  seconds: 99999999999999999999\n", `f:3: site: seconds: want a whole number without quotes, not "99999999999999999999"`},
		{"octal", "version: 1\nsite:\n  seconds: 0x10\n", `f:3: site: seconds: want a whole number without quotes, not "0x10"`},
		{"bool as text", "version: 1\nsite:\n  trust_routed: yes\n", `f:3: site: trust_routed: want true or false without quotes, not "yes"`},
		{"list as text", "version: 1\nsite:\n  allow: 52:54:00\n", `f:3: site: allow: want a list, not "52:54:00": write each item in a line of its own behind "- "`},
		{"text as list", "version: 1\nsite:\n  title: [a]\n", `f:3: site: title: want a text, not a list`},
		{"map as text", "version: 1\nsite:\n  variables: x\n", `f:3: site: variables: want a mapping of names to values, not "x"`},
		{"struct as list", "version: 1\nsite: []\n", `f:2: site: want a mapping with unknown, allow_until, default, title, seconds, allow, deny, variables, forget_days or trust_routed, not a list`},
		{"null text", "version: 1\nsite:\n  title: null\n", `f:3: site: title: null means nothing at all to YAML: leave the line out, or write "null" in quotes`},
		{"time", "version: 1\nsite:\n  allow_until: tomorrow\n", `f:3: site: allow_until: want a time like 2026-01-31T18:00:00Z, not "tomorrow"`},
		{"uuid", "version: 1\nmachines:\n  - id: m\n    uuid: 4c4c\n", `f:4: machines/m: uuid: UUID "4c4c": want 32 hexadecimal digits`},
		{"key twice", "version: 1\nsite:\n  title: a\n  title: b\n", `f:4: site: title: is there twice, first in line 3: remove one`},
		{"variable twice", "version: 1\nsite:\n  variables:\n    a: 1\n    a: 2\n", `f:5: site: variables.a: is there twice, first in line 4: remove one`},
		{"section twice", "version: 1\nsite: {}\nsite: {}\n", `f:3: site: is there twice, first in line 2: remove one`},
		{"name twice", "version: 1\ngroups:\n  - name: a\n  - name: b\n  - name: a\n", `f:5: groups/a: name: "a" is there twice, first in line 3: remove one or give it another name`},
		{"machine twice", "version: 1\nmachines:\n  - id: m\n  - id: m\n", `f:4: machines/m: id: "m" is there twice, first in line 3: remove one or give it another name`},
		{"no name", "version: 1\ngroups:\n  - notes: x\n", `f:3: groups[0]: name: missing: write a name`},
		{"empty item", "version: 1\ngroups:\n  - name: a\n  -\n", `f:4: groups[1]: is empty: remove the line`},
		{"key is a list", "version: 1\nsite:\n  ? [a]\n  : b\n", `f:3: site: a key has to be a text, not a list`},
		{"anchor", "version: 1\nsite: &a\n  title: x\n", `f:2: anchors and aliases are not read: write the value out`},
		{"alias", "version: 1\nsite:\n  title: &t x\n  default: *t\n", "f:3: anchors and aliases are not read: write the value out\nf:4: anchors and aliases are not read: write the value out"},
		{"unknown alias", "version: 1\nsite:\n  default: *t\n", `f:3: not valid YAML: unknown anchor 't' referenced`},
		{"merge", "version: 1\nsite:\n  <<: {title: x}\n", `f:3: site: <<: unknown key: write unknown, allow_until, default, title, seconds, allow, deny, variables, forget_days or trust_routed`},
		{"tag", "version: 1\nsite:\n  title: !!binary aGVsbG8=\n", `f:3: tags such as "!!binary" are not read: leave it out`},
		{"own tag", "version: 1\nsite: !include other.yaml\n", `f:2: tags such as "!include" are not read: leave it out`},
		{"several", "version: 1\nsite:\n  titel: x\n  seconds: many\nrules:\n  - order: 1\n", "f:3: site: titel: unknown key: did you mean title?\nf:4: site: seconds: want a whole number without quotes, not \"many\"\nf:6: rules[0]: name: missing: write a name"},
	} {
		t.Run(c.name, func(t *testing.T) {
			doc, err := Parse("f", []byte(c.text))
			var errs Errors
			if !errors.As(err, &errs) {
				t.Fatalf("%v", err)
			}
			if diff := cmp.Diff(c.want, errs.Error()); diff != "" {
				t.Error(diff)
			}
			if doc.Version != 0 || doc.Site.Title != "" || doc.Groups != nil {
				t.Errorf("half a document: %+v", doc)
			}
		})
	}
}

// What people write by hand need not look like an export.
func TestLenient(t *testing.T) {
	got := parse(t, []byte("\ufeff"+`---
# by hand
version: 1
site: {unknown: ask, seconds: 5}
targets:
groups: [{name: web, variables: {port: 8080, on: yes, zip: 00501, when: 2026-01-02}}]
machines:
- name: 0042
  macs: [52-54-00-AA-BB-CC, {mac: 5254.00aa.bbcd, given: true}]
  uuid: "{4C4C4544-0037-5210-804C-B4C04F4E4332}"
  serial: 1e3
  notes: >
    folded
    text
  assignment:
    profile: p
    mode: armed
    expires: 2026-05-01T18:00:00+02:00
  tags: []
  groups:
...
`))
	want := Document{
		Version: 1,
		Site:    boot.Site{Unknown: "ask", Seconds: 5},
		Groups:  []boot.Group{{Name: "web", Variables: map[string]string{"port": "8080", "on": "yes", "zip": "00501", "when": "2026-01-02"}}},
		Machines: []boot.Machine{{
			Name: "0042", Serial: "1e3", Notes: "folded text\n",
			GUID:       boot.GUID{0x4c, 0x4c, 0x45, 0x44, 0, 0x37, 0x52, 0x10, 0x80, 0x4c, 0xb4, 0xc0, 0x4f, 0x4e, 0x43, 0x32},
			MACs:       []boot.NIC{{MAC: "52:54:00:aa:bb:cc"}, {MAC: "52:54:00:aa:bb:cd", Given: true}},
			Assignment: &boot.Assignment{Profile: "p", Mode: "armed", Expires: time.Date(2026, 5, 1, 16, 0, 0, 0, time.UTC)},
		}},
	}
	if diff := cmp.Diff(Normal(want), Normal(got), equalAddr); diff != "" {
		t.Error(diff)
	}
}

// A file with errors everywhere is answered with a bounded list.
func TestManyErrors(t *testing.T) {
	_, err := Parse("f", []byte("version: 1\ngroups:\n"+strings.Repeat("  - bad: x\n", 500)))
	var errs Errors
	if !errors.As(err, &errs) || len(errs) != MaxErrors || errs[MaxErrors-1].What != "and 901 more errors" {
		t.Errorf("%d: %v", len(errs), errs[len(errs)-1])
	}
}

// TestBombs are files that are small or allowed, but want to become much, or
// take long.
func TestBombs(t *testing.T) {
	laughs := "a0: &a0 [x,x,x,x,x,x,x,x,x]\n"
	for i := 1; i < 12; i++ {
		laughs += fmt.Sprintf("a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d,", i-1), 9), ","))
	}
	size := MaxSize - 64
	if testing.Short() {
		size /= 16
	}
	fill := func(s string) string { return strings.Repeat(s, size/len(s)) }
	for name, text := range map[string]string{
		"a billion laughs":      "version: 1\n" + laughs,
		"alias to itself":       "version: 1\nsite: &a {title: *a}\n",
		"too large":             strings.Repeat("# x\n", MaxSize/4) + "x",
		"flow depth":            fill("["),
		"flow map depth":        fill("{a: "),
		"block depth":           nested(3000),
		"compact depth":         "version: 1\nsite: \n  " + fill("- "),
		"question marks":        fill("? "),
		"many commas":           "[" + fill("a,"),
		"many pairs":            "{" + fill("a,"),
		"many lines":            fill("-\n"),
		"line separators":       "a: " + fill("\u2028-"),
		"anchors":               fill("&a "),
		"tags":                  fill("!a "),
		"open quote":            "\"" + fill("a"),
		"open single quote":     "'" + fill("a"),
		"escapes":               "\"" + fill(`\U0010FFFF`) + "\"",
		"long key":              fill("a") + ": 1",
		"long comment":          "#" + fill("a"),
		"comments":              fill("#aaaaaaaaaaaaaaa\n"),
		"open block":            "a: |\n" + fill(" a b c d e f\n"),
		"blanks":                fill(" "),
		"tabs":                  fill("\t"),
		"plain over many lines": "a: " + fill("b c d e f g h i j k\n  "),
		"colons":                fill(":"),
		"documents":             fill("--- aaaaaaaaaaaa\n"),
		"zeros":                 fill("\x00"),
		"percent":               fill("%"),
		"anchors at the bound":  bound("&a ", 1),
		"commas at the bound":   "[" + bound("a,", 2),
		"pairs at the bound":    "{" + bound("a,", 2),
		"items at the bound":    bound("-\n", 1),
		"nested at the bound":   bound("- - - - a: b\n", 6),
		"values at the bound":   "version: 1\nsite: {}\ngroups:\n" + bound("- a: b\n", 3),
		"keys that differ": func() string {
			var b strings.Builder
			b.WriteString("version: 1\nsite:\n  variables:\n")
			for i := 0; b.Len() < MaxSize-100 && i < 600000; i++ {
				fmt.Fprintf(&b, "    k%d: v\n", i)
			}
			return b.String() + "bad: x\n"
		}(),
	} {
		t.Run(name, func(t *testing.T) {
			if testing.Short() && strings.Contains(name, "at the bound") {
				t.Skip("takes seconds")
			}
			start := time.Now()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := Parse("f", []byte(text))
			runtime.ReadMemStats(&after)
			var errs Errors
			if !errors.As(err, &errs) {
				t.Errorf("%v", err)
			}
			took, mib := time.Since(start), (after.TotalAlloc-before.TotalAlloc)>>20
			t.Logf("%.100v: %v, %d MiB allocated", err, took.Round(time.Millisecond), mib)
			if took > time.Minute || mib > 1200 {
				t.Errorf("took %v and %d MiB", took, mib)
			}
		})
	}
}

// bound repeats what has so many marks as often as is allowed.
func bound(s string, marks int) string { return strings.Repeat(s, maxMarks/marks-10) }

func nested(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}

// TestLocate gives errors that were found in the documents their lines.
func TestLocate(t *testing.T) {
	text := `version: 1
site:
  unknown: maybe
  allow:
    - 52:54:00
    - nonsense
targets:
  - name: debian
    kind: linux
    needs:
      memory: -1
    initrds: [a, b]
    menu:
      entries:
        - key: ab
          profile: x
machines:
  - id: m1
    macs:
      - 52:54:00:12:34:56
      - mac: nonsense
    variables:
      a: x
      a.b: y
      a.b[0]: z
  - name: new
    serial: "0"
`
	parse(t, []byte(text))
	got := Locate("f.yaml", []byte(text), map[string]boot.FieldErrors{
		"site": {{Field: "unknown", What: "1"}, {Field: "allow[1]", What: "2"}, {Field: "allow[7]", What: "3"}, {Field: "default", What: "4"}},
		"targets/debian": {
			{Field: "needs.memory", What: "5"},
			{Field: "initrds[1]", What: "6"},
			{Field: "menu.entries[0].key", What: "7"},
			{Field: "menu.entries[0].title", What: "8"},
			{Field: "kernel", What: "9"},
			{Field: "initrds[x]", What: "10"},
			{Field: "", What: "11"},
		},
		"machines/m1": {
			{Field: "macs[0].mac", What: "12"},
			{Field: "macs[1].mac", What: "13"},
			{Field: "variables.a", What: "14"},
			{Field: "variables.a.b", What: "15"},
			{Field: "variables.a.b[0]", What: "16"},
			{Field: "variables.c", What: "17"},
		},
		Key("machines", "", 0): {{Field: "serial", What: "18"}}, // Normal sorts those with a name before those without
		"targets/gone":         {{Field: "name", What: "19"}},
		"rules/none":           {{Field: "profile", What: "20"}},
	})
	lines := map[string]int{}
	for _, e := range got {
		lines[e.What] = e.Line
		if e.File != "f.yaml" {
			t.Errorf("%+v", e)
		}
	}
	want := map[string]int{
		"1": 3, "2": 6, "3": 4, "4": 3, "5": 11, "6": 12, "7": 15, "8": 15, "9": 8, "10": 12, "11": 8, "12": 20, "13": 21,
		"14": 23, "15": 24, "16": 25, "17": 22, "18": 27, "19": 7, "20": 1,
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Error(diff)
	}
	if s := got[len(got)-1].Error(); s != "f.yaml:27: machines[0]: serial: 18" {
		t.Errorf("%s", s)
	}
	if Locate("f", []byte(text), nil) != nil {
		t.Error("errors out of nothing")
	}
	// Errors are never lost, even if the file cannot be read.
	if errs := Locate("f", []byte("["), map[string]boot.FieldErrors{"site": {{Field: "a", What: "b"}}}); len(errs) != 1 || errs[0].Error() != "f: site: a: b" {
		t.Errorf("%v", errs)
	}
}

// The checks of documents name fields as files do: their errors are found.
func TestLocateChecks(t *testing.T) {
	text := "version: 1\ntargets:\n  - name: Bad Name\n    kind: linux\n    url: http://x/\n    needs:\n      memory: -1\n"
	d := parse(t, []byte(text))
	errs := Locate("f", []byte(text), map[string]boot.FieldErrors{Key("targets", d.Targets[0].Name, 0): d.Targets[0].Check()})
	lines := map[int]bool{}
	for _, e := range errs {
		lines[e.Line] = true
	}
	if !lines[3] || !lines[5] || !lines[7] {
		t.Errorf("%v", errs)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(export(f, sample()))
	for _, s := range texts {
		if len(s) < 50 { // short ones, or minimising takes all the time
			f.Add(export(f, Document{Site: boot.Site{Title: s, Allow: []string{s, s}}}))
		}
	}
	for _, s := range []string{"", "version: 1\n", "version: 1\nsite: &a {title: *a}\n", "? [a]\n: b\n", "{[", "a: |2-\n  x", "--- |\n\t", "\"\\x", "version: 1\nmachines:\n- macs: [~]\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := Parse("f", data)
		if err != nil {
			var errs Errors
			if !errors.As(err, &errs) || len(errs) == 0 || len(errs) > MaxErrors {
				t.Fatalf("%v", err)
			}
			for _, e := range errs {
				if e.What == "" || e.Line < 0 || e.Line > bytes.Count(data, []byte("\n"))+bytes.Count(data, []byte("\r"))+3+3*bytes.Count(data, []byte("\xe2\x80"))+bytes.Count(data, []byte("\xc2\x85")) {
					t.Fatalf("%+v", e)
				}
			}
			return
		}
		again, err := Parse("f", export(t, d))
		if err != nil {
			t.Fatalf("what was read cannot be written and read: %v", err)
		}
		if diff := cmp.Diff(Normal(d), again, equalAddr); diff != "" {
			t.Fatal(diff)
		}
		if diff := Diff(d, again); diff != nil {
			t.Fatal(diff)
		}
		if errs := Locate("f", data, map[string]boot.FieldErrors{"site": {{Field: "variables.a[0].b", What: "x"}}}); len(errs) != 1 {
			t.Fatal(errs)
		}
	})
}

// Every file in testdata is one that a release wrote, and is read for ever.
func TestOlderFiles(t *testing.T) {
	names, _ := filepath.Glob("testdata/*.yaml")
	if len(names) == 0 {
		t.Fatal("no files")
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Parse(name, data); err != nil {
			t.Error(err)
		}
	}
}
