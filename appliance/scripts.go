package appliance

import (
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/bootpuck/bootpuck/appliance/boot"
	"github.com/bootpuck/bootpuck/appliance/bootweb"
	"github.com/bootpuck/bootpuck/appliance/ipxe"
	"github.com/bootpuck/bootpuck/appliance/registry"
)

// scripts answers machines that ask for a text: it finds out who asks, lets the
// registry decide, and has the decision written down in the language of the
// program that asked.
type scripts struct{ box *Box }

// Script implements bootweb.Scripts.
func (s scripts) Script(dst []byte, q bootweb.Query) ([]byte, bootweb.Script) {
	head, rest, _ := strings.Cut(q.Name, "/")
	if s.box.cfg.Settings.Observe && head != ipxe.NameBoot {
		// Whoever asks has been sent here by somebody else. Nothing is handed out,
		// and nothing counts as a boot.
		return dst, bootweb.Script{Reason: boot.ReasonObserve, Status: http.StatusServiceUnavailable, Text: boot.ReasonObserve.Text()}
	}
	switch head {
	case ipxe.NameMachine:
		return s.machine(dst, q)
	case "x":
		return s.start(dst, q, rest)
	case "m":
		return s.pick(dst, q, rest)
	case "w":
		return s.wait(dst, q, rest)
	case "a":
		return s.answer(dst, q, rest)
	case "cb":
		return s.callback(dst, q, rest)
	case ipxe.NameLeft:
		return s.left(dst, q)
	}
	if text, out, ok := s.box.config(dst, q.Name, q.Addr, q.Base, q.Base); ok {
		return text, out
	}
	return s.fixed(dst, q)
}

// fixed renders a text that is the same for every machine.
func (s scripts) fixed(dst []byte, q bootweb.Query) ([]byte, bootweb.Script) {
	r := s.box.files.renderer
	out := bootweb.Script{}
	if q.Name == ipxe.NameBoot {
		params, err := ipxe.ParseParams(q.RawQuery)
		if err != nil {
			return r.Unusable(dst), bootweb.Script{Reason: boot.ReasonParameter, Text: err.Error()}
		}
		out.MAC, out.GUID, out.Text = params.MAC, params.GUID, describe(params)
	}
	text, ok := r.Text(dst, q.Name, ipxe.Request{Base: q.Base})
	switch {
	case ok:
	case ipxe.Known(q.Name):
		out.Reason = boot.ReasonRender
		text = r.Unusable(dst)
	default:
		out.Reason = boot.ReasonNotFound
	}
	return text, out
}

// left notes that a machine leaves for its disk, or that a step of its script
// failed. It is a claim about the sender alone, and nothing depends on it but
// the story of its boot.
func (scripts) left(dst []byte, q bootweb.Query) ([]byte, bootweb.Script) {
	how := queryValue(q.RawQuery, "how", 16)
	text, ok := ipxe.LeftText(how)
	if !ok {
		return dst, bootweb.Script{Reason: boot.ReasonNotFound}
	}
	out := bootweb.Script{Text: text}
	if ipxe.LeftFailed(how) {
		out.Reason = boot.ReasonFetchBroken
		if step := queryValue(q.RawQuery, "step", maxSaid); step != "" {
			out.Text += ": " + ipxe.Tellable(step)
		}
	}
	return append(dst, "#!ipxe\n"...), out
}

// machine is the machine's own script: the answer to the boot script's question.
func (s scripts) machine(dst []byte, q bootweb.Query) ([]byte, bootweb.Script) {
	params, err := ipxe.ParseParams(q.RawQuery)
	if err != nil {
		return s.box.files.renderer.Unusable(dst), bootweb.Script{Reason: boot.ReasonParameter, Text: err.Error()}
	}
	out := bootweb.Script{MAC: params.MAC, GUID: params.GUID}
	ask := s.box.ask(params.Sighting(s.box.cfg.Now()), q.Addr, q.Base, registry.LoaderIPXE)
	plan := s.box.registry.Decide(ask)
	text, out := s.render(dst, plan, ask, out)
	out.Text = describe(params)
	if note := planned(plan); note != "" {
		out.Text = strings.TrimPrefix(out.Text+": "+note, ": ")
	}
	return text, out
}

