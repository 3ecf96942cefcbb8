package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/bootpuck/bootpuck/bootfiles"
)

// kitchen is one run of the command: what is wanted, where it is kept, and the
// ways to the outside. Tests replace the ways.
type kitchen struct {
	pins   bootfiles.Pins
	cache  string
	stdout io.Writer

	// archive connects on first use only: a run that finds everything in the
	// cache needs no network and no apt.
	archive func(context.Context) (archive, error)
	// unpack returns the tar stream of a .deb file's content.
	unpack func(ctx context.Context, deb string) (io.ReadCloser, error)
	// local reads a file of this machine.
	local func(name string) ([]byte, error)

	close func()
}

func newKitchen(pins bootfiles.Pins, cache, mirror string, stdout io.Writer) *kitchen {
	var connected *apt
	return &kitchen{
		pins:   pins,
		cache:  cache,
		stdout: stdout,
		unpack: dpkgUnpack,
		local:  os.ReadFile,
		archive: func(ctx context.Context) (archive, error) {
			if connected == nil {
				a, err := newApt(ctx, execRun, mirror)
				if err != nil {
					return nil, err
				}
				connected = a
			}
			return connected, nil
		},
		close: func() {
			if connected != nil {
				connected.close()
			}
		},
	}
}

func (k *kitchen) say(format string, args ...any) { fmt.Fprintf(k.stdout, format+"\n", args...) }

// madeBy marks a folder this program made, and may therefore replace.
const madeBy = ".made-by-ipxe-build"

// fetch fills the folder out with the boot files of the manifest, or leaves it
// exactly as it was.
func (k *kitchen) fetch(ctx context.Context, out string) error {
	if k.pins.Check(os.DirFS(out)) == nil {
		k.say("%s: all %d boot files are there and match the manifest", out, len(k.pins.Files))
		return nil
	}
	if err := replaceable(out); err != nil {
		return err
	}
	unlock, err := k.lock()
	if err != nil {
		return err
	}
	defer unlock()
	// Another run may have done it while we waited.
	if k.pins.Check(os.DirFS(out)) == nil {
		k.say("%s: all %d boot files are there and match the manifest", out, len(k.pins.Files))
		return nil
	}
	files, err := k.gather(ctx, k.pins.Files)
	if err != nil {
		return err
	}
	if err := writeTree(out, files); err != nil {
		return err
	}
	k.say("%s: %d boot files, %s, all match the manifest", out, len(files), size(total(k.pins.Files)))
	return nil
}

// verify compares the folder with the manifest and prints every file's state.
func (k *kitchen) verify(out string) error {
	var errs []error
	for _, f := range k.pins.Files {
		err := bootfiles.Pins{Files: []bootfiles.File{f}}.Check(os.DirFS(out))
		var wrong *bootfiles.MismatchError
		switch {
		case err == nil:
			k.say("ok       %s", f.Path)
		case errors.Is(err, fs.ErrNotExist):
			k.say("missing  %s", f.Path)
		case errors.As(err, &wrong):
			k.say("WRONG    %s", f.Path)
		default:
			k.say("FAILED   %s", f.Path)
		}
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("%s does not match the manifest (run make bootfiles):\n%w", out, err)
	}
	return nil
}

