package media

import (
	"os"

	"golang.org/x/sys/unix"
)

// freeSpace is what a file system has left for us, in octets and files. Some
// file systems do not count files: -1.
func freeSpace(dir string) (octets, files int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, 0, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	files = -1
	if st.Files > 0 {
		files = int64(st.Ffree)
	}
	return int64(st.Bavail) * int64(st.Bsize), files, nil //nolint:unconvert // int32 on some machines
}

// syncTree brings a folder and everything in it to the disk. One call for the
// whole file system takes a fraction of the time of one for each of thousands of
// files, and tells errors as well (Linux 5.8).
func syncTree(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := unix.Syncfs(int(d.Fd())); err != nil {
		return &os.PathError{Op: "syncfs", Path: dir, Err: err}
	}
	return nil
}
