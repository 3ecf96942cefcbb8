package doctor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

func judgeKernelNotFetched(v *view) (boot.Verdict, bool) {
	var refused *boot.Event
	for i := len(v.events) - 1; i >= 0 && refused == nil; i-- {
		if e := &v.events[i]; (e.Kind == boot.KindScript || e.Kind == boot.KindDecision) && refusing(e.Reason) {
			refused = e
		}
	}
	local := stateSet(v.a.State) == onLocal
	if e := v.stepFailed(); e != nil && refused == nil && !v.targeted() {
		return verdict(boot.Certain, boot.StageScript, "A step of the machine's script failed before anything of the target was fetched from this box: "+word(e.Text)+v.conflictWord(),
			"If the step names another server, check that the machine reaches it; if it names this box, let TCP port 80 through. The machine's screen shows iPXE's own words.",
			evidence(v.scripts, []*boot.Event{e}), v.conflictEvidence()), true
	}
	if refused != nil && !v.targeted() {
		if (local || !v.final) && !v.wanted(refused) {
			return none, false
		}
		return verdict(boot.Certain, boot.StageScript, "The target was not started: "+refused.Reason.Text()+detail(refused),
			refusalFix(refused.Reason), evidence([]*boot.Event{refused})), true
	}
	if local || !v.scripted() || v.scriptFailed() || v.targeted() || v.reported() || !v.final || v.blocking() != nil {
		return none, false
	}
	if (v.a.Action == boot.ActionMenu || v.a.Action == boot.ActionAsk || v.a.Action == boot.ActionArmed) && !v.a.Reached(boot.StageMenu) {
		d := verdict(boot.Likely, boot.StageMenu, "The machine got its menu, and nothing was chosen from it.",
			"Choose at the machine's screen, or assign a profile so that it needs no choice.", evidence(v.scripts))
		d.Severity = boot.SeverityWarning
		return d, true
	}
	what := "The script"
	if v.a.Profile != "" {
		what = "The script of profile " + word(v.a.Profile)
	}
	return verdict(boot.Likely, boot.StageScript, what+" was delivered, and then nothing that it names was fetched from this box."+v.conflictWord(),
		"Look at the machine's screen: iPXE says which address it could not fetch. If the target lies on another server or disk, check that the machine reaches it; this box does not see that.",
		evidence(v.autoexecs, v.scripts), v.conflictEvidence()), true
}

// wanted says whether a refusal kept back something that was to boot, as opposed
// to an assignment that is simply over.
func (v *view) wanted(e *boot.Event) bool {
	switch e.Reason {
	case boot.ReasonNeedsSigned, boot.ReasonNeedsIPXE, boot.ReasonTemplate, boot.ReasonTargetMissing, boot.ReasonStateWait,
		boot.ReasonNotBootableHere, boot.ReasonIdentityAgainst, boot.ReasonIdentityUnproven, boot.ReasonIdentityDoubt,
		boot.ReasonIdentityNewNIC, boot.ReasonRender:
		return true
	default:
		return false
	}
}

func refusalFix(r boot.Reason) string {
	switch r {
	case boot.ReasonNeedsSigned:
		return "Give the machine a profile whose target is signed (loader shim) and mark the target as signed, or switch Secure Boot off."
	case boot.ReasonNeedsIPXE:
		return "Let the box give the machine its own iPXE: remove the rule that keeps it from that."
	case boot.ReasonTargetMissing:
		return "Create or upload what the profile names, or assign another profile."
	case boot.ReasonTemplate, boot.ReasonRender:
		return "Preview the profile for this machine; the error names the line of the template."
	case boot.ReasonDestructive, boot.ReasonAssignExpired, boot.ReasonAssignUsedUp, boot.ReasonDisarmed, boot.ReasonClockUnset:
		return "Arm the machine again if its disk is to be overwritten."
	default:
		return "Look at the decision about this machine: it lists every step of the reasoning."
	}
}

