package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"
)

// Goal says when a client has booted far enough.
type Goal struct {
	// Console texts, one of which must appear on the serial console. Empty:
	// the kernel's complete arrival is enough.
	Console []string
	// Kernels are the base names of files that count as the payload's kernel.
	Kernels []string
	// Limit from power-on.
	Limit time.Duration
}

// Seconds is a duration that reads well in a table and in JSON. Negative means
// that it did not happen.
type Seconds float64

// String has two decimals, or a dash.
func (s Seconds) String() string {
	if s < 0 {
		return "–"
	}
	return fmt.Sprintf("%.2f", float64(s))
}

// Result is one row of the table.
type Result struct {
	Server  string `json:"server"`  // form: process, image, dnsmasq
	DHCP    string `json:"dhcp"`    // the site's own DHCP server
	Trouble string `json:"trouble"` // what the site does wrong, or "none"
	Client  string `json:"client"`
	Accel   Accel  `json:"accel"`
	Booted  string `json:"booted"` // what was seen running, or "" with Error
	// Path is what the client received, in order, up to the kernel.
	Path []string `json:"path"`
	// All from the first DISCOVER the client sent, seconds.
	Script  Seconds `json:"script_s"`  // request of the first script, over any protocol
	Kernel  Seconds `json:"kernel_s"`  // last byte of the kernel
	Payload Seconds `json:"payload_s"` // its marker on the console
	// PowerOn is the time from power-on to the first DISCOVER: the firmware's
	// own, no server can change it.
	PowerOn   Seconds  `json:"power_on_s"`
	Discovers int      `json:"discovers"` // DISCOVERs sent
	Styles    []string `json:"styles"`    // how boot offers were taken: direct, 4011
	Error     string   `json:"error,omitempty"`
}

// hopeless are the last words of a client that has nothing left to try: of
// SeaBIOS, of UEFI firmware, and of iPXE after our scripts.
var hopeless = []string{"No bootable device", "UEFI Interactive Shell", "iPXE>"}

// Watch follows a client until it reaches the goal, ends or exceeds the limit,
// and says what happened. The timings come from the wire alone.
func Watch(ctx context.Context, g *Guest, goal Goal) Result {
	ctx, cancel := context.WithDeadlineCause(ctx, g.Started.Add(goal.Limit),
		fmt.Errorf("not reached within %s of power-on", goal.Limit))
	defer cancel()
	isKernel := func(m Mark) bool {
		return (m.Kind == KindHTTPDone && strings.HasPrefix(m.Note, "GET ") || m.Kind == KindTFTPDone) &&
			slices.Contains(goal.Kernels, path.Base(m.Name))
	}
	var seen string
	var at time.Time
	var err error
	if len(goal.Console) > 0 {
		seen, at, err = g.Console.WaitFor(ctx, slices.Concat(goal.Console, hopeless)...)
		if err == nil && slices.Contains(hopeless, seen) {
			err = fmt.Errorf("the console says %q", seen)
		}
	} else {
		err = waitMark(ctx, g, isKernel)
		seen = "kernel fetched"
	}
	r := Summarize(g.Shim.Timeline.Marks(), g.Started, isKernel)
	if err != nil {
		r.Error = err.Error()
		if marks := g.Shim.Timeline.Marks(); len(marks) > 0 {
			r.Error += "; last on the wire: " + marks[len(marks)-1].String()
		}
		return r
	}
	r.Booted = strings.TrimSpace(seen)
	if first, ok := g.Shim.Timeline.First(func(m Mark) bool { return m.Kind == KindDiscover }); ok && !at.IsZero() {
		r.Payload = Seconds(at.Sub(first.At).Seconds())
	}
	return r
}

