package answer

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"text/template/parse"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// Bounds of a template.
const (
	MaxText  = 256 << 10 // octets of a template
	maxDepth = 64        // how deep blocks and parentheses may nest
)

// Error is what is wrong with a template, and where.
type Error struct {
	Name   string // of the template
	Line   int    // from 1; 0 when it is nowhere in particular
	Column int    // octets from 1
	What   string // what is wrong and what to write instead; printable, bounded
	why    error
}

// Unwrap is ErrTooMuch when a rendering ran into a limit.
func (e *Error) Unwrap() error { return e.why }

// Error is "name:line:column: what".
func (e *Error) Error() string {
	if e.Line == 0 {
		return e.Name + ": " + e.What
	}
	return fmt.Sprintf("%s:%d:%d: %s", e.Name, e.Line, e.Column, e.What)
}

// Text is a compiled template. It is safe for concurrent use.
type Text struct {
	name string
	kind boot.TemplateKind
	src  string
	tmpl *template.Template
	vars []string
	told []string
}

// Kind is what the template makes.
func (t *Text) Kind() boot.TemplateKind { return t.kind }

// Variables lists the variables that the template cannot do without, sorted, as
// far as they are named in it.
func (t *Text) Variables() []string { return slices.Clone(t.vars) }

// Compile is CompileText for a template of the operator's.
func Compile(t boot.Template) (*Text, error) { return CompileText(t.Kind, t.Name, t.Text) }

// CompileText reads a template. An error is an *Error with line and column.
func CompileText(kind boot.TemplateKind, name, text string) (*Text, error) {
	c := &compiler{name: name, kind: kind, src: text, vars: map[string]bool{}, told: map[string]bool{}}
	switch {
	case !slices.Contains(boot.TemplateKinds(), kind):
		return nil, &Error{Name: name, What: fmt.Sprintf("kind %.20q: want one of %v", kind, boot.TemplateKinds())}
	case len(text) > MaxText:
		return nil, &Error{Name: name, What: fmt.Sprintf("text of %d octets: at most %d", len(text), MaxText)}
	}
	if err := c.depth(); err != nil {
		return nil, err
	}
	funcs := (&run{}).functions()
	names := map[string]any{}
	for fn := range funcs {
		if fn[0] != '_' {
			names[fn] = true
		}
	}
	trees, err := parse.Parse(mainName, text, "", "", names, builtin)
	if err != nil {
		return nil, c.parseError(err, names)
	}
	if err := c.calls(trees); err != nil {
		return nil, err
	}
	t := &Text{name: name, kind: kind, src: text}
	t.tmpl = template.New(mainName).Option("missingkey=error").Funcs(funcs)
	for _, treeName := range sortedKeys(trees) {
		tree := trees[treeName]
		c.main = treeName == mainName
		c.tree = tree
		cost, err := c.list(tree.Root, c.main)
		if err != nil {
			return nil, err
		}
		c.prepend(tree.Root, cost)
		if _, err := t.tmpl.AddParseTree(treeName, tree); err != nil {
			return nil, &Error{Name: name, What: printable(err.Error())}
		}
	}
	t.vars, t.told = sortedKeys(c.vars), sortedKeys(c.told)
	return t, nil
}

// mainName is what the parser is told as the name of every template, so that its
// messages can be taken apart. No {{define}} can bear it.
const mainName = "\x01"

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// compiler walks the parsed templates: it refuses what the limits cannot hold,
// finds what is wrong whatever the data, and puts in the functions that charge
// for loops and print.
type compiler struct {
	name string
	kind boot.TemplateKind
	src  string
	main bool // in the template itself, where $ is the data
	tree *parse.Tree
	nest int
	vars map[string]bool
	told map[string]bool
}

// at makes an error for a place in the source.
func (c *compiler) at(pos parse.Pos, format string, args ...any) *Error {
	line, column := position(c.src, int(pos))
	return &Error{Name: c.name, Line: line, Column: column, What: printable(fmt.Sprintf(format, args...))}
}

