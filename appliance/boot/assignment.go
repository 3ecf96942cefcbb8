package boot

import (
	"strconv"
	"strings"
	"time"
)

// AssignMode says for how long an assignment counts.
type AssignMode string

// Assignment modes. Destructive targets are reached by armed ones only.
const (
	AssignAlways AssignMode = "always" // every boot
	AssignOnce   AssignMode = "once"   // one boot, then the local disk
	AssignArmed  AssignMode = "armed"  // until done, expired or used up; then the local disk
)

// AssignState is where an assignment stands.
type AssignState string

// Assignment states.
const (
	AssignWaiting  AssignState = "waiting"  // not asked for yet
	AssignRunning  AssignState = "running"  // handed out; the installer has not called back for good
	AssignDone     AssignState = "done"     // once: was booted; armed: the installer said done
	AssignFailed   AssignState = "failed"   // the installer said failed
	AssignExpired  AssignState = "expired"  // its time ran out before it was booted
	AssignUsedUp   AssignState = "used_up"  // booted as often as allowed
	AssignStopped  AssignState = "stopped"  // the loop breaker: asked for again without done
	AssignDisarmed AssignState = "disarmed" // by the operator
)

// Bounds and defaults of armed assignments.
const (
	ArmTime    = 4 * time.Hour // default until an armed assignment expires
	MaxArmTime = 30 * 24 * time.Hour
	ArmBoots   = 1 // default number of boots
	MaxBoots   = 10
)

// Assignment is what one machine is to boot, and what became of it.
type Assignment struct {
	Profile string     `json:"profile"`
	Mode    AssignMode `json:"mode"`
	// Target is the target that the profile had when it was assigned, and
	// Destructive whether the operator was told that it overwrites something. A
	// profile that is changed afterwards does not arm anything else.
	Target      string `json:"target,omitempty"`
	Destructive bool   `json:"destructive,omitempty"`
	// Expires is when an armed assignment ends unless it was booted before.
	Expires time.Time `json:"expires,omitzero"`
	// Boots is how often an armed assignment may be booted. More than one is for
	// installers that restart half-way; the loop breaker still stops a second
	// start of a destructive target without an intervening done.
	Boots int `json:"boots,omitempty"`
	// Code is shown on the client's screen, so that whoever arms a machine and
	// whoever stands before it can tell that they mean the same one.
	Code string `json:"code,omitempty"`

	State    AssignState `json:"state,omitempty"`
	Created  time.Time   `json:"created,omitzero"`
	Used     int         `json:"used,omitempty"` // boots so far
	Started  time.Time   `json:"started,omitzero"`
	Finished time.Time   `json:"finished,omitzero"`
	Progress string      `json:"progress,omitempty"` // last thing the installer said
	// Attempt is the identifier of the running boot; the tokens that the
	// machine holds belong to it.
	Attempt string `json:"attempt,omitempty"`
}

// Callback is what an installer reports.
type Callback string

// Callbacks, as in /cb/<token>/<callback>.
const (
	CallbackStarted  Callback = "started"
	CallbackProgress Callback = "progress"
	CallbackLog      Callback = "log"
	CallbackDone     Callback = "done"
	CallbackFailed   Callback = "failed"
)

// Callbacks lists every callback.
func Callbacks() []Callback {
	return []Callback{CallbackStarted, CallbackProgress, CallbackLog, CallbackDone, CallbackFailed}
}

// MaxProgress is how much is kept of what an installer said last, in octets.
const MaxProgress = 200

// clockSlack is how far the clock may go back without an armed assignment being
// held up: a time server's correction, not a clock that was lost.
const clockSlack = 10 * time.Minute

