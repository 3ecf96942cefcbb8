package e2e

import (
	"context"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bootpuck/bootpuck/appliance/e2e/lab"
)

// TestStranger stands on the wire beside a machine that is armed and asks for
// what is meant for it: in its name, by its identifier, as other programs, by
// guessing. It gets nothing of it and changes nothing about it.
func TestStranger(t *testing.T) {
	need(t)
	const row = "web-ipxe-rom"
	m := manage(t, unattended())
	m.ctl(t, "arm", row, "install")
	mac := net.HardwareAddr{0x52, 0x54, 0x00, 0x5b, 0x1e, 0x01}
	ns, err := m.site.NewStation("spy", mac)
	if err != nil {
		t.Fatal(err)
	}
	if err := ns.Address("10.77.0.9/24"); err != nil {
		t.Fatal(err)
	}
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, address string) (conn net.Conn, err error) {
		err = ns.Do(func() error {
			conn, err = (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, network, address)
			return err
		})
		return conn, err
	}}}
	victim := lab.MACFor(row).String()
	dashes := strings.ReplaceAll(victim, ":", "-")
	asked := map[string]string{
		"in its name":       "/s?mac=" + victim + "&uuid=" + lab.UUIDFor(row) + "&platform=pcbios&buildarch=i386&version=2.0.0",
		"by its identifier": "/s?mac=" + mac.String() + "&uuid=" + lab.UUIDFor(row) + "&platform=efi&buildarch=x86_64&version=2.0.0",
		"as pxelinux":       "/pxelinux/pxelinux.cfg/01-" + dashes,
		"as pxelinux, too":  "/pxelinux/pxelinux.cfg/" + lab.UUIDFor(row),
		"as GRUB":           "/grub/grub.cfg-01-" + dashes,
		"by guessing":       "/a/aaaaaaaaaaaaaaaaaaaaaaaaaa/setup",
		"without a token":   "/a/setup",
		"for its script":    "/x/aaaaaaaaaaaaaaaaaaaaaaaaaa",
		"for the records":   "/files/../state/state.db",
	}
	for _, how := range slices.Sorted(maps.Keys(asked)) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+lab.BoxAddr+asked[how], nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{"s3cret", lab.BoxAddr + "/x/", lab.BoxAddr + "/a/", "tiny.gz", "lab.image"} {
			if strings.Contains(string(text), secret) {
				t.Errorf("asking %s gives %q:\n%s", how, secret, text)
			}
		}
	}
	if text := m.ctl(t, "assignments"); !strings.Contains(text, "waiting") || strings.Contains(text, "running") {
		t.Errorf("a stranger changed the assignment:\n%s", text)
	}
}
