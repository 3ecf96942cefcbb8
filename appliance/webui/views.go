package webui

import (
	"slices"
	"strings"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
	"github.com/bootpuck/bootpuck/appliance/health"
)

// row is an attempt in a list.
type row struct {
	Href     string
	Name     string
	Facts    string // which hardware, where
	Tone     string
	State    string
	Headline string
	Text     string
	Fix      string
	At       moment
	Took     string
	Steps    []step
	Percent  int // of the transfer under way; -1: none
	Doing    string
	Armed    bool
}

// moment is a time as it is shown.
type moment struct {
	ISO   string
	Clock string
	Ago   string
}

func momentOf(t, now time.Time) moment {
	if t.IsZero() {
		return moment{}
	}
	return moment{t.Format(time.RFC3339), clock(t, now), ago(now.Sub(t))}
}

// nameOf is what a person calls the machine of an attempt.
func nameOf(a *boot.Attempt) string {
	switch {
	case a.Name != "":
		return clean(a.Name, shortText)
	case a.MAC != "":
		return clean(string(a.MAC), shortText)
	case a.Addr.IsValid():
		return a.Addr.String()
	case !a.GUID.IsZero():
		return a.GUID.String()
	}
	return "unknown machine"
}

// factsOf is what else tells this machine from others.
func factsOf(a *boot.Attempt) string {
	var list []string
	if a.Name != "" && a.MAC != "" {
		list = append(list, clean(string(a.MAC), shortText))
	}
	if a.Product != "" {
		list = append(list, clean(a.Product, shortText))
	}
	if t := archTitle(a); t != "" {
		list = append(list, t)
	}
	if a.Relayed {
		list = append(list, "through a relay")
	}
	return join(list...)
}

func archTitle(a *boot.Attempt) string {
	if slices.Contains(a.Firmwares, boot.FirmwareRPi) { // it claims to be a PC
		return firmwareWord(boot.FirmwareRPi)
	}
	if !a.ArchKnown {
		return clean(a.ArchName, shortText)
	}
	for _, i := range boot.Archs() {
		if i.Arch == a.Arch {
			return i.Title
		}
	}
	return clean(a.ArchName, shortText)
}

// toneOf is the colour of an attempt.
func toneOf(a *boot.Attempt) string {
	switch a.State {
	case boot.AttemptRunning:
		if a.Verdict().Severity == boot.SeverityCritical || a.Verdict().Severity == boot.SeverityWarning {
			return toneWarn
		}
		return toneNow
	case boot.AttemptBooted:
		for _, v := range a.Verdicts {
			if v.Severity == boot.SeverityWarning {
				return toneWarn
			}
		}
		return toneGood
	case boot.AttemptLocal:
		return toneGood
	case boot.AttemptIgnored:
		return toneDim
	default:
		return toneBad
	}
}

func bootPath(id boot.AttemptID) string { return "/boots/" + string(id) }

func rowOf(a *boot.Attempt, now time.Time) row {
	r := row{
		Href: bootPath(a.ID), Name: nameOf(a), Facts: factsOf(a), Tone: toneOf(a), State: stateWord(a.State),
		At: momentOf(a.Start, now), Steps: stepsOf(a), Percent: percent(a), Armed: a.Armed,
		Took: took(tookOf(a)), Doing: doing(a),
	}
	v := a.Verdict()
	if v.Name != boot.ReasonNone {
		r.Headline, r.Text, r.Fix = headline(v.Name), clean(v.Text, longText), clean(v.Fix, longText)
	}
	if a.State == boot.AttemptRunning {
		r.Took = seconds(now.Sub(a.Start))
	}
	return r
}

// tookOf is how long an attempt lasted, on a clock that does not jump when that
// is known.
func tookOf(a *boot.Attempt) time.Duration {
	if a.Took > 0 {
		return a.Took
	}
	return max(a.Last.Sub(a.Start), 0)
}

