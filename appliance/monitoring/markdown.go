package monitoring

import (
	"crypto/sha256"
	"encoding/base64"
	"html"
	"strings"
)

// style makes the pages readable on a phone, at night and on paper.
const style = `:root{color-scheme:light dark}body{max-width:44rem;margin:1.5rem auto;padding:0 1rem;font:1rem/1.5 system-ui,sans-serif}` +
	`pre{overflow:auto;padding:.5rem;border:1px solid}code,pre{font-family:ui-monospace,monospace;font-size:.9em}` +
	`code{overflow-wrap:anywhere}h1{font-size:1.4rem}h2{font-size:1.1rem}`

// policy lets the pages do nothing but look as they are meant to.
func policy() string {
	sum := sha256.Sum256([]byte(style))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}

// page wraps body, which is HTML already, into a whole page.
func page(title, body string) []byte {
	return []byte("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n" +
		"<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>" + html.EscapeString(title) + " - bootpuck</title>\n" +
		"<style>" + style + "</style>\n</head>\n<body>\n" + body + "</body>\n</html>\n")
}

// render turns the little of Markdown that the pages use into HTML: headings,
// paragraphs, lists of one level, indented code, `code` and [links](address).
// Everything else is text, and escaped.
func render(source string) string {
	var out strings.Builder
	var open string // element that lines are added to
	var lines []string
	flush := func() {
		text := strings.Join(lines, "\n")
		switch open {
		case "":
		case "pre":
			out.WriteString("<pre>" + html.EscapeString(text) + "</pre>\n")
		case "li":
			out.WriteString("<li>" + inline(text) + "</li>\n")
		default:
			out.WriteString("<" + open + ">" + inline(text) + "</" + open + ">\n")
		}
		open, lines = "", nil
	}
	list := false
	endList := func() {
		flush()
		if list {
			out.WriteString("</ul>\n")
			list = false
		}
	}
	begin := func(element, line string) {
		open, lines = element, []string{line}
	}
	for line := range strings.SplitSeq(source, "\n") {
		trimmed := strings.TrimSpace(line)
		heading := strings.TrimLeft(trimmed, "#")
		level := len(trimmed) - len(heading)
		item, isItem := strings.CutPrefix(line, "- ")
		code, isCode := strings.CutPrefix(line, "    ")
		switch {
		case trimmed == "":
			flush()
		case open == "pre" && isCode:
			lines = append(lines, code)
		case isCode && open == "":
			endList()
			begin("pre", code)
		case level > 0 && level < 4 && strings.HasPrefix(heading, " "):
			endList()
			begin("h"+string(rune('0'+level)), strings.TrimSpace(heading))
			flush()
		case isItem:
			flush()
			if !list {
				out.WriteString("<ul>\n")
				list = true
			}
			begin("li", item)
		case open == "li" || open == "p":
			lines = append(lines, trimmed)
		default:
			endList()
			begin("p", trimmed)
		}
	}
	endList()
	return out.String()
}

// inline escapes text and sets `code` and [links](address). An address with a
// scheme other than http or https stays text.
func inline(text string) string {
	var out strings.Builder
	for text != "" {
		i := strings.IndexAny(text, "`[")
		if i < 0 {
			break
		}
		out.WriteString(html.EscapeString(text[:i]))
		text = text[i:]
		if text[0] == '`' {
			code, rest, ok := strings.Cut(text[1:], "`")
			if !ok {
				break
			}
			out.WriteString("<code>" + html.EscapeString(code) + "</code>")
			text = rest
			continue
		}
		words, rest, ok := strings.Cut(text[1:], "](")
		address, after, closed := strings.Cut(rest, ")")
		if !ok || !closed || strings.Contains(words, "[") || !harmless(address) {
			out.WriteString(html.EscapeString(text[:1]))
			text = text[1:]
			continue
		}
		out.WriteString(`<a href="` + html.EscapeString(address) + `">` + html.EscapeString(words) + "</a>")
		text = after
	}
	out.WriteString(html.EscapeString(text))
	return out.String()
}

// harmless says whether an address may become a link.
func harmless(address string) bool {
	scheme, _, found := strings.Cut(address, ":")
	return !found || scheme == "http" || scheme == "https"
}
