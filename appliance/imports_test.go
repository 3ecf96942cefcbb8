package appliance

import (
	"go/build"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/bootpuck/bootpuck/"

// allowed says which of our own packages a room may import. Imports run
// downward: boot knows nobody, the protocol rooms know boot and not each other,
// only appliance sees everything. A room that is not named here fails the test:
// whoever adds one says where it stands.
var allowed = map[string][]string{
	"appliance/boot":       {},
	"appliance/proxydhcp":  {"appliance/boot"},
	"appliance/tftp":       {"appliance/boot"},
	"appliance/ipxe":       {"appliance/boot"},
	"appliance/bootweb":    {"appliance/boot"},
	"appliance/lan":        {"appliance/boot"},
	"appliance/journal":    {"appliance/boot"},
	"appliance/doctor":     {"appliance/boot"},
	"appliance/quirks":     {"appliance/boot"},
	"appliance/capture":    {"appliance/boot"},
	"appliance/syslog":     {"appliance/boot"},
	"appliance/monitoring": {},
	"appliance/webui":      {"appliance/boot", "appliance/health"},
	"appliance/store":      {"appliance/boot"},
	"appliance/exchange":   {"appliance/boot"},
	"appliance/answer":     {"appliance/boot"},
	"appliance/media":      {"appliance/boot"},
	"appliance/registry":   {"appliance/boot", "appliance/store", "appliance/exchange", "appliance/answer"},
	"appliance/health":     {"appliance/boot"},
	"appliance/settings":   {"appliance/boot"},
	"appliance/logging":    {"appliance/boot"},
	"appliance/metrics":    {"appliance/boot", "appliance/health"},
	"appliance/admin":      {"appliance/boot", "appliance/health", "appliance/journal"},
	"appliance/pxesim":     {}, // a client must not know the server it tests
	"bootfiles":            {},
	"ipxe-build":           {"bootfiles"},
	"cmd/bootpuck":         {"appliance", "appliance/settings"},
	"cmd/bootpuckctl":      {"appliance/pxesim"},
	"appliance":            {"*"},
	"appliance/bench":      {"*"},
	"appliance/mutate":     {},
	"appliance/system":     {"appliance/boot", "appliance/system/..."},
	"appliance/image":      {"appliance/image/...", "appliance/system/..."},
	"appliance/e2e":        {"appliance/e2e/...", "appliance/image/...", "appliance/system/...", "appliance/pxesim", "bootfiles"},
}

func TestImports(t *testing.T) {
	root := ".."
	seen := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !d.IsDir() {
			return nil
		}
		name := d.Name()
		if path != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "dist") {
			return fs.SkipDir
		}
		if m, _ := filepath.Glob(filepath.Join(path, "go.mod")); len(m) > 0 && path != root {
			return fs.SkipDir // a module of its own
		}
		for _, tags := range [][]string{nil, {"gokrazy"}} {
			ctx := build.Default
			ctx.BuildTags = tags
			pkg, err := ctx.ImportDir(path, 0)
			if err != nil {
				continue // no Go files here for this build
			}
			room := filepath.ToSlash(strings.TrimPrefix(path, root+"/"))
			seen++
			check(t, room, pkg.Imports)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen < 10 {
		t.Fatalf("only %d packages found: the test looks in the wrong place", seen)
	}
}

func check(t *testing.T, room string, imports []string) {
	t.Helper()
	rules, ok := rulesFor(room)
	if !ok {
		t.Errorf("%s: a new room; say in allowed what it may import", room)
		return
	}
	for _, i := range imports {
		ours, ok := strings.CutPrefix(i, module)
		if !ok {
			if room == "appliance/boot" && strings.Contains(strings.Split(i, "/")[0], ".") {
				t.Errorf("boot imports %s: it may use the standard library only", i)
			}
			continue
		}
		if !permits(rules, ours) {
			t.Errorf("%s imports %s; it may import %v", room, ours, rules)
		}
	}
}

// rulesFor finds the rules of a room; rooms within rooms have those of the
// outer one.
func rulesFor(room string) ([]string, bool) {
	for r := room; r != "." && r != ""; r = filepath.ToSlash(filepath.Dir(r)) {
		if r == "appliance" && room != r {
			break // everything lies below it; it vouches for nobody
		}
		if rules, ok := allowed[r]; ok {
			return rules, true
		}
	}
	return nil, false
}

func permits(rules []string, pkg string) bool {
	return slices.ContainsFunc(rules, func(r string) bool {
		if r == "*" || r == pkg {
			return true
		}
		tree, ok := strings.CutSuffix(r, "/...")
		return ok && (pkg == tree || strings.HasPrefix(pkg, tree+"/"))
	})
}

// TestImportRulesBite: the checker itself must be able to fail.
func TestImportRulesBite(t *testing.T) {
	for _, c := range []struct {
		room, pkg string
		want      bool
	}{
		{"appliance/tftp", "appliance/boot", true},
		{"appliance/tftp", "appliance/proxydhcp", false},
		{"appliance/boot", "appliance/journal", false},
		{"appliance/pxesim", "appliance/boot", false},
		{"appliance/e2e/site", "appliance/e2e/lab", true},
		{"appliance", "appliance/tftp", true},
	} {
		rules, ok := rulesFor(c.room)
		if !ok || permits(rules, c.pkg) != c.want {
			t.Errorf("%s importing %s: %v, want %v", c.room, c.pkg, !c.want, c.want)
		}
	}
	if _, ok := rulesFor("appliance/brandnew"); ok {
		t.Error("an unnamed room has rules")
	}
}
