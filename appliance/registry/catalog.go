package registry

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/bootpuck/bootpuck/appliance/answer"
	"github.com/bootpuck/bootpuck/appliance/boot"
)

// documents are all the operator's documents apart from machines. The maps are
// never changed in place.
type documents struct {
	Site      boot.Site
	Targets   map[string]boot.Target
	Profiles  map[string]boot.Profile
	Groups    map[string]boot.Group
	Rules     map[string]boot.SelectRule
	Templates map[string]boot.Template
}

// defaultSite is what counts before the operator has said anything: everybody
// may boot, and gets the menu that ends at the local disk.
func defaultSite() boot.Site { return boot.Site{Unknown: boot.UnknownAllow} }

// snapshot is the documents made ready: checked against each other, templates
// compiled. It is immutable.
type snapshot struct {
	docs    documents
	catalog *boot.Catalog
	texts   map[textKey]compiled
	visible map[string]boot.Matcher // of profiles, by name
	loaders bool                    // a profile asks for another first stage
	silent  bool                    // the site may ask for silence
}

// textKey names a template: of the operator's, or a field of a target.
type textKey struct{ kind, name, field string }

type compiled struct {
	source string
	kind   boot.TemplateKind
	text   *answer.Text
}

// newSnapshot makes documents ready. Errors are by document ("targets/NAME").
// Templates that did not change since prev are not compiled again.
func newSnapshot(prev *snapshot, d documents) (*snapshot, map[string]boot.FieldErrors) {
	catalog, errs := boot.NewCatalog(d.Site, values(d.Targets), values(d.Profiles), values(d.Groups), values(d.Rules), values(d.Templates))
	if errs == nil {
		errs = map[string]boot.FieldErrors{}
	}
	s := &snapshot{docs: d, catalog: catalog, texts: map[textKey]compiled{}, visible: map[string]boot.Matcher{}}
	for name, t := range d.Templates {
		s.compile(prev, errs, textKey{kindTemplates, name, "text"}, t.Kind, t.Text)
	}
	for name, t := range d.Targets {
		for field, f := range targetTexts(t) {
			s.compile(prev, errs, textKey{kindTargets, name, field}, f.kind, f.text)
		}
	}
	for name, p := range d.Profiles {
		s.loaders = s.loaders || p.Loader != boot.LoaderIPXE
		m, bad := boot.CompileMatch(p.Visible)
		for _, e := range bad {
			errs[kindProfiles+"/"+name] = addError(errs[kindProfiles+"/"+name], "visible."+e.Field, e.What)
		}
		s.visible[name] = m
	}
	s.silent = len(d.Site.Deny) > 0 || d.Site.Unknown == boot.UnknownIgnore
	return s, errs
}

// addError adds an error unless the same is there already.
func addError(errs boot.FieldErrors, field, what string) boot.FieldErrors {
	e := boot.FieldError{Field: field, What: what}
	if slices.ContainsFunc(errs, func(o boot.FieldError) bool { return o.Field == field }) {
		return errs
	}
	return append(errs, e)
}

type fieldText struct {
	kind boot.TemplateKind
	text string
}

// targetTexts are the fields of a target that are templates.
func targetTexts(t boot.Target) map[string]fieldText {
	texts := map[string]fieldText{}
	add := func(field string, kind boot.TemplateKind, text string) {
		if strings.Contains(text, "{{") {
			texts[field] = fieldText{kind, text}
		}
	}
	add("cmdline", boot.TemplateCmdline, t.Cmdline)
	kind := boot.TemplatePlain // of pxelinux and GRUB
	if t.Kind == boot.TargetScript {
		kind = boot.TemplateScript
	}
	add("script", kind, t.Script)
	if t.SAN != nil {
		add("san.iqn", boot.TemplateCmdline, t.SAN.IQN)
		add("san.initiator", boot.TemplateCmdline, t.SAN.Initiator)
	}
	return texts
}

func (s *snapshot) compile(prev *snapshot, errs map[string]boot.FieldErrors, key textKey, kind boot.TemplateKind, source string) {
	if prev != nil {
		if old, ok := prev.texts[key]; ok && old.source == source && old.kind == kind {
			s.texts[key] = old
			return
		}
	}
	text, err := answer.CompileText(kind, key.name, source)
	if err != nil {
		doc := key.kind + "/" + key.name
		errs[doc] = addError(errs[doc], key.field, err.Error())
		return
	}
	s.texts[key] = compiled{source, kind, text}
}

func values[T any](m map[string]T) []T {
	out := make([]T, 0, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, m[k])
	}
	return out
}

// with returns a copy of the map in which name is v.
func with[T any](m map[string]T, name string, v T) map[string]T {
	c := make(map[string]T, len(m)+1)
	maps.Copy(c, m)
	c[name] = v
	return c
}

// less returns a copy of the map without name.
func less[T any](m map[string]T, name string) map[string]T {
	c := maps.Clone(m)
	delete(c, name)
	return c
}

// refusals are the errors that a change brings: all those of the changed
// document, and those of others that were not there before.
func refusals(doc string, before, after map[string]boot.FieldErrors) boot.FieldErrors {
	out := slices.Clone(after[doc])
	for _, other := range slices.Sorted(maps.Keys(after)) {
		if other == doc {
			continue
		}
		for _, e := range after[other] {
			if !slices.Contains(before[other], e) {
				out = append(out, boot.FieldError{
					Field: "(root)", What: fmt.Sprintf("this breaks %s: %s: %s", other, e.Field, e.What),
				})
			}
		}
	}
	return out
}
