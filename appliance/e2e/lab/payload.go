package lab

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// BootFiles are the network boot programs a [Baseline] or a rival hands out,
// as paths. A missing one is an empty string; clients that need it cannot boot.
type BootFiles struct {
	Undionly  string // iPXE for BIOS, driven by the ROM's UNDI
	IPXEX64   string // iPXE for x64 UEFI, driven by the firmware
	IPXEARM64 string // iPXE for arm64 UEFI
	GRUBIA32  string // GRUB netboot image for ia32 UEFI
	Memtest   string // directory of memtest.bin and memtest64.efi
}

// FindBootFiles finds the programs in a directory laid out as `make bootfiles`
// does, which are the ones the box itself hands out: a comparison must be
// about the server alone.
func FindBootFiles(dist string) (BootFiles, error) {
	b := BootFiles{
		Undionly:  filepath.Join(dist, "undionly.kpxe"),
		IPXEX64:   filepath.Join(dist, "x86_64/snponly.efi"),
		IPXEARM64: filepath.Join(dist, "arm64/snponly.efi"),
		GRUBIA32:  filepath.Join(dist, "i386/snponly.efi"),
		Memtest:   filepath.Join(dist, "memtest"),
	}
	for _, p := range []string{b.Undionly, b.IPXEX64, b.IPXEARM64, b.GRUBIA32, filepath.Join(b.Memtest, "memtest.bin")} {
		if _, err := os.Stat(p); err != nil {
			return b, fmt.Errorf("boot files (make bootfiles): %w", err)
		}
	}
	return b, nil
}

// Names of the payload's files, as clients ask for them.
const (
	// ScriptName is the script in a payload's directory.
	ScriptName   = "boot.ipxe"
	kernelName   = "linux"
	ramdiskName  = "initrd.gz"
	installerDir = "/usr/lib/debian-installer/images/12"
)

// InstallerKernel is the netboot kernel of Debian's installer for an
// architecture, from the package debian-installer-12-netboot-….
func InstallerKernel(arch string) string {
	return filepath.Join(installerDir, arch, "text/debian-installer", arch, kernelName)
}

// Payload names what machines boot in the end.
type Payload string

// The payloads, by what they cost: the installer is 49 MB to fetch on amd64,
// its kernel alone 8, memtest86+ a fraction of one.
const (
	// Installer is Debian's netboot installer: kernel and ramdisk.
	Installer Payload = "installer"
	// Kernel is the installer's kernel without the ramdisk. It runs until it
	// finds no root.
	Kernel Payload = "kernel"
	// Memtest is memtest86+, for clients whose network is bad. arm64 has none.
	Memtest Payload = "memtest"
)

// Goal is what shows on the serial console that the payload runs. Only the
// running payload writes it.
func (p Payload) Goal() Goal {
	switch p {
	case Installer:
		return Goal{Console: []string{"Starting system log daemon"}, Kernels: []string{kernelName}}
	case Kernel:
		return Goal{Console: []string{"Linux version "}, Kernels: []string{kernelName}}
	case Memtest:
		return Goal{Console: []string{"Memtest86+"}, Kernels: []string{"memtest.bin", "memtest64.efi", "memtest32.efi"}}
	default:
	}
	return Goal{}
}

// script is the iPXE script that boots the payload. It asks iPXE what it runs
// on; all paths are relative to the script's own URL.
func (p Payload) script() string {
	load := ""
	switch p {
	case Installer:
		load = `kernel ${arch}/linux initrd=initrd.gz console=${tty} || goto failed
initrd ${arch}/initrd.gz || goto failed
`
	case Kernel:
		load = "kernel ${arch}/linux console=${tty} || goto failed\n"
	case Memtest:
		load = `iseq ${platform} efi && set program memtest64.efi || set program memtest.bin
kernel memtest/${program} console=ttyS0,115200 || goto failed
`
	}
	return `#!ipxe
iseq ${buildarch} arm64 && set arch arm64 || set arch amd64
iseq ${arch} arm64 && set tty ttyAMA0 || set tty ttyS0,115200
` + load + `boot || goto failed
:failed
echo lab: the payload did not start
shell
`
}

// grubConfig boots the same from GRUB, over HTTP. server and path are where
// GRUB finds the payload's directory.
func (p Payload) grubConfig(server, path string) string {
	root := "(http," + server + ")" + path
	load := ""
	switch p {
	case Installer:
		load = "linux " + root + "/amd64/linux console=ttyS0,115200\ninitrd " + root + "/amd64/initrd.gz\n"
	case Kernel:
		load = "linux " + root + "/amd64/linux console=ttyS0,115200\n"
	case Memtest:
		load = "chainloader " + root + "/memtest/memtest32.efi console=ttyS0,115200\n"
	}
	return "set timeout=0\necho \"lab: loading the payload\"\n" + load + "boot\n"
}

// PayloadOptions say what goes into a directory made by [WritePayload].
type PayloadOptions struct {
	Payload Payload
	// Arches are the kernels to copy: amd64, arm64.
	Arches []string
	// Memtest is a directory with memtest86+'s programs.
	Memtest string
	// GRUBServer and GRUBPath are where GRUB finds this directory by HTTP.
	GRUBServer, GRUBPath string
}

// WritePayload fills a directory with what machines boot, for [Process].Files
// or [Baseline].Payload. Files are copied, not linked: servers must not follow
// links out of their directory. A file of the right size and time is left alone.
func WritePayload(dir string, o PayloadOptions) error {
	copies := make(map[string]string) // to, from
	for _, arch := range o.Arches {
		kernel := InstallerKernel(arch)
		if o.Payload != Memtest {
			copies[filepath.Join(arch, kernelName)] = kernel
		}
		if o.Payload == Installer {
			copies[filepath.Join(arch, ramdiskName)] = filepath.Join(filepath.Dir(kernel), ramdiskName)
		}
	}
	if o.Payload == Memtest {
		for _, name := range o.Payload.Goal().Kernels {
			copies[filepath.Join("memtest", name)] = filepath.Join(o.Memtest, name)
		}
	}
	for to, from := range copies {
		if err := copyFile(from, filepath.Join(dir, to)); err != nil {
			return fmt.Errorf("payload: %w", err)
		}
	}
	texts := map[string]string{ScriptName: o.Payload.script(), "grub/grub.cfg": o.Payload.grubConfig(o.GRUBServer, o.GRUBPath)}
	for name, text := range texts {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			return fmt.Errorf("payload: %w", err)
		}
	}
	return nil
}

func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	want, err := in.Stat()
	if err != nil {
		return err
	}
	if have, err := os.Stat(to); err == nil && have.Size() == want.Size() && have.ModTime().Equal(want.ModTime()) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(to), ".copy-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(tmp.Name())
		}
	}()
	_, err = io.Copy(tmp, in)
	if err := errors.Join(err, tmp.Chmod(0o644), tmp.Close()); err != nil {
		return err
	}
	if err := os.Chtimes(tmp.Name(), want.ModTime(), want.ModTime()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), to)
}
