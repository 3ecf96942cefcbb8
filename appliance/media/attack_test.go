package media

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"
)

// refused imports an archive that must not be taken: with the name of the entry,
// with nothing left on the disk, and with the tree of that name as it was.
func refused(t *testing.T, s *Store, archive []byte, entry, what string) *ArchiveError {
	t.Helper()
	if _, ok := s.Get("victim"); !ok {
		bring(t, s, "victim", tarOf(t, file("pxelinux.0", "old")))
	}
	before := names(t, s)
	_, err := s.Import(t.Context(), "victim", bytes.NewReader(archive), "")
	e, ok := errors.AsType[*ArchiveError](err)
	if !ok {
		t.Fatalf("not refused as an archive: %v", err)
	}
	if e.Entry() != entry || !strings.Contains(e.Error(), what) {
		t.Errorf("refused with entry %q: %v; want entry %q and %q", e.Entry(), e, entry, what)
	}
	if after := names(t, s); !slices.Equal(before, after) {
		t.Errorf("left on the disk: %q, before %q", after, before)
	}
	if got := read(t, s, "victim/pxelinux.0"); got != "old" {
		t.Errorf("the old tree reads %q", got)
	}
	return e
}

// attack runs the same entries as tar, tar.gz and zip.
func attack(t *testing.T, entry, what string, items ...item) {
	t.Helper()
	plain := tarOf(t, items...)
	t.Run("tar", func(t *testing.T) { refused(t, open(t, Limits{}), plain, entry, what) })
	t.Run("gz", func(t *testing.T) { refused(t, open(t, Limits{}), gz(t, plain), entry, what) })
	for _, i := range items {
		if i.typ == tar.TypeLink || i.typ == tar.TypeBlock || i.typ == tar.TypeCont {
			return // zip has none
		}
	}
	t.Run("zip", func(t *testing.T) { refused(t, open(t, Limits{}), zipOf(t, items...), entry, what) })
}

func TestDotDot(t *testing.T) {
	attack(t, "../evil", `".." leads out`, file("a", "x"), file("../evil", "x"))
	attack(t, "a/../../evil", `".." leads out`, file("a/../../evil", "x"))
	attack(t, "a/..", `".." leads out`, file("a/..", "x"))
	attack(t, "./..", `".." leads out`, symlink("./..", "a"))
	attack(t, `..\evil`, "backslash", file(`..\evil`, "x"))
}

func TestAbsolutePath(t *testing.T) {
	attack(t, "/etc/passwd", "an absolute path", file("/etc/passwd", "x"))
	attack(t, "//etc/passwd", "an absolute path", file("//etc/passwd", "x"))
}

func TestDevice(t *testing.T) {
	attack(t, "dev/null", "a device node", item{name: "dev/null", typ: tar.TypeChar})
	attack(t, "dev/sda", "a device node", item{name: "dev/sda", typ: tar.TypeBlock})
}

func TestFIFO(t *testing.T) {
	attack(t, "pipe", "a FIFO", file("a", "x"), item{name: "pipe", typ: tar.TypeFifo})
}

func TestUnknownType(t *testing.T) {
	attack(t, "odd", "neither folder nor file nor link", file("a", "x"), item{name: "odd", typ: tar.TypeCont})
}

func TestSymlinkEscape(t *testing.T) {
	attack(t, "out", `"/etc/passwd", which leads out`, file("a", "x"), symlink("out", "/etc/passwd"))
	attack(t, "out", "leads out of the tree", file("a", "x"), symlink("out", "../x"))
	attack(t, "a/b/out", "leads out of the tree", file("a/x", "x"), symlink("a/b/out", "../../../x"))
	// Out and in again is out as well.
	attack(t, "out", "leads out of the tree", file("a", "x"), symlink("out", "../files/a"))
	// Each is fine by itself; together they lead out. The second is to blame,
	// whichever comes first.
	attack(t, "a/b/up/two", "leads through the link", file("a/x", "x"), dir("a/b"), symlink("a/b/up", "../.."), file("a/b/up/two", "x"))
	attack(t, "two", "leads out of the tree", file("a/x", "x"), symlink("a/b/up", "../.."), symlink("two", "a/b/up/../x"))
	attack(t, "two", "leads out of the tree", symlink("two", "a/b/up/../x"), file("a/x", "x"), symlink("a/b/up", "../.."))
	attack(t, "one", "in a circle", file("a", "x"), symlink("one", "two"), symlink("two", "one"))
	attack(t, "self", "in a circle", file("a", "x"), symlink("self", "self/x"))
	attack(t, "odd", "backslash", file("a", "x"), symlink("odd", `..\a`))
	attack(t, "long", "more than 1024 octets", file("a", "x"), symlink("long", strings.Repeat("x/", 600)))
}

