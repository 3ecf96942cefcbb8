package lab

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// DHCPKind names the program that plays the site's own DHCP server.
type DHCPKind string

// The DHCP servers a site can have.
const (
	Dnsmasq DHCPKind = "dnsmasq"
	ISC     DHCPKind = "isc-dhcpd"
)

// DHCPConfig is the site's own, untouched DHCP server. The zero value is a
// dnsmasq that gives out addresses and knows nothing of booting.
type DHCPConfig struct {
	Kind DHCPKind
	// Late delays every answer by three seconds (dnsmasq), or every first
	// OFFER of an address by the server's own three-second ping (ISC).
	Late bool
	// NextServer and BootFile are the router's own idea of booting, in the
	// header and as options 66/67 where the program does both.
	NextServer, BootFile string
	// Option60 makes the server send option 60 = PXEClient, the one thing no
	// proxy can cure for UEFI firmware.
	Option60 bool
	// Ping makes the server look whether anybody has an address before it
	// offers it, as both programs do unless told otherwise. It costs the first
	// client of an address one second (ISC) to three (dnsmasq), so it is off.
	Ping bool
	// Lease is the lease time; zero is ten minutes. dnsmasq raises anything
	// below two minutes.
	Lease time.Duration
	// Renew is option 58 (T1); zero leaves it to the program.
	Renew time.Duration
	// Last replaces the end of the range of addresses on the near LAN, which begins
	// at 10.77.0.100: a small range is used up soon (dnsmasq).
	Last string
	// NoAdvertisements turns off IPv6 router advertisements. iPXE then waits
	// about 15 s for them.
	NoAdvertisements bool
}

// site addresses. They are private and exist only inside the namespaces.
const (
	LANPrefix   = "10.77.0.0/24"
	RouterAddr  = "10.77.0.1"
	RelayAddr   = "10.77.0.2"
	BoxAddr     = "10.77.0.5"
	RivalAddr   = "10.77.0.6"
	FarPrefix   = "10.78.0.0/24"
	FarGateway  = "10.78.0.1"
	routerIPv6  = "fd77::1"
	leaseFirst  = "10.77.0.100"
	leaseLast   = "10.77.0.199"
	farFirst    = "10.78.0.100"
	farLast     = "10.78.0.199"
	lateSeconds = 3
)

// dnsmasqArgs is the command line of the site's dnsmasq.
func dnsmasqArgs(c DHCPConfig, dir string, boxMAC net.HardwareAddr) []string {
	lease := c.Lease
	if lease == 0 {
		lease = 10 * time.Minute
	}
	seconds := strconv.Itoa(int(lease.Seconds()))
	last := c.Last
	if last == "" {
		last = leaseLast
	}
	args := []string{
		"dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--user=root", "--port=0",
		"--interface=eth0", "--bind-interfaces", "--log-dhcp", "--log-facility=-",
		"--dhcp-leasefile=" + filepath.Join(dir, "dnsmasq.leases"),
		"--dhcp-authoritative",
		"--dhcp-range=" + leaseFirst + "," + last + ",255.255.255.0," + seconds,
		"--dhcp-range=set:far," + farFirst + "," + farLast + ",255.255.255.0," + seconds,
		"--dhcp-option=option:router," + RouterAddr,
		"--dhcp-option=tag:far,option:router," + FarGateway,
		"--dhcp-host=" + boxMAC.String() + "," + BoxAddr,
	}
	if !c.NoAdvertisements {
		args = append(args, "--enable-ra", "--dhcp-range=fd77::,ra-only")
	}
	if !c.Ping {
		args = append(args, "--no-ping")
	}
	if c.Late {
		args = append(args, "--dhcp-reply-delay="+strconv.Itoa(lateSeconds))
	}
	if c.BootFile != "" || c.NextServer != "" {
		args = append(args, "--dhcp-boot="+c.BootFile+",,"+c.NextServer)
	}
	if c.Option60 {
		args = append(args, "--dhcp-option-force=60,PXEClient")
	}
	if c.Renew != 0 {
		args = append(args, "--dhcp-option-force=58,"+strconv.Itoa(int(c.Renew.Seconds())))
	}
	return args
}

