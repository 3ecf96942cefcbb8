package bootfiles

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// The names that other parts of the product hand to machines. A manifest without
// one of them would leave an architecture unanswered.
func TestManifestNamesEveryAnswer(t *testing.T) {
	pins, err := Manifest()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]struct {
		arch string
		role Role
	}{
		"undionly.kpxe":         {"i386", RoleIPXEBIOS},
		"ipxe.pxe":              {"i386", RoleIPXEBIOS},
		"ipxe.lkrn":             {"i386", RoleIPXEBIOS},
		"x86_64/snponly.efi":    {"x86_64", RoleIPXEEFI},
		"x86_64/ipxe.efi":       {"x86_64", RoleIPXEEFI},
		"i386/snponly.efi":      {"i386", RoleGRUBEFI},
		"arm32/snponly.efi":     {"arm", RoleGRUBEFI},
		"arm64/snponly.efi":     {"arm64", RoleIPXEEFI},
		"arm64/ipxe.efi":        {"arm64", RoleIPXEEFI},
		"riscv64/snponly.efi":   {"riscv64", RoleIPXEEFI},
		"riscv64/ipxe.efi":      {"riscv64", RoleIPXEEFI},
		"loong64/snponly.efi":   {"loong64", RoleIPXEEFI},
		"loong64/ipxe.efi":      {"loong64", RoleIPXEEFI},
		"memtest/memtest.bin":   {"x86_64", RoleMemtestBIOS},
		"memtest/memtest32.bin": {"i386", RoleMemtestBIOS},
		"memtest/memtest64.efi": {"x86_64", RoleMemtestEFI},
		"memtest/memtest32.efi": {"i386", RoleMemtestEFI},
		// pxelinux asks for its modules beside itself.
		"pxelinux/lpxelinux.0":  {"i386", RolePXELinux},
		"pxelinux/pxelinux.0":   {"i386", RolePXELinux},
		"pxelinux/ldlinux.c32":  {"i386", RoleSyslinux},
		"pxelinux/menu.c32":     {"i386", RoleSyslinux},
		"pxelinux/vesamenu.c32": {"i386", RoleSyslinux},
		"pxelinux/libutil.c32":  {"i386", RoleSyslinux},
		"pxelinux/libcom32.c32": {"i386", RoleSyslinux},
		"pxelinux/chain.c32":    {"i386", RoleSyslinux},
		"pxelinux/reboot.c32":   {"i386", RoleSyslinux},
		"pxelinux/poweroff.c32": {"i386", RoleSyslinux},
		"pxelinux/memdisk":      {"i386", RoleMemdisk},
		// shim asks for the other two beside itself.
		"x86_64/shimx64.efi": {"x86_64", RoleShimEFI},
		"x86_64/grubx64.efi": {"x86_64", RoleGRUBEFI},
		"x86_64/mmx64.efi":   {"x86_64", RoleShimEFI},
		"arm64/shimaa64.efi": {"arm64", RoleShimEFI},
		"arm64/grubaa64.efi": {"arm64", RoleGRUBEFI},
		"arm64/mmaa64.efi":   {"arm64", RoleShimEFI},
	} {
		f, ok := pins.File(name)
		if !ok {
			t.Errorf("%s: not in the manifest", name)
			continue
		}
		if f.Architecture != want.arch || f.Role != want.role {
			t.Errorf("%s: architecture %s, role %s, want %s, %s", name, f.Architecture, f.Role, want.arch, want.role)
		}
	}
}

