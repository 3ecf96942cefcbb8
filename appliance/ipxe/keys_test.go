package ipxe_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
	"github.com/bootpuck/bootpuck/appliance/ipxe"
)

// TestPXELinuxKey: every spelling of the search order, and nothing else.
func TestPXELinuxKey(t *testing.T) {
	t.Parallel()
	id := guid(t, "44454c4c-3900-104e-804e-b9c04f4d344a")
	prefix := func(s string) netip.Prefix { return netip.MustParsePrefix(s) }
	for _, c := range []struct {
		name, prefix string
		key          ipxe.ConfigKey
		ok           bool
	}{
		{"pxelinux.cfg/44454c4c-3900-104e-804e-b9c04f4d344a", "", ipxe.ConfigKey{GUID: id}, true},
		{"pxelinux.cfg/4C4C4544-0039-4E10-804E-B9C04F4D344A", "", ipxe.ConfigKey{GUID: id.Swapped()}, true},
		{"pxelinux.cfg/01-00-26-b9-5e-30-3a", "", ipxe.ConfigKey{MAC: "00:26:b9:5e:30:3a"}, true},
		{"PXELINUX.CFG/01-00-26-B9-5E-30-3A", "", ipxe.ConfigKey{MAC: "00:26:b9:5e:30:3a"}, true},
		{"pxelinux.cfg/C0A80744", "", ipxe.ConfigKey{Addr: prefix("192.168.7.68/32")}, true},
		{"pxelinux.cfg/c0a80744", "", ipxe.ConfigKey{Addr: prefix("192.168.7.68/32")}, true},
		{"pxelinux.cfg/C0A8074", "", ipxe.ConfigKey{Addr: prefix("192.168.7.64/28")}, true},
		{"pxelinux.cfg/C0A807", "", ipxe.ConfigKey{Addr: prefix("192.168.7.0/24")}, true},
		{"pxelinux.cfg/C0A", "", ipxe.ConfigKey{Addr: prefix("192.160.0.0/12")}, true},
		{"pxelinux.cfg/C", "", ipxe.ConfigKey{Addr: prefix("192.0.0.0/4")}, true},
		{"pxelinux.cfg/default", "", ipxe.ConfigKey{Default: true}, true},
		{"pxelinux/pxelinux.cfg/DEFAULT", "pxelinux", ipxe.ConfigKey{Default: true}, true},
		{"trees/debian/debian-installer/amd64/pxelinux.cfg/C0", "trees/debian/debian-installer/amd64", ipxe.ConfigKey{Addr: prefix("192.0.0.0/8")}, true},
		{name: "pxelinux.cfg/C0A807444"},
		{name: "pxelinux.cfg/G"},
		{name: "pxelinux.cfg/"},
		{name: "pxelinux.cfg"},
		{name: "default"},
		{name: "pxelinux.cfg/x/default"},
		{name: "pxelinux.cfg/default/"},
		{name: "pxelinux.cfg/default.txt"},
		{name: "xpxelinux.cfg/default"},
		{name: "/pxelinux.cfg/default"},
		{name: "../pxelinux.cfg/default"},
		{name: "a//pxelinux.cfg/default"},
		{name: `a\b/pxelinux.cfg/default`},
		{name: "pxelinux.cfg/06-00-26-b9-5e-30-3a"},
		{name: "pxelinux.cfg/01-00:26:b9:5e:30:3a"},
		{name: "pxelinux.cfg/01-00-26-b9-5e-30"},
		{name: "pxelinux.cfg/00000000-0000-0000-0000-000000000000"},
		{name: "pxelinux.cfg/44454c4c-3900-104e-804e-b9c04f4d344g"},
		{name: ""},
	} {
		gotPrefix, key, ok := ipxe.PXELinuxKey(c.name)
		if gotPrefix != c.prefix || key != c.key || ok != c.ok {
			t.Errorf("%q: %q %+v %v, want %q %+v %v", c.name, gotPrefix, key, ok, c.prefix, c.key, c.ok)
		}
	}
}

