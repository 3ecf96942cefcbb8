package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
)

// The layout of a bbolt file (go.etcd.io/bbolt, internal/common), little-endian
// on every processor we build for. It is read here without bbolt because bbolt
// follows what it finds: a damaged count makes it allocate without bound, a loop
// of pages overflows its stack, and a page beyond the end of a file that was cut
// is a fault in the middle of a mapping. None of these can be recovered from
// everywhere.
const (
	pageHeader   = 16 // id, flags, count, overflow
	elementSize  = 16 // of branch and leaf elements alike
	bucketHeader = 16 // root page, sequence
	metaSize     = 64 // without the page header
	metaMagic    = 0xED0CDAED
	metaVersion  = 2
	noFreelist   = ^uint64(0) // the list of free pages is not in the file

	flagBranch   = 0x01
	flagLeaf     = 0x02
	flagFreelist = 0x10

	leafBucket = 0x01 // flag of a leaf element: its value is a bucket

	maxKeySize  = 32768
	maxNesting  = 8  // buckets within buckets
	maxHeight   = 64 // of a tree; two keys a page give 2^64 entries
	minPageSize = 1 << 10
	maxPageSize = 1 << 24
)

// damage is what is wrong with a file. The file may be set aside for it, unlike
// for an error of opening or locking it.
type damage struct{ what string }

func (d *damage) Error() string { return d.what }

func damaged(format string, args ...any) error {
	return &damage{fmt.Sprintf(format, args...)}
}

// inspection is what the reader learned about a file as a whole.
type inspection struct {
	pageSize uint64
	pages    uint64 // in use or free: the file's length in pages as bbolt sees it
	free     uint64
	leaked   uint64 // neither: lost until the file is written anew
	txid     uint64
}

type meta struct {
	pageSize, root, freelist, pages, txid uint64
}

// inspector walks the pages of one file. Each page is read at most once, so its
// time is bounded by the file's length.
type inspector struct {
	r       io.ReaderAt
	meta    meta
	free    bitmap
	reached bitmap
	visit   func(path []string, key, value []byte)
}

type bitmap []uint64

func (b bitmap) get(n uint64) bool { return b[n/64]&(1<<(n%64)) != 0 }
func (b bitmap) set(n uint64)      { b[n/64] |= 1 << (n % 64) }

// inspect reads a bbolt file of the given length and tells visit every bucket
// (value nil) and every entry; their memory is the reader's. Errors are
// damage: of the structure, or a page that cannot be read.
func inspect(r io.ReaderAt, length, limit int64, visit func(path []string, key, value []byte)) (inspection, error) {
	m, err := readMeta(r, length)
	if err != nil {
		return inspection{}, err
	}
	if m.pages > uint64(limit)/m.pageSize {
		return inspection{}, damaged("%d pages of %d octets: more than this program ever writes", m.pages, m.pageSize)
	}
	if m.pages > uint64(length)/m.pageSize {
		return inspection{}, damaged("the file was cut: %d octets, %d pages of %d", length, m.pages, m.pageSize)
	}
	w := &inspector{r: r, meta: m, visit: visit}
	w.free = make(bitmap, m.pages/64+1)
	w.reached = make(bitmap, m.pages/64+1)
	w.reached.set(0)
	w.reached.set(1)
	in := inspection{pageSize: m.pageSize, pages: m.pages, txid: m.txid}
	if m.freelist != noFreelist {
		if in.free, err = w.freelist(); err != nil {
			return inspection{}, err
		}
	}
	if err := w.tree(m.root, nil, nil, nil, 0); err != nil {
		return inspection{}, err
	}
	for n := range m.pages {
		if !w.reached.get(n) && !w.free.get(n) {
			in.leaked++
		}
	}
	if m.freelist == noFreelist {
		in.free, in.leaked = in.leaked, 0
	}
	return in, nil
}

// readMeta finds the newer of the two valid heads, as bbolt does.
func readMeta(r io.ReaderAt, length int64) (meta, error) {
	first, err := metaAt(r, 0)
	if err != nil {
		// The second head is one page further; the page's size is in the head.
		for size := int64(minPageSize); size <= maxPageSize && size < length-minPageSize; size <<= 1 {
			if second, err2 := metaAt(r, size); err2 == nil {
				if second.pageSize != uint64(size) {
					return meta{}, damaged("second head: page size %d at offset %d", second.pageSize, size)
				}
				return second, second.check()
			}
		}
		return meta{}, err
	}
	if err := first.check(); err != nil {
		return meta{}, err
	}
	best := first
	if second, err := metaAt(r, int64(first.pageSize)); err == nil {
		if second.pageSize != first.pageSize {
			return meta{}, damaged("two page sizes: %d and %d", first.pageSize, second.pageSize)
		}
		if second.txid > first.txid {
			best = second
		}
	}
	return best, best.check()
}

