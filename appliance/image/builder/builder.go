// Package builder makes the flashable image: it derives a gokrazy instance for
// a kind of machine from the repository's config.json, has the pinned packing
// tool build it, lays out the disk, compresses it and writes checksums.
//
// Two runs on one commit give the same bits (see Verify). It must never write
// into the repository outside its output directory and .build, and never put a
// secret into an image: every box of a kind carries the same bits.
package builder

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Options is what a build needs to know.
type Options struct {
	Root string // the repository's root directory
	Out  string // output directory; made if missing
	Kind Kind
	// Description is the instance description; "" is config.json in Root.
	Description string
	// Version and Epoch are taken from git when empty or zero. Epoch is the time
	// every file of the image carries.
	Version string
	Epoch   time.Time
	// RawOnly leaves out compression, checksums and the update archive, for tests.
	RawOnly bool
	// Env is added to the environment of the tools that are started, for example
	// GOCACHE to prove that a build does not depend on an older one.
	Env []string
	Log *slog.Logger
}

// Result tells what was made.
type Result struct {
	Version    string
	Raw        string // uncompressed, sparse disk image, for QEMU and dd
	Compressed string // what is published and flashed
	Checksum   string // sha256sum's format, names Compressed and Update
	Update     string // .gaf: boot and root file systems for a box that runs already
	Took       time.Duration
}

