package journal

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// AttemptStore is where attempts are kept over a restart: documents by name. It
// may be slow; no boot waits for it.
type AttemptStore interface {
	// Load gives every document, in any order. What each returns ends it.
	Load(each func(name string, doc []byte) error) error
	// Write writes all documents or none; a nil document is deleted.
	Write(docs map[string][]byte) error
}

// Times and bounds of keeping.
const (
	keepEvery = 5 * time.Second  // a batch is written
	keepSoon  = time.Second      // at least this long after another one
	keepGoing = 30 * time.Second // an attempt that goes on is written as old, and as often, at most
	keepOver  = 10 * time.Minute // and one that is over, of which more is heard
	keepBatch = 256              // documents of a batch
	closeTime = 700 * time.Millisecond

	// A memory card wears out by what is written, and strangers can have the box
	// see any number of boots. So there is a budget, in octets an hour: one for
	// failures that are no mere claims, and one for all else. Who has to wait is
	// written later, unless others push it out of memory before.
	failuresPerHour = 8 << 20
	othersPerHour   = 2 << 20
	// costWrite and costDocument are what a batch and a document cost besides their
	// octets: the medium is written in pages.
	costWrite    = 8 << 10
	costDocument = 1 << 10

	// maxDocument bounds a document in octets; what is longer loses its middle.
	maxDocument = 32 << 10
	// maxLoaded bounds what is read of a store, in documents, and maxRead a
	// document.
	maxLoaded = 4096
	maxRead   = 2 * maxDocument
	// documentVersion is of the form of a document.
	documentVersion = 1
	// maxSeq is more attempts than a box can see: a larger number is of a damaged
	// document.
	maxSeq = 1 << 48
)

// keptAttempt is a document of the store.
type keptAttempt struct {
	Version int          `json:"version"`
	Seq     uint64       `json:"seq"` // clocks jump, and boxes without one begin in 1970
	Attempt boot.Attempt `json:"attempt"`
}

// keeper is the state of keeping. Attempts.mu guards it.
type keeper struct {
	store   AttemptStore
	skipped int
	err     error
	urgent  chan struct{} // an attempt ended
	writing chan struct{} // one batch at a time

	// Of the one who writes.
	failures, others budget
}

// budget is how much was written lately, in octets.
type budget struct {
	spent int64
	at    time.Time
}

// left says whether more may be written now.
func (b *budget) left(now time.Time, perHour int64) bool {
	if d := now.Sub(b.at); d > 0 {
		b.spent = max(b.spent-min(d, time.Hour).Milliseconds()*perHour/time.Hour.Milliseconds(), 0)
	}
	b.at = now
	return b.spent < perHour
}

// hurry asks for a batch soon.
func (k *keeper) hurry() {
	select {
	case k.urgent <- struct{}{}:
	default:
	}
}

// errNewer is the error of a document that a newer bootpuck has written.
var errNewer = errors.New("of a newer version")

