package registry

import (
	"runtime"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// busy reports the processor time of a decision: what others do on the machine
// that runs the benchmark is not in it.
func busy(b *testing.B, f *fixture, asks []Ask) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	now := func() int64 {
		var t unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
			b.Fatal(err)
		}
		return t.Nano()
	}
	took := make([]int64, len(asks))
	for i, a := range asks {
		began := now()
		f.Decide(a)
		took[i] = now() - began
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2])/1000, "p50-cpu-µs")
	b.ReportMetric(float64(took[len(took)*99/100])/1000, "p99-cpu-µs")
}
