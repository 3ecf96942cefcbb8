package proxydhcp

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

var relayOption = []byte{1, 4, 'e', 't', 'h', '7'}

func relayed(p packet) packet { return p.via("203.0.113.1").with(82, relayOption...) }

var _ = conform("047", "a relayed DISCOVER: unicast to giaddr:67, giaddr and 82 echoed, 82 last, broadcast flag, hops 0", func(t *testing.T) {
	for _, p := range []packet{relayed(d0()), relayed(d7()), relayed(dh(16)), relayed(i0()), relayed(p3())} {
		r, res := answer(t, site(), p)
		goes(t, res, "203.0.113.1:67", us, 0)
		if r.giaddr != relay || r.flags != 0x8000 || r.hops != 0 || !res.Client.Relayed || res.Relay != relay {
			t.Errorf("giaddr %s, flags %#x, hops %d, relay %s", r.giaddr, r.flags, r.hops, res.Relay)
		}
		r.has(t, map[byte][]byte{82: relayOption})
	}
	// A relay on our own link is reached through it; a relay that used our
	// other address is answered from there.
	env := site()
	env.Relays.Allow = append(env.Relays.Allow, netip.MustParseAddr("192.0.2.1"))
	_, res := answer(t, env, d0().via("192.0.2.1"))
	goes(t, res, "192.0.2.1:67", us, 2)
	r, res := answer(t, site(), relayed(d0()).to("198.51.100.2"))
	goes(t, res, "203.0.113.1:67", usOther, 0)
	r.isDirect(t, usOther, "undionly.kpxe")
	// A switch may add option 82 without being a relay.
	r, res = answer(t, site(), d0().with(82, relayOption...))
	goes(t, res, broadcast, us, 2)
	r.has(t, map[byte][]byte{82: relayOption})
})

var _ = conform("048", "a relay that is not in the list: silence", func(t *testing.T) {
	silence(t, site(), d0().via("203.0.113.77"), boot.ReasonRelay)
	silence(t, site(), b7().via("203.0.113.77"), boot.ReasonRelay)
})

var _ = conform("049", "giaddr is our own: silence, whatever the mode", func(t *testing.T) {
	for _, mode := range []RelayMode{RelayList, RelayAuto} {
		env := site()
		env.Relays = Relays{Mode: mode, Allow: []netip.Addr{us, usOther}}
		silence(t, env, d0().via("192.0.2.2"), boot.ReasonRelay)
		silence(t, env, d0().via("198.51.100.2"), boot.ReasonRelay)
	}
})

var _ = conform("050", "more than 16 hops: silence", func(t *testing.T) {
	p := relayed(d0())
	p.hops = 17
	silence(t, site(), p, boot.ReasonHops)
	p.hops = 16
	answer(t, site(), p)
})

var _ = conform("051", "a relayed packet while relays are off: silence", func(t *testing.T) {
	env := site()
	env.Relays.Mode = RelayOff
	silence(t, env, relayed(d0()), boot.ReasonRelay)
})

var _ = conform("052", "a routed request on 4011: answered for listed client networks only", func(t *testing.T) {
	p := b7().from("203.0.113.60:4011")
	p.ciaddr = netip.MustParseAddr("203.0.113.60")
	r, res := answer(t, site(), p)
	r.isAck(t, p, us, "x86_64/snponly.efi")
	goes(t, res, "203.0.113.60:4011", us, 0)
	silence(t, site(), b7().from("10.9.9.9:4011"), boot.ReasonSource)
	env := site()
	env.Relays.Mode = RelayOff
	silence(t, env, p, boot.ReasonSource)
})

var _ = conform("053", "a UEFI client's second step: ACK with the file to where it came from, no option 43", func(t *testing.T) {
	r, res := answer(t, site(), b7())
	r.isAck(t, b7(), us, "x86_64/snponly.efi")
	r.has(t, map[byte][]byte{43: nil})
	goes(t, res, "192.0.2.50:4011", us, 2)
	if !res.Ack {
		t.Error("not called an ACK")
	}
})

