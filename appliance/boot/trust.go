package boot

import "time"

// sensitive says whether a profile is for one machine alone: it overwrites
// something, carries secrets, or counts a limited number of times.
func sensitive(p *Profile, t *Target, a *Assignment) bool {
	switch {
	case t.Destructive, len(p.Answers) > 0, t.SAN != nil && t.SAN.Password != "":
		return true
	}
	return a != nil && a.Mode != AssignAlways
}

// trust says whether the client is proven well enough to be the machine that it
// may have the profile, if that is for one machine alone. ReasonNone: yes.
// Everything a
// client says can be said by another one too, by mistake (a dock that moved, a
// board whose identifier the maker gave to all) more often than by intent; so
// the sender's address must belong to its hardware address, record and client
// must agree, and the network card must be one the operator could have meant.
func (d *deciding) trust(p *Profile, t *Target, a *Assignment) (Reason, string) {
	alone := sensitive(p, t, a)
	switch {
	case d.s.Proof == ProofAgainst && (alone || t.Kind != TargetLocal):
		// Somebody else's name: not even what is no secret is meant for this
		// one, its own disk excepted.
		return ReasonIdentityAgainst, "the sender's address belongs to another machine than the one it claims to be"
	case !alone:
		return ReasonNone, ""
	case d.s.Proof != ProofSeen && (!d.s.Routed || !d.c.Site.TrustRouted):
		return ReasonIdentityUnproven, "nothing proves that the sender is this machine"
	}
	if why := d.doubt(); why != "" {
		return ReasonIdentityDoubt, why
	}
	if d.newCard(a) {
		return ReasonIdentityNewNIC, "the machine came with a network card that it had not been seen with when the operator decided"
	}
	return ReasonNone, ""
}

// doubt says why it is not sure which machine this is; nothing when it is.
func (d *deciding) doubt() string {
	m, mac := d.m, d.s.Sighting.MAC
	n, _ := m.nic(mac)
	switch d.s.Confidence {
	case ConfidenceFull:
	case ConfidenceGood:
		// The identifier alone. If records pile up network cards under it, it
		// may be one that a maker gave to many machines.
		if !n.Given && len(m.MACs) > 1 && !UsableSerial(m.Serial) {
			return "the identifier came with several network cards and no serial number, so it may be that of several machines; write down this machine's card"
		}
	case ConfidenceWeak:
		told := !d.s.Sighting.GUID.IsZero() || UsableGUID(m.GUID)
		switch {
		case n.Shared:
			return "it is known by a hardware address that other machines use too"
		case n.Given:
		case told:
			return "it is known by its hardware address alone, and that one may be a dock's; write down this machine's card"
		}
	default:
		// ConfidenceDoubt, ConfidenceShared, ConfidenceNone.
		return "identifier, serial number and hardware address do not agree on which machine this is"
	}
	if mac == "" {
		return "the client told no hardware address"
	}
	return ""
}

// newCard says whether the client's hardware address is one that the operator
// cannot have meant. A card counts that the operator wrote down, that had been
// seen when the assignment was made, or that was the first of all. By the time
// a script is asked for, the DHCP exchange has put every card on record, so
// being on record says nothing.
func (d *deciding) newCard(a *Assignment) bool {
	mac := d.s.Sighting.MAC
	n, known := d.m.nic(mac)
	switch {
	case n.Given:
		return false
	case d.s.NewMAC:
		return true
	case !known:
		return len(d.m.MACs) > 0
	}
	var since time.Time
	if a != nil {
		since = a.Created
	}
	if !n.First.After(since) {
		return false
	}
	if len(d.m.MACs) >= MaxMACs {
		return true // older ones may have been pushed out
	}
	for _, o := range d.m.MACs {
		if o.Given || o.First.Before(n.First) {
			return true
		}
	}
	return false
}
