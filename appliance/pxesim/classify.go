package pxesim

import (
	"bytes"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// Class is what a firmware takes an offer for. The names are EDK2's where EDK2 has one.
type Class string

// The classes. A firmware uses those its code knows.
const (
	// ClassInvalid: the firmware drops the packet whole.
	ClassInvalid Class = "invalid"
	// ClassUnusable: a well-formed offer that the firmware has no use for.
	ClassUnusable Class = "unusable"
	// ClassBootp: a reply without a message type.
	ClassBootp Class = "Bootp"
	// ClassDHCPOnly: an address, no PXE class.
	ClassDHCPOnly Class = "DhcpOnly"
	// ClassDHCPPXE: an address, PXE class, PXE discovery options in 43 (EDK2 DhcpPxe10).
	ClassDHCPPXE Class = "DhcpPxe10"
	// ClassDHCPBINL: an address and the PXE class, nothing in 43 (EDK2 DhcpBinl).
	ClassDHCPBINL Class = "DhcpBinl"
	// ClassProxyPXE: no address, PXE class, PXE discovery options: direct or menu (EDK2 ProxyPxe10).
	ClassProxyPXE Class = "ProxyPxe10"
	// ClassProxyBINL: no address, PXE class, nothing in 43: two-step (EDK2 ProxyBinl).
	ClassProxyBINL Class = "ProxyBinl"
	// ClassDHCPDNS: an address and a name server, no HTTP class (HttpBootDxe DhcpDns).
	ClassDHCPDNS Class = "DhcpDns"
	// ClassDHCPIPURI and its neighbours carry a URI with the HTTPClient class.
	ClassDHCPIPURI Class = "DhcpIpUri"
	// ClassDHCPNameURI has a host name in its URI and no name server.
	ClassDHCPNameURI Class = "DhcpNameUri"
	// ClassDHCPNameURIDNS has a host name and a name server.
	ClassDHCPNameURIDNS Class = "DhcpNameUriDns"
	// ClassProxyIPURI: no address, URI with an IP literal.
	ClassProxyIPURI Class = "ProxyIpUri"
	// ClassProxyNameURI: no address, URI with a host name.
	ClassProxyNameURI Class = "ProxyNameUri"
	// ClassPiMenu: an offer with the Raspberry Pi's menu entry.
	ClassPiMenu Class = "PiMenu"
)

// Offer is one reply to a DISCOVER.
type Offer struct {
	// From is the sender.
	From netip.AddrPort
	// At is the time since the exchange began.
	At time.Duration
	// Packet is the offer.
	Packet *Packet
}

// Choice is which offers a firmware goes on with, as indexes into the offers.
type Choice struct {
	// DHCP is the offer whose address is requested, -1 if there is nothing to go on with.
	DHCP int
	// Proxy is the offer that says what to boot, -1 if that is the DHCP offer itself or nobody.
	Proxy int
	// Ask are the offers whose servers are asked on port 4011, in that order; empty for none.
	Ask []int
}

// OK tells whether the firmware goes on.
func (c Choice) OK() bool { return c.DHCP >= 0 }

// Why explains a Choice.
type Why struct {
	// Classes has one entry per offer.
	Classes []Class
	// Refused has one entry per offer: why it is not used, empty if it is.
	Refused []string
	// Code is the firmware's error if nothing better arrives; empty if the choice is OK.
	Code Code
	// Text is one sentence about the choice.
	Text string
}

const (
	ctrlNoBroadcast = 1 << 0
	ctrlNoMulticast = 1 << 1
	ctrlListOnly    = 1 << 2
	ctrlBootFile    = 1 << 3
)

// vendor is a decoded option 43 of a PXE reply.
type vendor struct {
	present   bool
	truncated bool
	subs      []Option
	// control is 43.6; hasControl tells whether it is there.
	control    byte
	hasControl bool
}

// readVendor decodes option 43; only with the PXE class does it mean PXE (PXE 2.1 section 2.2).
func readVendor(p *Packet) vendor {
	var v vendor
	o, ok := p.firstOverloaded(optVendor)
	if !ok || !p.isPXE() {
		return v
	}
	v.present = true
	v.subs, v.truncated = subOptions(o.Data)
	if c, ok := findSub(v.subs, pxeDiscoveryControl); ok && len(c.Data) > 0 {
		v.control, v.hasControl = c.Data[0], true
	}
	return v
}

// discovery tells whether any of 43.6 to 43.10 is there.
func (v vendor) discovery() bool {
	for _, s := range v.subs {
		if s.Code >= pxeDiscoveryControl && s.Code <= pxePrompt {
			return true
		}
	}
	return false
}

// multicastTFTP tells whether 43.1 to 43.5 are all there (WfM 1.1a).
func (v vendor) multicastTFTP() bool {
	seen := 0
	for code := byte(1); code <= 5; code++ {
		if _, ok := findSub(v.subs, code); ok {
			seen++
		}
	}
	return seen == 5
}

func (v vendor) hasMenu() bool {
	_, ok := findSub(v.subs, pxeMenu)
	return ok
}

// Select makes the firmware's choice among all offers heard so far. It depends on nothing else: the
// time at which firmware chooses is the Machine's business.
func Select(p *Profile, offers []Offer) (Choice, Why) {
	why := Why{Classes: make([]Class, len(offers)), Refused: make([]string, len(offers))}
	none := Choice{DHCP: -1, Proxy: -1}
	for i, o := range offers {
		why.Classes[i], why.Refused[i] = Classify(p, o)
	}
	var c Choice
	switch p.Family {
	case FamilyUEFI:
		c = selectUEFI(p, offers, &why)
	case FamilyHTTP:
		c = selectHTTP(&why)
	case FamilyIPXE:
		c = selectIPXE(offers, &why)
	case FamilyBIOS:
		c = selectBIOS(p, offers, &why)
	case FamilyPi3, FamilyPi4:
		c = selectPi(offers, &why)
	default:
		return none, why
	}
	for i := range offers {
		if c.OK() && i != c.DHCP && i != c.Proxy && !contains(c.Ask, i) && why.Refused[i] == "" {
			why.Refused[i] = "another offer was preferred"
		}
	}
	return c, why
}

func contains(list []int, v int) bool {
	for _, x := range list {
		if x == v {
			return true
		}
	}
	return false
}

// Classify is what the firmware takes one offer for, and why it throws it away (empty if it does not).
func Classify(p *Profile, o Offer) (Class, string) {
	switch p.Family {
	case FamilyUEFI:
		return classifyUEFI(p, o)
	case FamilyHTTP:
		return classifyHTTP(o)
	case FamilyIPXE:
		return classifyIPXE(o)
	case FamilyBIOS:
		return classifyBIOS(o)
	case FamilyPi3, FamilyPi4:
		return classifyPi(p, o)
	}
	return ClassUnusable, "unknown firmware"
}

// edk2Invalid is Dhcp4Dxe's and PxeBcDxe's validation of a whole packet.
func edk2Invalid(p *Packet) string {
	if len(p.raw) > 1472 {
		return "longer than 1472 bytes"
	}
	sizes := map[byte]int{optMask: 4, optFileSize: 2, optRequestIP: 4, 51: 4, optOverload: 1, optType: 1, optServerID: 4, optMaxSize: 2, 58: 4, 59: 4}
	for _, o := range p.Options {
		if want, ok := sizes[o.Code]; ok && len(o.Data) != want {
			return fmt.Sprintf("option %d has %d bytes", o.Code, len(o.Data))
		}
		switch o.Code {
		case optVendor, optClass, optTFTPServer, optBootFile:
			if len(o.Data) == 0 {
				return fmt.Sprintf("option %d is empty", o.Code)
			}
		case optRouter, optDNS:
			if len(o.Data) == 0 || len(o.Data)%4 != 0 {
				return fmt.Sprintf("option %d has %d bytes", o.Code, len(o.Data))
			}
		}
	}
	return ""
}

// edk2Offer checks what Dhcp4Dxe demands of any OFFER.
func edk2Offer(p *Packet) string {
	if r := edk2Invalid(p); r != "" {
		return r
	}
	switch {
	case p.Type() == 0:
		return "" // BOOTP
	case p.Type() != typeOffer:
		return fmt.Sprintf("message type %d is not OFFER", p.Type())
	case unset(p.ServerID()):
		return "no server identifier (option 54)"
	}
	return ""
}

func classifyUEFI(p *Profile, o Offer) (Class, string) {
	k := o.Packet
	if r := edk2Offer(k); r != "" {
		return ClassInvalid, r
	}
	proxy := unset(k.YIAddr)
	if k.Type() == 0 {
		if len(uefiFile(p, k)) == 0 {
			return ClassInvalid, "BOOTP reply without a boot file"
		}
		return ClassBootp, ""
	}
	v := readVendor(k)
	switch {
	case v.discovery() && proxy:
		if p.Quirks.DropDirectOffers {
			return ClassProxyPXE, "this generation throws away proxy offers with 43.6 to 43.10"
		}
		return ClassProxyPXE, ""
	case v.discovery():
		return ClassDHCPPXE, ""
	case v.multicastTFTP():
		return ClassInvalid, "WfM 1.1a multicast offer"
	case k.isPXE() && proxy:
		return ClassProxyBINL, ""
	case k.isPXE():
		return ClassDHCPBINL, ""
	case proxy:
		// The code calls it DhcpOnly all the same, but it has no address to request.
		return ClassUnusable, "no address and no PXEClient class (option 60)"
	}
	return ClassDHCPOnly, ""
}

func indexOf(why *Why, class Class) int {
	for i, c := range why.Classes {
		if c == class && why.Refused[i] == "" {
			return i
		}
	}
	return -1
}

func allOf(why *Why, class Class) []int {
	var out []int
	for i, c := range why.Classes {
		if c == class && why.Refused[i] == "" {
			out = append(out, i)
		}
	}
	return out
}

// selectUEFI is PxeBcSelectDhcp4Offer's order of preference.
func selectUEFI(p *Profile, offers []Offer, why *Why) Choice {
	if i := indexOf(why, ClassDHCPPXE); i >= 0 {
		why.Text = "the DHCP server itself offers PXE options"
		return Choice{DHCP: i, Proxy: -1}
	}
	dhcp := indexOf(why, ClassDHCPOnly)
	if i := indexOf(why, ClassProxyPXE); i >= 0 && dhcp >= 0 {
		why.Text = "address from the DHCP server, direct offer from the proxy"
		return Choice{DHCP: dhcp, Proxy: i}
	}
	if i := indexOf(why, ClassDHCPBINL); i >= 0 {
		why.Text = "the DHCP server itself says PXEClient (option 60): it is asked on port 4011, no proxy is"
		return Choice{DHCP: i, Proxy: -1, Ask: []int{i}}
	}
	if all := allOf(why, ClassProxyBINL); len(all) > 0 && dhcp >= 0 {
		why.Text = "address from the DHCP server, two-step offer from the proxy"
		return Choice{DHCP: dhcp, Proxy: all[0], Ask: all}
	}
	for _, class := range []Class{ClassDHCPOnly, ClassBootp} {
		for _, i := range allOf(why, class) {
			if len(uefiFile(p, offers[i].Packet)) > 0 {
				why.Text = "the DHCP server names a boot file and no proxy offer is usable"
				return Choice{DHCP: i, Proxy: -1}
			}
		}
	}
	why.Code = CodeE16
	why.Text = noPair(why, dhcp >= 0)
	return Choice{DHCP: -1, Proxy: -1}
}

// noPair says what is missing when no pair of offers could be made.
func noPair(why *Why, dhcp bool) string {
	for i, r := range why.Refused {
		if r != "" {
			return fmt.Sprintf("no usable pair of offers; one offer was refused: %s: %s", why.Classes[i], r)
		}
	}
	switch {
	case len(why.Classes) == 0:
		return "no offer at all"
	case dhcp:
		return "an address was offered, but nobody offered anything to boot"
	}
	return "offers, but none with an address"
}

// uefiFile is the boot file name EDK2 would use: option 67 before the header field.
func uefiFile(p *Profile, k *Packet) []byte {
	if o, ok := k.firstOverloaded(optBootFile); ok {
		if p.Quirks.Unterminated67 {
			return k.cString(o)
		}
		return cutNUL(o.Data)
	}
	return k.fileField()
}

// classifyHTTP is HttpBootParseDhcp4Packet.
func classifyHTTP(o Offer) (Class, string) {
	k := o.Packet
	if r := edk2Offer(k); r != "" {
		return ClassInvalid, r
	}
	if k.Type() == 0 {
		return ClassUnusable, "BOOTP reply"
	}
	proxy, dns := unset(k.YIAddr), k.Addr(optDNS).IsValid()
	if k.classHasPrefix("HTTPClient") {
		u, err := url.Parse(string(httpURI(k)))
		if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
			return ClassUnusable, "HTTPClient class but no usable URI"
		}
		_, err = netip.ParseAddr(u.Hostname())
		literal := err == nil
		switch {
		case proxy && literal:
			return ClassProxyIPURI, ""
		case proxy:
			return ClassProxyNameURI, ""
		case literal:
			return ClassDHCPIPURI, ""
		case dns:
			return ClassDHCPNameURIDNS, ""
		}
		return ClassDHCPNameURI, "host name in the URI but no name server (option 6)"
	}
	switch {
	case proxy:
		return ClassUnusable, "no address and no HTTPClient class (option 60)"
	case dns:
		return ClassDHCPDNS, ""
	}
	return ClassDHCPOnly, ""
}

