package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	// maxImport bounds a file to import, in octets; the box takes no larger one.
	maxImport = 32 << 20
	// exchangePatience is how long a box may take to write or read everything.
	exchangePatience = 5 * time.Minute
)

func runExport(c *call) error {
	box, err := c.client()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.ctx, exchangePatience)
	defer cancel()
	a, err := box.ask(ctx, question{
		method: http.MethodGet, path: "export", limit: maxExport,
		header: map[string]string{"Accept": "application/yaml, application/problem+json"},
	})
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
	_, err = io.WriteString(c.out, visibleLines(string(a.body)))
	return err
}

// writeFile puts data in place of the file at once, readable for its owner
// alone: an export holds secrets.
func writeFile(name string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".bootpuckctl-")
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// exchange offers a file to the box and returns what differs.
func (c *call) exchange(dry bool) ([]json.RawMessage, error) {
	file := c.arg(0)
	data, err := c.readInput(file, maxImport)
	if err != nil {
		return nil, err
	}
	box, err := c.client()
	if err != nil {
		return nil, err
	}
	query := url.Values{}
	if dry {
		query.Set("dry", "1")
	}
	ctx, cancel := context.WithTimeout(c.ctx, exchangePatience)
	defer cancel()
	a, err := box.ask(ctx, question{
		method: http.MethodPost, path: "import", query: query, limit: maxExport,
		body: bytes.NewReader(data), size: int64(len(data)),
		header: map[string]string{"Content-Type": "application/yaml", "Expect": "100-continue"},
	})
	if err != nil {
		return nil, named(err, file)
	}
	var list struct {
		Differences []json.RawMessage `json:"differences"`
	}
	if err := json.Unmarshal(a.body, &list); err != nil {
		return nil, fmt.Errorf("read the box's answer: %w", err)
	}
	return list.Differences, nil
}

// named gives faults the name that the file has here: the box has seen its
// content only.
func named(err error, file string) error {
	faults, ok := errors.AsType[invalid](err)
	if !ok {
		return err
	}
	out := invalid{}
	for _, f := range faults {
		f.File = file
		out = append(out, f)
	}
	return out
}

func (c *call) printDifferences(list []json.RawMessage) error {
	if list == nil {
		list = []json.RawMessage{}
	}
	raw, err := json.Marshal(list)
	if err != nil {
		return fmt.Errorf("read the box's answer: %w", err)
	}
	return c.print(raw, func(w io.Writer) error {
		for _, item := range list {
			var d struct{ Document, Text string }
			if err := json.Unmarshal(item, &d); err != nil {
				return fmt.Errorf("read the box's answer: %w", err)
			}
			text := d.Text
			if !strings.HasPrefix(text, d.Document) {
				text = d.Document + ": " + text
			}
			fmt.Fprintln(w, visible(text))
		}
		return nil
	})
}

func runImport(c *call) error {
	list, err := c.exchange(c.on("dry-run"))
	if err != nil {
		return err
	}
	if err := c.printDifferences(list); err != nil || c.text("o") != "table" {
		return err
	}
	switch {
	case len(list) == 0:
		c.say("the box has all of it already")
	case c.on("dry-run"):
		c.say("%s; nothing was changed", differences(len(list)))
	default:
		c.say("%s taken over", differences(len(list)))
	}
	return nil
}

func differences(n int) string {
	if n == 1 {
		return "1 difference"
	}
	return fmt.Sprintf("%d differences", n)
}

func runDiff(c *call) error {
	list, err := c.exchange(true)
	if err != nil {
		return err
	}
	if err := c.printDifferences(list); err != nil {
		return err
	}
	if len(list) > 0 {
		return errBad
	}
	return nil
}