// position counts lines and octets from 1.
func position(src string, pos int) (line, column int) {
	before := src[:min(pos, len(src))]
	return 1 + strings.Count(before, "\n"), len(before) - strings.LastIndexByte(before, '\n')
}

// depth refuses nesting without end before the parser, which recurses, sees it.
// It counts what the blocks begin with; an else with a condition is a block
// within the one before.
func (c *compiler) depth() error {
	var open []int // how many blocks the innermost end closes
	depth := 0
	for pos := 0; ; {
		i := strings.Index(c.src[pos:], "{{")
		if i < 0 {
			return nil
		}
		pos += i + 2
		words := strings.Fields(strings.TrimLeft(c.src[pos:min(pos+60, len(c.src))], "- \t\r\n"))
		if len(words) == 0 {
			continue
		}
		switch word, _, _ := strings.Cut(words[0], "}"); word {
		case "if", "with", "range", "block", "define":
			open = append(open, 1)
			depth++
		case "else":
			if len(words) > 1 && (words[1] == "if" || words[1] == "with") && len(open) > 0 {
				open[len(open)-1]++
				depth++
			}
		case "end":
			if len(open) > 0 {
				depth -= open[len(open)-1]
				open = open[:len(open)-1]
			}
		}
		if depth > maxDepth {
			return c.at(parse.Pos(pos-2), "blocks nest deeper than %d", maxDepth)
		}
	}
}

// calls refuses templates that call what is not there, or themselves over
// however many others.
func (c *compiler) calls(trees map[string]*parse.Tree) error {
	graph := make(map[string][]*parse.TemplateNode, len(trees))
	for name, tree := range trees {
		var found []*parse.TemplateNode
		templateNodes(tree.Root, &found)
		graph[name] = found
	}
	height := make(map[string]int, len(trees)) // calls below; -1 while being looked at
	var visit func(name string, depth int) error
	visit = func(name string, depth int) error {
		height[name] = -1
		tallest := 0
		for _, call := range graph[name] {
			h, seen := height[call.Name]
			switch _, ok := trees[call.Name]; {
			case !ok:
				return c.at(call.Pos, "there is no template %q; define it in this text", call.Name)
			case seen && h < 0:
				return c.at(call.Pos, "template %q calls itself", call.Name)
			case depth+h >= maxDepth:
				return c.at(call.Pos, "templates call each other deeper than %d", maxDepth)
			case !seen:
				if err := visit(call.Name, depth+1); err != nil {
					return err
				}
			}
			tallest = max(tallest, 1+height[call.Name])
		}
		height[name] = tallest
		return nil
	}
	for _, name := range sortedKeys(trees) {
		if _, seen := height[name]; !seen {
			if err := visit(name, 0); err != nil {
				return err
			}
		}
	}
	return nil
}

// templateNodes finds the calls below a list.
func templateNodes(list *parse.ListNode, found *[]*parse.TemplateNode) {
	if list == nil {
		return
	}
	for _, n := range list.Nodes {
		switch n := n.(type) {
		case *parse.TemplateNode:
			*found = append(*found, n)
		case *parse.IfNode:
			templateNodes(n.List, found)
			templateNodes(n.ElseList, found)
		case *parse.WithNode:
			templateNodes(n.List, found)
			templateNodes(n.ElseList, found)
		case *parse.RangeNode:
			templateNodes(n.List, found)
			templateNodes(n.ElseList, found)
		}
	}
}

// list walks a list and says what one pass over it costs, in nodes. rooted: the
// dot is the data itself.
func (c *compiler) list(l *parse.ListNode, rooted bool) (int, error) {
	if l == nil {
		return 0, nil
	}
	total := 1
	for _, n := range l.Nodes {
		cost, err := c.node(n, rooted)
		if err != nil {
			return 0, err
		}
		total += cost
	}
	return total, nil
}

