package admin

import (
	"context"
	"io"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// LANSource is the network around the box. Its methods are safe for concurrent
// use; LAN and Findings must not block.
type LANSource interface {
	LAN() boot.LAN
	// Findings are what is wrong with the network now, or worth knowing; the
	// worst first.
	Findings() []boot.Verdict
	// Probe asks the DHCP servers of every served interface and waits for their
	// answers, some seconds. An error with a method Reason() boot.Reason says why
	// it did not ask: boot.ReasonProbeBusy, boot.ReasonProbeOff.
	Probe(ctx context.Context) ([]boot.LANProbe, error)
}

// Quirks are the shapes of answers by model of machine: learned, or pinned by
// the operator. Its methods are safe for concurrent use. Errors: ErrNotFound and
// boot.FieldErrors; an error with a method Reason() boot.Reason says why a file is
// refused (boot.ReasonQuirkFile, boot.ReasonQuirkSignature) or why nothing can be
// stored.
type Quirks interface {
	List() []Quirk
	Get(id string) (Quirk, bool)
	// Pin holds a known model to a shape.
	Pin(id string, s boot.Shape, note string) error
	// PinModel does the same for a model that is named by its parts, known or not.
	PinModel(class, oui, product string, s boot.Shape, note string) (Quirk, error)
	// Reset forgets what was learned of a model, and its pin.
	Reset(id string) error
	// Export writes all models as a file that is signed by this box.
	Export(w io.Writer) error
	// Import takes over the models of such a file, if it trusts the key that
	// signed it, and says what changed. Pins made here stay.
	Import(data []byte) ([]Difference, error)
}

// Quirk is a model of machine and the shape of answers that it gets.
type Quirk struct {
	ID      string     `json:"id"`                // made of its parts; good in addresses
	Class   string     `json:"class,omitempty"`   // option 60, a stranger's text
	OUI     string     `json:"oui,omitempty"`     // first half of the hardware address: 52:54:00
	Product string     `json:"product,omitempty"` // SMBIOS, a stranger's text
	Shape   boot.Shape `json:"shape"`
	Pinned  bool       `json:"pinned"` // by the operator; not changed by what machines do
	Worked  int        `json:"worked"` // boots that went on with this shape
	Failed  int        `json:"failed"` // boots that did not
	First   time.Time  `json:"first_seen,omitzero"`
	Last    time.Time  `json:"last_seen,omitzero"`
	Note    string     `json:"note,omitempty"` // the operator's
}

// Captures are the packets of boots that are still in memory.
type Captures interface {
	// Write writes the packets of a as a pcap file and says how many they were;
	// with redact, addresses, names and serial numbers are replaced. An error with
	// a method Reason() boot.Reason says why there are none:
	// boot.ReasonCaptureGone.
	Write(w io.Writer, a boot.Attempt, redact bool) (int, error)
}