func TestEntryThroughSymlink(t *testing.T) {
	attack(t, "link/evil", `through the link "link"`, symlink("link", "real"), file("real/a", "x"), file("link/evil", "x"))
	// The link comes after what would have been written through it.
	attack(t, "link", "in place of a folder", file("link/evil", "x"), symlink("link", "real"))
	attack(t, "f/evil", `through the file "f"`, file("f", "x"), file("f/evil", "x"))
}

func TestHardLinkEscape(t *testing.T) {
	attack(t, "out", "an absolute path", file("a", "x"), hardlink("out", "/etc/passwd"))
	attack(t, "out", `".." leads out`, file("a", "x"), hardlink("out", "../../etc/passwd"))
	attack(t, "out", "no file of the archive before it", file("a", "x"), hardlink("out", "b"))
	attack(t, "out", "no file of the archive before it", file("a", "x"), symlink("l", "a"), hardlink("out", "l"))
	attack(t, "out", "no file of the archive before it", file("d/a", "x"), hardlink("out", "d"))
}

func TestDuplicateEntry(t *testing.T) {
	attack(t, "./a", "is there twice", file("a", "x"), file("./a", "y"))
	attack(t, "a", "is there twice", file("a", "x"), symlink("a", "b"))
	attack(t, "d", "is there twice", file("d/a", "x"), file("d", "x"))
}

func TestNames(t *testing.T) {
	attack(t, "a\nb", "cannot be printed", file("a\nb", "x"))
	attack(t, "a\x1b[2Jb", "cannot be printed", file("a\x1b[2Jb", "x"))
	attack(t, "a\u202eb", "cannot be printed", file("a\u202eb", "x"))
	long := strings.Repeat("n", 256)
	attack(t, clip("d/"+long), "longer than 255", file("d/"+long, "x"))
	deep := strings.Repeat("d/", 65) + "x"
	attack(t, clip(deep), "deeper than 64", file(deep, "x"))
	attack(t, clip(strings.Repeat("dd/", 400)+"x"), "longer than 1024", file(strings.Repeat("dd/", 400)+"x", "x"))
	t.Run("not UTF-8", func(t *testing.T) {
		refused(t, open(t, Limits{}), tarOf(t, file("a\xff", "x")), "a\xff", "not UTF-8")
	})
	t.Run("zero octet", func(t *testing.T) {
		refused(t, open(t, Limits{}), zipOf(t, file("a\x00b", "x")), "a\x00b", "cannot be printed")
	})
}

func TestSetuidDropped(t *testing.T) {
	for name, b := range map[string][]byte{
		"tar": tarOf(t, item{name: "su", body: "x", mode: 0o6777}, item{name: "d", typ: tar.TypeDir, mode: 0o1777}),
		"zip": zipOf(t, item{name: "su", body: "x", mode: 0o6777}),
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, Limits{})
			bring(t, s, "tree", b)
			contained(t, s)
		})
	}
}

