package ipxe_test

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bootpuck/bootpuck/appliance/boot"
	"github.com/bootpuck/bootpuck/appliance/ipxe"
)

const token = "abcdefghijklmnopqrstuvwxy2"

func chosen(action boot.Action, source boot.Source) boot.Choice {
	return boot.Choice{Machine: "m1", Source: source, Profile: "p", Action: action}
}

// bootPlan is a plan that boots t.
func bootPlan(t boot.Target) boot.Plan {
	t.Name = "target"
	return boot.Plan{
		Choice: chosen(boot.ActionBoot, boot.SourceMachine), Profile: boot.Profile{Name: "p", Title: "The profile"},
		Target: t, Title: "pc-17", AnswerToken: token, CallbackToken: token, Default: -1,
	}
}

func linuxTarget() boot.Target {
	return boot.Target{
		Kind: boot.TargetLinux, Title: "Debian installer", Kernel: "trees/debian/linux",
		Initrds: []string{"trees/debian/initrd.gz", "files/firm ware,1.cpio"}, Cmdline: `auto=true url=http://192.0.2.2/a/x/preseed.cfg dyndbg="file a.c +p" --- quiet`,
	}
}

func wimTarget() boot.Target {
	return boot.Target{Kind: boot.TargetWimboot, Title: "Windows PE", Kernel: "files/wimboot", Wim: &boot.Wim{
		BCD: "files/pe/BCD", SDI: "files/pe/boot.sdi", Wim: "files/pe/boot.wim", Boot: "files/pe/bootmgr.exe",
		Files: map[string]string{"autounattend.xml": "answer:autounattend.xml", "startnet.cmd": "files/pe/startnet.cmd"},
	}}
}

func iscsi() *boot.SAN {
	return &boot.SAN{
		Protocol: boot.SANiSCSI, Host: "192.0.2.9", IQN: "iqn.2007-08.com.example.san:sometarget",
		Initiator: "iqn.2007-08.com.example.initiator:pc17", User: "pc17", Password: "se cret${x}",
	}
}

func menuPlan() boot.Plan {
	p := bootPlan(boot.Target{Kind: boot.TargetMenu, Menu: &boot.Menu{Title: "Operating systems"}})
	p.Token, p.Code, p.Seconds, p.Default = token, "7KXP", 30, 1
	p.Menu = []boot.PlanEntry{
		{Title: "Live systems", Gap: true},
		{Title: "Rescue system", Key: "r"},
		{Title: "Wipe and install Debian", Key: "w", Destructive: true},
		{Title: "Company image", Locked: true},
		{Title: "More tools", Key: "??", Sub: true},
		{Title: "Big system", Disabled: boot.ReasonNeedsMemory, Detail: "needs 2048 MiB, this machine has 512"},
		{Title: "Old system", Disabled: boot.ReasonNeedsSigned},
	}
	return p
}

