package system

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/bootpuck/bootpuck/appliance/system/ext4"
	"github.com/bootpuck/bootpuck/appliance/system/gpt"
	"github.com/bootpuck/bootpuck/appliance/system/statefs"
)

// partition is a partition as the kernel sees it.
type partition struct {
	Disk     string // device of the whole disk
	Node     string // device of the partition
	Number   int    // 1-based
	DiskSize int64  // bytes
	Start    int64  // bytes from the start of the disk
	Size     int64  // bytes
}

// blockDevice is an open disk or partition.
type blockDevice interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Sync() error
}

// kernel is what the keeper of the state partition asks of the kernel.
type kernel interface {
	// Mounted tells whether something is mounted at target, and whether writable.
	Mounted(target string) (mounted, writable bool, err error)
	// Mount mounts an ext4 file system.
	Mount(node, target string) error
	// Find returns the state partition of the disk this system was booted from.
	Find() (partition, error)
	Open(device string) (blockDevice, error)
	// ResizePartition tells the kernel that a partition in use became longer.
	ResizePartition(p partition) error
	// ResizeFS makes the ext4 file system mounted at target fill so many blocks.
	ResizeFS(target string, blocks uint64) error
}

// keeper keeps the state partition mounted.
type keeper struct {
	kernel kernel
	target string
	log    *slog.Logger
	now    func() time.Time
}

// Target returns where the state partition belongs.
func (k *keeper) Target() string { return k.target }

// Ensure mounts the state partition, creating its file system when it is asked
// for, and enlarges both to the end of the disk. Enlarging is a bonus: when it
// fails the state is still kept.
func (k *keeper) Ensure(ctx context.Context) (made bool, _ Reason, _ error) {
	mounted, writable, err := k.kernel.Mounted(k.target)
	if err != nil {
		return false, StateFailed, fmt.Errorf("look for %s: %w", k.target, err)
	}
	p, err := k.kernel.Find()
	if err != nil {
		if mounted && writable {
			k.log.Warn("state partition not found, its size stays", "error", err)
			return false, StateKept, nil
		}
		return false, StateNoPartition, fmt.Errorf("find state partition: %w", err)
	}
	if mounted && !writable {
		return false, StateReadOnly, fmt.Errorf("%s is mounted read-only", k.target)
	}
	if err := ctx.Err(); err != nil {
		return false, StateFailed, err
	}
	grown, err := k.growPartition(p)
	if err != nil {
		k.log.Warn("state partition keeps its size", "error", err)
	} else {
		p = grown
	}
	if !mounted {
		var r Reason
		if made, r, err = k.mount(p); r != StateKept {
			return false, r, err
		}
	}
	if err := k.tidy(p); err != nil {
		k.log.Warn("state file system keeps its size", "error", err)
	}
	return made, StateKept, nil
}

