package system

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Reason says why state is kept or not. Its text is the value in logs, metrics
// and the API.
type Reason string

// Reasons, the good one first.
const (
	StateKept        Reason = "kept"         // written to a medium that survives a restart
	StateNoPartition Reason = "no-partition" // the image's state partition is missing
	StateForeign     Reason = "foreign-data" // the partition holds something we did not make
	StateDamaged     Reason = "damaged"      // the file system there cannot be mounted
	StateReadOnly    Reason = "read-only"    // the file system refuses writes
	StateFull        Reason = "full"         // no room is left
	StateDenied      Reason = "denied"       // no permission
	StateFailed      Reason = "failed"       // the medium reported an error
)

// Reasons lists every reason.
var Reasons = []Reason{
	StateKept, StateNoPartition, StateForeign, StateDamaged, StateReadOnly, StateFull, StateDenied, StateFailed,
}

// Sentence says what the reason means for the person who owns the box, and what
// to do about it.
func (r Reason) Sentence() string {
	switch r {
	case StateKept:
		return "Settings and history are kept."
	case StateNoPartition:
		return "The medium has no state partition, so settings and history last only until the next restart. Flash the image again."
	case StateForeign:
		return "The state partition holds data that is not bootpuck's and was left alone, so settings and history last only until the next restart. Flash the image again to give the partition to bootpuck."
	case StateDamaged:
		return "The file system on the state partition is damaged and was left alone, so settings and history last only until the next restart. Repair it with e2fsck on another computer, or flash the image again."
	case StateReadOnly:
		return "The state file system is read-only, so changes last only until the next restart. The medium is probably worn out: replace it."
	case StateFull:
		return "The state file system is full, so changes last only until the next restart. Delete files, or use a larger medium."
	case StateDenied:
		return "The state directory may not be written, so settings and history last only until the next restart. Check its owner and permissions."
	case StateFailed:
		return "The state medium reports errors, so settings and history last only until the next restart. Replace it."
	}
	return "The state directory cannot be used, so settings and history last only until the next restart."
}

// State is where the program keeps what must survive a restart.
type State struct {
	// Dir is a directory that exists. When nothing can be kept it is a fresh one
	// in memory, except that a read-only or full state directory is still handed
	// out, because what is in it counts.
	Dir string
	// Persistent says that what is written to Dir is still there after a restart.
	Persistent bool
	Reason     Reason
	// Detail is the error behind the reason, for logs; empty when all is well.
	Detail string
	// Created says that the file system was made just now, on a first boot.
	Created bool

	temporary bool
}

// PrepareState makes the state directory ready. In the image, a directory below
// /perm is prepared from the ground up: the file system is created on first boot,
// mounted, and enlarged to the end of the medium. Elsewhere the directory is
// made if it is missing.
//
// It does not fail when state cannot be kept: the returned State says so. An
// error means that there is not even room in memory. Creating the file system
// takes some seconds on a slow card, so the boot path must not wait for it.
func PrepareState(ctx context.Context, dir string, log *slog.Logger) (State, error) {
	return prepareState(ctx, dir, hostPartition(log), log)
}

// stateHost makes the file system under a directory available. Made says that
// it was created; a reason other than StateKept explains why it is not there.
type stateHost interface {
	// Target is where the state partition belongs, for example /perm.
	Target() string
	Ensure(ctx context.Context) (made bool, r Reason, detail error)
}

