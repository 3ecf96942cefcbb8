package syslog

import (
	"bufio"
	"errors"
	"io"
)

// maxCount is how long a message may be by its own count, octets. What is longer
// than MaxLine is read and dropped; what claims to be longer than this is no
// syslog.
const maxCount = 1 << 20

// errFrame says that a stream is no syslog.
var errFrame = errors.New("neither counted nor ended lines")

// lines splits a TCP stream into messages (RFC 6587): counted ones, "52 <13>…",
// or such that end with a line feed or a zero octet. Senders do not say which
// they use, and some mix.
type lines struct {
	in  *bufio.Reader
	buf []byte
}

func newLines(r io.Reader) *lines {
	return &lines{in: bufio.NewReaderSize(r, 4<<10), buf: make([]byte, 0, 2*MaxLine)}
}

// next returns the next message, cut off, valid until the next call. At the end
// of the stream the error is io.EOF, even in the midst of a message.
func (l *lines) next() ([]byte, error) {
	n, counted, err := l.count()
	if err != nil {
		return nil, err
	}
	l.buf = l.buf[:0]
	for i := 0; !counted || i < n; i++ {
		c, err := l.in.ReadByte()
		if err != nil {
			if len(l.buf) > 0 && !counted {
				return l.buf, nil // the last line needs no end
			}
			return nil, err
		}
		if !counted && (c == '\n' || c == 0) {
			break
		}
		if len(l.buf) < cap(l.buf) {
			l.buf = append(l.buf, c)
		}
	}
	return l.buf, nil
}

// count reads "52 " if a priority follows: a line that begins with a number is
// no count.
func (l *lines) count() (n int, counted bool, err error) {
	for i := 1; ; i++ {
		b, err := l.in.Peek(i)
		if err != nil {
			if len(b) > 0 && errors.Is(err, io.EOF) {
				return 0, false, nil
			}
			return 0, false, err
		}
		switch c := b[i-1]; {
		case c >= '0' && c <= '9' && (i > 1 || c != '0') && i <= 8:
			n = 10*n + int(c-'0')
		case c == ' ' && i > 1:
			if b, err = l.in.Peek(i + 1); err != nil || b[i] != '<' {
				return 0, false, nil
			}
			if n > maxCount {
				return 0, false, errFrame
			}
			_, err = l.in.Discard(i)
			return n, true, err
		default:
			return 0, false, nil
		}
	}
}