// mount mounts the partition, after creating its file system if that is allowed.
func (k *keeper) mount(p partition) (made bool, _ Reason, err error) {
	d, err := k.kernel.Open(p.Node)
	if err != nil {
		return false, StateFailed, fmt.Errorf("open state partition: %w", err)
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	found, err := statefs.Inspect(d, p.Size)
	if err != nil {
		return false, StateFailed, err
	}
	switch {
	case found.MayFormat():
		k.log.Info("creating the state file system", "partition", p.Node, "bytes", p.Size, "found", found.String())
		if err := k.create(d, p.Size); err != nil {
			return false, classifyCreate(err), err
		}
		made = true
	case found == statefs.Foreign:
		return false, StateForeign, fmt.Errorf("%s holds something that is not ours", p.Node)
	}
	if err := k.kernel.Mount(p.Node, k.target); err != nil {
		return false, StateDamaged, fmt.Errorf("mount %s (%s): %w", p.Node, found, err)
	}
	return made, StateKept, nil
}

func classifyCreate(err error) Reason {
	if r := classify(err); r == StateReadOnly || r == StateDenied {
		return StateReadOnly // a locked card
	}
	return StateFailed
}

func (k *keeper) create(d blockDevice, size int64) error {
	p := ext4.Params{Size: size, Label: statefs.Label, Time: k.now().Unix()}
	// Random numbers: the file system's id and the seed of its directory hash.
	rand.Read(p.UUID[:])
	rand.Read(p.HashSeed[:])
	p.UUID[6] = p.UUID[6]&0x0f | 0x40 // version 4 (RFC 9562)
	p.UUID[8] = p.UUID[8]&0x3f | 0x80
	im, err := ext4.New(p)
	if err != nil {
		return fmt.Errorf("create state file system: %w", err)
	}
	return statefs.Create(d, im)
}

// growPartition extends the partition to the end of its disk, first in the table
// on the disk, then in the kernel. It returns the partition as it is now.
func (k *keeper) growPartition(p partition) (_ partition, err error) {
	disk, err := k.kernel.Open(p.Disk)
	if err != nil {
		return p, fmt.Errorf("open disk: %w", err)
	}
	defer func() { err = errors.Join(err, disk.Close()) }()
	sectors := uint64(p.DiskSize) / gpt.SectorSize
	table, health, err := gpt.Read(disk, sectors)
	if err != nil {
		return p, fmt.Errorf("partition table of %s: %w", p.Disk, err)
	}
	slot := p.Number - 1
	if slot < 0 || slot >= gpt.EntryCount || int64(table.Slots[slot].First)*gpt.SectorSize != p.Start {
		return p, fmt.Errorf("partition table of %s: partition %d is not where the kernel has it", p.Disk, p.Number)
	}
	grew, err := table.Grow(slot, sectors)
	if err != nil {
		return p, fmt.Errorf("partition table of %s: %w", p.Disk, err)
	}
	// A copy that is damaged or missing is written anew as well: the box may have
	// lost power in the middle of the last attempt.
	if grew || !health.PrimaryOK || !health.BackupOK {
		writes, err := table.Writes(sectors)
		if err != nil {
			return p, fmt.Errorf("partition table of %s: %w", p.Disk, err)
		}
		for _, w := range writes {
			if _, err := disk.WriteAt(w.Data, w.Offset); err != nil {
				return p, fmt.Errorf("write %s of %s: %w", w.Name, p.Disk, err)
			}
			if err := disk.Sync(); err != nil {
				return p, fmt.Errorf("flush %s of %s: %w", w.Name, p.Disk, err)
			}
		}
	}
	// The kernel may know less than the table: from a cut attempt, or from now.
	if size := int64(table.Slots[slot].Sectors()) * gpt.SectorSize; size > p.Size {
		longer := p
		longer.Size = size
		if err := k.kernel.ResizePartition(longer); err != nil {
			return p, fmt.Errorf("resize %s: %w", p.Node, err)
		}
		k.log.Info("state partition enlarged", "partition", p.Node, "bytes", size)
		p = longer
	}
	return p, nil
}

// growStep is the least gain in blocks (16 MiB) worth enlarging a file system
// for. Less than that may stay unused at its end anyway.
const growStep = 16 << 20 / ext4.BlockSize

// tidy finishes what creation may have left (the request, when the power went
// before the last step) and enlarges the mounted file system to its partition.
func (k *keeper) tidy(p partition) (err error) {
	d, err := k.kernel.Open(p.Node)
	if err != nil {
		return fmt.Errorf("open state partition: %w", err)
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	if pending, err := statefs.Pending(d); err != nil {
		return err
	} else if pending {
		if err := statefs.Clear(d); err != nil {
			return fmt.Errorf("clear request: %w", err)
		}
		if err := d.Sync(); err != nil {
			return fmt.Errorf("clear request: %w", err)
		}
	}
	super := make([]byte, ext4.SuperblockSize)
	if _, err := d.ReadAt(super, ext4.SuperblockOffset); err != nil {
		return fmt.Errorf("read superblock: %w", err)
	}
	have, ok := ext4Blocks(super)
	want := uint64(p.Size) / ext4.BlockSize
	if !ok || want < have+growStep {
		return nil
	}
	if err := k.kernel.ResizeFS(k.target, want); err != nil {
		return fmt.Errorf("enlarge file system from %d to %d blocks: %w", have, want, err)
	}
	k.log.Info("state file system enlarged", "from", have*ext4.BlockSize, "to", want*ext4.BlockSize)
	return nil
}

// ext4Blocks returns the length of a file system in blocks of ext4.BlockSize; ok
// is false when its blocks have another size.
func ext4Blocks(super []byte) (blocks uint64, ok bool) {
	le := binary.LittleEndian
	if le.Uint16(super[0x38:]) != 0xef53 || 1024<<le.Uint32(super[0x18:]) != ext4.BlockSize {
		return 0, false
	}
	return uint64(le.Uint32(super[0x04:])) | uint64(le.Uint32(super[0x150:]))<<32, true
}
