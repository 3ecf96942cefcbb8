package pxesim

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// bound decides what follows the lease.
func (m *Machine) bound() {
	if len(m.choice.Ask) > 0 && m.p.Family != FamilyPi4 {
		m.ask()
		return
	}
	source, from := m.ack, m.offers[m.choice.DHCP].From
	if m.choice.Proxy >= 0 {
		source, from = m.offers[m.choice.Proxy].Packet, m.offers[m.choice.Proxy].From
	}
	m.bootFrom(source, from)
}

// ask begins the REQUEST to port 4011 of the first server in turn.
func (m *Machine) ask() {
	m.asked = nil
	for _, i := range m.choice.Ask {
		k := m.offers[i].Packet
		// EDK2 prefers siaddr, iPXE and ROMs the server that made the offer.
		addr := k.SIAddr
		if m.p.Family != FamilyUEFI || unset(addr) {
			if id := k.ServerID(); !unset(id) {
				addr = id
			}
		}
		if unset(addr) {
			addr = m.offers[i].From.Addr()
		}
		m.asked = append(m.asked, addr)
	}
	m.nextAsk()
}

func (m *Machine) nextAsk() {
	m.enter(stateAsk)
	m.reply = nil
	if m.p.Family == FamilyUEFI {
		m.newXID()
	}
	m.sendAsk()
}

func (m *Machine) sendAsk() {
	k := m.request(typeRequest)
	k.CIAddr = m.station()
	if m.p.Family == FamilyUEFI {
		// PxeBcDhcp4Discover stores the seconds in the wrong byte order.
		k.Secs = uint16(m.try) << 8
	}
	if m.p.Family == FamilyIPXE {
		k.Flags = 0x8000
		m.askID = m.offers[m.choice.Ask[0]].Packet.ServerID()
		b := m.askID.As4()
		k.Set(optServerID, b[:]...)
	}
	dst := netip.AddrPortFrom(m.asked[0], portBINL)
	m.note(StepAsk, dst, "REQUEST to port 4011, try %d of %d", m.try+1, len(m.p.BINLWaits))
	m.do(Send{Datagram{Src: netip.AddrPortFrom(m.station(), m.p.BINLSource), Dst: dst, Payload: k.Marshal()}})
	m.do(Timer{m.now + m.p.BINLWaits[m.try]})
	m.try++
}

func (m *Machine) answered(d Datagram, k *Packet) {
	if !m.mine(d, k, m.p.BINLSource) {
		return
	}
	switch m.p.Family {
	case FamilyIPXE:
		switch {
		case d.Src.Port() != portBINL:
			m.ignore(d.Src, "answer from port %d, not 4011", d.Src.Port())
			return
		case k.Type() != typeACK && k.Type() != typeOffer:
			m.ignore(d.Src, "message type %d on port 4011", k.Type())
			return
		case !unset(k.ServerID()) && k.ServerID() != m.askID:
			m.ignore(d.Src, "answer by %v while %v was asked", k.ServerID(), m.askID)
			return
		case !ipxeHasOptions(k):
			m.ignore(d.Src, "answer on port 4011 without both next server and file")
			return
		}
	case FamilyUEFI:
		if r := edk2Invalid(k); r != "" {
			m.ignore(d.Src, "%s", r)
			return
		}
	default:
		if k.Type() != typeACK {
			m.ignore(d.Src, "message type %d on port 4011", k.Type())
			return
		}
	}
	m.note(StepAnswer, d.Src, "%s", describe(m.p, k))
	if m.p.BINLWholeWait {
		if m.reply == nil {
			m.reply, m.from = k, d.Src
		}
		return
	}
	m.bootFrom(k, d.Src)
}

func (m *Machine) askExpired() {
	if m.reply != nil {
		// EDK2 reads the answers when the wait is over. It wants a file or discovery options.
		if readVendor(m.reply).discovery() || len(uefiFile(m.p, m.reply)) > 0 {
			m.bootFrom(m.reply, m.from)
			return
		}
		m.ignore(m.from, "answer on port 4011 without a boot file")
		m.askFailed("the answer on port 4011 names no boot file")
		return
	}
	if m.p.Family == FamilyIPXE && m.now-m.since > m.p.ProxyWait {
		m.askFailed("no usable answer on port 4011")
		return
	}
	if m.try < len(m.p.BINLWaits) {
		m.sendAsk()
		return
	}
	m.askFailed("nobody answered on port 4011")
}

