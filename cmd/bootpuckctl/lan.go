package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// severity is bad news with a grade: the exit status is all there is to say.
type severity int

// Error names the grade.
func (s severity) Error() string {
	if s == exitCritical {
		return "critical"
	}
	return "warning"
}

// severityOf is the grade of the box's word for it; nil when all is well.
func severityOf(word string) error {
	switch word {
	case "info":
		return nil
	case "warning":
		return severity(exitWarning)
	}
	// A word that this program does not know is no good news.
	return severity(exitCritical)
}

func runDoctor(c *call) error {
	box, err := c.client()
	if err != nil {
		return err
	}
	got, err := box.get(c.ctx, "doctor", nil, "")
	if err != nil {
		return err
	}
	var doc struct {
		Worst    string    `json:"worst"`
		Findings []verdict `json:"findings"`
		Failed   int       `json:"failed"`
		Failures []failed  `json:"failures"`
	}
	if err := json.Unmarshal(got.body, &doc); err != nil || doc.Worst == "" {
		return fmt.Errorf("%s did not answer like a bootpuck of this version", box.base)
	}
	err = c.print(got.body, func(w io.Writer) error {
		for _, v := range doc.Findings {
			fmt.Fprintf(w, "%-9s %s (%s): %s\n", visible(v.Severity), visible(v.Name), visible(v.Confidence), visible(v.Text))
			if v.Fix != "" {
				fmt.Fprintf(w, "%-9s %s\n", "fix", visible(v.Fix))
			}
		}
		if len(doc.Findings) == 0 {
			fmt.Fprintln(w, "the LAN looks well")
		}
		printFailures(w, doc.Failed, doc.Failures)
		return nil
	})
	if err != nil {
		return err
	}
	return severityOf(doc.Worst)
}

// failed is a boot that went wrong; over when the machine booted since.
type failed struct {
	Attempt attempt `json:"attempt"`
	Over    bool    `json:"over"`
}

func printFailures(w io.Writer, all int, list []failed) {
	if all == 0 {
		fmt.Fprintln(w, "no boot went wrong in the last day")
		return
	}
	fmt.Fprintf(w, "\n%s in the last day\n", map[bool]string{true: "1 boot went wrong", false: strconv.Itoa(all) + " boots went wrong"}[all == 1])
	rows := [][]string{{"TIME", "BOOT", "MACHINE", "STATE", "SINCE THEN", "VERDICT"}}
	for _, f := range list {
		rows = append(rows, []string{
			showInstant(f.Attempt.Start), f.Attempt.ID, f.Attempt.machine(), f.Attempt.standing(), map[bool]string{true: "booted"}[f.Over], f.Attempt.sentence(),
		})
	}
	writeTable(w, rows)
	if more := all - len(list); more > 0 {
		fmt.Fprintf(w, "and %d more; see bootpuckctl boots -bad -since 1d\n", more)
	}
	for _, f := range list {
		if !f.Over && len(f.Attempt.Verdicts) > 0 && f.Attempt.Verdicts[0].Fix != "" {
			fmt.Fprintf(w, "\nfix for %s: %s\n", visible(f.Attempt.machine()), visible(f.Attempt.Verdicts[0].Fix))
			break // one at a time; the others stand in "bootpuckctl boot"
		}
	}
}

func lanCommands() []*command {
	return []*command{
		{name: "lan show", help: "the network around the box: servers, ports, routers, other bootpucks", run: runLAN},
		{name: "lan probe", help: "let the box ask the DHCP servers who is there; it takes no address", run: runLANProbe},
	}
}

