package tftp

import "time"

const (
	// firstWait: the time from a packet to its first repetition. Firmware repeats
	// its requests after seconds; a lossy boot is as fast as we are.
	firstWait = 250 * time.Millisecond
	// maxWait caps the doubling.
	maxWait = 4 * time.Second
	// firstPatience is how long the second and last packet to a client that has
	// never acknowledged is waited for. Long enough for a slow path, short enough
	// that forged requests hold their slots only briefly.
	firstPatience = 2 * time.Second
	// maxPatience caps what a client may ask for with the timeout option.
	maxPatience = 60 * time.Second

	// sendsBeforeAck and sendsAfterAck count all transmissions of one packet: two
	// before the client has acknowledged anything (its address may be forged),
	// then one and five repetitions.
	sendsBeforeAck = 2
	sendsAfterAck  = 6
)

// pace decides when a packet is sent again. It keeps a smoothed round trip and its
// variation (RFC 6298), so that a path slower than firstWait is not sent everything
// twice, and never waits less than its base.
//
// The timeout option (RFC 2349) does not slow the first repetitions down: what it
// buys the client is patience, the wait after the last one. A repetition sooner
// than the client expects costs one datagram; U-Boot asks for 5 s and would crawl.
type pace struct {
	base      time.Duration // the shortest wait
	patience  time.Duration // cap of a wait
	srtt, dev time.Duration
	sampled   bool
	wait      time.Duration // after the first transmission of the next packet
}

// newPace returns the pace of a transfer. base is its shortest wait, timeout what the
// client asked for, zero when it did not.
func newPace(base, timeout time.Duration) pace {
	p := pace{base: base, patience: max(maxWait, base), wait: base}
	if timeout > 0 {
		p.patience = min(max(timeout, base), maxPatience)
	}
	return p
}

// next returns how long to wait after the sends-th transmission of a packet.
func (p *pace) next(sends int, acked bool) time.Duration {
	limit := sendsLimit(acked)
	switch {
	case !acked && sends >= limit:
		return firstPatience
	case sends >= limit:
		return p.patience
	}
	w := p.wait
	for i := 1; i < sends && w < p.patience; i++ {
		w *= 2
	}
	return min(w, p.patience)
}

// sendsLimit is how often a packet is sent at most.
func sendsLimit(acked bool) int {
	if acked {
		return sendsAfterAck
	}
	return sendsBeforeAck
}

// acked records that a packet was acknowledged rtt after its last transmission.
// After a repetition nobody knows which of the two the client has answered (Karn):
// no sample is taken, and the longer wait stays until a packet goes through at once.
func (p *pace) acked(rtt time.Duration, sends int) {
	if sends > 1 {
		p.wait = min(p.wait*2, p.patience)
		return
	}
	if !p.sampled {
		p.srtt, p.dev, p.sampled = rtt, rtt/2, true
	} else {
		p.dev += (max(p.srtt-rtt, rtt-p.srtt) - p.dev) / 4
		p.srtt += (rtt - p.srtt) / 8
	}
	p.wait = min(max(p.srtt+4*p.dev, p.base), p.patience)
}
