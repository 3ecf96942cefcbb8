package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
	"github.com/bootpuck/bootpuck/appliance/store"
)

// Kinds of documents in the store that are the registry's own.
const (
	kindAttempts = store.Kind("attempts")
	kindMeta     = store.Kind("meta")
	metaName     = "registry"
)

// document is one change of the store, before it is encoded.
type document struct {
	kind  store.Kind
	name  string
	value any // nil: delete
}

// task is a change that must be durable. It is prepared and committed under the
// registry's mutex; in between it is written, together with others.
type task struct {
	// keys are the documents it depends on; two tasks with a key in common are
	// never in one transaction, and keep their order. Nil: all documents.
	keys []string
	// prepare says what to write and what to do once that is durable. An error
	// ends the task. No documents: nothing is written, commit still runs.
	prepare func() (docs []document, commit func(), err error)
	// abandoned is called under the mutex instead of commit when the one who
	// waited has given up; the store may hold what was written, or not.
	abandoned func()

	state atomic.Int32 // taskOpen, taskDone or taskAbandoned
	done  chan error
}

const (
	taskOpen int32 = iota
	taskDone
	taskAbandoned
)

// Keys of tasks. keyOperator orders the operator's changes among themselves:
// each is checked against what the one before it left.
const keyOperator = "operator"

func keyMachine(id boot.MachineID) string { return "machines/" + string(id) }

// errTimeout says that the medium did not answer in time.
var errTimeout = errors.New("the medium did not answer in time")

// writer is the queue to the store. A goroutine works on it as long as there is
// something in it.
type writer struct {
	mu      sync.Mutex
	db      Store
	queue   []*task
	working bool
	idle    chan struct{} // closed when the worker has stopped
}

func (w *writer) attach(db Store) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.db = db
}

// quiet waits until the worker has stopped, or until stop is closed; ok is false
// then.
func (w *writer) quiet(stop <-chan struct{}) (ok bool) {
	for {
		w.mu.Lock()
		working, idle := w.working, w.idle
		w.mu.Unlock()
		if !working {
			return true
		}
		select {
		case <-idle:
		case <-stop:
			return false
		}
	}
}

// detach lets the store go: what is queued from here on stays in memory.
func (w *writer) detach() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.db = nil
}

func (w *writer) attached() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.db != nil
}

// do queues t and waits for at most d until it is durable and committed. After
// errTimeout it never will be committed.
func (r *Registry) do(t *task, d time.Duration) error { return r.doUntil(t, d, nil) }

// doUntil is do, which gives up when stop is closed, too.
func (r *Registry) doUntil(t *task, d time.Duration, stop <-chan struct{}) error {
	r.submit(t)
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case err := <-t.done:
		return err
	case <-timer.C:
	case <-stop:
	}
	if t.state.CompareAndSwap(taskOpen, taskAbandoned) {
		if r.writer.withdraw(t) {
			r.mu.Lock()
			t.abandon()
			r.mu.Unlock()
		}
		return stateError{boot.ReasonStateWait, errTimeout}
	}
	return <-t.done // it was just being committed
}

func (r *Registry) submit(t *task) {
	t.done = make(chan error, 1)
	w := &r.writer
	w.mu.Lock()
	defer w.mu.Unlock()
	w.queue = append(w.queue, t)
	if !w.working {
		w.working, w.idle = true, make(chan struct{})
		go r.work()
	}
}

// work empties the queue, batch by batch.
func (r *Registry) work() {
	w := &r.writer
	for {
		w.mu.Lock()
		batch := w.take()
		if batch == nil {
			w.working = false
			close(w.idle)
			w.mu.Unlock()
			return
		}
		db := w.db
		w.mu.Unlock()
		r.transact(db, batch)
	}
}

