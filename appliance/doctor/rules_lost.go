package doctor

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// addressless says whether the last program was offered something to boot and, as
// far as was heard, no address, though it asked on.
func (v *view) addressless() bool {
	return v.stuck() && v.offered() && !v.leased() && v.dhcpHeard() == nil && v.waited(patience)
}

func judgeNoDHCPServer(v *view) (boot.Verdict, bool) {
	if !v.addressless() || len(v.alive()) > 0 || v.heard(func(f foreign) bool { return f.Type == "nak" }) != nil {
		return none, false
	}
	known := v.knownDHCP()
	conf, what := boot.Likely, "No DHCP server was ever heard on this LAN."
	ev := evidence(v.recent(v.offers))
	switch p := v.unanswered(); {
	case p != nil:
		conf, what = boot.Certain, "A question of this box's own was not answered either."
		if len(known) > 0 {
			what += " " + capital(lastHeard(known[0], v.now))
		}
		ev = append(ev, boot.Evidence{Time: p.Time, Text: "the box asks for an address on " + clip(p.Interface, maxWord) + ": no answer"})
	case len(known) > 0:
		what = "Nothing shows that one runs: " + lastHeard(known[0], v.now)
	case v.probe() != nil:
		what = "A question of this box's own was answered before the machine asked, none since."
	}
	if conf == boot.Likely && (len(known) > 0 || v.probe() != nil) && !v.hearsOffers() {
		conf = boot.Possible // an offer may have been sent that is not heard here
	}
	if v.a.Relayed || v.asks() < 2 {
		// A relay's answers are not heard here; a single question proves little.
		conf = lower(conf)
	}
	return verdict(conf, boot.StageDiscover, v.asked()+". Nobody offered it an address. "+what,
		"Start the site's DHCP server, or connect this port to the network where it is (VLAN, cable, switch port). On a LAN without one, switch on the router's.",
		ev), true
}

func lastHeard(s *boot.LANServer, now time.Time) string {
	return fmt.Sprintf("the DHCP server %s was last heard %s ago.", addrWord(s.Server), lasting(now.Sub(s.Last)))
}

// hearsOffers says whether offers to the last program are heard here: other
// programs than these take them as unicast, and take an address only when there
// is something to boot.
func (v *view) hearsOffers() bool {
	return v.cur == boot.FirmwareUEFI || v.cur == boot.FirmwareHTTP || v.cur == boot.FirmwareIPXE
}

// dhcpServers names servers within a sentence, and the verb with them.
func dhcpServers(servers []netip.Addr, one, many string) string {
	if len(servers) == 1 {
		return "DHCP server " + addrWord(servers[0]) + " " + one
	}
	return "DHCP servers " + list(addrs(servers)) + " " + many
}

func judgeExhausted(v *view) (boot.Verdict, bool) {
	fix := func(servers []netip.Addr) string {
		return "Look whether the " + dhcpServers(servers, "runs", "run") + " and this LAN reaches it. Enlarge its range, remove stale leases, and check whether it serves known hardware addresses only (" + string(v.a.MAC) + ")."
	}
	nak := v.heard(func(f foreign) bool { return f.Type == "nak" })
	granted := v.heard(func(f foreign) bool { return f.Type == "ack" && f.Your.IsValid() })
	if nak != nil && granted == nil && v.stuck() && len(v.recent(v.acks)) == 0 && v.waited(patience) {
		return verdict(boot.Likely, boot.StageLease,
			fmt.Sprintf("The DHCP server %s refused the address that the machine asked for (NAK), and gave it no other.", addrWord(nak.Server)),
			fix([]netip.Addr{nak.Server}), nak.evidence(), evidence(v.recent(v.offers), v.recent(v.leases))), true
	}
	if asked := v.unacknowledged(); asked != nil && v.waited(patience) {
		wanted := "an address"
		if a := asked[0].Addr; a.IsValid() {
			wanted = addrWord(a)
		}
		todo := "Look whether the DHCP server still runs, whether its answers reach the machine, and whether it keeps the address for another one. Remove stale leases, and check whether it serves known hardware addresses only (" + string(v.a.MAC) + ")."
		return verdict(boot.Likely, boot.StageLease,
			fmt.Sprintf("%s asked %s for %s and got no acknowledgement: the DHCP server offered the address and did not grant it.", capital(firmwareWord(v.cur)), times(len(asked)), wanted),
			todo, evidence(v.recent(v.offers), asked)), true
	}
	if !v.addressless() {
		return none, false
	}
	alive, known := v.alive(), v.knownDHCP()
	if len(alive) == 0 && len(known) == 0 || len(alive) == 0 && v.unanswered() != nil {
		return none, false
	}
	conf := boot.Likely
	var what string
	if len(alive) > 0 {
		what = "The " + dhcpServers(alive, "answers", "answer") + " others, but no such offer to this machine was heard."
	} else {
		conf, what = boot.Possible, capital(lastHeard(known[0], v.now))
		alive = append(alive, known[0].Server)
	}
	switch {
	case v.a.Relayed, v.asks() < 2:
		conf = boot.Possible
	case !v.hearsOffers():
		conf = boot.Possible
	}
	return verdict(conf, boot.StageLease, v.asked()+". "+what, fix(alive), evidence(v.recent(v.offers))), true
}

