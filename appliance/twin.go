package appliance

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
	"github.com/bootpuck/bootpuck/appliance/health"
	"github.com/bootpuck/bootpuck/appliance/lan"
)

// twinPatience bounds one question to another box.
const twinPatience = 2 * time.Second

// twinPort is where a box serves machines unless it was told otherwise.
const twinPort = 80

// twinTask asks the other boxes on the LAN who they are, so that only one of
// them answers machines, and tells them who this one is.
type twinTask struct {
	*lan.Twins
	box    *Box
	id     string
	client *http.Client
	ready  chan struct{}
	once   sync.Once

	mu    sync.Mutex
	tries map[netip.Addr]int // questions asked there; bounded by the addresses that Twins asks
}

// newTwins makes the task. Nothing is asked before it runs.
func newTwins(b *Box) *twinTask {
	// crypto/rand never fails; the id needs to be unlike any other box's only.
	raw := make([]byte, 8)
	_, _ = rand.Read(raw)
	t := &twinTask{box: b, id: hex.EncodeToString(raw), ready: make(chan struct{}), tries: map[netip.Addr]int{}}
	t.Twins = lan.NewTwins(lan.TwinsConfig{
		ID: t.id, Started: b.started, Near: t.near, Owns: b.watcher.Owns,
		Ready: func() bool { return !b.cfg.Settings.Observe && b.sentinel.Hears() },
	})
	t.client = &http.Client{
		Timeout: twinPatience,
		Transport: &http.Transport{
			// No proxy from the environment: the question is for one host.
			DialContext:            (&net.Dialer{Timeout: twinPatience}).DialContext,
			DisableKeepAlives:      true,
			MaxResponseHeaderBytes: lan.MaxTwinPage,
			DisableCompression:     true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return errRedirect },
	}
	return t
}

// errRedirect: a box never redirects, and nobody is to send this one elsewhere.
var errRedirect = errors.New("redirected")

// String names the task.
func (t *twinTask) String() string { return "twin" }

// Ready is closed when the task runs.
func (t *twinTask) Ready() <-chan struct{} { return t.ready }

// near says whether addr is on the LAN of a served interface, or of the named one.
func (t *twinTask) near(ifname string, addr netip.Addr) bool {
	for _, i := range t.box.watcher.Snapshot() {
		if !i.Served || ifname != "" && i.Name != ifname {
			continue
		}
		for _, p := range i.Addrs {
			if p.Contains(addr) {
				return true
			}
		}
	}
	return false
}

// Run asks whoever is due, every second, until ctx ends.
func (t *twinTask) Run(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var asking sync.WaitGroup
	defer asking.Wait()
	t.once.Do(func() { close(t.ready) })
	var told uint64 // the latest event that was looked at
	for {
		now := time.Now()
		told = t.follow(told)
		if !t.box.cfg.Settings.Observe { // then nothing is sent, and nobody is in the way
			for _, a := range t.Ask(now) {
				asking.Go(func() {
					p, err := t.ask(ctx, a)
					if ctx.Err() == nil {
						t.Answer(a, p, err, time.Now())
					}
				})
			}
		}
		for _, e := range t.Tick(now) {
			t.box.Record(e)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// maxFollow bounds the events that are looked at in a second.
const maxFollow = 1024

// follow tells Twins which machines were heard to take an address, of the events
// after seq, and returns the latest event.
func (t *twinTask) follow(seq uint64) uint64 {
	if !t.Standby() {
		return seq
	}
	events, last := t.box.journal.Since(seq, maxFollow)
	for _, e := range events {
		if e.Kind == boot.KindLease {
			t.Followed(e.MAC)
		}
	}
	return last
}

// ask fetches the page of whoever is at addr. Where this box serves machines on
// another port than 80, the other may do so too: the two are tried in turn.
func (t *twinTask) ask(ctx context.Context, addr netip.Addr) (lan.TwinPage, error) {
	port := twinPort
	t.mu.Lock()
	if own := t.box.httpPort(); own != 0 && own != port {
		const enough = 256
		if len(t.tries) >= enough {
			clear(t.tries)
		}
		if t.tries[addr]++; t.tries[addr]%2 == 1 {
			port = own
		}
	}
	t.mu.Unlock()
	p, err := t.fetch(ctx, netip.AddrPortFrom(addr, uint16(port)))
	if err == nil {
		t.mu.Lock()
		if _, counted := t.tries[addr]; counted {
			t.tries[addr]-- // this port is the right one; stay with it
		}
		t.mu.Unlock()
	}
	return p, err
}

func (t *twinTask) fetch(ctx context.Context, at netip.AddrPort) (lan.TwinPage, error) {
	ctx, cancel := context.WithTimeout(ctx, twinPatience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+at.String()+lan.TwinPath, nil)
	if err != nil {
		return lan.TwinPage{}, fmt.Errorf("ask %s: %w", at, err)
	}
	req.Header.Set("User-Agent", "bootpuck/"+t.box.cfg.Version)
	res, err := t.client.Do(req)
	if err != nil {
		return lan.TwinPage{}, fmt.Errorf("ask %s: %w", at, err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return lan.TwinPage{}, fmt.Errorf("ask %s: status %s", at, strconv.Itoa(res.StatusCode))
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, lan.MaxTwinPage+1))
	if err != nil {
		return lan.TwinPage{}, fmt.Errorf("ask %s: %w", at, err)
	}
	return lan.ParseTwinPage(body)
}

// ServeHTTP is the page by which another box knows this one. It tells nothing
// that is not on the wire anyway. Who asks from this LAN is asked back: that is
// how the younger box learns of the older one, which says nothing to machines.
func (t *twinTask) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if from, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		t.Suspect(from.Addr(), time.Now())
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	// A failure means that who asked has gone.
	_ = json.NewEncoder(w).Encode(t.page(time.Now()))
}

// page is what this box says of itself.
func (t *twinTask) page(now time.Time) lan.TwinPage {
	p := lan.TwinPage{
		Product: "bootpuck", ID: t.id, Version: lan.TwinVersion(t.box.cfg.Version), Uptime: now.Sub(t.box.started).Round(time.Millisecond).Seconds(),
		Standby: t.Standby(), Behind: t.Behind(), Observe: t.box.cfg.Settings.Observe, For: []netip.Addr{},
	}
	for _, i := range t.box.watcher.Snapshot() {
		for _, a := range i.Addrs {
			if i.Served && len(p.For) < lan.MaxTwinAddrs {
				p.For = append(p.For, a.Addr())
			}
		}
	}
	return p
}

// leaves is asked by proxydhcp before an offer.
func (t *twinTask) leaves(ifname string, mac boot.MAC, xid uint32) bool {
	return t.Leaves(ifname, mac, xid, time.Now())
}

// health is well where this box is alone. With a twin there is one too many,
// though machines boot.
func (t *twinTask) health() health.Result {
	list := t.List(time.Now())
	switch {
	case len(list) == 0:
		return health.Result{Status: health.OK}
	case t.Standby():
		return health.Result{Status: health.Degraded, Reason: boot.ReasonStandby, Detail: "It is at " + list[0].Addr.String() + "."}
	}
	return health.Result{Status: health.Degraded, Reason: boot.ReasonTwin, Detail: "It is at " + list[0].Addr.String() + "."}
}
