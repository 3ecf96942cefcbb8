package registry

import (
	"errors"
	"slices"
	"strings"

	"github.com/bootpuck/bootpuck/appliance/boot"
	"github.com/bootpuck/bootpuck/appliance/store"
)

// Answer renders an answer file of the attempt that the token belongs to: for
// its machine, of its profile, and no other. Whatever the sender claims about
// itself is not looked at. The reason is ReasonToken when the token is wrong or
// over, ReasonNotFound when the profile has no such file, ReasonTokenUsed when it
// was read too often, ReasonTemplate when it could not be rendered.
func (r *Registry) Answer(name, file string, a Ask) (text []byte, contentType string, reason boot.Reason) {
	now := r.now()
	snap := r.snap.Load()
	r.mu.Lock()
	run, ok := r.tokens.answers[name]
	if !ok || name == "" || now.Sub(run.Created) >= answerTime {
		r.mu.Unlock()
		return nil, "", boot.ReasonToken
	}
	rec, ok := r.table.byID[run.Machine]
	switch {
	case !ok:
		r.mu.Unlock()
		return nil, "", boot.ReasonToken
	case rec.m.Access == boot.AccessDeny:
		r.mu.Unlock()
		return nil, "", boot.ReasonDenied
	case a.Proof == boot.ProofAgainst, r.surelyAnother(rec.m, a):
		r.mu.Unlock()
		return nil, "", boot.ReasonIdentityAgainst
	case run.Reads >= maxReads:
		r.mu.Unlock()
		return nil, "", boot.ReasonTokenUsed
	}
	run.Reads++
	r.tokens.dirty[run.ID] = struct{}{}
	p := &planning{r: r, snap: snap, ask: a, links: links{answer: run.Answer, callback: run.Callback}}
	p.o.machine, p.o.sighting = rec.m, rec.m.Seen
	if run.sighting.MAC != "" || !run.sighting.GUID.IsZero() {
		// As it was when it asked to boot: it may have been seen with another
		// program since, or somebody may have said so.
		p.o.sighting = run.sighting
	}
	profileName := run.Profile
	r.mu.Unlock()
	profile, ok := snap.docs.Profiles[profileName]
	if !ok {
		return nil, "", boot.ReasonTargetMissing
	}
	text, contentType, err := p.answerFile(profile, file)
	switch {
	case errors.Is(err, errNoAnswer):
		return nil, "", boot.ReasonNotFound
	case err != nil:
		r.tell(p.event(boot.KindWarning, boot.ReasonTemplate, p.title()+": "+err.Error()))
		return nil, "", boot.ReasonTemplate
	}
	r.tell(p.event(boot.KindDecision, boot.ReasonNone, p.title()+" read its answer file "+file+" of "+profileName))
	return text, contentType, boot.ReasonNone
}

// surelyAnother says whether the box sees that the sender is another machine than
// m. An installer may use another network card than the firmware did, so a card
// that nobody knows says nothing. The mutex is held.
func (r *Registry) surelyAnother(m boot.Machine, a Ask) bool {
	mac := a.Sighting.MAC
	if a.Proof != boot.ProofSeen || mac == "" {
		return false
	}
	if _, own := findNIC(m.MACs, mac); own {
		return false
	}
	for _, id := range r.table.ByMAC(mac) {
		if rec, ok := r.table.byID[id]; ok && !rec.m.GUID.IsZero() && !m.GUID.IsZero() && !rec.m.GUID.Matches(m.GUID) {
			return true
		}
	}
	return false
}

// maxReport bounds the text of a callback that is kept, in octets.
const maxReport = 512

