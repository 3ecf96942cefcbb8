package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
)

const (
	lockWait    = 3 * time.Second // for another process to let go of the file
	lockRetry   = 25 * time.Millisecond
	fileMode    = 0o600
	maxSetAside = 5       // damaged files that are kept
	compactFrom = 1 << 20 // octets of free pages below which writing anew is not worth it
	// compactTx bounds the memory of writing anew, in octets of documents.
	compactTx = 8 << 20
)

// Suffixes of what lies beside the file. A file with one of the first two is
// never complete and is removed by the next Open.
const (
	suffixNew     = ".new"
	suffixCompact = ".compact"
	suffixDamaged = ".damaged-" // and a time
	suffixSchema  = ".schema"   // and a number: the file before it was migrated
)

// disk is what Open needs of the world besides the file system itself.
type disk struct {
	open  func(name string, flag int, mode fs.FileMode) (*os.File, error)
	wait  time.Duration
	limit int64 // octets of the file
}

func realDisk() disk {
	return disk{open: os.OpenFile, wait: lockWait, limit: MaxFile}
}

// opener is one Open under way.
type opener struct {
	disk
	path string
	log  *slog.Logger
	now  func() time.Time
	did  Opened
}

func open(path string, log *slog.Logger, now func() time.Time, d disk) (*DB, Opened, error) {
	o := &opener{disk: d, path: path, log: log, now: now}
	db, err := o.run()
	if err != nil {
		return nil, o.did, fmt.Errorf("open state %s: %w", path, err)
	}
	return db, o.did, nil
}

func (o *opener) run() (*DB, error) {
	if target, err := filepath.EvalSymlinks(o.path); err == nil {
		o.path = target // or renaming would replace the link
	}
	// One Open at a time: it may rename files.
	dir, err := os.Open(filepath.Dir(o.path))
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	if err := o.lock(dir, syscall.LOCK_EX); err != nil {
		return nil, err
	}
	// A file that is damaged is set aside and a new one begun, which is whole.
	for range 3 {
		f, err := o.file()
		if err != nil {
			return nil, err
		}
		db, err := o.use(f)
		if !isDamage(err) {
			return db, err
		}
		if o.did.ReadOnly {
			return nil, fmt.Errorf("damaged and not to be set aside, because %w: %w", ErrReadOnly, err)
		}
		if o.did.SetAside != "" {
			return nil, fmt.Errorf("the new file is damaged too: %w", err)
		}
		if err := o.setAside(err); err != nil {
			return nil, err
		}
	}
	return nil, errors.New("damaged again and again")
}

// file opens and locks the file, and makes it first if it is not there.
func (o *opener) file() (*os.File, error) {
	for range 2 {
		info, err := os.Stat(o.path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			if err := o.create(); err != nil {
				return nil, err
			}
			continue
		case err != nil:
			return nil, err
		case !info.Mode().IsRegular():
			return nil, errors.New("not a regular file")
		}
		f, err := o.open(o.path, os.O_RDWR, 0)
		how := syscall.LOCK_EX
		if errors.Is(err, syscall.EROFS) || errors.Is(err, fs.ErrPermission) {
			// A card that has worn out: what was decided still counts.
			var readErr error
			if f, readErr = o.open(o.path, os.O_RDONLY, 0); readErr != nil {
				return nil, err
			}
			o.did.ReadOnly, how, err = true, syscall.LOCK_SH, nil
		}
		if err != nil {
			return nil, err
		}
		if err := o.lock(f, how); err != nil {
			f.Close()
			return nil, err
		}
		if !o.did.ReadOnly {
			// What an Open that was cut off left behind.
			_ = os.Remove(o.path + suffixNew)
			_ = os.Remove(o.path + suffixCompact)
			if info.Mode().Perm() != fileMode {
				if err := f.Chmod(fileMode); err != nil {
					o.log.Warn("state file may be read by others", "file", o.path, "mode", info.Mode().Perm(), "error", err)
				}
			}
		}
		return f, nil
	}
	return nil, errors.New("the file vanishes while it is made")
}

