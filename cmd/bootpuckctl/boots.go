package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// attempt is what is shown of one boot. All texts in it may be a stranger's.
type attempt struct {
	ID        string          `json:"id"`
	MAC       string          `json:"mac"`
	MACs      []string        `json:"macs"`
	UUID      string          `json:"uuid"`
	Addr      string          `json:"addr"`
	Interface string          `json:"interface"`
	Machine   string          `json:"machine"`
	Name      string          `json:"machine_name"`
	Arch      string          `json:"arch"`
	Firmwares []string        `json:"firmwares"`
	Class     string          `json:"class"`
	Product   string          `json:"product"`
	Relayed   bool            `json:"relayed"`
	Start     time.Time       `json:"start"`
	Last      time.Time       `json:"last"`
	Took      time.Duration   `json:"took_ns"`
	Again     bool            `json:"again"`
	Before    string          `json:"before"`
	State     string          `json:"state"`
	At        string          `json:"at"`
	Stages    []attemptStage  `json:"stages"`
	Action    string          `json:"action"`
	Profile   string          `json:"profile"`
	Armed     bool            `json:"armed"`
	Foreign   []foreignPacket `json:"foreign"`
	Shapes    []shape         `json:"shapes"`
	Verdicts  []verdict       `json:"verdicts"`
	Events    []event         `json:"events"`
	Omitted   int             `json:"omitted"`
}

// attemptStage is one step of a boot.
type attemptStage struct {
	Name    string        `json:"name"`
	First   time.Time     `json:"first"`
	Last    time.Time     `json:"last"`
	Took    time.Duration `json:"took_ns"`
	Count   int           `json:"count"`
	Bytes   int64         `json:"bytes"`
	Total   int64         `json:"total"`
	Retries int           `json:"retries"`
	Done    bool          `json:"done"`
	Reason  string        `json:"reason"`
	File    string        `json:"file"`
}

// verdict is a named finding.
type verdict struct {
	Name       string     `json:"name"`
	Confidence string     `json:"confidence"`
	Severity   string     `json:"severity"`
	Stage      string     `json:"stage"`
	Text       string     `json:"text"`
	Fix        string     `json:"fix"`
	Evidence   []evidence `json:"evidence"`
}

type evidence struct {
	Time time.Time `json:"time"`
	Text string    `json:"text"`
}

// foreignPacket is what another server said.
type foreignPacket struct {
	Type    string `json:"type"`
	Server  string `json:"server"`
	MAC     string `json:"mac"`
	Port    int    `json:"port"`
	Your    string `json:"your"`
	Relay   string `json:"relay"`
	Class   string `json:"class"`
	File    string `json:"file"`
	Next    string `json:"next"`
	Control bool   `json:"control"`
	Twin    bool   `json:"twin"`
}

// String says in a line what the packet does.
func (f foreignPacket) String() string {
	words := []string{}
	if f.Twin {
		words = append(words, "another bootpuck")
	}
	for _, p := range [][2]string{{"address", f.Your}, {"class", f.Class}, {"file", f.File}, {"next server", f.Next}, {"relay", f.Relay}} {
		if p[1] != "" {
			words = append(words, p[0]+" "+p[1])
		}
	}
	if f.Control {
		words = append(words, "boot server discovery")
	}
	if f.Port != 0 && f.Port != 67 {
		words = append(words, "from port "+strconv.Itoa(f.Port))
	}
	if len(words) == 0 {
		words = append(words, "nothing to boot")
	}
	return strings.Join(words, ", ")
}

// shape is how answers are made up for a machine.
type shape struct {
	Form       string        `json:"form,omitempty"`
	Loader     string        `json:"loader,omitempty"`
	Delay      time.Duration `json:"delay_ns,omitempty"`
	Block      int           `json:"blocksize,omitempty"`
	NoPriority bool          `json:"no_priority,omitempty"`
}

