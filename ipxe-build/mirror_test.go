package main

import (
	"os"
	"slices"
	"strings"
	"testing"
)

func TestMirrorsFromAptConfiguration(t *testing.T) {
	for file, want := range map[string][]string{
		// The main archive only: not the security one, not third parties, not a
		// repository without components, not what holds translations alone.
		"indextargets-fetched.txt": {"http://packages.example.org/debian/"},
		// apt never fetched anything, so nothing says what is what: the likeliest first.
		"indextargets-fresh.txt": {"http://user:secret@packages.example.org/debian/", "http://packages.example.org/debian-security/"},
	} {
		text, err := os.ReadFile("testdata/" + file)
		if err != nil {
			t.Fatal(err)
		}
		if got := mirrors(parseIndexTargets(string(text))); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", file, got, want)
		}
	}
	for name, text := range map[string]string{
		"nothing":        "",
		"other system":   "Created-By: Packages\nComponent: main\nOrigin: Other\nLabel: Other\nRepo-URI: http://packages.example.org/other/\n",
		"not paragraphs": "E: something went wrong\n",
		"blank in it":    "Created-By: Packages\nComponent: main\nRepo-URI: http://packages.example.org/a b\n",
		"option in it":   "Created-By: Packages\nComponent: main\nRepo-URI: [trusted=yes]http://packages.example.org/\n",
		"a disc":         "Created-By: Packages\nComponent: main\nRepo-URI: cdrom:[Disc]/\n",
	} {
		if got := mirrors(parseIndexTargets(text)); len(got) != 0 {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestPoolURI(t *testing.T) {
	const pool = "pool/main/i/ipxe/ipxe_2.0.0+dfsg~1-5_all.deb"
	want := "http://packages.example.org/debian/pool/main/i/ipxe/ipxe_2.0.0%2bdfsg%7e1-5_all.deb"
	for _, mirror := range []string{"http://packages.example.org/debian", "http://packages.example.org/debian/"} {
		if got := poolURI(mirror, pool); got != want {
			t.Errorf("poolURI(%q) = %q, want %q", mirror, got, want)
		}
	}
}

func TestRedactHidesCredentials(t *testing.T) {
	for in, want := range map[string]string{
		"http://packages.example.org/debian":               "http://packages.example.org/debian",
		"https://user:secret@packages.example.org/debian/": "https://%E2%80%A6@packages.example.org/debian/",
		"http://[::1": "(unreadable address)",
	} {
		if got := redact(in); got != want {
			t.Errorf("redact(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzParseIndexTargets(f *testing.F) {
	for _, name := range []string{"testdata/indextargets-fetched.txt", "testdata/indextargets-fresh.txt"} {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Add("Created-By: Packages\nComponent: main\nRepo-URI: http://packages.example.org/debian\n\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, uri := range mirrors(parseIndexTargets(text)) {
			// It becomes one word of a line that apt reads as configuration.
			if uri == "" || strings.ContainsAny(uri, " \t\r\n[]#\x00") || !strings.Contains(uri, ":") {
				t.Errorf("mirror %q", uri)
			}
		}
	})
}
