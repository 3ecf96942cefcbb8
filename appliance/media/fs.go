package media

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"
)

// FS is all trees as one file system: "name/path". It holds folders and regular
// files; links are followed inside of their tree and never out of it. Files are
// *os.File. A name always means the tree that is installed at that moment; what
// is open stays what it was.
func (s *Store) FS() fs.FS { return trees{s} }

// trees is the file system of a store.
type trees struct{ s *Store }

var (
	_ fs.StatFS    = trees{}
	_ fs.ReadDirFS = trees{}
)

// find takes a path apart. The caller holds the lock.
func (f trees) find(op, name string) (*installed, string, error) {
	if !fs.ValidPath(name) {
		return nil, "", &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	tree, rest, ok := strings.Cut(name, "/")
	if !ok {
		rest = "."
	}
	t, found := f.s.trees[tree]
	if !found {
		return nil, "", &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
	}
	return t, rest, nil
}

// absent makes one error of all ways in which a name leads to nothing.
func absent(op, name string, err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		err = p.Err
	}
	var errno syscall.Errno
	if !errors.As(err, &errno) || errno == syscall.ENOTDIR || errno == syscall.ELOOP || errno == syscall.ENAMETOOLONG || errno == syscall.ENOENT {
		err = fs.ErrNotExist // os.Root's own errors among them: paths that lead out
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// Stat implements fs.StatFS; it follows links.
func (f trees) Stat(name string) (fs.FileInfo, error) {
	if name == "." {
		return top{}, nil
	}
	f.s.mu.RLock()
	defer f.s.mu.RUnlock()
	t, rest, err := f.find("stat", name)
	if err != nil {
		return nil, err
	}
	if rest == "." {
		return top{name: t.Name, added: t.Added}, nil
	}
	fi, err := t.root.Stat(rest)
	if err != nil {
		return nil, absent("stat", name, err)
	}
	if !fi.IsDir() && !fi.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "stat", Path: name, Err: fs.ErrNotExist}
	}
	return fi, nil
}

// Open implements fs.FS. What is neither folder nor regular file does not exist.
func (f trees) Open(name string) (fs.File, error) {
	if name == "." {
		entries, err := f.ReadDir(".")
		return &topDir{entries: entries}, err
	}
	f.s.mu.RLock()
	defer f.s.mu.RUnlock()
	t, rest, err := f.find("open", name)
	if err != nil {
		return nil, err
	}
	// Looked at first: opening a FIFO would wait for somebody to write to it.
	fi, err := t.root.Stat(rest)
	if err != nil {
		return nil, absent("open", name, err)
	}
	if !fi.IsDir() && !fi.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	file, err := t.root.Open(rest)
	if err != nil {
		return nil, absent("open", name, err)
	}
	if rest == "." {
		return treeFolder{file, top{name: t.Name, added: t.Added}}, nil
	}
	return file, nil
}

// treeFolder is the opened folder of one tree, which has another name on the
// disk.
type treeFolder struct {
	*os.File
	info top
}

// Stat implements fs.File.
func (d treeFolder) Stat() (fs.FileInfo, error) { return d.info, nil }

// ReadDir implements fs.ReadDirFS.
func (f trees) ReadDir(name string) ([]fs.DirEntry, error) {
	if name == "." {
		list := f.s.List()
		entries := make([]fs.DirEntry, 0, len(list))
		for _, t := range list {
			entries = append(entries, treeEntry{top{name: t.Name, added: t.Added}})
		}
		return entries, nil
	}
	file, err := f.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	dir, ok := file.(fs.ReadDirFile)
	if !ok {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: fs.ErrNotExist}
	}
	entries, err := dir.ReadDir(-1)
	if err != nil {
		return nil, absent("readdir", name, err)
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, nil
}

// top is the folder of all trees, or that of one as it is seen from there.
type top struct {
	name  string
	added time.Time
}

// Name implements fs.FileInfo.
func (t top) Name() string {
	if t.name == "" {
		return "."
	}
	return t.name
}

// Size implements fs.FileInfo.
func (t top) Size() int64 { return 0 }

// Mode implements fs.FileInfo.
func (t top) Mode() fs.FileMode { return fs.ModeDir | 0o755 }

// ModTime implements fs.FileInfo.
func (t top) ModTime() time.Time { return t.added }

// IsDir implements fs.FileInfo.
func (t top) IsDir() bool { return true }

// Sys implements fs.FileInfo.
func (t top) Sys() any { return nil }

// treeEntry is a tree in the list of all.
type treeEntry struct{ top }

// Type implements fs.DirEntry.
func (e treeEntry) Type() fs.FileMode { return fs.ModeDir }

// Info implements fs.DirEntry.
func (e treeEntry) Info() (fs.FileInfo, error) { return e.top, nil }

// topDir is the opened folder of all trees.
type topDir struct{ entries []fs.DirEntry }

// Stat implements fs.File.
func (d *topDir) Stat() (fs.FileInfo, error) { return top{}, nil }

// Read implements fs.File.
func (d *topDir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: ".", Err: syscall.EISDIR}
}

// Close implements fs.File.
func (d *topDir) Close() error { return nil }

// ReadDir implements fs.ReadDirFile.
func (d *topDir) ReadDir(n int) ([]fs.DirEntry, error) {
	if n <= 0 {
		all := d.entries
		d.entries = nil
		return all, nil
	}
	if len(d.entries) == 0 {
		return nil, io.EOF
	}
	n = min(n, len(d.entries))
	some := d.entries[:n]
	d.entries = d.entries[n:]
	return some, nil
}
