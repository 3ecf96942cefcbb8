package proxydhcp

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
	"github.com/bootpuck/bootpuck/appliance/settings"
)

// rules returns the site with these rules.
func rules(r ...boot.Rule) Env {
	env := site()
	env.Policy.Rules = r
	return env
}

// bothStyles demands a direct first offer and a two-step offer on the retry
// with the same xid.
func bothStyles(t *testing.T, p packet, file string) {
	t.Helper()
	r, res := answer(t, site(), p)
	r.isDirect(t, us, file)
	goes(t, res, broadcast, us, 2)
	env := site()
	env.History = func(mac boot.MAC) boot.History {
		if mac != p.mac() {
			t.Errorf("history of %s asked, want %s", mac, p.mac())
		}
		return boot.History{XID: p.xid, Form: boot.FormDirect, Age: 4 * time.Second, Last: boot.Client{Class: boot.ClassPXE}}
	}
	r, res = answer(t, env, p)
	r.isTwoStep(t, us, file)
	goes(t, res, broadcast, us, 2)
}

// loads says whether a settings document is accepted.
func loads(t *testing.T, document string) error {
	t.Helper()
	doc := settings.Defaults()
	if err := settings.Parse([]byte(document), &doc); err != nil {
		t.Fatal(err)
	}
	_, err := doc.Check()
	return err
}

const script = "http://192.0.2.2/b"

var asCase1 = func(t *testing.T, p packet) {
	t.Helper()
	r, res := answer(t, site(), p)
	r.isDirect(t, us, "undionly.kpxe")
	r.has(t, map[byte][]byte{97: p.value(97)})
	goes(t, res, broadcast, us, 2)
}

var asScript = func(t *testing.T, p packet) {
	t.Helper()
	r, res := answer(t, site(), p)
	r.isScript(t, us, script)
	goes(t, res, broadcast, us, 2)
}

var _ = conform("001", "BIOS DISCOVER: a direct OFFER by broadcast through the interface it came in on, all fields", func(t *testing.T) {
	asCase1(t, d0())
})

var _ = conform("002", "UEFI x64 DISCOVER. Overrides the reference (no option 43 at once): the first offer is direct, the retry with the same xid two-step, without option 43", func(t *testing.T) {
	bothStyles(t, d7(), "x86_64/snponly.efi")
})

var _ = conform("003", "UEFI x64 with the rule style=direct: direct, also on a retry", func(t *testing.T) {
	for _, form := range []boot.Form{boot.FormNone, boot.FormDirect, boot.FormTwoStep} {
		env := rules(boot.Rule{Form: boot.FormDirect})
		env.History = func(boot.MAC) boot.History { return boot.History{XID: d7().xid, Form: form, Age: time.Second} }
		r, _ := answer(t, env, d7())
		r.isDirect(t, us, "x86_64/snponly.efi")
	}
})

var _ = conform("004", "UEFI ia32. Overrides the reference like case 2: direct first, two-step on the retry", func(t *testing.T) {
	bothStyles(t, uefi(6), "i386/snponly.efi")
})

var _ = conform("005", "UEFI arm64. Overrides the reference like case 2: direct first, two-step on the retry", func(t *testing.T) {
	bothStyles(t, uefi(11), "arm64/snponly.efi")
})

var _ = conform("006", "architecture 9 (EBC) gets the x64 file. Overrides the reference like case 2: direct first, two-step on the retry", func(t *testing.T) {
	bothStyles(t, d7().with(93, 0, 9), "x86_64/snponly.efi")
})

var _ = conform("007", "architectures 27 and 39 get the riscv64 and loong64 files. Overrides the reference like case 2: direct first, two-step on the retry", func(t *testing.T) {
	bothStyles(t, d7().with(93, 0, 27), "riscv64/snponly.efi")
	bothStyles(t, d7().with(93, 0, 39), "loong64/snponly.efi")
})

