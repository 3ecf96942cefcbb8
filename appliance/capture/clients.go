package capture

import (
	"hash/maphash"
	"time"
)

const (
	maxClients = 1024             // of either generation
	generation = 30 * time.Minute // a client is remembered for one to two of these
)

// recent is a bounded set that forgets: what was put into it is there for one to
// two generations, less when more than maxClients come in one.
type recent[K comparable] struct {
	now, before map[K]struct{}
	turned      time.Duration
}

func (r *recent[K]) put(k K, at time.Duration) {
	if _, there := r.now[k]; there {
		return
	}
	if r.now == nil || len(r.now) >= maxClients || at-r.turned > generation {
		r.before, r.now, r.turned = r.now, make(map[K]struct{}), at
	}
	r.now[k] = struct{}{}
}

func (r *recent[K]) has(k K) bool {
	if _, there := r.now[k]; there {
		return true
	}
	_, there := r.before[k]
	return there
}

// clients are the stations that were seen to boot, and decide what else is
// theirs: ARP and the packets of transfers without a port number of their own.
type clients struct {
	macs  recent[hwaddr]
	addrs recent[ipaddr]
}

// wants learns from a frame and says whether it has to do with booting.
func (c *clients) wants(f *frame, at time.Duration) bool {
	switch f.kind {
	case kindDHCP:
		if f.bootClient && f.client != (hwaddr{}) {
			c.macs.put(f.client, at)
		}
		if f.yiaddr != (ipaddr{}) && c.macs.has(f.client) {
			c.addrs.put(f.yiaddr, at)
		}
		return true
	case kindARP:
		return c.macs.has(f.fromHW) || c.macs.has(f.toHW) || c.addrs.has(f.from) || c.addrs.has(f.to)
	case kindTFTP:
		if f.opcode == tftpRead || f.opcode == tftpWrite {
			c.addrs.put(f.from, at)
			return true
		}
		return c.addrs.has(f.from) || c.addrs.has(f.to)
	case kindHTTP:
	}
	return true
}

// Rates of what is kept. A station that sends more is sampled; so is everybody
// together, in the part of the traffic that strangers can forge.
const (
	perStation      = 20  // a second
	burstAsking     = 60  // of one hardware address
	burstFetching   = 400 // of one address: a boot, and the first files of an installer
	askingPerSecond = 500
	askingBurst     = 2000
	buckets         = 1024
)

// bucket holds what may still come, as the time at which it is full again.
type bucket struct{ full time.Duration }

// take says whether one more may come.
func (b *bucket) take(at time.Duration, rate, burst int) bool {
	cost := time.Second / time.Duration(rate)
	full := max(b.full, at) + cost
	if full-at > time.Duration(burst)*cost {
		return false
	}
	b.full = full
	return true
}

// limits bounds what one station, and all that ask, put into the ring. Stations
// share buckets by chance: memory does not grow with their number.
type limits struct {
	seed    maphash.Seed
	station [2][buckets]bucket
	asking  bucket
}

func newLimits() *limits { return &limits{seed: maphash.MakeSeed()} }

// allow says whether the frame is kept. outgoing frames count for their receiver.
func (l *limits) allow(f *frame, outgoing bool, at time.Duration) bool {
	class := f.class()
	var h uint64
	switch {
	case f.kind == kindDHCP && f.client != (hwaddr{}):
		h = maphash.Bytes(l.seed, f.client[:])
	case class == classFetching && outgoing:
		h = maphash.Bytes(l.seed, f.to[:])
	case class == classFetching:
		h = maphash.Bytes(l.seed, f.from[:])
	case outgoing:
		h = maphash.Bytes(l.seed, f.dst[:])
	default:
		h = maphash.Bytes(l.seed, f.src[:])
	}
	b := &l.station[class][h%buckets]
	if class == classFetching {
		return b.take(at, perStation, burstFetching)
	}
	return b.take(at, perStation, burstAsking) && l.asking.take(at, askingPerSecond, askingBurst)
}
