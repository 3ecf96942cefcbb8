package lab

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// member is one entry of an initial RAM file system.
type member struct {
	name string
	mode uint32 // type and permissions, as in stat
	data []byte
}

// File types of a member's mode.
const (
	modeDir  = 0o040000
	modeFile = 0o100000
	modeLink = 0o120000
)

// maxMember bounds one file of an archive that is read, bytes.
const maxMember = 64 << 20

// readCPIO calls f for each member of an archive in the "newc" format (Linux,
// Documentation/driver-api/early-userspace/buffer-format.rst). f's data is its own.
func readCPIO(r io.Reader, f func(member) error) error {
	in := bufio.NewReaderSize(r, 1<<16)
	var pos int64
	read := func(n int64) ([]byte, error) {
		b := make([]byte, n)
		_, err := io.ReadFull(in, b)
		pos += n
		return b, err
	}
	pad := func() error {
		_, err := read(-pos & 3)
		return err
	}
	for {
		head, err := read(110)
		if err != nil {
			return fmt.Errorf("initramfs: %w", err)
		}
		if string(head[:6]) != "070701" {
			return errors.New("initramfs: not in the newc format")
		}
		field := func(i int) (int64, error) { return strconv.ParseInt(string(head[6+8*i:14+8*i]), 16, 64) }
		mode, err1 := field(1)
		size, err2 := field(6)
		length, err3 := field(11)
		if err := errors.Join(err1, err2, err3); err != nil || size > maxMember || length < 1 || length > 4096 {
			return errors.New("initramfs: broken header")
		}
		name, err := read(length)
		if err != nil {
			return fmt.Errorf("initramfs: %w", err)
		}
		if err := pad(); err != nil {
			return fmt.Errorf("initramfs: %w", err)
		}
		m := member{name: string(bytes.TrimRight(name, "\x00")), mode: uint32(mode)}
		if m.name == "TRAILER!!!" {
			return nil
		}
		if m.data, err = read(size); err != nil {
			return fmt.Errorf("initramfs: %s: %w", m.name, err)
		}
		if err := errors.Join(f(m), pad()); err != nil {
			return err
		}
	}
}

