package boot

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// The tests of this file are about what could make a disk be overwritten, or a
// secret be given away, where it must not.

// TestNothingDestructiveByChance goes through every combination of what a
// decision depends on: a destructive target is only ever handed out armed, to a
// machine that is proven, while waiting and in time.
func TestNothingDestructiveByChance(t *testing.T) {
	catalogs := map[string]*Catalog{
		"rules, groups and default that wipe": siteOf(t, func(d *documents) {
			d.groups[0].Profile, d.site.Default = "wipe", "wipe"
			for i := range d.rules {
				d.rules[i].Profile, d.rules[i].Off = "wipe", false
			}
		}),
		"behind a router": siteOf(t, func(d *documents) { d.site.TrustRouted, d.groups[0].Profile = true, "wipe" }),
		"ask":             siteOf(t, func(d *documents) { d.site.Unknown, d.site.Default = UnknownAsk, "wipe" }),
	}
	states := []AssignState{"", AssignWaiting, AssignRunning, AssignDone, AssignFailed, AssignExpired, AssignUsedUp, AssignStopped, AssignDisarmed}
	modes := []AssignMode{"", AssignAlways, AssignOnce, AssignArmed}
	proofs := []Proof{ProofNone, ProofSeen, ProofAgainst}
	levels := []Confidence{ConfidenceFull, ConfidenceGood, ConfidenceWeak, ConfidenceNone, ConfidenceDoubt, ConfidenceShared, ""}
	if testing.Short() {
		levels = []Confidence{ConfidenceFull, ConfidenceWeak, ConfidenceDoubt}
		delete(catalogs, "ask")
	}
	handed, decisions := 0, 0
	for name, catalog := range catalogs {
		fresh := *assignment(t, catalog, "wipe", AssignArmed)
		for _, mode := range modes {
			for _, state := range states {
				for _, proof := range proofs {
					for _, level := range levels {
						for bits := range 64 {
							m, s := asking()
							m.Groups = []string{"lab"}
							s.Proof, s.Confidence = proof, level
							s.Routed, s.NewMAC, s.Let = bits&1 != 0, bits&2 != 0, bits&4 != 0
							if bits&8 != 0 {
								s.Now = noon.Add(2 * ArmTime)
							}
							if mode != "" || bits&16 != 0 {
								a := fresh
								a.Mode, a.State, m.Assignment = mode, state, &a
							}
							if bits&32 != 0 {
								m.MACs = []NIC{{MAC: macOf("b"), First: noon.Add(-time.Hour)}}
							}
							got := Choose(catalog, m, s)
							decisions++
							_, target, _ := catalog.Resolve(got.Profile)
							if !target.Destructive {
								continue
							}
							handed++
							proven := proof == ProofSeen || proof == ProofNone && s.Routed && catalog.Site.TrustRouted
							sure := level == ConfidenceFull || level == ConfidenceGood
							if got.Action != ActionArmed || mode != AssignArmed || state != AssignWaiting || !proven || !sure || s.NewMAC || bits&8 != 0 || bits&32 != 0 {
								t.Fatalf("%s: handed out: %+v %+v %+v", name, got, *m.Assignment, s)
							}
						}
					}
				}
			}
		}
	}
	if handed == 0 || handed == decisions {
		t.Errorf("%d of %d decisions handed it out: the test sees nothing", handed, decisions)
	}
}

