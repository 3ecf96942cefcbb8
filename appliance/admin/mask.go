package admin

import (
	"maps"
	"slices"
	"strings"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// Masked stands in place of a secret. It is refused as a value: who writes it
// back has read the document without its secrets.
const Masked = "********"

// masked is v without what only the operator and the machine itself may read:
// passwords, variables, the texts of answer files. That is what the boot plane
// gives to a machine only with a proof of who it is.
func masked(v any) any {
	switch d := v.(type) {
	case boot.Machine:
		d.Variables = maskMap(d.Variables)
		return d
	case boot.Target:
		if d.SAN != nil && d.SAN.Password != "" {
			san := *d.SAN // the registry's own must stay as it is
			san.Password = Masked
			d.SAN = &san
		}
		return d
	case boot.Profile:
		d.Variables = maskMap(d.Variables)
		return d
	case boot.Group:
		d.Variables = maskMap(d.Variables)
		return d
	case boot.Template:
		if d.Text != "" {
			d.Text = Masked
		}
		return d
	case boot.Site:
		d.Variables = maskMap(d.Variables)
		return d
	}
	return v
}

// maskEvent is an event as a stranger may see it. What a machine's system log
// says holds at times what only that machine was given: the kernel's command
// line, an installer's answers.
func maskEvent(e boot.Event) boot.Event {
	log := e.Kind == boot.KindSyslog || e.Kind == boot.KindCallback && e.File == string(boot.CallbackLog)
	if log && e.Text != "" {
		e.Text = Masked
	}
	return e
}

// ForStrangers is an attempt as callers without the token may see it.
func ForStrangers(a boot.Attempt) boot.Attempt {
	a.Verdicts = maskVerdicts(a.Verdicts)
	a.Events = EventsForStrangers(a.Events)
	return a
}

// EventsForStrangers are events as callers without the token may see them.
func EventsForStrangers(list []boot.Event) []boot.Event {
	list = slices.Clone(list)
	for i, e := range list {
		list[i] = maskEvent(e)
	}
	return list
}

// logEvidence is how the doctor begins what it saw in a machine's log.
const logEvidence = "log line "

// maskVerdicts is what a stranger may see of verdicts: what they quote of a
// machine's log is masked as in its events.
func maskVerdicts(list []boot.Verdict) []boot.Verdict {
	list = slices.Clone(list) // the journal's own must stay as they are
	for i, v := range list {
		list[i].Evidence = slices.Clone(v.Evidence)
		for j, e := range v.Evidence {
			if strings.HasPrefix(e.Text, logEvidence) {
				list[i].Evidence[j].Text = logEvidence + Masked
			}
		}
	}
	return list
}

func maskMap(m map[string]string) map[string]string {
	if len(m) == 0 {
		return m
	}
	out := maps.Clone(m)
	for k := range out {
		out[k] = Masked
	}
	return out
}

// checkMasked finds secrets that are the mask.
func checkMasked(v any) boot.FieldErrors {
	var errs boot.FieldErrors
	test := func(field, value string) {
		if value == Masked {
			errs = append(errs, boot.FieldError{Field: field, What: "is the mask that stands for a secret; read the document with the token, or write the secret"})
		}
	}
	vars := func(m map[string]string) {
		for _, k := range sortedKeys(m) {
			test("variables."+k, m[k])
		}
	}
	switch d := v.(type) {
	case *boot.Machine:
		vars(d.Variables)
	case *boot.Target:
		if d.SAN != nil {
			test("san.password", d.SAN.Password)
		}
	case *boot.Profile:
		vars(d.Variables)
	case *boot.Group:
		vars(d.Variables)
	case *boot.Template:
		test("text", d.Text)
	case *boot.Site:
		vars(d.Variables)
	}
	return errs
}