// SetStore gives attempts a place to survive a restart in. What was kept is
// loaded; documents that cannot be read are counted (see Skipped) and deleted,
// apart from those of a newer version, which may come back. Changes are written
// in batches from then on, as long as Run runs. An error is the store's own.
func (a *Attempts) SetStore(s AttemptStore) error {
	if s == nil {
		return errors.New("attempts: no store")
	}
	var kept []keptAttempt
	var bad []boot.AttemptID
	skipped := 0
	err := s.Load(func(name string, doc []byte) error {
		k, err := readAttempt(name, doc)
		if err == nil && len(kept) < maxLoaded {
			kept = append(kept, k)
			return nil
		}
		skipped++
		if !errors.Is(err, errNewer) && len(bad) < maxLoaded && utf8.ValidString(name) {
			bad = append(bad, boot.AttemptID(name))
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("load attempts: %w", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.keep.skipped += skipped
	a.tracker.restore(kept, a.cfg.Now())
	a.tracker.gone = append(a.tracker.gone, bad...)
	a.keep.store = s
	return nil
}

// Skipped is how many documents of the store could not be read.
func (a *Attempts) Skipped() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.keep.skipped
}

// StoreErr is why the latest batch was not written; nil when it was. It is
// written again with the next one.
func (a *Attempts) StoreErr() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.keep.err
}

// keepWriting writes batches until ctx ends.
func (a *Attempts) keepWriting(ctx context.Context) {
	ticker := time.NewTicker(keepEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-a.keep.urgent:
		}
		a.write(false)
		select {
		case <-ctx.Done():
			return
		case <-time.After(keepSoon):
		}
	}
}

// due says whether the present state of an attempt is to be written.
func (t *try) due(now time.Time, all bool) bool {
	switch {
	case !t.unkept:
		return false
	case t.finished():
		return t.told && (all || !t.endKept() || now.Sub(t.stored) >= keepOver)
	case all, !t.deep:
		return t.deep
	case !t.witnessed():
		return false
	case t.kept:
		return now.Sub(t.stored) >= keepGoing
	}
	return now.Sub(t.base) >= keepGoing
}

// endKept says whether the store knows that the attempt is over.
func (t *try) endKept() bool { return t.kept && t.stored.After(t.a.End) }

// witnessed says whether an attempt is more than a claim: scripts and files
// anybody can ask for, in the name of any number of machines.
func (t *try) witnessed() bool {
	return t.calls || t.a.Reached(boot.StageDiscover) || t.a.Reached(boot.StageLease) || t.a.Reached(boot.StageAsk)
}

// failure says whether what is to be written of an attempt is that it failed, and
// that it did so for the sake of more than a few packets.
func (t *try) failure() bool {
	return t.finished() && t.a.State.Bad() && t.deep && t.witnessed() && !t.endKept()
}

// piece is one attempt of a batch.
type piece struct {
	t       *try
	kept    keptAttempt // a copy
	at      time.Time
	failure bool
	doc     []byte // nil: the budget leaves it for later, or
	broken  bool   // it cannot be made, now or later
}

// write writes one batch: what ended, and what goes on if it is time or all is
// set.
func (a *Attempts) write(all bool) {
	a.keep.writing <- struct{}{}
	defer func() { <-a.keep.writing }()
	store, pieces, gone := a.gather(all)
	if len(pieces)+len(gone) == 0 {
		return
	}
	docs := make(map[string][]byte, len(pieces)+len(gone))
	for _, id := range gone {
		docs[string(id)] = nil
	}
	encErr := a.keep.encode(pieces, all)
	for _, p := range pieces {
		if p.doc != nil {
			docs[string(p.kept.Attempt.ID)] = p.doc
		}
	}
	if len(docs) == 0 {
		a.settleBatch(pieces, nil, encErr, nil)
		return
	}
	a.settleBatch(pieces, gone, encErr, store.Write(docs))
}

// gather says what the next batch is of: failures first, then what else came to
// its end, then what goes on; of each those that began first.
func (a *Attempts) gather(all bool) (store AttemptStore, pieces []piece, gone []boot.AttemptID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	k, now := &a.keep, a.cfg.Now()
	failures, others := all || k.failures.left(now, failuresPerHour), all || k.others.left(now, othersPerHour)
	if k.store == nil || !failures && !others {
		return nil, nil, nil
	}
	var ends, later []piece
	for _, t := range slices.Backward(a.tracker.newestFirst()) {
		switch {
		case !t.due(now, all):
		case t.failure():
			if failures {
				pieces = append(pieces, piece{t: t, failure: true})
			}
		case !others:
		case t.finished() && !t.endKept():
			ends = append(ends, piece{t: t})
		default:
			later = append(later, piece{t: t})
		}
	}
	pieces = slices.Concat(pieces, ends, later)
	if len(pieces) > keepBatch && !all {
		pieces = pieces[:keepBatch]
		k.hurry()
	}
	for i := range pieces {
		p := &pieces[i]
		p.t.unkept, p.at = false, now
		p.kept = keptAttempt{Version: documentVersion, Seq: p.t.seq, Attempt: p.t.whole()}
	}
	if len(pieces) == 0 {
		if !others || len(a.tracker.gone) == 0 {
			return nil, nil, nil // what is to be deleted waits for company
		}
		k.others.spent += costWrite
	}
	return k.store, pieces, a.tracker.takeGone()
}

// encode makes the documents of a batch, as many as the budget has room for. The
// error is of one that cannot be made.
func (k *keeper) encode(pieces []piece, all bool) error {
	var failed error
	cost := int64(costWrite)
	for i := range pieces {
		p := &pieces[i]
		purse, perHour := &k.others, int64(othersPerHour)
		if p.failure {
			purse, perHour = &k.failures, failuresPerHour
		}
		if !all && purse.spent >= perHour {
			continue
		}
		doc, err := p.kept.document()
		if err != nil {
			failed, p.broken = err, true
			continue
		}
		p.doc = doc
		purse.spent += cost + int64(len(doc)) + costDocument
		cost = 0
	}
	return failed
}

// settleBatch notes what the store has now. Its writeErr means that it has what
// it had before.
func (a *Attempts) settleBatch(pieces []piece, gone []boot.AttemptID, encErr, writeErr error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.keep.err = cmp.Or(writeErr, encErr)
	if writeErr != nil {
		a.tracker.gone = append(a.tracker.gone, gone...)
	}
	for _, p := range pieces {
		t := p.t
		switch there := a.tracker.byID[p.kept.Attempt.ID] == t; {
		case p.broken:
		case writeErr != nil || p.doc == nil:
			t.unkept = true
		case there:
			t.kept, t.stored = true, p.at
		case !t.kept:
			// It made way while it was written, and nobody knew that the store would
			// have it.
			a.tracker.gone = append(a.tracker.gone, p.kept.Attempt.ID)
		default:
			// It made way, and is to be deleted already.
		}
	}
}

// Close writes what has changed since the last batch. Call it after Run. An
// error says that the last changes may be lost; it returns within a second even
// when the store does not.
func (a *Attempts) Close() error {
	a.join()
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.write(true)
	}()
	timer := time.NewTimer(closeTime)
	defer timer.Stop()
	select {
	case <-done:
		return a.StoreErr()
	case <-timer.C:
		return fmt.Errorf("write attempts: the store did not answer within %s", closeTime)
	}
}

