package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/bootpuck/bootpuck/bootfiles"
)

// sources fetches the source packages of everything in the manifest into out. An
// archive that no longer has a file does not stop the others: the table says
// which are missing and why. It is an error when nothing at all could be had, or
// when something is wrong rather than missing (another hash, a full disk).
func (k *kitchen) sources(ctx context.Context, out string) error {
	unlock, err := k.lock()
	if err != nil {
		return err
	}
	defer unlock()
	from, err := k.archive(ctx)
	if err != nil {
		return err
	}
	var (
		rows    []string
		missing []error
		wrong   []error
		have    int
	)
	for _, s := range k.pins.Sources {
		for _, f := range s.Files {
			state := "ok"
			err := k.sourceFile(ctx, from, f, filepath.Join(out, s.Name, f.FileName()))
			var mismatch *bootfiles.MismatchError
			var path *fs.PathError
			switch {
			case err == nil:
				have++
			case ctx.Err() != nil:
				return context.Cause(ctx)
			case errors.As(err, &mismatch), errors.As(err, &path):
				state = "WRONG"
				wrong = append(wrong, err)
			default:
				state = "not fetched"
				missing = append(missing, err)
			}
			rows = append(rows, fmt.Sprintf("%s\t%s\t%s\t%s\t%s", s.Name, s.Version, f.FileName(), size(f.Size), state))
		}
	}
	w := tabwriter.NewWriter(k.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "SOURCE\tVERSION\tFILE\tSIZE\tSTATE\n%s\n", strings.Join(rows, "\n"))
	if err := w.Flush(); err != nil {
		return fmt.Errorf("print table: %w", err)
	}
	for _, err := range missing {
		k.say("not fetched: %v", err)
	}
	switch {
	case len(wrong) > 0:
		return errors.Join(wrong...)
	case have == 0:
		return errors.New("not one source file could be fetched")
	}
	return nil
}

func (k *kitchen) sourceFile(ctx context.Context, from archive, f bootfiles.SourceFile, path string) error {
	switch err := checkFile(path, f.Check); {
	case err == nil:
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("source file %s (remove it to fetch it again): %w", path, err)
	}
	return into(path, f.Check, func(tmp string) error { return from.fetchPool(ctx, f.Pool, tmp) })
}
