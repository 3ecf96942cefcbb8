package media

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Limits bound what an archive may be. A field that is zero has its default.
type Limits struct {
	Archive int64 // octets of an upload; 4 GiB
	Total   int64 // octets of all files in it; 8 GiB
	File    int64 // octets of one file; 4 GiB
	Entries int   // folders, files and links; 100,000
	Ratio   int64 // octets unpacked per octet packed, beyond 64 MiB; 100
	Trees   int   // trees at a time; 64
	Reserve int64 // octets of the disk that stay free; 64 MiB
}

func (l Limits) filled() Limits {
	or := func(n *int64, d int64) {
		if *n <= 0 {
			*n = d
		}
	}
	or(&l.Archive, 4<<30)
	or(&l.Total, 8<<30)
	or(&l.File, 4<<30)
	or(&l.Ratio, 100)
	or(&l.Reserve, 64<<20)
	if l.Entries <= 0 {
		l.Entries = 100_000
	}
	if l.Trees <= 0 {
		l.Trees = 64
	}
	return l
}

// stream is how long a tar stream may be that holds what is allowed: a header
// and padding for every entry, and some long names.
func (l Limits) stream() int64 { return l.Total + 2048*int64(l.Entries) + ratioFloor }

// Tree is an unpacked archive.
type Tree struct {
	Name     string    `json:"name"`
	Files    int       `json:"files"`
	Bytes    int64     `json:"bytes"`
	Added    time.Time `json:"added"`
	SHA256   string    `json:"sha256"`   // of the archive, hexadecimal
	Programs []string  `json:"programs"` // what can be booted that was found in it: "pxelinux.0"
}

// Store keeps trees in a directory. Its methods are safe for concurrent use.
//
// A tree named N lies in N~SEQUENCE, with tree.json about it and its files in
// files. A higher sequence number is a newer tree of the same name; the older
// one is on its way out. Folders that begin with a dot are in the making or
// being deleted.
type Store struct {
	dir    string
	limits Limits
	now    func() time.Time
	space  func(dir string) (octets, files int64, err error)
	sync   func(dir string) error // everything in it, to the disk
	chunk  int64                  // octets between two looks at the free space

	importing sync.Mutex        // one at a time: it is a disk's worth of work
	buf       []byte            // of the one who imports
	last      map[string]uint64 // highest sequence number by name

	mu      sync.RWMutex // held for reading while a file is being opened
	trees   map[string]*installed
	damaged []string
}

// installed is a tree that is served.
type installed struct {
	Tree
	seq  uint64
	root *os.Root
}

const (
	importPrefix = ".import-"
	deletePrefix = ".delete-"
	filesDir     = "files"
	manifestFile = "tree.json"
)

var (
	treeName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)
	treeDir  = regexp.MustCompile(`^([a-z0-9][a-z0-9._-]{0,62})~([0-9]{1,18})$`)
)

// Open reads the trees of a directory, which it makes if need be, and removes
// what an interrupted import or deletion has left there. Other files in it are
// left alone.
func Open(dir string, limits Limits) (*Store, error) {
	s := &Store{
		dir: dir, limits: limits.filled(), now: time.Now, space: freeSpace, sync: syncTree, chunk: 16 << 20,
		buf: make([]byte, 128<<10), last: make(map[string]uint64), trees: make(map[string]*installed),
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("open trees: %w", err)
	}
	found, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("open trees: %w", err)
	}
	var old []string
	for _, e := range found {
		if strings.HasPrefix(e.Name(), importPrefix) || strings.HasPrefix(e.Name(), deletePrefix) {
			old = append(old, e.Name())
			continue
		}
		m := treeDir.FindStringSubmatch(e.Name())
		if m == nil || !e.IsDir() {
			continue
		}
		seq, err := strconv.ParseUint(m[2], 10, 64)
		if err != nil {
			continue
		}
		s.last[m[1]] = max(s.last[m[1]], seq)
		t, err := s.load(m[1], seq)
		if err != nil {
			// The other trees are served all the same; a new import of this one
			// leaves the folder alone.
			s.damaged = append(s.damaged, e.Name())
			continue
		}
		had := s.trees[m[1]]
		if had != nil && had.seq > seq {
			t, had = had, t
		}
		s.trees[m[1]] = t
		if had != nil {
			had.root.Close()
			old = append(old, folder(had.Name, had.seq))
		}
	}
	for _, name := range old {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			s.Close()
			return nil, fmt.Errorf("open trees: remove what is left of %s: %w", name, err)
		}
	}
	return s, nil
}