// trust is where the switch is to be told to let this box's answers through.
func (v *view) trust() string {
	p := v.port()
	if p == nil || p.Neighbour == nil {
		return "the switch port of this box"
	}
	n := p.Neighbour
	name := n.System
	if name == "" {
		name = n.Chassis
	}
	return fmt.Sprintf("port %s of the switch %s, on which this box is,", clip(n.Port, maxWord), clip(name, maxWord))
}

func judgeSnooping(v *view) (boot.Verdict, bool) {
	if !v.stuck() || !v.offered() || len(v.recent(v.acks)) > 0 || v.cur == boot.FirmwareRPi || !v.waited(patience) {
		return none, false
	}
	dhcp := v.dhcpHeard()
	spent := v.spent() != nil
	conf := boot.Possible
	var why string
	switch {
	case v.leased() && (v.uefi() || v.cur == boot.FirmwareHTTP):
		return none, false // such firmware takes an address only when an offer suits it
	case v.leased() && v.cur == boot.FirmwareIPXE:
		why = "iPXE takes every boot offer that reaches it, and took an address without following ours."
		if w := v.waitedForProxy(); w > 0 {
			conf = boot.Likely
			why = fmt.Sprintf("iPXE had its address offer and still waited %s for a boot offer before it went on, as when none reaches it.", lasting(w))
			if dhcp == nil {
				why = fmt.Sprintf("iPXE waited %s after the boot offer before it took an address, and then did not follow the offer, as when none reaches it.", lasting(w))
			}
		}
	case v.leased():
		why = "It took an address and asked nothing more."
	case v.a.Relayed:
		conf, why = boot.Likely, "Its packets come through a relay, and nothing shows that an answer goes back through it."
	case dhcp != nil && v.cur == boot.FirmwareIPXE:
		conf, why = boot.Likely, "The DHCP server's offers did not move it either: no answer from this side reaches it."
	case dhcp != nil && (spent || len(v.tried()) > 2):
		conf, why = boot.Likely, "The DHCP server's offers are heard, and no shape of this box's offer is followed."
	case v.asks() < 2 && (dhcp != nil || len(v.alive()) > 0):
		why = "Then it fell silent, as if it had heard nothing of this box."
	case dhcp != nil, len(v.alive()) > 0:
		why = "It goes on asking as if it had heard nothing of this box."
	default:
		return none, false // without a DHCP server there is no sign of it
	}
	if v.asks() < 2 && !v.leased() {
		conf = boot.Possible
	}
	fix := "If the switch has DHCP snooping, mark " + v.trust() + " as trusted. Try a machine on the same switch, or on a plain one, to tell."
	if v.a.Relayed {
		fix = "On the relay, list this box beside the DHCP server (ip helper-address) and let answers from its UDP port 67 pass; do not restrict it to trusted servers. " + fix
	}
	return verdict(conf, boot.StageOffer, v.asked()+". "+why, fix, dhcp.evidence(), evidence(v.recent(v.offers), v.recent(v.leases))), true
}

// iPXE that hears no boot offer takes an address when it would ask for the third
// time: 3 s after it began.
const proxyWait = 2500 * time.Millisecond

