package appliance

import (
	"fmt"
	"strings"
	"time"

	"github.com/bootpuck/bootpuck/appliance/admin"
	"github.com/bootpuck/bootpuck/appliance/boot"
	"github.com/bootpuck/bootpuck/appliance/health"
	"github.com/bootpuck/bootpuck/appliance/lan"
	"github.com/bootpuck/bootpuck/appliance/monitoring"
	"github.com/bootpuck/bootpuck/appliance/system"
	"github.com/bootpuck/bootpuck/appliance/webui"
)

// Health is the state of the box now.
func (b *Box) Health() health.Report { return b.tree().Evaluate() }

// tree is the health tree. The services stand below the network, because
// without an address none of them can do anything.
func (b *Box) tree() *health.Node {
	ok := func() health.Result { return health.Result{Status: health.OK} }
	node := func(name, title string, t Task) *health.Node {
		return &health.Node{Name: name, Title: title, Check: b.supervisor.check(t)}
	}
	return &health.Node{Name: "box", Title: "Box", Check: ok, Children: []*health.Node{
		{Name: "network", Title: "Network", Check: b.networkHealth, Children: []*health.Node{
			node("dhcp", "Boot offers (UDP 67 and 4011)", b.dhcp),
			node("tftp", "TFTP (UDP 69)", b.tftp),
			node("http", "HTTP for machines", b.web),
		}},
		{Name: "site", Title: "The site's own servers", Check: b.siteHealth},
		{Name: "twin", Title: "Other bootpucks", Check: b.twin.health},
		{Name: "listening", Title: "Listening to other servers", Check: b.listeningHealth},
		{Name: "boots", Title: "Boots of machines", Check: b.bootsHealth},
		{Name: "capture", Title: "Recent packets", Check: b.captureHealth},
		{Name: "syslog", Title: "Log lines of machines", Check: b.syslogHealth},
		{Name: "bootfiles", Title: "Boot files", Check: b.bootfilesHealth},
		{Name: "state", Title: "State", Check: b.stateHealth, Children: []*health.Node{
			{Name: "machines", Title: "Machines and profiles", Check: b.keeper.health},
		}},
		{Name: "clock", Title: "Clock", Check: b.clockHealth},
		node("admin", "Status page", b.admin),
		node("metrics", "Metrics", b.scrape),
	}}
}

// networkHealth fails when no served interface can be used, and has a
// reservation for each that cannot.
func (b *Box) networkHealth() health.Result {
	picture := b.watcher.Picture()
	if !picture.Known {
		return health.Result{Status: health.Degraded, Reason: boot.ReasonStarting}
	}
	usable := false
	for _, i := range picture.Interfaces {
		usable = usable || i.Served && i.Up && len(i.Addrs) > 0
	}
	problems := picture.Problems()
	if len(problems) == 0 && usable {
		return health.Result{Status: health.OK}
	}
	r := health.Result{Status: health.Degraded, Reason: boot.ReasonLinkDown}
	if !usable {
		r.Status = health.Failed
	}
	var details []string
	for i, p := range problems {
		if i == 0 {
			r.Reason = p.Reason
		}
		details = append(details, p.Text)
	}
	r.Detail = strings.Join(details, " ")
	return r
}

// siteReasons are the findings about other servers; a sentinel's other problems
// are its own.
var siteReasons = map[boot.Reason]bool{
	boot.ReasonOption60: true, boot.ReasonOtherPXE: true, boot.ReasonServerBootFile: true, boot.ReasonWrongNextServer: true,
	boot.ReasonRogueDHCP: true, boot.ReasonDuplicateAddress: true,
}

// siteHealth says what the site's other servers do that hurts clients, as long
// as it has been heard lately.
func (b *Box) siteHealth() health.Result {
	worst := health.Result{Status: health.OK}
	for _, p := range b.sentinel.Problems() {
		// A boot file on the router is a footnote; the others cost boots.
		if siteReasons[p.Reason] && (worst.Status == health.OK || p.Reason == boot.ReasonOption60) {
			worst = health.Result{Status: health.Degraded, Reason: p.Reason, Detail: p.Text}
		}
	}
	return worst
}