func httpBoot(t *testing.T, p packet, cpu string) {
	t.Helper()
	r, res := answer(t, site(), p)
	r.isHTTP(t, us, "http://192.0.2.2/"+cpu+"/snponly.efi")
	goes(t, res, broadcast, us, 2)
	if len(res.Warnings) > 0 {
		t.Errorf("warnings %v", res.Warnings)
	}
}

var _ = conform("008", "HTTP Boot x64: HTTPClient, URL in 67 and file without NUL, no option 43", func(t *testing.T) {
	httpBoot(t, dh(16), "x86_64")
})

var (
	_ = conform("009", "HTTP Boot arm64", func(t *testing.T) { httpBoot(t, dh(19), "arm64") })
	_ = conform("010", "HTTP Boot ia32", func(t *testing.T) { httpBoot(t, dh(15), "i386") })
	_ = conform("011", "HTTP Boot EBC gets the x64 URL", func(t *testing.T) { httpBoot(t, dh(17), "x86_64") })
)

var _ = conform("012", "HTTP Boot with a host name in the base URL: offered, with a warning", func(t *testing.T) {
	env := site()
	env.Policy.BaseURL = "http://boot.example"
	r, res := answer(t, env, dh(16))
	r.isHTTP(t, us, "http://boot.example/x86_64/snponly.efi")
	if !slices.Equal(res.Warnings, []boot.Reason{"http-name-needs-dns"}) {
		t.Errorf("warnings %v", res.Warnings)
	}
	env.Policy.BaseURL = "http://192.0.2.9:8080"
	if _, res := answer(t, env, dh(16)); len(res.Warnings) > 0 {
		t.Errorf("warnings %v for a literal", res.Warnings)
	}
})

var _ = conform("013", "a rule for HTTP Boot whose path does not end in .efi, .iso or .img is refused at load", func(t *testing.T) {
	for file, good := range map[string]bool{
		"http://192.0.2.9/boot": false, "http://192.0.2.9/boot.efi.bin": false, "http://192.0.2.9/b?x=.efi": false, "x/undionly.kpxe": false,
		"http://192.0.2.9/boot.efi": true, "x/boot.iso": true, "x/boot.img": true, "http://192.0.2.9/b.efi?x=1": true,
	} {
		err := loads(t, `{"rules": [{"arch": ["uefi-x64-http"], "file": "`+file+`"}]}`)
		if (err == nil) != good {
			t.Errorf("%s: %v", file, err)
		}
	}
	for rule, good := range map[string]bool{
		`{"arch": ["uefi-x64-http"], "deny": true}`:                    true, // no file at all
		`{"arch": ["uefi-x64"], "file": "http://192.0.2.9/boot"}`:      true, // not HTTP Boot
		`{"arch": ["bios-http"], "file": "x/undionly.kpxe"}`:           true, // not UEFI
		`{"arch": ["bios", "uefi-x64-http"], "file": "undionly.kpxe"}`: false,
		`{"arch": ["uefi-x64-http"], "file": "x/%zz.efi"}`:             true,
		`{"arch": ["60000"], "file": "x"}`:                             true, // outside the registry
		`{"file": "a b"}`:                                              false,
		`{"file": "a!"}`:                                               true,
		`{"file": "a~"}`:                                               true,
		`{"file": "a\u007f"}`:                                          false,
		`{"file": "\u00e9"}`:                                           false,
		`{"file": "a\n"}`:                                              false,
	} {
		if err := loads(t, `{"rules": [`+rule+`]}`); (err == nil) != good {
			t.Errorf("%s: %v", rule, err)
		}
	}
})

var _ = conform("014", "iPXE with HTTP: the script URL in file and 67, siaddr, 175 = 01 01 01, 43 = 06 01 08 FF", func(t *testing.T) {
	asScript(t, i0())
})

