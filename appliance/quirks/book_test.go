package quirks

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	class = "PXEClient:Arch:00007:UNDI:003000"
	oui   = "52:54:00"
)

var (
	twoStep = boot.Shape{Form: boot.FormTwoStep}
	late    = boot.Shape{Delay: boot.RungDelay}
)

// book is a Book with a clock, and what it told.
type book struct {
	*Book
	now  time.Time
	told []boot.Event
}

func newBook(limit int) *book {
	b := &book{now: time.Unix(1_800_000_000, 0).UTC()}
	b.Book = New(Config{
		Now: func() time.Time { b.now = b.now.Add(time.Second); return b.now }, Max: limit,
		Sink: func(e boot.Event) { b.told = append(b.told, e) },
	})
	return b
}

func (b *book) shape(class, oui, product string) boot.Shape {
	s, _ := b.For(class, oui, product)
	return s
}

func TestDefaults(t *testing.T) {
	b := New(Config{})
	if !b.Empty() || b.Products() || b.cfg.Max != DefaultMax || len(b.List()) != 0 {
		t.Errorf("%+v", b.cfg)
	}
	if s, pinned := b.For(class, oui, "x"); pinned || !s.IsZero() {
		t.Error(s, pinned)
	}
	before := time.Now()
	b.Worked(class, oui, "", twoStep, true) // no sink, the real clock
	if m := b.List(); len(m) != 1 || m[0].First.Before(before) || m[0].First != m[0].Last || b.Empty() {
		t.Errorf("%+v", m)
	}
}

func TestID(t *testing.T) {
	id := ID(class, oui, "Latitude 7490")
	if len(id) != 16 || strings.Trim(id, "0123456789abcdef") != "" {
		t.Error(id)
	}
	if ID(" "+strings.ToUpper(class)+" ", strings.ToUpper(oui), "latitude 7490\n") != id {
		t.Error("case and spaces around count")
	}
	seen := map[string]bool{id: true}
	for _, other := range []string{ID(class, oui, ""), ID(class, "", "Latitude 7490"), ID("", oui, "Latitude 7490"), ID(class+oui, "", "Latitude 7490"), ID(class, oui+"latitude", " 7490")} {
		if seen[other] {
			t.Errorf("%s twice", other)
		}
		seen[other] = true
	}
	long := strings.Repeat("x", MaxPart)
	if ID(long+"y", "", "") != ID(long, "", "") || ID(long[1:]+"y", "", "") == ID(long, "", "") {
		t.Error("the bound of a part")
	}
}

func TestLearning(t *testing.T) {
	b := newBook(0)
	// A success alone teaches nothing.
	b.Worked(class, oui, "", twoStep, false)
	b.Failed(class, oui, "", twoStep)
	if !b.Empty() || len(b.told) != 0 {
		t.Fatalf("%+v", b.List())
	}
	b.Worked(class, oui, "", twoStep, true)
	if got := b.shape(strings.ToUpper(class), oui, ""); got != twoStep {
		t.Errorf("%v", got)
	}
	if len(b.told) != 1 || b.told[0].Kind != boot.KindQuirk || *b.told[0].Shape != twoStep || b.told[0].Text != `learned from a boot that went on: machines of class "`+class+`", network cards 52:54:00 are offered first: two-step offer` || b.told[0].Time.IsZero() {
		t.Errorf("%+v", b.told)
	}
	b.Worked(class, oui, "", twoStep, false)
	b.Worked(class, oui, "", twoStep, true)
	m := b.List()[0]
	if m.Worked != 3 || m.Failed != 0 || !m.Last.After(m.First) || m.ID != ID(class, oui, "") || m.Pinned || m.OUI != oui || m.Class != class || len(b.told) != 1 {
		t.Errorf("%+v %+v", m, b.told)
	}
	// One machine of many that needs something else changes nothing.
	b.Worked(class, oui, "", late, true)
	if b.shape(class, oui, "") != twoStep || len(b.told) != 1 {
		t.Errorf("%+v", b.List())
	}
	// Failures count in a row, and only of what is in use.
	b.Failed(class, oui, "", twoStep)
	b.Failed(class, oui, "", late)
	b.Worked(class, oui, "", twoStep, false)
	b.Failed(class, oui, "", twoStep)
	if got, _ := b.Get(m.ID); got.Failed != 1 || b.shape(class, oui, "") != twoStep {
		t.Errorf("%+v", got)
	}
	b.Failed(class, oui, "", twoStep)
	got, _ := b.Get(m.ID)
	if got.Failed != DropAfter || got.Used() || b.shape(class, oui, "") != (boot.Shape{}) {
		t.Errorf("%+v", got)
	}
	if len(b.told) != 2 || !strings.Contains(b.told[1].Text, "are offered the default first again; this failed 2 times: two-step offer") || *b.told[1].Shape != twoStep {
		t.Errorf("%+v", b.told)
	}
	// It stays dropped, whatever is said about it again; another shape may come.
	b.Failed(class, oui, "", twoStep)
	b.Worked(class, oui, "", twoStep, true)
	if got, _ = b.Get(m.ID); got.Failed != DropAfter || got.Worked != 5 || !b.shape(class, oui, "").IsZero() {
		t.Errorf("%+v", got)
	}
	b.Worked(class, oui, "", late, true)
	if got, _ = b.Get(m.ID); got.Shape != late || got.Worked != 1 || got.Failed != 0 || b.shape(class, oui, "") != late || got.First != m.First {
		t.Errorf("%+v", got)
	}
}

