package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

func runBoot(c *call) error {
	if c.on("redact") && !c.given("capture") {
		return usagef("-redact: want -capture FILE with it")
	}
	id := c.arg(0)
	if !goodName(id) {
		return failf(exitNotFound, "there is no boot %q", id)
	}
	if c.given("capture") {
		return c.capture(id)
	}
	box, err := c.client()
	if err != nil {
		return err
	}
	got, err := box.get(c.ctx, "attempts/"+url.PathEscape(id), nil, "boot "+id)
	if err != nil {
		return err
	}
	return c.print(got.body, func(w io.Writer) error {
		var a attempt
		if err := json.Unmarshal(got.body, &a); err != nil {
			return fmt.Errorf("read the box's answer: %w", err)
		}
		a.print(w)
		return nil
	})
}

// capture writes a boot's packets to a file.
func (c *call) capture(id string) error {
	box, err := c.client()
	if err != nil {
		return err
	}
	query := url.Values{}
	if c.on("redact") {
		query.Set("redact", "true")
	}
	ctx, cancel := context.WithTimeout(c.ctx, exchangePatience)
	defer cancel()
	a, err := box.ask(ctx, question{
		method: http.MethodGet, path: "attempts/" + url.PathEscape(id) + "/capture", query: query,
		header: map[string]string{"Accept": "application/vnd.tcpdump.pcap, application/problem+json"},
	})
	if err != nil {
		return err
	}
	file := c.text("capture")
	if file == "-" {
		_, err := c.out.Write(a.body)
		return err
	}
	if err := writeFile(file, a.body); err != nil {
		return err
	}
	fmt.Fprintf(c.errOut, "%d octets in %s\n", len(a.body), visible(file))
	return nil
}

// print tells the boot as a story: what it came to first, then how.
func (a attempt) print(w io.Writer) {
	a.printHead(w)
	for i, v := range a.Verdicts {
		fmt.Fprintln(w)
		v.print(w, i == 0)
	}
	a.printStages(w)
	a.printOffers(w)
	a.printEvents(w)
}

func (a attempt) printHead(w io.Writer) {
	say := func(label string, words ...string) {
		words = slices.DeleteFunc(words, func(s string) bool { return s == "" })
		if len(words) > 0 {
			fmt.Fprintf(w, "%-9s %s\n", label, visible(strings.Join(words, "  ")))
		}
	}
	say("boot", a.ID, a.standing(), "took "+showSpan(a.Took))
	say("machine", a.Name, a.Machine, a.MAC, strings.Join(a.MACs, " "), a.Addr, a.Product)
	say("began", showInstant(a.Start), a.Interface, map[bool]string{true: "through a relay"}[a.Relayed])
	say("firmware", a.Arch, strings.Join(a.Firmwares, ", then "), a.Class)
	say("decision", a.Action, a.Profile, map[bool]string{true: "armed"}[a.Armed])
	if a.Again {
		say("before", strings.TrimSpace("it tried already "+a.Before))
	}
}

