package ipxe

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// Times of the scripts, in seconds.
const (
	noteSeconds  = 15 // to read why the machine gets something else
	failSeconds  = 30 // to read what failed
	armedSeconds = 10 // to cancel what overwrites a disk
	onceSeconds  = 3  // to cancel what does not
	askEvery     = 3  // between two questions whether the operator has decided
	askSeconds   = 600
)

// Places that begin a plan's own addresses, see the routes of the web server.
const (
	pathStart  = "/x/"
	pathMenu   = "/m/"
	pathWait   = "/w/"
	pathAnswer = "/a/"
)

// Labels at the end of a target's script. An operator's own script may be before
// them, so they are unlikely ones.
const (
	labelPrefix = "bootpuck-"
	labelFailed = labelPrefix + "failed"
	labelEnded  = labelPrefix + "ended"
	labelWrong  = labelPrefix + "wrong"
)

// errNotHere says that what renders cannot boot the kind of target at all.
var errNotHere = errors.New("not bootable by this program")

// Plan appends the iPXE script of a plan for a box at base. The script runs on
// BIOS and UEFI alike and ends, whatever fails, at the local disk. The reason is
// ReasonNone when the script does what the plan says; else it says why not, and
// the script shows that. A plan that is silent has no script.
func (r *Renderer) Plan(dst []byte, p boot.Plan, base string) ([]byte, boot.Reason) {
	if p.Choice.Action == boot.ActionSilent {
		return dst, silentReason(p)
	}
	if CheckBase(base) != nil {
		return r.Refused(dst, boot.ReasonRender, base), boot.ReasonRender
	}
	s := &script{base: base, answers: p.AnswerToken}
	var err error
	switch p.Choice.Action {
	case boot.ActionBoot:
		if p.Choice.Source == boot.SourceSettings && p.Target.Kind == "" {
			return r.builtin(dst, r.configured, p, base)
		}
		err = s.boot(p)
	case boot.ActionArmed:
		err = s.armed(p)
	case boot.ActionMenu:
		t := r.menu
		if p.Choice.Source == boot.SourceSettings {
			t = r.configured
		}
		return r.builtin(dst, t, p, base)
	case boot.ActionLocal:
		s.localPlan(p)
	case boot.ActionAsk:
		err = s.ask(p)
	case boot.ActionSilent: // above
	default:
		err = fmt.Errorf("action %q is unknown", p.Choice.Action)
	}
	if err != nil {
		reason := reasonOf(err)
		return r.Refused(dst, reason, base), reason
	}
	return append(dst, s.b.String()...), boot.ReasonNone
}

// silentReason is why a plan has no text.
func silentReason(p boot.Plan) boot.Reason {
	if p.Choice.Reason != boot.ReasonNone {
		return p.Choice.Reason
	}
	return boot.ReasonPolicy
}

// reasonOf is the reason that stands for an error of rendering.
func reasonOf(err error) boot.Reason {
	if errors.Is(err, errNotHere) {
		return boot.ReasonNotBootableHere
	}
	return boot.ReasonRender
}

// Refused appends a script that says why the machine does not get what it asked
// for and continues to the local disk. Only whoever stands before the machine
// can make it ask again. An empty or malformed base is left out.
func (r *Renderer) Refused(dst []byte, reason boot.Reason, base string) []byte {
	s := &script{}
	s.line("#!ipxe")
	s.say("bootpuck: " + reason.Text())
	again := CheckBase(base) == nil
	pause := "Continuing to the local disk in " + strconv.Itoa(failSeconds) + " seconds."
	if again {
		s.line("prompt --key r --timeout " + millis(failSeconds) + " " + pause + " Press r to ask again. || goto local")
		s.line("chain --autofree --replace --timeout 30000 " + base + "/" + NameBoot + " ||")
		s.line(":local")
	} else {
		s.line("prompt --timeout " + millis(failSeconds) + " " + pause + " ||")
	}
	s.line(leave)
	return append(dst, s.b.String()...)
}

// script is an iPXE script in the making.
type script struct {
	b       strings.Builder
	base    string
	answers string // the plan's token for answer files
	unhook  string // command that detaches a network disk when something fails
	wrong   bool   // something jumps to where the firmware is said to be the wrong one
	ended   bool   // something jumps to where a program has returned
}

func (s *script) line(parts ...string) {
	for _, p := range parts {
		s.b.WriteString(p)
	}
	s.b.WriteByte('\n')
}

// say prints a text of any length after an empty line.
func (s *script) say(text string) {
	s.line("echo")
	for _, l := range wrap(text, 76) {
		s.line(say("echo", l))
	}
}

