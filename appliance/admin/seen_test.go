package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
	"github.com/bootpuck/bootpuck/appliance/doctor"
	"github.com/bootpuck/bootpuck/appliance/journal"
)

func TestAttemptQuery(t *testing.T) {
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	for query, want := range map[string]journal.AttemptQuery{
		"":                         {Limit: defaultAttempts},
		"limit=500&after=ab12":     {Limit: 500, After: "ab12"},
		"machine=m1&mac=525400AA":  {Limit: -1}, // refused
		"mac=52-54-00-AA-BB-CC":    {Limit: defaultAttempts, MAC: "52:54:00:aa:bb:cc"},
		"state=stalled,failed":     {Limit: defaultAttempts, States: []boot.AttemptState{boot.AttemptStalled, boot.AttemptFailed}},
		"state=failed&state=local": {Limit: defaultAttempts, States: []boot.AttemptState{boot.AttemptFailed, boot.AttemptLocal}},
		"state=local,local":        {Limit: defaultAttempts, States: []boot.AttemptState{boot.AttemptLocal}},
		"since=2h&until=30m":       {Limit: defaultAttempts, Since: now.Add(-2 * time.Hour), Until: now.Add(-30 * time.Minute)},
		"since=3d":                 {Limit: defaultAttempts, Since: now.Add(-72 * time.Hour)},
		"since=2026-01-31T15:04:05Z&verdict=rival_won&machine=m1": {
			Limit: defaultAttempts, Since: time.Date(2026, 1, 31, 15, 4, 5, 0, time.UTC), Verdict: boot.ReasonRivalWon, Machine: "m1",
		},
	} {
		v, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		got, p := attemptQuery(v, now)
		if want.Limit < 0 {
			if p == nil {
				t.Errorf("%s: accepted", query)
			}
			continue
		}
		if p != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %+v; want %+v", query, got, p, want)
		}
	}
}

// TestAttemptQueryRefused: what is mistyped is told, all of it, with what to
// write instead.
func TestAttemptQueryRefused(t *testing.T) {
	b, f := newAPI()
	h := Handler(b)
	for query, fields := range map[string]string{
		"state=bad": "state", "state=": "state", "state=failed,": "state", "since=yesterday": "since", "since=-2h": "since", "until=99999d": "until", "since=1h2": "since",
		"since=9999999999999999999d": "since", "since=d": "since", "verdict=no_such": "verdict", "mac=x": "mac", "machine=..%2F": "machine", "after=..": "after",
		"limit=501": "limit", "limit=x": "limit", "status=bad": "status", "mac=x&limit=0&since=x": "limit mac since", "machine=a&machine=b": "machine",
	} {
		r, text := ask(t, h, "GET", prefix+"/attempts?"+query, "")
		p := problemOf(t, r, text)
		var got []string
		for _, e := range p.Errors {
			got = append(got, e.Field)
			if e.What == "" {
				t.Errorf("%s: %s: nothing said", query, e.Field)
			}
		}
		slices.Sort(got)
		if p.Reason != causeQuery || strings.Join(got, " ") != fields {
			t.Errorf("%s: %+v", query, p)
		}
	}
	if len(f.attempts.asks) > 0 {
		t.Errorf("asked all the same: %+v", f.attempts.asks)
	}
}

// FuzzAttemptQuery: whatever the parameters are, the query that comes out is
// one that the journal understands.
func FuzzAttemptQuery(f *testing.F) {
	for _, s := range []string{"state=failed,local&since=2h", "limit=5&after=a", "verdict=booted&mac=52:54:00:00:00:01", "until=2026-01-31T15:04:05+01:00", "since=-1d", "state=,&state="} {
		f.Add(s)
	}
	now := time.Unix(1_800_000_000, 0)
	f.Fuzz(func(t *testing.T, query string) {
		v, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		q, p := attemptQuery(v, now)
		if p != nil {
			if p.Status != http.StatusBadRequest || len(p.Errors) == 0 {
				t.Errorf("%+v", p)
			}
			return
		}
		if q.Limit < 1 || q.Limit > maxAttempts || len(q.States) > len(boot.AttemptStates()) || q.After != "" && !goodName(string(q.After)) {
			t.Errorf("%+v", q)
		}
		if _, err := time.ParseDuration(v.Get("since")); err == nil && q.Since.After(now) {
			t.Errorf("since %v lies ahead", q.Since)
		}
	})
}

