package boot

import "testing"

func TestPreflight(t *testing.T) {
	all := Needs{Memory: 2048, Platforms: []Platform{PlatformUEFI}, CPUs: []string{"x86_64", "arm64"}, IPXE: "1.21", SecureBoot: true}
	for _, c := range []struct {
		name   string
		t      Target
		s      Sighting
		want   Reason
		detail string
	}{
		{"nothing known", Target{Kind: TargetLinux, Needs: all}, Sighting{}, ReasonNone, ""},
		{"nothing needed", Target{Kind: TargetLinux}, Sighting{Memory: 1, Platform: PlatformBIOS, CPU: "i386", IPXE: "0.9"}, ReasonNone, ""},
		{"everything fits", Target{Kind: TargetLinux, Needs: all}, Sighting{Memory: 2048, Platform: PlatformUEFI, CPU: "arm64", IPXE: "1.21.0", SecureBoot: SecureBootOn}, ReasonNone, ""},
		{"too little memory", Target{Kind: TargetLinux, Needs: all}, Sighting{Memory: 2047}, ReasonNeedsMemory, "needs 2048 MiB, this machine has 2047"},
		{"hardly any memory", Target{Kind: TargetLinux, Needs: Needs{Memory: 2}}, Sighting{Memory: 1}, ReasonNeedsMemory, "needs 2 MiB, this machine has 1"},
		{"an iPXE of its own counting", Target{Kind: TargetLinux}, Sighting{IPXE: "devel"}, ReasonNone, ""},
		{"other platform", Target{Kind: TargetLinux, Needs: all}, Sighting{Platform: PlatformBIOS}, ReasonNeedsPlatform, "needs uefi, this machine started by bios"},
		{"either platform", Target{Kind: TargetLinux, Needs: Needs{Platforms: []Platform{PlatformBIOS, PlatformUEFI}}}, Sighting{Platform: PlatformRPI}, ReasonNeedsPlatform, "needs bios or uefi, this machine started by rpi"},
		{"other processor", Target{Kind: TargetLinux, Needs: all}, Sighting{CPU: "arm32"}, ReasonNeedsCPU, "needs x86_64 or arm64, this machine started as arm32"},
		{"a PC's BIOS says nothing", Target{Kind: TargetLinux, Needs: Needs{CPUs: []string{"x86_64"}}}, Sighting{CPU: "i386", Platform: PlatformBIOS}, ReasonNone, ""},
		{"32-bit UEFI does", Target{Kind: TargetLinux, Needs: Needs{CPUs: []string{"x86_64"}}}, Sighting{CPU: "i386", Platform: PlatformUEFI}, ReasonNeedsCPU, "needs x86_64, this machine started as i386"},
		{"a PC is no ARM", Target{Kind: TargetLinux, Needs: Needs{CPUs: []string{"arm64"}}}, Sighting{CPU: "i386", Platform: PlatformBIOS}, ReasonNeedsCPU, "needs arm64, this machine started as i386"},
		{"an ARM with a BIOS is no PC", Target{Kind: TargetLinux, Needs: Needs{CPUs: []string{"x86_64"}}}, Sighting{CPU: "arm64", Platform: PlatformBIOS}, ReasonNeedsCPU, "needs x86_64, this machine started as arm64"},
		{"old iPXE", Target{Kind: TargetLinux, Needs: all}, Sighting{IPXE: "1.20.1+ (g4bd0)"}, ReasonNeedsIPXE, "needs iPXE 1.21, this machine has 1.20.1+ (g4bd0)"},
		{"unsigned kernel", Target{Kind: TargetLinux}, Sighting{SecureBoot: SecureBootOn}, ReasonNeedsSigned, "Secure Boot is on, and the target is not marked as signed"},
		{"Secure Boot off", Target{Kind: TargetLinux}, Sighting{SecureBoot: SecureBootOff}, ReasonNone, ""},
		{"unsigned EFI program", Target{Kind: TargetEFI}, Sighting{SecureBoot: SecureBootOn, Platform: PlatformUEFI}, ReasonNeedsSigned, "Secure Boot is on, and the target is not marked as signed"},
		{"unsigned wimboot", Target{Kind: TargetWimboot}, Sighting{SecureBoot: SecureBootOn}, ReasonNeedsSigned, "Secure Boot is on, and the target is not marked as signed"},
		{"unsigned GRUB", Target{Kind: TargetGRUB}, Sighting{SecureBoot: SecureBootOn}, ReasonNeedsSigned, "Secure Boot is on, and the target is not marked as signed"},
		{"unsigned pxelinux", Target{Kind: TargetPXELinux, Program: "syslinux.efi"}, Sighting{SecureBoot: SecureBootOn}, ReasonNeedsSigned, "Secure Boot is on, and the target is not marked as signed"},
		{"script", Target{Kind: TargetScript}, Sighting{SecureBoot: SecureBootOn}, ReasonNone, ""},
		{"chain", Target{Kind: TargetChain}, Sighting{SecureBoot: SecureBootOn}, ReasonNone, ""},
		{"network disk", Target{Kind: TargetSAN}, Sighting{SecureBoot: SecureBootOn}, ReasonNone, ""},
		{"local disk", Target{Kind: TargetLocal}, Sighting{SecureBoot: SecureBootOn}, ReasonNone, ""},
		{"menu", Target{Kind: TargetMenu}, Sighting{SecureBoot: SecureBootOn}, ReasonNone, ""},
		{"EFI program on a BIOS", Target{Kind: TargetEFI}, Sighting{Platform: PlatformBIOS}, ReasonNeedsPlatform, "needs uefi, this machine started by bios"},
		{"EFI program, the operator knows better", Target{Kind: TargetEFI, Needs: Needs{Platforms: []Platform{PlatformBIOS}}}, Sighting{Platform: PlatformBIOS}, ReasonNone, ""},
		{"pxelinux on UEFI", Target{Kind: TargetPXELinux}, Sighting{Platform: PlatformUEFI}, ReasonNeedsPlatform, "needs bios, this machine started by uefi"},
		{"pxelinux's EFI build on UEFI", Target{Kind: TargetPXELinux, Program: "efi64/syslinux.EFI"}, Sighting{Platform: PlatformUEFI}, ReasonNone, ""},
		{"pxelinux's EFI build on a BIOS", Target{Kind: TargetPXELinux, Program: "efi64/syslinux.efi"}, Sighting{Platform: PlatformBIOS}, ReasonNeedsPlatform, "needs uefi, this machine started by bios"},
		{"GRUB's EFI image on a BIOS", Target{Kind: TargetGRUB, Program: "grubx64.efi"}, Sighting{Platform: PlatformBIOS}, ReasonNeedsPlatform, "needs uefi, this machine started by bios"},
		{"GRUB's other image", Target{Kind: TargetGRUB, Program: "core.0"}, Sighting{Platform: PlatformBIOS}, ReasonNone, ""},
		{"a kernel that ends so", Target{Kind: TargetLinux, Program: "x.efi"}, Sighting{Platform: PlatformBIOS}, ReasonNone, ""},
	} {
		if got, detail := Preflight(c.t, c.s); got != c.want || detail != c.detail {
			t.Errorf("%s: %q, %q", c.name, got, detail)
		}
	}
}

func TestNewerIPXE(t *testing.T) {
	for _, c := range []struct {
		have, want string
		is         bool
	}{
		{"1.21.1", "1.21.1", true},
		{"1.21.1", "1.21", true},
		{"1.21", "1.21.0", true},
		{"1.21", "1.21.1", false},
		{"1.9", "1.10", false},
		{"2.0.0+ (g1234)", "1.21.1", true},
		{"1.0.0+ (3fe68)", "1.20", false},
		{"1.21.1+git-20220113.fbbdc3926-0ubuntu1", "1.21.1", true},
		{"1.21.1.2", "1.21.1.3", false},
		{"1.21.1.4.9", "1.21.1.4", true},
		{"", "1", false},
		{"devel", "0", false},
		{"1.", "1.0", true},
		{"1.x", "1", true},
		{".1", "0", false},
		{"1..9", "1.0.1", false},
		{"999999999999999999999", "999999", true},
		{"0", "", true},
		{"9223372036854775808", "1", true},
		{"1:", "11", false},
		{"1x2", "1.1", false},
	} {
		if got := NewerIPXE(c.have, c.want); got != c.is {
			t.Errorf("NewerIPXE(%q, %q) = %v", c.have, c.want, got)
		}
	}
}