// Build makes an image. The tools it starts are killed when ctx ends.
func Build(ctx context.Context, o Options) (Result, error) {
	start := time.Now()
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	root, err := filepath.Abs(o.Root)
	if err != nil {
		return Result{}, fmt.Errorf("repository: %w", err)
	}
	out, err := filepath.Abs(o.Out)
	if err != nil {
		return Result{}, fmt.Errorf("output directory: %w", err)
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
	b := &build{Options: o, root: root, work: filepath.Join(out, o.Kind.Name)}
	gaf, err := b.pack(ctx)
	if err != nil {
		return Result{}, err
	}

	base := filepath.Join(out, "bootpuck-"+o.Version+"-"+o.Kind.Name)
	res := Result{
		Version:    o.Version,
		Raw:        filepath.Join(out, "bootpuck-"+o.Kind.Name+".img"),
		Compressed: base + ".img.gz",
		Checksum:   base + ".sha256",
		Update:     base + ".gaf",
	}
	parts, err := readParts(gaf)
	if err != nil {
		return Result{}, err
	}
	defer parts.Close()
	if o.RawOnly {
		res.Compressed, res.Checksum, res.Update = "", "", ""
		if err := whole(res.Raw, func(f *os.File) error { return writeDisk(f, parts, b.hostname, o.Kind) }); err != nil {
			return Result{}, err
		}
		res.Took = time.Since(start)
		return res, nil
	}
	if err := whole(res.Update, func(f *os.File) error { return writeUpdate(f, parts, o.Epoch) }); err != nil {
		return Result{}, err
	}
	if err := whole(res.Raw, func(f *os.File) error { return writeDisk(f, parts, b.hostname, o.Kind) }); err != nil {
		return Result{}, err
	}
	o.Log.Info("compressing", "file", res.Compressed)
	if err := whole(res.Compressed, func(f *os.File) error { return compress(f, res.Raw, o.Epoch) }); err != nil {
		return Result{}, err
	}
	if err := whole(res.Checksum, func(f *os.File) error { return writeSums(f, res.Compressed, res.Update) }); err != nil {
		return Result{}, err
	}
	res.Took = time.Since(start)
	return res, nil
}

type build struct {
	Options
	root, work string
	hostname   string
}

// pack derives the instance, builds the packing tool and runs it. It returns
// the path of the update archive the tool wrote.
func (b *build) pack(ctx context.Context) (string, error) {
	// A clean slate: nothing of an older build may reach this one.
	if err := os.RemoveAll(b.work); err != nil {
		return "", fmt.Errorf("clean %s: %w", b.work, err)
	}
	instance := filepath.Join(b.work, "instance")
	tmp := filepath.Join(b.work, "tmp")
	for _, d := range []string{instance, tmp} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return "", fmt.Errorf("prepare build: %w", err)
		}
	}
	if b.Description == "" {
		b.Description = filepath.Join(b.root, "config.json")
	}
	desc, err := os.ReadFile(b.Description)
	if err != nil {
		return "", fmt.Errorf("read instance description: %w", err)
	}
	// The tool builds in builddir, the module there pins every version: that
	// module is the repository itself.
	if err := os.Symlink(b.root, filepath.Join(instance, "builddir")); err != nil {
		return "", fmt.Errorf("write instance: %w", err)
	}

	b.Log.Info("building the packing tool")
	// Patched modules always stand at the same place relative to the repository,
	// because that place is recorded in what is built from them.
	modules := filepath.Join(b.root, ".build", "image-modules", b.Kind.Name)
	unlock, err := lock(modules + ".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	if err := os.RemoveAll(modules); err != nil {
		return "", fmt.Errorf("clean %s: %w", modules, err)
	}
	gokDir := filepath.Join(b.root, "appliance", "image", "gok")
	tool, err := b.patched(ctx, gokDir, filepath.Join(modules, "tool"), toolPatches)
	if err != nil {
		return "", err
	}
	gok := filepath.Join(b.work, "gok")
	if err := b.run(ctx, gokDir, nil, "go", "build", "-trimpath", "-modfile="+tool.modfile, "-o", gok, "github.com/gokrazy/tools/cmd/gok"); err != nil {
		return "", err
	}
	inside, err := b.patched(ctx, b.root, filepath.Join(modules, "inside"), imagePatches)
	if err != nil {
		return "", err
	}

	programs, err := Programs(desc, b.Kind)
	if err != nil {
		return "", err
	}
	texts, err := b.licences(ctx, inside, programs)
	if err != nil {
		return "", err
	}
	derived, hostname, err := Derive(desc, b.Kind, b.Version, map[string]string{licencesPath: texts})
	if err != nil {
		return "", err
	}
	b.hostname = hostname
	if err := os.WriteFile(filepath.Join(instance, "config.json"), derived, 0o644); err != nil {
		return "", fmt.Errorf("write instance: %w", err)
	}
	b.Log.Info("building the image", "kind", b.Kind.Name, "version", b.Version)
	gaf := filepath.Join(b.work, "image.gaf")
	goflags := []string{"-trimpath", "-buildvcs=false", "-modfile=" + inside.modfile}
	for i, f := range goflags {
		if strings.ContainsAny(f, " \t'") {
			goflags[i] = "'" + f + "'"
		}
	}
	env := []string{
		"GOARCH=" + b.Kind.Arch, "GOOS=linux", "CGO_ENABLED=0", "GOWORK=off",
		"GOAMD64=v1", "GOARM64=v8.0", "GOEXPERIMENT=", "GODEBUG=",
		"GOFLAGS=" + strings.Join(goflags, " "),
		"SOURCE_DATE_EPOCH=" + strconv.FormatInt(b.Epoch.Unix(), 10),
		"TMPDIR=" + tmp, "TZ=UTC", "LC_ALL=C",
		// The tool looks for its settings and for passwords below HOME.
		"GOKRAZY_PARENT_DIR=" + b.work,
	}
	if err := b.run(ctx, b.work, env, gok, "--parent_dir", b.work, "-i", "instance", "overwrite", "--gaf", gaf); err != nil {
		return "", err
	}
	if err := inside.unchanged(ctx, b); err != nil {
		return "", err
	}
	return gaf, nil
}

// lock waits until no other build of the same kind in this tree uses the patched
// modules.
func lock(name string) (unlock func(), _ error) {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return nil, fmt.Errorf("lock build: %w", err)
	}
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock build: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return nil, fmt.Errorf("lock build: %w", errors.Join(err, f.Close()))
	}
	return func() { _ = f.Close() }, nil // closing unlocks
}

// run starts a tool and keeps its last words for the error.
func (b *build) run(ctx context.Context, dir string, env []string, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(append(append(os.Environ(), "GOWORK=off"), b.Env...), env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		text := bytes.TrimSpace(out.Bytes())
		if len(text) > 4000 {
			text = text[len(text)-4000:]
		}
		return fmt.Errorf("%s: %w\n%s", filepath.Base(name), err, text)
	}
	b.Log.Debug("tool finished", "name", filepath.Base(name), "output", out.String())
	return nil
}

