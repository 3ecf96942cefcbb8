package registry

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// TestDecisionsAreToldOnce: a machine that asks in a loop, and a stranger who
// asks in many names, do not push the story of the others out.
func TestDecisionsAreToldOnce(t *testing.T) {
	t.Parallel()
	now, told := time.Unix(1e9, 0), 0
	r, err := Open(Config{Now: func() time.Time { return now }, Sink: func(e boot.Event) {
		if e.Kind == boot.KindDecision {
			told++
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(mac boot.MAC) {
		r.Decide(Ask{Sighting: boot.Sighting{MAC: mac, Time: now}, From: netip.MustParseAddr("192.0.2.9"), Base: "http://192.0.2.2", Loader: LoaderIPXE})
	}
	for range 100 {
		ask("02:00:00:00:00:01")
	}
	if told != 1 || len(r.Decisions(MaxDecisions)) != 1 {
		t.Errorf("told %d times, %d remembered", told, len(r.Decisions(MaxDecisions)))
	}
	now = now.Add(sameDecision)
	ask("02:00:00:00:00:01")
	if told != 2 {
		t.Errorf("told %d times after a while", told)
	}
	for i := range 20000 {
		ask(boot.MAC(fmt.Sprintf("02:00:00:01:%02x:%02x", i>>8, i&0xff)))
	}
	if told > 2+decisionMost || len(r.told) > maxTold {
		t.Errorf("told %d times, %d askers remembered", told, len(r.told))
	}
	now = now.Add(time.Minute)
	ask("02:00:00:00:00:02")
	if last := r.Decisions(1); len(last) != 1 || last[0].MAC != "02:00:00:00:00:02" {
		t.Errorf("after the flood: %+v", last)
	}
}
