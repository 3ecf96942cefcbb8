package boot

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// The cases of this file are places where a small mistake would pass the other
// tests: the mutation run (appliance/mutate) found them.

// archTable is the registry as the product serves it, written down a second
// time: number, name, CPU, platform, HTTP, loader.
const archTable = `
0 bios i386 bios - undionly.kpxe
1 pc98 - other - -
2 ia64 - other - -
3 alpha - other - -
4 arcx86 - other - -
5 lean - other - -
6 uefi-ia32 i386 uefi - i386/snponly.efi
7 uefi-x64 x86_64 uefi - x86_64/snponly.efi
8 xscale - other - -
9 uefi-ebc x86_64 uefi - x86_64/snponly.efi
10 uefi-arm32 arm32 uefi - arm32/snponly.efi
11 uefi-arm64 arm64 uefi - arm64/snponly.efi
12 ppc-of - other - -
13 ppc-epapr - other - -
14 power-opal - petitboot - -
15 uefi-ia32-http i386 uefi http i386/snponly.efi
16 uefi-x64-http x86_64 uefi http x86_64/snponly.efi
17 uefi-ebc-http x86_64 uefi http x86_64/snponly.efi
18 uefi-arm32-http arm32 uefi http arm32/snponly.efi
19 uefi-arm64-http arm64 uefi http arm64/snponly.efi
20 bios-http i386 bios http undionly.kpxe
21 uboot-arm32 - uboot - -
22 uboot-arm64 - uboot - -
23 uboot-arm32-http - uboot http -
24 uboot-arm64-http - uboot http -
25 uefi-riscv32 riscv32 uefi - riscv32/snponly.efi
26 uefi-riscv32-http riscv32 uefi http riscv32/snponly.efi
27 uefi-riscv64 riscv64 uefi - riscv64/snponly.efi
28 uefi-riscv64-http riscv64 uefi http riscv64/snponly.efi
29 uefi-riscv128 - uefi - -
30 uefi-riscv128-http - uefi http -
31 s390 - other - -
32 s390x - other - -
33 uefi-mips32 - uefi - -
34 uefi-mips64 - uefi - -
35 uefi-sunway32 - uefi - -
36 uefi-sunway64 - uefi - -
37 uefi-loong32 - uefi - -
38 uefi-loong32-http - uefi http -
39 uefi-loong64 loong64 uefi - loong64/snponly.efi
40 uefi-loong64-http loong64 uefi http loong64/snponly.efi
41 rpiboot - rpi - -
`

func TestArchTableInFull(t *testing.T) {
	dash := func(s string) string {
		if s == "" {
			return "-"
		}
		return s
	}
	var got strings.Builder
	got.WriteByte('\n')
	for _, i := range Archs() {
		http := "-"
		if i.HTTP {
			http = "http"
		}
		fmt.Fprintln(&got, int(i.Arch), i.Name, dash(i.CPU), string(i.Platform), http, dash(i.Loader))
	}
	if got.String() != archTable {
		t.Errorf("the table is\n%s", got.String())
	}
	if a, err := ParseArch("11"); err != nil || a != ArchUEFIARM64 {
		t.Errorf("%d, %v", a, err)
	}
	if a, err := ParseArch("65535"); err != nil || a != 0xffff {
		t.Errorf("%d, %v", a, err)
	}
	if a, err := ParseArch("-"); err == nil || a != 0 {
		t.Errorf("%d, %v", a, err)
	}
	if i, _ := Arch(42).Info(); i.Arch != 42 || !strings.Contains(i.Title, "42") {
		t.Errorf("%+v", i)
	}
}

func TestFeatureBounds(t *testing.T) {
	for code, want := range map[byte]bool{0x0f: false, 0x10: true, 0x13: true, 0x2a: true, 0x2b: false, 0xeb: true, 0xb1: false} {
		if x, ok := ParseIPXE([]byte{code, 1, 1}); !ok || x.Present != want {
			t.Errorf("option 175 with %#x: present %v, want %v", code, x.Present, want)
		}
	}
	for _, code := range []IPXEFeature{0x10, 0x13, 0x2a} {
		x, _ := ParseIPXE([]byte{byte(code), 1, 1})
		if !x.Has(code) || x.Has(code+1) || x.Has(code-1) {
			t.Errorf("%#x: %+v", code, x)
		}
	}
	if x, ok := ParseIPXE([]byte{0x13, 0}); !ok || x.Has(FeatureHTTP) || !x.Present {
		t.Errorf("a feature without a value: %+v, %v", x, ok)
	}
}

