package lab

import (
	"crypto/sha256"
	"fmt"
	"net"
	"slices"
)

// FirmwareKind names a firmware a client can have.
type FirmwareKind string

// The firmwares the lab knows. The new ones are builds of a later Debian
// release, unpacked aside.
const (
	SeaBIOS  FirmwareKind = "seabios"
	OVMF     FirmwareKind = "ovmf"
	OVMF32   FirmwareKind = "ovmf-ia32"
	AAVMF    FirmwareKind = "aavmf"
	OVMFNew  FirmwareKind = "ovmf-new"
	AAVMFNew FirmwareKind = "aavmf-new"
	// With Microsoft's keys enrolled and Secure Boot on.
	OVMFSecure    FirmwareKind = "ovmf-secure"
	OVMFSecureNew FirmwareKind = "ovmf-secure-new"
)

// newer tells whether the firmware is of the later release.
func (k FirmwareKind) newer() bool { return k == OVMFNew || k == AAVMFNew || k == OVMFSecureNew }

// arm tells whether the firmware is for arm64.
func (k FirmwareKind) arm() bool { return k == AAVMF || k == AAVMFNew }

// uefi tells whether the firmware has a variable store.
func (k FirmwareKind) uefi() bool { return k != SeaBIOS }

// Client is one kind of machine that boots from the network. Clients are data:
// what differs between them is what QEMU is told.
type Client struct {
	// Name is the row's name, for example "ovmf-http".
	Name string
	// Firmware the machine starts with.
	Firmware FirmwareKind
	// ROM gives the network card QEMU's own iPXE option ROM. Without it the
	// firmware drives the card itself.
	ROM bool
	// HTTP makes UEFI HTTP Boot the first boot option.
	HTTP bool
	// PlainBIOS hides from the network that the ROM is iPXE; see [Rewriter].
	PlainBIOS bool
	// Arch is what it runs, as in Debian's names: amd64, arm64.
	Arch string
	// GRUB says that this client ends in GRUB instead of iPXE, because no iPXE
	// exists for its firmware.
	GRUB bool
}

// NeedsNewer tells whether the client's firmware has to be fetched first; see
// [FetchNewFirmware].
func (c Client) NeedsNewer() bool { return c.Firmware.newer() }

// UEFI tells whether the client's firmware is UEFI.
func (c Client) UEFI() bool { return c.Firmware.uefi() }

// Clients are all kinds, in the order of the results table.
var Clients = []Client{
	{Name: "ipxe-rom", Firmware: SeaBIOS, ROM: true, Arch: "amd64"},
	{Name: "plain-bios", Firmware: SeaBIOS, ROM: true, PlainBIOS: true, Arch: "amd64"},
	{Name: "ovmf-pxe", Firmware: OVMF, Arch: "amd64"},
	{Name: "ovmf-http", Firmware: OVMF, HTTP: true, Arch: "amd64"},
	{Name: "ovmf-ipxe-rom", Firmware: OVMF, ROM: true, Arch: "amd64"},
	{Name: "ovmf-ia32-pxe", Firmware: OVMF32, Arch: "amd64", GRUB: true},
	{Name: "aavmf-pxe", Firmware: AAVMF, Arch: "arm64"},
	{Name: "aavmf-http", Firmware: AAVMF, HTTP: true, Arch: "arm64"},
	{Name: "ovmf-new-pxe", Firmware: OVMFNew, Arch: "amd64"},
	{Name: "ovmf-new-http", Firmware: OVMFNew, HTTP: true, Arch: "amd64"},
	{Name: "aavmf-new-pxe", Firmware: AAVMFNew, Arch: "arm64"},
}

// SecureClients are machines with Secure Boot on. They are a list of their own:
// nothing boots there that the box hands out unless it is told to hand out shim.
var SecureClients = []Client{
	{Name: "ovmf-secure-pxe", Firmware: OVMFSecure, Arch: "amd64", GRUB: true},
	{Name: "ovmf-secure-http", Firmware: OVMFSecure, HTTP: true, Arch: "amd64", GRUB: true},
	{Name: "ovmf-secure-new-pxe", Firmware: OVMFSecureNew, Arch: "amd64", GRUB: true},
	{Name: "ovmf-secure-new-http", Firmware: OVMFSecureNew, HTTP: true, Arch: "amd64", GRUB: true},
}

// ClientNamed returns the client of that name.
func ClientNamed(name string) (Client, error) {
	for _, c := range slices.Concat(Clients, SecureClients) {
		if c.Name == name {
			return c, nil
		}
	}
	return Client{}, fmt.Errorf("no client kind %q", name)
}

// MACFor derives a hardware address from a row's name, so that a row is always
// the same machine and no two rows are.
func MACFor(row string) net.HardwareAddr {
	h := sha256.Sum256([]byte(row))
	return net.HardwareAddr{0x52, 0x54, 0x00, h[0], h[1], h[2]}
}

