package e2e

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bootpuck/bootpuck/appliance/e2e/lab"
	"github.com/bootpuck/bootpuck/appliance/pxesim"
)

// fault is a row of the table: something that is wrong for real, and what the box
// is to say about it. A row with a healthy machine wants one verdict and no other.
type fault struct {
	name string // of the machine
	how  string // how it is provoked, one sentence
	want string // the main verdict
	sure string // its confidence
	fix  []string
	text []string // words of the verdict's sentence
	// second is a further verdict that must be there; without it, one that is
	// allowed beside the main one is not checked unless healthy is set.
	second  string
	healthy bool
	rescued bool // the ladder must bring it to its script, and the attempt names the shapes

	profile string                  // of pxesim
	change  func(p *pxesim.Profile) // of it
	puppet  lab.PuppetConfig
	power   lab.Power
	target  string // profile that it is assigned
	// act is what happens; nil: it is switched on once.
	act func(ctx context.Context, p *play) error
	// nth is the attempt that is judged, from the latest: 0, 1 …
	nth int
	// admin replaces the box's own address, which may have changed meanwhile.
	admin string
}

// play is a fault that is being played.
type play struct {
	*fault
	site *lab.Site
	box  *lab.Process
	m    *lab.Puppet
	out  lab.Outcome
}

// on switches the machine on.
func (p *play) on(ctx context.Context) error {
	var err error
	p.out, err = p.m.On(ctx, p.fault.power)
	return err
}

// scene is a site with its rows, all at the same time.
type scene struct {
	name     string
	dhcp     lab.DHCPConfig
	relay    bool
	rival    bool
	settings map[string]any
	files    string // the box's files directory; empty: vmFiles
	// Parts of the exchange file beside the catalogue's.
	targets, doc, machines string
	rows                   []fault
	// ready is called when the box serves, before the rows.
	ready func(ctx context.Context, t *testing.T, s *lab.Site, box *lab.Process) error
}

// told is a verdict as the API shows it.
type told struct {
	Name       string `json:"name"`
	Confidence string `json:"confidence"`
	Severity   string `json:"severity"`
	Stage      string `json:"stage"`
	Text       string `json:"text"`
	Fix        string `json:"fix"`
	Evidence   []struct {
		Text string `json:"text"`
	} `json:"evidence"`
}

// tried is an attempt as the API shows it.
type tried struct {
	ID       string            `json:"id"`
	MAC      string            `json:"mac"`
	State    string            `json:"state"`
	At       string            `json:"at"`
	Shapes   []json.RawMessage `json:"shapes"`
	Verdicts []told            `json:"verdicts"`
	Events   []json.RawMessage `json:"events"`
}

func (a tried) main() told {
	if len(a.Verdicts) == 0 {
		return told{}
	}
	return a.Verdicts[0]
}

// outcome is a row that was played.
type outcome struct {
	scene string
	fault fault
	got   tried
	// shapes are those of all its attempts.
	shapes map[string]bool
	err    error
	trace  []string
}

// ask fetches a document of the box's API.
func ask(ctx context.Context, s *lab.Site, address string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	resp, err := s.HTTPClient().Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %s", address, resp.Status, body)
	}
	if text, ok := into.(*string); ok {
		*text = string(body)
		return nil
	}
	return json.Unmarshal(body, into)
}

// attempts are a machine's, newest first.
func attempts(ctx context.Context, s *lab.Site, admin, mac string) ([]tried, error) {
	var list struct {
		Items []tried `json:"items"`
	}
	err := ask(ctx, s, admin+"/api/v1/attempts?limit=50&mac="+url.QueryEscape(mac), &list)
	return list.Items, err
}

// settled waits until the machine's nth attempt from the latest is over.
func settled(ctx context.Context, s *lab.Site, admin, mac string, nth int) (tried, error) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var last tried
	var lastErr error
	for {
		list, err := attempts(ctx, s, admin, mac)
		if err != nil {
			lastErr = err
		}
		if nth < len(list) {
			if last = list[nth]; last.State != "running" && len(last.Verdicts) > 0 {
				whole := last
				if err := ask(ctx, s, admin+"/api/v1/attempts/"+last.ID, &whole); err != nil {
					return last, err
				}
				return whole, nil
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return last, fmt.Errorf("no conclusion about %s (%d attempts, state %q): %w", mac, len(list), last.State, errors.Join(context.Cause(ctx), lastErr))
		}
	}
}

// Bounds of the scenes: how many sites are open, and how long one may take.
const (
	sceneWidth = 10
	sceneLimit = 9 * time.Minute
	rowLimit   = 7 * time.Minute
	// powerGap is between two machines of a site that are switched on: a box of
	// two cores that all of them ask at the same moment is not what is tested.
	powerGap = 150 * time.Millisecond
)

