package ipxe

import "strings"

// The scripts are written for iPXE 1.0.0 of 2019 (the ROM that QEMU and many
// distributions carry) and later. Habits that hold everywhere:
//
//   - A failing line ends a script, so every line that may fail ends in
//     "|| goto X", or in a bare "||", which iPXE takes for success.
//   - Values are expanded by iPXE after it has split a line into words, so a
//     setting with spaces stays one argument.
//   - :uristring reads the raw value: right for strings, but "${ip:uristring}"
//     is the four octets of the address. Addresses, UUIDs and numbers are
//     therefore written plainly: their own form needs no escaping.
//   - "exit 1" on UEFI: a boot option that returns success makes the firmware
//     show its setup menu instead of trying the next option (UEFI 2.10, 3.1.1).
//     On a BIOS, plain "exit" goes on to the next boot device.

// leave ends a script towards the next boot device.
const leave = "iseq ${platform} efi && exit 1 || exit"

// NameLeft is the text that a script fetches just before it leaves for the next
// boot device: otherwise the box could not tell a machine that boots from its
// disk from one that hangs. What happens to the request changes nothing.
const NameLeft = "left"

// Ways to leave, the values of NameLeft's parameter "how".
const (
	leftMenu      = "menu"      // the menu's entry for the local disk, or its time-out
	leftPlan      = "plan"      // decided by the box
	leftCancelled = "cancelled" // somebody at the machine stopped it
	leftLate      = "late"      // nobody decided
	leftEnded     = "ended"     // the program that was started has come back
	leftFailed    = "failed"    // a step failed; "step" says which
)

// LeftText is what a value of "how" means; ok is false for none of ours.
func LeftText(how string) (text string, ok bool) {
	text, ok = map[string]string{
		leftMenu:      "continuing to the local disk: chosen in the menu, or its time-out",
		leftPlan:      "continuing to the local disk, as decided",
		leftCancelled: "cancelled at the machine, continuing to the local disk",
		leftLate:      "nobody decided in time, continuing to the local disk",
		leftEnded:     "the program has ended, continuing to the local disk",
		leftFailed:    "a step failed on the machine, continuing to the local disk",
	}[how]
	return text, ok
}

// LeftFailed says whether a value of "how" stands for a step that failed.
func LeftFailed(how string) bool { return how == leftFailed }

// left are the lines that tell the box; they take 2 s at most when it does not
// answer.
func left(base, how string) string {
	query := "?how=" + how
	if how == leftFailed {
		query += "&step=${step:uristring}"
	}
	return lines(
		"imgfetch --name "+NameLeft+" --timeout 2000 "+base+"/"+NameLeft+query+" ||",
		"imgfree "+NameLeft+" ||",
	)
}

// autoexecScript is for an iPXE that has just been started: by UEFI firmware
// from our TFTP or HTTP server, or from a medium. Firmware hands over its DHCP
// results, so the address is usually known but the interface is closed:
// opening it is enough, and a DHCP round, which costs seconds, is left for
// when there is no address or the box cannot be reached.
func autoexecScript(medium bool) string {
	fetch := "chain --autofree --replace --timeout 10000 {base}/b ||"
	who := "{base}"
	if medium {
		fetch = lines(
			"isset ${proxydhcp/filename} && chain --autofree --replace --timeout 10000 ${proxydhcp/filename} ||",
			"isset ${proxydhcp/next-server} && chain --autofree --replace --timeout 10000 http://${proxydhcp/next-server}/b ||",
		)
		fetch = strings.TrimSuffix(fetch, "\n")
		who = "a bootpuck box"
	}
	return lines(
		"#!ipxe",
		"# bootpuck: from a freshly started iPXE to the box",
		"set user-class bootpuck",
		"set try:int32 0",
		"set step next",
		"set i:int32 0",
		":nic",
		"isset ${net${i}/mac} || goto lease",
		"isset ${net${i}/ip} || goto next",
		"ifopen net${i} || goto next",
		"iflinkwait --timeout 5000 net${i} ||",
		"goto fetch",
		":next",
		"ifclose net${i} ||",
		"inc i",
		"goto nic",
		":lease",
		"inc try",
		"set step skip",
		"set i:int32 0",
		":dhcp",
		"isset ${net${i}/mac} || goto failed",
		"iflinkwait --timeout 5000 net${i} || goto skip",
		"ifconf --configurator dhcp net${i} || goto skip",
		"goto fetch",
		":skip",
		"ifclose net${i} ||",
		"inc i",
		"goto dhcp",
		":fetch",
		fetch,
		when(!medium, "iseq ${step} skip && isset ${proxydhcp/next-server} && chain --autofree --replace --timeout 10000 http://${proxydhcp/next-server}/b ||"),
		"goto ${step}",
		":failed",
		"echo",
		"echo bootpuck: cannot reach "+who+" (try ${try} of 5)",
		"isset ${net0/mac} || echo This iPXE has no driver for the network card.",
		"isset ${ip} || echo No address: check the cable and the DHCP server of this network.",
		"iseq ${try} 5 && goto giveup ||",
		"prompt --key s --timeout 3000 Press s for the iPXE shell, or wait && shell ||",
		"goto lease",
		":giveup",
		"echo Giving up. Continuing with the next boot device.",
		"prompt --key s --timeout 10000 Press s for the iPXE shell && shell ||",
		leave,
	)
}

