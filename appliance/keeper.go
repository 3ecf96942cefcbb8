package appliance

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
	"github.com/bootpuck/bootpuck/appliance/health"
	"github.com/bootpuck/bootpuck/appliance/media"
	"github.com/bootpuck/bootpuck/appliance/registry"
	"github.com/bootpuck/bootpuck/appliance/store"
)

// Names in the state directory.
const (
	storeName = store.FileName // machines, profiles, targets …
	treesName = "trees"        // uploaded trees
	tokenName = "api-token"    // lets its bearer change things from another machine
	signName  = "quirk-key"    // signs quirk files
)

// keeper opens what the state directory holds once that is ready, and closes it
// at the end. Until then, and where nothing can be kept, the registry works in
// memory: machines do not wait for a card.
type keeper struct {
	box      *Box
	state    *StateKeeper
	registry *registry.Registry
	sink     boot.Sink
	log      *slog.Logger
	now      func() time.Time
	ready    chan struct{}
	once     sync.Once

	mu     sync.Mutex
	db     *store.DB
	trees  *media.Store
	token  string
	sign   ed25519.PrivateKey // of quirk files; nil while there is none
	result health.Result
}

func newKeeper(b *Box) *keeper {
	return &keeper{
		box: b, state: b.cfg.State, registry: b.registry, sink: b.Record, log: b.cfg.Log, now: b.cfg.Now, ready: make(chan struct{}),
		result: health.Result{Status: health.Degraded, Reason: boot.ReasonStarting},
	}
}

// String names the task.
func (k *keeper) String() string { return "state" }

// Ready is closed when the state directory has been opened, or given up.
func (k *keeper) Ready() <-chan struct{} { return k.ready }

// Run opens the state and runs the registry over it until ctx ends. What is open
// stays open: machines that are served to the end still need it. Close closes it.
func (k *keeper) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- guarded(ctx, k.registry) }()
	select {
	case <-k.state.done:
		if err := k.openState(); err != nil {
			cancel()
			return errors.Join(err, <-ended)
		}
	case <-ctx.Done():
	}
	return <-ended
}

// closeTime is how long the end waits for a medium that does not answer. Together
// with the time for open transfers it is below the 5 s of a stop.
const closeTime = 800 * time.Millisecond

// Close writes what was learned last and closes what Run opened. The rooms write
// side by side: one that waits takes no time from the others.
func (k *keeper) Close() error {
	closed := make(chan error, 1)
	go func() {
		rooms := []func() error{k.registry.Close, k.box.attempts.Close, k.box.quirks.Close}
		errs := make([]error, len(rooms))
		var wg sync.WaitGroup
		for i, end := range rooms {
			wg.Go(func() { errs[i] = end() })
		}
		wg.Wait()
		err := errors.Join(errs...)
		k.mu.Lock()
		db, trees := k.db, k.trees
		k.mu.Unlock()
		if trees != nil {
			err = errors.Join(err, trees.Close())
		}
		if db != nil {
			err = errors.Join(err, db.Close())
		}
		closed <- err
	}()
	limit := time.NewTimer(closeTime)
	defer limit.Stop()
	select {
	case err := <-closed:
		return err
	case <-limit.C:
		return fmt.Errorf("close the state: the medium did not answer within %s", closeTime)
	}
}