// TestSensitiveNeedsProof: the same for everything that is for one machine
// alone, by each thing that can be wrong with who asks.
func TestSensitiveNeedsProof(t *testing.T) {
	own := []NIC{{MAC: "52:54:00:00:00:aa"}}
	for _, c := range []struct {
		name string
		site func(*documents)
		with func(*Machine, *Situation)
		want Reason
	}{
		{"proven", nil, func(*Machine, *Situation) {}, ""},
		{"another machine's address", nil, func(_ *Machine, s *Situation) { s.Proof = ProofAgainst }, ReasonIdentityAgainst},
		{"another machine's address, behind a router", func(d *documents) { d.site.TrustRouted = true }, func(_ *Machine, s *Situation) { s.Proof, s.Routed = ProofAgainst, true }, ReasonIdentityAgainst},
		{"nothing proven", nil, func(_ *Machine, s *Situation) { s.Proof = ProofNone }, ReasonIdentityUnproven},
		{"a proof of another version", nil, func(_ *Machine, s *Situation) { s.Proof = "perhaps" }, ReasonIdentityUnproven},
		{"behind a router", nil, func(_ *Machine, s *Situation) { s.Proof, s.Routed = ProofNone, true }, ReasonIdentityUnproven},
		{"behind a trusted router", func(d *documents) { d.site.TrustRouted = true }, func(_ *Machine, s *Situation) { s.Proof, s.Routed = ProofNone, true }, ""},
		{"routers are trusted, but it is on this LAN", func(d *documents) { d.site.TrustRouted = true }, func(_ *Machine, s *Situation) { s.Proof = ProofNone }, ReasonIdentityUnproven},
		{"behind a trusted router, no address told", func(d *documents) { d.site.TrustRouted = true }, func(_ *Machine, s *Situation) { s.Proof, s.Routed, s.Sighting.MAC = ProofNone, true, "" }, ReasonIdentityDoubt},
		{"behind a trusted router, in doubt", func(d *documents) { d.site.TrustRouted = true }, func(_ *Machine, s *Situation) { s.Proof, s.Routed, s.Confidence = ProofNone, true, ConfidenceDoubt }, ReasonIdentityDoubt},

		{"in doubt", nil, func(_ *Machine, s *Situation) { s.Confidence = ConfidenceDoubt }, ReasonIdentityDoubt},
		{"a dock", nil, func(_ *Machine, s *Situation) { s.Confidence = ConfidenceShared }, ReasonIdentityDoubt},
		{"nobody", nil, func(_ *Machine, s *Situation) { s.Confidence = ConfidenceNone }, ReasonIdentityDoubt},
		{"nobody said", nil, func(_ *Machine, s *Situation) { s.Confidence = "" }, ReasonIdentityDoubt},

		{"by identifier", nil, func(_ *Machine, s *Situation) { s.Confidence = ConfidenceGood }, ""},
		{"by identifier, one card and no serial number", nil, func(m *Machine, s *Situation) { s.Confidence, m.Serial = ConfidenceGood, "" }, ""},
		{"by an identifier that several cards came with", nil, func(m *Machine, s *Situation) {
			s.Confidence, m.Serial = ConfidenceGood, ""
			m.MACs = append([]NIC{{MAC: macOf("b")}}, own...)
		}, ReasonIdentityDoubt},
		{"the same, and a serial number that says nothing", nil, func(m *Machine, s *Situation) {
			s.Confidence, m.Serial = ConfidenceGood, "None"
			m.MACs = append([]NIC{{MAC: macOf("b")}}, own...)
		}, ReasonIdentityDoubt},
		{"the same, and the record has a serial number", nil, func(m *Machine, s *Situation) {
			s.Confidence = ConfidenceGood
			m.MACs = append([]NIC{{MAC: macOf("b")}}, own...)
		}, ""},
		{"the same, and the operator wrote the card down", nil, func(m *Machine, s *Situation) {
			s.Confidence, m.Serial = ConfidenceGood, ""
			m.MACs = []NIC{{MAC: macOf("b")}, {MAC: own[0].MAC, Given: true}}
		}, ""},

		{"by address, the machine tells no identifier", nil, func(m *Machine, s *Situation) {
			s.Confidence, s.Sighting.GUID, m.GUID = ConfidenceWeak, GUID{}, GUID{}
		}, ""},
		{"by address, it has an identifier but did not tell it", nil, func(_ *Machine, s *Situation) {
			s.Confidence, s.Sighting.GUID = ConfidenceWeak, GUID{}
		}, ReasonIdentityDoubt},
		{"by address, with an identifier that nobody knew", nil, func(m *Machine, s *Situation) {
			s.Confidence, m.GUID = ConfidenceWeak, GUID{}
		}, ReasonIdentityDoubt},
		{"by address, with junk for an identifier", nil, func(m *Machine, s *Situation) {
			s.Confidence, m.GUID, s.Sighting.GUID = ConfidenceWeak, GUID{}, GUID{15: 1}
		}, ReasonIdentityDoubt},
		{"by the address that the operator wrote down", nil, func(m *Machine, s *Situation) {
			s.Confidence, m.MACs = ConfidenceWeak, []NIC{{MAC: own[0].MAC, Given: true}}
		}, ""},
		{"by a shared address that the operator wrote down", nil, func(m *Machine, s *Situation) {
			s.Confidence, m.MACs = ConfidenceWeak, []NIC{{MAC: own[0].MAC, Given: true, Shared: true}}
		}, ReasonIdentityDoubt},
		{"by a shared address, no identifier", nil, func(m *Machine, s *Situation) {
			s.Confidence, s.Sighting.GUID, m.GUID = ConfidenceWeak, GUID{}, GUID{}
			m.MACs = []NIC{{MAC: own[0].MAC, Shared: true}}
		}, ReasonIdentityDoubt},

		{"a card never seen", nil, func(_ *Machine, s *Situation) { s.NewMAC = true }, ReasonIdentityNewNIC},
		{"a card never seen, by the record", nil, func(m *Machine, _ *Situation) { m.MACs = []NIC{{MAC: macOf("b")}} }, ReasonIdentityNewNIC},
		{"a card written down", nil, func(m *Machine, s *Situation) {
			s.NewMAC, m.MACs = true, []NIC{{MAC: macOf("b")}, {MAC: own[0].MAC, Given: true, First: noon.Add(time.Hour)}}
		}, ""},
		{"the first card of a machine that was described by its identifier", nil, func(m *Machine, _ *Situation) { m.MACs = nil }, ""},
		{"the same, put on record by the DHCP exchange before", nil, func(m *Machine, _ *Situation) {
			m.MACs = []NIC{{MAC: own[0].MAC, First: noon.Add(time.Minute)}}
		}, ""},
		{"a card seen after arming, besides one that was known", nil, func(m *Machine, _ *Situation) {
			m.MACs = []NIC{{MAC: macOf("b"), First: noon.Add(-time.Hour)}, {MAC: own[0].MAC, First: noon.Add(time.Minute)}}
		}, ReasonIdentityNewNIC},
		{"a card seen after arming, besides one that was written down", nil, func(m *Machine, _ *Situation) {
			m.MACs = []NIC{{MAC: macOf("b"), Given: true, First: noon.Add(time.Hour)}, {MAC: own[0].MAC, First: noon.Add(time.Minute)}}
		}, ReasonIdentityNewNIC},
		{"two cards that were seen before arming", nil, func(m *Machine, _ *Situation) {
			m.MACs = []NIC{{MAC: macOf("b"), First: noon.Add(-time.Hour)}, {MAC: own[0].MAC, First: noon.Add(-time.Minute)}}
		}, ""},
		{"seen in the moment of arming", nil, func(m *Machine, _ *Situation) {
			m.MACs = []NIC{{MAC: macOf("b"), First: noon.Add(-time.Hour)}, {MAC: own[0].MAC, First: noon}}
		}, ""},
		{"two cards seen after arming: the first one", nil, func(m *Machine, _ *Situation) {
			m.MACs = []NIC{{MAC: macOf("b"), First: noon.Add(2 * time.Minute)}, {MAC: own[0].MAC, First: noon.Add(time.Minute)}}
		}, ""},
		{"two cards seen after arming: the second one", nil, func(m *Machine, _ *Situation) {
			m.MACs = []NIC{{MAC: macOf("b"), First: noon.Add(time.Minute)}, {MAC: own[0].MAC, First: noon.Add(2 * time.Minute)}}
		}, ReasonIdentityNewNIC},
		{"so many cards that the old ones may have been pushed out", nil, func(m *Machine, _ *Situation) {
			m.MACs = []NIC{{MAC: own[0].MAC, First: noon.Add(time.Minute)}}
			for i := range MaxMACs - 1 {
				m.MACs = append(m.MACs, NIC{MAC: MACOf([]byte{2, 0, 0, 0, 0, byte(i)}), First: noon.Add(time.Hour)})
			}
		}, ReasonIdentityNewNIC},
		{"one card less", nil, func(m *Machine, _ *Situation) {
			m.MACs = []NIC{{MAC: own[0].MAC, First: noon.Add(time.Minute)}}
			for i := range MaxMACs - 2 {
				m.MACs = append(m.MACs, NIC{MAC: MACOf([]byte{2, 0, 0, 0, 0, byte(i)}), First: noon.Add(time.Hour)})
			}
		}, ""},
	} {
		for _, kind := range []string{"armed wipe", "armed live", "once live", "always auto", "always san"} {
			t.Run(c.name+"/"+kind, func(t *testing.T) {
				mode, profile, _ := strings.Cut(kind, " ")
				catalog := siteOf(t, c.site)
				m, s := asking()
				m.Assignment = assignment(t, catalog, profile, AssignMode(mode))
				c.with(&m, &s)
				got := Choose(catalog, m, s)
				checkSteps(t, got)
				want := "machine boot " + profile
				if mode == "armed" {
					want = "machine armed " + profile
				}
				if c.want != "" {
					want = "built-in menu " + string(c.want)
				}
				if outcome(got) != want {
					t.Errorf("%s, want %s\n%+v", outcome(got), want, got.Steps)
				}
				// What is not sensitive needs no proof, only that nothing speaks against it.
				m.Assignment = assignment(t, catalog, "live", AssignAlways)
				want = "machine boot live"
				if s.Proof == ProofAgainst {
					want = "built-in menu " + string(ReasonIdentityAgainst)
				}
				if got = Choose(catalog, m, s); outcome(got) != want {
					t.Errorf("not sensitive: %s, want %s", outcome(got), want)
				}
			})
		}
	}
}

