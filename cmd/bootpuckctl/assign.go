package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

func assignmentColumns() []column {
	return []column{
		{"MACHINE", "machine", nil},
		{"NAME", "name", nil},
		{"PROFILE", "assignment.profile", nil},
		{"MODE", "assignment.mode", nil},
		{"STATE", "assignment.state", nil},
		{"CODE", "assignment.code", nil},
		{"EXPIRES", "assignment.expires", showTime},
		{"USED", "assignment.used", nil},
		{"PROGRESS", "assignment.progress", nil},
	}
}

func assignmentPlace(m machine) place {
	return place{kind{}, machinePath(m, "assignment"), "assignment of machine " + m.label()}
}

// assign puts an assignment in place of what the machine has.
func (c *call) assign(body document) (machine, document, answer, error) {
	box, m, err := c.subjectMachine()
	if err != nil {
		return machine{}, nil, answer{}, err
	}
	at := assignmentPlace(m)
	_, now, err := box.current(c.ctx, at)
	if err != nil {
		return m, nil, answer{}, err
	}
	a, err := box.put(c.ctx, at, body, now.etag())
	if err != nil {
		return m, nil, answer{}, err
	}
	d, err := decode(a.body)
	return m, d, a, err
}

func runAssign(c *call) error {
	if c.on("once") && c.on("always") {
		return usagef("-once and -always exclude each other")
	}
	mode := "always"
	if c.on("once") {
		mode = "once"
	}
	m, _, a, err := c.assign(document{"profile": c.arg(1), "mode": mode})
	if err != nil {
		return err
	}
	if c.text("o") != "table" {
		return c.printDocument(a.body, nil)
	}
	c.say("machine %s boots %s %s", m.label(), c.arg(1), map[string]string{"always": "every time", "once": "once, then its own disk"}[mode])
	return nil
}

func runArm(c *call) error {
	box, err := c.client()
	if err != nil {
		return err
	}
	now, err := box.clock(c.ctx)
	if err != nil {
		return err
	}
	m, d, a, err := c.assign(document{
		"profile": c.arg(1), "mode": "armed",
		"boots": c.number("boots"), "expires": now.Add(c.span("for")).Format(time.RFC3339),
	})
	if err != nil {
		return err
	}
	if c.text("o") != "table" {
		return c.printDocument(a.body, nil)
	}
	c.say("code %s", textAt(d, "code"))
	boots := plain(d["boots"])
	if boots == "1" {
		boots += " boot"
	} else {
		boots += " boots"
	}
	c.say("machine %s is armed with %s: %s until %s; its screen shows the same code", m.label(), c.arg(1), boots, showTime(d["expires"]))
	return nil
}

// clock is the box's own time: what it is to do later goes by that.
func (box *client) clock(ctx context.Context) (time.Time, error) {
	a, err := box.get(ctx, "settings", nil, "")
	if err != nil {
		return time.Time{}, err
	}
	return a.clock(), nil
}

// clock is when the box gave the answer, by its own clock.
func (a answer) clock() time.Time {
	if t, err := http.ParseTime(a.header.Get("Date")); err == nil {
		return t
	}
	return time.Now().UTC()
}

func runDisarm(c *call) error {
	box, m, err := c.subjectMachine()
	if err != nil {
		return err
	}
	if err := box.delete(c.ctx, assignmentPlace(m)); err != nil {
		return err
	}
	c.say("the assignment of machine %s is taken back", m.label())
	return nil
}

func runAssignments(c *call) error {
	return c.listPath("assignments", assignmentColumns())
}

// listPath prints a list that is no kind of documents.
func (c *call) listPath(path string, columns []column) error {
	return runList(kind{path: path, columns: columns, whole: path == "requests"})(c)
}

func runRequests(c *call) error {
	return c.listPath("requests", []column{
		{"CODE", "code", nil},
		{"MACHINE", "machine", nil},
		{"NAME", "name", nil},
		{"MAC", "seen.mac", nil},
		{"ADDRESS", "seen.addr", nil},
		{"WANTS", "profile", nil},
		{"ASKED", "asked", showTime},
		{"PRODUCT", "", showProduct},
	})
}

