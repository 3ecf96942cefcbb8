package journal

import (
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// How long a machine may be silent before its boot counts as over. Each is longer
// than the longest pause of firmware that goes on after all.
const (
	// quietDHCP: DISCOVERs are repeated after 4, 8, 16 and 32 s (PXE 2.1 section
	// 2.2.4); after the last one firmware listens for as long as that again.
	quietDHCP = 90 * time.Second
	// quietAsk: requests on port 4011 and size probes follow each other in seconds.
	quietAsk = 60 * time.Second
	// quietTransfer: servers tell of a transfer every other second, and of its end.
	quietTransfer = 2 * time.Minute
	// quietError: what a machine tries next after an error comes at once, but a
	// message on its screen may wait for a person some time.
	quietError = time.Minute
	// quietScript: after its script iPXE fetches, or says why not.
	quietScript = 90 * time.Second
	// quietLocal: the way to the disk takes a moment, and the box is told of it.
	quietLocal = 30 * time.Second
	// quietMenu: a menu may be shown for boot.MaxMenuSeconds.
	quietMenu = boot.MaxMenuSeconds*time.Second + 5*time.Minute
	// quietBooted: a program that was fetched whole and started has no duty to
	// speak. One that failed to start sends the machine back to its firmware
	// within this time.
	quietBooted = 2 * time.Minute
	// quietPi: a Raspberry Pi that cannot start its kernel begins again sooner.
	quietPi = time.Minute
	// quietArmed: an installation has to speak: for an address, an answer file, or
	// to report.
	quietArmed = 15 * time.Minute
	// quietAlive: an armed installation that gave a sign, but whose installer does
	// not report.
	quietAlive = 30 * time.Minute
	// stayOpen: installers report for hours. What a system says by itself joins a
	// boot that is over for quietArmed, and one that ended badly not at all.
	stayOpen = 6 * time.Hour
	// quietSystem: an operating system asked for an address, so firmware is done.
	quietSystem = 5 * time.Second
	// contrary: a machine whose firmware comes back so soon after its kernel did not
	// run it.
	contrary = 5 * time.Minute
)

// outcome is how an attempt stands.
type outcome struct {
	state boot.AttemptState
	final bool
}

var (
	running = outcome{state: boot.AttemptRunning}
	booted  = outcome{boot.AttemptBooted, true}
	local   = outcome{boot.AttemptLocal, true}
	ignored = outcome{boot.AttemptIgnored, true}
	stalled = outcome{boot.AttemptStalled, true}
	failed  = outcome{boot.AttemptFailed, true}
)

// after is o once the machine has been silent for d, and running before.
func (o outcome) after(idle, d time.Duration) outcome {
	if idle < d {
		return running
	}
	return o
}

// outcome draws the conclusion from what was seen and how long the machine has
// been silent. It changes nothing.
func (t *try) outcome(idle time.Duration) outcome {
	a := &t.a
	kernel, files := a.Stage(boot.StageKernel), a.Stage(boot.StageFiles)
	whole := t.complete()
	switch {
	case t.callback == boot.CallbackFailed:
		return failed
	case t.callback == boot.CallbackDone:
		return booted
	case t.calls:
		// The installer reports, so it will report the end too.
		if idle >= stayOpen {
			return stalled
		}
		return outcome{state: boot.AttemptBooted}
	case t.left == leaveFailed:
		return failed
	case t.left == leaveEnded && kernel.Count > 0:
		return booted
	case t.left != leaveNot && !t.life:
		return local
	case t.lives(whole):
		return t.alive(idle)
	case whole:
		return t.silent(idle)
	case kernel.Count > 0:
		s := kernel
		if files.Count > 0 && (kernel.Done || !files.Done) {
			s = files
		}
		return t.fetching(s, idle)
	case a.Reached(boot.StageScript):
		return t.scripted(idle)
	}
	return t.early(idle)
}

// lives says whether what was booted gave a sign of life: something that only it
// can have sent. Nothing else counts: without a target that was fetched, what
// speaks is the system on the disk.
func (t *try) lives(whole bool) bool {
	a := &t.a
	switch {
	case !t.life:
		return false
	case a.Reached(boot.StageAnswer): // its address is a secret of this boot
		return a.Reached(boot.StageKernel) || a.Stage(boot.StageScript).Done || t.isPi()
	}
	return whole
}

// alive: it runs. An armed installation is over when it says so.
func (t *try) alive(idle time.Duration) outcome {
	if t.a.Armed && idle < quietAlive {
		return outcome{state: boot.AttemptBooted}
	}
	return booted
}

// silent: everything was fetched whole, and nothing was heard since.
func (t *try) silent(idle time.Duration) outcome {
	switch {
	case t.isPi():
		return booted.after(idle, quietPi)
	case t.a.Armed:
		return stalled.after(idle, quietArmed)
	}
	return booted.after(idle, quietBooted)
}

// fetching: a file did not come to its end, or not yet.
func (t *try) fetching(s boot.Stage, idle time.Duration) outcome {
	switch s.Reason {
	case boot.ReasonNone:
		return stalled.after(idle, quietTransfer)
	case boot.ReasonClientSilent:
		return stalled.after(idle, quietError)
	default:
		return failed.after(idle, quietError)
	}
}

// scripted: the machine has its script.
func (t *try) scripted(idle time.Duration) outcome {
	s := t.a.Stage(boot.StageScript)
	if !s.Done {
		return t.fetching(s, idle)
	}
	switch system := t.a.Reached(boot.StageSystem); {
	case t.a.Elsewhere && !t.a.Armed:
		// What it fetches there the box cannot see: nothing speaks against it. Had a
		// step failed, its script would have said so.
		if system {
			return booted
		}
		return booted.after(idle, quietScript)
	case t.a.Action == boot.ActionBoot || t.a.Action == boot.ActionArmed:
		return stalled.after(idle, quietScript)
	case system:
		return local
	case t.a.Action == boot.ActionLocal || t.a.Action == boot.ActionSilent:
		return local.after(idle, quietLocal)
	}
	return stalled.after(idle, quietMenu)
}

// early: the machine has no script yet.
func (t *try) early(idle time.Duration) outcome {
	a := &t.a
	loader, autoexec := a.Stage(boot.StageLoader), a.Stage(boot.StageAutoexec)
	spoke := t.speaksIPXE()
	switch {
	case autoexec.Count > 0 && !autoexec.Done && (!spoke || !loader.Done):
		return t.fetching(autoexec, idle)
	case autoexec.Count > 0, loader.Count > 0 && spoke:
		return stalled.after(idle, quietError)
	case loader.Count > 0 && loader.Done:
		return stalled.after(idle, boot.StartTime)
	case loader.Count > 0:
		return t.fetching(loader, idle)
	case a.Reached(boot.StageProbe), a.Reached(boot.StageAsk):
		return stalled.after(idle, quietAsk)
	}
	quiet := quietDHCP
	if a.Reached(boot.StageSystem) {
		quiet = quietSystem
	}
	switch {
	case t.answered:
		return stalled.after(idle, quiet)
	case t.purpose != boot.ReasonNone:
		return ignored.after(idle, quiet)
	case t.refused != boot.ReasonNone:
		return failed.after(idle, quiet)
	}
	return stalled.after(idle, quiet)
}

// speaksIPXE says whether iPXE was heard after a loader was fetched.
func (t *try) speaksIPXE() bool {
	for _, f := range t.a.Firmwares {
		if f == boot.FirmwareIPXE {
			return true
		}
	}
	return false
}

// settle draws the conclusion as of now. An attempt that is over is looked at
// again only when something more was seen of it.
func (t *try) settle(now time.Time) {
	if t.finished() && !t.changed {
		return
	}
	o := t.outcome(now.Sub(t.heard))
	if t.finished() {
		// What ended well stays so, unless the installer says that it failed. What
		// ended badly, and went on, is under way again.
		if !o.final && t.a.State.Bad() || t.a.State == boot.AttemptIgnored && !o.final {
			t.a.State, t.a.End = o.state, time.Time{}
			t.extend()
			t.reach()
			return
		}
		if o.final && o.state != t.a.State && (t.a.State.Bad() || o.state == boot.AttemptFailed && t.callback == boot.CallbackFailed) {
			t.extend()
			t.set(o.state)
		}
		return
	}
	if o.state == t.a.State && !o.final {
		return
	}
	t.set(o.state)
	if o.final {
		t.a.End = now
	}
}

// set moves to another state.
func (t *try) set(s boot.AttemptState) {
	if t.a.State != s {
		t.a.State, t.changed = s, true
	}
	t.reach()
	if s.Bad() {
		t.blame()
	}
}

// blame puts At where it stopped: reports of an installer stand above files that
// it fetched later.
func (t *try) blame() {
	if t.callback == boot.CallbackFailed {
		t.a.At = boot.StageInstaller
	}
}

// supersede concludes an attempt because the machine begins another one: there
// is nothing to wait for any more.
func (t *try) supersede(now time.Time) {
	if t.finished() {
		return
	}
	o := t.outcome(1 << 62)
	a := &t.a
	ran := t.fetched() // when what was booted began to run
	if s := a.Stage(boot.StageInstaller); s.First.After(ran) || t.calls {
		ran = s.First
	}
	switch {
	case a.State == boot.AttemptBooted, t.calls && t.callback == "":
		o = booted // it ran, and was started again
		if now.Sub(ran) < contrary {
			o = stalled // no installation ends so soon without a word
		}
	case o.state == boot.AttemptBooted && !t.life && t.left == leaveNot && now.Sub(ran) < contrary:
		o = stalled
	case o.state == boot.AttemptStalled && a.Stage(boot.StageScript).Done && !a.Reached(boot.StageKernel) &&
		(a.Action == boot.ActionMenu || a.Action == boot.ActionAsk):
		o = local // nothing was chosen in the menu, and the machine was started again
	}
	t.set(o.state)
	t.changed, t.unkept = true, true
	a.End = now
}