func (c *compiler) node(n parse.Node, rooted bool) (int, error) {
	switch n := n.(type) {
	case *parse.ActionNode:
		cost, err := c.pipe(n.Pipe, rooted)
		if err == nil && len(n.Pipe.Decl) == 0 {
			err = c.output(n)
		}
		return cost + 3, err
	case *parse.IfNode:
		return c.branch(&n.BranchNode, rooted, rooted)
	case *parse.WithNode:
		return c.branch(&n.BranchNode, rooted, false)
	case *parse.RangeNode:
		cost, err := c.pipe(n.Pipe, rooted)
		if err != nil {
			return 0, err
		}
		body, err := c.list(n.List, false)
		if err != nil {
			return 0, err
		}
		c.prepend(n.List, body)
		n.Pipe.Cmds = append(n.Pipe.Cmds, c.command(n.Pipe.Pos, c.ident(n.Pipe.Pos, fnRange)))
		other, err := c.list(n.ElseList, rooted)
		return cost + other + 4, err
	case *parse.TemplateNode:
		if n.Pipe == nil {
			return 2, nil
		}
		cost, err := c.pipe(n.Pipe, rooted)
		return cost + 2, err
	default: // text, comments, break, continue
		return 1, nil
	}
}

func (c *compiler) branch(b *parse.BranchNode, rooted, inner bool) (int, error) {
	cost, err := c.pipe(b.Pipe, rooted)
	if err != nil {
		return 0, err
	}
	yes, err := c.list(b.List, inner)
	if err != nil {
		return 0, err
	}
	no, err := c.list(b.ElseList, rooted)
	return cost + yes + no + 1, err
}

// pipe walks the commands of a pipeline.
func (c *compiler) pipe(p *parse.PipeNode, rooted bool) (int, error) {
	if c.nest++; c.nest > maxDepth {
		return 0, c.at(p.Pos, "parentheses nest deeper than %d", maxDepth)
	}
	defer func() { c.nest-- }()
	total := 1 + len(p.Decl)
	for i, cmd := range p.Cmds {
		// What default and required are given may be missing: that is what they
		// are there for.
		forgiven := i+1 < len(p.Cmds) && forgives(p.Cmds[i+1])
		if name, ok := variable(cmd.Args); ok && forgiven {
			cmd.Args = c.optional(cmd.Pos, name)
		}
		cost, err := c.args(cmd, rooted)
		if err != nil {
			return 0, err
		}
		total += cost
	}
	return total, nil
}

// forgives says whether a command calls default or required.
func forgives(cmd *parse.CommandNode) bool {
	f, ok := cmd.Args[0].(*parse.IdentifierNode)
	return ok && (f.Ident == "default" || f.Ident == "required")
}

// variable recognises .Vars.name, $.Vars.name and index .Vars "name".
func variable(args []parse.Node) (string, bool) {
	ident := func(n parse.Node) []string {
		switch n := n.(type) {
		case *parse.FieldNode:
			return n.Ident
		case *parse.VariableNode:
			if n.Ident[0] == "$" {
				return n.Ident[1:]
			}
		}
		return nil
	}
	switch len(args) {
	case 1:
		if p, ok := args[0].(*parse.PipeNode); ok && len(p.Cmds) == 1 && len(p.Decl) == 0 {
			return variable(p.Cmds[0].Args)
		}
		if f := ident(args[0]); len(f) == 2 && f[0] == "Vars" {
			return f[1], true
		}
	case 3:
		fn, ok := args[0].(*parse.IdentifierNode)
		key, isString := args[2].(*parse.StringNode)
		if f := ident(args[1]); ok && isString && fn.Ident == "index" && len(f) == 1 && f[0] == "Vars" {
			return key.Text, true
		}
	}
	return "", false
}

// optional is the call of opt for a variable.
func (c *compiler) optional(pos parse.Pos, name string) []parse.Node {
	return []parse.Node{
		c.ident(pos, "opt"),
		&parse.StringNode{NodeType: parse.NodeString, Pos: pos, Quoted: strconv.Quote(name), Text: name},
	}
}

