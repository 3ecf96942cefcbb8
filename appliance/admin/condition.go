package admin

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// maxTags bounds the entity tags of one header.
const maxTags = 16

// etags are what If-Match or If-None-Match holds.
type etags struct {
	given bool
	any   bool     // "*"
	tags  []string // opaque parts of strong tags
	weak  []string // opaque parts of weak tags (W/"…")
}

// parseETags reads the values of one of the two headers (RFC 9110 sections
// 8.8.3, 13.1.1, 13.1.2).
func parseETags(headers []string) (etags, error) {
	if len(headers) == 0 {
		return etags{}, nil
	}
	e := etags{given: true}
	rest := strings.Trim(strings.Join(headers, ","), " \t,")
	if len(rest) > 1024 {
		return e, errors.New("too long")
	}
	if rest == "*" {
		e.any = true
		return e, nil
	}
	for rest != "" {
		weak := strings.HasPrefix(rest, "W/")
		if weak {
			rest = rest[2:]
		}
		if rest == "" || rest[0] != '"' {
			return e, errors.New(`want * or entity tags in quotation marks like "7"`)
		}
		tag, after, ok := strings.Cut(rest[1:], `"`)
		if !ok {
			return e, errors.New("a quotation mark is missing")
		}
		if strings.ContainsFunc(tag, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
			return e, errors.New("an entity tag holds spaces or control characters")
		}
		if len(e.tags)+len(e.weak) == maxTags {
			return e, errors.New("too many entity tags")
		}
		if weak {
			e.weak = append(e.weak, tag)
		} else {
			e.tags = append(e.tags, tag)
		}
		separators := after[:len(after)-len(strings.TrimLeft(after, " \t,"))]
		if rest = after[len(separators):]; rest != "" && !strings.Contains(separators, ",") {
			return e, errors.New("a comma is missing between entity tags")
		}
	}
	if len(e.tags)+len(e.weak) == 0 {
		return e, errors.New(`want * or entity tags in quotation marks like "7"`)
	}
	return e, nil
}

// maskedSuffix marks the tag of a document whose secrets were masked: who has
// read only that cannot write it back.
const maskedSuffix = "-masked"

// revTag is the opaque part of the entity tag of a revision.
func revTag(rev uint64) string { return strconv.FormatUint(rev, 10) }

// quoted is an entity tag as headers have it.
func quoted(tag string) string { return `"` + tag + `"` }

// conditions of a request that changes something.
type conditions struct{ match, noneMatch etags }

func readConditions(r *http.Request) (conditions, *Problem) {
	var c conditions
	var err error
	if c.match, err = parseETags(r.Header.Values("If-Match")); err != nil {
		return c, causeMalformed.problem("If-Match: " + err.Error() + ".")
	}
	if c.noneMatch, err = parseETags(r.Header.Values("If-None-Match")); err != nil {
		return c, causeMalformed.problem("If-None-Match: " + err.Error() + ".")
	}
	if c.noneMatch.given && !c.noneMatch.any {
		return c, causeMalformed.problem("If-None-Match: only * has a meaning when something is changed.")
	}
	return c, nil
}

// writing decides what a PUT or DELETE may do to what is there now: exists and
// its tag. The match it returns is for the registry, which decides for good:
// somebody else may be faster. what names the thing.
func (c conditions) writing(what string, exists bool, tag string, put bool) (match string, p *Problem) {
	fail := func(cause Cause, detail string) (string, *Problem) {
		p := cause.problem(detail)
		if exists {
			p.etag = quoted(tag)
		}
		return "", p
	}
	if c.match.given {
		switch {
		case !exists:
			return fail(causeRevision, what+" does not exist (any more).")
		case c.match.any:
			match = MatchExist
		case slices.Contains(c.match.tags, tag):
			match = tag
		case slices.Contains(c.match.tags, tag+maskedSuffix):
			return fail(causeRevision, "You have read "+what+" without its secrets; read it again with the token, or they would be lost.")
		default:
			return fail(causeRevision, what+" is no longer as you have read it; read it again.")
		}
	}
	switch {
	case c.noneMatch.given && exists:
		return fail(causeExists, what+" exists already.")
	case c.match.given:
		return match, nil
	case !put:
		return MatchAny, nil
	case !exists:
		return MatchNew, nil
	}
	return fail(causeCondition, what+" exists already. To change it, send the ETag that you have read in If-Match.")
}

// unchanged says whether a reader has the document with this tag already.
func unchanged(r *http.Request, tag string) bool {
	e, err := parseETags(r.Header.Values("If-None-Match"))
	return err == nil && e.given && (e.any || slices.Contains(e.tags, tag) || slices.Contains(e.weak, tag))
}
