package proxydhcp

import (
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

var _ = conform("072", "DISCOVER without option 60: silence", func(t *testing.T) {
	silence(t, site(), d0().without(60), boot.ReasonClass)
})

var _ = conform("073", "DISCOVER of any other class: silence; the prefix is case-sensitive", func(t *testing.T) {
	for _, class := range []string{"MSFT 5.0", "udhcp 1.36", "U-Boot.armv8", "AAPLBSDPC/i386", "pxeclient", "PXEClien", "HTTPClien", "httpclient:Arch:00016", " PXEClient", ""} {
		silence(t, site(), d0().with(60, []byte(class)...), boot.ReasonClass)
	}
})

var server = []byte{192, 0, 2, 1}

// selecting is a client's REQUEST to the DHCP server whose offer it takes.
func selecting(p packet) packet {
	return p.with(53, 3).with(54, server...).with(50, client.AsSlice()...)
}

var _ = conform("074", "REQUEST to the DHCP server: silence; what it tells is noted", func(t *testing.T) {
	res := silence(t, site(), selecting(d0()), boot.ReasonType)
	if res.Lease != client || res.Server != netip.AddrFrom4([4]byte(server)) || res.Client.MAC != d0().mac() || len(res.Warnings) > 0 {
		t.Errorf("lease %s, server %s, MAC %s, warnings %v", res.Lease, res.Server, res.Client.MAC, res.Warnings)
	}
	// The address and the machine are now known to belong together.
	b := newBox(t)
	b.answer(d0())
	b.silence(selecting(d0()), boot.ReasonType)
	if c, ok := b.memory.WhoIs(client); !ok || c.MAC != d0().mac() {
		t.Errorf("who is %s: %+v, %v", client, c, ok)
	}
	if n := b.count(boot.KindLease); n != 1 {
		t.Errorf("%d lease events, want 1", n)
	}
})

var _ = conform("075", "REQUEST that takes us for the DHCP server: silence and a warning", func(t *testing.T) {
	res := silence(t, site(), selecting(d0()).with(54, us.AsSlice()...), boot.ReasonType)
	if !slices.Equal(res.Warnings, []boot.Reason{boot.ReasonNoLease}) {
		t.Errorf("warnings %v", res.Warnings)
	}
	b := newBox(t)
	b.silence(selecting(d0()).with(54, usOther.AsSlice()...), boot.ReasonType)
	if n := b.warnings(boot.ReasonNoLease); n != 1 {
		t.Errorf("%d warnings, want 1", n)
	}
})

var _ = conform("076", "REQUEST after a reboot (INIT-REBOOT) or to renew: silence, the address is noted", func(t *testing.T) {
	res := silence(t, site(), selecting(d0()).without(54), boot.ReasonType)
	if res.Lease != client || res.Server.IsValid() {
		t.Errorf("lease %s, server %s", res.Lease, res.Server)
	}
	p := d0().with(53, 3)
	p.ciaddr = client
	if res := silence(t, site(), p, boot.ReasonType); res.Lease != client {
		t.Errorf("lease %s", res.Lease)
	}
})

var _ = conform("077", "INFORM without 43.71, DECLINE, RELEASE and what is not for us at all: silence", func(t *testing.T) {
	for _, kind := range []byte{8, 4, 7, 2, 5, 6, 10, 13, 200} {
		p := d0().with(53, kind)
		p.ciaddr = client
		if res := silence(t, site(), p, boot.ReasonType); res.Lease.IsValid() {
			t.Errorf("type %d tells of a lease", kind)
		}
	}
})

var _ = conform("078", "a reply: silence", func(t *testing.T) {
	for _, op := range []byte{2, 0, 3} {
		p := d0()
		p.op = op
		silence(t, site(), p, boot.ReasonNotRequest)
	}
})

var _ = conform("079", "no option 53 (BOOTP), or not of one octet: silence", func(t *testing.T) {
	silence(t, site(), d0().without(53), boot.ReasonNoType)
	silence(t, site(), d0().with(53, 1, 1), boot.ReasonNoType)
	silence(t, site(), d0().with(53), boot.ReasonNoType)
	p := d0()
	p.opts = nil
	silence(t, site(), p, boot.ReasonNoType)
})

var _ = conform("080", "option 97 malformed: silence; with lenient-guid as 29", func(t *testing.T) {
	lenient := site()
	lenient.LenientGUID = true
	for _, v := range [][]byte{guid[:16], append(slices.Clone(guid), 0), {0}, append([]byte{1}, guid[1:]...), {}} {
		p := d0().with(97, v...)
		silence(t, site(), p, boot.ReasonGUID)
		r, res := answer(t, lenient, p)
		r.isDirect(t, us, "undionly.kpxe")
		r.has(t, map[byte][]byte{97: nil})
		goes(t, res, broadcast, us, 2)
	}
})

var _ = conform("081", "hardware address missing, too long, zero or a group's: silence", func(t *testing.T) {
	for name, change := range map[string]func(*packet){
		"hlen 0":    func(p *packet) { p.hlen = 0 },
		"hlen 17":   func(p *packet) { p.hlen = 17 },
		"hlen 255":  func(p *packet) { p.hlen = 255 },
		"zero":      func(p *packet) { p.chaddr = [16]byte{} },
		"multicast": func(p *packet) { p.chaddr[0] |= 1 },
		"broadcast": func(p *packet) { p.chaddr = [16]byte{255, 255, 255, 255, 255, 255} },
	} {
		t.Run(name, func(t *testing.T) {
			p := d0()
			change(&p)
			silence(t, site(), p, boot.ReasonHW)
		})
	}
	p := d0()
	p.hlen, p.htype = 16, 27
	answer(t, site(), p)
})

var _ = conform("082", "chaddr or source is our own: silence", func(t *testing.T) {
	p := d0()
	p.chaddr = [16]byte{0x52, 0x54, 0, 0, 0, 3}
	silence(t, site(), p, boot.ReasonSelf)
	silence(t, site(), d0().from("198.51.100.2:68"), boot.ReasonSelf)
})

var _ = conform("083", "architecture 12 and no rule: silence; a rule makes it known", func(t *testing.T) {
	p := d0().with(93, 0, 12)
	silence(t, site(), p, boot.ReasonArch)
	silence(t, site(), d0().without(93).with(60, []byte("PXEClient")...), boot.ReasonArch)
	r, _ := answer(t, rules(boot.Rule{MAC: p.mac(), File: "yaboot"}), p)
	r.isDirect(t, us, "yaboot")
	// The box has no such boot program.
	env := site()
	env.Policy.Has = func(file string) bool { return file != "arm32/snponly.efi" }
	silence(t, env, uefi(10), boot.ReasonNoLoader)
})

var _ = conform("084", "a denied machine, and one that is snoozed: silence", func(t *testing.T) {
	mac := d0().mac()
	silence(t, rules(boot.Rule{MAC: mac, Deny: true}), d0(), boot.ReasonPolicy)
	silence(t, rules(boot.Rule{MAC: mac, Snooze: testTime.Add(time.Second)}), d0(), boot.ReasonPolicy)
	r, _ := answer(t, rules(boot.Rule{MAC: mac, Snooze: testTime}), d0())
	r.isDirect(t, us, "undionly.kpxe")
	r, _ = answer(t, rules(boot.Rule{MAC: "52:54:00:99:99:99", Deny: true}), d0())
	r.isDirect(t, us, "undionly.kpxe")
})

var _ = conform("085", "not DHCP at all, and a megabyte of noise: silence, no panic, no allocation above 64 KiB", func(t *testing.T) {
	env := site()
	env.Port, env.IfIndex, env.Source, env.Destination = 67, 2, netip.MustParseAddrPort("0.0.0.0:68"), limitedBroadcast
	good := d0().bytes()
	cookie := slices.Clone(good)
	cookie[238]++
	past := slices.Concat(good[:len(good)-1], []byte{60, 200, 'x', 255})
	noise := make([]byte, 1<<20)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range noise {
		noise[i] = byte(rng.Uint32())
	}
	allocated := func(raw []byte) uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		res := Reply(raw, env)
		runtime.ReadMemStats(&after)
		if res.Reason != boot.ReasonParse || res.Packet != nil {
			t.Errorf("%d octets: reason %q", len(raw), res.Reason)
		}
		return after.TotalAlloc - before.TotalAlloc
	}
	// A whole megabyte that pretends to be DHCP: the codec would join its options.
	pretend := slices.Concat(good[:240], slices.Repeat(slices.Concat([]byte{43, 255}, make([]byte, 255)), 4000), []byte{255})
	for name, raw := range map[string][]byte{
		"empty": nil, "239": good[:239], "43": good[:43], "cookie": cookie, "past the end": past, "noise": noise, "pretended": pretend,
	} {
		if n := allocated(raw); n > 64<<10 {
			t.Errorf("%s: %d octets allocated", name, n)
		}
	}
	for rest := noise; len(rest) > 0; {
		n := min(len(rest), 1+rng.IntN(1500))
		raw := slices.Clone(rest[:n])
		rest = rest[n:]
		if len(raw) > 240 {
			copy(raw[236:], []byte{0x63, 0x82, 0x53, 0x63})
		}
		for _, port := range []int{PortDHCP, PortBoot} {
			env.Port = port
			if res := Reply(raw, env); res.Reason == boot.ReasonNone {
				t.Errorf("noise was answered: % x", raw)
			}
		}
	}
})