// plans are what can be asked of a renderer: every kind of target, every action.
func plans() map[string]boot.Plan {
	arm := func(p boot.Plan) boot.Plan {
		p.Choice.Action, p.Token, p.Code = boot.ActionArmed, token, "K7QX"
		return p
	}
	sanHook := bootPlan(boot.Target{Kind: boot.TargetSAN, Title: "Install to the network disk", SAN: &boot.SAN{
		Protocol: boot.SANiSCSI, Host: "2001:db8::9", Port: 3261, LUN: "2", IQN: "iqn.2007-08.com.example:x", Hook: true, Then: "wim", Drive: 0x80,
	}})
	wim := wimTarget()
	sanHook.Then = &wim
	local := bootPlan(boot.Target{Kind: boot.TargetLocal})
	local.Choice.Action = boot.ActionLocal
	stopped := local
	stopped.Choice.Source, stopped.Choice.Reason = boot.SourceSafety, boot.ReasonLoopBreaker
	stopped.Note = boot.ReasonLoopBreaker.Text()
	builtin := menuPlan()
	builtin.Choice = chosen(boot.ActionMenu, boot.SourceBuiltIn)
	builtin.Target = boot.Target{Kind: boot.TargetMenu, Title: "Example Ltd"}
	bare := boot.Plan{Choice: chosen(boot.ActionMenu, boot.SourceBuiltIn), Default: -1}
	unproven := bare
	unproven.Title, unproven.Note = "pc-17", boot.ReasonIdentityUnproven.Text()
	ask := boot.Plan{Choice: chosen(boot.ActionAsk, boot.SourceUnknown), Title: "52:54:00:12:34:56", Token: token, Code: "NPRT4", Default: -1}
	ask.Note = boot.ReasonUnknownAsks.Text()
	once := arm(bootPlan(boot.Target{Kind: boot.TargetLinux, Title: "Rescue"}))
	once.Code = ""
	armed := arm(bootPlan(boot.Target{Kind: boot.TargetLinux, Title: "Install", Destructive: true}))
	coded := bootPlan(linuxTarget())
	coded.Code = "K7QX"
	return map[string]boot.Plan{
		"linux":         bootPlan(linuxTarget()),
		"linux-url":     bootPlan(boot.Target{Kind: boot.TargetLinux, Kernel: "http://198.51.100.1/k", Cmdline: "ip=${ip} # || && ;"}),
		"efi":           bootPlan(boot.Target{Kind: boot.TargetEFI, Title: "UEFI shell", Program: "files/shell.efi"}),
		"wimboot":       bootPlan(wimTarget()),
		"script":        bootPlan(boot.Target{Kind: boot.TargetScript, Title: "Own", Script: "#!ipxe\n# mine\nset x 1\n:again\necho hello # there\nchain http://192.0.2.7/${x}.ipxe || goto again\nkernel a \\\n  b\nboot\n"}),
		"chain":         bootPlan(boot.Target{Kind: boot.TargetChain, Title: "Other box", URL: "http://boot.example.net/${mac:hexhyp}.ipxe?a=b"}),
		"chain-px":      bootPlan(boot.Target{Kind: boot.TargetChain, URL: "http://pxe.example.com/boot/pxelinux.0"}),
		"san-iscsi":     bootPlan(boot.Target{Kind: boot.TargetSAN, Title: "Network disk", SAN: iscsi()}),
		"san-aoe":       bootPlan(boot.Target{Kind: boot.TargetSAN, SAN: &boot.SAN{Protocol: boot.SANAoE, Shelf: "e0.0", File: "/EFI/debian/grubx64.efi", Drive: 0x81}}),
		"san-http":      bootPlan(boot.Target{Kind: boot.TargetSAN, SAN: &boot.SAN{Protocol: boot.SANHTTP, URL: "http://192.0.2.7/disk.img"}}),
		"san-hook":      sanHook,
		"local":         local,
		"local-exit":    bootPlan(boot.Target{Kind: boot.TargetLocal, Local: boot.LocalExit}),
		"local-sanboot": bootPlan(boot.Target{Kind: boot.TargetLocal, Local: boot.LocalSanboot}),
		"local-loader":  bootPlan(boot.Target{Kind: boot.TargetLocal, Local: boot.LocalNext}),
		"stopped":       stopped,
		"pxelinux":      bootPlan(boot.Target{Kind: boot.TargetPXELinux, Title: "pxelinux"}),
		"pxelinux-own":  bootPlan(boot.Target{Kind: boot.TargetPXELinux, Program: "trees/debian/pxelinux.0", Script: "DEFAULT x\nLABEL x\n  LINUX linux\n"}),
		"grub":          bootPlan(boot.Target{Kind: boot.TargetGRUB, Title: "GRUB"}),
		"grub-own":      bootPlan(boot.Target{Kind: boot.TargetGRUB, Program: "trees/debian/bootnetx64.efi", Script: "linux $box/x\nboot\n"}),
		"menu":          menuPlan(),
		"builtin":       builtin,
		"builtin-bare":  bare,
		"unproven":      unproven,
		"armed":         armed,
		"once":          once,
		"coded":         coded,
		"ask":           ask,
		"settings":      {Choice: chosen(boot.ActionBoot, boot.SourceSettings), Title: "pc-17", Default: -1},
		"denied":        {Choice: boot.Choice{Action: boot.ActionSilent, Source: boot.SourceDenied, Reason: boot.ReasonDenied}},
	}
}

