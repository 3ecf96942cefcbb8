package doctor

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// Packets of other servers.
var (
	with60   = boot.Foreign{Server: router, Your: client, Class: "PXEClient"}
	withFile = boot.Foreign{Server: router, Your: client, File: "pxelinux.0", Header: true, Next: "192.0.2.1"}
	proxy    = boot.Foreign{Server: rival, MAC: "52:54:00:00:00:bb", Class: "PXEClient", File: "other.0", Control: true}
	twin     = boot.Foreign{Server: rival, Class: "PXEClient", File: efi, Twin: true}
)

// from is f as another station sent it.
func from(f boot.Foreign, mac boot.MAC) boot.Foreign {
	f.MAC = mac
	return f
}

const httpLoader = "http://192.0.2.2/x86_64/snponly.efi"

// asking is firmware that asks four times and follows nothing. The box changes
// its style on the repeats.
func asking(fw boot.Firmware, o ...boot.Foreign) *flow {
	f := newFlow(fw)
	return f.repeat(func(i int) {
		for _, x := range o {
			f.other(x)
		}
		switch {
		case fw == boot.FirmwareHTTP:
			f.offer(boot.FormHTTP, httpLoader)
		case fw == boot.FirmwareIPXE:
			f.offer(boot.FormScript, script)
		case fw == boot.FirmwareUEFI && i > 0:
			f.offer(boot.FormTwoStep, efi)
		case fw == boot.FirmwareUEFI:
			f.offer(boot.FormDirect, efi)
		default:
			f.offer(boot.FormDirect, bios)
		}
	})
}

// taken is firmware that takes an address after its first offer.
func taken(fw boot.Firmware, form boot.Form, file string, o ...boot.Foreign) *flow {
	f := newFlow(fw)
	for _, x := range o {
		f.other(x)
	}
	return f.offer(form, file).wait(4).lease()
}

func plain() boot.Foreign { return boot.Foreign{Server: router, Your: client, DNS: true} }

// fetchedEFI has its boot program.
func fetchedEFI() *flow {
	return taken(boot.FirmwareUEFI, boot.FormDirect, efi, plain()).probe(efi).tftp(boot.StageLoader, efi)
}

// rom is iPXE with its script.
func rom() *flow {
	return newFlow(boot.FirmwareIPXE).offer(boot.FormScript, script).wait(.2).lease().script("/b", "", "")
}

func booting() *flow {
	return rom().script("/s", "", "boot debian (machine)").decided(boot.ActionBoot, "debian")
}

// scenario is an attempt, and what is to be said of it.
type scenario struct {
	name string
	rule boot.Reason // which rule it is about
	a    *boot.Attempt
	lan  boot.LAN
	want boot.Reason            // the main verdict; empty: rule must not be among the verdicts
	conf boot.VerdictConfidence // of it
	says string                 // part of its text, its fix
	fix  string
}

func scenarios() []scenario {
	return slices.Concat(dhcpScenarios(), lostScenarios(), loaderScenarios(), targetScenarios())
}

