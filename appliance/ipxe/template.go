package ipxe

import "strings"

// template is a text cut at the places where the base address goes, so that
// rendering is nothing but copying.
type template struct {
	parts []string // the base address goes between two parts
	size  int      // octets of all parts
}

// compile cuts text at every {base}.
func compile(text string) template {
	t := template{parts: strings.Split(text, "{base}")}
	for _, p := range t.parts {
		t.size += len(p)
	}
	return t
}

// appendTo renders t with base into dst.
func (t template) appendTo(dst []byte, base string) []byte {
	if need := t.size + (len(t.parts)-1)*len(base); cap(dst)-len(dst) < need {
		dst = append(make([]byte, 0, len(dst)+need), dst...)
	}
	for i, p := range t.parts {
		if i > 0 {
			dst = append(dst, base...)
		}
		dst = append(dst, p...)
	}
	return dst
}

// fill renders t with base and puts texts in the place of marks: a mark is an
// octet 1 and the letters after it. whole says that the text has its own line
// ends, so that the mark's is dropped.
func (t template) fill(dst []byte, base string, text func(mark string) (s string, whole bool)) []byte {
	for i, part := range t.parts {
		if i > 0 {
			dst = append(dst, base...)
		}
		for {
			at := strings.IndexByte(part, 1)
			if at < 0 {
				break
			}
			dst = append(dst, part[:at]...)
			end := at + 1
			for end < len(part) && part[end] >= 'a' && part[end] <= 'z' {
				end++
			}
			s, whole := text(part[at:end])
			dst = append(dst, s...)
			if whole && end < len(part) && part[end] == '\n' {
				end++
			}
			part = part[end:]
		}
		dst = append(dst, part...)
	}
	return dst
}

// lines joins the lines that are not left out. An element that begins with
// "?-" was excluded by when.
func lines(ls ...string) string {
	var b strings.Builder
	for _, l := range ls {
		if l == leftOut {
			continue
		}
		b.WriteString(l)
		b.WriteByte('\n')
	}
	return b.String()
}

// leftOut marks a line, or block of lines, that a condition removed.
const leftOut = "\x00"

// when keeps text if the condition holds.
func when(cond bool, text string) string {
	if !cond {
		return leftOut
	}
	return text
}
