package e2e

import (
	"context"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bootpuck/bootpuck/appliance/e2e/lab"
)

// shimFile is what machines with Secure Boot are given first. shim asks for
// grubx64.efi beside itself, and that for /grub/grub.cfg.
const shimFile = "x86_64/shimx64.efi"

// locked are the kernel's own words for Secure Boot, all of which it must say.
var locked = []string{"secureboot: Secure boot enabled", "Kernel is locked down from EFI Secure Boot"}

// secureSite opens a site whose box hands shim to the machines of these rows.
func secureSite(t *testing.T, dhcp lab.DHCPConfig, style string, rows ...string) (*lab.Site, *lab.Process) {
	t.Helper()
	site, err := lab.Open(t.Context(), lab.SiteConfig{DHCP: dhcp, KeepDir: filepath.Join(buildDir, "logs", strings.ReplaceAll(t.Name(), "/", "_"))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := site.Close(); err != nil {
			t.Errorf("clean up: %v", err)
		}
	})
	program, err := boxBinary()
	if err != nil {
		t.Fatal(err)
	}
	payload, err := payloadDir(lab.Kernel, lab.BoxAddr, "/files")
	if err != nil {
		t.Fatal(err)
	}
	var rules []any
	for _, row := range rows {
		rule := map[string]any{"mac": lab.MACFor(row).String(), "file": shimFile}
		if style != "" {
			rule["style"] = style
		}
		rules = append(rules, rule)
	}
	box := &lab.Process{Binary: program, Files: payload}
	if rules != nil {
		box.Settings = map[string]any{"rules": rules}
	}
	if err := box.Start(context.Background(), site); err != nil {
		t.Fatal(err)
	}
	return site, box
}

// secureBoot switches a machine with Secure Boot on. Evidence of a failed test is kept.
func secureBoot(t *testing.T, site *lab.Site, row, kind string) *lab.Guest {
	t.Helper()
	c := client(t, kind)
	dir := ""
	if c.NeedsNewer() {
		var err error
		if dir, err = newer(); err != nil {
			t.Skipf("newer firmware cannot be had here: %v", err)
		}
	}
	g, err := site.Boot(t.Context(), lab.Boot{Row: row, Client: c, Accel: lab.TCG, Newer: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			if err := g.Keep(site.Logs()); err != nil {
				t.Error(err)
			}
			for _, m := range g.Shim.Timeline.Marks() {
				t.Logf("%7.3f %s", m.At.Sub(g.Started).Seconds(), m)
			}
		}
		g.Stop()
	})
	return g
}

// TestSecureBoot boots firmware with Microsoft's keys through shim and Debian's
// signed GRUB to a signed kernel, and has the kernel say that it is locked down.
// What decides whether shim and GRUB ask the box or the site's DHCP server is
// the next-server field (siaddr) and the header's file field of the packet that
// names shim: of the OFFER in the direct form, of the ACK from port 4011 in the
// two-step form. Both forms, both DHCP servers and HTTP Boot are pinned here.
func TestSecureBoot(t *testing.T) {
	need(t)
	for _, tc := range []struct {
		client string
		dhcp   lab.DHCPKind
		style  string
	}{
		// dnsmasq always says that it is the next server, dhcpd says nobody is.
		{"ovmf-secure-pxe", lab.Dnsmasq, "direct"},
		{"ovmf-secure-pxe", lab.Dnsmasq, "two-step"},
		{"ovmf-secure-pxe", lab.ISC, "direct"},
		{"ovmf-secure-pxe", lab.ISC, "two-step"},
		{"ovmf-secure-http", lab.Dnsmasq, ""},
		{"ovmf-secure-new-pxe", lab.Dnsmasq, ""},
		{"ovmf-secure-new-http", lab.ISC, ""},
	} {
		name := tc.client + "/" + string(tc.dhcp)
		if tc.style != "" {
			name += "/" + tc.style
		}
		t.Run(name, func(t *testing.T) {
			site, _ := secureSite(t, lab.DHCPConfig{Kind: tc.dhcp}, tc.style, "secure")
			g := secureBoot(t, site, "secure", tc.client)
			ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
			defer cancel()
			for _, text := range locked {
				if _, _, err := g.Console.WaitFor(ctx, text); err != nil {
					t.Fatalf("%v; the console's end:\n%s", err, g.Console.Tail(6))
				}
			}
			// Everything came from the box, nothing was asked of the router.
			var files []string
			for _, m := range g.Shim.Timeline.Marks() {
				switch m.Kind {
				case lab.KindTFTPRequest, lab.KindHTTPRequest:
					if m.Server.String() != lab.BoxAddr {
						t.Errorf("asked %s: %s", m.Server, m)
					}
				case lab.KindTFTPDone, lab.KindHTTPDone:
					if m.Bytes > 0 && !strings.Contains(m.Note, " 404") {
						files = append(files, path.Clean("/"+m.Name))
					}
				default:
				}
			}
			want := []string{"/" + shimFile, "/x86_64/grubx64.efi", "/grub/grub.cfg", "/files/amd64/linux"}
			if !slices.Equal(files, want) {
				t.Errorf("received %v, want %v", files, want)
			}
			r := lab.Summarize(g.Shim.Timeline.Marks(), g.Started, func(m lab.Mark) bool { return path.Base(m.Name) == "linux" && m.Bytes > 0 })
			r.Server, r.DHCP, r.Trouble, r.Client, r.Accel, r.Payload = process, string(tc.dhcp), "secure-boot", tc.client, lab.TCG, -1
			r.Booted = "locked down"
			results.add(r)
		})
	}
}

