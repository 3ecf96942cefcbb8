package lan

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// route is a default route as the kernel has it now.
type route struct {
	index int        // interface
	addr  netip.Addr // the router
	mac   boot.MAC   // empty while the kernel has not resolved it
}

// routes reads the default routes of IPv4, the preferred one of each interface
// first. Nothing is sent for it.
func (rtnetlink) routes() ([]route, error) {
	list, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_DST)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, fmt.Errorf("read the default routes: %w", err)
	}
	slices.SortStableFunc(list, func(a, b netlink.Route) int { return a.Priority - b.Priority })
	var out []route
	for _, r := range list {
		addr, ok := netip.AddrFromSlice(r.Gw.To4())
		if !ok || r.LinkIndex == 0 || slices.ContainsFunc(out, func(o route) bool { return o.index == r.LinkIndex }) {
			continue
		}
		mac, err := neighbour(addr, r.LinkIndex)
		if err != nil {
			mac = "" // not resolved: the box has not talked to it lately
		}
		out = append(out, route{r.LinkIndex, addr, mac})
	}
	return out, nil
}

// gateways remembers the default routers. It reads no clock and is not safe for
// concurrent use.
type gateways struct {
	list   []boot.LANGateway // newest last
	warned map[string]time.Time
}

// learn takes in the present routes and returns what is worth a warning. byIndex
// are the interfaces of the same moment.
func (g *gateways) learn(routes []route, byIndex map[int]Interface, now time.Time) []boot.Event {
	var out []boot.Event
	for _, r := range routes {
		i, ok := byIndex[r.index]
		if !ok || !i.Served {
			continue
		}
		x := boot.LANGateway{Time: now, Interface: i.Name, Addr: r.addr, MAC: r.mac}
		old := g.latest(i.Name)
		switch {
		case old == nil:
			g.add(x)
		case old.Addr == r.addr && (r.mac == "" || r.mac == old.MAC):
		case old.Addr == r.addr && old.MAC == "":
			old.MAC = r.mac
		case old.Addr != r.addr && !slices.ContainsFunc(i.Addrs, func(p netip.Prefix) bool { return p.Contains(old.Addr) }):
			// The box itself has moved to another network. What was before
			// says nothing about this one.
			g.list = slices.DeleteFunc(g.list, func(o boot.LANGateway) bool { return o.Interface == i.Name })
			g.add(x)
		default:
			from := *old
			g.add(x)
			if last, ok := g.warned[i.Name]; ok && now.Sub(last) < warnEvery {
				continue
			}
			if g.warned == nil {
				g.warned = map[string]time.Time{}
			}
			if len(g.warned) >= MaxInterfaces {
				clear(g.warned) // names come and go with containers
			}
			g.warned[i.Name] = now
			out = append(out, boot.Event{
				Time: now, Kind: boot.KindWarning, Reason: boot.ReasonGatewayChanged, Interface: i.Name, Text: gatewayText(from, x),
			})
		}
	}
	return out
}

func (g *gateways) latest(ifname string) *boot.LANGateway {
	for n := len(g.list) - 1; n >= 0; n-- {
		if g.list[n].Interface == ifname {
			return &g.list[n]
		}
	}
	return nil
}

func (g *gateways) add(x boot.LANGateway) {
	if len(g.list) >= boot.MaxLANGateways {
		g.list = slices.Delete(g.list, 0, 1)
	}
	g.list = append(g.list, x)
}

func gatewayText(from, to boot.LANGateway) string {
	if from.Addr == to.Addr {
		return fmt.Sprintf("The router %s on %s is another station now: %s instead of %s.", to.Addr, to.Interface, to.MAC, from.MAC)
	}
	return fmt.Sprintf("The router of %s is %s now, instead of %s.", to.Interface, to.Addr, from.Addr)
}
