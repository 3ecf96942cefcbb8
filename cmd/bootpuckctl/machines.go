package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// machine is what is needed of one to name it.
type machine struct {
	ID     string `json:"id"`
	Name   string `json:"name"`
	UUID   string `json:"uuid"`
	Serial string `json:"serial"`
	MACs   []struct {
		MAC string `json:"mac"`
	} `json:"macs"`
	Seen struct {
		UUID   string `json:"uuid"`
		Serial string `json:"serial"`
		MAC    string `json:"mac"`
	} `json:"seen"`
}

// label is how messages call the machine.
func (m machine) label() string {
	if m.Name != "" {
		return m.Name + " (" + m.ID + ")"
	}
	return m.ID
}

// bears says whether the machine has been seen with this address, identifier
// or serial number. All of them are claims of the machine.
func (m machine) bears(ref string) bool {
	if mac, ok := parseMAC(ref); ok {
		for _, n := range m.MACs {
			if have, ok := parseMAC(n.MAC); ok && have == mac {
				return true
			}
		}
		if have, ok := parseMAC(m.Seen.MAC); ok && have == mac {
			return true
		}
	}
	if id, ok := parseUUID(ref); ok {
		for _, s := range []string{m.UUID, m.Seen.UUID} {
			if have, ok := parseUUID(s); ok && (have == id || have == otherOrder(id)) {
				return true
			}
		}
	}
	return ref != "" && (strings.EqualFold(ref, m.Serial) || strings.EqualFold(ref, m.Seen.Serial))
}

// parseMAC reads a hardware address in any of its usual spellings.
func parseMAC(s string) (string, bool) {
	if len(s) == 12 {
		if b, err := hex.DecodeString(s); err == nil {
			return net.HardwareAddr(b).String(), true
		}
	}
	a, err := net.ParseMAC(s)
	if err != nil || len(a) != 6 {
		return "", false
	}
	return a.String(), true
}

func parseUUID(s string) ([16]byte, bool) {
	var id [16]byte
	if len(s) != 36 && len(s) != 32 {
		return id, false
	}
	b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil || len(b) != 16 {
		return id, false
	}
	return [16]byte(b), true
}

// otherOrder is the identifier with its first three numbers in the other octet
// order: firmware, stickers and operating systems do not agree on it.
func otherOrder(id [16]byte) [16]byte {
	slices.Reverse(id[0:4])
	slices.Reverse(id[4:6])
	slices.Reverse(id[6:8])
	return id
}

// machine finds the machine that ref names: by its id or name, which are the
// operator's and the box's own, or else by what machines say of themselves.
// There two may claim the same; then none is chosen.
func (box *client) machine(ctx context.Context, ref string) (machine, error) {
	if ref == "" {
		return machine{}, usagef("want the id, name, MAC, UUID or serial number of a machine")
	}
	if goodName(ref) {
		a, err := box.get(ctx, "machines/"+url.PathEscape(ref), nil, "")
		if err == nil {
			return readMachine(a.body)
		}
		if statusOf(err) != exitNotFound {
			return machine{}, err
		}
	}
	var named, bearing []machine
	seen := map[string]bool{}
	for _, query := range searches(ref) {
		err := box.each(ctx, "machines", query, 0, func(raw json.RawMessage) error {
			m, err := readMachine(raw)
			if err != nil || seen[m.ID] {
				return err
			}
			seen[m.ID] = true
			if m.Name != "" && strings.EqualFold(m.Name, ref) {
				named = append(named, m)
			}
			if m.bears(ref) {
				bearing = append(bearing, m)
			}
			return nil
		})
		if err != nil {
			return machine{}, err
		}
	}
	found := named
	if len(found) == 0 {
		found = bearing
	}
	switch len(found) {
	case 0:
		return machine{}, failf(exitNotFound, "there is no machine %q", ref)
	case 1:
		return found[0], nil
	}
	return machine{}, ambiguous(ref, found)
}

func readMachine(raw []byte) (machine, error) {
	var m machine
	if err := json.Unmarshal(raw, &m); err != nil {
		return machine{}, fmt.Errorf("read the box's answer: %w", err)
	}
	if m.ID == "" {
		return machine{}, errors.New("read the box's answer: a machine without id")
	}
	return m, nil
}