// waitedForProxy is how long iPXE waited for a boot offer before it took an
// address: since it was offered one, when that was overheard, else since this box
// offered it the boot, which it answers at once when it has both. Zero when that
// is not known or is no time.
func (v *view) waitedForProxy() time.Duration {
	leases := v.recent(v.leases)
	if len(leases) == 0 {
		return 0
	}
	f := v.heard(func(f foreign) bool { return f.Type == "offer" && f.Your.IsValid() && !f.at.IsZero() })
	if f == nil {
		for _, o := range v.recent(v.offers) {
			if o.XID == leases[0].XID {
				if w := leases[0].Time.Sub(sentAt(o)); w >= proxyWait {
					return w
				}
				return 0
			}
		}
		return 0
	}
	for i := range v.foreign { // the first of them
		if g := &v.foreign[i]; g.Type == "offer" && g.Your.IsValid() && !g.at.Before(v.phase.Add(-time.Second)) && g.XID == f.XID {
			f = g
			break
		}
	}
	if w := leases[0].Time.Sub(f.at); w >= 1500*time.Millisecond {
		return w
	}
	return 0
}

// spent is the event that says that every shape was tried.
func (v *view) spent() *boot.Event {
	for _, e := range v.others {
		if e.Reason == boot.ReasonQuirkSpent {
			return e
		}
	}
	return nil
}

func judgeOfferIgnored(v *view) (boot.Verdict, bool) {
	if !v.stuck() || !v.offered() || v.leased() || len(v.recent(v.acks)) > 0 || !v.waited(patience) || v.spent() != nil {
		return none, false
	}
	dhcp := v.dhcpHeard()
	conf := boot.Likely
	var what string
	switch {
	case dhcp != nil:
		what = "The DHCP server " + addrWord(dhcp.Server) + " offered it an address meanwhile."
		if v.cur == boot.FirmwareIPXE || v.a.Relayed || v.asks() < 2 {
			conf = boot.Possible // iPXE ignores no boot offer that reaches it
		}
	case len(v.alive()) > 0 && !v.a.Relayed && v.cur != boot.FirmwareIPXE:
		conf, what = boot.Possible, "The "+dhcpServers(v.alive(), "answers", "answer")+" others; what is said to this machine is not heard here."
	case len(v.knownDHCP()) > 0 && v.unanswered() == nil && !v.hearsOffers() && !v.a.Relayed:
		conf, what = boot.Possible, "Whether a DHCP server offered it an address is not heard here: such offers may go to the machine alone."
	default:
		return none, false
	}
	fix := "Start the machine again: the box goes on to the next shape of offer and remembers what works. "
	if v.cur == boot.FirmwareHTTP {
		fix = "Look in the firmware's setup whether HTTP Boot is allowed over plain http, or start the machine by PXE. "
	}
	if v.uefi() {
		fix += "Firmware built from 2010 to 2017 drops direct offers, other firmware may not ask port 4011: pin the style that is not tried yet in the machine's quirk. "
	}
	return verdict(conf, boot.StageOffer, v.asked()+". It followed none. "+what, fix+"If none is followed, update the firmware of the network card, and take the capture of this boot to a support request.",
		dhcp.evidence(), evidence(v.recent(v.offers))), true
}

func judgeQuirkSpent(v *view) (boot.Verdict, bool) {
	e := v.spent()
	if e == nil || v.hasLoader() || v.fetchedSince(e.Time) {
		return none, false
	}
	conf := boot.Certain
	if !v.addressed() {
		conf = boot.Possible // without an address it can follow nothing, whatever the shape
	}
	text := "Every shape of offer was tried with this machine, and it followed none"
	if tried := v.tried(); len(tried) > 0 {
		text += ": " + strings.Join(tried, "; ")
	}
	return verdict(conf, boot.StageOffer, text+".",
		"Make sure that answers reach the machine (DHCP snooping, relay, another VLAN). Then reset its quirk, update its firmware, or start it from a USB stick with iPXE.",
		evidence([]*boot.Event{e}, v.recent(v.offers))), true
}

// lostBefore is how many packets of a client were lost before the first that was
// heard, and how long it had been asking, by the secs field. iPXE writes four
// times the number of the packet, the first being 4; firmware and ROMs write
// seconds, some UEFI builds with the octets exchanged.
func lostBefore(f boot.Firmware, secs uint16) (packets int, d time.Duration) {
	n := int(secs)
	if f == boot.FirmwareIPXE {
		if n%4 != 0 || n > 48 {
			return 0, 0 // a scripted or foreign counter
		}
		wait := time.Second
		for range max(n/4-1, 0) {
			packets++
			d += wait
			wait = min(2*wait, 10*time.Second)
		}
		return packets, d
	}
	if (f == boot.FirmwareUEFI || f == boot.FirmwareHTTP) && n >= 256 && n%256 == 0 {
		n /= 256
	}
	if n > 120 {
		return 0, 0 // nonsense; no firmware asks that long
	}
	// PXE 2.1: sent at 0, 4, 12 and 28 s.
	for _, at := range []int{3, 10, 26} {
		if n >= at {
			packets++
		}
	}
	return packets, time.Duration(n) * time.Second
}