// TestFitsAsTheJournal: the stream chooses like the list does.
func TestFitsAsTheJournal(t *testing.T) {
	a := wholeAttempt()
	for _, c := range []struct {
		q    journal.AttemptQuery
		want bool
	}{
		{journal.AttemptQuery{}, true},
		{journal.AttemptQuery{MAC: "52:54:00:00:00:02"}, true},
		{journal.AttemptQuery{MAC: "52:54:00:00:00:12"}, true},
		{journal.AttemptQuery{MAC: "52:54:00:00:00:99"}, false},
		{journal.AttemptQuery{Machine: "m2"}, true},
		{journal.AttemptQuery{Machine: "m1"}, false},
		{journal.AttemptQuery{States: []boot.AttemptState{boot.AttemptFailed, boot.AttemptStalled}}, true},
		{journal.AttemptQuery{States: []boot.AttemptState{boot.AttemptBooted}}, false},
		{journal.AttemptQuery{Verdict: boot.ReasonTFTPLargeBlocks}, true},
		{journal.AttemptQuery{Verdict: boot.ReasonBooted}, false},
		{journal.AttemptQuery{Since: a.Last}, true},
		{journal.AttemptQuery{Since: a.Last.Add(1)}, false},
		{journal.AttemptQuery{Until: a.Start.Add(1)}, true},
		{journal.AttemptQuery{Until: a.Start}, false},
	} {
		if got := fits(c.q, &a); got != c.want {
			t.Errorf("%+v: %v", c.q, got)
		}
	}
}

// TestAttemptList: newest first, without events, page by page.
func TestAttemptList(t *testing.T) {
	b, _ := newAPI()
	h := Handler(b)
	var got []string
	for target := prefix + "/attempts?limit=1"; target != ""; {
		r, text := ask(t, h, "GET", target, "", "-Authorization")
		var page struct {
			Items []map[string]any
			Next  string
		}
		if err := json.Unmarshal([]byte(text), &page); err != nil || r.StatusCode != 200 || len(page.Items) > 1 {
			t.Fatalf("%d %s", r.StatusCode, text)
		}
		for _, i := range page.Items {
			got = append(got, fmt.Sprint(i["id"]))
			if i["events"] != nil || i["stages"] == nil {
				t.Errorf("%v", i)
			}
		}
		target = ""
		if link, ok := strings.CutPrefix(r.Header.Get("Link"), "<"); ok {
			target, _, _ = strings.Cut(link, ">")
		}
		if (target == "") != (page.Next == "") {
			t.Errorf("next %q, link %q", page.Next, target)
		}
	}
	if strings.Join(got, " ") != "a3 a2 a1" {
		t.Errorf("%v", got)
	}
}

