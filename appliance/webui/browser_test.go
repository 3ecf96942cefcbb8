package webui

import (
	"context"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	cdpage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// browser starts Chromium, without a sandbox (the tests may run as root) and
// without anything of its own on the network. Each call of the function that is
// returned opens a page of its own.
func browser(t *testing.T) func() context.Context {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("BOOTPUCK_E2E") == "1" {
			t.Fatal("chromium is not installed (Debian package chromium), and BOOTPUCK_E2E=1 wants it")
		}
		t.Skip("chromium is not installed (Debian package chromium)")
	}
	profile := t.TempDir()
	// The test's own context ends before its cleanups, and the browser would be
	// killed instead of closed.
	alloc, stop := chromedp.NewExecAllocator(context.WithoutCancel(t.Context()), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.UserDataDir(profile), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true),
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"),
		chromedp.WSURLReadTimeout(60*time.Second),
	)...)
	first, cancel := chromedp.NewContext(alloc)
	if err := chromedp.Do(first); err != nil {
		cancel()
		stop()
		t.Fatalf("start chromium: %v", err)
	}
	t.Cleanup(func() {
		// The browser has to be gone before its profile is removed.
		limit, end := context.WithTimeout(first, 20*time.Second)
		defer end()
		if err := chromedp.Cancel(limit); err != nil {
			t.Logf("stop chromium: %v", err)
		}
		cancel()
		stop()
	})
	return func() context.Context {
		ctx, cancel := chromedp.NewContext(first)
		t.Cleanup(cancel)
		ctx, cancel = context.WithTimeout(ctx, 4*time.Minute)
		t.Cleanup(cancel)
		return ctx
	}
}

// noted collects what a page complained about: exceptions, refusals by its
// policy, lines of the console, answers that are errors.
type noted struct {
	mu   sync.Mutex
	list []string
}

func (n *noted) add(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.list = append(n.list, fmt.Sprintf(format, args...))
}

func (n *noted) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return strings.Join(n.list, "\n")
}

// listen notes what the page of ctx complains about.
func listen(t *testing.T, ctx context.Context) *noted {
	t.Helper()
	n := &noted{}
	err := chromedp.Listen(ctx, func(ev any) {
		switch e := ev.(type) {
		case *runtime.EventExceptionThrown:
			n.add("exception: %+v", e.ExceptionDetails)
		case *runtime.EventConsoleAPICalled:
			n.add("console.%s: %+v", e.Type, e.Args)
		case *log.EventEntryAdded:
			n.add("%s %s: %s %s", e.Entry.Source, e.Entry.Level, e.Entry.Text, e.Entry.URL)
		case *network.EventResponseReceived:
			if e.Response.Status >= 400 {
				n.add("status %d of %s", e.Response.Status, e.Response.URL)
			}
		case *cdpage.EventJavascriptDialogOpening:
			n.add("dialog: %s", e.Message)
		}
	})
	if err != nil {
		t.Fatalf("listen to chromium: %v", err)
	}
	return n
}

// call is a command of the protocol as a step.
func call[P, R any](cmd cdp.Command[P, R], params P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, cmd, params)
		return err
	})
}

// into keeps what an action yields.
func into[T any](to *T, a chromedp.Action[T]) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) (err error) {
		*to, err = a(ctx, t)
		return err
	})
}

// screen sets the size of the window.
func screen(width, height int64, dark bool) chromedp.Action[chromedp.Void] {
	scheme := "light"
	if dark {
		scheme = "dark"
	}
	return chromedp.Steps(
		call(emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: height, DeviceScaleFactor: 1, Mobile: width < 500}),
		call(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
			{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"},
		}}),
		call(network.Enable, network.EnableParams{}), call(log.Enable, cdp.Empty{}), call(runtime.Enable, cdp.Empty{}),
	)
}