// lock takes an advisory lock, waiting for a bounded time.
func (o *opener) lock(f *os.File, how int) error {
	deadline := time.NewTimer(o.wait)
	defer deadline.Stop()
	retry := time.NewTicker(lockRetry)
	defer retry.Stop()
	for {
		err := syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB)
		if err == nil {
			return nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			return fmt.Errorf("lock: %w", err)
		}
		select {
		case <-deadline.C:
			return ErrLocked
		case <-retry.C:
		}
	}
}

// use turns a locked file into a DB. On error the file is closed.
func (o *opener) use(f *os.File) (db *DB, err error) {
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	in, c, err := o.inspect(f)
	if err != nil {
		return nil, err
	}
	from, err := c.schema()
	switch {
	case err != nil:
		return nil, damaged("%v", err)
	case from > Schema:
		return nil, fmt.Errorf("%w: it has schema %d, this release reads up to %d; it was left as it is", ErrNewer, from, Schema)
	case from < Schema && o.did.ReadOnly:
		return nil, fmt.Errorf("schema %d has to be brought to %d, but %w", from, Schema, ErrReadOnly)
	}
	if from < Schema {
		o.keep(f, from)
	}
	b, err := o.bolt(f)
	if err != nil {
		return nil, err
	}
	db = &DB{path: o.path, file: f, bolt: b, readOnly: o.did.ReadOnly}
	if from < Schema {
		if err := db.guarded(func() error {
			return b.Update(func(tx *bbolt.Tx) error { return migrate(tx, from) })
		}); err != nil {
			db.Close()
			return nil, fmt.Errorf("migrate: %w", err)
		}
		o.did.Migrated, o.did.From, o.did.To = true, from, Schema
		o.log.Info("state file migrated", "file", o.path, "from", from, "to", Schema)
		return db, nil
	}
	if in.worthCompacting() && !o.did.ReadOnly {
		smaller, err := o.compact(db, c.sum)
		if errors.Is(err, errUnsure) {
			db.Close()
			return nil, err
		}
		if err != nil {
			o.log.Warn("state file stays larger than it needs to be", "file", o.path, "error", err)
			return db, nil
		}
		o.did.Compacted = true
		o.log.Info("state file written anew", "file", o.path, "before", db.Size(), "after", smaller.Size())
		db.Close()
		return smaller, nil
	}
	return db, nil
}

func (o *opener) inspect(f *os.File) (inspection, *contents, error) {
	info, err := f.Stat()
	if err != nil {
		return inspection{}, nil, err
	}
	c := &contents{}
	in, err := inspect(f, info.Size(), o.limit, c.visit)
	return in, c, err
}

func (in inspection) worthCompacting() bool {
	return in.leaked > 0 || in.free*in.pageSize > compactFrom && in.free > in.pages/2
}

// bolt opens a file that has been inspected and locked. bbolt's own lock is the
// same one, as it is the same open file.
func (o *opener) bolt(f *os.File) (b *bbolt.DB, err error) {
	guard := &DB{}
	if err := guard.guarded(func() error {
		b, err = bbolt.Open(f.Name(), fileMode, &bbolt.Options{
			Timeout:      o.wait,
			ReadOnly:     o.did.ReadOnly,
			FreelistType: bbolt.FreelistMapType,
			NoStatistics: true,
			MaxSize:      int(o.limit),
			OpenFile:     func(string, int, fs.FileMode) (*os.File, error) { return f, nil },
		})
		return err
	}); err != nil {
		if guard.broken.Load() {
			return nil, damaged("%v", err)
		}
		return nil, err
	}
	return b, nil
}

// create begins a file under another name and renames it when it is complete,
// so that what has the right name has always been whole.
func (o *opener) create() error {
	name := o.path + suffixNew
	if err := o.build(name, func(b *bbolt.DB) error { return b.Update(initialise) }); err != nil {
		return err
	}
	if err := os.Rename(name, o.path); err != nil {
		_ = os.Remove(name)
		return err
	}
	o.did.Created = true
	return syncDir(filepath.Dir(o.path))
}

// build makes a bbolt file and fills it. Nothing is left of it after an error.
func (o *opener) build(name string, fill func(*bbolt.DB) error) error {
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	// The page size is always the same: a card may move to a machine whose
	// kernel has other pages.
	b, err := bbolt.Open(name, fileMode, &bbolt.Options{
		Timeout: o.wait, PageSize: 4096, FreelistType: bbolt.FreelistMapType, NoStatistics: true, MaxSize: int(o.limit),
		OpenFile: o.open,
	})
	if err == nil {
		err = errors.Join(fill(b), b.Close())
	}
	if err != nil {
		_ = os.Remove(name)
	}
	return err
}

