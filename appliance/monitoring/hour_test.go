package monitoring

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// hourFactor says how many times faster than in life the scripted hour goes. The
// durations of the rules are divided by it, and a scrape comes once per minute of
// the script: with 30 every two seconds, which a busy machine keeps up with.
// BOOTPUCK_HOUR_FACTOR=1 takes the time that it takes.
func hourFactor(t *testing.T) float64 {
	t.Helper()
	text := cmp.Or(os.Getenv("BOOTPUCK_HOUR_FACTOR"), "30")
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || f < 1 || f > 60 {
		t.Fatalf("BOOTPUCK_HOUR_FACTOR is %q: want a number from 1 to 60", text)
	}
	return f
}

// duration matches what Prometheus takes for one, outside of names and numbers:
// in brackets, and after "for:".
var duration = regexp.MustCompile(`(\[|for: )(\d+)([smhd])\b`)

// compress divides every duration in an expression or a rule file.
func compress(text string, factor float64) string {
	units := map[string]float64{"s": 1, "m": 60, "h": 3600, "d": 86400}
	return duration.ReplaceAllStringFunc(text, func(m string) string {
		p := duration.FindStringSubmatch(m)
		n, err := strconv.ParseFloat(p[2], 64)
		if err != nil {
			return m
		}
		return fmt.Sprintf("%s%.0fms", p[1], n*units[p[3]]*1000/factor)
	})
}

func TestCompress(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"for: 5m":                         "for: 5000ms",
		"rate(x_5m[1h]) > 5":              "rate(x_5m[60000ms]) > 5",
		"delta(a[6h]) * 24 and b:p99_1h":  "delta(a[360000ms]) * 24 and b:p99_1h",
		"last_over_time(a{b=\"1d\"}[7d])": "last_over_time(a{b=\"1d\"}[10080000ms])",
	} {
		if got := compress(in, 60); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}

// server is a Prometheus that the test started.
type server struct{ base string }

// startPrometheus runs one with the given targets and rules until the test ends.
func startPrometheus(t *testing.T, program string, factor float64, targets []string, rules, features string) *server {
	t.Helper()
	dir := t.TempDir()
	scrape := time.Duration(float64(time.Minute) / factor)
	var config strings.Builder
	fmt.Fprintf(&config, "global:\n  scrape_interval: %dms\n  scrape_timeout: %dms\n  evaluation_interval: %dms\n",
		scrape.Milliseconds(), min(scrape, 10*time.Second).Milliseconds(), scrape.Milliseconds())
	if rules != "" {
		config.WriteString("rule_files: [rules/*.yml]\n")
		if err := os.Mkdir(filepath.Join(dir, "rules"), 0o755); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"recording.yml", "alerts.yml"} {
			data, err := files.ReadFile("rules/" + name)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "rules", name), []byte(compress(string(data), factor)), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	config.WriteString("scrape_configs:\n  - job_name: bootpuck\n    static_configs:\n      - targets: [" + strings.Join(targets, ", ") + "]\n")
	if err := os.WriteFile(filepath.Join(dir, "prometheus.yml"), []byte(config.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "--config.file="+filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+addr, "--enable-feature="+features, "--log.level=warn")
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		_ = log.Close()
		if t.Failed() {
			if data, err := os.ReadFile(log.Name()); err == nil {
				t.Logf("log of Prometheus:\n%s", data[max(0, len(data)-4000):])
			}
		}
	})
	s := &server{base: "http://" + addr}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		if r, err := s.request(ctx, "/-/ready", nil); err == nil {
			_ = r.Body.Close()
			return s
		}
		select {
		case <-ctx.Done():
			t.Fatal("Prometheus does not start")
		case <-tick.C:
		}
	}
}

func (s *server) request(ctx context.Context, path string, args url.Values) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.base+path+"?"+args.Encode(), nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(r)
	if err == nil && resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 500))
		_ = resp.Body.Close()
		return nil, fmt.Errorf("status %d: %s", resp.StatusCode, text)
	}
	return resp, err
}

