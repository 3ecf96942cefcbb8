package boot

import "time"

// Catalog is what the operator has decided, apart from single machines. It is
// immutable once in use.
type Catalog struct {
	Site      Site
	Targets   map[string]Target
	Profiles  map[string]Profile
	Groups    map[string]Group
	Templates map[string]Template
	Rules     []SelectRule // sorted: Order, then Name

	ready    bool
	compiled compiled
}

// Source says what decided which profile a machine gets, by precedence.
type Source string

// Sources, strongest first.
const (
	SourceDenied   Source = "denied"   // deny-list
	SourceSafety   Source = "safety"   // an assignment that must not run again: the local disk
	SourceMachine  Source = "machine"  // the machine's own assignment
	SourceUnknown  Source = "unknown"  // the policy for unknown machines
	SourceGroup    Source = "group"    // one of its groups
	SourceRule     Source = "rule"     // a match rule
	SourceDefault  Source = "default"  // Site.Default
	SourceSettings Source = "settings" // the start-up setting default-script
	SourceBuiltIn  Source = "built-in" // the menu that ends at the local disk
)

// Step is one consideration of a decision: what was looked at and why it won
// or lost.
type Step struct {
	Source Source `json:"source"`
	Name   string `json:"name,omitempty"` // group, rule, profile
	Won    bool   `json:"won"`
	Why    string `json:"why"` // one plain sentence
}

// Choice is the whole of a decision about a machine's target.
type Choice struct {
	Machine    MachineID  `json:"machine,omitempty"`
	Confidence Confidence `json:"confidence"`
	Source     Source     `json:"source"`
	Profile    string     `json:"profile,omitempty"`
	Target     string     `json:"target,omitempty"`
	// Reason is why the machine gets something other than its assignment: the
	// sentence is shown on its screen. ReasonNone when all is as it should be.
	Reason Reason `json:"reason,omitempty"`
	// Action says what is done with the choice.
	Action Action `json:"action"`
	Steps  []Step `json:"steps"`
}

// Action is what a machine gets.
type Action string

// Actions.
const (
	ActionSilent Action = "silent" // no answer (deny-list, unknown machines ignored)
	ActionBoot   Action = "boot"   // the target
	ActionArmed  Action = "armed"  // the code on the screen, then the target
	ActionMenu   Action = "menu"   // the built-in menu
	ActionLocal  Action = "local"  // the local disk, with Reason's sentence if there is one
	ActionAsk    Action = "ask"    // a code on the screen until the operator lets it
)

// Situation is what a choice depends on besides catalog and machine.
type Situation struct {
	Sighting   Sighting
	Confidence Confidence
	Proof      Proof
	Routed     bool // the client is not on one of the box's own networks
	Known      bool // the machine had a record before this sighting
	Now        time.Time
	Script     bool // the start-up setting default-script is set
	// Let says that the operator let this machine after it asked.
	Let bool
	// NewMAC is Identity.NewMAC.
	NewMAC bool
}
