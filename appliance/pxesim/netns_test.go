//go:build linux

package pxesim

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// childEnv marks the process that runs inside the client's namespace.
const childEnv = "PXESIM_NETNS_CHILD"

// need skips the test without a tool, or fails it where the prerequisites are promised.
func need(t *testing.T, ok bool, format string, args ...any) {
	t.Helper()
	if ok {
		return
	}
	if os.Getenv("BOOTPUCK_E2E") == "1" {
		t.Fatalf("missing: "+format, args...)
	}
	t.Skipf("needs "+format, args...)
}

func ip(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// start runs a daemon in a namespace until the test ends; its output is shown on failure.
func start(t *testing.T, ns string, args ...string) {
	t.Helper()
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("ip", append([]string{"netns", "exec", ns}, args...)...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %v: %v", args, err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			b, _ := os.ReadFile(log.Name())
			t.Logf("%s in %s:\n%s", args[0], ns, b)
		}
	})
}

// waitUDP polls until something in the namespace is bound to a UDP port.
func waitUDP(t *testing.T, ns string, port string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		out, _ := exec.CommandContext(ctx, "ip", "netns", "exec", ns, "ss", "-Hlun", "sport = :"+port).Output()
		if len(out) > 0 {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("nothing listens on UDP %s in %s", port, ns)
		}
	}
}

