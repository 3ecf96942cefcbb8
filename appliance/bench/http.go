package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"time"
)

// sizes of the measurement.
const (
	bigFile  = 256 << 20
	wrkConns = "16"
)

// http compares whole files and the generated script with nginx, driven by wrk.
func (b *bench) http(ctx context.Context) error {
	files := filepath.Join(b.dir, "files")
	if err := os.MkdirAll(files, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(files, "big.bin"), make([]byte, bigFile), 0o644); err != nil {
		return err
	}
	script := make([]byte, 2500) // as long as the machine's script
	for i := range script {
		script[i] = 'x'
	}
	if err := os.WriteFile(filepath.Join(files, "script.txt"), script, 0o644); err != nil {
		return err
	}
	if err := os.Chmod(b.dir, 0o755); err != nil { //nolint:gosec // nginx's workers read it
		return err
	}
	conf := filepath.Join(b.dir, "nginx.conf")
	text := "daemon off;\nuser root;\nworker_processes auto;\npid " + b.dir + "/nginx.pid;\nerror_log " + b.dir + "/nginx.err;\nevents { worker_connections 768; }\n" +
		"http { sendfile on; tcp_nopush on; keepalive_requests 100000000; types { text/plain txt; } access_log " + b.dir + "/nginx.access;\n" +
		"server { listen 80; root " + files + "; } }\n"
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		return err
	}
	perGB := result{what: "HTTP: CPU per GB, whole files", unit: "s", peerName: "nginx", goal: "<= 1.1"}
	speed := result{what: "HTTP: whole files", unit: "MB/s", peerName: "nginx"}
	perScript := result{what: "HTTP: CPU per generated script (peer: static file)", unit: "µs", peerName: "nginx", goal: "<= 2.0"}
	for range b.rounds {
		for _, peer := range []bool{false, true} {
			var p *process
			var err error
			big, small := "/files/big.bin", "/s?mac=52:54:00:12:34:56&platform=efi&buildarch=x86_64&product=Puck"
			if peer {
				big, small = "/big.bin", "/script.txt"
				if p, err = b.start("/usr/sbin/nginx", "-c", conf); err == nil {
					err = p.ready(ctx, func() error { return b.dial(serverAddr + ":80") })
				}
			} else {
				p, err = b.box(ctx, "-files", files)
			}
			if err != nil {
				return err
			}
			if _, _, err := b.wrk(ctx, "4", big, time.Second); err != nil { // the page cache is warm then
				return err
			}
			before := p.cpu()
			_, bytes, err := b.wrk(ctx, "4", big, b.seconds)
			if err != nil {
				return err
			}
			gb := float64(bytes) / 1e9
			cpuGB, mbs := (p.cpu()-before).Seconds()/gb, gb*1000/b.seconds.Seconds()
			before = p.cpu()
			requests, _, err := b.wrk(ctx, wrkConns, small, b.seconds)
			if err != nil {
				return err
			}
			us := float64((p.cpu() - before).Microseconds()) / float64(requests)
			p.stop()
			if peer {
				perGB.peer, speed.peer, perScript.peer = append(perGB.peer, cpuGB), append(speed.peer, mbs), append(perScript.peer, us)
			} else {
				perGB.ours, speed.ours, perScript.ours = append(perGB.ours, cpuGB), append(speed.ours, mbs), append(perScript.ours, us)
			}
		}
	}
	b.results = append(b.results, perGB, speed, perScript)
	return nil
}

var (
	wrkLine = regexp.MustCompile(`(\d+) requests in [\d.]+\w+, ([\d.]+)([KMGT]?)B read`)
	wrkBad  = regexp.MustCompile(`Non-2xx or 3xx responses: (\d+)`)
)

// wrk loads a path from the client's namespace and returns requests and octets.
func (b *bench) wrk(ctx context.Context, conns, path string, d time.Duration) (requests, bytes int64, err error) {
	cmd := exec.CommandContext(ctx, "ip", "netns", "exec", b.client, "wrk", "-t1", "-c"+conns, "-d"+strconv.Itoa(int(d.Seconds()))+"s", "--timeout", "20s", "http://"+serverAddr+path)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return 0, 0, fmt.Errorf("wrk: %w: %s", err, out)
	}
	m := wrkLine.FindSubmatch(out)
	if m == nil || wrkBad.Match(out) {
		return 0, 0, fmt.Errorf("wrk %s: unexpected answers: %s", path, out)
	}
	requests, _ = strconv.ParseInt(string(m[1]), 10, 64)
	n, _ := strconv.ParseFloat(string(m[2]), 64)
	scale := map[string]float64{"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}[string(m[3])]
	return requests, int64(n * scale), nil
}
