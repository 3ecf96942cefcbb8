package journal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// shelf is a store in memory.
type shelf struct {
	mu     sync.Mutex
	docs   map[string][]byte
	writes int
	fail   error
	stuck  chan struct{} // when set, Write waits for it
}

func newShelf() *shelf { return &shelf{docs: map[string][]byte{}} }

func (s *shelf) Load(each func(string, []byte) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, doc := range s.docs {
		if err := each(name, doc); err != nil {
			return err
		}
	}
	return s.fail
}

func (s *shelf) Write(docs map[string][]byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stuck != nil {
		<-s.stuck
	}
	s.writes++
	if s.fail != nil {
		return s.fail
	}
	for name, doc := range docs {
		if doc == nil {
			delete(s.docs, name)
		} else {
			s.docs[name] = doc
		}
	}
	return nil
}

// state is how often the store was written, and what is in it.
func (s *shelf) state() (writes int, docs map[string][]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.writes, maps.Clone(s.docs)
}

// rig is an Attempts that runs in a bubble of its own time.
type rig struct {
	*Attempts
	t     *testing.T
	stop  func()
	ended []boot.Attempt
	told  []boot.Event
}

func run(t *testing.T, cfg AttemptsConfig, store AttemptStore) *rig {
	t.Helper()
	g := &rig{t: t}
	cfg.Ended = func(a boot.Attempt) { g.ended = append(g.ended, a) }
	cfg.Sink = func(e boot.Event) { g.told = append(g.told, e) }
	g.Attempts = NewAttempts(cfg)
	if store != nil {
		if err := g.SetStore(store); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	<-g.Ready()
	g.stop = func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run: %v", err)
		}
	}
	return g
}

// pass lets time go by in the bubble.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

var (
	macA  = boot.MAC("52:54:00:00:00:01")
	addrA = netip.MustParseAddr("192.0.2.1")
)

func offerA() boot.Event {
	return boot.Event{Kind: boot.KindOffer, MAC: macA, XID: 7, Firmware: boot.FirmwareUEFI, Class: "PXEClient:Arch:00007", Arch: boot.ArchUEFIx64, ArchKnown: true}
}

func fileA(name string, r boot.Reason) boot.Event {
	return boot.Event{Kind: boot.KindHTTP, MAC: macA, Addr: addrA, File: name, Bytes: 1000, Total: 1000, Reason: r}
}

func scriptA(text string) boot.Event {
	action, profile := told(text)
	return boot.Event{Kind: boot.KindScript, MAC: macA, Addr: addrA, File: "/s", Text: text, Action: action, Profile: profile, Bytes: 100}
}

// failA plays a boot that fails for good a minute later.
func (g *rig) failA() {
	g.Observe(offerA())
	g.Observe(scriptA("boot debian (machine)"))
	g.Observe(fileA("/files/vmlinuz", boot.ReasonInterrupted))
	pass(2 * time.Minute)
}

func TestAttemptEndsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var judged []boot.AttemptState
		g := run(t, AttemptsConfig{
			Judge: func(a *boot.Attempt) []boot.Verdict {
				judged = append(judged, a.State)
				if !a.State.Bad() {
					return nil
				}
				return []boot.Verdict{{Name: boot.ReasonFetchBroken, Text: "broken", Confidence: boot.Certain, Severity: boot.SeverityCritical}}
			},
			Who: func(mac boot.MAC, _ boot.GUID) (boot.MachineID, string, string) {
				if mac != macA {
					t.Errorf("asked for %s", mac)
				}
				return "m1", "Anna's \x1b[31mdesk", "Box"
			},
		}, nil)
		g.failA()
		if len(g.ended) != 1 || len(g.told) != 1 || g.Active() != 0 {
			t.Fatalf("ended %d, told %d, %d go on", len(g.ended), len(g.told), g.Active())
		}
		a, e := g.ended[0], g.told[0]
		if a.State != boot.AttemptFailed || a.Verdict().Name != boot.ReasonFetchBroken || a.Machine != "m1" || a.Name != "Anna's ?[31mdesk" || a.Product != "Box" {
			t.Errorf("ended %+v", a)
		}
		if e.Kind != boot.KindVerdict || e.Reason != boot.ReasonFetchBroken || e.Attempt != a.ID || e.MAC != macA || e.Text != "broken" || e.File != a.Stage(a.At).File || e.File == "" || e.Time.IsZero() {
			t.Errorf("told %+v", e)
		}
		if n := len(judged); n < 10 || n > 60 || judged[n-1] != boot.AttemptFailed {
			t.Errorf("judged %d times in a minute: %v", n, judged)
		}
		n := len(judged)
		pass(time.Minute)
		if len(judged) != n {
			t.Error("judged again without anything new")
		}
		// It goes on after all. What is known of it changes; it is counted once.
		g.Observe(fileA("/files/vmlinuz", ""))
		g.Observe(boot.Event{Kind: boot.KindSilence, Reason: boot.ReasonClass, MAC: macA, XID: 99})
		pass(5 * time.Minute)
		got, ok := g.Get(a.ID)
		if !ok || got.State != boot.AttemptBooted || len(got.Verdicts) != 0 || len(g.ended) != 1 || len(g.told) != 2 || g.told[1].Reason != boot.ReasonBooted {
			t.Errorf("%v, %s, %v, ended %d, told %+v", ok, got.State, got.Verdicts, len(g.ended), g.told)
		}
		// The event that it ended is not an event of a boot.
		g.Observe(e)
		pass(time.Second)
		if list, _ := g.List(AttemptQuery{}); len(list) != 1 {
			t.Errorf("%d attempts", len(list))
		}
		g.stop()
	})
}

func TestPlainVerdicts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := run(t, AttemptsConfig{}, nil)
		g.failA()
		if len(g.told) != 1 || g.told[0].Reason != boot.ReasonUnexplained {
			t.Errorf("told %+v", g.told)
		}
		g.stop()
	})
	for state, want := range map[boot.AttemptState]boot.Reason{
		boot.AttemptBooted: boot.ReasonBooted, boot.AttemptLocal: boot.ReasonLeftLocal, boot.AttemptIgnored: boot.ReasonIgnored,
		boot.AttemptStalled: boot.ReasonUnexplained, boot.AttemptFailed: boot.ReasonUnexplained,
	} {
		if got := plainVerdict(state); got != want {
			t.Errorf("%s: %s", state, got)
		}
	}
}

func TestListAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := run(t, AttemptsConfig{
			Judge: func(a *boot.Attempt) []boot.Verdict { return []boot.Verdict{{Name: plainVerdict(a.State)}} },
			Who: func(mac boot.MAC, _ boot.GUID) (boot.MachineID, string, string) {
				return boot.MachineID("of " + mac), "", ""
			},
		}, nil)
		start := time.Now()
		for n := range 5 {
			g.Observe(boot.Event{Kind: boot.KindScript, MAC: mac(n), File: "/s", Text: "local (default)", Action: boot.ActionLocal, Bytes: 1})
			pass(time.Minute)
		}
		g.Observe(offerA())
		pass(2 * time.Second)
		count := func(q AttemptQuery) string {
			list, _ := g.List(q)
			var out []string
			for _, a := range list {
				if a.Events != nil {
					t.Error("a list has events")
				}
				out = append(out, string(a.MAC[len(a.MAC)-1:]))
			}
			return strings.Join(out, "")
		}
		tests := []struct {
			q    AttemptQuery
			want string
		}{
			{AttemptQuery{}, "143210"},
			{AttemptQuery{MAC: mac(3)}, "3"},
			{AttemptQuery{Machine: boot.MachineID("of " + mac(2))}, "2"},
			{AttemptQuery{States: []boot.AttemptState{boot.AttemptRunning}}, "1"},
			{AttemptQuery{States: []boot.AttemptState{boot.AttemptLocal, boot.AttemptFailed}}, "43210"},
			{AttemptQuery{Verdict: boot.ReasonLeftLocal}, "43210"},
			{AttemptQuery{Since: start.Add(150 * time.Second)}, "143"},
			{AttemptQuery{Until: start.Add(90 * time.Second)}, "10"},
			{AttemptQuery{Limit: 2}, "14"},
			{AttemptQuery{After: "nothing"}, ""},
		}
		for _, c := range tests {
			if got := count(c.q); got != c.want {
				t.Errorf("%+v: %q, want %q", c.q, got, c.want)
			}
		}
		var pages []string
		var after boot.AttemptID
		for range 4 {
			list, next := g.List(AttemptQuery{Limit: 2, After: after})
			pages = append(pages, fmt.Sprint(len(list)))
			if after = next; after == "" {
				break
			}
		}
		if got := strings.Join(pages, " "); got != "2 2 2" {
			t.Errorf("pages of %s", got)
		}
		if _, ok := g.Get("nothing"); ok {
			t.Error("there is an attempt without a name")
		}
		g.stop()
	})
}

func TestSubscribeAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := run(t, AttemptsConfig{}, nil)
		ctx, cancel := context.WithCancel(t.Context())
		quick, slow := g.Subscribe(ctx), g.Subscribe(ctx)
		for range MaxSubscribers - 2 {
			if g.Subscribe(ctx) == nil {
				t.Fatal("refused too early")
			}
		}
		if g.Subscribe(ctx) != nil {
			t.Fatal("one reader too many")
		}
		var seen []boot.Attempt
		go func() {
			for a := range quick.Updates() {
				seen = append(seen, a)
			}
		}()
		g.Observe(offerA())
		pass(time.Second)
		for range 50 {
			g.Observe(fileA("/files/vmlinuz", ""))
			pass(time.Second)
		}
		g.Observe(boot.Event{Kind: boot.KindOffer, MAC: mac(5), Firmware: boot.FirmwareUEFI})
		pass(time.Second)
		if len(seen) < 50 || seen[0].MAC != macA || seen[0].Events != nil {
			t.Errorf("the quick reader saw %d", len(seen))
		}
		// The slow one has the first state in hand, and then the latest of each.
		var got []string
		for range 3 {
			a := <-slow.Updates()
			got = append(got, fmt.Sprint(a.MAC, " ", a.Stage(boot.StageKernel).Count))
		}
		if want := []string{string(macA) + " 0", string(macA) + " 50", string(mac(5)) + " 0"}; !slices.Equal(got, want) {
			t.Errorf("the slow reader saw %q", got)
		}
		cancel()
		synctest.Wait()
		if _, open := <-slow.Updates(); open {
			t.Error("a reader's channel is open after its end")
		}
		if g.Subscribe(t.Context()) == nil {
			t.Error("the places of readers that ended are not free")
		}
		g.stop()
	})
}

