package proxydhcp

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// The cases of this file are the places where a small mistake in the code would
// pass the conformance cases: the mutation run found them.

func TestChoiceOfAddress(t *testing.T) {
	env := site()
	env.Interfaces[1].Prefixes = prefixes("192.0.2.2/24", "192.0.2.77/24", "10.5.0.2/16", "fe80::2/64")
	at := func(p packet) netip.Addr {
		t.Helper()
		_, res := answer(t, env, p)
		return res.Src
	}
	other := netip.MustParseAddr("10.5.0.2")
	near := discovery(3).from("10.5.0.50:68")
	near.ciaddr = netip.MustParseAddr("10.5.0.50")
	relayedNear := d0().via("10.5.0.1").to("255.255.255.255")
	env.Relays = Relays{}
	for name, c := range map[string]struct {
		p    packet
		want netip.Addr
	}{
		"the one it was sent to":                         {d0().to("192.0.2.77"), netip.MustParseAddr("192.0.2.77")},
		"not that of another card, for a broadcast":      {d0().to("198.51.100.2"), us},
		"that of another card, for a relay":              {d0().via("192.0.2.1").to("198.51.100.2"), usOther},
		"that of another card, on 4011":                  {b7().to("198.51.100.2"), usOther},
		"not somebody else's":                            {b7().to("192.0.2.99"), us},
		"the one in the client's network":                {near, other},
		"the one in the network of the source address":   {d0().from("10.5.0.50:68"), other},
		"the one in the relay's network":                 {relayedNear, other},
		"the first when nothing decides":                 {d0(), us},
		"the first when the client is somewhere else":    {d0().from("10.6.0.50:68"), us},
		"4011 by broadcast: the one in the same network": {b7().to("255.255.255.255").from("10.5.0.50:4011"), us}, // ciaddr says 192.0.2.50
	} {
		if got := at(c.p); got != c.want {
			t.Errorf("%s: from %s, want %s", name, got, c.want)
		}
	}
	env.Interfaces[1].Address = netip.MustParseAddr("fe80::2")
	if got := at(d0()); got != us {
		t.Errorf("an IPv6 address is configured: from %s", got)
	}
	for want, i := range map[string]Interface{
		"169.254.1.1": {Prefixes: prefixes("127.0.0.1/8", "::1/128", "169.254.1.1/16", "169.254.2.2/16")},
		"127.0.0.1":   {Prefixes: prefixes("::1/128", "127.0.0.1/8", "127.0.0.2/8")},
		"10.0.0.1":    {Prefixes: prefixes("127.0.0.1/8", "169.254.1.1/16", "10.0.0.1/8", "11.0.0.1/8")},
		"invalid IP":  {Prefixes: prefixes("fe80::1/64", "2001:db8::1/64", "224.0.0.1/4")},
	} {
		if got := i.first().String(); got != want {
			t.Errorf("first of %v: %s, want %s", i.Prefixes, got, want)
		}
	}
}

func TestDestinations(t *testing.T) {
	// An offer is broadcast even when the client seems to have an address.
	p := d0().from("192.0.2.50:68")
	p.ciaddr = client
	r, res := answer(t, site(), p)
	goes(t, res, broadcast, us, 2)
	r.isDirect(t, us, "undionly.kpxe")
	p.source = "0.0.0.0:68"
	r, res = answer(t, site(), p)
	goes(t, res, broadcast, us, 2)
	r.isDirect(t, us, "undionly.kpxe")
	// A DISCOVER from far away without a relay is answered on the link, where
	// it can do no harm.
	_, res = answer(t, site(), d0().from("10.9.9.9:68"))
	goes(t, res, broadcast, us, 2)
	// 4011 through a relay: to the source, no trace of the relay.
	p = b7().via("203.0.113.1").with(82, relayOption...).from("203.0.113.60:4011")
	p.ciaddr = netip.MustParseAddr("203.0.113.60")
	r, res = answer(t, site(), p)
	goes(t, res, "203.0.113.60:4011", us, 0)
	r.isAck(t, p, us, "x86_64/snponly.efi")
	// Relayed discovery from a source that is no client's: to the relay.
	env := site()
	env.Relays = Relays{}
	p = relayed(discovery(3)).from("10.0.0.1:67")
	p.flags = 0
	r, res = answer(t, env, p)
	goes(t, res, "203.0.113.1:67", us, 0)
	if r.flags != 0x8000 || r.giaddr != relay {
		t.Errorf("flags %#x, giaddr %s", r.flags, r.giaddr)
	}
	// Ports for tests.
	env = site()
	env.ClientPort, env.RelayPort = 1068, 1067
	_, res = answer(t, env, d0())
	goes(t, res, "255.255.255.255:1068", us, 2)
	_, res = answer(t, env, relayed(d0()))
	goes(t, res, "203.0.113.1:1067", us, 0)
	_, res = answer(t, env, b7().from("0.0.0.0:4011"))
	goes(t, res, "192.0.2.50:1068", us, 2)
}

