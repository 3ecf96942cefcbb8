package admin

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// TestDecode: every way to write a body wrongly, with the field that is told.
func TestDecode(t *testing.T) {
	deep := strings.Repeat("[", 5000) + strings.Repeat("]", 5000)
	for _, c := range []struct {
		name, body string
		into       any
		cause      Cause
		fields     string // "field: part of what", joined by "; "
	}{
		{"all is well", `{"kind":"linux","kernel":"k","initrds":["a","b"],"needs":{"memory":5},"san":{"protocol":"aoe","port":1}}`, &boot.Target{}, "", ""},
		{"white space around", " \n{\"kind\":\"linux\"}\n ", &boot.Target{}, "", ""},
		{"nothing", "", &boot.Target{}, causeMalformed, ""},
		{"not JSON", "kind: linux", &boot.Target{}, causeMalformed, ""},
		{"cut off", `{"kind":`, &boot.Target{}, causeMalformed, ""},
		{"two documents", `{"kind":"linux"}{"kind":"efi"}`, &boot.Target{}, causeMalformed, ""},
		{"something after it", `{"kind":"linux"} x`, &boot.Target{}, causeMalformed, ""},
		{"a comma too many", `{"kind":"linux",}`, &boot.Target{}, causeMalformed, ""},
		{"not UTF-8", "{\"kind\":\"\xff\"}", &boot.Target{}, causeMalformed, ""},
		{"a list", `[]`, &boot.Target{}, causeFields, "(body): want an object"},
		{"null", `null`, &boot.Target{}, causeFields, "(body): null is not a value"},
		{"a text", `"x"`, &boot.Target{}, causeFields, "(body): want an object"},
		{"an unknown field", `{"kernal":"x"}`, &boot.Target{}, causeFields, "kernal: no such field; known here: cmdline, destructive"},
		{"an unknown field below", `{"needs":{"ram":1}}`, &boot.Target{}, causeFields, "needs.ram: no such field; known here: cpus"},
		{"an unknown field in a list", `{"menu":{"entries":[{},{"profil":"x"}]}}`, &boot.Target{}, causeFields, "menu.entries[1].profil: no such field"},
		{"another case", `{"Kind":"linux"}`, &boot.Target{}, causeFields, "Kind: no such field"},
		{"given twice", `{"kind":"linux","kind":"efi"}`, &boot.Target{}, causeFields, "kind: given twice"},
		{"given twice, escaped", `{"kind":"linux","\u006bind":"efi"}`, &boot.Target{}, causeFields, "kind: given twice"},
		{"given twice below", `{"wim":{"boot_wim":"a","files":{"x":"1","x":"2"}}}`, &boot.Target{}, causeFields, "wim.files.x: given twice"},
		{"null below", `{"needs":null}`, &boot.Target{}, causeFields, "needs: null is not a value"},
		{"null in a list", `{"initrds":["a",null]}`, &boot.Target{}, causeFields, "initrds[1]: null"},
		{"a number for a text", `{"kernel":5}`, &boot.Target{}, causeFields, "kernel: want a text"},
		{"a text for a number", `{"needs":{"memory":"5"}}`, &boot.Target{}, causeFields, "needs.memory: want a whole number"},
		{"a broken number", `{"needs":{"memory":1.5}}`, &boot.Target{}, causeFields, "needs.memory: want a whole number"},
		{"a huge number", `{"needs":{"memory":99999999999999999999}}`, &boot.Target{}, causeFields, "needs.memory: want a whole number"},
		{"a negative number", `{"rev":-1}`, &boot.Target{}, causeFields, "rev: want a whole number that is not negative"},
		{"a text for yes", `{"destructive":"yes"}`, &boot.Target{}, causeFields, "destructive: want true or false"},
		{"a text for a list", `{"initrds":"a"}`, &boot.Target{}, causeFields, "initrds: want a list"},
		{"a list for an object", `{"san":[]}`, &boot.Target{}, causeFields, "san: want an object"},
		{"an object for a text", `{"kernel":{}}`, &boot.Target{}, causeFields, "kernel: want a text"},
		{"a bad time", `{"profile":"x","expires":"tomorrow"}`, &boot.Assignment{}, causeFields, "expires: want a time like"},
		{"a bad address", `{"seen":{"addr":"x"}}`, &boot.Machine{}, causeFields, "seen.addr: want an address"},
		{"a bad identifier", `{"uuid":"x"}`, &boot.Machine{}, causeFields, "uuid: want a UUID"},
		{"a bad map", `{"variables":{"a":1}}`, &boot.Machine{}, causeFields, "variables.a: want a text"},
		{"a bad map of lists", `{"match":{"variables":{"a":"b"}}}`, &boot.SelectRule{}, causeFields, "match.variables.a: want a list"},
		{"all that is wrong", `{"x":1,"kernel":5,"needs":{"y":2}}`, &boot.Target{}, causeFields, "x: no such; kernel: want a text; needs.y: no such"},
		{"very deep", `{"kernel":` + deep + `}`, &boot.Target{}, causeFields, "kernel: want a text"},
		{"too deep for the parser", strings.Repeat("[", 20000) + strings.Repeat("]", 20000), &boot.Target{}, causeMalformed, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := decode([]byte(c.body), c.into)
			if p == nil {
				if c.cause != "" {
					t.Fatal("accepted")
				}
				return
			}
			if p.Reason != c.cause {
				t.Fatalf("%+v, want %s", p, c.cause)
			}
			var want []string
			if c.fields != "" {
				want = strings.Split(c.fields, "; ")
				if strings.Contains(c.fields, "known here") {
					want = []string{c.fields}
				}
			}
			if len(p.Errors) != len(want) {
				t.Fatalf("errors %+v, want %q", p.Errors, want)
			}
			for i, e := range p.Errors {
				if got := e.Field + ": " + e.What; !strings.HasPrefix(got, want[i]) {
					t.Errorf("%q, want %q", got, want[i])
				}
			}
		})
	}
	// However much is wrong, the answer is bounded.
	if p := decode([]byte("{"+strings.TrimSuffix(strings.Repeat(`"x":1,"y":2,`, 5000), ",")+"}"), &boot.Target{}); len(p.Errors) != maxErrors {
		t.Errorf("%d errors", len(p.Errors))
	}
	if p := decode([]byte("{\n  \"kind\": x\n}"), &boot.Target{}); !strings.Contains(p.Detail, "line 2, column 11") {
		t.Errorf("%s", p.Detail)
	}
}