func folder(name string, seq uint64) string { return name + "~" + strconv.FormatUint(seq, 10) }

// Damaged lists the folders that Open found and could not read.
func (s *Store) Damaged() []string { return slices.Clone(s.damaged) }

// Close lets go of the directory. Open files stay open.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.trees {
		t.root.Close()
	}
	clear(s.trees)
	return nil
}

// load opens a tree on the disk. A tree whose description cannot be read is
// described anew: the files are what counts.
func (s *Store) load(name string, seq uint64) (*installed, error) {
	dir := filepath.Join(s.dir, folder(name, seq))
	root, err := os.OpenRoot(filepath.Join(dir, filesDir))
	if err != nil {
		return nil, fmt.Errorf("open tree %s: %w", name, err)
	}
	t := &installed{seq: seq, root: root}
	b, err := os.ReadFile(filepath.Join(dir, manifestFile))
	if err == nil && json.Unmarshal(b, &t.Tree) == nil && t.Name == name && t.SHA256 != "" {
		return t, nil
	}
	if t.Tree, err = s.describe(root, name); err != nil {
		root.Close()
		return nil, fmt.Errorf("open tree %s: %w", name, err)
	}
	return t, nil
}

// describe makes the description of a tree from its files. In place of the
// archive's sum it has one of their names and sizes.
func (s *Store) describe(root *os.Root, name string) (Tree, error) {
	t := Tree{Name: name, Added: s.now()}
	sum := sha256.New()
	err := fs.WalkDir(root.FS(), ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		fi, err := root.Stat(p) // through links
		if err != nil || !fi.Mode().IsRegular() {
			return nil //nolint:nilerr // a link that leads nowhere is no program
		}
		if bootable(d.Name()) {
			t.Programs = append(t.Programs, p)
		}
		if d.Type().IsRegular() {
			t.Files++
			t.Bytes += fi.Size()
			t.Added = fi.ModTime()
			fmt.Fprintf(sum, "%s\n%d\n", p, fi.Size())
		}
		return nil
	})
	t.Programs = sortPrograms(t.Programs)
	t.SHA256 = hex.EncodeToString(sum.Sum(nil))
	return t, err
}

