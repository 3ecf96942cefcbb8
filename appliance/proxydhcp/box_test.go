package proxydhcp

import (
	"net/netip"
	"testing"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// box is a Handler with a clock that the test moves.
type box struct {
	t        *testing.T
	now      time.Time
	env      Env
	settings Settings
	memory   *boot.Memory
	handler  *Handler
	events   []boot.Event
	counter  *counts
}

type counts struct {
	silences map[boot.Reason]int
	answered map[boot.Form]int
}

func (c *counts) Silence(r boot.Reason)                    { c.silences[r]++ }
func (c *counts) Answered(form boot.Form, _ time.Duration) { c.answered[form]++ }

func (c *counts) total() int {
	n := 0
	for _, v := range c.silences {
		n += v
	}
	for _, v := range c.answered {
		n += v
	}
	return n
}

func newBox(t *testing.T, change ...func(*Config)) *box {
	b := &box{
		t: t, now: testTime, env: site(), memory: boot.NewMemory(100),
		counter: &counts{map[boot.Reason]int{}, map[boot.Form]int{}},
	}
	b.settings = Settings{Policy: b.env.Policy, Relays: b.env.Relays}
	c := Config{
		Interfaces: func() []Interface { return b.env.Interfaces },
		Settings:   func() Settings { return b.settings },
		Memory:     b.memory,
		Sink:       func(e boot.Event) { b.events = append(b.events, e) },
		Counter:    b.counter,
		Now:        func() time.Time { return b.now },
	}
	for _, f := range change {
		f(&c)
	}
	b.handler = NewHandler(c)
	return b
}

func (b *box) wait(d time.Duration) {
	b.now = b.now.Add(d)
	b.handler.Flush()
}

// send passes p through the handler as the server does.
func (b *box) send(p packet) (Outbound, bool) {
	raw := p.bytes()
	if !b.handler.Admit(raw) {
		return Outbound{}, false
	}
	return b.handler.Handle(Inbound{
		Raw: raw, Port: p.port, IfIndex: p.ifIndex,
		Source: netip.MustParseAddrPort(p.source), Destination: netip.MustParseAddr(p.dest),
	}, b.handler.Surroundings())
}

func (b *box) answer(p packet) parsed {
	b.t.Helper()
	before := b.counter.total()
	out, ok := b.send(p)
	if !ok {
		b.t.Fatalf("silence: %v", b.counter.silences)
	}
	b.handler.Sent(out, nil)
	if n := b.counter.total() - before; n != 1 {
		b.t.Errorf("counted %d times, want 1", n)
	}
	return judge(b.t, p, out.Packet, out.Src)
}

func (b *box) silence(p packet, want boot.Reason) {
	b.t.Helper()
	before, all := b.counter.silences[want], b.counter.total()
	if _, ok := b.send(p); ok {
		b.t.Fatalf("answered, want silence for %s", want)
	}
	if b.counter.silences[want] != before+1 || b.counter.total() != all+1 {
		b.t.Errorf("counted %v, want one more %s and nothing else", b.counter.silences, want)
	}
}

func (b *box) count(kind boot.Kind) (n int) {
	for _, e := range b.events {
		if e.Kind == kind {
			n++
		}
	}
	return n
}

func (b *box) warnings(reason boot.Reason) (n int) {
	for _, e := range b.events {
		if e.Kind == boot.KindWarning && e.Reason == reason {
			n++
		}
	}
	return n
}