// doing says what a running machine is at.
func doing(a *boot.Attempt) string {
	if a.State != boot.AttemptRunning {
		return ""
	}
	if a.At == "" {
		return "Just heard"
	}
	s := a.Stage(a.At)
	text := doingWords(a.At, s.Done)
	if s.File != "" && !s.Done {
		text += ": " + clean(base(s.File), shortText)
	}
	if !s.Done && s.Total > 0 {
		text += ", " + carried(s)
	}
	return text
}

func rowsOf(list []boot.Attempt, now time.Time) []row {
	rows := make([]row, len(list))
	for i := range list {
		rows[i] = rowOf(&list[i], now)
	}
	return rows
}

// problem is something that needs attention.
type problem struct {
	Tone     string
	Headline string
	Text     string
	Fix      string
	Surety   string
	Evidence []evidence
}

type evidence struct{ At, Text string }

func problemOf(v boot.Verdict, now time.Time) problem {
	p := problem{
		Tone: severityTone(v.Severity), Headline: headline(v.Name), Text: clean(v.Text, longText),
		Fix: clean(v.Fix, longText), Surety: surety(v.Confidence),
	}
	for i, e := range v.Evidence {
		if i == boot.MaxEvidence {
			break
		}
		p.Evidence = append(p.Evidence, evidence{clock(e.Time, now), clean(e.Text, longText)})
	}
	return p
}

func severityTone(s boot.Severity) string {
	switch s {
	case boot.SeverityCritical:
		return toneBad
	case boot.SeverityWarning:
		return toneWarn
	default:
		return toneDim
	}
}

// attention is everything that a person should see to, worst first.
type attention struct {
	Tone     string
	Title    string
	Notes    []string // what is set so, and should not be forgotten
	Problems []problem
	Up       string
}

// attentionOf gathers findings and parts of the box that do not work. What the
// findings say already is not said again.
func attentionOf(box BoxInfo, lan boot.LAN, findings []boot.Verdict, report health.Report, failed int) attention {
	a := attention{Tone: toneGood, Title: "All is well", Up: lasting(box.Now.Sub(box.Started))}
	if box.Observe {
		a.Notes = append(a.Notes, "Observe mode: this box listens and decides, and sends nothing.")
	}
	said := map[boot.Reason]bool{}
	for i, v := range findings {
		if v.Severity == boot.SeverityInfo || i >= maxProblems {
			continue
		}
		said[v.Name] = true
		a.Problems = append(a.Problems, problemOf(v, box.Now))
	}
	if lan.Standby && !said[boot.ReasonStandby] && !said[boot.ReasonTwin] {
		a.Notes = append(a.Notes, boot.ReasonStandby.Text())
	}
	report.Walk(func(r health.Report) {
		if r.Status == health.OK || r.Status == health.Blocked || r.Reason != boot.ReasonNone && said[r.Reason] || len(a.Problems) >= 2*maxProblems {
			return
		}
		p := problem{Tone: toneWarn, Headline: clean(r.Title, shortText), Text: join(clean(r.Text, longText), clean(r.Detail, longText))}
		if r.Status == health.Failed {
			p.Tone = toneBad
		}
		if p.Text == "" {
			p.Text = "This part of the box does not work as it should."
		}
		a.Problems = append(a.Problems, p)
	})
	slices.SortStableFunc(a.Problems, func(x, y problem) int { return toneRank(x.Tone) - toneRank(y.Tone) })
	if n := len(a.Problems); n > 0 {
		a.Tone, a.Title = a.Problems[0].Tone, times(n, "thing needs attention", "things need attention")
	} else if failed > 0 {
		a.Tone, a.Title = toneWarn, times(failed, "machine did not boot", "machines did not boot")
	} else if len(a.Notes) > 0 {
		a.Tone = toneWarn
	}
	return a
}

// unsettled is how many machines did not boot and have not booted since, as far
// as the lists tell.
func unsettled(failures, latest []boot.Attempt) int {
	machines := map[boot.MAC]bool{}
	for _, f := range failures {
		if !slices.ContainsFunc(latest, func(a boot.Attempt) bool {
			return a.MAC == f.MAC && a.Start.After(f.Start) && !a.State.Bad() && a.State != boot.AttemptRunning
		}) {
			machines[f.MAC] = true
		}
	}
	return len(machines)
}

