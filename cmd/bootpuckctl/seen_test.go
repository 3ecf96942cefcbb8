package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestBar(t *testing.T) {
	for _, c := range []struct {
		from, took, whole time.Duration
		want              string
	}{
		{0, 10, 10, "██████████"},
		{5, 5, 10, "·····█████"},
		{0, 0, 10, "█·········"},
		{10, 0, 10, "·········█"}, // the end is seen too
		{3, 1, 10, "···█······"},
		{-5, 5, 10, "█████·····"}, // the clock was set
		{20, 5, 10, "·········█"},
		{0, 99, 10, "██████████"},
		{0, -3, 10, "█·········"},
		{0, 0, 0, "█·········"},
	} {
		if got := bar(c.from*time.Second, c.took*time.Second, c.whole*time.Second, 10); got != c.want {
			t.Errorf("%v: %s, want %s", c, got, c.want)
		}
	}
	// A day and more of nanoseconds times the width still fits.
	if got := bar(47*time.Hour, time.Hour, 48*time.Hour, 32); !strings.HasPrefix(got, "····") || utf8.RuneCountInString(got) != 32 {
		t.Errorf("%s", got)
	}
}

func TestShowSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 ms", 999 * time.Millisecond: "999 ms", 1500 * time.Millisecond: "1.5 s", 61 * time.Second: "1 min 1 s", 3*time.Hour + 5*time.Minute: "3 h 5 min", -1: "?",
	} {
		if got := showSpan(d); got != want {
			t.Errorf("%d: %s, want %s", d, got, want)
		}
	}
}

func TestStanding(t *testing.T) {
	kernel := func(bytes, total int64, done bool) []attemptStage {
		return []attemptStage{{Name: "kernel", Bytes: bytes, Total: total, Done: done}}
	}
	for want, a := range map[string]attempt{
		"booted":                 {State: "booted", At: "system"},
		"stalled at offer":       {State: "stalled", At: "offer"},
		"running":                {State: "running"},
		"running at kernel 50 %": {State: "running", At: "kernel", Stages: kernel(1, 2, false)},
		"running at kernel":      {State: "running", At: "kernel", Stages: kernel(2, 2, true)},
		"running at files":       {State: "running", At: "files", Stages: kernel(1, 2, false)},
		"failed at kernel":       {State: "failed", At: "kernel", Stages: kernel(9, 2, false)},
	} {
		if got := a.standing(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	for want, a := range map[string]attempt{"n": {Name: "n", MAC: "m", Machine: "i", UUID: "u"}, "m": {MAC: "m", Machine: "i"}, "i": {Machine: "i", UUID: "u"}, "u": {UUID: "u"}} {
		if got := a.machine(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestSeverities: a word that nobody knows is no good news.
func TestSeverities(t *testing.T) {
	for word, want := range map[string]int{"info": exitOK, "warning": exitWarning, "critical": exitCritical, "": exitCritical, "apocalyptic": exitCritical} {
		if got := statusOf(severityOf(word)); got != want {
			t.Errorf("%s: %d, want %d", word, got, want)
		}
	}
	if statusOf(errors.Join(errBad)) != exitBad {
		t.Error("bad news lost its status")
	}
}

// TestOmittedEvents: where the box has left events out, the story says so, once
// and in the right place.
func TestOmittedEvents(t *testing.T) {
	a := attempt{Start: boxTime, Omitted: 7}
	for i := range maxEvents {
		a.Events = append(a.Events, event{Kind: "offer", Time: boxTime.Add(time.Duration(i) * time.Second)})
	}
	a.Events[20].Time = a.Events[20].Time.Add(20 * 24 * time.Hour) // from 1970 to now
	var b bytes.Buffer
	a.printEvents(&b)
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	if got := lines[1+maxEvents/4]; !strings.Contains(got, "7 events are not kept") || strings.Count(b.String(), "not kept") != 1 {
		t.Errorf("%s\n%s", got, b.String())
	}
	if strings.Count(b.String(), "the clock of the box was set") != 2 || strings.Contains(b.String(), "nothing for 4") {
		t.Errorf("%s", b.String())
	}
}

// FuzzBootStory: no boot, however strange, steers the terminal or breaks the
// program.
func FuzzBootStory(f *testing.F) {
	for _, d := range fakeAttempts() {
		raw, err := json.Marshal(d)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Add([]byte(`{"took_ns":-9223372036854775808,"stages":[{"took_ns":9223372036854775807,"first":"0001-01-01T00:00:00Z","bytes":9223372036854775807,"total":1}],"events":[{}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var a attempt
		if json.Unmarshal(raw, &a) != nil {
			return
		}
		var b bytes.Buffer
		a.print(&b)
		printFailures(&b, 2, []failed{{Attempt: a}})
		for _, v := range a.Verdicts {
			v.print(&b, false)
		}
		for _, r := range b.String() {
			if r != '\n' && hostile(r) {
				t.Fatalf("%U in %q", r, b.String())
			}
		}
	})
}

// FuzzLANStory: the same for the network.
func FuzzLANStory(f *testing.F) {
	f.Add([]byte(`{"servers":[{"server":"x\u001b","classes":["\u202e"]}],"ports":[{"neighbour":{"system":"\u0007"}}],"twins":[{}],"gateways":[{}],"conflicts":[{}],"probes":[{"error":"\u009b"}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var l lanDoc
		if json.Unmarshal(raw, &l) != nil {
			return
		}
		var b bytes.Buffer
		l.print(&b)
		for _, r := range b.String() {
			if r != '\n' && hostile(r) {
				t.Fatalf("%U in %q", r, b.String())
			}
		}
	})
}