var _ = conform("015", "iPXE with the priority switched off, everywhere or by rule: no 175", func(t *testing.T) {
	env := site()
	env.Policy.NoPriority = true
	for _, env := range []Env{env, rules(boot.Rule{NoPriority: true})} {
		r, _ := answer(t, env, i0())
		r.has(t, map[byte][]byte{175: nil, 67: []byte(script), 43: direct})
	}
})

var _ = conform("016", "iPXE for EFI (no bzImage): as 14", func(t *testing.T) { asScript(t, i7()) })

var _ = conform("017", "iPXE without the HTTP feature: our iPXE by a TFTP URL", func(t *testing.T) {
	r, _ := answer(t, site(), i0().with(175, 0x10, 1, 2, 0x15, 1, 1, 0xeb, 3, 1, 0, 0))
	r.isScript(t, us, "tftp://192.0.2.2/undionly.kpxe")
})

var _ = conform("018", "user class in RFC 3004 form: as 14", func(t *testing.T) {
	asScript(t, i0().with(77, []byte("\x04iPXE")...))
	// The class alone decides, not only together with option 175.
	r, _ := answer(t, site(), i0().with(77, []byte("\x04iPXE")...).without(175))
	r.isScript(t, us, "tftp://192.0.2.2/undionly.kpxe")
})

var _ = conform("019", "175 with a version, no user class: as 14", func(t *testing.T) {
	asScript(t, i0().without(77))
	r, _ := answer(t, site(), i0().without(77).with(175, 0xeb, 3, 1, 0, 0))
	r.isScript(t, us, "tftp://192.0.2.2/undionly.kpxe")
})

var _ = conform("020", "gPXE without HTTP: the first stage by a TFTP URL", func(t *testing.T) {
	r, _ := answer(t, site(), d0().with(77, []byte("gPXE")...))
	r.isScript(t, us, "tftp://192.0.2.2/undionly.kpxe")
})

var _ = conform("021", "iPXE with our own user class: the script URL even where a first stage is configured", func(t *testing.T) {
	for _, class := range []string{"bootpuck", "\x08bootpuck", "\x04iPXE\x08bootpuck"} {
		p := i0().with(77, []byte(class)...).without(175)
		for _, env := range []Env{site(), rules(boot.Rule{File: "undionly.kpxe"}), rules(boot.Rule{File: "x86_64/ipxe.efi"})} {
			r, _ := answer(t, env, p)
			r.isScript(t, us, script)
		}
	}
})

var _ = conform("022", "four first stages to one MAC within 60 s: the fourth is still sent, the loop is raised once", func(t *testing.T) {
	b := newBox(t)
	for i := range 5 {
		p := d0()
		p.xid += uint32(i)
		r := b.answer(p)
		r.isDirect(t, us, "undionly.kpxe")
		want := 0
		if i >= 3 {
			want = 1
		}
		if got := b.warnings(boot.ReasonLoop); got != want {
			t.Errorf("after %d first stages: %d loops raised, want %d", i+1, got, want)
		}
		b.wait(5 * time.Second)
	}
	// Scripts are no first stage.
	b = newBox(t)
	for range 6 {
		b.answer(i0())
		b.wait(2 * time.Second)
	}
	if got := b.warnings(boot.ReasonLoop); got != 0 {
		t.Errorf("%d loops raised by scripts", got)
	}
})

var _ = conform("023", "Raspberry Pi 3: menu with three trailing spaces, 66 without NUL, no file, no 67", func(t *testing.T) {
	r, res := answer(t, site(), p3())
	r.isPi(t, us, pi3Text)
	goes(t, res, broadcast, us, 2)
})

var _ = conform("024", "Raspberry Pi 4: menu with the plain text", func(t *testing.T) {
	r, _ := answer(t, site(), p4())
	r.isPi(t, us, piText)
	r.has(t, map[byte][]byte{97: p4().value(97)})
})