// gitVersion names the commit the way people name it: the nearest tag, the
// distance to it, and whether the tree was touched.
func gitVersion(ctx context.Context, root string) (string, error) {
	out, err := exec.CommandContext(ctx, "git", "-C", root, "describe", "--tags", "--always", "--dirty", "--abbrev=12").Output()
	if err != nil {
		return "", fmt.Errorf("version: no git history in %s, name it with -version: %w", root, err)
	}
	return strings.TrimPrefix(strings.TrimSpace(string(out)), "v"), nil
}

// gitEpoch returns the time of the commit, or what SOURCE_DATE_EPOCH says
// (https://reproducible-builds.org/specs/source-date-epoch/).
func gitEpoch(ctx context.Context, root string) (time.Time, error) {
	text := os.Getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		out, err := exec.CommandContext(ctx, "git", "-C", root, "log", "-1", "--format=%ct").Output()
		if err != nil {
			return time.Time{}, fmt.Errorf("time of the commit: no git history in %s, set SOURCE_DATE_EPOCH: %w", root, err)
		}
		text = strings.TrimSpace(string(out))
	}
	s, err := strconv.ParseInt(text, 10, 64)
	if err != nil || s <= 0 {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH %q: want seconds since 1970", text)
	}
	return time.Unix(s, 0).UTC(), nil
}

// parts are the file systems of an image.
type parts struct {
	zip  *zip.ReadCloser
	file map[string]*zip.File
}

// partNames are the members of an update archive, in the order they are written.
var partNames = []string{"boot.img", "mbr.img", "root.img", "sbom.json"}

func readParts(gaf string) (*parts, error) {
	z, err := zip.OpenReader(gaf)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", gaf, err)
	}
	p := &parts{zip: z, file: map[string]*zip.File{}}
	for _, f := range z.File {
		p.file[f.Name] = f
	}
	for _, name := range partNames {
		if p.file[name] == nil {
			return nil, errors.Join(fmt.Errorf("%s: no %s in it", gaf, name), z.Close())
		}
	}
	return p, nil
}

// Close releases the archive.
func (p *parts) Close() error { return p.zip.Close() }

// writeUpdate writes the parts as an update archive: a zip without compression,
// so that a box can stream each part to its partition.
func writeUpdate(w io.Writer, p *parts, epoch time.Time) error {
	z := zip.NewWriter(w)
	for _, name := range partNames {
		h := &zip.FileHeader{Name: name, Method: zip.Store, Modified: epoch}
		h.SetMode(0o644)
		f, err := z.CreateHeader(h)
		if err != nil {
			return fmt.Errorf("write update archive: %w", err)
		}
		if err := p.copy(f, name); err != nil {
			return err
		}
	}
	if err := z.Close(); err != nil {
		return fmt.Errorf("write update archive: %w", err)
	}
	return nil
}

func (p *parts) copy(w io.Writer, name string) error {
	r, err := p.file[name].Open()
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	defer r.Close()
	if _, err := io.Copy(w, r); err != nil {
		return fmt.Errorf("copy %s: %w", name, err)
	}
	return nil
}

// compress writes the raw image as gzip. Gzip and not zstd, which would be about
// a tenth smaller: every program people flash with reads gzip, several do not
// read zstd, and so does every unpacker of every operating system.
func compress(w io.Writer, raw string, epoch time.Time) error {
	in, err := os.Open(raw)
	if err != nil {
		return fmt.Errorf("compress: %w", err)
	}
	defer in.Close()
	z, err := gzip.NewWriterLevel(w, gzip.BestCompression)
	if err != nil {
		return fmt.Errorf("compress: %w", err)
	}
	z.ModTime = epoch
	if _, err := io.Copy(z, in); err != nil {
		return fmt.Errorf("compress %s: %w", raw, err)
	}
	if err := z.Close(); err != nil {
		return fmt.Errorf("compress %s: %w", raw, err)
	}
	return nil
}

func writeSums(w io.Writer, files ...string) error {
	files = slices.Sorted(slices.Values(files))
	for _, name := range files {
		sum, err := sumFile(name)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(w, "%s  %s\n", sum, filepath.Base(name)); err != nil {
			return fmt.Errorf("write checksums: %w", err)
		}
	}
	return nil
}

func sumFile(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", fmt.Errorf("checksum: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("checksum %s: %w", name, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// whole writes a file completely or not at all.
func whole(name string, write func(*os.File) error) error {
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*")
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	err = write(f)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", name, err), os.Remove(f.Name()))
	}
	return nil
}
