package lan

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

func TestForeign(t *testing.T) {
	for _, tt := range []struct {
		name   string
		packet []byte
		want   boot.Foreign
		text   string
	}{
		{
			"an address", offer(option(6, "\xc0\x00\x02\x35")),
			boot.Foreign{Type: "offer", Your: netip.MustParseAddr("192.0.2.50"), DNS: true},
			"The server 192.0.2.1 offered the address 192.0.2.50.",
		},
		{
			"confirmed, with a boot file in the header", offer(kindOf(5), func(r *reply) { r.siaddr, r.file = "192.0.2.1", "a\nb" }),
			boot.Foreign{Type: "ack", Your: netip.MustParseAddr("192.0.2.50"), File: "a\nb", Header: true, Next: "192.0.2.1"},
			`The server 192.0.2.1 confirmed the address 192.0.2.50, boot file "a\nb", next server "192.0.2.1".`,
		},
		{
			"boot file as an option", offer(option(67, "x.efi"), option(66, "srv")),
			boot.Foreign{Type: "offer", Your: netip.MustParseAddr("192.0.2.50"), File: "x.efi", Next: "srv"},
			`The server 192.0.2.1 offered the address 192.0.2.50, boot file "x.efi", next server "srv".`,
		},
		{
			"refused", offer(kindOf(6), func(r *reply) { r.yiaddr = "" }),
			boot.Foreign{Type: "nak"},
			"The server 192.0.2.1 refused the address it asked for.",
		},
		{
			"a proxy with discovery control, through a relay",
			offer(proxied, option(43, "\x06\x01\x08\xff"), func(r *reply) { r.giaddr = "203.0.113.1" }),
			boot.Foreign{
				Type: "offer", Server: netip.MustParseAddr("192.0.2.9"), Relay: netip.MustParseAddr("203.0.113.1"), Class: "PXEClient",
				File: "boot.0", Header: true, Next: "192.0.2.9", Control: true,
			},
			`The server 192.0.2.9 offered no address, option 60 "PXEClient", boot file "boot.0", next server "192.0.2.9".`,
		},
		{
			"from 4011", offer(proxied, kindOf(5), func(r *reply) { r.sport = 4011 }),
			boot.Foreign{Type: "ack", Server: netip.MustParseAddr("192.0.2.9"), Port: 4011, Class: "PXEClient", File: "boot.0", Header: true, Next: "192.0.2.9"},
			`The server 192.0.2.9 confirmed no address, option 60 "PXEClient", boot file "boot.0", next server "192.0.2.9".`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := with(tt.packet, 28+4, 1, 2, 3, 4)
			got, ok := hear(t, b, "02:00:00:00:00:51").foreign()
			want := tt.want
			want.MAC, want.XID = "02:00:00:00:00:51", 0x01020304
			if want.Port == 0 {
				want.Port = 67
			}
			if !want.Server.IsValid() {
				want.Server = netip.MustParseAddr("192.0.2.1")
			}
			if d := cmp.Diff(want, got, compareAddrs); d != "" || !ok {
				t.Error(ok, d)
			}
			if text := foreignText(got); text != tt.text {
				t.Errorf("%s", text)
			}
		})
	}
	for name, b := range map[string][]byte{
		"another type":     offer(kindOf(4)),
		"BOOTP":            offer(func(r *reply) { r.options = nil }),
		"no client":        with(offer(), 28+28, 0, 0, 0, 0, 0, 0),
		"everybody":        with(offer(), 28+28, 255, 255, 255, 255, 255, 255),
		"no Ethernet card": with(offer(), 28+2, 16),
	} {
		if f, ok := hear(t, b, "").foreign(); ok {
			t.Errorf("%s: %+v", name, f)
		}
	}
}

func TestForeignLimit(t *testing.T) {
	l := newForeignLimit()
	f := boot.Foreign{Type: "offer", Server: netip.MustParseAddr("192.0.2.1")}
	at := func(d time.Duration) time.Time { return epoch.Add(d) }
	ack, forged, with60 := f, f, f
	ack.Type = "ack"
	forged.MAC, with60.Class = "02:66:66:66:66:66", "PXEClient"
	for _, step := range []struct {
		f      boot.Foreign
		client boot.MAC
		at     time.Duration
		want   bool
	}{
		{f, "02:00:00:00:00:77", 0, true},
		{f, "02:00:00:00:00:77", 999 * time.Millisecond, false},
		{f, "02:00:00:00:00:78", 999 * time.Millisecond, true},
		{ack, "02:00:00:00:00:77", 999 * time.Millisecond, true},
		{forged, "02:00:00:00:00:77", 999 * time.Millisecond, true}, // another station in its name
		{with60, "02:00:00:00:00:77", 999 * time.Millisecond, true}, // other words
		{f, "02:00:00:00:00:77", time.Second, true},
	} {
		if got := l.allow(step.f, step.client, at(step.at)); got != step.want {
			t.Errorf("after %v: %v", step.at, got)
		}
	}
	// A minute of 2000 a second, all different.
	n := 0
	for i := range 120_000 {
		if l.allow(f, boot.MAC(fmt.Sprint(i)), at(time.Hour+time.Duration(i)*500*time.Microsecond)) {
			n++
		}
	}
	if n < 60*foreignPerSecond || n > 61*foreignPerSecond+1 || len(l.last) > foreignKeys {
		t.Errorf("%d events in a minute, %d keys kept", n, len(l.last))
	}
}
