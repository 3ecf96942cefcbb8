package boot

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestShapeCheck(t *testing.T) {
	for want, s := range map[string]Shape{
		"":                               {Form: FormDirect, Variant: VariantNative, Delay: time.Second, Block: 1468, NoPriority: true},
		"form":                           {Form: FormScript},
		"loader":                         {Variant: "own"},
		"delay_ns":                       {Delay: time.Second + 1},
		"delay_ns blocksize":             {Delay: -1, Block: 511},
		"blocksize":                      {Block: 1469},
		"form loader delay_ns blocksize": {Form: "x", Variant: "x", Delay: time.Hour, Block: -1},
	} {
		if got := fieldsOf(s.Check()); got != want {
			t.Errorf("%+v: %q, want %q", s, got, want)
		}
	}
	if errs := (Shape{Block: MinShapeBlock}).Check(); errs != nil {
		t.Error(errs)
	}
	what := Shape{Form: "x", Variant: "x", Delay: -1, Block: 1}.Check().Error()
	for _, words := range []string{"write direct or two-step", "write native", "write 0 to 1000000000", "write 512 to 1468"} {
		if !strings.Contains(what, words) {
			t.Errorf("%q does not say %q", what, words)
		}
	}
}

func TestShapeString(t *testing.T) {
	for want, s := range map[string]Shape{
		"the default":     {},
		"two-step offer":  {Form: FormTwoStep},
		"iPXE build odd":  {Variant: "odd"},
		"without 175.1":   {NoPriority: true},
		"sent after 10ms": {Delay: 10 * time.Millisecond},
		"direct offer, sent after 300ms, iPXE with its own drivers, TFTP blocks of at most 512": {Form: FormDirect, Delay: RungDelay, Variant: VariantNative, Block: 512},
	} {
		if got := s.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
		if s.IsZero() != (want == "the default") {
			t.Errorf("%s: zero %v", want, s.IsZero())
		}
	}
}

func TestNativeOf(t *testing.T) {
	for loader, want := range map[string]string{
		"undionly.kpxe": "ipxe.pxe", "x86_64/snponly.efi": "x86_64/ipxe.efi", "arm64/snponly.efi": "arm64/ipxe.efi",
		"": "", "ipxe.pxe": "", "x/other.efi": "",
	} {
		if got := nativeOf(loader); got != want {
			t.Errorf("%q: %q, want %q", loader, got, want)
		}
	}
}

// everything is open.
var everything = Open{First: FormDirect, Forms: true, Delay: true, Native: true, Priority: true, Block: 1468}

