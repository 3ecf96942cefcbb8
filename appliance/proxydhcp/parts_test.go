package proxydhcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

func TestRelayPolicy(t *testing.T) {
	in := site().Interfaces[1]
	public := in
	public.Prefixes = prefixes("8.8.8.8/24")
	auto := Relays{}
	for _, c := range []struct {
		giaddr string
		in     Interface
		want   bool
	}{
		{"10.1.2.3", in, true},
		{"100.64.0.1", in, true},
		{"169.254.3.3", in, true},
		{"172.31.255.1", in, true},
		{"192.168.1.1", in, true},
		{"192.0.2.1", in, true},
		{"203.0.113.1", in, true},
		{"198.19.0.1", in, true},
		{"172.32.0.1", in, false},
		{"8.8.8.1", in, false},
		{"8.8.8.1", public, true}, // a site with public addresses
		{"8.8.8.255", public, false},
		{"192.0.2.255", in, false},
		{"224.0.0.1", in, false},
		{"255.255.255.255", in, false},
		{"127.0.0.1", in, false},
		{"127.0.0.2", site().Interfaces[0], true},
		{"240.0.0.1", in, false},
	} {
		for _, mode := range []RelayMode{"", RelayAuto} {
			auto.Mode = mode
			if got := auto.allowsRelay(netip.MustParseAddr(c.giaddr), c.in); got != c.want {
				t.Errorf("mode %q, relay %s: %v, want %v", mode, c.giaddr, got, c.want)
			}
		}
	}
	list := Relays{Mode: RelayList, Allow: []netip.Addr{netip.MustParseAddr("8.8.8.1"), netip.MustParseAddr("224.0.0.1")}, Clients: prefixes("8.8.8.0/24")}
	for giaddr, want := range map[string]bool{"8.8.8.1": true, "8.8.8.2": false, "10.0.0.1": false, "224.0.0.1": false} {
		if got := list.allowsRelay(netip.MustParseAddr(giaddr), in); got != want {
			t.Errorf("list, relay %s: %v, want %v", giaddr, got, want)
		}
	}
	never, lately := func() bool { return false }, func() bool { return true }
	for _, c := range []struct {
		l       Relays
		source  string
		relayed func() bool
		want    bool
	}{
		{auto, "192.0.2.50", never, true},
		{auto, "0.0.0.0", never, true},
		{auto, "10.0.0.1", never, false},
		{auto, "10.0.0.1", lately, true},
		{auto, "192.0.2.255", lately, false},
		{auto, "224.0.0.1", lately, false},
		{auto, "255.255.255.255", lately, false},
		{list, "8.8.8.9", never, true},
		{list, "10.0.0.1", lately, false},
		{list, "192.0.2.50", never, true},
		{Relays{Mode: RelayOff}, "8.8.8.9", lately, false},
		{Relays{Mode: RelayOff}, "192.0.2.50", never, true},
	} {
		if got := c.l.allowsClient(netip.MustParseAddr(c.source), in, c.relayed); got != c.want {
			t.Errorf("mode %s, client %s: %v, want %v", c.l.Mode, c.source, got, c.want)
		}
	}
}

// TestRelayedClientOn4011 is the default policy's whole way: a routed request
// is answered only after a relayed offer to the same hardware address.
func TestRelayedClientOn4011(t *testing.T) {
	b := newBox(t)
	b.settings.Relays = Relays{}
	second := b7().from("10.7.0.50:4011")
	second.ciaddr = netip.MustParseAddr("10.7.0.50")
	b.silence(second, boot.ReasonSource)
	b.answer(d7())
	b.silence(second, boot.ReasonSource) // offered, but not through a relay
	b.answer(d7().via("10.7.0.1"))
	b.wait(relayedOffer)
	b.answer(second)
	b.wait(time.Second)
	b.silence(second, boot.ReasonSource)
}

