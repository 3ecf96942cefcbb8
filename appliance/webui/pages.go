package webui

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

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

// Zone is the time zone of the clock times on the page.
func (p *page) Zone() string { return p.Box.Now.Format("MST") }

// part is a piece of a page. ID is its element's and the template's name.
type part struct {
	ID    string
	Data  any
	Fixed bool // it is not replaced while the page is open: somebody may be typing
}

// route is an address with a page.
type route struct {
	pattern string
	match   func(path string) bool
	build   func(s *site, box BoxInfo, u *url.URL, query url.Values) *page
}

func exactly(path string) func(string) bool { return func(p string) bool { return p == path } }

const oneBoot = "/boots/"

var routes = []route{
	{"/{$}", exactly("/"), (*site).overview},
	{"/boots", exactly("/boots"), (*site).boots},
	{"/boots/{id}", func(p string) bool { return strings.HasPrefix(p, oneBoot) }, (*site).boot},
	{"/lan", exactly("/lan"), (*site).network},
}

// page builds the page of an address; the live stream asks for the same.
func (s *site) page(u *url.URL) *page {
	box := s.src.Box()
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return notice(box, http.StatusBadRequest, "Malformed address", "The part of the address behind the question mark cannot be read.")
	}
	for _, r := range routes {
		if r.match(u.Path) {
			return r.build(s, box, u, query)
		}
	}
	return notice(box, http.StatusNotFound, "Not found", "There is no such page.")
}

// notice is a page that only says something.
func notice(box BoxInfo, status int, title, text string) *page {
	return &page{Status: status, Title: title, Box: box, Parts: []part{{ID: "notice", Data: struct{ Title, Text string }{title, text}}}}
}

// liveOf is the address of the live stream of a page.
func liveOf(u *url.URL) string {
	of := u.EscapedPath()
	if u.RawQuery != "" {
		of += "?" + u.RawQuery
	}
	return "/live?of=" + url.QueryEscape(of)
}

// How much the overview shows.
const (
	shownRunning  = 12
	shownFailures = 5
	shownLatest   = 10
	shownEvents   = 40
	heardEvents   = 400 // of which the shown ones are picked
	failureAge    = 24 * time.Hour
)

var badStates = []boot.AttemptState{boot.AttemptStalled, boot.AttemptFailed}

func (s *site) overview(box BoxInfo, u *url.URL, _ url.Values) *page {
	lan := s.src.LAN()
	report := s.src.Health()
	running, more := s.src.Attempts(Query{States: []boot.AttemptState{boot.AttemptRunning}, Limit: shownRunning})
	failures, _ := s.src.Attempts(Query{States: badStates, Since: box.Now.Add(-failureAge), Limit: shownFailures})
	latest, _ := s.src.Attempts(Query{Limit: shownLatest})
	return &page{
		Status: http.StatusOK, Title: "Overview", Here: "/", Live: liveOf(u), Box: box,
		Parts: []part{
			{ID: "attention", Data: attentionOf(box, lan, s.src.Findings(), report, unsettled(failures, latest))},
			{ID: "running", Data: struct {
				Rows []row
				More bool
			}{rowsOf(running, box.Now), more != ""}},
			{ID: "failures", Data: rowsOf(failures, box.Now)},
			{ID: "picture", Data: lanView{Wires: wiresOf(lan, box, running)}},
			{ID: "latest", Data: rowsOf(latest, box.Now)},
			{ID: "health", Data: healthTree(report)},
			{ID: "events", Data: eventLines(s.src.Events(heardEvents), box.Now, shownEvents)},
		},
	}
}

