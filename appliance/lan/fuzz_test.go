package lan

import (
	"errors"
	"testing"
	"unicode/utf8"

	"github.com/mdlayher/packet"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// FuzzResponder sends arbitrary packets the whole way from the socket to the
// table of responders.
func FuzzResponder(f *testing.F) {
	for _, b := range [][]byte{
		nil, offer(), offer(proxied), offer(kindOf(5)), offer(kindOf(6)),
		offer(option(60, "PXEClient"), option(43, "\x06\x01\x08\xff")),
		offer(proxied, option(43, "\x09\x14\x00\x00\x11Raspberry Pi Boot\x47")),
		offer(option(52, "\x03"), func(r *reply) { r.file, r.sname = "\x43\x05a.efi\xff", "\x3c\x09PXEClient\xff" }),
		offer(option(66, "x\x00y"), option(67, "\xff\xfe")),
		offer(func(r *reply) { r.noEnd, r.options = true, []byte{54, 4, 1} }),
		offer()[:60], with(offer(), 0, 0x4f),
	} {
		f.Add(b, []byte{2, 0, 0, 0, 0, 1})
	}
	f.Fuzz(func(t *testing.T, b, mac []byte) {
		h, err := parse(b)
		if err != nil && !errors.Is(err, errReply) {
			t.Fatalf("untyped error %v", err)
		}
		w, _ := watch(newFakeKernel(state{}), Selection{})
		s := NewSentinel(SentinelConfig{Watcher: w, Sink: func(e boot.Event) {
			if !utf8.ValidString(e.Text) || len(e.Text) > 6000 || (e.MAC != "") != (e.Kind == boot.KindForeign) {
				t.Errorf("event %q", e.Text)
			}
			if f := e.Foreign; f != nil && (f.Type == "" || !utf8.ValidString(f.File+f.Next+f.Class) || len(f.File+f.Next+f.Class) > 9*maxText) {
				t.Errorf("foreign %+v", f)
			}
		}})
		for range 2 {
			s.hear(2, &packet.Addr{HardwareAddr: mac[:min(len(mac), 16)]}, b)
		}
		list, st := s.Responders(), s.Stats()
		if err != nil && (len(list) != 0 || st.Malformed != 2) || err == nil && (len(list) != 1 || st.Heard != 2) {
			t.Fatalf("%v: %d responders, %+v", err, len(list), st)
		}
		for _, r := range list {
			if r.Server != h.server || !r.Server.IsValid() || r.Replies != 2 || len(r.Findings) > 3 {
				t.Errorf("responder %+v", r)
			}
			for _, values := range [][]string{r.Classes, r.BootFiles, r.NextServers} {
				for _, v := range values {
					if v == "" || len(v) > 3*maxText || !utf8.ValidString(v) {
						t.Errorf("value %q", v)
					}
				}
			}
		}
	})
}