// golden compares with a file of testdata, or rewrites it.
func golden(t *testing.T, file, got string) {
	t.Helper()
	path := filepath.Join("testdata", "golden", file)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (go test -update rewrites it):\n%s", path, got)
	}
}

// TestPlanGolden: the text of every plan, for each program that may ask.
func TestPlanGolden(t *testing.T) {
	t.Parallel()
	r := renderer(t, configs(t)["url"])
	// What each program cannot do, and what has no text.
	px := map[string]boot.Reason{"pxelinux": boot.ReasonNotFound, "denied": boot.ReasonDenied}
	grub := map[string]boot.Reason{
		"grub": boot.ReasonNotFound, "denied": boot.ReasonDenied, "linux-url": boot.ReasonNotBootableHere,
		"wimboot": boot.ReasonNotBootableHere, "script": boot.ReasonNotBootableHere, "chain": boot.ReasonNotBootableHere,
		"chain-px": boot.ReasonNotBootableHere, "san-iscsi": boot.ReasonNotBootableHere, "san-aoe": boot.ReasonNotBootableHere,
		"san-http": boot.ReasonNotBootableHere, "san-hook": boot.ReasonNotBootableHere, "pxelinux": boot.ReasonNotBootableHere,
		"pxelinux-own": boot.ReasonNotBootableHere,
	}
	for name, p := range plans() {
		text, reason := r.Plan(nil, p, base)
		if want := map[string]boot.Reason{"denied": boot.ReasonDenied}[name]; reason != want {
			t.Errorf("%s: reason %q, want %q", name, reason, want)
		}
		if len(text) > 0 {
			golden(t, "plan/"+name+".ipxe", string(text))
		}
		text, reason = r.PXELinux(nil, p, base)
		if reason != px[name] {
			t.Errorf("%s for pxelinux: reason %q, want %q", name, reason, px[name])
		}
		if len(text) > 0 {
			golden(t, "plan/"+name+".pxelinux", string(text))
		}
		text, reason = r.GRUB(nil, p, base)
		if reason != grub[name] {
			t.Errorf("%s for GRUB: reason %q, want %q", name, reason, grub[name])
		}
		if len(text) > 0 {
			golden(t, "plan/"+name+".grub", string(text))
		}
	}
	golden(t, "plan/refused.txt", string(r.Refused(nil, boot.ReasonTokenUsed, base)))
	golden(t, "plan/refused-nobase.txt", string(r.Refused(nil, boot.ReasonRender, "")))
}

// TestPlansParse runs the checkers over every plan, with every configuration and
// address.
func TestPlansParse(t *testing.T) {
	t.Parallel()
	check := func(what string, bad []string, text []byte) {
		for _, b := range bad {
			t.Errorf("%s: %s\n%s", what, b, text)
		}
	}
	for _, c := range configs(t) {
		r := renderer(t, c)
		for _, at := range []string{base, "http://[2001:db8::2]:8081", "https://box.example/boot"} {
			for name, p := range plans() {
				if name == "denied" {
					continue
				}
				if name != "script" { // the operator's own words
					text, _ := r.Plan(nil, p, at)
					check(name, checkScript(string(text)), text)
				}
				if text, reason := r.PXELinux(nil, p, at); reason != boot.ReasonNotFound && name != "pxelinux-own" {
					check(name+" for pxelinux", checkPXELinux(string(text)), text)
				}
				if text, reason := r.GRUB(nil, p, at); reason != boot.ReasonNotFound {
					check(name+" for GRUB", checkGRUB(string(text)), text)
				}
			}
			for _, reason := range []boot.Reason{boot.ReasonToken, boot.ReasonLoopBreaker, boot.ReasonStateWait, "no such reason"} {
				text := r.Refused(nil, reason, at)
				check("refused", checkScript(string(text)), text)
			}
		}
	}
}

