package appliance

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
	"github.com/bootpuck/bootpuck/appliance/ipxe"
	"github.com/bootpuck/bootpuck/appliance/proxydhcp"
	"github.com/bootpuck/bootpuck/appliance/pxesim"
	"github.com/bootpuck/bootpuck/appliance/settings"
)

// wire is a LAN in memory with a real box's decisions on it: its DHCP handler,
// its memory of clients and its book of models. The DHCP server, TFTP and HTTP
// are the test's, and tell the box what the real ones tell.
type wire struct {
	transfers sync.Mutex // held while a packet or the silence of a transfer is handled

	t       *testing.T
	box     *Box
	handler *proxydhcp.Handler

	noDHCP   bool
	option60 bool
	deaf     bool            // the box does not overhear the DHCP server
	hangs    map[string]bool // boot programs that do not start
	noHTTP   bool

	mac      net.HardwareAddr
	sessions map[netip.AddrPort]*session
	nextPort uint16
	asked    []string // boot programs, and other files by TFTP
}

type session struct {
	port   uint16
	name   string
	data   []byte
	block  int
	next   int
	acked  bool
	silent *time.Timer
}

var (
	wireBox    = netip.MustParseAddr("192.0.2.2")
	wireDHCP   = netip.MustParseAddr("192.0.2.1")
	wireClient = netip.MustParseAddr("192.0.2.50")
	wireAll    = netip.MustParseAddr("255.255.255.255")
)

func newWire(t *testing.T) *wire {
	doc := settings.Defaults()
	doc.State = t.TempDir()
	s, err := doc.Check()
	if err != nil {
		t.Fatal(err)
	}
	files := fstest.MapFS{}
	for _, name := range []string{"undionly.kpxe", "ipxe.pxe", "x86_64/snponly.efi", "x86_64/ipxe.efi", "i386/snponly.efi", "arm64/snponly.efi"} {
		files[name] = &fstest.MapFile{Data: bytes.Repeat([]byte(name), 4000)}
	}
	w := &wire{
		t: t, mac: net.HardwareAddr{0x52, 0x54, 0, 1, 2, 3}, sessions: map[netip.AddrPort]*session{}, nextPort: 50000, hangs: map[string]bool{},
	}
	w.box, err = New(Config{Settings: s, Version: "v0-test", Bootfiles: files, Ports: Ports{DHCP: -1, Boot: -1, TFTP: -1}})
	if err != nil {
		t.Fatal(err)
	}
	w.handler = proxydhcp.NewHandler(proxydhcp.Config{
		Interfaces: func() []proxydhcp.Interface {
			return []proxydhcp.Interface{{Index: 2, Name: "eth0", MAC: "52:54:00:ff:ff:ff", Prefixes: []netip.Prefix{netip.PrefixFrom(wireBox, 24)}, Up: true, MTU: 1500, Served: true}}
		},
		Settings: w.box.dhcpSettings, Memory: w.box.memory, Now: time.Now, Sink: w.box.Record,
	})
	return w
}

// told are the box's events of a kind.
func (w *wire) told(kind boot.Kind) (out []boot.Event) {
	events, _ := w.box.journal.Since(0, 100_000)
	for _, e := range events {
		if e.Kind == kind {
			out = append(out, e)
		}
	}
	return out
}

// shapes are the shapes of the offers to firmware, repetitions left out.
func (w *wire) shapes() []boot.Shape {
	var out []boot.Shape
	for _, e := range w.told(boot.KindOffer) {
		var s boot.Shape
		if e.Shape != nil {
			s = *e.Shape
		}
		if e.MAC == boot.MACOf(w.mac) && e.Firmware != boot.FirmwareIPXE && (len(out) == 0 || out[len(out)-1] != s) {
			out = append(out, s)
		}
	}
	return out
}

func (w *wire) serve(d pxesim.Datagram) []pxesim.Delivery {
	switch d.Dst.Port() {
	case 67, 4011:
		return append(w.toBox(d), w.toDHCP(d)...)
	}
	return w.toTFTP(d)
}

