package capture

import (
	"encoding/binary"
	"time"
)

const (
	// lenEntry precedes every frame in a chunk: time (8), length on the wire (4),
	// length kept (4).
	lenEntry = 16
	// Sizes of a chunk, octets. It is the unit that is forgotten at once, and at
	// the lower bound holds the longest frame.
	minChunk = 4 << 10
	maxChunk = 32 << 10
)

// packet is one frame that was kept.
type packet struct {
	at    time.Duration // since the ring was made, on a clock that does not jump
	wire  uint32        // octets on the wire
	frame []byte        // as much as was kept
}

// lane is what packets compete within: those of one class of one interface.
type lane struct {
	name  string
	class class
}

// store holds packets in chunks of memory, each lane in its order. When the
// memory is used up, the lane that holds most gives its oldest chunk: a flood
// in one lane pushes out only itself. Chunks are never written to again once
// their octets are there, so readers need no copy.
type store struct {
	chunk, most int // octets of a chunk, chunks in all
	used        int
	lanes       map[lane][][]byte
}

func newStore(octets int) *store {
	chunk := min(max(octets/128, minChunk), maxChunk)
	return &store{chunk: chunk, most: max(octets/chunk, 2), lanes: map[lane][][]byte{}}
}

// add keeps a frame. Frames longer than a chunk are not: the filter cuts them.
func (s *store) add(l lane, at time.Duration, wire int, frame []byte) bool {
	need := lenEntry + len(frame)
	if need > s.chunk {
		return false
	}
	chunks := s.lanes[l]
	if n := len(chunks); n == 0 || len(chunks[n-1])+need > s.chunk {
		if s.used >= s.most {
			s.forget()
		}
		s.used++
		chunks = append(s.lanes[l], make([]byte, 0, s.chunk))
	}
	last := &chunks[len(chunks)-1]
	b := binary.NativeEndian.AppendUint64(*last, uint64(at))
	b = binary.NativeEndian.AppendUint32(b, uint32(wire))
	b = binary.NativeEndian.AppendUint32(b, uint32(len(frame)))
	*last = append(b, frame...)
	s.lanes[l] = chunks
	return true
}

// forget drops the oldest chunk of the lane that holds most; among equals, of
// the one whose oldest packet is oldest.
func (s *store) forget() {
	var victim lane
	most, oldest := 0, time.Duration(0)
	for l, chunks := range s.lanes {
		if at := first(chunks); len(chunks) > most || len(chunks) == most && at < oldest {
			victim, most, oldest = l, len(chunks), at
		}
	}
	if most == 0 {
		return
	}
	s.used--
	if most == 1 {
		delete(s.lanes, victim)
		return
	}
	chunks := s.lanes[victim]
	chunks[0] = nil // or the array behind the slice would hold it
	s.lanes[victim] = chunks[1:]
}

func first(chunks [][]byte) time.Duration {
	return time.Duration(binary.NativeEndian.Uint64(chunks[0]))
}

// chunks returns all memory that is filled; it may be read without a lock.
func (s *store) chunks() [][]byte {
	out := make([][]byte, 0, s.used)
	for _, chunks := range s.lanes {
		for _, c := range chunks {
			out = append(out, c[:len(c):len(c)])
		}
	}
	return out
}

// each calls visit for every packet of a chunk, in the order of arrival.
func each(chunk []byte, visit func(packet)) {
	for len(chunk) >= lenEntry {
		n := lenEntry + int(binary.NativeEndian.Uint32(chunk[12:]))
		visit(packet{
			at:    time.Duration(binary.NativeEndian.Uint64(chunk)),
			wire:  binary.NativeEndian.Uint32(chunk[8:]),
			frame: chunk[lenEntry:n:n],
		})
		chunk = chunk[n:]
	}
}