// bigFile is the size from which on a file is likely to fill a machine's memory,
// in octets.
const bigFile = 256 << 20

func judgeNeedsMemory(v *view) (boot.Verdict, bool) {
	const fix = "Give the machine more memory, or assign a smaller target. An image that is fetched whole needs its size and about 1 GB more; one that is mounted over the network does not."
	if _, ok := v.refusedWith(boot.ReasonNeedsMemory); ok {
		e := v.refusal(boot.ReasonNeedsMemory)
		return verdict(boot.Certain, boot.StageScript, boot.ReasonNeedsMemory.Text()+detail(e), fix, evidence([]*boot.Event{e})), true
	}
	if stateSet(v.a.State) != onBad {
		return none, false
	}
	e := v.blocking()
	if e == nil || e.Kind != boot.KindHTTP || e.Reason != boot.ReasonInterrupted || e.Total < bigFile || !v.isTarget(e) || !v.quiet(patience/2) {
		return none, false
	}
	// A program without memory stops at the same place every time; a bad line
	// does not.
	ev := []*boot.Event{e}
	conf := boot.Possible
	for _, f := range v.fetches {
		if f == e || f.Reason != boot.ReasonInterrupted || cleaned(f.File) != cleaned(e.File) {
			continue
		}
		if diff := max(f.Bytes-e.Bytes, e.Bytes-f.Bytes); diff <= e.Total/50 {
			conf = boot.Likely
			ev = append(ev, f)
		}
	}
	text := fmt.Sprintf("The machine gave up fetching %s after %s of %s", word(e.File), octets(e.Bytes), octets(e.Total))
	if len(ev) > 1 {
		text += fmt.Sprintf(", %s at about the same place", times(len(ev)))
	}
	return verdict(conf, boot.StageFiles, text+": a file of this size does not fit a machine with little memory.", fix, evidence(ev)), true
}

func judgeFetchBroken(v *view) (boot.Verdict, bool) {
	n := len(v.answers)
	if n > 0 && v.final && v.answers[n-1].Reason != boot.ReasonNone && v.answers[n-1].Reason != boot.ReasonNotFound {
		a := v.answers[n-1]
		return verdict(boot.Certain, boot.StageAnswer, fmt.Sprintf("The answer file %s could not be given: %s", word(a.File), a.Reason.Text()),
			refusalFix(a.Reason), evidence(v.answers)), true
	}
	if stateSet(v.a.State) != onBad {
		return none, false // a target that runs may leave a file half read
	}
	e := v.blocking()
	const fix = "Look at the cable and the switch port of the machine, and at the machine's screen; then start it again. If it stops at the same place every time, it may have too little memory."
	if e != nil && e.Kind != boot.KindScript && e.Reason != boot.ReasonNotFound && v.quiet(patience/4) &&
		(v.isTarget(e) || e.Kind == boot.KindHTTP && part(e.File) != boot.StageAnswer) {
		what, stage := "A file of the target", boot.StageFiles
		if !v.isTarget(e) {
			what, stage = "The boot program", boot.StageLoader
		}
		text := fmt.Sprintf("%s, %s, was not fetched to its end: %s after %s.", what, word(e.File), fetched(e), lasting(e.Duration))
		return verdict(boot.Certain, stage, text+" "+e.Reason.Text()+v.conflictWord(), fix, evidence(v.fetches), v.conflictEvidence()), true
	}
	if !v.final {
		return none, false
	}
	if s := v.stepFailed(); s != nil && e == nil && v.targeted() && !strings.Contains(s.Text, stepStart) && !strings.Contains(s.Text, stepProgram) {
		return verdict(boot.Certain, boot.StageFiles, "A step of the machine's script failed after part of the target was fetched: "+word(s.Text), fix,
			evidence(v.targets(), []*boot.Event{s})), true
	}
	if n := len(v.progress); n > 0 && v.isTarget(v.progress[n-1]) {
		p := v.progress[n-1]
		if p.Total > p.Bytes && !v.fetchedAfter(p) {
			return verdict(boot.Likely, boot.StageFiles, fmt.Sprintf("%s was last seen at %s of %s.", word(p.File), octets(p.Bytes), octets(p.Total)), fix, evidence(v.progress)), true
		}
	}
	if e != nil || len(v.events) > 0 {
		return none, false
	}
	for _, n := range []boot.StageName{boot.StageFiles, boot.StageKernel} {
		if s := v.a.Stage(n); s.Count > 0 && !s.Done && s.Reason != boot.ReasonNotFound && s.Reason != boot.ReasonNone {
			return verdict(boot.Likely, n, fmt.Sprintf("%s was not fetched to its end: %s of %s. %s", word(s.File), octets(s.Bytes), octets(s.Total), s.Reason.Text()), fix), true
		}
	}
	return none, false
}

