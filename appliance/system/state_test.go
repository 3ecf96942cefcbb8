package system

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// fakeHost stands in for the keeper of a partition.
type fakeHost struct {
	target string
	made   bool
	reason Reason
	err    error
	called bool
}

func (h *fakeHost) Target() string { return h.target }

func (h *fakeHost) Ensure(context.Context) (bool, Reason, error) {
	h.called = true
	return h.made, h.reason, h.err
}

func TestPrepareStateOnPlainLinux(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "state")
	s, err := PrepareState(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !s.Persistent || s.Reason != StateKept || s.Dir != dir || s.Detail != "" || s.Created {
		t.Errorf("state %+v", s)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if r, detail := s.Check(); r != StateKept {
		t.Errorf("check: %s %s", r, detail)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); err != nil {
		t.Errorf("kept state was removed: %v", err)
	}
}

func TestPrepareStateFallsBackToMemory(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		dir  string
		host *fakeHost
		want Reason
	}{
		{"a file in the way", filepath.Join(file, "state"), nil, StateDenied},
		{"no partition", "/nowhere/bootpuck", &fakeHost{target: "/nowhere", reason: StateNoPartition, err: errors.New("disk gone")}, StateNoPartition},
		{"damaged", "/nowhere/bootpuck", &fakeHost{target: "/nowhere", reason: StateDamaged, err: errors.New("bad superblock")}, StateDamaged},
		{"read-only and the directory is missing", "/nowhere/bootpuck", &fakeHost{target: "/nowhere", reason: StateReadOnly}, StateReadOnly},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var h stateHost
			if tt.host != nil {
				h = tt.host
			}
			s, err := prepareState(t.Context(), tt.dir, h, nil)
			if err != nil {
				t.Fatal(err)
			}
			if s.Persistent || s.Reason != tt.want || s.Dir == tt.dir {
				t.Errorf("state %+v, want reason %s", s, tt.want)
			}
			if tt.host != nil && tt.host.err != nil && !strings.Contains(s.Detail, tt.host.err.Error()) {
				t.Errorf("detail %q hides %q", s.Detail, tt.host.err)
			}
			if err := os.WriteFile(filepath.Join(s.Dir, "x"), nil, 0o600); err != nil {
				t.Errorf("memory cannot be written: %v", err)
			}
			if r, _ := s.Check(); r != tt.want {
				t.Errorf("check says %s", r)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(s.Dir); !os.IsNotExist(err) {
				t.Errorf("memory not given back: %v", err)
			}
		})
	}
}

func TestPrepareStateReadsWhatItCannotWrite(t *testing.T) {
	dir := t.TempDir()
	for _, r := range []Reason{StateReadOnly, StateFull} {
		s, err := prepareState(t.Context(), dir, &fakeHost{target: filepath.Dir(dir), reason: r}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if s.Dir != dir || s.Persistent || s.Reason != r {
			t.Errorf("%s: state %+v: settings there would not be read", r, s)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(dir); err != nil {
			t.Errorf("%s: closing removed the state: %v", r, err)
		}
	}
}

func TestPrepareStateAsksTheKeeperOnlyForItsOwn(t *testing.T) {
	h := &fakeHost{target: "/perm", reason: StateDamaged}
	dir := filepath.Join(t.TempDir(), "state")
	if s, err := prepareState(t.Context(), dir, h, nil); err != nil || h.called || !s.Persistent {
		t.Errorf("directory elsewhere: %+v, %v, keeper asked: %v", s, err, h.called)
	}
	h = &fakeHost{target: filepath.Dir(dir), reason: StateKept, made: true}
	if s, err := prepareState(t.Context(), dir, h, nil); err != nil || !h.called || !s.Persistent || !s.Created {
		t.Errorf("directory on the partition: %+v, %v, keeper asked: %v", s, err, h.called)
	}
}

func TestWithin(t *testing.T) {
	for _, tt := range []struct {
		dir, target string
		want        bool
	}{
		{"/perm", "/perm", true},
		{"/perm/bootpuck", "/perm", true},
		{"/permanent", "/perm", false},
		{"/var", "/perm", false},
		{"/anything", "/", true},
	} {
		if got := within(tt.dir, tt.target); got != tt.want {
			t.Errorf("within(%q, %q) = %v", tt.dir, tt.target, got)
		}
	}
}

func TestJudge(t *testing.T) {
	for _, tt := range []struct {
		free, inodes, freeInodes uint64
		readOnly                 bool
		want                     Reason
	}{
		{1 << 30, 1000, 900, false, StateKept},
		{1 << 30, 1000, 900, true, StateReadOnly},
		{lowSpace, 1000, 900, false, StateKept},
		{lowSpace - 1, 1000, 900, false, StateFull},
		{0, 0, 0, false, StateFull},
		{1 << 30, 1000, 15, false, StateFull},
		{1 << 30, 0, 0, false, StateKept}, // btrfs counts no inodes
	} {
		if got, detail := judge(tt.free, tt.inodes, tt.freeInodes, tt.readOnly); got != tt.want || (got == StateKept) != (detail == "") {
			t.Errorf("judge(%+v) = %s %q", tt, got, detail)
		}
	}
}

func TestClassify(t *testing.T) {
	for err, want := range map[error]Reason{
		syscall.ENOSPC:  StateFull,
		syscall.EDQUOT:  StateFull,
		syscall.EROFS:   StateReadOnly,
		syscall.EACCES:  StateDenied,
		syscall.EPERM:   StateDenied,
		syscall.ENOTDIR: StateDenied,
		syscall.EIO:     StateFailed,
		syscall.EINVAL:  StateFailed,
	} {
		if got := classify(fmt.Errorf("write: %w", &os.PathError{Op: "write", Path: "x", Err: err})); got != want {
			t.Errorf("%v: %s, want %s", err, got, want)
		}
	}
}

func TestEveryReasonHasItsSentence(t *testing.T) {
	other := Reason("made up").Sentence()
	seen := map[string]Reason{other: "made up"}
	for _, r := range Reasons {
		text := r.Sentence()
		if before, ok := seen[text]; ok {
			t.Errorf("%s says the same as %s: %s", r, before, text)
		}
		seen[text] = r
		if !strings.HasSuffix(text, ".") {
			t.Errorf("%s: not a sentence: %s", r, text)
		}
	}
}