func TestNextShape(t *testing.T) {
	d, tw := Shape{}, Shape{Form: FormTwoStep}
	dl, tl := Shape{Delay: RungDelay}, Shape{Form: FormTwoStep, Delay: RungDelay}
	two := everything
	two.First = FormTwoStep
	early := everything
	early.Early = true
	none := Open{First: FormDirect}
	for name, c := range map[string]struct {
		base  Shape
		s     Symptom
		o     Open
		given []Shape // after each symptom, until the ladder stands still
	}{
		"retries":                {d, SymptomRetry, everything, []Shape{tw, dl, tl, d}},
		"came back":              {d, SymptomReturned, everything, []Shape{tw, dl, tl, d}},
		"two-step first":         {d, SymptomRetry, two, []Shape{{Form: FormDirect}, dl, {Form: FormDirect, Delay: RungDelay}, d}},
		"from what works":        {tw, SymptomRetry, everything, []Shape{d, tl, dl, tw}},
		"from a late one":        {dl, SymptomRetry, everything, []Shape{tl, d, tw, dl}},
		"bios":                   {d, SymptomRetry, early, []Shape{dl, tw, tl, d}},
		"asked 4011":             {tw, SymptomAsked, everything, []Shape{d, tw}},
		"asked 4011, late":       {tl, SymptomAsked, everything, []Shape{dl, tl}},
		"http boot":              {d, SymptomRetry, Open{First: FormDirect, Delay: true}, []Shape{dl, d}},
		"style pinned, asked":    {d, SymptomAsked, Open{First: FormDirect, Delay: true}, nil},
		"delay of a rule":        {d, SymptomRetry, Open{First: FormDirect, Forms: true}, []Shape{tw, d}},
		"nothing open, retry":    {d, SymptomRetry, none, nil},
		"does not start":         {d, SymptomNotStarted, everything, []Shape{{Variant: VariantNative}, d}},
		"native does not":        {Shape{Variant: VariantNative}, SymptomNotStarted, everything, []Shape{d, {Variant: VariantNative}}},
		"no other build":         {d, SymptomNotStarted, none, nil},
		"stalls":                 {d, SymptomStall, everything, []Shape{{Block: 1024}, {Block: 512}, d}},
		"stalls at 1025":         {d, SymptomStall, Open{Block: 1025}, []Shape{{Block: 1024}, {Block: 512}, d}},
		"stalls at 1024":         {d, SymptomStall, Open{Block: 1024}, []Shape{{Block: 512}, d}},
		"stalls at 513":          {d, SymptomStall, Open{Block: 513}, []Shape{{Block: 512}, d}},
		"stalls at 512":          {d, SymptomStall, Open{Block: 512}, nil},
		"stalls, capped at 1025": {Shape{Block: 1025}, SymptomStall, Open{Block: 1025}, []Shape{{Block: 1024}, {Block: 512}, {Block: 1025}}},
		"stalls, capped at 513":  {Shape{Block: 513}, SymptomStall, Open{Block: 513}, []Shape{{Block: 512}, {Block: 513}}},
		"from hardly late":       {Shape{Delay: 1}, SymptomRetry, Open{First: FormDirect, Delay: true}, []Shape{d, {Delay: 1}}},
		"stalls, capped before":  {Shape{Block: 1200}, SymptomStall, Open{Block: 1200}, []Shape{{Block: 1024}, {Block: 512}, {Block: 1200}}},
		"loops":                  {d, SymptomLoop, everything, []Shape{{NoPriority: true}, d}},
		"loops without":          {Shape{NoPriority: true}, SymptomLoop, everything, []Shape{d, {NoPriority: true}}},
		"loops, pinned":          {d, SymptomLoop, none, nil},
		"nothing":                {d, SymptomNone, everything, nil},
	} {
		t.Run(name, func(t *testing.T) {
			l := Ladder{Base: c.base, Shape: c.base}
			var got []Shape
			for i := range 8 {
				from := l.Shape
				next, m := NextShape(l, c.s, c.o)
				if m == (Move{}) {
					if next != l {
						t.Errorf("no move changes %+v into %+v", l, next)
					}
					break
				}
				if part, _, _ := l.rungs(c.s, c.o); next.Tried&^part != 0 {
					t.Errorf("rungs of other parts are tried: %b", next.Tried)
				}
				if l = next; m.To != l.Shape || m.From != from || m.Symptom != c.s || l.Base != c.base {
					t.Errorf("move %+v, ladder %+v", m, l)
				}
				if last := i == len(c.given)-1; (m.Reason == ReasonQuirkSpent) != last || !last && m.Reason != ReasonNone {
					t.Errorf("move %d: reason %q", i, m.Reason)
				}
				got = append(got, m.To)
			}
			if !slices.Equal(got, c.given) {
				t.Errorf("given %v, want %v", got, c.given)
			}
			fixed := Ladder{Base: c.base, Shape: c.base, Fixed: true}
			if next, m := NextShape(fixed, c.s, c.o); next != fixed || m != (Move{}) {
				t.Errorf("a pinned shape moves: %+v", m)
			}
		})
	}
}

// TestNextShapePartsAreApart: what is tried of one part leaves the others alone.
func TestNextShapePartsAreApart(t *testing.T) {
	l := Ladder{}
	for _, s := range []Symptom{SymptomRetry, SymptomNotStarted, SymptomStall, SymptomLoop} {
		l, _ = NextShape(l, s, everything)
	}
	all := Shape{Form: FormTwoStep, Variant: VariantNative, Block: 1024, NoPriority: true}
	if l.Shape != all {
		t.Fatalf("%v", l.Shape)
	}
	for _, c := range []struct {
		s    Symptom
		n    int
		want Shape
	}{
		{SymptomRetry, 3, Shape{Variant: VariantNative, Block: 1024, NoPriority: true}},
		{SymptomNotStarted, 1, Shape{Form: FormTwoStep, Block: 1024, NoPriority: true}},
		{SymptomStall, 2, Shape{Form: FormTwoStep, Variant: VariantNative, NoPriority: true}},
		{SymptomLoop, 1, Shape{Form: FormTwoStep, Variant: VariantNative, Block: 1024}},
	} {
		x := l
		for range c.n {
			x, _ = NextShape(x, c.s, everything)
		}
		if x.Shape != c.want {
			t.Errorf("%s spent: %v, want %v", c.s, x.Shape, c.want)
		}
	}
	// The next boot keeps what is being tried, but for the style of the offer.
	if x := l.anew(); x.Shape != (Shape{Variant: VariantNative, Block: 1024, NoPriority: true}) || x.Tried&partOffer != 0 || x.Tried&^partOffer != l.Tried&^partOffer {
		t.Errorf("%+v", x)
	}
	// And after a success begins with what it knows.
	l.Tried, l.Base = 0, Shape{Block: 512}
	if x := l.anew(); x.Shape != (Shape{Block: 512}) {
		t.Errorf("%+v", x)
	}
}