func (w *wire) toBox(d pxesim.Datagram) []pxesim.Delivery {
	if to := d.Dst.Addr(); to != wireBox && to != wireAll || !w.handler.Admit(d.Payload) {
		return nil
	}
	out, ok := w.handler.Handle(proxydhcp.Inbound{
		Raw: d.Payload, Port: int(d.Dst.Port()), IfIndex: 2, Source: d.Src, Destination: d.Dst.Addr(),
	}, w.handler.Surroundings())
	if !ok {
		return nil
	}
	w.handler.Sent(out, nil)
	return []pxesim.Delivery{{Datagram: pxesim.Datagram{Src: netip.AddrPortFrom(wireBox, d.Dst.Port()), Dst: out.To, Payload: out.Packet}, After: out.Delay}}
}

func (w *wire) toDHCP(d pxesim.Datagram) []pxesim.Delivery {
	req, err := pxesim.ParsePacket(d.Payload)
	if err != nil || d.Dst.Port() != 67 || w.noDHCP {
		return nil
	}
	k := &pxesim.Packet{Op: 2, HType: 1, HLen: 6, XID: req.XID, Flags: req.Flags, CHAddr: req.CHAddr, YIAddr: wireClient}
	kind := byte(2)
	if req.Type() == 3 {
		kind = 5
	}
	k.Set(53, kind)
	server := wireDHCP.As4()
	k.Set(54, server[:]...)
	k.Set(51, 0, 0, 14, 16)
	k.Set(1, 255, 255, 255, 0)
	f := &boot.Foreign{Type: "offer", Server: wireDHCP, Port: 67, Your: wireClient, XID: req.XID}
	if w.option60 {
		k.Set(60, []byte("PXEClient")...)
		f.Class = "PXEClient"
	}
	if kind == 2 && !w.deaf {
		time.AfterFunc(500*time.Millisecond, func() {
			w.box.Record(boot.Event{Kind: boot.KindForeign, MAC: boot.MACOf(w.mac), Foreign: f})
		})
	}
	return []pxesim.Delivery{{Datagram: pxesim.Datagram{
		Src: netip.AddrPortFrom(wireDHCP, 67), Dst: netip.AddrPortFrom(wireAll, 68), Payload: k.Marshal(),
	}, After: 500 * time.Millisecond}}
}

// toTFTP is a TFTP server with blocks of at most 1468 and of what the box says
// about this client.
func (w *wire) toTFTP(d pxesim.Datagram) []pxesim.Delivery {
	reply := func(port uint16, b []byte) []pxesim.Delivery {
		return []pxesim.Delivery{{Datagram: pxesim.Datagram{Src: netip.AddrPortFrom(d.Dst.Addr(), port), Dst: d.Src, Payload: b}}}
	}
	w.transfers.Lock()
	defer w.transfers.Unlock()
	if op := binary.BigEndian.Uint16(d.Payload); op != 1 {
		return w.goesOn(d, op, reply)
	}
	fields := strings.Split(string(d.Payload[2:]), "\x00")
	w.nextPort++
	s := &session{port: w.nextPort, name: fields[0], block: 512}
	w.asked = append(w.asked, s.name)
	switch data, err := w.box.cfg.Bootfiles.Open(s.name); {
	case err == nil:
		if s.data, err = io.ReadAll(data); err != nil {
			w.t.Fatal(err)
		}
	case s.name == "autoexec.ipxe":
		s.data = []byte("#!ipxe\nchain http://192.0.2.2/b\n")
	default:
		return reply(s.port, []byte("\x00\x05\x00\x01not found\x00"))
	}
	w.sessions[d.Src] = s
	limit := 1468
	if most := w.box.memory.Block(d.Src.Addr()); most > 0 {
		limit = most
	}
	oack := []byte{0, 6}
	for i := 2; i+1 < len(fields); i += 2 {
		v := fields[i+1]
		switch fields[i] {
		case "tsize":
			v = strconv.Itoa(len(s.data))
		case "blksize":
			n, _ := strconv.Atoi(v)
			s.block = min(n, limit)
			v = strconv.Itoa(s.block)
		default:
			continue
		}
		oack = append(append(append(append(oack, fields[i]...), 0), v...), 0)
	}
	s.silent = time.AfterFunc(10*time.Second, func() {
		w.transfers.Lock()
		defer w.transfers.Unlock()
		w.ended(d.Src, s, boot.ReasonClientSilent)
	})
	if len(oack) > 2 {
		return reply(s.port, oack)
	}
	return reply(s.port, s.send())
}

