package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unicode/utf8"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// FileName is the state file's name in the state directory.
const FileName = "state.db"

// Bounds of what is stored.
const (
	MaxName = 255     // octets of a document's name
	MaxDoc  = 4 << 20 // octets of a document
	// MaxFile bounds the file, in octets. 20,000 machines with everything they
	// told need about a tenth of it.
	MaxFile = 512 << 20
)

// Errors that callers tell apart. They come wrapped with the file's name.
var (
	// ErrLocked: another process has the file open, and kept it for as long as
	// Open waits.
	ErrLocked = errors.New("another program has it open")
	// ErrNewer: a newer release wrote the file. It was left as it is.
	ErrNewer = errors.New("a newer release wrote it")
	// ErrReadOnly: the medium or the file's mode lets nobody write.
	ErrReadOnly = errors.New("it can only be read")
	// ErrFull: the file has grown to MaxFile.
	ErrFull = errors.New("it is as large as it may become")
	// ErrDamaged: a page went bad while the file was open, or the medium
	// refused to sync. Nothing is read or written any more. The next Open looks
	// at the whole file, and sets it aside if it finds damage.
	ErrDamaged = errors.New("it was damaged while it was open")
	// ErrClosed: Close was called.
	ErrClosed = errors.New("it is closed")
)

// DB is an open state file. Its methods may be called concurrently.
type DB struct {
	path     string
	file     *os.File // bolt's; for its size only
	bolt     *bbolt.DB
	readOnly bool
	// mu lets one transaction at a time touch the mapping. bbolt would allow
	// readers beside the writer, but one that meets a bad page may take bbolt's
	// locks with it, and whoever waits for them then waits for ever.
	mu     sync.Mutex
	broken atomic.Bool
	closed atomic.Bool
}

// Opened says what Open found and did.
type Opened struct {
	Created bool // a fresh file was begun
	// SetAside is the new name of a file that was damaged, and Damage what was
	// wrong with it; empty when it was whole.
	SetAside, Damage string
	// Migrated says that the file was brought from one schema to another.
	Migrated bool
	From, To int
	// ReadOnly: the medium cannot be written to. Load works, Write returns
	// ErrReadOnly.
	ReadOnly bool
	// Compacted: most of the file was free, so it was written anew.
	Compacted bool
}

// Open opens the state file, or begins one where there is none. It looks at
// every page and document before anything is believed, so its time grows with
// the file: a second for some ten thousand machines on a slow card. now gives
// names to what is set aside.
//
// Errors: ErrLocked after three seconds, ErrNewer, and those of the file
// system, all wrapped with the path. Damage is no error (see Opened.SetAside)
// unless the file cannot be set aside.
func Open(path string, log *slog.Logger, now func() time.Time) (*DB, Opened, error) {
	return open(path, log, now, realDisk())
}

// Load calls each with every document of a kind, sorted by name. The memory is
// each's to keep. Documents that are written meanwhile may be seen or not; each
// may call Write. An error of each ends it and is returned as it is.
func (d *DB) Load(kind Kind, each func(name string, doc []byte) error) error {
	if !kind.known() {
		return fmt.Errorf("load from state %s: no kind %q", d.path, string(kind))
	}
	var after []byte
	for {
		names, docs, err := d.batch(kind, after)
		if err != nil {
			return fmt.Errorf("load %s from state %s: %w", kind, d.path, err)
		}
		if len(names) == 0 {
			return nil
		}
		for i, name := range names {
			if err := each(name, docs[i]); err != nil {
				return err
			}
		}
		after = []byte(names[len(names)-1])
	}
}

// batch copies the next documents after a name. No transaction stays open while
// the caller works: one that does keeps bbolt from growing the file, and a Write
// from within would wait for ever.
func (d *DB) batch(kind Kind, after []byte) (names []string, docs [][]byte, err error) {
	const maxDocs, maxBytes = 256, 1 << 20
	d.mu.Lock()
	defer d.mu.Unlock()
	err = d.guarded(func() error {
		return d.bolt.View(func(tx *bbolt.Tx) error {
			c := tx.Bucket([]byte(kind)).Cursor()
			k, v := c.First()
			if after != nil {
				if k, v = c.Seek(after); bytes.Equal(k, after) {
					k, v = c.Next()
				}
			}
			for size := 0; k != nil && len(names) < maxDocs && size < maxBytes; k, v = c.Next() {
				names, docs = append(names, string(k)), append(docs, bytes.Clone(v))
				size += len(v)
			}
			return nil
		})
	})
	return names, docs, err
}

// Change is one document written, or deleted.
type Change struct {
	Kind Kind
	Name string
	Doc  []byte // JSON; nil: delete, which is no error when there is nothing
}

