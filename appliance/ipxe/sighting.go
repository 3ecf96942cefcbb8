package ipxe

import (
	"net/netip"
	"strconv"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// platforms are the firmware interfaces behind iPXE's ${platform}.
var platforms = map[string]boot.Platform{"pcbios": boot.PlatformBIOS, "efi": boot.PlatformUEFI}

// Sighting is what the request reveals about the machine, for its record and
// for the choice of what it boots. Everything in it stays a claim. Addr is the
// address the machine says it has; whoever saw the request knows better.
func (p Params) Sighting(now time.Time) boot.Sighting {
	s := boot.Sighting{
		Time: now, MAC: p.MAC, GUID: p.GUID, Addr: p.IP,
		Serial: p.Serial, Manufacturer: p.Manufacturer, Product: p.Product, Asset: p.Asset, Hostname: p.Hostname,
		NIC: p.NIC, Memory: p.Memory, CPU: p.CPU,
		Firmware: boot.FirmwareIPXE, Platform: platforms[p.Platform], SecureBoot: p.SecureBoot, IPXE: p.Version,
		Variables: p.Variables(),
	}
	if s.NIC == "" {
		s.NIC = p.Chip
	}
	if s.CPU == "" {
		s.CPU = p.BuildArch
	}
	s.Arch, s.ArchKnown = p.arch(s.Platform)
	if s.ArchKnown {
		s.ArchName = s.Arch.String()
	}
	return s
}

// arch is the architecture type that iPXE itself would announce: that of the
// program, not of the processor.
func (p Params) arch(platform boot.Platform) (boot.Arch, bool) {
	if platform == "" {
		return 0, false
	}
	a, ok := archOf[platformCPU{platform, p.BuildArch}]
	return a, ok
}

type platformCPU struct {
	platform boot.Platform
	cpu      string
}

// archOf finds the first architecture type of a platform and processor.
var archOf = func() map[platformCPU]boot.Arch {
	m := map[platformCPU]boot.Arch{}
	for _, a := range boot.Archs() {
		key := platformCPU{a.Platform, a.CPU}
		if _, known := m[key]; !known && !a.HTTP && a.CPU != "" {
			m[key] = a.Arch
		}
	}
	return m
}()

// Variables are the parameters that were given, by their own names, as rules
// compare them. next-server and user-class are there in the spelling without
// the dash too, which many hand-written boot scripts use. The octets that the
// memory size is read from are folded into memory.
func (p Params) Variables() map[string]string {
	m := make(map[string]string, len(paramNames))
	put := func(name, value string) {
		if value != "" {
			m[name] = value
		}
	}
	addr := func(name string, a netip.Addr) {
		if a.IsValid() {
			m[name] = a.String()
		}
	}
	put("mac", string(p.MAC))
	if !p.GUID.IsZero() {
		put("uuid", p.GUID.String())
	}
	addr("ip", p.IP)
	addr("gateway", p.Gateway)
	addr("dns", p.DNS)
	addr("next-server", p.NextServer)
	addr("nextserver", p.NextServer)
	put("netmask", p.Netmask)
	put("asset", p.Asset)
	put("domain", p.Domain)
	put("filename", p.Filename)
	put("hostname", p.Hostname)
	put("user-class", p.UserClass)
	put("userclass", p.UserClass)
	put("manufacturer", p.Manufacturer)
	put("product", p.Product)
	put("serial", p.Serial)
	put("nic", p.NIC)
	put("chip", p.Chip)
	put("platform", p.Platform)
	put("buildarch", p.BuildArch)
	put("cpu", p.CPU)
	put("version", p.Version)
	if p.Memory > 0 {
		put("memory", strconv.Itoa(p.Memory))
	}
	put("secureboot", string(p.SecureBoot))
	return m
}