// String is the shape in a few words.
func (s shape) String() string {
	words := []string{}
	if s.Form != "" {
		words = append(words, s.Form)
	}
	if s.Loader != "" {
		words = append(words, s.Loader+" loader")
	}
	if s.Delay != 0 {
		words = append(words, "after "+s.Delay.String())
	}
	if s.Block != 0 {
		words = append(words, "blocks of "+strconv.Itoa(s.Block))
	}
	if s.NoPriority {
		words = append(words, "without 175.1")
	}
	if len(words) == 0 {
		return "default"
	}
	return strings.Join(words, ", ")
}

// machine is the machine as people know it.
func (a attempt) machine() string {
	switch {
	case a.Name != "":
		return a.Name
	case a.MAC != "":
		return a.MAC
	case a.Machine != "":
		return a.Machine
	}
	return a.UUID
}

// standing is where the boot stands, in a few words.
func (a attempt) standing() string {
	s := a.State
	if a.At != "" && (a.State == "running" || a.State == "stalled" || a.State == "failed") {
		s += " at " + a.At
	}
	if a.State == "running" {
		if i := slices.IndexFunc(a.Stages, func(t attemptStage) bool { return t.Name == a.At }); i >= 0 && !a.Stages[i].Done {
			if t := a.Stages[i]; t.Total > 0 && t.Bytes <= t.Total {
				s += fmt.Sprintf(" %d %%", t.Bytes*100/t.Total)
			}
		}
	}
	return s
}

// sentence is what it comes to.
func (a attempt) sentence() string {
	if len(a.Verdicts) == 0 {
		return ""
	}
	return a.Verdicts[0].Text
}

