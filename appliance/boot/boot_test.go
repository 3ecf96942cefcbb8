package boot

import (
	"bytes"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestArchTable(t *testing.T) {
	names := map[string]bool{}
	for i, row := range Archs() {
		if int(row.Arch) != i {
			t.Errorf("row %d is for architecture %d", i, row.Arch)
		}
		if row.Name == "" || row.Title == "" || names[row.Name] {
			t.Errorf("row %d: name %q or title %q is empty or used twice", i, row.Name, row.Title)
		}
		names[row.Name] = true
		if (row.Loader != "") && row.CPU == "" {
			t.Errorf("row %d has a loader but no CPU", i)
		}
		if got, err := ParseArch(row.Name); err != nil || got != row.Arch {
			t.Errorf("ParseArch(%q) = %d, %v", row.Name, got, err)
		}
	}
	for arch, want := range map[Arch]string{
		0: "undionly.kpxe", 6: "i386/snponly.efi", 7: "x86_64/snponly.efi", 9: "x86_64/snponly.efi", 10: "arm32/snponly.efi",
		11: "arm64/snponly.efi", 12: "", 14: "", 15: "i386/snponly.efi", 16: "x86_64/snponly.efi", 17: "x86_64/snponly.efi",
		18: "arm32/snponly.efi", 19: "arm64/snponly.efi", 20: "undionly.kpxe", 21: "", 25: "riscv32/snponly.efi",
		27: "riscv64/snponly.efi", 28: "riscv64/snponly.efi", 29: "", 37: "", 39: "loong64/snponly.efi", 40: "loong64/snponly.efi", 41: "",
	} {
		if info, _ := arch.Info(); info.Loader != want {
			t.Errorf("architecture %d: loader %q, want %q", arch, info.Loader, want)
		}
	}
	if _, ok := Arch(42).Info(); ok || Arch(0xffff).String() != "unknown" {
		t.Error("values outside the registry must be unknown: they are metric labels")
	}
	for _, bad := range []string{"", "x64", "-1", "65536", "7 "} {
		if _, err := ParseArch(bad); err == nil {
			t.Errorf("ParseArch(%q) is no error", bad)
		}
	}
}

// TestReasonsHaveTexts reads the constants from the source, so that a new one
// without a sentence fails.
func TestReasonsHaveTexts(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "reason.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	ast.Inspect(f, func(node ast.Node) bool {
		spec, ok := node.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(spec.Names[0].Name, "Reason") || len(spec.Values) != 1 {
			return true
		}
		lit, ok := spec.Values[0].(*ast.BasicLit)
		if !ok {
			return true
		}
		value, err := strconv.Unquote(lit.Value)
		if err != nil {
			t.Fatal(err)
		}
		if value == "" {
			return true
		}
		n++
		if text := Reason(value).Text(); text == value || !strings.HasSuffix(text, ".") {
			t.Errorf("%s: %q is no sentence", spec.Names[0].Name, text)
		}
		return true
	})
	if n != len(reasonTexts) {
		t.Errorf("%d constants, %d sentences", n, len(reasonTexts))
	}
	seen := map[Reason]bool{}
	for _, r := range Silences() {
		if seen[r] {
			t.Errorf("silence %s is listed twice", r)
		}
		seen[r] = true
	}
}

