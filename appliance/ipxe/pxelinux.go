package ipxe

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// Bounds of pxelinux: it reads lines of a fixed size and would take the rest of
// a longer one for a directive.
const (
	maxConfigLine  = 2000
	pxelinuxTotal  = 6000 // tenths of a second until the disk is booted whatever was typed
	pxelinuxSecond = 10   // tenths
)

// iPXE as a kernel, for what pxelinux cannot do itself.
const nameLKRN = "ipxe.lkrn"

// PXELinux appends the configuration of pxelinux for a plan. With a base of
// http:// all files are named by URLs, which lpxelinux.0 reads (and pxelinux.0
// when iPXE has started it); with tftp://ADDRESS, or https://, by TFTP URLs of
// the same server, which both read. What pxelinux cannot do itself (network
// disks, Windows PE, scripts, codes) it hands to iPXE, started as a kernel.
//
// A pxelinux target without its own configuration has no text: the reason is
// ReasonNotFound, so that pxelinux goes on to the next name, such as the default
// of an uploaded tree. The same holds for plans that are silent, with their own
// reason. Any other reason comes with a configuration that shows it and
// continues to the local disk.
func (r *Renderer) PXELinux(dst []byte, p boot.Plan, base string) ([]byte, boot.Reason) {
	switch {
	case p.Choice.Action == boot.ActionSilent:
		return dst, silentReason(p)
	case p.Choice.Action == boot.ActionBoot && p.Target.Kind == boot.TargetPXELinux && p.Target.Script == "":
		return dst, boot.ReasonNotFound
	}
	c := &config{}
	var err error
	c.base, err = pxelinuxBase(base)
	if err == nil {
		err = c.plan(p)
	}
	if err != nil {
		reason := reasonOf(err)
		c = &config{}
		c.say("bootpuck: " + reason.Text())
		c.local(true)
		return append(dst, c.b.String()...), reason
	}
	return append(dst, c.b.String()...), boot.ReasonNone
}

// pxelinuxBase is base with a scheme that pxelinux knows.
func pxelinuxBase(base string) (string, error) {
	if host, ok := strings.CutPrefix(base, "tftp://"); ok {
		if CheckBase("http://"+host) != nil {
			return "", errBase
		}
		return base, nil
	}
	if err := CheckBase(base); err != nil {
		return "", err
	}
	if strings.HasPrefix(base, "https://") {
		host, _ := baseHost(base)
		addr := hostAddress(host)
		if strings.Contains(addr, ":") {
			addr = "[" + addr + "]"
		}
		return "tftp://" + addr, nil
	}
	return base, nil
}

// config is a pxelinux configuration in the making.
type config struct {
	b    strings.Builder
	base string
}

func (c *config) line(parts ...string) {
	for _, p := range parts {
		c.b.WriteString(p)
	}
	c.b.WriteByte('\n')
}

func (c *config) say(text string) {
	for _, l := range wrap(text, 76) {
		c.line("SAY ", l)
	}
}

// local continues to the local disk, with time to read a note. PROMPT 0 would
// not wait at all.
func (c *config) local(note bool) {
	c.line("DEFAULT local")
	if note {
		c.line("PROMPT 1")
		c.line("TIMEOUT ", strconv.Itoa(noteSeconds*pxelinuxSecond))
		c.line("TOTALTIMEOUT ", strconv.Itoa(pxelinuxTotal))
		c.line("ONTIMEOUT local")
	} else {
		c.line("PROMPT 0")
	}
	c.localLabel()
}

func (c *config) localLabel() {
	c.line("LABEL local")
	c.line("  LOCALBOOT 0")
}

// file is the address of a file.
func (c *config) file(path string) (string, error) {
	if !strings.Contains(path, "://") {
		if err := ownPath(path); err != nil {
			return "", err
		}
		return c.base + "/" + escapePath(path), nil
	}
	if strings.Contains(path, "${") || strings.ContainsRune(path, ',') {
		return "", fmt.Errorf("%w: only iPXE has settings in addresses", errNotHere)
	}
	if strings.HasPrefix(path, "https://") || strings.HasPrefix(path, "nfs://") {
		return "", fmt.Errorf("%w: pxelinux knows neither HTTPS nor NFS", errNotHere)
	}
	return path, absolute(path, func(scheme string) bool { return scheme == "http" || scheme == "tftp" || scheme == "ftp" })
}

func (c *config) plan(p boot.Plan) error {
	head := "bootpuck: "
	if t := plain(p.Title); t != "" {
		head += t + ": "
	}
	t := p.Target
	switch {
	case p.Choice.Action == boot.ActionLocal, p.Choice.Action == boot.ActionBoot && t.Kind == boot.TargetLocal:
		c.say(head + "continuing to the local disk")
		c.say(p.Note)
		c.local(plain(p.Note) != "")
		return nil
	case p.Choice.Action == boot.ActionBoot && t.Kind == boot.TargetLinux:
		err := c.linux(p, head)
		if !errors.Is(err, errNotHere) {
			return err
		}
		c.b.Reset()
	case p.Choice.Action == boot.ActionBoot && t.Kind == boot.TargetPXELinux:
		c.code(p.Code)
		return c.own(t)
	case p.Choice.Reason == boot.ReasonNotBootableHere:
		// For iPXE it is.
		p.Note = ""
	case p.Choice.Action == boot.ActionBoot && t.Kind == boot.TargetMenu, p.Choice.Action == boot.ActionMenu && len(p.Menu) > 0:
		return c.menu(p, head)
	}
	// Everything else is iPXE's: it asks the box by itself and gets the same
	// plan as a script.
	c.say(head + "starting iPXE")
	c.say(p.Note)
	c.line("DEFAULT ipxe")
	c.line("PROMPT 0")
	// Without iPXE on the box there is still the disk.
	c.line("ONERROR local")
	c.localLabel()
	return c.ipxe("ipxe", "")
}

