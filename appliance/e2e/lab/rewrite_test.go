package lab

import (
	"bytes"
	"testing"
)

func ipxeDiscover(t testing.TB) []byte {
	return udp(t, testMAC, "0.0.0.0:68", "255.255.255.255:67", message(1, testMAC, "",
		option{53, []byte{1}}, option{60, []byte("PXEClient:Arch:00000:UNDI:002001")}, option{77, []byte("iPXE")},
		option{93, []byte{0, 0}}, option{175, bytes.Repeat([]byte{0x13, 1, 1}, 20)}, option{97, make([]byte, 17)}))
}

func TestStripOptions(t *testing.T) {
	in := ipxeDiscover(t)
	before := bytes.Clone(in)
	out := StripOptions(in, 77, 175)
	if !bytes.Equal(in, before) {
		t.Error("the input was changed")
	}
	if !sumsRight(out) {
		t.Error("wrong checksums")
	}
	u, ok := parseUDP(out)
	if !ok {
		t.Fatal("the result is no UDP frame")
	}
	if len(u.payload) < 300 {
		t.Errorf("message of %d bytes, shorter than BOOTP's", len(u.payload))
	}
	m, ok := parseDHCP(u.payload)
	if !ok || m.options[77] != nil || m.options[175] != nil {
		t.Errorf("still there: %v", m.options)
	}
	if m.msgType != 1 || m.class != "PXEClient:Arch:00000:UNDI:002001" || len(m.options[97]) != 17 || len(m.options[93]) != 2 {
		t.Errorf("more than asked was removed: %v", m.options)
	}
	if again := StripOptions(out, 77, 175); !bytes.Equal(again, out) {
		t.Error("a frame without these options was changed")
	}
}

func TestRewriterPlainBIOS(t *testing.T) {
	has := func(frame []byte) bool {
		u, _ := parseUDP(frame)
		m, _ := parseDHCP(u.payload)
		return m.options[175] != nil
	}
	r := &Rewriter{PlainBIOS: true}
	if has(r.Frame(ipxeDiscover(t))) {
		t.Error("option 175 passed before the first TFTP request")
	}
	unicast := udp(t, testMAC, "10.77.0.100:68", "10.77.0.5:4011", message(1, testMAC, "", option{53, []byte{3}}, option{175, []byte{1}}))
	if has(r.Frame(unicast)) {
		t.Error("option 175 passed on port 4011")
	}
	rrq := udp(t, testMAC, "10.77.0.100:1024", "10.77.0.5:69", []byte("\x00\x01undionly.kpxe\x00octet\x00"))
	if got := r.Frame(rrq); !bytes.Equal(got, rrq) {
		t.Error("the TFTP request was changed")
	}
	if !has(r.Frame(ipxeDiscover(t))) {
		t.Error("option 175 of the loaded program was removed")
	}
	if !has((&Rewriter{}).Frame(ipxeDiscover(t))) {
		t.Error("the zero rewriter changed a frame")
	}
}

func TestRewriterDropClass(t *testing.T) {
	r := &Rewriter{DropClass: "PXEClient"}
	if r.Frame(ipxeDiscover(t)) != nil {
		t.Error("a DISCOVER of the dropped class passed")
	}
	other := udp(t, testMAC, "0.0.0.0:68", "255.255.255.255:67", message(1, testMAC, "", option{53, []byte{1}}, option{60, []byte("HTTPClient:Arch:00016")}))
	if r.Frame(other) == nil {
		t.Error("a DISCOVER of another class was dropped")
	}
	reply := udp(t, serverMAC, "10.77.0.1:67", "255.255.255.255:68", message(2, testMAC, "", option{53, []byte{2}}, option{60, []byte("PXEClient")}))
	if r.Frame(reply) == nil {
		t.Error("a reply was dropped")
	}
}

func TestRewriterPlainBIOSReply(t *testing.T) {
	reply := func(class string) []byte {
		m := message(2, testMAC, "10.77.0.100", option{53, []byte{2}}, option{67, []byte("router.0")}, option{60, []byte(class)}, option{3, []byte{10, 77, 0, 1}})
		copy(m[20:], []byte{10, 77, 0, 1})
		copy(m[108:], "router.0")
		return udp(t, serverMAC, "10.77.0.1:67", "255.255.255.255:68", m)
	}
	read := func(frame []byte) dhcpMessage {
		if !sumsRight(frame) {
			t.Error("wrong checksums")
		}
		u, _ := parseUDP(frame)
		m, ok := parseDHCP(u.payload)
		if !ok {
			t.Fatal("no DHCP message")
		}
		return m
	}
	r := &Rewriter{PlainBIOS: true}
	in := reply("")
	before := bytes.Clone(in)
	m := read(r.Reply(in))
	if !bytes.Equal(in, before) {
		t.Error("the input was changed")
	}
	if m.file != "" || m.options[67] != nil || !m.siaddr.IsUnspecified() {
		t.Errorf("the router's boot file passed: %+v", m)
	}
	if m.yiaddr.String() != "10.77.0.100" || m.msgType != 2 || m.options[3] == nil {
		t.Errorf("more was removed: %+v", m)
	}
	if got := r.Reply(reply("PXEClient")); read(got).file != "router.0" {
		t.Error("a PXE offer lost its file")
	}
	if (&Rewriter{}).Reply(in)[0] != in[0] || read((&Rewriter{}).Reply(in)).file != "router.0" {
		t.Error("the zero rewriter changed a reply")
	}
	r.Frame(udp(t, testMAC, "10.77.0.100:1024", "10.77.0.5:69", []byte("\x00\x01undionly.kpxe\x00octet\x00")))
	if read(r.Reply(reply(""))).file != "router.0" {
		t.Error("the loaded program's replies are still changed")
	}
}

func FuzzRewriter(f *testing.F) {
	f.Add(ipxeDiscover(f))
	f.Add(udp(f, testMAC, "10.77.0.100:1024", "10.77.0.5:69", []byte("\x00\x01x\x00octet\x00")))
	f.Add([]byte{})
	f.Add(udp(f, serverMAC, "10.77.0.1:67", "255.255.255.255:68", message(2, testMAC, "10.77.0.100", option{67, []byte("x")})))
	f.Fuzz(func(t *testing.T, frame []byte) {
		before := bytes.Clone(frame)
		if reply := (&Rewriter{PlainBIOS: true}).Reply(frame); !bytes.Equal(reply, frame) && !sumsRight(reply) {
			t.Fatal("a changed reply is not a correct UDP frame")
		}
		out := (&Rewriter{PlainBIOS: true}).Frame(frame)
		if !bytes.Equal(frame, before) {
			t.Fatal("the input was changed")
		}
		if bytes.Equal(out, frame) {
			return
		}
		u, ok := parseUDP(out)
		if !ok || !sumsRight(out) {
			t.Fatal("a changed frame is not a correct UDP frame")
		}
		m, ok := parseDHCP(u.payload)
		if !ok || m.options[77] != nil || m.options[175] != nil {
			t.Fatalf("a changed frame still has %v", m.options)
		}
		if len(out) > len(frame) {
			t.Fatalf("a frame of %d bytes became %d", len(frame), len(out))
		}
	})
}
