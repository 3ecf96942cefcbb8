package appliance

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/bootpuck/bootpuck/appliance/admin"
	"github.com/bootpuck/bootpuck/appliance/boot"
	"github.com/bootpuck/bootpuck/appliance/exchange"
	"github.com/bootpuck/bootpuck/appliance/media"
	"github.com/bootpuck/bootpuck/appliance/registry"
)

// backend is what the API works on. The rooms do not know each other; here the
// words of one are put into those of the other.
func (b *Box) backend() admin.Backend {
	return admin.Backend{
		Registry: records{b.registry}, Exchange: records{b.registry}, Trees: uploads{b.keeper}, Preview: preview{b},
		Attempts: b.attempts, LAN: surroundings{b}, Quirks: quirkBook{b}, Capture: captures{b},
	}
}

// records is the registry as the API sees it.
type records struct{ *registry.Registry }

// told translates the registry's errors.
func told(err error) error {
	var used registry.ErrInUse
	switch {
	case err == nil:
		return nil
	case errors.Is(err, registry.ErrNotFound):
		return fmt.Errorf("%w: %w", admin.ErrNotFound, err)
	case errors.Is(err, registry.ErrRevision):
		return fmt.Errorf("%w: %w", admin.ErrRevision, err)
	case errors.Is(err, registry.ErrExists):
		return fmt.Errorf("%w: %w", admin.ErrExists, err)
	case errors.As(err, &used):
		return admin.InUse{By: used.By}
	}
	return err
}

// Get implements admin.Registry.
func (r records) Get(kind, name string) (admin.Doc, bool) {
	d, ok := r.Registry.Get(kind, name)
	return admin.Doc(d), ok
}

// List implements admin.Registry.
func (r records) List(kind string, q admin.Query) ([]admin.Doc, string) {
	list, next := r.Registry.List(kind, registry.Query(q))
	out := make([]admin.Doc, 0, len(list))
	for _, d := range list {
		out = append(out, admin.Doc(d))
	}
	return out, next
}

// Put implements admin.Registry.
func (r records) Put(kind, name string, body []byte, match string) (admin.Doc, bool, error) {
	d, created, err := r.Registry.Put(kind, name, body, match)
	return admin.Doc(d), created, told(err)
}

// Delete implements admin.Registry.
func (r records) Delete(kind, name, match string) error {
	return told(r.Registry.Delete(kind, name, match))
}

// Assign implements admin.Registry.
func (r records) Assign(id boot.MachineID, a boot.Assignment, match string) (boot.Assignment, error) {
	a, err := r.Registry.Assign(id, a, match)
	return a, told(err)
}

// Unassign implements admin.Registry.
func (r records) Unassign(id boot.MachineID, match string) error {
	return told(r.Registry.Unassign(id, match))
}

// Merge implements admin.Registry.
func (r records) Merge(into, from boot.MachineID) error { return told(r.Registry.Merge(into, from)) }

// Split implements admin.Registry.
func (r records) Split(id boot.MachineID, macs []boot.MAC, uuid bool) (boot.MachineID, error) {
	made, err := r.Registry.Split(id, macs, uuid)
	return made, told(err)
}

// Requests implements admin.Registry.
func (r records) Requests() []admin.Request {
	list := r.Registry.Requests()
	out := make([]admin.Request, 0, len(list))
	for _, q := range list {
		out = append(out, admin.Request(q))
	}
	return out
}

// Approve implements admin.Registry.
func (r records) Approve(code string, yes, remember bool) error {
	return told(r.Registry.Approve(code, yes, remember))
}

// Decisions implements admin.Registry.
func (r records) Decisions(n int) []admin.Decision {
	list := r.Registry.Decisions(n)
	out := make([]admin.Decision, 0, len(list))
	for _, d := range list {
		out = append(out, admin.Decision(d))
	}
	return out
}

// Preview implements admin.Registry.
func (r records) Preview(id boot.MachineID, base, loader string) (boot.Plan, map[string]admin.Rendered, error) {
	plan, answers, err := r.Registry.Preview(id, base, loader)
	out := make(map[string]admin.Rendered, len(answers))
	for name, a := range answers {
		out[name] = admin.Rendered(a)
	}
	return plan, out, told(err)
}

