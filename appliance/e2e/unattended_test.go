package e2e

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bootpuck/bootpuck/appliance/e2e/lab"
)

// unattended installs something for real and reports how it goes; the profile
// "mute" never reports that it is done.
func unattended() string {
	common := "console=ttyS0,115200 lab.image={{.Box.Base}}/files/disk.gz lab.answer={{answer \"setup\"}} lab.started={{callback \"started\"}} lab.progress={{callback \"progress\"}} lab.failed={{callback \"failed\"}}"
	target := func(name, cmdline string) string {
		return "  - name: " + name + "\n    kind: linux\n    destructive: true\n    kernel: files/amd64/linux\n    initrds: [files/tiny.gz]\n    cmdline: >-\n      " + cmdline + "\n"
	}
	profile := func(name string) string {
		return "  - name: " + name + "\n    target: " + name + "\n    answers:\n      setup: setup\n    variables:\n      secret: s3cret-of-{{name}}\n"
	}
	text := "version: 1\nsite:\n  unknown: allow\ntargets:\n" + target("install", common+" lab.done={{callback \"done\"}}") + target("mute", common) +
		"profiles:\n" + strings.ReplaceAll(profile("install"), "{{name}}", "install") + strings.ReplaceAll(profile("mute"), "{{name}}", "mute") +
		"templates:\n  - name: setup\n    kind: plain\n    text: |\n      host {{.Machine.Name}}\n      password {{.Vars.secret}}\nmachines:\n"
	for _, kind := range []string{"ipxe-rom", "ovmf-pxe"} {
		text += machineYAML("web-"+kind, "") + machineYAML("loop-"+kind, "")
	}
	return text
}

// TestUnattended arms a machine with a blank disk: it installs, reports done,
// and boots its own disk at the next power-on without anybody touching it. A
// second machine, whose installer never reports done, is stopped when it asks
// for the same again.
func TestUnattended(t *testing.T) {
	need(t)
	m := manage(t, unattended())
	for _, kind := range []string{"ipxe-rom", "ovmf-pxe"} {
		t.Run(kind+"/done", func(t *testing.T) {
			row := "web-" + kind
			disk := blankDisk(t)
			code := armed(m.ctl(t, "arm", row, "install"))
			g := m.on(t, row, kind, disk)
			shows(t, g, code, "tiny-installer: answer: password s3cret-of-install", lab.InstallerWritten, lab.InstallerDone)
			if err := g.WaitOff(t.Context()); err != nil {
				t.Fatal(err)
			}
			if text := m.ctl(t, "assignments"); !strings.Contains(text, "done") {
				t.Errorf("the box does not know that it is done:\n%s", text)
			}
			g = m.on(t, row, kind, disk)
			shows(t, g, lab.DiskMarker(installed))
			if files := received(g); slices.Contains(files, "http://"+lab.BoxAddr+"/files/tiny.gz") {
				t.Errorf("it was given the installer again: %v", files)
			}
		})
		t.Run(kind+"/loop", func(t *testing.T) {
			row := "loop-" + kind
			disk := blankDisk(t)
			m.ctl(t, "arm", row, "mute", "-boots", "3")
			g := m.on(t, row, kind, disk)
			shows(t, g, lab.InstallerWritten, lab.InstallerDone)
			if err := g.WaitOff(t.Context()); err != nil {
				t.Fatal(err)
			}
			// The same again: the reason on the screen, and its own disk.
			g = m.on(t, row, kind, disk)
			shows(t, g, lab.DiskMarker(installed))
			if strings.Contains(g.Console.String(), lab.InstallerStarted) {
				t.Error("it was installed twice")
			}
			said := waitEvent(t, m.site, m.box, "loop_breaker", g.MAC.String()).ReasonText
			if !strings.Contains(plain(g.Console.String()), firstWords(said, 6)) {
				t.Errorf("the screen does not say %q:\n%s", said, g.Console.Tail(30))
			}
			t.Logf("the box said: %s", said)
		})
	}
}

func blankDisk(t *testing.T) string {
	t.Helper()
	disk := filepath.Join(t.TempDir(), "disk.raw")
	if err := lab.BlankDisk(disk, 64<<20); err != nil {
		t.Fatal(err)
	}
	return disk
}

// armed is the code in what "arm" printed.
func armed(text string) string {
	for _, word := range strings.Fields(text) {
		if len(word) >= 4 && strings.ToUpper(word) == word && strings.ContainsAny(word, "0123456789") {
			return strings.Trim(word, ".,:")
		}
	}
	return text
}

// plain joins what a narrow screen has wrapped.
func plain(s string) string { return strings.Join(strings.Fields(s), " ") }

// firstWords are the first n words of a text.
func firstWords(s string, n int) string {
	words := strings.Fields(s)
	return strings.Join(words[:min(n, len(words))], " ")
}
