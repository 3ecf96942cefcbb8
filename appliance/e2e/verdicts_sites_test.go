package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bootpuck/bootpuck/appliance/e2e/lab"
	"github.com/bootpuck/bootpuck/appliance/pxesim"
)

// movedAddr is where a box is after its address has changed.
const movedAddr = "10.77.0.55"

// scenes are all sites with their rows.
func scenes() []*scene {
	return []*scene{
		{name: "plain", rows: plainRows()},
		{name: "healthy", rows: healthyRows()},
		{name: "ladder", rows: ladderRows()},
		noServer(), option60Scene(), rivalScene(), bootFileScene(), exhaustedScene(), nameScene(), movedScene(), earlyScene(),
		relayScene(), lateScene(), iscScene(),
	}
}

func healthyRow(name, profile, how string) fault {
	return fault{name: name, profile: profile, target: "tiny", want: "booted", how: how, healthy: true}
}

func noServer() *scene {
	const how = "the site's dnsmasq is stopped, and the box asks for an address itself before the machine does"
	return &scene{
		name: "nodhcp",
		rows: []fault{
			{name: "lost-uefi", profile: "uefi-x64", how: how + "; UEFI", want: "no_dhcp_server", sure: "certain", fix: []string{"start the site's DHCP server"}},
			{name: "lost-rom", profile: "ipxe-bios", how: how + "; iPXE", want: "no_dhcp_server", sure: "certain", fix: []string{"start the site's DHCP server"}},
		},
		ready: func(ctx context.Context, t *testing.T, s *lab.Site, _ *lab.Process) error {
			s.StopDHCP()
			out, err := ctl(ctx, s, s.Box(), "lan", "probe")
			t.Logf("lan probe: %v\n%s", err, out)
			return nil // that nobody answers is told by the exit status
		},
	}
}

func option60Scene() *scene {
	const how = "the site's dnsmasq sends option 60 = PXEClient to everybody; "
	row := func(name, profile, kind, sure string) fault {
		return fault{
			name: name, profile: profile, how: how + kind, want: "option60", sure: sure,
			fix: []string{"remove option 60", lab.RouterAddr, "cannot make up for it"},
		}
	}
	return &scene{
		// iPXE goes with the first boot offer that comes once it has an address: the
		// ping before an address is offered, on unless told otherwise, lets the box be
		// first.
		name: "option60", dhcp: lab.DHCPConfig{Option60: true, Ping: true},
		rows: []fault{
			row("o60-uefi", "uefi-x64", "UEFI", "certain"),
			row("o60-2017", "uefi-2017", "UEFI of 2014 to 2017", "certain"),
			healthyRow("o60-rom", "ipxe-bios", "iPXE ROM beside a DHCP server that sends option 60"),
			healthyRow("o60-http", "http-x64", "UEFI HTTP Boot beside a DHCP server that sends option 60"),
		},
	}
}

func rivalScene() *scene {
	row := func(name, profile, kind string) fault {
		return fault{
			name: name, profile: profile, want: "rival_won", power: lab.Power{Loader: true}, fix: []string{"other boot server", lab.RivalAddr},
			how: "a dnsmasq in proxy mode with boot files of its own answers at once, and a rule has this box answer a second later; " + kind,
		}
	}
	return &scene{
		name: "rival", rival: true,
		rows: []fault{row("rv-uefi", "uefi-x64", "UEFI"), row("rv-bios", "bios", "BIOS")},
	}
}

func bootFileScene() *scene {
	return &scene{
		name: "bootfile", dhcp: lab.DHCPConfig{NextServer: lab.RouterAddr, BootFile: "old/pxelinux.0"},
		rows: []fault{
			{
				name: "bf-2017", profile: "uefi-2017", want: "boot_file_won", sure: "likely", power: lab.Power{Loader: true},
				fix: []string{lab.RouterAddr, "remove the boot file name"}, text: []string{"old/pxelinux.0"},
				how: "the site's dnsmasq names a boot file on itself, and UEFI firmware that throws direct proxy offers away follows it",
			},
			healthyRow("bf-bios", "bios", "BIOS option ROM beside a DHCP server that names a boot file"),
			healthyRow("bf-uefi", "uefi-x64", "UEFI PXE beside a DHCP server that names a boot file"),
			healthyRow("bf-rom", "ipxe-bios", "iPXE ROM beside a DHCP server that names a boot file"),
		},
		ready: lanSays("server-boot-file", "server_boot_file", "old/pxelinux.0"),
	}
}

