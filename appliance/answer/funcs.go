package answer

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strconv"
	"strings"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// Bounds of what functions make.
const (
	maxValue = 64 << 10 // octets of one value
	maxList  = 1000     // elements of a list, and rounds of a range over a number
)

var errValueTooLong = fmt.Errorf("a value becomes longer than %d octets", maxValue)

// Names of functions that Compile puts into templates. The parser is not told
// them, so that no template can call them.
const (
	fnOut   = "_out"   // place, value: what is printed
	fnRange = "_range" // value: what is looped over
	fnStep  = "_step"  // number: what the body that begins here costs
)

// builtin are the functions that text/template must keep for itself, because
// they do not evaluate all of their arguments.
var builtin = map[string]any{"and": true, "or": true, "not": true}

// functions is the closed set, bound to one rendering. Every function gets its
// arguments as they are and pays for what it makes.
func (r *run) functions() map[string]any {
	return map[string]any{
		fnOut: r.out, fnRange: r.rangeOver, fnStep: r.step,

		"answer": r.answer, "callback": r.callback, "opt": r.opt,
		"default": defaultTo, "required": required, "has": r.has, "index": r.index, "len": length, "list": list,

		"eq": r.eq, "ne": r.ne, "lt": r.order(func(c int) bool { return c < 0 }), "le": r.order(func(c int) bool { return c <= 0 }),
		"gt": r.order(func(c int) bool { return c > 0 }), "ge": r.order(func(c int) bool { return c >= 0 }),
		"contains": r.test(strings.Contains), "hasPrefix": r.test(strings.HasPrefix), "hasSuffix": r.test(strings.HasSuffix),

		"lower": r.change(strings.ToLower), "upper": r.change(strings.ToUpper), "trim": r.trim,
		"trimPrefix": r.cut(strings.TrimPrefix), "trimSuffix": r.cut(strings.TrimSuffix),
		"replace": r.replace, "split": r.split, "join": r.join, "trunc": r.trunc,
		"printf": r.printf, "quote": r.quote, "indent": r.indent, "nindent": r.nindent,
		"add": add, "sub": sub,

		"xml": r.escape(escapeXML, forXML), "cdata": r.escape(escapeCDATA, forCDATA),
		"json": r.escape(escapeJSON, forJSON), "yaml": r.escape(escapeYAML, forYAML),
		"shell": r.escape(escapeShell, forShell), "uri": r.escape(escapeURI, forURI),
		"preseed": r.escape(escapePreseed, forPreseed),
		"cmdline": r.escape(escapeWord, forWord), "ipxe": r.escape(escapeWord, forWord),
		"b64": r.escape(func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }, trusted),

		"hostname": r.hostname, "machyphen": r.mac("-"), "macplain": r.mac(""), "mac": r.mac(":"),
		"iphex": r.iphex, "netmask": netmask, "network": network, "prefixlen": prefixlen,
	}
}

// Functions lists the names of all functions a template may call, in no order.
func Functions() []string {
	var names []string
	for name := range (&run{}).functions() {
		if name[0] != '_' {
			names = append(names, name)
		}
	}
	for name := range builtin {
		names = append(names, name)
	}
	return names
}

// --- the ones that Compile puts in

func (r *run) out(p place, v any) (string, error) {
	parts, err := partsOf(v)
	if err != nil {
		if k := reflect.ValueOf(v).Kind(); k == reflect.Slice || k == reflect.Map {
			return "", fmt.Errorf("cannot print %s: range over it, or use join", typeName(v))
		}
		return "", fmt.Errorf("cannot print this: %w", err)
	}
	if err := r.pay(size(parts)); err != nil {
		return "", err
	}
	return p.print(parts), nil
}

func (r *run) rangeOver(v any) (any, error) {
	if n, ok := intOf(v); ok {
		if n > maxList {
			return nil, fmt.Errorf("range over %d: at most %d rounds", n, maxList)
		}
		return v, nil
	}
	switch rv := reflect.ValueOf(v); rv.Kind() { //nolint:exhaustive // the rest has no elements
	case reflect.Slice, reflect.Map:
		return v, r.pay(rv.Len() * 16)
	default:
		return nil, fmt.Errorf("cannot range over %s: want a list", typeName(v))
	}
}

func (r *run) step(n int) (string, error) { return "", r.spend(bodySteps + n) }

// --- data

func (r *run) answer(name string) (string, error) {
	switch {
	case r.data.Answer == nil:
		return "", errors.New("there are no answer files here")
	case !validName(name):
		return "", fmt.Errorf("answer %.70q: want the name of an answer file", name)
	}
	return r.data.Answer(name), nil
}

func (r *run) callback(name string) (string, error) {
	if err := checkCallback(name); err != nil {
		return "", err
	}
	if r.data.Callback == nil {
		return "", errors.New("there is nobody to call back here")
	}
	return r.data.Callback(name), nil
}

