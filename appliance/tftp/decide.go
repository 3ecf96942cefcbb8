package tftp

import (
	"bytes"
	"net/netip"
	"strconv"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// arrived is a datagram of the request socket with all that is known about it.
type arrived struct {
	packet []byte
	src    netip.AddrPort
	at     arrival
	known  bool // at is valid
	served bool // the interface is one of those we serve
}

// verdict is what becomes of it. Without a reason it is to be served.
type verdict struct {
	reason  boot.Reason
	answer  []byte // the ERROR to send; nil: say nothing
	request request
	name    string // cleaned
	shown   string // the name for the event: cleaned, or quoted as it came
	text    string
}

// decide says what becomes of a datagram. Whatever is no request of somebody we may
// serve gets no answer; a request that can be understood and is refused gets an
// ERROR with a constant text. take spends one request of the sender's budget.
func decide(a arrived, allowed func(netip.Addr, int) boot.Reason, take func() bool) verdict {
	r, malformed := parseRequest(a.packet)
	v := verdict{request: r}
	var badName boot.Reason
	if malformed == boot.ReasonNone {
		v.name, badName = Clean(r.rawName)
		v.shown = v.name
		if badName != boot.ReasonNone {
			v.shown = strconv.QuoteToASCII(string(r.rawName[:min(len(r.rawName), 128)]))
		}
	}
	refuse := func(reason boot.Reason, answer []byte, text string) verdict {
		v.reason, v.answer, v.text = reason, answer, text
		return v
	}
	switch {
	case !a.known || !a.served:
		return refuse(boot.ReasonInterface, nil, "")
	case !a.at.direct:
		// RFC 1123, 4.2.3.5: a request sent to a broadcast address is ignored; it
		// would be answered by every server of the LAN.
		return refuse(boot.ReasonTFTPRequest, nil, "sent to a broadcast address")
	case a.src.Port() == 0, !a.src.Addr().Is4(), a.src.Addr().IsUnspecified(), a.src.Addr().IsMulticast(), a.src.Addr() == broadcast:
		return refuse(boot.ReasonSource, nil, "")
	}
	if reason := allowed(a.src.Addr(), a.at.ifindex); reason != boot.ReasonNone {
		return refuse(reason, nil, "")
	}
	switch {
	case !take():
		return refuse(boot.ReasonRate, nil, "")
	case malformed != boot.ReasonNone:
		return refuse(malformed, nil, "")
	case r.write:
		return refuse(boot.ReasonTFTPWrite, errorPacket(codeAccess, textWrite), "")
	case !modeServed(r.mode):
		return refuse(boot.ReasonTFTPRequest, errorPacket(codeIllegal, textMode), "mode "+strconv.QuoteToASCII(r.mode))
	case badName != boot.ReasonNone:
		return refuse(badName, errorPacket(codeNotFound, textNotFound), "")
	}
	return v
}

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// clone makes r independent of the buffer it was read into.
func (r request) clone() request {
	r.rawName = bytes.Clone(r.rawName)
	return r
}
