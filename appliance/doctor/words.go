package doctor

import (
	"fmt"
	"net/netip"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// clip cuts s to at most n octets of valid UTF-8, with an ellipsis when something
// is missing.
func clip(s string, n int) string {
	const more = "…"
	if len(s) > 4*n {
		s = s[:4*n] // the rest is lost anyway, and checking it costs time
	}
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "?")
	}
	if len(s) <= n {
		return s
	}
	end := n - len(more)
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + more
}

// word is a stranger's text within a sentence.
func word(s string) string { return "“" + clip(s, maxWord) + "”" }

// count is a number of things: 1 DISCOVER, 4 DISCOVERs.
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return strconv.Itoa(n) + " " + thing + "s"
}

// times is how often: once, twice, 4 times.
func times(n int) string {
	switch n {
	case 1:
		return "once"
	case 2:
		return "twice"
	}
	return strconv.Itoa(n) + " times"
}

// lasting is a duration for people.
func lasting(d time.Duration) string {
	switch {
	case d < 0:
		return "0 ms"
	case d < time.Second:
		return strconv.FormatInt(d.Milliseconds(), 10) + " ms"
	case d < 10*time.Second:
		return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + " s"
	case d < 2*time.Minute:
		return strconv.FormatInt(int64(d.Round(time.Second)/time.Second), 10) + " s"
	case d < 2*time.Hour:
		return strconv.FormatInt(int64(d.Round(time.Minute)/time.Minute), 10) + " min"
	}
	return strconv.FormatInt(int64(d.Round(time.Hour)/time.Hour), 10) + " h"
}

// octets is a size for people.
func octets(n int64) string {
	switch {
	case n < 10_000:
		return strconv.FormatInt(max(n, 0), 10) + " B"
	case n < 10_000_000:
		return strconv.FormatInt(n/1000, 10) + " kB"
	case n < 10_000_000_000:
		return strconv.FormatInt(n/1_000_000, 10) + " MB"
	}
	return strconv.FormatInt(n/1_000_000_000, 10) + " GB"
}

// list joins words: a, b and c; at most 8 of them.
func list(words []string) string {
	if len(words) > 8 {
		words = append(append([]string{}, words[:7]...), strconv.Itoa(len(words)-7)+" more")
	}
	switch len(words) {
	case 0:
		return ""
	case 1:
		return words[0]
	}
	return strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1]
}

// capital makes the first letter of a sentence large, but for a name that is
// spelled otherwise.
func capital(s string) string {
	if s != "" && !strings.HasPrefix(s, "iPXE") && s[0] >= 'a' && s[0] <= 'z' {
		return string(s[0]-'a'+'A') + s[1:]
	}
	return s
}

// formWord names the style of an offer.
func formWord(f boot.Form) string {
	switch f {
	case boot.FormDirect:
		return "direct"
	case boot.FormTwoStep:
		return "two-step"
	case boot.FormScript:
		return "iPXE script"
	case boot.FormHTTP:
		return "HTTP Boot"
	case boot.FormRPi:
		return "Raspberry Pi menu"
	case boot.FormNone:
	}
	return "default"
}

// shapeWord names a shape of an offer, of the form that it had on the wire.
func shapeWord(f boot.Form, s *boot.Shape) string {
	parts := []string{formWord(f)}
	if s != nil {
		if s.Form != boot.FormNone && f == boot.FormNone {
			parts[0] = formWord(s.Form)
		}
		if s.Variant == boot.VariantNative {
			parts = append(parts, "iPXE with its own drivers")
		}
		if s.Delay > 0 {
			parts = append(parts, lasting(s.Delay)+" late on purpose")
		}
		if s.Block > 0 {
			parts = append(parts, "TFTP blocks of "+strconv.Itoa(s.Block))
		}
		if s.NoPriority {
			parts = append(parts, "without iPXE's priority")
		}
	}
	return strings.Join(parts, ", ")
}

// firmwareWord names who spoke.
func firmwareWord(f boot.Firmware) string {
	switch f {
	case boot.FirmwareBIOS:
		return "the BIOS network ROM"
	case boot.FirmwareUEFI:
		return "the UEFI firmware"
	case boot.FirmwareHTTP:
		return "UEFI HTTP Boot"
	case boot.FirmwareIPXE:
		return "iPXE"
	case boot.FirmwareRPi:
		return "the Raspberry Pi"
	case boot.FirmwareUnknown, boot.FirmwareOther:
	}
	return "the firmware"
}

// stageWord says what an attempt had reached.
func stageWord(s boot.StageName) string {
	switch s {
	case boot.StageDiscover:
		return "asking for an address"
	case boot.StageOffer:
		return "this box's offer"
	case boot.StageLease:
		return "taking an address"
	case boot.StageAsk:
		return "the answer on port 4011"
	case boot.StageProbe:
		return "asking the size of the boot program"
	case boot.StageLoader:
		return "the boot program"
	case boot.StageAutoexec:
		return "the first script of the boot program"
	case boot.StageScript:
		return "its script"
	case boot.StageMenu:
		return "the menu"
	case boot.StageKernel:
		return "the kernel"
	case boot.StageFiles:
		return "the files of the target"
	case boot.StageAnswer:
		return "the answer file"
	case boot.StageInstaller:
		return "the installer's reports"
	case boot.StageSystem:
		return "an operating system"
	}
	return "an unknown stage"
}

