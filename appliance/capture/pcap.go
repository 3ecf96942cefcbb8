package capture

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"time"
)

// Fields of a pcap file (the classic format, version 2.4).
const (
	pcapMagicNanos = 0xa1b23c4d // times have nanoseconds
	pcapSnap       = 4096       // no packet in the file is longer
	pcapEthernet   = 1          // LINKTYPE_ETHERNET
)

// writePcap writes packets as a pcap file. wall turns their times into those of
// the wall clock.
func writePcap(w io.Writer, packets []packet, wall func(time.Duration) time.Time) error {
	out := bufio.NewWriterSize(w, 32<<10)
	le := binary.LittleEndian
	b := le.AppendUint32(nil, pcapMagicNanos)
	b = le.AppendUint16(b, 2)
	b = le.AppendUint16(b, 4)
	b = le.AppendUint64(b, 0) // time zone and accuracy, always 0
	b = le.AppendUint32(b, pcapSnap)
	b = le.AppendUint32(b, pcapEthernet)
	_, err := out.Write(b)
	for _, p := range packets {
		if err != nil {
			break
		}
		// Before 1970 nothing can be written down: a clock that wrong is shown as 0.
		nanos := max(wall(p.at).UnixNano(), 0)
		b = le.AppendUint32(b[:0], uint32(nanos/1e9))
		b = le.AppendUint32(b, uint32(nanos%1e9))
		b = le.AppendUint32(b, uint32(len(p.frame)))
		b = le.AppendUint32(b, max(p.wire, uint32(len(p.frame))))
		if _, err = out.Write(b); err == nil {
			_, err = out.Write(p.frame)
		}
	}
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		return fmt.Errorf("write capture: %w", err)
	}
	return nil
}
