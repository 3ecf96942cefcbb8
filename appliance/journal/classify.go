package journal

import (
	"path"
	"slices"
	"strings"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// fileName is a name as asked for in the one spelling that is compared:
// firmware writes backslashes, leading slashes, capitals and whole addresses.
func fileName(asked string) string {
	s := strings.ToLower(strings.ReplaceAll(asked, `\`, "/"))
	if i := strings.Index(s, "://"); i >= 0 && i <= 5 {
		_, s, _ = strings.Cut(s[i+3:], "/")
	}
	return strings.TrimLeft(path.Clean("/"+s), "/")
}

// secret says whether a file is at an address that holds a token, so that only
// who was told of it can ask for it.
func secret(name string) bool {
	dir, rest, _ := strings.Cut(name, "/")
	switch dir {
	case "x", "m", "w", "a", "cb":
		return rest != ""
	default:
		return false
	}
}

// loaderNames are beginnings of the names of programs that boot others.
var loaderNames = []string{
	"undionly", "snponly", "ipxe", "gpxe", "pxelinux", "lpxelinux", "gpxelinux", "ldlinux", "syslinux", "shim", "grub", "core.",
	"mmx64", "mmaa64", "fbx64", "fbaa64", "bootx64", "bootia32", "bootaa64", "bootarm", "bootriscv", "bootloong", "bootmgfw", "wdsmgfw",
	"pxeboot.", "wdsnbp", "revocations",
}

// loaderEndings are endings of such names, and of the modules they load.
var loaderEndings = []string{".kpxe", ".kkpxe", ".kkkpxe", ".pxe", ".c32", ".mod", ".lst", ".0", ".n12"}

// guess is which stage a file belongs to, by its name alone. It is what is left
// when the box cannot tell; StageKernel stands for any file of a target.
func guess(name string) boot.StageName {
	base := path.Base(name)
	switch {
	case name == "" || name == ".":
		return ""
	case base == "autoexec.ipxe", name == "b":
		return boot.StageAutoexec
	case name == "s", strings.HasPrefix(name, "x/"), strings.HasPrefix(name, "w/"), strings.HasPrefix(name, "grub/grub.cfg"),
		path.Base(path.Dir(name)) == "pxelinux.cfg":
		return boot.StageScript
	case base == "grub.cfg":
		return boot.StageAutoexec
	case strings.HasPrefix(name, "m/"):
		return boot.StageMenu
	case strings.HasPrefix(name, "a/"):
		return boot.StageAnswer
	case strings.HasPrefix(name, "cb/"):
		return boot.StageInstaller
	}
	has := func(list []string, is func(s, part string) bool) bool {
		return slices.ContainsFunc(list, func(part string) bool { return is(base, part) })
	}
	if has(loaderNames, strings.HasPrefix) || has(loaderEndings, strings.HasSuffix) || strings.HasPrefix(name, "grub/") {
		return boot.StageLoader
	}
	return boot.StageKernel
}

// guessPi is guess for a Raspberry Pi, whose firmware fetches everything itself:
// what comes before the kernel is its loader.
func guessPi(name string) boot.StageName {
	base := path.Base(name)
	for _, kernel := range []string{"kernel", "vmlinuz", "image"} {
		if strings.HasPrefix(base, kernel) {
			return boot.StageKernel
		}
	}
	for _, part := range []string{"initramfs", "initrd", "boot.img"} {
		if strings.HasPrefix(base, part) {
			return boot.StageFiles
		}
	}
	return boot.StageLoader
}

// stageOf is the stage of an event about a file; empty when it is of none.
// StageKernel stands for any file of a target.
func (t *try) stageOf(e boot.Event, local func(string) boot.StageName) boot.StageName {
	name := fileName(e.File)
	if name == "left" || name == "…" {
		return ""
	}
	if slices.Contains(t.a.Firmwares, boot.FirmwareRPi) && !slices.Contains(t.a.Firmwares, boot.FirmwareIPXE) {
		return guessPi(name)
	}
	s := guess(name)
	if e.Kind == boot.KindScript || s == boot.StageAnswer || s == boot.StageInstaller || s == boot.StageMenu || s == boot.StageScript {
		if e.Kind == boot.KindScript && (s == boot.StageKernel || s == boot.StageLoader) {
			return boot.StageScript // a text was rendered, whatever its name
		}
		return s // the box's own addresses, which no file has
	}
	if local != nil {
		if own := local(e.File); own != "" {
			if own == boot.StageFiles {
				own = boot.StageKernel // which of them it is depends on the order
			}
			return own
		}
	}
	if s == boot.StageKernel && t.a.Stage(boot.StageScript).Count == 0 && !strings.HasPrefix(name, "memtest/") {
		offered := t.a.Stage(boot.StageOffer).File
		if name == fileName(offered) || t.a.Stage(boot.StageLoader).Count == 0 && strings.HasSuffix(name, ".efi") {
			return boot.StageLoader // the first program of a machine, whatever its name
		}
	}
	return s
}