// TestNextShapeBeginsAnew: the base may have changed under a ladder that stands
// somewhere else; it is tried first then.
func TestNextShapeBeginsAnew(t *testing.T) {
	for _, c := range []struct {
		base, at Shape
		s        Symptom
		want     Shape
	}{
		{Shape{}, Shape{Variant: VariantNative}, SymptomNotStarted, Shape{}},
		{Shape{Variant: VariantNative}, Shape{}, SymptomNotStarted, Shape{Variant: VariantNative}},
		{Shape{}, Shape{Block: 512}, SymptomStall, Shape{}},
		{Shape{}, Shape{NoPriority: true}, SymptomLoop, Shape{}},
		{Shape{NoPriority: true}, Shape{}, SymptomLoop, Shape{NoPriority: true}},
		{Shape{}, Shape{Form: FormTwoStep, Delay: 1}, SymptomRetry, Shape{}},
		// It hears what is late: only the style is changed.
		{Shape{}, Shape{Form: FormTwoStep, Delay: 1}, SymptomAsked, Shape{Delay: 1}},
	} {
		l, m := NextShape(Ladder{Base: c.base, Shape: c.at}, c.s, everything)
		if l.Shape != c.want || m.Reason != ReasonNone {
			t.Errorf("%s: from %v with the base %v to %v, want %v", c.s, c.at, c.base, l.Shape, c.want)
		}
	}
}

// TestLadderEnds: whatever the symptoms and whatever is open, every ladder comes
// to stand still, at its base for every part that was spent.
func TestLadderEnds(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	shapes := []Shape{{}, {Form: FormTwoStep}, {Delay: RungDelay}, {Variant: VariantNative}, {Block: 1024}, {Block: 512}, {NoPriority: true}, {Form: FormDirect}}
	for range 2000 {
		base := shapes[r.IntN(len(shapes))]
		o := Open{
			First: []Form{FormDirect, FormTwoStep}[r.IntN(2)], Forms: r.IntN(4) > 0, Early: r.IntN(2) > 0, Delay: r.IntN(4) > 0,
			Native: r.IntN(2) > 0, Priority: r.IntN(2) > 0, Block: []int{0, 512, 600, 1024, 1468}[r.IntN(5)],
		}
		base.Form = o.plain(base.Form)
		l, moves := Ladder{Base: base, Shape: base}, 0
		for range 200 {
			next, m := NextShape(l, Symptoms()[r.IntN(len(Symptoms()))], o)
			if l = next; m != (Move{}) {
				moves++
				if m.From == m.To && m.Reason == ReasonNone {
					t.Fatalf("a move to where it was: %+v", m)
				}
			}
			if errs := l.Shape.Check(); errs != nil {
				t.Fatal(errs)
			}
		}
		if moves > 4+2+3+2 {
			t.Fatalf("%d moves of %+v", moves, o)
		}
	}
}

func TestMoveText(t *testing.T) {
	m := Move{Symptom: SymptomRetry, To: Shape{Form: FormTwoStep}}
	if got := m.Text(); got != "the machine asked again without following the offer: now two-step offer, before the default" {
		t.Error(got)
	}
	m.Reason, m.To = ReasonQuirkSpent, Shape{}
	if got := m.Text(); got != "the machine asked again without following the offer; everything was tried, back to the default" {
		t.Error(got)
	}
	m.Reason = ReasonOption60
	if got := m.Text(); !strings.Contains(got, "option 60") || !strings.HasSuffix(got, "no shape of offer helps, so it stays as it is") {
		t.Error(got)
	}
	seen := map[string]bool{}
	for _, s := range Symptoms() {
		if text := s.Text(); text == string(s) || text == "" || seen[text] {
			t.Errorf("%s: %q", s, text)
		} else {
			seen[text] = true
		}
	}
	if len(seen) != 6 || SymptomNone.Text() != "" || Symptom("odd").Text() != "odd" {
		t.Errorf("%d texts", len(seen))
	}
}

