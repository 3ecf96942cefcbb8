package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/constant"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// mutant is one small break.
type mutant struct {
	id       int
	file     string // from the root of the repository
	line     int
	function string
	what     string // what is changed into what
	own      bool   // as its target's

	noticed string   // by what; empty: it survives
	cases   []string // conformance cases that fail
}

// String places and describes the mutant.
func (m *mutant) String() string {
	return fmt.Sprintf("%s:%d %s: %s", m.file, m.line, m.function, m.what)
}

// key names the mutant independently of line numbers.
func (m *mutant) key() string { return filepath.Base(m.file) + " " + m.function + ": " + m.what }

// helper is added to every instrumented package.
const helper = `package %s

import (
	"os"
	"strconv"
)

var mutantActive = func() int { n, _ := strconv.Atoi(os.Getenv("` + variable + `")); return n }()

func mutantOn(id int) bool { return id == mutantActive }

func mutantValue[T any](id int, value, other T) T {
	if id == mutantActive {
		return other
	}
	return value
}

func mutantElse[T any](id int, value func() T, other func() T) T {
	if id == mutantActive {
		return other()
	}
	return value()
}
`

// edit inserts text before the octet at.
type edit struct {
	at    int
	text  string
	id    int  // of the mutant: outer ones come first
	close bool // it closes what another edit opened
}

// maker collects the mutants of one package.
type maker struct {
	fset    *token.FileSet
	info    *types.Info
	pkg     *types.Package
	dir     string
	source  []byte
	file    *ast.File
	name    string
	edits   []edit
	mutants []*mutant
	next    int
	stack   []ast.Node
	limit   []string
	own     bool
}

// instrument returns the files of a package with all mutants compiled in, and
// the mutants, numbered from first+1.
func instrument(root string, t target, first int) (files map[string][]byte, mutants []*mutant, err error) {
	m := &maker{fset: token.NewFileSet(), dir: t.dir, next: first, limit: t.functions, own: t.own}
	names, err := filepath.Glob(filepath.Join(root, t.dir, "*.go"))
	if err != nil {
		return nil, nil, err
	}
	var syntax []*ast.File
	parsed := map[string]*ast.File{}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(m.fset, name, nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, nil, err
		}
		syntax = append(syntax, f)
		parsed[filepath.Base(name)] = f
	}
	exports, err := exportData(root, t.dir)
	if err != nil {
		return nil, nil, err
	}
	m.info = &types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Uses: map[*ast.Ident]types.Object{}}
	conf := types.Config{Importer: importer.ForCompiler(m.fset, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })}
	if m.pkg, err = conf.Check(t.dir, m.fset, syntax, m.info); err != nil {
		return nil, nil, err
	}
	files = map[string][]byte{"zz_mutants.go": fmt.Appendf(nil, helper, m.pkg.Name())}
	for _, name := range t.files {
		f := parsed[name]
		if f == nil {
			return nil, nil, fmt.Errorf("no file %s", name)
		}
		if m.source, err = os.ReadFile(filepath.Join(root, t.dir, name)); err != nil {
			return nil, nil, err
		}
		m.file, m.name, m.edits = f, name, nil
		for _, d := range f.Decls {
			m.decl(d)
		}
		files[name] = m.apply()
	}
	return files, m.mutants, nil
}

// exportData asks the go command where the compiled imports are.
func exportData(root, dir string) (map[string]string, error) {
	c := exec.Command("go", "list", "-export", "-deps", "-f", "{{.ImportPath}} {{.Export}}", "./"+dir)
	c.Dir = root
	var problems bytes.Buffer
	c.Stderr = &problems
	out, err := c.Output()
	if err != nil {
		return nil, fmt.Errorf("list the imports: %w\n%s", err, problems.Bytes())
	}
	exports := map[string]string{}
	for line := range strings.Lines(string(out)) {
		if path, file, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			exports[path] = file
		}
	}
	return exports, nil
}

func (m *maker) decl(d ast.Decl) {
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Body != nil && (len(m.limit) == 0 || slices.Contains(m.limit, d.Name.Name)) && d.Name.Name != "String" {
			m.walk(d.Body, d.Name.Name)
		}
	case *ast.GenDecl:
		if d.Tok != token.VAR || len(m.limit) > 0 {
			return
		}
		for _, s := range d.Specs {
			for _, v := range s.(*ast.ValueSpec).Values {
				m.walk(v, s.(*ast.ValueSpec).Names[0].Name)
			}
		}
	}
}

