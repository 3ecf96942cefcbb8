package metrics

import (
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/bootpuck/bootpuck/appliance/boot"
	"github.com/bootpuck/bootpuck/appliance/health"
)

// Sources are the values that are read when a scrape comes. Each may be nil: then
// its metrics are absent, which is not the same as zero. All must be quick and
// safe for concurrent use.
type Sources struct {
	Version    string
	Site, Box  string // what the operator calls the place and the box; labels of box_info
	Health     func() health.Report
	Rivals     func() int    // DHCP and PXE servers heard besides us
	Clients    func() int    // clients remembered
	Machines   func() int    // machines recorded
	Waiting    func() int    // machines that wait for the operator's word
	LogDropped func() uint64 // log lines that found the writer busy

	Active          func() int            // attempts that run
	AttemptsDropped func() uint64         // events that found the joining of attempts busy
	Armed           func() int            // armed assignments that have not been used
	Findings        func() []boot.Verdict // of the doctor, on the LAN
	LAN             func() boot.LAN       // responders, links, twins

	StoreSize func() (octets int64, ok bool)             // of the state file; ok is false when there is none
	StateDisk func() (free, size uint64, ok bool)        // octets of the partition that it lies on
	ClockSet  func() bool                                // the clock has been set since power-on
	Heat      func() (celsius float64, ok bool)          // of the processor; see Board
	Throttled func() (causes map[Throttle]bool, ok bool) // what slows the board down now; see Board
	Capture   func() (packets, octets, dropped uint64)   // of the ring of recent packets
	Syslog    func() (lines, dropped uint64)             // of machines' system logs
	Forward   func() (dropped uint64)                    // own log lines that the remote log did not get
}

// Role is what another server on the LAN is, a label of NameResponders.
type Role string

// Roles of responders. Each server has one.
const (
	RoleDHCP Role = "dhcp" // hands out addresses
	RoleBoot Role = "boot" // answers network boot clients, without addresses
	RoleBoth Role = "dhcp_and_boot"
	RoleTwin Role = "twin" // another bootpuck
)

// Roles lists all roles.
func Roles() []Role { return []Role{RoleDHCP, RoleBoot, RoleBoth, RoleTwin} }

// RoleOf is the role of a server.
func RoleOf(s boot.LANServer) Role {
	switch {
	case s.Twin:
		return RoleTwin
	case s.DHCP && (s.PXE || len(s.BootFiles) > 0):
		return RoleBoth
	case s.DHCP:
		return RoleDHCP
	}
	return RoleBoot
}

// severities is the closed set of the label of that name.
var severities = []boot.Severity{boot.SeverityInfo, boot.SeverityWarning, boot.SeverityCritical}

// maxLinks bounds the interfaces with metrics of their own: the box names them,
// but a host with containers has hundreds that come and go.
const maxLinks = 8

// Bounds of what an operator may call the place and the box.
const maxBoxName = 64

// sourceCollector reads every source once per scrape.
type sourceCollector struct{ src Sources }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

var (
	healthDesc     = desc(NameHealthy, "Parts of the box: 1 works, 0.5 works with a reservation, 0 has failed or waits for a failed part.", "check")
	rivalsDesc     = desc(NameRivals, "DHCP and PXE servers heard on the LAN besides this box.")
	clientsDesc    = desc(NameClients, "Clients that are remembered.")
	machinesDesc   = desc(NameMachines, "Machines that are on record.")
	waitingDesc    = desc(NameWaiting, "Machines that wait for the operator's word.")
	logDesc        = desc(NameLogDropped, "Log lines dropped because the writer was busy.")
	activeDesc     = desc(NameAttemptsActive, "Boots of machines that are under way.")
	droppedDesc    = desc(NameAttemptDropped, "Events that are missing from boots because too many came at once; counters of the events themselves are complete.")
	armedDesc      = desc(NameArmed, "Armed assignments that wait for their machine: boots that overwrite something.")
	findingsDesc   = desc(NameFindings, "Findings on the LAN that hold now, by what was found.", "finding", "severity")
	respondersDesc = desc(NameResponders, "DHCP and boot servers on the LAN besides this box, by what they do.", "role")
	standbyDesc    = desc(NameStandby, "1 while this box leaves answering to another bootpuck.")
	linkUpDesc     = desc(NameLinkUp, "1 while an interface of the box has a link.", "interface")
	linkSpeedDesc  = desc(NameLinkSpeed, "Speed of the link of an interface of the box, as agreed with the switch, in octets per second; absent where the driver does not say.", "interface")
	storeDesc      = desc(NameStoreSize, "Size of the state file.")
	freeDesc       = desc(NameStateFree, "Free space on the partition that holds the state.")
	sizeDesc       = desc(NameStateSize, "Size of the partition that holds the state.")
	clockDesc      = desc(NameClockSet, "1 when the clock has been set since power-on.")
	heatDesc       = desc(NameTemperature, "Temperature of the processor; absent where the board does not say.")
	throttledDesc  = desc(NameThrottled, "1 while the board runs slower than it could, by cause; only on boards that say.", "cause")
	capturedDesc   = desc(NameCapturePackets, "Packets that went into the ring of recent packets.")
	octetsDesc     = desc(NameCaptureBytes, "Octets that went into the ring of recent packets.")
	missedDesc     = desc(NameCaptureDropped, "Packets that the ring of recent packets missed.")
	linesDesc      = desc(NameSyslogLines, "Lines received from machines' system logs.")
	linesLostDesc  = desc(NameSyslogDropped, "Lines of machines' system logs that were not kept because too many came.")
	forwardDesc    = desc(NameForwardDropped, "Lines of the box's own log that did not reach the remote log.")
)

