package system

import (
	"slices"
	"strings"
	"testing"
)

func TestReadOnlyMappings(t *testing.T) {
	t.Parallel()
	const maps = `00400000-00a00000 r-xp 00000000 fe:00 131 /usr/bin/bootpuck
00a00000-02600000 r--p 00600000 fe:00 131 /usr/bin/bootpuck
02600000-02700000 rw-p 02200000 fe:00 131 /usr/bin/bootpuck
7f0000000000-7f0000001000 r--p 00000000 fe:00 9 /usr/lib/other.so
7f0000002000-7f0000003000 r--p 00000000 00:00 0
`
	got, err := readOnlyMappings(strings.NewReader(maps), "/usr/bin/bootpuck")
	if err != nil || !slices.Equal(got, []mapping{{0xa00000, 0x2600000}}) {
		t.Errorf("%x, %v", got, err)
	}
	if got, err := readOnlyMappings(strings.NewReader("zz-1 r--p 0 0 0 /x\n"), "/x"); err == nil {
		t.Errorf("%x", got)
	}
}

// TestReleaseProgram: what was given back is still there when it is needed.
func TestReleaseProgram(t *testing.T) {
	t.Parallel()
	before := StateDenied.Sentence()
	if err := ReleaseProgram(); err != nil {
		t.Fatal(err)
	}
	if after := StateDenied.Sentence(); after != before || !strings.Contains(after, "state directory") {
		t.Errorf("%q", after)
	}
}
