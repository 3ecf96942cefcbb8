package tftp

import (
	"testing"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// TestProgress: a transfer that takes a while is told of under way, and the end
// says what was agreed on and whether the client ever acknowledged.
func TestProgress(t *testing.T) {
	s := startServer(t, Config{Files: mapTree(map[string][]byte{"a": content(5000)})}, patient)
	c := dial(t, "127.0.0.1", s.at("127.0.0.1"))
	c.send(rrq("a", "blksize", "1024", "tsize", "0"), s.at("127.0.0.1"))
	c.expect("OACK")
	c.send(ack(0), c.from)
	c.expect("DATA 1")
	c.send(ack(1), c.from)
	c.expect("DATA 2")
	e := s.rec.wait(t, "progress", func(e boot.Event) bool { return e.Kind == boot.KindProgress })
	if e.File != "a" || e.Bytes != 1024 || e.Total != 5000 || e.Block != 1024 || !e.Acked || !e.Addr.IsValid() {
		t.Errorf("progress %+v", e)
	}
	c.send([]byte{0, opERROR, 0, 3, 'f', 'u', 'l', 'l', 0}, c.from)
	if e := s.rec.waitReason(t, boot.ReasonClientAborted); e.Total != 5000 || e.Block != 1024 || !e.Acked || e.Bytes != 1024 {
		t.Errorf("end %+v", e)
	}
}

// TestNeverAcknowledged: a client that goes silent before its first
// acknowledgement is told apart from one that stops in the middle.
func TestNeverAcknowledged(t *testing.T) {
	s := startServer(t, Config{Files: mapTree(map[string][]byte{"a": content(5000)})}, nil)
	c := dial(t, "127.0.0.1", s.at("127.0.0.1"))
	c.send(rrq("a", "blksize", "1024"), s.at("127.0.0.1"))
	c.expect("OACK")
	if e := s.rec.waitReason(t, boot.ReasonClientSilent); e.Acked || e.Bytes != 0 || e.Block != 1024 {
		t.Errorf("end %+v", e)
	}
}