// UUIDFor is the SMBIOS UUID of the same machine.
func UUIDFor(row string) string {
	h := sha256.Sum256([]byte("uuid " + row))
	h[6] = h[6]&0x0f | 0x40
	h[8] = h[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", h[0:4], h[4:6], h[6:8], h[8:10], h[10:16])
}

// nicSlot is where every client's network card sits on the root bus.
const nicSlot = 4

// guest is all a QEMU command line depends on.
type guest struct {
	client   Client
	accel    Accel
	mac      net.HardwareAddr
	uuid     string
	memoryMB int
	code     string // firmware code, read-only (UEFI)
	vars     string // private copy of the variable store (UEFI)
	sercon   string // file with SeaBIOS's serial port number
	net      string // socket paths
	serial   string
	qmp      string
	kernel   string // boots this kernel directly, for trying the accelerator
	disk     string // raw disk image to boot from instead of the network
	second   string // raw disk image to boot from after the network
	serialNo string // SMBIOS serial number
}

// args is the QEMU command line, program first.
func (g guest) args() []string {
	program := "qemu-system-x86_64"
	var a []string
	add := func(args ...string) { a = append(a, args...) }
	add("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot")
	machine := ""
	switch g.client.Firmware {
	case SeaBIOS:
		machine = "pc"
	case OVMF, OVMFNew:
		machine = "q35"
	case OVMF32, OVMFSecure, OVMFSecureNew:
		// Secure Boot keeps its keys where only system management mode can
		// write; of the ia32 firmware Debian ships only such a build.
		machine = "q35,smm=on"
		add("-global", "driver=cfi.pflash01,property=secure,value=on")
	case AAVMF, AAVMFNew:
		program, machine = "qemu-system-aarch64", "virt"
	default:
	}
	add("-machine", machine)
	switch {
	case g.accel == KVM:
		add("-accel", "kvm", "-cpu", "host")
	case g.client.Firmware == AAVMF:
		add("-accel", "tcg,thread=multi", "-cpu", "cortex-a72")
	case g.client.Firmware == AAVMFNew:
		// The newer firmware networks only with the processor's random numbers
		// (RNDR), which "max" has; its real pointer authentication is slow to
		// emulate, the stand-in is less so.
		add("-accel", "tcg,thread=multi", "-cpu", "max,pauth-impdef=on")
	default:
		add("-accel", "tcg,thread=multi", "-cpu", "max")
	}
	add("-m", fmt.Sprint(g.memoryMB), "-uuid", g.uuid)
	if g.client.Firmware.uefi() {
		add("-drive", "if=pflash,unit=0,format=raw,readonly=on,file="+g.code)
		add("-drive", "if=pflash,unit=1,format=raw,file="+g.vars)
		// EDK2 since 2024 refuses to network without a random source.
		add("-device", "virtio-rng-pci")
	} else if g.sercon != "" {
		add("-fw_cfg", "name=etc/sercon-port,file="+g.sercon)
	}
	if !g.client.Firmware.arm() {
		add("-device", "VGA")
	}
	if g.net != "" {
		add("-netdev", "stream,id=lan,server=off,addr.type=unix,addr.path="+g.net)
		nic := fmt.Sprintf("virtio-net-pci,netdev=lan,mac=%s,addr=0x%x", g.mac, nicSlot)
		if !g.client.ROM {
			nic += ",romfile="
		} // else QEMU's default: only that one is patched to fit the card's id
		// With a boot index OVMF orders its options by it; a client whose order
		// is in the variable store must go without.
		if g.disk == "" && !g.client.HTTP {
			nic += ",bootindex=0"
		}
		add("-device", nic)
	}
	if g.disk != "" {
		add("-drive", "if=none,id=disk,format=raw,file="+g.disk, "-device", "virtio-blk-pci,drive=disk,bootindex=0")
	}
	if g.second != "" {
		// By USB: the installer's kernel has no other disk driver at hand.
		disk := "usb-storage,drive=second"
		if !g.client.HTTP {
			disk += ",bootindex=1"
		}
		add("-drive", "if=none,id=second,format=raw,file="+g.second, "-device", "qemu-xhci", "-device", disk)
	}
	if g.serialNo != "" {
		add("-smbios", "type=1,manufacturer=Lab,product=Bench,serial="+g.serialNo)
	}
	if g.kernel != "" {
		add("-kernel", g.kernel, "-append", "console=ttyS0,115200 panic=-1")
	}
	add("-chardev", "socket,id=serial,server=off,path="+g.serial, "-serial", "chardev:serial")
	add("-qmp", "unix:"+g.qmp+",server=on,wait=off")
	return append([]string{program}, a...)
}
