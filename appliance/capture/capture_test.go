package capture

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

var errBroken = errors.New("broken")

// fakeSource is an interface that a test speaks on.
type fakeSource struct {
	frames chan []byte
	broken chan error
	closed chan struct{}
	lost   uint64
}

func (s *fakeSource) read() ([]byte, int, bool, error) {
	select {
	case b := <-s.frames:
		return b, len(b), false, nil
	case err := <-s.broken:
		return nil, 0, false, err
	case <-s.closed:
		return nil, 0, false, os.ErrClosed
	}
}

func (s *fakeSource) drops() uint64 { n := s.lost; s.lost = 0; return n }
func (s *fakeSource) Close() error  { close(s.closed); return nil }

// stand is a Ring over fakes.
type stand struct {
	ring *Ring

	mu      sync.Mutex
	list    []Interface
	open    map[string]*fakeSource
	errs    map[string]error
	opened  int
	events  []boot.Event
	changed chan struct{}
}

func newStand(c Config, names ...string) *stand {
	s := &stand{open: map[string]*fakeSource{}, errs: map[string]error{}, changed: make(chan struct{}, 1)}
	s.set(names...)
	c.Interfaces = func() []Interface { s.mu.Lock(); defer s.mu.Unlock(); return s.list }
	c.Changed = func() (<-chan struct{}, func()) { return s.changed, func() {} }
	c.Sink = func(e boot.Event) { s.mu.Lock(); defer s.mu.Unlock(); s.events = append(s.events, e) }
	s.ring = New(c)
	s.ring.open = func(i Interface, _ uint16) (source, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if err := s.errs[i.Name]; err != nil {
			return nil, err
		}
		s.opened++
		f := &fakeSource{frames: make(chan []byte, 10_000), broken: make(chan error, 1), closed: make(chan struct{})}
		s.open[i.Name] = f
		return f, nil
	}
	return s
}

func (s *stand) set(names ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = nil
	for _, n := range names {
		index := 1
		_, _ = fmt.Sscanf(n, "eth%d", &index)
		s.list = append(s.list, Interface{Index: index + 2, Name: n})
	}
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

func (s *stand) fail(name string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.errs[name] = err
}

func (s *stand) of(name string) *fakeSource {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open[name]
}

func (s *stand) start(t *testing.T) (stop func() error) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.ring.Run(ctx) }()
	return func() error { cancel(); return <-done }
}

// read reads a pcap file with a reader that is not ours.
func read(t *testing.T, file []byte) (infos []gopacket.CaptureInfo, frames [][]byte) {
	t.Helper()
	r, err := pcapgo.NewReader(bytes.NewReader(file))
	must(t, err)
	if r.LinkType() != layers.LinkTypeEthernet {
		t.Errorf("link type %v", r.LinkType())
	}
	for {
		b, info, err := r.ReadPacketData()
		if errors.Is(err, io.EOF) {
			return infos, frames
		}
		must(t, err)
		infos, frames = append(infos, info), append(frames, b)
	}
}

func TestRecordsAndWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(Config{}, "eth0", "eth1")
		stop := s.start(t)
		<-s.ring.Ready()
		start := time.Now()
		s.of("eth0").frames <- discover(clientHW)
		synctest.Wait()
		<-time.After(3 * time.Second)
		s.of("eth1").frames <- discover(otherHW)
		synctest.Wait()
		<-time.After(3 * time.Second)
		s.of("eth0").frames <- toBox(2070, 69, []byte("\x00\x01ipxe.efi\x00octet\x00"))
		synctest.Wait()

		for _, c := range []struct {
			name string
			s    Select
			want int
		}{
			{"everything", Select{}, 3},
			{"by hardware address", Select{MACs: []boot.MAC{"52:54:00:a7:31:9c"}}, 2},
			{"by network address", Select{Addrs: []netip.Addr{clientIP.netip()}}, 1},
			{"by mapped address", Select{Addrs: []netip.Addr{netip.AddrFrom16(clientIP.netip().As16())}}, 1},
			{"by either", Select{MACs: []boot.MAC{boot.MACOf(otherHW[:])}, Addrs: []netip.Addr{clientIP.netip()}}, 2},
			{"of nobody known", Select{MACs: []boot.MAC{"nonsense", "02:00:00:00:00:01"}}, 0},
			{"of the unspecified", Select{Addrs: []netip.Addr{{}, netip.IPv4Unspecified()}}, 0},
			{"from", Select{From: start.Add(2 * time.Second)}, 2},
			{"to", Select{To: start.Add(1900 * time.Millisecond)}, 1},
			{"to, within the slack", Select{To: start.Add(2100 * time.Millisecond)}, 2},
			{"between", Select{From: start.Add(2 * time.Second), To: start.Add(4 * time.Second)}, 1},
		} {
			for _, redacted := range []bool{false, true} {
				c.s.Redact = redacted
				var file bytes.Buffer
				n, err := s.ring.WritePcap(&file, c.s)
				if n != c.want || (err == nil) != (c.want > 0) || c.want == 0 && file.Len() > 0 {
					t.Errorf("%s: %d packets, %v; want %d", c.name, n, err, c.want)
				}
				var because interface{ Reason() boot.Reason }
				if err != nil && (!errors.As(err, &because) || because.Reason() != boot.ReasonCaptureGone) {
					t.Errorf("%s: %v", c.name, err)
				}
			}
		}

		var file bytes.Buffer
		_, err := s.ring.WritePcap(&file, Select{})
		must(t, err)
		infos, frames := read(t, file.Bytes())
		want := [][]byte{discover(clientHW), discover(otherHW), toBox(2070, 69, []byte("\x00\x01ipxe.efi\x00octet\x00"))}
		for i, b := range frames {
			if !bytes.Equal(b, want[i]) || infos[i].Length != len(want[i]) || !infos[i].Timestamp.Equal(start.Add(time.Duration(i)*3*time.Second)) {
				t.Errorf("packet %d: %+v %x", i, infos[i], b)
			}
		}
		s.of("eth0").lost = 7
		if p, o, d := s.ring.Stats(); p != 3 || o != uint64(len(want[0])+len(want[1])+len(want[2])) || d != 7 {
			t.Errorf("stats %d %d %d", p, o, d)
		}
		must(t, stop())
		if n, _ := s.ring.WritePcap(io.Discard, Select{}); n != 3 {
			t.Errorf("%d packets after the end", n)
		}
	})
}

func TestFollowsInterfaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(Config{}, "eth0")
		stop := s.start(t)
		synctest.Wait()
		first := s.of("eth0")
		s.fail("eth1", errBroken)
		s.set("eth0", "eth1")
		synctest.Wait()
		if p := s.ring.Problems(); len(p) != 1 || p[0].Interface != "eth1" || p[0].Reason != boot.ReasonFailed {
			t.Errorf("problems %v", p)
		}
		s.fail("eth1", nil)
		<-time.After(reopenAfter + time.Second)
		if s.of("eth1") == nil || len(s.ring.Problems()) != 0 {
			t.Errorf("not tried again: %v", s.ring.Problems())
		}
		s.of("eth1").broken <- errBroken // the socket breaks
		synctest.Wait()
		if p := s.ring.Problems(); len(p) != 1 {
			t.Errorf("problems %v", p)
		}
		<-time.After(reopenAfter + time.Second)
		if len(s.ring.Problems()) != 0 || s.opened != 3 {
			t.Errorf("%d sockets opened, %v", s.opened, s.ring.Problems())
		}
		s.set("eth1")
		synctest.Wait()
		select {
		case <-first.closed:
		default:
			t.Error("eth0 is still recorded")
		}
		var many []string
		for i := range 3 * MaxInterfaces {
			many = append(many, fmt.Sprintf("eth%d", i))
		}
		s.set(many...)
		synctest.Wait()
		if n := len(s.ring.listening()); n != MaxInterfaces {
			t.Errorf("%d interfaces", n)
		}
		must(t, stop())
		if n := len(s.ring.listening()); n != 0 {
			t.Errorf("%d sockets left open", n)
		}
	})
}

func TestNoEthernetIsNotTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(Config{}, "eth0")
		s.fail("eth0", fmt.Errorf("prepare: %w", errNoEthernet))
		stop := s.start(t)
		<-time.After(lookEvery / 2)
		if len(s.ring.Problems()) != 1 {
			t.Errorf("problems %v", s.ring.Problems())
		}
		must(t, stop())
	})
}

func TestNoPermissionIsSaidOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(Config{}, "eth0")
		s.fail("eth0", &fs.PathError{Op: "socket", Path: "packet", Err: fs.ErrPermission})
		for range 3 {
			if err := s.ring.Run(t.Context()); !errors.Is(err, fs.ErrPermission) {
				t.Errorf("Run: %v", err)
			}
		}
		if len(s.events) != 1 || s.events[0].Kind != boot.KindWarning || s.events[0].Reason != boot.ReasonPermission {
			t.Errorf("events %v", s.events)
		}
		if p := s.ring.Problems(); len(p) != 1 || p[0].Reason != boot.ReasonPermission {
			t.Errorf("problems %v", p)
		}
		select {
		case <-s.ring.Ready():
			t.Error("ready")
		default:
		}
		s.fail("eth0", nil)
		stop := s.start(t)
		<-s.ring.Ready()
		if len(s.ring.Problems()) != 0 {
			t.Errorf("problems %v", s.ring.Problems())
		}
		must(t, stop())
	})
}

// TestTimesAreAgesNotDates: a packet is shown at the wall clock's time now less
// its age, so that one from before the clock was set is not shown in 1970. The
// wall clock cannot be set in a test; that the age alone counts is shown with an
// epoch whose wall reading is long ago.
func TestTimesAreAgesNotDates(t *testing.T) {
	s := newStand(Config{})
	began := time.Now()
	s.ring.epoch = began.Add(-time.Hour)
	s.ring.record("eth0", discover(clientHW), 300, false)
	at := s.ring.selected(Select{})[0].at
	if at < time.Hour || at > time.Hour+time.Minute {
		t.Fatalf("recorded %v after the start", at)
	}
	if d := s.ring.wall()(at).Sub(began); d < 0 || d > time.Minute {
		t.Errorf("shown %v off", d)
	}
	if len(s.ring.selected(Select{From: began, To: time.Now()})) != 1 || len(s.ring.selected(Select{To: began.Add(-time.Minute)})) != 0 {
		t.Error("not found by its time")
	}
}

func TestARPAndStraysOfStrangersAreNotKept(t *testing.T) {
	s := newStand(Config{})
	record := func(b []byte) (kept bool) {
		before, _, _ := s.ring.Stats()
		s.ring.record("eth0", b, len(b), false)
		after, _, _ := s.ring.Stats()
		return after > before
	}
	stray := udp(otherHW, boxHW, serverIP, boxIP, 5000, 5001, block(3, 1, "not TFTP"))
	plain := udp(otherHW, everyone, ipaddr{}, broadcast, 68, 67, dhcp(1, otherHW, opt(53, "\x01")))
	for _, c := range []struct {
		name string
		b    []byte
		want bool
	}{
		{"ARP of somebody", arp(otherHW, everyone, serverIP, boxIP), false},
		{"DATA of somebody", stray, false},
		{"DHCP of somebody", plain, true},
		{"ARP of somebody with a lease", arp(otherHW, everyone, serverIP, boxIP), false},
		{"ARP before DHCP", arp(clientHW, everyone, clientIP, boxIP), false},
		{"discover", discover(clientHW), true},
		{"ARP of a boot client", arp(clientHW, everyone, clientIP, boxIP), true},
		{"offer with an address", udp(otherHW, everyone, serverIP, broadcast, 67, 68, func() []byte { b := dhcp(2, clientHW); copy(b[16:], clientIP[:]); return b }()), true},
		{"ARP for its address", arp(boxHW, everyone, boxIP, clientIP), true},
		{"DATA to its address", toClient(3000, 2070, block(3, 1, "x")), true},
		{"request of somebody", udp(otherHW, boxHW, serverIP, boxIP, 5000, 69, []byte("\x00\x01x\x00octet\x00")), true},
		{"DATA of somebody who asked", stray, true},
		{"nonsense", []byte("nonsense"), false},
	} {
		if got := record(c.b); got != c.want {
			t.Errorf("%s: kept %v", c.name, got)
		}
	}
}