// TestNotSensitive: a disk without a password and a profile that everybody may
// have need no proof; but a machine that borrows another's name gets nothing that
// is decided for that one, except its own local disk.
func TestNotSensitive(t *testing.T) {
	catalog := siteOf(t, func(d *documents) {
		d.targets = append(d.targets, Target{Name: "open", Kind: TargetSAN, SAN: &SAN{Protocol: SANAoE, Shelf: "e0.0"}})
		d.profiles = append(d.profiles, Profile{Name: "open", Target: "open"})
	})
	for _, profile := range []string{"open", "live", "local", "main"} {
		m, s := asking()
		m.Assignment = assignment(t, catalog, profile, AssignAlways)
		s.Proof, s.Confidence, s.NewMAC = ProofNone, ConfidenceNone, true
		if got := Choose(catalog, m, s); got.Profile != profile || got.Source != SourceMachine {
			t.Errorf("%s: %s", profile, outcome(got))
		}
		s.Proof = ProofAgainst
		got := Choose(catalog, m, s)
		if profile == "local" && got.Profile != profile || profile != "local" && outcome(got) != "built-in menu "+string(ReasonIdentityAgainst) {
			t.Errorf("%s under another's name: %s", profile, outcome(got))
		}
		// What counts once is not used up under another's name.
		m.Assignment = assignment(t, catalog, profile, AssignOnce)
		if got = Choose(catalog, m, s); outcome(got) != "built-in menu identity_against" {
			t.Errorf("%s, once, under another's name: %s", profile, outcome(got))
		}
	}
}

