package boot

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
)

// laptop is a machine that tells everything.
func laptop(t testing.TB) (Machine, Sighting) {
	t.Helper()
	m := Machine{
		ID: "m", Name: "Lab 7", Tags: []string{"Floor-2", "lab"}, GUID: guidOf(t, "1"), Serial: "S1",
		MACs: []NIC{{MAC: "52:54:00:ab:cd:ef"}},
	}
	s := Sighting{
		MAC: "52:54:00:ab:cd:ef", GUID: guidOf(t, "1"), Serial: "S1", Manufacturer: "LENOVO", Product: "ThinkPad T14 Gen 3", NIC: "8086:15bb",
		Platform: PlatformUEFI, Firmware: FirmwareIPXE, CPU: "x86_64", Addr: netip.MustParseAddr("192.0.2.77"), Memory: 2048, IPXE: "1.21.1",
		Asset: "A7", Hostname: "lab7",
		Variables: map[string]string{"gateway": "192.0.2.1", "user-class": "iPXE", "domain": "Example.org", "next-server": "192.0.2.2"},
	}
	return m, s
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		name string
		m    Match
		want bool
		why  string // part of it
	}{
		{"everything", Match{}, true, "it matches every machine"},
		{"empty lists", Match{MAC: []string{}, Variables: map[string][]string{}}, true, "every machine"},
		{"vendor block", Match{MAC: []string{"52:54:00"}}, true, `the hardware address is "52:54:00"`},
		{"another spelling", Match{MAC: []string{"525400AB-"}}, true, ""},
		{"half an octet", Match{MAC: []string{"52:54:0"}}, true, ""},
		{"half an octet, other", Match{MAC: []string{"52:54:1"}}, false, `the hardware address is "52:54:00:ab:cd:ef"; wanted is "52:54:1"`},
		{"with a star", Match{MAC: []string{"52.54.*"}}, true, ""},
		{"whole", Match{MAC: []string{"52:54:00:ab:cd:ef"}}, true, ""},
		{"longer", Match{MAC: []string{"52:54:00:ab:cd:ef:00"}}, false, ""},
		{"one of the list", Match{MAC: []string{"00:11:22", "52:54"}}, true, `"00:11:22" or "52:54"`},
		{"identifier", Match{UUID: []string{"01234567-89AB-CDEF-0000-000000000001"}}, true, ""},
		{"identifier as pxelinux shows it", Match{UUID: []string{"67452301-ab89-efcd-0000-000000000001"}}, true, ""},
		{"another identifier", Match{UUID: []string{"67452301-ab89-efcd-0000-000000000002"}}, false, `the identifier is "01234567-89ab-cdef-0000-000000000001"; wanted`},
		{"serial number", Match{Serial: []string{"s1"}}, true, ""},
		{"serial number, not a prefix", Match{Serial: []string{"s"}}, false, `the serial number is "s1"; wanted is "s"`},
		{"vendor", Match{Vendor: []string{"dell*", "Lenovo"}}, true, ""},
		{"product with a star", Match{Product: []string{"thinkpad*"}}, true, `the product is "thinkpad*"`},
		{"product", Match{Product: []string{"thinkpad"}}, false, ""},
		{"four products", Match{Product: []string{"a", "b", "c", "d", "e"}}, false, `wanted is "a" or "b" or "c" or 2 more`},
		{"architecture", Match{Arch: []string{"bios", "UEFI-x64"}}, true, ""},
		{"architecture by number", Match{Arch: []string{"7"}}, true, ""},
		{"another architecture", Match{Arch: []string{"9"}}, false, `the architecture is "uefi-x64"`},
		{"platform", Match{Platform: []Platform{PlatformUEFI}}, true, ""},
		{"another platform", Match{Platform: []Platform{PlatformBIOS}}, false, `the platform is "uefi"; wanted is "bios"`},
		{"firmware", Match{Firmware: []Firmware{FirmwareUEFI, FirmwareIPXE}}, true, ""},
		{"another firmware", Match{Firmware: []Firmware{FirmwareUEFI}}, false, `the firmware is "ipxe"`},
		{"network card", Match{NIC: []string{"8086:*"}}, true, ""},
		{"subnet", Match{Subnet: []string{"198.51.100.0/24", "192.0.2.64/26"}}, true, ""},
		{"another subnet", Match{Subnet: []string{"192.0.2.0/26"}}, false, `the address is "192.0.2.77"`},
		{"tag", Match{Tag: []string{"floor-*"}}, true, ""},
		{"another tag", Match{Tag: []string{"floor"}}, false, `the list of tags is "floor-2 lab"`},
		{"name", Match{Name: []string{"lab*"}}, true, ""},
		{"another name", Match{Name: []string{"lab 8"}}, false, `the machine's name is "lab 7"`},
		{"variable", Match{Variables: map[string][]string{"domain": {"example.org"}}}, true, `the variable domain is "example.org"`},
		{"variable with a star", Match{Variables: map[string][]string{"gateway": {"192.0.2.*"}}}, true, ""},
		{"variable spelled without a dash", Match{Variables: map[string][]string{"nextserver": {"192.0.2.2"}, "userclass": {"ipxe"}}}, true, ""},
		{"another variable", Match{Variables: map[string][]string{"domain": {"example.com"}}}, false, `the variable domain is "example.org"`},
		{"variable not told", Match{Variables: map[string][]string{"netmask": {"*"}}}, false, "the variable netmask is not known"},
		{"variables with fields", Match{Variables: map[string][]string{
			"mac": {"52:54:00:AB:CD:EF"}, "uuid": {"01234567-89ab-cdef-0000-000000000001"}, "ip": {"192.0.2.77"}, "serial": {"S1"},
			"manufacturer": {"Lenovo"}, "product": {"ThinkPad*"}, "asset": {"A7"}, "hostname": {"lab7"}, "buildarch": {"x86_64"},
			"version": {"1.21*"}, "memory": {"2048"},
		}}, true, ""},
		{"all must match", Match{Vendor: []string{"lenovo"}, Product: []string{"x1*"}}, false, "the product is"},
		{"all match", Match{MAC: []string{"52"}, UUID: []string{"01234567-89AB-CDEF-0000-000000000001"}, Serial: []string{"S*"}, Tag: []string{"lab"}, Platform: []Platform{"uefi"}}, true, `the hardware address is "52", the identifier is`},
	} {
		t.Run(c.name, func(t *testing.T) {
			mc, s := laptop(t)
			x, errs := CompileMatch(c.m)
			if errs != nil {
				t.Fatal(errs)
			}
			ok, why := x.Match(mc, s)
			if ok != c.want || !strings.Contains(why, c.why) || why == "" {
				t.Errorf("%v, %q", ok, why)
			}
		})
	}
}