var _ = conform("054", "an old BIOS ROM on 4011 from port 68: ACK to port 68", func(t *testing.T) {
	p := b7().with(93, 0, 0).with(60, biosClass...).from("192.0.2.50:68")
	r, res := answer(t, site(), p)
	r.isAck(t, p, us, "undionly.kpxe")
	r.has(t, map[byte][]byte{43: nil})
	goes(t, res, "192.0.2.50:68", us, 2)
	// With pxelinux options by rule.
	r, _ = answer(t, rules(boot.Rule{Config: "cfg", Prefix: "pre/"}), p)
	r.has(t, map[byte][]byte{209: []byte("cfg"), 210: []byte("pre/")})
	r, _ = answer(t, rules(boot.Rule{Config: "cfg", Prefix: "pre/"}), d0())
	r.has(t, map[byte][]byte{209: []byte("cfg"), 210: []byte("pre/")})
	for _, p := range []packet{dh(16), i0(), p3()} {
		r, _ = answer(t, rules(boot.Rule{Config: "cfg", Prefix: "pre/"}), p)
		r.has(t, map[byte][]byte{209: nil, 210: nil})
	}
	r, _ = answer(t, rules(boot.Rule{Form: boot.FormTwoStep, Config: "cfg", Prefix: "pre/"}), d7())
	r.has(t, map[byte][]byte{209: nil, 210: nil})
})

var _ = conform("055", "iPXE on 4011: unicast ACK to port 68 despite the broadcast flag, script URL, siaddr, same 54 as the offer", func(t *testing.T) {
	r, res := answer(t, site(), bi())
	goes(t, res, "192.0.2.50:68", us, 2)
	r.header(t, 0x8000, client, us, "", script)
	r.has(t, map[byte][]byte{53: {5}, 60: []byte("PXEClient"), 67: []byte(script), 43: direct, 175: {1, 1, 1}, 97: guid})
	offer, _ := answer(t, site(), i0())
	r.has(t, map[byte][]byte{54: offer.options[54]})
})

var _ = conform("056", "a request that names another server: silence", func(t *testing.T) {
	silence(t, site(), bi().with(54, 192, 0, 2, 9), boot.ReasonOtherServer)
	silence(t, site(), bi().with(54, 192, 0, 2), boot.ReasonOtherServer)
})

var _ = conform("057", "a request that names our other address: ACK from the address it was sent to", func(t *testing.T) {
	r, res := answer(t, site(), bi().with(54, 198, 51, 100, 2))
	goes(t, res, "192.0.2.50:68", us, 2)
	r.header(t, 0x8000, client, us, "", script)
	r, res = answer(t, site(), bi().to("198.51.100.2"))
	goes(t, res, "192.0.2.50:68", usOther, 2)
	r.header(t, 0x8000, client, usOther, "", "http://198.51.100.2/b")
})

func item(kind ...byte) packet {
	return m0().with(43, append(append([]byte{71, 4}, kind...), 255)...)
}

var _ = conform("058", "iPXE's menu request: ACK with the item echoed and a file, xid 0 kept", func(t *testing.T) {
	r, res := answer(t, site(), m0())
	r.isAck(t, m0(), us, "undionly.kpxe")
	r.has(t, map[byte][]byte{43: {71, 4, 0x80, 1, 0, 0, 255}})
	goes(t, res, "192.0.2.50:68", us, 2)
	// Without 93 the offer of a moment ago says what the client is.
	silence(t, site(), m0().without(93), boot.ReasonArch)
	env := site()
	last := boot.Client{Class: boot.ClassPXE, Firmware: boot.FirmwareIPXE, ArchKnown: true, IPXE: boot.IPXE{Present: true, Features: 1 << 3}}
	env.History = func(boot.MAC) boot.History {
		return boot.History{Form: boot.FormScript, Age: time.Minute, Last: last}
	}
	r, _ = answer(t, env, m0().without(93))
	r.has(t, map[byte][]byte{43: {71, 4, 0x80, 1, 0, 0, 255}, 67: []byte(script)})
	env.History = func(boot.MAC) boot.History { return boot.History{Age: time.Minute + 1, Last: last} }
	silence(t, env, m0().without(93), boot.ReasonArch)
})

