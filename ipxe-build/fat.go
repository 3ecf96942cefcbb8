package main

import (
	"encoding/binary"
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode/utf16"
)

// The FAT16 volume of the USB image: one fixed shape (8 MiB, 1 KiB clusters),
// which leaves an operator room for a script of their own. Written by hand because
// the usual tools put the clock of the machine into it, and two builds must give
// the same bytes. Layout: Microsoft's FAT specification, version 1.03.
const (
	fatSector      = 512
	fatPerCluster  = 2
	fatSectors     = 8 << 20 / fatSector
	fatReserved    = 4
	fatRootEntries = 512
	fatCopies      = 2
	// Sectors of one table: two bytes for each cluster and the two entries in front.
	fatTable       = 32
	fatRootSector  = fatReserved + fatCopies*fatTable
	fatDataSector  = fatRootSector + fatRootEntries*32/fatSector
	fatClusters    = (fatSectors - fatDataSector) / fatPerCluster
	fatClusterSize = fatSector * fatPerCluster
	// 2026-03-06 00:00:00, the day iPXE 2.0 came out: every file's date.
	fatDate = (2026-1980)<<9 | 3<<5 | 6
)

// fatVolume is a volume being filled. Its error, once set, stays.
type fatVolume struct {
	image []byte
	next  uint16 // first free cluster
	dirs  map[string]*fatDir
	order []string
	err   error
}

// fatDir is a folder; its entries are laid down at the end.
type fatDir struct {
	parent  string
	entries []byte
	short   map[string]bool
	cluster uint16
}

// fatImage returns a FAT16 volume with these files, named by slash-separated
// paths. The bytes depend on nothing but the arguments.
func fatImage(label string, serial uint32, files map[string][]byte) ([]byte, error) {
	v := &fatVolume{image: make([]byte, fatSectors*fatSector), next: 2, dirs: map[string]*fatDir{}}
	v.boot(label, serial)
	v.dir(".")
	v.dirs["."].entries = append(v.dirs["."].entries, fatEntry(fatPad(label, 11), 0x08, 0, 0)...)
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		v.dir(path.Dir(name))
		v.add(path.Dir(name), path.Base(name), 0x20, v.store(files[name]), len(files[name]))
	}
	v.finish()
	return v.image, v.err
}

func (v *fatVolume) boot(label string, serial uint32) {
	b, le := v.image, binary.LittleEndian
	copy(b, "\xeb\x3c\x90BOOTPUCK")
	le.PutUint16(b[11:], fatSector)
	b[13] = fatPerCluster
	le.PutUint16(b[14:], fatReserved)
	b[16] = fatCopies
	le.PutUint16(b[17:], fatRootEntries)
	le.PutUint16(b[19:], fatSectors)
	b[21] = 0xf8 // a fixed disk
	le.PutUint16(b[22:], fatTable)
	le.PutUint16(b[24:], 32) // sectors per track and heads: what BIOSes assume of such a stick
	le.PutUint16(b[26:], 64)
	b[36], b[38] = 0x80, 0x29
	le.PutUint32(b[39:], serial)
	copy(b[43:], fatPad(label, 11))
	copy(b[54:], "FAT16   ")
	// Started by mistake: int 18h, "no bootable device", then halt.
	copy(b[62:], "\xcd\x18\xf4\xeb\xfd")
	b[510], b[511] = 0x55, 0xaa
	v.link(0, 0xfff8)
	v.link(1, 0xffff)
}

// link sets a table entry in every copy of the table.
func (v *fatVolume) link(cluster, to uint16) {
	for i := range fatCopies {
		at := (fatReserved+i*fatTable)*fatSector + int(cluster)*2
		binary.LittleEndian.PutUint16(v.image[at:], to)
	}
}

// store writes data into the next free clusters and returns the first, 0 for no data.
func (v *fatVolume) store(data []byte) uint16 {
	n := (len(data) + fatClusterSize - 1) / fatClusterSize
	if n == 0 {
		return 0
	}
	first := v.next
	if int(first)-2+n > fatClusters {
		v.fail("the files do not fit into %d bytes", fatClusters*fatClusterSize)
		return 0
	}
	copy(v.image[(fatDataSector+(int(first)-2)*fatPerCluster)*fatSector:], data)
	for i := range n - 1 {
		v.link(first+uint16(i), first+uint16(i)+1)
	}
	v.link(first+uint16(n)-1, 0xffff)
	v.next += uint16(n)
	return first
}

// dir makes sure that a folder and those above it exist.
func (v *fatVolume) dir(name string) {
	if v.dirs[name] != nil {
		return
	}
	d := &fatDir{parent: path.Dir(name), short: map[string]bool{}}
	if name != "." {
		v.dir(d.parent)
	}
	v.dirs[name] = d
	v.order = append(v.order, name)
}