func waitMark(ctx context.Context, g *Guest, match func(Mark) bool) error {
	for {
		changed := g.Shim.Timeline.Changed()
		if _, ok := g.Shim.Timeline.First(match); ok {
			return nil
		}
		select {
		case <-changed:
		case <-g.Exited():
			return fmt.Errorf("QEMU ended: %s", g.QEMUOutput())
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Summarize computes a row's figures from a timeline.
func Summarize(marks []Mark, powerOn time.Time, isKernel func(Mark) bool) Result {
	r := Result{Script: -1, Kernel: -1, Payload: -1, PowerOn: -1}
	var first time.Time
	since := func(at time.Time) Seconds { return Seconds(at.Sub(first).Seconds()) }
	sawOffer := false
	style := func(s string) {
		if !slices.Contains(r.Styles, s) {
			r.Styles = append(r.Styles, s)
		}
	}
	step := func(name string) {
		if r.Kernel < 0 && len(r.Path) < 24 && (len(r.Path) == 0 || r.Path[len(r.Path)-1] != name) {
			r.Path = append(r.Path, name)
		}
	}
	asked4011 := false
	for _, m := range marks {
		if m.Kind == KindDiscover {
			r.Discovers++
			if first.IsZero() {
				first = m.At
				r.PowerOn = Seconds(m.At.Sub(powerOn).Seconds())
			}
		}
		if first.IsZero() {
			continue
		}
		switch m.Kind {
		case KindDiscover:
			sawOffer, asked4011 = false, false
		case KindBootOffer:
			sawOffer = true
		case KindPXERequest:
			asked4011 = true
			style("4011")
		case KindTFTPRequest, KindHTTPRequest:
			if sawOffer && !asked4011 {
				style("direct")
			}
			sawOffer = false
		case KindTFTPDone:
			step("tftp:" + m.Name)
		case KindHTTPDone:
			if strings.HasPrefix(m.Note, "GET 2") {
				step(m.Name)
			}
		case KindScript:
			if r.Script < 0 {
				r.Script = since(m.At)
			}
		case KindLeaseOffer, KindRequest, KindAck, KindNak, KindPXEAck, KindTFTPError:
			// No milestone.
		default:
		}
		if r.Kernel < 0 && isKernel(m) {
			r.Kernel = since(m.At)
		}
	}
	return r
}

// Table renders results as a Markdown table, in the order given.
func Table(results []Result) string {
	var b strings.Builder
	b.WriteString("| client | DHCP server | server | trouble | accel | booted | DISCOVER to script s | to kernel s | to payload s | power-on to DISCOVER s | how | path |\n")
	b.WriteString("|---|---|---|---|---|---|--:|--:|--:|--:|---|---|\n")
	for _, r := range results {
		booted := r.Booted
		if r.Error != "" {
			booted = "**no**: " + firstLine(r.Error, "")
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", r.Client, r.DHCP, r.Server, r.Trouble, r.Accel,
			cell(booted), r.Script, r.Kernel, r.Payload, r.PowerOn, strings.Join(r.Styles, ", "), cell(strings.Join(r.Path, " → ")))
	}
	return b.String()
}

// cell keeps a text from breaking out of its table cell.
func cell(s string) string {
	return strings.NewReplacer("|", "\\|", "\n", " ").Replace(s)
}

// JSON renders results for machines.
func JSON(results []Result) ([]byte, error) {
	out, err := json.MarshalIndent(results, "", "  ")
	return append(out, '\n'), err
}

// Comparison puts two servers side by side: seconds from the first DISCOVER to
// the first script, per client, on sites without trouble and the same DHCP
// server. It is empty if no client ran with both.
func Comparison(results []Result, ours, theirs string) string {
	type key struct{ dhcp, client string }
	times := make(map[key]map[string]Seconds)
	var order []key
	for _, r := range results {
		if r.Trouble != "none" || r.Script < 0 {
			continue
		}
		k := key{r.DHCP, r.Client}
		if times[k] == nil {
			times[k] = make(map[string]Seconds)
			order = append(order, k)
		}
		times[k][r.Server] = r.Script
	}
	var b strings.Builder
	for _, k := range order {
		a, okA := times[k][ours]
		c, okC := times[k][theirs]
		if okA && okC {
			fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", k.client, k.dhcp, a, c)
		}
	}
	if b.Len() == 0 {
		return ""
	}
	return fmt.Sprintf("Seconds from the first DISCOVER to the first script:\n\n| client | DHCP server | %s | %s |\n|---|---|--:|--:|\n", ours, theirs) + b.String()
}
