package journal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// meter is a store that counts what is written.
type meter struct {
	*shelf
	batches, puts, octets int
}

func (m *meter) Write(docs map[string][]byte) error {
	m.batches++
	for _, d := range docs {
		if d != nil {
			m.puts++
			m.octets += len(d)
		}
	}
	return m.shelf.Write(docs)
}

// byHand is an Attempts over a store whose time and batches the test makes.
func byHand(s AttemptStore) (a *Attempts, pass func(time.Duration) time.Time) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	a = NewAttempts(AttemptsConfig{Now: func() time.Time { return now }})
	a.keep.store = s
	return a, func(d time.Duration) time.Time {
		now = now.Add(d)
		return now
	}
}

// forged is a request for a script in the name of a machine that does not exist.
func forged(n int, at time.Time) boot.Event {
	return boot.Event{
		Time: at, Kind: boot.KindScript, MAC: mac(n), GUID: boot.GUID{byte(n), byte(n >> 8), byte(n >> 16), 3: 1}, File: "/s",
		Action: boot.ActionBoot, Profile: "debian",
	}
}

// TestRunDoesNotWaitForStore: a medium that hangs in the middle of a batch does
// not keep Run, and so the box, from its end.
func TestRunDoesNotWaitForStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf()
		g := run(t, AttemptsConfig{}, s)
		g.failA()
		stuck := make(chan struct{})
		s.mu.Lock()
		s.stuck = stuck
		s.mu.Unlock()
		defer close(stuck)
		g.Observe(offerA())
		g.Observe(scriptA("local (default)"))
		pass(time.Minute)
		select {
		case g.keep.writing <- struct{}{}:
			t.Fatal("no batch hangs")
		default:
		}
		begin := time.Now()
		g.stop()
		if d := time.Since(begin); d != 0 {
			t.Errorf("Run ended %s late", d)
		}
		if err := g.Close(); err == nil || time.Since(begin) > closeTime {
			t.Errorf("closed after %s with %v", time.Since(begin), err)
		}
	})
}

// TestLogIsNotWritten: an operating system whose log comes to the box for ever is
// not written for ever.
func TestLogIsNotWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &meter{shelf: newShelf()}
		g := run(t, AttemptsConfig{}, m)
		g.Observe(offerA())
		g.Observe(scriptA("boot debian (machine)"))
		g.Observe(fileA("/files/vmlinuz", boot.ReasonNone))
		pass(5 * time.Minute)
		before := m.batches
		if before == 0 {
			t.Fatal("the boot was not written")
		}
		for i := range 3600 {
			g.Observe(boot.Event{Kind: boot.KindSyslog, Addr: addrA, Text: fmt.Sprintf("line %d", i)})
			pass(time.Second)
		}
		if n := m.batches - before; n > 7 {
			t.Errorf("%d batches in an hour for a boot that is over", n)
		}
		g.stop()
	})
}

// TestFloodIsNotWritten: machines that exist in requests for scripts alone cost
// the medium no more than its budget, and do not delay the failure of a real one.
func TestFloodIsNotWritten(t *testing.T) {
	t.Run("faster than they end", func(t *testing.T) {
		m := &meter{shelf: newShelf()}
		a, pass := byHand(m)
		for n := range 20_000 {
			now := pass(10 * time.Millisecond)
			a.tracker.observe(forged(n, now))
			if n%100 == 0 {
				a.tick(now)
				a.write(false)
			}
		}
		if m.puts > 0 {
			t.Errorf("%d documents of machines that do not exist", m.puts)
		}
	})
	t.Run("so slowly that they end", func(t *testing.T) {
		m := &meter{shelf: newShelf()}
		a, pass := byHand(m)
		for n := range 3600 { // half an hour
			now := pass(500 * time.Millisecond)
			a.tracker.observe(forged(n, now))
			if n%2 == 0 {
				a.tick(now)
				a.write(false)
			}
		}
		if most := othersPerHour * 3 / 2; m.puts == 0 || m.octets > most || m.batches > most/costWrite+2 {
			t.Errorf("%d batches of %d octets in half an hour", m.batches, m.octets)
		}
		if a.keep.others.left(pass(0), othersPerHour) {
			t.Fatal("the flood was no flood")
		}
		e := offerA()
		e.Time = pass(time.Second)
		a.tracker.observe(e)
		for _, e := range []boot.Event{scriptA("boot debian (machine)"), fileA("/files/vmlinuz", boot.ReasonInterrupted)} {
			e.Time = pass(time.Second)
			a.tracker.observe(e)
		}
		a.tick(pass(2 * time.Minute))
		a.keep.others.spent = othersPerHour * 2
		a.write(false)
		id := a.tracker.byMAC[macA].a.ID
		if m.docs[string(id)] == nil {
			t.Error("a real failure waits for the flood")
		}
	})
}