func TestBroadcastAddress(t *testing.T) {
	i := Interface{Prefixes: prefixes("192.0.2.2/24", "10.0.0.1/31", "10.0.1.1/32", "172.16.5.4/20", "fe80::1/64")}
	for a, want := range map[string]bool{
		"192.0.2.255": true, "192.0.2.254": false, "10.0.0.1": false, "10.0.1.1": false, "172.16.15.255": true, "172.16.5.255": false,
		"255.255.255.255": false, "fe80::1": false,
	} {
		if got := i.isBroadcast(netip.MustParseAddr(a)); got != want {
			t.Errorf("%s: %v, want %v", a, got, want)
		}
	}
}

func TestLRU(t *testing.T) {
	l := newLRU[int, string](3)
	put := func(k int) {
		t.Helper()
		v, _, _ := l.add(k)
		*v = fmt.Sprint(k)
	}
	if l.get(1) != nil {
		t.Error("something in an empty map")
	}
	put(1)
	put(2)
	put(3)
	for _, k := range []int{2, 1, 3, 1} {
		if v := l.get(k); v == nil || *v != fmt.Sprint(k) {
			t.Fatalf("%d: %v", k, v)
		}
	}
	v, old, evicted := l.add(4)
	*v = "4"
	if !evicted || old != "2" || l.get(2) != nil || l.len() != 3 {
		t.Errorf("evicted %v %q, %d left", evicted, old, l.len())
	}
	for k := 5; k < 1000; k++ {
		if _, old, evicted := l.add(k); !evicted || k > 7 && old != "" {
			t.Fatalf("add %d: %q %v", k, old, evicted)
		}
	}
	n := 0
	l.each(func(k int, _ *string) {
		n++
		if k < 997 || l.get(k) == nil {
			t.Errorf("%d is still there", k)
		}
	})
	if n != 3 || len(l.index) != 3 {
		t.Errorf("%d entries, %d in the index", n, len(l.index))
	}
}

func TestLimits(t *testing.T) {
	l := newLimiter(2, 5)
	now := testTime
	a, other := hwKey{1}, hwKey{2}
	admit := func(k hwKey) bool { _, ok := l.admit(k, now); return ok }
	for i := range limitPackets {
		if !admit(a) {
			t.Fatalf("packet %d refused", i)
		}
	}
	if admit(a) || !admit(other) {
		t.Error("a client's packets are not bounded, or another pays for them")
	}
	now = now.Add(limitWindow)
	if !admit(a) {
		t.Error("refused for ever")
	}
	// A clock that jumps back must not lock a client out.
	now = now.Add(-time.Hour)
	if !admit(a) {
		t.Error("refused after the clock was set back")
	}
	now = now.Add(2 * time.Hour)
	// All together: five a second.
	for i := range 5 {
		k := hwKey{byte(10 + i)}
		if !admit(k) {
			t.Fatalf("answer %d refused", i)
		}
		l.answered(k)
	}
	if admit(hwKey{99}) {
		t.Error("the budget for all is not bounded")
	}
	now = now.Add(200 * time.Millisecond)
	if !admit(hwKey{99}) {
		t.Error("the budget for all does not fill up")
	}
	if l.clients.len() != 2 {
		t.Errorf("%d clients kept, want 2", l.clients.len())
	}
}

func TestAnswersAreLimitedNotSilences(t *testing.T) {
	b := newBox(t)
	for range 3 * limitAnswers {
		b.silence(selecting(d0()), boot.ReasonType)
	}
	b.answer(d0())
}

// TestDigest: a flood of silences is a handful of events, and no packet is lost
// from the sum.
func TestDigest(t *testing.T) {
	b := newBox(t)
	other := d0().with(60, []byte("MSFT 5.0\n\x1b[2J")...)
	const repeats, clients = 50, 400
	for range repeats {
		b.silence(other, boot.ReasonClass)
	}
	if n := b.count(boot.KindSilence); n != 1 {
		t.Errorf("%d events of one client, want 1", n)
	}
	if text := b.events[0].Text; !strings.Contains(text, `"MSFT 5.0\n\x1b[2J"`) {
		t.Errorf("text %q: hostile text must be escaped", text)
	}
	for i := range clients {
		p := other
		p.chaddr[4], p.chaddr[5] = byte(i>>8), byte(i)
		b.silence(p, boot.ReasonClass)
	}
	if n := b.count(boot.KindSilence); n != digestSilence {
		t.Errorf("%d events, want %d", n, digestSilence)
	}
	b.wait(digestWindow)
	b.wait(digestWindow)
	counted := 0
	for _, e := range b.events {
		var n int
		switch {
		case !strings.Contains(e.Text, "since the last report") && !strings.Contains(e.Text, "packets of further"):
			counted++
		case strings.HasPrefix(e.Text, "class"):
			_, tail, _ := strings.Cut(e.Text, "; ")
			_, _ = fmt.Sscanf(tail, "%d", &n)
		default:
			_, _ = fmt.Sscanf(e.Text, "%d", &n)
		}
		counted += n
	}
	if counted != repeats+clients {
		t.Errorf("the events tell of %d packets, %d came", counted, repeats+clients)
	}
	// After the window the client is told of again.
	before := len(b.events)
	b.wait(digestWindow)
	b.silence(other, boot.ReasonClass)
	if len(b.events) != before+1 {
		t.Errorf("%d events, want one more", len(b.events)-before)
	}
}

