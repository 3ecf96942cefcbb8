package webui

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// Shapes of marks.
const (
	shapeAsked   = "asked"   // a question that the box answered
	shapeUnheard = "unheard" // a question that the box did not answer
	shapeTaken   = "taken"   // the machine took an address
	shapeForeign = "foreign" // another server's packet
	shapeBar     = "bar"     // a transfer, from its beginning to its end
	shapeTick    = "tick"    // something small
	shapeScript  = "script"  // a text rendered for the machine
	shapeWord    = "word"    // the installer or the system spoke
	shapeChange  = "change"  // the box or its network changed
)

// mark is something in the drawing. Times count from the attempt's first packet.
type mark struct {
	lane     lane
	shape    string
	tone     string
	from, to time.Duration
	flowing  time.Duration // of a bar: until when data arrived; behind it the transfer stood still
	open     bool          // a bar without an end: the transfer goes on, or nobody saw its end
	label    string
	title    string
	rank     int // which labels go first when there is no room for all
}

// underWay is a transfer whose end is not seen yet.
type underWay struct {
	e           *boot.Event
	from        time.Duration
	bytes       int64
	grown, last time.Duration
}

// marksOf turns events into marks, in order of time.
func marksOf(a *boot.Attempt) []mark {
	var list []mark
	open := map[string]*underWay{}
	var order []string
	for i := range a.Events {
		e := &a.Events[i]
		at := max(e.Time.Sub(a.Start), 0)
		switch e.Kind {
		case boot.KindProgress:
			u := open[e.File]
			if u == nil {
				u = &underWay{from: at, grown: at, bytes: -1}
				open[e.File] = u
				order = append(order, e.File)
			}
			if e.Bytes > u.bytes {
				u.bytes, u.grown = e.Bytes, at
			}
			u.e, u.last = e, at
			continue
		case boot.KindDecision, boot.KindOperator, boot.KindVerdict, boot.KindResponder, boot.KindBox:
			continue // words about it, not part of it
		default:
		}
		t := tell(e)
		m := mark{lane: t.lane, tone: t.tone, from: at, to: at, label: t.short, title: clean(join(plus(at), t.what, t.why, t.detail), longText)}
		m.shape, m.rank = look(e)
		if e.Kind == boot.KindTFTP || e.Kind == boot.KindHTTP {
			m.from = max(at-max(e.Duration, 0), 0)
			m.flowing = at
			if u := open[e.File]; u != nil {
				m.from = min(m.from, u.from)
				if e.Reason != boot.ReasonNone && e.Bytes <= u.bytes {
					m.flowing = u.grown
				}
				delete(open, e.File)
			} else if e.Reason == boot.ReasonClientSilent && e.Bytes == 0 {
				m.flowing = m.from
			}
		}
		list = append(list, m)
	}
	for _, name := range order {
		u := open[name]
		if u == nil {
			continue
		}
		delete(open, name)
		t := tell(u.e)
		m := mark{
			lane: t.lane, shape: shapeBar, tone: toneGood, from: u.from, to: u.last, flowing: u.grown, open: true,
			label: join(t.short, t.detail), title: clean(join(plus(u.from), t.what, t.detail), longText), rank: 3,
		}
		if a.State != boot.AttemptRunning {
			m.tone = toneWarn
		}
		list = append(list, m)
	}
	slices.SortStableFunc(list, func(x, y mark) int { return cmp.Compare(x.from, y.from) })
	return numbered(list)
}

// look is the shape of an event's mark, and how much its label matters.
func look(e *boot.Event) (string, int) {
	switch e.Kind {
	case boot.KindOffer, boot.KindAck:
		return shapeAsked, 1
	case boot.KindSilence:
		if e.Reason == boot.ReasonClass {
			return shapeWord, 2
		}
		return shapeUnheard, 2
	case boot.KindLease:
		return shapeTaken, 2
	case boot.KindForeign:
		if e.Foreign != nil && e.Foreign.Boots() {
			return shapeForeign, 3
		}
		return shapeForeign, 1
	case boot.KindTFTP, boot.KindHTTP:
		if e.Reason != boot.ReasonNone {
			return shapeBar, 5
		}
		return shapeBar, 3
	case boot.KindProbe:
		return shapeTick, 0
	case boot.KindScript:
		return shapeScript, 2
	case boot.KindCallback:
		return shapeWord, 3
	case boot.KindSyslog:
		return shapeTick, 0
	case boot.KindQuirk, boot.KindWarning, boot.KindNetwork:
		return shapeChange, 4
	default:
		return shapeTick, 0
	}
}

