package lan

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// scene is a table that a test tells what was heard.
type scene struct {
	t   *testing.T
	tbl *table
	c   circumstances
	now time.Time
}

// newScene listens on eth0 since the epoch; servers were asked 20 s later.
func newScene(t *testing.T) *scene {
	return &scene{
		t: t, tbl: newTable(), now: epoch,
		c: circumstances{since: map[string]time.Time{"eth0": epoch}, asked: map[string]time.Time{"eth0": epoch.Add(20 * time.Second)}},
	}
}

// heard is a reply of server at so many seconds after the epoch.
func (s *scene) heard(after time.Duration, server string, change ...func(*reply)) []string {
	s.t.Helper()
	s.now = epoch.Add(after)
	h := hear(s.t, offer(append([]func(*reply){func(r *reply) {
		r.from = server
		copy(r.options[5:], netip.MustParseAddr(server).AsSlice())
	}}, change...)...), boot.MAC("02:00:00:00:01:"+server[len(server)-2:]))
	s.tbl.observe(h, "eth0", s.now)
	return told(s.tbl.survey(s.c, s.now))
}

// findings are what LAN says of each server now.
func (s *scene) findings() map[string][]boot.Reason {
	out := map[string][]boot.Reason{}
	for _, x := range s.tbl.servers(s.c, s.now) {
		out[x.Server.String()] = x.Findings
	}
	return out
}

func reasons(r ...boot.Reason) []boot.Reason { return r }

