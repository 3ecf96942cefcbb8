package journal

import (
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

const maxAttempts = 1024

type trackerConfig struct {
	local func(name string) boot.StageName
	seed  uint64
}

type tracker struct {
	byID    map[boot.AttemptID]*try
	evicted uint64
}

type try struct {
	a       boot.Attempt
	seq     uint64
	changed bool
	told    bool
	judged  time.Time
	named   time.Time
}

func newTracker(trackerConfig) *tracker { return &tracker{byID: map[boot.AttemptID]*try{}} }

func (t *tracker) active() int                       { return 0 }
func (t *tracker) newestFirst() []*try               { return nil }
func (t *tracker) observe(boot.Event)                {}
func (t *tracker) tick(time.Time) []*try             { return nil }
func (t *tracker) stepped(time.Time)                 {}
func (t *tracker) restore([]boot.Attempt, time.Time) {}
func (t *try) whole() boot.Attempt                   { return t.a }
func (t *try) summary() boot.Attempt                 { return t.a }
func (t *try) finished() bool                        { return false }