// listeningHealth has a reservation where other servers cannot be heard; the box
// boots machines all the same.
func (b *Box) listeningHealth() health.Result {
	for _, p := range b.sentinel.Problems() {
		if !siteReasons[p.Reason] {
			return health.Result{Status: health.Degraded, Reason: p.Reason, Detail: p.Text}
		}
	}
	return b.supervisor.check(b.sentinel)()
}

func (b *Box) bootfilesHealth() health.Result {
	missing := b.cfg.Missing
	if len(missing) == 0 {
		return health.Result{Status: health.OK}
	}
	shown := missing
	if len(shown) > 5 {
		shown = shown[:5]
	}
	return health.Result{
		Status: health.Failed, Reason: boot.ReasonBootfiles,
		Detail: fmt.Sprintf("%d missing: %s", len(missing), strings.Join(shown, ", ")),
	}
}

func (b *Box) stateHealth() health.Result {
	state, err, ready := b.cfg.State.State()
	switch {
	case !ready:
		return health.Result{Status: health.Degraded, Reason: boot.ReasonStarting, Detail: "The state partition is being made ready."}
	case err != nil:
		return health.Result{Status: health.Degraded, Reason: boot.ReasonStateVolatile, Detail: err.Error()}
	}
	switch reason, detail := state.Check(); reason {
	case system.StateKept:
		return health.Result{Status: health.OK}
	case system.StateFull:
		return health.Result{Status: health.Degraded, Reason: boot.ReasonStateFull, Detail: join(reason.Sentence(), detail)}
	default:
		return health.Result{Status: health.Degraded, Reason: boot.ReasonStateVolatile, Detail: join(reason.Sentence(), detail)}
	}
}

func join(sentence, detail string) string {
	if detail == "" {
		return sentence
	}
	return sentence + " (" + detail + ")"
}

func (b *Box) clockHealth() health.Result {
	if system.ClockSet(b.cfg.Now()) {
		return health.Result{Status: health.OK}
	}
	return health.Result{Status: health.Degraded, Reason: boot.ReasonClockUnset}
}

// adminBox is what the pages show.
func (b *Box) adminBox() *admin.Box {
	return &admin.Box{
		Name: b.name(), Version: b.cfg.Version, AdminPort: portOf(b.cfg.Settings.Admin), Started: b.started,
		Observe: b.cfg.Settings.Observe, Health: b.Health, Journal: b.journal, Metrics: b.metrics.Handler(), Now: time.Now,
		Backend: b.backend(), Token: b.keeper.apiToken, Log: b.cfg.Log, Pages: webui.Handler(pages{b}), Monitoring: monitoring.Handler(), Settings: func() any { return b.cfg.Settings.Document },
		Interfaces: func() []admin.Interface {
			var out []admin.Interface
			for _, i := range b.watcher.Snapshot() {
				if i.Loopback && !i.Served {
					continue
				}
				a := admin.Interface{Name: i.Name, MAC: i.MAC.String(), Up: i.Up, Served: i.Served, Addrs: []string{}}
				for _, p := range i.Addrs {
					a.Addrs = append(a.Addrs, p.String())
				}
				out = append(out, a)
			}
			return out
		},
		Responders: func() []admin.Responder {
			var out []admin.Responder
			for _, r := range b.sentinel.Responders() {
				out = append(out, responderFor(r))
			}
			return out
		},
	}
}

func responderFor(r lan.Responder) admin.Responder {
	a := admin.Responder{Addr: r.Server.String(), MAC: string(r.MAC), Interface: r.Interface, LastSeen: r.Last}
	switch {
	case r.DHCP && r.PXE:
		a.Role = "DHCP and boot server"
	case r.PXE:
		a.Role = "boot server"
	default:
		a.Role = "DHCP server"
	}
	for _, f := range r.Findings {
		a.Says = append(a.Says, f.Reason.Text()+" "+f.Text)
	}
	return a
}

// name is what the box is called: its host name, and the end of its first
// hardware address when that name says nothing.
func (b *Box) name() string {
	host := hostname()
	if host != "" && host != "localhost" && host != "gokrazy" && host != "bootpuck" {
		return host
	}
	return "bootpuck"
}
