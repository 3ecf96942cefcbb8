package doctor

import (
	"net/netip"
	"strings"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

var (
	began  = time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)
	router = netip.MustParseAddr("192.0.2.1") // the site's DHCP server
	box    = netip.MustParseAddr("192.0.2.2")
	rival  = netip.MustParseAddr("192.0.2.9")
	client = netip.MustParseAddr("192.0.2.50")
)

const (
	nic    = boot.MAC("52:54:00:00:00:01")
	efi    = "x86_64/snponly.efi"
	bios   = "undionly.kpxe"
	script = "http://192.0.2.2/b"
)

// flow builds an attempt event by event, as the box would see it, and keeps its
// stages as the journal does.
type flow struct {
	a    boot.Attempt
	at   time.Time
	fw   boot.Firmware
	arch boot.Arch
	xid  uint32
	secs uint16
}

func newFlow(fw boot.Firmware) *flow {
	f := &flow{at: began, xid: 1}
	f.a = boot.Attempt{ID: "00000000000000a1", MAC: nic, Interface: "eth0", Start: began, Last: began, State: boot.AttemptRunning, ArchKnown: true}
	f.as(fw)
	f.a.Arch = f.arch
	return f
}

// as changes who speaks.
func (f *flow) as(fw boot.Firmware) *flow {
	f.fw, f.xid, f.secs = fw, f.xid+1, 0
	switch fw {
	case boot.FirmwareUEFI:
		f.arch = boot.ArchUEFIx64
	case boot.FirmwareHTTP:
		f.arch = boot.ArchUEFIx64HTTP
	case boot.FirmwareIPXE:
		f.secs = 4
	default:
		f.arch = boot.ArchBIOS
	}
	return f
}

// wait lets time go by, in seconds.
func (f *flow) wait(seconds float64) *flow {
	f.at = f.at.Add(time.Duration(seconds * float64(time.Second)))
	return f
}

func (f *flow) stage(n boot.StageName, e *boot.Event) *boot.Stage {
	for i := range f.a.Stages {
		if f.a.Stages[i].Name == n {
			f.a.Stages[i].Last = e.Time
			f.a.Stages[i].Count++
			return &f.a.Stages[i]
		}
	}
	f.a.Stages = append(f.a.Stages, boot.Stage{Name: n, First: e.Time, Last: e.Time, Count: 1})
	return &f.a.Stages[len(f.a.Stages)-1]
}

func (f *flow) add(e boot.Event, stages ...boot.StageName) *flow {
	if e.Time.IsZero() {
		e.Time = f.at
	}
	e.MAC, e.Interface = nic, "eth0"
	for _, n := range stages {
		s := f.stage(n, &e)
		s.Retries += e.Retries
		s.Bytes += e.Bytes
		if e.Kind == boot.KindProgress {
			s.Done = false
		} else if e.Reason == boot.ReasonNone {
			s.Done, s.Reason = true, boot.ReasonNone
		} else if e.Reason != boot.ReasonNotFound || !s.Done {
			s.Done, s.Reason = false, e.Reason
		}
		s.File = e.File
		if n != boot.StageSystem {
			f.a.At = n
		}
	}
	if e.Firmware != "" && (len(f.a.Firmwares) == 0 || f.a.Firmwares[len(f.a.Firmwares)-1] != e.Firmware) {
		f.a.Firmwares = append(f.a.Firmwares, e.Firmware)
	}
	if e.Kind != boot.KindForeign && e.Kind != boot.KindWarning {
		f.a.Last, f.a.Took = e.Time, e.Time.Sub(f.a.Start)
	}
	f.a.Events = append(f.a.Events, e)
	return f
}

// dhcp is a DHCP event of the one who speaks.
func (f *flow) dhcp(k boot.Kind) boot.Event {
	return boot.Event{Kind: k, Firmware: f.fw, Arch: f.arch, ArchKnown: true, XID: f.xid, Secs: f.secs, Duration: 400 * time.Microsecond}
}

// offer is a DISCOVER and the offer of this box.
func (f *flow) offer(form boot.Form, file string, with ...func(*boot.Event)) *flow {
	e := f.dhcp(boot.KindOffer)
	e.Form, e.File = form, file
	for _, w := range with {
		w(&e)
	}
	if f.fw == boot.FirmwareIPXE {
		f.secs += 4
	}
	return f.add(e, boot.StageDiscover, boot.StageOffer)
}

