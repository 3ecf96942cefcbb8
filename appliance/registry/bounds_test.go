package registry

import (
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// TestMachinesAreBounded: strangers make room for strangers, never anybody
// else, and cannot make records without end.
func TestMachinesAreBounded(t *testing.T) {
	const limit = 20
	f := newFixture(t, func(c *Config) { c.MaxMachines = limit })
	f.catalog()
	var named []boot.MachineID
	for i := range 5 {
		named = append(named, f.id(machine(i), fmt.Sprintf("web%d", i)))
	}
	var first boot.MachineID
	for i := range 15 {
		id := f.id(machine(100+i), "")
		if i == 0 {
			first = id
		}
		f.clock.add(time.Second)
	}
	f.id(machine(100), "") // seen again: the next one is the oldest
	if err := f.Flush(); err != nil {
		t.Fatal(err)
	}
	f.id(machine(200), "")
	f.machine(first)
	if p := f.Decide(machine(101).ask()); p.Choice.Machine == "" {
		t.Error("no record of a stranger that came back")
	}
	for i := range 50 {
		f.clock.add(time.Second)
		f.Sight(machine(300 + i).sighting())
	}
	for _, id := range named {
		f.machine(id)
	}
	if n := len(f.table.byID); n != limit {
		t.Errorf("%d records", n)
	}
	if err := f.Flush(); err != nil {
		t.Fatal(err)
	}
	stored := 0
	for k := range f.db.docs {
		if strings.HasPrefix(k, "machines/") {
			stored++
		}
	}
	if stored != limit {
		t.Errorf("%d records in the store", stored)
	}
	if got := len(f.again().table.byID); got != limit {
		t.Errorf("%d records after a restart", got)
	}
	// The index holds nobody who is gone.
	for mac, ids := range f.table.byMAC {
		for _, id := range ids {
			if _, ok := f.table.byID[id]; !ok {
				t.Errorf("%s leads to %s", mac, id)
			}
		}
	}
	if len(f.table.byGUID) != limit || len(f.table.bySerial) != limit || len(f.table.byMAC) != limit {
		t.Errorf("indexes of %d, %d, %d", len(f.table.byGUID), len(f.table.bySerial), len(f.table.byMAC))
	}
	for i := range limit - 5 {
		f.put(kindMachines, "", fmt.Sprintf(`{"name":"own%d","macs":[{"mac":"52:54:11:00:00:%02x"}]}`, i, i))
	}
	if _, _, err := f.Put(kindMachines, "", []byte(`{"name":"more","macs":[{"mac":"52:54:11:00:01:00"}]}`), MatchAny); err == nil {
		t.Error("more machines than there is room for")
	}
	p := f.Decide(machine(900).ask())
	f.want(p, boot.ActionMenu, boot.ReasonNone) // it boots all the same
	if p.Choice.Machine != "" {
		t.Error("it has a record")
	}
	if plan, reason := f.Pick(p.Token, slices.IndexFunc(p.Menu, func(e boot.PlanEntry) bool { return e.Title == "Rescue" }), "", machine(900).later()); reason != boot.ReasonNone || plan.Target.Name != "rescue" {
		t.Errorf("%s", reason)
	}
}

// TestFloodOfStrangers: a flood of made-up addresses makes few records.
func TestFloodOfStrangers(t *testing.T) {
	f := newFixture(t)
	for i := range 5000 {
		f.Sight(machine(i).sighting())
	}
	if n := len(f.table.byID); n != 1000 {
		t.Errorf("%d records at once", n)
	}
	f.clock.add(10 * time.Second)
	for i := range 5000 {
		f.Sight(machine(10000 + i).sighting())
	}
	if n := len(f.table.byID); n != 1200 {
		t.Errorf("%d records after ten seconds", n)
	}
}

// TestTokensAreBounded: neither one machine nor one address pushes out the
// others' tokens.
func TestTokensAreBounded(t *testing.T) {
	f := newFixture(t)
	f.catalog()
	c := machine(1)
	mine := f.Decide(c.ask())
	for range 100 {
		f.Decide(machine(2).ask())
	}
	if n := len(f.tokens.byMachine[f.Decide(machine(2).ask()).Choice.Machine]); n != perMachine {
		t.Errorf("%d tokens of one machine", n)
	}
	from := netip.MustParseAddr("192.0.2.250")
	for i := range 1000 {
		f.clock.add(50 * time.Millisecond)
		a := machine(1000 + i).ask()
		a.From, a.Proof = from, boot.ProofNone
		f.Decide(a)
	}
	if n := len(f.tokens.byAddr[from]); n != perAddr {
		t.Errorf("%d tokens of one address", n)
	}
	if _, reason := f.Pick(mine.Token, slices.IndexFunc(mine.Menu, func(e boot.PlanEntry) bool { return e.Title == "Rescue" }), "", c.later()); reason != boot.ReasonNone {
		t.Errorf("the token of another address: %s", reason)
	}
	for i := range maxTokens + 500 {
		a := machine(i).ask()
		a.From = netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
		f.Decide(a)
	}
	if n := f.tokens.order.Len(); n > maxTokens || n != len(f.tokens.byName) {
		t.Errorf("%d tokens, %d by name", n, len(f.tokens.byName))
	}
	total := 0
	for _, list := range f.tokens.byAddr {
		total += len(list)
	}
	if total != f.tokens.order.Len() {
		t.Errorf("%d tokens by address, %d in all", total, f.tokens.order.Len())
	}
}

// TestRecordsAreBounded: a record is small whatever a client tells.
func TestRecordsAreBounded(t *testing.T) {
	f := newFixture(t)
	long := strings.Repeat("A\n", 4000)
	for i := range 40 {
		s := machine(1).sighting()
		s.MAC = machine(100 + i).mac
		s.Product, s.Asset, s.NIC, s.Hostname = long, long, long, long
		s.Variables = map[string]string{}
		for j := range 200 {
			s.Variables[fmt.Sprintf("v%d", j)] = long
		}
		f.clock.add(time.Minute)
		f.Sight(s)
	}
	docs, _ := f.List(kindMachines, Query{})
	if len(docs) != 1 {
		t.Fatalf("%d records", len(docs))
	}
	m := docs[0].Value.(boot.Machine)
	size := 0
	for k, v := range m.Seen.Variables {
		size += len(k) + len(v)
		if strings.Contains(v, "\n") {
			t.Errorf("%q", v)
		}
	}
	if len(m.MACs) != boot.MaxMACs || len(m.Seen.Variables) > maxVariables || size > maxVariableBytes || len(m.Seen.Product) > boot.MaxClaim || strings.Contains(m.Seen.Product, "\n") {
		t.Errorf("%d addresses, %d variables of %d octets, product %q", len(m.MACs), len(m.Seen.Variables), size, m.Seen.Product)
	}
	if m.MACs[len(m.MACs)-1].MAC != machine(139).mac {
		t.Errorf("the address of last time is not there: %+v", m.MACs)
	}
}

// TestConcurrent: everybody at once, under the race detector.
func TestConcurrent(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.MaxMachines = 80 })
	f.catalog()
	f.put(kindGroups, "lab", `{"profile":"rescue"}`)
	const workers, rounds = 6, 60
	over := make(chan struct{}) // the operator has gone home
	var wg sync.WaitGroup
	var started, done atomic.Int64
	for w := range workers {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-over:
					return
				default:
				}
				c := machine(1000 + (w*rounds+i)%100)
				f.Sight(c.sighting())
				f.Rule(boot.Client{MAC: c.mac, GUID: c.guid, ArchKnown: true}, boot.Rule{})
				p := f.Decide(c.ask())
				switch {
				case p.Choice.Action == boot.ActionArmed:
					if plan, reason := f.Start(p.Token, c.later()); reason == boot.ReasonNone {
						started.Add(1)
						if _, _, reason := f.Answer(plan.AnswerToken, "preseed.cfg", c.later()); reason != boot.ReasonNone && reason != boot.ReasonToken {
							t.Errorf("answer: %s", reason)
						}
						if f.Callback(plan.CallbackToken, boot.CallbackDone, "", c.later()) == boot.ReasonNone {
							done.Add(1)
						}
					}
				case p.Token != "" && len(p.Menu) > 0:
					f.Pick(p.Token, i%len(p.Menu), p.Code, c.later())
				}
			}
		})
	}
	wg.Go(func() {
		defer close(over)
		for i := 0; i < rounds || i < 100*rounds && done.Load() < 5; i++ {
			c := machine(1000 + i%100)
			p := f.Decide(c.ask())
			id := p.Choice.Machine
			if id == "" {
				continue
			}
			if _, _, err := f.Put(kindMachines, string(id), []byte(fmt.Sprintf(`{"name":"web%d","groups":["lab"]}`, i)), MatchAny); err != nil {
				continue // it made room for another meanwhile
			}
			_, _ = f.Assign(id, boot.Assignment{Profile: "install", Mode: boot.AssignArmed}, MatchAny)
			if i%3 == 0 {
				_ = f.Delete(kindMachines, string(id), MatchAny)
			}
			_, _, _ = f.Put(kindProfiles, "rescue", []byte(fmt.Sprintf(`{"target":"rescue","notes":"%d"}`, i)), MatchAny)
		}
	})
	wg.Go(func() {
		for range rounds / 2 {
			f.Decisions(10)
			f.Requests()
			f.List(kindMachines, Query{Limit: 10})
			docs, _ := f.List(kindMachines, Query{Limit: 1})
			if len(docs) > 0 {
				_, _, _ = f.Preview(boot.MachineID(docs[0].Name), base, LoaderIPXE)
			}
			if err := f.Flush(); err != nil {
				t.Error(err)
			}
			f.sweep()
			f.Export()
		}
	})
	wg.Wait()
	if started.Load() == 0 || done.Load() == 0 {
		t.Errorf("%d started, %d done: the test looks at nothing", started.Load(), done.Load())
	}
	if err := f.Flush(); err != nil {
		t.Fatal(err)
	}
	// Memory and store agree.
	g := f.again()
	a, _ := f.List(kindMachines, Query{})
	b, _ := g.List(kindMachines, Query{})
	if len(a) != len(b) {
		t.Fatalf("%d machines, %d after a restart", len(a), len(b))
	}
	for i := range a {
		x, y := a[i].Value.(boot.Machine), b[i].Value.(boot.Machine)
		if !same(x, y) {
			t.Errorf("%+v\n%+v", x, y)
		}
	}
	if len(f.table.dirty)+len(f.table.gone)+len(f.tokens.dirty)+len(f.tokens.gone)+len(f.flights) != 0 {
		t.Error("something is left over")
	}
}

