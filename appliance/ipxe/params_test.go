package ipxe_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/bootpuck/bootpuck/appliance/boot"
	"github.com/bootpuck/bootpuck/appliance/ipxe"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func guid(t testing.TB, s string) boot.GUID {
	t.Helper()
	g, err := boot.ParseGUID(s)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestParseParams(t *testing.T) {
	t.Parallel()
	k := strings.Repeat("a", 1024)
	for _, c := range []struct {
		query string
		want  ipxe.Params
		err   string // name of the parameter that is refused
	}{
		{query: ""},
		{query: "mac="},
		{query: "mac=52-54-00-12-34-56", want: ipxe.Params{MAC: "52:54:00:12:34:56"}},
		{query: "mac=52%3A54%3A00%3A12%3A34%3A56&mac=junk", want: ipxe.Params{MAC: "52:54:00:12:34:56"}},
		{query: "mac=52:54:00:12:34:56%0aexit", err: "mac"},
		{query: "mac=${net0/mac}", err: "mac"},
		{query: "mac=%24%7Bmac%7D", err: "mac"},
		{query: "mac=" + k, err: "mac"},
		{query: "mac=%zz", err: "mac"},
		{query: "mac=52:54:00", err: "mac"},
		{query: "uuid=01234567-89AB-cdef-0123-456789abcdef", want: ipxe.Params{GUID: guid(t, "0123456789abcdef0123456789abcdef")}},
		{query: "uuid="},
		{query: "uuid=1", err: "uuid"},
		{query: "uuid=" + k, err: "uuid"},
		{query: "uuid=01234567-89ab-cdef-0123-456789abcde%0a", err: "uuid"},
		{query: strings.Repeat("x", 4097), err: "query"},
		{query: strings.Repeat("x&", 65), err: "query"},
		{query: strings.Repeat("x&", 64)},
		{query: "ip=192.0.2.5&gateway=x&dns=%31.1.1.1&netmask=2001:db8::", want: ipxe.Params{IP: addr("192.0.2.5"), DNS: addr("1.1.1.1")}},
		{query: "ip=::ffff:192.0.2.5", want: ipxe.Params{IP: addr("192.0.2.5")}},
		{query: "nextserver=192.0.2.9&userclass=x", want: ipxe.Params{NextServer: addr("192.0.2.9"), UserClass: "x"}},
		{query: "serial=a%00b%0ac%1b%7f%e2%80%a8", want: ipxe.Params{Serial: "a?b?c???"}},
		{query: "serial=%ff%fe", want: ipxe.Params{Serial: "??"}},
		{query: "serial=%zz&asset=%20x%20", want: ipxe.Params{Asset: "x"}},
		{query: "serial=" + k, want: ipxe.Params{Serial: k[:128]}},
		{query: "serial=" + k[:127] + "%c3%a4", want: ipxe.Params{Serial: k[:127]}},
		{query: "serial=" + strings.Repeat("%41", 127) + "xx%4", want: ipxe.Params{Serial: strings.Repeat("A", 127) + "x"}},
		{query: "platform=efi&buildarch=a%20b", want: ipxe.Params{Platform: "efi"}},
		{query: "memory=4096&dimms=0008", want: ipxe.Params{Memory: 4096}},
		{query: "memory=-1"},
		{query: "memory=1e9"},
		{query: "memory=99999999999999999999"},
		{query: "dimms=0002.0002.......", want: ipxe.Params{Memory: 1024}},
		{query: "dimms=ff7f.ff7f", want: ipxe.Params{Memory: 65536}},
		{query: "dimms=ffff.0080.0084", want: ipxe.Params{Memory: 1}},
		{query: "dimms=zzzz.00.", want: ipxe.Params{}},
		{query: "spans=00000000ffff0700...", want: ipxe.Params{Memory: 512}},
		{query: "spans=00000000ffffffff.0000000000000000"},
		{query: "dimms=ff7f&spans=00000000ffffff07.", want: ipxe.Params{Memory: 131072}},
		{query: "secureboot=00", want: ipxe.Params{SecureBoot: ipxe.SecureBootOff}},
		{query: "secureboot=01", want: ipxe.Params{SecureBoot: ipxe.SecureBootOn}},
		{query: "secureboot=yes"},
		{query: "=&&&x&mac", want: ipxe.Params{}},
	} {
		got, err := ipxe.ParseParams(c.query)
		if c.err != "" {
			if !errors.Is(err, ipxe.ErrParameter) || !strings.Contains(err.Error(), "parameter "+c.err+":") {
				t.Errorf("%.60q: error %v, want one about %s", c.query, err, c.err)
			}
			continue
		}
		if err != nil || got != c.want {
			t.Errorf("%.60q:\ngot  %+v, %v\nwant %+v", c.query, got, err, c.want)
		}
	}
}

// FuzzParseParams: no input gets a control character or more than its share
// through, and none of it into a script.
func FuzzParseParams(f *testing.F) {
	f.Add("mac=52:54:00:12:34:56&uuid=&product=Standard%20PC%20(Q35%20+%20ICH9,%202009)&dimms=0002.&spans=00000000ffff0700")
	f.Add("mac=%0aexit")
	f.Add("serial=${mac}%0a&serial=&%")
	f.Add("asset=" + strings.Repeat("%c3", 200))
	f.Add("buildarch=" + strings.Repeat("x", 100))
	r := renderer(f, ipxe.Config{})
	clean := map[string]string{}
	for _, name := range []string{"b", "s", "autoexec.ipxe", "grub/grub.cfg"} {
		clean[name] = text(f, r, name, base)
	}
	f.Fuzz(func(t *testing.T, query string) {
		p, err := ipxe.ParseParams(query)
		if err != nil {
			if p != (ipxe.Params{}) || !errors.Is(err, ipxe.ErrParameter) || strings.ContainsAny(err.Error(), "\n$") {
				t.Fatalf("%+v, %v", p, err)
			}
			return
		}
		for _, s := range []string{
			p.Asset, p.Domain, p.Filename, p.Hostname, p.UserClass, p.Manufacturer, p.Product, p.Serial,
			p.Platform, p.BuildArch, p.Version, p.Netmask, string(p.MAC),
		} {
			if len(s) > 256 || !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
				t.Fatalf("%q of %q", s, query)
			}
		}
		for _, s := range []string{p.Platform, p.BuildArch, string(p.MAC), p.Netmask} {
			if strings.ContainsAny(s, " ${}\\;'\"&|#/") {
				t.Fatalf("%q of %q", s, query)
			}
		}
		for name, want := range clean {
			if b, ok := r.Text(nil, name, ipxe.Request{Base: base, Params: p}); !ok || string(b) != want {
				t.Fatalf("%s depends on %q", name, query)
			}
		}
	})
}

// FuzzText: whatever the name and the address, a text that is rendered is a
// valid script, or a GRUB configuration, of our own lines.
func FuzzText(f *testing.F) {
	f.Add("b", base)
	f.Add("x86_64/autoexec.ipxe", "http://[2001:db8::2]:8081")
	f.Add("grub/grub.cfg-01-52-54-00-12-34-56", "https://box/a")
	f.Add("s", "http://a\nexit")
	f.Add("s", "http://${mac}")
	r := renderer(f, ipxe.Config{})
	f.Fuzz(func(t *testing.T, name, base string) {
		b, ok := r.Text(nil, name, ipxe.Request{Base: base})
		if !ok {
			if len(b) != 0 {
				t.Fatalf("text for nothing: %q", b)
			}
			return
		}
		if strings.HasPrefix(name, "grub/") {
			if strings.Count(string(b), "'")%2 != 0 || !strings.HasPrefix(string(b), "# bootpuck: menu for GRUB\n") {
				t.Fatalf("%q", b)
			}
			return
		}
		if bad := checkScript(string(b)); len(bad) > 0 {
			t.Fatalf("%q for %q: %v\n%s", name, base, bad, b)
		}
	})
}
