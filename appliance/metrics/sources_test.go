package metrics

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/bootpuck/bootpuck/appliance/boot"
	"github.com/bootpuck/bootpuck/appliance/health"
)

// whole is a box that tells everything.
func whole() Sources {
	count := func(n int) func() int { return func() int { return n } }
	counter := func(n uint64) func() uint64 { return func() uint64 { return n } }
	return Sources{
		Version: "v0", Site: "Berlin", Box: "Keller \"2\"",
		Health: func() health.Report { return health.Report{Name: "box", Status: health.OK} },
		Rivals: count(1), Clients: count(2), Machines: count(3), Waiting: count(4), LogDropped: counter(5),
		Active: count(6), AttemptsDropped: counter(7), Armed: count(8),
		Findings: func() []boot.Verdict {
			return []boot.Verdict{
				{Name: boot.ReasonRogueDHCP, Severity: boot.SeverityCritical},
				{Name: boot.ReasonRogueDHCP, Severity: boot.SeverityCritical},
				{Name: boot.ReasonTwin, Severity: boot.SeverityInfo},
				{Name: "made up", Severity: "made up"},
			}
		},
		LAN: func() boot.LAN {
			return boot.LAN{
				Standby: true,
				Servers: []boot.LANServer{{DHCP: true}, {DHCP: true, PXE: true}, {PXE: true}, {DHCP: true, BootFiles: []string{"x"}}, {PXE: true, Twin: true}},
				Ports:   []boot.LANPort{{Name: "wlan0", Up: true}, {Name: "eth1", Served: true, Speed: 1000}, {Name: "eth0", Served: true, Up: true, Speed: 2500}},
			}
		},
		StoreSize: func() (int64, bool) { return 65536, true },
		StateDisk: func() (uint64, uint64, bool) { return 1 << 30, 4 << 30, true },
		ClockSet:  func() bool { return true },
		Heat:      func() (float64, bool) { return 51.5, true },
		Throttled: func() (map[Throttle]bool, bool) { return map[Throttle]bool{ThrottleHeat: true}, true },
		Capture:   func() (uint64, uint64, uint64) { return 10, 11, 12 },
		Syslog:    func() (uint64, uint64) { return 13, 14 },
		Forward:   counter(15),
	}
}

func TestSources(t *testing.T) {
	t.Parallel()
	m := New(prometheus.NewPedanticRegistry(), whole())
	text := exposition(t, m)
	wantLines(t, text,
		NameBoxInfo+`{box="Keller \"2\"",site="Berlin"} 1`, NameAttemptsActive+` 6`, NameAttemptDropped+` 7`, NameArmed+` 8`,
		NameFindings+`{finding="rogue_dhcp",severity="critical"} 2`, NameFindings+`{finding="rogue_dhcp",severity="warning"} 0`,
		NameFindings+`{finding="twin",severity="info"} 1`, NameFindings+`{finding="other",severity="warning"} 1`,
		NameResponders+`{role="dhcp"} 1`, NameResponders+`{role="boot"} 1`, NameResponders+`{role="dhcp_and_boot"} 2`, NameResponders+`{role="twin"} 1`,
		NameStandby+` 1`, NameLinkUp+`{interface="eth0"} 1`, NameLinkUp+`{interface="eth1"} 0`, NameLinkUp+`{interface="wlan0"} 1`,
		NameLinkSpeed+`{interface="eth0"} 3.125e+08`,
		NameStoreSize+` 65536`, NameStateFree+` 1.073741824e+09`, NameStateSize+` 4.294967296e+09`, NameClockSet+` 1`,
		NameTemperature+` 51.5`, NameThrottled+`{cause="throttled"} 1`, NameThrottled+`{cause="under_voltage"} 0`,
		NameCapturePackets+` 10`, NameCaptureBytes+` 11`, NameCaptureDropped+` 12`, NameSyslogLines+` 13`, NameSyslogDropped+` 14`, NameForwardDropped+` 15`,
	)
	for _, absent := range []string{NameLinkSpeed + `{interface="eth1"}`, NameLinkSpeed + `{interface="wlan0"}`, "made up"} {
		if strings.Contains(text, absent) {
			t.Errorf("%s is told", absent)
		}
	}
	for _, name := range Names() {
		if !strings.Contains(text, "# TYPE "+name+" ") {
			t.Errorf("%s is not exported", name)
		}
	}
	for line := range strings.Lines(text) {
		name, ok := strings.CutPrefix(line, "# TYPE bootpuck_")
		if name, _, _ = strings.Cut(name, " "); ok && !slices.Contains(Names(), "bootpuck_"+name) {
			t.Errorf("bootpuck_%s is missing in Names", name)
		}
	}
}

