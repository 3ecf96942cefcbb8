package doctor

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// tftpToIPXE says whether iPXE was offered a program by TFTP: the box's own iPXE,
// for one that cannot do HTTP.
func (v *view) tftpToIPXE() bool {
	o := v.lastOffer()
	return o != nil && v.cur == boot.FirmwareIPXE && strings.HasPrefix(o.File, "tftp://")
}

func judgeTFTPNotRequested(v *view) (boot.Verdict, bool) {
	if !v.stuck() || !v.offered() || !v.quiet(patience/2) || v.cur == boot.FirmwareIPXE && !v.tftpToIPXE() {
		return none, false
	}
	acks := v.recent(v.acks)
	conf := boot.Likely
	var after string
	switch {
	case len(acks) > 0:
		after = "It asked port 4011 of this box and was answered with the name of its boot program"
	case v.cur == boot.FirmwareRPi:
		// The ROM of the Pi 3 takes an address without asking for it.
		if !v.leased() {
			conf = boot.Possible
		}
		if !v.leased() && v.dhcpHeard() == nil {
			return none, false
		}
		after = "It was offered its boot menu"
	case !v.leased(), v.uefi() && v.takenForm() == boot.FormTwoStep, v.unacknowledged() != nil:
		return none, false
	default:
		after = "It took the offer and an address"
	}
	if v.cur == boot.FirmwareHTTP {
		return verdict(conf, boot.StageLoader, after+", but never fetched the boot program by HTTP."+v.conflictWord(),
			"Let TCP port 80 to this box through between it and the machine. Some firmware allows HTTP Boot over https only (setting “allow HTTP connections” or similar in its setup): allow http there, or use PXE.",
			evidence(v.recent(v.offers), v.recent(v.leases)), v.conflictEvidence()), true
	}
	text := after + ", but no TFTP request for the boot program came."
	fix := "Let UDP port 69 to this box through, and the answers from its other UDP ports, on switches, access points and firewalls between it and the machine."
	if v.cur == boot.FirmwareBIOS && len(acks) == 0 {
		fix += " Let UDP port 4011 through as well: old ROMs ask there even after a direct offer."
	}
	if f := v.heard(func(f foreign) bool { return f.Your.IsValid() && f.Next != "" && !v.ours(f.Next) }); f != nil {
		text += fmt.Sprintf(" The DHCP server %s names the next server %s: some firmware asks there.", addrWord(f.Server), clip(f.Next, maxWord))
		fix += " On the DHCP server " + addrWord(f.Server) + " remove the next server (siaddr, option 66)."
	}
	return verdict(conf, boot.StageLoader, text+v.conflictWord(), fix, evidence(v.recent(v.offers), v.recent(v.leases), acks), v.conflictEvidence()), true
}

// failedLoader is the transfer of a boot program that failed, when nothing better
// came after it.
func (v *view) failedLoader() *boot.Event {
	for i := len(v.fetches) - 1; i >= 0; i-- {
		e := v.fetches[i]
		if e.Kind == boot.KindProbe || !v.isLoader(e) {
			continue
		}
		if e.Reason == boot.ReasonNone || v.fetchedAfter(e) {
			return nil
		}
		return e
	}
	return nil
}

// fetchedAfter says whether something was fetched whole after e.
func (v *view) fetchedAfter(e *boot.Event) bool {
	after := false
	for i := range v.events {
		f := &v.events[i]
		switch {
		case f == e:
			after = true
		case !after || f.Reason != boot.ReasonNone:
		case f.Kind == boot.KindTFTP, f.Kind == boot.KindHTTP, f.Kind == boot.KindScript && part(f.File) != nameLeft:
			return true
		}
	}
	return false
}

// largeBlocks says whether e is a transfer that was agreed on and stood still at
// its first full packet. A client that gives up by itself says so after its own
// repeats; one that refuses the terms says so at once.
func largeBlocks(e *boot.Event) bool {
	if e.Kind != boot.KindTFTP || !e.Acked || e.Bytes != 0 || e.Block <= 512 {
		return false
	}
	return e.Reason == boot.ReasonClientSilent || e.Reason == boot.ReasonClientAborted && e.Retries >= 2
}