// TestBudget: what was spent comes back with time, whatever the clock does.
func TestBudget(t *testing.T) {
	now := time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC)
	b := budget{spent: 3600}
	steps := []struct {
		pass time.Duration
		left bool
	}{
		{0, false}, {time.Second, true}, {-time.Hour, true}, {time.Hour, true}, {1 << 62, true},
	}
	b.at = now
	for _, s := range steps {
		now = now.Add(s.pass)
		if got := b.left(now, 3600); got != s.left {
			t.Errorf("after %s: %v, spent %d", s.pass, got, b.spent)
		}
	}
	if b.spent != 0 {
		t.Errorf("%d octets spent long ago", b.spent)
	}
	b.spent = 7200 // more than there was
	if b.left(now.Add(59*time.Minute), 3600) || !b.left(now.Add(61*time.Minute), 3600) {
		t.Errorf("what was overdrawn did not count: %d", b.spent)
	}
}

// TestRunningIsWrittenLate: a boot is written when it ends, or after half a
// minute.
func TestRunningIsWrittenLate(t *testing.T) {
	m := &meter{shelf: newShelf()}
	a, pass := byHand(m)
	for _, e := range []boot.Event{offerA(), scriptA("boot debian (machine)")} {
		e.Time = pass(0)
		a.tracker.observe(e)
	}
	look := func(d time.Duration, want int) {
		t.Helper()
		e := fileA("/files/vmlinuz", boot.ReasonNone)
		e.Time = pass(d)
		a.tracker.observe(e)
		a.tick(e.Time)
		a.write(false)
		if m.puts != want {
			t.Errorf("after %s more: written %d times, want %d", d, m.puts, want)
		}
	}
	look(29*time.Second, 0)
	look(time.Second, 1)
	look(29*time.Second, 1)
	look(time.Second, 2)
	now := pass(10 * time.Second)
	a.tracker.byMAC[macA].supersede(now)
	a.tracker.place(a.tracker.byMAC[macA])
	a.tick(now)
	a.write(false)
	if m.puts != 3 {
		t.Error("its end was not written at once")
	}
}

// TestOrderOfWriting: what came to its end does not wait for what goes on, and a
// failure waits for nothing.
func TestOrderOfWriting(t *testing.T) {
	a, pass := byHand(newShelf())
	for n := range 3 {
		for _, e := range []boot.Event{offerA(), scriptA("boot debian (machine)"), fileA("/files/vmlinuz", boot.ReasonNone)} {
			e.MAC, e.Addr, e.Time = mac(n), netip.AddrFrom4([4]byte{192, 0, 2, byte(n)}), pass(0)
			a.tracker.observe(e)
		}
	}
	now := pass(time.Minute)
	for n, s := range []boot.AttemptState{boot.AttemptRunning, boot.AttemptBooted, boot.AttemptFailed} {
		x := a.tracker.byMAC[mac(n)]
		if s != boot.AttemptRunning {
			x.a.State, x.a.End, x.told = s, now, true
			a.tracker.place(x)
		}
	}
	order := func() (out string) {
		_, pieces, _ := a.gather(false)
		for _, p := range pieces {
			out += " " + string(p.kept.Attempt.State)
			p.t.unkept = true
		}
		return out
	}
	if got := order(); got != " failed booted running" {
		t.Errorf("order%s", got)
	}
	a.keep.others.spent = 2 * othersPerHour
	if got := order(); got != " failed" {
		t.Errorf("without a budget:%s", got)
	}
	a.keep.failures.spent = 2 * failuresPerHour
	if got := order(); got != "" {
		t.Errorf("without any budget:%s", got)
	}
}

