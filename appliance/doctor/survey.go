package doctor

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// Times of findings on the LAN.
const (
	conflictFor = 10 * time.Minute // after it was last heard
	gatewayFor  = 24 * time.Hour   // how long a change of the router is worth telling
	twinFor     = 10 * time.Minute
)

// survey is the LAN as its rules look at it.
type survey struct {
	lan *boot.LAN
}

func newSurvey(lan *boot.LAN) *survey { return &survey{lan} }

// within says whether t is at most d before now.
func (s *survey) within(t time.Time, d time.Duration) bool {
	return !t.IsZero() && s.lan.Now.Sub(t) < d
}

// serverWord names a server so that a person finds it.
func (s *survey) serverWord(x *boot.LANServer) string {
	what := "server"
	switch {
	case x.DHCP && x.PXE:
		what = "DHCP and boot server"
	case x.DHCP:
		what = "DHCP server"
	case x.PXE:
		what = "boot server"
	}
	out := what + " " + addrWord(x.Server)
	if x.MAC != "" {
		out += " (" + string(x.MAC) + ")"
	}
	if x.Relay.IsValid() {
		out += " behind the relay " + x.Relay.String()
	}
	if x.Interface != "" {
		out += " on " + clip(x.Interface, maxWord)
	}
	return out
}

// perServer makes a verdict for every server that the sentinel has this finding
// on: findings age out there, while what a server ever said does not.
func perServer(reason boot.Reason, sev boot.Severity, say func(*survey, *boot.LANServer) (text, fix string)) func(*survey) []boot.Verdict {
	return func(s *survey) []boot.Verdict {
		var out []boot.Verdict
		for i := range s.lan.Servers {
			x := &s.lan.Servers[i]
			if !slices.Contains(x.Findings, reason) {
				continue
			}
			text, fix := say(s, x)
			out = append(out, boot.Verdict{
				Confidence: boot.Certain, Severity: sev, Text: capital(text), Fix: fix,
				Evidence: []boot.Evidence{
					{Time: x.First, Text: "first heard: " + s.serverWord(x)},
					{Time: x.Last, Text: "last heard, after " + replies(x.Replies)},
				},
			})
		}
		return out
	}
}

func replies(n uint64) string {
	if n == 1 {
		return "1 reply"
	}
	return fmt.Sprintf("%d replies", n)
}

// some lists what a server says, bounded.
func some(words []string) string {
	var out []string
	for _, w := range words[:min(len(words), 3)] {
		out = append(out, word(w))
	}
	if len(words) > 3 {
		out = append(out, fmt.Sprintf("%d more", len(words)-3))
	}
	return strings.Join(out, ", ")
}

func saysOption60(s *survey, x *boot.LANServer) (text, fix string) {
	return s.serverWord(x) + " sends option 60 " + some(x.Classes) + " with the addresses it hands out. UEFI and many BIOS clients then ignore every other boot server (PXE-E16, PXE-E55).",
		"On " + addrWord(x.Server) + " remove option 60 (vendor class identifier PXEClient). dnsmasq: dhcp-option=60 or option:vendor-class; ISC dhcpd and Kea: option vendor-class-identifier; Windows DHCP: option 060. This box cannot make up for it."
}

func saysBootFile(s *survey, x *boot.LANServer) (text, fix string) {
	return s.serverWord(x) + " names the boot file " + some(x.BootFiles) + ". iPXE and UEFI clients still follow this box; old ROMs, shim and GRUB may not.",
		"On " + addrWord(x.Server) + " remove the boot file name (option 67, file; dnsmasq: dhcp-boot), unless machines are meant to boot from there."
}

func saysNextServer(s *survey, x *boot.LANServer) (text, fix string) {
	return s.serverWord(x) + " names the next server " + some(x.NextServers) + ", which is not this box. Clients that go by it ask there.",
		"On " + addrWord(x.Server) + " remove the next server (siaddr, option 66), or set it to this box."
}

