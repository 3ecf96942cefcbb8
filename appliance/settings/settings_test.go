package settings

import (
	"flag"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

func load(t *testing.T, document string, args ...string) (*Settings, error) {
	t.Helper()
	dir := t.TempDir()
	if document != "" {
		if err := os.WriteFile(filepath.Join(dir, FileName), []byte(document), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	line, err := ParseArgs("bootpuck", append([]string{"-state", dir}, args...), io.Discard, func(*flag.FlagSet) {})
	if err != nil {
		return nil, err
	}
	if line.State() != dir {
		t.Errorf("state directory %q, want %q", line.State(), dir)
	}
	return line.Load()
}

func TestDefaults(t *testing.T) {
	s, err := load(t, "")
	if err != nil {
		t.Fatal(err)
	}
	if s.HTTP != ":80" || s.Admin != ":8080" || s.Metrics != ":9469" || s.LogLevel != slog.LevelInfo || s.Observe ||
		len(s.Interfaces) != 0 || s.RelayMode != RelayAuto || s.TFTPBlock != 1468 || s.Policy.HTTPPort != 80 {
		t.Errorf("%+v", s)
	}
}

// TestOneAddress: a box that listens on one address tells machines that one.
func TestOneAddress(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.3:80": "http://192.0.2.3", "192.0.2.3:81": "http://192.0.2.3:81", "[2001:db8::3]:80": "http://[2001:db8::3]", ":80": "", "0.0.0.0:80": "", "[::]:80": "",
	} {
		s, err := load(t, "", "-http", addr)
		if err != nil || s.Policy.BaseURL != want {
			t.Errorf("-http %s: %v, base %q, want %q", addr, err, s.Policy.BaseURL, want)
		}
	}
}

func TestFlagsOverrideTheDocument(t *testing.T) {
	doc := `{"version": 1, "interface": ["eth7", "eth8"], "http": ":81", "admin": "127.0.0.1:82", "observe": true, "log-level": "debug"}`
	s, err := load(t, doc, "-interface", "eth0", "-interface", "eth1", "-http", ":8000")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(s.Interfaces, []string{"eth0", "eth1"}) || s.HTTP != ":8000" || s.Policy.HTTPPort != 8000 {
		t.Errorf("flags did not win: %+v", s)
	}
	if s.Admin != "127.0.0.1:82" || !s.Observe || s.LogLevel != slog.LevelDebug {
		t.Errorf("the document was not read: %+v", s)
	}
}

// TestEveryFlagIsAKey: the flags are a contract, and each is a settings key.
func TestEveryFlagIsAKey(t *testing.T) {
	doc := Defaults()
	flags := flag.NewFlagSet("", flag.ContinueOnError)
	Flags(flags, &doc)
	var names []string
	flags.VisitAll(func(f *flag.Flag) { names = append(names, f.Name) })
	want := []string{"admin", "default-script", "files", "http", "interface", "log-level", "metrics", "observe", "state"}
	if !slices.Equal(names, want) {
		t.Errorf("flags %v, want %v", names, want)
	}
	for _, n := range names {
		value := `"x"`
		switch n {
		case "observe":
			value = "true"
		case "interface":
			value = `["x"]`
		}
		if err := Parse([]byte(`{"`+n+`": `+value+`}`), &doc); err != nil {
			t.Errorf("key %s: %v", n, err)
		}
	}
}

func TestWholeDocument(t *testing.T) {
	files := t.TempDir()
	s, err := load(t, `{
		"files": "`+files+`", "default-script": "files/a/boot.ipxe", "menu-url": "http://192.0.2.9/x.ipxe",
		"base-url": "http://192.0.2.2:81/", "uefi-first": "two-step", "ipxe-priority": false, "lenient-guid": true,
		"dhcp-rate": 7, "tftp-blocksize": 512,
		"site": "Büro 3", "probe-every": "5m", "expected-servers": ["192.0.2.1"], "quirk-keys": ["11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="],
		"syslog-listen": "", "syslog-forward": "udp://log.example:514", "capture-memory": 0,
		"relays": {"mode": "list", "allow": ["203.0.113.1"], "clients": ["203.0.113.7/24"]},
		"rules": [
			{"mac": "52-54-00-00-00-01", "uuid": "01234567-89ab-cdef-0123-456789abcdef", "arch": ["uefi-x64", "9"], "file": "x86_64/ipxe.efi",
			 "style": "direct", "as": "uefi-arm64", "deny": true, "snooze-until": "2026-01-31T18:00:00Z", "ipxe-priority": false,
			 "pxelinux-config": "c", "pxelinux-prefix": "p/", "delay": "250ms"}
		]}`)
	if err != nil {
		t.Fatal(err)
	}
	if s.DefaultScript != "files/a/boot.ipxe" || s.Policy.BaseURL != "http://192.0.2.2:81" || s.Policy.FirstForm != boot.FormTwoStep ||
		!s.Policy.NoPriority || !s.LenientGUID || s.DHCPRate != 7 || s.TFTPBlock != 512 || s.MenuURL != "http://192.0.2.9/x.ipxe" {
		t.Errorf("%+v", s)
	}
	if s.RelayMode != RelayList || s.RelayAllow[0] != netip.MustParseAddr("203.0.113.1") || s.RelayClients[0] != netip.MustParsePrefix("203.0.113.0/24") {
		t.Errorf("relays %v %v %v", s.RelayMode, s.RelayAllow, s.RelayClients)
	}
	if s.Site != "Büro 3" || s.ProbeEvery != 5*time.Minute || s.ExpectedServers[0] != netip.MustParseAddr("192.0.2.1") || len(s.QuirkKeys) != 1 ||
		s.SyslogListen != "" || s.SyslogForward != "udp://log.example:514" || s.CaptureBytes != 0 {
		t.Errorf("seeing: %+v", s)
	}
	r := s.Policy.Rules[0]
	if r.MAC != "52:54:00:00:00:01" || r.GUID.IsZero() || !slices.Equal(r.Archs, []boot.Arch{7, 9}) || r.File != "x86_64/ipxe.efi" ||
		r.Form != boot.FormDirect || *r.As != boot.ArchUEFIARM64 || !r.Deny || r.Snooze.IsZero() || !r.NoPriority || r.Delay != 250*time.Millisecond ||
		r.Config != "c" || r.Prefix != "p/" {
		t.Errorf("%+v", r)
	}
}

// TestErrors: every error names the key and, for the document, the line.
func TestErrors(t *testing.T) {
	long := strings.Repeat("x", 255)
	for document, want := range map[string]string{
		"{\n\"bogus\": 1}":                                      `line 2: unknown key "bogus"`,
		`{"rules": [{"bogus": 1}]}`:                             `unknown key "bogus"`,
		"{\n\n\"http\": 80}":                                    `line 3: key "http": want string`,
		"{\n\"http\": \":80\",\n}":                              "line 3: not valid JSON",
		`{"http": ":80"`:                                        "ends too early",
		`{} {}`:                                                 "text after the end",
		`{"version": 9}`:                                        `key "version"`,
		`{"http": "80"}`:                                        "http: ",
		`{"http": ":eighty"}`:                                   "http: ",
		`{"admin": "box:80"}`:                                   "admin: ",
		`{"metrics": ":70000"}`:                                 "metrics: ",
		`{"log-level": "loud"}`:                                 "log-level: ",
		`{"files": "/nowhere/at/all"}`:                          "files: ",
		`{"default-script": "boot.ipxe"}`:                       "default-script: ",
		`{"default-script": "files/../x"}`:                      "default-script: ",
		`{"default-script": "files/x"}`:                         "needs the setting files",
		`{"default-script": "gopher://x/y"}`:                    "default-script: ",
		`{"menu-url": "http://x/${net0/mac}"}`:                  "menu-url: ",
		`{"menu-url": "http://x/\nshell"}`:                      "menu-url: ",
		`{"base-url": "http://"}`:                               "names no host",
		`{"uefi-first": "both"}`:                                "uefi-first: ",
		`{"dhcp-rate": 0}`:                                      "dhcp-rate: ",
		`{"tftp-blocksize": 8}`:                                 "tftp-blocksize: ",
		`{"relays": {"mode": "maybe"}}`:                         "relays: mode: ",
		`{"relays": {"allow": ["fe80::1"]}}`:                    "relays: allow: ",
		`{"relays": {"clients": ["10.0.0.1"]}}`:                 "relays: clients: ",
		`{"site": "a\u0007b"}`:                                  "site: ",
		`{"probe-every": "1s"}`:                                 "probe-every: ",
		`{"probe-every": "often"}`:                              "probe-every: ",
		`{"expected-servers": ["router"]}`:                      "expected-servers: ",
		`{"quirk-keys": ["AAAA"]}`:                              "quirk-keys: ",
		`{"syslog-listen": "514"}`:                              "syslog-listen: ",
		`{"syslog-forward": "https://x"}`:                       "syslog-forward: ",
		`{"capture-memory": 100}`:                               "capture-memory: ",
		`{"interface": ["a/b"]}`:                                "interface: ",
		`{"rules": [{}, {"mac": "x"}]}`:                         "rules[1]: mac: ",
		`{"rules": [{"uuid": "x"}]}`:                            "rules[0]: uuid: ",
		`{"rules": [{"arch": ["x"]}]}`:                          "rules[0]: arch: ",
		`{"rules": [{"as": "x"}]}`:                              "rules[0]: as: ",
		`{"rules": [{"style": "script"}]}`:                      "rules[0]: style: ",
		`{"rules": [{"delay": "2s"}]}`:                          "rules[0]: delay: ",
		`{"rules": [{"snooze-until": "soon"}]}`:                 "rules[0]: snooze-until: ",
		`{"rules": [{"file": "` + long + `"}]}`:                 "DHCP carries at most 254",
		`{"rules": [{"file": "a b"}]}`:                          "printable ASCII",
		`{"rules": [{"arch":["16"],"file":"http://h/loader"}]}`: ".efi, .iso or .img",
	} {
		_, err := load(t, document)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", document, err, want)
		}
	}
	if _, err := load(t, `{"rules": [{"file": "`+long[:254]+`"}, {"arch":["16"],"file":"http://h/loader.efi?x=1"}]}`); err != nil {
		t.Errorf("what DHCP can carry was refused: %v", err)
	}
	for _, args := range [][]string{{"-bogus"}, {"extra"}, {"-settings", "/nowhere"}, {"-interface", ""}} {
		if _, err := load(t, "", args...); err == nil {
			t.Errorf("%v is no error", args)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"version": 1, "rules": [{"mac": "52:54:00:00:00:01", "delay": "1s"}]}`))
	f.Add([]byte(`{"relays": {"mode": "list"}} x`))
	f.Fuzz(func(t *testing.T, data []byte) {
		doc := Defaults()
		if Parse(data, &doc) != nil {
			return
		}
		doc.Files = ""
		s, err := doc.Check()
		if err == nil && strings.ContainsAny(s.DefaultScript+s.MenuURL+s.Policy.BaseURL, " \n\r$") {
			t.Errorf("a value that would break out of a script was accepted: %+v", s)
		}
	})
}
