package admin

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// Bounds of a JSON body.
const (
	maxDepth  = 12 // nested objects and lists; the deepest document has 5
	maxErrors = 50 // wrong fields that are told at once
)

// mediaType is the media type of the body, "" when it is missing or malformed.
func mediaType(r *http.Request) string {
	t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		return ""
	}
	return t
}

// acceptable says whether a client that sent these Accept headers takes one of
// the answers (RFC 9110 section 12.5.1). The quality matters only where it is
// zero: there is nothing to choose from.
func acceptable(headers, answers []string) bool {
	if len(headers) == 0 || strings.TrimSpace(strings.Join(headers, "")) == "" {
		return true
	}
	// The most specific range that fits an answer decides about it.
	best := make([]struct {
		rank int
		ok   bool
	}, len(answers))
	for _, part := range strings.Split(strings.Join(headers, ","), ",") {
		media, params, err := mime.ParseMediaType(part)
		if err != nil {
			continue
		}
		q, err := strconv.ParseFloat(params["q"], 64)
		ok := params["q"] == "" || err == nil && q > 0
		for i, a := range answers {
			kind, _, _ := strings.Cut(a, "/")
			rank := 0
			switch media {
			case a:
				rank = 3
			case kind + "/*":
				rank = 2
			case "*/*":
				rank = 1
			}
			if rank > best[i].rank || rank == best[i].rank && rank > 0 && ok {
				best[i].rank, best[i].ok = rank, ok
			}
		}
	}
	for _, b := range best {
		if b.ok {
			return true
		}
	}
	return false
}

// repeatable are the parameters that may be given more than once.
var repeatable = []string{"state"}

// checkQuery refuses parameters that are unknown or given twice.
func checkQuery(r *http.Request, known []string) *Problem {
	if len(r.URL.RawQuery) > 2048 {
		return causeQuery.problem("The parameters are too long.")
	}
	values, err := queryValues(r)
	if err != nil {
		return causeQuery.problem("The parameters are malformed: " + err.Error() + ".")
	}
	var errs boot.FieldErrors
	for k, v := range values {
		switch {
		case !slices.Contains(known, k):
			errs = append(errs, boot.FieldError{Field: k, What: "no such parameter; known here: " + orNone(known)})
		case len(v) > 1 && !slices.Contains(repeatable, k):
			errs = append(errs, boot.FieldError{Field: k, What: "given more than once"})
		}
	}
	if len(errs) == 0 {
		return nil
	}
	slices.SortFunc(errs, func(a, b boot.FieldError) int { return strings.Compare(a.Field, b.Field) })
	return queryProblem(errs...)
}

func orNone(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}

func queryProblem(errs ...boot.FieldError) *Problem {
	p := fieldsProblem(errs)
	q := causeQuery.problem("Parameter " + errs[0].Field + ": " + errs[0].What + ".")
	q.Errors = p.Errors
	return q
}

