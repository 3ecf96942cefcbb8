package system

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ReleaseProgram gives back the memory in which the kernel keeps the read-only
// part of the program's file, where the embedded boot files are. They are read
// as a whole once, to be verified, and would count as resident from then on;
// what is needed comes back from the page cache or the medium by itself.
func ReleaseProgram() error {
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the program's file: %w", err)
	}
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return fmt.Errorf("read the memory map: %w", err)
	}
	defer maps.Close()
	list, err := readOnlyMappings(maps, exe)
	if err != nil {
		return fmt.Errorf("read the memory map: %w", err)
	}
	for _, m := range list {
		// The pages are clean and private: the kernel drops them and reads them
		// again when they are touched (madvise(2), MADV_DONTNEED).
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, m.start, m.end-m.start, unix.MADV_DONTNEED); errno != 0 {
			return fmt.Errorf("release the program's pages: %w", errno)
		}
	}
	return nil
}

type mapping struct{ start, end uintptr }

// readOnlyMappings finds the parts of a file that are mapped for reading alone
// (proc(5), /proc/pid/maps).
func readOnlyMappings(r io.Reader, file string) ([]mapping, error) {
	var out []mapping
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 6 || f[1] != "r--p" || f[5] != file {
			continue
		}
		from, to, _ := strings.Cut(f[0], "-")
		start, err := strconv.ParseUint(from, 16, 64)
		if err != nil {
			return nil, err
		}
		end, err := strconv.ParseUint(to, 16, 64)
		if err != nil {
			return nil, err
		}
		if end > start {
			out = append(out, mapping{uintptr(start), uintptr(end)})
		}
	}
	return out, lines.Err()
}