func shaped(s boot.Shape) func(*boot.Event) { return func(e *boot.Event) { e.Shape = &s } }
func secs(n uint16) func(*boot.Event)       { return func(e *boot.Event) { e.Secs = n } }
func took(d time.Duration) func(*boot.Event) {
	return func(e *boot.Event) { e.Duration = d }
}

// mute is a DISCOVER without an answer.
func (f *flow) mute(r boot.Reason) *flow {
	e := f.dhcp(boot.KindSilence)
	e.Reason, e.Class = r, "PXEClient:Arch:00007"
	return f.add(e, boot.StageDiscover)
}

// other is a packet of another server.
func (f *flow) other(o boot.Foreign) *flow {
	o.XID = f.xid
	if o.Port == 0 {
		o.Port = 67
	}
	if o.Type == "" {
		o.Type = "offer"
	}
	if len(f.a.Foreign) < boot.MaxAttemptForeign {
		f.a.Foreign = append(f.a.Foreign, o)
	}
	return f.add(boot.Event{Kind: boot.KindForeign, XID: f.xid, Foreign: &o})
}

// given is the DHCP server's plain offer of an address.
func (f *flow) given() *flow { return f.other(boot.Foreign{Server: router, Your: client, DNS: true}) }

// repeat asks at 0, 4, 12 and 28 s, as PXE firmware does, each time with the
// offers that make adds.
func (f *flow) repeat(each func(i int)) *flow {
	for i, gap := range []float64{0, 4, 8, 16} {
		f.wait(gap)
		f.secs += uint16(gap)
		each(i)
	}
	return f
}

func (f *flow) lease() *flow {
	e := f.dhcp(boot.KindLease)
	e.Addr, e.Text = client, "from the DHCP server 192.0.2.1"
	return f.add(e, boot.StageLease)
}

func (f *flow) ask(file string) *flow {
	e := f.dhcp(boot.KindAck)
	e.Form, e.File, e.Addr = boot.FormTwoStep, file, client
	return f.add(e, boot.StageAsk)
}

// barred is a request on 4011 that was not answered.
func (f *flow) barred(r boot.Reason) *flow {
	e := f.dhcp(boot.KindSilence)
	e.Reason, e.Addr = r, client
	return f.add(e)
}

func (f *flow) probe(file string) *flow {
	return f.add(boot.Event{Kind: boot.KindProbe, File: file, Addr: client, Acked: true}, boot.StageProbe)
}

const loaderSize = 1_000_000

// tftp is the end of a transfer by TFTP.
func (f *flow) tftp(n boot.StageName, file string, with ...func(*boot.Event)) *flow {
	e := boot.Event{
		Kind: boot.KindTFTP, File: file, Addr: client, Bytes: loaderSize, Total: loaderSize, Block: 1468, Acked: true,
		Duration: 800 * time.Millisecond,
	}
	for _, w := range with {
		w(&e)
	}
	return f.wait(e.Duration.Seconds()).add(e, n)
}

// http is the end of a transfer by HTTP.
func (f *flow) http(n boot.StageName, file string, size int64, with ...func(*boot.Event)) *flow {
	e := boot.Event{Kind: boot.KindHTTP, File: file, Addr: client, Bytes: size, Total: size, Duration: 500 * time.Millisecond}
	for _, w := range with {
		w(&e)
	}
	return f.wait(e.Duration.Seconds()).add(e, n)
}

func failing(r boot.Reason, got int64) func(*boot.Event) {
	return func(e *boot.Event) { e.Reason, e.Bytes = r, got }
}

func total(n int64) func(*boot.Event) { return func(e *boot.Event) { e.Total = n } }
func block(n int) func(*boot.Event)   { return func(e *boot.Event) { e.Block = n } }
func lost(n int) func(*boot.Event)    { return func(e *boot.Event) { e.Retries = n } }
func deaf(e *boot.Event)              { e.Acked, e.Bytes = false, 0 }

