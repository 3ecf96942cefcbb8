package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// evil is what a stranger puts into every text that it can choose.
const evil = "evil\x1b[2J\x1b]0;owned\x07\u202e\u0085"

func ago(d time.Duration) string { return boxTime.Add(-d).Format(time.RFC3339Nano) }

// fakeAttempts are boots, newest first: one that goes on, one that went wrong
// with hostile words everywhere, one that went well.
func fakeAttempts() []document {
	offer := document{"type": "offer", "server": "192.0.2.9", "mac": "52:54:00:00:00:09", "port": 4011, "your": "192.0.2.50", "class": evil, "file": evil, "next": evil, "control": true, "twin": true}
	return []document{
		{
			"id": "ccc3", "mac": "52:54:00:00:00:03", "start": ago(time.Minute), "last": ago(time.Second), "took_ns": 59 * time.Second, "state": "running", "at": "kernel",
			"stages": []any{document{"name": "kernel", "first": ago(time.Minute), "last": ago(time.Second), "took_ns": time.Second, "count": 1, "bytes": 25, "total": 100, "done": false}},
		},
		{
			"id": "bbb2", "mac": "52:54:00:00:00:02", "macs": []any{"52:54:00:00:00:12"}, "machine": "m2", "machine_name": "web02", "addr": "192.0.2.7", "interface": "eth0",
			"arch": "uefi-x64", "firmwares": []any{"uefi", "ipxe"}, "class": evil, "product": evil, "relayed": true, "again": true, "before": "bbb1",
			"start": ago(2 * time.Hour), "last": ago(2*time.Hour - time.Minute), "took_ns": time.Minute, "state": "stalled", "at": "loader", "action": "boot", "profile": "p", "armed": true,
			"stages": []any{
				document{"name": "discover", "first": ago(2 * time.Hour), "last": ago(2 * time.Hour), "took_ns": 4 * time.Second, "count": 2, "done": true},
				document{"name": "loader", "first": ago(2*time.Hour - 30*time.Second), "last": ago(2*time.Hour - time.Minute), "took_ns": 30 * time.Second, "count": 1, "bytes": 1024, "total": 4096, "retries": 3, "done": false, "reason": "client_silent", "file": evil},
			},
			"foreign": []any{offer, document{"type": "ack", "server": "192.0.2.1", "port": 67}},
			"shapes":  []any{document{}, document{"form": "direct", "loader": "native", "delay_ns": 300 * time.Millisecond, "blocksize": 1024, "no_priority": true}},
			"verdicts": []any{
				document{
					"name": "tftp_large_blocks", "confidence": "likely", "severity": "critical", "stage": "loader", "text": "It stood still at the first full packet. " + evil, "fix": "Raise the MTU. " + evil,
					"evidence": []any{document{"time": ago(2*time.Hour - 30*time.Second), "text": "block 1 was sent 6 times " + evil}, document{"text": "nothing was acknowledged"}},
				},
				document{"name": "rival_won", "confidence": "possible", "severity": "warning", "text": "Another server answered too."},
			},
			"events": []any{
				document{"seq": 1, "time": ago(2 * time.Hour), "kind": "offer", "mac": "52:54:00:00:00:02", "form": "two-step", "file": "x86_64/snponly.efi", "class": evil},
				document{"seq": 2, "time": ago(2*time.Hour - time.Second), "kind": "offer", "mac": "52:54:00:00:00:02", "form": "two-step", "file": "x86_64/snponly.efi"},
				document{"seq": 3, "time": ago(2*time.Hour - 10*time.Second), "kind": "foreign", "mac": "52:54:00:00:00:02", "foreign": offer},
				document{"seq": 4, "time": ago(2*time.Hour - 11*time.Second), "kind": "offer", "form": "direct", "shape": document{"form": "direct", "blocksize": 1024}},
				document{"seq": 5, "time": ago(2*time.Hour - 30*time.Second), "kind": "progress", "file": evil, "bytes": 512, "total": 4096, "blocksize": 1024},
				document{"seq": 6, "time": ago(3 * time.Hour), "kind": "syslog", "text": evil},
			},
		},
		{
			"id": "aaa1", "mac": "52:54:00:00:00:01", "machine": "m1", "machine_name": "web01", "start": ago(30 * time.Hour), "last": ago(30 * time.Hour), "took_ns": 1500 * time.Millisecond, "state": "booted", "at": "system", "stages": []any{},
			"verdicts": []any{document{"name": "booted", "confidence": "certain", "severity": "info", "text": "The machine booted."}},
		},
	}
}

func withoutEvents(d document) document {
	out := document{}
	for k, v := range d {
		if k != "events" {
			out[k] = v
		}
	}
	return out
}

