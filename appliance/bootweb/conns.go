package bootweb

import (
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// connTable counts open connections, in all and per client address. When all
// places are taken, the connection that has been idle longest gives way; one
// that has never sent anything counts as idle too.
type connTable struct {
	max, perIP int

	mu     sync.Mutex
	all    map[*conn]struct{}
	perIPs map[netip.Addr]int
}

func newConnTable(limit, perIP int) *connTable {
	return &connTable{max: limit, perIP: perIP, all: map[*conn]struct{}{}, perIPs: map[netip.Addr]int{}}
}

func (t *connTable) len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.all)
}

// add admits c, or says which limit it would exceed. evict is a connection to
// close in its favour.
func (t *connTable) add(c *conn) (evict *conn, reason boot.Reason) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.perIPs[share(c.addr)] >= t.perIP {
		return nil, boot.ReasonClientLimit
	}
	if len(t.all) >= t.max {
		if evict = t.idlest(); evict == nil {
			return nil, boot.ReasonTotalLimit
		}
		t.drop(evict)
	}
	t.all[c] = struct{}{}
	t.perIPs[share(c.addr)]++
	return evict, boot.ReasonNone
}

// idlest is the connection that has been idle longest, nil if all are at work.
// It is only looked for when the table is full.
func (t *connTable) idlest() *conn {
	var best *conn
	var since int64
	for c := range t.all {
		if at := c.idleSince.Load(); at != 0 && (best == nil || at < since) {
			best, since = c, at
		}
	}
	return best
}

func (t *connTable) remove(c *conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.drop(c)
}

// drop forgets c; twice is once.
func (t *connTable) drop(c *conn) {
	if _, ok := t.all[c]; !ok {
		return
	}
	delete(t.all, c)
	if t.perIPs[share(c.addr)]--; t.perIPs[share(c.addr)] <= 0 {
		delete(t.perIPs, share(c.addr))
	}
}

// state is http.Server's ConnState hook.
func (t *connTable) state(nc net.Conn, st http.ConnState) {
	c, ok := nc.(*conn)
	if !ok {
		return
	}
	switch st {
	case http.StateActive:
		c.idleSince.Store(0)
	case http.StateIdle:
		c.idleSince.Store(time.Now().UnixNano())
	default:
	}
}

// limitListener admits connections within the table's limits and closes the
// others at once: waiting instead would make everybody wait for the one who
// takes too much.
type limitListener struct {
	net.Listener
	table   *connTable
	refused func(netip.Addr, boot.Reason)
}

func (l *limitListener) Accept() (net.Conn, error) {
	for {
		nc, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c := &conn{Conn: nc, table: l.table, addr: addrPort(nc.RemoteAddr()).Addr()}
		c.idleSince.Store(time.Now().UnixNano())
		evict, reason := l.table.add(c)
		if evict != nil {
			evict.Conn.Close()
		}
		if reason == boot.ReasonNone {
			return c, nil
		}
		nc.Close()
		l.refused(c.addr, reason)
	}
}

// conn is one admitted connection.
type conn struct {
	net.Conn
	table     *connTable
	addr      netip.Addr
	idleSince atomic.Int64 // Unix nanoseconds; 0 while a request is under way
}

// ReadFrom keeps sendfile reachable: net/http looks for it on the connection it
// was given, which is this wrapper.
func (c *conn) ReadFrom(r io.Reader) (int64, error) {
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		if lr, ok := r.(*io.LimitedReader); ok {
			if f, ok := lr.R.(*os.File); ok {
				if n, handled, err := sendfile(tcp, lr, f); handled {
					return n, err
				}
			}
		}
	}
	if rf, ok := c.Conn.(io.ReaderFrom); ok {
		return rf.ReadFrom(r)
	}
	return io.Copy(struct{ io.Writer }{c.Conn}, r)
}

// Close gives the place back.
func (c *conn) Close() error {
	c.table.remove(c)
	return c.Conn.Close()
}
