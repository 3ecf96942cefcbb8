package lan

import (
	"net"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// TestNeighbour: who answers on the wire for an address is known after the
// first exchange with it; a machine behind a router is told apart.
func TestNeighbour(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	r := newRig(t)
	here, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	must(t, err)
	defer here.Close()
	var events sink
	w := NewWatcher(Selection{}, events.add)
	task(t, w)
	eth0, err := here.LinkByName("eth0")
	must(t, err)
	setAddr(t, here, "eth0", "192.0.2.2/24")
	must(t, here.LinkSetUp(eth0))
	setAddr(t, r.client.nl, "c0", "192.0.2.77/24")
	until(t, "the address", func() bool { i, ok := named(w, "eth0"); return ok && len(i.Addrs) > 0 && i.Up })

	client := netip.MustParseAddr("192.0.2.77")
	if mac, onLink, ok := w.Neighbour(client); ok || !onLink {
		t.Errorf("before a word was spoken: %q, %v, %v", mac, onLink, ok)
	}
	until(t, "an answer", func() bool {
		// Anything sent there makes the kernel ask who it is.
		c, err := net.Dial("udp4", "192.0.2.77:9")
		must(t, err)
		_, _ = c.Write([]byte("x"))
		must(t, c.Close())
		mac, onLink, ok := w.Neighbour(client)
		return ok && onLink && mac == clientMAC
	})
	if mac, onLink, ok := w.Neighbour(netip.MustParseAddr("192.0.2.78")); ok || !onLink {
		t.Errorf("nobody's address: %q, %v, %v", mac, onLink, ok)
	}
	if mac, onLink, ok := w.Neighbour(netip.MustParseAddr("198.51.100.7")); ok || onLink {
		t.Errorf("behind a router: %q, %v, %v", mac, onLink, ok)
	}
	if mac, _, ok := w.Neighbour(netip.MustParseAddr("192.0.2.2")); ok {
		t.Errorf("our own address: %q", mac)
	}
}

// FuzzNeighbourMAC: whatever the kernel's answer looks like, reading it stays
// within it.
func FuzzNeighbourMAC(f *testing.F) {
	f.Add([]byte{2, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 10, 0, 2, 0, 2, 0, 0, 0, 0, 1, 0, 0})
	f.Add([]byte{2, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 255, 255, 2, 0})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if mac, ok := neighbourMAC(b); ok && len(mac) != 17 {
			t.Errorf("%q", mac)
		}
	})
}
