package builder

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bootpuck/bootpuck/appliance/system/gpt"
	"github.com/bootpuck/bootpuck/appliance/system/statefs"
)

func TestFindKind(t *testing.T) {
	for _, tt := range []struct{ arch, kernel, want string }{
		{"amd64", "", "amd64"},
		{"amd64", "generic", "amd64"},
		{"amd64", "rpi", ""},
		{"arm64", "", "rpi"},
		{"arm64", "rpi", "rpi"},
		{"arm64", "generic", "arm64"},
		{"riscv64", "", ""},
		{"arm64", "realtime", ""},
	} {
		k, err := FindKind(tt.arch, tt.kernel)
		if k.Name != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%s with %q: %q, %v; want %q", tt.arch, tt.kernel, k.Name, err, tt.want)
		}
		if err == nil && k.Arch != tt.arch {
			t.Errorf("%s with %q is built for %s", tt.arch, tt.kernel, k.Arch)
		}
	}
}

// config returns the repository's instance description, changed.
func config(t *testing.T, change func(map[string]any)) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "..", "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	change(m)
	if b, err = json.Marshal(m); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestDerive(t *testing.T) {
	for _, k := range Kinds {
		b, hostname, err := Derive(config(t, func(map[string]any) {}), k, "1.2-3-gabc", map[string]string{licencesPath: "texts"})
		if err != nil {
			t.Fatalf("%s: %v", k.Name, err)
		}
		var got struct {
			Hostname, SerialConsole, KernelPackage, FirmwarePackage string
			EEPROMPackage                                           *string
			Packages, GokrazyPackages, KernelExtraArgs              []string
			PackageConfig                                           map[string]struct {
				GoBuildFlags, CommandLineFlags, Environment []string
				ExtraFileContents                           map[string]string
			}
			Update map[string]any
		}
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatalf("%s: %v", k.Name, err)
		}
		if hostname != "bootpuck" || got.Hostname != hostname {
			t.Errorf("%s: host name %q", k.Name, hostname)
		}
		if got.KernelPackage != k.Kernel || got.FirmwarePackage != k.Firmware || got.SerialConsole != k.SerialConsole {
			t.Errorf("%s: kernel %q, firmware %q, console %q", k.Name, got.KernelPackage, got.FirmwarePackage, got.SerialConsole)
		}
		if got.EEPROMPackage == nil || *got.EEPROMPackage != "" {
			t.Errorf("%s: an EEPROM package would reflash the machine", k.Name)
		}
		if len(got.Update) != 2 || got.Update["NoPassword"] != true || got.Update["UseTLS"] != "off" {
			t.Errorf("%s: update %v", k.Name, got.Update)
		}
		for _, arg := range []string{"rootdelay=0", "rootwait", "gpt"} {
			if !slices.Contains(got.KernelExtraArgs, arg) {
				t.Errorf("%s: kernel argument %s is missing", k.Name, arg)
			}
		}
		product := got.PackageConfig["github.com/bootpuck/bootpuck/cmd/bootpuck"]
		if !slices.Contains(product.GoBuildFlags, "-ldflags=-s -w -X "+versionVariable+"=1.2-3-gabc") {
			t.Errorf("%s: build flags %q", k.Name, product.GoBuildFlags)
		}
		if product.ExtraFileContents[licencesPath] != "texts" {
			t.Errorf("%s: no licence texts", k.Name)
		}
		if !slices.Contains(product.CommandLineFlags, "-state=/perm/bootpuck") || len(product.Environment) != 1 {
			t.Errorf("%s: program %+v", k.Name, product)
		}
		if slices.ContainsFunc(got.GokrazyPackages, func(p string) bool { return strings.HasSuffix(p, "/heartbeat") }) {
			t.Errorf("%s: the heartbeat calls home", k.Name)
		}
	}
}

