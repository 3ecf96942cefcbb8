package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

const completionHelp = `bash: put  source <(bootpuckctl completion bash)  into ~/.bashrc
zsh:  put  source <(bootpuckctl completion zsh)  into ~/.zshrc, after compinit
fish: bootpuckctl completion fish > ~/.config/fish/completions/bootpuckctl.fish

The scripts ask this command what may come next, and that asks the box for names.`

// The scripts know no command: whatever the table says, they never grow old.
const bashScript = `# completion of bootpuckctl for bash
_bootpuckctl() {
    local line
    COMPREPLY=()
    while IFS= read -r line; do
        if [[ $line == :files ]]; then
            compopt -o filenames 2>/dev/null
            while IFS= read -r line; do
                COMPREPLY+=("$line")
            done < <(compgen -f -- "${COMP_WORDS[COMP_CWORD]}")
            return
        fi
        COMPREPLY+=("$line")
    done < <(bootpuckctl __complete bash -- "${COMP_LINE:0:COMP_POINT}" 2>/dev/null)
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *= ]]; then
        compopt -o nospace 2>/dev/null
    fi
}
complete -F _bootpuckctl bootpuckctl
`

const zshScript = `#compdef bootpuckctl
# completion of bootpuckctl for zsh
_bootpuckctl() {
    local line
    local -a found open
    while IFS= read -r line; do
        line=${line%%$'\t'*}
        if [[ $line == :files ]]; then
            _files
            return
        fi
        if [[ $line == *= ]]; then
            open+=("$line")
        else
            found+=("$line")
        fi
    done < <(bootpuckctl __complete words -- "${(@Q)words[2,CURRENT]}" 2>/dev/null)
    compadd -a found
    compadd -S '' -a open
}
if [[ $funcstack[1] == _bootpuckctl ]]; then
    _bootpuckctl "$@"
else
    compdef _bootpuckctl bootpuckctl
fi
`

const fishScript = `# completion of bootpuckctl for fish
function __bootpuckctl_complete
    set -l given (commandline -opc)
    set -l current (commandline -ct)
    for line in (bootpuckctl __complete words -- $given[2..-1] "$current" 2>/dev/null)
        if test "$line" = :files
            __fish_complete_path "$current"
        else
            echo $line
        end
    end
end
complete -c bootpuckctl -f -a '(__bootpuckctl_complete)'
`

func shellScripts() map[string]string {
	return map[string]string{"bash": bashScript, "zsh": zshScript, "fish": fishScript}
}

func runCompletion(c *call) error {
	script, ok := shellScripts()[c.arg(0)]
	if !ok {
		return usagef("%q: want bash, zsh or fish", c.arg(0))
	}
	fmt.Fprint(c.out, script)
	return nil
}

// filesMark tells the shell to complete names of files.
const filesMark = ":files"

// runComplete prints what may come next. Form "words" takes the words after
// the program's name, the last one unfinished, and prints a line "word TAB
// help" for each possibility. Form "bash" takes the whole line: bash breaks
// words at "=" and ":", so only what is behind the last of these is printed.
func runComplete(c *call) error {
	given, trim := c.args[1:], 0
	if c.arg(0) == "bash" {
		given = splitLine(c.arg(1))
		if len(given) > 0 {
			given = given[1:]
		}
	}
	if len(given) == 0 {
		given = []string{""}
	}
	last := given[len(given)-1]
	if c.arg(0) == "bash" {
		trim = strings.LastIndexAny(last, "=:") + 1
	}
	for _, w := range complete(commands(), given, c.names) {
		switch {
		case w.word != filesMark && (strings.ContainsFunc(w.word, hostile) || !strings.HasPrefix(w.word, last)):
		case c.arg(0) != "bash" && w.help != "":
			fmt.Fprintf(c.out, "%s\t%s\n", w.word, visible(w.help))
		case c.arg(0) == "bash" && w.word != filesMark:
			fmt.Fprintln(c.out, shellWord(w.word[trim:]))
		default:
			fmt.Fprintln(c.out, w.word)
		}
	}
	return nil
}