// TestRestart: what was kept is there after a restart, and a boot that was going
// on goes on, also when the clock begins in 1970 again.
func TestRestart(t *testing.T) {
	s := newShelf()
	var failedID, goingID boot.AttemptID
	var failed boot.Attempt
	other := boot.Event{Kind: boot.KindScript, MAC: mac(1), Addr: netip.MustParseAddr("192.0.2.7"), File: "/s", Text: "armed debian (machine)", Action: boot.ActionArmed, Profile: "debian", Bytes: 1}
	synctest.Test(t, func(t *testing.T) {
		g := run(t, AttemptsConfig{Judge: func(a *boot.Attempt) []boot.Verdict {
			return []boot.Verdict{{Name: boot.ReasonFetchBroken, Evidence: []boot.Evidence{{Time: a.Start, Text: "x"}}}}
		}}, s)
		foreign := &boot.Foreign{Type: "offer", Server: netip.MustParseAddr("192.0.2.9"), File: "pxelinux.0", XID: 7}
		g.Observe(boot.Event{Kind: boot.KindForeign, MAC: macA, XID: 7, Foreign: foreign})
		g.failA()
		failedID = g.ended[0].ID
		failed, _ = g.Get(failedID)
		g.Observe(other)
		other.Kind, other.File, other.Text, other.Bytes, other.Total = boot.KindHTTP, "/files/vmlinuz", "", 1000, 1000
		g.Observe(other)
		g.Observe(boot.Event{Kind: boot.KindCallback, MAC: mac(1), Text: "debian has started"})
		pass(10 * time.Second)
		list, _ := g.List(AttemptQuery{MAC: mac(1)})
		goingID = list[0].ID
		if list[0].State != boot.AttemptBooted || !list[0].End.IsZero() {
			t.Errorf("%s, ended %s", list[0].State, list[0].End)
		}
		g.stop()
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	s.docs["0123"] = []byte("{")
	s.docs["0124"] = []byte(`{"version":2}`)
	synctest.Test(t, func(t *testing.T) {
		pass(time.Hour) // the bubble's clock begins anew, as a box without one does
		g := run(t, AttemptsConfig{}, s)
		if g.Skipped() != 2 || g.Active() != 1 {
			t.Errorf("%d skipped, %d go on", g.Skipped(), g.Active())
		}
		a, ok := g.Get(failedID)
		if !ok {
			t.Fatal("the failed attempt is gone")
		}
		before, after := marshal(t, failed), marshal(t, a)
		if before != after || a.Arch != boot.ArchUEFIx64 || !a.ArchKnown {
			t.Errorf("it was\n%s\nand is\n%s", before, after)
		}
		g.Observe(boot.Event{Kind: boot.KindCallback, MAC: mac(1), Text: "debian is done"})
		g.Observe(offerA())
		pass(10 * time.Second)
		b, _ := g.Get(goingID)
		if b.State != boot.AttemptBooted || b.End.IsZero() || len(g.ended) != 1 || g.ended[0].ID != goingID {
			t.Errorf("%s, ended %s, told %d", b.State, b.End, len(g.ended))
		}
		list, _ := g.List(AttemptQuery{})
		if len(list) != 3 || list[0].MAC != macA || list[0].Before != failedID || list[1].ID != goingID || list[2].ID != failedID {
			t.Errorf("order %v", list)
		}
		g.stop()
	})
	if _, there := s.docs["0123"]; there {
		t.Error("a document that nobody can read was not deleted")
	}
	if _, there := s.docs["0124"]; !there {
		t.Error("a document of a newer version was deleted")
	}
}

func marshal(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestBatches: the store is written every five seconds at most once when nothing
// ends, soon when something does, and never for what is not worth it.
func TestBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf()
		g := run(t, AttemptsConfig{}, s)
		for n := range 200 {
			g.Observe(boot.Event{Kind: boot.KindOffer, MAC: mac(n), Firmware: boot.FirmwareUEFI})
		}
		pass(20 * time.Second)
		if n, _ := s.state(); n != 0 {
			t.Errorf("%d batches for DISCOVERs alone", n)
		}
		g.Observe(offerA())
		g.Observe(scriptA("boot debian (machine)"))
		for range 65 {
			g.Observe(fileA("/files/vmlinuz", ""))
			pass(time.Second)
		}
		if n, _ := s.state(); n < 1 || n > 3 {
			t.Errorf("%d batches in a minute of one boot", n)
		}
		pass(time.Hour)
		_, docs := s.state()
		if n := len(docs); n != 201 {
			t.Errorf("%d documents", n)
		}
		for name, doc := range docs {
			if len(doc) > maxDocument || !validID(name) {
				t.Errorf("document %s of %d octets", name, len(doc))
			}
		}
		// What makes way in memory makes way in the store.
		for n := range 300 {
			g.Observe(boot.Event{Kind: boot.KindOffer, MAC: mac(1000 + n), XID: uint32(n), Firmware: boot.FirmwareUEFI, Class: "PXEClient"})
			g.Observe(boot.Event{Kind: boot.KindTFTP, MAC: mac(1000 + n), File: "snponly.efi", Bytes: 280 << 10, Total: 280 << 10})
			g.Observe(boot.Event{Kind: boot.KindScript, MAC: mac(1000 + n), File: "/s", Text: "local (default)", Action: boot.ActionLocal, Bytes: 1})
			pass(time.Minute)
		}
		list, _ := g.List(AttemptQuery{States: []boot.AttemptState{boot.AttemptLocal}, Limit: MaxAttempts})
		if len(list) != maxGood {
			t.Errorf("%d good attempts", len(list))
		}
		g.stop()
		if err := g.Close(); err != nil {
			t.Error(err)
		}
		good := 0
		for name := range s.docs {
			if a, ok := g.Get(boot.AttemptID(name)); !ok {
				t.Errorf("the store has %s, the memory not", name)
			} else if a.State == boot.AttemptLocal {
				good++
			}
		}
		if good != maxGood {
			t.Errorf("%d good ones in the store", good)
		}
	})
}

