package doctor

import (
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

func loaderScenarios() []scenario {
	stalled, failed := boot.AttemptStalled, boot.AttemptFailed
	uefi := func() *flow { return taken(boot.FirmwareUEFI, boot.FormDirect, efi, plain()) }
	arch := func(f *flow, a boot.Arch) *flow {
		f.a.Arch, f.arch = a, a
		return f
	}
	unset := site(func(l *boot.LAN) { l.ClockSet = false })
	https := func() *flow { return taken(boot.FirmwareHTTP, boot.FormHTTP, "https://192.0.2.2/x.efi", plain()) }
	return []scenario{
		{"TFTP filtered", boot.ReasonTFTPNotRequested, uefi().end(stalled), site(), boot.ReasonTFTPNotRequested, boot.Likely, "no TFTP request", "port 69"},
		{"TFTP and port 4011 filtered for a ROM", boot.ReasonTFTPNotRequested, taken(boot.FirmwareBIOS, boot.FormDirect, bios, plain()).end(stalled), site(), boot.ReasonTFTPNotRequested, boot.Likely, "no TFTP request", "UDP port 4011"},
		{"answered on 4011, then nothing", boot.ReasonTFTPNotRequested, taken(boot.FirmwareUEFI, boot.FormTwoStep, efi, boot.Foreign{Server: router, Your: client, Next: "192.0.2.1"}).ask(efi).end(stalled), site(), boot.ReasonTFTPNotRequested, boot.Likely, "next server 192.0.2.1", "remove the next server"},
		{"HTTP filtered", boot.ReasonTFTPNotRequested, taken(boot.FirmwareHTTP, boot.FormHTTP, httpLoader, plain()).end(stalled), site(), boot.ReasonTFTPNotRequested, boot.Likely, "by HTTP", "port 80"},
		{"the box's address is used twice", boot.ReasonTFTPNotRequested, uefi().end(stalled), site(conflicting), boot.ReasonTFTPNotRequested, boot.Likely, "52:54:00:00:00:ff", ""},
		{"it was requested", boot.ReasonTFTPNotRequested, uefi().tftp(boot.StageLoader, efi, failing(boot.ReasonClientSilent, 5000)).end(stalled), site(), "", "", "", ""},
		{"iPXE fetches by HTTP", boot.ReasonTFTPNotRequested, newFlow(boot.FirmwareIPXE).offer(boot.FormScript, script).wait(.2).lease().end(stalled), site(), "", "", "", ""},

		{"the first large block never arrives", boot.ReasonTFTPLargeBlocks, uefi().probe(efi).tftp(boot.StageLoader, efi, failing(boot.ReasonClientSilent, 0), lost(5)).end(stalled), site(), boot.ReasonTFTPLargeBlocks, boot.Likely, "blocks of 1468 octets", "tftp-blocksize"},
		{"the client gives up by itself", boot.ReasonTFTPLargeBlocks, uefi().tftp(boot.StageLoader, efi, failing(boot.ReasonClientAborted, 0), lost(3)).end(stalled), site(), boot.ReasonTFTPLargeBlocks, boot.Likely, "", ""},
		{"small blocks came through", boot.ReasonTFTPLargeBlocks, uefi().tftp(boot.StageLoader, efi, failing(boot.ReasonClientSilent, 200_000), block(512)).tftp(boot.StageLoader, efi, failing(boot.ReasonClientSilent, 0), lost(5)).end(stalled), site(), boot.ReasonTFTPLargeBlocks, boot.Certain, "Blocks of 512", ""},
		{"the terms were refused at once", boot.ReasonTFTPLargeBlocks, uefi().tftp(boot.StageLoader, efi, failing(boot.ReasonClientAborted, 0)).end(failed), site(), "", "", "", ""},
		{"small blocks stand still too", boot.ReasonTFTPLargeBlocks, uefi().tftp(boot.StageLoader, efi, failing(boot.ReasonClientSilent, 0), block(512), lost(5)).end(stalled), site(), "", "", "", ""},
		{"smaller blocks rescued it", boot.ReasonTFTPLargeBlocks, uefi().tftp(boot.StageLoader, efi, failing(boot.ReasonClientSilent, 0), lost(5)).tftp(boot.StageLoader, efi, block(1024)).end(stalled), site(), "", "", "", ""},

		{"broken in the middle", boot.ReasonTFTPBroken, uefi().tftp(boot.StageLoader, efi, failing(boot.ReasonClientSilent, 300_000), lost(5)).end(stalled), site(), boot.ReasonTFTPBroken, boot.Certain, "300 kB of 1000 kB", "cable"},
		{"answers do not reach it", boot.ReasonTFTPBroken, uefi().tftp(boot.StageLoader, efi, failing(boot.ReasonClientSilent, 0), deaf).end(stalled), site(), boot.ReasonTFTPBroken, boot.Likely, "nothing that the box sent", "another UDP port"},
		{"refused, from a network that is not allowed", boot.ReasonTFTPBroken, uefi().tftp(boot.StageLoader, efi, failing(boot.ReasonSource, 0), deaf).end(failed), site(), boot.ReasonTFTPBroken, boot.Certain, "192.0.2.50", "relays.clients"},
		{"only its beginning is known", boot.ReasonTFTPBroken, uefi().add(boot.Event{Kind: boot.KindProgress, File: efi, Bytes: 40_000, Total: loaderSize}, boot.StageLoader).end(stalled), site(), boot.ReasonTFTPBroken, boot.Likely, "40 kB of 1000 kB", ""},
		{"its size was asked and no more", boot.ReasonTFTPBroken, uefi().probe(efi).end(stalled), site(), boot.ReasonTFTPBroken, boot.Possible, "size", ""},
		{"broken, then fetched", boot.ReasonTFTPBroken, uefi().tftp(boot.StageLoader, efi, failing(boot.ReasonClientSilent, 300_000)).tftp(boot.StageLoader, efi).end(stalled), site(), "", "", "", ""},

		{"refused by the firmware", boot.ReasonNotStarted, fetchedEFI().wait(2).offer(boot.FormDirect, efi).end(stalled), site(), boot.ReasonNotStarted, boot.Likely, "Secure Boot", "shim"},
		{"UEFI falls silent", boot.ReasonNotStarted, fetchedEFI().end(stalled), site(), boot.ReasonNotStarted, boot.Likely, "nothing was heard", "x86_64/ipxe.efi (own drivers) instead"},
		{"BIOS falls silent", boot.ReasonNotStarted, taken(boot.FirmwareBIOS, boot.FormDirect, bios).tftp(boot.StageLoader, bios).end(stalled), site(), boot.ReasonNotStarted, boot.Likely, "hangs", "ipxe.pxe"},
		{"refused by PXE, then by HTTP Boot, which follows nothing", boot.ReasonNotStarted, fetchedEFI().wait(2).as(boot.FirmwareHTTP).given().offer(boot.FormHTTP, httpLoader).wait(4).given().offer(boot.FormHTTP, httpLoader).end(stalled), site(), boot.ReasonNotStarted, boot.Likely, "", ""},
		{"the box said so already", boot.ReasonNotStarted, fetchedEFI().wait(46).event(boot.KindWarning, boot.ReasonNotStarted, efi, "").end(stalled), site(), boot.ReasonNotStarted, boot.Likely, "", ""},
		{"it runs", boot.ReasonNotStarted, fetchedEFI().wait(2).as(boot.FirmwareIPXE).offer(boot.FormScript, script).end(stalled), site(), "", "", "", ""},
		{"it asked for its script", boot.ReasonNotStarted, fetchedEFI().script("x86_64/autoexec.ipxe", "", "").end(stalled), site(), "", "", "", ""},

		{"a program for another processor", boot.ReasonWrongArch, arch(taken(boot.FirmwareUEFI, boot.FormDirect, "arm64/snponly.efi", plain()).tftp(boot.StageLoader, "arm64/snponly.efi"), boot.ArchUEFIx64).end(stalled), site(), boot.ReasonWrongArch, boot.Certain, "arm64", "rule"},
		{"a BIOS program for UEFI", boot.ReasonWrongArch, taken(boot.FirmwareUEFI, boot.FormDirect, bios, plain()).tftp(boot.StageLoader, bios).end(stalled), site(), boot.ReasonWrongArch, boot.Certain, "", ""},
		{"an EFI program for BIOS", boot.ReasonWrongArch, taken(boot.FirmwareBIOS, boot.FormDirect, efi).tftp(boot.StageLoader, efi).end(stalled), site(), boot.ReasonWrongArch, boot.Certain, "", ""},
		{"a target for another processor", boot.ReasonWrongArch, rom().script("/s", boot.ReasonNeedsCPU, "needs arm64").end(boot.AttemptLocal), site(), boot.ReasonWrongArch, boot.Certain, "needs arm64", ""},
		{"iPXE could not start it", boot.ReasonWrongArch, linux(rom()).script("/left", boot.ReasonFetchBroken, "a step failed on the machine: "+stepStart).end(failed), site(), boot.ReasonWrongArch, boot.Likely, "", "ipxe.org/err"},
		{"the right program", boot.ReasonWrongArch, fetchedEFI().end(stalled), site(), "", "", "", ""},
		{"32-bit iPXE on a BIOS", boot.ReasonWrongArch, taken(boot.FirmwareBIOS, boot.FormDirect, "i386/ipxe.pxe").tftp(boot.StageLoader, "i386/ipxe.pxe").end(stalled), site(), "", "", "", ""},

		{"HTTP Boot without .efi", boot.ReasonLoaderExtension, taken(boot.FirmwareHTTP, boot.FormHTTP, "http://192.0.2.2/files/loader", plain()).http(boot.StageLoader, "/files/loader", 900_000).end(stalled), site(), boot.ReasonLoaderExtension, boot.Likely, "NBP file size", ".efi"},
		{"HTTP Boot with .efi", boot.ReasonLoaderExtension, taken(boot.FirmwareHTTP, boot.FormHTTP, httpLoader, plain()).http(boot.StageLoader, "/x86_64/snponly.efi?x=1", 900_000).end(stalled), site(), "", "", "", ""},
		{"a TFTP name without .efi", boot.ReasonLoaderExtension, taken(boot.FirmwareUEFI, boot.FormDirect, "loader", plain()).tftp(boot.StageLoader, "loader").end(stalled), site(), "", "", "", ""},

		{"iPXE in the ROM never asks", boot.ReasonScriptNotFetched, newFlow(boot.FirmwareIPXE).offer(boot.FormScript, script).wait(.2).lease().end(stalled), site(), boot.ReasonScriptNotFetched, boot.Likely, script, "port 80"},
		{"the loaded iPXE never asks", boot.ReasonScriptNotFetched, chained(fetchedEFI()).end(stalled), site(), boot.ReasonScriptNotFetched, boot.Likely, "", ""},
		{"its first script leads nowhere", boot.ReasonScriptNotFetched, fetchedEFI().script("x86_64/autoexec.ipxe", "", "").end(stalled), site(), boot.ReasonScriptNotFetched, boot.Likely, "", ""},
		{"the request was refused", boot.ReasonScriptNotFetched, rom().script("/s", boot.ReasonParameter, "mac").end(failed), site(), boot.ReasonScriptNotFetched, boot.Certain, "malformed", ""},
		{"GRUB never asks for its configuration", boot.ReasonScriptNotFetched, fetchedEFI().tftp(boot.StageLoader, "grubx64.efi").end(stalled), site(), boot.ReasonScriptNotFetched, boot.Likely, "grubx64.efi", "next server"},
		{"the script was fetched", boot.ReasonScriptNotFetched, booting().end(stalled), site(), "", "", "", ""},
		{"iPXE has no address", boot.ReasonScriptNotFetched, asking(boot.FirmwareIPXE).end(stalled), site(alone), "", "", "", ""},

		{"https with a clock at 1970", boot.ReasonClockSkew, https().end(stalled), unset, boot.ReasonClockSkew, boot.Likely, "not been set", "time server"},
		{"http with a clock at 1970", boot.ReasonClockSkew, taken(boot.FirmwareHTTP, boot.FormHTTP, httpLoader, plain()).end(stalled), unset, "", "", "", ""},
		{"https with a clock that is set", boot.ReasonClockSkew, https().end(stalled), site(), "", "", "", ""},
		{"https that was fetched", boot.ReasonClockSkew, https().http(boot.StageLoader, "/x.efi", 900_000).end(stalled), unset, "", "", "", ""},
	}
}

func conflicting(l *boot.LAN) {
	l.Conflicts = []boot.LANConflict{{Interface: "eth0", Addr: box, MAC: "52:54:00:00:00:ff", First: began.Add(-time.Hour), Last: began}}
}

func targetScenarios() []scenario {
	stalled, failed := boot.AttemptStalled, boot.AttemptFailed
	big := int64(700 << 20)
	fetching := func() *flow { return booting().http(boot.StageKernel, "/trees/d/linux", 8_000_000) }
	return []scenario{
		{"nothing of the script was fetched", boot.ReasonKernelNotFetched, booting().end(stalled), site(), boot.ReasonKernelNotFetched, boot.Likely, "debian", "another server"},
		{"a step failed before", boot.ReasonKernelNotFetched, booting().script("/left", boot.ReasonFetchBroken, "a step failed on the machine: fetching http://192.0.2.7/k").end(failed), site(), boot.ReasonKernelNotFetched, boot.Certain, "192.0.2.7", ""},
		{"refused by Secure Boot", boot.ReasonKernelNotFetched, rom().script("/s", boot.ReasonNeedsSigned, "").end(boot.AttemptLocal), site(), boot.ReasonKernelNotFetched, boot.Certain, "not signed", "shim"},
		{"the menu was left alone", boot.ReasonKernelNotFetched, rom().script("/s", "", "").decided(boot.ActionMenu, "").end(stalled), site(), boot.ReasonKernelNotFetched, boot.Likely, "nothing was chosen", ""},
		{"the kernel was fetched", boot.ReasonKernelNotFetched, fetching().end(stalled), site(), "", "", "", ""},
		{"the assignment is over", boot.ReasonKernelNotFetched, rom().script("/s", boot.ReasonAssignUsedUp, "").end(boot.AttemptLocal), site(), "", "", "", ""},

		{"told too little memory", boot.ReasonNeedsMemory, rom().script("/s", boot.ReasonNeedsMemory, "needs 4096 MiB, this machine has 512").end(boot.AttemptLocal), site(), boot.ReasonNeedsMemory, boot.Certain, "needs 4096 MiB", ""},
		{"stops at the same place twice", boot.ReasonNeedsMemory, fetching().http(boot.StageFiles, "/i.iso", big, failing(boot.ReasonInterrupted, 300<<20)).http(boot.StageFiles, "/i.iso", big, failing(boot.ReasonInterrupted, 301<<20)).end(failed), site(), boot.ReasonNeedsMemory, boot.Likely, "same place", "more memory"},
		{"a small file breaks off", boot.ReasonNeedsMemory, fetching().http(boot.StageFiles, "/initrd", 40_000_000, failing(boot.ReasonInterrupted, 1_000_000)).end(failed), site(), "", "", "", ""},

		{"a file of the target is missing", boot.ReasonFileMissing, booting().http(boot.StageKernel, "/trees/d/linux", 0, failing(boot.ReasonNotFound, 0)).end(failed), site(), boot.ReasonFileMissing, boot.Certain, "/trees/d/linux", ""},
		{"our boot program is missing", boot.ReasonFileMissing, taken(boot.FirmwareUEFI, boot.FormDirect, efi).tftp(boot.StageLoader, efi, failing(boot.ReasonNotFound, 0)).end(failed), site(), boot.ReasonFileMissing, boot.Certain, efi, ""},
		{"a Raspberry Pi finds nothing", boot.ReasonFileMissing, newFlow(boot.FirmwareRPi).offer(boot.FormRPi, "").lease().tftp(boot.StageLoader, "1234/start4.elf", failing(boot.ReasonNotFound, 0)).tftp(boot.StageLoader, "start4.elf", failing(boot.ReasonNotFound, 0)).end(failed), site(), boot.ReasonFileMissing, boot.Likely, "2 files", "start4.elf"},
		{"pxelinux finds no configuration", boot.ReasonFileMissing, taken(boot.FirmwareBIOS, boot.FormDirect, "pxelinux.0").tftp(boot.StageLoader, "pxelinux.0").script("pxelinux.cfg/01-52", boot.ReasonNotFound, "").script("pxelinux.cfg/default", boot.ReasonNotFound, "").end(failed), site(), boot.ReasonFileMissing, boot.Likely, "configuration", "profile"},
		{"missing, and not needed", boot.ReasonFileMissing, fetchedEFI().tftp(boot.StageLoader, "revocations.efi", failing(boot.ReasonNotFound, 0)).tftp(boot.StageLoader, "grubx64.efi").end(stalled), site(), "", "", "", ""},

		{"broken off", boot.ReasonFetchBroken, fetching().http(boot.StageFiles, "/trees/d/initrd", 40_000_000, failing(boot.ReasonInterrupted, 9_000_000)).end(failed), site(), boot.ReasonFetchBroken, boot.Certain, "9000 kB of 40 MB", "cable"},
		{"last seen half way", boot.ReasonFetchBroken, fetching().add(boot.Event{Kind: boot.KindProgress, File: "/trees/d/initrd", Bytes: 20_000_000, Total: 40_000_000}, boot.StageFiles).end(stalled), site(), boot.ReasonFetchBroken, boot.Likely, "20 MB of 40 MB", ""},
		{"a step failed between", boot.ReasonFetchBroken, fetching().script("/left", boot.ReasonFetchBroken, "a step failed on the machine: fetching http://192.0.2.7/initrd").end(failed), site(), boot.ReasonFetchBroken, boot.Certain, "192.0.2.7", ""},
		{"HTTP Boot's program breaks off", boot.ReasonFetchBroken, taken(boot.FirmwareHTTP, boot.FormHTTP, httpLoader, plain()).http(boot.StageLoader, "/x86_64/snponly.efi", loaderSize, failing(boot.ReasonInterrupted, 1000)).end(failed), site(), boot.ReasonFetchBroken, boot.Certain, "boot program", ""},
		{"the answer file has an error", boot.ReasonFetchBroken, linux(rom()).script("/a/…/preseed.cfg", boot.ReasonTemplate, "").end(failed), site(), boot.ReasonFetchBroken, boot.Certain, "preseed.cfg", "template"},
		{"broken off, then fetched", boot.ReasonFetchBroken, fetching().http(boot.StageFiles, "/trees/d/initrd", 40_000_000, failing(boot.ReasonInterrupted, 9_000_000)).http(boot.StageFiles, "/trees/d/initrd", 40_000_000).end(stalled), site(), "", "", "", ""},

		{"nothing after the files", boot.ReasonInstallerSilent, linux(rom()).end(stalled), site(), boot.ReasonInstallerSilent, boot.Likely, "2 files, 48 MB", "driver"},
		{"it stops reporting", boot.ReasonInstallerSilent, linux(rom()).wait(60).says(boot.CallbackProgress, "40 %").end(stalled), site(), boot.ReasonInstallerSilent, boot.Likely, "40 %", "screen"},
		{"it reported that it failed", boot.ReasonInstallerSilent, linux(rom()).says(boot.CallbackFailed, "no disk").end(failed), site(), "", "", "", ""},
		{"files not fetched whole", boot.ReasonInstallerSilent, fetching().http(boot.StageFiles, "/initrd", 40_000_000, failing(boot.ReasonInterrupted, 9)).end(failed), site(), "", "", "", ""},

		{"the installer says so", boot.ReasonInstallerFailed, linux(rom()).says(boot.CallbackStarted, "started").wait(60).says(boot.CallbackFailed, "no disk found").end(failed), site(), boot.ReasonInstallerFailed, boot.Certain, "no disk found", "log"},
		{"the installer is done", boot.ReasonInstallerFailed, linux(rom()).says(boot.CallbackDone, "done").end(boot.AttemptBooted), site(), "", "", "", ""},

		{"iPXE fetches it again and again", boot.ReasonBootLoop, chained(chained(chained(chained(newFlow(boot.FirmwareIPXE).offer(boot.FormScript, "tftp://192.0.2.2/undionly.kpxe").lease().tftp(boot.StageLoader, bios)).offer(boot.FormScript, "tftp://192.0.2.2/undionly.kpxe").lease().tftp(boot.StageLoader, bios)).offer(boot.FormScript, "tftp://192.0.2.2/undionly.kpxe").lease().tftp(boot.StageLoader, bios)).offer(boot.FormScript, "tftp://192.0.2.2/undionly.kpxe").lease().tftp(boot.StageLoader, bios)).event(boot.KindWarning, boot.ReasonLoop, "", "").script("/b", "", "").end(stalled), site(), boot.ReasonBootLoop, boot.Certain, "4 times", ""},
		{"a ROM's iPXE fetches its first script again and again", boot.ReasonBootLoop, rom().wait(5).script("/b", "", "").wait(5).script("/b", "", "").wait(5).script("/b", "", "").event(boot.KindWarning, boot.ReasonLoop, "", "").end(stalled), site(), boot.ReasonBootLoop, boot.Certain, "4 times", ""},
		{"offered again and again, fetched once", boot.ReasonBootLoop, asking(boot.FirmwareUEFI).event(boot.KindWarning, boot.ReasonLoop, "", "").wait(9).given().offer(boot.FormTwoStep, efi).wait(4).lease().ask(efi).tftp(boot.StageLoader, efi).script("/b", "", "").end(stalled), site(), "", "", "", ""},
		{"offered again and again, never fetched", boot.ReasonBootLoop, asking(boot.FirmwareUEFI).event(boot.KindWarning, boot.ReasonLoop, "", "").end(stalled), site(), "", "", "", ""},
		{"stopped by the loop breaker", boot.ReasonBootLoop, rom().script("/s", boot.ReasonLoopBreaker, "").end(boot.AttemptLocal), site(), boot.ReasonBootLoop, boot.Certain, "", "call back"},
		{"tried twice", boot.ReasonBootLoop, fetchedEFI().wait(3).offer(boot.FormDirect, efi).tftp(boot.StageLoader, efi).end(stalled), site(), "", "", "", ""},

		{"nothing fits", boot.ReasonUnexplained, linux(rom()).system().end(stalled), site(), boot.ReasonUnexplained, boot.Possible, "the files of the target", "screen"},
	}
}
