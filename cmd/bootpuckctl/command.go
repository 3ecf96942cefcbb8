package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// command is one thing that can be asked for. Usage, help and completion are
// made from this, so that none of them can say something else than the others.
type command struct {
	name  string // its words: "machine set"
	help  string // one line
	more  string // what one line cannot say
	args  []arg
	flags []flagDef
	// local commands ask no box for documents: they take none of the common
	// flags.
	local bool
	// bare commands print in their own way: -o means nothing to them.
	bare   bool
	hidden bool // for completion scripts, not for people
	run    func(*call) error
}

// arg is a word that a command takes.
type arg struct {
	name string // as help shows it
	from words  // what completion offers for it
	opt  bool
	many bool // one or more; with opt none too
}

// words says what completion may offer at some place.
type words string

// Places. A name of documents ("targets") stands for the names of all of them
// and "pairs:targets" for their fields.
const (
	wordsNone     words = ""
	wordsFile     words = "file"
	wordsMachine  words = "machine"
	wordsRequest  words = "request"
	wordsTree     words = "tree"
	wordsBoot     words = "boot"
	wordsQuirk    words = "quirk"
	wordsShell    words = "shell"
	wordsCommand  words = "command"
	wordsFirmware words = "firmware"
)

// flagKind says what follows a flag.
type flagKind int

const (
	flagBool   flagKind = iota // nothing
	flagText                   // any text
	flagNumber                 // a whole number that is not negative
	flagTime                   // a time span: 90m, 4h, 2d
)

// flagDef is a flag of a command.
type flagDef struct {
	name   string
	kind   flagKind
	value  string // as help shows what follows
	def    string
	help   string
	values []string // nothing else is accepted
	from   words
	many   bool // may be given more than once
}

// commonFlags go with every command that asks the box.
func commonFlags() []flagDef {
	return []flagDef{
		{name: "box", kind: flagText, value: "URL", help: "address of the box's admin port; else $BOOTPUCK_BOX, else " + defaultBox},
		{name: "token", kind: flagText, value: "TOKEN", help: "right to change things; other users of this computer can see it, $BOOTPUCK_TOKEN they cannot"},
		{name: "token-file", kind: flagText, value: "FILE", from: wordsFile, help: "file that holds the token; on the box itself its own file is found without"},
	}
}

func outputFlag() flagDef {
	return flagDef{name: "o", kind: flagText, value: "FORMAT", def: "table", values: []string{"table", "json", "yaml"}, help: "how to print: table, json or yaml"}
}

// allFlags are the flags that c takes, its own first.
func (c *command) allFlags() []flagDef {
	list := slices.Clone(c.flags)
	if c.local {
		return list
	}
	if !c.bare {
		list = append(list, outputFlag())
	}
	return append(list, commonFlags()...)
}

func (c *command) flag(name string) (flagDef, bool) {
	all := c.allFlags()
	i := slices.IndexFunc(all, func(f flagDef) bool { return f.name == name })
	if i < 0 {
		return flagDef{}, false
	}
	return all[i], true
}

// stdio is what a process has from its surroundings.
type stdio struct {
	in          io.Reader
	out, errOut io.Writer
	getenv      func(string) string
	terminal    bool // errOut is one
}

// call is a command with what was given to it.
type call struct {
	ctx context.Context
	stdio
	cmd   *command
	args  []string
	flags map[string][]string
}

// given says whether the flag was on the command line.
func (c *call) given(name string) bool { return len(c.flags[name]) > 0 }

// text is the flag's last value, or its default.
func (c *call) text(name string) string {
	if v := c.flags[name]; len(v) > 0 {
		return v[len(v)-1]
	}
	if f, ok := c.cmd.flag(name); ok {
		return f.def
	}
	return ""
}

func (c *call) on(name string) bool { return c.text(name) == "true" }

// number is the value of a flag of that kind; parsing has checked it.
func (c *call) number(name string) int {
	n, _ := strconv.Atoi(c.text(name))
	return n
}

// span is the value of a flag of that kind; parsing has checked it.
func (c *call) span(name string) time.Duration {
	d, _ := parseSpan(c.text(name))
	return d
}

// arg is the i-th argument, or "" when it was left out.
func (c *call) arg(i int) string {
	if i < len(c.args) {
		return c.args[i]
	}
	return ""
}

// errHelp asks for the help of a command.
var errHelp = errors.New("help")

// usageError is a command line that cannot be understood.
type usageError struct{ text string }

func (e usageError) Error() string { return e.text }

func usagef(format string, a ...any) error { return usageError{fmt.Sprintf(format, a...)} }

// parsed is a command line taken apart.
type parsed struct {
	cmd   *command
	words []string // those that led to cmd, or as far as they did
	args  []string
	flags map[string][]string
}