// TestSecretsByGroupNeedProof: answer files carry passwords, whoever decided.
func TestSecretsByGroupNeedProof(t *testing.T) {
	for _, source := range []string{"group", "rule", "default"} {
		catalog := siteOf(t, func(d *documents) {
			switch source {
			case "rule":
				d.rules = []SelectRule{{Name: "all", Profile: "auto"}}
			case "default":
				d.rules, d.site.Default = nil, "auto"
			}
		})
		m, s := asking()
		if source == "group" {
			m.Groups = []string{"secret"}
		}
		if got := Choose(catalog, m, s); outcome(got) != source+" boot auto" {
			t.Errorf("%s", outcome(got))
		}
		s.Proof = ProofNone
		if got := Choose(catalog, m, s); outcome(got) != "built-in menu identity_unproven" {
			t.Errorf("%s, unproven: %s", source, outcome(got))
		}
		s.Proof = ProofSeen
		m.MACs = append([]NIC{{MAC: macOf("b"), First: noon.Add(-2 * time.Hour)}}, m.MACs...)
		if got := Choose(catalog, m, s); outcome(got) != "built-in menu identity_new_nic" {
			t.Errorf("%s, a second card: %s", source, outcome(got))
		}
		m.MACs[1].Given = true
		if got := Choose(catalog, m, s); outcome(got) != source+" boot auto" {
			t.Errorf("%s, a second card that was written down: %s", source, outcome(got))
		}
	}
}

// incident plays a story with records as the box keeps them: every look at a
// client is put on record before it asks for its script, as DHCP does it.
type incident struct {
	t       *testing.T
	catalog *Catalog
	records shelf
	now     time.Time
}

