package system

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// preferred is the nice value of this program when it may choose.
const preferred = -15

// Prefer asks the scheduler to let this program go first. A boot client takes
// the first offer it can use: iPXE does not wait for ours once another server
// has answered, so being late by a millisecond on a busy machine is a machine
// that does not boot. It needs CAP_SYS_NICE; without it everything works, later.
func Prefer() error {
	// On Linux a nice value belongs to a thread; new ones inherit it from the
	// thread that starts them.
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return fmt.Errorf("list own threads: %w", err)
	}
	for _, t := range tasks {
		tid, err := strconv.Atoi(t.Name())
		if err != nil {
			continue
		}
		if err := unix.Setpriority(unix.PRIO_PROCESS, tid, preferred); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("raise own priority: %w", err)
		}
	}
	return nil
}