// script is a text that was rendered for the machine.
func (f *flow) script(file string, reason boot.Reason, text string) *flow {
	n := boot.StageScript
	switch {
	case file == "/b", strings.HasSuffix(file, "autoexec.ipxe"), file == "grub/grub.cfg":
		n = boot.StageAutoexec
	case strings.HasPrefix(file, "/m/"):
		n = boot.StageMenu
	case strings.HasPrefix(file, "/a/"):
		n = boot.StageAnswer
	case file == "/left":
		return f.wait(.1).add(boot.Event{Kind: boot.KindScript, File: file, Reason: reason, Text: text, Addr: client})
	}
	f.wait(.1).add(boot.Event{Kind: boot.KindScript, File: file, Reason: reason, Text: text, Addr: client}, n)
	if reason != boot.ReasonNone && reason != boot.ReasonNotFound {
		f.stage(n, &boot.Event{Time: f.at}).Done = true
	}
	return f
}

func (f *flow) event(k boot.Kind, r boot.Reason, file, text string) *flow {
	return f.add(boot.Event{Kind: k, Reason: r, File: file, Text: text, Addr: client})
}

// says is an installer's report.
func (f *flow) says(cb boot.Callback, text string) *flow {
	e := boot.Event{Kind: boot.KindCallback, File: string(cb), Text: text}
	if cb == boot.CallbackFailed {
		e.Reason = boot.ReasonAssignFailed
	}
	return f.add(e, boot.StageInstaller)
}

// system is an operating system that asks for an address.
func (f *flow) system() *flow {
	return f.add(boot.Event{Kind: boot.KindSilence, Reason: boot.ReasonClass, Class: "", Firmware: boot.FirmwareUnknown}, boot.StageSystem)
}

// decided is what the box decided.
func (f *flow) decided(action boot.Action, profile string) *flow {
	f.a.Action, f.a.Profile = action, profile
	return f
}

// then goes on with what another program does.
func (f *flow) then(g *flow) *flow {
	d := f.at.Sub(began)
	f.as(g.fw)
	for _, e := range g.a.Events {
		e.Time, e.XID = e.Time.Add(d), e.XID+100
		if e.Foreign != nil {
			o := *e.Foreign
			o.XID += 100
			e.Foreign = &o
			f.a.Foreign = append(f.a.Foreign, o)
		}
		f.at = e.Time
		f.add(e, stagesOf(&g.a, &e)...)
	}
	return f
}

// end concludes the attempt.
func (f *flow) end(s boot.AttemptState) *boot.Attempt {
	f.a.State = s
	if s != boot.AttemptRunning {
		f.a.End = f.at.Add(time.Minute)
	}
	return &f.a
}

// site is a LAN in order: one DHCP server that answers, the box, nothing else.
func site(change ...func(*boot.LAN)) boot.LAN {
	l := boot.LAN{
		Now: began.Add(10 * time.Minute), ClockSet: true,
		Servers: []boot.LANServer{{
			Server: router, MAC: "52:54:00:00:00:aa", Interface: "eth0", DHCP: true, Expected: true,
			First: began.Add(-time.Hour), Last: began.Add(5 * time.Minute), Replies: 40,
		}},
		Ports: []boot.LANPort{{
			Name: "eth0", MAC: "52:54:00:00:00:02", Up: true, Served: true, MTU: 1500, UpSince: began.Add(-time.Hour),
			Addrs: []netip.Prefix{netip.PrefixFrom(box, 24)},
		}},
		Gateways: []boot.LANGateway{{Time: began.Add(-time.Hour), Interface: "eth0", Addr: router, MAC: "52:54:00:00:00:aa"}},
		Probes:   []boot.LANProbe{{Time: began.Add(-5 * time.Minute), Interface: "eth0", Answers: []netip.Addr{router}}},
	}
	for _, c := range change {
		c(&l)
	}
	return l
}

// alone is a LAN without a DHCP server.
func alone(l *boot.LAN) {
	l.Servers = nil
	l.Probes = []boot.LANProbe{{Time: began.Add(-5 * time.Minute), Interface: "eth0"}}
}

// stopped is a LAN whose DHCP server answered a question of this box just before
// the machine asked, and nobody since.
func stopped(l *boot.LAN) {
	if len(l.Servers) > 0 {
		l.Servers[0].Last = began.Add(-3 * time.Second)
	}
	l.Probes[0].Time = began.Add(-3 * time.Second)
}

// unasked is a LAN where no DHCP server was heard and none was asked.
func unasked(l *boot.LAN) { l.Servers, l.Probes = nil, nil }