func (x *incident) power(told Sighting) Choice {
	x.t.Helper()
	for range 2 { // the DHCP exchange, then the request for the script
		x.now = x.now.Add(time.Second)
		id := Identify(x.records, told)
		at := -1
		for i := range x.records {
			if x.records[i].ID == id.ID {
				at = i
			}
		}
		if at < 0 {
			x.records = append(x.records, Machine{ID: MachineID(fmt.Sprintf("r%d", len(x.records))), First: x.now})
			at = len(x.records) - 1
		}
		m := &x.records[at]
		if id.Confidence != ConfidenceDoubt && id.Confidence != ConfidenceShared || id.ID == "" {
			if UsableGUID(told.GUID) && m.GUID.IsZero() {
				m.GUID = told.GUID
			}
			if UsableSerial(told.Serial) && m.Serial == "" {
				m.Serial = told.Serial
			}
		}
		if _, ok := m.nic(told.MAC); !ok {
			m.MACs = append(m.MACs, NIC{MAC: told.MAC, First: x.now})
		}
	}
	id := Identify(x.records, told)
	m, _ := x.records.Record(id.ID)
	m.ID = id.ID
	s := Situation{Sighting: told, Confidence: id.Confidence, Proof: ProofSeen, NewMAC: id.NewMAC, Now: x.now}
	got := Choose(x.catalog, m, s)
	if got.Action == ActionArmed {
		a := m.Assignment.Begin("x", x.now)
		for i := range x.records {
			if x.records[i].ID == id.ID {
				x.records[i].Assignment = &a
			}
		}
	}
	return got
}

func (x *incident) arm(id MachineID) {
	x.t.Helper()
	for i := range x.records {
		if x.records[i].ID == id {
			_, target, _ := x.catalog.Resolve("wipe")
			a, errs := NewAssignment(Assignment{Profile: "wipe", Mode: AssignArmed}, target, "K", x.now)
			if errs != nil {
				x.t.Fatal(errs)
			}
			x.records[i].Assignment = &a
			return
		}
	}
	x.t.Fatalf("no record %s", id)
}

