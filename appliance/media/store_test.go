package media

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"golang.org/x/sys/unix"
)

// debian has the shape of Debian's netboot archive, links and all.
func debian(kernel string) []item {
	return []item{
		dir("./"), dir("./debian-installer/"), dir("./debian-installer/amd64/"),
		file("./debian-installer/amd64/pxelinux.0", "pxe"),
		file("./debian-installer/amd64/linux", kernel),
		file("./debian-installer/amd64/initrd.gz", "initrd"),
		file("./debian-installer/amd64/bootnetx64.efi", "shim"),
		file("./debian-installer/amd64/boot-screens/syslinux.cfg", "path x"),
		file("./debian-installer/amd64/boot-screens/ldlinux.c32", "c32"),
		symlink("./debian-installer/amd64/pxelinux.cfg/default", "../boot-screens/syslinux.cfg"),
		symlink("./pxelinux.0", "debian-installer/amd64/pxelinux.0"),
		symlink("./pxelinux.cfg", "debian-installer/amd64/pxelinux.cfg"),
		symlink("./ldlinux.c32", "debian-installer/amd64/boot-screens/ldlinux.c32"),
		hardlink("./copy", "./debian-installer/amd64/linux"),
		symlink("./nowhere", "not/there"),
	}
}

func TestImport(t *testing.T) {
	plain := tarOf(t, debian("kernel")...)
	noHard := slices.DeleteFunc(debian("kernel"), func(i item) bool { return i.typ == tar.TypeLink || i.name == "./" })
	for name, b := range map[string][]byte{"tar": plain, "tar.gz": gz(t, plain), "zip": zipOf(t, noHard...)} {
		for _, format := range []string{name, ""} {
			t.Run(name+"/"+format, func(t *testing.T) {
				s := open(t, Limits{})
				at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
				s.now = func() time.Time { return at }
				got, err := s.Import(t.Context(), "debian-12", bytes.NewReader(b), format)
				if err != nil {
					t.Fatal(err)
				}
				if got.Name != "debian-12" || !got.Added.Equal(at) || len(got.SHA256) != 64 || got.Files < 6 {
					t.Errorf("%+v", got)
				}
				want := []string{"pxelinux.0", "debian-installer/amd64/bootnetx64.efi", "debian-installer/amd64/initrd.gz", "debian-installer/amd64/linux", "debian-installer/amd64/pxelinux.0"}
				if !slices.Equal(got.Programs, want) {
					t.Errorf("programs %q", got.Programs)
				}
				for file, want := range map[string]string{
					"debian-12/pxelinux.0":                                  "pxe",
					"debian-12/pxelinux.cfg/default":                        "path x",
					"debian-12/debian-installer/amd64/pxelinux.cfg/default": "path x",
					"debian-12/ldlinux.c32":                                 "c32",
				} {
					if got := read(t, s, file); got != want {
						t.Errorf("%s reads %q", file, got)
					}
				}
				if _, err := fs.Stat(s.FS(), "debian-12/nowhere"); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("a link to nowhere: %v", err)
				}
				contained(t, s)
				// The same after a restart.
				again, err := Open(s.dir, Limits{})
				if err != nil {
					t.Fatal(err)
				}
				defer again.Close()
				if list := again.List(); len(list) != 1 || list[0].SHA256 != got.SHA256 || !list[0].Added.Equal(got.Added) || !slices.Equal(list[0].Programs, got.Programs) {
					t.Errorf("after a restart: %+v", list)
				}
			})
		}
	}
}

func TestFS(t *testing.T) {
	s := open(t, Limits{})
	bring(t, s, "a", tarOf(t, file("d/x", "x"), file("y", "y")))
	bring(t, s, "b", tarOf(t, file("z", "z")))
	if err := fstest.TestFS(s.FS(), "a/d/x", "a/y", "b/z"); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"c", "c/x", "a/x", "a/y/z", "a~1", "a~1/files/y", ".", "a", "a/d", "a/../b/z", "/a/y", "a/", "tree.json", "a/tree.json", "a/" + strings.Repeat("n", 300)} {
		b, err := fs.ReadFile(s.FS(), name)
		if err == nil {
			t.Errorf("%s reads %q", name, b)
		}
	}
	f, err := s.FS().Open("a/y")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, ok := f.(interface {
		io.ReaderAt
		io.Seeker
	}); !ok {
		t.Errorf("%T cannot be read at an offset", f)
	}
}

