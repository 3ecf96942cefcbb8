package gpt

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const sectors = 8 << 20 / SectorSize

func guid(t testing.TB, s string) GUID {
	t.Helper()
	g, err := ParseGUID(s)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func sample(t testing.TB) *Table {
	t.Helper()
	table, err := New(guid(t, "60c24cc1-f3f9-427a-8199-37fbe3a40000"), sectors)
	if err != nil {
		t.Fatal(err)
	}
	table.Slots[0] = Partition{
		Type: guid(t, "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"), ID: guid(t, "60c24cc1-f3f9-427a-8199-37fbe3a40001"),
		First: 2048, Last: 4095, Attributes: 4, Name: "boot",
	}
	table.Slots[3] = Partition{
		Type: guid(t, "0fc63daf-8483-4772-8e79-3d69d8477de4"), ID: guid(t, "60c24cc1-f3f9-427a-8199-37fbe3a40004"),
		First: 4096, Last: 8191, Name: "Zustand £",
	}
	return table
}

// lay puts a table on a blank disk; the first word of each copy's name says which
// of the writes are done.
func lay(t testing.TB, table *Table, disk []byte, which string) {
	t.Helper()
	writes, err := table.Writes(uint64(len(disk)) / SectorSize)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range writes {
		if strings.HasPrefix(w.Name, which) {
			copy(disk[w.Offset:], w.Data)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	want := sample(t)
	for _, tt := range []struct {
		written string
		want    Health
	}{
		{"", Health{PrimaryOK: true, BackupOK: true, BackupLBA: sectors - 1}},
		{"primary", Health{PrimaryOK: true, BackupLBA: sectors - 1}},
		{"backup", Health{BackupOK: true}},
	} {
		disk := make([]byte, sectors*SectorSize)
		lay(t, want, disk, tt.written)
		got, h, err := Read(bytes.NewReader(disk), sectors)
		if err != nil {
			t.Fatalf("%q: %v", tt.written, err)
		}
		if *got != *want || h != tt.want {
			t.Errorf("%q: health %+v, table equal %v", tt.written, h, *got == *want)
		}
	}
}

func TestDamageIsNoticed(t *testing.T) {
	clean := make([]byte, sectors*SectorSize)
	lay(t, sample(t), clean, "primary")
	for _, off := range []int{
		SectorSize,            // signature
		SectorSize + 16,       // checksum of the header
		SectorSize + 48,       // last usable sector
		SectorSize + 91,       // checksum of the entries
		2 * SectorSize,        // first entry
		34*SectorSize - 1,     // last byte of the entries
		2*SectorSize + 3*128,  // fourth entry
		SectorSize + 72,       // where the entries are
		SectorSize + 84,       // size of an entry
		2*SectorSize + 128*40, // an unused entry
	} {
		disk := bytes.Clone(clean)
		disk[off] ^= 0x10
		if _, _, err := Read(bytes.NewReader(disk), sectors); !errors.Is(err, ErrNoTable) {
			t.Errorf("byte %d changed: %v", off, err)
		}
	}
	if _, _, err := Read(bytes.NewReader(clean[:SectorSize]), sectors); err == nil || errors.Is(err, ErrNoTable) {
		t.Errorf("a disk that cannot be read: %v", err)
	}
	if _, _, err := Read(bytes.NewReader(nil), 3); !errors.Is(err, ErrNoTable) {
		t.Errorf("a disk of three sectors: %v", err)
	}
}

func TestGrow(t *testing.T) {
	table := sample(t)
	if grew, err := table.Grow(3, sectors); err != nil || grew {
		t.Errorf("same disk: %v, %v", grew, err)
	}
	const larger = 20<<20/SectorSize + 77
	if grew, err := table.Grow(3, larger); err != nil || !grew {
		t.Fatalf("larger disk: %v, %v", grew, err)
	}
	p := table.Slots[3]
	if p.First != 4096 || (p.Last+1)%growthAlign != 0 || p.Last > table.LastUsable || larger-p.Last > 2*growthAlign {
		t.Errorf("grown to %d of %d sectors", p.Last, uint64(larger))
	}
	if grew, err := table.Grow(3, larger); err != nil || grew {
		t.Errorf("again: %v, %v", grew, err)
	}
	if grew, err := table.Grow(3, sectors); err != nil || grew {
		t.Errorf("shrank: %v, %v", grew, err)
	}
	for _, slot := range []int{-1, 0, 1, EntryCount} {
		if grew, err := table.Grow(slot, 2*larger); err == nil || grew {
			t.Errorf("slot %d: %v, %v", slot, grew, err)
		}
	}
}

// TestPowerCutWhileGrowing tears each of the two writes at every sector: the
// disk always has a valid table, the old one or the new one.
func TestPowerCutWhileGrowing(t *testing.T) {
	const larger = 12 << 20 / SectorSize
	before := sample(t)
	after := sample(t)
	if _, err := after.Grow(3, larger); err != nil {
		t.Fatal(err)
	}
	writes, err := after.Writes(larger)
	if err != nil {
		t.Fatal(err)
	}
	small := make([]byte, sectors*SectorSize)
	lay(t, before, small, "")
	for done := range writes {
		for torn := 0; torn <= len(writes[done].Data); torn += SectorSize {
			disk := make([]byte, larger*SectorSize)
			copy(disk, small)
			for _, w := range writes[:done] {
				copy(disk[w.Offset:], w.Data)
			}
			copy(disk[writes[done].Offset:], writes[done].Data[:torn])
			got, _, err := Read(bytes.NewReader(disk), larger)
			if err != nil {
				t.Fatalf("%s torn after %d bytes: %v", writes[done].Name, torn, err)
			}
			if *got != *before && *got != *after {
				t.Fatalf("%s torn after %d bytes: neither the old nor the new table", writes[done].Name, torn)
			}
		}
	}
}

func TestGUID(t *testing.T) {
	const text = "60c24cc1-f3f9-427a-8199-37fbe3a40004"
	g := guid(t, text)
	if g.String() != text {
		t.Errorf("%s came back as %s", text, g)
	}
	if want := (GUID{0xc1, 0x4c, 0xc2, 0x60, 0xf9, 0xf3, 0x7a, 0x42, 0x81, 0x99, 0x37, 0xfb, 0xe3, 0xa4, 0, 4}); g != want {
		t.Errorf("bytes % x, want % x", g[:], want[:])
	}
	for _, bad := range []string{"", "60c24cc1", strings.Repeat("z", 36), text + "0"} {
		if _, err := ParseGUID(bad); err == nil {
			t.Errorf("%q was read as a GUID", bad)
		}
	}
}

// TestAcceptedBySgdisk asks another implementation, where it is installed.
func TestAcceptedBySgdisk(t *testing.T) {
	sgdisk, err := exec.LookPath("sgdisk")
	if err != nil {
		t.Skip("sgdisk is not installed (package gdisk)")
	}
	disk := make([]byte, sectors*SectorSize)
	lay(t, sample(t), disk, "")
	name := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(name, disk, 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(sgdisk, "-v", name).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "No problems found") && !strings.Contains(string(out), "protective MBR") {
		t.Errorf("sgdisk: %v\n%s", err, out)
	}
}

func FuzzRead(f *testing.F) {
	disk := make([]byte, 70*SectorSize)
	table, err := New(GUID{1}, 70)
	if err != nil {
		f.Fatal(err)
	}
	table.Slots[0] = Partition{Type: GUID{1}, First: 34, Last: 35}
	lay(f, table, disk, "")
	f.Add(disk, uint64(70))
	f.Add([]byte("EFI PART"), uint64(1<<40))
	f.Fuzz(func(t *testing.T, disk []byte, n uint64) {
		table, h, err := Read(bytes.NewReader(disk), n%(1<<40))
		if err != nil {
			return
		}
		if !h.PrimaryOK && !h.BackupOK {
			t.Error("a table out of nothing")
		}
		for _, p := range table.Slots {
			if p.Used() && (p.First > p.Last || p.Last >= n%(1<<40)) {
				t.Errorf("partition %+v outside the disk", p)
			}
		}
	})
}