// shots is where screenshots go: ignored by git, for people to look at.
func shots(t *testing.T) string {
	t.Helper()
	dir := filepath.Join("..", "..", ".build", "webui")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// serve starts a server that is closed after the browser, if that is started
// later: live readers would keep it open.
func serve(t *testing.T, src Source) *httptest.Server {
	t.Helper()
	srv := httptest.NewServer(Handler(src))
	t.Cleanup(srv.Close)
	return srv
}

// widths are the page's and what sticks out of it.
const widths = `(() => {
  const w = document.documentElement.clientWidth, out = [];
  for (const e of document.querySelectorAll("body *")) {
    if (e.closest(".hide, .skip, .wide, svg")) continue;
    const r = e.getBoundingClientRect();
    if (r.width && r.right > w + 1) out.push(e.tagName + "." + e.className + " " + Math.round(r.right));
  }
  return [document.documentElement.scrollWidth > w ? "scrolls: " + document.documentElement.scrollWidth + " of " + w : "", ...out.slice(0, 5)].filter(Boolean).join("; ");
})()`

// TestInChromium looks at every page as people do, and leaves pictures of it.
func TestInChromium(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	f := morning(now)
	f.crowd(120, now)
	srv := serve(t, f)
	bad := hostileMorning(now)
	wild := serve(t, bad)
	quiet := &fake{now: func() time.Time { return now }, started: now, readers: -1}
	empty := serve(t, quiet)

	open := browser(t)

	pages := []struct{ name, url string }{
		{"overview", srv.URL + "/"},
		{"boots", srv.URL + "/boots"},
		{"boots-filtered", srv.URL + "/boots?state=bad&q=web&since=24h"},
		{"failed-tftp", srv.URL + "/boots/5f1c0a77b2d94e10"},
		{"failed-option60", srv.URL + "/boots/77aa10c2d3e4f501"},
		{"failed-forms", srv.URL + "/boots/abcdef0123456789"},
		{"failed-rival", srv.URL + "/boots/d00d5f1c0a77b2d9"},
		{"good-install", srv.URL + "/boots/1111222233334444"},
		{"good-pi", srv.URL + "/boots/7777222233334444"},
		{"local", srv.URL + "/boots/9999222233334444"},
		{"running", srv.URL + "/boots/2222222233334444"},
		{"lan", srv.URL + "/lan"},
		{"hostile-overview", wild.URL + "/"},
		{"hostile-boot", wild.URL + "/boots/bad0bad0bad0bad0"},
		{"hostile-lan", wild.URL + "/lan"},
		{"empty-overview", empty.URL + "/"},
		{"empty-lan", empty.URL + "/lan"},
	}
	sizes := []struct {
		name  string
		width int64
		dark  bool
	}{{"desktop", 1280, false}, {"phone", 390, false}, {"small", 320, false}, {"dark", 1280, true}}
	dir := shots(t)
	for _, size := range sizes {
		t.Run(size.name, func(t *testing.T) {
			ctx := open()
			n := listen(t, ctx)
			for _, p := range pages {
				var picture []byte
				var sticks, ran string
				var parts int
				err := chromedp.Do(ctx,
					screen(size.width, 844, size.dark),
					chromedp.Navigate(p.url),
					chromedp.WaitVisible(chromedp.CSS("#live.good")), // the script runs, the stream is open
					into(&sticks, chromedp.Evaluate[string](widths)),
					into(&ran, chromedp.Evaluate[string](`String(window.boomed || "")`)),
					into(&parts, chromedp.Evaluate[int](`document.querySelectorAll("main > .part").length`)),
					into(&picture, chromedp.FullScreenshot(100)),
				)
				if err != nil {
					t.Fatalf("%s: %v\n%s", p.name, err, n)
				}
				if err := os.WriteFile(filepath.Join(dir, p.name+"-"+size.name+".png"), picture, 0o644); err != nil {
					t.Fatal(err)
				}
				if sticks != "" {
					t.Errorf("%s, %d wide: %s", p.name, size.width, sticks)
				}
				if ran != "" {
					t.Errorf("%s: a stranger's script ran", p.name)
				}
				if parts < 2 {
					t.Errorf("%s: %d parts", p.name, parts)
				}
			}
			if s := n.String(); s != "" {
				t.Errorf("the pages complained:\n%s", s)
			}
		})
	}
	t.Run("the policy holds", func(t *testing.T) {
		ctx := open()
		n := listen(t, ctx)
		var ran string
		err := chromedp.Do(ctx,
			screen(1280, 844, false),
			chromedp.Navigate(srv.URL+"/"),
			into(&ran, chromedp.Evaluate[string](`(() => {
				const s = document.createElement("script");
				s.textContent = "window.boomed = 1";
				document.body.append(s);
				document.body.insertAdjacentHTML("beforeend", "<p style='position:fixed'>");
				return String(window.boomed || "");
			})()`)),
		)
		if err != nil {
			t.Fatal(err)
		}
		// This also shows that complaints are heard at all.
		if got := n.String(); ran != "" || !strings.Contains(got, "script-src 'self'") || !strings.Contains(got, "style-src 'self'") {
			t.Errorf("an inline script gave %q, the page complained: %s", ran, got)
		}
	})
}

// TestLiveInChromium: what changes appears by itself, what the reader opened
// stays open, and a page that was turned away says so.
func TestLiveInChromium(t *testing.T) {
	f := morning(time.Now().Truncate(time.Second))
	srv := serve(t, f)
	open := browser(t)
	ctx := open()
	n := listen(t, ctx)
	var opened bool
	var focus string
	err := chromedp.Do(ctx,
		screen(1280, 844, false),
		chromedp.Navigate(srv.URL+"/"),
		chromedp.WaitVisible(chromedp.CSS("#live.good")),
		chromedp.Click(chromedp.CSS("#d-events > summary")),
		chromedp.WaitVisible(chromedp.CSS("#d-events td")),
		chromedp.Focus(chromedp.CSS(`#latest a[href="/boots/5f1c0a77b2d94e10"]`)),
		chromedp.Func(func(context.Context, *chromedp.Target) error {
			a := stalledTFTP(f.now())
			a.ID, a.Name, a.Start = "feedfeedfeedfeed", "just-failed", f.now().Add(-time.Minute)
			f.change(a)
			f.mu.Lock()
			f.events = append(f.events, boot.Event{Kind: boot.KindBox, Time: f.now(), Text: "a new event"})
			f.mu.Unlock()
			return nil
		}),
		chromedp.WaitVisible(chromedp.CSS(`#failures a[href="/boots/feedfeedfeedfeed"]`)),
		chromedp.WaitVisible(chromedp.CSS(`#latest a[href="/boots/feedfeedfeedfeed"]`)),
		chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
			return waitFor(ctx, t, `document.querySelector("#d-events").textContent.includes("a new event")`)
		}),
		into(&opened, chromedp.Evaluate[bool](`document.querySelector("#d-events").open`)),
		into(&focus, chromedp.Evaluate[string](`document.activeElement.getAttribute("href") || ""`)),
	)
	if err != nil {
		t.Fatalf("%v\n%s", err, n)
	}
	if !opened {
		t.Error("what the reader had opened was closed")
	}
	if focus != "/boots/5f1c0a77b2d94e10" {
		t.Errorf("the focus went to %q", focus)
	}
	if s := n.String(); s != "" {
		t.Errorf("the page complained:\n%s", s)
	}

	// No room for a live reader: the page is whole all the same, and says so.
	f.mu.Lock()
	f.readers = 0
	f.mu.Unlock()
	err = chromedp.Do(ctx,
		chromedp.Navigate(srv.URL+"/boots/5f1c0a77b2d94e10"),
		chromedp.WaitVisible(chromedp.CSS("#live.warn")),
		chromedp.WaitVisible(chromedp.CSS("#verdict .cause")),
	)
	if err != nil {
		t.Fatal(err)
	}
}