// eventWord is one event as evidence.
func eventWord(e *boot.Event) string {
	switch e.Kind {
	case boot.KindOffer:
		return fmt.Sprintf("%s asks (secs %d); offered after %s: %s, %s", firmwareWord(e.Firmware), e.Secs, lasting(e.Duration), shapeWord(e.Form, e.Shape), word(e.File))
	case boot.KindAck:
		return "asks on port 4011, is answered with " + word(e.File)
	case boot.KindSilence:
		return "asks, is not answered: " + string(e.Reason)
	case boot.KindLease:
		return "takes the address " + addrWord(e.Addr) + " " + clip(e.Text, maxWord)
	case boot.KindForeign:
		if e.Foreign != nil {
			return foreignWord(e.Foreign)
		}
	case boot.KindProbe:
		return "asks the size of " + word(e.File) + " by TFTP"
	case boot.KindTFTP:
		return fetchWord("TFTP", e)
	case boot.KindHTTP:
		return fetchWord("HTTP", e)
	case boot.KindProgress:
		return fmt.Sprintf("%s under way: %s of %s", word(e.File), octets(e.Bytes), octets(e.Total))
	case boot.KindScript:
		return "script " + word(e.File) + reasonTail(e.Reason)
	case boot.KindSyslog:
		return "log line " + word(e.Text)
	case boot.KindResponder, boot.KindNetwork, boot.KindBox, boot.KindDecision, boot.KindCallback, boot.KindOperator,
		boot.KindVerdict, boot.KindQuirk, boot.KindWarning:
	}
	if e.Text != "" {
		return string(e.Kind) + reasonTail(e.Reason) + ": " + clip(e.Text, 2*maxWord)
	}
	return string(e.Kind) + reasonTail(e.Reason)
}

func reasonTail(r boot.Reason) string {
	if r == boot.ReasonNone {
		return ""
	}
	return " (" + clip(string(r), maxWord) + ")"
}

func fetchWord(how string, e *boot.Event) string {
	s := fmt.Sprintf("%s %s: %s", how, word(e.File), octets(e.Bytes))
	if e.Total > 0 && e.Total != e.Bytes {
		s += " of " + octets(e.Total)
	}
	s += " in " + lasting(e.Duration)
	if e.Block > 0 {
		s += ", blocks of " + strconv.Itoa(e.Block)
	}
	if e.Retries > 0 {
		s += ", " + count(e.Retries, "packet") + " sent again"
	}
	return s + reasonTail(e.Reason)
}

// foreignWord is what another server said.
func foreignWord(f *boot.Foreign) string {
	s := "server " + addrWord(f.Server) + " sends " + clip(f.Type, 10)
	if f.Your.IsValid() {
		s += " of the address " + f.Your.String()
	} else {
		s += " without an address"
	}
	if f.Class != "" {
		s += ", option 60 " + word(f.Class)
	}
	if f.File != "" {
		s += ", boot file " + word(f.File)
	}
	if f.Next != "" {
		s += ", next server " + clip(f.Next, maxWord)
	}
	if f.Twin {
		s += ", a bootpuck"
	}
	return s
}

func addrWord(a netip.Addr) string {
	if !a.IsValid() {
		return "unknown"
	}
	return a.Unmap().String()
}

// hostOf is the host of a URL; ok is false when s is none.
func hostOf(s string) (host string, ok bool) {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" {
		return "", false
	}
	return u.Hostname(), true
}

// isName says whether the host of a URL is a name that must be looked up.
func isName(s string) bool {
	host, ok := hostOf(s)
	if !ok || host == "" {
		return false
	}
	_, err := netip.ParseAddr(host)
	return err != nil
}

// cleaned is a file's name as both sides spell it: slashes, no leading ones, no
// query, lower case. A URL becomes its path.
func cleaned(s string) string {
	s = strings.ReplaceAll(s, `\`, "/")
	// What old firmware leaves behind the name, as TFTP does.
	for s != "" && (s[len(s)-1] == 0 || s[len(s)-1] == 0xff || s[len(s)-1] == ' ') {
		s = s[:len(s)-1]
	}
	if i := strings.Index(s, "://"); i >= 0 {
		s = s[i+3:]
		i = strings.IndexByte(s, '/')
		if i < 0 {
			return ""
		}
		s = s[i:]
	}
	if i := strings.IndexByte(s, '?'); i >= 0 {
		s = s[:i]
	}
	if s = strings.TrimLeft(path.Clean("/"+strings.ToLower(s)), "/"); s == "." {
		return ""
	}
	return s
}