func dhcpScenarios() []scenario {
	stalled := boot.AttemptStalled
	known60 := site(func(l *boot.LAN) {
		l.Servers[0].Classes, l.Servers[0].Findings = []string{"PXEClient"}, []boot.Reason{boot.ReasonOption60}
	})
	return []scenario{
		{"UEFI goes to a server with option 60", boot.ReasonOption60, taken(boot.FirmwareUEFI, boot.FormDirect, efi, with60).end(stalled), site(), boot.ReasonOption60, boot.Certain, "192.0.2.1 sent option 60", "192.0.2.1 remove option 60"},
		{"UEFI asks on because of option 60", boot.ReasonOption60, asking(boot.FirmwareUEFI, with60).end(stalled), site(), boot.ReasonOption60, boot.Certain, "PXE-E16", ""},
		{"option 60 from a station that is not the server", boot.ReasonOption60, asking(boot.FirmwareUEFI, from(with60, "02:66:66:66:66:66")).end(stalled), site(), boot.ReasonOption60, boot.Likely, "the station 02:66:66:66:66:66; the server is known as 52:54:00:00:00:aa", "Find the station 02:66:66:66:66:66"},
		{"the same, heard before it", boot.ReasonOption60, asking(boot.FirmwareUEFI, from(with60, "02:66:66:66:66:66")).end(stalled), site(func(l *boot.LAN) {
			forger := l.Servers[0]
			forger.MAC, forger.First, forger.Replies = "02:66:66:66:66:66", began, 1000
			l.Servers = append(l.Servers, forger)
		}), boot.ReasonOption60, boot.Likely, "is known as 52:54:00:00:00:aa", ""},
		{"option 60 from the server, and then from another station", boot.ReasonOption60, asking(boot.FirmwareUEFI, from(with60, "52:54:00:00:00:aa"), from(with60, "02:66:66:66:66:66")).end(stalled), site(), boot.ReasonOption60, boot.Certain, "", "On the DHCP server"},
		{"option 60 through a relay", boot.ReasonOption60, asking(boot.FirmwareUEFI, boot.Foreign{Server: router, MAC: "02:66:66:66:66:66", Relay: rival, Your: client, Class: "PXEClient"}).end(stalled), site(), boot.ReasonOption60, boot.Certain, "", "On the DHCP server"},
		{"BIOS with option 60 and a file", boot.ReasonOption60, taken(boot.FirmwareBIOS, boot.FormDirect, bios, boot.Foreign{Server: router, Your: client, Class: "PXEClient", File: "x.0"}).end(stalled), site(), boot.ReasonOption60, boot.Likely, "x.0", ""},
		{"option 60 known from others", boot.ReasonOption60, taken(boot.FirmwareUEFI, boot.FormTwoStep, efi).end(stalled), known60, boot.ReasonOption60, boot.Likely, "", ""},
		{"iPXE without priority", boot.ReasonOption60, newFlow(boot.FirmwareIPXE).other(with60).offer(boot.FormScript, script, shaped(boot.Shape{NoPriority: true})).wait(3).lease().end(stalled), site(), boot.ReasonOption60, boot.Likely, "", ""},
		{"iPXE with priority does not mind option 60", boot.ReasonOption60, newFlow(boot.FirmwareIPXE).other(with60).offer(boot.FormScript, script).wait(.2).lease().end(stalled), site(), "", "", "", ""},
		{"a ROM took its address from a server that sends option 60", boot.ReasonOption60, taken(boot.FirmwareBIOS, boot.FormDirect, bios).end(stalled), known60, boot.ReasonOption60, boot.Likely, "192.0.2.1 sends option 60", ""},
		{"a ROM took its address from another server", boot.ReasonOption60, taken(boot.FirmwareBIOS, boot.FormDirect, bios).end(stalled), site(func(l *boot.LAN) {
			other := l.Servers[0]
			other.Server, other.Classes, other.Findings = rival, []string{"PXEClient"}, []boot.Reason{boot.ReasonOption60}
			l.Servers = append(l.Servers, other)
		}), boot.ReasonTFTPNotRequested, boot.Likely, "", ""},
		{"the server sends the ROM no option 60", boot.ReasonOption60, taken(boot.FirmwareBIOS, boot.FormDirect, bios, plain()).end(stalled), known60, boot.ReasonTFTPNotRequested, boot.Likely, "", ""},
		{"option 60 of a server that is right again", boot.ReasonOption60, asking(boot.FirmwareUEFI, plain()).end(stalled), site(func(l *boot.LAN) { l.Servers[0].Classes = []string{"PXEClient"} }), "", "", "", ""},
		{"option 60 beside a failure further on", boot.ReasonOption60, taken(boot.FirmwareUEFI, boot.FormDirect, efi, with60).ask(efi).end(stalled), site(), "", "", "", ""},

		{"PXE stopped by option 60, then HTTP Boot in vain", boot.ReasonOption60, asking(boot.FirmwareUEFI, with60).wait(32).then(asking(boot.FirmwareHTTP, plain())).end(stalled), site(), boot.ReasonOption60, boot.Certain, "", ""},
		{"PXE in vain, then HTTP Boot with a host name", boot.ReasonOption60, asking(boot.FirmwareUEFI, plain()).wait(32).then(httpNamed(boot.Foreign{Server: router, Your: client})).end(stalled), site(), "", "", "", ""},

		{"another boot server, address taken", boot.ReasonRivalWon, taken(boot.FirmwareUEFI, boot.FormTwoStep, efi, plain(), proxy).end(stalled), site(), boot.ReasonRivalWon, boot.Likely, "192.0.2.9 answered this machine too", "52:54:00:00:00:bb"},
		{"another boot server answers port 4011", boot.ReasonRivalWon, taken(boot.FirmwareUEFI, boot.FormTwoStep, efi, proxy).other(boot.Foreign{Server: rival, Type: "ack", Port: 4011, Class: "PXEClient", File: "other.0"}).end(stalled), site(), boot.ReasonRivalWon, boot.Certain, "", ""},
		{"the request names another server", boot.ReasonRivalWon, taken(boot.FirmwareBIOS, boot.FormDirect, bios, proxy).barred(boot.ReasonOtherServer).end(stalled), site(), boot.ReasonRivalWon, boot.Certain, "", ""},
		{"the request names another server that is not heard", boot.ReasonRivalWon, taken(boot.FirmwareBIOS, boot.FormDirect, bios).barred(boot.ReasonOtherServer).end(stalled), site(), boot.ReasonRivalWon, boot.Certain, "", ""},
		{"another boot server lost", boot.ReasonRivalWon, taken(boot.FirmwareUEFI, boot.FormTwoStep, efi, proxy).ask(efi).end(stalled), site(), "", "", "", ""},
		{"a PXE server beside HTTP Boot", boot.ReasonRivalWon, asking(boot.FirmwareHTTP, plain(), proxy).end(stalled), site(), "", "", "", ""},

		{"another bootpuck, address taken", boot.ReasonTwin, taken(boot.FirmwareUEFI, boot.FormDirect, efi, plain(), twin).end(stalled), site(), boot.ReasonTwin, boot.Likely, "bootpuck at 192.0.2.9", ""},
		{"stands by", boot.ReasonTwin, newFlow(boot.FirmwareUEFI).other(twin).mute(boot.ReasonStandby).end(boot.AttemptIgnored), site(), boot.ReasonTwin, boot.Certain, "stands by", ""},
		{"another bootpuck, but ours was followed", boot.ReasonTwin, taken(boot.FirmwareUEFI, boot.FormTwoStep, efi, plain(), twin).ask(efi).end(stalled), site(), "", "", "", ""},

		{"asks this box for the other's file", boot.ReasonBootFileWon, taken(boot.FirmwareBIOS, boot.FormDirect, bios, withFile).tftp(boot.StageLoader, "/PXELINUX.0", failing(boot.ReasonNotFound, 0)).end(boot.AttemptFailed), site(), boot.ReasonBootFileWon, boot.Certain, "pxelinux.0", "192.0.2.1 remove"},
		{"BIOS takes the DHCP server's file", boot.ReasonBootFileWon, taken(boot.FirmwareBIOS, boot.FormDirect, bios, withFile).end(stalled), site(), boot.ReasonBootFileWon, boot.Likely, "on 192.0.2.1", ""},
		{"HTTP Boot takes the DHCP server's address", boot.ReasonBootFileWon, taken(boot.FirmwareHTTP, boot.FormHTTP, httpLoader, boot.Foreign{Server: router, Your: client, Class: "HTTPClient", File: "http://192.0.2.1/x.efi"}).end(stalled), site(), boot.ReasonBootFileWon, boot.Certain, "", ""},
		{"HTTP Boot gets an address from a station that is not the server", boot.ReasonBootFileWon, taken(boot.FirmwareHTTP, boot.FormHTTP, httpLoader, from(boot.Foreign{Server: router, Your: client, Class: "HTTPClient", File: "http://192.0.2.1/x.efi"}, "02:66:66:66:66:66")).end(stalled), site(), boot.ReasonBootFileWon, boot.Likely, "", ""},
		{"iPXE without priority takes the file", boot.ReasonBootFileWon, newFlow(boot.FirmwareIPXE).other(withFile).offer(boot.FormScript, script, shaped(boot.Shape{NoPriority: true})).wait(.2).lease().end(stalled), site(), boot.ReasonBootFileWon, boot.Likely, "", ""},
		{"shim goes by the DHCP server's file", boot.ReasonBootFileWon, taken(boot.FirmwareUEFI, boot.FormDirect, "shimx64.efi", withFile).tftp(boot.StageLoader, "shimx64.efi").end(stalled), site(), boot.ReasonBootFileWon, boot.Likely, "shimx64.efi", ""},
		{"a file for TFTP does not disturb HTTP Boot", boot.ReasonBootFileWon, taken(boot.FirmwareHTTP, boot.FormHTTP, httpLoader, withFile).end(stalled), site(), "", "", "", ""},
		{"our own name is missing", boot.ReasonBootFileWon, taken(boot.FirmwareBIOS, boot.FormDirect, "pxelinux.0", withFile).tftp(boot.StageLoader, "pxelinux.0", failing(boot.ReasonNotFound, 0)).end(boot.AttemptFailed), site(), "", "", "", ""},
		{"no file named", boot.ReasonBootFileWon, taken(boot.FirmwareBIOS, boot.FormDirect, bios, plain()).end(stalled), site(), "", "", "", ""},

		{"a host name and no DNS server", boot.ReasonNameNeedsDNS, httpNamed(boot.Foreign{Server: router, Your: client}).end(stalled), site(), boot.ReasonNameNeedsDNS, boot.Certain, "boot.example.org", "base-url"},
		{"a host name, offers unheard", boot.ReasonNameNeedsDNS, httpNamed().end(stalled), site(), boot.ReasonNameNeedsDNS, boot.Likely, "", ""},
		{"a host name with DNS", boot.ReasonNameNeedsDNS, httpNamed(plain()).end(stalled), site(), "", "", "", ""},
		{"an address without DNS", boot.ReasonNameNeedsDNS, asking(boot.FirmwareHTTP, boot.Foreign{Server: router, Your: client}).end(stalled), site(), "", "", "", ""},

		{"asked for an address before our offer", boot.ReasonAnsweredLate, newFlow(boot.FirmwareIPXE).offer(boot.FormScript, script, took(4*time.Second)).wait(3).lease().end(stalled), site(), boot.ReasonAnsweredLate, boot.Certain, "1.0 s before", ""},
		{"an offer after two seconds", boot.ReasonAnsweredLate, newFlow(boot.FirmwareIPXE).offer(boot.FormScript, script, took(2*time.Second)).wait(3).lease().end(stalled), site(), boot.ReasonAnsweredLate, boot.Likely, "", ""},
		{"requests that come in together", boot.ReasonAnsweredLate, newFlow(boot.FirmwareUEFI).offer(boot.FormDirect, efi).wait(.001).offer(boot.FormTwoStep, efi, secs(4)).wait(.001).offer(boot.FormTwoStep, efi, secs(12)).end(stalled), site(), boot.ReasonAnsweredLate, boot.Likely, "4.0 s apart", ""},
		{"one request through two relays", boot.ReasonAnsweredLate, newFlow(boot.FirmwareUEFI).given().offer(boot.FormDirect, efi).wait(.001).offer(boot.FormDirect, efi).end(stalled), site(), "", "", "", ""},
		{"a delay that is meant", boot.ReasonAnsweredLate, newFlow(boot.FirmwareUEFI).offer(boot.FormTwoStep, efi, took(time.Second), shaped(boot.Shape{Delay: time.Second})).wait(4).lease().end(stalled), site(), "", "", "", ""},
		{"the second offer is late, the first was not", boot.ReasonAnsweredLate, newFlow(boot.FirmwareUEFI).offer(boot.FormTwoStep, efi).wait(4).offer(boot.FormTwoStep, efi).wait(0.0001).lease().end(stalled), site(), "", "", "", ""},

		{"4011 filtered", boot.ReasonAskUnanswered, taken(boot.FirmwareUEFI, boot.FormTwoStep, efi, plain()).end(stalled), site(), boot.ReasonAskUnanswered, boot.Likely, "UDP port 4011", "direct style"},
		{"4011 from a network that is not allowed", boot.ReasonAskUnanswered, relayed(taken(boot.FirmwareUEFI, boot.FormTwoStep, efi)).barred(boot.ReasonSource).end(stalled), site(), boot.ReasonAskUnanswered, boot.Certain, "", "relays.clients"},
		{"4011 is not needed", boot.ReasonAskUnanswered, taken(boot.FirmwareUEFI, boot.FormDirect, efi, plain()).end(stalled), site(), "", "", "", ""},
		{"4011 answered", boot.ReasonAskUnanswered, taken(boot.FirmwareUEFI, boot.FormTwoStep, efi, plain()).ask(efi).end(stalled), site(), "", "", "", ""},

		{"no address yet", boot.ReasonGaveUp, newFlow(boot.FirmwareUEFI).mute(boot.ReasonNoAddress).wait(4).mute(boot.ReasonNoAddress).end(boot.AttemptFailed), site(), boot.ReasonGaveUp, boot.Certain, "asked twice", "fixed address"},
		{"answered after it had gone", boot.ReasonGaveUp, newFlow(boot.FirmwareUEFI).mute(boot.ReasonNoAddress).wait(12).mute(boot.ReasonRate).wait(16).offer(boot.FormDirect, efi).end(stalled), site(), boot.ReasonGaveUp, boot.Likely, "28 s after", "dhcp-rate"},
		{"answered in time all the same", boot.ReasonGaveUp, newFlow(boot.FirmwareUEFI).mute(boot.ReasonNoAddress).wait(4).offer(boot.FormDirect, efi).wait(4).lease().end(stalled), site(), "", "", "", ""},
		{"silent on purpose", boot.ReasonGaveUp, newFlow(boot.FirmwareUEFI).mute(boot.ReasonPolicy).end(boot.AttemptIgnored), site(), "", "", "", ""},
	}
}

