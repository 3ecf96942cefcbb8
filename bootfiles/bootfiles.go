// Package bootfiles holds the programs a machine is given before any operating
// system: iPXE for every kind of firmware, GRUB where there is no iPXE, the signed
// shim and GRUB for Secure Boot, pxelinux with its modules, and memtest86+. They are third parties' unmodified binaries; this package embeds
// what ipxe-build unpacked into dist/ and the manifest that says byte for byte
// what must be there.
//
// A clone that was never made ready still compiles: then nothing is embedded and
// Missing lists all of it.
//
// The package must never serve a file that the manifest does not name, and must
// never read anything at run time but its own memory.
package bootfiles

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"sync"
)

//go:embed manifest.json
var manifestJSON []byte

//go:embed all:dist
var dist embed.FS

// load parses the embedded manifest once: it cannot change while we run.
var load = sync.OnceValues(func() (Pins, error) { return Parse(manifestJSON) })

// Manifest returns the pins this program was compiled with. The error is that of
// Parse; a released program never sees it, because a test parses the same bytes.
func Manifest() (Pins, error) { return load() }

// FS returns the boot files under the names machines ask for, such as
// "x86_64/snponly.efi". Opening anything the manifest does not name, or a file
// that was not built yet, fails with fs.ErrNotExist. Files support io.Seeker and
// io.ReaderAt. All of it is memory of the program: reads never block on a disk.
func FS() fs.FS {
	sub, err := fs.Sub(dist, "dist")
	if err != nil { // only for an invalid path, and ours is constant
		return emptyFS{}
	}
	pins, err := Manifest()
	if err != nil {
		return emptyFS{}
	}
	return newAllowed(sub, pins.Files)
}

// Missing returns the served names, in manifest order, of the files that were not
// built into this program. An empty result says nothing of their content: see Verify.
func Missing() []string {
	pins, err := Manifest()
	if err != nil {
		return []string{"manifest.json"}
	}
	return missing(FS(), pins)
}

// Verify compares every embedded file with its pin in the manifest. The error
// joins one error per file that is missing (fs.ErrNotExist) or differs
// (*MismatchError).
func Verify() error {
	pins, err := Manifest()
	if err != nil {
		return err
	}
	return pins.Check(FS())
}

func missing(fsys fs.FS, pins Pins) []string {
	var names []string
	for _, f := range pins.Files {
		if _, err := fs.Stat(fsys, f.Path); err != nil {
			names = append(names, f.Path)
		}
	}
	return names
}

// Check compares every file of the manifest with the one of the same name in
// fsys. The error joins one error per file, each naming it.
func (p Pins) Check(fsys fs.FS) error {
	var errs []error
	for _, f := range p.Files {
		data, err := fs.ReadFile(fsys, f.Path)
		if err != nil {
			errs = append(errs, fmt.Errorf("boot file %s: %w", f.Path, err))
			continue
		}
		errs = append(errs, f.Check(data))
	}
	return errors.Join(errs...)
}

// allowed shows only the files it was made for, and the folders above them: a
// stray file in dist/ must not become something a stranger can download.
type allowed struct {
	under fs.FS
	files map[string]bool
	dirs  map[string]bool
}

func newAllowed(under fs.FS, files []File) *allowed {
	a := &allowed{under: under, files: map[string]bool{}, dirs: map[string]bool{".": true}}
	for _, f := range files {
		a.files[f.Path] = true
		for d := path.Dir(f.Path); d != "."; d = path.Dir(d) {
			a.dirs[d] = true
		}
	}
	return a
}

// Open implements fs.FS.
func (a *allowed) Open(name string) (fs.File, error) {
	switch {
	case !fs.ValidPath(name):
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	case a.files[name]:
		return a.under.Open(name)
	case a.dirs[name]:
		f, err := a.under.Open(name)
		if err != nil {
			return nil, err
		}
		dir, ok := f.(fs.ReadDirFile)
		if !ok {
			f.Close()
			return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
		}
		return &allowedDir{ReadDirFile: dir, fsys: a, name: name}, nil
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

// ReadFile implements fs.ReadFileFS: one copy instead of growing a buffer.
func (a *allowed) ReadFile(name string) ([]byte, error) {
	if !a.files[name] {
		return nil, &fs.PathError{Op: "read", Path: name, Err: fs.ErrNotExist}
	}
	return fs.ReadFile(a.under, name)
}

// allowedDir leaves out of a listing what allowed would not open.
type allowedDir struct {
	fs.ReadDirFile
	fsys *allowed
	name string
}

// ReadDir implements fs.ReadDirFile. With n > 0 a call may return fewer entries
// than asked for, but never none before the end.
func (d *allowedDir) ReadDir(n int) ([]fs.DirEntry, error) {
	for {
		list, err := d.ReadDirFile.ReadDir(n)
		list = slices.DeleteFunc(list, func(e fs.DirEntry) bool {
			name := path.Join(d.name, e.Name())
			return !d.fsys.files[name] && !d.fsys.dirs[name]
		})
		if err != nil || n <= 0 || len(list) > 0 {
			return list, err
		}
	}
}

// emptyFS is what a program with a damaged manifest serves: nothing.
type emptyFS struct{}

// Open implements fs.FS.
func (emptyFS) Open(name string) (fs.File, error) {
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}