func fetched(e *boot.Event) string {
	if e.Total > 0 {
		return octets(e.Bytes) + " of " + octets(e.Total)
	}
	return octets(e.Bytes)
}

// report is the latest word of the installer with its event; nil when there is none.
func (v *view) report() *boot.Event {
	if n := len(v.reports); n > 0 {
		return v.reports[n-1]
	}
	return nil
}

func judgeInstallerFailed(v *view) (boot.Verdict, bool) {
	r := v.report()
	if r == nil || r.Reason != boot.ReasonAssignFailed && r.File != string(boot.CallbackFailed) {
		return none, false
	}
	return verdict(boot.Certain, boot.StageInstaller, "The installer reported that it failed: "+word(r.Text),
		"Read the installer's own log on the machine, and the log lines of this boot if it sends them here. Arm the machine again when the cause is removed.", evidence(v.reports)), true
}

func judgeInstallerSilent(v *view) (boot.Verdict, bool) {
	if !v.final || !v.targeted() || v.blocking() != nil || v.a.Reached(boot.StageSystem) || v.stepFailed() != nil {
		return none, false
	}
	if k := v.a.Stage(boot.StageFiles); k.Count > 0 && !k.Done && k.Reason != boot.ReasonNone {
		return none, false
	}
	if r := v.report(); r != nil || v.reported() {
		if r != nil && (r.File == string(boot.CallbackDone) || r.File == string(boot.CallbackFailed) || r.Reason != boot.ReasonNone) {
			return none, false
		}
		what := "sent log lines"
		if r != nil {
			what = "reported " + times(len(v.reports)) + ", last " + word(r.Text)
		}
		return verdict(boot.Likely, boot.StageInstaller, "The installer "+what+", and was not heard of again.",
			"Look at the machine's screen: the installer may wait for an answer, or hang. An answer file that leaves nothing open keeps it from asking.", evidence(v.reports)), true
	}
	if n := len(v.progress); n > 0 && v.progress[n-1].Total > v.progress[n-1].Bytes && v.isTarget(v.progress[n-1]) && !v.fetchedAfter(v.progress[n-1]) {
		return none, false
	}
	return verdict(boot.Likely, boot.StageInstaller, "Kernel and files were fetched whole ("+v.gotWord()+"), and nothing was heard of what was booted: it hangs, or has no driver for its network card.",
		"Look at the machine's screen. Try the kernel's options for the console and the network card in the profile, a newer image, or one with the card's driver or firmware.",
		evidence(v.targets())), true
}

// targets lists the transfers of the target.
func (v *view) targets() []*boot.Event {
	var out []*boot.Event
	for _, e := range v.fetches {
		if v.isTarget(e) {
			out = append(out, e)
		}
	}
	return out
}

