package appliance

import (
	"log/slog"
	"net/netip"
	"testing"

	"github.com/bootpuck/bootpuck/appliance/boot"
	"github.com/bootpuck/bootpuck/appliance/bootweb"
	"github.com/bootpuck/bootpuck/appliance/settings"
)

// BenchmarkMachineScript is a machine's question from the query to the script:
// who it is, what it boots, the text.
func BenchmarkMachineScript(b *testing.B) {
	doc := settings.Defaults()
	doc.State = b.TempDir()
	s, err := doc.Check()
	if err != nil {
		b.Fatal(err)
	}
	state := OpenState(b.Context(), doc.State, slog.New(slog.DiscardHandler))
	<-state.done
	box, err := New(Config{Settings: s, Bootfiles: loaders, State: state, Log: slog.New(slog.NewTextHandler(writerFunc(func(p []byte) (int, error) { return len(p), nil }), nil))})
	if err != nil {
		b.Fatal(err)
	}
	q := bootweb.Query{
		Name: "s", Base: "http://192.0.2.2", Addr: netip.MustParseAddr("192.0.2.50"),
		RawQuery: "mac=52:54:00:12:34:56&uuid=01234567-89ab-cdef-0123-456789abcdef&ip=192.0.2.50&platform=efi&buildarch=x86_64&version=2.0.0&product=Puck",
	}
	buf := make([]byte, 0, 16<<10)
	b.ReportAllocs()
	for b.Loop() {
		if text, out := (scripts{box}).Script(buf, q); out.Reason != "" || len(text) == 0 {
			b.Fatal(out, string(text))
		}
	}
}

// BenchmarkRecordOffer is what follows an OFFER: machines, memory, journal,
// metrics, log; every client is another one.
func BenchmarkRecordOffer(b *testing.B) {
	doc := settings.Defaults()
	doc.State = b.TempDir()
	s, err := doc.Check()
	if err != nil {
		b.Fatal(err)
	}
	state := OpenState(b.Context(), doc.State, slog.New(slog.DiscardHandler))
	<-state.done
	box, err := New(Config{Settings: s, Bootfiles: loaders, State: state, Log: slog.New(slog.NewTextHandler(writerFunc(func(p []byte) (int, error) { return len(p), nil }), nil))})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i++
		box.Record(boot.Event{
			Kind: boot.KindOffer, MAC: boot.MACOf([]byte{2, 0, byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i)}), ArchKnown: true,
			Arch: boot.ArchUEFIx64, Firmware: boot.FirmwareUEFI, Interface: "eth0", File: "x86_64/snponly.efi", Form: boot.FormDirect,
		})
	}
}
