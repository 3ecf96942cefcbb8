package appliance

import (
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/bootpuck/bootpuck/appliance/boot"
	"github.com/bootpuck/bootpuck/appliance/settings"
)

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestDocsAreComplete: what a person can set, read or be told is in the manual.
func TestDocsAreComplete(t *testing.T) {
	manual, readme := read(t, "docs/manual.md"), read(t, "../README.md")
	doc := settings.Defaults()
	flags := flag.NewFlagSet("", flag.ContinueOnError)
	settings.Flags(flags, &doc)
	flags.VisitAll(func(f *flag.Flag) {
		if !strings.Contains(readme, "`-"+f.Name) || !strings.Contains(manual, "`"+f.Name+"`") {
			t.Errorf("flag %s is not in README and manual", f.Name)
		}
	})
	for _, v := range []any{settings.Document{}, settings.Relays{}, settings.Rule{}} {
		for f := range reflect.TypeOf(v).Fields() {
			if key := f.Tag.Get("json"); !strings.Contains(manual, "`"+key+"`") && !strings.Contains(manual, `"`+key+`"`) {
				t.Errorf("settings key %s is not in the manual", key)
			}
		}
	}
	for _, k := range boot.Kinds() {
		if !strings.Contains(manual, "`"+string(k)+"`") {
			t.Errorf("event kind %s is not in the manual", k)
		}
	}
	monitoring := read(t, "docs/monitoring.md")
	names := regexp.MustCompile(`= "(bootpuck_\w+)"`).FindAllStringSubmatch(read(t, "metrics/names.go")+read(t, "metrics/metrics.go"), -1)
	if len(names) < 40 {
		t.Errorf("only %d metrics found: the test looks in the wrong place", len(names))
	}
	for _, m := range names {
		if !strings.Contains(manual, "`"+m[1]) && !strings.Contains(monitoring, "`"+m[1]) {
			t.Errorf("metric %s is not in the manual", m[1])
		}
	}
	for _, m := range regexp.MustCompile(`"GET (/[\w./]*\w)`).FindAllStringSubmatch(read(t, "admin/admin.go"), -1) {
		if !strings.Contains(manual, "`"+m[1]+"`") {
			t.Errorf("route %s is not in the manual", m[1])
		}
	}
	for _, m := range regexp.MustCompile(`Reason\w+\s+Reason = "([\w-]+)"`).FindAllStringSubmatch(read(t, "boot/reason.go"), -1) {
		if want := "| `" + m[1] + "` | " + boot.Reason(m[1]).Text() + " |"; !strings.Contains(manual, want) {
			t.Errorf("the manual lacks the line %s", want)
		}
	}
}

// TestDocsLinksLead: every relative link in the documentation has a target.
func TestDocsLinksLead(t *testing.T) {
	pages, err := filepath.Glob("docs/*.md")
	if err != nil || len(pages) < 3 {
		t.Fatalf("%v %v", pages, err)
	}
	for _, page := range append(pages, "../README.md", "image/README.md", "../ipxe-build/README.md") {
		for _, m := range regexp.MustCompile(`\]\(([^)#:]+)\)`).FindAllStringSubmatch(read(t, page), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), m[1])); err != nil {
				t.Errorf("%s: link to %s leads nowhere", page, m[1])
			}
		}
	}
}
