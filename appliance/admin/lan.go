package admin

import (
	"context"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// probeTime is how long a question to the DHCP servers may take as a whole: the
// slowest of them think a second or two before they offer.
const probeTime = 30 * time.Second

func (a *api) lan() (LANSource, *Problem) {
	if a.Backend.LAN == nil {
		return nil, causeStarting.problem("The box does not listen to the network yet; ask again in a moment.")
	}
	return a.Backend.LAN, nil
}

// getLAN answers with what the box knows of the network around it.
func (a *api) getLAN(w http.ResponseWriter, c *call) {
	source, p := a.lan()
	if p != nil {
		p.write(w, c.Request)
		return
	}
	writeJSON(w, http.StatusOK, lanDoc(source.LAN()))
}

// lanDoc keeps the lists of a LAN lists in JSON.
func lanDoc(l boot.LAN) boot.LAN {
	l.Servers = orEmpty(l.Servers)
	l.Ports = slices.Clone(orEmpty(l.Ports)) // the source's own must stay as they are
	for i, p := range l.Ports {
		if p.Addrs == nil {
			l.Ports[i].Addrs = []netip.Prefix{}
		}
	}
	l.Probes = answered(l.Probes)
	return l
}

func answered(list []boot.LANProbe) []boot.LANProbe {
	list = slices.Clone(list)
	for i, p := range list {
		list[i].Answers = orEmpty(p.Answers)
	}
	return list
}

// postProbe asks the DHCP servers who is there.
func (a *api) postProbe(w http.ResponseWriter, c *call) {
	list, p := a.probe(w, c)
	if p != nil {
		p.write(w, c.Request)
		return
	}
	writeList(w, c, len(list), "", func(i int) any { return list[i] })
}

func (a *api) probe(w http.ResponseWriter, c *call) ([]boot.LANProbe, *Problem) {
	source, p := a.lan()
	if p != nil {
		return nil, p
	}
	// A recorder in a test has no deadlines; a connection has.
	_ = http.NewResponseController(w).SetWriteDeadline(a.Now().Add(2 * probeTime))
	ctx, cancel := context.WithTimeout(c.Context(), probeTime)
	defer cancel()
	list, err := source.Probe(ctx)
	if err != nil {
		return nil, a.explain("The question to the DHCP servers", err)
	}
	return answered(list), nil
}
