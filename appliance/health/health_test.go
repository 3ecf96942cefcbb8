package health

import (
	"testing"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

func fixed(r Result) func() Result { return func() Result { return r } }

func TestFailureBlocksWhatNeedsIt(t *testing.T) {
	asked := false
	tree := &Node{Name: "box", Title: "Box", Check: fixed(Result{Status: OK}), Children: []*Node{
		{Name: "network", Title: "Network", Check: fixed(Result{Status: Failed, Reason: boot.ReasonLinkDown}), Children: []*Node{
			{Name: "dhcp", Title: "DHCP", Check: func() Result { asked = true; return Result{Status: OK} }},
		}},
		{Name: "state", Title: "State", Check: fixed(Result{Status: Degraded, Reason: boot.ReasonStateVolatile, Detail: "read-only"})},
	}}
	r := tree.Evaluate()
	if asked {
		t.Error("a part was asked although what it needs has failed")
	}
	want := map[string]Status{"box": OK, "network": Failed, "dhcp": Blocked, "state": Degraded}
	r.Walk(func(n Report) {
		if n.Status != want[n.Name] {
			t.Errorf("%s is %s, want %s", n.Name, n.Status, want[n.Name])
		}
		delete(want, n.Name)
	})
	if len(want) != 0 {
		t.Errorf("not visited: %v", want)
	}
	if w := r.Worst(); severity[w] != severity[Failed] {
		t.Errorf("worst is %s", w)
	}
	if got := r.Children[0].Text; got != boot.ReasonLinkDown.Text() {
		t.Errorf("text %q", got)
	}
	if got := r.Children[0].Children[0].Detail; got != "waits for: Network" {
		t.Errorf("detail %q", got)
	}
}

func TestWorstPrefersTheWorst(t *testing.T) {
	r := Report{Status: OK, Children: []Report{{Status: Degraded}, {Status: OK}}}
	if r.Worst() != Degraded {
		t.Errorf("worst is %s", r.Worst())
	}
}
