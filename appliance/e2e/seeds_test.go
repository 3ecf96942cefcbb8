package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bootpuck/bootpuck/appliance/e2e/lab"
)

// seedB is what decides in TestSeedB: three machines, each with its own way, and
// a default for everybody else.
const seedB = `version: 1
site:
  unknown: allow
  default: disk
targets:
  - name: disk
    kind: local
  - name: debian
    kind: linux
    kernel: files/amd64/linux
    cmdline: console=ttyS0,115200 lab.machine={{.Machine.Name}}
  - name: san
    kind: san
    san:
      protocol: iscsi
      host: ` + lab.ISCSIAddr + `
      lun: "1"
      iqn: iqn.2026-01.org.example:{{.Machine.Name}}
      initiator: iqn.2026-01.org.example:client-of-{{.Machine.Name}}
  - name: elsewhere
    kind: chain
    url: http://` + lab.PeerAddr + `/menu.ipxe
profiles:
  - name: disk
    target: disk
  - name: pxe
    target: debian
    loader: pxelinux
  - name: san
    target: san
  - name: elsewhere
    target: elsewhere
machines:
`

// TestSeedB boots machines by their hardware addresses, each another way: one by
// pxelinux to Debian's installer kernel, one from an iSCSI disk, one on to
// another HTTP server; and one that nobody knows leaves to its own disk.
func TestSeedB(t *testing.T) {
	need(t)
	machines := machineYAML("pxe", "pxe")
	for _, firmware := range []string{"bios", "uefi"} {
		machines += machineYAML("san-"+firmware, "san") + machineYAML("chain-"+firmware, "elsewhere")
	}
	m := manage(t, seedB+machines)
	script := "#!ipxe\nkernel linux console=ttyS0,115200 lab.from=elsewhere\nboot\n"
	if err := os.WriteFile(filepath.Join(m.www, "menu.ipxe"), []byte(script), 0o644); err != nil {
		t.Fatal(err)
	}
	if kernel, err := os.ReadFile(lab.InstallerKernel("amd64")); err != nil {
		t.Fatal(err)
	} else if err := os.WriteFile(filepath.Join(m.www, "linux"), kernel, 0o644); err != nil {
		t.Fatal(err)
	}

	t.Run("pxelinux/bios", func(t *testing.T) {
		g := m.on(t, "pxe", "plain-bios", "")
		shows(t, g, "lab.machine=pxe")
		files := received(g)
		t.Log(files)
		for _, want := range []string{"tftp://" + lab.BoxAddr + "/pxelinux/lpxelinux.0", "http://" + lab.BoxAddr + "/files/amd64/linux"} {
			if !slices.Contains(files, want) {
				t.Errorf("%s was not fetched", want)
			}
		}
	})
	var targets []lab.ISCSI
	for _, firmware := range []string{"bios", "uefi"} {
		row := "san-" + firmware
		target := lab.ISCSI{
			Target: "iqn.2026-01.org.example:" + row, Initiator: "iqn.2026-01.org.example:client-of-" + row,
			Disk: filepath.Join(t.TempDir(), row+".raw"),
		}
		writeDisk(t, target.Disk, "disk-of-"+row)
		targets = append(targets, target)
	}
	if _, err := m.site.StartISCSI(t.Context(), targets...); err != nil {
		t.Fatal(err)
	}
	for firmware, kind := range map[string]string{"bios": "ipxe-rom", "uefi": "ovmf-pxe"} {
		t.Run("iscsi/"+firmware, func(t *testing.T) {
			row := "san-" + firmware
			shows(t, m.on(t, row, kind, ""), lab.DiskMarker("disk-of-"+row))
		})
		t.Run("chain/"+firmware, func(t *testing.T) {
			g := m.on(t, "chain-"+firmware, kind, "")
			shows(t, g, "lab.from=elsewhere")
			if files := received(g); !slices.Contains(files, "http://"+lab.PeerAddr+"/menu.ipxe") {
				t.Errorf("received %v", files)
			}
		})
		t.Run("unknown/"+firmware, func(t *testing.T) {
			disk := filepath.Join(t.TempDir(), "disk.raw")
			writeDisk(t, disk, "own-disk-"+firmware)
			shows(t, m.on(t, "unknown-"+firmware, kind, disk), lab.DiskMarker("own-disk-"+firmware))
		})
	}
	t.Logf("what was decided:\n%s", m.ctl(t, "decisions"))
}

// TestSeedC uploads Debian's netboot archive and boots its pxelinux by TFTP: its
// menu appears, and what a person chooses there starts the installer.
func TestSeedC(t *testing.T) {
	need(t)
	m := manage(t, "version: 1\nsite:\n  unknown: allow\n")
	archive := filepath.Join(t.TempDir(), "netboot.tar.gz")
	if err := lab.WriteNetbootArchive(archive); err != nil {
		t.Fatal(err)
	}
	m.ctl(t, "tree", "upload", "debian", archive)
	m.ctl(t, "target", "set", "debian", "kind=pxelinux", "tree=debian")
	m.ctl(t, "profile", "set", "debian", "target=debian", "loader=pxelinux")
	m.ctl(t, "settings", "set", "default=debian")
	g := m.on(t, "seed-c", "plain-bios", "")
	// The menu's last file is its picture. Then it waits for a key: Tab, to add
	// the serial console.
	waitDone(t, g, "splash.png")
	picture := filepath.Join(buildDir, "seed-c.png")
	waitPicture(t, g, picture)
	keys := []string{"tab"}
	for _, r := range " console=ttyS0,115200" {
		switch r {
		case ' ':
			keys = append(keys, "spc")
		case '=':
			keys = append(keys, "equal")
		case ',':
			keys = append(keys, "comma")
		case 'S':
			keys = append(keys, "shift-s")
		default:
			keys = append(keys, string(r))
		}
	}
	typeKeys(t, g, append(keys, "ret")...)
	shows(t, g, lab.Installer.Goal().Console...)
	if err := g.Keep(m.site.Logs()); err != nil {
		t.Fatal(err)
	}
	capture, err := filepath.Glob(filepath.Join(m.site.Logs(), "seed-c*.pcap"))
	if err != nil || len(capture) != 1 {
		t.Fatalf("captures %v, %v", capture, err)
	}
	list, err := lab.Tshark(t.Context(), capture[0], "-Y", "dhcp || tftp.opcode == 1 || tftp.opcode == 5")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(buildDir, "seed-c.txt"), []byte(list), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Logf("the exchange (also in %s, the menu in %s):\n%s", filepath.Join(buildDir, "seed-c.txt"), picture, list)
	for _, want := range []string{"File: trees/debian/pxelinux.0", "File: trees/debian/pxelinux.cfg/default", "File: trees/debian/debian-installer/amd64/linux"} {
		if !strings.Contains(list, want) {
			t.Errorf("the listing does not show %q", want)
		}
	}
}
