package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
	"github.com/bootpuck/bootpuck/appliance/exchange"
)

// TestMatch: a change that names a revision happens only to that one.
func TestMatch(t *testing.T) {
	f := newFixture(t)
	f.catalog()
	id := f.id(machine(1), "web1")
	for _, kind := range []string{kindGroups, kindMachines} {
		name, body := "lab", func(n int) string { return fmt.Sprintf(`{"notes":"%d"}`, n) }
		if kind == kindMachines {
			name, body = string(id), func(n int) string { return fmt.Sprintf(`{"name":"web1","notes":"%d"}`, n) }
		} else {
			f.put(kind, name, body(0))
		}
		d, _ := f.Get(kind, name)
		rev := strconv.FormatUint(d.Rev, 10)
		for i, row := range []struct {
			match string
			want  error
		}{
			{MatchNew, ErrExists},
			{"999999", ErrRevision},
			{"nonsense", ErrRevision},
			{rev, nil},
			{rev, ErrRevision}, // it has another by now
			{MatchExist, nil},
			{MatchAny, nil},
		} {
			_, created, err := f.Put(kind, name, []byte(body(i+1)), row.match)
			if !errors.Is(err, row.want) || created {
				t.Errorf("%s, match %q: %v, created %v; want %v", kind, row.match, err, created, row.want)
			}
		}
		d, _ = f.Get(kind, name)
		if err := f.Delete(kind, name, rev); !errors.Is(err, ErrRevision) {
			t.Errorf("%s: delete of an old revision: %v", kind, err)
		}
		if err := f.Delete(kind, name, `"`+strconv.FormatUint(d.Rev, 10)+`"`); err != nil {
			t.Errorf("%s: delete: %v", kind, err)
		}
		if err := f.Delete(kind, name, MatchAny); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: delete again: %v", kind, err)
		}
		if _, _, err := f.Put(kind, name, []byte(body(1)), MatchExist); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: put with must-exist: %v", kind, err)
		}
		if _, _, err := f.Put(kind, name, []byte(body(1)), rev); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: put with a revision of something that is gone: %v", kind, err)
		}
	}
	if _, created, err := f.Put(kindGroups, "new", []byte(`{}`), MatchNew); err != nil || !created {
		t.Errorf("new: %v, created %v", err, created)
	}
}

// TestPutTwice: the same document again writes nothing.
func TestPutTwice(t *testing.T) {
	f := newFixture(t)
	f.catalog()
	id := f.id(machine(1), "web1")
	for kind, name := range map[string]string{kindTargets: "rescue", kindMachines: string(id), kindProfiles: "install", kindTemplates: "preseed"} {
		d, _ := f.Get(kind, name)
		body, err := json.Marshal(d.Value)
		if err != nil {
			t.Fatal(err)
		}
		before := f.db.writes
		again, created, err := f.Put(kind, name, body, MatchAny)
		if err != nil || created || again.Rev != d.Rev || f.db.writes != before {
			t.Errorf("%s: %v, created %v, revision %d after %d, %d writes", kind, err, created, again.Rev, d.Rev, f.db.writes-before)
		}
	}
	a := f.assign(id, "rescue", boot.AssignAlways)
	before := f.db.writes
	if b := f.assign(id, "rescue", boot.AssignAlways); !b.Created.Equal(a.Created) || f.db.writes != before {
		t.Error("the same assignment again was written")
	}
}

