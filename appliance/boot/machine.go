package boot

import (
	"net/netip"
	"time"
)

// MachineID names a machine record for as long as it exists. The box gives it;
// it says nothing about the machine.
type MachineID string

// Bounds of a machine record. What machines tell is cut to them, what people
// write is refused beyond them.
const (
	MaxMACs  = 16   // hardware addresses of one machine; the least recently seen goes first
	MaxTags  = 32   // tags, and groups, of one machine
	MaxNotes = 4000 // octets of notes
	MaxClaim = 128  // octets of a string that a client told
)

// Machine is the lasting identity behind clients: the SMBIOS identifier and
// serial number first, hardware addresses are observations, because docks and
// USB adapters move between machines.
type Machine struct {
	ID  MachineID `json:"id"`
	Rev uint64    `json:"rev"` // grows with every change by the operator

	// What the operator says.
	Name   string   `json:"name,omitempty"`
	Notes  string   `json:"notes,omitempty"`
	Tags   []string `json:"tags,omitempty"`
	Groups []string `json:"groups,omitempty"` // in order of precedence
	Access Access   `json:"access,omitempty"` // allow- and deny-list
	// Variables of this machine, for templates; they go before those of its
	// groups and of the profile.
	Variables map[string]string `json:"variables,omitempty"`
	// Assignment is what this machine is to boot; nil: groups, rules and the
	// default decide.
	Assignment *Assignment `json:"assignment,omitempty"`

	// Identity. Either may be missing; what is known not to identify (see
	// UsableGUID, UsableSerial) is never stored here but in Seen only.
	GUID   GUID   `json:"uuid,omitzero"`
	Serial string `json:"serial,omitempty"`
	MACs   []NIC  `json:"macs,omitempty"`

	// What it told when it was last seen.
	Seen  Sighting  `json:"seen,omitzero"`
	First time.Time `json:"first_seen,omitzero"`
	Last  time.Time `json:"last_seen,omitzero"`
	Boots uint64    `json:"boots,omitempty"` // decisions asked for
}

// NIC is a hardware address that a machine was seen with, or that the operator
// gave.
type NIC struct {
	MAC    MAC       `json:"mac"`
	Given  bool      `json:"given,omitempty"` // the operator wrote it down: it identifies
	First  time.Time `json:"first_seen,omitzero"`
	Last   time.Time `json:"last_seen,omitzero"`
	Shared bool      `json:"shared,omitempty"` // seen with another machine too: a dock or adapter
}

// Access is the operator's word on whether a machine may boot at all.
type Access string

// Access values.
const (
	AccessDefault Access = ""      // Site.Unknown decides, as long as nobody has decided about the machine
	AccessAllow   Access = "allow" // on the allow-list
	AccessDeny    Access = "deny"  // on the deny-list: never answered
)

// Confidence says how sure the box is which machine a client is.
type Confidence string

// Confidence levels, best first.
const (
	ConfidenceFull   Confidence = "full"   // identifier and serial number agree
	ConfidenceGood   Confidence = "good"   // one of the two, nothing contradicts
	ConfidenceWeak   Confidence = "weak"   // hardware address alone
	ConfidenceNone   Confidence = "none"   // nothing that identifies
	ConfidenceDoubt  Confidence = "doubt"  // identifier and hardware address point to different machines
	ConfidenceShared Confidence = "shared" // hardware address of a dock or adapter, and nothing else
)

// Sighting is one look at a client: what it told about itself. All strings are
// claims of a stranger, bounded to MaxClaim octets and printable.
type Sighting struct {
	Time time.Time  `json:"time,omitzero"`
	MAC  MAC        `json:"mac,omitempty"`
	GUID GUID       `json:"uuid,omitzero"` // as told, even when it identifies nobody
	Addr netip.Addr `json:"addr,omitzero"`

	Serial       string `json:"serial,omitempty"` // as told, even when it identifies nobody
	Manufacturer string `json:"manufacturer,omitempty"`
	Product      string `json:"product,omitempty"`
	Asset        string `json:"asset,omitempty"`
	Hostname     string `json:"hostname,omitempty"`
	NIC          string `json:"nic,omitempty"`    // bus identifier or chip, as iPXE names it
	Memory       int    `json:"memory,omitempty"` // MiB, 0 unknown
	CPU          string `json:"cpu,omitempty"`    // iPXE's ${buildarch}, or from the architecture type

	Firmware   Firmware   `json:"firmware,omitempty"`
	Platform   Platform   `json:"platform,omitempty"` // bios or uefi
	Arch       Arch       `json:"-"`
	ArchKnown  bool       `json:"-"`
	ArchName   string     `json:"arch,omitempty"`        // Arch.String() when known
	SecureBoot SecureBoot `json:"secure_boot,omitempty"` // UEFI variable SecureBoot
	IPXE       string     `json:"ipxe,omitempty"`        // iPXE's ${version}
	Interface  string     `json:"interface,omitempty"`   // of the box
	// Variables are all parameters of the boot script's request by their own
	// names (mac, ip, gateway, domain, user-class …), for rules.
	Variables map[string]string `json:"variables,omitempty"`
}

// SecureBoot is the state of UEFI Secure Boot as a client reports it.
type SecureBoot string

// Secure Boot states.
const (
	SecureBootUnknown SecureBoot = ""    // BIOS, or a program that cannot read EFI variables
	SecureBootOff     SecureBoot = "off" // EFI variable SecureBoot = 0
	SecureBootOn      SecureBoot = "on"  // EFI variable SecureBoot = 1
)

// Proof says whether the sender of a request is who it says it is, as far as
// the box can see: the link layer address behind the IP address (ARP, or the
// DHCP exchange that was overheard) against the hardware address in the query.
type Proof string

// Proofs.
const (
	ProofNone    Proof = ""        // nothing is known about the sender's address
	ProofSeen    Proof = "seen"    // the address belongs to that hardware address
	ProofAgainst Proof = "against" // the address belongs to another hardware address
)
