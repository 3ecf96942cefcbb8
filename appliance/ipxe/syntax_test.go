package ipxe_test

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
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
	"boot":       {fails: true},
	"chain":      {opts: map[string]bool{"--autofree": false, "--replace": false, "--timeout": true}, min: 1, max: 1, fails: true},
	"choose":     {opts: map[string]bool{"--default": true, "--timeout": true}, min: 1, max: 1, fails: true},
	"clear":      {min: 1, max: 1, fails: true},
	"cpuid":      {opts: map[string]bool{"--ext": false}, min: 1, max: 1, fails: true},
	"echo":       {opts: map[string]bool{"-n": false}, max: many},
	"exit":       {max: 1},
	"goto":       {min: 1, max: 1},
	"ifclose":    {min: 1, max: 1, fails: true},
	"ifconf":     {opts: map[string]bool{"--configurator": true}, min: 1, max: 1, fails: true},
	"iflinkwait": {opts: map[string]bool{"--timeout": true}, min: 1, max: 1, fails: true},
	"ifopen":     {min: 1, max: 1, fails: true},
	"ifstat":     {fails: true},
	"imgfetch":   {opts: map[string]bool{"--name": true, "--timeout": true}, min: 1, max: 1, fails: true},
	"imgfree":    {max: 1, fails: true},
	"inc":        {min: 1, max: 1},
	"initrd":     {opts: map[string]bool{"--name": true, "--timeout": true}, min: 1, max: 2, fails: true},
	"iseq":       {min: 2, max: 2, fails: true},
	"isset":      {min: 1, max: 1, fails: true},
	"item":       {opts: map[string]bool{"--gap": false, "--key": true}, max: many},
	"kernel":     {opts: map[string]bool{"--name": true, "--timeout": true}, min: 1, max: many, fails: true},
	"menu":       {min: 1, max: many, fails: true},
	"prompt":     {opts: map[string]bool{"--key": true, "--timeout": true}, max: many, fails: true},
	"read":       {min: 1, max: 1, fails: true},
	"sanboot":    {opts: map[string]bool{"--no-describe": false, "--drive": true, "--filename": true}, max: 1, fails: true},
	"sanhook":    {opts: map[string]bool{"--drive": true}, min: 1, max: 1, fails: true},
	"sanunhook":  {opts: map[string]bool{"--drive": true}, fails: true},
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
		words := strings.Fields(line)
		// iPXE expands settings word by word.
		for _, w := range words {
			if !balanced(w) {
				complain(n, "a setting is opened and not closed in %s", w)
			}
		}
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
			for _, a := range args {
				if a[0] == '#' {
					complain(n, "%s begins a comment", a)
				}
			}
			plain := args[:0:0]
			for len(args) > 0 && strings.HasPrefix(args[0], "-") {
				if args[0] == "--" {
					args = args[1:]
					break
				}
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
				setting, kind, _ := strings.Cut(plain[0], ":")
				if what := wrongValue(kind, plain[1:]); what != "" {
					complain(n, "set %s: %s", plain[0], what)
				}
				values[setting] = append(values[setting], plain[1])
			case "item":
				if len(this) > 1 && this[1] != "--gap" {
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

// balanced says whether every setting of a word is closed in it.
func balanced(w string) bool {
	depth := 0
	for i := range len(w) {
		switch {
		case w[i] == '{' && i > 0 && w[i-1] == '$':
			depth++
		case w[i] == '}' && depth > 0:
			depth--
		}
	}
	return depth == 0
}

// wrongValue says what is wrong with a value for a setting of a type.
func wrongValue(kind string, words []string) string {
	value := strings.Join(words, " ")
	switch kind {
	case "", "string":
	case "int32":
		if _, err := strconv.ParseInt(value, 10, 32); err != nil {
			return "not a number"
		}
	case "hex":
		for octet := range strings.SplitSeq(value, ":") {
			if b, err := hex.DecodeString(octet); err != nil || len(b) != 1 {
				return "not octets"
			}
		}
	default:
		return "type " + kind + " is unknown"
	}
	return ""
}

// skeleton is a script without what it only shows: the commands of each line,
// labels, and the settings that are expanded.
func skeleton(script string) []string {
	var out []string
	for line := range strings.Lines(script) {
		words := strings.Fields(line)
		if len(words) == 0 || words[0] == "echo" || words[0] == "item" && len(words) > 1 && words[1] == "--gap" {
			words = settings(line)
			if len(words) == 0 {
				continue
			}
			words = append([]string{"shows"}, words...)
		}
		if len(words) > 1 && words[0] == "set" && words[1] == "row:hex" {
			continue
		}
		var kept []string
		first := true
		for _, w := range words {
			switch {
			case first, w == "||", w == "&&", w == ";", words[0] == "goto":
				kept = append(kept, w)
			}
			first = w == "||" || w == "&&" || w == ";"
		}
		out = append(out, strings.Join(append(kept, settings(line)...), " "))
	}
	return out
}

// settings are those that a line expands, but for the rows of a code and the
// one that stands for nothing.
func settings(line string) []string {
	var out []string
	for {
		_, rest, ok := strings.Cut(line, "${")
		if !ok {
			return out
		}
		name, tail, _ := strings.Cut(rest, "}")
		if name != "nothing" && name != "row:string" {
			out = append(out, "${"+name)
		}
		line = tail
	}
}

// pxelinuxDirectives are those the configurations use, and whether they name a
// label.
var pxelinuxDirectives = map[string]bool{
	"DEFAULT": true, "ONTIMEOUT": true, "ONERROR": true, "PROMPT": false, "TIMEOUT": false, "TOTALTIMEOUT": false,
	"SAY": false, "LABEL": false, "LINUX": false, "INITRD": false, "APPEND": false, "LOCALBOOT": false,
}

// checkPXELinux says what is wrong with a configuration of pxelinux.
func checkPXELinux(config string) []string {
	var bad []string
	labels, wanted := map[string]bool{}, map[string]int{}
	in := ""
	for i, line := range strings.Split(strings.TrimSuffix(config, "\n"), "\n") {
		complain := func(format string, args ...any) {
			bad = append(bad, fmt.Sprintf("line %d: ", i+1)+fmt.Sprintf(format, args...))
		}
		if len(line) > 2040 {
			complain("%d octets", len(line))
		}
		for _, r := range line {
			if r < ' ' || r > '~' {
				complain("character %q", r)
			}
		}
		word, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		label, known := pxelinuxDirectives[word]
		switch {
		case !known:
			complain("directive %q is unknown", word)
		case label:
			wanted[value] = i + 1
		case word == "LABEL":
			if labels[value] || value == "" || strings.Contains(value, " ") {
				complain("label %q", value)
			}
			labels[value], in = true, value
		case word == "TIMEOUT" || word == "TOTALTIMEOUT":
			if n, err := strconv.Atoi(value); err != nil || n < 1 || n > 36000 {
				complain("%s %s", word, value)
			}
		case strings.HasPrefix(line, "  ") && in == "":
			complain("%s outside of a label", word)
		}
	}
	for label, n := range wanted {
		if !labels[label] {
			bad = append(bad, fmt.Sprintf("line %d: label %q is not there", n, label))
		}
	}
	return bad
}

// grubCommands are those of Debian's signed network image and of the language.
var grubCommands = map[string]bool{
	"set": true, "if": true, "then": true, "else": true, "fi": true, "for": true, "in": true, "do": true, "done": true,
	"[": true, "echo": true, "sleep": true, "linux": true, "initrd": true, "boot": true, "chainloader": true, "exit": true,
	"regexp": true, "source": true, "configfile": true, "menuentry": true, "true": true, "fwsetup": true, "reboot": true,
	"net_ls_addr": true, "net_ls_routes": true, "net_ls_dns": true, "}": true,
}

// checkGRUB says what is wrong with a configuration of GRUB: quotes and blocks
// that do not close, commands that the image does not have.
func checkGRUB(config string) []string {
	var bad []string
	blocks := map[string]int{}
	for i, line := range strings.Split(config, "\n") {
		complain := func(format string, args ...any) {
			bad = append(bad, fmt.Sprintf("line %d: ", i+1)+fmt.Sprintf(format, args...))
		}
		for _, r := range line {
			if r != '\t' && (r < ' ' || r > '~') {
				complain("character %q", r)
			}
		}
		if strings.HasPrefix(line, "#") {
			continue
		}
		bare, ok := unquoted(line)
		if !ok {
			complain("a quote is not closed: %s", line)
		}
		for part := range strings.SplitSeq(bare, ";") {
			words := strings.Fields(part)
			for len(words) > 0 && (words[0] == "if" || words[0] == "then" || words[0] == "do" || words[0] == "else") {
				blocks[words[0]]++
				words = words[1:]
			}
			if len(words) == 0 {
				continue
			}
			if !grubCommands[words[0]] {
				complain("command %q is unknown", words[0])
			}
			blocks[words[0]]++
			if words[len(words)-1] == "{" {
				blocks["{"]++
			}
		}
	}
	for _, pair := range [][2]string{{"if", "fi"}, {"then", "fi"}, {"for", "done"}, {"do", "done"}, {"{", "}"}} {
		if blocks[pair[0]] != blocks[pair[1]] {
			bad = append(bad, fmt.Sprintf("%d %s, %d %s", blocks[pair[0]], pair[0], blocks[pair[1]], pair[1]))
		}
	}
	return bad
}

// unquoted is a line of GRUB's language with "Q" in the place of what is quoted.
func unquoted(line string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(line); i++ {
		switch c := line[i]; c {
		case '\\':
			i++
			b.WriteByte('Q')
		case '\'', '"':
			end := strings.IndexByte(line[i+1:], c)
			if end < 0 {
				return b.String(), false
			}
			i += end + 1
			b.WriteByte('Q')
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), true
}
