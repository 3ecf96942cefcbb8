package pxesim

import (
	"fmt"
	"net/netip"
	"testing"
)

// mk builds one offer; the changes come last.
func mk(t *testing.T, from string, change ...func(*Packet)) Offer {
	t.Helper()
	k := &Packet{Op: 2, HType: 1, HLen: 6, SIAddr: netip.MustParseAddr("192.0.2.2")}
	k.Set(optType, typeOffer)
	k.Set(optServerID, 192, 0, 2, 2)
	for _, c := range change {
		c(k)
	}
	return Offer{From: netip.MustParseAddrPort(from), Packet: reparse(t, k)}
}

func your(k *Packet) { k.YIAddr = clientAddr }
func class(c string) func(*Packet) {
	return func(k *Packet) { k.Set(optClass, []byte(c)...) }
}
func vend(b ...byte) func(*Packet) { return func(k *Packet) { k.Set(optVendor, b...) } }
func file(f string) func(*Packet)  { return func(k *Packet) { copy(k.File[:], f) } }
func opt(code byte, b ...byte) func(*Packet) {
	return func(k *Packet) { k.Set(code, b...) }
}
func without(code byte) func(*Packet) { return func(k *Packet) { k.Delete(code) } }

// The rows of EDK2's classification, each generation where they differ.
func TestClassifyUEFI(t *testing.T) {
	pxe := class("PXEClient")
	tests := []struct {
		name   string
		change []func(*Packet)
		want   Class
		drop   bool
	}{
		{"plain DHCP", []func(*Packet){your}, ClassDHCPOnly, false},
		{"plain DHCP, vendor options of somebody else", []func(*Packet){your, vend(6, 1, 8, 255)}, ClassDHCPOnly, false},
		{"PXE in the DHCP server", []func(*Packet){your, pxe, vend(6, 1, 8, 255)}, ClassDHCPPXE, false},
		{"same, menu", []func(*Packet){your, pxe, vend(9, 3, 0, 0, 0, 255)}, ClassDHCPPXE, false},
		{"same, no 43", []func(*Packet){your, pxe}, ClassDHCPBINL, false},
		{"proxy, direct", []func(*Packet){pxe, vend(6, 1, 8, 255)}, ClassProxyPXE, false},
		{"proxy, 43.7 alone", []func(*Packet){pxe, vend(7, 4, 224, 0, 1, 2, 255)}, ClassProxyPXE, false},
		{"proxy, 43.8 alone", []func(*Packet){pxe, vend(8, 3, 0, 0, 0, 255)}, ClassProxyPXE, false},
		{"proxy, 43.10 alone", []func(*Packet){pxe, vend(10, 1, 0, 255)}, ClassProxyPXE, false},
		{"proxy, two-step", []func(*Packet){pxe}, ClassProxyBINL, false},
		{"proxy, two-step with unrelated 43", []func(*Packet){pxe, vend(71, 4, 0, 0, 0, 0, 255)}, ClassProxyBINL, false},
		{"proxy, class with a tail", []func(*Packet){class("PXEClient:Arch:00007")}, ClassProxyBINL, false},
		{"WfM 1.1a", []func(*Packet){your, pxe, vend(1, 4, 0, 0, 0, 0, 2, 2, 0, 0, 3, 2, 0, 0, 4, 1, 0, 5, 1, 0, 255)}, ClassInvalid, true},
		{"43.1 to 43.4 only", []func(*Packet){your, pxe, vend(1, 4, 0, 0, 0, 0, 2, 2, 0, 0, 3, 2, 0, 0, 4, 1, 0, 255)}, ClassDHCPBINL, false},
		{"proxy without 60", nil, ClassUnusable, true},
		{"proxy with class in small letters", []func(*Packet){class("pxeclient")}, ClassUnusable, true},
		{"proxy with HTTPClient", []func(*Packet){class("HTTPClient")}, ClassUnusable, true},
		{"no server identifier", []func(*Packet){pxe, without(optServerID)}, ClassInvalid, true},
		{"server identifier 0", []func(*Packet){pxe, opt(optServerID, 0, 0, 0, 0)}, ClassInvalid, true},
		{"an ACK", []func(*Packet){pxe, opt(optType, typeACK)}, ClassInvalid, true},
		{"empty 43", []func(*Packet){pxe, vend()}, ClassInvalid, true},
		{"empty 60", []func(*Packet){opt(optClass)}, ClassInvalid, true},
		{"empty 66", []func(*Packet){pxe, opt(66)}, ClassInvalid, true},
		{"empty 67", []func(*Packet){pxe, opt(67)}, ClassInvalid, true},
		{"13 of one byte", []func(*Packet){pxe, opt(13, 1)}, ClassInvalid, true},
		{"53 of two bytes", []func(*Packet){pxe, opt(53, 2, 2)}, ClassInvalid, true},
		{"54 of five bytes", []func(*Packet){pxe, opt(54, 1, 2, 3, 4, 5)}, ClassInvalid, true},
		{"57 of one byte", []func(*Packet){pxe, opt(57, 5)}, ClassInvalid, true},
		{"longer than 1472", []func(*Packet){pxe, func(k *Packet) {
			for i := byte(224); i < 230; i++ {
				k.Set(i, make([]byte, 250)...)
			}
		}}, ClassInvalid, true},
		{"BOOTP with a file", []func(*Packet){your, without(optType), file("x")}, ClassBootp, false},
		{"BOOTP without a file", []func(*Packet){your, without(optType)}, ClassInvalid, true},
	}
	current, old := profile(t, "uefi-x64"), profile(t, "uefi-2017")
	for _, tt := range tests {
		o := mk(t, "192.0.2.2:67", tt.change...)
		got, refused := Classify(&current, o)
		if got != tt.want || (refused != "") != tt.drop {
			t.Errorf("%s: %s (%q), want %s", tt.name, got, refused, tt.want)
		}
		got, refused = Classify(&old, o)
		if got != tt.want || (refused != "") != (tt.drop || tt.want == ClassProxyPXE) {
			t.Errorf("%s, old generation: %s (%q), want %s", tt.name, got, refused, tt.want)
		}
	}
}

