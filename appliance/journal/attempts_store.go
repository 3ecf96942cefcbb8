package journal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

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
	keepGoing = 30 * time.Second // an attempt that goes on is written as often, at most
	keepBatch = 256              // documents of a batch
	closeTime = time.Second

	// maxDocument bounds a document in octets; what is longer loses its middle.
	maxDocument = 32 << 10
	// maxLoaded bounds what is read of a store, in documents, and maxRead a
	// document.
	maxLoaded = 4096
	maxRead   = 2 * maxDocument
	// documentVersion is of the form of a document.
	documentVersion = 1
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
}

// hurry asks for a batch soon.
func (k *keeper) hurry() {
	select {
	case k.urgent <- struct{}{}:
	default:
	}
}

// SetStore gives attempts a place to survive a restart in. What was kept is
// loaded; documents that cannot be read are left alone and counted (see
// Skipped). Changes are written in batches from then on, as long as Run runs. An
// error is the store's own.
func (a *Attempts) SetStore(s AttemptStore) error {
	if s == nil {
		return errors.New("attempts: no store")
	}
	var kept []keptAttempt
	skipped := 0
	err := s.Load(func(name string, doc []byte) error {
		k, err := readAttempt(name, doc)
		if err != nil || len(kept) >= maxLoaded {
			skipped++
			return nil
		}
		kept = append(kept, k)
		return nil
	})
	if err != nil {
		return fmt.Errorf("load attempts: %w", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.keep.skipped += skipped
	a.tracker.restore(kept, a.cfg.Now())
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

// startKeeping writes batches until ctx ends; the function it returns waits for
// the one under way.
func (a *Attempts) startKeeping(ctx context.Context) (wait func()) {
	var wg sync.WaitGroup
	wg.Go(func() {
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
	})
	return wg.Wait
}

// write writes one batch: what ended, and what goes on if it is time or all is
// set.
func (a *Attempts) write(all bool) {
	a.keep.writing <- struct{}{}
	defer func() { <-a.keep.writing }()
	a.mu.Lock()
	store := a.keep.store
	if store == nil {
		a.mu.Unlock()
		return
	}
	now := a.cfg.Now()
	gone := a.tracker.takeGone()
	var tries []*try
	var copies []keptAttempt
	for _, t := range a.tracker.newestFirst() {
		if !t.unkept || !t.finished() && (!t.deep || !all && t.kept && now.Sub(t.stored) < keepGoing) || t.finished() && !t.told {
			continue
		}
		if len(tries) >= keepBatch && !all {
			a.keep.hurry()
			break
		}
		t.unkept, t.kept, t.stored = false, true, now
		tries = append(tries, t)
		copies = append(copies, keptAttempt{Version: documentVersion, Seq: t.seq, Attempt: t.whole()})
	}
	a.mu.Unlock()
	if len(gone)+len(copies) == 0 {
		return
	}
	docs := make(map[string][]byte, len(gone)+len(copies))
	for _, id := range gone {
		docs[string(id)] = nil
	}
	var err error
	for _, k := range copies {
		doc, encErr := k.document()
		if encErr != nil {
			err = encErr // it would fail again: the others are written
			continue
		}
		docs[string(k.Attempt.ID)] = doc
	}
	if writeErr := store.Write(docs); writeErr != nil {
		err = writeErr
		a.mu.Lock()
		a.tracker.gone = append(a.tracker.gone, gone...)
		for _, t := range tries {
			t.unkept = true
			if a.tracker.byID[t.a.ID] != t {
				// It made way meanwhile, and takeGone may have been told so before the
				// store had it.
				a.tracker.gone = append(a.tracker.gone, t.a.ID)
			}
		}
		a.mu.Unlock()
	}
	a.mu.Lock()
	a.keep.err = err
	a.mu.Unlock()
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
		return errors.New("write attempts: the store did not answer within a second")
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
