package e2e

import (
	"strings"
	"sync"
	"testing"

	"github.com/bootpuck/bootpuck/appliance/e2e/lab"
)

func allClients() []string {
	var names []string
	for _, c := range lab.Clients {
		names = append(names, c.Name)
	}
	return names
}

// TestMatrix boots every client kind beside every DHCP server with every form
// of the server. The rows with dnsmasq as the site's DHCP server run one at a
// time for the process and for the baseline: their timings are compared.
func TestMatrix(t *testing.T) {
	need(t)
	for _, g := range []group{
		{process, lab.Dnsmasq, none},
		{dnsmasq, lab.Dnsmasq, none},
		{process, lab.ISC, none},
		{image, lab.Dnsmasq, none},
		{image, lab.ISC, none},
	} {
		t.Run(g.server+"/"+string(g.dhcp), func(t *testing.T) {
			l := newLazy(t, g)
			for _, name := range allClients() {
				t.Run(name, func(t *testing.T) {
					if g.server == process && g.dhcp == lab.ISC {
						t.Parallel()
					}
					l.get(t).run(t, name)
				})
			}
		})
	}
}

// TestTrouble boots clients on sites where something is wrong. They must boot
// all the same.
func TestTrouble(t *testing.T) {
	need(t)
	common := []string{"ipxe-rom", "plain-bios", "ovmf-pxe", "ovmf-http", "aavmf-pxe", "ovmf-ia32-pxe"}
	for _, tc := range []struct {
		group   group
		clients []string
	}{
		{group{process, lab.Dnsmasq, late}, common},
		{group{process, lab.ISC, late}, []string{"ipxe-rom", "plain-bios", "ovmf-pxe"}},
		{group{process, lab.Dnsmasq, named}, append([]string{"ovmf-ipxe-rom"}, common...)},
		{group{process, lab.ISC, named}, []string{"ipxe-rom", "plain-bios", "ovmf-pxe"}},
		{group{process, lab.Dnsmasq, relayed}, common},
		// arm64 has no payload small enough for such a network.
		{group{process, lab.Dnsmasq, lossy}, []string{"ipxe-rom", "plain-bios", "ovmf-pxe", "ovmf-http", "ovmf-ia32-pxe"}},
		{group{process, lab.Dnsmasq, rival}, common},
		{group{process, lab.Dnsmasq, silent}, []string{"ipxe-rom"}},
	} {
		t.Run(tc.group.trouble.name+"/"+string(tc.group.dhcp), func(t *testing.T) {
			l := newLazy(t, tc.group)
			for _, name := range tc.clients {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					l.get(t).run(t, name)
				})
			}
		})
	}
}

// TestThreeAtOnce switches three machines on at the same moment.
func TestThreeAtOnce(t *testing.T) {
	need(t)
	l := newLazy(t, group{process, lab.Dnsmasq, crowd})
	s := l.get(t)
	var wg sync.WaitGroup
	for _, name := range []string{"ipxe-rom", "plain-bios", "ovmf-pxe"} {
		c := client(t, name)
		wg.Go(func() {
			r, err := s.boot(t.Context(), c, s.group.goal())
			if err != nil {
				t.Errorf("%s: %v", c.Name, err)
				return
			}
			results.add(r)
			if r.Error != "" {
				t.Errorf("%s did not boot: %s; fetched %v", c.Name, r.Error, r.Path)
			}
		})
	}
	wg.Wait()
}

// TestUEFIStyle pins both shapes of the offer to UEFI firmware.
func TestUEFIStyle(t *testing.T) {
	need(t)
	for _, tc := range []struct {
		trouble trouble
		style   string
	}{{twoStep, "4011"}, {direct, "direct"}} {
		t.Run(tc.style, func(t *testing.T) {
			g := group{process, lab.Dnsmasq, tc.trouble}
			r := newLazy(t, g).get(t).run(t, "ovmf-pxe")
			if len(r.Styles) == 0 || r.Styles[0] != tc.style {
				t.Errorf("the offer was taken as %v, want %s first", r.Styles, tc.style)
			}
		})
	}
}

// TestOption60 stands beside a DHCP server that itself sends option 60, which
// no proxy can cure for UEFI firmware. iPXE must boot; UEFI PXE must fail, and
// the box must have said why.
func TestOption60(t *testing.T) {
	need(t)
	for _, kind := range []lab.DHCPKind{lab.Dnsmasq, lab.ISC} {
		t.Run(string(kind), func(t *testing.T) {
			l := newLazy(t, group{process, kind, option60})
			for _, name := range []string{"ipxe-rom", "ovmf-ipxe-rom"} {
				t.Run(name, func(t *testing.T) { l.get(t).run(t, name) })
			}
			t.Run("ovmf-pxe", func(t *testing.T) { failsAndIsReported(t, l.get(t), "ovmf-pxe") })
		})
	}
}

func failsAndIsReported(t *testing.T, s *stage, name string) {
	t.Helper()
	c := client(t, name)
	goal := s.group.goal()
	// EDK2 gives up and says so; a client that boots instead is the failure.
	given := "PXE-E16"
	goal.Console = append([]string{given}, goal.Console...)
	r, err := s.boot(t.Context(), c, goal)
	if err != nil {
		t.Fatal(err)
	}
	booted := r.Booted
	if booted == given {
		r.Booted = "fails as predicted (" + given + ")"
	}
	said := s.noted(t, "option60")
	if said != "" {
		r.Booted += ", reported by the box"
	}
	results.add(r)
	if booted != given {
		t.Errorf("ended with %q %s, want the firmware to fail with %s", booted, r.Error, given)
	}
	t.Logf("the box said: %s", said)
}

// TestConformance names the end-to-end cases of the conformance list. A case
// that another test has run already is taken from there.
func TestConformance(t *testing.T) {
	need(t)
	for _, tc := range []struct {
		number, client string
		group          group
	}{
		{"114", "ovmf-pxe", group{process, lab.Dnsmasq, twoStep}},
		{"115", "ovmf-pxe", group{process, lab.Dnsmasq, direct}},
		{"116", "ovmf-http", group{process, lab.Dnsmasq, none}},
		{"117", "ipxe-rom", group{process, lab.Dnsmasq, none}},
		{"118", "ipxe-rom", group{process, lab.Dnsmasq, named}},
		{"119", "ipxe-rom", group{process, lab.Dnsmasq, option60}},
		{"120", "ovmf-pxe", group{process, lab.Dnsmasq, option60}},
		{"121", "aavmf-pxe", group{process, lab.Dnsmasq, none}},
		{"122", "ovmf-ia32-pxe", group{process, lab.Dnsmasq, none}},
	} {
		t.Run(tc.number, func(t *testing.T) {
			r, ok := results.find(tc.group, tc.client)
			switch {
			case ok && r.Error != "":
				t.Errorf("%s with %s: %s", tc.client, tc.group, r.Error)
			case ok && tc.number == "120" && !strings.Contains(r.Booted, "reported"):
				t.Errorf("%s with %s: %s", tc.client, tc.group, r.Booted)
			case ok:
				t.Logf("%s with %s: %s", tc.client, tc.group, r.Booted)
			case tc.number == "120":
				failsAndIsReported(t, newLazy(t, tc.group).get(t), tc.client)
			default:
				newLazy(t, tc.group).get(t).run(t, tc.client)
			}
		})
	}
}
