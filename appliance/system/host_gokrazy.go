//go:build gokrazy

package system

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const onGokrazy = true

// permPartition is the number of the state partition in gokrazy's layout.
const permPartition = 4

func hostPartition(log *slog.Logger) stateHost {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &keeper{kernel: linux{}, target: "/perm", log: log, now: time.Now}
}

// linux is the kernel gokrazy runs on.
type linux struct{}

// Mounted reads the table of mounts.
func (linux) Mounted(target string) (mounted, writable bool, err error) {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return false, false, err
	}
	mounted, writable = findMount(string(b), target)
	return mounted, writable, nil
}

// Mount mounts an ext4 file system. The directories gokrazy's init would have
// made there, had it found a file system, are made now.
func (linux) Mount(node, target string) error {
	if err := unix.Mount(node, target, "ext4", 0, ""); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(target, "var"), 0o755); err != nil {
		return fmt.Errorf("make directories: %w", err)
	}
	if err := os.Symlink("/run", filepath.Join(target, "var", "run")); err != nil && !os.IsExist(err) {
		return fmt.Errorf("make directories: %w", err)
	}
	return nil
}

// Find follows the device of the root file system, which is a partition of the
// same disk, through sysfs.
func (linux) Find() (partition, error) {
	var st unix.Stat_t
	if err := unix.Stat("/", &st); err != nil {
		return partition{}, fmt.Errorf("root file system: %w", err)
	}
	link := fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev))
	root, err := filepath.EvalSymlinks(link)
	if err != nil {
		return partition{}, fmt.Errorf("root file system: %w", err)
	}
	return findPartition(filepath.Dir(root), permPartition)
}

// Open opens a device for reading and writing.
func (linux) Open(device string) (blockDevice, error) { return os.OpenFile(device, os.O_RDWR, 0) }

// ResizePartition is BLKPG_RESIZE_PARTITION of linux/blkpg.h.
func (linux) ResizePartition(p partition) error {
	const resizePartition = 3
	disk, err := os.Open(p.Disk)
	if err != nil {
		return err
	}
	defer disk.Close()
	data := unix.BlkpgPartition{Start: p.Start, Length: p.Size, Pno: int32(p.Number)}
	arg := unix.BlkpgIoctlArg{Op: resizePartition, Datalen: int32(unsafe.Sizeof(data)), Data: (*byte)(unsafe.Pointer(&data))}
	return ioctl(disk.Fd(), unix.BLKPG, unsafe.Pointer(&arg))
}

// ResizeFS is EXT4_IOC_RESIZE_FS of linux/ext4.h.
func (linux) ResizeFS(target string, blocks uint64) error {
	const resizeFS = 0x40086610
	dir, err := os.Open(target)
	if err != nil {
		return err
	}
	defer dir.Close()
	return ioctl(dir.Fd(), resizeFS, unsafe.Pointer(&blocks))
}

func ioctl(fd, request uintptr, arg unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, request, uintptr(arg)); errno != 0 {
		return errno
	}
	return nil
}

// Console returns the writer for the screen and serial port of the box: every
// console the kernel writes to. It never blocks: what a console cannot take at
// once is dropped.
func Console() io.Writer {
	consoles.once.Do(func() {
		b, err := os.ReadFile("/sys/class/tty/console/active")
		names := strings.Fields(string(b))
		if err != nil || len(names) == 0 {
			names = []string{"console"}
		}
		for _, name := range names {
			fd, err := unix.Open("/dev/"+name, unix.O_WRONLY|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
			if err == nil {
				consoles.fds = append(consoles.fds, fd)
			}
		}
	})
	return &consoles
}

var consoles consoleWriter

type consoleWriter struct {
	once sync.Once
	mu   sync.Mutex
	fds  []int
}

// Write writes b to every console and reports success.
func (c *consoleWriter) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, fd := range c.fds {
		for rest := b; len(rest) > 0; {
			n, err := unix.Write(fd, rest)
			if err == unix.EINTR {
				continue
			}
			if err != nil || n <= 0 {
				break
			}
			rest = rest[n:]
		}
	}
	return len(b), nil
}