func TestIdentity(t *testing.T) {
	for in, want := range map[string]MAC{
		"52:54:00:AB:cd:01": "52:54:00:ab:cd:01", "52-54-00-ab-cd-01": "52:54:00:ab:cd:01", "5254.00ab.cd01": "52:54:00:ab:cd:01",
	} {
		if got, err := ParseMAC(in); err != nil || got != want {
			t.Errorf("ParseMAC(%q) = %q, %v", in, got, err)
		}
	}
	for _, bad := range []string{"", "52:54:00", "zz:54:00:ab:cd:01", strings.Repeat("00:", 30) + "00"} {
		if _, err := ParseMAC(bad); err == nil {
			t.Errorf("ParseMAC(%q) is no error", bad)
		}
	}
	wire := [16]byte{0x67, 0x45, 0x23, 0x01, 0xab, 0x89, 0xef, 0xcd, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef}
	g := GUIDFromOption97(wire)
	if g.String() != "01234567-89ab-cdef-0123-456789abcdef" {
		t.Errorf("GUID %s", g)
	}
	for _, spelling := range []string{
		"01234567-89AB-cdef-0123-456789abcdef", "{0123456789abcdef0123456789abcdef}", "67452301-ab89-efcd-0123-456789abcdef",
	} {
		other, err := ParseGUID(spelling)
		if err != nil || !other.Matches(g) || !g.Matches(other) {
			t.Errorf("%s: %v, does not match %s", spelling, err, g)
		}
	}
	if other, _ := ParseGUID("01234567-89ab-cdef-0123-456789abcdee"); other.Matches(g) {
		t.Error("another machine matches")
	}
	for _, bad := range []string{"", "0123", "01234567-89ab-cdef-0123-456789abcdeg", strings.Repeat("-", 100) + "0123456789abcdef0123456789abcdef"} {
		if _, err := ParseGUID(bad); err == nil {
			t.Errorf("ParseGUID(%q) is no error", bad)
		}
	}
}

var pi4 = append([]byte("\x00RPi4"), make([]byte, 12)...)