// lanDoc is what is shown of the network.
type lanDoc struct {
	Observe  bool      `json:"observe"`
	ClockSet bool      `json:"clock_set"`
	Standby  bool      `json:"standby"`
	Servers  []lanHost `json:"servers"`
	Ports    []lanPort `json:"ports"`
	Gateways []struct {
		Time      time.Time `json:"time"`
		Interface string    `json:"interface"`
		Addr      string    `json:"addr"`
		MAC       string    `json:"mac"`
	} `json:"gateways"`
	Conflicts []struct {
		Interface string    `json:"interface"`
		Addr      string    `json:"addr"`
		MAC       string    `json:"mac"`
		Last      time.Time `json:"last"`
	} `json:"conflicts"`
	Probes []lanProbe `json:"probes"`
	Twins  []struct {
		ID      string    `json:"id"`
		Addr    string    `json:"addr"`
		Version string    `json:"version"`
		Older   bool      `json:"older"`
		Standby bool      `json:"standby"`
		Last    time.Time `json:"last"`
	} `json:"twins"`
}

type lanHost struct {
	Server      string    `json:"server"`
	MAC         string    `json:"mac"`
	Interface   string    `json:"interface"`
	DHCP        bool      `json:"dhcp"`
	PXE         bool      `json:"pxe"`
	Classes     []string  `json:"classes"`
	BootFiles   []string  `json:"boot_files"`
	NextServers []string  `json:"next_servers"`
	Last        time.Time `json:"last"`
	Twin        bool      `json:"twin"`
	Expected    bool      `json:"expected"`
	Asked       bool      `json:"asked"`
	Findings    []string  `json:"findings"`
}

type lanPort struct {
	Name      string   `json:"name"`
	MAC       string   `json:"mac"`
	Up        bool     `json:"up"`
	Served    bool     `json:"served"`
	Speed     int      `json:"speed_mbit"`
	Addrs     []string `json:"addrs"`
	Neighbour *struct {
		Chassis     string `json:"chassis"`
		Port        string `json:"port"`
		Description string `json:"port_description"`
		System      string `json:"system"`
		VLAN        int    `json:"vlan"`
	} `json:"neighbour"`
}

type lanProbe struct {
	Time      time.Time `json:"time"`
	Interface string    `json:"interface"`
	Answers   []string  `json:"answers"`
	Err       string    `json:"error"`
}

func runLAN(c *call) error {
	box, err := c.client()
	if err != nil {
		return err
	}
	a, err := box.get(c.ctx, "lan", nil, "")
	if err != nil {
		return err
	}
	return c.print(a.body, func(w io.Writer) error {
		var l lanDoc
		if err := json.Unmarshal(a.body, &l); err != nil {
			return fmt.Errorf("read the box's answer: %w", err)
		}
		l.print(w)
		return nil
	})
}

// role says what a server is.
func (h lanHost) role() string {
	words := []string{}
	for _, r := range []struct {
		is   bool
		name string
	}{{h.Twin, "bootpuck"}, {h.DHCP, "DHCP"}, {h.PXE, "PXE"}} {
		if r.is {
			words = append(words, r.name)
		}
	}
	return strings.Join(words, ", ")
}

// says is what a server says that matters to machines that boot.
func (h lanHost) says() string {
	words := []string{}
	for _, l := range []struct {
		name string
		list []string
	}{{"option 60", h.Classes}, {"boot file", h.BootFiles}, {"next server", h.NextServers}} {
		if len(l.list) > 0 {
			words = append(words, l.name+" "+strings.Join(l.list, ", "))
		}
	}
	return strings.Join(words, "; ")
}

// switchPort is where a port of the box hangs.
func (p lanPort) switchPort() string {
	n := p.Neighbour
	if n == nil {
		return ""
	}
	name, port := n.System, n.Port
	if name == "" {
		name = n.Chassis
	}
	if n.Description != "" && n.Description != n.Port {
		port += " (" + n.Description + ")"
	}
	if n.VLAN != 0 {
		port += " VLAN " + strconv.Itoa(n.VLAN)
	}
	return strings.TrimSpace(name + " port " + port)
}

func yes(b bool) string { return map[bool]string{true: "yes"}[b] }

