package boot

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

var (
	noon   = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	wiping = Target{Name: "debian", Kind: TargetLinux, Kernel: "linux", Destructive: true}
	live   = Target{Name: "live", Kind: TargetLinux, Kernel: "linux"}
)

// armed is a fresh assignment of a target.
func armed(t testing.TB, target Target, boots int) Assignment {
	t.Helper()
	a, errs := NewAssignment(Assignment{Profile: "p", Mode: AssignArmed, Boots: boots}, target, "K7Q2", noon)
	if errs != nil {
		t.Fatal(errs)
	}
	return a
}

func TestNewAssignment(t *testing.T) {
	got := armed(t, wiping, 0)
	want := Assignment{
		Profile: "p", Mode: AssignArmed, Target: "debian", Destructive: true, Expires: noon.Add(4 * time.Hour), Boots: 1, Code: "K7Q2",
		State: AssignWaiting, Created: noon,
	}
	if got != want {
		t.Errorf("got %+v", got)
	}
	// What a request says about state is not believed.
	got, errs := NewAssignment(Assignment{
		Profile: "p", Mode: AssignOnce, Code: "x", State: AssignDone, Created: noon.Add(time.Hour), Used: 3, Started: noon,
		Finished: noon, Progress: "x", Attempt: "x", Target: "x", Destructive: true,
	}, live, "K7Q2", noon)
	if want := (Assignment{Profile: "p", Mode: AssignOnce, Target: "live", State: AssignWaiting, Created: noon}); errs != nil || got != want {
		t.Errorf("got %+v, %v", got, errs)
	}
	for _, c := range []struct {
		name string
		a    Assignment
		t    Target
		code string
		want string
	}{
		{"wiping always", Assignment{Profile: "p", Mode: AssignAlways}, wiping, "", "mode"},
		{"wiping once", Assignment{Profile: "p", Mode: AssignOnce}, wiping, "", "mode"},
		{"no profile", Assignment{Mode: AssignOnce}, live, "", "profile"},
		{"profile that is none", Assignment{Profile: "../x", Mode: AssignOnce}, live, "", "profile"},
		{"no mode", Assignment{Profile: "p"}, live, "", "mode"},
		{"no mode, wiping", Assignment{Profile: "p"}, wiping, "", "mode"},
		{"unknown mode", Assignment{Profile: "p", Mode: "twice"}, live, "", "mode"},
		{"once does not expire", Assignment{Profile: "p", Mode: AssignOnce, Expires: noon.Add(1)}, live, "", "expires"},
		{"always is not counted", Assignment{Profile: "p", Mode: AssignAlways, Boots: 1}, live, "", "boots"},
		{"expired", Assignment{Profile: "p", Mode: AssignArmed, Expires: noon}, wiping, "K", "expires"},
		{"expires in a year", Assignment{Profile: "p", Mode: AssignArmed, Expires: noon.Add(MaxArmTime + 1)}, wiping, "K", "expires"},
		{"no boots", Assignment{Profile: "p", Mode: AssignArmed, Boots: -1}, wiping, "K", "boots"},
		{"many boots", Assignment{Profile: "p", Mode: AssignArmed, Boots: MaxBoots + 1}, wiping, "K", "boots"},
		{"no code", Assignment{Profile: "p", Mode: AssignArmed}, wiping, "", "code"},
	} {
		got, errs := NewAssignment(c.a, c.t, c.code, noon)
		if fieldsOf(errs) != c.want || got != (Assignment{}) {
			t.Errorf("%s: %v, %+v", c.name, errs, got)
		}
	}
	if got = armed(t, live, 3); got.Boots != 3 {
		t.Errorf("%d boots of 3", got.Boots)
	}
	_, errs = NewAssignment(Assignment{Profile: "p", Mode: AssignArmed, Expires: noon.AddDate(1, 0, 0)}, wiping, "K", noon)
	if len(errs) != 1 || !strings.Contains(errs[0].What, "30 days") {
		t.Error(errs)
	}
	for _, a := range []Assignment{
		{Profile: "p", Mode: AssignAlways},
		{Profile: "p", Mode: AssignArmed, Expires: noon.Add(1), Boots: 1},
		{Profile: "p", Mode: AssignArmed, Expires: noon.Add(MaxArmTime), Boots: MaxBoots},
	} {
		if _, errs := NewAssignment(a, live, "K", noon); errs != nil {
			t.Errorf("%+v: %v", a, errs)
		}
	}
}

