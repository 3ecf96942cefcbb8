package doctor

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// asked says how often and for how long the last program asked, and what it was
// offered.
func (v *view) asked() string {
	offers := v.recent(v.offers)
	s := capital(firmwareWord(v.cur)) + " asked " + times(max(v.asks(), 1))
	if n := len(offers); n > 1 {
		s += " in " + lasting(offers[n-1].Time.Sub(offers[0].Time))
	}
	if tried := v.tried(); len(tried) > 0 {
		s += " and was offered: " + strings.Join(tried, "; then ")
	}
	return s
}

// tried lists the shapes of offer that the last program was given.
func (v *view) tried() []string {
	var out []string
	for _, e := range v.recent(v.offers) {
		if w := shapeWord(e.Form, e.Shape); !slices.Contains(out, w) {
			out = append(out, w)
		}
	}
	if len(out) == 0 {
		for i := range min(len(v.a.Shapes), boot.MaxAttemptShapes) {
			if w := shapeWord(v.a.Shapes[i].Form, &v.a.Shapes[i]); !slices.Contains(out, w) {
				out = append(out, w)
			}
		}
	}
	return out[:min(len(out), 6)]
}

func addrs(list []netip.Addr) []string {
	out := make([]string, 0, len(list))
	for _, a := range list {
		out = append(out, addrWord(a))
	}
	return out
}

// verdict puts a verdict together.
func verdict(c boot.VerdictConfidence, stage boot.StageName, text, fix string, ev ...[]boot.Evidence) boot.Verdict {
	return boot.Verdict{
		Confidence: c, Severity: boot.SeverityCritical, Stage: stage, Text: text, Fix: fix, Evidence: slices.Concat(ev...),
	}
}

var none boot.Verdict

// noPriority says whether the last offer left out iPXE's priority, without which
// what the DHCP server says comes first.
func (v *view) noPriority() bool {
	o := v.lastOffer()
	return o != nil && o.Shape != nil && o.Shape.NoPriority
}

func judgeOption60(v *view) (boot.Verdict, bool) {
	if !v.stuck() || !v.offered() || len(v.recent(v.acks)) > 0 || !v.waited(patience/2) {
		return none, false
	}
	conf, weaker := boot.Certain, boot.Likely
	switch v.cur {
	case boot.FirmwareUEFI:
	case boot.FirmwareIPXE:
		if !v.noPriority() {
			return none, false // iPXE goes by the priority, and ours is higher
		}
		conf, weaker = boot.Likely, boot.Possible
	case boot.FirmwareHTTP, boot.FirmwareRPi:
		return none, false // they do not mind
	default:
		conf, weaker = boot.Likely, boot.Possible
	}
	fix := func(server string) string {
		return "On the DHCP server " + server + " remove option 60 (vendor class identifier PXEClient). dnsmasq: a dhcp-option=60 or option:vendor-class line; " +
			"ISC dhcpd and Kea: option vendor-class-identifier; Windows DHCP: option 060, which WDS sets when it shares the server. This box cannot make up for it."
	}
	if f := v.genuine(func(f foreign) bool { return f.Your.IsValid() && boot.ClassOf(f.Class) == boot.ClassPXE }); f != nil {
		codes := map[boot.Firmware]string{boot.FirmwareUEFI: " (PXE-E16)", boot.FirmwareBIOS: " (PXE-E55)", boot.FirmwareIPXE: " (“Nothing to boot”)"}[v.cur]
		text := fmt.Sprintf("The DHCP server %s sent option 60 %s together with the address %s, so %s ignores every other boot server%s.",
			addrWord(f.Server), word(f.Class), addrWord(f.Your), firmwareWord(v.cur), codes)
		if f.File != "" {
			text += " It names the boot file " + word(f.File) + "."
		}
		todo := fix(addrWord(f.Server))
		if known := v.posesAs(*f); known != "" {
			conf = weaker
			text += fmt.Sprintf(" That packet came from the station %s; the server is known as %s.", f.MAC, known)
			todo = fmt.Sprintf("Find the station %s: somebody else may speak in the server's name. ", f.MAC) + todo
		}
		return verdict(conf, boot.StageOffer, text, todo, f.evidence(), evidence(v.recent(v.offers), v.recent(v.leases))), true
	}
	// Its offer to this machine was not overheard; what it says to others was.
	if list := v.servers(func(s *boot.LANServer) bool { return s.DHCP && slices.Contains(s.Findings, boot.ReasonOption60) }); len(list) > 0 {
		s := list[0]
		if i := slices.IndexFunc(list, func(s *boot.LANServer) bool { return v.tookFrom(s.Server) }); i >= 0 && v.cur != boot.FirmwareIPXE {
			s, weaker = list[i], boot.Likely
		}
		text := fmt.Sprintf("The DHCP server %s sends option 60 (%s) to others on this LAN. Whoever gets it from there ignores every other boot server. %s.",
			addrWord(s.Server), clip(strings.Join(s.Classes, ", "), maxWord), v.asked())
		return verdict(weaker, boot.StageOffer, text, fix(addrWord(s.Server)), evidence(v.recent(v.offers), v.recent(v.leases))), true
	}
	return none, false
}

