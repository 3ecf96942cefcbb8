package e2e

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bootpuck/bootpuck/appliance/e2e/lab"
)

// genuine is a row with real firmware in QEMU: what it does is the point.
type genuine struct {
	fault
	client string
	// until is what its console shows when it has come as far as it will; empty:
	// it is left on until the box has drawn its conclusion.
	until string
}

// playReal boots the machines of a site one after the other and then waits for
// the box's conclusions, all at the same time.
func playReal(t *testing.T, s *lab.Site, box *lab.Process, rows []genuine) {
	t.Helper()
	var wg sync.WaitGroup
	done := make([]outcome, len(rows))
	for i, r := range rows {
		o := outcome{scene: "qemu", fault: r.fault}
		g, err := s.Boot(t.Context(), lab.Boot{Row: r.name, Client: client(t, r.client), Accel: lab.TCG})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 6*time.Minute)
		if r.until != "" {
			if _, _, o.err = g.Console.WaitFor(ctx, r.until); o.err != nil {
				t.Errorf("%s: %v; the console's end:\n%s", r.name, o.err, g.Console.Tail(10))
			}
		}
		settle := func() {
			defer cancel()
			if o.err == nil {
				o.got, o.err = settled(ctx, s, box.Admin(), g.MAC.String(), r.nth)
			}
			done[i] = o
		}
		if r.until == "" {
			settle()
			g.Stop()
			continue
		}
		g.Stop()
		wg.Go(settle)
	}
	wg.Wait()
	for _, o := range done {
		if bad := o.check(); len(bad) > 0 {
			t.Errorf("%s: %s\n%s\nsaid: %s", o.fault.name, o.fault.how, strings.Join(bad, "\n"), o.said())
		} else {
			t.Logf("%s: %s (%s): %s", o.fault.name, o.got.main().Name, o.got.main().Confidence, o.got.main().Text)
		}
	}
	verdictRows.add(done)
	if err := verdictRows.write(); err != nil {
		t.Error(err)
	}
}

// TestVerdictsFirmware has real firmware meet what only real firmware does.
func TestVerdictsFirmware(t *testing.T) {
	need(t)
	t.Run("option60", func(t *testing.T) {
		s, box := bareWith(t, &scene{name: "qemu-option60", dhcp: lab.DHCPConfig{Option60: true}})
		playReal(t, s, box, []genuine{{client: "ovmf-pxe", until: "PXE-E16", fault: fault{
			name: "qe-option60", want: "option60", sure: "certain", fix: []string{"remove option 60", "cannot make up for it"},
			how: "real EDK2 firmware (OVMF) beside a dnsmasq that sends option 60: it gives up with PXE-E16, and no shape of offer helps",
		}}})
	})
	t.Run("plain", func(t *testing.T) {
		files, err := tinyFiles()
		if err != nil {
			t.Fatal(err)
		}
		row := func(name, kind string) genuine {
			return genuine{client: kind, until: lab.InstallerStarted, fault: fault{
				name: name, want: "booted", healthy: true, how: "real firmware (" + kind + ") boots a Linux kernel whose installer reports that it started",
			}}
		}
		rows := []genuine{
			{client: "ovmf-secure-pxe", fault: fault{
				name: "qe-secure", want: "not_started", sure: "likely", fix: []string{"Secure Boot", "shim"},
				how: "real EDK2 firmware with Secure Boot on fetches a boot program that is not signed, and refuses it",
			}},
			row("qe-rom", "ipxe-rom"), row("qe-pxe", "ovmf-pxe"), row("qe-http", "ovmf-http"),
		}
		sc := &scene{name: "qemu-plain", files: files, doc: `  - {name: real, target: real}
`, settings: map[string]any{}}
		sc.targets = `  - name: real
    kind: linux
    kernel: files/amd64/linux
    initrds: [files/tiny.gz]
    cmdline: console=ttyS0,115200 lab.started={{callback "started"}}
`
		for _, r := range rows {
			profile := "real"
			if r.want == "not_started" {
				profile = ""
			}
			sc.machines += machineYAML(r.name, profile)
		}
		s, box := bareWith(t, sc)
		playReal(t, s, box, rows)
	})
}

// bareWith opens a scene without playing its rows.
func bareWith(t *testing.T, sc *scene) (*lab.Site, *lab.Process) {
	t.Helper()
	s, box, err := sc.open(t.Context(), t)
	if err != nil {
		t.Fatal(err)
	}
	return s, box
}