// httpURI is the URI of an HTTP boot offer: option 67 before the header field; a NUL ends it.
func httpURI(k *Packet) []byte {
	if o, ok := k.firstOverloaded(optBootFile); ok {
		return cutNUL(o.Data)
	}
	return k.fileField()
}

// selectHTTP is HttpBootSelectDhcpOffer's order of preference.
func selectHTTP(why *Why) Choice {
	for _, class := range []Class{ClassDHCPIPURI, ClassDHCPNameURIDNS} {
		if i := indexOf(why, class); i >= 0 {
			why.Text = "the DHCP server itself offers a URI"
			return Choice{DHCP: i, Proxy: -1}
		}
	}
	dhcp, withDNS := indexOf(why, ClassDHCPOnly), indexOf(why, ClassDHCPDNS)
	if i := indexOf(why, ClassProxyIPURI); i >= 0 {
		why.Text = "address from the DHCP server, URI with an IP address from the proxy"
		switch {
		case dhcp >= 0:
			return Choice{DHCP: dhcp, Proxy: i}
		case withDNS >= 0:
			return Choice{DHCP: withDNS, Proxy: i}
		}
	}
	if i := indexOf(why, ClassProxyNameURI); i >= 0 {
		if withDNS >= 0 {
			why.Text = "address and name server from the DHCP server, URI with a host name from the proxy"
			return Choice{DHCP: withDNS, Proxy: i}
		}
		why.Refused[i] = "host name in the URI, but no DHCP offer with a name server (option 6)"
	}
	why.Code = CodeHTTPNoOffer
	why.Text = noPair(why, dhcp >= 0 || withDNS >= 0)
	return Choice{DHCP: -1, Proxy: -1}
}

