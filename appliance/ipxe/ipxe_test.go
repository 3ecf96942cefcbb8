package ipxe_test

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/bootpuck/bootpuck/appliance/ipxe"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const base = "http://192.0.2.2"

func target(t testing.TB, s string) ipxe.Target {
	t.Helper()
	x, err := ipxe.ParseTarget(s)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func renderer(t testing.TB, c ipxe.Config) *ipxe.Renderer {
	t.Helper()
	r, err := ipxe.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func text(t testing.TB, r *ipxe.Renderer, name, base string) string {
	t.Helper()
	b, ok := r.Text(nil, name, ipxe.Request{Base: base})
	if !ok {
		t.Fatalf("no text %s for %s", name, base)
	}
	return string(b)
}

// configs are the operator's choices that change the texts.
func configs(t testing.TB) map[string]ipxe.Config {
	none := func(string) bool { return false }
	return map[string]ipxe.Config{
		"plain":   {},
		"nofiles": {Has: none},
		"bios32":  {Has: func(f string) bool { return f == "memtest/memtest32.bin" }},
		"efi64":   {Has: func(f string) bool { return f == "memtest/memtest64.efi" }},
		"default": {Default: target(t, "files/site/boot me.ipxe")},
		"url":     {Default: target(t, "https://boot.example.net/start.ipxe?mac=${mac}")},
		"efi":     {Default: target(t, "files/tools/shell.efi"), Chain: target(t, "http://198.51.100.9/x.efi"), ChainTitle: "Other box"},
		"chain":   {Chain: target(t, "tftp://198.51.100.9/menu.ipxe")},
	}
}

func TestGolden(t *testing.T) {
	t.Parallel()
	r := renderer(t, ipxe.Config{})
	full := renderer(t, configs(t)["efi"])
	script := renderer(t, configs(t)["url"])
	for file, got := range map[string]string{
		"boot.ipxe":        text(t, r, "b", base),
		"autoexec.ipxe":    text(t, r, "x86_64/autoexec.ipxe", "http://192.0.2.2:8081"),
		"machine.ipxe":     text(t, r, "s", base),
		"machine-url.ipxe": text(t, script, "s", base),
		"machine-efi.ipxe": text(t, full, "s", base),
		"grub.cfg":         text(t, r, "grub/grub.cfg", base),
		"grub-efi.cfg":     text(t, full, "grub/grub.cfg", "http://[2001:db8::2]:8081"),
		"grub-tls.cfg":     text(t, script, "grub/grub.cfg", "https://192.0.2.2"),
		"medium.ipxe":      string(r.Medium(nil)),
		"unusable.ipxe":    string(r.Unusable(nil)),
	} {
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
}

func TestScriptsParse(t *testing.T) {
	t.Parallel()
	for name, c := range configs(t) {
		r := renderer(t, c)
		for _, script := range []string{
			text(t, r, "b", base), text(t, r, "s", base), text(t, r, "s", "http://[2001:db8::2]:8081"),
			text(t, r, "autoexec.ipxe", base), string(r.Medium(nil)), string(r.Unusable(nil)),
		} {
			for _, bad := range checkScript(script) {
				t.Errorf("%s: %s\n%s", name, bad, script)
			}
		}
	}
}

// TestCheckScript proves that the checker sees what it is there for.
func TestCheckScript(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ script, want string }{
		{"#!ipxe\nexit\n", ""},
		{"exit\n", "begin"},
		{"#!ipxe\nexit", "newline"},
		{"#!ipxe\nfly\nexit\n", "unknown"},
		{"#!ipxe\ngoto x\n", "not there"},
		{"#!ipxe\n:x\n:x\ngoto x\n", "already"},
		{"#!ipxe\n:x\nexit\n", "never jumped"},
		{"#!ipxe\nchain http://a/\nexit\n", "would end"},
		{"#!ipxe\nisset ${a} && echo b\nexit\n", "would end"},
		{"#!ipxe\nisset ${a} && echo b ||\nexit\n", ""},
		{"#!ipxe\nisset ${a ||\nexit\n", "opened"},
		{"#!ipxe\necho ${a ${b}\nexit\n", "opened"},
		{"#!ipxe\necho a} ${b}\nexit\n", ""},
		{"#!ipxe\necho a #b\nexit\n", "comment"},
		{"#!ipxe\necho -n a\nexit\n", ""},
		{"#!ipxe\necho -x a\nexit\n", "option"},
		{"#!ipxe\necho -- -x a\nexit\n", ""},
		{"#!ipxe\nread a\nexit\n", "would end"},
		{"#!ipxe\nread ||\nexit\n", "arguments"},
		{"#!ipxe\nset a:int32 x\nexit\n", "number"},
		{"#!ipxe\nset a:hex 0g\nexit\n", "octets"},
		{"#!ipxe\nset a:hex 0a:0b\nset 210:string x\nexit\n", ""},
		{"#!ipxe\nset a:uint9 1\nexit\n", "type"},
		{"#!ipxe\nsanhook --drive 0x80 ||\nexit\n", "arguments"},
		{"#!ipxe\nchain --fast a ||\nexit\n", "option"},
		{"#!ipxe\nset a\nexit\n", "arguments"},
		{"#!ipxe\ngoto ${a}\n", "never set"},
		{"#!ipxe\nset a x\ngoto ${a}\n", "not there"},
		{"#!ipxe\necho a\\\nexit\n", "continues"},
		{"#!ipxe\necho \xc3\xa4\nexit\n", "character"},
		{"#!ipxe\necho a\n", "falls off"},
	} {
		got := strings.Join(checkScript(c.script), "; ")
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%q: got %q, want %q", c.script, got, c.want)
		}
	}
}

// TestBootScriptAsksAll ties the names the boot script sends to those that are
// read, and both to the variables promised to operators.
func TestBootScriptAsksAll(t *testing.T) {
	t.Parallel()
	script := text(t, renderer(t, ipxe.Config{}), "b", base)
	_, query, ok := strings.Cut(script, base+"/s?")
	if !ok {
		t.Fatal("the boot script asks nothing")
	}
	query, _, _ = strings.Cut(query, " ")
	sent := map[string]string{}
	for pair := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		sent[name] = value
	}
	promised := strings.Fields("mac ip asset netmask gateway dns domain filename next-server hostname uuid user-class" +
		" manufacturer product serial nic chip platform buildarch cpu memory dimms spans secureboot version")
	for _, name := range promised {
		if sent[name] == "" {
			t.Errorf("the boot script does not send %s", name)
		}
		delete(sent, name)
	}
	for name := range sent {
		t.Errorf("the boot script sends %s, which nobody has promised", name)
	}
	// What iPXE makes of the query is understood again.
	filled := regexp.MustCompile(`\$\{[^}]*\}`).ReplaceAllStringFunc(query, func(s string) string {
		return map[string]string{
			"${mac}": "52:54:00:12:34:56", "${uuid}": "01234567-89ab-cdef-0123-456789abcdef", "${ip}": "192.0.2.50",
			"${netmask}": "255.255.255.0", "${gateway}": "192.0.2.1", "${dns}": "192.0.2.3", "${next-server}": "192.0.2.2",
			"${smbios/0.17.12.2:hexraw}": "0008", "${smbios/1.17.12.2:hexraw}": "0004", "${efi/SecureBoot}": "01",
			"${product:uristring}": "Standard%20PC%20(Q35%20+%20ICH9,%202009)", "${platform}": "efi", "${buildarch}": "x86_64",
			"${domain:uristring}": "example.net", "${filename:uristring}": "x86_64/snponly.efi", "${hostname:uristring}": "m1",
			"${user-class:uristring}": "bootpuck", "${manufacturer:uristring}": "QEMU", "${serial:uristring}": "S%201",
			"${asset:uristring}": "A-7", "${version:uristring}": "2.0.0+dfsg-5",
			"${netX/busid}": "01:1a:f4:10:00", "${netX/chip:uristring}": "virtio-net", "${cpu}": "x86_64",
		}[s]
	})
	p, err := ipxe.ParseParams(filled)
	if err != nil {
		t.Fatal(err)
	}
	want := ipxe.Params{
		MAC: "52:54:00:12:34:56", GUID: guid(t, "01234567-89ab-cdef-0123-456789abcdef"), IP: addr("192.0.2.50"),
		Netmask: "255.255.255.0", Gateway: addr("192.0.2.1"), DNS: addr("192.0.2.3"), NextServer: addr("192.0.2.2"),
		Memory: 3072, SecureBoot: ipxe.SecureBootOn, Product: "Standard PC (Q35 + ICH9, 2009)", Platform: "efi",
		BuildArch: "x86_64", Domain: "example.net", Filename: "x86_64/snponly.efi", Hostname: "m1", UserClass: "bootpuck",
		Manufacturer: "QEMU", Serial: "S 1", Asset: "A-7", Version: "2.0.0+dfsg-5",
		NIC: "01:1a:f4:10:00", Chip: "virtio-net", CPU: "x86_64",
	}
	if p != want {
		t.Errorf("got  %+v\nwant %+v", p, want)
	}
}