// searches are the questions that find every machine ref may name.
func searches(ref string) []url.Values {
	list := []url.Values{{"q": {ref}}}
	if mac, ok := parseMAC(ref); ok {
		list = append(list, url.Values{"mac": {mac}})
	}
	if _, ok := parseUUID(ref); ok {
		list = append(list, url.Values{"uuid": {ref}})
	}
	return list
}

// maxCandidates is how many machines an ambiguous name lists.
const maxCandidates = 20

func ambiguous(ref string, found []machine) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%q may be any of %d machines; name it by its id:", ref, len(found))
	for i, m := range found {
		if i == maxCandidates {
			b.WriteString("\n  …")
			break
		}
		mac := m.Seen.MAC
		if len(m.MACs) > 0 {
			mac = m.MACs[0].MAC
		}
		fmt.Fprintf(&b, "\n  %s", strings.Join(strings.Fields(strings.Join([]string{m.ID, m.Name, mac, m.Serial}, " ")), "  "))
	}
	return usageError{b.String()}
}

func machinePath(m machine, below string) string {
	return "machines/" + url.PathEscape(m.ID) + "/" + below
}

// subjectMachine is the machine of the first argument.
func (c *call) subjectMachine() (*client, machine, error) {
	box, err := c.client()
	if err != nil {
		return nil, machine{}, err
	}
	m, err := box.machine(c.ctx, c.arg(0))
	return box, m, err
}

func runObservation(c *call) error {
	box, m, err := c.subjectMachine()
	if err != nil {
		return err
	}
	a, err := box.get(c.ctx, machinePath(m, "observation"), nil, "observation of machine "+m.label())
	if err != nil {
		return err
	}
	return c.printDocument(a.body, nil)
}

func runMerge(c *call) error {
	box, into, err := c.subjectMachine()
	if err != nil {
		return err
	}
	from, err := box.machine(c.ctx, c.arg(1))
	if err != nil {
		return err
	}
	if into.ID == from.ID {
		return usagef("%q and %q are the same machine", c.arg(0), c.arg(1))
	}
	a, err := box.send(c.ctx, http.MethodPost, machinePath(into, "merge"), document{"from": from.ID}, nil, "")
	if err != nil {
		return err
	}
	if c.text("o") != "table" {
		return c.printDocument(a.body, machineFields())
	}
	c.say("machine %s is now part of %s", from.label(), into.label())
	return nil
}

func runSplit(c *call) error {
	if !c.given("mac") && !c.on("uuid") {
		return usagef("say what the new machine takes along: -mac ADDRESS, -uuid or both")
	}
	macs := []string{}
	for _, list := range c.flags["mac"] {
		for s := range strings.SplitSeq(list, ",") {
			mac, ok := parseMAC(strings.TrimSpace(s))
			if !ok {
				return usagef("-mac %s: want an address like 52:54:00:12:34:56", s)
			}
			macs = append(macs, mac)
		}
	}
	box, m, err := c.subjectMachine()
	if err != nil {
		return err
	}
	body := document{"uuid": c.on("uuid")}
	if len(macs) > 0 {
		body["macs"] = macs
	}
	a, err := box.send(c.ctx, http.MethodPost, machinePath(m, "split"), body, nil, "")
	if err != nil {
		return err
	}
	if c.text("o") != "table" {
		return c.printDocument(a.body, machineFields())
	}
	d, err := decode(a.body)
	if err != nil {
		return err
	}
	c.say("machine %s is a new one, split from %s", textAt(d, "id"), m.label())
	return nil
}

// machineListFlags are those by which the box chooses among machines.
func machineListFlags() []flagDef {
	return []flagDef{
		{name: "q", kind: flagText, value: "TEXT", help: "only those that mention it anywhere"},
		{name: "mac", kind: flagText, value: "ADDRESS", help: "only those seen with this hardware address"},
		{name: "uuid", kind: flagText, value: "UUID", help: "only those with this UUID, in either octet order"},
		{name: "serial", kind: flagText, value: "SERIAL", help: "only those with this serial number"},
		{name: "tag", kind: flagText, value: "TAG", help: "only those with this tag"},
		{name: "group", kind: flagText, value: "GROUP", from: "groups", help: "only those of this group"},
		mostFlag(),
	}
}