// vmFiles makes the files that machines boot here: nothing runs them, so their
// sizes are what matters.
var vmFiles = sync.OnceValues(func() (string, error) {
	dir := filepath.Join(buildDir, "files", "puppets")
	rng := rand.NewChaCha8([32]byte{1})
	for name, size := range map[string]int{
		"vm/linux": 400 << 10, "vm/initrd": 900 << 10, "vm/big": 24 << 20, "vm/loader": 300 << 10,
		// What a Raspberry Pi asks for.
		"bootcode.bin": 52 << 10, "config.txt": 80, "start4.elf": 2200 << 10, "fixup4.dat": 5 << 10,
		"start.elf": 2900 << 10, "fixup.dat": 7 << 10, "cmdline.txt": 60, "kernel8.img": 3 << 20,
	} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return "", err
		}
		data := make([]byte, size)
		_, _ = rng.Read(data)
		if err := os.WriteFile(file, data, 0o644); err != nil {
			return "", err
		}
	}
	return dir, nil
})

// catalogue is what machines of the scenes can be assigned.
const catalogue = `version: 1
site:
  unknown: allow
targets:
  - name: tiny
    kind: linux
    kernel: files/vm/linux
    initrds: [files/vm/initrd]
    cmdline: started={{callback "started"}} failed={{callback "failed"}} done={{callback "done"}}
  - name: missing
    kind: linux
    kernel: files/vm/none
  - name: away
    kind: linux
    kernel: http://10.77.0.99/linux
  - name: big
    kind: linux
    kernel: files/vm/linux
    initrds: [files/vm/big]
  - name: hungry
    kind: linux
    kernel: files/vm/linux
    needs:
      memory: 64000
  - name: wipe
    kind: linux
    destructive: true
    kernel: files/vm/linux
    initrds: [files/vm/initrd]
    cmdline: started={{callback "started"}} failed={{callback "failed"}} done={{callback "done"}}
  - name: disk
    kind: local
  - name: pxelinux
    kind: pxelinux
    script: |
      DEFAULT tiny
      LABEL tiny
        KERNEL {{.Box.Base}}/files/vm/linux
        INITRD {{.Box.Base}}/files/vm/initrd
profiles:
  - {name: tiny, target: tiny}
  - {name: missing, target: missing}
  - {name: away, target: away}
  - {name: big, target: big}
  - {name: hungry, target: hungry}
  - {name: wipe, target: wipe}
  - {name: disk, target: disk}
  - {name: pxelinux, target: pxelinux}
`

// document is the scene's exchange file.
func (sc *scene) document() string {
	text := strings.Replace(catalogue, "profiles:\n", sc.targets+"profiles:\n"+sc.doc, 1) + "machines:\n" + sc.machines
	for _, f := range sc.rows {
		text += "  - name: " + f.name + "\n    uuid: " + lab.UUIDFor(f.name) + "\n    macs:\n      - mac: " + f.mac() + "\n        given: true\n"
		if f.target != "" {
			text += "    assignment:\n      profile: " + f.target + "\n      mode: always\n"
		}
	}
	return text
}

func (f *fault) mac() string {
	if f.puppet.MAC != nil {
		return f.puppet.MAC.String()
	}
	return lab.PuppetMAC(f.name).String()
}

// ctl runs bootpuckctl beside a box, where it may do everything. The error is an
// *exec.ExitError for a status other than zero.
func ctl(ctx context.Context, s *lab.Site, ns *lab.Namespace, args ...string) (string, error) {
	program, err := ctlBinary()
	if err != nil {
		return "", err
	}
	p, err := s.Run(ns, "ctl-"+strconv.FormatUint(rand.Uint64(), 36), append([]string{program}, args...)...)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	err = p.Wait(ctx)
	return p.Out.String(), err
}

