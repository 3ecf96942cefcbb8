package boot

import (
	"net/netip"
	"time"
)

// Kind says what an Event is about. The set is closed: it is a metric label.
type Kind string

// Event kinds. The funnel of one boot reads, in this order: offer, ack, tftp or
// http (loader), script, http (payload).
const (
	KindOffer     Kind = "offer"      // an OFFER was sent on 67
	KindAck       Kind = "ack"        // an ACK was sent on 4011, or on 67 for boot-server discovery
	KindSilence   Kind = "silence"    // a DHCP packet was not answered; Reason says why
	KindLease     Kind = "lease"      // a client's REQUEST to the site's DHCP server was overheard
	KindTFTP      Kind = "tftp"       // a transfer ended; Reason is empty when it succeeded
	KindProbe     Kind = "tftp_probe" // a size probe: the client aborted after the OACK, as intended
	KindScript    Kind = "script"     // a boot script, GRUB or other configuration was rendered for a client
	KindHTTP      Kind = "http"       // a file was fetched by HTTP, or refused
	KindWarning   Kind = "warning"    // something worth a person's attention; Reason names it
	KindResponder Kind = "responder"  // another DHCP or PXE server was heard
	KindNetwork   Kind = "network"    // an interface, link or address changed
	KindBox       Kind = "box"        // the box itself: start, stop, health
	KindDecision  Kind = "decision"   // what a machine is to boot was decided; Reason says why not its assignment
	KindCallback  Kind = "callback"   // an installer reported
	KindOperator  Kind = "operator"   // the operator changed something
	KindForeign   Kind = "foreign"    // another server's DHCP packet for a machine was overheard; Foreign holds it
	KindProgress  Kind = "progress"   // a transfer to a machine began or goes on; Bytes of Total
	KindSyslog    Kind = "syslog"     // a line of a machine's system log
	KindVerdict   Kind = "verdict"    // an attempt ended, or the LAN has a finding; Reason is the verdict
	KindQuirk     Kind = "quirk"      // the shape of answers to a machine was changed; Text says how and why
)

// Kinds lists every Kind, for pre-created metrics.
func Kinds() []Kind {
	return []Kind{
		KindOffer, KindAck, KindSilence, KindLease, KindTFTP, KindProbe, KindScript, KindHTTP,
		KindWarning, KindResponder, KindNetwork, KindBox, KindDecision, KindCallback, KindOperator,
		KindForeign, KindProgress, KindSyslog, KindVerdict, KindQuirk,
	}
}

// Event is one observed fact with a time. It is the only thing the rooms tell
// each other: journal, metrics, log and live pages are all fed by it. Strings
// that come from clients are hostile; whoever prints them escapes them.
type Event struct {
	Seq       uint64        // given by the journal, from 1
	Time      time.Time     // when it was observed
	Kind      Kind          // what happened
	Reason    Reason        // why not, or what is wrong; empty when all is well
	MAC       MAC           // client, when known
	GUID      GUID          // client, when known
	Addr      netip.Addr    // client's address, when known
	Interface string        // interface it came in on, when known
	XID       uint32        // DHCP transaction, zero outside DHCP
	Arch      Arch          // valid when ArchKnown
	ArchKnown bool          // Arch holds a value
	Firmware  Firmware      // who is talking; empty outside DHCP
	Form      Form          // shape of the answer, DHCP only
	File      string        // boot file, URL, path asked for; of a callback its name (see Callbacks)
	Bytes     int64         // payload octets that were transferred
	Duration  time.Duration // of a transfer, or from packet to reply
	Retries   int           // retransmissions of a transfer
	Text      string        // one plain sentence or detail
	Class     string        // option 60 as sent, cut to 64 octets; DHCP only
	Secs      uint16        // the secs field as sent; DHCP only. Firmware misuses it, each in its own way
	Total     int64         // octets of the file that is transferred, when known
	Block     int           // TFTP block size agreed, octets
	Acked     bool          // TFTP: the client acknowledged at least one packet
	Foreign   *Foreign      // of KindForeign; never changed once set
	Attempt   AttemptID     // of KindVerdict
	Action    Action        // of a decision, or of a text rendered by one: what the machine is to do
	Profile   string        // same: which profile; empty when none is behind it
	Elsewhere bool          // of a script: what it boots is fetched from other servers, or may be
	Shape     *Shape        // of an offer that is not of the default shape; never changed once set
}

// Sink takes events. It never blocks and is safe for concurrent use.
type Sink func(Event)
