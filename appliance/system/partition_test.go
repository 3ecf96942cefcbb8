package system

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bootpuck/bootpuck/appliance/system/gpt"
	"github.com/bootpuck/bootpuck/appliance/system/statefs"
)

const (
	mib       = 1 << 20
	fakeStart = 4 * mib
)

// fakeKernel is a machine with one disk in a file. Only its fourth partition
// exists.
type fakeKernel struct {
	t        *testing.T
	name     string // the disk
	known    partition
	mounted  bool
	readOnly bool
	fsBlocks uint64
	mountErr error
	findErr  error
	resized  []int64
	writes   int // writes to the disk or partition
	budget   int // writes until the power goes; negative: never
}

var errPower = errors.New("power cut")

func newFakeKernel(t *testing.T, tableSize, diskSize int64) *fakeKernel {
	t.Helper()
	k := &fakeKernel{t: t, name: filepath.Join(t.TempDir(), "disk"), budget: -1}
	f, err := os.Create(k.name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(diskSize); err != nil {
		t.Fatal(err)
	}
	table, err := gpt.New(gpt.GUID{1}, uint64(tableSize/gpt.SectorSize))
	if err != nil {
		t.Fatal(err)
	}
	table.Slots[3] = gpt.Partition{Type: gpt.GUID{2}, ID: gpt.GUID{3}, First: fakeStart / gpt.SectorSize, Last: uint64(tableSize-mib)/gpt.SectorSize - 1, Name: "state"}
	writes, err := table.Writes(uint64(tableSize / gpt.SectorSize))
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range writes {
		if _, err := f.WriteAt(w.Data, w.Offset); err != nil {
			t.Fatal(err)
		}
	}
	k.boot()
	return k
}

// boot reads the table the way the kernel does when it is started with "gpt".
func (k *fakeKernel) boot() {
	k.t.Helper()
	f, err := os.Open(k.name)
	if err != nil {
		k.t.Fatal(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		k.t.Fatal(err)
	}
	table, _, err := gpt.Read(f, uint64(st.Size()/gpt.SectorSize))
	if err != nil {
		k.t.Fatalf("the disk lost its partition table: %v", err)
	}
	p := table.Slots[3]
	k.known = partition{
		Disk: "disk", Node: "part", Number: 4, DiskSize: st.Size(),
		Start: int64(p.First) * gpt.SectorSize, Size: int64(p.Sectors()) * gpt.SectorSize,
	}
	k.mounted, k.budget = false, -1
	// gokrazy's init mounts what can be mounted.
	if k.found() == statefs.Finished {
		k.mounted = true
	}
}

func (k *fakeKernel) found() statefs.Finding {
	k.t.Helper()
	d, err := k.Open("part")
	if err != nil {
		k.t.Fatal(err)
	}
	defer d.Close()
	found, err := statefs.Inspect(d, k.known.Size)
	if err != nil {
		k.t.Fatal(err)
	}
	return found
}

func (k *fakeKernel) write(off int64, b []byte) {
	k.t.Helper()
	d, err := k.Open("part")
	if err != nil {
		k.t.Fatal(err)
	}
	defer d.Close()
	if _, err := d.WriteAt(b, off); err != nil {
		k.t.Fatal(err)
	}
}

func (k *fakeKernel) Mounted(string) (bool, bool, error) { return k.mounted, !k.readOnly, nil }
func (k *fakeKernel) Find() (partition, error)           { return k.known, k.findErr }

func (k *fakeKernel) Mount(string, string) error {
	if k.mountErr != nil {
		return k.mountErr
	}
	if found := k.found(); found != statefs.Finished {
		return errors.New("cannot mount: " + found.String())
	}
	k.mounted = true
	return nil
}

func (k *fakeKernel) ResizePartition(p partition) error {
	k.known.Size = p.Size
	k.resized = append(k.resized, p.Size)
	return nil
}

func (k *fakeKernel) ResizeFS(_ string, blocks uint64) error {
	if !k.mounted {
		return errors.New("not mounted")
	}
	k.fsBlocks = blocks
	return nil
}

func (k *fakeKernel) Open(device string) (blockDevice, error) {
	f, err := os.OpenFile(k.name, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	d := &fakeDevice{File: f, k: k}
	if device == "part" {
		d.off = k.known.Start
	}
	return d, nil
}

type fakeDevice struct {
	*os.File
	k   *fakeKernel
	off int64
}

func (d *fakeDevice) ReadAt(b []byte, off int64) (int, error) { return d.File.ReadAt(b, d.off+off) }

func (d *fakeDevice) WriteAt(b []byte, off int64) (int, error) {
	d.k.writes++
	if d.k.budget == 0 {
		// The last write reaches the medium in part.
		if len(b) > gpt.SectorSize {
			if _, err := d.File.WriteAt(b[:gpt.SectorSize], d.off+off); err != nil {
				d.k.t.Fatal(err)
			}
		}
		return 0, errPower
	}
	if d.k.budget > 0 {
		d.k.budget--
	}
	return d.File.WriteAt(b, d.off+off)
}

func (d *fakeDevice) Sync() error {
	if d.k.budget == 0 {
		return errPower
	}
	return nil
}

func (k *fakeKernel) keeper() *keeper {
	return &keeper{kernel: k, target: "/perm", log: slog.New(slog.DiscardHandler), now: func() time.Time { return time.Unix(1_800_000_000, 0) }}
}

func (k *fakeKernel) ensure() (bool, Reason, error) { return k.keeper().Ensure(k.t.Context()) }

func TestFirstBoot(t *testing.T) {
	for _, tt := range []struct {
		name      string
		diskSize  int64
		start     func(*fakeKernel)
		wantSize  int64
		wantGrown bool
	}{
		{"blank, disk as large as the image", 60 * mib, func(*fakeKernel) {}, 55 * mib, false},
		{"requested, larger disk", 200 * mib, func(k *fakeKernel) { k.write(0, statefs.Request()) }, 195 * mib, true},
		{"requested over junk", 200 * mib, func(k *fakeKernel) {
			k.write(0, bytes.Repeat([]byte{7}, 20*mib))
			k.write(0, statefs.Request())
		}, 195 * mib, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := newFakeKernel(t, 60*mib, tt.diskSize)
			tt.start(k)
			made, r, err := k.ensure()
			if !made || r != StateKept || err != nil || !k.mounted {
				t.Fatalf("made %v, %s, %v", made, r, err)
			}
			if k.known.Size != tt.wantSize {
				t.Errorf("partition has %d MiB, want %d", k.known.Size/mib, tt.wantSize/mib)
			}
			if (len(k.resized) > 0) != tt.wantGrown {
				t.Errorf("resized: %v", k.resized)
			}
			if k.fsBlocks != 0 {
				t.Error("a file system just made had to be enlarged")
			}
			// The second boot finds everything done and writes nothing.
			k.boot()
			k.writes, k.resized = 0, nil
			made, r, err = k.ensure()
			if made || r != StateKept || err != nil {
				t.Errorf("second boot: made %v, %s, %v", made, r, err)
			}
			if k.writes != 0 || len(k.resized) != 0 || k.known.Size != tt.wantSize {
				t.Errorf("second boot: %d writes, resized %v", k.writes, k.resized)
			}
		})
	}
}

// TestPowerCutAtEveryWrite cuts the power at each write of a first boot on a
// larger disk, the last one arriving in part, and expects the following boot to
// end with state that is kept.
func TestPowerCutAtEveryWrite(t *testing.T) {
	for cut := 0; ; cut++ {
		k := newFakeKernel(t, 60*mib, 200*mib)
		k.write(0, statefs.Request())
		k.budget = cut
		_, r, _ := k.ensure()
		done := k.budget != 0
		k.boot()
		_, r2, err := k.ensure()
		if r2 != StateKept || err != nil || !k.mounted {
			t.Fatalf("cut at write %d (first boot said %s): second boot: %s, %v", cut, r, r2, err)
		}
		if k.known.Size != 195*mib {
			t.Errorf("cut at write %d: partition has %d MiB", cut, k.known.Size/mib)
		}
		d, err := k.Open("part")
		if err != nil {
			t.Fatal(err)
		}
		if pending, err := statefs.Pending(d); err != nil || pending {
			t.Errorf("cut at write %d: request still there (%v)", cut, err)
		}
		d.Close()
		if done {
			if cut < 10 {
				t.Fatalf("first boot took only %d writes: the cuts did not happen", cut)
			}
			return
		}
	}
}

func TestNeverFormats(t *testing.T) {
	junk := bytes.Repeat([]byte("somebody's photographs "), 1000)
	for _, tt := range []struct {
		name  string
		start func(*fakeKernel)
		want  Reason
	}{
		{"foreign data at the start", func(k *fakeKernel) { k.write(0, junk) }, StateForeign},
		{"foreign data at the end", func(k *fakeKernel) { k.write(k.known.Size-int64(len(junk)), junk) }, StateForeign},
		{"another ext4", func(k *fakeKernel) { k.write(1024+0x38, []byte{0x53, 0xef}) }, StateDamaged},
		{"ours, damaged", func(k *fakeKernel) {
			if _, _, err := k.ensure(); err != nil {
				k.t.Fatal(err)
			}
			k.mounted, k.mountErr = false, errors.New("bad journal")
		}, StateDamaged},
		{"ours, superblock overwritten", func(k *fakeKernel) {
			if _, _, err := k.ensure(); err != nil {
				k.t.Fatal(err)
			}
			k.mounted = false
			k.write(1024, make([]byte, 1024))
		}, StateForeign},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := newFakeKernel(t, 60*mib, 60*mib)
			tt.start(k)
			k.writes = 0
			before, err := os.ReadFile(k.name)
			if err != nil {
				t.Fatal(err)
			}
			made, r, err := k.ensure()
			if made || r != tt.want || err == nil {
				t.Errorf("made %v, %s, %v; want %s", made, r, err, tt.want)
			}
			after, err := os.ReadFile(k.name)
			if err != nil {
				t.Fatal(err)
			}
			if k.writes != 0 || !bytes.Equal(before, after) {
				t.Errorf("%d writes to a partition that is not ours", k.writes)
			}
		})
	}
}

