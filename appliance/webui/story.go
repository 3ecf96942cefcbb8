package webui

import (
	"fmt"
	"strings"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// lane is a row of the drawing: which protocol, or who.
type lane int

// Lanes from top to bottom.
const (
	laneDHCP lane = iota
	laneOther
	laneTFTP
	laneHTTP
	laneSystem
	lanes // how many
)

func (l lane) String() string {
	return [lanes]string{"DHCP", "Other servers", "TFTP", "HTTP", "Installer"}[l]
}

// class is the lane's name in the style.
func (l lane) class() string {
	return [lanes]string{"dhcp", "other", "tftp", "http", "system"}[l]
}

// How things are marked; classes in the style.
const (
	toneGood = "good"
	toneBad  = "bad"
	toneWarn = "warn"
	toneDim  = "dim"
	toneNow  = "now"
)

// telling is an event in words.
type telling struct {
	lane   lane
	tone   string
	short  string // for the drawing, a few words
	what   string // for the table
	detail string
	why    string // what went wrong
}

// tell puts an event into words.
func tell(e *boot.Event) telling {
	t := telling{lane: laneDHCP, tone: toneGood}
	text, file := clean(e.Text, lineText), clean(e.File, lineText)
	switch e.Kind {
	case boot.KindOffer:
		t.short, t.what = "offer", "Asked for a boot server; this box offered"
		t.detail = join(formWord(e.Form), file, shapeNote(e.Shape), dhcpNote(e), text)
	case boot.KindAck:
		t.short, t.what = "answered on 4011", "Asked again; this box answered"
		t.detail = join(formWord(e.Form), file, dhcpNote(e), text)
	case boot.KindSilence:
		tellSilence(e, &t)
		t.detail = join(t.detail, dhcpNote(e), text)
	case boot.KindLease:
		t.short, t.what = "takes address", "Took an address of the site's DHCP server"
		t.detail = join(addr(e), text)
	case boot.KindForeign:
		tellForeign(e, &t)
	case boot.KindTFTP, boot.KindHTTP:
		tellTransfer(e, &t, file)
		t.detail = join(t.detail, text)
	case boot.KindProgress:
		t.lane = transferLane(e)
		t.short, t.what, t.detail = clean(base(e.File), shortText), "Fetches "+file, progressNote(e)
	case boot.KindProbe:
		t.lane, t.tone = laneTFTP, toneDim
		t.short, t.what, t.detail = "size?", "Asked for the size of "+file, text
	case boot.KindScript:
		t.lane = laneHTTP
		t.short, t.what, t.detail = "script "+clean(base(e.File), shortText), "Fetched its script "+file, text
	case boot.KindCallback:
		t.lane = laneSystem
		t.short, t.what = text, "Installer reported: "+text
		if strings.HasPrefix(e.Text, "failed") {
			t.tone = toneBad
		}
	case boot.KindSyslog:
		t.lane, t.tone = laneSystem, toneDim
		t.short, t.what, t.detail = "log", "Log line", text
	case boot.KindQuirk:
		t.tone = toneWarn
		t.short, t.what, t.detail = "other form", "The box changed the form of its answers", join(shapeNote(e.Shape), text)
		if e.Shape != nil {
			t.short = "now: " + shapeWords(*e.Shape)
		}
	case boot.KindWarning:
		t.tone = toneWarn
		t.short, t.what, t.detail = "warning", "Warning", text
	case boot.KindDecision:
		t.tone = toneDim
		t.short, t.what, t.detail = "decided", "Decided", text
	case boot.KindNetwork:
		t.tone = toneWarn
		t.short, t.what, t.detail = "network", "Network of this box", join(clean(e.Interface, shortText), addr(e), text)
	case boot.KindResponder, boot.KindBox, boot.KindOperator, boot.KindVerdict:
		t.tone = toneDim
		t.what = map[boot.Kind]string{
			boot.KindResponder: "Another server was heard", boot.KindBox: "This box", boot.KindOperator: "The operator", boot.KindVerdict: "Verdict",
		}[e.Kind]
		t.detail = text
	default:
		t.tone, t.what, t.detail = toneDim, clean(string(e.Kind), shortText), text
	}
	if e.Reason != boot.ReasonNone && e.Kind != boot.KindSilence {
		if e.Kind == boot.KindVerdict {
			t.what = "Verdict: " + headline(e.Reason)
		} else {
			t.why = clean(e.Reason.Text(), longText)
			if t.tone == toneGood {
				t.tone = toneBad
			}
		}
	}
	return t
}

// tellSilence: what was heard and not answered. An operating system that asks
// for its address is good news.
func tellSilence(e *boot.Event, t *telling) {
	if e.Reason == boot.ReasonClass {
		t.lane, t.short, t.what = laneSystem, "asks for address", "An operating system or installer asked for an address"
		return
	}
	t.tone, t.short, t.what = toneWarn, "not answered", "Asked; this box did not answer"
	t.why = clean(e.Reason.Text(), longText)
}

func tellForeign(e *boot.Event, t *telling) {
	t.lane, t.tone, t.short, t.what = laneOther, toneDim, "another server", "Another server answered"
	f := e.Foreign
	if f == nil {
		t.detail = clean(e.Text, lineText)
		return
	}
	who := "another server"
	if f.Server.IsValid() {
		who = f.Server.String()
	}
	switch f.Type {
	case "nak":
		t.tone, t.short, t.what = toneBad, who+" refuses", who+" refused an address"
	case "ack":
		t.short, t.what = who+" confirms", who+" confirmed"
	default:
		t.short, t.what = who+" offers", who+" offered"
	}
	if f.Twin {
		t.what = "The bootpuck " + t.what
	}
	t.detail = foreignNote(*f)
	if f.Boots() && t.tone == toneDim {
		t.tone, t.short = toneWarn, t.short+" a boot"
		if f.Twin {
			t.short = who + " (bootpuck)"
		}
	}
}

// foreignNote says what another server said.
func foreignNote(f boot.Foreign) string {
	var list []string
	if f.Your.IsValid() && !f.Your.IsUnspecified() {
		list = append(list, "address "+f.Your.String())
	}
	if f.File != "" {
		list = append(list, "boot file "+clean(f.File, lineText))
	}
	if f.Next != "" && f.Next != "0.0.0.0" {
		list = append(list, "next server "+clean(f.Next, shortText))
	}
	if f.Class != "" {
		list = append(list, "option 60 "+clean(f.Class, shortText))
	}
	if f.Control {
		list = append(list, "boot menu (option 43)")
	}
	if f.Relay.IsValid() && !f.Relay.IsUnspecified() {
		list = append(list, "by the relay "+f.Relay.String())
	}
	return join(list...)
}

func tellTransfer(e *boot.Event, t *telling, file string) {
	t.lane = laneHTTP
	if e.Kind == boot.KindTFTP {
		t.lane = laneTFTP
	}
	name := clean(base(e.File), shortText)
	sent := ""
	if e.Bytes > 0 || e.Reason == boot.ReasonNone {
		sent = size(max(e.Bytes, 0))
		if e.Total > e.Bytes && e.Reason != boot.ReasonNone {
			sent += " of " + size(e.Total)
		}
	}
	again := ""
	if e.Retries > 0 {
		again = fmt.Sprintf("%d sent again", e.Retries)
	}
	block := ""
	if e.Block > 0 {
		block = fmt.Sprintf("blocks of %d", e.Block)
	}
	in := ""
	if e.Duration > 0 {
		in = "in " + took(e.Duration)
	}
	t.detail = join(sent, in, rate(e.Bytes, e.Duration), block, again)
	if e.Reason == boot.ReasonNone {
		t.short, t.what = join(name, sent), "Fetched "+file
		return
	}
	t.tone, t.what = toneBad, "Did not get "+file
	switch e.Reason {
	case boot.ReasonNotFound:
		t.short = name + ": not there"
	case boot.ReasonClientSilent:
		t.short = name + ": silence"
	case boot.ReasonClientAborted, boot.ReasonInterrupted:
		t.short = name + ": broken off"
	default:
		t.short = name + ": failed"
	}
}

func transferLane(e *boot.Event) lane {
	if e.Block > 0 {
		return laneTFTP
	}
	return laneHTTP
}

func progressNote(e *boot.Event) string {
	if e.Total > 0 {
		return size(max(e.Bytes, 0)) + " of " + size(e.Total)
	}
	return size(max(e.Bytes, 0))
}

// dhcpNote is what helps to tell one question from its repetition.
func dhcpNote(e *boot.Event) string {
	var list []string
	if e.Firmware != "" && e.Firmware != boot.FirmwareUnknown {
		list = append(list, firmwareWord(e.Firmware))
	}
	if e.Secs > 0 {
		list = append(list, fmt.Sprintf("secs %d", e.Secs))
	}
	if e.XID != 0 {
		list = append(list, fmt.Sprintf("xid %08x", e.XID))
	}
	if e.Duration > 0 {
		list = append(list, "answered in "+took(e.Duration))
	}
	return join(list...)
}

func shapeNote(s *boot.Shape) string {
	if s == nil {
		return ""
	}
	return "form: " + shapeWords(*s)
}

func addr(e *boot.Event) string {
	if e.Addr.IsValid() {
		return e.Addr.String()
	}
	return ""
}

// eventRow is a row of the table of events.
type eventRow struct {
	At     string // since the first packet
	Clock  string
	Gap    string // how long nothing was seen before; empty when that is not worth a row
	Lane   string
	Class  string
	Tone   string
	What   string
	Detail string
	Why    string
}

// Silences from which on a person should see them as such. An installer speaks
// when it has something to say.
const (
	gapMin      = 3 * time.Second
	gapOfSystem = 5 * time.Minute
)

// eventRows is the table of an attempt's events. Progress of a transfer that
// came to an end is left out: the end says it all.
func eventRows(a *boot.Attempt, now time.Time) []eventRow {
	list := make([]eventRow, 0, len(a.Events))
	busy := time.Duration(0) // until when something was known to go on
	quiet := gapMin
	asked := map[uint32]bool{} // a question with the same number is a repetition
	for i := range a.Events {
		e := &a.Events[i]
		at := max(e.Time.Sub(a.Start), 0)
		if e.Kind == boot.KindProgress && ended(a.Events[i+1:], e.File) {
			if e.Bytes > 0 {
				busy = max(busy, at)
			}
			continue
		}
		t := tell(e)
		if e.Kind == boot.KindOffer || e.Kind == boot.KindSilence && t.lane == laneDHCP {
			if asked[e.XID] && e.XID != 0 {
				t.what = strings.Replace(t.what, "Asked", "Asked again", 1)
			}
			asked[e.XID] = true
		}
		began := at
		if e.Kind == boot.KindTFTP || e.Kind == boot.KindHTTP {
			began -= max(e.Duration, 0)
		}
		r := eventRow{
			At: plus(at), Clock: clock(e.Time, now), Lane: t.lane.String(), Class: t.lane.class(),
			Tone: t.tone, What: t.what, Detail: t.detail, Why: t.why,
		}
		if gap := began - busy; gap >= quiet && len(list) > 0 {
			r.Gap = took(gap)
		}
		if busy = max(busy, at); t.lane == laneSystem {
			quiet = gapOfSystem
		}
		list = append(list, r)
	}
	return list
}

// ended says whether the transfer of a file has an end among later events.
func ended(later []boot.Event, file string) bool {
	for i := range later {
		switch later[i].Kind {
		case boot.KindTFTP, boot.KindHTTP, boot.KindProgress:
			if later[i].File == file {
				return true
			}
		default:
		}
	}
	return false
}