func (s *site) network(box BoxInfo, u *url.URL, _ url.Values) *page {
	lan := s.src.LAN()
	running, _ := s.src.Attempts(Query{States: []boot.AttemptState{boot.AttemptRunning}, Limit: 100})
	v := lanView{Wires: wiresOf(lan, box, running)}
	v.tablesOf(lan, s.src.Findings(), box.Now)
	return &page{
		Status: http.StatusOK, Title: "Network", Here: "/lan", Live: liveOf(u), Box: box,
		Parts: []part{{ID: "findings", Data: v}, {ID: "picture", Data: v}, {ID: "tables", Data: v}},
	}
}

// validID says whether s can be an attempt's.
func validID(s string) bool {
	return s != "" && len(s) <= 64 && strings.Trim(s, "0123456789abcdef") == ""
}

func (s *site) boot(box BoxInfo, u *url.URL, _ url.Values) *page {
	id := strings.TrimPrefix(u.Path, oneBoot)
	if !validID(id) {
		return notice(box, http.StatusNotFound, "Not found", "There is no such boot.")
	}
	a, ok := s.src.Attempt(boot.AttemptID(id))
	if !ok {
		return notice(box, http.StatusNotFound, "Not kept any more", "This boot is not in memory. Failed boots are kept longest; the oldest go first.")
	}
	v := bootViewOf(&a, box)
	title := v.Row.Name
	if v.Row.Headline != "" {
		title += ": " + v.Row.Headline
	}
	return &page{
		Status: http.StatusOK, Title: title, Here: "/boots", Live: liveOf(u), Box: box,
		Parts: []part{{ID: "verdict", Data: v}, {ID: "timeline", Data: v}, {ID: "evidence", Data: v}, {ID: "details", Data: v}},
	}
}

// Bounds of the list of boots.
const (
	perPage   = 50
	searchLen = 64
	// searchPage and searchPages bound how much a search by words looks through.
	searchPage  = 200
	searchPages = 12
)

// option is a choice in the form.
type option struct {
	Value, Title string
	Chosen       bool
}

// listView is the list of boots with its form.
type listView struct {
	Words    string
	States   []option
	Ages     []option
	Verdicts []option
	Filtered bool
	Errors   []string
}

// spans are the ages that can be chosen.
var spans = []struct {
	value, title string
	age          time.Duration
}{
	{"", "any time", 0}, {"1h", "last hour", time.Hour}, {"24h", "last 24 hours", 24 * time.Hour}, {"168h", "last 7 days", 168 * time.Hour},
}

// stateGroups are the states that can be chosen: what people ask for.
var stateGroups = []struct {
	value, title string
	states       []boot.AttemptState
}{
	{"", "all", nil},
	{"bad", "did not boot", badStates},
	{string(boot.AttemptRunning), "booting now", []boot.AttemptState{boot.AttemptRunning}},
	{string(boot.AttemptBooted), "booted", []boot.AttemptState{boot.AttemptBooted}},
	{string(boot.AttemptLocal), "local disk", []boot.AttemptState{boot.AttemptLocal}},
	{string(boot.AttemptIgnored), "ignored", []boot.AttemptState{boot.AttemptIgnored}},
}

// readList turns the form's fields into a query. What it does not understand it
// names instead of showing something else than was asked for.
func readList(query url.Values, now time.Time) (Query, string, listView) {
	q, v := Query{Limit: perPage}, listView{}
	known := func(field string, value string, found bool) {
		if !found {
			v.Errors = append(v.Errors, field+": "+clean(value, shortText)+" is not one of the choices.")
		}
	}
	state := query.Get("state")
	found := false
	for _, g := range stateGroups {
		chosen := g.value == state
		if chosen {
			q.States, found = g.states, true
		}
		v.States = append(v.States, option{g.value, g.title, chosen})
	}
	known("state", state, found)
	since := query.Get("since")
	found = false
	for _, g := range spans {
		chosen := g.value == since
		if chosen {
			found = true
			if g.age > 0 {
				q.Since = now.Add(-g.age)
			}
		}
		v.Ages = append(v.Ages, option{g.value, g.title, chosen})
	}
	known("since", since, found)
	verdict := query.Get("verdict")
	found = verdict == ""
	v.Verdicts = append(v.Verdicts, option{"", "any", verdict == ""})
	for _, name := range boot.VerdictNames() {
		chosen := string(name) == verdict
		found = found || chosen
		v.Verdicts = append(v.Verdicts, option{string(name), headline(name), chosen})
	}
	if known("verdict", verdict, found); found {
		q.Verdict = boot.Reason(verdict)
	}
	if after := query.Get("after"); after != "" {
		if !validID(after) {
			v.Errors = append(v.Errors, "after: not the identifier of a boot.")
		}
		q.After = boot.AttemptID(after)
	}
	words := strings.TrimSpace(query.Get("q"))
	if len(words) > searchLen {
		words = ""
		v.Errors = append(v.Errors, "Search: at most 64 octets; write a part of the name or address.")
	}
	v.Words = clean(words, searchLen)
	v.Filtered = words != "" || state != "" || since != "" || verdict != ""
	return q, words, v
}

