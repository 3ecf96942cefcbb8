package ipxe

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// Bounds of what is written into a text.
const (
	maxShown = 400  // octets of a title or note
	maxName  = 1024 // octets of a path or URL
	maxLine  = 4096 // octets of a kernel command line; Linux on x86 takes 2047
)

// errPath says why a path or URL of a plan is not written into a text.
var errPath = errors.New("path or URL out of bounds")

// plain makes one line of printable ASCII of a text, at most maxShown octets:
// runs of white space become one space, what else does not print a "?".
func plain(s string) string {
	if len(s) > maxShown {
		s = s[:maxShown]
	}
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\r' || r == '\t':
			return ' '
		case r < ' ' || r > '~':
			return '?'
		}
		return r
	}, s)
	return strings.Join(strings.Fields(s), " ")
}

// shown makes words of a text that iPXE prints as they are: no setting is
// expanded and no word ends the command.
func shown(s string) string {
	// A setting cannot be quoted: iPXE expands the result of an expansion once
	// more. So the brace is set apart.
	return guard(strings.ReplaceAll(plain(s), "${", "$ {"))
}

// guard keeps the words of s from being what ends or continues a command. iPXE
// looks for those before it expands settings, and a setting that nobody sets expands to
// nothing (tried on 1.0.0 of 2019 and 2.0).
func guard(s string) string {
	words := strings.Fields(s)
	for i, w := range words {
		switch {
		case w == "||" || w == "&&" || w == ";":
			words[i] = w[:1] + nothing + w[1:]
		case w[0] == '#':
			words[i] = nothing + w
		}
	}
	s = strings.Join(words, " ")
	if strings.HasSuffix(s, `\`) {
		s += nothing // else the next line would be part of this one
	}
	return s
}

// nothing is a setting that nobody sets.
const nothing = "${nothing}"

// say is a command that prints a text, for commands that take options: a word
// that begins with a dash must not be taken for one.
func say(command, text string) string {
	s := shown(text)
	switch {
	case s == "":
		return command
	case s[0] == '-':
		return command + " -- " + s
	}
	return command + " " + s
}

// wrap cuts a text into lines of at most width octets, at white space where
// there is any.
func wrap(text string, width int) []string {
	var out []string
	line := ""
	for _, w := range strings.Fields(plain(text)) {
		for len(w) > width {
			if line != "" {
				out, line = append(out, line), ""
			}
			out, w = append(out, w[:width]), w[width:]
		}
		switch {
		case line == "":
			line = w
		case len(line)+1+len(w) <= width:
			line += " " + w
		default:
			out, line = append(out, line), w
		}
	}
	if line != "" {
		out = append(out, line)
	}
	return out
}

// octets is a value as iPXE's type hex reads it.
func octets(s string) string {
	parts := make([]string, len(s))
	for i := range len(s) {
		parts[i] = hex.EncodeToString([]byte{s[i]})
	}
	return strings.Join(parts, ":")
}

// escapePath escapes a path for URLs that iPXE, pxelinux or GRUB reads: "$" and
// "," too, for iPXE expands the one and pxelinux separates files by the other.
func escapePath(path string) string {
	s := (&url.URL{Path: path}).EscapedPath()
	return strings.NewReplacer("$", "%24", ",", "%2C", "'", "%27").Replace(s)
}

// ownPath checks a name below the box's root.
func ownPath(path string) error {
	if path == "" || len(path) > maxName {
		return fmt.Errorf("%w: %d octets", errPath, len(path))
	}
	for part := range strings.SplitSeq(path, "/") {
		if part == "" || part == "." || part == ".." {
			return fmt.Errorf("%w: %q is not a plain path", errPath, path)
		}
	}
	if strings.ContainsFunc(path, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\\' }) {
		return fmt.Errorf("%w: %q has a character that no file name has", errPath, path)
	}
	return nil
}

// sanSchemes are those a network disk may be read from by its URL.
var sanSchemes = []string{"http", "https"}

// absolute checks a URL that goes into a text as it is. It may hold iPXE
// settings: it is the operator's own text.
func absolute(s string, allowed func(scheme string) bool) error {
	if len(s) > maxName {
		return fmt.Errorf("%w: %d octets", errPath, len(s))
	}
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok || !allowed(scheme) || rest == "" || rest[0] == '/' {
		return fmt.Errorf("%w: %q is no URL that can be fetched here", errPath, s)
	}
	return printable(s)
}

// printable checks that s is one word of printable ASCII.
func printable(s string) error {
	if s == "" || len(s) > maxName || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("%w: %q has white space or characters outside ASCII", errPath, s)
	}
	return nil
}

// ipxeURL is the address of a file of a plan: the box's own below base, or a
// URL.
func ipxeURL(base, path string) (string, error) {
	if strings.Contains(path, "://") {
		return path, absolute(path, func(scheme string) bool { return schemes[scheme] || scheme == "ftp" })
	}
	if err := ownPath(path); err != nil {
		return "", err
	}
	return base + "/" + escapePath(path), nil
}

// sanURL checks the address of a network disk.
func sanURL(s string) (string, error) {
	return s, absolute(s, func(scheme string) bool { return slices.Contains(sanSchemes, scheme) })
}

// folder is the address of the folder a file is in, with the final slash.
func folder(u string) string {
	u, _, _ = strings.Cut(u, "?")
	return u[:strings.LastIndexByte(u, '/')+1]
}

// cmdline checks a kernel command line and reduces white space, of which line
// ends come from templates.
func cmdline(s string) (string, error) {
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || r == '\n' || r == '\r' || r == '\t' }), " ")
	if len(s) > maxLine {
		return "", fmt.Errorf("command line of %d octets: at most %d", len(s), maxLine)
	}
	if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || r == utf8.RuneError }) {
		return "", errors.New("command line with control characters")
	}
	return s, nil
}

// title is what a target is called on a screen.
func title(t boot.Target) string {
	if t.Title != "" {
		return t.Title
	}
	return t.Name
}
