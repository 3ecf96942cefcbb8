package answer

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// place is where in a file an action stands, as far as escaping goes.
type place uint8

const (
	inPlain place = iota
	inScript
	inCmdline
	inKickstart
	inPreseed
	inPreseedCommand // the value is a shell command
	inYAML
	inYAMLBlock // a block scalar: shell commands, files
	inJSON
	inXML
	inCDATA
)

// fits says which escaped texts may stand in a place as they are. Everything
// else that comes from a client is printed in its safe form. A URI and a word
// consist of characters that mean nothing in any of the places they are in.
var fits = map[place][]tag{
	inPlain:          {forXML, forCDATA, forJSON, forYAML, forShell, forURI, forPreseed, forWord},
	inScript:         {forURI, forWord},
	inCmdline:        {forURI, forWord},
	inKickstart:      {forURI, forWord, forShell},
	inPreseed:        {forURI, forWord, forShell, forPreseed},
	inPreseedCommand: {forURI, forWord, forShell},
	inYAML:           {forURI, forYAML, forJSON},
	inYAMLBlock:      {forURI, forWord, forShell},
	inJSON:           {forURI, forJSON},
	inXML:            {forURI, forXML},
	inCDATA:          {forURI, forCDATA},
}

// keepsSpaces says whether a space in a claim separates nothing in a place. In
// scripts and command lines it makes another word of the rest.
func (p place) keepsSpaces() bool {
	switch p {
	case inYAML, inJSON, inXML:
		return true
	case inPlain, inScript, inCmdline, inKickstart, inPreseed, inPreseedCommand, inYAMLBlock, inCDATA:
		return false
	}
	return false
}

// print makes the text of a value as it goes into a place.
func (p place) print(parts []part) string {
	if len(parts) == 1 && parts[0].tag == trusted {
		return parts[0].text
	}
	var b strings.Builder
	for _, piece := range parts {
		if piece.tag == trusted || has(fits[p], piece.tag) {
			b.WriteString(piece.text)
		} else {
			b.WriteString(safeForm(piece.text, p.keepsSpaces()))
		}
	}
	return b.String()
}

func has(tags []tag, t tag) bool {
	for _, x := range tags {
		if x == t {
			return true
		}
	}
	return false
}

// placeOf is the place of an action at offset pos of a template's text.
func placeOf(kind boot.TemplateKind, text string, pos int) place {
	switch kind {
	case boot.TemplateScript:
		return inScript
	case boot.TemplateCmdline:
		return inCmdline
	case boot.TemplateKickstart:
		return inKickstart
	case boot.TemplatePreseed:
		// early_command, late_command, run: the value is given to a shell.
		if line := withoutActions(logicalLine(text, pos)); strings.Contains(line, "command") || strings.Contains(line, "preseed/run") {
			return inPreseedCommand
		}
		return inPreseed
	case boot.TemplateAutoinstall:
		if inBlockScalar(text, pos) {
			return inYAMLBlock
		}
		return inYAML
	case boot.TemplateIgnition:
		return inJSON
	case boot.TemplateAutounattend, boot.TemplateAutoYaST:
		if strings.LastIndex(text[:pos], "<![CDATA[") > strings.LastIndex(text[:pos], "]]>") {
			return inCDATA
		}
		return inXML
	case boot.TemplatePlain:
		return inPlain
	}
	return inScript // the strictest
}

// logicalLine is what precedes pos on its line, and on those before that end in
// a backslash.
func logicalLine(text string, pos int) string {
	start := pos
	for {
		start = strings.LastIndexByte(text[:start], '\n') + 1
		if start < 2 || text[start-2] != '\\' {
			return text[start:pos]
		}
		start-- // before the newline
	}
}

// withoutActions leaves out the template's own {{…}} and what follows an
// unfinished one.
func withoutActions(s string) string {
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(s, "{{")
		b.WriteString(before)
		if !ok {
			return b.String()
		}
		if _, s, ok = strings.Cut(rest, "}}"); !ok {
			return b.String()
		}
	}
}

// insideQuotes says which quote is open at pos on its line, 0 for none.
func insideQuotes(text string, pos int) byte {
	line := withoutActions(logicalLine(text, pos))
	var open byte
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '\\' && open != '\'':
			i++
		case open == 0 && (c == '\'' || c == '"'):
			open = c
		case c == open:
			open = 0
		}
	}
	return open
}

