package webui

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// everyBoot are the attempts of the morning, the hostile one, and some that
// lack nearly everything.
func everyBoot() []boot.Attempt {
	list := append(morning(noon).attempts, hostile(noon))
	return append(list, boot.Attempt{}, boot.Attempt{State: boot.AttemptRunning, Start: noon}, boot.Attempt{State: boot.AttemptStalled, Start: noon, Last: noon, End: noon.Add(time.Minute)})
}

// checkDrawing says what is wrong with a drawing, whatever it is of.
func checkDrawing(t *testing.T, d drawing, marks int) {
	t.Helper()
	inside := func(what string, x, y float64) {
		if math.IsNaN(x) || math.IsNaN(y) || x < -1 || y < -1 || x > d.W+1 || y > d.H+1 {
			t.Errorf("%s at %.1f, %.1f of %.1f × %.1f", what, x, y, d.W, d.H)
		}
	}
	if len(d.Glyphs) != marks {
		t.Errorf("%d glyphs for %d marks", len(d.Glyphs), marks)
	}
	for _, g := range d.Glyphs {
		inside("glyph "+g.Shape, g.X, g.Y)
		if g.Shape == shapeBar {
			if g.W < 0 || g.H < 0 || g.SW < 0 || g.SH < 0 {
				t.Errorf("bar of a negative size: %+v", g)
			}
			inside("end of a bar", g.X+g.W, g.Y+g.H)
		}
		if g.Stood {
			inside("end of standing still", g.SX+g.SW, g.SY+g.SH)
		}
	}
	for _, b := range d.Bands {
		inside("band", b.X, b.Y)
		inside("end of a band", b.X+b.W, b.Y+b.H)
		for _, l := range b.Hatch {
			inside("hatching", l.X1, l.Y1)
			inside("hatching", l.X2, l.Y2)
		}
	}
	for _, r := range d.Rails {
		inside("rail", r.X1, r.Y1)
		inside("rail", r.X2, r.Y2)
	}
	for _, l := range slices.Concat(d.Labels, d.Ticks) {
		inside("label "+l.Text, l.X, l.Y)
	}
	inside("end", d.End.X2, d.End.Y2)
	checkLabels(t, d)
}

// checkLabels fails when two labels of the wide drawing lie on one another.
func checkLabels(t *testing.T, d drawing) {
	t.Helper()
	if !d.Wide {
		for i := 1; i < len(d.Labels); i++ {
			if d.Labels[i].Y-d.Labels[i-1].Y < 12 {
				t.Errorf("labels %q and %q lie on one another", d.Labels[i-1].Text, d.Labels[i].Text)
			}
		}
		return
	}
	from := func(l label) float64 {
		switch l.Anchor {
		case "end":
			return l.X - textWidth(l.Text)
		case "middle":
			return l.X - textWidth(l.Text)/2
		}
		return l.X
	}
	all := slices.Concat(d.Labels, d.Ticks)
	for i, a := range all {
		for _, b := range all[i+1:] {
			if math.Abs(a.Y-b.Y) < 9 && from(a) < from(b)+textWidth(b.Text) && from(b) < from(a)+textWidth(a.Text) {
				t.Errorf("labels %q and %q lie on one another", a.Text, b.Text)
			}
		}
	}
}

func TestDrawings(t *testing.T) {
	for _, a := range everyBoot() {
		t.Run(string(a.ID), func(t *testing.T) {
			n := len(marksOf(&a))
			checkDrawing(t, wide(&a, noon), n)
			checkDrawing(t, tall(&a, noon), n)
		})
	}
}

// What a stalled transfer looks like is the heart of the matter.
func TestDrawingOfAStall(t *testing.T) {
	a := stalledTFTP(noon)
	d := wide(&a, noon)
	var stood []glyph
	for _, g := range d.Glyphs {
		if g.Stood {
			stood = append(stood, g)
		}
	}
	if len(stood) != 1 || !strings.Contains(stood[0].Class, "tone-bad") || stood[0].SW < 50 || stood[0].W > 5 {
		t.Errorf("standing still: %+v", stood)
	}
	var quiet []string
	for _, b := range d.Bands {
		quiet = append(quiet, b.Text)
	}
	if want := []string{"quiet 4.0 s", "quiet 12 s", "quiet 45 s"}; !slices.Equal(quiet, want) {
		t.Errorf("quiet times %q, want %q", quiet, want)
	}
	text := labelsOf(d)
	for _, w := range []string{"2nd try", "snponly.efi: silence", "192.0.2.1 offers", "takes address"} {
		if !slices.Contains(text, w) {
			t.Errorf("no label %q among %q", w, text)
		}
	}
}