// step remembers what is being done, for the case that it fails.
func (s *script) step(what string) { s.line("set step ", guard(Tellable(what))) }

// secretParts are parts of addresses that are nobody's business: tokens of a
// machine's own addresses, names and passwords before a host.
var secretParts = [...]struct {
	is *regexp.Regexp
	by string
}{
	{regexp.MustCompile(`/(a|cb|m|w|x)/[^/?\s]{8,}`), "/$1/..."},
	{regexp.MustCompile(`://[^/@\s]*@`), "://"},
}

// Tellable is what may be said of a step on a screen and in a journal: both are
// read by more people than what its address leads to.
func Tellable(step string) string {
	for _, p := range secretParts {
		step = p.is.ReplaceAllString(step, p.by)
	}
	return step
}

// must is a command whose failure ends at the explanation.
func (s *script) must(parts ...string) { s.line(strings.Join(parts, " ") + " || goto " + labelFailed) }

// set gives a setting a value that may hold anything.
func (s *script) set(name, value string) {
	if value == shown(value) && value == guard(value) {
		s.line("set ", name, " ", value)
		return
	}
	s.line("set ", name, ":hex ", octets(value))
}

// millis is a time in seconds as iPXE takes it.
func millis(seconds int) string { return strconv.Itoa(seconds * 1000) }

// head begins a script: whose it is, and why it gets this.
func (s *script) head(p boot.Plan, does string) {
	s.line("#!ipxe")
	text := "bootpuck: "
	if t := plain(p.Title); t != "" {
		text += t + ": "
	}
	s.say(text + does)
	for _, l := range wrap(p.Note, 76) {
		s.line(say("echo", l))
	}
}

// code shows a code large, and as text for those who cannot read the drawing.
func (s *script) code(code string) {
	s.line("echo")
	for _, row := range big(code) {
		if row == "" {
			s.line("echo")
			continue
		}
		// Printed from a setting: iPXE makes one space of several.
		s.line("set row:hex ", octets(row))
		s.line("echo ${row:string}")
	}
	s.line("echo")
	s.line("echo Code: " + shown(code))
}

// localPlan sends the machine to its own disk. With a note there is time to
// read it.
func (s *script) localPlan(p boot.Plan) {
	s.head(p, "continuing to the local disk")
	if plain(p.Note) != "" {
		s.line("prompt --timeout ", millis(noteSeconds), " Press any key to go on now. ||")
	}
	s.left(leftPlan)
	s.local(p.Target.Local)
}

// left tells the box that the machine leaves for its disk.
func (s *script) left(how string) { s.b.WriteString(left(s.base, how)) }

// loaderVendors are the folders of an EFI partition whose loader is tried.
var loaderVendors = []string{"debian", "ubuntu", "fedora", "redhat", "centos", "rocky", "almalinux", "opensuse", "sles"}