// Every licence a binary is under has its text in the image.
func TestLicenceTextsTravelAlong(t *testing.T) {
	pins, err := Manifest()
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{
		"GPL-2.0": "licenses/GPL-2.txt", "GPL-3.0": "licenses/GPL-3.txt",
		"BSD-2-Clause": "licenses/shim.txt", "BSD-3-Clause": "licenses/shim.txt", "OpenSSL": "licenses/shim.txt",
	}
	for _, f := range append(slices.Clone(pins.Files), pins.Medium...) {
		if f.Role == RoleLicence {
			continue
		}
		for _, part := range strings.Split(f.Licence, " AND ") {
			text := texts[strings.TrimSuffix(strings.TrimSuffix(part, "-only"), "-or-later")]
			if _, ok := pins.File(text); !ok {
				t.Errorf("%s is under %s, and its text is not in the manifest", f.Path, part)
			}
		}
	}
	// Whoever gets a binary must be able to get its source.
	sources := map[string]bool{}
	for _, s := range pins.Sources {
		sources[s.ID()] = true
	}
	for _, p := range pins.Packages {
		for _, s := range append([]string{p.Source}, p.BuiltUsing...) {
			if !sources[s] {
				t.Errorf("package %s: source %s is not listed", p.Name, s)
			}
		}
		// What Debian signed was built by another source package.
		if strings.HasSuffix(p.Name, "-signed") && len(p.BuiltUsing) == 0 {
			t.Errorf("package %s: the source of what was signed is not named", p.Name)
		}
	}
}

func TestEmbeddedFilesMatchTheManifest(t *testing.T) {
	pins, err := Manifest()
	if err != nil {
		t.Fatal(err)
	}
	gone := Missing()
	if len(gone) == len(pins.Files) {
		t.Skip("the boot files were not built: run make bootfiles")
	}
	if len(gone) > 0 {
		t.Fatalf("some boot files were not built: %v", gone)
	}
	if err := Verify(); err != nil {
		t.Fatal(err)
	}
	if err := fstest.TestFS(FS(), "undionly.kpxe", "x86_64/snponly.efi", "licenses/GPL-2.txt"); err != nil {
		t.Error(err)
	}
	if _, err := fs.Stat(FS(), "README"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the placeholder is served: %v", err)
	}
	f, err := FS().Open("undionly.kpxe")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, ok := f.(io.ReadSeeker); !ok {
		t.Error("a boot file cannot be sought in, HTTP ranges need that")
	}
	if _, ok := f.(io.ReaderAt); !ok {
		t.Error("a boot file cannot be read at an offset")
	}
}

// A fresh clone has the placeholder only: nothing is served, all is missing, and
// nothing panics.
func TestNothingBuilt(t *testing.T) {
	pins, err := Manifest()
	if err != nil {
		t.Fatal(err)
	}
	fsys := newAllowed(fstest.MapFS{"README": {Data: []byte("x")}}, pins.Files)
	if got := missing(fsys, pins); len(got) != len(pins.Files) {
		t.Errorf("missing %d of %d files", len(got), len(pins.Files))
	}
	err = pins.Check(fsys)
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "undionly.kpxe") {
		t.Errorf("Check = %v", err)
	}
	if list, err := fs.ReadDir(fsys, "."); err != nil || len(list) != 0 {
		t.Errorf("root lists %v, %v", list, err)
	}
}

// pinned makes a pin for content, as the manifest would hold it.
func pinned(path string, data []byte) File {
	sum := sha256.Sum256(data)
	return File{Path: path, Size: int64(len(data)), SHA256: hex.EncodeToString(sum[:])}
}

func TestAllowedShowsOnlyTheManifest(t *testing.T) {
	under := fstest.MapFS{
		"README":     {Data: []byte("placeholder")},
		".marker":    {Data: []byte("x")},
		"a.efi":      {Data: []byte("a")},
		"dir/b.efi":  {Data: []byte("b")},
		"dir/stray":  {Data: []byte("s")},
		"other/file": {Data: []byte("o")},
	}
	fsys := newAllowed(under, []File{pinned("a.efi", []byte("a")), pinned("dir/b.efi", []byte("b"))})
	if err := fstest.TestFS(fsys, "a.efi", "dir/b.efi"); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"README", ".marker", "dir/stray", "other", "other/file", "../a.efi", "/a.efi", "dir/../a.efi", ""} {
		if f, err := fsys.Open(name); err == nil {
			f.Close()
			t.Errorf("%q can be opened", name)
		}
		if _, err := fs.ReadFile(fsys, name); err == nil {
			t.Errorf("%q can be read", name)
		}
	}
	// Asking for one entry at a time must reach the end without empty answers.
	d, err := fsys.Open(".")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	var names []string
	for {
		list, err := d.(fs.ReadDirFile).ReadDir(1)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil || len(list) != 1 {
			t.Fatalf("ReadDir(1) = %v, %v", list, err)
		}
		names = append(names, list[0].Name())
	}
	if want := []string{"a.efi", "dir"}; !slices.Equal(names, want) {
		t.Errorf("root lists %v, want %v", names, want)
	}
}

