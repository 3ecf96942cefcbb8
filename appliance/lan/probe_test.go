package lan

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

var nicMAC = net.HardwareAddr{2, 0, 0, 0, 0, 2}

func TestProbePacket(t *testing.T) {
	for _, q := range []question{questionPlain, questionPXE} {
		b := probePacket(q, nicMAC, 0x01020304)
		if sum16(b[:20], 0) != 0xffff {
			t.Errorf("question %d: IP checksum", q)
		}
		// RFC 768: with the pseudo header the sum is all ones.
		pseudo := slices.Concat(b[12:20], []byte{0, 17}, b[24:26])
		if sum16(b[20:], uint32(sum16(pseudo, 0))) != 0xffff {
			t.Errorf("question %d: UDP checksum", q)
		}
		if n := int(binary.BigEndian.Uint16(b[2:])); n != len(b) || n < 328 || n > 576 {
			t.Errorf("question %d: %d of %d octets", q, n, len(b))
		}
		if from, to := netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:])); from.String() != "0.0.0.0" || to.String() != "255.255.255.255" {
			t.Errorf("from %s to %s", from, to)
		}
		if s, d := binary.BigEndian.Uint16(b[20:]), binary.BigEndian.Uint16(b[22:]); s != 68 || d != 67 {
			t.Errorf("ports %d, %d", s, d)
		}
		p, err := dhcpv4.FromBytes(b[28:])
		if err != nil {
			t.Fatal(err)
		}
		if p.MessageType() != dhcpv4.MessageTypeDiscover || p.OpCode != dhcpv4.OpcodeBootRequest || p.ClientHWAddr.String() != nicMAC.String() ||
			p.TransactionID != [4]byte{1, 2, 3, 4} || !p.IsBroadcast() || !p.ClientIPAddr.IsUnspecified() {
			t.Errorf("question %d: %s", q, p.Summary())
		}
		for _, never := range []uint8{50, 54, 51, 61, 12} { // an address, a server, a lease, other identities
			if p.Options.Has(dhcpv4.GenericOptionCode(never)) {
				t.Errorf("question %d has option %d", q, never)
			}
		}
		if got := string(p.Options[77]); got != ProbeClass {
			t.Errorf("user class %q", got)
		}
		class, arch, id := string(p.Options[60]), p.Options[93], p.Options[97]
		if q == questionPlain && (class != "" || len(arch) != 0 || len(id) != 0) {
			t.Errorf("the plain question boots: %q %v %v", class, arch, id)
		}
		if q == questionPXE && (!strings.HasPrefix(class, "PXEClient:Arch:00007:") || string(arch) != "\x00\x07" || len(id) != 17 || id[0] != 0) {
			t.Errorf("the boot question does not boot: %q %v %v", class, arch, id)
		}
	}
}

// answerTo makes a server's answer to a question that was sent.
func answerTo(q sent, server string, change ...func(*reply)) []byte {
	b := offer(append([]func(*reply){func(r *reply) {
		r.from = server
		copy(r.options[5:], netip.MustParseAddr(server).AsSlice())
	}}, change...)...)
	copy(b[28+4:], q.packet[28+4:28+8])    // xid
	copy(b[28+28:], q.packet[28+28:28+34]) // chaddr
	return b
}

// kindOfSent tells the two questions apart.
func kindOfSent(s sent) question {
	if strings.Contains(string(s.packet), "PXEClient") {
		return questionPXE
	}
	return questionPlain
}

// probing is a stand whose sentinel asks by itself.
func probing(t *testing.T, every time.Duration, s state) *stand {
	st := newStand(t, s)
	st.sentinel.cfg.ProbeEvery = every
	n := uint64(1000)
	st.sentinel.cfg.Rand = func() uint64 { n += 7; return n }
	return st
}

func (f *fakeSockets) takeSent() []sent {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.sent
	f.sent = nil
	return s
}

func TestProbeOnItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := probing(t, 10*time.Minute, state{[]link{nic(2, "eth0"), nic(3, "eth1"), nic(4, "eth2")}, on(2, "192.0.2.2/24")})
		defer st.start(t)()
		<-st.sentinel.Ready()
		start := time.Now()
		<-time.After(probeAfter - time.Second)
		if s := st.sockets.takeSent(); len(s) != 0 {
			t.Errorf("%d packets before %v", len(s), probeAfter)
		}
		<-time.After(2 * time.Second)
		synctest.Wait()
		out := st.sockets.takeSent()
		if len(out) != 4 { // two on each served interface
			t.Fatalf("%d packets", len(out))
		}
		xids := map[string]bool{}
		for _, p := range out {
			xids[string(p.packet[32:36])] = true
			if p.to != "ff:ff:ff:ff:ff:ff" {
				t.Errorf("sent to %s", p.to)
			}
		}
		if len(xids) != 4 {
			t.Error("a transaction number was used twice")
		}
		// Six hours: nothing but one pair on each interface about every ten minutes.
		<-time.After(6*time.Hour - time.Since(start))
		synctest.Wait()
		n := len(st.sockets.takeSent())
		if n < 4*33 || n > 4*40 {
			t.Errorf("%d packets in six hours", n)
		}
	})
}

func TestProbeOffAndOnDemand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := probing(t, 0, state{[]link{nic(2, "eth0")}, on(2, "192.0.2.2/24")})
		observe := true
		st.sentinel.cfg.Observe = func() bool { return observe }
		defer st.start(t)()
		<-st.sentinel.Ready()
		<-time.After(24 * time.Hour)
		synctest.Wait()
		reason := func(err error) boot.Reason {
			var p ProbeError
			if !errors.As(err, &p) {
				t.Errorf("error %v", err)
			}
			return p.Reason()
		}
		if _, err := st.sentinel.Probe(t.Context()); reason(err) != boot.ReasonProbeOff {
			t.Errorf("in observe mode: %v", err)
		}
		if s := st.sockets.takeSent(); len(s) != 0 {
			t.Fatalf("%d packets were sent", len(s))
		}
		observe = false
		// A server that answers by unicast, one that broadcasts, and a forger.
		go func() {
			<-time.After(time.Second)
			eth0 := st.sockets.get("eth0")
			for _, q := range st.sockets.takeSent() {
				eth0.packets <- answerTo(q, "192.0.2.1", func(r *reply) { r.to = "192.0.2.2" })
				if kindOfSent(q) == questionPXE {
					eth0.packets <- answerTo(q, "192.0.2.9", proxied)
				}
				other := answerTo(q, "192.0.2.66")
				copy(other[28+28:], []byte{2, 9, 9, 9, 9, 9}) // not to us
				eth0.packets <- other
			}
		}()
		began := time.Now()
		list, err := st.sentinel.Probe(t.Context())
		if err != nil || time.Since(began) != probeWait {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		want := []boot.LANProbe{{Time: began, Interface: "eth0", Answers: addrs("192.0.2.1", "192.0.2.9")}}
		if d := cmp.Diff(want, list, compareAddrs); d != "" {
			t.Error(d)
		}
		l := st.sentinel.LAN(time.Now())
		if d := cmp.Diff(want, l.Probes, compareAddrs); d != "" {
			t.Error(d)
		}
		for _, s := range l.Servers {
			if asked := s.Server != netip.MustParseAddr("192.0.2.66"); s.Asked != asked {
				t.Errorf("%s asked: %v", s.Server, s.Asked)
			}
		}
		// What is said to the box itself is no machine's boot.
		for _, e := range st.events.take() {
			if e.Kind == boot.KindForeign && e.MAC != "02:09:09:09:09:09" {
				t.Errorf("event %+v", e)
			}
		}
		if _, err := st.sentinel.Probe(t.Context()); reason(err) != boot.ReasonProbeBusy {
			t.Errorf("at once again: %v", err)
		}
		<-time.After(probeGap)
		// A question that cannot be sent, and one that is called off.
		st.sockets.mu.Lock()
		st.sockets.writeErr = syscall.ENETDOWN
		st.sockets.mu.Unlock()
		list, err = st.sentinel.Probe(t.Context())
		if err != nil || len(list) != 1 || !strings.Contains(list[0].Err, "network is down") || len(list[0].Answers) != 0 {
			t.Errorf("%+v, %v", list, err)
		}
		<-time.After(probeGap)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := st.sentinel.Probe(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("called off: %v", err)
		}
	})
}

func TestProbeWithoutPermission(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := probing(t, time.Minute, state{[]link{nic(2, "eth0")}, on(2, "192.0.2.2/24")})
		st.sockets.fail("eth0", &net.OpError{Op: "listen", Err: syscall.EPERM})
		if err := st.sentinel.Run(t.Context()); err == nil {
			t.Fatal("it runs")
		}
		var p ProbeError
		if _, err := st.sentinel.Probe(t.Context()); !errors.As(err, &p) || p.Reason() != boot.ReasonPermission {
			t.Errorf("got %v", err)
		}
		if st.sentinel.Hears() {
			t.Error("it hears something")
		}
	})
}