var _ = conform("059", "the same with layer 80 00: the same answer", func(t *testing.T) {
	a, _ := answer(t, site(), m0())
	b, _ := answer(t, site(), item(0x80, 1, 0x80, 0))
	if !slices.Equal(a.raw, b.raw) {
		t.Error("the answers differ")
	}
})

var _ = conform("060", "menu item 0: the person chose the local disk", func(t *testing.T) {
	silence(t, site(), item(0, 0, 0, 0), boot.ReasonPolicy)
	silence(t, site(), item(0, 0, 0x80, 0), boot.ReasonPolicy)
	r, _ := answer(t, site(), item(0, 7, 0, 0))
	r.has(t, map[byte][]byte{43: {71, 4, 0, 7, 0, 0, 255}})
	// On a Raspberry Pi item 0 is the only one, and means us.
	p := p4().with(53, 3).with(43, 71, 4, 0, 0, 0, 0, 255)
	p.ciaddr, p.source, p.dest, p.port = client, "192.0.2.50:68", "192.0.2.2", 4011
	r, _ = answer(t, site(), p)
	r.has(t, map[byte][]byte{43: []byte(piText), 53: {5}})
})

var _ = conform("061", "item 80 00 (Intel ROMs): ACK, the default item", func(t *testing.T) {
	r, _ := answer(t, site(), item(0x80, 0, 0, 0))
	r.isAck(t, m0(), us, "undionly.kpxe")
	r.has(t, map[byte][]byte{43: {71, 4, 0x80, 0, 0, 0, 255}})
})

func discovery(kind byte) packet {
	p := m0().with(53, kind).to("255.255.255.255")
	p.port = 67
	return p
}

var _ = conform("062", "boot-server discovery by broadcast on 67: ACK by unicast from port 67", func(t *testing.T) {
	r, res := answer(t, site(), discovery(3))
	goes(t, res, "192.0.2.50:68", us, 2)
	r.isAck(t, m0(), us, "undionly.kpxe")
	r.has(t, map[byte][]byte{43: {71, 4, 0x80, 1, 0, 0, 255}})
	// What looks alike and is not: a lease being asked for, no own address, a
	// product's registered type, a source we may not send to.
	silence(t, site(), discovery(3).with(50, client.AsSlice()...), boot.ReasonType)
	p := discovery(3)
	p.ciaddr = zero
	silence(t, site(), p, boot.ReasonType)
	silence(t, site(), discovery(3).with(60, []byte("HTTPClient")...), boot.ReasonType)
	silence(t, site(), discovery(3).with(43, 71, 4, 0, 7, 0, 0, 255), boot.ReasonOtherServer)
	silence(t, site(), discovery(3).with(54, 192, 0, 2, 9), boot.ReasonOtherServer)
	silence(t, site(), discovery(3).from("10.9.9.9:68"), boot.ReasonSource)
	// Relayed, it goes back to the relay.
	p = relayed(discovery(3))
	r, res = answer(t, site(), p)
	goes(t, res, "203.0.113.1:67", us, 0)
	r.has(t, map[byte][]byte{82: relayOption, 53: {5}})
	if r.flags != 0x8000 || r.giaddr != relay {
		t.Errorf("flags %#x, giaddr %s", r.flags, r.giaddr)
	}
})

var _ = conform("063", "the same as INFORM: ACK", func(t *testing.T) {
	r, res := answer(t, site(), discovery(8))
	goes(t, res, "192.0.2.50:68", us, 2)
	r.isAck(t, m0(), us, "undionly.kpxe")
	p := b7().with(53, 8)
	r, _ = answer(t, site(), p)
	r.isAck(t, p, us, "x86_64/snponly.efi")
})

