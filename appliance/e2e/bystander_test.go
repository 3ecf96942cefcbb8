package e2e

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bootpuck/bootpuck/appliance/e2e/lab"
)

// leaseScript is what both DHCP clients run when something happens. It touches
// only the interface of its own namespace, unlike the scripts they come with.
const leaseScript = `#!/bin/sh
case "${reason:-$1}" in
BOUND|RENEW|REBIND|bound|renew)
	ip addr flush dev eth0
	ip addr add "${new_ip_address:-$ip}/24" dev eth0 ;;
PREINIT|deconfig) ip link set eth0 up ;;
EXPIRE|RELEASE|STOP|nak) ip addr flush dev eth0 ;;
esac
`

// TestBystander lives a whole lease beside the box, from DISCOVER over two
// renewals to RELEASE, and finds not one packet from the box to the client.
func TestBystander(t *testing.T) {
	need(t)
	for _, program := range []string{"dhclient", "udhcpc"} {
		t.Run(program, func(t *testing.T) {
			bin, err := boxBinary()
			if err != nil {
				t.Fatal(err)
			}
			site, err := lab.Open(t.Context(), lab.SiteConfig{
				// ISC dhcpd gives leases as short as a test wants them.
				DHCP:    lab.DHCPConfig{Kind: lab.ISC, Lease: 12 * time.Second, Renew: 4 * time.Second},
				KeepDir: filepath.Join(buildDir, "logs", "bystander_"+program),
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := site.Close(); err != nil {
					t.Errorf("clean up: %v", err)
				}
			})
			box := &lab.Process{Binary: bin}
			if err := box.Start(t.Context(), site); err != nil {
				t.Fatal(err)
			}
			mac := lab.MACFor("bystander " + program)
			station, err := site.NewStation("station", mac)
			if err != nil {
				t.Fatal(err)
			}
			capture, err := site.Capture(station, "eth0")
			if err != nil {
				t.Fatal(err)
			}
			wholeLease(t, site, station, capture, program, mac)
			seen := capture.Seen()
			t.Logf("%d frames: %s", len(seen), dhcpTypes(seen, mac))
			for _, s := range seen {
				if fromBox(s, mac) {
					t.Errorf("the box sent to a machine that only wanted an address: %+v", s)
				}
			}
			keepCapture(t, capture, filepath.Join(site.Logs(), "lease.pcap"))

			// The capture can see the box: a boot client on the same wire is
			// answered.
			if err := capture.Send(pxeDiscover(t, net.HardwareAddr{0x52, 0x54, 0, 0xfe, 0xed, 1})); err != nil {
				t.Fatal(err)
			}
			await(t, 5*time.Second, "an OFFER from the box to a boot client", func() bool {
				for _, s := range capture.Seen() {
					if s.Type == 2 && bytes.Equal(s.From, lab.BoxMAC) {
						return true
					}
				}
				return false
			})
		})
	}
}

// fromBox tells whether a frame is one from the box to the client: addressed
// to it, to every DHCP client, or an ARP request for an address of the range
// that the client got its own from.
func fromBox(s lab.Seen, client net.HardwareAddr) bool {
	asksForIt := len(s.ARPTarget) == 4 && s.ARPTarget[3] >= 100 && s.ARPTarget[3] < 200
	return bytes.Equal(s.From, lab.BoxMAC) && (bytes.Equal(s.To, client) || s.DstPort == 68 || asksForIt)
}

func wholeLease(t *testing.T, site *lab.Site, station *lab.Namespace, capture *lab.Capture, program string, mac net.HardwareAddr) {
	t.Helper()
	script := filepath.Join(site.Dir(), "lease.sh")
	if err := os.WriteFile(script, []byte(leaseScript), 0o755); err != nil {
		t.Fatal(err)
	}
	leases, pid := filepath.Join(site.Dir(), "dhclient.leases"), filepath.Join(site.Dir(), "dhclient.pid")
	argv := []string{"udhcpc", "-f", "-R", "-i", "eth0", "-s", script}
	if program == "dhclient" {
		argv = []string{"dhclient", "-4", "-d", "-sf", script, "-lf", leases, "-pf", pid, "-cf", "/dev/null", "eth0"}
	}
	p, err := site.Run(station, program, argv...)
	if err != nil {
		t.Fatal(err)
	}
	// ACKs: the lease and two renewals.
	await(t, 40*time.Second, "three ACKs", func() bool { return count(capture.Seen(), mac, 5) >= 3 })
	if program == "dhclient" {
		release, err := site.Run(station, "dhclient-release", "dhclient", "-4", "-r", "-sf", script, "-lf", leases, "-pf", pid, "-cf", "/dev/null", "eth0")
		if err != nil {
			t.Fatal(err)
		}
		if err := release.Wait(t.Context()); err != nil {
			t.Fatalf("dhclient -r: %v\n%s", err, release.Out.Tail(10))
		}
	} else {
		p.Stop(5 * time.Second)
	}
	await(t, 10*time.Second, "the RELEASE", func() bool { return count(capture.Seen(), mac, 7) >= 1 })
}

func count(seen []lab.Seen, mac net.HardwareAddr, msgType byte) int {
	n := 0
	for _, s := range seen {
		if s.Type == msgType && bytes.Equal(s.Client, mac) {
			n++
		}
	}
	return n
}

func dhcpTypes(seen []lab.Seen, mac net.HardwareAddr) string {
	names := []string{"?", "DISCOVER", "OFFER", "REQUEST", "DECLINE", "ACK", "NAK", "RELEASE", "INFORM"}
	var out []string
	for _, s := range seen {
		if s.Type != 0 && int(s.Type) < len(names) && bytes.Equal(s.Client, mac) {
			out = append(out, names[s.Type])
		}
	}
	return strings.Join(out, " ")
}

// pxeDiscover is a DISCOVER as BIOS boot firmware sends it (RFC 4578).
func pxeDiscover(t *testing.T, mac net.HardwareAddr) []byte {
	t.Helper()
	m := make([]byte, 240, 300)
	m[0], m[1], m[2] = 1, 1, 6
	copy(m[4:], "lab1")
	m[10] = 0x80
	copy(m[28:], mac)
	binary.BigEndian.PutUint32(m[236:], 0x63825363)
	m = append(m, 53, 1, 1)
	class := "PXEClient:Arch:00000:UNDI:002001"
	m = append(m, 60, byte(len(class)))
	m = append(m, class...)
	m = append(m, 93, 2, 0, 0, 94, 3, 1, 2, 1, 255)
	m = append(m, make([]byte, 300-len(m))...)
	frame, err := lab.BuildUDP(mac, net.HardwareAddr{255, 255, 255, 255, 255, 255},
		netip.AddrPortFrom(netip.IPv4Unspecified(), 68), netip.MustParseAddrPort("255.255.255.255:67"), m)
	if err != nil {
		t.Fatal(err)
	}
	return frame
}

// await polls a condition that real processes bring about.
func await(t *testing.T, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("no sign of %s within %s", what, limit)
		}
	}
}

func keepCapture(t *testing.T, c *lab.Capture, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := c.Ring.WriteTo(f); err != nil {
		t.Error(fmt.Errorf("keep capture: %w", err))
	}
}
