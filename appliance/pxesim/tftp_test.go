package pxesim

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"
)

func get(t *testing.T, l *lan, h TFTPHabits, name string) (Download, error) {
	t.Helper()
	link := NewMemory(testMAC, l.serve)
	c := &TFTPClient{Habits: h, MaxBytes: 1 << 30, Keep: 10, Listen: func(ctx context.Context) (net.PacketConn, error) {
		return link.ListenUDP(ctx, netip.AddrPortFrom(clientAddr, 0))
	}}
	return c.Get(t.Context(), netip.AddrPortFrom(proxyAddr, portTFTP), []byte(name))
}

// Each firmware's habits: what it asks, how it aborts its probe, what it gets.
func TestTFTPHabits(t *testing.T) {
	big := bytes.Repeat([]byte("0123456789"), 10000)
	sum := sha256.Sum256(big)
	tests := []struct {
		name          string
		habits        TFTPHabits
		block, window int
		abort         []string
		requests      int
		size          int64
	}{
		{"edk2", tftpEDK2(true), 1468, 4, []string{"8 User aborted the transfer"}, 2, 100000},
		{"edk2 before 2018", tftpEDK2(false), 1468, 1, []string{"8 User aborted the transfer"}, 2, 100000},
		{"bios", tftpBIOS(), 1456, 1, []string{"0 TFTP Aborted"}, 2, 100000},
		{"ipxe", tftpIPXE(), 1432, 1, nil, 1, 100000},
		{"pi3", tftpPi3(), 512, 1, nil, 1, -1},
		{"pi4", tftpPi4(), 1024, 1, []string{"0 Early terminate"}, 2, 100000},
	}
	for _, tt := range tests {
		bubble(t, func(t *testing.T) {
			l := newLAN(t)
			l.files["f"] = big
			d, err := get(t, l, tt.habits, "f")
			if err != nil || d.Bytes != 100000 || d.SHA256 != hex.EncodeToString(sum[:]) || string(d.Head) != "0123456789" {
				t.Fatalf("%s: %d bytes, %v", tt.name, d.Bytes, err)
			}
			if d.BlockSize != tt.block || d.Window != tt.window || d.ProbedSize != tt.size || len(l.names) != tt.requests || !slices.Equal(l.tftpErrors, tt.abort) {
				t.Errorf("%s: block %d, window %d, size %d, %d requests, errors %q", tt.name, d.BlockSize, d.Window, d.ProbedSize, len(l.names), l.tftpErrors)
			}
			if want := (100000/tt.block + 1 + tt.window - 1) / tt.window; len(l.acks) > want+1 {
				t.Errorf("%s: %d acknowledgements for a window of %d", tt.name, len(l.acks), tt.window)
			}
		})
	}
}

func TestTFTPSizes(t *testing.T) {
	for _, n := range []int{0, 1, 511, 512, 513, 1024, 512 * 70000} {
		bubble(t, func(t *testing.T) {
			l := newLAN(t)
			l.files["f"] = make([]byte, n)
			if d, err := get(t, l, tftpPi3(), "f"); err != nil || d.Bytes != int64(n) {
				t.Errorf("%d bytes: got %d, %v", n, d.Bytes, err)
			}
		})
	}
	bubble(t, func(t *testing.T) {
		l := newLAN(t)
		l.files["f"] = make([]byte, 512*65536)
		h := tftpPi3()
		h.NoRollover = true
		if _, err := get(t, l, h, "f"); failure(err) != TFTPProtocol {
			t.Errorf("rollover accepted: %v", err)
		}
	})
}

func failure(err error) TFTPFailure {
	if e, ok := errors.AsType[*TFTPError](err); ok {
		return e.Failure
	}
	return 0
}

