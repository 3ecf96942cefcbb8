package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// PeerAddr is where the site's other HTTP server is.
const PeerAddr = "10.77.0.8"

var peerMAC = net.HardwareAddr{0x52, 0x54, 0x00, 0xb0, 0x07, 0x08}

// Peer is an HTTP server of somebody else on the site: what a machine may be
// told to chain to. It serves a directory on port 80.
type Peer struct {
	mu    sync.Mutex
	asked []string
}

// maxAsked bounds the requests a Peer remembers.
const maxAsked = 1000

// URL is the address of a path on the server.
func (p *Peer) URL(path string) string { return "http://" + PeerAddr + "/" + path }

// Asked are the requests so far, as "GET /path?query".
func (p *Peer) Asked() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.asked)
}

// StartPeer starts it. It ends with the site.
func (s *Site) StartPeer(dir string) (*Peer, error) {
	ns, err := s.NewStation("peer", peerMAC)
	if err != nil {
		return nil, err
	}
	if err := ns.addr("eth0", PeerAddr+"/24"); err != nil {
		return nil, err
	}
	if err := ns.route("", RouterAddr); err != nil {
		return nil, err
	}
	var l net.Listener
	err = ns.Do(func() (err error) {
		l, err = net.Listen("tcp4", PeerAddr+":80")
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("other HTTP server: %w", err)
	}
	p := &Peer{}
	files := http.FileServer(http.Dir(dir))
	srv := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		if len(p.asked) < maxAsked {
			p.asked = append(p.asked, r.Method+" "+r.URL.RequestURI())
		}
		p.mu.Unlock()
		files.ServeHTTP(w, r)
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(l) // ends with Close
	}()
	s.onClose(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		err := srv.Shutdown(ctx)
		if errors.Is(err, context.DeadlineExceeded) {
			err = srv.Close()
		}
		<-done
		return err
	})
	return p, nil
}
