package ipxe

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
)

// Target is something an operator told machines to chain to: a file of the
// operator's own directory or an absolute URL. The zero Target is none.
type Target struct {
	url string // absolute, or beginning with {base}
	efi bool   // the path ends in .efi
}

// schemes that Debian's iPXE 2.0 can download from. The older builds in NIC
// ROMs know fewer; that fails on the machine with an explanation.
var schemes = map[string]bool{"http": true, "https": true, "tftp": true, "nfs": true}

// ParseTarget reads the value of -default-script or of a menu entry: files/PATH
// or an absolute URL (http, https, tftp, nfs). A URL may hold iPXE settings
// such as ${mac}: it is the operator's own text. The error says what is wrong.
func ParseTarget(s string) (Target, error) {
	if s == "" {
		return Target{}, nil
	}
	if len(s) > 1024 {
		return Target{}, fmt.Errorf("target of %d characters: at most 1024", len(s))
	}
	if path, ok := strings.CutPrefix(s, "files/"); ok {
		for part := range strings.SplitSeq(path, "/") {
			if part == "" || part == "." || part == ".." {
				return Target{}, fmt.Errorf("target %q: not a plain path below files/", s)
			}
		}
		if strings.ContainsFunc(path, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return Target{}, fmt.Errorf("target %q: control character", s)
		}
		// EscapedPath leaves "$" alone; iPXE would expand "${".
		esc := strings.ReplaceAll((&url.URL{Path: path}).EscapedPath(), "$", "%24")
		return Target{url: "{base}/files/" + esc, efi: strings.HasSuffix(path, ".efi")}, nil
	}
	// Whatever iPXE's tokenizer or our own template would take apart.
	if strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f }) || strings.Contains(s, "{base}") {
		return Target{}, fmt.Errorf("target %q: white space or characters outside ASCII; write them as %%XX", s)
	}
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok || !schemes[scheme] || rest == "" || rest[0] == '/' {
		return Target{}, fmt.Errorf("target %q: want files/PATH or a URL beginning with http://, https://, tftp:// or nfs://", s)
	}
	path, _, _ := strings.Cut(rest, "?")
	return Target{url: s, efi: strings.HasSuffix(path, ".efi")}, nil
}

// IsZero says that there is no target.
func (t Target) IsZero() bool { return t.url == "" }

// grub is the target as a GRUB file name, ok only for EFI programs by plain
// HTTP: GRUB cannot run iPXE scripts and has no HTTPS.
func (t Target) grub() (name string, ok bool) {
	if !t.efi {
		return "", false
	}
	if rest, ok := strings.CutPrefix(t.url, "{base}"); ok {
		path, err := url.PathUnescape(rest)
		if err != nil || strings.ContainsAny(path, "'\\") {
			return "", false
		}
		return "$box" + grubQuote(path), true
	}
	rest, ok := strings.CutPrefix(t.url, "http://")
	if !ok || strings.ContainsAny(rest, "'\\${}?%") {
		return "", false
	}
	host, path, _ := strings.Cut(rest, "/")
	return grubQuote("(http," + host + ")/" + path), true
}

// grubQuote puts s in GRUB's single quotes, in which nothing is special.
func grubQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// errBase is returned for a base address that cannot stand in a script.
var errBase = errors.New("base address: want http://HOST[:PORT][/PATH] or https://…")

// CheckBase says whether base can be rendered: an http or https URL without a
// trailing slash, of characters that neither iPXE nor GRUB takes apart. The
// address the client reached us on always is; an operator's setting may not be.
func CheckBase(base string) error {
	rest, ok := strings.CutPrefix(base, "http://")
	if !ok {
		rest, ok = strings.CutPrefix(base, "https://")
	}
	if !ok || rest == "" || len(base) > 255 || base[len(base)-1] == '/' {
		return errBase
	}
	for i := range len(rest) {
		switch c := rest[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case c == '.', c == '_', c == ':', c == '-', c == '[', c == ']', c == '/', c == '~':
		default:
			return errBase
		}
	}
	return nil
}

// baseHost is the host of a base address, as GRUB wants it.
func baseHost(base string) (host, path string) {
	_, rest, _ := strings.Cut(base, "://")
	host, path, found := strings.Cut(rest, "/")
	if found {
		path = "/" + path
	}
	return host, path
}

// hostAddress is the host without port and brackets.
func hostAddress(host string) string {
	if ap, err := netip.ParseAddrPort(host); err == nil {
		return ap.Addr().String()
	}
	if h, _, ok := strings.Cut(host, ":"); ok && !strings.Contains(host, "[") {
		return h
	}
	return strings.Trim(host, "[]")
}