func TestToleratedRequests(t *testing.T) {
	for name, p := range map[string]packet{
		"DISCOVER with a server":         d0().with(54, 192, 0, 2, 9),
		"DISCOVER with an item":          d0().with(43, 71, 4, 0, 0, 0, 0, 255),
		"DISCOVER with another item":     d0().with(43, 71, 4, 0x80, 1, 0, 0, 255),
		"DISCOVER with a product's item": d0().with(43, 71, 4, 0, 7, 0, 0, 255),
	} {
		t.Run(name, func(t *testing.T) { asCase1(t, p) })
	}
	// A PC with a Pi 3's address block, by its own identifier.
	p := d0()
	p.chaddr = pi3MAC
	asCase1(t, p)
	// By broadcast on 4011, without an item.
	r, res := answer(t, site(), b7().to("255.255.255.255"))
	r.isAck(t, b7(), us, "x86_64/snponly.efi")
	goes(t, res, "192.0.2.50:4011", us, 2)
	// An answer by unicast keeps the flags, as on 4011.
	p = discovery(3)
	p.flags = 0
	r, _ = answer(t, site(), p)
	r.isAck(t, p, us, "undionly.kpxe")
	// Discovery of the vendor range's first item, and of the local disk.
	r, _ = answer(t, site(), discovery(3).with(43, 71, 4, 0x80, 0, 0, 0, 255))
	r.has(t, map[byte][]byte{43: {71, 4, 0x80, 0, 0, 0, 255}})
	silence(t, site(), discovery(3).with(43, 71, 4, 0x7f, 0xff, 0, 0, 255), boot.ReasonOtherServer)
	silence(t, site(), discovery(3).with(43, 71, 4, 0, 0, 0, 0, 255), boot.ReasonPolicy)
	for _, kind := range []byte{2, 4, 5, 6, 7, 9} {
		silence(t, site(), discovery(kind), boot.ReasonType)
	}
	// The item is found among others.
	r, _ = answer(t, site(), m0().with(43, 6, 1, 8, 0, 71, 4, 0x80, 2, 0, 0))
	r.has(t, map[byte][]byte{43: {71, 4, 0x80, 2, 0, 0, 255}})
	// What comes after it must be well-formed too.
	silence(t, site(), m0().with(43, 71, 4, 0x80, 1, 0, 0, 6), boot.ReasonParse)
	silence(t, site(), m0on67(71, 4, 0x80, 1, 0, 0, 6), boot.ReasonType)
	// The repair of a missing End must not complete an option that is cut.
	p = d0()
	p.tail = []byte{43, 3, 1, 2}
	silence(t, site(), p, boot.ReasonParse)
	p.tail = []byte{43, 3, 1, 2, 0}
	asCase1(t, p)
}

