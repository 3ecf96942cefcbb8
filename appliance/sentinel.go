package appliance

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"github.com/bootpuck/bootpuck/appliance/lan"
)

// sentinelPatience is how long a sentinel without the right to listen waits
// before it looks again.
const sentinelPatience = 5 * time.Minute

// sentinel is lan's, for which a missing right is no failure: it is said once,
// stands in the health tree, and everything else works.
type sentinel struct{ *lan.Sentinel }

func (b *Box) newSentinel() sentinel {
	s := b.cfg.Settings
	return sentinel{lan.NewSentinel(lan.SentinelConfig{
		Watcher: b.watcher, Sink: b.Record, Observe: func() bool { return s.Observe }, ProbeEvery: s.ProbeEvery,
		Expected: s.ExpectedServers, Twins: b.twin.Twins, Log: b.cfg.Log,
	})}
}

// Run listens until ctx ends.
func (s sentinel) Run(ctx context.Context) error { return patiently(ctx, s.Sentinel.Run) }

// patiently runs a task for which a missing right is no failure: it is tried
// again after sentinelPatience.
func patiently(ctx context.Context, run func(context.Context) error) error {
	for {
		err := run(ctx)
		if !errors.Is(err, fs.ErrPermission) {
			return err
		}
		t := time.NewTimer(sentinelPatience)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil
		case <-t.C:
		}
	}
}