// TestNothingIsKnown: a source that is missing is no zero, and no reason to fail.
func TestNothingIsKnown(t *testing.T) {
	t.Parallel()
	silent := Sources{
		StoreSize: func() (int64, bool) { return 0, false }, StateDisk: func() (uint64, uint64, bool) { return 0, 0, false },
		Heat: func() (float64, bool) { return 0, false }, Throttled: func() (map[Throttle]bool, bool) { return nil, false },
	}
	for _, src := range []Sources{{}, silent} {
		text := exposition(t, New(prometheus.NewPedanticRegistry(), src))
		for _, name := range []string{NameClockSet, NameFindings, NameStateFree, NameTemperature, NameThrottled, NameRivals, NameHealthy, NameLogDropped, NameLinkUp} {
			if strings.Contains(text, "\n"+name) {
				t.Errorf("%s is told without a source", name)
			}
		}
		wantLines(t, text, NameBoxInfo+`{box="",site=""} 1`)
	}
}

// TestLinksAreBounded: the served interfaces come first, and no more than eight.
func TestLinksAreBounded(t *testing.T) {
	t.Parallel()
	var ports []boot.LANPort
	for i := range 300 {
		ports = append(ports, boot.LANPort{Name: "veth" + string(rune('a'+i%26)) + strings.Repeat("x", i/26), Up: true, Speed: 10})
	}
	ports = append(ports, boot.LANPort{Name: "zz\xff", Served: true}, boot.LANPort{Name: "zz\xfe", Served: true})
	text := exposition(t, New(prometheus.NewPedanticRegistry(), Sources{LAN: func() boot.LAN { return boot.LAN{Ports: ports} }}))
	if n := strings.Count(text, "\n"+NameLinkUp+"{"); n != maxLinks {
		t.Errorf("%d interfaces, want %d", n, maxLinks)
	}
	wantLines(t, text, NameLinkUp+`{interface="zz?"} 0`)
}

// TestPromtoolWhole lets the reference tool look at everything a box can tell.
func TestPromtoolWhole(t *testing.T) {
	t.Parallel()
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed (Debian package prometheus)")
	}
	m := New(prometheus.NewPedanticRegistry(), whole())
	m.Ended(booted())
	cmd := exec.CommandContext(t.Context(), promtool, "check", "metrics")
	cmd.Stdin = strings.NewReader(exposition(t, m))
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}

func TestBoard(t *testing.T) {
	t.Parallel()
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	for _, tt := range []struct {
		name   string
		sys    fstest.MapFS
		heat   float64
		heatOK bool
		causes map[Throttle]bool
		slowOK bool
	}{
		{name: "virtual machine", sys: fstest.MapFS{}},
		{name: "Raspberry Pi", sys: fstest.MapFS{
			"class/thermal/thermal_zone0/type": file("cpu-thermal\n"), "class/thermal/thermal_zone0/temp": file("48312\n"), throttledFile: file("50005\n"),
		}, heat: 48.312, heatOK: true, slowOK: true, causes: map[Throttle]bool{ThrottleVoltage: true, ThrottleFrequency: false, ThrottleHeat: true, ThrottleSoft: false}},
		{name: "all well now, low voltage since power-on", sys: fstest.MapFS{throttledFile: file("0x50000")}, slowOK: true, causes: map[Throttle]bool{}},
		{name: "kernel with the voltage sensor only", sys: fstest.MapFS{
			"class/hwmon/hwmon0/name": file("nvme\n"), "class/hwmon/hwmon1/name": file("rpi_volt\n"), "class/hwmon/hwmon1/in0_lcrit_alarm": file("1\n"),
		}, slowOK: true, causes: map[Throttle]bool{ThrottleVoltage: true}},
		{name: "PC", sys: fstest.MapFS{
			"class/thermal/thermal_zone0/type": file("acpitz"), "class/thermal/thermal_zone0/temp": file("27800"),
			"class/thermal/thermal_zone1/type": file("x86_pkg_temp"), "class/thermal/thermal_zone1/temp": file("61000"),
		}, heat: 61, heatOK: true},
		{name: "nonsense", sys: fstest.MapFS{
			"class/thermal/thermal_zone0/type": file("cpu-thermal"), "class/thermal/thermal_zone0/temp": file("-274000"),
			"class/thermal/thermal_zone1/type": file("cpu-thermal"), "class/thermal/thermal_zone1/temp": file("hot"),
			"class/thermal/thermal_zone2/type": file("soc-thermal"),
			throttledFile:                      file("maybe"),
			"class/hwmon/hwmon0/name":          file(strings.Repeat("x", 5000)),
		}},
	} {
		b := NewBoard(tt.sys)
		if heat, ok := b.Heat(); heat != tt.heat || ok != tt.heatOK {
			t.Errorf("%s: %v %v", tt.name, heat, ok)
		}
		causes, ok := b.Throttled()
		if ok != tt.slowOK {
			t.Errorf("%s: throttled %v", tt.name, ok)
		}
		for _, c := range Throttles() {
			if causes[c] != tt.causes[c] {
				t.Errorf("%s: %s is %v", tt.name, c, causes[c])
			}
		}
	}
}