// Describe implements prometheus.Collector.
func (c *sourceCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		healthDesc, rivalsDesc, clientsDesc, machinesDesc, waitingDesc, logDesc, activeDesc, droppedDesc, armedDesc, findingsDesc,
		respondersDesc, standbyDesc, linkUpDesc, linkSpeedDesc, storeDesc, freeDesc, sizeDesc, clockDesc, heatDesc, throttledDesc,
		capturedDesc, octetsDesc, missedDesc, linesDesc, linesLostDesc, forwardDesc,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *sourceCollector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v uint64) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v))
	}
	for _, s := range []struct {
		desc  *prometheus.Desc
		value func() int
	}{
		{rivalsDesc, c.src.Rivals},
		{clientsDesc, c.src.Clients},
		{machinesDesc, c.src.Machines},
		{waitingDesc, c.src.Waiting},
		{activeDesc, c.src.Active},
		{armedDesc, c.src.Armed},
	} {
		if s.value != nil {
			gauge(s.desc, float64(s.value()))
		}
	}
	for _, s := range []struct {
		desc  *prometheus.Desc
		value func() uint64
	}{
		{logDesc, c.src.LogDropped},
		{droppedDesc, c.src.AttemptsDropped},
		{forwardDesc, c.src.Forward},
	} {
		if s.value != nil {
			counter(s.desc, s.value())
		}
	}
	if c.src.Health != nil {
		collectHealth(c.src.Health(), gauge)
	}
	if c.src.Findings != nil {
		collectFindings(c.src.Findings(), gauge)
	}
	if c.src.LAN != nil {
		collectLAN(c.src.LAN(), gauge)
	}
	if c.src.Capture != nil {
		packets, octets, dropped := c.src.Capture()
		counter(capturedDesc, packets)
		counter(octetsDesc, octets)
		counter(missedDesc, dropped)
	}
	if c.src.Syslog != nil {
		lines, dropped := c.src.Syslog()
		counter(linesDesc, lines)
		counter(linesLostDesc, dropped)
	}
	c.collectMachine(gauge)
}

// collectMachine tells of the state and the board.
func (c *sourceCollector) collectMachine(gauge func(*prometheus.Desc, float64, ...string)) {
	if c.src.StoreSize != nil {
		if size, ok := c.src.StoreSize(); ok {
			gauge(storeDesc, float64(size))
		}
	}
	if c.src.StateDisk != nil {
		if free, size, ok := c.src.StateDisk(); ok {
			gauge(freeDesc, float64(free))
			gauge(sizeDesc, float64(size))
		}
	}
	if c.src.ClockSet != nil {
		gauge(clockDesc, truth(c.src.ClockSet()))
	}
	if c.src.Heat != nil {
		if celsius, ok := c.src.Heat(); ok {
			gauge(heatDesc, celsius)
		}
	}
	if c.src.Throttled != nil {
		if causes, ok := c.src.Throttled(); ok {
			for _, t := range Throttles() {
				gauge(throttledDesc, truth(causes[t]), string(t))
			}
		}
	}
}

// collectHealth turns the health tree into one gauge per part.
func collectHealth(report health.Report, gauge func(*prometheus.Desc, float64, ...string)) {
	seen := map[string]bool{}
	report.Walk(func(r health.Report) {
		if seen[r.Name] {
			return // the same series twice would spoil the whole scrape
		}
		seen[r.Name] = true
		v := 0.0
		switch r.Status {
		case health.OK:
			v = 1
		case health.Degraded:
			v = .5
		case health.Failed, health.Blocked:
		}
		gauge(healthDesc, v, r.Name)
	})
}

// collectFindings counts the findings by name and severity; those that do not
// hold are zero.
func collectFindings(found []boot.Verdict, gauge func(*prometheus.Desc, float64, ...string)) {
	type key struct {
		name     boot.Reason
		severity boot.Severity
	}
	names := append(boot.FindingNames(), outcomeOther)
	n := map[key]int{}
	for _, f := range found {
		k := key{f.Name, f.Severity}
		if !slices.Contains(names, k.name) {
			k.name = outcomeOther
		}
		if !slices.Contains(severities, k.severity) {
			k.severity = boot.SeverityWarning
		}
		n[k]++
	}
	for _, name := range names {
		for _, s := range severities {
			gauge(findingsDesc, float64(n[key{name, s}]), string(name), string(s))
		}
	}
}

// collectLAN tells of the servers around and of the box's own links.
func collectLAN(l boot.LAN, gauge func(*prometheus.Desc, float64, ...string)) {
	roles := map[Role]int{}
	for _, s := range l.Servers {
		roles[RoleOf(s)]++
	}
	for _, r := range Roles() {
		gauge(respondersDesc, float64(roles[r]), string(r))
	}
	gauge(standbyDesc, truth(l.Standby))
	ports := slices.Clone(l.Ports)
	// Served ones first: they are what the box is for.
	slices.SortFunc(ports, func(a, b boot.LANPort) int {
		if a.Served != b.Served {
			return int(truth(b.Served)) - int(truth(a.Served))
		}
		return strings.Compare(a.Name, b.Name)
	})
	seen := map[string]bool{}
	for _, p := range ports {
		name := label(p.Name)
		if seen[name] || len(seen) >= maxLinks {
			continue
		}
		seen[name] = true
		gauge(linkUpDesc, truth(p.Up), name)
		if p.Up && p.Speed > 0 {
			gauge(linkSpeedDesc, float64(p.Speed)*1e6/8, name)
		}
	}
}

// label makes any text a label value: names of interfaces are octets to the
// kernel, and what the operator typed may be anything.
func label(s string) string {
	s = strings.ToValidUTF8(s, "?")
	for i := range s {
		if i > maxBoxName {
			return s[:i]
		}
	}
	return s
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
