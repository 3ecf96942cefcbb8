package system

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestPrefer works in a process of its own: a raised priority cannot be given
// back without a right.
func TestPrefer(t *testing.T) {
	const flag = "BOOTPUCK_TEST_PREFER"
	if os.Getenv(flag) != "" {
		if err := Prefer(); err != nil {
			if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
				t.Skip("not allowed to raise the priority: ", err)
			}
			t.Fatal(err)
		}
		done := make(chan int)
		go func() { // on a thread of its own, whichever that is
			n, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
			if err != nil {
				t.Error(err)
			}
			done <- 20 - n // the system call answers 20 minus the nice value
		}()
		if got := <-done; got != preferred {
			t.Errorf("nice value %d, want %d", got, preferred)
		}
		return
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestPrefer$", "-test.v")
	cmd.Env = append(os.Environ(), flag+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if strings.Contains(string(out), "SKIP") {
		t.Skip(strings.TrimSpace(string(out)))
	}
}
