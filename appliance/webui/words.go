package webui

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// Lengths at which texts of strangers are cut, in characters.
const (
	shortText = 48  // names, servers
	lineText  = 160 // one line: file names, log lines
	longText  = 640 // verdicts and fixes; the box writes them, with strangers' words in them
)

// clean makes a stranger's text fit to be shown: escaping for HTML is the
// template's business, but characters that move the cursor, turn the direction
// of writing or show nothing are written out, piled-up accents are dropped, and
// what is longer than most characters is cut.
func clean(s string, most int) string {
	var b strings.Builder
	n, marks := 0, 0
	for i, r := range s {
		if n >= most {
			b.WriteRune('…')
			break
		}
		n++
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], string(utf8.RuneError)):
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case r == '\n' || r == '\t' || r == '\r':
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		case unicode.Is(unicode.M, r):
			if marks++; marks > 2 {
				n--
				continue
			}
			b.WriteRune(r)
			continue
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
		marks = 0
	}
	return b.String()
}

// took writes a duration for people: two figures that matter, never more.
func took(d time.Duration) string {
	switch {
	case d < 0:
		return "0 ms"
	case d < 10*time.Millisecond:
		return strconv.FormatFloat(float64(d.Microseconds())/1000, 'f', 1, 64) + " ms"
	case d < time.Second:
		return strconv.FormatInt(d.Milliseconds(), 10) + " ms"
	case d < 10*time.Second:
		return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + " s"
	case d < time.Minute:
		return strconv.Itoa(int(d.Seconds())) + " s"
	case d < time.Hour:
		s := int(d.Seconds())
		if s%60 == 0 {
			return fmt.Sprintf("%d min", s/60)
		}
		return fmt.Sprintf("%d min %02d s", s/60, s%60)
	case d < 48*time.Hour:
		m := int(d.Minutes())
		return fmt.Sprintf("%d h %02d min", m/60, m%60)
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

// seconds writes a duration in whole steps, for what is measured against now: a
// page must not change ten times a second.
func seconds(d time.Duration) string {
	if d = max(d, 0); d < 10*time.Second {
		return strconv.Itoa(int(d.Seconds())) + " s"
	}
	return took(d)
}

// plus writes a time since the first packet.
func plus(d time.Duration) string {
	if d < 500*time.Microsecond {
		return "0 s"
	}
	return "+" + took(d)
}

// ago writes how long something is past. Below a minute it does not count, so
// that an idle page stays the same.
func ago(d time.Duration) string {
	switch {
	case d < time.Minute:
		return "just now"
	case d < time.Hour:
		return fmt.Sprintf("%d min ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h ago", int(d.Hours()))
	}
	return fmt.Sprintf("%d days ago", int(d.Hours()/24))
}

// lasting writes how long something has lasted, in one unit.
func lasting(d time.Duration) string {
	switch {
	case d < time.Minute:
		return "less than a minute"
	case d < time.Hour:
		return strconv.Itoa(int(d.Minutes())) + " min"
	case d < 48*time.Hour:
		return strconv.Itoa(int(d.Hours())) + " h"
	}
	return strconv.Itoa(int(d.Hours()/24)) + " days"
}

// clock writes a time of day, with the date when it is not today's.
func clock(t, now time.Time) string {
	if t.IsZero() {
		return ""
	}
	t = t.In(now.Location())
	if y, m, d := t.Date(); func() bool { ny, nm, nd := now.Date(); return y != ny || m != nm || d != nd }() {
		return t.Format("2 Jan 15:04")
	}
	return t.Format("15:04:05")
}

// size writes octets in decimal units, as download programs do.
func size(n int64) string {
	if n < 0 {
		n = 0
	}
	const units = "kMGTPE"
	if n < 1000 {
		return strconv.FormatInt(n, 10) + " B"
	}
	v, u := float64(n)/1000, 0
	for v >= 999.5 && u < len(units)-1 {
		v, u = v/1000, u+1
	}
	digits := 0
	if v < 9.95 {
		digits = 1
	}
	return strconv.FormatFloat(v, 'f', digits, 64) + " " + units[u:u+1] + "B"
}

// rate writes octets per time.
func rate(n int64, d time.Duration) string {
	if n <= 0 || d < time.Millisecond {
		return ""
	}
	return size(int64(math.Min(float64(n)/d.Seconds(), 1e15))) + "/s"
}

// times writes how often something happened.
func times(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + many
}

// base is the last part of a file's name or address.
func base(name string) string {
	name, _, _ = strings.Cut(name, "?")
	if i := strings.LastIndexByte(strings.TrimRight(name, "/"), '/'); i >= 0 && i < len(name)-1 {
		return name[i+1:]
	}
	return name
}

// join puts the parts that are there behind one another.
func join(parts ...string) string {
	var list []string
	for _, p := range parts {
		if p != "" {
			list = append(list, p)
		}
	}
	return strings.Join(list, " · ")
}

// stateWords says how an attempt stands.
func stateWord(s boot.AttemptState) string {
	switch s {
	case boot.AttemptRunning:
		return "Booting"
	case boot.AttemptBooted:
		return "Booted"
	case boot.AttemptLocal:
		return "Local disk"
	case boot.AttemptIgnored:
		return "Ignored"
	case boot.AttemptStalled:
		return "Stopped"
	case boot.AttemptFailed:
		return "Failed"
	default:
		return "Unknown"
	}
}

// stageWord names a stage.
func stageWord(n boot.StageName) string {
	switch n {
	case boot.StageDiscover:
		return "Asks for a boot server"
	case boot.StageOffer:
		return "Offer of this box"
	case boot.StageLease:
		return "Takes an address"
	case boot.StageAsk:
		return "Asks on port 4011"
	case boot.StageProbe:
		return "Asks for the size"
	case boot.StageLoader:
		return "Fetches its boot program"
	case boot.StageAutoexec:
		return "Boot program looks for its script"
	case boot.StageScript:
		return "Fetches its script"
	case boot.StageMenu:
		return "Menu choice"
	case boot.StageKernel:
		return "Fetches the kernel"
	case boot.StageFiles:
		return "Fetches further files"
	case boot.StageAnswer:
		return "Fetches the answer file"
	case boot.StageInstaller:
		return "Installer reports"
	case boot.StageSystem:
		return "Its system is heard"
	default:
		return clean(string(n), shortText)
	}
}

// compact is plus for a narrow column.
func compact(d time.Duration) string {
	switch {
	case d < time.Minute:
		return plus(d)
	case d < time.Hour:
		return fmt.Sprintf("+%d:%02d", int(d.Minutes()), int(d.Seconds())%60)
	case d < 100*time.Hour:
		return fmt.Sprintf("+%d:%02d h", int(d.Hours()), int(d.Minutes())%60)
	}
	return plus(d)
}

// doingWords says what a running machine is at, by the last stage that was
// seen: while that goes on, and when it is over.
func doingWords(n boot.StageName, over bool) string {
	var during, after string
	switch n {
	case boot.StageDiscover:
		during, after = "Asks for a boot server", "Asked for a boot server"
	case boot.StageOffer:
		during, after = "Was answered by this box", "Was answered by this box"
	case boot.StageLease:
		during, after = "Takes an address", "Has an address"
	case boot.StageAsk:
		during, after = "Asks on port 4011", "Was answered on port 4011"
	case boot.StageProbe:
		during, after = "Asks for the size of its boot program", "Knows the size of its boot program"
	case boot.StageLoader:
		during, after = "Fetches its boot program", "Has its boot program"
	case boot.StageAutoexec:
		during, after = "Boot program looks for its script", "Boot program runs"
	case boot.StageScript:
		during, after = "Fetches its script", "Has its script"
	case boot.StageMenu:
		during, after = "Shows the menu", "Chose from the menu"
	case boot.StageKernel:
		during, after = "Fetches the kernel", "Has the kernel"
	case boot.StageFiles:
		during, after = "Fetches", "Has its files"
	case boot.StageAnswer:
		during, after = "Fetches the answer file", "Has the answer file"
	case boot.StageInstaller:
		during, after = "Installer runs", "Installer runs"
	case boot.StageSystem:
		during, after = "Its system runs", "Its system runs"
	default:
		return clean(string(n), shortText)
	}
	if over {
		return after
	}
	return during
}

// surety says what a confidence means.
func surety(c boot.VerdictConfidence) string {
	switch c {
	case boot.Certain:
		return "certain: it was seen"
	case boot.Likely:
		return "likely: nothing else explains it"
	case boot.Possible:
		return "possible: one of several explanations"
	default:
		return ""
	}
}

// firmwareWord names who is talking.
func firmwareWord(f boot.Firmware) string {
	switch f {
	case boot.FirmwareBIOS:
		return "BIOS PXE"
	case boot.FirmwareUEFI:
		return "UEFI PXE"
	case boot.FirmwareHTTP:
		return "UEFI HTTP Boot"
	case boot.FirmwareIPXE:
		return "iPXE"
	case boot.FirmwareRPi:
		return "Raspberry Pi"
	case boot.FirmwareOther:
		return "other PXE"
	default:
		return "unknown firmware"
	}
}

// actionWord says what the box decided.
func actionWord(a boot.Action) string {
	switch a {
	case boot.ActionSilent:
		return "no answer"
	case boot.ActionBoot:
		return "boot its profile"
	case boot.ActionArmed:
		return "boot its profile after the code on the screen"
	case boot.ActionMenu:
		return "menu"
	case boot.ActionLocal:
		return "local disk"
	case boot.ActionAsk:
		return "wait for the operator"
	default:
		return ""
	}
}

// shapeWords says in what an answer differs from the box's default.
func shapeWords(s boot.Shape) string {
	var list []string
	if s.Form != boot.FormNone {
		list = append(list, formWord(s.Form))
	}
	if s.Variant == boot.VariantNative {
		list = append(list, "iPXE with its own drivers")
	}
	if s.Delay > 0 {
		list = append(list, "answer delayed by "+took(s.Delay))
	}
	if s.Block > 0 {
		list = append(list, fmt.Sprintf("TFTP blocks of at most %d", s.Block))
	}
	if s.NoPriority {
		list = append(list, "without iPXE's priority")
	}
	if len(list) == 0 {
		return "as usual"
	}
	return strings.Join(list, ", ")
}

// formWord names the form of an answer.
func formWord(f boot.Form) string {
	switch f {
	case boot.FormDirect:
		return "file named in the offer"
	case boot.FormTwoStep:
		return "two-step offer"
	case boot.FormScript:
		return "script for iPXE"
	case boot.FormHTTP:
		return "HTTP Boot address"
	case boot.FormRPi:
		return "Raspberry Pi menu item"
	default:
		return ""
	}
}

// headlines are the few words by which a verdict or finding is known at a
// glance; the sentence with what was seen stands below. A test proves that every
// one has its own.
var headlines = map[boot.Reason]string{
	boot.ReasonBooted:           "Booted",
	boot.ReasonLeftLocal:        "Left to its own disk, as decided",
	boot.ReasonIgnored:          "Not answered, on purpose",
	boot.ReasonUnexplained:      "Nothing that was seen says why",
	boot.ReasonNoDHCPServer:     "No DHCP server gives out addresses",
	boot.ReasonOfferIgnored:     "It does not follow this box's offer",
	boot.ReasonRivalWon:         "Another boot server won",
	boot.ReasonOption60:         "The DHCP server poses as a boot server",
	boot.ReasonBootFileWon:      "The DHCP server's own boot file won",
	boot.ReasonAskUnanswered:    "Its question on port 4011 never arrived",
	boot.ReasonTFTPNotRequested: "It never asked for its boot program",
	boot.ReasonTFTPLargeBlocks:  "Large packets get lost on the way",
	boot.ReasonTFTPSlow:         "The network loses packets",
	boot.ReasonTFTPBroken:       "The boot program broke off half-way",
	boot.ReasonNotStarted:       "The boot program did not start",
	boot.ReasonScriptNotFetched: "The script was never fetched",
	boot.ReasonKernelNotFetched: "Nothing that the script names was fetched",
	boot.ReasonFileMissing:      "A file is missing on the box",
	boot.ReasonFetchBroken:      "A file was not fetched to its end",
	boot.ReasonInstallerSilent:  "Kernel loaded, then silence",
	boot.ReasonInstallerFailed:  "The installer reported a failure",
	boot.ReasonNeedsMemory:      "Too little memory",
	boot.ReasonNameNeedsDNS:     "HTTP Boot by name, but no DNS server",
	boot.ReasonLoaderExtension:  "The HTTP Boot address lacks .efi",
	boot.ReasonSpanningTree:     "The switch port opened too late",
	boot.ReasonSnooping:         "Answers of this box do not arrive",
	boot.ReasonExhausted:        "The DHCP server has no address left",
	boot.ReasonClockSkew:        "The clock of this box is wrong",
	boot.ReasonAddressChanged:   "This box's address changed during the boot",
	boot.ReasonBootLoop:         "It boots the same again and again",
	boot.ReasonWrongArch:        "Boot program for another processor",
	boot.ReasonAnsweredLate:     "This box answered too late",
	boot.ReasonGaveUp:           "It gave up before it was answered",
	boot.ReasonQuirkSpent:       "It follows no form of offer",

	boot.ReasonNewResponder:     "A new DHCP or boot server appeared",
	boot.ReasonRogueDHCP:        "A second DHCP server gives out addresses",
	boot.ReasonOtherPXE:         "Another boot server answers here",
	boot.ReasonServerBootFile:   "The DHCP server names its own boot file",
	boot.ReasonWrongNextServer:  "The DHCP server points to another boot server",
	boot.ReasonDuplicateAddress: "Somebody else uses this box's address",
	boot.ReasonGatewayChanged:   "The default router changed",
	boot.ReasonTwin:             "Another bootpuck answers here",
	boot.ReasonStandby:          "This box stands by for another bootpuck",
	boot.ReasonClockUnset:       "The clock has not been set",
}

// headline is the few words for a reason.
func headline(r boot.Reason) string {
	if h, ok := headlines[r]; ok {
		return h
	}
	return clean(r.Text(), lineText)
}
