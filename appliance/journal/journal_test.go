package journal

import (
	"context"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func at(sec int64) func() time.Time { return func() time.Time { return time.Unix(sec, 0) } }

func TestRecordStampsAndOrders(t *testing.T) {
	j := New(8, at(5))
	j.Record(boot.Event{Kind: boot.KindOffer})
	j.Record(boot.Event{Kind: boot.KindSilence, Time: time.Unix(9, 0)})
	j.Record(boot.Event{Kind: boot.KindTFTP})
	got, last := j.Since(0, 100)
	if last != 3 || len(got) != 3 {
		t.Fatalf("got %d events, last %d", len(got), last)
	}
	for i, want := range []boot.Kind{boot.KindOffer, boot.KindSilence, boot.KindTFTP} {
		if got[i].Kind != want || got[i].Seq != uint64(i+1) {
			t.Errorf("event %d: kind %s seq %d", i, got[i].Kind, got[i].Seq)
		}
	}
	if !got[0].Time.Equal(time.Unix(5, 0)) || !got[1].Time.Equal(time.Unix(9, 0)) {
		t.Errorf("times %v and %v: the first is stamped, the second kept", got[0].Time, got[1].Time)
	}
}

func TestChatterCannotPushOutBoots(t *testing.T) {
	j := New(8, at(0))
	j.Record(boot.Event{Kind: boot.KindScript, Text: "precious"})
	for range 250 {
		j.Record(boot.Event{Kind: boot.KindSilence})
		j.Record(boot.Event{Kind: boot.KindLease})
		j.Record(boot.Event{Kind: boot.KindOffer})
		j.Record(boot.Event{Kind: boot.KindTFTP, Reason: boot.ReasonNotFound})
	}
	for range 250 {
		j.Record(boot.Event{Kind: boot.KindProgress})
		j.Record(boot.Event{Kind: boot.KindSyslog})
		j.Record(boot.Event{Kind: boot.KindForeign})
	}
	got, last := j.Since(0, 100)
	if got[0].Text != "precious" {
		t.Errorf("the boot event is gone; oldest is %v", got[0])
	}
	if len(got) != 11 || last != 1751 {
		t.Errorf("%d events kept, last %d; want 1 + 5 × 2 and 1751", len(got), last)
	}
}

func TestRingKeepsTheNewest(t *testing.T) {
	j := New(4, at(0))
	for range 11 {
		j.Record(boot.Event{Kind: boot.KindTFTP})
	}
	for _, c := range []struct {
		after      uint64
		limit      int
		first, cnt uint64
	}{{0, 100, 8, 4}, {9, 100, 10, 2}, {11, 100, 0, 0}, {99, 100, 0, 0}, {0, 2, 10, 2}} {
		got, _ := j.Since(c.after, c.limit)
		if uint64(len(got)) != c.cnt || c.cnt > 0 && got[0].Seq != c.first {
			t.Errorf("Since(%d, %d): %d events, first %v", c.after, c.limit, len(got), got)
		}
	}
}

func TestStringsAreBounded(t *testing.T) {
	j := New(4, at(0))
	j.Record(boot.Event{Kind: boot.KindHTTP, File: strings.Repeat("x", 1<<20), Text: strings.Repeat("y", 1<<20)})
	got, _ := j.Since(0, 1)
	if len(got[0].File) > maxString+4 || len(got[0].Text) > maxString+4 {
		t.Errorf("kept %d and %d bytes", len(got[0].File), len(got[0].Text))
	}
}

func TestSlowSubscriberMissesButNeverBlocks(t *testing.T) {
	j := New(4, at(0))
	ctx, cancel := context.WithCancel(t.Context())
	s := j.Subscribe(ctx)
	for range subscriberRoom + 7 {
		j.Record(boot.Event{Kind: boot.KindTFTP})
	}
	if n := s.Missed(); n != 7 {
		t.Errorf("missed %d, want 7", n)
	}
	if n := s.Missed(); n != 0 {
		t.Errorf("missed again %d: the count is per call", n)
	}
	cancel()
	n := 0
	for range s.Events() { // ends only when the channel is closed
		n++
	}
	if n != subscriberRoom {
		t.Errorf("%d events were waiting, want %d", n, subscriberRoom)
	}
	j.Record(boot.Event{Kind: boot.KindTFTP}) // no send on a closed channel
}

func TestSubscribersAreBounded(t *testing.T) {
	j := New(4, at(0))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for i := range MaxSubscribers {
		if j.Subscribe(ctx) == nil {
			t.Fatalf("subscription %d refused", i)
		}
	}
	if j.Subscribe(ctx) != nil {
		t.Error("one subscription too many was accepted")
	}
}