// TestServerGoesAndIsPutRight: three questions without an answer mean that a
// server is gone, and a better answer clears a finding.
func TestServerGoesAndIsPutRight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := probing(t, 0, state{[]link{nic(2, "eth0")}, on(2, "192.0.2.2/24")})
		defer st.start(t)()
		<-st.sentinel.Ready()
		ask := func(answer func(sent) []byte) boot.LAN {
			t.Helper()
			<-time.After(probeGap)
			go func() {
				<-time.After(time.Second)
				for _, q := range st.sockets.takeSent() {
					if b := answer(q); b != nil {
						st.sockets.get("eth0").packets <- b
					}
				}
			}()
			if _, err := st.sentinel.Probe(t.Context()); err != nil {
				t.Error(err)
			}
			return st.sentinel.LAN(time.Now())
		}
		wrong := func(q sent) []byte {
			if kindOfSent(q) == questionPXE {
				return answerTo(q, "192.0.2.1", option(60, "PXEClient"))
			}
			return answerTo(q, "192.0.2.1")
		}
		l := ask(wrong)
		if len(l.Servers) != 1 || !slices.Equal(l.Servers[0].Findings, []boot.Reason{boot.ReasonOption60}) {
			t.Fatalf("%+v", l.Servers)
		}
		l = ask(func(q sent) []byte { return answerTo(q, "192.0.2.1") })
		if len(l.Servers) != 1 || len(l.Servers[0].Findings) != 0 || len(st.sentinel.Problems()) != 0 {
			t.Fatalf("put right, and still %+v", l.Servers)
		}
		st.events.take()
		nobody := func(sent) []byte { return nil }
		for range goneAfter - 1 {
			if l = ask(nobody); len(l.Servers) != 1 {
				t.Fatalf("gone too early: %+v", l)
			}
		}
		if l = ask(nobody); len(l.Servers) != 0 || l.Servers == nil {
			t.Errorf("not gone: %+v", l.Servers)
		}
		if list := st.sentinel.Responders(); len(list) != 1 || !list[0].Gone {
			t.Errorf("%+v", list)
		}
		if d := cmp.Diff([]string{"responder: DHCP server 192.0.2.1 (02:00:00:00:00:51) on eth0 is gone: nothing was heard of it through 3 questions."},
			told(st.events.take())); d != "" {
			t.Error(d)
		}
		// It comes back, and is not new.
		if l = ask(wrong); len(l.Servers) != 1 || !slices.Equal(l.Servers[0].Findings, []boot.Reason{boot.ReasonOption60}) {
			t.Errorf("%+v", l.Servers)
		}
	})
}

func TestJitter(t *testing.T) {
	w, _ := watch(newFakeKernel(state{}), Selection{})
	for _, r := range []uint64{0, 1, 1 << 40, ^uint64(0)} {
		s := NewSentinel(SentinelConfig{Watcher: w, Rand: func() uint64 { return r }})
		if d := s.jittered(10 * time.Minute); d < 9*time.Minute || d > 11*time.Minute {
			t.Errorf("%v", d)
		}
		if d := s.jittered(5); d != 5 {
			t.Errorf("%v", d)
		}
	}
}

func TestProbesAreBounded(t *testing.T) {
	var p probes
	for n := range 1000 {
		p.ask("eth0", "02:00:00:00:00:02", map[uint32]question{uint32(2*n + 1): questionPlain}, epoch.Add(time.Duration(n)*time.Second))
	}
	if len(p.out) > 31 {
		t.Errorf("%d questions are waited for", len(p.out))
	}
	for n := range 100 {
		h := heard{xid: 1999, client: "02:00:00:00:00:02", server: netip.AddrFrom4([4]byte{10, 0, 0, byte(n)})}
		p.answer(h, epoch.Add(1000*time.Second))
	}
	if n := len(p.last["eth0"].Answers); n != maxAnswers {
		t.Errorf("%d answers kept", n)
	}
	if q := p.answer(heard{xid: 1999, client: "02:00:00:00:00:02"}, epoch.Add(1100*time.Second)); q != questionNone {
		t.Error("an answer after two minutes counts")
	}
}

var compareAddrs = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

func addrs(list ...string) []netip.Addr {
	out := []netip.Addr{}
	for _, a := range list {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}
