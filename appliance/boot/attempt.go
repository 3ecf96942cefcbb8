package boot

import (
	"net/netip"
	"time"
)

// AttemptID names one attempt: lower-case hexadecimal digits, unique over
// restarts of the box, and without meaning. It is safe in paths and labels of
// exemplars.
type AttemptID string

// AttemptState says how an attempt stands. The set is closed: it is a metric
// label.
type AttemptState string

// States of an attempt.
const (
	AttemptRunning AttemptState = "running" // something was seen of it lately
	AttemptBooted  AttemptState = "booted"  // what it was to boot runs
	AttemptLocal   AttemptState = "local"   // left to its local disk, as decided
	AttemptIgnored AttemptState = "ignored" // the box said nothing, on purpose
	AttemptStalled AttemptState = "stalled" // it fell silent on the way, after the stage At
	AttemptFailed  AttemptState = "failed"  // an error was seen that ended it, at the stage At
)

// AttemptStates lists every state.
func AttemptStates() []AttemptState {
	return []AttemptState{AttemptRunning, AttemptBooted, AttemptLocal, AttemptIgnored, AttemptStalled, AttemptFailed}
}

// Bad says whether a person should look at it.
func (s AttemptState) Bad() bool { return s == AttemptStalled || s == AttemptFailed }

// StageName is a step of an attempt. The set is closed: it is a metric label.
type StageName string

// Stages in the order in which a machine passes them. None is obligatory.
const (
	StageDiscover  StageName = "discover"  // DISCOVERs of the machine, retries included
	StageOffer     StageName = "offer"     // OFFERs of this box
	StageLease     StageName = "lease"     // its REQUEST to the site's DHCP server
	StageAsk       StageName = "ask"       // its request on port 4011, answered by this box
	StageProbe     StageName = "probe"     // size probes of TFTP
	StageLoader    StageName = "loader"    // the boot program, by TFTP or HTTP
	StageAutoexec  StageName = "autoexec"  // what the boot program loads first: autoexec.ipxe, /b, grub.cfg
	StageScript    StageName = "script"    // the machine's own script or configuration
	StageMenu      StageName = "menu"      // an entry of a menu was taken
	StageKernel    StageName = "kernel"    // the first file of the target
	StageFiles     StageName = "files"     // its further files: initial RAM disk, modules, images
	StageAnswer    StageName = "answer"    // an answer file was fetched
	StageInstaller StageName = "installer" // the installer reported: callbacks, syslog lines
	StageSystem    StageName = "system"    // an operating system of the machine was heard on the LAN
)

// StageNames lists every stage in its order.
func StageNames() []StageName {
	return []StageName{
		StageDiscover, StageOffer, StageLease, StageAsk, StageProbe, StageLoader, StageAutoexec, StageScript,
		StageMenu, StageKernel, StageFiles, StageAnswer, StageInstaller, StageSystem,
	}
}

// Stage is what was seen of one step.
type Stage struct {
	Name    StageName     `json:"name"`
	First   time.Time     `json:"first"`             // when it was first seen
	Last    time.Time     `json:"last"`              // when it was last seen
	Took    time.Duration `json:"took_ns"`           // from First to Last, on a clock that does not jump
	Count   int           `json:"count"`             // how often; more than one DISCOVER are retries
	Bytes   int64         `json:"bytes,omitempty"`   // octets fetched so far
	Total   int64         `json:"total,omitempty"`   // octets of the file that is under way; 0 unknown
	Retries int           `json:"retries,omitempty"` // packets sent again
	Done    bool          `json:"done"`              // it came to its end
	Reason  Reason        `json:"reason,omitempty"`  // of its latest failure
	File    string        `json:"file,omitempty"`    // latest name asked for: a stranger's text
}

// Foreign is a DHCP packet of another server for a machine, as overheard. All
// texts are a stranger's.
type Foreign struct {
	Type    string     `json:"type"`              // "offer", "ack" or "nak"
	Server  netip.Addr `json:"server"`            // option 54, else the IP source
	MAC     MAC        `json:"mac,omitempty"`     // who put it on the wire
	Port    uint16     `json:"port"`              // UDP source port: 67 or 4011
	Your    netip.Addr `json:"your,omitzero"`     // yiaddr; invalid when no address is given
	Relay   netip.Addr `json:"relay,omitzero"`    // giaddr
	Class   string     `json:"class,omitempty"`   // option 60
	File    string     `json:"file,omitempty"`    // option 67, else the header field
	Header  bool       `json:"header,omitempty"`  // the file stood in the header field
	Next    string     `json:"next,omitempty"`    // siaddr, else option 66 or sname
	Control bool       `json:"control,omitempty"` // 43.6 to 43.10
	DNS     bool       `json:"dns,omitempty"`     // option 6 is there
	Twin    bool       `json:"twin,omitempty"`    // it is another bootpuck
	XID     uint32     `json:"xid,omitempty"`
}

// Boots says whether the packet offers or confirms something to boot.
func (f Foreign) Boots() bool {
	return f.File != "" || f.Control || ClassOf(f.Class) != ClassNone
}