// document writes k within maxDocument. The middle of the timeline goes first,
// then evidence; who, when, how far and why stay.
func (k keptAttempt) document() ([]byte, error) {
	a := &k.Attempt
	for range 16 {
		doc, err := json.Marshal(k)
		if err != nil {
			return nil, fmt.Errorf("encode attempt %s: %w", a.ID, err)
		}
		if len(doc) <= maxDocument {
			return doc, nil
		}
		switch n := len(a.Events); {
		case n > 4:
			most := n * 3 / 4
			first := min(keepFirst, most/2)
			a.Events = slices.Concat(a.Events[:first], a.Events[n-(most-first):])
			a.Omitted += n - most
		case len(a.Events) > 0:
			a.Omitted += n
			a.Events = nil
		default:
			shorten(a)
		}
	}
	return nil, fmt.Errorf("encode attempt %s: it stays longer than %d octets", a.ID, maxDocument)
}

// shorten cuts what strangers' texts have made long.
func shorten(a *boot.Attempt) {
	a.Foreign = a.Foreign[:min(len(a.Foreign), 4)]
	a.Verdicts = slices.Clone(a.Verdicts[:min(len(a.Verdicts), 2)])
	for i := range a.Verdicts {
		v := &a.Verdicts[i]
		v.Text, v.Fix, v.Evidence = clipTo(v.Text, maxEventText), clipTo(v.Fix, maxEventText), nil
	}
	a.Stages = slices.Clone(a.Stages)
	for i := range a.Stages {
		a.Stages[i].File = clipTo(a.Stages[i].File, 32)
	}
}