// TestGRUBParses gives every configuration to GRUB's own parser.
func TestGRUBParses(t *testing.T) {
	t.Parallel()
	tool, err := exec.LookPath("grub-script-check")
	if err != nil {
		if os.Getenv("BOOTPUCK_E2E") == "1" {
			t.Fatal("grub-script-check is missing: install grub-common")
		}
		t.Skip("grub-script-check is missing: install grub-common")
	}
	for _, c := range configs(t) {
		r := renderer(t, c)
		for name, p := range plans() {
			text, _ := r.GRUB(nil, p, base)
			if len(text) == 0 {
				continue
			}
			cmd := exec.CommandContext(t.Context(), tool, "/dev/stdin")
			cmd.Stdin = strings.NewReader(string(text))
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%s: %v: %s\n%s", name, err, out, text)
			}
		}
	}
}

// TestEveryKind: there is a plan for every kind of target and every action.
func TestEveryKind(t *testing.T) {
	t.Parallel()
	kinds, actions := map[boot.TargetKind]bool{}, map[boot.Action]bool{}
	for _, p := range plans() {
		kinds[p.Target.Kind], actions[p.Choice.Action] = true, true
	}
	for _, k := range boot.TargetKinds() {
		if !kinds[k] {
			t.Errorf("no plan of kind %s", k)
		}
	}
	for _, a := range []boot.Action{boot.ActionSilent, boot.ActionBoot, boot.ActionArmed, boot.ActionMenu, boot.ActionLocal, boot.ActionAsk} {
		if !actions[a] {
			t.Errorf("no plan with action %s", a)
		}
	}
}

