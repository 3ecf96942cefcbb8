package ipxe

import (
	"strconv"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// maxEntries bounds a menu. iPXE scrolls, people do not.
const maxEntries = 500

// menuDefault is the entry that the time-out takes: harmless, or the local disk.
func menuDefault(p boot.Plan) int {
	if p.Default < 0 || p.Default >= len(p.Menu) {
		return -1
	}
	// A sub-menu would be harmless too, but two that lead to each other would
	// go round for ever.
	if e := p.Menu[p.Default]; e.Gap || e.Sub || e.Destructive || e.Locked || e.Disabled != boot.ReasonNone {
		return -1
	}
	return p.Default
}

// menuSeconds is the time-out of a menu.
func menuSeconds(p boot.Plan) int {
	if p.Seconds <= 0 || p.Seconds > 3600 {
		return MenuSeconds
	}
	return p.Seconds
}

// entryTitle is a line of a menu, with what people should know before they take
// it.
func entryTitle(e boot.PlanEntry, disabled string) string {
	t := plain(e.Title)
	if len(t) > 60 {
		t = t[:60]
	}
	switch {
	case e.Gap:
		return t
	case disabled != "":
		return "(not here) " + t + ": " + disabled
	}
	if e.Destructive {
		t += " [overwrites: asks for a code]"
	}
	if e.Locked {
		t += " [asks the operator]"
	}
	if e.Sub {
		t += " >"
	}
	return t
}

// disabledText is why an entry cannot be taken; empty when it can.
func disabledText(p boot.Plan, e boot.PlanEntry) string {
	switch {
	case e.Gap:
		return ""
	case e.Disabled == boot.ReasonNotBootableHere: // its detail is but the name of the program
		return e.Disabled.Text()
	case e.Disabled != boot.ReasonNone && plain(e.Detail) != "":
		return plain(e.Detail)
	case e.Disabled != boot.ReasonNone:
		return e.Disabled.Text()
	case e.Destructive && plain(p.Code) == "":
		return boot.ReasonDestructive.Text()
	}
	return ""
}

// menuTitle is the heading of a menu.
func menuTitle(p boot.Plan) string {
	if p.Target.Menu != nil && plain(p.Target.Menu.Title) != "" {
		return p.Target.Menu.Title
	}
	return title(p.Target)
}

// validKey says whether iPXE and GRUB take it for a key.
func validKey(k string) bool {
	return len(k) == 1 && (k[0] >= 'a' && k[0] <= 'z' || k[0] >= 'A' && k[0] <= 'Z' || k[0] >= '0' && k[0] <= '9')
}

// entries are the menu's lines.
func (s *script) entries(p boot.Plan) {
	for i, e := range p.Menu {
		disabled := disabledText(p, e)
		switch {
		case e.Gap, disabled != "":
			s.line(say("item --gap", entryTitle(e, disabled)))
		default:
			key := ""
			if validKey(e.Key) {
				key = "--key " + e.Key + " "
			}
			s.line("item ", key, "e", strconv.Itoa(i), " ", shown(entryTitle(e, "")))
		}
	}
}

// picks are the commands behind the lines of entries: each asks the box for its
// entry, those that overwrite only after their code was typed.
func (s *script) picks(p boot.Plan) {
	pick, code := false, false
	for i, e := range p.Menu {
		if e.Gap || disabledText(p, e) != "" {
			continue
		}
		pick = true
		s.line(":e", strconv.Itoa(i))
		s.line("set pick ", strconv.Itoa(i))
		if !e.Destructive {
			s.line("goto pick")
			continue
		}
		code = true
		s.line("set what ", shown(entryTitle(e, "")))
		s.line("goto code")
	}
	if code {
		s.line(":code")
		s.line("echo")
		s.line("echo ${what}")
		// Nobody may be there: a key could have come from noise on a serial line.
		s.line("prompt --key y --timeout ", millis(failSeconds), " Press y to go on, or wait to return to the menu. || goto start")
		s.code(p.Code)
		s.line("clear typed ||")
		s.line("echo -n Type the code and press Enter:${nothing} ||")
		s.line("read typed || goto start")
		s.line("isset ${typed} || goto start")
		s.line("chain --autofree --replace --timeout 30000 ", s.base, pathMenu, p.Token, "/${pick}?code=${typed:uristring} || goto failed")
	}
	if pick {
		s.line(":pick")
		s.line("chain --autofree --replace --timeout 30000 ", s.base, pathMenu, p.Token, "/${pick} || goto failed")
	}
}

// hasPicks says whether a menu has a line to take.
func hasPicks(p boot.Plan) bool {
	for _, e := range p.Menu {
		if !e.Gap && disabledText(p, e) == "" {
			return true
		}
	}
	return false
}

// checkMenu checks what leads on from a menu.
func checkMenu(p boot.Plan) error {
	if len(p.Menu) > maxEntries {
		return errNotHere
	}
	if !hasPicks(p) {
		return nil
	}
	return token(p.Token)
}

// menuPlan is a menu that the operator has made.
func (s *script) menuPlan(p boot.Plan) error {
	if err := checkMenu(p); err != nil {
		return err
	}
	name := menuTitle(p)
	if t := plain(p.Title); t != "" {
		name = t + ": " + name
	}
	s.line("#!ipxe")
	s.line("set wait:int32 ", millis(menuSeconds(p)))
	s.line("set first ", entryName(menuDefault(p)))
	s.line(":start")
	s.line(say("menu", "bootpuck  "+name), " || goto plain")
	for _, l := range wrap(p.Note, 74) {
		s.line(say("item --gap", l))
	}
	if plain(p.Note) != "" {
		s.line("item --gap")
	}
	s.entries(p)
	s.line("item --gap")
	s.line("item --key l local Continue to the local disk")
	s.line("item again Start over")
	s.line("choose --default ${first} --timeout ${wait} sel || goto local")
	// Whoever has touched the menu gets more time on coming back to it, and
	// what has failed once is not what the time-out takes again.
	s.line("set wait:int32 120000")
	s.line("set first local")
	s.line("goto ${sel} || goto local")
	s.picks(p)
	s.line(":again")
	s.line("chain --autofree --replace --timeout 30000 ", s.base, "/", NameBoot, " || goto failed")
	s.b.WriteString(menuFailed)
	s.line(":plain")
	s.line("echo bootpuck: this iPXE has no menus")
	s.line(":local")
	s.line("echo bootpuck: continuing to the local disk")
	s.left(leftMenu)
	s.line(leave)
	return nil
}

// entryName is the name of a menu's line in a script.
func entryName(i int) string {
	if i < 0 {
		return "local"
	}
	return "e" + strconv.Itoa(i)
}

// Marks in the machine's script where a plan's own lines go.
const (
	markHead   = "\x01head"
	markTitle  = "\x01title"
	markItems  = "\x01items"
	markPicks  = "\x01picks"
	markFailed = "\x01failed" // when nothing else of the menu can fail
)

// builtin renders the menu of the box with the profiles of a plan.
func (r *Renderer) builtin(dst []byte, t template, p boot.Plan, base string) ([]byte, boot.Reason) {
	if err := checkMenu(p); err != nil {
		reason := reasonOf(err)
		return r.Refused(dst, reason, base), reason
	}
	var head, items, picks script
	text := shown(p.Note)
	if text == "" {
		text = "(${mac}) has no assignment."
		if t := shown(p.Title); t != "" {
			text = t + " " + text
		} else {
			text = "This machine " + text
		}
	}
	head.line("set wait:int32 ", millis(menuSeconds(p)))
	head.line("set first ", entryName(menuDefault(p)))
	head.line("set note ", text)
	if lines := wrap(p.Note, 74); len(lines) > 0 {
		if t := plain(p.Title); t != "" {
			items.line(say("item --gap", t))
		}
		for _, l := range lines {
			items.line(say("item --gap", l))
		}
	} else {
		items.line("item --gap ${note}")
	}
	items.line("item --gap")
	if len(p.Menu) > 0 {
		items.entries(p)
		items.line("item --gap")
	}
	name := "bootpuck  " + base
	if t := menuTitle(p); plain(t) != "" {
		name = t
	}
	picks.base = base
	picks.picks(p)
	failed := ""
	if hasPicks(p) {
		failed = menuFailed
	}
	return t.fill(dst, base, func(mark string) (text string, whole bool) {
		switch mark {
		case markFailed:
			return failed, true
		case markHead:
			return head.b.String(), true
		case markItems:
			return items.b.String(), true
		case markPicks:
			return picks.b.String(), true
		}
		return say("menu", name), false // markTitle: the rest of its line stays
	}), boot.ReasonNone
}