func judgeLargeBlocks(v *view) (boot.Verdict, bool) {
	e := v.failedLoader()
	if e == nil || !largeBlocks(e) || !v.quiet(patience/4) {
		return none, false
	}
	conf, more := boot.Likely, ""
	var ev []*boot.Event
	for _, f := range v.fetches {
		switch {
		case largeBlocks(f):
			ev = append(ev, f)
		case f.Kind == boot.KindTFTP && f.Block > 0 && f.Block < e.Block && f.Bytes > 0 && f.Total > int64(f.Block):
			conf = boot.Certain
			more = fmt.Sprintf(" Blocks of %d came through.", f.Block)
			ev = append(ev, f)
		}
	}
	return verdict(conf, boot.StageLoader,
		fmt.Sprintf("The transfer of %s was agreed on, with blocks of %d octets; the first of them was sent %s and never acknowledged.%s", word(e.File), e.Block, times(e.Retries+1), more),
		"Something between box and machine drops large packets: look at the MTU of VLANs, tunnels (PPPoE, VXLAN) and virtual switches, and at cards with jumbo frames. Until then cap the block size: setting tftp-blocksize 1024 or 512, or the machine's quirk.",
		evidence(ev)), true
}

func judgeTFTPBroken(v *view) (boot.Verdict, bool) {
	e := v.failedLoader()
	if e == nil {
		return v.hangingLoader()
	}
	if e.Kind != boot.KindTFTP || e.Reason == boot.ReasonNotFound || largeBlocks(e) || !v.quiet(patience/4) {
		return none, false
	}
	var text, fix string
	conf := boot.Certain
	switch e.Reason {
	case boot.ReasonSource:
		text = fmt.Sprintf("The TFTP request for %s came from %s, which is neither on this LAN nor in an allowed network, and was refused.", word(e.File), addrWord(e.Addr))
		fix = "Add the machine's network to the setting relays.clients."
	case boot.ReasonClientLimit, boot.ReasonTotalLimit:
		text = "The TFTP request for " + word(e.File) + " was not served: " + e.Reason.Text()
		fix = "Start the machine again when fewer machines boot."
	case boot.ReasonRead, boot.ReasonSend, boot.ReasonInternal:
		text = fmt.Sprintf("The transfer of %s failed at the box: %s", word(e.File), e.Reason.Text())
		fix = "Look at the health and the log of the box."
	case boot.ReasonTFTPRequest, boot.ReasonTFTPName, boot.ReasonTFTPWrite:
		text = fmt.Sprintf("The TFTP request for %s was refused: %s", word(e.File), e.Reason.Text())
		fix = "Update the firmware of the network card; take the capture of this boot to a support request."
	case boot.ReasonClientAborted:
		text = fmt.Sprintf("The machine ended the transfer of %s with an error after %s of %s", word(e.File), octets(e.Bytes), octets(e.Total))
		if e.Text != "" {
			text += ": " + word(e.Text)
		}
		text += "."
		fix = "Look at the machine's screen: the program may be too large for its firmware, or it dislikes the terms of the transfer; a block size of 512 (the machine's quirk) is what every firmware understands."
	default:
		if e.Acked || e.Bytes > 0 {
			text = fmt.Sprintf("The transfer of %s broke off after %s of %s: the machine stopped acknowledging", word(e.File), octets(e.Bytes), octets(e.Total))
			if e.Retries > 0 {
				text += ", and " + count(e.Retries, "packet") + " sent again did not help"
			}
			text += "."
			fix = "Look at the cable, the switch port (errors, duplex) and the radio link of the machine, then start it again."
		} else {
			conf = boot.Likely
			text = fmt.Sprintf("The machine asked for %s by TFTP, and nothing that the box sent was acknowledged: answers do not reach it.", word(e.File))
			fix = "TFTP answers come from another UDP port than 69: let them through on firewalls between box and machine (a TFTP helper, or all UDP from this box)."
		}
	}
	return verdict(conf, boot.StageLoader, text, fix, evidence(v.fetches)), true
}