// Export implements admin.Exchange.
func (r records) Export(w io.Writer) error { return exchange.Export(w, r.Registry.Export()) }

// Import implements admin.Exchange.
func (r records) Import(file string, data []byte, dry bool) ([]admin.Difference, error) {
	doc, err := exchange.Parse(file, data)
	if err != nil {
		return nil, places(err)
	}
	list, err := r.Registry.Import(doc, dry)
	if wrong, ok := errors.AsType[registry.ImportErrors](err); ok {
		return nil, places(exchange.Locate(file, data, wrong))
	}
	if err != nil {
		return nil, told(err)
	}
	out := make([]admin.Difference, 0, len(list))
	for _, d := range list {
		out = append(out, admin.Difference(d))
	}
	return out, nil
}

// places translates what is wrong with an import file.
func places(err error) error {
	list, ok := errors.AsType[exchange.Errors](err)
	if !ok {
		return err
	}
	out := make(admin.ImportErrors, 0, len(list))
	for _, e := range list {
		out = append(out, admin.ImportError{File: e.File, Line: e.Line, Field: e.Field, What: e.What})
	}
	return out
}

// uploads are the uploaded trees as the API sees them.
type uploads struct{ keeper *keeper }

var errNoTrees = stateError{boot.ReasonStateVolatile, errors.New("there is no place for uploaded trees: the state directory is not ready")}

// Import implements admin.Trees.
func (u uploads) Import(ctx context.Context, name string, r io.Reader, format string) (admin.Tree, error) {
	m := u.keeper.media()
	if m == nil {
		return admin.Tree{}, errNoTrees
	}
	t, err := m.Import(ctx, name, r, format)
	return admin.Tree(t), uploaded(err)
}

// stateError is an error with the reason why nothing can be kept at present.
type stateError struct {
	reason boot.Reason
	err    error
}

// Error implements error.
func (e stateError) Error() string { return e.err.Error() }

// Unwrap is the cause.
func (e stateError) Unwrap() error { return e.err }

// Reason is what the API tells.
func (e stateError) Reason() boot.Reason { return e.reason }

// uploaded translates the errors of trees.
func uploaded(err error) error {
	var space *media.SpaceError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, media.ErrNotFound):
		return fmt.Errorf("%w: %w", admin.ErrNotFound, err)
	case errors.Is(err, media.ErrName):
		return boot.FieldErrors{{Field: "name", What: err.Error()}}
	case errors.Is(err, media.ErrTooLarge), errors.Is(err, media.ErrTooMany):
		return fmt.Errorf("%w: %w", admin.ErrTooLarge, err)
	case errors.As(err, &space):
		return stateError{boot.ReasonStateFull, err}
	}
	return err
}

// Delete implements admin.Trees.
func (u uploads) Delete(name string) error {
	m := u.keeper.media()
	if m == nil {
		return errNoTrees
	}
	if _, ok := m.Get(name); !ok {
		return admin.ErrNotFound
	}
	if used := u.keeper.treeUsers(name); len(used) > 0 {
		return admin.InUse{By: used}
	}
	return uploaded(m.Delete(name))
}

// List implements admin.Trees.
func (u uploads) List() []admin.Tree {
	m := u.keeper.media()
	if m == nil {
		return nil
	}
	list := m.List()
	out := make([]admin.Tree, 0, len(list))
	for _, t := range list {
		out = append(out, admin.Tree(t))
	}
	return out
}

// Get implements admin.Trees.
func (u uploads) Get(name string) (admin.Tree, bool) {
	m := u.keeper.media()
	if m == nil {
		return admin.Tree{}, false
	}
	t, ok := m.Get(name)
	return admin.Tree(t), ok
}

// treeUsers are the targets that boot from a tree.
func (k *keeper) treeUsers(name string) []string {
	var used []string
	for after := ""; ; {
		docs, next := k.registry.List(admin.KindTargets, registry.Query{After: after, Limit: 500})
		for _, d := range docs {
			if t, ok := d.Value.(boot.Target); ok && t.Tree == name {
				used = append(used, "targets/"+t.Name)
			}
		}
		if next == "" {
			return used
		}
		after = next
	}
}
