package bootweb

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

func TestBucket(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	var b bucket
	for i := range 3 {
		if !b.take(now, 3, time.Second) {
			t.Fatalf("token %d is missing", i)
		}
	}
	if b.take(now.Add(999*time.Millisecond), 3, time.Second) {
		t.Error("a token too early")
	}
	if !b.take(now.Add(time.Second), 3, time.Second) || b.take(now.Add(time.Second), 3, time.Second) {
		t.Error("not one token after a second")
	}
	n := 0
	for b.take(now.Add(time.Hour), 3, time.Second) {
		n++
	}
	if n != 3 {
		t.Errorf("%d tokens after an hour", n)
	}
	if b.take(now, 3, time.Second) {
		t.Error("a clock that goes back gives tokens")
	}
}

func TestNews(t *testing.T) {
	t.Parallel()
	var got []boot.Event
	n := newNews(func(e boot.Event) { got = append(got, e) })
	now := time.Unix(1000, 0)
	a, b := netip.MustParseAddr("192.0.2.10"), netip.MustParseAddr("192.0.2.11")
	for range 1000 {
		n.refused(now, boot.Event{Addr: a, Reason: boot.ReasonNotFound})
	}
	if len(got) != refusedBurst {
		t.Fatalf("%d events of a flood", len(got))
	}
	n.refused(now, boot.Event{Addr: b, Reason: boot.ReasonNotFound})
	n.fine(now, boot.Event{Addr: a, Text: "script"})
	if len(got) != refusedBurst+2 || got[refusedBurst].Addr != b || !strings.Contains(got[refusedBurst+1].Text, "script; 992 more") {
		t.Errorf("%+v", got[refusedBurst:])
	}
	n.fine(now, boot.Event{Addr: a})
	if e := got[len(got)-1]; e.Text != "" {
		t.Errorf("left-out events are told of twice: %+v", e)
	}
	n.refused(now.Add(refusedEvery), boot.Event{Addr: a})
	if len(got) != refusedBurst+4 {
		t.Errorf("%d events after a pause", len(got))
	}
}

// TestNewsManySources: made-up addresses neither fill memory nor the journal.
func TestNewsManySources(t *testing.T) {
	t.Parallel()
	events := 0
	n := newNews(func(boot.Event) { events++ })
	now := time.Unix(1000, 0)
	addr := netip.MustParseAddr("2001:db8::1")
	for range 10000 {
		addr = addr.Next()
		n.refused(now, boot.Event{Addr: addr})
	}
	if events != overallBurst {
		t.Errorf("%d events", events)
	}
	if len(n.sources) != maxSources || n.order.Len() != maxSources {
		t.Errorf("%d sources kept", len(n.sources))
	}
	n.fine(now, boot.Event{Addr: netip.MustParseAddr("192.0.2.1")})
	if events != overallBurst+1 {
		t.Error("service is not told of during a flood")
	}
}

func TestCleanName(t *testing.T) {
	t.Parallel()
	for p, want := range map[string]string{
		"/": ".", "//": ".", "/b": "b", "//b": "b", "/a//b": "a/b", "/a///b/": "a/b/", "/a/": "a/",
		"": "", "b": "", "/..": "", "/a/../b": "", "/./b": "", "/a/.": "", "/a\x00": "", "/" + strings.Repeat("a", 1024): "",
		"/\xff": "",
	} {
		got, ok := cleanName(p)
		if ok != (want != "") || ok && got != want {
			t.Errorf("cleanName(%.20q) = %q, %v", p, got, ok)
		}
	}
}
