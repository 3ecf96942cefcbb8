package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

const (
	defaultBox = "http://127.0.0.1:8080"

	// maxAnswer bounds what is read from a box, in octets.
	maxAnswer = 16 << 20
	// maxExport bounds an export, in octets: ten thousand machines and all
	// templates are far below.
	maxExport = 256 << 20
	// maxToken bounds a token file, in octets.
	maxToken = 4096

	// patience is how long a box may take to answer an ordinary question.
	patience = 30 * time.Second
)

// tokenFiles is where a box keeps its own token; only root may read it there.
var tokenFiles = []string{"/var/lib/bootpuck/api-token", "/perm/bootpuck/api-token"}

// failure is a command that did not do what it should, with the exit status
// that says why.
type failure struct {
	status int
	err    error
}

func (f failure) Error() string { return f.err.Error() }
func (f failure) Unwrap() error { return f.err }

func failf(status int, format string, a ...any) error {
	return failure{status, fmt.Errorf(format, a...)}
}

// statusOf is the exit status of an error.
func statusOf(err error) int {
	if err == nil || errors.Is(err, errHelp) {
		return exitOK
	}
	if errors.Is(err, errBad) {
		return exitBad
	}
	if s, ok := errors.AsType[severity](err); ok {
		return int(s)
	}
	if f, ok := errors.AsType[failure](err); ok {
		return f.status
	}
	if _, ok := errors.AsType[invalid](err); ok {
		return exitInvalid
	}
	return exitUsage
}

// client asks one box.
type client struct {
	base  string
	token string
	http  *http.Client
}

// boxURL is the address of the box that was asked for.
func (c *call) boxURL() (*url.URL, error) {
	box, from := c.text("box"), "-box"
	if box == "" {
		box, from = c.getenv("BOOTPUCK_BOX"), "BOOTPUCK_BOX"
	}
	if box == "" {
		box = defaultBox
	}
	u, err := url.Parse(box)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, usagef("%s %q: want an address like http://192.0.2.2:8080", from, box)
	}
	return u, nil
}

// client is made of the common flags and the environment.
func (c *call) client() (*client, error) {
	u, err := c.boxURL()
	if err != nil {
		return nil, err
	}
	token, err := c.readToken(u)
	if err != nil {
		return nil, err
	}
	return &client{
		base: strings.TrimSuffix(u.String(), "/"), token: token,
		http: &http.Client{
			// A redirect would carry the token and the question elsewhere.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

func (c *call) readToken(box *url.URL) (string, error) {
	if c.given("token") {
		return checkToken("-token", c.text("token"))
	}
	if c.given("token-file") {
		data, err := readSome(c.text("token-file"), maxToken)
		if err != nil {
			return "", usagef("read the token: %v", err)
		}
		return checkToken("-token-file", string(data))
	}
	if t := c.getenv("BOOTPUCK_TOKEN"); t != "" {
		return checkToken("BOOTPUCK_TOKEN", t)
	}
	// The box's own token is for the box itself, never for another one.
	if ip := net.ParseIP(box.Hostname()); box.Hostname() == "localhost" || ip != nil && ip.IsLoopback() {
		for _, name := range tokenFiles {
			if data, err := readSome(name, maxToken); err == nil {
				return checkToken(name, string(data))
			}
		}
	}
	return "", nil
}

func checkToken(from, token string) (string, error) {
	token = strings.TrimSpace(token)
	if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return "", usagef("%s: want a token, one word", from)
	}
	return token, nil
}

// readSome reads a file that must not be larger than limit octets.
func readSome(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAll(f, name, limit)
}

func readAll(r io.Reader, name string, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("read %s: more than %d octets", name, limit)
	}
	return data, nil
}

// question is one request to the API.
type question struct {
	method string
	path   string // below /api/v1, escaped
	query  url.Values
	body   io.Reader
	size   int64 // of body, -1 when not known
	header map[string]string
	limit  int64 // of the answer; 0 maxAnswer
	// missing is what there is none of when the box says so.
	missing string
}

// answer is what the box said to a question.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) etag() string { return a.header.Get("ETag") }

// ask puts the question. Everything but success is an error with its exit
// status.
func (box *client) ask(ctx context.Context, q question) (answer, error) {
	to := box.base + "/api/v1/" + q.path
	if len(q.query) > 0 {
		to += "?" + q.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, q.method, to, q.body)
	if err != nil {
		return answer{}, usagef("%v", err)
	}
	if q.size != 0 {
		req.ContentLength = q.size
	}
	req.Header.Set("Accept", "application/json, application/problem+json, application/yaml;q=0.9")
	if box.token != "" {
		req.Header.Set("Authorization", "Bearer "+box.token)
	}
	for k, v := range q.header {
		req.Header.Set(k, v)
	}
	r, err := box.http.Do(req)
	if err != nil {
		return answer{}, unreached(err)
	}
	defer r.Body.Close()
	limit := q.limit
	if limit == 0 {
		limit = maxAnswer
	}
	body, err := readAll(r.Body, "the box's answer", limit)
	if err != nil {
		return answer{}, err
	}
	a := answer{r.StatusCode, r.Header, body}
	if r.StatusCode >= 200 && r.StatusCode < 300 {
		return a, nil
	}
	return a, box.problem(a, q)
}

// unreached is why there is no answer.
func unreached(err error) error {
	switch {
	case errors.Is(err, context.Canceled):
		return errors.New("interrupted")
	case errors.Is(err, context.DeadlineExceeded):
		return errors.New("the box did not answer in time")
	}
	return fmt.Errorf("reach the box: %w (is it on, and is -box right?)", err)
}

// problem is the error of an answer that is none of success.
func (box *client) problem(a answer, q question) error {
	var p struct {
		Title  string       `json:"title"`
		Detail string       `json:"detail"`
		Errors []fieldFault `json:"errors"`
		By     []string     `json:"by"`
	}
	mediaType, _, _ := mime.ParseMediaType(a.header.Get("Content-Type"))
	if mediaType != "application/problem+json" || json.Unmarshal(a.body, &p) != nil {
		return fmt.Errorf("%s did not answer like a bootpuck of this version (status %d for %s)", box.base, a.status, q.path)
	}
	text := p.Detail
	if text == "" {
		text = p.Title
	}
	if text == "" {
		text = http.StatusText(a.status)
	}
	if len(p.By) > 0 {
		text = strings.TrimSpace(q.missing + " is in use by " + strings.Join(p.By, ", "))
	}
	switch a.status {
	case http.StatusNotFound, http.StatusGone:
		if q.missing != "" {
			text = "there is no " + q.missing
		}
		return failure{exitNotFound, errors.New(text)}
	case http.StatusConflict, http.StatusPreconditionFailed, http.StatusPreconditionRequired:
		return failure{exitConflict, errors.New(text)}
	case http.StatusUnauthorized, http.StatusForbidden:
		if box.token == "" {
			text += " (no token was given; see -token)"
		}
		return failure{exitRefused, errors.New(text)}
	case http.StatusBadRequest, http.StatusUnprocessableEntity, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType:
		if len(p.Errors) > 0 {
			return invalid(p.Errors)
		}
		return failure{exitInvalid, errors.New(text)}
	}
	return fmt.Errorf("the box answered %d: %s", a.status, text)
}

// get asks for JSON.
func (box *client) get(ctx context.Context, path string, query url.Values, missing string) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return box.ask(ctx, question{method: http.MethodGet, path: path, query: query, missing: missing})
}

