package ipxe

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// boot is the script of a target.
func (s *script) boot(p boot.Plan) error {
	t := p.Target
	switch t.Kind {
	case boot.TargetLocal:
		s.localPlan(p)
		return nil
	case boot.TargetMenu:
		return s.menuPlan(p)
	case boot.TargetLinux, boot.TargetEFI, boot.TargetWimboot, boot.TargetScript, boot.TargetChain,
		boot.TargetSAN, boot.TargetPXELinux, boot.TargetGRUB:
	}
	s.head(p, "booting "+title(t))
	if err := s.target(t, p.Then); err != nil {
		return err
	}
	s.end()
	return nil
}

// target are the commands that boot t, or fail. then is what a SAN target with
// Hook boots.
func (s *script) target(t boot.Target, then *boot.Target) error {
	switch t.Kind {
	case boot.TargetLinux:
		return s.linux(t)
	case boot.TargetEFI:
		return s.efi(t)
	case boot.TargetWimboot:
		return s.wimboot(t)
	case boot.TargetScript:
		return s.own(t)
	case boot.TargetChain:
		return s.chain(t)
	case boot.TargetSAN:
		return s.san(t, then)
	case boot.TargetPXELinux:
		return s.pxelinux(t)
	case boot.TargetGRUB:
		return s.grub(t)
	case boot.TargetLocal, boot.TargetMenu:
		return fmt.Errorf("a target of kind %s cannot be booted from within another", t.Kind)
	}
	return fmt.Errorf("target kind %q is unknown", t.Kind)
}

// fetch is a command that downloads a file of the plan. options go before the
// address, rest after it.
func (s *script) fetch(command, options, file, rest string) error {
	u, err := ipxeURL(s.base, file)
	if err != nil {
		return err
	}
	s.step("fetching " + u)
	s.must(strings.Join(strings.Fields(command+" "+options+" --timeout 30000 "+u+" "+rest), " "))
	return nil
}

// start runs what was loaded.
func (s *script) start() {
	s.ended = true
	s.step("starting what was loaded")
	s.must("boot")
	s.line("goto " + labelEnded)
}

// linux loads a kernel. Every image that is registered becomes part of what the
// kernel is given, so what earlier scripts left goes first. On UEFI the kernel's
// stub finds an initrd by its name; a BIOS kernel does not mind the names.
func (s *script) linux(t boot.Target) error {
	line, err := cmdline(t.Cmdline)
	if err != nil {
		return err
	}
	var args []string
	for i := range t.Initrds {
		args = append(args, "initrd=initrd"+strconv.Itoa(i))
	}
	s.line("imgfree ||")
	if err := s.fetch("kernel", "--name kernel", t.Kernel, strings.Join(append(args, guard(line)), " ")); err != nil {
		return err
	}
	for i, f := range t.Initrds {
		if err := s.fetch("initrd", "--name initrd"+strconv.Itoa(i), f, ""); err != nil {
			return err
		}
	}
	s.start()
	return nil
}

// efi runs an EFI program.
func (s *script) efi(t boot.Target) error {
	s.wrong, s.ended = true, true
	s.line("iseq ${platform} efi || goto " + labelWrong)
	s.line("imgfree ||")
	if err := s.fetch("chain", "--autofree", t.Program, ""); err != nil {
		return err
	}
	s.line("goto " + labelEnded)
	return nil
}

// bootManagers are the names that wimboot recognises.
var bootManagers = []string{"bootmgr", "bootmgr.exe", "bootmgfw.efi", "bootx64.efi", "bootia32.efi", "bootaa64.efi"}

// wimboot loads wimboot and the files it makes a disk of. On UEFI it finds them
// by name, on BIOS by the word after the address.
func (s *script) wimboot(t boot.Target) error {
	if t.Wim == nil {
		return errors.New("wimboot without its files")
	}
	s.line("imgfree ||")
	if err := s.fetch("kernel", "--name wimboot", t.Kernel, ""); err != nil {
		return err
	}
	file := func(name, from string) error {
		if from == "" {
			return nil
		}
		if !safe(name) || name == "" || len(name) > maxIdent || name[0] == '-' {
			return fmt.Errorf("%w: Windows PE cannot be given a file called %q", errPath, name)
		}
		return s.fetch("initrd", "--name "+name, from, name)
	}
	manager := ""
	if t.Wim.Boot != "" {
		manager = strings.ToLower(path.Base(t.Wim.Boot))
		if !slices.Contains(bootManagers, manager) {
			manager = "bootmgr.exe"
			if strings.HasSuffix(strings.ToLower(t.Wim.Boot), ".efi") {
				manager = "bootmgfw.efi"
			}
		}
	}
	for _, f := range [][2]string{{manager, t.Wim.Boot}, {"BCD", t.Wim.BCD}, {"boot.sdi", t.Wim.SDI}} {
		if err := file(f[0], f[1]); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(t.Wim.Files)) {
		from := t.Wim.Files[name]
		if answer, ok := strings.CutPrefix(from, "answer:"); ok {
			u, err := s.answer(answer)
			if err != nil {
				return err
			}
			from = u
		}
		if err := file(name, from); err != nil {
			return err
		}
	}
	if t.Wim.Wim == "" {
		return errors.New("wimboot without boot.wim")
	}
	if err := file("boot.wim", t.Wim.Wim); err != nil {
		return err
	}
	s.start()
	return nil
}

