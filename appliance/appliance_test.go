package appliance

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/pin/tftp/v3"
	"go.uber.org/goleak"

	"github.com/bootpuck/bootpuck/appliance/boot"
	"github.com/bootpuck/bootpuck/appliance/health"
	"github.com/bootpuck/bootpuck/appliance/settings"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lockedBuffer is a log that can be read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

var loaders = fstest.MapFS{
	"undionly.kpxe":         {Data: bytes.Repeat([]byte("bios"), 1000)},
	"x86_64/snponly.efi":    {Data: bytes.Repeat([]byte("uefi"), 1000)},
	"memtest/memtest64.efi": {Data: []byte("memtest")},
}

// site is a box on loopback with free ports.
type site struct {
	box  *Box
	log  *lockedBuffer
	stop func()
}

func start(t *testing.T, change func(*settings.Document), missing ...string) *site {
	t.Helper()
	doc := settings.Defaults()
	doc.Interface, doc.State = []string{"lo"}, t.TempDir()
	doc.HTTP, doc.Admin, doc.Metrics = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	if change != nil {
		change(&doc)
	}
	s, err := doc.Check()
	if err != nil {
		t.Fatal(err)
	}
	st := &site{log: &lockedBuffer{}}
	ctx, cancel := context.WithCancel(t.Context())
	state := OpenState(ctx, doc.State, slog.New(slog.DiscardHandler))
	st.box, err = New(Config{
		Settings: s, Version: "v0-test", Log: slog.New(slog.NewTextHandler(st.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Bootfiles: loaders, Missing: missing, State: state, Ports: Ports{DHCP: -1, Boot: -1, TFTP: -1},
	})
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	if err := st.box.Listen(ctx); err != nil {
		cancel()
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- st.box.Run(ctx) }()
	st.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the box ended with %v", err)
		}
		if err := state.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(st.stop)
	for _, task := range st.box.tasks() {
		if task.String() == "sentinel" {
			continue // needs a right that a test run may not have
		}
		select {
		case <-task.Ready():
		case <-time.After(20 * time.Second):
			t.Fatalf("%s is not ready", task)
		}
	}
	return st
}

func (s *site) get(t *testing.T, addr net.Addr, path string) (int, string) {
	t.Helper()
	return fetch(t, addr.String(), path)
}

func fetch(t *testing.T, addr, path string) (int, string) {
	t.Helper()
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(b)
}

// saw waits for an event: its kind, reason and file.
func (s *site) saw(t *testing.T, want string) bool {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for range 250 {
		status, body := s.get(t, s.box.Addresses().Admin, "/api/v1/events?limit=4096")
		var events struct{ Events []map[string]any }
		if err := json.Unmarshal([]byte(body), &events); err != nil || status != 200 {
			t.Fatalf("%d %v", status, err)
		}
		for _, e := range events.Events {
			if fmt.Sprint(e["kind"], " ", e["reason"], " ", e["file"]) == want {
				return true
			}
		}
		<-tick.C
	}
	return false
}

func (s *site) tftp(t *testing.T, name string) (string, error) {
	t.Helper()
	c, err := tftp.NewClient(s.box.Addresses().TFTP.Addr().String() + ":" + fmt.Sprint(s.box.Addresses().TFTP.Port()))
	if s.box.Addresses().TFTP.Addr().IsUnspecified() {
		c, err = tftp.NewClient("127.0.0.1:" + fmt.Sprint(s.box.Addresses().TFTP.Port()))
	}
	if err != nil {
		t.Fatal(err)
	}
	r, err := c.Receive(name, "octet")
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	_, err = r.WriteTo(&b)
	return b.String(), err
}

func TestWholeBox(t *testing.T) {
	files := t.TempDir()
	for name, text := range map[string]string{"boot.ipxe": "#!ipxe\nexit\n", "own.bin": "mine", "pi/config.txt": "arm_64bit=1"} {
		if err := os.MkdirAll(filepath.Join(files, filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(files, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(files, "leak")); err != nil {
		t.Fatal(err)
	}
	s := start(t, func(d *settings.Document) { d.Files, d.DefaultScript = files, "files/boot.ipxe" })
	addr := s.box.Addresses()
	web := addr.HTTP.String()

	// The boot path by HTTP.
	base := "http://" + web
	for path, want := range map[string]string{
		"/b":                  "chain --autofree --replace --timeout 30000 " + base + "/s?mac=",
		"/s?mac=52:54:00:0:1": "malformed",
		"/s?mac=52:54:00:00:00:01&product=Puck&memsize=1": "chain --autofree --replace --timeout 30000 " + base + "/files/boot.ipxe",
		"/x86_64/autoexec.ipxe":                           base + "/b",
		"/grub/grub.cfg":                                  "menuentry",
		"/files/own.bin":                                  "mine",
		"/x86_64/snponly.efi":                             "uefiuefi",
		"/":                                               "network boot server",
	} {
		status, body := fetch(t, web, path)
		if wantStatus := map[bool]int{true: 400, false: 200}[want == "malformed"]; status != wantStatus || !strings.Contains(body, want) {
			t.Errorf("%s: status %d, no %q in %q", path, status, want, body)
		}
	}
	for _, path := range []string{"/files/leak", "/files/", "/files/../own.bin", "/etc/passwd", "/health.json", "/api/v1/events", "/metrics"} {
		if status, body := fetch(t, web, path); status != 404 {
			t.Errorf("the boot plane answers %s with %d %.60q", path, status, body)
		}
	}

	// The boot path by TFTP.
	for name, want := range map[string]string{
		"undionly.kpxe": "biosbios", `\X86_64\SNPONLY.EFI`: "uefiuefi", "files/own.bin": "mine", "pi/config.txt": "arm_64bit",
		"x86_64/autoexec.ipxe": "http://127.0.0.1:", "autoexec.ipxe": "/b", "grub/grub.cfg": "menuentry",
	} {
		if body, err := s.tftp(t, name); err != nil || !strings.Contains(body, want) {
			t.Errorf("tftp %s: %v, no %q in %.80q", name, err, want, body)
		}
	}
	for _, name := range []string{"leak", "files/leak", "../boot.ipxe", "files/../../etc/passwd", "nope"} {
		if body, err := s.tftp(t, name); err == nil {
			t.Errorf("tftp %s was served: %.60q", name, body)
		}
	}

	// The operator's side.
	// A transfer's event comes after the client has what it wanted.
	for _, want := range []string{"script <nil> /s", "http <nil> /x86_64/snponly.efi", "tftp <nil> undionly.kpxe", "tftp not_found nope", "script parameter /s"} {
		if !s.saw(t, want) {
			t.Errorf("no event %q", want)
		}
	}
	if status, body := s.get(t, addr.Admin, "/"); status != 200 || !strings.Contains(body, "undionly.kpxe") {
		t.Errorf("status page: %d", status)
	}
	status, body := s.get(t, addr.Admin, "/health.json")
	if !strings.Contains(body, `"name": "bootfiles"`) || status != 200 {
		t.Errorf("health %d: %s", status, body)
	}
	for _, listener := range []net.Addr{addr.Metrics, addr.Admin} {
		for path, want := range map[string]string{"/monitoring/": "dashboard.json", "/monitoring/rules/alerts.yml": "runbook_url", "/monitoring/dashboard.json": "bootpuck_"} {
			if status, body := s.get(t, listener, path); status != 200 || !strings.Contains(body, want) {
				t.Errorf("%s on %s: %d", path, listener, status)
			}
		}
		_, body = s.get(t, listener, "/metrics")
		for _, want := range []string{
			`bootpuck_boot_stage_total{arch="unknown",stage="script"} 3`, // /s, and the GRUB menu by HTTP and by TFTP
			`bootpuck_boot_stage_total{arch="unknown",stage="loader_http"} 1`,
			`bootpuck_boot_stage_total{arch="unknown",stage="loader_tftp"} 2`,
			`bootpuck_boot_stage_total{arch="unknown",stage="file"} 2`,
			`bootpuck_tftp_transfers_total{outcome="not_found"}`,
			`bootpuck_http_requests_total{code="4xx",route="script"} 1`,
			`bootpuck_build_info{`,
		} {
			if !strings.Contains(body, want) {
				t.Errorf("no %s in the metrics", want)
			}
		}
	}
	s.stop()
	if log := s.log.String(); !strings.Contains(log, "msg=box text=stopped") || strings.Contains(log, "panic") {
		t.Errorf("log: %s", log)
	}
}

func TestMissingBootFilesAreSaid(t *testing.T) {
	s := start(t, nil, "arm64/snponly.efi")
	_, body := s.get(t, s.box.Addresses().Admin, "/health.json")
	if !strings.Contains(body, "arm64/snponly.efi") || !strings.Contains(body, `"reason": "bootfiles"`) {
		t.Errorf("health: %s", body)
	}
	if s.box.files.has("arm64/snponly.efi") || !s.box.files.has("undionly.kpxe") || !s.box.files.has("http://elsewhere/x.efi") {
		t.Error("what the box has is not what it was given")
	}
}

func TestTakenPortsAreNamed(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, key := range []string{"http", "admin", "metrics"} {
		doc := settings.Defaults()
		doc.Interface, doc.State = []string{"lo"}, t.TempDir()
		doc.HTTP, doc.Admin, doc.Metrics = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
		*map[string]*string{"http": &doc.HTTP, "admin": &doc.Admin, "metrics": &doc.Metrics}[key] = l.Addr().String()
		s, err := doc.Check()
		if err != nil {
			t.Fatal(err)
		}
		state := OpenState(t.Context(), doc.State, nil)
		box, err := New(Config{Settings: s, Bootfiles: loaders, State: state, Ports: Ports{DHCP: -1, Boot: -1, TFTP: -1}})
		if err != nil {
			t.Fatal(err)
		}
		err = box.Run(t.Context())
		if err == nil || !strings.Contains(err.Error(), l.Addr().String()) || !strings.Contains(err.Error(), boot.ReasonPortTaken.Text()) {
			t.Errorf("%s: %v", key, err)
		}
		if err := state.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestDrain: a stop lets a transfer under way finish and is over within 5 s.
func TestDrain(t *testing.T) {
	s := start(t, nil)
	began := make(chan struct{})
	finished := make(chan error, 1)
	go func() {
		c, err := tftp.NewClient("127.0.0.1:" + fmt.Sprint(s.box.Addresses().TFTP.Port()))
		if err != nil {
			finished <- err
			return
		}
		r, err := c.Receive("undionly.kpxe", "octet")
		if err != nil {
			finished <- err
			return
		}
		once := sync.OnceFunc(func() { close(began) })
		n, err := r.WriteTo(writerFunc(func(p []byte) (int, error) { once(); return len(p), nil }))
		if err == nil && n != 4000 {
			err = fmt.Errorf("%d bytes", n)
		}
		finished <- err
	}()
	<-began
	stopped := time.Now()
	s.stop()
	if d := time.Since(stopped); d > 5*time.Second {
		t.Errorf("stopping took %v", d)
	}
	if err := <-finished; err != nil {
		t.Errorf("the transfer under way: %v", err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// TestSupervisorRestarts: a part that panics or ends is started again and said.
func TestSupervisorRestarts(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	sup := newSupervisor(slog.New(slog.DiscardHandler))
	var waits []time.Duration
	sup.wait = func(ctx context.Context, d time.Duration) error { waits = append(waits, d); return ctx.Err() }
	task := &flaky{ready: make(chan struct{}), cancel: cancel}
	sup.run(ctx, task)
	if task.runs != 4 || len(waits) != 3 || waits[1] != 2*waits[0] || waits[2] != 4*waits[0] {
		t.Errorf("%d runs, waits %v", task.runs, waits)
	}
	if r := sup.check(task)(); r.Status != health.Degraded || r.Reason != boot.ReasonStarting {
		t.Errorf("not ready yet: %+v", r)
	}
	sup.set(task.String(), fmt.Errorf("listen: taken\nsecond line"))
	if r := sup.check(task)(); r.Status != health.Failed || r.Detail != "listen: taken" {
		t.Errorf("%+v", r)
	}
}

type flaky struct {
	runs   int
	ready  chan struct{}
	cancel func()
}

func (f *flaky) String() string         { return "flaky" }
func (f *flaky) Ready() <-chan struct{} { return f.ready }
func (f *flaky) Run(context.Context) error {
	f.runs++
	switch f.runs {
	case 1:
		panic("a defect")
	case 2:
		return io.ErrUnexpectedEOF
	case 3:
		return nil
	}
	f.cancel()
	return nil
}

// TestOperatorsTree: what is wrong with the operator's folder keeps nothing of
// the box's own back, and what he supplies is found while the box runs.
func TestOperatorsTree(t *testing.T) {
	files := t.TempDir()
	if err := os.Symlink("/usr/lib/ipxe/undionly.kpxe", filepath.Join(files, "undionly.kpxe")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(files, "x86_64"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	s := start(t, func(d *settings.Document) { d.Files = files })
	for name, want := range map[string]string{"undionly.kpxe": "biosbios", "x86_64/snponly.efi": "uefiuefi"} {
		if body, err := s.tftp(t, name); err != nil || !strings.Contains(body, want) {
			t.Errorf("tftp %s: %v %.20q", name, err, body)
		}
		if status, body := fetch(t, s.box.Addresses().HTTP.String(), "/"+name); status != 200 || !strings.Contains(body, want) {
			t.Errorf("http %s: %d %.20q", name, status, body)
		}
	}
	const loader = "arm32/snponly.efi"
	if s.box.files.has(loader) {
		t.Error("a loader that is nowhere is offered")
	}
	if err := os.MkdirAll(filepath.Join(files, "arm32"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(files, loader), []byte("own"), 0o644); err != nil {
		t.Fatal(err)
	}
	s.box.files.look()
	if !s.box.files.has(loader) {
		t.Error("the operator's loader is not offered")
	}
}

// TestAdminIsShared: one stranger cannot take every connection of the admin port.
func TestAdminIsShared(t *testing.T) {
	l := &limitListener{byPeer: map[string]int{}}
	for i := range maxAdminPeer {
		if !l.take("192.0.2.1") {
			t.Fatalf("connection %d refused", i)
		}
	}
	if l.take("192.0.2.1") || !l.take("192.0.2.2") {
		t.Error("the limit of one address is not its own")
	}
	l.free("192.0.2.1")
	if !l.take("192.0.2.1") {
		t.Error("a place that was given back is not free")
	}
	for i := range maxAdminConns {
		l.take(fmt.Sprint("198.51.100.", i))
	}
	if l.all != maxAdminConns {
		t.Errorf("%d connections", l.all)
	}
}

func TestBase(t *testing.T) {
	s := start(t, nil)
	port := s.box.Addresses().HTTP.Port()
	if got, want := s.box.base(netip.MustParseAddr("::ffff:192.0.2.9")), fmt.Sprintf("http://192.0.2.9:%d", port); got != want {
		t.Errorf("base %s, want %s", got, want)
	}
}