func (m *Machine) askFailed(text string) {
	server := m.asked[0]
	m.asked = m.asked[1:]
	if len(m.asked) > 0 {
		m.nextAsk()
		return
	}
	text = fmt.Sprintf("%s of %v", text, server)
	switch m.p.Family {
	case FamilyUEFI:
		m.fail(CodeE16, text)
	case FamilyIPXE:
		// iPXE goes on with what the DHCP server said.
		m.note(StepWaiting, netip.AddrPort{}, "%s; going on without a proxy", text)
		m.bootIPXE(nil)
	default:
		m.fail(CodeE55, text)
	}
}

// bootFrom goes on with the packet that says what to boot; answer tells that it is the ACK of port 4011.
func (m *Machine) bootFrom(k *Packet, from netip.AddrPort) {
	switch m.p.Family {
	case FamilyUEFI:
		m.bootUEFI(k)
	case FamilyBIOS:
		m.bootBIOS(k, from)
	case FamilyIPXE:
		if m.choice.Proxy < 0 {
			k = nil
		}
		m.bootIPXE(k)
	case FamilyHTTP:
		m.fetch(Fetch{URL: string(httpURI(k)), Firmware: true, DNS: m.lease.DNS})
	case FamilyPi3, FamilyPi4:
		m.bootPi(k, from)
	}
}

func firstSet(addrs ...netip.Addr) netip.Addr {
	for _, a := range addrs {
		if !unset(a) {
			return a
		}
	}
	return netip.Addr{}
}

// bootUEFI is PxeBcSelectBootPrompt and what follows.
func (m *Machine) bootUEFI(k *Packet) {
	v := readVendor(k)
	file := uefiFile(m.p, k)
	direct := v.control&ctrlBootFile != 0 && !m.p.Quirks.IgnoreBit3
	if v.discovery() && !(direct && len(file) > 0) {
		m.showMenu(k, v)
		return
	}
	server := firstSet(k.SIAddr, k.ServerID())
	if direct {
		if s, ok := findSub(v.subs, pxeServers); ok && len(s.Data) >= 7 && s.Data[2] > 0 {
			server = addr4(s.Data[3:])
		}
	}
	m.fetch(Fetch{Server: server, Name: file})
}

func (m *Machine) bootBIOS(k *Packet, from netip.AddrPort) {
	v := readVendor(k)
	file := biosFile(m.p, k)
	if v.hasMenu() && !(v.control&ctrlBootFile != 0 && len(file) > 0) {
		m.showMenu(k, v)
		return
	}
	if v.discovery() && (v.control&ctrlBootFile == 0 || !v.hasControl) {
		m.fail(CodeE74, "43.6 neither allows the boot file (bit 3) nor is there a menu")
		return
	}
	if len(file) == 0 {
		m.fail(CodeE53, "no boot file name in the answer")
		return
	}
	m.fetch(Fetch{Server: firstSet(k.SIAddr, k.ServerID(), from.Addr()), Name: file})
}

// bootIPXE looks settings up in the DHCP server's block and the proxy's, in the order of their
// priorities; at equal priority the DHCP server's comes first.
func (m *Machine) bootIPXE(proxy *Packet) {
	blocks := []*Packet{m.ack}
	if proxy != nil && proxy != m.ack {
		if ipxePriorityOf(proxy) > ipxePriorityOf(m.ack) {
			blocks = []*Packet{proxy, m.ack}
		} else {
			blocks = append(blocks, proxy)
		}
	}
	var file []byte
	var next netip.Addr
	for _, b := range blocks {
		v := readVendor(b)
		if v.hasMenu() && !(v.control&ctrlBootFile != 0 && len(ipxeFile(b)) > 0) {
			m.showMenu(b, v)
			return
		}
	}
	for _, b := range blocks {
		if f := ipxeFile(b); len(file) == 0 && len(f) > 0 {
			file = f
		}
		if unset(next) && !unset(b.SIAddr) {
			next = b.SIAddr
		}
	}
	if len(file) == 0 {
		m.fail(CodeNothing, "neither the DHCP server nor a proxy names a boot file")
		return
	}
	m.fetchIPXE(next, m.expand(string(file), next))
}