// httpNamed is HTTP Boot that is offered a host name.
func httpNamed(o ...boot.Foreign) *flow {
	f := newFlow(boot.FirmwareHTTP)
	return f.repeat(func(int) {
		for _, x := range o {
			f.other(x)
		}
		f.offer(boot.FormHTTP, "http://boot.example.org/x86_64/snponly.efi")
	})
}

func lostScenarios() []scenario {
	stalled := boot.AttemptStalled
	late := func(fw boot.Firmware, n uint16) *flow {
		return newFlow(fw).given().offer(boot.FormDirect, efi, secs(n))
	}
	moved := func(at time.Duration, from, to netip.Addr) boot.LAN {
		return site(func(l *boot.LAN) {
			l.Changes = []boot.LANChange{{Time: began.Add(at), Interface: "eth0", From: from, To: to}}
		})
	}
	spent := func(f *flow) *flow {
		return f.event(boot.KindQuirk, boot.ReasonQuirkSpent, "", "every shape was tried")
	}
	return []scenario{
		{"no DHCP server, asked", boot.ReasonNoDHCPServer, asking(boot.FirmwareUEFI).end(stalled), site(alone), boot.ReasonNoDHCPServer, boot.Certain, "asked 4 times in 28 s", ""},
		{"no DHCP server, not asked", boot.ReasonNoDHCPServer, asking(boot.FirmwareBIOS).end(stalled), site(unasked), boot.ReasonNoDHCPServer, boot.Likely, "ever heard", ""},
		{"iPXE without a DHCP server", boot.ReasonNoDHCPServer, asking(boot.FirmwareIPXE).end(stalled), site(alone), boot.ReasonNoDHCPServer, boot.Certain, "", ""},
		{"the loaded iPXE finds no DHCP server", boot.ReasonNoDHCPServer, chainAsking().end(stalled), site(alone), boot.ReasonNoDHCPServer, boot.Certain, "", ""},
		{"the DHCP server fell silent when the boot program ran", boot.ReasonNoDHCPServer, chainAsking().end(stalled), site(func(l *boot.LAN) { l.Servers[0].Last = began.Add(time.Second) }), boot.ReasonNoDHCPServer, boot.Likely, "was last heard", ""},
		{"the same, and a server that is not known answered a question before", boot.ReasonNoDHCPServer, chainAsking().end(stalled), site(func(l *boot.LAN) { l.Servers = nil }), boot.ReasonNoDHCPServer, boot.Likely, "was answered before", ""},
		{"the DHCP server was heard yesterday", boot.ReasonNoDHCPServer, asking(boot.FirmwareUEFI).end(stalled), site(func(l *boot.LAN) { l.Servers[0].Last, l.Probes = began.Add(-24*time.Hour), nil }), boot.ReasonNoDHCPServer, boot.Likely, "24 h ago", ""},
		{"the DHCP server was stopped after it had answered this box", boot.ReasonNoDHCPServer, asking(boot.FirmwareUEFI).end(stalled), site(stopped), boot.ReasonNoDHCPServer, boot.Likely, "Nothing shows that one runs", "Start the site's DHCP server"},
		{"the same of a ROM, which may take offers unheard", boot.ReasonNoDHCPServer, asking(boot.FirmwareBIOS).end(stalled), site(stopped), boot.ReasonNoDHCPServer, boot.Possible, "", ""},
		{"the same, and every shape was tried", boot.ReasonNoDHCPServer, spent(asking(boot.FirmwareUEFI)).end(stalled), site(stopped), boot.ReasonNoDHCPServer, boot.Likely, "", ""},
		{"two servers answer others", boot.ReasonExhausted, asking(boot.FirmwareUEFI).end(stalled), site(func(l *boot.LAN) {
			l.Probes = []boot.LANProbe{{Time: began.Add(time.Minute), Interface: "eth0", Answers: []netip.Addr{router, rival}}}
		}), boot.ReasonExhausted, boot.Likely, "The DHCP servers 192.0.2.1 and 192.0.2.9 answer others", "servers 192.0.2.1 and 192.0.2.9 run"},
		{"offered, and never acknowledged", boot.ReasonExhausted, taken(boot.FirmwareUEFI, boot.FormDirect, efi, plain()).wait(4).lease().wait(8).lease().wait(16).lease().end(stalled), site(), boot.ReasonExhausted, boot.Likely, "asked 4 times for 192.0.2.50 and got no acknowledgement", "still runs"},
		{"a ROM's offer, never acknowledged", boot.ReasonExhausted, taken(boot.FirmwareBIOS, boot.FormDirect, bios, withFile).wait(4).lease().wait(8).lease().end(stalled), site(), boot.ReasonExhausted, boot.Likely, "asked 3 times", ""},
		{"two-step, never acknowledged", boot.ReasonAskUnanswered, taken(boot.FirmwareUEFI, boot.FormTwoStep, efi, plain()).wait(4).lease().wait(8).lease().end(stalled), site(), "", "", "", ""},
		{"acknowledged at last", boot.ReasonExhausted, taken(boot.FirmwareBIOS, boot.FormDirect, bios, plain()).wait(4).lease().wait(8).lease().other(boot.Foreign{Type: "ack", Server: router, Your: client}).end(stalled), site(), "", "", "", ""},
		{"asked twice", boot.ReasonExhausted, taken(boot.FirmwareBIOS, boot.FormDirect, bios, plain()).wait(4).lease().end(stalled), site(), "", "", "", ""},
		{"one REQUEST in three copies", boot.ReasonExhausted, taken(boot.FirmwareBIOS, boot.FormDirect, bios, plain()).lease().lease().end(stalled), site(), "", "", "", ""},
		{"begins anew three times with one number", boot.ReasonExhausted, taken(boot.FirmwareBIOS, boot.FormDirect, bios, plain()).wait(9).offer(boot.FormDirect, bios).wait(4).lease().wait(9).offer(boot.FormDirect, bios).wait(4).lease().end(stalled), site(), "", "", "", ""},
		{"DHCP offers are heard", boot.ReasonNoDHCPServer, asking(boot.FirmwareUEFI, plain()).end(stalled), site(alone), "", "", "", ""},
		{"the DHCP server answers others", boot.ReasonNoDHCPServer, asking(boot.FirmwareUEFI).end(stalled), site(), "", "", "", ""},

		{"UEFI gets no address", boot.ReasonExhausted, asking(boot.FirmwareUEFI).end(stalled), site(), boot.ReasonExhausted, boot.Likely, "192.0.2.1 answers others", string(nic)},
		{"iPXE gets no address", boot.ReasonExhausted, asking(boot.FirmwareIPXE).end(stalled), site(), boot.ReasonExhausted, boot.Likely, "", ""},
		{"the loaded iPXE gets no address, others do", boot.ReasonExhausted, chainAsking().end(stalled), site(func(l *boot.LAN) { l.Servers[0].Last = began.Add(time.Minute) }), boot.ReasonExhausted, boot.Likely, "192.0.2.1 answers others", ""},
		{"the loaded iPXE gets no address, this box is offered one", boot.ReasonExhausted, chainAsking().end(stalled), site(func(l *boot.LAN) { l.Probes[0].Time = began.Add(time.Minute) }), boot.ReasonExhausted, boot.Likely, "192.0.2.1 answers others", ""},
		{"NAK", boot.ReasonExhausted, taken(boot.FirmwareBIOS, boot.FormDirect, bios).other(boot.Foreign{Type: "nak", Server: router}).end(stalled), site(), boot.ReasonExhausted, boot.Likely, "NAK", ""},
		{"NAK of another server, granted all the same", boot.ReasonExhausted, taken(boot.FirmwareUEFI, boot.FormDirect, efi).other(boot.Foreign{Type: "nak", Server: rival}).other(boot.Foreign{Type: "ack", Server: router, Your: client}).end(stalled), site(), "", "", "", ""},
		{"an address was offered", boot.ReasonExhausted, asking(boot.FirmwareUEFI, plain()).end(stalled), site(), "", "", "", ""},

		{"offers ignored", boot.ReasonOfferIgnored, asking(boot.FirmwareUEFI, plain()).end(stalled), site(), boot.ReasonOfferIgnored, boot.Likely, "direct; then two-step", ""},
		{"HTTP Boot ignores the offer", boot.ReasonOfferIgnored, asking(boot.FirmwareHTTP, plain()).end(stalled), site(), boot.ReasonOfferIgnored, boot.Likely, "", ""},
		{"the offer was followed", boot.ReasonOfferIgnored, taken(boot.FirmwareUEFI, boot.FormDirect, efi, plain()).end(stalled), site(), "", "", "", ""},

		{"iPXE hears nothing", boot.ReasonSnooping, asking(boot.FirmwareIPXE, plain()).end(stalled), site(neighbour), boot.ReasonSnooping, boot.Likely, "", "port 17 of the switch sw1"},
		{"iPXE waited for a boot offer", boot.ReasonSnooping, newFlow(boot.FirmwareIPXE).given().offer(boot.FormScript, script).wait(3).lease().end(stalled), site(), boot.ReasonSnooping, boot.Likely, "waited 3.0 s", ""},
		{"iPXE waited, its address offer was not overheard", boot.ReasonSnooping, newFlow(boot.FirmwareIPXE).offer(boot.FormScript, script).wait(3).lease().end(stalled), site(), boot.ReasonSnooping, boot.Likely, "waited 3.0 s after the boot offer", ""},
		{"iPXE took an address at once", boot.ReasonScriptNotFetched, newFlow(boot.FirmwareIPXE).offer(boot.FormScript, script).wait(1).lease().end(stalled), site(), boot.ReasonScriptNotFetched, boot.Likely, "", "TCP port 80"},
		{"behind a relay nothing comes back", boot.ReasonSnooping, relayed(asking(boot.FirmwareUEFI)).end(stalled), site(), boot.ReasonSnooping, boot.Likely, "relay", "ip helper-address"},
		{"every shape was tried", boot.ReasonQuirkSpent, spent(asking(boot.FirmwareUEFI, plain())).end(stalled), site(), boot.ReasonQuirkSpent, boot.Certain, "direct; two-step", "snooping"},
		{"UEFI took the offer", boot.ReasonSnooping, taken(boot.FirmwareUEFI, boot.FormTwoStep, efi, plain()).end(stalled), site(), "", "", "", ""},
		{"there is no DHCP server", boot.ReasonSnooping, asking(boot.FirmwareIPXE).end(stalled), site(alone), "", "", "", ""},

		{"every shape was tried without DHCP", boot.ReasonQuirkSpent, spent(asking(boot.FirmwareRPi, plain())).end(stalled), site(), boot.ReasonQuirkSpent, boot.Certain, "direct", ""},
		{"every shape was tried, and no address was offered", boot.ReasonQuirkSpent, spent(asking(boot.FirmwareUEFI)).end(stalled), site(stopped, func(l *boot.LAN) { l.Servers = nil }), boot.ReasonNoDHCPServer, boot.Likely, "", ""},
		{"only port 4011 is filtered", boot.ReasonAskUnanswered, spent(newFlow(boot.FirmwareUEFI).given().offer(boot.FormDirect, efi).wait(4).offer(boot.FormTwoStep, efi).wait(4).lease().wait(9)).offer(boot.FormDirect, efi).end(stalled), site(), boot.ReasonAskUnanswered, boot.Likely, "nothing arrived there", "4011"},
		{"spent before the DHCP server was back", boot.ReasonQuirkSpent, spent(asking(boot.FirmwareUEFI).wait(9).given().offer(boot.FormTwoStep, efi).wait(4).lease().ask(efi).tftp(boot.StageLoader, efi)).end(stalled), site(), "", "", "", ""},
		{"spent, then followed", boot.ReasonQuirkSpent, spent(asking(boot.FirmwareUEFI, plain())).wait(1).lease().tftp(boot.StageLoader, efi).end(stalled), site(), "", "", "", ""},

		{"BIOS heard after 28 s", boot.ReasonSpanningTree, late(boot.FirmwareBIOS, 28).end(stalled), site(), boot.ReasonSpanningTree, boot.Likely, "28 s", "portfast"},
		{"UEFI with exchanged octets", boot.ReasonSpanningTree, late(boot.FirmwareUEFI, 28<<8).end(stalled), site(), boot.ReasonSpanningTree, boot.Likely, "28 s: 3 packets", ""},
		{"iPXE counts packets", boot.ReasonSpanningTree, newFlow(boot.FirmwareIPXE).offer(boot.FormScript, script, secs(24)).end(stalled), site(unasked), boot.ReasonSpanningTree, boot.Likely, "5 packets", ""},
		{"the loaded iPXE is heard late", boot.ReasonSpanningTree, fetchedEFI().wait(31).as(boot.FirmwareIPXE).offer(boot.FormScript, script, secs(20)).end(stalled), site(unasked), boot.ReasonSpanningTree, boot.Likely, "number 5", ""},
		{"iPXE's first packet", boot.ReasonSpanningTree, asking(boot.FirmwareIPXE, plain()).end(stalled), site(), "", "", "", ""},
		{"iPXE lost two packets", boot.ReasonSpanningTree, newFlow(boot.FirmwareIPXE).offer(boot.FormScript, script, secs(12)).end(stalled), site(), "", "", "", ""},
		{"the box's own link had just come up", boot.ReasonSpanningTree, late(boot.FirmwareBIOS, 28).end(stalled), site(func(l *boot.LAN) { l.Ports[0].UpSince = began.Add(-3 * time.Second) }), "", "", "", ""},
		{"the box had just got its address", boot.ReasonSpanningTree, late(boot.FirmwareBIOS, 28).end(stalled), moved(-2*time.Second, netip.Addr{}, box), "", "", "", ""},
		{"it went on", boot.ReasonSpanningTree, late(boot.FirmwareBIOS, 28).wait(1).lease().end(stalled), site(), "", "", "", ""},

		{"the address changed on the way", boot.ReasonAddressChanged, taken(boot.FirmwareUEFI, boot.FormTwoStep, efi, plain()).end(stalled), moved(2*time.Second, rival, box), boot.ReasonAddressChanged, boot.Likely, "192.0.2.9 to 192.0.2.2", "fixed address"},
		{"it changed before", boot.ReasonAddressChanged, taken(boot.FirmwareUEFI, boot.FormTwoStep, efi, plain()).end(stalled), moved(-2*time.Second, rival, box), "", "", "", ""},
		{"a first address is no change", boot.ReasonAddressChanged, taken(boot.FirmwareUEFI, boot.FormTwoStep, efi, plain()).end(stalled), moved(2*time.Second, netip.Addr{}, box), "", "", "", ""},
		{"the machine found the new one", boot.ReasonAddressChanged, fetchedEFI().wait(5).script("/b", "", "").end(stalled), moved(2*time.Second, rival, box), "", "", "", ""},

		{"denied", boot.ReasonIgnored, newFlow(boot.FirmwareBIOS).mute(boot.ReasonDenied).end(boot.AttemptIgnored), site(), boot.ReasonIgnored, boot.Certain, "deny-list", ""},
		{"no program for it", boot.ReasonIgnored, newFlow(boot.FirmwareUEFI).mute(boot.ReasonNoLoader).end(boot.AttemptFailed), site(), boot.ReasonIgnored, boot.Certain, "", "files directory"},
		{"answered later", boot.ReasonIgnored, newFlow(boot.FirmwareBIOS).mute(boot.ReasonPolicy).wait(4).offer(boot.FormDirect, bios).end(stalled), site(), "", "", "", ""},
	}
}