// shellWord is s as a shell takes it for one word.
func shellWord(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r < 0x80 && !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./=:,+@%", r) {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}

// splitLine splits an unfinished command line as a shell does; the last word is
// the one under the cursor.
func splitLine(line string) []string {
	var list []string
	var b strings.Builder
	var quote rune
	escaped, in := false, false
	for _, r := range line {
		switch {
		case escaped:
			b.WriteRune(r)
			escaped = false
		case r == '\\' && quote != '\'':
			escaped, in = true, true
		case quote != 0 && r == quote:
			quote = 0
		case quote == 0 && (r == '\'' || r == '"'):
			quote, in = r, true
		case quote == 0 && (r == ' ' || r == '\t'):
			if in {
				list = append(list, b.String())
				b.Reset()
				in = false
			}
		default:
			b.WriteRune(r)
			in = true
		}
	}
	return append(list, b.String())
}

// candidate is a word that may come next.
type candidate struct{ word, help string }

func plainWords(list []string) []candidate {
	out := []candidate{}
	for _, w := range list {
		out = append(out, candidate{word: w})
	}
	return out
}

// complete finds what may come next; given ends with the unfinished word. names
// asks for the names of something, with the flags of the line so far.
func complete(table []*command, given []string, names func(words, map[string][]string) []candidate) []candidate {
	before, last := given[:len(given)-1], given[len(given)-1]
	p := parsed{flags: map[string][]string{}}
	anyOf := &command{}
	ended := false
	for i := 0; i < len(before); i++ {
		word, c := before[i], p.cmd
		if c == nil {
			c = anyOf
		}
		switch {
		case !ended && word == "--":
			ended = true
		case !ended && len(word) > 1 && word[0] == '-':
			name, value, with := strings.Cut(strings.TrimPrefix(word[1:], "-"), "=")
			f, ok := c.flag(name)
			if !ok || f.kind == flagBool {
				continue
			}
			if !with && i == len(before)-1 {
				return append(plainWords(f.values), suggestions(f.from, last, names, p.flags)...)
			}
			if !with {
				i++
				value = before[i]
			}
			p.flags[name] = append(p.flags[name], value)
		case p.cmd == nil:
			p.words = append(p.words, word)
			if one, more := find(table, p.words); one != nil && !more {
				p.cmd = one
			}
		default:
			p.args = append(p.args, word)
		}
	}
	if !ended && strings.HasPrefix(last, "-") {
		return flagWords(p.cmd, last)
	}
	if p.cmd == nil {
		return commandWords(table, p.words)
	}
	if n := len(p.cmd.args); n > 0 {
		if i := len(p.args); i < n {
			return suggestions(p.cmd.args[i].from, last, names, p.flags)
		} else if a := p.cmd.args[n-1]; a.many {
			return suggestions(a.from, last, names, p.flags)
		}
	}
	return nil
}

// commandWords are the words that may follow those of an unfinished command.
func commandWords(table []*command, given []string) []candidate {
	var out []candidate
	for _, t := range table {
		parts := strings.Fields(t.name)
		if t.hidden || len(parts) <= len(given) {
			continue
		}
		fits := true
		for i, g := range given {
			fits = fits && (g == parts[i] || i == 0 && g == parts[i]+"s")
		}
		word := parts[len(given)]
		if !fits || slices.ContainsFunc(out, func(c candidate) bool { return c.word == word }) {
			continue
		}
		help := t.help
		if len(parts) > len(given)+1 {
			help = ""
		}
		out = append(out, candidate{word, help})
	}
	return out
}

func flagWords(c *command, last string) []candidate {
	dashes := "-"
	if strings.HasPrefix(last, "--") {
		dashes = "--"
	}
	all := (&command{}).allFlags()
	if c != nil {
		all = c.allFlags()
	}
	out := []candidate{{dashes + "help", "print help"}}
	for _, f := range all {
		out = append(out, candidate{dashes + f.name, f.help})
	}
	return out
}

// suggestions are what may stand at a place.
func suggestions(from words, last string, names func(words, map[string][]string) []candidate, flags map[string][]string) []candidate {
	if plural, ok := strings.CutPrefix(string(from), "pairs:"); ok {
		return pairWords(kindByPlural(plural).fields, "", last)
	}
	switch from {
	case wordsNone:
		return nil
	case wordsFile:
		return plainWords([]string{filesMark})
	case wordsShell:
		return plainWords([]string{"bash", "zsh", "fish"})
	case wordsFirmware:
		return plainWords(firmwareNames())
	case wordsCommand:
		return commandWords(commands(), nil)
	default:
		return names(from, flags)
	}
}

// pairWords are the fields that may be set, and behind the "=" their values.
func pairWords(fields []field, prefix, last string) []candidate {
	var out []candidate
	for _, f := range fields {
		name := prefix + f.name
		switch {
		case f.readOnly:
		case f.typ == typeObject:
			out = append(out, pairWords(f.sub, name+".", last)...)
		case f.typ == typeTexts || f.typ == typeLists:
			out = append(out, candidate{name + ".", f.help})
		case strings.HasPrefix(last, name+"="):
			values := f.values
			if f.typ == typeBool {
				values = []string{"true", "false"}
			}
			for _, v := range values {
				out = append(out, candidate{word: name + "=" + v})
			}
		default:
			out = append(out, candidate{name + "=", f.help})
		}
	}
	return out
}

// Bounds of asking for names: a key was pressed, nobody waits long.
const (
	namesTime = 2 * time.Second
	maxNames  = 1000
)

// names asks the box for the names of something. Who cannot be asked has none:
// completion has no place for errors.
func (c *call) names(from words, flags map[string][]string) []candidate {
	ask := &call{stdio: c.stdio, cmd: &command{}, flags: flags}
	box, err := ask.client()
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(c.ctx, namesTime)
	defer cancel()
	path, name, help := string(from), "name", "title"
	switch from {
	case wordsMachine:
		path, help = "machines", "id"
	case wordsRequest:
		path, name, help = "requests", "code", "machine"
	case wordsTree:
		path, help = "trees", ""
	case wordsBoot:
		path, name, help = "attempts", "id", "state"
	case wordsQuirk:
		path, name, help = "quirks", "id", "class"
	default: // a kind of documents
	}
	var out []candidate
	see := func(raw json.RawMessage) error {
		d, err := decode(raw)
		if err != nil {
			return err
		}
		w := candidate{textAt(d, name), textAt(d, help)}
		if from == wordsMachine && w.word == "" {
			w = candidate{textAt(d, "id"), showProduct(d)}
		}
		if w.word != "" {
			out = append(out, w)
		}
		return nil
	}
	if from == wordsRequest {
		_ = box.all(ctx, path, nil, see)
	} else {
		_ = box.each(ctx, path, nil, maxNames, see)
	}
	return out
}
