package pxesim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// Options are the caller's wishes. The zero value probes: no REQUEST, no lease.
type Options struct {
	// MAC is the client's hardware address; nil takes the link's.
	MAC net.HardwareAddr
	// UUID goes into option 97.
	UUID [16]byte
	// Lease allows the REQUEST to the site's DHCP server, and with it a real lease.
	Lease bool
	// Release gives the lease back at the end. Firmware does not; a polite guest does.
	Release bool
	// Station is the address a probe goes on with; invalid takes the link's own (see RawLink).
	Station netip.Prefix
	// CameFrom is the TFTP server that delivered a chainloaded program.
	CameFrom netip.Addr
	// MaxBytes bounds each download; 0 means 1 GiB.
	MaxBytes int64
	// Keep is how much of the last download is returned; 0 means 64 KiB.
	Keep int
	// HTTP replaces the transport, for tests. It must not follow redirects.
	HTTP http.RoundTripper
	// LocalAddr is the local address of HTTP connections; invalid leaves it to the system.
	LocalAddr netip.Addr
	// XID replaces the source of transaction ids, for tests.
	XID func() uint32
	// OnStep is called for every step as it happens, from the goroutine of Run.
	OnStep func(Step)
}

// OfferReport is one offer and what became of it.
type OfferReport struct {
	// From is the sender and At the time since the start.
	From netip.AddrPort
	// At is the time since the start.
	At time.Duration
	// Class is what the firmware takes it for.
	Class Class
	// Used tells whether the firmware went on with it; Refused says why not.
	Used bool
	// Refused is empty for a used offer, and for one that was never decided on.
	Refused string
	// YourAddr, NextServer and ServerID are fields of the offer; invalid if absent.
	YourAddr netip.Addr
	// NextServer is siaddr.
	NextServer netip.Addr
	// ServerID is option 54.
	ServerID netip.Addr
	// File is the boot file by the firmware's rules, escaped. VendorClass is option 60, escaped.
	File string
	// VendorClass is option 60, escaped.
	VendorClass string
}

// Result is one finished boot.
type Result struct {
	// Profile is the name of the firmware.
	Profile string
	// MAC is the client.
	MAC net.HardwareAddr
	// Outcome is how it ended.
	Outcome
	// Steps are all steps in order, at most 1000.
	Steps []Step
	// Offers are the offers heard in the last round.
	Offers []OfferReport
	// Lease is what was granted, or offered in a probe.
	Lease Lease
	// Elapsed is the time from the first packet to the end.
	Elapsed time.Duration
	// ScriptLines are the first lines of the script, at most 20, escaped.
	ScriptLines []string
}

// At is when a kind of step first happened.
func (r *Result) At(kind StepKind) (time.Duration, bool) {
	for _, s := range r.Steps {
		if s.Kind == kind {
			return s.At, true
		}
	}
	return 0, false
}

// Count is how often a kind of step happened.
func (r *Result) Count(kind StepKind) int {
	n := 0
	for _, s := range r.Steps {
		if s.Kind == kind {
			n++
		}
	}
	return n
}

const (
	maxSteps       = 1000
	maxScriptLines = 20
	maxStages      = 4
)

// owner is a Link that knows which addresses belong to the machine itself.
type owner interface{ Owns(netip.Addr) bool }

// stationer is a Link that knows an address to probe from.
type stationer interface{ Station() netip.Prefix }

type fetched struct {
	d   Download
	err error
}

