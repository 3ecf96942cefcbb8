package pxesim

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// iPXE feature codes inside option 175 (iPXE src/include/ipxe/features.h).
const (
	ipxePXEExt   = 0x10
	ipxeISCSI    = 0x11
	ipxeHTTP     = 0x13
	ipxeTFTP     = 0x15
	ipxeDNS      = 0x17
	ipxeBzImage  = 0x18
	ipxeMulti    = 0x19
	ipxePXE      = 0x21
	ipxeELF      = 0x22
	ipxeEFI      = 0x24
	ipxeMenu     = 0x27
	ipxePriority = 1
	ipxeNoProxy  = 176
	ipxeBusID    = 177
	ipxeVersion  = 235
)

func seconds(s ...float64) []time.Duration {
	out := make([]time.Duration, len(s))
	for i, v := range s {
		out[i] = time.Duration(v * float64(time.Second))
	}
	return out
}

// The waits below are copied into every profile, so that a caller may change its own.
var (
	// pxeWaits: PXE 2.1 section 2.2.1; EDK2 uses the same numbers.
	pxeWaits = seconds(4, 8, 16, 32)
	// binlWaits: 4 tries, 1 to 4 s apart (EDK2 PXEBC_BOOT_REQUEST_RETRIES; PXE 2.1).
	binlWaits = seconds(1, 2, 3, 4)
	// ipxeWaits: from 1 s, doubled while at most 10 s (iPXE config/dhcp.h).
	ipxeWaits = seconds(1, 2, 4, 8)
	// ipxeQuick: from a quarter of a second, doubled while at most 10 s.
	ipxeQuick = seconds(0.25, 0.5, 1, 2, 4, 8)
)

var (
	biosParams = []byte{1, 2, 3, 5, 6, 11, 12, 13, 15, 16, 17, 18, 43, 54, 60, 67, 128, 129, 130, 131, 132, 133, 134, 135}
	uefiParams = []byte{1, 2, 3, 4, 5, 6, 12, 13, 15, 17, 18, 22, 23, 28, 40, 41, 42, 43, 50, 51, 54, 58, 59, 60, 66, 67, 97, 128, 129, 130, 131, 132, 133, 134, 135}
	httpParams = []byte{1, 2, 3, 4, 5, 6, 12, 13, 15, 17, 18, 22, 23, 28, 40, 41, 42, 43, 50, 51, 54, 58, 59, 60, 66, 67, 97}
	ipxeParams = []byte{1, 3, 6, 7, 12, 15, 17, 43, 60, 66, 67, 128, 129, 130, 131, 132, 133, 134, 135, 175, 203}
	piParams   = []byte{1, 3, 43, 60, 66, 67}
)

func biosProfile() Profile {
	return Profile{
		Name: "bios", Title: "BIOS option ROM, classic Intel", Family: FamilyBIOS,
		UNDI: [3]byte{1, 2, 1}, ParamList: slices.Clone(biosParams),
		DiscoverWaits: slices.Clone(pxeWaits), RequestWaits: slices.Clone(binlWaits), BINLWaits: slices.Clone(binlWaits),
		BINLSource: portClient, TFTP: tftpBIOS(), Next: "ipxe-chain-bios",
	}
}

func ipxeProfile(arch uint16) Profile {
	p := Profile{
		Family: FamilyIPXE, Arch: arch,
		ParamList: slices.Clone(ipxeParams), UserClass: []byte("iPXE"),
		DiscoverWaits: slices.Clone(ipxeWaits), RequestWaits: slices.Clone(ipxeQuick), BINLWaits: slices.Clone(ipxeQuick),
		BINLSource: portClient, ProxyWait: 2 * time.Second,
		TFTP: tftpIPXE(), Version: []byte{2, 0, 0}, UserAgent: "iPXE/2.0.0",
	}
	if arch == 0 {
		p.UNDI = [3]byte{1, 2, 1}
		p.Features = []byte{ipxePXEExt, ipxeISCSI, ipxeHTTP, ipxeTFTP, ipxeDNS, ipxeBzImage, ipxeMulti, ipxePXE, ipxeELF, ipxeMenu}
	} else {
		p.UNDI = [3]byte{1, 3, 10}
		p.Features = []byte{ipxePXEExt, ipxeISCSI, ipxeHTTP, ipxeTFTP, ipxeDNS, ipxeEFI, ipxeMenu}
	}
	return p
}