// hangingLoader judges a transfer of which only the beginning is known.
func (v *view) hangingLoader() (boot.Verdict, bool) {
	if v.hasLoader() || v.scripted() || !v.final {
		return none, false
	}
	const fix = "Look at the machine's screen, at its cable and its switch port, then start it again."
	if n := len(v.progress); n > 0 && v.isLoader(v.progress[n-1]) {
		e := v.progress[n-1]
		return verdict(boot.Likely, boot.StageLoader, fmt.Sprintf("The transfer of %s was last seen at %s of %s.", word(e.File), octets(e.Bytes), octets(e.Total)), fix,
			evidence(v.progress)), true
	}
	for i := len(v.fetches) - 1; i >= 0; i-- {
		if e := v.fetches[i]; e.Kind == boot.KindProbe && i == len(v.fetches)-1 {
			return verdict(boot.Possible, boot.StageProbe,
				"The machine asked for the size of "+word(e.File)+" and then did not fetch it: the program may be too large for it.", fix, evidence(v.fetches)), true
		}
	}
	return none, false
}

// Bounds of a transfer that truly was slow: a boot program takes less than a
// second, and some seconds on a bad line.
const (
	slowTime    = 10 * time.Second
	slowRetries = 10
	slowRate    = 64_000 // octets per second
)

func judgeTFTPSlow(v *view) (boot.Verdict, bool) {
	var worst *boot.Event
	for _, e := range v.fetches {
		if e.Kind != boot.KindTFTP || e.Reason != boot.ReasonNone || e.Duration < slowTime {
			continue
		}
		rate := float64(e.Bytes) / e.Duration.Seconds()
		if (e.Retries >= slowRetries || rate < slowRate) && (worst == nil || e.Duration > worst.Duration) {
			worst = e
		}
	}
	if worst == nil {
		return none, false
	}
	text := fmt.Sprintf("%s took %s by TFTP, %s per second; %s had to be sent again.", word(worst.File), lasting(worst.Duration),
		octets(int64(float64(worst.Bytes)/worst.Duration.Seconds())), count(worst.Retries, "packet"))
	fix := "Look at the cable, the switch port (errors, duplex) and the radio link of the machine."
	if worst.Retries < slowRetries {
		text += " Few were lost: the way there and back is long, and TFTP waits for every packet."
		fix = "Use HTTP Boot for this machine, or put a box nearer to it."
	}
	d := verdict(boot.Certain, boot.StageLoader, text, fix, evidence([]*boot.Event{worst}))
	d.Severity = boot.SeverityWarning
	return d, true
}

func judgeNotStarted(v *view) (boot.Verdict, bool) {
	said := slices.IndexFunc(v.others, func(e *boot.Event) bool { return e.Reason == boot.ReasonNotStarted })
	if !v.hasLoader() || v.started() || said < 0 && !v.quiet(boot.StartTime) {
		return none, false
	}
	l := v.loaded()
	what, ev := "The boot program", []*boot.Event(nil)
	if l != nil {
		what = fmt.Sprintf("%s (%s)", word(l.File), octets(l.Bytes))
		ev = append(ev, l)
	}
	if l != nil && said >= 0 && v.others[said].Time.Before(l.Time) {
		return none, false // said of an earlier one
	}
	text := what + " was fetched whole, and then nothing was heard of it."
	after, packet := v.returned(l)
	back := after > 0
	if back {
		text = fmt.Sprintf("%s was fetched whole, and %s later the firmware itself asked again: it did not start the program, or the program ended at once.", what, lasting(after))
		ev = append(ev, packet)
	} else if !v.final {
		text = fmt.Sprintf("%s was fetched whole, and nothing was heard of it for %s.", what, lasting(v.now.Sub(v.last)))
	}
	var fix string
	switch v.platform() {
	case boot.PlatformUEFI:
		if back {
			text += " That is what Secure Boot does with a program that is not signed."
		} else {
			text += " Secure Boot refuses what is not signed, or the program hangs on this hardware; the machine's screen tells."
		}
		fix = "With Secure Boot on, give the machine a profile with the loader shim, or switch Secure Boot off. Otherwise " + otherBuild(l) + "."
	case boot.PlatformRPI:
		fix = "Look at the machine's screen and its activity light; update its EEPROM, and check that the files served to it are for this model."
	default:
		text += " The program hangs on this hardware, most often in the driver of the network card."
		fix = capital(otherBuild(l)) + "; and update the firmware of the network card."
	}
	return verdict(boot.Likely, boot.StageLoader, text, fix, evidence(ev)), true
}