// chainAsking is iPXE that was loaded and gets no address.
func chainAsking() *flow {
	f := fetchedEFI().wait(2).as(boot.FirmwareIPXE)
	for range 4 {
		f.offer(boot.FormScript, script).wait(4)
	}
	return f
}

func neighbour(l *boot.LAN) {
	l.Ports[0].Neighbour = &boot.LLDP{Chassis: "52:54:00:00:00:cc", Port: "17", System: "sw1"}
}

// TestScenarios: every rule speaks where its cause is, with the confidence that
// is due, and is silent where something looks like it and is not.
func TestScenarios(t *testing.T) {
	for _, s := range scenarios() {
		got := Judge(s.a, s.lan)
		if s.want == "" {
			if slices.ContainsFunc(got, func(v boot.Verdict) bool { return v.Name == s.rule }) {
				t.Errorf("%s: %s is not to be said: %s", s.name, s.rule, names(got))
			}
			if len(got) == 0 {
				t.Errorf("%s: no verdict", s.name)
			}
			continue
		}
		if len(got) == 0 || got[0].Name != s.want || got[0].Confidence != s.conf {
			t.Errorf("%s: %s, want %s %s", s.name, names(got), s.want, s.conf)
			continue
		}
		v := got[0]
		if !strings.Contains(v.Text, s.says) || !strings.Contains(v.Fix, s.fix) {
			t.Errorf("%s: text %q, fix %q\nlack %q or %q", s.name, v.Text, v.Fix, s.says, s.fix)
		}
		if v.Fix == "" || len(v.Evidence) == 0 {
			t.Errorf("%s: no fix or no evidence: %+v", s.name, v)
		}
	}
}