// classifyIPXE follows dhcp_discovery_rx. A DHCP server's own offer can be both address and proxy
// offer; the class then says DHCP and selectIPXE looks again.
func classifyIPXE(o Offer) (Class, string) {
	k := o.Packet
	if k.Type() != typeOffer && k.Type() != 0 {
		return ClassInvalid, fmt.Sprintf("message type %d is not OFFER", k.Type())
	}
	address := !unset(k.YIAddr) && o.From.Port() == portServer
	pxe := k.isPXE() && k.Type() == typeOffer && !unset(k.ServerID())
	has := ipxeHasOptions(k)
	switch {
	case address && pxe && has:
		return ClassDHCPPXE, ""
	case address && pxe:
		return ClassDHCPBINL, ""
	case address:
		return ClassDHCPOnly, ""
	case pxe && has:
		return ClassProxyPXE, ""
	case pxe:
		return ClassProxyBINL, ""
	case !unset(k.YIAddr):
		return ClassUnusable, "address offered from a port other than 67"
	case k.isPXE():
		return ClassUnusable, "no server identifier (option 54)"
	}
	return ClassUnusable, "no address and no PXEClient class (option 60)"
}

// ipxeFile is the boot file name of one packet: header before option 67, no overload.
func ipxeFile(k *Packet) []byte {
	if f := cutNUL(k.File[:]); len(f) > 0 {
		return f
	}
	if o, ok := k.First(optBootFile); ok {
		return cutNUL(o.Data)
	}
	return nil
}