// otherBuild says which build of iPXE is to be tried instead of the one that was
// given.
func otherBuild(l *boot.Event) string {
	const other = "try the other build of iPXE: in a rule or its quirk, "
	if l == nil {
		return other + "ipxe.efi instead of snponly.efi, or ipxe.pxe instead of undionly.kpxe"
	}
	name := cleaned(l.File)
	dir := clip(strings.TrimPrefix(path.Dir(name)+"/", "./"), maxWord)
	switch path.Base(name) {
	case "snponly.efi":
		return other + dir + "ipxe.efi (own drivers) instead of snponly.efi"
	case "ipxe.efi":
		return other + dir + "snponly.efi (the firmware's driver) instead of ipxe.efi"
	case "undionly.kpxe":
		return other + "ipxe.pxe (own drivers) instead of undionly.kpxe"
	case "ipxe.pxe":
		return other + "undionly.kpxe (the ROM's driver) instead of ipxe.pxe"
	}
	return "check that the program is meant for this machine's processor and firmware, or let the box give it iPXE"
}

// returned is how long after the boot program was fetched the firmware itself
// asked again, and its packet when it is part of this attempt; zero when it did
// not within the time that a program needs to start.
func (v *view) returned(l *boot.Event) (time.Duration, *boot.Event) {
	if l == nil {
		return 0, nil
	}
	for i := range v.events {
		e := &v.events[i]
		if d := e.Time.Sub(l.Time); talks(e) && e.Firmware != boot.FirmwareIPXE && d > 0 && d < boot.StartTime {
			return d, e
		}
	}
	// An attempt that ends sooner than silence allows was ended by the next one.
	if d := v.a.End.Sub(l.Time); !v.a.End.IsZero() && d > 0 && d < boot.StartTime-time.Second {
		return d, nil
	}
	return 0, nil
}

// platform is the firmware that was given the boot program.
func (v *view) platform() boot.Platform {
	switch v.lead {
	case boot.FirmwareUEFI, boot.FirmwareHTTP:
		return boot.PlatformUEFI
	case boot.FirmwareBIOS:
		return boot.PlatformBIOS
	case boot.FirmwareRPi:
		return boot.PlatformRPI
	case boot.FirmwareIPXE, boot.FirmwareUnknown, boot.FirmwareOther:
	}
	if info, ok := v.a.Arch.Info(); ok && v.a.ArchKnown {
		return info.Platform
	}
	return boot.PlatformOther
}

// made says for which processor and firmware a boot program was built, as far as
// its name tells: empty when it does not.
func made(file string) (cpu string, platform boot.Platform) {
	name := cleaned(file)
	base := path.Base(name)
	for _, a := range boot.Archs() {
		if a.CPU != "" && slices.Contains(strings.Split(path.Dir(name), "/"), a.CPU) {
			cpu = a.CPU
		}
	}
	switch path.Ext(base) {
	case ".efi":
		platform = boot.PlatformUEFI
		for _, s := range []struct{ tail, cpu string }{
			{"x64.efi", "x86_64"}, {"ia32.efi", "i386"}, {"aa64.efi", "arm64"}, {"riscv64.efi", "riscv64"}, {"loongarch64.efi", "loong64"},
		} {
			if strings.HasSuffix(base, s.tail) {
				cpu = s.cpu
			}
		}
	case ".kpxe", ".kkpxe", ".pxe", ".0":
		platform = boot.PlatformBIOS
	}
	return cpu, platform
}

// Steps of a script, as iPXE names them when they fail.
const (
	stepStart   = "starting what was loaded"
	stepProgram = "the program of this target is not for this firmware"
)