// TestMatchNothingTold: a rule that names something does not match a machine
// that told nothing about it.
func TestMatchNothingTold(t *testing.T) {
	for _, m := range []Match{
		{MAC: []string{"5"}},
		{UUID: []string{"01234567-89AB-CDEF-0000-000000000001"}},
		{Serial: []string{"*"}},
		{Vendor: []string{"*"}},
		{Product: []string{"*"}},
		{Arch: []string{"bios", "0"}},
		{Platform: []Platform{"bios", "uefi"}},
		{Firmware: []Firmware{"bios", "unknown"}},
		{NIC: []string{"*"}},
		{Subnet: []string{"0.0.0.0/0", "::/0"}},
		{Tag: []string{"*"}},
		{Name: []string{"*"}},
		{Variables: map[string][]string{"mac": {"*"}}},
		{Variables: map[string][]string{"uuid": {"*"}}},
		{Variables: map[string][]string{"ip": {"*"}}},
		{Variables: map[string][]string{"memory": {"*"}}},
		{Variables: map[string][]string{"x": {"*"}}},
	} {
		x, errs := CompileMatch(m)
		if errs != nil {
			t.Fatal(errs)
		}
		if ok, why := x.Match(Machine{}, Sighting{}); ok || !strings.Contains(why, "is not known; wanted is") {
			t.Errorf("%+v: %v, %q", m, ok, why)
		}
	}
}

