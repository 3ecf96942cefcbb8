package system

import (
	"errors"
	"runtime/debug"
	"testing"
	"time"
)

func TestVersion(t *testing.T) {
	vcs := func(rev, modified string) *debug.BuildInfo {
		return &debug.BuildInfo{Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: rev}, {Key: "vcs.modified", Value: modified}}}
	}
	module := &debug.BuildInfo{Main: debug.Module{Version: "v1.2.3"}}
	devel := &debug.BuildInfo{Main: debug.Module{Version: "(devel)"}}
	for _, tt := range []struct {
		name, stamped string
		info          *debug.BuildInfo
		want          string
	}{
		{"image", "1.0-3-gabc", vcs("0123456789abcdef", "false"), "1.0-3-gabc"},
		{"commit", "", vcs("0123456789abcdef", "false"), "0123456789ab"},
		{"touched", "", vcs("0123456789abcdef", "true"), "0123456789ab-dirty"},
		{"short commit", "", vcs("0123", "false"), "0123"},
		{"go install", "", module, "v1.2.3"},
		{"go run", "", devel, "devel"},
		{"nothing", "", nil, "devel"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := version(tt.stamped, tt.info); got != tt.want {
				t.Errorf("version %q, want %q", got, tt.want)
			}
		})
	}
	if Version() == "" {
		t.Error("this program has no version")
	}
}

func TestClockSet(t *testing.T) {
	for _, tt := range []struct {
		now  string
		want bool
	}{
		{"1970-01-01T00:00:10Z", false},
		{"2025-12-31T23:59:59Z", false},
		{"2026-01-01T00:00:00Z", true},
		{"2038-01-20T00:00:00Z", true},
	} {
		now, err := time.Parse(time.RFC3339, tt.now)
		if err != nil {
			t.Fatal(err)
		}
		if got := ClockSet(now); got != tt.want {
			t.Errorf("%s: set = %v", tt.now, got)
		}
	}
}

func TestExitStatus(t *testing.T) {
	broken := errors.New("port taken")
	for _, tt := range []struct {
		gokrazy, asked bool
		err            error
		want           int
	}{
		{false, true, nil, 0},
		{false, false, nil, 1},
		{false, true, broken, 1},
		{false, false, broken, 1},
		{true, true, nil, 143},
		{true, false, nil, 1},
		{true, true, broken, 1},
		{true, false, broken, 1},
	} {
		got := exitStatus(tt.gokrazy, tt.asked, tt.err)
		if got != tt.want {
			t.Errorf("gokrazy %v, asked %v, error %v: status %d, want %d", tt.gokrazy, tt.asked, tt.err, got, tt.want)
		}
		if tt.gokrazy && (got == 0 || got == 125) {
			t.Errorf("status %d would keep the box down", got)
		}
	}
	if OnGokrazy() {
		t.Error("a test runs on gokrazy")
	}
	if n, err := Console().Write([]byte("x")); n != 1 || err != nil {
		t.Errorf("console: %d, %v", n, err)
	}
}