// answer is the address of a rendered answer file.
func (s *script) answer(name string) (string, error) {
	if err := token(s.answers); err != nil {
		return "", err
	}
	if err := ownPath(name); err != nil {
		return "", err
	}
	return s.base + pathAnswer + s.answers + "/" + escapePath(name), nil
}

// own is the operator's own script. A failing line would end it without a word,
// so each is given the way to the explanation; its last line leads to the local
// disk. Lines that already say what is done on failure are left alone.
func (s *script) own(t boot.Target) error {
	text := strings.ReplaceAll(t.Script, "\r\n", "\n")
	if strings.ContainsFunc(text, func(r rune) bool { return r != '\n' && r != '\t' && r < ' ' || r == 0x7f }) {
		return errors.New("script with control characters")
	}
	if first, rest, _ := strings.Cut(text, "\n"); strings.HasPrefix(first, "#!") {
		text = rest
	}
	if strings.TrimSpace(text) == "" {
		return errors.New("empty script")
	}
	if strings.Contains(text, ":"+labelPrefix) {
		return errors.New("script with a label that begins with " + labelPrefix)
	}
	s.ended = true
	s.step("a line of the script " + shown(title(t)))
	continued := false
	for l := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n") {
		more := strings.HasSuffix(l, "\\")
		switch begin := strings.TrimSpace(l); {
		case more, continued && begin == "":
			s.line(l)
		case !continued && (begin == "" || begin[0] == '#' || begin[0] == ':'):
			s.line(l)
		default:
			s.line(orFailed(l))
		}
		continued = more
	}
	s.line("goto " + labelEnded)
	return nil
}

// orFailed gives a line of an operator's script the way to the explanation. A
// word that begins with "#" begins a comment.
func orFailed(l string) string {
	l = strings.TrimRight(l, " \t")
	comment := ""
	for i := 1; i < len(l); i++ {
		if l[i] == '#' && (l[i-1] == ' ' || l[i-1] == '\t') {
			l, comment = strings.TrimRight(l[:i], " \t"), " "+l[i:]
			break
		}
	}
	words := strings.Fields(l)
	if len(words) == 0 || words[len(words)-1] == "||" || words[len(words)-1] == ";" {
		return l + comment
	}
	return l + " || goto " + labelFailed + comment
}

// chain hands over to another server.
func (s *script) chain(t boot.Target) error {
	if !strings.Contains(t.URL, "://") {
		return fmt.Errorf("%w: %q is not a URL", errPath, t.URL)
	}
	u, err := ipxeURL(s.base, t.URL)
	if err != nil {
		return err
	}
	s.ended = true
	if plainURL, _, _ := strings.Cut(u, "?"); strings.HasSuffix(plainURL, "pxelinux.0") {
		// pxelinux looks for its files where the boot file of DHCP was, which
		// is this box, unless it is told.
		s.line("set 210:string ", folder(u))
	}
	s.step("fetching " + u)
	s.must("chain --autofree --replace --timeout 30000 " + u)
	s.line("goto " + labelEnded)
	return nil
}