func TestWhatIsKnownOfSilentPackets(t *testing.T) {
	res := silence(t, site(), d0().without(60), boot.ReasonClass)
	if res.Client.MAC != d0().mac() || res.Client.XID != 0xdeadbeef || res.Interface != "eth0" {
		t.Errorf("%+v", res)
	}
	p := selecting(d0()).with(60, []byte("MSFT 5.0")...)
	if res := silence(t, site(), p, boot.ReasonType); res.Client.Firmware != "" || res.Class != "MSFT 5.0" || res.Lease != client {
		t.Errorf("%+v", res)
	}
	if res := silence(t, site(), selecting(i0()), boot.ReasonType); res.Client.Firmware != boot.FirmwareIPXE || res.Client.Class != boot.ClassPXE {
		t.Errorf("%+v", res.Client)
	}
	p = selecting(d0())
	p.chaddr = [16]byte{}
	if res := silence(t, site(), p, boot.ReasonType); res.Lease.IsValid() {
		t.Errorf("a lease of nobody: %s", res.Lease)
	}
	if res := silence(t, site(), d0().with(53, 3), boot.ReasonType); res.Lease.IsValid() {
		t.Errorf("a lease of no address: %s", res.Lease)
	}
	raw := d0().bytes()
	raw[2] = 200
	for n, want := range map[int]int{0: -1, 43: -1, 44: 16, 100: 16} {
		chaddr, ok := hardware(raw[:n])
		if ok != (want >= 0) || ok && len(chaddr) != want {
			t.Errorf("%d octets: % x, %v", n, chaddr, ok)
		}
	}
}

func TestPacketSizes(t *testing.T) {
	p := d0()
	p.tail = append([]byte{255}, make([]byte, maxPacket-len(d0().bytes()))...)
	asCase1(t, p)
	p.tail = append(p.tail, 0)
	silence(t, site(), p, boot.ReasonParse)
	p.opts, p.tail = nil, []byte{}
	if n := len(p.bytes()); n != 240 {
		t.Fatalf("%d octets", n)
	}
	silence(t, site(), p, boot.ReasonNoType)
	for size, want := range map[string]int{
		"\x00\x00": 548, "\x02\x40": 548, "\x02\x3f": 548, "\x02\x41": 549, "\x05\xdb": 1471, "\x05\xdc": 1472, "\x05\xdd": 1472, "\xff\xff": 1472, "\x05": 548, "": 548,
	} {
		r := request{p: &dhcpv4.DHCPv4{Options: dhcpv4.Options{optMaxSize: []byte(size)}}}
		if got := r.maxReply(); got != want {
			t.Errorf("option 57 = % x: %d, want %d", size, got, want)
		}
	}
	// A reply that just fits, and one octet more.
	exact := false
	for n := range 60 {
		q := d0().via("203.0.113.1").with(57, 2, 0x40).with(82, make([]byte, n)...)
		res := ask(t, rules(boot.Rule{File: strings.Repeat("n", 220)}), q)
		switch {
		case res.Reason == boot.ReasonNone && len(res.Packet) <= 548:
			exact = exact || len(res.Packet) == 548
		case res.Reason != boot.ReasonTooLong || !exact:
			t.Errorf("82 of %d octets: %q, %d octets", n, res.Reason, len(res.Packet))
		}
	}
	if !exact {
		t.Error("no reply of 548 octets")
	}
	// Option 82 of 255 octets is echoed, a longer one cannot be.
	q := relayed(i0()).with(82, make([]byte, 255)...).with(57, 5, 0xc0)
	if res := ask(t, site(), q); res.Reason != boot.ReasonNone {
		t.Errorf("82 of 255 octets: %s", res.Reason)
	}
	q.opts = append(q.opts, option{82, []byte{1}})
	silence(t, site(), q, boot.ReasonTooLong)
	// The least length.
	r, _ := answer(t, site(), b7().without(97))
	if len(r.raw) != 300 {
		t.Errorf("%d octets, want 300", len(r.raw))
	}
}

func TestPxelinuxOptions(t *testing.T) {
	r, _ := answer(t, rules(boot.Rule{Config: "c"}), d0())
	r.has(t, map[byte][]byte{209: []byte("c"), 210: nil})
	r, _ = answer(t, rules(boot.Rule{Prefix: "p"}), d0())
	r.has(t, map[byte][]byte{209: nil, 210: []byte("p")})
	r, _ = answer(t, rules(boot.Rule{Form: boot.FormTwoStep, Config: "c", Prefix: "p"}), b7())
	r.has(t, map[byte][]byte{209: []byte("c"), 210: []byte("p")})
	r, _ = answer(t, rules(boot.Rule{Config: "c", Prefix: "p"}), bi())
	r.has(t, map[byte][]byte{209: nil, 210: nil})
	silence(t, rules(boot.Rule{Config: strings.Repeat("c", 256)}), d0().with(57, 5, 0xc0), boot.ReasonTooLong)
}

