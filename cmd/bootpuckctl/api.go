package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// fetch sends a GET to the box, outside the documents of the API.
func (c *call) fetch(ctx context.Context, path string, header http.Header) (*http.Response, error) {
	box, err := c.client()
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, box.base+path, nil)
	if err != nil {
		return nil, err
	}
	for k, v := range header {
		req.Header[k] = v
	}
	if box.token != "" {
		req.Header.Set("Authorization", "Bearer "+box.token)
	}
	r, err := box.http.Do(req)
	if err != nil {
		return nil, unreached(err)
	}
	return r, nil
}

// part is one node of the health tree.
type part struct {
	Title    string `json:"title"`
	Status   string `json:"status"`
	Reason   string `json:"reason"`
	Text     string `json:"text"`
	Detail   string `json:"detail"`
	Children []part `json:"children"`
}

func runHealth(c *call) error {
	ctx, cancel := context.WithTimeout(c.ctx, 10*time.Second)
	defer cancel()
	r, err := c.fetch(ctx, "/health.json", nil)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	data, err := io.ReadAll(io.LimitReader(r.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read the box's answer: %w", err)
	}
	var h struct {
		Worst string `json:"worst"`
		part
	}
	if err := json.Unmarshal(data, &h); err != nil || h.Worst == "" {
		return fmt.Errorf("%s did not answer like a bootpuck (status %s)", r.Request.URL.Host, r.Status)
	}
	if c.on("json") {
		fmt.Fprintln(c.out, string(bytes.TrimSpace(data)))
	} else {
		h.Status = h.Worst // a box is as well as its worst part
		h.print(c.out, 0)
	}
	if h.Worst == "failed" || h.Worst == "blocked" {
		return errBad
	}
	return nil
}

func (p part) print(out io.Writer, depth int) {
	line := fmt.Sprintf("%s%-9s %s", strings.Repeat("  ", depth), p.Status, p.Title)
	for _, s := range []string{p.Text, p.Detail} {
		if s != "" {
			line += ": " + printable(s)
		}
	}
	fmt.Fprintln(out, line)
	for _, c := range p.Children {
		c.print(out, depth+1)
	}
}

// event is what is shown of one event.
type event struct {
	Seq        uint64    `json:"seq"`
	Time       time.Time `json:"time"`
	Kind       string    `json:"kind"`
	Reason     string    `json:"reason"`
	ReasonText string    `json:"reason_text"`
	MAC        string    `json:"mac"`
	Addr       string    `json:"addr"`
	Arch       string    `json:"arch"`
	Form       string    `json:"form"`
	File       string    `json:"file"`
	Bytes      int64     `json:"bytes"`
	DurationMS float64   `json:"duration_ms"`
	Retries    int       `json:"retries"`
	Text       string    `json:"text"`
	Total      int64     `json:"total"`
	Block      int       `json:"blocksize"`
	Attempt    string    `json:"attempt"`

	Foreign *foreignPacket `json:"foreign"`
	Shape   *shape         `json:"shape"`
}

func runEvents(c *call) error {
	n := c.number("n")
	if n < 1 {
		return usagef("-n %d: want at least 1", n)
	}
	path := "/api/v1/events?limit=" + strconv.Itoa(n)
	show := func(raw []byte) error {
		if c.on("json") {
			return c.printLine(raw)
		}
		var e event
		if err := json.Unmarshal(raw, &e); err != nil {
			return fmt.Errorf("read an event: %w", err)
		}
		fmt.Fprintln(c.out, e)
		return nil
	}
	if c.on("f") {
		return c.stream(path, show)
	}
	ctx, cancel := context.WithTimeout(c.ctx, 10*time.Second)
	defer cancel()
	r, err := c.fetch(ctx, path, nil)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		return fmt.Errorf("the box answered %s", r.Status)
	}
	var list struct {
		Events []json.RawMessage `json:"events"`
	}
	if err := json.NewDecoder(io.LimitReader(r.Body, maxAnswer)).Decode(&list); err != nil {
		return fmt.Errorf("read the box's answer: %w", err)
	}
	for _, raw := range list.Events {
		if err := show(raw); err != nil {
			return err
		}
	}
	return nil
}

func (c *call) stream(path string, show func([]byte) error) error {
	r, err := c.fetch(c.ctx, path, http.Header{"Accept": {"text/event-stream"}})
	if err != nil {
		return err
	}
	defer r.Body.Close()
	if err := c.checkStream(r); err != nil {
		return err
	}
	lines := bufio.NewScanner(r.Body)
	lines.Buffer(nil, 1<<20)
	missed := false
	for lines.Scan() {
		line := lines.Text()
		if strings.HasPrefix(line, "event: ") {
			missed = line == "event: missed"
		}
		if data, ok := strings.CutPrefix(line, "data: "); ok && !missed {
			if err := show([]byte(data)); err != nil {
				return err
			}
		}
	}
	if c.ctx.Err() != nil {
		return nil // the operator has seen enough
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("follow events: %w", err)
	}
	return fmt.Errorf("the box ended the stream")
}

// String is one line for people.
func (e event) String() string {
	return e.Time.Local().Format("15:04:05.000") + " " + e.words()
}

// words are what happened, without the time.
func (e event) words() string {
	words := []string{e.Kind}
	add := func(format, s string) {
		if s != "" {
			words = append(words, fmt.Sprintf(format, printable(s)))
		}
	}
	add("(%s)", e.Form)
	add("%s", e.MAC)
	add("%s", e.Addr)
	add("%s", e.Arch)
	add("%s", e.File)
	switch {
	case e.Kind == "progress" && e.Total > 0:
		words = append(words, fmt.Sprintf("%d of %d bytes", e.Bytes, e.Total))
	case e.Bytes > 0:
		words = append(words, fmt.Sprintf("%d bytes in %.1f ms", e.Bytes, e.DurationMS))
	}
	if e.Block > 0 {
		words = append(words, fmt.Sprintf("blocks of %d", e.Block))
	}
	if e.Retries > 0 {
		words = append(words, fmt.Sprintf("%d sent again", e.Retries))
	}
	if f := e.Foreign; f != nil {
		words = append(words, printable(f.Type+" of "+f.Server+": "+f.String()))
	}
	if e.Shape != nil {
		words = append(words, "(shape: "+printable(e.Shape.String())+")")
	}
	add("[%s]", e.Reason)
	add("%s", e.ReasonText)
	add("%s", e.Text)
	return strings.Join(words, " ")
}

// printable replaces what could steer a terminal: events carry file names and
// classes that strangers chose.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			return '�'
		}
		return r
	}, s)
}
