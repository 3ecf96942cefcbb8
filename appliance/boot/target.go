package boot

import "time"

// TargetKind says how a target is booted.
type TargetKind string

// Target kinds.
const (
	TargetLinux    TargetKind = "linux"    // kernel, initrds, command line
	TargetEFI      TargetKind = "efi"      // an EFI program
	TargetWimboot  TargetKind = "wimboot"  // Windows PE by wimboot
	TargetScript   TargetKind = "script"   // an iPXE script written as a template
	TargetChain    TargetKind = "chain"    // another server's URL
	TargetSAN      TargetKind = "san"      // iSCSI, AoE or HTTP disk
	TargetLocal    TargetKind = "local"    // the machine's own disk
	TargetPXELinux TargetKind = "pxelinux" // pxelinux with generated or supplied configuration
	TargetGRUB     TargetKind = "grub"     // a GRUB network image with generated or supplied configuration
	TargetMenu     TargetKind = "menu"     // a menu of profiles
)

// TargetKinds lists every kind.
func TargetKinds() []TargetKind {
	return []TargetKind{
		TargetLinux, TargetEFI, TargetWimboot, TargetScript, TargetChain, TargetSAN, TargetLocal,
		TargetPXELinux, TargetGRUB, TargetMenu,
	}
}

// Target is something bootable. Which fields count depends on Kind; Check
// refuses the others. Paths are names below the box's root as machines ask for
// them ("files/x", "trees/debian/linux"), relative to Tree when that is set, or
// absolute URLs.
type Target struct {
	Name  string     `json:"name"`
	Rev   uint64     `json:"rev"`
	Title string     `json:"title,omitempty"` // shown in menus; default Name
	Notes string     `json:"notes,omitempty"`
	Kind  TargetKind `json:"kind"`
	// Destructive targets overwrite something. They boot only armed for one
	// machine, or after a person typed the code on the machine's own console.
	Destructive bool  `json:"destructive,omitempty"`
	Needs       Needs `json:"needs,omitzero"`

	Tree    string   `json:"tree,omitempty"`    // an uploaded tree; relative paths are below it
	Kernel  string   `json:"kernel,omitempty"`  // linux; wimboot: the wimboot program
	Initrds []string `json:"initrds,omitempty"` // linux, in order
	Cmdline string   `json:"cmdline,omitempty"` // linux: template
	Program string   `json:"program,omitempty"` // efi, pxelinux (default lpxelinux.0), grub
	Script  string   `json:"script,omitempty"`  // script: template, with or without "#!ipxe"; pxelinux, grub: template of the configuration
	URL     string   `json:"url,omitempty"`     // chain; may hold iPXE settings like ${mac}
	Wim     *Wim     `json:"wim,omitempty"`
	SAN     *SAN     `json:"san,omitempty"`
	Local   LocalHow `json:"local,omitempty"`
	Menu    *Menu    `json:"menu,omitempty"`
}

// Needs are what a machine must have for a target to work there. Zero fields
// ask for nothing.
type Needs struct {
	Memory     int        `json:"memory,omitempty"`     // MiB
	Platforms  []Platform `json:"platforms,omitempty"`  // bios, uefi
	CPUs       []string   `json:"cpus,omitempty"`       // x86_64, i386, arm64 …: the architecture table's names
	IPXE       string     `json:"ipxe,omitempty"`       // lowest iPXE version, "1.20"
	SecureBoot bool       `json:"signed,omitempty"`     // the program is signed: runs under Secure Boot
	Disk       bool       `json:"local_disk,omitempty"` // documentation for people; not checked
}

// Wim is what wimboot loads besides the program itself.
type Wim struct {
	BCD  string `json:"bcd,omitempty"`
	SDI  string `json:"sdi,omitempty"`
	Wim  string `json:"boot_wim"`
	Boot string `json:"bootmgr,omitempty"` // optional: bootmgr.exe or bootmgfw.efi
	// Files are further files by the name Windows PE sees, for example
	// "autounattend.xml": a path, or answer:NAME for a rendered answer file.
	Files map[string]string `json:"files,omitempty"`
}

// SANProtocol is how a network disk is reached.
type SANProtocol string

// SAN protocols that iPXE boots from.
const (
	SANiSCSI SANProtocol = "iscsi"
	SANAoE   SANProtocol = "aoe"
	SANHTTP  SANProtocol = "http"
)