// TestPlanRefusals: what cannot be written down is refused, with a script that
// says so.
func TestPlanRefusals(t *testing.T) {
	t.Parallel()
	r := renderer(t, ipxe.Config{})
	then := func(p boot.Plan, t boot.Target) boot.Plan {
		p.Then = &t
		return p
	}
	with := func(p boot.Plan, change func(*boot.Plan)) boot.Plan {
		change(&p)
		return p
	}
	linux := func(change func(*boot.Target)) boot.Plan {
		x := linuxTarget()
		change(&x)
		return bootPlan(x)
	}
	san := func(change func(*boot.SAN)) boot.Plan {
		d := iscsi()
		change(d)
		return bootPlan(boot.Target{Kind: boot.TargetSAN, SAN: d})
	}
	wim := func(change func(*boot.Wim)) boot.Plan {
		x := wimTarget()
		change(x.Wim)
		return bootPlan(x)
	}
	for name, p := range map[string]boot.Plan{
		"no kernel":         linux(func(t *boot.Target) { t.Kernel = "" }),
		"parent":            linux(func(t *boot.Target) { t.Kernel = "files/../../etc/passwd" }),
		"absolute":          linux(func(t *boot.Target) { t.Kernel = "/etc/passwd" }),
		"line end in path":  linux(func(t *boot.Target) { t.Kernel = "files/a\nshell" }),
		"backslash":         linux(func(t *boot.Target) { t.Kernel = `files/..\x` }),
		"space in URL":      linux(func(t *boot.Target) { t.Kernel = "http://h/a b" }),
		"line end in URL":   linux(func(t *boot.Target) { t.Kernel = "http://h/a\nshell" }),
		"scheme":            linux(func(t *boot.Target) { t.Kernel = "gopher://h/a" }),
		"no host":           linux(func(t *boot.Target) { t.Kernel = "http:///a" }),
		"initrd":            linux(func(t *boot.Target) { t.Initrds[0] = ".." }),
		"control":           linux(func(t *boot.Target) { t.Cmdline = "a\x1bb" }),
		"long":              linux(func(t *boot.Target) { t.Cmdline = strings.Repeat("x", 5000) }),
		"no wim":            bootPlan(boot.Target{Kind: boot.TargetWimboot, Kernel: "files/wimboot"}),
		"no boot.wim":       wim(func(w *boot.Wim) { w.Wim = "" }),
		"wim file":          wim(func(w *boot.Wim) { w.Files = map[string]string{"a b": "files/x"} }),
		"wim option":        wim(func(w *boot.Wim) { w.Files = map[string]string{"--name": "files/x"} }),
		"wim answer":        wim(func(w *boot.Wim) { w.Files = map[string]string{"a": "answer:../x"} }),
		"answer, no token":  with(bootPlan(wimTarget()), func(p *boot.Plan) { p.AnswerToken = "" }),
		"empty script":      bootPlan(boot.Target{Kind: boot.TargetScript, Script: "#!ipxe\n \n"}),
		"script control":    bootPlan(boot.Target{Kind: boot.TargetScript, Script: "echo a\x00"}),
		"script label":      bootPlan(boot.Target{Kind: boot.TargetScript, Script: ":bootpuck-failed\nexit"}),
		"chain path":        bootPlan(boot.Target{Kind: boot.TargetChain, URL: "files/x"}),
		"chain space":       bootPlan(boot.Target{Kind: boot.TargetChain, URL: "http://h/ ||"}),
		"no san":            bootPlan(boot.Target{Kind: boot.TargetSAN}),
		"san protocol":      san(func(d *boot.SAN) { d.Protocol = "fc" }),
		"san host":          san(func(d *boot.SAN) { d.Host = "a:b" }),
		"san host empty":    san(func(d *boot.SAN) { d.Host = "" }),
		"san iqn":           san(func(d *boot.SAN) { d.IQN = "iqn a" }),
		"san lun":           san(func(d *boot.SAN) { d.LUN = "0:x" }),
		"san port":          san(func(d *boot.SAN) { d.Port = 70000 }),
		"san initiator":     san(func(d *boot.SAN) { d.Initiator = "a\nshell" }),
		"san drive":         san(func(d *boot.SAN) { d.Drive = 256 }),
		"san file":          san(func(d *boot.SAN) { d.File = "a b" }),
		"san hook alone":    san(func(d *boot.SAN) { d.Hook = true }),
		"san hook san":      then(san(func(d *boot.SAN) { d.Hook = true }), boot.Target{Kind: boot.TargetSAN, SAN: iscsi()}),
		"san hook menu":     then(san(func(d *boot.SAN) { d.Hook = true }), boot.Target{Kind: boot.TargetMenu}),
		"aoe":               bootPlan(boot.Target{Kind: boot.TargetSAN, SAN: &boot.SAN{Protocol: boot.SANAoE, Shelf: "e0 0"}}),
		"san url":           bootPlan(boot.Target{Kind: boot.TargetSAN, SAN: &boot.SAN{Protocol: boot.SANHTTP, URL: "ftp://h/x"}}),
		"kind":              bootPlan(boot.Target{Kind: "fly"}),
		"no kind":           bootPlan(boot.Target{}),
		"action":            with(bootPlan(linuxTarget()), func(p *boot.Plan) { p.Choice.Action = "fly" }),
		"armed, no token":   with(plans()["armed"], func(p *boot.Plan) { p.Token = "" }),
		"armed, bad token":  with(plans()["armed"], func(p *boot.Plan) { p.Token = "a b" }),
		"ask, bad token":    with(plans()["ask"], func(p *boot.Plan) { p.Token = "a/../b" }),
		"menu, bad token":   with(plans()["menu"], func(p *boot.Plan) { p.Token = "${x}" }),
		"builtin, no token": with(plans()["builtin"], func(p *boot.Plan) { p.Token = "" }),
	} {
		text, reason := r.Plan([]byte("before"), p, base)
		if reason != boot.ReasonRender || string(text) != "before"+string(r.Refused(nil, reason, base)) {
			t.Errorf("%s: reason %q\n%s", name, reason, text)
		}
	}
	for _, at := range []string{"", "ftp://x", "http://a\nshell"} {
		text, reason := r.Plan(nil, bootPlan(linuxTarget()), at)
		if reason != boot.ReasonRender || len(checkScript(string(text))) > 0 {
			t.Errorf("base %q: reason %q\n%s", at, reason, text)
		}
		for _, f := range []func([]byte, boot.Plan, string) ([]byte, boot.Reason){r.PXELinux, r.GRUB} {
			if text, reason := f(nil, bootPlan(linuxTarget()), at); reason != boot.ReasonRender || strings.Contains(string(text), "shell") {
				t.Errorf("base %q: reason %q\n%s", at, reason, text)
			}
		}
	}
}

