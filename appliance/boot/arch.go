package boot

import (
	"fmt"
	"strconv"
)

// Arch is a client system architecture as carried in DHCP option 93
// (RFC 4578 section 2.1; values are IANA's "Processor Architecture Types").
type Arch uint16

// The architecture types that are named in code. The full list is in Archs.
const (
	ArchBIOS        Arch = 0
	ArchUEFI32      Arch = 6
	ArchUEFIx64     Arch = 7
	ArchEBC         Arch = 9
	ArchUEFIARM32   Arch = 10
	ArchUEFIARM64   Arch = 11
	ArchUEFI32HTTP  Arch = 15
	ArchUEFIx64HTTP Arch = 16
	ArchARM64HTTP   Arch = 19
	ArchRPIBoot     Arch = 41
)

// Platform is the kind of firmware interface that an architecture type stands for.
type Platform string

// Platforms of the architecture table.
const (
	PlatformBIOS     Platform = "bios"      // PC BIOS, PXE ROM in real mode
	PlatformUEFI     Platform = "uefi"      // UEFI PXE or HTTP Boot
	PlatformUBoot    Platform = "uboot"     // U-Boot's own network stack
	PlatformOther    Platform = "other"     // a platform no proxy mode is known for
	PlatformRPI      Platform = "rpi"       // Raspberry Pi boot ROM
	PlatformPetitBot Platform = "petitboot" // OPAL: reads pxelinux configuration
)

// ArchInfo is one row of the architecture table.
type ArchInfo struct {
	Arch     Arch
	Name     string   // short stable name: metric label and API field
	Title    string   // the registry's meaning, for people
	CPU      string   // folder of the loader and iPXE's ${buildarch}; empty when none
	Platform Platform // firmware interface
	HTTP     bool     // the registry's "boot from http" variant
	// Loader is the file offered by default. Empty means: silent, unless a rule
	// names a file for the machine.
	Loader string
}

const (
	loaderBIOS = "undionly.kpxe"
	// snponly.efi drives the NIC through the firmware that has just used it, so
	// it works wherever PXE worked; native drivers hang on several generations
	// of HP, Dell and Lenovo firmware.
	loaderSNP = "/snponly.efi"
)

