package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/bootpuck/bootpuck/bootfiles"
)

// Every label that the script jumps to exists, and it ends no line in a way that
// would end the script by accident.
func TestUSBScript(t *testing.T) {
	for _, box := range []string{"", "192.0.2.5", "box.example.org:8080"} {
		text, err := ownText("autoexec.ipxe", box)
		if err != nil {
			t.Fatal(err)
		}
		script := string(text)
		if !strings.HasPrefix(script, "#!ipxe\n") {
			t.Error("iPXE does not take it for a script")
		}
		if want := strings.TrimRight("set box "+box, " ") + "\n"; !strings.Contains(script, "\n"+want) {
			t.Errorf("script lacks %q", want)
		}
		labels := map[string]bool{}
		for _, m := range regexp.MustCompile(`(?m)^:(\w+)$`).FindAllStringSubmatch(script, -1) {
			labels[m[1]] = true
		}
		for _, m := range regexp.MustCompile(`goto (\w+)`).FindAllStringSubmatch(script, -1) {
			if !labels[m[1]] {
				t.Errorf("there is no label %s", m[1])
			}
		}
		// A command that fails ends a script unless something follows "||".
		may := regexp.MustCompile(`^(#|:|echo\b|goto\b|set\b|inc\b|exit\b|$)`)
		for _, line := range strings.Split(script, "\n") {
			if !may.MatchString(line) && !strings.Contains(line, "||") {
				t.Errorf("%q may end the script", line)
			}
		}
		if strings.Contains(script, "@") || strings.Contains(script, "\r") {
			t.Error("a place was not filled in, or lines end as on DOS")
		}
	}
}

func TestValidBox(t *testing.T) {
	for _, good := range []string{"", "192.0.2.5", "192.0.2.5:8080", "bootpuck", "bootpuck.example.org", "b-1.example.org:80"} {
		if err := validBox(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{" ", "a b", "http://192.0.2.5", "192.0.2.5/b", "${net0/mac}", "a\nshell", "-x", "a:", "a:123456", "[2001:db8::1]", ".", strings.Repeat("a.", 80)} {
		if err := validBox(bad); err == nil {
			t.Errorf("%q: accepted", bad)
		}
	}
}

// usbKitchen has small stand-ins of what the image is made of.
func usbKitchen(t *testing.T) *bench {
	b := testKitchen(t)
	content := map[string]string{
		"ipxe.lkrn": "lkrn", "x86_64/ipxe.efi": "x64", "arm64/ipxe.efi": "arm64", "licenses/GPL-2.txt": "GPL", "licenses/ipxe.txt": "ipxe",
		"licenses/grub.txt": "not on the medium", "undionly.kpxe": "not on the medium",
		"isolinux.bin": strings.Repeat("isolinux", 1000), "isohdpfx.bin": strings.Repeat("x", 432), "ldlinux.c32": "ldlinux", "licenses/syslinux.txt": "syslinux",
	}
	medium := map[string]bool{"isolinux.bin": true, "isohdpfx.bin": true, "ldlinux.c32": true, "licenses/syslinux.txt": true}
	deb := tarOf(t, content)
	b.pins = bootfiles.Pins{Packages: []bootfiles.Package{{Name: "all", Version: "1", Architecture: "all", Size: int64(len(deb)), SHA256: sum(deb)}}}
	b.archive.files = map[string][]byte{"all_1_all.deb": deb}
	for path, data := range content {
		f := bootfiles.File{Path: path, Package: "all", Member: path, Size: int64(len(data)), SHA256: sum([]byte(data)), Role: bootfiles.RoleIPXEEFI}
		if medium[path] {
			b.pins.Medium = append(b.pins.Medium, f)
		} else {
			b.pins.Files = append(b.pins.Files, f)
		}
	}
	return b
}

func TestUSBImage(t *testing.T) {
	if _, err := exec.LookPath("xorriso"); err != nil {
		t.Skipf("needs xorriso: %v", err)
	}
	b := usbKitchen(t)
	dir := t.TempDir()
	first, second := filepath.Join(dir, "first.img"), filepath.Join(dir, "sub", "second.img")
	for _, out := range []string{first, second} {
		if err := b.usb(t.Context(), out, "192.0.2.5"); err != nil {
			t.Fatal(err)
		}
	}
	image, err := os.ReadFile(first)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := os.ReadFile(second); err != nil || !bytes.Equal(image, again) {
		t.Errorf("two builds differ, %v", err)
	}
	// The volume descriptor's dates of creation and change (ECMA-119, 8.4): neither may be the clock's.
	for i, at := range []int{813, 830} {
		if got := string(image[16*2048+at:][:16]); got != usbDate {
			t.Errorf("date %d of the volume is %s, want %s", i, got, usbDate)
		}
	}
	// MBR: a partition that is started, and the FAT volume of UEFI.
	if image[446] != 0x80 || image[510] != 0x55 || image[511] != 0xaa {
		t.Error("a BIOS would not start it")
	}
	part := image[446+16:]
	if part[4] != 0xef {
		t.Fatalf("partition 2 is of type %#x, UEFI wants 0xef", part[4])
	}
	at := int(part[8]) | int(part[9])<<8 | int(part[10])<<16
	files := readFAT(t, image[at*512:][:fatSectors*fatSector])
	script, err := ownText("autoexec.ipxe", "192.0.2.5")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"EFI/BOOT/BOOTX64.EFI": "x64", "EFI/BOOT/BOOTAA64.EFI": "arm64", "autoexec.ipxe": string(script),
		"licenses/GPL-2.txt": "GPL", "licenses/syslinux.txt": "syslinux",
	} {
		if files[name] != want {
			t.Errorf("%s on the FAT volume is %.40q, want %.40q", name, files[name], want)
		}
	}
	if bytes.Contains(image, []byte("not on the medium")) {
		t.Error("the image holds what nobody starts")
	}
	if left, _ := filepath.Glob(filepath.Join(b.cache, "usb-*")); left != nil {
		t.Errorf("left behind: %v", left)
	}
	if err := b.usb(t.Context(), first, "a b"); err == nil {
		t.Error("a box address with a blank is accepted")
	}
}

func TestUSBImageNeedsWhatItIsMadeOf(t *testing.T) {
	if _, err := exec.LookPath("xorriso"); err != nil {
		t.Skipf("needs xorriso: %v", err)
	}
	b := usbKitchen(t)
	for i, f := range b.pins.Files {
		if f.Path == "arm64/ipxe.efi" {
			b.pins.Files = append(b.pins.Files[:i], b.pins.Files[i+1:]...)
			break
		}
	}
	out := filepath.Join(t.TempDir(), "usb.img")
	if err := b.usb(t.Context(), out, ""); err == nil || !strings.Contains(err.Error(), "arm64/ipxe.efi") {
		t.Errorf("usb = %v", err)
	}
	if _, err := os.Stat(out); err == nil {
		t.Error("an image was left all the same")
	}
	b.kitchen.unpack = func(context.Context, string) (io.ReadCloser, error) { return nil, os.ErrPermission }
	if err := b.usb(t.Context(), out, ""); err == nil {
		t.Error("an image without content")
	}
}