// TestMenuDefault: whatever a plan says, the time-out takes nothing that
// overwrites, asks or goes round.
func TestMenuDefault(t *testing.T) {
	t.Parallel()
	r := renderer(t, ipxe.Config{})
	for i, want := range map[int]string{-1: "local", 0: "local", 1: "e1", 2: "local", 3: "local", 4: "local", 5: "local", 6: "local", 7: "local", 99: "local"} {
		for _, name := range []string{"menu", "builtin"} {
			p := plans()[name]
			p.Default = i
			text, _ := r.Plan(nil, p, base)
			if !strings.Contains(string(text), "\nset first "+want+"\n") || !strings.Contains(string(text), "\nchoose --default ${first} ") {
				t.Errorf("%s, default %d: want %s\n%s", name, i, want, text)
			}
			text, _ = r.GRUB(nil, p, base)
			if got := strings.LastIndex(string(text), "\nset default="); !strings.HasPrefix(string(text[got:]), "\nset default="+want+"\n") {
				t.Errorf("%s for GRUB, default %d: want %s\n%s", name, i, want, text)
			}
			text, _ = r.PXELinux(nil, p, base)
			px := map[string]string{"local": "local", "e1": "1"}[want]
			if !strings.Contains(string(text), "\nONTIMEOUT "+px+"\n") || !strings.Contains(string(text), "\nDEFAULT "+px+"\n") {
				t.Errorf("%s for pxelinux, default %d: want %s\n%s", name, i, px, text)
			}
		}
	}
	// Without a code nobody could type it.
	p := plans()["menu"]
	p.Code = ""
	if text, _ := r.Plan(nil, p, base); strings.Contains(string(text), ":e2\n") || strings.Contains(string(text), "read ") {
		t.Errorf("an entry that overwrites without a code:\n%s", text)
	}
}

// TestConfiguredScript: only who is meant to get the configured script does.
func TestConfiguredScript(t *testing.T) {
	t.Parallel()
	r := renderer(t, configs(t)["url"])
	const want = "\nchain --autofree --replace --timeout 30000 https://boot.example.net/start.ipxe?mac=${mac} ||\n"
	for name, p := range plans() {
		text, _ := r.Plan(nil, p, base)
		if got := strings.Contains(string(text), want); got != (name == "settings") {
			t.Errorf("%s: configured script %v", name, got)
		}
	}
}

// TestPXELinuxBase: how files are named depends on how they are fetched.
func TestPXELinuxBase(t *testing.T) {
	t.Parallel()
	r := renderer(t, ipxe.Config{})
	for at, want := range map[string]string{
		"http://192.0.2.2":         "LINUX http://192.0.2.2/trees/debian/linux",
		"http://192.0.2.2:8081/b":  "LINUX http://192.0.2.2:8081/b/trees/debian/linux",
		"https://192.0.2.2:8443":   "LINUX tftp://192.0.2.2/trees/debian/linux",
		"https://[2001:db8::2]":    "LINUX tftp://[2001:db8::2]/trees/debian/linux",
		"tftp://192.0.2.2":         "LINUX tftp://192.0.2.2/trees/debian/linux",
		"tftp://192.0.2.2\nSAY x":  "",
		"tftp://":                  "",
		"http://192.0.2.2/a\nSAY ": "",
	} {
		text, reason := r.PXELinux(nil, bootPlan(linuxTarget()), at)
		if want == "" {
			if reason != boot.ReasonRender || !strings.Contains(string(text), "LOCALBOOT 0") {
				t.Errorf("%q: reason %q\n%s", at, reason, text)
			}
			continue
		}
		if reason != boot.ReasonNone || !strings.Contains(string(text), "  "+want+"\n") {
			t.Errorf("%q: reason %q, want %s\n%s", at, reason, want, text)
		}
	}
	// What a line of pxelinux does not hold is iPXE's.
	long := linuxTarget()
	long.Cmdline = strings.Repeat("x", 2001)
	if text, reason := r.PXELinux(nil, bootPlan(long), base); reason != boot.ReasonNone || !strings.Contains(string(text), "ipxe.lkrn") {
		t.Errorf("reason %q\n%s", reason, text)
	}
	// So is what the registry could not plan for pxelinux.
	p := plans()["builtin"]
	p.Choice.Reason, p.Note = boot.ReasonNotBootableHere, boot.ReasonNotBootableHere.Text()
	if text, reason := r.PXELinux(nil, p, base); reason != boot.ReasonNone || !strings.Contains(string(text), "DEFAULT ipxe\n") || strings.Contains(string(text), "cannot") {
		t.Errorf("reason %q\n%s", reason, text)
	}
}