// Run plays one firmware on a link until it has its program, gives up, or ctx ends. A boot that fails
// as the real one would is a Result with OK false and no error; errors are for configurations that
// cannot be played, links that broke, and ctx.
func Run(ctx context.Context, p Profile, link Link, o Options) (Result, error) {
	if o.MAC == nil {
		o.MAC = link.HardwareAddr()
	}
	if s, ok := link.(stationer); ok && !o.Station.IsValid() {
		o.Station = s.Station()
	}
	if o.MaxBytes <= 0 {
		o.MaxBytes = 1 << 30
	}
	if o.Keep <= 0 {
		o.Keep = 64 << 10
	}
	if o.XID == nil {
		o.XID = rand.Uint32
	}
	m, err := NewMachine(Config{Profile: p, MAC: o.MAC, UUID: o.UUID, XID: o.XID, Lease: o.Lease, Station: o.Station, CameFrom: o.CameFrom})
	if err != nil {
		return Result{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := &runner{
		p: &m.cfg.Profile, m: m, link: link, o: o, began: time.Now(),
		result: Result{Profile: p.Name, MAC: o.MAC}, fetches: make(chan fetched, 1),
	}
	err = r.loop(ctx)
	cancel()
	// Nothing of this run may touch the link afterwards.
	<-r.received
	if r.fetching {
		<-r.fetches
	}
	r.report()
	if err == nil && o.Release {
		w, knows := link.(owner)
		// Played with the machine's own MAC, the lease may be the machine's own: that one stays.
		if d, ok := m.Release(); ok && !(knows && w.Owns(m.Lease().Addr.Addr())) {
			// The caller's ctx is the parent's; this one is over.
			rctx, done := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
			err = link.Send(rctx, d)
			done()
		}
	}
	return r.result, err
}

type runner struct {
	p        *Profile
	m        *Machine
	link     Link
	o        Options
	began    time.Time
	result   Result
	timer    *time.Timer
	fetches  chan fetched
	fetching bool
	received chan struct{}
	done     bool
}

func (r *runner) now() time.Duration { return time.Since(r.began) }

func (r *runner) loop(ctx context.Context) error {
	packets := make(chan Datagram, queueLen)
	broken := make(chan error, 1)
	r.received = make(chan struct{})
	go func() {
		defer close(r.received)
		for {
			d, err := r.link.Receive(ctx)
			if err != nil {
				broken <- err
				return
			}
			select {
			case packets <- d:
			case <-ctx.Done():
				return
			}
		}
	}()
	r.timer = time.NewTimer(time.Hour)
	r.timer.Stop()
	defer r.timer.Stop()
	if err := r.apply(ctx, r.m.Start(r.now())); err != nil {
		return err
	}
	for !r.done {
		var effects []Effect
		select {
		case d := <-packets:
			effects = r.m.Packet(r.now(), d)
		case <-r.timer.C:
			effects = r.m.Expired(r.now())
		case f := <-r.fetches:
			r.fetching = false
			effects = r.m.Fetched(r.now(), f.d, f.err)
		case err := <-broken:
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("receive: %w", err)
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := r.apply(ctx, effects); err != nil {
			return err
		}
	}
	return nil
}

func (r *runner) apply(ctx context.Context, effects []Effect) error {
	for _, e := range effects {
		switch e := e.(type) {
		case Send:
			// A lost packet is the network's business and the firmware's retry; only a dead link ends it.
			if err := r.link.Send(ctx, e.Datagram); err != nil {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				if errors.Is(err, net.ErrClosed) {
					return fmt.Errorf("send to %v: %w", e.Datagram.Dst, err)
				}
				r.step(Step{At: r.now(), Kind: StepIgnored, Peer: e.Datagram.Dst, Text: "could not send: " + err.Error()})
			}
		case Timer:
			r.timer.Reset(e.At - r.now())
		case Address:
			if err := r.link.Configure(ctx, e.Lease); err != nil {
				return fmt.Errorf("configure %v: %w", e.Lease.Addr, err)
			}
		case Fetch:
			r.timer.Stop()
			r.fetching = true
			go func() {
				d, err := r.fetch(ctx, e)
				r.fetches <- fetched{d, err}
			}()
		case Note:
			r.step(e.Step)
		case Done:
			r.done = true
			r.result.Outcome = e.Outcome
		}
	}
	return nil
}

func (r *runner) step(s Step) {
	if len(r.result.Steps) < maxSteps {
		r.result.Steps = append(r.result.Steps, s)
	}
	if r.o.OnStep != nil {
		r.o.OnStep(s)
	}
}

// fetch carries out one download. An address-level failure becomes the failure the firmware sees.
func (r *runner) fetch(ctx context.Context, f Fetch) (Download, error) {
	fctx := ctx
	if f.Limit > 0 {
		var cancel context.CancelFunc
		fctx, cancel = context.WithTimeout(ctx, f.Limit)
		defer cancel()
	}
	if f.URL != "" {
		transport := r.o.HTTP
		if transport == nil {
			t := newTransport(r.o.LocalAddr, f.DNS)
			defer t.CloseIdleConnections()
			transport = t
		}
		c := &HTTPClient{
			Transport: transport, UserAgent: r.p.UserAgent, Firmware: f.Firmware,
			RefusePlain: r.p.Quirks.RefusePlainHTTP, MaxBytes: r.o.MaxBytes, Keep: r.o.Keep,
		}
		return c.Get(fctx, f.URL)
	}
	c := &TFTPClient{
		Habits: r.p.TFTP, MaxBytes: r.o.MaxBytes, Keep: r.o.Keep,
		Listen: func(ctx context.Context) (net.PacketConn, error) {
			return r.link.ListenUDP(ctx, netip.AddrPortFrom(r.m.station(), 0))
		},
	}
	d, err := c.Get(fctx, netip.AddrPortFrom(f.Server, portTFTP), f.Name)
	if err != nil && ctx.Err() == nil && fctx.Err() != nil {
		return d, &TFTPError{Failure: TFTPNoAnswer}
	}
	return d, err
}

// report fills in what is read off the machine at the end.
func (r *runner) report() {
	res := &r.result
	res.Lease = r.m.Lease()
	res.Elapsed = r.now()
	choice, why := r.m.Choice()
	for i, o := range r.m.Offers() {
		k := o.Packet
		rep := OfferReport{From: o.From, At: o.At, File: clip(fileOf(r.p, k), 255)}
		if !unset(k.YIAddr) {
			rep.YourAddr = k.YIAddr
		}
		if !unset(k.SIAddr) {
			rep.NextServer = k.SIAddr
		}
		rep.ServerID = k.ServerID()
		if c, ok := k.First(optClass); ok {
			rep.VendorClass = clip(c.Data, 64)
		}
		rep.Class, rep.Refused = Classify(r.p, o)
		if i < len(why.Refused) {
			rep.Refused = why.Refused[i]
			rep.Used = choice.OK() && (i == choice.DHCP || i == choice.Proxy || contains(choice.Ask, i))
		}
		res.Offers = append(res.Offers, rep)
	}
	if res.Script {
		for line := range strings.Lines(string(res.Download.Head)) {
			if len(res.ScriptLines) == maxScriptLines {
				break
			}
			res.ScriptLines = append(res.ScriptLines, clip([]byte(strings.TrimRight(line, "\r\n")), 200))
		}
	}
}

// RunChain is Run, and then the program that the firmware loaded if it is an iPXE: the profile's Next,
// on the same link with the same identity, until a stage gets a script or fails. That makes it the
// whole way of a machine from power-on to its script. Stages that no more lead to a script are cut
// off after the fourth.
func RunChain(ctx context.Context, p Profile, link Link, o Options) ([]Result, error) {
	var all []Result
	for {
		r, err := Run(ctx, p, link, o)
		all = append(all, r)
		if err != nil || !r.OK || r.Script || p.Next == "" || len(all) == maxStages {
			return all, err
		}
		if p, err = Lookup(p.Next); err != nil {
			return all, err
		}
		o.CameFrom, o.Station = r.Server, r.Lease.Addr
	}
}
