package answer

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// TestCompileErrors: every mistake is told with its line and column.
func TestCompileErrors(t *testing.T) {
	plain, yamlKind, xmlKind, pre := boot.TemplatePlain, boot.TemplateAutoinstall, boot.TemplateAutoYaST, boot.TemplatePreseed
	for _, c := range []struct {
		name string
		kind boot.TemplateKind
		text string
		want string // "line:column: what"
	}{
		{"unknown function", plain, "a\nb {{.Machine.Name}} {{nonsense .Vars.x}}", `2:23: function "nonsense" not defined`},
		{"environment", plain, `{{env "HOME"}}`, `1:3: function "env" not defined`},
		{"clock", plain, `{{now}}`, `1:3: function "now" not defined`},
		{"files", plain, `{{readFile "/etc/shadow"}}`, `1:3: function "readFile" not defined`},
		{"call", plain, `{{call .x}}`, `1:3: function "call" not defined`},
		{"html", plain, `{{html .x}}`, `1:3: function "html" not defined`},
		{"our own", plain, `{{_out 0 "x"}}`, `1:3: function "_out" not defined`},
		{"the budget", plain, "\n\n  {{_step -1000000}}", `3:5: function "_step" not defined`},
		{"unclosed action", plain, "ok {{.Machine.Name}}\n {{.Machine.Name", "2:2: unclosed action"},
		{"unclosed block", plain, "{{if true}}\nx\n", "3:1: the text ends within a block"},
		{"end too many", plain, "x\ny{{end}}", "2:2: unexpected {{end}}"},
		{"unclosed string", plain, "{{\"x}}\n", "1:1: unterminated quoted string"},
		{"variable", plain, "{{$a := 1}}{{$a}} {{$b}}", `1:21: undefined variable "$b"`},
		{"dash", plain, "{{.Vars.a-b}}", `1:1: bad character U+002D '-'; a name with a dash is written index .Vars "a-name"`},
		{"template", plain, "\n{{template \"x\"}}", `2:12: there is no template "x"`},
		{"root", plain, "\n {{.Machin.Name}}", "2:4: there is no .Machin; there are .Machine, .Vars and .Box"},
		{"field", plain, "{{if .Machine.Seriall}}{{end}}", "1:6: there is no .Machine.Seriall; there are ID, Name"},
		{"field by $", plain, "{{range .Machine.Tags}}{{$.Machine.Foo}}{{end}}", "there is no .Machine.Foo"},
		{"field of field", plain, "{{.Box.Base.Foo}}", "1:3: .Box.Base has no fields"},
		{"method", plain, "{{.Machine.Serial.String}}", "1:3: .Machine.Serial has no fields"},
		{"field of variable", plain, "{{.Vars.x.y}}", "1:3: .Vars.x is a text and has no fields"},
		{"callback", plain, `{{callback "finished"}}`, `1:3: callback "finished": there are started, progress, log, done, failed`},
		{"answer", plain, `{{answer "../x"}}`, `1:3: answer "../x"`},
		{"shell in quotes", plain, `echo "{{.Machine.Serial | shell}}"`, "1:9: shell writes its own quotes"},
		{"shell in quotes of a line before", pre, "d-i preseed/late_command string sh -c 'x; \\\n {{.Machine.Serial | shell}}'", "2:4: shell writes its own quotes"},
		{"json in quotes", boot.TemplateIgnition, `{"a": "{{.Machine.Serial | json}}"}`, "1:10: json writes its own quotes"},
		{"shell in YAML", yamlKind, "#cloud-config\na:\n  - echo {{.Machine.Serial | shell}}", "3:12: shell is not enough on a line of YAML"},
		{"yaml in a block", yamlKind, "#cloud-config\na:\n  - |\n    if x; then\n      echo {{.Machine.Serial | yaml}}", "5:14: yaml does nothing in a block scalar"},
		{"xml in CDATA", xmlKind, "<a><![CDATA[{{.Machine.Serial | xml}}]]></a>", "1:15: xml does nothing in a CDATA section"},
		{"cdata in XML", xmlKind, "<![CDATA[]]><a>{{.Machine.Serial | cdata}}</a>", "1:18: cdata is for CDATA sections"},
		{"preseed in a command", pre, "d-i preseed/late_command string echo {{.Machine.Serial | preseed}}", "1:40: preseed is not enough in a command"},
		{"shell in a script", boot.TemplateScript, "echo {{.Machine.Serial | shell}}", "1:8: shell does nothing here"},
		{"itself", plain, "{{define \"a\"}}{{template \"a\"}}{{end}}", `1:26: template "a" calls itself`},
		{"in a ring", plain, "{{define \"a\"}}{{template \"b\"}}{{end}}{{define \"b\"}}{{if true}}{{template \"a\"}}{{end}}{{end}}{{template \"a\"}}", `calls itself`},
		{"the whole", plain, "{{template \"\\x01\"}}", `calls itself`},
		{"by block", plain, "{{block \"a\" .}}{{block \"a\" .}}{{end}}{{end}}", `1:`},
		{"deep", plain, strings.Repeat("{{if true}}", 65) + strings.Repeat("{{end}}", 65), "blocks nest deeper than 64"},
		{"deep else", plain, "{{if true}}" + strings.Repeat("{{else if true}}", 65) + "{{end}}", "blocks nest deeper than 64"},
		{"deep parentheses", plain, "{{" + strings.Repeat("(", 70) + "1" + strings.Repeat(")", 70) + "}}", "1:"},
		{"a chain of templates", plain, chain(70), "deeper than 64"},
		{"kind", "fancy", "", `kind "fancy": want one of`},
		{"size", plain, strings.Repeat("x", MaxText+1), "text of 262145 octets: at most 262144"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := CompileText(c.kind, "tmpl", c.text)
			e, ok := errors.AsType[*Error](err)
			if !ok {
				t.Fatalf("%v, want an *Error", err)
			}
			if !strings.Contains(e.Error(), c.want) || !strings.HasPrefix(e.Error(), "tmpl:") || len(e.Error()) > 400 {
				t.Errorf("%v\nwant %s", e, c.want)
			}
		})
	}
}

