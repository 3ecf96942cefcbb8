package boot

import (
	"strconv"
	"strings"
	"time"
)

// Variant chooses between the builds of iPXE for one architecture.
type Variant string

// Variants of the first stage.
const (
	VariantDefault Variant = ""       // what the architecture table names
	VariantNative  Variant = "native" // iPXE with its own drivers (ipxe.efi, ipxe.pxe) instead of the firmware's
)

// Shape is everything about an answer that can be varied without changing what
// is booted. The zero Shape is the box's default.
type Shape struct {
	Form       Form          `json:"form,omitempty"`        // direct or two-step; FormNone: the default
	Variant    Variant       `json:"loader,omitempty"`      // which build of iPXE
	Delay      time.Duration `json:"delay_ns,omitempty"`    // before the OFFER is sent, at most 1 s
	Block      int           `json:"blocksize,omitempty"`   // cap of TFTP's block size, octets; 0: the setting's
	NoPriority bool          `json:"no_priority,omitempty"` // without iPXE's 175.1
}

// Bounds of a Shape.
const (
	MaxShapeDelay = time.Second
	MinShapeBlock = 512  // RFC 1350: every client takes these
	MaxShapeBlock = 1468 // more is fragmented on Ethernet
)

// IsZero says whether s is the default.
func (s Shape) IsZero() bool { return s == Shape{} }

// Check says what is wrong with a shape that somebody wrote.
func (s Shape) Check() FieldErrors {
	var errs FieldErrors
	add := func(field, what string) { errs = append(errs, FieldError{Field: field, What: what}) }
	if !s.Form.Valid() {
		add("form", "unknown; write direct or two-step, or leave it out")
	}
	if s.Variant != VariantDefault && s.Variant != VariantNative {
		add("loader", "unknown; write native, or leave it out")
	}
	if s.Delay < 0 || s.Delay > MaxShapeDelay {
		add("delay_ns", "write 0 to "+strconv.FormatInt(int64(MaxShapeDelay), 10)+" (one second)")
	}
	if s.Block != 0 && (s.Block < MinShapeBlock || s.Block > MaxShapeBlock) {
		add("blocksize", "write "+strconv.Itoa(MinShapeBlock)+" to "+strconv.Itoa(MaxShapeBlock)+", or leave it out")
	}
	return errs
}

// String says in a few words what differs from the default.
func (s Shape) String() string {
	var parts []string
	if s.Form != FormNone {
		parts = append(parts, string(s.Form)+" offer")
	}
	if s.Delay != 0 {
		parts = append(parts, "sent after "+s.Delay.String())
	}
	switch s.Variant {
	case VariantDefault:
	case VariantNative:
		parts = append(parts, "iPXE with its own drivers")
	default:
		parts = append(parts, "iPXE build "+string(s.Variant))
	}
	if s.Block != 0 {
		parts = append(parts, "TFTP blocks of at most "+strconv.Itoa(s.Block))
	}
	if s.NoPriority {
		parts = append(parts, "without 175.1")
	}
	if len(parts) == 0 {
		return "the default"
	}
	return strings.Join(parts, ", ")
}

// nativeOf is the build with its own drivers beside a loader of the architecture
// table; empty when there is none.
func nativeOf(loader string) string {
	if loader == loaderBIOS {
		return "ipxe.pxe"
	}
	if cpu, ok := strings.CutSuffix(loader, loaderSNP); ok {
		return cpu + "/ipxe.efi"
	}
	return ""
}
