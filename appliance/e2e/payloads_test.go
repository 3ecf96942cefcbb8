package e2e

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/bootpuck/bootpuck/appliance/e2e/lab"
)

// diskOptions say what the disks of these tests hold; the marker shows on the
// console of a machine that boots one.
func diskOptions(marker string) (lab.DiskOptions, error) {
	grub, err := filepath.Abs(filepath.Join(distDir, "x86_64/grubx64.efi"))
	if err != nil {
		return lab.DiskOptions{}, err
	}
	return lab.DiskOptions{Marker: marker, GRUB: grub}, nil
}

// installed is the marker of the disk that the tiny installer writes.
const installed = "installed-by-tiny"

// tinyFiles is a directory with the installer kernel (amd64/linux), the tiny
// installer (tiny.gz) and the image it writes (disk.gz), made once.
var tinyFiles = sync.OnceValues(func() (string, error) {
	dir, err := filepath.Abs(filepath.Join(buildDir, "files", "tiny"))
	if err != nil {
		return "", err
	}
	o, err := diskOptions(installed)
	if err != nil {
		return "", err
	}
	if err := lab.WritePayload(dir, lab.PayloadOptions{Payload: lab.Kernel, Arches: []string{"amd64"}}); err != nil {
		return "", err
	}
	// An operator's own GRUB configuration would be for every machine.
	if err := os.RemoveAll(filepath.Join(dir, "grub")); err != nil {
		return "", err
	}
	if err := lab.WriteTinyInstaller(filepath.Join(dir, "tiny.gz")); err != nil {
		return "", err
	}
	return dir, lab.WriteDiskImage(context.Background(), filepath.Join(dir, "disk.gz"), o)
})

// TestPayloads proves what other tests boot, without the product's decisions in
// between: a disk, an iSCSI disk, and an installation that leaves a booting disk,
// on a BIOS and on UEFI.
func TestPayloads(t *testing.T) {
	need(t)
	for _, kind := range []string{"ipxe-rom", "ovmf-pxe"} {
		t.Run(kind+"/disk", func(t *testing.T) {
			disk := filepath.Join(t.TempDir(), "disk.raw")
			writeDisk(t, disk, "local-disk")
			p := openPayloads(t, "exit 1")
			p.boot(t, kind, disk, lab.DiskGoal("local-disk"))
		})
		t.Run(kind+"/iscsi", func(t *testing.T) {
			target := lab.ISCSI{Target: "iqn.2026-01.org.example:disk", Disk: filepath.Join(t.TempDir(), "san.raw"), Initiator: "iqn.2026-01.org.example:client"}
			writeDisk(t, target.Disk, "san-disk")
			p := openPayloads(t, "set initiator-iqn "+target.Initiator, "sanboot "+target.URI())
			if _, err := p.site.StartISCSI(t.Context(), target); err != nil {
				t.Fatal(err)
			}
			p.boot(t, kind, "", lab.DiskGoal("san-disk"))
		})
		t.Run(kind+"/install", func(t *testing.T) {
			disk := filepath.Join(t.TempDir(), "disk.raw")
			if err := lab.BlankDisk(disk, 64<<20); err != nil {
				t.Fatal(err)
			}
			p := openPayloads(t, "kernel amd64/linux initrd=initrd.magic initrd=tiny.gz console=ttyS0,115200"+
				" lab.image=http://"+lab.BoxAddr+"/files/disk.gz lab.started=http://"+lab.PeerAddr+"/started lab.done=http://"+lab.PeerAddr+"/done?a=1&b=2",
				"initrd tiny.gz", "boot")
			g := p.boot(t, kind, disk, lab.Goal{Console: []string{lab.InstallerDone, lab.InstallerFailed}})
			if err := g.WaitOff(t.Context()); err != nil {
				t.Fatal(err)
			}
			if asked, want := p.peer.Asked(), []string{"GET /started", "GET /done?a=1&b=2"}; !slices.Equal(asked, want) {
				t.Errorf("the installer reported %q, want %q", asked, want)
			}
			p.script(t, "exit 1")
			p.boot(t, kind, disk, lab.DiskGoal(installed))
		})
	}
}

func writeDisk(t *testing.T, file, marker string) {
	t.Helper()
	o, err := diskOptions(marker)
	if err == nil {
		err = lab.WriteBootableDisk(t.Context(), file, o)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// payloadSite is a site whose box gives every machine one script.
type payloadSite struct {
	site  *lab.Site
	peer  *lab.Peer
	files string
}

func openPayloads(t *testing.T, script ...string) *payloadSite {
	t.Helper()
	made, err := tinyFiles()
	if err != nil {
		t.Fatal(err)
	}
	p := &payloadSite{files: t.TempDir()}
	if err := os.CopyFS(p.files, os.DirFS(made)); err != nil {
		t.Fatal(err)
	}
	p.script(t, script...)
	if p.site, err = lab.Open(t.Context(), lab.SiteConfig{KeepDir: filepath.Join(buildDir, "logs", "payloads")}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.site.Close(); err != nil {
			t.Errorf("clean up: %v", err)
		}
	})
	if p.peer, err = p.site.StartPeer(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	program, err := boxBinary()
	if err != nil {
		t.Fatal(err)
	}
	box := &lab.Process{Binary: program, Files: p.files, DefaultScript: "files/" + lab.ScriptName}
	if err := box.Start(t.Context(), p.site); err != nil {
		t.Fatal(err)
	}
	return p
}

// script changes what machines are given.
func (p *payloadSite) script(t *testing.T, lines ...string) {
	t.Helper()
	text := "#!ipxe\n"
	for _, l := range lines {
		text += l + "\n"
	}
	if err := os.WriteFile(filepath.Join(p.files, lab.ScriptName), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// boot switches the one machine on and follows it to the first of the goal's texts.
func (p *payloadSite) boot(t *testing.T, kind, disk string, goal lab.Goal) *lab.Guest {
	t.Helper()
	g, err := p.site.Boot(t.Context(), lab.Boot{Row: "machine", Client: client(t, kind), Accel: lab.TCG, Disk: disk})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Stop)
	goal.Limit = 4 * time.Minute
	r := lab.Watch(t.Context(), g, goal)
	if r.Error != "" || r.Booted != goal.Console[0] {
		dir := filepath.Join(buildDir, "failed")
		if err := os.MkdirAll(dir, 0o755); err == nil {
			err = g.Keep(dir)
			t.Logf("evidence in %s (%v)", dir, err)
		}
		t.Fatalf("did not boot: %q %s; received %v; the console's end:\n%s", r.Booted, r.Error, r.Path, g.Console.Tail(8))
	}
	t.Logf("%s %s s after its first DISCOVER; received %v", r.Booted, r.Payload, r.Path)
	return g
}