// query is what the boot script tells about the machine: the variables an
// operator may want to decide by. Names are paramNames'.
func query() string {
	str := func(name, setting string) string { return name + "=${" + setting + ":uristring}" }
	raw := func(name, setting string) string { return name + "=${" + setting + "}" }
	var dimms, spans []string
	// No setting gives the memory size in stock builds, so the sizes of the
	// first memory devices go as raw octets and are added up by the box.
	for _, i := range "01234567" {
		dimms = append(dimms, "${smbios/"+string(i)+".17.12.2:hexraw}")
	}
	for _, i := range "0123" {
		spans = append(spans, "${smbios/"+string(i)+".19.4.8:hexraw}")
	}
	return strings.Join([]string{
		raw("mac", "mac"), raw("uuid", "uuid"), raw("ip", "ip"), raw("netmask", "netmask"),
		raw("gateway", "gateway"), raw("dns", "dns"), str("domain", "domain"), str("filename", "filename"),
		raw("next-server", "next-server"), str("hostname", "hostname"), str("user-class", "user-class"),
		str("manufacturer", "manufacturer"), str("product", "product"), str("serial", "serial"),
		// netX is the network card that was opened last: the one in use.
		str("asset", "asset"), raw("nic", "netX/busid"), str("chip", "netX/chip"),
		raw("platform", "platform"), raw("buildarch", "buildarch"), raw("cpu", "cpu"),
		str("version", "version"), raw("memory", "memsize"), "dimms=" + strings.Join(dimms, "."),
		"spans=" + strings.Join(spans, "."), raw("secureboot", "efi/SecureBoot"),
	}, "&")
}

// bootScript asks for the machine's script with everything iPXE knows. DHCP
// carries only its own short URL, because firmware cuts long ones.
func bootScript() string {
	return lines(
		"#!ipxe",
		"# bootpuck: the machine asks what it is to do",
		"set user-class bootpuck",
		// A BIOS build is for i386 whatever the processor. The setting must hold
		// something before it can be asked for; other platforms have no cpuid.
		"set cpu ${buildarch}",
		"iseq ${platform} pcbios && cpuid --ext 29 && set cpu x86_64 ||",
		"set try:int32 0",
		":ask",
		"inc try",
		// Should something about the long query be refused, the short one is not.
		"iseq ${try} 3 && goto short ||",
		"chain --autofree --replace --timeout 30000 {base}/s?"+query()+" || goto again",
		":short",
		"chain --autofree --replace --timeout 30000 {base}/s?mac=${mac}&platform=${platform}&buildarch=${buildarch} || goto again",
		":again",
		"echo",
		"echo bootpuck: no script from {base} (try ${try} of 6)",
		"iseq ${try} 6 && goto giveup ||",
		"prompt --key s --timeout 3000 Press s for the iPXE shell, or wait && shell ||",
		"goto ask",
		":giveup",
		"echo Giving up. Continuing with the next boot device.",
		"prompt --key s --timeout 10000 Press s for the iPXE shell && shell ||",
		leave,
	)
}