func checkCallback(name string) error {
	var known []string
	for _, c := range boot.Callbacks() {
		if string(c) == name {
			return nil
		}
		known = append(known, string(c))
	}
	return fmt.Errorf("callback %.20q: there are %s", name, strings.Join(known, ", "))
}

func (r *run) opt(name string) string { return r.data.Vars[name] }

// empty is what default and required take for nothing: what an if finds false.
func empty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case *mixed:
		return v == nil
	}
	rv := reflect.ValueOf(v)
	switch rv.Kind() { //nolint:exhaustive // the rest is not empty
	case reflect.String, reflect.Slice, reflect.Map:
		return rv.Len() == 0
	default:
		return rv.IsZero()
	}
}

func defaultTo(otherwise, v any) any {
	if empty(v) {
		return otherwise
	}
	return v
}

func required(what string, v any) (any, error) {
	if empty(v) {
		return nil, fmt.Errorf("required: %.200s", what)
	}
	return v, nil
}

func (r *run) has(in, what any) (bool, error) {
	want, err := exact(what)
	if err != nil {
		return false, err
	}
	switch in := in.(type) {
	case map[string]string:
		_, ok := in[want]
		return ok, nil
	case map[string]Claim:
		_, ok := in[want]
		return ok, nil
	}
	rv := reflect.ValueOf(in)
	if rv.Kind() != reflect.Slice {
		return false, fmt.Errorf("has: want a list or a table, got %s; for texts there is contains", typeName(in))
	}
	for i := range rv.Len() {
		s, err := exact(rv.Index(i).Interface())
		if err != nil {
			return false, err
		}
		if err := r.pay(len(s)); err != nil {
			return false, err
		}
		if s == want {
			return true, nil
		}
	}
	return false, nil
}

// index is strict: what is not there is an error that names it.
func (r *run) index(in, key any) (any, error) {
	switch in := in.(type) {
	case map[string]string:
		name, err := exact(key)
		if err != nil {
			return nil, err
		}
		if v, ok := in[name]; ok {
			return v, nil
		}
		return nil, missing(name, false)
	case map[string]Claim:
		name, err := exact(key)
		if err != nil {
			return nil, err
		}
		if v, ok := in[name]; ok {
			return v, nil
		}
		return nil, missing(name, true)
	}
	rv := reflect.ValueOf(in)
	n, ok := intOf(key)
	if rv.Kind() != reflect.Slice || !ok {
		return nil, fmt.Errorf("index: want a table and a name or a list and a number, got %s and %s", typeName(in), typeName(key))
	}
	if n < 0 || n >= int64(rv.Len()) {
		return nil, fmt.Errorf("index %d: the list has %d elements, counted from 0", n, rv.Len())
	}
	return rv.Index(int(n)).Interface(), nil
}

// missing is the error for a name that is not in Vars, or in Told.
func missing(name string, told bool) error {
	if told {
		return fmt.Errorf("the machine has not told %.64q", name)
	}
	return fmt.Errorf("variable %.64q is not set: set it for the machine, its group, the profile or the site, or write opt %.64q", name, name)
}

func length(v any) (int, error) {
	switch rv := reflect.ValueOf(v); rv.Kind() { //nolint:exhaustive // the rest may be a text
	case reflect.Slice, reflect.Map:
		return rv.Len(), nil
	default:
		parts, err := partsOf(v)
		return size(parts), err
	}
}

func list(elements ...any) ([]any, error) {
	if len(elements) > maxList {
		return nil, fmt.Errorf("a list of %d: at most %d elements", len(elements), maxList)
	}
	return elements, nil
}

// --- comparing

func (r *run) equal(a, b any) (bool, error) {
	// A number is a number however it is written; true is not "true".
	if _, ok := a.(bool); ok != isBool(b) {
		return false, fmt.Errorf("cannot compare %s with %s", typeName(a), typeName(b))
	}
	x, err := exact(a)
	if err != nil {
		return false, err
	}
	y, err := exact(b)
	if err != nil {
		return false, err
	}
	return x == y, r.pay(min(len(x), len(y)))
}

func isBool(v any) bool { _, ok := v.(bool); return ok }

func (r *run) eq(a any, others ...any) (bool, error) {
	if len(others) == 0 {
		return false, errors.New("eq: compare with what?")
	}
	for _, b := range others {
		if same, err := r.equal(a, b); err != nil || same {
			return same, err
		}
	}
	return false, nil
}

func (r *run) ne(a, b any) (bool, error) {
	same, err := r.equal(a, b)
	return !same, err
}

