package boot

import "time"

// Symptom is a way in which a client shows that the shape of its answer does
// not suit it. The set is closed.
type Symptom string

// Symptoms.
const (
	SymptomNone       Symptom = ""
	SymptomRetry      Symptom = "retry"       // the same transaction asks again and has not followed the offer
	SymptomReturned   Symptom = "returned"    // a new transaction, and the last offer was not followed
	SymptomAsked      Symptom = "asked"       // it asked on port 4011, was answered, and fetched nothing
	SymptomStall      Symptom = "stall"       // a transfer was agreed on, and no block of it arrived
	SymptomNotStarted Symptom = "not_started" // the boot program was fetched whole and not heard of again
	SymptomLoop       Symptom = "loop"        // iPXE takes the offer, fetches nothing and comes back
)

// Symptoms lists every symptom.
func Symptoms() []Symptom {
	return []Symptom{SymptomRetry, SymptomReturned, SymptomAsked, SymptomStall, SymptomNotStarted, SymptomLoop}
}

// Text says what the client did.
func (s Symptom) Text() string {
	switch s {
	case SymptomRetry:
		return "the machine asked again without following the offer"
	case SymptomReturned:
		return "the machine came back without having followed the last offer"
	case SymptomAsked:
		return "the machine asked on port 4011, was answered, and fetched nothing"
	case SymptomStall:
		return "a transfer was agreed on, and no block of it arrived"
	case SymptomNotStarted:
		return "the boot program was fetched whole and not heard of again"
	case SymptomLoop:
		return "iPXE asked again and again and fetched nothing that was offered"
	default:
		return string(s)
	}
}

// What the rungs of the ladder are made of.
const (
	// RungDelay is how long an offer is held back from firmware that misses
	// instant answers.
	RungDelay = 300 * time.Millisecond
	// RungBlock and RungBlockLast cap TFTP blocks for paths and clients that lose
	// large packets.
	RungBlock     = 1024
	RungBlockLast = 512
)

// Rungs is a set of rungs that were tried, and of what was said about them.
type Rungs uint16

// Rungs of each part of a shape. A part has a bit of its own that says that
// nothing is left to try.
const (
	rungDirect Rungs = 1 << iota
	rungTwoStep
	rungDirectLate
	rungTwoStepLate
	spentOffer

	rungUsual
	rungNative
	spentVariant

	rungWhole
	rungMiddle
	rungSmall
	spentBlock

	rungPriority
	rungNoPriority
	spentPriority

	saidHopeless // that nothing helps beside this DHCP server was said

	partOffer    = rungDirect | rungTwoStep | rungDirectLate | rungTwoStepLate | spentOffer | saidHopeless
	partVariant  = rungUsual | rungNative | spentVariant
	partBlock    = rungWhole | rungMiddle | rungSmall | spentBlock
	partPriority = rungPriority | rungNoPriority | spentPriority
)

// Ladder is how far the box has gone with one kind of program of one machine.
// The zero Ladder stands at the default and has tried nothing.
type Ladder struct {
	Base  Shape // where it begins and what it comes back to: what is known to work, else the default
	Shape Shape // what is given at present
	Tried Rungs // rungs that have failed since it last began
	// Sure: when a rung failed, the client had been offered an address by the
	// site's DHCP server, or had all of it behind it. Without that, its silence
	// may have had nothing to do with the shape.
	Sure bool
	// Fixed: the operator pinned the shape; nothing is tried.
	Fixed bool
}

// Open says which rungs there are for a client.
type Open struct {
	First    Form // the style that a Shape without one stands for
	Forms    bool // both PXE styles are answers to it, and no rule pins one
	Early    bool // the delay is tried before the other style
	Delay    bool // no rule sets the delay
	Native   bool // the box has the build with its own drivers, and no rule names a file
	Priority bool // 175.1 is sent to it and can be left out
	Block    int  // the block size that stalled, for SymptomStall; 0: none did
}

// Move is one step on the ladder. The zero Move is none.
type Move struct {
	Symptom Symptom
	From    Shape
	To      Shape
	// Reason is ReasonQuirkSpent when nothing is left to try and To is where the
	// ladder began; ReasonOption60 when no shape can help.
	Reason Reason
}

// Text is the sentence for people.
func (m Move) Text() string {
	switch m.Reason {
	case ReasonOption60:
		return m.Symptom.Text() + "; the site's DHCP server sends option 60 itself, and UEFI then follows nobody else: no shape of offer helps, so it stays as it is"
	case ReasonQuirkSpent:
		return m.Symptom.Text() + "; everything was tried, back to " + m.To.String()
	default:
		return m.Symptom.Text() + ": now " + m.To.String() + ", before " + m.From.String()
	}
}

// rung is one thing to try.
type rung struct {
	bit   Rungs
	shape Shape
}

