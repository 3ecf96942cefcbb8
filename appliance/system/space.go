package system

import (
	"fmt"
	"syscall"
)

// Space is the room on the medium of the state: what is free for it and the
// whole, in octets.
func (s State) Space() (free, size uint64, err error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(s.Dir, &st); err != nil {
		return 0, 0, fmt.Errorf("state directory: %w", err)
	}
	return st.Bavail * uint64(st.Bsize), st.Blocks * uint64(st.Bsize), nil
}