// FuzzDecide: nothing that a client says makes more of a machine than it is, or
// stops the box.
func FuzzDecide(f *testing.F) {
	f.Add("52:54:00:00:00:01", "SN00001Q", "web", "Puck", "a=b", byte(1), byte(0))
	f.Add("", "", "\x00\xff", strings.Repeat("x", 300), "", byte(2), byte(1))
	f.Add("52:54:00:00:00:02", "To be filled by O.E.M.", "{{.Machine}}", "${mac}", "k", byte(0), byte(2))
	r := newFixture(f)
	r.catalog()
	victim := machine(1)
	id := r.id(victim, "victim")
	r.assign(id, "install", boot.AssignArmed)
	was := r.machine(id)
	f.Fuzz(func(t *testing.T, mac, serial, host, product, variable string, guid, loader byte) {
		s := boot.Sighting{MAC: boot.MAC(mac), Serial: serial, Hostname: host, Product: product, Manufacturer: "ACME", Variables: map[string]string{variable: variable + host}}
		if guid > 0 {
			s.GUID = machine(int(guid)).guid
		}
		loaders := []string{LoaderIPXE, LoaderPXELinux, LoaderGRUB, product}
		for _, proof := range []boot.Proof{boot.ProofNone, boot.ProofAgainst} {
			r.clock.add(time.Second)
			r.Sight(s)
			p := r.Decide(Ask{Sighting: s, Proof: proof, Base: base, From: netip.MustParseAddr("192.0.2.66"), Loader: loaders[int(loader)%len(loaders)]})
			if p.Choice.Profile == "install" || p.AnswerToken != "" || p.CallbackToken != "" {
				t.Fatalf("%+v", p)
			}
			if !printable(p.Note) {
				t.Fatalf("note %q", p.Note)
			}
		}
		d, _ := r.Get(kindMachines, string(id))
		now := d.Value.(boot.Machine)
		if *now.Assignment != *was.Assignment || now.GUID != was.GUID || now.Serial != was.Serial || len(now.MACs) != 1 {
			t.Fatalf("%+v", now)
		}
	})
}

