package lab

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

func TestRingPcap(t *testing.T) {
	r := NewRing(5000)
	frame := ipxeDiscover(t)
	for i := range 100 {
		r.Add(time.Unix(int64(i), 5000), frame)
	}
	kept, dropped := r.Len()
	if kept+dropped != 100 || kept*len(frame) > 5000 || kept < 5 {
		t.Errorf("kept %d, dropped %d", kept, dropped)
	}
	var file bytes.Buffer
	if _, err := r.WriteTo(&file); err != nil {
		t.Fatal(err)
	}
	b := file.Bytes()
	if binary.LittleEndian.Uint32(b) != 0xa1b2c3d4 || binary.LittleEndian.Uint32(b[20:]) != 1 {
		t.Errorf("header % x", b[:24])
	}
	b = b[24:]
	for i := range kept {
		n := int(binary.LittleEndian.Uint32(b[8:]))
		if at := binary.LittleEndian.Uint32(b); int(at) != dropped+i || binary.LittleEndian.Uint32(b[4:]) != 5 {
			t.Errorf("record %d is of second %d", i, at)
		}
		if !bytes.Equal(b[16:16+n], frame) {
			t.Errorf("record %d differs", i)
		}
		b = b[16+n:]
	}
	if len(b) != 0 {
		t.Errorf("%d bytes after the last record", len(b))
	}
	bulk := NewRing(1 << 20)
	bulk.Add(time.Unix(0, 0), tcp(false, "10.0.0.1:80", "10.0.0.2:1", 0, 0, 0, strings.Repeat("x", 1400)))
	bulk.Frames(func(_ time.Time, f []byte) bool {
		if len(f) != snapTCP {
			t.Errorf("bulk data kept with %d bytes", len(f))
		}
		return true
	})
}

// A store that was in use has boot options of those names: they are deleted.
func TestBootOrderReplaces(t *testing.T) {
	blank := make([]byte, flashVolume)
	mac := MACFor("order")
	first, err := SetBootOrder(blank, BootEntry{"first", PXEBootPath(nicSlot, mac)}, BootEntry{"kept", PXEBootPath(nicSlot, mac)})
	if err != nil {
		t.Fatal(err)
	}
	second, err := SetBootOrder(first, BootEntry{"second", HTTPBootPath(nicSlot, mac)})
	if err != nil {
		t.Fatal(err)
	}
	valid := func(store []byte, name string) (n int) {
		for at := 0; ; {
			i := bytes.Index(store[at:], utf16le(name))
			if i < 0 {
				return n
			}
			at += i + 1
			if store[at-1-varHeaderLen+2] == varAdded {
				n++
			}
		}
	}
	for name, want := range map[string]int{"BootOrder": 1, "Boot0000": 1, "Boot0001": 1} {
		if got := valid(second, name); got != want {
			t.Errorf("%d valid variables %s, want %d", got, name, want)
		}
	}
	if vars := variables(t, second); !bytes.Contains(vars["Boot0000"], utf16le("second")) || len(vars["BootOrder"]) != 2 {
		t.Errorf("the later ones do not count: %x", vars["BootOrder"])
	}
}

// variables reads a store back: name to data.
func variables(t *testing.T, store []byte) map[string][]byte {
	t.Helper()
	start := int(binary.LittleEndian.Uint16(store[48:]))
	end := start + int(binary.LittleEndian.Uint32(store[start+16:]))
	vars := make(map[string][]byte)
	for at := start + 28; at+varHeaderLen <= end && binary.LittleEndian.Uint16(store[at:]) == varStartID; {
		n, d := int(binary.LittleEndian.Uint32(store[at+36:])), int(binary.LittleEndian.Uint32(store[at+40:]))
		name := store[at+varHeaderLen : at+varHeaderLen+n]
		text := ""
		for i := 0; i+2 < len(name); i += 2 {
			text += string(rune(name[i]))
		}
		vars[text] = store[at+varHeaderLen+n : at+varHeaderLen+n+d]
		at = (at + varHeaderLen + n + d + 3) &^ 3
	}
	return vars
}