// manyFiles makes a tar.gz of n empty files.
func manyFiles(t testing.TB, n int) []byte {
	t.Helper()
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(z)
	for i := range n {
		if err := w.WriteHeader(&tar.Header{Name: fmt.Sprintf("d/%07d", i), Typeflag: tar.TypeReg, Mode: 0o644}); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestManySmallFiles: a million empty files are refused before one is made.
func TestManySmallFiles(t *testing.T) {
	b := manyFiles(t, 1_000_000)
	s := open(t, Limits{})
	began := time.Now()
	// The folder "d" is an entry too.
	e := refused(t, s, b, "d/0099999", "more than 100000 entries")
	if !errors.Is(e, ErrTooLarge) {
		t.Error("not ErrTooLarge")
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("took %v", took)
	}
	t.Logf("an archive of %d KiB was refused after %v", len(b)>>10, time.Since(began))
}

func TestManySmallFilesZip(t *testing.T) {
	items := make([]item, 0, 70_000)
	for i := range 70_000 { // beyond the 16 bits of the old directory
		items = append(items, dir(fmt.Sprintf("%d", i)))
	}
	b := zipOf(t, items...)
	refused(t, open(t, Limits{Entries: 60_000}), b, "", "more than 60000 entries")
}

func TestManyGlobalHeaders(t *testing.T) {
	items := []item{file("a", "x")}
	for range 50 {
		items = append(items, item{typ: tar.TypeXGlobalHeader, body: "x"})
	}
	e := refused(t, open(t, Limits{Entries: 20}), tarOf(t, items...), "GlobalHead.0.0", "more than 20 entries")
	if !errors.Is(e, ErrTooLarge) {
		t.Error("not ErrTooLarge")
	}
}

func TestImpliedFoldersCount(t *testing.T) {
	var items []item
	for i := range 10 {
		items = append(items, file(fmt.Sprintf("%d/a/b/c/d/e/f/g/h/i/j", i), ""))
	}
	refused(t, open(t, Limits{Entries: 50}), tarOf(t, items...), "4/a/b/c/d/e/f/g/h/i/j", "more than 50 entries")
}

// zeros is a stream of n zeros.
func zeros(n int64) io.Reader { return io.LimitReader(zeroReader{}, n) }

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestArchiveBomb: gigabytes of zeros in a few megabytes.
func TestArchiveBomb(t *testing.T) {
	const size = 256 << 20
	var tgz bytes.Buffer
	z := gzip.NewWriter(&tgz)
	w := tar.NewWriter(z)
	if err := w.WriteHeader(&tar.Header{Name: "boot/bomb", Typeflag: tar.TypeReg, Size: size}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(w, zeros(size)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	var zipped bytes.Buffer
	zw := zip.NewWriter(&zipped)
	f, err := zw.Create("boot/bomb")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(f, zeros(size)); err != nil {
		t.Fatal(err)
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{"tar.gz": tgz.Bytes(), "zip": zipped.Bytes()} {
		t.Run(name, func(t *testing.T) {
			s := open(t, Limits{})
			s.space = func(string) (int64, int64, error) { return 1 << 40, 1 << 40, nil }
			e := refused(t, s, b, "boot/bomb", "more than 100 times as much")
			if !errors.Is(e, ErrTooLarge) {
				t.Error("not ErrTooLarge")
			}
			// The same is taken by whoever allows it, up to the size.
			refused(t, open(t, Limits{Ratio: 10_000, File: 64 << 20}), b, "boot/bomb", "at most 64 MiB")
			refused(t, open(t, Limits{Ratio: 10_000, Total: 64 << 20}), b, "boot/bomb", "larger than 64 MiB together")
		})
	}
}

// TestLyingZip: a directory that says less than there is.
func TestLyingZip(t *testing.T) {
	b := zipOf(t, file("a", strings.Repeat("x", 100_000)))
	dirAt := bytes.LastIndex(b, []byte("PK\x01\x02"))
	binary.LittleEndian.PutUint32(b[dirAt+24:], 10)
	refused(t, open(t, Limits{}), b, "a", "damaged")
}

func TestTooLargeUpload(t *testing.T) {
	e := refused(t, open(t, Limits{Archive: 2048}), tarOf(t, file("a", strings.Repeat("x", 4096))), "", "larger than 1 MiB")
	if !errors.Is(e, ErrTooLarge) {
		t.Error("not ErrTooLarge")
	}
}

// TestTruncated: cut off anywhere, also between two entries, an archive is never
// taken for a whole one.
func TestTruncated(t *testing.T) {
	items := []item{dir("d"), file("d/a", strings.Repeat("\x00", 1500)), file("d/b", strings.Repeat("y", 700)), symlink("l", "d/a")}
	plain := tarOf(t, items...)
	whole := map[string][]byte{"tar": plain, "tar.gz": gz(t, plain), "zip": zipOf(t, items...)}
	for name, b := range whole {
		t.Run(name, func(t *testing.T) {
			s := open(t, Limits{})
			bring(t, s, "whole", b)
			steps := 1
			if name == "tar" {
				steps = 64
			}
			end := len(b)
			if name == "tar" {
				end = len(b) - 1024 + 1 // what follows the end mark is padding
			}
			for n := 0; n < end; n += steps {
				_, err := s.Import(t.Context(), "whole", bytes.NewReader(b[:n]), name)
				if _, ok := errors.AsType[*ArchiveError](err); !ok {
					t.Fatalf("%d of %d octets: %v", n, len(b), err)
				}
			}
			contained(t, s)
			if got := read(t, s, "whole/d/b"); got != strings.Repeat("y", 700) {
				t.Errorf("the whole tree is damaged: %q", got)
			}
		})
	}
}

func TestTrailingGarbage(t *testing.T) {
	plain := tarOf(t, file("a", "x"))
	for name, c := range map[string]struct {
		b    []byte
		at   string
		what string
	}{
		"tar":              {append(slices.Clone(plain), "evil"...), "a", "something follows"},
		"second tar":       {append(slices.Clone(plain), plain...), "a", "something follows"},
		"gz":               {append(gz(t, plain), "something evil"...), "a", "something follows its end"},
		"little after gz":  {append(gz(t, plain), "evil"...), "a", "cut short"}, // as if of another part
		"within gz":        {gz(t, append(slices.Clone(plain), "evil"...)), "a", "something follows"},
		"second gz member": {append(gz(t, plain), gz(t, []byte("evil"))...), "a", "something follows"},
		"zip":              {append(zipOf(t, file("a", "x")), "evil"...), "", "something follows the end"},
		"before zip":       {append([]byte("PK\x03\x04evil"), zipOf(t, file("a", "x"))...), "", "before the archive"},
	} {
		t.Run(name, func(t *testing.T) { refused(t, open(t, Limits{}), c.b, c.at, c.what) })
	}
	t.Run("zeros are no garbage", func(t *testing.T) {
		s := open(t, Limits{})
		bring(t, s, "tree", gz(t, append(slices.Clone(plain), make([]byte, 64<<10)...)))
	})
	t.Run("but not without end", func(t *testing.T) {
		refused(t, open(t, Limits{}), append(slices.Clone(plain), make([]byte, 17<<20)...), "a", "something follows")
	})
}

func TestDamaged(t *testing.T) {
	plain := gz(t, tarOf(t, file("a", strings.Repeat("some text ", 1000))))
	for i := 10; i < len(plain); i += 7 {
		b := slices.Clone(plain)
		b[i] ^= 0x55
		s := open(t, Limits{})
		_, err := s.Import(t.Context(), "x", bytes.NewReader(b), "")
		if _, ok := errors.AsType[*ArchiveError](err); !ok {
			t.Fatalf("octet %d: %v", i, err)
		}
	}
}

func TestNotAnArchive(t *testing.T) {
	s := open(t, Limits{})
	for name, c := range map[string]struct{ b, format, what string }{
		"empty":          {"", "", "it is empty"},
		"text":           {"hello", "", "neither tar.gz nor tar nor zip"},
		"long text":      {strings.Repeat("hello ", 1000), "", "damaged"},
		"zeros":          {strings.Repeat("\x00", 4096), "", "neither"},
		"unknown format": {"hello", "rar", "want tar.gz, tar or zip"},
		"wrong format":   {string(gz(t, tarOf(t, file("a", "x")))), "tar", "said to be tar, but it looks like tar.gz"},
		"gz of text":     {string(gz(t, []byte("hello"))), "", "cut short"},
		"only folders":   {string(tarOf(t, dir("a"), dir("b"))), "", "no file in it"},
	} {
		_, err := s.Import(t.Context(), "x", strings.NewReader(c.b), c.format)
		if e, ok := errors.AsType[*ArchiveError](err); !ok || !strings.Contains(e.Error(), c.what) {
			t.Errorf("%s: %v, want %q", name, err, c.what)
		}
	}
	if left := names(t, s); len(left) != 0 {
		t.Errorf("left on the disk: %q", left)
	}
}

// TestLinksThroughLinks: finding out where links lead is bounded too.
func TestLinksThroughLinks(t *testing.T) {
	items := []item{file("a", "x")}
	long := strings.Repeat("./", 500) + "a"
	for i := range 2000 {
		items = append(items, symlink(fmt.Sprintf("l%d", i), long))
	}
	s := open(t, Limits{})
	_, err := s.Import(t.Context(), "x", bytes.NewReader(tarOf(t, items...)), "")
	if e, ok := errors.AsType[*ArchiveError](err); !ok || !strings.Contains(e.Error(), "too many links") {
		t.Errorf("%v", err)
	}
}