// archs is IANA's registry, complete up to 41. RFC 4578 as printed exchanged 7
// and 9; the registry and the 2016 erratum have 7 = x64, and firmware that
// still sends 9 (EBC) is x64 in practice, so 9 and 17 are served as x64.
var archs = [...]ArchInfo{
	{0, "bios", "x86 BIOS", "i386", PlatformBIOS, false, loaderBIOS},
	{1, "pc98", "NEC/PC98", "", PlatformOther, false, ""},
	{2, "ia64", "Itanium", "", PlatformOther, false, ""},
	{3, "alpha", "DEC Alpha", "", PlatformOther, false, ""},
	{4, "arcx86", "Arc x86", "", PlatformOther, false, ""},
	{5, "lean", "Intel Lean Client", "", PlatformOther, false, ""},
	{6, "uefi-ia32", "x86 UEFI", "i386", PlatformUEFI, false, "i386" + loaderSNP},
	{7, "uefi-x64", "x64 UEFI", "x86_64", PlatformUEFI, false, "x86_64" + loaderSNP},
	{8, "xscale", "EFI Xscale", "", PlatformOther, false, ""},
	{9, "uefi-ebc", "EBC (served as x64 UEFI)", "x86_64", PlatformUEFI, false, "x86_64" + loaderSNP},
	{10, "uefi-arm32", "ARM 32-bit UEFI", "arm32", PlatformUEFI, false, "arm32" + loaderSNP},
	{11, "uefi-arm64", "ARM 64-bit UEFI", "arm64", PlatformUEFI, false, "arm64" + loaderSNP},
	{12, "ppc-of", "PowerPC Open Firmware", "", PlatformOther, false, ""},
	{13, "ppc-epapr", "PowerPC ePAPR", "", PlatformOther, false, ""},
	{14, "power-opal", "POWER OPAL v3", "", PlatformPetitBot, false, ""},
	{15, "uefi-ia32-http", "x86 UEFI boot from HTTP", "i386", PlatformUEFI, true, "i386" + loaderSNP},
	{16, "uefi-x64-http", "x64 UEFI boot from HTTP", "x86_64", PlatformUEFI, true, "x86_64" + loaderSNP},
	{17, "uefi-ebc-http", "EBC boot from HTTP (served as x64 UEFI)", "x86_64", PlatformUEFI, true, "x86_64" + loaderSNP},
	{18, "uefi-arm32-http", "ARM 32-bit UEFI boot from HTTP", "arm32", PlatformUEFI, true, "arm32" + loaderSNP},
	{19, "uefi-arm64-http", "ARM 64-bit UEFI boot from HTTP", "arm64", PlatformUEFI, true, "arm64" + loaderSNP},
	{20, "bios-http", "x86 BIOS boot from HTTP", "i386", PlatformBIOS, true, loaderBIOS},
	{21, "uboot-arm32", "ARM 32-bit U-Boot", "", PlatformUBoot, false, ""},
	{22, "uboot-arm64", "ARM 64-bit U-Boot", "", PlatformUBoot, false, ""},
	{23, "uboot-arm32-http", "ARM 32-bit U-Boot boot from HTTP", "", PlatformUBoot, true, ""},
	{24, "uboot-arm64-http", "ARM 64-bit U-Boot boot from HTTP", "", PlatformUBoot, true, ""},
	{25, "uefi-riscv32", "RISC-V 32-bit UEFI", "riscv32", PlatformUEFI, false, "riscv32" + loaderSNP},
	{26, "uefi-riscv32-http", "RISC-V 32-bit UEFI boot from HTTP", "riscv32", PlatformUEFI, true, "riscv32" + loaderSNP},
	{27, "uefi-riscv64", "RISC-V 64-bit UEFI", "riscv64", PlatformUEFI, false, "riscv64" + loaderSNP},
	{28, "uefi-riscv64-http", "RISC-V 64-bit UEFI boot from HTTP", "riscv64", PlatformUEFI, true, "riscv64" + loaderSNP},
	{29, "uefi-riscv128", "RISC-V 128-bit UEFI", "", PlatformUEFI, false, ""},
	{30, "uefi-riscv128-http", "RISC-V 128-bit UEFI boot from HTTP", "", PlatformUEFI, true, ""},
	{31, "s390", "s390 basic", "", PlatformOther, false, ""},
	{32, "s390x", "s390 extended", "", PlatformOther, false, ""},
	{33, "uefi-mips32", "MIPS 32-bit UEFI", "", PlatformUEFI, false, ""},
	{34, "uefi-mips64", "MIPS 64-bit UEFI", "", PlatformUEFI, false, ""},
	{35, "uefi-sunway32", "Sunway 32-bit UEFI", "", PlatformUEFI, false, ""},
	{36, "uefi-sunway64", "Sunway 64-bit UEFI", "", PlatformUEFI, false, ""},
	{37, "uefi-loong32", "LoongArch 32-bit UEFI", "", PlatformUEFI, false, ""},
	{38, "uefi-loong32-http", "LoongArch 32-bit UEFI boot from HTTP", "", PlatformUEFI, true, ""},
	{39, "uefi-loong64", "LoongArch 64-bit UEFI", "loong64", PlatformUEFI, false, "loong64" + loaderSNP},
	{40, "uefi-loong64-http", "LoongArch 64-bit UEFI boot from HTTP", "loong64", PlatformUEFI, true, "loong64" + loaderSNP},
	{41, "rpiboot", "ARM rpiboot", "", PlatformRPI, false, ""},
}

// archUnknown is the label for values outside the registry, so that a stranger
// cannot create metric labels by counting option 93 upwards.
const archUnknown = "unknown"

// Archs returns a copy of the architecture table, ordered by value.
func Archs() []ArchInfo { return append([]ArchInfo(nil), archs[:]...) }

// Info returns the table row of a; ok is false for values outside the registry.
func (a Arch) Info() (info ArchInfo, ok bool) {
	if int(a) >= len(archs) {
		return ArchInfo{Arch: a, Name: archUnknown, Title: "unknown architecture " + strconv.Itoa(int(a))}, false
	}
	return archs[a], true
}

// String returns the short stable name of a ("uefi-x64"), "unknown" outside
// the registry: the set of names is closed, so it may be a metric label.
func (a Arch) String() string {
	i, _ := a.Info()
	return i.Name
}

// ParseArch reads a name of the table ("uefi-x64") or a number.
func ParseArch(s string) (Arch, error) {
	for _, i := range archs {
		if i.Name == s {
			return i.Arch, nil
		}
	}
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return 0, fmt.Errorf("architecture %.40q: want a name like uefi-x64 or a number", s)
	}
	return Arch(n), nil
}