func toneRank(tone string) int {
	return map[string]int{toneBad: 0, toneWarn: 1}[tone] + map[string]int{toneDim: 2, toneGood: 3}[tone]
}

// healthNode is a part of the box in the tree.
type healthNode struct {
	Tone, Word, Title, Text string
	Children                []healthNode
}

func healthTree(r health.Report) healthNode {
	n := healthNode{Tone: toneGood, Word: "works", Title: clean(r.Title, shortText), Text: join(clean(r.Text, longText), clean(r.Detail, longText))}
	switch r.Status {
	case health.OK:
	case health.Degraded:
		n.Tone, n.Word = toneWarn, "works with a limit"
	case health.Failed:
		n.Tone, n.Word = toneBad, "does not work"
	case health.Blocked:
		n.Tone, n.Word = toneBad, "waits for another part"
	default:
		n.Tone, n.Word = toneDim, clean(string(r.Status), shortText)
	}
	for _, c := range r.Children {
		n.Children = append(n.Children, healthTree(c))
	}
	return n
}

// bootView is one attempt, whole.
type bootView struct {
	Row      row
	ID       string
	Lead     string // in the fewest words: what became of it
	Verdict  problem
	Others   []problem
	Facts    []fact
	Stages   []stageRow
	Foreign  []foreignRow
	Shapes   []string
	Events   []eventRow
	Omitted  int
	Wide     drawing
	Tall     drawing
	Legend   []legend
	Again    string // the attempt before
	Running  bool
	Zone     string
	JSON     string
	Capture  string
	Redacted string
}

type fact struct{ Name, Value string }

type stageRow struct {
	Title, File, At, Took, Count, Bytes, Retries, Note string
	Done                                               bool
	Tone                                               string
}

type foreignRow struct {
	Server, Type, Says string
	Count              int
	Tone               string
}

func bootViewOf(a *boot.Attempt, box BoxInfo) bootView {
	now := box.Now
	api := "/api/v1/attempts/" + string(a.ID)
	v := bootView{
		Row: rowOf(a, now), ID: string(a.ID), Lead: lead(a), Running: a.State == boot.AttemptRunning,
		Events: eventRows(a, now), Omitted: a.Omitted, Wide: wide(a, now), Tall: tall(a, now),
		Facts: factList(a, now), Stages: stageRows(a), Foreign: foreignRows(a.Foreign), Zone: now.Format("MST"),
		Legend: legendOf(marksOf(a)), JSON: api, Capture: api + "/capture", Redacted: api + "/capture?redact=true",
	}
	if len(a.Verdicts) > 0 {
		v.Verdict = problemOf(a.Verdicts[0], now)
		for _, o := range a.Verdicts[1:min(len(a.Verdicts), boot.MaxAttemptVerdicts)] {
			v.Others = append(v.Others, problemOf(o, now))
		}
	}
	if len(a.Shapes) > 1 || len(a.Shapes) == 1 && a.Shapes[0] != (boot.Shape{Form: a.Shapes[0].Form}) {
		for i, s := range a.Shapes {
			if i == boot.MaxAttemptShapes {
				break
			}
			v.Shapes = append(v.Shapes, shapeWords(s))
		}
	}
	if a.Before != "" {
		v.Again = bootPath(a.Before)
	}
	return v
}

// lead is what became of an attempt, in the fewest words.
func lead(a *boot.Attempt) string {
	switch a.State {
	case boot.AttemptRunning:
		return "Booting now"
	case boot.AttemptBooted:
		return "It booted"
	case boot.AttemptLocal:
		return "Left to its local disk"
	case boot.AttemptIgnored:
		return "Not answered"
	case boot.AttemptFailed, boot.AttemptStalled:
		return "Did not boot"
	default:
		return stateWord(a.State)
	}
}