// send is the next block.
func (s *session) send() []byte {
	from := s.next * s.block
	s.next++
	return append([]byte{0, 3, byte(s.next >> 8), byte(s.next)}, s.data[from:min(from+s.block, len(s.data))]...)
}

func (w *wire) goesOn(d pxesim.Datagram, op uint16, reply func(uint16, []byte) []pxesim.Delivery) []pxesim.Delivery {
	s := w.sessions[d.Src]
	if s == nil || s.port != d.Dst.Port() {
		return nil
	}
	n := int(binary.BigEndian.Uint16(d.Payload[2:]))
	switch {
	case op == 5:
		w.ended(d.Src, s, boot.ReasonClientAborted)
	case op == 4 && n == s.next:
		s.acked = true
		if s.next > 0 && s.next*s.block > len(s.data) {
			w.ended(d.Src, s, boot.ReasonNone)
			return nil
		}
		return reply(s.port, s.send())
	}
	return nil
}

// ended tells the end of a transfer as the box's own server does. w.transfers is
// held.
func (w *wire) ended(from netip.AddrPort, s *session, reason boot.Reason) {
	if w.sessions[from] != s {
		return
	}
	delete(w.sessions, from)
	s.silent.Stop()
	e := boot.Event{
		Kind: boot.KindTFTP, Reason: reason, Addr: from.Addr(), Interface: "eth0", File: s.name, Total: int64(len(s.data)),
		Block: s.block, Acked: s.acked, Bytes: int64(max(0, s.next-1) * s.block),
	}
	switch {
	case reason == boot.ReasonNone:
		e.Bytes = e.Total
	case reason == boot.ReasonClientAborted && s.next == 0:
		e.Kind, e.Reason = boot.KindProbe, boot.ReasonNone
	}
	w.box.Record(e)
	if s.name == "autoexec.ipxe" && e.Reason == boot.ReasonNone {
		w.script(from.Addr())
	}
}

func (w *wire) script(from netip.Addr) {
	w.box.Record(boot.Event{Kind: boot.KindScript, Addr: from, File: ipxe.NameMachine, Bytes: 100})
}

// RoundTrip makes the wire an HTTP transport.
func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	if w.noHTTP {
		return nil, errors.New("connection timed out")
	}
	res := func(body []byte) *http.Response {
		return &http.Response{
			StatusCode: 200, Status: "200 OK", Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, ContentLength: int64(len(body)),
			Header: http.Header{"Content-Type": {"application/efi"}, "Content-Length": {strconv.Itoa(len(body))}}, Body: io.NopCloser(bytes.NewReader(body)), Request: r,
		}
	}
	name := strings.TrimPrefix(r.URL.Path, "/")
	if name == "b" {
		w.script(wireClient)
		return res([]byte("#!ipxe\necho here\n")), nil
	}
	f, err := w.box.cfg.Bootfiles.Open(name)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(f)
	if err != nil {
		return nil, err
	}
	if r.Method == http.MethodGet {
		w.asked = append(w.asked, name)
		w.box.Record(boot.Event{Kind: boot.KindHTTP, Addr: wireClient, File: name, Bytes: int64(len(data)), Total: int64(len(data))})
	}
	return res(data), nil
}

