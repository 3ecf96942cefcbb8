// Package system is the operating system under the product: the state partition,
// the clock, the console, the supervisor's contract and the version.
//
// It is the only package that knows about gokrazy; what differs there stands in
// *_gokrazy.go, and the same functions work as a plain process on any Linux. It
// must never format anything that was not meant for it, never make the boot path
// wait for a disk, and never fail where it can carry on from memory and say so.
package system

import (
	"runtime/debug"
	"time"
)

// OnGokrazy reports whether this program was built for the image, where it is
// supervised by gokrazy's init and the root file system is read-only.
func OnGokrazy() bool { return onGokrazy }

// buildVersion is set by the image's builder (go build -ldflags -X).
var buildVersion string

// Version returns the version of the program: the one stamped in by the builder
// of the image, else the commit the Go tool recorded, else "devel".
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = nil
	}
	return version(buildVersion, info)
}

func version(stamped string, info *debug.BuildInfo) string {
	if stamped != "" {
		return stamped
	}
	if info == nil {
		return "devel"
	}
	revision, dirty := "", ""
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			revision = s.Value[:min(12, len(s.Value))]
		case "vcs.modified":
			if s.Value == "true" {
				dirty = "-dirty"
			}
		}
	}
	switch {
	case revision != "":
		return revision + dirty
	case info.Main.Version != "" && info.Main.Version != "(devel)":
		return info.Main.Version
	}
	return "devel"
}

// clockFloor is before any release of this program: a clock that shows less was
// never set.
var clockFloor = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)

// ClockSet reports whether now can be a real time. A Raspberry Pi has no clock
// battery: it starts in 1970 and stays there until a time server answers, which
// on an offline site is never. Events are then marked instead of waited for.
func ClockSet(now time.Time) bool { return !now.Before(clockFloor) }

// ExitStatus returns the status to exit with when the program stops: asked says
// that a signal asked for it, err is why it stopped otherwise.
//
// gokrazy's supervisor starts a program again unless it exits with 0 or 125, also
// when gokrazy itself sent SIGTERM in order to restart it. So in the image the
// status is never 0: a box that stops serving for whatever reason comes back.
func ExitStatus(asked bool, err error) int { return exitStatus(OnGokrazy(), asked, err) }

func exitStatus(gokrazy, asked bool, err error) int {
	const terminated = 128 + 15 // what a shell reports for SIGTERM
	switch {
	case err != nil || !asked:
		return 1
	case gokrazy:
		return terminated
	}
	return 0
}
