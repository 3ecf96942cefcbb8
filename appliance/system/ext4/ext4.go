// Package ext4 writes one thing: a new, empty ext4 file system, for the state
// partition of a box that has no mkfs program. The layout follows the kernel's
// documentation (Documentation/filesystems/ext4) and is checked in tests by
// e2fsck.
//
// It never reads a device and never decides whether one may be formatted: that
// is statefs's business. The file system is whole only when the superblock is
// in place; Image hands it out apart from the rest so that the caller writes it
// last.
package ext4

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

const (
	// BlockSize is the size of a block in bytes.
	BlockSize = 4096

	// MinSize is the smallest file system in bytes this package makes.
	MinSize = 16 << 20

	// MaxSize is the largest one in bytes. The number of groups (131,072) keeps
	// the group descriptors at 8 MiB.
	MaxSize = 16 << 40

	// SuperblockOffset is where the superblock stands, in bytes.
	SuperblockOffset = 1024
	// SuperblockSize is its length in bytes.
	SuperblockSize = 1024

	blocksPerGroup = 8 * BlockSize
	descSize       = 64
	inodeSize      = 256
	// One inode for every 64 KiB: state is a few files, media are large ones.
	inodesPerGroup   = blocksPerGroup * BlockSize / (64 << 10)
	inodeTableBlocks = inodesPerGroup * inodeSize / BlockSize

	rootInode      = 2
	journalInode   = 8
	lostFoundInode = 11
	lostFoundSize  = 4 // blocks, so that a repair has room without allocating

	magic = 0xef53

	compatJournal, compatXattr, compatDirIndex = 0x4, 0x8, 0x20

	incompatFiletype, incompatExtents, incompat64bit = 0x2, 0x40, 0x80

	roSparse, roLargeFile, roHugeFile, roDirNlink, roExtraIsize, roMetadataCsum = 0x1, 0x2, 0x8, 0x20, 0x40, 0x400

	groupInodeUninit, groupBlockUninit, groupInodeZeroed = 0x1, 0x2, 0x4
)

var le = binary.LittleEndian

// Params describes the file system to make.
type Params struct {
	Size     int64    // bytes available; the last few may stay unused
	UUID     [16]byte // identity; also the seed of all checksums
	HashSeed [16]byte // seed of the directory hash
	Label    string   // at most 16 bytes
	Time     int64    // seconds since 1970 put on everything
}

// Image is an empty file system ready to be written.
type Image struct {
	p       Params
	blocks  uint64
	groups  uint64
	gdt     uint64 // blocks of group descriptors
	journal uint64 // blocks
	seed    uint32
	descs   []byte
	free    uint64
}

// New lays out a file system. It returns an error when the size is out of
// bounds or the label too long.
func New(p Params) (*Image, error) {
	if p.Size < MinSize || p.Size > MaxSize {
		return nil, fmt.Errorf("file system of %d bytes: want %d to %d", p.Size, int64(MinSize), int64(MaxSize))
	}
	if len(p.Label) > 16 {
		return nil, fmt.Errorf("label %q: longer than 16 bytes", p.Label)
	}
	im := &Image{p: p, blocks: uint64(p.Size) / BlockSize, seed: crc(^uint32(0), p.UUID[:])}
	for {
		im.groups = (im.blocks + blocksPerGroup - 1) / blocksPerGroup
		im.gdt = (im.groups*descSize + BlockSize - 1) / BlockSize
		last := im.groups - 1
		if im.groupBlocks(last) >= im.metaBlocks(last)+64 || last == 0 {
			break
		}
		// A last group without room for more than its own tables is left out.
		im.blocks = last * blocksPerGroup
	}
	// The journal's smallest size is 1,024 blocks (jbd2). More only helps
	// throughput, and has to be cleared on the first boot of a slow card.
	im.journal = 1024
	if im.blocks >= 1<<30/BlockSize {
		im.journal = 4096
	}
	if im.metaBlocks(0)+1+lostFoundSize+im.journal > im.groupBlocks(0) {
		return nil, fmt.Errorf("file system of %d bytes: %d groups leave no room for the journal in the first one", p.Size, im.groups)
	}
	im.describe()
	return im, nil
}

// Size returns the bytes the file system occupies.
func (im *Image) Size() int64 { return int64(im.blocks) * BlockSize }

// groupBlocks returns how many blocks group g has.
func (im *Image) groupBlocks(g uint64) uint64 {
	return min(blocksPerGroup, im.blocks-g*blocksPerGroup)
}

