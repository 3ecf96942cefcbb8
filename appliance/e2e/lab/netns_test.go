package lab

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netns"
)

// needRoot skips tests that make namespaces, or fails them where end-to-end
// tests were asked for.
func needRoot(t *testing.T) {
	t.Helper()
	why := ""
	if os.Geteuid() != 0 {
		why = "not root: network namespaces cannot be made"
	} else if err := Installed("dnsmasq"); err != nil {
		why = err.Error()
	}
	switch {
	case why != "" && os.Getenv("BOOTPUCK_E2E") == "1":
		t.Fatal(why)
	case os.Getenv("BOOTPUCK_E2E") != "1":
		t.Skip("set BOOTPUCK_E2E=1 to make network namespaces (needs root and dnsmasq)")
	}
}

func ours(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, pattern := range []string{netnsDir, os.TempDir()} {
		found, err := filepath.Glob(filepath.Join(pattern, prefix+strconv.Itoa(os.Getpid())+"-*"))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, found...)
	}
	return all
}

func TestSiteComesAndGoes(t *testing.T) {
	needRoot(t)
	site, err := Open(t.Context(), SiteConfig{Relay: Installed("dhcrelay") == nil})
	if err != nil {
		t.Fatal(err)
	}
	defer site.Close()
	if len(ours(t)) == 0 {
		t.Error("a site without namespaces")
	}
	// The router reaches the box's namespace over the bridge.
	var l net.Listener
	if err := site.Box().Do(func() (err error) {
		l, err = net.Listen("tcp4", BoxAddr+":8080")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("From", r.RemoteAddr)
	})}
	go server.Serve(l)
	defer server.Close()
	resp, err := site.HTTPClient().Get("http://" + BoxAddr + ":8080/")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if from, err := netip.ParseAddrPort(resp.Header.Get("From")); err != nil || from.Addr().String() != RouterAddr {
		t.Errorf("the request came from %q", resp.Header.Get("From"))
	}
	pid := 0
	if p, err := site.Run(site.Router(), "sleeper", "sleep", "1000"); err != nil {
		t.Error(err)
	} else {
		pid = p.Pid()
	}
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			if err := site.Close(); err != nil {
				t.Error(err)
			}
			if left := ours(t); len(left) > 0 {
				t.Errorf("Close returned and left %v", left)
			}
		})
	}
	wg.Wait()
	if _, err := os.Stat("/proc/" + strconv.Itoa(pid)); err == nil {
		t.Error("a process outlived its site")
	}
	if err := site.Router().Do(func() error { return nil }); !errors.Is(err, net.ErrClosed) {
		t.Errorf("working in a namespace that is gone: %v", err)
	}
	site.onClose(func() error { pid = -1; return nil })
	if pid != -1 {
		t.Error("what was added to a closed site is not undone")
	}
}

// A run that was killed leaves its namespaces; the next run removes them.
func TestSweep(t *testing.T) {
	needRoot(t)
	// A process that has ended: its number is free, and was ours.
	cmd := exec.Command("true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	name := prefix + strconv.Itoa(cmd.Process.Pid) + "-1-lan"
	done := make(chan error)
	var sleeper *exec.Cmd
	go func() {
		// A thread that is never unlocked and so ends with its goroutine.
		n := &Namespace{name: name, jobs: make(chan func()), quit: make(chan struct{}), done: make(chan struct{})}
		started := make(chan error)
		go n.thread(started)
		err := <-started
		if err == nil {
			err = n.Do(func() error {
				sleeper = exec.Command("sleep", "1000")
				return sleeper.Start()
			})
			close(n.quit)
			err = errors.Join(err, n.handle.Close())
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(os.TempDir(), name+"-dir")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := sweep(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("the stale directory is still there")
	}
	if h, err := netns.GetFromName(name); err == nil {
		h.Close()
		t.Error("the stale namespace is still there")
	}
	ended := make(chan error, 1)
	go func() { ended <- sleeper.Wait() }()
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		_ = sleeper.Process.Kill()
		t.Error("the process in the stale namespace is still there")
	}
}