// TestLogsAreMasked: what a machine logged is not for strangers, wherever
// events are shown.
func TestLogsAreMasked(t *testing.T) {
	b, _ := newAPI()
	b.Journal.Record(boot.Event{Kind: boot.KindSyslog, Text: "root password is hunter2"})
	h := Handler(b)
	for _, target := range []string{prefix + "/attempts/a2", prefix + "/events", prefix + "/attempts"} {
		r, text := ask(t, h, "GET", target, "", "-Authorization")
		if r.StatusCode != 200 || strings.Contains(text, "hunter2") {
			t.Errorf("%s: %d %s", target, r.StatusCode, text)
		}
	}
	for _, target := range []string{prefix + "/attempts/a2", prefix + "/events"} {
		if _, text := ask(t, h, "GET", target, ""); !strings.Contains(text, "hunter2") {
			t.Errorf("%s hides it from the operator: %s", target, text)
		}
	}
	// The pages are for strangers too, as long as they have no login.
	a := ForStrangers(boot.Attempt{
		Events: []boot.Event{
			{Kind: boot.KindSyslog, Text: "hunter2"}, {Kind: boot.KindCallback, File: string(boot.CallbackLog), Text: "hunter2"}, {Kind: boot.KindOffer, Text: "seen"},
		},
		Verdicts: []boot.Verdict{{Evidence: []boot.Evidence{{Text: logEvidence + "hunter2"}, {Text: "seen"}}}},
	})
	if text := fmt.Sprint(a); strings.Contains(text, "hunter2") || strings.Count(text, "seen") < 2 {
		t.Errorf("strangers see %s", text)
	}
	for header, want := range map[string]string{"-Authorization": Masked, "Accept: text/event-stream": "hunter2"} {
		ctx, cancel := context.WithCancel(t.Context())
		r := request(t, "GET", prefix+"/events", "", "Accept: text/event-stream", header).WithContext(ctx)
		w := &cutter{ResponseRecorder: recorder(), after: ": live", cut: cancel}
		h.ServeHTTP(w, r)
		cancel()
		if text := w.Body.String(); !strings.Contains(text, want) || want == Masked && strings.Contains(text, "hunter2") {
			t.Errorf("%s: %s", header, text)
		}
	}
}

// TestQuotedLogsAreMasked: whatever the doctor makes of a boot whose machine
// logged something, strangers do not read it in the evidence.
func TestQuotedLogsAreMasked(t *testing.T) {
	quoted := 0
	for _, state := range boot.AttemptStates() {
		for _, at := range boot.StageNames() {
			a := boot.Attempt{ID: "x", MAC: "52:54:00:00:00:01", Start: seenTime, Last: seenTime.Add(time.Minute), State: state, At: at}
			for i, s := range boot.StageNames() {
				a.Stages = append(a.Stages, boot.Stage{Name: s, First: seenTime.Add(time.Duration(i) * time.Second), Last: seenTime.Add(time.Duration(i) * time.Second), Count: 1, Done: s != at})
				if s == at {
					break
				}
			}
			a.Events = []boot.Event{
				{Time: seenTime, Kind: boot.KindOffer, MAC: a.MAC, Form: boot.FormDirect, File: "x"},
				{Time: seenTime.Add(time.Minute), Kind: boot.KindSyslog, MAC: a.MAC, Text: "root password is hunter2"},
				{Time: seenTime.Add(time.Minute), Kind: boot.KindCallback, MAC: a.MAC, Text: "failed"},
				{Time: seenTime.Add(time.Minute), Kind: boot.KindSyslog, MAC: a.MAC, Text: "hunter2 again"},
			}
			a.Verdicts = doctor.Judge(&a, boot.LAN{})
			if text := fmt.Sprint(a.Verdicts); strings.Contains(text, "hunter2") {
				quoted++
			}
			for _, whole := range []bool{true, false} {
				if text := fmt.Sprint(attemptDoc(a, false, whole)); strings.Contains(text, "hunter2") {
					t.Errorf("%s at %s: %s", state, at, text)
				}
			}
		}
	}
	if quoted == 0 {
		t.Log("the doctor quotes no log lines")
	}
	a := boot.Attempt{Verdicts: []boot.Verdict{{Evidence: []boot.Evidence{{Text: "log line hunter2"}, {Text: "two DISCOVERs"}}}}}
	if got := attemptDoc(a, false, false).Verdicts[0].Evidence; got[0].Text != "log line "+Masked || got[1].Text != "two DISCOVERs" {
		t.Errorf("%+v", got)
	}
	if a.Verdicts[0].Evidence[0].Text != "log line hunter2" || attemptDoc(a, true, false).Verdicts[0].Evidence[0].Text != "log line hunter2" {
		t.Error("hidden from the operator")
	}
}

// cutter is a reader that leaves when it has read something.
type cutter struct {
	*httptest.ResponseRecorder
	after string
	cut   func()
}

func (c *cutter) Write(p []byte) (int, error) {
	n, err := c.ResponseRecorder.Write(p)
	if strings.Contains(c.Body.String(), c.after) {
		c.cut()
	}
	return n, err
}

