package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/bootpuck/bootpuck/appliance/pxesim"
)

// probeTimeout is longer than the longest firmware's patience (60 s of
// DISCOVERs) plus a slow download.
const probeTimeout = 3 * time.Minute

func runProbe(c *call) error {
	out, iface := c.out, c.text("interface")
	if c.on("list") {
		for _, p := range pxesim.Profiles() {
			fmt.Fprintf(out, "%-18s %s\n", p.Name, p.Title)
		}
		return nil
	}
	profile, err := pxesim.Lookup(c.text("firmware"))
	if err != nil {
		return fmt.Errorf("-firmware: %w (see -list)", err)
	}
	cfg := pxesim.RawConfig{Interface: iface}
	if mac := c.text("mac"); mac != "" {
		if cfg.MAC, err = net.ParseMAC(mac); err != nil {
			return fmt.Errorf("-mac %q: want six octets like 52:54:00:12:34:56", mac)
		}
	}
	link, err := pxesim.OpenRawLink(cfg)
	if err != nil {
		return err
	}
	defer link.Close()
	ctx, cancel := context.WithTimeout(c.ctx, probeTimeout)
	defer cancel()
	options := pxesim.Options{Lease: c.on("lease"), Release: c.on("lease")}
	if !c.on("json") {
		fmt.Fprintf(out, "playing %s on %s\n", profile.Title, iface)
		options.OnStep = func(s pxesim.Step) { printStep(out, s) }
	}
	stages, err := pxesim.RunChain(ctx, profile, link, options)
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("no end within %v", probeTimeout)
		}
		return err
	}
	if len(stages) == 0 {
		return errors.New("nothing was played")
	}
	last := stages[len(stages)-1]
	if c.on("json") {
		if err := json.NewEncoder(out).Encode(report(stages)); err != nil {
			return fmt.Errorf("print the result: %w", err)
		}
	} else {
		for _, line := range last.ScriptLines {
			fmt.Fprintln(out, "           |", printable(line))
		}
		fmt.Fprintf(out, "%s: %s\n", map[bool]string{true: "would boot", false: "WOULD NOT BOOT"}[last.OK], printable(last.Verdict))
	}
	if !last.OK {
		return errBad
	}
	return nil
}

func printStep(out io.Writer, s pxesim.Step) {
	line := fmt.Sprintf("%8.3fs  %-12s %s", s.At.Seconds(), s.Kind, printable(s.Text))
	if s.Bytes > 0 {
		line += fmt.Sprintf(" (%d bytes in %.1f ms)", s.Bytes, float64(s.Took.Microseconds())/1000)
	}
	fmt.Fprintln(out, line)
}

// stage is one program of the chain in the JSON report.
type stage struct {
	Firmware string        `json:"firmware"`
	OK       bool          `json:"ok"`
	Code     pxesim.Code   `json:"code,omitempty"`
	Verdict  string        `json:"verdict"`
	File     string        `json:"file,omitempty"`
	Server   string        `json:"server,omitempty"`
	Seconds  float64       `json:"seconds"`
	Steps    []pxesim.Step `json:"steps"`
}

func report(results []pxesim.Result) []stage {
	out := make([]stage, 0, len(results))
	for _, r := range results {
		s := stage{
			Firmware: r.Profile, OK: r.OK, Code: r.Code, Verdict: r.Verdict, File: r.File,
			Seconds: r.Elapsed.Seconds(), Steps: r.Steps,
		}
		if r.Server.IsValid() {
			s.Server = r.Server.String()
		}
		out = append(out, s)
	}
	return out
}