// A site in namespaces: one dnsmasq as the untouched DHCP server, another as the proxy beside it, and a
// process with the clients on raw sockets. None of the servers is ours.
func TestAgainstDnsmasq(t *testing.T) {
	need(t, os.Geteuid() == 0, "root")
	for _, tool := range []string{"ip", "ss", "dnsmasq"} {
		_, err := exec.LookPath(tool)
		need(t, err == nil, "%s in PATH", tool)
	}
	site, boot, client := fmt.Sprintf("pxs%d-s", os.Getpid()), fmt.Sprintf("pxs%d-b", os.Getpid()), fmt.Sprintf("pxs%d-c", os.Getpid())
	for _, ns := range []string{site, boot, client} {
		if out, err := exec.Command("ip", "netns", "add", ns).CombinedOutput(); err != nil {
			need(t, false, "network namespaces: %s", out)
		}
		t.Cleanup(func() { ip(t, "netns", "del", ns) })
	}
	ip(t, "-n", site, "link", "add", "br0", "type", "bridge", "forward_delay", "0")
	ip(t, "-n", site, "addr", "add", "192.0.2.1/24", "dev", "br0")
	ip(t, "-n", site, "link", "set", "br0", "up")
	for i, ns := range []string{boot, client} {
		port := fmt.Sprintf("p%d", i)
		ip(t, "-n", site, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", ns)
		ip(t, "-n", site, "link", "set", port, "master", "br0", "up")
		ip(t, "-n", ns, "link", "set", "eth0", "up")
		ip(t, "-n", ns, "link", "set", "lo", "up")
	}
	ip(t, "-n", boot, "addr", "add", "192.0.2.2/24", "dev", "eth0")

	root := t.TempDir()
	for _, dir := range []string{root, filepath.Dir(root)} {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, size := range map[string]int{"undionly.kpxe": 70000, "snponly.efi": 250000, "arm64.efi": 1468 * 3} {
		if err := os.WriteFile(filepath.Join(root, name), make([]byte, size), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	leases := filepath.Join(t.TempDir(), "leases")
	common := []string{"dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--user=root", "--log-facility=-", "--log-dhcp", "--pid-file="}
	start(t, site, append(common, "--interface=br0", "--bind-interfaces", "--dhcp-range=192.0.2.100,192.0.2.150,10m", "--no-ping",
		"--dhcp-authoritative", "--dhcp-leasefile="+leases)...)
	start(t, boot, append(common, "--interface=eth0", "--bind-interfaces", "--dhcp-range=192.0.2.0,proxy", "--leasefile-ro", "--enable-tftp", "--tftp-root="+root,
		"--pxe-service=x86PC,boot,undionly.kpxe", "--pxe-service=X86-64_EFI,boot,snponly.efi", "--pxe-service=ARM64_EFI,boot,arm64.efi")...)
	waitUDP(t, site, "67")
	waitUDP(t, boot, "67")

	cmd := exec.CommandContext(t.Context(), "ip", "netns", "exec", client, os.Args[0], "-test.run=^TestNetnsChild$", "-test.v", "-test.parallel=16")
	cmd.Env = append(os.Environ(), childEnv+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestNetnsChild") || strings.Contains(string(out), "--- SKIP") {
		t.Errorf("clients: %v\n%s", err, out)
	} else if testing.Verbose() {
		t.Logf("%s", out)
	}
	held, err := os.ReadFile(leases)
	if err != nil {
		t.Fatal(err)
	}
	// Released leases are gone; the one client that kept its lease is the only line.
	if n := strings.Count(string(held), "\n"); n != 1 || !strings.Contains(string(held), "52:54:00:00:00:01") {
		t.Errorf("leases at the end:\n%s", held)
	}
}

// TestNetnsChild is the inside of TestAgainstDnsmasq.
func TestNetnsChild(t *testing.T) {
	if os.Getenv(childEnv) == "" {
		t.Skip("runs inside the namespace of TestAgainstDnsmasq only")
	}
	tests := []struct {
		name, profile string
		options       Options
		assign        bool
		bytes         int64
		code          Code
		at            time.Duration
	}{
		{"keeps its lease", "bios", Options{Lease: true}, false, 70000, "", 4 * time.Second},
		{"raw stack", "bios-old", Options{Lease: true, Release: true}, false, 70000, "", 4 * time.Second},
		{"raw stack", "uefi-x64", Options{Lease: true, Release: true}, false, 250000, "", 5 * time.Second},
		{"raw stack", "uefi-2017", Options{Lease: true, Release: true}, false, 250000, "", 5 * time.Second},
		{"raw stack", "uefi-arm64", Options{Lease: true, Release: true}, false, 1468 * 3, "", 5 * time.Second},
		{"raw stack", "ipxe-bios", Options{Lease: true, Release: true}, false, 70000, "", 0},
		{"address on the interface", "uefi-x64", Options{Lease: true, Release: true}, true, 250000, "", 5 * time.Second},
		// Without 175.1 the next server stays the DHCP server's, and the file is asked for there.
		{"next server of the DHCP server", "ipxe-efi-x64", Options{Lease: true, Release: true}, false, 0, CodeFetch, 250 * time.Millisecond},
		// dnsmasq offers although it has nothing for ia32, and answers 43.6 = 8 without a file on 4011.
		{"no entry for this architecture", "uefi-ia32", Options{Lease: true, Release: true}, false, 0, CodeE21, 5 * time.Second},
	}
	for i, tt := range tests {
		t.Run(tt.profile+"/"+tt.name, func(t *testing.T) {
			t.Parallel()
			link, err := OpenRawLink(RawConfig{Interface: "eth0", MAC: net.HardwareAddr{0x52, 0x54, 0, 0, 0, byte(i + 1)}, AssignAddress: tt.assign})
			if err != nil {
				t.Fatal(err)
			}
			defer link.Close()
			p := profile(t, tt.profile)
			if tt.code != "" {
				// One try is enough to see that nobody answers.
				p.TFTP.Waits = p.TFTP.Waits[:1]
			}
			r, err := Run(t.Context(), p, link, tt.options)
			if err != nil {
				t.Fatalf("%v\n%s", err, trace(r))
			}
			if r.Code != tt.code || r.Download.Bytes != tt.bytes || r.Elapsed < tt.at { // how long it takes at most is up to the machine
				t.Errorf("%q after %v, %d bytes\n%s", r.Verdict, r.Elapsed, r.Download.Bytes, trace(r))
			}
			t.Logf("%s in %v", r.Verdict, r.Elapsed.Round(time.Millisecond))
		})
	}
	t.Run("probe", func(t *testing.T) {
		ip(t, "addr", "add", "192.0.2.77/24", "dev", "eth0")
		for _, name := range []string{"ipxe-bios", "uefi-x64"} {
			link, err := OpenRawLink(RawConfig{Interface: "eth0"})
			if err != nil {
				t.Fatal(err)
			}
			r, err := Run(t.Context(), profile(t, name), link, Options{})
			if cerr := link.Close(); err != nil || cerr != nil || !r.OK || r.Lease.Addr != netip.MustParsePrefix("192.0.2.77/24") || r.Count(StepRequest) != 0 {
				t.Errorf("%s: %v %v %s\n%s", name, err, cerr, r.Verdict, trace(r))
			}
		}
	})
}
