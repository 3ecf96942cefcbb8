package appliance

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// medium keeps documents, and hangs while stuck is open.
type medium struct {
	mu    sync.Mutex
	docs  int
	stuck chan struct{} // nil: it does not hang
}

func (*medium) Load(func(string, []byte) error) error { return nil }

func (m *medium) Write(docs map[string][]byte) error {
	if m.stuck != nil {
		<-m.stuck
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.docs += len(docs)
	return nil
}

// TestStopWithHungMedium: a medium that hangs in the middle of a batch of boots
// keeps neither the box from its end, nor what else is to be kept from being
// written.
func TestStopWithHungMedium(t *testing.T) {
	onWire(t, func(t *testing.T, w *wire) {
		b := w.box
		hung, sound := &medium{stuck: make(chan struct{})}, &medium{}
		defer close(hung.stuck)
		if err := b.attempts.SetStore(hung); err != nil {
			t.Fatal(err)
		}
		if err := b.quirks.SetStore(sound); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			b.supervisor.run(ctx, b.attempts)
		}()
		const mac = boot.MAC("52:54:00:00:00:01")
		b.Record(boot.Event{Kind: boot.KindOffer, MAC: mac, XID: 7, Firmware: boot.FirmwareUEFI, Class: "PXEClient:Arch:00007"})
		b.Record(boot.Event{Kind: boot.KindScript, MAC: mac, File: "/s", Text: "local (default)", Action: boot.ActionLocal})
		<-time.After(2 * time.Minute) // a batch is on its way
		if _, err := b.quirks.PinModel("PXEClient", "52:54:00", "", boot.Shape{Form: boot.FormTwoStep}, "by hand"); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		cancel()
		<-done
		if d := time.Since(begin); d > 500*time.Millisecond {
			t.Errorf("the task of boots ended after %s", d)
		}
		begin = time.Now()
		if err := b.keeper.Close(); err == nil {
			t.Error("nothing is told of boots that were not written")
		}
		if d := time.Since(begin); d > closeTime {
			t.Errorf("the state was closed after %s", d)
		}
		if sound.docs != 1 {
			t.Errorf("%d models written", sound.docs)
		}
	})
}

// TestSigningKey: the key of quirk files is made once, kept, and never replaced
// behind the operator's back.
func TestSigningKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), signName)
	first, err := signingKey(path)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := signingKey(path); err != nil || !again.Equal(first) {
		t.Errorf("another key the second time, %v", err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm()&0o077 != 0 {
		t.Errorf("others may read it: %v, %v", info, err)
	}
	if err := os.WriteFile(path, []byte("not a key\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if key, err := signingKey(path); err == nil || key != nil || !strings.Contains(err.Error(), "delete the file") {
		t.Errorf("a damaged key: %v", err)
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != "not a key\n" {
		t.Errorf("the damaged file was touched: %q, %v", data, err)
	}
}