// Loss, duplicates and odd clients.
func TestTFTPTrouble(t *testing.T) {
	data := bytes.Repeat([]byte("x"), 20000)
	base := func(window int) TFTPHabits {
		h := TFTPHabits{Waits: seconds(1, 1, 1), Get: []TFTPOption{{"blksize", "1000"}}}
		if window > 1 {
			h.Get = append(h.Get, TFTPOption{"windowsize", "4"})
		}
		return h
	}
	for _, window := range []int{1, 4} {
		bubble(t, func(t *testing.T) {
			l := newLAN(t)
			l.files["f"] = data
			lost := map[uint16]bool{}
			l.blockHook = func(block uint16, b []byte) []byte {
				if block%7 == 3 && !lost[block] {
					lost[block] = true
					return nil
				}
				return b
			}
			// The fake server repeats nothing: the client's own repeated ACK must bring the rest.
			serve := l.serve
			link := NewMemory(testMAC, func(d Datagram) []Delivery {
				if s := l.sessions[d.Src]; s != nil && len(d.Payload) == 4 && d.Payload[1] == tftpACK {
					s.sentTo = int64(d.Payload[2])<<8 | int64(d.Payload[3])
				}
				return serve(d)
			})
			c := &TFTPClient{Habits: base(window), MaxBytes: 1 << 20, Listen: func(ctx context.Context) (net.PacketConn, error) {
				return link.ListenUDP(ctx, netip.AddrPortFrom(clientAddr, 0))
			}}
			d, err := c.Get(t.Context(), netip.AddrPortFrom(proxyAddr, portTFTP), []byte("f"))
			if err != nil || d.Bytes != 20000 {
				t.Errorf("window %d with losses: %d bytes, %v", window, d.Bytes, err)
			}
			// A hole in a window is reported once, not once for every block behind it.
			for block, n := range l.acks {
				if n > 2 {
					t.Errorf("window %d: block %d acknowledged %d times", window, block, n)
				}
			}
			if window == 1 && d.Retransmits == 0 {
				t.Error("losses in lock-step were repaired without a repetition")
			}
		})
	}
	bubble(t, func(t *testing.T) {
		l := newLAN(t)
		l.files["f"] = data
		h := base(1)
		h.AckTwice, h.AckPadding = true, 14
		d, err := get(t, l, h, "f")
		if err != nil || d.Bytes != 20000 || l.acks[5] != 2 || d.Duplicates != 0 {
			t.Errorf("acknowledging twice: %d bytes, %d times, %v", d.Bytes, l.acks[5], err)
		}
		if last := l.sent[len(l.sent)-1]; len(last.Payload) != 18 {
			t.Errorf("acknowledgement of %d bytes, want 18", len(last.Payload))
		}
	})
	bubble(t, func(t *testing.T) {
		l := newLAN(t)
		l.mute = "f"
		began := time.Now()
		if _, err := get(t, l, base(1), "f"); failure(err) != TFTPNoAnswer || time.Since(began) != 3*time.Second || len(l.names) != 3 {
			t.Errorf("silent server: %v after %v, %d requests", err, time.Since(began), len(l.names))
		}
	})
	bubble(t, func(t *testing.T) {
		l := newLAN(t)
		l.files["f"] = data
		l.blockHook = func(block uint16, b []byte) []byte {
			if block > 5 {
				return nil
			}
			return b
		}
		if d, err := get(t, l, base(1), "f"); failure(err) != TFTPStalled || d.Bytes != 5000 {
			t.Errorf("stalled server: %v after %d bytes", err, d.Bytes)
		}
	})
	bubble(t, func(t *testing.T) {
		l := newLAN(t)
		l.files["f"] = data
		h := base(1)
		h.IgnoreOACK = true
		if _, err := get(t, l, h, "f"); failure(err) != TFTPStalled {
			t.Errorf("a client that ignores the OACK: %v", err)
		}
		l.noOptions = true
		if d, err := get(t, l, h, "f"); err != nil || d.Bytes != 20000 {
			t.Errorf("the same without options: %v", err)
		}
	})
	bubble(t, func(t *testing.T) {
		l := newLAN(t)
		if _, err := get(t, l, base(1), "none"); failure(err) != TFTPRefused {
			t.Errorf("missing file: %v", err)
		}
	})
}

// After the first answer only that server port counts, and other hosts never do.
func TestTFTPStrangers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newLAN(t)
		l.files["f"] = bytes.Repeat([]byte("x"), 2000)
		link := NewMemory(testMAC, func(d Datagram) []Delivery {
			forged := []byte{0, tftpDATA, 0, 1, 'e', 'v', 'i', 'l'}
			if d.Payload[1] == tftpACK {
				forged[3] = d.Payload[3] + 1
			}
			out := []Delivery{{Datagram{netip.MustParseAddrPort("192.0.2.66:69"), d.Src, forged}, 0}}
			if d.Payload[1] == tftpACK {
				out = append(out, Delivery{Datagram{netip.AddrPortFrom(proxyAddr, 1), d.Src, forged}, 0})
			}
			return append(out, l.serve(d)...)
		})
		c := &TFTPClient{Habits: tftpPi3(), MaxBytes: 1 << 20, Keep: 9999, Listen: func(ctx context.Context) (net.PacketConn, error) {
			return link.ListenUDP(ctx, netip.AddrPortFrom(clientAddr, 0))
		}}
		d, err := c.Get(t.Context(), netip.AddrPortFrom(proxyAddr, portTFTP), []byte("f"))
		if err != nil || d.Bytes != 2000 || bytes.Contains(d.Head, []byte("evil")) {
			t.Errorf("%d bytes, %v", d.Bytes, err)
		}
	})
}