// TestPutRefuses: what is wrong is said by field, and nothing is changed.
func TestPutRefuses(t *testing.T) {
	f := newFixture(t)
	f.catalog()
	id := f.id(machine(1), "web1")
	other := f.id(machine(2), "web2")
	f.put(kindMachines, string(other), `{"name":"web2","macs":[{"mac":"52:54:00:00:00:02","given":true}]}`)
	f.put(kindGroups, "lab", `{"profile":"rescue"}`)
	for _, row := range []struct{ kind, name, body, field, what string }{
		{kindTargets, "x", `{"kind":"linux","kernel":"files/k","cmdline":"a {{.Nonsense"}`, "cmdline", "1:"},
		{kindTargets, "x", `{"kind":"script","script":"#!ipxe\n{{if}}\n"}`, "script", "2:"},
		{kindTargets, "x", `{"kind":"san","san":{"protocol":"iscsi","host":"192.0.2.9","iqn":"iqn.2026-01.example:{{.Machine.Nope}}"}}`, "san.iqn", "1:"},
		{kindTargets, "x", `{"kind":"linux","kernal":"files/k"}`, "kernal", "unknown"},
		{kindTargets, "x", `{"kind":"linux","kernel":7}`, "kernel", "want string"},
		{kindTargets, "x", `{"kind":"linux"`, "(root)", "EOF"},
		{kindTargets, "x", `{"kind":"local"} {}`, "(root)", "after"},
		{kindTargets, "x", `{"kind":"local","name":"y"}`, "name", "differs"},
		{kindTargets, "X/..", `{"kind":"local"}`, "name", ""},
		{kindTargets, "rescue", `{"kind":"linux","kernel":"files/k","destructive":true}`, "(root)", "groups/lab"},
		{kindTemplates, "x", `{"kind":"preseed","text":"a\nb {{end}}\n"}`, "text", "2:"},
		{kindTemplates, "preseed", `{"kind":"preseed","text":"{{.Machine.Nope}}"}`, "text", "1:"},
		{kindProfiles, "x", `{"target":"nowhere"}`, "target", "no target"},
		{kindProfiles, "x", `{"target":"rescue","answers":{"a":"none"}}`, "answers.a", "no template"},
		{kindProfiles, "x", `{"target":"rescue","visible":{"mac":["zz"]}}`, "visible.mac[0]", ""},
		{kindGroups, "x", `{"profile":"install"}`, "profile", "armed"},
		{kindRules, "x", `{"profile":"none","match":{}}`, "profile", "no profile"},
		{kindSite, kindSite, `{"unknown":"maybe"}`, "unknown", "allow, ask or ignore"},
		{kindSite, kindSite, `{"unknown":"allow","default":"install"}`, "default", "armed"},
		{kindMachines, string(id), `{"name":"web 1 "}`, "name", "no name"},
		{kindMachines, string(id), `{"id":"else"}`, "id", "differs"},
		{kindMachines, string(id), `{"groups":["none"]}`, "groups[0]", "no group"},
		{kindMachines, string(id), `{"macs":[{"mac":"52:54:00:00:00:02"}]}`, "macs[0].mac", string(other)},
		{kindMachines, string(id), `{"macs":[{"mac":"01:54:00:00:00:02"}]}`, "macs[0].mac", "group address"},
		{kindMachines, string(id), `{"uuid":"` + machine(2).guid.String() + `","serial":""}`, "uuid", string(other)},
		{kindMachines, string(id), `{"uuid":"` + machine(2).guid.Swapped().String() + `","serial":""}`, "uuid", string(other)},
		{kindMachines, string(id), `{"assignment":{"profile":"rescue","mode":"always"}}`, "assignment", "/assignment"},
		{kindMachines, "m-new", `{"name":"new"}`, "macs", "write a hardware address"},
	} {
		before := f.db.writes
		old, had := f.Get(row.kind, row.name)
		_, _, err := f.Put(row.kind, row.name, []byte(row.body), MatchAny)
		var errs boot.FieldErrors
		if !errors.As(err, &errs) || !slices.ContainsFunc(errs, func(e boot.FieldError) bool { return e.Field == row.field && strings.Contains(e.What, row.what) }) {
			t.Errorf("%s/%s %s: %v", row.kind, row.name, row.body, err)
		}
		now, has := f.Get(row.kind, row.name)
		if had != has || !same(old.Value, now.Value) || f.db.writes != before {
			t.Errorf("%s/%s %s: something was changed", row.kind, row.name, row.body)
		}
	}
	if _, _, err := f.Put("nonsense", "x", []byte(`{}`), MatchAny); !errors.Is(err, ErrNotFound) {
		t.Errorf("%v", err)
	}
}

