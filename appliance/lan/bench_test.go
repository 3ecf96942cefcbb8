package lan

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mdlayher/packet"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// BenchmarkHear takes in a reply while the table of servers is full, the most
// that a packet can cost. At most hearPerSecond of them are taken in a second.
func BenchmarkHear(b *testing.B) {
	w, _ := watch(newFakeKernel(state{}), Selection{})
	s := NewSentinel(SentinelConfig{Watcher: w, Sink: func(boot.Event) {}})
	s.around.since = map[string]time.Time{"": time.Now()}
	for n := range MaxResponders {
		s.hear(2, &packet.Addr{HardwareAddr: []byte{2, 0, 0, 1, 0, byte(n)}}, offer())
	}
	p := offer(option(60, "PXEClient"), option(67, "pxelinux.0"))
	from := &packet.Addr{HardwareAddr: []byte{2, 0, 0, 1, 0, 1}}
	b.ReportAllocs()
	for b.Loop() {
		s.hear(2, from, p)
	}
}

// BenchmarkLeaves is what every DISCOVER costs while the box does not stand by.
func BenchmarkLeaves(b *testing.B) {
	st := newTwinStand(b)
	b.ReportAllocs()
	for b.Loop() {
		if st.Leaves("eth0", "02:00:00:00:00:77", 7, epoch) {
			b.Fatal("left to nobody")
		}
	}
}

// TestDocsSayWhatIsSent: the bounds and the findings in the documentation are
// those of the code.
func TestDocsSayWhatIsSent(t *testing.T) {
	doc, err := os.ReadFile("../docs/lan.md")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(string(doc)), " ")
	for _, f := range boot.FindingNames() {
		elsewhere := []boot.Reason{boot.ReasonStandby, boot.ReasonNoDHCPServer, boot.ReasonClockUnset}
		if !slices.Contains(elsewhere, f) && !strings.Contains(text, fmt.Sprintf("| `%s` | ", f)) {
			t.Errorf("finding %s is not explained", f)
		}
	}
	for what, holds := range map[string]bool{
		"20 s after the link comes up": probeAfter == 20*time.Second,
		"never more than 2":            probeGap == time.Minute,
		"waited for during five seconds; one that comes within thirty still counts": probeWait == 5*time.Second && probeLate == 30*time.Second,
		"at least a minute after the link came up (an hour, where nobody asks)":     learning == time.Minute && learningUnasked == time.Hour,
		"not heard through three questions is gone (24 hours":                       goneAfter == 3 && forgetAfter == 24*time.Hour,
		"at most 12 questions":                                questionEvery == 5*time.Second,
		"once a minute; every 20 s by a box that stands by":   twinEvery == time.Minute && twinStandbyEvery == 20*time.Second,
		"1, 2, 4 … 60 minutes":                                twinNever == time.Hour,
		"asks again after two seconds":                        repeatAfter == 2*time.Second,
		"everybody else for the next five minutes":            resumeFor == 5*time.Minute,
		"three questions, twenty seconds apart":               twinSilent == 3,
		"at most 64 servers, and of each at most 8":           MaxResponders == 64 && maxValues == 8,
		"at most 50 events a second":                          foreignPerSecond == 50,
		"`" + ProbeClass + "`":                                true,
		"at most one in ten seconds after a burst of 32":      eventEvery == 10*time.Second && warningBurst == 32,
		"at most 4 kB":                                        MaxTwinPage == 4096,
		"at most 4 neighbours":                                maxNeighbours == 4,
		"at most 16 claims, for ten minutes":                  boot.MaxLANConflicts == 16 && conflictFor == 10*time.Minute,
		"the latest 32 changes":                               boot.MaxLANChanges == 32,
		"A finding counts for an hour after it was last seen": findingFor == time.Hour,
	} {
		if !strings.Contains(text, what) || !holds {
			t.Errorf("%q is not said, or not true", what)
		}
	}
}