// TestAttemptStream reads past boots, then a live one from a real journal, over
// a real connection.
func TestAttemptStream(t *testing.T) {
	b, f := newAPI()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	f.attempts.live = journal.NewAttempts(journal.AttemptsConfig{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = f.attempts.live.Run(ctx)
	}()
	<-f.attempts.live.Ready()
	srv := httptest.NewServer(Handler(b))
	defer srv.Close()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL+prefix+"/attempts?limit=2&state=running,stalled", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", typeStream)
	r, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if ct := r.Header.Get("Content-Type"); r.StatusCode != 200 || ct != typeStream {
		t.Fatalf("%d %q", r.StatusCode, ct)
	}
	lines := bufio.NewScanner(r.Body)
	lines.Buffer(nil, 1<<20)
	var got []string
	kind := ""
	for len(got) < 3 && lines.Scan() {
		line := lines.Text()
		if line == ": live" {
			if strings.Join(got, " ") != "a2 a3" {
				t.Errorf("past boots %v, want oldest first", got)
			}
			f.attempts.live.Observe(boot.Event{
				Time: time.Now(), Kind: boot.KindOffer, MAC: "52:54:00:00:00:77", Class: "PXEClient:Arch:00007:UNDI:003016", Firmware: boot.FirmwareUEFI, Form: boot.FormTwoStep,
			})
		}
		if k, ok := strings.CutPrefix(line, "event: "); ok {
			kind = k
		}
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			var a struct{ ID, MAC string }
			if err := json.Unmarshal([]byte(data), &a); err != nil || kind != "attempt" {
				t.Fatalf("%s %s: %v", kind, data, err)
			}
			got = append(got, a.ID)
			if len(got) == 3 && a.MAC != "52:54:00:00:00:77" {
				t.Errorf("live: %s", data)
			}
		}
	}
	if len(got) != 3 {
		t.Errorf("%v %v", got, lines.Err())
	}
	cancel()
	<-done
}

// TestAttemptStreamBounded: too many readers are told so, and a HEAD holds no
// place.
func TestAttemptStreamBounded(t *testing.T) {
	b, f := newAPI()
	f.attempts.busy = true
	h := Handler(b)
	r, text := ask(t, h, "GET", prefix+"/attempts", "", "Accept: text/event-stream")
	if p := problemOf(t, r, text); p.Reason != causeBusy {
		t.Errorf("%+v", p)
	}
	if r, text := ask(t, h, "HEAD", prefix+"/attempts", "", "Accept: text/event-stream"); r.StatusCode != 200 || text != "" || r.Header.Get("Content-Type") != typeStream {
		t.Errorf("%d %v", r.StatusCode, r.Header)
	}
}

func TestCapture(t *testing.T) {
	b, _ := newAPI()
	h := Handler(b)
	for query, want := range map[string]string{"": "false", "?redact=true": "true", "?redact=1": "true", "?redact=0": "false"} {
		r, text := ask(t, h, "GET", prefix+"/attempts/a2/capture"+query, "", "Accept: "+typePcap)
		if r.StatusCode != 200 || text != "pcap of a2 "+want || r.Header.Get("Content-Type") != typePcap {
			t.Errorf("%s: %d %s %v", query, r.StatusCode, text, r.Header)
		}
		if d := r.Header.Get("Content-Disposition"); d != `attachment; filename="boot-a2.pcap"` {
			t.Errorf("%s", d)
		}
	}
	for target, want := range map[string]Cause{
		"a2/capture?redact=yes": causeQuery, "a1/capture": causeGone, "zz/capture": causeNotFound, "..%2Fx/capture": causeNotFound,
	} {
		r, text := ask(t, h, "GET", prefix+"/attempts/"+target, "")
		if p := problemOf(t, r, text); p.Reason != want {
			t.Errorf("%s: %+v", target, p)
		}
	}
	for _, target := range []string{"/attempts/a2/capture", "/attempts/zz/capture"} {
		r, text := ask(t, h, "GET", prefix+target, "", "-Authorization")
		if p := problemOf(t, r, text); p.Reason != causeLogin {
			t.Errorf("%s: a stranger learns %+v", target, p)
		}
	}
}