func factList(a *boot.Attempt, now time.Time) []fact {
	var list []fact
	add := func(name, value string) {
		if value != "" {
			list = append(list, fact{name, value})
		}
	}
	add("Started", join(clock(a.Start, now), ago(now.Sub(a.Start))))
	if a.State != boot.AttemptRunning {
		add("Lasted", took(tookOf(a)))
	}
	add("Hardware address", clean(string(a.MAC), shortText))
	for i, m := range a.MACs {
		if i == boot.MaxMACs {
			break
		}
		add("Further address", clean(string(m), shortText))
	}
	if a.Addr.IsValid() {
		add("Network address", a.Addr.String())
	}
	if !a.GUID.IsZero() {
		add("UUID", a.GUID.String())
	}
	add("Machine", clean(string(a.Machine), shortText))
	add("Model", clean(a.Product, shortText))
	add("Architecture", archTitle(a))
	var who []string
	for i, f := range a.Firmwares {
		if i == 8 {
			break
		}
		who = append(who, firmwareWord(f))
	}
	add("Spoke", strings.Join(who, ", then "))
	add("Option 60", clean(a.Class, shortText))
	add("Interface", clean(a.Interface, shortText))
	if a.Relayed {
		add("Way", "through a relay")
	}
	add("Decided", join(actionWord(a.Action), clean(a.Profile, shortText)))
	if a.Armed {
		add("Armed", "yes: this boot overwrites something")
	}
	return list
}

func stageRows(a *boot.Attempt) []stageRow {
	list := make([]stageRow, 0, len(a.Stages))
	for i, s := range a.Stages {
		if i == 2*len(boot.StageNames()) {
			break
		}
		r := stageRow{
			Title: stageWord(s.Name), File: clean(s.File, lineText), At: plus(s.First.Sub(a.Start)),
			Count: itoa(s.Count), Bytes: carried(s), Done: s.Done, Tone: toneGood,
		}
		if s.Took > 0 {
			r.Took = took(s.Took)
		}
		if s.Retries > 0 {
			r.Retries = itoa(s.Retries)
		}
		switch {
		case s.Reason != boot.ReasonNone && s.Reason != boot.ReasonClass: // a system that asks for an address is no failure
			r.Tone, r.Note = toneBad, clean(s.Reason.Text(), longText)
			if s.Done {
				r.Tone = toneWarn
			}
		case !s.Done:
			r.Tone = toneDim
		}
		list = append(list, r)
	}
	return list
}

func foreignRows(said []boot.Foreign) []foreignRow {
	var list []foreignRow
	for i, f := range said {
		if i == boot.MaxAttemptForeign {
			break
		}
		r := foreignRow{Server: "unknown", Type: "offered", Says: foreignNote(f), Count: 1, Tone: toneDim}
		if f.Server.IsValid() {
			r.Server = f.Server.String()
		}
		switch f.Type {
		case "ack":
			r.Type = "confirmed"
		case "nak":
			r.Type, r.Tone = "refused", toneBad
		case "offer":
		default:
			r.Type = clean(f.Type, shortText)
		}
		if f.Boots() && r.Tone == toneDim {
			r.Tone = toneWarn
		}
		if f.Port == 4011 {
			r.Type += " on 4011"
		}
		same := slices.IndexFunc(list, func(o foreignRow) bool { return o.Server == r.Server && o.Type == r.Type && o.Says == r.Says })
		if same >= 0 {
			list[same].Count++
			continue
		}
		list = append(list, r)
	}
	return list
}

// eventLine is an event outside an attempt.
type eventLine struct{ At, Who, What, Detail, Tone string }

func eventLines(list []boot.Event, now time.Time, most int) []eventLine {
	var lines []eventLine
	for i := len(list) - 1; i >= 0 && len(lines) < most; i-- {
		e := &list[i]
		switch e.Kind {
		case boot.KindSilence, boot.KindLease, boot.KindProgress, boot.KindForeign, boot.KindProbe:
			continue // chatter of the LAN
		default:
		}
		t := tell(e)
		who := clean(string(e.MAC), shortText)
		if who == "" {
			who = addr(e)
		}
		lines = append(lines, eventLine{clock(e.Time, now), who, t.what, join(t.why, t.detail), t.tone})
	}
	return lines
}