// TestRawValuesStayPlain: ${ip:uristring} is the four octets, not the text.
func TestRawValuesStayPlain(t *testing.T) {
	t.Parallel()
	script := text(t, renderer(t, ipxe.Config{}), "b", base)
	for _, name := range []string{"mac", "ip", "netmask", "gateway", "dns", "next-server", "uuid"} {
		if strings.Contains(script, "${"+name+":uristring}") {
			t.Errorf("%s as :uristring", name)
		}
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	r := renderer(t, ipxe.Config{})
	for name, want := range map[string]bool{
		"b": true, "s": true, "autoexec.ipxe": true, "arm64/autoexec.ipxe": true, "grub/grub.cfg": true,
		"grub/grub.cfg-01-52-54-00-12-34-56": true, "grub/grub.cfg-01-xx": false, "grub/grub.cfg-C0A80744": false,
		"grub/grub.cfgx": false, "": false, "B": false, "b/": false, "/autoexec.ipxe": false, "a/b/autoexec.ipxe": false,
		"a b/autoexec.ipxe": false, "xautoexec.ipxe": false, "grub/i386-efi/command.lst": false, "s/x": false,
	} {
		if got := ipxe.Known(name); got != want {
			t.Errorf("Known(%q) = %v", name, got)
		}
		b, ok := r.Text([]byte("before"), name, ipxe.Request{Base: base})
		if ok != want || !strings.HasPrefix(string(b), "before") || ok == (len(b) == len("before")) {
			t.Errorf("Text(%q) = %v, %d octets", name, ok, len(b))
		}
	}
}

func TestBase(t *testing.T) {
	t.Parallel()
	r := renderer(t, ipxe.Config{})
	for b, want := range map[string]bool{
		"http://192.0.2.2": true, "http://192.0.2.2:8081": true, "http://[2001:db8::2]": true, "https://box.example": true,
		"http://box.example/boot": true, "": false, "http://": false, "ftp://x": false, "http://x/": false,
		"http://a\nchain b": false, "http://${mac}": false, "http://a b": false, "http://a'b": false, "http://a;b": false,
		"http://a%0a": false, "http://a\\": false, "http://" + strings.Repeat("a", 300): false,
	} {
		if got := ipxe.CheckBase(b) == nil; got != want {
			t.Errorf("CheckBase(%q) = %v", b, got)
		}
		if _, ok := r.Text(nil, "b", ipxe.Request{Base: b}); ok != want {
			t.Errorf("Text for %q: %v", b, ok)
		}
	}
}

func TestParseTarget(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]string{
		"files/a.ipxe":        "chain --autofree --replace --timeout 30000 http://192.0.2.2/files/a.ipxe ||",
		"files/a b/${x}.ipxe": "chain --autofree --replace --timeout 30000 http://192.0.2.2/files/a%20b/%24%7Bx%7D.ipxe ||",
		"files/{base}":        "chain --autofree --replace --timeout 30000 http://192.0.2.2/files/%7Bbase%7D ||",
		"http://h/x?m=${mac}": "chain --autofree --replace --timeout 30000 http://h/x?m=${mac} ||",
		"nfs://h/x":           "chain --autofree --replace --timeout 30000 nfs://h/x ||",
		"files/":              "", "files/../x": "", "files//x": "", "files/a\nb": "", "x.ipxe": "", "/etc/x": "",
		"http://h/a b": "", "http://h/a\nexit": "", "http:///x": "", "gopher://h/": "", "http://{base}/": "", "http://h/\u00e4": "",
		"files/" + strings.Repeat("a", 1100): "",
	} {
		x, err := ipxe.ParseTarget(s)
		if (err == nil) != (want != "") {
			t.Errorf("ParseTarget(%.40q): %v", s, err)
			continue
		}
		if err == nil && !strings.Contains(text(t, renderer(t, ipxe.Config{Default: x}), "s", base), "\n"+want+"\n") {
			t.Errorf("ParseTarget(%q): script lacks %s", s, want)
		}
	}
	if x, err := ipxe.ParseTarget(""); err != nil || !x.IsZero() {
		t.Errorf("no target: %v, %v", x, err)
	}
}