// EDK2's order of preference, written as offers in the order of their arrival.
func TestSelectUEFI(t *testing.T) {
	pxe := class("PXEClient")
	plain := mk(t, "192.0.2.1:67", your)
	named := mk(t, "192.0.2.1:67", your, file("pxelinux.0"))
	dhcpPXE := mk(t, "192.0.2.1:67", your, pxe, vend(6, 1, 8, 255))
	dhcpBINL := mk(t, "192.0.2.1:67", your, pxe)
	direct := mk(t, "192.0.2.2:67", pxe, vend(6, 1, 8, 255), file("a"))
	twoStep := mk(t, "192.0.2.2:67", pxe, file("b"))
	bootp := mk(t, "192.0.2.1:67", your, without(optType), file("x"))
	foreign := mk(t, "192.0.2.9:67", file("b"))
	tests := []struct {
		offers      []Offer
		dhcp, proxy int
		ask         string
		code        Code
	}{
		{nil, -1, -1, "[]", CodeE16},
		{[]Offer{plain}, -1, -1, "[]", CodeE16},
		{[]Offer{twoStep}, -1, -1, "[]", CodeE16},
		{[]Offer{plain, twoStep}, 0, 1, "[1]", ""},
		{[]Offer{twoStep, plain}, 1, 0, "[0]", ""},
		{[]Offer{direct, plain}, 1, 0, "[]", ""},
		{[]Offer{twoStep, plain, direct}, 1, 2, "[]", ""},
		{[]Offer{twoStep, plain, twoStep}, 1, 0, "[0 2]", ""},
		{[]Offer{dhcpPXE, plain, direct}, 0, -1, "[]", ""},
		{[]Offer{dhcpBINL, twoStep}, 0, -1, "[0]", ""},
		{[]Offer{dhcpBINL, direct}, 0, -1, "[0]", ""},
		{[]Offer{dhcpBINL, plain, direct}, 1, 2, "[]", ""},
		{[]Offer{dhcpBINL, plain, twoStep}, 0, -1, "[0]", ""},
		{[]Offer{named}, 0, -1, "[]", ""},
		{[]Offer{plain, named}, 1, -1, "[]", ""},
		{[]Offer{named, twoStep}, 0, 1, "[1]", ""},
		{[]Offer{bootp}, 0, -1, "[]", ""},
		{[]Offer{plain, foreign}, -1, -1, "[]", CodeE16},
	}
	p := profile(t, "uefi-x64")
	for i, tt := range tests {
		c, why := Select(&p, tt.offers)
		if c.DHCP != tt.dhcp || c.Proxy != tt.proxy || fmt.Sprint(c.Ask) != tt.ask || why.Code != tt.code || why.Text == "" {
			t.Errorf("row %d: %+v %q (%s)", i, c, why.Code, why.Text)
		}
	}
}

