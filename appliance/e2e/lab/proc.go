package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// Proc is a child process. It dies with the lab's process whatever happens: it
// asks the kernel for a signal at its parent thread's end.
type Proc struct {
	// Out is everything it wrote to standard output and standard error.
	Out *Console

	name string
	cmd  *exec.Cmd
	done chan struct{}
	err  error
	log  io.Closer
}

// hostThread starts processes that stay in the host's namespace. The thread
// lives as long as the program, which the parent-death signal needs.
var hostThread = sync.OnceValue(func() chan<- func() {
	jobs := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range jobs {
			f()
		}
	}()
	return jobs
})

func onHost(f func() error) error {
	result := make(chan error, 1)
	hostThread() <- func() { result <- f() }
	return <-result
}

// start runs a program; ns nil means the host's namespace. Its output goes to
// logDir/name.log as well.
func start(ns *Namespace, logDir, name string, argv ...string) (*Proc, error) {
	path, err := lookPath(argv[0])
	if err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(logDir, name+".log"))
	if err != nil {
		return nil, fmt.Errorf("log of %s: %w", name, err)
	}
	cmd := exec.Command(path, argv[1:]...)
	p := &Proc{Out: NewConsole(log), name: name, cmd: cmd, done: make(chan struct{}), log: log}
	cmd.Stdout, cmd.Stderr = p.Out, p.Out
	cmd.WaitDelay = 2 * time.Second
	// Its own group: a Ctrl-C at the terminal must reach the lab alone, which
	// then takes everything down in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	run := onHost
	if ns != nil {
		run = ns.Do
	}
	if err := run(cmd.Start); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", name, err), log.Close())
	}
	go func() {
		p.err = cmd.Wait()
		_ = p.Out.Close()
		_ = log.Close()
		close(p.done)
	}()
	return p, nil
}

// Done is closed when the process has ended.
func (p *Proc) Done() <-chan struct{} { return p.done }

// Pid is the process id.
func (p *Proc) Pid() int { return p.cmd.Process.Pid }

// Signal sends a signal to the process.
func (p *Proc) Signal(sig os.Signal) error { return p.cmd.Process.Signal(sig) }

// Wait waits for the end and returns the process's own error, an
// *exec.ExitError for a status other than zero.
func (p *Proc) Wait(ctx context.Context) error {
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		return fmt.Errorf("wait for %s: %w", p.name, context.Cause(ctx))
	}
}

// Stop asks the process to end and kills it after the grace time. It is no
// error if it had ended before.
func (p *Proc) Stop(grace time.Duration) {
	select {
	case <-p.done:
		return
	default:
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-p.done:
		return
	case <-timer.C:
	}
	_ = p.cmd.Process.Kill()
	<-p.done
}

// ready waits for a text in the output that says the program serves.
func (p *Proc) ready(ctx context.Context, text string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	if _, _, err := p.Out.WaitFor(ctx, text); err != nil {
		return fmt.Errorf("start %s: %w; it said:\n%s", p.name, err, p.Out.Tail(12))
	}
	return nil
}

// lookPath finds programs that Debian installs in /usr/sbin, which is not in
// every PATH.
func lookPath(name string) (string, error) {
	if p, err := exec.LookPath(name); err == nil {
		return p, nil
	}
	for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/bin"} {
		p := filepath.Join(dir, name)
		if st, err := os.Stat(p); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return p, nil
		}
	}
	return "", fmt.Errorf("program %s is not installed", name)
}

// Installed returns an error if a program the lab starts is not there.
func Installed(program string) error {
	_, err := lookPath(program)
	return err
}
