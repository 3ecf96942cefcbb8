package ipxe

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// AskGRUB and AskPXELinux are the values of the query parameter "loader" with
// which a configuration asks for the next one: what comes is for this program,
// not a script for iPXE.
const (
	AskGRUB     = "grub"
	AskPXELinux = "pxelinux"
)

// marks in the menu for GRUB where a plan's own lines go.
const (
	markGRUBHead  = "\x01head"
	markGRUBItems = "\x01items"
)

// GRUB appends the configuration of GRUB's network image for a plan: the ia32
// image and the signed one that shim starts under Secure Boot. Every file is
// named with the box's own address (see grubConfig). What only iPXE can boot,
// and plans without a text, are as for PXELinux; there is no iPXE to hand over
// to, so those machines get the reason and their local disk.
func (r *Renderer) GRUB(dst []byte, p boot.Plan, base string) ([]byte, boot.Reason) {
	switch {
	case p.Choice.Action == boot.ActionSilent:
		return dst, silentReason(p)
	case p.Choice.Action == boot.ActionBoot && p.Target.Kind == boot.TargetGRUB && p.Target.Script == "":
		return dst, boot.ReasonNotFound
	}
	g := &grub{token: p.Token}
	err := CheckBase(base)
	if err == nil {
		switch {
		case p.Choice.Action == boot.ActionMenu:
			return r.grubBuiltin(dst, r.grubMenu, p, base)
		case p.Choice.Source == boot.SourceSettings && p.Target.Kind == "":
			return r.grubBuiltin(dst, r.grubConfigured, p, base)
		}
		err = g.plan(p, grubDevice(base))
	}
	if err == nil {
		return append(dst, g.b.String()...), boot.ReasonNone
	}
	reason := reasonOf(err)
	g = &grub{}
	g.cpu()
	g.say("bootpuck: " + reason.Text())
	g.pause(failSeconds)
	g.local()
	return append(dst, g.b.String()...), reason
}

// grubDevice is the box as a GRUB device. GRUB knows no HTTPS; over plain HTTP
// the device takes a port, else the files come by TFTP.
func grubDevice(base string) string {
	host, path := baseHost(base)
	if strings.HasPrefix(base, "http://") {
		return "(http," + host + ")" + path
	}
	return "(tftp," + hostAddress(host) + ")"
}

// grub is a GRUB configuration in the making.
type grub struct {
	b     strings.Builder
	token string
}

func (g *grub) line(parts ...string) {
	for _, p := range parts {
		g.b.WriteString(p)
	}
	g.b.WriteByte('\n')
}

func (g *grub) say(text string) {
	for _, l := range wrap(text, 76) {
		g.line("echo ", grubQuote(l))
	}
}

// pause waits, or until escape is pressed.
func (g *grub) pause(seconds int) { g.line("sleep --interruptible ", strconv.Itoa(seconds)) }

// cpu sets what the names of loaders end in.
func (g *grub) cpu() {
	for _, l := range grubCPU {
		g.line(l)
	}
}

func (g *grub) local() {
	for _, l := range localDisk() {
		g.line(l)
	}
}

func (g *grub) head(p boot.Plan, device string, does string) {
	g.line("# bootpuck: what this machine is to do")
	g.line("set box=", grubQuote(device))
	g.cpu()
	text := "bootpuck: "
	if t := plain(p.Title); t != "" {
		text += t + ": "
	}
	g.say(text + does)
	g.say(p.Note)
}

// file is a file of the plan as GRUB names it.
func (g *grub) file(path string) (string, error) {
	if !strings.Contains(path, "://") {
		if err := ownPath(path); err != nil {
			return "", err
		}
		// Over HTTP the name is sent as it is.
		return "$box" + grubQuote("/"+escapeGRUB(path)), nil
	}
	rest, ok := strings.CutPrefix(path, "http://")
	scheme := "http"
	if !ok {
		rest, ok = strings.CutPrefix(path, "tftp://")
		scheme = "tftp"
	}
	if !ok {
		return "", fmt.Errorf("%w: GRUB knows HTTP and TFTP alone", errNotHere)
	}
	if strings.Contains(rest, "${") {
		return "", fmt.Errorf("%w: only iPXE has settings in addresses", errNotHere)
	}
	if err := printable(rest); err != nil {
		return "", err
	}
	host, name, _ := strings.Cut(rest, "/")
	if host == "" || strings.ContainsAny(host, "()',@") {
		return "", fmt.Errorf("%w: server %q", errPath, host)
	}
	return grubQuote("(" + scheme + "," + host + ")/" + name), nil
}