// FuzzDecode: no body crashes the decoder; what it accepts is what
// encoding/json reads strictly, and is accepted again when written.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		`{"kind":"linux","initrds":["a"],"san":{"protocol":"iscsi","port":3260},"menu":{"entries":[{"profile":"x"}]}}`,
		`{"id":"m1","uuid":"11111111-2222-3333-4444-555555555555","macs":[{"mac":"52:54:00:00:00:01","given":true}],"seen":{"addr":"192.0.2.1","time":"2026-01-31T15:04:05Z"}}`,
		`{"kind":"linux","KIND":"efi"}`, `{"a":1,"a":2}`, `null`, `[]`, `{}`, `{"variables":{"":""}}`, "{\"kind\":\"\xff\"}", `{"seen":null}`, `{"kind":"\ud800"}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, kind := range append([]string{KindSite}, collections...) {
			v := newDoc(kind)
			p := decode(data, v)
			if p != nil {
				if len(p.Errors) > maxErrors || p.Detail == "" {
					t.Errorf("%+v", p)
				}
				continue
			}
			plain := newDoc(kind)
			dec := json.NewDecoder(strings.NewReader(string(data)))
			dec.DisallowUnknownFields()
			if err := dec.Decode(plain); err != nil {
				t.Fatalf("%s: accepted %q, which encoding/json refuses: %v", kind, data, err)
			}
			if !reflect.DeepEqual(v, plain) {
				t.Errorf("%s: %q read as %+v and as %+v", kind, data, v, plain)
			}
			again, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			if p := decode(again, newDoc(kind)); p != nil {
				t.Errorf("%s: %s is refused when written again: %+v", kind, again, p.Errors)
			}
		}
	})
}

func TestParseETags(t *testing.T) {
	for in, want := range map[string]etags{
		`*`:                   {given: true, any: true},
		` * `:                 {given: true, any: true},
		`"7"`:                 {given: true, tags: []string{"7"}},
		`"7", "8","9-masked"`: {given: true, tags: []string{"7", "8", "9-masked"}},
		`W/"7" , "8",`:        {given: true, tags: []string{"8"}, weak: []string{"7"}},
		`,,"7",,`:             {given: true, tags: []string{"7"}},
		`""`:                  {given: true, tags: []string{""}},
		`"a,b"`:               {given: true, tags: []string{"a,b"}},
	} {
		got, err := parseETags([]string{in})
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v %v, want %+v", in, got, err, want)
		}
	}
	for _, in := range []string{``, `7`, `"7`, `7"`, `"7" "8"`, `w/"7"`, `W/7`, `*, "7"`, `"7", *`, `"a b"`, "\"a\tb\"", `W/`, `,`, strings.Repeat(`"1",`, maxTags+1), `"` + strings.Repeat("x", 2000) + `"`} {
		if got, err := parseETags([]string{in}); err == nil {
			t.Errorf("%.40s: accepted as %+v", in, got)
		}
	}
	if got, err := parseETags(nil); err != nil || got.given {
		t.Errorf("%+v %v", got, err)
	}
	if got, err := parseETags([]string{`"1"`, `"2"`}); err != nil || !slices.Equal(got.tags, []string{"1", "2"}) {
		t.Errorf("two headers: %+v %v", got, err)
	}
}

// FuzzParseETags: what is accepted means the same when it is written again.
func FuzzParseETags(f *testing.F) {
	for _, s := range []string{`*`, `"7"`, `W/"7", "8"`, `"`, `"a" "b"`, ``, `,,"",`, `W/W/"x"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e, err := parseETags([]string{s})
		if err != nil {
			return
		}
		if !e.given || e.any == (len(e.tags)+len(e.weak) > 0) || len(e.tags)+len(e.weak) > maxTags {
			t.Fatalf("%q: %+v", s, e)
		}
		var parts []string
		if e.any {
			parts = append(parts, "*")
		}
		for _, tag := range e.tags {
			if strings.ContainsAny(tag, "\"\r\n ") {
				t.Fatalf("%q: tag %q", s, tag)
			}
			parts = append(parts, quoted(tag))
		}
		for _, tag := range e.weak {
			parts = append(parts, "W/"+quoted(tag))
		}
		again, err := parseETags([]string{strings.Join(parts, ", ")})
		if err != nil || !reflect.DeepEqual(again, e) {
			t.Fatalf("%q: %+v, written again %+v %v", s, e, again, err)
		}
	})
}

