package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/bootpuck/bootpuck/appliance/e2e/lab"
	"github.com/bootpuck/bootpuck/appliance/pxesim"
)

var boxAddr = netip.MustParseAddr(lab.BoxAddr)

// udpTo loses what machines send to a UDP port.
func udpTo(port uint16) lab.Drop {
	return func(p lab.Packet) bool { return p.FromClient && p.UDP && p.DstPort == port }
}

// tcpPort loses everything of a TCP port.
func tcpPort(port uint16) lab.Drop {
	return func(p lab.Packet) bool { return p.TCP && (p.SrcPort == port || p.DstPort == port) }
}

// boxDHCP loses the box's answers on ports 67 and 4011.
func boxDHCP(p lab.Packet) bool {
	return !p.FromClient && p.UDP && p.Src == boxAddr && (p.SrcPort == 67 || p.SrcPort == 4011)
}

// largeUDP loses UDP packets that do not fit a narrow tunnel.
func largeUDP(p lab.Packet) bool { return p.UDP && p.Size > 1000 }

// udpLoss loses that share of all UDP packets but DHCP's.
func udpLoss(share float64, seed uint64) lab.Drop {
	lossy := lab.Loss(share, seed)
	return func(p lab.Packet) bool {
		return p.UDP && p.SrcPort != 67 && p.SrcPort != 68 && lossy(p)
	}
}

// afterData loses everything once so many octets have come from the box by UDP
// or TCP.
func afterData(octets int64) lab.Drop {
	var seen atomic.Int64
	return func(p lab.Packet) bool {
		if !p.FromClient && p.Src == boxAddr && (p.UDP && p.SrcPort != 67 && p.SrcPort != 4011 || p.TCP) {
			return seen.Add(int64(p.Size)) > octets
		}
		return seen.Load() > octets
	}
}

// deaf is firmware that looks at nothing but addresses: no form of offer is good
// enough for it.
func deaf(p *pxesim.Profile) { p.Quirks.MissesEarly = time.Hour }

// reports is an installer that says so.
func reports(words ...string) func(context.Context, *lab.Alive) error {
	return func(ctx context.Context, m *lab.Alive) error {
		for _, w := range words {
			if err := m.Report(ctx, m.Word(w), "told by the test"); err != nil {
				return err
			}
		}
		return nil
	}
}

