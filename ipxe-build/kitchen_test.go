package main

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/bootpuck/bootpuck/bootfiles"
)

func sum(data []byte) string {
	s := sha256.Sum256(data)
	return hex.EncodeToString(s[:])
}

// fakeArchive is an archive in memory. Its packages are plain tar streams, see
// the unpack of testKitchen.
type fakeArchive struct {
	mu      sync.Mutex
	files   map[string][]byte // by package file name and by pool path
	unsaid  bool              // no index names the packages
	fetched []string
	cut     bool // the download breaks off
}

var errCut = errors.New("connection reset")

func (a *fakeArchive) fetchPackage(_ context.Context, p bootfiles.Package, dst string) (origin, error) {
	if a.unsaid {
		return origin{why: "the index of testing no longer names this version"}, a.put(p.FileName(), dst)
	}
	return origin{suite: "testing"}, a.put(p.FileName(), dst)
}

func (a *fakeArchive) fetchPool(_ context.Context, pool, dst string) error { return a.put(pool, dst) }

func (a *fakeArchive) put(name, dst string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fetched = append(a.fetched, name)
	data, ok := a.files[name]
	if !ok {
		return fmt.Errorf("download %s: 404 Not Found", name)
	}
	if a.cut {
		return errors.Join(os.WriteFile(dst, data[:len(data)/2], 0o644), errCut)
	}
	return os.WriteFile(dst, data, 0o644)
}

