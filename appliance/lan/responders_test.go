package lan

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

var epoch = time.Unix(1_000_000, 0)

func hear(t *testing.T, packet []byte, mac boot.MAC) heard {
	t.Helper()
	h, err := parse(packet)
	if err != nil {
		t.Fatal(err)
	}
	h.mac = mac
	return h
}

// told words events for comparison.
func told(events []boot.Event) []string {
	var out []string
	for _, e := range events {
		out = append(out, strings.TrimSpace(fmt.Sprintf("%s %s", e.Kind, e.Reason))+": "+e.Text)
	}
	return out
}

func TestObserve(t *testing.T) {
	const mac = "02:00:00:00:00:01"
	tbl := newTable()
	for _, step := range []struct {
		after  time.Duration
		packet []byte
		want   []string
	}{
		{0, offer(), []string{`responder: DHCP server 192.0.2.1 (02:00:00:00:00:01) on eth0 hands out addresses.`}},
		{time.Second, offer(), nil},
		{2 * time.Second, offer(kindOf(5)), nil},
		{time.Minute, offer(option(60, "PXEClient")), []string{
			`responder: DHCP server 192.0.2.1 (02:00:00:00:00:01) on eth0 now hands out addresses, sends option 60 "PXEClient".`,
			`warning option60: DHCP server 192.0.2.1 (02:00:00:00:00:01) on eth0 sends option 60 "PXEClient" with the addresses it hands out.`,
		}},
		{2 * time.Minute, offer(option(60, "PXEClient")), nil},
		{3 * time.Minute, offer(), nil}, // to another kind of client
		{4 * time.Minute, offer(func(r *reply) { r.siaddr, r.file = "192.0.2.1", "a\n\x1b[31m" }), []string{
			`responder: DHCP server 192.0.2.1 (02:00:00:00:00:01) on eth0 now hands out addresses, sends option 60 "PXEClient", names boot file "a\n\x1b[31m", names next server "192.0.2.1".`,
			`warning server_boot_file: DHCP server 192.0.2.1 (02:00:00:00:00:01) on eth0 names boot file "a\n\x1b[31m" with the addresses it hands out.`,
		}},
		{10*time.Minute + 59*time.Second, offer(option(60, "PXEClient")), nil},
		{11 * time.Minute, offer(option(60, "PXEClient")), []string{
			`warning option60: DHCP server 192.0.2.1 (02:00:00:00:00:01) on eth0 sends option 60 "PXEClient" with the addresses it hands out.`,
		}},
		{12 * time.Minute, offer(proxied, option(43, "\x06\x01\x08\xff"), func(r *reply) { r.options[5], r.options[8] = 192, 1 }), []string{
			`responder: DHCP and PXE server 192.0.2.1 (02:00:00:00:00:01) on eth0 now hands out addresses, answers network boot clients, sends option 60 "PXEClient", names boot file "a\n\x1b[31m", "boot.0", names next server "192.0.2.1", "192.0.2.9", sends PXE discovery control.`,
			`warning other_pxe: DHCP and PXE server 192.0.2.1 (02:00:00:00:00:01) on eth0 answers network boot clients (option 60 "PXEClient", boot file "boot.0").`,
		}},
	} {
		now := epoch.Add(step.after)
		events := tbl.observe(hear(t, step.packet, mac), "eth0", now)
		if d := cmp.Diff(step.want, told(events)); d != "" {
			t.Errorf("after %v:\n%s", step.after, d)
		}
		for _, e := range events {
			if e.Interface != "eth0" || !e.Time.Equal(now) || e.MAC != "" || e.Addr.IsValid() {
				t.Errorf("event %+v", e)
			}
		}
	}
	list := tbl.responders()
	if len(list) != 1 || list[0].Replies != 10 || !list[0].First.Equal(epoch) || !list[0].Last.Equal(epoch.Add(12*time.Minute)) {
		t.Fatalf("%+v", list)
	}
	problems := func(after time.Duration) (out []boot.Reason) {
		for _, p := range current(list, epoch.Add(after)) {
			out = append(out, p.Reason)
		}
		return out
	}
	if d := cmp.Diff([]boot.Reason{boot.ReasonOption60, boot.ReasonServerBootFile, boot.ReasonOtherPXE}, problems(13*time.Minute)); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]boot.Reason{boot.ReasonOption60, boot.ReasonOtherPXE}, problems(65*time.Minute)); d != "" {
		t.Error(d)
	}
	if got := problems(3 * time.Hour); got != nil {
		t.Errorf("still current: %v", got)
	}
}

func TestResponderJSON(t *testing.T) {
	tbl := newTable()
	tbl.observe(hear(t, offer(proxied), "02:00:00:00:00:09"), "eth0", epoch)
	b, err := json.Marshal(tbl.responders())
	if err != nil {
		t.Fatal(err)
	}
	stamp := epoch.Format(time.RFC3339)
	want := `[{"server":"192.0.2.9","mac":"02:00:00:00:00:09","address":"192.0.2.9","interface":"eth0","dhcp":false,"pxe":true,` +
		`"classes":["PXEClient"],"bootFiles":["boot.0"],"nextServers":["192.0.2.9"],"first":"` + stamp + `","last":"` + stamp + `","replies":1,` +
		`"findings":[{"reason":"other_pxe","text":"PXE server 192.0.2.9 (02:00:00:00:00:09) on eth0 answers network boot clients (option 60 \"PXEClient\", boot file \"boot.0\").",` +
		`"first":"` + stamp + `","last":"` + stamp + `"}]}]`
	if d := cmp.Diff(want, string(b)); d != "" {
		t.Error(d)
	}
}

