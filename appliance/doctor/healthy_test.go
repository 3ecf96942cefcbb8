package doctor

import (
	"testing"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// linux is what iPXE does once it runs: its scripts, kernel, files.
func linux(f *flow) *flow {
	return f.script("/b", "", "").script("/s", "", "boot debian (machine)").decided(boot.ActionBoot, "debian").
		http(boot.StageKernel, "/trees/debian/linux", 8_000_000).http(boot.StageFiles, "/trees/debian/initrd.gz", 40_000_000)
}

// chained is iPXE asking again after it was loaded.
func chained(f *flow) *flow {
	return f.wait(2).as(boot.FirmwareIPXE).offer(boot.FormScript, script).wait(.1).given().wait(.5).lease()
}

// healthy are boots that work, of every kind of client, lossy ones included, and
// the LANs they may happen on.
func healthy() map[string]*boot.Attempt {
	uefi := func() *flow {
		return newFlow(boot.FirmwareUEFI).given().offer(boot.FormDirect, efi).wait(4).lease().wait(.1).probe(efi).tftp(boot.StageLoader, efi)
	}
	rom := func() *flow { return newFlow(boot.FirmwareIPXE).offer(boot.FormScript, script).wait(.2).lease() }
	return map[string]*boot.Attempt{
		"BIOS ROM, whole and reported": linux(chained(newFlow(boot.FirmwareBIOS).offer(boot.FormDirect, bios).wait(4).lease().
			probe(bios).tftp(boot.StageLoader, bios, total(70_000)))).wait(40).says(boot.CallbackStarted, "started").wait(300).
			says(boot.CallbackDone, "done").end(boot.AttemptBooted),
		"UEFI direct, autoexec by TFTP": linux(uefi().wait(2).script("x86_64/autoexec.ipxe", "", "").
			tftp(boot.StageAutoexec, "x86_64/autoexec.ipxe", total(500))).wait(20).system().end(boot.AttemptBooted),
		"UEFI of 2010 to 2017, two-step on the repeat": linux(chained(newFlow(boot.FirmwareUEFI).given().offer(boot.FormDirect, efi).
			wait(4).given().offer(boot.FormTwoStep, efi, shaped(boot.Shape{Form: boot.FormTwoStep})).wait(4).lease().wait(.1).ask(efi).
			probe(efi).tftp(boot.StageLoader, efi))).wait(10).system().end(boot.AttemptBooted),
		"old ROM that asks 4011 all the same": linux(chained(newFlow(boot.FirmwareBIOS).offer(boot.FormDirect, bios).wait(4).lease().
			ask(bios).tftp(boot.StageLoader, bios, block(512)))).end(boot.AttemptBooted),
		"rescued by smaller blocks": linux(chained(newFlow(boot.FirmwareUEFI).given().offer(boot.FormDirect, efi).wait(4).lease().
			tftp(boot.StageLoader, efi, failing(boot.ReasonClientSilent, 0), lost(5)).wait(2).
			tftp(boot.StageLoader, efi, block(512), shapedTFTP))).wait(30).system().end(boot.AttemptBooted),
		"HTTP Boot": linux(chained(newFlow(boot.FirmwareHTTP).given().offer(boot.FormHTTP, "http://192.0.2.2/x86_64/snponly.efi").wait(4).lease().
			http(boot.StageLoader, "/x86_64/snponly.efi", 0, total(loaderSize)).http(boot.StageLoader, "/x86_64/snponly.efi", loaderSize))).
			wait(20).system().end(boot.AttemptBooted),
		"PXE in vain, then HTTP Boot in the same power-on": linux(chained(newFlow(boot.FirmwareUEFI).given().offer(boot.FormDirect, efi).wait(4).
			offer(boot.FormTwoStep, efi).wait(60).as(boot.FirmwareHTTP).given().offer(boot.FormHTTP, "http://192.0.2.2/x86_64/snponly.efi").wait(4).lease().
			http(boot.StageLoader, "/x86_64/snponly.efi", loaderSize))).wait(20).system().end(boot.AttemptBooted),
		"iPXE in the card's ROM":           linux(rom()).wait(15).system().end(boot.AttemptBooted),
		"iPXE, first DISCOVERs lost":       linux(newFlow(boot.FirmwareIPXE).offer(boot.FormScript, script, secs(12)).wait(4).offer(boot.FormScript, script, secs(16)).wait(.1).lease()).end(boot.AttemptBooted),
		"cut-down iPXE that gets ours":     linux(chained(newFlow(boot.FirmwareIPXE).offer(boot.FormScript, "tftp://192.0.2.2/undionly.kpxe").wait(.2).lease().tftp(boot.StageLoader, bios))).end(boot.AttemptBooted),
		"lossy but fine":                   linux(chained(newFlow(boot.FirmwareBIOS).offer(boot.FormDirect, bios).wait(4).offer(boot.FormDirect, bios).wait(4).lease().tftp(boot.StageLoader, bios, lost(6), took(4*time.Second)))).wait(9).system().end(boot.AttemptBooted),
		"DHCP server with a boot file":     linux(chained(newFlow(boot.FirmwareUEFI).other(boot.Foreign{Server: router, Your: client, File: "pxelinux.0", Header: true, Next: "192.0.2.1"}).offer(boot.FormDirect, efi).wait(4).lease().tftp(boot.StageLoader, efi))).end(boot.AttemptBooted),
		"option 60 beside iPXE's priority": linux(newFlow(boot.FirmwareIPXE).other(boot.Foreign{Server: router, Your: client, Class: "PXEClient"}).offer(boot.FormScript, script).wait(.1).lease()).end(boot.AttemptBooted),
		"another boot server that lost":    linux(rom().other(boot.Foreign{Server: rival, Class: "PXEClient", File: "other.0"})).end(boot.AttemptBooted),
		"Raspberry Pi 4": newFlow(boot.FirmwareRPi).offer(boot.FormRPi, "").wait(1).lease().
			tftp(boot.StageLoader, "1234abcd/start4.elf", failing(boot.ReasonNotFound, 0)).tftp(boot.StageLoader, "start4.elf").
			tftp(boot.StageLoader, "config.txt", total(300)).tftp(boot.StageLoader, "recovery.elf", failing(boot.ReasonNotFound, 0)).
			tftp(boot.StageKernel, "kernel8.img", took(3*time.Second)).tftp(boot.StageFiles, "initramfs8", took(2*time.Second)).end(boot.AttemptBooted),
		"pxelinux, names in vain": newFlow(boot.FirmwareBIOS).offer(boot.FormDirect, "lpxelinux.0").wait(4).lease().tftp(boot.StageLoader, "lpxelinux.0").
			tftp(boot.StageLoader, "ldlinux.c32").script("pxelinux.cfg/564d-1", boot.ReasonNotFound, "").
			script("pxelinux.cfg/01-52-54-00-00-00-01", "", "boot debian (machine)").http(boot.StageKernel, "/trees/d/linux", 8_000_000).
			http(boot.StageFiles, "/trees/d/initrd", 30_000_000).wait(9).system().end(boot.AttemptBooted),
		"shim and GRUB": newFlow(boot.FirmwareUEFI).given().offer(boot.FormDirect, "shimx64.efi").wait(4).lease().tftp(boot.StageLoader, "shimx64.efi").
			tftp(boot.StageLoader, "revocations.efi", failing(boot.ReasonNotFound, 0)).tftp(boot.StageLoader, "grubx64.efi").
			tftp(boot.StageLoader, "grub/x86_64-efi/command.lst", failing(boot.ReasonNotFound, 0)).script("grub/grub.cfg", "", "").
			script("/s?loader=grub", "", "boot ubuntu (group)").http(boot.StageKernel, "/trees/u/vmlinuz", 9_000_000).
			http(boot.StageFiles, "/trees/u/initrd", 60_000_000).wait(30).system().end(boot.AttemptBooted),
		"memtest from the menu": rom().script("/b", "", "").script("/s", "", "").decided(boot.ActionMenu, "").
			http(boot.StageKernel, "/memtest/memtest64.efi", 150_000).end(boot.AttemptBooted),
		"installation that reads parts and is left at the end": linux(rom()).script("/a/…/preseed.cfg", "", "answer file preseed.cfg").
			http(boot.StageFiles, "/trees/debian/pool/a.deb", 100, failing(boot.ReasonInterrupted, 10)).
			http(boot.StageFiles, "/trees/debian/pool/b.deb", 3_000_000).wait(60).says(boot.CallbackProgress, "50 %").wait(60).
			says(boot.CallbackDone, "done").end(boot.AttemptBooted),
		"log lines only":                  linux(rom()).add(boot.Event{Kind: boot.KindSyslog, Text: "anna: installing"}, boot.StageInstaller).end(boot.AttemptBooted),
		"fetched whole, no word":          linux(rom()).end(boot.AttemptBooted),
		"menu's time-out":                 rom().script("/b", "", "").script("/s", "", "").decided(boot.ActionMenu, "").wait(30).script("/left", "", "continuing to the local disk: chosen in the menu, or its time-out").end(boot.AttemptLocal),
		"left to its disk, as decided":    rom().script("/b", "", "").script("/s", "", "local (machine)").decided(boot.ActionLocal, "").end(boot.AttemptLocal),
		"installed before, now its disk":  rom().script("/b", "", "").script("/s", boot.ReasonAssignUsedUp, "local (safety)").decided(boot.ActionLocal, "").end(boot.AttemptLocal),
		"menu, then a system on the disk": rom().script("/b", "", "").script("/s", "", "").decided(boot.ActionMenu, "").wait(30).system().end(boot.AttemptLocal),
		"through a relay":                 relayed(linux(chained(newFlow(boot.FirmwareUEFI).offer(boot.FormDirect, efi).wait(4).lease().tftp(boot.StageLoader, efi)))).end(boot.AttemptBooted),
	}
}

// shapedTFTP makes a transfer with small blocks last as it does.
func shapedTFTP(e *boot.Event) { e.Duration = 2 * time.Second }

func relayed(f *flow) *flow {
	f.a.Relayed = true
	return f
}

// lans are networks on which healthy boots happen.
func lans() map[string]boot.LAN {
	return map[string]boot.LAN{
		"in order":      site(),
		"nothing known": {},
		"nothing heard": site(unasked),
		"clock not set": site(func(l *boot.LAN) { l.ClockSet = false }),
		"full of troubles": site(func(l *boot.LAN) {
			l.Servers[0].Classes, l.Servers[0].BootFiles, l.Servers[0].NextServers = []string{"PXEClient"}, []string{"pxelinux.0"}, []string{"192.0.2.1"}
			l.Servers[0].Findings = []boot.Reason{boot.ReasonOption60, boot.ReasonServerBootFile, boot.ReasonWrongNextServer}
			l.Changes = []boot.LANChange{{Time: began.Add(-time.Hour), Interface: "eth0", From: rival, To: box}}
			l.Conflicts = []boot.LANConflict{{Interface: "eth0", Addr: box, MAC: "52:54:00:00:00:ff", First: began, Last: began}}
			l.Twins = []boot.LANTwin{{ID: "x", Addr: rival, Last: began}}
		}),
	}
}

// TestHealthy: on boots that work nothing is said but that they do, whatever the
// LAN looks like.
func TestHealthy(t *testing.T) {
	for name, a := range healthy() {
		want := boot.ReasonBooted
		if a.State == boot.AttemptLocal {
			want = boot.ReasonLeftLocal
		}
		for where, l := range lans() {
			got := Judge(a, l)
			if len(got) != 1 || got[0].Name != want || got[0].Severity != boot.SeverityInfo || got[0].Fix != "" {
				t.Errorf("%s on a LAN %s: %s", name, where, names(got))
			}
		}
	}
}

// TestHealthyUnderWay: no moment of a boot that works gets a verdict.
func TestHealthyUnderWay(t *testing.T) {
	for name, a := range healthy() {
		whole := *a
		for n := range whole.Events {
			for _, pause := range []time.Duration{0, 3 * time.Second} {
				part := prefix(whole, n+1)
				at := part.Last.Add(pause)
				if n+1 < len(whole.Events) && whole.Events[n+1].Time.Before(at) {
					at = whole.Events[n+1].Time
				}
				l := site()
				l.Now = at
				if got := Judge(&part, l); len(got) > 0 {
					t.Errorf("%s, %d of %d events: %s\n%s", name, n+1, len(whole.Events), names(got), got[0].Text)
				}
			}
		}
	}
}

// prefix is an attempt as it was after its first n events.
func prefix(a boot.Attempt, n int) boot.Attempt {
	f := &flow{}
	f.a = boot.Attempt{ID: a.ID, MAC: a.MAC, Interface: a.Interface, Start: a.Start, Last: a.Start, State: boot.AttemptRunning, Arch: a.Arch, ArchKnown: true, Relayed: a.Relayed}
	for i := range n {
		e := a.Events[i]
		f.add(e, stagesOf(&a, &e)...)
		if e.Foreign != nil {
			f.a.Foreign = append(f.a.Foreign, *e.Foreign)
		}
	}
	return f.a
}

// stagesOf is the stage that the builder put an event into.
func stagesOf(a *boot.Attempt, e *boot.Event) []boot.StageName {
	switch e.Kind {
	case boot.KindOffer:
		return []boot.StageName{boot.StageDiscover, boot.StageOffer}
	case boot.KindLease:
		return []boot.StageName{boot.StageLease}
	case boot.KindAck:
		return []boot.StageName{boot.StageAsk}
	case boot.KindProbe:
		return []boot.StageName{boot.StageProbe}
	case boot.KindCallback, boot.KindSyslog:
		return []boot.StageName{boot.StageInstaller}
	case boot.KindSilence:
		if e.Reason == boot.ReasonClass {
			return []boot.StageName{boot.StageSystem}
		}
		return []boot.StageName{boot.StageDiscover}
	case boot.KindScript:
		if p := part(e.File); p != nameLeft {
			return []boot.StageName{p}
		}
	case boot.KindTFTP, boot.KindHTTP:
		v := newView(a, &boot.LAN{})
		if v.isTarget(e) {
			return []boot.StageName{boot.StageKernel}
		}
		if p := part(e.File); p != "" {
			return []boot.StageName{p}
		}
		return []boot.StageName{boot.StageLoader}
	default:
	}
	return nil
}

func names(list []boot.Verdict) []string {
	out := make([]string, 0, len(list))
	for _, v := range list {
		out = append(out, string(v.Name)+" "+string(v.Confidence))
	}
	return out
}
