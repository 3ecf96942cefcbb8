package webui

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

func itoa(n int) string { return strconv.Itoa(n) }

// Measures of the wide drawing.
const (
	wideW      = 1000.0
	wideLeft   = 104.0 // names of the lanes
	wideRight  = 28.0
	wideTop    = 26.0 // texts of quiet times
	wideLane   = 58.0
	wideAxis   = 26.0
	barHeight  = 12.0
	labelAbove = 13.0 // baseline of a label above its mark
	labelBelow = 23.0 // and below
)

// Measures of the tall drawing, for narrow screens.
const (
	tallW     = 360.0
	tallLeft  = 66.0 // times
	tallTop   = 30.0
	tallLane  = 19.0 // between two lanes
	tallRow   = 24.0
	tallEnd   = 13.0 // below a row without text
	tallQuiet = 26.0 // of a quiet time
)

// usedLanes lists the lanes in which something stands; DHCP is always there.
func usedLanes(list []mark) []lane {
	var used [lanes]bool
	used[laneDHCP] = true
	for _, m := range list {
		used[m.lane] = true
	}
	var l []lane
	for i := range lanes {
		if used[i] {
			l = append(l, i)
		}
	}
	return l
}

// wide lays the timeline out from left to right.
func wide(a *boot.Attempt, now time.Time) drawing {
	list := marksOf(a)
	end, class, text := endOf(a, now)
	slots := slotsOf(list, end)
	used := usedLanes(list)
	d := drawing{Wide: true, W: wideW, H: wideTop + wideLane*float64(len(used)) + wideAxis, Title: drawingTitle(a)}
	bottom := d.H - wideAxis

	x := spread(slots, wideLeft+12, wideW-wideRight)
	y := map[lane]float64{}
	for i, l := range used {
		y[l] = wideTop + wideLane*(float64(i)+0.5)
		d.Rails = append(d.Rails, rail{Name: l.String(), Class: l.class(), X1: wideLeft, X2: wideW - wideRight, Y1: y[l], Y2: y[l], TX: 0, TY: y[l] + 4})
	}
	for _, i := range quietTimes(list, slots) {
		w := x[i] - x[i-1]
		b := band{X: x[i-1] + 4, Y: wideTop, W: max(w-8, 1), H: bottom - wideTop, TX: x[i-1] + w/2, TY: wideTop - 8}
		if t := "quiet " + took(slots[i].at-slots[i-1].at); textWidth(t) <= w+10 {
			b.Text = t
		} else if t = took(slots[i].at - slots[i-1].at); textWidth(t) <= w+10 {
			b.Text = t
		}
		d.Bands = append(d.Bands, b.hatched())
	}
	begin, until := places(list, slots, x)
	for i, m := range list {
		d.Glyphs = append(d.Glyphs, wideGlyph(m, begin[i], until[i], y[m.lane], func(t time.Duration) float64 { return placeOf(slots, x, t) }))
	}
	d.Labels = wideLabels(list, begin, until, y)
	d.Ticks = wideTicks(slots, x, bottom+16)
	last := x[len(x)-1]
	d.End = ending{X1: last, Y1: wideTop, X2: last, Y2: bottom, TX: min(last+6, wideW), TY: bottom + 16, Class: class, Text: text, Anchor: "end"}
	d.End.TX = wideW
	return d
}

// spread gives every slot its place between from and to.
func spread(slots []slot, from, to float64) []float64 {
	x := make([]float64, len(slots))
	sum := 0.0
	for i := range slots {
		if i > 0 {
			sum += 0.7 + elastic(slots[i].at-slots[i-1].at)
		}
		x[i] = sum
	}
	// A boot of two packets is not blown up over the whole width.
	scale := min((to-from)/max(sum, 1), 60)
	for i := range x {
		x[i] = from + x[i]*scale
	}
	return x
}

// places is where marks begin and end.
func places(list []mark, slots []slot, x []float64) (begin, until []float64) {
	begin, until = make([]float64, len(list)), make([]float64, len(list))
	for i, s := range slots {
		switch {
		case s.mark < 0:
		case s.end:
			until[s.mark] = x[i]
		default:
			begin[s.mark], until[s.mark] = x[i], x[i]
		}
	}
	return begin, until
}

// placeOf is the place of a time between slots.
func placeOf(slots []slot, x []float64, t time.Duration) float64 {
	i, _ := slices.BinarySearchFunc(slots, t, func(s slot, t time.Duration) int { return cmp.Compare(s.at, t) })
	switch {
	case i >= len(slots):
		return x[len(x)-1]
	case i == 0 || slots[i].at == t:
		return x[i]
	}
	a, b := slots[i-1], slots[i]
	return x[i-1] + (x[i]-x[i-1])*float64(t-a.at)/float64(b.at-a.at)
}

func wideGlyph(m mark, from, to, y float64, at func(time.Duration) float64) glyph {
	g := glyph{Shape: m.shape, Class: "lane-" + m.lane.class() + " tone-" + m.tone, Title: m.title, X: from, Y: y}
	if m.shape != shapeBar {
		return g
	}
	g.Open = m.open
	g.X, g.Y, g.W, g.H = from, y-barHeight/2, max(to-from, 3), barHeight
	if m.flowing < m.to {
		stood := min(max(at(m.flowing), from), to)
		g.Stood, g.SX, g.SY, g.SW, g.SH = true, stood, g.Y, max(to-stood, 1), barHeight
		g.W = max(stood-from, 0)
	}
	return g
}