func (m *Machine) fetchIPXE(next netip.Addr, name string) {
	u, err := url.Parse(name)
	if err != nil || u.Scheme == "" || u.Host == "" {
		if unset(next) {
			m.fail(CodeNothing, "a boot file without a next server")
			return
		}
		m.fetch(Fetch{Server: next, Name: []byte(name)})
		return
	}
	switch u.Scheme {
	case "http", "https":
		if !m.p.HasHTTP() {
			m.fail(CodeUnsupported, "this build has no HTTP, and is told to fetch "+clip([]byte(name), 128))
			return
		}
		m.fetch(Fetch{URL: name, DNS: m.lease.DNS})
	case "tftp":
		addr, err := netip.ParseAddr(u.Hostname())
		if err != nil || !addr.Is4() {
			m.fail(CodeFetch, "TFTP server is not an IPv4 address: "+clip([]byte(u.Host), 64))
			return
		}
		m.fetch(Fetch{Server: addr, Name: []byte(strings.TrimPrefix(u.Path, "/"))})
	default:
		m.fail(CodeUnsupported, "scheme "+clip([]byte(u.Scheme), 20))
	}
}

// maxExpanded bounds a boot file name after expansion.
const maxExpanded = 4096

// expand replaces iPXE's settings in a boot file name. Unknown settings are empty, as in iPXE.
func (m *Machine) expand(s string, next netip.Addr) string {
	var b strings.Builder
	for b.Len() < maxExpanded {
		start := strings.Index(s, "${")
		if start < 0 {
			break
		}
		end := strings.IndexByte(s[start:], '}')
		if end < 0 {
			break
		}
		b.WriteString(s[:start])
		b.WriteString(m.setting(s[start+2:start+end], next))
		s = s[start+end+1:]
	}
	b.WriteString(s)
	out := b.String()
	return out[:min(len(out), maxExpanded)]
}

// setting is the value of one iPXE setting, with its formatter.
func (m *Machine) setting(name string, next netip.Addr) string {
	name, format, _ := strings.Cut(name, ":")
	name = name[strings.LastIndexByte(name, '/')+1:]
	var v string
	u := m.cfg.UUID
	switch name {
	case "mac":
		v = m.cfg.MAC.String()
		if format == "hexhyp" {
			return strings.ReplaceAll(v, ":", "-")
		}
		if format == "hexraw" {
			return hex.EncodeToString(m.cfg.MAC)
		}
	case "uuid":
		// iPXE prints the first three fields byte-swapped with respect to option 97.
		v = fmt.Sprintf("%08x-%04x-%04x-%x-%x", binary.LittleEndian.Uint32(u[:]), binary.LittleEndian.Uint16(u[4:]), binary.LittleEndian.Uint16(u[6:]), u[8:10], u[10:])
	case "ip":
		v = m.station().String()
	case "gateway":
		if m.lease.Router.IsValid() {
			v = m.lease.Router.String()
		}
	case "dns":
		if m.lease.DNS.IsValid() {
			v = m.lease.DNS.String()
		}
	case "next-server":
		if !unset(next) {
			v = next.String()
		}
	case "user-class":
		v = string(m.p.UserClass)
	case "platform":
		v = "pcbios"
		if m.p.Arch != 0 {
			v = "efi"
		}
	case "buildarch":
		v = map[uint16]string{0: "i386", 6: "i386", 10: "arm32", 11: "arm64", 27: "riscv64", 39: "loong64"}[m.p.Arch]
		if v == "" {
			v = "x86_64"
		}
	}
	if format == "uristring" {
		return url.QueryEscape(v)
	}
	return v
}

func (m *Machine) bootPi(k *Packet, from netip.AddrPort) {
	server := from.Addr()
	if m.p.Family == FamilyPi4 {
		server = firstSet(k.SIAddr, server)
	} else if o, ok := k.First(optTFTPServer); ok {
		// The ROM reads 66 as the text of an address; a NUL behind it spoils that.
		addr, err := netip.ParseAddr(string(o.Data))
		if err != nil || !addr.Is4() {
			m.fail(CodePiTFTP, "option 66 is not the text of an address: "+clip(o.Data, 40))
			return
		}
		server = addr
	}
	if m.p.Family == FamilyPi3 {
		m.fetch(Fetch{Server: server, Name: []byte("bootcode.bin")})
		return
	}
	serial := hex.EncodeToString(m.p.GUID[max(0, len(m.p.GUID)-4):])
	m.files = nil
	for _, f := range []string{"config.txt", "start4.elf"} {
		m.files = append(m.files, Fetch{Server: server, Name: []byte(serial + "/" + f)}, Fetch{Server: server, Name: []byte(f)})
	}
	m.fetch(m.files[0])
}