// TestFailingStore: of a store that has nothing there is nothing to delete,
// however long it fails; and what made way while it was written is deleted.
func TestFailingStore(t *testing.T) {
	s := newShelf()
	s.fail = errors.New("no space left on device")
	a, pass := byHand(s)
	for n := range 10_000 {
		now := pass(200 * time.Millisecond)
		a.tracker.observe(forged(n, now))
		if n%25 == 0 {
			a.tick(now)
			a.write(false)
		}
	}
	if n := len(a.tracker.gone); n > 0 || a.Evicted() == 0 && len(a.tracker.byID) < maxBad {
		t.Errorf("%d names wait to be deleted of a store that never had them", n)
	}
	if s.writes == 0 || a.StoreErr() == nil {
		t.Fatal("the store did not fail")
	}
	s.fail = nil
	a.write(true)
	if len(s.docs) == 0 || a.StoreErr() != nil {
		t.Fatalf("%d documents, %v", len(s.docs), a.StoreErr())
	}
	for _, x := range a.tracker.newestFirst() {
		a.tracker.remove(x)
	}
	s.fail = errors.New("once more")
	a.write(true)
	s.fail = nil
	a.write(true)
	if len(s.docs) != 0 {
		t.Errorf("%d documents of attempts that made way", len(s.docs))
	}
	// One makes way while it is written.
	e := forged(1, pass(time.Second))
	a.tracker.observe(e)
	x := a.tracker.byMAC[e.MAC]
	_, pieces, _ := a.gather(true)
	if err := a.keep.encode(pieces, true); err != nil || len(pieces) != 1 {
		t.Fatal(len(pieces), err)
	}
	s.docs[string(x.a.ID)] = pieces[0].doc
	a.tracker.remove(x)
	a.settleBatch(pieces, nil, nil, nil)
	a.write(true)
	if len(s.docs) != 0 {
		t.Error("what made way while it was written stays in the store")
	}
}

// TestRestartIn1970: a box without a clock of its own comes up in 1970. What was
// over stays as it was, and what was going on ends as far as it came.
func TestRestartIn1970(t *testing.T) {
	for _, over := range []bool{true, false} {
		w := newWire(t)
		p := w.pc(1, boot.FirmwareUEFI).loader("snponly.efi").booting(decidedBoot)
		if over {
			p.httpEnd("/files/vmlinuz", 100, 8<<20, boot.ReasonInterrupted)
			w.wait(5 * time.Minute)
		} else {
			p.progress("/files/vmlinuz", 1, 100)
		}
		old := w.one()
		want := boot.AttemptStalled
		if over {
			want = boot.AttemptFailed
		}
		for _, now := range []time.Time{time.Date(1970, 1, 1, 0, 1, 0, 0, time.UTC), w.now.Add(30 * 24 * time.Hour)} {
			w2 := newWire(t)
			w2.now = now
			w2.tr.restore([]keptAttempt{{documentVersion, 1, old}}, w2.now)
			q := w2.pc(1, boot.FirmwareUEFI)
			q.http("/files/vmlinuz", 100)
			q.system()
			w2.wait(10 * time.Minute)
			if a := w2.one(); a.State != want || a.Took != old.Took || !a.Last.Equal(old.Last) || a.End.IsZero() {
				t.Errorf("over %v, restarted at %s: it is %s and took %s, before %s and %s", over, now, a.State, a.Took, old.State, old.Took)
			}
		}
	}
}

// TestClosedByRestart: an attempt that ends because of the restart is judged, told
// and written as any other.
func TestClosedByRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := boot.Attempt{
			ID: "ab", MAC: macA, State: boot.AttemptRunning, Start: time.Now().Add(time.Hour), Last: time.Now().Add(2 * time.Hour), Took: time.Hour,
			Stages: []boot.Stage{{Name: boot.StageScript, Count: 1, Done: true}},
		}
		s := newShelf()
		s.docs["ab"] = []byte(marshal(t, keptAttempt{documentVersion, 1, a}))
		g := run(t, AttemptsConfig{}, s)
		pass(10 * time.Second)
		if len(g.ended) != 1 || g.ended[0].State != boot.AttemptStalled || g.ended[0].Took != time.Hour || len(g.told) != 1 {
			t.Errorf("ended %+v", g.ended)
		}
		var k keptAttempt
		if err := json.Unmarshal(s.docs["ab"], &k); err != nil || k.Attempt.State != boot.AttemptStalled {
			t.Errorf("the store has %s, %v", k.Attempt.State, err)
		}
		g.stop()
	})
}

