package boot

import (
	"slices"
	"strings"
)

// Plan is a choice made ready for a machine: every template expanded, every
// path a name below the box's root or an absolute URL. What renders it decides
// nothing any more.
type Plan struct {
	Choice  Choice
	Profile Profile
	Target  Target  // templates expanded, Tree folded into the paths
	Then    *Target // for a SAN target with Hook: what is booted with the disk attached
	Title   string  // the machine's name, or what else identifies it on its screen
	Note    string  // why it gets this, for its screen; printable ASCII, empty when all is as it should be
	// Token leads on: ActionArmed to /x/<token>, ActionMenu and menu targets to
	// /m/<token>/<n>, ActionAsk to /w/<token>.
	Token string
	Code  string // ActionArmed, ActionAsk: shown on the screen
	// AnswerToken and CallbackToken are those of this attempt, for templates and
	// for entries of Wim.Files that name an answer.
	AnswerToken, CallbackToken string
	Menu                       []PlanEntry // of a menu target, or the built-in menu's profiles
	Seconds                    int         // until the menu's default is taken
	Default                    int         // index in Menu that is taken by time-out; -1: the local disk
}

// Told is the plan's action as events have it: ActionArmed only for what
// overwrites something and has to report its end. A harmless target that is booted
// once is a boot like any other.
func (p Plan) Told() Action {
	if p.Choice.Action == ActionArmed && !p.Target.Destructive {
		return ActionBoot
	}
	return p.Choice.Action
}

// Elsewhere says whether what the machine boots is fetched from other servers, or
// may be: the box then sees nothing of it after its script.
func (p Plan) Elsewhere() bool {
	switch p.Choice.Action {
	case ActionBoot, ActionArmed:
	case ActionMenu, ActionSilent, ActionLocal, ActionAsk:
		return false
	}
	t := p.Target
	if p.Then != nil {
		t = *p.Then
	}
	remote := func(names ...string) bool {
		return slices.ContainsFunc(names, func(n string) bool { return strings.Contains(n, "://") })
	}
	switch t.Kind {
	case TargetChain, TargetSAN, TargetScript:
		return true
	case TargetLinux:
		return remote(append(t.Initrds[:len(t.Initrds):len(t.Initrds)], t.Kernel)...)
	case TargetWimboot:
		return remote(t.Kernel) || t.Wim != nil && remote(t.Wim.Wim)
	case TargetEFI, TargetPXELinux, TargetGRUB:
		return remote(t.Program)
	case TargetLocal, TargetMenu:
	}
	return false
}

// PlanEntry is a line of a menu as one machine sees it.
type PlanEntry struct {
	Title       string
	Key         string // one letter or digit, or empty
	Gap         bool   // a heading
	Sub         bool   // leads to another menu
	Destructive bool   // asks for a code that the screen shows
	Locked      bool   // asks the operator first
	// Disabled entries are shown with the reason why they cannot work here.
	Disabled Reason
	Detail   string // for Disabled: "needs 2048 MiB, this machine has 512"
}

// FieldError says what is wrong with one field of a document.
type FieldError struct {
	Field string `json:"field"` // path: "needs.memory", "initrds[1]", "menu.entries[0].key"
	What  string `json:"what"`  // what is wrong and what to write instead
}

// FieldErrors are all that is wrong with a document. It is an error as long as
// it is not empty; Err turns the empty list into nil.
type FieldErrors []FieldError

// Error lists the fields.
func (e FieldErrors) Error() string {
	var b strings.Builder
	for i, f := range e {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(f.Field + ": " + f.What)
	}
	return b.String()
}

// Err is nil when nothing is wrong.
func (e FieldErrors) Err() error {
	if len(e) == 0 {
		return nil
	}
	return e
}