func uefiProfile(name, title string, arch uint16) Profile {
	return Profile{
		Name: name, Title: title, Family: FamilyUEFI, Arch: arch,
		UNDI: [3]byte{1, 3, 0}, Broadcast: true, ParamList: slices.Clone(uefiParams),
		DiscoverWaits: slices.Clone(pxeWaits), RequestWaits: slices.Clone(pxeWaits),
		BINLWaits: slices.Clone(binlWaits), BINLWholeWait: true, BINLSource: portBINL,
		Quirks: Quirks{Huge57: true}, TFTP: tftpEDK2(true), Next: nextEFI(arch),
	}
}

func httpProfile(name, title string, arch uint16) Profile {
	return Profile{
		Name: name, Title: title, Family: FamilyHTTP, Arch: arch,
		UNDI: [3]byte{1, 3, 0}, Broadcast: true, ParamList: slices.Clone(httpParams),
		DiscoverWaits: slices.Clone(pxeWaits), RequestWaits: slices.Clone(pxeWaits),
		UserAgent: "UefiHttpBoot/1.0", Next: nextEFI(arch),
	}
}

// nextEFI is the chainloaded iPXE for an EFI architecture. HTTP boot numbers name the same CPUs.
func nextEFI(arch uint16) string {
	switch arch {
	case 6, 15:
		return "ipxe-chain-efi-ia32"
	case 10, 18:
		return "ipxe-chain-efi-arm32"
	case 11, 19:
		return "ipxe-chain-efi-arm64"
	case 27, 28:
		return "ipxe-chain-efi-riscv64"
	case 39, 40:
		return "ipxe-chain-efi-loong64"
	}
	return "ipxe-chain-efi-x64"
}

func with(p Profile, change func(*Profile)) Profile {
	change(&p)
	return p
}

func named(p Profile, name, title string) Profile {
	p.Name, p.Title = name, title
	return p
}

