package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"

	"github.com/bootpuck/bootpuck/appliance/system/gpt"
	"github.com/bootpuck/bootpuck/appliance/system/statefs"
)

// permSlot is the state partition's 0-based slot in the image's table.
const permSlot = 3

// WithPerm copies the raw image rawSrc to dst, makes the copy's disk size bytes
// large (0 keeps the size) and puts a state file system with the files of permDir
// on its state partition, as if the box had run before: permDir is what the box
// sees as /perm, so settings go to permDir/bootpuck/settings.json. It needs
// mke2fs (package e2fsprogs) and no privileges.
func WithPerm(ctx context.Context, rawSrc, dst, permDir string, size int64) error {
	p, err := resize(rawSrc, dst, size)
	if err != nil {
		return err
	}
	mke2fs := "/sbin/mke2fs"
	if path, err := exec.LookPath("mke2fs"); err == nil {
		mke2fs = path
	}
	out, err := exec.CommandContext(ctx, mke2fs, "-q", "-F", "-t", "ext4", "-b", "4096", "-L", statefs.Label,
		"-d", permDir, "-E", "root_owner=0:0,nodiscard,offset="+strconv.FormatUint(p.First*gpt.SectorSize, 10),
		dst, strconv.FormatUint(p.Sectors()*gpt.SectorSize>>10, 10)+"k").CombinedOutput()
	if err != nil {
		return fmt.Errorf("prepare state partition: mke2fs: %w: %s", err, out)
	}
	// mke2fs leaves the first sector alone: the request to create goes.
	return patchFile(dst, func(f *os.File) error {
		return statefs.Clear(offsetFile{f, int64(p.First) * gpt.SectorSize})
	})
}

// Fresh copies the raw image to dst as if flashed to a medium of size bytes that
// never booted; 0 keeps the image's size.
func Fresh(rawSrc, dst string, size int64) error {
	if err := CopySparse(dst, rawSrc); err != nil {
		return err
	}
	if size == 0 {
		return nil
	}
	if err := os.Truncate(dst, size); err != nil {
		return fmt.Errorf("medium for the image: %w", err)
	}
	return nil
}

// ReadPerm copies the state partition of a raw image to a file of its own, for
// e2fsck and debugfs.
func ReadPerm(raw, dst string) error {
	p, err := statePartition(raw)
	if err != nil {
		return err
	}
	in, err := os.Open(raw)
	if err != nil {
		return fmt.Errorf("read state partition: %w", err)
	}
	defer in.Close()
	return patchNew(dst, func(f *os.File) error {
		size := int64(p.Sectors()) * gpt.SectorSize
		if err := f.Truncate(size); err != nil {
			return err
		}
		buf, none := make([]byte, 256<<10), make([]byte, 256<<10)
		for off := int64(0); off < size; off += int64(len(buf)) {
			b := buf[:min(int64(len(buf)), size-off)]
			if _, err := in.ReadAt(b, int64(p.First)*gpt.SectorSize+off); err != nil {
				return err
			}
			if string(b) == string(none[:len(b)]) {
				continue
			}
			if _, err := f.WriteAt(b, off); err != nil {
				return err
			}
		}
		return nil
	})
}

// resize copies an image to a disk of the given size and returns its state
// partition, enlarged.
func resize(rawSrc, dst string, size int64) (gpt.Partition, error) {
	if err := Fresh(rawSrc, dst, size); err != nil {
		return gpt.Partition{}, err
	}
	err := patchFile(dst, func(f *os.File) error {
		st, err := f.Stat()
		if err != nil {
			return err
		}
		sectors := uint64(st.Size() / gpt.SectorSize)
		table, _, err := gpt.Read(f, sectors)
		if err != nil {
			return err
		}
		if _, err := table.Grow(permSlot, sectors); err != nil {
			return err
		}
		writes, err := table.Writes(sectors)
		if err != nil {
			return err
		}
		for _, w := range writes {
			if _, err := f.WriteAt(w.Data, w.Offset); err != nil {
				return fmt.Errorf("%s: %w", w.Name, err)
			}
		}
		return nil
	})
	if err != nil {
		return gpt.Partition{}, err
	}
	return statePartition(dst)
}

func statePartition(raw string) (gpt.Partition, error) {
	f, err := os.Open(raw)
	if err != nil {
		return gpt.Partition{}, fmt.Errorf("find state partition: %w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return gpt.Partition{}, fmt.Errorf("find state partition: %w", err)
	}
	table, _, err := gpt.Read(f, uint64(st.Size()/gpt.SectorSize))
	if err != nil {
		return gpt.Partition{}, fmt.Errorf("find state partition of %s: %w", raw, err)
	}
	if !table.Slots[permSlot].Used() {
		return gpt.Partition{}, fmt.Errorf("find state partition of %s: the table has none", raw)
	}
	return table.Slots[permSlot], nil
}

func patchFile(name string, change func(*os.File) error) error {
	return changeFile(name, os.O_RDWR, change)
}

func patchNew(name string, change func(*os.File) error) error {
	return changeFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, change)
}

func changeFile(name string, flags int, change func(*os.File) error) error {
	f, err := os.OpenFile(name, flags, 0o644)
	if err != nil {
		return fmt.Errorf("change image: %w", err)
	}
	if err := errors.Join(change(f), f.Close()); err != nil {
		return fmt.Errorf("change image %s: %w", name, err)
	}
	return nil
}

// offsetFile is a partition inside a file.
type offsetFile struct {
	f   *os.File
	off int64
}

// WriteAt writes at an offset from the partition's start.
func (o offsetFile) WriteAt(b []byte, off int64) (int, error) { return o.f.WriteAt(b, o.off+off) }
