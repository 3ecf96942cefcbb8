package bootweb_test

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
	"github.com/bootpuck/bootpuck/appliance/bootweb"
)

// TestConformance holds the HTTP cases of the conformance table.
func TestConformance(t *testing.T) {
	t.Parallel()
	l := newLog()
	s, base := start(t, bootweb.Config{Boot: bootFiles(), Files: openRoot(t, operatorDir(t)), Sink: l.sink})
	c := client(t)

	t.Run("109", func(t *testing.T) { // HEAD of a boot program
		a := do(t, c, "HEAD", base+"/x86_64/snponly.efi")
		if a.status != 200 || a.length != 10 || a.header.Get("Content-Type") != "application/efi" || a.body != "" {
			t.Errorf("%+v", a)
		}
	})
	t.Run("110", func(t *testing.T) { // one octet of it
		a := do(t, c, "GET", base+"/x86_64/snponly.efi", "Range", "bytes=0-0")
		if a.status != 206 || a.body != "0" || a.length != 1 || a.header.Get("Content-Range") != "bytes 0-0/10" {
			t.Errorf("%+v", a)
		}
	})
	t.Run("111", func(t *testing.T) { // a machine nobody knows
		a := do(t, c, "GET", base+"/s?mac=02:00:5e:10:00:01")
		if a.status != 200 || !strings.HasPrefix(a.body, "#!ipxe\n") || a.length != int64(len(a.body)) ||
			!strings.Contains(a.body, "no assignment") || !strings.Contains(a.body, "\niseq ${platform} efi && exit 1 || exit\n") ||
			!strings.Contains(a.body, "choose --default local --timeout") {
			t.Errorf("%+v", a)
		}
		for _, wrong := range invalidScript(a.body) {
			t.Error(wrong)
		}
		if strings.Contains(strings.ToLower(a.body), "02:00:5e") {
			t.Error("the script repeats what the client sent")
		}
		ev := l.wait(t, func(e boot.Event) bool { return e.MAC == "02:00:5e:10:00:01" })
		if ev.Kind != boot.KindScript || ev.Reason != boot.ReasonNone || ev.Bytes != a.length || ev.Addr != netip.MustParseAddr("127.0.0.1") {
			t.Errorf("event %+v", ev)
		}
	})
	t.Run("112", func(t *testing.T) { // injection by parameter
		for _, mac := range []string{"52:54:00:12:34:56%0aecho+INJECTED", "$%7Bnet0/mac%7D", "%24{uuid}", strings.Repeat("INJECTED", 128), "INJECTED"} {
			a := do(t, c, "GET", base+"/s?mac="+mac)
			if a.status != 400 || strings.Contains(a.body, "INJECTED") || strings.Contains(a.body, "uuid") || strings.Contains(a.body, "net0") {
				t.Errorf("%.40q: %+v", mac, a)
			}
		}
		for _, param := range []string{"serial", "product", "hostname", "asset", "user-class", "filename", "buildarch", "platform", "ip", "dns"} {
			a := do(t, c, "GET", base+"/s?mac=52:54:00:12:34:56&"+param+"=x%0aINJECTED%24%7Bx%7D")
			if strings.Contains(a.body, "INJECTED") {
				t.Errorf("%s is reflected: %+v", param, a)
			}
		}
	})
	t.Run("113", func(t *testing.T) { // firmware is never redirected
		for _, p := range []string{
			"/", "//", "/x86_64", "/x86_64/", "/x86_64//snponly.efi", "/./x86_64/snponly.efi", "/a/../x86_64/snponly.efi",
			"/files", "/files/", "/files/sub", "/files/sub/", "/files/index.html", "/index.html", "/b/", "/s", "/nothing",
			"/x86_64/snponly.efi",
		} {
			for _, method := range []string{"GET", "HEAD"} {
				got := raw(t, s.Addr(), method+" "+p+" HTTP/1.1\r\nHost: box\r\nUser-Agent: UefiHttpBoot/1.0\r\n"+
					"If-None-Match: *\r\nIf-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT\r\nConnection: close\r\n\r\n")
				status, _ := strconv.Atoi(got[len("HTTP/1.1 "):][:3])
				if status < 200 || status/100 == 3 || strings.Contains(got, "Location:") || !strings.Contains(got, "Content-Length:") {
					t.Errorf("%s %s: %.200s", method, p, got)
				}
			}
		}
	})
}