// boot switches a machine on and plays it until it has its script or gives up.
// Machines come back a minute after the last event.
func (w *wire) boot(profile string) bool {
	w.t.Helper()
	p, err := pxesim.Lookup(profile)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() {
		<-time.After(time.Minute)
		for _, e := range w.box.awaiting.Silent(time.Now()) {
			w.box.Record(e)
		}
	}()
	w.asked = nil
	link := pxesim.NewMemory(w.mac, w.serve)
	o := pxesim.Options{Lease: true, UUID: [16]byte{1, 2, 3, w.mac[5]}, HTTP: w}
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Hour)
	defer cancel()
	for range 4 {
		r, err := pxesim.Run(ctx, p, link, o)
		if err != nil {
			w.t.Fatal(err)
		}
		if !r.OK || r.Script || p.Next == "" {
			return r.OK
		}
		if last := len(w.asked) - 1; last >= 0 && w.hangs[w.asked[last]] {
			return false
		}
		o.CameFrom, o.Station = r.Server, r.Lease.Addr
		if p, err = pxesim.Lookup(p.Next); err != nil {
			w.t.Fatal(err)
		}
	}
	return false
}

func onWire(t *testing.T, f func(t *testing.T, w *wire)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, newWire(t)) })
}

var (
	twoStep = boot.Shape{Form: boot.FormTwoStep}
	late    = boot.Shape{Delay: boot.RungDelay}
	block1K = boot.Shape{Block: boot.RungBlock}
	block05 = boot.Shape{Block: boot.RungBlockLast}
	native  = boot.Shape{Variant: boot.VariantNative}
)

// TestLadderRescues plays firmware that does not follow the box's first choice,
// and firmware that does.
func TestLadderRescues(t *testing.T) {
	for _, c := range []struct {
		profile string
		boots   int          // switched on so often until it boots
		given   []boot.Shape // in this order
		deaf    bool
	}{
		{profile: "uefi-2010", boots: 2, given: []boot.Shape{{}, twoStep}},
		{profile: "uefi-2013", boots: 1, given: []boot.Shape{{}, twoStep}},
		{profile: "uefi-2017", boots: 1, given: []boot.Shape{{}, twoStep}},
		{profile: "uefi-2017", boots: 1, given: []boot.Shape{{}, twoStep}, deaf: true},
		{profile: "uefi-slow", boots: 1, given: []boot.Shape{{}, twoStep, late}},
		{profile: "uefi-large-drop", boots: 2, given: []boot.Shape{{}, block1K}},
		{profile: "bios-small", boots: 3, given: []boot.Shape{{}, block1K, block05}},
		{profile: "bios-old", boots: 1, given: []boot.Shape{{}}},
		{profile: "bios-512", boots: 1, given: []boot.Shape{{}}},
		{profile: "bios-chop67", boots: 1, given: []boot.Shape{{}}},
		{profile: "bios-noguid", boots: 1, given: []boot.Shape{{}}},
		{profile: "bios", boots: 1, given: []boot.Shape{{}}},
		{profile: "uefi-x64", boots: 1, given: []boot.Shape{{}}},
		{profile: "uefi-ia32", boots: 1, given: []boot.Shape{{}}},
		{profile: "uefi-arm64", boots: 1, given: []boot.Shape{{}}},
		{profile: "uefi-arch9", boots: 1, given: []boot.Shape{{}}},
		{profile: "http-x64", boots: 1, given: []boot.Shape{{}}},
		{profile: "ipxe-bios", boots: 1},
		{profile: "ipxe-nohttp", boots: 1},
		{profile: "ipxe-efi-x64", boots: 1},
	} {
		t.Run(c.profile, func(t *testing.T) {
			onWire(t, func(t *testing.T, w *wire) {
				w.deaf = c.deaf
				boots := 1
				for !w.boot(c.profile) {
					if boots++; boots > 5 {
						t.Fatalf("does not boot; given %v", w.shapes())
					}
				}
				if got := w.shapes(); boots != c.boots || !slices.Equal(got, c.given) {
					t.Errorf("boots when switched on %d times, given %v; want %d and %v", boots, got, c.boots, c.given)
				}
				if moves := len(w.told(boot.KindQuirk)); c.given != nil && moves < len(c.given)-1 || len(c.given) < 2 && moves > 0 {
					t.Errorf("%d changes were told: %+v", moves, w.told(boot.KindQuirk))
				}
				// What worked stays, from the first offer on.
				for range 3 {
					if before := len(w.told(boot.KindOffer)); !w.boot(c.profile) || !slices.Equal(w.shapes(), c.given) {
						t.Errorf("the next boot: %v, %d offers before", w.shapes(), before)
					}
				}
				// The next machine of the same make gets it at once.
				models := w.box.quirks.List()
				if len(c.given) < 2 || c.deaf && len(models) == 0 {
					if len(models) > 0 {
						t.Errorf("learned for nothing: %+v", models)
					}
					return
				}
				best := c.given[len(c.given)-1]
				if len(models) != 1 || models[0].Shape != best || models[0].OUI != "52:54:00" || models[0].Worked != 4 {
					t.Fatalf("the book has %+v", models)
				}
				w.mac = net.HardwareAddr{0x52, 0x54, 0, 1, 2, 4}
				if !w.boot(c.profile) || !slices.Equal(w.shapes(), []boot.Shape{best}) {
					t.Errorf("the next machine was given %v", w.shapes())
				}
				if m, _ := w.box.quirks.Get(models[0].ID); m.Worked != 5 || m.Failed != 0 {
					t.Errorf("%+v", m)
				}
				// One of another make does not.
				w.mac = net.HardwareAddr{0, 0x16, 0x3e, 1, 2, 4}
				if w.boot(c.profile); w.shapes()[0] != (boot.Shape{}) {
					t.Errorf("another make was given %v", w.shapes())
				}
			})
		})
	}
}