// TestFloods: neither a flood of invented clients nor one busy station pushes
// out the transfers of others, and memory is bounded.
func TestFloods(t *testing.T) {
	now := time.Now()
	const room = 512 << 10
	s := newStand(Config{MaxBytes: room, Now: func() time.Time { return now }})
	s.ring.record("eth0", toBox(2070, 69, []byte("\x00\x01ipxe.efi\x00octet\x00")), 60, false)
	s.ring.record("eth1", discover(clientHW), 300, false)
	for i := range 200_000 {
		hw := hwaddr{2, byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i), 1}
		s.ring.record("eth0", discover(hw), 300, false)
		now = now.Add(100 * time.Microsecond)
	}
	packets, _, dropped := s.ring.Stats()
	if packets > askingBurst+askingPerSecond*20+2 || dropped < 180_000 {
		t.Errorf("%d kept, %d dropped", packets, dropped)
	}
	if n := len(s.ring.selected(Select{Addrs: []netip.Addr{clientIP.netip()}})); n != 1 {
		t.Errorf("the transfer was pushed out: %d packets", n)
	}
	if n := len(s.ring.selected(Select{MACs: []boot.MAC{boot.MACOf(clientHW[:])}})); n != 2 {
		t.Errorf("the other interface was pushed out: %d packets", n)
	}
	held := 0
	for _, c := range s.ring.store.chunks() {
		held += cap(c)
		each(c, func(p packet) {
			if _, ok := parse(p.frame, webPort); !ok {
				t.Error("damaged packet")
			}
		})
	}
	if n := s.ring.store.used * s.ring.store.chunk; n > room || held > room {
		t.Errorf("%d octets in use, bound %d", n, room)
	}
	if n := len(s.ring.clients.macs.now) + len(s.ring.clients.macs.before); n > 2*maxClients {
		t.Errorf("%d clients remembered", n)
	}

	before, _, _ := s.ring.Stats()
	for range 10_000 { // within ten seconds
		s.ring.record("eth0", discover(otherHW), 300, false)
		now = now.Add(time.Millisecond)
	}
	if after, _, _ := s.ring.Stats(); after-before > burstAsking+10*perStation+1 || after == before {
		t.Errorf("%d of one station kept", after-before)
	}
}

func TestKeep(t *testing.T) {
	s := newStand(Config{MaxBytes: 64 << 10})
	s.ring.record("eth0", discover(clientHW), 300, false)
	id := boot.AttemptID("0123")
	mac := []boot.MAC{boot.MACOf(clientHW[:])}
	s.ring.Keep("nothing", Select{MACs: []boot.MAC{boot.MACOf(otherHW[:])}})
	s.ring.Keep(id, Select{MACs: mac})
	for i := range 4000 {
		hw := hwaddr{2, 9, 9, 9, byte(i >> 8), byte(i)}
		s.ring.record("eth0", discover(hw), 300, false)
	}
	if n, err := s.ring.WritePcap(io.Discard, Select{MACs: mac}); n != 0 || err == nil {
		t.Errorf("still in the ring: %d", n)
	}
	var file bytes.Buffer
	if n, err := s.ring.WriteKept(&file, id, false); n != 1 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if _, frames := read(t, file.Bytes()); len(frames) != 1 || !bytes.Equal(frames[0], discover(clientHW)) {
		t.Errorf("%d packets", len(frames))
	}
	file.Reset()
	if n, err := s.ring.WriteKept(&file, id, true); n != 1 || err != nil || bytes.Contains(file.Bytes(), clientHW[:]) {
		t.Errorf("redacted: %d, %v", n, err)
	}
	if n, err := s.ring.WriteKept(io.Discard, "nothing", false); n != 0 || err == nil || err.Error() != boot.ReasonCaptureGone.Text() {
		t.Errorf("%d, %v", n, err)
	}
	for i := range MaxKept {
		s.ring.Keep(boot.AttemptID(fmt.Sprint(i)), Select{})
		s.ring.Keep(boot.AttemptID(fmt.Sprint(i)), Select{}) // again: takes no second place
	}
	if _, err := s.ring.WriteKept(io.Discard, id, false); err == nil {
		t.Error("the oldest is still there")
	}
	if n, err := s.ring.WriteKept(io.Discard, "0", false); n == 0 || err != nil {
		t.Errorf("the newest sixteen: %d, %v", n, err)
	}
	for _, k := range s.ring.kept {
		size := 0
		for _, p := range k.packets {
			size += lenEntry + len(p.frame)
		}
		if size > maxKeptBytes {
			t.Errorf("%d octets kept", size)
		}
	}
}