func TestDiagnose(t *testing.T) {
	finding := func(s boot.Severity) []boot.Verdict { return []boot.Verdict{{Name: boot.ReasonTwin, Severity: s}} }
	failed := func(mac boot.MAC, s boot.Severity) boot.Attempt {
		a := boot.Attempt{MAC: mac, State: boot.AttemptFailed}
		if s != "" {
			a.Verdicts = []boot.Verdict{{Name: boot.ReasonRivalWon, Severity: s}}
		}
		return a
	}
	booted := func(mac boot.MAC) boot.Attempt { return boot.Attempt{MAC: mac, State: boot.AttemptBooted} }
	for name, c := range map[string]struct {
		findings []boot.Verdict
		list     []boot.Attempt
		worst    boot.Severity
		over     []bool
	}{
		"nothing":                          {nil, nil, boot.SeverityInfo, nil},
		"a note":                           {finding(boot.SeverityInfo), []boot.Attempt{booted("a")}, boot.SeverityInfo, nil},
		"the LAN is doubtful":              {finding(boot.SeverityWarning), nil, boot.SeverityWarning, nil},
		"the LAN is bad":                   {finding(boot.SeverityCritical), []boot.Attempt{failed("a", boot.SeverityWarning)}, boot.SeverityCritical, []bool{false}},
		"a machine failed":                 {nil, []boot.Attempt{failed("a", boot.SeverityCritical)}, boot.SeverityCritical, []bool{false}},
		"a failure is never well":          {nil, []boot.Attempt{failed("a", boot.SeverityInfo)}, boot.SeverityWarning, []bool{false}},
		"failed without a verdict":         {nil, []boot.Attempt{failed("a", "")}, boot.SeverityWarning, []bool{false}},
		"failed, then booted":              {nil, []boot.Attempt{booted("a"), failed("a", boot.SeverityCritical)}, boot.SeverityInfo, []bool{true}},
		"booted, then failed":              {nil, []boot.Attempt{failed("a", boot.SeverityCritical), booted("a")}, boot.SeverityCritical, []bool{false}},
		"another machine booted":           {nil, []boot.Attempt{booted("b"), failed("a", boot.SeverityCritical)}, boot.SeverityCritical, []bool{false}},
		"running, stalled before":          {nil, []boot.Attempt{{MAC: "a", State: boot.AttemptRunning}, {MAC: "a", State: boot.AttemptStalled}}, boot.SeverityWarning, []bool{false}},
		"ignored is no success":            {nil, []boot.Attempt{{MAC: "a", State: boot.AttemptIgnored}, failed("a", "")}, boot.SeverityWarning, []bool{false}},
		"booted from its other card":       {nil, []boot.Attempt{{MAC: "b", MACs: []boot.MAC{"a"}, State: boot.AttemptLocal}, failed("a", "")}, boot.SeverityInfo, []bool{true}},
		"known by its record":              {nil, []boot.Attempt{{Machine: "m", MAC: "b", State: boot.AttemptBooted}, {Machine: "m", MAC: "a", State: boot.AttemptFailed}}, boot.SeverityInfo, []bool{true}},
		"nameless machines are not alike":  {nil, []boot.Attempt{{State: boot.AttemptBooted}, {State: boot.AttemptFailed}}, boot.SeverityWarning, []bool{false}},
		"an id is no hardware address":     {nil, []boot.Attempt{{Machine: "a", State: boot.AttemptBooted}, {MAC: "a", State: boot.AttemptFailed}}, boot.SeverityWarning, []bool{false}},
		"only what is not over is counted": {nil, []boot.Attempt{failed("b", boot.SeverityWarning), booted("a"), failed("a", boot.SeverityCritical)}, boot.SeverityWarning, []bool{false, true}},
	} {
		t.Run(name, func(t *testing.T) {
			doc := diagnose(c.findings, c.list)
			var over []bool
			for _, f := range doc.Failures {
				over = append(over, f.Over)
			}
			if doc.Worst != c.worst || !slices.Equal(over, c.over) || doc.Failed != len(c.over) {
				t.Errorf("%+v", doc)
			}
		})
	}
}

