package webui

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// Bounds of what the picture shows.
const (
	maxWires    = 8
	maxNodes    = 24
	maxProblems = 24
	maxRows     = 64
)

// lanView is the network around the box.
type lanView struct {
	Wires     []wire
	Whole     bool // with the tables
	Findings  []problem
	Ports     []portRow
	Servers   []serverRow
	Probes    []probeRow
	Twins     []twinRow
	Routers   []routerRow
	Changes   []changeRow
	Conflicts []conflictRow
	More      int // servers that are not shown
}

// wire is a LAN that an interface of the box is on.
type wire struct {
	Name  string
	Facts string
	Down  bool
	Nodes []node
	More  int
}

// node is a station on it.
type node struct {
	Icon  string
	Title string
	Main  string
	Lines []string
	Bad   []string // what is wrong with it
	Tone  string
	Self  bool
}

type portRow struct {
	Name, MAC, Link, Served, Speed, MTU, Addrs, Switch, Since string
	Tone                                                      string
}

type serverRow struct {
	Server, MAC, Interface, Role, Says, First, Last, Replies string
	Findings                                                 []string
	Tone                                                     string
}

type probeRow struct{ When, Interface, Answers, Tone string }

type twinRow struct{ Addr, ID, Version, Uptime, Role, Last string }

type routerRow struct{ Since, Interface, Addr, MAC string }

type changeRow struct{ When, Interface, From, To string }

type conflictRow struct{ Addr, MAC, Interface, First, Last string }

// wiresOf draws the LANs that the box serves. Booting machines are counted by
// their interface.
func wiresOf(lan boot.LAN, box BoxInfo, running []boot.Attempt) []wire {
	var wires []wire
	first := ""
	for _, p := range lan.Ports {
		if p.Served && (first == "" || p.Up) {
			first = p.Name
			if p.Up {
				break
			}
		}
	}
	for _, p := range lan.Ports {
		if !p.Served || len(wires) == maxWires {
			continue
		}
		w := wire{Name: clean(p.Name, shortText), Down: !p.Up}
		w.Facts = join(linkWord(p), speedWord(p.Speed))
		w.Nodes = append(w.Nodes, boxNode(lan, box, p))
		if p.Neighbour != nil {
			w.Nodes = append(w.Nodes, switchNode(p.Neighbour))
		}
		if g, ok := routerOf(lan, p.Name); ok {
			w.Nodes = append(w.Nodes, node{Icon: "router", Title: "Router", Main: address(g.Addr.String(), g.Addr.IsValid()), Lines: lines(clean(string(g.MAC), shortText))})
		}
		for _, s := range lan.Servers {
			if s.Interface == p.Name {
				w.Nodes = append(w.Nodes, serverNode(s))
			}
		}
		for _, c := range lan.Conflicts {
			if c.Interface == p.Name {
				w.Nodes = append(w.Nodes, node{
					Icon: "alien", Title: "Somebody else", Main: address(c.Addr.String(), c.Addr.IsValid()), Lines: lines(clean(string(c.MAC), shortText)),
					Bad: []string{"uses this box's address"}, Tone: toneBad,
				})
			}
		}
		if p.Name == first {
			for _, t := range lan.Twins {
				if !serverKnown(lan, t) {
					w.Nodes = append(w.Nodes, twinNode(t))
				}
			}
		}
		n := 0
		for i := range running {
			if running[i].Interface == p.Name || running[i].Interface == "" && p.Name == first {
				n++
			}
		}
		if n > 0 {
			w.Nodes = append(w.Nodes, node{Icon: "machine", Title: "Booting now", Main: times(n, "machine", "machines"), Tone: toneNow})
		}
		if len(w.Nodes) > maxNodes {
			w.More = len(w.Nodes) - maxNodes
			w.Nodes = w.Nodes[:maxNodes]
		}
		wires = append(wires, w)
	}
	return wires
}

func boxNode(lan boot.LAN, box BoxInfo, p boot.LANPort) node {
	n := node{Icon: "puck", Title: "This box", Main: clean(box.Name, shortText), Self: true, Tone: toneGood}
	n.Lines = prefixes(p)
	switch {
	case !p.Up:
		n.Tone, n.Bad = toneBad, []string{"no link"}
	case len(p.Addrs) == 0:
		n.Tone, n.Bad = toneWarn, []string{"no address yet"}
	}
	if box.Observe {
		n.Lines = append(n.Lines, "observes, sends nothing")
	}
	if lan.Standby {
		n.Tone, n.Lines = toneWarn, append(n.Lines, "stands by")
	}
	return n
}

