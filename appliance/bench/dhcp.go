package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// dhcp compares answers to DISCOVERs of BIOS clients, each from another
// hardware address, with dnsmasq as proxy.
func (b *bench) dhcp(ctx context.Context) error {
	conf := filepath.Join(b.dir, "dnsmasq.conf")
	text := "port=0\ninterface=eth0\nbind-interfaces\ndhcp-range=10.98.0.0,proxy\npxe-service=x86PC,\"boot\",undionly\n" +
		"enable-tftp\ntftp-root=" + b.dir + "\nleasefile-ro\nuser=root\n"
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		return err
	}
	perOffer := result{what: "DHCP: CPU per OFFER", unit: "µs", peerName: "dnsmasq", goal: "<= 1.0"}
	rate := result{what: "DHCP: offers at full speed", unit: "1/s", peerName: "dnsmasq", goal: ">= 1.2"}
	calm := result{what: "DHCP: p99 at 1,000 DISCOVERs/s", unit: "ms", peerName: "dnsmasq", goal: "ours < 5 ms"}
	lost, twice := 0, 0
	for range b.rounds {
		for _, peer := range []bool{false, true} {
			var p *process
			var err error
			if peer {
				p, err = b.start("/usr/sbin/dnsmasq", "-k", "-C", conf)
			} else {
				p, err = b.box(ctx, "-log-level", "warn")
			}
			if err != nil {
				return err
			}
			if err := p.ready(ctx, func() error { _, err := b.load(ctx, 1, 0, 300*time.Millisecond); return err }); err != nil {
				return err
			}
			before := p.cpu()
			full, err := b.load(ctx, 64, 0, b.seconds)
			if err != nil {
				return err
			}
			used := p.cpu() - before
			steady, err := b.load(ctx, 0, 1000, b.seconds)
			if err != nil {
				return err
			}
			p.stop()
			us := float64(used.Microseconds()) / float64(full.answered)
			perSecond := float64(full.answered) / full.took.Seconds()
			ms := float64(quantile(steady.latency, .99).Microseconds()) / 1000
			if peer {
				perOffer.peer, rate.peer, calm.peer = append(perOffer.peer, us), append(rate.peer, perSecond), append(calm.peer, ms)
				continue
			}
			perOffer.ours, rate.ours, calm.ours = append(perOffer.ours, us), append(rate.ours, perSecond), append(calm.ours, ms)
			lost += steady.sent - steady.answered
			twice += steady.doubled + full.doubled
		}
	}
	b.results = append(b.results, perOffer, rate, calm)
	b.figures = append(b.figures, figure{"DHCP: lost at 1,000/s, answered twice (all rounds)", fmt.Sprintf("%d, %d", lost, twice), "0, 0"})
	return nil
}

// load is what came of sending DISCOVERs for a while.
type load struct {
	sent, answered, doubled int
	took                    time.Duration
	latency                 []time.Duration // sorted
}

// load sends DISCOVERs from the client: window at a time as fast as answers
// come, or perSecond of them.
func (b *bench) load(ctx context.Context, window, perSecond int, d time.Duration) (load, error) {
	conn, err := b.udpInClient(ctx, "0.0.0.0:68", func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BROADCAST, 1)
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20)
		_ = unix.SetsockoptString(int(fd), unix.SOL_SOCKET, unix.SO_BINDTODEVICE, "eth0")
	})
	if err != nil {
		return load{}, err
	}
	defer conn.Close()
	var (
		mu     sync.Mutex
		l      load
		sentAt = map[uint32]time.Time{}
		room   = make(chan struct{}, max(window, 1))
		done   = make(chan struct{})
	)
	go func() {
		defer close(done)
		buf := make([]byte, 2048)
		for {
			n, _, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			if n < 240 || buf[0] != 2 {
				continue
			}
			xid := binary.BigEndian.Uint32(buf[4:])
			now := time.Now()
			mu.Lock()
			at, known := sentAt[xid]
			switch {
			case !known:
			case at.IsZero():
				l.doubled++
			default:
				l.answered++
				l.latency = append(l.latency, now.Sub(at))
				sentAt[xid] = time.Time{}
				select {
				case <-room:
				default:
				}
			}
			mu.Unlock()
		}
	}()
	to := &net.UDPAddr{IP: net.IPv4bcast, Port: 67}
	packet := discover()
	base := uint32(time.Now().UnixNano()) //nolint:gosec // only has to differ from run to run
	start := time.Now()
	for i := uint32(0); time.Since(start) < d && ctx.Err() == nil; i++ {
		if perSecond > 0 {
			pause(start.Add(time.Duration(i) * time.Second / time.Duration(perSecond)))
		} else {
			select {
			case room <- struct{}{}:
			case <-time.After(200 * time.Millisecond): // one was lost; go on without it
				select {
				case <-room:
				default:
				}
				continue
			}
		}
		xid := base + i
		binary.BigEndian.PutUint32(packet[4:], xid)
		packet[28], packet[29] = 0x52, 0x54
		binary.BigEndian.PutUint32(packet[30:], xid)
		mu.Lock()
		sentAt[xid] = time.Now()
		l.sent++
		mu.Unlock()
		if _, err := conn.WriteTo(packet, to); err != nil {
			return l, err
		}
	}
	l.took = time.Since(start)
	_ = conn.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
	<-done
	if ctx.Err() != nil {
		return l, ctx.Err()
	}
	slices.Sort(l.latency)
	if l.answered == 0 {
		return l, errors.New("no DISCOVER was answered")
	}
	return l, nil
}

// pause waits until t.
func pause(t time.Time) {
	if d := time.Until(t); d > 0 {
		timer := time.NewTimer(d)
		<-timer.C
	}
}

// discover is a DISCOVER as a PC's BIOS sends it.
func discover() []byte {
	p := make([]byte, 240, 548)
	p[0], p[1], p[2] = 1, 1, 6
	p[10] = 0x80
	copy(p[236:], []byte{0x63, 0x82, 0x53, 0x63})
	add := func(code byte, v ...byte) { p = append(append(p, code, byte(len(v))), v...) }
	add(53, 1)
	add(55, 1, 3, 43, 60, 66, 67, 128, 129, 130, 131, 132, 133, 134, 135)
	add(57, 4, 236)
	add(97, append([]byte{0}, []byte("0123456789abcdef")...)...)
	add(93, 0, 0)
	add(94, 1, 2, 1)
	add(60, []byte("PXEClient:Arch:00000:UNDI:002001")...)
	p = append(p, 255)
	return append(p, make([]byte, 548-len(p))...)
}
