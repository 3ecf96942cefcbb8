// Command bench measures bootpuck beside its peers in one run on one machine:
// dnsmasq as DHCP proxy, tftpd-hpa for TFTP, nginx for HTTP. Rounds alternate, so
// that a noisy machine disturbs both alike; medians and ratios are what counts.
//
// It works in two network namespaces of its own, joined by a veth pair, and
// sends traffic nowhere else. It needs root.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// options of the command line.
type options struct {
	bootpuck string
	rounds   int
	seconds  time.Duration
	only     string
}

// result is one line of the table.
type result struct {
	what, unit string
	ours, peer []float64 // one value per round
	peerName   string
	// goal says what the ratio ours/peer is to be, "<= 1.0"; empty: none.
	goal string
}

// goals of ours alone, for figures without a peer.
type figure struct{ what, value, goal string }

func main() {
	if len(os.Args) == 2 && os.Args[1] == bareArg {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		if err := bare(ctx); err != nil {
			fmt.Fprintf(os.Stderr, "bench: %v\n", err)
			os.Exit(1) //nolint:gocritic // nothing is left to be undone
		}
		return
	}
	var o options
	flag.StringVar(&o.bootpuck, "bootpuck", ".build/bin/bootpuck", "the program to measure")
	flag.IntVar(&o.rounds, "rounds", 5, "alternating rounds")
	flag.DurationVar(&o.seconds, "for", 3*time.Second, "length of one measurement")
	flag.StringVar(&o.only, "only", "", "memory, machines, dhcp, events, tftp or http; empty: all")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("needs root for network namespaces")
	}
	b := &bench{options: o}
	if err := b.setUp(ctx); err != nil {
		return errors.Join(err, b.tearDown())
	}
	defer func() { err = errors.Join(err, b.tearDown()) }()
	for _, part := range []struct {
		name string
		run  func(context.Context) error
	}{{"memory", b.memory}, {"machines", b.machines}, {"dhcp", b.dhcp}, {"events", b.events}, {"tftp", b.tftp}, {"http", b.http}} {
		if o.only != "" && o.only != part.name {
			continue
		}
		fmt.Printf("measuring %s …\n", part.name)
		if err := part.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	b.print()
	return nil
}

func (b *bench) print() {
	fmt.Printf("\n%-52s %12s %12s %-10s %7s  %s\n", "figure (median of rounds)", "bootpuck", "peer", "", "ratio", "goal")
	for _, r := range b.results {
		ours, peer := median(r.ours), median(r.peer)
		fmt.Printf("%-52s %12s %12s %-10s %7.2f  %s\n", r.what+" ("+r.unit+")", number(ours), number(peer), r.peerName, ours/peer, r.goal)
	}
	for _, f := range b.figures {
		fmt.Printf("%-52s %12s %33s %s\n", f.what, f.value, "", f.goal)
	}
}

func number(v float64) string {
	switch {
	case v >= 1000:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.3f", v)
}

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	if len(s) == 0 {
		return 0
	}
	return s[len(s)/2]
}

// quantile of a sorted slice of durations.
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

func fields(s string) []string { return strings.Fields(s) }
