package admin

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// Backend is what the API works on. A nil part answers "starting": the box is
// up before its records are.
type Backend struct {
	Registry Registry
	Exchange Exchange
	Trees    Trees
	Preview  Previewer
	Attempts Attempts
	LAN      LANSource
	Quirks   Quirks
	Capture  Captures
	// MaxUpload bounds the packed size of one uploaded tree, in octets; 0 means
	// DefaultMaxUpload. What it may unpack to is the trees' own limit.
	MaxUpload int64
}

// Kinds of documents that the Registry keeps. KindSite has one document, named
// KindSite too.
const (
	KindMachines  = "machines"
	KindTargets   = "targets"
	KindProfiles  = "profiles"
	KindGroups    = "groups"
	KindRules     = "rules"
	KindTemplates = "templates"
	KindSite      = "site"
)

// Values of the match argument of Registry's writing methods besides a
// revision in decimal digits.
const (
	MatchAny   = ""  // whatever is there
	MatchExist = "*" // must exist (If-Match: *)
	MatchNew   = "!" // must not exist (If-None-Match: *)
)

// Registry keeps the documents and decides about machines. Its methods are
// safe for concurrent use. Errors: ErrNotFound, ErrRevision, ErrExists,
// InUse and boot.FieldErrors; an error with a method Reason() boot.Reason says
// why the box cannot store anything at present.
type Registry interface {
	// Get returns a document. That of KindSite always exists.
	Get(kind, name string) (Doc, bool)
	// List returns documents sorted by name, and what to ask for After next; ""
	// when there are no more.
	List(kind string, q Query) (docs []Doc, next string)
	// Put stores body, a JSON document that was checked strictly for its kind. Of
	// a machine, identity that the body leaves out stays, and what is the box's
	// (observations, the assignment) is not taken from it.
	Put(kind, name string, body []byte, match string) (doc Doc, created bool, err error)
	Delete(kind, name, match string) error
	Assign(id boot.MachineID, a boot.Assignment, match string) (boot.Assignment, error)
	Unassign(id boot.MachineID, match string) error
	Merge(into, from boot.MachineID) error
	Split(id boot.MachineID, macs []boot.MAC, uuid bool) (boot.MachineID, error)
	Requests() []Request
	Approve(code string, yes, remember bool) error
	Decisions(n int) []Decision // newest first
	Preview(id boot.MachineID, base, loader string) (boot.Plan, map[string]Rendered, error)
}

// Query is a page of a list.
type Query struct {
	After string // the last name of the page before; "" for the first page
	Limit int    // documents at most, 1 or more
}

// Doc is a document with its revision. Value is a boot.Machine, boot.Target,
// boot.Profile, boot.Group, boot.SelectRule, boot.Template or boot.Site.
type Doc struct {
	Kind, Name string
	Rev        uint64
	Value      any
}

// Request is a machine that waits for the operator's word.
type Request struct {
	Code    string         `json:"code"` // shown on the machine's screen
	Machine boot.MachineID `json:"machine,omitempty"`
	Name    string         `json:"name,omitempty"`    // the machine's, when it has one
	Profile string         `json:"profile,omitempty"` // the locked entry it wants; empty: to boot at all
	Asked   time.Time      `json:"asked"`
	Seen    boot.Sighting  `json:"seen"`
}

// Decision is what a machine was told and why.
type Decision struct {
	Time    time.Time      `json:"time"`
	Machine boot.MachineID `json:"machine,omitempty"`
	Name    string         `json:"name,omitempty"`
	MAC     boot.MAC       `json:"mac,omitempty"`
	Addr    string         `json:"addr,omitempty"`
	Loader  string         `json:"loader,omitempty"` // ipxe, pxelinux or grub
	Choice  boot.Choice    `json:"choice"`
}

// Rendered is an answer file as a machine would get it.
type Rendered struct {
	Text        string `json:"text,omitempty"`
	ContentType string `json:"content_type,omitempty"`
	Error       string `json:"error,omitempty"` // why there is no text
}

// Exchange turns everything the operator has decided into one YAML file and
// back.
type Exchange interface {
	Export(w io.Writer) error
	// Import puts the file's content in place of what is there, all or nothing,
	// and says what differs; dry changes nothing. File is the name for error
	// messages. Errors: ImportErrors, InUse, boot.FieldErrors.
	Import(file string, data []byte, dry bool) ([]Difference, error)
}

// Difference is one thing that an import changes.
type Difference struct {
	Document string `json:"document"` // "targets/debian", "site"
	Text     string `json:"text"`     // for people
}