func TestRoutes(t *testing.T) {
	t.Parallel()
	page := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(http.StatusTeapot)
		w.Write([]byte("page " + r.URL.Path))
	})
	l := newLog()
	s, _ := start(t, bootweb.Config{
		Boot: bootFiles(), Files: openRoot(t, operatorDir(t)), Sink: l.sink, Observe: l.observe,
		Pages: func(p string) http.Handler {
			if p == "/" || p == "/about" {
				return page
			}
			return nil
		},
	})
	text := "text/plain; charset=utf-8"
	octets := "application/octet-stream"
	for _, c := range []struct {
		path   string
		status int
		ctype  string
		body   string // whole, or a prefix when it ends in *
		route  bootweb.Route
	}{
		{"/b", 200, text, "#!ipxe\n# bootpuck: the machine asks*", bootweb.RouteScript},
		{"//b", 200, text, "#!ipxe\n*", bootweb.RouteScript},
		{"/b?x=1", 200, text, "#!ipxe\n*", bootweb.RouteScript},
		{"/s", 200, text, "#!ipxe\n# bootpuck: the machine's script*", bootweb.RouteScript},
		{"/s?mac=x", 400, text, "#!ipxe\n*", bootweb.RouteScript},
		{"/s?" + strings.Repeat("x", 5000), 400, text, "#!ipxe\n*", bootweb.RouteScript},
		{"/autoexec.ipxe", 200, text, "#!ipxe\n# bootpuck: from a freshly*", bootweb.RouteScript},
		{"/x86_64/autoexec.ipxe", 200, text, "#!ipxe\n# bootpuck: from a freshly*", bootweb.RouteScript},
		{"/q/b/autoexec.ipxe", 404, text, "*", bootweb.RouteScript},
		{"/grub/grub.cfg", 200, text, "# bootpuck: menu for GRUB\n*", bootweb.RouteScript},
		{"/grub/grub.cfg-01-52-54-00-12-34-56", 200, text, "# bootpuck: menu for GRUB\n*", bootweb.RouteScript},
		{"/grub/grub.cfg-01-52-54-00-00-00-01", 200, octets, "own config", bootweb.RouteFiles},
		{"/grub/i386-efi/command.lst", 404, text, "There is no such file.\n", bootweb.RouteNone},
		{"/undionly.kpxe", 200, octets, "undi", bootweb.RouteBoot},
		{"/x86_64/snponly.efi", 200, "application/efi", "0123456789", bootweb.RouteBoot},
		{"/x86_64//snponly.efi", 200, "application/efi", "0123456789", bootweb.RouteBoot},
		{"/X86_64/snponly.efi", 404, text, "*", bootweb.RouteNone},
		{"/x86_64/snponly.efi/", 404, text, "*", bootweb.RouteNone},
		{"/x86_64", 404, text, "*", bootweb.RouteNone},
		{"/licenses/GPL-2.txt", 200, text, "GPL", bootweb.RouteBoot},
		{"/arm32/snponly.efi", 200, "application/efi", "own loader", bootweb.RouteFiles},
		{"/arm64/snponly.efi", 404, text, "*", bootweb.RouteNone},
		{"/files/a.ipxe", 200, text, "#!ipxe\nexit\n", bootweb.RouteFiles},
		{"/files//a.ipxe", 200, text, "#!ipxe\nexit\n", bootweb.RouteFiles},
		{"/files/in", 200, octets, "#!ipxe\nexit\n", bootweb.RouteFiles},
		{"/files/b", 200, octets, "not a script", bootweb.RouteFiles},
		{"/files/sub/disk.ISO", 200, "application/vnd.efi-iso", "iso", bootweb.RouteFiles},
		{"/files/sub/page.html", 200, text, "<script>alert(1)</script>", bootweb.RouteFiles},
		{"/files/sub/with%20space+plus.x", 200, octets, "odd", bootweb.RouteFiles},
		{"/files/index.html", 200, text, "index", bootweb.RouteFiles},
		{"/files/", 404, text, "*", bootweb.RouteFiles},
		{"/files", 404, text, "*", bootweb.RouteNone},
		{"/files/sub", 404, text, "*", bootweb.RouteFiles},
		{"/files/out", 404, text, "*", bootweb.RouteFiles},
		{"/files/up", 404, text, "*", bootweb.RouteFiles},
		{"/files/dir/secret", 404, text, "*", bootweb.RouteFiles},
		{"/files/fifo", 404, text, "*", bootweb.RouteFiles},
		{"/files/../files/a.ipxe", 404, text, "*", bootweb.RouteNone},
		{"/files/%2e%2e/%2e%2e/etc/passwd", 404, text, "*", bootweb.RouteNone},
		{"/files/..%2f..%2fetc/passwd", 404, text, "*", bootweb.RouteNone},
		{"/files/%00", 404, text, "*", bootweb.RouteNone},
		{"/files/" + strings.Repeat("x", 2000), 404, text, "*", bootweb.RouteNone},
		{"/a.ipxe", 404, text, "*", bootweb.RouteNone},
		{"/index.html", 404, text, "*", bootweb.RouteNone},
		{"/", 418, "text/html", "page /", bootweb.RoutePage},
		{"/about", 418, "text/html", "page /about", bootweb.RoutePage},
		{"*", 404, text, "*", bootweb.RouteNone},
	} {
		for _, method := range []string{"GET", "HEAD"} {
			got := raw(t, s.Addr(), strings.Replace(get(c.path), "GET", method, 1))
			head, body, _ := strings.Cut(got, "\r\n\r\n")
			line, rest, _ := strings.Cut(head, "\r\n")
			want := "HTTP/1.1 " + strconv.Itoa(c.status)
			if !strings.HasPrefix(line, want+" ") || !strings.Contains(rest, "Content-Type: "+c.ctype) {
				t.Errorf("%s %.60s: %s", method, c.path, head)
				continue
			}
			prefix, open := strings.CutSuffix(c.body, "*")
			if method == "HEAD" && body != "" || method == "GET" && (open && !strings.HasPrefix(body, prefix) || !open && body != c.body) {
				t.Errorf("%s %.60s: body %q", method, c.path, body)
			}
			if method == "GET" && !strings.Contains(rest+"\r\n", "Content-Length: "+strconv.Itoa(len(body))+"\r\n") {
				t.Errorf("%s %.60s: %d octets, %s", method, c.path, len(body), head)
			}
			rs := l.resultList()
			last := rs[len(rs)-1]
			if last.Route != c.route || last.Status != c.status || (last.Reason == "") != (c.status < 400 || c.status == 418) || last.Bytes != int64(len(body)) {
				t.Errorf("%s %.60s: result %+v", method, c.path, last)
			}
		}
	}
}