func prefixes(p boot.LANPort) []string {
	var list []string
	for i, a := range p.Addrs {
		if i == 4 {
			list = append(list, fmt.Sprintf("and %d more", len(p.Addrs)-i))
			break
		}
		list = append(list, a.String())
	}
	return list
}

func switchNode(l *boot.LLDP) node {
	name := l.System
	if name == "" {
		name = l.Chassis
	}
	port := l.PortDescription
	if port == "" {
		port = l.Port
	}
	n := node{Icon: "switch", Title: "Switch", Main: clean(name, shortText), Lines: lines("port " + clean(port, shortText))}
	if l.VLAN > 0 {
		n.Lines = append(n.Lines, fmt.Sprintf("VLAN %d", l.VLAN))
	}
	return n
}

// routerOf is the latest router of an interface.
func routerOf(lan boot.LAN, name string) (boot.LANGateway, bool) {
	for _, g := range slices.Backward(lan.Gateways) {
		if g.Interface == name {
			return g, true
		}
	}
	return boot.LANGateway{}, false
}

func roleWord(s boot.LANServer) string {
	switch {
	case s.Twin:
		return "Another bootpuck"
	case s.DHCP && s.PXE:
		return "DHCP and boot server"
	case s.PXE:
		return "Boot server"
	case s.DHCP:
		return "DHCP server"
	}
	return "DHCP or boot server"
}

func serverNode(s boot.LANServer) node {
	n := node{Icon: "dhcp", Title: roleWord(s), Main: address(s.Server.String(), s.Server.IsValid()), Lines: serverSays(s), Tone: serverTone(s)}
	if s.PXE || s.Twin {
		n.Icon = "pxe"
	}
	if s.Twin {
		n.Icon = "puck"
	}
	if s.Relay.IsValid() && !s.Relay.IsUnspecified() {
		n.Lines = append(n.Lines, "behind the relay "+s.Relay.String())
	}
	for i, f := range s.Findings {
		if i == 6 {
			break
		}
		n.Bad = append(n.Bad, badge(f))
	}
	return n
}

// badge is a finding on a server in the fewest words.
func badge(r boot.Reason) string {
	switch r {
	case boot.ReasonNewResponder:
		return "new here"
	case boot.ReasonRogueDHCP:
		return "second DHCP server"
	case boot.ReasonOtherPXE:
		return "answers boot clients"
	case boot.ReasonOption60:
		return "sends option 60"
	case boot.ReasonServerBootFile:
		return "names a boot file"
	case boot.ReasonWrongNextServer:
		return "wrong next server"
	case boot.ReasonTwin:
		return "another bootpuck"
	default:
		return clean(headline(r), shortText)
	}
}

func serverTone(s boot.LANServer) string {
	tone := ""
	for _, f := range s.Findings {
		switch f {
		case boot.ReasonRogueDHCP, boot.ReasonOption60, boot.ReasonDuplicateAddress:
			return toneBad
		default:
			tone = toneWarn
		}
	}
	return tone
}

func serverSays(s boot.LANServer) []string {
	var list []string
	for i, f := range s.BootFiles {
		if i == 3 {
			break
		}
		list = append(list, "boot file "+clean(f, shortText))
	}
	for i, n := range s.NextServers {
		if i == 3 {
			break
		}
		list = append(list, "next server "+clean(n, shortText))
	}
	for i, c := range s.Classes {
		if i == 3 {
			break
		}
		list = append(list, "option 60 "+clean(c, shortText))
	}
	if s.Naks > 0 {
		list = append(list, times(int(min(s.Naks, 1<<30)), "refusal", "refusals"))
	}
	return list
}

func serverKnown(lan boot.LAN, t boot.LANTwin) bool {
	return slices.ContainsFunc(lan.Servers, func(s boot.LANServer) bool { return s.Server == t.Addr })
}

func twinNode(t boot.LANTwin) node {
	return node{Icon: "puck", Title: "Another bootpuck", Main: address(t.Addr.String(), t.Addr.IsValid()), Lines: lines(twinRole(t), "version "+clean(t.Version, shortText)), Tone: toneWarn}
}

func twinRole(t boot.LANTwin) string {
	switch {
	case t.Standby:
		return "stands by"
	case t.Older:
		return "runs longer than this box"
	}
	return "was started later"
}

func linkWord(p boot.LANPort) string {
	if p.Up {
		return "link up"
	}
	return "no link"
}

func speedWord(mbit int) string {
	switch {
	case mbit <= 0:
		return ""
	case mbit%1000 == 0:
		return fmt.Sprintf("%d Gbit/s", mbit/1000)
	case mbit > 1000:
		return fmt.Sprintf("%.1f Gbit/s", float64(mbit)/1000)
	}
	return fmt.Sprintf("%d Mbit/s", mbit)
}

