package appliance

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"github.com/bootpuck/bootpuck/appliance/monitoring"
)

// httpTask is an HTTP listener of the operator's side.
type httpTask struct {
	name  string
	addr  string
	h     http.Handler
	ready chan struct{}

	mu sync.Mutex
	l  net.Listener
}

func newHTTPTask(name, addr string, h http.Handler) *httpTask {
	return &httpTask{name: name, addr: addr, h: h, ready: make(chan struct{})}
}

// String names the task.
func (t *httpTask) String() string { return t.name }

// Ready is closed when the port is open for the first time.
func (t *httpTask) Ready() <-chan struct{} { return t.ready }

// Listen opens the port unless it is open.
func (t *httpTask) Listen(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.l != nil {
		return nil
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", t.addr)
	if err != nil {
		return fmt.Errorf("listen on TCP %s: %w", t.addr, err)
	}
	t.l = l
	select {
	case <-t.ready:
	default:
		close(t.ready)
	}
	return nil
}

// Addr is where it listens; nil when it does not.
func (t *httpTask) Addr() net.Addr {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.l == nil {
		return nil
	}
	return t.l.Addr()
}

// Close closes the port of a Listen that no Run followed.
func (t *httpTask) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.l == nil {
		return nil
	}
	err := t.l.Close()
	t.l = nil
	return err
}

// Connections of one admin listener, in all and of one address: live readers
// hold theirs open, and one stranger must not hold all of them.
const (
	maxAdminConns = 128
	maxAdminPeer  = 32
)

// Run serves until ctx ends. Live readers are cut off then: they would wait for
// ever.
func (t *httpTask) Run(ctx context.Context) error {
	if err := t.Listen(ctx); err != nil {
		return err
	}
	t.mu.Lock()
	l := t.l
	t.mu.Unlock()
	defer t.Close()
	srv := &http.Server{
		Handler: t.h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, IdleTimeout: 60 * time.Second,
		WriteTimeout:   30 * time.Second, // live streams move it on for themselves
		MaxHeaderBytes: 16 << 10, BaseContext: func(net.Listener) context.Context { return ctx },
	}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	err := srv.Serve(&limitListener{Listener: l, byPeer: map[string]int{}})
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// limitListener closes connections above its limits at once, so that a stranger
// who opens many can neither use up the box's memory nor shut others out.
type limitListener struct {
	net.Listener

	mu     sync.Mutex
	all    int
	byPeer map[string]int
}

// Accept implements net.Listener.
func (l *limitListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		peer, _, err := net.SplitHostPort(c.RemoteAddr().String())
		if err != nil || !l.take(peer) {
			_ = c.Close()
			continue
		}
		return &limitedConn{Conn: c, free: sync.OnceFunc(func() { l.free(peer) })}, nil
	}
}

func (l *limitListener) take(peer string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all >= maxAdminConns || l.byPeer[peer] >= maxAdminPeer {
		return false
	}
	l.all++
	l.byPeer[peer]++
	return true
}

func (l *limitListener) free(peer string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all--
	if l.byPeer[peer]--; l.byPeer[peer] == 0 {
		delete(l.byPeer, peer)
	}
}

type limitedConn struct {
	net.Conn
	free func()
}

// Close implements net.Conn.
func (c *limitedConn) Close() error {
	defer c.free()
	return c.Conn.Close()
}

func isInUse(err error) bool { return errors.Is(err, syscall.EADDRINUSE) }

// metricsHandler serves the metrics and points everybody else to them.
func metricsHandler(metrics http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", metrics)
	mux.Handle("/monitoring/", monitoring.Handler()) // alerts link to their pages by the address that was scraped
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "bootpuck: the metrics are at /metrics, what to do with them at /monitoring/", http.StatusNotFound)
	})
	return mux
}