func TestMethods(t *testing.T) {
	t.Parallel()
	s, base := start(t, bootweb.Config{Boot: bootFiles()})
	for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"} {
		a := do(t, client(t), method, base+"/b")
		if a.status != 405 || a.header.Get("Allow") != "GET, HEAD" || strings.Contains(a.body, "#!ipxe") {
			t.Errorf("%s: %+v", method, a)
		}
	}
	if got := raw(t, s.Addr(), "CONNECT b:80 HTTP/1.1\r\nHost: b:80\r\nConnection: close\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 405 ") {
		t.Errorf("CONNECT: %s", got)
	}
	// An old client without HTTP/1.1.
	if got := raw(t, s.Addr(), "GET /undionly.kpxe HTTP/1.0\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.0 200 ") || !strings.Contains(got, "Content-Length: 4") || !strings.HasSuffix(got, "undi") {
		t.Errorf("HTTP/1.0: %s", got)
	}
}

func TestRanges(t *testing.T) {
	t.Parallel()
	l := newLog()
	_, base := start(t, bootweb.Config{Boot: bootFiles(), Sink: l.sink})
	for _, c := range []struct {
		header string
		status int
		body   string
	}{
		{"bytes=2-4", 206, "234"},
		{"bytes=8-", 206, "89"},
		{"bytes=-3", 206, "789"},
		{"bytes=5-500", 206, "56789"},
		{"bytes=10-", 416, ""},
		{"bytes=4-2", 416, ""},
		{"lines=1-2", 416, ""},
		{"", 200, "0123456789"},
	} {
		a := do(t, client(t), "GET", base+"/x86_64/snponly.efi", "Range", c.header)
		if a.status != c.status || c.status != 416 && a.body != c.body || a.length != int64(len(a.body)) || a.header.Get("Content-Encoding") != "" {
			t.Errorf("%q: %+v", c.header, a)
		}
	}
	l.wait(t, func(e boot.Event) bool { return e.Reason == boot.ReasonParameter && e.File == "/x86_64/snponly.efi" })
}