func TestSetBootOrder(t *testing.T) {
	blank := make([]byte, 1<<20)
	path := HTTPBootPath(4, testMAC)
	out, err := SetBootOrder(blank, BootEntry{"HTTP", path}, BootEntry{"PXE", PXEBootPath(4, testMAC)})
	if err != nil {
		t.Fatal(err)
	}
	if !allZero(blank) {
		t.Error("the input was changed")
	}
	var sum uint16
	for i := 0; i < 0x48; i += 2 {
		sum += binary.LittleEndian.Uint16(out[i:])
	}
	if sum != 0 {
		t.Errorf("volume header sums to %#x", sum)
	}
	vars := variables(t, out)
	if got := vars["BootOrder"]; !bytes.Equal(got, []byte{0, 0, 1, 0}) {
		t.Errorf("BootOrder is % x", got)
	}
	if got := vars["Boot0000"]; !bytes.HasSuffix(got, path) || binary.LittleEndian.Uint16(got[4:]) != uint16(len(path)) {
		t.Errorf("Boot0000 is % x", got)
	}
	// Into a store that has variables already, as after a boot.
	again, err := SetBootOrder(out[:flashVolume], BootEntry{"third", path})
	if err != nil {
		t.Fatal(err)
	}
	if got := variables(t, again); len(got) != 3 {
		t.Errorf("%d names in the store", len(got))
	}
}