// wideLabels writes as many labels as have room, the important ones first: each
// above or below its mark, towards the side where nothing stands.
func wideLabels(list []mark, begin, until []float64, y map[lane]float64) []label {
	type box struct{ from, to float64 }
	taken := map[[2]int][]box{}
	order := make([]int, len(list))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int { return list[j].rank - list[i].rank })
	var out []label
	for _, i := range order {
		m := list[i]
		if m.label == "" || m.rank == 0 && m.shape == shapeTick && m.lane == laneSystem {
			continue
		}
		text := fit(m.label, 230, letter)
		w := textWidth(text)
		if m.tone == toneBad || m.tone == toneWarn { // written bold
			w *= 1.12
		}
		for row, dy := range [2]float64{-labelAbove, labelBelow} {
			from, anchor := begin[i]-4, "start"
			if m.shape == shapeBar && until[i]-begin[i] > w {
				from = begin[i]
			}
			if from+w > wideW {
				from, anchor = min(until[i]+4, wideW-wideRight)-w, "end"
			}
			key := [2]int{int(m.lane), row}
			free := from >= wideLeft-8
			for _, b := range taken[key] {
				if from < b.to+6 && b.from < from+w+6 {
					free = false
					break
				}
			}
			if !free {
				continue
			}
			taken[key] = append(taken[key], box{from, from + w})
			l := label{X: from, Y: y[m.lane] + dy, Anchor: anchor, Text: text, Class: "tone-" + m.tone}
			if anchor == "end" {
				l.X = from + w
			}
			out = append(out, l)
			break
		}
	}
	return out
}

// wideTicks writes times below the drawing, where there is room.
func wideTicks(slots []slot, x []float64, y float64) []label {
	var out []label
	free, last := 0.0, ""
	for i, s := range slots {
		text := plus(s.at)
		w := textWidth(text)
		from := x[i] - w/2
		if from < free || from+w > wideW-70 || text == last {
			continue
		}
		out = append(out, label{X: x[i], Y: y, Anchor: "middle", Text: text})
		free, last = from+w+12, text
	}
	return out
}

// tall lays the timeline out downwards, a row per mark, so that it can be read
// on a telephone.
func tall(a *boot.Attempt, now time.Time) drawing {
	list := marksOf(a)
	end, class, text := endOf(a, now)
	slots := slotsOf(list, end)
	used := usedLanes(list)
	quiet := quietTimes(list, slots)
	d := drawing{W: tallW, Title: drawingTitle(a)}

	pos := make([]float64, len(slots))
	y := tallTop
	for i := range slots {
		if i > 0 {
			step := tallEnd
			if slots[i-1].label {
				step = tallRow
			}
			if slices.Contains(quiet, i) {
				step = max(step, tallRow) + tallQuiet
			}
			y += step
		}
		pos[i] = y
	}
	bottom := y
	d.H = bottom + 24

	x := map[lane]float64{}
	for i, l := range used {
		x[l] = tallLeft + 10 + tallLane*float64(i)
		d.Rails = append(d.Rails, rail{Class: l.class(), X1: x[l], X2: x[l], Y1: tallTop - 12, Y2: bottom})
	}
	textX := tallLeft + 10 + tallLane*float64(len(used)) - 2
	for _, i := range quiet {
		top := pos[i] - tallQuiet - 2
		d.Bands = append(d.Bands, band{
			X: tallLeft, Y: top, W: tallW - tallLeft, H: tallQuiet - 8, TX: textX, TY: top + 13,
			Text: "quiet for " + took(slots[i].at-slots[i-1].at),
		}) // its text stands in it: no lines through it
	}
	begin, until := places(list, slots, pos)
	shown := ""
	for i, m := range list {
		d.Glyphs = append(d.Glyphs, tallGlyph(m, x[m.lane], begin[i], until[i], func(t time.Duration) float64 { return placeOf(slots, pos, t) }))
		d.Labels = append(d.Labels, label{X: textX, Y: begin[i] + 4, Anchor: "start", Text: fit(m.label, tallW-textX, tallLetter), Class: "tone-" + m.tone})
		if t := compact(m.from); t != shown {
			d.Ticks = append(d.Ticks, label{X: tallLeft - 8, Y: begin[i] + 4, Anchor: "end", Text: t})
			shown = t
		}
	}
	d.End = ending{X1: tallLeft, Y1: bottom, X2: tallW, Y2: bottom, TX: textX, TY: bottom + 16, Class: class, Text: text, Anchor: "start"}
	d.Ticks = append(d.Ticks, label{X: tallLeft - 8, Y: bottom + 16, Anchor: "end", Text: compact(slots[len(slots)-1].at)})
	return d
}

func tallGlyph(m mark, x, from, to float64, at func(time.Duration) float64) glyph {
	g := glyph{Shape: m.shape, Class: "lane-" + m.lane.class() + " tone-" + m.tone, Title: m.title, X: x, Y: from}
	if m.shape != shapeBar {
		return g
	}
	g.Open = m.open
	g.X, g.Y, g.W, g.H = x-barHeight/2, from-4, barHeight, max(to-from+4, 8)
	if m.flowing < m.to {
		stood := min(max(at(m.flowing), from), to)
		g.Stood, g.SX, g.SY, g.SW, g.SH = true, g.X, stood, barHeight, max(to-stood, 1)
		g.H = max(stood-g.Y, 0)
	}
	return g
}

func drawingTitle(a *boot.Attempt) string {
	return "Timeline of this boot: " + stateWord(a.State) + " after " + took(max(a.Last.Sub(a.Start), 0))
}
