package proxydhcp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// receiveBuffer is asked of the kernel for each socket, in octets. A broadcast
// storm then has to last for milliseconds, not microseconds, before packets of
// other clients are lost.
const receiveBuffer = 16 << 20

// ListenError says why a port could not be opened.
type ListenError struct {
	Port   int
	Reason boot.Reason // ReasonPortTaken, ReasonPermission or ReasonFailed
	Holder string      // program that holds the port, "dnsmasq (pid 412)"; empty when it cannot be found out
	Err    error       // the operating system's answer
}

// Error names the port and, when known, the program that holds it.
func (e *ListenError) Error() string {
	s := fmt.Sprintf("listen on UDP port %d", e.Port)
	if e.Holder != "" {
		s += ", held by " + e.Holder
	}
	return s + ": " + e.Err.Error()
}

// Unwrap gives the operating system's error.
func (e *ListenError) Unwrap() error { return e.Err }

// openSocket binds a port on all addresses. One socket per port: with two,
// every broadcast would arrive at both and be answered twice. SO_REUSEPORT is
// not set: it would share unicasts with any other server that also sets it.
func openSocket(port int) (*ipv4.PacketConn, *net.UDPConn, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) {
			// More than the system's limit needs CAP_NET_ADMIN; without it the
			// limit has to do.
			if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil {
				_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
			}
		})
	}}
	wanted := max(port, 0)
	c, err := lc.ListenPacket(context.Background(), "udp4", net.JoinHostPort("0.0.0.0", strconv.Itoa(wanted)))
	if err != nil {
		e := &ListenError{Port: wanted, Reason: boot.ReasonFailed, Err: err}
		switch {
		case errors.Is(err, syscall.EADDRINUSE):
			e.Reason, e.Holder = boot.ReasonPortTaken, portHolder("/proc", wanted)
		case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
			e.Reason = boot.ReasonPermission
		}
		return nil, nil, e
	}
	udp := c.(*net.UDPConn)
	pc := ipv4.NewPacketConn(udp)
	if err := pc.SetControlMessage(ipv4.FlagInterface|ipv4.FlagDst, true); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("ask for packet information on port %d: %w", wanted, err), udp.Close())
	}
	return pc, udp, nil
}

// portHolder looks through proc for the program with a UDP socket on port. It
// returns "" when it cannot tell, for example without the right to look.
func portHolder(proc string, port int) string {
	inodes := map[string]bool{}
	for _, table := range []string{"thread-self/net/udp", "thread-self/net/udp6"} {
		f, err := os.Open(filepath.Join(proc, table))
		if err != nil {
			continue
		}
		suffix := fmt.Sprintf(":%04X", port)
		for s := bufio.NewScanner(f); s.Scan(); {
			// sl local_address rem_address st queues tr tm->when retrnsmt uid timeout inode …
			if fields := strings.Fields(s.Text()); len(fields) > 9 && strings.HasSuffix(fields[1], suffix) {
				inodes["socket:["+fields[9]+"]"] = true
			}
		}
		_ = f.Close()
	}
	if len(inodes) == 0 {
		return ""
	}
	links, _ := filepath.Glob(filepath.Join(proc, "[0-9]*", "fd", "*"))
	for _, link := range links {
		target, err := os.Readlink(link)
		if err != nil || !inodes[target] {
			continue
		}
		dir := filepath.Dir(filepath.Dir(link))
		name, err := os.ReadFile(filepath.Join(dir, "comm"))
		if err != nil {
			name = []byte("a program")
		}
		return fmt.Sprintf("%s (pid %s)", strings.TrimSpace(string(name)), filepath.Base(dir))
	}
	return ""
}
