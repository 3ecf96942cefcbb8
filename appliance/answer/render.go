package answer

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// Bounds of a rendering.
const (
	// MaxOutput is the default limit of what a template makes, in octets.
	MaxOutput = 256 << 10
	// maxSteps is the budget of a rendering. A step is about a node of the
	// template visited once. A large answer file takes some ten thousand; all of
	// them take a fifth of a second on a small PC, and thus less than two on the
	// smallest machines.
	maxSteps = 1 << 18
	// bodySteps is what a body costs besides its nodes.
	bodySteps = 16
)

// ErrTooMuch is in the chain of errors of renderings that ran into a limit.
var ErrTooMuch = errors.New("the template asks for too much")

var (
	errSteps  = fmt.Errorf("%w: it runs too long; loop over less", ErrTooMuch)
	errOutput = fmt.Errorf("%w: the text becomes too long", ErrTooMuch)
)

// run is one rendering.
type run struct {
	data  Data
	steps int // left
	text  bytes.Buffer
	limit int
	// over is why the rendering was stopped, if it ran into a limit. The template
	// engine passes errors of functions on as texts.
	over error
}

// spend takes n steps from the budget.
func (r *run) spend(n int) error {
	if r.steps -= n; r.steps < 0 {
		r.over = errSteps
		return errSteps
	}
	return nil
}

// pay is what a function spends that has worked on n octets.
func (r *run) pay(n int) error { return r.spend(16 + n/8) }

// Write takes what the template makes, up to the limit.
func (r *run) Write(p []byte) (int, error) {
	if r.text.Len()+len(p) > r.limit {
		r.over = errOutput
		return 0, errOutput
	}
	return r.text.Write(p)
}

// Render makes the text for one machine, at most limit octets of it (0:
// MaxOutput). An error is an *Error; what was made until then is not returned,
// because half an answer file is worse than none.
func (t *Text) Render(d Data, limit int) ([]byte, error) {
	if limit <= 0 {
		limit = MaxOutput
	}
	r := &run{data: d, steps: maxSteps, limit: limit}
	// The clone shares the parsed templates and has its own functions, which
	// know this rendering's data and budget.
	tmpl, err := t.tmpl.Clone()
	if err != nil {
		return nil, t.renderError(err)
	}
	if d.Vars == nil {
		d.Vars = map[string]string{}
	}
	err = tmpl.Funcs(r.functions()).Execute(r, root{Machine: d.Machine, Vars: d.Vars, Box: d.Box})
	switch {
	case r.over != nil:
		e := t.renderError(err)
		e.What, e.why = r.over.Error(), r.over
		return nil, e
	case err != nil:
		return nil, t.renderError(err)
	}
	out := r.text.Bytes()
	if t.kind == boot.TemplateCmdline {
		out = bytes.TrimSpace(out)
		if i := bytes.IndexFunc(out, control); i >= 0 {
			line, _ := position(string(out), i)
			return nil, &Error{Name: t.name, What: fmt.Sprintf("a command line is one line; after line %d of it there is a newline or another control character", line)}
		}
	}
	return out, nil
}