func tarOf(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		data := files[name]
		if err := w.WriteHeader(&tar.Header{Name: "./" + name, Mode: 0o644, Size: int64(len(data))}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

type bench struct {
	*kitchen
	archive *fakeArchive
	out     string
	log     *strings.Builder
}

// testKitchen has two packages, three files (one member under two names) and one
// licence text, and an empty folder with the placeholder.
func testKitchen(t *testing.T) *bench {
	t.Helper()
	one := tarOf(t, map[string]string{"usr/lib/x/loader.efi": "loader bytes", "usr/lib/x/unwanted": "unwanted", "usr/share/doc/x/copyright": "licence of x"})
	two := tarOf(t, map[string]string{"boot/test.bin": "memory test"})
	file := func(path, pkg, member, data string) bootfiles.File {
		return bootfiles.File{
			Path: path, Package: pkg, Member: member, Size: int64(len(data)), SHA256: sum([]byte(data)),
			Licence: "GPL-2.0-only", Architecture: "all", Role: bootfiles.RoleIPXEEFI,
		}
	}
	pkg := func(name string, data []byte) bootfiles.Package {
		return bootfiles.Package{
			Name: name, Version: "1:2.0-1", Architecture: "all", Suites: []string{"testing"}, Component: "main",
			Pool: []string{"pool/main/" + name + ".deb"}, Size: int64(len(data)), SHA256: sum(data),
		}
	}
	b := &bench{archive: &fakeArchive{files: map[string][]byte{"one_2.0-1_all.deb": one, "two_2.0-1_all.deb": two}}, log: &strings.Builder{}}
	dir := t.TempDir()
	b.out = filepath.Join(dir, "dist")
	if err := os.Mkdir(b.out, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(b.out, "README"), []byte("placeholder"), 0o644); err != nil {
		t.Fatal(err)
	}
	b.kitchen = &kitchen{
		pins: bootfiles.Pins{
			Version:  bootfiles.Version,
			Packages: []bootfiles.Package{pkg("one", one), pkg("two", two)},
			Files: []bootfiles.File{
				file("x86_64/snponly.efi", "one", "usr/lib/x/loader.efi", "loader bytes"),
				file("x86_64/ipxe.efi", "one", "usr/lib/x/loader.efi", "loader bytes"),
				file("licenses/x.txt", "one", "usr/share/doc/x/copyright", "licence of x"),
				file("memtest.bin", "two", "boot/test.bin", "memory test"),
			},
		},
		cache:   filepath.Join(dir, "cache"),
		stdout:  b.log,
		archive: func(context.Context) (archive, error) { return b.archive, nil },
		unpack:  func(_ context.Context, deb string) (io.ReadCloser, error) { return os.Open(deb) },
		local:   func(string) ([]byte, error) { return nil, fs.ErrNotExist },
	}
	return b
}

// snapshot is every file below dir with its content.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	got := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		rel, _ := filepath.Rel(dir, path)
		got[filepath.ToSlash(rel)] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// leftovers are half-made things that a run should have taken away.
func (b *bench) leftovers(t *testing.T) (names []string) {
	t.Helper()
	err := filepath.WalkDir(filepath.Dir(b.out), func(path string, d fs.DirEntry, err error) error {
		if strings.HasPrefix(d.Name(), ".part-") || strings.HasPrefix(d.Name(), ".dist-") {
			names = append(names, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

var wantDist = map[string]string{
	madeBy:   "This folder is replaced as a whole; keep nothing of yours here.\n",
	"README": "placeholder", "x86_64/snponly.efi": "loader bytes", "x86_64/ipxe.efi": "loader bytes",
	"licenses/x.txt": "licence of x", "memtest.bin": "memory test",
}

func TestFetchFillsTheFolder(t *testing.T) {
	b := testKitchen(t)
	if err := b.fetch(t.Context(), b.out); err != nil {
		t.Fatal(err)
	}
	if got := snapshot(t, b.out); !maps.Equal(got, wantDist) {
		t.Errorf("folder holds %q, want %q", got, wantDist)
	}
	if !strings.Contains(b.log.String(), "signed index of testing vouches") {
		t.Errorf("output does not say that the signature was checked:\n%s", b.log)
	}
	if err := b.verify(b.out); err != nil {
		t.Error(err)
	}
	info, err := os.Stat(filepath.Join(b.out, "memtest.bin"))
	if err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}

	// All there: no network. Folder gone but packages cached: no network either.
	b.kitchen.archive = func(context.Context) (archive, error) { return nil, errors.New("the network was asked for") }
	for range 2 {
		if err := b.fetch(t.Context(), b.out); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(filepath.Join(b.out, "memtest.bin")); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.verify(b.out); err == nil || !strings.Contains(err.Error(), "memtest.bin") {
		t.Errorf("verify = %v, want the missing file named", err)
	}
	if err := b.fetch(t.Context(), b.out); err != nil {
		t.Fatal(err)
	}
	if got := snapshot(t, b.out); !maps.Equal(got, wantDist) {
		t.Errorf("folder holds %q after it was repaired", got)
	}
	if left := b.leftovers(t); left != nil {
		t.Errorf("left behind: %v", left)
	}
}

func TestFetchSaysWhenOnlyThePinVouches(t *testing.T) {
	b := testKitchen(t)
	b.archive.unsaid = true
	if err := b.fetch(t.Context(), b.out); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.log.String(), "signature was NOT checked for it (the index of testing no longer names this version)") {
		t.Errorf("output is silent about the signature:\n%s", b.log)
	}
}

// Whatever turns out to be wrong, and wherever: the file and both hashes are
// named and what was there before is untouched.
func TestWrongHashStopsEverything(t *testing.T) {
	for name, tt := range map[string]struct {
		spoil func(*bench)
		file  string
	}{
		"package from the archive": {func(b *bench) { b.archive.files["two_2.0-1_all.deb"][700] ^= 1 }, "two_2.0-1_all.deb"},
		"package by path":          {func(b *bench) { b.archive.unsaid = true; b.archive.files["two_2.0-1_all.deb"][700] ^= 1 }, "two_2.0-1_all.deb"},
		"longer package":           {func(b *bench) { b.archive.files["one_2.0-1_all.deb"] = append(b.archive.files["one_2.0-1_all.deb"], 0) }, "one_2.0-1_all.deb"},
		"pin of a package":         {func(b *bench) { b.pins.Packages[1].SHA256 = sum([]byte("other")) }, "two_2.0-1_all.deb"},
		"pin of a member":          {func(b *bench) { b.pins.Files[3].SHA256 = sum([]byte("other")) }, "memtest.bin"},
		"pin of a member's size":   {func(b *bench) { b.pins.Files[3].Size-- }, "memtest.bin"},
		"second name of a member":  {func(b *bench) { b.pins.Files[1].SHA256 = sum([]byte("other")) }, "x86_64/ipxe.efi"},
		"package in the cache": {func(b *bench) {
			dir := filepath.Join(b.cache, "packages")
			os.MkdirAll(dir, 0o755)
			os.WriteFile(filepath.Join(dir, "one_2.0-1_all.deb"), []byte("rotten"), 0o644)
		}, "one_2.0-1_all.deb"},
	} {
		t.Run(name, func(t *testing.T) {
			b := testKitchen(t)
			if err := b.fetch(t.Context(), b.out); err != nil {
				t.Fatal(err)
			}
			// An older state, so that there is something to do and something to keep.
			if err := os.WriteFile(filepath.Join(b.out, "memtest.bin"), []byte("older"), 0o644); err != nil {
				t.Fatal(err)
			}
			if err := os.RemoveAll(b.cache); err != nil {
				t.Fatal(err)
			}
			before := snapshot(t, b.out)
			tt.spoil(b)
			err := b.fetch(t.Context(), b.out)
			var wrong *bootfiles.MismatchError
			if !errors.As(err, &wrong) {
				t.Fatalf("fetch = %v, want a *MismatchError", err)
			}
			for _, want := range []string{tt.file, wrong.GotSHA256, wrong.WantSHA256} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not name %s", err, want)
				}
			}
			if wrong.GotSHA256 == wrong.WantSHA256 && wrong.GotSize == wrong.WantSize {
				t.Errorf("nothing differs in %+v", wrong)
			}
			if after := snapshot(t, b.out); !maps.Equal(before, after) {
				t.Errorf("folder was changed to %q", after)
			}
			if left := b.leftovers(t); left != nil {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// A download that breaks off is neither used nor kept, and the next run works.
func TestInterruptedFetch(t *testing.T) {
	b := testKitchen(t)
	b.archive.cut = true
	before := snapshot(t, b.out)
	if err := b.fetch(t.Context(), b.out); !errors.Is(err, errCut) {
		t.Fatalf("fetch = %v", err)
	}
	if after := snapshot(t, b.out); !maps.Equal(before, after) {
		t.Errorf("folder was changed to %q", after)
	}
	if left, _ := filepath.Glob(filepath.Join(b.cache, "packages", "*.deb")); left != nil {
		t.Errorf("half a package in the cache: %v", left)
	}
	if left := b.leftovers(t); left != nil {
		t.Errorf("left behind: %v", left)
	}
	// A run that was killed leaves its half-made folder.
	stale := filepath.Join(filepath.Dir(b.out), ".dist-123")
	if err := os.MkdirAll(filepath.Join(stale, "x"), 0o755); err != nil {
		t.Fatal(err)
	}
	b.archive.cut = false
	if err := b.fetch(t.Context(), b.out); err != nil {
		t.Fatal(err)
	}
	if got := snapshot(t, b.out); !maps.Equal(got, wantDist) {
		t.Errorf("folder holds %q", got)
	}
	if left := b.leftovers(t); left != nil {
		t.Errorf("left behind: %v", left)
	}
}

// Two runs at once with one cache: both end well and each package is fetched once.
func TestTwoFetchesAtOnce(t *testing.T) {
	b := testKitchen(t)
	var wg sync.WaitGroup
	errs := make([]error, 4)
	for i := range errs {
		wg.Go(func() {
			k := *b.kitchen
			k.stdout = io.Discard
			errs[i] = k.fetch(t.Context(), b.out)
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	if got := snapshot(t, b.out); !maps.Equal(got, wantDist) {
		t.Errorf("folder holds %q", got)
	}
	if len(b.archive.fetched) != 2 {
		t.Errorf("fetched %q", b.archive.fetched)
	}
}

func TestLocalLicenceTextOnlyWhenItIsThePinnedOne(t *testing.T) {
	b := testKitchen(t)
	b.pins.Files[2].Local = "/usr/share/common-licenses/X"
	b.pins.Files = b.pins.Files[2:3]
	b.local = func(name string) ([]byte, error) { return []byte("licence of x"), nil }
	if err := b.fetch(t.Context(), b.out); err != nil {
		t.Fatal(err)
	}
	if len(b.archive.fetched) != 0 {
		t.Errorf("fetched %q although the machine has the text", b.archive.fetched)
	}
	b = testKitchen(t)
	b.pins.Files[2].Local = "/usr/share/common-licenses/X"
	b.local = func(name string) ([]byte, error) { return []byte("another edition"), nil }
	if err := b.fetch(t.Context(), b.out); err != nil {
		t.Fatal(err)
	}
	if got := snapshot(t, b.out)["licenses/x.txt"]; got != "licence of x" {
		t.Errorf("text is %q", got)
	}
}

// A folder with anything of somebody else's in it is never replaced.
func TestFetchKeepsStrangersFolders(t *testing.T) {
	b := testKitchen(t)
	if err := os.WriteFile(filepath.Join(b.out, "thesis.tex"), []byte("years of work"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := b.fetch(t.Context(), b.out); err == nil || !strings.Contains(err.Error(), "thesis.tex") {
		t.Errorf("fetch = %v", err)
	}
	if snapshot(t, b.out)["thesis.tex"] == "" {
		t.Error("it is gone")
	}
}

func TestExtractRefuses(t *testing.T) {
	file := bootfiles.File{Path: "a", Member: "usr/a", Size: 3, SHA256: sum([]byte("abc"))}
	var link bytes.Buffer
	w := tar.NewWriter(&link)
	if err := w.WriteHeader(&tar.Header{Name: "./usr/a", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	good := tarOf(t, map[string]string{"usr/a": "abc"})
	for name, tt := range map[string]struct {
		stream []byte
		want   string
	}{
		"link":         {link.Bytes(), "not a plain file"},
		"not there":    {tarOf(t, map[string]string{"usr/b": "abc"}), "member usr/a is not in the package"},
		"other bytes":  {tarOf(t, map[string]string{"usr/a": "abd"}), "sha256"},
		"much longer":  {tarOf(t, map[string]string{"usr/a": strings.Repeat("a", 5000)}), "more than the pinned 3 bytes"},
		"cut":          {good[:len(good)/4], "unexpected EOF"},
		"no tar":       {[]byte(strings.Repeat("x", 1024)), "read archive"},
		"empty stream": {nil, "not in the package"},
	} {
		if err := extract(bytes.NewReader(tt.stream), []bootfiles.File{file}, map[string][]byte{}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want an error with %q", name, err, tt.want)
		}
	}
	got := map[string][]byte{}
	if err := extract(bytes.NewReader(good), []bootfiles.File{file}, got); err != nil || string(got["a"]) != "abc" {
		t.Errorf("good archive: %q, %v", got["a"], err)
	}
}

func TestSources(t *testing.T) {
	b := testKitchen(t)
	out := filepath.Join(t.TempDir(), "sources")
	src := func(name, data string) bootfiles.SourceFile {
		return bootfiles.SourceFile{Pool: "pool/main/" + name, Size: int64(len(data)), SHA256: sum([]byte(data))}
	}
	b.pins.Sources = []bootfiles.Source{
		{Name: "one", Version: "1", Files: []bootfiles.SourceFile{src("one_1.dsc", "dsc"), src("one_1.orig.tar.xz", "orig")}},
		{Name: "two", Version: "2", Files: []bootfiles.SourceFile{src("two_2.dsc", "gone")}},
	}
	if err := b.sources(t.Context(), out); err == nil || !strings.Contains(err.Error(), "not one source file") {
		t.Errorf("nothing to be had: %v", err)
	}
	b.archive.files["pool/main/one_1.dsc"] = []byte("dsc")
	b.archive.files["pool/main/one_1.orig.tar.xz"] = []byte("orig")
	b.log.Reset()
	if err := b.sources(t.Context(), out); err != nil {
		t.Errorf("one missing: %v", err)
	}
	for _, want := range []string{"one_1.dsc", "two_2.dsc", "ok", "not fetched: download pool/main/two_2.dsc: 404 Not Found"} {
		if !strings.Contains(b.log.String(), want) {
			t.Errorf("output does not say %q:\n%s", want, b.log)
		}
	}
	if got, want := snapshot(t, out), map[string]string{"one/one_1.dsc": "dsc", "one/one_1.orig.tar.xz": "orig"}; !maps.Equal(got, want) {
		t.Errorf("sources are %q", got)
	}
	// What is there is not fetched again; what is wrong is an error.
	b.archive.fetched = nil
	b.archive.files["pool/main/two_2.dsc"] = []byte("evil")
	err := b.sources(t.Context(), out)
	var wrong *bootfiles.MismatchError
	if !errors.As(err, &wrong) || wrong.Name != "two_2.dsc" {
		t.Errorf("wrong source file: %v", err)
	}
	if !slices.Equal(b.archive.fetched, []string{"pool/main/two_2.dsc"}) {
		t.Errorf("fetched %q", b.archive.fetched)
	}
	if err := os.WriteFile(filepath.Join(out, "one", "one_1.dsc"), []byte("dsx"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := b.sources(t.Context(), out); !errors.As(err, &wrong) {
		t.Errorf("damaged source file: %v", err)
	}
}

func TestRunRefuses(t *testing.T) {
	for _, args := range [][]string{nil, {"bake"}, {"fetch", "-nonsense"}, {"verify", "extra"}} {
		var stderr strings.Builder
		if code := run(t.Context(), args, io.Discard, &stderr); code != 2 || stderr.Len() == 0 {
			t.Errorf("run(%q) = %d, %q", args, code, stderr.String())
		}
	}
	var stderr strings.Builder
	if code := run(t.Context(), []string{"verify", "-out", t.TempDir()}, io.Discard, &stderr); code != 1 || !strings.Contains(stderr.String(), "undionly.kpxe") {
		t.Errorf("verify of an empty folder = %d, %q", code, stderr.String())
	}
	if code := run(t.Context(), []string{"help"}, io.Discard, io.Discard); code != 0 {
		t.Errorf("help = %d", code)
	}
}
