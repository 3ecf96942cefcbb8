// Package gpt reads, writes and enlarges GUID partition tables (UEFI
// Specification 2.10, chapter 5.3), just enough to lay out the image and to
// let the state partition grow to the end of the disk it was flashed to.
//
// It must never leave a disk without a valid table: every change is expressed
// as ordered writes (see Table.Writes), the backup table first, so that a power
// cut between or inside them leaves one table whole. It opens no devices.
package gpt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
	"unicode/utf16"
)

const (
	// SectorSize is the logical sector size in bytes this package handles.
	// Every medium the image is made for (SD, USB, SATA, NVMe, virtio) speaks
	// 512-byte logical sectors, and the image is laid out for them.
	SectorSize = 512

	// EntryCount is the number of slots in each table.
	EntryCount = 128

	entrySize     = 128
	entrySectors  = EntryCount * entrySize / SectorSize
	headerSize    = 92
	firstUsable   = 2 + entrySectors
	backupSectors = entrySectors + 1

	// minSectors is the smallest disk that has room for both tables and one sector.
	minSectors = 1 + 1 + entrySectors + 1 + backupSectors

	// growthAlign is the granularity in sectors (1 MiB) at which Grow places the
	// end of a partition; it keeps file systems on whole blocks and makes a
	// second run a no-op.
	growthAlign = 1 << 20 / SectorSize
)

var signature = []byte("EFI PART")

// ErrNoTable means that neither the primary nor the backup table is valid.
var ErrNoTable = errors.New("no valid partition table")

// GUID is a GUID in its on-disk byte order (the first three groups are little
// endian, UEFI Specification 2.10, appendix A).
type GUID [16]byte

// ParseGUID reads the textual form "60c24cc1-f3f9-427a-8199-2e18c40c0001".
func ParseGUID(s string) (GUID, error) {
	var (
		g    GUID
		a    uint32
		b, c uint16
		d    uint16
		e    uint64
	)
	if len(s) != 36 {
		return g, fmt.Errorf("guid %q: want 36 characters, got %d", s, len(s))
	}
	if _, err := fmt.Sscanf(strings.ToLower(s), "%08x-%04x-%04x-%04x-%012x", &a, &b, &c, &d, &e); err != nil {
		return g, fmt.Errorf("guid %q: %w", s, err)
	}
	binary.LittleEndian.PutUint32(g[0:], a)
	binary.LittleEndian.PutUint16(g[4:], b)
	binary.LittleEndian.PutUint16(g[6:], c)
	binary.BigEndian.PutUint16(g[8:], d)
	var tail [8]byte
	binary.BigEndian.PutUint64(tail[:], e)
	copy(g[10:], tail[2:])
	return g, nil
}

// String returns the textual form in lower case.
func (g GUID) String() string {
	return fmt.Sprintf("%08x-%04x-%04x-%04x-%012x",
		binary.LittleEndian.Uint32(g[0:]), binary.LittleEndian.Uint16(g[4:]),
		binary.LittleEndian.Uint16(g[6:]), g[8:10], g[10:16])
}

// Partition is one slot of the table.
type Partition struct {
	Type       GUID   // what the partition is for; all zero marks a free slot
	ID         GUID   // the PARTUUID
	First      uint64 // first sector
	Last       uint64 // last sector, inclusive
	Attributes uint64 // kept as found
	Name       string // at most 36 UTF-16 code units
}

// Used reports whether the slot holds a partition.
func (p Partition) Used() bool { return p.Type != GUID{} }

// Sectors returns the partition's length in sectors.
func (p Partition) Sectors() uint64 { return p.Last - p.First + 1 }

// Table is a partition table in memory.
type Table struct {
	Disk       GUID   // the disk's own GUID
	LastUsable uint64 // last sector partitions may use
	Slots      [EntryCount]Partition
}

// Health says which copies of the table were valid when it was read.
type Health struct {
	PrimaryOK bool   // LBA 1 and the entries it names are valid
	BackupOK  bool   // a valid backup stands at the disk's last sector
	BackupLBA uint64 // where the primary says its backup is; 0 if it is invalid
}