// TestDeleteInUse: nothing is taken away that something else stands on.
func TestDeleteInUse(t *testing.T) {
	f := newFixture(t)
	f.catalog()
	f.put(kindGroups, "lab", `{"profile":"rescue"}`)
	f.put(kindRules, "all", `{"profile":"rescue","match":{}}`)
	f.put(kindSite, kindSite, `{"unknown":"allow","default":"disk"}`)
	c := machine(1)
	id := f.id(c, "web1")
	f.put(kindMachines, string(id), `{"name":"web1","groups":["lab"]}`)
	f.assign(id, "install", boot.AssignArmed)
	for _, row := range []struct {
		kind, name string
		by         []string
	}{
		{kindTargets, "rescue", []string{"profiles/rescue"}},
		{kindTemplates, "preseed", []string{"profiles/install"}},
		{kindProfiles, "rescue", []string{"groups/lab", "rules/all"}},
		{kindProfiles, "disk", []string{"site"}},
		{kindProfiles, "install", []string{"machines/" + string(id)}},
		{kindGroups, "lab", []string{"machines/" + string(id)}},
	} {
		err := f.Delete(row.kind, row.name, MatchAny)
		var used ErrInUse
		if !errors.As(err, &used) || !slices.Equal(used.By, row.by) {
			t.Errorf("%s/%s: %v, want by %v", row.kind, row.name, err, row.by)
		}
		if _, ok := f.Get(row.kind, row.name); !ok {
			t.Errorf("%s/%s is gone", row.kind, row.name)
		}
	}
	p := f.start(c)
	f.Callback(p.CallbackToken, boot.CallbackDone, "", c.later())
	if err := f.Delete(kindProfiles, "install", MatchAny); err != nil {
		t.Errorf("an assignment that is over still holds the profile: %v", err)
	}
	f.want(f.Decide(c.ask()), boot.ActionLocal, boot.ReasonNone)
	if err := f.Delete(kindSite, kindSite, MatchAny); err != nil {
		t.Fatal(err)
	}
	if d, _ := f.Get(kindSite, kindSite); !same(d.Value, defaultSite()) {
		t.Errorf("%+v", d)
	}
	if d, _ := f.again().Get(kindSite, kindSite); !same(d.Value, defaultSite()) {
		t.Errorf("after a restart %+v", d)
	}
}

// TestList pages through documents.
func TestList(t *testing.T) {
	f := newFixture(t)
	for i := range 7 {
		f.put(kindGroups, fmt.Sprintf("g%d", i), `{}`)
	}
	var got []string
	after := ""
	for range 10 {
		docs, next := f.List(kindGroups, Query{After: after, Limit: 3})
		for _, d := range docs {
			got = append(got, d.Name)
		}
		if after = next; next == "" {
			break
		}
	}
	if want := []string{"g0", "g1", "g2", "g3", "g4", "g5", "g6"}; !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
	if docs, next := f.List(kindGroups, Query{Limit: 7}); len(docs) != 7 || next != "" {
		t.Errorf("%d, next %q", len(docs), next)
	}
	if docs, next := f.List(kindGroups, Query{After: "g3x"}); len(docs) != 3 || next != "" {
		t.Errorf("%d, next %q", len(docs), next)
	}
	if docs, _ := f.List("nonsense", Query{}); len(docs) != 0 {
		t.Errorf("%v", docs)
	}
}

