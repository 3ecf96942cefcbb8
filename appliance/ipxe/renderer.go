package ipxe

import (
	"errors"
	"fmt"
	"strings"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// Names of the texts, as machines ask for them below the root of TFTP and HTTP.
const (
	NameBoot     = "b"             // boot script: DHCP carries its URL, so it is short
	NameMachine  = "s"             // the machine's script; the boot script adds the parameters
	NameAutoexec = "autoexec.ipxe" // what iPXE started by UEFI firmware looks for, in any folder
	NameGRUB     = "grub/grub.cfg" // GRUB's network images have the prefix /grub built in
)

// File names of memtest86+ on the box. The EFI programs fit the firmware, the
// BIOS ones the processor.
const (
	memtestBIOS64 = "memtest/memtest.bin"
	memtestBIOS32 = "memtest/memtest32.bin"
	memtestEFI64  = "memtest/memtest64.efi"
	memtestEFI32  = "memtest/memtest32.efi"
)

// MenuSeconds is how long the menu of an unknown machine waits before it
// continues to the local disk.
const MenuSeconds = 10

// Config is what an operator decides about the texts, and what the box has.
type Config struct {
	// Default is what machines get instead of the menu (flag -default-script).
	Default Target
	// Chain is offered as an entry of the menu, under ChainTitle.
	Chain      Target
	ChainTitle string
	// Has says whether the box serves a file, so that the menu offers what is
	// there; nil means everything.
	Has func(file string) bool
}

// Request is what a text is rendered for.
type Request struct {
	// Base is the box's HTTP address as the client reached us: scheme, literal
	// address, port unless it is the scheme's own, no trailing slash.
	Base string
	// Params is what the client says about itself. Nothing of it is written
	// into a text.
	Params Params
}

// Renderer renders the texts for one configuration. It is immutable and safe
// for concurrent use.
type Renderer struct {
	boot, autoexec, medium, machine, unusable template
	// The machine's script for plans: the menu alone, and after the configured
	// script.
	menu, configured template
	// The menu for GRUB, and the same two for plans.
	grub, grubMenu, grubConfigured template
}

// ErrTitle is returned for a menu title that cannot stand in a script.
var errTitle = errors.New("menu title: want 1 to 60 printable ASCII characters without $, {, }, ' and \\")

// New prepares the texts. It fails when the configuration's title could not be
// shown.
func New(c Config) (*Renderer, error) {
	has := c.Has
	if has == nil {
		has = func(string) bool { return true }
	}
	if c.ChainTitle == "" {
		c.ChainTitle = "Chain to the configured address"
	}
	if !validTitle(c.ChainTitle) {
		return nil, fmt.Errorf("menu title %q: %w", c.ChainTitle, errTitle)
	}
	return &Renderer{
		boot:     compile(bootScript()),
		autoexec: compile(autoexecScript(false)),
		medium:   compile(autoexecScript(true)),
		machine:  compile(machineScript(c, has, false)),
		unusable: compile(unusableScript()),
		grub:     compile(grubConfig(c, has, false)),

		menu:       compile(machineScript(withoutDefault(c), has, true)),
		configured: compile(machineScript(c, has, true)),

		grubMenu:       compile(grubConfig(withoutDefault(c), has, true)),
		grubConfigured: compile(grubConfig(c, has, true)),
	}, nil
}

// withoutDefault is the configuration for machines that must not get the
// configured script.
func withoutDefault(c Config) Config {
	c.Default = Target{}
	return c
}

func validTitle(s string) bool {
	if s == "" || len(s) > 60 {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' || strings.ContainsRune("${}'\\", r) })
}

// Known says whether name is one this package renders a text for: a boot or
// machine script, autoexec.ipxe in at most one folder, or a name GRUB's network
// image tries for its configuration.
func Known(name string) bool {
	switch name {
	case NameBoot, NameMachine, NameAutoexec:
		return true
	}
	if dir, ok := strings.CutSuffix(name, "/"+NameAutoexec); ok {
		return dir != "" && !strings.Contains(dir, "/") && safe(dir)
	}
	return isGRUBConfig(name)
}

// isGRUBConfig recognises grub/grub.cfg and, for builds of GRUB that look for
// their own configuration first, grub/grub.cfg-01-MAC: answering that at once
// saves the up to nine names it tries in between.
func isGRUBConfig(name string) bool {
	rest, ok := strings.CutPrefix(name, NameGRUB)
	if !ok {
		return false
	}
	if rest == "" {
		return true
	}
	mac, ok := strings.CutPrefix(rest, "-01-")
	if !ok {
		return false
	}
	_, err := boot.ParseMAC(mac)
	return err == nil
}

// Text appends the text called name to dst. ok is false when there is none of
// that name, or the request's base address cannot be rendered; dst is then
// returned as it was.
func (r *Renderer) Text(dst []byte, name string, q Request) (text []byte, ok bool) {
	if CheckBase(q.Base) != nil || !Known(name) {
		return dst, false
	}
	switch {
	case name == NameMachine:
		return r.machine.appendTo(dst, q.Base), true
	case name == NameBoot:
		return r.boot.appendTo(dst, q.Base), true
	case strings.HasSuffix(name, NameAutoexec):
		return r.autoexec.appendTo(dst, q.Base), true
	}
	return r.grubText(dst, q.Base), true
}

// Medium appends the script for a boot medium (autoexec.ipxe on a USB stick,
// or the initrd of ipxe.lkrn). No box has rendered it for an address: it takes
// the boot server that answers the client's own DHCP request.
func (r *Renderer) Medium(dst []byte) []byte { return r.medium.appendTo(dst, "") }

// Unusable appends a script for a request that could not be understood. It
// says so and continues to the next boot device; nothing of the request is in
// it. iPXE shows only the status of a refused request, people with a browser
// or curl see this.
func (r *Renderer) Unusable(dst []byte) []byte { return r.unusable.appendTo(dst, "") }
