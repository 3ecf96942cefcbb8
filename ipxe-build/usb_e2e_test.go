package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/sys/unix"
)

// helperEnv turns the test binary into the box of the virtual site: a proxy that
// answers iPXE's DISCOVER and a web server with a script behind it.
const helperEnv = "IPXE_BUILD_TEST_BOX"

func TestMain(m *testing.M) {
	if addr := os.Getenv(helperEnv); addr != "" {
		fmt.Fprintln(os.Stderr, serveBox(net.ParseIP(addr)))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

const reached = "SCRIPT REACHED"

func serveBox(ip net.IP) error {
	go func() {
		mux := http.NewServeMux()
		mux.HandleFunc("GET /b", func(w http.ResponseWriter, r *http.Request) {
			script := "#!ipxe\necho " + reached + " ${platform} ${buildarch} class=${user-class}\nsleep 1\npoweroff\n"
			w.Header().Set("Content-Length", fmt.Sprint(len(script)))
			io.WriteString(w, script)
		})
		fmt.Fprintln(os.Stderr, http.ListenAndServe(":80", mux))
		os.Exit(1)
	}()
	config := net.ListenConfig{}
	conn, err := config.ListenPacket(context.Background(), "udp4", ":67")
	if err != nil {
		return err
	}
	raw, err := conn.(*net.UDPConn).SyscallConn()
	if err != nil {
		return err
	}
	if ctlErr := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BROADCAST, 1) }); err != nil || ctlErr != nil {
		return errors.Join(err, ctlErr)
	}
	fmt.Println("ready")
	buf := make([]byte, 2048)
	for {
		n, _, err := conn.ReadFrom(buf)
		if err != nil {
			return err
		}
		req, err := dhcpv4.FromBytes(buf[:n])
		// Only who says that our medium's script runs is answered: that it says so
		// is part of what is tested.
		if err != nil || req.MessageType() != dhcpv4.MessageTypeDiscover || string(req.Options.Get(dhcpv4.OptionUserClassInformation)) != "bootpuck" {
			continue
		}
		offer, err := dhcpv4.NewReplyFromRequest(req,
			dhcpv4.WithMessageType(dhcpv4.MessageTypeOffer),
			dhcpv4.WithServerIP(ip),
			dhcpv4.WithOption(dhcpv4.OptServerIdentifier(ip)),
			dhcpv4.WithOption(dhcpv4.OptClassIdentifier("PXEClient")),
			dhcpv4.WithGeneric(dhcpv4.GenericOptionCode(175), []byte{1, 1, 1}))
		if err != nil {
			return err
		}
		offer.BootFileName = "http://" + ip.String() + "/b"
		if _, err := conn.WriteTo(offer.ToBytes(), &net.UDPAddr{IP: net.IPv4bcast, Port: 68}); err != nil {
			return err
		}
	}
}

// need ends the test when a prerequisite is missing: as a failure when end-to-end
// tests were asked for.
func need(t *testing.T, programs []string, files []string) {
	t.Helper()
	if os.Getenv("BOOTPUCK_E2E") != "1" {
		t.Skip("boots virtual machines: set BOOTPUCK_E2E=1")
	}
	if os.Geteuid() != 0 {
		t.Fatal("needs root for network namespaces")
	}
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Fatalf("needs %s: %v", p, err)
		}
	}
	for _, f := range files {
		if _, err := os.Stat(f); err != nil {
			t.Fatalf("needs firmware: %v", err)
		}
	}
}

// site is a LAN in namespaces of its own: a dnsmasq that only leases addresses,
// the box beside it, and a tap for a virtual machine.
type site struct {
	t  *testing.T
	ns string
}

func newSite(t *testing.T) *site {
	t.Helper()
	var (
		ns  = fmt.Sprintf("ibs%d", os.Getpid())
		box = fmt.Sprintf("ibb%d", os.Getpid())
	)
	ip := func(args string) {
		t.Helper()
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", args, err, out)
		}
	}
	for _, name := range []string{ns, box} {
		ip("netns add " + name)
		t.Cleanup(func() { exec.Command("ip", "netns", "del", name).Run() })
		ip("-n " + name + " link set lo up")
	}
	ip("-n " + ns + " link add br0 type bridge forward_delay 0")
	ip("-n " + ns + " addr add 192.0.2.1/24 dev br0")
	ip("-n " + ns + " link set br0 up")
	ip("-n " + ns + " link add box type veth peer name eth0 netns " + box)
	ip("-n " + ns + " link set box master br0 up")
	ip("-n " + box + " addr add 192.0.2.5/24 dev eth0")
	ip("-n " + box + " link set eth0 up")
	ip("-n " + box + " route add default via 192.0.2.1")
	ip("-n " + ns + " tuntap add dev tap0 mode tap")
	ip("-n " + ns + " link set tap0 master br0 up")

	start(t, nil, "", "ip", "netns", "exec", ns, "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0",
		"--interface=br0", "--bind-interfaces", "--dhcp-range=192.0.2.100,192.0.2.199,1h", "--dhcp-authoritative",
		"--leasefile-ro", "--pid-file=", "--user=root")
	start(t, []string{helperEnv + "=192.0.2.5"}, "ready", "ip", "netns", "exec", box, os.Args[0], "-test.run=^$")
	return &site{t: t, ns: ns}
}

