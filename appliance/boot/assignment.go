package boot

import "time"

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
