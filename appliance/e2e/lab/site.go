package lab

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Hardware addresses of the site's fixed inhabitants, locally administered.
var (
	BoxMAC    = net.HardwareAddr{0x52, 0x54, 0x00, 0xb0, 0x07, 0x05}
	routerMAC = net.HardwareAddr{0x52, 0x54, 0x00, 0xb0, 0x07, 0x01}
	relayMAC  = net.HardwareAddr{0x52, 0x54, 0x00, 0xb0, 0x07, 0x02}
	rivalMAC  = net.HardwareAddr{0x52, 0x54, 0x00, 0xb0, 0x07, 0x06}
)

// SiteConfig describes a site.
type SiteConfig struct {
	DHCP DHCPConfig
	// Relay adds a second subnet behind a DHCP relay that forwards to the
	// router and to the box.
	Relay bool
	// Rival, if not nil, is a second proxyDHCP server on the LAN, with boot
	// files and a payload of its own: another person's working PXE server.
	Rival *Baseline
	// BoxIsGuest leaves the box's namespace without an address: the box is a
	// virtual machine on the bridge.
	BoxIsGuest bool
	// KeepDir receives logs and, on failure, captures. Empty: a temporary
	// directory that is removed with the site.
	KeepDir string
	// Log hears what the lab does; nil is silence.
	Log *slog.Logger
}

// Site is a running virtual site. Close it.
type Site struct {
	cfg  SiteConfig
	dir  string // temporary: sockets, leases, configuration
	logs string
	log  *slog.Logger

	lan, router, box, relay, rival *Namespace
	dhcp                           *Proc // the site's DHCP server

	mu     sync.Mutex
	undo   []func() error
	closed bool
	ports  int
	boots  map[string]int // how often each row was switched on
	finish func() error
}

var (
	siteSeq   atomic.Int64
	openSites sync.Map // *Site -> struct{}
	sweepOnce sync.Once
)

// HandleSignals closes all sites and exits with status 130 when SIGINT or
// SIGTERM arrives. The returned function ends that.
func HandleSignals() (stop func()) {
	ch := make(chan os.Signal, 1)
	signal.Notify(ch, syscall.SIGINT, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		select {
		case <-ch:
			CloseAll()
			os.Exit(130)
		case <-done:
		}
	}()
	return sync.OnceFunc(func() { signal.Stop(ch); close(done) })
}

// CloseAll closes every open site, for the way out of a program.
func CloseAll() {
	openSites.Range(func(k, _ any) bool {
		_ = k.(*Site).Close()
		return true
	})
}

// Open builds a site and starts its router. On error nothing is left.
func Open(ctx context.Context, cfg SiteConfig) (_ *Site, err error) {
	var sweepErr error
	sweepOnce.Do(func() { sweepErr = sweep() })
	if sweepErr != nil {
		return nil, fmt.Errorf("remove leftovers of earlier runs: %w", sweepErr)
	}
	id := prefix + strconv.Itoa(os.Getpid()) + "-" + strconv.FormatInt(siteSeq.Add(1), 10)
	dir, err := os.MkdirTemp("", id+"-")
	if err != nil {
		return nil, fmt.Errorf("temporary directory: %w", err)
	}
	// nginx and dnsmasq give up root for some of their files.
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	s := &Site{cfg: cfg, dir: dir, logs: cfg.KeepDir, log: cfg.Log}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.finish = sync.OnceValue(s.takeDown)
	s.onClose(func() error { return os.RemoveAll(dir) })
	openSites.Store(s, struct{}{})
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if s.logs == "" {
		s.logs = dir
	} else if err := os.MkdirAll(s.logs, 0o755); err != nil {
		return nil, fmt.Errorf("directory for logs: %w", err)
	}
	if err := s.build(id); err != nil {
		return nil, err
	}
	if err := s.startDHCP(ctx); err != nil {
		return nil, err
	}
	if cfg.Relay {
		if err := s.startRelay(ctx); err != nil {
			return nil, err
		}
	}
	if cfg.Rival != nil {
		if err := cfg.Rival.start(ctx, s, s.rival, "rival", RivalAddr); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *Site) namespace(id, role string) (*Namespace, error) {
	n, err := newNamespace(id + "-" + role)
	if err != nil {
		return nil, err
	}
	s.onClose(n.close)
	return n, nil
}

// build makes namespaces, cables, addresses and routes.
func (s *Site) build(id string) (err error) {
	if s.lan, err = s.namespace(id, "lan"); err != nil {
		return err
	}
	if err := s.lan.bridge("br0"); err != nil {
		return err
	}
	if s.router, err = s.namespace(id, "router"); err != nil {
		return err
	}
	if err := s.attach(s.router, routerMAC, RouterAddr+"/24", routerIPv6+"/64"); err != nil {
		return err
	}
	for key, value := range map[string]string{
		"net/ipv4/ip_forward": "1", "net/ipv4/conf/all/rp_filter": "0", "net/ipv6/conf/all/forwarding": "1",
		"net/ipv4/conf/all/send_redirects": "0", "net/ipv4/conf/eth0/send_redirects": "0",
	} {
		if err := s.router.sysctl(key, value); err != nil {
			return fmt.Errorf("router %s: %w", key, err)
		}
	}
	if !s.cfg.BoxIsGuest {
		if s.box, err = s.namespace(id, "box"); err != nil {
			return err
		}
		if err := s.attach(s.box, BoxMAC, BoxAddr+"/24"); err != nil {
			return err
		}
		if err := s.box.route("", RouterAddr); err != nil {
			return err
		}
	}
	if s.cfg.Rival != nil {
		if s.rival, err = s.namespace(id, "rival"); err != nil {
			return err
		}
		if err := s.attach(s.rival, rivalMAC, RivalAddr+"/24"); err != nil {
			return err
		}
		if err := s.rival.route("", RouterAddr); err != nil {
			return err
		}
	}
	if s.cfg.Relay {
		return s.buildFarSide(id)
	}
	return nil
}

func (s *Site) buildFarSide(id string) (err error) {
	if err := s.lan.bridge("br1"); err != nil {
		return err
	}
	if s.relay, err = s.namespace(id, "relay"); err != nil {
		return err
	}
	if err := s.attach(s.relay, relayMAC, RelayAddr+"/24"); err != nil {
		return err
	}
	far := append(net.HardwareAddr(nil), relayMAC...)
	far[4]++
	if err := s.relay.plug("eth1", far, s.lan, "br1", s.port()); err != nil {
		return err
	}
	if err := s.relay.addr("eth1", FarGateway+"/24", "fd78::1/64"); err != nil {
		return err
	}
	for key, value := range map[string]string{
		"net/ipv4/ip_forward": "1", "net/ipv4/conf/all/rp_filter": "0", "net/ipv6/conf/all/forwarding": "1",
	} {
		if err := s.relay.sysctl(key, value); err != nil {
			return fmt.Errorf("relay %s: %w", key, err)
		}
	}
	if err := s.relay.route("", RouterAddr); err != nil {
		return err
	}
	// Only the router knows the way back. The box has a default route, as on a
	// real site.
	return s.router.route(FarPrefix, RelayAddr)
}

// attach puts a namespace on the LAN: its eth0, with addresses.
func (s *Site) attach(n *Namespace, mac net.HardwareAddr, cidrs ...string) error {
	if err := n.plug("eth0", mac, s.lan, "br0", s.port()); err != nil {
		return err
	}
	return n.addr("eth0", cidrs...)
}

// port names the next bridge port.
func (s *Site) port() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ports++
	return "p" + strconv.Itoa(s.ports)
}