// chain is n templates each of which calls the next.
func chain(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{{define "t%03d"}}{{template "t%03d"}}{{end}}`, i, i+1)
	}
	fmt.Fprintf(&b, `{{define "t%03d"}}x{{end}}{{template "t000"}}`, n)
	return b.String()
}

// TestColumnOfLongLine: finding a column does not take forever on a line of many
// actions.
func TestColumnOfLongLine(t *testing.T) {
	text := strings.Repeat("{{.Box.Base}}", 15_000) + "{{oops}}"
	_, err := CompileText(boot.TemplatePlain, "x", text)
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Line != 1 || e.Column != 15_000*13+3 {
		t.Errorf("%v", err)
	}
}

// TestRenderErrors: every error of a rendering is told with its place, and none
// tells what a client sent.
func TestRenderErrors(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"\nx {{.Vars.missing}}", `2:10: variable "missing" is not set: set it for the machine`},
		{`{{index .Vars "not-there"}}`, `variable "not-there" is not set`},
		{"{{$.Vars.missing}}", `variable "missing" is not set`},
		{"{{if .Vars.missing}}{{end}}", `variable "missing" is not set`},
		{"{{with $v := .Vars}}{{$v.missing}}{{end}}", `variable "missing" is not set`},
		{"{{.Machine.Told.color}}", `the machine has not told "color"`},
		{`{{index .Machine.Told "color"}}`, `the machine has not told "color"`},
		{`{{required "a disk is needed" .Vars.missing}}`, "1:3: required: a disk is needed"},
		{`{{.Vars.missing | required "a disk is needed"}}`, "required: a disk is needed"},
		{`{{required "x" .Vars.proxy}}`, "required: x"},
		{"{{.Machine.Tags}}", "cannot print a list: range over it, or use join"},
		{"{{.Machine}}", "cannot print this"},
		{"{{.}}", "cannot print this"},
		{"{{.Vars}}", "cannot print a table"},
		{"{{range .Machine.Serial}}{{end}}", "cannot range over a text"},
		{"{{range 1001}}{{end}}", "range over 1001: at most 1000 rounds"},
		{"{{range .Machine}}{{end}}", "cannot range over"},
		{`{{answer (printf "a/%s" "b")}}`, `answer "a/b": want the name`},
		{`{{callback (printf "%s" "x")}}`, `callback "x": there are`},
		{`{{printf "%d" .Machine.Serial}}`, "want a whole number"},
		{`{{printf "%999s" "x"}}`, "is no format"},
		{`{{printf "%*d" 1 2}}`, "there are %s"},
		{`{{printf "%[9]d" 1}}`, "there are %s"},
		{`{{printf "%s"}}`, "nothing left for %s"},
		{`{{printf "x" 1}}`, "1 values too many"},
		{`{{printf "%"}}`, "is no format"},
		{`{{printf "%w" .Machine.Serial}}`, "there are %s"},
		{`{{add .Machine.Serial 1}}`, "want a whole number"},
		{`{{add 9223372036854775807 1}}`, "too large"},
		{`{{index .Machine.Tags 7}}`, "the list has 2 elements"},
		{`{{mac .Machine.Serial}}`, "no hardware address"},
		{`{{iphex "2001:db8::1"}}`, "no IPv4 address"},
		{`{{netmask "x"}}`, "want a length"},
		{`{{eq true "true"}}`, "cannot compare"},
		{`{{eq .Machine.Tags "x"}}`, "want a text or a number, got a list"},
		{`{{lower .Machine.Tags}}`, "want a text or a number, got a list"},
		{`{{range .Machine.Tags}}{{.Foo}}{{end}}`, "can't evaluate field Foo"},
		{`{{split "" "x"}}`, "split: at what?"},
		{`{{replace "" "x" "y"}}`, "replace what?"},
		{`{{indent 1000 "x"}}`, "want 0 to 100"},
	} {
		tx, err := CompileText(boot.TemplatePlain, "tmpl", c.text)
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		out, err := tx.Render(tell(hostile), 0)
		e, ok := errors.AsType[*Error](err)
		if !ok || out != nil {
			t.Errorf("%s: %v, %q", c.text, err, out)
			continue
		}
		if !strings.Contains(e.Error(), c.want) || e.Line == 0 || e.Column == 0 {
			t.Errorf("%s: %v\nwant %s", c.text, e, c.want)
		}
		if strings.ContainsAny(e.Error(), "\n`") || strings.Contains(e.Error(), "_out") || strings.Contains(e.Error(), "_range") {
			t.Errorf("%s: the error tells too much: %v", c.text, e)
		}
	}
}

