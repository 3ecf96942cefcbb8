package boot

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
)

func fullEvent() Event {
	return Event{
		Seq: 7, Time: time.Date(2026, 3, 1, 12, 0, 0, 5000, time.UTC), Kind: KindForeign, Reason: ReasonNotFound, MAC: "52:54:00:12:34:56",
		GUID: GUID{1, 2, 3, 15: 9}, Addr: netip.MustParseAddr("192.0.2.5"), Interface: "eth0", XID: 0xdeadbeef, Arch: ArchUEFIx64, ArchKnown: true,
		Firmware: FirmwareUEFI, Form: FormDirect, File: "snponly.efi\x00<b>", Bytes: 5, Duration: 1234567 * time.Microsecond, Retries: 2, Text: "words",
		Class: "PXEClient", Secs: 12, Total: 9, Block: 1468, Acked: true, Attempt: "ab",
		Action: ActionBoot, Profile: "rescue", Elsewhere: true,
		Foreign: &Foreign{Type: "offer", Server: netip.MustParseAddr("192.0.2.1"), Port: 67, Your: netip.MustParseAddr("192.0.2.5"), File: "x", DNS: true, XID: 1},
		Shape:   &Shape{Form: FormTwoStep, Delay: 300 * time.Millisecond, Block: 512},
	}
}

// TestEventJSON: every field comes back as it was.
func TestEventJSONComesBack(t *testing.T) {
	full := fullEvent()
	v := reflect.ValueOf(full)
	for i := range v.NumField() {
		if v.Field(i).IsZero() {
			t.Errorf("field %s is not tested", v.Type().Field(i).Name)
		}
	}
	for _, want := range []Event{full, {}, {Arch: ArchBIOS, ArchKnown: true}, {Kind: KindProgress, Bytes: 0, Total: 5}} {
		b, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got Event
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatalf("%v\n%s", err, b)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got  %+v\nwant %+v\nfrom %s", got, want, b)
		}
	}
	var unknown Event
	b, _ := json.Marshal(Event{Arch: 4711, ArchKnown: true})
	if err := json.Unmarshal(b, &unknown); err != nil || !unknown.ArchKnown || unknown.Arch.String() != "unknown" {
		t.Errorf("architecture outside the registry: %+v, %v", unknown, err)
	}
}

func TestEventJSONRefuses(t *testing.T) {
	for doc, names := range map[string]string{
		`{"uuid":"x"}`:            "uuid",
		`{"addr":"x"}`:            "addr",
		`{"duration_ms":1e300}`:   "duration_ms",
		`{"seq":-1}`:              "seq",
		`{"foreign":{"port":-1}}`: "port",
		`[]`:                      "event",
	} {
		var e Event
		err := json.Unmarshal([]byte(doc), &e)
		if err == nil || !strings.Contains(err.Error(), names) {
			t.Errorf("%s: error %v, want one that names %s", doc, err, names)
		}
	}
}

func TestArchNamed(t *testing.T) {
	for _, info := range Archs() {
		if a, known := ArchNamed(info.Name); a != info.Arch || !known {
			t.Errorf("%s: %d, %v", info.Name, a, known)
		}
	}
	if _, known := ArchNamed("x"); known {
		t.Error("x is an architecture")
	}
}

// FuzzEventJSON: what can be read can be written, and reads the same again.
func FuzzEventJSON(f *testing.F) {
	b, err := json.Marshal(fullEvent())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"duration_ms":0.0005,"arch":"unknown"}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		var e, again Event
		if json.Unmarshal(doc, &e) != nil {
			return
		}
		first, err := json.Marshal(e)
		if err != nil {
			return // a time that RFC 3339 cannot express
		}
		if err := json.Unmarshal(first, &again); err != nil {
			t.Fatalf("%v\n%s", err, first)
		}
		second, err := json.Marshal(again)
		if err != nil || string(first) != string(second) {
			t.Fatalf("%v\n%s\n%s", err, first, second)
		}
	})
}