func TestTitle(t *testing.T) {
	t.Parallel()
	x := target(t, "http://h/x")
	for _, title := range []string{"a\nexit", "${mac}", "it's", strings.Repeat("x", 61), "\u00e4"} {
		if _, err := ipxe.New(ipxe.Config{Chain: x, ChainTitle: title}); err == nil {
			t.Errorf("title %q accepted", title)
		}
	}
}

func BenchmarkBootScript(b *testing.B) {
	benchText(b, "b")
}

func BenchmarkMachineScript(b *testing.B) {
	benchText(b, "s")
}

func benchText(b *testing.B, name string) {
	r := renderer(b, ipxe.Config{})
	buf := make([]byte, 0, 8<<10)
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := r.Text(buf, name, ipxe.Request{Base: base}); !ok {
			b.Fatal("no text")
		}
	}
}

func BenchmarkParseParams(b *testing.B) {
	q := "mac=52:54:00:12:34:56&uuid=01234567-89ab-cdef-0123-456789abcdef&ip=192.0.2.50&netmask=255.255.255.0&gateway=192.0.2.1" +
		"&dns=192.0.2.3&domain=&filename=x86_64/snponly.efi&next-server=192.0.2.2&hostname=&user-class=bootpuck&manufacturer=QEMU" +
		"&product=Standard%20PC%20(Q35%20+%20ICH9,%202009)&serial=&asset=&platform=efi&buildarch=x86_64&version=2.0.0+dfsg-5" +
		"&memory=&dimms=0002.......&spans=00000000ffff0700...&secureboot=00"
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ipxe.ParseParams(q); err != nil {
			b.Fatal(err)
		}
	}
}
