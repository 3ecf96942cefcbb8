package bootweb

import (
	"io"
	"net"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// window is how much of a file one system call may send. The processor is not
// given to anybody else meanwhile, so it is short: well below a millisecond
// even on a small board.
const window = 1 << 20

// sendfile copies from f to tcp inside the kernel. It does what net does for
// ReadFrom of a file, with one difference that saves a third of the processor
// time per octet: as long as the file's pages are in memory, the call cannot
// block, and is made without telling the scheduler of a blocking system call.
// Otherwise the runtime's watchdog takes the calls, which last longer than its
// 20 microseconds, for blocked ones and is kept awake moving work about. Pages
// that still have to be read from a disk go by net's own way.
//
// handled is false, with nothing sent, if the file cannot be sent like this.
func sendfile(tcp *net.TCPConn, lr *io.LimitedReader, f *os.File) (sent int64, handled bool, err error) {
	pos, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return 0, false, nil
	}
	dst, err := tcp.SyscallConn()
	if err != nil {
		return 0, false, nil
	}
	src, err := f.SyscallConn()
	if err != nil {
		return 0, false, nil
	}
	for lr.N > 0 {
		want := min(lr.N, window)
		n, ok, err := sendCached(dst, src, pos+sent, want)
		if !ok {
			// To be read from disk, or not possible at all: one window by
			// net's way, which brings the pages, and try again.
			n, err = tcp.ReadFrom(&io.LimitedReader{R: f, N: want})
		}
		sent += n
		lr.N -= n
		if err != nil || n < want {
			return sent, true, err
		}
	}
	return sent, true, nil
}

// sendCached sends want octets from pos, where the file stands, provided they
// are in memory. It waits for room in the socket's buffer, up to the write
// deadline. A count below want without an error is the end of the file.
func sendCached(dst, src syscall.RawConn, pos, want int64) (sent int64, ok bool, err error) {
	var errno syscall.Errno
	rerr := src.Read(func(in uintptr) bool {
		if !cached(int64(in), pos+want-1) {
			return true
		}
		ok = true
		err = dst.Write(func(out uintptr) bool {
			for sent < want {
				n, _, e := syscall.RawSyscall6(syscall.SYS_SENDFILE, out, in, 0, uintptr(want-sent), 0, 0)
				switch {
				case e == syscall.EINTR:
				case e == syscall.EAGAIN:
					return false // until there is room
				case e != 0:
					errno = e
					return true
				case n == 0:
					return true // the file has become shorter
				default:
					sent += int64(n)
				}
			}
			return true
		})
		return true
	})
	switch {
	case rerr != nil:
		return sent, true, rerr
	case errno == syscall.EINVAL || errno == syscall.ENOSYS || errno == syscall.EOPNOTSUPP:
		if sent == 0 {
			return 0, false, nil // a file system without it
		}
		return sent, true, os.NewSyscallError("sendfile", errno)
	case errno != 0:
		return sent, true, os.NewSyscallError("sendfile", errno)
	}
	return sent, ok, err
}

// cached says whether the octet at pos can be read without waiting for a disk.
// The kernel reads ahead in order, so what precedes it by less than a window is
// there as well but for rare cases, which cost a wait and nothing else. It is a
// call that cannot block, made like the one it stands before.
func cached(fd, pos int64) bool {
	var b byte
	iov := unix.Iovec{Base: &b}
	iov.SetLen(1)
	const bits = 8 * unsafe.Sizeof(uintptr(0))
	n, _, errno := syscall.RawSyscall6(unix.SYS_PREADV2, uintptr(fd), uintptr(unsafe.Pointer(&iov)), 1,
		uintptr(pos), uintptr(uint64(pos)>>(bits-1)>>1), unix.RWF_NOWAIT)
	return n == 1 && errno == 0
}