func TestSetBootOrderRefuses(t *testing.T) {
	good, err := SetBootOrder(make([]byte, flashVolume))
	if err != nil {
		t.Fatal(err)
	}
	for name, store := range map[string][]byte{
		"empty":        nil,
		"short":        make([]byte, 100),
		"no volume":    bytes.Repeat([]byte{1}, flashVolume),
		"other format": spoiled(good, 0x48),
		"cut":          good[:0x100],
		"not erased":   spoiled(good, 0x48+28+varHeaderLen+40),
	} {
		if _, err := SetBootOrder(store, BootEntry{"x", PXEBootPath(4, testMAC)}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	entries := make([]BootEntry, 3000)
	for i := range entries {
		entries[i] = BootEntry{"x", PXEBootPath(4, testMAC)}
	}
	if _, err := SetBootOrder(good, entries...); err == nil {
		t.Error("more than fits was accepted")
	}
}

func spoiled(b []byte, at int) []byte {
	b = bytes.Clone(b)
	b[at] ^= 0x55
	return b
}

func FuzzSetBootOrder(f *testing.F) {
	good, err := SetBootOrder(make([]byte, flashVolume))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good[:0x200])
	f.Add(good[:0x48])
	f.Fuzz(func(t *testing.T, store []byte) {
		_, _ = SetBootOrder(store, BootEntry{"x", PXEBootPath(4, testMAC)})
	})
}

func TestEveryClientIsDistinct(t *testing.T) {
	seen := make(map[string]string)
	for _, c := range Clients {
		g := guest{client: c, accel: TCG, mac: testMAC, uuid: "u", memoryMB: 1, code: string(c.Firmware), vars: "v", net: "n", serial: "s", qmp: "q", sercon: "p"}
		line := strings.Join(g.args(), " ")
		if other, ok := seen[line]; ok && !c.PlainBIOS {
			t.Errorf("%s starts exactly as %s", c.Name, other)
		}
		seen[line] = c.Name
		if got := strings.Contains(line, "romfile=,") || strings.HasSuffix(line, "romfile=") || strings.Contains(line, "romfile= "); got == c.ROM {
			t.Errorf("%s: ROM %v, but %s", c.Name, c.ROM, line)
		}
		if c.Firmware.uefi() != strings.Contains(line, "virtio-rng") {
			t.Errorf("%s: random source and UEFI disagree", c.Name)
		}
		if _, err := ClientNamed(c.Name); err != nil {
			t.Error(err)
		}
	}
	if _, err := ClientNamed("toaster"); err == nil {
		t.Error("an unknown client was found")
	}
	if MACFor("a").String() == MACFor("b").String() || UUIDFor("a") == UUIDFor("b") || MACFor("a")[0]&3 != 2 {
		t.Error("addresses are not distinct local unicast ones")
	}
}

func TestDHCPServerConfiguration(t *testing.T) {
	for _, tc := range []struct {
		name       string
		config     DHCPConfig
		dnsmasq    string
		isc        string
		absent     string
		absentISC  string
		wantAbsent bool
	}{
		{"plain", DHCPConfig{}, "--enable-ra", "ping-check false;", "--dhcp-boot", "filename", true},
		{"ping", DHCPConfig{Ping: true}, "--dhcp-authoritative", "authoritative", "--no-ping", "ping-check", true},
		{"late", DHCPConfig{Late: true}, "--dhcp-reply-delay=3", "ping-timeout 3;", "", "", false},
		{"boot file", DHCPConfig{NextServer: "10.77.0.1", BootFile: "router.0"}, "--dhcp-boot=router.0,,10.77.0.1", `filename "router.0";`, "60,PXEClient", "vendor-class", true},
		{"option 60", DHCPConfig{Option60: true}, "--dhcp-option-force=60,PXEClient", `vendor-class-identifier "PXEClient"`, "", "", false},
		{"no advertisements", DHCPConfig{NoAdvertisements: true}, "--no-ping", "authoritative", "--enable-ra", "", true},
		{"lease", DHCPConfig{Lease: 12 * time.Second, Renew: 4 * time.Second}, ",12", "dhcp-renewal-time 4;", "", "", false},
	} {
		line := strings.Join(dnsmasqArgs(tc.config, "/d", BoxMAC), " ")
		text := iscConfig(tc.config, BoxMAC)
		if !strings.Contains(line, tc.dnsmasq) || !strings.Contains(text, tc.isc) {
			t.Errorf("%s: %s\n%s", tc.name, line, text)
		}
		if tc.wantAbsent && (strings.Contains(line, tc.absent) || tc.absentISC != "" && strings.Contains(text, tc.absentISC)) {
			t.Errorf("%s has too much: %s\n%s", tc.name, line, text)
		}
	}
}

func TestProxyArgs(t *testing.T) {
	line := strings.Join(proxyArgs(BoxAddr, "/r", "http://10.77.0.5/boot.ipxe", "http://10.77.0.5", BootFiles{IPXEX64: "x"}), " ")
	for _, want := range []string{
		"tag:ipxe,x86PC,script,http://10.77.0.5/boot.ipxe", "tag:http64,http://10.77.0.5/ipxe-x64.efi",
		"tag:!ipxe,X86-64_EFI,network,ipxe-x64.efi",
	} {
		if !strings.Contains(line, want) {
			t.Errorf("%s lacks %s", line, want)
		}
	}
	if strings.Contains(line, "undionly") {
		t.Errorf("%s offers a file there is none of", line)
	}
}

func TestConsole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var copied bytes.Buffer
		c := NewConsole(&copied)
		found := make(chan string)
		go func() {
			text, _, err := c.WaitFor(t.Context(), "never", "mar\x1bker")
			found <- fmt.Sprint(text, err)
		}()
		for _, piece := range []string{"noise mar", "\x1bk", "er noise"} {
			fmt.Fprint(c, piece)
			synctest.Wait()
		}
		if got := <-found; got != "mar\x1bker<nil>" {
			t.Errorf("found %q", got)
		}
		if copied.String() != "noise mar\x1bker noise" {
			t.Errorf("copied %q", copied.String())
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, _, err := c.WaitFor(ctx, "absent"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("waiting for what never comes: %v", err)
		}
		// Far more than is remembered, the text across the cut.
		for range 300 {
			fmt.Fprint(c, strings.Repeat("x", 16<<10))
		}
		if n := len(c.String()); n > 2*consoleLimit {
			t.Errorf("%d bytes remembered", n)
		}
		if _, _, err := c.WaitFor(t.Context(), "xxx"); err != nil {
			t.Error(err)
		}
		c.Close()
		if _, _, err := c.WaitFor(t.Context(), "absent"); err == nil {
			t.Error("waiting on a closed console succeeded")
		}
	})
}

func TestPlainText(t *testing.T) {
	if got := plainText("\x1b[2J\x1b[01;37mShell>\x1b[0m ok\r\n\x1bcnext"); got != "Shell> ok\nnext" {
		t.Errorf("got %q", got)
	}
}