func exhaustedScene() *scene {
	taken := make(chan struct{})
	var once sync.Once
	return &scene{
		name: "exhausted", dhcp: lab.DHCPConfig{Last: "10.77.0.100"},
		rows: []fault{
			{
				name: "ex-first", profile: "ipxe-bios", target: "tiny", want: "booted", healthy: true, how: "iPXE ROM that takes the last address of the range",
				act: func(ctx context.Context, p *play) error {
					defer once.Do(func() { close(taken) })
					return p.on(ctx)
				},
			},
			{
				name: "ex-second", profile: "uefi-x64", want: "address_exhausted", sure: "likely", fix: []string{"enlarge its range", lab.RouterAddr},
				how: "the range of the site's dnsmasq is one address, and another machine has it",
				act: func(ctx context.Context, p *play) error {
					select {
					case <-taken:
					case <-ctx.Done():
						return ctx.Err()
					}
					return p.on(ctx)
				},
			},
		},
	}
}

func nameScene() *scene {
	return &scene{
		name: "name", settings: map[string]any{"base-url": "http://box.lab"},
		rows: []fault{{
			name: "nm-http", profile: "http-x64", want: "http-name-needs-dns", sure: "certain", fix: []string{"base-url"}, text: []string{"box.lab"},
			how: "base-url has a host name, and the site's DHCP server names no DNS server; UEFI HTTP Boot",
		}},
	}
}

func movedScene() *scene {
	return &scene{
		name: "moved",
		rows: []fault{{
			name: "mv-uefi", profile: "uefi-x64", want: "address_changed", sure: "likely", fix: []string{"fixed address"}, text: []string{lab.BoxAddr, movedAddr},
			how:   "the box's address is replaced while the boot program is transferred",
			admin: "http://" + movedAddr + ":8080",
			act: func(ctx context.Context, p *play) error {
				reached := make(chan struct{})
				var once sync.Once
				data := afterData(80 << 10)
				p.m.Wire.Rule(func(k lab.Packet) bool {
					if data(k) {
						once.Do(func() { close(reached) })
						// Held until the address is gone, as a transfer is that it cuts.
						return k.Src == boxAddr
					}
					return false
				})
				moved := make(chan error, 1)
				go func() {
					select {
					case <-reached:
						moved <- errors.Join(p.site.Box().DropAddress(lab.BoxAddr+"/24"), p.site.Box().Address(movedAddr+"/24"), p.site.Box().Route(lab.RouterAddr))
					case <-ctx.Done():
						moved <- ctx.Err()
					}
				}()
				return errors.Join(p.on(ctx), <-moved)
			},
		}},
	}
}

func earlyScene() *scene {
	return &scene{
		name: "early",
		rows: []fault{{
			name: "ea-uefi", profile: "uefi-x64", want: "client_gave_up", sure: "certain", fix: []string{"fixed address"},
			how:    "the box has no address while the machine asks twice, and gets it when the machine has given up",
			change: func(p *pxesim.Profile) { p.DiscoverWaits = p.DiscoverWaits[:2] },
			act: func(ctx context.Context, p *play) error {
				box := p.site.Box()
				if err := box.DropAddress(lab.BoxAddr + "/24"); err != nil {
					return err
				}
				return errors.Join(p.on(ctx), box.Address(lab.BoxAddr+"/24"), box.Route(lab.RouterAddr))
			},
		}},
	}
}

func relayScene() *scene {
	far := func(name, profile, how string) fault {
		f := healthyRow(name, profile, how+" behind a DHCP relay")
		f.puppet.Far = true
		return f
	}
	return &scene{
		name: "relay", relay: true,
		rows: []fault{
			far("fa-bios", "bios", "BIOS option ROM"), far("fa-uefi", "uefi-x64", "UEFI PXE"),
			far("fa-rom", "ipxe-bios", "iPXE ROM"), far("fa-http", "http-x64", "UEFI HTTP Boot"),
		},
	}
}