// Profiles returns all built-in profiles in a fixed order. Each call returns fresh copies.
func Profiles() []Profile {
	all := []Profile{
		biosProfile(),
		with(biosProfile(), func(p *Profile) {
			p.Name, p.Title = "bios-old", "BIOS option ROM that asks port 4011 even after a direct offer (Intel UNDI PXE-2.0 build 071)"
			p.Quirks.AlwaysAsk4011, p.Quirks.HeaderFileOnly = true, true
		}),
		with(biosProfile(), func(p *Profile) {
			p.Name, p.Title = "bios-chop67", "BIOS option ROM that loses the last byte of option 67 (Soekris)"
			p.Quirks.Chop67 = true
		}),
		with(biosProfile(), func(p *Profile) {
			p.Name, p.Title = "bios-noguid", "BIOS option ROM without option 97 (Intel ROM on Supermicro)"
			p.OmitGUID = true
		}),
		with(biosProfile(), func(p *Profile) {
			p.Name, p.Title = "bios-512", "BIOS option ROM whose TFTP knows no options: blocks of 512"
			p.TFTP = TFTPHabits{Waits: seconds(4, 4, 4, 4, 4)}
		}),
		with(biosProfile(), func(p *Profile) {
			p.Name, p.Title = "bios-small", "BIOS option ROM that asks for blocks of 1456 and can receive 512"
			p.TFTP.LosesAbove = 512
		}),
		named(ipxeProfile(0), "ipxe-bios", "iPXE in a BIOS ROM (QEMU, NIC flash)"),
		with(ipxeProfile(0), func(p *Profile) {
			p.Name, p.Title = "ipxe-nohttp", "cut-down iPXE ROM without HTTP"
			p.Features = []byte{ipxePXEExt, ipxeTFTP, ipxeDNS, ipxePXE, ipxeELF}
			p.Next = "ipxe-chain-bios"
		}),
		with(ipxeProfile(0), func(p *Profile) {
			p.Name, p.Title = "gpxe", "gPXE ROM without HTTP"
			p.UserClass, p.Version, p.UserAgent = []byte("gPXE"), []byte{1, 0, 1}, "gPXE/1.0.1"
			p.Features = []byte{ipxePXEExt, ipxeTFTP, ipxeDNS, ipxePXE, ipxeELF}
			p.Next = "ipxe-chain-bios"
		}),
		named(ipxeProfile(0), "ipxe-chain-bios", "iPXE chainloaded by a BIOS ROM (undionly.kpxe)"),
	}
	efi := []struct {
		arch uint16
		cpu  string
	}{{6, "ia32"}, {7, "x64"}, {10, "arm32"}, {11, "arm64"}, {27, "riscv64"}, {39, "loong64"}}
	for _, e := range efi {
		all = append(all,
			uefiProfile("uefi-"+e.cpu, "UEFI PXE, current EDK2, "+e.cpu, e.arch),
			with(ipxeProfile(e.arch), func(p *Profile) {
				p.Name, p.Title = "ipxe-efi-"+e.cpu, "iPXE in an EFI ROM, "+e.cpu
			}),
			with(ipxeProfile(e.arch), func(p *Profile) {
				p.Name, p.Title = "ipxe-chain-efi-"+e.cpu, "iPXE chainloaded by UEFI firmware, "+e.cpu
				p.Autoexec = true
			}))
	}
	all = append(all,
		uefiProfile("uefi-arch9", "UEFI PXE, x64 firmware that says 9 (seen on Proxmox)", 9),
		with(uefiProfile("uefi-2017", "UEFI PXE, EDK2 of 2014 to 2017: throws direct offers away", 7), func(p *Profile) {
			p.Quirks.DropDirectOffers = true
			p.TFTP = tftpEDK2(false)
		}),
		with(uefiProfile("uefi-2013", "UEFI PXE, EDK2 of 2010 to 2013: throws direct offers away, no bit 3, unterminated 67", 7), func(p *Profile) {
			p.Quirks.DropDirectOffers, p.Quirks.IgnoreBit3, p.Quirks.Unterminated67 = true, true, true
			p.TFTP = tftpEDK2(false)
		}),
		with(uefiProfile("uefi-2010", "UEFI PXE, EDK2 before November 2010: no bit 3, unterminated 67", 7), func(p *Profile) {
			p.Quirks.IgnoreBit3, p.Quirks.Unterminated67 = true, true
			p.TFTP = tftpEDK2(false)
		}),
		with(uefiProfile("uefi-slow", "UEFI PXE that loses offers in the first tenth of a second", 7), func(p *Profile) {
			p.Quirks.MissesEarly = 100 * time.Millisecond
		}),
		with(uefiProfile("uefi-large-drop", "UEFI PXE behind a path that drops packets of more than 1228 octets (tunnel)", 7), func(p *Profile) {
			p.TFTP.LosesAbove = 1200
		}),
	)
	for _, h := range []struct {
		arch uint16
		cpu  string
	}{{15, "ia32"}, {16, "x64"}, {17, "ebc"}, {18, "arm32"}, {19, "arm64"}, {28, "riscv64"}, {40, "loong64"}} {
		all = append(all, httpProfile("http-"+h.cpu, "UEFI HTTP Boot, "+h.cpu, h.arch))
	}
	all = append(all,
		Profile{
			Name: "pi3", Title: "Raspberry Pi 3 boot ROM", Family: FamilyPi3, UNDI: [3]byte{1, 2, 1},
			// The ROM asks for neither netmask nor router.
			ParamList: []byte{43, 60, 66, 67}, GUID: append([]byte{0}, slices.Repeat([]byte{0x44}, 16)...),
			FixedXID: 0x26f30339, DiscoverWaits: seconds(5, 5, 5, 5, 5), TFTP: tftpPi3(),
		},
		Profile{
			Name: "pi4", Title: "Raspberry Pi 4 EEPROM boot loader", Family: FamilyPi4, UNDI: [3]byte{1, 2, 1},
			ParamList: slices.Clone(piParams),
			GUID:      append([]byte{0}, "RPi4\x11\x31\xc0\x00\x0a\x0b\x0c\x00\x12\x34\xab\xcd"...),
			// 4 s per try within 45 s (TFTP_FILE_TIMEOUT and DHCP timers of the EEPROM).
			DiscoverWaits: seconds(4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4), RequestWaits: seconds(4, 4, 4), TFTP: tftpPi4(),
		},
	)
	return all
}

// Lookup finds a built-in profile by name. The error lists the names there are.
func Lookup(name string) (Profile, error) {
	var names []string
	for _, p := range Profiles() {
		if p.Name == name {
			return p, nil
		}
		names = append(names, p.Name)
	}
	return Profile{}, fmt.Errorf("no profile %q; there are %s", name, strings.Join(names, ", "))
}
