package main

import (
	"fmt"
	"io"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/bootpuck/bootpuck/appliance/e2e/lab"
)

// narrator prints one sentence per thing that happened, with the time since
// the start. It is safe for concurrent use.
type narrator struct {
	mu    sync.Mutex
	out   io.Writer
	start time.Time
	last  string
}

func newNarrator(out io.Writer) *narrator { return &narrator{out: out, start: time.Now()} }

func (n *narrator) say(format string, args ...any) {
	n.sayAt(time.Now(), fmt.Sprintf(format, args...))
}

func (n *narrator) sayAt(at time.Time, sentence string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	// Clients repeat themselves; a reader need not.
	if sentence == "" || sentence == n.last {
		return
	}
	n.last = sentence
	fmt.Fprintf(n.out, "%6.1f s  %s\n", at.Sub(n.start).Seconds(), sentence)
}

func (n *narrator) mark(m lab.Mark)   { n.sayAt(m.At, sayMark(m)) }
func (n *narrator) event(e lab.Event) { n.sayAt(e.Time, sayEvent(e)) }

// sayMark is the sentence for what was seen on the wire: what the machine and
// the router do. What the box does, it says itself.
func sayMark(m lab.Mark) string {
	switch m.Kind {
	case lab.KindDiscover:
		return "The machine asks the LAN for an address and for something to boot (" + m.Note + ")."
	case lab.KindLeaseOffer:
		return fmt.Sprintf("The router %s offers it an address and nothing to boot.", m.Server)
	case lab.KindAck:
		return fmt.Sprintf("The router %s has given it the address.", m.Server)
	case lab.KindPXERequest:
		return fmt.Sprintf("The machine asks the boot server %s for its file (port 4011).", m.Server)
	case lab.KindTFTPRequest:
		return fmt.Sprintf("The machine asks for %s by TFTP.", path.Base(m.Name))
	case lab.KindHTTPRequest:
		if m.Note == "GET" {
			return fmt.Sprintf("The machine asks for %s by HTTP.", m.Name)
		}
	case lab.KindHTTPDone:
		if m.Bytes > 1<<20 {
			return fmt.Sprintf("%s has arrived, %.1f MB.", path.Base(m.Name), float64(m.Bytes)/1e6)
		}
	case lab.KindNak:
		return fmt.Sprintf("%s refuses the machine the address.", m.Server)
	case lab.KindBootOffer, lab.KindPXEAck, lab.KindTFTPDone, lab.KindScript:
		// The box's own account of it has more to say.
	case lab.KindRequest, lab.KindTFTPError:
		// Goes without saying, or is the size probe that firmware ends so.
	default:
	}
	return ""
}

// sayEvent is the sentence for an event of the box's journal.
func sayEvent(e lab.Event) string {
	who := "the machine"
	if e.Firmware != "" {
		who += " (" + e.Firmware + ")"
	}
	switch e.Kind {
	case "offer":
		return fmt.Sprintf("The box offers %s the file %s.", who, e.File)
	case "ack":
		return fmt.Sprintf("The box answers %s on port 4011 with %s.", who, e.File)
	case "tftp":
		if e.Reason == "" {
			return fmt.Sprintf("The box has sent %s by TFTP: %d bytes in %.0f ms, %d retries.", path.Base(e.File), e.Bytes, e.DurationMS, e.Retries)
		}
	case "script":
		return fmt.Sprintf("The box has written a script for %s (%s, %d bytes).", who, e.File, e.Bytes)
	case "warning", "responder":
		return sentence("The box notes: ", e)
	case "box", "network":
		return sentence("The box says: ", e)
	}
	return ""
}

func sentence(prefix string, e lab.Event) string {
	text := strings.TrimSpace(e.Text)
	if text == "" {
		text = e.ReasonText
	}
	if text == "" {
		return ""
	}
	return prefix + strings.TrimSuffix(text, ".") + "."
}

// short is the first line of a reason, not too long for a sentence.
func short(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	if len(s) > 90 {
		s = s[:87] + "..."
	}
	return strings.TrimSuffix(s, ".")
}