// walk visits a tree and leaves out what must stay as it is: types, array
// lengths, labels, declarations of constants.
func (m *maker) walk(n ast.Node, function string) {
	ast.PreorderStack(n, nil, func(n ast.Node, stack []ast.Node) bool {
		m.stack = stack
		switch n := n.(type) {
		case *ast.GenDecl:
			return n.Tok == token.VAR
		case *ast.ArrayType, *ast.MapType, *ast.FuncType, *ast.StructType, *ast.Field, *ast.BranchStmt:
			return false
		case *ast.ExprStmt, *ast.IncDecStmt:
			m.drop(n.(ast.Stmt), function)
		case *ast.AssignStmt:
			if n.Tok != token.DEFINE {
				m.drop(n, function)
			}
		case ast.Expr:
			return m.expr(n, function)
		}
		return true
	})
}

// text is the source of a node.
func (m *maker) text(n ast.Node) string {
	return string(m.source[m.offset(n.Pos()):m.offset(n.End())])
}

func (m *maker) offset(p token.Pos) int { return m.fset.Position(p).Offset }

// add records a mutant that wraps n into before … after; %d in before becomes
// its number.
func (m *maker) add(n ast.Node, function, before, after, what string) {
	m.next++
	what = strings.Join(strings.Fields(what), " ")
	m.mutants = append(m.mutants, &mutant{
		id: m.next, file: m.dir + "/" + m.name, line: m.fset.Position(n.Pos()).Line, function: function, what: what, own: m.own,
	})
	m.edits = append(m.edits,
		edit{m.offset(n.Pos()), fmt.Sprintf(before, m.next), m.next, false},
		edit{m.offset(n.End()), after, m.next, true})
}

// drop leaves a statement out.
func (m *maker) drop(n ast.Stmt, function string) {
	// A statement in the head of an if or for cannot be wrapped.
	switch m.parent().(type) {
	case *ast.BlockStmt, *ast.CaseClause:
		m.add(n, function, "if !mutantOn(%d) { ", " }", "drop "+shorten(m.text(n)))
	}
}

func (m *maker) parent() ast.Node {
	if len(m.stack) == 0 {
		return nil
	}
	return m.stack[len(m.stack)-1]
}

// expr makes the mutants of one expression; false: do not go into it.
func (m *maker) expr(e ast.Expr, function string) bool {
	tv, ok := m.info.Types[e]
	if !ok || tv.IsType() || tv.IsBuiltin() {
		return !ok // a field name or a method: its receiver may still be one
	}
	switch p := m.parent().(type) {
	case *ast.KeyValueExpr:
		if p.Key == e {
			return false // a field name, an index, or a key of a table
		}
	case *ast.SelectorExpr:
		return true
	case *ast.UnaryExpr:
		if p.Op == token.AND {
			return true // the address of it is taken
		}
	}
	if tv.Value != nil {
		m.constant(e, tv, function)
		return false
	}
	if types.Identical(tv.Type, types.Typ[types.Bool]) || types.Identical(tv.Type, types.Typ[types.UntypedBool]) {
		m.boolean(e, function)
	}
	if b, ok := e.(*ast.BinaryExpr); ok {
		m.operator(b, tv.Type, function)
	}
	return true
}

// boolean forces a condition to either value.
func (m *maker) boolean(e ast.Expr, function string) {
	if _, ok := e.(*ast.ParenExpr); ok {
		return
	}
	if p, ok := m.parent().(*ast.AssignStmt); ok && slices.Contains(p.Lhs, e) {
		return
	}
	switch m.parent().(type) {
	case *ast.UnaryExpr:
		return // the negation is forced already
	case *ast.ExprStmt:
		return // nobody looks at it
	}
	for _, forced := range []string{"true", "false"} {
		m.add(e, function, "mutantValue(%d, bool(", "), "+forced+")", shorten(m.text(e))+" → "+forced)
	}
}