// NewAssignment checks what an operator wants a machine to boot and makes a
// fresh assignment of it: whatever the request says about state, code and use is
// replaced. t is the target of the profile, code what the machine's screen is to
// show (armed only).
//
// A destructive target needs mode armed. An armed assignment always ends: after
// ArmTime unless told otherwise, at most after MaxArmTime.
func NewAssignment(a Assignment, t Target, code string, now time.Time) (Assignment, FieldErrors) {
	var k checker
	a.check(&k, "")
	if t.Destructive && a.Mode != AssignArmed && a.Mode.valid() {
		k.add("mode", `the target overwrites something: write "armed"`)
	}
	out := Assignment{
		Profile: a.Profile, Mode: a.Mode, Target: t.Name, Destructive: t.Destructive,
		State: AssignWaiting, Created: now,
	}
	if a.Mode == AssignArmed {
		out.Expires, out.Boots, out.Code = a.Expires, a.Boots, code
		if out.Expires.IsZero() {
			out.Expires = now.Add(ArmTime)
		}
		if out.Boots == 0 {
			out.Boots = ArmBoots
		}
		if !out.Expires.After(now) {
			k.add("expires", "is in the past; write a time to come, or leave it out for "+ArmTime.String())
		}
		if out.Expires.After(now.Add(MaxArmTime)) {
			k.add("expires", "is more than "+days(MaxArmTime)+" away; write an earlier time")
		}
		if code == "" {
			k.add("code", "none was made for the machine's screen")
		}
	}
	if len(k.errs) > 0 {
		return Assignment{}, k.errs
	}
	return out, nil
}

func (m AssignMode) valid() bool { return m == AssignAlways || m == AssignOnce || m == AssignArmed }

// check is the structure of an assignment that somebody wrote. prefix goes
// before the fields' names.
func (a Assignment) check(k *checker, prefix string) {
	k.name(prefix+"profile", a.Profile)
	if !a.Mode.valid() {
		k.add(prefix+"mode", "unknown; write always, once or armed")
		return
	}
	if a.Mode != AssignArmed {
		if !a.Expires.IsZero() {
			k.add(prefix+"expires", "counts for armed assignments only; leave it out")
		}
		if a.Boots != 0 {
			k.add(prefix+"boots", "counts for armed assignments only; leave it out")
		}
		return
	}
	k.between(prefix+"boots", a.Boots, 0, MaxBoots) // 0: the default
}

// deadline is when an armed assignment ends. One that says nothing, or more
// than anybody may ask for, does not last for ever.
func (a Assignment) deadline() time.Time {
	if last := a.Created.Add(MaxArmTime); a.Expires.After(last) {
		return last
	}
	return a.Expires
}

// Due says whether the assignment may be handed out now. If not, r is why, and
// ReasonNone for one that has served its purpose; the machine then boots from
// its own disk. next is the assignment with what has changed by being asked: it
// expired, was used up, or the loop breaker stopped it. The caller keeps it only
// when it knows that this machine asked.
//
// The loop breaker: a destructive target that was handed out is not handed out
// again, whatever the number of boots allows, until the operator arms the
// machine anew. An installer that fails half-way, or a firmware that boots from
// the network first, would otherwise wipe for ever.
func (a Assignment) Due(t Target, now time.Time) (ok bool, next Assignment, r Reason) {
	if t.Destructive && a.Mode != AssignArmed {
		return false, a, ReasonDestructive
	}
	switch a.Mode {
	case AssignAlways:
		if a.State == AssignDisarmed {
			return false, a, ReasonDisarmed
		}
		return true, a, ReasonNone
	case AssignOnce:
		return a.dueOnce()
	case AssignArmed:
		return a.dueArmed(t, now)
	}
	return false, a, ReasonTargetMissing
}

func (a Assignment) dueOnce() (bool, Assignment, Reason) {
	switch a.State {
	case "", AssignWaiting:
		return a.Used == 0, a, ReasonNone
	case AssignDisarmed:
		return false, a, ReasonDisarmed
	default: // it was booted
		return false, a, ReasonNone
	}
}

