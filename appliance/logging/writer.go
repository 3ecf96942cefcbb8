// Package logging carries log lines to where they are read without ever making
// the boot path wait for it, and turns events into structured lines.
package logging

import (
	"io"
	"sync"
	"sync/atomic"
)

// Room of a Writer: lines that wait, bytes of one line, bytes of one write.
const (
	queueLines = 4096
	maxLine    = 4096
	batchBytes = 64 << 10 // written at once
)

// Writer is an io.Writer that never blocks: lines wait in a bounded queue for
// one goroutine that writes them out, several at a time. A line that finds the
// queue full is dropped and counted; a console that has stopped must not stop
// machines from booting.
type Writer struct {
	out     io.Writer
	lines   chan []byte
	dropped atomic.Uint64
	closing sync.Once
	stop    chan struct{}
	done    chan struct{}
}

// NewWriter starts a Writer to out. Close it to see everything written.
func NewWriter(out io.Writer) *Writer {
	w := &Writer{out: out, lines: make(chan []byte, queueLines), stop: make(chan struct{}), done: make(chan struct{})}
	go w.drain()
	return w
}

// Write queues one line; it always reports success.
func (w *Writer) Write(line []byte) (int, error) {
	n := len(line)
	if n > maxLine {
		line = append(append([]byte(nil), line[:maxLine-1]...), '\n')
	} else {
		line = append([]byte(nil), line...)
	}
	select {
	case w.lines <- line:
	default:
		w.dropped.Add(1)
	}
	return n, nil
}

// Dropped is the number of lines that found the queue full.
func (w *Writer) Dropped() uint64 { return w.dropped.Load() }

// Close writes out what is queued and ends the goroutine. Lines written
// afterwards are never seen.
func (w *Writer) Close() error {
	w.closing.Do(func() { close(w.stop) })
	<-w.done
	return nil
}

func (w *Writer) drain() {
	defer close(w.done)
	var batch []byte
	for {
		select {
		case line := <-w.lines:
			batch = append(batch[:0], line...)
		case <-w.stop:
			w.flushRest()
			return
		}
		for more := true; more && len(batch) < batchBytes; {
			select {
			case line := <-w.lines:
				batch = append(batch, line...)
			default:
				more = false
			}
		}
		_, _ = w.out.Write(batch) // nowhere to report it
	}
}

func (w *Writer) flushRest() {
	for {
		select {
		case line := <-w.lines:
			_, _ = w.out.Write(line)
		default:
			return
		}
	}
}