// runJudge answers a machine that asked: yes or no.
func runJudge(yes bool) func(*call) error {
	return func(c *call) error {
		box, err := c.client()
		if err != nil {
			return err
		}
		code := c.arg(0)
		body := document{"allow": yes}
		if c.on("remember") {
			body["remember"] = true
		}
		if _, err := box.send(c.ctx, http.MethodPost, "requests/"+url.PathEscape(code), body, nil, "request "+code); err != nil {
			return err
		}
		c.say("request %s %s", code, map[bool]string{true: "approved", false: "refused"}[yes])
		return nil
	}
}

func runDecisions(c *call) error {
	box, err := c.client()
	if err != nil {
		return err
	}
	query := url.Values{"limit": {c.text("n")}}
	if c.given("machine") {
		m, err := box.machine(c.ctx, c.text("machine"))
		if err != nil {
			return err
		}
		query.Set("machine", m.ID)
	}
	a, err := box.get(c.ctx, "decisions", query, "")
	if err != nil {
		return err
	}
	var list struct {
		Items []json.RawMessage `json:"items"`
	}
	if err := json.Unmarshal(a.body, &list); err != nil {
		return fmt.Errorf("read the box's answer: %w", err)
	}
	return c.printList(list.Items, []column{
		{"TIME", "time", showTime},
		{"MACHINE", "machine", nil},
		{"NAME", "name", nil},
		{"MAC", "mac", nil},
		{"LOADER", "loader", nil},
		{"ACTION", "choice.action", nil},
		{"BY", "choice.source", nil},
		{"PROFILE", "choice.profile", nil},
		{"REASON", "choice.reason", nil},
		{"WHY", "choice.steps", showWon},
	})
}

// showWon is why a decision fell as it did.
func showWon(v any) string {
	list, _ := v.([]any)
	for _, s := range list {
		if d, ok := s.(document); ok && d["won"] == true {
			return textAt(d, "why")
		}
	}
	return ""
}

// runAllowAll lets all unknown machines for a while.
func runAllowAll(c *call) error {
	if c.on("off") == c.given("for") {
		return usagef("want -for TIME or -off")
	}
	box, err := c.client()
	if err != nil {
		return err
	}
	k := kindByPlural("settings")
	at := k.at("")
	// Somebody may change another setting at the same moment.
	for try := 0; ; try++ {
		d, now, err := box.current(c.ctx, at)
		if err != nil {
			return err
		}
		if d == nil {
			d = document{}
		}
		delete(d, "rev")
		delete(d, "allow_until")
		until := now.clock().Add(c.span("for")).Format(time.RFC3339)
		if !c.on("off") {
			d["allow_until"] = until
		}
		a, err := box.put(c.ctx, at, d, now.etag())
		if statusOf(err) == exitConflict && try < 3 {
			continue
		}
		if err != nil {
			return err
		}
		switch {
		case c.text("o") != "table":
			return c.printDocument(a.body, k.fields)
		case c.on("off"):
			c.say("unknown machines are treated as the settings say")
		default:
			c.say("all unknown machines are let until %s", showTime(until))
		}
		return nil
	}
}

func runPreview(c *call) error {
	box, m, err := c.subjectMachine()
	if err != nil {
		return err
	}
	query := url.Values{}
	if c.given("loader") {
		query.Set("loader", c.text("loader"))
	}
	a, err := box.get(c.ctx, machinePath(m, "preview"), query, "preview of machine "+m.label())
	if err != nil {
		return err
	}
	return c.print(a.body, func(w io.Writer) error {
		d, err := decode(a.body)
		if err != nil {
			return err
		}
		writePreview(w, m, d)
		return nil
	})
}

