package system

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Readings are what the operating system tells about the machine. Root is the
// root of the file system, "/" outside of tests.
type Readings struct{ Root string }

// LinkSpeed is the speed of a network interface in Mbit/s; ok is false when it
// is not known (no link, virtual interfaces).
func (r Readings) LinkSpeed(ifname string) (mbit int, ok bool) {
	if ifname == "" || strings.ContainsAny(ifname, "/\x00") || ifname == "." || ifname == ".." {
		return 0, false
	}
	n, err := r.number("sys/class/net", ifname, "speed")
	return int(n), err == nil && n > 0
}

// Temperature is that of the processor in degrees Celsius; ok is false where
// there is no sensor.
func (r Readings) Temperature() (celsius float64, ok bool) {
	n, err := r.number("sys/class/thermal/thermal_zone0/temp")
	return float64(n) / 1000, err == nil
}

// Throttled says whether a Raspberry Pi is slowed down now, because it is too
// hot or gets too little current; ok is false on other machines. Bits 0 to 3 of
// the firmware's word are about now, the others about the past.
func (r Readings) Throttled() (slowed, ok bool) {
	data, err := os.ReadFile(filepath.Join(r.Root, "sys/devices/platform/soc/soc:firmware/get_throttled"))
	if err != nil {
		return false, false
	}
	word, err := strconv.ParseUint(strings.TrimPrefix(strings.TrimSpace(string(data)), "0x"), 16, 64)
	return word&0xf != 0, err == nil
}

func (r Readings) number(path ...string) (int64, error) {
	name := filepath.Join(append([]string{r.Root}, path...)...)
	data, err := os.ReadFile(name)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", name, err)
	}
	return n, nil
}

// ClockSynchronised says whether a time server steers the kernel's clock
// (adjtimex(2)); false also where the kernel does not say.
func ClockSynchronised() bool {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	return err == nil && state != unix.TIME_ERROR && t.Status&unix.STA_UNSYNC == 0
}

// Free is the room left for State, in octets.
func (s State) Free() (octets uint64, err error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(s.Dir, &st); err != nil {
		return 0, fmt.Errorf("state directory: %w", err)
	}
	return st.Bavail * uint64(st.Bsize), nil
}
