package ipxe_test

import (
	"fmt"
	"slices"
	"strings"
)

// command describes an iPXE command as far as the scripts use it: its options
// (true when the option takes a value), how many plain arguments it wants, and
// whether it can fail for a reason outside of the script.
type command struct {
	opts     map[string]bool
	min, max int
	fails    bool
}

const many = 1000

// commands are those of iPXE 1.0.0 (2019) and later; names and options were
// tried on QEMU's ROM of 2019 and on 2.0.
var commands = map[string]command{
	"chain":      {opts: map[string]bool{"--autofree": false, "--replace": false, "--timeout": true}, min: 1, max: 1, fails: true},
	"choose":     {opts: map[string]bool{"--default": true, "--timeout": true}, min: 1, max: 1, fails: true},
	"cpuid":      {opts: map[string]bool{"--ext": false}, min: 1, max: 1, fails: true},
	"echo":       {max: many},
	"exit":       {max: 1},
	"goto":       {min: 1, max: 1},
	"ifclose":    {min: 1, max: 1, fails: true},
	"ifconf":     {opts: map[string]bool{"--configurator": true}, min: 1, max: 1, fails: true},
	"iflinkwait": {opts: map[string]bool{"--timeout": true}, min: 1, max: 1, fails: true},
	"ifopen":     {min: 1, max: 1, fails: true},
	"ifstat":     {fails: true},
	"inc":        {min: 1, max: 1},
	"iseq":       {min: 2, max: 2, fails: true},
	"isset":      {min: 1, max: 1, fails: true},
	"item":       {opts: map[string]bool{"--gap": false, "--key": true}, max: many},
	"menu":       {min: 1, max: many, fails: true},
	"prompt":     {opts: map[string]bool{"--key": true, "--timeout": true}, max: many, fails: true},
	"sanboot":    {opts: map[string]bool{"--no-describe": false, "--drive": true, "--filename": true}, fails: true},
	"set":        {min: 2, max: many},
	"shell":      {fails: true},
}

// checkScript says what is wrong with an iPXE script: unknown commands or
// options, jumps to nowhere, labels that are defined twice or never used, lines
// whose failure would end the script, anything a line-based reader would take
// apart differently.
func checkScript(script string) []string {
	var bad []string
	complain := func(n int, format string, args ...any) {
		bad = append(bad, fmt.Sprintf("line %d: ", n)+fmt.Sprintf(format, args...))
	}
	if !strings.HasPrefix(script, "#!ipxe\n") {
		complain(1, "does not begin with #!ipxe")
	}
	if !strings.HasSuffix(script, "\n") {
		complain(0, "does not end with a newline")
	}
	labels := map[string]int{}
	values := map[string][]string{} // of settings that gotos are made with
	type jump struct {
		line  int
		label string
	}
	var jumps []jump
	last := ""
	for i, line := range strings.Split(strings.TrimSuffix(script, "\n"), "\n") {
		n := i + 1
		for _, r := range line {
			if r < ' ' || r > '~' {
				complain(n, "character %q", r)
			}
		}
		if strings.HasSuffix(line, "\\") {
			complain(n, "continues on the next line")
		}
		if opened, closed := strings.Count(line, "${"), strings.Count(line, "}"); opened != closed {
			complain(n, "%d settings opened, %d closed", opened, closed)
		}
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		if label, ok := strings.CutPrefix(words[0], ":"); ok {
			if labels[label] != 0 {
				complain(n, "label %s is defined in line %d already", label, labels[label])
			}
			labels[label] = n
			if words = words[1:]; len(words) == 0 {
				last = "label"
				continue
			}
		}
		for len(words) > 0 {
			end := slices.IndexFunc(words, func(w string) bool { return w == "||" || w == "&&" || w == ";" })
			this, op := words, ""
			if end >= 0 {
				this, op = words[:end], words[end]
				words = words[end+1:]
			} else {
				words = nil
			}
			if len(this) == 0 {
				continue // the empty command succeeds
			}
			name, args := this[0], this[1:]
			c, known := commands[name]
			if !known {
				complain(n, "command %s is unknown", name)
				continue
			}
			last = name
			plain := args[:0:0]
			for len(args) > 0 && strings.HasPrefix(args[0], "--") {
				value, ok := c.opts[args[0]]
				if !ok {
					complain(n, "%s does not know option %s", name, args[0])
				}
				args = args[1:]
				if value {
					if len(args) == 0 {
						complain(n, "%s: option without its value", name)
						break
					}
					args = args[1:]
				}
			}
			plain = append(plain, args...)
			if len(plain) < c.min || len(plain) > c.max {
				complain(n, "%s with %d arguments", name, len(plain))
				continue
			}
			if c.fails && op != "||" && (op != "&&" || !slices.Contains(words, "||")) {
				complain(n, "a failing %s would end the script", name)
			}
			switch name {
			case "goto":
				jumps = append(jumps, jump{n, plain[0]})
			case "set":
				setting, _, _ := strings.Cut(plain[0], ":")
				values[setting] = append(values[setting], plain[1])
			case "item":
				if this[1] != "--gap" {
					values["sel"] = append(values["sel"], plain[0])
				}
			}
		}
	}
	if last != "exit" && last != "goto" {
		complain(0, "falls off its end after %s", last)
	}
	used := map[string]bool{}
	for _, j := range jumps {
		targets := []string{j.label}
		if setting, ok := strings.CutPrefix(j.label, "${"); ok {
			targets = values[strings.TrimSuffix(setting, "}")]
			if len(targets) == 0 {
				complain(j.line, "goto %s, which is never set", j.label)
			}
		}
		for _, t := range targets {
			used[t] = true
			if labels[t] == 0 {
				complain(j.line, "goto %s, which is not there", t)
			}
		}
	}
	for label, n := range labels {
		if !used[label] && label != "start" {
			complain(n, "label %s is never jumped to", label)
		}
	}
	return bad
}