func (a Assignment) dueArmed(t Target, now time.Time) (bool, Assignment, Reason) {
	switch a.State {
	case AssignDone:
		return false, a, ReasonNone
	case AssignFailed:
		return false, a, ReasonAssignFailed
	case AssignExpired:
		return false, a, ReasonAssignExpired
	case AssignUsedUp:
		return false, a, ReasonAssignUsedUp
	case AssignStopped:
		return false, a, ReasonLoopBreaker
	case AssignWaiting, AssignRunning:
	default:
		// AssignDisarmed; or no state at all: somebody wrote "armed" into a
		// document, which arms nothing. NewAssignment does.
		return false, a, ReasonDisarmed
	}
	if t.Destructive && (!a.Destructive || a.Target != t.Name) {
		// What the operator armed was something else, or harmless then.
		return false, a, ReasonDestructive
	}
	if now.Before(a.Created.Add(-clockSlack)) {
		// The clock is not the one by which the machine was armed, so nobody
		// can tell whether the time is over.
		return false, a, ReasonClockUnset
	}
	switch {
	case t.Destructive && (a.State == AssignRunning || a.Used > 0):
		return false, a.end(AssignStopped, now), ReasonLoopBreaker
	case a.State == AssignWaiting && !now.Before(a.deadline()):
		return false, a.end(AssignExpired, now), ReasonAssignExpired
	case a.Used >= a.Boots:
		return false, a.end(AssignUsedUp, now), ReasonAssignUsedUp
	}
	return true, a, ReasonNone
}

func (a Assignment) end(s AssignState, now time.Time) Assignment {
	a.State, a.Finished = s, now
	return a
}

// Over says whether the assignment has ended and stays so until the operator
// assigns again.
func (a Assignment) Over() bool {
	switch a.State {
	case AssignDone, AssignFailed, AssignExpired, AssignUsedUp, AssignStopped, AssignDisarmed:
		return true
	default:
		return false
	}
}

// Disarm ends the assignment by the operator's word. One that has ended stays as
// it ended.
func (a Assignment) Disarm(now time.Time) Assignment {
	if a.Over() {
		return a
	}
	return a.end(AssignDisarmed, now)
}

// Begin records that the assignment was handed out under the identifier of an
// attempt. It is to be stored durably before the machine gets the answer: a
// power cut in between then costs a boot, not a disk. The same attempt counts
// once. One that has ended is not begun again.
func (a Assignment) Begin(attempt string, now time.Time) Assignment {
	if a.Over() || a.State == AssignRunning && a.Attempt == attempt {
		return a
	}
	a.Used++
	a.Attempt, a.Started, a.Finished, a.Progress = attempt, now, time.Time{}, ""
	a.State = AssignRunning
	if a.Mode == AssignOnce {
		a = a.end(AssignDone, now)
	}
	return a
}

// Report records an installer's callback; text is what it said, cut to
// MaxProgress printable octets. The caller has made sure that it belongs to this
// attempt. No callback ever makes an assignment due that is not.
func (a Assignment) Report(cb Callback, text string, now time.Time) Assignment {
	if a.Attempt == "" {
		return a // never handed out: whoever calls is not its installer
	}
	say := func(s string) {
		if s = progress(s); s != "" {
			a.Progress = s
		}
	}
	switch cb {
	case CallbackStarted:
		say(first(text, "started"))
	case CallbackProgress, CallbackLog:
		say(text)
	case CallbackDone:
		say(first(text, "done"))
		a = a.finish(AssignDone, now)
	case CallbackFailed:
		say(first(text, "failed"))
		a = a.finish(AssignFailed, now)
	}
	return a
}

// finish sets how an attempt ended. What the operator or the clock ended, and
// what counts for ever or was booted once, keeps its state.
func (a Assignment) finish(s AssignState, now time.Time) Assignment {
	if a.Mode != AssignArmed {
		a.Finished = now
		return a
	}
	switch a.State {
	case AssignRunning:
		return a.end(s, now)
	case AssignFailed, AssignStopped, AssignUsedUp:
		if s == AssignDone { // the stronger word
			return a.end(s, now)
		}
	default:
	}
	return a
}

// progress cuts what an installer said to one printable line.
func progress(s string) string {
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s[:min(len(s), 4*MaxProgress)], "?")), " ")
	s = strings.Map(func(r rune) rune {
		if !printable(r) {
			return '?'
		}
		return r
	}, s)
	for n := range s {
		if n > MaxProgress-4 {
			return s[:n]
		}
	}
	return s
}

func days(d time.Duration) string { return strconv.Itoa(int(d/(24*time.Hour))) + " days" }
