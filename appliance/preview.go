package appliance

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/bootpuck/bootpuck/appliance/admin"
	"github.com/bootpuck/bootpuck/appliance/boot"
	"github.com/bootpuck/bootpuck/appliance/proxydhcp"
	"github.com/bootpuck/bootpuck/appliance/registry"
)

// preview shows the operator what a machine would get now, by asking the very
// functions that answer machines. It implements admin.Previewer.
type preview struct{ box *Box }

// Base implements admin.Previewer.
func (p preview) Base(m boot.Machine) string {
	in := p.iface(m)
	if a := in.Address; a.Is4() {
		return p.box.base(a)
	}
	for _, prefix := range in.Prefixes {
		if a := prefix.Addr(); a.Is4() {
			return p.box.base(a)
		}
	}
	return p.box.base(netip.IPv4Unspecified())
}

// iface is the interface that the machine was seen on, else the first that
// serves anybody.
func (p preview) iface(m boot.Machine) proxydhcp.Interface {
	list := p.box.dhcpInterfaces()
	for _, i := range list {
		if i.Name == m.Seen.Interface && m.Seen.Interface != "" {
			return i
		}
	}
	for _, i := range list {
		if i.Served && i.Up && slices.ContainsFunc(i.Prefixes, func(p netip.Prefix) bool { return p.Addr().Is4() }) {
			return i
		}
	}
	return proxydhcp.Interface{}
}

// Render implements admin.Previewer.
func (p preview) Render(plan boot.Plan, loader, base string) ([]byte, boot.Reason) {
	r := p.box.files.renderer
	switch loader {
	case registry.LoaderPXELinux:
		return r.PXELinux(nil, plan, base)
	case registry.LoaderGRUB:
		return r.GRUB(nil, plan, base)
	}
	return r.Plan(nil, plan, base)
}

// stages are the DHCP exchanges of one power-on: the firmware, then iPXE.
func stages(m boot.Machine) []stage {
	arch, known := m.Seen.Arch, m.Seen.ArchKnown
	if !known {
		if a, err := boot.ParseArch(m.Seen.ArchName); err == nil && m.Seen.ArchName != "" {
			arch, known = a, true
		}
	}
	if !known && m.Seen.Platform == boot.PlatformUEFI {
		arch = boot.ArchUEFIx64 // the likeliest
	}
	info, _ := arch.Info()
	firmware := "bios"
	if info.Platform == boot.PlatformUEFI {
		firmware = "uefi"
	}
	out := []stage{{to: firmware, class: boot.ClassPXE, arch: arch}}
	if info.Platform == boot.PlatformUEFI {
		for _, a := range boot.Archs() {
			if a.HTTP && a.CPU == info.CPU && a.Platform == boot.PlatformUEFI {
				out = append(out, stage{to: "uefi-http", class: boot.ClassHTTP, arch: a.Arch})
				break
			}
		}
	}
	return append(out, stage{to: "ipxe", class: boot.ClassPXE, arch: arch, ipxe: true})
}

type stage struct {
	to    string
	class boot.Class
	arch  boot.Arch
	ipxe  bool
}

