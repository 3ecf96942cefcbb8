package boot

// Reason names why something was refused, ignored or failed. One value is at
// once the log attribute, the metric label, the API field and, by Text, the
// sentence that people read. The set is closed.
type Reason string

// ReasonNone says that nothing was refused.
const ReasonNone Reason = ""

// Reasons for saying nothing to a DHCP packet, in the order they are tested.
const (
	ReasonParse       Reason = "parse"
	ReasonNotRequest  Reason = "not_request"
	ReasonSelf        Reason = "self"
	ReasonHops        Reason = "hops"
	ReasonInterface   Reason = "interface"
	ReasonNoAddress   Reason = "no_address"
	ReasonRelay       Reason = "relay"
	ReasonSource      Reason = "source"
	ReasonNoType      Reason = "no_type"
	ReasonType        Reason = "type"
	ReasonClass       Reason = "class"
	ReasonOtherServer Reason = "other_server"
	ReasonHW          Reason = "hw"
	ReasonGUID        Reason = "guid"
	ReasonArch        Reason = "arch"
	ReasonNoLoader    Reason = "no_loader"
	ReasonPolicy      Reason = "policy"
	ReasonHTTP4011    Reason = "http_4011"
	ReasonTooLong     Reason = "too_long"
	ReasonRate        Reason = "rate"
	ReasonObserve     Reason = "observe"
	ReasonSend        Reason = "send"
	ReasonInternal    Reason = "internal"
)

// Reasons of the TFTP server.
const (
	ReasonTFTPRequest   Reason = "tftp_request"
	ReasonTFTPWrite     Reason = "tftp_write"
	ReasonTFTPName      Reason = "tftp_name"
	ReasonNotFound      Reason = "not_found"
	ReasonClientLimit   Reason = "client_limit"
	ReasonTotalLimit    Reason = "total_limit"
	ReasonClientAborted Reason = "client_aborted"
	ReasonClientSilent  Reason = "client_silent"
	ReasonRead          Reason = "read"
)

// Reasons of the HTTP server for machines.
const (
	ReasonParameter   Reason = "parameter"
	ReasonMethod      Reason = "method"
	ReasonInterrupted Reason = "interrupted"
	ReasonRender      Reason = "render"
)

// Reasons of health: what keeps a part of the box from working.
const (
	ReasonPortTaken      Reason = "port_taken"
	ReasonPermission     Reason = "permission"
	ReasonNoInterface    Reason = "no_interface"
	ReasonLinkDown       Reason = "link_down"
	ReasonBootfiles      Reason = "bootfiles"
	ReasonStateVolatile  Reason = "state_volatile"
	ReasonStateFull      Reason = "state_full"
	ReasonClockUnset     Reason = "clock_unset"
	ReasonStarting       Reason = "starting"
	ReasonFailed         Reason = "failed"
	ReasonOption60       Reason = "option60"
	ReasonOtherPXE       Reason = "other_pxe"
	ReasonServerBootFile Reason = "server_boot_file"
	ReasonLoop           Reason = "loop"
	ReasonNameNeedsDNS   Reason = "http-name-needs-dns"
	ReasonFilesDir       Reason = "files_dir"
	ReasonArchConflict   Reason = "arch_conflict"
	ReasonNoLease        Reason = "no_lease"
	ReasonEventsDropped  Reason = "events_dropped"
	ReasonNotStarted     Reason = "not_started"
)

// Reasons of decisions about machines and their targets.
const (
	ReasonIdentityAgainst  Reason = "identity_against"
	ReasonIdentityUnproven Reason = "identity_unproven"
	ReasonIdentityDoubt    Reason = "identity_doubt"
	ReasonIdentityNewNIC   Reason = "identity_new_nic"
	ReasonDenied           Reason = "denied"
	ReasonUnknownIgnored   Reason = "unknown_ignored"
	ReasonUnknownAsks      Reason = "unknown_asks"
	ReasonDestructive      Reason = "destructive"
	ReasonLoopBreaker      Reason = "loop_breaker"
	ReasonAssignExpired    Reason = "assign_expired"
	ReasonAssignUsedUp     Reason = "assign_used_up"
	ReasonAssignFailed     Reason = "assign_failed"
	ReasonDisarmed         Reason = "disarmed"
	ReasonNeedsMemory      Reason = "needs_memory"
	ReasonNeedsSigned      Reason = "needs_signed"
	ReasonNeedsPlatform    Reason = "needs_platform"
	ReasonNeedsCPU         Reason = "needs_cpu"
	ReasonNeedsIPXE        Reason = "needs_ipxe"
	ReasonTemplate         Reason = "template"
	ReasonTargetMissing    Reason = "target_missing"
	ReasonToken            Reason = "token"
	ReasonTokenUsed        Reason = "token_used"
	ReasonCodeWrong        Reason = "code_wrong"
	ReasonRefused          Reason = "refused_by_operator"
	ReasonStateWait        Reason = "state_wait"
	ReasonNotBootableHere  Reason = "not_bootable_here"
	ReasonStoreCorrupt     Reason = "store_corrupt"
	ReasonTooManyRequests  Reason = "too_many_requests"
)

