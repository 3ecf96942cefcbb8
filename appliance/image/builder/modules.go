package builder

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// modules is a go.mod in which some modules are replaced by patched copies.
type modules struct {
	modfile string
	before  pins
}

// pins is what a go.mod and its go.sum decide: which version of what is built.
type pins struct {
	Go      string
	Require []struct{ Path, Version string }
	Replace []struct {
		Old, New struct{ Path, Version string }
	}
	checksum map[string]bool
}

// patched makes patched copies below dir of modules that the module in home
// needs, and a go.mod beside them that uses these copies.
func (b *build) patched(ctx context.Context, home, dir string, patches []patch) (*modules, error) {
	copies, err := patchModules(dir, patches, func(module string) (string, error) {
		return b.moduleDir(ctx, home, module)
	})
	if err != nil {
		return nil, err
	}
	m := &modules{modfile: filepath.Join(dir, "go.mod")}
	for _, name := range []string{"go.mod", "go.sum"} {
		text, err := os.ReadFile(filepath.Join(home, name))
		if err != nil {
			return nil, fmt.Errorf("copy %s: %w", name, err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			return nil, fmt.Errorf("copy %s: %w", name, err)
		}
	}
	for _, module := range slices.Sorted(maps.Keys(copies)) {
		rel, err := filepath.Rel(home, copies[module])
		if err != nil {
			return nil, fmt.Errorf("replace %s: %w", module, err)
		}
		if !strings.HasPrefix(rel, "..") {
			rel = "./" + rel
		}
		if err := b.run(ctx, home, nil, "go", "mod", "edit", "-replace="+module+"="+filepath.ToSlash(rel), m.modfile); err != nil {
			return nil, err
		}
	}
	if m.before, err = b.pins(ctx, m.modfile); err != nil {
		return nil, err
	}
	return m, nil
}

// unchanged returns an error when the tools that used the go.mod had to add or
// change a version: then the image is not what the repository's go.mod says.
// (Comments may change, go rewrites "// indirect" as it learns more.)
func (m *modules) unchanged(ctx context.Context, b *build) error {
	after, err := b.pins(ctx, m.modfile)
	if err != nil {
		return err
	}
	if diff := m.before.differ(after); diff != "" {
		return fmt.Errorf("go.mod does not pin everything the image needs: %s; add it with go get", diff)
	}
	return nil
}

func (b *build) pins(ctx context.Context, modfile string) (pins, error) {
	var p pins
	cmd := exec.CommandContext(ctx, "go", "mod", "edit", "-json", modfile)
	cmd.Env = append(os.Environ(), "GOFLAGS=")
	out, err := cmd.Output()
	if err != nil {
		return p, fmt.Errorf("read %s: %w", modfile, err)
	}
	if err := json.Unmarshal(out, &p); err != nil {
		return p, fmt.Errorf("read %s: %w", modfile, err)
	}
	sums, err := os.ReadFile(strings.TrimSuffix(modfile, ".mod") + ".sum")
	if err != nil {
		return p, fmt.Errorf("read checksums: %w", err)
	}
	p.checksum = map[string]bool{}
	for line := range bytes.Lines(sums) {
		p.checksum[strings.TrimSpace(string(line))] = true
	}
	return p, nil
}

// differ names the first thing that is in one set of pins only, or "".
func (p pins) differ(q pins) string {
	if p.Go != q.Go {
		return "go " + q.Go
	}
	list := func(p pins) map[string]bool {
		all := maps.Clone(p.checksum)
		for _, r := range p.Require {
			all[r.Path+" "+r.Version] = true
		}
		for _, r := range p.Replace {
			all[r.Old.Path+" "+r.Old.Version+" => "+r.New.Path+" "+r.New.Version] = true
		}
		return all
	}
	a, b := list(p), list(q)
	for _, line := range slices.Sorted(maps.Keys(b)) {
		if !a[line] {
			return line
		}
	}
	for _, line := range slices.Sorted(maps.Keys(a)) {
		if !b[line] {
			return line + " (gone)"
		}
	}
	return ""
}

// moduleDir finds a module's directory in the module cache, as pinned by the
// module in home, and downloads it when it is missing.
func (b *build) moduleDir(ctx context.Context, home, module string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", module)
	cmd.Dir = home
	cmd.Env = append(append(os.Environ(), b.Env...), "GOWORK=off")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("find module %s: %w: %s", module, err, strings.TrimSpace(stderr.String()))
	}
	var found struct{ Dir string }
	if err := json.Unmarshal(out, &found); err != nil || found.Dir == "" {
		return "", fmt.Errorf("find module %s: no directory in %q: %w", module, out, err)
	}
	return found.Dir, nil
}