// SAN is a network disk.
type SAN struct {
	Protocol  SANProtocol `json:"protocol"`
	Host      string      `json:"host,omitempty"`      // iscsi: server
	Port      int         `json:"port,omitempty"`      // iscsi: default 3260
	LUN       string      `json:"lun,omitempty"`       // iscsi: default 0
	IQN       string      `json:"iqn,omitempty"`       // iscsi: target name; template
	Initiator string      `json:"initiator,omitempty"` // iscsi: initiator name; template
	User      string      `json:"user,omitempty"`      // iscsi: CHAP
	Password  string      `json:"password,omitempty"`  // iscsi: CHAP; a secret, never shown in lists
	Shelf     string      `json:"shelf,omitempty"`     // aoe: e0.0
	URL       string      `json:"url,omitempty"`       // http: disk image
	// Hook attaches the disk and then boots Then instead of the disk itself, as
	// an installer wants it.
	Hook  bool   `json:"hook,omitempty"`
	Then  string `json:"then,omitempty"`  // a target's name, with Hook
	Drive int    `json:"drive,omitempty"` // BIOS drive number; default 0x80
	// File is the EFI boot loader on the disk; default the removable-media path.
	File string `json:"file,omitempty"`
}

// LocalHow is how a machine is sent to its own disk.
type LocalHow string

// Ways to the local disk. Auto chooses by firmware: a plain exit for BIOS, exit
// with an error for UEFI, which otherwise shows its setup menu.
const (
	LocalAuto    LocalHow = ""
	LocalExit    LocalHow = "exit"    // leave iPXE, the firmware goes on
	LocalSanboot LocalHow = "sanboot" // start the first disk directly
	LocalNext    LocalHow = "loader"  // start the boot loader of the disk's EFI partition
)

// Menu is what a menu target shows.
type Menu struct {
	Title   string      `json:"title,omitempty"`
	Seconds int         `json:"seconds,omitempty"` // until the default is taken; default MenuSeconds; 0 < n ≤ 3600
	Default string      `json:"default,omitempty"` // an entry's profile that is harmless; default: the local disk
	Entries []MenuEntry `json:"entries,omitempty"` // none: every profile visible to the machine
}

// MenuSeconds is how long a menu waits unless it says otherwise.
const MenuSeconds = 10

// MenuEntry is a line of a menu.
type MenuEntry struct {
	Profile string `json:"profile,omitempty"` // what it boots; a menu target's profile is a sub-menu
	Title   string `json:"title,omitempty"`   // default the profile's
	Key     string `json:"key,omitempty"`     // one letter or digit
	// Locked entries boot only after the operator has let them, machine by
	// machine: a password would cross the LAN in clear.
	Locked bool   `json:"locked,omitempty"`
	Gap    string `json:"gap,omitempty"` // a heading instead of an entry
}

// Profile is a named choice: a target with variables and answer files.
type Profile struct {
	Name      string            `json:"name"`
	Rev       uint64            `json:"rev"`
	Title     string            `json:"title,omitempty"`
	Notes     string            `json:"notes,omitempty"`
	Target    string            `json:"target"`
	Variables map[string]string `json:"variables,omitempty"`
	// Answers are the answer files by the name an installer asks for, with the
	// template each is made from.
	Answers map[string]string `json:"answers,omitempty"`
	// Loader is the first stage that firmware is given for this profile. DHCP
	// cannot see Secure Boot, so the operator switches it here.
	Loader Loader `json:"loader,omitempty"`
	// Visible limits who sees the profile in menus; empty: everybody.
	Visible Match `json:"visible,omitzero"`
	Hidden  bool  `json:"hidden,omitempty"` // in no menu that lists by itself
}

// Loader is a first stage.
type Loader string

// Loaders.
const (
	LoaderIPXE     Loader = ""         // ours
	LoaderShim     Loader = "shim"     // Debian's signed shim and GRUB: Secure Boot
	LoaderGRUB     Loader = "grub"     // GRUB without shim
	LoaderPXELinux Loader = "pxelinux" // pxelinux natively by TFTP (BIOS)
)

// Group is a set of machines with something in common.
type Group struct {
	Name      string            `json:"name"`
	Rev       uint64            `json:"rev"`
	Notes     string            `json:"notes,omitempty"`
	Profile   string            `json:"profile,omitempty"` // what its machines boot; empty: the group decides nothing
	Variables map[string]string `json:"variables,omitempty"`
}

// SelectRule gives a profile to the machines that match. Rules are tried by
// Order, then by name; the first that matches counts.
type SelectRule struct {
	Name    string `json:"name"`
	Rev     uint64 `json:"rev"`
	Notes   string `json:"notes,omitempty"`
	Order   int    `json:"order"`
	Match   Match  `json:"match"`
	Profile string `json:"profile"`
	Off     bool   `json:"off,omitempty"`
}