func (s *site) boots(box BoxInfo, u *url.URL, query url.Values) *page {
	q, words, v := readList(query, box.Now)
	if len(v.Errors) > 0 {
		return &page{
			Status: http.StatusBadRequest, Title: "Boots", Here: "/boots", Box: box,
			Parts: []part{{ID: "filter", Data: v, Fixed: true}, {ID: "rows", Data: rowsView{Filtered: true}}},
		}
	}
	list, next := s.find(q, words)
	rows := rowsView{Rows: rowsOf(list, box.Now), Filtered: v.Filtered || q.After != ""}
	link := func(after string) string {
		to := url.Values{}
		for _, k := range []string{"q", "state", "since", "verdict"} {
			if x := query.Get(k); x != "" {
				to.Set(k, x)
			}
		}
		if after != "" {
			to.Set("after", after)
		}
		if len(to) == 0 {
			return "/boots"
		}
		return "/boots?" + to.Encode()
	}
	if next != "" {
		rows.Older = link(string(next))
	}
	if q.After != "" {
		rows.Newest = link("")
	}
	return &page{
		Status: http.StatusOK, Title: "Boots", Here: "/boots", Live: liveOf(u), Box: box,
		Parts: []part{{ID: "filter", Data: v, Fixed: true}, {ID: "rows", Data: rows}},
	}
}

// rowsView is a page of the list.
type rowsView struct {
	Rows          []row
	Filtered      bool
	Older, Newest string
}

// find lists attempts; words are looked for in what names a machine. It looks
// through a bounded number of attempts: more are not kept.
func (s *site) find(q Query, words string) (list []boot.Attempt, next boot.AttemptID) {
	if words == "" {
		return s.src.Attempts(q)
	}
	if mac, err := boot.ParseMAC(words); err == nil {
		q.MAC = mac
		return s.src.Attempts(q)
	}
	q.Limit = searchPage
	words = strings.ToLower(words)
	for range searchPages {
		found, after := s.src.Attempts(q)
		for i := range found {
			if !named(&found[i], words) {
				continue
			}
			if len(list) == perPage {
				return list, list[perPage-1].ID
			}
			list = append(list, found[i])
		}
		if after == "" || after == q.After {
			return list, ""
		}
		q.After = after
	}
	if len(list) == 0 {
		return nil, ""
	}
	return list, q.After
}

// named says whether words occur in what names the machine of an attempt.
func named(a *boot.Attempt, words string) bool {
	texts := []string{a.Name, string(a.Machine), string(a.MAC), a.Product, a.Profile, string(a.ID)}
	for _, m := range a.MACs {
		texts = append(texts, string(m))
	}
	if a.Addr.IsValid() {
		texts = append(texts, a.Addr.String())
	}
	if !a.GUID.IsZero() {
		texts = append(texts, a.GUID.String())
	}
	return slices.ContainsFunc(texts, func(t string) bool { return strings.Contains(strings.ToLower(t), words) })
}