// TestOfferVouches: a boot-server request may leave out what the DISCOVER said,
// for a minute; what it does say counts.
func TestOfferVouches(t *testing.T) {
	last := boot.NewClient(boot.Facts{
		MAC: d0().mac(), Class: "PXEClient:Arch:00007", Arch: []byte{0, 7}, GUID: guid, UserClass: []byte(boot.UserClassOurs),
	})
	pi := boot.Client{Class: boot.ClassPXE, Firmware: boot.FirmwareRPi, ArchKnown: true}
	httpBoot := boot.Client{Class: boot.ClassHTTP, Firmware: boot.FirmwareHTTP, Arch: 16, ArchKnown: true}
	remember := func(env Env, c boot.Client, age time.Duration) Env {
		env.History = func(boot.MAC) boot.History { return boot.History{Form: boot.FormDirect, Age: age, Last: c} }
		return env
	}
	bare := b7().without(93).without(97).with(60, []byte("PXEClient")...)
	for _, age := range []time.Duration{0, boot.RecentOffer} {
		env := remember(site(), last, age)
		res := ask(t, env, bare)
		if c := res.Client; c.Arch != 7 || !c.ArchKnown || c.Firmware != boot.FirmwareIPXE || !c.Ours || c.GUID != last.GUID || c.Class != boot.ClassPXE ||
			!slices.Equal(c.Archs, last.Archs) || res.Decision.Form != boot.FormScript {
			t.Errorf("after %v: %+v", age, c)
		}
		if res := ask(t, env, bare.without(60)); res.Reason != boot.ReasonNone || res.Client.Class != boot.ClassPXE {
			t.Errorf("after %v, no class: %q, %+v", age, res.Reason, res.Client)
		}
	}
	silence(t, remember(site(), last, boot.RecentOffer+1), bare, boot.ReasonArch)
	silence(t, remember(site(), last, boot.RecentOffer+1), bare.without(60), boot.ReasonClass)
	if res := ask(t, site(), b7().without(60)); res.Client.Class != boot.ClassPXE {
		t.Errorf("without class or memory: %+v", res.Client)
	}
	// A DISCOVER speaks for itself.
	silence(t, remember(site(), last, 0), d0().without(93).with(60, []byte("PXEClient")...), boot.ReasonArch)
	// What the request says itself is not overruled.
	own := append([]byte{0}, []byte("0123456789abcdef")...)
	res := ask(t, remember(site(), last, 0), b7().with(93, 0, 11).with(97, own...))
	if c := res.Client; c.Arch != 11 || c.Firmware != boot.FirmwareUEFI || c.GUID == last.GUID || c.GUID.IsZero() || c.Ours {
		t.Errorf("%+v", c)
	}
	// Only the identifier tells a Pi from a BIOS.
	bios := bare.with(93, 0, 0)
	if res := ask(t, remember(site(), pi, 0), bios); res.Client.Firmware != boot.FirmwareRPi || res.Decision.Form != boot.FormRPi {
		t.Errorf("%+v", res.Client)
	}
	if res := ask(t, remember(site(), pi, 0), bios.with(97, own...)); res.Client.Firmware != boot.FirmwareBIOS {
		t.Errorf("%+v", res.Client)
	}
	if res := ask(t, remember(site(), pi, 0), bios.with(93, 0, 7)); res.Client.Firmware != boot.FirmwareUEFI {
		t.Errorf("%+v", res.Client)
	}
	if res := ask(t, remember(site(), last, 0), bios); res.Client.Firmware != boot.FirmwareBIOS {
		t.Errorf("%+v", res.Client)
	}
	// iPXE that leaves out 93 stays the iPXE it says it is.
	featureless := bare.with(77, []byte("iPXE")...)
	if res := ask(t, remember(site(), pi, 0), featureless); res.Client.Firmware != boot.FirmwareIPXE {
		t.Errorf("%+v", res.Client)
	}
	// An HTTP Boot client has no business here, with or without its class.
	silence(t, remember(site(), httpBoot, 0), bare.without(60), boot.ReasonHTTP4011)
	if res := ask(t, remember(site(), httpBoot, 0), bare); res.Client.Class != boot.ClassPXE {
		t.Errorf("%+v", res.Client)
	}
	last.Ours = false
	if res := ask(t, remember(site(), last, 0), bare); res.Client.Ours {
		t.Errorf("%+v", res.Client)
	}
	// An offer that was made by a rule, without an architecture, vouches for none.
	silence(t, remember(site(), boot.Client{Class: boot.ClassPXE}, 0), bare, boot.ReasonArch)
	silence(t, site(), b7().without(60).with(93, 0), boot.ReasonArch)
	silence(t, site(), b7().without(60).with(93), boot.ReasonClass)
	// A rule for the identifier finds the machine.
	env := remember(site(), last, 0)
	env.Policy.Rules = []boot.Rule{{GUID: last.GUID, Deny: true}}
	silence(t, env, bare, boot.ReasonPolicy)
}

