package quirks

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// Bounds.
const (
	DefaultMax = 1024 // models
	MaxPart    = 128  // octets of a class and of a product
	MaxNote    = boot.MaxNotes
	// DropAfter is how many failures in a row end the use of what was learned.
	DropAfter = 2
	// maxCount bounds the counters: they are for people.
	maxCount = 1_000_000
)

// Model is a make of machine and the shape that its machines need. The JSON form
// is what is stored, exported and shown.
type Model struct {
	ID      string     `json:"id"`                // 16 hexadecimal digits of a hash over the next three
	Class   string     `json:"class,omitempty"`   // option 60, before it "iPXE " for iPXE; empty: any
	OUI     string     `json:"oui,omitempty"`     // first half of the hardware address, "52:54:00"; empty: any
	Product string     `json:"product,omitempty"` // SMBIOS; empty: any
	Shape   boot.Shape `json:"shape"`             // what its machines are offered first
	Pinned  bool       `json:"pinned"`            // by the operator: this and nothing else
	Worked  int        `json:"worked"`            // boots that went on with it
	Failed  int        `json:"failed"`            // since then, boots that went on with another one only
	First   time.Time  `json:"first_seen,omitzero"`
	Last    time.Time  `json:"last_seen,omitzero"`
	Note    string     `json:"note,omitempty"` // the operator's
}

// Used says whether machines are offered the model's shape.
func (m Model) Used() bool { return m.Pinned || m.Worked > 0 && m.Failed < DropAfter }

// String names the model for people. Its parts are strangers' text, quoted.
func (m Model) String() string {
	var parts []string
	if m.Product != "" {
		parts = append(parts, "product "+strconv.QuoteToASCII(m.Product))
	}
	if m.Class != "" {
		parts = append(parts, "class "+strconv.QuoteToASCII(m.Class))
	}
	if m.OUI != "" {
		parts = append(parts, "network cards "+m.OUI)
	}
	return strings.Join(parts, ", ")
}

// ID is the name of the model with these parts. Spaces around them and the case
// of letters do not count.
func ID(class, oui, product string) string {
	k := keyOf(class, oui, product)
	sum := sha256.Sum256([]byte(k.class + "\x00" + k.oui + "\x00" + k.product))
	return hex.EncodeToString(sum[:8])
}

// Config is what a Book works with. The zero value of every field has a meaning.
type Config struct {
	Now  func() time.Time // default time.Now
	Sink boot.Sink        // told what is learned, dropped and pinned; default nobody
	Max  int              // models; default DefaultMax. Pinned ones are never dropped to make room
}

// Book is the list of models. All its methods are safe for concurrent use; For
// takes no lock.
type Book struct {
	cfg   Config
	index atomic.Pointer[index]

	mu     sync.Mutex
	models map[string]*Model // by ID

	keeping keeping
}

// Errors of the book. They are told by errors.Is.
var (
	ErrNotFound = errors.New("no such model")
	ErrFull     = errors.New("the book of models is full of pinned ones; reset some that are no longer needed")
)

// New returns an empty Book that keeps nothing until SetStore.
func New(cfg Config) *Book {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Sink == nil {
		cfg.Sink = func(boot.Event) {}
	}
	if cfg.Max <= 0 {
		cfg.Max = DefaultMax
	}
	b := &Book{cfg: cfg, models: map[string]*Model{}}
	b.index.Store(&index{})
	return b
}

// key is the parts of a model as they are compared.
type key struct{ class, oui, product string }

func keyOf(class, oui, product string) key {
	return key{fold(class), fold(oui), fold(product)}
}

func fold(s string) string { return strings.ToLower(part(s)) }

// part is a stranger's text as it is kept: bounded, valid UTF-8 (JSON keeps no
// other), without spaces around it.
func part(s string) string {
	return strings.TrimSpace(strings.ToValidUTF8(s[:min(len(s), MaxPart)], "?"))
}

// index is what For looks into. It is never changed once in use.
type index struct {
	exact map[key]entry
	// makes: what all products of a class and a maker of network cards agree on,
	// for machines that have not told their product yet.
	makes    map[key]entry
	products bool // some model names a product
}

type entry struct {
	shape  boot.Shape
	pinned bool
	used   bool
}

// reindex makes the index anew. b.mu is held.
func (b *Book) reindex() {
	x := &index{exact: make(map[key]entry, len(b.models)), makes: map[key]entry{}}
	for _, m := range b.models {
		k := keyOf(m.Class, m.OUI, m.Product)
		e := entry{m.Shape, m.Pinned, m.Used()}
		x.exact[k] = e
		if m.Product == "" {
			continue
		}
		x.products = true
		k.product = ""
		if other, there := x.makes[k]; there && other != e {
			e = entry{} // they disagree: nothing is known
		}
		x.makes[k] = e
	}
	b.index.Store(x)
}