// TestOutsideChange: what appears in a tree by other hands, a FIFO or a link that
// leads out, does not exist.
func TestOutsideChange(t *testing.T) {
	s := open(t, Limits{})
	bring(t, s, "a", tarOf(t, file("x", "x")))
	in := filepath.Join(s.dir, "a~1", filesDir)
	if err := errors.Join(
		syscall.Mkfifo(filepath.Join(in, "fifo"), 0o644),
		os.Symlink("/etc/passwd", filepath.Join(in, "abs")),
		os.Symlink("../tree.json", filepath.Join(in, "rel")),
		os.Symlink("loop", filepath.Join(in, "loop")),
	); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a/fifo", "a/abs", "a/rel", "a/loop"} {
		if _, err := s.FS().Open(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("open %s: %v", name, err)
		}
		if _, err := fs.Stat(s.FS(), name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("stat %s: %v", name, err)
		}
	}
}

// TestReplaceWhileOpen: a transfer of the old tree goes on to its end.
func TestReplaceWhileOpen(t *testing.T) {
	s := open(t, Limits{})
	bring(t, s, "os", tarOf(t, debian(strings.Repeat("old ", 100_000))...))
	f, err := s.FS().Open("os/debian-installer/amd64/linux")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	head := make([]byte, 1000)
	if _, err := io.ReadFull(f, head); err != nil {
		t.Fatal(err)
	}
	bring(t, s, "os", tarOf(t, debian("new")...))
	rest, err := io.ReadAll(f)
	if err != nil || string(head)+string(rest) != strings.Repeat("old ", 100_000) {
		t.Errorf("the old file: %d octets, %v", len(rest), err)
	}
	if got := read(t, s, "os/debian-installer/amd64/linux"); got != "new" {
		t.Errorf("the new file reads %q", got)
	}
	if got := names(t, s); !slices.Contains(got, "os~2/files/copy") || slices.ContainsFunc(got, func(n string) bool { return strings.HasPrefix(n, "os~1") }) {
		t.Errorf("on the disk: %q", got)
	}
	if err := s.Delete("os"); err != nil {
		t.Fatal(err)
	}
	if got := names(t, s); len(got) != 0 {
		t.Errorf("after the deletion: %q", got)
	}
	if err := s.Delete("os"); !errors.Is(err, ErrNotFound) {
		t.Errorf("deleted twice: %v", err)
	}
}