// TestLadderTriesTheOtherBuild: a boot program that hangs is another one the next
// time, and again the first when that hangs too.
func TestLadderTriesTheOtherBuild(t *testing.T) {
	for profile, names := range map[string][2]string{
		"uefi-x64": {"x86_64/snponly.efi", "x86_64/ipxe.efi"},
		"http-x64": {"x86_64/snponly.efi", "x86_64/ipxe.efi"},
		"bios":     {"undionly.kpxe", "ipxe.pxe"},
	} {
		onWire(t, func(t *testing.T, w *wire) {
			w.hangs[names[0]] = true
			if w.boot(profile) {
				t.Fatal("it hangs and boots")
			}
			if !w.boot(profile) || !slices.Equal(w.shapes(), []boot.Shape{{}, native}) || w.asked[0] != names[1] {
				t.Fatalf("%s: given %v, asked for %q", profile, w.shapes(), w.asked)
			}
			// One machine is not enough to have others of its make given another build.
			if m := w.box.quirks.List(); len(m) != 0 {
				t.Errorf("learned from one machine: %+v", m)
			}
			first := w.mac
			w.mac = net.HardwareAddr{0x52, 0x54, 0, 1, 2, 9}
			if w.boot(profile) || !w.boot(profile) {
				t.Errorf("%s: the second machine was given %v", profile, w.shapes())
			}
			if m := w.box.quirks.List(); len(m) != 1 || m[0].Shape != native {
				t.Errorf("the book has %+v", m)
			}
			w.mac = first
			// It has started this build before: one silence is a switched-off machine.
			w.hangs[names[1]] = true
			w.boot(profile)
			if w.boot(profile); !slices.Equal(w.shapes(), []boot.Shape{{}, native}) {
				t.Errorf("%s: one silence, given %v", profile, w.shapes())
			}
			if w.boot(profile); !slices.Equal(w.shapes(), []boot.Shape{{}, native, {}}) {
				t.Errorf("%s: two silences, given %v", profile, w.shapes())
			}
		})
		onWire(t, func(t *testing.T, w *wire) {
			w.hangs[names[0]], w.hangs[names[1]] = true, true
			for range 6 {
				w.boot(profile)
			}
			if !slices.Equal(w.shapes(), []boot.Shape{{}, native, {}}) {
				t.Errorf("%s: each build once, then the default: given %v", profile, w.shapes())
			}
			moves := w.told(boot.KindQuirk)
			if len(moves) != 2 || moves[1].Reason != boot.ReasonQuirkSpent || *moves[1].Shape != (boot.Shape{}) {
				t.Errorf("told %+v", moves)
			}
			if m := w.box.quirks.List(); len(m) != 0 {
				t.Errorf("learned %+v from failures", m)
			}
		})
	}
}

