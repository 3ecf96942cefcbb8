package answer

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// render is the text of a template, or its error.
func render(t testing.TB, kind boot.TemplateKind, text string, d Data) string {
	t.Helper()
	tx, err := CompileText(kind, "t", text)
	if err != nil {
		t.Fatal(err)
	}
	out, err := tx.Render(d, 0)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return string(out)
}

func TestFunctions(t *testing.T) {
	for text, want := range map[string]string{
		`{{.Machine.Serial}} {{.Machine.Product}}`:                                                              "A-b:C.1 A-b:C.1",
		`{{lower .Machine.Serial}}|{{.Machine.Serial | upper}}`:                                                 "a-b:c.1|A-B:C.1",
		`{{trim "  x "}}|{{trimPrefix "A-" .Machine.Serial}}`:                                                   "x|b:C.1",
		`{{trimSuffix ".1" .Machine.Serial}}`:                                                                   "A-b:C",
		`{{replace "-" "+" .Machine.Serial}}`:                                                                   "A+b:C.1",
		`{{replace "/" .Machine.Serial "x/y"}}`:                                                                 "xA-b:C.1y",
		`{{range split "-" .Machine.Serial}}[{{.}}]{{end}}`:                                                     "[A][b:C.1]",
		`{{join "," .Machine.Tags}}`:                                                                            "web,rack-2",
		`{{join "/" (list "a" .Machine.Serial 3)}}`:                                                             "a/A-b:C.1/3",
		`{{printf "http://x/%s/%d%%" .Machine.Serial 7}}`:                                                       "http://x/A-b:C.1/7%",
		`{{printf "%-4s|%4s|%04d|%x|%X|%q|%v" "a" "b" 5 255 255 "c" 2}}`:                                        `a   |   b|0005|ff|FF|"c"|2`,
		`{{printf "%x" .Machine.Serial}}`:                                                                       "412d623a432e31",
		`{{trunc 3 .Machine.Serial}}|{{trunc 2 "ä€"}}|{{trunc 4 "ä€"}}`:                                         "A-b|ä|ä",
		`{{quote "a\"b\\"}} {{quote .Machine.Serial}}`:                                                          `"a\"b\\" "A-b:C.1"`,
		`{{indent 2 "a\nb"}}|{{nindent 1 "c"}}`:                                                                 "  a\n  b|\n c",
		`{{default "d" ""}}{{"" | default "e"}}{{default 5 0}}`:                                                 "de5",
		`{{.Vars.none | default "n"}} {{opt "none"}}{{.Vars.disk}}`:                                             "n /dev/sda",
		`{{default "n" .Vars.none}}{{default "n" (index .Vars "none")}}`:                                        "nn",
		`{{if has .Vars "disk"}}y{{end}}{{if has .Vars "no"}}n{{end}}`:                                          "y",
		`{{if has .Machine.Tags "web"}}y{{end}}{{has .Machine.Groups 1}}`:                                       "yfalse",
		`{{if eq .Machine.Serial "A-b:C.1"}}same{{end}}`:                                                        "same",
		`{{if ne .Machine.Serial "x" }}other{{end}}`:                                                            "other",
		`{{eq 1 "1"}} {{eq "a" "b" "a"}} {{lt "9" 10}} {{gt "b" "a"}}`:                                          "true true true true",
		`{{le 1 1}} {{ge 1 2}} {{lt -5 3}}`:                                                                     "true false true",
		`{{contains "b:" .Machine.Serial}} {{hasPrefix "A" "B"}}`:                                               "true false",
		`{{hasSuffix ".1" .Machine.Serial}}{{len .Machine.Tags}}`:                                               "true2",
		`{{len "abc"}} {{index .Machine.Tags 1}} {{index .Vars "a-b"}}`:                                         "3 rack-2 dash",
		`{{add .Vars.n 4}} {{sub 1 5}}`:                                                                         "7 -4",
		`{{and true .Machine.Serial}} {{or "" "x"}} {{not true}}`:                                               "A-b:C.1 x false",
		`{{range 3}}{{.}}{{end}}{{range $i, $x := list 5 6}}{{$i}}{{end}}`:                                      "01201",
		`{{range $k, $v := .Machine.Told}}{{$k}}={{$v}};{{end}}`:                                                "mac=A-b:C.1;",
		`{{range list}}x{{else}}none{{end}}`:                                                                    "none",
		`{{range 9}}{{if eq . 2}}{{continue}}{{end}}{{if eq . 4}}{{break}}{{end}}{{.}}{{end}}`:                  "013",
		`{{mac "52-54-00-AB-CD-EF"}} {{machyphen "52:54:00:ab:cd:ef"}} {{macplain "5254.00ab.cdef"}}{{mac ""}}`: "52:54:00:ab:cd:ef 52-54-00-ab-cd-ef 525400abcdef",
		`{{iphex "192.168.7.68"}} {{netmask "10.0.0.1/20"}} {{netmask 0}} {{netmask 32}}`:                       "C0A80744 255.255.240.0 0.0.0.0 255.255.255.255",
		`{{network "10.1.2.3/20"}} {{prefixlen "255.255.255.0"}} {{prefixlen "10.0.0.1/9"}}`:                    "10.1.0.0 24 9",
		`{{hostname "-Dell Inc. 4!"}} {{hostname .Machine.Serial}}`:                                             "dell-inc--4 a-b-c-1",
		`{{b64 "hi"}} {{uri "a b/ü"}} {{uri ".."}}`:                                                             "aGk= a%20b%2F%C3%BC __",
		`{{define "x"}}<{{.}}>{{end}}{{template "x" "y"}}{{block "z" .Box.Addr}}{{.}}{{end}}`:                   "<y>192.0.2.5",
		`{{with .Machine.Serial}}{{.}}{{end}}{{with ""}}x{{else}}y{{end}}`:                                      "A-b:C.1y",
		`{{$s := .Machine.Serial}}{{$s = lower $s}}{{$s}}`:                                                      "a-b:c.1",
		`{{true}} {{1.5}} {{-3}} {{'a'}}`:                                                                       "true 1.5 -3 97",
		`{{.Box.Base}} {{.Box.Host}} {{.Machine.Memory}}`:                                                       "http://192.0.2.5 192.0.2.5 0",
		`{{answer "a.b"}} {{callback "failed"}}`:                                                                "http://192.0.2.5/a/tok/a.b http://192.0.2.5/cb/tok/failed",
	} {
		if got := render(t, boot.TemplatePlain, text, tell("A-b:C.1")); got != want {
			t.Errorf("%s\n got %q\nwant %q", text, got, want)
		}
	}
}