// open builds the scene's site and starts its box.
func (sc *scene) open(ctx context.Context, t *testing.T) (*lab.Site, *lab.Process, error) {
	files, err := vmFiles()
	if err != nil {
		return nil, nil, err
	}
	if sc.files != "" {
		files = sc.files
	}
	program, err := boxBinary()
	if err != nil {
		return nil, nil, err
	}
	config := lab.SiteConfig{DHCP: sc.dhcp, Relay: sc.relay, KeepDir: filepath.Join(buildDir, "logs", "verdicts-"+sc.name)}
	if sc.rival {
		boot, err := lab.FindBootFiles(distDir)
		if err != nil {
			return nil, nil, err
		}
		payload, err := payloadDir(lab.Installer, lab.RivalAddr, "")
		if err != nil {
			return nil, nil, err
		}
		config.Rival = &lab.Baseline{Files: boot, Payload: payload}
	}
	s, err := lab.Open(ctx, config)
	if err != nil {
		return nil, nil, err
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("clean up %s: %v", sc.name, err)
		}
	})
	set := map[string]any{"rules": sc.rules()}
	maps.Copy(set, sc.settings)
	box := &lab.Process{Binary: program, Files: files, Settings: set}
	if err := box.Start(ctx, s); err != nil {
		return nil, nil, err
	}
	file := filepath.Join(s.Dir(), "site.yaml")
	if err := os.WriteFile(file, []byte(sc.document()), 0o644); err != nil {
		return nil, nil, err
	}
	if out, err := ctl(ctx, s, s.Box(), "import", file); err != nil {
		return nil, nil, fmt.Errorf("import: %w\n%s", err, out)
	}
	if sc.ready != nil {
		if err := sc.ready(ctx, t, s, box); err != nil {
			return nil, nil, err
		}
	}
	return s, box, nil
}

// rules are those of the settings that the rows need.
func (sc *scene) rules() []map[string]any {
	out := []map[string]any{}
	for _, f := range sc.rows {
		if r, ok := rowRules[f.name]; ok {
			r = maps.Clone(r)
			r["mac"] = f.mac()
			out = append(out, r)
		}
	}
	return out
}

// run plays all rows of the scene.
func (sc *scene) run(t *testing.T, report func(outcome)) {
	ctx, cancel := context.WithTimeout(t.Context(), sceneLimit)
	defer cancel()
	s, box, err := sc.open(ctx, t)
	if err != nil {
		t.Fatalf("scene %s: %v", sc.name, err)
	}
	var wg sync.WaitGroup
	gap := time.NewTicker(powerGap)
	defer gap.Stop()
	for _, f := range sc.rows {
		if only := os.Getenv("BOOTPUCK_ROW"); only != "" && !slices.Contains(strings.Split(only, ","), f.name) {
			continue
		}
		<-gap.C
		wg.Go(func() { report(sc.play(ctx, s, box, f)) })
	}
	wg.Wait()
}

// play is one row from power-on to the box's conclusion.
func (sc *scene) play(ctx context.Context, s *lab.Site, box *lab.Process, f fault) outcome {
	ctx, cancel := context.WithTimeout(ctx, rowLimit)
	defer cancel()
	o := outcome{scene: sc.name, fault: f}
	c := f.puppet
	c.Name = f.name
	if f.power.Profile, o.err = pxesim.Lookup(f.profile); o.err != nil {
		return o
	}
	if f.change != nil {
		f.change(&f.power.Profile)
	}
	p := &play{fault: &f, site: s, box: box}
	if p.m, o.err = s.NewPuppet(c); o.err != nil {
		return o
	}
	act := f.act
	if act == nil {
		act = func(ctx context.Context, p *play) error { return p.on(ctx) }
	}
	o.err = act(ctx, p)
	o.trace = p.m.Trace()
	if o.err != nil {
		return o
	}
	if f.rescued && !p.out.Script {
		o.err = errors.New("the machine never got to its script")
	}
	var err error
	admin := cmp.Or(f.admin, box.Admin())
	o.got, err = settled(ctx, s, admin, f.mac(), f.nth)
	o.err = errors.Join(o.err, err)
	list, err := attempts(ctx, s, admin, f.mac())
	o.err = errors.Join(o.err, err)
	o.shapes = map[string]bool{}
	for _, a := range list {
		for _, shape := range a.Shapes {
			o.shapes[string(shape)] = true
		}
	}
	return o
}

// check says what of the row is not as it should be.
func (o outcome) check() []string {
	var bad []string
	miss := func(format string, args ...any) { bad = append(bad, fmt.Sprintf(format, args...)) }
	if o.err != nil {
		miss("%v", o.err)
		return bad
	}
	f, v := o.fault, o.got.main()
	if v.Name != f.want || f.sure != "" && v.Confidence != f.sure {
		miss("verdict %s (%s), want %s (%s)", v.Name, v.Confidence, f.want, f.sure)
	}
	if f.healthy && len(o.got.Verdicts) != 1 {
		miss("%d verdicts on a healthy boot", len(o.got.Verdicts))
	}
	if f.second != "" && !slices.ContainsFunc(o.got.Verdicts, func(v told) bool { return v.Name == f.second }) {
		miss("no second verdict %s", f.second)
	}
	for _, w := range f.fix {
		if !strings.Contains(strings.ToLower(v.Fix), strings.ToLower(w)) {
			miss("the fix does not say %q: %s", w, v.Fix)
		}
	}
	for _, w := range f.text {
		if !strings.Contains(strings.ToLower(v.Text), strings.ToLower(w)) {
			miss("the verdict does not say %q: %s", w, v.Text)
		}
	}
	if f.rescued && len(o.shapes) < 2 {
		miss("its attempts name the shapes of offer %v, though another than the first was needed", slices.Collect(maps.Keys(o.shapes)))
	}
	return bad
}