// reset switches the machine on again after a while, so that a boot which came to
// nothing is seen to have done so.
func reset(after time.Duration, times int) func(context.Context, *play) error {
	return func(ctx context.Context, p *play) error {
		for i := range times {
			if i > 0 {
				select {
				case <-time.After(after):
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			if err := p.on(ctx); err != nil {
				return err
			}
		}
		return nil
	}
}

// rowRules are rules of the settings for single rows; the hardware address is
// added.
var rowRules = map[string]map[string]any{
	"denied":      {"deny": true},
	"bios-file":   {"file": "undionly.kpxe"},
	"impatient":   {"delay": "1s"},
	"no-ext":      {"file": "files/vm/loader"},
	"no-file":     {"file": "files/vm/nothing.efi"},
	"filter-4011": {"style": "two-step"},
	"h-two-step":  {"style": "two-step"},
	"rv-uefi":     {"style": "two-step", "delay": "1s"},
	"rv-bios":     {"style": "two-step", "delay": "1s"},
}

// plainRows are faults on a site whose DHCP server is well.
func plainRows() []fault {
	return []fault{
		{
			name: "filter-4011", want: "ask_unanswered", sure: "likely", fix: []string{"4011"},
			how:     "UEFI firmware is told to ask port 4011, and its packets to UDP port 4011 are lost",
			profile: "uefi-x64", puppet: lab.PuppetConfig{Drop: udpTo(4011)},
		},
		{
			name: "filter-tftp", want: "tftp_not_requested", sure: "likely", fix: []string{"UDP port 69"},
			how:     "packets of a BIOS machine to UDP port 69 are lost",
			profile: "bios", puppet: lab.PuppetConfig{Drop: udpTo(69)},
		},
		{
			name: "filter-http", want: "script_not_fetched", sure: "likely", fix: []string{"TCP port 80"},
			how:     "everything of TCP port 80 is lost on a UEFI machine's wire",
			profile: "uefi-x64", puppet: lab.PuppetConfig{Drop: tcpPort(80)}, target: "tiny",
		},
		{
			name: "filter-rom", want: "script_not_fetched", sure: "likely", fix: []string{"TCP port 80"},
			how:     "everything of TCP port 80 is lost on the wire of a machine with iPXE in its ROM",
			profile: "ipxe-bios", puppet: lab.PuppetConfig{Drop: tcpPort(80)}, target: "tiny",
		},
		{
			name: "snooped", want: "snooping", sure: "likely", fix: []string{"trusted"},
			how:     "the box's answers on ports 67 and 4011 are lost on the way to a machine with iPXE in its ROM",
			profile: "ipxe-bios", puppet: lab.PuppetConfig{Drop: boxDHCP},
		},
		{
			name: "cut-tftp", want: "tftp_broken", sure: "certain", fix: []string{"cable"},
			how:     "the wire goes dead in the middle of the transfer of the boot program",
			profile: "uefi-x64", puppet: lab.PuppetConfig{Drop: afterData(120 << 10)},
		},
		{
			name: "hangs", want: "not_started", sure: "likely", fix: []string{"Secure Boot", "ipxe.efi"},
			how:     "the firmware fetches its boot program whole and does not start it",
			profile: "uefi-x64", power: lab.Power{Loader: true},
		},
		{
			name: "bios-file", want: "wrong_arch", fix: []string{"rule"},
			how:     "a rule gives a UEFI machine the BIOS program undionly.kpxe, which it fetches and cannot start",
			profile: "uefi-x64", power: lab.Power{Loader: true},
		},
		{
			name: "away", want: "kernel_not_fetched", sure: "certain", fix: []string{"another server"},
			how:     "the profile's kernel lies on a server that is not there",
			profile: "uefi-x64", target: "away",
		},
		{
			name: "missing", want: "file_missing", sure: "certain", fix: []string{"under that name"},
			how:     "the profile names a kernel that the box does not have",
			profile: "uefi-x64", target: "missing",
		},
		{
			name: "cut-http", want: "fetch_broken", sure: "certain", fix: []string{"cable"},
			how:     "the wire goes dead in the middle of a large initial RAM disk",
			profile: "ipxe-bios", puppet: lab.PuppetConfig{Drop: afterData(8 << 20)}, target: "big",
		},
		{
			name: "failing", want: "installer_failed", sure: "certain", fix: []string{"installer's own log"},
			how:     "the installer starts, reports that, and then reports that it failed",
			profile: "ipxe-bios", target: "tiny", power: lab.Power{Running: reports("started", "failed")},
		},
		{
			name: "mute", want: "installer_silent", sure: "likely", nth: 1, fix: []string{"screen"},
			how:     "kernel and files are fetched whole, nothing more is heard, and the machine is switched off and on after 40 s",
			profile: "ipxe-bios", target: "tiny", act: reset(40*time.Second, 2),
		},
		{
			name: "hungry", want: "needs_memory", sure: "certain", fix: []string{"memory"},
			how:     "the target needs 64 GB, and the machine tells that it has 2",
			profile: "uefi-x64", target: "hungry", puppet: lab.PuppetConfig{Facts: map[string]string{"memsize": "2048"}},
		},
		{
			name: "denied", want: "ignored", sure: "certain", fix: []string{"rule"},
			how:     "a rule says that this machine is not to boot from the network",
			profile: "uefi-x64",
		},
		{
			name: "impatient", want: "answered_late", sure: "certain", fix: []string{"delay"},
			how:     "a rule delays the offer by one second, and the machine's iPXE decides after half of one",
			profile: "ipxe-bios", change: func(p *pxesim.Profile) {
				p.ProxyWait = 250 * time.Millisecond
				p.DiscoverWaits = append([]time.Duration{500 * time.Millisecond}, p.DiscoverWaits...)
			},
		},
		{
			name: "deaf", want: "offer_ignored", fix: []string{"next shape"},
			how:     "firmware that takes no boot offer, whatever its form, and gives up after two tries",
			profile: "uefi-x64", change: func(p *pxesim.Profile) { deaf(p); p.DiscoverWaits = p.DiscoverWaits[:2] },
		},
		{
			name: "no-ext", want: "loader_extension", fix: []string{".efi"},
			how:     "a rule names a file without extension for a machine with HTTP Boot",
			profile: "http-x64", power: lab.Power{Loader: true},
		},
		{
			name: "large", want: "tftp_large_blocks", sure: "likely", fix: []string{"MTU", "512"}, text: []string{"1468"},
			how:     "UDP packets of more than 1000 octets are lost on the wire, and nobody switches the machine on again",
			profile: "uefi-x64", puppet: lab.PuppetConfig{Drop: largeUDP},
		},
		{
			name: "slow", want: "booted", second: "tftp_slow", target: "tiny",
			how:     "eight of a hundred UDP packets are lost: the boot program arrives after many repeats",
			profile: "uefi-x64", puppet: lab.PuppetConfig{Drop: udpLoss(0.08, 5)},
		},
		{
			name: "looping", want: "boot_loop", sure: "certain", fix: []string{"call back"},
			how:     "an armed installation is fetched, never reports, and is asked for again at the next power-on",
			profile: "uefi-x64", act: func(ctx context.Context, p *play) error {
				if out, err := ctl(ctx, p.site, p.site.Box(), "arm", p.name, "wipe", "-boots", "3"); err != nil {
					return fmt.Errorf("arm: %w\n%s", err, out)
				}
				return reset(20*time.Second, 2)(ctx, p)
			},
		},
		{
			name: "spent", want: "quirk_spent", sure: "certain", fix: []string{"quirk"},
			how:     "firmware that takes no boot offer, whatever its form, asks until the box has nothing left to try",
			profile: "uefi-x64", change: func(p *pxesim.Profile) {
				deaf(p)
				p.DiscoverWaits = slices.Repeat([]time.Duration{4 * time.Second}, 10)
			},
		},
		{
			name: "no-file", want: "file_missing", sure: "certain", fix: []string{"rule"},
			how:     "a rule names a boot program that the box does not have",
			profile: "uefi-x64",
		},
	}
}

// healthyRows are machines of every kind with nothing wrong.
func healthyRows() []fault {
	row := func(name, profile, target, want, how string) fault {
		return fault{name: name, profile: profile, target: target, want: want, how: how, healthy: true}
	}
	rows := []fault{
		row("h-bios", "bios", "tiny", "booted", "BIOS option ROM"),
		row("h-uefi", "uefi-x64", "tiny", "booted", "UEFI PXE"),
		row("h-ia32", "uefi-ia32", "tiny", "booted", "UEFI PXE, ia32"),
		row("h-arm64", "uefi-arm64", "tiny", "booted", "UEFI PXE, arm64"),
		row("h-http", "http-x64", "tiny", "booted", "UEFI HTTP Boot"),
		row("h-http-arm64", "http-arm64", "tiny", "booted", "UEFI HTTP Boot, arm64"),
		row("h-rom", "ipxe-bios", "tiny", "booted", "iPXE in a BIOS ROM"),
		row("h-efirom", "ipxe-efi-x64", "tiny", "booted", "iPXE in an EFI ROM"),
		row("h-nohttp", "ipxe-nohttp", "tiny", "booted", "iPXE ROM without HTTP"),
		row("h-gpxe", "gpxe", "tiny", "booted", "gPXE ROM without HTTP"),
		row("h-menu", "uefi-x64", "", "left_local", "UEFI PXE without an assignment: the menu's time-out"),
		row("h-disk", "bios", "disk", "left_local", "BIOS option ROM, assigned to its own disk"),
		row("h-two-step", "uefi-x64", "tiny", "booted", "UEFI PXE with the two-step offer pinned by a rule"),
		row("h-noguid", "bios-noguid", "tiny", "booted", "BIOS option ROM without option 97"),
		row("h-done", "uefi-x64", "tiny", "booted", "UEFI PXE, the installer reports that it is done"),
		row("h-pxelinux", "bios", "pxelinux", "booted", "BIOS option ROM, pxelinux with a configuration of its own"),
		row("h-pi4", "pi4", "", "booted", "Raspberry Pi 4"),
		row("h-pi3", "pi3", "", "booted", "Raspberry Pi 3"),
		row("h-lossy", "uefi-x64", "tiny", "booted", "UEFI PXE with one packet of two hundred lost in each direction"),
		row("h-lossy-bios", "bios", "tiny", "booted", "BIOS option ROM with one packet of two hundred lost in each direction"),
	}
	for i := range rows {
		switch rows[i].name {
		case "h-done":
			rows[i].power.Running = reports("started", "done")
		case "h-pxelinux":
			rows[i].power.Running = pxelinux
		case "h-pi4":
			rows[i].puppet.MAC = net.HardwareAddr{0xdc, 0xa6, 0x32, 0x12, 0x34, 0x56}
			rows[i].power.Fetch = []string{"fixup4.dat", "cmdline.txt", "kernel8.img"}
		case "h-pi3": // told from others by its maker's block of addresses
			rows[i].puppet.MAC = net.HardwareAddr{0xb8, 0x27, 0xeb, 0x12, 0x34, 0x56}
			rows[i].power.Fetch = []string{"config.txt", "start.elf", "fixup.dat", "cmdline.txt", "kernel8.img"}
		case "h-lossy", "h-lossy-bios":
			rows[i].puppet.Drop = lab.Loss(0.005, uint64(i))
		}
	}
	return rows
}

// pxelinux fetches what lpxelinux.0 does once it runs, by HTTP from its own
// folder: its core, the machine's configuration, and what that names.
func pxelinux(ctx context.Context, m *lab.Alive) error {
	folder := m.Started[:strings.LastIndexByte(m.Started, '/')+1]
	base := "http://" + lab.BoxAddr + "/files/vm/"
	for _, u := range []string{
		folder + "ldlinux.c32", folder + "pxelinux.cfg/01-" + strings.ReplaceAll(m.MAC.String(), ":", "-"), base + "linux", base + "initrd",
	} {
		if err := m.Get(ctx, u); err != nil {
			return err
		}
	}
	return nil
}

// ladderRows are machines that do not follow the first shape of offer.
func ladderRows() []fault {
	row := func(name, profile, how string) fault {
		return fault{name: name, profile: profile, target: "tiny", want: "booted", how: "quirk ladder: " + how, rescued: true, act: again(5)}
	}
	large := row("q-large", "uefi-x64", "UDP packets of more than 1000 octets are lost on the wire; smaller blocks come through")
	large.puppet.Drop = largeUDP
	return []fault{
		row("q-2010", "uefi-2010", "UEFI firmware of 2010: throws direct offers away, no bit 3, names without end"),
		row("q-2013", "uefi-2013", "UEFI firmware of 2010 to 2013: throws direct offers away, names without end"),
		row("q-2017", "uefi-2017", "UEFI firmware of 2014 to 2017: throws direct offers away"),
		row("q-tunnel", "uefi-large-drop", "UEFI firmware behind a tunnel that drops large packets"),
		row("q-small", "bios-small", "a BIOS ROM that asks for blocks of 1456 octets and can receive 512"),
		large,
		// These need no other shape: what they do is within what every answer allows for.
		{name: "q-old", profile: "bios-old", target: "tiny", want: "booted", how: "a BIOS ROM that asks port 4011 even after a direct offer", act: again(3)},
		{name: "q-512", profile: "bios-512", target: "tiny", want: "booted", how: "a BIOS ROM whose TFTP knows blocks of 512 octets only", act: again(3)},
		{name: "q-chop", profile: "bios-chop67", target: "tiny", want: "booted", how: "a BIOS ROM that loses the last octet of option 67", act: again(3)},
	}
}

// again is a person who switches the machine on until it boots, at most so often.
func again(times int) func(context.Context, *play) error {
	return func(ctx context.Context, p *play) error {
		for range times {
			if err := p.on(ctx); err != nil {
				return err
			}
			if p.out.Script {
				return nil
			}
		}
		return errors.New("it never got to its script")
	}
}