func TestLimiterEdges(t *testing.T) {
	l := newLimiter(10, 5)
	now := testTime
	admit := func(k byte) bool { _, ok := l.admit(hwKey{k}, now); return ok }
	for admit(1) {
	}
	now = now.Add(-time.Hour)
	if !admit(1) {
		t.Error("the clock was set back, and the client is locked out")
	}
	now = now.Add(3 * time.Hour)
	if !admit(2) {
		t.Fatal("refused")
	}
	for range 5 {
		l.answered(hwKey{77}) // one whose entry has been forgotten
	}
	for _, step := range []struct {
		after time.Duration
		want  bool
	}{{0, false}, {100 * time.Millisecond, false}, {100 * time.Millisecond, true}, {0, true}} {
		now = now.Add(step.after)
		if got := admit(3); got != step.want {
			t.Errorf("after %v: %v, tokens %v", step.after, got, l.tokens)
		}
	}
	l.answered(hwKey{3})
	if admit(4) {
		t.Errorf("more than the rate: tokens %v", l.tokens)
	}
}

func TestInsideSite(t *testing.T) {
	for a, want := range map[string]bool{"10.0.0.1": true, "192.168.3.4": true, "8.8.8.8": false, "1.1.1.1": false} {
		if got := InsideSite(netip.MustParseAddr(a)); got != want {
			t.Errorf("%s: %v", a, got)
		}
	}
	list := Relays{Mode: RelayList, Allow: []netip.Addr{limitedBroadcast}}
	if list.allowsRelay(limitedBroadcast, Interface{}) {
		t.Error("everybody is no relay")
	}
	wide := Interface{Prefixes: prefixes("10.0.0.1/8", "16.0.0.1/4")}
	for a, want := range map[string]bool{"10.255.255.255": true, "31.255.255.255": true, "16.255.255.255": false, "30.255.255.255": false, "10.1.255.255": false, "10.255.1.255": false} {
		if got := wide.isBroadcast(netip.MustParseAddr(a)); got != want {
			t.Errorf("%s: %v", a, got)
		}
	}
}

// TestHardwareLengths proves that hardware addresses of all lengths pass.
func TestHardwareLengths(t *testing.T) {
	for n := range 17 {
		p := d0()
		p.hlen = byte(n)
		p.chaddr = [16]byte{2, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13}
		clear(p.chaddr[n:])
		res := ask(t, site(), p)
		if want := (map[bool]boot.Reason{true: boot.ReasonHW})[n == 0]; res.Reason != want {
			t.Errorf("%d octets: %q, want %q", n, res.Reason, want)
		}
		if n > 0 && res.Client.MAC != p.mac() {
			t.Errorf("%d octets: %s", n, fmt.Sprint(res.Client.MAC))
		}
	}
}