// TestMatchRemembers: programs that tell little (pxelinux, GRUB) are matched by
// what the machine told when it was last seen.
func TestMatchRemembers(t *testing.T) {
	mc, s := laptop(t)
	mc.Seen = s
	mc.Seen.ArchName, mc.Seen.Arch, mc.Seen.ArchKnown = "uefi-x64-http", 0, false
	bare := Sighting{MAC: s.MAC}
	for _, m := range []Match{
		{UUID: []string{"01234567-89AB-CDEF-0000-000000000001"}},
		{Serial: []string{"S1"}},
		{Vendor: []string{"lenovo"}},
		{Product: []string{"thinkpad*"}},
		{Arch: []string{"uefi-x64-http"}},
		{Platform: []Platform{"uefi"}},
		{Firmware: []Firmware{"ipxe"}},
		{NIC: []string{"8086:15bb"}},
		{Variables: map[string][]string{"domain": {"example.org"}}},
	} {
		x, _ := CompileMatch(m)
		if ok, why := x.Match(mc, bare); !ok {
			t.Errorf("%+v: %s", m, why)
		}
	}
	for name, c := range map[string]struct {
		m Match
		s Sighting
	}{
		"the address is of now":            {Match{Subnet: []string{"192.0.2.0/24"}}, bare},
		"the chip is of that card":         {Match{NIC: []string{"8086:15bb"}}, Sighting{MAC: macOf("b")}},
		"other variables were told":        {Match{Variables: map[string][]string{"domain": {"*"}}}, Sighting{Variables: map[string]string{"gateway": "x"}}},
		"another serial number was told":   {Match{Serial: []string{"S1"}}, Sighting{Serial: "S2"}},
		"another architecture was told":    {Match{Arch: []string{"uefi-x64-http"}}, Sighting{Arch: ArchBIOS, ArchKnown: true}},
		"a name outside the table":         {Match{Arch: []string{"uefi-x64"}}, Sighting{ArchName: "unknown", Platform: "uefi", CPU: "x86_64"}},
		"a processor outside the table":    {Match{Arch: []string{"uefi-x64"}}, Sighting{Platform: "uefi", CPU: "vax"}},
		"no processor, platform of others": {Match{Arch: []string{"pc98"}}, Sighting{Platform: "other"}},
	} {
		x, _ := CompileMatch(c.m)
		mc := mc
		if strings.Contains(name, "outside") || strings.Contains(name, "others") {
			mc.Seen = Sighting{}
		}
		if ok, why := x.Match(mc, c.s); ok {
			t.Errorf("%s: it matches: %s", name, why)
		}
	}
	x, _ := CompileMatch(Match{Arch: []string{"bios"}})
	if ok, _ := x.Match(Machine{}, Sighting{Platform: PlatformBIOS, CPU: "i386"}); !ok {
		t.Error("platform and processor as iPXE tells them make no architecture")
	}
	var zero Matcher
	if ok, why := zero.Match(mc, s); !ok || why != "it matches every machine" {
		t.Errorf("the zero matcher: %v, %q", ok, why)
	}
}

