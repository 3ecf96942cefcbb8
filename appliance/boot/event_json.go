package boot

import (
	"encoding/json"
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
	Total      int64     `json:"total,omitempty"`
	Block      int       `json:"blocksize,omitempty"`
	Acked      bool      `json:"acked,omitempty"`
	Foreign    *Foreign  `json:"foreign,omitempty"`
	Attempt    AttemptID `json:"attempt,omitempty"`
	Shape      *Shape    `json:"shape,omitempty"`
}

// MarshalJSON writes the API's form: empty fields are left out, the duration is
// in milliseconds, and the reason comes with its sentence.
func (e Event) MarshalJSON() ([]byte, error) {
	j := eventJSON{
		Seq: e.Seq, Time: e.Time, Kind: e.Kind, Reason: e.Reason, MAC: e.MAC, Interface: e.Interface,
		XID: e.XID, Firmware: e.Firmware, Form: e.Form, File: e.File, Bytes: e.Bytes,
		DurationMS: float64(e.Duration.Microseconds()) / 1000, Retries: e.Retries, Text: e.Text,
		Class: e.Class, Total: e.Total, Block: e.Block, Acked: e.Acked, Foreign: e.Foreign, Attempt: e.Attempt, Shape: e.Shape,
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
