package boot

import (
	"net/netip"
	"time"
)

// LAN is what the box knows of the network around it, for verdicts. It is a
// snapshot; nothing in it changes.
type LAN struct {
	Now       time.Time     `json:"now"`
	Observe   bool          `json:"observe,omitempty"`   // the box sends nothing
	ClockSet  bool          `json:"clock_set"`           // the clock has been set since power-on
	ClockStep time.Time     `json:"clock_step,omitzero"` // when it last jumped by more than a minute
	Servers   []LANServer   `json:"servers"`             // other DHCP and PXE servers
	Ports     []LANPort     `json:"ports"`               // the box's own interfaces
	Changes   []LANChange   `json:"changes,omitempty"`   // of the box's addresses, newest last, at most MaxLANChanges
	Gateways  []LANGateway  `json:"gateways,omitempty"`  // routers, newest last
	Conflicts []LANConflict `json:"conflicts,omitempty"` // somebody else uses an address of the box
	Probes    []LANProbe    `json:"probes,omitempty"`    // latest question to the DHCP servers, per interface
	Twins     []LANTwin     `json:"twins,omitempty"`     // other bootpucks
	Standby   bool          `json:"standby,omitempty"`   // this box leaves answering to a twin
}

// Bounds of a LAN.
const (
	MaxLANChanges   = 32
	MaxLANConflicts = 16
	MaxLANGateways  = 16
	MaxLANTwins     = 8
)

// LANServer is another DHCP or PXE server. Its texts are a stranger's.
type LANServer struct {
	Server      netip.Addr `json:"server"`
	MAC         MAC        `json:"mac"`
	Interface   string     `json:"interface"`
	Relay       netip.Addr `json:"relay,omitzero"`
	DHCP        bool       `json:"dhcp"` // hands out addresses
	PXE         bool       `json:"pxe"`  // answers network boot clients without an address
	Classes     []string   `json:"classes,omitempty"`
	BootFiles   []string   `json:"boot_files,omitempty"`
	NextServers []string   `json:"next_servers,omitempty"`
	First       time.Time  `json:"first"`
	Last        time.Time  `json:"last"`
	Replies     uint64     `json:"replies"`
	Naks        uint64     `json:"naks,omitempty"`
	Twin        bool       `json:"twin,omitempty"`     // it is a bootpuck
	Expected    bool       `json:"expected,omitempty"` // the operator said that it belongs here, or it was the first of its kind
	Asked       bool       `json:"asked,omitempty"`    // it answered a probe of the box
	Findings    []Reason   `json:"findings,omitempty"` // what is wrong with it, current ones only
}

// LANPort is an interface of the box.
type LANPort struct {
	Name      string         `json:"name"`
	MAC       MAC            `json:"mac"`
	Up        bool           `json:"up"`
	UpSince   time.Time      `json:"up_since,omitzero"` // when the link came up
	Served    bool           `json:"served"`
	MTU       int            `json:"mtu"`
	Speed     int            `json:"speed_mbit,omitempty"` // 0 unknown
	Addrs     []netip.Prefix `json:"addrs"`
	Neighbour *LLDP          `json:"neighbour,omitempty"`
}

// LLDP is what a switch says about itself (IEEE 802.1AB). A stranger's text.
type LLDP struct {
	Chassis         string    `json:"chassis"`
	Port            string    `json:"port"`
	PortDescription string    `json:"port_description,omitempty"`
	System          string    `json:"system,omitempty"`
	VLAN            int       `json:"vlan,omitempty"` // port VLAN identifier; 0 unknown
	Last            time.Time `json:"last"`
}

// LANChange is a change of an address of the box.
type LANChange struct {
	Time      time.Time  `json:"time"`
	Interface string     `json:"interface"`
	From      netip.Addr `json:"from,omitzero"`
	To        netip.Addr `json:"to,omitzero"`
}

// LANGateway is the default router as it was at some time.
type LANGateway struct {
	Time      time.Time  `json:"time"` // since when
	Interface string     `json:"interface"`
	Addr      netip.Addr `json:"addr"`
	MAC       MAC        `json:"mac,omitempty"` // empty while not known
}

// LANConflict is another station that claims an address of the box.
type LANConflict struct {
	Interface string     `json:"interface"`
	Addr      netip.Addr `json:"addr"`
	MAC       MAC        `json:"mac"` // the other's
	First     time.Time  `json:"first"`
	Last      time.Time  `json:"last"`
}

// LANProbe is one question to the DHCP servers of an interface: a DISCOVER of
// the box's own, never followed by a REQUEST.
type LANProbe struct {
	Time      time.Time    `json:"time"`
	Interface string       `json:"interface"`
	Answers   []netip.Addr `json:"answers"` // servers that offered, by option 54
	Err       string       `json:"error,omitempty"`
}

// LANTwin is another bootpuck.
type LANTwin struct {
	ID      string        `json:"id"`
	Addr    netip.Addr    `json:"addr"`
	Version string        `json:"version"`
	Uptime  time.Duration `json:"uptime_ns"`
	Older   bool          `json:"older"`   // it has run longer than this box
	Standby bool          `json:"standby"` // it stands by
	Last    time.Time     `json:"last"`
}