func TestCompileMatchErrors(t *testing.T) {
	many := make([]string, MaxMatchValues+1)
	for i := range many {
		many[i] = "52"
	}
	for _, c := range []struct {
		m    Match
		want string // fields, separated by spaces
	}{
		{Match{MAC: []string{"", "52:5g", "52*", "5*2", ":", strings.Repeat("5", 33), strings.Repeat("55:", 17), "x"}}, "mac[0] mac[1] mac[3] mac[4] mac[5] mac[6] mac[7]"},
		{Match{MAC: []string{strings.Repeat("5", 32)}}, ""},
		{Match{MAC: many}, "mac"},
		{Match{MAC: many[1:]}, ""},
		{Match{UUID: []string{"1", "", "00000000-0000-0000-0000-000000000000"}}, "uuid[0] uuid[1] uuid[2]"},
		{Match{UUID: []string{strings.Repeat("4", 32)}}, ""}, // a rule may be about all machines of a kind
		{Match{Serial: []string{"", "a*b", "a\nb", strings.Repeat("x", maxMatchText+1), "**", "\xff", " "}}, "serial[0] serial[1] serial[2] serial[3] serial[4] serial[5] serial[6]"},
		{Match{Serial: []string{strings.Repeat("x", maxMatchText), "*"}}, ""},
		{Match{Vendor: many, Product: many, NIC: many, Tag: many, Name: many, Subnet: many, Arch: many, UUID: many, Serial: many}, "uuid serial vendor product arch nic subnet tag name"},
		{Match{Arch: []string{"uefi", "70000", ""}}, "arch[0] arch[1] arch[2]"},
		{Match{Platform: []Platform{"bios", "efi", ""}}, "platform[1] platform[2]"},
		{Match{Platform: make([]Platform, MaxMatchValues+1)}, "platform"},
		{Match{Firmware: []Firmware{"bios", "efi", "uefi-http", "rpi", "other"}}, "firmware[1]"},
		{Match{Firmware: make([]Firmware, MaxMatchValues+1)}, "firmware"},
		{Match{Subnet: []string{"192.0.2.0", "192.0.2.1/24", "192.0.2.0/33", "2001:db8::/32"}}, "subnet[0] subnet[1] subnet[2]"},
		{Match{Variables: map[string][]string{"a b": {"x"}, "": {"x"}, "ok": {"x"}, "none": {}, "b": {"", "c*d"}, "net0/ip": {"1"}, strings.Repeat("n", 65): {"x"}, "n;": {"x"}}}, "variables variables variables.b[0] variables.b[1] variables variables variables.none"},
		{Match{Variables: map[string][]string{strings.Repeat("n", 64): {"x"}, "A-z_0.9:": {"1"}}}, ""},
	} {
		x, errs := CompileMatch(c.m)
		if got := fieldsOf(errs); got != c.want {
			t.Errorf("%+v: %q, want %q", c.m, got, c.want)
		}
		if ok, why := x.Match(laptop(t)); errs != nil && (ok || why == "") {
			t.Errorf("%+v: what does not compile matches", c.m)
		}
	}
	tooMany := map[string][]string{}
	for i := range MaxMatchValues + 1 {
		tooMany["v"+strings.Repeat("x", i)] = []string{"*"}
	}
	if _, errs := CompileMatch(Match{Variables: tooMany}); len(errs) != 1 || errs[0].Field != "variables" {
		t.Errorf("variables: %v", errs)
	}
}

// fieldsOf lists the fields of errors and checks that each has a sentence.
func fieldsOf(errs FieldErrors) string {
	var fields []string
	for _, e := range errs {
		if len(e.What) < 10 || strings.ContainsAny(e.What, "\n\x00") || len(e.What) > 500 {
			fields = append(fields, "BAD SENTENCE "+e.What)
		}
		fields = append(fields, e.Field)
	}
	return strings.Join(fields, " ")
}

func TestPatternsAreNotShared(t *testing.T) {
	values := []Platform{PlatformUEFI}
	firmware := []Firmware{FirmwareIPXE}
	x, _ := CompileMatch(Match{Platform: values, Firmware: firmware})
	values[0], firmware[0] = "x", "x"
	if ok, why := x.Match(laptop(t)); !ok {
		t.Error("the caller's list changes the rule:", why)
	}
}

func FuzzCompileMatch(f *testing.F) {
	for _, s := range []string{
		`{}`, `{"mac":["52:54:00"],"uuid":["01234567-89ab-cdef-0123-456789abcdef"]}`, `{"subnet":["192.0.2.0/24"],"arch":["uefi-x64","7"]}`,
		`{"product":["Think*"],"variables":{"domain":["x"],"":[]}}`, `{"firmware":["ipxe"],"platform":["uefi"],"tag":["a","*"]}`,
	} {
		f.Add([]byte(s), "52:54:00:12:34:56", "ThinkPad")
	}
	f.Fuzz(func(t *testing.T, doc []byte, mac, product string) {
		var m Match
		if json.Unmarshal(doc, &m) != nil {
			return
		}
		x, errs := CompileMatch(m)
		ok, why := x.Match(Machine{Name: product, Tags: []string{mac}}, Sighting{MAC: MAC(mac), Product: product, Serial: mac})
		if why == "" || errs != nil && ok {
			t.Errorf("%s: %v %q %v", doc, ok, why, errs)
		}
		for _, e := range errs {
			if e.Field == "" || e.What == "" || !isLine(e.What) && isLine(string(doc)) {
				t.Errorf("%s: %+v", doc, e)
			}
		}
		if none, _ := x.Match(Machine{}, Sighting{}); none && len(x.tests) > 0 {
			t.Errorf("%s: matches a machine that told nothing", doc)
		}
	})
}