// tookFrom says whether the last program took its address from this server, and
// nothing that the server said to it was heard to be without option 60.
func (v *view) tookFrom(server netip.Addr) bool {
	if v.heard(func(f foreign) bool {
		return f.Server == server && f.Your.IsValid() && boot.ClassOf(f.Class) != boot.ClassPXE
	}) != nil {
		return false
	}
	return slices.ContainsFunc(v.recent(v.leases), func(e *boot.Event) bool {
		return strings.HasSuffix(e.Text, " "+server.String())
	})
}

func judgeTwin(v *view) (boot.Verdict, bool) {
	if stateSet(v.a.State) == onIgnored {
		if !slices.ContainsFunc(v.mute, func(e *boot.Event) bool { return e.Reason == boot.ReasonStandby }) {
			return none, false
		}
		who := "another bootpuck"
		if f := v.heard(func(f foreign) bool { return f.Twin }); f != nil {
			who = "the bootpuck at " + addrWord(f.Server)
		} else if t := v.lan.Twins; len(t) > 0 {
			who = "the bootpuck at " + addrWord(t[0].Addr)
		}
		d := verdict(boot.Certain, boot.StageDiscover, "This box stands by, and "+who+" answers this machine.",
			"Nothing, if two boxes are meant to be here. Otherwise switch one of them off.", evidence(v.mute))
		d.Severity = boot.SeverityInfo
		return d, true
	}
	if !v.stuck() || len(v.recent(v.acks)) > 0 || !v.waited(patience) {
		return none, false
	}
	f := v.heard(func(f foreign) bool { return f.Twin && !f.Your.IsValid() })
	if f == nil {
		return none, false
	}
	conf := boot.Possible
	if v.leased() {
		conf = boot.Likely
	}
	return verdict(conf, boot.StageOffer,
		fmt.Sprintf("Another bootpuck at %s answered this machine too, and nothing more was asked of this box: the machine went on with the other one.", addrWord(f.Server)),
		"Look at the other box for the rest of this boot. Two boxes on one LAN do no harm, but only one is needed: the older one stands by as soon as they know each other.",
		f.evidence(), evidence(v.recent(v.offers), v.recent(v.leases))), true
}

func judgeRival(v *view) (boot.Verdict, bool) {
	if !v.stuck() || len(v.recent(v.acks)) > 0 || !v.waited(patience) {
		return none, false
	}
	f := v.heard(func(f foreign) bool {
		if f.Your.IsValid() || f.Twin || !f.Boots() || f.Type == "nak" {
			return false
		}
		// A proxy for PXE says nothing to HTTP Boot, and the other way round.
		return boot.ClassOf(f.Class) == boot.ClassNone || (boot.ClassOf(f.Class) == boot.ClassHTTP) == (v.cur == boot.FirmwareHTTP)
	})
	other := v.recent(v.barred)
	i := slices.IndexFunc(other, func(e *boot.Event) bool { return e.Reason == boot.ReasonOtherServer })
	if f == nil && i < 0 {
		return none, false
	}
	const fix = "Switch the other boot server off, or have it ignore this machine; with several on one LAN, every firmware picks by its own rules."
	if f == nil {
		return verdict(boot.Certain, boot.StageAsk, "The machine asked another boot server than this box for its boot program.", fix,
			evidence(other[i:i+1], v.recent(v.offers))), true
	}
	conf := boot.Possible
	switch {
	case i >= 0, f.Type == "ack" && f.Port == 4011:
		conf = boot.Certain
	case v.leased():
		conf = boot.Likely
	}
	text := fmt.Sprintf("The boot server %s answered this machine too", addrWord(f.Server))
	if f.File != "" {
		text += " and named the boot file " + word(f.File)
	}
	text += "; then nothing more was asked of this box."
	where := " It is at " + addrWord(f.Server)
	if f.MAC != "" {
		where += ", hardware address " + string(f.MAC)
	}
	return verdict(conf, boot.StageOffer, text, fix+where+".", f.evidence(), evidence(v.recent(v.offers), v.recent(v.leases), other)), true
}