// render writes a plan in the language of the program that asked. What cannot be
// written down is said on the machine's screen, and the local disk comes next.
func (s scripts) render(dst []byte, plan boot.Plan, ask registry.Ask, out bootweb.Script) ([]byte, bootweb.Script) {
	out.Reason, out.Action, out.Profile, out.Elsewhere = plan.Choice.Reason, plan.Told(), plan.Choice.Profile, plan.Elsewhere()
	if plan.Choice.Source == boot.SourceSettings && strings.Contains(s.box.cfg.Settings.DefaultScript, "://") {
		out.Elsewhere = true
	}
	r := s.box.files.renderer
	var text []byte
	var reason boot.Reason
	if ask.Loader == registry.LoaderGRUB {
		text, reason = r.GRUB(dst, plan, ask.Base)
	} else {
		text, reason = r.Plan(dst, plan, ask.Base)
	}
	if reason != boot.ReasonNone {
		out.Reason = reason
		text = s.refusal(dst, reason, ask)
	}
	return text, out
}

// refused says on the machine's screen why it does not get what it asked for.
func (s scripts) refused(dst []byte, reason boot.Reason, ask registry.Ask) ([]byte, bootweb.Script) {
	return s.refusal(dst, reason, ask), bootweb.Script{Reason: reason, Text: reason.Text()}
}

// refusal is the text of a refusal.
func (s scripts) refusal(dst []byte, reason boot.Reason, ask registry.Ask) []byte {
	r := s.box.files.renderer
	if ask.Loader == registry.LoaderGRUB {
		text, _ := r.GRUB(dst, boot.Plan{
			Choice: boot.Choice{Action: boot.ActionLocal, Source: boot.SourceSafety, Reason: reason}, Note: reason.Text(), Default: -1,
		}, ask.Base)
		return text
	}
	return r.Refused(dst, reason, ask.Base)
}

// planned is a plan in a few words.
func planned(p boot.Plan) string {
	switch {
	case p.Choice.Profile != "":
		return string(p.Choice.Action) + " " + p.Choice.Profile + " (" + string(p.Choice.Source) + ")"
	case p.Choice.Source == boot.SourceBuiltIn || p.Choice.Source == boot.SourceSettings:
		return ""
	}
	return string(p.Choice.Action) + " (" + string(p.Choice.Source) + ")"
}

// stranger is a request that says nothing of the machine but its address; the
// box knows whose that is. The text that led here says which program asks.
func (s scripts) stranger(q bootweb.Query) registry.Ask {
	loader := registry.LoaderIPXE
	if queryValue(q.RawQuery, "loader", 16) == registry.LoaderGRUB {
		loader = registry.LoaderGRUB
	}
	return s.box.ask(boot.Sighting{}, q.Addr, q.Base, loader)
}

func (s scripts) start(dst []byte, q bootweb.Query, token string) ([]byte, bootweb.Script) {
	ask := s.stranger(q)
	plan, reason := s.box.registry.Start(token, ask)
	if reason != boot.ReasonNone {
		return s.refused(dst, reason, ask)
	}
	text, out := s.render(dst, plan, ask, bootweb.Script{})
	out.Text = planned(plan)
	return text, out
}

func (s scripts) pick(dst []byte, q bootweb.Query, rest string) ([]byte, bootweb.Script) {
	token, number, _ := strings.Cut(rest, "/")
	n, err := strconv.Atoi(number)
	if err != nil || n < 0 || len(number) > 4 {
		return dst, bootweb.Script{Reason: boot.ReasonNotFound}
	}
	ask := s.stranger(q)
	plan, reason := s.box.registry.Pick(token, n, queryValue(q.RawQuery, "code", 32), ask)
	if reason != boot.ReasonNone {
		return s.refused(dst, reason, ask)
	}
	text, out := s.render(dst, plan, ask, bootweb.Script{})
	out.Text = planned(plan)
	return text, out
}

func (s scripts) wait(dst []byte, q bootweb.Query, token string) ([]byte, bootweb.Script) {
	// As long as nobody has decided, the plan is to ask again.
	ask := s.stranger(q)
	plan, _, reason := s.box.registry.Wait(token, ask)
	if reason != boot.ReasonNone {
		return s.refused(dst, reason, ask)
	}
	text, out := s.render(dst, plan, ask, bootweb.Script{})
	out.Text = planned(plan)
	return text, out
}

func (s scripts) answer(dst []byte, q bootweb.Query, rest string) ([]byte, bootweb.Script) {
	token, name, _ := strings.Cut(rest, "/")
	text, kind, reason := s.box.registry.Answer(token, name, s.stranger(q))
	if reason != boot.ReasonNone {
		return dst, bootweb.Script{Reason: reason, Status: http.StatusNotFound, Text: reason.Text()}
	}
	return append(dst, text...), bootweb.Script{Type: kind, Text: "answer file " + name}
}

