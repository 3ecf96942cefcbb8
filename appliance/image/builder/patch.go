package builder

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// A patch changes one file of a pinned module in a copy made for one build:
// nothing of the module enters this repository. A text that is not found exactly
// as often as expected stops the build, so a new version of the module cannot
// slip past its patch.
type patch struct {
	Module string // module path
	File   string // path inside the module
	Why    string
	Edits  []edit
	// Whole, when set, replaces the file (or adds it) instead of editing it.
	Whole string
}

type edit struct {
	Old, New string
	Count    int
}

const (
	toolsModule   = "github.com/gokrazy/tools"
	fatModule     = "github.com/gokrazy/internal"
	gokrazyModule = "github.com/gokrazy/gokrazy"
)

// toolPatches are applied to the tool that packs the image.
var toolPatches = []patch{
	{
		Module: toolsModule, File: "internal/packer/bootpuck_epoch.go",
		Why: "the one time every file of the image carries",
		Whole: `package packer

import (
	"log"
	"os"
	"strconv"
	"time"
)

func imageTime() time.Time {
	s, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64)
	if err != nil {
		log.Fatalf("SOURCE_DATE_EPOCH: %v", err)
	}
	return time.Unix(s, 0).UTC()
}
`,
	},
	{
		Module: toolsModule, File: "internal/packer/write.go",
		Why: "file times of the boot and root file systems",
		Edits: []edit{
			{Old: "time.Now()", New: "imageTime()", Count: 7},
			{Old: "fw.File(dest, st.ModTime())", New: "fw.File(dest, imageTime())", Count: 1},
			{Old: "d.File(filepath.Base(dest), st.ModTime(), ", New: "d.File(filepath.Base(dest), imageTime(), ", Count: 1},
			{Old: "	st, err := src.Stat()\n	if err != nil {\n		return err\n	}\n", New: "", Count: 1},
		},
	},
	{
		Module: toolsModule, File: "internal/packer/packerprepare.go",
		Why:   "the build stamp inside init",
		Edits: []edit{{Old: "time.Now().Format(time.RFC3339)", New: "imageTime().Format(time.RFC3339)", Count: 1}},
	},
	{
		Module: toolsModule, File: "internal/packer/sbom.go",
		Why:   "the bill of materials names the description by its place in the repository, not by its path on the build machine",
		Edits: []edit{{Old: "config.InstanceConfigPath()", New: `"config.json"`, Count: 1}},
	},
	{
		Module: toolsModule, File: "internal/packer/localtime.go",
		Why: "the image runs in UTC, not in the build machine's time zone",
		Whole: `package packer

// No /etc/localtime: programs then use UTC.
func hostLocaltime(string) (string, error) { return "", nil }
`,
	},
	{
		Module: toolsModule, File: "internal/packer/cacerts.go",
		Why: "the certificate authorities come from the pinned bundle, not from the build machine",
		Whole: `package packer

import (
	"encoding/pem"
	"strings"

	"golang.org/x/crypto/x509roots/fallback/bundle"
)

func (pack *Pack) findSystemCertsPEM() (string, error) {
	var all strings.Builder
	for root := range bundle.Roots() {
		if root.Constraint != nil {
			// A PEM file cannot carry the constraint, so the root stays out.
			continue
		}
		if err := pem.Encode(&all, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}); err != nil {
			return "", err
		}
	}
	return all.String(), nil
}
`,
	},
	{
		Module: toolsModule, File: "internal/packer/cacerts_linux.go",
		Why:   "see cacerts.go",
		Whole: "package packer\n",
	},
	{
		Module: fatModule, File: "fat/writer.go",
		Why: "free room in the boot partition, so that a person can put a file there from any computer",
		Edits: []edit{
			// 45,000 clusters of 2 KiB: about 88 MiB of the partition's 100.
			{Old: "if padding := 4085 - fw.usableFATEntries(); padding > 0 {", New: "if padding := 45000 - fw.usableFATEntries(); padding > 0 {", Count: 1},
			{Old: "rootDirEntries := dirEntryCount(fw.root)", New: "rootDirEntries := dirEntryCount(fw.root) + 128", Count: 1},
			{
				Old: "	if err := fw.writeDirEntries(pw, fw.root); err != nil {\n		return err\n	}\n",
				New: "	if err := fw.writeDirEntries(pw, fw.root); err != nil {\n		return err\n	}\n" +
					"	if _, err := pw.Write(make([]byte, 128*32)); err != nil {\n		return err\n	}\n",
				Count: 1,
			},
		},
	},
}

// imagePatches are applied to what runs inside the image.
var imagePatches = []patch{
	{
		Module: gokrazyModule, File: "cmd/ntp/ntp.go",
		Why: "without a way to the internet the time client asks once a second for ever; it must not pester a site's name server",
		Edits: []edit{
			{Old: "	for {\n		// Choose a different jitter", New: "	retry := time.Second\n	for {\n		// Choose a different jitter", Count: 1},
			{
				Old:   "			log.Printf(\"setting time failed: %v\", err)\n			time.Sleep(1 * time.Second)\n			continue\n",
				New:   "			log.Printf(\"setting time failed: %v\", err)\n			time.Sleep(retry)\n			retry = min(2*retry, 256*time.Second)\n			continue\n",
				Count: 1,
			},
			{Old: "		time.Sleep(1 * time.Hour)\n", New: "		retry = time.Second\n		time.Sleep(1 * time.Hour)\n", Count: 1},
		},
	},
}

// apply returns the patched text of a file whose text is old.
func (p patch) apply(old string) (string, error) {
	if p.Whole != "" {
		return p.Whole, nil
	}
	for _, e := range p.Edits {
		if n := strings.Count(old, e.Old); n != e.Count {
			return "", fmt.Errorf("patch %s/%s (%s): %q stands there %d times, not %d", p.Module, p.File, p.Why, e.Old, n, e.Count)
		}
		old = strings.ReplaceAll(old, e.Old, e.New)
	}
	return old, nil
}

// patchModules copies every module the patches name below dir, patched, and
// returns where each copy is. go build takes them through replace lines; an
// overlay would not do, because go refuses overlays for its module cache.
func patchModules(dir string, patches []patch, moduleDir func(module string) (string, error)) (map[string]string, error) {
	copies := map[string]string{}
	for _, p := range patches {
		if copies[p.Module] == "" {
			src, err := moduleDir(p.Module)
			if err != nil {
				return nil, err
			}
			dst := filepath.Join(dir, filepath.FromSlash(p.Module))
			if err := copyTree(dst, src); err != nil {
				return nil, err
			}
			copies[p.Module] = dst
		}
		name := filepath.Join(copies[p.Module], filepath.FromSlash(p.File))
		old := ""
		if p.Whole == "" {
			b, err := os.ReadFile(name)
			if err != nil {
				return nil, fmt.Errorf("patch %s/%s: %w", p.Module, p.File, err)
			}
			old = string(b)
		}
		text, err := p.apply(old)
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			return nil, fmt.Errorf("patch %s/%s: %w", p.Module, p.File, err)
		}
	}
	return copies, nil
}
