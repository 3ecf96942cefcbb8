package boot

import (
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"time"
)

// eventJSON is Event as the API shows it. Names are a contract: bootpuckctl and
// operators' scripts read them.
type eventJSON struct {
	Seq        uint64    `json:"seq"`
	Time       time.Time `json:"time"`
	Kind       Kind      `json:"kind"`
	Reason     Reason    `json:"reason,omitempty"`
	ReasonText string    `json:"reason_text,omitempty"`
	MAC        MAC       `json:"mac,omitempty"`
	UUID       string    `json:"uuid,omitempty"`
	Addr       string    `json:"addr,omitempty"`
	Interface  string    `json:"interface,omitempty"`
	XID        uint32    `json:"xid,omitempty"`
	Arch       string    `json:"arch,omitempty"`
	Firmware   Firmware  `json:"firmware,omitempty"`
	Form       Form      `json:"form,omitempty"`
	File       string    `json:"file,omitempty"`
	Bytes      int64     `json:"bytes,omitempty"`
	DurationMS float64   `json:"duration_ms,omitempty"`
	Retries    int       `json:"retries,omitempty"`
	Text       string    `json:"text,omitempty"`
	Class      string    `json:"class,omitempty"`
	Secs       uint16    `json:"secs,omitempty"`
	Total      int64     `json:"total,omitempty"`
	Block      int       `json:"blocksize,omitempty"`
	Acked      bool      `json:"acked,omitempty"`
	Foreign    *Foreign  `json:"foreign,omitempty"`
	Attempt    AttemptID `json:"attempt,omitempty"`
	Shape      *Shape    `json:"shape,omitempty"`
	Action     Action    `json:"action,omitempty"`
	Profile    string    `json:"profile,omitempty"`
	Elsewhere  bool      `json:"elsewhere,omitempty"`
}

// MarshalJSON writes the API's form: empty fields are left out, the duration is
// in milliseconds, and the reason comes with its sentence.
func (e Event) MarshalJSON() ([]byte, error) {
	j := eventJSON{
		Seq: e.Seq, Time: e.Time, Kind: e.Kind, Reason: e.Reason, MAC: e.MAC, Interface: e.Interface,
		XID: e.XID, Firmware: e.Firmware, Form: e.Form, File: e.File, Bytes: e.Bytes,
		DurationMS: float64(e.Duration.Microseconds()) / 1000, Retries: e.Retries, Text: e.Text,
		Class: e.Class, Secs: e.Secs, Total: e.Total, Block: e.Block, Acked: e.Acked, Foreign: e.Foreign, Attempt: e.Attempt, Shape: e.Shape, Action: e.Action, Profile: e.Profile, Elsewhere: e.Elsewhere,
	}
	if e.Reason != ReasonNone {
		j.ReasonText = e.Reason.Text()
	}
	if !e.GUID.IsZero() {
		j.UUID = e.GUID.String()
	}
	if e.Addr.IsValid() {
		j.Addr = e.Addr.String()
	}
	if e.ArchKnown {
		j.Arch = e.Arch.String()
	}
	return json.Marshal(j)
}

// UnmarshalJSON reads what MarshalJSON wrote. Durations come back in
// microseconds, and an architecture outside the registry as one that is unknown;
// the rest is as it was. Errors name the field.
func (e *Event) UnmarshalJSON(b []byte) error {
	var j eventJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return fmt.Errorf("event: %w", err)
	}
	*e = Event{
		Seq: j.Seq, Time: j.Time, Kind: j.Kind, Reason: j.Reason, MAC: j.MAC, Interface: j.Interface,
		XID: j.XID, Firmware: j.Firmware, Form: j.Form, File: j.File, Bytes: j.Bytes, Retries: j.Retries, Text: j.Text,
		Class: j.Class, Secs: j.Secs, Total: j.Total, Block: j.Block, Acked: j.Acked, Foreign: j.Foreign, Attempt: j.Attempt, Shape: j.Shape, Action: j.Action, Profile: j.Profile, Elsewhere: j.Elsewhere,
	}
	// Out of range, the conversion would be the processor's choice.
	if ms := j.DurationMS; math.Abs(ms) <= maxDurationMS {
		e.Duration = time.Duration(math.Round(ms*1000)) * time.Microsecond
	} else {
		return fmt.Errorf("event: duration_ms %g: write milliseconds, at most %g", ms, float64(maxDurationMS))
	}
	if j.UUID != "" {
		g, err := ParseGUID(j.UUID)
		if err != nil {
			return fmt.Errorf("event: uuid: %w", err)
		}
		e.GUID = g
	}
	if j.Addr != "" {
		a, err := netip.ParseAddr(j.Addr)
		if err != nil {
			return fmt.Errorf("event: addr: %w", err)
		}
		e.Addr = a
	}
	if j.Arch != "" {
		e.Arch, e.ArchKnown = ArchNamed(j.Arch)
	}
	return nil
}

// maxDurationMS bounds a duration that is read: a hundred days.
const maxDurationMS = 100 * 24 * 3600 * 1000

// ArchNamed is the architecture that Arch.String calls name. A value outside the
// registry comes back as one that stays unknown. known is false for a text that
// is no name at all.
func ArchNamed(name string) (a Arch, known bool) {
	if name == archUnknown {
		return math.MaxUint16, true
	}
	for _, i := range archs {
		if i.Name == name {
			return i.Arch, true
		}
	}
	return 0, false
}
