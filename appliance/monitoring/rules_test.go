package monitoring

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.yaml.in/yaml/v4"

	"github.com/bootpuck/bootpuck/appliance/boot"
	"github.com/bootpuck/bootpuck/appliance/health"
	"github.com/bootpuck/bootpuck/appliance/metrics"
)

// tool finds a program of Debian's package prometheus.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	if os.Getenv("BOOTPUCK_E2E") == "1" {
		t.Fatalf("%s is not installed (Debian package prometheus)", name)
	}
	t.Skipf("%s is not installed (Debian package prometheus)", name)
	return ""
}

type rule struct {
	Alert, Record, Expr, For string
	Labels, Annotations      map[string]string
}

type ruleFile struct {
	Groups []struct {
		Name  string
		Rules []rule
	}
}

func rulesOf(t *testing.T, name string) []rule {
	t.Helper()
	var f ruleFile
	data, err := files.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(data, &f); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	var all []rule
	for _, g := range f.Groups {
		all = append(all, g.Rules...)
	}
	if len(all) < 10 {
		t.Fatalf("%s: only %d rules", name, len(all))
	}
	return all
}

type panel struct {
	ID                       int
	Type, Title, Description string
	GridPos                  struct{ H, W, X, Y int }
	Targets                  []struct{ Expr, LegendFormat string }
	FieldConfig              struct {
		Defaults struct {
			Unit     string
			Decimals *int
			Min, Max *float64
			Custom   struct {
				DrawStyle string
				Stacking  struct{ Mode string }
			}
			Thresholds struct {
				Steps []struct {
					Color string
					Value *float64
				}
			}
		}
	}
}

type board struct {
	UID, Title string
	Panels     []panel
	Templating struct{ List []struct{ Name, Type string } }
}

func theBoard(t *testing.T) board {
	t.Helper()
	var b board
	data, err := files.ReadFile("dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &b); err != nil {
		t.Fatal(err)
	}
	return b
}