// iscConfig is the text of the site's dhcpd.conf.
func iscConfig(c DHCPConfig, boxMAC net.HardwareAddr) string {
	lease := c.Lease
	if lease == 0 {
		lease = 10 * time.Minute
	}
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	p("authoritative;")
	p("ddns-update-style none;")
	p("default-lease-time %d;", int(lease.Seconds()))
	p("max-lease-time %d;", int(lease.Seconds()))
	p("min-lease-time 1;")
	switch {
	case c.Late:
		p("ping-check true;")
		p("ping-timeout %d;", lateSeconds)
	case !c.Ping:
		p("ping-check false;")
	}
	if c.NextServer != "" {
		p("next-server %s;", c.NextServer)
	}
	if c.BootFile != "" {
		p("filename %q;", c.BootFile)
	}
	if c.Option60 {
		p("option vendor-class-identifier %q;", "PXEClient")
		// Sent whether asked for or not.
		p("option dhcp-parameter-request-list = concat(option dhcp-parameter-request-list, 3c);")
	}
	if c.Renew != 0 {
		p("option dhcp-renewal-time %d;", int(c.Renew.Seconds()))
		p("option dhcp-parameter-request-list = concat(option dhcp-parameter-request-list, 3a);")
	}
	p("subnet 10.77.0.0 netmask 255.255.255.0 {")
	p("  range %s %s;", leaseFirst, leaseLast)
	p("  option routers %s;", RouterAddr)
	p("}")
	p("subnet 10.78.0.0 netmask 255.255.255.0 {")
	p("  range %s %s;", farFirst, farLast)
	p("  option routers %s;", FarGateway)
	p("}")
	p("host box { hardware ethernet %s; fixed-address %s; }", boxMAC, BoxAddr)
	return b.String()
}

// startDHCP starts the site's DHCP server in the router's namespace.
func (s *Site) startDHCP(ctx context.Context) error {
	c := s.cfg.DHCP
	switch c.Kind {
	case Dnsmasq, "":
		p, err := s.run(s.router, "router-dnsmasq", dnsmasqArgs(c, s.dir, BoxMAC)...)
		if err != nil {
			return err
		}
		s.dhcp = p
		return p.ready(ctx, "DHCP, IP range "+leaseFirst)
	case ISC:
		conf := filepath.Join(s.dir, "dhcpd.conf")
		leases := filepath.Join(s.dir, "dhcpd.leases")
		if err := os.WriteFile(conf, []byte(iscConfig(c, BoxMAC)), 0o644); err != nil {
			return fmt.Errorf("write dhcpd.conf: %w", err)
		}
		if err := os.WriteFile(leases, nil, 0o644); err != nil {
			return fmt.Errorf("write dhcpd.leases: %w", err)
		}
		p, err := s.run(s.router, "router-dhcpd", "dhcpd", "-4", "-f", "-d", "-cf", conf, "-lf", leases, "--no-pid", "eth0")
		if err != nil {
			return err
		}
		s.dhcp = p
		if err := p.ready(ctx, "Server starting service"); err != nil {
			return err
		}
		if c.NoAdvertisements {
			return nil
		}
		// dhcpd does not advertise; on such sites the router itself does.
		ra, err := s.run(s.router, "router-ra", "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=",
			"--user=root", "--port=0", "--interface=eth0", "--bind-interfaces", "--log-facility=-",
			"--enable-ra", "--dhcp-range=fd77::,ra-only")
		if err != nil {
			return err
		}
		return ra.ready(ctx, "router advertisement on fd77")
	}
	return fmt.Errorf("no DHCP server of kind %q", c.Kind)
}

// StopDHCP ends the site's DHCP server: it broke, or was never there.
func (s *Site) StopDHCP() { s.dhcp.Stop(3 * time.Second) }
