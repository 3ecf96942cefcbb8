package tftp

import (
	"bytes"
	"strings"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// maxName bounds a cleaned name in octets. Longer ones than firmware can carry in
// a DHCP option (255) come from second stages; nothing serves names beyond this.
const maxName = 1024

// Clean makes the name of a served file out of the file name of a request. Names
// are octets, and firmware is careless with them:
//
//   - cut at the first NUL; trailing 0xFF is the End option that EDK2 before 2014
//     copied along with DHCP option 67; trailing spaces and control octets are the
//     padding of other ROMs;
//   - `\` is a separator to Windows' boot managers and to UEFI paths;
//   - doubled and leading separators come from joining a directory and a name;
//   - a prefix tftp://host/ is passed through whole by some ROMs.
//
// What is left must be neither empty nor climb (".."), and holds no control
// octets; otherwise the reason is boot.ReasonTFTPName and the name is empty.
// Clean is idempotent. The result satisfies fs.ValidPath when it is UTF-8.
func Clean(raw []byte) (name string, reason boot.Reason) {
	b := raw
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	s := strings.ReplaceAll(trimPadding(string(b)), `\`, "/")
	if len(s) > maxName {
		return "", boot.ReasonTFTPName
	}
	const scheme = "tftp://"
	if len(s) >= len(scheme) && strings.EqualFold(s[:len(scheme)], scheme) {
		// The host is dropped without a look: the request has reached us.
		_, s, _ = strings.Cut(s[len(scheme):], "/")
	}
	parts := make([]string, 0, 8)
	for part := range strings.SplitSeq(s, "/") {
		if part != "" && part != "." {
			parts = append(parts, part)
		}
	}
	// Padding may also stand before a trailing separator. It goes before ".." is
	// looked for, so that it cannot hide one.
	for len(parts) > 0 {
		end := len(parts) - 1
		parts[end] = trimPadding(parts[end])
		if parts[end] != "" && parts[end] != "." {
			break
		}
		parts = parts[:end]
	}
	for _, part := range parts {
		if part == ".." || strings.ContainsFunc(part, isControl) {
			return "", boot.ReasonTFTPName
		}
	}
	name = strings.Join(parts, "/")
	// A second tftp: prefix is no name of ours, and would be cut by a second Clean.
	if name == "" || strings.HasPrefix(strings.ToLower(name), "tftp:/") {
		return "", boot.ReasonTFTPName
	}
	return name, boot.ReasonNone
}

func isControl(r rune) bool { return r < 0x20 || r == 0x7f }

// trimPadding cuts 0xFF, spaces and control octets off the end.
func trimPadding(s string) string {
	for len(s) > 0 {
		if c := s[len(s)-1]; c != 0xff && c != ' ' && !isControl(rune(c)) {
			break
		}
		s = s[:len(s)-1]
	}
	return s
}