// TestPutMachine: what the document leaves out of identity stays, what is
// observed stays, addresses that are written down are given.
func TestPutMachine(t *testing.T) {
	f := newFixture(t)
	f.catalog()
	f.put(kindGroups, "lab", `{}`)
	c := machine(1)
	id := f.id(c, "")
	f.put(kindMachines, string(id), `{"name":"web1","tags":["a"],"groups":["lab"],"variables":{"x":"y"},"notes":"n"}`)
	m := f.machine(id)
	if m.Name != "web1" || m.GUID != c.guid || m.Serial != c.serial || len(m.MACs) != 1 || m.MACs[0].Given || m.Seen.Product != "Puck" || m.Boots != 1 {
		t.Errorf("%+v", m)
	}
	f.put(kindMachines, string(id), `{"name":"web1","macs":[{"mac":"`+string(c.mac)+`"},{"mac":"52-54-00-AA-BB-CC"}]}`)
	m = f.machine(id)
	if len(m.MACs) != 2 || m.MACs[0].Given || !m.MACs[1].Given || m.MACs[1].MAC != "52:54:00:aa:bb:cc" || m.MACs[0].First.IsZero() || m.Groups != nil {
		t.Errorf("%+v", m)
	}
	f.put(kindMachines, string(id), `{"name":"web1","macs":[],"serial":""}`)
	if m = f.machine(id); len(m.MACs) != 0 || m.Serial != "" || m.GUID != c.guid {
		t.Errorf("%+v", m)
	}
	d, created, err := f.Put(kindMachines, "", []byte(`{"name":"early","macs":[{"mac":"52:54:00:00:00:09"}]}`), MatchAny)
	if err != nil || !created || d.Name == "" {
		t.Fatalf("%v %+v", err, d)
	}
	if d.Value.(boot.Machine).Seen.MAC != "" {
		t.Error("seen before it came")
	}
	p := f.Decide(machine(9).ask())
	if string(p.Choice.Machine) != d.Name {
		t.Errorf("the machine that was written down is %s, not %s", p.Choice.Machine, d.Name)
	}
	if m := f.machine(p.Choice.Machine); m.GUID != machine(9).guid || m.Name != "early" || !m.MACs[0].Given {
		t.Errorf("it did not get its identifier: %+v", m)
	}
}

// TestPutMachineTakesStrangerOver: a machine that made its record by itself is
// the one that the operator describes by its address.
func TestPutMachineTakesStrangerOver(t *testing.T) {
	f := newFixture(t)
	f.catalog()
	c := machine(1)
	id := f.id(c, "")
	offer := f.Decide(c.ask())
	if err := f.Flush(); err != nil {
		t.Fatal(err)
	}
	d, created, err := f.Put(kindMachines, "web1", []byte(`{"name":"web1","macs":[{"mac":"`+string(c.mac)+`"}]}`), MatchNew)
	if err != nil || !created {
		t.Fatal(err)
	}
	m := d.Value.(boot.Machine)
	if m.GUID != c.guid || m.Serial != c.serial || m.Seen.Product != "Puck" || len(m.MACs) != 1 || !m.MACs[0].Given || m.Boots != 2 {
		t.Errorf("%+v", m)
	}
	if _, ok := f.Get(kindMachines, string(id)); ok {
		t.Error("two records")
	}
	if _, ok := f.db.docs["machines/"+string(id)]; ok {
		t.Error("two records in the store")
	}
	if _, reason := f.Pick(offer.Token, 0, "", c.later()); reason != boot.ReasonNone {
		t.Errorf("the menu on its screen: %s", reason)
	}
}

