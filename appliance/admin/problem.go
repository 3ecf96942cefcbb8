package admin

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// Cause is the stable name of why a request was refused: the reason member of
// a problem. The set is closed; programs rely on it.
type Cause string

// Causes.
const (
	causeMalformed     Cause = "malformed"
	causeQuery         Cause = "query"
	causeLogin         Cause = "login"
	causeHost          Cause = "host"
	causeCrossOrigin   Cause = "cross_origin"
	causeNotFound      Cause = "not_found"
	causeMethod        Cause = "method"
	causeNotAcceptable Cause = "not_acceptable"
	causeTimeout       Cause = "timeout"
	causeInUse         Cause = "in_use"
	causeObserve       Cause = "observe"
	causeGone          Cause = "gone"
	causeExists        Cause = "exists"
	causeRevision      Cause = "revision"
	causeTooLarge      Cause = "too_large"
	causeMediaType     Cause = "media_type"
	causeFields        Cause = "fields"
	causeArchive       Cause = "archive"
	causeSignature     Cause = "signature"
	causeCondition     Cause = "condition_required"
	causeInternal      Cause = "internal"
	causeBusy          Cause = "busy"
	causeStarting      Cause = "starting"
	causeUnable        Cause = "unable"
	causeState         Cause = "state"
	causeStateFull     Cause = "state_full"
)

// causes has status and title of each.
var causes = map[Cause]struct {
	status int
	title  string
}{
	causeMalformed:     {http.StatusBadRequest, "The request is malformed"},
	causeQuery:         {http.StatusBadRequest, "A parameter is wrong"},
	causeLogin:         {http.StatusUnauthorized, "This needs the box's token"},
	causeHost:          {http.StatusForbidden, "The Host header names another site"},
	causeCrossOrigin:   {http.StatusForbidden, "A web page of another site asked for this"},
	causeNotFound:      {http.StatusNotFound, "There is no such thing"},
	causeMethod:        {http.StatusMethodNotAllowed, "The method is not allowed here"},
	causeNotAcceptable: {http.StatusNotAcceptable, "No acceptable form of the answer"},
	causeTimeout:       {http.StatusRequestTimeout, "The body did not arrive in time"},
	causeInUse:         {http.StatusConflict, "Still in use"},
	causeObserve:       {http.StatusConflict, "Not in observe mode"},
	causeGone:          {http.StatusGone, "It is not kept any more"},
	causeExists:        {http.StatusPreconditionFailed, "It exists already"},
	causeRevision:      {http.StatusPreconditionFailed, "Changed by somebody else meanwhile"},
	causeTooLarge:      {http.StatusRequestEntityTooLarge, "Too large"},
	causeMediaType:     {http.StatusUnsupportedMediaType, "The body's form is not understood"},
	causeFields:        {http.StatusUnprocessableEntity, "Some fields are wrong"},
	causeArchive:       {http.StatusUnprocessableEntity, "The archive is refused"},
	causeSignature:     {http.StatusUnprocessableEntity, "The signature is not one that counts here"},
	causeCondition:     {http.StatusPreconditionRequired, "Say which revision you mean"},
	causeInternal:      {http.StatusInternalServerError, "Something went wrong in the box"},
	causeBusy:          {http.StatusServiceUnavailable, "The box is busy"},
	causeStarting:      {http.StatusServiceUnavailable, "The box is starting"},
	causeUnable:        {http.StatusServiceUnavailable, "The box cannot do this at present"},
	causeState:         {http.StatusServiceUnavailable, "The box cannot store anything"},
	causeStateFull:     {http.StatusInsufficientStorage, "The box has no room left"},
}

// Problem is an error as the API answers it (RFC 9457).
type Problem struct {
	Type   string         `json:"type"` // "urn:bootpuck:problem:" and Reason
	Title  string         `json:"title"`
	Status int            `json:"status"`
	Detail string         `json:"detail"`
	Reason Cause          `json:"reason"`
	Errors []ProblemField `json:"errors,omitempty"`
	By     []string       `json:"by,omitempty"` // in_use: the documents that refer to it

	etag  string        // of what is there, for the client to look at
	retry time.Duration // when to ask again; 0: the usual time
}

// ProblemField says what is wrong with one field of a document, or with one
// line of an import file.
type ProblemField struct {
	Field string `json:"field"`
	What  string `json:"what"`
	File  string `json:"file,omitempty"`
	Line  int    `json:"line,omitempty"`
}

// problem makes a Problem; detail is one or more sentences for people.
func (c Cause) problem(detail string) *Problem {
	k := causes[c]
	return &Problem{Type: "urn:bootpuck:problem:" + string(c), Title: k.title, Status: k.status, Detail: detail, Reason: c}
}

// retryAfter is when a caller should ask again that was told to wait.
const retryAfter = 5 * time.Second