// TestPromtool lets the reference tool check the rules and run their tests.
func TestPromtool(t *testing.T) {
	t.Parallel()
	promtool := tool(t, "promtool")
	rules, err := filepath.Glob("rules/*.yml")
	if err != nil || len(rules) != 2 {
		t.Fatal(rules, err)
	}
	tests, err := filepath.Glob("tests/*.yml")
	if err != nil || len(tests) < 4 {
		t.Fatal(tests, err)
	}
	for _, args := range [][]string{
		append([]string{"check", "rules", "--lint=all", "--lint-fatal"}, rules...),
		append([]string{"test", "rules"}, tests...),
		{"check", "config", "--syntax-only", "prometheus.example.yml"},
	} {
		if out, err := exec.CommandContext(t.Context(), promtool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// TestRulesTestsBite: the tests of the rules notice an alert that never fires, and
// in the long run also one that always does and one that does not wait.
func TestRulesTestsBite(t *testing.T) {
	t.Parallel()
	promtool := tool(t, "promtool")
	tests, err := filepath.Glob("tests/*.yml")
	if err != nil {
		t.Fatal(err)
	}
	for name, damage := range map[string]func(r *rule){
		"never": func(r *rule) { r.Expr = "(" + r.Expr + ") and on () vector(1) > 2" },
		"always": func(r *rule) {
			r.Expr = "(" + r.Expr + `) or (bootpuck_box_info * on (job, instance) group_left () vector(1)) or bootpuck_box_info`
			r.For = "0m"
		},
		"at once": func(r *rule) { r.For = "0m" },
	} {
		if name != "never" && os.Getenv("BOOTPUCK_E2E") != "1" {
			continue // a quarter of a minute each
		}
		dir := t.TempDir()
		for _, d := range []string{"rules", "tests"} {
			if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		copyFile(t, "rules/recording.yml", filepath.Join(dir, "rules/recording.yml"))
		var group []map[string]any
		for _, r := range rulesOf(t, "rules/alerts.yml") {
			if name == "at once" && r.For == "" {
				continue
			}
			damage(&r)
			if r.For == "" {
				r.For = "0m"
			}
			group = append(group, map[string]any{"alert": r.Alert, "expr": r.Expr, "for": r.For, "labels": r.Labels, "annotations": r.Annotations})
		}
		data, err := yaml.Marshal(map[string]any{"groups": []any{map[string]any{"name": "damaged", "rules": group}}})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "rules/alerts.yml"), data, 0o644); err != nil {
			t.Fatal(err)
		}
		noticed := map[string]bool{}
		for _, file := range tests {
			to := filepath.Join(dir, file)
			copyFile(t, file, to)
			out, _ := exec.CommandContext(t.Context(), promtool, "test", "rules", to).CombinedOutput()
			for _, a := range group {
				if regexp.MustCompile(`alertname: ?` + a["alert"].(string) + `,`).Match(out) {
					noticed[a["alert"].(string)] = true
				}
			}
		}
		for _, a := range group {
			if alert := a["alert"].(string); !noticed[alert] {
				t.Errorf("%s that fires %s is not noticed", alert, name)
			}
		}
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, data, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestAlerts: every alert has a severity, a sentence, a page and a test in which it
// is quiet, fires, and is quiet again.
func TestAlerts(t *testing.T) {
	t.Parallel()
	tests, err := filepath.Glob("tests/*.yml")
	if err != nil {
		t.Fatal(err)
	}
	fires := map[string][]bool{}
	for _, file := range tests {
		var f struct {
			Tests []struct {
				Rules []struct {
					Name   string `yaml:"alertname"`
					Alerts []any  `yaml:"exp_alerts"`
				} `yaml:"alert_rule_test"`
			}
		}
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.Unmarshal(data, &f); err != nil {
			t.Fatal(err)
		}
		for _, test := range f.Tests {
			for _, r := range test.Rules {
				fires[r.Name] = append(fires[r.Name], len(r.Alerts) > 0)
			}
		}
	}
	manual, err := os.ReadFile("../docs/monitoring.md")
	if err != nil {
		t.Fatal(err)
	}
	pages := map[string]bool{}
	for _, name := range names() {
		if title, ok := strings.CutPrefix(name, "runbooks/"); ok {
			pages[strings.TrimSuffix(title, ".md")] = true
		}
	}
	for _, r := range rulesOf(t, "rules/alerts.yml") {
		if !slices.Equal(fires[r.Alert], []bool{false, true, false}) {
			t.Errorf("%s: its test should see it quiet, firing, quiet: %v", r.Alert, fires[r.Alert])
		}
		if !slices.Contains([]string{"critical", "warning", "info"}, r.Labels["severity"]) {
			t.Errorf("%s: severity %q", r.Alert, r.Labels["severity"])
		}
		if r.Annotations["runbook_url"] != "http://{{ $labels.instance }}"+Prefix+"runbooks/"+r.Alert {
			t.Errorf("%s: page %q", r.Alert, r.Annotations["runbook_url"])
		}
		for _, a := range []string{"summary", "description"} {
			if !strings.HasSuffix(r.Annotations[a], ".") {
				t.Errorf("%s: its %s is no sentence: %q", r.Alert, a, r.Annotations[a])
			}
		}
		if !pages[r.Alert] {
			t.Errorf("%s has no page", r.Alert)
		}
		delete(pages, r.Alert)
		if !strings.Contains(string(manual), "| `"+r.Alert+"` | "+r.Labels["severity"]+" |") {
			t.Errorf("docs/monitoring.md lacks the line of %s", r.Alert)
		}
	}
	for p := range pages {
		t.Errorf("the page %s belongs to no alert", p)
	}
}

// TestPages: every page says what the alert means, where to look and what to do;
// the commands that it names exist.
func TestPages(t *testing.T) {
	t.Parallel()
	sources, err := filepath.Glob("../../cmd/bootpuckctl/*.go")
	if err != nil || len(sources) == 0 {
		t.Fatal(sources, err)
	}
	var commands strings.Builder
	for _, s := range sources {
		data, err := os.ReadFile(s)
		if err != nil {
			t.Fatal(err)
		}
		commands.Write(data)
	}
	for _, name := range names() {
		if !strings.HasPrefix(name, "runbooks/") {
			continue
		}
		data, err := files.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		text := string(data)
		for _, h := range []string{"\n## What it means\n\n", "\n## Where to look\n\n- ", "\n## What to do\n\n- "} {
			if !strings.Contains(text, h) {
				t.Errorf("%s lacks %q", name, strings.TrimSpace(h))
			}
		}
		for _, m := range regexp.MustCompile("`bootpuckctl\\s+(\\w+)(?:\\s+(\\w+))?").FindAllStringSubmatch(text, -1) {
			one, two := `name: "`+m[1]+`",`, `name: "`+m[1]+" "+m[2]+`",`
			if !strings.Contains(commands.String(), one) && !strings.Contains(commands.String(), two) {
				t.Errorf("%s: there is no command %s", name, m[0])
			}
		}
		for _, m := range regexp.MustCompile("Panels? \"([^\"]+)\"").FindAllStringSubmatch(strings.ReplaceAll(text, "\n  ", " "), -1) {
			if !slices.ContainsFunc(theBoard(t).Panels, func(p panel) bool { return p.Title == m[1] }) {
				t.Errorf("%s: there is no panel %q", name, m[1])
			}
		}
	}
}

// everything is the text form of a box that tells everything it can.
func everything(t *testing.T) string {
	t.Helper()
	one := func() int { return 1 }
	none := func() uint64 { return 0 }
	m := metrics.New(prometheus.NewPedanticRegistry(), metrics.Sources{
		Version: "v0", Site: "berlin", Box: "puck1", Rivals: one, Clients: one, Machines: one, Waiting: one, Active: one, Armed: one,
		LogDropped: none, AttemptsDropped: none, Forward: none,
		Health: func() health.Report {
			return health.Report{Name: "box", Children: []health.Report{{Name: "site"}, {Name: "clock"}}}
		},
		Findings:  func() []boot.Verdict { return nil },
		LAN:       func() boot.LAN { return boot.LAN{Ports: []boot.LANPort{{Name: "eth0", Up: true, Speed: 1000}}} },
		StoreSize: func() (int64, bool) { return 1, true }, StateDisk: func() (uint64, uint64, bool) { return 1, 1, true },
		ClockSet: func() bool { return true }, Heat: func() (float64, bool) { return 1, true },
		Throttled: func() (map[metrics.Throttle]bool, bool) { return nil, true },
		Capture:   func() (uint64, uint64, uint64) { return 0, 0, 0 }, Syslog: func() (uint64, uint64) { return 0, 0 },
	})
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	return w.Body.String()
}

// expressions are all expressions of rules and board, by where they stand.
func expressions(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, file := range []string{"rules/recording.yml", "rules/alerts.yml"} {
		for _, r := range rulesOf(t, file) {
			all[r.Alert+r.Record] = r.Expr
		}
	}
	for _, p := range theBoard(t).Panels {
		for i, q := range p.Targets {
			all[fmt.Sprintf("panel %s, query %d", p.Title, i+1)] = q.Expr
		}
	}
	if len(all) < 100 {
		t.Fatalf("only %d expressions", len(all))
	}
	return all
}

var (
	selector = regexp.MustCompile(`\b((?:bootpuck_|process_|box:|site:)[\w:]+)(?:\{([^}]*)\})?`)
	matcher  = regexp.MustCompile(`(\w+)(=~|!~|!=|=)"([^"]*)"`)
)

// TestNamesExist: every metric that rules and board name is one that the box
// exports or a rule records, with label values that it can have.
func TestNamesExist(t *testing.T) {
	t.Parallel()
	series := strings.Split(everything(t), "\n")
	recorded := map[string]bool{}
	for _, r := range rulesOf(t, "rules/recording.yml") {
		recorded[r.Record] = true
	}
	used := map[string]bool{}
	for where, expr := range expressions(t) {
		for _, m := range selector.FindAllStringSubmatch(expr, -1) {
			used[m[1]] = true
			if recorded[m[1]] {
				continue
			}
			if !slices.ContainsFunc(series, func(line string) bool { return matches(line, m[1], m[2]) }) {
				t.Errorf("%s: no series of a box matches %s", where, m[0])
			}
		}
	}
	for name := range recorded {
		if !used[name] {
			t.Errorf("%s is recorded for nobody", name)
		}
	}
	// What is counted is also shown.
	for _, name := range metrics.Names() {
		if !slices.ContainsFunc([]string{"", "_bucket", "_count", "_sum"}, func(s string) bool { return used[name+s] }) && name != metrics.NameCapturePackets && name != metrics.NameSyslogDropped {
			t.Errorf("%s is on no panel and in no rule", name)
		}
	}
}

// matches says whether a line of the text form is a series of that name which the
// matchers let through. Labels of box_info come by joining and are left out.
func matches(line, name, matchers string) bool {
	rest, ok := strings.CutPrefix(line, name)
	if !ok || rest == "" || rest[0] != '{' && rest[0] != ' ' {
		return false
	}
	for _, m := range matcher.FindAllStringSubmatch(matchers, -1) {
		if strings.HasPrefix(m[3], "$") {
			continue
		}
		value := ""
		if v := regexp.MustCompile(`[{,]` + m[1] + `="([^"]*)"`).FindStringSubmatch(rest); v != nil {
			value = v[1]
		}
		equal := value == m[3]
		if strings.HasSuffix(m[2], "~") {
			equal = regexp.MustCompile(`^(?:` + m[3] + `)$`).MatchString(value)
		}
		if equal == strings.HasPrefix(m[2], "!") {
			return false
		}
	}
	return true
}

// TestAlternativesExist: of a matcher like a|b, both exist.
func TestAlternativesExist(t *testing.T) {
	t.Parallel()
	series := strings.Split(everything(t), "\n")
	for where, expr := range expressions(t) {
		for _, m := range selector.FindAllStringSubmatch(expr, -1) {
			if !strings.HasPrefix(m[1], "bootpuck_") {
				continue
			}
			for _, l := range matcher.FindAllStringSubmatch(m[2], -1) {
				for _, v := range strings.Split(l[3], "|") {
					if strings.HasPrefix(v, "$") || v == "" {
						continue
					}
					if !slices.ContainsFunc(series, func(line string) bool { return matches(line, m[1], l[1]+`="`+v+`"`) }) {
						t.Errorf("%s: %s has no %s %q", where, m[1], l[1], v)
					}
				}
			}
		}
	}
}

// TestBoard: panels have their own place, name and purpose, and every expression
// goes by the variables.
func TestBoard(t *testing.T) {
	t.Parallel()
	b := theBoard(t)
	var variables []string
	for _, v := range b.Templating.List {
		variables = append(variables, v.Name)
	}
	if !slices.Equal(variables, []string{"datasource", "site", "box"}) {
		t.Errorf("variables %v", variables)
	}
	rows := []string{}
	ids, titles, cells := map[int]bool{}, map[string]bool{}, map[[2]int]string{}
	for _, p := range b.Panels {
		if ids[p.ID] || titles[p.Title] {
			t.Errorf("panel %d %q is there twice", p.ID, p.Title)
		}
		ids[p.ID], titles[p.Title] = true, true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := cells[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("panel %q lies over %q or outside", p.Title, other)
				}
				cells[[2]int{x, y}] = p.Title
			}
		}
		if p.Type == "row" {
			rows = append(rows, p.Title)
			continue
		}
		if len(p.Targets) == 0 || p.FieldConfig.Defaults.Unit == "" {
			t.Errorf("panel %q shows nothing, or in no unit", p.Title)
		}
		for _, q := range p.Targets {
			if !strings.Contains(q.Expr, `site=~"$site"`) && !strings.Contains(q.Expr, "ALERTS") {
				t.Errorf("panel %q does not go by the site", p.Title)
			}
		}
	}
	if want := []string{"Fleet", "Box", "Funnel", "Outcomes and verdicts", "Slowest stages", "Other servers and the LAN", "Storage and gaps"}; !slices.Equal(rows, want) {
		t.Errorf("rows %q", rows)
	}
}

// TestMetricsAreDescribed: the manual's page has every metric.
func TestMetricsAreDescribed(t *testing.T) {
	t.Parallel()
	manual, err := os.ReadFile("../docs/monitoring.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range metrics.Names() {
		if !strings.Contains(string(manual), "`"+name) {
			t.Errorf("%s is not described", name)
		}
	}
	for _, r := range rulesOf(t, "rules/recording.yml") {
		if !strings.Contains(string(manual), "`"+r.Record) {
			t.Errorf("%s is not described", r.Record)
		}
	}
}