// inBlockScalar says whether the line at pos belongs to a YAML block scalar:
// one of the lines it is nested in ends in "|" or ">", with or without the
// indicators for chomping and indentation.
func inBlockScalar(text string, pos int) bool {
	start := strings.LastIndexByte(text[:pos], '\n') + 1
	indent := indentOf(text[start:pos])
	for start > 0 && indent > 0 {
		end := start - 1
		start = strings.LastIndexByte(text[:end], '\n') + 1
		line := strings.TrimRight(text[start:end], " \t\r")
		n := indentOf(line)
		// A line of the template's own, such as an {{end}}, is none of the file's.
		if strings.TrimSpace(withoutActions(line)) == "" || n >= indent {
			continue
		}
		indent = n
		head := strings.TrimRight(line, "+-123456789")
		if strings.HasSuffix(head, "|") || strings.HasSuffix(head, ">") {
			return true
		}
	}
	return false
}

func indentOf(line string) int { return len(line) - len(strings.TrimLeft(line, " ")) }

// control says whether r has no place on a line of text.
func control(r rune) bool {
	return r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == 0x2028 || r == 0x2029 || r == utf8.RuneError
}

// escapeXML is for element text and attribute values of XML 1.0, which cannot
// hold most control characters at all.
func escapeXML(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch r {
		case '&':
			b.WriteString("&amp;")
		case '<':
			b.WriteString("&lt;")
		case '>':
			b.WriteString("&gt;")
		case '"':
			b.WriteString("&#34;")
		case '\'':
			b.WriteString("&#39;")
		case '\t', '\n', '\r': // a parser would make spaces of them in attributes
			fmt.Fprintf(&b, "&#%d;", r)
		default:
			if control(r) || r == 0xfffe || r == 0xffff {
				r = '_'
			}
			b.WriteRune(r)
		}
	}
	return b.String()
}

// escapeCDATA puts every "]" into a section of its own and begins a new one
// before every ">", so that no end mark comes about, neither within the text
// nor together with what stands before and after it.
func escapeCDATA(s string) string {
	s = strings.Map(func(r rune) rune {
		if control(r) && r != '\n' && r != '\t' {
			return '_'
		}
		return r
	}, s)
	return cdataMarks.Replace(s)
}

var cdataMarks = strings.NewReplacer("]", "]]><![CDATA[]]]><![CDATA[", ">", "]]><![CDATA[>")

// escapeJSON makes a string with its quotes. YAML readers see the same string in
// it: of JSON's escapes they lack surrogate pairs alone, so that characters that
// would need one stay as they are.
func escapeJSON(s string) string {
	b, err := json.Marshal(strings.ToValidUTF8(s, "_"))
	if err != nil {
		return `""` // a string always has a form
	}
	var out strings.Builder
	for _, r := range string(b) {
		if r < 0x7f || r > 0xffff {
			out.WriteRune(r)
		} else {
			fmt.Fprintf(&out, `\u%04x`, r)
		}
	}
	return out.String()
}

// escapeYAML makes a double-quoted scalar. YAML has JSON's escapes but for
// surrogate pairs, of which it has \U instead (YAML 1.2, section 5.7).
func escapeYAML(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r >= ' ' && r < 0x7f:
			b.WriteRune(r)
		case r > 0xffff:
			fmt.Fprintf(&b, `\U%08x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// escapeShell makes one word of a POSIX shell, which Anaconda's reader of
// kickstart files takes as well. Inside single quotes nothing has a meaning.
func escapeShell(s string) string {
	return "'" + strings.ReplaceAll(strings.ReplaceAll(s, "\x00", ""), "'", `'\''`) + "'"
}

// escapeURI leaves RFC 3986's unreserved characters and encodes the rest. A
// path segment of dots would lead elsewhere, encoded or not.
func escapeURI(s string) string {
	if s == "." || s == ".." {
		return strings.Repeat("_", len(s))
	}
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; alnum(c) || strings.IndexByte("-._~", c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// escapePreseed makes a text of one line: debconf has no way to write a newline
// or a backslash at the end of one, which would join it with the next.
func escapePreseed(s string) string {
	s = strings.TrimSpace(strings.Map(func(r rune) rune {
		if control(r) {
			return ' '
		}
		return r
	}, s))
	if t := strings.TrimRight(s, `\`); t != s {
		s = t + "_"
	}
	return s
}

// escapeWord makes one word for a kernel's command line or an iPXE script.
// Neither has a way to quote: iPXE cuts at spaces whatever stands around them,
// and between the box and the kernel there may be pxelinux or GRUB as well. So
// beyond the safe form only "/", "," and "%" are kept.
func escapeWord(s string) string {
	var b strings.Builder
	for i, r := range s {
		switch {
		case r < utf8.RuneSelf && (alnum(byte(r)) || strings.ContainsRune("_+/", r)):
			b.WriteRune(r)
		case i > 0 && strings.ContainsRune("-.:@,%", r):
			b.WriteRune(r)
		default:
			b.WriteByte('_')
		}
	}
	return b.String()
}
