package answer

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// Data is what a template is rendered with. NewData makes it.
type Data struct {
	Machine MachineView
	// Vars are the operator's variables: of the site, the profile, the groups and
	// the machine, the more special ones first. They are printed as they are.
	Vars map[string]string
	Box  BoxView
	// Answer is the URL of another answer file of the same attempt, Callback the
	// one an installer reports to. As functions of templates they are called
	// answer and callback.
	Answer   func(name string) string
	Callback func(callback string) string
}

// MachineView is what templates see of a machine. Whatever is not a Claim is
// the operator's or of a closed set.
type MachineView struct {
	ID     string   // the record's identifier
	Name   string   // the operator's name for it, may be empty
	Tags   []string // the operator's
	Groups []string // the operator's, in order of precedence

	UUID         Claim   // SMBIOS identifier, canonical; empty when it has none
	Serial       Claim   // SMBIOS serial number
	Asset        Claim   // SMBIOS asset tag
	Manufacturer Claim   // SMBIOS manufacturer
	Product      Claim   // SMBIOS product name
	MAC          Claim   // of the interface it boots from, "52:54:00:12:34:56"
	MACs         []Claim // all it was seen with
	Addr         Claim   // its address now
	Hostname     Claim   // what it calls itself
	NIC          Claim   // network chip or bus identifier
	Memory       int     // MiB, 0 unknown
	CPU          Claim   // x86_64, arm64 …
	Arch         Claim   // architecture type of its firmware
	Firmware     Claim   // kind of the program that asks
	Platform     Claim   // bios or uefi
	SecureBoot   Claim   // on, off or empty
	IPXE         Claim   // iPXE's version
	Interface    string  // of the box, where the machine is
	// Told are all parameters of the boot script's request by their names.
	Told map[string]Claim
}

// BoxView is the box as the machine reaches it.
type BoxView struct {
	Base string // "http://192.0.2.5" or "http://192.0.2.5:8080", without a slash at the end
	Host string // "192.0.2.5:8080"
	Addr string // "192.0.2.5"
}

// root is what a template's dot is.
type root struct {
	Machine MachineView
	Vars    map[string]string
	Box     BoxView
}

// maxTold bounds Told; the boot script asks with some thirty parameters.
const maxTold = 100

// NewData puts together what a template sees: the record m, the machine as it
// was seen just now, its variables, the box's base URL, and where answer files
// and callbacks are. Either function may be nil: templates that call it fail.
func NewData(m boot.Machine, s boot.Sighting, vars map[string]string, base string, answer, callback func(string) string) Data {
	v := MachineView{
		ID: string(m.ID), Name: m.Name, Tags: m.Tags, Groups: m.Groups,
		Serial: NewClaim(first(s.Serial, m.Serial)), Asset: NewClaim(s.Asset),
		Manufacturer: NewClaim(s.Manufacturer), Product: NewClaim(s.Product),
		MAC: NewClaim(string(s.MAC)), Hostname: NewClaim(s.Hostname), NIC: NewClaim(s.NIC),
		Memory: s.Memory, CPU: NewClaim(s.CPU), Arch: NewClaim(s.ArchName),
		Firmware: NewClaim(string(s.Firmware)), Platform: NewClaim(string(s.Platform)),
		SecureBoot: NewClaim(string(s.SecureBoot)), IPXE: NewClaim(s.IPXE), Interface: s.Interface,
		Told: make(map[string]Claim),
	}
	switch {
	case !s.GUID.IsZero():
		v.UUID = NewClaim(s.GUID.String())
	case !m.GUID.IsZero():
		v.UUID = NewClaim(m.GUID.String())
	}
	if s.Addr.IsValid() {
		v.Addr = NewClaim(s.Addr.String())
	}
	for _, n := range m.MACs {
		v.MACs = append(v.MACs, NewClaim(string(n.MAC)))
	}
	if v.MAC == "" && len(v.MACs) > 0 {
		v.MAC = v.MACs[0]
	}
	for name, value := range s.Variables {
		// The names are a client's too, and range prints them.
		if validName(name) && len(v.Told) < maxTold {
			v.Told[name] = NewClaim(value)
		}
	}
	return Data{Machine: v, Vars: vars, Box: newBox(base), Answer: answer, Callback: callback}
}

func first(ss ...string) string {
	for _, s := range ss {
		if s != "" {
			return s
		}
	}
	return ""
}

// validName is the rule for names of answer files and of told parameters.
func validName(s string) bool {
	if s == "" || len(s) > 64 || s[0] == '.' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !alnum(c) && c != '_' && c != '-' && c != '.' {
			return false
		}
	}
	return true
}

// newBox takes the base URL apart. One that is not http or https with a host
// and nothing else stays empty: part of it comes from a request.
func newBox(base string) BoxView {
	base = strings.TrimRight(base, "/")
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Scheme+"://"+u.Host != base {
		return BoxView{}
	}
	for i := range len(u.Host) {
		if c := u.Host[i]; !alnum(c) && strings.IndexByte(".:-[]", c) < 0 {
			return BoxView{}
		}
	}
	return BoxView{Base: base, Host: u.Host, Addr: u.Hostname()}
}

// Sample is made-up data to try t out with before any machine asks for it. vars
// count as they are; variables that t needs beyond them are "1", which is a
// word, a number and a string wherever it stands.
func (t *Text) Sample(vars map[string]string) Data {
	all := make(map[string]string, len(vars)+len(t.vars))
	for _, name := range t.vars {
		all[name] = "1"
	}
	for name, value := range vars {
		all[name] = value
	}
	told := make(map[string]string, len(t.told))
	for _, name := range t.told {
		told[name] = "1"
	}
	m := boot.Machine{
		ID: "sample", Name: "sample", Tags: []string{"sample"}, Groups: []string{"sample"},
		MACs: []boot.NIC{{MAC: "52:54:00:12:34:56"}},
	}
	s := boot.Sighting{
		MAC: "52:54:00:12:34:56", GUID: boot.GUID{0: 0x12, 7: 0x40, 15: 1},
		Serial: "SN-0001", Manufacturer: "Example Inc.", Product: "Sample 1000", Asset: "A-1",
		Hostname: "sample", NIC: "virtio-net", Memory: 4096, CPU: "x86_64", ArchName: "x86-64",
		Firmware: boot.FirmwareIPXE, Platform: boot.PlatformUEFI, SecureBoot: boot.SecureBootOff,
		IPXE: "1.21.1", Interface: "eth0", Variables: told,
	}
	const base = "http://192.0.2.5"
	return NewData(m, s, all, base,
		func(name string) string { return base + "/a/sample/" + name },
		func(cb string) string { return base + "/cb/sample/" + cb })
}

// TryOut renders t with Sample data and checks what comes out, as it is to be
// done before a template is saved.
func (t *Text) TryOut(vars map[string]string) error {
	out, err := t.Render(t.Sample(vars), 0)
	if err != nil {
		return err
	}
	if err := t.CheckOutput(out); err != nil {
		return fmt.Errorf("%s: rendered for a sample machine: %w", t.name, err)
	}
	return nil
}