// For is the shape that machines of a model are offered first, and whether the
// operator pinned it. The zero Shape means that nothing is known. The model with
// the most of the parts goes first; parts that a model leaves open fit anything.
// An empty product is one that is not known yet: what all known products of the
// make agree on holds for it too.
func (b *Book) For(class, oui, product string) (s boot.Shape, pinned bool) {
	x := b.index.Load()
	if len(x.exact) == 0 {
		return boot.Shape{}, false
	}
	k := keyOf(class, oui, product)
	for _, try := range [...]key{
		k, {k.class, k.oui, ""}, {"", k.oui, k.product}, {k.class, "", k.product}, {"", "", k.product}, {"", k.oui, ""}, {k.class, "", ""},
	} {
		if try == (key{}) {
			continue
		}
		if e, ok := x.exact[try]; ok && e.used {
			return e.shape, e.pinned
		} else if ok && try == k && product != "" {
			return boot.Shape{}, false // what was learned of this very product is that it needs nothing
		}
	}
	if product == "" {
		if e := x.makes[k]; e.used && !e.pinned {
			return e.shape, false
		}
	}
	return boot.Shape{}, false
}

// Empty says whether For knows nothing of anybody.
func (b *Book) Empty() bool { return len(b.index.Load().exact) == 0 }

// Products says whether it makes a difference to For what the product is.
func (b *Book) Products() bool { return b.index.Load().products }

// Worked records a boot that went on with shape s. rescued says that what the
// machine was given first surely failed: only that teaches anything new.
func (b *Book) Worked(class, oui, product string, s boot.Shape, rescued bool) {
	b.mu.Lock()
	learned := b.worked(class, oui, product, s, rescued)
	b.mu.Unlock()
	if learned != nil {
		b.cfg.Sink(boot.Event{
			Time: b.cfg.Now(), Kind: boot.KindQuirk, Shape: &learned.Shape,
			Text: "learned from a boot that went on: machines of " + learned.String() + " are offered first: " + learned.Shape.String(),
		})
	}
}

func (b *Book) worked(class, oui, product string, s boot.Shape, rescued bool) (learned *Model) {
	k := keyOf(class, oui, product)
	m := b.models[ID(class, oui, product)]
	if m == nil && !rescued {
		// The machine had it from a model that leaves something open.
		for _, try := range [...]key{{k.class, k.oui, ""}, {"", k.oui, ""}, {k.class, "", ""}} {
			if m = b.models[ID(try.class, try.oui, try.product)]; m != nil && m.Shape == s && m.Used() {
				break
			}
			m = nil
		}
	}
	now := b.cfg.Now()
	switch {
	case m != nil && m.Shape == s:
		m.Worked, m.Last = min(m.Worked+1, maxCount), now
		if m.Used() {
			m.Failed = 0
		}
	case !rescued, m != nil && m.Used() && (m.Pinned || !m.Shape.IsZero()):
		// What is in use is given up by failing, not because one machine of many
		// needed something else.
		return nil
	default:
		if m == nil {
			if !b.room() {
				return nil
			}
			m = &Model{ID: ID(class, oui, product), Class: part(class), OUI: k.oui, Product: part(product), First: now}
			b.models[m.ID] = m
		}
		m.Shape, m.Worked, m.Failed, m.Last = s, 1, 0, now
		copied := *m
		learned = &copied
	}
	b.changed(m.ID)
	return learned
}

// Failed records a boot of a machine that was offered s first, because its model
// is known to need it, and surely went on only with another shape. What failed
// DropAfter times in a row is used no longer.
func (b *Book) Failed(class, oui, product string, s boot.Shape) {
	b.mu.Lock()
	dropped := b.failed(class, oui, product, s)
	b.mu.Unlock()
	if dropped != nil {
		b.cfg.Sink(boot.Event{
			Time: b.cfg.Now(), Kind: boot.KindQuirk, Shape: &dropped.Shape,
			Text: "machines of " + dropped.String() + " are offered the default first again; this failed " + strconv.Itoa(DropAfter) + " times: " + dropped.Shape.String(),
		})
	}
}

func (b *Book) failed(class, oui, product string, s boot.Shape) (dropped *Model) {
	k := keyOf(class, oui, product)
	for _, try := range [...]key{k, {k.class, k.oui, ""}, {"", k.oui, ""}, {k.class, "", ""}} {
		m := b.models[ID(try.class, try.oui, try.product)]
		if m == nil || m.Shape != s || !m.Used() {
			continue
		}
		m.Failed, m.Last = min(m.Failed+1, maxCount), b.cfg.Now()
		b.changed(m.ID)
		if m.Used() {
			return nil
		}
		copied := *m
		return &copied
	}
	return nil
}

// room makes room for one more model: those go first that are used no longer,
// then those that were not heard of for longest. b.mu is held.
func (b *Book) room() bool {
	if len(b.models) < b.cfg.Max {
		return true
	}
	var out *Model
	for _, m := range b.models {
		if !m.Pinned && (out == nil || before(m, out)) {
			out = m
		}
	}
	if out == nil {
		return false
	}
	delete(b.models, out.ID)
	b.mark(out.ID)
	return true
}

func before(a, b *Model) bool {
	if a.Used() != b.Used() {
		return b.Used()
	}
	if c := a.Last.Compare(b.Last); c != 0 {
		return c < 0
	}
	return a.ID < b.ID
}

