package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// maxDocument bounds a document that is read from a file, in octets.
const maxDocument = 1 << 20

// place is where a document is in the API, and what to call it.
type place struct {
	kind kind
	path string // below /api/v1, escaped
	what string // for people
}

func (k kind) at(name string) place {
	if k.single {
		return place{k, k.path, k.one}
	}
	return place{k, k.path + "/" + url.PathEscape(name), k.one + " " + name}
}

// goodName says whether a word can be part of an address as it is. The box is
// stricter.
func goodName(s string) bool {
	return s != "" && s[0] != '.' && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("._-", r)
	})
}

func checkName(s string) error {
	if !goodName(s) {
		return fault("name", "%q: want letters, digits, dots, dashes and underscores, the first no dot", s)
	}
	return nil
}

// place finds the document of a command's first argument.
func (c *call) place(ctx context.Context, box *client, k kind) (place, error) {
	if k.single {
		return k.at(""), nil
	}
	if k.plural != "machines" {
		return k.at(c.arg(0)), checkName(c.arg(0))
	}
	m, err := box.machine(ctx, c.arg(0))
	if err != nil {
		return place{}, err
	}
	return place{k, k.path + "/" + url.PathEscape(m.ID), "machine " + m.label()}, nil
}

// say tells people what was done; programs go by the exit status.
func (c *call) say(format string, a ...any) {
	if c.text("o") != "table" {
		return
	}
	fmt.Fprintln(c.out, visible(fmt.Sprintf(format, a...)))
}

func runList(k kind) func(*call) error {
	return func(c *call) error {
		box, err := c.client()
		if err != nil {
			return err
		}
		query := url.Values{}
		for _, f := range c.cmd.flags {
			if f.name != "n" && c.given(f.name) {
				query[f.name] = c.flags[f.name]
			}
		}
		var items []json.RawMessage
		see := func(item json.RawMessage) error {
			items = append(items, item)
			return nil
		}
		if k.whole {
			err = box.all(c.ctx, k.path, query, see)
			items = items[:min(len(items), cmp.Or(c.number("n"), len(items)))]
		} else {
			err = box.each(c.ctx, k.path, query, c.number("n"), see)
		}
		if err != nil {
			return err
		}
		return c.printList(items, k.columns)
	}
}

func runShow(k kind) func(*call) error {
	return func(c *call) error {
		box, err := c.client()
		if err != nil {
			return err
		}
		at, err := c.place(c.ctx, box, k)
		if err != nil {
			return err
		}
		a, err := box.get(c.ctx, at.path, nil, at.what)
		if err != nil {
			return err
		}
		return c.printDocument(a.body, k.fields)
	}
}

// printDocument prints one document.
func (c *call) printDocument(raw []byte, fields []field) error {
	return c.print(raw, func(w io.Writer) error {
		d, err := decode(raw)
		if err != nil {
			return err
		}
		writeDocument(w, d, fields)
		return nil
	})
}

// current is a document as it is now; nil when there is none.
func (box *client) current(ctx context.Context, at place) (document, answer, error) {
	a, err := box.get(ctx, at.path, nil, at.what)
	if err != nil {
		if statusOf(err) == exitNotFound {
			return nil, answer{}, nil
		}
		return nil, answer{}, err
	}
	d, err := decode(a.body)
	return d, a, err
}

// runSet writes a document: the whole of it from a file, or single fields.
func runSet(k kind) func(*call) error {
	return func(c *call) error {
		pairs := c.args
		if !k.single {
			pairs = c.args[1:]
		}
		if !c.given("f") && len(pairs) == 0 {
			return usagef("want key=value pairs, or -f FILE")
		}
		for _, p := range pairs {
			if _, _, _, err := splitPair(p); err != nil {
				return err
			}
		}
		box, err := c.client()
		if err != nil {
			return err
		}
		at, had, now, err := c.subject(box, k)
		if err != nil {
			return err
		}
		d, at2, err := c.wanted(k, had, pairs)
		if err != nil {
			return err
		}
		a, err := box.put(c.ctx, at, d, now.etag())
		if err != nil {
			return locate(err, c.text("f"), at2)
		}
		return c.stored(at, a, now.body == nil)
	}
}