// hasSuper reports whether group g starts with a copy of the superblock and of
// the group descriptors: groups 0, 1 and the powers of 3, 5 and 7.
func hasSuper(g uint64) bool {
	if g <= 1 {
		return true
	}
	for _, base := range []uint64{3, 5, 7} {
		n := base
		for n < g {
			n *= base
		}
		if n == g {
			return true
		}
	}
	return false
}

// headBlocks returns the blocks before the group's block bitmap.
func (im *Image) headBlocks(g uint64) uint64 {
	if hasSuper(g) {
		return 1 + im.gdt
	}
	return 0
}

// metaBlocks returns the blocks of group g that hold its own tables.
func (im *Image) metaBlocks(g uint64) uint64 {
	return im.headBlocks(g) + 2 + inodeTableBlocks
}

// usedBlocks returns how many blocks at the start of group g are in use.
func (im *Image) usedBlocks(g uint64) uint64 {
	n := im.metaBlocks(g)
	if g == 0 {
		n += 1 + lostFoundSize + im.journal
	}
	return n
}

// Blocks of the first group, behind its tables.
func (im *Image) rootBlock() uint64      { return im.metaBlocks(0) }
func (im *Image) lostFoundBlock() uint64 { return im.rootBlock() + 1 }
func (im *Image) journalBlock() uint64   { return im.lostFoundBlock() + lostFoundSize }

// initialised reports whether the group's block bitmap is written: the first
// group's because it is in use, the last one's because blocks behind the end of
// the file system have to be marked.
func (im *Image) initialised(g uint64) bool { return g == 0 || g == im.groups-1 }

func (im *Image) blockBitmap(g uint64) []byte {
	b := make([]byte, BlockSize)
	setBits(b, 0, im.usedBlocks(g))
	setBits(b, im.groupBlocks(g), blocksPerGroup)
	return b
}

func (im *Image) inodeBitmap(g uint64) []byte {
	b := make([]byte, BlockSize)
	if g == 0 {
		setBits(b, 0, lostFoundInode)
	}
	setBits(b, inodesPerGroup, 8*BlockSize)
	return b
}

func setBits(b []byte, from, to uint64) {
	for i := from; i < to; i++ {
		b[i/8] |= 1 << (i % 8)
	}
}

// describe fills the group descriptors and counts the free blocks.
func (im *Image) describe() {
	im.descs = make([]byte, im.gdt*BlockSize)
	for g := range im.groups {
		d := im.descs[g*descSize:][:descSize]
		bitmap := g*blocksPerGroup + im.headBlocks(g)
		free := im.groupBlocks(g) - im.usedBlocks(g)
		im.free += free
		inodes, unused, dirs := uint64(inodesPerGroup), uint64(inodesPerGroup), uint64(0)
		flags := uint16(groupInodeUninit)
		var blockSum, inodeSum uint32
		if im.initialised(g) {
			blockSum = crc(im.seed, im.blockBitmap(g)[:blocksPerGroup/8])
		} else {
			flags |= groupBlockUninit
		}
		if g == 0 {
			inodes, unused, dirs = inodes-lostFoundInode, unused-lostFoundInode, 2
			flags = groupInodeZeroed
			inodeSum = crc(im.seed, im.inodeBitmap(g)[:inodesPerGroup/8])
		}
		le.PutUint32(d[0:], uint32(bitmap))
		le.PutUint32(d[4:], uint32(bitmap+1))
		le.PutUint32(d[8:], uint32(bitmap+2))
		le.PutUint16(d[12:], uint16(free))
		le.PutUint16(d[14:], uint16(inodes))
		le.PutUint16(d[16:], uint16(dirs))
		le.PutUint16(d[18:], flags)
		le.PutUint16(d[24:], uint16(blockSum))
		le.PutUint16(d[26:], uint16(inodeSum))
		le.PutUint16(d[28:], uint16(unused))
		le.PutUint32(d[32:], uint32(bitmap>>32))
		le.PutUint32(d[36:], uint32((bitmap+1)>>32))
		le.PutUint32(d[40:], uint32((bitmap+2)>>32))
		le.PutUint16(d[56:], uint16(blockSum>>16))
		le.PutUint16(d[58:], uint16(inodeSum>>16))
		le.PutUint16(d[30:], uint16(crc(im.seed, le32(uint32(g)), d)))
	}
}

// Superblock returns the primary superblock, to be written at SuperblockOffset
// once everything WriteBody writes is on the medium.
func (im *Image) Superblock() []byte { return im.superblock(0) }

