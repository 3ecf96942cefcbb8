package builder

import (
	"bufio"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"

	"github.com/bootpuck/bootpuck/appliance/system/gpt"
	"github.com/bootpuck/bootpuck/appliance/system/statefs"
)

// The layout is gokrazy's, which its updater counts on: a boot partition, two
// root partitions that take turns, and the state partition at the end.
const (
	mib = 1 << 20

	bootStart = 4 * mib // room for the table, and aligned for flash
	bootSize  = 100 * mib
	rootSize  = 500 * mib
	permStart = bootStart + bootSize + 2*rootSize

	// DiskSize is the image's size in bytes. It fits every medium sold as 2 GB;
	// the state partition grows to the end of the medium on first boot.
	DiskSize = permStart + 100*mib

	// PermSlot is the 0-based slot of the state partition in the table.
	PermSlot = 3
)

// writeDisk lays out the disk image in f, which is sparse wherever nothing is.
func writeDisk(f *os.File, p *parts, hostname string, k Kind) error {
	if err := f.Truncate(DiskSize); err != nil {
		return fmt.Errorf("lay out disk: %w", err)
	}
	mbr, err := p.bootSector()
	if err != nil {
		return err
	}
	if _, err := f.WriteAt(mbr, 0); err != nil {
		return fmt.Errorf("lay out disk: %w", err)
	}
	table, err := partitions(hostname, k)
	if err != nil {
		return err
	}
	writes, err := table.Writes(DiskSize / gpt.SectorSize)
	if err != nil {
		return fmt.Errorf("lay out disk: %w", err)
	}
	for _, w := range writes {
		if _, err := f.WriteAt(w.Data, w.Offset); err != nil {
			return fmt.Errorf("lay out disk: %s: %w", w.Name, err)
		}
	}
	for _, part := range []struct {
		name         string
		offset, room int64
	}{
		{"boot.img", bootStart, bootSize},
		{"root.img", bootStart + bootSize, rootSize},
	} {
		if size := int64(p.file[part.name].UncompressedSize64); size > part.room {
			return fmt.Errorf("lay out disk: %s has %d bytes, its partition %d", part.name, size, part.room)
		}
		w := bufio.NewWriterSize(io.NewOffsetWriter(f, part.offset), mib)
		if err := p.copy(w, part.name); err != nil {
			return err
		}
		if err := w.Flush(); err != nil {
			return fmt.Errorf("lay out disk: %s: %w", part.name, err)
		}
	}
	// The box may only format what asks for it: this is the request, and it also
	// covers whatever an earlier system left on the medium behind the image.
	if _, err := f.WriteAt(statefs.Request(), permStart); err != nil {
		return fmt.Errorf("lay out disk: state partition: %w", err)
	}
	return nil
}

// bootSector returns sector 0: the boot code for BIOS machines, and a partition
// table for the Raspberry Pi's boot loader, which wants to see the boot
// partition there, beside the entry that tells everybody else to use the GUID table.
func (p *parts) bootSector() ([]byte, error) {
	const codeSize = 446
	code, err := p.file["mbr.img"].Open()
	if err != nil {
		return nil, fmt.Errorf("read boot code: %w", err)
	}
	defer code.Close()
	sector := make([]byte, gpt.SectorSize)
	if n, err := io.ReadFull(code, sector[:codeSize]); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) || n < codeSize {
		return nil, fmt.Errorf("read boot code: %d bytes, want %d: %w", n, codeSize, err)
	}
	entry := func(i int, active, kind byte, first, sectors uint32) {
		b := sector[codeSize+16*i:]
		b[0], b[4] = active, kind
		// Cylinders, heads and sectors say "look at the sector numbers".
		copy(b[1:4], []byte{0xfe, 0xff, 0xff})
		copy(b[5:8], []byte{0xfe, 0xff, 0xff})
		putUint32(b[8:], first)
		putUint32(b[12:], sectors)
	}
	entry(0, 0x80, 0x0c, bootStart/gpt.SectorSize, bootSize/gpt.SectorSize)
	entry(1, 0x00, 0xee, 1, bootStart/gpt.SectorSize-1)
	sector[510], sector[511] = 0x55, 0xaa
	return sector, nil
}

func putUint32(b []byte, v uint32) {
	b[0], b[1], b[2], b[3] = byte(v), byte(v>>8), byte(v>>16), byte(v>>24)
}

// partitions returns the image's partition table. The partitions' ids follow
// from the host name, because gokrazy finds its root file system that way.
func partitions(hostname string, k Kind) (*gpt.Table, error) {
	h := fnv.New32a()
	if _, err := h.Write([]byte(hostname)); err != nil {
		return nil, fmt.Errorf("partition ids: %w", err)
	}
	id := func(n int) (gpt.GUID, error) {
		return gpt.ParseGUID(fmt.Sprintf("60c24cc1-f3f9-427a-8199-%08x00%02x", h.Sum32(), n))
	}
	disk, err := id(0)
	if err != nil {
		return nil, err
	}
	t, err := gpt.New(disk, DiskSize/gpt.SectorSize)
	if err != nil {
		return nil, fmt.Errorf("partition table: %w", err)
	}
	const (
		efiSystem = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
		linuxData = "0fc63daf-8483-4772-8e79-3d69d8477de4"
	)
	for i, p := range []struct {
		kind, name  string
		start, size uint64
	}{
		{efiSystem, "boot", bootStart, bootSize},
		{k.RootType, "root A", bootStart + bootSize, rootSize},
		{linuxData, "root B", bootStart + bootSize + rootSize, rootSize},
		{linuxData, "state", permStart, DiskSize - permStart - mib},
	} {
		kind, err := gpt.ParseGUID(p.kind)
		if err != nil {
			return nil, err
		}
		uuid, err := id(i + 1)
		if err != nil {
			return nil, err
		}
		first := p.start / gpt.SectorSize
		t.Slots[i] = gpt.Partition{Type: kind, ID: uuid, First: first, Last: first + p.size/gpt.SectorSize - 1, Name: p.name}
	}
	return t, nil
}