var _ = conform("086", "100 DISCOVERs of one MAC in a second: the first 10 are answered, the rest not; another MAC is", func(t *testing.T) {
	b := newBox(t)
	other := d0()
	other.chaddr[5]++
	for i := range 100 {
		p := i0()
		p.xid = uint32(i)
		if i < 10 {
			b.answer(p)
		} else {
			b.silence(p, boot.ReasonRate)
		}
		if i == 50 {
			b.answer(other)
		}
		b.wait(10 * time.Millisecond)
	}
	if n := b.counter.silences[boot.ReasonRate]; n != 90 {
		t.Errorf("%d counted, want 90", n)
	}
	b.wait(9 * time.Second)
	b.answer(i0())
})

var _ = conform("087", "a packet on an interface that is not served, or unknown: silence", func(t *testing.T) {
	for _, index := range []int{4, 1, 0, 99} {
		p := d0()
		p.ifIndex = index
		silence(t, site(), p, boot.ReasonInterface)
	}
})

var _ = conform("088", "observe mode: nothing is sent, the decision is visible with the same fields", func(t *testing.T) {
	sent := newBox(t)
	sent.answer(d0())
	seen := newBox(t)
	seen.settings.Observe = true
	seen.silence(d0(), boot.ReasonObserve)
	a, b := sent.events[0], seen.events[0]
	if a.Kind != boot.KindOffer || b.Kind != boot.KindSilence || b.Reason != boot.ReasonObserve {
		t.Fatalf("%+v and %+v", a, b)
	}
	b.Kind, b.Reason = a.Kind, a.Reason
	if a != b || a.File != "undionly.kpxe" || a.Form != boot.FormDirect || a.Interface != "eth0" || a.MAC != d0().mac() || a.GUID.IsZero() {
		t.Errorf("sent:     %+v\nobserved: %+v", a, b)
	}
	// Nothing was offered, so nothing is remembered of it.
	if h := seen.memory.History(d0().mac(), testTime); h.Form != boot.FormNone {
		t.Errorf("remembered %+v", h)
	}
	env := site()
	env.Observe = true
	if res := ask(t, env, d0()); res.Reason != boot.ReasonObserve || len(res.Packet) == 0 {
		t.Errorf("%q and %d octets", res.Reason, len(res.Packet))
	}
})