// TestSafeForm is the alphabet of claims.
func TestSafeForm(t *testing.T) {
	for in, want := range map[string][2]string{ // without and with spaces
		"":                  {"", ""},
		"SN-0001":           {"SN-0001", "SN-0001"},
		"52:54:00:12:34:56": {"52:54:00:12:34:56", "52:54:00:12:34:56"},
		"Dell Inc.":         {"Dell_Inc.", "Dell Inc."},
		"a@b.c+d_e":         {"a@b.c+d_e", "a@b.c+d_e"},
		"--root":            {"_-root", "_-root"},
		"a --root":          {"a__-root", "a _-root"},
		"..":                {"_.", "_."},
		"../x":              {"_._x", "_._x"},
		"a: b":              {"a__b", "a_ b"},
		"a:":                {"a_", "a_"},
		" a ":               {"_a_", "_a_"},
		"@x":                {"_x", "_x"},
		":x":                {"_x", "_x"},
		"ä€":                {"__", "__"},
		"a\nb\x00c":         {"a_b_c", "a_b_c"},
		"${x}&&y||z;'\"`\\": {"__x___y__z_____", "__x___y__z_____"},
	} {
		if got := safeForm(in, false); got != want[0] {
			t.Errorf("%q without spaces: %q, want %q", in, got, want[0])
		}
		if got := safeForm(in, true); got != want[1] {
			t.Errorf("%q with spaces: %q, want %q", in, got, want[1])
		}
	}
}

func TestClaim(t *testing.T) {
	if got := NewClaim(strings.Repeat("ä", 100)); len(got) != boot.MaxClaim {
		t.Errorf("%d octets", len(got))
	}
	if got := NewClaim("a\tb\r\u2028\u202e\ufeff\xffä €"); string(got) != "a_b_____ä €" {
		t.Errorf("%q", string(got))
	}
	c := Claim("a`b")
	for _, verb := range []string{"%s", "%v", "%+v", "%#v", "%q", "%x", "%d", "%t"} {
		if got := fmt.Sprintf(verb, c); got != "a_b" {
			t.Errorf("%s prints %q", verb, got)
		}
		if got := fmt.Sprintf(verb, &mixed{[]part{{"x`", trusted}, {"a`b", claimed}}}); got != "x`a_b" {
			t.Errorf("%s prints %q", verb, got)
		}
	}
	if got := fmt.Sprint(map[string]Claim{"k": c}, []Claim{c}, struct{ C Claim }{c}); strings.Contains(got, "`") {
		t.Error(got)
	}
}