// Verdicts on an attempt. Some verdicts are reasons that stand above: option60,
// other_pxe, loop, not_started, needs_memory, http-name-needs-dns.
const (
	ReasonBooted           Reason = "booted"
	ReasonLeftLocal        Reason = "left_local"
	ReasonIgnored          Reason = "ignored"
	ReasonUnexplained      Reason = "unexplained"
	ReasonNoDHCPServer     Reason = "no_dhcp_server"
	ReasonOfferIgnored     Reason = "offer_ignored"
	ReasonRivalWon         Reason = "rival_won"
	ReasonBootFileWon      Reason = "boot_file_won"
	ReasonAskUnanswered    Reason = "ask_unanswered"
	ReasonTFTPNotRequested Reason = "tftp_not_requested"
	ReasonTFTPLargeBlocks  Reason = "tftp_large_blocks"
	ReasonTFTPSlow         Reason = "tftp_slow"
	ReasonTFTPBroken       Reason = "tftp_broken"
	ReasonScriptNotFetched Reason = "script_not_fetched"
	ReasonKernelNotFetched Reason = "kernel_not_fetched"
	ReasonFileMissing      Reason = "file_missing"
	ReasonFetchBroken      Reason = "fetch_broken"
	ReasonInstallerSilent  Reason = "installer_silent"
	ReasonInstallerFailed  Reason = "installer_failed"
	ReasonLoaderExtension  Reason = "loader_extension"
	ReasonSpanningTree     Reason = "spanning_tree"
	ReasonSnooping         Reason = "snooping"
	ReasonExhausted        Reason = "address_exhausted"
	ReasonClockSkew        Reason = "clock_skew"
	ReasonAddressChanged   Reason = "address_changed"
	ReasonBootLoop         Reason = "boot_loop"
	ReasonWrongArch        Reason = "wrong_arch"
	ReasonAnsweredLate     Reason = "answered_late"
	ReasonGaveUp           Reason = "client_gave_up"
)

// Findings on the LAN. Others stand above: option60, other_pxe,
// server_boot_file, clock_unset.
const (
	ReasonNewResponder     Reason = "new_responder"
	ReasonRogueDHCP        Reason = "rogue_dhcp"
	ReasonWrongNextServer  Reason = "wrong_next_server"
	ReasonDuplicateAddress Reason = "duplicate_address"
	ReasonGatewayChanged   Reason = "gateway_changed"
	ReasonTwin             Reason = "twin"
	ReasonStandby          Reason = "standby"
	ReasonProbeOff         Reason = "probe_off"
	ReasonProbeBusy        Reason = "probe_busy"
)

// Reasons of captures, of quirks and of the log receiver.
const (
	ReasonCaptureGone    Reason = "capture_gone"
	ReasonQuirkSignature Reason = "quirk_signature"
	ReasonQuirkFile      Reason = "quirk_file"
	ReasonQuirkSpent     Reason = "quirk_spent"
	ReasonSyslogFlood    Reason = "syslog_flood"
)

