package media

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"strings"
)

// Formats of archives.
const (
	FormatTarGz = "tar.gz"
	FormatTar   = "tar"
	FormatZip   = "zip"
)

// stored is an uploaded archive on the disk.
type stored struct {
	file   io.ReaderAt
	size   int64
	format string
	limits Limits
}

// visitor is told every entry in order. body holds exactly the entry's content;
// what visit leaves of it is skipped.
type visitor func(h header, body io.Reader) error

// formatOf checks what was said about an archive against its first octets, and
// finds out when nothing was said.
func formatOf(r io.ReaderAt, said string) (string, error) {
	var head [512]byte
	n, err := r.ReadAt(head[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read archive: %w", err)
	}
	found := ""
	switch {
	case n >= 2 && head[0] == 0x1f && head[1] == 0x8b:
		found = FormatTarGz
	case n >= 4 && (string(head[:4]) == "PK\x03\x04" || string(head[:4]) == "PK\x05\x06"):
		found = FormatZip
	case n == 512 && head[0] != 0:
		found = FormatTar // its reader knows whether it is one
	}
	switch said {
	case "":
	case FormatTarGz, "tgz":
		said = FormatTarGz
	case FormatTar, FormatZip:
	default:
		return "", refuse("", "the format %.20q: want tar.gz, tar or zip", said)
	}
	switch {
	case n == 0:
		return "", refuse("", "it is empty")
	case found == "":
		return "", refuse("", "neither tar.gz nor tar nor zip")
	case said != "" && said != found:
		return "", refuse("", "said to be %s, but it looks like %s", said, found)
	}
	return found, nil
}

// walk reads the archive from end to end. It refuses whatever is no folder, file
// or link, whatever is cut short or has something after its end, and what grows
// too much in unpacking.
func (a *stored) walk(ctx context.Context, visit visitor) error {
	if a.format == FormatZip {
		return a.walkZip(ctx, visit)
	}
	in := &counter{r: &patient{ctx, io.NewSectionReader(a.file, 0, a.size)}}
	var stream io.Reader = in
	if a.format == FormatTarGz {
		gz, err := gzip.NewReader(in)
		if err != nil {
			return broken("", err)
		}
		stream = &meter{r: gz, in: func() int64 { return in.n }, limits: a.limits}
	}
	return walkTar(stream, a.limits, visit)
}

// walkTar reads a tar stream to its end.
func walkTar(stream io.Reader, limits Limits, visit visitor) error {
	count := &counter{r: stream}
	tr := tar.NewReader(count)
	last, end := "", int64(0) // the last entry and where its content ended
	for i := 0; ; i++ {
		// What is no entry of the plan is an entry here: global headers are not
		// told to visit, and there could be a million of them.
		if i > 2*limits.Entries {
			return tooLarge(last, "more than %d entries", limits.Entries)
		}
		t, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return broken(last, err)
		}
		last = t.Name
		if t.Typeflag == tar.TypeXGlobalHeader {
			end = count.n
			continue
		}
		h, err := tarHeader(t)
		if err != nil {
			return err
		}
		if err := visit(h, tr); err != nil {
			return broken(last, err)
		}
		if _, err := io.Copy(io.Discard, tr); err != nil {
			return broken(last, err)
		}
		end = count.n
	}
	// Two blocks of zeros end an archive (POSIX ustar). The library is content
	// without; but an archive that was cut off between two entries has none.
	if count.n-(end+511)&^511 < 1024 {
		return refuse(last, "the archive is cut short after this entry: its end mark is missing")
	}
	return padding(last, stream)
}

// padding reads what follows the end mark: zeros up to a whole record.
func padding(last string, r io.Reader) error {
	buf := make([]byte, 32<<10)
	for left := 16 << 20; ; {
		n, err := r.Read(buf)
		if left -= n; left < 0 || len(bytes.Trim(buf[:n], "\x00")) > 0 {
			return refuse(last, "something follows the end of the archive, after this entry")
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return broken(last, err)
		}
	}
}