// metaAt reads a head. With a right checksum bbolt believes it, whatever it says,
// so what it says is looked at by check, and counts as damage.
func metaAt(r io.ReaderAt, offset int64) (meta, error) {
	var b [pageHeader + metaSize]byte
	if _, err := r.ReadAt(b[:], offset); err != nil {
		return meta{}, damaged("read head at %d: %v", offset, err)
	}
	v := b[pageHeader:]
	h := fnv.New64a()
	h.Write(v[:metaSize-8])
	switch {
	case binary.LittleEndian.Uint32(v) != metaMagic:
		return meta{}, damaged("head at %d: not a bbolt file", offset)
	case binary.LittleEndian.Uint32(v[4:]) != metaVersion:
		return meta{}, damaged("head at %d: bbolt version %d", offset, binary.LittleEndian.Uint32(v[4:]))
	case binary.LittleEndian.Uint64(v[metaSize-8:]) != h.Sum64():
		return meta{}, damaged("head at %d: wrong checksum", offset)
	}
	m := meta{
		pageSize: uint64(binary.LittleEndian.Uint32(v[8:])),
		root:     binary.LittleEndian.Uint64(v[16:]),
		freelist: binary.LittleEndian.Uint64(v[32:]),
		pages:    binary.LittleEndian.Uint64(v[40:]),
		txid:     binary.LittleEndian.Uint64(v[48:]),
	}
	return m, nil
}

func (m meta) check() error {
	switch {
	case m.pageSize < minPageSize || m.pageSize > maxPageSize || m.pageSize&(m.pageSize-1) != 0:
		return damaged("head: page size %d", m.pageSize)
	case m.pages < 3:
		return damaged("head: %d pages", m.pages)
	case m.root < 2 || m.root >= m.pages:
		return damaged("head: root page %d of %d", m.root, m.pages)
	case m.freelist != noFreelist && (m.freelist < 2 || m.freelist >= m.pages):
		return damaged("head: list of free pages at page %d of %d", m.freelist, m.pages)
	}
	return nil
}

// page is a page as it was read, with its overflow pages.
type page struct {
	id    uint64
	flags uint16
	count int
	data  []byte // header included
}

// read fetches a page that has not been reached before and marks it.
func (w *inspector) read(id uint64) (page, error) {
	if id < 2 || id >= w.meta.pages {
		return page{}, damaged("page %d of %d is referred to", id, w.meta.pages)
	}
	var head [pageHeader]byte
	if _, err := w.r.ReadAt(head[:], int64(id*w.meta.pageSize)); err != nil {
		return page{}, damaged("read page %d: %v", id, err)
	}
	p := page{
		id:    binary.LittleEndian.Uint64(head[:]),
		flags: binary.LittleEndian.Uint16(head[8:]),
		count: int(binary.LittleEndian.Uint16(head[10:])),
	}
	if p.id != id {
		return page{}, damaged("page %d says that it is page %d", id, p.id)
	}
	overflow := uint64(binary.LittleEndian.Uint32(head[12:]))
	if overflow >= w.meta.pages-id {
		return page{}, damaged("page %d goes on for %d pages, beyond the end", id, overflow)
	}
	for n := id; n <= id+overflow; n++ {
		switch {
		case w.reached.get(n):
			return page{}, damaged("page %d is used twice", n)
		case w.free.get(n):
			return page{}, damaged("page %d is used and free", n)
		}
		w.reached.set(n)
	}
	p.data = make([]byte, (overflow+1)*w.meta.pageSize)
	if _, err := w.r.ReadAt(p.data, int64(id*w.meta.pageSize)); err != nil {
		return page{}, damaged("read page %d: %v", id, err)
	}
	return p, nil
}

// freelist reads which pages are free. It is read before any tree.
func (w *inspector) freelist() (uint64, error) {
	p, err := w.read(w.meta.freelist)
	if err != nil {
		return 0, err
	}
	if p.flags != flagFreelist {
		return 0, damaged("page %d: flags %#x instead of a list of free pages", p.id, p.flags)
	}
	ids, count := p.data[pageHeader:], uint64(p.count)
	if count == 0xffff { // the real number comes first
		count = binary.LittleEndian.Uint64(ids)
		ids = ids[8:]
	}
	if count > uint64(len(ids))/8 {
		return 0, damaged("page %d: %d free pages do not fit", p.id, count)
	}
	for i := range count {
		n := binary.LittleEndian.Uint64(ids[8*i:])
		switch {
		case n < 2 || n >= w.meta.pages:
			return 0, damaged("page %d of %d is free", n, w.meta.pages)
		case w.free.get(n):
			return 0, damaged("page %d is free twice", n)
		case w.reached.get(n):
			return 0, damaged("page %d is used and free", n)
		}
		w.free.set(n)
	}
	return count, nil
}