// TestNotModified: programs may ask conditionally, UEFI firmware may not be
// answered so.
func TestNotModified(t *testing.T) {
	t.Parallel()
	_, base := start(t, bootweb.Config{Files: openRoot(t, operatorDir(t))})
	for ua, want := range map[string]int{"curl/8": 304, "UefiHttpBoot/1.0": 200} {
		a := do(t, client(t), "GET", base+"/files/a.ipxe", "User-Agent", ua, "If-Modified-Since", "Fri, 01 Jan 2100 00:00:00 GMT")
		if a.status != want {
			t.Errorf("%s: %+v", ua, a)
		}
	}
}

// TestBase: scripts name the address the client reached us on.
func TestBase(t *testing.T) {
	t.Parallel()
	s := bootweb.New(bootweb.Config{Scripts: renderer(t)})
	fixed := bootweb.New(bootweb.Config{Scripts: renderer(t), BaseURL: "http://box.example/boot"})
	for local, want := range map[string]string{
		"192.0.2.2:80": "http://192.0.2.2", "192.0.2.2:8080": "http://192.0.2.2:8080", "[2001:db8::2]:80": "http://[2001:db8::2]",
		"[2001:db8::2]:8080": "http://[2001:db8::2]:8080", "[::ffff:192.0.2.2]:80": "http://192.0.2.2",
		"[fe80::2%eth0]:80": "http://[fe80::2]",
	} {
		r := httptest.NewRequest("GET", "/b", nil)
		r.Host = "evil.example"
		a := net.TCPAddrFromAddrPort(netip.MustParseAddrPort(local))
		ctx := contextWithLocal(r, a)
		for server, want := range map[*bootweb.Server]string{s: want, fixed: "http://box.example/boot"} {
			w := httptest.NewRecorder()
			server.ServeHTTP(w, r.WithContext(ctx))
			if !strings.Contains(w.Body.String(), " "+want+"/s?mac=") || strings.Contains(w.Body.String(), "evil") {
				t.Errorf("%s: %s", local, w.Body)
			}
		}
	}
	// Without a usable address there is no script, and no crash.
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest("GET", "/b", nil))
	if w.Code != 404 {
		t.Errorf("no local address: %d %s", w.Code, w.Body)
	}
}