func TestSelectHTTP(t *testing.T) {
	h := class("HTTPClient")
	plain := mk(t, "192.0.2.1:67", your)
	dns := mk(t, "192.0.2.1:67", your, opt(optDNS, 192, 0, 2, 1))
	literal := mk(t, "192.0.2.2:67", h, opt(optBootFile, []byte("http://192.0.2.2/x.efi")...))
	inFile := mk(t, "192.0.2.2:67", h, file("http://192.0.2.2/x.efi"))
	name := mk(t, "192.0.2.2:67", h, opt(optBootFile, []byte("http://boot.example/x.efi\x00")...))
	dhcpURI := mk(t, "192.0.2.1:67", your, h, opt(optBootFile, []byte("http://192.0.2.1/x.efi")...))
	dhcpName := mk(t, "192.0.2.1:67", your, h, opt(optBootFile, []byte("http://boot/x.efi")...))
	notURI := mk(t, "192.0.2.2:67", h, file("snponly.efi"))
	pxe := mk(t, "192.0.2.2:67", class("PXEClient"), file("snponly.efi"))
	tftp := mk(t, "192.0.2.1:67", your, file("pxelinux.0"))
	tests := []struct {
		offers      []Offer
		dhcp, proxy int
		code        Code
	}{
		{[]Offer{plain, literal}, 0, 1, ""},
		{[]Offer{inFile, dns}, 1, 0, ""},
		{[]Offer{tftp, literal}, 0, 1, ""},
		{[]Offer{plain, name}, -1, -1, CodeHTTPNoOffer},
		{[]Offer{dns, name}, 0, 1, ""},
		{[]Offer{literal, dhcpURI}, 1, -1, ""},
		{[]Offer{literal, dhcpName}, -1, -1, CodeHTTPNoOffer},
		{[]Offer{plain, notURI}, -1, -1, CodeHTTPNoOffer},
		{[]Offer{plain, pxe}, -1, -1, CodeHTTPNoOffer},
		{[]Offer{literal}, -1, -1, CodeHTTPNoOffer},
		{nil, -1, -1, CodeHTTPNoOffer},
	}
	p := profile(t, "http-x64")
	for i, tt := range tests {
		if c, why := Select(&p, tt.offers); c.DHCP != tt.dhcp || c.Proxy != tt.proxy || why.Code != tt.code {
			t.Errorf("row %d: %+v %q (%s)", i, c, why.Code, why.Text)
		}
	}
}

