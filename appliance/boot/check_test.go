package boot

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// good are documents with every field of their kind in use.
func goodTargets() map[TargetKind]Target {
	m := map[TargetKind]Target{
		TargetLinux: {
			Kernel: "debian-installer/amd64/linux", Initrds: []string{"debian-installer/amd64/initrd.gz", "http://192.0.2.9/extra.cpio"}, Tree: "debian",
			Cmdline: `auto url={{answer "preseed.cfg"}} quiet ---`, Destructive: true,
			Needs: Needs{Memory: 1024, Platforms: []Platform{PlatformBIOS, PlatformUEFI}, CPUs: []string{"x86_64", "arm64"}, IPXE: "1.20.1", SecureBoot: true, Disk: true},
		},
		TargetEFI: {Program: "files/shell.efi", Tree: "tools"},
		TargetWimboot: {Kernel: "files/wimboot", Tree: "win11", Wim: &Wim{
			BCD: "boot/bcd", SDI: "boot/boot.sdi", Wim: "sources/boot.wim", Boot: "bootmgr.exe",
			Files: map[string]string{"autounattend.xml": "answer:autounattend.xml", "startnet.cmd": "files/startnet.cmd"},
		}},
		TargetScript: {Script: "#!ipxe\necho {{.Machine.Name}}\n\tshell\r\n"},
		TargetChain:  {URL: "http://${next-server}:8080/boot.php?mac=${net0/mac:hexhyp}&x=1"},
		TargetSAN: {SAN: &SAN{
			Protocol: SANiSCSI, Host: "192.0.2.20", Port: 3260, LUN: "1", IQN: "iqn.2024-01.example:{{.Machine.Name}}", Initiator: "iqn.2024-01.example:x",
			User: "u", Password: "~secret secret~", Hook: true, Then: "debian", Drive: 0x81, File: `\EFI\debian\grubx64.efi`,
		}},
		TargetLocal:    {Local: LocalSanboot},
		TargetPXELinux: {Program: "lpxelinux.0", Tree: "debian", Script: "DEFAULT x"},
		TargetGRUB:     {Program: "https://192.0.2.1/grubx64.efi", Tree: "x", Script: "set timeout=1"},
		TargetMenu: {Menu: &Menu{Title: "Choose", Seconds: 3600, Default: "live", Entries: []MenuEntry{
			{Gap: "Systems"}, {Profile: "live", Title: "Live", Key: "l"}, {Profile: "wipe", Key: "W", Locked: true},
		}}},
	}
	for kind, t := range m {
		t.Name, t.Kind, t.Title, t.Notes = "t", kind, "Title für alle", "line\nline\ttab\r\n"
		m[kind] = t
	}
	return m
}