// keep writes what is known of a row that failed.
func (o outcome) keep() error {
	dir := filepath.Join(buildDir, "failed")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	text, err := json.MarshalIndent(o.got, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "verdict-"+o.scene+"-"+o.fault.name+".txt"),
		[]byte(strings.Join(o.trace, "\n")+"\n\n"+string(text)+"\n"), 0o644)
}

// TestVerdicts provokes every fault that the doctor can name and looks at what the
// box says: the verdict, how sure it is, and the fix. On healthy boots it must say
// nothing else than that they are.
func TestVerdicts(t *testing.T) {
	need(t)
	t.Parallel() // beside TestTwins: both wait most of the time
	var mu sync.Mutex
	var all []outcome
	report := func(o outcome) {
		mu.Lock()
		defer mu.Unlock()
		all = append(all, o)
		v := o.got.main()
		t.Logf("%s/%s: %s (%s) %v", o.scene, o.fault.name, v.Name, v.Confidence, o.err)
	}
	// Not t.Parallel: its width follows the number of cores, and these rows wait.
	var wg sync.WaitGroup
	slots := make(chan struct{}, sceneWidth)
	for _, sc := range scenes() {
		if only := os.Getenv("BOOTPUCK_SCENE"); only != "" && !slices.Contains(strings.Split(only, ","), sc.name) {
			continue
		}
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			t.Run(sc.name, func(t *testing.T) { sc.run(t, report) })
		})
	}
	wg.Wait()
	slices.SortStableFunc(all, func(a, b outcome) int { return strings.Compare(a.key(), b.key()) })
	for _, o := range all {
		t.Run(o.scene+"/"+o.fault.name, func(t *testing.T) {
			if bad := o.check(); len(bad) > 0 {
				t.Errorf("%s\n%s\nsaid: %s", o.fault.how, strings.Join(bad, "\n"), o.said())
				if err := o.keep(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	verdictRows.add(all)
	if err := verdictRows.write(); err != nil {
		t.Error(err)
	}
}

// key orders rows: faults by their verdict, healthy ones last.
func (o outcome) key() string {
	if o.fault.healthy {
		return "~" + o.scene + o.fault.name
	}
	return o.fault.want + " " + o.scene + o.fault.name
}

func (o outcome) said() string {
	var parts []string
	for _, v := range o.got.Verdicts {
		parts = append(parts, fmt.Sprintf("%s (%s): %s | %s", v.Name, v.Confidence, v.Text, v.Fix))
	}
	return strings.Join(parts, "\n      ")
}

// verdictTable collects the rows of all tests.
type verdictTable struct {
	mu   sync.Mutex
	rows []outcome
}

var verdictRows verdictTable

func (v *verdictTable) add(rows []outcome) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.rows = append(v.rows, rows...)
}

// write makes the table of what was provoked and what was said.
func (v *verdictTable) write() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	var b strings.Builder
	b.WriteString("| verdict | how provoked | reported (verdict, confidence) | fix |\n|---|---|---|---|\n")
	healthy, wrong := 0, 0
	cell := func(s string) string { return strings.ReplaceAll(strings.ReplaceAll(s, "|", "\\|"), "\n", " ") }
	for _, o := range v.rows {
		got := make([]string, 0, len(o.got.Verdicts))
		for _, g := range o.got.Verdicts {
			got = append(got, g.Name+", "+g.Confidence)
		}
		if o.fault.healthy {
			healthy++
			if len(o.check()) > 0 {
				wrong++
			}
		}
		mark := ""
		if len(o.check()) > 0 {
			mark = " **(not as expected)**"
		}
		fmt.Fprintf(&b, "| %s | %s | %s%s: %s | %s |\n", o.fault.want, cell(o.fault.how), strings.Join(got, "; "), mark, cell(o.got.main().Text), cell(o.got.main().Fix))
	}
	fmt.Fprintf(&b, "\nfalse verdicts on %d healthy runs: %d\n", healthy, wrong)
	if err := os.MkdirAll(buildDir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(buildDir, "verdicts.md"), []byte(b.String()), 0o644)
}
