package boot

import "time"

// program is a kind of program that asks: each has a ladder of its own, because
// what its firmware does not like says nothing about the iPXE that follows.
type program uint8

const (
	programUEFI program = iota
	programBIOS
	programHTTP
	programIPXE
	programOther
	programs
)

func (c Client) program() program {
	switch c.Firmware {
	case FirmwareUEFI:
		return programUEFI
	case FirmwareBIOS:
		return programBIOS
	case FirmwareHTTP:
		return programHTTP
	case FirmwareIPXE:
		return programIPXE
	default:
		return programOther
	}
}

// round is the latest round of offers to one kind of program, and what has come
// of all before.
type round struct {
	xid     uint32
	at      time.Time // of the latest offer; zero: there was none
	loaded  bool      // since then it fetched something
	counted bool      // the success of this round has been counted
	asks    int       // iPXE: transactions in a row after which nothing was fetched
	looping bool      // iPXE: the loop guard has spoken
	lost    bool      // what it fetched did not start
	proven  bool      // an offer to it has led to a script or a file of the target, some time
	climb   *climb    // nil: it stands at the default; never changed once set
}

// climb is what is known of a program that needed another shape than the
// default, or was given one.
type climb struct {
	ladder  Ladder
	best    Shape  // what the program is proven by
	strikes int    // times in a row that another shape than best led to a script
	seed    Shape  // where its ladder would begin by its model
	client  Client // as it asked
}

func (r *round) standing() climb {
	if r.climb == nil {
		return climb{}
	}
	return *r.climb
}

// Times of the ladder.
const (
	// NewBoot is how long after the last offer another transaction is another
	// boot: no firmware waits longer between two tries of one.
	NewBoot = 30 * time.Second
	// lostTime is how long after a download a machine that comes back is taken to
	// come back from it.
	lostTime = 30 * time.Minute
	// bootTime is how long after an offer a success is its success.
	bootTime = 30 * time.Minute
	// loopAsks is after how many transactions without any download an iPXE is
	// taken to go round in circles.
	loopAsks = 3
)

// shape chooses the shape of an answer and says how the ladder stands then. seed
// is where it begins with a machine nothing is known of; fixed that the operator
// wants that and no other.
func (h History) shape(c Client, seed Shape, fixed bool, o Open) (Ladder, Move) {
	if fixed {
		return Ladder{Base: seed, Shape: seed, Fixed: true}, Move{}
	}
	r := h.rounds[c.program()]
	known := r.standing()
	l := known.ladder
	offered, age, asked, good := !r.at.IsZero(), h.now.Sub(r.at), false, false
	if c.Firmware == FirmwareUEFI {
		// Which style was offered, and which worked, is known without a ladder.
		offered, r.xid, r.loaded, age, asked = h.Form != FormNone, h.XID, h.Loaded, h.Age, h.Asked
		l.Shape.Form = o.plain(h.Form)
		if h.Worked != FormNone {
			seed.Form, good = o.plain(h.Worked), true
		}
	}
	l.Fixed, l.Base = false, seed
	if r.proven {
		l.Base = known.best
	}
	again := r.xid == c.XID
	var m Move
	switch {
	case !offered:
		l.Shape = l.Base
		return l, m
	case h.Settled, again && age < SamePacket:
		return l, m
	case again && !r.loaded:
		l, m = h.failed(l, SymptomRetry, asked, c, o)
	case !r.loaded && !good && c.Firmware == FirmwareUEFI:
		spent := l.Tried&spentOffer != 0
		if l, m = h.failed(l, SymptomReturned, asked, c, o); age >= NewBoot && (spent || m.Reason == ReasonQuirkSpent) {
			if m.Reason == ReasonQuirkSpent && !l.Sure {
				m = Move{} // no shape has failed: there was no address to boot with
			}
			l = l.anew() // another boot, which may try everything once more
		}
	default:
		l = l.anew()
	}
	if r.lost {
		l, m = l.follow(m, SymptomNotStarted, o)
	}
	if r.looping || r.asks >= loopAsks && !again {
		l, m = l.follow(m, SymptomLoop, o)
	}
	return l, m
}

// follow is the next rung against a symptom that has nothing to do with the
// DHCP server; m stays when there is none.
func (l Ladder) follow(m Move, s Symptom, o Open) (Ladder, Move) {
	next, step := NextShape(l, s, o)
	if step == (Move{}) {
		return l, m
	}
	next.Sure = true
	return next, step
}

// failed is the ladder after an offer that was not followed.
func (h History) failed(l Ladder, s Symptom, asked bool, c Client, o Open) (Ladder, Move) {
	if asked {
		s = SymptomAsked
	}
	if h.option60 && c.Firmware == FirmwareUEFI {
		// EDK2 takes the DHCP server's own offer for a boot server's and pairs it
		// with nothing else.
		if l.Tried&saidHopeless != 0 {
			return l, Move{}
		}
		l.Tried |= saidHopeless
		return l, Move{Symptom: s, From: l.Shape, To: l.Shape, Reason: ReasonOption60}
	}
	heard := h.addressed || asked
	if heard && !l.Sure {
		// What was tried before the site's DHCP server answered has not failed.
		l.Tried &^= partOffer
	}
	next, m := NextShape(l, s, o)
	if m != (Move{}) {
		next.Sure = next.Sure || heard
	}
	return next, m
}