func TestProducts(t *testing.T) {
	b := newBook(0)
	b.Worked(class, oui, "A", twoStep, true)
	if !b.Products() {
		t.Error("the product makes no difference")
	}
	for product, want := range map[string]boot.Shape{"A": twoStep, "a ": twoStep, "B": {}, "": twoStep} {
		if got := b.shape(class, oui, product); got != want {
			t.Errorf("%q: %v, want %v", product, got, want)
		}
	}
	for _, other := range [][2]string{{"PXEClient", oui}, {class, "00:00:00"}, {"", ""}, {class, ""}, {"", oui}} {
		if got := b.shape(other[0], other[1], ""); !got.IsZero() {
			t.Errorf("%q: %v", other, got)
		}
	}
	// A product that needs nothing, after it had been given what A needs.
	b.Worked(class, oui, "B", boot.Shape{}, true)
	for product, want := range map[string]boot.Shape{"A": twoStep, "B": {}, "": {}, "C": {}} {
		if got := b.shape(class, oui, product); got != want {
			t.Errorf("%q: %v, want %v", product, got, want)
		}
	}
	// What holds for the make does not for a product that is known better.
	b.Worked(class, oui, "", late, true)
	for product, want := range map[string]boot.Shape{"A": twoStep, "B": {}, "": late, "C": late} {
		if got := b.shape(class, oui, product); got != want {
			t.Errorf("%q: %v, want %v", product, got, want)
		}
	}
	// Successes and failures count for the model that the machine had it from.
	b.Worked(class, oui, "C", late, false)
	b.Failed(class, oui, "D", late)
	if m, _ := b.Get(ID(class, oui, "")); m.Worked != 2 || m.Failed != 1 || len(b.List()) != 3 {
		t.Errorf("%+v", b.List())
	}
	b.Worked(class, oui, "C", twoStep, false) // from nowhere
	b.Failed(class, oui, "D", twoStep)
	// It may turn out later that B needs something.
	b.Worked(class, oui, "B", late, true)
	if b.shape(class, oui, "B") != late {
		t.Errorf("%+v", b.List())
	}
	// Two failures of A's: nothing is known of it, whatever the make needs.
	b.Failed(class, oui, "A", twoStep)
	b.Failed(class, oui, "A", twoStep)
	if got := b.shape(class, oui, "A"); got != late && !got.IsZero() {
		t.Errorf("%v", got)
	}
	b2 := newBook(0)
	b2.Worked(class, oui, "A", twoStep, true)
	b2.Worked(class, oui, "B", twoStep, true)
	if b2.shape(class, oui, "") != twoStep {
		t.Error("all products agree")
	}
}