func TestDeriveRefuses(t *testing.T) {
	update := func(m map[string]any) map[string]any { return m["Update"].(map[string]any) }
	for name, change := range map[string]func(map[string]any){
		"a password":         func(m map[string]any) { update(m)["HTTPPassword"] = "secret" },
		"password generated": func(m map[string]any) { update(m)["NoPassword"] = false },
		"TLS":                func(m map[string]any) { update(m)["UseTLS"] = "self-signed" },
		"TLS by default":     func(m map[string]any) { delete(update(m), "UseTLS") },
		"EEPROM":             func(m map[string]any) { m["EEPROMPackage"] = "github.com/gokrazy/rpi-eeprom" },
		"EEPROM by default":  func(m map[string]any) { delete(m, "EEPROMPackage") },
		"no host name":       func(m map[string]any) { m["Hostname"] = "" },
		"no programs":        func(m map[string]any) { m["Packages"] = []string{} },
		"own ldflags": func(m map[string]any) {
			m["PackageConfig"].(map[string]any)["github.com/bootpuck/bootpuck/cmd/bootpuck"].(map[string]any)["GoBuildFlags"] = []string{"-ldflags=-s"}
		},
	} {
		if _, _, err := Derive(config(t, change), Kinds[0], "1", nil); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	if _, _, err := Derive([]byte("{"), Kinds[0], "1", nil); err == nil {
		t.Error("broken JSON was accepted")
	}
}

// TestVersionVariable makes sure the linker flag names a variable that exists:
// the linker ignores one that does not.
func TestVersionVariable(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("..", "..", "system", "system.go"))
	if err != nil {
		t.Fatal(err)
	}
	i := strings.LastIndex(versionVariable, ".")
	if versionVariable[:i] != module+"appliance/system" || !bytes.Contains(b, []byte("var "+versionVariable[i+1:]+" string\n")) {
		t.Errorf("%s is not declared", versionVariable)
	}
}

func TestPatchApply(t *testing.T) {
	p := patch{Module: "m", File: "f.go", Edits: []edit{{Old: "a", New: "b", Count: 2}, {Old: "c", New: "", Count: 1}}}
	if got, err := p.apply("a c a"); err != nil || got != "b  b" {
		t.Errorf("got %q, %v", got, err)
	}
	for _, text := range []string{"a c", "a c a a", "a a", ""} {
		if got, err := p.apply(text); err == nil {
			t.Errorf("%q was patched to %q although it is not what was expected", text, got)
		}
	}
	p.Whole = "new"
	if got, err := p.apply("anything"); err != nil || got != "new" {
		t.Errorf("whole file: %q, %v", got, err)
	}
}

// TestPatchesFit applies the patches to the pinned modules.
func TestPatchesFit(t *testing.T) {
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	b := &build{root: root}
	for _, tt := range []struct {
		home    string
		patches []patch
	}{
		{filepath.Join(root, "appliance", "image", "gok"), toolPatches},
		{root, imagePatches},
	} {
		dirs := map[string]string{}
		for _, p := range tt.patches {
			if dirs[p.Module] == "" {
				if dirs[p.Module], err = b.moduleDir(t.Context(), tt.home, p.Module); err != nil {
					t.Skipf("module %s is not in the module cache and cannot be downloaded: %v", p.Module, err)
				}
			}
			old := ""
			if p.Whole == "" {
				text, err := os.ReadFile(filepath.Join(dirs[p.Module], p.File))
				if err != nil {
					t.Fatal(err)
				}
				old = string(text)
			}
			if _, err := p.apply(old); err != nil {
				t.Error(err)
			}
			if p.Why == "" {
				t.Errorf("%s/%s is patched for no reason", p.Module, p.File)
			}
		}
	}
}

