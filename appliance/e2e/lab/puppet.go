package lab

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/bootpuck/bootpuck/appliance/pxesim"
)

// Puppet is a machine without a computer: pxesim plays its firmware on a wire of
// its own, and a small interpreter plays iPXE's scripts. Where the behaviour of
// real firmware is the point, use [Site.Boot].
type Puppet struct {
	// Name is the machine's; its addresses follow from it.
	Name string
	MAC  net.HardwareAddr
	UUID string
	Wire *Wire
	// Facts are settings of its iPXE beside those that follow from its network.
	Facts map[string]string

	site *Site
	ns   *Namespace
	far  bool

	mu    sync.Mutex
	trace []string
}

// PuppetConfig describes a puppet.
type PuppetConfig struct {
	// Name names the machine within the site: at most a few letters and digits
	// and "-".
	Name string
	// MAC replaces the one that follows from the name.
	MAC net.HardwareAddr
	// Drop is what its wire loses.
	Drop Drop
	// Far puts it behind the relay.
	Far bool
	// Facts are settings of its iPXE: "product", "memsize" and the like.
	Facts map[string]string
}

// PuppetMAC derives a hardware address from a name. Unlike [MACFor] it gives
// every machine a vendor of its own: what is learned of one model says nothing
// of another.
func PuppetMAC(name string) net.HardwareAddr {
	h := sha256.Sum256([]byte("puppet " + name))
	return net.HardwareAddr{0x00, h[1], h[2], h[3], h[4], h[5]}
}

// NewPuppet puts a machine on the LAN, switched off.
func (s *Site) NewPuppet(c PuppetConfig) (*Puppet, error) {
	p := &Puppet{Name: c.Name, MAC: c.MAC, UUID: UUIDFor(c.Name), Facts: c.Facts, site: s, far: c.Far}
	if p.MAC == nil {
		p.MAC = PuppetMAC(c.Name)
	}
	bridge := "br0"
	if c.Far {
		bridge = "br1"
	}
	var err error
	p.ns, p.Wire, err = s.wired(c.Name, p.MAC, bridge, c.Drop)
	return p, err
}

// Trace is what it did, a line each.
func (p *Puppet) Trace() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.trace...)
}

const maxTrace = 2000

func (p *Puppet) note(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.trace) < maxTrace {
		p.trace = append(p.trace, time.Now().Format("15:04:05.000 ")+fmt.Sprintf(format, args...))
	}
}

// Power is one time between switching on and off.
type Power struct {
	// Profile is the firmware.
	Profile pxesim.Profile
	// Loader stops it once its firmware has its boot program: the program does
	// not start.
	Loader bool
	// NoScript has it stop when its iPXE has its first script.
	NoScript bool
	// Fetch are names that the machine asks for by TFTP after all else, from the
	// server that it booted from: what a boot program of its own would.
	Fetch []string
	// Before is called before a script's command that fetches an address; an
	// error stops the machine dead there.
	Before func(url string) error
	// Running is called when the script has started what it loaded, with the
	// machine's HTTP client: what was booted lives there. nil: nothing more is
	// heard of it.
	Running func(ctx context.Context, m *Alive) error
}

// Alive is a machine whose payload runs.
type Alive struct {
	*Puppet
	// Started is the address of the kernel or program that runs, and Cmdline the
	// kernel's.
	Started, Cmdline string
	// Addr is the machine's address.
	Addr netip.Addr
	HTTP *http.Client
}

// Word is the value of key=value on the kernel's command line.
func (a *Alive) Word(key string) string {
	for w := range strings.FieldsSeq(a.Cmdline) {
		if v, ok := strings.CutPrefix(w, key+"="); ok {
			return v
		}
	}
	return ""
}

// Get fetches an address and throws its content away.
func (a *Alive) Get(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := a.HTTP.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	n, err := io.Copy(io.Discard, resp.Body)
	a.note("GET %s: %s, %d octets, %v", url, resp.Status, n, err)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", url, resp.Status)
	}
	return err
}

// Report calls a callback's address.
func (a *Alive) Report(ctx context.Context, url, text string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(text))
	if err != nil {
		return err
	}
	resp, err := a.HTTP.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20))
	a.note("callback %s: %s", url, resp.Status)
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("callback: %s", resp.Status)
	}
	return nil
}

// Log sends lines to a syslog receiver.
func (a *Alive) Log(server string, lines ...string) error {
	var conn net.Conn
	err := a.ns.Do(func() (err error) {
		conn, err = net.Dial("udp4", net.JoinHostPort(server, "514"))
		return err
	})
	if err != nil {
		return err
	}
	defer conn.Close()
	for _, l := range lines {
		if _, err := conn.Write([]byte("<30>" + l)); err != nil {
			return err
		}
	}
	return nil
}

// Outcome is how far a machine came in one time.
type Outcome struct {
	// Stages are the firmware's and its boot programs' exchanges.
	Stages []pxesim.Result
	// Script says that it got to a script of the box.
	Script bool
	// Started is the kernel that it started, or empty.
	Started string
	// Left says that the script left for the next boot device.
	Left bool
}

// errOff ends a script where the machine is to stop dead.
var errOff = errors.New("the machine stops here")

