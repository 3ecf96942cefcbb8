package journal

import (
	"context"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// AttemptStore is where attempts are kept over a restart: documents by name. It
// may be slow; nobody waits for it.
type AttemptStore interface {
	// Load gives every document. It ends with each's first error.
	Load(each func(name string, doc []byte) error) error
	// Write writes all documents or none; a nil document is deleted.
	Write(docs map[string][]byte) error
}

type keeper struct {
	store   AttemptStore
	skipped int
}

func (k *keeper) init() {}

func (k *keeper) start(context.Context, *Attempts) (stop func()) { return func() {} }

func (k *keeper) note(*try, time.Time) {}

func loadAttempts(AttemptStore) ([]boot.Attempt, int, error) { return nil, 0, nil }

// Close writes what has changed since the last batch, within a second.
func (a *Attempts) Close() error { return nil }
