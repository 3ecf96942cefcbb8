package monitoring

import (
	"cmp"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Sizes of the drawing: a cell of the board's grid, and of the small letters.
const (
	cellW, cellH = 90, 44
	advance      = 6 // columns of a letter, with the gap
)

var (
	paper  = color.RGBA{0xff, 0xff, 0xff, 0xff}
	ink    = color.RGBA{0x22, 0x26, 0x2e, 0xff}
	faint  = color.RGBA{0xdd, 0xe1, 0xe6, 0xff}
	ground = color.RGBA{0xf1, 0xf3, 0xf5, 0xff}
	named  = map[string]color.RGBA{
		"green": {0x4c, 0xaf, 0x6a, 0xff}, "orange": {0xf2, 0x9f, 0x2e, 0xff}, "red": {0xd6, 0x40, 0x45, 0xff},
		"blue": {0x3f, 0x7f, 0xd0, 0xff}, "text": {0x9a, 0xa2, 0xad, 0xff},
	}
	palette = []color.RGBA{
		{0x3f, 0x7f, 0xd0, 0xff},
		{0xf2, 0x9f, 0x2e, 0xff},
		{0x4c, 0xaf, 0x6a, 0xff},
		{0xd6, 0x40, 0x45, 0xff},
		{0x8c, 0x5f, 0xc7, 0xff},
		{0x1d, 0xa3, 0xa8, 0xff},
		{0xd9, 0x6c, 0xae, 0xff},
		{0x86, 0x6a, 0x4a, 0xff},
		{0x9a, 0xa2, 0xad, 0xff},
		{0xb5, 0xa6, 0x1f, 0xff},
	}
	stateColours = map[string]string{"booted": "green", "local": "blue", "ignored": "text", "stalled": "orange", "failed": "red"}
)

// canvas is a picture in the making.
type canvas struct{ *image.RGBA }

func newCanvas(w, h int) canvas {
	c := canvas{image.NewRGBA(image.Rect(0, 0, w, h))}
	c.fill(c.Bounds(), paper)
	return c
}

func (c canvas) fill(r image.Rectangle, col color.RGBA) {
	draw.Draw(c, r, image.NewUniform(col), image.Point{}, draw.Src)
}

func (c canvas) frame(r image.Rectangle, col color.RGBA) {
	for _, e := range []image.Rectangle{
		image.Rect(r.Min.X, r.Min.Y, r.Max.X, r.Min.Y+1), image.Rect(r.Min.X, r.Max.Y-1, r.Max.X, r.Max.Y),
		image.Rect(r.Min.X, r.Min.Y, r.Min.X+1, r.Max.Y), image.Rect(r.Max.X-1, r.Min.Y, r.Max.X, r.Max.Y),
	} {
		c.fill(e, col)
	}
}

// text writes s and returns where it ended; size is how many pixels a dot has.
func (c canvas) text(x, y int, s string, size int, col color.RGBA) int {
	for _, r := range s {
		rows, ok := letters[r]
		if !ok {
			rows = letters['?']
		}
		for dy, row := range rows {
			for dx := range 5 {
				if row&(0x10>>dx) != 0 {
					c.fill(image.Rect(x+dx*size, y+dy*size, x+(dx+1)*size, y+(dy+1)*size), col)
				}
			}
		}
		x += advance * size
	}
	return x
}

// line draws a line two pixels wide.
func (c canvas) line(x0, y0, x1, y1 float64, col color.RGBA) {
	n := int(math.Max(math.Abs(x1-x0), math.Abs(y1-y0))) + 1
	for i := range n + 1 {
		f := float64(i) / float64(n)
		x, y := int(x0+(x1-x0)*f), int(y0+(y1-y0)*f)
		c.fill(image.Rect(x, y, x+2, y+2), col)
	}
}

// amount writes a value as Grafana would in the unit.
func amount(v float64, unit string) string {
	short := func(v, base float64, suffixes ...string) string {
		i := 0
		for math.Abs(v) >= base && i < len(suffixes)-1 {
			v /= base
			i++
		}
		return strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%.2f", v), "0"), ".") + suffixes[i]
	}
	switch unit {
	case "percentunit":
		return fmt.Sprintf("%.3g%%", v*100)
	case "s":
		switch {
		case v == 0:
			return "0 s"
		case math.Abs(v) < .001:
			return fmt.Sprintf("%.3g us", v*1e6)
		case math.Abs(v) < 1:
			return fmt.Sprintf("%.3g ms", v*1e3)
		case math.Abs(v) < 120:
			return fmt.Sprintf("%.3g s", v)
		}
		return fmt.Sprintf("%.3g min", v/60)
	case "bytes":
		return short(v, 1024, " B", " KiB", " MiB", " GiB")
	case "Bps":
		return short(v, 1000, " B/s", " kB/s", " MB/s", " GB/s")
	case "bps":
		return short(v, 1000, " b/s", " kb/s", " Mb/s", " Gb/s")
	case "ops":
		return fmt.Sprintf("%.3g/s", v)
	case "celsius":
		return fmt.Sprintf("%.3g C", v)
	}
	return short(v, 1000, "", "k", "M", "G")
}

// shown is a series with its words.
type shown struct {
	name   string
	metric map[string]string
	values []point
}

var braces = regexp.MustCompile(`\{\{(\w+)\}\}`)

func legend(format string, metric map[string]string) string {
	return strings.TrimSpace(braces.ReplaceAllStringFunc(format, func(m string) string { return metric[m[2:len(m)-2]] }))
}

// window is the time that a picture shows.
type window struct {
	begin, end time.Time
	minute     time.Duration
}

// fraction is where in the window a time lies, from 0 to 1.
func (w window) fraction(t time.Time) float64 {
	return float64(t.Sub(w.begin)) / float64(w.end.Sub(w.begin))
}

// drawBoard asks every query of the board, wants an answer to each, and draws the
// panels: each alone, and all as they lie on the board.
func drawBoard(t *testing.T, p *server, begin, end time.Time, minute time.Duration) {
	t.Helper()
	dir := filepath.Join("..", "..", ".build", "monitoring")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	factor := float64(time.Minute) / float64(minute)
	b := theBoard(t)
	height := 0
	for _, pan := range b.Panels {
		height = max(height, (pan.GridPos.Y+pan.GridPos.H)*cellH)
	}
	whole := newCanvas(24*cellW, height)
	whole.fill(whole.Bounds(), ground)
	w := window{begin, end, minute}
	drawn := 0
	for _, pan := range b.Panels {
		pic := newCanvas(pan.GridPos.W*cellW-6, pan.GridPos.H*cellH-6)
		if pan.Type == "row" {
			pic.fill(pic.Bounds(), ground)
			pic.text(6, (cellH-26)/2, pan.Title, 3, ink)
		} else {
			data := ask(t, p, pan, w, factor)
			pic.panel(pan, data, w)
			name := strings.ToLower(regexp.MustCompile(`\W+`).ReplaceAllString(pan.Title, "-")) + ".png"
			save(t, filepath.Join(dir, name), pic)
			drawn++
		}
		at := image.Pt(pan.GridPos.X*cellW+3, pan.GridPos.Y*cellH+3)
		draw.Draw(whole, pic.Bounds().Add(at), pic, image.Point{}, draw.Src)
	}
	save(t, filepath.Join(dir, "board.png"), whole)
	t.Logf("%d panels drawn into %s; rates per second are those of the script, divided by %g", drawn, dir, factor)
}

func save(t *testing.T, name string, c canvas) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := png.Encode(f, c); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// ask carries out the queries of a panel as Grafana would.
func ask(t *testing.T, p *server, pan panel, w window, factor float64) [][]shown {
	t.Helper()
	whole := fmt.Sprintf("%dms", w.end.Sub(w.begin).Milliseconds())
	var all [][]shown
	for i, q := range pan.Targets {
		expr := compress(q.Expr, factor)
		expr = strings.NewReplacer("$__rate_interval", fmt.Sprintf("%dms", 5*w.minute.Milliseconds()), "$__range", whole, "$site", ".*", "$box", ".*").Replace(expr)
		var got []series
		switch pan.Type {
		case "timeseries", "state-timeline", "heatmap":
			got = p.span(t, expr, w.begin, w.end, w.minute)
		default:
			got = p.at(t, expr, w.end)
		}
		var one []shown
		usable := 0
		for _, s := range got {
			sh := shown{name: legend(q.LegendFormat, s.Metric), metric: s.Metric}
			for _, v := range s.Values {
				if !math.IsNaN(v.value) && !math.IsInf(v.value, 0) {
					usable++
				}
				if u := pan.FieldConfig.Defaults.Unit; u == "Bps" || u == "ops" {
					v.value /= factor
				}
				sh.values = append(sh.values, v)
			}
			one = append(one, sh)
		}
		if usable == 0 {
			t.Errorf("panel %q, query %d has no answer: %s", pan.Title, i+1, expr)
		}
		all = append(all, one)
	}
	return all
}

// panel draws the frame, the title and what the kind of the panel asks for.
func (c canvas) panel(pan panel, data [][]shown, w window) {
	r := c.Bounds()
	c.frame(r, faint)
	top := 8
	for _, words := range wrap(pan.Title, (r.Dx()-16)/(advance*2)) {
		c.text(8, top, words, 2, ink)
		top += 18
	}
	in := image.Rect(8, top+6, r.Dx()-8, r.Dy()-8)
	var flat []shown
	for _, d := range data {
		flat = append(flat, d...)
	}
	switch pan.Type {
	case "stat":
		c.stat(in, pan, flat)
	case "bargauge":
		c.bars(in, pan, flat)
	case "table":
		c.table(in, data)
	case "state-timeline":
		c.timeline(in, pan, flat, w)
	case "heatmap":
		c.heat(in, flat, w)
	default:
		c.lines(in, pan, flat, w)
	}
}

func wrap(s string, width int) []string {
	var lines []string
	for _, word := range strings.Fields(s) {
		if n := len(lines); n > 0 && len(lines[n-1])+1+len(word) <= width {
			lines[n-1] += " " + word
			continue
		}
		lines = append(lines, word)
	}
	return lines
}

// threshold is the colour of a value.
func threshold(pan panel, v float64) color.RGBA {
	col := named["blue"]
	for _, s := range pan.FieldConfig.Defaults.Thresholds.Steps {
		if s.Value == nil || v >= *s.Value {
			col = named[s.Color]
		}
	}
	return col
}

// colour is that of a series: of its state, else by its place.
func colour(name string, i int) color.RGBA {
	if n, ok := stateColours[name]; ok {
		return named[n]
	}
	return palette[i%len(palette)]
}

func last(s shown) float64 {
	if len(s.values) == 0 {
		return math.NaN()
	}
	return s.values[len(s.values)-1].value
}

func (c canvas) stat(in image.Rectangle, pan panel, all []shown) {
	if len(all) == 0 {
		return
	}
	v := last(all[0])
	c.fill(in, threshold(pan, v))
	if d := pan.FieldConfig.Defaults.Decimals; d != nil && *d == 0 {
		v = math.Round(v)
	}
	text := amount(v, pan.FieldConfig.Defaults.Unit)
	const size = 6
	c.text(in.Min.X+(in.Dx()-len(text)*advance*size)/2, in.Min.Y+(in.Dy()-7*size)/2, text, size, paper)
}

func (c canvas) bars(in image.Rectangle, pan panel, all []shown) {
	most := 0.0
	for _, s := range all {
		most = math.Max(most, last(s))
	}
	h := min(in.Dy()/max(len(all), 1), 48)
	for i, s := range all {
		v := last(s)
		y := in.Min.Y + i*h
		x := in.Min.X + in.Dx()*2/5
		col := threshold(pan, v)
		if n, ok := stateColours[s.name]; ok {
			col = named[n]
		}
		name := s.name
		if room := (x - in.Min.X - 8) / (advance * 2); len(name) > room {
			name = name[:room]
		}
		c.text(in.Min.X, y+h/2-8, name, 2, ink)
		full := in.Max.X - x - 110
		c.fill(image.Rect(x, y+4, x+full, y+h-4), ground)
		if most > 0 {
			c.fill(image.Rect(x, y+4, x+max(int(float64(full)*v/most), 1), y+h-4), col)
		}
		if d := pan.FieldConfig.Defaults.Decimals; d != nil && *d == 0 {
			v = math.Round(v)
		}
		c.text(x+full+8, y+h/2-8, amount(v, pan.FieldConfig.Defaults.Unit), 2, ink)
	}
}

// table joins the answers by site and box, a column per query.
func (c canvas) table(in image.Rectangle, data [][]shown) {
	heads := []string{"site", "box", "version", "worst health", "boots in 1 h", "of them bad", "findings", "free space", "up for"}
	units := []string{"", "short", "short", "percentunit", "short", "percentunit", "s"}
	wide := in.Dx() / len(heads)
	for i, h := range heads {
		c.text(in.Min.X+i*wide, in.Min.Y, h, 1, ink)
	}
	for row, first := range data[0] {
		y := in.Min.Y + 24 + row*28
		c.fill(image.Rect(in.Min.X, y-6, in.Max.X, y-5), faint)
		for i, v := range []string{first.metric["site"], first.metric["box"], first.metric["version"]} {
			c.text(in.Min.X+i*wide, y, v, 2, ink)
		}
		for col := 1; col < len(data); col++ {
			for _, s := range data[col] {
				if s.metric["site"] == first.metric["site"] && s.metric["box"] == first.metric["box"] {
					v := last(s)
					if units[col] == "short" && col == 2 {
						v = math.Round(v)
					}
					c.text(in.Min.X+(col+2)*wide, y, amount(v, units[col]), 2, ink)
				}
			}
		}
	}
}

// hours writes the minutes of the script below a picture.
func (c canvas) hours(in image.Rectangle, w window) {
	total := int(w.end.Sub(w.begin) / w.minute)
	for m := 0; m <= total; m += 15 {
		x := in.Min.X + in.Dx()*m/total
		c.fill(image.Rect(x, in.Min.Y, x+1, in.Max.Y), faint)
		c.text(x-6, in.Max.Y+5, fmt.Sprint(m), 1, ink)
	}
}

func (c canvas) timeline(in image.Rectangle, pan panel, all []shown, w window) {
	body := image.Rect(in.Min.X+300, in.Min.Y, in.Max.X-8, in.Max.Y-18)
	c.hours(body, w)
	h := min(body.Dy()/max(len(all), 1), 28)
	for i, s := range all {
		y := body.Min.Y + i*h
		size := 2
		if h < 18 {
			size = 1
		}
		c.text(in.Min.X, y+(h-7*size)/2, s.name, size, ink)
		for _, v := range s.values {
			from := body.Min.X + int(w.fraction(v.at)*float64(body.Dx()))
			to := body.Min.X + int(w.fraction(v.at.Add(w.minute))*float64(body.Dx()))
			c.fill(image.Rect(from, y+1, min(to, body.Max.X), y+h-2), threshold(pan, v.value))
		}
	}
}

// bound reads the bound of a bucket, "+Inf" included.
func bound(le string) float64 {
	v, err := strconv.ParseFloat(le, 64)
	if err != nil {
		return math.Inf(1)
	}
	return v
}

// heat draws buckets, which count everything up to their bound, as rows.
func (c canvas) heat(in image.Rectangle, all []shown, w window) {
	bounds := []string{}
	counts := map[string]map[int64]float64{}
	for _, s := range all {
		le := s.metric["le"]
		counts[le] = map[int64]float64{}
		for _, v := range s.values {
			counts[le][v.at.UnixMilli()] = v.value
		}
	}
	for le := range counts {
		bounds = append(bounds, le)
	}
	slices.SortFunc(bounds, func(a, b string) int { return cmp.Compare(bound(a), bound(b)) })
	body := image.Rect(in.Min.X+80, in.Min.Y, in.Max.X-8, in.Max.Y-18)
	h := body.Dy() / max(len(bounds), 1)
	most := 0.0
	each := func(visit func(row int, at int64, n float64)) {
		for i, le := range bounds {
			for at, v := range counts[le] {
				if i > 0 {
					v -= counts[bounds[i-1]][at]
				}
				visit(i, at, v)
			}
		}
	}
	each(func(_ int, _ int64, n float64) { most = math.Max(most, n) })
	c.hours(body, w)
	each(func(row int, at int64, n float64) {
		if n < most/1000 {
			return // buckets differ by what extrapolation rounds
		}
		x := body.Min.X + int(w.fraction(time.UnixMilli(at))*float64(body.Dx()))
		y := body.Max.Y - (row+1)*h
		f := .2 + .8*n/most
		mix := func(a, b uint8) uint8 { return uint8(float64(a)*(1-f) + float64(b)*f) }
		hot := color.RGBA{0xc8, 0x4a, 0x10, 0xff}
		c.fill(image.Rect(x, y+1, x+body.Dx()/scriptMinutes, y+h-1), color.RGBA{mix(0xff, hot.R), mix(0xff, hot.G), mix(0xff, hot.B), 0xff})
	})
	for i, le := range bounds {
		c.text(in.Min.X, body.Max.Y-(i+1)*h+h/2-3, le+" s", 1, ink)
	}
}

// lines draws series as lines, or on top of each other.
func (c canvas) lines(in image.Rectangle, pan panel, all []shown, w window) {
	d := pan.FieldConfig.Defaults
	stacked := d.Custom.Stacking.Mode == "normal"
	bottom := c.legends(in, all)
	body := image.Rect(in.Min.X+104, in.Min.Y, in.Max.X-8, bottom-18)
	low, high := math.Inf(1), math.Inf(-1)
	sums := map[int64]float64{}
	for _, s := range all {
		for _, v := range s.values {
			if math.IsNaN(v.value) {
				continue
			}
			at := v.at.UnixMilli()
			sums[at] += v.value
			if !stacked {
				low, high = math.Min(low, v.value), math.Max(high, v.value)
			}
		}
	}
	if stacked {
		low = 0
		for _, v := range sums {
			high = math.Max(high, v)
		}
	}
	if d.Min != nil {
		low = *d.Min
	}
	if d.Max != nil {
		high = *d.Max
	}
	if !(high > low) {
		high = low + 1
	}
	if d.Max == nil {
		high += (high - low) / 20
	}
	c.hours(body, w)
	for i := range 5 {
		y := body.Max.Y - body.Dy()*i/4
		c.fill(image.Rect(body.Min.X, y, body.Max.X, y+1), faint)
		c.text(in.Min.X, max(y-7, in.Min.Y), amount(low+(high-low)*float64(i)/4, d.Unit), 2, ink)
	}
	place := func(v point) (x, y float64) {
		return float64(body.Min.X) + w.fraction(v.at)*float64(body.Dx()), float64(body.Max.Y) - (v.value-low)/(high-low)*float64(body.Dy())
	}
	below := map[int64]float64{}
	for i, s := range all {
		col := colour(s.name, i)
		var before *point
		for _, v := range s.values {
			if math.IsNaN(v.value) {
				before = nil
				continue
			}
			if stacked {
				at := v.at.UnixMilli()
				x, y0 := place(point{v.at, below[at]})
				below[at] += v.value
				_, y1 := place(point{v.at, below[at]})
				c.fill(image.Rect(int(x), int(y1), int(x)+max(body.Dx()/scriptMinutes-1, 1), int(y0)).Intersect(body), col)
				continue
			}
			if before != nil && v.at.Sub(before.at) < 3*w.minute {
				x0, y0 := place(*before)
				x1, y1 := place(v)
				c.line(x0, y0, x1, y1, col)
			}
			keep := v
			before = &keep
		}
	}
}

// legends writes the names of the series at the bottom and returns where the
// picture above them ends.
func (c canvas) legends(in image.Rectangle, all []shown) int {
	const size, gap = 1, 14
	rows, x := 1, in.Min.X
	width := func(s shown) int { return 14 + len(s.name)*advance*size + gap }
	for _, s := range all {
		if x+width(s) > in.Max.X {
			rows++
			x = in.Min.X
		}
		x += width(s)
	}
	rows = min(rows, 5)
	top := in.Max.Y - rows*12
	x, y := in.Min.X, top
	for i, s := range all {
		if x+width(s) > in.Max.X {
			x = in.Min.X
			y += 12
			if y >= in.Max.Y {
				break
			}
		}
		c.fill(image.Rect(x, y+1, x+10, y+7), colour(s.name, i))
		c.text(x+14, y, s.name, size, ink)
		x += width(s)
	}
	return top - 4
}
