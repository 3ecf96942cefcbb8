package webui

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// page is one page: a frame around parts, each of which can be replaced alone
// while the page is open.
type page struct {
	Status int
	Title  string
	Here   string // which entry of the navigation it is
	Live   string // the address of its live stream; empty: nothing on it changes
	Box    BoxInfo
	Parts  []part
}

// part is a piece of a page. ID is its element's and the template's name.
type part struct {
	ID   string
	Data any
}

// route is an address with a page.
type route struct {
	pattern string
	match   func(path string) bool
	build   func(s *site, path string, query url.Values) *page
}

func exactly(path string) func(string) bool { return func(p string) bool { return p == path } }

var routes = []route{
	{"/{$}", exactly("/"), (*site).overview},
}

// page builds the page of an address; the live stream asks for the same.
func (s *site) page(path, rawQuery string) *page {
	query, err := url.ParseQuery(rawQuery)
	if err != nil {
		p := missing(s.src.Box(), "The address is malformed.")
		p.Status = http.StatusBadRequest
		return p
	}
	for _, r := range routes {
		if r.match(path) {
			p := r.build(s, path, query)
			p.Box = s.src.Box()
			return p
		}
	}
	return missing(s.src.Box(), "There is no such page.")
}

// missing is the page for what is not there.
func missing(box BoxInfo, what string) *page {
	return &page{Status: http.StatusNotFound, Title: "Not found", Box: box, Parts: []part{{"missing", what}}}
}

// liveOf is the address of the live stream of a page.
func liveOf(path string, query url.Values) string {
	of := path
	if q := query.Encode(); q != "" {
		of += "?" + q
	}
	return "/live?of=" + url.QueryEscape(strings.TrimSpace(of))
}

func (s *site) overview(path string, _ url.Values) *page {
	latest, _ := s.src.Attempts(Query{Limit: 10})
	return &page{
		Status: http.StatusOK, Title: "Overview", Here: "/", Live: liveOf(path, nil),
		Parts: []part{{"latest", latest}},
	}
}

var _ = boot.ReasonNone