// serverFile is the boot file that the site's DHCP server names for this machine,
// and the evidence; sure is false when it was only overheard for others, or came
// from another station.
func (v *view) serverFile() (server netip.Addr, file, next string, ev []boot.Evidence, sure bool) {
	if f := v.genuine(func(f foreign) bool { return f.Your.IsValid() && f.File != "" && f.Type != "nak" }); f != nil {
		return f.Server, f.File, f.Next, f.evidence(), v.posesAs(*f) == ""
	}
	known := v.servers(func(s *boot.LANServer) bool {
		return s.DHCP && len(s.BootFiles) > 0 && slices.Contains(s.Findings, boot.ReasonServerBootFile)
	})
	if len(known) == 0 {
		return server, "", "", nil, false
	}
	if len(known[0].NextServers) > 0 {
		next = known[0].NextServers[0]
	}
	return known[0].Server, known[0].BootFiles[0], next, nil, false
}

// lower makes a confidence one step weaker.
func lower(c boot.VerdictConfidence) boot.VerdictConfidence {
	if c == boot.Certain {
		return boot.Likely
	}
	return boot.Possible
}

func judgeBootFileWon(v *view) (boot.Verdict, bool) {
	server, file, next, ev, sure := v.serverFile()
	if file == "" {
		return none, false
	}
	fix := fmt.Sprintf("On the DHCP server %s remove the boot file name and the next server (options 66 and 67, file and siaddr; dnsmasq: dhcp-boot), at least for this machine.", addrWord(server))
	said := fmt.Sprintf("The DHCP server %s names the boot file %s", addrWord(server), word(file))
	if next != "" {
		said += " on " + clip(next, maxWord)
	}
	// The plainest sign: the other's name is asked of this box.
	if e := v.blocking(); e != nil && e.Reason == boot.ReasonNotFound && cleaned(e.File) == cleaned(file) && !v.named(file) {
		return verdict(boot.Certain, boot.StageLoader, said+", and the machine asked this box for it, which has no such file.",
			fix, ev, evidence(v.recent(v.offers), []*boot.Event{e})), true
	}
	if l := v.loaded(); l != nil && !v.scripted() {
		// shim and GRUB look at the DHCP server's packet, not at the proxy's.
		name := cleaned(l.File)
		if (strings.Contains(name, "shim") || strings.Contains(name, "grub")) && sure && !v.fetchedSince(l.Time.Add(time.Nanosecond)) && v.quiet(boot.StartTime) {
			return verdict(boot.Likely, boot.StageLoader, said+". "+word(l.File)+" goes by that name, not by what this box offers, and looked for its next part elsewhere.",
				fix, ev, evidence([]*boot.Event{l})), true
		}
	}
	if !v.stuck() || !v.offered() || len(v.recent(v.acks)) > 0 || !v.waited(patience) {
		return none, false
	}
	conf := boot.Likely
	f := v.heard(func(f foreign) bool { return f.Your.IsValid() && boot.ClassOf(f.Class) == boot.ClassHTTP })
	switch {
	case v.cur == boot.FirmwareHTTP:
		if f == nil || f.File == "" {
			return none, false // a name for TFTP does not disturb HTTP Boot
		}
		conf = boot.Certain
	case !v.leased(), v.unacknowledged() != nil:
		return none, false
	case v.ours(next):
		conf = boot.Possible // it would have been asked of this box
	case v.cur == boot.FirmwareIPXE && !v.noPriority(), v.cur == boot.FirmwareRPi:
		conf = boot.Possible
	case v.uefi() && v.takenForm() == boot.FormTwoStep:
		conf = boot.Possible // firmware that got our offer prefers it
	}
	if !sure {
		conf = lower(conf)
	}
	return verdict(conf, boot.StageOffer, said+"; the machine took an address, and then asked nothing more of this box.",
		fix, ev, evidence(v.recent(v.offers), v.recent(v.leases))), true
}

// named says whether the box itself offered this name.
func (v *view) named(file string) bool {
	is := func(e *boot.Event) bool { return cleaned(e.File) == cleaned(file) }
	return slices.ContainsFunc(v.offers, is) || slices.ContainsFunc(v.acks, is)
}

func (v *view) lastForm() boot.Form {
	if o := v.lastOffer(); o != nil {
		return o.Form
	}
	if n := len(v.a.Shapes); n > 0 {
		return v.a.Shapes[n-1].Form
	}
	return boot.FormNone
}