// numbered tells repeated questions from the first: retries are what a person
// has to see.
func numbered(list []mark) []mark {
	n := 0
	for i := range list {
		m := &list[i]
		switch {
		case m.lane != laneDHCP:
			if m.shape == shapeBar || m.shape == shapeScript { // it got further: the next question is a new one
				n = 0
			}
			continue
		case m.shape == shapeTaken, m.shape == shapeAsked && m.label != "offer":
			n = 0
			continue
		case m.shape != shapeAsked && m.shape != shapeUnheard:
			continue
		}
		if n++; n > 1 {
			m.label = ordinal(n) + " try"
			if m.shape == shapeUnheard {
				m.label += ", not answered"
			}
			m.rank = 2
		}
	}
	return list
}

func ordinal(n int) string {
	switch {
	case n%100/10 == 1:
	case n%10 == 1:
		return itoa(n) + "st"
	case n%10 == 2:
		return itoa(n) + "nd"
	case n%10 == 3:
		return itoa(n) + "rd"
	}
	return itoa(n) + "th"
}

// slot is a point of time that has a place of its own in the drawing: the
// beginning of a mark, the end of a bar, the end of it all.
type slot struct {
	at    time.Duration
	mark  int  // index; -1 for the end of the drawing
	end   bool // the end of the bar, not its beginning
	label bool // text stands beside it
}

// slotsOf orders everything that happens. Time is elastic: what lies close
// together must still be told apart, and a minute of nothing must not push the
// second in which it all happened into a corner.
func slotsOf(list []mark, end time.Duration) []slot {
	slots := make([]slot, 0, 2*len(list)+1)
	for i, m := range list {
		slots = append(slots, slot{at: m.from, mark: i, label: true})
		if m.shape == shapeBar {
			slots = append(slots, slot{at: m.to, mark: i, end: true})
		}
	}
	slices.SortStableFunc(slots, func(x, y slot) int { return cmp.Compare(x.at, y.at) })
	last := time.Duration(0)
	if len(slots) > 0 {
		last = slots[len(slots)-1].at
	}
	return append(slots, slot{at: max(end, last), mark: -1})
}

// elastic is how much room a time takes.
func elastic(d time.Duration) float64 {
	return math.Log2(1 + float64(max(d, 0))/float64(20*time.Millisecond))
}

// drawing is a timeline, ready to be written as SVG. Coordinates are user units.
type drawing struct {
	Wide   bool // time runs to the right; otherwise downwards
	W, H   float64
	Title  string
	Rails  []rail
	Bands  []band
	Glyphs []glyph
	Labels []label
	Ticks  []label
	End    ending
}

// legend explains a kind of mark.
type legend struct {
	Glyph glyph
	Text  string
}

// legendOf explains the marks that are there, and no others.
func legendOf(list []mark) []legend {
	var out []legend
	add := func(text, shape, class string, is func(m mark) bool) {
		if slices.ContainsFunc(list, is) {
			out = append(out, legend{legendGlyph(shape, class), text})
		}
	}
	shaped := func(shape string) func(m mark) bool { return func(m mark) bool { return m.shape == shape } }
	toned := func(shape string, bad bool) func(m mark) bool {
		return func(m mark) bool { return m.shape == shape && (m.tone == toneBad || m.tone == toneWarn) == bad }
	}
	add("asked, answered by this box", shapeAsked, "lane-dhcp tone-good", shaped(shapeAsked))
	add("asked, not answered", shapeUnheard, "lane-dhcp tone-warn", shaped(shapeUnheard))
	add("the box answers in another form, or warns", shapeChange, "lane-dhcp tone-warn", shaped(shapeChange))
	add("took an address", shapeTaken, "lane-dhcp tone-good", shaped(shapeTaken))
	add("another server, for the address", shapeForeign, "lane-other tone-dim", toned(shapeForeign, false))
	add("another server, for the boot", shapeForeign, "lane-other tone-warn", toned(shapeForeign, true))
	add("file", shapeBar, "lane-tftp tone-good", toned(shapeBar, false))
	add("file that failed", shapeBar, "lane-tftp tone-bad", toned(shapeBar, true))
	add("script", shapeScript, "lane-http tone-good", shaped(shapeScript))
	add("installer or system spoke", shapeWord, "lane-system tone-good", shaped(shapeWord))
	return out
}