// local leaves for the machine's own disk. Nothing of the script is run
// afterwards.
func (s *script) local(how boot.LocalHow) {
	const san = "sanboot --no-describe --drive "
	switch how {
	case boot.LocalExit:
		s.line("exit")
	case boot.LocalSanboot:
		s.line("iseq ${platform} efi && goto efidisk ||")
		s.line(san, "0x80 ||")
		s.line("exit")
		s.line(":efidisk")
		s.line(san, "0 ||")
		s.line(san, `0 --filename \EFI\Microsoft\Boot\bootmgfw.efi ||`)
		s.line("exit 1")
	case boot.LocalNext:
		// A BIOS knows no loaders but what is at the beginning of the disk.
		s.line("iseq ${platform} efi && goto efiloader ||")
		s.line("exit")
		s.line(":efiloader")
		s.line("set suffix x64")
		s.line("iseq ${buildarch} arm64 && set suffix aa64 ||")
		s.line("iseq ${buildarch} i386 && set suffix ia32 ||")
		s.line(san, `0 --filename \EFI\Microsoft\Boot\bootmgfw.efi ||`)
		for _, v := range loaderVendors {
			s.line(san, `0 --filename \EFI\`, v, `\shim${suffix}.efi ||`)
			s.line(san, `0 --filename \EFI\`, v, `\grub${suffix}.efi ||`)
		}
		s.line(san, "0 ||")
		s.line("exit 1")
	case boot.LocalAuto:
		s.line(leave)
	default:
		s.line(leave)
	}
}

// token checks what leads on.
func token(t string) error {
	if t == "" || len(t) > maxIdent || !safe(t) {
		return errors.New("plan without a token that can be written")
	}
	return nil
}

// armed shows the code and gives whoever stands there time to stop it. The same
// leads to a target that is booted once.
func (s *script) armed(p boot.Plan) error {
	if err := token(p.Token); err != nil {
		return err
	}
	does, seconds := "armed for "+armedTitle(p), armedSeconds
	if !p.Target.Destructive {
		does, seconds = "boots "+armedTitle(p)+" now, once", onceSeconds
	}
	s.head(p, does)
	if plain(p.Code) != "" {
		s.code(p.Code)
	}
	s.line("echo")
	for n := seconds; n > 0; n-- {
		s.line("prompt --timeout 1000 Starting in ", strconv.Itoa(n), " s, press any key to cancel && goto cancelled ||")
	}
	s.line("echo bootpuck: starting")
	s.line("set step fetching the script of this boot")
	s.must("chain --autofree --replace --timeout 30000 " + s.base + pathStart + p.Token)
	// A script that was fetched has replaced this one.
	s.line(":cancelled")
	s.line("echo bootpuck: cancelled at the machine. The assignment stays.")
	s.line("echo Continuing to the local disk.")
	s.left(leftCancelled)
	s.line(leave)
	s.failed()
	return nil
}

func armedTitle(p boot.Plan) string {
	t := plain(title(p.Target))
	if name := plain(p.Profile.Title); name != "" {
		t = name
	} else if p.Profile.Name != "" {
		t = plain(p.Profile.Name)
	}
	if t == "" {
		t = p.Choice.Profile
	}
	return t
}

// ask waits for the operator. The address asked again either refuses, or
// answers with this very script as long as nothing is decided: then it goes on
// counting where it was.
func (s *script) ask(p boot.Plan) error {
	if err := token(p.Token); err != nil {
		return err
	}
	tries := strconv.Itoa(askSeconds / askEvery)
	s.line("#!ipxe")
	s.line("iseq ${asktoken} ", p.Token, " && goto ask ||")
	s.line("set asktoken ", p.Token)
	s.line("set asked:int32 0")
	text := "bootpuck: "
	if t := plain(p.Title); t != "" {
		text += t + ": "
	}
	s.say(text + "waiting for the operator to let this machine boot")
	for _, l := range wrap(p.Note, 76) {
		s.line(say("echo", l))
	}
	s.code(p.Code)
	s.line("echo")
	s.line(":ask")
	s.line("inc asked")
	s.line("iseq ${asked} ", tries, " && goto late ||")
	s.line("prompt --timeout ", millis(askEvery), " Waiting, code ", shown(p.Code), ". Press any key for the local disk && goto local ||")
	s.line("chain --autofree --replace --timeout 10000 ", s.base, pathWait, p.Token, " ||")
	s.line("goto ask")
	s.line(":late")
	s.line("echo bootpuck: nobody has decided about this machine")
	s.left(leftLate)
	s.line(leave)
	s.line(":local")
	s.line("echo bootpuck: continuing to the local disk")
	s.left(leftCancelled)
	s.line(leave)
	return nil
}

// failed is where every failing step goes: what failed, time to read it, the
// local disk. It never tries again by itself.
func (s *script) failed() {
	s.line(":" + labelFailed)
	s.line("echo")
	s.line("echo bootpuck: this failed: ${step}")
	s.line("echo The line above says why; https://ipxe.org/err explains its number.")
	s.line("prompt --key s --timeout ", millis(failSeconds), " Continuing to the local disk in ", strconv.Itoa(failSeconds),
		" seconds. Press s for the iPXE shell. && shell ||")
	s.line("imgfree ||")
	if s.unhook != "" {
		s.line(s.unhook)
	}
	s.left(leftFailed)
	s.line(leave)
}

// end closes the script of a target.
func (s *script) end() {
	if s.ended {
		s.line(":" + labelEnded)
		s.line("echo bootpuck: the program has ended, continuing to the local disk")
		s.left(leftEnded)
		s.line(leave)
	}
	if s.wrong {
		s.line(":" + labelWrong)
		s.line("echo bootpuck: ", shown(boot.ReasonNeedsPlatform.Text()))
		s.line("prompt --timeout ", millis(failSeconds), " Continuing to the local disk in ", strconv.Itoa(failSeconds), " seconds. ||")
		if s.unhook != "" {
			s.line(s.unhook)
		}
		s.line("set step the program of this target is not for this firmware")
		s.left(leftFailed)
		s.line(leave)
	}
	s.failed()
}
