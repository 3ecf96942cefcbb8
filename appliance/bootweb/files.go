package bootweb

import (
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// A chunk is what must leave within Limits.ChunkTime. A deadline for the whole
// file would cut off a slow machine at work on a large image; one per chunk
// only ends those that have stopped. Chunks grow while they leave quickly,
// which saves system calls, and are small again for a slow client.
const (
	minChunk  = 1 << 20
	maxChunk  = 16 << 20
	chunkFast = 500 * time.Millisecond // below this the next chunk is twice as large
	chunkSlow = 5 * time.Second        // above this the next one is the smallest
)

// serveFile serves a regular file of fsys, with ranges and HEAD. It returns
// false, with nothing sent, when there is no such file.
func (s *Server) serveFile(w http.ResponseWriter, r *http.Request, fsys fs.FS, name string, res *Result, ev *boot.Event) bool {
	if fsys == nil || !fs.ValidPath(name) {
		return false
	}
	// Stat first: opening a FIFO that someone left in the directory would
	// block until somebody writes to it.
	fi, err := fs.Stat(fsys, name)
	if err != nil || !fi.Mode().IsRegular() {
		return false
	}
	f, err := fsys.Open(name)
	if err != nil {
		s.log.Debug("cannot open file", "name", name, "err", err)
		return false
	}
	defer f.Close()
	content, ok := f.(io.ReadSeeker)
	if !ok {
		return false
	}
	if fi, err = f.Stat(); err != nil || !fi.Mode().IsRegular() {
		return false
	}
	release, reason := s.slots.take(s.peerOf(r).addr)
	if reason != boot.ReasonNone {
		s.refuse(w, r, res, http.StatusServiceUnavailable, reason)
		return true
	}
	defer release()
	h := w.Header()
	h["Content-Type"] = []string{contentType(name)}
	h["X-Content-Type-Options"] = nosniff
	began := time.Now()
	fw := &fileWriter{w: w, rc: http.NewResponseController(w), chunkTime: s.limits.ChunkTime, next: began.Add(progressFirst)}
	fw.progress = func(now time.Time) {
		e := *ev
		e.Time, e.Kind, e.Bytes, e.Total, e.Duration = now, boot.KindProgress, fw.n, fi.Size(), now.Sub(began)
		s.whose(&e)
		s.cfg.Sink(e)
	}
	// The name is not passed on: the type is set already, and nothing else
	// depends on it.
	http.ServeContent(fw, r, "", fi.ModTime(), content)
	res.Status, res.Bytes = fw.status, fw.n
	if fw.status == http.StatusOK {
		ev.Total = fi.Size() // parts of a file have no whole to be measured by
	}
	switch {
	case fw.status >= 400:
		res.Reason = boot.ReasonParameter // a range outside of the file, a failed condition
	case fw.readErr != nil:
		res.Reason = boot.ReasonRead
		s.log.Warn("cannot read file", "name", name, "err", fw.readErr)
	case fw.writeErr != nil:
		res.Reason = boot.ReasonInterrupted
	}
	return true
}

// contentTypes is the closed set of types. UEFI HTTP Boot decides by them what
// it has fetched (protocol table: EDK2's HttpBootSupport); everything people
// might open in a browser is plain text, so that an operator's file never runs
// there.
var contentTypes = map[string]string{
	".efi": "application/efi",
	".iso": "application/vnd.efi-iso",
	".img": "application/vnd.efi-img",

	".ipxe": textPlain[0], ".cfg": textPlain[0], ".txt": textPlain[0], ".conf": textPlain[0],
	".sh": textPlain[0], ".ks": textPlain[0], ".seed": textPlain[0], ".yaml": textPlain[0],
	".yml": textPlain[0], ".xml": textPlain[0], ".html": textPlain[0], ".htm": textPlain[0],
	".svg": textPlain[0], ".js": textPlain[0], ".log": textPlain[0], ".ini": textPlain[0],
	".json": "application/json",
	".gz":   "application/gzip",
	".zip":  "application/zip",
}

// contentType is the type of a file by its extension, in any case.
func contentType(name string) string {
	if t, ok := contentTypes[strings.ToLower(path.Ext(name))]; ok {
		return t
	}
	return "application/octet-stream"
}

// fileWriter sends a file in chunks, each with a deadline of its own. It hands
// files of the operating system down as they are, so that the kernel copies
// them (sendfile), and reads others through a shared buffer.
type fileWriter struct {
	w         http.ResponseWriter
	rc        *http.ResponseController
	chunkTime time.Duration
	status    int
	n         int64
	readErr   error
	writeErr  error
	limited   io.LimitedReader
	sinceTime int64 // octets written since the deadline was last moved
	next      time.Time
	progress  func(now time.Time)
}

// A file under way is told of after progressFirst, and then every progressEvery.
const (
	progressFirst = 500 * time.Millisecond
	progressEvery = 2 * time.Second
)

func (f *fileWriter) Header() http.Header { return f.w.Header() }

func (f *fileWriter) WriteHeader(status int) {
	if f.status == 0 || f.status < 200 {
		f.status = status
	}
	f.w.WriteHeader(status)
}

func (f *fileWriter) Write(b []byte) (int, error) {
	if f.status == 0 {
		f.status = http.StatusOK
	}
	if f.n == 0 || f.sinceTime >= minChunk {
		f.extend()
		f.sinceTime = 0
	}
	n, err := f.w.Write(b)
	f.n += int64(n)
	f.sinceTime += int64(n)
	if err != nil {
		f.writeErr = err
	}
	return n, err
}

// Unwrap lets http.ResponseController reach the connection.
func (f *fileWriter) Unwrap() http.ResponseWriter { return f.w }

// extend gives the client another ChunkTime from now.
func (f *fileWriter) extend() (now time.Time) {
	now = time.Now()
	// Writers without deadlines (tests' recorders) have none to extend.
	_ = f.rc.SetWriteDeadline(now.Add(f.chunkTime))
	if now.After(f.next) && f.status == http.StatusOK {
		f.next = now.Add(progressEvery)
		f.progress(now)
	}
	return now
}

// ReadFrom sends what src holds. http.ServeContent calls it by io.CopyN, that
// is with an *io.LimitedReader around the file.
func (f *fileWriter) ReadFrom(src io.Reader) (int64, error) {
	lr, ok := src.(*io.LimitedReader)
	if !ok {
		return f.copy(src)
	}
	rf, direct := f.w.(io.ReaderFrom)
	if _, file := lr.R.(*os.File); !file || !direct {
		return f.copy(lr)
	}
	if lr.N > minChunk {
		// Else net/http puts the first 512 octets beside the header and
		// every page of the file is cut in two on its way.
		_ = f.rc.Flush()
	}
	var total int64
	chunk := int64(minChunk)
	for lr.N > 0 {
		began := f.extend()
		want := min(lr.N, chunk)
		f.limited = io.LimitedReader{R: lr.R, N: want}
		n, err := rf.ReadFrom(&f.limited)
		lr.N -= n
		total += n
		f.n += n
		if err != nil {
			f.writeErr = err
			return total, err
		}
		if n < want {
			// The file has become shorter than its length was.
			f.readErr = io.ErrUnexpectedEOF
			return total, nil
		}
		switch took := time.Since(began); {
		case took < chunkFast:
			chunk = min(2*chunk, maxChunk)
		case took > chunkSlow:
			chunk = minChunk
		}
	}
	return total, nil
}

// fileBuffers holds the buffers that files in memory are sent through.
var fileBuffers = sync.Pool{New: func() any { b := make([]byte, 64<<10); return &b }}

func (f *fileWriter) copy(src io.Reader) (int64, error) {
	buf := fileBuffers.Get().(*[]byte)
	defer fileBuffers.Put(buf)
	var total int64
	for {
		n, rerr := src.Read(*buf)
		if n > 0 {
			m, werr := f.Write((*buf)[:n])
			total += int64(m)
			if werr != nil {
				return total, werr
			}
		}
		if rerr == io.EOF {
			return total, nil
		}
		if rerr != nil {
			f.readErr = rerr
			return total, rerr
		}
	}
}

// countWriter counts what a page's handler sends.
type countWriter struct {
	http.ResponseWriter
	status  int
	n       int64
	started bool
}

func (c *countWriter) WriteHeader(status int) {
	if !c.started && status >= 200 {
		c.status, c.started = status, true
	}
	c.ResponseWriter.WriteHeader(status)
}

func (c *countWriter) Write(b []byte) (int, error) {
	c.started = true
	n, err := c.ResponseWriter.Write(b)
	c.n += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController reach the connection (server-sent events).
func (c *countWriter) Unwrap() http.ResponseWriter { return c.ResponseWriter }