// escapeGRUB escapes what an HTTP request line cannot hold. TFTP names with such
// characters are not found, which is the lesser evil.
func escapeGRUB(path string) string {
	if strings.ContainsAny(path, " %?#") || strings.ContainsFunc(path, func(r rune) bool { return r > '~' }) {
		return escapePath(path)
	}
	return path
}

func (g *grub) plan(p boot.Plan, device string) error {
	t := p.Target
	switch p.Choice.Action {
	case boot.ActionLocal:
		g.head(p, device, "continuing to the local disk")
		if plain(p.Note) != "" {
			g.pause(noteSeconds)
		}
		g.local()
		return nil
	case boot.ActionArmed:
		return g.armed(p, device)
	case boot.ActionAsk:
		return g.ask(p, device)
	case boot.ActionBoot:
	case boot.ActionMenu, boot.ActionSilent:
		return errors.New("rendered elsewhere")
	default:
		return fmt.Errorf("action %q is unknown", p.Choice.Action)
	}
	switch t.Kind {
	case boot.TargetLocal:
		g.head(p, device, "continuing to the local disk")
		if plain(p.Note) != "" {
			g.pause(noteSeconds)
		}
		if t.Local == boot.LocalExit {
			g.line("exit")
		} else {
			g.local()
		}
		return nil
	case boot.TargetMenu:
		return g.menu(p, device)
	case boot.TargetGRUB:
		g.shown(p.Code)
		return g.own(t, device)
	case boot.TargetLinux:
		g.head(p, device, "booting "+title(t))
		g.shown(p.Code)
		if err := g.linux(t, device); err != nil {
			return err
		}
	case boot.TargetEFI:
		g.head(p, device, "booting "+title(t))
		g.shown(p.Code)
		f, err := g.file(t.Program)
		if err != nil {
			return err
		}
		g.line("if chainloader ", f, "; then boot; fi")
	case boot.TargetWimboot, boot.TargetScript, boot.TargetChain, boot.TargetSAN, boot.TargetPXELinux:
		return fmt.Errorf("%w: %s", errNotHere, t.Kind)
	default:
		return fmt.Errorf("target kind %q is unknown", t.Kind)
	}
	g.line("echo 'bootpuck: that failed, the lines above say why. Continuing to the local disk.'")
	g.pause(failSeconds)
	g.local()
	return nil
}

// linux boots a kernel with GRUB's own commands, which under Secure Boot ask
// shim about it.
func (g *grub) linux(t boot.Target, device string) error {
	kernel, err := g.file(t.Kernel)
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
	args := make([]string, 0, 16)
	for _, w := range kernelWords(line) {
		args = append(args, grubQuote(w))
	}
	g.line("if linux ", strings.TrimSpace(kernel+" "+strings.Join(args, " ")), "; then")
	switch files, tftp, err := g.initrds(t.Initrds, device); {
	case err != nil:
		return err
	case files == "":
		g.line("\tboot")
	default:
		if tftp != "" {
			g.line("\tif initrd", tftp, "; then boot; fi")
		}
		g.line("\tif initrd", files, "; then boot; fi")
	}
	g.line("fi")
	return nil
}