// List returns all models: pinned ones first, then the latest.
func (b *Book) List() []Model {
	b.mu.Lock()
	out := make([]Model, 0, len(b.models))
	for _, m := range b.models {
		out = append(out, *m)
	}
	b.mu.Unlock()
	slices.SortFunc(out, func(x, y Model) int {
		if x.Pinned != y.Pinned {
			if x.Pinned {
				return -1
			}
			return 1
		}
		return cmp.Or(y.Last.Compare(x.Last), cmp.Compare(x.ID, y.ID))
	})
	return out
}

// Get returns one model.
func (b *Book) Get(id string) (Model, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	m, ok := b.models[id]
	if !ok {
		return Model{}, false
	}
	return *m, true
}

// Pin makes s the one shape that machines of a known model are given, whatever
// they do. The zero Shape pins the default. An error is ErrNotFound, or
// boot.FieldErrors.
func (b *Book) Pin(id string, s boot.Shape, note string) error {
	if err := check(s, note).Err(); err != nil {
		return err
	}
	b.mu.Lock()
	m, ok := b.models[id]
	if !ok {
		b.mu.Unlock()
		return ErrNotFound
	}
	pinned := b.pin(m, s, note)
	b.mu.Unlock()
	b.tellPin(pinned)
	return nil
}

// PinModel is Pin for a model that is named by its parts, whether it is known or
// not. At least one part must be there. An error is ErrFull or boot.FieldErrors.
func (b *Book) PinModel(class, oui, product string, s boot.Shape, note string) (Model, error) {
	if err := append(checkParts(class, oui, product), check(s, note)...).Err(); err != nil {
		return Model{}, err
	}
	b.mu.Lock()
	id := ID(class, oui, product)
	m, ok := b.models[id]
	if !ok {
		if !b.room() {
			b.mu.Unlock()
			return Model{}, ErrFull
		}
		k := keyOf(class, oui, product)
		m = &Model{ID: id, Class: part(class), OUI: k.oui, Product: part(product), First: b.cfg.Now()}
		b.models[id] = m
	}
	pinned := b.pin(m, s, note)
	b.mu.Unlock()
	b.tellPin(pinned)
	return pinned, nil
}

// pin is called with b.mu held.
func (b *Book) pin(m *Model, s boot.Shape, note string) Model {
	if m.Shape != s {
		m.Worked = 0
	}
	m.Shape, m.Note, m.Pinned, m.Failed, m.Last = s, note, true, 0, b.cfg.Now()
	b.changed(m.ID)
	return *m
}

func (b *Book) tellPin(m Model) {
	b.cfg.Sink(boot.Event{
		Time: b.cfg.Now(), Kind: boot.KindOperator, Shape: &m.Shape, Text: "pinned: machines of " + m.String() + " get " + m.Shape.String(),
	})
}

// Reset forgets a model, its pin included: its machines get the default again,
// and may teach the box anew. The error is ErrNotFound.
func (b *Book) Reset(id string) error {
	b.mu.Lock()
	m, ok := b.models[id]
	if !ok {
		b.mu.Unlock()
		return ErrNotFound
	}
	delete(b.models, id)
	b.changed(id)
	b.mu.Unlock()
	b.cfg.Sink(boot.Event{Time: b.cfg.Now(), Kind: boot.KindOperator, Text: "forgotten: what machines of " + m.String() + " need"})
	return nil
}

// check says what is wrong with what the operator wants.
func check(s boot.Shape, note string) (errs boot.FieldErrors) {
	for _, e := range s.Check() {
		errs = append(errs, boot.FieldError{Field: "shape." + e.Field, What: e.What})
	}
	switch {
	case len(note) > MaxNote:
		errs = append(errs, boot.FieldError{Field: "note", What: fmt.Sprintf("longer than %d octets; shorten it", MaxNote)})
	case !utf8.ValidString(note):
		errs = append(errs, boot.FieldError{Field: "note", What: "not valid UTF-8; write plain text"})
	}
	return errs
}

// checkParts says what is wrong with the parts of a model.
func checkParts(class, oui, product string) (errs boot.FieldErrors) {
	add := func(field, what string) { errs = append(errs, boot.FieldError{Field: field, What: what}) }
	for _, p := range [...]struct{ field, text string }{{"class", class}, {"product", product}} {
		switch {
		case len(p.text) > MaxPart:
			add(p.field, fmt.Sprintf("longer than %d octets; write it as the machine sends it", MaxPart))
		case part(p.text) != p.text:
			add(p.field, "has spaces around it, or is not valid UTF-8; write it as the machine sends it")
		}
	}
	if oui != "" {
		if mac, err := boot.ParseMAC(oui + ":00:00:00"); err != nil || mac.Vendor() != strings.ToLower(oui) {
			add("oui", "not the first half of a hardware address; write it like 52:54:00")
		}
	}
	if class == "" && oui == "" && product == "" {
		add("class", "missing; write at least one of class, oui and product")
	}
	return errs
}