func TestDue(t *testing.T) {
	type change func(*Assignment)
	state := func(s AssignState) change { return func(a *Assignment) { a.State = s } }
	for _, c := range []struct {
		name   string
		mode   AssignMode
		target Target
		with   change
		after  time.Duration
		ok     bool
		reason Reason
		next   AssignState // empty: unchanged
	}{
		{"armed", AssignArmed, wiping, nil, 0, true, "", ""},
		{"armed, the last moment", AssignArmed, wiping, nil, ArmTime - 1, true, "", ""},
		{"armed, too late", AssignArmed, wiping, nil, ArmTime, false, ReasonAssignExpired, AssignExpired},
		{"armed, harmless, too late", AssignArmed, live, nil, ArmTime, false, ReasonAssignExpired, AssignExpired},
		{"armed without end", AssignArmed, wiping, func(a *Assignment) { a.Expires = time.Time{} }, 0, false, ReasonAssignExpired, AssignExpired},
		{"armed for years", AssignArmed, wiping, func(a *Assignment) { a.Expires = noon.AddDate(9, 0, 0) }, MaxArmTime - 1, true, "", ""},
		{"armed for years, much later", AssignArmed, wiping, func(a *Assignment) { a.Expires = noon.AddDate(9, 0, 0) }, MaxArmTime, false, ReasonAssignExpired, AssignExpired},
		{"the clock was corrected", AssignArmed, wiping, nil, -clockSlack, true, "", ""},
		{"the clock was lost", AssignArmed, wiping, nil, -clockSlack - 1, false, ReasonClockUnset, ""},
		{"the clock was lost, harmless", AssignArmed, live, nil, -time.Hour * 24 * 365, false, ReasonClockUnset, ""},

		{"loop", AssignArmed, wiping, state(AssignRunning), time.Minute, false, ReasonLoopBreaker, AssignStopped},
		{"loop, boots left", AssignArmed, wiping, func(a *Assignment) { a.State, a.Boots, a.Used = AssignRunning, 10, 1 }, time.Minute, false, ReasonLoopBreaker, AssignStopped},
		{"loop, a day later", AssignArmed, wiping, state(AssignRunning), 24 * time.Hour, false, ReasonLoopBreaker, AssignStopped},
		{"loop, by the count alone", AssignArmed, wiping, func(a *Assignment) { a.Used, a.Boots = 1, 10 }, 0, false, ReasonLoopBreaker, AssignStopped},
		{"harmless installer restarts", AssignArmed, live, func(a *Assignment) { a.State, a.Used, a.Boots = AssignRunning, 1, 2 }, time.Minute, true, "", ""},
		{"harmless installer restarts late", AssignArmed, live, func(a *Assignment) { a.State, a.Used, a.Boots = AssignRunning, 1, 2 }, 2 * ArmTime, true, "", ""},
		{"harmless installer restarts too often", AssignArmed, live, func(a *Assignment) { a.State, a.Used, a.Boots = AssignRunning, 2, 2 }, time.Minute, false, ReasonAssignUsedUp, AssignUsedUp},
		{"no boots at all", AssignArmed, wiping, func(a *Assignment) { a.Boots = 0 }, 0, false, ReasonAssignUsedUp, AssignUsedUp},
		{"the target has become destructive while it ran", AssignArmed, Target{Name: "live", Destructive: true}, func(a *Assignment) { a.State, a.Used, a.Boots, a.Destructive = AssignRunning, 1, 5, false }, 0, false, ReasonDestructive, ""},

		{"done", AssignArmed, wiping, state(AssignDone), 0, false, "", ""},
		{"failed", AssignArmed, wiping, state(AssignFailed), 0, false, ReasonAssignFailed, ""},
		{"expired", AssignArmed, wiping, state(AssignExpired), 0, false, ReasonAssignExpired, ""},
		{"used up", AssignArmed, wiping, state(AssignUsedUp), 0, false, ReasonAssignUsedUp, ""},
		{"stopped", AssignArmed, wiping, state(AssignStopped), 0, false, ReasonLoopBreaker, ""},
		{"disarmed", AssignArmed, wiping, state(AssignDisarmed), 0, false, ReasonDisarmed, ""},
		{"a document says armed", AssignArmed, wiping, state(""), 0, false, ReasonDisarmed, ""},
		{"a state of a later version", AssignArmed, wiping, state("paused"), 0, false, ReasonDisarmed, ""},

		{"the profile has another target now", AssignArmed, Target{Name: "other", Destructive: true}, func(a *Assignment) { a.Target = "debian" }, 0, false, ReasonDestructive, ""},
		{"the target has become destructive", AssignArmed, Target{Name: "live", Destructive: true}, func(a *Assignment) { a.Destructive = false }, 0, false, ReasonDestructive, ""},
		{"a harmless target instead of the wiping one", AssignArmed, live, func(a *Assignment) { a.Target, a.Destructive = "debian", true }, 0, true, "", ""},

		{"once", AssignOnce, live, nil, 0, true, "", ""},
		{"once, from a document", AssignOnce, live, state(""), 0, true, "", ""},
		{"once, years later", AssignOnce, live, nil, 99999 * time.Hour, true, "", ""},
		{"once, again", AssignOnce, live, state(AssignDone), 0, false, "", ""},
		{"once, running", AssignOnce, live, state(AssignRunning), 0, false, "", ""},
		{"once, used", AssignOnce, live, func(a *Assignment) { a.Used = 1 }, 0, false, "", ""},
		{"once, disarmed", AssignOnce, live, state(AssignDisarmed), 0, false, ReasonDisarmed, ""},
		{"once, wiping", AssignOnce, wiping, nil, 0, false, ReasonDestructive, ""},
		{"always", AssignAlways, live, nil, 0, true, "", ""},
		{"always, again", AssignAlways, live, func(a *Assignment) { a.State, a.Used = AssignRunning, 1000 }, 0, true, "", ""},
		{"always, disarmed", AssignAlways, live, state(AssignDisarmed), 0, false, ReasonDisarmed, ""},
		{"always, wiping", AssignAlways, wiping, nil, 0, false, ReasonDestructive, ""},
		{"no mode", "", live, nil, 0, false, ReasonTargetMissing, ""},
		{"no mode, wiping", "", wiping, nil, 0, false, ReasonDestructive, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := Assignment{Profile: "p", Mode: c.mode, State: AssignWaiting, Created: noon, Target: c.target.Name, Destructive: c.target.Destructive}
			if c.mode == AssignArmed {
				a = armed(t, c.target, 0)
			}
			if c.with != nil {
				c.with(&a)
			}
			before, now := a, noon.Add(c.after)
			ok, next, reason := a.Due(c.target, now)
			if ok != c.ok || reason != c.reason {
				t.Errorf("%v, %q", ok, reason)
			}
			want := before
			if c.next != "" {
				want.State, want.Finished = c.next, now
			}
			if next != want {
				t.Errorf("next %+v, want %+v", next, want)
			}
			if ok2, next2, _ := next.Due(c.target, now); c.next != "" && (ok2 || next2 != next) {
				t.Errorf("asked again: %v, %+v", ok2, next2)
			}
		})
	}
}