func (s scripts) callback(dst []byte, q bootweb.Query, rest string) ([]byte, bootweb.Script) {
	token, name, _ := strings.Cut(rest, "/")
	said := queryValue(q.RawQuery, "text", maxSaid)
	if said == "" {
		said = clean(string(q.Body), maxSaid)
	}
	out := bootweb.Script{Reason: s.box.registry.Callback(token, boot.Callback(name), said, s.stranger(q))}
	switch out.Reason {
	case boot.ReasonNone:
		out.Text = "the installer says " + name
		return append(dst, "ok\n"...), out
	case boot.ReasonStateWait:
		out.Status = http.StatusServiceUnavailable // with Retry-After: the installer is to repeat it
	case boot.ReasonParameter:
		out.Status = http.StatusBadRequest
	default:
		out.Status = http.StatusNotFound
	}
	out.Text = out.Reason.Text()
	return dst, out
}

// maxSaid is how much of an installer's words is kept, in octets.
const maxSaid = 1024

// queryValue is one parameter of a query: bounded and printable, else empty.
func queryValue(raw, name string, limit int) string {
	for range 16 {
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		if key, value, _ := strings.Cut(pair, "="); key == name && len(value) <= 3*limit {
			if s, err := url.QueryUnescape(value); err == nil {
				return clean(s, limit)
			}
		}
		if raw == "" {
			break
		}
	}
	return ""
}

// clean cuts s to at most limit octets of valid text without control characters.
func clean(s string, limit int) string {
	if len(s) > limit {
		s = s[:limit]
	}
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == utf8.RuneError || r >= 0x80 && r < 0xa0 || r >= 0x2028 && r <= 0x202e {
			return ' '
		}
		return r
	}, s))
}

// config renders the configuration of pxelinux or GRUB for the machine that
// asks. base is the box by HTTP; files is where pxelinux is to fetch from, the way
// that it came: pxelinux.0 from a ROM knows TFTP alone. ok is false for a name
// that is neither's.
func (b *Box) config(dst []byte, name string, from netip.Addr, base, files string) (text []byte, out bootweb.Script, ok bool) {
	lower := strings.ToLower(name)
	folder, key, pxelinux := ipxe.PXELinuxKey(lower)
	loader := registry.LoaderPXELinux
	if !pxelinux {
		var grub bool
		if key, grub = ipxe.GRUBKey(lower); !grub {
			return dst, out, false
		}
		loader = registry.LoaderGRUB
	}
	s := boot.Sighting{MAC: key.MAC, GUID: key.GUID}
	ask := b.ask(s, from, base, loader)
	out.MAC, out.GUID = ask.Sighting.MAC, key.GUID
	plan := b.registry.Decide(ask)
	out.Text = planned(plan)
	if pxelinux && asItIs(plan) && !key.Default && b.files.hasConfig(folder) {
		// The folder has a configuration for everybody, and nobody has written
		// another: it is served as it is, under the last name that is asked for.
		return dst, bootweb.Script{Reason: boot.ReasonNotFound}, true
	}
	if plan.Choice.Action == boot.ActionSilent {
		// Silence would send it on to the name for everybody. This machine gets
		// nothing, and its own disk is what nothing comes to.
		plan.Choice.Action = boot.ActionLocal
	}
	out.Action, out.Profile, out.Elsewhere = plan.Told(), plan.Choice.Profile, plan.Elsewhere()
	var reason boot.Reason
	if pxelinux {
		text, reason = b.files.renderer.PXELinux(dst, plan, fetchFrom(folder, plan, base, files))
	} else {
		text, reason = b.files.renderer.GRUB(dst, plan, base)
	}
	out.Reason = plan.Choice.Reason
	if reason != boot.ReasonNone {
		out.Reason = reason
	}
	return text, out, true
}

// fetchFrom is where pxelinux is to fetch from. lpxelinux.0, which is what the box
// itself gives to firmware, speaks HTTP, the quicker way; any other goes on the way
// it came.
func fetchFrom(folder string, p boot.Plan, base, files string) string {
	switch path.Base(p.Target.Program) {
	case "lpxelinux.0":
		return base
	case "pxelinux.0":
		return files
	}
	if folder == "pxelinux" {
		return base
	}
	return files
}

// asItIs says whether a machine may have the configuration that its folder holds
// for everybody: that is what it is to boot, or nobody has decided about it.
// Where something was decided against it (its installation is done, was stopped
// or disarmed, or it is not proven to be the machine), the folder's own
// configuration would start what must not start.
func asItIs(p boot.Plan) bool {
	if p.Choice.Reason != boot.ReasonNone {
		return false
	}
	switch p.Choice.Action {
	case boot.ActionBoot, boot.ActionArmed:
		return p.Target.Kind == boot.TargetPXELinux && p.Target.Script == ""
	case boot.ActionMenu:
		return true
	case boot.ActionSilent, boot.ActionLocal, boot.ActionAsk:
	}
	return false
}