// tree walks the tree below a page. Its keys are at least low and below high;
// nil is no bound. path names the bucket.
func (w *inspector) tree(id uint64, path []string, low, high []byte, height int) error {
	if height > maxHeight {
		return damaged("page %d: tree of more than %d levels", id, maxHeight)
	}
	p, err := w.read(id)
	if err != nil {
		return err
	}
	switch p.flags {
	case flagLeaf:
		if p.count == 0 && height > 0 {
			return damaged("page %d: empty leaf below another page", id)
		}
		return w.leaf(p, path, low, high)
	case flagBranch:
	default:
		return damaged("page %d: flags %#x in a tree", id, p.flags)
	}
	if p.count == 0 {
		return damaged("page %d: branch without children", id)
	}
	elements, err := p.elements()
	if err != nil {
		return err
	}
	if err := ordered(p.id, elements, low, high); err != nil {
		return err
	}
	for i, e := range elements {
		end := high
		if i+1 < len(elements) {
			end = elements[i+1].key
		}
		if err := w.tree(e.child, path, e.key, end, height+1); err != nil {
			return err
		}
	}
	return nil
}

// element is an entry of a page. Its memory is the page's.
type element struct {
	key, value []byte
	child      uint64 // branch
	bucket     bool   // leaf
}

// elements reads the entries of a branch or leaf page. Their data lie behind
// them one after the other without a gap, as bbolt writes them; so a wrong
// count shows.
func (p page) elements() ([]element, error) {
	next := pageHeader + p.count*elementSize
	if next > len(p.data) {
		return nil, damaged("page %d: %d elements do not fit", p.id, p.count)
	}
	elements := make([]element, p.count)
	for i := range elements {
		at := pageHeader + i*elementSize
		b := p.data[at:]
		var e element
		var pos, keySize, valueSize uint32
		if p.flags == flagLeaf {
			flags := binary.LittleEndian.Uint32(b)
			if flags > leafBucket {
				return nil, damaged("page %d, element %d: flags %#x", p.id, i, flags)
			}
			e.bucket = flags == leafBucket
			pos, keySize = binary.LittleEndian.Uint32(b[4:]), binary.LittleEndian.Uint32(b[8:])
			valueSize = binary.LittleEndian.Uint32(b[12:])
		} else {
			pos, keySize = binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])
			e.child = binary.LittleEndian.Uint64(b[8:])
		}
		room := uint64(len(p.data) - next)
		switch {
		case uint64(at)+uint64(pos) != uint64(next):
			return nil, damaged("page %d, element %d: data at %d instead of %d", p.id, i, uint64(at)+uint64(pos), next)
		case keySize == 0 || keySize > maxKeySize:
			return nil, damaged("page %d, element %d: key of %d octets", p.id, i, keySize)
		case uint64(keySize)+uint64(valueSize) > room:
			return nil, damaged("page %d, element %d: %d octets of data do not fit", p.id, i, uint64(keySize)+uint64(valueSize))
		}
		e.key = p.data[next : next+int(keySize)]
		next += int(keySize)
		e.value = p.data[next : next+int(valueSize) : next+int(valueSize)]
		next += int(valueSize)
		elements[i] = e
	}
	return elements, nil
}

func ordered(id uint64, elements []element, low, high []byte) error {
	for i, e := range elements {
		if i == 0 && low != nil && bytes.Compare(e.key, low) < 0 ||
			i > 0 && bytes.Compare(e.key, elements[i-1].key) <= 0 ||
			high != nil && bytes.Compare(e.key, high) >= 0 {
			return damaged("page %d, element %d: the key is out of order", id, i)
		}
	}
	return nil
}

func (w *inspector) leaf(p page, path []string, low, high []byte) error {
	elements, err := p.elements()
	if err != nil {
		return err
	}
	if err := ordered(p.id, elements, low, high); err != nil {
		return err
	}
	for _, e := range elements {
		if !e.bucket {
			if len(path) == 0 {
				return damaged("page %d: an entry outside of any bucket", p.id)
			}
			w.visit(path, e.key, e.value)
			continue
		}
		w.visit(path, e.key, nil)
		if err := w.bucket(e, append(path[:len(path):len(path)], string(e.key))); err != nil {
			return err
		}
	}
	return nil
}

// bucket walks a bucket: its root page is elsewhere, or lies within the value
// when the bucket is small.
func (w *inspector) bucket(e element, path []string) error {
	if len(path) > maxNesting {
		return damaged("buckets nested more than %d deep", maxNesting)
	}
	if len(e.value) < bucketHeader {
		return damaged("bucket %.100q: %d octets", e.key, len(e.value))
	}
	if root := binary.LittleEndian.Uint64(e.value); root != 0 {
		return w.tree(root, path, nil, nil, 0)
	}
	v := e.value[bucketHeader:]
	if len(v) < pageHeader {
		return damaged("bucket %.100q: inline page of %d octets", e.key, len(v))
	}
	p := page{
		flags: binary.LittleEndian.Uint16(v[8:]),
		count: int(binary.LittleEndian.Uint16(v[10:])),
		data:  v,
	}
	if p.flags != flagLeaf {
		return damaged("bucket %.100q: inline page with flags %#x", e.key, p.flags)
	}
	return w.leaf(p, path, nil, nil)
}

// isDamage says whether an error is damage of the file.
func isDamage(err error) bool {
	var d *damage
	return errors.As(err, &d)
}