// gotWord says how much of the target was fetched.
func (v *view) gotWord() string {
	var files int
	var sum int64
	for _, e := range v.targets() {
		if v.whole(e) {
			files++
			sum += max(e.Bytes, 0)
		}
	}
	if files == 0 {
		files = v.a.Stage(boot.StageKernel).Count + v.a.Stage(boot.StageFiles).Count
		sum = v.a.Stage(boot.StageKernel).Bytes + v.a.Stage(boot.StageFiles).Bytes
	}
	return count(files, "file") + ", " + octets(sum)
}

func judgeBootLoop(v *view) (boot.Verdict, bool) {
	if e := v.refusal(boot.ReasonLoopBreaker); e != nil {
		return verdict(boot.Certain, boot.StageScript, boot.ReasonLoopBreaker.Text(),
			"Find out why the first installation did not report that it was done: the answer file must call back at its end, and the machine must start from its disk then. Arm it again when the disk is to be overwritten once more.",
			evidence([]*boot.Event{e})), true
	}
	if stateSet(v.a.State) != onBad {
		return none, false
	}
	fix := "Find out why it does not go on: the machine's screen, the rest of this verdict, the capture. A rule can keep it from booting from the network for some time (snooze)."
	n := v.firstStages()
	i := slices.IndexFunc(v.others, func(e *boot.Event) bool { return e.Reason == boot.ReasonLoop })
	switch {
	case i >= 0 && n >= loopFetches && v.started():
		return verdict(boot.Certain, boot.StageLoader, fmt.Sprintf("The machine fetched the same first stage again and again (%s in this boot), and it runs: it comes back instead of going on.", times(n)),
			fix, evidence(v.others[i:i+1], v.fetches, v.autoexecs)), true
	case v.a.Again && v.targeted() && v.blocking() == nil && !v.reported() && v.stepFailed() == nil:
		return verdict(boot.Possible, boot.StageKernel, "The machine fetched a whole target within ten minutes of another attempt: it may be starting over and over.", fix, evidence(v.targets())), true
	case n >= loopFetches && v.started() && v.lead != boot.FirmwareRPi:
		return verdict(boot.Likely, boot.StageLoader, fmt.Sprintf("The machine fetched its boot program %s, and it runs each time without going on.", times(n)), fix, evidence(v.fetches)), true
	}
	return none, false
}

// loopFetches is how often the very same first stage must have been fetched whole
// to be a loop. That it was offered as often says only that it was not followed.
const loopFetches = 4

// firstStages is how often the very same first stage was fetched whole: the boot
// program, or for the iPXE in a card's ROM its first script.
func (v *view) firstStages() int {
	seen := map[string]int{}
	most := 0
	count := func(e *boot.Event) {
		seen[cleaned(e.File)]++
		most = max(most, seen[cleaned(e.File)])
	}
	for _, e := range v.fetches {
		if v.whole(e) && v.isLoader(e) {
			count(e)
		}
	}
	if most > 0 || v.lead != boot.FirmwareIPXE {
		return most
	}
	for _, e := range v.autoexecs {
		if e.Reason == boot.ReasonNone {
			count(e)
		}
	}
	return most
}

func judgeBooted(v *view) (boot.Verdict, bool) {
	conf := boot.Likely
	var how []string
	if v.a.Profile != "" {
		how = append(how, "profile "+word(v.a.Profile))
	}
	if v.targeted() {
		how = append(how, v.gotWord())
	}
	sign := "nothing speaks against it"
	switch r := v.report(); {
	case r != nil:
		conf, sign = boot.Certain, "the installer reported "+word(r.Text)
	case v.reported():
		conf, sign = boot.Certain, "its log lines arrived"
	case v.a.Reached(boot.StageSystem):
		conf, sign = boot.Certain, "its operating system asked for an address"
	}
	text := "The machine booted"
	if v.a.Elsewhere && !v.targeted() && conf == boot.Likely {
		// A step that fails there is told by the script; a hang is not.
		conf, text, sign = boot.Possible, "The machine was handed over", "what it boots comes from another server, of which this box sees nothing"
	}
	if len(how) > 0 {
		text += " (" + strings.Join(how, ", ") + ")"
	}
	if v.a.Took > 0 {
		text += " within " + lasting(v.a.Took)
	}
	d := verdict(conf, v.a.At, text+"; "+sign+".", "", evidence(v.reports))
	d.Severity = boot.SeverityInfo
	return d, true
}