func TestPins(t *testing.T) {
	b := newBook(0)
	if err := b.Pin("0123456789abcdef", twoStep, ""); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if err := b.Reset("0123456789abcdef"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if _, ok := b.Get("0123456789abcdef"); ok {
		t.Error("there is one")
	}
	m, err := b.PinModel("", "52:54:00", "", twoStep, "bench")
	if err != nil || !m.Pinned || m.Shape != twoStep || m.Note != "bench" || m.ID != ID("", oui, "") {
		t.Fatalf("%+v %v", m, err)
	}
	if s, pinned := b.For(class, oui, "X"); s != twoStep || !pinned {
		t.Errorf("%v %v", s, pinned)
	}
	// Neither failures nor rescues move it; successes count.
	for range 5 {
		b.Failed(class, oui, "", twoStep)
		b.Worked("", oui, "", late, true)
		b.Worked(class, oui, "", twoStep, false)
	}
	if got, _ := b.Get(m.ID); got.Shape != twoStep || got.Worked != 5 || got.Failed != 0 {
		t.Errorf("%+v", got)
	}
	// The more of its parts are named, the more it counts.
	for _, c := range []struct {
		class, oui, product string
		block               int
	}{{class, "", "", 600}, {"", "", "X", 601}, {class, "", "X", 602}, {"", oui, "X", 603}, {class, oui, "", 604}, {class, oui, "X", 605}} {
		if _, err := b.PinModel(c.class, c.oui, c.product, boot.Shape{Block: c.block}, ""); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		class, oui, product string
		want                int
	}{
		{class, oui, "X", 605},
		{class, oui, "Y", 604},
		{class, oui, "", 604},
		{class, "00:00:00", "X", 602},
		{class, "00:00:00", "Y", 600},
		{"other", oui, "X", 603},
		{"other", oui, "Y", 0},
		{"other", "00:00:00", "X", 601},
		{"other", "00:00:00", "Y", -1},
	} {
		s, pinned := b.For(c.class, c.oui, c.product)
		if pinned != (c.want >= 0) || s.Block != max(c.want, 0) || c.want == 0 && s != twoStep {
			t.Errorf("%+v: %v %v", c, s, pinned)
		}
	}
	// Another shape for a known one; the list has pins first.
	if err := b.Pin(m.ID, late, "other"); err != nil {
		t.Fatal(err)
	}
	if got, _ := b.Get(m.ID); got.Shape != late || got.Note != "other" || got.Worked != 0 {
		t.Errorf("%+v", got)
	}
	b.Worked("x", oui, "", twoStep, true)
	list := b.List()
	if list[len(list)-1].Class != "x" || list[0].ID != m.ID {
		t.Errorf("%v", list)
	}
	if last := b.told[len(b.told)-2]; last.Kind != boot.KindOperator || last.Text != "pinned: machines of network cards 52:54:00 get sent after 300ms" || *last.Shape != late {
		t.Errorf("%+v", last)
	}
	if err := b.Reset(m.ID); err != nil {
		t.Fatal(err)
	}
	if got := b.shape("other", oui, "Y"); !got.IsZero() {
		t.Errorf("%v", got)
	}
	if last := b.told[len(b.told)-1]; last.Kind != boot.KindOperator || last.Text != "forgotten: what machines of network cards 52:54:00 need" {
		t.Errorf("%+v", last)
	}
	// Pinning the default switches the ladder off for a model.
	if _, err := b.PinModel("x", oui, "", boot.Shape{}, ""); err != nil {
		t.Fatal(err)
	}
	if s, pinned := b.For("x", oui, ""); !pinned || !s.IsZero() {
		t.Errorf("%v %v", s, pinned)
	}
}

func TestPinErrors(t *testing.T) {
	b := newBook(0)
	long := strings.Repeat("x", MaxPart+1)
	for want, c := range map[string]struct {
		class, oui, product string
		s                   boot.Shape
		note                string
	}{
		"class":         {},
		"class product": {class: long, product: long},
		"class oui":     {class: " x", oui: "52:54"},
		"oui":           {oui: "52-54-00"},
		"oui note":      {oui: "zz:54:00", note: strings.Repeat("n", MaxNote+1)},
		"product note":  {product: "\xff", note: "\xff"},
		"shape.form shape.loader shape.delay_ns shape.blocksize": {oui: "52:54:0A", s: boot.Shape{Form: "x", Variant: "x", Delay: -1, Block: 1}},
	} {
		_, err := b.PinModel(c.class, c.oui, c.product, c.s, c.note)
		wrong, ok := errors.AsType[boot.FieldErrors](err)
		var fields []string
		for _, e := range wrong {
			fields = append(fields, e.Field)
		}
		if got := strings.Join(fields, " "); !ok || got != want {
			t.Errorf("%q, want %q: %v", got, want, err)
		}
	}
	b.Worked(class, oui, "", twoStep, true)
	if _, ok := errors.AsType[boot.FieldErrors](b.Pin(ID(class, oui, ""), boot.Shape{Block: 1}, "")); !ok {
		t.Error("a block of one octet is pinned")
	}
	if m, err := b.PinModel(strings.Repeat("c", MaxPart), "52:54:0A", strings.Repeat("p", MaxPart), boot.Shape{}, strings.Repeat("n", MaxNote)); err != nil || m.OUI != "52:54:0a" {
		t.Errorf("%+v %v", m, err)
	}
}

func TestBounds(t *testing.T) {
	b := newBook(3)
	b.Worked("a", oui, "", twoStep, true)
	b.Worked("b", oui, "", twoStep, true)
	b.Worked("c", oui, "", twoStep, true)
	b.Failed("c", oui, "", twoStep)
	b.Failed("c", oui, "", twoStep)
	b.Worked("d", oui, "", twoStep, true) // in the place of c, which is used no longer
	b.Worked("a", oui, "", twoStep, true)
	b.Worked("e", oui, "", twoStep, true) // of b, the oldest
	var classes []string
	for _, m := range b.List() {
		classes = append(classes, m.Class)
	}
	if !slices.Equal(classes, []string{"e", "a", "d"}) {
		t.Errorf("%v", classes)
	}
	for _, c := range classes {
		if err := b.Pin(ID(c, oui, ""), twoStep, ""); err != nil {
			t.Fatal(err)
		}
	}
	if b.Worked("f", oui, "", twoStep, true); len(b.List()) != 3 {
		t.Errorf("%v", b.List())
	}
	if _, err := b.PinModel("f", oui, "", twoStep, ""); !errors.Is(err, ErrFull) {
		t.Error(err)
	}
	if _, err := b.PinModel("e", oui, "", late, ""); err != nil {
		t.Error(err)
	}
	// Counters end.
	m := b.models[ID("e", oui, "")]
	m.Worked = maxCount
	if b.Worked("e", oui, "", late, false); m.Worked != maxCount {
		t.Error(m.Worked)
	}
	// Strangers' text is bounded and can be kept.
	b = newBook(0)
	b.Worked(strings.Repeat("\xff\x00é", 100), oui, "\x1b[2J"+strings.Repeat("p", 500), twoStep, true)
	got := b.List()[0]
	if len(got.Class) > MaxPart || len(got.Product) > MaxPart || got.check().Err() != nil {
		t.Errorf("%q %v", got, got.check())
	}
	if s := got.String(); strings.ContainsAny(s, "\x1b\x00") {
		t.Errorf("%q", s)
	}
}

// shelf is a store.
type shelf struct {
	mu     sync.Mutex
	docs   map[string][]byte
	writes []int // documents each
	err    error
}

func (s *shelf) Load(each func(name string, doc []byte) error) error {
	for _, name := range slices.Sorted(maps.Keys(s.docs)) {
		if err := each(name, s.docs[name]); err != nil {
			return err
		}
	}
	return s.err
}

func (s *shelf) Write(docs map[string][]byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes = append(s.writes, len(docs))
	if s.err != nil {
		return s.err
	}
	for name, doc := range docs {
		if s.docs[name] = doc; doc == nil {
			delete(s.docs, name)
		}
	}
	return nil
}

func (s *shelf) log() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.writes)
}