func TestPinsDiffer(t *testing.T) {
	read := func(mod, sum string) pins {
		t.Helper()
		dir := t.TempDir()
		for name, text := range map[string]string{"go.mod": mod, "go.sum": sum} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		p, err := (&build{}).pins(t.Context(), filepath.Join(dir, "go.mod"))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	const mod, sum = "module m\n\ngo 1.26.0\n\nrequire example.com/a v1.0.0 // indirect\n", "example.com/a v1.0.0 h1:x=\n"
	base := read(mod, sum)
	if diff := base.differ(read(strings.Replace(mod, " // indirect", "", 1), sum)); diff != "" {
		t.Errorf("a comment counts as a difference: %s", diff)
	}
	for _, other := range [][2]string{
		{strings.Replace(mod, "v1.0.0", "v1.0.1", 1), sum},
		{mod + "require example.com/b v1.0.0\n", sum},
		{mod + "replace example.com/a => ./a\n", sum},
		{strings.Replace(mod, "1.26.0", "1.27.0", 1), sum},
		{mod, sum + "example.com/b v1.0.0 h1:y=\n"},
		{mod, ""},
	} {
		if base.differ(read(other[0], other[1])) == "" {
			t.Errorf("not noticed: %q", other)
		}
	}
}

// fakeParts returns an update archive's parts without building anything.
func fakeParts(t *testing.T, change func(map[string][]byte)) (*parts, error) {
	t.Helper()
	files := map[string][]byte{
		"boot.img": bytes.Repeat([]byte("boot"), 10000), "root.img": bytes.Repeat([]byte("root"), 10000),
		"mbr.img": bytes.Repeat([]byte{0x90}, 446), "sbom.json": []byte("{}"),
	}
	change(files)
	name := filepath.Join(t.TempDir(), "x.gaf")
	var buf bytes.Buffer
	z := zip.NewWriter(&buf)
	for name, text := range files {
		w, err := z.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(text); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, buf.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	p, err := readParts(name)
	if err == nil {
		t.Cleanup(func() { p.Close() })
	}
	return p, err
}

func TestWriteDisk(t *testing.T) {
	p, err := fakeParts(t, func(map[string][]byte) {})
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "disk.img"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := writeDisk(f, p, "bootpuck", Kinds[0]); err != nil {
		t.Fatal(err)
	}
	table, h, err := gpt.Read(f, DiskSize/gpt.SectorSize)
	if err != nil || !h.PrimaryOK || !h.BackupOK {
		t.Fatalf("table: %+v, %v", h, err)
	}
	// The ids and places are gokrazy's; its init and updater rely on them.
	for i, want := range []struct {
		id          string
		first, size uint64
	}{
		{"60c24cc1-f3f9-427a-8199-37fbe3a40001", 8192, 100 << 20},
		{"60c24cc1-f3f9-427a-8199-37fbe3a40002", 212992, 500 << 20},
		{"60c24cc1-f3f9-427a-8199-37fbe3a40003", 1236992, 500 << 20},
		{"60c24cc1-f3f9-427a-8199-37fbe3a40004", 2260992, 99 << 20},
	} {
		s := table.Slots[i]
		if s.ID.String() != want.id || s.First != want.first || s.Sectors()*gpt.SectorSize != want.size {
			t.Errorf("partition %d: %s, first %d, %d bytes", i+1, s.ID, s.First, s.Sectors()*gpt.SectorSize)
		}
	}
	at := func(off int64, n int) []byte {
		b := make([]byte, n)
		if _, err := f.ReadAt(b, off); err != nil {
			t.Fatal(err)
		}
		return b
	}
	if got := at(8192*512, 4); string(got) != "boot" {
		t.Errorf("boot partition starts with %q", got)
	}
	if got := at(212992*512, 4); string(got) != "root" {
		t.Errorf("root partition starts with %q", got)
	}
	sector := at(0, 512)
	if sector[0] != 0x90 || sector[510] != 0x55 || sector[511] != 0xaa || sector[446] != 0x80 || sector[446+4] != 0x0c || sector[446+16+4] != 0xee {
		t.Errorf("first sector % x", sector[440:])
	}
	perm := table.Slots[PermSlot]
	found, err := statefs.Inspect(sectionOf(f, int64(perm.First)*512), int64(perm.Sectors())*512)
	if err != nil || found != statefs.Requested {
		t.Errorf("state partition: %v, %v", found, err)
	}
	if st, err := f.Stat(); err != nil || st.Size() != DiskSize || DiskSize%gpt.SectorSize != 0 {
		t.Errorf("size %v, %v", st, err)
	}
}

type section struct {
	f   *os.File
	off int64
}

func sectionOf(f *os.File, off int64) section { return section{f, off} }

func (s section) ReadAt(b []byte, off int64) (int, error) { return s.f.ReadAt(b, s.off+off) }

func TestPartsRefused(t *testing.T) {
	if _, err := fakeParts(t, func(m map[string][]byte) { delete(m, "mbr.img") }); err == nil {
		t.Error("an archive without boot code was accepted")
	}
	for name, change := range map[string]func(map[string][]byte){
		"short boot code":   func(m map[string][]byte) { m["mbr.img"] = []byte("short") },
		"boot does not fit": func(m map[string][]byte) { m["boot.img"] = make([]byte, bootSize+1) },
	} {
		p, err := fakeParts(t, change)
		if err != nil {
			t.Fatal(err)
		}
		f, err := os.Create(filepath.Join(t.TempDir(), "disk.img"))
		if err != nil {
			t.Fatal(err)
		}
		if err := writeDisk(f, p, "bootpuck", Kinds[0]); err == nil {
			t.Errorf("%s was accepted", name)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestUpdateArchiveIsReproducible(t *testing.T) {
	epoch := time.Unix(1_800_000_000, 0)
	var a, b bytes.Buffer
	for _, w := range []*bytes.Buffer{&a, &b} {
		p, err := fakeParts(t, func(map[string][]byte) {})
		if err != nil {
			t.Fatal(err)
		}
		if err := writeUpdate(w, p, epoch); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(a.Bytes(), b.Bytes()) {
		t.Error("the same parts gave two archives")
	}
	z, err := zip.NewReader(bytes.NewReader(a.Bytes()), int64(a.Len()))
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range z.File {
		if f.Name != partNames[i] || f.Method != zip.Store {
			t.Errorf("member %d is %s, method %d", i, f.Name, f.Method)
		}
	}
}

func TestWholeLeavesNothingHalf(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "image")
	if err := os.WriteFile(name, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	err := whole(name, func(f *os.File) error {
		if _, err := f.WriteString("half"); err != nil {
			return err
		}
		return os.ErrInvalid
	})
	if err == nil {
		t.Fatal("the error was lost")
	}
	if b, err := os.ReadFile(name); err != nil || string(b) != "old" {
		t.Errorf("the old file is %q, %v", b, err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestGitVersionAndEpoch(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed")
	}
	t.Setenv("SOURCE_DATE_EPOCH", "")
	dir := t.TempDir()
	if v, err := gitVersion(t.Context(), dir); err == nil {
		t.Errorf("version %q without history", v)
	}
	if _, err := gitEpoch(t.Context(), dir); err == nil {
		t.Error("a time without history")
	}
	for _, args := range [][]string{
		{"init", "-q"},
		{"-c", "user.name=x", "-c", "user.email=x@example.com", "commit", "-q", "--allow-empty", "--date=@1700000000", "-m", "x"},
		{"tag", "v0.5"},
	} {
		cmd := exec.CommandContext(t.Context(), "git", append([]string{"-C", dir}, args...)...)
		cmd.Env = append(os.Environ(), "GIT_COMMITTER_DATE=@1700000000 +0000")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	if v, err := gitVersion(t.Context(), dir); err != nil || v != "0.5" {
		t.Errorf("version %q, %v", v, err)
	}
	if e, err := gitEpoch(t.Context(), dir); err != nil || e.Unix() != 1_700_000_000 {
		t.Errorf("time %v, %v", e, err)
	}
	t.Setenv("SOURCE_DATE_EPOCH", "1234")
	if e, err := gitEpoch(t.Context(), dir); err != nil || e.Unix() != 1234 {
		t.Errorf("time %v, %v", e, err)
	}
	for _, bad := range []string{"yesterday", "-5", "0"} {
		t.Setenv("SOURCE_DATE_EPOCH", bad)
		if _, err := gitEpoch(t.Context(), dir); err == nil {
			t.Errorf("SOURCE_DATE_EPOCH %q was accepted", bad)
		}
	}
}