func (c *compiler) ident(pos parse.Pos, name string) *parse.IdentifierNode {
	return parse.NewIdentifier(name).SetPos(pos).SetTree(c.tree)
}

func (c *compiler) command(pos parse.Pos, args ...parse.Node) *parse.CommandNode {
	return &parse.CommandNode{NodeType: parse.NodeCommand, Pos: pos, Args: args}
}

func (c *compiler) number(pos parse.Pos, n int) parse.Node {
	return &parse.NumberNode{
		NodeType: parse.NodeNumber, Pos: pos, IsInt: true, IsUint: true,
		Int64: int64(n), Uint64: uint64(n), Text: strconv.Itoa(n),
	}
}

// prepend makes a body charge for itself when it begins.
func (c *compiler) prepend(l *parse.ListNode, cost int) {
	step := &parse.ActionNode{NodeType: parse.NodeAction, Pos: l.Pos, Pipe: &parse.PipeNode{
		NodeType: parse.NodePipe, Pos: l.Pos,
		Cmds: []*parse.CommandNode{c.command(l.Pos, c.ident(l.Pos, fnStep), c.number(l.Pos, cost))},
	}}
	l.Nodes = append([]parse.Node{step}, l.Nodes...)
}

// args walks the operands of a command.
func (c *compiler) args(cmd *parse.CommandNode, rooted bool) (int, error) {
	total := 4 * len(cmd.Args)
	if fn, ok := cmd.Args[0].(*parse.IdentifierNode); ok {
		if err := c.call(fn.Ident, cmd); err != nil {
			return 0, err
		}
	}
	for i, arg := range cmd.Args {
		if i > 0 && forgives(cmd) {
			if name, ok := variable(cmd.Args[i : i+1]); ok {
				arg = &parse.PipeNode{
					NodeType: parse.NodePipe, Pos: arg.Position(),
					Cmds: []*parse.CommandNode{c.command(arg.Position(), c.optional(arg.Position(), name)...)},
				}
				cmd.Args[i] = arg
			}
		}
		var err error
		n := 0
		switch arg := arg.(type) {
		case *parse.PipeNode:
			n, err = c.pipe(arg, rooted)
		case *parse.ChainNode:
			if inner, ok := arg.Node.(*parse.PipeNode); ok {
				n, err = c.pipe(inner, rooted)
			}
		case *parse.FieldNode:
			if rooted {
				err = c.field(arg.Pos, arg.Ident)
			}
		case *parse.VariableNode:
			if c.main && arg.Ident[0] == "$" {
				err = c.field(arg.Pos, arg.Ident[1:])
			}
		}
		if err != nil {
			return 0, err
		}
		total += n
	}
	return total, nil
}

// call checks what is known of a call before there are data.
func (c *compiler) call(name string, cmd *parse.CommandNode) error {
	if len(cmd.Args) < 2 {
		return nil
	}
	text, ok := cmd.Args[1].(*parse.StringNode)
	switch {
	case name == "callback" && ok:
		if err := checkCallback(text.Text); err != nil {
			return c.at(cmd.Pos, "%v", err)
		}
	case name == "answer" && ok && !validName(text.Text):
		return c.at(cmd.Pos, "answer %.70q: want the name of an answer file", text.Text)
	case name == "index":
		if v, ok := variable(cmd.Args); ok {
			c.vars[v] = true
		}
	}
	return nil
}