// ImportError is a place in an import file and what is wrong there.
type ImportError struct {
	File        string
	Line        int // from 1; 0 when unknown
	Field, What string
}

// ImportErrors are all that is wrong with an import file.
type ImportErrors []ImportError

// Error lists the places.
func (e ImportErrors) Error() string {
	lines := make([]string, 0, len(e))
	for _, i := range e {
		lines = append(lines, i.String())
	}
	return strings.Join(lines, "\n")
}

// Trees are the uploaded netboot trees.
type Trees interface {
	// Import unpacks an archive (format "tar", "tar.gz" or "zip") all or nothing
	// and in place of a tree of the same name. It reads r as it unpacks. A
	// refused archive is an error with a method Entry() string: the entry that
	// is to blame, or "". ErrTooLarge is for what is refused as a whole.
	Import(ctx context.Context, name string, r io.Reader, format string) (Tree, error)
	Delete(name string) error
	List() []Tree
	Get(name string) (Tree, bool)
}

// Tree is an uploaded tree.
type Tree struct {
	Name     string    `json:"name"`
	Files    int       `json:"files"`
	Bytes    int64     `json:"bytes"`
	Added    time.Time `json:"added"`
	SHA256   string    `json:"sha256"`             // of the archive
	Programs []string  `json:"programs,omitempty"` // what can be booted that was found in it
}

// Previewer shows what a machine would get. Nothing it does changes any state.
type Previewer interface {
	// Base is the boot plane's address as the machine would reach it.
	Base(m boot.Machine) string
	// Replies are the DHCP answers that the machine would get, in the order of
	// its boot: firmware first, then iPXE.
	Replies(m boot.Machine) []Reply
	// Render is the text that a loader (ipxe, pxelinux, grub) would load.
	Render(p boot.Plan, loader, base string) ([]byte, boot.Reason)
}

// Reply is a DHCP answer in words.
type Reply struct {
	To      string      `json:"to"`               // who asks: "uefi", "bios", "ipxe" …
	Reason  boot.Reason `json:"reason,omitempty"` // why there is no answer
	Text    string      `json:"text,omitempty"`   // the reason's sentence
	Form    string      `json:"form,omitempty"`
	Server  string      `json:"server,omitempty"` // next server
	File    string      `json:"file,omitempty"`
	Options []Option    `json:"options,omitempty"`
}

// Option is a DHCP option of a Reply.
type Option struct {
	Code  int    `json:"code"`
	Name  string `json:"name,omitempty"`
	Value string `json:"value"` // as people write it; hexadecimal octets when nothing better is known
}

// Loaders that a preview can be made for.
var previewLoaders = []string{"ipxe", "pxelinux", "grub"}

// Media types.
const (
	typeJSON    = "application/json"
	typeYAML    = "application/yaml"
	typeProblem = "application/problem+json"
	typeStream  = "text/event-stream"
)

// Bounds of requests.
const (
	maxBody    = 1 << 20  // octets of a JSON body
	maxImport  = 32 << 20 // octets of an import file
	maxName    = 128      // octets of a name in a path or a query
	defaultPer = 100      // documents of a page
	maxPer     = 500
	scanned    = 2000            // documents that are looked through at a time
	maxReaders = 4               // lists that are gathered at a time
	patience   = 5 * time.Second // for one of those places
)

// api serves /api/v1.
type api struct {
	*Box
	gather    chan struct{} // places for lists
	exchanges chan struct{} // one export or import at a time: each holds everything
	uploads   chan struct{} // one upload at a time
	pinning   sync.Mutex    // held while a model of machine is looked at and changed
}

// route is one operation of the API. The table of routes is what the handler is
// built from, and what a test compares openapi.yaml with.
type route struct {
	method  string
	pattern string // as openapi.yaml has it, below prefix
	access  access
	// answers are the media types that it answers with; the first is the default.
	answers []string
	// takes are the media types of the body; nil: no body.
	takes []string
	// query are the parameters that it knows. Others are refused: a mistyped
	// "dry" must not turn a rehearsal into the real thing.
	query []string
	serve func(*api, http.ResponseWriter, *call)
}

// prefix is where the API is.
const prefix = "/api/v1"

// call is a request that was let in.
type call struct {
	*http.Request
	route *route
	// trusted callers may see secrets.
	trusted bool
}

var jsonBody = []string{typeJSON}

// collections are the kinds that are served alike, by their place in the API.
var collections = []string{KindMachines, KindTargets, KindProfiles, KindGroups, KindRules, KindTemplates}