// showSpan is a duration as people read it.
func showSpan(d time.Duration) string {
	switch {
	case d < 0:
		return "?"
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
}

func attemptStates() []string {
	return []string{"running", "booted", "local", "ignored", "stalled", "failed"}
}

func bootCommands() []*command {
	return []*command{
		{
			name: "boots", help: "how the boots of machines went; -f goes on as they happen", run: runBoots,
			flags: []flagDef{
				{name: "f", help: "go on as boots happen, until interrupted; oldest first"},
				{name: "machine", kind: flagText, value: "MACHINE", from: wordsMachine, help: "of this machine alone"},
				{name: "state", kind: flagText, value: "STATE", values: attemptStates(), many: true, help: "in this state alone; again for more: " + strings.Join(attemptStates(), ", ")},
				{name: "bad", help: "only those that went wrong: stalled or failed"},
				{name: "verdict", kind: flagText, value: "VERDICT", help: "with this verdict alone: no_dhcp_server, rival_won, …"},
				{name: "since", kind: flagTime, value: "TIME", help: "not longer ago than 90m, 4h, 2d"},
				{name: "n", kind: flagNumber, value: "N", def: "50", help: "how many, from the newest"},
				jsonFlag("one JSON object a line"),
			},
		},
		{
			name: "boot", help: "one boot in full: verdict and fix, stages, all servers' offers, events", run: runBoot,
			args: []arg{{name: "BOOT", from: wordsBoot}},
			flags: []flagDef{
				{name: "capture", kind: flagText, value: "FILE", from: wordsFile, help: "instead write its packets to a file that tshark opens; \"-\" is the standard output"},
				{name: "redact", help: "with -capture: replace addresses, names and serial numbers"},
			},
			more: "BOOT is the identifier that \"bootpuckctl boots\" prints.",
		},
		{
			name: "doctor", help: "what is wrong on this LAN and with the boots of the last day", run: runDoctor,
			more: "The exit status says how bad it is: 0 well, 7 doubtful, 8 machines do not boot.\nA boot that failed counts until the machine has booted.",
		},
	}
}

// bootQuery makes the box's parameters of the flags.
func (c *call) bootQuery(box *client) (url.Values, error) {
	q := url.Values{}
	if ref := c.text("machine"); ref != "" {
		// Strangers are in no record: their address is all there is of them.
		if mac, ok := parseMAC(ref); ok {
			q.Set("mac", mac)
		} else {
			m, err := box.machine(c.ctx, ref)
			if err != nil {
				return nil, err
			}
			q.Set("machine", m.ID)
		}
	}
	states := slices.Clone(c.flags["state"])
	if c.on("bad") {
		states = append(states, "stalled", "failed")
	}
	if len(states) > 0 {
		q.Set("state", strings.Join(states, ","))
	}
	for _, name := range []string{"verdict", "since"} {
		if v := c.text(name); v != "" {
			q.Set(name, v)
		}
	}
	return q, nil
}

func runBoots(c *call) error {
	n := c.number("n")
	if n < 1 {
		return usagef("-n %d: want at least 1", n)
	}
	box, err := c.client()
	if err != nil {
		return err
	}
	q, err := c.bootQuery(box)
	if err != nil {
		return err
	}
	if c.on("f") {
		return c.followBoots(q, n)
	}
	items := []json.RawMessage{}
	err = box.each(c.ctx, "attempts", q, n, func(raw json.RawMessage) error {
		items = append(items, raw)
		return nil
	})
	if err != nil {
		return err
	}
	if c.on("json") {
		for _, raw := range items {
			if err := c.printLine(raw); err != nil {
				return err
			}
		}
		return nil
	}
	return c.printBoots(items)
}

// printLine prints a JSON document as one line.
func (c *call) printLine(raw []byte) error {
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil {
		return fmt.Errorf("read the box's answer: %w", err)
	}
	return writeEscaped(c.out, b.String())
}

func bootColumns() []column {
	read := func(show func(attempt) string) func(any) string {
		return func(v any) string {
			raw, err := json.Marshal(v)
			var a attempt
			if err != nil || json.Unmarshal(raw, &a) != nil {
				return "?"
			}
			return show(a)
		}
	}
	return []column{
		{"TIME", "start", showTime},
		{"BOOT", "id", nil},
		{"MACHINE", "", read(attempt.machine)},
		{"STATE", "", read(attempt.standing)},
		{"TOOK", "", read(func(a attempt) string { return showSpan(a.Took) })},
		{"VERDICT", "", read(attempt.sentence)},
	}
}

func (c *call) printBoots(items []json.RawMessage) error { return c.printList(items, bootColumns()) }

// maxFollowed bounds the boots that are remembered while following.
const maxFollowed = 4096

// followBoots prints a line whenever a boot gets on.
func (c *call) followBoots(q url.Values, n int) error {
	lines := c.on("json")
	switch c.text("o") {
	case "json":
		lines = true
	case "yaml":
		return usagef("-o yaml: with -f, want table or json")
	}
	q.Set("limit", strconv.Itoa(min(n, 500)))
	shown := map[string]string{}
	return c.stream("/api/v1/attempts?"+q.Encode(), func(raw []byte) error {
		if lines {
			return c.printLine(raw)
		}
		var a attempt
		if err := json.Unmarshal(raw, &a); err != nil {
			return fmt.Errorf("read a boot: %w", err)
		}
		// Packets alone are no news.
		news := a.State + " " + a.At
		if len(a.Verdicts) > 0 {
			news += " " + a.Verdicts[0].Name
		}
		if shown[a.ID] == news {
			return nil
		}
		if len(shown) >= maxFollowed {
			clear(shown)
		}
		shown[a.ID] = news
		fmt.Fprintln(c.out, strings.TrimRight(fmt.Sprintf("%s  %s  %-17s  %-18s %9s  %s", a.Last.Local().Format("15:04:05"), visible(a.ID),
			visible(a.machine()), visible(a.standing()), showSpan(a.Took), visible(a.sentence())), " "))
		return nil
	})
}

// checkStream is the error of a stream that the box refused.
func (c *call) checkStream(r *http.Response) error {
	if r.StatusCode == http.StatusOK {
		return nil
	}
	box, err := c.client()
	if err != nil {
		return err
	}
	body, err := readAll(r.Body, "the box's answer", maxAnswer)
	if err != nil {
		return err
	}
	return box.problem(answer{r.StatusCode, r.Header, body}, question{path: strings.TrimPrefix(r.Request.URL.Path, "/api/v1/")})
}
