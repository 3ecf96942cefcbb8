package lan

import (
	"fmt"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/time/rate"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// Bounds of the events about what other servers say to clients. A reply that is
// sent again within foreignAgain says nothing new; a site where hundreds of
// machines boot in a second is still understood from a part of it.
const (
	foreignAgain     = time.Second // for the same words of the same station to one client
	foreignPerSecond = 50          // over all
	foreignKeys      = 1024
)

// foreign is the reply as an event's part. ok is false for what is no answer to
// a machine: another type of message, or a hardware address that no Ethernet
// card has.
func (h heard) foreign() (f boot.Foreign, ok bool) {
	f = boot.Foreign{
		Server: h.server, MAC: h.mac, Port: h.port, Your: h.your, Relay: h.relay, Class: h.class, File: h.file,
		Header: h.header, Next: h.next, Control: h.control, DNS: h.dns, XID: h.xid,
	}
	switch h.kind {
	case dhcpv4.MessageTypeOffer:
		f.Type = "offer"
	case dhcpv4.MessageTypeAck:
		f.Type = "ack"
	case dhcpv4.MessageTypeNak:
		f.Type = "nak"
	default:
		return f, false
	}
	const sixOctets = len("00:00:00:00:00:00")
	return f, len(h.client) == sixOctets && h.client != "00:00:00:00:00:00" && h.client != "ff:ff:ff:ff:ff:ff"
}

// foreignText words f as one sentence. Texts of the stranger are quoted.
func foreignText(f boot.Foreign) string {
	text := map[string]string{"offer": "offered", "ack": "confirmed", "nak": "refused"}[f.Type]
	switch {
	case f.Type == "nak":
		text += " the address it asked for"
	case f.Your.IsValid():
		text += " the address " + f.Your.String()
	default:
		text += " no address"
	}
	if f.Class != "" {
		text += fmt.Sprintf(", option 60 %q", f.Class)
	}
	if f.File != "" {
		text += fmt.Sprintf(", boot file %q", f.File)
	}
	if f.Next != "" {
		text += fmt.Sprintf(", next server %q", f.Next)
	}
	who := "server"
	if f.Twin {
		who = "bootpuck"
	}
	return fmt.Sprintf("The %s %s %s.", who, f.Server, text)
}

// foreignKey is all of what was said, by which station and to whom. With less, a
// forged reply in a server's name would hide what the server itself says.
type foreignKey struct {
	said   boot.Foreign
	client boot.MAC
}

// foreignLimit keeps a chatty server from filling the journal. It reads no
// clock and is not safe for concurrent use.
type foreignLimit struct {
	all  *rate.Limiter
	last map[foreignKey]time.Time
}

func newForeignLimit() *foreignLimit {
	return &foreignLimit{all: rate.NewLimiter(foreignPerSecond, foreignPerSecond), last: map[foreignKey]time.Time{}}
}

// allow says whether what f says to client is told now.
func (l *foreignLimit) allow(f boot.Foreign, client boot.MAC, now time.Time) bool {
	key := foreignKey{f, client}
	if last, ok := l.last[key]; ok && now.Sub(last) < foreignAgain {
		return false
	}
	if !l.all.AllowN(now, 1) {
		return false
	}
	if len(l.last) >= foreignKeys {
		for k, at := range l.last {
			if now.Sub(at) >= foreignAgain {
				delete(l.last, k)
			}
		}
	}
	// The bound over all makes sure that there is room again by now.
	l.last[key] = now
	return true
}