// routes is the API, complete.
func routes() []route {
	page := []string{"limit", "after"}
	list := []route{
		{"GET", "/status", accessOpen, jsonBody, nil, nil, (*api).getStatus},
		{"GET", "/events", accessOpen, []string{typeJSON, typeStream}, nil, page, (*api).getEvents},
		{"GET", "/openapi.yaml", accessOpen, []string{typeYAML}, nil, nil, (*api).getOpenAPI},

		{"GET", "/settings", accessOpen, jsonBody, nil, nil, (*api).getSite},
		{"PUT", "/settings", accessWrite, jsonBody, jsonBody, nil, (*api).putSite},

		{"GET", "/machines/{name}/assignment", accessOpen, jsonBody, nil, nil, (*api).getAssignment},
		{"PUT", "/machines/{name}/assignment", accessWrite, jsonBody, jsonBody, nil, (*api).putAssignment},
		{"DELETE", "/machines/{name}/assignment", accessWrite, jsonBody, nil, nil, (*api).deleteAssignment},
		{"POST", "/machines/{name}/merge", accessWrite, jsonBody, jsonBody, nil, (*api).postMerge},
		{"POST", "/machines/{name}/split", accessWrite, jsonBody, jsonBody, nil, (*api).postSplit},
		{"GET", "/machines/{name}/preview", accessSecret, jsonBody, nil, []string{"loader"}, (*api).getPreview},
		{"GET", "/machines/{name}/observation", accessOpen, jsonBody, nil, nil, (*api).getObservation},
		{"GET", "/observations", accessOpen, jsonBody, nil, slices.Concat(page, machineFilters), (*api).listObservations},
		{"GET", "/assignments", accessOpen, jsonBody, nil, slices.Concat(page, machineFilters), (*api).listAssignments},

		{"GET", "/requests", accessOpen, jsonBody, nil, nil, (*api).listRequests},
		{"POST", "/requests/{code}", accessWrite, jsonBody, jsonBody, nil, (*api).postRequest},
		{"GET", "/decisions", accessOpen, jsonBody, nil, []string{"limit", "machine"}, (*api).listDecisions},

		{"GET", "/trees", accessOpen, jsonBody, nil, page, (*api).listTrees},
		{"GET", "/trees/{name}", accessOpen, jsonBody, nil, nil, (*api).getTree},
		{"PUT", "/trees/{name}", accessWrite, jsonBody, archiveTypes(), nil, (*api).putTree},
		{"DELETE", "/trees/{name}", accessWrite, jsonBody, nil, nil, (*api).deleteTree},

		{"GET", "/export", accessSecret, []string{typeYAML}, nil, nil, (*api).getExport},
		{"POST", "/import", accessWrite, jsonBody, []string{typeYAML, "application/x-yaml"}, []string{"dry"}, (*api).postImport},

		{"GET", "/attempts", accessOpen, []string{typeJSON, typeStream}, nil, attemptFilters, (*api).getAttempts},
		{"GET", "/attempts/{id}", accessOpen, jsonBody, nil, nil, (*api).getAttempt},
		{"GET", "/attempts/{id}/capture", accessSecret, []string{typePcap}, nil, []string{"redact"}, (*api).getCapture},
		{"GET", "/doctor", accessOpen, jsonBody, nil, nil, (*api).getDoctor},
		{"GET", "/lan", accessOpen, jsonBody, nil, nil, (*api).getLAN},
		{"POST", "/lan/probe", accessWrite, jsonBody, nil, nil, (*api).postProbe},

		{"GET", "/quirks", accessOpen, jsonBody, nil, page, (*api).listQuirks},
		{"POST", "/quirks", accessWrite, jsonBody, jsonBody, nil, (*api).postQuirk},
		{"GET", "/quirks/{id}", accessOpen, jsonBody, nil, nil, (*api).getQuirk},
		{"PUT", "/quirks/{id}", accessWrite, jsonBody, jsonBody, nil, (*api).putQuirk},
		{"DELETE", "/quirks/{id}", accessWrite, jsonBody, nil, nil, (*api).deleteQuirk},
		{"GET", "/quirks/export", accessSecret, jsonBody, nil, nil, (*api).getQuirkFile},
		{"POST", "/quirks/import", accessWrite, jsonBody, jsonBody, nil, (*api).postQuirkFile},
	}
	for _, kind := range collections {
		query := page
		if kind == KindMachines {
			query = slices.Concat(page, machineFilters)
		}
		list = append(list,
			route{"GET", "/" + kind, accessOpen, jsonBody, nil, query, listOf(kind)},
			route{"GET", "/" + kind + "/{name}", accessOpen, jsonBody, nil, nil, getOf(kind)},
			route{"PUT", "/" + kind + "/{name}", accessWrite, jsonBody, jsonBody, nil, putOf(kind)},
			route{"DELETE", "/" + kind + "/{name}", accessWrite, jsonBody, nil, nil, deleteOf(kind)},
		)
	}
	return list
}

