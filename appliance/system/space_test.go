package system

import (
	"path/filepath"
	"testing"
)

func TestSpace(t *testing.T) {
	dir := t.TempDir()
	if free, size, err := (State{Dir: dir}).Space(); err != nil || free == 0 || size < free {
		t.Errorf("free %d of %d, %v", free, size, err)
	}
	if _, _, err := (State{Dir: filepath.Join(dir, "gone")}).Space(); err == nil {
		t.Error("room in a directory that does not exist")
	}
}