func judgeLeftLocal(v *view) (boot.Verdict, bool) {
	conf := boot.Likely
	for i := range v.events {
		e := &v.events[i]
		if e.Kind == boot.KindDecision && e.Action == boot.ActionLocal {
			conf = boot.Certain
		}
	}
	if v.left != nil || v.a.Action == boot.ActionLocal || v.a.Reached(boot.StageSystem) {
		conf = boot.Certain
	}
	text := boot.ReasonLeftLocal.Text()
	switch v.a.Action {
	case boot.ActionMenu, boot.ActionAsk, boot.ActionArmed:
		text = "The machine got its menu and then went on to its local disk, which is what the menu does when nothing else is chosen."
	case boot.ActionLocal, boot.ActionBoot, boot.ActionSilent:
	}
	d := verdict(conf, v.a.At, text, "", evidence(v.scripts, []*boot.Event{v.left}))
	d.Severity = boot.SeverityInfo
	return d, true
}

func judgeIgnored(v *view) (boot.Verdict, bool) {
	bad := stateSet(v.a.State) == onBad
	if bad && (len(v.mute) == 0 || !v.final || v.offered() || v.fetched() || len(v.acks) > 0) {
		return none, false
	}
	reason := v.a.Stage(boot.StageDiscover).Reason
	if n := len(v.mute); n > 0 {
		reason = v.mute[n-1].Reason
	}
	text, fix, sev := "The box did not answer this machine.", "", boot.SeverityInfo
	if reason != boot.ReasonNone {
		text = "The box did not answer this machine: " + reason.Text()
	}
	switch reason {
	case boot.ReasonPolicy, boot.ReasonDenied:
		fix = "Nothing, if that is meant. Otherwise change the rule or the deny-list, or end the snooze."
	case boot.ReasonUnknownIgnored:
		fix = "Add the machine, or allow unknown machines."
	case boot.ReasonObserve:
		fix = "Switch observe mode off when the box is to answer."
	case boot.ReasonStandby:
		fix = "Nothing: the other bootpuck answers."
	case boot.ReasonArch, boot.ReasonNoLoader:
		sev = boot.SeverityWarning
		fix = "Put a boot program for this architecture" + v.archWord() + " into the files directory and name it in a rule, or have a rule take the machine for another architecture."
	case boot.ReasonGUID:
		sev = boot.SeverityWarning
		fix = "Switch on the setting lenient-guid, or update the machine's firmware."
	case boot.ReasonTooLong:
		sev = boot.SeverityWarning
		fix = "Shorten the boot file's name or base-url."
	case boot.ReasonRelay:
		sev = boot.SeverityWarning
		fix = "Add the relay's address to the setting relays.allow."
	default:
		if reason != boot.ReasonNone {
			sev = boot.SeverityWarning
			fix = "Look at the health and the log of the box."
		}
	}
	d := verdict(boot.Certain, boot.StageDiscover, text, fix, evidence(v.mute))
	if !bad {
		d.Severity = sev
	}
	return d, true
}

// unexplained is what is said of a boot that stopped for no reason that was seen.
func unexplained(v *view) boot.Verdict {
	text := "The boot stopped after " + stageWord(v.a.At) + ", and nothing that was seen says why."
	if v.a.At == "" {
		text = "The boot stopped, and nothing that was seen says why."
	}
	var last []*boot.Event
	for i := max(len(v.events)-4, 0); i < len(v.events); i++ {
		last = append(last, &v.events[i])
	}
	d := verdict(boot.Possible, v.a.At, text, "Look at the machine's screen, and at the capture of this boot.", evidence(last))
	d.Name = boot.ReasonUnexplained
	return d
}