func TestCheckNamesFileAndBothHashes(t *testing.T) {
	good, bad := []byte("what was pinned"), []byte("what was found.")
	f := pinned("x86_64/snponly.efi", good)
	if err := f.Check(good); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"other bytes": bad, "shorter": good[:3], "longer": append(slices.Clone(good), 'x'), "none": nil} {
		err := Pins{Files: []File{f}}.Check(fstest.MapFS{f.Path: {Data: data}})
		var wrong *MismatchError
		if !errors.As(err, &wrong) {
			t.Fatalf("%s: Check = %v, want a *MismatchError", name, err)
		}
		got := sha256.Sum256(data)
		for _, want := range []string{f.Path, f.SHA256, hex.EncodeToString(got[:])} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q does not name %s", name, err, want)
			}
		}
		if (len(data) != len(good)) != strings.Contains(err.Error(), "size") {
			t.Errorf("%s: %q about sizes %d and %d", name, err, len(data), len(good))
		}
	}
	// A stream that never ends is not read to its end.
	if err := check("endless", 10, f.SHA256, endless{}); err == nil {
		t.Error("an endless file passes")
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestParseRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*Pins)
		want   string
	}{
		"another version":         {func(p *Pins) { p.Version = 2 }, "version 2"},
		"path outside":            {func(p *Pins) { p.Files[0].Path = "../x" }, "bad path"},
		"absolute path":           {func(p *Pins) { p.Files[0].Path = "/x" }, "bad path"},
		"the placeholder":         {func(p *Pins) { p.Files[0].Path = "README" }, "placeholder"},
		"same path twice":         {func(p *Pins) { p.Files[1].Path = p.Files[0].Path }, "listed twice"},
		"file is a folder":        {func(p *Pins) { p.Files[1].Path = p.Files[0].Path + "/x" }, "folder"},
		"member outside":          {func(p *Pins) { p.Files[0].Member = "../../etc/shadow" }, "bad member"},
		"unknown package":         {func(p *Pins) { p.Files[0].Package = "nothing" }, "not listed"},
		"unknown role":            {func(p *Pins) { p.Files[0].Role = "virus" }, "unknown role"},
		"no licence":              {func(p *Pins) { p.Files[0].Licence = "" }, "no licence"},
		"relative local path":     {func(p *Pins) { p.Files[0].Local = "x" }, "bad local path"},
		"upper-case hash":         {func(p *Pins) { p.Files[0].SHA256 = strings.ToUpper(p.Files[0].SHA256) }, "sha256"},
		"short hash":              {func(p *Pins) { p.Packages[0].SHA256 = "ab" }, "sha256"},
		"no size":                 {func(p *Pins) { p.Files[0].Size = 0 }, "size 0"},
		"size beyond reason":      {func(p *Pins) { p.Files[0].Size = maxFile + 1 }, "size"},
		"host in a pool path":     {func(p *Pins) { p.Packages[0].Pool = []string{"http://mirror.example.org/pool/x.deb"} }, "bad pool path"},
		"pool path upwards":       {func(p *Pins) { p.Packages[0].Pool = []string{"pool/../../x"} }, "bad pool path"},
		"no pool path":            {func(p *Pins) { p.Packages[0].Pool = nil }, "no pool path"},
		"option as package":       {func(p *Pins) { p.Packages[0].Name = "-o" }, "bad name"},
		"configuration in suite":  {func(p *Pins) { p.Packages[0].Suites = []string{"sid [trusted=yes]"} }, "bad suite"},
		"configuration in arch":   {func(p *Pins) { p.Packages[0].Architecture = "a b" }, "bad architecture"},
		"path in version":         {func(p *Pins) { p.Packages[0].Version = "1/../.." }, "bad version"},
		"component":               {func(p *Pins) { p.Packages[0].Component = "" }, "bad component"},
		"several of a name":       {func(p *Pins) { p.Files[len(p.Files)-1].Package = "shim-signed" }, "does not say which"},
		"no such architecture":    {func(p *Pins) { p.Files[len(p.Files)-1].Package = "shim-signed:riscv64" }, "not listed"},
		"built using nothing":     {func(p *Pins) { p.Packages[0].BuiltUsing = []string{"x=1"} }, "not listed"},
		"package twice":           {func(p *Pins) { p.Packages = append(p.Packages, p.Packages[0]) }, "listed twice"},
		"package without source":  {func(p *Pins) { p.Packages[0].Source = "x=1" }, "not listed"},
		"source without files":    {func(p *Pins) { p.Sources[0].Files = nil }, "no files"},
		"source with a bad pool":  {func(p *Pins) { p.Sources[0].Files[0].Pool = "x" }, "bad pool path"},
		"source with a bad hash":  {func(p *Pins) { p.Sources[0].Files[0].SHA256 = "" }, "sha256"},
		"medium with a bad entry": {func(p *Pins) { p.Medium[0].Path = "" }, "bad path"},
	} {
		t.Run(name, func(t *testing.T) {
			var p Pins
			if err := json.Unmarshal(manifestJSON, &p); err != nil {
				t.Fatal(err)
			}
			tt.change(&p)
			data, err := json.Marshal(p)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := Parse(data); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Parse = %v, want an error with %q", err, tt.want)
			}
		})
	}
	for name, data := range map[string][]byte{
		"unknown key": bytes.Replace(manifestJSON, []byte(`"version"`), []byte(`"surprise": 1, "version"`), 1),
		"trailing":    append(slices.Clone(manifestJSON), '{', '}'),
		"nothing":     nil,
		"cut":         manifestJSON[:len(manifestJSON)/2],
	} {
		if _, err := Parse(data); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// The manifest must hold no address of a mirror: whose mirror is used is the
// business of the machine that fetches.
func TestManifestHasNoHost(t *testing.T) {
	data, err := os.ReadFile("manifest.json")
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(data, []byte("://")) {
		t.Error("manifest.json holds an address")
	}
}

func FuzzParse(f *testing.F) {
	f.Add(manifestJSON)
	f.Add([]byte(`{"version":1}`))
	sum := strings.Repeat("0a", 32)
	f.Add([]byte(`{"version":1,"sources":[{"name":"aa","version":"1","files":[{"pool":"pool/a","size":1,"sha256":"` + sum + `"}]}],` +
		`"packages":[{"name":"aa","version":"1","architecture":"all","suites":["sid"],"component":"main","pool":["pool/b"],"size":1,"sha256":"` + sum + `","source":"aa=1"}],` +
		`"files":[{"path":"a/b","package":"aa","member":"c","size":1,"sha256":"` + sum + `","licence":"x","architecture":"all","role":"licence"}],"medium":[]}`))
	f.Add([]byte(`{"version":1,"files":[{"path":"a","package":"b","member":"c","size":1}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := Parse(data)
		if err != nil {
			return
		}
		for _, file := range p.Files {
			if !fs.ValidPath(file.Path) || !fs.ValidPath(file.Member) {
				t.Errorf("accepted path %q, member %q", file.Path, file.Member)
			}
		}
		for _, pkg := range p.Packages {
			if name := pkg.FileName(); strings.ContainsAny(name, "/ \n") || strings.HasPrefix(pkg.ID(), "-") {
				t.Errorf("accepted package file %q, id %q", name, pkg.ID())
			}
			for _, s := range append(slices.Clone(pkg.Suites), pkg.Component, pkg.Architecture) {
				if strings.ContainsAny(s, " []\n\"") {
					t.Errorf("accepted %q", s)
				}
			}
		}
	})
}
