package syslog

import (
	"bytes"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	// MaxLine is how much of a line is kept, octets.
	MaxLine = 1024
	maxTag  = 48 // octets of a program's name; RFC 5424 allows as many
)

// Message is what is read of a line: what it says, and which program says so.
// Time, host and process that the sender claims are dropped; when it came and
// from where the box knows itself.
type Message struct {
	Tag  string // empty when there is none
	Text string
}

// String is "tag: text", at most MaxLine octets.
func (m Message) String() string {
	if m.Tag == "" {
		return m.Text
	}
	return cut(m.Tag+": "+m.Text, MaxLine)
}

// Parse reads a line in the form of RFC 5424, of RFC 3164, of a kernel's console,
// or in none: whatever it is, something readable comes out. Control characters,
// terminal escapes and characters that are not to be seen are taken out. ok is
// false when nothing is left.
func Parse(line []byte) (m Message, ok bool) {
	line = bytes.TrimRight(line, "\x00\r\n\t ")
	s, found := priority(clean(line))
	if rest, version := strings.CutPrefix(s, "1 "); found && version {
		m = parse5424(rest)
	} else {
		m = parse3164(s)
	}
	m.Tag = cut(m.Tag, maxTag)
	m.Text = cut(strings.TrimSpace(m.Text), MaxLine)
	return m, m.Text != ""
}

// priority cuts off "<134>".
func priority(s string) (rest string, found bool) {
	end := strings.IndexByte(s, '>')
	if end < 2 || end > 4 || s[0] != '<' || !digits(s[1:end]) {
		return s, false
	}
	return s[end+1:], true
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// parse5424 reads what follows the version (RFC 5424 section 6): TIMESTAMP
// HOSTNAME APP-NAME PROCID MSGID STRUCTURED-DATA MSG.
func parse5424(s string) Message {
	var field [5]string
	for i := range field {
		field[i], s, _ = strings.Cut(s, " ")
	}
	m := Message{Text: structured(s)}
	if field[2] != "-" {
		m.Tag = field[2]
	}
	if m.Text == "" && s != "-" {
		m.Text = s // nothing but structured data: better than nothing
	}
	return m
}

// structured cuts off STRUCTURED-DATA: "-" or elements in brackets, in which
// quotation marks protect brackets.
func structured(s string) string {
	if rest, found := strings.CutPrefix(s, "-"); found {
		return strings.TrimPrefix(rest, " ")
	}
	quoted, i := false, 0
	for ; i < len(s); i++ {
		switch c := s[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case !quoted && c == ']' && (i+1 == len(s) || s[i+1] != '['):
			return strings.TrimPrefix(s[i+1:], " ")
		case i == 0 && c != '[':
			return s // no structured data where it must be
		}
	}
	return ""
}

// parse3164 reads what follows the priority in the older form (RFC 3164 section
// 4): "Oct 11 22:14:15 host tag[123]: text". Every part may be missing; rsyslog
// and others write an RFC 3339 time.
func parse3164(s string) Message {
	rest, timed := stamp(s)
	if !timed {
		if at := strings.Index(s, "] "); strings.HasPrefix(s, "[") && at > 0 && at < 20 {
			return Message{Tag: "kernel", Text: s[at+2:]} // "[    1.234567] text"
		}
		return tagged(s)
	}
	if m := tagged(rest); m.Tag != "" {
		return m // a time and no host, as busybox sends
	}
	_, after, _ := strings.Cut(rest, " ")
	if m := tagged(after); m.Tag != "" {
		return m
	}
	return Message{Text: rest}
}

// stamp cuts off the time.
func stamp(s string) (rest string, ok bool) {
	const form = "Jan _2 15:04:05"
	if len(s) > len(form) && s[len(form)] == ' ' {
		if _, err := time.Parse(form, s[:len(form)]); err == nil {
			return s[len(form)+1:], true
		}
	}
	word, rest, found := strings.Cut(s, " ")
	if _, err := time.Parse(time.RFC3339Nano, word); err == nil && found {
		return rest, true
	}
	return s, false
}

// tagged splits "tag[123]: text". The tag is one word of what programs are
// called; without one everything is text.
func tagged(s string) Message {
	n := 0
	for n < len(s) && n <= maxTag && nameOctet(s[n]) {
		n++
	}
	if n == 0 || n > maxTag {
		return Message{Text: s}
	}
	rest := s[n:]
	if strings.HasPrefix(rest, "[") {
		end := strings.IndexByte(rest, ']')
		if end < 0 || end > 24 {
			return Message{Text: s}
		}
		rest = rest[end+1:]
	}
	text, found := strings.CutPrefix(rest, ":")
	if !found || text != "" && text[0] != ' ' {
		return Message{Text: s}
	}
	return Message{Tag: s[:n], Text: text}
}

func nameOctet(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-_./()", c) >= 0
}

// clean returns b as text that can be shown anywhere: valid UTF-8 without
// control characters, terminal escapes, and characters that turn the writing
// round or are invisible (categories Cc, Cf, Co, Zl, Zp).
func clean(b []byte) string {
	var out strings.Builder
	out.Grow(len(b))
	for len(b) > 0 && out.Len() < 2*MaxLine {
		if n := escape(b); n > 0 {
			b = b[n:]
			continue
		}
		c, n := utf8.DecodeRune(b)
		b = b[n:]
		switch {
		case c == '\ufeff': // the byte order mark that RFC 5424 puts before the text
		case c == '\t' || c == '\n' || c == '\r':
			out.WriteByte(' ')
		case c == utf8.RuneError, !unicode.IsPrint(c):
			out.WriteRune(utf8.RuneError)
		default:
			out.WriteRune(c)
		}
	}
	return out.String()
}

// escape returns the length of a terminal control sequence at the beginning of
// b (ECMA-48: CSI, and strings such as OSC up to their end); 0 when there is
// none.
func escape(b []byte) int {
	if b[0] != 0x1b {
		return 0
	}
	if len(b) < 2 {
		return 1
	}
	switch b[1] {
	case '[':
		for i := 2; i < len(b); i++ {
			if b[i] >= 0x40 && b[i] <= 0x7e {
				return i + 1
			}
			if b[i] < 0x20 || b[i] > 0x7e {
				return i // broken off
			}
		}
		return len(b)
	case ']', 'P', '^', '_', 'X':
		for i := 2; i < len(b); i++ {
			if b[i] == 0x07 {
				return i + 1
			}
			if b[i] == 0x1b && i+1 < len(b) && b[i+1] == '\\' {
				return i + 2
			}
		}
		return 1 // without an end it must not swallow the line
	}
	if b[1] >= 0x20 && b[1] < 0x7f {
		return 2
	}
	return 1
}

// cut returns at most n octets of s, whole characters.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