// san boots from a network disk, or attaches it and boots something else.
func (s *script) san(t boot.Target, then *boot.Target) error {
	if t.SAN == nil {
		return errors.New("network disk without its description")
	}
	u, err := s.sanURI(*t.SAN)
	if err != nil {
		return err
	}
	drive := ""
	if t.SAN.Drive != 0 {
		if t.SAN.Drive < 0 || t.SAN.Drive > 0xff {
			return fmt.Errorf("drive %d: want 128 to 255", t.SAN.Drive)
		}
		drive = fmt.Sprintf(" --drive 0x%02x", t.SAN.Drive)
	}
	if t.SAN.Hook {
		if then == nil {
			return errors.New("attached disk with nothing to boot")
		}
		if then.Kind == boot.TargetSAN {
			return errors.New("attached disk that would boot another one")
		}
		s.unhook = "sanunhook" + drive + " ||"
		// Else the disk is detached before what is booted can take it over.
		s.line("set keep-san 1")
		s.step("attaching the network disk " + u)
		s.must("sanhook" + drive + " " + u)
		return s.target(*then, nil)
	}
	s.ended = true
	s.step("booting from the network disk " + u)
	if f := t.SAN.File; f != "" {
		f = strings.ReplaceAll(f, "/", `\`)
		if err := printable(f); err != nil {
			return err
		}
		s.line("iseq ${platform} efi || goto sanbios")
		s.must("sanboot" + drive + " --filename " + f + " " + u)
		s.line("goto " + labelEnded)
		s.line(":sanbios")
	}
	s.must("sanboot" + drive + " " + u)
	s.line("goto " + labelEnded)
	return nil
}

// sanURI sets what the protocol needs and returns the disk's URI in iPXE's
// notation.
func (s *script) sanURI(d boot.SAN) (string, error) {
	switch d.Protocol {
	case boot.SANHTTP:
		return sanURL(d.URL)
	case boot.SANAoE:
		if d.Shelf == "" || !safe(d.Shelf) {
			return "", fmt.Errorf("%w: AoE shelf %q", errPath, d.Shelf)
		}
		return "aoe:" + d.Shelf, nil
	case boot.SANiSCSI:
	default:
		return "", fmt.Errorf("network disk by %q", d.Protocol)
	}
	host := d.Host
	if a, err := netip.ParseAddr(host); err == nil && a.Is6() {
		host = "[" + host + "]"
	}
	port, lun := d.Port, d.LUN
	if port == 0 {
		port = 3260
	}
	if lun == "" {
		lun = "0"
	}
	for _, v := range []string{host, d.IQN} {
		if err := printable(v); err != nil {
			return "", err
		}
	}
	if port < 0 || port > 65535 || !safe(lun) || strings.ContainsAny(lun, ":.") || !safe(strings.Trim(host, "[]")) ||
		strings.Contains(host, ":") && host[0] != '[' {
		return "", fmt.Errorf("%w: iSCSI server %q, port %d, LUN %q", errPath, host, port, lun)
	}
	if d.Initiator != "" {
		if err := printable(d.Initiator); err != nil {
			return "", err
		}
		s.line("set initiator-iqn ", guard(d.Initiator))
	}
	if d.User != "" {
		s.set("username", d.User)
		s.set("password", d.Password)
	}
	// 6 is TCP, the only protocol there is.
	return "iscsi:" + host + ":6:" + strconv.Itoa(port) + ":" + lun + ":" + d.IQN, nil
}

// Programs of the box for targets that name none.
const (
	pxelinuxFolder  = "pxelinux/"
	pxelinuxDefault = "lpxelinux.0"
)

// pxelinuxProgram is the name of a target's pxelinux below the box's root. The
// box's own lies in a folder with its modules.
func pxelinuxProgram(t boot.Target) string {
	switch t.Program {
	case "":
		return pxelinuxFolder + pxelinuxDefault
	case "pxelinux.0", pxelinuxDefault:
		return pxelinuxFolder + t.Program
	}
	return t.Program
}

// pxelinux runs pxelinux, which looks for its configuration and modules in the
// folder it came from: it would take the folder of DHCP's boot file for that.
func (s *script) pxelinux(t boot.Target) error {
	u, err := ipxeURL(s.base, pxelinuxProgram(t))
	if err != nil {
		return err
	}
	s.wrong, s.ended = true, true
	s.line("iseq ${platform} efi && goto " + labelWrong + " ||")
	s.line("imgfree ||")
	s.line("set 210:string ", folder(u))
	if t.Script != "" {
		// Its configuration is rendered for this machine: the name that says
		// so goes first, before a "default" that may lie in the same folder.
		s.line("set 209:string ", pxelinuxDir, "/01-${mac:hexhyp}")
	}
	s.step("fetching " + u)
	s.must("chain --autofree --timeout 30000 " + u)
	s.line("goto " + labelEnded)
	return nil
}

// grub runs a GRUB network image.
func (s *script) grub(t boot.Target) error {
	s.wrong, s.ended = true, true
	s.line("iseq ${platform} efi || goto " + labelWrong)
	s.line("imgfree ||")
	if t.Program != "" {
		if err := s.fetch("chain", "--autofree", t.Program, ""); err != nil {
			return err
		}
		s.line("goto " + labelEnded)
		return nil
	}
	s.line("set grub x86_64/grubx64.efi")
	s.line("iseq ${buildarch} arm64 && set grub arm64/grubaa64.efi ||")
	s.line("iseq ${buildarch} arm32 && set grub arm32/snponly.efi ||")
	s.line("iseq ${buildarch} i386 && set grub i386/snponly.efi ||")
	s.step("fetching " + s.base + "/${grub}")
	s.must("chain --autofree --timeout 30000 " + s.base + "/${grub}")
	s.line("goto " + labelEnded)
	return nil
}