// TestCommandLines: a kernel gets the words that were written.
func TestCommandLines(t *testing.T) {
	t.Parallel()
	r := renderer(t, ipxe.Config{})
	for line, want := range map[string]struct{ script, grub string }{
		"":                    {"", ""},
		"quiet":               {" quiet", " 'quiet'"},
		"  a \t b\r\n c ":     {" a b c", " 'a' 'b' 'c'"},
		`x="a  b" y`:          {` x="a b" y`, ` 'x=a b' 'y'`},
		`x=""`:                {` x=""`, ` 'x='`},
		"it's":                {" it's", ` 'it'\''s'`},
		"ds=nocloud;s=http:/": {" ds=nocloud;s=http:/", " 'ds=nocloud;s=http:/'"},
		"a || b && ; #c d\\":  {" a |${nothing}| b &${nothing}& ;${nothing} ${nothing}#c d\\${nothing}", ` 'a' '||' 'b' '&&' ';' '#c' 'd\'`},
		"$box $x `y`":         {" $box $x `y`", " '$box' '$x' '`y`'"},
		"caf\u00e9":           {" caf\u00e9", " 'caf\u00e9'"},
	} {
		p := bootPlan(boot.Target{Kind: boot.TargetLinux, Kernel: "files/k", Cmdline: line})
		text, reason := r.Plan(nil, p, base)
		if reason != boot.ReasonNone || !strings.Contains(string(text), "/files/k"+want.script+" || goto bootpuck-failed\n") {
			t.Errorf("%q: reason %q\n%s", line, reason, text)
		}
		text, reason = r.GRUB(nil, p, base)
		if reason != boot.ReasonNone || !strings.Contains(string(text), "if linux $box'/files/k'"+want.grub+"; then\n") {
			t.Errorf("%q for GRUB: reason %q\n%s", line, reason, text)
		}
	}
}