// New returns an empty table for a disk of the given length in sectors.
func New(disk GUID, sectors uint64) (*Table, error) {
	if sectors < minSectors {
		return nil, fmt.Errorf("disk of %d sectors is too small for a partition table", sectors)
	}
	return &Table{Disk: disk, LastUsable: lastUsable(sectors)}, nil
}

func lastUsable(sectors uint64) uint64 { return sectors - 1 - backupSectors }

// Read returns the table of a disk of the given length in sectors. The primary
// table counts when it is valid, else the backup in the last sector. It returns
// ErrNoTable when neither is valid, and read errors as they come.
func Read(r io.ReaderAt, sectors uint64) (*Table, Health, error) {
	var h Health
	if sectors < minSectors {
		return nil, h, ErrNoTable
	}
	primary, alternate, err := readAt(r, 1, sectors)
	if err != nil && !errors.Is(err, ErrNoTable) {
		return nil, h, err
	}
	if primary != nil {
		h.PrimaryOK, h.BackupLBA = true, alternate
	}
	backup, _, err := readAt(r, sectors-1, sectors)
	if err != nil && !errors.Is(err, ErrNoTable) && primary == nil {
		return nil, h, err
	}
	h.BackupOK = backup != nil
	switch {
	case primary != nil:
		return primary, h, nil
	case backup != nil:
		return backup, h, nil
	default:
		return nil, h, ErrNoTable
	}
}

// readAt reads the header in sector lba and the entries it names.
func readAt(r io.ReaderAt, lba, sectors uint64) (_ *Table, alternate uint64, _ error) {
	hdr := make([]byte, SectorSize)
	if err := readFull(r, hdr, lba); err != nil {
		return nil, 0, err
	}
	le := binary.LittleEndian
	if !bytes.Equal(hdr[:8], signature) || le.Uint32(hdr[12:]) != headerSize {
		return nil, 0, ErrNoTable
	}
	sum := le.Uint32(hdr[16:])
	le.PutUint32(hdr[16:], 0)
	if crc32.ChecksumIEEE(hdr[:headerSize]) != sum || le.Uint64(hdr[24:]) != lba {
		return nil, 0, ErrNoTable
	}
	// Only the shape every tool writes is accepted: 128 slots of 128 bytes.
	// Other shapes are legal but were never made by us, so they are not ours to change.
	entriesLBA := le.Uint64(hdr[72:])
	if le.Uint32(hdr[80:]) != EntryCount || le.Uint32(hdr[84:]) != entrySize ||
		entriesLBA < 2 || entriesLBA > sectors-entrySectors {
		return nil, 0, ErrNoTable
	}
	entries := make([]byte, EntryCount*entrySize)
	if err := readFull(r, entries, entriesLBA); err != nil {
		return nil, 0, err
	}
	if crc32.ChecksumIEEE(entries) != le.Uint32(hdr[88:]) {
		return nil, 0, ErrNoTable
	}
	t := &Table{LastUsable: le.Uint64(hdr[48:])}
	copy(t.Disk[:], hdr[56:])
	for i := range t.Slots {
		t.Slots[i] = decodeEntry(entries[i*entrySize:])
		if s := t.Slots[i]; s.Used() && (s.First > s.Last || s.Last >= sectors) {
			return nil, 0, ErrNoTable
		}
	}
	return t, le.Uint64(hdr[32:]), nil
}

func readFull(r io.ReaderAt, buf []byte, lba uint64) error {
	if n, err := r.ReadAt(buf, int64(lba)*SectorSize); n < len(buf) {
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("read sector %d: %w", lba, err)
	}
	return nil
}

func decodeEntry(b []byte) Partition {
	le := binary.LittleEndian
	p := Partition{First: le.Uint64(b[32:]), Last: le.Uint64(b[40:]), Attributes: le.Uint64(b[48:])}
	copy(p.Type[:], b[0:])
	copy(p.ID[:], b[16:])
	var units []uint16
	for i := 56; i < entrySize; i += 2 {
		u := le.Uint16(b[i:])
		if u == 0 {
			break
		}
		units = append(units, u)
	}
	p.Name = string(utf16.Decode(units))
	return p
}

