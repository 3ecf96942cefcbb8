package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
	"github.com/bootpuck/bootpuck/appliance/lan"
	"github.com/bootpuck/bootpuck/appliance/proxydhcp"
)

// bareArg makes this program a box that answers DHCP and does nothing else: no
// journal, no boots, no state, no sentinel, no metrics.
const bareArg = "-bare"

// bare answers until ctx ends.
func bare(ctx context.Context) error {
	w := lan.NewWatcher(lan.Selection{}, func(boot.Event) {})
	go func() { _ = w.Run(ctx) }()
	<-w.Ready()
	s := proxydhcp.New(proxydhcp.Config{
		Interfaces: func() []proxydhcp.Interface {
			var out []proxydhcp.Interface
			for _, i := range w.Snapshot() {
				var mac boot.MAC
				if len(i.MAC) > 0 {
					mac = boot.MACOf(i.MAC)
				}
				out = append(out, proxydhcp.Interface{
					Index: i.Index, Name: i.Name, MAC: mac, Prefixes: i.Addrs, Address: i.Preferred, Up: i.Up, MTU: i.MTU, Served: i.Served,
				})
			}
			return out
		},
		Settings: func() proxydhcp.Settings { return proxydhcp.Settings{} },
	})
	return s.Run(ctx)
}

// hostile is how many clients that never were are invented.
const hostile = 100_000

// events measures what telling costs: OFFERs of the whole box beside those of one
// that only answers, and the memory after 100,000 invented clients.
func (b *bench) events(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cpu := result{what: "events: CPU per OFFER, whole box and bare", unit: "µs", peerName: "bare"}
	calm := result{what: "events: p99 at 1,000 DISCOVERs/s", unit: "ms", peerName: "bare"}
	for range b.rounds {
		for _, peer := range []bool{false, true} {
			var p *process
			if peer {
				p, err = b.start(self, bareArg)
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
			us := float64((p.cpu() - before).Microseconds()) / float64(full.answered)
			steady, err := b.load(ctx, 0, 1000, b.seconds)
			if err != nil {
				return err
			}
			p.stop()
			ms := float64(quantile(steady.latency, .99).Microseconds()) / 1000
			if peer {
				cpu.peer, calm.peer = append(cpu.peer, us), append(calm.peer, ms)
			} else {
				cpu.ours, calm.ours = append(cpu.ours, us), append(calm.ours, ms)
			}
		}
	}
	b.results = append(b.results, cpu, calm)
	return b.flood(ctx)
}

// flood is the memory of a box before and after hostile clients.
func (b *bench) flood(ctx context.Context) error {
	p, err := b.box(ctx, "-log-level", "warn")
	if err != nil {
		return err
	}
	defer p.stop()
	if err := p.ready(ctx, func() error { _, err := b.load(ctx, 1, 0, 300*time.Millisecond); return err }); err != nil {
		return err
	}
	pause(time.Now().Add(2 * time.Second))
	before, _ := p.rss()
	sent := 0
	for sent < hostile {
		l, err := b.load(ctx, 64, 0, time.Second)
		if err != nil {
			return err
		}
		sent += l.sent
	}
	pause(time.Now().Add(3 * time.Second))
	after, _ := p.rss()
	b.figures = append(b.figures, figure{
		fmt.Sprintf("events: resident before and after %d invented clients", sent),
		fmt.Sprintf("%.1f, %.1f MB", float64(before)/1e6, float64(after)/1e6), "< 128 MB",
	})
	return nil
}
