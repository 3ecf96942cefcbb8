package lan

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// kernel is where pictures come from; tests put a fake in its place.
type kernel interface {
	// follow begins to listen for changes of links, addresses and routes.
	follow() (follower, error)
	// look reads all links and addresses. whole is false when they changed
	// while they were being read.
	look() (s state, whole bool, err error)
}

// follower reports that something changed; what it was is read by look, since
// the kernel's messages do not carry the order of addresses and can be lost.
type follower interface {
	wait() error // returns nil after a change, net.ErrClosed or os.ErrClosed after close
	close()
}

// rtnetlink is the real kernel.
type rtnetlink struct{}

type subscription struct{ socket *nl.NetlinkSocket }

func (rtnetlink) follow() (follower, error) {
	s, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV4_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("subscribe to network changes: %w", err)
	}
	return subscription{s}, nil
}

func (s subscription) wait() error {
	switch _, _, err := s.socket.Receive(); {
	case err == nil:
		return nil
	case errors.Is(err, unix.ENOBUFS):
		// The socket's buffer overran and messages are lost: as good a reason
		// to look again as any message.
		return nil
	default:
		return fmt.Errorf("read network changes: %w", err)
	}
}

func (s subscription) close() { s.socket.Close() }

func (rtnetlink) look() (s state, whole bool, err error) {
	whole = true
	links, err := netlink.LinkList()
	if errors.Is(err, netlink.ErrDumpInterrupted) {
		whole, err = false, nil
	}
	if err != nil {
		return state{}, false, fmt.Errorf("read network interfaces: %w", err)
	}
	for _, l := range links {
		a := l.Attrs()
		s.links = append(s.links, link{
			index: a.Index, name: a.Name, altNames: a.AltNames, kind: l.Type(), mac: a.HardwareAddr,
			mtu: a.MTU, master: a.MasterIndex, speed: linkSpeed(l.Type(), a),
			// LOWER_UP is the carrier itself; RUNNING follows it up to a second later.
			up:           a.RawFlags&unix.IFF_UP != 0 && a.RawFlags&unix.IFF_LOWER_UP != 0,
			loopback:     a.Flags&net.FlagLoopback != 0,
			broadcast:    a.Flags&net.FlagBroadcast != 0,
			pointToPoint: a.Flags&net.FlagPointToPoint != 0,
		})
	}
	addrs, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if errors.Is(err, netlink.ErrDumpInterrupted) {
		whole, err = false, nil
	}
	if err != nil {
		return state{}, false, fmt.Errorf("read network addresses: %w", err)
	}
	for _, a := range addrs {
		// The kernel neither sends from nor listens on these until duplicate
		// address detection is through.
		if a.Flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED) != 0 && a.Flags&unix.IFA_F_OPTIMISTIC == 0 {
			continue
		}
		if p, ok := prefixOf(a.IPNet); ok {
			s.addrs = append(s.addrs, address{a.LinkIndex, p})
		}
	}
	return s, whole, nil
}

// linkSpeed is the speed of a network card in Mbit/s, 0 when it is not known or
// the link is down. Only real cards are asked, for some drivers take their time.
// The file system may show another network namespace's cards, so the index is
// compared first.
func linkSpeed(kind string, a *netlink.LinkAttrs) int {
	if kind != "device" || a.Flags&net.FlagLoopback != 0 || a.RawFlags&unix.IFF_LOWER_UP == 0 {
		return 0
	}
	read := func(file string) int {
		b, err := os.ReadFile(filepath.Join("/sys/class/net", filepath.Base(a.Name), file))
		if err != nil {
			return 0
		}
		n, err := strconv.Atoi(strings.TrimSpace(string(b)))
		if err != nil {
			return 0
		}
		return n
	}
	if read("ifindex") != a.Index {
		return 0
	}
	return max(read("speed"), 0)
}

func prefixOf(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	addr, ok := netip.AddrFromSlice(n.IP)
	ones, bits := n.Mask.Size()
	if addr = addr.Unmap(); !ok || bits != addr.BitLen() {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(addr, ones), true
}
