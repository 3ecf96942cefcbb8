package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A large site.
const (
	manyMachines = 10000
	manyRules    = 200
	askRate      = 500 // questions per second: a school that powers on
)

// site writes a large site as an import file. The last rule is the one that
// matches, so that every decision looks at all of them.
func site() []byte {
	var s strings.Builder
	s.WriteString("version: 1\nsite:\n  unknown: allow\n")
	s.WriteString("targets:\n  - name: rescue\n    kind: linux\n    kernel: files/vmlinuz\n    initrds: [files/initrd.gz]\n    cmdline: host={{.Machine.Name}} rack={{.Vars.rack}}\n")
	s.WriteString("profiles:\n  - name: rescue\n    target: rescue\n    variables: {rack: none}\n")
	s.WriteString("rules:\n")
	for i := range manyRules - 1 {
		fmt.Fprintf(&s, "  - name: rule%d\n    order: %d\n    profile: rescue\n    match:\n      product: [\"Model %d*\"]\n      subnet: [172.16.%d.0/24]\n", i, i, i, i)
	}
	fmt.Fprintf(&s, "  - name: last\n    order: %d\n    profile: rescue\n    match:\n      product: [\"Puck*\"]\n", manyRules)
	s.WriteString("machines:\n")
	for i := range manyMachines {
		fmt.Fprintf(&s, "  - id: m%d\n    name: host%d\n    uuid: %s\n    macs:\n      - mac: %s\n", i, i, uuidOf(i), macOf(i))
	}
	return []byte(s.String())
}

func macOf(i int) string { return fmt.Sprintf("02:bb:00:00:%02x:%02x", i>>8, i&0xff) }

func uuidOf(i int) string { return fmt.Sprintf("6b1ab3f0-1c2d-4e5f-8a9b-0000000%05x", i) }

// machines measures decisions about a large site through the whole box: HTTP
// in, script out.
func (b *bench) machines(ctx context.Context) error {
	p, err := b.box(ctx, "-state", filepath.Join(b.dir, "large"))
	if err != nil {
		return err
	}
	defer p.stop()
	token := ""
	err = p.ready(ctx, func() error {
		data, err := os.ReadFile(filepath.Join(b.dir, "large", "api-token"))
		token = strings.TrimSpace(string(data))
		return err
	})
	if err != nil {
		return err
	}
	idle, _ := p.rss()
	client := b.httpClient()
	began := time.Now()
	if _, err := call(ctx, client, http.MethodPost, "/api/v1/import", token, site()); err != nil {
		return err
	}
	imported := time.Since(began)
	whole, err := call(ctx, client, http.MethodGet, "/api/v1/export", token, nil)
	if err != nil {
		return err
	}
	answer, err := call(ctx, client, http.MethodPost, "/api/v1/import?dry=1", token, whole)
	if err != nil {
		return err
	}
	var dry struct {
		Differences []json.RawMessage `json:"differences"`
	}
	if err := json.Unmarshal(answer, &dry); err != nil {
		return fmt.Errorf("import that changes nothing: %w: %.300s", err, answer)
	}
	if len(dry.Differences) != 0 {
		return fmt.Errorf("the export differs from what it was made of: %.300s", answer)
	}
	took := make([]time.Duration, 0, manyMachines)
	next := time.Now()
	for i := range manyMachines {
		pause(next)
		next = next.Add(time.Second / askRate)
		d, err := ask(ctx, client, i)
		if err != nil {
			return err
		}
		took = append(took, d)
	}
	slices.Sort(took)
	all, _ := p.rss()
	b.figures = append(b.figures,
		figure{
			fmt.Sprintf("machines: script of %d machines, %d rules, at %d/s: p50, p99", manyMachines, manyRules, askRate),
			fmt.Sprintf("%.2f, %.2f ms", ms(quantile(took, 0.5)), ms(quantile(took, 0.99))), "p99 < 5 ms",
		},
		figure{"machines: resident before and after", fmt.Sprintf("%.1f, %.1f MB", float64(idle)/1e6, float64(all)/1e6), "< 128 MB"},
		figure{
			"machines: import of the whole; export that makes no difference",
			fmt.Sprintf("%.2f s, %.1f MB", imported.Seconds(), float64(len(whole))/1e6), "",
		},
	)
	return nil
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// routedAddr is where the machines ask from: behind a router, for one address on
// the wire cannot be ten thousand machines.
const routedAddr = "10.99.0.3"

// httpClient dials from the client's namespace.
func (b *bench) httpClient() *http.Client {
	return &http.Client{Timeout: 2 * time.Minute, Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (conn net.Conn, err error) {
			err = b.inClient(func() (err error) {
				d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(routedAddr)}}
				conn, err = d.DialContext(ctx, network, addr)
				return err
			})
			return conn, err
		},
	}}
}

// call is a request to the API; the body is YAML.
func call(ctx context.Context, c *http.Client, method, path, token string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+serverAddr+":8080"+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	if body != nil {
		req.Header.Set("Content-Type", "application/yaml")
	}
	resp, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s %s: %s: %.500s", method, path, resp.Status, data)
	}
	return data, nil
}

// ask fetches the script of machine i and says how long that took.
func ask(ctx context.Context, c *http.Client, i int) (time.Duration, error) {
	url := "http://" + serverAddr + "/s?mac=" + macOf(i) + "&uuid=" + uuidOf(i) + "&platform=efi&buildarch=x86_64&version=2.0.0&product=Puck%202"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	resp, err := c.Do(req)
	if err != nil {
		return 0, err
	}
	data, err := io.ReadAll(resp.Body)
	took := time.Since(began)
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return 0, err
	}
	if want := fmt.Sprintf("host=host%d rack=none", i); !bytes.Contains(data, []byte(want)) {
		return 0, fmt.Errorf("the script of machine %d lacks %q: %.1000s", i, want, data)
	}
	return took, nil
}