// TestSecureBootServerNamesFile pins what no proxy can cure: shim takes file and
// next server of the site's DHCP server when that server's ACK has a file in its
// header. dhcpd puts it there, dnsmasq does not (it sends option 67). The box
// must say so.
func TestSecureBootServerNamesFile(t *testing.T) {
	need(t)
	site, box := secureSite(t, lab.DHCPConfig{Kind: lab.ISC, NextServer: lab.RouterAddr, BootFile: "router.0"}, "", "secure")
	g := secureBoot(t, site, "secure", "ovmf-secure-pxe")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for {
		changed := g.Shim.Timeline.Changed()
		if m, ok := g.Shim.Timeline.First(func(m lab.Mark) bool {
			return m.Kind == lab.KindTFTPRequest && path.Base(m.Name) == "grubx64.efi"
		}); ok {
			if m.Server.String() != lab.RouterAddr {
				t.Errorf("shim asked %s for GRUB: it has been cured, which would be news", m.Server)
			}
			break
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("shim asked nobody for GRUB; the console's end:\n%s", g.Console.Tail(6))
		}
	}
	waitEvent(t, site, box, "server_boot_file", "")
}

// TestSecureBootRefusesIPXE gives a machine with Secure Boot what everybody gets.
// The firmware refuses it, tells nobody, and the box must say so all the same.
func TestSecureBootRefusesIPXE(t *testing.T) {
	need(t)
	site, box := secureSite(t, lab.DHCPConfig{Kind: lab.Dnsmasq}, "")
	g := secureBoot(t, site, "refused", "ovmf-secure-pxe")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	seen, _, err := g.Console.WaitFor(ctx, "Access Denied", "Security Violation", "iPXE")
	if err != nil {
		t.Fatal(err)
	}
	if seen == "iPXE" {
		t.Fatal("unsigned iPXE was started under Secure Boot")
	}
	e := waitEvent(t, site, box, "not_started", g.MAC.String())
	if e.File != "x86_64/snponly.efi" {
		t.Errorf("the event is about %q", e.File)
	}
	t.Logf("the firmware said %q, the box said: %s %s", seen, e.Text, e.ReasonText)
}

// TestSecureBootProfile has nothing written by hand: a profile with the loader
// shim, and GRUB's configuration made by the box for that machine.
func TestSecureBootProfile(t *testing.T) {
	need(t)
	doc := `version: 1
site:
  unknown: allow
targets:
  - name: debian
    kind: linux
    needs:
      signed: true
    kernel: files/amd64/linux
    cmdline: console=ttyS0,115200 lab.machine={{.Machine.Name}}
profiles:
  - name: secure
    target: debian
    loader: shim
machines:
` + machineYAML("locked-pxe", "secure") + machineYAML("locked-http", "secure")
	m := manage(t, doc)
	for _, way := range []string{"pxe", "http"} {
		t.Run(way, func(t *testing.T) {
			g := m.on(t, "locked-"+way, "ovmf-secure-"+way, "")
			shows(t, g, append(slices.Clone(locked), "lab.machine=locked-"+way)...)
			t.Log(received(g))
		})
	}
}

// waitEvent waits until the box's journal holds an event with this reason, about
// this machine if mac is not empty.
func waitEvent(t *testing.T, site *lab.Site, box lab.Server, reason, mac string) lab.Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		events, err := site.Events(ctx, box.Admin())
		for _, e := range events {
			if e.Reason == reason && (mac == "" || e.MAC == mac) {
				return e
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("none of the box's %d events says %s (%v)", len(events), reason, err)
		}
	}
}