// reasonTexts is the whole set; a test proves that every constant has a text.
var reasonTexts = map[Reason]string{
	ReasonParse:       "The packet could not be decoded as DHCP.",
	ReasonNotRequest:  "The packet is a reply of some server, not a request.",
	ReasonSelf:        "The packet was sent by this box itself.",
	ReasonHops:        "The packet went through more than 16 relays: probably a loop.",
	ReasonInterface:   "The packet came in on an interface that this box is not set to serve.",
	ReasonNoAddress:   "This box has no IPv4 address on that interface yet; it answers as soon as it has one.",
	ReasonRelay:       "The packet came through a relay that is not allowed. Add the relay's address to the setting relays.allow.",
	ReasonSource:      "The request came from an address that is neither on this LAN nor in an allowed client network (setting relays.clients).",
	ReasonNoType:      "The packet has no DHCP message type (plain BOOTP).",
	ReasonType:        "The message is not one that a boot server answers; the site's DHCP server does.",
	ReasonClass:       "The sender is not a network boot client.",
	ReasonOtherServer: "The request is meant for another boot server.",
	ReasonHW:          "The hardware address is missing, too long, all zero or a group address.",
	ReasonGUID:        "The machine identifier (option 97) is malformed. The setting lenient-guid answers such clients anyway.",
	ReasonArch:        "The client's architecture is unknown or has no network boot program, and no rule names one.",
	ReasonNoLoader:    "There is no boot program for this architecture on the box. Put one under the same name into the files directory.",
	ReasonPolicy:      "A rule says that this machine is not to boot from the network.",
	ReasonHTTP4011:    "HTTP Boot clients have no business on port 4011.",
	ReasonTooLong:     "The boot file name does not fit the reply; nothing was sent rather than a cut name. Shorten it.",
	ReasonRate:        "Too many requests in a short time from one hardware address, or from all together.",
	ReasonObserve:     "Observe mode: the reply was decided and logged, not sent.",
	ReasonSend:        "The reply could not be sent.",
	ReasonInternal:    "A defect in bootpuck was caught while handling this request; please report it.",

	ReasonTFTPRequest:   "The TFTP request is malformed.",
	ReasonTFTPWrite:     "Writing by TFTP is not allowed.",
	ReasonTFTPName:      "The file name is empty or leaves the served tree.",
	ReasonNotFound:      "There is no such file.",
	ReasonClientLimit:   "This client has too many transfers open.",
	ReasonTotalLimit:    "The box has too many transfers open.",
	ReasonClientAborted: "The client ended the transfer with an error.",
	ReasonClientSilent:  "The client stopped answering during the transfer.",
	ReasonRead:          "The file could not be read.",

	ReasonParameter:   "A parameter of the request is malformed.",
	ReasonMethod:      "The method is not one this address answers.",
	ReasonInterrupted: "The client closed the connection before the end.",
	ReasonRender:      "The script could not be rendered; the safe menu was sent instead.",

	ReasonIdentityAgainst:  "The sender's network address belongs to another machine than the one it claims to be. Nothing that is meant for that machine was handed out.",
	ReasonIdentityUnproven: "The box has not seen which machine uses this address, so it hands out nothing secret and nothing that overwrites. Restart the machine; behind a router, set trust_routed.",
	ReasonIdentityDoubt:    "Which machine this is cannot be told for sure: identifier, serial number and hardware address point to different machines, or to none.",
	ReasonIdentityNewNIC:   "The machine came with a network card it was never seen with. Add the card to the machine, or assign again, if that is right.",
	ReasonDenied:           "This machine is on the deny-list.",
	ReasonUnknownIgnored:   "Unknown machines are ignored. Add the machine, or allow unknown machines for some time.",
	ReasonUnknownAsks:      "This machine is unknown and waits for the operator.",
	ReasonDestructive:      "The target overwrites something and boots only when armed for this very machine, or after its code was typed at the machine.",
	ReasonLoopBreaker:      "This machine asked for the same installation again before the first one reported that it was done. It was stopped, and the local disk is booted. Arm it again if the disk is to be overwritten once more.",
	ReasonAssignExpired:    "The armed assignment expired before the machine booted it.",
	ReasonAssignUsedUp:     "The armed assignment was booted as often as allowed.",
	ReasonAssignFailed:     "The installer reported that it failed.",
	ReasonDisarmed:         "The assignment was disarmed by the operator.",
	ReasonNeedsMemory:      "This machine has too little memory for it.",
	ReasonNeedsSigned:      "Secure Boot is on and the program is not signed.",
	ReasonNeedsPlatform:    "It does not boot on this kind of firmware.",
	ReasonNeedsCPU:         "It was built for another processor.",
	ReasonNeedsIPXE:        "This machine's iPXE is too old for it.",
	ReasonTemplate:         "A template could not be rendered for this machine; it got the safe menu instead.",
	ReasonTargetMissing:    "The profile, the target or the uploaded tree of this boot does not exist.",
	ReasonToken:            "The address has expired or was never given out.",
	ReasonTokenUsed:        "The address was used already.",
	ReasonCodeWrong:        "The code that was typed is not the one on the screen.",
	ReasonRefused:          "The operator refused this machine's request.",
	ReasonStateWait:        "The box could not record in time that this machine starts, so nothing was started. Try again; if that does not help, look at the state of the box.",
	ReasonNotBootableHere:  "The program that asked cannot boot this kind of target.",
	ReasonStoreCorrupt:     "The state file was damaged. It was set aside, and the box started with an empty one. Import your last export.",
	ReasonTooManyRequests:  "Too many machines wait for the operator already.",

	ReasonBooted:           "The machine booted what it was to boot.",
	ReasonLeftLocal:        "The machine was left to its local disk, as decided.",
	ReasonIgnored:          "The box did not answer this machine, on purpose.",
	ReasonUnexplained:      "The boot stopped, and nothing that was seen says why. Look at the machine's screen, and at the capture of this boot.",
	ReasonNoDHCPServer:     "No DHCP server of the site answered this machine. It needs an address before it can boot.",
	ReasonOfferIgnored:     "The machine did not follow the offer of this box, in no form that was tried.",
	ReasonRivalWon:         "Another boot server answered this machine too, and the machine followed that one.",
	ReasonBootFileWon:      "The site's DHCP server names a boot file of its own, and the machine followed that.",
	ReasonAskUnanswered:    "The machine accepted the offer and then had to ask on UDP port 4011, but nothing arrived there: the port is filtered, or the request went to another server.",
	ReasonTFTPNotRequested: "The machine took the offer and an address, but never asked for its boot program: TFTP is filtered, or it asked another server.",
	ReasonTFTPLargeBlocks:  "The transfer was agreed on and then stood still at the first full packet: something on the way drops large packets.",
	ReasonTFTPSlow:         "The boot program came through, but many packets had to be sent again: the network loses packets.",
	ReasonTFTPBroken:       "The transfer of the boot program broke off in the middle.",
	ReasonScriptNotFetched: "The boot program runs and asked for an address, but never fetched its script by HTTP: the port is filtered, or it has no address.",
	ReasonKernelNotFetched: "The script was delivered, but nothing that it names was fetched from this box.",
	ReasonFileMissing:      "The machine asked for a file that the box does not have.",
	ReasonFetchBroken:      "A file of the target was not fetched to its end.",
	ReasonInstallerSilent:  "Kernel and files were fetched whole, and then nothing was heard of the machine: what was booted hangs, or has no driver for its network card.",
	ReasonInstallerFailed:  "The installer reported that it failed.",
	ReasonLoaderExtension:  "The HTTP Boot address does not end in .efi, .iso or .img: firmware fetches the file and then does not know what it is.",
	ReasonSpanningTree:     "The machine's first packets were heard only long after it was switched on, as on a switch port with spanning tree: it may give up before the port opens.",
	ReasonSnooping:         "Answers of this box do not reach the machine, though it is heard: DHCP snooping on the switch, or a relay, drops them.",
	ReasonExhausted:        "The site's DHCP server has no address left, or does not give one to this machine.",
	ReasonClockSkew:        "The clock of the box is wrong, and the machine fetches by https: certificates are not valid at that time.",
	ReasonAddressChanged:   "The address of this box changed during the boot; the machine asked the old one.",
	ReasonBootLoop:         "The machine boots the same again and again.",
	ReasonWrongArch:        "The boot program that the machine was given is for another processor or firmware than it has.",
	ReasonAnsweredLate:     "The box answered so late that the machine had decided already.",
	ReasonGaveUp:           "The machine stopped asking before the box could answer.",

	ReasonNewResponder:     "A DHCP or boot server was heard that was not there before.",
	ReasonRogueDHCP:        "A second DHCP server hands out addresses on this LAN.",
	ReasonWrongNextServer:  "The site's DHCP server names a next server that is not this box. Clients that go by it ask there.",
	ReasonDuplicateAddress: "Another station uses an address of this box.",
	ReasonGatewayChanged:   "The default router of this LAN changed.",
	ReasonTwin:             "Another bootpuck answers on this LAN.",
	ReasonStandby:          "This box stands by: a bootpuck that was started later answers on this LAN.",
	ReasonProbeOff:         "In observe mode the box sends nothing, so it does not ask the DHCP servers either.",
	ReasonProbeBusy:        "The DHCP servers were asked a moment ago; ask again in a minute.",

	ReasonCaptureGone:    "The packets of this boot are not in memory any more.",
	ReasonQuirkSignature: "The quirk file is not signed by a key that this box trusts. Add the key to the setting quirk-keys.",
	ReasonQuirkFile:      "The quirk file is malformed.",
	ReasonQuirkSpent:     "Every shape of offer was tried with this machine, and it followed none.",
	ReasonSyslogFlood:    "More log lines came than are kept.",

	ReasonPortTaken:      "Another program on this machine holds the port.",
	ReasonPermission:     "No permission to open the port: start as root or grant CAP_NET_BIND_SERVICE and CAP_NET_RAW.",
	ReasonNoInterface:    "A named interface does not exist on this machine.",
	ReasonLinkDown:       "No served interface has a link.",
	ReasonBootfiles:      "Boot files are missing or damaged in this build. Run make bootfiles and build again.",
	ReasonStateVolatile:  "The state directory cannot be written: the box serves from memory and forgets at power-off.",
	ReasonStateFull:      "The state partition is full: new history is kept in memory only.",
	ReasonClockUnset:     "The clock has not been set; times are counted from power-on.",
	ReasonStarting:       "Starting.",
	ReasonFailed:         "This part has failed and is being restarted.",
	ReasonOption60:       "The site's DHCP server itself sends option 60 (PXEClient). UEFI clients then ignore every other boot server (PXE-E16). Remove option 60 from that DHCP server.",
	ReasonOtherPXE:       "Another PXE boot server answers on this LAN; clients pick between the two by their own rules.",
	ReasonServerBootFile: "The site's DHCP server names a boot file of its own. iPXE and UEFI clients still follow this box; shim and GRUB may not.",
	ReasonLoop:           "The same first stage was offered to this machine more than three times within a minute: a loop, or a client that cannot use it.",
	ReasonNameNeedsDNS:   "The HTTP Boot address has a host name: clients accept it only when the site's DHCP server names a DNS server. Use an IP address.",
	ReasonFilesDir:       "The files directory cannot be read.",
	ReasonArchConflict:   "Option 93 and the class string of this client name different architectures; option 93 was followed.",
	ReasonNoLease:        "A client asked this box for an address, which it never gives: it has taken a boot offer for an address offer.",
	ReasonNotStarted:     "The machine fetched its boot program whole and was not heard of again. With Secure Boot on, firmware refuses what is not signed: give the machine a profile with the loader shim, or switch Secure Boot off. Otherwise the program hangs on this hardware: a rule can name another one (x86_64/ipxe.efi instead of x86_64/snponly.efi).",
	ReasonEventsDropped:  "More was going on than is recorded one by one; the counters are complete.",
}