// ipxeHasOptions is dhcp_has_pxeopts (iPXE f0c6c4efd): the packet is enough without asking 4011.
func ipxeHasOptions(k *Packet) bool {
	if !unset(k.SIAddr) && len(ipxeFile(k)) > 0 {
		return true
	}
	return readVendor(k).hasMenu()
}

// ipxeEncap reads one sub-option of option 175.
func ipxeEncap(k *Packet, code byte) (Option, bool) {
	o, ok := k.First(optIPXE)
	if !ok {
		return Option{}, false
	}
	subs, _ := subOptions(o.Data)
	return findSub(subs, code)
}

// ipxePriorityOf is 175.1 as a signed byte, 0 if absent.
func ipxePriorityOf(k *Packet) int8 {
	if s, ok := ipxeEncap(k, ipxePriority); ok && len(s.Data) > 0 {
		return int8(s.Data[len(s.Data)-1])
	}
	return 0
}

// selectIPXE keeps the best address offer and the best proxy offer; the later of equals wins.
func selectIPXE(offers []Offer, why *Why) Choice {
	c := Choice{DHCP: -1, Proxy: -1}
	for i, o := range offers {
		if why.Refused[i] != "" {
			continue
		}
		prio := ipxePriorityOf(o.Packet)
		class := why.Classes[i]
		if class == ClassDHCPOnly || class == ClassDHCPPXE || class == ClassDHCPBINL {
			if c.DHCP < 0 || prio >= ipxePriorityOf(offers[c.DHCP].Packet) {
				c.DHCP = i
			}
		}
		if class != ClassDHCPOnly {
			if c.Proxy < 0 || prio >= ipxePriorityOf(offers[c.Proxy].Packet) {
				c.Proxy = i
			}
		}
	}
	if c.DHCP < 0 {
		why.Code, why.Text = CodeNoConfig, noPair(why, false)
		return c
	}
	if ipxeIgnoresProxy(offers[c.DHCP].Packet) {
		c.Proxy = -1
		why.Text = "the DHCP server says that no proxy is to be waited for (175.176)"
		return c
	}
	switch {
	case c.Proxy < 0:
		why.Text = "address only; no proxy offer so far"
	case c.Proxy == c.DHCP:
		why.Text = "the DHCP server's own offer says PXEClient (option 60) and wins as proxy offer"
	default:
		why.Text = "address from the DHCP server, boot information from the proxy"
	}
	if c.Proxy >= 0 && !ipxeHasOptions(offers[c.Proxy].Packet) {
		c.Ask = []int{c.Proxy}
	}
	return c
}

