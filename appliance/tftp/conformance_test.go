package tftp

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// pattern is a large file that needs no memory: octet i follows from i.
type pattern int64

func (p pattern) Size() int64 { return int64(p) }

func (p pattern) ReadAt(b []byte, off int64) (int, error) {
	for i := range b {
		at := off + int64(i)
		if at >= int64(p) {
			return i, io.EOF
		}
		b[i] = byte(at ^ at>>9 ^ at>>19)
	}
	return len(b), nil
}

var (
	undionly = content(70_123)
	snponly  = content(3*1468 + 77)
)

// site is the box of the conformance cases: boot files, and a script rendered for
// each client and for the address it reaches us on.
func site() Files {
	tree := mapTree(map[string][]byte{
		"undionly.kpxe":      undionly,
		"x86_64/snponly.efi": snponly,
		"exact.bin":          content(4 * 512),
		"exact1468.bin":      content(2 * 1468),
		"empty":              {},
	})
	return FilesFunc(func(ctx context.Context, req Request, name string) (File, error) {
		switch {
		case name == "big.img":
			return pattern(40<<20 + 11), nil
		case name == "autoexec.ipxe" || strings.HasSuffix(name, "/autoexec.ipxe") || name == "grub/grub.cfg":
			return strings.NewReader(fmt.Sprintf("#!ipxe\n# %s for %s\nchain http://%s/b\n", name, req.Client.Addr(), req.Local)), nil
		}
		return tree.Open(ctx, req, name)
	})
}

