package appliance

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
	"github.com/bootpuck/bootpuck/appliance/health"
)

// Task is everything long-running. Run works until ctx ends or it cannot go on;
// Ready is closed when it does its work for the first time; String is its short
// name for logs and the health tree.
type Task interface {
	Run(ctx context.Context) error
	Ready() <-chan struct{}
	String() string
}

// Waits between restarts of a task that failed.
const (
	firstBackoff = 500 * time.Millisecond
	maxBackoff   = 30 * time.Second
)

// supervisor runs tasks and restarts the ones that fail, so that one broken
// part does not take the others with it. It knows how each is doing.
type supervisor struct {
	log  *slog.Logger
	wait func(ctx context.Context, d time.Duration) error

	mu     sync.Mutex
	failed map[string]error
}

func newSupervisor(log *slog.Logger) *supervisor {
	return &supervisor{log: log, failed: map[string]error{}, wait: func(ctx context.Context, d time.Duration) error {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
			return nil
		}
	}}
}

// run supervises one task until ctx ends.
func (s *supervisor) run(ctx context.Context, t Task) {
	backoff := firstBackoff
	for {
		err := guarded(ctx, t)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			err = errors.New("ended by itself")
		}
		s.set(t.String(), err)
		s.log.Error("a part of the box failed and is started again", "component", t.String(), "error", err, "in", backoff)
		if s.wait(ctx, backoff) != nil {
			return
		}
		backoff = min(2*backoff, maxBackoff)
		s.set(t.String(), nil)
	}
}

// guarded turns a panic into an error: a defect in one part is no reason to
// stop booting machines.
func guarded(ctx context.Context, t Task) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return t.Run(ctx)
}

func (s *supervisor) set(name string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		delete(s.failed, name)
		return
	}
	s.failed[name] = err
}

// check is the health of one task.
func (s *supervisor) check(t Task) func() health.Result {
	return func() health.Result {
		s.mu.Lock()
		err := s.failed[t.String()]
		s.mu.Unlock()
		if err != nil {
			return health.Result{Status: health.Failed, Reason: boot.ReasonFailed, Detail: firstLine(err.Error())}
		}
		select {
		case <-t.Ready():
			return health.Result{Status: health.OK}
		default:
			return health.Result{Status: health.Degraded, Reason: boot.ReasonStarting}
		}
	}
}

func firstLine(s string) string {
	for i := range len(s) {
		if s[i] == '\n' {
			return s[:i]
		}
	}
	return s
}