// TestReplaceUnderLoad: while trees are exchanged, every look finds one of them
// whole, and never none.
func TestReplaceUnderLoad(t *testing.T) {
	s := open(t, Limits{})
	archives := [][]byte{tarOf(t, debian("one")...), tarOf(t, debian("two")...)}
	bring(t, s, "os", archives[0])
	stop, done := make(chan struct{}), make(chan error, 4)
	for range cap(done) {
		go func() {
			for {
				select {
				case <-stop:
					done <- nil
					return
				default:
				}
				b, err := fs.ReadFile(s.FS(), "os/copy")
				if err == nil && string(b) != "one" && string(b) != "two" {
					err = errors.New("read " + string(b))
				}
				if err != nil {
					done <- err
					return
				}
			}
		}()
	}
	for i := range 30 {
		bring(t, s, "os", archives[i%2])
	}
	close(stop)
	for range cap(done) {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// TestInterrupted: what a power cut leaves behind is gone after Open, whenever
// it came.
func TestInterrupted(t *testing.T) {
	s := open(t, Limits{})
	bring(t, s, "keep", tarOf(t, file("x", "x")))
	bring(t, s, "new", tarOf(t, file("x", "one")))
	for _, left := range []string{".import-123/files/a/b", ".import-9/archive", ".delete-old~3/files/x", "new~2/files/x", "other/x", "NOTE~1/x"} {
		p := filepath.Join(s.dir, left)
		if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, []byte("two"), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	// Two versions: the newer one was complete, or it would not have its name.
	// Its description was lost.
	again, err := Open(s.dir, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if got := read(t, again, "new/x"); got != "two" {
		t.Errorf("new/x reads %q", got)
	}
	if tree, ok := again.Get("new"); !ok || tree.Files != 1 || tree.Bytes != 3 || len(tree.SHA256) != 64 {
		t.Errorf("%+v", tree)
	}
	want := []string{"NOTE~1", "NOTE~1/x", "keep~1", "keep~1/files", "keep~1/files/x", "keep~1/tree.json", "new~2", "new~2/files", "new~2/files/x", "other", "other/x"}
	if got := names(t, again); !slices.Equal(got, want) {
		t.Errorf("left: %q", got)
	}
	if tree := bring(t, again, "new", tarOf(t, file("x", "three"))); tree.Files != 1 {
		t.Errorf("%+v", tree)
	}
	if got := names(t, again); !slices.Contains(got, "new~3/files/x") {
		t.Errorf("%q", got)
	}
}

// TestDamagedTree: one tree that cannot be read takes no other with it.
func TestDamagedTree(t *testing.T) {
	s := open(t, Limits{})
	bring(t, s, "good", tarOf(t, file("x", "x")))
	if err := os.MkdirAll(filepath.Join(s.dir, "bad~7"), 0o755); err != nil {
		t.Fatal(err)
	}
	again, err := Open(s.dir, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if got := again.Damaged(); !slices.Equal(got, []string{"bad~7"}) {
		t.Errorf("damaged %q", got)
	}
	if list := again.List(); len(list) != 1 || list[0].Name != "good" {
		t.Errorf("%+v", list)
	}
	bring(t, again, "bad", tarOf(t, file("x", "x")))
	if got := read(t, again, "bad/x"); got != "x" {
		t.Error(got)
	}
}

// broken is an upload that ends in an error.
type brokenUpload struct {
	r   io.Reader
	err error
}

func (b *brokenUpload) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if errors.Is(err, io.EOF) {
		err = b.err
	}
	return n, err
}

func TestUploadBreaksOff(t *testing.T) {
	s := open(t, Limits{})
	gone := errors.New("connection reset")
	_, err := s.Import(t.Context(), "x", &brokenUpload{bytes.NewReader(tarOf(t, file("a", "x"))), gone}, "tar")
	if !errors.Is(err, gone) {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err = s.Import(ctx, "x", bytes.NewReader(tarOf(t, file("a", "x"))), "tar"); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if left := names(t, s); len(left) != 0 {
		t.Errorf("left: %q", left)
	}
}

func TestBusy(t *testing.T) {
	s := open(t, Limits{})
	r, w := io.Pipe()
	done := make(chan error)
	go func() {
		_, err := s.Import(t.Context(), "slow", r, "tar")
		done <- err
	}()
	b := tarOf(t, file("a", "x"))
	if _, err := w.Write(b[:100]); err != nil { // it reads: it is at work
		t.Fatal(err)
	}
	if _, err := s.Import(t.Context(), "other", bytes.NewReader(b), "tar"); !errors.Is(err, ErrBusy) {
		t.Errorf("%v", err)
	}
	if _, err := w.Write(b[100:]); err != nil {
		t.Fatal(err)
	}
	w.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestTreeNames(t *testing.T) {
	s := open(t, Limits{Trees: 2})
	b := tarOf(t, file("a", "x"))
	for _, name := range []string{"", ".", "..", "../x", "a/b", "A", "a~1", "-a", ".import-1", strings.Repeat("a", 64), "a\n"} {
		if _, err := s.Import(t.Context(), name, bytes.NewReader(b), ""); !errors.Is(err, ErrName) {
			t.Errorf("%q: %v", name, err)
		}
	}
	bring(t, s, "one", b)
	bring(t, s, "two", b)
	bring(t, s, "two", b)
	if _, err := s.Import(t.Context(), "three", bytes.NewReader(b), ""); !errors.Is(err, ErrTooMany) {
		t.Errorf("%v", err)
	}
}

func TestNoSpace(t *testing.T) {
	b := tarOf(t, file("a", strings.Repeat("x", 10<<20)), file("b", "y"))
	for name, c := range map[string]struct {
		free, files int64
		look        int // the look at the disk that finds it so
		want        string
	}{
		"before the upload":    {10 << 20, 1000, 1, "54 MiB missing (needs 64 MiB, has 10 MiB)"},
		"during the upload":    {60 << 20, 1000, 2, "4 MiB missing (needs 64 MiB, has 60 MiB)"},
		"before unpacking":     {70 << 20, 1000, 12, "5 MiB missing (needs 75 MiB, has 70 MiB)"},
		"while unpacking":      {60 << 20, 1000, 13, "4 MiB missing"},
		"no room for files":    {1 << 40, 2, 12, "room for 3 more files is missing (needs 5, has 2)"},
		"files not counted":    {1 << 40, -1, 1, ""},
		"just enough of files": {1 << 40, 5, 1, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, Limits{})
			bring(t, s, "x", tarOf(t, file("a", "old")))
			before := names(t, s)
			s.chunk = 1 << 20
			looks := 0
			s.space = func(string) (int64, int64, error) {
				if looks++; looks >= c.look {
					return c.free, c.files, nil
				}
				return 1 << 40, 1 << 40, nil
			}
			_, err := s.Import(t.Context(), "x", bytes.NewReader(b), "")
			if c.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if _, ok := errors.AsType[*SpaceError](err); !ok || !strings.Contains(err.Error(), c.want) {
				t.Errorf("after %d looks: %v, want %s", looks, err, c.want)
			}
			if after := names(t, s); !slices.Equal(before, after) {
				t.Errorf("left: %q", after)
			}
			if got := read(t, s, "x/a"); got != "old" {
				t.Errorf("the old tree reads %q", got)
			}
		})
	}
}

// need skips a test whose prerequisite is missing, unless everything is asked
// for.
func need(t *testing.T, ok bool, what string) {
	t.Helper()
	if ok {
		return
	}
	if os.Getenv("BOOTPUCK_E2E") == "1" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// TestDiskFull: a real file system that really is full, in the middle of the
// unpacking and without a look at the free space to warn of it.
func TestDiskFull(t *testing.T) {
	need(t, os.Getuid() == 0, "mounting a small tmpfs needs root")
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=4m,nr_inodes=60"); err != nil {
		need(t, false, "cannot mount a tmpfs: "+err.Error())
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	s, err := Open(filepath.Join(dir, "trees"), Limits{Reserve: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	bring(t, s, "x", tarOf(t, file("a", "old")))
	before := names(t, s)
	var many []item
	for i := range 80 {
		many = append(many, file(strings.Repeat("f", i+1), ""))
	}
	archives := map[string][]byte{
		"octets": gz(t, tarOf(t, file("b", strings.Repeat("x", 3<<20)), file("c", strings.Repeat("y", 3<<20)))),
		"files":  gz(t, tarOf(t, many...)),
		"upload": tarOf(t, file("b", strings.Repeat("x", 6<<20))),
	}
	for _, warned := range []bool{true, false} {
		if !warned {
			s.space = func(string) (int64, int64, error) { return 1 << 40, 1 << 40, nil }
		}
		for name, b := range archives {
			_, err := s.Import(t.Context(), "x", bytes.NewReader(b), "")
			if _, ok := errors.AsType[*SpaceError](err); !ok {
				t.Errorf("%s, warned %v: %v", name, warned, err)
			}
			if after := names(t, s); !slices.Equal(before, after) {
				t.Errorf("%s: left: %q", name, after)
			}
		}
	}
	if got := read(t, s, "x/a"); got != "old" {
		t.Errorf("the old tree reads %q", got)
	}
	bring(t, s, "x", tarOf(t, file("a", "new")))
}

// TestDebianNetboot: the real archive, as far as the Debian package that it is
// built from is there.
func TestDebianNetboot(t *testing.T) {
	const images = "/usr/lib/debian-installer/images/12/amd64/text"
	_, err := os.Stat(images + "/pxelinux.0")
	need(t, err == nil, "Debian package debian-installer-12-netboot-amd64 is not installed")
	tarball := filepath.Join(t.TempDir(), "netboot.tar.gz")
	if out, err := exec.CommandContext(t.Context(), "tar", "-C", images, "-czf", tarball, ".").CombinedOutput(); err != nil {
		t.Fatalf("tar: %v: %s", err, out)
	}
	f, err := os.Open(tarball)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := open(t, Limits{})
	tree, err := s.Import(t.Context(), "debian-12", f, "tar.gz")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d files, %d octets, programs %q", tree.Files, tree.Bytes, tree.Programs)
	for _, p := range []string{"pxelinux.0", "debian-installer/amd64/linux", "debian-installer/amd64/initrd.gz", "debian-installer/amd64/bootnetx64.efi", "debian-installer/amd64/grubx64.efi"} {
		if !slices.Contains(tree.Programs, p) {
			t.Errorf("%s is not among the programs", p)
		}
	}
	for _, name := range []string{
		"pxelinux.0", "ldlinux.c32", "pxelinux.cfg/default", "debian-installer/amd64/linux", "debian-installer/amd64/initrd.gz",
		"debian-installer/amd64/bootnetx64.efi", "debian-installer/amd64/grub/grub.cfg", "debian-installer/amd64/pxelinux.cfg/default",
	} {
		want, err := os.ReadFile(filepath.Join(images, name))
		if err != nil {
			t.Fatal(err)
		}
		if got := read(t, s, "debian-12/"+name); got != string(want) {
			t.Errorf("%s: %d octets, want %d", name, len(got), len(want))
		}
	}
	contained(t, s)
}