func TestOneInstallation(t *testing.T) {
	a := armed(t, wiping, 5)
	a = a.Begin("one", noon.Add(time.Minute))
	if a.State != AssignRunning || a.Used != 1 || a.Attempt != "one" || !a.Started.Equal(noon.Add(time.Minute)) || a.Over() {
		t.Fatalf("begun: %+v", a)
	}
	if nameless := armed(t, wiping, 1).Begin("", noon); nameless.Used != 1 || nameless.State != AssignRunning {
		t.Errorf("an attempt without a name is not counted: %+v", nameless)
	}
	if again := a.Begin("one", noon.Add(2*time.Minute)); again != a {
		t.Errorf("the same attempt counts twice: %+v", again)
	}
	a = a.Report(CallbackStarted, "", noon)
	if a.Progress != "started" || a.State != AssignRunning {
		t.Errorf("started: %+v", a)
	}
	if a = a.Report(CallbackProgress, " formatting\n\tsda ", noon); a.Progress != "formatting sda" {
		t.Errorf("progress %q", a.Progress)
	}
	if a = a.Report(CallbackLog, "log", noon); a.Progress != "log" || a.State != AssignRunning || !a.Finished.IsZero() {
		t.Errorf("log: %+v", a)
	}
	if a = a.Report(CallbackLog, "", noon); a.Progress != "log" {
		t.Errorf("nothing said wipes what was said: %q", a.Progress)
	}
	end := noon.Add(time.Hour)
	if a = a.Report(CallbackDone, "", end); a.State != AssignDone || !a.Finished.Equal(end) || a.Progress != "done" || !a.Over() {
		t.Errorf("done: %+v", a)
	}
	if b := a.Report(CallbackFailed, "too late", end.Add(1)); b.State != AssignDone || !b.Finished.Equal(end) {
		t.Errorf("failed after done: %+v", b)
	}
	if b := a.Begin("two", end); b != a {
		t.Errorf("begun after done: %+v", b)
	}
	if b := a.Disarm(end.Add(1)); b != a {
		t.Errorf("disarmed after done: %+v", b)
	}
}