func TestRogueAndNew(t *testing.T) {
	const rogue, fresh = boot.ReasonRogueDHCP, boot.ReasonNewResponder
	for _, tt := range []struct {
		name string
		do   func(s *scene)
		want map[string][]boot.Reason
	}{
		{"one server", func(s *scene) { s.heard(time.Second, "192.0.2.10") }, map[string][]boot.Reason{"192.0.2.10": nil}},
		{
			"one server, heard long after it was asked in vain", func(s *scene) { s.heard(10*time.Minute, "192.0.2.10") },
			map[string][]boot.Reason{"192.0.2.10": reasons(fresh)},
		},
		{"one server, heard late where nobody asks", func(s *scene) {
			clear(s.c.asked)
			s.heard(10*time.Minute, "192.0.2.10")
		}, map[string][]boot.Reason{"192.0.2.10": nil}},
		{"two at the start: the second is one too many, and not new", func(s *scene) {
			s.heard(time.Second, "192.0.2.10")
			s.heard(2*time.Second, "192.0.2.11")
		}, map[string][]boot.Reason{"192.0.2.10": nil, "192.0.2.11": reasons(rogue)}},
		{"a second one later", func(s *scene) {
			s.heard(time.Second, "192.0.2.10")
			s.heard(time.Hour, "192.0.2.11")
		}, map[string][]boot.Reason{"192.0.2.10": nil, "192.0.2.11": reasons(fresh, rogue)}},
		{"the news is old after an hour, the fault is not", func(s *scene) {
			s.heard(time.Second, "192.0.2.10")
			s.heard(time.Hour, "192.0.2.11")
			s.heard(2*time.Hour+time.Second, "192.0.2.11")
		}, map[string][]boot.Reason{"192.0.2.10": nil, "192.0.2.11": reasons(rogue)}},
		{"both named by the operator", func(s *scene) {
			s.tbl.known = addrs("192.0.2.10", "192.0.2.11")
			s.heard(time.Second, "192.0.2.10")
			s.heard(time.Hour, "192.0.2.11")
		}, map[string][]boot.Reason{"192.0.2.10": nil, "192.0.2.11": nil}},
		{"the only one is not the one that the operator named", func(s *scene) {
			s.tbl.known = addrs("192.0.2.10")
			s.heard(time.Second, "192.0.2.11")
		}, map[string][]boot.Reason{"192.0.2.11": reasons(rogue)}},
		{"the one that was named comes second", func(s *scene) {
			s.tbl.known = addrs("192.0.2.11")
			s.heard(time.Second, "192.0.2.10")
			s.heard(2*time.Second, "192.0.2.11")
		}, map[string][]boot.Reason{"192.0.2.10": reasons(rogue), "192.0.2.11": nil}},
		{"two through a relay", func(s *scene) {
			relayed := func(r *reply) { r.giaddr = "192.0.2.254" }
			s.heard(time.Second, "192.0.2.10", relayed)
			s.heard(2*time.Second, "192.0.2.11", relayed)
		}, map[string][]boot.Reason{"192.0.2.10": nil, "192.0.2.11": nil}},
		{"on another interface", func(s *scene) {
			s.c.since["eth1"] = epoch
			s.heard(time.Second, "192.0.2.10")
			s.tbl.observe(hear(t, offer(func(r *reply) { r.from = "198.51.100.1"; copy(r.options[5:], []byte{198, 51, 100, 1}) }), "02:00:00:00:01:99"), "eth1", s.now)
		}, map[string][]boot.Reason{"192.0.2.10": nil, "198.51.100.1": nil}},
		{"the first one is gone", func(s *scene) {
			s.heard(time.Second, "192.0.2.10")
			for n := range goneAfter {
				at := epoch.Add(time.Duration(n+1) * time.Minute)
				s.tbl.probed("eth0", at, at.Add(probeWait))
			}
			s.heard(30*time.Minute, "192.0.2.11")
			s.heard(3*time.Hour, "192.0.2.11")
		}, map[string][]boot.Reason{"192.0.2.11": nil}},
		{"the cable went to another LAN", func(s *scene) {
			s.heard(time.Second, "192.0.2.10")
			s.c.since["eth0"] = epoch.Add(time.Hour)
			s.c.asked["eth0"] = epoch.Add(time.Hour + 20*time.Second)
			s.heard(time.Hour+21*time.Second, "192.0.2.11")
		}, map[string][]boot.Reason{"192.0.2.11": nil}},
		{
			"a boot server that was always there", func(s *scene) { s.heard(time.Second, "192.0.2.19", proxy("192.0.2.19")) },
			map[string][]boot.Reason{"192.0.2.19": reasons(boot.ReasonOtherPXE)},
		},
		{"a boot server that the operator named", func(s *scene) {
			s.tbl.known = addrs("192.0.2.19")
			s.heard(time.Hour, "192.0.2.19", proxy("192.0.2.19"))
		}, map[string][]boot.Reason{"192.0.2.19": nil}},
		{"a twin", func(s *scene) {
			s.heard(time.Hour, "192.0.2.19", proxy("192.0.2.19")) // before it was known
			s.tbl.twin = func(a netip.Addr) bool { return a.String() == "192.0.2.19" }
			s.heard(time.Hour, "192.0.2.19", proxy("192.0.2.19"))
		}, map[string][]boot.Reason{"192.0.2.19": reasons(boot.ReasonTwin)}},
		{"a DHCP server that calls itself a bootpuck", func(s *scene) {
			s.tbl.twin = func(a netip.Addr) bool { return a.String() == "192.0.2.11" }
			s.heard(time.Second, "192.0.2.10")
			s.heard(2*time.Second, "192.0.2.11")
		}, map[string][]boot.Reason{"192.0.2.10": nil, "192.0.2.11": reasons(boot.ReasonTwin, rogue)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newScene(t)
			tt.do(s)
			got := s.findings()
			for _, list := range got {
				slices.Sort(list)
			}
			for _, list := range tt.want {
				slices.Sort(list)
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

// proxy makes an offer a boot server's at that address.
func proxy(server string) func(*reply) {
	return func(r *reply) {
		proxied(r)
		r.from, r.siaddr = server, server
		copy(r.options[5:], netip.MustParseAddr(server).AsSlice())
	}
}

func TestSurveyWarnsSeldom(t *testing.T) {
	s := newScene(t)
	s.heard(time.Second, "192.0.2.10")
	want := []string{
		"warning rogue_dhcp: DHCP server 192.0.2.11 (02:00:00:00:01:11) on eth0 hands out addresses beside 192.0.2.10.",
		"warning new_responder: DHCP server 192.0.2.11 (02:00:00:00:01:11) on eth0 was not there before: it hands out addresses.",
	}
	if d := cmp.Diff(want, s.heard(2*time.Minute, "192.0.2.11")); d != "" {
		t.Error(d)
	}
	n := 0
	for k := range 120 { // two hours, a packet a minute
		n += len(s.heard(2*time.Minute+time.Duration(k)*time.Minute, "192.0.2.11"))
	}
	if n < 12 || n > 20 {
		t.Errorf("%d warnings in two hours", n)
	}
}

func TestNextServer(t *testing.T) {
	owns := func(a netip.Addr) bool { return a.String() == "192.0.2.2" }
	for _, tt := range []struct {
		name   string
		change []func(*reply)
		want   []boot.Reason
	}{
		{"itself, as many do", []func(*reply){func(r *reply) { r.siaddr = "192.0.2.1" }}, nil},
		{"another", []func(*reply){func(r *reply) { r.siaddr = "192.0.2.7" }}, reasons(boot.ReasonWrongNextServer)},
		{"another, by option", []func(*reply){option(66, "192.0.2.7")}, reasons(boot.ReasonWrongNextServer)},
		{"a name", []func(*reply){option(66, "tftp.example")}, nil},
		{"this box", []func(*reply){func(r *reply) { r.siaddr = "192.0.2.2" }}, nil},
		{"this box and a file of it", []func(*reply){func(r *reply) { r.siaddr, r.file = "192.0.2.2", "snponly.efi" }}, nil},
		{"a file", []func(*reply){func(r *reply) { r.siaddr, r.file = "192.0.2.1", "pxelinux.0" }}, reasons(boot.ReasonServerBootFile)},
		{
			"a file of another",
			[]func(*reply){func(r *reply) { r.siaddr, r.file = "192.0.2.7", "pxelinux.0" }},
			reasons(boot.ReasonServerBootFile, boot.ReasonWrongNextServer),
		},
		{"a proxy's is its own affair", []func(*reply){proxied, func(r *reply) { r.siaddr = "192.0.2.7" }}, reasons(boot.ReasonOtherPXE)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tbl := newTable()
			tbl.owns = owns
			_, got := tbl.judge(hear(t, offer(tt.change...), "02:00:00:00:00:01"))
			if !slices.Equal(tt.want, got) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestServersOfAFlood(t *testing.T) {
	s := newScene(t)
	s.heard(time.Second, "192.0.2.10")
	s.heard(2*time.Second, "192.0.2.10")
	warnings := 0
	for i := range 100_000 {
		s.now = epoch.Add(time.Hour + time.Duration(i)*time.Millisecond)
		h := heard{
			mac: boot.MAC(fmt.Sprintf("02:00:01:%02x:%02x:%02x", i>>16, i>>8&255, i&255)), source: netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}),
			port: portServer, kind: 2, lease: true,
		}
		h.server = h.source
		s.tbl.observe(h, "eth0", s.now)
		if i%100 == 0 {
			warnings += len(s.tbl.survey(s.c, s.now))
		}
	}
	list := s.tbl.servers(s.c, s.now)
	if len(list) != MaxResponders || list[0].Server.String() != "192.0.2.10" || !list[0].Expected {
		t.Errorf("%d servers, the first is %+v", len(list), list[0])
	}
	// 100 s of flood: the burst, and one per ten seconds.
	if warnings > warningBurst+12 {
		t.Errorf("%d warnings", warnings)
	}
}

func TestServersAreCopies(t *testing.T) {
	s := newScene(t)
	s.heard(time.Second, "192.0.2.10", func(r *reply) { r.siaddr, r.file = "192.0.2.10", "a" })
	list := s.tbl.servers(s.c, s.now)
	list[0].BootFiles[0] = "changed"
	list[0].Findings[0] = "changed"
	again := s.tbl.servers(s.c, s.now)
	if again[0].BootFiles[0] != "a" || again[0].Findings[0] != boot.ReasonServerBootFile {
		t.Error("a reader can write into the table")
	}
}

func TestNaksAreCounted(t *testing.T) {
	s := newScene(t)
	s.heard(time.Second, "192.0.2.10")
	s.heard(2*time.Second, "192.0.2.10", kindOf(6), func(r *reply) { r.yiaddr = "" })
	if list := s.tbl.servers(s.c, s.now); len(list) != 1 || list[0].Naks != 1 || list[0].Replies != 2 {
		t.Errorf("%+v", list)
	}
}
