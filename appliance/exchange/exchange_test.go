package exchange

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

var equalAddr = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

// texts are strings that some reader of YAML gets wrong.
var texts = []string{
	"x", "debian-12", "Debian 12 (bookworm)", "quiet splash console=ttyS0,115200n8 --- fsck.mode=skip",
	"true", "No", "~", "null", "0042", "0x1f", "1e3", "12:30:45", "52:54:00:12:34:56", "2026-01-02", ".5", "-1", "+3", "1_000", "NaN", ".inf",
	" leading", "trailing ", "a: b", "a #b", "#c", "- d", "? e", "key:", "[f]", "{g: h}", "&i", "*j", "!k", "|", ">", "%l", "@m", "`n`", "'o'", `"p"`, `\q`, `it's "both" \ `,
	"Grüße, 世界 🚀", "nbsp\u00a0here", "\u2028separator", "\u0085nel", "\ufeffbom", "bell\a", "nul\x00", "\x7f", "tab\there", "cr\r", "crlf\r\n", "\ufffd", "\U0010ffff",
	"\n", "\n\n", "one\n", "one\ntwo", "one\ntwo\n", "one\ntwo\n\n\n", "\none\n", "\n\none\ntwo", " one\n two\n", "\tone\n\ttwo\n", "one\n\n\ntwo\n", "one\n  two\n",
	"one \ntwo\t\n", "one\n \ntwo\n", "\n \n", "   \none", "one\n   ", "one\n\t", "---\nfoo\n", "...\n...\n", "# comment\n# comment\n", "key: value\n- item\n", "{{ .Machine.Name }}\n{{- end }}\n", "%TAG\n%YAML\n",
	"#!ipxe\nkernel http://${next-server}/x initrd=y\nboot || shell\n", "d-i passwd/root-password password r00t\n", strings.Repeat("long ", 400), strings.Repeat("x", 3000),
	"<<", "=", "a,b", "[", "]", "}", "-", "--", ":", "::", "?", "a\\\nb", "a'b\n", "\"\n", "é\u0301", "\u200b", "\u202e", "a\u00ad",
}

// keys are for maps: shorter, but no less odd.
func mapKey(r *rand.Rand) string {
	s := texts[r.IntN(len(texts))]
	if len(s) > 200 {
		s = s[:200]
	}
	return s
}

// random fills a value with what it may hold, and with what nobody expects.
func random(r *rand.Rand, v reflect.Value) {
	switch v.Addr().Interface().(type) {
	case *time.Time:
		if r.IntN(2) == 0 {
			t := time.Unix(r.Int64N(1<<33), r.Int64N(1e9)).In(time.FixedZone("x", 3600*r.IntN(12)))
			v.Set(reflect.ValueOf(t))
		}
		return
	case *boot.MAC:
		v.SetString(string(boot.MACOf([]byte{0x52, 0x54, byte(r.IntN(256)), byte(r.IntN(256)), byte(r.IntN(100)), byte(r.IntN(100))})))
		return
	case *boot.GUID:
		if r.IntN(3) > 0 {
			for i := range v.Len() {
				v.Index(i).SetUint(r.Uint64N(256))
			}
		}
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		if r.IntN(2) == 0 {
			v.Set(reflect.New(v.Type().Elem()))
			random(r, v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).Name == "Seen" || r.IntN(3) == 0 {
				continue
			}
			random(r, v.Field(i))
		}
	case reflect.Slice:
		if r.IntN(4) == 0 {
			v.Set(reflect.MakeSlice(v.Type(), 0, 0)) // empty, not nil
			return
		}
		n := r.IntN(4)
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			random(r, v.Index(i))
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range r.IntN(4) {
			to := reflect.New(v.Type().Elem()).Elem()
			random(r, to)
			v.SetMapIndex(reflect.ValueOf(mapKey(r)), to)
		}
	case reflect.String:
		if r.IntN(2) == 0 {
			v.SetString(texts[r.IntN(len(texts))])
		}
	case reflect.Bool:
		v.SetBool(r.IntN(2) == 0)
	case reflect.Int:
		v.SetInt(r.Int64N(1<<40) - 1<<39)
	case reflect.Uint64:
		v.SetUint(r.Uint64())
	default:
		panic(v.Type().String())
	}
}

