package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// maxQuirkFile bounds a quirk file, in octets; the box takes no larger one.
const maxQuirkFile = 1 << 20

func quirkKind() kind {
	return kind{
		one: "model", plural: "quirks", path: "quirks",
		fields: []field{
			{name: "id"},
			{name: "class"},
			{name: "oui"},
			{name: "product"},
			{name: "shape", typ: typeObject, sub: []field{
				{name: "form"},
				{name: "loader"},
				{name: "delay_ns", typ: typeNumber},
				{name: "blocksize", typ: typeNumber},
				{name: "no_priority", typ: typeBool},
			}},
			{name: "pinned", typ: typeBool},
			{name: "worked", typ: typeNumber},
			{name: "failed", typ: typeNumber},
			{name: "first_seen", typ: typeTime},
			{name: "last_seen", typ: typeTime},
			{name: "note"},
		},
		columns: []column{
			{"ID", "id", nil},
			{"CLASS", "class", nil},
			{"OUI", "oui", nil},
			{"PRODUCT", "product", nil},
			{"SHAPE", "shape", showShape},
			{"PINNED", "pinned", nil},
			{"WORKED", "worked", nil},
			{"FAILED", "failed", nil},
			{"LAST SEEN", "last_seen", showTime},
			{"NOTE", "note", nil},
		},
	}
}

// showShape is a shape in a few words.
func showShape(v any) string {
	raw, err := json.Marshal(v)
	var s shape
	if err != nil || json.Unmarshal(raw, &s) != nil {
		return "?"
	}
	return s.String()
}

func quirkCommands() []*command {
	k := quirkKind()
	one := arg{name: "ID", from: wordsQuirk}
	return []*command{
		{name: "quirk list", help: "list the models of machine that need another shape of answer", run: runList(k), flags: []flagDef{mostFlag()}},
		{name: "quirk show", help: "show one model", args: []arg{one}, run: runShow(k)},
		{
			name: "quirk pin", help: "hold a model to a shape, whatever its machines do", run: runPin,
			args: []arg{{name: "ID", from: wordsQuirk, opt: true}},
			flags: []flagDef{
				{name: "class", kind: flagText, value: "CLASS", help: "in place of ID: class that such machines send (option 60); before it \"iPXE \" for iPXE"},
				{name: "oui", kind: flagText, value: "OUI", help: "in place of ID: first half of their hardware addresses, 52:54:00"},
				{name: "product", kind: flagText, value: "TEXT", help: "in place of ID: product"},
				{name: "form", kind: flagText, value: "FORM", values: []string{"direct", "two-step"}, help: "style of the offer: direct or two-step"},
				{name: "loader", kind: flagText, value: "LOADER", values: []string{"native"}, help: "native: iPXE with drivers of its own"},
				{name: "delay", kind: flagTime, value: "TIME", help: "wait before an offer, at most 1s: 300ms"},
				{name: "block", kind: flagNumber, value: "N", help: "cap of TFTP's block size in octets: 512, 1024"},
				{name: "no-priority", help: "without iPXE's option 175.1"},
				{name: "note", kind: flagText, value: "TEXT", help: "for people"},
			},
			more: "What is not given is the box's own choice. ID is what \"bootpuckctl quirks\" prints.",
		},
		{
			name: "quirk reset", help: "forget what was learned of models, and their pins", run: runReset,
			args: []arg{{name: "ID", from: wordsQuirk, many: true}},
		},
		{
			name: "quirk export", help: "write all models as a file signed by this box", bare: true, run: runQuirkExport,
			args: []arg{{name: "FILE", from: wordsFile, opt: true}},
		},
		{
			name: "quirk import", help: "take over the models of such a file, if the box trusts its key", run: runQuirkImport,
			args: []arg{{name: "FILE", from: wordsFile}},
			more: "The box trusts its own key and those of the setting quirk-keys. Pins made on this\nbox stay. FILE \"-\" is the standard input.",
		},
	}
}

