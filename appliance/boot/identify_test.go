package boot

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func mustGUID(t testing.TB, s string) GUID {
	t.Helper()
	g, err := ParseGUID(s)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestUsableGUID(t *testing.T) {
	for s, want := range map[string]bool{
		"00000000-0000-0000-0000-000000000000": false,
		"ffffffff-ffff-ffff-ffff-ffffffffffff": false,
		"44444444-4444-4444-4444-444444444444": false, // Raspberry Pi 3
		"00020003-0004-0005-0006-000700080009": false,
		"03000200-0400-0500-0006-000700080009": false,
		"12345678-1234-5678-90AB-CDDEEFAABBCC": false,
		"78563412-3412-7856-90AB-CDDEEFAABBCC": false, // the same as pxelinux prints it
		"4c4c4544-0000-2010-8020-80c04f202020": false, // Dell without a service tag
		"44454c4c-0000-1020-8020-80c04f202020": false, // the same, swapped
		"4c4c4544-0020-2010-8020-80c04f202020": false,
		"fefefefe-fefe-fefe-fefe-fefefefefeff": false,
		"00000000-0000-0000-0000-000000000001": false,
		"00000000-0000-0000-0000-000000000002": true,
		"44454c4c-3900-104e-804e-b9c04f4d344a": true, // Dell with a service tag
		"01234567-89ab-cdef-0123-456789abcdef": true,
		"9c6b0076-9cc4-0000-0000-000000000000": true, // made from the card's address
		"ffffffff-ffff-ffff-ffff-fffffffffffe": true,
		"feffffff-ffff-ffff-ffff-ffffffffffff": true,
	} {
		if got := UsableGUID(mustGUID(t, s)); got != want {
			t.Errorf("UsableGUID(%s) = %v", s, got)
		}
	}
}

func TestUsableSerial(t *testing.T) {
	for _, s := range []string{
		"", " ", "To be filled by O.E.M.", "To Be Filled By O.E.M. by More String", "TO BE FILLED BY O.E.M", "Default string",
		"default", "System Serial Number", "SystemSerialNumb", "Chassis Serial Number", "None", "NONE", "N/A", "n/a", "NA", "0",
		"00000000", "0123456789", "01234567", "0123", "123456789", "1234567890", "12345678", "9876543210", "987654321", "0123456789ABCDEF",
		"123456789abcdef", "FFFFFFFF", "ffffffffffffffff", "XXXXXXXX", "xxxx", "....................", "        ", "-", "--------", "?",
		"INVALID", "Not Specified", "Not Applicable", "Not Available", "Not Present", "Unknown", "empty", "O.E.M.", "<BAD INDEX>",
		"(null)", "0x00000000", "0xFFFFFFFF", "FFFF0000", "\xff\xff\xff\xff", "ÿÿÿÿ", "A", "1111", "TBD", "Serial", strings.Repeat("7A", MaxClaim),
		"\x00\x01", "\xffA", "\u00a0A", strings.Repeat("7A", MaxClaim/2) + "B", "String", "nil", "No", "Unspecified", "Not Set", "Not Defined",
		"undefined", "Blank", "OEM", "S/N", "Serial No", "System Serial", "todo", "Standard", "Asset", "No Asset Tag", "Inventory", "error",
		"Uninitialized", "Fill by OEM", "Reserved",
	} {
		if UsableSerial(s) {
			t.Errorf("serial number %q is taken for one", s)
		}
	}
	for _, s := range []string{
		"5CG1234ABC", "SN1", "S1", "012345678A", "1234567891", "PF0ABCDE", "VMware-56 4d 1c 2a 9b 0e", "10", "012", "123", "0F1", "00000001",
		"7654-3210", "Müller 12", "Z0", "abc", "bcdef", "1234abcd", "Äß",
	} {
		if !UsableSerial(s) {
			t.Errorf("serial number %q is not taken for one", s)
		}
	}
	if !UsableSerial(strings.Repeat("7A", MaxClaim/2)) {
		t.Error("a serial number of the longest kept length is not taken for one")
	}
}

// shelf is a set of records with an index that answers too much: Identify has to
// look for itself.
type shelf []Machine

func (s shelf) where(fits func(*Machine) bool) []MachineID {
	var out []MachineID
	for i := range slices.Backward(s) {
		if fits(&s[i]) {
			out = append(out, s[i].ID)
		}
	}
	return append(out, "gone") // an index may be behind
}

func (s shelf) ByGUID(g GUID) []MachineID {
	return s.where(func(m *Machine) bool { return m.GUID == g })
}

func (s shelf) BySerial(maker, serial string) []MachineID {
	return s.where(func(m *Machine) bool { return m.Serial == serial && (maker == "" || m.Seen.Manufacturer == maker) })
}

func (s shelf) ByMAC(mac MAC) []MachineID {
	return s.where(func(m *Machine) bool { _, ok := m.nic(mac); return ok })
}

func (s shelf) Record(id MachineID) (Machine, bool) {
	for _, m := range s {
		if m.ID == id {
			m.ID = "" // not everybody fills it in
			return m, true
		}
	}
	return Machine{}, false
}

// gossip is an index that names every record, whatever it is asked for.
type gossip struct{ shelf }

func (g gossip) ByGUID(GUID) []MachineID             { return g.where(func(*Machine) bool { return true }) }
func (g gossip) BySerial(string, string) []MachineID { return g.ByGUID(GUID{}) }
func (g gossip) ByMAC(MAC) []MachineID               { return g.ByGUID(GUID{}) }

// described reads "id uuid=1 serial=x mac=a,b! maker=m known": "!" a given card,
// "~" a shared one. UUIDs and addresses are made of the letter or digit.
func described(t testing.TB, text string) Machine {
	t.Helper()
	words := strings.Fields(text)
	m := Machine{ID: MachineID(words[0])}
	for _, w := range words[1:] {
		key, value, _ := strings.Cut(w, "=")
		switch key {
		case "uuid":
			m.GUID = guidOf(t, value)
		case "serial":
			m.Serial = value
		case "maker":
			m.Seen.Manufacturer = value
		case "known":
			m.Name = "name"
		case "mac":
			for v := range strings.SplitSeq(value, ",") {
				m.MACs = append(m.MACs, NIC{
					MAC: macOf(strings.TrimRight(v, "!~")), Given: strings.Contains(v, "!"), Shared: strings.Contains(v, "~"),
				})
			}
		default:
			t.Fatalf("unknown word %q", w)
		}
	}
	return m
}

func macOf(s string) MAC { return MAC("52:54:00:00:00:" + strings.Repeat(s, 2)) }

func guidOf(t testing.TB, s string) GUID {
	t.Helper()
	switch s {
	case "junk":
		return mustGUID(t, "03000200-0400-0500-0006-000700080009")
	case "ff":
		return mustGUID(t, strings.Repeat("f", 32))
	}
	if rest, ok := strings.CutPrefix(s, "swapped"); ok {
		return guidOf(t, rest).Swapped()
	}
	return mustGUID(t, "01234567-89ab-cdef-0000-00000000000"+s)
}

func sighted(t testing.TB, text string) Sighting {
	t.Helper()
	m := described(t, "x "+text)
	s := Sighting{GUID: m.GUID, Serial: m.Serial, Manufacturer: m.Seen.Manufacturer}
	if len(m.MACs) > 0 {
		s.MAC = m.MACs[0].MAC
	}
	return s
}

func TestIdentify(t *testing.T) {
	for _, c := range []struct {
		name    string
		records string // separated by ";"
		told    string
		want    string // ID confidence [others] [+shared] [+new]
	}{
		{"nothing told", "", "", "- none"},
		{"junk told", "", "uuid=ff serial=None", "- none"},
		{"new by address", "", "mac=a", "- weak"},
		{"new by identifier", "", "mac=a uuid=1", "- good"},
		{"new by serial number", "", "mac=a serial=S1", "- good"},
		{"new by both", "", "mac=a uuid=1 serial=S1", "- full"},

		{"both agree", "m uuid=1 serial=S1 mac=a", "uuid=1 serial=S1 mac=a", "m full"},
		{"serial number in another case", "m uuid=1 serial=S1a mac=a", "uuid=1 serial=s1A mac=a", "m full"},
		{"swapped by the client", "m uuid=1 mac=a", "uuid=swapped1 mac=a", "m good"},
		{"swapped by the operator", "m uuid=swapped1 mac=a", "uuid=1 mac=a", "m good"},
		{"identifier only", "m uuid=1 mac=a", "uuid=1 mac=a", "m good"},
		{"identifier only, without address", "m uuid=1 mac=a", "uuid=1", "m good"},
		{"serial number not told this time", "m uuid=1 serial=S1 mac=a", "uuid=1 mac=a", "m good"},
		{"serial number told for the first time", "m uuid=1 mac=a", "uuid=1 serial=S1 mac=a", "m good"},
		{"junk serial number told", "m uuid=1 serial=S1 mac=a", "uuid=1 serial=None mac=a", "m good"},
		{"serial number only", "m serial=S1 mac=a", "serial=S1 mac=a", "m good"},
		{"serial number only, record has more", "m uuid=1 serial=S1 mac=a", "serial=S1 mac=a", "m good"},
		{"serial number, identifier new", "m serial=S1 mac=a", "uuid=1 serial=S1 mac=a", "m good"},
		{"junk identifier, serial number", "m serial=S1 mac=a", "uuid=junk serial=S1 mac=a", "m good"},
		{"maker agrees", "m serial=S1 maker=Acme mac=a", "serial=S1 maker=Acme mac=a", "m good"},
		{"maker in another case", "m serial=S1 maker=ACME mac=a", "serial=S1 maker=Acme mac=b", "m good +new"},
		{"another maker", "m serial=S1 maker=Acme mac=a", "serial=S1 maker=Other mac=b", "- good"},
		{"maker not told", "m serial=S1 maker=Acme mac=a", "serial=S1 mac=a", "m good"},
		{"record without a maker", "m serial=S1 mac=a", "serial=S1 maker=Acme mac=a", "m good"},

		{"a card never seen", "m uuid=1 mac=a", "uuid=1 mac=b", "m good +new"},
		{"the first card of all", "m uuid=1", "uuid=1 mac=b", "m good"},
		{"a card given", "m uuid=1 mac=a,b!", "uuid=1 mac=b", "m good"},

		{"address only", "m mac=a", "mac=a", "m weak"},
		{"address given", "m mac=a!", "mac=a", "m weak"},
		{"identifier for the first time", "m mac=a!", "mac=a uuid=1", "m weak"},
		{"serial number for the first time", "m mac=a!", "mac=a serial=S1", "m weak"},
		{"identifier not told", "m uuid=1 mac=a", "mac=a", "m weak"},
		{"junk instead of the identifier", "m uuid=1 mac=a", "mac=a uuid=ff", "m doubt"},
		{"a serial number instead of the identifier", "m uuid=1 mac=a", "mac=a serial=S2", "m doubt"},
		{"a serial number instead of the identifier, given", "m uuid=1 mac=a!", "mac=a serial=S2", "m doubt"},
		{"an identifier instead of the serial number", "m serial=S1 mac=a", "mac=a uuid=1", "m doubt"},
		{"junk, and the record has a serial number", "m serial=S1 mac=a", "mac=a uuid=ff", "m weak"},
		{"junk, as ever", "m mac=a", "mac=a uuid=ff", "m weak"},
		{"junk, and the record has junk", "m uuid=ff mac=a", "mac=a uuid=ff", "m weak"},

		// A dock: one card, many machines.
		{"dock comes with a new machine", "m uuid=1 mac=a,d", "uuid=2 mac=d", "- good m +shared"},
		{"dock comes with a new machine by serial number", "m serial=S1 mac=a,d", "serial=S2 mac=d", "- good m +shared"},
		{"dock comes with a known machine", "m uuid=1 mac=a,d;n uuid=2 mac=b", "uuid=2 mac=d", "n good m +shared +new"},
		{"dock that both know", "m uuid=1 mac=a,d;n uuid=2 mac=b,d", "uuid=2 mac=d", "n good m +shared"},
		{"dock alone", "m uuid=1 mac=a,d;n uuid=2 mac=b,d", "mac=d", "- shared m n +shared"},
		{"dock alone, by the flag", "m uuid=1 mac=a,d~", "mac=d", "- shared m +shared"},
		{"dock alone, again", "m uuid=1 mac=a,d;z mac=d", "mac=d", "z shared m +shared"},
		{"dock alone, two of these", "m uuid=1 mac=a,d;y mac=d;z mac=d", "mac=d", "y shared m z +shared"},
		{"dock alone, record with junk", "m uuid=1 mac=a,d;z uuid=ff serial=None mac=d", "mac=d", "z shared m +shared"},
		{"dock alone, record with a serial number", "m uuid=1 mac=a,d;z serial=S9 mac=d", "mac=d", "- shared m z +shared"},
		{"dock alone, given to one", "m uuid=1 mac=a,d;n uuid=2 mac=b,d!", "mac=d", "n shared m +shared"},
		{"dock alone, given to one, besides a record by address", "a mac=d;n uuid=2 mac=b,d!", "mac=d", "n shared a +shared"},
		{"dock by the flag, known machine", "m uuid=1 mac=a,d~", "uuid=1 mac=d", "m good +shared"},
		{"dock by the flag of another", "m uuid=1 mac=a,d;n mac=d~", "uuid=1 mac=d", "m good n +shared"},
		{"dock given to one comes with another", "m uuid=1 mac=a,d!;n uuid=2 mac=b", "uuid=2 mac=d", "n doubt m +shared +new"},
		{"dock given to one comes with a new one", "m uuid=1 mac=a,d!", "uuid=3 mac=d", "- doubt m +shared"},
		{"dock given to both", "m uuid=1 mac=a,d!;n uuid=2 mac=b,d!", "uuid=2 mac=d", "n good m +shared"},
		{"dock on its owner", "m uuid=1 mac=a,d!;n uuid=2 mac=b,d", "uuid=1 mac=d", "m good n +shared"},
		{"dock with the flag, unknown machine", "m mac=d~", "uuid=3 mac=d", "- good m +shared"},
		{"dock given, with the flag, unknown machine", "m mac=d~!", "uuid=3 mac=d", "- doubt m +shared"},

		// Boards with one identifier for a whole series.
		{"clone by serial number", "m uuid=1 serial=S1 mac=a", "uuid=1 serial=S2 mac=b", "- doubt m"},
		{"clones told apart by serial number", "m uuid=1 serial=S1 mac=a;n uuid=1 serial=S2 mac=b", "uuid=1 serial=S2 mac=b", "n full"},
		{"clones told apart by address", "m uuid=1 serial=S1 mac=a;n uuid=1 serial=S2 mac=b", "uuid=1 mac=b", "n weak m"},
		{"clones without serial number", "m uuid=1 mac=a;n uuid=1 mac=b", "uuid=1 mac=a", "m weak n"},
		{"a third clone", "m uuid=1 mac=a;n uuid=1 mac=b", "uuid=1 mac=c", "- doubt m n"},
		{"clones, no address", "n uuid=1 mac=a;m uuid=1 mac=b", "uuid=1", "m doubt n"},
		{"clones with one dock", "m uuid=1 mac=d;n uuid=1 mac=d", "uuid=1 mac=d", "m doubt n +shared"},
		{"clones with one dock, given", "m uuid=1 mac=d;n uuid=1 mac=d!", "uuid=1 mac=d", "n weak m +shared"},
		{"clones, one in each order", "m uuid=1 mac=a;n uuid=swapped1 mac=b", "uuid=1 mac=b", "n weak m"},
		{"two records of one machine", "m uuid=1 serial=S1 mac=a;n uuid=1 serial=S1 mac=b", "uuid=1 serial=S1 mac=b", "n weak m"},
		{"two records of one machine, new card", "m uuid=1 serial=S1 mac=a;n uuid=1 serial=S1 mac=b", "uuid=1 serial=S1 mac=c", "- doubt m n"},
		{"clone whose record has no serial number yet", "m uuid=1 serial=S1 mac=a;n uuid=1 mac=b", "uuid=1 serial=S2 mac=b", "n doubt m"},
		{"clone whose record has no serial number yet, written down", "m uuid=1 serial=S1 mac=a;n uuid=1 mac=b!", "uuid=1 serial=S2 mac=b", "n weak m"},

		// Serial numbers used twice, or kept while the board was replaced.
		{"new board", "m uuid=1 serial=S1 mac=a", "uuid=2 serial=S1 mac=b", "- doubt m"},
		{"serial number used twice", "m serial=S1 mac=a;n serial=S1 mac=b", "serial=S1 mac=b", "n weak m"},
		{"serial number used twice, new card", "m serial=S1 mac=a;n serial=S1 mac=b", "serial=S1 mac=c", "- doubt m n"},
		{"serial number used twice, one has another identifier", "m serial=S1 mac=a;n uuid=1 serial=S1 mac=b", "uuid=2 serial=S1 mac=a", "m doubt n"},
		{"serial number used twice, one has another identifier, written down", "m serial=S1 mac=a!;n uuid=1 serial=S1 mac=b", "uuid=2 serial=S1 mac=a", "m weak n"},

		// They point to different machines.
		{"identifier here, serial number there", "m uuid=1 mac=a;n serial=S1 mac=b", "uuid=1 serial=S1 mac=a", "m doubt n"},
		{"identifier here, serial number there, new card", "m uuid=1 mac=a;n serial=S1 mac=b", "uuid=1 serial=S1 mac=c", "m doubt n +new"},
		{"identifier here with another number, serial number there", "m uuid=1 serial=S9 mac=a;n serial=S1 mac=b", "uuid=1 serial=S1 mac=b", "n doubt m"},
		{"both elsewhere", "m uuid=1 serial=S9 mac=a;n uuid=2 serial=S1 mac=b", "uuid=1 serial=S1 mac=b", "- doubt m n"},
		{"identifier here, record by address there", "m uuid=1 mac=a;n mac=b", "uuid=1 mac=b", "m good n +new"},
		{"identifier here, given address there", "m uuid=1 mac=a;n mac=b!", "uuid=1 mac=b", "m doubt n +new"},
		{"serial number here, given address there", "m serial=S1 mac=a;n uuid=2 mac=b!", "serial=S1 mac=b", "m doubt n +new"},

		// The operator describes a machine that had been recorded by itself.
		{"described later", "m uuid=1 mac=a;n mac=a! known", "uuid=1 mac=a", "n weak m"},
		{"described later, serial number", "m uuid=1 serial=S1 mac=a;n mac=a! known", "uuid=1 serial=S1 mac=a", "n weak m"},
		{"described later, but both are the operator's", "m uuid=1 mac=a known;n mac=a! known", "uuid=1 mac=a", "m doubt n"},
		{"described by the dock", "m uuid=1 mac=b,a;n mac=a! known", "uuid=1 mac=a", "m doubt n"},
		{"described by the dock, first visit", "m uuid=1 mac=b;n mac=a! known", "uuid=1 mac=a", "m doubt n +new"},
		{"described by a dock that others had", "m uuid=1 mac=a;o uuid=2 mac=a;n mac=a! known", "uuid=1 mac=a", "m doubt n o +shared"},
		{"described with the identifier too", "m uuid=1 serial=S1 mac=a;n uuid=1 mac=a! known", "uuid=1 serial=S1 mac=a", "n weak m"},
		{"described by a shared card", "m uuid=1 mac=a;n mac=a!~ known", "uuid=1 mac=a", "m doubt n +shared"},
		{"described by a card shared here", "m uuid=1 mac=a~;n mac=a! known", "uuid=1 mac=a", "m doubt n +shared"},
		{"described with another identifier", "m uuid=1 mac=a;n uuid=2 mac=a! known", "uuid=1 mac=a", "m doubt n +shared"},
		{"described with another serial number", "m uuid=1 serial=S1 mac=a;n serial=S2 mac=a! known", "uuid=1 serial=S1 mac=a", "m doubt n +shared"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var records shelf
			for text := range strings.SplitSeq(c.records, ";") {
				if text != "" {
					records = append(records, described(t, text))
				}
			}
			got := Identify(records, sighted(t, c.told))
			if got.Why == "" || strings.HasSuffix(got.Why, ".") {
				t.Errorf("why: %q", got.Why)
			}
			if text := identityText(got); text != c.want {
				t.Errorf("got %q, want %q (%s)", text, c.want, got.Why)
			}
			if other := Identify(gossip{records}, sighted(t, c.told)); identityText(other) != c.want {
				t.Errorf("the index decides: %q, want %q", identityText(other), c.want)
			}
		})
	}
}