// player is a memory and the decisions on it.
type player struct {
	t      *testing.T
	m      *Memory
	at     time.Time
	policy Policy
	last   Decision
}

func newPlayer(t *testing.T) *player {
	return &player{t: t, m: NewMemory(8), at: now}
}

// ask is a DISCOVER after a while; it returns the shape of the offer.
func (p *player) ask(c Client, xid uint32, after time.Duration) Shape {
	p.t.Helper()
	p.at = p.at.Add(after)
	c.XID = xid
	h := p.m.History(c.MAC, p.at)
	p.last = Decide(c, p.policy, h, us, p.at)
	if p.last.Reason != ReasonNone {
		p.t.Fatalf("silence: %s", p.last.Reason)
	}
	p.m.Offered(c, p.last, p.at)
	return p.last.Shape
}

var (
	playerAddr = netip.MustParseAddr("192.0.2.50")
	uefi       = client(FirmwareUEFI, 7)
	bios       = client(FirmwareBIOS, 0)
	ipxe       = func() Client {
		c := client(FirmwareIPXE, 7)
		c.IPXE.Features = 1 << (FeatureHTTP - featureFirst)
		return c
	}()
)

func TestBootsOfTheLadder(t *testing.T) {
	p := newPlayer(t)
	d, tw := Shape{}, Shape{Form: FormTwoStep}
	dl, tl := Shape{Delay: RungDelay}, Shape{Form: FormTwoStep, Delay: RungDelay}
	for i, c := range []struct {
		xid   uint32
		after time.Duration
		want  Shape
		moved Reason // "-": none
	}{
		{1, 0, d, "-"},
		{1, 4 * time.Second, tw, ""},
		{1, SamePacket - 1, tw, "-"}, // by another way
		{1, 8 * time.Second, dl, ""},
		{1, 16 * time.Second, tl, ""},
		{1, 16 * time.Second, d, ReasonQuirkSpent},
		{1, 16 * time.Second, d, "-"}, // this boot has tried everything
		{2, time.Second, d, "-"},      // so has its next transaction
		{3, NewBoot, d, "-"},          // another boot
		{3, 4 * time.Second, tw, ""},
		{4, time.Second, dl, ""}, // came back at once: no new boot
		{4, 4 * time.Second, tl, ""},
		{5, NewBoot, d, "-"}, // the next boot begins anew; without an address nothing had failed
		{5, 4 * time.Second, tw, ""},
		{6, NewBoot, dl, ""}, // not everything has been tried yet
	} {
		got := p.ask(uefi, c.xid, c.after)
		m := p.last.Move
		if got != c.want || (m == Move{}) != (c.moved == "-") || c.moved != "-" && m.Reason != c.moved {
			t.Fatalf("offer %d: %v, move %+v; want %v", i, got, m, c.want)
		}
		if p.last.Delay != got.Delay || p.last.Form == FormTwoStep != (got.Form == FormTwoStep) {
			t.Errorf("offer %d: %+v", i, p.last)
		}
	}
}