// TestDoctorIsBounded: of any number of failures, some are listed and all are
// counted, as far as it looks.
func TestDoctorIsBounded(t *testing.T) {
	b, f := newAPI()
	f.attempts.list = nil
	for i := range 3000 {
		f.attempts.list = append(f.attempts.list, boot.Attempt{
			ID: boot.AttemptID(fmt.Sprintf("f%d", i)), MAC: boot.MAC(fmt.Sprintf("52:54:00:00:%02x:%02x", i/256, i%256)), Start: seenTime, Last: seenTime, State: boot.AttemptFailed,
			Events: []boot.Event{{Kind: boot.KindSyslog, Text: "hunter2"}},
		})
	}
	r, text := ask(t, Handler(b), "GET", prefix+"/doctor", "", "-Authorization")
	var doc struct {
		Worst    string
		Failed   int
		Failures []struct {
			Attempt map[string]any
			Over    bool
		}
	}
	if err := json.Unmarshal([]byte(text), &doc); err != nil || r.StatusCode != 200 {
		t.Fatalf("%d %v", r.StatusCode, err)
	}
	if doc.Failed != maxLooked || len(doc.Failures) != maxFailures || doc.Worst != "critical" || doc.Failures[0].Attempt["id"] != "f0" || doc.Failures[0].Attempt["events"] != nil {
		t.Errorf("%d %d %s", doc.Failed, len(doc.Failures), doc.Worst)
	}
	if n := len(f.attempts.asks); n != maxLooked/maxAttempts {
		t.Errorf("asked %d times", n)
	}
}

// TestLANLists: lists are lists, also where there is nothing, and the source's
// own picture stays as it is.
func TestLANLists(t *testing.T) {
	b, f := newAPI()
	h := Handler(b)
	if _, text := ask(t, h, "GET", prefix+"/lan", "", "-Authorization"); strings.Contains(text, "null") || !strings.Contains(text, `"192.0.2.2/24"`) {
		t.Errorf("%s", text)
	}
	if f.lan.lan.Ports[1].Addrs != nil || f.lan.lan.Probes[1].Answers != nil {
		t.Error("the answer was written into the source")
	}
	f.lan.lan = boot.LAN{}
	if _, text := ask(t, h, "GET", prefix+"/lan", ""); strings.Contains(text, "null") {
		t.Errorf("%s", text)
	}
}

func TestProbe(t *testing.T) {
	b, f := newAPI()
	h := Handler(b)
	r, text := ask(t, h, "POST", prefix+"/lan/probe", "")
	if r.StatusCode != 200 || !strings.Contains(text, `"answers":["192.0.2.1"]`) || !strings.Contains(text, `"answers":[]`) {
		t.Errorf("%d %s", r.StatusCode, text)
	}
	f.lan.err = because(boot.ReasonProbeBusy)
	r, text = ask(t, h, "POST", prefix+"/lan/probe", "")
	if p := problemOf(t, r, text); p.Reason != causeBusy || r.Header.Get("Retry-After") != "60" || p.Detail != boot.ReasonProbeBusy.Text() {
		t.Errorf("%+v %v", p, r.Header)
	}
	f.lan.err = because(boot.ReasonProbeOff)
	r, text = ask(t, h, "POST", prefix+"/lan/probe", "")
	if p := problemOf(t, r, text); p.Reason != causeObserve {
		t.Errorf("%+v", p)
	}
	r, text = ask(t, h, "POST", prefix+"/lan/probe", "", "-Authorization")
	if p := problemOf(t, r, text); p.Reason != causeLogin {
		t.Errorf("a stranger may probe: %+v", p)
	}
}

