package lab

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// pages is an HTTP server in memory: addresses and what they hold.
type pages map[string]string

// RoundTrip implements http.RoundTripper.
func (p pages) RoundTrip(r *http.Request) (*http.Response, error) {
	body, ok := p[r.URL.String()]
	code := http.StatusOK
	if !ok {
		code = http.StatusNotFound
	}
	return &http.Response{StatusCode: code, Status: http.StatusText(code), Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

func TestScript(t *testing.T) {
	web := pages{
		"http://box/next?mac=52:54&p=a%20b": "#!ipxe\nset seen yes\nkernel http://box/linux one=1 two=${seen}\ninitrd http://box/initrd\nboot || goto failed\n:failed\nexit\n",
		"http://box/linux":                  "kernel", "http://box/initrd": "initrd", "http://box/tool.efi": "program",
	}
	for _, tt := range []struct {
		name, script, started, cmdline string
		left                           bool
		err                            string
	}{
		{
			name:    "chain, kernel, boot",
			script:  "#!ipxe\nset product a b\nchain --autofree http://box/next?mac=${net${i}/mac}&p=${product:uristring} || goto again\n:again\nexit\n",
			started: "http://box/linux", cmdline: "http://box/linux one=1 two=yes",
		},
		{name: "a program is started", script: "chain http://box/tool.efi ||", started: "http://box/tool.efi"},
		{name: "what fails goes on", script: "chain http://box/none || goto on\nboot\n:on\nexit 1\n", left: true},
		{name: "the first of two labels is not the last", script: "goto a\nboot\n:a\niseq ${platform} efi && exit 1 || exit", left: true},
		{name: "a bare || is success", script: "isset ${none} ||\nexit", left: true},
		{name: "a menu ends by its time-out", script: "menu x || goto no\nitem a b\nchoose --default local --timeout 10 sel || goto no\ngoto ${sel}\n:no\nboot\n:local\nexit", left: true},
		{name: "a counter", script: "set try:int32 0\n:again\ninc try\niseq ${try} 3 || goto again\nexit", left: true},
		{name: "the end", script: "echo nothing"},
		{name: "nothing catches a failure", script: "chain http://box/none", err: "nothing catches it"},
		{name: "no such label", script: "goto nowhere", err: "no label"},
		{name: "no such command", script: "format c:", err: "not known"},
		{name: "in circles", script: ":a\ngoto a", err: "circles"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &scriptRun{p: &Puppet{}, http: &http.Client{Transport: web}, set: map[string]string{"i": "0", "net0/mac": "52:54", "platform": "efi"}}
			started, err := s.run(t.Context(), tt.script)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("error %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil || started != tt.started || s.left != tt.left || s.cmdline != tt.cmdline {
				t.Errorf("started %q, left %t, command line %q, %v", started, s.left, s.cmdline, err)
			}
		})
	}
}

func TestScriptStops(t *testing.T) {
	s := &scriptRun{p: &Puppet{}, http: &http.Client{Transport: pages{}}, set: map[string]string{}}
	s.pw.Before = func(url string) error { return errors.New("cut at " + url) }
	if _, err := s.run(t.Context(), "chain http://box/x ||"); !errors.Is(err, errOff) {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.run(ctx, "echo x"); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestSplitOps(t *testing.T) {
	got := slices.Collect(splitOps("a b && c || d ||"))
	if want := []string{"a b", "&&", "c", "||", "d", "||", ""}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}