func TestBounded(t *testing.T) {
	var packets []packet
	for i := range 100 {
		packets = append(packets, packet{at: time.Duration(i), frame: make([]byte, 100-lenEntry)})
	}
	got := bounded(packets, 4000)
	if len(got) != 40 || got[9].at != 9 || got[10].at != 70 || got[39].at != 99 {
		t.Errorf("%d packets", len(got))
	}
	if n := len(bounded(packets, 1<<20)); n != 100 {
		t.Errorf("%d of 100 that fit", n)
	}
	if n := len(bounded(packets, 50)); n != 0 {
		t.Errorf("%d where none fits", n)
	}
}

// failing is a file that is full.
type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errBroken }

func TestWriteErrors(t *testing.T) {
	s := newStand(Config{})
	for range 50 {
		s.ring.record("eth0", discover(clientHW), 300, false)
	}
	if _, err := s.ring.WritePcap(failing{}, Select{}); !errors.Is(err, errBroken) {
		t.Errorf("%v", err)
	}
}

// missing skips, or fails where everything is supposed to be there.
func missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("BOOTPUCK_E2E") == "1" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// TestTshark: the file opens in the reader that people use, and it sees the same
// protocols in the redacted one, with right checksums.
func TestTshark(t *testing.T) {
	program, err := exec.LookPath("tshark")
	if err != nil {
		missing(t, "needs the program tshark in PATH")
	}
	in := packetsOf(bootFrames()...)
	home := t.TempDir() // not the user's preferences; some versions crash on a home that cannot be read
	var protocols [2]string
	for i, packets := range [][]packet{in, redact(in, webPort, randomSeed)} {
		name := filepath.Join(t.TempDir(), "boot.pcap")
		f, err := os.Create(name)
		must(t, err)
		must(t, writePcap(f, packets, func(d time.Duration) time.Time { return time.Unix(1_790_000_000, 123_456_789).Add(d) }))
		must(t, f.Close())
		run := func(args ...string) string {
			cmd := exec.CommandContext(t.Context(), program, append([]string{"-n", "-r", name}, args...)...)
			cmd.Env = append(os.Environ(), "HOME="+home)
			out, err := cmd.Output()
			must(t, err)
			return string(out)
		}
		protocols[i] = run("-T", "fields", "-e", "frame.len", "-e", "frame.cap_len", "-e", "_ws.col.Protocol", "-e", "dhcp.option.dhcp", "-e", "tftp.opcode", "-e", "http.request.method", "-e", "http.response.code", "-e", "vlan.id")
		if first, _, _ := strings.Cut(run("-T", "fields", "-e", "frame.time_epoch"), "\n"); first != "1790000000.123456789" {
			t.Errorf("time %q", first)
		}
		bad := run("-o", "ip.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE", "-o", "tcp.check_checksum:TRUE",
			"-Y", "ip.checksum.status == Bad or udp.checksum.status == Bad or (tcp.checksum.status == Bad and frame.len == frame.cap_len)")
		if bad != "" {
			t.Errorf("checksums of file %d:\n%s", i, bad)
		}
	}
	if protocols[0] != protocols[1] || strings.Count(protocols[0], "\n") != len(in) {
		t.Errorf("as it was:\n%s\nredacted:\n%s", protocols[0], protocols[1])
	}
	t.Logf("tshark reads:\n%s", protocols[1])
}