func TestWalkSubOptions(t *testing.T) {
	walk := func(b []byte, stop byte) (out string) {
		WalkSubOptions(b, func(code byte, v []byte) bool {
			out += fmt.Sprintf("%d=%x ", code, v)
			return code != stop
		}, func() { out += "cut" })
		return out
	}
	for _, c := range []struct {
		in   []byte
		want string
	}{
		{nil, ""},
		{[]byte{0, 0, 5, 0}, "5= "},
		{[]byte{5, 0, 6, 1, 7}, "5= 6=07 "},
		{[]byte{0, 5, 1, 9, 0, 0, 6, 2, 1, 2, 255, 7, 1, 1}, "5=09 6=0102 "},
		{[]byte{5}, "cut"},
		{[]byte{5, 1}, "cut"},
		{[]byte{5, 0, 5}, "5= cut"},
		{[]byte{5, 1, 9, 6, 2, 1}, "5=09 cut"},
		{[]byte{9, 1, 1, 6, 1, 1, 7}, "9=01 "},
	} {
		if got := walk(c.in, 9); got != c.want {
			t.Errorf("% x: %q, want %q", c.in, got, c.want)
		}
	}
}

func TestUserClasses(t *testing.T) {
	many := strings.Repeat("\x01a", 8)
	for in, want := range map[string][]string{
		"":                nil,
		"a":               {"a"},
		"iPXE":            {"iPXE"},
		"\x01a":           {"\x01a", "a"},
		"\x04iPXE\x02ab":  {"\x04iPXE\x02ab", "iPXE", "ab"},
		"\x04iPX":         {"\x04iPX"},
		"\x04iPXE\x00":    {"\x04iPXE\x00"},
		"\x04iPXE\x02a":   {"\x04iPXE\x02a"},
		"\x00":            {"\x00"},
		many:              append([]string{many}, slices.Repeat([]string{"a"}, 8)...),
		many + "\x01b":    {many + "\x01b"},
		many + "\x04iPXE": {many + "\x04iPXE"},
	} {
		if got := UserClasses([]byte(in)); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestArchOfClass(t *testing.T) {
	for class, want := range map[string]int{
		"PXEClient:Arch:00007:UNDI:003000": 7,
		"PXEClient:Arch:7":                 7,
		"PXEClient:Arch:0":                 0,
		"PXEClient:Arch:9":                 9,
		"PXEClient:Arch:00019":             19,
		"PXEClient:Arch:65535":             65535,
		"PXEClient:Arch:65534":             65534,
		"PXEClient:Arch:65536":             -1,
		"PXEClient:Arch:000071":            7, // five digits
		"PXEClient:Arch:1/":                1,
		"PXEClient:Arch:1:":                1,
		"PXEClient:Arch:":                  -1,
		"PXEClient:Arch:x7":                -1,
		"PXEClient:7":                      -1,
		"PXEClient":                        -1,
		"7":                                -1,
	} {
		got, ok := archFromClass(class)
		if ok != (want >= 0) || ok && int(got) != want || !ok && got != 0 {
			t.Errorf("%s: %d, %v; want %d", class, got, ok, want)
		}
	}
	c := NewClient(Facts{Class: "PXEClient:Arch:00011", Arch: []byte{1, 7}})
	if c.Arch != 0x107 || !c.ArchKnown || !c.ArchConflict || c.Firmware != FirmwareUnknown {
		t.Errorf("%+v", c)
	}
	c = NewClient(Facts{Class: "PXEClient:Arch:00011", Arch: []byte{}})
	if c.Arch != 11 || !slices.Equal(c.Archs, []Arch{11}) || c.ArchConflict {
		t.Errorf("%+v", c)
	}
	// A list is kept up to 16 values; one outside the registry is passed over.
	long := slices.Repeat([]byte{0x12, 0x34}, 15)
	if c = NewClient(Facts{Arch: append(slices.Clone(long), 0, 7, 0, 6)}); c.Arch != 7 || len(c.Archs) != 16 {
		t.Errorf("%d of %d", c.Arch, len(c.Archs))
	}
	if c = NewClient(Facts{Arch: append(append(slices.Clone(long), 0x12, 0x34), 0, 6)}); c.Arch != 0x1234 || len(c.Archs) != 16 {
		t.Errorf("%d of %d", c.Arch, len(c.Archs))
	}
}

func TestPiByAddress(t *testing.T) {
	for _, oui := range []string{"b8:27:eb", "dc:a6:32", "e4:5f:01", "28:cd:c1", "d8:3a:dd", "2c:cf:67", "88:a2:9e"} {
		f := Facts{MAC: MAC(oui + ":00:00:01"), Class: "PXEClient:Arch:00000"}
		if c := NewClient(f); c.Firmware != FirmwareRPi {
			t.Errorf("%s: %s", oui, c.Firmware)
		}
		// A malformed identifier says nothing.
		f.GUID = append([]byte{1}, []byte("0123456789abcdef")...)
		if c := NewClient(f); c.Firmware != FirmwareRPi || !c.GUID.IsZero() {
			t.Errorf("%s: %s, %s", oui, c.Firmware, c.GUID)
		}
	}
	if c := NewClient(Facts{MAC: "b8:27:eb:00:00:01", Class: "PXEClient"}); c.Firmware != FirmwareUnknown {
		t.Errorf("a Pi without an architecture: %s", c.Firmware)
	}
	if (Client{Firmware: FirmwareBIOS, IPXE: IPXE{Features: 1 << 3}}).CanHTTP() {
		t.Error("a BIOS cannot fetch by HTTP whatever it says in option 175")
	}
}

func TestForms(t *testing.T) {
	if got := Forms(); !slices.Equal(got, []Form{"direct", "two-step", "script", "http", "rpi"}) {
		t.Errorf("%v", got)
	}
	for f, want := range map[Form]bool{FormNone: true, FormDirect: true, FormTwoStep: true, FormScript: false, FormHTTP: false, FormRPi: false, "x": false} {
		if f.Valid() != want {
			t.Errorf("%q: %v", f, f.Valid())
		}
	}
	if !(Rule{Archs: []Arch{0}}).Matches(Client{ArchKnown: true}) || (Rule{Archs: []Arch{0}}).Matches(Client{}) {
		t.Error("a rule for an architecture and a client without one")
	}
}

func TestDecideEdges(t *testing.T) {
	dumb := client(FirmwareIPXE, 7)
	web := dumb
	web.IPXE.Features = 1 << (FeatureHTTP - featureFirst)
	x64 := ArchUEFIx64
	none := func(string) bool { return false }
	for name, c := range map[string]struct {
		client Client
		policy Policy
		want   Decision
	}{
		"a file for iPXE without http":       {dumb, Policy{Rules: []Rule{{File: "files/a.ipxe"}}}, Decision{Form: FormScript, File: "tftp://192.0.2.2/files/a.ipxe", Priority: true}},
		"the same with a slash":              {dumb, Policy{Rules: []Rule{{File: "/files/a.ipxe"}}}, Decision{Form: FormScript, File: "tftp://192.0.2.2/files/a.ipxe", Priority: true}},
		"the same with http":                 {web, Policy{Rules: []Rule{{File: "/files/a.ipxe"}}}, Decision{Form: FormScript, File: "http://192.0.2.2/files/a.ipxe", Priority: true}},
		"no loader for iPXE without http":    {dumb, Policy{Has: none}, Decision{Reason: ReasonNoLoader}},
		"all loaders":                        {client(FirmwareBIOS, 0), Policy{Has: func(f string) bool { return f == "undionly.kpxe" }}, Decision{Form: FormDirect, File: "undionly.kpxe", Stage1: true}},
		"no loader, and none needed":         {web, Policy{Has: none}, Decision{Form: FormScript, File: "http://192.0.2.2/b", Priority: true}},
		"iPXE somewhere else is no loader":   {web, Policy{Rules: []Rule{{File: "http://h/ipxe.efi"}}}, Decision{Form: FormScript, File: "http://h/ipxe.efi", Priority: true}},
		"a Pi that is taken for a PC":        {client(FirmwareRPi, 0), Policy{Rules: []Rule{{As: &x64}}}, Decision{Form: FormDirect, File: "x86_64/snponly.efi", Stage1: true}},
		"no rule matches a denied neighbour": {client(FirmwareBIOS, 0), Policy{Rules: []Rule{{MAC: "52:54:00:00:00:99", Deny: true, File: "x"}}}, Decision{Form: FormDirect, File: "undionly.kpxe", Stage1: true}},
	} {
		if got := Decide(c.client, c.policy, History{}, us, now); got != c.want {
			t.Errorf("%s: got %+v, want %+v", name, got, c.want)
		}
	}
	for file, want := range map[string]bool{
		"undionly.kpxe": true, "undionly.kkpxe": true, "undionly.pxe": true, "ipxe.kpxe": true, "x/ipxe.pxe": true, "x86_64/ipxe.efi": true,
		"snponly.efi": true, "a/b/snp.efi": true, "": false, "x.efi": false, "ipxe.efi/x": false, "tftp://h/ipxe.efi": false, "http://h/snponly.efi": false,
	} {
		if isIPXE(file) != want {
			t.Errorf("%q is iPXE: %v", file, !want)
		}
	}
	c := client(FirmwareUEFI, 7)
	c.XID = 1
	for name, h := range map[string]struct {
		History
		want Form
	}{
		"a retry after a download":              {History{Form: FormTwoStep, XID: 1, Loaded: true, Worked: FormTwoStep, Age: time.Second}, FormTwoStep},
		"a retry after the other style's":       {History{Form: FormTwoStep, XID: 1, Loaded: true, Worked: FormDirect, Age: time.Second}, FormDirect},
		"downloaded, style unknown":             {History{Form: FormDirect, XID: 2, Loaded: true, Age: time.Second}, FormDirect},
		"another transaction a moment later":    {History{Form: FormDirect, XID: 2, Age: time.Millisecond}, FormTwoStep},
		"a retry, then the same packet anew":    {History{Form: FormTwoStep, XID: 1, Age: SamePacket - 1}, FormTwoStep},
		"the shortest wait that makes a retry":  {History{Form: FormTwoStep, XID: 1, Age: SamePacket}, FormDirect},
		"what worked, without an earlier offer": {History{Worked: FormTwoStep}, FormTwoStep},
	} {
		if got := Decide(c, Policy{}, h.History, us, now).Form; got != h.want {
			t.Errorf("%s: %s, want %s", name, got, h.want)
		}
	}
	for url, want := range map[string]bool{
		"http://192.0.2.2/x": true, "http://192.0.2.2:80/x": true, "http://[2001:db8::1]/x": true, "http://[2001:db8::1]:80/x": true,
		"http://host/x": false, "http://host:80/x": false, "192.0.2.2/x": false, "192.0.2.2": false, "": false,
	} {
		if hostIsAddress(url) != want {
			t.Errorf("%s: %v", url, !want)
		}
	}
}

func TestMemoryEdges(t *testing.T) {
	one, two := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	a, b := client(FirmwareUEFI, 7), client(FirmwareBIOS, 0)
	b.MAC = "52:54:00:00:00:02"
	m := NewMemory(0)
	m.Offered(a, Decision{Form: FormDirect}, now)
	m.Offered(b, Decision{Form: FormDirect}, now)
	if m.Len() != 1 {
		t.Errorf("a memory of at least one holds %d", m.Len())
	}
	m = NewMemory(8)
	m.Offered(a, Decision{Form: FormDirect}, now)
	if h := m.History(a.MAC, now); h.Asked {
		t.Error("asked without having")
	}
	m.Loaded(one) // nobody is there
	m.Asked(a.MAC, one)
	if c, ok := m.WhoIs(one); !ok || c.MAC != a.MAC {
		t.Errorf("asked from %s: %+v", one, c)
	}
	// A first stage for a BIOS on the same machine says nothing about its UEFI.
	bios := b
	bios.MAC, bios.XID = a.MAC, 9
	m.Offered(bios, Decision{Form: FormDirect}, now)
	if h := m.History(a.MAC, now); h.XID != a.XID || !h.Asked {
		t.Errorf("%+v", h)
	}
	// A machine that moves leaves its old address behind.
	m.Leased(a.MAC, two)
	if _, ok := m.WhoIs(one); ok {
		t.Error("the old address is still its own")
	}
	if c, ok := m.WhoIs(two); !ok || c.MAC != a.MAC {
		t.Errorf("%+v", c)
	}
	// Taken over, then the first one moves: the new owner keeps it.
	m.Offered(b, Decision{Form: FormDirect}, now)
	m.Leased(b.MAC, two)
	m.Leased(a.MAC, one)
	if c, ok := m.WhoIs(two); !ok || c.MAC != b.MAC {
		t.Errorf("%+v, %v", c, ok)
	}
	for _, nonsense := range []netip.Addr{{}, netip.IPv4Unspecified(), netip.AddrFrom16(two.As16())} {
		m.Leased(b.MAC, nonsense)
		if c, ok := m.WhoIs(two); !ok || c.MAC != b.MAC {
			t.Errorf("after %v: %+v, %v", nonsense, c, ok)
		}
	}
	for _, nowhere := range []netip.Addr{{}, netip.IPv4Unspecified()} {
		if c, ok := m.WhoIs(nowhere); ok {
			t.Errorf("%s is at %v", c.MAC, nowhere)
		}
	}
	// An address that goes back and forth belongs to who took it last.
	m.Leased(a.MAC, two)
	m.Leased(b.MAC, two)
	if c, _ := m.WhoIs(two); c.MAC != b.MAC {
		t.Errorf("%s has %s, taken last by %s", c.MAC, two, b.MAC)
	}
	// Known by a request alone: the MAC is all there is, and no style worked.
	m.Asked("52:54:00:00:00:03", netip.MustParseAddr("192.0.2.3"))
	m.Loaded(netip.MustParseAddr("192.0.2.3"))
	if c, ok := m.WhoIs(netip.MustParseAddr("192.0.2.3")); !ok || c.MAC != "52:54:00:00:00:03" {
		t.Errorf("%+v", c)
	}
	if h := m.History("52:54:00:00:00:03", now); h.Worked != FormNone || !h.Loaded {
		t.Errorf("%+v", h)
	}
	// Forgetting one whose address another has taken over must not take it away.
	m = NewMemory(2)
	m.Offered(a, Decision{Form: FormDirect}, now)
	m.Leased(a.MAC, one)
	m.Offered(b, Decision{Form: FormDirect}, now)
	m.Leased(b.MAC, one)
	c := b
	c.MAC = "52:54:00:00:00:04"
	m.Offered(c, Decision{Form: FormDirect}, now)
	if who, ok := m.WhoIs(one); !ok || who.MAC != b.MAC {
		t.Errorf("%+v, %v", who, ok)
	}
}

func TestLoopWindow(t *testing.T) {
	stage1 := Decision{Form: FormDirect, Stage1: true}
	for name, c := range map[string]struct {
		at   []time.Duration
		want []bool
	}{
		"just within":   {[]time.Duration{0, 20, 40, 60}, []bool{false, false, false, true}},
		"just outside":  {[]time.Duration{0, 20, 40, 61}, []bool{false, false, false, false}},
		"again later":   {[]time.Duration{0, 1, 2, 3, 63, 64, 65, 66}, []bool{false, false, false, true, false, false, false, true}},
		"not every one": {[]time.Duration{0, 1, 2, 3, 20, 40, 60, 63}, []bool{false, false, false, true, false, false, false, false}},
		"a minute on":   {[]time.Duration{0, 1, 2, 3, 20, 40, 60, 64}, []bool{false, false, false, true, false, false, false, true}},
	} {
		m := NewMemory(1)
		for i, at := range c.at {
			if got := m.Offered(client(FirmwareBIOS, 0), stage1, now.Add(at*time.Second)); got != c.want[i] {
				t.Errorf("%s: offer %d at %d s: %v", name, i+1, at, got)
			}
		}
	}
	// Scripts in between neither raise nor count.
	m := NewMemory(1)
	for i := range 10 {
		if m.Offered(client(FirmwareIPXE, 0), Decision{Form: FormScript}, now.Add(time.Duration(i)*time.Second)) {
			t.Error("a script raised a loop")
		}
	}
}