// Spanning tree holds a port for 30 s with its usual timers, for 2 s or less with
// the rapid kind.
const (
	heldLong  = 10 * time.Second
	heldQuiet = 20 * time.Second // between a whole boot program and its first packet
	linkFresh = time.Minute
)

func judgeSpanningTree(v *view) (boot.Verdict, bool) {
	if !v.stuck() || v.leased() || len(v.recent(v.acks)) > 0 || !v.waited(patience) {
		return none, false
	}
	var first *boot.Event
	for i := range v.events {
		if e := &v.events[i]; talks(e) && !e.Time.Before(v.phase) {
			first = e
			break
		}
	}
	if first == nil {
		return none, false
	}
	n, d := lostBefore(first.Firmware, first.Secs)
	text := fmt.Sprintf("The first packet that was heard of %s says that it had been asking for %s: %s before it %s lost.",
		firmwareWord(first.Firmware), lasting(d), count(n, "packet"), was(n))
	if l := v.loaded(); l != nil && l.Time.Before(first.Time) {
		// The loaded program resets the card, and the port is held anew.
		gap := first.Time.Sub(l.Time)
		if gap < heldQuiet || n < 2 {
			return none, false
		}
		text = fmt.Sprintf("%s after the boot program was fetched, its first packet was heard, and it was number %d: the ones before were lost while the link came up again.", lasting(gap), n+1)
	} else if d < heldLong || n < 2 {
		return none, false
	}
	if p := v.port(); p != nil && !p.UpSince.IsZero() && p.UpSince.Before(first.Time) && first.Time.Sub(p.UpSince) < linkFresh {
		return none, false // the box's own link had just come up: it is the one that heard nothing
	}
	if slices.ContainsFunc(v.lan.Changes, func(c boot.LANChange) bool {
		return !c.Time.After(first.Time) && first.Time.Sub(c.Time) < linkFresh
	}) {
		return none, false
	}
	conf := boot.Possible
	if len(v.recent(v.offers)) <= 2 {
		conf = boot.Likely // it had no time left to go on
	}
	return verdict(conf, boot.StageDiscover, text,
		"On the machine's switch port, switch on portfast (edge port) or rapid spanning tree, or switch spanning tree off there. Until then start the machine again: many cards keep the link up over a restart.",
		evidence([]*boot.Event{first}, v.recent(v.offers))), true
}

func was(n int) string {
	if n == 1 {
		return "was"
	}
	return "were"
}

func judgeAddressChanged(v *view) (boot.Verdict, bool) {
	for i := len(v.lan.Changes) - 1; i >= 0; i-- {
		c := &v.lan.Changes[i]
		if !c.From.IsValid() || c.From == c.To || v.a.Interface != "" && c.Interface != "" && c.Interface != v.a.Interface {
			continue
		}
		end := v.last.Add(boot.StartTime)
		if !v.a.End.IsZero() && v.a.End.After(v.last) {
			end = v.a.End
		}
		if !c.Time.After(v.a.Start) || c.Time.After(end) {
			continue
		}
		if v.fetchedSince(c.Time.Add(time.Second)) && v.blocking() == nil {
			continue // it found the new address
		}
		if !v.quiet(patience) {
			continue
		}
		conf := boot.Likely
		if c.Time.After(v.last.Add(5 * time.Second)) {
			conf = boot.Possible // it had stopped before
		}
		return verdict(conf, v.a.At,
			fmt.Sprintf("%s into this boot the address of this box changed from %s to %s; the machine knew the old one only.",
				capital(lasting(c.Time.Sub(v.a.Start))), addrWord(c.From), addrWord(c.To)),
			"Start the machine again. Give the box a fixed address, or a reservation on the DHCP server.",
			[]boot.Evidence{{Time: c.Time, Text: "address on " + clip(c.Interface, maxWord) + ": " + addrWord(c.From) + " becomes " + addrWord(c.To)}}), true
	}
	return none, false
}