// FuzzPlan: whatever titles, notes, codes, paths and command lines hold, a text
// keeps its commands and settings, and each checker passes it.
func FuzzPlan(f *testing.F) {
	r := renderer(f, ipxe.Config{})
	names := slices.Sorted(maps.Keys(plans()))
	for _, s := range []string{"plain", "${mac}", "a\nshell", "|| shell", "&&", "; reboot", "# x", "-n", "--", "'; reboot; '", "\"", "\\", "}", "a ${b", "\xff\x00", "$", "{base}", "\x01items", "$(x)"} {
		for i := range names {
			f.Add(s, s, s, "files/"+s, s, s, s, uint8(i))
		}
	}
	fill := func(p *boot.Plan, title, note, code, path, cmdline, entry, key string) {
		p.Title, p.Note = title, note
		if p.Code != "" {
			p.Code = code
		}
		p.Target.Title, p.Profile.Title = title, title
		if p.Target.Kernel != "" {
			p.Target.Kernel, p.Target.Cmdline = path, cmdline
		}
		if p.Target.Program != "" {
			p.Target.Program = path
		}
		for i := range p.Menu {
			p.Menu[i].Title, p.Menu[i].Key = entry, key
			if p.Menu[i].Detail != "" {
				p.Menu[i].Detail = entry
			}
		}
		if p.Target.Menu != nil {
			p.Target.Menu = &boot.Menu{Title: title}
		}
	}
	f.Fuzz(func(t *testing.T, title, note, code, path, cmdline, entry, key string, which uint8) {
		name := names[int(which)%len(names)]
		if name == "denied" || name == "script" {
			return
		}
		// Settings of iPXE may stand in addresses and command lines: those are
		// the operator's own words.
		cmdline = ascii(strings.ReplaceAll(cmdline, "${", "$("))
		path = strings.ReplaceAll(path, "${", "$(")
		evil, good := plans()[name], plans()[name]
		fill(&evil, title, note, code, path, cmdline, entry, key)
		suffix := ""
		if strings.HasSuffix(path, "pxelinux.0") {
			suffix = "pxelinux.0"
		}
		fill(&good, keep(title), keep(note), keep(code), "files/x"+suffix, keep(cmdline), keep(entry), key)
		text, reason := r.Plan(nil, evil, base)
		if reason != boot.ReasonNone {
			if string(text) != string(r.Refused(nil, reason, base)) {
				t.Fatalf("%s: %q\n%s", name, reason, text)
			}
		} else {
			if bad := checkScript(string(text)); len(bad) > 0 {
				t.Fatalf("%s: %v\n%s", name, bad, text)
			}
			want, _ := r.Plan(nil, good, base)
			if got, want := skeleton(string(text)), skeleton(string(want)); !slices.Equal(got, want) {
				t.Fatalf("%s: commands changed\n%s\n%q\n%q", name, text, got, want)
			}
		}
		if text, reason := r.PXELinux(nil, evil, base); reason != boot.ReasonNotFound && name != "pxelinux-own" {
			if bad := checkPXELinux(string(text)); len(bad) > 0 {
				t.Fatalf("%s for pxelinux: %v\n%s", name, bad, text)
			}
		}
		if text, reason := r.GRUB(nil, evil, base); reason != boot.ReasonNotFound && name != "grub-own" {
			if bad := checkGRUB(string(text)); len(bad) > 0 {
				t.Fatalf("%s for GRUB: %v\n%s", name, bad, text)
			}
		}
	})
}

// ascii leaves out what is not printable ASCII, but for control characters,
// which must be refused.
func ascii(s string) string {
	return strings.Map(func(r rune) rune {
		if r > '~' && r != 0x7f {
			return -1
		}
		return r
	}, s)
}

// keep is an empty text, or a harmless one in the place of any other.
func keep(s string) string {
	if strings.Trim(s, " \t\r\n") == "" {
		return ""
	}
	return "harmless"
}

// FuzzKeys: no name makes two keys, or one that cannot be used.
func FuzzKeys(f *testing.F) {
	for _, s := range []string{"pxelinux.cfg/default", "a/b/pxelinux.cfg/01-52-54-00-12-34-56", "grub/grub.cfg-C0A8", "pxelinux.cfg/", "/pxelinux.cfg/0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		prefix, key, ok := ipxe.PXELinuxKey(name)
		grub, grubOK := ipxe.GRUBKey(name)
		if ok && grubOK {
			t.Fatalf("%q is both", name)
		}
		if !ok && (prefix != "" || key != ipxe.ConfigKey{}) || !grubOK && grub != (ipxe.ConfigKey{}) {
			t.Fatalf("%q: a key without ok", name)
		}
		for _, k := range []ipxe.ConfigKey{key, grub} {
			set := 0
			for _, is := range []bool{k.MAC != "", !k.GUID.IsZero(), k.Addr.IsValid(), k.Default} {
				if is {
					set++
				}
			}
			if set > 1 || set == 0 && (k == key && ok || k == grub && grubOK) && k != (ipxe.ConfigKey{}) {
				t.Fatalf("%q: %+v", name, k)
			}
		}
		if ok && (strings.Contains(prefix, "..") && slices.Contains(strings.Split(prefix, "/"), "..") || strings.HasPrefix(prefix, "/")) {
			t.Fatalf("%q: prefix %q", name, prefix)
		}
	})
}