// parseLine finds the command and sorts the rest into flags and arguments,
// which may stand in any order. After "--" everything is an argument.
func parseLine(table []*command, line []string) (parsed, error) {
	p := parsed{flags: map[string][]string{}}
	anyOf := &command{} // what may stand before the command
	ended := false
	for i := 0; i < len(line); i++ {
		word := line[i]
		switch {
		case !ended && word == "--":
			ended = true
		case !ended && len(word) > 1 && word[0] == '-':
			c := p.cmd
			if c == nil {
				c = anyOf
			}
			used, err := p.flag(c, word, line[i+1:])
			if err != nil {
				return p, err
			}
			i += used
		case p.cmd == nil:
			p.words = append(p.words, word)
			c, more := find(table, p.words)
			if c == nil && !more {
				return p, usagef("no command %q", strings.Join(p.words, " "))
			}
			if !more {
				p.cmd = c
			}
		default:
			p.args = append(p.args, word)
		}
	}
	if p.cmd == nil && len(p.words) > 0 {
		// A noun alone looks at what there is.
		for _, verb := range []string{"list", "show"} {
			if c, more := find(table, append(slices.Clone(p.words), verb)); c != nil && !more {
				p.cmd = c
				break
			}
		}
	}
	if p.cmd == nil {
		return p, usagef("no command given")
	}
	for name := range p.flags {
		if _, ok := p.cmd.flag(name); !ok {
			return p, usagef("%s takes no flag -%s", p.cmd.name, name)
		}
	}
	return p, p.count()
}

// flag takes the flag word, and says how many of the following words belong
// to it.
func (p *parsed) flag(c *command, word string, rest []string) (int, error) {
	name, value, with := strings.Cut(strings.TrimPrefix(word[1:], "-"), "=")
	if name == "h" || name == "help" {
		return 0, errHelp
	}
	f, ok := c.flag(name)
	if !ok {
		if c.name == "" {
			return 0, usagef("no flag -%s before the command", name)
		}
		return 0, usagef("%s takes no flag -%s", c.name, name)
	}
	used := 0
	if !with {
		switch {
		case f.kind == flagBool:
			value = "true"
		case len(rest) == 0:
			return 0, usagef("-%s: want %s after it", name, f.value)
		default:
			value, used = rest[0], 1
		}
	}
	if err := f.check(value); err != nil {
		return 0, err
	}
	p.flags[name] = append(p.flags[name], value)
	return used, nil
}

func (f flagDef) check(value string) error {
	switch f.kind {
	case flagBool:
		if value != "true" && value != "false" {
			return usagef("-%s=%s: want true, false or nothing after it", f.name, value)
		}
	case flagNumber:
		if n, err := strconv.Atoi(value); err != nil || n < 0 {
			return usagef("-%s %s: want a whole number", f.name, value)
		}
	case flagTime:
		if _, err := parseSpan(value); err != nil {
			return usagef("-%s %s: %v", f.name, value, err)
		}
	case flagText:
		if len(f.values) > 0 && !slices.Contains(f.values, value) {
			return usagef("-%s %s: want %s", f.name, value, oneOf(f.values))
		}
	}
	return nil
}

// count refuses missing and superfluous arguments.
func (p *parsed) count() error {
	need, most := 0, 0
	for _, a := range p.cmd.args {
		if !a.opt {
			need++
		}
		most++
		if a.many {
			most = len(p.args) + need
		}
	}
	if len(p.args) < need {
		return usagef("want %s", strings.TrimSpace(p.cmd.argLine()))
	}
	if len(p.args) > most {
		return usagef("unexpected argument %q", p.args[most])
	}
	return nil
}

// find looks for the command of exactly these words; more says that longer
// commands begin with them. Nouns may be given in plural.
func find(table []*command, given []string) (c *command, more bool) {
	line := strings.Join(given, " ")
	for _, t := range table {
		name := t.name
		if noun, verb, ok := strings.Cut(name, " "); ok && len(given) > 0 && given[0] == noun+"s" {
			name = given[0] + " " + verb
		}
		if name == line {
			c = t
		}
		if strings.HasPrefix(name, line+" ") {
			more = true
		}
	}
	return c, more
}

// parseSpan reads a time span; unlike time.ParseDuration it knows days.
func parseSpan(s string) (time.Duration, error) {
	var d time.Duration
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.Atoi(days); err == nil && n < 10000 {
			d = time.Duration(n) * 24 * time.Hour
		}
	} else if v, err := time.ParseDuration(s); err == nil {
		d = v
	}
	if d <= 0 {
		return 0, errors.New("want a time like 90m, 4h or 2d")
	}
	return d, nil
}

// oneOf is "a, b or c".
func oneOf(list []string) string {
	if len(list) < 2 {
		return strings.Join(list, "")
	}
	return strings.Join(list[:len(list)-1], ", ") + " or " + list[len(list)-1]
}

// argLine is the arguments as usage shows them, with a space before.
func (c *command) argLine() string {
	var b strings.Builder
	for _, a := range c.args {
		s := a.name
		if a.many {
			s += "…"
		}
		if a.opt {
			s = "[" + s + "]"
		}
		b.WriteString(" " + s)
	}
	return b.String()
}

// label is the flag as help shows it.
func (f flagDef) label() string {
	if f.kind == flagBool {
		return "-" + f.name
	}
	return "-" + f.name + " " + f.value
}