func lateScene() *scene {
	return &scene{
		name: "late", dhcp: lab.DHCPConfig{Late: true},
		rows: []fault{
			{
				name: "st-uefi", profile: "uefi-x64", want: "spanning_tree", sure: "likely", fix: []string{"portfast"},
				how:    "the machine's wire passes nothing for the first 25 s, as a switch port under spanning tree; its firmware gives up two seconds after its fourth try, and the DHCP server takes three",
				puppet: lab.PuppetConfig{Drop: func(p lab.Packet) bool { return p.At < 25*time.Second }},
				change: func(p *pxesim.Profile) { p.DiscoverWaits[3] = 2 * time.Second },
				act: func(ctx context.Context, p *play) error {
					// While the box's own link is new, it may be the box that heard nothing.
					select {
					case <-time.After(70 * time.Second):
					case <-ctx.Done():
						return ctx.Err()
					}
					return p.on(ctx)
				},
			},
			{
				// The DHCP server's offer must come late enough too, which is why this
				// row is here.
				name: "q-slow", profile: "uefi-slow", target: "tiny", want: "booted", rescued: true, act: again(5),
				how: "quirk ladder: UEFI firmware that misses offers in the first tenth of a second, beside a DHCP server that takes three",
			},
			healthyRow("la-bios", "bios", "BIOS option ROM, a DHCP server that takes three seconds"),
			healthyRow("la-uefi", "uefi-x64", "UEFI PXE, a DHCP server that takes three seconds"),
			healthyRow("la-rom", "ipxe-bios", "iPXE ROM, a DHCP server that takes three seconds"),
			healthyRow("la-http", "http-x64", "UEFI HTTP Boot, a DHCP server that takes three seconds"),
		},
	}
}

func iscScene() *scene {
	return &scene{
		name: "isc", dhcp: lab.DHCPConfig{Kind: lab.ISC, Ping: true},
		rows: []fault{
			healthyRow("is-bios", "bios", "BIOS option ROM beside ISC dhcpd that pings before it offers"),
			healthyRow("is-uefi", "uefi-x64", "UEFI PXE beside ISC dhcpd that pings before it offers"),
			healthyRow("is-rom", "ipxe-bios", "iPXE ROM beside ISC dhcpd that pings before it offers"),
			healthyRow("is-arm64", "uefi-arm64", "UEFI PXE, arm64, beside ISC dhcpd that pings before it offers"),
		},
	}
}

// lanSays has the box ask the DHCP servers and keeps what page, metrics, command
// and API say of the LAN; each of the words must be said.
func lanSays(name string, words ...string) func(context.Context, *testing.T, *lab.Site, *lab.Process) error {
	return func(ctx context.Context, t *testing.T, s *lab.Site, box *lab.Process) error {
		if out, err := ctl(ctx, s, s.Box(), "lan", "probe"); err != nil {
			return fmt.Errorf("lan probe: %w\n%s", err, out)
		}
		return saidOfLAN(ctx, t, s, s.Box(), box.Admin(), name, words...)
	}
}

// notProvoked are verdicts that no row brings about, and why.
var notProvoked = map[string]string{
	"unexplained": "every place where a machine can stop here is explained by some rule; it is what is left when none fits",
	"clock_skew":  "the box's clock would have to be wrong, and a process has the clock of the machine it runs on",
}

// TestVerdictsComplete holds the rows against the documentation: every verdict on
// a boot is provoked by some row, and no row wants one that does not exist.
func TestVerdictsComplete(t *testing.T) {
	text, err := os.ReadFile(root + "/appliance/docs/verdicts.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(text), "## Verdicts on a boot")
	if !ok {
		t.Fatal("verdicts.md has no table of verdicts on a boot")
	}
	table, _, _ = strings.Cut(table, "\n## ")
	wanted := map[string]bool{"twin": true} // TestTwins
	names := map[string]string{}
	for _, sc := range scenes() {
		for _, f := range sc.rows {
			wanted[f.want], wanted[f.second] = true, true
			if other, taken := names[f.name]; taken {
				t.Errorf("row %s of scene %s has the name of one in %s", f.name, sc.name, other)
			}
			names[f.name] = sc.name
			if len(f.name) > 14 {
				t.Errorf("row %s: too long for the name of a namespace", f.name)
			}
		}
	}
	documented := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)`").FindAllStringSubmatch(table, -1) {
		documented[m[1]] = true
		if !wanted[m[1]] && notProvoked[m[1]] == "" {
			t.Errorf("nothing provokes %s", m[1])
		}
	}
	if len(documented) < 30 {
		t.Errorf("verdicts.md documents %d verdicts", len(documented))
	}
	delete(wanted, "")
	for name := range wanted {
		if !documented[name] {
			t.Errorf("%s is wanted by a row and not documented", name)
		}
		if notProvoked[name] != "" {
			t.Errorf("%s is provoked after all", name)
		}
	}
	for name := range rowRules {
		if names[name] == "" {
			t.Errorf("a rule for %s, which is no row", name)
		}
	}
}
