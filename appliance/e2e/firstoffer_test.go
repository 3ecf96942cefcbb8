package e2e

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/bootpuck/bootpuck/appliance/e2e/lab"
	"github.com/bootpuck/bootpuck/appliance/image/vm"
)

// TestFirstOffer switches a freshly flashed box on and sends it a boot client's
// DISCOVER four times a second: how long until it answers? It is the very first
// boot, on which the state partition is made, too.
func TestFirstOffer(t *testing.T) {
	need(t)
	for _, c := range []struct {
		name, image, make string
		firmware          lab.FirmwareKind
	}{
		{"amd64/seabios", imagePath(), "make image", lab.SeaBIOS},
		{"amd64/ovmf", imagePath(), "make image", lab.OVMF},
		{"rpi/aavmf", filepath.Join(root, ".build", "image", "bootpuck-rpi.img"), "make image ARCH=arm64", lab.AAVMF},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := os.Stat(c.image); err != nil {
				t.Skipf("there is no image %s: %s", c.image, c.make)
			}
			site, err := lab.Open(t.Context(), lab.SiteConfig{
				DHCP: lab.DHCPConfig{Kind: lab.Dnsmasq}, BoxIsGuest: true,
				KeepDir: filepath.Join(buildDir, "logs", "first-offer_"+filepath.Base(c.name)),
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := site.Close(); err != nil {
					t.Errorf("clean up: %v", err)
				}
			})
			station, err := site.NewStation("station", lab.MACFor("first offer"))
			if err != nil {
				t.Fatal(err)
			}
			capture, err := site.Capture(station, "eth0")
			if err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			var on time.Time
			asked := make(chan struct{})
			box := &lab.Image{
				Disk: c.image, Firmware: c.firmware, Accel: lab.TCG,
				Prepare: func(_ context.Context, image, dst, _ string, size int64) error { return vm.Fresh(image, dst, size) },
				PoweredOn: func(at time.Time) {
					on = at
					go func() {
						defer close(asked)
						keepAsking(ctx, t, capture)
					}()
				},
			}
			err = box.Start(t.Context(), site)
			if !on.IsZero() {
				defer func() { stop(); <-asked }()
			}
			if err != nil {
				t.Fatal(err)
			}
			var first time.Time
			await(t, 30*time.Second, "an OFFER", func() bool {
				for _, s := range capture.Seen() {
					if s.Type == 2 && bytes.Equal(s.From, lab.BoxMAC) {
						first = s.At
						return true
					}
				}
				return false
			})
			t.Logf("%s: first OFFER %.1f s after power-on, healthy after %.1f s", c.name, first.Sub(on).Seconds(), box.ReadyAfter.Seconds())
		})
	}
}

// keepAsking sends DISCOVERs, each of another client, until ctx ends.
func keepAsking(ctx context.Context, t *testing.T, capture *lab.Capture) {
	t.Helper()
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ; i++ {
		mac := net.HardwareAddr{0x52, 0x54, 0, 0xaa, byte(i >> 8), byte(i)}
		if err := capture.Send(pxeDiscover(t, mac)); err != nil {
			t.Error(err)
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
