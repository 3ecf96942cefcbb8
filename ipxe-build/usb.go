package main

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/bootpuck/bootpuck/bootfiles"
)

// usbFiles are our own texts for the medium.
//
//go:embed usb
var usbFiles embed.FS

const (
	usbLabel = "BOOTPUCK"
	// usbDate is what every time stamp on the medium says: 2026-03-06, as for FAT.
	// It is a constant so that two builds of one commit give the same bytes.
	usbDate  = "2026030600000000"
	usbEpoch = "1772755200"
	// usbSerial is the FAT volume's serial number.
	usbSerial = 0xb0070001
)

// usbLicences are the texts that belong to what is on the medium; Syslinux's own
// comes with its package.
var usbLicences = map[string]bool{"licenses/GPL-2.txt": true, "licenses/ipxe.txt": true}

// usb builds the bootable image for machines that cannot boot from the network:
// an ISO 9660 image that starts from a stick, a disk or a (virtual) CD. A BIOS
// finds ISOLINUX, which loads iPXE in its kernel shape with our script beside it;
// UEFI finds a FAT partition with iPXE and the script.
//
// 32-bit UEFI is left out: there is no iPXE for it, and GRUB has no network
// drivers of its own. It sees a card only where the firmware drives it, and such a
// machine can boot from the network without a medium.
func (k *kitchen) usb(ctx context.Context, out, box string) error {
	if err := validBox(box); err != nil {
		return err
	}
	xorriso, err := exec.LookPath("xorriso")
	if err != nil {
		return fmt.Errorf("xorriso is needed to build the image (package xorriso): %w", err)
	}
	unlock, err := k.lock()
	if err != nil {
		return err
	}
	defer unlock()
	iso, fat, err := k.usbContent(ctx, box)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(k.cache, "usb-")
	if err != nil {
		return fmt.Errorf("build USB image: %w", err)
	}
	defer os.RemoveAll(dir)
	volume, err := fatImage(usbLabel, usbSerial, fat)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "efi.img"), volume, 0o644); err != nil {
		return fmt.Errorf("build USB image: %w", err)
	}
	for name, data := range iso {
		file := filepath.Join(dir, "iso", filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return fmt.Errorf("build USB image: %w", err)
		}
		if err := os.WriteFile(file, data, 0o644); err != nil {
			return fmt.Errorf("build USB image: %w", err)
		}
	}
	mbr, err := k.medium(ctx, "isohdpfx.bin")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "mbr.bin"), mbr, 0o644); err != nil {
		return fmt.Errorf("build USB image: %w", err)
	}
	if err := xorrisoImage(ctx, xorriso, dir); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return fmt.Errorf("build USB image: %w", err)
	}
	made := filepath.Join(dir, "usb.img")
	if err := os.Rename(made, out); err != nil {
		// Another file system: copy beside it, then rename.
		tmp := out + ".part"
		os.Remove(tmp)
		if err := errors.Join(copyFile(made, tmp), os.Rename(tmp, out)); err != nil {
			return fmt.Errorf("build USB image: %w", err)
		}
	}
	info, err := os.Stat(out)
	if err != nil {
		return fmt.Errorf("build USB image: %w", err)
	}
	where := "found through proxyDHCP"
	if box != "" {
		where = box
	}
	k.say("%s: %s, box: %s", out, size(info.Size()), where)
	return nil
}

// xorrisoImage makes dir/usb.img out of dir/iso, dir/efi.img and dir/mbr.bin.
func xorrisoImage(ctx context.Context, xorriso, dir string) error {
	cmd := exec.CommandContext(ctx, xorriso, "-no_rc", "-report_about", "WARNING", "-as", "mkisofs",
		"-o", "usb.img", "-V", usbLabel, "-R", "-J", "-r",
		"--modification-date="+usbDate, "--set_all_file_dates", usbDate,
		"-b", "isolinux/isolinux.bin", "-c", "isolinux/boot.cat",
		"-no-emul-boot", "-boot-load-size", "4", "-boot-info-table",
		"-isohybrid-mbr", "mbr.bin",
		// The FAT volume lies once in the image: as partition 2 for a stick, and as the
		// El Torito entry of UEFI for a CD.
		"-append_partition", "2", "0xef", "efi.img",
		"-eltorito-alt-boot", "-e", "--interval:appended_partition_2:all::", "-no-emul-boot",
		"iso")
	cmd.Dir = dir
	// The zone too: some stamps are written in local time.
	cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH="+usbEpoch, "TZ=UTC", "LC_ALL=C")
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build USB image: xorriso: %w: %s", err, strings.TrimSpace(string(output)))
	}
	return nil
}