func labelsOf(d drawing) []string {
	var list []string
	for _, l := range d.Labels {
		list = append(list, l.Text)
	}
	return list
}

func TestMarks(t *testing.T) {
	count := func(a boot.Attempt, is func(m mark) bool) int {
		n := 0
		for _, m := range marksOf(&a) {
			if is(m) {
				n++
			}
		}
		return n
	}
	shape := func(s string) func(m mark) bool { return func(m mark) bool { return m.shape == s } }
	if n := count(option60(noon), func(m mark) bool { return m.shape == shapeForeign && m.tone == toneWarn }); n != 4 {
		t.Errorf("%d offers of the other server are marked as such, want 4", n)
	}
	if n := count(rival(noon), func(m mark) bool { return m.shape == shapeForeign && m.tone == toneDim }); n != 1 {
		t.Errorf("%d plain offers of an address, want 1", n)
	}
	if n := count(ignored(noon), shape(shapeUnheard)); n != 2 {
		t.Errorf("%d questions without an answer, want 2", n)
	}
	if n := count(quirks(noon), shape(shapeChange)); n != 2 {
		t.Errorf("%d changes of the form, want 2", n)
	}
	// Progress and end of a transfer are one bar; one without an end is open.
	if n := count(stalledTFTP(noon), shape(shapeBar)); n != 1 {
		t.Errorf("%d bars of one transfer", n)
	}
	if n := count(fetching(noon), func(m mark) bool { return m.open && m.flowing == 17*sec && m.from == 7*sec }); n != 1 {
		t.Errorf("%d transfers under way, want 1", n)
	}
	// The second program's question is not the first one's repetition.
	if n := count(install(noon), func(m mark) bool { return strings.Contains(m.label, "try") }); n != 0 {
		t.Errorf("%d questions of a healthy boot are called repetitions", n)
	}
	if n := count(noDHCP(noon), func(m mark) bool { return strings.HasSuffix(m.label, "try") }); n != 4 {
		t.Errorf("%d repetitions, want 4", n)
	}
}