func judgeWrongArch(v *view) (boot.Verdict, bool) {
	if r, ok := v.refusedWith(boot.ReasonNeedsCPU, boot.ReasonNeedsPlatform); ok {
		e := v.refusal(r)
		return verdict(boot.Certain, boot.StageScript, "The target was not started: "+r.Text()+detail(e),
			"Assign a profile that fits this machine"+v.archWord()+", or start the machine in the other firmware mode (BIOS or UEFI).", evidence([]*boot.Event{e})), true
	}
	if s := v.stepFailed(); s != nil && stateSet(v.a.State) == onBad {
		const screen = "The line above on the machine's screen says why: https://ipxe.org/err explains its number."
		switch {
		case strings.Contains(s.Text, stepProgram):
			return verdict(boot.Certain, boot.StageKernel, "The target's program is not for this machine's firmware: iPXE refused it.",
				"Assign a profile that fits this machine"+v.archWord()+", or start the machine in the other firmware mode (BIOS or UEFI).", evidence(v.targets(), []*boot.Event{s})), true
		case strings.Contains(s.Text, stepStart) && v.blocking() == nil:
			return verdict(boot.Likely, boot.StageKernel, "The target was fetched ("+v.gotWord()+"), and iPXE could not start it: it is for another processor or firmware, or not signed while Secure Boot is on, or does not fit the memory.",
				"Assign a target that fits this machine"+v.archWord()+". "+screen, evidence(v.targets(), []*boot.Event{s})), true
		}
	}
	if stateSet(v.a.State) != onBad || !v.hasLoader() || v.started() || !v.quiet(boot.StartTime) || v.lead == boot.FirmwareRPi {
		return none, false
	}
	l := v.loaded()
	if l == nil || !v.a.ArchKnown && !l.ArchKnown {
		return none, false
	}
	arch := v.a.Arch
	if l.ArchKnown {
		arch = l.Arch
	}
	info, ok := arch.Info()
	if !ok {
		return none, false
	}
	const fix = "Correct the rule that names this boot program, or remove it: the box then picks by architecture. If the machine tells a wrong architecture, have a rule take it for another one."
	cpu, platform := made(l.File)
	if platform != "" && info.Platform != platform && (info.Platform == boot.PlatformBIOS || info.Platform == boot.PlatformUEFI) ||
		cpu != "" && info.CPU != "" && platform == boot.PlatformUEFI && cpu != info.CPU {
		return verdict(boot.Certain, boot.StageLoader,
			fmt.Sprintf("The machine says that it is %s and was given %s, which is for %s.", info.Title, word(l.File), strings.TrimSpace(string(platform)+" "+cpu)),
			fix, evidence([]*boot.Event{l})), true
	}
	if i := slices.IndexFunc(v.others, func(e *boot.Event) bool { return e.Reason == boot.ReasonArchConflict }); i >= 0 {
		return verdict(boot.Possible, boot.StageLoader,
			fmt.Sprintf("Option 93 and the class string of this machine name different architectures. It was given %s for %s and did not start it.", word(l.File), info.Title),
			fix, evidence(v.others[i:i+1], []*boot.Event{l})), true
	}
	if arch == boot.ArchEBC || arch == 17 {
		return verdict(boot.Possible, boot.StageLoader,
			fmt.Sprintf("The machine tells the architecture EBC, which is served as x64: it was given %s and did not start it.", word(l.File)), fix, evidence([]*boot.Event{l})), true
	}
	return none, false
}

func detail(e *boot.Event) string {
	if e == nil || e.Text == "" {
		return ""
	}
	return " (" + clip(e.Text, 2*maxWord) + ")"
}

func (v *view) archWord() string {
	if !v.a.ArchKnown {
		return ""
	}
	info, _ := v.a.Arch.Info()
	return " (" + info.Title + ")"
}