func TestVariables(t *testing.T) {
	tx, err := CompileText(boot.TemplatePlain, "x", `{{.Vars.b}}{{range .Machine.Tags}}{{$.Vars.a}}{{end}}{{index .Vars "c-d"}}{{opt "e"}}{{.Vars.f | default 1}}{{default 1 .Vars.g}}{{index .Vars "h" | default 2}}{{has .Vars "i"}}{{default 1 (index .Vars "j")}}`)
	if err != nil {
		t.Fatal(err)
	}
	if got := tx.Variables(); !slices.Equal(got, []string{"a", "b", "c-d"}) {
		t.Errorf("%q", got)
	}
	if err := tx.TryOut(nil); err != nil {
		t.Error(err)
	}
}

func TestNoPlaces(t *testing.T) {
	d := tell("x")
	d.Answer, d.Callback = nil, nil
	for text, want := range map[string]string{`{{answer "a"}}`: "no answer files", `{{callback "done"}}`: "nobody to call back"} {
		tx, err := CompileText(boot.TemplatePlain, "x", text)
		if err != nil {
			t.Fatal(err)
		}
		if _, err = tx.Render(d, 0); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v", err)
		}
	}
}

// TestBox: an address that a request could have spoilt is none.
func TestBox(t *testing.T) {
	for base, want := range map[string]BoxView{
		"http://192.0.2.5":             {"http://192.0.2.5", "192.0.2.5", "192.0.2.5"},
		"http://192.0.2.5:8080/":       {"http://192.0.2.5:8080", "192.0.2.5:8080", "192.0.2.5"},
		"https://box.example":          {"https://box.example", "box.example", "box.example"},
		"http://[2001:db8::1]:81":      {"http://[2001:db8::1]:81", "[2001:db8::1]:81", "2001:db8::1"},
		"http://x/y":                   {},
		"http://u:p@x":                 {},
		"http://x?y":                   {},
		"http://${x}":                  {},
		"ftp://x":                      {},
		"http://x\ny":                  {},
		"":                             {},
		"http://x y":                   {},
		"http://[fe80::1%25eth0]:8080": {},
	} {
		if got := newBox(base); got != want {
			t.Errorf("%q: %+v", base, got)
		}
	}
}