// waitFor waits until an expression is true on the page.
func waitFor(ctx context.Context, t *chromedp.Target, expression string) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := chromedp.Evaluate[bool](expression)(ctx, t)
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// TestWithoutScripts: everything is readable with scripts switched off, and the
// form works.
func TestWithoutScripts(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	srv := serve(t, morning(now))
	open := browser(t)
	ctx := open()
	n := listen(t, ctx)
	var text, found string
	var picture []byte
	err := chromedp.Do(ctx,
		screen(390, 844, false),
		call(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}),
		chromedp.Navigate(srv.URL+"/"),
		chromedp.Click(chromedp.CSS(`#failures a[href="/boots/5f1c0a77b2d94e10"]`)),
		chromedp.WaitVisible(chromedp.CSS("#verdict .cause")),
		into(&text, chromedp.Text(chromedp.CSS("#verdict"))),
		chromedp.WaitVisible(chromedp.CSS(".tall-drawing")),
		into(&picture, chromedp.FullScreenshot(100)),
		chromedp.Navigate(srv.URL+"/boots"),
		chromedp.SendKeys(chromedp.CSS(`input[name="q"]`), "reception"),
		chromedp.Click(chromedp.CSS(`.filter button`)),
		chromedp.WaitVisible(chromedp.CSS(`.filter a[href="/boots"]`)),
		into(&found, chromedp.Text(chromedp.CSS("#rows"))),
	)
	if err != nil {
		t.Fatalf("%v\n%s", err, n)
	}
	if err := os.WriteFile(filepath.Join(shots(t), "no-script-phone.png"), picture, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, w := range []string{"web-07", "Did not boot", "Large packets get lost on the way", "What to do:", "stopped here"} {
		if !strings.Contains(text, w) {
			t.Errorf("no %q in %q", w, text)
		}
	}
	if !strings.Contains(found, "reception-2") || strings.Contains(found, "web-07") {
		t.Errorf("the search found %q", found)
	}
	if s := n.String(); s != "" {
		t.Errorf("the pages complained:\n%s", s)
	}
}