func (s *shelf) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.docs)
}

func (s *shelf) has(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.docs[name] != nil
}

func (s *shelf) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func TestKeeping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(Config{})
		b.Worked(class, oui, "A", twoStep, true) // before there is a store
		s := &shelf{docs: map[string][]byte{"other/thing": []byte("x")}}
		if err := b.SetStore(s); err != nil {
			t.Fatal(err)
		}
		wait := func(d time.Duration) {
			<-time.After(d)
			synctest.Wait()
		}
		wait(writeAfter - 1)
		if len(s.log()) != 0 {
			t.Error("written at once")
		}
		wait(1)
		if !slices.Equal(s.log(), []int{1}) || s.len() != 2 {
			t.Errorf("%v %v", s.log(), s.len())
		}
		// Many changes are one write.
		for i := range 100 {
			b.Worked(class, oui, fmt.Sprint(i%10), twoStep, true)
		}
		id := ID(class, oui, "A")
		if err := b.Reset(id); err != nil {
			t.Fatal(err)
		}
		wait(time.Minute)
		if !slices.Equal(s.log(), []int{1, 11}) || s.has(Prefix+id) || s.len() != 11 {
			t.Errorf("%v %d", s.log(), s.len())
		}
		// A medium that fails is tried again, with all that has changed.
		s.fail(errors.New("full"))
		b.Worked(class, oui, "1", twoStep, false)
		wait(writeAfter + time.Second)
		b.Worked(class, oui, "2", twoStep, false)
		wait(writeAfter)
		s.fail(nil)
		wait(writeAfter)
		if !slices.Equal(s.log(), []int{1, 11, 1, 2, 2}) {
			t.Errorf("%v", s.log())
		}
		if written, failed := b.Writes(); written != 3 || failed != 2 {
			t.Errorf("%d %d", written, failed)
		}
		// The end writes what is left.
		if _, err := b.PinModel(class, oui, "3", late, "note"); err != nil {
			t.Fatal(err)
		}
		if err := b.Close(); err != nil || len(s.log()) != 6 {
			t.Errorf("%v %v", err, s.log())
		}
		b.Worked(class, oui, "4", twoStep, false)
		wait(time.Hour)
		if len(s.log()) != 6 {
			t.Error("written after the end")
		}
		s.fail(errors.New("gone"))
		if err := b.Close(); err == nil || !strings.Contains(err.Error(), "write models: gone") {
			t.Error(err)
		}
		s.fail(nil)

		// The next start has it all.
		again := New(Config{})
		if err := again.SetStore(s); err != nil {
			t.Fatal(err)
		}
		m, _ := again.Get(ID(class, oui, "3"))
		if len(again.List()) != 10 || m.Shape != late || !m.Pinned || m.Note != "note" || again.Empty() {
			t.Errorf("%+v", again.List())
		}
		if s, pinned := again.For(class, oui, "3"); s != late || !pinned {
			t.Error(s, pinned)
		}
		wait(time.Hour)
		if len(s.log()) != 7 { // the failed one of Close
			t.Errorf("%v: written without a change", s.log())
		}
		if err := again.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestLoading(t *testing.T) {
	doc := func(change func(*Model)) []byte {
		m := Model{ID: ID(class, oui, ""), Class: class, OUI: oui, Shape: twoStep, Worked: 1}
		change(&m)
		out, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	name := Prefix + ID(class, oui, "")
	for what, c := range map[string]struct {
		name string
		doc  []byte
		ok   bool
	}{
		"good":           {name, doc(func(*Model) {}), true},
		"wrong name":     {Prefix + "0123456789abcdef", doc(func(*Model) {}), false},
		"wrong id":       {Prefix + "0123456789abcdef", doc(func(m *Model) { m.ID = "0123456789abcdef" }), false},
		"no JSON":        {name, []byte("{"), false},
		"shape":          {name, doc(func(m *Model) { m.Shape.Block = 7 }), false},
		"negative count": {name, doc(func(m *Model) { m.Worked = -1 }), false},
		"large count":    {name, doc(func(m *Model) { m.Failed = maxCount + 1 }), false},
		"largest count":  {name, doc(func(m *Model) { m.Failed = maxCount }), true},
		"huge":           {name, append(doc(func(*Model) {}), strings.Repeat(" ", maxDocument)...), false},
	} {
		b := newBook(0)
		if err := b.SetStore(&shelf{docs: map[string][]byte{c.name: c.doc}}); err != nil {
			t.Fatal(err)
		}
		if (len(b.List()) == 1) != c.ok || (len(b.told) == 0) != c.ok {
			t.Errorf("%s: %v %v", what, b.List(), b.told)
		}
		if !c.ok && (b.told[0].Kind != boot.KindBox || !strings.HasSuffix(b.told[0].Text, ": 1")) {
			t.Errorf("%s: %+v", what, b.told)
		}
	}
	if err := newBook(0).SetStore(&shelf{err: errors.New("broken")}); err == nil || err.Error() != "load models: broken" {
		t.Error(err)
	}
	// What happened since the start stays; a pin that was kept comes back.
	pinned := map[string][]byte{name: doc(func(m *Model) { m.Pinned, m.Shape = true, late })}
	b := newBook(0)
	b.Worked(class, oui, "", twoStep, true)
	if err := b.SetStore(&shelf{docs: pinned}); err != nil || b.shape(class, oui, "") != late {
		t.Errorf("%v %v", err, b.List())
	}
	b = newBook(0)
	if _, err := b.PinModel(class, oui, "", twoStep, ""); err != nil {
		t.Fatal(err)
	}
	if err := b.SetStore(&shelf{docs: pinned}); err != nil || b.shape(class, oui, "") != twoStep {
		t.Errorf("%v %v", err, b.List())
	}
	b = newBook(0)
	b.Worked(class, oui, "", late, true)
	if err := b.SetStore(&shelf{docs: map[string][]byte{name: doc(func(*Model) {})}}); err != nil || b.shape(class, oui, "") != late {
		t.Errorf("%v %v", err, b.List())
	}
	for _, left := range []*book{b} {
		if err := left.Close(); err != nil {
			t.Error(err)
		}
	}
	// More than there is room for.
	b = newBook(1)
	if _, err := b.PinModel("x", oui, "", twoStep, ""); err != nil {
		t.Fatal(err)
	}
	if err := b.SetStore(&shelf{docs: pinned}); err != nil || len(b.List()) != 1 || len(b.told) != 2 {
		t.Errorf("%v %v", err, b.List())
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}

// TestConcurrent is for the race detector.
func TestConcurrent(t *testing.T) {
	b := New(Config{Max: 16})
	if err := b.SetStore(&shelf{docs: map[string][]byte{}}); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 200 {
				product := fmt.Sprint((i + j) % 30)
				b.Worked(class, oui, product, twoStep, true)
				b.Failed(class, oui, product, twoStep)
				b.For(class, oui, product)
				b.List()
				if j%50 == 0 {
					_ = b.Reset(ID(class, oui, product)) // may be gone
				}
			}
		})
	}
	wg.Wait()
	if err := b.Close(); err != nil || len(b.List()) > 16 {
		t.Errorf("%v, %d models", err, len(b.List()))
	}
}

func BenchmarkFor(b *testing.B) {
	for _, n := range []int{0, DefaultMax} {
		b.Run(fmt.Sprint(n, " models"), func(b *testing.B) {
			k := New(Config{})
			for i := range n {
				k.mu.Lock()
				k.worked(class, fmt.Sprintf("52:54:%02x", i%256), fmt.Sprint(i), twoStep, true)
				k.mu.Unlock()
			}
			b.ReportAllocs()
			for b.Loop() {
				k.For(class, oui, "some product")
			}
		})
	}
}