// hoard is an index that keeps what it answers with.
type hoard struct {
	shelf
	kept []MachineID
}

func (h hoard) ByMAC(MAC) []MachineID { return h.kept }

func TestIdentifyLeavesTheIndexAlone(t *testing.T) {
	h := hoard{shelf{described(t, "a mac=d"), described(t, "b mac=d")}, []MachineID{"b", "a", "b"}}
	Identify(h, sighted(t, "mac=d"))
	if !slices.Equal(h.kept, []MachineID{"b", "a", "b"}) {
		t.Errorf("the index is sorted: %v", h.kept)
	}
	// A damaged record has an empty address: it is nobody's.
	damaged := gossip{shelf{{ID: "a", MACs: []NIC{{}}}}}
	if got := Identify(damaged, Sighting{}); got.ID != "" || got.Confidence != ConfidenceNone {
		t.Errorf("a client without an address is %+v", got)
	}
}

// TestIdentifySays what is wrong, for the operator to act on.
func TestIdentifySays(t *testing.T) {
	for _, c := range []struct{ records, told, why string }{
		{"m uuid=1 mac=a,d!;n uuid=2 mac=b", "uuid=2 mac=d", "the operator gave this hardware address to another machine"},
		{"m uuid=1 mac=a", "mac=a uuid=ff", "tells nothing of the identifier or serial number that it has"},
		{"m uuid=1 mac=a,d!", "uuid=3 mac=d", "the operator gave this hardware address to a machine with another identifier"},
		{"m uuid=1 mac=a,d", "uuid=3 mac=d", "came with other machines before"},
		{"m uuid=1 mac=a;n mac=a! known", "uuid=1 mac=a", "merge the record that was made by itself"},
	} {
		var records shelf
		for text := range strings.SplitSeq(c.records, ";") {
			records = append(records, described(t, text))
		}
		if got := Identify(records, sighted(t, c.told)); !strings.Contains(got.Why, c.why) {
			t.Errorf("%s: %s", c.told, got.Why)
		}
	}
}