func judgeLoaderExtension(v *view) (boot.Verdict, bool) {
	l := v.loaded()
	if l == nil || l.Kind != boot.KindHTTP || v.lead != boot.FirmwareHTTP && v.cur != boot.FirmwareHTTP || !v.quiet(patience) {
		return none, false
	}
	// A name without an ending looks like a target's file, so the attempt may count
	// as booted for want of a contrary sign.
	if v.scripted() || len(v.autoexecs) > 0 || v.reported() || v.a.Reached(boot.StageSystem) || v.cur == boot.FirmwareIPXE || !v.named(l.File) {
		return none, false
	}
	switch path.Ext(cleaned(l.File)) {
	case ".efi", ".iso", ".img":
		return none, false
	}
	return verdict(boot.Likely, boot.StageLoader,
		fmt.Sprintf("The firmware fetched %s by HTTP (%s) and did not start it. Its name does not end in .efi, .iso or .img, by which HTTP Boot tells what a file is (“Could not retrieve NBP file size”).", word(l.File), octets(l.Bytes)),
		"Rename the file so that it ends in .efi (a program), .iso or .img (a disk), and correct the rule that names it.", evidence(v.offers, []*boot.Event{l})), true
}

func judgeScriptNotFetched(v *view) (boot.Verdict, bool) {
	if v.scripted() && !v.scriptFailed() || v.targeted() {
		return none, false
	}
	if e := v.blocking(); e != nil && e.Kind == boot.KindScript && e.Reason != boot.ReasonNotFound && !v.targeted() && !refusing(e.Reason) {
		return verdict(boot.Certain, boot.StageScript, fmt.Sprintf("The machine asked for its script %s and did not get it: %s", word(e.File), e.Reason.Text()),
			"Look at the log of the box at that time; what the machine sent in its request is in the capture of this boot.", evidence([]*boot.Event{e})), true
	}
	if v.scripted() || !v.started() || !v.quiet(patience) {
		return none, false
	}
	const fix = "Let TCP port 80 to this box through between it and the machine, also for addresses behind routers (setting relays.clients). On the machine's screen, iPXE says what it could not reach."
	switch {
	case v.cur == boot.FirmwareIPXE && v.stuck() && !v.tftpToIPXE():
		if !v.leased() || !v.offered() && len(v.recent(v.acks)) == 0 {
			return none, false
		}
		text := "iPXE runs, was offered its script and took an address, but never asked this box for the script."
		if o := v.lastOffer(); o != nil {
			text = fmt.Sprintf("iPXE runs, was offered %s and took an address, but never asked this box for it.", word(o.File))
		}
		return verdict(boot.Likely, boot.StageScript, text+v.conflictWord(), fix, evidence(v.recent(v.offers), v.recent(v.leases), v.recent(v.acks)), v.conflictEvidence()), true
	case len(v.autoexecs) > 0 || v.a.Reached(boot.StageAutoexec):
		text := "The boot program runs and fetched its first script, which leads on to the machine's own by HTTP; that was never asked for."
		return verdict(boot.Likely, boot.StageScript, text+v.conflictWord(), fix, evidence(v.autoexecs), v.conflictEvidence()), true
	case v.hasLoader() && v.cur != boot.FirmwareIPXE && v.lead != boot.FirmwareRPi && v.blocking() == nil:
		// It runs, for it fetched more than the firmware was told of.
		l := v.loaded()
		if l == nil {
			return none, false
		}
		return verdict(boot.Likely, boot.StageScript, "The boot program runs; the last that it fetched was "+word(l.File)+", and it never asked this box for its configuration."+v.conflictWord(),
			"shim and GRUB take the server from the answer of the DHCP server: remove the boot file name and the next server there. Look at the machine's screen for what it asks.",
			evidence(v.fetches), v.conflictEvidence()), true
	}
	return none, false
}

// scriptFailed says whether every script that was asked for failed.
func (v *view) scriptFailed() bool {
	return len(v.scripts) > 0 && !slices.ContainsFunc(v.scripts, func(e *boot.Event) bool { return e.Reason == boot.ReasonNone || refusing(e.Reason) })
}