// TestSlow: a boot that works is said to be slow only when it truly was.
func TestSlow(t *testing.T) {
	load := func(n int, d time.Duration, size int64) *boot.Attempt {
		return linux(chained(taken(boot.FirmwareUEFI, boot.FormDirect, efi, plain()).tftp(boot.StageLoader, efi, lost(n), took(d), total(size), failing("", size)))).end(boot.AttemptBooted)
	}
	for _, c := range []struct {
		retries int
		took    time.Duration
		size    int64
		says    string
	}{
		{60, 30 * time.Second, loaderSize, "60 packets had to be sent again"},
		{0, 40 * time.Second, loaderSize, "the way there and back is long"},
		{9, 9 * time.Second, loaderSize, ""},
		{100, 3 * time.Second, loaderSize, ""},
		{9, 12 * time.Second, loaderSize, ""},
		{3, 60 * time.Second, 40_000_000, ""},
	} {
		got := Judge(load(c.retries, c.took, c.size), site())
		if got[0].Name != boot.ReasonBooted {
			t.Fatalf("%+v: %s", c, names(got))
		}
		if c.says == "" {
			if len(got) != 1 {
				t.Errorf("%+v: %s", c, names(got))
			}
			continue
		}
		if len(got) != 2 || got[1].Name != boot.ReasonTFTPSlow || got[1].Severity != boot.SeverityWarning || !strings.Contains(got[1].Text, c.says) {
			t.Errorf("%+v: %+v", c, got)
		}
	}
}