// take removes from the queue what can be written in one transaction. Order is
// kept between tasks that have a key in common.
func (w *writer) take() []*task {
	if len(w.queue) == 0 {
		return nil
	}
	var batch, rest []*task
	used := map[string]bool{}
	closed := false // a task that depends on everything came by
	for _, t := range w.queue {
		free := !closed
		if t.keys == nil {
			free, closed = free && len(batch) == 0 && len(rest) == 0, true
		}
		for _, k := range t.keys {
			free = free && !used[k]
		}
		for _, k := range t.keys {
			used[k] = true // taken, or waited for by the one before
		}
		if free {
			batch = append(batch, t)
		} else {
			rest = append(rest, t)
		}
	}
	w.queue = rest
	return batch
}

// withdraw removes a task that was not taken yet: while the medium hangs the
// queue must not grow.
func (w *writer) withdraw(t *task) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	i := slices.Index(w.queue, t)
	if i < 0 {
		return false
	}
	w.queue = slices.Delete(w.queue, i, i+1)
	return true
}

// transact prepares, writes and commits one batch.
func (r *Registry) transact(db Store, batch []*task) {
	type prepared struct {
		*task
		commit func()
	}
	var ready []prepared
	var docs []document
	r.mu.Lock()
	for _, t := range batch {
		if t.state.Load() != taskOpen {
			t.abandon()
			continue
		}
		d, commit, err := t.prepare()
		if err != nil {
			t.finish(err)
			continue
		}
		docs = append(docs, d...)
		ready = append(ready, prepared{t, commit})
	}
	r.mu.Unlock()
	err := write(db, docs)
	r.mu.Lock()
	for _, p := range ready {
		switch {
		case p.state.Load() == taskAbandoned:
			p.abandon()
		case err != nil:
			reason := boot.ReasonStateVolatile
			if errors.Is(err, store.ErrFull) {
				reason = boot.ReasonStateFull
			}
			p.finish(stateError{reason, err})
			p.abandon()
		case p.state.CompareAndSwap(taskOpen, taskDone):
			p.commit()
			p.done <- nil
		default:
			p.abandon()
		}
	}
	r.mu.Unlock()
}

// finish ends a task with an error.
func (t *task) finish(err error) {
	if t.state.CompareAndSwap(taskOpen, taskDone) {
		t.done <- err
	}
}

func (t *task) abandon() {
	if t.abandoned != nil {
		t.abandoned()
	}
}

// write encodes the documents and writes them in one transaction.
func write(db Store, docs []document) error {
	if db == nil || len(docs) == 0 {
		return nil
	}
	changes := make([]store.Change, 0, len(docs))
	for _, d := range docs {
		c := store.Change{Kind: d.kind, Name: d.name}
		if d.value != nil {
			data, err := json.Marshal(d.value)
			if err != nil {
				return fmt.Errorf("encode %s/%s: %w", d.kind, d.name, err)
			}
			c.Doc = data
		}
		changes = append(changes, c)
	}
	return db.Write(changes...)
}

// Flush writes what was seen since the last time. It returns when that is
// durable.
func (r *Registry) Flush() error { return r.flushUntil(nil) }

// flushUntil is Flush, which gives up when stop is closed.
func (r *Registry) flushUntil(stop <-chan struct{}) error {
	for {
		more, err := r.flush(stop)
		if err != nil || !more {
			return err
		}
	}
}

// endTime is how long the last write may take when the box ends: it promises to
// be gone within five seconds, whatever the medium does.
const endTime = 2 * time.Second

// last writes what is left, as far as that is possible within endTime. What was
// under way already is waited for: when it fails, it is written once more.
func (r *Registry) last() error {
	stop := make(chan struct{})
	timer := time.AfterFunc(endTime, func() { close(stop) })
	defer timer.Stop()
	if err := r.flushUntil(stop); err != nil {
		return err
	}
	if !r.writer.quiet(stop) {
		return stateError{boot.ReasonStateWait, errTimeout}
	}
	return r.flushUntil(stop)
}

