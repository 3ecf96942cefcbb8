package boot

import (
	"fmt"
	"testing"
	"time"
)

func TestAwaiting(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	fetched := func(mac MAC, at time.Duration) Event {
		return Event{Time: now.Add(at), Kind: KindTFTP, MAC: mac, File: "x86_64/snponly.efi", Bytes: 1}
	}
	a := NewAwaiting()
	a.Fetched(fetched("02:00:00:00:00:01", 0))
	a.Fetched(fetched("02:00:00:00:00:02", 0))
	a.Fetched(fetched("", 0))
	a.Heard("02:00:00:00:00:02")
	if got := a.Silent(now.Add(StartTime - time.Second)); len(got) != 0 {
		t.Errorf("too early: %+v", got)
	}
	// Fetched again, by HTTP this time: the wait begins anew.
	a.Fetched(fetched("02:00:00:00:00:01", 10*time.Second))
	if got := a.Silent(now.Add(StartTime)); len(got) != 0 {
		t.Errorf("before the second download's time: %+v", got)
	}
	got := a.Silent(now.Add(StartTime + 10*time.Second))
	if len(got) != 1 || got[0].MAC != "02:00:00:00:00:01" || got[0].Reason != ReasonNotStarted || got[0].Kind != KindWarning || got[0].File != "x86_64/snponly.efi" {
		t.Fatalf("%+v", got)
	}
	if got := a.Silent(now.Add(2 * StartTime)); len(got) != 0 {
		t.Errorf("said twice: %+v", got)
	}
	// The next power-on within ten minutes says it no more, a later one does.
	a.Fetched(fetched("02:00:00:00:00:01", 3*time.Minute))
	if got := a.Silent(now.Add(5 * time.Minute)); len(got) != 0 {
		t.Errorf("said again too soon: %+v", got)
	}
	a.Fetched(fetched("02:00:00:00:00:01", 20*time.Minute))
	if got := a.Silent(now.Add(25 * time.Minute)); len(got) != 1 {
		t.Errorf("not said again: %+v", got)
	}
}

func TestAwaitingIsBounded(t *testing.T) {
	t.Parallel()
	a, now := NewAwaiting(), time.Unix(1e9, 0)
	for i := range 5000 {
		a.Fetched(Event{Time: now, MAC: MAC(fmt.Sprintf("02:00:00:00:%02x:%02x", i>>8, i&0xff))})
	}
	if len(a.pending) != maxAwaiting {
		t.Errorf("%d machines are watched", len(a.pending))
	}
	if got := a.Silent(now.Add(time.Hour)); len(got) != maxAwaiting || len(a.pending) != 0 || len(a.said) > maxAwaiting {
		t.Errorf("%d events, %d watched, %d remembered", len(got), len(a.pending), len(a.said))
	}
}
