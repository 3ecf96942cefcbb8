package doctor

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// server adds another server with one finding.
func server(dhcp, pxe bool, finding boot.Reason) func(*boot.LAN) {
	return func(l *boot.LAN) {
		l.Servers = append(l.Servers, boot.LANServer{
			Server: rival, MAC: "52:54:00:00:00:bb", Interface: "eth0", DHCP: dhcp, PXE: pxe, Classes: []string{"PXEClient"},
			BootFiles: []string{"other.0"}, NextServers: []string{"192.0.2.9"}, First: began, Last: began, Replies: 1, Findings: []boot.Reason{finding},
		})
	}
}

// TestSurvey: every finding speaks where its cause is and is silent on what looks
// like it.
func TestSurvey(t *testing.T) {
	now := began.Add(10 * time.Minute)
	gateways := func(g ...boot.LANGateway) func(*boot.LAN) {
		return func(l *boot.LAN) {
			for i := range g {
				g[i].Interface = "eth0"
			}
			l.Gateways = g
		}
	}
	hour := now.Add(-time.Hour)
	twinAt := func(last time.Time, theirs, ours bool) func(*boot.LAN) {
		return func(l *boot.LAN) {
			l.Twins = []boot.LANTwin{{ID: "ab12", Addr: rival, Version: "1.2", Uptime: time.Hour, Older: ours, Standby: theirs, Last: last}}
			l.Standby = ours
		}
	}
	unanswered := func(at time.Time, err string) func(*boot.LAN) {
		return func(l *boot.LAN) {
			l.Servers[0].Last = now.Add(-2 * time.Hour)
			l.Probes = []boot.LANProbe{{Time: at, Interface: "eth0", Err: err}}
		}
	}
	for _, c := range []struct {
		name string
		lan  boot.LAN
		want boot.Reason // empty: nothing is wrong
		sev  boot.Severity
		says string
	}{
		{"in order", site(), "", "", ""},
		{"nothing known", boot.LAN{}, "", "", ""},
		{"option 60", site(server(true, false, boot.ReasonOption60)), boot.ReasonOption60, boot.SeverityCritical, "DHCP server 192.0.2.9 (52:54:00:00:00:bb) on eth0 sends option 60 “PXEClient”"},
		{"rogue", site(server(true, false, boot.ReasonRogueDHCP)), boot.ReasonRogueDHCP, boot.SeverityCritical, "beside 192.0.2.1"},
		{"another boot server", site(server(false, true, boot.ReasonOtherPXE)), boot.ReasonOtherPXE, boot.SeverityWarning, "“other.0”"},
		{"boot file", site(server(true, false, boot.ReasonServerBootFile)), boot.ReasonServerBootFile, boot.SeverityWarning, "“other.0”"},
		{"next server", site(server(true, false, boot.ReasonWrongNextServer)), boot.ReasonWrongNextServer, boot.SeverityWarning, "“192.0.2.9”"},
		{"new", site(server(true, true, boot.ReasonNewResponder)), boot.ReasonNewResponder, boot.SeverityWarning, "DHCP and boot server 192.0.2.9"},
		{"said in the past, not now", site(server(true, true, boot.ReasonNone)), "", "", ""},
		{"address used twice", site(conflicting, func(l *boot.LAN) { l.Conflicts[0].Last = now.Add(-time.Minute) }), boot.ReasonDuplicateAddress, boot.SeverityCritical, "52:54:00:00:00:ff"},
		{"address was used twice", site(conflicting, func(l *boot.LAN) { l.Conflicts[0].Last = now.Add(-time.Hour) }), "", "", ""},
		{"router changed", site(gateways(boot.LANGateway{Time: hour, Addr: router, MAC: "a"}, boot.LANGateway{Time: now, Addr: rival, MAC: "b"})), boot.ReasonGatewayChanged, boot.SeverityWarning, "192.0.2.1 (a) to 192.0.2.9 (b)"},
		{"router's card changed", site(gateways(boot.LANGateway{Time: hour, Addr: router, MAC: "a"}, boot.LANGateway{Time: now, Addr: router}, boot.LANGateway{Time: now, Addr: router, MAC: "b"})), boot.ReasonGatewayChanged, boot.SeverityWarning, ""},
		{"router becomes known", site(gateways(boot.LANGateway{Time: hour, Addr: router}, boot.LANGateway{Time: now, Addr: router, MAC: "b"})), "", "", ""},
		{"router forgotten and back", site(gateways(boot.LANGateway{Time: hour, Addr: router, MAC: "b"}, boot.LANGateway{Time: now, Addr: router}, boot.LANGateway{Time: now, Addr: router, MAC: "b"})), "", "", ""},
		{"router changed last week", site(gateways(boot.LANGateway{Time: hour, Addr: router}, boot.LANGateway{Time: now.Add(-7 * 24 * time.Hour), Addr: rival})), "", "", ""},
		{"twin", site(twinAt(now, true, false)), boot.ReasonTwin, boot.SeverityInfo, "this box answers"},
		{"twins that both answer", site(twinAt(now, false, false)), boot.ReasonTwin, boot.SeverityWarning, "Both answer"},
		{"twin that is gone", site(twinAt(now.Add(-time.Hour), true, false)), "", "", ""},
		{"no DHCP server", site(unanswered(now, "")), boot.ReasonNoDHCPServer, boot.SeverityCritical, "on eth0"},
		{"could not ask", site(unanswered(now, "permission denied")), "", "", ""},
		{"asked long ago", site(unanswered(now.Add(-2*time.Hour), "")), "", "", ""},
		{"asked without a link", site(unanswered(now, ""), func(l *boot.LAN) { l.Ports[0].Up = false }), "", "", ""},
		{"observe mode", site(unanswered(now, ""), func(l *boot.LAN) { l.Observe = true }), "", "", ""},
		{"the DHCP server answers others", site(unanswered(now, ""), func(l *boot.LAN) { l.Servers[0].Last = now }), "", "", ""},
		{"answered by the latest", site(unanswered(now.Add(-time.Minute), ""), func(l *boot.LAN) {
			l.Probes = append(l.Probes, boot.LANProbe{Time: now, Interface: "eth0", Answers: []netip.Addr{router}})
		}), "", "", ""},
		{"clock", site(func(l *boot.LAN) { l.ClockSet = false }), boot.ReasonClockUnset, boot.SeverityWarning, "has not been set"},
	} {
		got := Survey(c.lan)
		if c.want == "" {
			if len(got) > 0 {
				t.Errorf("%s: %s", c.name, names(got))
			}
			continue
		}
		if len(got) != 1 || got[0].Name != c.want || got[0].Severity != c.sev || !strings.Contains(got[0].Text, c.says) || got[0].Fix == "" || len(got[0].Evidence) == 0 {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
	got := Survey(site(twinAt(now, false, true)))
	if len(got) != 2 || got[0].Name != boot.ReasonTwin || got[1].Name != boot.ReasonStandby || !strings.Contains(got[1].Text, "192.0.2.9") {
		t.Errorf("standing by: %+v", got)
	}
}

// TestSurveyOrder: the worst comes first, and a LAN full of forged servers makes
// no endless list.
func TestSurveyOrder(t *testing.T) {
	l := site(server(false, true, boot.ReasonOtherPXE), server(true, false, boot.ReasonOption60))
	for range 500 {
		server(true, true, boot.ReasonNewResponder)(&l)
	}
	got := Survey(l)
	if len(got) != MaxFindings || got[0].Name != boot.ReasonOption60 {
		t.Errorf("%d findings, first %s", len(got), got[0].Name)
	}
	if !slices.IsSortedFunc(got, func(a, b boot.Verdict) int { return gravity(a.Severity) - gravity(b.Severity) }) {
		t.Errorf("order: %s", names(got))
	}
}

// TestEveryFindingHasARule: the rules and the names are the same set.
func TestEveryFindingHasARule(t *testing.T) {
	var lan, attempt []boot.Reason
	for _, r := range Rules() {
		if r.Title == "" || r.Looks == "" || r.Fix == "" {
			t.Errorf("%s: title, what it looks at or fix is missing", r.Name)
		}
		if r.LAN {
			lan = append(lan, r.Name)
		} else {
			attempt = append(attempt, r.Name)
		}
	}
	for _, c := range []struct{ got, want []boot.Reason }{{lan, boot.FindingNames()}, {attempt, boot.VerdictNames()}} {
		want := slices.Clone(c.want)
		slices.Sort(c.got)
		slices.Sort(want)
		if !slices.Equal(c.got, want) {
			t.Errorf("rules %v\nnames %v", c.got, want)
		}
	}
}
