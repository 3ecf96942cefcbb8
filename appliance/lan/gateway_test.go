package lan

import (
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

func TestGateways(t *testing.T) {
	eth0 := Interface{Index: 2, Name: "eth0", Served: true, Addrs: []netip.Prefix{netip.MustParsePrefix("192.0.2.2/24")}}
	moved := eth0
	moved.Addrs = []netip.Prefix{netip.MustParsePrefix("198.51.100.2/24")}
	unserved := eth0
	unserved.Served = false
	to := func(addr string, mac boot.MAC) []route { return []route{{2, netip.MustParseAddr(addr), mac}} }
	type step struct {
		on     Interface
		routes []route
		want   string
	}
	for _, tt := range []struct {
		name  string
		steps []step
		want  []string // the history
	}{
		{"none", []step{{eth0, nil, ""}}, nil},
		{"not served", []step{{unserved, to("192.0.2.1", "02::01"), ""}}, nil},
		{"resolved later", []step{{eth0, to("192.0.2.1", ""), ""}, {eth0, to("192.0.2.1", "a"), ""}, {eth0, to("192.0.2.1", ""), ""}}, []string{"192.0.2.1 a"}},
		{"comes back", []step{{eth0, to("192.0.2.1", "a"), ""}, {eth0, nil, ""}, {eth0, to("192.0.2.1", "a"), ""}}, []string{"192.0.2.1 a"}},
		{"another", []step{
			{eth0, to("192.0.2.1", "a"), ""},
			{eth0, to("192.0.2.254", ""), "The router of eth0 is 192.0.2.254 now, instead of 192.0.2.1."},
		}, []string{"192.0.2.1 a", "192.0.2.254 "}},
		{"the same address, another station", []step{
			{eth0, to("192.0.2.1", "a"), ""},
			{eth0, to("192.0.2.1", "b"), "The router 192.0.2.1 on eth0 is another station now: b instead of a."},
			{eth0, to("192.0.2.1", "a"), ""}, // within ten minutes it is not told again
		}, []string{"192.0.2.1 a", "192.0.2.1 b", "192.0.2.1 a"}},
		{"the box was carried elsewhere", []step{
			{eth0, to("192.0.2.1", "a"), ""},
			{moved, to("198.51.100.1", "b"), ""},
		}, []string{"198.51.100.1 b"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var g gateways
			for n, s := range tt.steps {
				got := ""
				for _, e := range g.learn(s.routes, map[int]Interface{2: s.on}, epoch.Add(time.Duration(n)*time.Minute)) {
					got += e.Text
					if e.Kind != boot.KindWarning || e.Reason != boot.ReasonGatewayChanged || e.Interface != "eth0" {
						t.Errorf("event %+v", e)
					}
				}
				if got != s.want {
					t.Errorf("step %d: told %q, want %q", n, got, s.want)
				}
			}
			var got []string
			for _, x := range g.list {
				got = append(got, fmt.Sprintf("%s %s", x.Addr, x.MAC))
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Error(d)
			}
		})
	}
	var g gateways
	for n := range 1000 { // two routers that fight
		g.learn(to("192.0.2.1", boot.MAC(fmt.Sprint(n%2))), map[int]Interface{2: eth0}, epoch)
	}
	if len(g.list) != boot.MaxLANGateways {
		t.Errorf("%d kept", len(g.list))
	}
}

func TestMoves(t *testing.T) {
	at := func(addrs []address, links ...link) Picture { return judge(state{links, addrs}, Selection{}) }
	eth0, eth1 := nic(2, "eth0"), nic(3, "eth1")
	for _, tt := range []struct {
		name          string
		before, after Picture
		want          string
	}{
		{"nothing", at(on(2, "192.0.2.2/24"), eth0), at(on(2, "192.0.2.2/24"), eth0), ""},
		{"the first one", Picture{}, at(on(2, "192.0.2.2/24"), eth0), "eth0 invalid IP 192.0.2.2; "},
		{"another", at(on(2, "192.0.2.2/24"), eth0), at(on(2, "192.0.2.9/24"), eth0), "eth0 192.0.2.2 192.0.2.9; "},
		{"a second one", at(on(2, "192.0.2.2/24"), eth0), at(on(2, "192.0.2.2/24", "10.0.0.2/8"), eth0), ""},
		{"link-local until there is a lease", at(on(2, "169.254.7.7/16"), eth0), at(on(2, "169.254.7.7/16", "192.0.2.2/24"), eth0), "eth0 169.254.7.7 192.0.2.2; "},
		{"lost", at(on(2, "192.0.2.2/24"), eth0), at(nil, eth0), "eth0 192.0.2.2 invalid IP; "},
		{"card gone", at(append(on(2, "192.0.2.2/24"), on(3, "10.0.0.2/8")...), eth0, eth1), at(on(3, "10.0.0.2/8"), eth1), "eth0 192.0.2.2 invalid IP; "},
	} {
		got := ""
		for _, c := range moves(tt.before, tt.after) {
			got += fmt.Sprintf("%s %s %s; ", c.Interface, c.From, c.To)
		}
		if got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// routingKernel is a fakeKernel that knows routes.
type routingKernel struct {
	*fakeKernel
	list []route
	err  error
}

func (k *routingKernel) routes() ([]route, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.list, k.err
}

func TestWatcherFillsTheLAN(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		eth0 := nic(2, "eth0", func(l *link) { l.speed = 1000 })
		k := &routingKernel{fakeKernel: newFakeKernel(state{[]link{nic(1, "lo", loopback), eth0}, on(2, "192.0.2.2/24")})}
		k.list = []route{{2, netip.MustParseAddr("192.0.2.1"), "02:00:00:00:00:01"}}
		w, events := watch(k, Selection{})
		start := time.Now()
		done := make(chan error, 1)
		go func() { done <- w.Run(t.Context()) }()
		<-w.Ready()
		set := func(s state) {
			k.set(s, true)
			<-time.After(time.Second)
			synctest.Wait()
		}
		set(state{[]link{nic(1, "lo", loopback), nic(2, "eth0", down)}, on(2, "192.0.2.2/24")})
		k.mu.Lock()
		k.list = []route{{2, netip.MustParseAddr("192.0.2.1"), "02:00:00:00:00:09"}}
		k.mu.Unlock()
		set(state{[]link{nic(1, "lo", loopback), eth0}, on(2, "192.0.2.2/24")})
		up := time.Now()
		k.mu.Lock()
		k.err = fmt.Errorf("no more routes")
		k.mu.Unlock()
		set(state{[]link{nic(1, "lo", loopback), eth0}, on(2, "192.0.2.3/24")})
		var l boot.LAN
		w.fill(&l)
		if len(l.Ports) != 1 {
			t.Fatalf("%+v", l.Ports)
		}
		p := l.Ports[0]
		if p.Name != "eth0" || p.MAC != "02:00:00:00:00:02" || !p.Up || !p.Served || p.MTU != 1500 || p.Speed != 1000 || len(p.Addrs) != 1 {
			t.Errorf("%+v", p)
		}
		if d := up.Sub(p.UpSince); d < 0 || d > time.Second || !p.UpSince.After(start) {
			t.Errorf("up since %v, %v before now", p.UpSince, d)
		}
		if len(l.Changes) != 2 || l.Changes[0].To.String() != "192.0.2.2" || l.Changes[1].From.String() != "192.0.2.2" || l.Changes[1].To.String() != "192.0.2.3" {
			t.Errorf("%+v", l.Changes)
		}
		if len(l.Gateways) != 2 || l.Gateways[1].MAC != "02:00:00:00:00:09" {
			t.Errorf("%+v", l.Gateways)
		}
		warned := false
		for _, e := range events.take() {
			warned = warned || e.Reason == boot.ReasonGatewayChanged
		}
		if !warned {
			t.Error("the other router was not told of")
		}
		for n := range 100 { // a lease that never holds
			set(state{[]link{eth0}, on(2, fmt.Sprintf("192.0.2.%d/24", 10+n))})
		}
		if w.fill(&l); len(l.Changes) != boot.MaxLANChanges {
			t.Errorf("%d changes kept", len(l.Changes))
		}
	})
}
