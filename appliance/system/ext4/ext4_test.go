package ext4

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func params(size int64) Params {
	return Params{
		Size: size, UUID: [16]byte{1, 2, 3, 4, 5, 6, 0x47, 8, 0x89, 10, 11, 12, 13, 14, 15, 16},
		HashSeed: [16]byte{9, 9, 9}, Label: "bootpuck-state", Time: 1_800_000_000,
	}
}

// write makes a file system in a sparse file whose bytes are not all zero, as a
// used card's would not be.
func write(t *testing.T, size int64) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "fs.img")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	junk := bytes.Repeat([]byte("an older system was here "), 1<<20/25)
	for _, off := range []int64{0, 2 << 20, min(size-1<<20, 128<<20), size - 1<<20} {
		if _, err := f.WriteAt(junk, off); err != nil {
			t.Fatal(err)
		}
	}
	im, err := New(params(size))
	if err != nil {
		t.Fatal(err)
	}
	if im.Size() > size {
		t.Fatalf("file system of %d bytes in %d", im.Size(), size)
	}
	if err := im.WriteBody(f); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(make([]byte, SuperblockOffset), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(im.Superblock(), SuperblockOffset); err != nil {
		t.Fatal(err)
	}
	return name
}

// need skips unless the program is there; with BOOTPUCK_E2E=1 it must be.
func need(t *testing.T, program string) string {
	t.Helper()
	for _, dir := range []string{"", "/sbin/", "/usr/sbin/"} {
		if path, err := exec.LookPath(dir + program); err == nil {
			return path
		}
	}
	if os.Getenv("BOOTPUCK_E2E") == "1" {
		t.Fatalf("%s is not installed (package e2fsprogs)", program)
	}
	t.Skipf("%s is not installed (package e2fsprogs)", program)
	return ""
}

func TestCheckedByE2fsck(t *testing.T) {
	e2fsck := need(t, "e2fsck")
	for _, size := range []int64{
		MinSize, 99 << 20, 128 << 20, 128<<20 + 4096, 130 << 20, 136 << 20, 1 << 30, 3<<30 + 12345*512,
		29 << 30, 128 << 30,
	} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			name := write(t, size)
			out, err := exec.Command(e2fsck, "-f", "-n", name).CombinedOutput()
			if err != nil {
				t.Fatalf("e2fsck: %v\n%s", err, out)
			}
		})
	}
}

func TestReadByDebugfs(t *testing.T) {
	debugfs := need(t, "debugfs")
	name := write(t, 200<<20)
	out, err := exec.Command(debugfs, "-R", "ls -l /", name).CombinedOutput()
	if err != nil {
		t.Fatalf("debugfs: %v\n%s", err, out)
	}
	if !strings.Contains(string(out), "lost+found") {
		t.Errorf("no lost+found in:\n%s", out)
	}
	// Writing through another implementation exercises bitmaps and descriptors.
	big := filepath.Join(t.TempDir(), "big")
	if err := os.WriteFile(big, bytes.Repeat([]byte("0123456789abcdef"), 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(debugfs, "-w", "-R", "write "+big+" big", name).CombinedOutput(); err != nil {
		t.Fatalf("debugfs write: %v\n%s", err, out)
	}
	if out, err := exec.Command(need(t, "e2fsck"), "-f", "-n", name).CombinedOutput(); err != nil {
		t.Fatalf("e2fsck after writing: %v\n%s", err, out)
	}
}

func TestSameParamsSameBytes(t *testing.T) {
	a, err := os.ReadFile(write(t, 64<<20))
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(write(t, 64<<20))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a, b) {
		t.Error("two file systems from the same parameters differ")
	}
}

func TestBounds(t *testing.T) {
	for _, p := range []Params{{Size: MinSize - 1}, {Size: MaxSize + 1}, {Size: MinSize, Label: "seventeen letters"}, {Size: -1}} {
		if _, err := New(p); err == nil {
			t.Errorf("New(%+v) made a file system", p)
		}
	}
	if _, err := New(Params{Size: MaxSize}); err != nil {
		t.Errorf("largest size: %v", err)
	}
}

func TestIdentify(t *testing.T) {
	im, err := New(params(64 << 20))
	if err != nil {
		t.Fatal(err)
	}
	sb := im.Superblock()
	if label, ok := Identify(sb); !ok || label != "bootpuck-state" {
		t.Errorf("Identify = %q, %v", label, ok)
	}
	for _, off := range []int{0, 0x38, 0x78, 0x3ff} {
		broken := bytes.Clone(sb)
		broken[off] ^= 1
		if _, ok := Identify(broken); ok {
			t.Errorf("byte %#x changed and still identified", off)
		}
	}
	if _, ok := Identify(sb[:100]); ok {
		t.Error("a part of a superblock identified")
	}
}

func TestHasSuper(t *testing.T) {
	var got []uint64
	for g := range uint64(130) {
		if hasSuper(g) {
			got = append(got, g)
		}
	}
	if want := "[0 1 3 5 7 9 25 27 49 81 125]"; fmt.Sprint(got) != want {
		t.Errorf("copies in groups %v, want %s", got, want)
	}
}