// field checks names against the data, and notes the variables.
func (c *compiler) field(pos parse.Pos, ident []string) error {
	if len(ident) == 0 {
		return nil
	}
	if start := int(pos) - len(ident[0]) - 1; start >= 0 && c.src[start:pos] == "."+ident[0] {
		pos = parse.Pos(start) // the parser gives the second name of a chain
	}
	switch ident[0] {
	case "Vars":
		if len(ident) > 2 {
			return c.at(pos, ".Vars.%s is a text and has no fields", ident[1])
		}
		if len(ident) == 2 {
			c.vars[ident[1]] = true
		}
	case "Machine":
		if len(ident) > 2 && ident[1] == "Told" {
			c.told[ident[2]] = true
			return nil
		}
		return c.member(pos, ident, reflect.TypeFor[MachineView]())
	case "Box":
		return c.member(pos, ident, reflect.TypeFor[BoxView]())
	default:
		return c.at(pos, "there is no .%s; there are .Machine, .Vars and .Box", ident[0])
	}
	return nil
}

func (c *compiler) member(pos parse.Pos, ident []string, t reflect.Type) error {
	if len(ident) < 2 {
		return nil
	}
	if _, ok := t.FieldByName(ident[1]); !ok {
		var names []string
		for i := range t.NumField() {
			names = append(names, t.Field(i).Name)
		}
		return c.at(pos, "there is no .%s.%s; there are %s", ident[0], ident[1], strings.Join(names, ", "))
	}
	if len(ident) > 2 {
		return c.at(pos, ".%s.%s has no fields", ident[0], ident[1])
	}
	return nil
}

// output makes an action print by the rules of its place, and refuses an
// escaping function where it does the opposite.
func (c *compiler) output(n *parse.ActionNode) error {
	pos := int(n.Pos)
	start := max(strings.LastIndex(c.src[:pos], "{{"), 0)
	where := placeOf(c.kind, c.src, start)
	last := n.Pipe.Cmds[len(n.Pipe.Cmds)-1]
	if fn, ok := last.Args[0].(*parse.IdentifierNode); ok {
		if err := c.fitting(n.Pos, fn.Ident, where, start); err != nil {
			return err
		}
	}
	// PIPE becomes (out place (PIPE)): the place is an argument that cannot be
	// piped after the value.
	inner := &parse.PipeNode{NodeType: parse.NodePipe, Pos: n.Pipe.Pos, Line: n.Pipe.Line, Cmds: n.Pipe.Cmds}
	n.Pipe.Cmds = []*parse.CommandNode{c.command(n.Pos, c.ident(n.Pos, fnOut), c.number(n.Pos, int(where)), inner)}
	return nil
}

// fitting refuses an escaping function at the end of an action that stands where
// it does not help.
func (c *compiler) fitting(pos parse.Pos, fn string, where place, start int) error {
	switch {
	case (fn == "shell" || fn == "json" || fn == "yaml") && insideQuotes(c.src, start) != 0 && where != inXML && where != inCDATA:
		// Quotes within quotes end them.
		return c.at(pos, "%s writes its own quotes: take away those around it", fn)
	case fn == "xml" && where == inCDATA:
		return c.at(pos, "xml does nothing in a CDATA section: use cdata, for a script shell | cdata")
	case fn == "cdata" && where == inXML:
		return c.at(pos, "cdata is for CDATA sections: use xml")
	case fn == "shell" && where == inYAML:
		return c.at(pos, `shell is not enough on a line of YAML: write {{printf "…%%s" (… | shell) | yaml}}, or put the command into a block scalar`)
	case (fn == "yaml" || fn == "json") && where == inYAMLBlock:
		return c.at(pos, "%s does nothing in a block scalar: for commands use shell", fn)
	case fn == "preseed" && where == inPreseedCommand:
		return c.at(pos, "preseed is not enough in a command: use shell")
	case (fn == "shell" || fn == "preseed") && where == inXML:
		return c.at(pos, "%s is not enough in XML: write %s | xml", fn, fn)
	case (fn == "shell" || fn == "yaml" || fn == "xml") && where == inJSON:
		return c.at(pos, "%s is not enough in JSON: end with json", fn)
	case (fn == "shell" || fn == "yaml" || fn == "xml" || fn == "json" || fn == "preseed") && (where == inScript || where == inCmdline):
		return c.at(pos, "%s does nothing here: use cmdline or uri", fn)
	}
	return nil
}