// machineScript is what a machine gets that nobody has decided about: the
// operator's default script, else (and when that fails) the menu, whose
// time-out is the local disk.
//
// With marks it is made for plans: their note, entries and picks are put where
// the marks are.
func machineScript(c Config, has func(string) bool, marks bool) string {
	bios := has(memtestBIOS64) || has(memtestBIOS32)
	efi64, efi32 := has(memtestEFI64), has(memtestEFI32)
	memtest := bios || efi64 || efi32
	biosFile := func(prefer, other string) string {
		if has(prefer) {
			return prefer
		}
		return other
	}
	return lines(
		"#!ipxe",
		"# bootpuck: the machine's script",
		when(!marks, "set wait:int32 "+menuMillis),
		when(!marks, "set note This machine (${mac}) has no assignment."),
		when(marks, markHead),
		when(!c.Default.IsZero(), strings.TrimSuffix(lines(
			"chain --autofree --replace --timeout 30000 "+c.Default.url+" ||",
			// Only a replaced script that could not be fetched or run comes here.
			"set note The configured script failed: "+c.Default.url,
		), "\n")),
		":start",
		when(!marks, "menu bootpuck  {base} || goto plain"),
		when(marks, markTitle+" || goto plain"),
		when(!marks, "item --gap ${note}"),
		when(!marks, "item --gap"),
		when(marks, markItems),
		"item --key l local Continue to the local disk",
		"item --key d disk Boot the first hard disk directly",
		when(memtest, strings.TrimSuffix(lines(
			// Only where a program for this firmware is there, and where the
			// firmware would run it: memtest86+ is not signed.
			when(bios, "iseq ${platform} pcbios && item --key m memtest Memory test (memtest86+) ||"),
			when(efi64 || efi32, "iseq ${platform} efi || goto nomem"),
			when(efi64 || efi32, "iseq ${efi/SecureBoot} 01 && goto nomem ||"),
			when(efi64, "iseq ${buildarch} x86_64 && item --key m memtest Memory test (memtest86+) ||"),
			when(efi32, "iseq ${buildarch} i386 && item --key m memtest Memory test (memtest86+) ||"),
			when(efi64 || efi32, ":nomem"),
		), "\n")),
		when(!c.Chain.IsZero(), "item --key c chain "+c.ChainTitle),
		"item --key n facts Network facts",
		"item --key s shell iPXE shell",
		when(!marks, "choose --default local --timeout ${wait} sel || goto local"),
		when(marks, "choose --default ${first} --timeout ${wait} sel || goto local"),
		// Whoever has touched the menu gets more time on coming back to it, and
		// what has failed once is not what the time-out takes again.
		"set wait:int32 120000",
		when(marks, "set first local"),
		"goto ${sel} || goto start",
		when(marks, markPicks),

		":local",
		"echo bootpuck: continuing to the local disk",
		strings.TrimSuffix(left("{base}", leftMenu), "\n"),
		leave,

		// For firmware that comes back to the network instead of going on to
		// its disk. UEFI has no drive numbers; iPXE 2.0 takes drive 0 for "any
		// disk that holds the file". Without one, go on as above.
		":disk",
		strings.TrimSuffix(left("{base}", leftMenu), "\n"),
		"iseq ${platform} efi && goto efidisk ||",
		"sanboot --no-describe --drive 0x80 || goto local",
		":efidisk",
		"sanboot --no-describe --drive 0 ||",
		`sanboot --no-describe --drive 0 --filename \EFI\Microsoft\Boot\bootmgfw.efi || goto local`,

		when(memtest, strings.TrimSuffix(lines(
			":memtest",
			when(bios, "iseq ${platform} efi && goto memefi ||"),
			when(bios, strings.TrimSuffix(lines(
				"cpuid --ext 29 && set file "+biosFile(memtestBIOS64, memtestBIOS32)+" || set file "+biosFile(memtestBIOS32, memtestBIOS64),
				"goto memrun",
			), "\n")),
			when(bios, ":memefi"),
			"set file "+memtestEFI64,
			"iseq ${buildarch} i386 && set file "+memtestEFI32+" ||",
			when(bios, ":memrun"),
			"chain --autofree --timeout 30000 {base}/${file} || goto failed",
			"goto start",
		), "\n")),

		when(!c.Chain.IsZero(), strings.TrimSuffix(lines(
			":chain",
			"chain --autofree --replace --timeout 30000 "+c.Chain.url+" || goto failed",
		), "\n")),

		":facts",
		"echo",
		"echo Machine      ${manufacturer} ${product}",
		"echo Serial       ${serial}  asset ${asset}",
		"echo UUID         ${uuid}",
		"echo Network      ${mac}  ${ip} / ${netmask}",
		"echo Gateway      ${gateway}  DNS ${dns}  domain ${domain}",
		"echo DHCP server  ${dhcp-server}  host name ${hostname}",
		"echo Boot server  {base}",
		"echo iPXE         ${version} (${platform}, ${buildarch})",
		"isset ${efi/SecureBoot} && echo Secure Boot  ${efi/SecureBoot} ||",
		"echo",
		"ifstat ||",
		"echo",
		"prompt --timeout 120000 Press any key to return to the menu ||",
		"goto start",

		":shell",
		"echo Type exit to return to the menu.",
		"shell ||",
		"goto start",

		when(memtest || !c.Chain.IsZero(), strings.TrimSuffix(menuFailed, "\n")),
		when(marks && !memtest && c.Chain.IsZero(), markFailed),

		// An iPXE built without menus.
		":plain",
		"echo",
		"echo bootpuck at {base}: ${note}",
		"echo Continuing to the local disk in 10 seconds.",
		"prompt --key s --timeout "+menuMillis+" Press s for the iPXE shell && shell ||",
		"goto local",
	)
}

// menuFailed is where the entries of the menu go that did not work.
var menuFailed = lines(
	":failed",
	"echo bootpuck: that did not work (see the line above, and ipxe.org/err)",
	"prompt --timeout 15000 Press any key to return to the menu ||",
	"goto start",
)

// menuMillis is MenuSeconds for iPXE, which counts time-outs in milliseconds.
const menuMillis = "10000"

// unusableScript answers a request that was not understood.
func unusableScript() string {
	return lines(
		"#!ipxe",
		"echo",
		"echo bootpuck: the request for this script was malformed; nothing is booted.",
		"echo Ask for /b instead: that script knows how to ask.",
		"prompt --key s --timeout 10000 Press s for the iPXE shell, or wait && shell ||",
		leave,
	)
}
