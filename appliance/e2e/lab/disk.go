package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// BlankDisk makes a raw disk image of that many bytes with nothing on it, for
// [Boot].Disk. It takes no room until something is written.
func BlankDisk(file string, size int64) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("disk: %w", err)
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("disk: %w", err)
	}
	return errors.Join(f.Truncate(size), f.Close())
}

// DiskOptions say what is on a disk made by [WriteBootableDisk].
type DiskOptions struct {
	// Marker is a word that the booted system shows on the serial console and that
	// is written nowhere else; see [DiskGoal].
	Marker string
	// GRUB is Debian's GRUB network image for x64 UEFI, which reads
	// /grub/grub.cfg from the partition it was started from. Shim, if not empty,
	// starts it, as Secure Boot needs.
	GRUB, Shim string
}

const (
	sector       = 512
	diskSize     = 40 << 20
	partStart    = 2048 // sectors
	bootCodeSize = 440
	syslinuxMBR  = "/usr/lib/syslinux/mbr/mbr.bin"
)

// DiskMarker is what the kernel of such a disk writes: its command line.
func DiskMarker(marker string) string { return "lab.disk=" + marker }

// DiskGoal is when a machine has booted such a disk: a Linux kernel that says
// what command line that disk gave it.
func DiskGoal(marker string) Goal { return Goal{Console: []string{DiskMarker(marker)}} }

// WriteBootableDisk makes a disk image that boots Debian's installer kernel from
// itself, on a BIOS (Syslinux) and on x64 UEFI (GRUB). It needs the packages
// syslinux, syslinux-common, mtools and dosfstools.
func WriteBootableDisk(ctx context.Context, file string, o DiskOptions) (err error) {
	code, err := os.ReadFile(syslinuxMBR)
	if err != nil || len(code) > bootCodeSize {
		return fmt.Errorf("bootable disk (package syslinux-common): %d bytes of boot code: %w", len(code), err)
	}
	if err := BlankDisk(file, diskSize); err != nil {
		return err
	}
	mbr := make([]byte, sector)
	copy(mbr, code)
	p := mbr[446:]
	p[0], p[4] = 0x80, 0x0e // active, FAT16 by LBA
	binary.LittleEndian.PutUint32(p[8:], partStart)
	binary.LittleEndian.PutUint32(p[12:], diskSize/sector-partStart)
	mbr[510], mbr[511] = 0x55, 0xaa
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("bootable disk: %w", err)
	}
	_, err = f.WriteAt(mbr, 0)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("bootable disk: %w", err)
	}
	tool := func(name string, args ...string) error {
		path, err := lookPath(name)
		if err == nil {
			_, err = output(ctx, "", path, args...)
		}
		if err != nil {
			return fmt.Errorf("bootable disk: %w", err)
		}
		return nil
	}
	offset := fmt.Sprint(partStart * sector)
	volume := file + "@@" + offset
	// The size is in blocks of 1024 bytes.
	if err := tool("mkfs.fat", "-F", "16", "-h", fmt.Sprint(partStart), "--offset", fmt.Sprint(partStart), file, fmt.Sprint((diskSize-partStart*sector)/1024)); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(filepath.Dir(file), ".disk-")
	if err != nil {
		return fmt.Errorf("bootable disk: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	args := "console=ttyS0,115200 panic=-1 " + DiskMarker(o.Marker)
	texts := map[string]string{
		"syslinux.cfg": "default linux\nprompt 0\nlabel linux\n  kernel /linux\n  append " + args + "\n",
		"grub.cfg":     "set timeout=0\nlinux /linux " + args + "\nboot\n",
	}
	for name, text := range texts {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return fmt.Errorf("bootable disk: %w", err)
		}
	}
	if err := tool("mmd", "-i", volume, "::/EFI", "::/EFI/BOOT", "::/grub"); err != nil {
		return err
	}
	first := o.Shim
	if first == "" {
		first = o.GRUB
	}
	for _, c := range [][2]string{
		{InstallerKernel("amd64"), "linux"},
		{filepath.Join(dir, "syslinux.cfg"), "syslinux.cfg"},
		{filepath.Join(dir, "grub.cfg"), "grub/grub.cfg"},
		{first, "EFI/BOOT/BOOTX64.EFI"},
		{o.GRUB, "EFI/BOOT/grubx64.efi"},
	} {
		if err := tool("mcopy", "-i", volume, c[0], "::/"+c[1]); err != nil {
			return err
		}
	}
	return tool("syslinux", "--install", "--offset", offset, file)
}

// WriteDiskImage makes the gzipped image of a bootable disk, for the tiny
// installer to write.
func WriteDiskImage(ctx context.Context, file string, o DiskOptions) error {
	raw := file + ".raw"
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), WriteBootableDisk(ctx, raw, o)); err != nil {
		return err
	}
	in, err := os.Open(raw)
	if err != nil {
		return err
	}
	defer in.Close()
	return errors.Join(writeGzip(file, func(w io.Writer) error {
		_, err := io.Copy(w, in)
		return err
	}), os.Remove(raw))
}