// FuzzReport: what an installer says is kept printable and bounded.
func FuzzReport(f *testing.F) {
	for _, s := range []string{"", "half way", "\x1b[31m", "a\n\tb  c", strings.Repeat("ä", 600), "\xff\xfe", strings.Repeat("x ", 1000)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := report(s)
		if len(got) > maxReport || !utf8.ValidString(got) || strings.ContainsFunc(got, func(c rune) bool { return c < ' ' || c == 0x7f || c >= 0x80 && c < 0xa0 }) {
			t.Fatalf("%q", got)
		}
		if again := report(got); again != got {
			t.Fatalf("%q becomes %q", got, again)
		}
	})
}

// FuzzPut: no document that the API passes on breaks the registry, and what was
// taken can be read again.
func FuzzPut(f *testing.F) {
	for kind, body := range map[string]string{
		kindTargets: `{"kind":"linux","kernel":"files/k","cmdline":"{{.Machine.Name}}"}`, kindProfiles: `{"target":"rescue","visible":{"mac":["52"]}}`,
		kindGroups: `{"profile":"rescue"}`, kindRules: `{"order":1,"match":{"product":["x*"]},"profile":"rescue"}`,
		kindTemplates: `{"kind":"plain","text":"{{.Machine.MAC}}"}`, kindSite: `{"unknown":"ask"}`,
		kindMachines: `{"name":"a","macs":[{"mac":"52:54:00:00:00:01"}]}`,
	} {
		f.Add(kind, "x", body)
	}
	f.Fuzz(func(t *testing.T, kind, name, body string) {
		r := newFixture(t)
		r.catalog()
		d, _, err := r.Put(kind, name, []byte(body), MatchAny)
		if err != nil {
			return
		}
		again, ok := r.again().Get(kind, d.Name)
		if !ok || again.Rev != d.Rev || !same(again.Value, d.Value) {
			t.Fatalf("%s/%s %s: %+v, after a restart %+v", kind, name, body, d, again)
		}
		r.Decide(machine(1).ask())
	})
}