func identityText(id Identity) string {
	text := string(id.ID)
	if text == "" {
		text = "-"
	}
	text += " " + string(id.Confidence)
	for _, o := range id.Others {
		text += " " + string(o)
	}
	if id.SharedMAC {
		text += " +shared"
	}
	if id.NewMAC {
		text += " +new"
	}
	return text
}

// TestIdentifyIsBounded: a stranger fills the index of one address; the machine
// that has an identity of its own is found all the same.
func TestIdentifyIsBounded(t *testing.T) {
	var records shelf
	for i := range 5000 {
		records = append(records, Machine{ID: MachineID(fmt.Sprintf("a%04d", i)), MACs: []NIC{{MAC: macOf("d")}}})
	}
	records = append(records, described(t, "z uuid=1 serial=S1 mac=d"))
	got := Identify(records, sighted(t, "uuid=1 serial=S1 mac=d"))
	if got.ID != "z" || got.Confidence != ConfidenceFull || got.NewMAC || len(got.Others) != maxCandidates {
		t.Errorf("got %s, %d others", got.ID, len(got.Others))
	}
}

func TestKnown(t *testing.T) {
	for _, c := range []struct {
		name string
		m    Machine
		want bool
	}{
		{"nothing", Machine{}, false},
		{"seen only", Machine{GUID: GUID{1}, Serial: "S1", MACs: []NIC{{MAC: macOf("a")}}, Boots: 3}, false},
		{"named", Machine{Name: "x"}, true},
		{"allowed", Machine{Access: AccessAllow}, true},
		{"denied", Machine{Access: AccessDeny}, true},
		{"in a group", Machine{Groups: []string{"g"}}, true},
		{"assigned", Machine{Assignment: &Assignment{}}, true},
		{"card written down", Machine{MACs: []NIC{{MAC: macOf("a")}, {MAC: macOf("b"), Given: true}}}, true},
		{"a note lets nobody in", Machine{Notes: "stolen, do not boot", Tags: []string{"stolen"}, Variables: map[string]string{"a": "b"}}, false},
	} {
		if got := c.m.Known(); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestSightingOf(t *testing.T) {
	at := time.Unix(1000, 0)
	c := Client{MAC: macOf("a"), GUID: GUID{1}, Firmware: FirmwareUEFI, Arch: ArchUEFIx64, ArchKnown: true}
	s := SightingOf(c, at, netip.MustParseAddr("::ffff:192.0.2.7"), "eth0")
	want := Sighting{
		Time: at, MAC: macOf("a"), GUID: GUID{1}, Addr: netip.MustParseAddr("192.0.2.7"), CPU: "x86_64", Firmware: FirmwareUEFI,
		Platform: PlatformUEFI, Arch: ArchUEFIx64, ArchKnown: true, ArchName: "uefi-x64", Interface: "eth0",
	}
	if fmt.Sprint(s) != fmt.Sprint(want) {
		t.Errorf("got %+v", s)
	}
	s = SightingOf(Client{MAC: macOf("a"), Firmware: FirmwareIPXE, IPXE: IPXE{Version: [3]byte{1, 21, 0}}}, at, netip.IPv4Unspecified(), "")
	if s.IPXE != "1.21.0" || s.Addr.IsValid() || s.ArchName != "" || s.ArchKnown || s.Platform != "" {
		t.Errorf("got %+v", s)
	}
	s = SightingOf(Client{Firmware: FirmwareRPi, Arch: ArchBIOS, ArchKnown: true}, at, netip.Addr{}, "")
	if s.Platform != PlatformRPI || s.CPU != "" || s.ArchName != "bios" || s.IPXE != "" {
		t.Errorf("a Raspberry Pi passes for a PC: %+v", s)
	}
}

func TestMerge(t *testing.T) {
	old := Sighting{
		Time: time.Unix(100, 0), MAC: macOf("a"), GUID: GUID{1}, Addr: netip.MustParseAddr("192.0.2.1"), Serial: "S1", Manufacturer: "M",
		Product: "P", Asset: "A", Hostname: "H", NIC: "chip", Memory: 512, CPU: "i386", Firmware: FirmwareBIOS, Platform: PlatformBIOS,
		Arch: ArchBIOS, ArchKnown: true, ArchName: "bios", SecureBoot: SecureBootOff, IPXE: "1.20", Interface: "eth0",
		Variables: map[string]string{"ip": "192.0.2.1"},
	}
	if got := old.Merge(Sighting{}); fmt.Sprint(got) != fmt.Sprint(old) {
		t.Errorf("nothing told changes something: %+v", got)
	}
	if got := (Sighting{}).Merge(old); fmt.Sprint(got) != fmt.Sprint(old) {
		t.Errorf("first look: %+v", got)
	}
	newer := Sighting{
		Time: time.Unix(200, 0), MAC: macOf("a"), GUID: GUID{2}, Addr: netip.MustParseAddr("192.0.2.2"), Serial: "S2", Manufacturer: "M2",
		Product: "P2", Asset: "A2", Hostname: "H2", NIC: "chip2", Memory: 1024, CPU: "x86_64", Firmware: FirmwareIPXE, Platform: PlatformUEFI,
		Arch: ArchUEFIx64, ArchKnown: true, ArchName: "uefi-x64", SecureBoot: SecureBootOn, IPXE: "1.21", Interface: "eth1",
		Variables: map[string]string{"ip": "192.0.2.2"},
	}
	if got := old.Merge(newer); fmt.Sprint(got) != fmt.Sprint(newer) {
		t.Errorf("what is newer does not count: %+v", got)
	}
	// The other firmware interface of the same machine: nothing of the old one.
	got := newer.Merge(Sighting{Time: time.Unix(150, 0), Platform: PlatformBIOS})
	if got.SecureBoot != "" || got.IPXE != "" || got.CPU != "" || got.ArchKnown || got.ArchName != "" || got.Arch != 0 || got.Serial != "S2" ||
		!got.Time.Equal(newer.Time) {
		t.Errorf("UEFI outlives a start by BIOS: %+v", got)
	}
	if got = newer.Merge(Sighting{Platform: PlatformUEFI}); got.SecureBoot != SecureBootOn || got.CPU != "x86_64" || !got.ArchKnown {
		t.Errorf("the same interface forgets: %+v", got)
	}
	if got = newer.Merge(Sighting{MAC: macOf("b")}); got.NIC != "" || got.Addr.IsValid() || got.MAC != macOf("b") {
		t.Errorf("a card's chip and address outlive the card: %+v", got)
	}
	if got = newer.Merge(Sighting{MAC: macOf("a"), Memory: 1}); got.NIC != "chip2" || got.Addr != newer.Addr || got.Memory != 1 {
		t.Errorf("the same card: %+v", got)
	}
	if got = old.Merge(Sighting{Product: strings.Repeat("x", 999) + "\n"}); got.Product != strings.Repeat("x", MaxClaim) {
		t.Errorf("product of %d octets", len(got.Product))
	}
}

func TestClaim(t *testing.T) {
	long := strings.Repeat("x", MaxClaim-1)
	for in, want := range map[string]string{
		"":                                    "",
		" a b ":                               "a b",
		"a\nb\x00c\x7f":                       "a?b?c?",
		"Müller":                              "Müller",
		"a\u202eb\u2028c":                     "a?b?c",
		"a\u200fb\u2067c\u0085":               "a?b?c?",
		"\xff\xfe":                            "??",
		"~":                                   "~",
		long + "é":                            long,
		long + "é" + long:                     long,
		long + "\xff":                         long + "?",
		long[4:] + strings.Repeat("\xff", 10): long[4:] + "??",
		long[2:] + "\ufffd" + long:            long[2:] + "?",
		long[1:] + "é":                        long[1:] + "é",
		long[1:] + "\U0001f600":               long[1:],
	} {
		if got := Claim(in); got != want {
			t.Errorf("Claim(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestPrintable(t *testing.T) {
	for r, want := range map[rune]bool{
		0: false, 0x1f: false, ' ': true, '~': true, 0x7f: false, 0x9f: false, 0xa0: true, 0x200a: true, 0x200b: false, 0x200f: false,
		0x2010: true, 0x2027: true, 0x2028: false, 0x202e: false, 0x202f: true, 0x205f: true, 0x2060: false, 0x2069: false, 0x206a: true,
		0xfefe: true, 0xfeff: false, 0xff00: true, utf8.RuneError: false, 0x1f600: true,
	} {
		if printable(r) != want {
			t.Errorf("%#x: %v", r, !want)
		}
	}
}

func TestGUIDText(t *testing.T) {
	type doc struct {
		GUID GUID `json:"uuid,omitzero"`
	}
	var d doc
	if err := json.Unmarshal([]byte(`{"uuid":"{01234567-89AB-cdef-0123-456789abcdef}"}`), &d); err != nil {
		t.Fatal(err)
	}
	out, err := json.Marshal(d)
	if err != nil || string(out) != `{"uuid":"01234567-89ab-cdef-0123-456789abcdef"}` {
		t.Errorf("%s, %v", out, err)
	}
	if err := json.Unmarshal([]byte(`{"uuid":"nonsense"}`), &d); err == nil || d.GUID.IsZero() {
		t.Errorf("nonsense is read, or clears the value: %v, %v", d.GUID, err)
	}
	if err := json.Unmarshal([]byte(`{"uuid":""}`), &d); err != nil || !d.GUID.IsZero() {
		t.Errorf("an empty text: %v, %v", d.GUID, err)
	}
	if out, err = json.Marshal(d); err != nil || string(out) != `{}` {
		t.Errorf("%s, %v", out, err)
	}
	if out, err = (GUID{}).MarshalText(); err != nil || len(out) != 0 {
		t.Errorf("%q, %v", out, err)
	}
}

func FuzzUsableSerial(f *testing.F) {
	for _, s := range []string{"", "To be filled by O.E.M.", "5CG1234ABC", "\xff\xff", "0123", "ÿÿÿ"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ok := UsableSerial(s)
		if ok && (len(s) > MaxClaim || strings.Trim(s, "0 ") == "") {
			t.Errorf("%q is taken for a serial number", s)
		}
		if ok != UsableSerial(" "+strings.ToUpper(s)+" ") && plain(s) && len(s) < MaxClaim-2 {
			t.Errorf("%q: case or spaces decide", s)
		}
		if c := Claim(s); len(c) > MaxClaim || !utf8.ValidString(c) || strings.ContainsAny(c, "\r\n\x00") {
			t.Errorf("Claim(%q) = %q", s, c)
		}
	})
}

func FuzzIdentify(f *testing.F) {
	f.Add("1", "S1", "a", "1", "S2", "a", uint8(0))
	f.Add("1", "", "d", "2", "", "d", uint8(3))
	f.Add("ff", "None", "a", "1", "S1", "b", uint8(9))
	f.Fuzz(func(t *testing.T, uuid, serial, mac, uuid2, serial2, mac2 string, flags uint8) {
		read := func(s string) GUID {
			var g GUID
			copy(g[:], s)
			return g
		}
		// The second record is the one a stranger wants to be taken for.
		records := shelf{
			{ID: "a", GUID: read(uuid), Serial: serial, MACs: []NIC{{MAC: MAC(mac), Given: flags&1 != 0, Shared: flags&2 != 0}}},
			{ID: "b", GUID: read(uuid2), Serial: serial2, MACs: []NIC{{MAC: MAC(mac2), Given: flags&4 != 0, Shared: flags&8 != 0}}},
		}
		told := Sighting{GUID: read(uuid), Serial: serial2, MAC: MAC(mac)}
		got := Identify(records, told)
		again := Identify(shelf{records[1], records[0]}, told)
		if identityText(got) != identityText(again) {
			t.Errorf("the order of records decides: %s, %s", identityText(got), identityText(again))
		}
		if slices.Contains(got.Others, got.ID) {
			t.Error("a machine is another one than itself")
		}
		m, ok := records.Record(got.ID)
		if got.ID != "" && !ok {
			t.Fatalf("identified as %q, which does not exist", got.ID)
		}
		switch got.Confidence {
		case ConfidenceFull:
			if got.ID != "" && (!m.GUID.Matches(told.GUID) || !SameSerial(m.Serial, told.Serial) || !UsableGUID(m.GUID) || !UsableSerial(m.Serial)) {
				t.Errorf("full without agreement: %+v %+v", m, told)
			}
		case ConfidenceGood:
			if got.ID != "" && (!UsableGUID(m.GUID) || !m.GUID.Matches(told.GUID)) && (!UsableSerial(m.Serial) || !SameSerial(m.Serial, told.Serial)) {
				t.Errorf("good without reason: %+v %+v", m, told)
			}
		case ConfidenceWeak:
			if _, has := m.nic(told.MAC); got.ID != "" && !has {
				t.Errorf("weak by an address that it does not have: %+v %+v", m, told)
			}
		case ConfidenceNone:
			if got.ID != "" || told.MAC != "" {
				t.Errorf("none, but %+v", got)
			}
		case ConfidenceDoubt, ConfidenceShared:
		}
	})
}
