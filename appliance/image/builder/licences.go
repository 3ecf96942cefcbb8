package builder

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// licencesPath is where the licence texts of everything in the image stand. (The
// boot files for clients carry theirs inside our own program.)
const licencesPath = "/usr/share/bootpuck/licences.txt"

// licenceFile matches the names under which modules keep licences and notices.
var licenceFile = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice|patents)([._-].*)?$`)

// commonLicences is where Debian keeps the texts of common licences
// (package base-files).
const commonLicences = "/usr/share/common-licenses"

// notice is a part of the image that is no Go module.
type notice struct {
	name, text string
	licence    string // file in commonLicences
}

var notices = []notice{
	{
		name: "boot sector: Minimal Linux Bootloader 1.0, Copyright (C) 2012 Sebastian Plotz",
		text: "GNU General Public License, version 3 or later. Its source, bootloader.asm, is in the Go module " +
			fatModule + ", folder mbr, at the version appliance/image/gok/go.mod names.",
		licence: "GPL-3",
	},
	{
		name: "UEFI boot manager: systemd-boot 250.5-1",
		text: "GNU Lesser General Public License, version 2.1 or later. The programs are in the Go module " + toolsModule +
			", folder third_party, at the version appliance/image/gok/go.mod names; the source is Debian's source package systemd 250.5-1.",
		licence: "LGPL-2.1",
	},
}

// licences returns the text for licencesPath.
func (b *build) licences(ctx context.Context, in *modules, packages []string) (string, error) {
	// All packages' modules, whatever a build for this kind reaches.
	args := append([]string{
		"list", "-deps", "-mod=mod", "-modfile=" + in.modfile, "-tags=gokrazy,netgo,osusergo",
		"-f", "{{with .Module}}{{.Path}}\t{{.Version}}\t{{.Dir}}{{end}}",
	}, packages...)
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = b.root
	cmd.Env = append(append(os.Environ(), b.Env...), "GOWORK=off", "GOFLAGS=", "GOOS=linux", "GOARCH="+b.Kind.Arch, "CGO_ENABLED=0")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("licences: list modules: %w: %s", err, strings.TrimSpace(stderr.String()))
	}
	lines := slices.Compact(slices.Sorted(strings.SplitSeq(strings.TrimSpace(string(out)), "\n")))
	var text strings.Builder
	section := func(title string) { fmt.Fprintf(&text, "\n%s\n%s\n\n", title, strings.Repeat("=", len(title))) }
	text.WriteString("Licences of what is in this image.\n")
	for _, line := range lines {
		f := strings.Split(line, "\t")
		if len(f) != 3 || f[2] == "" {
			continue
		}
		path, version, dir := f[0], f[1], f[2]
		entries, err := os.ReadDir(dir)
		if err != nil {
			return "", fmt.Errorf("licences: %w", err)
		}
		found := false
		for _, e := range entries {
			if !e.Type().IsRegular() || !licenceFile.MatchString(e.Name()) {
				continue
			}
			content, err := os.ReadFile(filepath.Join(dir, e.Name()))
			if err != nil {
				return "", fmt.Errorf("licences: %w", err)
			}
			section(strings.TrimSpace(path+" "+version) + ": " + e.Name())
			text.Write(bytes.TrimSpace(content))
			text.WriteByte('\n')
			found = true
		}
		if !found {
			return "", fmt.Errorf("licences: module %s %s has no licence file", path, version)
		}
	}
	home, err := goroot(ctx)
	if err != nil {
		return "", err
	}
	goLicence, err := os.ReadFile(filepath.Join(home, "LICENSE"))
	if err != nil {
		return "", fmt.Errorf("licences: Go's own: %w", err)
	}
	section("The Go runtime and standard library")
	text.Write(bytes.TrimSpace(goLicence))
	text.WriteByte('\n')
	for _, n := range notices {
		content, err := os.ReadFile(filepath.Join(commonLicences, n.licence))
		if err != nil {
			return "", fmt.Errorf("licences: %s: %w (package base-files)", n.name, err)
		}
		section(n.name)
		text.WriteString(n.text + "\n\n")
		text.Write(bytes.TrimSpace(content))
		text.WriteByte('\n')
	}
	return text.String(), nil
}

func goroot(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("find Go: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}