var _ = conform("025", "a Pi with an unknown OUI is known by option 97", func(t *testing.T) {
	p := p4()
	p.chaddr = [16]byte{0x02, 0, 0, 1, 2, 3}
	r, _ := answer(t, site(), p)
	r.isPi(t, us, piText)
	// And one without an identifier by its OUI.
	r, _ = answer(t, site(), p4().without(97))
	r.isPi(t, us, piText)
})

var _ = conform("026", "a Pi's OUI with a PC's identifier is a BIOS; a MAC rule overrides", func(t *testing.T) {
	p := d0()
	p.chaddr = pi4MAC
	asCase1(t, p)
	pi := boot.ArchRPIBoot
	r, _ := answer(t, rules(boot.Rule{MAC: p.mac(), As: &pi}), p)
	r.isPi(t, us, piText)
	r, _ = answer(t, rules(boot.Rule{MAC: p4().mac(), File: "u-boot.bin"}), p4())
	r.isDirect(t, us, "u-boot.bin")
})

var (
	_ = conform("027", "no option 55: as 1", func(t *testing.T) { asCase1(t, d0().without(55)) })
	_ = conform("028", "no option 94, or of odd length: as 1", func(t *testing.T) {
		asCase1(t, d0().without(94))
		asCase1(t, d0().with(94, 1, 2))
	})
)

var (
	_ = conform("029", "no option 97: as 1, without 97", func(t *testing.T) { asCase1(t, d0().without(97)) })
	_ = conform("030", "no option 93, architecture in the class: as 1", func(t *testing.T) { asCase1(t, d0().without(93)) })
)

var _ = conform("031", "option 93 of three octets: the class decides", func(t *testing.T) {
	r, _ := answer(t, site(), d7().with(93, 0, 6, 0))
	r.isDirect(t, us, "x86_64/snponly.efi")
})

var _ = conform("032", "several architectures: the first that can be served", func(t *testing.T) {
	r, _ := answer(t, site(), d7().with(93, 0, 6, 0, 7))
	r.isDirect(t, us, "i386/snponly.efi")
	r, _ = answer(t, site(), d7().with(93, 0, 12, 0, 11, 0, 7))
	r.isDirect(t, us, "arm64/snponly.efi")
})

var _ = conform("033", "option 93 and class disagree: 93 wins, one log line", func(t *testing.T) {
	p := d7().with(60, biosClass...)
	r, res := answer(t, site(), p)
	r.isDirect(t, us, "x86_64/snponly.efi")
	if !slices.Equal(res.Warnings, []boot.Reason{boot.ReasonArchConflict}) {
		t.Errorf("warnings %v", res.Warnings)
	}
	b := newBox(t)
	for range 3 {
		b.answer(p)
		b.wait(5 * time.Second)
	}
	if n := b.warnings(boot.ReasonArchConflict); n != 1 {
		t.Errorf("%d log lines, want 1", n)
	}
})

var _ = conform("034", "flags 0 and 0x8000: identical replies", func(t *testing.T) {
	p := d0()
	p.flags = 0x8000
	a, _ := answer(t, site(), d0())
	b, _ := answer(t, site(), p)
	if !slices.Equal(a.raw, b.raw) {
		t.Error("the replies differ")
	}
	asCase1(t, p)
})

var _ = conform("035", "secs 65535: as 1", func(t *testing.T) {
	p := d0()
	p.secs = 65535
	asCase1(t, p)
})

var _ = conform("036", "no End, zero padded or not: as 1", func(t *testing.T) {
	p := d0()
	p.tail = make([]byte, 60)
	asCase1(t, p)
	p.tail = []byte{}
	asCase1(t, p)
})

var _ = conform("037", "garbage after End: as 1", func(t *testing.T) {
	p := d0()
	p.tail = []byte{255, 53, 9, 1, 2, 3, 60, 200}
	asCase1(t, p)
})

var _ = conform("038", "padding between options: as 1", func(t *testing.T) {
	p := d0()
	p.pad = 3
	asCase1(t, p)
})