// write sends the problem.
func (p *Problem) write(w http.ResponseWriter, r *http.Request) {
	data, err := json.MarshalIndent(p, "", "  ")
	if err != nil { // strings and numbers only: cannot be
		http.Error(w, p.Title, p.Status)
		return
	}
	h := w.Header()
	h.Set("Content-Type", typeProblem)
	h.Set("Content-Length", strconv.Itoa(len(data)+1))
	if p.etag != "" {
		h.Set("ETag", p.etag)
	} else {
		h.Del("ETag")
	}
	switch p.Status {
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", `Bearer realm="bootpuck"`)
	case http.StatusServiceUnavailable:
		h.Set("Retry-After", strconv.Itoa(int(cmp.Or(p.retry, retryAfter).Seconds())))
	case http.StatusRequestTimeout, http.StatusRequestEntityTooLarge:
		// The rest of the body is not wanted; nothing else can come over this
		// connection.
		h.Set("Connection", "close")
	}
	w.WriteHeader(p.Status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(append(data, '\n'))
	}
}

// String is the place as compilers print it: "file:line: field: what".
func (e ImportError) String() string {
	s := e.File
	if e.Line > 0 {
		s += ":" + strconv.Itoa(e.Line)
	}
	if e.Field != "" {
		s += ": " + e.Field
	}
	return s + ": " + e.What
}

// fieldsProblem lists the fields of a document.
func fieldsProblem(errs boot.FieldErrors) *Problem {
	p := causeFields.problem(count(len(errs), "field is", "fields are") + " wrong; errors says what to write instead.")
	for _, e := range errs {
		p.Errors = append(p.Errors, ProblemField{Field: e.Field, What: e.What})
	}
	return p
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + many
}

// inUse is what InUse and like errors of other packages have in common.
type inUse interface{ InUse() []string }

// InUse names the documents that refer to the one that was to be deleted.
func (e InUse) InUse() []string { return e.By }

// explain turns an error of the backend into what the caller is told. What is
// nobody's fault but the box's is logged and not told.
func (a *api) explain(what string, err error) *Problem {
	var (
		fields boot.FieldErrors
		places ImportErrors
		used   inUse
		entry  interface {
			error
			Entry() string
		}
		because interface{ Reason() boot.Reason }
	)
	switch {
	case errors.Is(err, ErrNotFound):
		return causeNotFound.problem(what + " does not exist.")
	case errors.Is(err, ErrRevision):
		return causeRevision.problem(what + " is no longer as you have read it; read it again.")
	case errors.Is(err, ErrExists):
		return causeExists.problem(what + " exists already.")
	case errors.As(err, &entry):
		// Before the size: the entry is what the caller has to look at.
		p := causeArchive.problem(fmt.Sprintf("%s: %v; nothing was kept of it.", what, entry))
		p.Errors = []ProblemField{{Field: cmp.Or(entry.Entry(), "(archive)"), What: entry.Error()}}
		return p
	case errors.Is(err, ErrTooLarge):
		return causeTooLarge.problem(fmt.Sprintf("%s: %v.", what, err))
	case errors.As(err, &used):
		p := causeInUse.problem(what + " is in use; by says by what. Change that first.")
		p.By = used.InUse()
		return p
	case errors.As(err, &places) && len(places) > 0:
		p := causeFields.problem(count(len(places), "place in the file is", "places in the file are") + " wrong; nothing was changed.")
		for _, e := range places {
			p.Errors = append(p.Errors, ProblemField{Field: cmp.Or(e.Field, "(file)"), What: e.What, File: e.File, Line: e.Line})
		}
		return p
	case errors.As(err, &fields) && len(fields) > 0:
		return fieldsProblem(fields)
	case errors.As(err, &because):
		return reasonProblem(because.Reason(), err)
	}
	if a.Log != nil {
		a.Log.Error("the API could not do what was asked", slog.String("component", "admin"), slog.String("what", what), slog.Any("err", err))
	}
	return causeInternal.problem("The box's log says more.")
}

// reasonProblem turns a reason of the rooms into what the caller is told. Most
// of them say why nothing can be stored.
func reasonProblem(r boot.Reason, err error) *Problem {
	cause := causeState
	switch r {
	case boot.ReasonStateFull:
		cause = causeStateFull
	case boot.ReasonProbeBusy:
		p := causeBusy.problem(r.Text())
		p.retry = time.Minute
		return p
	case boot.ReasonPermission, boot.ReasonNoInterface, boot.ReasonLinkDown, boot.ReasonNoAddress:
		cause = causeUnable
	case boot.ReasonProbeOff:
		cause = causeObserve
	case boot.ReasonCaptureGone:
		cause = causeGone
	case boot.ReasonQuirkSignature:
		// The key that did sign is what the caller has to look at.
		return causeSignature.problem(fmt.Sprintf("%s (%v)", r.Text(), err))
	case boot.ReasonQuirkFile:
		return fieldsProblem(boot.FieldErrors{{Field: "(file)", What: err.Error()}})
	default:
	}
	return cause.problem(r.Text())
}