// TestLadderKnowsWhenNothingHelps: beside a DHCP server that sends option 60 no
// shape of offer reaches UEFI. The box says so and changes nothing.
func TestLadderKnowsWhenNothingHelps(t *testing.T) {
	onWire(t, func(t *testing.T, w *wire) {
		w.option60 = true
		for range 3 {
			if w.boot("uefi-x64") {
				t.Fatal("booted")
			}
		}
		if !slices.Equal(w.shapes(), []boot.Shape{{}}) {
			t.Errorf("given %v", w.shapes())
		}
		moves := w.told(boot.KindQuirk)
		if len(moves) == 0 || len(moves) > 3 || moves[0].Reason != boot.ReasonOption60 || !strings.Contains(moves[0].Text, "no shape of offer helps") {
			t.Errorf("told %+v", moves)
		}
		w.option60 = false
		if !w.boot("uefi-x64") || !slices.Equal(w.shapes(), []boot.Shape{{}}) {
			t.Errorf("put right: given %v", w.shapes())
		}
		// iPXE boots all the same (175.1).
		w.option60 = true
		if !w.boot("ipxe-efi-x64") {
			t.Error("iPXE does not boot")
		}
	})
}

// TestLadderWithoutDHCP: a silent DHCP server looks like an offer that is not
// followed. Everything is tried once in a boot, that it failed is not said in the
// next one, and nothing is learned of the model.
func TestLadderWithoutDHCP(t *testing.T) {
	onWire(t, func(t *testing.T, w *wire) {
		w.noDHCP = true
		w.boot("uefi-x64")
		both := boot.Shape{Form: boot.FormTwoStep, Delay: boot.RungDelay}
		round := []boot.Shape{{}, twoStep, late, both}
		if !slices.Equal(w.shapes(), round) {
			t.Errorf("one boot: given %v", w.shapes())
		}
		w.boot("uefi-x64")
		if want := append(slices.Clone(round), round...); !slices.Equal(w.shapes(), want) {
			t.Errorf("two boots: given %v, want %v", w.shapes(), want)
		}
		spent := 0
		for _, e := range w.told(boot.KindQuirk) {
			if e.Reason == boot.ReasonQuirkSpent {
				spent++
			}
		}
		if spent != 0 {
			t.Errorf("the end was told %d times, and no shape had failed", spent)
		}
		w.noDHCP = false
		if !w.boot("uefi-x64") || len(w.box.quirks.List()) != 0 {
			t.Errorf("the DHCP server is back: given %v, learned %+v", w.shapes(), w.box.quirks.List())
		}
		// BIOS: the style is the last thing to be changed.
		w.noDHCP, w.mac = true, net.HardwareAddr{0x52, 0x54, 0, 1, 2, 9}
		w.boot("bios")
		if want := []boot.Shape{{}, late, twoStep, both}; !slices.Equal(w.shapes(), want) {
			t.Errorf("bios: given %v, want %v", w.shapes(), want)
		}
		w.noDHCP = false
		if !w.boot("bios") {
			t.Error("the DHCP server is back, and the BIOS does not boot")
		}
	})
}

// TestLadderLeavesAWorkingClientAlone: a client that has booted is not moved by
// one bad boot.
func TestLadderLeavesAWorkingClientAlone(t *testing.T) {
	onWire(t, func(t *testing.T, w *wire) {
		for _, profile := range []string{"uefi-x64", "bios", "http-x64"} {
			w.mac[5]++
			if !w.boot(profile) {
				t.Fatal(profile)
			}
			w.noDHCP = true
			w.boot(profile)
			w.noDHCP = false
			if !w.boot(profile) {
				t.Errorf("%s does not boot any more", profile)
			}
			if s := w.shapes(); s[len(s)-1] != (boot.Shape{}) {
				t.Errorf("%s was moved: %v", profile, s)
			}
			// One transfer that nothing of arrived, as of a machine that is switched
			// off.
			addr := wireClient
			for i, want := range []int{0, boot.RungBlock} {
				w.box.Record(boot.Event{Kind: boot.KindTFTP, Reason: boot.ReasonClientSilent, Addr: addr, Block: 1456, Acked: true})
				if got := w.box.memory.Block(addr); profile != "http-x64" && got != want {
					t.Errorf("%s: after %d stalls the blocks are capped at %d, want %d", profile, i+1, got, want)
				}
			}
		}
		if m := w.box.quirks.List(); len(m) != 0 {
			t.Errorf("learned %+v", m)
		}
	})
}