// List returns the trees by name.
func (s *Store) List() []Tree {
	s.mu.RLock()
	defer s.mu.RUnlock()
	list := make([]Tree, 0, len(s.trees))
	for _, t := range s.trees {
		list = append(list, t.copy())
	}
	slices.SortFunc(list, func(a, b Tree) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// Get returns a tree.
func (s *Store) Get(name string) (Tree, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	t, ok := s.trees[name]
	if !ok {
		return Tree{}, false
	}
	return t.copy(), true
}

func (t *installed) copy() Tree {
	c := t.Tree
	c.Programs = slices.Clone(c.Programs)
	return c
}

// Delete removes a tree. Transfers from it that have begun go on. The error is
// ErrNotFound when there is none.
func (s *Store) Delete(name string) error {
	s.importing.Lock() // whoever deletes while a new one comes in wants the new one gone as well
	defer s.importing.Unlock()
	s.mu.Lock()
	t, ok := s.trees[name]
	if !ok {
		s.mu.Unlock()
		return fmt.Errorf("delete tree %.70q: %w", name, ErrNotFound)
	}
	// Renamed first: half a tree must not be taken for one after a power cut.
	gone := filepath.Join(s.dir, deletePrefix+folder(name, t.seq))
	if err := os.Rename(filepath.Join(s.dir, folder(name, t.seq)), gone); err != nil {
		s.mu.Unlock()
		return fmt.Errorf("delete tree %s: %w", name, err)
	}
	delete(s.trees, name)
	t.root.Close()
	s.mu.Unlock()
	if err := syncDir(s.dir); err != nil {
		return fmt.Errorf("delete tree %s: %w", name, err)
	}
	if err := os.RemoveAll(gone); err != nil {
		return fmt.Errorf("delete tree %s: %w", name, err)
	}
	return nil
}

// Import unpacks an archive of a format ("tar.gz", "tar", "zip"; "": what it
// looks like) into the tree of that name, in place of what was there. All or
// nothing: after an error the old tree, if any, is as it was. Errors: ErrName,
// ErrBusy, ErrTooMany, *ArchiveError with the entry's name, *SpaceError, those
// of r and of the disk, and ctx's.
func (s *Store) Import(ctx context.Context, name string, r io.Reader, format string) (Tree, error) {
	if !treeName.MatchString(name) {
		return Tree{}, fmt.Errorf("import tree %.70q: %w", name, ErrName)
	}
	if !s.importing.TryLock() {
		return Tree{}, fmt.Errorf("import tree %s: %w", name, ErrBusy)
	}
	defer s.importing.Unlock()
	s.mu.RLock()
	had, replaces := s.trees[name]
	full := !replaces && len(s.trees) >= s.limits.Trees
	s.mu.RUnlock()
	if full {
		return Tree{}, fmt.Errorf("import tree %s: %w", name, ErrTooMany)
	}
	t := &installed{seq: s.last[name] + 1}
	tmp, err := os.MkdirTemp(s.dir, importPrefix)
	if err != nil {
		return Tree{}, fmt.Errorf("import tree %s: %w", name, err)
	}
	installedNow := false
	defer func() {
		if !installedNow {
			// An error here is one less important than that which led here, and
			// Open tries again.
			_ = os.RemoveAll(tmp)
		}
	}()
	if t.Tree, err = s.build(ctx, tmp, name, r, format); err != nil {
		return Tree{}, fmt.Errorf("import tree %s: %w", name, err)
	}
	if t.root, err = os.OpenRoot(filepath.Join(tmp, filesDir)); err != nil {
		return Tree{}, fmt.Errorf("import tree %s: %w", name, err)
	}
	if err = os.Rename(tmp, filepath.Join(s.dir, folder(name, t.seq))); err != nil {
		t.root.Close()
		return Tree{}, fmt.Errorf("import tree %s: %w", name, err)
	}
	installedNow = true
	s.last[name] = t.seq
	if err = syncDir(s.dir); err != nil {
		t.root.Close()
		_ = os.RemoveAll(filepath.Join(s.dir, folder(name, t.seq)))
		return Tree{}, fmt.Errorf("import tree %s: %w", name, err)
	}
	s.mu.Lock()
	s.trees[name] = t
	if replaces {
		had.root.Close()
	}
	s.mu.Unlock()
	if replaces {
		// If this fails, Open removes it: the newer one counts.
		_ = os.RemoveAll(filepath.Join(s.dir, folder(name, had.seq)))
	}
	return t.copy(), nil
}

// build makes a tree with its description in tmp and brings all of it to the
// disk.
func (s *Store) build(ctx context.Context, tmp, name string, r io.Reader, format string) (Tree, error) {
	a, sum, err := s.store(ctx, filepath.Join(tmp, "archive"), r)
	if err != nil {
		return Tree{}, err
	}
	defer a.Close()
	st := &stored{file: a, limits: s.limits}
	fi, err := a.Stat()
	if err != nil {
		return Tree{}, err
	}
	st.size = fi.Size()
	if st.format, err = formatOf(a, format); err != nil {
		return Tree{}, err
	}
	p := newPlan(s.limits)
	if err = st.walk(ctx, func(h header, _ io.Reader) error { return p.add(h) }); err != nil {
		return Tree{}, err
	}
	if err = p.finish(); err != nil {
		return Tree{}, err
	}
	if err = s.room(p.blocks, int64(len(p.nodes))+3); err != nil {
		return Tree{}, err
	}
	if err = s.unpack(ctx, filepath.Join(tmp, filesDir), st, p); err != nil {
		return Tree{}, err
	}
	if err = os.Remove(a.Name()); err != nil {
		return Tree{}, err
	}
	t := Tree{
		Name: name, Files: p.files, Bytes: p.bytes, Added: s.now().UTC().Truncate(time.Second),
		SHA256: sum, Programs: p.programs(),
	}
	b, err := json.MarshalIndent(t, "", "\t")
	if err != nil {
		return Tree{}, err
	}
	if err = os.WriteFile(filepath.Join(tmp, manifestFile), append(b, '\n'), 0o644); err != nil {
		return Tree{}, s.full(err, 4096)
	}
	if err = os.Chmod(tmp, 0o755); err != nil {
		return Tree{}, err
	}
	return t, s.full(s.sync(tmp), p.blocks)
}

// store puts an upload on the disk and sums it up.
func (s *Store) store(ctx context.Context, file string, r io.Reader) (*os.File, string, error) {
	if err := s.room(0, 1); err != nil {
		return nil, "", err
	}
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, "", err
	}
	sum := sha256.New()
	from := io.LimitReader(&patient{ctx, r}, s.limits.Archive+1)
	n, err := s.copy(f, io.TeeReader(from, sum))
	if err == nil && n > s.limits.Archive {
		err = tooLarge("", "larger than %s", mib(s.limits.Archive))
	}
	if err != nil {
		f.Close()
		return nil, "", err
	}
	return f, hex.EncodeToString(sum.Sum(nil)), nil
}

// copy copies, and looks at the free space as it goes.
func (s *Store) copy(w io.Writer, r io.Reader) (int64, error) {
	var total int64
	for {
		// Without the ReadFrom of files, which would take a new buffer each time.
		n, err := io.CopyBuffer(struct{ io.Writer }{w}, io.LimitReader(r, s.chunk), s.buf)
		total += n
		switch {
		case err != nil:
			return total, s.full(err, s.chunk)
		case n < s.chunk:
			return total, nil
		}
		if err := s.room(0, 0); err != nil {
			return total, err
		}
	}
}

// room says whether the disk can take that much more. What it cannot is a
// *SpaceError.
func (s *Store) room(octets, files int64) error {
	haveOctets, haveFiles, err := s.space(s.dir)
	if err != nil {
		return fmt.Errorf("look at the free space: %w", err)
	}
	if need := octets + s.limits.Reserve; need > haveOctets {
		return &SpaceError{Need: need, Have: haveOctets}
	}
	if haveFiles >= 0 && files > haveFiles {
		return &SpaceError{Need: files, Have: haveFiles, Files: true}
	}
	return nil
}

// full turns the disk's word for being full into ours.
func (s *Store) full(err error, octets int64) error {
	if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
		return err
	}
	have, _, spaceErr := s.space(s.dir)
	if spaceErr != nil {
		have = 0
	}
	return &SpaceError{Need: max(octets, have) + s.limits.Reserve, Have: have}
}