// NextShape is where the ladder goes when a client shows a symptom. Every rung
// is tried once; then the shape goes back to where the ladder began, and stays
// there until something gives reason to begin anew. It is pure.
func NextShape(l Ladder, s Symptom, o Open) (Ladder, Move) {
	part, spent, rungs := l.rungs(s, o)
	if l.Fixed || len(rungs) < 2 || l.Tried&spent != 0 {
		return l, Move{}
	}
	m := Move{Symptom: s, From: l.Shape}
	l.Tried |= l.standing(part, o)
	for _, r := range rungs {
		if l.Tried&r.bit == 0 {
			l.Shape, m.To = r.shape, r.shape
			return l, m
		}
	}
	l = l.back(part)
	l.Tried |= spent
	m.To, m.Reason = l.Shape, ReasonQuirkSpent
	return l, m
}

// rungs are what can be tried against a symptom, the base's own first. None
// means that nothing can.
func (l Ladder) rungs(s Symptom, o Open) (part, spent Rungs, list []rung) {
	add := func(shape Shape) {
		x := l
		x.Shape = shape
		list = append(list, rung{x.standing(part, o), shape})
	}
	with := l.Shape
	switch s {
	case SymptomRetry, SymptomReturned, SymptomAsked:
		part, spent = partOffer, spentOffer
		forms, delays := []Form{l.Base.Form}, []time.Duration{l.Base.Delay}
		if o.Forms {
			forms = append(forms, o.plain(o.style(l.Base.Form).other()))
		}
		switch {
		case s == SymptomAsked:
			// It has heard the offer in time, or it would not have asked.
			delays[0] = l.Shape.Delay
		case o.Delay && l.Base.Delay == 0:
			delays = append(delays, RungDelay)
		case o.Delay:
			delays = append(delays, 0)
		}
		for i := range len(forms) * len(delays) {
			f, d := i%len(forms), i/len(forms)
			if o.Early {
				f, d = i/len(delays), i%len(delays)
			}
			with.Form, with.Delay = forms[f], delays[d]
			add(with)
		}
	case SymptomNotStarted:
		part, spent = partVariant, spentVariant
		with.Variant = l.Base.Variant
		add(with)
		if o.Native {
			if with.Variant = VariantNative; l.Base.Variant == VariantNative {
				with.Variant = VariantDefault
			}
			add(with)
		}
	case SymptomStall:
		part, spent = partBlock, spentBlock
		with.Block = l.Base.Block
		add(with)
		for _, most := range [...]int{RungBlock, RungBlockLast} {
			if with.Block = most; most < o.Block {
				add(with)
			}
		}
	case SymptomLoop:
		part, spent = partPriority, spentPriority
		with.NoPriority = l.Base.NoPriority
		add(with)
		if o.Priority {
			with.NoPriority = !l.Base.NoPriority
			add(with)
		}
	default:
	}
	return part, spent, list
}

// standing is the rung of a part on which the ladder stands.
func (l Ladder) standing(part Rungs, o Open) Rungs {
	s := l.Shape
	switch {
	case part == partOffer:
		bit := rungDirect
		if o.style(s.Form) == FormTwoStep {
			bit = rungTwoStep
		}
		if s.Delay > 0 {
			bit *= rungDirectLate / rungDirect
		}
		return bit
	case part == partVariant && s.Variant == VariantNative:
		return rungNative
	case part == partVariant:
		return rungUsual
	case part == partBlock && (s.Block == 0 || s.Block > RungBlock):
		return rungWhole
	case part == partBlock && s.Block > RungBlockLast:
		return rungMiddle
	case part == partBlock:
		return rungSmall
	case s.NoPriority:
		return rungNoPriority
	}
	return rungPriority
}

// back is the ladder with a part of its shape as it began.
func (l Ladder) back(part Rungs) Ladder {
	if part&partOffer != 0 {
		l.Shape.Form, l.Shape.Delay = l.Base.Form, l.Base.Delay
	}
	if part&partVariant != 0 {
		l.Shape.Variant = l.Base.Variant
	}
	if part&partBlock != 0 {
		l.Shape.Block = l.Base.Block
	}
	if part&partPriority != 0 {
		l.Shape.NoPriority = l.Base.NoPriority
	}
	return l
}

// anew is the ladder as a new boot finds it: the style of the offer begins where
// the ladder does, and so does every part that nothing was tried of.
func (l Ladder) anew() Ladder {
	l = l.back(partOffer)
	l.Tried &^= partOffer
	for _, part := range [...]Rungs{partVariant, partBlock, partPriority} {
		if l.Tried&part == 0 {
			l = l.back(part)
		}
	}
	l.Sure = l.Tried != 0 // the other parts are tried only for symptoms that are sure
	return l
}

// style is the PXE style that f stands for.
func (o Open) style(f Form) Form {
	if f == FormNone {
		return o.First
	}
	return f
}

// plain is f as a Shape says it: nothing when it is the default.
func (o Open) plain(f Form) Form {
	if f == o.First {
		return FormNone
	}
	return f
}