// Text is the sentence for people; for a value outside the set it is the value.
func (r Reason) Text() string {
	if t, ok := reasonTexts[r]; ok {
		return t
	}
	return string(r)
}

// Silences lists the reasons for not answering a DHCP packet, in the order in
// which they are tested. It is the label set of the silence counter.
func Silences() []Reason {
	return []Reason{
		ReasonParse, ReasonNotRequest, ReasonSelf, ReasonHops, ReasonInterface, ReasonNoAddress,
		ReasonRelay, ReasonSource, ReasonNoType, ReasonType, ReasonClass, ReasonOtherServer, ReasonHW,
		ReasonGUID, ReasonArch, ReasonNoLoader, ReasonPolicy, ReasonDenied, ReasonUnknownIgnored, ReasonHTTP4011, ReasonTooLong, ReasonRate,
		ReasonObserve, ReasonStandby, ReasonSend, ReasonInternal,
	}
}

// VerdictNames lists every name that a verdict on an attempt can have, for
// pre-created metrics.
func VerdictNames() []Reason {
	return []Reason{
		ReasonBooted, ReasonLeftLocal, ReasonIgnored, ReasonUnexplained, ReasonNoDHCPServer, ReasonOfferIgnored, ReasonRivalWon,
		ReasonOption60, ReasonBootFileWon, ReasonAskUnanswered, ReasonTFTPNotRequested, ReasonTFTPLargeBlocks, ReasonTFTPSlow,
		ReasonTFTPBroken, ReasonNotStarted, ReasonScriptNotFetched, ReasonKernelNotFetched, ReasonFileMissing, ReasonFetchBroken,
		ReasonInstallerSilent, ReasonInstallerFailed, ReasonNeedsMemory, ReasonNameNeedsDNS, ReasonLoaderExtension,
		ReasonSpanningTree, ReasonSnooping, ReasonExhausted, ReasonClockSkew, ReasonAddressChanged, ReasonTwin, ReasonBootLoop,
		ReasonWrongArch, ReasonAnsweredLate, ReasonGaveUp, ReasonQuirkSpent,
	}
}

// FindingNames lists every name that a finding on the LAN can have.
func FindingNames() []Reason {
	return []Reason{
		ReasonNewResponder, ReasonRogueDHCP, ReasonOtherPXE, ReasonOption60, ReasonServerBootFile, ReasonWrongNextServer,
		ReasonDuplicateAddress, ReasonGatewayChanged, ReasonTwin, ReasonStandby, ReasonNoDHCPServer, ReasonClockUnset,
	}
}
