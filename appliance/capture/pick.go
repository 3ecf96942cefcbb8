package capture

import (
	"cmp"
	"crypto/rand"
	"io"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

const (
	// MaxKept is how many captures Keep remembers.
	MaxKept = 16
	// maxKeptBytes bounds one of them, octets.
	maxKeptBytes = 64 << 10
	// slack is added to both ends of a time span: a packet is seen here a little
	// before or after the part of the box that tells of it.
	slack = time.Second
)

// Select says which packets are meant.
type Select struct {
	// MACs and Addrs are the stations: a packet from or to one of them counts, and
	// DHCP and ARP about one. None at all: every packet.
	MACs  []boot.MAC
	Addrs []netip.Addr
	// From and To are the time span, one second more at both ends; zero: no bound.
	From, To time.Time
	// Redact replaces what tells who and where: hardware and network addresses,
	// names, serial numbers, paths, contents. Equal things get equal replacements
	// within one file.
	Redact bool
}

// goneError says that there are no packets.
type goneError struct{}

// Error implements error.
func (goneError) Error() string { return boot.ReasonCaptureGone.Text() }

// Reason names it.
func (goneError) Reason() boot.Reason { return boot.ReasonCaptureGone }

// kept are the packets of one attempt.
type kept struct {
	id      boot.AttemptID
	packets []packet
}

// wall returns a function from times of packets to the wall clock as it is now:
// packets from before the clock was set get the time that they should have had.
func (r *Ring) wall() func(time.Duration) time.Time {
	now := r.config.Now()
	age := now.Sub(r.epoch)
	return func(at time.Duration) time.Time { return now.Add(at - age) }
}

// selected returns packets of the ring in the order of time.
func (r *Ring) selected(s Select) []packet {
	macs, addrs := map[hwaddr]bool{}, map[ipaddr]bool{}
	for _, m := range s.MACs {
		if hw, err := net.ParseMAC(string(m)); err == nil && len(hw) == 6 {
			macs[hwaddr(hw)] = true
		}
	}
	for _, a := range s.Addrs {
		if a = a.Unmap(); a.Is4() && !a.IsUnspecified() {
			addrs[a.As4()] = true
		}
	}
	all := len(s.MACs) == 0 && len(s.Addrs) == 0
	wall := r.wall()
	from, to := s.From.Add(-slack), s.To.Add(slack)
	r.mu.Lock()
	chunks := r.store.chunks()
	r.mu.Unlock()
	var out []packet
	for _, c := range chunks {
		each(c, func(p packet) {
			at := wall(p.at)
			if !s.From.IsZero() && at.Before(from) || !s.To.IsZero() && at.After(to) {
				return
			}
			if f, ok := parse(p.frame, uint16(r.config.HTTPPort)); ok && (all || f.about(macs, addrs)) {
				out = append(out, p)
			}
		})
	}
	slices.SortStableFunc(out, func(a, b packet) int { return cmp.Compare(a.at, b.at) })
	return out
}

// WritePcap writes the packets that s selects as a pcap file (classic format,
// times in nanoseconds, Ethernet) and returns their number. Without any it
// writes nothing; the error then has a method Reason, which says
// boot.ReasonCaptureGone. Other errors are those of w.
func (r *Ring) WritePcap(w io.Writer, s Select) (packets int, err error) {
	return r.write(w, r.selected(s), s.Redact)
}

func (r *Ring) write(w io.Writer, packets []packet, redacted bool) (int, error) {
	if redacted {
		packets = redact(packets, uint16(r.config.HTTPPort), randomSeed)
	}
	if len(packets) == 0 {
		return 0, goneError{}
	}
	return len(packets), writePcap(w, packets, r.wall())
}

func randomSeed() (seed [32]byte) {
	_, _ = rand.Read(seed[:]) // never fails
	return seed
}

// Keep sets the packets that s selects aside under id, so that newer traffic
// does not push them out: those of the last MaxKept calls, at most 64 kB each
// (the beginning and, three times as much, the end). s.Redact does not matter.
// Without any packet nothing happens.
func (r *Ring) Keep(id boot.AttemptID, s Select) {
	packets := bounded(r.selected(s), maxKeptBytes)
	if len(packets) == 0 {
		return
	}
	for i := range packets {
		packets[i].frame = slices.Clone(packets[i].frame) // or whole chunks would stay
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kept = slices.DeleteFunc(r.kept, func(k kept) bool { return k.id == id })
	r.kept = append(r.kept, kept{id, packets})
	if n := len(r.kept) - MaxKept; n > 0 {
		r.kept = slices.Delete(r.kept, 0, n)
	}
}

// bounded returns at most octets of packets: from the beginning a quarter, the
// rest from the end.
func bounded(packets []packet, octets int) []packet {
	size := func(p packet) int { return lenEntry + len(p.frame) }
	head, room := 0, octets/4
	for head < len(packets) && size(packets[head]) <= room {
		room -= size(packets[head])
		head++
	}
	tail := len(packets)
	for room += octets - octets/4; tail > head && size(packets[tail-1]) <= room; tail-- {
		room -= size(packets[tail-1])
	}
	return slices.Concat(packets[:head], packets[tail:])
}

// WriteKept writes what Keep set aside under id, redacted on request, and
// returns the number of packets. Errors are those of WritePcap.
func (r *Ring) WriteKept(w io.Writer, id boot.AttemptID, redacted bool) (int, error) {
	r.mu.Lock()
	var packets []packet
	if i := slices.IndexFunc(r.kept, func(k kept) bool { return k.id == id }); i >= 0 {
		packets = r.kept[i].packets
	}
	r.mu.Unlock()
	return r.write(w, packets, redacted)
}