// TestTaint: no way through the functions makes a client's words the operator's.
// Each of these has to print the safe form in a preseed file.
func TestTaint(t *testing.T) {
	const raw = "$(id)`x`"
	for _, text := range []string{
		`{{.Machine.Serial}}`, `{{printf "%s" .Machine.Serial}}`, `{{printf "%v" .Machine.Serial}}`, `{{printf "%q" .Machine.Serial}}`,
		`{{printf "%20s" .Machine.Serial}}`, `{{printf "%.9s" .Machine.Serial}}`, `{{printf "a%sb" .Machine.Serial | lower}}`,
		`{{lower .Machine.Serial}}`, `{{upper .Machine.Serial}}`, `{{trim .Machine.Serial}}`, `{{trimPrefix "x" .Machine.Serial}}`,
		`{{trimSuffix "x" .Machine.Serial}}`, `{{replace "q" "r" .Machine.Serial}}`, `{{replace "q" .Machine.Serial "aqb"}}`,
		`{{join "," (list .Machine.Serial)}}`, `{{join .Machine.Serial (list 1 2)}}`, `{{index (split "q" .Machine.Serial) 0}}`,
		`{{trunc 50 .Machine.Serial}}`, `{{quote .Machine.Serial}}`, `{{indent 2 .Machine.Serial}}`, `{{nindent 2 .Machine.Serial}}`,
		`{{default "x" .Machine.Serial}}`, `{{default .Machine.Serial ""}}`, `{{required "x" .Machine.Serial}}`,
		`{{or .Machine.Serial "x"}}`, `{{and 1 .Machine.Serial}}`, `{{(or .Machine.Serial "x") | lower}}`,
		`{{with .Machine.Serial}}{{.}}{{end}}`, `{{$x := .Machine.Serial}}{{$x}}`, `{{range .Machine.MACs}}{{.}}{{end}}`,
		`{{range $k, $v := .Machine.Told}}{{$k}}{{$v}}{{end}}`, `{{index .Machine.Told "mac"}}`, `{{.Machine.Told.mac}}`,
		`{{define "x"}}{{.}}{{end}}{{template "x" .Machine.Serial}}`, `{{block "y" .Machine.Serial}}{{.}}{{end}}`,
		`{{with .Machine}}{{.Serial.String}}{{end}}`,
		// Escaped for another kind of file, or not any more.
		`{{xml .Machine.Serial}}`, `{{json .Machine.Serial}}`, `{{yaml .Machine.Serial}}`, `{{cdata .Machine.Serial}}`,
		`{{.Machine.Serial | shell | lower}}`, `{{.Machine.Serial | preseed | replace "a" "b"}}`, `{{.Machine.Serial | shell | trim}}`,
		`{{.Machine.Serial | shell | trunc 50}}`, `{{.Machine.Serial | shell | trimPrefix "'"}}`, `{{.Machine.Serial | shell | printf "%30s"}}`,
		`{{.Machine.Serial | shell | quote}}`, `{{index (split "q" (shell .Machine.Serial)) 0}}`, `{{.Machine.Serial | shell | xml}}`,
	} {
		got := render(t, boot.TemplatePreseed, "d-i a/b string "+text, tell(raw))
		if strings.ContainsAny(got, "$()`") || strings.ContainsAny(got, "'") {
			t.Errorf("%s prints %q", text, got)
		}
		if !strings.Contains(strings.ToLower(got), "id") && !strings.Contains(got, "join") {
			t.Errorf("%s prints nothing of it: %q", text, got)
		}
	}
	// What was escaped for the place stays so through what only puts together.
	for text, want := range map[string]string{
		`{{.Machine.Serial | shell}}`:                               "'$(id)`x`'",
		`{{printf "a %s/b" (.Machine.Serial | shell)}}`:             "a '$(id)`x`'/b",
		`{{join " " (list "a" (shell .Machine.Serial))}}`:           "a '$(id)`x`'",
		`{{.Machine.Serial | shell | indent 1}}`:                    " '$(id)`x`'",
		`{{printf "%s%s" (shell .Machine.Serial) .Machine.Serial}}`: "'$(id)`x`'__id__x_",
		`{{.Machine.Serial | preseed}}`:                             "$(id)`x`",
		`{{.Machine.Serial | b64}}`:                                 "JChpZClgeGA=",
		`{{.Machine.Serial | uri}}`:                                 "%24%28id%29%60x%60",
		`{{.Machine.Serial | cmdline}}`:                             "__id__x_",
		`{{shell .Vars.disk}}{{"$(ls)" | lower}}`:                   "'/dev/sda'$(ls)",
	} {
		if got := render(t, boot.TemplatePreseed, text, tell(raw)); got != want {
			t.Errorf("%s prints %q, want %q", text, got, want)
		}
	}
}