// TestConformance holds the TFTP cases of the protocol notes, byte by byte on
// loopback sockets.
func TestConformance(t *testing.T) {
	timed := func(run func(t *testing.T, s *testServer)) func(*testing.T) {
		return func(t *testing.T) {
			t.Parallel()
			run(t, startServer(t, Config{Files: site()}, nil))
		}
	}
	boxed := func(run func(t *testing.T, s *testServer)) func(*testing.T) {
		return func(t *testing.T) {
			t.Parallel()
			run(t, startServer(t, Config{Files: site()}, patient))
		}
	}

	// 089: RRQ undionly.kpxe octet, no options: DATA 1 of 512 bytes.
	t.Run("089", boxed(func(t *testing.T, s *testServer) {
		c := dial(t, "127.0.0.1", s.at("127.0.0.1"))
		c.send(rrq("undionly.kpxe"), c.to)
		c.expectData(1, undionly[:512])
		if c.from.Addr() != c.to.Addr() || c.from.Port() == c.to.Port() {
			t.Errorf("the transfer comes from %s, want a port of its own on %s", c.from, c.to.Addr())
		}
		c.send(ack(1), c.from)
		c.expectData(2, undionly[512:1024])
		got, _ := dial(t, "127.0.0.1", s.at("127.0.0.1")).fetch("undionly.kpxe")
		if !bytes.Equal(got, undionly) {
			t.Error("the file differs")
		}
		e := s.rec.wait(t, "success", func(e boot.Event) bool { return e.Kind == boot.KindTFTP && e.Reason == "" })
		if e.Bytes != int64(len(undionly)) || e.File != "undionly.kpxe" || e.Retries != 0 || e.Addr != c.to.Addr() || e.Duration <= 0 || e.Interface != "lo" {
			t.Errorf("event %+v", e)
		}
	}))

	// 090: tsize 0, blksize 1468, windowsize 4: OACK with tsize and blksize at most
	// 1468, and no option that was not asked (nor windowsize: one block at a time).
	t.Run("090", boxed(func(t *testing.T, s *testServer) {
		c := dial(t, "127.0.0.1", s.at("127.0.0.1"))
		size := fmt.Sprint(len(snponly))
		c.send(rrq("x86_64/snponly.efi", "tsize", "0", "blksize", "1468", "windowsize", "4"), c.to)
		c.expectBytes("OACK", oack("tsize", size, "blksize", "1468"))
		c.send(ack(0), c.from)
		c.expectData(1, snponly[:1468])
		c.quiet(50 * time.Millisecond) // lock-step

		c = dial(t, "127.0.0.1", s.at("127.0.0.1"))
		c.send(rrq("x86_64/snponly.efi", "blksize", "1024"), c.to)
		c.expectBytes("OACK", oack("blksize", "1024"))
		c = dial(t, "127.0.0.1", s.at("127.0.0.1"))
		c.send(rrq("empty", "tsize", "0"), c.to) // a size of zero is told too
		c.expectBytes("OACK", oack("tsize", "0"))
		c.send(ack(0), c.from)
		c.expectData(1, nil)
		c = dial(t, "127.0.0.1", s.at("127.0.0.1"))
		c.send(rrq("empty", "windowsize", "4", "multicast", ""), c.to) // nothing granted: no OACK
		c.expectData(1, nil)
		c = dial(t, "127.0.0.1", s.at("127.0.0.1"))
		c.send(rrq("undionly.kpxe", "timeout", "5", "tsize", "0"), c.to) // U-Boot
		c.expectBytes("OACK", oack("timeout", "5", "tsize", fmt.Sprint(len(undionly))))
		c = dial(t, "127.0.0.1", s.at("127.0.0.1"))
		c.send(rrq("undionly.kpxe", "timeout", "0", "timeout", "7"), c.to) // out of range; the first counts
		c.expectData(1, undionly[:512])
	}))

	// 091: the client answers the OACK with ERROR 8 or 0: no packet from us, counted
	// as probe, not as failure.
	t.Run("091", timed(func(t *testing.T, s *testServer) {
		for i, code := range []errorCode{codeUserAbort, codeUndefined} {
			c := dial(t, "127.0.0.1", s.at("127.0.0.1"))
			c.send(rrq("undionly.kpxe", "tsize", "0", "blksize", "1456"), c.to)
			c.expect("OACK")
			c.send(errorPacket(code, "User aborted the transfer"), c.from)
			c.quiet(700 * time.Millisecond) // longer than the first two waits for an ACK
			s.rec.wait(t, "probe", func(e boot.Event) bool {
				return e.Kind == boot.KindProbe && e.Reason == "" && s.rec.count("probe") == i+1
			})
		}
		// The Raspberry Pi's way: acknowledge, then end it before the first block.
		c := dial(t, "127.0.0.1", s.at("127.0.0.1"))
		c.send(rrq("undionly.kpxe", "tsize", "0"), c.to)
		c.expect("OACK")
		c.send(ack(0), c.from)
		c.expectData(1, undionly[:512])
		c.send(errorPacket(codeUndefined, "Early terminate"), c.from)
		c.quiet(700 * time.Millisecond)
		if n := s.rec.count("probe"); n != 3 {
			t.Errorf("%d probes, want 3", n)
		}
		for _, e := range s.rec.snapshot() {
			if e.Reason != "" {
				t.Errorf("a probe counts as failed: %+v", e)
			}
		}
		// An ERROR in the middle is a failure of the transfer, and not answered either.
		c = dial(t, "127.0.0.1", s.at("127.0.0.1"))
		c.send(rrq("undionly.kpxe"), c.to)
		c.expectData(1, undionly[:512])
		c.send(ack(1), c.from)
		c.expectData(2, undionly[512:1024])
		c.send(errorPacket(codeUndefined, "gone"), c.from)
		c.quiet(700 * time.Millisecond)
		if e := s.rec.waitReason(t, boot.ReasonClientAborted); e.Bytes != 512 || !strings.Contains(e.Text, `error 0 "gone"`) {
			t.Errorf("event %+v", e)
		}
	}))

	// 092: blksize 65464 on MTU 1500: 1468. Loopback's MTU is larger; the cap holds
	// there too, and a smaller MTU counts.
	t.Run("092", func(t *testing.T) {
		t.Parallel()
		for mtu, want := range map[int]string{1500: "1468", 9000: "1468", 1492: "1460", 1280: "1248"} {
			s := startServer(t, Config{Files: site(), Link: func(int) (Link, bool) { return Link{Name: "eth0", MTU: mtu}, true }}, patient)
			c := dial(t, "127.0.0.1", s.at("127.0.0.1"))
			c.send(rrq("undionly.kpxe", "blksize", "65464"), c.to)
			c.expectBytes("OACK", oack("blksize", want))
			got, block := dial(t, "127.0.0.1", s.at("127.0.0.1")).fetch("undionly.kpxe", "blksize", "65464")
			if !bytes.Equal(got, undionly) || fmt.Sprint(block) != want {
				t.Errorf("MTU %d: block size %d, content equal: %v", mtu, block, bytes.Equal(got, undionly))
			}
		}
		s := startServer(t, Config{Files: site(), MaxBlock: 8192, Link: func(int) (Link, bool) { return Link{MTU: 9000}, true }}, patient)
		got, block := dial(t, "127.0.0.1", s.at("127.0.0.1")).fetch("undionly.kpxe", "blksize", "65464")
		if !bytes.Equal(got, undionly) || block != 8192 {
			t.Errorf("jumbo frames configured: block size %d", block)
		}
	})

	// 093: blksize 8 or 7: 8 accepted if supported, 7 ignored. Blocks below 512 are
	// not supported (pin/tftp does none): the option is left out of the answer, so
	// the client gets the 512 octets that RFC 2348 prescribes then.
	t.Run("093", boxed(func(t *testing.T, s *testServer) {
		for _, value := range []string{"7", "8", "511", "0", "", "-1", "1e3", "70000", "99999999999"} {
			c := dial(t, "127.0.0.1", s.at("127.0.0.1"))
			c.send(rrq("undionly.kpxe", "blksize", value), c.to)
			c.expectData(1, undionly[:512])
			c.send(errorPacket(codeUndefined, ""), c.from)
		}
		c := dial(t, "127.0.0.1", s.at("127.0.0.1"))
		c.send(rrq("undionly.kpxe", "blksize", "512"), c.to)
		c.expectBytes("OACK", oack("blksize", "512"))
		c = dial(t, "127.0.0.1", s.at("127.0.0.1"))
		c.send(rrq("undionly.kpxe", "blksize", "8", "tsize", "0"), c.to)
		c.expectBytes("OACK", oack("tsize", fmt.Sprint(len(undionly))))
		c.send(ack(0), c.from)
		c.expectData(1, undionly[:512])
	}))

	// 094: BLKSIZE and TSize are understood; the answer spells them as they were asked.
	t.Run("094", boxed(func(t *testing.T, s *testServer) {
		c := dial(t, "127.0.0.1", s.at("127.0.0.1"))
		c.send(packRequest(opRRQ, "undionly.kpxe", "OCTET", "BLKSIZE", "1024", "TSize", "0"), c.to)
		c.expectBytes("OACK", oack("BLKSIZE", "1024", "TSize", fmt.Sprint(len(undionly))))
		c.send(ack(0), c.from)
		c.expectData(1, undionly[:1024])
		c = dial(t, "127.0.0.1", s.at("127.0.0.1"))
		c.send(packRequest(opRRQ, "undionly.kpxe", "NetASCII"), c.to) // raw octets all the same
		c.expectData(1, undionly[:512])
	}))

	// 095: \x86_64\snponly.efi, /x86_64//snponly.efi, x86_64/snponly.efi + FF, + space,
	// + FF 00, upper case: all the same file.
	t.Run("095", boxed(func(t *testing.T, s *testServer) {
		for _, name := range []string{
			`\x86_64\snponly.efi`, "/x86_64//snponly.efi", "x86_64/snponly.efi\xff", "x86_64/snponly.efi ",
			"x86_64/snponly.efi\xff\x00", "X86_64/SNPONLY.EFI", "tftp://192.0.2.2/x86_64/snponly.efi", "//x86_64/./snponly.efi",
		} {
			c := dial(t, "127.0.0.1", s.at("127.0.0.1"))
			got, _ := c.fetch(strings.TrimSuffix(name, "\x00"), "blksize", "1468")
			if !bytes.Equal(got, snponly) {
				t.Errorf("%q: another file", name)
			}
		}
	}))

	// 096: ../../etc/passwd, ..\..\x, absolute paths outside, empty name: ERROR 1,
	// constant text.
	t.Run("096", boxed(func(t *testing.T, s *testServer) {
		for _, name := range []string{"../../etc/passwd", `..\..\x`, "/etc/passwd", `C:\boot.ini`, "", "/", "x86_64/../../x", "\xff", "a\nb", "x86_64", "/.. "} {
			c := dial(t, "127.0.0.1", s.at("127.0.0.1"))
			c.send(rrq(name, "tsize", "0"), c.to)
			c.expectError(codeNotFound, textNotFound)
		}
		if e := s.rec.waitReason(t, boot.ReasonTFTPName); e.File != `"../../etc/passwd"` {
			t.Errorf("event %+v", e)
		}
		s.rec.waitReason(t, boot.ReasonNotFound)
	}))

	// 097: missing file: ERROR 1 in under 50 ms. (No timed test: the answer must come
	// from the request port at once, before anything is waited for; the time is shown.)
	t.Run("097", timed(func(t *testing.T, s *testServer) {
		c := dial(t, "127.0.0.1", s.at("127.0.0.1"))
		start := time.Now()
		c.send(rrq("pxelinux.cfg/01-52-54-00-12-34-56"), c.to)
		c.expectError(codeNotFound, textNotFound)
		t.Logf("after %s", time.Since(start))
		if c.from != c.to {
			t.Errorf("answered from %s, want %s", c.from, c.to)
		}
		c.quiet(400 * time.Millisecond) // once
		if e := s.rec.waitReason(t, boot.ReasonNotFound); e.File != "pxelinux.cfg/01-52-54-00-12-34-56" {
			t.Errorf("event %+v", e)
		}
	}))

	// 098: WRQ: ERROR 2, and nothing is written or transferred.
	t.Run("098", boxed(func(t *testing.T, s *testServer) {
		c := dial(t, "127.0.0.1", s.at("127.0.0.1"))
		c.send(packRequest(opWRQ, "undionly.kpxe", "octet", "tsize", "100"), c.to)
		c.expectError(codeAccess, textWrite)
		s.rec.waitReason(t, boot.ReasonTFTPWrite)
	}))

	// 099: 40 MB file at blksize 512: rollover, complete, hash equal.
	t.Run("099", boxed(func(t *testing.T, s *testServer) {
		c := dial(t, "127.0.0.1", s.at("127.0.0.1"))
		got, block := c.fetch("big.img")
		want, _ := io.ReadAll(io.NewSectionReader(pattern(40<<20+11), 0, 40<<20+11))
		if block != 512 || sha256.Sum256(got) != sha256.Sum256(want) {
			t.Fatalf("%d octets, want %d with the same hash", len(got), len(want))
		}
	}))

	// 100: file size a multiple of blksize: final empty DATA.
	t.Run("100", timed(func(t *testing.T, s *testServer) {
		want := content(4 * 512)
		c := dial(t, "127.0.0.1", s.at("127.0.0.1"))
		c.send(rrq("exact.bin"), c.to)
		for i := range 4 {
			c.expectData(uint16(i+1), want[i*512:i*512+512])
			c.send(ack(uint16(i+1)), c.from)
		}
		c.expectData(5, nil)
		c.send(ack(5), c.from)
		c.quiet(400 * time.Millisecond)
		e := s.rec.wait(t, "success", func(e boot.Event) bool { return e.Reason == "" })
		if e.Bytes != 2048 {
			t.Errorf("event %+v", e)
		}
		if got, _ := dial(t, "127.0.0.1", s.at("127.0.0.1")).fetch("exact1468.bin", "blksize", "1468"); !bytes.Equal(got, content(2*1468)) {
			t.Error("the file differs")
		}
	}))

	// 101: duplicate ACK: no duplicate DATA.
	t.Run("101", boxed(func(t *testing.T, s *testServer) {
		c := dial(t, "127.0.0.1", s.at("127.0.0.1"))
		c.send(rrq("undionly.kpxe"), c.to)
		c.expectData(1, undionly[:512])
		for range 5 {
			c.send(ack(1), c.from)
		}
		c.expectData(2, undionly[512:1024])
		c.quiet(150 * time.Millisecond)
		c.send(ack(0), c.from) // and of a block long past, or never sent
		c.send(ack(9), c.from)
		c.quiet(50 * time.Millisecond)
		c.send(ack(2), c.from)
		c.expectData(3, undionly[1024:1536])
	}))

	// 102: lost DATA: sent again after about 250 ms (not 1 s: the time that a lost
	// packet costs a boot; the wait doubles for each further repetition, and grows
	// with the round trip of a slow path).
	t.Run("102", timed(func(t *testing.T, s *testServer) {
		c := dial(t, "127.0.0.1", s.at("127.0.0.1"))
		c.send(rrq("undionly.kpxe"), c.to)
		c.expectData(1, undionly[:512])
		c.send(ack(1), c.from)
		c.expectData(2, undionly[512:1024])
		start := time.Now()
		c.expectData(2, undionly[512:1024])
		first := time.Since(start)
		c.expectData(2, undionly[512:1024])
		second := time.Since(start) - first
		// Only the lower bounds are certain on a busy machine.
		if first < 230*time.Millisecond || second < 470*time.Millisecond {
			t.Errorf("repeated after %s and another %s, want about 250 ms and 500 ms", first, second)
		}
		t.Logf("repeated after %s and another %s", first, second)
		c.send(ack(2), c.from)
		c.expectData(3, undionly[1024:1536])
	}))

	// 103: silent client: at most 2 packets, then given up.
	t.Run("103", timed(func(t *testing.T, s *testServer) {
		c := dial(t, "127.0.0.1", s.at("127.0.0.1"))
		c.send(rrq("undionly.kpxe"), c.to)
		c.expectData(1, undionly[:512])
		c.expectData(1, undionly[:512])
		c.quiet(firstPatience + time.Second)
		if e := s.rec.waitReason(t, boot.ReasonClientSilent); e.Retries != 1 || e.Bytes != 0 {
			t.Errorf("event %+v", e)
		}
	}))

	// 104: ACK with trailing bytes (Raspberry Pi 5): accepted.
	t.Run("104", boxed(func(t *testing.T, s *testServer) {
		c := dial(t, "127.0.0.1", s.at("127.0.0.1"))
		c.send(rrq("undionly.kpxe"), c.to)
		c.expectData(1, undionly[:512])
		c.send(append(ack(1), make([]byte, 42)...), c.from)
		c.expectData(2, undionly[512:1024])
		c.send(append(ack(2), 0), c.from)
		c.expectData(3, undionly[1024:1536])
		c.send(append(ack(3), make([]byte, 1400)...), c.from)
		c.expectData(4, undionly[1536:2048])
	}))

	// 105: ACK from another port: ERROR 5 to it, transfer unaffected.
	t.Run("105", boxed(func(t *testing.T, s *testServer) {
		c := dial(t, "127.0.0.1", s.at("127.0.0.1"))
		c.send(rrq("undionly.kpxe"), c.to)
		c.expectData(1, undionly[:512])
		other := dial(t, "127.0.0.1", c.to)
		other.send(ack(1), c.from)
		other.expectError(codeUnknownTID, textPort)
		other.send(errorPacket(codeUndefined, ""), c.from) // an ERROR is never answered
		other.quiet(100 * time.Millisecond)
		elsewhere := dial(t, "127.0.0.3", c.to)
		elsewhere.send(ack(1), c.from)
		elsewhere.expectError(codeUnknownTID, textPort)
		c.send(ack(1), c.from)
		c.expectData(2, undionly[512:1024])
		for range 30 { // bounded: 8 in one transfer
			other.send(ack(1), c.from)
		}
		n := 0
		for other.recv(200*time.Millisecond) != nil {
			n++
		}
		if n > 6 { // two were above
			t.Errorf("%d answers to strangers", n+2)
		}
	}))

	// 106: same RRQ twice: one transfer or two, but at most the per-IP limit. Here:
	// one while it is unanswered; a client that starts over from the same port after
	// it had acknowledged gets a new transfer.
	t.Run("106", boxed(func(t *testing.T, s *testServer) {
		c := dial(t, "127.0.0.1", s.at("127.0.0.1"))
		ask := rrq("undionly.kpxe", "tsize", "0")
		c.send(ask, c.to)
		c.send(ask, c.to)
		c.send(ask, c.to)
		c.expect("OACK")
		first := c.from
		c.quiet(150 * time.Millisecond)
		c.send(ack(0), first)
		c.expectData(1, undionly[:512])
		c.send(ask, c.to)
		c.expect("OACK")
		if c.from == first {
			t.Error("the new transfer has the old one's port")
		}
		// The limit, here set to 8 transfers of one address; the ninth request gets no answer.
		limited := startServer(t, Config{Files: site(), Limits: Limits{PerClient: 8}}, patient)
		for i := range 12 {
			c := dial(t, "127.0.0.1", limited.at("127.0.0.1"))
			c.send(rrq("undionly.kpxe", "tsize", fmt.Sprint(i)), c.to)
			if i < 8 {
				c.expect("OACK")
				c.send(ack(0), c.from)
				c.expect("DATA 1")
			} else {
				c.quiet(50 * time.Millisecond)
			}
		}
		limited.rec.waitReason(t, boot.ReasonClientLimit)
		got, _ := dial(t, "127.0.0.9", limited.at("127.0.0.1")).fetch("undionly.kpxe")
		if !bytes.Equal(got, undionly) {
			t.Error("another client is not served")
		}
		if n := limited.rec.mostActive(); n > 9 {
			t.Errorf("%d transfers at a time", n)
		}
	}))

	// 107: autoexec.ipxe: the script for this client's address. Whatever directory
	// the loader came from is asked too, and GRUB's name.
	t.Run("107", boxed(func(t *testing.T, s *testServer) {
		for _, name := range []string{"autoexec.ipxe", "x86_64/autoexec.ipxe", "grub/grub.cfg"} {
			for _, from := range []string{"127.0.0.1", "127.0.0.7"} {
				got, _ := dial(t, from, s.at("127.0.0.1")).fetch(name, "tsize", "0", "blksize", "1432")
				want := fmt.Sprintf("#!ipxe\n# %s for %s\nchain http://127.0.0.1/b\n", name, from)
				if string(got) != want {
					t.Errorf("%s for %s: got %q", name, from, got)
				}
			}
		}
	}))

	// 108: RRQ to another of our addresses: data from that address, and files
	// rendered for it; errors too.
	t.Run("108", boxed(func(t *testing.T, s *testServer) {
		for _, ours := range []string{"127.0.0.1", "127.0.0.2"} {
			c := dial(t, "127.0.0.5", s.at(ours))
			got, _ := c.fetch("autoexec.ipxe")
			if c.from.Addr().String() != ours || !strings.Contains(string(got), "http://"+ours+"/b") {
				t.Errorf("asked %s: data from %s, script %q", ours, c.from, got)
			}
			c = dial(t, "127.0.0.5", s.at(ours))
			c.send(rrq("missing"), c.to)
			c.expectError(codeNotFound, textNotFound)
			if c.from != c.to {
				t.Errorf("asked %s: error from %s", c.to, c.from)
			}
			c = dial(t, "127.0.0.5", s.at(ours))
			c.send(rrq("undionly.kpxe"), c.to)
			c.expect("DATA 1")
			c.send(rrq("x"), netip.AddrPortFrom(c.from.Addr(), c.from.Port())) // nonsense in a transfer
			c.send(ack(1), c.from)
			c.expectData(2, undionly[512:1024])
		}
	}))
}