// refusing says whether a script with this reason was delivered, and says on the
// machine's screen why the target is not started.
func refusing(r boot.Reason) bool {
	switch r {
	case boot.ReasonNeedsMemory, boot.ReasonNeedsSigned, boot.ReasonNeedsPlatform, boot.ReasonNeedsCPU, boot.ReasonNeedsIPXE,
		boot.ReasonTemplate, boot.ReasonTargetMissing, boot.ReasonDestructive, boot.ReasonLoopBreaker, boot.ReasonAssignExpired,
		boot.ReasonAssignUsedUp, boot.ReasonAssignFailed, boot.ReasonDisarmed, boot.ReasonStateWait, boot.ReasonNotBootableHere,
		boot.ReasonIdentityAgainst, boot.ReasonIdentityUnproven, boot.ReasonIdentityDoubt, boot.ReasonIdentityNewNIC,
		boot.ReasonCodeWrong, boot.ReasonRefused, boot.ReasonUnknownAsks, boot.ReasonClockUnset, boot.ReasonRender, boot.ReasonTokenUsed:
		return true
	default:
		return false
	}
}

func judgeFileMissing(v *view) (boot.Verdict, bool) {
	e := v.blocking()
	if e == nil || e.Reason != boot.ReasonNotFound || !v.quiet(patience/2) {
		return none, false
	}
	var names []string
	var ev []*boot.Event
	for i := range v.events {
		if f := &v.events[i]; f.Reason == boot.ReasonNotFound && !v.fetchedAfter(f) && (f.Kind == boot.KindTFTP || f.Kind == boot.KindHTTP || f.Kind == boot.KindScript) {
			ev = append(ev, f)
			if w := word(f.File); !slices.Contains(names, w) {
				names = append(names, w)
			}
		}
	}
	conf, stage := boot.Likely, boot.StageLoader
	if v.isTarget(e) {
		stage = boot.StageKernel
	}
	if len(names) == 1 && (v.isTarget(e) || v.named(e.File)) {
		conf = boot.Certain
	}
	text := "The machine asked for " + word(e.File) + ", which this box does not have, and fetched nothing after that."
	fix := "Put the file there under that name, or correct the name in the target, the rule or the uploaded tree."
	if len(names) > 1 {
		text = fmt.Sprintf("The machine asked for %s that this box does not have, last %s, and got none.", count(len(names), "file"), word(e.File))
	}
	switch {
	case part(e.File) == boot.StageScript:
		text = fmt.Sprintf("The boot program asked for %s of its configuration and found none, last %s.", count(len(names), "name"), word(e.File))
		fix = "Assign a profile to the machine, or put a configuration for everybody (pxelinux.cfg/default) into the tree."
	case v.lead == boot.FirmwareRPi:
		fix = "Upload the boot files of this Raspberry Pi (start4.elf, fixup4.dat, config.txt, kernel8.img …), plain or in a folder named after its serial number."
	}
	return verdict(conf, stage, text, fix, evidence(ev)), true
}

func judgeClockSkew(v *view) (boot.Verdict, bool) {
	if v.lan.Now.IsZero() || !v.quiet(patience) {
		return none, false
	}
	var by *boot.Event
	for i := range v.events {
		e := &v.events[i]
		switch e.Kind {
		case boot.KindOffer, boot.KindAck, boot.KindScript, boot.KindDecision:
			if strings.HasPrefix(strings.ToLower(e.File), "https://") || strings.Contains(e.Text, "https://") {
				by = e
			}
		default:
		}
	}
	if by == nil || v.fetchedAfter(by) {
		return none, false
	}
	conf, what := boot.Likely, "The clock of this box has not been set since power-on"
	var ev []boot.Evidence
	switch step := v.lan.ClockStep; {
	case !v.lan.ClockSet:
	case !step.IsZero() && step.After(v.a.Start.Add(-time.Minute)) && !step.After(v.last.Add(probeFresh)):
		conf, what = boot.Possible, "The clock of this box jumped about the time of this boot"
		ev = append(ev, boot.Evidence{Time: step, Text: "the clock was set"})
	default:
		return none, false
	}
	return verdict(conf, v.a.At, what+", and the machine was sent to an https address: certificates are not valid at a wrong time, neither the box's nor, if its own clock is as wrong, the machine's.",
		"Let the box reach a time server (NTP, UDP port 123), or set its clock; check the machine's clock in its firmware setup. Then start it again.", evidence([]*boot.Event{by}), ev), true
}
