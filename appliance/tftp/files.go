package tftp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"path"
	"strings"
	"sync"
	"time"
)

// Request says who asks and how the question reached us. Files that are rendered
// for a client need both addresses: a script must name the address that this very
// client reached us on.
type Request struct {
	Client    netip.AddrPort // source of the request; unproven until it acknowledges
	Local     netip.Addr     // our address that the request was sent to
	Interface int            // index of the interface it came in on
	Link      string         // name of that interface, when known
}

// File is the content of one transfer. Its size is announced before the first
// block, so it must be known. Blocks are read where the content lies, one at a
// time; nothing is copied ahead. A File that is an io.Closer is closed at the end
// of its transfer. *bytes.Reader, *strings.Reader and *io.SectionReader are Files.
type File interface {
	io.ReaderAt
	Size() int64
}

// Files opens what clients ask for. The name has been through Clean. An error that
// is fs.ErrNotExist means there is no such file; any other is a defect of ours and
// is reported as such. Open is called from many goroutines, one per admitted
// request, and ends when ctx does.
type Files interface {
	Open(ctx context.Context, req Request, name string) (File, error)
}

// FilesFunc is a function used as Files.
type FilesFunc func(ctx context.Context, req Request, name string) (File, error)

// Open implements Files.
func (f FilesFunc) Open(ctx context.Context, req Request, name string) (File, error) {
	return f(ctx, req, name)
}

// Tree serves an fs.FS: exact names first, then names that differ in case, because
// FAT-minded firmware and scripts spell as they like. It never follows a name that
// fs.ValidPath refuses. For a directory of the operator use os.Root.FS, which keeps
// symbolic links inside.
//
// The fs.FS must hold files that implement io.ReaderAt; embed.FS, os.Root.FS and
// fstest.MapFS do. Methods are safe for concurrent use.
type Tree struct {
	fsys   fs.FS
	limit  int
	maxAge time.Duration

	mu    sync.RWMutex
	index map[string]string // lower case to real name
	built time.Time

	rebuild sync.Mutex // held while one request walks
}

// NewTree returns a Tree whose case-insensitive index holds at most limit files.
// maxAge is how old the index may be when a name is not found in it; then the
// files are walked again, by one request at a time. Zero means the files never
// change and are walked once, here.
func NewTree(fsys fs.FS, limit int, maxAge time.Duration) *Tree {
	t := &Tree{fsys: fsys, limit: limit, maxAge: maxAge}
	t.Refresh()
	return t
}

// Refresh walks the files again. Folders that cannot be read are left out: the
// exact names in them may still open.
func (t *Tree) Refresh() {
	index := make(map[string]string)
	_ = fs.WalkDir(t.fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			if d != nil && d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if d.IsDir() {
			return nil
		}
		if len(index) >= t.limit {
			return fs.SkipAll
		}
		key := strings.ToLower(name)
		if _, taken := index[key]; !taken { // the walk is in lexical order, so this is stable
			index[key] = name
		}
		return nil
	})
	t.mu.Lock()
	t.index, t.built = index, time.Now()
	t.mu.Unlock()
}

// Open implements Files. Folders and whatever else is not a regular file do not exist.
func (t *Tree) Open(_ context.Context, _ Request, name string) (File, error) {
	f, err := t.open(name)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	other, ok := t.lookup(name)
	if !ok || other == name {
		return nil, err
	}
	return t.open(other)
}

func (t *Tree) lookup(name string) (string, bool) {
	key := strings.ToLower(name)
	t.mu.RLock()
	found, ok := t.index[key]
	stale := !ok && t.maxAge > 0 && time.Since(t.built) > t.maxAge
	t.mu.RUnlock()
	// Only one request walks; the others go on with the old index rather than
	// wait for a disk that may be slow.
	if stale && t.rebuild.TryLock() {
		t.Refresh()
		t.rebuild.Unlock()
		t.mu.RLock()
		found, ok = t.index[key]
		t.mu.RUnlock()
	}
	return found, ok
}

func (t *Tree) open(name string) (File, error) {
	if !fs.ValidPath(name) {
		return nil, fmt.Errorf("open %q: %w", name, fs.ErrNotExist)
	}
	// Looked at before it is opened: opening a FIFO or a terminal that somebody
	// left in the folder would block until somebody writes to it.
	if st, err := fs.Stat(t.fsys, name); err != nil || !st.Mode().IsRegular() {
		if err == nil || notThere(err) {
			return nil, fmt.Errorf("open %q: not a regular file: %w", name, fs.ErrNotExist)
		}
		return nil, err
	}
	f, err := t.fsys.Open(name)
	if err != nil {
		if notThere(err) {
			return nil, fmt.Errorf("open %q: %w", name, fs.ErrNotExist)
		}
		return nil, err
	}
	st, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("stat %q: %w", name, err)
	}
	if !st.Mode().IsRegular() {
		_ = f.Close()
		return nil, fmt.Errorf("open %q: not a regular file: %w", name, fs.ErrNotExist)
	}
	r, ok := f.(io.ReaderAt)
	if !ok {
		_ = f.Close()
		return nil, fmt.Errorf("open %q: %s files cannot be read at an offset", name, path.Ext(name))
	}
	return &treeFile{ReaderAt: r, Closer: f, size: st.Size()}, nil
}

// treeFile is an opened fs.File as a File.
type treeFile struct {
	io.ReaderAt
	io.Closer
	size int64
}

// Size implements File. It is the size at the time of opening; a file that grows
// is cut there, one that shrinks ends its transfer with an error.
func (f *treeFile) Size() int64 { return f.size }

// body reads a File from its start, once, as the sender consumes it.
type body struct {
	file File
	off  int64
	size int64
}

// errShort: the file has become shorter than was announced. A short last block
// would tell the client that all went well.
var errShort = errors.New("file is shorter than its size")

// Read implements io.Reader. Its errors are io.EOF at the announced size, errShort,
// and those of the file.
func (b *body) Read(p []byte) (int, error) {
	left := b.size - b.off
	if left <= 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > left {
		p = p[:left]
	}
	n, err := b.file.ReadAt(p, b.off)
	b.off += int64(n)
	switch {
	case n == len(p):
		return n, nil
	case err == nil || errors.Is(err, io.EOF):
		return n, errShort
	}
	return n, err
}
