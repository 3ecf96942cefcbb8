package doctor

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

var update = flag.Bool("update", false, "write docs/verdicts.md")

const docs = "../docs/verdicts.md"

const docsHead = `# Verdicts

Every boot is kept as an attempt: what the machine asked, what this box and other
servers answered, what was fetched, what was heard afterwards. When it ends, and
while it runs, the doctor looks at it and at the LAN and says in a sentence why it
stopped, with the evidence and what to do.

What the box can see from its place: its own packets; what others broadcast on the
LAN (a machine's requests, and the answers of DHCP servers that are broadcast; those
that are sent to one machine alone do not come by); requests to its own ports. It
sees nothing of a machine's screen, and nothing of what a machine fetches elsewhere.

So a verdict says how sure it is:

- certain: it was seen.
- likely: nothing else that is known explains what was seen.
- possible: one of several explanations; the others stand beside it.

The first verdict explains most. A cause that is certain takes the place of the
symptoms that it explains; one that is likely leaves them as possibilities. A boot
that works gets one verdict, ` + "`booted` or `left_local`" + `, and a second one only when
TFTP truly was slow. While a boot runs, nothing is said that is merely possible, and
what could be a lost packet is given time: firmware repeats after 4, 8 and 16 s.

This page is made from the rules themselves.

`

// page writes the documentation of the rules.
func page() string {
	var b strings.Builder
	b.WriteString(docsHead)
	table := func(title string, lan bool) {
		b.WriteString("## " + title + "\n\n| verdict | what it means | how it is told | what to do |\n|---|---|---|---|\n")
		for _, r := range Rules() {
			if r.LAN == lan {
				b.WriteString("| `" + string(r.Name) + "` | " + r.Title + ". " + r.means() + " | " + r.Looks + " | " + r.Fix + " |\n")
			}
		}
	}
	table("Verdicts on a boot", false)
	b.WriteString("\n")
	table("Findings on the LAN", true)
	return b.String()
}

// TestDocs: the page is what the rules say.
func TestDocs(t *testing.T) {
	want := page()
	if *update {
		if err := os.WriteFile(docs, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(docs)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error("docs/verdicts.md is not what the rules say: go test ./appliance/doctor -run TestDocs -update")
	}
	for _, n := range append(boot.VerdictNames(), boot.FindingNames()...) {
		if !strings.Contains(string(got), "| `"+string(n)+"` |") {
			t.Errorf("the page lacks %s", n)
		}
	}
	for _, row := range strings.Split(string(got), "\n") {
		if strings.HasPrefix(row, "|") && strings.Count(row, "|") != 5 {
			t.Errorf("a row with %d bars: %s", strings.Count(row, "|"), row)
		}
	}
}