// send asks with a body of JSON, or none.
func (box *client) send(ctx context.Context, method, path string, body any, header map[string]string, missing string) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	q := question{method: method, path: path, header: map[string]string{}, missing: missing}
	for k, v := range header {
		q.header[k] = v
	}
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return answer{}, fmt.Errorf("write the question: %w", err)
		}
		q.body, q.size = bytes.NewReader(data), int64(len(data))
		q.header["Content-Type"] = "application/json"
	}
	return box.ask(ctx, q)
}

// pageSize is how many documents are asked for at once.
const pageSize = "500"

// page is a part of a list.
type page struct {
	Items []json.RawMessage `json:"items"`
	Next  string            `json:"next"`
}

func (box *client) page(ctx context.Context, path string, query url.Values) (page, error) {
	a, err := box.get(ctx, path, query, "")
	if err != nil {
		return page{}, err
	}
	var p page
	if err := json.Unmarshal(a.body, &p); err != nil {
		return page{}, fmt.Errorf("read the box's answer: %w", err)
	}
	return p, nil
}

// all goes through a list that has no pages.
func (box *client) all(ctx context.Context, path string, query url.Values, see func(json.RawMessage) error) error {
	p, err := box.page(ctx, path, query)
	if err != nil {
		return err
	}
	for _, item := range p.Items {
		if err := see(item); err != nil {
			return err
		}
	}
	return nil
}

// each goes through all of a list, page by page, until most have been seen (0:
// no end). The same page twice would never end: that is an error.
func (box *client) each(ctx context.Context, path string, query url.Values, most int, see func(json.RawMessage) error) error {
	q := maps.Clone(query)
	if q == nil {
		q = url.Values{}
	}
	q.Set("limit", pageSize)
	seen := map[string]bool{}
	for n := 0; ; {
		p, err := box.page(ctx, path, q)
		if err != nil {
			return err
		}
		for _, item := range p.Items {
			if err := see(item); err != nil {
				return err
			}
			if n++; n == most {
				return nil
			}
		}
		if p.Next == "" {
			return nil
		}
		if seen[p.Next] {
			return errors.New("the box's list does not end")
		}
		seen[p.Next] = true
		q.Set("after", p.Next)
	}
}

// decode reads JSON into a document.
func decode(raw []byte) (document, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var d document
	if err := dec.Decode(&d); err != nil {
		return nil, fmt.Errorf("read the box's answer: %w", err)
	}
	return d, nil
}
