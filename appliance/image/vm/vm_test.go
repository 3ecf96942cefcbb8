package vm

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/bootpuck/bootpuck/appliance/system/gpt"
	"github.com/bootpuck/bootpuck/appliance/system/statefs"
)

const mib = 1 << 20

// rawImage makes a small disk with a state partition that asks to be created.
func rawImage(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "raw.img")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(60 * mib); err != nil {
		t.Fatal(err)
	}
	table, err := gpt.New(gpt.GUID{1}, 60*mib/gpt.SectorSize)
	if err != nil {
		t.Fatal(err)
	}
	table.Slots[permSlot] = gpt.Partition{Type: gpt.GUID{1}, ID: gpt.GUID{2}, First: 4 * mib / gpt.SectorSize, Last: 59*mib/gpt.SectorSize - 1}
	writes, err := table.Writes(60 * mib / gpt.SectorSize)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range writes {
		if _, err := f.WriteAt(w.Data, w.Offset); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := f.WriteAt(statefs.Request(), 4*mib); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestWithPerm(t *testing.T) {
	for _, program := range []string{"/sbin/mke2fs", "/sbin/debugfs", "/sbin/e2fsck"} {
		if _, err := exec.LookPath(program); err != nil {
			if os.Getenv("BOOTPUCK_E2E") == "1" {
				t.Fatalf("%s is not installed (package e2fsprogs)", program)
			}
			t.Skipf("%s is not installed (package e2fsprogs)", program)
		}
	}
	raw := rawImage(t)
	before, err := os.ReadFile(raw)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "bootpuck"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "bootpuck", "settings.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, size := range []int64{0, 200 * mib} {
		dst := filepath.Join(t.TempDir(), "disk.img")
		if err := WithPerm(t.Context(), raw, dst, dir, size); err != nil {
			t.Fatal(err)
		}
		part := filepath.Join(t.TempDir(), "perm.img")
		if err := ReadPerm(dst, part); err != nil {
			t.Fatal(err)
		}
		st, err := os.Stat(part)
		if err != nil {
			t.Fatal(err)
		}
		if want := max(55*mib, size-5*mib); st.Size() != want {
			t.Errorf("size %d: state partition has %d bytes, want %d", size, st.Size(), want)
		}
		f, err := os.Open(part)
		if err != nil {
			t.Fatal(err)
		}
		if found, err := statefs.Inspect(f, st.Size()); err != nil || found != statefs.Finished {
			t.Errorf("size %d: %v, %v", size, found, err)
		}
		if pending, err := statefs.Pending(f); err != nil || pending {
			t.Errorf("size %d: still asks to be created (%v)", size, err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("/sbin/e2fsck", "-f", "-n", part).CombinedOutput(); err != nil {
			t.Errorf("size %d: e2fsck: %v\n%s", size, err, out)
		}
		out, err := exec.Command("/sbin/debugfs", "-R", "cat /bootpuck/settings.json", part).Output()
		if err != nil || string(out) != "{}" {
			t.Errorf("size %d: settings %q, %v", size, out, err)
		}
	}
	if after, err := os.ReadFile(raw); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the source changed (%v)", err)
	}
	if err := WithPerm(t.Context(), filepath.Join(dir, "bootpuck", "settings.json"), filepath.Join(t.TempDir(), "x"), dir, 0); err == nil {
		t.Error("a file that is no image was prepared")
	}
}

func TestCopySparse(t *testing.T) {
	src := filepath.Join(t.TempDir(), "src")
	text := make([]byte, 3*mib+5)
	copy(text[mib:], "in the middle")
	text[len(text)-1] = 1
	if err := os.WriteFile(src, text, 0o644); err != nil {
		t.Fatal(err)
	}
	dst := filepath.Join(t.TempDir(), "dst")
	if err := CopySparse(dst, src); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(dst); err != nil || !bytes.Equal(got, text) {
		t.Errorf("the copy differs (%v)", err)
	}
	var st syscall.Stat_t
	if err := syscall.Stat(dst, &st); err != nil || st.Blocks*512 > 2*mib {
		t.Errorf("the copy takes %d bytes (%v)", st.Blocks*512, err)
	}
	if err := CopySparse(dst, filepath.Join(t.TempDir(), "missing")); err == nil {
		t.Error("copied a file that is not there")
	}
}