func saysOtherPXE(s *survey, x *boot.LANServer) (text, fix string) {
	text = s.serverWord(x) + " answers network boot clients too"
	if len(x.BootFiles) > 0 {
		text += " with " + some(x.BootFiles)
	}
	return text + ". Clients pick between the two by their own rules.",
		"Switch one of the two off, or have " + addrWord(x.Server) + " ignore the machines that boot from here."
}

func saysRogue(s *survey, x *boot.LANServer) (text, fix string) {
	var others []netip.Addr
	for i := range s.lan.Servers {
		if o := &s.lan.Servers[i]; o.DHCP && o.Server != x.Server && !slices.Contains(o.Findings, boot.ReasonRogueDHCP) {
			others = append(others, o.Server)
		}
	}
	text = s.serverWord(x) + " hands out addresses"
	if len(others) > 0 {
		text += " beside " + list(addrs(others))
	}
	return text + ". Machines get addresses, routers and names from whichever is quicker.",
		"Find the device with the hardware address " + string(x.MAC) + " in the switch's table and switch its DHCP server off. If it belongs here, add it to the setting expected-servers."
}

func saysNew(s *survey, x *boot.LANServer) (text, fix string) {
	return s.serverWord(x) + " was heard for the first time.", "Nothing, if you put it there: add it to the setting expected-servers. Otherwise find out whose it is."
}

func surveyDuplicate(s *survey) []boot.Verdict {
	var out []boot.Verdict
	for i := range s.lan.Conflicts {
		c := &s.lan.Conflicts[i]
		if !s.within(c.Last, conflictFor) {
			continue
		}
		out = append(out, boot.Verdict{
			Confidence: boot.Certain, Severity: boot.SeverityCritical,
			Text: fmt.Sprintf("The station %s on %s uses this box's address %s too: what is meant for the box goes there now and then.", c.MAC, clip(c.Interface, maxWord), addrWord(c.Addr)),
			Fix:  "Give one of the two another address. An address set by hand must lie outside the range of the DHCP server; find the station by its hardware address in the switch's table.",
			Evidence: []boot.Evidence{
				{Time: c.First, Text: string(c.MAC) + " says that it is " + addrWord(c.Addr)},
				{Time: c.Last, Text: "said last"},
			},
		})
	}
	return out
}

func surveyGateway(s *survey) []boot.Verdict {
	var out []boot.Verdict
	last := map[string]*boot.LANGateway{} // by interface: the one before
	for i := range s.lan.Gateways {
		g := &s.lan.Gateways[i]
		was := last[g.Interface]
		if was != nil && g.MAC == "" && was.Addr == g.Addr {
			continue // the same router, whose hardware address is not known again yet
		}
		last[g.Interface] = g
		moved := was != nil && (was.Addr != g.Addr || was.MAC != "" && g.MAC != "" && was.MAC != g.MAC)
		if !moved || !s.within(g.Time, gatewayFor) {
			continue
		}
		out = append(out, boot.Verdict{
			Confidence: boot.Certain, Severity: boot.SeverityWarning,
			Text: fmt.Sprintf("The default router on %s changed from %s to %s.", clip(g.Interface, maxWord), routerWord(was), routerWord(g)),
			Fix:  "Nothing, if the router was replaced or a second one took over. Otherwise look for a rogue DHCP server, or a station that claims the router's address.",
			Evidence: []boot.Evidence{
				{Time: was.Time, Text: "router " + routerWord(was)},
				{Time: g.Time, Text: "router " + routerWord(g)},
			},
		})
	}
	return out[max(len(out)-4, 0):]
}

func routerWord(g *boot.LANGateway) string {
	if g.MAC == "" {
		return addrWord(g.Addr)
	}
	return addrWord(g.Addr) + " (" + string(g.MAC) + ")"
}

