package ipxe

import "strings"

// grubConfig is the menu for GRUB's network image, which stands in for iPXE
// where no iPXE build exists (ia32 and 32-bit ARM UEFI). GRUB takes
// net_default_server from the DHCP acknowledgement, which is the site's server
// and not us, so every file is named with our own address. {base} here is the
// box as a GRUB device, see grubText.
//
// With marks it is made for plans, whose own lines are put where the marks are.
func grubConfig(c Config, has func(string) bool, marks bool) string {
	entry := func(title, id, key string, body ...string) string {
		head := "menuentry " + grubQuote(title) + " --id " + id
		if key != "" {
			head += " --hotkey " + key
		}
		return head + " {\n\t" + strings.Join(body, "\n\t") + "\n}"
	}
	run := func(name string) []string {
		return []string{"chainloader " + name, "boot"}
	}
	defaultName, defaultOK := c.Default.grub()
	chainName, chainOK := c.Chain.grub()
	return lines(
		"# bootpuck: menu for GRUB",
		"set box={base}",
		when(!marks, "set timeout=10"),
		"set default=local",
		when(marks, markGRUBHead),
		when(defaultOK, "set default=default"),
		when(!c.Default.IsZero() && !defaultOK, "echo 'bootpuck: the configured script needs iPXE; this firmware has GRUB only.'"),
		when(defaultOK, entry("Configured program", "default", "", run(defaultName)...)),
		strings.Join(grubCPU, "\n"),
		when(marks, markGRUBItems),
		entry("Continue to the local disk", "local", "l", localDisk()...),
		when(has(memtestEFI32), "if [ \"$grub_cpu\" = i386 ]; then\n"+
			entry("Memory test (memtest86+)", "memtest", "m", run("$box"+grubQuote("/"+memtestEFI32))...)+"\nfi"),
		when(has(memtestEFI64), "if [ \"$grub_cpu\" = x86_64 -a \"$lockdown\" != y ]; then\n"+
			entry("Memory test (memtest86+)", "memtest", "m", run("$box"+grubQuote("/"+memtestEFI64))...)+"\nfi"),
		when(chainOK, entry(c.ChainTitle, "chain", "c", run(chainName)...)),
		entry("Network facts", "facts", "n", "echo \"Boot server  $box\"", "echo \"Next server  $net_default_server\"",
			"net_ls_addr", "net_ls_routes", "net_ls_dns", "sleep --interruptible 60"),
		entry("Firmware settings", "firmware", "f", "fwsetup"),
		entry("Restart", "restart", "r", "reboot"),
	)
}

// grubCPU sets what the names of EFI loaders end in.
var grubCPU = []string{
	"set cpu=ia32",
	"if [ \"$grub_cpu\" = x86_64 ]; then set cpu=x64; fi",
	"if [ \"$grub_cpu\" = arm ]; then set cpu=arm; fi",
	"if [ \"$grub_cpu\" = arm64 ]; then set cpu=aa64; fi",
}

// localDisk starts the boot loader of a local disk. GRUB cannot just exit for
// that: it returns success to the firmware, which then shows its setup menu
// instead of trying the next boot option (UEFI 2.10, 3.1.1; seen with OVMF), so
// exit is left for when no loader is found.
func localDisk() []string {
	var names []string
	for _, vendor := range loaderVendors {
		names = append(names, "/EFI/"+vendor+"/shim$cpu.efi", "/EFI/"+vendor+"/grub$cpu.efi")
	}
	names = append([]string{"/EFI/Microsoft/Boot/bootmgfw.efi"}, names...)
	names = append(names, "/EFI/BOOT/BOOT$cpu.EFI")
	return []string{
		"for name in " + strings.Join(names, " ") + "; do",
		"\tfor part in (*,*); do",
		"\t\tif [ -f \"$part$name\" ]; then",
		// The loader looks for its own files on the device that is root.
		"\t\t\tregexp --set=1:root '^.(.*).$' \"$part\"",
		"\t\t\techo \"Starting $part$name\"",
		"\t\t\tif chainloader \"$name\"; then boot; fi",
		"\t\tfi",
		"\tdone",
		"done",
		"echo 'No boot loader found on a local disk; back to the firmware.'",
		"exit",
	}
}

// grubText renders the GRUB menu for a box at base.
func (r *Renderer) grubText(dst []byte, base string) []byte {
	return r.grub.appendTo(dst, grubQuote(grubDevice(base)))
}
