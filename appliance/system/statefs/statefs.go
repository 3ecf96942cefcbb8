// Package statefs decides what to do with the box's state partition and creates
// the file system on it.
//
// It must never format a partition that carries something it did not ask for:
// only a blank one, or one that carries the request the image is shipped with
// (which is also what an unfinished creation looks like). Creation may be cut off
// at any write; the next boot then finds the request and starts again.
package statefs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/bootpuck/bootpuck/appliance/system/ext4"
)

// Label is the file system label of a state partition. A file system that
// carries it was finished by Create, because its superblock is written last.
const Label = "bootpuck-state"

const (
	sectorSize  = 512
	requestText = "bootpuck: please create the state file system here\n"

	// probeSize is how much is read at both ends to call a partition blank. All
	// superblocks of file systems, volume managers and RAIDs that Linux knows
	// lie in there.
	probeSize = 1 << 20
)

// Request returns the sector that allows, and asks for, the creation of the
// state file system. It goes to the start of the partition.
func Request() []byte {
	b := make([]byte, sectorSize)
	copy(b, requestText)
	binary.LittleEndian.PutUint32(b[sectorSize-4:], crc32.ChecksumIEEE(b[:sectorSize-4]))
	return b
}

// Finding is what a partition carries.
type Finding int

// What a partition can carry.
const (
	Foreign   Finding = iota // something we did not make and will not touch
	Blank                    // nothing
	Requested                // our request, or a creation that was cut off
	Finished                 // a file system Create finished
	OtherExt                 // an ext2, ext3 or ext4 file system, perhaps damaged
)

// String names the finding for logs.
func (f Finding) String() string {
	switch f {
	case Foreign:
		return "foreign data"
	case Blank:
		return "blank"
	case Requested:
		return "creation requested"
	case Finished:
		return "state file system"
	case OtherExt:
		return "ext file system"
	}
	return fmt.Sprintf("finding %d", int(f))
}

// MayFormat reports whether a partition with this finding may be formatted.
func (f Finding) MayFormat() bool { return f == Blank || f == Requested }

// Inspect looks at a partition of the given size in bytes. It only reads.
// An error means that reading failed; then nothing may be concluded.
func Inspect(r io.ReaderAt, size int64) (Finding, error) {
	if size < ext4.MinSize {
		return Foreign, nil
	}
	head := make([]byte, probeSize)
	if err := readAt(r, head, 0); err != nil {
		return Foreign, err
	}
	super := head[ext4.SuperblockOffset:][:ext4.SuperblockSize]
	label, intact := ext4.Identify(super)
	switch {
	case intact && label == Label:
		return Finished, nil
	case bytes.Equal(head[:sectorSize], Request()):
		return Requested, nil
	case isExt(super):
		return OtherExt, nil
	case !zero(head):
		return Foreign, nil
	}
	tail := make([]byte, probeSize)
	if err := readAt(r, tail, size-probeSize); err != nil {
		return Foreign, err
	}
	if !zero(tail) {
		return Foreign, nil
	}
	// An ext file system whose start was lost still has copies of its superblock
	// at the second group; where that is depends on its block size.
	for _, off := range []int64{8193 << 10, 16384 * 2048, 32768 * 4096} {
		if off+ext4.SuperblockSize > size {
			continue
		}
		if err := readAt(r, super, off); err != nil {
			return Foreign, err
		}
		if isExt(super) {
			return OtherExt, nil
		}
	}
	return Blank, nil
}

// Pending reports whether a finished file system still carries the request,
// because the power went right before the last step of Create.
func Pending(r io.ReaderAt) (bool, error) {
	b := make([]byte, sectorSize)
	if err := readAt(r, b, 0); err != nil {
		return false, err
	}
	return bytes.Equal(b, Request()), nil
}

func isExt(super []byte) bool { return super[0x38] == 0x53 && super[0x39] == 0xef }

func zero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

func readAt(r io.ReaderAt, b []byte, off int64) error {
	if n, err := r.ReadAt(b, off); n < len(b) {
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("read state partition at %d: %w", off, err)
	}
	return nil
}

// Device is a partition, or whatever stands in for one in a test.
type Device interface {
	io.WriterAt
	// Sync returns when everything written is on the medium.
	Sync() error
}

// Create puts an empty file system on a partition for which Inspect said
// MayFormat. The order makes it safe against power cuts: the request stands
// before anything else changes, the superblock comes when the rest is on the
// medium, and the request goes last.
func Create(d Device, im *ext4.Image) error {
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"write request", func() error { return writeAt(d, Request(), 0) }},
		{"write file system", func() error { return im.WriteBody(d) }},
		{"write superblock", func() error { return writeAt(d, im.Superblock(), ext4.SuperblockOffset) }},
		{"clear request", func() error { return Clear(d) }},
	} {
		if err := step.do(); err != nil {
			return fmt.Errorf("create state file system: %s: %w", step.name, err)
		}
		if err := d.Sync(); err != nil {
			return fmt.Errorf("create state file system: %s: flush: %w", step.name, err)
		}
	}
	return nil
}

// Clear takes the request away. It touches only the first sector, which no ext4
// file system uses, so it may be done while the file system is mounted.
func Clear(d io.WriterAt) error { return writeAt(d, make([]byte, sectorSize), 0) }

func writeAt(w io.WriterAt, b []byte, off int64) error {
	_, err := w.WriteAt(b, off)
	return err
}
