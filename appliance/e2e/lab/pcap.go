package lab

import (
	"encoding/binary"
	"io"
	"sync"
	"time"
)

// Snap lengths: whole datagrams for what is diagnosed byte by byte, headers
// for bulk data, so that a boot of 80 MB leaves a few megabytes.
const (
	snapAll = 65535
	snapTCP = 256
)

// Ring keeps the last frames of one client for a pcap file, bounded in bytes.
// It is safe for concurrent use.
type Ring struct {
	mu      sync.Mutex
	limit   int
	size    int
	head    int // index of the oldest kept frame in frames
	frames  []ringFrame
	dropped int
}

type ringFrame struct {
	at   time.Time
	orig int
	data []byte
}

// NewRing makes a ring that holds at most limit bytes of captured data.
func NewRing(limit int) *Ring { return &Ring{limit: limit} }

// Add records a copy of one frame.
func (r *Ring) Add(at time.Time, frame []byte) {
	n := min(len(frame), snapAll)
	if len(frame) > ethLen+9 && frame[12] == 8 && frame[13] == 0 && frame[ethLen+9] == protoTCP {
		n = min(n, snapTCP)
	}
	// A TFTP block of a large file, by its opcode: an installer by TFTP would push
	// everything else out.
	if u, ok := parseUDP(frame); ok && len(u.payload) > snapTCP && u.payload[0] == 0 && u.payload[1] == 3 && u.dstPort > 1023 && u.dstPort != portPXE {
		n = min(n, snapTCP)
	}
	data := make([]byte, n)
	copy(data, frame)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.frames = append(r.frames, ringFrame{at, len(frame), data})
	r.size += n + 16
	for r.size > r.limit && r.head < len(r.frames)-1 {
		r.size -= len(r.frames[r.head].data) + 16
		r.frames[r.head] = ringFrame{}
		r.head++
		r.dropped++
	}
	if r.head > 1024 && r.head > len(r.frames)/2 {
		r.frames = append(r.frames[:0:0], r.frames[r.head:]...)
		r.head = 0
	}
}

// Len is the number of frames kept now, and of those pushed out.
func (r *Ring) Len() (kept, dropped int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.frames) - r.head, r.dropped
}

// Frames calls f for every kept frame, oldest first, until f returns false.
// The data must not be kept or changed.
func (r *Ring) Frames(f func(at time.Time, frame []byte) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, fr := range r.frames[r.head:] {
		if !f(fr.at, fr.data) {
			return
		}
	}
}

// WriteTo writes a classic pcap file (microseconds, Ethernet).
func (r *Ring) WriteTo(w io.Writer) (int64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var total int64
	head := make([]byte, 24)
	binary.LittleEndian.PutUint32(head[0:], 0xa1b2c3d4)
	binary.LittleEndian.PutUint16(head[4:], 2)
	binary.LittleEndian.PutUint16(head[6:], 4)
	binary.LittleEndian.PutUint32(head[16:], snapAll)
	binary.LittleEndian.PutUint32(head[20:], 1) // LINKTYPE_ETHERNET
	n, err := w.Write(head)
	total += int64(n)
	if err != nil {
		return total, err
	}
	for _, f := range r.frames[r.head:] {
		rec := make([]byte, 16, 16+len(f.data))
		binary.LittleEndian.PutUint32(rec[0:], uint32(f.at.Unix()))
		binary.LittleEndian.PutUint32(rec[4:], uint32(f.at.Nanosecond()/1000))
		binary.LittleEndian.PutUint32(rec[8:], uint32(len(f.data)))
		binary.LittleEndian.PutUint32(rec[12:], uint32(f.orig))
		n, err := w.Write(append(rec, f.data...))
		total += int64(n)
		if err != nil {
			return total, err
		}
	}
	return total, nil
}