// TestWhoIs: an event names the client by its address when nothing else does.
func TestWhoIs(t *testing.T) {
	t.Parallel()
	l := newLog()
	known := boot.Client{MAC: "52:54:00:00:00:07", Arch: boot.ArchUEFIx64, ArchKnown: true, Firmware: boot.FirmwareUEFI, GUID: boot.GUID{1}}
	_, base := start(t, bootweb.Config{
		Boot: bootFiles(), Sink: l.sink,
		WhoIs: func(a netip.Addr) (boot.Client, bool) { return known, a == netip.MustParseAddr("127.0.0.1") },
	})
	do(t, client(t), "GET", base+"/undionly.kpxe")
	do(t, client(t), "GET", base+"/s?mac=52:54:00:00:00:08")
	e := l.wait(t, func(e boot.Event) bool { return e.Kind == boot.KindHTTP })
	if e.MAC != known.MAC || e.GUID != known.GUID || e.Arch != known.Arch || !e.ArchKnown || e.Firmware != known.Firmware || e.Bytes != 4 {
		t.Errorf("%+v", e)
	}
	e = l.wait(t, func(e boot.Event) bool { return e.Kind == boot.KindScript })
	if e.MAC != "52:54:00:00:00:08" || e.GUID != known.GUID {
		t.Errorf("%+v", e)
	}
}

// panicky is a renderer with a defect.
type panicky struct{}

func (panicky) Script([]byte, bootweb.Query) ([]byte, bootweb.Script) { panic("broken glass") }

func TestPanic(t *testing.T) {
	t.Parallel()
	l := newLog()
	_, base := start(t, bootweb.Config{Scripts: panicky{}, Boot: bootFiles(), Sink: l.sink})
	if a := do(t, client(t), "GET", base+"/b"); a.status != 500 || strings.Contains(a.body, "glass") {
		t.Errorf("%+v", a)
	}
	l.wait(t, func(e boot.Event) bool { return e.Reason == boot.ReasonInternal })
	if a := do(t, client(t), "GET", base+"/undionly.kpxe"); a.status != 200 {
		t.Errorf("afterwards: %+v", a)
	}
}

// reasons stands for a renderer's other results.
type reasons struct{ script bootweb.Script }

func (r reasons) Script(dst []byte, _ bootweb.Query) ([]byte, bootweb.Script) {
	return append(dst, "#!ipxe\nexit\n"...), r.script
}

func TestScriptReasons(t *testing.T) {
	t.Parallel()
	for reason, want := range map[boot.Reason]int{
		boot.ReasonNone: 200, boot.ReasonRender: 200, boot.ReasonParameter: 400, boot.ReasonNotFound: 404,
	} {
		l := newLog()
		_, base := start(t, bootweb.Config{Scripts: reasons{bootweb.Script{Reason: reason, Text: "so"}}, Sink: l.sink})
		a := do(t, client(t), "GET", base+"/b")
		if a.status != want || (a.body == "#!ipxe\nexit\n") != (want != 404) {
			t.Errorf("%q: %+v", reason, a)
		}
		if e := l.wait(t, func(boot.Event) bool { return true }); e.Reason != reason || e.Text != "so" || e.Kind != boot.KindScript {
			t.Errorf("%q: %+v", reason, e)
		}
	}
}

func TestListenErrors(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	s := bootweb.New(bootweb.Config{Addr: taken.Addr().String(), Scripts: renderer(t)})
	if s.Problem() != nil || s.Addr().IsValid() {
		t.Error("a server that has not tried has a problem")
	}
	if err := s.Listen(); err == nil || s.Problem() == nil || !strings.Contains(err.Error(), taken.Addr().String()) {
		t.Errorf("listen on a taken port: %v", err)
	}
	var op *net.OpError
	if err := s.Problem(); !errors.As(err, &op) {
		t.Errorf("%v hides the system's error", err)
	}
}