// TestAssignRefuses: what cannot be assigned.
func TestAssignRefuses(t *testing.T) {
	f := newFixture(t)
	f.catalog()
	id := f.id(machine(1), "web1")
	for field, a := range map[string]boot.Assignment{
		"profile": {Profile: "none", Mode: boot.AssignAlways},
		"mode":    {Profile: "install", Mode: boot.AssignAlways},
		"expires": {Profile: "install", Mode: boot.AssignArmed, Expires: f.clock.Now().Add(-time.Hour)},
		"boots":   {Profile: "install", Mode: boot.AssignArmed, Boots: 1000},
	} {
		_, err := f.Assign(id, a, MatchAny)
		var errs boot.FieldErrors
		if !errors.As(err, &errs) || errs[0].Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
	if _, err := f.Assign("nobody", boot.Assignment{Profile: "rescue", Mode: boot.AssignAlways}, MatchAny); !errors.Is(err, ErrNotFound) {
		t.Errorf("%v", err)
	}
	if _, err := f.Assign(id, boot.Assignment{Profile: "rescue", Mode: boot.AssignAlways}, "999"); !errors.Is(err, ErrRevision) {
		t.Errorf("%v", err)
	}
	if f.machine(id).Assignment != nil {
		t.Error("assigned")
	}
}

// TestUnassign: an armed machine is disarmed first.
func TestUnassign(t *testing.T) {
	f := newFixture(t)
	f.catalog()
	c := machine(1)
	id := f.id(c, "web1")
	f.assign(id, "install", boot.AssignArmed)
	if err := f.Unassign(id, MatchAny); err != nil {
		t.Fatal(err)
	}
	f.want(f.Decide(c.ask()), boot.ActionLocal, boot.ReasonDisarmed)
	if err := f.Unassign(id, MatchAny); err != nil {
		t.Fatal(err)
	}
	if f.machine(id).Assignment != nil {
		t.Error("still assigned")
	}
	rev := f.machine(id).Rev
	if err := f.Unassign(id, MatchAny); err != nil || f.machine(id).Rev != rev {
		t.Errorf("once more: %v", err)
	}
	f.assign(id, "rescue", boot.AssignAlways)
	if err := f.Unassign(id, MatchAny); err != nil || f.machine(id).Assignment != nil {
		t.Errorf("always: %v", err)
	}
	if err := f.Unassign("nobody", MatchAny); !errors.Is(err, ErrNotFound) {
		t.Errorf("%v", err)
	}
}

// TestNewCard: a known machine that comes with another network card gets
// nothing that is meant for it alone, until the operator says so.
func TestNewCard(t *testing.T) {
	card := boot.MAC("52:54:00:cc:cc:cc")
	change := map[string]func(f *fixture, id boot.MachineID){
		"written down": func(f *fixture, id boot.MachineID) {
			f.put(kindMachines, string(id), `{"name":"web1","macs":[{"mac":"`+string(card)+`"}]}`)
		},
		"assigned again": func(f *fixture, id boot.MachineID) { f.assign(id, "install", boot.AssignArmed) },
	}
	for name, say := range change {
		f := newFixture(t)
		f.catalog()
		c := machine(1)
		id := f.id(c, "web1")
		f.assign(id, "install", boot.AssignArmed)
		c.mac = card
		for range 3 {
			f.Sight(boot.Sighting{MAC: c.mac, GUID: c.guid})
			f.want(f.Decide(c.ask()), boot.ActionMenu, boot.ReasonIdentityNewNIC)
		}
		if m := f.machine(id); len(m.MACs) != 1 {
			t.Errorf("%s: the card is the machine's by its own word: %+v", name, m.MACs)
		}
		say(f, id)
		f.start(c)
	}
	// A card that nobody was refused for is not taken over silently.
	f := newFixture(t)
	f.catalog()
	c := machine(1)
	id := f.id(c, "web1")
	f.Sight(boot.Sighting{MAC: card, GUID: c.guid})
	f.assign(id, "rescue", boot.AssignAlways)
	c.mac = card
	f.want(f.Decide(c.ask()), boot.ActionBoot, boot.ReasonNone)
	f.assign(id, "install", boot.AssignArmed)
	f.want(f.Decide(c.ask()), boot.ActionMenu, boot.ReasonIdentityNewNIC)
}

// TestAdoptsIdentifier: a machine that was written down by its address gets its
// identifier when the box sees that it is the one, not by a claim.
func TestAdoptsIdentifier(t *testing.T) {
	f := newFixture(t)
	f.catalog()
	c, liar := machine(1), machine(2)
	d := f.put(kindMachines, "web1", `{"name":"web1","macs":[{"mac":"`+string(c.mac)+`"}]}`)
	id := boot.MachineID(d.Name)
	f.Sight(boot.Sighting{MAC: c.mac, GUID: liar.guid})
	against := c.ask()
	against.Sighting.GUID, against.Proof = liar.guid, boot.ProofAgainst
	f.Decide(against)
	if m := f.machine(id); !m.GUID.IsZero() {
		t.Errorf("it took %s for its own", m.GUID)
	}
	f.Decide(c.ask())
	if m := f.machine(id); m.GUID != c.guid || m.Serial != c.serial {
		t.Errorf("%+v", m)
	}
}

// TestSharedDock: an adapter that came with two machines identifies neither.
func TestSharedDock(t *testing.T) {
	f := newFixture(t)
	f.catalog()
	a, b := machine(1), machine(2)
	b.mac = a.mac
	first, second := f.id(a, ""), f.id(b, "")
	if first == second {
		t.Fatal("two machines with one dock are one")
	}
	for _, id := range []boot.MachineID{first, second} {
		if m := f.machine(id); len(m.MACs) != 1 || !m.MACs[0].Shared {
			t.Errorf("%+v", m.MACs)
		}
	}
	bare := a.ask()
	bare.Sighting.GUID, bare.Sighting.Serial = boot.GUID{}, ""
	if p := f.Decide(bare); p.Choice.Machine == first || p.Choice.Machine == second {
		t.Errorf("by the dock alone it is %s", p.Choice.Machine)
	}
}

// TestDoubtChangesNothing: a sighting that contradicts itself is not stored as
// anybody's identity.
func TestDoubtChangesNothing(t *testing.T) {
	f := newFixture(t)
	f.catalog()
	a, b := machine(1), machine(2)
	first, second := f.id(a, "web1"), f.id(b, "web2")
	f.put(kindMachines, string(second), `{"name":"web2","macs":[{"mac":"`+string(b.mac)+`","given":true}]}`)
	was, was2 := f.machine(first), f.machine(second)
	mixed := Ask{Sighting: boot.Sighting{MAC: b.mac, GUID: a.guid, Serial: b.serial, Manufacturer: "ACME", Memory: 1}, Proof: boot.ProofSeen, From: b.addr, Base: base}
	for range 3 {
		p := f.Decide(mixed)
		if c := p.Choice.Confidence; c != boot.ConfidenceDoubt {
			t.Errorf("confidence %s", c)
		}
		f.Sight(mixed.Sighting)
	}
	if !same(was, f.machine(first)) || !same(was2, f.machine(second)) {
		t.Errorf("%+v\n%+v", f.machine(first), f.machine(second))
	}
}

// TestMergeSplit: two records become one, and two again.
func TestMergeSplit(t *testing.T) {
	f := newFixture(t)
	f.catalog()
	f.put(kindGroups, "lab", `{}`)
	a, b := machine(1), machine(2)
	b.guid, b.serial = boot.GUID{}, "" // its second network card, by a ROM that tells nothing
	into, from := f.id(a, "web1"), f.id(b, "")
	f.put(kindMachines, string(from), `{"notes":"second card","tags":["t"],"groups":["lab"],"variables":{"secret":"no","more":"yes"}}`)
	f.assign(from, "install", boot.AssignArmed)
	if err := f.Merge(into, from); err != nil {
		t.Fatal(err)
	}
	m := f.machine(into)
	if m.Name != "web1" || m.Notes != "second card" || len(m.MACs) != 2 || m.GUID != a.guid || m.Variables["secret"] != "of web1" || m.Variables["more"] != "yes" ||
		!slices.Equal(m.Groups, []string{"lab"}) || m.Assignment == nil || m.Boots != 2 {
		t.Errorf("%+v", m)
	}
	if _, ok := f.Get(kindMachines, string(from)); ok {
		t.Error("still there")
	}
	if _, ok := f.db.docs["machines/"+string(from)]; ok {
		t.Error("still in the store")
	}
	if !same(f.db.machine(t, into).MACs, m.MACs) {
		t.Error("the store says otherwise")
	}
	made, err := f.Split(into, []boot.MAC{b.mac}, false)
	if err != nil {
		t.Fatal(err)
	}
	m, n := f.machine(into), f.machine(made)
	if len(m.MACs) != 1 || m.MACs[0].MAC != a.mac || len(n.MACs) != 1 || n.MACs[0].MAC != b.mac || n.Name != "" || !n.GUID.IsZero() ||
		m.Assignment.State != boot.AssignDisarmed || n.Assignment.State != boot.AssignDisarmed {
		t.Errorf("%+v\n%+v", m, n)
	}
	if p := f.Decide(b.ask()); p.Choice.Machine != made {
		t.Errorf("the second card is %s, not %s", p.Choice.Machine, made)
	}
	f.db.machine(t, made)
	for what, err := range map[string]error{
		"itself":   f.Merge(into, into),
		"all":      second(f.Split(into, []boot.MAC{a.mac}, true)),
		"nothing":  second(f.Split(into, nil, false)),
		"others":   second(f.Split(into, []boot.MAC{b.mac}, false)),
		"no uuid":  second(f.Split(made, nil, true)),
		"nobody":   f.Merge(into, "nobody"),
		"nobody 2": second(f.Split("nobody", nil, true)),
	} {
		var errs boot.FieldErrors
		if !errors.As(err, &errs) && !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v", what, err)
		}
	}
	f.assign(into, "install", boot.AssignArmed)
	f.assign(made, "rescue", boot.AssignAlways)
	var errs boot.FieldErrors
	if err := f.Merge(into, made); !errors.As(err, &errs) {
		t.Errorf("two assignments: %v", err)
	}
	made, err = f.Split(into, nil, true)
	if err != nil || f.machine(made).GUID != a.guid || !f.machine(into).GUID.IsZero() {
		t.Errorf("%v %+v", err, f.machine(made))
	}
}