// ipxeIgnoresProxy is 175.176 in the DHCP server's offer.
func ipxeIgnoresProxy(k *Packet) bool {
	s, ok := ipxeEncap(k, ipxeNoProxy)
	return ok && len(s.Data) > 0 && s.Data[len(s.Data)-1] != 0
}

func classifyBIOS(o Offer) (Class, string) {
	k := o.Packet
	if k.Type() != typeOffer && k.Type() != 0 {
		return ClassInvalid, fmt.Sprintf("message type %d is not OFFER", k.Type())
	}
	v := readVendor(k)
	proxy := unset(k.YIAddr)
	switch {
	case proxy && !k.isPXE():
		return ClassUnusable, "no address and no PXEClient class (option 60)"
	case proxy && v.discovery():
		return ClassProxyPXE, ""
	case proxy:
		return ClassProxyBINL, ""
	case k.Type() == 0:
		return ClassBootp, ""
	case k.isPXE() && v.discovery():
		return ClassDHCPPXE, ""
	case k.isPXE():
		return ClassDHCPBINL, ""
	}
	return ClassDHCPOnly, ""
}

// biosFile is the boot file name of a ROM: the header field, then option 67.
func biosFile(p *Profile, k *Packet) []byte {
	if f := k.fileField(); len(f) > 0 {
		return f
	}
	o, ok := k.firstOverloaded(optBootFile)
	if !ok || p.Quirks.HeaderFileOnly {
		return nil
	}
	data := o.Data
	if p.Quirks.Chop67 && len(data) > 0 {
		data = data[:len(data)-1]
	}
	return cutNUL(data)
}