func TestGoodDocuments(t *testing.T) {
	targets := goodTargets()
	for _, kind := range TargetKinds() {
		if errs := targets[kind].Check(); errs != nil {
			t.Errorf("%s: %v", kind, errs)
		}
	}
	for _, target := range []Target{
		{Name: "t", Kind: TargetLinux, Kernel: "k"},
		{Name: "t", Kind: TargetWimboot, Kernel: "wimboot", Wim: &Wim{Wim: "boot.wim"}},
		{Name: "t", Kind: TargetSAN, SAN: &SAN{Protocol: SANAoE, Shelf: "e0.0"}},
		{Name: "t", Kind: TargetSAN, SAN: &SAN{Protocol: SANAoE, Shelf: "e65534.254"}},
		{Name: "t", Kind: TargetSAN, SAN: &SAN{Protocol: SANHTTP, URL: "https://example.org/disk.img"}},
		{Name: "t", Kind: TargetSAN, SAN: &SAN{Protocol: SANiSCSI, Host: "san.example.org", IQN: "iqn.x"}},
		{Name: "t", Kind: TargetSAN, SAN: &SAN{Protocol: SANiSCSI, Host: "2001:db8::1", IQN: "iqn.x", LUN: "0-0-0-ffff"}},
		{Name: "t", Kind: TargetLocal},
		{Name: "t", Kind: TargetLocal, Local: LocalExit},
		{Name: "t", Kind: TargetLocal, Local: LocalNext},
		{Name: "t", Kind: TargetPXELinux},
		{Name: "t", Kind: TargetGRUB},
		{Name: "t", Kind: TargetMenu},
		{Name: "t", Kind: TargetMenu, Menu: &Menu{Default: "live"}},
		{Name: "t", Kind: TargetChain, URL: "https://boot.example.org"},
		{Name: "t", Kind: TargetChain, URL: "tftp://[2001:db8::1]/x"},
		{Name: "t", Kind: TargetChain, URL: "ftp://192.0.2.1:65535/%20x"},
		{Name: strings.Repeat("a", MaxName), Kind: TargetLocal, Title: strings.Repeat("t", MaxTitle), Notes: strings.Repeat("n", MaxNotes)},
		{Name: "t", Kind: TargetLinux, Kernel: strings.Repeat("k", MaxPath), Cmdline: strings.Repeat("c", MaxCmdline), Initrds: strings.Fields(strings.Repeat("i ", MaxInitrds)), Needs: Needs{Memory: 1 << 24}},
		{Name: "t", Kind: TargetScript, Script: strings.Repeat("s", MaxTemplateText)},
		{Name: "t", Kind: TargetChain, URL: "http://x/" + strings.Repeat("u", MaxURL-9)},
	} {
		if errs := target.Check(); errs != nil {
			t.Errorf("%s %s: %v", target.Kind, target.Name[:1], errs)
		}
	}
	answers, variables := map[string]string{}, map[string]string{}
	for i := range MaxAnswers {
		answers[fmt.Sprintf("a%d.cfg", i)] = "x"
	}
	for i := range MaxVariables {
		variables[fmt.Sprintf("_v-%d", i)] = strings.Repeat("x", MaxValue)
	}
	for _, errs := range []FieldErrors{
		Profile{Name: "p", Title: "T", Notes: "n", Target: "t", Variables: variables, Answers: answers, Loader: LoaderShim, Visible: Match{Tag: []string{"x"}}}.Check(),
		Profile{Name: "p", Target: "t", Loader: LoaderGRUB}.Check(),
		Profile{Name: "p", Target: "t", Loader: LoaderPXELinux}.Check(),
		Group{Name: "g", Notes: "n", Profile: "p", Variables: map[string]string{"key": "line\nline"}}.Check(),
		Group{Name: "g"}.Check(),
		SelectRule{Name: "r", Order: MaxOrder, Match: Match{MAC: []string{"52"}}, Profile: "p"}.Check(),
		SelectRule{Name: "r", Order: -MaxOrder, Profile: "p", Off: true}.Check(),
		Template{Name: "t", Kind: TemplateCmdline, Text: "quiet\n"}.Check(),
		Template{Name: "t", Kind: TemplatePlain, Text: strings.Repeat("x", MaxTemplateText)}.Check(),
		Site{Unknown: UnknownAsk, Default: "p", Title: "T", Seconds: MaxMenuSeconds, ForgetDays: MaxForgetDays, Variables: map[string]string{"a": ""}, Allow: []string{"52:54:00", "01234567-89ab-cdef-0123-456789abcdef"}, Deny: []string{"5"}, AllowUntil: noon, TrustRouted: true}.Check(),
		Site{Unknown: UnknownAllow}.Check(),
		Site{Unknown: UnknownIgnore, Allow: strings.Fields(strings.Repeat("52 ", MaxListed))}.Check(),
		goodMachine().Check(),
		Machine{Serial: "S1"}.Check(),
		Machine{GUID: GUID{1, 2}, Access: AccessDeny}.Check(),
		Machine{MACs: []NIC{{MAC: "00:00:00:00:00:01"}}, Assignment: &Assignment{Profile: "p", Mode: AssignAlways}}.Check(),
	} {
		if errs != nil {
			t.Error(errs)
		}
	}
	for _, kind := range TemplateKinds() {
		if errs := (Template{Name: "t", Kind: kind, Text: "x"}).Check(); errs != nil {
			t.Error(errs)
		}
	}
	for _, s := range []string{"a", "0", "a.b_c-d", "debian-12"} {
		if !ValidName(s) {
			t.Errorf("%q is no name", s)
		}
	}
	for _, s := range []string{"", "A", ".", "..", "-a", "_a", "a b", "a/b", "ä", "a\x00", strings.Repeat("a", MaxName+1)} {
		if ValidName(s) {
			t.Errorf("%q is a name", s)
		}
	}
}

func goodMachine() Machine {
	m := Machine{
		ID: "m-1", Name: "Lab 7.x", Notes: "any\ntext", Tags: []string{"floor-2", "Lab"}, Groups: []string{"lab", "x"}, Access: AccessAllow,
		Variables: map[string]string{"role": "web"}, GUID: GUID{1, 2}, Serial: "5CG 12",
		Assignment: &Assignment{Profile: "p", Mode: AssignArmed, Boots: MaxBoots, Expires: noon},
	}
	for i := range MaxMACs {
		m.MACs = append(m.MACs, NIC{MAC: MACOf([]byte{0x52, 0x54, 0, 0, 0, byte(i)})})
	}
	return m
}