// Match describes machines. Empty fields match every machine; of a list one
// value must match, and every given field must. A "*" at the end of a text
// matches any rest; texts are compared without regard to case.
type Match struct {
	MAC       []string            `json:"mac,omitempty"`    // prefix of whole or half octets: "52:54:00"
	UUID      []string            `json:"uuid,omitempty"`   // either octet order
	Serial    []string            `json:"serial,omitempty"` // as told by the machine
	Vendor    []string            `json:"vendor,omitempty"` // SMBIOS manufacturer
	Product   []string            `json:"product,omitempty"`
	Arch      []string            `json:"arch,omitempty"`     // names or numbers of the architecture table
	Platform  []Platform          `json:"platform,omitempty"` // bios, uefi
	Firmware  []Firmware          `json:"firmware,omitempty"` // kind of the program that asks
	NIC       []string            `json:"nic,omitempty"`
	Subnet    []string            `json:"subnet,omitempty"`    // the machine's address: "192.0.2.0/24"
	Tag       []string            `json:"tag,omitempty"`       // operator's tags
	Name      []string            `json:"name,omitempty"`      // operator's name of the machine
	Variables map[string][]string `json:"variables,omitempty"` // any parameter of the boot script
}

// TemplateKind says what a template makes, and so how values are escaped.
type TemplateKind string

// Template kinds.
const (
	TemplateScript       TemplateKind = "script"       // part of an iPXE script
	TemplateCmdline      TemplateKind = "cmdline"      // kernel command line
	TemplateKickstart    TemplateKind = "kickstart"    // Anaconda
	TemplatePreseed      TemplateKind = "preseed"      // debian-installer
	TemplateAutoinstall  TemplateKind = "autoinstall"  // Ubuntu, cloud-init
	TemplateIgnition     TemplateKind = "ignition"     // Ignition or Butane's output, JSON
	TemplateAutounattend TemplateKind = "autounattend" // Windows, XML
	TemplateAutoYaST     TemplateKind = "autoyast"     // SUSE, XML
	TemplatePlain        TemplateKind = "plain"        // anything else
)

// TemplateKinds lists every kind.
func TemplateKinds() []TemplateKind {
	return []TemplateKind{
		TemplateScript, TemplateCmdline, TemplateKickstart, TemplatePreseed, TemplateAutoinstall,
		TemplateIgnition, TemplateAutounattend, TemplateAutoYaST, TemplatePlain,
	}
}

// Template is a text with places for the machine's data.
type Template struct {
	Name  string       `json:"name"`
	Rev   uint64       `json:"rev"`
	Notes string       `json:"notes,omitempty"`
	Kind  TemplateKind `json:"kind"`
	Text  string       `json:"text"`
}

// UnknownPolicy is what machines get that nobody has decided about.
type UnknownPolicy string

// Policies for unknown machines. A machine is known when the operator named it,
// put it on the allow-list or into a group, or assigned it something.
const (
	UnknownAllow  UnknownPolicy = "allow"  // rules, then the default
	UnknownAsk    UnknownPolicy = "ask"    // the screen shows a code; the operator lets it or not
	UnknownIgnore UnknownPolicy = "ignore" // no answer
)

// Site is what the operator sets for the whole site while the box runs. (What
// is needed to start, such as ports, is the settings document.)
type Site struct {
	Rev     uint64        `json:"rev"`
	Unknown UnknownPolicy `json:"unknown"`
	// AllowUntil lets all unknown machines until then ("allow all for N hours").
	AllowUntil time.Time `json:"allow_until,omitzero"`
	Default    string    `json:"default,omitempty"` // profile for machines that nothing else decides about; empty: the built-in menu
	Title      string    `json:"title,omitempty"`   // of the built-in menu
	Seconds    int       `json:"seconds,omitempty"` // of the built-in menu; default MenuSeconds
	Allow      []string  `json:"allow,omitempty"`   // MAC prefixes or UUIDs on the allow-list
	Deny       []string  `json:"deny,omitempty"`    // MAC prefixes or UUIDs never answered
	// Variables of all machines, for templates.
	Variables map[string]string `json:"variables,omitempty"`
	// ForgetDays is how long a machine that the operator has said nothing about
	// is kept after it was last seen; default 90.
	ForgetDays int `json:"forget_days,omitempty"`
	// TrustRouted believes what machines behind a router say about themselves
	// even when the box has not overheard their DHCP exchange.
	TrustRouted bool `json:"trust_routed,omitempty"`
}