// pinnedShape is what the flags ask for.
func (c *call) pinnedShape() (shape, error) {
	s := shape{Form: c.text("form"), Loader: c.text("loader"), Block: c.number("block"), NoPriority: c.on("no-priority")}
	if c.given("delay") {
		s.Delay = c.span("delay")
	}
	if s.Delay > time.Second {
		return s, usagef("-delay %s: want at most 1s", c.text("delay"))
	}
	return s, nil
}

func runPin(c *call) error {
	parts := map[string]string{}
	for _, name := range []string{"class", "oui", "product"} {
		if v := c.text(name); v != "" {
			parts[name] = v
		}
	}
	id := c.arg(0)
	switch {
	case id != "" && len(parts) > 0:
		return usagef("name the model by ID or by -class, -oui and -product, not by both")
	case id == "" && len(parts) == 0:
		return usagef("name the model: by ID, or by -class, -oui and -product, at least one of them")
	}
	s, err := c.pinnedShape()
	if err != nil {
		return err
	}
	box, err := c.client()
	if err != nil {
		return err
	}
	body := document{"shape": s}
	if note := c.text("note"); note != "" {
		body["note"] = note
	}
	a, err := box.pin(c.ctx, id, parts, body, c.given("note"))
	if err != nil {
		return err
	}
	if c.text("o") != "table" {
		return c.printDocument(a.body, quirkKind().fields)
	}
	d, err := decode(a.body)
	if err != nil {
		return err
	}
	c.say("model %s is pinned: %s", textAt(d, "id"), s)
	return nil
}

// pin pins a known model by its id, or one that is named by its parts.
func (box *client) pin(ctx context.Context, id string, parts map[string]string, body document, noted bool) (answer, error) {
	if id == "" {
		for k, v := range parts {
			body[k] = v
		}
		return box.send(ctx, http.MethodPost, "quirks", body, nil, "")
	}
	if err := checkName(id); err != nil {
		return answer{}, err
	}
	at := quirkKind().at(id)
	now, err := box.get(ctx, at.path, nil, at.what)
	if err != nil {
		return answer{}, err
	}
	had, err := decode(now.body)
	if err != nil {
		return answer{}, err
	}
	// A note that stands there is not lost by pinning anew.
	if note := textAt(had, "note"); note != "" && !noted {
		body["note"] = note
	}
	return box.send(ctx, http.MethodPut, at.path, body, map[string]string{"If-Match": now.etag()}, at.what)
}

func runReset(c *call) error {
	box, err := c.client()
	if err != nil {
		return err
	}
	for _, id := range c.args {
		if err := checkName(id); err != nil {
			return err
		}
		at := quirkKind().at(id)
		if err := box.delete(c.ctx, at); err != nil {
			return err
		}
		c.say("%s forgotten", at.what)
	}
	return nil
}

func runQuirkExport(c *call) error {
	box, err := c.client()
	if err != nil {
		return err
	}
	a, err := box.get(c.ctx, "quirks/export", nil, "")
	if err != nil {
		return err
	}
	if file := c.arg(0); file != "" && file != "-" {
		if err := writeFile(file, a.body); err != nil {
			return err
		}
		fmt.Fprintf(c.errOut, "%d octets in %s\n", len(a.body), visible(file))
		return nil
	}
	// Its signature is over what it says, not over how it is written down.
	return writeJSON(c.out, a.body)
}

func runQuirkImport(c *call) error {
	file := c.arg(0)
	data, err := c.readInput(file, maxQuirkFile)
	if err != nil {
		return err
	}
	box, err := c.client()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.ctx, patience)
	defer cancel()
	a, err := box.ask(ctx, question{
		method: http.MethodPost, path: "quirks/import", query: url.Values{}, body: bytes.NewReader(data), size: int64(len(data)),
		header: map[string]string{"Content-Type": "application/json"},
	})
	if err != nil {
		return named(err, file)
	}
	var list struct {
		Differences []json.RawMessage `json:"differences"`
	}
	if err := json.Unmarshal(a.body, &list); err != nil {
		return fmt.Errorf("read the box's answer: %w", err)
	}
	if err := c.printDifferences(list.Differences); err != nil || c.text("o") != "table" {
		return err
	}
	if len(list.Differences) == 0 {
		c.say("the box has all of it already")
		return nil
	}
	c.say("%s taken over", differences(len(list.Differences)))
	return nil
}
