package appliance

import (
	"net/netip"
	"testing"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

func TestNeighbours(t *testing.T) {
	t.Parallel()
	now := time.Unix(1e9, 0)
	answer, asked := boot.MAC("02:00:00:00:00:01"), 0
	n := newNeighbours(func(netip.Addr) (boot.MAC, bool, bool) { asked++; return answer, true, answer != "" }, func() time.Time { return now })
	a := netip.MustParseAddr("192.0.2.7")
	for i, c := range []struct {
		answer boot.MAC
		after  time.Duration
		want   boot.MAC
		asked  int
	}{
		{"", 0, "", 1},
		{"", 0, "", 2}, // nothing is not remembered
		{"02:00:00:00:00:01", 0, "02:00:00:00:00:01", 3},
		{"02:00:00:00:00:02", neighbourAge / 2, "02:00:00:00:00:01", 3},
		{"02:00:00:00:00:02", neighbourAge, "02:00:00:00:00:02", 4},
		{"02:00:00:00:00:03", -time.Hour, "02:00:00:00:00:03", 5}, // the clock was set back
	} {
		answer, now = c.answer, now.Add(c.after)
		mac, onLink, ok := n.get(a)
		if mac != c.want || ok != (c.want != "") || !onLink || asked != c.asked {
			t.Errorf("%d: %q, %v, %v, asked %d times", i, mac, onLink, ok, asked)
		}
	}
	for i := range 3000 {
		n.get(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}))
	}
	if len(n.seen) > maxNeighbours {
		t.Errorf("%d are remembered", len(n.seen))
	}
}