// flush writes one batch; more says that something is left.
func (r *Registry) flush(stop <-chan struct{}) (more bool, err error) {
	if !r.writer.attached() {
		r.mu.Lock()
		clear(r.table.gone) // there is no store to delete from
		clear(r.tokens.gone)
		r.mu.Unlock()
		return false, nil
	}
	var machines, gone []boot.MachineID
	var attempts, ended []string
	var docs []docID
	t := &task{}
	r.mu.Lock()
	t.keys, machines = pickKeys(t.keys, r.table.dirty, keyMachine)
	t.keys, gone = pickKeys(t.keys, r.table.gone, keyMachine)
	attemptKey := func(id string) string { return "attempts/" + id }
	t.keys, attempts = pickKeys(t.keys, r.tokens.dirty, attemptKey)
	t.keys, ended = pickKeys(t.keys, r.tokens.gone, attemptKey)
	for id := range r.doubtful {
		t.keys, docs = append(t.keys, keyOperator), append(docs, id)
	}
	more = len(r.table.dirty) > len(machines) || len(r.table.gone) > len(gone) ||
		len(r.tokens.dirty) > len(attempts) || len(r.tokens.gone) > len(ended)
	r.mu.Unlock()
	if len(t.keys) == 0 {
		return false, nil
	}
	t.prepare = func() ([]document, func(), error) {
		return r.unwritten(machines, gone, attempts, ended, docs), func() {}, nil
	}
	t.abandoned = func() {
		// Not known to be written: once more.
		for _, id := range machines {
			if _, ok := r.table.byID[id]; ok {
				r.table.touch(id)
			}
		}
		for _, id := range gone {
			if _, back := r.table.byID[id]; !back {
				r.table.gone[id] = struct{}{}
			}
		}
		for _, id := range attempts {
			if _, ok := r.tokens.attempts[id]; ok {
				r.tokens.dirty[id] = struct{}{}
			}
		}
		for _, id := range ended {
			r.tokens.gone[id] = struct{}{}
		}
		for _, id := range docs {
			r.doubtful[id] = struct{}{}
		}
	}
	return more, r.doUntil(t, operatorTimeout, stop)
}

// unwritten are the documents of one batch as they are now; they count as
// written from here on. The mutex is held.
func (r *Registry) unwritten(machines, gone []boot.MachineID, attempts, ended []string, ids []docID) []document {
	var docs []document
	for _, id := range machines {
		if rec, ok := r.table.byID[id]; ok {
			docs = append(docs, document{store.Kind(kindMachines), string(id), rec.m})
		}
		delete(r.table.dirty, id)
	}
	for _, id := range gone {
		if _, back := r.table.byID[id]; !back {
			docs = append(docs, document{store.Kind(kindMachines), string(id), nil})
		}
		delete(r.table.gone, id)
	}
	for _, id := range attempts {
		if a, ok := r.tokens.attempts[id]; ok {
			docs = append(docs, document{kindAttempts, id, a.stored()})
		}
		delete(r.tokens.dirty, id)
	}
	for _, id := range ended {
		docs = append(docs, document{kindAttempts, id, nil})
		delete(r.tokens.gone, id)
	}
	d := r.snap.Load().docs
	for _, id := range ids {
		v, rev, ok := sorts[id.kind].get(&d, id.name)
		if !ok || rev == 0 {
			v = nil
		}
		docs = append(docs, document{store.Kind(id.kind), id.name, v})
		delete(r.doubtful, id)
	}
	return docs
}

// pickKeys takes up to flushDocs names out of a set and appends their keys.
func pickKeys[K ~string](keys []string, set map[K]struct{}, key func(K) string) ([]string, []K) {
	var picked []K
	for id := range set {
		if len(keys) >= flushDocs {
			break
		}
		keys, picked = append(keys, key(id)), append(picked, id)
	}
	return keys, picked
}