func address(s string, valid bool) string {
	if !valid {
		return ""
	}
	return s
}

func lines(list ...string) []string {
	return slices.DeleteFunc(list, func(s string) bool { return s == "" })
}

// tablesOf adds what the page of the LAN tells beyond the picture.
func (v *lanView) tablesOf(lan boot.LAN, findings []boot.Verdict, now time.Time) {
	v.Whole = true
	for i, f := range findings {
		if i == maxProblems {
			break
		}
		v.Findings = append(v.Findings, problemOf(f, now))
	}
	for i, p := range lan.Ports {
		if i == maxRows {
			break
		}
		r := portRow{
			Name: clean(p.Name, shortText), MAC: clean(string(p.MAC), shortText), Link: linkWord(p), Served: "no", Speed: speedWord(p.Speed),
			MTU: itoa(p.MTU), Addrs: strings.Join(prefixes(p), ", "), Since: clock(p.UpSince, now), Tone: toneDim,
		}
		if p.Served {
			r.Served, r.Tone = "yes", toneGood
			if !p.Up {
				r.Tone = toneBad
			}
		}
		if l := p.Neighbour; l != nil {
			n := switchNode(l)
			r.Switch = join(append([]string{n.Main}, n.Lines...)...)
		}
		v.Ports = append(v.Ports, r)
	}
	for i, s := range lan.Servers {
		if i == maxRows {
			v.More = len(lan.Servers) - i
			break
		}
		v.Servers = append(v.Servers, serverRowOf(s, now))
	}
	for i, p := range slices.Backward(lan.Probes) {
		if len(lan.Probes)-i > maxRows {
			break
		}
		v.Probes = append(v.Probes, probeRowOf(p, now))
	}
	for _, t := range lan.Twins[:min(len(lan.Twins), boot.MaxLANTwins)] {
		v.Twins = append(v.Twins, twinRow{address(t.Addr.String(), t.Addr.IsValid()), clean(t.ID, shortText), clean(t.Version, shortText), took(t.Uptime), twinRole(t), clock(t.Last, now)})
	}
	for _, g := range slices.Backward(lan.Gateways[:min(len(lan.Gateways), boot.MaxLANGateways)]) {
		v.Routers = append(v.Routers, routerRow{clock(g.Time, now), clean(g.Interface, shortText), address(g.Addr.String(), g.Addr.IsValid()), clean(string(g.MAC), shortText)})
	}
	for _, c := range slices.Backward(lan.Changes[:min(len(lan.Changes), boot.MaxLANChanges)]) {
		v.Changes = append(v.Changes, changeRow{clock(c.Time, now), clean(c.Interface, shortText), orNone(address(c.From.String(), c.From.IsValid())), orNone(address(c.To.String(), c.To.IsValid()))})
	}
	for _, c := range lan.Conflicts[:min(len(lan.Conflicts), boot.MaxLANConflicts)] {
		v.Conflicts = append(v.Conflicts, conflictRow{address(c.Addr.String(), c.Addr.IsValid()), clean(string(c.MAC), shortText), clean(c.Interface, shortText), clock(c.First, now), clock(c.Last, now)})
	}
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

func serverRowOf(s boot.LANServer, now time.Time) serverRow {
	r := serverRow{
		Server: address(s.Server.String(), s.Server.IsValid()), MAC: clean(string(s.MAC), shortText), Interface: clean(s.Interface, shortText), Role: roleWord(s),
		Says: strings.Join(serverSays(s), ", "), First: clock(s.First, now), Last: clock(s.Last, now), Tone: serverTone(s),
		Replies: fmt.Sprint(s.Replies),
	}
	if r.Says == "" {
		r.Says = "nothing about booting"
	}
	for i, f := range s.Findings {
		if i == 6 {
			break
		}
		r.Findings = append(r.Findings, badge(f))
	}
	return r
}

func probeRowOf(p boot.LANProbe, now time.Time) probeRow {
	r := probeRow{When: join(clock(p.Time, now), ago(now.Sub(p.Time))), Interface: clean(p.Interface, shortText), Tone: toneGood}
	var list []string
	for i, a := range p.Answers {
		if i == 16 {
			break
		}
		list = append(list, a.String())
	}
	switch {
	case p.Err != "":
		r.Answers, r.Tone = clean(p.Err, lineText), toneWarn
	case len(list) == 0:
		r.Answers, r.Tone = "no server answered", toneBad
	default:
		r.Answers = strings.Join(list, ", ")
	}
	return r
}
