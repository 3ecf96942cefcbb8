package builder

import (
	"fmt"
	"runtime"
)

// Kind is a kind of machine an image is made for. One image serves every
// machine of its kind.
type Kind struct {
	Name     string // in file names: bootpuck-<version>-<name>.img.gz
	Arch     string // GOARCH
	Machines string // for people
	// Kernel and Firmware are Go packages that carry the files of the boot
	// partition. There is no EEPROM package for any kind: it would reflash the
	// boot loader of a customer's Raspberry Pi.
	Kernel, Firmware string
	// SerialConsole is the kernel's name of the first serial port.
	SerialConsole string
	// RootType is the GPT partition type of the root file systems
	// (Discoverable Partitions Specification).
	RootType string
}

// Kinds lists every kind of machine, in the order they are shown.
var Kinds = []Kind{
	{
		Name: "amd64", Arch: "amd64", Machines: "PCs and virtual machines, BIOS or UEFI",
		Kernel: "github.com/gokrazy/kernel.amd64", SerialConsole: "ttyS0,115200",
		RootType: "4f68bce3-e8cd-4db1-96e7-fbcaf984b709",
	},
	{
		Name: "rpi", Arch: "arm64", Machines: "Raspberry Pi 3, 4, 5 and Zero 2 W",
		Kernel: "github.com/gokrazy/kernel.rpi", Firmware: "github.com/gokrazy/firmware",
		SerialConsole: "serial0,115200",
		RootType:      "b921b045-1df0-41c3-af44-4c6f280d3fae",
	},
	{
		Name: "arm64", Arch: "arm64", Machines: "64-bit ARM machines and virtual machines with UEFI",
		Kernel: "github.com/gokrazy/kernel.arm64", SerialConsole: "ttyAMA0,115200",
		RootType: "b921b045-1df0-41c3-af44-4c6f280d3fae",
	},
}

// FindKind picks the kind for a GOARCH ("" is this machine's) and a kernel
// ("rpi", "generic" or "" for the architecture's usual one: on arm64 that is the
// Raspberry Pi's).
func FindKind(arch, kernel string) (Kind, error) {
	if arch == "" {
		arch = runtime.GOARCH
	}
	var name string
	switch {
	case arch == "amd64" && (kernel == "" || kernel == "generic"):
		name = "amd64"
	case arch == "arm64" && (kernel == "" || kernel == "rpi"):
		name = "rpi"
	case arch == "arm64" && kernel == "generic":
		name = "arm64"
	default:
		return Kind{}, fmt.Errorf("no image for architecture %q with kernel %q: there are amd64, arm64 with rpi, arm64 with generic", arch, kernel)
	}
	for _, k := range Kinds {
		if k.Name == name {
			return k, nil
		}
	}
	return Kind{}, fmt.Errorf("kind %q is not in the list", name)
}