func second[A, B any](_ A, b B) B { return b }

// TestMergeMovesTokens: what the machine holds stays good.
func TestMergeMovesTokens(t *testing.T) {
	f := newFixture(t)
	f.catalog()
	a, b := machine(1), machine(2)
	from, into := f.id(a, "old"), f.id(b, "new")
	f.assign(from, "install", boot.AssignArmed)
	p := f.start(a)
	if err := f.Merge(into, from); err != nil {
		t.Fatal(err)
	}
	if reason := f.Callback(p.CallbackToken, boot.CallbackDone, "", a.later()); reason != boot.ReasonNone {
		t.Error(reason)
	}
	if s := f.machine(into).Assignment.State; s != boot.AssignDone {
		t.Errorf("state %s", s)
	}
}

// TestExportImport: a file makes the same state again; what is wrong in it
// changes nothing.
func TestExportImport(t *testing.T) {
	f := newFixture(t)
	f.catalog()
	f.put(kindGroups, "lab", `{"profile":"rescue","variables":{"a":"b"}}`)
	f.put(kindRules, "r", `{"order":3,"profile":"disk","match":{"product":["Puck*"]}}`)
	f.put(kindSite, kindSite, `{"unknown":"ask","title":"Lab","deny":["52:54:ff"]}`)
	c := machine(1)
	id := f.id(c, "web1")
	f.put(kindMachines, string(id), `{"name":"web1","groups":["lab"],"macs":[{"mac":"`+string(c.mac)+`","given":true},{"mac":"52:54:00:aa:00:01"}]}`)
	f.assign(id, "rescue", boot.AssignAlways)
	armed := f.id(machine(2), "web2")
	f.assign(armed, "install", boot.AssignArmed)
	f.id(machine(3), "") // a stranger is not in the file

	file := f.Export()
	if len(file.Machines) != 2 {
		t.Fatalf("%d machines", len(file.Machines))
	}
	t.Run("no difference", func(t *testing.T) {
		before := f.db.writes
		d, err := f.Import(file, false)
		if err != nil || len(d) != 0 || f.db.writes != before {
			t.Errorf("%v %v, %d writes", err, d, f.db.writes-before)
		}
	})
	t.Run("to an empty box", func(t *testing.T) {
		g := newFixture(t)
		g.id(machine(1), "") // it has met the machine already
		dry, err := g.Import(file, true)
		if err != nil || len(dry) == 0 || len(g.Export().Targets) != 0 {
			t.Fatalf("%v %v", err, dry)
		}
		before := g.db.writes
		d, err := g.Import(file, false)
		if err != nil || !reflect.DeepEqual(d, dry) {
			t.Fatalf("%v %v", err, d)
		}
		if got := g.db.writes - before; got != 1 {
			t.Errorf("%d transactions", got)
		}
		if again := g.Export(); !same(again, file) {
			t.Errorf("differences: %v", exchange.Diff(file, again))
		}
		if m := g.machine(id); m.Boots != 1 || m.Seen.Product != "Puck" {
			t.Errorf("what was seen is lost: %+v", m)
		}
		if docs, _ := g.List(kindMachines, Query{}); len(docs) != 2 {
			t.Errorf("%d machines", len(docs))
		}
		if g.machine(armed).Assignment != nil {
			t.Error("a file armed a machine")
		}
		h := g.again()
		if again := h.Export(); !same(again, file) {
			t.Errorf("after a restart: %v", exchange.Diff(file, again))
		}
		p := h.Decide(c.ask())
		h.want(p, boot.ActionBoot, boot.ReasonNone)
	})
	t.Run("armed stays", func(t *testing.T) {
		changed := file
		changed.Site.Title = "Other"
		if _, err := f.Import(changed, false); err != nil {
			t.Fatal(err)
		}
		f.start(machine(2))
		changed.Site.Title = "Third"
		if _, err := f.Import(changed, false); err != nil {
			t.Fatal(err)
		}
		if a := f.machine(armed).Assignment; a == nil || a.State != boot.AssignRunning {
			t.Errorf("%+v", a)
		}
	})
	t.Run("revisions", func(t *testing.T) {
		changed := f.Export()
		before, _ := f.Get(kindTargets, "rescue")
		beforeDisk, _ := f.Get(kindTargets, "disk")
		i := slices.IndexFunc(changed.Targets, func(t boot.Target) bool { return t.Name == "rescue" })
		changed.Targets[i].Title = "changed"
		d, err := f.Import(changed, false)
		if err != nil || len(d) != 1 || d[0].Document != "targets/rescue" {
			t.Fatalf("%v %v", err, d)
		}
		after, _ := f.Get(kindTargets, "rescue")
		afterDisk, _ := f.Get(kindTargets, "disk")
		if after.Rev <= before.Rev || afterDisk.Rev != beforeDisk.Rev {
			t.Errorf("revisions %d → %d, %d → %d", before.Rev, after.Rev, beforeDisk.Rev, afterDisk.Rev)
		}
	})
	t.Run("removed", func(t *testing.T) {
		g := f.again()
		d := g.Export()
		d.Machines = d.Machines[:1]
		kept := d.Machines[0].ID
		if _, err := g.Import(d, false); err != nil {
			t.Fatal(err)
		}
		docs, _ := g.List(kindMachines, Query{})
		if len(g.Export().Machines) != 1 || g.Export().Machines[0].ID != kept {
			t.Errorf("%d machines: %v", len(docs), g.Export().Machines)
		}
	})
	t.Run("errors", func(t *testing.T) {
		g := newFixture(t)
		g.catalog()
		before := g.Export()
		bad := file
		bad.Targets = append(slices.Clone(bad.Targets), boot.Target{Name: "x", Kind: boot.TargetLinux, Kernel: "files/k", Cmdline: "{{nope}}"})
		bad.Groups = append(slices.Clone(bad.Groups), boot.Group{Name: "y", Profile: "none"})
		bad.Machines = append(slices.Clone(bad.Machines), boot.Machine{ID: "z", Name: "z", Groups: []string{"none"}, GUID: machine(1).guid, Assignment: &boot.Assignment{Profile: "install", Mode: boot.AssignAlways}})
		_, err := g.Import(bad, false)
		var errs ImportErrors
		if !errors.As(err, &errs) || len(errs["targets/x"]) == 0 || len(errs["groups/y"]) == 0 || len(errs["machines/z"]) < 3 {
			t.Errorf("%v", err)
		}
		if !same(before, g.Export()) {
			t.Error("something was changed")
		}
		g.db.fail = errors.New("full")
		if _, err := g.Import(file, false); err == nil || !same(before, g.Export()) {
			t.Errorf("%v", err)
		}
		g.db.fail = nil
		if err := g.Flush(); err != nil {
			t.Fatal(err)
		}
		if !same(before, g.again().Export()) {
			t.Error("the store has something of it")
		}
	})
}

// TestEventsOfTheOperator: every change is told.
func TestEventsOfTheOperator(t *testing.T) {
	f := newFixture(t)
	f.catalog()
	id := f.id(machine(1), "web1")
	f.assign(id, "install", boot.AssignArmed)
	if err := f.Unassign(id, MatchAny); err != nil {
		t.Fatal(err)
	}
	if err := f.Delete(kindMachines, string(id), MatchAny); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"targets/rescue was changed", "web1 was changed", "was assigned install (armed)", "was disarmed", "web1 was deleted"} {
		if !f.sink.has(boot.KindOperator, boot.ReasonNone, text) {
			t.Errorf("no event %q", text)
		}
	}
	for _, e := range f.sink.list {
		if strings.Contains(e.Text, "of web1") || strings.Contains(e.Text, "of the profile") {
			t.Errorf("a secret in an event: %q", e.Text)
		}
		if e.Time.IsZero() {
			t.Errorf("no time: %+v", e)
		}
	}
}