func surveyTwin(s *survey) []boot.Verdict {
	var out []boot.Verdict
	for i := range s.lan.Twins {
		t := &s.lan.Twins[i]
		if !s.within(t.Last, twinFor) {
			continue
		}
		sev, state := boot.SeverityWarning, "Both answer machines."
		switch {
		case t.Standby:
			sev, state = boot.SeverityInfo, "It stands by; this box answers."
		case s.lan.Standby:
			sev, state = boot.SeverityInfo, "It answers; this box stands by."
		}
		age := "shorter"
		if t.Older {
			age = "longer"
		}
		out = append(out, boot.Verdict{
			Confidence: boot.Certain, Severity: sev,
			Text:     fmt.Sprintf("Another bootpuck (%s, version %s) is at %s and has run %s than this one (%s). %s", word(t.ID), clip(t.Version, 40), addrWord(t.Addr), age, lasting(t.Uptime), state),
			Fix:      "Nothing, if both are meant to be here: the older one stands by. Otherwise switch one off.",
			Evidence: []boot.Evidence{{Time: t.Last, Text: "it told about itself last"}},
		})
	}
	return out
}

func surveyStandby(s *survey) []boot.Verdict {
	if !s.lan.Standby {
		return nil
	}
	text := "This box stands by and answers no machine."
	var ev []boot.Evidence
	if i := slices.IndexFunc(s.lan.Twins, func(t boot.LANTwin) bool { return !t.Standby }); i >= 0 {
		t := &s.lan.Twins[i]
		text = "This box stands by and answers no machine: the bootpuck at " + addrWord(t.Addr) + " does."
		ev = append(ev, boot.Evidence{Time: t.Last, Text: "the other box told about itself last"})
	}
	return []boot.Verdict{{
		Confidence: boot.Certain, Severity: boot.SeverityInfo, Text: text,
		Fix:      "Nothing: it goes on by itself when the other box falls silent. To have this box answer, switch the other one off.",
		Evidence: ev,
	}}
}

func surveyNoDHCP(s *survey) []boot.Verdict {
	if s.lan.Observe {
		return nil // nothing was asked
	}
	var out []boot.Verdict
	latest := map[string]*boot.LANProbe{}
	var order []string
	for i := range s.lan.Probes {
		p := &s.lan.Probes[i]
		if latest[p.Interface] == nil {
			order = append(order, p.Interface)
		}
		if was := latest[p.Interface]; was == nil || p.Time.After(was.Time) {
			latest[p.Interface] = p
		}
	}
	for _, name := range order {
		p := latest[name]
		if p.Err != "" || len(p.Answers) > 0 || !s.within(p.Time, probeFresh) || !s.linked(name) {
			continue
		}
		heard := slices.ContainsFunc(s.lan.Servers, func(x boot.LANServer) bool {
			return x.DHCP && x.Interface == name && !x.Last.Before(p.Time.Add(-serverFresh))
		})
		if heard {
			continue // it answers others; why not the box, nobody knows
		}
		out = append(out, boot.Verdict{
			Confidence: boot.Certain, Severity: boot.SeverityCritical,
			Text:     fmt.Sprintf("No DHCP server answers on %s: the box asked for an address there and got no offer. Machines need one before they can boot.", clip(name, maxWord)),
			Fix:      "Start the site's DHCP server, or connect this port to the network where it is (VLAN, cable, switch port).",
			Evidence: []boot.Evidence{{Time: p.Time, Text: "the box asks for an address on " + clip(name, maxWord) + ": no answer"}},
		})
	}
	return out
}

// linked says whether an interface is up and served, as far as is known.
func (s *survey) linked(name string) bool {
	i := slices.IndexFunc(s.lan.Ports, func(p boot.LANPort) bool { return p.Name == name })
	return i < 0 || s.lan.Ports[i].Up && s.lan.Ports[i].Served
}

func surveyClock(s *survey) []boot.Verdict {
	if s.lan.ClockSet || s.lan.Now.IsZero() {
		return nil
	}
	return []boot.Verdict{{
		Confidence: boot.Certain, Severity: boot.SeverityWarning,
		Text:     "The clock of the box has not been set since power-on. Boots work; times in histories are counted from power-on, armed installations wait, and https fails.",
		Fix:      "Let the box reach a time server (NTP, UDP port 123).",
		Evidence: []boot.Evidence{{Text: "the clock says " + s.lan.Now.UTC().Format(time.DateTime)}},
	}}
}