func TestReadOnlyAndMissing(t *testing.T) {
	k := newFakeKernel(t, 60*mib, 200*mib)
	k.mounted, k.readOnly = true, true
	k.writes = 0
	if _, r, err := k.ensure(); r != StateReadOnly || err == nil || k.writes != 0 {
		t.Errorf("read-only: %s, %v, %d writes", r, err, k.writes)
	}
	k = newFakeKernel(t, 60*mib, 60*mib)
	k.findErr = errors.New("no such disk")
	if _, r, err := k.ensure(); r != StateNoPartition || !strings.Contains(err.Error(), "no such disk") {
		t.Errorf("missing: %s, %v", r, err)
	}
	k.mounted = true
	if _, r, err := k.ensure(); r != StateKept || err != nil {
		t.Errorf("mounted all the same: %s, %v", r, err)
	}
}

// TestMovedToLargerDisk is a box whose medium was copied to a larger one.
func TestMovedToLargerDisk(t *testing.T) {
	k := newFakeKernel(t, 60*mib, 60*mib)
	if _, r, err := k.ensure(); r != StateKept {
		t.Fatal(r, err)
	}
	if err := os.Truncate(k.name, 300*mib); err != nil {
		t.Fatal(err)
	}
	k.boot()
	made, r, err := k.ensure()
	if made || r != StateKept || err != nil {
		t.Fatalf("made %v, %s, %v", made, r, err)
	}
	if want := uint64(295 * mib / 4096); k.known.Size != 295*mib || k.fsBlocks != want {
		t.Errorf("partition %d MiB, file system %d blocks, want 295 and %d", k.known.Size/mib, k.fsBlocks, want)
	}
}