// showMenu handles the PXE menu of an unattended client: the first entry when the prompt runs out.
func (m *Machine) showMenu(k *Packet, v vendor) {
	m.menu = k
	item, hasMenu := uint16(0), false
	if s, ok := findSub(v.subs, pxeMenu); ok && len(s.Data) >= 3 {
		item, hasMenu = binary.BigEndian.Uint16(s.Data), true
	}
	prompt, hasPrompt := findSub(v.subs, pxePrompt)
	timeout := byte(0)
	if hasPrompt && len(prompt.Data) > 0 {
		timeout = prompt.Data[0]
	}
	switch {
	case !hasMenu && m.p.Family == FamilyUEFI:
		m.fail(CodeE21, "43.6 without bit 3 and without a menu: the default is to boot locally")
		return
	case !hasMenu:
		m.fail(CodeE74, "no menu")
		return
	case timeout == 255:
		m.note(StepMenu, netip.AddrPort{}, "menu waits for a key")
		m.fail(m.cancelled(), "the menu waits for a key (prompt time-out 255), and nobody is there")
		return
	case item == 0:
		m.note(StepMenu, netip.AddrPort{}, "default entry is local boot")
		m.fail(m.cancelled(), "the first menu entry is local boot (type 0)")
		return
	}
	m.item = item
	m.note(StepMenu, netip.AddrPort{}, "menu entry %d after %d s", item, timeout)
	if timeout == 0 {
		m.askBootServers()
		return
	}
	m.enter(statePrompt)
	m.do(Timer{m.now + time.Duration(timeout)*time.Second})
}

func (m *Machine) cancelled() Code {
	if m.p.Family == FamilyUEFI {
		return CodeE21
	}
	return CodeLocalBoot
}

// askBootServers sends the REQUEST with 43.71 (boot server discovery).
func (m *Machine) askBootServers() {
	v := readVendor(m.menu)
	m.asked = nil
	if s, ok := findSub(v.subs, pxeServers); ok {
		found := false
		for b := s.Data; len(b) >= 3; {
			n := 3 + 4*int(b[2])
			if len(b) < n {
				break
			}
			if binary.BigEndian.Uint16(b) == m.item {
				found = true
				for i := 3; i < n; i += 4 {
					m.asked = append(m.asked, addr4(b[i:]))
				}
				break
			}
			b = b[n:]
		}
		if !found && m.p.Family == FamilyUEFI {
			m.fail(CodeE07, fmt.Sprintf("no boot server of type %d in 43.8", m.item))
			return
		}
	}
	if len(m.asked) == 0 && v.control&ctrlListOnly == 0 {
		if s, ok := findSub(v.subs, pxeMulticast); ok && len(s.Data) >= 4 && v.control&ctrlNoMulticast == 0 {
			m.asked = []netip.Addr{addr4(s.Data)}
		} else if v.control&ctrlNoBroadcast == 0 {
			m.asked = []netip.Addr{broadcast}
		}
	}
	if len(m.asked) == 0 {
		code := map[Family]Code{FamilyUEFI: CodeE99, FamilyBIOS: CodeE77, FamilyIPXE: CodeNothing}[m.p.Family]
		m.fail(code, fmt.Sprintf("the menu allows no way to find boot server type %d", m.item))
		return
	}
	m.nextBootServer()
}

func (m *Machine) nextBootServer() {
	m.enter(stateBoot)
	m.reply = nil
	m.newXID()
	if m.p.Family == FamilyIPXE {
		m.xid = 0
	}
	m.sendBoot()
}

// bootPorts are the client's and the server's port of a boot server request.
func (m *Machine) bootPorts() (src, dst uint16) {
	dst = portBINL
	if m.asked[0] == broadcast {
		dst = portServer
	}
	if m.p.Family == FamilyUEFI && m.asked[0] != broadcast {
		return portBINL, dst
	}
	return portClient, dst
}

// bootWaits: iPXE takes its discovery times here (PXEBS_START_TIMEOUT_SEC), all others those of 4011.
func (m *Machine) bootWaits() []time.Duration {
	if m.p.Family == FamilyIPXE {
		return m.p.DiscoverWaits
	}
	return m.p.BINLWaits
}