// syncDir makes the names in a directory durable.
func syncDir(name string) error {
	dir, err := os.Open(name)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// errUnsure: the smaller file has taken the old one's name, but whether it has
// after a power cut nobody can say. Changes made to either could be lost then.
var errUnsure = errors.New("rename the new file")

// compact writes the documents into a new file without free pages, looks at it,
// and puts it in place. The old one stays open and locked meanwhile.
func (o *opener) compact(db *DB, want digest) (*DB, error) {
	name := o.path + suffixCompact
	if err := o.build(name, func(b *bbolt.DB) error {
		return db.guarded(func() error { return bbolt.Compact(b, db.bolt, compactTx) })
	}); err != nil {
		return nil, err
	}
	f, err := o.open(name, os.O_RDWR, 0)
	if err != nil {
		_ = os.Remove(name)
		return nil, err
	}
	give := func(err error) (*DB, error) {
		f.Close()
		_ = os.Remove(name)
		return nil, err
	}
	if err := o.lock(f, syscall.LOCK_EX); err != nil {
		return give(err)
	}
	_, c, err := o.inspect(f)
	if err == nil {
		_, err = c.schema()
	}
	if err == nil && c.sum != want {
		err = errors.New("the copy differs")
	}
	if err != nil {
		return give(err)
	}
	b, err := o.bolt(f)
	if err != nil {
		return give(err)
	}
	if err := os.Rename(name, o.path); err != nil {
		_ = b.Close()
		_ = os.Remove(name)
		return nil, err
	}
	if err := syncDir(filepath.Dir(o.path)); err != nil {
		_ = b.Close()
		return nil, fmt.Errorf("%w: %w", errUnsure, err)
	}
	return &DB{path: o.path, file: f, bolt: b}, nil
}

// setAside renames the damaged file and bounds how many of them there are.
func (o *opener) setAside(why error) error {
	base := o.path + suffixDamaged + o.now().UTC().Format("20060102T150405Z")
	name := base
	for n := 2; ; n++ {
		if _, err := os.Lstat(name); errors.Is(err, fs.ErrNotExist) {
			break
		} else if n > 1000 {
			return fmt.Errorf("set aside: %s exists already", name)
		}
		name = base + "-" + strconv.Itoa(n)
	}
	if err := os.Rename(o.path, name); err != nil {
		return fmt.Errorf("set aside: %w", err)
	}
	if err := syncDir(filepath.Dir(o.path)); err != nil {
		return fmt.Errorf("set aside: %w", err)
	}
	o.did.SetAside, o.did.Damage = name, why.Error()
	o.log.Error("state file is damaged and was set aside", "file", o.path, "now", name, "damage", why)
	o.prune(name)
	return nil
}

// prune removes damaged files beyond the limit. The first one stays, because it
// holds what was decided before the trouble began; then the latest count.
func (o *opener) prune(latest string) {
	names, err := filepath.Glob(escapeGlob(o.path+suffixDamaged) + "*")
	if err != nil || len(names) <= maxSetAside {
		return
	}
	slices.Sort(names)
	for _, name := range names[1 : len(names)-maxSetAside+1] {
		if name == latest { // the clock went back
			continue
		}
		if err := os.Remove(name); err != nil {
			o.log.Warn("an old damaged state file stays", "file", name, "error", err)
		}
	}
}

func escapeGlob(s string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(s)
}

// keep copies the file before a migration, for those who go back to the release
// that wrote it. A full disk is no reason not to migrate.
func (o *opener) keep(f *os.File, schema int) {
	name := o.path + suffixSchema + strconv.Itoa(schema)
	if err := copyFile(name, f); err != nil {
		_ = os.Remove(name)
		o.log.Warn("no copy of the state file before its migration", "file", name, "error", err)
	}
}

func copyFile(name string, f *os.File) error {
	to, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, fileMode)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil {
		_, err = io.Copy(to, io.NewSectionReader(f, 0, info.Size()))
	}
	return errors.Join(err, to.Sync(), to.Close())
}