// TestStoreFails: a store that refuses is asked again, and one that hangs holds
// up nothing but itself.
func TestStoreFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf()
		g := run(t, AttemptsConfig{}, s)
		full := errors.New("disk is full")
		s.mu.Lock()
		s.fail = full
		s.mu.Unlock()
		g.failA()
		if err := g.StoreErr(); !errors.Is(err, full) {
			t.Errorf("error %v", err)
		}
		s.mu.Lock()
		s.fail = nil
		s.mu.Unlock()
		pass(10 * time.Second)
		if _, docs := s.state(); g.StoreErr() != nil || len(docs) != 1 {
			t.Errorf("error %v, %d documents", g.StoreErr(), len(docs))
		}
		s.mu.Lock()
		s.stuck = make(chan struct{})
		s.mu.Unlock()
		g.Observe(boot.Event{Kind: boot.KindScript, MAC: mac(1), File: "/s", Text: "local (default)", Action: boot.ActionLocal, Bytes: 1})
		pass(10 * time.Minute)
		if list, _ := g.List(AttemptQuery{MAC: mac(1)}); len(list) != 1 || list[0].State != boot.AttemptLocal {
			t.Error("joining waited for the store")
		}
		begin := time.Now()
		if err := g.Close(); err == nil || time.Since(begin) > time.Second {
			t.Errorf("closed after %s with %v", time.Since(begin), err)
		}
		close(s.stuck)
		g.stop()
	})
	if err := NewAttempts(AttemptsConfig{}).SetStore(nil); err == nil {
		t.Error("no store is a store")
	}
	broken := newShelf()
	broken.fail = errors.New("no such file")
	if err := NewAttempts(AttemptsConfig{}).SetStore(broken); !errors.Is(err, broken.fail) {
		t.Errorf("error %v", err)
	}
}

// TestObserveIsBounded: without anybody who joins them events are counted, not
// kept, and a flood of one kind leaves room for the others.
func TestObserveIsBounded(t *testing.T) {
	a := NewAttempts(AttemptsConfig{})
	for n := range 100_000 {
		a.Observe(boot.Event{Kind: boot.KindOffer, MAC: mac(n)})
	}
	for range 100 {
		a.Observe(fileA("/files/vmlinuz", ""))
	}
	a.Observe(boot.Event{Kind: boot.KindNetwork})
	a.Observe(boot.Event{Kind: boot.KindSilence, Text: "5 packets of further clients"})
	if n := a.Dropped(); n != 100_000-roomCommon {
		t.Errorf("%d left out", n)
	}
	n, last := 0, ""
	a.queue.take(func(e boot.Event) { n, last = n+1, string(e.Kind) })
	if n != roomCommon+100 || last != "http" {
		t.Errorf("%d events wait, the last is %s", n, last)
	}
	a.queue.take(func(boot.Event) { t.Error("the queue is not empty") })
	// The order of arrival holds over both kinds.
	var order []string
	for i := range 6 {
		e := boot.Event{Kind: boot.KindOffer, MAC: macA, Text: fmt.Sprint(i)}
		if i%2 == 0 {
			e.Kind = boot.KindAck
		}
		a.Observe(e)
	}
	a.queue.take(func(e boot.Event) { order = append(order, e.Text) })
	if got := strings.Join(order, ""); got != "012345" {
		t.Errorf("order %s", got)
	}
}