// api asks the HTTP API and decodes the data of the answer.
func (s *server) api(t *testing.T, path string, args url.Values, data any) {
	t.Helper()
	resp, err := s.request(t.Context(), "/api/v1/"+path, args)
	if err != nil {
		t.Fatalf("%s %s: %v", path, args.Get("query"), err)
	}
	defer resp.Body.Close()
	answer := struct {
		Data any `json:"data"`
	}{data}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// point is a value at a time.
type point struct {
	at    time.Time
	value float64
}

// UnmarshalJSON reads Prometheus' pair of seconds and text.
func (p *point) UnmarshalJSON(data []byte) error {
	var seconds float64
	var text string
	if err := json.Unmarshal(data, &[]any{&seconds, &text}); err != nil {
		return err
	}
	v, err := strconv.ParseFloat(text, 64)
	p.at, p.value = time.UnixMilli(int64(math.Round(seconds*1000))), v
	return err
}

// series is one line of an answer.
type series struct {
	Metric map[string]string
	Values []point
	Value  *point
}

// span asks for the values from start to end; at for those at end alone.
func (s *server) span(t *testing.T, query string, start, end time.Time, step time.Duration) []series {
	t.Helper()
	var data struct{ Result []series }
	s.api(t, "query_range", url.Values{
		"query": {query}, "start": {stamp(start)}, "end": {stamp(end)}, "step": {strconv.FormatFloat(step.Seconds(), 'f', 3, 64)},
	}, &data)
	return data.Result
}

func (s *server) at(t *testing.T, query string, at time.Time) []series {
	t.Helper()
	var data struct {
		Result []struct {
			Metric map[string]string
			Value  json.RawMessage
		}
	}
	s.api(t, "query", url.Values{"query": {query}, "time": {stamp(at)}}, &data)
	var out []series
	for _, r := range data.Result {
		one := series{Metric: r.Metric}
		if len(r.Value) > 0 {
			one.Value = new(point)
			if err := json.Unmarshal(r.Value, one.Value); err != nil {
				t.Fatal(err)
			}
			one.Values = []point{*one.Value}
		}
		out = append(out, one)
	}
	return out
}

// await asks until there is an answer: a new Prometheus takes some seconds until it
// scrapes.
func (s *server) await(t *testing.T, query string) {
	t.Helper()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); <-tick.C {
		if len(s.at(t, query, time.Now())) > 0 {
			return
		}
	}
	t.Fatalf("%s does not come true", query)
}

func stamp(t time.Time) string { return strconv.FormatFloat(float64(t.UnixMilli())/1000, 'f', 3, 64) }

// TestHour plays an hour and a half at two sites to a real Prometheus with our
// rules: alerts fire and resolve when they should and no others do, every query of
// the board has an answer, and every panel is drawn.
func TestHour(t *testing.T) {
	program := tool(t, "prometheus")
	switch {
	case testing.Short():
		t.Skip("the scripted hour takes three minutes")
	case raceEnabled:
		t.Skip("the same hour runs without the race detector, which slows its clock down")
	}
	factor := hourFactor(t)
	minute := time.Duration(float64(time.Minute) / factor)
	boxes := theBoxes()
	var targets []string
	for _, b := range boxes {
		s := httptest.NewServer(b)
		t.Cleanup(s.Close)
		targets = append(targets, strings.TrimPrefix(s.URL, "http://"))
	}
	p := startPrometheus(t, program, factor, targets, "rules", "exemplar-storage")
	modern := startPrometheus(t, program, factor, targets[:1], "", "exemplar-storage,native-histograms")

	p.await(t, fmt.Sprintf("count(up == 1) == %d", len(boxes)))
	begin := time.Now()
	for now := range scriptMinutes {
		for _, b := range boxes {
			b.play(now)
		}
		// By the clock and not by ticks: a busy machine may be late once, but not
		// more and more.
		<-time.After(time.Until(begin.Add(time.Duration(now+1) * minute)))
	}
	end := time.Now()
	checkRules(t, p)
	checkAlerts(t, p, begin, end, minute)
	checkExemplars(t, p, begin, end)
	query := compress(`histogram_quantile(0.5, sum(rate(bootpuck_attempt_duration_seconds{state="booted"}[10m])))`, factor)
	if got := modern.at(t, query, end); len(got) != 1 || got[0].Value == nil || !(got[0].Value.value > 5 && got[0].Value.value < 120) {
		t.Errorf("native histograms: half of the boots took %v", got)
	}
	drawBoard(t, p, begin, end, minute)
}