// iPXE: any offer that says PXEClient is a proxy offer, the DHCP server's own included; the higher
// 175.1 wins, as a signed byte, and the later of equals.
func TestSelectIPXE(t *testing.T) {
	pxe := class("PXEClient")
	prio := func(v byte) func(*Packet) { return opt(optIPXE, 1, 1, v) }
	plain := mk(t, "192.0.2.1:67", your)
	odd := mk(t, "192.0.2.1:1067", your)
	own := mk(t, "192.0.2.1:67", your, pxe)
	a := mk(t, "192.0.2.2:67", pxe, file("a"))
	b := mk(t, "192.0.2.3:67", pxe, file("b"))
	high := mk(t, "192.0.2.2:67", pxe, file("c"), prio(1))
	low := mk(t, "192.0.2.2:67", pxe, file("d"), prio(0xff))
	noNext := mk(t, "192.0.2.2:67", pxe, file("e"), func(k *Packet) { k.SIAddr = netipZero })
	menu := mk(t, "192.0.2.2:67", pxe, vend(9, 3, 0, 0, 0, 255))
	http := mk(t, "192.0.2.2:67", class("HTTPClient"), file("f"))
	no54 := mk(t, "192.0.2.2:67", pxe, file("a"), without(optServerID))
	tests := []struct {
		offers      []Offer
		dhcp, proxy int
		ask         string
	}{
		{[]Offer{plain, a}, 0, 1, "[]"},
		{[]Offer{a, plain, b}, 1, 2, "[]"},
		{[]Offer{b, a, plain}, 2, 1, "[]"},
		{[]Offer{high, a, plain}, 2, 0, "[]"},
		{[]Offer{a, low, plain}, 2, 0, "[]"},
		{[]Offer{a, own}, 1, 1, "[1]"},
		{[]Offer{high, own}, 1, 0, "[]"},
		{[]Offer{plain, noNext}, 0, 1, "[1]"},
		{[]Offer{plain, menu}, 0, 1, "[]"},
		{[]Offer{plain, http}, 0, -1, "[]"},
		{[]Offer{plain, no54}, 0, -1, "[]"},
		{[]Offer{odd, a}, -1, 1, "[]"},
		{[]Offer{a}, -1, 0, "[]"},
	}
	p := profile(t, "ipxe-bios")
	for i, tt := range tests {
		c, why := Select(&p, tt.offers)
		if c.DHCP != tt.dhcp || c.Proxy != tt.proxy || (c.OK() && fmt.Sprint(c.Ask) != tt.ask) || (tt.dhcp < 0) != (why.Code == CodeNoConfig) {
			t.Errorf("row %d: %+v %q (%s)", i, c, why.Code, why.Text)
		}
	}
}

func TestFileNames(t *testing.T) {
	long := "x86_64/snponly.efi"
	both := mk(t, "192.0.2.2:67", file("header"), opt(optBootFile, []byte("option")...))
	only := mk(t, "192.0.2.2:67", opt(optBootFile, []byte(long)...))
	nul := mk(t, "192.0.2.2:67", opt(optBootFile, append([]byte(long), 0)...), opt(97, 0))
	follow := mk(t, "192.0.2.2:67", opt(optBootFile, []byte(long)...), opt(97, 'A', 0))
	over := mk(t, "192.0.2.2:67", opt(optOverload, 1), file("\x43\x03abc\xff"))
	tests := []struct {
		profile string
		offer   Offer
		want    string
	}{
		{"uefi-x64", both, "option"},
		{"ipxe-bios", both, "header"},
		{"bios", both, "header"},
		{"http-x64", both, "option"},
		{"uefi-x64", only, long},
		{"uefi-2010", only, long + "\xff"},
		{"uefi-2010", nul, long},
		{"uefi-2010", follow, long + "a\x02A"},
		{"bios-chop67", only, long[:len(long)-1]},
		{"bios-chop67", nul, long},
		{"bios-old", only, ""},
		{"uefi-x64", over, "abc"},
		{"ipxe-bios", over, "C\x03abc\xff"},
		{"bios", over, "abc"},
	}
	for _, tt := range tests {
		p := profile(t, tt.profile)
		if got := string(fileOf(&p, tt.offer.Packet)); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.profile, got, tt.want)
		}
	}
}
