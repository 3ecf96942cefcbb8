// Package vm starts images in QEMU and prepares their state partition, for the
// tests of the image and for the end-to-end lab. It is never part of the product.
package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Firmware is what runs before the image's own loader.
type Firmware string

// Firmwares a machine can be started with.
const (
	SeaBIOS Firmware = "seabios" // amd64, BIOS
	OVMF    Firmware = "ovmf"    // amd64, UEFI
	AAVMF   Firmware = "aavmf"   // arm64, UEFI; also starts the Raspberry Pi image
)

// Machine describes a virtual machine.
type Machine struct {
	Disk     string // raw disk image; it is written to
	Firmware Firmware
	// Dir takes the console log and the firmware's variables.
	Dir string
	// Accel is QEMU's -accel value; "" is TCG. The limited kind of KVM some
	// virtual servers have kills the image's kernel, so KVM is used on request only
	// (see Accel).
	Accel string
	// GuestPorts are TCP ports of the guest to reach from here; VM.Address tells
	// where. With Network set they are not used.
	GuestPorts []int
	// Network replaces the network card's QEMU arguments.
	Network []string
}

// VM is a running machine.
type VM struct {
	cmd     *exec.Cmd
	done    chan struct{}
	stderr  *bytes.Buffer
	waitErr error
	console string
	addrs   map[int]string
	started time.Time
	stop    sync.Once
}

// files names the firmware's code and variables, in the places Debian has them.
func (f Firmware) files() (code, vars string) {
	switch f {
	case OVMF:
		return "/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"
	case AAVMF:
		return "/usr/share/AAVMF/AAVMF_CODE.fd", "/usr/share/AAVMF/AAVMF_VARS.fd"
	default:
	}
	return "", ""
}

func (f Firmware) program() string {
	if f == AAVMF {
		return "qemu-system-aarch64"
	}
	return "qemu-system-x86_64"
}

// Missing names what has to be installed for a firmware, or returns nil.
func Missing(f Firmware) error {
	if _, err := exec.LookPath(f.program()); err != nil {
		return fmt.Errorf("%s is not installed (packages qemu-system-x86, qemu-system-arm)", f.program())
	}
	code, vars := f.files()
	for _, name := range []string{code, vars} {
		if _, err := os.Stat(name); name != "" && err != nil {
			return fmt.Errorf("%s is not there (packages ovmf, qemu-efi-aarch64)", name)
		}
	}
	return nil
}

// tcg emulates in software, on several threads.
const tcg = "tcg,thread=multi"

// Start starts a machine. It runs until Kill, or until ctx ends.
func Start(ctx context.Context, m Machine) (*VM, error) {
	if err := Missing(m.Firmware); err != nil {
		return nil, err
	}
	v := &VM{
		console: filepath.Join(m.Dir, "console.log"), addrs: map[int]string{},
		done: make(chan struct{}), stderr: new(bytes.Buffer),
	}
	if err := os.RemoveAll(v.console); err != nil {
		return nil, fmt.Errorf("start machine: %w", err)
	}
	accel := m.Accel
	if accel == "" {
		accel = tcg
	}
	// One processor: with two under QEMU 7.2's emulation a guest was seen to panic
	// in code its kernel had just patched, and on a busy machine one is faster.
	// Reboots are allowed: on a starved host the kernel may find that its timer
	// "doesn't work", panic, and come back ten seconds later, as a real box would.
	args := []string{
		"-nodefaults", "-display", "none", "-accel", accel, "-smp", "1", "-m", "1024",
		"-serial", "file:" + v.console,
		"-object", "rng-random,id=rng,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=rng",
		// cache=writethrough: what the guest flushed survives a killed QEMU either
		// way, but so does what it only wrote; a real cut is harsher (see the tests
		// of statefs).
		"-drive", "file=" + m.Disk + ",format=raw,if=none,id=disk,cache=writethrough",
		"-device", "virtio-blk-pci,drive=disk,bootindex=0",
	}
	switch m.Firmware {
	case AAVMF:
		args = append(args, "-machine", "virt", "-cpu", "cortex-a72")
	default:
		args = append(args, "-machine", "q35", "-cpu", "max", "-vga", "std")
	}
	if code, vars := m.Firmware.files(); code != "" {
		mine := filepath.Join(m.Dir, "vars.fd")
		if err := copyFile(mine, vars); err != nil {
			return nil, fmt.Errorf("start machine: %w", err)
		}
		args = append(args,
			"-drive", "if=pflash,format=raw,readonly=on,file="+code,
			"-drive", "if=pflash,format=raw,file="+mine)
	}
	if len(m.Network) > 0 {
		args = append(args, m.Network...)
	} else {
		user := "user,id=net"
		for _, port := range m.GuestPorts {
			addr, err := freeAddress()
			if err != nil {
				return nil, fmt.Errorf("start machine: %w", err)
			}
			v.addrs[port] = addr
			user += ",hostfwd=tcp:" + addr + "-:" + strconv.Itoa(port)
		}
		args = append(args, "-netdev", user, "-device", "virtio-net-pci,netdev=net")
	}
	v.cmd = exec.CommandContext(ctx, m.Firmware.program(), args...)
	v.cmd.Stderr = v.stderr
	v.started = time.Now()
	if err := v.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start machine: %w", err)
	}
	go func() {
		v.waitErr = v.cmd.Wait()
		close(v.done)
	}()
	return v, nil
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	addr := l.Addr().String()
	return addr, l.Close()
}