// showInstant is a time with its day.
func showInstant(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05") }

func (v verdict) print(w io.Writer, first bool) {
	label := "verdict"
	if !first {
		label = "also"
	}
	fmt.Fprintf(w, "%-9s %s (%s, %s)\n", label, visible(v.Name), visible(v.Confidence), visible(v.Severity))
	fmt.Fprintf(w, "          %s\n", visible(v.Text))
	if v.Fix != "" {
		fmt.Fprintf(w, "fix       %s\n", visible(v.Fix))
	}
	for _, e := range v.Evidence {
		at := "            "
		if !e.Time.IsZero() {
			at = e.Time.Local().Format("15:04:05.000")
		}
		fmt.Fprintf(w, "  seen    %s  %s\n", at, visible(e.Text))
	}
}

// barWidth is how wide the drawing of a stage is.
const barWidth = 32

// bar draws when something was within the whole, as so many characters.
func bar(from, took, whole time.Duration, width int) string {
	whole = max(whole, 1)
	from = min(max(from, 0), whole)
	took = min(max(took, 0), whole-from)
	place := func(d time.Duration) int { return int(float64(d) / float64(whole) * float64(width)) }
	begin := min(place(from), width-1)
	end := min(max(place(from+took), begin+1), width)
	return strings.Repeat("·", begin) + strings.Repeat("█", end-begin) + strings.Repeat("·", width-end)
}

func (a attempt) printStages(w io.Writer) {
	if len(a.Stages) == 0 {
		return
	}
	whole := a.Took
	for _, s := range a.Stages {
		whole = max(whole, s.First.Sub(a.Start)+s.Took)
	}
	rows := [][]string{{"STAGE", "WHEN", "FROM", "TOOK", "TIMES", "WHAT"}}
	for _, s := range a.Stages {
		from := s.First.Sub(a.Start)
		rows = append(rows, []string{
			s.Name, bar(from, s.Took, whole, barWidth), "+" + showSpan(max(from, 0)), showSpan(s.Took), strconv.Itoa(s.Count), s.what(),
		})
	}
	fmt.Fprintln(w)
	writeTable(w, rows)
}

// what is what happened in the stage, in a few words.
func (s attemptStage) what() string {
	words := []string{}
	add := func(format string, a ...any) { words = append(words, fmt.Sprintf(format, a...)) }
	switch {
	case s.Total > 0 && s.Bytes < s.Total:
		add("%d of %d bytes", s.Bytes, s.Total)
	case s.Bytes > 0:
		add("%d bytes", s.Bytes)
	}
	if s.Retries > 0 {
		add("%d sent again", s.Retries)
	}
	if s.Reason != "" {
		add("[%s]", s.Reason)
	}
	if !s.Done {
		add("not finished")
	}
	if s.File != "" {
		add("%s", s.File)
	}
	return strings.Join(words, "  ")
}

// printOffers prints what was offered to the machine, by this box and by
// others.
func (a attempt) printOffers(w io.Writer) {
	type own struct {
		words string
		times int
	}
	var mine []own
	for _, e := range a.Events {
		if e.Kind != "offer" && e.Kind != "ack" {
			continue
		}
		words := strings.Join(slices.DeleteFunc([]string{e.Form, e.File}, func(s string) bool { return s == "" }), "  ")
		if e.Shape != nil {
			words += "  (" + e.Shape.String() + ")"
		}
		if i := slices.IndexFunc(mine, func(o own) bool { return o.words == e.Kind+"  "+words }); i >= 0 {
			mine[i].times++
			continue
		}
		mine = append(mine, own{e.Kind + "  " + words, 1})
	}
	if len(mine)+len(a.Foreign)+len(a.Shapes) == 0 {
		return
	}
	fmt.Fprintln(w)
	rows := [][]string{{"SERVER", "SAID"}}
	for _, o := range mine {
		text := o.words
		if o.times > 1 {
			text += fmt.Sprintf("  %d times", o.times)
		}
		rows = append(rows, []string{"this box", text})
	}
	for _, f := range a.Foreign {
		rows = append(rows, []string{strings.TrimSpace(f.Server + " " + f.MAC), f.Type + "  " + f.String()})
	}
	writeTable(w, rows)
	if len(a.Shapes) > 1 || len(a.Shapes) == 1 && a.Shapes[0] != (shape{}) {
		tried := []string{}
		for _, s := range a.Shapes {
			tried = append(tried, s.String())
		}
		fmt.Fprintf(w, "shapes tried: %s\n", visible(strings.Join(tried, "; then ")))
	}
}

// Of an attempt's events the box keeps the first quarter of so many and the
// latest; long silences between two are worth a line.
const (
	maxEvents = 64
	longGap   = 2 * time.Second
	clockGap  = 12 * time.Hour // longer than any boot is kept open
)

func (a attempt) printEvents(w io.Writer) {
	if len(a.Events) == 0 {
		return
	}
	fmt.Fprintln(w, "\nEVENTS")
	before := a.Start
	for i, e := range a.Events {
		omitted := a.Omitted > 0 && i == maxEvents/4
		gap := e.Time.Sub(before)
		switch {
		case omitted:
			fmt.Fprintf(w, "%12s  %d events are not kept\n", "…", a.Omitted)
		case gap < -time.Second || gap > clockGap:
			fmt.Fprintf(w, "%12s  the clock of the box was set\n", "…")
		case gap >= longGap:
			fmt.Fprintf(w, "%12s  nothing for %s\n", "…", showSpan(gap))
		}
		before = e.Time
		if e.MAC == a.MAC {
			e.MAC = "" // it stands above
		}
		fmt.Fprintf(w, "%12s  %s\n", fmt.Sprintf("%+.3f", e.Time.Sub(a.Start).Seconds()), visible(e.words()))
	}
}
