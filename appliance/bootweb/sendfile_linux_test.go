package bootweb

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// tcpPair is a connection and what the other end reads from it.
func tcpPair(t *testing.T) (*net.TCPConn, net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	far, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { far.Close() })
	near, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close() })
	return near.(*net.TCPConn), far
}

func randomFile(t *testing.T, size int) (*os.File, []byte) {
	t.Helper()
	data := make([]byte, size)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range data {
		data[i] = byte(r.Uint32())
	}
	name := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f, data
}

func TestSendfileOctets(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, 4096, window - 1, window, window + 1, 5*window + 777} {
		f, data := randomFile(t, size)
		for _, skip := range []int64{0, 513} {
			if skip > int64(size) {
				continue
			}
			near, far := tcpPair(t)
			got := make(chan []byte, 1)
			go func() {
				b, _ := io.ReadAll(far)
				got <- b
			}()
			if _, err := f.Seek(skip, io.SeekStart); err != nil {
				t.Fatal(err)
			}
			lr := &io.LimitedReader{R: f, N: int64(size) - skip}
			n, handled, err := sendfile(near, lr, f)
			if !handled || err != nil || n != int64(size)-skip || lr.N != 0 {
				t.Errorf("%d from %d: %d, %v, %v, %d left", size, skip, n, handled, err, lr.N)
			}
			near.Close()
			if !bytes.Equal(<-got, data[skip:]) {
				t.Errorf("%d from %d: other octets arrive", size, skip)
			}
			if pos, _ := f.Seek(0, io.SeekCurrent); pos != int64(size) {
				t.Errorf("%d from %d: the file stands at %d", size, skip, pos)
			}
		}
	}
}

// TestSendfileCold: pages that are not in memory are seen as such, and sent all
// the same.
func TestSendfileCold(t *testing.T) {
	t.Parallel()
	f, data := randomFile(t, 3*window)
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	fd := int64(f.Fd())
	if !cached(fd, 0) || !cached(fd, int64(len(data))-1) {
		t.Skip("this file system does not tell what is in memory")
	}
	if cached(fd, int64(len(data))) {
		t.Error("what is behind the end counts as in memory")
	}
	if err := unix.Fadvise(int(fd), 0, 0, unix.FADV_DONTNEED); err != nil {
		t.Fatal(err)
	}
	if cached(fd, int64(len(data))-1) {
		t.Log("the kernel keeps the pages (tmpfs does)")
	}
	near, far := tcpPair(t)
	got := make(chan []byte, 1)
	go func() {
		b, _ := io.ReadAll(far)
		got <- b
	}()
	n, handled, err := sendfile(near, &io.LimitedReader{R: f, N: int64(len(data))}, f)
	near.Close()
	if !handled || err != nil || n != int64(len(data)) || !bytes.Equal(<-got, data) {
		t.Errorf("%d, %v, %v", n, handled, err)
	}
}

func TestSendfileEnds(t *testing.T) {
	t.Parallel()
	t.Run("shorter", func(t *testing.T) { // than it was when its length was told
		t.Parallel()
		f, _ := randomFile(t, 100)
		near, far := tcpPair(t)
		go io.Copy(io.Discard, far)
		if n, handled, err := sendfile(near, &io.LimitedReader{R: f, N: 5000}, f); n != 100 || !handled || err != nil {
			t.Errorf("%d, %v, %v", n, handled, err)
		}
	})
	t.Run("deadline", func(t *testing.T) {
		t.Parallel()
		f, _ := randomFile(t, 32<<20)
		near, _ := tcpPair(t)
		if err := near.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		n, handled, err := sendfile(near, &io.LimitedReader{R: f, N: 32 << 20}, f)
		if !handled || !errors.Is(err, os.ErrDeadlineExceeded) || n <= 0 || n >= 32<<20 {
			t.Errorf("%d, %v, %v", n, handled, err)
		}
	})
	t.Run("gone", func(t *testing.T) {
		t.Parallel()
		f, _ := randomFile(t, 32<<20)
		near, far := tcpPair(t)
		far.Close()
		if n, handled, err := sendfile(near, &io.LimitedReader{R: f, N: 32 << 20}, f); !handled || err == nil {
			t.Errorf("%d, %v, %v", n, handled, err)
		}
	})
	t.Run("closed", func(t *testing.T) {
		t.Parallel()
		f, _ := randomFile(t, 32<<20)
		near, _ := tcpPair(t)
		done := make(chan error, 1)
		go func() {
			_, _, err := sendfile(near, &io.LimitedReader{R: f, N: 32 << 20}, f)
			done <- err
		}()
		near.Close()
		select {
		case err := <-done:
			if err == nil {
				t.Error("no error")
			}
		case <-time.After(20 * time.Second):
			t.Error("closing the connection does not end it")
		}
	})
	t.Run("closed file", func(t *testing.T) {
		t.Parallel()
		f, _ := randomFile(t, 10)
		near, _ := tcpPair(t)
		f.Close()
		if n, handled, _ := sendfile(near, &io.LimitedReader{R: f, N: 10}, f); n != 0 || handled {
			t.Errorf("%d, %v", n, handled)
		}
	})
}