// tarHeader reads what we need of a header and refuses types.
func tarHeader(t *tar.Header) (header, error) {
	h := header{name: t.Name, size: t.Size, target: t.Linkname}
	for key := range t.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return h, refuse(t.Name, "a sparse file; pack it without -S")
		}
	}
	switch t.Typeflag {
	case tar.TypeReg:
		h.kind = isFile
	case tar.TypeDir:
		h.kind = isDir
	case tar.TypeSymlink:
		h.kind = isLink
	case tar.TypeLink:
		h.kind = isHardLink
	case tar.TypeChar, tar.TypeBlock:
		return h, refuse(t.Name, "a device node")
	case tar.TypeFifo:
		return h, refuse(t.Name, "a FIFO")
	case tar.TypeGNUSparse:
		return h, refuse(t.Name, "a sparse file; pack it without -S")
	default:
		return h, refuse(t.Name, "of a type that is neither folder nor file nor link (%q)", t.Typeflag)
	}
	return h, nil
}

// walkZip reads a zip archive to its end.
func (a *stored) walkZip(ctx context.Context, visit visitor) error {
	entries, err := zipEntries(a.file, a.size, a.limits.Entries)
	if err != nil {
		return err
	}
	zr, err := zip.NewReader(a.file, a.size)
	if err != nil {
		return broken("", err)
	}
	if len(zr.File) != entries {
		return refuse("", "its directory is damaged: %d entries, %d were counted", len(zr.File), entries)
	}
	var out int64
	for _, f := range zr.File {
		h, err := zipHeader(f)
		if err != nil {
			return err
		}
		rc, err := f.Open()
		if err != nil {
			return broken(f.Name, err)
		}
		body := &meter{r: &patient{ctx, rc}, in: func() int64 { return a.size }, limits: a.limits, n: out}
		if h.kind == isLink {
			target, err := io.ReadAll(io.LimitReader(body, maxPath+1))
			if err != nil {
				rc.Close()
				return broken(f.Name, err)
			}
			h.target = string(target)
		}
		if err = visit(h, body); err == nil {
			_, err = io.Copy(io.Discard, body)
		}
		rc.Close()
		if err != nil {
			return broken(f.Name, err)
		}
		out = body.n
	}
	return nil
}

// zipHeader reads what we need of a header and refuses types.
func zipHeader(f *zip.File) (header, error) {
	h := header{name: f.Name}
	if f.UncompressedSize64 > math.MaxInt64 {
		return h, tooLarge(f.Name, "a file of %d octets", f.UncompressedSize64)
	}
	h.size = int64(f.UncompressedSize64)
	switch mode := f.Mode(); {
	case f.Flags&1 != 0:
		return h, refuse(f.Name, "encrypted")
	case f.Method != zip.Store && f.Method != zip.Deflate:
		return h, refuse(f.Name, "packed by method %d; use deflate", f.Method)
	case strings.HasSuffix(f.Name, "/") || mode.IsDir():
		h.kind = isDir
	case mode.IsRegular():
		h.kind = isFile
	case mode&fs.ModeSymlink != 0:
		h.kind = isLink
	case mode&fs.ModeDevice != 0:
		return h, refuse(f.Name, "a device node")
	case mode&fs.ModeNamedPipe != 0:
		return h, refuse(f.Name, "a FIFO")
	default:
		return h, refuse(f.Name, "neither folder nor file nor link")
	}
	return h, nil
}