func TestEventsAreBounded(t *testing.T) {
	b := newBox(t, func(c *Config) { c.AnswersPerSecond = 1e9 })
	b.handler.Flush()
	for i := range digestEvents + 500 {
		p := d0()
		p.chaddr[3], p.chaddr[4], p.chaddr[5] = 9, byte(i>>8), byte(i)
		out, ok := b.send(p)
		if !ok {
			t.Fatal("not answered")
		}
		b.handler.Sent(out, nil)
	}
	if n := len(b.events); n != digestEvents {
		t.Errorf("%d events, want %d", n, digestEvents)
	}
	if n := b.counter.answered[boot.FormDirect]; n != digestEvents+500 {
		t.Errorf("%d counted, want all %d", n, digestEvents+500)
	}
	b.wait(digestWindow)
	last := b.events[len(b.events)-1]
	if last.Kind != boot.KindWarning || last.Reason != boot.ReasonEventsDropped || !strings.HasPrefix(last.Text, "500 ") {
		t.Errorf("last event %+v", last)
	}
}

func TestFailedSend(t *testing.T) {
	b := newBox(t)
	out, _ := b.send(d0())
	b.handler.Sent(out, syscall.ENETUNREACH)
	e := b.events[len(b.events)-1]
	if b.counter.silences[boot.ReasonSend] != 1 || len(b.counter.answered) != 0 || e.Kind != boot.KindSilence || e.Reason != boot.ReasonSend ||
		e.File != "undionly.kpxe" || !strings.Contains(e.Text, "unreachable") {
		t.Errorf("%v, %v, %+v", b.counter.silences, b.counter.answered, e)
	}
}

func TestDefectIsCaught(t *testing.T) {
	b := newBox(t)
	b.settings.Policy.Has = func(string) bool { panic("on\npurpose") }
	b.silence(d0(), boot.ReasonInternal)
	if e := b.events[0]; e.Kind != boot.KindSilence || e.Reason != boot.ReasonInternal || e.Text != `"on\npurpose"` {
		t.Errorf("%+v", e)
	}
	b.settings.Policy.Has = nil
	b.answer(i0())
}

func TestTruncatedPacket(t *testing.T) {
	b := newBox(t)
	if _, ok := b.handler.Handle(Inbound{Raw: d0().bytes(), Truncated: true, Port: 67, IfIndex: 2}, b.handler.Surroundings()); ok || b.counter.silences[boot.ReasonParse] != 1 {
		t.Errorf("answered, or not counted: %v", b.counter.silences)
	}
}