// EDK2's rules for an OACK, and what tolerant clients let pass.
func TestReadOACK(t *testing.T) {
	asked := []TFTPOption{{"tsize", "0"}, {"blksize", "1468"}, {"windowsize", "4"}, {"timeout", "5"}}
	tests := []struct {
		in               string
		strict, tolerant bool
		block, window    int
		size             int64
	}{
		{"", true, true, 512, 1, -1},
		{"tsize\x0010\x00blksize\x001468\x00windowsize\x004\x00", true, true, 1468, 4, 10},
		{"BLKSIZE\x001024\x00", true, true, 1024, 1, -1},
		{"blksize\x001469\x00", false, false, 0, 0, 0},
		{"blksize\x007\x00", false, false, 0, 0, 0},
		{"windowsize\x005\x00", false, false, 0, 0, 0},
		{"windowsize\x000\x00", false, false, 0, 0, 0},
		{"timeout\x006\x00", false, true, 512, 1, -1},
		{"timeout\x005\x00", true, true, 512, 1, -1},
		{"multicast\x00x\x00", false, true, 512, 1, -1},
		{"tsize\x00ten\x00", false, true, 512, 1, -1},
		{"tsize\x00-1\x00", false, true, 512, 1, -1},
		{"tsize", true, true, 512, 1, -1},
	}
	for _, tt := range tests {
		for _, strict := range []bool{true, false} {
			block, window, size, err := readOACK([]byte(tt.in), asked, strict)
			want := tt.tolerant
			if strict {
				want = tt.strict
			}
			if (err == nil) != want || (want && (block != tt.block || window != tt.window || size != tt.size)) {
				t.Errorf("%q strict %v: %d %d %d %v", tt.in, strict, block, window, size, err)
			}
		}
	}
}

func TestTFTPLimit(t *testing.T) {
	for _, habits := range []TFTPHabits{tftpPi3(), tftpIPXE()} {
		bubble(t, func(t *testing.T) {
			l := newLAN(t)
			l.files["f"] = make([]byte, 5000)
			link := NewMemory(testMAC, l.serve)
			c := &TFTPClient{Habits: habits, MaxBytes: 4000, Listen: func(ctx context.Context) (net.PacketConn, error) {
				return link.ListenUDP(ctx, netip.AddrPortFrom(clientAddr, 0))
			}}
			if d, err := c.Get(t.Context(), netip.AddrPortFrom(proxyAddr, portTFTP), []byte("f")); failure(err) != TFTPTooLarge || d.Bytes > 4000 {
				t.Errorf("%d bytes, %v", d.Bytes, err)
			}
		})
	}
}

func FuzzTFTPPacket(f *testing.F) {
	f.Add([]byte("\x00\x06tsize\x0010\x00blksize\x001468\x00"))
	f.Add([]byte("\x00\x03\x00\x01data"))
	f.Add([]byte("\x00\x05\x00\x01no"))
	f.Add([]byte{0, 3, 0, 2})
	f.Fuzz(func(t *testing.T, b []byte) {
		sent := 0
		tr := &transfer{
			c: &TFTPClient{Habits: tftpEDK2(true), MaxBytes: 1 << 20}, server: netip.AddrPortFrom(proxyAddr, 69), asked: tftpEDK2(true).Get,
			sink: newSink(1<<20, 100), next: 1, out: Download{BlockSize: 512, Window: 1},
		}
		tr.conn = newQueueConn(netip.AddrPortFrom(clientAddr, 2000), func(context.Context, Datagram) error { sent++; return nil }, func() {})
		for range 3 {
			if _, err := tr.handle(netip.AddrPortFrom(proxyAddr, 3000), b); err != nil {
				break
			}
		}
		if tr.sink.n > 3*65536 || sent > 6 {
			t.Errorf("%d bytes taken, %d packets sent", tr.sink.n, sent)
		}
	})
}