// start runs a program until the test ends and waits for the line, if one is given.
func start(t *testing.T, env []string, line string, args ...string) {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	if line == "" {
		return
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if lines.Text() == line {
			return
		}
	}
	t.Fatalf("%s ended before it said %q", args[0], line)
}

var escape = regexp.MustCompile(`\x1b\[[0-9;?=]*[A-Za-z]`)

// boot runs a virtual machine until its console shows the marker and returns the
// console's text.
func (s *site) boot(marker string, limit time.Duration, args ...string) string {
	t := s.t
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", s.ns}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	var (
		console strings.Builder
		buf     = make([]byte, 4096)
	)
	for {
		n, err := out.Read(buf)
		console.Write(buf[:n])
		text := escape.ReplaceAllString(console.String(), "")
		if strings.Contains(text, marker) {
			t.Logf("%q after %.1f s", marker, time.Since(began).Seconds())
			return text
		}
		if err != nil || console.Len() > 1<<20 {
			t.Fatalf("no %q within %s (%v). Console:\n%s", marker, time.Since(began).Round(time.Second), err, tail(text, 4000))
		}
	}
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

// The medium starts machines of every kind it is made for, and each of them finds
// the box on a network whose own DHCP server knows nothing of it.
func TestUSBMediumBoots(t *testing.T) {
	const (
		x64   = "/usr/share/OVMF/OVMF_CODE_4M.fd"
		arm64 = "/usr/share/AAVMF/AAVMF_CODE.fd"
	)
	need(t, []string{"ip", "dnsmasq", "xorriso", "qemu-system-x86_64", "qemu-system-aarch64"}, []string{x64, arm64})
	k := realKitchen(t)
	dir := t.TempDir()
	found, fixed := filepath.Join(dir, "found.img"), filepath.Join(dir, "fixed.img")
	if err := k.usb(t.Context(), found, ""); err != nil {
		t.Fatal(err)
	}
	if err := k.usb(t.Context(), fixed, "192.0.2.5"); err != nil {
		t.Fatal(err)
	}
	vars := func(name string) string {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		copied := filepath.Join(t.TempDir(), "vars.fd")
		if err := os.WriteFile(copied, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return copied
	}
	flash := func(code, vars string) []string {
		return []string{"-drive", "if=pflash,format=raw,unit=0,readonly=on,file=" + code, "-drive", "if=pflash,format=raw,unit=1,file=" + vars}
	}
	pc := []string{"qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-m", "768"}
	stick := func(image string) []string {
		return []string{
			"-display", "none", "-monitor", "none", "-serial", "stdio", "-no-reboot", "-nic", "none", "-device", "virtio-rng-pci",
			"-device", "qemu-xhci", "-drive", "if=none,id=stick,format=raw,snapshot=on,file=" + image,
			"-device", "usb-storage,drive=stick,bootindex=0",
		}
	}
	cd := func(image string) []string {
		return []string{
			"-display", "none", "-monitor", "none", "-serial", "stdio", "-no-reboot", "-nic", "none",
			"-drive", "if=none,id=cd,media=cdrom,format=raw,readonly=on,file=" + image,
			"-device", "virtio-scsi-pci", "-device", "scsi-cd,drive=cd,bootindex=0",
		}
	}
	lan := []string{"-netdev", "tap,id=lan,ifname=tap0,script=no,downscript=no", "-device", "virtio-net-pci,netdev=lan,romfile="}
	// A card on a network that leases addresses but has no box behind them.
	wrong := []string{"-netdev", "user,id=wrong,restrict=on", "-device", "e1000,netdev=wrong,romfile="}
	// SeaBIOS shows its screen, and so iPXE's, on the serial line.
	sercon := func() []string {
		port := filepath.Join(t.TempDir(), "port")
		if err := os.WriteFile(port, []byte{0xf8, 0x03}, 0o600); err != nil {
			t.Fatal(err)
		}
		return []string{"-fw_cfg", "name=etc/sercon-port,file=" + port}
	}
	for _, tt := range []struct {
		name, want string
		args       [][]string
	}{
		{"bios", reached + " pcbios i386 class=bootpuck", [][]string{pc, sercon(), stick(found), lan}},
		{"bios from CD", reached + " pcbios i386 class=bootpuck", [][]string{pc, sercon(), cd(found), lan}},
		{"bios second card", reached + " pcbios i386 class=bootpuck", [][]string{pc, sercon(), stick(found), wrong, lan}},
		{"bios fixed box", reached + " pcbios i386 class=bootpuck", [][]string{pc, sercon(), stick(fixed), lan}},
		{"x64", reached + " efi x86_64 class=bootpuck", [][]string{pc, {"-machine", "q35"}, flash(x64, vars("/usr/share/OVMF/OVMF_VARS_4M.fd")), stick(found), lan}},
		{"arm64", reached + " efi arm64 class=bootpuck", [][]string{
			{"qemu-system-aarch64", "-machine", "virt", "-accel", "tcg,thread=multi", "-cpu", "max", "-m", "768"},
			flash(arm64, vars("/usr/share/AAVMF/AAVMF_VARS.fd")), stick(found), lan,
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSite(t)
			var args []string
			for _, part := range tt.args {
				args = append(args, part...)
			}
			console := s.boot(tt.want, 4*time.Minute, args...)
			if tt.name == "bios second card" && !strings.Contains(console, "net0: no answer that can be used") {
				t.Errorf("the first card was not tried and left. Console:\n%s", tail(console, 3000))
			}
		})
	}
}
