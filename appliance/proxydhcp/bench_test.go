package proxydhcp

import (
	"net/netip"
	"syscall"
	"testing"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// cpu reports the processor time of the process per operation, garbage
// collection included: on a machine that others use too, elapsed time says
// little.
func cpu(b *testing.B) (report func()) {
	used := func() int64 {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return u.Utime.Nano() + u.Stime.Nano()
	}
	start := used()
	return func() { b.ReportMetric(float64(used()-start)/float64(b.N), "cpu-ns/op") }
}

func BenchmarkReply(b *testing.B) {
	for _, c := range []struct {
		name string
		p    packet
		want boot.Reason
	}{
		{"bios", d0(), ""},
		{"uefi", d7(), ""},
		{"ipxe", i0(), ""},
		{"http", dh(16), ""},
		{"ack", b7(), ""},
		{"relayed", relayed(d0()), ""},
		{"class", d0().with(60, []byte("MSFT 5.0")...), boot.ReasonClass},
		{"lease", selecting(d0()), boot.ReasonType},
	} {
		b.Run(c.name, func(b *testing.B) {
			env := site()
			env.Port, env.IfIndex = c.p.port, c.p.ifIndex
			env.Source, env.Destination = netip.MustParseAddrPort(c.p.source), netip.MustParseAddr(c.p.dest)
			raw := c.p.bytes()
			b.ReportAllocs()
			defer cpu(b)()
			for b.Loop() {
				if res := Reply(raw, env); res.Reason != c.want {
					b.Fatal(res.Reason)
				}
			}
		})
	}
}

// BenchmarkHandler is a whole packet but for the sockets: rate limit, reply,
// memory, event.
func BenchmarkHandler(b *testing.B) {
	env := site()
	h := NewHandler(Config{
		Interfaces: func() []Interface { return env.Interfaces },
		Settings:   func() Settings { return Settings{Relays: env.Relays} },
	})
	raw := d0().bytes()
	in := Inbound{Raw: raw, Port: 67, IfIndex: 2, Source: netip.MustParseAddrPort("0.0.0.0:68"), Destination: limitedBroadcast}
	h.limits.rate, h.limits.tokens = 1e12, 1e12
	raw[30] = 9 // not one of our own addresses
	around := h.Surroundings()
	b.ReportAllocs()
	defer cpu(b)()
	for i := 0; b.Loop(); i++ {
		raw[31], raw[32], raw[33] = byte(i>>16), byte(i>>8), byte(i)
		if !h.Admit(raw) {
			b.Fatal("not admitted")
		}
		out, ok := h.Handle(in, around)
		if !ok {
			b.Fatal("not answered")
		}
		h.Sent(out, nil)
	}
}

// BenchmarkFlood is what a packet costs whose client has had enough.
func BenchmarkFlood(b *testing.B) {
	env := site()
	h := NewHandler(Config{
		Interfaces: func() []Interface { return env.Interfaces },
		Settings:   func() Settings { return Settings{} },
	})
	raw := d0().bytes()
	for range limitPackets {
		h.Admit(raw)
	}
	b.ReportAllocs()
	defer cpu(b)()
	for b.Loop() {
		h.Admit(raw)
	}
}