// TestResumesAfterCrash is a program that died after it had changed the table and
// before it told the kernel: the kernel's idea is older than the table.
func TestResumesAfterCrash(t *testing.T) {
	k := newFakeKernel(t, 60*mib, 200*mib)
	old := k.known
	if _, r, err := k.ensure(); r != StateKept {
		t.Fatal(r, err)
	}
	k.known, k.resized = old, nil
	if _, r, err := k.ensure(); r != StateKept || err != nil {
		t.Fatal(r, err)
	}
	if k.known.Size != 195*mib || len(k.resized) != 1 {
		t.Errorf("partition has %d MiB, resized %v", k.known.Size/mib, k.resized)
	}
}

func TestRepairsLostTable(t *testing.T) {
	k := newFakeKernel(t, 60*mib, 60*mib)
	if _, r, err := k.ensure(); r != StateKept {
		t.Fatal(r, err)
	}
	f, err := os.OpenFile(k.name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, off := range []int64{gpt.SectorSize, 60*mib - gpt.SectorSize} {
		if _, err := f.WriteAt(make([]byte, gpt.SectorSize), off); err != nil {
			t.Fatal(err)
		}
		if _, r, err := k.ensure(); r != StateKept || err != nil {
			t.Fatal(r, err)
		}
		if _, h, err := gpt.Read(f, 60*mib/gpt.SectorSize); err != nil || !h.PrimaryOK || !h.BackupOK {
			t.Errorf("after damage at %d: %+v, %v", off, h, err)
		}
	}
}

func TestFindMount(t *testing.T) {
	const text = `22 1 253:2 / / ro,relatime - squashfs /dev/root ro
30 22 253:4 / /perm rw,relatime - ext4 /dev/vda4 rw
31 22 0:20 / /tmp rw,nosuid shared:3 - tmpfs tmpfs rw
32 22 253:5 / /bad rw,relatime - ext4 /dev/vda5 ro
33 22 253:6 / /over rw - ext4 /dev/vda6 rw
34 33 253:7 / /over ro - ext4 /dev/vda7 rw
`
	for _, tt := range []struct {
		target            string
		mounted, writable bool
	}{
		{"/", true, false},
		{"/perm", true, true},
		{"/tmp", true, true},
		{"/bad", true, false},
		{"/over", true, false},
		{"/per", false, false},
	} {
		if m, w := findMount(text, tt.target); m != tt.mounted || w != tt.writable {
			t.Errorf("%s: mounted %v, writable %v", tt.target, m, w)
		}
	}
}

func TestFindPartition(t *testing.T) {
	disk := filepath.Join(t.TempDir(), "mmcblk0")
	for name, text := range map[string]string{
		"size": "62333952\n", "mmcblk0p2/partition": "2\n", "mmcblk0p2/start": "212992\n", "mmcblk0p2/size": "1024000\n",
		"mmcblk0p4/partition": "4\n", "mmcblk0p4/start": "2260992\n", "mmcblk0p4/size": "202752\n", "queue/nr": "1",
	} {
		path := filepath.Join(disk, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := findPartition(disk, 4)
	want := partition{Disk: "/dev/mmcblk0", Node: "/dev/mmcblk0p4", Number: 4, DiskSize: 62333952 * 512, Start: 2260992 * 512, Size: 202752 * 512}
	if err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := findPartition(disk, 3); err == nil {
		t.Error("found a partition that is not there")
	}
}