// add writes the entry of a file or folder into the folder that holds it.
func (v *fatVolume) add(dir, name string, attr byte, cluster uint16, size int) {
	d := v.dirs[dir]
	short, exact := d.shortName(name)
	if short == "" {
		v.fail("%s: cannot be a file name here", name)
		return
	}
	if d.short[short] {
		v.fail("%s: clashes with another name", name)
		return
	}
	d.short[short] = true
	if !exact {
		d.entries = append(d.entries, fatLong(name, short)...)
	}
	d.entries = append(d.entries, fatEntry(short, attr, cluster, uint32(size))...)
}

// finish lays the folders down, the deepest first, so that each one's place is
// known when its parent is written.
func (v *fatVolume) finish() {
	for _, name := range slices.Backward(v.order) {
		if v.err != nil {
			return
		}
		d := v.dirs[name]
		if name == "." {
			if len(d.entries) > fatRootEntries*32 {
				v.fail("too many entries at the root")
				return
			}
			copy(v.image[fatRootSector*fatSector:], d.entries)
			continue
		}
		// "." and ".." come first; whom they point to is filled in below.
		body := slices.Concat(fatEntry(fatPad(".", 11), 0x10, 0, 0), fatEntry(fatPad("..", 11), 0x10, 0, 0), d.entries)
		d.cluster = v.store(body)
		v.add(d.parent, path.Base(name), 0x10, d.cluster, 0)
	}
	for _, name := range v.order {
		d := v.dirs[name]
		if name == "." || v.err != nil {
			continue
		}
		at := (fatDataSector + (int(d.cluster)-2)*fatPerCluster) * fatSector
		binary.LittleEndian.PutUint16(v.image[at+26:], d.cluster)
		binary.LittleEndian.PutUint16(v.image[at+32+26:], v.dirs[d.parent].cluster) // 0 is the root
	}
}

func (v *fatVolume) fail(format string, args ...any) {
	if v.err == nil {
		v.err = fmt.Errorf("lay out FAT volume: "+format, args...)
	}
}

// shortName returns the 11 bytes of the 8.3 name, and whether they say all of it.
// Only plain ASCII letters, digits, dash, underscore and one kind of dot are
// taken: nothing else is ever put on this medium.
func (d *fatDir) shortName(name string) (short string, exact bool) {
	for _, r := range name {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_.", r)) {
			return "", false
		}
	}
	ext := path.Ext(name)
	base := strings.TrimSuffix(name, ext)
	ext = strings.TrimPrefix(ext, ".")
	if base == "" || len(name) > 100 {
		return "", false
	}
	up := strings.ToUpper
	if len(base) <= 8 && len(ext) <= 3 && !strings.Contains(base, ".") {
		return fatPad(up(base), 8) + fatPad(up(ext), 3), name == up(name)
	}
	stem := strings.ReplaceAll(up(base), ".", "")
	for i := 1; i < 10; i++ {
		short = fatPad(fmt.Sprintf("%.6s~%d", stem, i), 8) + fatPad(fmt.Sprintf("%.3s", up(ext)), 3)
		if !d.short[short] {
			return short, false
		}
	}
	return "", false
}

func fatPad(s string, n int) string { return fmt.Sprintf("%-*.*s", n, n, s) }

func fatEntry(short string, attr byte, cluster uint16, size uint32) []byte {
	e, le := make([]byte, 32), binary.LittleEndian
	copy(e, short)
	e[11] = attr
	for _, at := range []int{16, 18, 24} { // created, read, written
		le.PutUint16(e[at:], fatDate)
	}
	le.PutUint16(e[26:], cluster)
	le.PutUint32(e[28:], size)
	return e
}

// fatLong returns the entries that carry the full name, in the order they lie
// before the short one: last part first.
func fatLong(name, short string) []byte {
	var sum byte
	for i := range 11 {
		sum = sum>>1 | sum<<7
		sum += short[i]
	}
	units := utf16.Encode([]rune(name))
	parts := (len(units) + 12) / 13
	if len(units)%13 != 0 {
		units = append(units, 0)
	}
	for len(units)%13 != 0 {
		units = append(units, 0xffff)
	}
	var out []byte
	for i := parts; i >= 1; i-- {
		e := make([]byte, 32)
		e[0], e[11], e[13] = byte(i), 0x0f, sum
		if i == parts {
			e[0] |= 0x40
		}
		for j, at := range []int{1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30} {
			binary.LittleEndian.PutUint16(e[at:], units[(i-1)*13+j])
		}
		out = append(out, e...)
	}
	return out
}
