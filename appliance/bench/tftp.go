package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	tftpClients = 32
	tftpSize    = 1 << 20
	tftpBlock   = 1468
	// loss each way and delay each way of the bad link
	tftpLoss  = 0.001
	tftpDelay = 500 * time.Microsecond
)

// tftp compares 1 MiB downloads by many clients with tftpd-hpa, on a clean link
// and on one that loses packets.
func (b *bench) tftp(ctx context.Context) error {
	root := filepath.Join(b.dir, "tftp")
	if err := os.MkdirAll(root, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(root, "one.bin"), make([]byte, tftpSize), 0o644); err != nil {
		return err
	}
	lossy := result{what: "TFTP: p99 of 32 clients, 0.1% loss, 1 ms RTT", unit: "s", peerName: "tftpd-hpa", goal: "<= 1.0"}
	clean := result{what: "TFTP: 32 clients, clean link", unit: "MB/s", peerName: "tftpd-hpa"}
	longest := 0
	for range b.rounds {
		for _, peer := range []bool{false, true} {
			name := "files/one.bin"
			var p *process
			var err error
			if peer {
				name = "one.bin"
				p, err = b.start("/usr/sbin/in.tftpd", "-L", "-u", "root", "-s", "-a", "0.0.0.0:69", root)
			} else {
				p, err = b.box(ctx, "-files", root, "-log-level", "warn")
			}
			if err != nil {
				return err
			}
			var biggest atomic.Int64
			fetch := func(loss float64, delay time.Duration) (time.Duration, error) {
				return b.fetch(ctx, name, loss, delay, &biggest)
			}
			if err := p.ready(ctx, func() error { _, err := fetch(0, 0); return err }); err != nil {
				return err
			}
			start, total := time.Now(), 0
			for time.Since(start) < b.seconds {
				if _, err := many(tftpClients, func() (time.Duration, error) { return fetch(0, 0) }); err != nil {
					return err
				}
				total += tftpClients * tftpSize
			}
			gb := float64(total) / 1e9
			// No processor time here: in.tftpd's children are gone before it can be read.
			mbs := gb * 1000 / time.Since(start).Seconds()
			var times []time.Duration
			for range 4 { // 128 downloads, so that p99 is not just the worst
				t, err := many(tftpClients, func() (time.Duration, error) { return fetch(tftpLoss, tftpDelay) })
				if err != nil {
					return err
				}
				times = append(times, t...)
			}
			slices.Sort(times)
			p.stop()
			p99 := quantile(times, .99).Seconds()
			if peer {
				lossy.peer, clean.peer = append(lossy.peer, p99), append(clean.peer, mbs)
				continue
			}
			lossy.ours, clean.ours = append(lossy.ours, p99), append(clean.ours, mbs)
			longest = max(longest, int(biggest.Load()))
		}
	}
	b.results = append(b.results, lossy, clean)
	b.figures = append(b.figures, figure{"TFTP: longest IP packet sent (blksize 8192 asked)", fmt.Sprintf("%d bytes", longest+28), "<= 1500"})
	return nil
}

// many runs n fetches at once.
func many(n int, fetch func() (time.Duration, error)) ([]time.Duration, error) {
	var wg sync.WaitGroup
	times, errs := make([]time.Duration, n), make([]error, n)
	for i := range n {
		wg.Go(func() { times[i], errs[i] = fetch() })
	}
	wg.Wait()
	return times, errors.Join(errs...)
}

// fetch downloads one file as lock-step firmware does: it acknowledges what
// comes, and repeats its own packet only after seconds. Loss and delay are of
// the link: each packet of either direction is lost or late on its own.
func (b *bench) fetch(ctx context.Context, name string, loss float64, delay time.Duration, biggest *atomic.Int64) (time.Duration, error) {
	conn, err := b.udpInClient(ctx, clientAddr+":0", nil)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	send := func(p []byte, to netip.AddrPort) {
		if rand.Float64() < loss {
			return
		}
		if delay == 0 {
			_, _ = conn.WriteToUDPAddrPort(p, to)
			return
		}
		p = slices.Clone(p)
		time.AfterFunc(delay, func() { _, _ = conn.WriteToUDPAddrPort(p, to) })
	}
	size := tftpBlock
	ask := size
	if loss == 0 {
		ask = 8192 // what the server makes of it must still fit a packet
	}
	rrq := fmt.Appendf([]byte{0, 1}, "%s\x00octet\x00blksize\x00%d\x00", name, ask)
	peer := netip.AddrPortFrom(netip.MustParseAddr(serverAddr), 69)
	last := rrq
	start, got, next := time.Now(), 0, uint16(1)
	send(last, peer)
	buf := make([]byte, 65536)
	known := false
	for tries := 0; ; {
		_ = conn.SetReadDeadline(time.Now().Add(4 * time.Second)) // EDK2's patience
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() && tries < 5 {
			tries++
			send(last, peer)
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("fetch %s: %w after %d octets", name, err, got)
		}
		if rand.Float64() < loss {
			continue
		}
		if delay > 0 {
			pause(time.Now().Add(delay))
		}
		if n < 4 || known && from != peer {
			continue
		}
		biggest.Store(max(biggest.Load(), int64(n)))
		switch binary.BigEndian.Uint16(buf) {
		case 6: // OACK
			if v := option(buf[2:n], "blksize"); v > 0 {
				size = v
			}
			peer, known = from, true
			last = []byte{0, 4, 0, 0}
			send(last, peer)
		case 3:
			peer, known = from, true
			if block := binary.BigEndian.Uint16(buf[2:]); block != next {
				if block == next-1 {
					send(last, peer) // the acknowledgement was lost
				}
				continue
			}
			tries = 0
			got += n - 4
			last = []byte{0, 4, byte(next >> 8), byte(next)}
			next++
			if n-4 < size {
				// The last acknowledgement is not lost: nobody would repeat it.
				_, _ = conn.WriteToUDPAddrPort(last, peer)
				if got != tftpSize {
					return 0, fmt.Errorf("fetch %s: %d octets", name, got)
				}
				return time.Since(start), nil
			}
			send(last, peer)
		case 5:
			return 0, fmt.Errorf("fetch %s: server says %q", name, buf[4:n])
		}
	}
}

// option is the value of a number option in an OACK, 0 when absent.
func option(p []byte, name string) int {
	parts := []string{}
	for len(p) > 0 {
		i := slices.Index(p, 0)
		if i < 0 {
			break
		}
		parts, p = append(parts, string(p[:i])), p[i+1:]
	}
	for i := 0; i+1 < len(parts); i += 2 {
		if parts[i] == name {
			n := 0
			_, _ = fmt.Sscan(parts[i+1], &n)
			return n
		}
	}
	return 0
}
