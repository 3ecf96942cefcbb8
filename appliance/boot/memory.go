package boot

import (
	"container/list"
	"net/netip"
	"sync"
	"time"
)

// Memory is what the box remembers of the clients it has met: which style of
// offer was tried and which worked, and which address belongs to which machine.
// It is bounded: the least recently seen client is forgotten first. It reads no
// clock; safe for concurrent use.
type Memory struct {
	mu     sync.Mutex
	max    int
	byMAC  map[MAC]*list.Element // of *memory
	byAddr map[netip.Addr]*list.Element
	order  *list.List // front: most recent
}

type memory struct {
	mac    MAC
	addr   netip.Addr
	form   Form
	xid    uint32
	asked  bool
	loaded bool
	worked Form
	last   Client
	at     time.Time // of the last offer
	stage1 [loopLimit]time.Time
	looped time.Time // when a loop was last reported

	rounds    [programs]round
	current   program // who was last offered something
	addressed bool    // since then the site's DHCP server offered it an address
	option60  bool    // and said in it that it is a boot server itself
	started   noted   // first stage that has not been heard of since it was fetched
	silences  int     // first stages in a row that were not heard of
	stalls    int     // transfers in a row of which nothing arrived
	whole     int     // block size with which a whole file arrived
}

// noted is a first stage on its way.
type noted struct {
	at  time.Time // when it was there; zero: nothing is waited for
	who program   // whom it was offered to
}

// loopLimit and loopWindow are the loop guard: more than three identical first
// stages to one machine within a minute.
const (
	loopLimit  = 4
	loopWindow = 60 * time.Second
)

// NewMemory returns a Memory for at most limit clients (at least 1).
func NewMemory(limit int) *Memory {
	return &Memory{
		max: max(limit, 1), byMAC: map[MAC]*list.Element{},
		byAddr: map[netip.Addr]*list.Element{}, order: list.New(),
	}
}

// History returns what is remembered of mac at the time now.
func (m *Memory) History(mac MAC, now time.Time) History {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.byMAC[mac]
	if !ok {
		return History{}
	}
	r := e.Value.(*memory)
	h := History{
		XID: r.xid, Form: r.form, Asked: r.asked, Loaded: r.loaded,
		Worked: r.worked, Age: now.Sub(r.at), Last: r.last,
		now: now, addressed: r.addressed, option60: r.option60, rounds: r.rounds,
	}
	if r.overdue(now) && r.suspect(r.started.who, r.silences+1) {
		h.rounds[r.started.who].lost = true
	}
	return h
}

// Offered records that d was sent to c in answer to a DISCOVER. loop is true
// once per run of more than three first stages within a minute.
func (m *Memory) Offered(c Client, d Decision, now time.Time) (loop bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.touch(c.MAC)
	r.offered(c, d, now)
	r.last, r.at = c, now
	// Only UEFI has a choice of style; a machine that boots as BIOS in between
	// says nothing about its UEFI.
	if (d.Form == FormDirect || d.Form == FormTwoStep) && c.Firmware == FirmwareUEFI {
		r.form, r.xid, r.asked, r.loaded = d.Form, c.XID, false, false
	}
	if !d.Stage1 {
		return false
	}
	copy(r.stage1[1:], r.stage1[:loopLimit-1])
	r.stage1[0] = now
	oldest := r.stage1[loopLimit-1]
	if oldest.IsZero() || now.Sub(oldest) > loopWindow || now.Sub(r.looped) <= loopWindow && !r.looped.IsZero() {
		return false
	}
	r.looped = now
	if c.Firmware == FirmwareIPXE {
		r.rounds[programIPXE].looping = true
	}
	return true
}

// Asked records a request on port 4011 by mac from addr.
func (m *Memory) Asked(mac MAC, addr netip.Addr) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.touch(mac)
	r.asked = true
	m.place(r, addr)
}

// Leased records that mac is taking addr, as overheard from its REQUEST to the
// site's DHCP server.
func (m *Memory) Leased(mac MAC, addr netip.Addr) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, known := m.byMAC[mac]; known { // strangers that never asked to boot are not kept
		r := m.touch(mac)
		r.addressed = true
		m.place(r, addr)
	}
}

// Loaded records that the client at addr fetches its next stage. The style of
// its last offer is thereby known to work.
func (m *Memory) Loaded(addr netip.Addr) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.byAddr[addr.Unmap()]
	if !ok {
		return
	}
	r := e.Value.(*memory)
	r.fetches()
	r.loaded = true
	if r.form != FormNone {
		r.worked = r.form
	}
}

// WhoIs returns the client that was last seen using addr.
func (m *Memory) WhoIs(addr netip.Addr) (Client, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.byAddr[addr.Unmap()]
	if !ok {
		return Client{}, false
	}
	r := e.Value.(*memory)
	c := r.last
	c.MAC = r.mac
	return c, true
}

// Addr is the address that mac was last seen using; ok is false when none was.
func (m *Memory) Addr(mac MAC) (addr netip.Addr, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, known := m.byMAC[mac]
	if !known {
		return netip.Addr{}, false
	}
	addr = e.Value.(*memory).addr
	return addr, addr.IsValid()
}

// Len is the number of clients remembered.
func (m *Memory) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.order.Len()
}

func (m *Memory) touch(mac MAC) *memory {
	if e, ok := m.byMAC[mac]; ok {
		m.order.MoveToFront(e)
		return e.Value.(*memory)
	}
	if m.order.Len() >= m.max {
		oldest := m.order.Back()
		r := oldest.Value.(*memory)
		delete(m.byMAC, r.mac)
		if m.byAddr[r.addr] == oldest {
			delete(m.byAddr, r.addr)
		}
		m.order.Remove(oldest)
	}
	r := &memory{mac: mac}
	m.byMAC[mac] = m.order.PushFront(r)
	return r
}

// place moves r to addr. An address that another machine had is taken over: the
// site's DHCP server may have given it away again.
func (m *Memory) place(r *memory, addr netip.Addr) {
	addr = addr.Unmap()
	e := m.byMAC[r.mac]
	if !addr.IsValid() || addr.IsUnspecified() || m.byAddr[addr] == e {
		return
	}
	if m.byAddr[r.addr] == e {
		delete(m.byAddr, r.addr)
	}
	r.addr = addr
	m.byAddr[addr] = e
}