var swaps = map[token.Token]token.Token{
	token.LSS: token.LEQ, token.LEQ: token.LSS, token.GTR: token.GEQ, token.GEQ: token.GTR,
	token.LAND: token.LOR, token.LOR: token.LAND,
	token.ADD: token.SUB, token.SUB: token.ADD, token.MUL: token.ADD,
	token.AND: token.OR, token.OR: token.AND, token.SHL: token.SHR, token.SHR: token.SHL,
}

// operator exchanges an operator.
func (m *maker) operator(b *ast.BinaryExpr, t types.Type, function string) {
	to, ok := swaps[b.Op]
	if !ok {
		return
	}
	name, ok := m.typeName(types.Default(t))
	if basic, is := t.Underlying().(*types.Basic); !ok || to == token.SUB && is && basic.Info()&types.IsString != 0 {
		return
	}
	other := m.text(b.X) + " " + to.String() + " " + m.text(b.Y)
	m.add(b, function,
		"mutantElse(%d, func() "+name+" { return "+name+"(",
		") }, func() "+name+" { return "+name+"("+other+") })",
		shorten(m.text(b))+" → "+to.String())
}

// constant changes a number by one, a text into another, a truth into its
// opposite.
func (m *maker) constant(e ast.Expr, tv types.TypeAndValue, function string) {
	if m.isLabel(e) {
		return
	}
	name, ok := m.typeName(tv.Type)
	basic, isBasic := tv.Type.Underlying().(*types.Basic)
	if !ok || !isBasic || basic.Info()&types.IsUntyped != 0 {
		return
	}
	var other string
	switch tv.Value.Kind() {
	case constant.Bool:
		other = fmt.Sprint(!constant.BoolVal(tv.Value))
	case constant.Int:
		n, ok := constant.Int64Val(tv.Value)
		if !ok {
			return
		}
		other = fmt.Sprint(n + 1)
		if name == "time.Duration" {
			other = fmt.Sprint(2*n + 1)
		}
		if n == 255 || n == 65535 || n == 0xffffffff {
			other = fmt.Sprint(n - 1)
		}
	case constant.String:
		if m.own && strings.Contains(constant.StringVal(tv.Value), " ") {
			return
		}
		other = `"mutant"`
	default:
		return
	}
	m.add(e, function, "mutantValue(%d, "+name+"(", "), "+name+"("+other+"))", shorten(m.text(e))+" → "+other)
}

// isLabel: words for people, in errors and in the architecture table, and
// capacities, which change nothing but the speed.
func (m *maker) isLabel(e ast.Expr) bool {
	if call, ok := m.parent().(*ast.CallExpr); ok {
		switch m.text(call.Fun) {
		case "fmt.Errorf", "errors.New":
			return true
		case "make":
			return len(call.Args) == 3 && call.Args[2] == e
		}
	}
	lit, ok := m.parent().(*ast.CompositeLit)
	if !ok {
		return false
	}
	st, ok := m.info.Types[lit].Type.Underlying().(*types.Struct)
	if !ok {
		return false
	}
	i := slices.Index(lit.Elts, e)
	return i >= 0 && i < st.NumFields() && (st.Field(i).Name() == "Title" || st.Field(i).Name() == "Name")
}

// typeName writes a type as this file can; ok is false when it cannot.
func (m *maker) typeName(t types.Type) (name string, ok bool) {
	ok = true
	name = types.TypeString(t, func(p *types.Package) string {
		if p == m.pkg {
			return ""
		}
		for _, s := range m.file.Imports {
			if strings.Trim(s.Path.Value, `"`) == p.Path() && s.Name == nil {
				return p.Name()
			}
		}
		ok = false
		return p.Name()
	})
	return name, ok
}

// apply inserts the edits into the source.
func (m *maker) apply() []byte {
	slices.SortStableFunc(m.edits, func(a, b edit) int {
		switch {
		case a.at != b.at:
			return a.at - b.at
		case a.close != b.close:
			if a.close {
				return -1
			}
			return 1
		case a.close:
			return b.id - a.id
		}
		return a.id - b.id
	})
	var out bytes.Buffer
	at := 0
	for _, e := range m.edits {
		out.Write(m.source[at:e.at])
		out.WriteString(e.text)
		at = e.at
	}
	out.Write(m.source[at:])
	return out.Bytes()
}

func shorten(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > 60 {
		return string(r[:60]) + "…"
	}
	return s
}