// VerdictConfidence says how sure a verdict is. The set is closed: it is a metric
// label.
type VerdictConfidence string

// Confidences, surest first.
const (
	Certain  VerdictConfidence = "certain"  // it was seen
	Likely   VerdictConfidence = "likely"   // nothing else known explains what was seen
	Possible VerdictConfidence = "possible" // one of several explanations
)

// Severity says how much a verdict matters.
type Severity string

// Severities.
const (
	SeverityInfo     Severity = "info"     // nothing is wrong
	SeverityWarning  Severity = "warning"  // it works, or will for most
	SeverityCritical Severity = "critical" // machines do not boot because of it
)

// Verdict is a named finding on an attempt or on the LAN.
type Verdict struct {
	Name       Reason            `json:"name"`
	Confidence VerdictConfidence `json:"confidence"`
	Severity   Severity          `json:"severity"`
	Stage      StageName         `json:"stage,omitempty"` // where it bit
	Text       string            `json:"text"`            // one or two plain sentences, with what was seen
	Fix        string            `json:"fix,omitempty"`   // what to do; empty when nothing is wrong
	Evidence   []Evidence        `json:"evidence,omitempty"`
}

// Evidence is one observation that a verdict rests on. Text may hold a
// stranger's words: whoever prints it escapes it.
type Evidence struct {
	Time time.Time `json:"time,omitzero"`
	Text string    `json:"text"`
}

// Bounds of an attempt.
const (
	MaxAttemptEvents   = 64 // the first quarter and the last three quarters are kept
	MaxAttemptForeign  = 16
	MaxAttemptVerdicts = 8
	MaxAttemptShapes   = 16
	MaxEvidence        = 12
)

// Attempt is one machine's boot from its first DISCOVER to success, silence or
// the next try. Several programs may speak in it one after the other (EDK2,
// then iPXE; PXE, then HTTP Boot). All texts of clients are hostile.
type Attempt struct {
	ID        AttemptID  `json:"id"`
	MAC       MAC        `json:"mac,omitempty"`  // of its first packet
	MACs      []MAC      `json:"macs,omitempty"` // further hardware addresses in the same boot, at most MaxMACs
	GUID      GUID       `json:"uuid,omitzero"`
	Addr      netip.Addr `json:"addr,omitzero"` // latest address
	Interface string     `json:"interface,omitempty"`
	Machine   MachineID  `json:"machine,omitempty"`
	Name      string     `json:"machine_name,omitempty"` // what the operator calls the machine

	Arch      Arch       `json:"-"`
	ArchKnown bool       `json:"-"`
	ArchName  string     `json:"arch,omitempty"`      // Arch.String() when known
	Firmwares []Firmware `json:"firmwares,omitempty"` // who spoke, in order of first sight
	Class     string     `json:"class,omitempty"`     // option 60 of the first firmware
	Product   string     `json:"product,omitempty"`   // SMBIOS, when told
	Relayed   bool       `json:"relayed,omitempty"`   // DHCP came through a relay

	Start  time.Time     `json:"start"`            // first packet
	Last   time.Time     `json:"last"`             // latest packet
	End    time.Time     `json:"end,omitzero"`     // when the state became final
	Took   time.Duration `json:"took_ns"`          // Start to Last, on a clock that does not jump
	Again  bool          `json:"again,omitempty"`  // an attempt of the same machine went before within MaxTryGap
	Before AttemptID     `json:"before,omitempty"` // that attempt

	State   AttemptState `json:"state"`
	At      StageName    `json:"at,omitempty"`      // the last stage that was reached
	Stages  []Stage      `json:"stages"`            // those that were seen, in the order of StageNames
	Action  Action       `json:"action,omitempty"`  // what the box decided: boot, menu, local …
	Profile string       `json:"profile,omitempty"` // of the decision
	Armed   bool         `json:"armed,omitempty"`   // it was a destructive boot

	Elsewhere bool `json:"elsewhere,omitempty"` // what it boots comes from other servers, so the box sees nothing of it

	Foreign  []Foreign `json:"foreign,omitempty"`  // what other servers said to it
	Shapes   []Shape   `json:"shapes,omitempty"`   // shapes of offer that it was given, in order, repetitions left out
	Verdicts []Verdict `json:"verdicts,omitempty"` // the main one first
	Events   []Event   `json:"events,omitempty"`
	Omitted  int       `json:"omitted,omitempty"` // events that are not kept
}

// Stage returns what was seen of a step; the zero Stage when nothing was.
func (a *Attempt) Stage(n StageName) Stage {
	for _, s := range a.Stages {
		if s.Name == n {
			return s
		}
	}
	return Stage{}
}

// Reached says whether anything was seen of a step.
func (a *Attempt) Reached(n StageName) bool { return a.Stage(n).Count > 0 }

// Verdict is the main verdict; the zero Verdict while there is none.
func (a *Attempt) Verdict() Verdict {
	if len(a.Verdicts) == 0 {
		return Verdict{}
	}
	return a.Verdicts[0]
}