// initrds are the files as arguments of a command. GRUB 2.12 opens all of them
// before it reads one, and over HTTP the second does not open while the first
// one's data comes in (seen with Debian's signed image: "time out opening").
// Several of the box's own are therefore taken by TFTP first.
func (g *grub) initrds(paths []string, device string) (files, tftp string, err error) {
	own := len(paths) > 1 && strings.HasPrefix(device, "(http,")
	host, _, _ := strings.Cut(strings.TrimPrefix(device, "(http,"), ")")
	for _, f := range paths {
		name, err := g.file(f)
		if err != nil {
			return "", "", err
		}
		files += " " + name
		tftp += " " + grubQuote("(tftp,"+hostAddress(host)+")/"+f)
		own = own && !strings.Contains(f, "://")
	}
	if !own {
		tftp = ""
	}
	return files, tftp, nil
}

// kernelWords cuts a command line as the kernel does, which takes a text in
// double quotes for one word. GRUB puts the quotes back around words with
// spaces.
func kernelWords(line string) []string {
	var words []string
	var w strings.Builder
	quoted, begun := false, false
	flush := func() {
		if begun {
			words = append(words, w.String())
		}
		w.Reset()
		begun = false
	}
	for i := range len(line) {
		switch c := line[i]; {
		case c == '"':
			quoted, begun = !quoted, true
		case c == ' ' && !quoted:
			flush()
		default:
			w.WriteByte(c)
			begun = true
		}
	}
	flush()
	return words
}

// next is the address of a configuration that the box renders, for source.
func (g *grub) next(path string) (string, error) {
	if err := token(g.token); err != nil {
		return "", err
	}
	return "$box" + grubQuote(path+"?loader="+AskGRUB), nil
}

// armed shows the code and leaves time to cancel: sleep fails when escape was
// pressed.
func (g *grub) armed(p boot.Plan, device string) error {
	start, err := g.next(pathStart + p.Token)
	if err != nil {
		return err
	}
	g.head(p, device, "armed for "+armedTitle(p))
	g.code(p.Code)
	g.line("echo 'Starting in ", strconv.Itoa(armedSeconds), " seconds. Press Esc to cancel.'")
	g.line("if sleep --verbose --interruptible ", strconv.Itoa(armedSeconds), "; then")
	g.line("\tsource ", start)
	g.line("\techo 'bootpuck: the installation could not be started. Continuing to the local disk.'")
	g.line("\tsleep --interruptible ", strconv.Itoa(failSeconds))
	g.line("else")
	g.line("\techo 'bootpuck: cancelled at the machine. The assignment stays.'")
	g.line("fi")
	g.local()
	return nil
}

// shown shows the code of an armed plan that has been handed out, if it has one,
// and leaves time to go to the local disk instead.
func (g *grub) shown(code string) {
	if plain(code) == "" {
		return
	}
	g.code(code)
	g.line("echo 'Starting in ", strconv.Itoa(armedSeconds), " seconds. Press Esc for the local disk instead.'")
	g.line("if sleep --verbose --interruptible ", strconv.Itoa(armedSeconds), "; then")
	g.line("\ttrue")
	g.line("else")
	g.local()
	g.line("fi")
}

func (g *grub) code(code string) {
	g.line("echo")
	for _, row := range big(code) {
		g.line("echo ", grubQuote(row))
	}
	g.line("echo")
	g.line("echo ", grubQuote("Code: "+plain(code)))
	g.line("echo")
}

// ask waits for the operator. As long as nothing is decided the box refuses, or
// answers with this text, which then does nothing.
func (g *grub) ask(p boot.Plan, device string) error {
	wait, err := g.next(pathWait + p.Token)
	if err != nil {
		return err
	}
	g.line("if [ \"$bootpuck_ask\" = ", p.Token, " ]; then")
	g.line("\ttrue")
	g.line("else")
	g.line("set bootpuck_ask=", p.Token)
	g.head(p, device, "waiting for the operator to let this machine boot")
	g.code(p.Code)
	g.line("echo 'Press Esc for the local disk.'")
	g.line("set bootpuck_stop=")
	// GRUB cannot count: one loop in another makes the tries.
	tens := "0 1 2 3 4 5 6 7 8 9"
	outer := strings.Join(strings.Fields(tens + " " + tens)[:askSeconds/askEvery/10], " ")
	g.line("for tens in ", outer, "; do")
	g.line("\tfor ones in ", tens, "; do")
	g.line("\t\tif [ -z \"$bootpuck_stop\" ]; then")
	g.line("\t\t\tif sleep --interruptible ", strconv.Itoa(askEvery), "; then")
	// GRUB's test -f knows no files on the network.
	g.line("\t\t\t\tsource ", wait)
	g.line("\t\t\telse")
	g.line("\t\t\t\tset bootpuck_stop=1")
	g.line("\t\t\tfi")
	g.line("\t\tfi")
	g.line("\tdone")
	g.line("done")
	g.line("echo 'bootpuck: continuing to the local disk'")
	g.local()
	g.line("fi")
	return nil
}

