package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

func treeColumns() []column {
	return []column{
		{"NAME", "name", nil},
		{"FILES", "files", nil},
		{"BYTES", "bytes", nil},
		{"ADDED", "added", showTime},
		{"PROGRAMS", "programs", nil},
	}
}

func treeKind() kind {
	return kind{one: "tree", plural: "trees", path: "trees", columns: treeColumns()}
}

// archiveTypes are the archives that a box unpacks, by the end of their names.
func archiveTypes() []struct{ suffix, mediaType string } {
	return []struct{ suffix, mediaType string }{
		{".tar.gz", "application/gzip"},
		{".tgz", "application/gzip"},
		{".tar", "application/x-tar"},
		{".zip", "application/zip"},
	}
}

// archiveType is the media type of an archive: by its first octets, since
// names lie, else by its name.
func archiveType(name string, head []byte) (string, bool) {
	switch {
	case strings.HasPrefix(string(head), "\x1f\x8b"):
		return "application/gzip", true
	case strings.HasPrefix(string(head), "PK\x03\x04"):
		return "application/zip", true
	case len(head) > 262 && string(head[257:262]) == "ustar":
		return "application/x-tar", true
	}
	for _, t := range archiveTypes() {
		if t.mediaType == "application/x-tar" && strings.HasSuffix(strings.ToLower(name), t.suffix) {
			return t.mediaType, true // tar archives of the oldest kind have no mark
		}
	}
	return "", false
}

// uploadStall is how long an upload may stand still, and how long the box may
// unpack after the last octet.
const uploadStall = 5 * time.Minute

var errStalled = errors.New("nothing moved for too long")

func runUpload(c *call) error {
	box, err := c.client()
	if err != nil {
		return err
	}
	name, file := c.arg(0), c.arg(1)
	in, size, err := c.openArchive(file)
	if err != nil {
		return err
	}
	if f, ok := in.(io.Closer); ok && file != "-" {
		defer f.Close()
	}
	head := make([]byte, 512)
	n, err := io.ReadFull(in, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read %s: %w", file, err)
	}
	head = head[:n]
	media, ok := archiveType(file, head)
	if !ok {
		return fault("", "%s is no archive that the box unpacks; want tar, tar.gz or zip", file)
	}
	at := treeKind().at(name)
	if err := checkName(name); err != nil {
		return err
	}
	// A tree of that name is replaced as a whole; there is nothing to merge and
	// so nothing to lose by a condition that it is still the same.
	header := map[string]string{
		"Content-Type": media,
		// A refusal is told before gigabytes are on their way.
		"Expect": "100-continue",
	}
	now, err := box.get(c.ctx, at.path, nil, at.what)
	switch {
	case err == nil && now.etag() != "":
		header["If-Match"] = now.etag()
	case err != nil && statusOf(err) != exitNotFound:
		return err
	}
	ctx, cancel := context.WithCancelCause(c.ctx)
	defer cancel(nil)
	stall := time.AfterFunc(uploadStall, func() { cancel(errStalled) })
	defer stall.Stop()
	p := &progress{
		from: io.MultiReader(strings.NewReader(string(head)), in), total: size, out: c.errOut,
		live: c.terminal, lines: c.on("progress"), moved: func() { stall.Reset(uploadStall) }, now: time.Now,
	}
	a, err := box.ask(ctx, question{
		method: http.MethodPut, path: at.path, body: p, size: size, header: header, missing: at.what,
	})
	p.end()
	if errors.Is(context.Cause(ctx), errStalled) {
		return fmt.Errorf("upload %s: %w", file, errStalled)
	}
	if err != nil {
		return err
	}
	if c.text("o") != "table" {
		return c.printDocument(a.body, nil)
	}
	d, err := decode(a.body)
	if err != nil {
		return err
	}
	c.say("tree %s: %s files, %s octets", name, plain(d["files"]), plain(d["bytes"]))
	if found := plain(d["programs"]); found != "" {
		c.say("can be booted: %s", found)
	}
	return nil
}

// openArchive opens a file, or the standard input for "-", whose size nobody
// knows.
func (c *call) openArchive(file string) (io.Reader, int64, error) {
	if file == "-" {
		return c.in, -1, nil
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, 0, usagef("%v", err)
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		f.Close()
		return nil, 0, usagef("%s: want an archive, a plain file", file)
	}
	return f, info.Size(), nil
}

// progress counts what is read through it and shows that.
type progress struct {
	from  io.Reader
	out   io.Writer
	total int64 // -1 unknown
	live  bool  // out is a terminal: one line that changes
	lines bool  // a line for every tenth
	moved func()
	now   func() time.Time

	done  int64
	tenth int64
	shown time.Time
	drawn bool
}

// Read passes on what is read.
func (p *progress) Read(b []byte) (int, error) {
	n, err := p.from.Read(b)
	if n > 0 {
		p.done += int64(n)
		p.moved()
		p.show()
	}
	return n, err
}

func (p *progress) show() {
	switch {
	case p.lines:
		if p.total > 0 && p.done*10/p.total > p.tenth {
			p.tenth = p.done * 10 / p.total
			fmt.Fprintf(p.out, "%3d%% %d octets\n", p.tenth*10, p.done)
		}
	case p.live:
		if now := p.now(); now.Sub(p.shown) >= 200*time.Millisecond || p.done == p.total {
			p.shown, p.drawn = now, true
			fmt.Fprintf(p.out, "\r%s\x1b[K", p.text())
		}
	}
}

func (p *progress) text() string {
	const mib = 1 << 20
	if p.total <= 0 {
		return fmt.Sprintf("%.1f MiB", float64(p.done)/mib)
	}
	return fmt.Sprintf("%3d%% %.1f of %.1f MiB", p.done*100/p.total, float64(p.done)/mib, float64(p.total)/mib)
}

// end leaves the line that changed.
func (p *progress) end() {
	if p.drawn {
		fmt.Fprintln(p.out)
	}
}