func TestReport(t *testing.T) {
	end := noon.Add(time.Hour)
	for _, c := range []struct {
		name  string
		state AssignState
		cb    Callback
		want  AssignState
	}{
		{"done", AssignRunning, CallbackDone, AssignDone},
		{"failed", AssignRunning, CallbackFailed, AssignFailed},
		{"failed, then done after all", AssignFailed, CallbackDone, AssignDone},
		{"done after the loop breaker", AssignStopped, CallbackDone, AssignDone},
		{"failed after the loop breaker", AssignStopped, CallbackFailed, AssignStopped},
		{"done after it was used up", AssignUsedUp, CallbackDone, AssignDone},
		{"failed after it was used up", AssignUsedUp, CallbackFailed, AssignUsedUp},
		{"failed twice", AssignFailed, CallbackFailed, AssignFailed},
		{"done twice", AssignDone, CallbackDone, AssignDone},
		{"failed after done", AssignDone, CallbackFailed, AssignDone},
		{"done after the operator disarmed it", AssignDisarmed, CallbackDone, AssignDisarmed},
		{"failed after the operator disarmed it", AssignDisarmed, CallbackFailed, AssignDisarmed},
		{"done after it expired", AssignExpired, CallbackDone, AssignExpired},
		{"started again", AssignDone, CallbackStarted, AssignDone},
		{"progress after the loop breaker", AssignStopped, CallbackProgress, AssignStopped},
		{"done before it was armed anew", AssignWaiting, CallbackDone, AssignWaiting},
		{"unknown", AssignRunning, "nonsense", AssignRunning},
	} {
		a := armed(t, wiping, 3)
		a.State, a.Used, a.Attempt = c.state, 1, "one"
		got := a.Report(c.cb, "text", end)
		if got.State != c.want {
			t.Errorf("%s: %s", c.name, got.State)
		}
		// Whatever an installer says, the disk is not overwritten again.
		if ok, _, _ := got.Due(wiping, end); ok {
			t.Errorf("%s: due again", c.name)
		}
		if c.cb == "nonsense" && got != a {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
	a := armed(t, wiping, 1)
	for _, cb := range Callbacks() {
		if got := a.Report(cb, "x", end); got != a {
			t.Errorf("%s of an installer that was never started counts: %+v", cb, got)
		}
	}
	for _, mode := range []AssignMode{AssignOnce, AssignAlways} {
		a, _ := NewAssignment(Assignment{Profile: "p", Mode: mode}, live, "", noon)
		a = a.Begin("one", noon)
		state := a.State
		for _, cb := range []Callback{CallbackDone, CallbackFailed} {
			if got := a.Report(cb, "", end); got.State != state || !got.Finished.Equal(end) || got.Progress != string(cb) {
				t.Errorf("%s: %s gives %+v", mode, cb, got)
			}
		}
	}
}

func TestBeginAndDisarm(t *testing.T) {
	once, _ := NewAssignment(Assignment{Profile: "p", Mode: AssignOnce}, live, "", noon)
	once = once.Begin("one", noon.Add(1))
	if once.State != AssignDone || once.Used != 1 || once.Attempt != "one" || !once.Finished.Equal(noon.Add(1)) {
		t.Errorf("once: %+v", once)
	}
	if again := once.Begin("two", noon); again != once {
		t.Errorf("once, twice: %+v", again)
	}
	always, _ := NewAssignment(Assignment{Profile: "p", Mode: AssignAlways}, live, "", noon)
	always = always.Begin("one", noon).Report(CallbackDone, "", noon).Begin("two", noon.Add(2))
	if always.State != AssignRunning || always.Used != 2 || always.Attempt != "two" || always.Progress != "" || !always.Finished.IsZero() {
		t.Errorf("always: %+v", always)
	}
	twice := armed(t, live, 2).Begin("one", noon).Begin("two", noon)
	if twice.Used != 2 || twice.Attempt != "two" {
		t.Errorf("armed twice: %+v", twice)
	}
	for _, s := range []AssignState{AssignDone, AssignFailed, AssignExpired, AssignUsedUp, AssignStopped, AssignDisarmed} {
		a := armed(t, wiping, 9)
		a.State = s
		if !a.Over() || a.Begin("x", noon) != a || a.Disarm(noon) != a {
			t.Errorf("%s: not over", s)
		}
	}
	for _, s := range []AssignState{AssignWaiting, AssignRunning, ""} {
		a := armed(t, wiping, 9)
		a.State = s
		d := a.Disarm(noon.Add(1))
		if a.Over() || d.State != AssignDisarmed || !d.Finished.Equal(noon.Add(1)) || !d.Over() {
			t.Errorf("%s: %+v", s, d)
		}
		if ok, _, reason := d.Due(wiping, noon); ok || reason != ReasonDisarmed {
			t.Errorf("disarmed and due: %v, %s", ok, reason)
		}
	}
}

func TestProgressIsBounded(t *testing.T) {
	a := armed(t, wiping, 1).Begin("one", noon)
	for _, s := range []string{
		strings.Repeat("x", 1<<20), strings.Repeat("é", 5000), strings.Repeat("\xff", 5000), "a\x1b[31mb\u202e\x00", strings.Repeat(" x", 3000),
		strings.Repeat("\U0001f600", 60),
	} {
		got := a.Report(CallbackProgress, s, noon).Progress
		if got == "" || len(got) > MaxProgress || !isLine(got) || !utf8.ValidString(got) {
			t.Errorf("%d octets: %q", len(got), got)
		}
	}
	for in, want := range map[string]string{
		"\xffa": "?a", "a\x00b": "a?b", strings.Repeat("x", 300): strings.Repeat("x", 197), strings.Repeat("x", 197): strings.Repeat("x", 197),
	} {
		if got := a.Report(CallbackLog, in, noon).Progress; got != want {
			t.Errorf("%q is kept as %q", in, got)
		}
	}
	if text := fmt.Sprint(Callbacks()); text != "[started progress log done failed]" {
		t.Error(text)
	}
	if got := a.Report(CallbackLog, strings.Repeat("x", MaxProgress-4), noon).Progress; len(got) != MaxProgress-4 {
		t.Errorf("%d octets of %d", len(got), MaxProgress-4)
	}
}

// FuzzAssignment plays any order of events: a destructive target is never
// handed out twice on one arming.
func FuzzAssignment(f *testing.F) {
	f.Add([]byte{0, 0, 1, 0}, uint8(3))
	f.Add([]byte{0, 5, 0, 4, 0, 7, 0}, uint8(9))
	f.Fuzz(func(t *testing.T, events []byte, boots uint8) {
		a := armed(t, wiping, int(boots%MaxBoots))
		now, handedOut := noon, 0
		for i, e := range events {
			now = now.Add(time.Duration(e>>3) * time.Minute)
			switch e & 7 {
			case 0, 1, 2:
				ok, next, _ := a.Due(wiping, now)
				a = next
				if ok {
					handedOut++
					a = a.Begin(string(rune('a'+i%26)), now)
				}
			case 3:
				a = a.Disarm(now)
			case 4:
				a = a.Report(CallbackFailed, "x", now)
			case 5:
				a = a.Report(CallbackDone, "x", now)
			case 6:
				a = a.Report(CallbackStarted, string(events), now)
			default:
				now = now.Add(-time.Hour)
			}
		}
		if handedOut > 1 {
			t.Errorf("handed out %d times: %v", handedOut, events)
		}
	})
}