// subject finds what set is about: what is there of it, and where.
func (c *call) subject(box *client, k kind) (at place, had document, now answer, err error) {
	if c.on("new") {
		return k.at(c.arg(0)), nil, answer{}, checkName(c.arg(0))
	}
	if at, err = c.place(c.ctx, box, k); err != nil {
		if mac, ok := parseMAC(c.arg(0)); ok && k.plural == "machines" && statusOf(err) == exitNotFound {
			// A machine that has not come yet is written down by its address.
			id := "mac-" + strings.ReplaceAll(mac, ":", "")
			return k.at(id), document{"macs": []any{map[string]any{"mac": mac, "given": true}}}, answer{}, nil
		}
		return place{}, nil, answer{}, err
	}
	had, now, err = box.current(c.ctx, at)
	return at, had, now, err
}

// wanted is the document as it is to be.
func (c *call) wanted(k kind, had document, pairs []string) (document, lines, error) {
	d, at := document{}, lines{}
	if c.given("f") {
		data, err := c.readInput(c.text("f"), maxDocument)
		if err != nil {
			return nil, nil, err
		}
		if d, at, err = readDocument(c.text("f"), data, k.fields); err != nil {
			return nil, nil, err
		}
		if err := c.sameDocument(k, d, had); err != nil {
			return nil, nil, locate(err, c.text("f"), at)
		}
	} else {
		for name, v := range had {
			d[name] = v
		}
	}
	for _, f := range k.fields {
		if f.readOnly {
			delete(d, f.name)
		}
	}
	return d, at, applyPairs(d, k.fields, pairs, func(name string) (string, error) {
		data, err := c.readInput(name, maxDocument)
		return string(data), err
	})
}

// sameDocument refuses a file that is about another document, or that was made
// of an older revision: what was changed since would be lost.
func (c *call) sameDocument(k kind, d, had document) error {
	for _, name := range []string{"id", "name"} {
		f, ok := find1(k.fields, name)
		if v, there := d[name]; ok && f.readOnly && there {
			if want := c.arg(0); had != nil && had[name] != v || had == nil && v != want {
				return fault(name, "is %q, which is another one; leave it out to write it as %q", v, want)
			}
		}
	}
	rev, there := d["rev"]
	if !there {
		return nil
	}
	if had == nil {
		return failf(exitConflict, "the file says revision %v, but there is none (any more); leave rev out to make it", rev)
	}
	if fmt.Sprint(rev) != fmt.Sprint(had["rev"]) {
		return failf(exitConflict, "changed by somebody else meanwhile: the file was made of revision %v, it is %v now; leave rev out to overwrite", rev, had["rev"])
	}
	return nil
}

// readInput reads a file, "-" is the standard input.
func (c *call) readInput(name string, limit int64) ([]byte, error) {
	if name == "-" {
		return readAll(c.in, "the standard input", limit)
	}
	data, err := readSome(name, limit)
	if err != nil {
		return nil, usagef("%v", err)
	}
	return data, nil
}

// put stores a document in place of the one with that ETag, "" when there must
// be none.
func (box *client) put(ctx context.Context, at place, d document, etag string) (answer, error) {
	header := map[string]string{"If-Match": etag}
	if etag == "" {
		header = map[string]string{"If-None-Match": "*"}
	}
	return box.send(ctx, http.MethodPut, at.path, d, header, at.what)
}

func (c *call) stored(at place, a answer, created bool) error {
	if c.text("o") != "table" {
		return c.printDocument(a.body, at.kind.fields)
	}
	c.say("%s %s", at.what, map[bool]string{true: "made", false: "changed"}[created])
	return nil
}

// locate puts file and line to the faults that the box found.
func locate(err error, file string, at lines) error {
	faults, ok := errors.AsType[invalid](err)
	if !ok || file == "" {
		return err
	}
	out := slices.Clone(faults)
	for i, f := range out {
		if f.Line == 0 && f.File == "" {
			out[i].File, out[i].Line = file, at.of(f.Field)
		}
	}
	return out
}

func runDelete(k kind) func(*call) error {
	return func(c *call) error {
		box, err := c.client()
		if err != nil {
			return err
		}
		all := c.args
		for _, name := range all {
			c.args = []string{name}
			at, err := c.place(c.ctx, box, k)
			if err != nil {
				return err
			}
			if err := box.delete(c.ctx, at); err != nil {
				return err
			}
			c.say("%s deleted", at.what)
		}
		return nil
	}
}

// delete takes away the document that is there now.
func (box *client) delete(ctx context.Context, at place) error {
	a, err := box.get(ctx, at.path, nil, at.what)
	if err != nil {
		return err
	}
	header := map[string]string{}
	if a.etag() != "" {
		header["If-Match"] = a.etag()
	}
	_, err = box.send(ctx, http.MethodDelete, at.path, nil, header, at.what)
	return err
}