// linux boots a kernel.
func (c *config) linux(p boot.Plan, head string) error {
	t := p.Target
	kernel, err := c.file(t.Kernel)
	if err != nil {
		return err
	}
	line, err := cmdline(t.Cmdline)
	if err != nil {
		return err
	}
	if strings.Contains(line, "${") {
		return fmt.Errorf("%w: only iPXE has settings in command lines", errNotHere)
	}
	var initrds []string
	for _, f := range t.Initrds {
		u, err := c.file(f)
		if err != nil {
			return err
		}
		initrds = append(initrds, u)
	}
	c.say(head + "booting " + title(t))
	c.say(p.Note)
	c.line("DEFAULT boot")
	if plain(p.Code) == "" {
		c.line("PROMPT 0")
	} else {
		c.code(p.Code)
		c.say("Starting in " + strconv.Itoa(armedSeconds) + " seconds. Type local and Enter for the local disk instead.")
		c.line("PROMPT 1")
		c.line("TIMEOUT ", strconv.Itoa(armedSeconds*pxelinuxSecond))
		c.line("ONTIMEOUT boot")
	}
	c.line("ONERROR local")
	c.localLabel()
	c.line("LABEL boot")
	// LINUX rather than KERNEL: the type does not depend on the file's name.
	c.line("  LINUX ", kernel)
	if len(initrds) > 0 {
		all := strings.Join(initrds, ",")
		if len(all) > maxConfigLine {
			return fmt.Errorf("%w: more initrds than fit a line of pxelinux", errNotHere)
		}
		c.line("  INITRD ", all)
	}
	if line != "" {
		if len(line) > maxConfigLine {
			return fmt.Errorf("%w: a longer command line than fits a line of pxelinux", errNotHere)
		}
		c.line("  APPEND ", line)
	}
	return nil
}

// code shows the code of an armed plan, if it has one.
func (c *config) code(code string) {
	if code = plain(code); code == "" {
		return
	}
	for _, row := range big(code) {
		c.line("SAY ", row)
	}
	c.line("SAY")
	c.line("SAY Code: ", code)
}

// own is the operator's own configuration.
func (c *config) own(t boot.Target) error {
	text := strings.ReplaceAll(t.Script, "\r\n", "\n")
	if strings.ContainsFunc(text, func(r rune) bool { return r != '\n' && r != '\t' && r < ' ' || r == 0x7f }) {
		return errors.New("configuration with control characters")
	}
	c.b.WriteString(text)
	if !strings.HasSuffix(text, "\n") {
		c.b.WriteByte('\n')
	}
	return nil
}

// ipxe is a label that starts iPXE: with the box's autoexec script, or with a
// command of its own.
func (c *config) ipxe(label, command string) error {
	c.line("LABEL ", label)
	c.line("  LINUX ", c.base, "/", nameLKRN)
	if command == "" {
		c.line("  INITRD ", c.base, "/", NameAutoexec)
		return nil
	}
	if len(command) > maxConfigLine {
		return errNotHere
	}
	c.line("  APPEND ", command)
	return nil
}

// menu lists the entries; what is typed is a number. Only the harmless ones are
// fetched directly, the others from iPXE's menu, which can ask for a code.
func (c *config) menu(p boot.Plan, head string) error {
	if err := checkMenu(p); err != nil {
		return err
	}
	name := "what to boot"
	if t := plain(menuTitle(p)); t != "" {
		name = t
	}
	c.say(head + name)
	c.say(p.Note)
	type choice struct{ label, command string }
	var choices []choice
	first := "local"
	for i, e := range p.Menu {
		disabled := disabledText(p, e)
		elsewhere := e.Disabled == boot.ReasonNotBootableHere && !e.Gap
		if e.Gap || disabled != "" && !elsewhere {
			c.line("SAY      ", entryTitle(e, disabled))
			continue
		}
		label := strconv.Itoa(len(choices) + 1)
		c.line("SAY ", fmt.Sprintf("%3s  ", label), entryTitle(e, ""))
		command := ""
		if !e.Destructive && !elsewhere && strings.HasPrefix(c.base, "http://") {
			command = "dhcp && chain --autofree --replace --timeout 30000 " + c.base + pathMenu + p.Token + "/" + strconv.Itoa(i)
		}
		if i == menuDefault(p) && command != "" {
			first = label
		}
		choices = append(choices, choice{label, command})
	}
	c.line("SAY   ipxe  the same menu in iPXE")
	c.line("SAY  local  continue to the local disk")
	c.line("DEFAULT ", first)
	c.line("PROMPT 1")
	c.line("TIMEOUT ", strconv.Itoa(menuSeconds(p)*pxelinuxSecond))
	c.line("TOTALTIMEOUT ", strconv.Itoa(max(pxelinuxTotal, menuSeconds(p)*pxelinuxSecond)))
	c.line("ONTIMEOUT ", first)
	c.line("ONERROR local")
	c.localLabel()
	if err := c.ipxe("ipxe", ""); err != nil {
		return err
	}
	for _, x := range choices {
		if err := c.ipxe(x.label, x.command); err != nil {
			return err
		}
	}
	return nil
}
