package main

import (
	"bufio"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// errNoMirror tells what to do on a machine whose apt knows no Debian archive.
var errNoMirror = errors.New(`no Debian mirror is configured on this machine: add one for apt ` +
	`(a file in /etc/apt/sources.list.d with "Types: deb", "URIs:", "Suites:", "Components: main"; see sources.list(5)), ` +
	`or name one with -mirror URL`)

// repo is one package archive that apt is configured with. Origin and Label are
// empty as long as apt never fetched its index.
type repo struct {
	uri, origin, label string
}

// parseIndexTargets reads what `apt-get indextargets` prints: paragraphs of
// "Key: value" lines. It returns each archive that has components once, in order.
// Anything it does not understand it passes over: the caller proves every archive
// by its signature anyway.
func parseIndexTargets(text string) []repo {
	var (
		repos []repo
		field = map[string]string{}
	)
	end := func() {
		r := repo{uri: field["Repo-URI"], origin: field["Origin"], label: field["Label"]}
		usable := field["Created-By"] == "Packages" && field["Component"] != "" && validMirror(r.uri) == nil
		if usable && !slices.Contains(repos, r) {
			repos = append(repos, r)
		}
		clear(field)
	}
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		line := lines.Text()
		if strings.TrimSpace(line) == "" {
			end()
			continue
		}
		if key, value, ok := strings.Cut(line, ":"); ok {
			field[key] = strings.TrimSpace(value)
		}
	}
	end()
	return repos
}

// mirrors picks the archives that can be Debian's main one, the likeliest first.
// One that says it is something else is left out; one that says nothing yet is
// tried last, and one for security updates, which holds only those, after it.
func mirrors(repos []repo) []string {
	rank := func(r repo) int {
		switch {
		case r.origin == "Debian" && r.label == "Debian":
			return 0
		case r.origin != "" || r.label != "":
			return -1
		case strings.Contains(r.uri, "security"):
			return 2
		}
		return 1
	}
	var uris []string
	for want := range 3 {
		for _, r := range repos {
			if rank(r) == want && !slices.Contains(uris, r.uri) {
				uris = append(uris, r.uri)
			}
		}
	}
	return uris
}

// validMirror refuses what cannot be one word of a sources.list line with a path
// behind it.
func validMirror(uri string) error {
	if uri == "" || strings.ContainsFunc(uri, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '[' || r == ']' || r == '#' }) {
		return fmt.Errorf("mirror address %q: empty or with characters that cannot be in one", redact(uri))
	}
	scheme, rest, ok := strings.Cut(uri, ":")
	if !ok || scheme == "" || rest == "" || scheme == "cdrom" {
		return fmt.Errorf("mirror address %q: want something like http://host/debian", redact(uri))
	}
	return nil
}

// poolURI joins a mirror and a path as apt does: + and ~ percent-encoded, because
// some servers read a plain + as a space.
func poolURI(mirror, pool string) string {
	return strings.TrimSuffix(mirror, "/") + "/" + strings.NewReplacer("+", "%2b", "~", "%7e").Replace(pool)
}

// redact takes user name and password out of an address before it is shown.
func redact(uri string) string {
	u, err := url.Parse(uri)
	if err != nil {
		return "(unreadable address)"
	}
	if u.User != nil {
		u.User = url.User("…")
	}
	return u.String()
}