// runEdit lets the operator's editor change a document.
func runEdit(k kind) func(*call) error {
	return func(c *call) error {
		editor := c.getenv("VISUAL")
		if editor == "" {
			editor = c.getenv("EDITOR")
		}
		if editor == "" {
			return usagef("set $EDITOR to the program to edit with")
		}
		box, err := c.client()
		if err != nil {
			return err
		}
		at, _, now, err := c.subject(box, k)
		if err != nil {
			return err
		}
		if now.body == nil && !c.on("new") {
			return failf(exitNotFound, "there is no %s; -new makes it", at.what)
		}
		text, err := editable(at, now.body)
		if err != nil {
			return err
		}
		dir, err := os.MkdirTemp("", "bootpuckctl-")
		if err != nil {
			return fmt.Errorf("make a place for the file to edit: %w", err)
		}
		file := filepath.Join(dir, k.one+".yaml")
		if err := c.editLoop(box, editor, file, text, at, now); err != nil {
			if _, lost := os.Stat(file); lost == nil {
				fmt.Fprintf(c.errOut, "what you wrote is in %s\n", file)
			}
			return err
		}
		return os.RemoveAll(dir)
	}
}

// editHead stands above every text to edit.
const editHead = "# Lines that begin with # are not read. Saving without a change leaves all as it is.\n"

// editable is the document as a text to edit.
func editable(at place, raw []byte) ([]byte, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n%s", visible(at.what), editHead)
	if raw == nil {
		b.WriteString("#\n")
		var help strings.Builder
		printFields(&help, at.kind.fields, "")
		for line := range strings.Lines(help.String()) {
			b.WriteString("#" + line)
		}
		return []byte(b.String()), nil
	}
	n, err := toYAML(raw)
	if err != nil {
		return nil, fmt.Errorf("read the box's answer: %w", err)
	}
	names := []string{}
	for _, f := range at.kind.fields {
		if f.readOnly {
			names = append(names, f.name)
		}
	}
	dropFields(n, names...)
	text, err := dumpYAML(n)
	return append([]byte(b.String()), text...), err
}

// editLoop opens the editor until the box takes what was written, or the
// operator gives up by changing nothing more.
func (c *call) editLoop(box *client, editor, file string, text []byte, at place, now answer) error {
	var last error
	for range maxEdits {
		if err := os.WriteFile(file, text, 0o600); err != nil {
			return fmt.Errorf("write the file to edit: %w", err)
		}
		// The editor's value may hold arguments; the shell takes it apart.
		cmd := exec.CommandContext(c.ctx, "sh", "-c", editor+` "$1"`, "sh", file)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = c.in, c.out, c.errOut
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("run the editor %s: %w", editor, err)
		}
		edited, err := readSome(file, maxDocument)
		if err != nil {
			return err
		}
		if unread(edited) == unread(text) {
			if last == nil {
				c.say("%s is as it was", at.what)
			}
			return last
		}
		d, where, err := readDocument(filepath.Base(file), edited, at.kind.fields)
		if err == nil {
			var a answer
			if a, err = box.put(c.ctx, at, d, now.etag()); err == nil {
				return c.stored(at, a, now.body == nil)
			}
			err = locate(err, filepath.Base(file), where)
		}
		if statusOf(err) != exitInvalid {
			return err
		}
		text, last = withFaults(edited, err)
	}
	return last
}

// maxEdits is how often an editor is opened for one document: it may be a
// script, which knows no end.
const maxEdits = 50

// unread is the text without its comments.
func unread(text []byte) string {
	var b strings.Builder
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "#") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// withFaults puts what is wrong at the top of the text, and moves the lines of
// the faults along.
func withFaults(text []byte, err error) ([]byte, error) {
	body := string(text)
	for strings.HasPrefix(body, "# wrong: ") {
		_, body, _ = strings.Cut(body, "\n")
	}
	faults, _ := errors.AsType[invalid](err)
	if faults == nil {
		return []byte("# wrong: " + visible(err.Error()) + "\n" + body), err
	}
	moved := slices.Clone(faults)
	shift := len(faults) + strings.Count(body, "\n") - strings.Count(string(text), "\n")
	var b strings.Builder
	for i, f := range faults {
		line := ""
		if f.Line > 0 {
			moved[i].Line += shift
			line = "line " + strconv.Itoa(moved[i].Line) + ": "
		}
		fmt.Fprintf(&b, "# wrong: %s%s\n", line, visible(strings.TrimPrefix(f.Field+": "+f.What, ": ")))
	}
	return []byte(b.String() + body), moved
}
