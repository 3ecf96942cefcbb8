// Package health is the tree that says which parts of the box work. The same
// tree feeds the status page, GET /health.json and a metric. When a part
// fails, the parts that need it say so instead of raising a second mystery.
//
// It must never do I/O of its own: checks read what their owners already know.
package health

import (
	"github.com/bootpuck/bootpuck/appliance/boot"
)

// Status is how well a part works.
type Status string

// Statuses, from best to worst.
const (
	OK       Status = "ok"
	Degraded Status = "degraded" // works, but a person should know
	Failed   Status = "failed"
	Blocked  Status = "blocked" // a part that this one needs has failed
)

// severity orders statuses; blocked counts as failed.
var severity = map[Status]int{OK: 0, Degraded: 1, Failed: 2, Blocked: 2}

// Result is one check's finding. Reason is empty when Status is OK.
type Result struct {
	Status Status
	Reason boot.Reason
	Detail string
}

// Node is one part of the box. Children need it: they are not asked while it
// has failed.
type Node struct {
	Name     string        // short and stable: metric label and API field
	Title    string        // for people
	Check    func() Result // must be fast and not block
	Children []*Node
}

// Report is a node's evaluated state.
type Report struct {
	Name     string      `json:"name"`
	Title    string      `json:"title"`
	Status   Status      `json:"status"`
	Reason   boot.Reason `json:"reason,omitempty"`
	Text     string      `json:"text,omitempty"`   // the reason's sentence
	Detail   string      `json:"detail,omitempty"` // what exactly
	Children []Report    `json:"children,omitempty"`
}

// Evaluate asks n and everything below it.
func (n *Node) Evaluate() Report { return n.evaluate("") }

func (n *Node) evaluate(blockedBy string) Report {
	r := Report{Name: n.Name, Title: n.Title}
	if blockedBy != "" {
		r.Status, r.Detail = Blocked, "waits for: "+blockedBy
	} else {
		res := n.Check()
		r.Status, r.Reason, r.Detail = res.Status, res.Reason, res.Detail
		if res.Reason != boot.ReasonNone {
			r.Text = res.Reason.Text()
		}
		if res.Status == Failed {
			blockedBy = n.Title
		}
	}
	for _, c := range n.Children {
		r.Children = append(r.Children, c.evaluate(blockedBy))
	}
	return r
}

// Worst is the worst status in the report.
func (r Report) Worst() Status {
	worst := r.Status
	for _, c := range r.Children {
		if w := c.Worst(); severity[w] > severity[worst] {
			worst = w
		}
	}
	return worst
}

// Walk visits the report's nodes, parents first.
func (r Report) Walk(visit func(Report)) {
	visit(r)
	for _, c := range r.Children {
		c.Walk(visit)
	}
}