// lock waits for other runs with the same cache, so that two at once fetch once.
func (k *kitchen) lock() (unlock func(), err error) {
	if err := os.MkdirAll(k.cache, 0o755); err != nil {
		return nil, fmt.Errorf("make cache: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(k.cache, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock cache: %w", err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		k.say("waiting for another run that uses %s", k.cache)
		for {
			if err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX); !errors.Is(err, syscall.EINTR) {
				break
			}
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock cache: %w", err)
	}
	return func() { f.Close() }, nil
}

// gather returns the content of the files, each checked against its pin.
func (k *kitchen) gather(ctx context.Context, files []bootfiles.File) (map[string][]byte, error) {
	got := map[string][]byte{}
	wanted := map[string][]bootfiles.File{} // by package ID
	for _, f := range files {
		if f.Local != "" {
			if data, err := k.local(f.Local); err == nil && f.Check(data) == nil {
				got[f.Path] = data
				continue
			}
		}
		p, ok := k.pins.Package(f.Package)
		if !ok {
			return nil, fmt.Errorf("boot file %s: package %q is not in the manifest", f.Path, f.Package)
		}
		wanted[p.ID()] = append(wanted[p.ID()], f)
	}
	debs := map[string]string{}
	for _, p := range k.pins.Packages {
		if len(wanted[p.ID()]) == 0 {
			continue
		}
		deb, err := k.packageFile(ctx, p)
		if err != nil {
			return nil, err
		}
		debs[p.ID()] = deb
	}
	for _, p := range k.pins.Packages {
		if len(wanted[p.ID()]) == 0 {
			continue
		}
		stream, err := k.unpack(ctx, debs[p.ID()])
		if err != nil {
			return nil, fmt.Errorf("unpack %s: %w", p.FileName(), err)
		}
		err = extract(stream, wanted[p.ID()], got)
		if closeErr := stream.Close(); err == nil {
			err = closeErr
		}
		if err != nil {
			return nil, fmt.Errorf("unpack %s: %w", p.FileName(), err)
		}
	}
	return got, nil
}

// packageFile returns the path of the package in the cache, fetching it when it
// is not there. What is returned has been compared with its pin.
func (k *kitchen) packageFile(ctx context.Context, p bootfiles.Package) (string, error) {
	path := filepath.Join(k.cache, "packages", p.FileName())
	switch err := checkFile(path, p.Check); {
	case err == nil:
		return path, nil
	case !errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("cached package %s (remove the file to fetch it again): %w", path, err)
	}
	from, err := k.archive(ctx)
	if err != nil {
		return "", err
	}
	k.say("fetching %s %s", p.Name, p.Version)
	var where origin
	err = into(path, p.Check, func(tmp string) error {
		var err error
		where, err = from.fetchPackage(ctx, p, tmp)
		return err
	})
	if err != nil {
		return "", err
	}
	if where.suite != "" {
		k.say("  %s: the signed index of %s vouches for it, and it is the pinned file", p.FileName(), where.suite)
	} else {
		k.say("  %s: it is the pinned file; the archive's signature was NOT checked for it (%s)", p.FileName(), where.why)
	}
	return path, nil
}

// into has fetch write a temporary file beside path, compares it with its pin and
// only then gives it its name: an interrupted or wrong download is never taken
// for a finished one.
func into(path string, check func(io.Reader) error, fetch func(tmp string) error) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("make cache: %w", err)
	}
	dir, err := os.MkdirTemp(filepath.Dir(path), ".part-")
	if err != nil {
		return fmt.Errorf("make cache: %w", err)
	}
	defer func() {
		if rmErr := os.RemoveAll(dir); err == nil && rmErr != nil {
			err = fmt.Errorf("tidy cache: %w", rmErr)
		}
	}()
	tmp := filepath.Join(dir, "file")
	if err := fetch(tmp); err != nil {
		return err
	}
	if err := checkFile(tmp, check); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("keep download: %w", err)
	}
	return nil
}

func checkFile(path string, check func(io.Reader) error) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return check(f)
}

// copyFile copies src to the new file dst and has it on disk before it returns.
func copyFile(src, dst string) (err error) {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(dst, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err == nil {
		err = out.Sync()
	}
	return errors.Join(err, out.Close())
}

// dpkgUnpack has dpkg-deb, which every Debian machine has, turn a package into a tar stream.
func dpkgUnpack(ctx context.Context, deb string) (io.ReadCloser, error) {
	cmd := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", deb)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("dpkg-deb (package dpkg): %w", err)
	}
	return &dpkgStream{Reader: stdout, cmd: cmd, stderr: &stderr}, nil
}

type dpkgStream struct {
	io.Reader
	cmd    *exec.Cmd
	stderr *bytes.Buffer
}

// Close reads the rest, so that dpkg-deb can end by itself, and waits for it.
func (d *dpkgStream) Close() error {
	if _, err := io.Copy(io.Discard, d.Reader); err != nil {
		return err
	}
	if err := d.cmd.Wait(); err != nil {
		return fmt.Errorf("dpkg-deb: %w: %s", err, strings.TrimSpace(d.stderr.String()))
	}
	return nil
}