// TestLadderOfIPXE: an iPXE that never fetches what it is offered gets the offer
// without its priority.
func TestLadderOfIPXE(t *testing.T) {
	onWire(t, func(t *testing.T, w *wire) {
		w.noHTTP = true
		link := pxesim.NewMemory(w.mac, w.serve)
		p, err := pxesim.Lookup("ipxe-bios")
		if err != nil {
			t.Fatal(err)
		}
		var got []bool
		for range 8 {
			if _, err := pxesim.Run(t.Context(), p, link, pxesim.Options{Lease: true, HTTP: w}); err != nil {
				t.Fatal(err)
			}
			offers := w.told(boot.KindOffer)
			s := offers[len(offers)-1].Shape
			got = append(got, s != nil && s.NoPriority)
		}
		// Three times with it, three without, and back.
		if want := []bool{false, false, false, true, true, true, false, false}; !slices.Equal(got, want) {
			t.Errorf("without 175.1: %v, want %v", got, want)
		}
		w.noHTTP = false
		if !w.boot("ipxe-bios") {
			t.Error("does not boot when it could")
		}
	})
}

// TestPinnedModel: what the operator pins is given whatever the client does, and
// a reset gives the default again.
func TestPinnedModel(t *testing.T) {
	onWire(t, func(t *testing.T, w *wire) {
		pin := boot.Shape{Form: boot.FormTwoStep, Block: 600}
		m, err := w.box.quirks.PinModel("", "52:54:00", "", pin, "seen on the bench")
		if err != nil {
			t.Fatal(err)
		}
		w.noDHCP = true
		w.boot("uefi-x64")
		w.noDHCP = false
		if !w.boot("uefi-x64") || !slices.Equal(w.shapes(), []boot.Shape{pin}) || w.box.memory.Block(wireClient) != 600 {
			t.Errorf("given %v, blocks of %d", w.shapes(), w.box.memory.Block(wireClient))
		}
		for range 3 {
			w.box.Record(boot.Event{Kind: boot.KindTFTP, Reason: boot.ReasonClientSilent, Addr: wireClient, Block: 600, Acked: true})
		}
		if got := w.box.memory.Block(wireClient); got != 600 {
			t.Errorf("stalls moved a pin to %d", got)
		}
		if err := w.box.quirks.Reset(m.ID); err != nil {
			t.Fatal(err)
		}
		w.mac[5]++
		if !w.boot("uefi-x64") || !slices.Equal(w.shapes(), []boot.Shape{{}}) {
			t.Errorf("after the reset: given %v", w.shapes())
		}
	})
}

// TestLearnedModelIsDropped: what was learned from one machine is given up when
// it fails for others.
func TestLearnedModelIsDropped(t *testing.T) {
	onWire(t, func(t *testing.T, w *wire) {
		class := "PXEClient:Arch:00007:UNDI:003000"
		w.box.quirks.Worked(class, "52:54:00", "", late, true)
		w.box.quirks.Worked(class, "52:54:00", "", late, false)
		// These want the two-step offer and are given the late direct one first.
		for i := range 2 {
			w.mac = net.HardwareAddr{0x52, 0x54, 0, 1, 3, byte(i)}
			if !w.boot("uefi-2017") {
				t.Fatal("does not boot")
			}
			if s := w.shapes(); s[0] != late {
				t.Errorf("machine %d was given %v", i, s)
			}
		}
		m := w.box.quirks.List()
		if len(m) != 1 || m[0].Shape.Form != boot.FormTwoStep || m[0].Worked != 1 {
			t.Errorf("the book has %+v", m)
		}
		w.mac = net.HardwareAddr{0x52, 0x54, 0, 1, 3, 99}
		if !w.boot("uefi-2017") || w.shapes()[0].Form != boot.FormTwoStep {
			t.Errorf("the third machine was given %v", w.shapes())
		}
	})
}