// randomDocument has n documents of each kind, named so that they differ.
func randomDocument(seed uint64, n int) Document {
	r := rand.New(rand.NewPCG(seed, 1))
	var d Document
	fill := func(list reflect.Value) {
		list.Set(reflect.MakeSlice(list.Type(), n, n))
		for i := range n {
			v := list.Index(i)
			random(r, v)
			name := v.FieldByName("ID")
			if !name.IsValid() {
				name = v.FieldByName("Name")
			}
			name.SetString(fmt.Sprintf("%s%d", mapKey(r), i))
		}
	}
	random(r, reflect.ValueOf(&d.Site).Elem())
	for _, list := range []any{&d.Targets, &d.Profiles, &d.Groups, &d.Rules, &d.Templates, &d.Machines} {
		fill(reflect.ValueOf(list).Elem())
	}
	return d
}

func export(t testing.TB, d Document) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Export(&b, d); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func parse(t testing.TB, data []byte) Document {
	t.Helper()
	d, err := Parse("test.yaml", data)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestRoundTrip writes and reads documents with everything in them that could
// go wrong, a thousand machines among them.
func TestRoundTrip(t *testing.T) {
	for seed := range uint64(30) {
		n := 20
		if seed == 0 {
			n = 1000
		}
		d := randomDocument(seed, n)
		want := Normal(d)
		data := export(t, d)
		got, err := Parse("test.yaml", data)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if diff := cmp.Diff(want, got, equalAddr); diff != "" {
			t.Fatalf("seed %d: %s", seed, diff)
		}
		if again := export(t, got); !bytes.Equal(data, again) {
			t.Fatalf("seed %d: a second export differs", seed)
		}
		if diff := Diff(d, got); diff != nil {
			t.Fatalf("seed %d: %v", seed, diff[0])
		}
	}
}

// Each text by itself, at every place where a text can stand.
func TestTexts(t *testing.T) {
	for _, s := range texts {
		d := Document{
			Site:      boot.Site{Title: s, Allow: []string{s, "x", s}, Variables: map[string]string{"k": s, "\x00" + s[:min(len(s), 100)]: "v"}},
			Templates: []boot.Template{{Name: "a", Notes: s, Text: s}, {Name: "b", Text: s}, {Name: "c", Text: s}},
			Rules:     []boot.SelectRule{{Name: "r", Match: boot.Match{Variables: map[string][]string{"k": {s, strings.Repeat("y", 70)}}}}},
			Targets:   []boot.Target{{Name: "w", Initrds: []string{s, s, s}, Wim: &boot.Wim{Files: map[string]string{"f": s}}}},
		}
		got, err := Parse("test.yaml", export(t, d))
		if err != nil {
			t.Errorf("%q: %v\n%s", s, err, export(t, d))
			continue
		}
		if diff := cmp.Diff(Normal(d), got, equalAddr); diff != "" {
			t.Errorf("%q: %s", s, diff)
		}
	}
}

// sample is a document as a person has it.
func sample() Document {
	return Document{
		Site: boot.Site{
			Rev: 7, Unknown: boot.UnknownAsk, Default: "rescue", Deny: []string{"52:54:00", "00:11:22:33"},
			AllowUntil: time.Date(2026, 5, 1, 18, 0, 0, 0, time.FixedZone("CEST", 7200)),
			Variables:  map[string]string{"domain": "example.org", "ntp": "192.0.2.1"},
		},
		Targets: []boot.Target{
			{Name: "disk", Kind: boot.TargetSAN, SAN: &boot.SAN{
				Protocol: boot.SANiSCSI, Host: "192.0.2.5", IQN: "iqn.2026-01.org.example:{{ .Machine.Name }}", User: "box", Password: "s3cret",
			}},
			{
				Name: "debian", Rev: 3, Title: "Debian 12", Kind: boot.TargetLinux, Destructive: true,
				Needs: boot.Needs{Memory: 1024, Platforms: []boot.Platform{boot.PlatformBIOS, boot.PlatformUEFI}},
				Tree:  "debian-12", Kernel: "linux", Initrds: []string{"initrd.gz"}, Cmdline: "auto=true priority=critical --- quiet",
			},
			{Name: "menu", Kind: boot.TargetMenu, Menu: &boot.Menu{Seconds: 20, Entries: []boot.MenuEntry{
				{Gap: "Installers"}, {Profile: "install", Key: "i", Locked: true},
			}}},
		},
		Profiles: []boot.Profile{{
			Name: "install", Target: "debian", Answers: map[string]string{"preseed.cfg": "preseed"},
			Visible: boot.Match{Vendor: []string{"LENOVO*"}, Variables: map[string][]string{"user-class": {"iPXE"}}},
		}},
		Groups: []boot.Group{{Name: "web", Profile: "install"}},
		Rules: []boot.SelectRule{
			{Name: "b", Order: 1, Match: boot.Match{MAC: []string{"52:54:00"}}, Profile: "install"},
			{Name: "a", Order: 20, Profile: "install", Off: true},
		},
		Templates: []boot.Template{{
			Name: "preseed", Kind: boot.TemplatePreseed, Text: "d-i debian-installer/locale string en_US\n\n# disk\nd-i partman-auto/method string lvm\n",
		}},
		Machines: []boot.Machine{
			{ID: "m7", MACs: []boot.NIC{{MAC: "52:54:00:12:34:57", First: time.Unix(1, 0)}}},
			{
				ID: "m1", Rev: 4, Name: "web01", Notes: "second shelf", Tags: []string{"lab", "rack-3"}, Groups: []string{"web"}, Access: boot.AccessAllow,
				Variables:  map[string]string{"disk": "/dev/sda"},
				Assignment: &boot.Assignment{Profile: "install", Mode: boot.AssignArmed, Boots: 2, Code: "1234", State: boot.AssignWaiting},
				GUID:       boot.GUID{0x4c, 0x4c, 0x45, 0x44, 0, 0x37, 0x52, 0x10, 0x80, 0x4c, 0xb4, 0xc0, 0x4f, 0x4e, 0x43, 0x32},
				Serial:     "0042", MACs: []boot.NIC{{MAC: "52:54:00:12:34:56"}, {MAC: "52:54:00:aa:bb:cc", Given: true, Shared: true}},
				Boots: 12, Last: time.Unix(1, 0), Seen: boot.Sighting{Serial: "0042", Memory: 2048},
			},
		},
	}
}

// TestSample compares the file with one that was read by a person.
func TestSample(t *testing.T) {
	data := export(t, sample())
	want, err := os.ReadFile("testdata/sample.yaml")
	if os.Getenv("UPDATE") != "" {
		want, err = data, os.WriteFile("testdata/sample.yaml", data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(data)); diff != "" {
		t.Error(diff)
	}
	// Any other reader of YAML sees the same texts.
	var other struct {
		Machines []struct {
			Serial string
			MACs   []any `yaml:"macs"`
		}
		Targets []struct{ SAN map[string]any }
	}
	if err := yaml.Unmarshal(data, &other); err != nil {
		t.Fatal(err)
	}
	if m := other.Machines[0]; m.Serial != "0042" || m.MACs[0] != "52:54:00:12:34:56" {
		t.Errorf("%+v", m)
	}
}

// Nothing is silently left out of a file: every field of every type is either
// written, or named among those that are not.
func TestEveryField(t *testing.T) {
	for typ, names := range leftOut {
		for _, name := range names {
			if !slices.ContainsFunc(fields[typ], func(f field) bool { return f.name == name && f.left }) {
				t.Errorf("%s has no field %s", typ, name)
			}
		}
	}
	for typ := range fields {
		for i := range typ.NumField() {
			f := typ.Field(i)
			if f.IsExported() && f.Tag.Get("json") == "" {
				t.Errorf("%s.%s has no name in files", typ, f.Name)
			}
		}
	}
	for _, typ := range []reflect.Type{reflect.TypeFor[boot.Target](), reflect.TypeFor[boot.NIC](), reflect.TypeFor[boot.SAN](), reflect.TypeFor[boot.Match](), reflect.TypeFor[boot.MenuEntry]()} {
		if len(fields[typ]) == 0 {
			t.Errorf("%s is not known", typ)
		}
	}
}

// An assignment that has been begun is not in a file: importing it would arm a
// machine for what it has had already.
func TestAssignmentsThatRan(t *testing.T) {
	for _, c := range []struct {
		a    boot.Assignment
		kept bool
	}{
		{boot.Assignment{Profile: "p", Mode: boot.AssignAlways}, true},
		{boot.Assignment{Profile: "p", Mode: boot.AssignAlways, State: boot.AssignRunning, Used: 5}, true},
		{boot.Assignment{Profile: "p", Mode: boot.AssignOnce, State: boot.AssignWaiting}, true},
		{boot.Assignment{Profile: "p", Mode: boot.AssignOnce}, true},
		{boot.Assignment{Profile: "p", Mode: boot.AssignOnce, State: boot.AssignDone}, false},
		{boot.Assignment{Profile: "p", Mode: boot.AssignArmed, State: boot.AssignWaiting}, true},
		{boot.Assignment{Profile: "p", Mode: boot.AssignArmed, State: boot.AssignWaiting, Used: 1}, false},
		{boot.Assignment{Profile: "p", Mode: boot.AssignArmed, State: boot.AssignRunning}, false},
		{boot.Assignment{Profile: "p", Mode: boot.AssignArmed, State: boot.AssignDisarmed}, false},
		{boot.Assignment{Profile: "p", Mode: boot.AssignArmed, State: boot.AssignStopped}, false},
	} {
		d := Document{Machines: []boot.Machine{{ID: "m", Assignment: &c.a}}}
		got := parse(t, export(t, d)).Machines[0].Assignment
		if (got != nil) != c.kept {
			t.Errorf("%+v: kept %v", c.a, got != nil)
		}
		if got != nil && *got != (boot.Assignment{Profile: "p", Mode: c.a.Mode}) {
			t.Errorf("%+v became %+v", c.a, *got)
		}
	}
}

func TestExportErrors(t *testing.T) {
	big := Document{}
	for range 5000 {
		big.Machines = append(big.Machines, boot.Machine{ID: "m", Notes: strings.Repeat("x", 4000)})
	}
	many := Document{Site: boot.Site{Allow: make([]string, maxMarks)}}
	for name, d := range map[string]Document{
		"may have 16777216": big,
		"list items":        many,
		"year 12000":        {Site: boot.Site{AllowUntil: time.Date(12000, 1, 1, 0, 0, 0, 0, time.UTC)}},
		"is too long":       {Site: boot.Site{Variables: map[string]string{strings.Repeat("k", 2000): ""}}},
	} {
		var b bytes.Buffer
		if err := Export(&b, d); err == nil || !strings.Contains(err.Error(), name) || b.Len() > 0 {
			t.Errorf("%v, want %q; %d octets written", err, name, b.Len())
		}
	}
	if err := Export(failing{}, Document{}); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("%v", err)
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

func BenchmarkExport(b *testing.B) {
	d := machines(10000)
	n := len(export(b, d))
	b.SetBytes(int64(n))
	b.ReportAllocs()
	for b.Loop() {
		export(b, d)
	}
}

func BenchmarkParse(b *testing.B) {
	data := export(b, machines(10000))
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		parse(b, data)
	}
}

func BenchmarkDiff(b *testing.B) {
	x, y := machines(10000), machines(10000)
	y.Machines[5000].Notes = "changed"
	for b.Loop() {
		if len(Diff(x, y)) != 1 {
			b.Fatal("not one difference")
		}
	}
}

// machines is a site of so many machines as they usually are.
func machines(n int) Document {
	d := sample()
	d.Machines = nil
	for i := range n {
		d.Machines = append(d.Machines, boot.Machine{
			ID: boot.MachineID(fmt.Sprintf("m%05d", i)), Name: fmt.Sprintf("host%05d", i), Tags: []string{"lab"}, Groups: []string{"web"},
			GUID: boot.GUID{1, byte(i), byte(i >> 8)}, Serial: fmt.Sprintf("CZC%07d", i),
			MACs:       []boot.NIC{{MAC: boot.MACOf([]byte{0x52, 0x54, 0, byte(i >> 16), byte(i >> 8), byte(i)})}},
			Variables:  map[string]string{"disk": "/dev/nvme0n1"},
			Assignment: &boot.Assignment{Profile: "install", Mode: boot.AssignAlways},
		})
	}
	return d
}