// TestPinQuirk: what an operator has read can be written back changed, and
// nothing else is changed by it.
func TestPinQuirk(t *testing.T) {
	b, f := newAPI()
	h := Handler(b)
	r, text := ask(t, h, "GET", prefix+"/quirks/00aa", "")
	tag := r.Header.Get("ETag")
	// Counters run on; that is no change of what the operator has read.
	q := f.quirks.models["00aa"]
	q.Worked, q.Last = 99, q.Last.Add(time.Hour)
	f.quirks.models["00aa"] = q
	body := strings.Replace(text, `"two-step"`, `"direct"`, 1)
	r, text = ask(t, h, "PUT", prefix+"/quirks/00aa", body, "If-Match: "+tag)
	got := f.quirks.models["00aa"]
	if r.StatusCode != 200 || got.Shape.Form != boot.FormDirect || got.Shape.Block != 1024 || !got.Pinned || got.Worked != 99 || got.Note != "n" {
		t.Errorf("%d %s %+v", r.StatusCode, text, got)
	}
	if r.Header.Get("ETag") == tag {
		t.Error("the ETag is the old one")
	}
	// The same again needs no ETag; something else does, and an old one is not enough.
	if r, text := ask(t, h, "PUT", prefix+"/quirks/00aa", body); r.StatusCode != 200 {
		t.Errorf("%d %s", r.StatusCode, text)
	}
	for header, want := range map[string]Cause{"X-Nothing: x": causeCondition, "If-Match: " + tag: causeRevision, "If-None-Match: *": causeExists} {
		r, text := ask(t, h, "PUT", prefix+"/quirks/00aa", `{"shape":{}}`, header)
		if p := problemOf(t, r, text); p.Reason != want {
			t.Errorf("%s: %+v", header, p)
		}
	}
	if f.quirks.models["00aa"].Shape.Form != boot.FormDirect {
		t.Error("changed")
	}
}

func TestQuirkFields(t *testing.T) {
	b, f := newAPI()
	h := Handler(b)
	for body, fields := range map[string]string{
		`{"shape":{"form":"script"}}`:                 "shape.form",
		`{"shape":{"loader":"grub"}}`:                 "shape.loader",
		`{"shape":{"delay_ns":1000000001}}`:           "shape.delay_ns",
		`{"shape":{"delay_ns":-1,"blocksize":511}}`:   "shape.delay_ns shape.blocksize",
		`{"shape":{"blocksize":1469}}`:                "shape.blocksize",
		`{"shape":{"blocksize":-1}}`:                  "shape.blocksize",
		`{"shape":{"blocksize":"512"}}`:               "shape.blocksize",
		`{"shape":{"nonsense":1}}`:                    "shape.nonsense",
		`{"shape":null}`:                              "shape",
		`{"class":"other","oui":"x","shape":{}}`:      "class oui",
		`{"id":"00bb","product":"other","shape":{} }`: "id product",
	} {
		r, text := ask(t, h, "PUT", prefix+"/quirks/00aa", body, "If-Match: *")
		if p := problemOf(t, r, text); p.Reason != causeFields || fieldNames(p) != fields {
			t.Errorf("%.80s: %+v", body, p)
		}
	}
	for body, fields := range map[string]string{
		`{"shape":{}}`:                                   "class",
		`{"note":"x","shape":{"form":"http"}}`:           "shape.form class",
		`{"oui":"52:54","shape":{}}`:                     "oui",
		`{"oui":"zz:zz:zz","shape":{}}`:                  "oui",
		`{"oui":"52:54:00:00:00:01","shape":{}}`:         "oui",
		`{"oui":"5:2:5:4:0:0","shape":{},"pinned":true}`: "pinned",
	} {
		r, text := ask(t, h, "POST", prefix+"/quirks", body)
		if p := problemOf(t, r, text); p.Reason != causeFields || fieldNames(p) != fields {
			t.Errorf("%.80s: %+v", body, p)
		}
	}
	if len(f.quirks.models) != 2 || f.quirks.models["00aa"].Pinned {
		t.Errorf("%+v", f.quirks.models)
	}
	for _, oui := range []string{"52:54:00", "52-54-00", "525400", "5254.00"} {
		r, text := ask(t, h, "POST", prefix+"/quirks", `{"oui":"`+oui+`","shape":{"blocksize":1024}}`)
		if (r.StatusCode != 201 && r.StatusCode != 200) || !strings.Contains(text, `"oui": "52:54:00"`) || !strings.HasPrefix(r.Header.Get("Location"), prefix+"/quirks/") {
			t.Errorf("%s: %d %s", oui, r.StatusCode, text)
		}
	}
	if len(f.quirks.models) != 3 {
		t.Errorf("one model under %d names", len(f.quirks.models)-2)
	}
}

