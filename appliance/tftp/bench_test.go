package tftp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pin/tftp/v3"
	"golang.org/x/sys/unix"
)

// rivals are the servers that are compared, each serving one file named "a".
// start returns where its server listens.
var rivals = []struct {
	name  string
	start func(b *testing.B, file []byte) netip.AddrPort
	why   func() string // why it cannot run here; empty when it can
}{
	{"bootpuck", func(b *testing.B, file []byte) netip.AddrPort {
		s := startServer(b, Config{Files: mapTree(map[string][]byte{"a": file}), Limits: Limits{PerClient: 256, Rate: 1e6, Burst: 1e6}}, nil)
		return s.at("127.0.0.1")
	}, nil},
	{"pin", func(b *testing.B, file []byte) netip.AddrPort { return startPin(b, file, 0) }, nil},
	{"pin-250ms", func(b *testing.B, file []byte) netip.AddrPort { return startPin(b, file, 250*time.Millisecond) }, nil},
	{"tftpd-hpa", startHPA, whyNoHPA},
}

// startPin runs the library as it comes, but for the block size (its own clamp
// makes fragments) and perhaps the time-out.
func startPin(b *testing.B, file []byte, timeout time.Duration) netip.AddrPort {
	s := tftp.NewServer(func(_ string, rf io.ReaderFrom) error {
		_, err := rf.ReadFrom(bytes.NewReader(file))
		return err
	}, nil)
	s.SetBlockSize(maxBlock)
	if timeout != 0 {
		s.SetTimeout(timeout)
		s.SetBackoff(func(int) time.Duration { return 0 })
	}
	conn := listenLoopback(b)
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(conn) }()
	b.Cleanup(func() { s.Shutdown(); <-done })
	return conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

const hpa = "/usr/sbin/in.tftpd"

func whyNoHPA() string {
	if _, err := os.Stat(hpa); err != nil {
		return "tftpd-hpa is not installed"
	}
	if os.Geteuid() != 0 {
		return "tftpd-hpa needs root for its chroot"
	}
	return ""
}

// startHPA runs Debian's tftpd-hpa on a loopback port.
func startHPA(b *testing.B, file []byte) netip.AddrPort {
	dir := b.TempDir()
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			b.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "a"), file, 0o644); err != nil {
		b.Fatal(err)
	}
	free := listenLoopback(b)
	at := free.LocalAddr().(*net.UDPAddr).AddrPort()
	_ = free.Close()
	var text bytes.Buffer
	cmd := exec.Command(hpa, "--foreground", "--address", at.String(), "--user", "root", "--secure", dir)
	cmd.Stdout, cmd.Stderr = &text, &text
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	deadline := time.Now().Add(5 * time.Second)
	for {
		if got, err := fetchWith(at, "a", 1468); err == nil && len(got) == len(file) {
			return at
		} else if time.Now().After(deadline) {
			b.Fatalf("in.tftpd does not answer: %v: %s", err, &text)
		}
	}
}

// fetchAll has n clients fetch the file at once and returns their times.
func fetchAll(b *testing.B, n int, server netip.AddrPort, file []byte) []time.Duration {
	took := make([]time.Duration, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			start := time.Now()
			got, err := fetchWith(server, "a", maxBlock)
			took[i] = time.Since(start)
			if err == nil && !bytes.Equal(got, file) {
				err = errors.New("content differs")
			}
			if err != nil {
				b.Errorf("client %d: %d octets: %v", i, len(got), err)
			}
		})
	}
	wg.Wait()
	return took
}

// cpuTime is what this process has used: a measure that other programs on the
// machine do not disturb as they do times.
func cpuTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkServe: clients of one block at a time on loopback, 1 MB each. MB/s is of
// all of them together; cpu-s/GB that of this process, which is the clients' and the
// server's, but the clients' alone beside tftpd-hpa.
func BenchmarkServe(b *testing.B) {
	file := content(1 << 20)
	for _, clients := range []int{1, 64} {
		for _, r := range rivals {
			b.Run(fmt.Sprintf("clients=%d/%s", clients, r.name), func(b *testing.B) {
				if r.why != nil {
					if why := r.why(); why != "" {
						b.Skip(why)
					}
				}
				at := r.start(b, file)
				b.SetBytes(int64(clients * len(file)))
				b.ReportAllocs()
				before := cpuTime(b)
				rounds := 0
				for b.Loop() {
					fetchAll(b, clients, at, file)
					rounds++
				}
				used := cpuTime(b) - before
				b.ReportMetric(used.Seconds()/(float64(rounds*clients*len(file))/1e9), "cpu-s/GB")
			})
		}
	}
}

// BenchmarkLossy: 32 clients fetch 1 MB each through a user-space link of 1 ms
// round trip that loses 0.1% each way. Rounds alternate between the servers, so
// that all meet the same machine; p50 and p99 of all fetches are reported in
// seconds per server.
func BenchmarkLossy(b *testing.B) {
	const clients = 32
	file := content(1 << 20)
	type entry struct {
		name string
		at   netip.AddrPort
		took []time.Duration
	}
	var field []*entry
	for _, r := range rivals {
		if r.why != nil {
			if why := r.why(); why != "" {
				b.Logf("without %s: %s", r.name, why)
				continue
			}
		}
		relay := newRelay(b, r.start(b, file), 500*time.Microsecond, 0.001)
		field = append(field, &entry{name: r.name, at: relay.addr()})
	}
	for b.Loop() {
		for _, e := range field {
			e.took = append(e.took, fetchAll(b, clients, e.at, file)...)
		}
	}
	for _, e := range field {
		slices.Sort(e.took)
		at := func(q float64) float64 { return e.took[min(len(e.took)-1, int(q*float64(len(e.took))))].Seconds() }
		b.ReportMetric(at(0.5), "p50-s/"+e.name)
		b.ReportMetric(at(0.99), "p99-s/"+e.name)
	}
}
