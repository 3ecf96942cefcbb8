package quirks

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// Prefix is what the names of the book's documents begin with.
const Prefix = "quirk/"

// writeAfter is how long changes are gathered before they are written, and how
// long the book waits after a write that did not work.
const writeAfter = 5 * time.Second

// maxDocument bounds one document, in octets.
const maxDocument = 16 << 10

// Store is where models are kept: one document each, under Prefix and the ID.
type Store interface {
	// Load calls each for every document; names without Prefix may be among them.
	Load(each func(name string, doc []byte) error) error
	// Write is one durable transaction; a nil document is deleted.
	Write(docs map[string][]byte) error
}

// keeping is the book's link to its store.
type keeping struct {
	writing sync.Mutex // held during a write; taken before Book.mu

	// With Book.mu:
	store   Store
	dirty   map[string]struct{} // IDs whose document is not up to date
	timer   *time.Timer
	closed  bool
	written uint64 // writes that worked
	failed  uint64 // and that did not
}

// SetStore loads what was kept and writes changes from then on, gathered for a
// few seconds. What was learned or pinned before it was called stays. Documents
// that cannot be read are left out, which is told. The error is the store's.
func (b *Book) SetStore(s Store) error {
	loaded, bad := map[string]Model{}, 0
	err := s.Load(func(name string, doc []byte) error {
		id, ours := strings.CutPrefix(name, Prefix)
		if !ours {
			return nil
		}
		m, err := parse(doc)
		if err != nil || m.ID != id {
			bad++
			return nil
		}
		loaded[id] = m
		return nil
	})
	if err != nil {
		return fmt.Errorf("load models: %w", err)
	}
	b.mu.Lock()
	for id, m := range loaded {
		if old := b.models[id]; old != nil && (old.Pinned || !m.Pinned) {
			continue // what happened since the start is newer
		}
		if b.models[id] == nil && !b.room() {
			bad++
			continue
		}
		b.models[id] = &m
	}
	b.keeping.store = s
	b.reindex()
	b.schedule()
	b.mu.Unlock()
	if bad > 0 {
		b.cfg.Sink(boot.Event{
			Time: b.cfg.Now(), Kind: boot.KindBox, Text: "learned models that could not be read and were left out: " + strconv.Itoa(bad),
		})
	}
	return nil
}

// parse reads a stored document.
func parse(doc []byte) (Model, error) {
	if len(doc) > maxDocument {
		return Model{}, fmt.Errorf("document of %d octets, at most %d", len(doc), maxDocument)
	}
	var m Model
	if err := json.Unmarshal(doc, &m); err != nil {
		return Model{}, err
	}
	return m, m.check().Err()
}

// check says what is wrong with a model that was read.
func (m Model) check() boot.FieldErrors {
	errs := append(checkParts(m.Class, m.OUI, m.Product), check(m.Shape, m.Note)...)
	if m.ID != ID(m.Class, m.OUI, m.Product) {
		errs = append(errs, boot.FieldError{Field: "id", What: "does not belong to these parts; write " + ID(m.Class, m.OUI, m.Product)})
	}
	for _, n := range [...]struct {
		field string
		count int
	}{{"worked", m.Worked}, {"failed", m.Failed}} {
		if n.count < 0 || n.count > maxCount {
			errs = append(errs, boot.FieldError{Field: n.field, What: "write 0 to " + strconv.Itoa(maxCount)})
		}
	}
	return errs
}

// changed notes that a model is new, different or gone. b.mu is held.
func (b *Book) changed(id string) {
	b.reindex()
	b.mark(id)
}

// mark has a model's document written. b.mu is held.
func (b *Book) mark(id string) {
	k := &b.keeping
	if k.dirty == nil {
		k.dirty = map[string]struct{}{}
	}
	k.dirty[id] = struct{}{}
	b.schedule()
}

// schedule sees to it that what is dirty is written in a while. b.mu is held.
func (b *Book) schedule() {
	k := &b.keeping
	if k.store == nil || k.closed || k.timer != nil || len(k.dirty) == 0 {
		return
	}
	k.timer = time.AfterFunc(writeAfter, func() { _ = b.flush() }) // counted, and tried again
}

// flush writes what is dirty.
func (b *Book) flush() error {
	k := &b.keeping
	k.writing.Lock()
	defer k.writing.Unlock()
	b.mu.Lock()
	k.timer = nil
	store, dirty := k.store, k.dirty
	if store == nil || len(dirty) == 0 {
		b.mu.Unlock()
		return nil
	}
	k.dirty = nil
	docs := make(map[string][]byte, len(dirty))
	var err error
	for id := range dirty {
		docs[Prefix+id] = nil
		if m := b.models[id]; m != nil {
			var doc []byte
			if doc, err = json.Marshal(m); err != nil { // plain fields only: cannot be
				break
			}
			docs[Prefix+id] = doc
		}
	}
	b.mu.Unlock()
	if err == nil {
		err = store.Write(docs)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err == nil {
		k.written++
		return nil
	}
	k.failed++
	if k.dirty == nil {
		k.dirty = dirty
	}
	for id := range dirty {
		k.dirty[id] = struct{}{}
	}
	b.schedule()
	return fmt.Errorf("write models: %w", err)
}

// Writes is how many transactions were written, and how many could not be.
func (b *Book) Writes() (written, failed uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.keeping.written, b.keeping.failed
}

// Close writes what is left and ends the writing. The error is of that write.
func (b *Book) Close() error {
	b.mu.Lock()
	b.keeping.closed = true
	if b.keeping.timer != nil {
		b.keeping.timer.Stop()
	}
	b.mu.Unlock()
	return b.flush()
}