// TestTookOverRestart: the time in which the box was not there is no part of how
// long a boot took, nor is a step of the clock afterwards.
func TestTookOverRestart(t *testing.T) {
	w := newWire(t)
	p := w.pc(1, boot.FirmwareUEFI).loader("snponly.efi").booting(decidedBoot).progress("/files/vmlinuz", 1, 100)
	old := w.one()
	w2 := newWire(t)
	w2.now = w.now.Add(time.Minute)
	w2.tr.restore([]keptAttempt{{documentVersion, 1, old}}, w2.now)
	p.w = w2
	w2.wait(5 * time.Second)
	p.http("/files/vmlinuz", 100)
	if a := w2.one(); a.Took < old.Took || a.Took > old.Took+30*time.Second {
		t.Errorf("took %s, before the restart %s", a.Took, old.Took)
	}
}

// TestSeqPoison: a damaged number of one document spoils neither the order nor
// the documents that come after it.
func TestSeqPoison(t *testing.T) {
	s := newShelf()
	doc := func(id string, seq uint64) {
		s.docs[id] = []byte(marshal(t, keptAttempt{documentVersion, seq, boot.Attempt{
			ID: boot.AttemptID(id), State: boot.AttemptFailed, Last: time.Unix(1, 0), End: time.Unix(1, 0),
		}}))
	}
	doc("01", 7)
	doc("02", 1<<60)
	doc("03", 1<<60-1)
	doc("04", 8)
	a, pass := byHand(s)
	if err := a.SetStore(s); err != nil || a.Skipped() > 0 {
		t.Fatal(err, a.Skipped())
	}
	a.tracker.observe(forged(1, pass(time.Second)))
	var order []string
	for _, x := range a.tracker.newestFirst() {
		order = append(order, string(x.a.ID))
		if x.seq > 1000 {
			t.Errorf("attempt %s has the number %d", x.a.ID, x.seq)
		}
	}
	if got := strings.Join(order[1:], " "); got != "02 03 04 01" {
		t.Errorf("order %s", got)
	}
	a.tick(pass(time.Hour))
	a.write(false)
	for name, doc := range s.docs {
		if k, err := readAttempt(name, doc); err != nil || k.Seq > 1000 {
			t.Errorf("document %s has the number %d, %v", name, k.Seq, err)
		}
	}
}

// TestUnreadableIsDeleted: what nobody can read is counted and deleted, once; what
// a newer version wrote stays for it.
func TestUnreadableIsDeleted(t *testing.T) {
	s := newShelf()
	s.docs["01"], s.docs["x y"], s.docs["\xff"] = []byte("{"), []byte("null"), []byte("{")
	s.docs["02"] = []byte(`{"version":2,"seq":1}`)
	a := NewAttempts(AttemptsConfig{})
	if err := a.SetStore(s); err != nil {
		t.Fatal(err)
	}
	if a.Skipped() != 4 {
		t.Errorf("%d counted", a.Skipped())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_ = a.Run(ctx)
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	_, docs := s.state()
	if len(docs) != 2 || docs["02"] == nil || docs["\xff"] == nil { // the last one is no name that can be written
		t.Errorf("left: %q", docs)
	}
}

// TestBudgetWithinBatch: what the budget has no room for is written later, and a
// batch is paid for once.
func TestBudgetWithinBatch(t *testing.T) {
	m := &meter{shelf: newShelf()}
	a, pass := byHand(m)
	for n := range 10 {
		a.tracker.observe(forged(n, pass(0)))
	}
	for _, x := range a.tracker.newestFirst() {
		x.a.State, x.a.End, x.told, x.unkept = boot.AttemptLocal, pass(0), true, true
		a.tracker.place(x)
	}
	a.keep.others = budget{spent: othersPerHour - 1, at: pass(0)}
	a.write(false)
	if m.puts != 1 || a.keep.others.spent < othersPerHour+costWrite {
		t.Fatalf("%d documents on the last octet, spent %d", m.puts, a.keep.others.spent)
	}
	a.write(false)
	if m.batches != 1 {
		t.Error("written without a budget")
	}
	pass(time.Hour)
	before := a.keep.others.spent
	a.write(false)
	if m.puts != 10 || m.batches != 2 {
		t.Errorf("%d documents in %d batches an hour later", m.puts, m.batches)
	}
	if spent, most := a.keep.others.spent, max(before-othersPerHour, 0)+costWrite+9*(costDocument+4<<10); spent > most {
		t.Errorf("nine documents cost %d, at most %d", spent, most)
	}
	a.write(true)
	if m.batches != 2 {
		t.Error("written twice")
	}
}