// A quiet time is one in which no data arrived; an installer is quiet for
// minutes without anything being wrong.
func TestQuietTimes(t *testing.T) {
	quiet := func(a boot.Attempt) []time.Duration {
		list := marksOf(&a)
		end, _, _ := endOf(&a, noon)
		slots := slotsOf(list, end)
		var times []time.Duration
		for _, i := range quietTimes(list, slots) {
			times = append(times, (slots[i].at - slots[i-1].at).Truncate(100*ms))
		}
		return times
	}
	for name, c := range map[string]struct {
		a    boot.Attempt
		want []time.Duration
	}{
		"install":  {install(noon), []time.Duration{30 * sec, 5*time.Minute + 12*sec}},
		"fetching": {fetching(noon), nil},
		"no dhcp":  {noDHCP(noon), []time.Duration{4 * sec, 8 * sec, 16 * sec, 32 * sec, 62 * sec}},
	} {
		if got := quiet(c.a); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	rows := func(a boot.Attempt) []string {
		var gaps []string
		for _, r := range eventRows(&a, noon) {
			if r.Gap != "" {
				gaps = append(gaps, r.Gap)
			}
		}
		return gaps
	}
	if got := rows(fetching(noon)); len(got) != 0 {
		t.Errorf("gaps in a transfer that goes on: %q", got)
	}
	if got := rows(stalledTFTP(noon)); !slices.Equal(got, []string{"4.0 s"}) {
		t.Errorf("gaps of the stalled one: %q", got)
	}
}

func TestElasticTime(t *testing.T) {
	slots := []slot{{at: 0}, {at: ms}, {at: sec}, {at: time.Minute}, {at: time.Hour}, {at: math.MaxInt64}}
	x := spread(slots, 100, 1000)
	for i := 1; i < len(x); i++ {
		if x[i]-x[i-1] < 5 {
			t.Errorf("slot %d is %.1f behind the one before", i, x[i]-x[i-1])
		}
	}
	if x[0] != 100 || x[len(x)-1] > 1000.01 {
		t.Errorf("from %.1f to %.1f", x[0], x[len(x)-1])
	}
	if got := placeOf(slots, x, 500*ms); got <= x[1] || got >= x[2] {
		t.Errorf("half a second stands at %.1f, want between %.1f and %.1f", got, x[1], x[2])
	}
	if got := placeOf(slots, x, sec); got != x[2] {
		t.Errorf("a second stands at %.1f, want %.1f", got, x[2])
	}
}

func TestTell(t *testing.T) {
	for name, c := range map[string]struct {
		e    boot.Event
		lane lane
		tone string
		want string
	}{
		"system asks":    {boot.Event{Kind: boot.KindSilence, Reason: boot.ReasonClass}, laneSystem, toneGood, "An operating system or installer asked for an address"},
		"denied":         {boot.Event{Kind: boot.KindSilence, Reason: boot.ReasonDenied}, laneDHCP, toneWarn, "not answer"},
		"nak":            {boot.Event{Kind: boot.KindForeign, Foreign: &boot.Foreign{Type: "nak", Server: ip("192.0.2.1")}}, laneOther, toneBad, "192.0.2.1 refused"},
		"boots":          {boot.Event{Kind: boot.KindForeign, Foreign: &boot.Foreign{Type: "offer", Server: ip("192.0.2.1"), File: "x"}}, laneOther, toneWarn, "192.0.2.1 offered"},
		"twin":           {boot.Event{Kind: boot.KindForeign, Foreign: &boot.Foreign{Type: "offer", Server: ip("192.0.2.1"), File: "x", Twin: true}}, laneOther, toneWarn, "The bootpuck 192.0.2.1"},
		"nothing known":  {boot.Event{Kind: boot.KindForeign}, laneOther, toneDim, "Another server answered"},
		"missing file":   {boot.Event{Kind: boot.KindHTTP, Reason: boot.ReasonNotFound, File: "a/b"}, laneHTTP, toneBad, "Did not get a/b"},
		"whole file":     {boot.Event{Kind: boot.KindTFTP, File: "a/b"}, laneTFTP, toneGood, "Fetched a/b"},
		"failed install": {boot.Event{Kind: boot.KindCallback, Text: "failed: no disk"}, laneSystem, toneBad, "Installer reported: failed: no disk"},
		"verdict":        {boot.Event{Kind: boot.KindVerdict, Reason: boot.ReasonBooted}, laneDHCP, toneDim, "Verdict: Booted"},
		"http block":     {boot.Event{Kind: boot.KindProgress, File: "a"}, laneHTTP, toneGood, "Fetches a"},
		"tftp block":     {boot.Event{Kind: boot.KindProgress, File: "a", Block: 512}, laneTFTP, toneGood, "Fetches a"},
	} {
		got := tell(&c.e)
		if got.lane != c.lane || got.tone != c.tone || !strings.Contains(got.what, c.want) {
			t.Errorf("%s: %s, %s, %q", name, got.lane, got.tone, got.what)
		}
	}
	for _, k := range boot.Kinds() {
		if got := tell(&boot.Event{Kind: k}); got.what == "" || got.tone == "" {
			t.Errorf("%s is told as %+v", k, got)
		}
	}
}

// FuzzDrawing draws attempts of any events at any times.
func FuzzDrawing(f *testing.F) {
	f.Add([]byte{0, 0, 1, 2, 250, 6, 9, 9, 17, 1, 2, 3, 16, 255, 255, 255}, int64(0), uint8(0))
	f.Add([]byte("offers and transfers, forwards and backwards"), int64(time.Hour), uint8(3))
	kinds, states, reasons := boot.Kinds(), boot.AttemptStates(), []boot.Reason{"", boot.ReasonClientSilent, boot.ReasonNotFound, boot.ReasonClass}
	f.Fuzz(func(t *testing.T, data []byte, end int64, state uint8) {
		a := boot.Attempt{ID: "f", Start: noon, State: states[int(state)%len(states)], End: noon.Add(time.Duration(end))}
		for len(data) >= 4 && len(a.Events) < 2*boot.MaxAttemptEvents {
			d := data[:4]
			data = data[4:]
			// From microseconds to centuries, and before the start.
			at := time.Duration(int8(d[1])) * time.Duration(uint64(1)<<(d[2]%56))
			e := boot.Event{
				Time: noon.Add(at), Kind: kinds[int(d[0])%len(kinds)], File: string('a' + rune(d[3]%3)), Bytes: int64(d[3]) << (d[2] % 60), Total: int64(d[1]),
				Duration: time.Duration(int8(d[3])) * time.Second, Reason: reasons[int(d[3])%len(reasons)], Block: int(d[2]), Text: "t",
			}
			if d[3]&1 == 1 {
				e.Foreign = &boot.Foreign{Type: "offer", File: "f"}
			}
			a.Events = append(a.Events, e)
			a.Last = e.Time
		}
		n := len(marksOf(&a))
		checkDrawing(t, wide(&a, noon), n)
		checkDrawing(t, tall(&a, noon), n)
		eventRows(&a, noon)
		stepsOf(&a)
	})
}
