package tftp

import (
	"io/fs"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

func TestClean(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ raw, want string }{
		{"undionly.kpxe", "undionly.kpxe"},
		{"x86_64/snponly.efi", "x86_64/snponly.efi"},
		{`\x86_64\snponly.efi`, "x86_64/snponly.efi"},
		{"/x86_64//snponly.efi", "x86_64/snponly.efi"},
		{"x86_64/snponly.efi\xff", "x86_64/snponly.efi"},
		{"x86_64/snponly.efi\xff\xff \r\n\t", "x86_64/snponly.efi"},
		{"x86_64/snponly.efi\xff\x00garbage", "x86_64/snponly.efi"},
		{"x86_64/snponly.efi\x00/../..", "x86_64/snponly.efi"},
		{"./a/./b/.", "a/b"},
		{"tftp://192.0.2.2/undionly.kpxe", "undionly.kpxe"},
		{"TFTP://192.0.2.2:69//undionly.kpxe", "undionly.kpxe"},
		{`tftp:\\box\undionly.kpxe`, "undionly.kpxe"},
		{"tftp:///undionly.kpxe", "undionly.kpxe"},
		{"pxelinux.cfg/01-52-54-00-12-34-56", "pxelinux.cfg/01-52-54-00-12-34-56"},
		{"a b/c d", "a b/c d"},
		{"a/b /", "a/b"},
		{"a/ /.", "a"},
		{"..a/b..", "..a/b.."},
		{"...", "..."},
		{"/etc/passwd", "etc/passwd"}, // inside the tree, where it does not exist
		{"ÄÖ.efi", "ÄÖ.efi"},
		{"\xff\xfe\x80x", "\xff\xfe\x80x"},
	} {
		if got, reason := Clean([]byte(tt.raw)); got != tt.want || reason != boot.ReasonNone {
			t.Errorf("Clean(%q) = %q, %q; want %q", tt.raw, got, reason, tt.want)
		}
	}
	for _, raw := range []string{
		"", "/", "//", `\`, ".", "./.", "\x00a", "\xff", " ", "..", "../x", "a/../b", `..\..\x`, "a/..", ".. ", "..\xff", "a/.. /.",
		"tftp://", "tftp://host", "tftp://host/", "tftp://host/..", "tftp://a/tftp://b/c", "tftp:/x", "a\nb", "a\x7fb/c", "a\x1b[0m/c",
		strings.Repeat("a", maxName+1),
	} {
		if got, reason := Clean([]byte(raw)); got != "" || reason != boot.ReasonTFTPName {
			t.Errorf("Clean(%q) = %q, %q; want it refused", raw, got, reason)
		}
	}
}

func FuzzClean(f *testing.F) {
	for _, s := range []string{
		"undionly.kpxe", `\x86_64\snponly.efi` + "\xff", "tftp://h/../x", "a/.. /.", "..", "a\x00b", " /", "tftp:/\\/h/a/", "TFTP:////",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		name, reason := Clean(raw)
		if (name == "") != (reason != boot.ReasonNone) {
			t.Fatalf("Clean(%q) = %q, %q", raw, name, reason)
		}
		if name == "" {
			return
		}
		if again, r := Clean([]byte(name)); again != name || r != boot.ReasonNone {
			t.Fatalf("Clean(%q) = %q, and that again %q, %q", raw, name, again, r)
		}
		if len(name) > maxName || strings.ContainsAny(name, "\\\x00\n\r") || strings.HasPrefix(name, "/") {
			t.Fatalf("Clean(%q) = %q", raw, name)
		}
		for part := range strings.SplitSeq(name, "/") {
			if part == ".." || part == "." || part == "" {
				t.Fatalf("Clean(%q) = %q", raw, name)
			}
		}
		if utf8.ValidString(name) && !fs.ValidPath(name) {
			t.Fatalf("Clean(%q) = %q, no valid path", raw, name)
		}
	})
}