func fieldNames(p Problem) string {
	var names []string
	for _, e := range p.Errors {
		names = append(names, e.Field)
	}
	return strings.Join(names, " ")
}

// TestQuirkFile: the importer gets the file octet by octet, since its signature
// counts them; what it refuses is told with its reason.
func TestQuirkFile(t *testing.T) {
	b, f := newAPI()
	h := Handler(b)
	r, text := ask(t, h, "GET", prefix+"/quirks/export", "")
	if r.StatusCode != 200 || !json.Valid([]byte(text)) || !strings.Contains(r.Header.Get("Content-Disposition"), "bootpuck-quirks.json") {
		t.Errorf("%d %s %v", r.StatusCode, text, r.Header)
	}
	const file = " {\"models\" : [] , \"x\":null}\n"
	if r, text := ask(t, h, "POST", prefix+"/quirks/import", file); r.StatusCode != 200 || string(f.quirks.imported) != file || !strings.Contains(text, "two-step → direct") {
		t.Errorf("%d %s %q", r.StatusCode, text, f.quirks.imported)
	}
	r, text = ask(t, h, "POST", prefix+"/quirks/import", `{"key":"forged"}`)
	if p := problemOf(t, r, text); p.Reason != causeSignature || !strings.Contains(p.Detail, "AAAA") || !strings.Contains(p.Detail, "quirk-keys") {
		t.Errorf("%+v", p)
	}
	r, text = ask(t, h, "POST", prefix+"/quirks/import", `{"key":"broken"}`)
	if p := problemOf(t, r, text); p.Reason != causeFields || fieldNames(p) != "(file)" {
		t.Errorf("%+v", p)
	}
	r, text = ask(t, h, "POST", prefix+"/quirks/import", strings.Repeat("x", maxQuirkFile+1))
	if p := problemOf(t, r, text); p.Reason != causeTooLarge {
		t.Errorf("%+v", p)
	}
	f.quirks.fail = because(boot.ReasonStateFull)
	for method, target := range map[string]string{"GET": "/quirks/export", "DELETE": "/quirks/00bb"} {
		r, text := ask(t, h, method, prefix+target, "")
		if p := problemOf(t, r, text); p.Reason != causeStateFull {
			t.Errorf("%s: %+v", target, p)
		}
	}
}

// TestNotThereYet: parts that have not started say so.
func TestNotThereYet(t *testing.T) {
	b, _ := newAPI()
	b.Backend.Attempts, b.Backend.LAN, b.Backend.Quirks, b.Backend.Capture = nil, nil, nil, nil
	h := Handler(b)
	for _, line := range []string{
		"GET /attempts", "GET /attempts/a2", "GET /attempts/a2/capture", "GET /doctor", "GET /lan", "POST /lan/probe", "GET /quirks", "GET /quirks/00aa", "GET /quirks/export", "DELETE /quirks/00aa",
	} {
		method, target, _ := strings.Cut(line, " ")
		r, text := ask(t, h, method, prefix+target, "")
		if p := problemOf(t, r, text); p.Reason != causeStarting {
			t.Errorf("%s: %+v", line, p)
		}
	}
	for target, body := range map[string]string{"/quirks": `{"class":"x","shape":{}}`, "/quirks/import": `{}`} {
		r, text := ask(t, h, "POST", prefix+target, body)
		if p := problemOf(t, r, text); p.Reason != causeStarting {
			t.Errorf("%s: %+v", target, p)
		}
	}
	r, text := ask(t, h, "PUT", prefix+"/quirks/00aa", `{"shape":{}}`, "If-Match: *")
	if p := problemOf(t, r, text); p.Reason != causeStarting {
		t.Errorf("%+v", p)
	}
	r, text = ask(t, h, "DELETE", prefix+"/quirks/00aa", "", "If-Match: *")
	if p := problemOf(t, r, text); p.Reason != causeStarting {
		t.Errorf("%+v", p)
	}
}