// checkRules: every rule was carried out without an error.
func checkRules(t *testing.T, p *server) {
	t.Helper()
	var data struct {
		Groups []struct {
			Rules []struct{ Name, Health, LastError string }
		}
	}
	p.api(t, "rules", nil, &data)
	n := 0
	for _, g := range data.Groups {
		for _, r := range g.Rules {
			n++
			if r.Health != "ok" {
				t.Errorf("rule %s: %s %s", r.Name, r.Health, r.LastError)
			}
		}
	}
	if n < 40 {
		t.Errorf("Prometheus knows %d rules", n)
	}
}

// checkAlerts compares what fired with what the script says.
func checkAlerts(t *testing.T, p *server, begin, end time.Time, minute time.Duration) {
	t.Helper()
	type fired struct {
		alert, box  string
		first, last float64 // minutes of the script
	}
	var got []fired
	for _, s := range p.span(t, `max by (alertname, site, box) (ALERTS{alertstate="firing"})`, begin, end, minute/2) {
		f := fired{alert: s.Metric["alertname"], box: s.Metric["site"] + " " + s.Metric["box"]}
		f.first = s.Values[0].at.Sub(begin).Minutes() * float64(time.Minute) / float64(minute)
		f.last = s.Values[len(s.Values)-1].at.Sub(begin).Minutes() * float64(time.Minute) / float64(minute)
		got = append(got, f)
	}
	slices.SortFunc(got, func(a, b fired) int { return cmp.Compare(a.first, b.first) })
	t.Logf("%-26s %-16s %8s %8s  (minutes of the script)", "alert", "box", "fires", "resolves")
	for _, g := range got {
		t.Logf("%-26s %-16s %8.1f %8.1f", g.alert, g.box, g.first, g.last)
	}
	for _, w := range expected {
		i := slices.IndexFunc(got, func(g fired) bool { return g.alert == w.alert && g.box == w.box })
		if i < 0 {
			t.Errorf("%s did not fire at %s", w.alert, w.box)
			continue
		}
		// A scrape, an evaluation and a busy machine may each add some.
		const late = 5
		if g := got[i]; g.first < w.fires-1 || g.first > w.fires+late || g.last < w.resolves-2 || g.last > w.resolves+late {
			t.Errorf("%s at %s fired from %.1f to %.1f, want %g to %g", w.alert, w.box, g.first, g.last, w.fires, w.resolves)
		}
		got = slices.Delete(got, i, i+1)
	}
	for _, g := range got {
		t.Errorf("%s fired at %s, and nothing was wrong", g.alert, g.box)
	}
}

// checkExemplars: Prometheus kept the names of boots beside the figures.
func checkExemplars(t *testing.T, p *server, begin, end time.Time) {
	t.Helper()
	for _, name := range []string{"bootpuck_attempts_total", "bootpuck_attempt_duration_seconds_bucket", "bootpuck_attempt_verdicts_total"} {
		var data []struct {
			Exemplars []struct{ Labels map[string]string }
		}
		p.api(t, "query_exemplars", url.Values{"query": {name}, "start": {stamp(begin)}, "end": {stamp(end)}}, &data)
		n := 0
		for _, s := range data {
			for _, e := range s.Exemplars {
				if len(e.Labels["attempt"]) == 16 {
					n++
				}
			}
		}
		if n < 10 {
			t.Errorf("%s: %d exemplars", name, n)
		}
	}
}