// TestLadderOfBIOS: only a retry of the same transaction moves it.
func TestLadderOfBIOS(t *testing.T) {
	for _, c := range []Client{bios, {MAC: bios.MAC, Class: ClassHTTP, Firmware: FirmwareHTTP, Arch: 16, ArchKnown: true}} {
		p := newPlayer(t)
		for i, want := range []struct {
			xid   uint32
			after time.Duration
			want  Shape
		}{
			{1, 0, Shape{}},
			{2, time.Second, Shape{}},
			{3, time.Hour, Shape{}},
			{3, 4 * time.Second, Shape{Delay: RungDelay}},
			{4, time.Minute, Shape{}},
			{4, 4 * time.Second, Shape{Delay: RungDelay}},
		} {
			if got := p.ask(c, want.xid, want.after); got != want.want {
				t.Errorf("%s: offer %d: %v, want %v", c.Firmware, i, got, want.want)
			}
		}
	}
	p := newPlayer(t)
	for i, want := range []Shape{{}, {Delay: RungDelay}, {Form: FormTwoStep}, {Form: FormTwoStep, Delay: RungDelay}, {}} {
		if got := p.ask(bios, 1, 4*time.Second); got != want || (p.last.Form == FormTwoStep) != (want.Form == FormTwoStep) {
			t.Errorf("bios: offer %d: %+v", i, p.last)
		}
	}
	// A transaction may have the number 0.
	p = newPlayer(t)
	if got := p.ask(bios, 0, 0); got != (Shape{}) {
		t.Errorf("%v", got)
	}
	for _, known := range []bool{true, false} {
		p = newPlayer(t)
		if known {
			p.ask(uefi, 5, 0)
		}
		p.policy.Quirks = func(Client) (Shape, bool) { return Shape{Block: 600}, false }
		if got := p.ask(bios, 0, time.Minute); got != (Shape{Block: 600}) || p.last.Move != (Move{}) {
			t.Errorf("known %v: %v %+v", known, got, p.last.Move)
		}
	}
	for _, c := range []Client{client(FirmwareRPi, 0), client(FirmwareIPXE, 0)} {
		p := newPlayer(t)
		for range 4 {
			if got := p.ask(c, 1, 4*time.Second); got != (Shape{}) || p.last.Move != (Move{}) {
				t.Errorf("%s: %v", c.Firmware, got)
			}
		}
	}
}

// TestRulesGoFirst: what an operator's rule says is never varied.
func TestRulesGoFirst(t *testing.T) {
	for name, c := range map[string]struct {
		rule  Rule
		has   func(string) bool
		given []Shape
	}{
		"style":     {Rule{Form: FormDirect}, nil, []Shape{{}, {Delay: RungDelay}, {}, {}}},
		"delay":     {Rule{Delay: time.Millisecond}, nil, []Shape{{}, {Form: FormTwoStep}, {}, {}}},
		"both":      {Rule{Form: FormTwoStep, Delay: 1}, nil, []Shape{{}, {}, {}, {}}},
		"as a bios": {Rule{As: new(ArchBIOS)}, nil, []Shape{{}, {Delay: RungDelay}, {}, {}}},
		"own file":  {Rule{File: "x.efi"}, nil, []Shape{{}, {Form: FormTwoStep}, {Delay: RungDelay}, {Form: FormTwoStep, Delay: RungDelay}}},
	} {
		p := newPlayer(t)
		p.policy = Policy{Rules: []Rule{c.rule}, Has: c.has}
		for i, want := range c.given {
			if got := p.ask(uefi, 1, 4*time.Second); got != want {
				t.Errorf("%s: offer %d: %v, want %v", name, i, got, want)
			}
			if f := c.rule.Form; f != FormNone && p.last.Form != f || p.last.Delay != max(c.rule.Delay, p.last.Shape.Delay) {
				t.Errorf("%s: %+v", name, p.last)
			}
		}
	}
	// A rule's file, and a build that the box lacks, are not exchanged.
	for name, policy := range map[string]Policy{
		"file":       {Rules: []Rule{{File: "x86_64/snponly.efi"}}},
		"other file": {Rules: []Rule{{File: "x.efi"}}},
		"lacking":    {Has: func(f string) bool { return f != "x86_64/ipxe.efi" }},
	} {
		p := newPlayer(t)
		p.policy = policy
		policy.Quirks = func(Client) (Shape, bool) { return Shape{Variant: VariantNative}, true }
		p.ask(uefi, 1, 0)
		p.m.Leased(uefi.MAC, playerAddr)
		p.m.Loaded(playerAddr)
		p.m.Fetched(playerAddr, 1468, true, p.at)
		p.m.NotStarted(uefi.MAC)
		file := p.last.File
		if got := p.ask(uefi, 2, time.Minute); got != (Shape{}) || p.last.File != file {
			t.Errorf("%s: %v %s", name, got, p.last.File)
		}
		p.policy = policy
		if got := p.ask(uefi, 3, time.Minute); got != (Shape{}) || p.last.File != file {
			t.Errorf("%s, pinned to native: %v %s", name, got, p.last.File)
		}
	}
	// Priority: a rule that leaves it out is not undone.
	p := newPlayer(t)
	p.policy.Quirks = func(Client) (Shape, bool) { return Shape{NoPriority: true}, true }
	if p.ask(ipxe, 1, 0); p.last.Priority || !p.last.Shape.NoPriority {
		t.Errorf("pinned: %+v", p.last)
	}
	p.policy.NoPriority = true
	if p.ask(ipxe, 2, 0); p.last.Priority || p.last.Shape.NoPriority {
		t.Errorf("left out by a setting: %+v", p.last)
	}
	p.policy = Policy{Rules: []Rule{{NoPriority: true}}}
	for i := range uint32(8) {
		if p.ask(ipxe, 10+i, time.Second); p.last.Priority || p.last.Move != (Move{}) {
			t.Errorf("left out by a rule: %+v", p.last)
		}
	}
}