type rail struct {
	Name, Class    string
	X1, Y1, X2, Y2 float64
	TX, TY         float64 // of the name
}

// band is a time in which nothing was seen.
type band struct {
	X, Y, W, H float64
	TX, TY     float64
	Text       string
	Hatch      []line
}

type glyph struct {
	Shape, Class, Title string
	X, Y                float64
	// Of a bar: its box, and where it stood still.
	W, H           float64
	SX, SY, SW, SH float64
	Stood, Open    bool
}

type label struct {
	X, Y        float64
	Anchor      string
	Text, Class string
}

type line struct{ X1, Y1, X2, Y2 float64 }

// ending is the line at which the drawing ends.
// hatched fills a band with slanting lines. They are lines and not a pattern,
// because patterns need identifiers that are unique on the page.
func (b band) hatched() band {
	const step, most = 9.0, 200
	for s := step; s < b.W+b.H && len(b.Hatch) < most; s += step {
		// From the upper or right edge down to the left or lower one.
		l := line{X1: b.X + s, Y1: b.Y, X2: b.X, Y2: b.Y + s}
		if s > b.W {
			l.X1, l.Y1 = b.X+b.W, b.Y+s-b.W
		}
		if s > b.H {
			l.X2, l.Y2 = b.X+s-b.H, b.Y+b.H
		}
		b.Hatch = append(b.Hatch, l)
	}
	return b
}

type ending struct {
	X1, Y1, X2, Y2, TX, TY float64
	Class, Text, Anchor    string
}

// endOf is until when the drawing goes, and what stands there.
func endOf(a *boot.Attempt, now time.Time) (at time.Duration, class, text string) {
	at = max(a.Last.Sub(a.Start), a.Took)
	if !a.End.IsZero() {
		at = max(at, a.End.Sub(a.Start))
	}
	switch a.State {
	case boot.AttemptRunning:
		// In whole seconds: a drawing that nothing happens in changes no more often.
		return max(at, now.Sub(a.Start).Truncate(time.Second)), toneNow, "now"
	case boot.AttemptBooted:
		return at, toneGood, "booted"
	case boot.AttemptLocal:
		return at, toneGood, "local disk"
	case boot.AttemptIgnored:
		return at, toneDim, "ignored"
	case boot.AttemptFailed:
		return at, toneBad, "failed"
	default:
		return at, toneBad, "given up"
	}
}

// quietTimes lists the slots i for which nothing was seen between slot i-1 and
// slot i: no data arrived, and the time is worth showing.
func quietTimes(list []mark, slots []slot) []int {
	var quiet []int
	spoken := time.Duration(math.MaxInt64) // since when the installer or the system speaks
	for _, m := range list {
		if m.lane == laneSystem {
			spoken = min(spoken, m.from)
		}
	}
	for i := 1; i < len(slots); i++ {
		from, to := slots[i-1].at, slots[i].at
		if to-from < gapMin || from >= spoken && to-from < gapOfSystem {
			continue
		}
		covered := false
		for _, m := range list {
			if m.shape == shapeBar && m.from <= from && m.flowing >= to {
				covered = true
				break
			}
		}
		if !covered {
			quiet = append(quiet, i)
		}
	}
	return quiet
}

// Widths of a letter in the wide drawing and, bold, in the tall one.
const (
	letter     = 6.1
	tallLetter = 7.4
)

// textWidth guesses how wide a text is at the wide drawing's size. Too wide is
// better than letters on letters.
func textWidth(s string) float64 { return letter*float64(utf8.RuneCountInString(s)) + 2 }

// fit cuts a text to a width.
func fit(s string, width, letter float64) string {
	n := int(width / letter)
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	r := []rune(s)
	return strings.TrimRight(string(r[:max(n-1, 1)]), " ·,:") + "…"
}