// zipEntries counts the entries of a zip archive's directory before the library
// loads all of them into memory, and makes sure that the directory is where it
// must be: right before the end record, with nothing after that (APPNOTE 4.3).
func zipEntries(r io.ReaderAt, size int64, limit int) (int, error) {
	const recordLen, locatorLen, entryLen = 22, 20, 46
	tail := make([]byte, min(size, 65<<10))
	if _, err := r.ReadAt(tail, size-int64(len(tail))); err != nil && !errors.Is(err, io.EOF) {
		return 0, fmt.Errorf("read archive: %w", err)
	}
	i := len(tail) - recordLen
	for ; i >= 0; i-- {
		if string(tail[i:i+4]) == "PK\x05\x06" && i+recordLen+int(binary.LittleEndian.Uint16(tail[i+20:])) <= len(tail) {
			break
		}
	}
	if i < 0 {
		return 0, refuse("", "it is cut short, or no zip: there is no directory at its end")
	}
	if i+recordLen+int(binary.LittleEndian.Uint16(tail[i+20:])) != len(tail) {
		return 0, refuse("", "something follows the end of the archive")
	}
	at := size - int64(len(tail)-i) // where the directory must end
	dirSize, dirStart := uint64(binary.LittleEndian.Uint32(tail[i+12:])), uint64(binary.LittleEndian.Uint32(tail[i+16:]))
	if l := i - locatorLen; l >= 0 && string(tail[l:l+4]) == "PK\x06\x07" {
		var end [56]byte
		at = int64(min(binary.LittleEndian.Uint64(tail[l+8:]), uint64(size)))
		if _, err := r.ReadAt(end[:], at); err != nil || string(end[:4]) != "PK\x06\x06" {
			return 0, refuse("", "its directory is damaged")
		}
		dirSize, dirStart = binary.LittleEndian.Uint64(end[40:]), binary.LittleEndian.Uint64(end[48:])
	}
	if dirSize > uint64(size) || dirStart > uint64(size) || dirStart+dirSize != uint64(at) {
		return 0, refuse("", "its directory is damaged, or something stands before the archive")
	}
	n := 0
	var head [entryLen]byte
	for pos := int64(dirStart); pos < at; n++ {
		if n >= limit {
			return 0, tooLarge("", "more than %d entries", limit)
		}
		if _, err := r.ReadAt(head[:], pos); err != nil || string(head[:4]) != "PK\x01\x02" {
			return 0, refuse("", "its directory is damaged after %d entries", n)
		}
		pos += entryLen + int64(binary.LittleEndian.Uint16(head[28:])) +
			int64(binary.LittleEndian.Uint16(head[30:])) + int64(binary.LittleEndian.Uint16(head[32:]))
	}
	return n, nil
}

// broken makes an ArchiveError of what a library says about a damaged archive.
// What is ours, a full disk, a visitor that had enough, stays as it is.
func broken(entry string, err error) error {
	var what string
	switch _, ours := errors.AsType[*ArchiveError](err); {
	case errors.Is(err, errBomb):
		return tooLarge(entry, "the archive unpacks to too much: %v", err)
	case ours:
		return err
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		what = "the archive is cut short"
	case errors.Is(err, gzip.ErrHeader), errors.Is(err, tar.ErrHeader):
		what = "the archive is damaged, or something follows its end"
	case errors.Is(err, gzip.ErrChecksum), errors.Is(err, zip.ErrChecksum):
		what = "the archive is damaged: a checksum is wrong"
	case errors.Is(err, zip.ErrFormat), errors.Is(err, zip.ErrAlgorithm), errors.Is(err, tar.ErrFieldTooLong):
		what = "the archive is damaged: " + err.Error()
	case strings.HasPrefix(err.Error(), "flate: "), strings.HasPrefix(err.Error(), "archive/tar: "):
		what = "the archive is damaged: " + err.Error()
	default:
		return err
	}
	e := refuse(entry, "%s", what)
	if entry != "" {
		e.what += " at or after this entry"
	}
	return e
}

// counter counts what is read.
type counter struct {
	r io.Reader
	n int64
}

// Read implements io.Reader.
func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// patient reads until its context ends.
type patient struct {
	ctx context.Context
	r   io.Reader
}

// Read implements io.Reader.
func (p *patient) Read(b []byte) (int, error) {
	if err := p.ctx.Err(); err != nil {
		return 0, err
	}
	return p.r.Read(b)
}

// ratioFloor is what any archive may unpack to: small ones compress as they
// like.
const ratioFloor = 64 << 20

var errBomb = errors.New("decompression bomb")

// meter stops a decompressor that makes too much out of too little.
type meter struct {
	r      io.Reader
	in     func() int64 // octets that went in
	n      int64        // octets that came out
	limits Limits
}

// Read implements io.Reader.
func (m *meter) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	m.n += int64(n)
	in := max(m.in(), 1)
	switch {
	case m.n > ratioFloor && m.n/in > m.limits.Ratio:
		return 0, fmt.Errorf("%w: %s from %d octets, more than %d times as much", errBomb, mib(m.n), in, m.limits.Ratio)
	case m.n > m.limits.stream():
		return 0, fmt.Errorf("%w: more than %s", errBomb, mib(m.limits.stream()))
	}
	return n, err
}