func TestNewClient(t *testing.T) {
	biosClass, efiClass := "PXEClient:Arch:00000:UNDI:002001", "PXEClient:Arch:00007:UNDI:003000"
	httpFeature := []byte{0x13, 1, 1}
	pi3 := append([]byte{0}, bytes.Repeat([]byte{0x44}, 16)...)
	pc := append([]byte{0}, []byte("0123456789abcdef")...)
	for name, c := range map[string]struct {
		facts Facts
		want  Client
		http  bool
	}{
		"bios":          {Facts{Class: biosClass, Arch: []byte{0, 0}}, Client{Class: ClassPXE, Firmware: FirmwareBIOS, ArchKnown: true}, false},
		"uefi":          {Facts{Class: efiClass, Arch: []byte{0, 7}}, Client{Class: ClassPXE, Firmware: FirmwareUEFI, Arch: 7, ArchKnown: true}, false},
		"no 93":         {Facts{Class: efiClass}, Client{Class: ClassPXE, Firmware: FirmwareUEFI, Arch: 7, ArchKnown: true}, false},
		"odd 93":        {Facts{Class: efiClass, Arch: []byte{0, 6, 0}}, Client{Class: ClassPXE, Firmware: FirmwareUEFI, Arch: 7, ArchKnown: true}, false},
		"conflict":      {Facts{Class: biosClass, Arch: []byte{0, 7}}, Client{Class: ClassPXE, Firmware: FirmwareUEFI, Arch: 7, ArchKnown: true, ArchConflict: true}, false},
		"list":          {Facts{Class: "PXEClient", Arch: []byte{0, 12, 0, 6, 0, 7}}, Client{Class: ClassPXE, Firmware: FirmwareUEFI, Arch: 6, ArchKnown: true}, false},
		"nothing":       {Facts{Class: "PXEClient"}, Client{Class: ClassPXE, Firmware: FirmwareUnknown}, false},
		"powerpc":       {Facts{Class: "PXEClient", Arch: []byte{0, 12}}, Client{Class: ClassPXE, Firmware: FirmwareOther, Arch: 12, ArchKnown: true}, false},
		"http":          {Facts{Class: "HTTPClient:Arch:00016:UNDI:003000", Arch: []byte{0, 16}}, Client{Class: ClassHTTP, Firmware: FirmwareHTTP, Arch: 16, ArchKnown: true}, true},
		"ipxe raw":      {Facts{Class: biosClass, Arch: []byte{0, 0}, UserClass: []byte("iPXE"), IPXE: httpFeature}, Client{Class: ClassPXE, Firmware: FirmwareIPXE, ArchKnown: true}, true},
		"ipxe rfc 3004": {Facts{Class: biosClass, Arch: []byte{0, 0}, UserClass: []byte("\x04iPXE")}, Client{Class: ClassPXE, Firmware: FirmwareIPXE, ArchKnown: true}, false},
		"gpxe":          {Facts{Class: biosClass, Arch: []byte{0, 0}, UserClass: []byte("gPXE")}, Client{Class: ClassPXE, Firmware: FirmwareIPXE, ArchKnown: true}, false},
		"by version":    {Facts{Class: biosClass, Arch: []byte{0, 0}, IPXE: []byte{0xeb, 3, 1, 0, 0}}, Client{Class: ClassPXE, Firmware: FirmwareIPXE, ArchKnown: true}, false},
		"ours":          {Facts{Class: biosClass, Arch: []byte{0, 0}, UserClass: []byte(UserClassOurs)}, Client{Class: ClassPXE, Firmware: FirmwareIPXE, ArchKnown: true, Ours: true}, true},
		"pi 4":          {Facts{Class: biosClass, Arch: []byte{0, 0}, GUID: pi4}, Client{Class: ClassPXE, Firmware: FirmwareRPi, ArchKnown: true}, false},
		"pi 3":          {Facts{Class: biosClass, Arch: []byte{0, 0}, GUID: pi3}, Client{Class: ClassPXE, Firmware: FirmwareRPi, ArchKnown: true}, false},
		"pi by oui":     {Facts{Class: biosClass, Arch: []byte{0, 0}, MAC: "dc:a6:32:00:00:01"}, Client{Class: ClassPXE, Firmware: FirmwareRPi, ArchKnown: true}, false},
		"pc, pi's oui":  {Facts{Class: biosClass, Arch: []byte{0, 0}, MAC: "dc:a6:32:00:00:01", GUID: pc}, Client{Class: ClassPXE, Firmware: FirmwareBIOS, ArchKnown: true}, false},
		"uefi on a pi":  {Facts{Class: efiClass, Arch: []byte{0, 11}, MAC: "dc:a6:32:00:00:01"}, Client{Class: ClassPXE, Firmware: FirmwareUEFI, Arch: 11, ArchKnown: true, ArchConflict: true}, false},
		"class case":    {Facts{Class: "pxeclient"}, Client{Firmware: FirmwareUnknown}, false},
	} {
		t.Run(name, func(t *testing.T) {
			got := NewClient(c.facts)
			if got.Class != c.want.Class || got.Firmware != c.want.Firmware || got.Arch != c.want.Arch || got.ArchKnown != c.want.ArchKnown ||
				got.ArchConflict != c.want.ArchConflict || got.Ours != c.want.Ours || got.CanHTTP() != c.http {
				t.Errorf("got %+v (http %v), want %+v (http %v)", got, got.CanHTTP(), c.want, c.http)
			}
		})
	}
}

func TestParseIPXE(t *testing.T) {
	// From a capture of QEMU's ROM.
	x, ok := ParseIPXE([]byte{177, 5, 1, 26, 244, 16, 0, 24, 1, 1, 35, 1, 1, 16, 1, 2, 19, 1, 1, 235, 3, 1, 0, 0})
	if !ok || !x.Present || !x.Has(FeatureHTTP) || x.Has(FeatureEFI) || x.Version != [3]byte{1, 0, 0} {
		t.Errorf("%+v, %v", x, ok)
	}
	if x, ok := ParseIPXE([]byte{0x13, 1, 1, 0xeb, 3, 1}); ok || !x.Has(FeatureHTTP) {
		t.Errorf("truncated: %+v, %v: what came before counts", x, ok)
	}
	if x, _ := ParseIPXE([]byte{0x13, 1, 0}); x.Has(FeatureHTTP) {
		t.Error("a feature of value 0 is absent")
	}
	if x, ok := ParseIPXE([]byte{1, 1, 5, 255, 0x13, 1, 1}); !ok || x.Present {
		t.Errorf("%+v, %v: nothing counts after the end", x, ok)
	}
}