// writePreview tells what a machine would get: first in a sentence, then why,
// then to the letter.
func writePreview(w io.Writer, m machine, d document) {
	get := []string{textAt(d, "choice.action")}
	if p := textAt(d, "choice.profile"); p != "" {
		get = append(get, "profile "+p)
	}
	if t := textAt(d, "choice.target"); t != "" {
		get = append(get, "target "+t)
	}
	fmt.Fprintf(w, "machine %s would get: %s (%s)\n", visible(m.label()), visible(strings.Join(get, ", ")), visible(textAt(d, "choice.source")))
	for _, path := range []string{"choice.reason", "plan.note"} {
		if s := textAt(d, path); s != "" {
			fmt.Fprintf(w, "  %s\n", visible(s))
		}
	}
	fmt.Fprintln(w, "\nwhy")
	rows := [][]string{}
	steps, _ := lookup(d, "choice.steps").([]any)
	for _, s := range steps {
		step, _ := s.(document)
		rows = append(rows, []string{"  " + map[bool]string{true: "won", false: "lost"}[step["won"] == true], textAt(step, "source"), textAt(step, "name"), textAt(step, "why")})
	}
	writeTable(w, rows)
	writeReplies(w, d)
	writeMenu(w, d)
	texts, _ := d["texts"].([]any)
	for _, t := range texts {
		one, _ := t.(document)
		text := textAt(one, "text")
		if text == "" {
			text = "nothing: " + strings.Join(strings.Fields(textAt(one, "reason")+" "+textAt(one, "reason_text")), " ")
		}
		block(w, "for "+textAt(one, "loader"), text)
	}
	answers, _ := d["answers"].(document)
	for _, name := range sortedKeys(answers) {
		one, _ := answers[name].(document)
		if e := textAt(one, "error"); e != "" {
			block(w, "answer file "+name, "cannot be made: "+e)
			continue
		}
		block(w, "answer file "+name+" ("+textAt(one, "content_type")+")", textAt(one, "text"))
	}
}

// writeMenu shows the lines of a menu with what keeps some from working.
func writeMenu(w io.Writer, d document) {
	menu, _ := lookup(d, "plan.menu").([]any)
	if len(menu) == 0 {
		return
	}
	fmt.Fprintf(w, "\nmenu (%s seconds)\n", plain(lookup(d, "plan.seconds")))
	rows := [][]string{}
	for i, e := range menu {
		entry, _ := e.(document)
		marks := []string{}
		for _, m := range []string{"sub", "destructive", "locked"} {
			if entry[m] == true {
				marks = append(marks, m)
			}
		}
		if t := strings.TrimSpace(textAt(entry, "disabled_text") + " " + textAt(entry, "detail")); t != "" {
			marks = append(marks, "cannot work here: "+t)
		}
		if fmt.Sprint(i) == plain(lookup(d, "plan.default")) {
			marks = append(marks, "default")
		}
		rows = append(rows, []string{"  " + textAt(entry, "key"), textAt(entry, "title"), strings.Join(marks, ", ")})
	}
	writeTable(w, rows)
}

func writeReplies(w io.Writer, d document) {
	replies, _ := d["replies"].([]any)
	if len(replies) > 0 {
		fmt.Fprintln(w, "\nDHCP")
	}
	for _, r := range replies {
		reply, _ := r.(document)
		words := []string{"  to " + textAt(reply, "to") + ":"}
		for _, s := range []string{"reason", "text", "form", "server", "file"} {
			if t := textAt(reply, s); t != "" {
				words = append(words, t)
			}
		}
		fmt.Fprintln(w, visible(strings.Join(words, " ")))
		rows := [][]string{}
		options, _ := reply["options"].([]any)
		for _, o := range options {
			option, _ := o.(document)
			rows = append(rows, []string{"    option " + plain(option["code"]), textAt(option, "name"), textAt(option, "value")})
		}
		writeTable(w, rows)
	}
}

// block is a text to the letter, under a heading.
func block(w io.Writer, title, text string) {
	fmt.Fprintf(w, "\n%s\n", visible(title))
	for line := range strings.Lines(visibleLines(text)) {
		fmt.Fprintf(w, "  | %s\n", strings.TrimSuffix(line, "\n"))
	}
}