func (l lanDoc) print(w io.Writer) {
	for _, s := range []struct {
		is   bool
		text string
	}{
		{l.Observe, "observe mode: the box sends nothing"},
		{l.Standby, "this box stands by: another bootpuck answers"},
		{!l.ClockSet, "the clock of the box has not been set"},
	} {
		if s.is {
			fmt.Fprintln(w, s.text)
		}
	}
	rows := [][]string{{"PORT", "MAC", "LINK", "SERVED", "ADDRESSES", "SWITCH"}}
	for _, p := range l.Ports {
		link := "down"
		if p.Up {
			link = "up"
			if p.Speed > 0 {
				link = strconv.Itoa(p.Speed) + " Mbit/s"
			}
		}
		rows = append(rows, []string{p.Name, p.MAC, link, yes(p.Served), strings.Join(p.Addrs, ", "), p.switchPort()})
	}
	writeTable(w, rows)
	rows = [][]string{{"SERVER", "MAC", "PORT", "ROLE", "EXPECTED", "LAST HEARD", "FINDINGS", "SAYS"}}
	for _, h := range l.Servers {
		rows = append(rows, []string{h.Server, h.MAC, h.Interface, h.role(), yes(h.Expected), showInstant(h.Last), strings.Join(h.Findings, ", "), h.says()})
	}
	fmt.Fprintln(w)
	if len(l.Servers) == 0 {
		hint := "; see bootpuckctl lan probe"
		if len(l.Probes) > 0 {
			hint = "" // it stands below who answered
		}
		fmt.Fprintln(w, "no other DHCP or boot server was heard yet"+hint)
	} else {
		writeTable(w, rows)
	}
	rows = [][]string{}
	for _, g := range slices.Backward(l.Gateways) {
		rows = append(rows, []string{"router", g.Addr, g.MAC, g.Interface, "since " + showInstant(g.Time)})
	}
	for _, t := range l.Twins {
		words := []string{"version " + t.Version}
		if t.Older {
			words = append(words, "older than this box")
		}
		if t.Standby {
			words = append(words, "stands by")
		}
		rows = append(rows, []string{"bootpuck", t.Addr, t.ID, "", strings.Join(words, ", ")})
	}
	for _, k := range l.Conflicts {
		rows = append(rows, []string{"conflict", k.Addr, k.MAC, k.Interface, "another station uses this address of the box; last heard " + showInstant(k.Last)})
	}
	if len(rows) > 0 {
		fmt.Fprintln(w)
		writeTable(w, rows)
	}
	if len(l.Probes) > 0 {
		fmt.Fprintln(w)
		printProbes(w, l.Probes)
	}
}

func printProbes(w io.Writer, list []lanProbe) {
	rows := [][]string{{"ASKED", "PORT", "ANSWERED"}}
	for _, p := range list {
		text := strings.Join(p.Answers, ", ")
		switch {
		case p.Err != "":
			text = strings.TrimSpace(text + " (" + p.Err + ")")
		case text == "":
			text = "nobody"
		}
		rows = append(rows, []string{showInstant(p.Time), p.Interface, text})
	}
	writeTable(w, rows)
}

func runLANProbe(c *call) error {
	box, err := c.client()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.ctx, 2*patience)
	defer cancel()
	a, err := box.ask(ctx, question{method: http.MethodPost, path: "lan/probe"})
	if err != nil {
		return err
	}
	var p struct {
		Items json.RawMessage `json:"items"`
	}
	var list []lanProbe
	if err := json.Unmarshal(a.body, &p); err != nil {
		return fmt.Errorf("read the box's answer: %w", err)
	}
	if err := json.Unmarshal(p.Items, &list); err != nil {
		return fmt.Errorf("read the box's answer: %w", err)
	}
	return c.print(p.Items, func(w io.Writer) error {
		printProbes(w, list)
		return nil
	})
}