// takenForm is the form of the offer after which the last program took an address:
// the box may have gone on to another since.
func (v *view) takenForm() boot.Form {
	leases, form := v.recent(v.leases), boot.FormNone
	if len(leases) > 0 {
		for _, o := range v.recent(v.offers) {
			if !o.Time.After(leases[len(leases)-1].Time) {
				form = o.Form
			}
		}
	}
	if form == boot.FormNone {
		return v.lastForm()
	}
	return form
}

// sentAt is when an offer was on the wire.
func sentAt(e *boot.Event) time.Time { return e.Time.Add(max(e.Duration, 0)) }

// lateReply is how long an answer may take before it counts as late. iPXE decides
// about 3 s after it began to ask, firmware after 4 s.
const lateReply = 1500 * time.Millisecond

func judgeAnsweredLate(v *view) (boot.Verdict, bool) {
	if !v.stuck() || len(v.recent(v.acks)) > 0 || !v.waited(patience) {
		return none, false
	}
	const fix = "Look at what slows the box down or kept it from answering at that time (its health, its log, a delay in a rule). Start the machine again: a box that runs answers within milliseconds."
	offers := v.recent(v.offers)
	for _, l := range v.recent(v.leases) {
		var after *boot.Event
		before := false
		for _, o := range offers {
			switch {
			case o.XID != l.XID:
			case sentAt(o).After(l.Time):
				after = o
			default:
				before = true
			}
		}
		if after != nil && !before {
			return verdict(boot.Certain, boot.StageOffer,
				fmt.Sprintf("The machine had chosen and asked for an address %s before the offer of this box was sent.", lasting(sentAt(after).Sub(l.Time))),
				fix, evidence([]*boot.Event{l, after})), true
		}
	}
	if a, b, d := heldBack(offers); a != nil {
		return verdict(boot.Likely, boot.StageOffer,
			fmt.Sprintf("Two requests of the machine, at least %s apart by its own count, reached the box within %s: they had been held back, and so were the answers.", lasting(d), lasting(b.Time.Sub(a.Time))),
			fix, evidence([]*boot.Event{a, b}, v.recent(v.leases))), true
	}
	for _, o := range offers {
		wanted := time.Duration(0)
		if o.Shape != nil {
			wanted = o.Shape.Delay
		}
		if o.Duration-wanted < lateReply {
			continue
		}
		conf := boot.Possible
		if v.leased() || len(offers) == 1 {
			conf = boot.Likely
		}
		return verdict(conf, boot.StageOffer,
			fmt.Sprintf("The offer of this box was sent %s after the machine had asked. Clients decide within 3 to 4 s, and this one did not follow.", lasting(o.Duration)),
			fix, evidence([]*boot.Event{o}, v.recent(v.leases))), true
	}
	return none, false
}

// heldBack finds two requests of one transaction that a client sent seconds apart,
// by its secs field, and that the box took in almost at once: it, or the way to
// it, stood still. d is the least time between them.
func heldBack(offers []*boot.Event) (a, b *boot.Event, d time.Duration) {
	for i := 1; i < len(offers); i++ {
		a, b = offers[i-1], offers[i]
		if a.XID != b.XID || a.Firmware != b.Firmware || b.Time.Sub(a.Time) >= 500*time.Millisecond {
			continue
		}
		n, before := lostBefore(a.Firmware, a.Secs)
		m, after := lostBefore(b.Firmware, b.Secs)
		if m > n && after-before >= time.Second {
			return a, b, after - before
		}
	}
	return nil, nil, 0
}

// accident says whether a DISCOVER was left without an answer against the box's
// will.
func accident(r boot.Reason) bool {
	switch r {
	case boot.ReasonNoAddress, boot.ReasonRate, boot.ReasonSend, boot.ReasonInternal:
		return true
	default:
		return false
	}
}

