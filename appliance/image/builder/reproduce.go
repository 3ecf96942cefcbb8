package builder

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Verify builds the image, builds it again from a copy of the tree in another
// directory and with an empty build cache, and compares the results bit by bit.
// It returns the first build's result, or an error naming what differs.
func Verify(ctx context.Context, o Options) (Result, error) {
	root, err := filepath.Abs(o.Root)
	if err != nil {
		return Result{}, fmt.Errorf("repository: %w", err)
	}
	if o.Version == "" {
		if o.Version, err = gitVersion(ctx, root); err != nil {
			return Result{}, err
		}
	}
	if o.Epoch.IsZero() {
		if o.Epoch, err = gitEpoch(ctx, root); err != nil {
			return Result{}, err
		}
	}
	// The copy is taken before the first build, so that both see the same tree.
	tmp, err := os.MkdirTemp("", "bootpuck-reproduce-*")
	if err != nil {
		return Result{}, fmt.Errorf("second build: %w", err)
	}
	defer os.RemoveAll(tmp)
	copied := filepath.Join(tmp, "a different place", "tree")
	if err := copyTree(copied, root); err != nil {
		return Result{}, err
	}
	first, err := Build(ctx, o)
	if err != nil {
		return Result{}, fmt.Errorf("first build: %w", err)
	}
	again := o
	again.Root = copied
	again.Out = filepath.Join(tmp, "out")
	again.Env = append(again.Env, "GOCACHE="+filepath.Join(tmp, "gocache"))
	second, err := Build(ctx, again)
	if err != nil {
		return Result{}, fmt.Errorf("second build: %w", err)
	}
	for _, pair := range [][2]string{
		{first.Raw, second.Raw}, {first.Compressed, second.Compressed}, {first.Update, second.Update},
	} {
		a, err := sumFile(pair[0])
		if err != nil {
			return Result{}, err
		}
		b, err := sumFile(pair[1])
		if err != nil {
			return Result{}, err
		}
		if a != b {
			return Result{}, fmt.Errorf("not reproducible: %s is %s in the first build and %s in the second", filepath.Base(pair[0]), a, b)
		}
	}
	first.Took += second.Took
	return first, nil
}

// copyTree copies what a build can read: everything but git's own files and
// what builds left behind.
func copyTree(dst, src string) error {
	return filepath.WalkDir(src, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("copy tree: %w", err)
		}
		rel, err := filepath.Rel(src, path)
		if err != nil {
			return fmt.Errorf("copy tree: %w", err)
		}
		if d.IsDir() {
			if rel == ".git" || rel == ".build" || strings.HasSuffix(rel, "node_modules") {
				return filepath.SkipDir
			}
			return os.MkdirAll(filepath.Join(dst, rel), 0o755)
		}
		if !d.Type().IsRegular() {
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("copy tree: %w", err)
		}
		return os.WriteFile(filepath.Join(dst, rel), b, 0o644)
	})
}