// order compares numbers, and texts that are written like whole numbers;
// everything else by octets.
func (r *run) order(ok func(int) bool) func(a, b any) (bool, error) {
	return func(a, b any) (bool, error) {
		x, err := exact(a)
		if err != nil {
			return false, err
		}
		y, err := exact(b)
		if err != nil {
			return false, err
		}
		if err := r.pay(min(len(x), len(y))); err != nil {
			return false, err
		}
		m, errX := strconv.ParseInt(x, 10, 64)
		n, errY := strconv.ParseInt(y, 10, 64)
		switch {
		case errX == nil && errY == nil && m < n:
			return ok(-1), nil
		case errX == nil && errY == nil && m > n:
			return ok(1), nil
		case errX == nil && errY == nil:
			return ok(0), nil
		}
		return ok(strings.Compare(x, y)), nil
	}
}

// test makes a function of two texts; the text looked at comes last, so that it
// can be piped.
func (r *run) test(f func(s, what string) bool) func(what, s any) (bool, error) {
	return func(what, s any) (bool, error) {
		w, err := exact(what)
		if err != nil {
			return false, err
		}
		t, err := exact(s)
		if err != nil {
			return false, err
		}
		return f(t, w), r.pay(len(t) + len(w))
	}
}

// --- numbers

func add(a, b any) (int64, error) {
	x, y, err := numbers(a, b)
	if s := x + y; err == nil && (s > x) == (y > 0) {
		return s, nil
	}
	return 0, firstErr(err, errors.New("add: too large"))
}

func sub(a, b any) (int64, error) {
	x, y, err := numbers(a, b)
	if d := x - y; err == nil && (d < x) == (y > 0) {
		return d, nil
	}
	return 0, firstErr(err, errors.New("sub: too large"))
}

func firstErr(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func numbers(a, b any) (x, y int64, err error) {
	if x, err = number(a); err == nil {
		y, err = number(b)
	}
	return x, y, err
}

// number reads variables too, which are texts.
func number(v any) (int64, error) {
	if n, ok := intOf(v); ok {
		return n, nil
	}
	s, err := exact(v)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%.40q: want a whole number", safeForm(s, true))
	}
	return n, nil
}

// --- addresses

// hostname makes a host name of RFC 1123's alphabet of anything: lower case
// letters, digits and dashes, 63 at most. It is the same text in every place.
func (r *run) hostname(v any) (string, error) {
	s, err := exact(v)
	if err != nil {
		return "", err
	}
	if err := r.pay(len(s)); err != nil {
		return "", err
	}
	s = strings.Map(func(c rune) rune {
		if c < 0x80 && alnum(byte(c)) {
			return c
		}
		return '-'
	}, s)
	s = strings.Trim(s, "-")
	if len(s) > 63 {
		s = strings.TrimRight(s[:63], "-")
	}
	return strings.ToLower(s), nil
}

// mac writes a hardware address with the given separator, lower case. Nothing
// stays nothing.
func (r *run) mac(sep string) func(v any) (string, error) {
	return func(v any) (string, error) {
		s, err := exact(v)
		if err != nil || s == "" {
			return "", err
		}
		m, err := boot.ParseMAC(s)
		if err != nil {
			return "", errors.New("this is no hardware address like 52:54:00:12:34:56")
		}
		return strings.ReplaceAll(string(m), ":", sep), r.pay(64)
	}
}

// iphex writes an IPv4 address as pxelinux does, "C0A80744".
func (r *run) iphex(v any) (string, error) {
	s, err := exact(v)
	if err != nil || s == "" {
		return "", err
	}
	a, err := netip.ParseAddr(s)
	if err != nil || !a.Is4() {
		return "", errors.New("iphex: this is no IPv4 address")
	}
	return fmt.Sprintf("%X", a.As4()), r.pay(16)
}

// netmask makes "255.255.255.0" of "192.0.2.7/24" or of 24.
func netmask(v any) (string, error) {
	s, err := exact(v)
	if err != nil {
		return "", err
	}
	if _, bits, ok := strings.Cut(s, "/"); ok {
		s = bits
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || n > 32 {
		return "", errors.New("netmask: want a length from 0 to 32, or an address like 192.0.2.7/24")
	}
	m := uint32(uint64(0xffffffff) << (32 - n))
	return netip.AddrFrom4([4]byte{byte(m >> 24), byte(m >> 16), byte(m >> 8), byte(m)}).String(), nil
}

// network makes "192.0.2.0" of "192.0.2.7/24".
func network(v any) (string, error) {
	s, err := exact(v)
	if err != nil {
		return "", err
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return "", errors.New("network: want an address like 192.0.2.7/24")
	}
	return p.Masked().Addr().String(), nil
}

// prefixlen makes 24 of "192.0.2.7/24" or of "255.255.255.0".
func prefixlen(v any) (int, error) {
	s, err := exact(v)
	if err != nil {
		return 0, err
	}
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Bits(), nil
	}
	a, err := netip.ParseAddr(s)
	if err == nil && a.Is4() {
		b := a.As4()
		m := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
		for n := range 33 {
			if m == uint32(uint64(0xffffffff)<<(32-n)) {
				return n, nil
			}
		}
	}
	return 0, errors.New("prefixlen: want a netmask like 255.255.255.0, or an address like 192.0.2.7/24")
}
