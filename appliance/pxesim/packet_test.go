package pxesim

import (
	"bytes"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

func TestParsePacketErrors(t *testing.T) {
	good := (&Packet{Op: 2, Options: []Option{{Code: optType, Data: []byte{2}}}}).Marshal()
	cookie := slices.Clone(good)
	cookie[236] ^= 1
	cut := append(slices.Clone(good[:240]), 53, 9, 1)
	lone := append(slices.Clone(good[:240]), 53)
	noEnd := append(slices.Clone(good[:240]), 53, 1, 2)
	tests := []struct {
		in   []byte
		want error
	}{
		{nil, ErrShort},
		{good[:239], ErrShort},
		{make([]byte, 10000), ErrLong},
		{cookie, ErrCookie},
		{cut, ErrOption},
		{lone, ErrOption},
		{good[:240], nil},
		{noEnd, nil},
		{good, nil},
		{append(slices.Clone(good), 1, 2, 3), nil},
	}
	for i, tt := range tests {
		if _, err := ParsePacket(tt.in); !errors.Is(err, tt.want) {
			t.Errorf("row %d: %v, want %v", i, err, tt.want)
		}
	}
}

// What the firmware sends is what an independent codec reads, and has the size of a real message.
func TestRequestsParseElsewhere(t *testing.T) {
	for _, p := range Profiles() {
		m, err := NewMachine(Config{Profile: p, MAC: testMAC, UUID: testUUID, XID: func() uint32 { return 0x01020304 }, Lease: true})
		if err != nil {
			t.Fatal(err)
		}
		var b []byte
		for _, e := range m.Start(0) {
			if s, ok := e.(Send); ok {
				b = s.Datagram.Payload
			}
		}
		k, err := dhcpv4.FromBytes(b)
		if err != nil {
			t.Fatalf("%s: %v", p.Name, err)
		}
		if k.MessageType() != dhcpv4.MessageTypeDiscover || k.ClientHWAddr.String() != testMAC.String() || len(b) < 300 || len(b) > 548 {
			t.Errorf("%s: %s, %d bytes", p.Name, k.Summary(), len(b))
		}
		if archs := k.ClientArch(); len(archs) != 1 || uint16(archs[0]) != p.Arch {
			t.Errorf("%s: arch %v", p.Name, archs)
		}
		if k.IsBroadcast() != p.Broadcast {
			t.Errorf("%s: broadcast flag %v", p.Name, k.IsBroadcast())
		}
		if p.Family == FamilyIPXE && p.Name != "gpxe" && string(k.Options.Get(dhcpv4.OptionUserClassInformation)) != "iPXE" {
			t.Errorf("%s: user class %q", p.Name, k.Options.Get(dhcpv4.OptionUserClassInformation))
		}
		if guid := k.Options.Get(dhcpv4.OptionClientMachineIdentifier); !p.OmitGUID && len(guid) != 17 {
			t.Errorf("%s: option 97 of %d bytes", p.Name, len(guid))
		}
	}
	for name, want := range map[string]string{
		"bios": "PXEClient:Arch:00000:UNDI:002001", "uefi-x64": "PXEClient:Arch:00007:UNDI:003000",
		"http-x64": "HTTPClient:Arch:00016:UNDI:003000", "uefi-loong64": "PXEClient:Arch:00039:UNDI:003000",
	} {
		if p := profile(t, name); p.class() != want {
			t.Errorf("%s: class %q", name, p.class())
		}
	}
}

// Pi 4 leaves option 60 out of its REQUEST, EDK2 asks for 65280 bytes in it.
func TestRequestOddities(t *testing.T) {
	for _, name := range []string{"pi4", "uefi-x64", "bios"} {
		bubble(t, func(t *testing.T) {
			l := newLAN(t)
			l.play(profile(t, name))
			for _, d := range l.sent {
				k, err := ParsePacket(d.Payload)
				if d.Dst.Port() != portServer || err != nil || k.Type() != typeRequest {
					continue
				}
				_, hasClass := k.First(optClass)
				size, _ := k.First(optMaxSize)
				if hasClass != (name != "pi4") || bytes.Equal(size.Data, []byte{0xff, 0}) != (name == "uefi-x64") || k.Addr(optRequestIP) != clientAddr {
					t.Errorf("%s: class %v, 57 = % x", name, hasClass, size.Data)
				}
			}
		})
	}
}

func TestProfileNames(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range Profiles() {
		if seen[p.Name] || p.Title == "" {
			t.Errorf("profile %q is there twice or has no title", p.Name)
		}
		seen[p.Name] = true
		if err := p.check(); err != nil {
			t.Error(err)
		}
		if p.Next != "" {
			if _, err := Lookup(p.Next); err != nil {
				t.Error(err)
			}
		}
	}
	if _, err := Lookup("nonesuch"); err == nil {
		t.Error("an unknown name was found")
	}
	a, b := profile(t, "bios"), profile(t, "bios")
	a.DiscoverWaits[0] = 0
	if b.DiscoverWaits[0] != 4*time.Second {
		t.Error("profiles share their tables")
	}
	if err := (&Profile{}).check(); err == nil {
		t.Error("the zero profile is playable")
	}
}

func TestFrames(t *testing.T) {
	d := Datagram{Src: netip.MustParseAddrPort("192.0.2.1:67"), Dst: netip.MustParseAddrPort("255.255.255.255:68"), Payload: []byte("odd")}
	b, err := udpFrame(testMAC, testMAC, d)
	if err != nil {
		t.Fatal(err)
	}
	dst, got, err := parseUDPFrame(b)
	if err != nil || got.Src != d.Src || got.Dst != d.Dst || string(got.Payload) != "odd" || dst.String() != testMAC.String() {
		t.Fatalf("%v %+v %v", dst, got, err)
	}
	// A correct checksum sums to zero (RFC 1071).
	if fold(sum16(0, b[14:34])) != 0 || fold(sum16(sum16(17+11, b[26:34]), b[34:])) != 0 {
		t.Error("checksums are wrong")
	}
	for i, change := range []func([]byte){
		func(b []byte) { b[12] = 0x86 }, func(b []byte) { b[14] = 0x44 }, func(b []byte) { b[14] = 0x65 }, func(b []byte) { b[16] = 9 },
		func(b []byte) { b[20] = 0x20 }, func(b []byte) { b[21] = 1 }, func(b []byte) { b[23] = 6 }, func(b []byte) { b[39] = 200 }, func(b []byte) { b[39] = 7 },
	} {
		bad := slices.Clone(b)
		change(bad)
		if _, _, err := parseUDPFrame(bad); err == nil {
			t.Errorf("broken frame %d accepted", i)
		}
	}
	a := arpPacket{op: 1, senderMAC: testMAC, senderIP: clientAddr, targetMAC: testMAC, targetIP: dhcpAddr}
	back, err := parseARP(a.frame(testMAC, testMAC))
	if err != nil || back.targetIP != dhcpAddr || back.senderIP != clientAddr || back.op != 1 {
		t.Errorf("ARP %+v %v", back, err)
	}
}

func FuzzFrames(f *testing.F) {
	b, _ := udpFrame(testMAC, testMAC, Datagram{Src: netip.MustParseAddrPort("192.0.2.1:67"), Dst: netip.MustParseAddrPort("192.0.2.2:68"), Payload: []byte("x")})
	f.Add(b)
	f.Add(arpPacket{op: 1, senderMAC: testMAC, senderIP: clientAddr, targetMAC: testMAC, targetIP: dhcpAddr}.frame(testMAC, testMAC))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, d, err := parseUDPFrame(b); err == nil && len(d.Payload) > len(b) {
			t.Error("payload longer than the frame")
		}
		_, _ = parseARP(b)
	})
}