// TestIDs: names of attempts are unlike each other, also over restarts.
func TestIDs(t *testing.T) {
	seen := map[boot.AttemptID]bool{}
	for range 3 {
		a := NewAttempts(AttemptsConfig{})
		for range 1000 {
			id := a.tracker.newID()
			if seen[id] || !validID(string(id)) {
				t.Fatalf("name %s again, or no name", id)
			}
			seen[id] = true
		}
	}
}

// TestDocument: what strangers' texts make of an attempt fits the bound, and who,
// when, how far and why stay.
func TestDocument(t *testing.T) {
	long := strings.Repeat("\x00", maxEventText)
	a := boot.Attempt{ID: "ab", MAC: macA, State: boot.AttemptFailed, At: boot.StageLoader, Start: time.Unix(1, 0), Last: time.Unix(2, 0), End: time.Unix(2, 0)}
	for i, n := range boot.StageNames() {
		a.Stages = append(a.Stages, boot.Stage{Name: n, Count: i + 1, File: long})
	}
	for range boot.MaxAttemptEvents {
		a.Events = append(a.Events, boot.Event{Kind: boot.KindTFTP, Time: time.Unix(1, 0), File: long, Text: long})
	}
	for range boot.MaxAttemptForeign {
		a.Foreign = append(a.Foreign, boot.Foreign{File: long, Class: long[:64], Next: long[:64]})
	}
	for range boot.MaxAttemptVerdicts {
		v := boot.Verdict{Name: boot.ReasonTFTPBroken, Text: long + long, Fix: long + long}
		for range boot.MaxEvidence {
			v.Evidence = append(v.Evidence, boot.Evidence{Text: long})
		}
		a.Verdicts = append(a.Verdicts, v)
	}
	original := marshal(t, a)
	doc, err := keptAttempt{Version: documentVersion, Seq: 1, Attempt: a}.document()
	if err != nil || len(doc) > maxDocument {
		t.Fatalf("%d octets of %d, %v", len(doc), len(original), err)
	}
	if marshal(t, a) != original {
		t.Error("the attempt itself was cut")
	}
	k, err := readAttempt("ab", doc)
	if err != nil {
		t.Fatal(err)
	}
	if k.Attempt.MAC != macA || k.Attempt.At != boot.StageLoader || k.Attempt.Verdict().Name != boot.ReasonTFTPBroken || len(k.Attempt.Stages) != len(a.Stages) {
		t.Errorf("kept %+v", k.Attempt)
	}
	if k.Attempt.Omitted+len(k.Attempt.Events) != boot.MaxAttemptEvents {
		t.Errorf("%d events, %d omitted", len(k.Attempt.Events), k.Attempt.Omitted)
	}
}

func TestReadAttempt(t *testing.T) {
	good := keptAttempt{Version: documentVersion, Seq: 1, Attempt: boot.Attempt{ID: "ab", State: boot.AttemptStalled}}
	tests := []struct {
		name   string
		change func(k *keptAttempt)
		ok     bool
	}{
		{"as written", func(*keptAttempt) {}, true},
		{"another version", func(k *keptAttempt) { k.Version = 9 }, false},
		{"no number", func(k *keptAttempt) { k.Seq = 0 }, false},
		{"number that leaves no room", func(k *keptAttempt) { k.Seq = 1 << 62 }, false},
		{"another name", func(k *keptAttempt) { k.Attempt.ID = "cd" }, false},
		{"no state", func(k *keptAttempt) { k.Attempt.State = "" }, false},
		{"unknown stage", func(k *keptAttempt) { k.Attempt.Stages = []boot.Stage{{Name: "x"}} }, false},
		{"stages out of order", func(k *keptAttempt) {
			k.Attempt.Stages = []boot.Stage{{Name: boot.StageKernel}, {Name: boot.StageOffer}}
		}, false},
		{"stage twice", func(k *keptAttempt) {
			k.Attempt.Stages = []boot.Stage{{Name: boot.StageOffer}, {Name: boot.StageOffer}}
		}, false},
		{"no hardware address", func(k *keptAttempt) { k.Attempt.MAC = "<script>" }, false},
		{"too many events", func(k *keptAttempt) { k.Attempt.Events = make([]boot.Event, 65) }, false},
		{"packet of nobody", func(k *keptAttempt) { k.Attempt.Events = []boot.Event{{Kind: boot.KindForeign}} }, true},
	}
	for _, c := range tests {
		k := good
		c.change(&k)
		got, err := readAttempt("ab", []byte(marshal(t, k)))
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
		if err == nil {
			if got.Attempt.End.IsZero() {
				t.Errorf("%s: it stalled and did not end", c.name)
			}
			a := NewAttempts(AttemptsConfig{})
			a.tracker.restore([]keptAttempt{got}, time.Now())
			checkTracker(t, a.tracker)
		}
	}
	if _, err := readAttempt("ab", make([]byte, maxRead+1)); err == nil {
		t.Error("a document without end was read")
	}
}