func TestStale(t *testing.T) {
	dead := 4194303 // above the usual pid_max of small machines; checked below
	if _, err := os.Stat(fmt.Sprintf("/proc/%d", dead)); err == nil {
		t.Skip("that process exists here")
	}
	for name, want := range map[string]bool{
		fmt.Sprintf("%s%d-1-lan", prefix, dead):        true,
		fmt.Sprintf("%s%d-1-lan", prefix, os.Getpid()): false,
		fmt.Sprintf("%s%d", prefix, dead):              false, // not a name of ours
		prefix + "x-1-lan":                             false,
		prefix + "-1-lan":                              false,
		"other-1-lan":                                  false,
		prefix + "0-1-lan":                             false,
	} {
		if got := stale(name); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestSummarizeAndTables(t *testing.T) {
	start := time.Unix(100, 0)
	at := func(s float64) time.Time { return start.Add(time.Duration(s * float64(time.Second))) }
	marks := []Mark{
		{At: at(2), Kind: KindDiscover},
		{At: at(2.1), Kind: KindBootOffer},
		{At: at(6), Kind: KindDiscover},
		{At: at(6.1), Kind: KindBootOffer},
		{At: at(6.5), Kind: KindPXERequest},
		{At: at(7), Kind: KindTFTPRequest, Name: "a.efi"},
		{At: at(7.1), Kind: KindTFTPDone, Name: "a.efi"},
		{At: at(7.2), Kind: KindTFTPRequest, Name: "no"},
		{At: at(7.2), Kind: KindTFTPError, Name: "no"},
		{At: at(8), Kind: KindHTTPRequest, Name: "/b", Note: "GET"},
		{At: at(8), Kind: KindScript, Name: "/b"},
		{At: at(8.1), Kind: KindHTTPDone, Name: "/b", Note: "GET 200"},
		{At: at(8.5), Kind: KindHTTPDone, Name: "/x/linux", Note: "HEAD 200"},
		{At: at(9), Kind: KindHTTPDone, Name: "/x/linux", Note: "GET 200"},
	}
	r := Summarize(marks, start, func(m Mark) bool { return m.Name == "/x/linux" && m.Note == "GET 200" })
	if r.PowerOn != 2 || r.Script != 6 || r.Kernel != 7 || r.Payload != -1 || r.Discovers != 2 ||
		!slices.Equal(r.Styles, []string{"4011"}) || !slices.Equal(r.Path, []string{"tftp:a.efi", "/b", "/x/linux"}) {
		t.Errorf("%+v", r)
	}
	if d := Summarize(slices.Concat(marks[:2], marks[5:]), start, func(Mark) bool { return false }); !slices.Equal(d.Styles, []string{"direct"}) {
		t.Errorf("%+v", d)
	}
	r.Client, r.Server, r.DHCP, r.Trouble, r.Booted = "c", "process", "d", "none", "a | b"
	other := r
	other.Server, other.Script = "dnsmasq", 7
	table := Table([]Result{r})
	if !strings.Contains(table, `| c | d | process | none |  | a \| b | 6.00 | 7.00 | – | 2.00 | 4011 | tftp:a.efi → /b → /x/linux |`) {
		t.Error(table)
	}
	if c := Comparison([]Result{r, other}, "process", "dnsmasq"); !strings.Contains(c, "| c | d | 6.00 | 7.00 |") {
		t.Error(c)
	}
	if c := Comparison([]Result{r}, "process", "dnsmasq"); c != "" {
		t.Error(c)
	}
}

func TestPayload(t *testing.T) {
	dir, memtest := t.TempDir(), t.TempDir()
	for _, name := range Memtest.Goal().Kernels {
		if err := os.WriteFile(filepath.Join(memtest, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := WritePayload(dir, PayloadOptions{Payload: Memtest, Memtest: memtest, GRUBServer: "10.77.0.5", GRUBPath: "/files"}); err != nil {
		t.Fatal(err)
	}
	script, err := os.ReadFile(filepath.Join(dir, ScriptName))
	if err != nil || !bytes.HasPrefix(script, []byte("#!ipxe\n")) || !bytes.Contains(script, []byte("\nboot ||")) {
		t.Errorf("%s, %v", script, err)
	}
	grub, err := os.ReadFile(filepath.Join(dir, "grub/grub.cfg"))
	if err != nil || !bytes.Contains(grub, []byte("(http,10.77.0.5)/files/memtest/memtest32.efi")) {
		t.Errorf("%s, %v", grub, err)
	}
	perm := t.TempDir()
	if err := WritePerm(perm, dir, "files/"+ScriptName); err != nil {
		t.Fatal(err)
	}
	settings, err := os.ReadFile(filepath.Join(perm, "bootpuck/settings.json"))
	if err != nil || !bytes.Contains(settings, []byte(`"default-script": "files/boot.ipxe"`)) {
		t.Errorf("%s, %v", settings, err)
	}
	if _, err := os.Stat(filepath.Join(perm, "files/memtest/memtest.bin")); err != nil {
		t.Error(err)
	}
	for _, p := range []Payload{Installer, Kernel, Memtest} {
		if strings.Contains(p.script(), `\n`) || strings.Contains(p.grubConfig("a", "b"), `\n`) {
			t.Errorf("%s: a line break that is none", p)
		}
	}
}

func TestReadEvents(t *testing.T) {
	stream := ": live\n\nid: 1\nevent: offer\ndata: {\"seq\":1,\"kind\":\"offer\",\"file\":\"x\"}\n\nevent: missed\ndata: 3\n\ndata: not json\n\ndata: {\"kind\":\"tftp\"}\n\n"
	var got []string
	if err := readEvents(strings.NewReader(stream), func(e Event) { got = append(got, e.Kind+e.File) }); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, []string{"offerx", "tftp"}) {
		t.Errorf("got %q", got)
	}
}

func TestFileNames(t *testing.T) {
	if got := fileName("process/dnsmasq/../a b%"); got != "process_dnsmasq_.._a_b_" {
		t.Errorf("got %q", got)
	}
}

// A shim on a bad link loses and delays; on a good one it passes everything on.
func TestShimLine(t *testing.T) {
	for _, link := range []Link{{}, {Loss: 0.5, Seed: 7}, {Loss: 1}, {Delay: 20 * time.Millisecond}} {
		synctest.Test(t, func(t *testing.T) {
			s := &Shim{link: link, closed: make(chan struct{})}
			s.rng = newRand(link.Seed)
			var got int
			var last time.Time
			send, stop := s.line(func([]byte) { got++; last = time.Now() })
			begin := time.Now()
			for range 1000 {
				send([]byte{1})
			}
			<-time.After(time.Second) // of the bubble's clock: no time passes
			close(s.closed)
			stop()
			switch {
			case link.Loss == 1 && got != 0, link.Loss == 0 && got != 1000, link.Loss == 0.5 && (got < 400 || got > 600):
				t.Errorf("%+v: %d of 1000 frames arrived", link, got)
			}
			if got > 0 && last.Sub(begin) != link.Delay {
				t.Errorf("%+v: arrived after %s", link, last.Sub(begin))
			}
		})
	}
}

// The whole shim with pipes in place of QEMU and of the tap.
func TestShim(t *testing.T) {
	qemu, guest := net.Pipe()
	tap, wire, err := packetPipe()
	if err != nil {
		t.Fatal(err)
	}
	s := newShim(qemu, tap, testMAC, Link{}, &Rewriter{PlainBIOS: true}, nil)
	defer s.Close()
	frame := ipxeDiscover(t)
	head := binary.BigEndian.AppendUint32(nil, uint32(len(frame)))
	go guest.Write(append(head, frame...))
	buf := make([]byte, 2048)
	n, err := wire.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	if want := StripOptions(frame, 77, 175); !bytes.Equal(buf[:n], want) {
		t.Errorf("on the wire: % x", buf[:n])
	}
	offer := udp(t, serverMAC, "10.77.0.5:67", "255.255.255.255:68", message(2, testMAC, "", option{53, []byte{2}}))
	if _, err := wire.Write(offer); err != nil {
		t.Fatal(err)
	}
	n, err = guest.Read(buf)
	if err != nil || int(binary.BigEndian.Uint32(buf)) != len(offer) || !bytes.Equal(buf[4:n], offer) {
		t.Errorf("to the guest: % x, %v", buf[:n], err)
	}
	var kinds []Kind
	for _, m := range s.Timeline.Marks() {
		kinds = append(kinds, m.Kind)
	}
	if !slices.Equal(kinds, []Kind{KindDiscover, KindBootOffer}) {
		t.Errorf("decoded %v", kinds)
	}
	if kept, _ := s.Ring.Len(); kept != 2 {
		t.Errorf("%d frames recorded", kept)
	}
	wire.Close()
}

// packetPipe is a pair of connected ends that keep frames apart, as a tap does.
func packetPipe() (tap, wire *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	return os.NewFile(uintptr(fds[0]), "tap"), os.NewFile(uintptr(fds[1]), "wire"), nil
}