// writeCPIO writes members in the same format.
func writeCPIO(w io.Writer, members []member) error {
	out := bufio.NewWriter(w)
	for i, m := range append(members, member{name: "TRAILER!!!"}) {
		n := 110 + len(m.name) + 1
		fmt.Fprintf(out, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", i+1, m.mode, 0, 0, 1, 0, len(m.data), 0, 0, 0, 0, len(m.name)+1, 0)
		// The buffer keeps the first error, and Flush returns it.
		for _, b := range [][]byte{[]byte(m.name), make([]byte, 1+(-n&3)), m.data, make([]byte, -len(m.data)&3)} {
			_, _ = out.Write(b)
		}
	}
	return out.Flush()
}

// installerModules are what the tiny installer loads: its network card and the
// USB disk that [Boot].Disk attaches.
var installerModules = []string{"virtio_pci", "virtio_net", "xhci_pci", "usb_storage", "sd_mod"}

// modules takes kernel modules and all they depend on out of an initramfs, in
// the order in which they load.
func modules(initrd string, names ...string) ([]member, error) {
	f, err := os.Open(initrd)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	unzip, err := gzip.NewReader(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", initrd, err)
	}
	all := make(map[string]member)
	err = readCPIO(unzip, func(m member) error {
		if base, ok := strings.CutSuffix(path.Base(m.name), ".ko"); ok {
			all[strings.ReplaceAll(base, "-", "_")] = m
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", initrd, err)
	}
	var order []member
	done := make(map[string]bool)
	var load func(name string) error
	load = func(name string) error {
		name = strings.ReplaceAll(name, "-", "_")
		if done[name] {
			return nil
		}
		done[name] = true
		m, ok := all[name]
		if !ok {
			return fmt.Errorf("%s has no module %s", initrd, name)
		}
		needs, err := depends(m.data)
		if err != nil {
			return fmt.Errorf("module %s: %w", name, err)
		}
		for _, n := range needs {
			if err := load(n); err != nil {
				return err
			}
		}
		order = append(order, member{name: "modules/" + path.Base(m.name), mode: modeFile | 0o644, data: m.data})
		return nil
	}
	for _, n := range names {
		if err := load(n); err != nil {
			return nil, err
		}
	}
	return order, nil
}

// depends reads from a module which others it needs.
func depends(module []byte) ([]string, error) {
	f, err := elf.NewFile(bytes.NewReader(module))
	if err != nil {
		return nil, err
	}
	section := f.Section(".modinfo")
	if section == nil {
		return nil, errors.New("no .modinfo")
	}
	data, err := section.Data()
	if err != nil {
		return nil, err
	}
	for _, field := range strings.Split(string(data), "\x00") {
		if list, ok := strings.CutPrefix(field, "depends="); ok && list != "" {
			return strings.Split(list, ","), nil
		}
	}
	return nil, nil
}

// busybox is the static one: package busybox-static.
const busybox = "/bin/busybox"

// What the tiny installer prints on the console, in order, or at its failure.
const (
	InstallerStarted = "tiny-installer: started"
	InstallerWritten = "tiny-installer: disk written"
	InstallerDone    = "tiny-installer: done, switching off"
	InstallerFailed  = "tiny-installer: FAILED"
)

// tinyInit is the tiny installer. Its words on the kernel's command line are
// lab.started, lab.progress, lab.log, lab.done, lab.failed (URLs that are told how
// it goes; each may be left out), lab.answer (URL of a text it prints, line by
// line) and lab.image (URL of the gzipped disk image it writes to the disk).
const tinyInit = `#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /bin /tmp
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for word in $(cat /proc/cmdline); do
	case "$word" in
	lab.*=*) name=${word%%=*}; eval "${name#lab.}=\${word#*=}" ;;
	esac
done
# wget's own -T crashes in Debian's static build.
get() {
	limit=$1; shift
	timeout $limit wget -q "$@"
}
tell() {
	[ -z "$1" ] || get 10 -O - "$1" || echo "tiny-installer: could not tell $1"
}
failed() {
	echo "` + InstallerFailed + `: $1"
	tell "$failed"
	poweroff -f
}
for module in $(cat /modules/order); do
	insmod /modules/$module || echo "tiny-installer: $module does not load"
done
try=0
until [ -d /sys/class/net/eth0 ] && ip link set eth0 up; do
	try=$((try + 1)); [ $try -lt 100 ] || failed "no network card"; usleep 100000
done
udhcpc -i eth0 -n -q -t 10 -T 1 -s /lease || failed "no address"
echo "` + InstallerStarted + `"
tell "$started"
if [ -n "$answer" ]; then
	get 10 -O /tmp/answer "$answer" || failed "no answer file"
	while read -r line; do echo "tiny-installer: answer: $line"; done < /tmp/answer
fi
try=0
until [ -b /dev/sda ]; do
	try=$((try + 1)); [ $try -lt 200 ] || failed "no disk"; usleep 100000
done
tell "$progress"
tell "$log"
get 60 -O /tmp/image.gz "$image" || failed "no image"
gunzip -c /tmp/image.gz > /dev/sda || failed "the disk cannot be written"
sync
echo "` + InstallerWritten + `"
tell "$done"
echo "` + InstallerDone + `"
sync
poweroff -f
`

// tinyLease configures what the DHCP server said.
const tinyLease = `#!/bin/busybox sh
[ "$1" = bound ] || exit 0
ip addr add "$ip/${mask:-24}" dev "$interface"
for r in $router; do ip route add default via "$r"; break; done
`

// WriteTinyInstaller writes an initramfs for [InstallerKernel] that installs
// something for real within seconds: it asks for an address, tells the callbacks
// how far it is, writes a gzipped disk image fetched over HTTP to its disk, and
// switches the machine off. It needs the package busybox-static.
func WriteTinyInstaller(file string) error {
	box, err := os.ReadFile(busybox)
	if err != nil {
		return fmt.Errorf("tiny installer (package busybox-static): %w", err)
	}
	if f, err := elf.NewFile(bytes.NewReader(box)); err != nil || f.Section(".interp") != nil {
		return fmt.Errorf("tiny installer: %s is not statically linked (package busybox-static)", busybox)
	}
	initrd := filepath.Join(filepath.Dir(InstallerKernel("amd64")), ramdiskName)
	mods, err := modules(initrd, installerModules...)
	if err != nil {
		return fmt.Errorf("tiny installer: %w", err)
	}
	var order strings.Builder
	members := []member{
		{name: "bin", mode: modeDir | 0o755},
		{name: "bin/busybox", mode: modeFile | 0o755, data: box},
		{name: "init", mode: modeFile | 0o755, data: []byte(tinyInit)},
		{name: "lease", mode: modeFile | 0o755, data: []byte(tinyLease)},
		{name: "modules", mode: modeDir | 0o755},
	}
	for _, m := range mods {
		order.WriteString(path.Base(m.name) + "\n")
	}
	members = append(append(members, mods...), member{name: "modules/order", mode: modeFile | 0o644, data: []byte(order.String())})
	return writeGzip(file, func(w io.Writer) error { return writeCPIO(w, members) })
}

// writeGzip makes a gzipped file, whole or not at all.
func writeGzip(file string, fill func(io.Writer) error) (err error) {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(file), ".gzip-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(tmp.Name())
		}
	}()
	zip := gzip.NewWriter(tmp)
	if err := errors.Join(fill(zip), zip.Close(), tmp.Chmod(0o644), tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), file)
}