// items are a menu's lines. GRUB cannot read a code, so what overwrites is shown
// with the way that remains.
func (g *grub) items(p boot.Plan) error {
	for i, e := range p.Menu {
		disabled := disabledText(p, e)
		if disabled == "" && e.Destructive {
			disabled = "GRUB cannot ask for its code: arm this machine instead"
		}
		id := "e" + strconv.Itoa(i)
		switch {
		case e.Gap:
			g.line("menuentry ", grubQuote("-- "+entryTitle(e, "")+" --"), " --id ", id, " {\n\ttrue\n}")
			continue
		case disabled != "":
			g.line("menuentry ", grubQuote(entryTitle(e, disabled)), " --id ", id, " {")
			for _, l := range wrap(disabled, 76) {
				g.line("\techo ", grubQuote(l))
			}
			g.line("\tsleep --interruptible ", strconv.Itoa(noteSeconds))
			g.line("}")
			continue
		}
		name, err := g.next(pathMenu + p.Token + "/" + strconv.Itoa(i))
		if err != nil {
			return err
		}
		key := ""
		if validKey(e.Key) {
			key = " --hotkey " + e.Key
		}
		g.line("menuentry ", grubQuote(entryTitle(e, "")), " --id ", id, key, " {")
		g.line("\tconfigfile ", name)
		g.line("}")
	}
	return nil
}

func (g *grub) menu(p boot.Plan, device string) error {
	if err := checkMenu(p); err != nil {
		return err
	}
	g.head(p, device, menuTitle(p))
	g.line("set timeout=", strconv.Itoa(menuSeconds(p)))
	g.line("set default=", entryName(menuDefault(p)))
	if err := g.items(p); err != nil {
		return err
	}
	g.line("menuentry 'Continue to the local disk' --id local --hotkey l {")
	for _, l := range localDisk() {
		g.line("\t", l)
	}
	g.line("}")
	return nil
}

// own is the operator's own configuration. It finds the box in $box.
func (g *grub) own(t boot.Target, device string) error {
	text := strings.ReplaceAll(t.Script, "\r\n", "\n")
	if strings.ContainsFunc(text, func(r rune) bool { return r != '\n' && r != '\t' && r < ' ' || r == 0x7f }) {
		return errors.New("configuration with control characters")
	}
	g.line("set box=", grubQuote(device))
	g.b.WriteString(text)
	if !strings.HasSuffix(text, "\n") {
		g.b.WriteByte('\n')
	}
	return nil
}

// grubBuiltin renders the menu of the box with the profiles of a plan.
func (r *Renderer) grubBuiltin(dst []byte, t template, p boot.Plan, base string) ([]byte, boot.Reason) {
	var head, items grub
	items.token = p.Token
	for _, text := range []string{p.Title, p.Note} {
		head.say(text)
	}
	err := checkMenu(p)
	if err == nil {
		err = items.items(p)
	}
	reason := boot.ReasonNone
	if err != nil {
		reason = reasonOf(err)
		items = grub{}
		head = grub{}
		head.say("bootpuck: " + reason.Text())
	}
	head.line("set timeout=", strconv.Itoa(menuSeconds(p)))
	if d := menuDefault(p); d >= 0 && err == nil {
		head.line("set default=", entryName(d))
	}
	out := strings.NewReplacer(markGRUBHead+"\n", head.b.String(), markGRUBItems+"\n", items.b.String()).
		Replace(string(t.appendTo(nil, grubQuote(grubDevice(base)))))
	return append(dst, out...), reason
}