// openState opens what the directory holds, unless it is open.
func (k *keeper) openState() error {
	k.mu.Lock()
	open := k.db != nil
	k.mu.Unlock()
	if open {
		return nil
	}
	state, err, _ := k.state.State()
	if err != nil {
		k.open(health.Result{Status: health.Degraded, Reason: boot.ReasonStateVolatile, Detail: err.Error()})
		return nil
	}
	db, opened, err := store.Open(filepath.Join(state.Dir, storeName), k.log, k.now)
	if err != nil {
		// Said at once and tried again: another bootpuck may hold the file, or a
		// newer one may have written it.
		k.note(health.Result{Status: health.Failed, Reason: boot.ReasonFailed, Detail: err.Error()})
		return fmt.Errorf("open state: %w", err)
	}
	file := measured{db, k.box.metrics}
	if err := k.registry.SetDB(file); err != nil {
		k.note(health.Result{Status: health.Failed, Reason: boot.ReasonFailed, Detail: err.Error()})
		return errors.Join(fmt.Errorf("load state: %w", err), db.Close())
	}
	result := health.Result{Status: health.OK}
	if opened.SetAside != "" {
		name := filepath.Base(opened.SetAside)
		k.sink(boot.Event{Kind: boot.KindWarning, Reason: boot.ReasonStoreCorrupt, File: name})
		result = health.Result{Status: health.Degraded, Reason: boot.ReasonStoreCorrupt, Detail: name}
	}
	trees, err := media.Open(filepath.Join(state.Dir, treesName), media.Limits{})
	switch {
	case err != nil:
		result = health.Result{Status: health.Degraded, Reason: boot.ReasonFailed, Detail: "uploaded trees: " + err.Error()}
	case len(trees.Damaged()) > 0:
		result = health.Result{Status: health.Degraded, Reason: boot.ReasonFailed, Detail: "uploaded trees that cannot be read: " + strings.Join(trees.Damaged(), ", ")}
	}
	token, err := apiToken(filepath.Join(state.Dir, tokenName))
	if err != nil {
		k.log.Warn("no token for the API: changes are taken from this machine only", "error", err)
	}
	sign, err := signingKey(filepath.Join(state.Dir, signName))
	if err != nil {
		k.log.Warn("no key to sign quirk files with", "error", err)
	}
	k.mu.Lock()
	k.db, k.trees, k.token, k.sign = db, trees, token, sign
	k.mu.Unlock()
	// What the box remembers of boots and models is of use without the past too.
	if err := k.box.attempts.SetStore(notes{file, attemptPrefix}); err != nil {
		k.log.Error("earlier boots cannot be read", "error", err)
	}
	if err := k.box.quirks.SetStore(notes{file, quirkPrefix}); err != nil {
		k.log.Error("what was learned of models cannot be read", "error", err)
	}
	k.open(result)
	return nil
}

func (k *keeper) note(r health.Result) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.result = r
}

func (k *keeper) open(r health.Result) {
	k.note(r)
	k.once.Do(func() { close(k.ready) })
}

// health is how opening the state went.
func (k *keeper) health() health.Result {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.result
}

// media is where uploaded trees are; nil while there is no place for them.
func (k *keeper) media() *media.Store {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.trees
}

// apiToken is the token of the API; empty while there is none.
func (k *keeper) apiToken() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.token
}

// size is the state file's length in octets; ok is false while there is none.
func (k *keeper) size() (octets int64, ok bool) {
	k.mu.Lock()
	db := k.db
	k.mu.Unlock()
	if db == nil {
		return 0, false
	}
	return db.Size(), true
}

// signer is the key of this box for quirk files; nil while there is none.
func (k *keeper) signer() ed25519.PrivateKey {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.sign
}

// treeFS is the uploaded trees as a file system, also before they are there.
type treeFS struct{ keeper *keeper }

// Open implements fs.FS.
func (t treeFS) Open(name string) (fs.File, error) {
	if m := t.keeper.media(); m != nil {
		return m.FS().Open(name)
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

// maxToken bounds the token file, in octets.
const maxToken = 256

// apiToken reads the token that allows changes from other machines, or makes
// one. The operator may write his own: one line.
func apiToken(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read the API's token: %w", err)
	}
	token := strings.TrimSpace(string(data))
	if token == "" {
		// None yet, or what a power cut has left of one.
		token = rand.Text()
		if err := writeWhole(path, []byte(token+"\n")); err != nil {
			return "", fmt.Errorf("write the API's token: %w", err)
		}
		return token, nil
	}
	if len(token) < 16 || len(token) > maxToken || strings.ContainsAny(token, " \t\r\n") {
		return "", fmt.Errorf("the API's token in %s: want one line of 16 to %d characters without spaces", path, maxToken)
	}
	return token, nil
}

// signingKey reads the key that quirk files are signed with, or makes one.
func signingKey(path string) (ed25519.PrivateKey, error) {
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the key for quirk files: %w", err)
	}
	if seed, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(data))); err == nil && len(seed) == ed25519.SeedSize {
		return ed25519.NewKeyFromSeed(seed), nil
	}
	if text := strings.TrimSpace(string(data)); text != "" {
		return nil, fmt.Errorf("the key for quirk files in %s: want %d octets in base64; delete the file to have a new one made", path, ed25519.SeedSize)
	}
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, fmt.Errorf("make a key for quirk files: %w", err)
	}
	if err := writeWhole(path, []byte(base64.StdEncoding.EncodeToString(key.Seed())+"\n")); err != nil {
		return nil, fmt.Errorf("write the key for quirk files: %w", err)
	}
	return key, nil
}

// writeWhole writes a file for its owner alone: a power cut leaves the old one
// or the new one.
func writeWhole(path string, data []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	_, err = tmp.Write(data)
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	return nil
}
