package bootweb_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"go.uber.org/goleak"

	"github.com/bootpuck/bootpuck/appliance/boot"
	"github.com/bootpuck/bootpuck/appliance/bootweb"
	"github.com/bootpuck/bootpuck/appliance/ipxe"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// scripts is the real renderer behind the server's interface, joined as the
// appliance joins them.
type scripts struct{ r *ipxe.Renderer }

func (s scripts) Script(dst []byte, q bootweb.Query) ([]byte, bootweb.Script) {
	var out bootweb.Script
	p, err := ipxe.ParseParams(q.RawQuery)
	if err != nil {
		out.Reason, out.Text = boot.ReasonParameter, err.Error()
		return s.r.Unusable(dst), out
	}
	out.MAC, out.GUID = p.MAC, p.GUID
	text, ok := s.r.Text(dst, q.Name, ipxe.Request{Base: q.Base, Params: p})
	if !ok {
		out.Reason = boot.ReasonNotFound
	}
	return text, out
}

func renderer(t testing.TB) scripts {
	t.Helper()
	r, err := ipxe.New(ipxe.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return scripts{r}
}

// bootFiles stands for the embedded boot programs: files in memory.
func bootFiles() fs.FS {
	return fstest.MapFS{
		"undionly.kpxe":       {Data: []byte("undi")},
		"x86_64/snponly.efi":  {Data: []byte("0123456789")},
		"memtest/memtest.bin": {Data: []byte("mem")},
		"licenses/GPL-2.txt":  {Data: []byte("GPL")},
	}
}

// operatorDir is an operator's directory with everything that may lie there.
func operatorDir(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	out := filepath.Join(t.TempDir(), "secret")
	for name, text := range map[string]string{
		filepath.Join(dir, "a.ipxe"):                             "#!ipxe\nexit\n",
		filepath.Join(dir, "sub/disk.ISO"):                       "iso",
		filepath.Join(dir, "sub/page.html"):                      "<script>alert(1)</script>",
		filepath.Join(dir, "sub/with space+plus.x"):              "odd",
		filepath.Join(dir, "arm32/snponly.efi"):                  "own loader",
		filepath.Join(dir, "grub/grub.cfg-01-52-54-00-00-00-01"): "own config",
		filepath.Join(dir, "b"):                                  "not a script",
		filepath.Join(dir, "index.html"):                         "index",
		out:                                                      "secret",
	} {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{"out": out, "up": "../secret", "in": "a.ipxe", "dir": filepath.Dir(out)} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

func openRoot(t testing.TB, dir string) fs.FS {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root.FS()
}

// log collects events and results.
type log struct {
	mu      sync.Mutex
	events  []boot.Event
	results []bootweb.Result
	changed chan struct{} // closed and replaced at every addition
}

func newLog() *log { return &log{changed: make(chan struct{})} }

func (l *log) sink(e boot.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, e)
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *log) observe(r bootweb.Result) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.results = append(l.results, r)
}

// wait returns the first event that ok accepts, however long it takes to come.
func (l *log) wait(t testing.TB, ok func(boot.Event) bool) boot.Event {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		l.mu.Lock()
		for _, e := range l.events {
			if ok(e) {
				l.mu.Unlock()
				return e
			}
		}
		changed := l.changed
		l.mu.Unlock()
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("no such event among %v", l.list())
		}
	}
}

func (l *log) list() []boot.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]boot.Event(nil), l.events...)
}

func (l *log) resultList() []bootweb.Result {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]bootweb.Result(nil), l.results...)
}

// start runs a server on loopback until the test ends.
func start(t testing.TB, c bootweb.Config) (*bootweb.Server, string) {
	t.Helper()
	if c.Addr == "" {
		c.Addr = "127.0.0.1:0"
	}
	if c.Scripts == nil {
		c.Scripts = renderer(t)
	}
	s := bootweb.New(c)
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	<-s.Ready()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	return s, "http://" + s.Addr().String()
}

// client follows no redirects and keeps no connections beyond the test.
func client(t testing.TB) *http.Client {
	tr := &http.Transport{DisableCompression: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{
		Transport:     tr,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       30 * time.Second,
	}
}

type answer struct {
	status int
	header http.Header
	length int64
	body   string
}

func do(t testing.TB, c *http.Client, method, url string, header ...string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, resp.ContentLength, string(b)}
}

// raw sends octets as they are and returns what comes back until the end, or
// after the first answer when keep is set.
func raw(t testing.TB, addr netip.AddrPort, request string) string {
	t.Helper()
	nc, err := net.DialTimeout("tcp", addr.String(), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if err := nc.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(nc, request); err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(bufio.NewReader(nc))
	return string(b)
}

// get is a whole HTTP/1.1 request for raw.
func get(path string) string {
	return fmt.Sprintf("GET %s HTTP/1.1\r\nHost: box\r\nConnection: close\r\n\r\n", path)
}