// BenchmarkDecide: 10,000 machines and 200 rules, of which the last matches.
func BenchmarkDecide(b *testing.B) {
	const machines, rules = 10000, 200
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	f := newFixture(b)
	f.put(kindTargets, "rescue", `{"kind":"linux","kernel":"files/vmlinuz","cmdline":"host={{.Machine.Name}}"}`)
	f.put(kindProfiles, "rescue", `{"target":"rescue"}`)
	for i := range rules - 1 {
		f.put(kindRules, fmt.Sprintf("rule%03d", i), fmt.Sprintf(`{"order":%d,"profile":"rescue","match":{"product":["Model %d*"],"subnet":["172.16.%d.0/24"]}}`, i, i, i))
	}
	f.put(kindRules, "last", `{"order":1000,"profile":"rescue","match":{"product":["Puck*"]}}`)
	for i := range machines {
		f.clock.add(100 * time.Millisecond)
		f.Sight(machine(i).sighting())
	}
	if err := f.Flush(); err != nil {
		b.Fatal(err)
	}
	f.db.docs = nil
	f.sink.list = nil
	runtime.GC()
	runtime.ReadMemStats(&after)
	if n := len(f.table.byID); n != machines {
		b.Fatalf("%d machines", n)
	}
	f.Registry.cfg.Sink = func(boot.Event) {}
	asks := make([]Ask, machines)
	for i := range asks {
		asks[i] = machine(i).ask()
	}
	took := make([]time.Duration, 0, b.N)
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		began := time.Now()
		p := f.Decide(asks[i%machines])
		took = append(took, time.Since(began))
		if p.Choice.Source != boot.SourceRule {
			b.Fatalf("%+v", p.Choice)
		}
		i++
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Nanoseconds())/1000, "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds())/1000, "p99-µs")
	busy(b, f, asks)
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/1e6, "MB")
}