var _ = conform("039", "option 57 = 0, 300, 65280: as 1. A name of 250 octets fits 548 or is refused, never cut", func(t *testing.T) {
	for _, size := range [][]byte{{0, 0}, {300 >> 8, 300 & 255}, {0xff, 0}, {1}, {0, 1, 2}} {
		asCase1(t, d0().with(57, size...))
	}
	asCase1(t, d0().without(57))
	env := rules(boot.Rule{File: strings.Repeat("n", 250)})
	long := d0().with(57, 576>>8, 576&255)
	r, _ := answer(t, env, long) // answer demands 300 to 548 octets
	r.isDirect67(t, strings.Repeat("n", 250))
	// With a relay's option on top it is too much for this client, and not for
	// one that takes an Ethernet frame.
	relayed := long.via("203.0.113.1").with(82, make([]byte, 40)...)
	silence(t, env, relayed, boot.ReasonTooLong)
	silence(t, env, relayed.without(57), boot.ReasonTooLong)
	for _, size := range [][]byte{{0x05, 0xc0}, {0xff, 0}} {
		res := ask(t, env, relayed.with(57, size...))
		if res.Reason != boot.ReasonNone || len(res.Packet) <= 548 || len(res.Packet) > 1472 {
			t.Errorf("57 = % x: %q, %d octets", size, res.Reason, len(res.Packet))
		}
	}
	env = rules(boot.Rule{File: strings.Repeat("n", 250), Config: strings.Repeat("c", 255), Prefix: strings.Repeat("p", 255)})
	huge := relayed.with(57, 0xff, 0)
	for range 3 {
		huge.opts = append(huge.opts, option{82, make([]byte, 250)})
	}
	silence(t, env, huge, boot.ReasonTooLong) // more than 1472, and 82 more than 255
})

// isDirect67 is isDirect for a name that only option 67 can carry.
func (r parsed) isDirect67(t *testing.T, file string) {
	t.Helper()
	r.header(t, 0x8000, zero, us, us.String(), "")
	r.has(t, map[byte][]byte{53: {2}, 60: []byte("PXEClient"), 43: direct, 67: []byte(file + "\x00"), 66: nil})
}

var _ = conform("040", "a name of 127 octets in both places; of 128 only in 67; of 254 with its NUL fits; of 255 is refused at load", func(t *testing.T) {
	name := func(n int) string { return strings.Repeat("f", n) }
	r, _ := answer(t, rules(boot.Rule{File: name(127)}), d0())
	r.isDirect(t, us, name(127))
	for _, n := range []int{128, 254} {
		r, _ = answer(t, rules(boot.Rule{File: name(n)}), d0())
		r.isDirect67(t, name(n))
	}
	silence(t, rules(boot.Rule{File: name(255)}), d0(), boot.ReasonTooLong)
	// A URL needs no NUL.
	url := "http://192.0.2.9/" + name(255-17)
	r, _ = answer(t, rules(boot.Rule{File: url}), i0())
	r.has(t, map[byte][]byte{67: []byte(url)})
	r.header(t, 0x8000, zero, us, "", "")
	silence(t, rules(boot.Rule{File: url + "x"}), i0(), boot.ReasonTooLong)
	if err := loads(t, `{"rules": [{"file": "`+name(254)+`"}]}`); err != nil {
		t.Error(err)
	}
	if loads(t, `{"rules": [{"file": "`+name(255)+`"}]}`) == nil {
		t.Error("a name of 255 octets is accepted at load")
	}
})