// nasty are texts that try to end what they are put into.
var nasty = []string{
	"", "x", "'", `"`, `\`, `\'`, `'\''`, "]]>", "]]", "]", ">", "-->", "&amp;", "</a>", "a\nb", "\ta", "$(id)", "`id`", "$x", "a b", "é€😀", "\u2028",
	"-n", "#x", ": ", "- ", "!!x", "&a", "*a", "%41", "{{.}}", "a\\\n", " x ", "true", "null", "1", "\u00a0", "\x7f", "\ufffe", "..", ".", "~", "\\u0041",
}

// TestEscapesAreExact: what is escaped is read back as it was by the reader it
// was escaped for. The values here are an operator's, which may hold anything.
func TestEscapesAreExact(t *testing.T) {
	for _, s := range nasty {
		var j string
		if err := json.Unmarshal([]byte(escapeJSON(s)), &j); err != nil || j != s {
			t.Errorf("json of %q: %s reads %q, %v", s, escapeJSON(s), j, err)
		}
		var y struct{ A, B string }
		if err := yaml.Unmarshal([]byte("a: "+escapeYAML(s)+"\nb: "+escapeJSON("x"+s)+"\n"), &y); err != nil || y.A != s || y.B != "x"+s {
			t.Errorf("yaml of %q: %s reads %q, %q, %v", s, escapeYAML(s), y.A, y.B, err)
		}
		clean := strings.Map(func(r rune) rune {
			if control(r) && r != '\n' && r != '\t' || r == 0xfffe {
				return '_'
			}
			return r
		}, s)
		var x struct {
			A string `xml:"a,attr"`
			B string `xml:"b"`
			C string `xml:"c"`
		}
		open := "]]"
		if s == "" {
			open = "" // the mark would be the template's own
		}
		doc := `<x a="` + escapeXML(s) + `"><b>` + escapeXML(s) + `</b><c><![CDATA[` + open + escapeCDATA(s) + `>]]></c></x>`
		err := xml.Unmarshal([]byte(doc), &x)
		if s == "\ufffe" { // no text of XML
			continue
		}
		if err != nil || x.A != clean || x.B != clean || x.C != open+clean+">" {
			t.Errorf("xml of %q: %s reads %q, %v", s, doc, x, err)
		}
	}
}

// TestShellIsExact asks a real shell.
func TestShellIsExact(t *testing.T) {
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("there is no sh")
	}
	var script, want strings.Builder
	for _, s := range nasty {
		script.WriteString("printf '%s\\n' " + escapeShell(s) + "\n")
		want.WriteString(s + "\n")
	}
	out, err := exec.CommandContext(t.Context(), sh, "-c", script.String()).Output()
	if err != nil || string(out) != want.String() {
		t.Errorf("%v: %q\nwant %q", err, out, want.String())
	}
}

func TestPreseedAndWords(t *testing.T) {
	for in, want := range map[string][2]string{
		"a\nd-i x y z": {"a d-i x y z", "a_d-i_x_y_z"},
		`a\`:           {"a_", "a_"},
		`a\\`:          {"a_", "a__"},
		"\ta b ":       {"a b", "_a_b_"},
		"/dev/sda":     {"/dev/sda", "/dev/sda"},
		"-x=y":         {"-x=y", "_x_y"},
		`"a" ${x}`:     {`"a" ${x}`, "_a____x_"},
		"%post":        {"%post", "_post"},
	} {
		if got := escapePreseed(in); got != want[0] {
			t.Errorf("preseed of %q: %q", in, got)
		}
		if got := escapeWord(in); got != want[1] {
			t.Errorf("cmdline of %q: %q", in, got)
		}
	}
}

// TestCmdline: a command line is one line, whatever variables hold.
func TestCmdline(t *testing.T) {
	tx, err := CompileText(boot.TemplateCmdline, "t", " a={{.Vars.a}} \n")
	if err != nil {
		t.Fatal(err)
	}
	d := tell("x")
	d.Vars = map[string]string{"a": "b"}
	if out, err := tx.Render(d, 0); err != nil || string(out) != "a=b" {
		t.Errorf("%q, %v", out, err)
	}
	d.Vars["a"] = "b\nc"
	if out, err := tx.Render(d, 0); err == nil {
		t.Errorf("%q", out)
	}
}

// TestLimits: templates that would run for ever, or fill the memory, end in
// ErrTooMuch, and soon.
func TestLimits(t *testing.T) {
	nest := func(n int, inner string) string {
		return strings.Repeat("{{range 1000}}", n) + inner + strings.Repeat("{{end}}", n)
	}
	double := `{{define "t00"}}x{{end}}`
	for i := range 40 {
		double += fmt.Sprintf(`{{define "t%02d"}}{{template "t%02d" .}}{{template "t%02d" .}}{{end}}`, i+1, i, i)
	}
	heavy := strings.Repeat("a", 60<<10)
	for name, text := range map[string]string{
		"empty loops":      nest(6, ""),
		"loops of text":    nest(2, strings.Repeat("x", 1000)),
		"loops of nodes":   nest(2, strings.Repeat("{{if false}}{{end}}", 10_000)),
		"loops of else":    nest(3, "{{if false}}{{else}}{{end}}"),
		"loops of and":     nest(2, "{{if and "+strings.Repeat("true ", 20_000)+"}}{{end}}"),
		"doubling calls":   double + `{{template "t40" .}}`,
		"calls in loops":   `{{define "a"}}` + nest(2, "") + `{{end}}` + nest(3, `{{template "a"}}`),
		"doubling value":   `{{$x := "aaaaaaaa"}}{{range 1000}}{{$x = printf "%s%s" $x $x}}{{end}}`,
		"doubling join":    `{{$x := "aaaaaaaa"}}{{range 1000}}{{$x = join $x (list 1 2 3 4)}}{{end}}`,
		"replace":          `{{$x := replace "a" "aaaaaaaaaa" "aaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}}{{range 1000}}{{$x = replace "a" $x $x}}{{end}}`,
		"heavy escaping":   `{{$x := "` + heavy + `"}}` + nest(2, "{{$y := json $x}}"),
		"heavy xml":        `{{$x := "` + strings.Repeat("<", 12<<10) + `"}}` + nest(2, "{{$y := xml $x}}"),
		"heavy lower":      `{{$x := "` + heavy + `"}}` + nest(2, "{{$y := lower $x}}"),
		"heavy comparing":  `{{$x := "` + heavy + `"}}` + nest(2, "{{if eq $x $x}}{{end}}{{if lt $x $x}}{{end}}{{if contains \"b\" $x}}{{end}}"),
		"heavy splitting":  `{{$x := "` + strings.Repeat("a,", 900) + `"}}` + nest(2, `{{$y := split "," $x}}`),
		"heavy formatting": nest(2, `{{$y := printf "`+strings.Repeat("%99d", 600)+`"`+strings.Repeat(" 1", 600)+`}}`),
		"heavy lists":      `{{$x := split "," "` + strings.Repeat("a,", 900) + `"}}` + nest(2, `{{$y := join "," $x}}{{if has $x "b"}}{{end}}`),
		"list of lists":    `{{$x := list 1}}` + nest(2, `{{$x = list $x $x $x}}`),
		"heavy hostname":   `{{$x := "` + heavy + `"}}` + nest(2, "{{$y := hostname $x}}"),
		"percent":          nest(2, `{{$y := printf "`+strings.Repeat("%%", 20_000)+`"}}`),
		"long parts":       nest(2, `{{$y := join $.Machine.Serial (split "," "`+strings.Repeat(",", 900)+`")}}`),
		"replace parts":    nest(2, `{{$y := replace "," $.Machine.Serial "`+strings.Repeat(",", 9000)+`"}}`),
		"indent":           `{{$x := "` + strings.Repeat(`\n`, 600) + `"}}` + nest(2, "{{$y := indent 100 $x}}"),
		"length of parts":  `{{$y := join $.Machine.Serial (split "," "` + strings.Repeat(",", 900) + `")}}` + nest(2, `{{if len $y}}{{end}}`),
		"test of parts":    `{{$y := replace "," $.Machine.Serial "` + strings.Repeat(",", 30_000) + `"}}` + nest(2, `{{if not $y}}{{end}}{{if default 1 $y}}{{end}}`),
	} {
		t.Run(name, func(t *testing.T) {
			tx, err := CompileText(boot.TemplatePlain, "t", text)
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			_, err = tx.Render(tell("x"), 0)
			took := time.Since(began)
			if !errors.Is(err, ErrTooMuch) && !strings.Contains(fmt.Sprint(err), "longer than") {
				t.Errorf("%v", err)
			}
			if took > 2*time.Second {
				t.Errorf("took %v", took)
			}
			t.Logf("%v: %v", took.Round(time.Millisecond), err)
		})
	}
}

func TestOutputLimit(t *testing.T) {
	tx, err := CompileText(boot.TemplatePlain, "t", "{{range 100}}0123456789{{end}}")
	if err != nil {
		t.Fatal(err)
	}
	if out, err := tx.Render(tell("x"), 1000); err != nil || len(out) != 1000 {
		t.Errorf("%d octets, %v", len(out), err)
	}
	if _, err := tx.Render(tell("x"), 999); !errors.Is(err, ErrTooMuch) {
		t.Errorf("%v", err)
	}
}

// TestConcurrent: one Text serves many machines at a time and mixes none up.
func TestConcurrent(t *testing.T) {
	tx, err := CompileText(boot.TemplatePlain, "t", `{{range 50}}{{$.Machine.Serial}}{{$.Vars.disk}}{{answer "a"}}{{end}}`)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	const n = 20
	for i := range n {
		go func() {
			serial := fmt.Sprint("S", i)
			d := tell(serial)
			d.Answer = func(string) string { return "u" + serial }
			out, err := tx.Render(d, 0)
			if err == nil && string(out) != strings.Repeat(serial+"/dev/sda"+"u"+serial, 50) {
				err = errors.New(string(out))
			}
			done <- err
		}()
	}
	for range n {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestCheckOutput(t *testing.T) {
	for _, c := range []struct {
		kind       boot.TemplateKind
		text, want string
	}{
		{boot.TemplateIgnition, `{"ignition": {"version": "3.4.0"}}`, ""},
		{boot.TemplateIgnition, "{\n \"a\": }", "line 2, column 7: JSON"},
		{boot.TemplateIgnition, `{"ignition": {"version": "3.4.0"}} x`, "line 1, column 36: JSON: more text"},
		{boot.TemplateIgnition, `{}`, "ignition.version: missing"},
		{boot.TemplateIgnition, `[]`, "JSON"},
		{boot.TemplateIgnition, ``, "JSON"},
		{boot.TemplateIgnition, `{"ignition": {"version": 3}}`, "JSON"},
		{boot.TemplateAutoinstall, "#cloud-config\nautoinstall:\n  version: 1\n", ""},
		{boot.TemplateAutoinstall, "## template: jinja\n#cloud-config\npackages: [a]\n", ""},
		{boot.TemplateAutoinstall, "autoinstall:\n", "line 1: want #cloud-config"},
		{boot.TemplateAutoinstall, "\n#cloud-config\n", "line 1: want #cloud-config"},
		{boot.TemplateAutoinstall, "#cloud-config\nautoinstall:\n  identity: x\n", "autoinstall.version: missing"},
		{boot.TemplateAutoinstall, "#cloud-config\nautoinstall: x\n", "autoinstall: want a mapping"},
		{boot.TemplateAutoinstall, "#cloud-config\na: b: c\n", "YAML"},
		{boot.TemplateAutoinstall, "#cloud-config\na: 1\na: 2\n", "there twice"},
		{boot.TemplateAutoinstall, "#cloud-config\n- a\n", "want a mapping"},
		{boot.TemplateAutoinstall, "#cloud-config\n", "nothing follows"},
		{boot.TemplateAutoinstall, "#cloud-config\na: 1\n---\nb: 1\n", "one document"},
		{boot.TemplateAutoYaST, `<profile xmlns="http://www.suse.com/1.0/yast2ns"/>`, ""},
		{boot.TemplateAutoYaST, `<profile xmlns="http://www.suse.com/1.0/yast2ns"><a></b></profile>`, "line 1, column"},
		{boot.TemplateAutoYaST, `<profile/>`, "want <profile xmlns="},
		{boot.TemplateAutoYaST, `<profile xmlns="http://www.suse.com/1.0/yast2ns"/><x/>`, "second outermost"},
		{boot.TemplateAutoYaST, `x<profile xmlns="http://www.suse.com/1.0/yast2ns"/>`, "text outside"},
		{boot.TemplateAutoYaST, `<profile xmlns="http://www.suse.com/1.0/yast2ns">`, "XML"},
		{boot.TemplateAutoYaST, `<profile xmlns="http://www.suse.com/1.0/yast2ns">&foo;</profile>`, "XML"},
		{boot.TemplateAutounattend, "", "there is no element"},
		{boot.TemplateAutounattend, `<unattend xmlns="urn:schemas-microsoft-com:unattend"></unattend>`, ""},
		{boot.TemplateAutounattend, `<Unattend xmlns="urn:schemas-microsoft-com:unattend"/>`, "want <unattend"},
		{boot.TemplatePreseed, "# x\n\nd-i a/b string\nd-i a/c boolean true\nd-i x/y string a \\\n b\ntasksel tasksel/first multiselect\nd-i a/b seen true\n", ""},
		{boot.TemplatePreseed, "d-i a/b string \\\n x\nd-i a", `line 3: want "owner question type value"`},
		{boot.TemplatePreseed, "d-i a/b strong x", `line 1: type "strong"`},
		{boot.TemplatePreseed, "d-i a/b boolean yes", "want true or false"},
		{boot.TemplateKickstart, "text\n%packages --x\n%end\n%post\nx\n%end\n%include /x\n", ""},
		{boot.TemplateKickstart, "%post\n", "line 1: %post has no %end"},
		{boot.TemplateKickstart, "%post\n%pre\n%end\n", "line 2: %pre begins within %post"},
		{boot.TemplateKickstart, "%end\n", "line 1: %end without a section"},
		{boot.TemplateKickstart, "%pots\n%end\n", "no such section"},
		{boot.TemplateCmdline, "a=b c", ""},
		{boot.TemplateCmdline, "a\nb", "column 2"},
		{boot.TemplateCmdline, "ä", "column 1"},
		{boot.TemplateCmdline, strings.Repeat("x", 2048), "kernels take 2047"},
		{boot.TemplateScript, "#!ipxe\n\techo x\r\n", ""},
		{boot.TemplateScript, "#!ipxe\necho \x00", "line 2, column 6"},
		{boot.TemplatePlain, "\x00", ""},
		{"x", "", "want one of"},
	} {
		err := CheckOutput(c.kind, []byte(c.text))
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %q: %v, want %q", c.kind, c.text, err, c.want)
		}
	}
}

// TestBlockScalar: where shell commands stand in YAML.
func TestBlockScalar(t *testing.T) {
	for text, want := range map[string]bool{
		"a: @":                              false,
		"a:\n  - @":                         false,
		"a: |\n  @":                         true,
		"a: >-\n  x\n\n  @":                 true,
		"a:\n  - |2+\n     if x\n       @":  true,
		"a: |\n  x\nb: @":                   false,
		"a: |\n{{if 1}}\n  @":               true,
		"a: |\n  x\n  {{- range 1}}\n    @": true,
		"a:\n  b: |\n    x\n  c: @":         false,
		"@":                                 false,
	} {
		if got := inBlockScalar(text, strings.Index(text, "@")); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestTryOut(t *testing.T) {
	tx, err := CompileText(boot.TemplateIgnition, "t", `{"ignition": {"version": "3.4.0"}, "x": {{.Vars.x}}}`)
	if err != nil {
		t.Fatal(err)
	}
	if err := tx.TryOut(nil); err != nil {
		t.Errorf("a number in place of a variable: %v", err)
	}
	if err := tx.TryOut(map[string]string{"x": "y z"}); err == nil || !strings.HasPrefix(err.Error(), "t: rendered for a sample machine: line 1, column") {
		t.Errorf("%v", err)
	}
}

func TestContentType(t *testing.T) {
	for _, kind := range boot.TemplateKinds() {
		if got := ContentType(kind); (got == "application/json") != (kind == boot.TemplateIgnition) || strings.Contains(got, "html") {
			t.Errorf("%s: %s", kind, got)
		}
	}
}

// FuzzTemplate: whatever an operator writes and a client sends, nothing panics,
// nothing goes on for long, no limit is passed, and no claim is printed raw
// unless an escaping function is called.
func FuzzTemplate(f *testing.F) {
	for kind, text := range realistic(f) {
		f.Add(string(kind), text, hostile)
	}
	f.Add("plain", `{{range $i, $x := .Machine.Told}}{{template "a" .}}{{end}}{{define "a"}}{{len .}}{{end}}`, "x")
	f.Add("plain", `{{printf "%-9q|%x" .Machine.Serial (lower .Machine.Serial)}}{{range 5}}{{.}}{{else}}{{end}}`, "`")
	f.Add("cmdline", `{{with $x := .Machine.Serial | default 1}}{{$x | quote | indent 3}}{{end}}`, "\n")
	for _, text := range []string{"{{.Vars.x | default (list 1 | len)}}", "{{index .Machine.MACs 0 | mac}}", "{{join \",\" .Machine.MACs}}{{break}}", "{{and 1 (or 0 .)}}", "{{.Machine.Serial.String}}"} {
		f.Add("plain", text, "$")
	}
	const mark = "\u00bbraw\u00ab" // no template may make this but from a claim
	f.Fuzz(func(t *testing.T, kind, text, claim string) {
		tx, err := CompileText(boot.TemplateKind(kind), "t", text)
		if err != nil {
			if _, ok := errors.AsType[*Error](err); !ok {
				t.Errorf("%v", err)
			}
			return
		}
		began := time.Now()
		out, err := tx.Render(tell(claim), 10_000)
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("took %v", took)
		}
		if len(out) > 10_000 {
			t.Errorf("%d octets", len(out))
		}
		if e, ok := errors.AsType[*Error](err); err != nil && (!ok || len(e.Error()) > 500) {
			t.Errorf("%v", err)
		}
		_ = tx.TryOut(nil)
		for _, escape := range []string{"shell", "json", "yaml", "xml", "cdata", "preseed"} {
			if strings.Contains(text, escape) {
				return
			}
		}
		if strings.Contains(text, mark) {
			return
		}
		out, err = tx.Render(tell(mark), 10_000)
		if bytes.Contains(out, []byte(mark)) || strings.Contains(fmt.Sprint(err), mark) {
			t.Errorf("raw: %q, %v", out, err)
		}
	})
}

// FuzzEscape: readers read back what was escaped, and nothing beside it.
func FuzzEscape(f *testing.F) {
	for _, s := range nasty {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c := string(NewClaim(s))
		var j string
		if err := json.Unmarshal([]byte(escapeJSON(c)), &j); err != nil || j != c {
			t.Errorf("json %q: %q, %v", c, j, err)
		}
		var y []string
		if err := yaml.Unmarshal([]byte("- "+escapeYAML(c)+"\n"), &y); err != nil || len(y) != 1 || y[0] != c {
			t.Errorf("yaml %q: %q, %v", c, y, err)
		}
		dec := xml.NewDecoder(strings.NewReader(`<a b="` + escapeXML(c) + `">` + escapeXML(c) + `<![CDATA[]` + escapeCDATA(c) + `>]]></a>`))
		var text strings.Builder
		elements := 0
		for {
			token, err := dec.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("xml %q: %v", c, err)
			}
			switch token := token.(type) {
			case xml.StartElement:
				elements++
				if len(token.Attr) != 1 || token.Attr[0].Value != c {
					t.Errorf("xml %q: %q", c, token.Attr)
				}
			case xml.CharData:
				text.Write(token)
			}
		}
		if elements != 1 || text.String() != c+"]"+c+">" {
			t.Errorf("xml %q: %d elements, %q", c, elements, text.String())
		}
		for _, out := range []string{escapePreseed(s), escapeWord(s), escapeURI(s), safeForm(s, true), safeForm(s, false)} {
			if strings.ContainsFunc(out, func(r rune) bool { return r < ' ' }) || strings.HasSuffix(out, `\`) {
				t.Errorf("%q becomes %q", s, out)
			}
		}
		if strings.ContainsAny(escapeWord(s)+safeForm(s, false), " \"'\\$`;&|<>(){}#=*?!\t\n") {
			t.Errorf("%q becomes %q", s, escapeWord(s))
		}
	})
}