// TestStory is one UEFI machine from an old generation of EDK2: it ignores the
// direct offer, and from then on gets the shape it understands at once.
func TestStory(t *testing.T) {
	b := newBox(t)
	first := b.answer(d7())
	first.isDirect(t, us, "x86_64/snponly.efi")
	b.wait(4 * time.Second)
	retry := b.answer(d7())
	retry.isTwoStep(t, us, "x86_64/snponly.efi")
	b.silence(selecting(d7()), boot.ReasonType)
	ack := b.answer(b7())
	ack.isAck(t, b7(), us, "x86_64/snponly.efi")
	b.memory.Loaded(client)
	b.wait(time.Hour)
	next := d7()
	next.xid++
	again := b.answer(next)
	again.isTwoStep(t, us, "x86_64/snponly.efi")
	var kinds []boot.Kind
	for _, e := range b.events {
		kinds = append(kinds, e.Kind)
	}
	if want := []boot.Kind{boot.KindOffer, boot.KindOffer, boot.KindQuirk, boot.KindLease, boot.KindAck, boot.KindOffer}; !slices.Equal(kinds, want) {
		t.Errorf("events %v, want %v", kinds, want)
	}
	twoStep := boot.Shape{Form: boot.FormTwoStep}
	if q := b.events[2]; q.Text != "the machine asked again without following the offer: now two-step offer, before the default" ||
		q.MAC != d7().mac() || q.Reason != boot.ReasonNone || q.Shape == nil || *q.Shape != twoStep {
		t.Errorf("%+v", q)
	}
	for i, want := range []*boot.Shape{nil, &twoStep, &twoStep, nil, &twoStep, &twoStep} {
		if got := b.events[i].Shape; (got == nil) != (want == nil) || got != nil && *got != *want {
			t.Errorf("event %d has the shape %v, want %v", i, got, want)
		}
	}
	if lease := b.events[3]; lease.Addr != client || lease.Reason != boot.ReasonNone || lease.Text != "from the DHCP server 192.0.2.1" || lease.Arch != 7 {
		t.Errorf("%+v", lease)
	}
}

func TestDelayQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newDelayQueue()
		ctx, cancel := context.WithCancel(t.Context())
		start := time.Now()
		var got []string
		done := make(chan struct{})
		go func() {
			defer close(done)
			q.run(ctx, func(o Outbound) {
				got = append(got, fmt.Sprint(string(o.Packet), " ", time.Since(start)))
			})
		}()
		put := func(name string, d time.Duration) {
			if !q.put(Outbound{Packet: []byte(name), Delay: d}) {
				t.Errorf("%s: full", name)
			}
		}
		put("slow", time.Second)
		put("fast", 100*time.Millisecond)
		time.Sleep(500 * time.Millisecond) //nolint:forbidigo // the bubble's clock
		put("late", 100*time.Millisecond)
		time.Sleep(2 * time.Second) //nolint:forbidigo // the same
		synctest.Wait()
		if want := []string{"fast 100ms", "late 600ms", "slow 1s"}; !slices.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
		for range maxDelayed {
			put("x", time.Hour)
		}
		if q.put(Outbound{}) {
			t.Error("the queue is not bounded")
		}
		cancel()
		<-done
	})
}

func TestDelayIsBounded(t *testing.T) {
	b := newBox(t)
	b.settings.Policy.Rules = []boot.Rule{{Delay: time.Hour}}
	if out, _ := b.send(d0()); out.Delay != MaxDelay {
		t.Errorf("delay %v", out.Delay)
	}
}

func TestPortHolder(t *testing.T) {
	proc := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(proc, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("thread-self/net/udp", "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"+
		"  10: 00000000:0043 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4711 2 0000000000000000 0\n"+
		"  11: 00000000:0044 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4712 2 0000000000000000 0\n")
	write("412/comm", "dnsmasq\n")
	if err := os.MkdirAll(filepath.Join(proc, "412", "fd"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("socket:[4711]", filepath.Join(proc, "412", "fd", "5")); err != nil {
		t.Fatal(err)
	}
	for port, want := range map[int]string{67: "dnsmasq (pid 412)", 68: "", 69: ""} {
		if got := portHolder(proc, port); got != want {
			t.Errorf("port %d: %q, want %q", port, got, want)
		}
	}
	// And the real thing: this very process.
	c, err := net.ListenPacket("udp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s := New(Config{DHCPPort: c.LocalAddr().(*net.UDPAddr).Port, BootPort: -1})
	err = s.Listen()
	var e *ListenError
	if !errors.As(err, &e) || e.Reason != boot.ReasonPortTaken || !errors.Is(err, syscall.EADDRINUSE) ||
		!strings.Contains(err.Error(), fmt.Sprintf("(pid %d)", os.Getpid())) || !strings.Contains(err.Error(), fmt.Sprint(e.Port)) {
		t.Errorf("%v", err)
	}
}
