package exchange

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

func TestDiff(t *testing.T) {
	a, b := sample(), sample()
	if d := Diff(a, b); d != nil {
		t.Errorf("%v", d)
	}
	// What is not in a file is no difference.
	b.Site.Rev, b.Machines[1].Rev, b.Machines[1].Boots = 99, 99, 99
	b.Machines[1].MACs[0].Last = time.Unix(5, 0)
	b.Machines[0], b.Machines[1] = b.Machines[1], b.Machines[0]
	b.Groups[0].Variables = map[string]string{}
	if d := Diff(a, b); d != nil {
		t.Errorf("%v", d)
	}

	b = sample()
	b.Site.Default = ""
	b.Site.Seconds = 30
	b.Site.Deny = append(b.Site.Deny, "66:77:88")
	b.Site.AllowUntil = time.Time{}
	b.Site.Variables = map[string]string{"domain": "example.net", "root_password": "new"}
	b.Targets = b.Targets[:2]
	b.Targets[0].SAN = &boot.SAN{Protocol: boot.SANiSCSI, Host: "192.0.2.6", IQN: b.Targets[0].SAN.IQN, User: "box", Password: "0ther"}
	b.Targets[1].Cmdline = "auto=true priority=critical --- quiet splash"
	b.Targets[1].Destructive = false
	b.Targets = append(b.Targets, boot.Target{Name: "rescue", Title: "Rescue system", Kind: boot.TargetChain, URL: "http://me:hidden@192.0.2.9/x"})
	b.Templates[0].Text = strings.Replace(b.Templates[0].Text, "lvm", "regular\nd-i passwd/root-password password hidden", 1)
	b.Machines[1].MACs = []boot.NIC{{MAC: "52:54:00:00:00:01"}, {MAC: "52:54:00:12:34:56", Given: true}}
	b.Machines[1].Assignment = nil
	b.Machines[1].Tags = nil
	b.Machines = append(b.Machines[1:], boot.Machine{Name: "web02"})
	var got []string
	for _, d := range Diff(a, b) {
		got = append(got, d.String())
	}
	want := []string{
		`site: allow_until: 2026-05-01T16:00:00Z removed`,
		`site: default: "rescue" removed`,
		`site: deny: ["52:54:00", "00:11:22:33"] → ["52:54:00", "00:11:22:33", "66:77:88"]`,
		`site: variables.domain: "example.org" → "example.net"`,
		`site: variables.ntp: "192.0.2.1" removed`,
		`site: seconds: new 30`,
		`site: variables.root_password: new (secret)`,
		`targets/debian: destructive: true removed`,
		`targets/debian: cmdline: "auto=true priority=critical --- quiet" → "auto=true priority=critical --- quiet splash"`,
		`targets/disk: san.host: "192.0.2.5" → "192.0.2.6"`,
		`targets/disk: san.password: another (secret)`,
		`targets/rescue: new: "Rescue system"`,
		`targets/menu: removed: "menu"`,
		`templates/preseed: text: text differs in 2 lines from line 4 on`,
		`machines/m1: tags: ["lab", "rack-3"] removed`,
		`machines/m1: assignment.profile: "install" removed`,
		`machines/m1: assignment.mode: "armed" removed`,
		`machines/m1: assignment.boots: 2 removed`,
		`machines/m1: macs.52:54:00:12:34:56: address → address, given`,
		`machines/m1: macs.52:54:00:aa:bb:cc: address, given, shared removed`,
		`machines/m1: macs.52:54:00:00:00:01: new address`,
		`machines[1]: new: "web02"`,
		`machines/m7: removed: "52:54:00:12:34:57"`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Nothing that is a secret by its place or name is in a difference.
func TestDiffSecrets(t *testing.T) {
	secret := "Tr0ub4dor"
	before := Document{
		Site: boot.Site{Variables: map[string]string{"db_password": secret + "1", "api-token": secret, "ROOT_PW": secret, "ssh.private_key": secret, "wifi-psk": secret}},
		Targets: []boot.Target{
			{Name: "a", SAN: &boot.SAN{Password: secret}},
			{Name: "b", URL: "https://user:" + secret + "@example.org/"},
			{Name: "c", Cmdline: "quiet vncpassword=" + secret + " inst.PASSPHRASE=" + secret},
			{Name: "d", Script: "set password " + secret},
			{Name: "e", Title: "x"},
		},
		Templates: []boot.Template{{Name: "t", Text: "rootpw " + secret + "\nline"}, {Name: "u", Text: secret}},
		Profiles:  []boot.Profile{{Name: "p", Variables: map[string]string{"passphrase": secret}}},
	}
	after := Normal(before)
	for k := range after.Site.Variables {
		after.Site.Variables[k] += "2"
	}
	after.Targets[0].SAN.Password += "2"
	after.Targets[1].URL = "https://user:" + secret + "2@example.org/"
	after.Targets[2].Cmdline += "2"
	after.Targets[3].Script += "2"
	after.Targets[4].SAN = &boot.SAN{Password: secret}
	after.Templates[0].Text += "2"
	after.Templates[1].Text += "2"
	after.Profiles[0].Variables["passphrase"] += "2"
	for _, pair := range [][2]Document{{before, after}, {after, before}, {{}, after}, {after, {}}} {
		list := Diff(pair[0], pair[1])
		if len(list) < 8 {
			t.Errorf("only %d differences", len(list))
		}
		for _, d := range list {
			if strings.Contains(d.String(), secret) {
				t.Errorf("%s", d)
			}
		}
	}
	// A menu's keys on the keyboard are none.
	x := Document{Targets: []boot.Target{{Name: "m", Menu: &boot.Menu{Entries: []boot.MenuEntry{{Key: "a"}}}}}}
	y := Document{Targets: []boot.Target{{Name: "m", Menu: &boot.Menu{Entries: []boot.MenuEntry{{Key: "b"}}}}}}
	if d := Diff(x, y); len(d) != 1 || d[0].Text != `menu.entries[0].key: "a" → "b"` {
		t.Errorf("%v", d)
	}
}

// Machines that have no identifier yet cannot be told apart but by all they are.
func TestDiffNameless(t *testing.T) {
	x := Document{Machines: []boot.Machine{{Name: "a"}, {Name: "b"}}}
	y := Document{Machines: []boot.Machine{{Name: "a"}, {Name: "b", Notes: "n"}}}
	if d := Diff(x, x); d != nil {
		t.Errorf("%v", d)
	}
	want := []Difference{{"machines[1]", `new: "b"`}, {"machines[1]", `removed: "b"`}}
	if diff := cmp.Diff(want, Diff(x, y)); diff != "" {
		t.Error(diff)
	}
}

func TestDiffBounds(t *testing.T) {
	var a, b Document
	for i := range MaxDifferences + 10 {
		b.Machines = append(b.Machines, boot.Machine{ID: boot.MachineID(fmt.Sprint(i))})
	}
	d := Diff(a, b)
	if len(d) != MaxDifferences || d[MaxDifferences-1].Text != "and 11 more differences" {
		t.Errorf("%d: %v", len(d), d[len(d)-1])
	}
	long := Diff(Document{Site: boot.Site{Title: strings.Repeat("é", 500)}}, Document{Site: boot.Site{Title: strings.Repeat("é", 500) + "x"}})
	if len(long) != 1 || len(long[0].Text) > 300 || !strings.Contains(long[0].Text, "not shown") {
		t.Errorf("%v", long)
	}
}
