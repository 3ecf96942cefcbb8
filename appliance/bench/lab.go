package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netns"
)

// Addresses of the two ends.
const (
	serverAddr = "10.98.0.2"
	clientAddr = "10.98.0.3"
)

// bench is one run.
type bench struct {
	options
	dir            string
	server, client string // namespaces
	procs          []*process
	results        []result
	figures        []figure
}

func (b *bench) setUp(ctx context.Context) error {
	var err error
	if b.dir, err = os.MkdirTemp("", "bootpuck-bench-*"); err != nil {
		return err
	}
	if b.bootpuck, err = filepath.Abs(b.bootpuck); err != nil {
		return err
	}
	pid := strconv.Itoa(os.Getpid())
	b.server, b.client = "bpb"+pid+"s", "bpb"+pid+"c"
	for _, args := range []string{
		"netns add " + b.server, "netns add " + b.client,
		"-n " + b.server + " link add eth0 type veth peer name eth0 netns " + b.client,
		"-n " + b.server + " link set lo up", "-n " + b.client + " link set lo up",
		"-n " + b.server + " addr add " + serverAddr + "/24 dev eth0", "-n " + b.client + " addr add " + clientAddr + "/24 dev eth0",
		"-n " + b.server + " link set eth0 up", "-n " + b.client + " link set eth0 up",
		"-n " + b.client + " route add default via " + serverAddr,
		"-n " + b.client + " addr add " + routedAddr + "/32 dev lo", "-n " + b.server + " route add 10.99.0.0/24 via " + clientAddr,
	} {
		if out, err := exec.CommandContext(ctx, "ip", fields(args)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", args, err, out)
		}
	}
	return nil
}

func (b *bench) tearDown() error {
	var errs []error
	for _, p := range b.procs {
		p.stop()
	}
	for _, ns := range []string{b.server, b.client} {
		if _, err := os.Stat("/run/netns/" + ns); ns != "" && err == nil {
			errs = append(errs, exec.Command("ip", "netns", "del", ns).Run())
		}
	}
	if b.dir != "" {
		errs = append(errs, os.RemoveAll(b.dir))
	}
	return errors.Join(errs...)
}

// process is a server under measurement.
type process struct {
	cmd  *exec.Cmd
	name string
	out  *os.File
	done chan struct{}
}

// start runs a program in the server's namespace. exec keeps the process id:
// `ip netns exec` replaces itself.
func (b *bench) start(name string, args ...string) (*process, error) {
	out, err := os.Create(filepath.Join(b.dir, filepath.Base(name)+".log"))
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("ip", append([]string{"netns", "exec", b.server, name}, args...)...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p := &process{cmd: cmd, name: name, out: out, done: make(chan struct{})}
	go func() { _ = cmd.Wait(); close(p.done) }()
	b.procs = append(b.procs, p)
	return p, nil
}

func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(6 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
	_ = p.out.Close()
}

// ready polls until try succeeds, or the process has ended.
func (p *process) ready(ctx context.Context, try func() error) error {
	deadline := time.After(15 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		if last = try(); last == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		case <-p.done:
			log, _ := os.ReadFile(p.out.Name())
			return fmt.Errorf("%s ended: %s", p.name, log)
		case <-deadline:
			return fmt.Errorf("%s is not ready: %w", p.name, last)
		}
	}
}

// cpu is the processor time used so far by the process and its children that
// still run, from /proc.
func (p *process) cpu() time.Duration {
	const tick = time.Second / 100 // USER_HZ
	var total time.Duration
	for _, pid := range append([]int{p.cmd.Process.Pid}, children(p.cmd.Process.Pid)...) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(stat), ") ")
		f := fields(rest)
		if len(f) < 15 {
			continue
		}
		for _, v := range f[11:15] { // own, and of children that have ended
			n, _ := strconv.Atoi(v)
			total += time.Duration(n) * tick
		}
	}
	return total
}

func children(pid int) []int {
	var out []int
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	for _, f := range fields(string(data)) {
		if n, err := strconv.Atoi(f); err == nil {
			out = append(out, n)
			out = append(out, children(n)...)
		}
	}
	return out
}

// rss is the resident memory in bytes, and the part of it that is not the
// program's own file.
func (p *process) rss() (all, anon int64) {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	for line := range strings.Lines(string(status)) {
		f := fields(line)
		if len(f) < 2 {
			continue
		}
		n, _ := strconv.ParseInt(f[1], 10, 64)
		switch f[0] {
		case "VmRSS:":
			all = n << 10
		case "RssAnon:":
			anon = n << 10
		}
	}
	return all, anon
}

// inClient runs f on a thread that is in the client's namespace: sockets made
// there stay there.
func (b *bench) inClient(f func() error) error {
	runtime.LockOSThread()
	old, err := netns.Get()
	if err != nil {
		return err
	}
	defer old.Close()
	h, err := netns.GetFromName(b.client)
	if err != nil {
		return err
	}
	defer h.Close()
	if err := netns.Set(h); err != nil {
		return err
	}
	err = f()
	if back := netns.Set(old); back != nil {
		return errors.Join(err, back) // the thread stays locked and ends with its goroutine
	}
	runtime.UnlockOSThread()
	return err
}

// udpInClient opens a UDP socket in the client's namespace.
func (b *bench) udpInClient(ctx context.Context, addr string, control func(fd uintptr)) (*net.UDPConn, error) {
	var conn *net.UDPConn
	err := b.inClient(func() error {
		lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
			return c.Control(func(fd uintptr) {
				if control != nil {
					control(fd)
				}
			})
		}}
		pc, err := lc.ListenPacket(ctx, "udp4", addr)
		if err != nil {
			return err
		}
		conn = pc.(*net.UDPConn)
		return nil
	})
	return conn, err
}

// box starts bootpuck. Its log goes where an operator's would, to a file.
func (b *bench) box(ctx context.Context, args ...string) (*process, error) {
	p, err := b.start(b.bootpuck, append([]string{"-state", filepath.Join(b.dir, "state")}, args...)...)
	if err != nil {
		return nil, err
	}
	return p, p.ready(ctx, func() error { return b.dial(serverAddr + ":80") })
}

// dial tries a TCP connection from the client's namespace.
func (b *bench) dial(addr string) error {
	return b.inClient(func() error {
		c, err := net.DialTimeout("tcp", addr, time.Second)
		if err != nil {
			return err
		}
		return c.Close()
	})
}
