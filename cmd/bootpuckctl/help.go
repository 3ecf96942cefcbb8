package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// Exit statuses. Scripts rely on them: none is ever given another meaning.
const (
	exitOK       = 0
	exitUsage    = 1
	exitBad      = 2
	exitNotFound = 3
	exitConflict = 4
	exitRefused  = 5
	exitInvalid  = 6
	exitWarning  = 7
	exitCritical = 8
)

// exitHelp is the statuses as help shows them.
const exitHelp = `exit status
  0  done, and all is well
  1  not asked: the command line is wrong, or the box does not answer as it should
  2  the answer is bad news: the box is not well, the probe would not have booted,
     the file differs from the box
  3  there is no such machine, document, request, tree, boot or capture
  4  conflict: changed by somebody else meanwhile, exists already, still in use, or not
     in observe mode
  5  refused: no right to do that (see -token)
  6  invalid input: each line says "field: what", for files "file:line: field: what"
  7  doctor: something is doubtful, machines boot all the same
  8  doctor: machines do not boot
`

// usage is the help of the whole program.
func usage(w io.Writer, table []*command) {
	fmt.Fprint(w, "usage: bootpuckctl COMMAND [ARGUMENTS] [FLAGS]; COMMAND -help says more\n\n")
	width := 0
	for _, c := range table {
		if !c.hidden {
			width = max(width, len(c.name))
		}
	}
	for _, c := range table {
		if !c.hidden {
			fmt.Fprintf(w, "  %-*s  %s\n", width, c.name, c.help)
		}
	}
	fmt.Fprint(w, "\nA MACHINE is named by its id, its name, a hardware address, its UUID or its\nserial number. A noun alone lists: \"bootpuckctl machines\". Flags may stand\nanywhere; after \"--\" there are none.\n\n")
	fmt.Fprintln(w, "flags of every command that asks the box")
	printFlags(w, append([]flagDef{outputFlag()}, commonFlags()...))
	fmt.Fprintf(w, "\n%s", exitHelp)
}

// printHelp is the help of one command.
func (c *command) printHelp(w io.Writer) {
	fmt.Fprintf(w, "usage: bootpuckctl %s%s", c.name, c.argLine())
	if len(c.allFlags()) > 0 {
		fmt.Fprint(w, " [FLAGS]")
	}
	fmt.Fprintf(w, "\n\n%s.\n", strings.ToUpper(c.help[:1])+c.help[1:])
	if c.more != "" {
		fmt.Fprintf(w, "\n%s\n", strings.TrimSpace(c.more))
	}
	if all := c.allFlags(); len(all) > 0 {
		fmt.Fprintln(w, "\nflags")
		printFlags(w, all)
	}
	for _, a := range c.args {
		if kind, ok := strings.CutPrefix(string(a.from), "pairs:"); ok {
			fmt.Fprintln(w, "\nfields")
			printFields(w, kindByPlural(kind).fields, "")
			fmt.Fprintf(w, "\n%s", pairHelp)
		}
	}
	fmt.Fprintf(w, "\n%s", exitHelp)
}

func printFlags(w io.Writer, list []flagDef) {
	width := 0
	for _, f := range list {
		width = max(width, len(f.label()))
	}
	for _, f := range list {
		text := f.help
		if f.def != "" && f.def != "false" {
			text += " (default " + f.def + ")"
		}
		fmt.Fprintf(w, "  %-*s  %s\n", width, f.label(), text)
	}
}

// printFields lists what can be written in pairs.
func printFields(w io.Writer, list []field, prefix string) {
	for _, f := range list {
		if f.readOnly {
			continue
		}
		if f.typ == typeObject {
			printField(w, prefix+f.name, f.help)
			printFields(w, f.sub, prefix+f.name+".")
			continue
		}
		text := f.help
		if len(f.values) > 0 {
			text = strings.TrimPrefix(text+": "+strings.Join(f.values, ", "), ": ")
		}
		name := prefix + f.name
		if f.typ == typeTexts || f.typ == typeLists {
			name += ".NAME"
		}
		printField(w, name+"="+f.typ.short(), text)
	}
}

func printField(w io.Writer, name, text string) {
	fmt.Fprintln(w, strings.TrimRight(fmt.Sprintf("  %-27s %s", name, text), " "))
}

// runHelp is "help" with the words of a command.
func runHelp(c *call) error {
	table := commands()
	if len(c.args) == 0 {
		usage(c.out, table)
		return nil
	}
	if one, more := find(table, c.args); one != nil && !more {
		one.printHelp(c.out)
		return nil
	}
	found := slices.DeleteFunc(table, func(t *command) bool {
		noun, _, _ := strings.Cut(t.name, " ")
		return len(c.args) > 1 || noun != c.args[0] && noun+"s" != c.args[0]
	})
	if len(found) == 0 {
		return usagef("no command %q", strings.Join(c.args, " "))
	}
	for _, t := range found {
		fmt.Fprintf(c.out, "  bootpuckctl %s%s\n      %s\n", t.name, t.argLine(), t.help)
	}
	return nil
}