func (im *Image) superblock(group uint64) []byte {
	b := make([]byte, SuperblockSize)
	p32 := func(off int, v uint32) { le.PutUint32(b[off:], v) }
	p16 := func(off int, v uint16) { le.PutUint16(b[off:], v) }
	now := uint32(im.p.Time)
	inodes := im.groups * inodesPerGroup
	p32(0x00, uint32(inodes))
	p32(0x04, uint32(im.blocks))
	p32(0x0c, uint32(im.free))
	p32(0x10, uint32(inodes-lostFoundInode))
	p32(0x14, 0) // first data block: 0 with blocks above 1 KiB
	p32(0x18, 2) // block size 1024<<2
	p32(0x1c, 2)
	p32(0x20, blocksPerGroup)
	p32(0x24, blocksPerGroup)
	p32(0x28, inodesPerGroup)
	p32(0x30, now)
	p16(0x36, 0xffff) // no check after some number of mounts
	p16(0x38, magic)
	p16(0x3a, 1) // cleanly unmounted
	p16(0x3c, 2) // on errors: read-only. The box serves on and says so
	p32(0x40, now)
	p32(0x4c, 1) // revision with the fields below
	p32(0x54, lostFoundInode)
	p16(0x58, inodeSize)
	p16(0x5a, uint16(group))
	p32(0x5c, compatJournal|compatXattr|compatDirIndex)
	p32(0x60, incompatFiletype|incompatExtents|incompat64bit)
	p32(0x64, roSparse|roLargeFile|roHugeFile|roDirNlink|roExtraIsize|roMetadataCsum)
	copy(b[0x68:], im.p.UUID[:])
	copy(b[0x78:0x88], im.p.Label)
	p32(0xe0, journalInode)
	copy(b[0xec:], im.p.HashSeed[:])
	b[0xfc] = 1 // half MD4
	b[0xfd] = 1 // the journal inode is backed up below
	p16(0xfe, descSize)
	p32(0x100, 0x4|0x8) // user xattrs and ACLs by default
	p32(0x108, now)
	copy(b[0x10c:], im.extent(im.journalBlock(), im.journal))
	p32(0x10c+16*4, uint32(im.journal*BlockSize))
	p32(0x150, uint32(im.blocks>>32))
	p32(0x158, uint32(im.free>>32))
	p16(0x15c, 32)
	p16(0x15e, 32)
	p32(0x160, 1) // signed directory hash
	b[0x175] = 1  // crc32c
	p32(0x3fc, crc(^uint32(0), b[:0x3fc]))
	return b
}

// WriteBody writes everything except the primary superblock; its place is
// cleared, so that no older file system shows through. What it leaves unwritten
// may hold anything: the group descriptors say that it is not in use.
func (im *Image) WriteBody(w io.WriterAt) error {
	if len(im.descs) == 0 {
		return errors.New("file system: not laid out")
	}
	put := func(block uint64, b []byte) error {
		if _, err := w.WriteAt(b, int64(block)*BlockSize); err != nil {
			return fmt.Errorf("write block %d: %w", block, err)
		}
		return nil
	}
	if _, err := w.WriteAt(make([]byte, BlockSize-SuperblockOffset), SuperblockOffset); err != nil {
		return fmt.Errorf("clear superblock: %w", err)
	}
	for g := range im.groups {
		start := g * blocksPerGroup
		if hasSuper(g) {
			if g > 0 {
				first := make([]byte, BlockSize)
				copy(first, im.superblock(g))
				if err := put(start, first); err != nil {
					return err
				}
			}
			if err := put(start+1, im.descs); err != nil {
				return err
			}
		}
		if im.initialised(g) {
			if err := put(start+im.headBlocks(g), im.blockBitmap(g)); err != nil {
				return err
			}
		}
		if g == 0 {
			if err := put(start+im.headBlocks(g)+1, im.inodeBitmap(g)); err != nil {
				return err
			}
		}
	}
	if err := put(im.headBlocks(0)+2, im.inodes()); err != nil {
		return err
	}
	dirs := im.directory(rootInode, []dirent{{rootInode, ".", 2}, {rootInode, "..", 2}, {lostFoundInode, "lost+found", 2}})
	dirs = append(dirs, im.directory(lostFoundInode, []dirent{{lostFoundInode, ".", 2}, {rootInode, "..", 2}})...)
	for range lostFoundSize - 1 {
		dirs = append(dirs, im.directory(lostFoundInode, []dirent{{}})...)
	}
	if err := put(im.rootBlock(), dirs); err != nil {
		return err
	}
	// The log is cleared, because a block of an older one could pass for one of ours.
	const chunk = 256
	zero := make([]byte, chunk*BlockSize)
	for i := uint64(0); i < im.journal; i += chunk {
		b := zero
		if i == 0 {
			b = make([]byte, chunk*BlockSize)
			im.journalSuperblock(b)
		}
		if err := put(im.journalBlock()+i, b); err != nil {
			return err
		}
	}
	return nil
}

