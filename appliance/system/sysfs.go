package system

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// findMount looks a target up in the text of /proc/self/mountinfo (proc(5)). The
// last mount on a target is the one that is seen.
func findMount(text, target string) (mounted, writable bool) {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 7 || fields[4] != target {
			continue
		}
		mounted, writable = true, has(fields[5], "rw")
		// The mount and the file system each have a say: ext4 turns the latter
		// read-only when its medium fails.
		for i, f := range fields {
			if f == "-" && i+3 < len(fields) {
				writable = writable && has(fields[i+3], "rw")
			}
		}
	}
	return mounted, writable
}

func has(options, want string) bool {
	for o := range strings.SplitSeq(options, ",") {
		if o == want {
			return true
		}
	}
	return false
}

// findPartition reads a partition of a disk from the disk's directory in sysfs.
// Sizes there are in units of 512 bytes whatever the medium's sectors are.
func findPartition(disk string, number int) (partition, error) {
	entries, err := os.ReadDir(disk)
	if err != nil {
		return partition{}, fmt.Errorf("disk: %w", err)
	}
	diskSize, err := sysfsNumber(disk, "size")
	if err != nil {
		return partition{}, err
	}
	for _, e := range entries {
		dir := filepath.Join(disk, e.Name())
		n, err := sysfsNumber(dir, "partition")
		if err != nil || n != int64(number) {
			continue
		}
		start, err := sysfsNumber(dir, "start")
		if err != nil {
			return partition{}, err
		}
		size, err := sysfsNumber(dir, "size")
		if err != nil {
			return partition{}, err
		}
		return partition{
			Disk: "/dev/" + filepath.Base(disk), Node: "/dev/" + e.Name(), Number: number,
			DiskSize: diskSize * 512, Start: start * 512, Size: size * 512,
		}, nil
	}
	return partition{}, fmt.Errorf("disk %s has no partition %d", filepath.Base(disk), number)
}

func sysfsNumber(dir, name string) (int64, error) {
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", filepath.Join(dir, name), err)
	}
	return n, nil
}