// Write makes all changes in their order, or none. When it returns nil they are
// on the medium and stay there. When it returns an error the file is as it was;
// only ErrDamaged leaves open which of the two it is after a restart.
func (d *DB) Write(changes ...Change) error {
	for _, c := range changes {
		if err := c.check(); err != nil {
			return fmt.Errorf("write state %s: %w", d.path, err)
		}
	}
	if len(changes) == 0 {
		return nil
	}
	if d.readOnly {
		return fmt.Errorf("write state %s: %w", d.path, ErrReadOnly)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.commit(changes); err != nil {
		if errors.Is(err, bolterrors.ErrMaxSizeReached) {
			err = ErrFull
		}
		return fmt.Errorf("write state %s: %w", d.path, err)
	}
	return nil
}

// commit is the transaction of Write.
func (d *DB) commit(changes []Change) error {
	var sum digest
	changed := false
	err := d.guarded(func() error {
		return d.bolt.Update(func(tx *bbolt.Tx) error {
			head := tx.Bucket([]byte(headBucket))
			var err error
			if sum, err = parseDigest(head.Get([]byte(keyDigest))); err != nil {
				return fmt.Errorf("%w: %w", ErrDamaged, err)
			}
			before := sum
			for _, c := range changes {
				if err := c.apply(tx, &sum); err != nil {
					return fmt.Errorf("%s/%s: %w", c.Kind, c.Name, err)
				}
			}
			if sum == before {
				return errNothing
			}
			changed = true
			return head.Put([]byte(keyDigest), sum.bytes())
		})
	})
	if errors.Is(err, errNothing) {
		return nil
	}
	if err == nil || !changed || errors.Is(err, ErrDamaged) {
		return err
	}
	// Only a sync that failed after the head was written makes the change
	// visible all the same. Whether it is on the medium nobody can say, and
	// after such an error a second sync promises nothing.
	visible := false
	if again := d.guarded(func() error {
		return d.bolt.View(func(tx *bbolt.Tx) error {
			now, err := parseDigest(tx.Bucket([]byte(headBucket)).Get([]byte(keyDigest)))
			visible = now == sum
			return err
		})
	}); again != nil || visible {
		d.broken.Store(true)
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return err
}

// errNothing rolls a transaction back that would change nothing: writing the
// same again wears the medium out.
var errNothing = errors.New("nothing to change")

func (k Kind) known() bool {
	switch k {
	case KindMachines, KindTargets, KindProfiles, KindGroups, KindRules, KindTemplates, KindSite, KindAttempts, KindMeta:
		return true
	}
	return false
}

func (c Change) check() error {
	switch {
	case !c.Kind.known():
		return fmt.Errorf("no kind %q", string(c.Kind))
	case c.Name == "" || len(c.Name) > MaxName || !utf8.ValidString(c.Name):
		return fmt.Errorf("%s: name of %d octets: want 1 to %d octets of UTF-8", c.Kind, len(c.Name), MaxName)
	case c.Doc == nil:
		return nil
	case len(c.Doc) > MaxDoc:
		return fmt.Errorf("%s/%s: document of %d octets: at most %d", c.Kind, c.Name, len(c.Doc), MaxDoc)
	case !json.Valid(c.Doc):
		return fmt.Errorf("%s/%s: the document is not JSON", c.Kind, c.Name)
	}
	return nil
}

func (c Change) apply(tx *bbolt.Tx, sum *digest) error {
	b := tx.Bucket([]byte(c.Kind))
	name := []byte(c.Name)
	old := b.Get(name)
	if bytes.Equal(old, c.Doc) && (old == nil) == (c.Doc == nil) {
		return nil
	}
	if old != nil {
		sum.remove(c.Kind, name, old)
	}
	if c.Doc == nil {
		return b.Delete(name)
	}
	sum.add(c.Kind, name, c.Doc)
	return b.Put(name, c.Doc)
}

// guarded runs f, which touches the mapped file. A page that cannot be read (a
// fault, which would end the process) or that is not what bbolt expects (a
// panic) becomes ErrDamaged, and after that nothing is tried any more: the
// transaction that was under way may hold bbolt's locks for ever.
func (d *DB) guarded(f func() error) (err error) {
	switch {
	case d.closed.Load():
		return ErrClosed
	case d.broken.Load():
		return ErrDamaged
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			d.broken.Store(true)
			err = fmt.Errorf("%w: %v", ErrDamaged, p)
		}
	}()
	return f()
}

// Size is the file's length in octets; 0 after Close.
func (d *DB) Size() int64 {
	if d.closed.Load() {
		return 0
	}
	info, err := d.file.Stat()
	if err != nil {
		return 0 // closed this moment
	}
	return info.Size()
}

// Close waits for reads and writes under way and lets go of the file. Calling
// it again does nothing.
func (d *DB) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed.Load() {
		return nil
	}
	var err error
	if d.broken.Load() {
		// bbolt may wait for ever for locks that went with the bad page. So the
		// mapping stays until the process ends, and as it holds the open file,
		// closing that would not free the file's lock.
		err = errors.Join(syscall.Flock(int(d.file.Fd()), syscall.LOCK_UN), d.file.Close())
	} else {
		err = d.guarded(d.bolt.Close)
	}
	d.closed.Store(true)
	if err != nil {
		return fmt.Errorf("close state %s: %w", d.path, err)
	}
	return nil
}