// journalSuperblock fills in the first block of the log (jbd2, big endian).
func (im *Image) journalSuperblock(b []byte) {
	be := binary.BigEndian
	be.PutUint32(b[0:], 0xc03b3998)
	be.PutUint32(b[4:], 4) // superblock, version 2
	be.PutUint32(b[12:], BlockSize)
	be.PutUint32(b[16:], uint32(im.journal))
	be.PutUint32(b[20:], 1) // first block of the log
	be.PutUint32(b[24:], 1) // first expected sequence number
	copy(b[48:], im.p.UUID[:])
	be.PutUint32(b[64:], 1) // one file system uses it
}

// inodes returns the inode table of the first group.
func (im *Image) inodes() []byte {
	t := make([]byte, inodeTableBlocks*BlockSize)
	put := func(ino uint32, mode uint16, links uint16, block, blocks uint64) {
		b := t[(ino-1)*inodeSize:][:inodeSize]
		now := uint32(im.p.Time)
		le.PutUint16(b[0:], mode)
		le.PutUint32(b[4:], uint32(blocks*BlockSize))
		for _, off := range []int{8, 12, 16, 144} { // access, change, modification, creation
			le.PutUint32(b[off:], now)
		}
		le.PutUint16(b[26:], links)
		le.PutUint32(b[28:], uint32(blocks*BlockSize/512))
		le.PutUint32(b[32:], 0x80000) // uses extents
		copy(b[40:], im.extent(block, blocks))
		le.PutUint16(b[128:], 32) // bytes of the extra fields in use
		sum := crc(im.inodeSeed(ino), b)
		le.PutUint16(b[124:], uint16(sum))
		le.PutUint16(b[130:], uint16(sum>>16))
	}
	put(rootInode, 0o40755, 3, im.rootBlock(), 1)
	put(journalInode, 0o100600, 1, im.journalBlock(), im.journal)
	put(lostFoundInode, 0o40700, 2, im.lostFoundBlock(), lostFoundSize)
	return t
}

// extent returns the 60 bytes of an inode that say where its blocks are: one
// run that starts at block.
func (im *Image) extent(block, blocks uint64) []byte {
	b := make([]byte, 60)
	le.PutUint16(b[0:], 0xf30a)
	le.PutUint16(b[2:], 1) // used
	le.PutUint16(b[4:], 4) // room
	le.PutUint16(b[16:], uint16(blocks))
	le.PutUint16(b[18:], uint16(block>>32))
	le.PutUint32(b[20:], uint32(block))
	return b
}

type dirent struct {
	inode uint32
	name  string
	kind  byte
}

// directory returns one block of a directory; the last entry takes the rest.
func (im *Image) directory(ino uint32, entries []dirent) []byte {
	const tail = 12
	b := make([]byte, BlockSize)
	off := 0
	for i, e := range entries {
		n := (8 + len(e.name) + 3) &^ 3
		if i == len(entries)-1 {
			n = BlockSize - tail - off
		}
		le.PutUint32(b[off:], e.inode)
		le.PutUint16(b[off+4:], uint16(n))
		b[off+6], b[off+7] = byte(len(e.name)), e.kind
		copy(b[off+8:], e.name)
		off += n
	}
	le.PutUint16(b[off+4:], tail)
	b[off+7] = 0xde // marks the checksum
	le.PutUint32(b[off+8:], crc(im.inodeSeed(ino), b[:off]))
	return b
}

// inodeSeed is where checksums of things that belong to an inode start from;
// the generation of every inode made here is 0.
func (im *Image) inodeSeed(ino uint32) uint32 { return crc(im.seed, le32(ino), le32(0)) }

func le32(v uint32) []byte { return le.AppendUint32(nil, v) }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// crc continues a CRC32C the way the kernel does: without the inversions at
// both ends.
func crc(seed uint32, parts ...[]byte) uint32 {
	sum := ^seed
	for _, p := range parts {
		sum = crc32.Update(sum, castagnoli, p)
	}
	return ^sum
}

// Identify reports whether b, the SuperblockSize bytes at SuperblockOffset, is
// the intact superblock of a file system with a checksum of its own, and returns
// its label.
func Identify(b []byte) (label string, ok bool) {
	if len(b) < SuperblockSize || le.Uint16(b[0x38:]) != magic ||
		le.Uint32(b[0x64:])&roMetadataCsum == 0 ||
		le.Uint32(b[0x3fc:]) != crc(^uint32(0), b[:0x3fc]) {
		return "", false
	}
	raw := b[0x78:0x88]
	for i, c := range raw {
		if c == 0 {
			raw = raw[:i]
			break
		}
	}
	return string(raw), true
}