// apiHandler serves everything below prefix.
func apiHandler(b *Box) http.Handler {
	a := &api{
		Box: b, gather: make(chan struct{}, maxReaders),
		exchanges: make(chan struct{}, 1), uploads: make(chan struct{}, 1),
	}
	byPattern := map[string][]route{}
	for _, r := range routes() {
		byPattern[r.pattern] = append(byPattern[r.pattern], r)
	}
	mux := http.NewServeMux()
	for pattern, methods := range byPattern {
		mux.Handle(prefix+pattern, a.dispatch(methods))
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		p := causeNotFound.problem("There is nothing under this address; " + prefix + "/openapi.yaml lists what there is.")
		p.write(w, r)
	})
	return mux
}

// dispatch chooses among the methods of one address, and lets in who may.
func (a *api) dispatch(methods []route) http.Handler {
	allowed := allow(methods)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		method := r.Method
		if method == http.MethodHead {
			method = http.MethodGet
		}
		i := slices.IndexFunc(methods, func(m route) bool { return m.method == method })
		switch {
		case r.Method == http.MethodOptions:
			w.Header().Set("Allow", allowed)
			w.WriteHeader(http.StatusNoContent)
			return
		case i < 0:
			w.Header().Set("Allow", allowed)
			causeMethod.problem("Here only "+allowed+" are answered.").write(w, r)
			return
		}
		c := &call{Request: r, route: &methods[i]}
		w.Header().Add("Vary", "Authorization")
		if p := a.letIn(c); p != nil {
			p.write(w, r)
			return
		}
		c.route.serve(a, w, c)
	})
}

// allow is the Allow header's value for the methods of one address.
func allow(methods []route) string {
	var list []string
	for _, m := range methods {
		list = append(list, m.method)
		if m.method == http.MethodGet {
			list = append(list, http.MethodHead)
		}
	}
	return strings.Join(append(list, http.MethodOptions), ", ")
}

// letIn checks what all operations have in common: the caller's rights, the
// parameters, the media types.
func (a *api) letIn(c *call) *Problem {
	token := ""
	if a.Token != nil {
		token = a.Token()
	}
	trusted, refused := judge(callerOf(c.Request), c.route.access, token, a.Name)
	if refused != nil {
		return refused
	}
	c.trusted = trusted
	if p := checkQuery(c.Request, c.route.query); p != nil {
		return p
	}
	if !acceptable(c.Header.Values("Accept"), c.route.answers) {
		return causeNotAcceptable.problem("This address answers with " + strings.Join(c.route.answers, " or ") + ".")
	}
	if c.route.takes == nil {
		return nil
	}
	if enc := c.Header.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
		return causeMediaType.problem("Content-Encoding is not supported; send the body as it is.")
	}
	if mediaType(c.Request) == "" || !slices.Contains(c.route.takes, mediaType(c.Request)) {
		return causeMediaType.problem("Content-Type: want " + strings.Join(c.route.takes, " or ") + ".")
	}
	return nil
}

// registry returns the registry, or says that it is not there yet.
func (a *api) registry() (Registry, *Problem) {
	if a.Backend.Registry == nil {
		return nil, causeStarting.problem("The box is still reading its records; ask again in a moment.")
	}
	return a.Backend.Registry, nil
}

// take waits a little for a place; give is nil when there was none.
func take(ctx context.Context, places chan struct{}) (give func(), p *Problem) {
	wait := time.NewTimer(patience)
	defer wait.Stop()
	select {
	case places <- struct{}{}:
		return func() { <-places }, nil
	case <-ctx.Done():
	case <-wait.C:
	}
	return nil, causeBusy.problem("Others are doing the same at this moment; ask again.")
}

// Sentinel errors of a Registry, to be recognised by errors.Is.
var (
	ErrNotFound = errors.New("not found")
	ErrRevision = errors.New("changed by somebody else meanwhile")
	ErrExists   = errors.New("exists already")
	ErrTooLarge = errors.New("too large")
)

// InUse is the error of deleting what other documents refer to.
type InUse struct {
	By []string // "profiles/x", "site"
}

// Error names the documents.
func (e InUse) Error() string { return "in use by " + strings.Join(e.By, ", ") }