// Callback takes an installer's report. What ends an assignment is durable
// before Callback returns; when the medium does not answer in time, it counts in
// memory and the reason is ReasonStateWait, so that the installer says it again.
func (r *Registry) Callback(name string, cb boot.Callback, text string, a Ask) boot.Reason {
	if !slices.Contains(boot.Callbacks(), cb) {
		return boot.ReasonParameter
	}
	now := r.now()
	text = report(text)
	r.mu.Lock()
	run, ok := r.tokens.callbacks[name]
	if !ok || name == "" || now.Sub(run.Created) >= callbackTime {
		r.mu.Unlock()
		return boot.ReasonToken
	}
	rec, ok := r.table.byID[run.Machine]
	switch {
	case !ok:
		r.mu.Unlock()
		return boot.ReasonToken
	case a.Proof == boot.ProofAgainst, r.surelyAnother(rec.m, a):
		r.mu.Unlock()
		return boot.ReasonIdentityAgainst
	case run.Final == cb && run.Reports < maxReports:
		// Said once more, because the answer was lost, or was that it is not
		// written yet.
		run.Reports++
		id := run.Machine
		r.mu.Unlock()
		return r.keepFinal(run, id)
	case run.Final != "" || run.Reports >= maxReports:
		r.mu.Unlock()
		return boot.ReasonTokenUsed
	}
	run.Reports++
	m := rec.m
	p := &planning{r: r, ask: a}
	p.o.machine, p.o.sighting = m, m.Seen
	reason, final := boot.ReasonNone, false
	switch cb {
	case boot.CallbackDone, boot.CallbackFailed:
		run.Final, final = cb, true
		r.tokens.silence(run)
		r.unhandRun(run)
		if cb == boot.CallbackFailed {
			reason = boot.ReasonAssignFailed
		}
	case boot.CallbackStarted, boot.CallbackProgress, boot.CallbackLog:
	}
	if cur := m.Assignment; run.Assigned && cur != nil && cur.Attempt == run.ID {
		if next := cur.Report(cb, text, now); next != *cur {
			m.Assignment = &next
			r.table.set(rec, m)
			r.table.touch(m.ID)
		}
	}
	profile := run.Profile
	r.mu.Unlock()
	sentence := p.title() + ": " + profile + " " + said(cb)
	if text != "" {
		sentence += ": " + text
	}
	e := p.event(boot.KindCallback, reason, sentence)
	e.File = string(cb)
	r.tell(e)
	if !final {
		return boot.ReasonNone
	}
	return r.keepFinal(run, m.ID)
}

// keepFinal writes that an attempt is over.
func (r *Registry) keepFinal(run *attempt, id boot.MachineID) boot.Reason {
	t := &task{keys: []string{keyMachine(id)}}
	t.prepare = func() ([]document, func(), error) {
		var docs []document
		if rec, ok := r.table.byID[id]; ok {
			docs = append(docs, document{store.Kind(kindMachines), string(id), rec.m})
		}
		if _, ok := r.tokens.attempts[run.ID]; ok {
			docs = append(docs, document{kindAttempts, run.ID, run.stored()})
		}
		return docs, func() {}, nil
	}
	t.abandoned = func() {
		if _, ok := r.table.byID[id]; ok {
			r.table.touch(id)
		}
	}
	if err := r.do(t, StartTimeout); err != nil {
		r.log.Warn("the end of an installation is not written yet", "machine", id, "error", err)
		return boot.ReasonStateWait
	}
	return boot.ReasonNone
}

// said is a callback as part of a sentence.
func said(cb boot.Callback) string {
	switch cb {
	case boot.CallbackStarted:
		return "has started"
	case boot.CallbackProgress:
		return "goes on"
	case boot.CallbackLog:
		return "says"
	case boot.CallbackDone:
		return "is done"
	case boot.CallbackFailed:
		return "has failed"
	}
	return "reports"
}

// report makes an installer's text one that may be kept and shown: one line,
// printable, bounded.
func report(s string) string {
	s = s[:min(len(s), 8*maxReport)]
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "?")), " ")
	var b strings.Builder
	for len(s) > 0 && b.Len() < maxReport {
		n := min(len(s), boot.MaxClaim)
		for n > 0 && n < len(s) && s[n]&0xc0 == 0x80 {
			n-- // not in the middle of a character
		}
		part := s[:n]
		s = s[n:]
		b.WriteString(boot.Claim(part))
		if strings.HasSuffix(part, " ") || strings.HasPrefix(s, " ") {
			b.WriteByte(' ')
			s = strings.TrimPrefix(s, " ")
		}
	}
	out := b.String()
	if len(out) > maxReport {
		out = strings.ToValidUTF8(out[:maxReport], "")
	}
	return strings.TrimSpace(out)
}