func judgeGaveUp(v *view) (boot.Verdict, bool) {
	if v.fetched() || len(v.acks) > 0 || !v.final {
		return none, false
	}
	var bad []*boot.Event
	for _, e := range v.mute {
		if accident(e.Reason) {
			bad = append(bad, e)
		}
	}
	if len(bad) == 0 {
		return none, false
	}
	first, last := bad[0], bad[len(bad)-1]
	why := strings.TrimSuffix(last.Reason.Text(), ".")
	fix := map[boot.Reason]string{
		boot.ReasonNoAddress: "Start the machine again now that the box has an address. Power the box before the machines, and give it a fixed address or a reservation on the DHCP server.",
		boot.ReasonRate:      "Start the machine again. If that does not help, look for what floods the LAN with DHCP requests, or raise the setting dhcp-rate.",
	}[last.Reason]
	if fix == "" {
		fix = "Look at the health and the log of the box, then start the machine again."
	}
	text := fmt.Sprintf("The machine asked %s and was not answered: %s.", times(len(bad)), why)
	if len(v.offers) == 0 {
		return verdict(boot.Certain, boot.StageDiscover, text+" Then it stopped asking.", fix, evidence(bad)), true
	}
	// The answer came, but nothing was heard after it.
	o := v.offers[0]
	if len(v.offers) > 1 || o.Time.Before(last.Time) || len(v.leases) > 0 || v.heard(func(f foreign) bool { return f.at.After(o.Time.Add(time.Second)) }) != nil {
		return none, false
	}
	return verdict(boot.Likely, boot.StageOffer,
		fmt.Sprintf("%s The first answer came %s after its first packet, and then it had stopped asking.", text, lasting(o.Time.Sub(first.Time))),
		fix, evidence(bad, v.offers)), true
}

func judgeAskUnanswered(v *view) (boot.Verdict, bool) {
	if !v.stuck() || len(v.recent(v.acks)) > 0 || !v.quiet(patience/2) {
		return none, false
	}
	for _, e := range v.recent(v.barred) {
		fix := "Have the machine's network card ask this box: remove other boot servers."
		switch e.Reason {
		case boot.ReasonOtherServer:
			continue // another boot server won
		case boot.ReasonSource:
			fix = "Add the network of " + addrWord(e.Addr) + " to the setting relays.clients."
		default:
		}
		return verdict(boot.Certain, boot.StageAsk, "The machine asked on port 4011 and was not answered: "+e.Reason.Text(), fix,
			evidence(v.recent(v.offers), v.recent(v.leases), []*boot.Event{e})), true
	}
	if !v.uefi() || !v.leased() || v.takenForm() != boot.FormTwoStep || v.unacknowledged() != nil {
		return none, false
	}
	text := v.asked() + ". It took an address, as firmware does when an offer suits it, and then had to ask UDP port 4011 of this box; nothing arrived there."
	return verdict(boot.Likely, boot.StageAsk, text+v.conflictWord(),
		"Let UDP port 4011 to this box through on switches, access points and host firewalls between it and the machine; between networks, route it. "+
			"Or pin the direct style for this machine (a rule with style direct, or its quirk), which needs no port 4011.",
		evidence(v.recent(v.offers), v.recent(v.leases)), v.conflictEvidence()), true
}

// conflict is another station that claimed the box's address about the time of
// the attempt: what is meant for the box then goes elsewhere.
func (v *view) conflict() *boot.LANConflict {
	for i := range v.lan.Conflicts {
		c := &v.lan.Conflicts[i]
		if (v.a.Interface == "" || c.Interface == "" || c.Interface == v.a.Interface) && !c.Last.Before(v.a.Start.Add(-serverFresh)) && !c.First.After(v.last) {
			return c
		}
	}
	return nil
}

func (v *view) conflictWord() string {
	if c := v.conflict(); c != nil {
		return fmt.Sprintf(" Another station (%s) claims this box's address %s: packets go there.", c.MAC, c.Addr)
	}
	return ""
}

func (v *view) conflictEvidence() []boot.Evidence {
	if c := v.conflict(); c != nil {
		return []boot.Evidence{{Time: c.Last, Text: fmt.Sprintf("%s says that it is %s", c.MAC, c.Addr)}}
	}
	return nil
}

func judgeNameNeedsDNS(v *view) (boot.Verdict, bool) {
	o := v.lastOffer()
	if o == nil || o.Form != boot.FormHTTP || !isName(o.File) || v.fetchedSince(v.phase) || !v.waited(patience) {
		return none, false
	}
	conf, what := boot.Likely, "Whether the site's DHCP server names a DNS server was not overheard."
	if f := v.dhcpHeard(); f != nil {
		if v.heard(func(f foreign) bool { return f.Your.IsValid() && f.DNS }) != nil {
			return none, false
		}
		conf, what = boot.Certain, "The DHCP server "+addrWord(f.Server)+" names no DNS server (option 6)."
	}
	host, _ := hostOf(o.File)
	return verdict(conf, boot.StageOffer,
		fmt.Sprintf("The HTTP Boot address has the host name %s, and the firmware takes such an offer only with a DNS server from DHCP. %s", word(host), what),
		"Set base-url to an IP address, or leave it empty. Or have the DHCP server send option 6.",
		evidence(v.recent(v.offers)), v.dhcpHeard().evidence()), true
}