// Address returns where a guest port is reached, for example "127.0.0.1:34567".
func (v *VM) Address(guestPort int) string { return v.addrs[guestPort] }

// Uptime returns the time since power-on.
func (v *VM) Uptime() time.Duration { return time.Since(v.started) }

// Done is closed when the machine has stopped.
func (v *VM) Done() <-chan struct{} { return v.done }

// Console returns what the machine printed on its serial port so far.
func (v *VM) Console() string {
	b, err := os.ReadFile(v.console)
	if err != nil {
		return ""
	}
	return string(b)
}

// Kill cuts the machine's power and waits until it is gone.
func (v *VM) Kill() {
	v.stop.Do(func() {
		// The error only says that it had stopped already.
		_ = v.cmd.Process.Kill()
	})
	<-v.done
}

// Poll calls ok every 100 ms until it returns true. It returns an error with the
// end of the console when the machine stops or ctx ends before.
func (v *VM) Poll(ctx context.Context, what string, ok func() bool) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		var why error
		select {
		case <-tick.C:
			continue
		case <-v.done:
			why = fmt.Errorf("the machine stopped: %w: %s", errors.Join(v.waitErr), strings.TrimSpace(v.stderr.String()))
		case <-ctx.Done():
			why = ctx.Err()
		}
		text := v.Console()
		return fmt.Errorf("waiting for %s: %w\nconsole ends with:\n%s", what, why, text[max(0, len(text)-3000):])
	}
	return nil
}

// Accel returns the fastest -accel value under which the machine's kernel comes
// up: KVM if there is one that can run it, else emulation. It finds out by trying.
func Accel(ctx context.Context, m Machine) string {
	if m.Firmware == AAVMF {
		return tcg
	}
	if f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0); err != nil {
		return tcg
	} else if f.Close() != nil {
		return tcg
	}
	dir, err := os.MkdirTemp(m.Dir, "kvm-*")
	if err != nil {
		return tcg
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	disk := filepath.Join(dir, "disk.img")
	if err := CopySparse(disk, m.Disk); err != nil {
		return tcg
	}
	m.Disk, m.Dir, m.Accel = disk, dir, "kvm"
	v, err := Start(ctx, m)
	if err != nil {
		return tcg
	}
	defer v.Kill()
	err = v.Poll(ctx, "init", func() bool { return strings.Contains(v.Console(), "Run /gokrazy/init") })
	if err != nil {
		return tcg
	}
	return "kvm"
}

func copyFile(dst, src string) error {
	b, err := os.ReadFile(src)
	if err != nil {
		return err
	}
	return os.WriteFile(dst, b, 0o644)
}

// CopySparse copies a file and leaves holes where it is zero, so that a disk
// image takes only the room of what is in it.
func CopySparse(dst, src string) (err error) {
	in, err := os.Open(src)
	if err != nil {
		return fmt.Errorf("copy image: %w", err)
	}
	defer in.Close()
	out, err := os.Create(dst)
	if err != nil {
		return fmt.Errorf("copy image: %w", err)
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	var (
		buf  = make([]byte, 256<<10)
		none = make([]byte, len(buf))
		size int64
	)
	for {
		n, err := io.ReadFull(in, buf)
		if n > 0 && !bytes.Equal(buf[:n], none[:n]) {
			if _, err := out.WriteAt(buf[:n], size); err != nil {
				return fmt.Errorf("copy image: %w", err)
			}
		}
		size += int64(n)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("copy image: %w", err)
		}
	}
	if err := out.Truncate(size); err != nil {
		return fmt.Errorf("copy image: %w", err)
	}
	return nil
}