func TestRulesGoFirstForBIOS(t *testing.T) {
	late := Shape{Delay: RungDelay}
	for name, c := range map[string]struct {
		rule  Rule
		given []Shape
	}{
		"style":   {Rule{Form: FormDirect}, []Shape{{}, late, {}}},
		"delay":   {Rule{Delay: time.Millisecond}, []Shape{{}, {Form: FormTwoStep}, {}}},
		"as uefi": {Rule{As: new(ArchUEFIx64)}, []Shape{{}, late, {}}},
	} {
		p := newPlayer(t)
		p.policy = Policy{Rules: []Rule{c.rule}}
		for i, want := range c.given {
			if got := p.ask(bios, 1, 4*time.Second); got != want || p.last.Form != FormDirect && want.Form == FormNone {
				t.Errorf("%s: offer %d: %+v, want %v", name, i, p.last, want)
			}
		}
	}
	// The shape of a model does not undo a rule either.
	p := newPlayer(t)
	p.policy = Policy{Rules: []Rule{{Delay: time.Millisecond, Form: FormDirect}}, Quirks: func(Client) (Shape, bool) {
		return Shape{Delay: time.Second, Form: FormTwoStep}, true
	}}
	if got := p.ask(bios, 1, 0); got != (Shape{}) || p.last.Delay != time.Millisecond || p.last.Form != FormDirect {
		t.Errorf("%+v", p.last)
	}
}