// TestStalls: which ends of a transfer are stalls.
func TestStalls(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*boot.Event)
		want   int
	}{
		"silent":                {func(*boot.Event) {}, boot.RungBlock},
		"gave up":               {func(e *boot.Event) { e.Reason, e.Retries = boot.ReasonClientAborted, 2 }, boot.RungBlock},
		"had what it wanted":    {func(e *boot.Event) { e.Reason, e.Retries = boot.ReasonClientAborted, 1 }, 0},
		"never there":           {func(e *boot.Event) { e.Acked = false }, 0},
		"broke off":             {func(e *boot.Event) { e.Bytes = 1468 }, 0},
		"not found":             {func(e *boot.Event) { e.Reason = boot.ReasonNotFound }, 0},
		"whole":                 {func(e *boot.Event) { e.Reason, e.Bytes = boot.ReasonNone, 1468 }, 0},
		"blocks that all take":  {func(e *boot.Event) { e.Block = 512 }, 0},
		"of somebody else":      {func(e *boot.Event) { e.Addr = wireDHCP }, 0},
		"a probe that was lost": {func(e *boot.Event) { e.Kind = boot.KindProbe }, 0},
	} {
		onWire(t, func(t *testing.T, w *wire) {
			w.boot("uefi-2013") // asks for blocks of 1468
			w.mac[5]++
			w.boot("bios-512") // blocks of 512: nothing is known of larger ones
			e := boot.Event{Kind: boot.KindTFTP, Reason: boot.ReasonClientSilent, Addr: wireClient, Block: 1468, Acked: true}
			c.change(&e)
			w.box.Record(e)
			if got := w.box.memory.Block(wireClient); got != c.want {
				t.Errorf("%s: blocks of %d, want %d", name, got, c.want)
			}
		})
	}
}

// TestLiarsTeachNothing: a machine that lies about itself, or somebody who speaks
// in another's name, neither changes what the others of its make are given nor
// keeps the ladder from helping.
func TestLiarsTeachNothing(t *testing.T) {
	t.Run("a model", func(t *testing.T) {
		onWire(t, func(t *testing.T, w *wire) {
			w.mac = net.HardwareAddr{0x52, 0x54, 0, 0x66, 0x66, 0x66}
			w.hangs["x86_64/snponly.efi"] = true
			w.boot("uefi-x64")
			if !w.boot("uefi-x64") {
				t.Fatal("the liar does not boot")
			}
			w.hangs = map[string]bool{"x86_64/ipxe.efi": true} // on healthy machines of that make
			for i := range 5 {
				w.mac = net.HardwareAddr{0x52, 0x54, 0, 1, 2, byte(i)}
				if !w.boot("uefi-x64") {
					t.Errorf("machine %d was given %v", i, w.shapes())
				}
			}
		})
	})
	t.Run("a name", func(t *testing.T) {
		onWire(t, func(t *testing.T, w *wire) {
			w.box.neighbours = newNeighbours(func(netip.Addr) (boot.MAC, bool, bool) { return "", true, false }, w.box.cfg.Now)
			w.hangs["x86_64/snponly.efi"] = true
			claim := boot.Event{Kind: boot.KindScript, MAC: boot.MACOf(w.mac), Addr: netip.MustParseAddr("192.0.2.66"), File: "/s", Bytes: 100}
			for range 2 {
				time.AfterFunc(20*time.Second, func() { w.box.Record(claim) })
				w.boot("uefi-x64")
				w.box.Record(claim)
			}
			if !slices.Contains(w.shapes(), native) {
				t.Errorf("given %v: somebody else's request counted as the machine's", w.shapes())
			}
		})
	})
}