// extract takes the wanted members out of a tar stream and puts them into got
// under their served names, each compared with its pin. One member may be wanted
// under several names.
func extract(stream io.Reader, wanted []bootfiles.File, got map[string][]byte) error {
	byMember := map[string][]bootfiles.File{}
	for _, f := range wanted {
		byMember[f.Member] = append(byMember[f.Member], f)
	}
	r := tar.NewReader(stream)
	for len(byMember) > 0 {
		hdr, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read archive: %w", err)
		}
		member := strings.TrimPrefix(hdr.Name, "./")
		files := byMember[member]
		if len(files) == 0 {
			continue
		}
		if hdr.Typeflag != tar.TypeReg {
			return fmt.Errorf("member %s is not a plain file", member)
		}
		// One byte more than the largest pin shows that it is too big.
		var limit int64
		for _, f := range files {
			limit = max(limit, f.Size+1)
		}
		data, err := io.ReadAll(io.LimitReader(r, limit))
		if err != nil {
			return fmt.Errorf("read member %s: %w", member, err)
		}
		for _, f := range files {
			if err := f.Check(data); err != nil {
				return err
			}
			got[f.Path] = data
		}
		delete(byMember, member)
	}
	for _, f := range wanted {
		if _, ok := byMember[f.Member]; ok {
			return fmt.Errorf("member %s is not in the package", f.Member)
		}
	}
	return nil
}

// replaceable refuses to replace a folder that holds anything this program did
// not put there.
func replaceable(out string) error {
	entries, err := os.ReadDir(out)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == madeBy {
			return nil
		}
	}
	for _, e := range entries {
		if e.Name() != "README" {
			return fmt.Errorf("%s holds %q and was not made by this program: it will not be replaced", out, e.Name())
		}
	}
	return nil
}

// writeTree makes out hold exactly these files, and the README it had. The old
// folder and the new one change places in one step; before that nothing of the
// old one is touched.
func writeTree(out string, files map[string][]byte) (err error) {
	parent, base := filepath.Split(filepath.Clean(out))
	if parent == "" {
		parent = "."
	}
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return fmt.Errorf("write %s: %w", out, err)
	}
	// What an interrupted run left. The cache's lock keeps us from a live one's.
	stale, _ := filepath.Glob(filepath.Join(parent, "."+base+"-*"))
	for _, dir := range stale {
		os.RemoveAll(dir)
	}
	stage, err := os.MkdirTemp(parent, "."+base+"-")
	if err != nil {
		return fmt.Errorf("write %s: %w", out, err)
	}
	defer os.RemoveAll(stage) // the half-made folder, or the old one after the change
	if err := os.Chmod(stage, 0o755); err != nil {
		return fmt.Errorf("write %s: %w", out, err)
	}
	tree := map[string][]byte{madeBy: []byte("This folder is replaced as a whole; keep nothing of yours here.\n")}
	if readme, err := os.ReadFile(filepath.Join(out, "README")); err == nil {
		tree["README"] = readme
	}
	for name, data := range files {
		tree[name] = data
	}
	for name, data := range tree {
		file := filepath.Join(stage, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return fmt.Errorf("write %s: %w", out, err)
		}
		if err := writeSync(file, data); err != nil {
			return fmt.Errorf("write %s: %w", out, err)
		}
	}
	return swap(stage, out)
}

func writeSync(name string, data []byte) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(0o644) // whatever the umask says
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// swap puts stage in the place of out and what was there in the place of stage.
func swap(stage, out string) error {
	err := unix.Renameat2(unix.AT_FDCWD, stage, unix.AT_FDCWD, out, unix.RENAME_EXCHANGE)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ENOENT):
		err = os.Rename(stage, out)
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOSYS):
		// A file system that cannot exchange: two steps, and back if the second fails.
		old := stage + "-old"
		if err = os.Rename(out, old); err != nil {
			break
		}
		if err = os.Rename(stage, out); err != nil {
			err = errors.Join(err, os.Rename(old, out))
			break
		}
		err = os.RemoveAll(old)
	}
	if err != nil {
		return fmt.Errorf("replace %s: %w", out, err)
	}
	return nil
}

func total(files []bootfiles.File) (n int64) {
	for _, f := range files {
		n += f.Size
	}
	return n
}

// size prints bytes for people.
func size(n int64) string {
	if n < 1<<20 {
		return fmt.Sprintf("%.1f KiB", float64(n)/1024)
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}
