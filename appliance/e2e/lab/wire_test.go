package lab

import (
	"net"
	"net/netip"
	"testing"
	"time"
)

func TestPacketOf(t *testing.T) {
	from, to := netip.MustParseAddrPort("10.77.0.5:69"), netip.MustParseAddrPort("10.77.0.100:49152")
	frame, err := BuildUDP(BoxMAC, net.HardwareAddr{2, 0, 0, 0, 0, 1}, from, to, []byte("data"))
	if err != nil {
		t.Fatal(err)
	}
	p := packetOf(frame, false, time.Second)
	if !p.UDP || p.TCP || p.FromClient || p.At != time.Second || p.Size != len(frame) || p.Src != from.Addr() || p.Dst != to.Addr() ||
		p.SrcPort != 69 || p.DstPort != 49152 || string(p.Data) != "data" {
		t.Errorf("%+v", p)
	}
	if p := packetOf(frame[:20], true, 0); p.UDP || p.TCP || !p.FromClient || p.Size != 20 {
		t.Errorf("half a frame: %+v", p)
	}
}

func TestLoss(t *testing.T) {
	d, n := Loss(0.25, 1), 0
	for range 10000 {
		if d(Packet{}) {
			n++
		}
	}
	if n < 2300 || n > 2700 {
		t.Errorf("%d of 10000 lost, want a quarter", n)
	}
}

func TestGUID(t *testing.T) {
	if g := guid("00112233-4455-6677-8899-aabbccddeeff"); g[0] != 0 || g[1] != 0x11 || g[15] != 0xff {
		t.Errorf("%x", g)
	}
	if g := guid("nonsense"); g != [16]byte{} {
		t.Errorf("%x", g)
	}
}

func TestPuppetMAC(t *testing.T) {
	a, b := PuppetMAC("a"), PuppetMAC("b")
	if a.String() == b.String() || a[0]&3 != 0 || a.String() != PuppetMAC("a").String() {
		t.Errorf("%v %v", a, b)
	}
}