// number reads a parameter that is a number from low to high.
func number(c *call, name string, standard, low, high int) (int, *Problem) {
	s := c.URL.Query().Get(name)
	if s == "" {
		return standard, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < low || n > high {
		return 0, queryProblem(boot.FieldError{Field: name, What: fmt.Sprintf("want a number from %d to %d", low, high)})
	}
	return n, nil
}

// readAll reads a body of at most limit octets.
func readAll(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, *Problem) {
	tooLarge := func() *Problem {
		return causeTooLarge.problem(fmt.Sprintf("The body may have at most %d octets.", limit))
	}
	if r.ContentLength > limit {
		return nil, tooLarge()
	}
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if err == nil {
		return data, nil
	}
	if big := (*http.MaxBytesError)(nil); errors.As(err, &big) {
		return nil, tooLarge()
	}
	return nil, unread(err)
}

// unread says why a body could not be read.
func unread(err error) *Problem {
	if t := interface{ Timeout() bool }(nil); errors.As(err, &t) && t.Timeout() {
		return causeTimeout.problem("Nothing arrived for too long.")
	}
	return causeMalformed.problem("The body ended before it was complete.")
}

// readJSON reads a body into v, a pointer to a struct, strictly. It returns the
// body as it was written too: it tells what is absent from what is empty.
func readJSON(w http.ResponseWriter, r *http.Request, v any) ([]byte, *Problem) {
	data, p := readAll(w, r, maxBody)
	if p != nil {
		return nil, p
	}
	return data, decode(data, v)
}

// decode reads one JSON object into v, a pointer to a struct. Unlike
// encoding/json it refuses names in another case, names given twice, null and
// text that is not UTF-8, and it finds all wrong fields, not the first alone.
func decode(data []byte, v any) *Problem {
	if !utf8.Valid(data) {
		return causeMalformed.problem("The body is not UTF-8.")
	}
	var whole json.RawMessage
	if err := json.Unmarshal(data, &whole); err != nil {
		return causeMalformed.problem("The body is not one JSON object: " + where(data, err) + ".")
	}
	d := decoder{}
	d.value(whole, reflect.TypeOf(v).Elem(), "", 0)
	if len(d.errs) > 0 {
		return fieldsProblem(d.errs)
	}
	if err := json.Unmarshal(data, v); err != nil { // the walk has found every error before
		return causeMalformed.problem("The body does not fit: " + err.Error() + ".")
	}
	return nil
}

// where is a syntax error with its line.
func where(data []byte, err error) string {
	s := (*json.SyntaxError)(nil)
	if !errors.As(err, &s) {
		return err.Error()
	}
	before := data[:min(max(int(s.Offset)-1, 0), len(data))]
	line := bytes.Count(before, []byte("\n")) + 1
	column := len(before) - bytes.LastIndexByte(before, '\n')
	return fmt.Sprintf("line %d, column %d: %v", line, column, err)
}

type decoder struct{ errs boot.FieldErrors }

func (d *decoder) wrong(path, what string) {
	if len(d.errs) < maxErrors {
		if path == "" {
			path = "(body)"
		}
		d.errs = append(d.errs, boot.FieldError{Field: path, What: what})
	}
}

var (
	jsonReader = reflect.TypeFor[json.Unmarshaler]()
	textReader = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// isLeaf says whether values of t are read in one piece.
func isLeaf(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	if p.Implements(jsonReader) || p.Implements(textReader) {
		return true
	}
	switch t.Kind() {
	case reflect.Struct, reflect.Map, reflect.Slice, reflect.Pointer:
		return false
	default:
		return true
	}
}

// value checks raw, which is valid JSON, against t.
func (d *decoder) value(raw json.RawMessage, t reflect.Type, path string, depth int) {
	switch {
	case depth > maxDepth:
		d.wrong(path, "nested too deeply")
	case len(d.errs) >= maxErrors:
	case raw[0] == 'n':
		d.wrong(path, "null is not a value; leave the field out")
	case isLeaf(t):
		if err := json.Unmarshal(raw, reflect.New(t).Interface()); err != nil {
			d.wrong(path, wanted(t))
		}
	case t.Kind() == reflect.Pointer:
		d.value(raw, t.Elem(), path, depth)
	case t.Kind() == reflect.Slice:
		if raw[0] != '[' {
			d.wrong(path, "want a list: [ … ]")
			return
		}
		n := 0
		each(raw, func(_ string, v json.RawMessage) {
			d.value(v, t.Elem(), path+"["+strconv.Itoa(n)+"]", depth+1)
			n++
		})
	default:
		d.object(raw, t, path, depth)
	}
}

// object checks the members of raw against a struct's fields, or a map's
// elements.
func (d *decoder) object(raw json.RawMessage, t reflect.Type, path string, depth int) {
	if raw[0] != '{' {
		d.wrong(path, "want an object: { … }")
		return
	}
	var fields map[string]reflect.Type
	if t.Kind() == reflect.Struct {
		fields = jsonFields(t)
	}
	seen := map[string]bool{}
	each(raw, func(key string, v json.RawMessage) {
		at := key
		if path != "" {
			at = path + "." + key
		}
		if seen[key] {
			d.wrong(at, "given twice")
			return
		}
		seen[key] = true
		if fields == nil {
			d.value(v, t.Elem(), at, depth+1)
			return
		}
		if ft, ok := fields[key]; ok {
			d.value(v, ft, at, depth+1)
			return
		}
		d.wrong(at, "no such field; known here: "+strings.Join(sortedKeys(fields), ", "))
	})
}

// each visits the members of an object or the elements of a list that is valid
// JSON.
func each(raw json.RawMessage, visit func(key string, value json.RawMessage)) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	open, err := dec.Token()
	if err != nil {
		return
	}
	for dec.More() {
		key := ""
		if open == json.Delim('{') {
			t, err := dec.Token()
			if err != nil {
				return
			}
			key, _ = t.(string)
		}
		var v json.RawMessage
		if dec.Decode(&v) != nil || len(v) == 0 {
			return
		}
		visit(key, v)
	}
}

// jsonFields are the JSON names of a struct's fields with their types.
func jsonFields(t reflect.Type) map[string]reflect.Type {
	out := map[string]reflect.Type{}
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-" || !f.IsExported() && !f.Anonymous:
		case f.Anonymous && name == "":
			for k, v := range jsonFields(f.Type) {
				out[k] = v
			}
		case name == "":
			out[f.Name] = f.Type
		default:
			out[name] = f.Type
		}
	}
	return out
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// wanted says how to write a value of t.
func wanted(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[time.Time]():
		return `want a time like "2026-01-31T15:04:05Z"`
	case reflect.TypeFor[boot.GUID]():
		return `want a UUID like "11111111-2222-3333-4444-555555555555"`
	case reflect.TypeFor[netip.Addr]():
		return `want an address like "192.0.2.1"`
	}
	switch t.Kind() {
	case reflect.String:
		return `want a text: "…"`
	case reflect.Bool:
		return "want true or false"
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "want a whole number that is not negative"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return "want a whole number"
	default:
		return "want another form of value"
	}
}