var (
	us  = netip.MustParseAddr("192.0.2.2")
	now = time.Unix(1_800_000_000, 0)
)

func client(f Firmware, a Arch) Client {
	return Client{MAC: "52:54:00:00:00:01", XID: 1, Class: ClassPXE, Firmware: f, Arch: a, ArchKnown: true}
}

func TestDecide(t *testing.T) {
	ipxe := client(FirmwareIPXE, 0)
	ipxe.IPXE.Features = 1 << (FeatureHTTP - featureFirst)
	dumb := client(FirmwareIPXE, 7)
	ours := client(FirmwareIPXE, 0)
	ours.Ours = true
	httpBoot := client(FirmwareHTTP, 16)
	httpBoot.Class = ClassHTTP
	httpOldArch := client(FirmwareHTTP, 7)
	httpOldArch.Class = ClassHTTP
	unknown := client(FirmwareUnknown, 0)
	unknown.ArchKnown = false
	x64 := ArchUEFIx64
	for name, c := range map[string]struct {
		client Client
		policy Policy
		want   Decision
	}{
		"bios":               {client(FirmwareBIOS, 0), Policy{}, Decision{Form: FormDirect, File: "undionly.kpxe", Stage1: true}},
		"uefi":               {client(FirmwareUEFI, 7), Policy{}, Decision{Form: FormDirect, File: "x86_64/snponly.efi", Stage1: true}},
		"uefi, two-step":     {client(FirmwareUEFI, 7), Policy{FirstForm: FormTwoStep}, Decision{Form: FormTwoStep, File: "x86_64/snponly.efi", Stage1: true}},
		"bios is direct":     {client(FirmwareBIOS, 0), Policy{FirstForm: FormTwoStep}, Decision{Form: FormDirect, File: "undionly.kpxe", Stage1: true}},
		"pinned":             {client(FirmwareBIOS, 0), Policy{Rules: []Rule{{Form: FormTwoStep}}}, Decision{Form: FormTwoStep, File: "undionly.kpxe", Stage1: true}},
		"ipxe":               {ipxe, Policy{}, Decision{Form: FormScript, File: "http://192.0.2.2/b", Priority: true}},
		"ipxe, port":         {ipxe, Policy{HTTPPort: 8000}, Decision{Form: FormScript, File: "http://192.0.2.2:8000/b", Priority: true}},
		"ipxe, port 80":      {ipxe, Policy{HTTPPort: 80}, Decision{Form: FormScript, File: "http://192.0.2.2/b", Priority: true}},
		"ipxe, no 175":       {ipxe, Policy{NoPriority: true}, Decision{Form: FormScript, File: "http://192.0.2.2/b"}},
		"ipxe, no 175, rule": {ipxe, Policy{Rules: []Rule{{NoPriority: true}}}, Decision{Form: FormScript, File: "http://192.0.2.2/b"}},
		"ipxe without http":  {dumb, Policy{}, Decision{Form: FormScript, File: "tftp://192.0.2.2/x86_64/snponly.efi", Stage1: true, Priority: true}},
		"ours":               {ours, Policy{}, Decision{Form: FormScript, File: "http://192.0.2.2/b", Priority: true}},
		"http boot":          {httpBoot, Policy{}, Decision{Form: FormHTTP, File: "http://192.0.2.2/x86_64/snponly.efi", Stage1: true}},
		"http boot, arch 7":  {httpOldArch, Policy{}, Decision{Form: FormHTTP, File: "http://192.0.2.2/x86_64/snponly.efi", Stage1: true}},
		"http boot, name":    {httpBoot, Policy{BaseURL: "http://box.example"}, Decision{Form: FormHTTP, File: "http://box.example/x86_64/snponly.efi", Stage1: true, Warning: ReasonNameNeedsDNS}},
		"http arch, pxe":     {client(FirmwareUEFI, 16), Policy{}, Decision{Form: FormDirect, File: "x86_64/snponly.efi", Stage1: true}},
		"pi":                 {client(FirmwareRPi, 0), Policy{}, Decision{Form: FormRPi, NextServer: true}},
		"pi, own file":       {client(FirmwareRPi, 0), Policy{Rules: []Rule{{File: "u-boot.bin"}}}, Decision{Form: FormDirect, File: "u-boot.bin"}},
		"taken for a pi":     {client(FirmwareBIOS, 0), Policy{Rules: []Rule{{As: new(ArchRPIBoot)}}}, Decision{Form: FormRPi, NextServer: true}},
		"unknown":            {unknown, Policy{}, Decision{Reason: ReasonArch}},
		"unknown, rule":      {unknown, Policy{Rules: []Rule{{File: "x"}}}, Decision{Form: FormDirect, File: "x"}},
		"unknown, as":        {unknown, Policy{Rules: []Rule{{As: &x64}}}, Decision{Form: FormDirect, File: "x86_64/snponly.efi", Stage1: true}},
		"powerpc":            {client(FirmwareOther, 12), Policy{}, Decision{Reason: ReasonArch}},
		"no loader":          {client(FirmwareUEFI, 10), Policy{Has: func(string) bool { return false }}, Decision{Reason: ReasonNoLoader}},
		"deny":               {client(FirmwareBIOS, 0), Policy{Rules: []Rule{{MAC: "52:54:00:00:00:01", Deny: true}}}, Decision{Reason: ReasonPolicy}},
		"deny another":       {client(FirmwareBIOS, 0), Policy{Rules: []Rule{{MAC: "52:54:00:00:00:02", Deny: true}}}, Decision{Form: FormDirect, File: "undionly.kpxe", Stage1: true}},
		"snoozed":            {client(FirmwareBIOS, 0), Policy{Rules: []Rule{{Snooze: now.Add(time.Second)}}}, Decision{Reason: ReasonPolicy}},
		"snooze over":        {client(FirmwareBIOS, 0), Policy{Rules: []Rule{{Snooze: now}}}, Decision{Form: FormDirect, File: "undionly.kpxe", Stage1: true}},
		"rule file":          {client(FirmwareUEFI, 7), Policy{Rules: []Rule{{Archs: []Arch{7}, File: "x86_64/ipxe.efi", Delay: time.Millisecond}}}, Decision{Form: FormDirect, File: "x86_64/ipxe.efi", Stage1: true, Delay: time.Millisecond}},
		"rule build, ipxe":   {ipxe, Policy{Rules: []Rule{{File: "ipxe.pxe"}}}, Decision{Form: FormScript, File: "http://192.0.2.2/b", Priority: true}},
		"rule build, dumb":   {dumb, Policy{Rules: []Rule{{File: "x86_64/ipxe.efi"}}}, Decision{Form: FormScript, File: "tftp://192.0.2.2/x86_64/ipxe.efi", Stage1: true, Priority: true}},
		"rule build, none":   {client(FirmwareUEFI, 7), Policy{Rules: []Rule{{File: "x86_64/ipxe.efi"}}, Has: func(f string) bool { return f == "x86_64/snponly.efi" }}, Decision{Reason: ReasonNoLoader}},
		"rule file, ipxe":    {ipxe, Policy{Rules: []Rule{{File: "files/a.ipxe"}}}, Decision{Form: FormScript, File: "http://192.0.2.2/files/a.ipxe", Priority: true}},
		"rule url, ipxe":     {ipxe, Policy{Rules: []Rule{{File: "http://h/x"}}}, Decision{Form: FormScript, File: "http://h/x", Priority: true}},
		"first rule wins":    {client(FirmwareBIOS, 0), Policy{Rules: []Rule{{File: "one"}, {Deny: true}}}, Decision{Form: FormDirect, File: "one"}},
		"rule of an arch":    {client(FirmwareBIOS, 0), Policy{Rules: []Rule{{Archs: []Arch{7}, Deny: true}}}, Decision{Form: FormDirect, File: "undionly.kpxe", Stage1: true}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Decide(c.client, c.policy, History{}, us, now); got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

// TestStyleFollowsTheClient plays the retries of both generations of EDK2.
func TestStyleFollowsTheClient(t *testing.T) {
	c := client(FirmwareUEFI, 7)
	ask := func(h History, xid uint32) Form {
		c.XID = xid
		return Decide(c, Policy{}, h, us, now).Form
	}
	for name, step := range map[string]struct {
		h    History
		xid  uint32
		want Form
	}{
		"first sight":                      {History{}, 1, FormDirect},
		"same transaction again":           {History{Form: FormDirect, XID: 1, Age: 4 * time.Second}, 1, FormTwoStep},
		"same packet by another way":       {History{Form: FormDirect, XID: 1, Age: time.Millisecond}, 1, FormDirect},
		"and again":                        {History{Form: FormTwoStep, XID: 1, Age: SamePacket}, 1, FormDirect},
		"came back without a download":     {History{Form: FormDirect, XID: 1}, 2, FormTwoStep},
		"asked 4011, then nothing":         {History{Form: FormTwoStep, XID: 1, Asked: true}, 2, FormDirect},
		"downloaded, next boot":            {History{Form: FormTwoStep, XID: 1, Loaded: true, Worked: FormTwoStep}, 2, FormTwoStep},
		"downloaded once, interrupted now": {History{Form: FormTwoStep, XID: 1, Worked: FormTwoStep}, 2, FormTwoStep},
		"what worked fails now":            {History{Form: FormTwoStep, XID: 2, Worked: FormTwoStep, Age: time.Second}, 2, FormDirect},
		"duplicate after a download":       {History{Form: FormDirect, XID: 1, Loaded: true, Worked: FormDirect}, 1, FormDirect},
	} {
		if got := ask(step.h, step.xid); got != step.want {
			t.Errorf("%s: %s, want %s", name, got, step.want)
		}
	}
}

func TestURL(t *testing.T) {
	for _, c := range []struct {
		policy Policy
		at     string
		want   string
	}{
		{Policy{}, "192.0.2.2", "http://192.0.2.2"},
		{Policy{HTTPPort: 80}, "2001:db8::2", "http://[2001:db8::2]"},
		{Policy{HTTPPort: 8000}, "2001:db8::2", "http://[2001:db8::2]:8000"},
		{Policy{BaseURL: "http://box.example/x", HTTPPort: 81}, "192.0.2.2", "http://box.example/x"},
	} {
		if got := c.policy.URL(netip.MustParseAddr(c.at)); got != c.want {
			t.Errorf("%s: %s, want %s", c.at, got, c.want)
		}
	}
}

func TestMemory(t *testing.T) {
	m := NewMemory(2)
	a := client(FirmwareUEFI, 7)
	addr := netip.MustParseAddr("192.0.2.50")
	m.Leased(a.MAC, addr)
	if _, ok := m.WhoIs(addr); ok {
		t.Error("a stranger's lease is remembered")
	}
	m.Offered(a, Decision{Form: FormDirect}, now)
	m.Leased(a.MAC, addr)
	if got, ok := m.WhoIs(netip.AddrFrom16(addr.As16())); !ok || got.MAC != a.MAC || got.Arch != 7 {
		t.Errorf("who is %s: %+v, %v", addr, got, ok)
	}
	m.Asked(a.MAC, addr)
	if h := m.History(a.MAC, now.Add(time.Second)); !h.Asked || h.Loaded || h.Form != FormDirect || h.Age != time.Second || h.XID != 1 {
		t.Errorf("%+v", h)
	}
	m.Loaded(addr)
	if h := m.History(a.MAC, now); !h.Loaded || h.Worked != FormDirect {
		t.Errorf("%+v", h)
	}
	m.Offered(a, Decision{Form: FormScript}, now)
	if h := m.History(a.MAC, now); !h.Loaded || h.Worked != FormDirect {
		t.Errorf("an answer to iPXE changed what is known of the firmware: %+v", h)
	}
	m.Offered(a, Decision{Form: FormTwoStep}, now)
	if h := m.History(a.MAC, now); h.Loaded || h.Worked != FormDirect || h.Form != FormTwoStep {
		t.Errorf("%+v", h)
	}
	// The address passes to another machine.
	b := a
	b.MAC = "52:54:00:00:00:02"
	m.Offered(b, Decision{Form: FormDirect}, now)
	m.Leased(b.MAC, addr)
	if got, _ := m.WhoIs(addr); got.MAC != b.MAC {
		t.Errorf("%s is still %s", addr, got.MAC)
	}
	// The bound: the least recently seen one goes, with its address.
	d := a
	d.MAC = "52:54:00:00:00:03"
	m.Offered(a, Decision{Form: FormDirect}, now)
	m.Offered(d, Decision{Form: FormDirect}, now)
	if m.Len() != 2 || m.History(b.MAC, now).Form != FormNone {
		t.Errorf("%d clients remembered, %+v", m.Len(), m.History(b.MAC, now))
	}
	if _, ok := m.WhoIs(addr); ok {
		t.Error("the address of a forgotten client is remembered")
	}
}

func TestLoopGuard(t *testing.T) {
	m := NewMemory(8)
	c := client(FirmwareBIOS, 0)
	raised := 0
	offer := func(d Decision, at time.Duration) {
		if m.Offered(c, d, now.Add(at)) {
			raised++
		}
	}
	stage1 := Decision{Form: FormDirect, Stage1: true}
	for i, want := range []int{0, 0, 0, 1, 1, 1} {
		offer(stage1, time.Duration(i)*time.Second)
		if raised != want {
			t.Errorf("after offer %d: raised %d times, want %d", i+1, raised, want)
		}
	}
	raised = 0
	c.MAC = "52:54:00:00:00:09"
	for i := range 10 {
		offer(stage1, time.Duration(i)*21*time.Second)
		offer(Decision{Form: FormScript}, time.Duration(i)*21*time.Second)
	}
	if raised != 0 {
		t.Errorf("slow boots and scripts raised %d loops", raised)
	}
}

func TestEventJSON(t *testing.T) {
	e := Event{
		Seq: 3, Kind: KindTFTP, Reason: ReasonNotFound, MAC: "52:54:00:00:00:01", Addr: netip.MustParseAddr("192.0.2.5"),
		Arch: 7, ArchKnown: true, File: "a\x1b[2J<b>\n", Duration: 1500 * time.Microsecond, Retries: 2, Bytes: 7,
	}
	out, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]any{
		"seq": 3.0, "kind": "tftp", "reason": "not_found", "reason_text": ReasonNotFound.Text(), "mac": "52:54:00:00:00:01",
		"addr": "192.0.2.5", "arch": "uefi-x64", "duration_ms": 1.5, "retries": 2.0, "bytes": 7.0,
	} {
		if got[key] != want {
			t.Errorf("%s = %v, want %v", key, got[key], want)
		}
	}
	if bytes.ContainsAny(out, "\x1b\n<") {
		t.Errorf("control characters or markup in %q", out)
	}
}

func FuzzNewClient(f *testing.F) {
	f.Add("PXEClient:Arch:00007:UNDI:003000", []byte("iPXE"), []byte{0, 7}, pi4, []byte{0x13, 1, 1})
	f.Add("HTTPClient:Arch:99999", []byte("\x04iPXE\x00"), []byte{1}, []byte{0}, []byte{0xeb, 200})
	f.Fuzz(func(t *testing.T, class string, user, arch, guid, ipxe []byte) {
		c := NewClient(Facts{Class: class, UserClass: user, Arch: arch, GUID: guid, IPXE: ipxe})
		if len(c.Archs) > 16 {
			t.Errorf("%d architectures kept", len(c.Archs))
		}
		d := Decide(c, Policy{}, History{}, us, now)
		if (d.Reason == ReasonNone) == (d.Form == FormNone) {
			t.Errorf("%+v is neither an answer nor a refusal", d)
		}
	})
}
