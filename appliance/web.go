package appliance

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"

	"github.com/bootpuck/bootpuck/appliance/admin"
	"github.com/bootpuck/bootpuck/appliance/bootweb"
	"github.com/bootpuck/bootpuck/appliance/ipxe"
	"github.com/bootpuck/bootpuck/appliance/lan"
)

// webTask is bootweb's server with the other tasks' way of listening.
type webTask struct{ *bootweb.Server }

// Listen opens the port.
func (w webTask) Listen(context.Context) error { return w.Server.Listen() }

func (b *Box) newWeb() webTask {
	front := admin.FrontPage(b.page)
	return webTask{bootweb.New(bootweb.Config{
		Addr: b.cfg.Settings.HTTP, Scripts: scripts{b}, BaseURL: b.cfg.Settings.Policy.BaseURL,
		Boot: b.cfg.Bootfiles, Files: b.files.ownFS, Trees: treeFS{b.keeper}, WhoIs: b.memory.WhoIs, Sink: b.Record, Log: b.cfg.Log,
		Pages: func(path string) http.Handler {
			switch path {
			case "/":
				return front
			case lan.TwinPath:
				return b.twin
			}
			return nil
		},
		Observe: func(r bootweb.Result) { b.metrics.HTTPDone(string(r.Route), r.Status, r.Bytes, r.Duration) },
		Limits:  bootweb.Limits{Drain: drain},
	})}
}

// describe is the machine in a few words, as it tells of itself.
func describe(p ipxe.Params) string {
	text := ""
	add := func(s string) {
		if s == "" {
			return
		}
		if text != "" {
			text += " "
		}
		text += s
	}
	add(p.Manufacturer)
	add(p.Product)
	if p.Memory > 0 {
		add(strconv.Itoa(p.Memory) + " MiB")
	}
	add(p.Platform)
	add(p.BuildArch)
	if p.Version != "" {
		add("iPXE " + p.Version)
	}
	if p.SecureBoot == ipxe.SecureBootOn {
		add("Secure Boot on")
	}
	return text
}

// portOf is the port of a listener address; 0 when it has none.
func portOf(addr string) int {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return 0
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return 0
	}
	return n
}

func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return ""
	}
	return name
}

// base is the address of our HTTP server as a client sees it that reached us on
// local.
func (b *Box) base(local netip.Addr) string {
	p := b.cfg.Settings.Policy
	p.HTTPPort = b.httpPort()
	return p.URL(local.Unmap())
}

// httpPort is the port machines reach us on: what the system chose, when it was
// left to choose.
func (b *Box) httpPort() int {
	if addr := b.web.Addr(); addr.IsValid() {
		return int(addr.Port())
	}
	return b.cfg.Settings.Policy.HTTPPort
}
