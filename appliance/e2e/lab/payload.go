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
	scriptName   = "boot.ipxe"
	memtestName  = "memtest.ipxe"
	kernelName   = "linux"
	ramdiskName  = "initrd.gz"
	installerDir = "/usr/lib/debian-installer/images/12"
)

// InstallerKernel is the netboot kernel of Debian's installer for an
// architecture, from the package debian-installer-12-netboot-….
func InstallerKernel(arch string) string {
	return filepath.Join(installerDir, arch, "text/debian-installer", arch, kernelName)
}

// Markers that only a running payload writes to the serial console.
const (
	// KernelMarker comes from the kernel after it has unpacked the ramdisk.
	KernelMarker = "Run /init as init process"
	// InstallerMarker comes from Debian's installer itself.
	InstallerMarker = "Starting system log daemon"
	// MemtestMarker comes from memtest86+.
	MemtestMarker = "Memtest86+"
)

// bootScript boots Debian's installer. It asks iPXE what it runs on; all paths
// are relative to the script's own URL.
const bootScript = `#!ipxe
iseq ${buildarch} arm64 && set arch arm64 || set arch amd64
iseq ${arch} arm64 && set tty ttyAMA0 || set tty ttyS0,115200
kernel ${arch}/linux initrd=initrd.gz console=${tty} || goto failed
initrd ${arch}/initrd.gz || goto failed
boot || goto failed
:failed
echo lab: the payload did not start
shell
`

// memtestScript boots memtest86+, which is small, for rows whose network is bad.
const memtestScript = `#!ipxe
iseq ${platform} efi && set program memtest64.efi || set program memtest.bin
kernel memtest/${program} console=ttyS0,115200 || goto failed
boot || goto failed
:failed
echo lab: the payload did not start
shell
`

// grubConfig boots the same kernel from GRUB, over HTTP from base (server
// address and path, as GRUB writes them).
func grubConfig(server, path string) string {
	root := "(http," + server + ")" + path
	return `set timeout=0
echo "lab: loading the installer"
linux ` + root + `/amd64/linux console=ttyS0,115200
initrd ` + root + `/amd64/initrd.gz
boot
`
}

// PayloadOptions say what goes into a directory made by [WritePayload].
type PayloadOptions struct {
	// Arches are the kernels to copy: amd64, arm64.
	Arches []string
	// Memtest is a directory with memtest.bin and memtest64.efi, or empty.
	Memtest string
	// GRUBServer and GRUBPath are where GRUB finds this directory by HTTP.
	GRUBServer, GRUBPath string
}

// WritePayload fills a directory with what machines boot. Files are copied,
// not linked: servers must not follow links out of their directory. A file of
// the right size and time is left alone.
func WritePayload(dir string, o PayloadOptions) error {
	type source struct{ from, to string }
	var copies []source
	for _, arch := range o.Arches {
		kernel := InstallerKernel(arch)
		copies = append(copies, source{kernel, filepath.Join(arch, kernelName)},
			source{filepath.Join(filepath.Dir(kernel), ramdiskName), filepath.Join(arch, ramdiskName)})
	}
	if o.Memtest != "" {
		for _, name := range []string{"memtest.bin", "memtest64.efi"} {
			copies = append(copies, source{filepath.Join(o.Memtest, name), filepath.Join("memtest", name)})
		}
	}
	for _, c := range copies {
		if err := copyFile(c.from, filepath.Join(dir, c.to)); err != nil {
			return fmt.Errorf("payload: %w", err)
		}
	}
	texts := map[string]string{scriptName: bootScript, memtestName: memtestScript}
	if o.GRUBServer != "" {
		texts["grub/grub.cfg"] = grubConfig(o.GRUBServer, o.GRUBPath)
	}
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