// hostile are texts that must stand in no path, address or name.
var hostile = []string{"../x", "a/../b", "a/./b", "a//b", "a\nb", "a b", "a\\b", "a\x00b", "a$b", "a`b", "a;b", "a|b", "a'b", `a"b`, "a{b", "ä", "a#b", "a&b", "a?b", "a*b", "a%b", "a<b", "a\x7fb", "\xff"}

func TestPathsAreRefused(t *testing.T) {
	targets := goodTargets()
	for _, p := range append([]string{"/x", "x/", "..", ".", strings.Repeat("p", MaxPath+1), "/"}, hostile...) {
		linux := targets[TargetLinux]
		linux.Kernel, linux.Initrds = p, []string{p}
		efi, pxe, grub, wim, san, rooted := targets[TargetEFI], targets[TargetPXELinux], targets[TargetGRUB], targets[TargetWimboot], targets[TargetSAN], targets[TargetSAN]
		efi.Program, pxe.Program, grub.Program = p, p, p
		wim.Kernel = p
		wim.Wim = &Wim{BCD: p, SDI: p, Wim: p, Boot: p, Files: map[string]string{"f": p, "g": "answer:" + p}}
		for want, target := range map[string]Target{
			"kernel initrds[0]": linux, "program": efi, "program ": pxe, "program  ": grub,
			"kernel wim.boot_wim wim.bcd wim.sdi wim.bootmgr wim.files.f wim.files.g": wim,
		} {
			if got := fieldsOf(target.Check()); got != strings.TrimSpace(want) {
				t.Errorf("%q: %q, want %q", p, got, want)
			}
		}
		if p == "/x" || p == `a\b` {
			continue // a path on a disk may be written so
		}
		san.SAN = &SAN{Protocol: SANAoE, Shelf: "e0.0", File: p}
		rooted.SAN = &SAN{Protocol: SANAoE, Shelf: "e0.0", File: `\EFI\` + p}
		for _, target := range []Target{san, rooted} {
			if got := fieldsOf(target.Check()); got != "san.file" && p != "/" {
				t.Errorf("%q: %q", p, got)
			}
		}
	}
}

func TestURLsAreRefused(t *testing.T) {
	for _, u := range []string{
		"", "x", "//192.0.2.1/x", "http://", "http:///x", "http:x", "file:///etc/passwd", "javascript://x/y", "iscsi://x/y", "http://192.0.2.1/a b",
		"http://192.0.2.1/a\nb", "http://192.0.2.1/${mac", "http://192.0.2.1/${ma c}", "http://192.0.2.1/${}", "http://192.0.2.1/$mac", "http://192.0.2.1/{x}",
		"http://user:secret@192.0.2.1/x", "http://user@192.0.2.1/x", "http://192.0.2.1:0/x", "http://192.0.2.1:65536/x", "http://192.0.2.1:x/", "http://192.0.2.1/#x",
		"http://192.0.2.1/ä", "http://192.0.2.1/\"x", "http://[2001:db8::1/x", "http://x/" + strings.Repeat("u", MaxURL-8), "http://192.0.2.1/`x`", "${x}://192.0.2.1/",
		"http://192.0.2.1/%zz",
	} {
		if got := fieldsOf(Target{Name: "t", Kind: TargetChain, URL: u}.Check()); got != "url" {
			t.Errorf("%q: %q", u, got)
		}
		if got := fieldsOf(Target{Name: "t", Kind: TargetSAN, SAN: &SAN{Protocol: SANHTTP, URL: u}}.Check()); got != "san.url" {
			t.Errorf("%q: %q", u, got)
		}
	}
	for u, want := range map[string]string{
		"http://192.0.2.1/${mac}": "kernel", "gopher://x/y": "kernel", "http://192.0.2.1/linux": "", "ftp://192.0.2.1/linux": "",
	} {
		if got := fieldsOf(Target{Name: "t", Kind: TargetLinux, Kernel: u}.Check()); got != want {
			t.Errorf("%q: %q, want %q", u, got, want)
		}
	}
	if got := fieldsOf(Target{Name: "t", Kind: TargetSAN, SAN: &SAN{Protocol: SANHTTP, URL: "tftp://192.0.2.1/x"}}.Check()); got != "san.url" {
		t.Errorf("a disk by TFTP: %q", got)
	}
}

// TestFieldsOfOtherKinds: what does not count for a kind is refused by name, for
// every pair of kinds.
func TestFieldsOfOtherKinds(t *testing.T) {
	targets := goodTargets()
	counts := map[string]string{ // field: kinds
		"tree": "linux efi wimboot pxelinux grub", "kernel": "linux wimboot", "initrds": "linux", "cmdline": "linux", "program": "efi pxelinux grub",
		"script": "script pxelinux grub", "url": "chain", "wim": "wimboot", "san": "san", "local": "local", "menu": "menu",
	}
	set := map[string]func(*Target){
		"tree":    func(t *Target) { t.Tree = "x" },
		"kernel":  func(t *Target) { t.Kernel = "x" },
		"initrds": func(t *Target) { t.Initrds = []string{"x"} },
		"cmdline": func(t *Target) { t.Cmdline = "x" },
		"program": func(t *Target) { t.Program = "x" },
		"script":  func(t *Target) { t.Script = "x" },
		"url":     func(t *Target) { t.URL = "http://x/" },
		"wim":     func(t *Target) { t.Wim = &Wim{Wim: "x"} },
		"san":     func(t *Target) { t.SAN = &SAN{Protocol: SANAoE, Shelf: "e0.0"} },
		"local":   func(t *Target) { t.Local = LocalExit },
		"menu":    func(t *Target) { t.Menu = &Menu{} },
	}
	for field, change := range set {
		for kind, target := range targets {
			change(&target)
			want := field
			if strings.Contains(" "+counts[field]+" ", " "+string(kind)+" ") {
				want = ""
			}
			if got := fieldsOf(target.Check()); got != want {
				t.Errorf("%s in %s: %q, want %q", field, kind, got, want)
			}
		}
	}
}

func TestTargetErrors(t *testing.T) {
	many := func(n int) []string { return strings.Fields(strings.Repeat("x ", n)) }
	files := map[string]string{}
	for i := range MaxWimFiles + 1 {
		files[fmt.Sprintf("f%d", i)] = "x"
	}
	entries := make([]MenuEntry, MaxMenuEntries+1)
	for _, c := range []struct {
		kind TargetKind
		with func(*Target)
		want string
	}{
		{TargetLocal, func(t *Target) { t.Name = "" }, "name"},
		{TargetLocal, func(t *Target) { t.Name = "Debian" }, "name"},
		{TargetLocal, func(t *Target) { t.Title = "a\nb" }, "title"},
		{TargetLocal, func(t *Target) { t.Title = strings.Repeat("t", MaxTitle+1) }, "title"},
		{TargetLocal, func(t *Target) { t.Title = "\xff" }, "title"},
		{TargetLocal, func(t *Target) { t.Title = "a\u202eb" }, "title"},
		{TargetLocal, func(t *Target) { t.Notes = strings.Repeat("t", MaxNotes+1) }, "notes"},
		{TargetLocal, func(t *Target) { t.Notes = "a\x00b" }, "notes"},
		{TargetLocal, func(t *Target) { t.Notes = "a\rb" }, "notes"},
		{TargetLocal, func(t *Target) { t.Notes = "a\x7fb" }, "notes"},
		{TargetLocal, func(t *Target) { t.Notes = "\xff" }, "notes"},
		{TargetLocal, func(t *Target) { t.Kind = "" }, "kind"},
		{TargetLocal, func(t *Target) { t.Kind = "floppy" }, "kind"},
		{TargetLocal, func(t *Target) { t.Destructive = true }, "destructive"},
		{TargetMenu, func(t *Target) { t.Destructive = true }, "destructive"},
		{TargetLocal, func(t *Target) { t.Local = "reboot" }, "local"},
		{TargetLinux, func(t *Target) { t.Tree = "../x" }, "tree"},
		{TargetLinux, func(t *Target) { t.Kernel = "" }, "kernel"},
		{TargetLinux, func(t *Target) { t.Initrds = many(MaxInitrds + 1) }, "initrds"},
		{TargetLinux, func(t *Target) { t.Initrds = []string{"ok", ""} }, "initrds[1]"},
		{TargetLinux, func(t *Target) { t.Cmdline = "quiet\ninitrd=x" }, "cmdline"},
		{TargetLinux, func(t *Target) { t.Cmdline = "quiet\rx" }, "cmdline"},
		{TargetLinux, func(t *Target) { t.Cmdline = strings.Repeat("c", MaxCmdline+1) }, "cmdline"},
		{TargetLinux, func(t *Target) { t.Needs = Needs{Memory: -1} }, "needs.memory"},
		{TargetLinux, func(t *Target) { t.Needs = Needs{Memory: 1<<24 + 1} }, "needs.memory"},
		{TargetLinux, func(t *Target) { t.Needs = Needs{Platforms: []Platform{"bios", "efi"}} }, "needs.platforms[1]"},
		{TargetLinux, func(t *Target) { t.Needs = Needs{Platforms: []Platform{"bios", "uefi", "bios"}} }, "needs.platforms"},
		{TargetLinux, func(t *Target) { t.Needs = Needs{CPUs: []string{"x86_64", "amd64"}} }, "needs.cpus[1]"},
		{TargetLinux, func(t *Target) { t.Needs = Needs{CPUs: []string{""}} }, "needs.cpus[0]"},
		{TargetLinux, func(t *Target) { t.Needs = Needs{CPUs: many(99)} }, "needs.cpus"},
		{TargetLinux, func(t *Target) { t.Needs = Needs{IPXE: "new"} }, "needs.ipxe"},
		{TargetLinux, func(t *Target) { t.Needs = Needs{IPXE: "1..2"} }, "needs.ipxe"},
		{TargetLinux, func(t *Target) { t.Needs = Needs{IPXE: "1.2.3.4.5"} }, "needs.ipxe"},
		{TargetLinux, func(t *Target) { t.Needs = Needs{IPXE: "+1"} }, "needs.ipxe"},
		{TargetLinux, func(t *Target) { t.Needs = Needs{IPXE: "-1"} }, "needs.ipxe"},
		{TargetLinux, func(t *Target) { t.Needs = Needs{IPXE: "-0"} }, "needs.ipxe"},
		{TargetLinux, func(t *Target) { t.Needs = Needs{IPXE: "100000"} }, "needs.ipxe"},
		{TargetLinux, func(t *Target) { t.Needs = Needs{IPXE: "99999.0.0.0"} }, ""},
		{TargetLinux, func(t *Target) { t.Needs = Needs{SecureBoot: true, Platforms: []Platform{"bios"}} }, "needs.signed"},
		{TargetLinux, func(t *Target) { t.Needs = Needs{SecureBoot: true} }, ""},
		{TargetEFI, func(t *Target) { t.Program = "" }, "program"},
		{TargetScript, func(t *Target) { t.Script = " \n" }, "script"},
		{TargetScript, func(t *Target) { t.Script = "a\x00b" }, "script"},
		{TargetScript, func(t *Target) { t.Script = strings.Repeat("s", MaxTemplateText+1) }, "script"},
		{TargetPXELinux, func(t *Target) { t.Script = "a\x00b" }, "script"},
		{TargetWimboot, func(t *Target) { t.Kernel = "" }, "kernel"},
		{TargetWimboot, func(t *Target) { t.Wim = nil }, "wim"},
		{TargetWimboot, func(t *Target) { t.Wim = &Wim{} }, "wim.boot_wim"},
		{TargetWimboot, func(t *Target) { t.Wim = &Wim{Wim: "w", Files: files} }, "wim.files"},
		{TargetWimboot, func(t *Target) {
			t.Wim = &Wim{Wim: "w", Files: map[string]string{"../x": "f", "": "f", ".x": "f", "-x": "f", "a b": "f"}}
		}, "wim.files wim.files wim.files wim.files wim.files"},
		{TargetWimboot, func(t *Target) { t.Wim = &Wim{Wim: "w", Files: map[string]string{"A.xml": "f", "a.XML": "f", "e": ""}} }, "wim.files.a.XML wim.files.e"},
		{TargetWimboot, func(t *Target) { t.Wim = &Wim{Wim: "w", Files: map[string]string{"a": "answer:"}} }, "wim.files.a"},
		{TargetMenu, func(t *Target) { t.Menu.Title = "a\nb" }, "menu.title"},
		{TargetMenu, func(t *Target) { t.Menu.Seconds = -1 }, "menu.seconds"},
		{TargetMenu, func(t *Target) { t.Menu.Seconds = MaxMenuSeconds + 1 }, "menu.seconds"},
		{TargetMenu, func(t *Target) { t.Menu.Default = "other" }, "menu.default"},
		{TargetMenu, func(t *Target) { t.Menu.Default = "Other" }, "menu.default menu.default"},
		{TargetMenu, func(t *Target) { t.Menu.Default = "wipe" }, "menu.default"}, // locked
		{TargetMenu, func(t *Target) { t.Menu = &Menu{Entries: entries} }, "menu.entries"},
		{TargetMenu, func(t *Target) { t.Menu = &Menu{Entries: []MenuEntry{{}}} }, "menu.entries[0].profile"},
		{TargetMenu, func(t *Target) { t.Menu = &Menu{Entries: []MenuEntry{{Profile: "a", Title: "a\nb"}}} }, "menu.entries[0].title"},
		{TargetMenu, func(t *Target) { t.Menu = &Menu{Entries: []MenuEntry{{Gap: "a\nb"}}} }, "menu.entries[0].gap"},
		{TargetMenu, func(t *Target) { t.Menu = &Menu{Entries: []MenuEntry{{Gap: strings.Repeat("g", MaxTitle+1)}}} }, "menu.entries[0].gap"},
		{TargetMenu, func(t *Target) {
			t.Menu = &Menu{Entries: []MenuEntry{{Gap: "a", Profile: "p"}, {Gap: "a", Key: "k"}, {Gap: "a", Title: "t"}, {Gap: "a", Locked: true}}}
		}, "menu.entries[0] menu.entries[1] menu.entries[2] menu.entries[3]"},
		{TargetMenu, func(t *Target) {
			t.Menu = &Menu{Entries: []MenuEntry{{Profile: "a", Key: "ab"}, {Profile: "b", Key: "é"}, {Profile: "c", Key: " "}, {Profile: "d", Key: "x"}, {Profile: "e", Key: "X"}, {Profile: "f", Key: "9"}, {Profile: "g"}, {Profile: "h"}}}
		}, "menu.entries[0].key menu.entries[1].key menu.entries[2].key menu.entries[4].key"},
		{TargetMenu, func(t *Target) { t.Menu = &Menu{Entries: []MenuEntry{{Profile: "a", Locked: true}}} }, ""},
	} {
		target := goodTargets()[c.kind]
		c.with(&target)
		if got := fieldsOf(target.Check()); got != c.want {
			t.Errorf("%s: %q, want %q", c.kind, got, c.want)
		}
	}
}

func TestSANErrors(t *testing.T) {
	iscsi := func(with func(*SAN)) *SAN {
		s := &SAN{Protocol: SANiSCSI, Host: "192.0.2.1", IQN: "iqn.x"}
		with(s)
		return s
	}
	for _, c := range []struct {
		san  *SAN
		want string
	}{
		{nil, "san"},
		{&SAN{}, "san.protocol"},
		{&SAN{Protocol: "fcoe"}, "san.protocol"},
		{&SAN{Protocol: SANiSCSI}, "san.host san.iqn"},
		{&SAN{Protocol: SANAoE}, "san.shelf"},
		{&SAN{Protocol: SANAoE, Shelf: "0.0"}, "san.shelf"},
		{&SAN{Protocol: SANAoE, Shelf: "e0"}, "san.shelf"},
		{&SAN{Protocol: SANAoE, Shelf: "e.0"}, "san.shelf"},
		{&SAN{Protocol: SANAoE, Shelf: "e0."}, "san.shelf"},
		{&SAN{Protocol: SANAoE, Shelf: "e65535.0"}, "san.shelf"},
		{&SAN{Protocol: SANAoE, Shelf: "e0.255"}, "san.shelf"},
		{&SAN{Protocol: SANAoE, Shelf: "e0.0", Host: "h", Port: 1, LUN: "0", IQN: "i", Initiator: "i", User: "u", Password: "p", URL: "http://x/"}, "san.host san.port san.lun san.iqn san.initiator san.user san.password san.url"},
		{&SAN{Protocol: SANHTTP, URL: "http://x/", Shelf: "e0.0"}, "san.shelf"},
		{iscsi(func(s *SAN) { s.Host = "a b" }), "san.host"},
		{iscsi(func(s *SAN) { s.Host = "fe80::1%eth0" }), "san.host"},
		{iscsi(func(s *SAN) { s.Host = "a..b" }), "san.host"},
		{iscsi(func(s *SAN) { s.Host = "-a" }), "san.host"},
		{iscsi(func(s *SAN) { s.Host = "a-" }), "san.host"},
		{iscsi(func(s *SAN) { s.Host = "a:3260" }), "san.host"},
		{iscsi(func(s *SAN) { s.Host = strings.Repeat("a.", 127) + "a" }), "san.host"},
		{iscsi(func(s *SAN) { s.Host = strings.Repeat("a.", 126) + "a" }), ""},
		{iscsi(func(s *SAN) { s.Port = -1 }), "san.port"},
		{iscsi(func(s *SAN) { s.Port = 65536 }), "san.port"},
		{iscsi(func(s *SAN) { s.Port = 65535 }), ""},
		{iscsi(func(s *SAN) { s.LUN = "x" }), "san.lun"},
		{iscsi(func(s *SAN) { s.LUN = "g" }), "san.lun"},
		{iscsi(func(s *SAN) { s.IQN = strings.Repeat(" ", MaxPath+1) }), "san.iqn"},
		{iscsi(func(s *SAN) { s.LUN = "10000" }), "san.lun"},
		{iscsi(func(s *SAN) { s.LUN = "00001" }), "san.lun"},
		{iscsi(func(s *SAN) { s.LUN = "0-0-0-0-0" }), "san.lun"},
		{iscsi(func(s *SAN) { s.LUN = "ffff-0-0-0" }), ""},
		{iscsi(func(s *SAN) { s.IQN = "iqn x" }), "san.iqn"},
		{iscsi(func(s *SAN) { s.IQN = "iqn.{{ .x }}" }), ""},
		{iscsi(func(s *SAN) { s.IQN = "iqn\nx" }), "san.iqn"},
		{iscsi(func(s *SAN) { s.Initiator = "iqn.$x" }), "san.initiator"},
		{iscsi(func(s *SAN) { s.User, s.Password = "u", "pä" }), "san.password"},
		{iscsi(func(s *SAN) { s.User, s.Password = "u\n", "p" }), "san.user"},
		{iscsi(func(s *SAN) { s.User, s.Password = "u", "p\x7f" }), "san.password"},
		{iscsi(func(s *SAN) { s.User, s.Password = "u", strings.Repeat("p", MaxPath+1) }), "san.password"},
		{iscsi(func(s *SAN) { s.Password = "p" }), "san.user"},
		{iscsi(func(s *SAN) { s.Drive = 0x7f }), "san.drive"},
		{iscsi(func(s *SAN) { s.Drive = 0x90 }), "san.drive"},
		{iscsi(func(s *SAN) { s.Drive = -1 }), "san.drive"},
		{iscsi(func(s *SAN) { s.Drive = 0x80 }), ""},
		{iscsi(func(s *SAN) { s.Drive = 0x8f }), ""},
		{iscsi(func(s *SAN) { s.Hook = true }), "san.then"},
		{iscsi(func(s *SAN) { s.Then = "x" }), "san.then"},
		{iscsi(func(s *SAN) { s.Hook, s.Then = true, "../x" }), "san.then"},
		{iscsi(func(s *SAN) { s.File = strings.Repeat("f", MaxPath+1) }), "san.file"},
		{iscsi(func(s *SAN) { s.File = "/EFI/boot/bootx64.efi" }), ""},
	} {
		if got := fieldsOf(Target{Name: "t", Kind: TargetSAN, SAN: c.san}.Check()); got != c.want {
			t.Errorf("%+v: %q, want %q", c.san, got, c.want)
		}
	}
}

func TestDocumentErrors(t *testing.T) {
	tooMany := map[string]string{}
	for i := range MaxVariables + 1 {
		tooMany[fmt.Sprintf("v%d", i)] = "x"
	}
	for _, c := range []struct {
		errs FieldErrors
		want string
	}{
		{Profile{}.Check(), "name target"},
		{Profile{Name: "p", Target: "T", Title: "a\nb", Notes: "\x00"}.Check(), "title notes target"},
		{Profile{Name: "p", Target: "t", Loader: "lilo"}.Check(), "loader"},
		{Profile{Name: "p", Target: "t", Answers: tooMany}.Check(), "answers"},
		{Profile{Name: "p", Target: "t", Answers: map[string]string{"../x": "t", "ok": "", "b": "X", ".hidden": "t", strings.Repeat("a", MaxName+1): "t", "a/b": "t"}}.Check(), "answers answers answers answers answers.b answers.ok"},
		{Profile{Name: "p", Target: "t", Visible: Match{MAC: []string{"x"}}}.Check(), "visible.mac[0]"},
		{Profile{Name: "p", Target: "t", Variables: tooMany}.Check(), "variables"},
		{Profile{Name: "p", Target: "t", Variables: map[string]string{"": "x", "1a": "x", "a b": "x", "-a": "x", "a.b": "x", strings.Repeat("a", MaxName+1): "x", "ok": "\x00", "long": strings.Repeat("x", MaxValue+1)}}.Check(), "variables variables variables variables variables variables variables.long variables.ok"},
		{Profile{Name: "p", Target: "t", Variables: map[string]string{strings.Repeat("a", MaxName): "", "a-1_B": "ä"}}.Check(), ""},
		{Group{}.Check(), "name"},
		{Group{Name: "g", Profile: "P", Notes: "\x00", Variables: map[string]string{"": ""}}.Check(), "notes profile variables"},
		{SelectRule{}.Check(), "name profile"},
		{SelectRule{Name: "r", Profile: "p", Order: MaxOrder + 1, Notes: "\x00"}.Check(), "notes order"},
		{SelectRule{Name: "r", Profile: "p", Order: -MaxOrder - 1, Match: Match{Subnet: []string{"x"}}}.Check(), "order match.subnet[0]"},
		{Template{}.Check(), "name kind text"},
		{Template{Name: "t", Kind: "jinja", Text: "x", Notes: "\x00"}.Check(), "notes kind"},
		{Template{Name: "t", Kind: TemplatePlain, Text: " \n"}.Check(), "text"},
		{Template{Name: "t", Kind: TemplatePlain, Text: strings.Repeat("x", MaxTemplateText+1)}.Check(), "text"},
		{Template{Name: "t", Kind: TemplatePlain, Text: "\xff"}.Check(), "text"},
		{Template{Name: "t", Kind: TemplateCmdline, Text: "a\nb"}.Check(), "text"},
		{Template{Name: "t", Kind: TemplatePreseed, Text: "a\nb"}.Check(), ""},
		{Site{}.Check(), "unknown"},
		{Site{Unknown: "deny", Default: "P", Title: "\n", Seconds: -1, ForgetDays: -1, Variables: map[string]string{"": ""}}.Check(), "unknown default title seconds forget_days variables"},
		{Site{Unknown: UnknownAsk, Seconds: MaxMenuSeconds + 1, ForgetDays: MaxForgetDays + 1}.Check(), "seconds forget_days"},
		{Site{Unknown: UnknownAsk, Allow: []string{"x", "", "ffffffff-ffff-ffff-ffff-ffffffffffff"}, Deny: []string{"52:54", "lab*"}}.Check(), "allow[0] allow[1] allow[2] deny[1]"},
		{Site{Unknown: UnknownAsk, Deny: strings.Fields(strings.Repeat("52 ", MaxListed+1))}.Check(), "deny"},
		{Machine{}.Check(), "macs"},
		{Machine{ID: "../x", Serial: "S1"}.Check(), "id"},
		{Machine{Serial: "S1", Name: "a\nb", Notes: "\x00", Access: "maybe", Variables: map[string]string{"": ""}}.Check(), "name notes access variables"},
		{Machine{Serial: "S1", Name: strings.Repeat("n", MaxName+1)}.Check(), "name"},
		{Machine{Serial: "S1", Name: "a  b"}.Check(), "name"},
		{Machine{Serial: "S1", Name: " a"}.Check(), "name"},
		{Machine{Serial: "S1", Name: "a "}.Check(), "name"},
		{Machine{Serial: "S1", Name: "-a"}.Check(), "name"},
		{Machine{Serial: "S1", Name: "${mac}"}.Check(), "name"},
		{Machine{Serial: "S1", Tags: []string{"a", "A", "", "a b", "x;"}}.Check(), "tags[1] tags[2] tags[3] tags[4]"},
		{Machine{Serial: "S1", Tags: make([]string, MaxTags+1)}.Check(), "tags"},
		{Machine{Serial: "S1", Groups: []string{"a", "a", "", "B"}}.Check(), "groups[1] groups[2] groups[3]"},
		{Machine{Serial: "S1", Groups: make([]string, MaxTags+1)}.Check(), "groups"},
		{Machine{GUID: GUID{15: 1}}.Check(), "uuid"},
		{Machine{Serial: "To be filled by O.E.M."}.Check(), "serial"},
		{Machine{Serial: "a\nb"}.Check(), "serial"},
		{Machine{Serial: strings.Repeat("7A", MaxClaim)}.Check(), "serial"},
		{Machine{MACs: make([]NIC, MaxMACs+1)}.Check(), "macs"},
		{Machine{MACs: []NIC{{}, {MAC: "52-54-00-12-34-56"}, {MAC: "00:00:00:00:00:00"}, {MAC: "01:00:5e:00:00:01"}, {MAC: "52:54:00:12:34:56"}, {MAC: "52:54:00:12:34:56"}, {MAC: "52:54:00:AB:CD:EF"}, {MAC: "52:54:00:12:34:56:78:9a"}}}.Check(), "macs[0].mac macs[1].mac macs[2].mac macs[3].mac macs[5].mac macs[6].mac macs[7].mac"},
		{Machine{Serial: "S1", Assignment: &Assignment{}}.Check(), "assignment.profile assignment.mode"},
		{Machine{Serial: "S1", Assignment: &Assignment{Profile: "p", Mode: AssignOnce, Boots: 1, Expires: time.Unix(1, 0)}}.Check(), "assignment.expires assignment.boots"},
		{Machine{Serial: "S1", Assignment: &Assignment{Profile: "p", Mode: AssignArmed, Boots: MaxBoots + 1}}.Check(), "assignment.boots"},
	} {
		if got := fieldsOf(c.errs); got != c.want {
			t.Errorf("%q, want %q (%v)", got, c.want, c.errs)
		}
	}
	if what := (Machine{MACs: []NIC{{MAC: "52-54-00-AB-CD-EF"}}}).Check()[0].What; what != "write it as 52:54:00:ab:cd:ef" {
		t.Error(what)
	}
	if what := (Template{Name: "t", Kind: TemplatePlain, Text: "a\nb\x01"}).Check()[0].What; !strings.Contains(what, "line 2") {
		t.Error(what)
	}
	if err := FieldErrors(nil).Err(); err != nil {
		t.Error(err)
	}
}