// TestWriting is the table of conditions.
func TestWriting(t *testing.T) {
	for _, c := range []struct {
		match, none string // headers; "" none
		exists, put bool
		want        string // the registry's match, or a cause
	}{
		{"", "", false, true, MatchNew},
		{"", "", true, true, string(causeCondition)},
		{"", "", true, false, MatchAny},
		{"", "*", false, true, MatchNew},
		{"", "*", true, true, string(causeExists)},
		{`"7"`, "", true, true, "7"},
		{`"7"`, "", true, false, "7"},
		{`"6", "7"`, "", true, true, "7"},
		{`"6"`, "", true, true, string(causeRevision)},
		{`"6"`, "", true, false, string(causeRevision)},
		{`W/"7"`, "", true, true, string(causeRevision)}, // weak tags never match here
		{`"7-masked"`, "", true, true, string(causeRevision)},
		{`"7"`, "", false, true, string(causeRevision)},
		{`*`, "", true, true, MatchExist},
		{`*`, "", false, true, string(causeRevision)},
		{`*`, "", false, false, string(causeRevision)},
		{`"7"`, "*", true, true, string(causeExists)},
	} {
		var headers []string
		if c.match != "" {
			headers = append(headers, "If-Match: "+c.match)
		}
		if c.none != "" {
			headers = append(headers, "If-None-Match: "+c.none)
		}
		want, p := readConditions(request(t, "PUT", "/x", "", headers...))
		if p != nil {
			t.Fatalf("%+v: %+v", c, p)
		}
		got, p := want.writing("The thing", c.exists, "7", c.put)
		if p != nil {
			got = string(p.Reason)
			if (p.etag == `"7"`) != c.exists {
				t.Errorf("%+v: tells the tag %q", c, p.etag)
			}
		}
		if got != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
	for _, h := range []string{"If-Match: 7", "If-None-Match: 7", `If-None-Match: "7"`} {
		if _, p := readConditions(request(t, "PUT", "/x", "", h)); p == nil || p.Status != 400 {
			t.Errorf("%s: %+v", h, p)
		}
	}
}

func TestAcceptable(t *testing.T) {
	for _, c := range []struct {
		accept  string
		answers []string
		want    bool
	}{
		{"", jsonBody, true},
		{"*/*", jsonBody, true},
		{"application/json", jsonBody, true},
		{"application/*", jsonBody, true},
		{"text/html, application/json;q=0.1", jsonBody, true},
		{"text/html", jsonBody, false},
		{"application/json;q=0", jsonBody, false},
		{"application/json;q=0, */*", jsonBody, false},
		{"*/*;q=0, application/json", jsonBody, true},
		{"application/json;q=x", jsonBody, false},
		{"text/html,application/xhtml+xml,*/*;q=0.8", jsonBody, true},
		{"Application/JSON", jsonBody, true},
		{";;;", jsonBody, false},
		{"text/event-stream", []string{typeJSON, typeStream}, true},
		{"application/problem+json", jsonBody, false},
		{"application/yaml", []string{typeYAML}, true},
	} {
		var headers []string
		if c.accept != "" {
			headers = []string{c.accept}
		}
		if got := acceptable(headers, c.answers); got != c.want {
			t.Errorf("%q for %v: %v", c.accept, c.answers, got)
		}
	}
}
