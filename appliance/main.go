package appliance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/bootpuck/bootpuck/appliance/logging"
	"github.com/bootpuck/bootpuck/appliance/settings"
	"github.com/bootpuck/bootpuck/appliance/syslog"
	"github.com/bootpuck/bootpuck/appliance/system"
	"github.com/bootpuck/bootpuck/bootfiles"
)

// Version is the version of this program.
func Version() string { return system.Version() }

// ExitStatus is the status the process is to end with; asked says that a signal
// or a flag like -help ended it.
func ExitStatus(asked bool, err error) int { return system.ExitStatus(asked, err) }

// Log is the program's log. Writing to it never blocks.
type Log struct {
	*slog.Logger
	writer *logging.Writer
}

// NewLog opens the log on out; in the image, on the box's screen and serial
// port as well.
func NewLog(out io.Writer) *Log {
	if system.OnGokrazy() {
		out = io.MultiWriter(out, system.Console())
	}
	w := logging.NewWriter(out)
	return &Log{slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelInfo})), w}
}

// At is the same log with another level.
func (l *Log) At(level slog.Level) *Log {
	return &Log{slog.New(slog.NewTextHandler(l.writer, &slog.HandlerOptions{Level: level})), l.writer}
}

// Close writes out what is queued.
func (l *Log) Close() { _ = l.writer.Close() }

// StateKeeper makes the state directory ready in the background: on the first
// boot of an image a file system has to be made, and machines do not wait for
// that.
type StateKeeper struct {
	done chan struct{}

	mu    sync.Mutex
	state system.State
	err   error
}

// OpenState begins to make dir ready.
func OpenState(ctx context.Context, dir string, log *slog.Logger) *StateKeeper {
	k := &StateKeeper{done: make(chan struct{}), state: system.State{Dir: dir}}
	go func() {
		defer close(k.done)
		state, err := system.PrepareState(ctx, dir, log)
		k.mu.Lock()
		defer k.mu.Unlock()
		k.state, k.err = state, err
	}()
	return k
}

// Wait waits until the directory is ready, or d has passed; ready says which.
func (k *StateKeeper) Wait(d time.Duration) (ready bool) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-k.done:
		return true
	case <-t.C:
		return false
	}
}

// State is what became of it; ready is false while it is being made.
func (k *StateKeeper) State() (s system.State, err error, ready bool) { //nolint:revive // the error belongs to the state
	select {
	case <-k.done:
	default:
		return system.State{}, nil, false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.state, k.err, true
}

// Close waits for the making to end and removes what was kept in memory only.
func (k *StateKeeper) Close() error {
	<-k.done
	s, err, _ := k.State()
	if err != nil {
		return err
	}
	return s.Close()
}

// Main is the program: it runs a box on the real network until ctx ends.
func Main(ctx context.Context, s *settings.Settings, state *StateKeeper, log *Log) error {
	if err := system.Prefer(); err != nil {
		log.Info("no right to go before other programs: on a busy machine answers may come late", "error", err)
	}
	missing := bootfiles.Missing()
	if len(missing) > 0 {
		log.Error("boot files are missing from this build: machines that need them get no answer; run make bootfiles and build again", "missing", len(missing))
	} else if err := bootfiles.Verify(); err != nil {
		return fmt.Errorf("boot files in this program are damaged: %w", err)
	}
	if err := system.ReleaseProgram(); err != nil {
		log.Debug("the boot files stay in memory", "error", err)
	}
	out := log.Logger
	var forward *syslog.Forwarder
	if s.SyslogForward != "" {
		handler, f, err := syslog.NewForwarder(s.SyslogForward, hostname(), out.Handler())
		if err != nil {
			return fmt.Errorf("syslog-forward: %w", err)
		}
		out, forward = slog.New(handler), f
	}
	box, err := New(Config{
		Settings: s, Version: Version(), Log: out, LogDropped: log.writer.Dropped,
		Bootfiles: bootfiles.FS(), Missing: missing, State: state, Forward: forward,
	})
	if err != nil {
		return err
	}
	return errors.Join(box.Run(ctx), state.Close())
}