func encodeEntry(b []byte, p Partition) {
	le := binary.LittleEndian
	copy(b[0:], p.Type[:])
	copy(b[16:], p.ID[:])
	le.PutUint64(b[32:], p.First)
	le.PutUint64(b[40:], p.Last)
	le.PutUint64(b[48:], p.Attributes)
	for i, u := range utf16.Encode([]rune(p.Name)) {
		if i == 36 {
			break
		}
		le.PutUint16(b[56+2*i:], u)
	}
}

// Grow makes the table fill a disk of the given length in sectors and moves the
// end of the slot's partition (0-based) to the last whole MiB. It reports
// whether anything changed. It never shrinks, and it refuses when the partition
// is not the last one on the disk.
func (t *Table) Grow(slot int, sectors uint64) (bool, error) {
	if slot < 0 || slot >= EntryCount || !t.Slots[slot].Used() {
		return false, fmt.Errorf("partition %d: not in the table", slot+1)
	}
	if sectors < minSectors {
		return false, fmt.Errorf("disk of %d sectors is too small for a partition table", sectors)
	}
	for i, p := range t.Slots {
		if i != slot && p.Used() && p.First > t.Slots[slot].First {
			return false, fmt.Errorf("partition %d: partition %d lies behind it", slot+1, i+1)
		}
	}
	usable := lastUsable(sectors)
	end := (usable + 1) / growthAlign * growthAlign // exclusive
	if end == 0 || end-1 <= t.Slots[slot].Last || usable <= t.LastUsable {
		return false, nil
	}
	t.LastUsable = usable
	t.Slots[slot].Last = end - 1
	return true, nil
}

// Write is one write to the disk.
type Write struct {
	Name   string // for logs and errors: "backup table", "primary table"
	Offset int64  // bytes from the start of the disk
	Data   []byte
}

// Writes returns what has to be written, in this order and with a flush after
// each, to put the table on a disk of the given length in sectors.
//
// The backup goes first. Until the second write begins the old primary table is
// valid; from then on the backup in the disk's last sector is, which the kernel
// uses when it was started with "gpt" on its command line and UEFI firmware uses
// by itself.
func (t *Table) Writes(sectors uint64) ([]Write, error) {
	if sectors < minSectors || t.LastUsable > lastUsable(sectors) {
		return nil, fmt.Errorf("table for %d usable sectors does not fit a disk of %d", t.LastUsable, sectors)
	}
	entries := make([]byte, EntryCount*entrySize)
	for i, p := range t.Slots {
		encodeEntry(entries[i*entrySize:], p)
	}
	last := sectors - 1
	backup := append(bytes.Clone(entries), t.header(last, 1, last-entrySectors, entries)...)
	primary := append(t.header(1, last, 2, entries), entries...)
	return []Write{
		{Name: "backup table", Offset: int64(last-entrySectors) * SectorSize, Data: backup},
		{Name: "primary table", Offset: SectorSize, Data: primary},
	}, nil
}

func (t *Table) header(self, other, entriesLBA uint64, entries []byte) []byte {
	le := binary.LittleEndian
	b := make([]byte, SectorSize)
	copy(b, signature)
	le.PutUint32(b[8:], 0x00010000) // revision 1.0
	le.PutUint32(b[12:], headerSize)
	le.PutUint64(b[24:], self)
	le.PutUint64(b[32:], other)
	le.PutUint64(b[40:], firstUsable)
	le.PutUint64(b[48:], t.LastUsable)
	copy(b[56:], t.Disk[:])
	le.PutUint64(b[72:], entriesLBA)
	le.PutUint32(b[80:], EntryCount)
	le.PutUint32(b[84:], entrySize)
	le.PutUint32(b[88:], crc32.ChecksumIEEE(entries))
	le.PutUint32(b[16:], crc32.ChecksumIEEE(b[:headerSize]))
	return b
}
