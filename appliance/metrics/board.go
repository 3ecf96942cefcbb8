package metrics

import (
	"io/fs"
	"path"
	"strconv"
	"strings"
)

// Throttle is a cause for which a board runs slower than it could.
type Throttle string

// Causes that the Raspberry Pi's firmware tells (its command get_throttled, bits 0
// to 3).
const (
	ThrottleVoltage   Throttle = "under_voltage"    // the power supply or its cable is too weak
	ThrottleFrequency Throttle = "frequency_capped" // the processor is held below its full clock
	ThrottleHeat      Throttle = "throttled"        // slowed down to cool
	ThrottleSoft      Throttle = "soft_temperature" // the first temperature limit is reached
)

// Throttles lists all causes in the order of their bits.
func Throttles() []Throttle {
	return []Throttle{ThrottleVoltage, ThrottleFrequency, ThrottleHeat, ThrottleSoft}
}

// Board reads what the kernel tells of the board it runs on. Its methods are
// sources; each says ok false where there is nothing to be read, as in a virtual
// machine.
type Board struct {
	sys fs.FS
}

// NewBoard reads from sys, which is the tree at /sys: os.DirFS("/sys").
func NewBoard(sys fs.FS) *Board { return &Board{sys: sys} }

// maxZones bounds the sensors that are looked at.
const maxZones = 32

// processorZones are the kinds of thermal zone that are the processor's: those of
// the Raspberry Pi, of other ARM boards and of PCs.
var processorZones = []string{"cpu-thermal", "cpu_thermal", "soc-thermal", "soc_thermal", "x86_pkg_temp"}

// Heat is the processor's temperature in degrees Celsius.
func (b *Board) Heat() (celsius float64, ok bool) {
	zones, err := fs.Glob(b.sys, "class/thermal/thermal_zone*")
	if err != nil {
		return 0, false
	}
	for _, zone := range zones[:min(len(zones), maxZones)] {
		kind, ok := b.read(path.Join(zone, "type"))
		if !ok || !isProcessor(kind) {
			continue
		}
		text, ok := b.read(path.Join(zone, "temp"))
		if !ok {
			continue
		}
		milli, err := strconv.ParseInt(text, 10, 32)
		// Sensors that are not there report nonsense rather than nothing.
		if err != nil || milli < -60_000 || milli > 200_000 {
			continue
		}
		return float64(milli) / 1000, true
	}
	return 0, false
}

func isProcessor(kind string) bool {
	for _, k := range processorZones {
		if kind == k || strings.HasPrefix(kind, k+"-") {
			return true
		}
	}
	return false
}

// throttledFile is where the Raspberry Pi's kernel shows what its firmware says.
const throttledFile = "devices/platform/soc/soc:firmware/get_throttled"

// Throttled says what slows the board down at this moment. A kernel without the
// file may still have the sensor for low voltage.
func (b *Board) Throttled() (causes map[Throttle]bool, ok bool) {
	causes = map[Throttle]bool{}
	if text, found := b.read(throttledFile); found {
		bits, err := strconv.ParseUint(strings.TrimPrefix(text, "0x"), 16, 32)
		if err == nil {
			for i, t := range Throttles() {
				causes[t] = bits&(1<<i) != 0
			}
			return causes, true
		}
	}
	sensors, err := fs.Glob(b.sys, "class/hwmon/hwmon*")
	if err != nil {
		return nil, false
	}
	for _, s := range sensors[:min(len(sensors), maxZones)] {
		if name, found := b.read(path.Join(s, "name")); !found || name != "rpi_volt" {
			continue
		}
		if text, found := b.read(path.Join(s, "in0_lcrit_alarm")); found {
			causes[ThrottleVoltage] = text == "1"
			return causes, true
		}
	}
	return nil, false
}

func (b *Board) read(name string) (string, bool) {
	data, err := fs.ReadFile(b.sys, name)
	if err != nil || len(data) > 256 {
		return "", false
	}
	return strings.TrimSpace(string(data)), true
}