// On switches the machine on and returns when it has nothing more to do. A boot
// that fails is no error.
func (p *Puppet) On(ctx context.Context, pw Power) (o Outcome, err error) {
	p.Wire.PoweredOn()
	p.note("switched on: %s", pw.Profile.Name)
	link := &puppetLink{p: p}
	err = p.ns.Do(func() (err error) {
		link.RawLink, err = pxesim.OpenRawLink(pxesim.RawConfig{Interface: "eth0", AssignAddress: true})
		return err
	})
	if err != nil {
		return o, err
	}
	defer func() {
		// The address is taken away in the namespace it was given in.
		err = errors.Join(err, p.ns.Do(link.Close))
	}()
	transport := &http.Transport{DialContext: p.dial, DisableKeepAlives: true}
	opts := pxesim.Options{
		UUID: guid(p.UUID), Lease: true, HTTP: transport, Keep: 64 << 10,
		OnStep: func(s pxesim.Step) { p.note("%8.3f %-13s %v %s", s.At.Seconds(), s.Kind, s.Peer, s.Text) },
	}
	profile := pw.Profile
	for {
		r, err := pxesim.Run(ctx, profile, link, opts)
		o.Stages = append(o.Stages, r)
		if err != nil {
			return o, err
		}
		if !r.OK || r.Script || profile.Next == "" || len(o.Stages) == 4 || pw.Loader {
			break
		}
		if profile, err = pxesim.Lookup(profile.Next); err != nil {
			return o, err
		}
		opts.CameFrom, opts.Station = r.Server, r.Lease.Addr
	}
	last := &o.Stages[len(o.Stages)-1]
	for _, name := range pw.Fetch {
		p.fetch(ctx, link, profile.TFTP, last, name)
	}
	if !last.Script {
		return o, nil
	}
	o.Script = true
	if pw.NoScript {
		return o, nil
	}
	run := &scriptRun{p: p, pw: pw, http: &http.Client{Transport: transport}, set: p.settings(&profile, last)}
	o.Started, err = run.run(ctx, string(last.Download.Head))
	o.Left = run.left
	if errors.Is(err, errOff) {
		err = nil
	}
	if err == nil && o.Started != "" && pw.Running != nil {
		err = pw.Running(ctx, &Alive{Puppet: p, Started: o.Started, Cmdline: run.cmdline, Addr: last.Lease.Addr.Addr(), HTTP: run.http})
	}
	return o, err
}

// fetch asks for one more file by TFTP.
func (p *Puppet) fetch(ctx context.Context, link *puppetLink, habits pxesim.TFTPHabits, r *pxesim.Result, name string) {
	c := &pxesim.TFTPClient{
		Habits: habits, MaxBytes: 1 << 30, Keep: 1 << 10,
		Listen: func(ctx context.Context) (net.PacketConn, error) {
			return link.ListenUDP(ctx, netip.AddrPortFrom(r.Lease.Addr.Addr(), 0))
		},
	}
	d, err := c.Get(ctx, netip.AddrPortFrom(r.Server, portTFTP), []byte(name))
	p.note("TFTP %s: %d octets, %v", name, d.Bytes, err)
}

// settings are what the machine's iPXE knows.
func (p *Puppet) settings(profile *pxesim.Profile, r *pxesim.Result) map[string]string {
	platform, build := "efi", "x86_64"
	switch {
	case profile.Arch == 0:
		platform, build = "pcbios", "i386"
	case strings.Contains(profile.Name, "arm64"):
		build = "arm64"
	case strings.Contains(profile.Name, "ia32"):
		build = "i386"
	}
	set := map[string]string{
		"platform": platform, "buildarch": build, "mac": p.MAC.String(), "net0/mac": p.MAC.String(), "uuid": p.UUID,
		"ip": r.Lease.Addr.Addr().String(), "net0/ip": r.Lease.Addr.Addr().String(), "version": "2.0.0", "user-class": "iPXE",
		"next-server": r.Server.String(), "manufacturer": "Puppet", "product": p.Name, "serial": "P-" + p.Name,
		"net0/busid": "0180861 00e", "netX/chip": "virtio-net",
	}
	for k, v := range p.Facts {
		set[k] = v
	}
	return set
}

// guid reads a UUID; a malformed one is none.
func guid(s string) (out [16]byte) {
	if b, err := hex.DecodeString(strings.ReplaceAll(s, "-", "")); err == nil {
		copy(out[:], b)
	}
	return out
}

// dial connects from the machine.
func (p *Puppet) dial(_ context.Context, network, address string) (net.Conn, error) {
	var conn net.Conn
	err := p.ns.Do(func() (err error) {
		conn, err = net.DialTimeout(network, address, 4*time.Second)
		return err
	})
	return conn, err
}

// puppetLink is a RawLink whose sockets are all made in the machine's namespace.
type puppetLink struct {
	*pxesim.RawLink
	p *Puppet
}

// Send implements pxesim.Link.
func (l *puppetLink) Send(ctx context.Context, d pxesim.Datagram) error {
	return l.p.ns.Do(func() error { return l.RawLink.Send(ctx, d) })
}

// Configure implements pxesim.Link.
func (l *puppetLink) Configure(ctx context.Context, lease pxesim.Lease) error {
	if lease.Addr.Bits() == 32 {
		// Without a netmask (the Pi 3 asks for none) everything is near; the kernel,
		// which carries TFTP here, has to be told so.
		lease.Addr = netip.PrefixFrom(lease.Addr.Addr(), 24)
	}
	if err := l.p.ns.Do(func() error { return l.RawLink.Configure(ctx, lease) }); err != nil {
		return err
	}
	if l.p.far && lease.Router.IsValid() {
		// It may be there from the firmware's own lease.
		_ = l.p.ns.route("", lease.Router.String())
	}
	return nil
}

// ListenUDP implements pxesim.Link.
func (l *puppetLink) ListenUDP(ctx context.Context, local netip.AddrPort) (c net.PacketConn, err error) {
	err = l.p.ns.Do(func() error {
		c, err = l.RawLink.ListenUDP(ctx, local)
		return err
	})
	return c, err
}