func (m *Machine) sendBoot() {
	k := m.request(typeRequest)
	k.CIAddr = m.station()
	if m.p.Family == FamilyIPXE {
		k.Flags = 0x8000
		k.Set(optClass, []byte("PXEClient")...)
	}
	if m.p.Family == FamilyUEFI && m.asked[0] == broadcast {
		k.Flags = 0x8000
	}
	k.Set(optVendor, pxeItem, 4, byte(m.item>>8), byte(m.item), 0, 0, optEnd)
	src, dst := m.bootPorts()
	to := netip.AddrPortFrom(m.asked[0], dst)
	waits := m.bootWaits()
	m.note(StepAsk, to, "REQUEST for menu entry %d, try %d of %d", m.item, m.try+1, len(waits))
	m.do(Send{Datagram{Src: netip.AddrPortFrom(m.station(), src), Dst: to, Payload: k.Marshal()}})
	m.do(Timer{m.now + waits[m.try]})
	m.try++
}

func (m *Machine) bootAnswered(d Datagram, k *Packet) {
	src, _ := m.bootPorts()
	if !m.mine(d, k, src) {
		return
	}
	if m.p.Family != FamilyUEFI {
		item, ok := findSub(readVendor(k).subs, pxeItem)
		switch {
		case k.Type() != typeACK:
			m.ignore(d.Src, "message type %d from a boot server", k.Type())
			return
		case d.Src.Port() != portServer && d.Src.Port() != portBINL:
			m.ignore(d.Src, "answer from port %d", d.Src.Port())
			return
		case !ok || len(item.Data) < 2 || binary.BigEndian.Uint16(item.Data) != m.item:
			m.ignore(d.Src, "answer without menu entry %d in 43.71", m.item)
			return
		}
	}
	m.note(StepAnswer, d.Src, "%s", describe(m.p, k))
	if m.p.BINLWholeWait {
		if m.reply == nil {
			m.reply, m.from = k, d.Src
		}
		return
	}
	m.bootItem(k, d.Src)
}

func (m *Machine) bootItem(k *Packet, from netip.AddrPort) {
	file := fileOf(m.p, k)
	server := firstSet(k.SIAddr, k.ServerID(), from.Addr())
	switch {
	case len(file) == 0 && m.p.Family == FamilyUEFI:
		m.fail(CodeE99, "the boot server names no file")
	case len(file) == 0 && m.p.Family == FamilyBIOS:
		m.fail(CodeE53, "the boot server names no file")
	case len(file) == 0:
		m.fail(CodeNothing, "the boot server names no file")
	case m.p.Family == FamilyIPXE:
		m.fetchIPXE(server, m.expand(string(file), server))
	default:
		m.fetch(Fetch{Server: server, Name: file})
	}
}

func (m *Machine) bootExpired() {
	if m.reply != nil {
		m.bootItem(m.reply, m.from)
		return
	}
	if m.try < len(m.bootWaits()) && (m.p.Family != FamilyIPXE || m.now-m.since <= 3*time.Second) {
		m.sendBoot()
		return
	}
	if m.asked = m.asked[1:]; len(m.asked) > 0 {
		m.nextBootServer()
		return
	}
	code := map[Family]Code{FamilyUEFI: CodeE18, FamilyBIOS: CodeE78, FamilyIPXE: CodeNothing}[m.p.Family]
	m.fail(code, fmt.Sprintf("no boot server of type %d answered", m.item))
}

// fetch starts one download.
func (m *Machine) fetch(f Fetch) {
	if m.state != stateAutoexec {
		m.enter(stateFetch)
	}
	if f.URL != "" {
		m.end.File = clip([]byte(f.URL), 512)
		if u, err := url.Parse(f.URL); err == nil {
			if a, err := netip.ParseAddr(u.Hostname()); err == nil {
				m.server = a
			}
		}
		m.note(StepFetch, netip.AddrPort{}, "HTTP %s", m.end.File)
	} else {
		m.end.File = clip(f.Name, 512)
		m.server = f.Server
		if !f.Server.Is4() || f.Server.IsUnspecified() {
			m.fetchFailed(&TFTPError{Failure: TFTPProtocol, Detail: "no server address"})
			return
		}
		m.note(StepFetch, netip.AddrPortFrom(f.Server, portTFTP), "TFTP %s", m.end.File)
	}
	m.end.Server = m.server
	m.do(f)
}