// TestDecideAsksTheRecords: what is decided about a machine is added to the
// settings' rule, and says why.
func TestDecideAsksTheRecords(t *testing.T) {
	given := Rule{File: "x"}
	for name, c := range map[string]struct {
		add  Rule
		want Decision
	}{
		"nothing": {given, Decision{Form: FormDirect, File: "x"}},
		"a file":  {Rule{File: "y"}, Decision{Form: FormDirect, File: "y"}},
		"denied":  {Rule{Deny: true}, Decision{Reason: ReasonPolicy}},
		"ignored": {Rule{Deny: true, Why: ReasonUnknownIgnored}, Decision{Reason: ReasonUnknownIgnored}},
		"why not": {Rule{File: "x", Why: ReasonDenied}, Decision{Form: FormDirect, File: "x"}},
	} {
		p := Policy{Rules: []Rule{given}, Machines: func(got Client, r Rule) Rule {
			if got.MAC != bios.MAC || r.File != "x" {
				t.Errorf("%s: asked about %+v with %+v", name, got, r)
			}
			return c.add
		}}
		if got := Decide(bios, p, History{}, us, now); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

// TestManyTransactions: firmware that takes another transaction for every try.
func TestManyTransactions(t *testing.T) {
	p := newPlayer(t)
	var got []Shape
	for xid := range uint32(6) {
		s := p.ask(uefi, xid, 4*time.Second)
		if xid > 0 && xid < 5 && p.last.Move.Symptom != SymptomReturned || xid == 5 && p.last.Move != (Move{}) {
			t.Errorf("offer %d: %+v", xid, p.last.Move)
		}
		got = append(got, s)
	}
	if want := []Shape{{}, {Form: FormTwoStep}, {Delay: RungDelay}, {Form: FormTwoStep, Delay: RungDelay}, {}, {}}; !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
	// Asked on port 4011 each time: it has heard the offers, so no delay.
	p = newPlayer(t)
	p.policy.FirstForm = FormTwoStep
	for i, want := range []Shape{{}, {Form: FormDirect}, {}} {
		if got := p.ask(uefi, uint32(i), 4*time.Second); got != want || i > 0 && p.last.Move.Symptom != SymptomAsked {
			t.Errorf("offer %d: %v, %+v", i, got, p.last.Move)
		}
		p.m.Asked(uefi.MAC, playerAddr)
	}
	if p.last.Move.Reason != ReasonQuirkSpent {
		t.Errorf("%+v", p.last.Move)
	}
}

// TestRungsWithoutAnAddress: what was tried before the site's DHCP server answered
// has not failed, and is tried again as soon as it does.
func TestRungsWithoutAnAddress(t *testing.T) {
	p := newPlayer(t)
	heard := func() { p.m.Overheard(uefi.MAC, &Foreign{Type: "offer", Your: playerAddr}) }
	for range 5 {
		p.ask(uefi, 1, 4*time.Second)
	}
	if p.last.Move.Reason != ReasonQuirkSpent {
		t.Fatalf("the boot without an address: %+v", p.last.Move)
	}
	for i, want := range []Shape{{Form: FormTwoStep}, {Delay: RungDelay}, {Form: FormTwoStep, Delay: RungDelay}, {}} {
		heard()
		if got := p.ask(uefi, 2, 4*time.Second); got != want || (p.last.Move.Reason == ReasonQuirkSpent) != (i == 3) {
			t.Errorf("with an address, offer %d: %v, %+v; want %v", i, got, p.last.Move, want)
		}
	}
	// These have failed.
	heard()
	if got := p.ask(uefi, 2, 4*time.Second); got != (Shape{}) || p.last.Move != (Move{}) {
		t.Errorf("after all: %v, %+v", got, p.last.Move)
	}
	// A boot in which every shape failed with an address tells it, also in the next one.
	p = newPlayer(t)
	for range 4 {
		p.ask(uefi, 1, 4*time.Second)
		heard()
	}
	if p.ask(uefi, 2, NewBoot); p.last.Move.Reason != ReasonQuirkSpent {
		t.Errorf("%+v", p.last.Move)
	}
}

// TestSettled: a request on port 4011 changes nothing and is answered with what
// was offered.
func TestSettled(t *testing.T) {
	p := newPlayer(t)
	p.ask(uefi, 1, 0)
	p.ask(uefi, 1, 4*time.Second)
	p.ask(uefi, 1, 4*time.Second) // late
	h := p.m.History(uefi.MAC, p.at.Add(time.Second))
	h.Settled = true
	c := uefi
	c.XID = 77
	d := Decide(c, p.policy, h, us, p.at)
	if d.Shape != (Shape{Delay: RungDelay}) || d.Delay != 0 || d.Form != FormDirect || d.Move != (Move{}) {
		t.Errorf("%+v", d)
	}
	// Nothing is remembered: the box was restarted in between.
	p.policy.Quirks = func(Client) (Shape, bool) { return Shape{Form: FormTwoStep}, false }
	if d = Decide(c, p.policy, History{Settled: true}, us, p.at); d.Form != FormTwoStep || d.Shape.Form != FormTwoStep {
		t.Errorf("%+v", d)
	}
}

func TestModelSeeds(t *testing.T) {
	p := newPlayer(t)
	seed, pinned := Shape{Form: FormTwoStep, NoPriority: true}, false
	p.policy.Quirks = func(c Client) (Shape, bool) {
		if class, oui := c.Model(); class != "PXEClient:x" || oui != "52:54:00" {
			t.Errorf("asked for %q %q", class, oui)
		}
		return seed, pinned
	}
	c := uefi
	c.Vendor = "PXEClient:x"
	tw := Shape{Form: FormTwoStep}
	if got := p.ask(c, 1, 0); got != tw || p.last.Priority {
		t.Errorf("%v", got)
	}
	if got := p.ask(c, 1, 4*time.Second); got != (Shape{}) {
		t.Errorf("a retry: %v", got)
	}
	// What works here goes before what the model needs.
	p.m.Leased(c.MAC, playerAddr)
	p.m.Loaded(playerAddr)
	if got := p.ask(c, 2, time.Hour); got != (Shape{}) {
		t.Errorf("after a download: %v", got)
	}
	p.m.Succeeded(c.MAC, p.at)
	seed = Shape{Form: FormTwoStep, Delay: time.Millisecond}
	p.m.Loaded(playerAddr)
	p.m.Succeeded(c.MAC, p.at)
	if got := p.ask(c, 3, time.Hour); got != (Shape{}) {
		t.Errorf("after a success: %v", got)
	}
	// A pin goes before everything, and nothing moves it.
	pinned = true
	for i := range 4 {
		if got := p.ask(c, 9, 4*time.Second); got != seed || p.last.Move != (Move{}) || p.last.Delay != time.Millisecond {
			t.Errorf("pinned, offer %d: %v", i, got)
		}
	}
	seed = Shape{Form: FormDirect} // the default by its name is the default
	if got := p.ask(c, 10, time.Hour); got != (Shape{}) || p.last.Form != FormDirect {
		t.Errorf("%v", got)
	}
	p.policy.FirstForm = FormTwoStep
	if got := p.ask(c, 11, time.Hour); got != seed || p.last.Form != FormDirect {
		t.Errorf("%v", got)
	}
}

func TestModelOfClient(t *testing.T) {
	c := NewClient(Facts{MAC: "52:54:00:00:00:01", Class: "PXEClient:Arch:00007:UNDI:003000", Arch: []byte{0, 7}})
	if class, oui := c.Model(); class != "PXEClient:Arch:00007:UNDI:003000" || oui != "52:54:00" {
		t.Errorf("%q %q", class, oui)
	}
	c = NewClient(Facts{MAC: "52:54:00:00:00:01", Class: "PXEClient:" + strings.Repeat("x", 200), UserClass: []byte("iPXE")})
	if class, _ := c.Model(); len(c.Vendor) != MaxVendor || class != "iPXE "+c.Vendor || !strings.HasPrefix(c.Vendor, "PXEClient:xxx") {
		t.Errorf("%q", class)
	}
}

func TestPrograms(t *testing.T) {
	seen := map[program]Firmware{}
	for _, f := range []Firmware{FirmwareUEFI, FirmwareBIOS, FirmwareHTTP, FirmwareIPXE, FirmwareOther} {
		p := Client{Firmware: f}.program()
		if other, there := seen[p]; there || p >= programs {
			t.Errorf("%s shares a ladder with %s", f, other)
		}
		seen[p] = f
	}
	for _, f := range []Firmware{FirmwareRPi, FirmwareUnknown, ""} {
		if (Client{Firmware: f}).program() != programOther {
			t.Error(f)
		}
	}
}

// FuzzLadder plays arbitrary histories: nothing panics, every shape is valid, and
// within one transaction no shape comes a second time but where the ladder began.
func FuzzLadder(f *testing.F) {
	f.Add([]byte{0, 1, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9}, byte(0))
	f.Add([]byte{1, 1, 1, 9, 0, 12, 0, 13, 0, 14, 2, 40, 5}, byte(1))
	f.Fuzz(func(t *testing.T, steps []byte, kind byte) {
		c := []Client{uefi, bios, ipxe, {MAC: uefi.MAC, Class: ClassHTTP, Firmware: FirmwareHTTP, Arch: 16, ArchKnown: true}, client(FirmwareRPi, 0)}[kind%5]
		p := newPlayer(t)
		p.policy.Has = func(f string) bool { return kind&8 == 0 || !strings.HasSuffix(f, "ipxe.efi") }
		xid := uint32(1)
		given := map[Shape]bool{} // by offers of this transaction that nothing came between
		for _, b := range steps {
			if b%16 > 4 {
				clear(given)
			}
			switch b % 16 {
			case 0:
				xid++
				clear(given)
				fallthrough
			case 1, 2, 3, 4:
				s := p.ask(c, xid, time.Duration(b)*time.Second)
				if errs := s.Check(); errs != nil {
					t.Fatal(errs)
				}
				if m := p.last.Move; m != (Move{}) && m.Reason == ReasonNone && given[s] {
					t.Fatalf("%v a second time", s)
				}
				given[s] = true
			case 5:
				p.m.Leased(c.MAC, playerAddr)
			case 6:
				p.m.Loaded(playerAddr)
			case 7:
				p.m.Stalled(playerAddr, 512+int(b)*8)
			case 8:
				p.m.Fetched(playerAddr, int(b)*6, b&64 != 0, p.at)
			case 9:
				p.m.NotStarted(c.MAC)
			case 10:
				for _, o := range p.m.Succeeded(c.MAC, p.at) {
					if o.Client.MAC != c.MAC || o.Shape.Check() != nil {
						t.Fatalf("%+v", o)
					}
				}
			case 11:
				p.m.Overheard(c.MAC, &Foreign{Type: "offer", Your: playerAddr, Class: []string{"", "PXEClient"}[b>>7]})
			case 12:
				p.m.Asked(c.MAC, playerAddr)
			default:
				p.at = p.at.Add(time.Duration(b) * 10 * time.Second)
			}
			if most := p.m.Block(playerAddr); most != 0 && (most < MinShapeBlock || most > MaxShapeBlock) {
				t.Fatalf("blocks of %d", most)
			}
		}
	})
}
