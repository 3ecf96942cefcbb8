package tftp

import (
	"bytes"
	"net/netip"
	"strconv"
	"testing"
)

// TestMaxBlockFor caps the blocks of one client, whatever it asks for.
func TestMaxBlockFor(t *testing.T) {
	t.Parallel()
	most := map[netip.Addr]int{
		netip.MustParseAddr("127.0.4.1"): 1024,
		netip.MustParseAddr("127.0.4.2"): 512,
		netip.MustParseAddr("127.0.4.3"): 1, // less than a block of RFC 1350
		netip.MustParseAddr("127.0.4.4"): 9000,
		netip.MustParseAddr("127.0.4.5"): -1,
	}
	s := startServer(t, Config{Files: site(), MaxBlock: 1408, MaxBlockFor: func(a netip.Addr) int { return most[a] }}, nil)
	for _, tt := range []struct {
		from      string
		asks, got int
	}{
		{"127.0.4.1", 1468, 1024},
		{"127.0.4.1", 600, 600},
		{"127.0.4.2", 1468, 512},
		{"127.0.4.3", 1468, 512},
		{"127.0.4.4", 1468, 1408},
		{"127.0.4.5", 1468, 1408},
		{"127.0.4.6", 1468, 1408}, // nothing is known of it
	} {
		got, block := dial(t, tt.from, s.at("127.0.0.1")).fetch("undionly.kpxe", "blksize", strconv.Itoa(tt.asks))
		if block != tt.got || !bytes.Equal(got, undionly) {
			t.Errorf("%s asks for %d: blocks of %d, whole %v; want %d", tt.from, tt.asks, block, bytes.Equal(got, undionly), tt.got)
		}
	}
}
