package lan

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/packet"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

func page(change ...func(*TwinPage)) TwinPage {
	p := TwinPage{Product: "bootpuck", ID: "b", Version: "1.2.0", Uptime: 60, For: addrs("192.0.2.9")}
	for _, f := range change {
		f(&p)
	}
	return p
}

func TestParseTwinPage(t *testing.T) {
	encode := func(change ...func(*TwinPage)) []byte {
		b, err := json.Marshal(page(change...))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	got, err := ParseTwinPage(encode(func(p *TwinPage) {
		p.Standby, p.Behind, p.For = true, "c", addrs("::ffff:192.0.2.9", "fe80::1%eth0")
	}))
	want := page(func(p *TwinPage) { p.Standby, p.Behind, p.For = true, "c", addrs("192.0.2.9", "fe80::1") })
	if d := cmp.Diff(want, got, compareAddrs); d != "" || err != nil {
		t.Error(err, d)
	}
	for name, b := range map[string][]byte{
		"nothing":         nil,
		"no JSON":         []byte("<html>"),
		"too long":        append(encode(), strings.Repeat(" ", MaxTwinPage)...),
		"another product": encode(func(p *TwinPage) { p.Product = "bootbuck" }),
		"no id":           encode(func(p *TwinPage) { p.ID = "" }),
		"hostile id":      encode(func(p *TwinPage) { p.ID = "a\x1b[31m" }),
		"long version":    encode(func(p *TwinPage) { p.Version = strings.Repeat("1", 65) }),
		"hostile behind":  encode(func(p *TwinPage) { p.Behind = "<b>" }),
		"from the future": encode(func(p *TwinPage) { p.Uptime = -1 }),
		"older than us":   encode(func(p *TwinPage) { p.Uptime = 1e12 }),
		"no address":      encode(func(p *TwinPage) { p.For = nil }),
		"many addresses":  encode(func(p *TwinPage) { p.For = slices.Repeat(addrs("192.0.2.9"), MaxTwinAddrs+1) }),
		"no addresses":    []byte(`{"product":"bootpuck","id":"a","version":"1","uptime_s":1,"for":["x"]}`),
	} {
		if p, err := ParseTwinPage(b); !errors.Is(err, errPage) {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
	for v, want := range map[string]string{"1.2.0+dirty": "1.2.0+dirty", "": "unknown", "a b\n": "a_b_", strings.Repeat("é", 70): strings.Repeat("_", 64)} {
		if got := TwinVersion(v); got != want {
			t.Errorf("%q becomes %q", v, got)
		}
	}
}

func FuzzTwinPage(f *testing.F) {
	f.Add([]byte(`{"product":"bootpuck","id":"0123456789abcdef","version":"1.2.0","uptime_s":12.345,"standby":true,"for":["192.0.2.9"]}`))
	f.Add([]byte(`{"product":"bootpuck","id":"a","version":"1","uptime_s":1e300,"for":["fe80::1%x"]}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParseTwinPage(b)
		if err != nil {
			if !errors.Is(err, errPage) {
				t.Errorf("untyped error %v", err)
			}
			return
		}
		st := newTwinStand(t)
		st.Suspect(netip.MustParseAddr("192.0.2.9"), epoch)
		st.Ask(epoch)
		st.Answer(netip.MustParseAddr("192.0.2.9"), p, nil, epoch)
		for _, e := range st.Tick(epoch) {
			if len(e.Text) > 512 || strings.ContainsAny(e.Text, "\x1b\n<") {
				t.Errorf("told %q", e.Text)
			}
		}
	})
}

// twinStand is a box "a" that was started at the epoch, on 192.0.2.0/24 by eth0
// and 198.51.100.0/24 by eth1.
type twinStand struct {
	*Twins
	ready bool
}

func newTwinStand(testing.TB) *twinStand {
	st := &twinStand{ready: true}
	st.Twins = NewTwins(TwinsConfig{
		ID: "a", Started: epoch,
		Near: func(ifname string, a netip.Addr) bool {
			return ifname != "eth1" && netip.MustParsePrefix("192.0.2.0/24").Contains(a) ||
				ifname != "eth0" && netip.MustParsePrefix("198.51.100.0/24").Contains(a)
		},
		Owns:  func(a netip.Addr) bool { return a.String() == "192.0.2.2" },
		Ready: func() bool { return st.ready },
	})
	return st
}

func at(d time.Duration) time.Time { return epoch.Add(d) }

var twinAddr = netip.MustParseAddr("192.0.2.9")

// meet makes the twin known at that time, by its page.
func (st *twinStand) meet(t *testing.T, p TwinPage, now time.Time) []string {
	t.Helper()
	st.Suspect(twinAddr, now)
	if due := st.Ask(now); !slices.Contains(due, twinAddr) {
		t.Errorf("at %v asks %v", now.Sub(epoch), due)
	}
	st.Answer(twinAddr, p, nil, now)
	return told(st.Tick(now))
}

var errSilent = errors.New("connection refused")

func TestWhoStandsBy(t *testing.T) {
	hour := time.Hour
	for _, tt := range []struct {
		name    string
		p       TwinPage
		unready bool
		standby bool
		told    []string
	}{
		{"a younger one", page(), false, true, []string{
			"warning twin: Another bootpuck (version 1.2.0, up 1m0s) is at 192.0.2.9. It was started later than this box and answers machines.",
			"warning standby: This box stands by: the bootpuck at 192.0.2.9 was started later and answers.",
		}},
		{"an older one", page(func(p *TwinPage) { p.Uptime = 7200 }), false, false, []string{
			"warning twin: Another bootpuck (version 1.2.0, up 2h0m0s) is at 192.0.2.9. It was started earlier than this box and will stand by.",
		}},
		{"a younger one that only watches", page(func(p *TwinPage) { p.Observe = true }), false, false, []string{
			"warning twin: Another bootpuck (version 1.2.0, up 1m0s) is at 192.0.2.9. It is in observe mode and answers nobody.",
		}},
		{"a younger one that stands by for a third", page(func(p *TwinPage) { p.Standby, p.Behind = true, "c" }), false, false, []string{
			"warning twin: Another bootpuck (version 1.2.0, up 1m0s) is at 192.0.2.9. It stands by.",
		}},
		{"this box only watches, or hears nothing", page(), true, false, []string{
			"warning twin: Another bootpuck (version 1.2.0, up 1m0s) is at 192.0.2.9. It was started later than this box and answers machines.",
		}},
		{"itself by another way", page(func(p *TwinPage) { p.ID = "a" }), false, false, nil},
		{"behind a translated address", page(func(p *TwinPage) { p.For = addrs("10.0.0.1") }), false, false, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			st := newTwinStand(t)
			st.ready = !tt.unready
			if d := cmp.Diff(tt.told, st.meet(t, tt.p, at(hour))); d != "" {
				t.Error(d)
			}
			if st.Standby() != tt.standby || (st.Behind() != "") != tt.standby {
				t.Errorf("stands by: %v", st.Standby())
			}
			list := st.List(at(hour + time.Minute))
			if (len(list) == 1) != (tt.told != nil) || st.Is(twinAddr) != (tt.told != nil) {
				t.Fatalf("%+v", list)
			}
			if len(list) == 1 && (list[0].Addr != twinAddr || list[0].Uptime != time.Duration(tt.p.Uptime)*time.Second+time.Minute || list[0].Older != (tt.p.Uptime > 3600)) {
				t.Errorf("%+v", list[0])
			}
		})
	}
}

// TestTwinsAgree lets two boxes that were switched on together ask each other,
// with every small error of measuring.
func TestTwinsAgree(t *testing.T) {
	for _, ids := range [][2]string{{"a", "b"}, {"b", "a"}} {
		for _, skew := range []time.Duration{-3 * time.Millisecond, 0, 3 * time.Millisecond} {
			for _, delay := range []time.Duration{0, 2 * time.Millisecond, time.Second} {
				boxes := [2]*Twins{}
				where := [2]netip.Addr{netip.MustParseAddr("192.0.2.8"), twinAddr}
				started := [2]time.Time{epoch, epoch.Add(skew)}
				for k := range boxes {
					boxes[k] = NewTwins(TwinsConfig{
						ID: ids[k], Started: started[k], Near: func(string, netip.Addr) bool { return true },
						Owns: func(a netip.Addr) bool { return a == where[k] }, Ready: func() bool { return true },
					})
					boxes[k].Suspect(where[1-k], epoch)
				}
				for s := range 300 {
					// Both questions cross: each page was made before the other arrived.
					now := at(time.Duration(s) * time.Second)
					var arrive []func()
					for k, b := range boxes {
						for range b.Ask(now) {
							o := boxes[1-k]
							p := page(func(p *TwinPage) {
								p.ID, p.Uptime, p.For = ids[1-k], max(now.Sub(started[1-k]), 0).Seconds(), []netip.Addr{where[1-k]}
								p.Standby, p.Behind = o.Standby(), o.Behind()
							})
							arrive = append(arrive, func() { b.Answer(where[1-k], p, nil, now.Add(delay)) })
						}
					}
					for _, f := range arrive {
						f()
					}
					for _, b := range boxes {
						b.Tick(now.Add(delay))
					}
					if a, b := boxes[0].Standby(), boxes[1].Standby(); s > 60 && a == b {
						t.Fatalf("ids %v, skew %v, delay %v: after %d s both say %v", ids, skew, delay, s, a)
					}
				}
			}
		}
	}
}

func TestLeaves(t *testing.T) {
	const pc, xid = boot.MAC("02:00:00:00:00:77"), uint32(7)
	start := time.Hour
	offer := boot.Foreign{Type: "offer", Server: twinAddr, Class: "PXEClient", XID: xid}
	next := offer
	next.XID = xid + 1
	type ask struct {
		after time.Duration
		xid   uint32
		want  bool
	}
	stand := func(t *testing.T) *twinStand {
		st := newTwinStand(t)
		st.meet(t, page(), at(start))
		return st
	}
	leaves := func(t *testing.T, st *twinStand, asks ...ask) {
		t.Helper()
		for _, a := range asks {
			if got := st.Leaves("eth0", pc, a.xid, at(start+a.after)); got != a.want {
				t.Errorf("after %v, xid %d: %v", a.after, a.xid, got)
			}
		}
	}
	t.Run("the twin answers", func(t *testing.T) {
		st := stand(t)
		leaves(t, st, ask{0, xid, true})
		st.Overheard(pc, offer, at(start+50*time.Millisecond))
		leaves(t, st, ask{4 * time.Second, xid, true}, ask{12 * time.Second, xid, true})
		// iPXE comes, with a transaction of its own.
		leaves(t, st, ask{20 * time.Second, xid + 1, true})
		st.Overheard(pc, next, at(start+20*time.Second))
		leaves(t, st, ask{22 * time.Second, xid + 1, true})
		if !st.Standby() {
			t.Error("it stopped standing by")
		}
	})
	t.Run("the twin's answer is read first", func(t *testing.T) {
		st := stand(t)
		st.Overheard(pc, offer, at(start))
		leaves(t, st, ask{time.Millisecond, xid, true}, ask{4 * time.Second, xid, true})
		st.Followed(pc)
		st.Overheard(pc, next, at(start+6*time.Second))
		leaves(t, st, ask{6 * time.Second, xid + 1, true}, ask{9 * time.Second, xid + 1, true})
	})
	t.Run("copies of one packet", func(t *testing.T) {
		leaves(t, stand(t), ask{0, xid, true}, ask{time.Millisecond, xid, true}, ask{1400 * time.Millisecond, xid, true})
	})
	for name, x := range map[string]uint32{"same transaction": xid, "another transaction": xid + 1} {
		t.Run("the twin is silent, "+name, func(t *testing.T) {
			st := stand(t)
			leaves(t, st, ask{0, xid, true}, ask{2 * time.Second, x, false}, ask{2 * time.Second, x + 9, false})
			if st.Standby() {
				t.Error("it still stands by")
			}
			if d := cmp.Diff([]string{"box: This box answers again."}, told(st.Tick(at(start+3*time.Second)))); d != "" {
				t.Error(d)
			}
			// For five minutes, whatever the page says.
			st.Ask(at(start + time.Minute))
			st.Answer(twinAddr, page(func(p *TwinPage) { p.Uptime = 120 }), nil, at(start+time.Minute))
			st.Tick(at(start + resumeFor))
			if st.Standby() {
				t.Error("it stands by again too early")
			}
			st.Tick(at(start + resumeFor + 3*time.Second))
			if !st.Standby() {
				t.Error("it does not stand by again")
			}
		})
	}
	t.Run("what does not count as the twin's answer", func(t *testing.T) {
		st := stand(t)
		leaves(t, st, ask{0, xid, true})
		for _, change := range []func(*boot.Foreign){
			func(f *boot.Foreign) { f.Server = netip.MustParseAddr("192.0.2.1") },
			func(f *boot.Foreign) { f.Type = "ack" },
			func(f *boot.Foreign) { f.Class = "" }, // nothing to boot
			func(f *boot.Foreign) { f.XID++ },      // for another question
		} {
			f := offer
			change(&f)
			st.Overheard(pc, f, at(start))
		}
		st.Overheard("02:00:00:00:00:78", offer, at(start))
		leaves(t, st, ask{2 * time.Second, xid, false})
	})
	t.Run("the next boot is not a repetition", func(t *testing.T) {
		leaves(t, stand(t), ask{0, xid, true}, ask{attentionFor, xid + 1, true})
	})
	t.Run("another LAN than the twin's", func(t *testing.T) {
		if stand(t).Leaves("eth1", pc, xid, at(start)) {
			t.Error("left to a box that is not there")
		}
	})
	t.Run("alone", func(t *testing.T) {
		leaves(t, newTwinStand(t), ask{0, xid, false})
	})
	t.Run("a flood of invented machines", func(t *testing.T) {
		st := stand(t)
		for n := range 100_000 {
			mac := boot.MAC(fmt.Sprintf("02:00:00:%02x:%02x:%02x", n>>16, n>>8&255, n&255))
			st.Leaves("eth0", mac, uint32(n), at(start))
			f := offer
			f.XID = uint32(n)
			st.Overheard(mac, f, at(start))
		}
		if len(st.waiting) > maxWaiting || !st.Standby() {
			t.Errorf("%d machines kept, stands by %v", len(st.waiting), st.Standby())
		}
		st.Tick(at(start + attentionFor))
		if len(st.waiting) != 0 {
			t.Errorf("%d machines kept for ever", len(st.waiting))
		}
	})
}

func TestTwinGoes(t *testing.T) {
	st := newTwinStand(t)
	st.meet(t, page(), at(time.Hour))
	now, asked := at(time.Hour), 0
	for st.Standby() {
		now = now.Add(time.Second)
		for _, a := range st.Ask(now) {
			asked++
			st.Answer(a, TwinPage{}, errSilent, now)
		}
		if now.Sub(at(time.Hour)) > 5*time.Minute {
			t.Fatal("it stands by for nobody")
		}
	}
	if d := now.Sub(at(time.Hour)); asked != twinSilent || d != twinSilent*twinStandbyEvery {
		t.Errorf("%d questions in %v", asked, d)
	}
	if d := cmp.Diff([]string{"box: The bootpuck at 192.0.2.9 is gone.", "box: This box answers again."}, told(st.Tick(now))); d != "" {
		t.Error(d)
	}
	if len(st.List(now)) != 0 || st.Is(twinAddr) {
		t.Error("still known")
	}
}

func TestTwinChanges(t *testing.T) {
	st := newTwinStand(t)
	st.meet(t, page(func(p *TwinPage) { p.Uptime = 7200 }), at(time.Hour))
	ask := func(after time.Duration, p TwinPage) {
		t.Helper()
		if due := st.Ask(at(after)); len(due) != 1 {
			t.Fatalf("after %v asks %v", after, due)
		}
		st.Answer(twinAddr, p, nil, at(after))
	}
	// Its own clock drifts: it stays the older one.
	ask(2*time.Hour, page(func(p *TwinPage) { p.Uptime = 7200 + 3600 - 20 }))
	if st.Standby() || !st.List(at(2 * time.Hour))[0].Older {
		t.Error("a drift made it the younger one")
	}
	// It was started again.
	ask(3*time.Hour, page(func(p *TwinPage) { p.ID, p.Uptime = "c", 5 }))
	if !st.Standby() || len(st.List(at(3*time.Hour))) != 1 {
		t.Error("started again, it is the younger one")
	}
	// The same with an id that stays, as a liar might.
	ask(4*time.Hour, page(func(p *TwinPage) { p.ID, p.Uptime = "c", 50_000 }))
	if st.Standby() {
		t.Error("a box that is older by its own word now is still stood by for")
	}
	// It moves to another address of its own; the old one falls silent.
	other := netip.MustParseAddr("192.0.2.19")
	both := page(func(p *TwinPage) { p.ID, p.Uptime, p.For = "c", 5, append(addrs("192.0.2.19"), twinAddr) })
	st.Suspect(other, at(5*time.Hour))
	st.Ask(at(5 * time.Hour))
	st.Answer(other, both, nil, at(5*time.Hour))
	st.Answer(twinAddr, TwinPage{}, errPage, at(5*time.Hour))
	if list := st.List(at(5 * time.Hour)); len(list) != 1 || list[0].Addr != other || st.Is(twinAddr) || !st.Is(other) {
		t.Errorf("%+v", list)
	}
}

func TestQuestionsAreBounded(t *testing.T) {
	st := newTwinStand(t)
	for _, a := range []string{"192.0.2.2", "203.0.113.1", "2001:db8::1", "8.8.8.8"} { // ours, elsewhere
		st.Suspect(netip.MustParseAddr(a), epoch)
	}
	if len(st.suspects) != 0 {
		t.Errorf("would ask %v", st.suspects)
	}
	// A server that is no box: once a minute at first, then ever more seldom.
	st.Suspect(twinAddr, epoch)
	var when []int
	for m := range 24 * 60 {
		now := at(time.Duration(m) * time.Minute)
		st.Suspect(twinAddr, now) // with every offer of it
		for _, a := range st.Ask(now) {
			when = append(when, m)
			st.Answer(a, TwinPage{}, errSilent, now)
		}
	}
	if len(when) < 24 || len(when) > 32 || when[1]-when[0] < 1 {
		t.Errorf("asked %d times in a day: %v", len(when), when)
	}
	// Forged servers, as many as the LAN has room for: the boxes that are known
	// stay, and questions come one in five seconds.
	st.Suspect(netip.MustParseAddr("192.0.2.100"), at(30*time.Hour))
	st.Ask(at(30 * time.Hour))
	st.Answer(netip.MustParseAddr("192.0.2.100"), page(func(p *TwinPage) { p.For = addrs("192.0.2.100") }), nil, at(30*time.Hour))
	n := 0
	for s := range 3600 {
		now := at(31*time.Hour + time.Duration(s)*time.Second)
		for k := range 10 {
			st.Suspect(netip.AddrFrom4([4]byte{192, 0, 2, byte(101 + (s+k)%150)}), now)
		}
		for _, a := range st.Ask(now) {
			n++
			if a.String() == "192.0.2.100" {
				st.Answer(a, page(func(p *TwinPage) { p.For = addrs("192.0.2.100"); p.Uptime = now.Sub(at(30 * time.Hour)).Seconds() }), nil, now)
				continue
			}
			st.Answer(a, TwinPage{}, errSilent, now)
		}
	}
	if n > 3600/5+questionBurst || len(st.suspects) > maxSuspects || !st.Standby() {
		t.Errorf("%d questions in an hour, %d suspects, stands by %v", n, len(st.suspects), st.Standby())
	}
	// As many liars as there is room for.
	for k := range 20 {
		a := netip.AddrFrom4([4]byte{192, 0, 2, byte(120 + k)})
		now := at(40*time.Hour + time.Duration(k)*time.Minute)
		st.Suspect(a, now)
		st.Ask(now)
		st.Answer(a, page(func(p *TwinPage) { p.ID, p.For = fmt.Sprint("x", k), []netip.Addr{a} }), nil, now)
	}
	if n := len(st.List(at(41 * time.Hour))); n > boot.MaxLANTwins {
		t.Errorf("%d twins", n)
	}
}

func TestLikeABox(t *testing.T) {
	direct := option(43, directControl)
	for _, tt := range []struct {
		name   string
		packet []byte
		want   bool
	}{
		{"two steps", offer(proxied), true},
		{"direct", offer(proxied, direct), true},
		{"HTTP Boot has no next server", offer(option(60, "HTTPClient"), func(r *reply) { r.yiaddr = "" }), true},
		{"another file server", offer(proxied, func(r *reply) { r.siaddr = "192.0.2.7" }), false},
		{"a menu", offer(proxied, option(43, "\x06\x01\x03\xff")), false},
		{"an address", offer(option(60, "PXEClient")), false},
		{"an ACK", offer(proxied, kindOf(5)), false},
		{"through a relay", offer(proxied, func(r *reply) { r.from = "192.0.2.254" }), false},
	} {
		if got := hear(t, tt.packet, "").likeABox(); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

// TestLiarsDoNotHideATwin: pages of boxes that are not in the way keep out no box
// that is.
func TestLiarsDoNotHideATwin(t *testing.T) {
	observes := func(p *TwinPage) { p.Observe = true }
	older := func(p *TwinPage) { p.Uptime = 1e6 }
	for _, tt := range []struct {
		name   string
		lie    func(*TwinPage)
		silent bool // they say nothing after the first page
		one    bool // all have one ID
	}{
		{"in observe mode", observes, false, false},
		{"older", older, false, false},
		{"standing by", func(p *TwinPage) { p.Standby, p.Behind = true, "c" }, false, false},
		{"silent", older, true, false},
		{"one box with many addresses", older, false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			st := newTwinStand(t)
			now := at(time.Hour)
			met := map[netip.Addr]bool{}
			ask := func(seconds int) {
				for range seconds {
					now = now.Add(time.Second)
					for _, a := range st.Ask(now) {
						switch {
						case a == twinAddr:
							st.Answer(a, page(), nil, now)
						case tt.silent && met[a]:
							st.Answer(a, TwinPage{}, errSilent, now)
						default:
							met[a] = true
							p := page(tt.lie, func(p *TwinPage) { p.ID, p.For = fmt.Sprint("liar", a.As4()[3]), []netip.Addr{a} })
							if tt.one {
								p.ID = "liar"
							}
							st.Answer(a, p, nil, now)
						}
					}
					st.Tick(now)
				}
			}
			for i := range maxSuspects {
				st.Suspect(netip.AddrFrom4([4]byte{192, 0, 2, byte(100 + i)}), now)
			}
			ask(80)
			if want := boot.MaxLANTwins; !tt.one && len(st.List(now)) != want {
				t.Fatalf("%d liars are known", len(st.List(now)))
			}
			st.Suspect(twinAddr, now)
			ask(80)
			if !st.Is(twinAddr) || !st.Standby() || st.Behind() != "b" {
				t.Errorf("the real box: known %v; stands by: %v", st.Is(twinAddr), st.Standby())
			}
			if n := len(st.List(now)); n > boot.MaxLANTwins || len(st.suspects) > maxSuspects {
				t.Errorf("%d twins, %d suspects", n, len(st.suspects))
			}
			// It stays, whoever comes.
			for i := range 50 {
				st.Suspect(netip.AddrFrom4([4]byte{192, 0, 2, byte(150 + i)}), now)
				ask(10)
			}
			if !st.Is(twinAddr) || st.Behind() != "b" {
				t.Error("the real box was pushed out")
			}
		})
	}
}

// TestLiarCosts: a page, and an offer in its own name for every DISCOVER, of
// somebody who boots no machine. Every machine asks four times.
func TestLiarCosts(t *testing.T) {
	bootable := boot.Foreign{Type: "offer", Server: twinAddr, Class: "PXEClient", File: "x.efi"}
	for _, tt := range []struct {
		name      string
		offer     boot.Foreign
		renewed   bool // machines begin a new transaction with every try
		lease     bool // and are heard to take an address after each
		after     int  // DISCOVERs left to the liar before this box answers again; -1: it stands by for good
		complaint bool
	}{
		{"it offers nothing", boot.Foreign{Type: "offer", Server: twinAddr}, false, false, 1, false},
		{"its offers lead nowhere", bootable, false, false, 2*4 + 2, true},
		{"the same, and machines renew transactions", bootable, true, false, 2*4 + 2, true},
		{"it takes addresses in their names", bootable, false, true, 2*4 + 2, true},
		{"a box whose machines go on to the next program", bootable, true, true, -1, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			st := newTwinStand(t)
			now := at(time.Hour)
			st.meet(t, page(), now)
			left, told := 0, []boot.Event{}
			for m := range 20 {
				mac := boot.MAC(fmt.Sprintf("52:54:00:00:01:%02x", m))
				for n, after := range []time.Duration{time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second} {
					now = now.Add(after)
					f := tt.offer
					f.XID = uint32(100 * m)
					if tt.renewed {
						f.XID += uint32(n)
					}
					leaves := st.Leaves("eth0", mac, f.XID, now)
					told = append(told, st.Tick(now)...)
					if leaves != st.Standby() {
						t.Fatalf("left to it: %v; stands by: %v", leaves, st.Standby())
					}
					if !leaves {
						break
					}
					left++
					st.Overheard(mac, f, now)
					if tt.lease {
						st.Followed(mac)
					}
				}
				if !st.Standby() {
					break
				}
			}
			if tt.after >= 0 && (left != tt.after || st.Standby()) || tt.after < 0 && !st.Standby() {
				t.Errorf("%d DISCOVERs were left to it, stands by: %v", left, st.Standby())
			}
			complained := slices.ContainsFunc(told, func(e boot.Event) bool {
				return e.Kind == boot.KindWarning && e.Reason == boot.ReasonTwin && strings.Contains(e.Text, "asked on")
			})
			if complained != tt.complaint {
				t.Errorf("told %v", told)
			}
			if tt.after >= 0 {
				st.Tick(now.Add(resumeFor))
				if !st.Standby() {
					t.Error("it does not stand by again")
				}
			}
		})
	}
	// Now and then one that goes on asking proves nothing.
	st := newTwinStand(t)
	st.meet(t, page(), at(time.Hour))
	for n := range 20 {
		now := at(time.Hour + time.Duration(n)*vainFor/2)
		f := bootable
		for _, after := range []time.Duration{0, 4 * time.Second, 12 * time.Second} {
			if !st.Leaves("eth0", "52:54:00:00:01:01", f.XID, now.Add(after)) {
				t.Fatalf("boot %d is not left to the twin", n)
			}
			st.Overheard("52:54:00:00:01:01", f, now.Add(after))
		}
	}
}

// TestOnlyBroadcastsCount: an offer that was sent to this box alone has answered
// no machine.
func TestOnlyBroadcastsCount(t *testing.T) {
	for to, want := range map[string]bool{"255.255.255.255": true, "192.0.2.2": false} {
		st := newTwinStand(t)
		st.meet(t, page(), at(time.Hour))
		w, _ := watch(newFakeKernel(state{}), Selection{})
		s := NewSentinel(SentinelConfig{Watcher: w, Sink: func(boot.Event) {}, Twins: st.Twins})
		b := offer(proxied, func(r *reply) { r.to = to })
		now := time.Now()
		st.Leaves("eth0", hear(t, b, "").client, 0, now)
		s.hear(2, &packet.Addr{HardwareAddr: []byte{2, 0, 0, 0, 0, 9}}, b)
		if got := st.Leaves("eth0", hear(t, b, "").client, 0, now.Add(4*time.Second)); got != want {
			t.Errorf("after an offer to %s, the next DISCOVER is left to the twin: %v", to, got)
		}
	}
}
