package doctor

import "github.com/bootpuck/bootpuck/appliance/boot"

// Symptoms that a cause in the offers and addresses makes superfluous.
var (
	afterOffer = []boot.Reason{
		boot.ReasonOfferIgnored, boot.ReasonSnooping, boot.ReasonAskUnanswered, boot.ReasonTFTPNotRequested,
		boot.ReasonScriptNotFetched, boot.ReasonQuirkSpent,
	}
	afterRival    = append([]boot.Reason{boot.ReasonBootFileWon}, afterOffer...)
	afterOption60 = append([]boot.Reason{boot.ReasonRivalWon, boot.ReasonExhausted, boot.ReasonSpanningTree}, afterRival...)
	afterMove     = []boot.Reason{
		boot.ReasonAskUnanswered, boot.ReasonTFTPNotRequested, boot.ReasonTFTPBroken, boot.ReasonScriptNotFetched,
		boot.ReasonKernelNotFetched, boot.ReasonFetchBroken,
	}
)

// attemptRules are the rules about attempts, in the order of what they explain.
var attemptRules = []Rule{
	{
		Name: boot.ReasonIgnored, states: onIgnored | onBad, outcome: true, judge: judgeIgnored,
		Title: "Not answered",
		Looks: "Its DISCOVERs were heard, and the box's own reason for not answering is known: a decision, or something that it lacks.",
		Fix:   "Change the rule, the deny-list or the mode that keeps the box silent, if it is not meant.",
	},
	{
		Name: boot.ReasonBooted, states: onBooted, outcome: true, judge: judgeBooted,
		Title: "Booted",
		Looks: "Everything was fetched whole, and the installer, its log or the operating system was heard (certain), or nothing speaks against it (likely).",
		Fix:   "Nothing.",
	},
	{
		Name: boot.ReasonLeftLocal, states: onLocal, outcome: true, judge: judgeLeftLocal,
		Title: "Left to its local disk",
		Looks: "The decision, the menu's end, or iPXE's word that it leaves.",
		Fix:   "Nothing, if that is meant; otherwise assign a profile.",
	},
	{
		Name: boot.ReasonOption60, dhcp: true, states: onBad, judge: judgeOption60, explains: afterOption60,
		Title: "The DHCP server sends option 60",
		Looks: "An offer of an address with option 60 PXEClient, overheard for this machine (certain for UEFI, likely when it came from another station than the one the server is known as) or for others (likely), and nothing more asked of this box. iPXE with our priority, HTTP Boot and the Raspberry Pi do not mind it.",
		Fix:   "Remove option 60 (PXEClient) from the DHCP server that is named. It cannot be cured from here.",
	},
	{
		Name: boot.ReasonTwin, dhcp: true, states: onBad | onIgnored, judge: judgeTwin, explains: append([]boot.Reason{boot.ReasonRivalWon}, afterRival...),
		Title: "Another bootpuck answered",
		Looks: "The offer of another bootpuck for this machine, after which nothing was asked of this box.",
		Fix:   "Look at the other box; run only one, or let the older one stand by.",
	},
	{
		Name: boot.ReasonRivalWon, dhcp: true, states: onBad, judge: judgeRival, explains: afterRival,
		Title: "Another boot server won",
		Looks: "A boot offer without an address of another server for this machine, then nothing asked of this box; certain when a request for the other server, or its answer from port 4011, was heard. An offer for the other kind of client (PXE, HTTP Boot) does not count.",
		Fix:   "Switch the other boot server off, or have it ignore this machine.",
	},
	{
		Name: boot.ReasonNameNeedsDNS, dhcp: true, states: onBad, judge: judgeNameNeedsDNS, explains: afterOffer,
		Title: "HTTP Boot host name without DNS",
		Looks: "The offered address has a host name, and the DHCP server's offer has no option 6 (certain) or was not overheard (likely).",
		Fix:   "Use an IP address in base-url, or have the DHCP server name a DNS server.",
	},
	{
		Name: boot.ReasonAddressChanged, states: onBad, judge: judgeAddressChanged, explains: afterMove,
		Title: "The box's address changed",
		Looks: "A change of the box's address on that interface between the first packet and the end, and nothing fetched after it. A first address is no change.",
		Fix:   "Give the box a fixed address or a reservation; start the machine again.",
	},
	{
		Name: boot.ReasonAnsweredLate, dhcp: true, states: onBad, judge: judgeAnsweredLate, explains: afterOffer,
		Title: "Answered too late",
		Looks: "The machine's REQUEST for an address before our offer of the same transaction was sent (certain), or an offer that took more than 1.5 s, or requests that were sent seconds apart, by the secs field, and came in together (likely). A delay that a quirk wants does not count.",
		Fix:   "Find what slowed the box down; start the machine again.",
	},
	{
		Name: boot.ReasonGaveUp, states: onBad | onIgnored, judge: judgeGaveUp,
		explains: []boot.Reason{boot.ReasonOfferIgnored, boot.ReasonNoDHCPServer, boot.ReasonExhausted, boot.ReasonSnooping, boot.ReasonSpanningTree, boot.ReasonIgnored},
		Title:    "The machine gave up first",
		Looks:    "DISCOVERs that the box could not answer (no address yet, too many requests), and no answer before the last of them.",
		Fix:      "Start the machine again when the box is ready; power the box first.",
	},
	{
		Name: boot.ReasonClockSkew, states: onBad, judge: judgeClockSkew, explains: append([]boot.Reason{boot.ReasonNotStarted}, afterMove...),
		Title: "The clock is wrong, and https fails",
		Looks: "An https address was given out, nothing was fetched after it, and the box's clock is not set (likely) or jumped (possible).",
		Fix:   "Let the box reach a time server; set the machine's clock.",
	},
	{
		Name: boot.ReasonLoaderExtension, states: onBad | onBooted, judge: judgeLoaderExtension, explains: []boot.Reason{boot.ReasonNotStarted, boot.ReasonInstallerSilent, boot.ReasonBooted},
		Title: "HTTP Boot file without .efi",
		Looks: "UEFI HTTP Boot fetched a file whole whose name does not end in .efi, .iso or .img, and did not start it.",
		Fix:   "Rename the file so that it ends in .efi, .iso or .img.",
	},
	{
		Name: boot.ReasonWrongArch, states: onBad | onLocal, judge: judgeWrongArch, explains: []boot.Reason{boot.ReasonNotStarted, boot.ReasonKernelNotFetched},
		Title: "Built for another processor or firmware",
		Looks: "The boot program's folder or name against the architecture that the machine tells, when the program was fetched and does not run; or a target refused because of processor or firmware; or iPXE's word that it could not start what was loaded.",
		Fix:   "Correct the rule or the profile; have a rule take the machine for the right architecture.",
	},
	{
		Name: boot.ReasonNeedsMemory, states: onBad | onLocal, judge: judgeNeedsMemory, explains: []boot.Reason{boot.ReasonKernelNotFetched, boot.ReasonFetchBroken},
		Title: "Too little memory",
		Looks: "The target was refused because of what the machine told (certain); or a file of 256 MiB and more was given up, at the same place twice (likely) or once (possible).",
		Fix:   "More memory, or a smaller target.",
	},
	{
		Name: boot.ReasonBootFileWon, dhcp: true, states: onBad, judge: judgeBootFileWon,
		explains: []boot.Reason{boot.ReasonFileMissing, boot.ReasonTFTPNotRequested, boot.ReasonOfferIgnored, boot.ReasonSnooping, boot.ReasonNotStarted},
		Title:    "The DHCP server's boot file won",
		Looks:    "The DHCP server's offer names a boot file; that very name is asked of this box in vain (certain), or the machine took an address and asked nothing more. UEFI that got a two-step offer, and iPXE with our priority, follow this box: for them it is only possible.",
		Fix:      "Remove the boot file name and the next server from the DHCP server that is named.",
	},
	{
		Name: boot.ReasonNoDHCPServer, dhcp: true, states: onBad, judge: judgeNoDHCPServer, explains: []boot.Reason{boot.ReasonSpanningTree, boot.ReasonSnooping, boot.ReasonQuirkSpent, boot.ReasonExhausted},
		Title: "No DHCP server answered",
		Looks: "The machine asks on, takes no address, and no offer of one is heard; certain when a question of the box's own stays without an answer too, likely when nothing shows that a server runs: what was heard before the machine asked does not count.",
		Fix:   "Start the site's DHCP server, or connect this port to its network.",
	},
	{
		Name: boot.ReasonExhausted, dhcp: true, states: onBad, judge: judgeExhausted, explains: []boot.Reason{boot.ReasonSnooping, boot.ReasonOfferIgnored, boot.ReasonTFTPNotRequested, boot.ReasonScriptNotFetched, boot.ReasonQuirkSpent},
		Title: "The DHCP server gives it no address",
		Looks: "A DHCP server that answers others since the machine began to ask made it no offer that could be heard, or refused the address that it asked for (NAK), or never acknowledged it: three REQUESTs or more, and no DISCOVER between them. Only possible when a server was last heard before.",
		Fix:   "Look whether the DHCP server runs. Enlarge the range, remove stale leases, check lists of known hardware addresses on the DHCP server.",
	},
	{
		Name: boot.ReasonSpanningTree, states: onBad, judge: judgeSpanningTree,
		Title: "Spanning tree suspected",
		Looks: "The secs field of the first packet that was heard: two packets and 10 s or more were lost before it; or a boot program that was first heard 20 s after it was fetched. Not when the box's own link or address had just come up. iPXE counts packets in this field, firmware seconds.",
		Fix:   "Portfast (edge port) or rapid spanning tree on the machine's switch port.",
	},
	{
		Name: boot.ReasonSnooping, dhcp: true, states: onBad, judge: judgeSnooping, explains: []boot.Reason{boot.ReasonScriptNotFetched},
		Title: "DHCP snooping or a relay suspected",
		Looks: "The DHCP server's answers reach the machine and ours show no effect: iPXE, which follows every boot offer, does not follow; every shape was tried; or the packets come through a relay. Otherwise it is only possible: firmware that dislikes an offer looks the same.",
		Fix:   "Mark the box's switch port as trusted; list the box on the relay.",
	},
	{
		Name: boot.ReasonOfferIgnored, dhcp: true, states: onBad, judge: judgeOfferIgnored,
		Title: "The offer was not followed",
		Looks: "The DHCP server offers an address, this box offers the boot, in the shapes that are named, and the machine asks on or falls silent.",
		Fix:   "Start it again (the box tries the next shape), pin a style, update the card's firmware.",
	},
	{
		Name: boot.ReasonQuirkSpent, states: onBad, judge: judgeQuirkSpent, explains: []boot.Reason{boot.ReasonOfferIgnored},
		Title: "Every shape of offer was tried",
		Looks: "The ladder of shapes came to its end in this boot, and no boot program was fetched. Only possible when no offer of an address was heard.",
		Fix:   "Make sure that answers reach the machine; then reset its quirk, or start it from a USB stick with iPXE.",
	},
	{
		Name: boot.ReasonAskUnanswered, dhcp: true, states: onBad, judge: judgeAskUnanswered, explains: []boot.Reason{boot.ReasonScriptNotFetched, boot.ReasonTFTPNotRequested, boot.ReasonQuirkSpent, boot.ReasonSnooping},
		Title: "Port 4011 unanswered",
		Looks: "UEFI took an address after a two-step offer, and no request came to port 4011 (likely); or one came and was refused (certain).",
		Fix:   "Let UDP port 4011 through, or pin the direct style.",
	},
	{
		Name: boot.ReasonTFTPNotRequested, dhcp: true, states: onBad, judge: judgeTFTPNotRequested, explains: []boot.Reason{boot.ReasonQuirkSpent},
		Title: "The boot program was never asked for",
		Looks: "The offer was accepted or port 4011 answered, and no TFTP request came (for HTTP Boot: no HTTP request). A next server of the DHCP server's is named.",
		Fix:   "Let UDP port 69 (for old BIOS ROMs also 4011; TCP port 80 for HTTP Boot) through; remove a foreign next server.",
	},
	{
		Name: boot.ReasonTFTPLargeBlocks, states: onBad, judge: judgeLargeBlocks, explains: []boot.Reason{boot.ReasonTFTPBroken},
		Title: "Large TFTP packets are lost",
		Looks: "The client acknowledged the terms and never the first block of more than 512 octets; certain when smaller blocks came through. A size probe and a refusal of the terms do not count.",
		Fix:   "Correct the MTU on the way; cap the block size until then.",
	},
	{
		Name: boot.ReasonTFTPBroken, states: onBad, judge: judgeTFTPBroken,
		Title: "The TFTP transfer broke off",
		Looks: "The last transfer of the boot program ended with an error or in silence: in the middle, without any acknowledgement (answers from other UDP ports are filtered), or refused by the box.",
		Fix:   "Depends on where it broke: firewall, cable, or the setting that is named.",
	},
	{
		Name: boot.ReasonNotStarted, states: onBad, judge: judgeNotStarted,
		Title: "Fetched, but not started",
		Looks: "The boot program was fetched whole, and nothing but the firmware itself was heard for 45 s. When the firmware asks again at once, it refused the program, as Secure Boot does.",
		Fix:   "Loader shim or Secure Boot off; or the other build of iPXE (snponly or ipxe).",
	},
	{
		Name: boot.ReasonScriptNotFetched, states: onBad, judge: judgeScriptNotFetched,
		Title: "The script was never fetched",
		Looks: "iPXE was offered its script and took an address, or fetched its first script by TFTP, and no HTTP request for the script came; or shim and GRUB were fetched and never asked for their configuration; or the request was refused.",
		Fix:   "Let TCP port 80 to the box through.",
	},
	{
		Name: boot.ReasonFileMissing, states: onBad, judge: judgeFileMissing,
		Title: "A file is missing",
		Looks: "The last thing that the machine asked for is not there, and nothing was fetched after it. Names that programs try in vain before they go on do not count.",
		Fix:   "Upload the file under that name, or correct the name.",
	},
	{
		Name: boot.ReasonKernelNotFetched, states: onBad | onLocal, judge: judgeKernelNotFetched,
		Title: "The script was not followed",
		Looks: "The script was delivered and nothing of the target was asked of this box; or iPXE says that a step failed; or the script says why the target is not started; or the menu was left alone.",
		Fix:   "Look at the machine's screen; see the reason that is named; assign a profile.",
	},
	{
		Name: boot.ReasonFetchBroken, states: onBad | onBooted, judge: judgeFetchBroken,
		Title: "A file was not fetched to its end",
		Looks: "The last transfer of the target, or of a boot program by HTTP, ended early and nothing came after it; or an answer file could not be given.",
		Fix:   "Cable, switch port, memory; for an answer file, its template.",
	},
	{
		Name: boot.ReasonInstallerFailed, states: onBad | onBooted, judge: judgeInstallerFailed, explains: []boot.Reason{boot.ReasonBooted, boot.ReasonInstallerSilent},
		Title: "The installer failed",
		Looks: "The installer's own report.",
		Fix:   "Read the installer's log; arm the machine again when the cause is removed.",
	},
	{
		Name: boot.ReasonInstallerSilent, states: onBad, judge: judgeInstallerSilent,
		Title: "The installer is silent",
		Looks: "Kernel and files were fetched whole, then no report, no log line and no operating system was heard.",
		Fix:   "Look at the machine's screen; kernel options, a newer image, drivers.",
	},
	{
		Name: boot.ReasonBootLoop, states: onBad | onLocal, judge: judgeBootLoop, explains: []boot.Reason{boot.ReasonKernelNotFetched},
		Title: "A boot loop",
		Looks: "The same first stage fetched whole more than three times although it runs, or the loop breaker's decision; possible when a whole target was fetched again within ten minutes and does not report.",
		Fix:   "Find out why it comes back; the loop breaker keeps the disk safe meanwhile.",
	},
	{
		Name: boot.ReasonTFTPSlow, states: onBad | onBooted, context: true, judge: judgeTFTPSlow,
		Title: "TFTP was slow",
		Looks: "A whole transfer of 10 s and more with ten packets or more sent again, or below 64 kB/s. A few lost packets do not count.",
		Fix:   "Cable, switch port, radio; HTTP Boot over long ways.",
	},
	{
		Name:  boot.ReasonUnexplained,
		Title: "Unexplained",
		Looks: "No other rule fits.",
		Fix:   "Look at the machine's screen and at the capture of this boot.",
	},
}

