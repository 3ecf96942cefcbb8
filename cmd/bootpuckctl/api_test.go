package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// invoke runs the program and returns status, output and error output.
func invoke(t *testing.T, args ...string) (status int, out, errOut string) {
	t.Helper()
	var o, e bytes.Buffer
	status = run(t.Context(), args, quiet(&o, &e))
	return status, o.String(), e.String()
}

// quiet are surroundings without environment.
func quiet(out, errOut io.Writer) stdio {
	return stdio{in: strings.NewReader(""), out: out, errOut: errOut, getenv: func(string) string { return "" }}
}

func box(t *testing.T, status int, answer string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(status)
		fmt.Fprint(w, answer)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestHealth(t *testing.T) {
	well := `{"worst":"degraded","title":"Box","status":"ok","children":[{"title":"State","status":"degraded","text":"Forgets.","detail":"a\u001b[2Jb"}]}`
	status, out, _ := invoke(t, "health", "-box", box(t, 200, well))
	if status != 0 || !strings.Contains(out, "degraded  State: Forgets.") || strings.Contains(out, "\x1b") {
		t.Errorf("status %d, output %q", status, out)
	}
	ill := strings.Replace(well, `"worst":"degraded"`, `"worst":"failed"`, 1)
	if status, _, _ := invoke(t, "health", "-box", box(t, 503, ill)); status != 2 {
		t.Errorf("a failed box: status %d, want 2", status)
	}
	if status, out, _ := invoke(t, "health", "-json", "-box", box(t, 200, well)); status != 0 || !strings.HasPrefix(out, `{"worst"`) {
		t.Errorf("status %d, output %q", status, out)
	}
	for _, c := range []struct{ url, want string }{
		{box(t, 200, "<html>router</html>"), "did not answer like a bootpuck"},
		{"ftp://x", "want an address like"},
		{"http://127.0.0.1:1", "reach the box"},
	} {
		if status, _, e := invoke(t, "health", "-box", c.url); status != 1 || !strings.Contains(e, c.want) {
			t.Errorf("%s: status %d, error %q, want %q", c.url, status, e, c.want)
		}
	}
}

func TestEvents(t *testing.T) {
	answer := `{"events":[{"seq":1,"time":"2026-01-02T03:04:05Z","kind":"tftp","mac":"52:54:00:00:00:01","file":"x\u001b]0;evil\u0007","reason":"not_found","reason_text":"There is no such file."}],"last":1}`
	status, out, _ := invoke(t, "events", "-box", box(t, 200, answer))
	if status != 0 || !strings.Contains(out, "tftp 52:54:00:00:00:01 x�]0;evil� [not_found] There is no such file.") {
		t.Errorf("status %d, output %q", status, out)
	}
	if status, out, _ := invoke(t, "events", "-json", "-box", box(t, 200, answer)); status != 0 || strings.Count(out, "\n") != 1 || !strings.HasPrefix(out, `{"seq":1,`) {
		t.Errorf("status %d, output %q", status, out)
	}
	if status, _, e := invoke(t, "events", "-n", "0"); status != 1 || !strings.Contains(e, "-n 0") {
		t.Errorf("status %d, error %q", status, e)
	}
	if status, _, e := invoke(t, "events", "-box", box(t, 500, "")); status != 1 || !strings.Contains(e, "500") {
		t.Errorf("status %d, error %q", status, e)
	}
}

// interrupter ends the program after the first line, as an operator would.
type interrupter struct {
	bytes.Buffer
	interrupt func()
}

func (i *interrupter) Write(p []byte) (int, error) {
	defer i.interrupt()
	return i.Buffer.Write(p)
}

func TestFollow(t *testing.T) {
	for name, c := range map[string]struct {
		ends   bool // the box ends the stream
		status int
	}{"the box goes away": {true, 1}, "interrupted": {false, 0}} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Accept") != "text/event-stream" {
					t.Error("the stream was not asked for")
				}
				fmt.Fprint(w, ": live\n\nevent: missed\ndata: 3\n\nid: 7\nevent: offer\ndata: {\"seq\":7,\"kind\":\"offer\"}\n\n")
				_ = http.NewResponseController(w).Flush()
				if !c.ends {
					<-r.Context().Done()
				}
			}))
			defer s.Close()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			out, errOut := &interrupter{interrupt: func() {}}, &bytes.Buffer{}
			if !c.ends {
				out.interrupt = cancel
			}
			status := run(ctx, []string{"events", "-f", "-json", "-box", s.URL}, quiet(out, errOut))
			if status != c.status || out.String() != "{\"seq\":7,\"kind\":\"offer\"}\n" {
				t.Errorf("status %d, want %d; output %q, error %q", status, c.status, out.String(), errOut.String())
			}
		})
	}
}

func TestUsage(t *testing.T) {
	if status, out, _ := invoke(t, "help"); status != 0 || !strings.Contains(out, "probe") {
		t.Errorf("%d %q", status, out)
	}
	for _, args := range [][]string{{}, {"bogus"}, {"health", "extra"}, {"health", "-bogus"}} {
		if status, _, e := invoke(t, args...); status != 1 || e == "" {
			t.Errorf("%v: status %d, error %q", args, status, e)
		}
	}
	if status, _, _ := invoke(t, "probe", "-help"); status != 0 {
		t.Errorf("-help: %d", status)
	}
	if status, out, _ := invoke(t, "version"); status != 0 || !strings.HasPrefix(out, "bootpuckctl ") {
		t.Errorf("%d %q", status, out)
	}
}