// FuzzMachine feeds arbitrary packets to every family in every state it can be driven into.
func FuzzMachine(f *testing.F) {
	p := &Packet{Op: 2, HType: 1, HLen: 6, XID: 7, SIAddr: proxyAddr}
	copy(p.CHAddr[:], testMAC)
	p.Set(optType, typeOffer)
	p.Set(optServerID, b4(proxyAddr)...)
	p.Set(optClass, []byte("PXEClient")...)
	f.Add(p.Marshal(), p.Marshal(), uint16(67), byte(0))
	p.Set(optVendor, []byte("\x06\x01\x03\x08\x07\x80\x01\x01\xc0\x00\x02\x02\x09\x08\x80\x01\x05Start\x0a\x04\x00PXE\xff")...)
	q := *p
	q.YIAddr = clientAddr
	f.Add(p.Marshal(), q.Marshal(), uint16(4011), byte(9))
	p.Set(optVendor, 6)
	p.Set(optIPXE, 1)
	p.Set(optBootFile, []byte("http://${${mac}/${")...)
	f.Add(p.Marshal(), q.Marshal(), uint16(67), byte(4))
	profiles := Profiles()
	for i := range profiles {
		f.Add(p.Marshal(), q.Marshal(), uint16(67), byte(i))
	}
	f.Fuzz(func(t *testing.T, a, b []byte, port uint16, which byte) {
		plain := &Packet{Op: 2, HType: 1, HLen: 6, XID: 7, YIAddr: clientAddr, CHAddr: p.CHAddr}
		plain.Set(optType, typeOffer)
		plain.Set(optServerID, b4(dhcpAddr)...)
		prof := profiles[int(which)%len(profiles)]
		prof.FixedXID = 7
		m, err := NewMachine(Config{Profile: prof, MAC: testMAC, XID: func() uint32 { return 7 }, Station: pfx("192.0.2.50/24")})
		if err != nil {
			t.Fatal(err)
		}
		from := netip.AddrPortFrom(proxyAddr, port)
		effects := m.Start(0)
		now, steps := time.Duration(0), 0
		feed := func(raw []byte, dst uint16) {
			effects = append(effects, m.Packet(now, Datagram{Src: from, Dst: netip.AddrPortFrom(broadcast, dst), Payload: raw})...)
		}
		for m.state != stateDone && steps < 30 {
			steps++
			for _, dst := range []uint16{68, 4011} {
				feed(a, dst)
				feed(b, dst)
			}
			effects = append(effects, m.Packet(now, Datagram{Src: netip.AddrPortFrom(dhcpAddr, 67), Dst: netip.AddrPortFrom(broadcast, 68), Payload: plain.Marshal()})...)
			now += 35 * time.Second
			if m.state == stateFetch || m.state == stateAutoexec {
				effects = append(effects, m.Fetched(now, Download{}, &TFTPError{Failure: TFTPNoAnswer})...)
				continue
			}
			effects = append(effects, m.Expired(now)...)
		}
		if len(effects) > 4000 {
			t.Errorf("%s: %d effects", prof.Name, len(effects))
		}
		for _, e := range effects {
			switch e := e.(type) {
			case Send:
				k, err := ParsePacket(e.Datagram.Payload)
				if err != nil || k.Op != 1 || (e.Datagram.Dst.Port() == portServer && k.Type() == typeRequest && !unset(k.ServerID())) {
					t.Errorf("%s: sent something a probe must not: %v", prof.Name, err)
				}
			case Note:
				if i := slices.IndexFunc([]byte(e.Step.Text), func(c byte) bool { return c < ' ' || c > '~' }); i >= 0 {
					t.Errorf("%s: unescaped byte in step %q", prof.Name, e.Step.Text)
				}
			case Done:
				if e.Outcome.Verdict == "" || e.Outcome.OK != (e.Outcome.Code == "") {
					t.Errorf("%s: outcome %+v", prof.Name, e.Outcome)
				}
			}
		}
	})
}