// readAttempt reads a document of the store, which may be of another version or
// damaged. Errors say what is wrong with it.
func readAttempt(name string, doc []byte) (keptAttempt, error) {
	var k keptAttempt
	if len(doc) > maxRead {
		return k, fmt.Errorf("document %q: %d octets", clipTo(name, 64), len(doc))
	}
	if err := json.Unmarshal(doc, &k); err != nil {
		return k, fmt.Errorf("document %q: %w", clipTo(name, 64), err)
	}
	if k.Version > documentVersion {
		return k, fmt.Errorf("document %q: version %d: %w", clipTo(name, 64), k.Version, errNewer)
	}
	if k.Version != documentVersion {
		return k, fmt.Errorf("document %q: version %d", clipTo(name, 64), k.Version)
	}
	if k.Seq == 0 || k.Seq > 1<<60 {
		return k, fmt.Errorf("document %q: sequence number %d", clipTo(name, 64), k.Seq)
	}
	a := &k.Attempt
	switch {
	case string(a.ID) != name || !validID(name):
		return k, fmt.Errorf("document %q: attempt %q", clipTo(name, 64), clipTo(string(a.ID), 64))
	case !slices.Contains(boot.AttemptStates(), a.State):
		return k, fmt.Errorf("document %q: state %q", name, clipTo(string(a.State), 64))
	case len(a.MACs) > boot.MaxMACs || len(a.Events) > boot.MaxAttemptEvents || len(a.Foreign) > boot.MaxAttemptForeign ||
		len(a.Shapes) > boot.MaxAttemptShapes || len(a.Verdicts) > boot.MaxAttemptVerdicts || len(a.Firmwares) > maxActs:
		return k, fmt.Errorf("document %q: a list is too long", name)
	}
	for i, s := range a.Stages {
		if o, ok := stageOrder[s.Name]; !ok || i > 0 && stageOrder[a.Stages[i-1].Name] >= o {
			return k, fmt.Errorf("document %q: stage %q", name, clipTo(string(s.Name), 64))
		}
	}
	for _, m := range append([]boot.MAC{a.MAC}, a.MACs...) {
		if parsed, err := boot.ParseMAC(string(m)); m != "" && (err != nil || parsed != m) {
			return k, fmt.Errorf("document %q: hardware address %q", name, clipTo(string(m), 64))
		}
	}
	k.bound()
	return k, nil
}

// bound makes what was read as small as what is written.
func (k *keptAttempt) bound() {
	a := &k.Attempt
	if a.ArchName != "" {
		a.Arch, a.ArchKnown = boot.ArchNamed(a.ArchName)
	}
	a.Class, a.Name, a.Product = clipTo(a.Class, 64), boot.Claim(a.Name), boot.Claim(a.Product)
	if a.Stages == nil {
		a.Stages = []boot.Stage{}
	}
	for i := range a.Stages {
		s := &a.Stages[i]
		s.File, s.Took, s.Count, s.Bytes, s.Total = clipTo(s.File, maxEventText), max(s.Took, 0), max(s.Count, 1), max(s.Bytes, 0), max(s.Total, 0)
	}
	if a.At != "" && !a.Reached(a.At) {
		a.At = ""
		if n := len(a.Stages); n > 0 {
			a.At = a.Stages[n-1].Name
		}
	}
	for i := range a.Events {
		e := &a.Events[i]
		e.File, e.Text, e.Class = clipTo(e.File, maxEventText), clipTo(e.Text, maxEventText), clipTo(e.Class, 64)
		if e.Kind == boot.KindForeign && e.Foreign == nil {
			e.Foreign = &boot.Foreign{}
		}
	}
	for i := range a.Verdicts {
		v := &a.Verdicts[i]
		v.Evidence = v.Evidence[:min(len(v.Evidence), boot.MaxEvidence)]
	}
	a.Took, a.Omitted = max(a.Took, 0), max(a.Omitted, 0)
	if a.End.IsZero() && a.State != boot.AttemptRunning && a.State != boot.AttemptBooted {
		a.End = a.Last
		if a.End.IsZero() {
			a.End = time.Unix(0, 0) // finished, nobody knows when
		}
	}
}

// validID says whether s can name an attempt: lower-case hexadecimal digits.
func validID(s string) bool {
	if s == "" || len(s) > 32 {
		return false
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
