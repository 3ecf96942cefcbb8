package answer

import (
	"errors"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"text/template"
	"text/template/parse"
	"unicode"
)

// maxWhat bounds the text of an error. The library's own messages quote the
// action they are about, however long it is.
const maxWhat = 300

// printable makes a text fit for a log line and an event.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return ' '
		}
		if !unicode.IsPrint(r) {
			return '_'
		}
		return r
	}, strings.ToValidUTF8(s, "_"))
	if len(s) > maxWhat {
		s = strings.ToValidUTF8(s[:maxWhat-3], "") + "…"
	}
	return s
}

// parseError gives the parser's message a column. The parser tells the line
// alone, but stops at the first mistake: the action it is in is the first one of
// the line after which the cut-off text gives the same message.
func (c *compiler) parseError(err error, names map[string]any) error {
	msg := strings.TrimPrefix(err.Error(), "template: "+mainName+":")
	number, what, ok := strings.Cut(msg, ": ")
	line, errLine := strconv.Atoi(number)
	if !ok || errLine != nil {
		return &Error{Name: c.name, What: printable(err.Error())}
	}
	start := 0
	for range line - 1 {
		start += strings.IndexByte(c.src[start:], '\n') + 1
	}
	end := len(c.src)
	if i := strings.IndexByte(c.src[start:], '\n'); i >= 0 {
		end = start + i
	}
	ends := actionEnds(c.src, start, end)
	i := sort.Search(len(ends), func(i int) bool {
		_, e := parse.Parse(mainName, c.src[:ends[i]], "", "", names, builtin)
		return e != nil && e.Error() == err.Error()
	})
	pos := end // the end of the text, or a line within an action
	if i < len(ends) {
		pos = max(start, strings.LastIndex(c.src[:ends[i]-1], "{{"))
		if word := quotedWord(what); word != "" {
			if k := strings.Index(c.src[pos:ends[i]], word); k >= 0 {
				pos += k
			}
		}
	}
	if strings.Contains(what, "unexpected EOF") {
		what = "the text ends within a block or an action: {{end}} or }} is missing"
	}
	if strings.Contains(what, "bad character U+002D") {
		what += `; a name with a dash is written index .Vars "a-name"`
	}
	return c.at(parse.Pos(pos), "%s", what)
}

// actionEnds lists where the actions that end in [start, end) end, and end.
func actionEnds(src string, start, end int) []int {
	var ends []int
	for pos := start; ; {
		i := strings.Index(src[pos:end], "}}")
		if i < 0 {
			return append(ends, end)
		}
		pos += i + 2
		ends = append(ends, pos)
	}
}

var quoted = regexp.MustCompile(`"((?:[^"\\]|\\.)*)"|<([^<>]+)>`)

// quotedWord is what the parser's message is about.
func quotedWord(what string) string {
	m := quoted.FindStringSubmatch(what)
	switch {
	case m == nil:
		return ""
	case m[2] != "":
		return m[2]
	}
	if s, err := strconv.Unquote(`"` + m[1] + `"`); err == nil {
		return s
	}
	return m[1]
}

var (
	execPlace  = regexp.MustCompile(`^template: \x01:(\d+):(\d+): `)
	missingKey = regexp.MustCompile(`map has no entry for key "(.*)"$`)
	internal   = regexp.MustCompile(`<_out \d+ [^>]*>|<_range>|<_step \d+>`)
)

// renderError takes an error of the template engine apart.
func (t *Text) renderError(err error) *Error {
	out := &Error{Name: t.name}
	text := err.Error()
	var exec template.ExecError
	if errors.As(err, &exec) {
		text = exec.Err.Error()
	}
	if m := execPlace.FindStringSubmatch(text); m != nil {
		out.Line, _ = strconv.Atoi(m[1])
		out.Column, _ = strconv.Atoi(m[2])
		out.Column++ // from 0
		text = text[len(m[0]):]
	}
	told := strings.Contains(text, ".Told.")
	// What a function of ours says speaks for itself.
	if _, after, ok := strings.Cut(text, ": error calling "); ok {
		if _, reason, ok := strings.Cut(after, ": "); ok {
			text = reason
		}
	} else if _, after, ok := strings.Cut(text, `>: `); ok {
		text = after
	}
	if m := missingKey.FindStringSubmatch(text); m != nil {
		text = missing(m[1], told).Error()
	}
	out.What = printable(internal.ReplaceAllString(text, "this"))
	return out
}
