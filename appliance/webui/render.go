package webui

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"
)

//go:embed templates assets
var embedded embed.FS

var templates = template.Must(template.New("").Funcs(template.FuncMap{
	"asset": assetURL,
	"mark":  markOf,
	"n":     func(v float64) string { return strconv.FormatFloat(v, 'f', 1, 64) },
}).ParseFS(embedded, "templates/*.html"))

// markOf is the sign of a tone. It stands before the words, so that nothing is
// told by colour alone.
func markOf(tone string) template.HTML {
	switch tone {
	case toneGood:
		return `<span class="mark" aria-hidden="true">✓</span>`
	case toneBad:
		return `<span class="mark" aria-hidden="true">✗</span>`
	case toneWarn:
		return `<span class="mark" aria-hidden="true">!</span>`
	case toneNow:
		return `<span class="mark" aria-hidden="true">▸</span>`
	default:
		return `<span class="mark" aria-hidden="true">–</span>`
	}
}

// legendGlyph is a mark in the legend.
func legendGlyph(shape, class string) glyph {
	g := glyph{Shape: shape, Class: class}
	if shape == shapeBar {
		g.X, g.Y, g.W, g.H = -7, -4, 14, 8
	}
	return g
}

// fragment is one part of a page, rendered.
type fragment struct {
	ID   string
	HTML template.HTML
}

// renderParts renders every part by itself. What cannot be rendered is left
// out: the rest is still worth reading.
func renderParts(p *page) []fragment {
	list := make([]fragment, 0, len(p.Parts))
	for _, part := range p.Parts {
		var b bytes.Buffer
		if templates.ExecuteTemplate(&b, part.ID, part.Data) == nil {
			list = append(list, fragment{part.ID, template.HTML(b.String())}) //nolint:gosec // html/template made it
		}
	}
	return list
}

// file is an asset.
type file struct {
	data []byte
	kind string
	etag string // without quotes
}

// kinds of assets; the system's own table differs from machine to machine.
var kinds = map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}

var assets = readAssets(embedded)

func readAssets(from fs.FS) map[string]file {
	list, err := fs.ReadDir(from, "assets")
	if err != nil {
		panic(err) // the folder is part of the program
	}
	m := map[string]file{}
	for _, e := range list {
		data, err := fs.ReadFile(from, path.Join("assets", e.Name()))
		if err != nil {
			panic(err)
		}
		sum := sha256.Sum256(data)
		m[e.Name()] = file{data, kinds[path.Ext(e.Name())], hex.EncodeToString(sum[:8])}
	}
	return m
}

// assetURL is the address of an asset. It changes with the content, so that
// browsers keep each for ever and never show a new page with an old style.
func assetURL(name string) string { return "/assets/" + name + "?v=" + assets[name].etag }

func asset(w http.ResponseWriter, r *http.Request) {
	f, ok := assets[r.PathValue("name")]
	if !ok {
		http.Error(w, "no such asset", http.StatusNotFound)
		return
	}
	h := w.Header()
	h.Set("Content-Type", f.kind)
	h.Set("ETag", `"`+f.etag+`"`)
	h.Set("Cache-Control", "no-cache")
	if r.URL.Query().Get("v") == f.etag {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	for tag := range strings.SplitSeq(r.Header.Get("If-None-Match"), ",") {
		if strings.TrimPrefix(strings.TrimSpace(tag), "W/") == `"`+f.etag+`"` {
			w.WriteHeader(http.StatusNotModified)
			return
		}
	}
	h.Set("Content-Length", strconv.Itoa(len(f.data)))
	_, _ = w.Write(f.data)
}