// prepareState is PrepareState with the partition's keeper passed in; a nil one
// means that there is no partition to take care of.
func prepareState(ctx context.Context, dir string, h stateHost, log *slog.Logger) (State, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return State{}, fmt.Errorf("state directory: %w", err)
	}
	s := State{Dir: dir, Reason: StateKept}
	if h != nil && within(dir, h.Target()) {
		var detail error
		s.Created, s.Reason, detail = h.Ensure(ctx)
		if detail != nil {
			s.Detail = detail.Error()
		}
	}
	if s.Reason == StateKept {
		if err := tryDirectory(dir); err != nil {
			s.Reason, s.Detail = classify(err), err.Error()
		}
	}
	if s.Reason == StateKept {
		s.Persistent = true
		log.Info("state directory ready", "dir", dir, "created", s.Created)
		return s, nil
	}
	if !s.readable() {
		if s.Dir, err = os.MkdirTemp("", "bootpuck-state-*"); err != nil {
			return State{}, fmt.Errorf("state in memory: %w", err)
		}
		s.temporary = true
	}
	log.Error("state is not kept", "dir", dir, "reason", string(s.Reason), "error", s.Detail)
	return s, nil
}

// readable reports whether the configured directory still counts although
// nothing can be written to it.
func (s State) readable() bool {
	if s.Reason != StateReadOnly && s.Reason != StateFull {
		return false
	}
	st, err := os.Stat(s.Dir)
	return err == nil && st.IsDir()
}

// Close removes what PrepareState made in memory. State that is kept stays.
func (s State) Close() error {
	if !s.temporary {
		return nil
	}
	if err := os.RemoveAll(s.Dir); err != nil {
		return fmt.Errorf("state in memory: %w", err)
	}
	return nil
}

// Check looks at the state directory again, as it may have become full or
// read-only since (ext4 turns read-only at the first error of its medium). It
// writes nothing and is cheap enough for a health check.
func (s State) Check() (Reason, string) {
	if !s.Persistent {
		return s.Reason, s.Detail
	}
	var st syscall.Statfs_t
	if err := syscall.Statfs(s.Dir, &st); err != nil {
		return classify(err), err.Error()
	}
	return judge(st.Bavail*uint64(st.Bsize), st.Files, st.Ffree, st.Flags&stReadOnly != 0)
}

const (
	// stReadOnly is ST_RDONLY of statfs(2).
	stReadOnly = 1
	// lowSpace in bytes is where a file system counts as full: one rewrite of the
	// state file has to fit.
	lowSpace = 2 << 20
)

// judge decides about a file system from its figures: bytes free, inodes in all
// and free (some file systems count none), and whether it is read-only.
func judge(free, inodes, freeInodes uint64, readOnly bool) (Reason, string) {
	switch {
	case readOnly:
		return StateReadOnly, "mounted read-only"
	case free < lowSpace:
		return StateFull, fmt.Sprintf("%d kB free", free>>10)
	case inodes > 0 && freeInodes < 16:
		return StateFull, fmt.Sprintf("room for %d more files", freeInodes)
	}
	return StateKept, ""
}

// within reports whether dir is target or below it.
func within(dir, target string) bool {
	return dir == target || strings.HasPrefix(dir, strings.TrimSuffix(target, "/")+"/")
}

// classify names the reason behind an error of the file system.
func classify(err error) Reason {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return StateFull
	case errors.Is(err, syscall.EROFS):
		return StateReadOnly
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.ENOTDIR):
		return StateDenied
	}
	return StateFailed
}

// tryDirectory makes the directory and proves that a file in it can be written,
// flushed and renamed, which is how state is written.
func tryDirectory(dir string) (err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make state directory: %w", err)
	}
	f, err := os.CreateTemp(dir, ".try-*")
	if err != nil {
		return fmt.Errorf("write to state directory: %w", err)
	}
	name := f.Name()
	defer func() { err = errors.Join(err, os.Remove(name)) }()
	if _, err := io.WriteString(f, strings.Repeat("x", 4096)); err != nil {
		return fmt.Errorf("write to state directory: %w", errors.Join(err, f.Close()))
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("flush state directory: %w", errors.Join(err, f.Close()))
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("write to state directory: %w", err)
	}
	if err := os.Rename(name, name+".done"); err != nil {
		return fmt.Errorf("rename in state directory: %w", err)
	}
	name += ".done"
	return nil
}