func TestRespondersAreCopies(t *testing.T) {
	tbl := newTable()
	h := hear(t, offer(proxied), "02:00:00:00:00:09")
	tbl.observe(h, "eth0", epoch)
	list := tbl.responders()
	list[0].BootFiles[0], list[0].Findings[0].Text = "changed", "changed"
	if again := tbl.responders(); again[0].BootFiles[0] != "boot.0" || again[0].Findings[0].Text == "changed" {
		t.Error("a reader can write into the table")
	}
}

func TestValuesAreBounded(t *testing.T) {
	tbl := newTable()
	events := 0
	for n := range 1000 {
		h := hear(t, offer(option(60, fmt.Sprintf("class%d", n)), option(67, fmt.Sprintf("file%d", n)), func(r *reply) {
			r.siaddr = netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}).String()
		}), "02:00:00:00:00:01")
		events += len(tbl.observe(h, "eth0", epoch.Add(time.Duration(n)*time.Millisecond)))
	}
	r := tbl.responders()[0]
	if len(r.Classes) != maxValues || len(r.BootFiles) != maxValues || len(r.NextServers) != maxValues || len(r.Findings) != 1 {
		t.Errorf("%d classes, %d files, %d next servers, %d findings", len(r.Classes), len(r.BootFiles), len(r.NextServers), len(r.Findings))
	}
	if events != maxValues+1 {
		t.Errorf("%d events for one talkative server", events)
	}
}

func TestFloodOfForgedServers(t *testing.T) {
	tbl := newTable()
	router := hear(t, offer(option(60, "PXEClient")), "02:00:00:00:00:01")
	tbl.observe(router, "eth0", epoch)
	tbl.observe(router, "eth0", epoch)
	counts, floods := map[boot.Kind]int{}, 0
	const n = 20_000
	for i := range n {
		h := hear(t, offer(proxied), boot.MAC(fmt.Sprintf("02:00:00:01:%02x:%02x", i>>8, i&255)))
		for _, e := range tbl.observe(h, "eth0", epoch.Add(time.Duration(i)*time.Millisecond)) {
			counts[e.Kind]++
			if e.Reason == boot.ReasonRate {
				floods++
			}
		}
	}
	list := tbl.responders()
	if len(list) != MaxResponders {
		t.Errorf("%d responders kept", len(list))
	}
	if list[0].MAC != "02:00:00:00:00:01" {
		t.Errorf("the LAN's own server was pushed out; first is %s", &list[0])
	}
	// 20 s of flood: the burst, and one per 10 s.
	if counts[boot.KindResponder] > eventBurst+3 || counts[boot.KindWarning] > warningBurst+4 {
		t.Errorf("events %v", counts)
	}
	if floods != 1 {
		t.Errorf("the flood was told of %d times", floods)
	}
	// Later it is told of again.
	h := hear(t, offer(proxied), "02:00:00:02:00:00")
	if got := tbl.observe(h, "eth0", epoch.Add(time.Hour)); len(got) == 0 || got[0].Reason != boot.ReasonRate {
		t.Errorf("an hour later: %v", told(got))
	}
}

// TestForgersDoNotPushOutTheServer: many forged servers, each with more replies
// than the LAN's own, and patient ones that answer as it does.
func TestForgersDoNotPushOutTheServer(t *testing.T) {
	own := hear(t, offer(option(60, "PXEClient")), "02:00:00:00:00:01")
	forged := func(i int) heard {
		h := own
		h.server = netip.AddrFrom4([4]byte{198, 51, 100, byte(i)})
		h.source, h.mac, h.class = h.server, boot.MAC(fmt.Sprintf("02:66:00:00:00:%02x", i)), ""
		return h
	}
	for _, tt := range []struct {
		name   string
		server func(tbl *table) // makes the server known
		with   question         // what the forged ones answer
		named  bool             // they speak in the name of a server that the operator named
		want   bool
	}{
		{"heard for long", func(tbl *table) {
			for i := range settledReplies + 1 {
				tbl.observe(own, "eth0", epoch.Add(time.Duration(i)*2*time.Minute))
			}
		}, questionNone, false, true},
		{"asked", func(tbl *table) { tbl.hear(own, questionPlain, "eth0", epoch) }, questionNone, false, true},
		{"asked, and so were they", func(tbl *table) { tbl.hear(own, questionPlain, "eth0", epoch) }, questionPlain, false, true},
		{"named", func(tbl *table) {
			tbl.known = []netip.Addr{own.server}
			tbl.observe(own, "eth0", epoch)
		}, questionPlain, false, true},
		{"named, and they use its name", func(tbl *table) {
			tbl.known = []netip.Addr{own.server}
			tbl.observe(own, "eth0", epoch)
		}, questionNone, true, true},
		{"gone", func(tbl *table) {
			tbl.hear(own, questionPlain, "eth0", epoch)
			tbl.list[identity{own.server, own.mac}].Gone = true
		}, questionNone, false, false},
		{"a stranger", func(tbl *table) { tbl.observe(own, "eth0", epoch) }, questionNone, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tbl := newTable()
			tt.server(tbl)
			now := epoch.Add(20 * time.Minute)
			for range 30 {
				for i := range 2 * MaxResponders {
					now = now.Add(time.Second)
					h := forged(i)
					if tt.named {
						h.server = own.server
					}
					for range 2 {
						tbl.hear(h, tt.with, "eth0", now)
					}
				}
			}
			r, there := tbl.list[identity{own.server, own.mac}]
			if there != tt.want || len(tbl.list) > MaxResponders {
				t.Fatalf("kept: %v, of %d", there, len(tbl.list))
			}
			if there && (len(r.Findings) != 1 || r.Findings[0].Reason != boot.ReasonOption60) {
				t.Errorf("findings %+v", r.Findings)
			}
		})
	}
}