// FuzzRequest: whatever path and query, the answer is no redirect, has the
// length it says, repeats nothing of the request, and the events stay bounded.
func FuzzRequest(f *testing.F) {
	for _, s := range []string{"/b", "/s?mac=%0aexit", "/files/../x", "//", "/x86_64/autoexec.ipxe?x=${y}", "/%2e%2e/", "/files/%00", "/grub/grub.cfg-01-"} {
		f.Add(s, "GET", "bytes=0-0")
	}
	f.Add("/undionly.kpxe", "HEAD", "bytes=1-,2-,3-")
	l := newLog()
	s := bootweb.New(bootweb.Config{
		Scripts: renderer(f), Boot: bootFiles(), Files: openRoot(f, operatorDir(f)), BaseURL: "http://192.0.2.2",
		Observe: func(r bootweb.Result) {
			if r.Status == 0 || r.Bytes < 0 {
				panic("bad result")
			}
		},
		Sink: l.sink,
	})
	f.Fuzz(func(t *testing.T, target, method, ranges string) {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			return
		}
		r := httptest.NewRequest("GET", "/", nil)
		r.Method, r.URL = method, u
		r.Header.Set("Range", ranges)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code/100 == 3 || w.Code < 200 {
			t.Fatalf("%q: %d", target, w.Code)
		}
		if method != "HEAD" && !strings.HasPrefix(w.Header().Get("Content-Type"), "multipart/") &&
			w.Header().Get("Content-Length") != strconv.Itoa(w.Body.Len()) && w.Code != 416 {
			t.Fatalf("%q: %d octets, %v", target, w.Body.Len(), w.Header())
		}
		if strings.Contains(w.Body.String(), "secret") {
			t.Fatalf("%q leaves the directory", target)
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, e := range l.events {
			if len(e.File) > 256 || len(e.Text) > 4096 {
				t.Fatalf("event of %d and %d octets", len(e.File), len(e.Text))
			}
		}
		l.events = nil
	})
}

// invalidScript says what iPXE would stumble over: a line that is no command,
// and a jump to a label that is not there.
func invalidScript(script string) (wrong []string) {
	known := strings.Fields("chain choose cpuid echo exit goto ifstat imgfetch imgfree inc iseq isset item menu prompt sanboot set shell")
	labels, jumps := map[string]bool{}, []string{"local"} // where the menu's time-out leads
	for line := range strings.Lines(script) {
		words := strings.Fields(line)
		switch {
		case len(words) == 0 || words[0][0] == '#':
			continue
		case words[0][0] == ':':
			labels[words[0][1:]] = true
			continue
		case !slices.Contains(known, words[0]):
			wrong = append(wrong, "no command: "+line)
		}
		for i, w := range words {
			if w == "goto" && i+1 < len(words) && !strings.Contains(words[i+1], "$") {
				jumps = append(jumps, words[i+1])
			}
		}
	}
	for _, j := range jumps {
		if !labels[j] {
			wrong = append(wrong, "no label :"+j)
		}
	}
	return wrong
}

// slowWriter takes its time over the first octets of a body.
type slowWriter struct {
	*httptest.ResponseRecorder
	waited bool
}

func (w *slowWriter) Write(b []byte) (int, error) {
	if !w.waited {
		w.waited = true
		<-time.After(700 * time.Millisecond)
	}
	return w.ResponseRecorder.Write(b)
}

// TestProgress: a file that takes a while is told of under way, with its size.
func TestProgress(t *testing.T) {
	l := newLog()
	s := bootweb.New(bootweb.Config{
		Files: fstest.MapFS{"big": &fstest.MapFile{Data: make([]byte, 4<<20)}}, Scripts: renderer(t), Sink: l.sink,
		WhoIs: func(netip.Addr) (boot.Client, bool) { return boot.Client{MAC: "52:54:00:00:00:01"}, true },
	})
	s.ServeHTTP(&slowWriter{ResponseRecorder: httptest.NewRecorder()}, httptest.NewRequest("GET", "/files/big", nil))
	e := l.wait(t, func(e boot.Event) bool { return e.Kind == boot.KindProgress })
	if e.Total != 4<<20 || e.Bytes <= 0 || e.Bytes >= 4<<20 || e.MAC != "52:54:00:00:00:01" || e.File != "/files/big" {
		t.Errorf("progress %+v", e)
	}
	if e := l.wait(t, func(e boot.Event) bool { return e.Kind == boot.KindHTTP }); e.Total != 4<<20 || e.Bytes != 4<<20 {
		t.Errorf("end %+v", e)
	}
}