var _ = conform("064", "option 43 cut short or with a wrong item length: silence, no panic", func(t *testing.T) {
	for _, v := range [][]byte{{71}, {71, 255}, {71, 4, 0x80}, {71, 2, 0x80, 1, 255}, {71, 5, 0x80, 1, 0, 0, 0}, {6, 1, 8, 71}} {
		silence(t, site(), m0().with(43, v...), boot.ReasonParse)
	}
	// On 67 other vendors' clients put other things there.
	silence(t, site(), m0on67(71), boot.ReasonType)
	answer(t, site(), d0().with(43, 220))
})

func m0on67(vendor ...byte) packet { return discovery(3).with(43, vendor...) }

var _ = conform("065", "an empty option 43 on 4011: as 53", func(t *testing.T) {
	for _, p := range []packet{b7().with(43), b7().with(43, 255), b7().with(43, 0, 0, 255)} {
		r, res := answer(t, site(), p)
		r.isAck(t, b7(), us, "x86_64/snponly.efi")
		r.has(t, map[byte][]byte{43: nil})
		goes(t, res, "192.0.2.50:4011", us, 2)
	}
})

var _ = conform("066", "a Raspberry Pi 4 without option 60 on 4011: ACK with 93, or within 60 s of an offer; else silence", func(t *testing.T) {
	ask4011 := p4().with(53, 3).without(60)
	ask4011.ciaddr, ask4011.source, ask4011.dest, ask4011.port = client, "192.0.2.50:68", "192.0.2.2", 4011
	b := newBox(t)
	b.silence(ask4011.without(93), boot.ReasonClass)
	b.answer(ask4011) // 93 is there: no memory needed
	b = newBox(t)
	b.answer(p4())
	b.wait(time.Minute)
	for _, p := range []packet{ask4011, ask4011.without(93), ask4011.without(93).without(97), ask4011.without(97)} {
		r := b.answer(p)
		r.header(t, 0, client, us, us.String(), "")
		r.has(t, map[byte][]byte{43: []byte(piText), 53: {5}, 60: []byte("PXEClient"), 66: []byte("192.0.2.2"), 67: nil})
	}
	b.wait(time.Second)
	b.silence(ask4011.without(93), boot.ReasonClass)
	// A class of another kind is no missing one, and on 67 it must be there.
	b.silence(ask4011.with(60, []byte("MSFT 5.0")...), boot.ReasonClass)
	b.silence(p4().without(60), boot.ReasonClass)
})

var _ = conform("067", "DISCOVER on 4011: silence", func(t *testing.T) {
	for _, kind := range []byte{1, 2, 4, 5, 6, 7, 10, 99} {
		silence(t, site(), b7().with(53, kind), boot.ReasonType)
	}
})

var _ = conform("068", "an HTTP Boot client on 4011: silence", func(t *testing.T) {
	silence(t, site(), b7().with(60, []byte("HTTPClient:Arch:00016:UNDI:003000")...).with(93, 0, 16), boot.ReasonHTTP4011)
})

var _ = conform("069", "4011 without a source address: to ciaddr:68 when on the link, else broadcast", func(t *testing.T) {
	p := b7().from("0.0.0.0:4011")
	r, res := answer(t, site(), p)
	r.isAck(t, p, us, "x86_64/snponly.efi")
	goes(t, res, "192.0.2.50:68", us, 2)
	for _, far := range []string{"10.9.9.9", "0.0.0.0", "192.0.2.255"} {
		p.ciaddr = netip.MustParseAddr(far)
		_, res = answer(t, site(), p)
		goes(t, res, broadcast, us, 2)
	}
})

var _ = conform("070", "ciaddr differs from the source: answered to the source", func(t *testing.T) {
	p := b7()
	p.ciaddr = netip.MustParseAddr("192.0.2.99")
	r, res := answer(t, site(), p)
	r.isAck(t, p, us, "x86_64/snponly.efi")
	goes(t, res, "192.0.2.50:4011", us, 2)
})

var _ = conform("071", "a second step right after a restart, without memory of the offer: as 53", func(t *testing.T) {
	b := newBox(t)
	r := b.answer(b7())
	r.isAck(t, b7(), us, "x86_64/snponly.efi")
	r.has(t, map[byte][]byte{43: nil})
})