// attempts answers for boots.
func (b *fakeBox) attempts(w http.ResponseWriter, r *http.Request, parts []string) {
	if len(parts) == 1 {
		b.listAttempts(w, r)
		return
	}
	i := slices.IndexFunc(fakeAttempts(), func(d document) bool { return d["id"] == parts[1] })
	switch {
	case i < 0:
		fail(w, 404, "not_found", "The boot does not exist.", nil)
	case len(parts) == 2:
		reply(w, 200, "", fakeAttempts()[i])
	case parts[1] != "bbb2":
		fail(w, 410, "gone", "The packets of this boot are not in memory any more.", nil)
	default:
		w.Header().Set("Content-Type", "application/vnd.tcpdump.pcap")
		fmt.Fprintf(w, "pcap %s", r.URL.Query().Get("redact"))
	}
}

func (b *fakeBox) listAttempts(w http.ResponseWriter, r *http.Request) {
	q, items, next := r.URL.Query(), []any{}, ""
	if v := q.Get("verdict"); v != "" && v != "tftp_large_blocks" {
		fail(w, 400, "query", "A parameter is wrong.", document{"errors": []fieldFault{{Field: "verdict", What: "want one of booted, …"}}})
		return
	}
	begun := q.Get("after") == ""
	for _, d := range fakeAttempts() {
		states := strings.Split(q.Get("state"), ",")
		switch {
		case !begun:
			begun = d["id"] == q.Get("after")
			continue
		case q.Get("state") != "" && !slices.Contains(states, d["state"].(string)),
			q.Get("machine") != "" && d["machine"] != q.Get("machine"),
			q.Get("mac") != "" && d["mac"] != q.Get("mac"),
			q.Get("verdict") != "" && d["id"] != "bbb2",
			q.Get("since") != "" && d["id"] == "aaa1":
			continue
		}
		if len(items) == 2 { // small pages, so that there always are some
			next = items[1].(document)["id"].(string)
			break
		}
		items = append(items, withoutEvents(d))
	}
	if r.Header.Get("Accept") != "text/event-stream" {
		out := document{"items": items}
		if next != "" {
			out["next"] = next
		}
		reply(w, 200, "", out)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	for _, i := range slices.Backward(items) {
		data, err := json.Marshal(i)
		if err != nil {
			b.t.Error(err)
		}
		for range 2 { // a boot comes again whenever it changes
			fmt.Fprintf(w, "event: attempt\ndata: %s\n\n", data)
		}
	}
	fmt.Fprint(w, ": live\n\n")
}

// doctor is as ill as the trouble says: "warning", "critical" or "unheard".
func (b *fakeBox) doctor(w http.ResponseWriter) {
	doc := document{"now": boxTime.Format(time.RFC3339), "since": ago(24 * time.Hour), "worst": "info", "findings": []any{}, "failed": 0, "failures": []any{}}
	bad := withoutEvents(fakeAttempts()[1])
	finding := document{"name": "option60", "confidence": "certain", "severity": "critical", "text": "192.0.2.1 sends option 60. " + evil, "fix": "Remove option 60 there."}
	switch {
	case b.trouble["critical"]:
		doc["worst"], doc["findings"] = "critical", []any{finding}
		doc["failed"], doc["failures"] = 3, []any{document{"attempt": bad, "over": false}, document{"attempt": bad, "over": true}}
	case b.trouble["warning"]:
		finding["severity"], doc["worst"], doc["findings"] = "warning", "warning", []any{finding}
	case b.trouble["over"]:
		doc["failed"], doc["failures"] = 1, []any{document{"attempt": bad, "over": true}}
	}
	reply(w, 200, "", doc)
}

// lan answers with a network, or with an empty one.
func (b *fakeBox) lan(w http.ResponseWriter, r *http.Request, parts []string) {
	now := boxTime.Format(time.RFC3339)
	probes := []any{
		document{"time": now, "interface": "eth0", "answers": []any{"192.0.2.1", "192.0.2.9"}},
		document{"time": now, "interface": "eth1", "answers": []any{}},
		document{"time": now, "interface": "eth2", "answers": []any{}, "error": "no address"},
	}
	switch {
	case r.Method == http.MethodPost && b.trouble["observe"]:
		fail(w, 409, "observe", "In observe mode the box sends nothing.", nil)
		return
	case r.Method == http.MethodPost && b.trouble["busy"]:
		fail(w, 503, "busy", "The DHCP servers were asked a moment ago; ask again in a minute.", nil)
		return
	case len(parts) == 2:
		reply(w, 200, "", document{"items": probes})
		return
	case b.trouble["alone"]:
		reply(w, 200, "", document{"now": now, "clock_set": false, "observe": true, "servers": []any{}, "ports": []any{document{"name": "eth0", "mac": "52:54:00:00:00:10", "up": false, "served": true, "mtu": 1500, "addrs": []any{}}}})
		return
	}
	reply(w, 200, "", document{
		"now": now, "clock_set": true, "standby": true,
		"servers": []any{
			document{"server": "192.0.2.1", "mac": "52:54:00:00:00:01", "interface": "eth0", "dhcp": true, "pxe": false, "first": now, "last": now, "replies": 7, "expected": true, "asked": true, "classes": []any{"PXEClient" + evil}, "boot_files": []any{evil}, "next_servers": []any{"192.0.2.3"}, "findings": []any{"option60", "server_boot_file"}},
			document{"server": "192.0.2.9", "mac": "52:54:00:00:00:09", "interface": "eth0", "dhcp": false, "pxe": true, "twin": true, "first": now, "last": now, "replies": 1},
		},
		"ports": []any{
			document{"name": "eth0", "mac": "52:54:00:00:00:10", "up": true, "served": true, "mtu": 1500, "speed_mbit": 1000, "addrs": []any{"192.0.2.2/24"}, "neighbour": document{"chassis": "c", "port": "g0/1", "port_description": evil, "system": "sw" + evil, "vlan": 5, "last": now}},
			document{"name": "eth1", "mac": "52:54:00:00:00:11", "up": true, "served": false, "mtu": 1500, "addrs": []any{}, "neighbour": document{"chassis": "52:54:00:00:00:ee", "port": "7", "last": now}},
		},
		"gateways":  []any{document{"time": now, "interface": "eth0", "addr": "192.0.2.1", "mac": "52:54:00:00:00:01"}},
		"conflicts": []any{document{"interface": "eth0", "addr": "192.0.2.2", "mac": "52:54:00:00:00:77", "first": now, "last": now}},
		"twins":     []any{document{"id": "boxb", "addr": "192.0.2.9", "version": "1.2" + evil, "uptime_ns": time.Hour, "older": true, "standby": true, "last": now}},
		"probes":    probes,
	})
}

func fakeQuirks() map[string]document {
	return map[string]document{
		"00aa": {"id": "00aa", "class": "PXEClient:Arch:00007" + evil, "oui": "52:54:00", "product": evil, "shape": document{"form": "two-step", "delay_ns": 300 * time.Millisecond}, "pinned": false, "worked": 2, "failed": 1, "last_seen": "2026-03-02T00:00:00Z", "note": "old note"},
	}
}

func (b *fakeBox) quirk(w http.ResponseWriter, r *http.Request, parts []string, body []byte) {
	if len(parts) == 1 {
		b.quirkList(w, r, body)
		return
	}
	switch parts[1] {
	case "export":
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"bootpuck_quirks":1,"note":"`+"a\U000e0001b\u0085"+`"}`)
		return
	case "import":
		b.loadQuirks(w, body)
		return
	}
	had, exists := b.models[parts[1]]
	tag := fmt.Sprint(len(fmt.Sprint(had)))
	switch {
	case !exists:
		fail(w, 404, "not_found", "The model does not exist.", nil)
	case r.Method == http.MethodGet:
		reply(w, 200, tag, had)
	case !b.condition(w, r, exists, tag):
	case r.Method == http.MethodDelete:
		delete(b.models, parts[1])
		w.WriteHeader(http.StatusNoContent)
	default:
		in, err := decode(body)
		if err != nil {
			b.t.Error(err)
		}
		had["shape"], had["note"], had["pinned"] = in["shape"], in["note"], true
		if had["note"] == nil {
			delete(had, "note")
		}
		reply(w, 200, "new", had)
	}
}

func (b *fakeBox) quirkList(w http.ResponseWriter, r *http.Request, body []byte) {
	if r.Method == http.MethodGet {
		items := []any{}
		for _, id := range sortedNames(b.models) {
			items = append(items, b.models[id])
		}
		reply(w, 200, "", document{"items": items})
		return
	}
	in, err := decode(body)
	if err != nil {
		b.t.Error(err)
	}
	if s, _ := in["shape"].(document); fmt.Sprint(s["blocksize"]) == "7" {
		wrong(w, fieldFault{Field: "shape.blocksize", What: "want octets, 512 to 1468"})
		return
	}
	in["id"], in["pinned"], in["worked"], in["failed"] = "00"+strconv.Itoa(len(b.models)), true, 0, 0
	b.models[textAt(in, "id")] = in
	w.Header().Set("Location", "/api/v1/quirks/"+textAt(in, "id"))
	reply(w, 201, "new", in)
}

func (b *fakeBox) loadQuirks(w http.ResponseWriter, body []byte) {
	text := string(body)
	changes := []document{}
	switch {
	case strings.Contains(text, "forged"):
		fail(w, 422, "signature", "It is signed by a key that this box does not trust "+evil, nil)
		return
	case strings.Contains(text, "broken"):
		wrong(w, fieldFault{Field: "(file)", What: "models[0].shape: want an object"})
		return
	case strings.Contains(text, "news"):
		changes = append(changes, document{"document": "quirks/00aa", "text": "two-step → direct"})
	}
	reply(w, 200, "", document{"applied": true, "differences": changes})
}