// lanRules are the rules about the LAN.
var lanRules = []Rule{
	{
		Name: boot.ReasonOption60, LAN: true, survey: perServer(boot.ReasonOption60, boot.SeverityCritical, saysOption60),
		Title: "A DHCP server sends option 60",
		Looks: "Offers and grants of addresses with option 60 PXEClient, of the last hour.",
		Fix:   "Remove option 60 from that DHCP server.",
	},
	{
		Name: boot.ReasonRogueDHCP, LAN: true, survey: perServer(boot.ReasonRogueDHCP, boot.SeverityCritical, saysRogue),
		Title: "A second DHCP server",
		Looks: "Offers of addresses by a server that is not expected, beside one that is.",
		Fix:   "Switch it off, or add it to the setting expected-servers.",
	},
	{
		Name: boot.ReasonDuplicateAddress, LAN: true, survey: surveyDuplicate,
		Title: "The box's address is used twice",
		Looks: "ARP packets of another station that claims an address of the box, of the last ten minutes.",
		Fix:   "Give one of the two another address.",
	},
	{
		Name: boot.ReasonNoDHCPServer, LAN: true, survey: surveyNoDHCP,
		Title: "No DHCP server",
		Looks: "The box's own question on an interface with a link stayed without an answer, and no server was heard there about that time.",
		Fix:   "Start the site's DHCP server, or connect the port to its network.",
	},
	{
		Name: boot.ReasonOtherPXE, LAN: true, survey: perServer(boot.ReasonOtherPXE, boot.SeverityWarning, saysOtherPXE),
		Title: "Another boot server",
		Looks: "Boot offers without an address of another server.",
		Fix:   "Run one of the two.",
	},
	{
		Name: boot.ReasonServerBootFile, LAN: true, survey: perServer(boot.ReasonServerBootFile, boot.SeverityWarning, saysBootFile),
		Title: "A DHCP server names a boot file",
		Looks: "Offers and grants of addresses with a boot file.",
		Fix:   "Remove the boot file name there.",
	},
	{
		Name: boot.ReasonWrongNextServer, LAN: true, survey: perServer(boot.ReasonWrongNextServer, boot.SeverityWarning, saysNextServer),
		Title: "A DHCP server names another next server",
		Looks: "Offers and grants of addresses with a next server that is not this box.",
		Fix:   "Remove it there, or set it to this box.",
	},
	{
		Name: boot.ReasonNewResponder, LAN: true, survey: perServer(boot.ReasonNewResponder, boot.SeverityWarning, saysNew),
		Title: "A new server",
		Looks: "Replies of a server that was not heard in the box's first minute, nor before.",
		Fix:   "Add it to the setting expected-servers, or find out whose it is.",
	},
	{
		Name: boot.ReasonGatewayChanged, LAN: true, survey: surveyGateway,
		Title: "The router changed",
		Looks: "Another address, or another hardware address, of the default router within the last day. That its hardware address becomes known is no change.",
		Fix:   "Nothing if the router was replaced; otherwise look for a rogue DHCP server.",
	},
	{
		Name: boot.ReasonTwin, LAN: true, survey: surveyTwin,
		Title: "Another bootpuck",
		Looks: "What another bootpuck tells about itself.",
		Fix:   "Nothing if both are meant to be here.",
	},
	{
		Name: boot.ReasonClockUnset, LAN: true, survey: surveyClock,
		Title: "The clock is not set",
		Looks: "The box's clock has not been set since power-on.",
		Fix:   "Let the box reach a time server.",
	},
	{
		Name: boot.ReasonStandby, LAN: true, survey: surveyStandby,
		Title: "This box stands by",
		Looks: "The box's own state.",
		Fix:   "Nothing; it goes on when the other falls silent.",
	},
}