var _ = conform("041", "the same DISCOVER twice: two identical OFFERs", func(t *testing.T) {
	for name, p := range map[string]packet{"BIOS": d0(), "iPXE": i0(), "HTTP": dh(16), "Pi": p3()} {
		b := newBox(t)
		first := b.answer(p)
		b.wait(2 * time.Second)
		if again := b.answer(p); !slices.Equal(first.raw, again.raw) {
			t.Errorf("%s: the second OFFER differs", name)
		}
	}
	// A UEFI client's retry gets the other style (case 2); but the same packet
	// that comes a second way, a moment later, is no retry.
	b := newBox(t)
	first := b.answer(d7())
	b.wait(20 * time.Millisecond)
	if again := b.answer(d7()); !slices.Equal(first.raw, again.raw) {
		t.Error("UEFI: a duplicate got another style")
	}
	b.wait(4 * time.Second)
	again := b.answer(d7())
	again.isTwoStep(t, us, "x86_64/snponly.efi")
})

var _ = conform("042", "on eth1: from eth1's address, which is siaddr and 54 too, through eth1", func(t *testing.T) {
	p := d0()
	p.ifIndex = 3
	r, res := answer(t, site(), p)
	r.isDirect(t, usOther, "undionly.kpxe")
	goes(t, res, broadcast, usOther, 3)
	p = i0()
	p.ifIndex = 3
	r, _ = answer(t, site(), p)
	r.isScript(t, usOther, "http://198.51.100.2/b")
})

var _ = conform("043", "an interface with two addresses: the configured one, else the first; 54 = siaddr = source", func(t *testing.T) {
	second := netip.MustParseAddr("192.0.2.77")
	env := site()
	env.Interfaces[1].Prefixes = prefixes("fe80::2/64", "169.254.1.1/16", "192.0.2.2/24", "192.0.2.77/24")
	r, res := answer(t, env, d0())
	r.isDirect(t, us, "undionly.kpxe")
	goes(t, res, broadcast, us, 2)
	env.Interfaces[1].Address = second
	r, res = answer(t, env, d0())
	r.isDirect(t, second, "undionly.kpxe")
	goes(t, res, broadcast, second, 2)
	// Configured but not there (any more): it cannot be sent from.
	env.Interfaces[1].Address = netip.MustParseAddr("192.0.2.99")
	_, res = answer(t, env, d0())
	goes(t, res, broadcast, us, 2)
	// Only link-local: the site has no DHCP server.
	env = site()
	env.Interfaces[1].Prefixes = prefixes("169.254.1.1/16")
	_, res = answer(t, env, d0())
	goes(t, res, broadcast, netip.MustParseAddr("169.254.1.1"), 2)
	// None at all, or only IPv6.
	env.Interfaces[1].Prefixes = nil
	silence(t, env, d0(), boot.ReasonNoAddress)
	p := d0()
	p.ifIndex = 5
	silence(t, site(), p, boot.ReasonNoAddress)
})

var _ = conform("044", "a rule for the MAC: its file, for this machine alone", func(t *testing.T) {
	env := rules(boot.Rule{MAC: "52:54:00:12:34:56", File: "special.0"})
	r, _ := answer(t, env, d0())
	r.isDirect(t, us, "special.0")
	other := d0()
	other.chaddr[5]++
	r, _ = answer(t, env, other)
	r.isDirect(t, us, "undionly.kpxe")
})

var _ = conform("045", "a rule for the UUID, in canonical and in swapped spelling", func(t *testing.T) {
	for _, spelling := range []string{"01234567-89ab-cdef-0123-456789abcdef", "67452301-ab89-efcd-0123-456789abcdef"} {
		g, err := boot.ParseGUID(spelling)
		if err != nil {
			t.Fatal(err)
		}
		env := rules(boot.Rule{GUID: g, File: "special.0"})
		r, _ := answer(t, env, d0())
		r.isDirect(t, us, "special.0")
		r, _ = answer(t, env, d0().without(97))
		r.isDirect(t, us, "undionly.kpxe")
	}
})

var _ = conform("046", "option 97 carries the first three fields of the UUID swapped", func(t *testing.T) {
	res := ask(t, site(), d0())
	if got := res.Client.GUID.String(); got != "01234567-89ab-cdef-0123-456789abcdef" {
		t.Errorf("UUID %s", got)
	}
})