func TestGRUBKey(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]ipxe.ConfigKey{
		"grub/grub.cfg":                      {Default: true},
		"GRUB/grub.cfg":                      {Default: true},
		"grub/grub.cfg-01-52-54-00-12-34-56": {MAC: "52:54:00:12:34:56"},
		"grub/grub.cfg-C0A80744":             {Addr: netip.MustParsePrefix("192.168.7.68/32")},
		"grub/grub.cfg-C":                    {Addr: netip.MustParsePrefix("192.0.0.0/4")},
		"grub/grub.cfg-44454c4c-3900-104e-804e-b9c04f4d344a": {GUID: guid(t, "44454c4c-3900-104e-804e-b9c04f4d344a")},
		"grub/grub.cfg-": {}, "grub/grub.cfgx": {}, "grub/grub.cfg-default": {}, "grub.cfg": {}, "": {}, "grub/grub.cfg/x": {},
		"a/grub/grub.cfg": {},
	} {
		key, ok := ipxe.GRUBKey(name)
		if key != want || ok != (want != ipxe.ConfigKey{}) {
			t.Errorf("%q: %+v %v, want %+v", name, key, ok, want)
		}
	}
}

// TestSighting: what the request says reaches the record, in its words.
func TestSighting(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)
	p, err := ipxe.ParseParams("mac=52:54:00:12:34:56&uuid=01234567-89ab-cdef-0123-456789abcdef&ip=192.0.2.50&gateway=192.0.2.1&nextserver=192.0.2.2" +
		"&userclass=x&manufacturer=QEMU&product=Standard%20PC&serial=S1&asset=A7&hostname=h1&nic=01:80:86:10:0e&chip=82540em&platform=pcbios" +
		"&buildarch=i386&cpu=x86_64&version=1.0.0%2B&dimms=0002&secureboot=01")
	if err != nil {
		t.Fatal(err)
	}
	s := p.Sighting(now)
	if s.Time != now || s.MAC != "52:54:00:12:34:56" || s.GUID != p.GUID || s.Addr != addr("192.0.2.50") || s.Serial != "S1" ||
		s.Manufacturer != "QEMU" || s.Product != "Standard PC" || s.Asset != "A7" || s.Hostname != "h1" || s.NIC != "01:80:86:10:0e" ||
		s.Memory != 512 || s.CPU != "x86_64" || s.Firmware != boot.FirmwareIPXE || s.Platform != boot.PlatformBIOS ||
		s.Arch != boot.ArchBIOS || !s.ArchKnown || s.ArchName != "bios" || s.SecureBoot != boot.SecureBootOn || s.IPXE != "1.0.0+" {
		t.Errorf("%+v", s)
	}
	for name, want := range map[string]string{
		"mac": "52:54:00:12:34:56", "uuid": "01234567-89ab-cdef-0123-456789abcdef", "ip": "192.0.2.50", "gateway": "192.0.2.1",
		"next-server": "192.0.2.2", "nextserver": "192.0.2.2", "user-class": "x", "userclass": "x", "memory": "512",
		"chip": "82540em", "secureboot": "on", "dns": "", "dimms": "",
	} {
		if got := s.Variables[name]; got != want {
			t.Errorf("variable %s: %q, want %q", name, got, want)
		}
	}
	for query, want := range map[string]struct {
		arch boot.Arch
		ok   bool
		cpu  string
		nic  string
	}{
		"platform=efi&buildarch=x86_64&chip=SNP": {boot.ArchUEFIx64, true, "x86_64", "SNP"},
		"platform=efi&buildarch=i386":            {boot.ArchUEFI32, true, "i386", ""},
		"platform=efi&buildarch=arm64":           {boot.ArchUEFIARM64, true, "arm64", ""},
		"platform=efi&buildarch=vax":             {0, false, "vax", ""},
		"platform=pcbios":                        {0, false, "", ""},
		"platform=x&buildarch=i386":              {0, false, "i386", ""},
		"":                                       {0, false, "", ""},
	} {
		p, err := ipxe.ParseParams(query)
		if err != nil {
			t.Fatal(err)
		}
		if s := p.Sighting(now); s.Arch != want.arch || s.ArchKnown != want.ok || s.CPU != want.cpu || s.NIC != want.nic {
			t.Errorf("%q: %+v", query, s)
		}
	}
}
