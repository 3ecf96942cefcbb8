package proxydhcp

import (
	"errors"
	"testing"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// TestStandby leaves clients on the link to another box, and only those.
func TestStandby(t *testing.T) {
	type question struct {
		ifname string
		mac    boot.MAC
		xid    uint32
	}
	b := newBox(t)
	var asked []question
	leave := true
	b.settings.Standby = func(ifname string, mac boot.MAC, xid uint32) bool {
		asked = append(asked, question{ifname, mac, xid})
		return leave
	}
	d := d7()
	b.silence(d, boot.ReasonStandby)
	want := question{"eth0", d.mac(), d.xid}
	if len(asked) != 1 || asked[0] != want {
		t.Errorf("asked %+v", asked)
	}
	if len(b.events) != 1 || b.events[0].Kind != boot.KindSilence || b.events[0].Reason != boot.ReasonStandby || b.events[0].MAC != d.mac() {
		t.Errorf("told %+v", b.events)
	}
	b.answer(b7())          // it has chosen this box
	b.answer(relayed(d7())) // a twin's answer to a relay is not heard here
	if len(asked) != 1 {
		t.Errorf("asked about %+v", asked[1:])
	}
	b.silence(d0().without(60), boot.ReasonClass) // not a boot client in the first place
	if len(asked) != 1 {
		t.Errorf("asked about a client that gets nothing anyway: %+v", asked[1:])
	}
	leave = false
	b.answer(d7())
	// Observe mode says what it is, not that a twin answers.
	leave, b.settings.Observe = true, true
	b.silence(d7(), boot.ReasonObserve)
}

// TestProbeOfAnotherBox is answered and counted, and leaves no trace.
func TestProbeOfAnotherBox(t *testing.T) {
	b := newBox(t)
	probe := d7().with(optUserClass, []byte(ProbeClass)...)
	for range 5 { // more than the loop guard lets pass without a word
		b.answer(probe)
	}
	b.silence(probe.without(optClass), boot.ReasonClass)
	out, ok := b.send(probe)
	if !ok {
		t.Fatal("not answered")
	}
	b.handler.Sent(out, errors.New("network is down"))
	if b.counter.silences[boot.ReasonSend] != 1 {
		t.Errorf("counted %v", b.counter.silences)
	}
	b.wait(2 * digestWindow)
	if len(b.events) != 0 || b.memory.Len() != 0 {
		t.Errorf("told %+v, %d clients remembered", b.events, b.memory.Len())
	}
	// Only a DISCOVER looks: who fetches something is a machine that boots.
	b.answer(b7().with(optUserClass, []byte(ProbeClass)...))
	if b.count(boot.KindAck) != 1 {
		t.Errorf("told %+v", b.events)
	}
}
