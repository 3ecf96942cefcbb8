package main

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/bootpuck/bootpuck/appliance/e2e/lab"
)

func TestSayMark(t *testing.T) {
	router := netip.MustParseAddr(lab.RouterAddr)
	for _, tc := range []struct {
		mark lab.Mark
		want string
	}{
		{lab.Mark{Kind: lab.KindDiscover, Note: "PXEClient:Arch:00000"}, "The machine asks the LAN for an address and for something to boot (PXEClient:Arch:00000)."},
		{lab.Mark{Kind: lab.KindLeaseOffer, Server: router}, "The router 10.77.0.1 offers it an address and nothing to boot."},
		{lab.Mark{Kind: lab.KindTFTPRequest, Name: "x86_64/snponly.efi"}, "The machine asks for snponly.efi by TFTP."},
		{lab.Mark{Kind: lab.KindHTTPRequest, Name: "/b", Note: "HEAD"}, ""},
		{lab.Mark{Kind: lab.KindHTTPDone, Name: "/files/amd64/linux", Bytes: 8222656}, "linux has arrived, 8.2 MB."},
		{lab.Mark{Kind: lab.KindHTTPDone, Name: "/b", Bytes: 300}, ""},
	} {
		if got := sayMark(tc.mark); got != tc.want {
			t.Errorf("%v:\n got %q\nwant %q", tc.mark, got, tc.want)
		}
	}
}

func TestSayEvent(t *testing.T) {
	for _, tc := range []struct {
		event lab.Event
		want  string
	}{
		{lab.Event{Kind: "offer", Firmware: "ipxe", File: "http://10.77.0.5/b"}, "The box offers the machine (ipxe) the file http://10.77.0.5/b."},
		{lab.Event{Kind: "tftp", File: "a/b.efi", Bytes: 10, DurationMS: 2.4, Retries: 1}, "The box has sent b.efi by TFTP: 10 bytes in 2 ms, 1 retries."},
		{lab.Event{Kind: "tftp", Reason: "not_found", File: "x"}, ""},
		{lab.Event{Kind: "warning", Reason: "option60", ReasonText: "Remove it."}, "The box notes: Remove it."},
		{lab.Event{Kind: "silence"}, ""},
	} {
		if got := sayEvent(tc.event); got != tc.want {
			t.Errorf("%+v:\n got %q\nwant %q", tc.event, got, tc.want)
		}
	}
}

func TestNarratorSaysThingsOnce(t *testing.T) {
	var b strings.Builder
	n := newNarrator(&b)
	at := n.start.Add(1500 * time.Millisecond)
	n.sayAt(at, "Hello.")
	n.sayAt(at, "Hello.")
	n.sayAt(at, "")
	if got, want := b.String(), "   1.5 s  Hello.\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestParse(t *testing.T) {
	o, err := parse([]string{"-bootpuck", "x", "-until-booted"}, &strings.Builder{})
	if err != nil || o.bootpuck != "x" || !o.untilBooted || o.listen != "127.0.0.1:8080" {
		t.Errorf("got %+v, %v", o, err)
	}
	if _, err := parse([]string{"eth0"}, &strings.Builder{}); err == nil {
		t.Error("an argument that is no flag was accepted")
	}
	if _, err := lab.ClientNamed(o.client); err != nil {
		t.Error(err)
	}
}
