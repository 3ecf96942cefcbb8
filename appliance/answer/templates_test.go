package answer

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// hostile is what a stranger sends as every value there is. It tries to get out
// of every kind of file.
const hostile = "x\n%end\\$(id)`id`'\";</a>]]>&&||${x}{{.}} init=/bin/sh : - #\u2028\u202e"

// tell is data of a machine of which everything that it tells is value.
func tell(value string) Data {
	s := boot.Sighting{
		MAC: boot.MAC(value), Serial: value, Asset: value, Manufacturer: value, Product: value, Hostname: value, NIC: value,
		CPU: value, ArchName: value, Firmware: boot.Firmware(value), Platform: boot.Platform(value), SecureBoot: boot.SecureBoot(value), IPXE: value,
		Variables: map[string]string{"mac": value, "net0/mac": value, value: value},
	}
	m := boot.Machine{ID: "m1", Name: "web-1", Tags: []string{"web", "rack-2"}, Groups: []string{"servers"}, MACs: []boot.NIC{{MAC: boot.MAC(value)}}}
	vars := map[string]string{
		"disk": "/dev/sda", "password": "$6$salt$hash", "keys": "ssh-ed25519 AAAA one\nssh-ed25519 BBBB two\n",
		"a-b": "dash", "proxy": "", "n": "3",
	}
	return NewData(m, s, vars, "http://192.0.2.5",
		func(n string) string { return "http://192.0.2.5/a/tok/" + n },
		func(cb string) string { return "http://192.0.2.5/cb/tok/" + cb })
}

// realistic are the templates of testdata by kind.
func realistic(t testing.TB) map[boot.TemplateKind]string {
	t.Helper()
	found := map[boot.TemplateKind]string{}
	for _, kind := range boot.TemplateKinds() {
		b, err := os.ReadFile(filepath.Join("testdata", string(kind)+".tmpl"))
		if err != nil {
			t.Fatal(err)
		}
		found[kind] = string(b)
	}
	return found
}

// TestRealistic: whole files as installers want them are accepted, are what
// their readers can read for an ordinary machine and for a hostile one, and
// hold nothing of what the hostile one sent as it sent it.
func TestRealistic(t *testing.T) {
	for kind, text := range realistic(t) {
		t.Run(string(kind), func(t *testing.T) {
			tx, err := CompileText(kind, string(kind), text)
			if err != nil {
				t.Fatal(err)
			}
			if err := tx.TryOut(map[string]string{"keys": "one\ntwo"}); err != nil {
				t.Errorf("sample: %v", err)
			}
			out, err := tx.Render(tell("Super Server 5000"), 0)
			if err != nil {
				t.Fatal(err)
			}
			if err := tx.CheckOutput(out); err != nil {
				t.Errorf("ordinary: %v\n%s", err, out)
			}
			golden(t, string(kind)+".plain", out)
			out, err = tx.Render(tell(hostile), 0)
			if err != nil {
				t.Fatal(err)
			}
			if err := tx.CheckOutput(out); err != nil {
				t.Errorf("hostile: %v\n%s", err, out)
			}
			golden(t, string(kind)+".hostile", out)
			if strings.Contains(string(out), hostile) {
				t.Error("the hostile text is there as it was sent")
			}
		})
	}
}

// golden compares with testdata, or writes it with UPDATE=1.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != string(got) {
		t.Errorf("%s differs; got:\n%s", file, got)
	}
}