// Replies implements admin.Previewer.
func (p preview) Replies(m boot.Machine) []admin.Reply {
	mac := m.Seen.MAC
	if mac == "" && len(m.MACs) > 0 {
		mac = m.MACs[0].MAC
	}
	in := p.iface(m)
	var out []admin.Reply
	for _, s := range stages(m) {
		reply := admin.Reply{To: s.to}
		packet, err := s.discover(mac, m.GUID)
		if err != nil {
			reply.Reason, reply.Text = boot.ReasonHW, "The hardware address of this machine is not known yet."
			out = append(out, reply)
			continue
		}
		settings := p.box.dhcpSettings()
		res := proxydhcp.Reply(packet, proxydhcp.Env{
			Port: proxydhcp.PortDHCP, IfIndex: in.Index, Source: netip.AddrPortFrom(netip.IPv4Unspecified(), proxydhcp.PortClient),
			Destination: netip.AddrFrom4([4]byte{255, 255, 255, 255}), Interfaces: p.box.dhcpInterfaces(),
			Relays: settings.Relays, Policy: settings.Policy, LenientGUID: settings.LenientGUID, Observe: settings.Observe,
			History: func(mac boot.MAC) boot.History { return p.box.memory.History(mac, p.box.cfg.Now()) }, Now: p.box.cfg.Now(),
		})
		if res.Reason != boot.ReasonNone {
			reply.Reason, reply.Text = res.Reason, res.Reason.Text()
		}
		if res.Packet != nil {
			describeReply(&reply, res)
		}
		out = append(out, reply)
	}
	return out
}

// discover is the packet that this stage of the machine would send.
func (s stage) discover(mac boot.MAC, guid boot.GUID) ([]byte, error) {
	hw, err := net.ParseMAC(string(mac))
	if err != nil {
		return nil, fmt.Errorf("hardware address %q: %w", mac, err)
	}
	packet, err := dhcpv4.NewDiscovery(hw)
	if err != nil {
		return nil, fmt.Errorf("make a request: %w", err)
	}
	packet.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionClassIdentifier, fmt.Appendf(nil, "%s:Arch:%05d:UNDI:003000", s.class, s.arch)))
	packet.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionClientSystemArchitectureType, binary.BigEndian.AppendUint16(nil, uint16(s.arch))))
	packet.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionClientNetworkInterfaceIdentifier, []byte{1, 3, 0}))
	if !guid.IsZero() {
		wire := guid.Swapped() // option 97 has the first three fields little-endian
		packet.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionClientMachineIdentifier, append([]byte{0}, wire[:]...)))
	}
	if s.ipxe {
		packet.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionUserClassInformation, []byte("iPXE")))
		packet.UpdateOption(dhcpv4.OptGeneric(dhcpv4.GenericOptionCode(175), []byte{byte(boot.FeatureHTTP), 1, 1}))
	}
	return packet.ToBytes(), nil
}

// describeReply reads our own reply back, as a client would.
func describeReply(reply *admin.Reply, res proxydhcp.Result) {
	reply.Form = string(res.Decision.Form)
	packet, err := dhcpv4.FromBytes(res.Packet)
	if err != nil {
		reply.Text = "The reply could not be read back: " + err.Error()
		return
	}
	reply.Server, reply.File = packet.ServerIPAddr.String(), packet.BootFileName
	codes := make([]int, 0, len(packet.Options))
	for code := range packet.Options {
		codes = append(codes, int(code))
	}
	slices.Sort(codes)
	for _, code := range codes {
		value := packet.Options[uint8(code)]
		reply.Options = append(reply.Options, admin.Option{Code: code, Name: optionNames[code], Value: optionText(code, value)})
	}
}

// optionNames are the options that a boot offer may carry (RFC 2132, 4578,
// 5071; 175 is iPXE's).
var optionNames = map[int]string{
	43: "vendor-specific information", 53: "DHCP message type", 54: "server identifier", 60: "class identifier",
	66: "TFTP server name", 67: "boot file name", 82: "relay agent information", 97: "client machine identifier",
	175: "iPXE", 209: "configuration file", 210: "path prefix",
}

// optionText is an option's value as people write it.
func optionText(code int, value []byte) string {
	switch {
	case code == 53 && len(value) == 1:
		return dhcpv4.MessageType(value[0]).String()
	case code == 54 && len(value) == 4:
		return net.IP(value).String()
	case code == 60 || code == 66 || code == 67 || code == 209 || code == 210:
		return strings.TrimSuffix(strconv.Quote(strings.TrimRight(string(value), "\x00"))[1:], `"`)
	}
	return hex.EncodeToString(value)
}