// isScript tells an iPXE script by its content, as iPXE does.
func isScript(head []byte) bool {
	for _, magic := range []string{"#!ipxe", "#!gpxe"} {
		if rest, ok := strings.CutPrefix(string(head), magic); ok && rest != "" && strings.ContainsAny(rest[:1], " \t\r\n") {
			return true
		}
	}
	return false
}

// Fetched takes the result of the download that Fetch asked for.
func (m *Machine) Fetched(now time.Duration, d Download, err error) []Effect {
	m.now = now
	if m.state != stateFetch && m.state != stateAutoexec {
		return nil
	}
	script := err == nil && m.p.Family == FamilyIPXE && isScript(d.Head)
	if err != nil {
		m.do(Note{Step{At: m.now, Kind: StepFetchFailed, Text: err.Error(), Bytes: d.Bytes, Took: d.Took}})
	} else {
		m.do(Note{Step{At: m.now, Kind: StepFetched, Text: fmt.Sprintf("%s: %d bytes, sha256 %s", m.end.File, d.Bytes, d.SHA256), Bytes: d.Bytes, Took: d.Took}})
	}
	if script {
		first, _, _ := strings.Cut(string(d.Head[len("#!ipxe"):]), "\n")
		m.note(StepScript, netip.AddrPort{}, "iPXE script %s", clip([]byte("#!ipxe"+first), 80))
	}
	m.end.Download, m.end.Script = d, script
	switch {
	case m.state == stateAutoexec && !script:
		m.discover()
	case m.p.Family == FamilyPi4:
		m.fetchedPi(err)
	case err != nil:
		m.fetchFailed(err)
	default:
		m.succeed()
	}
	return m.flush()
}

func (m *Machine) succeed() {
	m.end.OK = true
	what := "loaded"
	if m.end.Script {
		what = "runs the script"
	}
	m.end.Verdict = fmt.Sprintf("%s %s (%d bytes) from %v", what, m.end.File, m.end.Download.Bytes, m.end.Server)
	m.finish()
}

// fetchedPi goes through the pairs of names (with and without the serial number).
func (m *Machine) fetchedPi(err error) {
	withSerial := len(m.files)%2 == 0
	switch {
	case err == nil:
		if withSerial {
			m.files = m.files[1:]
		}
	case !withSerial && len(m.files) == 1:
		// start4.elf is the one file it cannot do without.
		m.fail(CodePiTFTP, "start4.elf: "+err.Error())
		return
	}
	m.files = m.files[1:]
	if len(m.files) == 0 {
		m.succeed()
		return
	}
	m.fetch(m.files[0])
}

func (m *Machine) fetchFailed(err error) {
	code := CodeFetch
	switch m.p.Family {
	case FamilyUEFI:
		code = uefiTFTPCode(err)
	case FamilyBIOS:
		code = biosTFTPCode(err)
	case FamilyHTTP:
		code = httpCode(err)
	case FamilyPi3:
		code = CodePiTFTP
	default:
	}
	m.fail(code, fmt.Sprintf("%s from %v: %v", m.end.File, m.end.Server, err))
}

func uefiTFTPCode(err error) Code {
	if e, ok := errors.AsType[*TFTPError](err); ok {
		switch e.Failure {
		case TFTPNoAnswer, TFTPStalled:
			return CodeE18
		case TFTPRefused:
			return CodeE23
		case TFTPTooLarge:
			return CodeE05
		case TFTPProtocol:
			return CodeE99
		}
	}
	return CodeE99
}

func biosTFTPCode(err error) Code {
	if e, ok := errors.AsType[*TFTPError](err); ok {
		switch e.Failure {
		case TFTPNoAnswer:
			return CodeE32
		case TFTPStalled:
			return CodeE35
		case TFTPRefused:
			if e.Code == 1 {
				return CodeE3B
			}
			return CodeE36
		case TFTPProtocol, TFTPTooLarge:
			return CodeE36
		}
	}
	return CodeE36
}

func httpCode(err error) Code {
	if e, ok := errors.AsType[*HTTPError](err); ok {
		switch e.Failure {
		case HTTPNoConnection:
			return CodeHTTPTimeout
		case HTTPNoLength, HTTPNoType:
			return CodeHTTPSize
		case HTTPStatus, HTTPRedirect, HTTPBadURL, HTTPTooLarge:
			return CodeHTTPServer
		}
	}
	return CodeHTTPServer
}