// usbContent returns what lies on the ISO 9660 side and on the FAT partition.
func (k *kitchen) usbContent(ctx context.Context, box string) (iso, fat map[string][]byte, err error) {
	served := map[string]string{
		"ipxe.lkrn": "ipxe.lkrn",
		// With drivers of its own: the firmware of a machine that cannot boot from
		// the network often drives no card.
		"x86_64/ipxe.efi": "EFI/BOOT/BOOTX64.EFI",
		"arm64/ipxe.efi":  "EFI/BOOT/BOOTAA64.EFI",
	}
	var wanted []bootfiles.File
	for _, f := range k.pins.Files {
		if served[f.Path] != "" || usbLicences[f.Path] {
			wanted = append(wanted, f)
		}
	}
	boot, err := k.gather(ctx, wanted)
	if err != nil {
		return nil, nil, err
	}
	extra, err := k.gather(ctx, k.pins.Medium)
	if err != nil {
		return nil, nil, err
	}
	iso, fat = map[string][]byte{}, map[string][]byte{}
	for path, data := range boot {
		switch name := served[path]; {
		case strings.HasPrefix(path, "licenses/"):
			iso[path], fat[path] = data, data
		case path == "ipxe.lkrn":
			iso[name] = data
		case name != "":
			fat[name] = data
		}
	}
	for path, data := range extra {
		switch {
		case strings.HasPrefix(path, "licenses/"):
			iso[path], fat[path] = data, data
		case path == "isolinux.bin", path == "ldlinux.c32":
			iso["isolinux/"+path] = data
		}
	}
	for name := range served {
		if boot[name] == nil {
			return nil, nil, fmt.Errorf("build USB image: %s is not in the manifest", name)
		}
	}
	for name, to := range map[string][2]string{ // on the ISO side, on the FAT side
		"autoexec.ipxe": {"autoexec.ipxe", "autoexec.ipxe"},
		"isolinux.cfg":  {"isolinux/isolinux.cfg", ""},
		"readme.txt":    {"readme.txt", "readme.txt"},
	} {
		text, err := ownText(name, box)
		if err != nil {
			return nil, nil, err
		}
		if to[0] != "" {
			iso[to[0]] = text
		}
		if to[1] != "" {
			fat[to[1]] = text
		}
	}
	return iso, fat, nil
}

// medium returns one file of the manifest's medium list.
func (k *kitchen) medium(ctx context.Context, path string) ([]byte, error) {
	for _, f := range k.pins.Medium {
		if f.Path == path {
			got, err := k.gather(ctx, []bootfiles.File{f})
			return got[path], err
		}
	}
	return nil, fmt.Errorf("build USB image: %s is not in the manifest: %w", path, fs.ErrNotExist)
}

// ownText is one of our texts with the box's address put in.
func ownText(name, box string) ([]byte, error) {
	data, err := usbFiles.ReadFile("usb/" + name)
	if err != nil {
		return nil, fmt.Errorf("build USB image: %w", err)
	}
	text := strings.ReplaceAll(string(data), "@BOX@", box)
	// No blank at the end of a "set box" without a value.
	return []byte(strings.ReplaceAll(text, "set box \n", "set box\n")), nil
}

var boxRE = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,62})(\.[A-Za-z0-9-]{1,63})*(:[0-9]{1,5})?$`)

// validBox refuses what would not be one plain word of a script and of a URL.
func validBox(box string) error {
	if box != "" && (len(box) > 120 || !boxRE.MatchString(box)) {
		return fmt.Errorf("-box %q: want an IPv4 address or a host name, with :port if it is not 80", box)
	}
	return nil
}
