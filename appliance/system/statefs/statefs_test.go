package statefs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/bootpuck/bootpuck/appliance/system/ext4"
)

const testSize = 40 << 20

// disk is a medium in memory that forgets what was not flushed when its power
// goes, sector by sector and in no particular order.
type disk struct {
	data    []byte
	pending []write
	budget  int // operations until the power goes; negative: never
}

type write struct {
	off  int64
	data []byte
}

var errPower = errors.New("power cut")

func (d *disk) spend() error {
	if d.budget == 0 {
		return errPower
	}
	d.budget--
	return nil
}

func (d *disk) WriteAt(b []byte, off int64) (int, error) {
	if err := d.spend(); err != nil {
		return 0, err
	}
	if off+int64(len(b)) > int64(len(d.data)) {
		return 0, io.ErrShortWrite
	}
	d.pending = append(d.pending, write{off, bytes.Clone(b)})
	return len(b), nil
}

func (d *disk) Sync() error {
	if err := d.spend(); err != nil {
		return err
	}
	d.settle(func() bool { return true })
	return nil
}

func (d *disk) settle(keep func() bool) {
	for _, w := range d.pending {
		for i := 0; i < len(w.data); i += sectorSize {
			if keep() {
				copy(d.data[w.off+int64(i):], w.data[i:min(i+sectorSize, len(w.data))])
			}
		}
	}
	d.pending = nil
}

func newImage(t *testing.T) *ext4.Image {
	t.Helper()
	im, err := ext4.New(ext4.Params{Size: testSize, UUID: [16]byte{1, 2, 3}, Label: Label, Time: 1_800_000_000})
	if err != nil {
		t.Fatal(err)
	}
	return im
}

func inspect(t *testing.T, data []byte) Finding {
	t.Helper()
	f, err := Inspect(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestInspect(t *testing.T) {
	at := func(off int, text string) func([]byte) {
		return func(b []byte) { copy(b[off:], text) }
	}
	other := func(first []byte) func([]byte) {
		im, err := ext4.New(ext4.Params{Size: testSize, Label: "photographs"})
		if err != nil {
			t.Fatal(err)
		}
		return func(b []byte) {
			copy(b[ext4.SuperblockOffset:], im.Superblock())
			copy(b, first)
		}
	}
	for _, tt := range []struct {
		name string
		make func([]byte)
		want Finding
	}{
		{"blank", func([]byte) {}, Blank},
		{"request", func(b []byte) { copy(b, Request()) }, Requested},
		{"request over an old system", func(b []byte) {
			for i := range b {
				b[i] = byte(i)
			}
			copy(b, Request())
		}, Requested},
		{"damaged request", func(b []byte) { copy(b, Request()); b[100] = 1 }, Foreign},
		{"LUKS", at(0, "LUKS\xba\xbe"), Foreign},
		{"FAT", at(0, "\xeb\x3c\x90mkfs.fat"), Foreign},
		{"btrfs", at(0x10040, "_BHRfS_M"), Foreign},
		{"ISO 9660", at(0x8001, "CD001"), Foreign},
		{"swap", at(4086, "SWAPSPACE2"), Foreign},
		{"RAID at the end", at(testSize-64<<10, "\xfc\x4e\x2b\xa9"), Foreign},
		{"intact ext4 of somebody else", other(nil), OtherExt},
		{"request over an intact ext4 of somebody else", other(Request()), Requested},
		{"ext4 without checksum", at(1024+0x38, "\x53\xef"), OtherExt},
		{"ext with 1 KiB blocks, start lost", at(8193<<10+0x38, "\x53\xef"), OtherExt},
	} {
		t.Run(tt.name, func(t *testing.T) {
			data := make([]byte, testSize)
			tt.make(data)
			if got := inspect(t, data); got != tt.want {
				t.Errorf("found %v, want %v", got, tt.want)
			}
		})
	}
}

func TestInspectRefusesWhatItCannotRead(t *testing.T) {
	if f, err := Inspect(bytes.NewReader(make([]byte, 100)), testSize); err == nil || f.MayFormat() {
		t.Errorf("unreadable partition: %v, %v", f, err)
	}
	if f, err := Inspect(bytes.NewReader(make([]byte, 4096)), 4096); err != nil || f.MayFormat() {
		t.Errorf("tiny partition: %v, %v", f, err)
	}
}

func TestCreate(t *testing.T) {
	d := &disk{data: make([]byte, testSize), budget: -1}
	if err := Create(d, newImage(t)); err != nil {
		t.Fatal(err)
	}
	if got := inspect(t, d.data); got != Finished {
		t.Errorf("found %v after creation", got)
	}
	if p, err := Pending(bytes.NewReader(d.data)); err != nil || p {
		t.Errorf("request still there: %v, %v", p, err)
	}
	fsck(t, d.data)
}

// TestPowerCut cuts the power before every single operation of a creation, loses
// a random part of what was not flushed, and boots again.
func TestPowerCut(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	starts := map[string]func([]byte){
		"blank":   func([]byte) {},
		"request": func(b []byte) { copy(b, Request()) },
		"used card": func(b []byte) {
			for i := range b {
				b[i] = byte(i * 7)
			}
			copy(b, Request())
		},
	}
	for name, start := range starts {
		t.Run(name, func(t *testing.T) {
			for cut := 0; ; cut++ {
				d := &disk{data: make([]byte, testSize), budget: cut}
				start(d.data)
				err := Create(d, newImage(t))
				if err == nil {
					if cut < 8 {
						t.Fatalf("creation took only %d operations: the cuts did not happen", cut)
					}
					return
				}
				if !errors.Is(err, errPower) {
					t.Fatal(err)
				}
				d.settle(func() bool { return rng.IntN(2) == 0 })
				found := inspect(t, d.data)
				if found == Finished {
					fsck(t, d.data)
					continue
				}
				if !found.MayFormat() {
					t.Fatalf("cut before operation %d: next boot finds %v and would never finish", cut, found)
				}
				d.budget = -1
				if err := Create(d, newImage(t)); err != nil {
					t.Fatal(err)
				}
				if got := inspect(t, d.data); got != Finished {
					t.Fatalf("cut before operation %d: second boot left %v", cut, got)
				}
			}
		})
	}
}

// fsck checks the whole file system where e2fsck is installed.
func fsck(t *testing.T, data []byte) {
	t.Helper()
	path, err := exec.LookPath("/sbin/e2fsck")
	if err != nil {
		if os.Getenv("BOOTPUCK_E2E") == "1" {
			t.Fatal("e2fsck is not installed (package e2fsprogs)")
		}
		return
	}
	name := filepath.Join(t.TempDir(), "fs.img")
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(path, "-f", "-n", name).CombinedOutput(); err != nil {
		t.Fatalf("e2fsck: %v\n%s", err, out)
	}
}

func TestFindingNames(t *testing.T) {
	seen := map[string]bool{}
	for f := Foreign; f <= OtherExt; f++ {
		if seen[f.String()] {
			t.Errorf("%d: name %q twice", f, f)
		}
		seen[f.String()] = true
	}
	if got := Finding(99).String(); got != fmt.Sprintf("finding %d", 99) {
		t.Errorf("unknown finding is %q", got)
	}
}
