package boot

import "time"

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