// unpack makes what the plan says: folders and files as they come, links last,
// so that nothing is ever written through one.
func (s *Store) unpack(ctx context.Context, dir string, a *stored, p *plan) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return s.full(err, 4096)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	left := p.blocks
	mkdir := func(name string) error {
		if name == "." {
			return nil
		}
		return s.full(root.MkdirAll(name, 0o755), left)
	}
	err = a.walk(ctx, func(h header, body io.Reader) error {
		name, what := cleanName(h.name)
		n, ok := p.nodes[name]
		switch {
		case name == "." && h.kind == isDir:
			return nil
		case what != "" || !ok || n.kind != h.kind:
			return refuse(h.name, "reads differently the second time: the disk is failing")
		case h.kind == isDir:
			return mkdir(name)
		case h.kind == isFile:
			if err := mkdir(path.Dir(name)); err != nil {
				return err
			}
			left -= (h.size + 4095) &^ 4095
			return s.full(s.write(root, name, h, body), left+h.size)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, name := range p.hard {
		if err := mkdir(path.Dir(name)); err != nil {
			return err
		}
		if err := root.Link(p.nodes[name].target, name); err != nil {
			return s.full(err, 4096)
		}
	}
	for _, name := range p.links {
		if err := mkdir(path.Dir(name)); err != nil {
			return err
		}
		if err := root.Symlink(p.nodes[name].target, name); err != nil {
			return s.full(err, 4096)
		}
	}
	return nil
}

// write makes one file. Its mode is ours: nothing that is served needs to be
// executable here, let alone set-user-ID.
func (s *Store) write(root *os.Root, name string, h header, body io.Reader) error {
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	n, err := s.copy(f, io.LimitReader(body, h.size+1))
	if err == nil && n != h.size {
		err = refuse(h.name, "has %d octets, but says %d", n, h.size)
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}

// syncDir brings the names in a directory to the disk.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