// selectBIOS: a DHCP offer that is a PXE offer too wins (PXE 2.1 section 2.2.2, and the reason why
// option 60 on a DHCP server breaks a separate proxy: Microsoft KB 259670).
func selectBIOS(p *Profile, offers []Offer, why *Why) Choice {
	ask := func(i int) []int {
		v := readVendor(offers[i].Packet)
		direct := v.control&ctrlBootFile != 0 && len(biosFile(p, offers[i].Packet)) > 0
		menu := v.hasMenu()
		if !v.discovery() || (direct && p.Quirks.AlwaysAsk4011 && !menu) {
			return []int{i}
		}
		return nil
	}
	if i := indexOf(why, ClassDHCPPXE); i >= 0 {
		why.Text = "the DHCP server itself offers PXE options"
		return Choice{DHCP: i, Proxy: -1, Ask: ask(i)}
	}
	if i := indexOf(why, ClassDHCPBINL); i >= 0 {
		why.Text = "the DHCP server itself says PXEClient (option 60): it is asked on port 4011, no proxy is"
		return Choice{DHCP: i, Proxy: -1, Ask: ask(i)}
	}
	dhcp := indexOf(why, ClassDHCPOnly)
	if dhcp < 0 {
		dhcp = indexOf(why, ClassBootp)
	}
	proxy := indexOf(why, ClassProxyPXE)
	if proxy < 0 {
		proxy = indexOf(why, ClassProxyBINL)
	}
	none := Choice{DHCP: -1, Proxy: -1}
	switch {
	case dhcp >= 0 && proxy >= 0:
		why.Text = "address from the DHCP server, boot information from the proxy"
		return Choice{DHCP: dhcp, Proxy: proxy, Ask: ask(proxy)}
	case dhcp >= 0 && len(biosFile(p, offers[dhcp].Packet)) > 0:
		why.Text = "the DHCP server names a boot file and there is no proxy offer"
		return Choice{DHCP: dhcp, Proxy: -1}
	case dhcp >= 0:
		why.Code, why.Text = CodeE53, noPair(why, true)
	case proxy >= 0:
		why.Code, why.Text = CodeE52, "proxy offers, but nobody offered an address"
	default:
		why.Code, why.Text = CodeE51, noPair(why, false)
	}
	return none
}

// classifyPi: the boot loaders look for their own text in the PXE menu; the ROM of the Pi 3 wants
// three blanks behind it.
func classifyPi(p *Profile, o Offer) (Class, string) {
	k := o.Packet
	if k.Type() != typeOffer {
		return ClassInvalid, fmt.Sprintf("message type %d is not OFFER", k.Type())
	}
	text := "Raspberry Pi Boot"
	if p.Family == FamilyPi3 {
		text += "   "
	}
	vend, ok := k.First(optVendor)
	switch {
	case ok && k.isPXE() && bytes.Contains(vend.Data, []byte(text)):
		return ClassPiMenu, ""
	case !unset(k.YIAddr):
		return ClassDHCPOnly, ""
	case ok && strings.Contains(string(vend.Data), "Raspberry Pi Boot"):
		return ClassUnusable, "menu text lacks the three blanks this ROM looks for"
	}
	return ClassUnusable, "no address and no Raspberry Pi Boot menu entry"
}

func selectPi(offers []Offer, why *Why) Choice {
	dhcp, menu := indexOf(why, ClassDHCPOnly), indexOf(why, ClassPiMenu)
	if menu >= 0 && !unset(offers[menu].Packet.YIAddr) {
		why.Text = "address and boot server from the DHCP server"
		return Choice{DHCP: menu, Proxy: -1}
	}
	if dhcp >= 0 && menu >= 0 {
		why.Text = "address from the DHCP server, boot server from the proxy"
		return Choice{DHCP: dhcp, Proxy: menu}
	}
	why.Code, why.Text = CodePiDHCP, noPair(why, dhcp >= 0)
	return Choice{DHCP: -1, Proxy: -1}
}
