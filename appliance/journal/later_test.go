package journal

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// TestLaterLife: what a machine's system does by itself, hours after its boot or
// without that anything of a target was fetched, changes neither how the boot
// ended nor how long it took.
func TestLaterLife(t *testing.T) {
	speak := map[string]func(p *pc){
		"asks for an address": func(p *pc) { p.system() },
		"takes an address": func(p *pc) {
			p.w.see(boot.Event{Kind: boot.KindLease, MAC: p.mac, Addr: p.addr, Class: "MSFT 5.0", Text: "from the DHCP server 192.0.2.1"})
		},
		"logs": func(p *pc) {
			p.w.see(boot.Event{Kind: boot.KindSyslog, Addr: p.addr, Text: "systemd: Started Daily apt activities."})
		},
	}
	flows := []struct {
		name  string
		play  func(p *pc)
		state boot.AttemptState
		at    boot.StageName
	}{
		{"armed, and never heard of", func(p *pc) {
			p.booting(decidedArmed).http("/files/vmlinuz", 8<<20).http("/files/initrd", 8<<20)
		}, boot.AttemptStalled, boot.StageFiles},
		{"kernel broken off", func(p *pc) {
			p.booting(decidedBoot).httpEnd("/files/vmlinuz", 100, 8<<20, boot.ReasonInterrupted)
		}, boot.AttemptFailed, boot.StageKernel},
		{"kernel never fetched", func(p *pc) { p.booting(decidedBoot) }, boot.AttemptStalled, boot.StageScript},
		{"left to its disk", func(p *pc) { p.booting(decidedLocal) }, boot.AttemptLocal, boot.StageScript},
		{"booted", func(p *pc) { p.booting(decidedBoot).http("/files/vmlinuz", 8<<20) }, boot.AttemptBooted, boot.StageKernel},
	}
	for _, f := range flows {
		for how, again := range speak {
			t.Run(f.name+", later "+how, func(t *testing.T) {
				w := newWire(t)
				p := w.pc(1, boot.FirmwareUEFI).loader("snponly.efi")
				f.play(p)
				w.wait(20 * time.Minute)
				before := w.one()
				for range 20 {
					w.now = w.now.Add(4 * time.Hour)
					again(p)
					w.tr.tick(w.now)
				}
				a := w.one()
				if a.State != f.state || a.At != f.at || a.Took != before.Took || !a.Last.Equal(before.Last) || !a.End.Equal(before.End) {
					t.Errorf("was %s at %s, took %s; is %s at %s, took %s", before.State, before.At, before.Took, a.State, a.At, a.Took)
				}
			})
		}
	}
}

// TestGoesOnAfterAll: a boot that counted as lost and goes on is under way again,
// and its system's word counts once its kernel is there.
func TestGoesOnAfterAll(t *testing.T) {
	w := newWire(t)
	p := w.pc(1, boot.FirmwareUEFI).loader("snponly.efi").booting(decidedBoot)
	w.wait(20 * time.Minute)
	before := w.one()
	if before.State != boot.AttemptStalled {
		t.Fatalf("%s", before.State)
	}
	p.system()
	if a := w.one(); a.State != boot.AttemptStalled || a.Reached(boot.StageSystem) {
		t.Errorf("%s, stages %s", a.State, stageNames(a))
	}
	p.http("/files/vmlinuz", 8<<20)
	if a := w.one(); a.State != boot.AttemptRunning || !a.End.IsZero() {
		t.Errorf("%s, ended %s", a.State, a.End)
	}
	w.wait(20 * time.Second)
	p.system()
	if a := w.one(); a.State != boot.AttemptBooted || a.Took != w.now.Sub(a.Start) || a.Took < before.Took+20*time.Minute {
		t.Errorf("%s, took %s", a.State, a.Took)
	}
}

// TestVerdictIsPutRight: a machine that waits in its menu for longer than anybody
// looks at one, and then boots, is told of once more: it is well. It is counted
// once, and nothing that comes later is told.
func TestVerdictIsPutRight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := run(t, AttemptsConfig{}, nil)
		g.Observe(offerA())
		g.Observe(scriptA("menu (rule)"))
		pass(2 * time.Hour)
		if len(g.told) != 1 || g.told[0].Reason != boot.ReasonUnexplained {
			t.Fatalf("told %+v", g.told)
		}
		g.Observe(boot.Event{Kind: boot.KindScript, MAC: macA, Addr: addrA, File: "/m/…/1", Action: boot.ActionBoot, Profile: "debian", Bytes: 10})
		g.Observe(fileA("/files/vmlinuz", boot.ReasonNone))
		pass(time.Hour)
		g.Observe(boot.Event{Kind: boot.KindCallback, MAC: macA, Addr: addrA, Text: "pc: debian has failed", Reason: boot.ReasonAssignFailed})
		pass(time.Hour)
		var told []boot.Reason
		for _, e := range g.told {
			told = append(told, e.Reason)
		}
		if want := []boot.Reason{boot.ReasonUnexplained, boot.ReasonBooted}; !slices.Equal(told, want) || g.told[1].Attempt != g.told[0].Attempt {
			t.Errorf("told %v, want %v", told, want)
		}
		if len(g.ended) != 1 {
			t.Errorf("counted %d times", len(g.ended))
		}
		g.stop()
	})
}