// TestIncidents are the ways in which the wrong disk was wiped elsewhere.
func TestIncidents(t *testing.T) {
	start := func(t *testing.T) *incident {
		return &incident{t: t, catalog: siteOf(t, nil), now: noon}
	}
	told := func(uuid, serial, mac string) Sighting {
		s := Sighting{MAC: macOf(mac), Serial: serial}
		if uuid != "" {
			s.GUID = guidOf(t, uuid)
		}
		return s
	}
	want := func(t *testing.T, got Choice, armed bool) {
		t.Helper()
		if (got.Action == ActionArmed) != armed {
			t.Errorf("armed: %v (%s) %+v", got.Action == ActionArmed, outcome(got), got.Steps)
		}
	}
	t.Run("the machine that was armed", func(t *testing.T) {
		x := start(t)
		x.power(told("1", "S1", "a"))
		x.arm("r0")
		want(t, x.power(told("1", "S1", "a")), true)
		got := x.power(told("1", "S1", "a"))
		if outcome(got) != "safety local loop_breaker" {
			t.Errorf("again: %s", outcome(got))
		}
	})
	t.Run("a dock moves to another laptop", func(t *testing.T) {
		x := start(t)
		x.power(told("1", "S1", "d"))
		x.arm("r0")
		want(t, x.power(told("2", "S2", "d")), false)
		want(t, x.power(told("", "", "d")), false)
		want(t, x.power(told("ff", "None", "d")), false)
		want(t, x.power(told("1", "S1", "d")), true)
	})
	t.Run("a laptop without identity in that dock", func(t *testing.T) {
		x := start(t)
		x.power(told("1", "", "d"))
		x.arm("r0")
		want(t, x.power(told("", "", "d")), false)
		want(t, x.power(told("ff", "", "d")), false)
		want(t, x.power(told("", "S2", "d")), false)
	})
	t.Run("boards with one identifier", func(t *testing.T) {
		x := start(t)
		x.power(told("1", "", "a"))
		x.power(told("1", "", "b")) // the same record, as far as anybody can see
		x.arm("r0")
		want(t, x.power(told("1", "", "a")), false)
		want(t, x.power(told("1", "", "b")), false)
		x.records[0].MACs[0].Given = true // the operator writes down which one is meant
		want(t, x.power(told("1", "", "b")), false)
		want(t, x.power(told("1", "", "a")), true)
	})
	t.Run("a board with the same identifier turns up after arming", func(t *testing.T) {
		x := start(t)
		x.power(told("1", "", "a"))
		x.arm("r0")
		want(t, x.power(told("1", "", "b")), false)
		want(t, x.power(told("1", "", "b")), false)
	})
	t.Run("boards with one identifier and serial numbers", func(t *testing.T) {
		x := start(t)
		x.power(told("1", "S1", "a"))
		x.power(told("1", "S2", "b"))
		x.arm("r0")
		want(t, x.power(told("1", "S2", "b")), false)
		want(t, x.power(told("1", "S2", "a")), false) // with the other's card
		want(t, x.power(told("1", "S1", "a")), true)
	})
	t.Run("a serial number used twice", func(t *testing.T) {
		x := start(t)
		x.power(told("1", "S1", "a"))
		x.arm("r0")
		want(t, x.power(told("2", "S1", "b")), false)
		want(t, x.power(told("2", "S1", "a")), false)
		want(t, x.power(told("", "S1", "b")), false)
	})
	t.Run("a stranger tells the machine's identifier and serial number", func(t *testing.T) {
		x := start(t)
		x.power(told("1", "S1", "a"))
		x.arm("r0")
		for range 3 {
			want(t, x.power(told("1", "S1", "b")), false)
		}
		want(t, x.power(told("1", "S1", "a")), true)
	})
	t.Run("a stranger pushes the machine's cards out of the record", func(t *testing.T) {
		x := start(t)
		x.power(told("1", "S1", "a"))
		x.arm("r0")
		x.records[0].MACs = nil
		for i := range MaxMACs {
			x.records[0].MACs = append(x.records[0].MACs, NIC{MAC: MACOf([]byte{2, 0, 0, 0, 0, byte(i)}), First: x.now.Add(time.Duration(i+1) * time.Second)})
		}
		first := told("1", "S1", "x")
		first.MAC = x.records[0].MACs[0].MAC
		want(t, x.power(first), false)
	})
	t.Run("written down by the dock's address", func(t *testing.T) {
		x := start(t)
		x.power(told("1", "S1", "d"))
		x.power(told("2", "S2", "d"))
		x.records = append(x.records, Machine{ID: "described", Name: "laptop", MACs: []NIC{{MAC: macOf("d"), Given: true}}})
		x.arm("described")
		want(t, x.power(told("1", "S1", "d")), false)
		want(t, x.power(told("2", "S2", "d")), false)
		want(t, x.power(told("3", "S3", "d")), false)
		want(t, x.power(told("", "", "d")), false)
	})
	t.Run("written down by its own address", func(t *testing.T) {
		x := start(t)
		x.records = append(x.records, Machine{ID: "described", Name: "server", MACs: []NIC{{MAC: macOf("a"), Given: true}}})
		x.arm("described")
		want(t, x.power(told("1", "S1", "a")), true)
	})
	t.Run("written down by its identifier", func(t *testing.T) {
		x := start(t)
		x.records = append(x.records, Machine{ID: "described", Name: "server", GUID: guidOf(t, "1")})
		x.arm("described")
		want(t, x.power(told("1", "S1", "a")), true)
	})
	t.Run("the profile is changed after arming", func(t *testing.T) {
		x := start(t)
		x.power(told("1", "S1", "a"))
		x.arm("r0")
		x.catalog = siteOf(t, func(d *documents) {
			other := wiping
			other.Name = "other"
			d.targets = append(d.targets, other)
			d.profiles[1].Target = "other"
		})
		want(t, x.power(told("1", "S1", "a")), false)
	})
	t.Run("an old export is imported", func(t *testing.T) {
		x := start(t)
		x.power(told("1", "S1", "a"))
		x.records[0].Assignment = &Assignment{Profile: "wipe", Mode: AssignArmed, Boots: 1, Target: "debian", Destructive: true, Expires: noon.Add(time.Hour), Created: noon}
		want(t, x.power(told("1", "S1", "a")), false)
	})
	t.Run("a rule catches more than was meant", func(t *testing.T) {
		d := documents{targets: []Target{wiping}, profiles: profilesOf("wipe=debian"), rules: []SelectRule{{Name: "r", Profile: "wipe"}}}
		x := start(t)
		x.catalog, _ = d.catalog()
		for i := range 9 {
			want(t, x.power(told(fmt.Sprint(i+1), "", fmt.Sprint(i+1))), false)
		}
	})
}
