package proxydhcp

import (
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// Limits of one hardware address. A boot takes three to five answers in ten
// seconds; requests that get none (for the site's DHCP server) are many more.
const (
	limitWindow  = 10 * time.Second
	limitAnswers = 10
	limitPackets = 80
)

// hwKey is a raw hardware address, zero beyond its length.
type hwKey [16]byte

// limiter decides, before anything is decoded, whether a packet is worth
// looking at. It is what keeps a flood from one client away from all others.
type limiter struct {
	clients *lru[hwKey, budget]
	rate    float64 // answers per second over all
	tokens  float64
	filled  time.Time
}

type budget struct {
	start            time.Time // of the window
	answers, packets int
	mac              boot.MAC // in text, once it is needed
}

func newLimiter(clients, perSecond int) *limiter {
	return &limiter{clients: newLRU[hwKey, budget](clients), rate: float64(perSecond), tokens: float64(perSecond)}
}

// admit counts a packet of the client and says whether to look at it. For one
// that is refused it returns the entry of its client.
func (l *limiter) admit(key hwKey, now time.Time) (b *budget, ok bool) {
	b = l.clients.get(key)
	if b == nil {
		b, _, _ = l.clients.add(key)
	}
	if d := now.Sub(b.start); d >= limitWindow || d < 0 {
		*b = budget{start: now, mac: b.mac}
	}
	b.packets++
	if b.answers >= limitAnswers || b.packets > limitPackets {
		return b, false
	}
	// The bucket holds one second's worth.
	if d := now.Sub(l.filled); d > 0 {
		l.tokens = min(l.rate, l.tokens+d.Seconds()*l.rate)
		l.filled = now
	}
	return b, l.tokens >= 1
}

// answered takes one answer from the budgets.
func (l *limiter) answered(key hwKey) {
	l.tokens--
	if b := l.clients.get(key); b != nil {
		b.answers++
	}
}