// FuzzReadAttempt: whatever the state file holds, what is taken from it keeps the
// bounds, can be gone on with, and can be written again.
func FuzzReadAttempt(f *testing.F) {
	k := keptAttempt{Version: documentVersion, Seq: 1, Attempt: boot.Attempt{
		ID: "ab", MAC: macA, State: boot.AttemptRunning, At: boot.StageKernel, ArchName: "uefi-x64",
		Stages: []boot.Stage{{Name: boot.StageDiscover, Count: 2}, {Name: boot.StageKernel, Count: 1, Bytes: 5, Total: 9}},
		Events: []boot.Event{offerA(), scriptA("boot debian (machine)"), fileA("/files/vmlinuz", "")},
	}}
	seed, err := json.Marshal(k)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add([]byte(`{"version":1,"seq":1,"attempt":{"id":"ab","state":"running","at":"0","stages":[{"name":"kernel"}]}}`))
	f.Add([]byte(`{"version":1,"seq":1,"attempt":{"id":"ab","state":"booted","took_ns":-5,"stages":[{"name":"offer","bytes":-1}]}}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		k, err := readAttempt("ab", doc)
		if err != nil {
			return
		}
		tr := newTracker(trackerConfig{seed: 3})
		now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
		tr.restore([]keptAttempt{k, k}, now)
		checkTracker(t, tr)
		e := fileA("/files/initrd", "")
		e.Time = now.Add(time.Second)
		tr.observe(e)
		tr.observe(boot.Event{Kind: boot.KindOffer, MAC: k.Attempt.MAC, Time: now.Add(2 * time.Second), Firmware: boot.FirmwareUEFI})
		tr.tick(now.Add(24 * time.Hour))
		checkTracker(t, tr)
		for _, x := range tr.newestFirst() {
			doc, err := keptAttempt{Version: documentVersion, Seq: x.seq, Attempt: x.whole()}.document()
			if err == nil && len(doc) > maxDocument {
				t.Fatalf("a document of %d octets", len(doc))
			}
		}
	})
}

// TestCopiesAreCopies: what readers hold does not change.
func TestCopiesAreCopies(t *testing.T) {
	w := newWire(t)
	p := w.pc(1, boot.FirmwareUEFI).discover()
	before := w.one()
	again := w.one()
	p.lease().tftp("snponly.efi", 280<<10)
	p.mac = "52:54:00:00:09:09"
	p.discover()
	if !reflect.DeepEqual(before, again) {
		t.Error("a copy changed")
	}
}

// TestConcurrentUse is for the race detector.
func TestConcurrentUse(t *testing.T) {
	g := NewAttempts(AttemptsConfig{Judge: func(a *boot.Attempt) []boot.Verdict { return []boot.Verdict{{Name: plainVerdict(a.State)}} }})
	if err := g.SetStore(newShelf()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = g.Run(ctx) })
	sub := g.Subscribe(ctx)
	wg.Go(func() {
		for range sub.Updates() {
		}
	})
	var players sync.WaitGroup
	for i := range 4 {
		players.Go(func() {
			for n := range 500 {
				g.Observe(boot.Event{Kind: boot.KindOffer, MAC: mac(n*4 + i), Firmware: boot.FirmwareUEFI})
				g.Observe(fileA("/files/vmlinuz", ""))
				g.Observe(scriptA("boot debian (machine)"))
				if n%50 == 0 {
					list, _ := g.List(AttemptQuery{Limit: 5})
					for _, a := range list {
						g.Get(a.ID)
					}
					g.ClockStepped()
				}
			}
		})
	}
	players.Wait()
	cancel()
	wg.Wait()
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	if list, _ := g.List(AttemptQuery{MAC: macA}); len(list) == 0 || !list[len(list)-1].Reached(boot.StageKernel) {
		t.Error("nothing was joined")
	}
}

// BenchmarkObserve is what an event costs the one who tells of it, with a reader
// that works off the queue.
func BenchmarkObserve(b *testing.B) {
	a := NewAttempts(AttemptsConfig{})
	e := offerA()
	e.Time = time.Now()
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		a.Observe(e)
		if i++; i%64 == 0 {
			a.queue.take(func(boot.Event) {})
		}
	}
}

// BenchmarkObserveFull is what it costs when nobody works off the queue.
func BenchmarkObserveFull(b *testing.B) {
	a := NewAttempts(AttemptsConfig{})
	e := offerA()
	for range roomCommon {
		a.Observe(e)
	}
	b.ReportAllocs()
	for b.Loop() {
		a.Observe(e)
	}
}

// BenchmarkJoin is what joining costs: DISCOVERs of ever new machines, and a
// machine's own.
func BenchmarkJoin(b *testing.B) {
	b.Run("invented", func(b *testing.B) {
		tr := newTracker(trackerConfig{seed: 1})
		e := offerA()
		e.Time = time.Now()
		b.ReportAllocs()
		n := 0
		for b.Loop() {
			n++
			e.MAC = mac(n)
			tr.observe(e)
		}
	})
	b.Run("known", func(b *testing.B) {
		tr := newTracker(trackerConfig{seed: 1})
		e := offerA()
		e.Time = time.Now()
		b.ReportAllocs()
		for b.Loop() {
			e.Time = e.Time.Add(time.Millisecond)
			tr.observe(e)
		}
	})
}

// TestStageOrder: the order of stages is boot's.
func TestStageOrder(t *testing.T) {
	if got := slices.Sorted(maps.Keys(stageOrder)); len(got) != len(boot.StageNames()) {
		t.Errorf("%d stages", len(got))
	}
}

// TestRestartThenNextBoot: a boot that was over before the restart stays as it
// was. When its machine asks again, shortly after the restart, that is another.
func TestRestartThenNextBoot(t *testing.T) {
	for name, clock := range map[string]time.Duration{"the clock goes on": 10 * time.Minute, "the clock begins in 1970": -56 * 365 * 24 * time.Hour} {
		old := newTracker(trackerConfig{seed: 5})
		began := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
		e := offerA()
		e.Time = began
		old.observe(e)
		old.tick(began.Add(time.Hour))
		first := old.newestFirst()[0]
		if !first.finished() {
			t.Fatal("the first boot is not over")
		}
		tr := newTracker(trackerConfig{seed: 6})
		now := began.Add(clock)
		tr.restore([]keptAttempt{{Version: documentVersion, Seq: first.seq, Attempt: first.whole()}}, now)
		e.Time, e.XID = now.Add(10*time.Second), e.XID+1
		tr.observe(e)
		all := tr.newestFirst()
		if len(all) != 2 || all[1].a.ID != first.a.ID || all[1].a.State != first.a.State || all[1].a.Took != first.a.Took {
			t.Errorf("%s: %d boots; the first is %s and took %s", name, len(all), all[len(all)-1].a.State, all[len(all)-1].a.Took)
		}
	}
}
