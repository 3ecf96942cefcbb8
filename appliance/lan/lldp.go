package lan

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// errLLDP says why a frame is no LLDP (IEEE 802.1AB clause 8).
var errLLDP = errors.New("not LLDP")

// LLDP's ethertype and the groups it is sent to: the nearest bridge of any
// kind, the nearest one that is not a two-port relay, the nearest customer
// bridge (IEEE 802.1AB table 7-1).
const ethertypeLLDP = 0x88cc

var lldpGroups = []net.HardwareAddr{
	{0x01, 0x80, 0xc2, 0, 0, 0x0e},
	{0x01, 0x80, 0xc2, 0, 0, 0x03},
	{0x01, 0x80, 0xc2, 0, 0, 0x00},
}

// maxNeighbours bounds the neighbours kept of one interface: a switch, and some
// stations behind one that passes their frames on.
const maxNeighbours = 4

// announcement is one LLDP frame.
type announcement struct {
	boot.LLDP
	ttl    time.Duration // how long it counts; 0: it takes back what it said
	bridge bool          // it says that it is a switch or router
}

// TLV types (IEEE 802.1AB table 8-1).
const (
	tlvEnd = iota
	tlvChassis
	tlvPort
	tlvTTL
	tlvPortDescription
	tlvSystemName
	tlvSystemDescription
	tlvCapabilities
	tlvOrganisation = 127
)

// parseLLDP reads the data of an LLDP frame. It accepts any bytes.
func parseLLDP(b []byte) (a announcement, err error) {
	for n := 0; len(b) >= 2; n++ {
		head := binary.BigEndian.Uint16(b)
		kind, length := int(head>>9), int(head&0x1ff)
		if len(b) < 2+length {
			return a, fmt.Errorf("%w: element %d runs past the end", errLLDP, kind)
		}
		v := b[2 : 2+length]
		b = b[2+length:]
		// The first three have a fixed order and are obligatory.
		if n < 3 && kind != tlvChassis+n {
			return a, fmt.Errorf("%w: element %d in place %d", errLLDP, kind, n)
		}
		if n >= 3 && kind == tlvEnd {
			return a, nil
		}
		if err := a.take(n, kind, v); err != nil {
			return a, err
		}
		if n == 2 && a.ttl == 0 {
			return a, nil // what follows does not matter
		}
	}
	if a.Chassis == "" || a.Port == "" || a.ttl == 0 {
		return a, fmt.Errorf("%w: cut short", errLLDP)
	}
	return a, nil // a missing end is forgiven
}

// take reads one element.
func (a *announcement) take(n, kind int, v []byte) error {
	switch {
	case n < 2 && (len(v) < 2 || len(v) > 256):
		return fmt.Errorf("%w: element %d has %d octets", errLLDP, kind, len(v))
	case n == 2 && len(v) < 2:
		return fmt.Errorf("%w: no time to live", errLLDP)
	}
	switch kind {
	case tlvChassis:
		// Subtypes 4 and 5 are hardware and network addresses (table 8-2).
		if n == 0 {
			a.Chassis = identifier(v[0] == 4, v[0] == 5, v[1:])
		}
	case tlvPort:
		// Here they are 3 and 4 (table 8-3).
		if n == 1 {
			a.Port = identifier(v[0] == 3, v[0] == 4, v[1:])
		}
	case tlvTTL:
		if n == 2 {
			a.ttl = time.Duration(binary.BigEndian.Uint16(v)) * time.Second
		}
	case tlvPortDescription:
		a.PortDescription = text(v)
	case tlvSystemName:
		a.System = text(v)
	case tlvCapabilities:
		const bridge, router = 1 << 2, 1 << 4 // enabled ones stand in the last two octets
		a.bridge = len(v) >= 4 && binary.BigEndian.Uint16(v[2:])&(bridge|router) != 0
	case tlvOrganisation:
		// Port VLAN identifier (IEEE 802.1Q annex D).
		if len(v) == 6 && string(v[:4]) == "\x00\x80\xc2\x01" {
			a.VLAN = int(binary.BigEndian.Uint16(v[4:]) & 0xfff)
		}
	}
	return nil
}

// identifier words a chassis or port identifier. What is no text is shown in
// hexadecimal digits.
func identifier(hardware, network bool, v []byte) string {
	switch {
	case hardware && len(v) == 6:
		return string(boot.MACOf(v))
	case network && len(v) == 5 && v[0] == 1: // IANA address family numbers
		return netip.AddrFrom4([4]byte(v[1:])).String()
	case network && len(v) == 17 && v[0] == 2:
		return netip.AddrFrom16([16]byte(v[1:])).String()
	}
	if s := text(v); s != "" && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return s
	}
	return hex.EncodeToString(v[:min(len(v), maxText/2)])
}

// neighbourhood is what was announced on one interface. It reads no clock and
// is not safe for concurrent use.
type neighbourhood []announced

type announced struct {
	announcement
	expires time.Time
}

// hear takes in one announcement.
func (n *neighbourhood) hear(a announcement, now time.Time) {
	*n = slices.DeleteFunc(*n, func(o announced) bool {
		return !o.expires.After(now) || o.Chassis == a.Chassis && o.Port == a.Port
	})
	if a.ttl <= 0 {
		return
	}
	if len(*n) >= maxNeighbours {
		// The switch is what counts; of the others the oldest gives way.
		i := slices.IndexFunc(*n, func(o announced) bool { return !o.bridge })
		if i < 0 {
			i = 0
		}
		*n = slices.Delete(*n, i, i+1)
	}
	a.Last = now
	*n = append(*n, announced{a, now.Add(a.ttl)})
}

// best is the neighbour that the cable leads to: a switch before a station
// whose frames a simple switch passes on, the latest of equals; nil for none.
func (n neighbourhood) best(now time.Time) *boot.LLDP {
	var found *announced
	for i := range n {
		if o := &n[i]; o.expires.After(now) && (found == nil || o.bridge || !found.bridge) {
			found = o
		}
	}
	if found == nil {
		return nil
	}
	l := found.LLDP
	return &l
}