func (s *Site) startRelay(ctx context.Context) error {
	p, err := s.run(s.relay, "relay", "dhcrelay", "-4", "-d", "--no-pid", "-id", "eth1", "-iu", "eth0", RouterAddr, BoxAddr)
	if err != nil {
		return err
	}
	if err := p.ready(ctx, "Sending on   Socket/fallback"); err != nil {
		return err
	}
	if s.cfg.DHCP.NoAdvertisements {
		return nil
	}
	ra, err := s.run(s.relay, "relay-ra", "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=",
		"--user=root", "--port=0", "--interface=eth1", "--bind-interfaces", "--log-facility=-",
		"--enable-ra", "--dhcp-range=fd78::,ra-only")
	if err != nil {
		return err
	}
	return ra.ready(ctx, "router advertisement on fd78")
}

// run starts a program that ends with the site.
func (s *Site) run(ns *Namespace, name string, argv ...string) (*Proc, error) {
	p, err := start(ns, s.logs, name, argv...)
	if err != nil {
		return nil, err
	}
	s.log.Debug("started", "program", name, "pid", p.Pid())
	s.onClose(func() error { p.Stop(3 * time.Second); return nil })
	return p, nil
}

// Run starts a program in one of the site's namespaces; it ends with the site
// at the latest.
func (s *Site) Run(ns *Namespace, name string, argv ...string) (*Proc, error) {
	return s.run(ns, name, argv...)
}

// Dir is a directory that is removed with the site.
func (s *Site) Dir() string { return s.dir }

// Logs is where programs' output goes.
func (s *Site) Logs() string { return s.logs }

// Box is the namespace the box runs in; nil if it is a virtual machine.
func (s *Site) Box() *Namespace { return s.box }

// Router is the namespace of the site's router and DHCP server.
func (s *Site) Router() *Namespace { return s.router }

// NewStation adds an ordinary machine to the LAN: a namespace with an
// interface eth0 that is up and has no address.
func (s *Site) NewStation(role string, mac net.HardwareAddr) (*Namespace, error) {
	n, err := s.namespace(s.lan.name[:len(s.lan.name)-len("lan")-1], role)
	if err != nil {
		return nil, err
	}
	return n, s.attach(n, mac)
}

// onClose adds something to undo; the last added is undone first. On a site
// that is being closed it is undone at once.
func (s *Site) onClose(f func() error) {
	s.mu.Lock()
	late := s.closed
	if !late {
		s.undo = append(s.undo, f)
	}
	s.mu.Unlock()
	if late {
		_ = f()
	}
}

// Close stops everything and removes it. It can be called again and by several
// goroutines; each call returns when all is gone.
func (s *Site) Close() error { return s.finish() }

func (s *Site) takeDown() error {
	s.mu.Lock()
	s.closed = true
	undo := s.undo
	s.undo = nil
	s.mu.Unlock()
	var errs []error
	for i := len(undo) - 1; i >= 0; i-- {
		errs = append(errs, undo[i]())
	}
	openSites.Delete(s)
	return errors.Join(errs...)
}

// Dial connects from the router, which sees the whole site. The address must
// be a literal.
func (s *Site) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	var conn net.Conn
	err := s.router.Do(func() (err error) {
		// The socket is made on this thread; a timeout bounds the wait, in
		// which other work for the namespace stands still.
		d := net.Dialer{Timeout: 2 * time.Second}
		conn, err = d.DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// HTTPClient is a client that speaks from the router's namespace.
func (s *Site) HTTPClient() *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: s.Dial, DisableKeepAlives: true}}
}

// file is a path in the site's temporary directory.
func (s *Site) file(name string) string { return filepath.Join(s.dir, name) }
