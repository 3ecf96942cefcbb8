package boot

import (
	"slices"
	"strconv"
	"strings"
)

// Preflight says whether a target can work on a machine as far as that can be
// known: ReasonNone, or why not with a detail for people. What the machine did
// not tell is taken to be sufficient, for a wrong refusal would be worse than an
// attempt that ends with an error.
func Preflight(t Target, s Sighting) (Reason, string) {
	if want := t.platforms(); len(want) > 0 && s.Platform != "" && !slices.Contains(want, s.Platform) {
		var names []string
		for _, p := range want {
			names = append(names, string(p))
		}
		return ReasonNeedsPlatform, "needs " + strings.Join(names, " or ") + ", this machine started by " + string(s.Platform)
	}
	if want := t.Needs.CPUs; len(want) > 0 && s.CPU != "" && !slices.Contains(want, s.CPU) && !biosPC(want, s) {
		return ReasonNeedsCPU, "needs " + strings.Join(want, " or ") + ", this machine started as " + s.CPU
	}
	if want := t.Needs.Memory; s.Memory > 0 && s.Memory < want {
		return ReasonNeedsMemory, "needs " + strconv.Itoa(want) + " MiB, this machine has " + strconv.Itoa(s.Memory)
	}
	if s.SecureBoot == SecureBootOn && !t.Needs.SecureBoot && t.Kind.ownProgram() {
		return ReasonNeedsSigned, "Secure Boot is on, and the target is not marked as signed"
	}
	if want := t.Needs.IPXE; want != "" && s.IPXE != "" && !NewerIPXE(s.IPXE, want) {
		return ReasonNeedsIPXE, "needs iPXE " + want + ", this machine has " + s.IPXE
	}
	return ReasonNone, ""
}

// biosPC: a BIOS starts in 32-bit (in fact 16-bit) mode whatever the processor
// can do, so "i386" says nothing there.
func biosPC(want []string, s Sighting) bool {
	return s.Platform == PlatformBIOS && s.CPU == "i386" && slices.Contains(want, "x86_64")
}

// platforms are those the operator named, else those that follow from the kind
// and the program.
func (t *Target) platforms() []Platform {
	if len(t.Needs.Platforms) > 0 {
		return t.Needs.Platforms
	}
	efi := strings.HasSuffix(strings.ToLower(t.Program), ".efi")
	switch {
	case t.Kind == TargetEFI, t.Kind == TargetGRUB && efi, t.Kind == TargetPXELinux && efi:
		return []Platform{PlatformUEFI}
	case t.Kind == TargetPXELinux:
		return []Platform{PlatformBIOS}
	}
	return nil
}

// ownProgram says whether a target starts a program that Secure Boot looks at
// and that only the operator knows to be signed. What other servers and disks
// hold is theirs.
func (k TargetKind) ownProgram() bool {
	switch k {
	case TargetLinux, TargetEFI, TargetWimboot, TargetPXELinux, TargetGRUB:
		return true
	default:
		return false
	}
}

// NewerIPXE says whether the version have is want or newer. Only the leading
// numbers count: "1.21.1+git-20220113" is 1.21.1, and 1.21 is 1.21.0. A text
// without a leading number is older than everything.
func NewerIPXE(have, want string) bool {
	h, ok := version(have)
	if !ok {
		return false
	}
	w, _ := version(want)
	return slices.Compare(h[:], w[:]) >= 0
}

// version reads up to four numbers separated by dots from the beginning of s.
func version(s string) (v [4]int, ok bool) {
	for i := range v {
		n := 0
		for n < len(s) && n < 6 && s[n] >= '0' && s[n] <= '9' {
			v[i] = v[i]*10 + int(s[n]-'0')
			n++
		}
		if n == 0 {
			break
		}
		ok = true
		if s = s[n:]; s == "" || s[0] != '.' {
			break
		}
		s = s[1:]
	}
	return v, ok
}
