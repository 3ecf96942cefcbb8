// Package monitoring holds what a Prometheus and a Grafana need to watch boxes:
// alert and recording rules, the board, an example configuration and a page for
// every alert. The box serves the version that belongs to its metrics.
//
// It must never tell anything of the box it runs on: its pages are the same
// everywhere, and everybody may read them. Of a request nothing but the path is
// looked at, and that only to find it in a fixed list.
package monitoring

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"
)

//go:embed README.md dashboard.json prometheus.example.yml rules/*.yml tests/*.yml runbooks/*.md
var files embed.FS

// Prefix is where Handler's pages lie.
const Prefix = "/monitoring/"

// Files is everything that is served, by names like "rules/alerts.yml".
func Files() fs.FS { return files }

// document is one page or file, made when the program starts.
type document struct {
	mime string
	etag string
	body []byte
}

// Handler serves Prefix and what lies below: an index, the files as they are, and
// under runbooks/NAME the page of an alert. It answers GET and HEAD only.
func Handler() http.Handler {
	documents, csp := documents(), policy()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Content-Security-Policy", csp)
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			h.Set("Allow", "GET, HEAD")
			http.Error(w, "these pages can only be read", http.StatusMethodNotAllowed)
			return
		}
		if r.URL.Path+"/" == Prefix {
			http.Redirect(w, r, Prefix, http.StatusMovedPermanently)
			return
		}
		name, below := strings.CutPrefix(r.URL.Path, Prefix)
		d, ok := documents[name]
		if !below || !ok {
			http.Error(w, "there is no such page; see "+Prefix, http.StatusNotFound)
			return
		}
		h.Set("Content-Type", d.mime)
		h.Set("ETag", d.etag)
		h.Set("Cache-Control", "no-cache")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(d.body))
	})
}

const (
	mimePage = "text/html; charset=utf-8"
	mimeText = "text/plain; charset=utf-8"
)

// documents makes everything that is served, by its path below Prefix.
func documents() map[string]document {
	all := map[string]document{}
	add := func(name, mime string, body []byte) {
		sum := sha256.Sum256(body)
		all[name] = document{mime, `"` + hex.EncodeToString(sum[:8]) + `"`, body}
	}
	for _, name := range names() {
		body, err := files.ReadFile(name)
		if err != nil {
			panic(err) // it is in the list of what is embedded
		}
		switch path.Ext(name) {
		case ".json":
			add(name, "application/json", body)
		case ".md":
			add(name, mimeText, body)
			title := strings.TrimSuffix(path.Base(name), ".md")
			if strings.HasPrefix(name, "runbooks/") {
				add("runbooks/"+title, mimePage, page(title, render(string(body))))
			}
		default: // browsers show text and would store YAML
			add(name, mimeText, body)
		}
	}
	add("", mimePage, index())
	return all
}

// names lists the embedded files.
func names() []string {
	var list []string
	err := fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			list = append(list, name)
		}
		return err
	})
	if err != nil {
		panic(err) // the files are part of the program
	}
	slices.Sort(list)
	return list
}

// index is the front page: what the files are for, and where they are.
func index() []byte {
	readme, err := files.ReadFile("README.md")
	if err != nil {
		panic(err) // it is embedded
	}
	var list strings.Builder
	list.WriteString("\n## Files\n\n")
	var runbooks []string
	for _, name := range names() {
		if title, ok := strings.CutPrefix(name, "runbooks/"); ok {
			runbooks = append(runbooks, strings.TrimSuffix(title, ".md"))
			continue
		}
		list.WriteString("- [" + name + "](" + name + ")\n")
	}
	list.WriteString("\n## Pages of the alerts\n\n")
	for _, title := range runbooks {
		list.WriteString("- [" + title + "](runbooks/" + title + ")\n")
	}
	return page("Monitoring", render(string(readme)+list.String()))
}