// TestEveryVerdictIsProvoked: every name that a verdict can have is the main one
// of some scenario, and every rule has a look-alike that it is silent on.
func TestEveryVerdictIsProvoked(t *testing.T) {
	said, alike := map[boot.Reason]bool{}, map[boot.Reason]bool{}
	for _, s := range scenarios() {
		said[s.want] = true
		if s.want == "" {
			alike[s.rule] = true
		}
	}
	said[boot.ReasonTFTPSlow], alike[boot.ReasonTFTPSlow] = true, true // TestSlow
	for _, a := range healthy() {
		said[Judge(a, site())[0].Name] = true
	}
	outcomes := []boot.Reason{boot.ReasonBooted, boot.ReasonLeftLocal, boot.ReasonUnexplained}
	for _, n := range boot.VerdictNames() {
		if !said[n] {
			t.Errorf("%s is never said", n)
		}
		if !alike[n] && !slices.Contains(outcomes, n) {
			t.Errorf("%s has no look-alike", n)
		}
	}
}

// TestUnheardOffers: where offers of addresses are not heard, that ours was not
// followed stands beside the silence of the DHCP server.
func TestUnheardOffers(t *testing.T) {
	for name, c := range map[string]struct {
		fw   boot.Firmware
		want []boot.Reason
	}{
		"ROM":  {boot.FirmwareBIOS, []boot.Reason{boot.ReasonNoDHCPServer, boot.ReasonExhausted, boot.ReasonOfferIgnored}},
		"UEFI": {boot.FirmwareUEFI, []boot.Reason{boot.ReasonNoDHCPServer, boot.ReasonExhausted}},
	} {
		var got []boot.Reason
		for _, d := range Judge(asking(c.fw).end(boot.AttemptStalled), site(stopped)) {
			got = append(got, d.Name)
			if d.Name == boot.ReasonExhausted && d.Confidence != boot.Possible {
				t.Errorf("%s: %s is %s", name, d.Name, d.Confidence)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
