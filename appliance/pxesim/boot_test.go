package pxesim

import (
	"strings"
	"testing"
	"time"
)

// Every profile boots from a server that follows the table of reply fields, in the time the real one
// needs, and takes exactly one lease.
func TestEveryProfileBoots(t *testing.T) {
	for _, p := range Profiles() {
		t.Run(p.Name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				l := newLAN(t)
				l.suit(p)
				r := l.play(p)
				if !r.OK || r.Code != "" {
					t.Fatalf("did not boot: %s\n%s", r.Verdict, trace(r))
				}
				want := map[Family]time.Duration{
					FamilyBIOS: 4 * time.Second, FamilyUEFI: 5 * time.Second,
					FamilyHTTP: 4 * time.Second, FamilyIPXE: 0, FamilyPi3: 0, FamilyPi4: 0,
				}[p.Family]
				if p.Quirks.AlwaysAsk4011 {
					want = 4 * time.Second
				}
				if r.Elapsed != want {
					t.Errorf("took %v, want %v\n%s", r.Elapsed, want, trace(r))
				}
				wantRequests := 1
				if p.Family == FamilyPi3 {
					wantRequests = 0
				}
				if l.requests != wantRequests {
					t.Errorf("%d REQUESTs to the DHCP server, want %d", l.requests, wantRequests)
				}
				script := p.Family == FamilyIPXE && p.HasHTTP()
				if r.Script != script {
					t.Errorf("script %v, want %v", r.Script, script)
				}
				if script && (len(r.ScriptLines) != 3 || r.ScriptLines[1] != "echo hello") {
					t.Errorf("script lines %q", r.ScriptLines)
				}
				asks := len(l.asked)
				switch {
				case p.Family == FamilyUEFI, p.Quirks.AlwaysAsk4011:
					if asks != 1 {
						t.Errorf("%d requests on 4011, want 1", asks)
					}
				case asks != 0:
					t.Errorf("%d requests on 4011, want none", asks)
				}
			})
		})
	}
}

// A probe takes no lease and goes on as the machine's own address.
func TestProbeSendsNoRequest(t *testing.T) {
	for _, p := range Profiles() {
		t.Run(p.Name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				l := newLAN(t)
				l.suit(p)
				r := l.play(p, func(o *Options) { o.Lease, o.Station = false, pfx("192.0.2.77/24") })
				if !r.OK {
					t.Fatalf("did not boot: %s\n%s", r.Verdict, trace(r))
				}
				for _, d := range l.sent {
					if d.Dst.Port() == portServer {
						if k, err := ParsePacket(d.Payload); err != nil || k.Type() != typeDiscover {
							t.Errorf("sent type %d to port 67 (%v)", k.Type(), err)
						}
					} else if d.Src.Addr().String() != "192.0.2.77" {
						t.Errorf("packet to %v from %v", d.Dst, d.Src)
					}
				}
				if r.Count(StepNoRequest) != 1 || r.Lease.Addr.String() != "192.0.2.77/24" {
					t.Errorf("lease %v, %d no-request steps", r.Lease.Addr, r.Count(StepNoRequest))
				}
			})
		})
	}
}

func TestProbeNeedsStation(t *testing.T) {
	link := NewMemory(testMAC, func(Datagram) []Delivery { return nil })
	if _, err := Run(t.Context(), profile(t, "bios"), link, Options{}); err == nil {
		t.Fatal("a probe without an own address was started")
	}
}

func seq(s ...float64) []time.Duration { return seconds(s...) }

func same(a, b []time.Duration) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// Timing tables: when DISCOVERs leave, and when the firmware gives up, without any server and with
// half of what it needs.
func TestDiscoverTiming(t *testing.T) {
	pxe := seq(0, 4, 12, 28)
	tests := []struct {
		profile string
		set     func(*lan)
		at      []time.Duration
		end     float64
		code    Code
	}{
		{"bios", func(l *lan) { l.noDHCP, l.noProxy = true, true }, pxe, 60, CodeE51},
		{"bios", func(l *lan) { l.noDHCP = true }, pxe, 60, CodeE52},
		{"bios", func(l *lan) { l.noProxy = true }, pxe, 60, CodeE53},
		{"uefi-x64", func(l *lan) { l.noDHCP, l.noProxy = true, true }, pxe, 60, CodeE16},
		{"uefi-x64", func(l *lan) { l.noDHCP = true }, pxe, 60, CodeE16},
		{"uefi-x64", func(l *lan) { l.noProxy = true }, pxe, 60, CodeE16},
		{"http-x64", func(l *lan) { l.noProxy = true }, pxe, 60, CodeHTTPNoOffer},
		{"ipxe-bios", func(l *lan) { l.noDHCP, l.noProxy = true, true }, seq(0, 1, 3, 7), 15, CodeNoConfig},
		{"ipxe-bios", func(l *lan) { l.noDHCP = true }, seq(0, 1, 3, 7), 15, CodeNoConfig},
		// With an address but no proxy iPXE stops waiting at 3 s, and has nothing to boot.
		{"ipxe-bios", func(l *lan) { l.noProxy = true }, seq(0, 1), 3, CodeNothing},
		{"pi3", func(l *lan) { l.noProxy = true }, seq(0, 5, 10, 15, 20), 25, CodePiDHCP},
		{"pi4", func(l *lan) { l.noProxy = true }, seq(0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40), 44, CodePiDHCP},
		// The second DHCP server answer is 3 s late: still within the first wait.
		{"uefi-x64", func(l *lan) { l.dhcpDelay = 3 * time.Second }, seq(0), 5, ""},
		{"bios", func(l *lan) { l.dhcpDelay = 3 * time.Second }, seq(0), 4, ""},
		{"bios", func(l *lan) { l.dhcpDelay = 5 * time.Second }, seq(0, 4), 12, ""},
		{"ipxe-bios", func(l *lan) { l.dhcpDelay = 2500 * time.Millisecond }, seq(0, 1), 2.5, ""},
		{"ipxe-bios", func(l *lan) { l.noProxy, l.dhcpDelay = true, 2500*time.Millisecond }, seq(0, 1), 2.5, CodeNothing},
		// A proxy 1.5 s late works, 4 s late loses.
		{"ipxe-bios", func(l *lan) { l.proxyDelay = 1500 * time.Millisecond }, seq(0, 1), 1.5, ""},
		{"ipxe-bios", func(l *lan) { l.proxyDelay = 4 * time.Second }, seq(0, 1), 3, CodeNothing},
	}
	for i, tt := range tests {
		t.Run(tt.profile+"/"+string(rune('a'+i)), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				l := newLAN(t)
				tt.set(l)
				r := l.play(profile(t, tt.profile))
				if !same(l.discovers, tt.at) || r.Elapsed != seq(tt.end)[0] || r.Code != tt.code || r.OK != (tt.code == "") {
					t.Errorf("DISCOVER at %v, end %v, code %q; want %v, %vs, %q\n%s", l.discovers, r.Elapsed, r.Code, tt.at, tt.end, tt.code, trace(r))
				}
			})
		})
	}
}

// Every DISCOVER of one attempt has the same xid.
func TestSameXID(t *testing.T) {
	for _, name := range []string{"bios", "uefi-2017", "ipxe-bios", "pi3"} {
		bubble(t, func(t *testing.T) {
			l := newLAN(t)
			l.noDHCP, l.noProxy = true, true
			l.play(profile(t, name))
			first, _ := ParsePacket(l.sent[0].Payload)
			for _, d := range l.sent {
				if k, _ := ParsePacket(d.Payload); k.XID != first.XID {
					t.Errorf("%s: xid %08x then %08x", name, first.XID, k.XID)
				}
			}
			if name == "pi3" && first.XID != 0x26f30339 {
				t.Errorf("pi3 xid %08x", first.XID)
			}
		})
	}
}

// The 4011 round: its tries, the source port, and what silence there means.
func TestPort4011Timing(t *testing.T) {
	tests := []struct {
		profile string
		set     func(*lan)
		asked   []time.Duration
		end     float64
		code    Code
		port    uint16
	}{
		{"uefi-x64", func(l *lan) { l.no4011 = true }, seq(4, 5, 7, 10), 14, CodeE16, 4011},
		{"uefi-x64", func(l *lan) {}, seq(4), 5, "", 4011},
		// An answer after the first second belongs to no open wait until the second try.
		{"uefi-x64", func(l *lan) { l.proxyDelay = 1500 * time.Millisecond }, seq(4, 5), 7, "", 4011},
		{"bios-old", func(l *lan) { l.no4011 = true }, seq(4, 5, 7, 10), 14, CodeE55, 68},
		{"bios-old", func(l *lan) {}, seq(4), 4, "", 68},
		{"bios", func(l *lan) {
			l.no4011 = true
			l.offer = func(_, k *Packet) *Packet { k.Delete(optVendor); return k }
		}, seq(4, 5, 7, 10), 14, CodeE55, 68},
		{"ipxe-bios", func(l *lan) {
			l.no4011 = true
			l.offer = noFile
		}, seq(0, 0.25, 0.75, 1.75), 3.75, CodeNothing, 68},
		{"ipxe-bios", func(l *lan) { l.offer = noFile }, seq(0), 0, "", 68},
	}
	for i, tt := range tests {
		t.Run(tt.profile+"/"+string(rune('a'+i)), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				l := newLAN(t)
				tt.set(l)
				r := l.play(profile(t, tt.profile))
				if !same(l.asked, tt.asked) || r.Elapsed != seq(tt.end)[0] || r.Code != tt.code {
					t.Errorf("asked at %v, end %v, code %q; want %v, %vs, %q\n%s", l.asked, r.Elapsed, r.Code, tt.asked, tt.end, tt.code, trace(r))
				}
				for _, d := range l.sent {
					if d.Dst.Port() != portBINL {
						continue
					}
					k, _ := ParsePacket(d.Payload)
					if d.Src.Port() != tt.port || d.Src.Addr() != clientAddr || k.CIAddr != clientAddr {
						t.Errorf("4011 request from %v, ciaddr %v", d.Src, k.CIAddr)
					}
					wantFlags, wantID := uint16(0), false
					if p := profile(t, tt.profile); p.Family == FamilyIPXE {
						wantFlags, wantID = 0x8000, true
					}
					if k.Flags != wantFlags || k.ServerID().IsValid() != wantID {
						t.Errorf("4011 request flags %04x, server id %v", k.Flags, k.ServerID())
					}
				}
			})
		})
	}
}

func noFile(_, k *Packet) *Packet {
	k.File = [128]byte{}
	k.Delete(optBootFile)
	k.Delete(optVendor)
	return k
}

// EDK2 of 2010 to 2017 throws direct offers away and repeats its DISCOVER with the same xid; a server
// that offers in two steps to the retry gets it after all.
func TestOldEDK2RetriesUntilTwoStep(t *testing.T) {
	for _, name := range []string{"uefi-2017", "uefi-2013"} {
		bubble(t, func(t *testing.T) {
			l := newLAN(t)
			l.direct = true
			r := l.play(profile(t, name))
			if r.Code != CodeE16 || !same(l.discovers, seq(0, 4, 12, 28)) || len(l.asked) != 0 || len(l.names) != 0 {
				t.Fatalf("%s with direct offers: %s, DISCOVER at %v\n%s", name, r.Verdict, l.discovers, trace(r))
			}
			if len(r.Offers) != 8 || r.Offers[0].Class != ClassProxyPXE || !strings.Contains(r.Offers[0].Refused, "throws away") {
				t.Errorf("offers %+v", r.Offers)
			}
		})
		bubble(t, func(t *testing.T) {
			l := newLAN(t)
			l.direct = true
			l.offer = func(_, k *Packet) *Packet {
				if len(l.discovers) >= 2 {
					k.Delete(optVendor)
				}
				return k
			}
			r := l.play(profile(t, name))
			if !r.OK || !same(l.discovers, seq(0, 4)) || r.Elapsed != 13*time.Second {
				t.Fatalf("%s with a two-step retry: %s after %v, DISCOVER at %v\n%s", name, r.Verdict, r.Elapsed, l.discovers, trace(r))
			}
		})
	}
	// The current generation boots from the same direct offer, a second faster than in two steps.
	bubble(t, func(t *testing.T) {
		l := newLAN(t)
		l.direct = true
		if r := l.play(profile(t, "uefi-x64")); !r.OK || r.Elapsed != 4*time.Second || len(l.asked) != 0 {
			t.Fatalf("current with a direct offer: %s after %v", r.Verdict, r.Elapsed)
		}
	})
	// The one before ignores bit 3: a direct offer leaves it with nothing but local boot.
	bubble(t, func(t *testing.T) {
		l := newLAN(t)
		l.direct = true
		if r := l.play(profile(t, "uefi-2010")); r.Code != CodeE21 {
			t.Fatalf("2010 with a direct offer: %s", r.Verdict)
		}
	})
}

// Broken servers, and the error that the real firmware shows for each.
func TestDefects(t *testing.T) {
	drop := func(code byte) func(_, k *Packet) *Packet {
		return func(_, k *Packet) *Packet { k.Delete(code); return k }
	}
	tests := []struct {
		name, profile string
		set           func(*lan)
		code          Code
	}{
		{"no option 60", "uefi-x64", func(l *lan) { l.offer = drop(optClass) }, CodeE16},
		{"no option 60", "bios", func(l *lan) { l.offer = drop(optClass) }, CodeE53},
		{"no option 60", "ipxe-bios", func(l *lan) { l.offer = drop(optClass) }, CodeNothing},
		{"no option 54", "uefi-x64", func(l *lan) { l.offer = drop(optServerID) }, CodeE16},
		{"no option 53", "uefi-x64", func(l *lan) {
			l.offer = func(_, k *Packet) *Packet { k.Delete(optType); k.YIAddr = netipZero; return k }
		}, ""},
		{"eight zeros in 43.6", "uefi-x64", func(l *lan) {
			l.offer = func(_, k *Packet) *Packet { k.Set(optVendor, 6, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0xff); return k }
		}, CodeE21},
		{"eight zeros in 43.6", "bios", func(l *lan) {
			l.offer = func(_, k *Packet) *Packet { k.Set(optVendor, 6, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0xff); return k }
		}, CodeE74},
		{"empty option 43", "uefi-x64", func(l *lan) {
			l.offer = func(_, k *Packet) *Packet { k.Set(optVendor); return k }
		}, CodeE16},
		{"ack without file", "uefi-x64", func(l *lan) {
			l.offer = noFile
			l.ack = noFile
		}, CodeE16},
		{"file missing", "uefi-x64", func(l *lan) { delete(l.files, "x86_64/snponly.efi") }, CodeE23},
		{"file missing", "bios", func(l *lan) { delete(l.files, "undionly.kpxe") }, CodeE3B},
		{"TFTP silent", "uefi-x64", func(l *lan) { l.mute = "x86_64/snponly.efi" }, CodeE18},
		{"TFTP silent", "bios", func(l *lan) { l.mute = "undionly.kpxe" }, CodeE32},
		{"TFTP without options", "uefi-x64", func(l *lan) { l.noOptions = true }, CodeE99},
		{"TFTP without tsize", "uefi-x64", func(l *lan) { l.noTsize = true }, CodeE99},
		{"TFTP without options", "bios", func(l *lan) { l.noOptions = true }, ""},
		{"option 60 on the DHCP server", "uefi-x64", func(l *lan) {
			l.dhcp = func(_, k *Packet) *Packet { k.Set(optClass, []byte("PXEClient")...); return k }
		}, CodeE16},
		{"option 60 on the DHCP server, direct", "uefi-x64", func(l *lan) {
			// A DhcpBinl offer pairs with no proxy, and DhcpOnly is gone.
			l.direct = true
			l.dhcp = func(_, k *Packet) *Packet { k.Set(optClass, []byte("PXEClient")...); return k }
		}, CodeE16},
		{"option 60 on the DHCP server", "bios", func(l *lan) {
			l.dhcp = func(_, k *Packet) *Packet { k.Set(optClass, []byte("PXEClient")...); return k }
		}, CodeE55},
		{"boot file on the DHCP server", "uefi-x64", func(l *lan) {
			l.dhcp = func(_, k *Packet) *Packet { copy(k.File[:], "pxelinux.0"); return k }
		}, ""},
		{"no NUL behind 67", "uefi-2010", func(l *lan) {
			l.ack = func(_, k *Packet) *Packet {
				k.Delete(optGUID)
				k.Set(optBootFile, []byte("x86_64/snponly.efi")...)
				return k
			}
		}, CodeE23},
		{"no NUL behind 67", "uefi-x64", func(l *lan) {
			l.ack = func(_, k *Packet) *Packet { k.Set(optBootFile, []byte("x86_64/snponly.efi")...); return k }
		}, ""},
		{"no NUL behind 67, no file field", "bios-chop67", func(l *lan) {
			l.offer = func(_, k *Packet) *Packet {
				k.File = [128]byte{}
				k.Set(optBootFile, []byte("undionly.kpxe")...)
				return k
			}
		}, CodeE3B},
		{"only option 67", "bios-chop67", func(l *lan) {
			l.offer = func(_, k *Packet) *Packet { k.File = [128]byte{}; return k }
		}, ""},
		{"only option 67", "bios-old", func(l *lan) {
			l.ack = func(_, k *Packet) *Packet { k.File = [128]byte{}; return k }
		}, CodeE53},
		{"DHCP offers and never acknowledges", "uefi-x64", func(l *lan) { l.noACK = true }, CodeE16},
		{"DHCP offers and never acknowledges", "bios", func(l *lan) { l.noACK = true }, CodeE51},
		{"plain menu text", "pi3", func(l *lan) {
			l.offer = func(_, k *Packet) *Packet {
				k.Set(optVendor, []byte("\x06\x01\x03\x0a\x04\x00PXE\x09\x14\x00\x00\x11Raspberry Pi Boot\xff")...)
				return k
			}
		}, CodePiDHCP},
		{"NUL in 66", "pi3", func(l *lan) {
			l.offer = func(_, k *Packet) *Packet { k.Set(optTFTPServer, []byte("192.0.2.2\x00")...); return k }
		}, CodePiTFTP},
		{"no 66: the sender", "pi3", func(l *lan) { l.offer = drop(optTFTPServer) }, ""},
		{"host name without DNS", "http-x64", func(l *lan) {
			l.offer = func(_, k *Packet) *Packet {
				k.Set(optBootFile, []byte("http://boot.example/x86_64/snponly.efi")...)
				return k
			}
		}, CodeHTTPNoOffer},
		{"host name with DNS", "http-x64", func(l *lan) {
			l.offer = func(_, k *Packet) *Packet {
				k.Set(optBootFile, []byte("http://boot.example/x86_64/snponly.efi")...)
				return k
			}
			l.dhcp = func(_, k *Packet) *Packet { k.Set(optDNS, b4(dhcpAddr)...); return k }
		}, ""},
		{"PXEClient answer", "http-x64", func(l *lan) {
			l.offer = func(_, k *Packet) *Packet { k.Set(optClass, []byte("PXEClient")...); return k }
		}, CodeHTTPNoOffer},
		{"start4.elf missing", "pi4", func(l *lan) { delete(l.files, "1234abcd/start4.elf") }, CodePiTFTP},
		{"HTTP URL to a build without HTTP", "ipxe-nohttp", func(l *lan) {
			l.offer = func(_, k *Packet) *Packet {
				k.File = [128]byte{}
				k.Set(optBootFile, []byte("http://192.0.2.2/b")...)
				return k
			}
		}, CodeUnsupported},
		{"HTTPClient class", "ipxe-bios", func(l *lan) {
			l.offer = func(_, k *Packet) *Packet { k.Set(optClass, []byte("HTTPClient")...); return k }
		}, CodeNothing},
		{"another server's id on 4011", "ipxe-bios", func(l *lan) {
			l.offer = noFile
			l.ack = func(_, k *Packet) *Packet { k.Set(optServerID, 198, 51, 100, 2); return k }
		}, CodeNothing},
		{"siaddr 0 on 4011: iPXE asks again and again", "ipxe-bios", func(l *lan) {
			l.offer = noFile
			l.ack = func(_, k *Packet) *Packet { k.SIAddr = netipZero; return k }
		}, CodeNothing},
	}
	for _, tt := range tests {
		t.Run(tt.profile+"/"+tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				l := newLAN(t)
				tt.set(l)
				// The "no option 53" row has nothing to pair with: it only must not be taken for a proxy.
				r := l.play(profile(t, tt.profile))
				if tt.name == "no option 53" {
					if r.Offers[0].Class != ClassBootp {
						t.Errorf("class %s", r.Offers[0].Class)
					}
					return
				}
				if r.Code != tt.code || r.OK != (tt.code == "") {
					t.Errorf("code %q (%s), want %q\n%s", r.Code, r.Verdict, tt.code, trace(r))
				}
				if tt.code != "" && !strings.HasPrefix(r.Verdict, string(tt.code)+": ") {
					t.Errorf("verdict %q", r.Verdict)
				}
			})
		})
	}
}

// iPXE's settings order: what a DHCP server's own boot file, next server and option 60 do.
func TestIPXEPriorities(t *testing.T) {
	dhcpFile := func(_, k *Packet) *Packet { copy(k.File[:], "pxelinux.0"); return k }
	dhcp60 := func(_, k *Packet) *Packet { k.Set(optClass, []byte("PXEClient")...); return k }
	no175 := func(_, k *Packet) *Packet { k.Delete(optIPXE); return k }
	tests := []struct {
		name        string
		dhcp, offer func(_, k *Packet) *Packet
		proxyDelay  time.Duration
		code        Code
		file        string
	}{
		{"boot file on the DHCP server", dhcpFile, nil, 0, "", "http://192.0.2.2/b"},
		{"boot file on the DHCP server, no 175.1", dhcpFile, no175, 0, CodeFetch, "pxelinux.0"},
		{"option 60 on the DHCP server, which answers last", dhcp60, nil, 0, "", "http://192.0.2.2/b"},
		{"option 60 on the DHCP server, no 175.1", dhcp60, no175, 0, CodeNothing, ""},
		{"relative file goes to our next server", nil, func(_, k *Packet) *Packet {
			k.File = [128]byte{}
			k.Set(optBootFile, []byte("undionly.kpxe")...)
			return k
		}, 0, "", "undionly.kpxe"},
		{"relative file without 175.1 goes to the DHCP server", nil, func(_, k *Packet) *Packet {
			k.File = [128]byte{}
			k.Set(optBootFile, []byte("undionly.kpxe")...)
			k.Delete(optIPXE)
			return k
		}, 0, CodeFetch, "undionly.kpxe"},
		{"negative priority", dhcpFile, func(_, k *Packet) *Packet { k.Set(optIPXE, 1, 1, 0x80); return k }, 0, CodeFetch, "pxelinux.0"},
		{"cut URL in file hides the one in 67", nil, func(_, k *Packet) *Packet {
			copy(k.File[:], "http://192.0.2.2/nothing\x00")
			return k
		}, 0, CodeFetch, "http://192.0.2.2/nothing"},
		{"variables", nil, func(_, k *Packet) *Packet {
			k.File = [128]byte{}
			k.Set(optBootFile, []byte("http://192.0.2.2/b?mac=${net0/mac:hexhyp}&u=${uuid}&x=${nothing}&p=${platform}&q=${")...)
			return k
		}, 0, "", "http://192.0.2.2/b?mac=52-54-00-01-02-03&u=01234567-89ab-cdef-0123-040506070809&x=&p=pcbios&q=${"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				l := newLAN(t)
				l.dhcp, l.offer, l.proxyDelay = tt.dhcp, tt.offer, tt.proxyDelay
				r := l.play(profile(t, "ipxe-bios"))
				if r.Code != tt.code || r.File != tt.file {
					t.Errorf("code %q, file %q; want %q, %q\n%s", r.Code, r.File, tt.code, tt.file, trace(r))
				}
			})
		})
	}
}

func TestIPXENoProxyFlag(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newLAN(t)
		l.proxyDelay = time.Second
		l.dhcp = func(_, k *Packet) *Packet {
			k.Set(optIPXE, ipxeNoProxy, 1, 1)
			copy(k.File[:], "http://192.0.2.2/b")
			return k
		}
		r := l.play(profile(t, "ipxe-bios"))
		if !r.OK || r.Elapsed != 0 {
			t.Errorf("%s after %v: 175.176 must end the wait at once", r.Verdict, r.Elapsed)
		}
	})
}

// Boot server discovery: both families complete it with 43.6 = 3 and one entry.
func TestMenu(t *testing.T) {
	menu := "\x06\x01\x03\x08\x07\x80\x01\x01\xc0\x00\x02\x02\x09\x08\x80\x01\x05Start\x0a\x04\x00PXE\xff"
	broadcastMenu := "\x06\x01\x02\x09\x08\x80\x01\x05Start\x0a\x04\x02PXE\xff"
	offer := func(m string) func(_, k *Packet) *Packet {
		return func(_, k *Packet) *Packet {
			noFile(nil, k)
			k.Set(optVendor, []byte(m)...)
			return k
		}
	}
	echo := func(req, k *Packet) *Packet {
		v, _ := req.First(optVendor)
		k.Set(optVendor, v.Data...)
		return k
	}
	tests := []struct {
		name, profile, menu string
		echo                bool
		code                Code
		end                 float64
	}{
		{"unicast", "uefi-x64", menu, true, "", 5},
		{"unicast", "ipxe-bios", menu, true, "", 0},
		{"unicast", "bios", menu, true, "", 4},
		{"item not echoed", "ipxe-bios", menu, false, CodeNothing, 7},
		{"item not echoed", "uefi-x64", menu, false, "", 5},
		{"item not echoed", "bios", menu, false, CodeE78, 14},
		{"local boot", "uefi-x64", strings.Replace(menu, "\x80\x01\x05", "\x00\x00\x05", 1), true, CodeE21, 4},
		{"local boot", "ipxe-bios", strings.Replace(menu, "\x80\x01\x05", "\x00\x00\x05", 1), true, CodeLocalBoot, 0},
		{"waits for a key", "uefi-x64", strings.Replace(menu, "\x04\x00PXE", "\x04\xffPXE", 1), true, CodeE21, 4},
		{"type not in the server list", "uefi-x64", strings.Replace(menu, "\x07\x80\x01", "\x07\x80\x02", 1), true, CodeE07, 4},
		{"nobody hears the broadcast", "uefi-x64", broadcastMenu, true, CodeE18, 16},
	}
	for _, tt := range tests {
		t.Run(tt.profile+"/"+tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				l := newLAN(t)
				l.offer = offer(tt.menu)
				l.ack = func(_, k *Packet) *Packet { k.Delete(optVendor); return k }
				if tt.echo {
					l.ack = echo
				}
				r := l.play(profile(t, tt.profile))
				if r.Code != tt.code || r.Elapsed != seq(tt.end)[0] {
					t.Errorf("code %q after %v, want %q after %vs\n%s", r.Code, r.Elapsed, tt.code, tt.end, trace(r))
				}
				for _, d := range l.sent {
					k, err := ParsePacket(d.Payload)
					if d.Dst.Port() != portBINL || err != nil {
						continue
					}
					v, _ := k.First(optVendor)
					if string(v.Data) != "\x47\x04\x80\x01\x00\x00\xff" {
						t.Errorf("43 = % x", v.Data)
					}
					if tt.profile == "ipxe-bios" && (k.XID != 0 || text(k, optClass) != "PXEClient" || k.Flags != 0x8000) {
						t.Errorf("iPXE menu request: xid %x class %q flags %x", k.XID, text(k, optClass), k.Flags)
					}
				}
			})
		})
	}
}

// The whole way from power-on to the script.
func TestRunChain(t *testing.T) {
	for _, tt := range []struct {
		profile  string
		stages   []string
		autoexec bool
	}{
		{"bios", []string{"bios", "ipxe-chain-bios"}, false},
		{"ipxe-nohttp", []string{"ipxe-nohttp", "ipxe-chain-bios"}, false},
		{"uefi-x64", []string{"uefi-x64", "ipxe-chain-efi-x64"}, false},
		{"http-arm64", []string{"http-arm64", "ipxe-chain-efi-arm64"}, false},
		{"uefi-x64", []string{"uefi-x64", "ipxe-chain-efi-x64"}, true},
		{"ipxe-bios", []string{"ipxe-bios"}, false},
	} {
		bubble(t, func(t *testing.T) {
			l := newLAN(t)
			if tt.autoexec {
				l.files["autoexec.ipxe"] = []byte(l.script)
			}
			all, err := RunChain(t.Context(), profile(t, tt.profile), NewMemory(testMAC, l.serve), Options{Lease: true, HTTP: l})
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, r := range all {
				names = append(names, r.Profile)
			}
			last := all[len(all)-1]
			if strings.Join(names, " ") != strings.Join(tt.stages, " ") || !last.Script {
				t.Errorf("stages %v, script %v: %s", names, last.Script, last.Verdict)
			}
			wantDiscovers := len(all)
			if tt.autoexec {
				wantDiscovers--
			}
			if len(l.discovers) != wantDiscovers {
				t.Errorf("%s: %d DISCOVERs, want %d: a virtual autoexec.ipxe saves a round", tt.profile, len(l.discovers), wantDiscovers)
			}
		})
	}
	// A silent TFTP server costs the chainloaded iPXE two seconds, a quick error none.
	bubble(t, func(t *testing.T) {
		l := newLAN(t)
		l.mute = "autoexec.ipxe"
		r := l.play(profile(t, "ipxe-chain-efi-x64"), func(o *Options) { o.CameFrom, o.Station = proxyAddr, pfx("192.0.2.50/24") })
		if !r.OK || r.Elapsed != 2*time.Second {
			t.Errorf("%s after %v", r.Verdict, r.Elapsed)
		}
	})
}

// A NAK sends the client back to DISCOVER, and not for ever.
func TestNAK(t *testing.T) {
	for _, always := range []bool{false, true} {
		bubble(t, func(t *testing.T) {
			l := newLAN(t)
			l.dhcp = func(req, k *Packet) *Packet {
				if req.Type() == typeRequest && (always || l.requests == 1) {
					k.Set(optType, typeNAK)
				}
				return k
			}
			r := l.play(profile(t, "ipxe-bios"))
			if want := map[bool]Code{false: "", true: CodeNoConfig}[always]; r.Code != want {
				t.Errorf("always %v: %s", always, r.Verdict)
			}
			if want := map[bool]int{false: 2, true: 4}[always]; l.requests != want {
				t.Errorf("always %v: %d requests, want %d", always, l.requests, want)
			}
		})
	}
}

func TestRelease(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newLAN(t)
		l.play(profile(t, "uefi-x64"), func(o *Options) { o.Release = true })
		last := l.sent[len(l.sent)-1]
		k, err := ParsePacket(last.Payload)
		if err != nil || k.Type() != typeRelease || k.CIAddr != clientAddr || last.Dst.Addr() != dhcpAddr {
			t.Errorf("last packet to %v, %v", last.Dst, err)
		}
	})
}

func TestRelayed(t *testing.T) {
	for _, name := range []string{"bios", "uefi-x64", "ipxe-bios", "http-x64"} {
		bubble(t, func(t *testing.T) {
			l := newLAN(t)
			gw := addrs("203.0.113.1")[0]
			check := func(req, k *Packet) *Packet {
				if _, ok := req.First(optRelayInfo); req.GIAddr != gw && req.Type() == typeDiscover || (req.GIAddr == gw && (!ok || req.Hops != 1)) {
					t.Errorf("relayed request: giaddr %v hops %d option 82 %v", req.GIAddr, req.Hops, ok)
				}
				return k
			}
			l.offer, l.dhcp = check, check
			link := NewRelayLink(NewMemory(testMAC, l.serve), RelayConfig{Gateway: gw, Servers: addrs("192.0.2.1"), CircuitID: []byte("port7")})
			r, err := Run(t.Context(), profile(t, name), link, Options{Lease: true, HTTP: l})
			if err != nil || !r.OK {
				t.Fatalf("%s through a relay: %v %s\n%s", name, err, r.Verdict, trace(r))
			}
			if r.Offers[0].From.Addr() != gw {
				t.Errorf("offer from %v, want the relay", r.Offers[0].From)
			}
		})
	}
}

func TestCancel(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newLAN(t)
		l.mute = "undionly.kpxe"
		ctx, cancel := timeout(t, 6*time.Second)
		defer cancel()
		r, err := Run(ctx, profile(t, "bios"), NewMemory(testMAC, l.serve), Options{Lease: true})
		if err == nil || r.Elapsed != 6*time.Second {
			t.Errorf("ended after %v with %v", r.Elapsed, err)
		}
	})
}

// Only the acknowledgement of the server that was asked counts.
func TestForeignACK(t *testing.T) {
	for _, name := range []string{"bios", "uefi-x64", "ipxe-bios"} {
		bubble(t, func(t *testing.T) {
			l := newLAN(t)
			l.rogueACK = true
			if r := l.play(profile(t, name)); !r.OK || r.Lease.Addr.Addr() != clientAddr || r.Count(StepIgnored) == 0 {
				t.Errorf("%s: %s with %v", name, r.Verdict, r.Lease.Addr)
			}
		})
	}
}

// EDK2 asks the two-step offer's siaddr on port 4011, and option 54 only when that is 0; others ask
// the server that made the offer.
func TestWhoIsAsked(t *testing.T) {
	other := addrs("192.0.2.9")[0]
	for _, tt := range []struct {
		profile string
		siaddr  string
		want    string
	}{
		{"uefi-x64", "192.0.2.9", "192.0.2.9:4011"},
		{"uefi-x64", "0.0.0.0", "192.0.2.2:4011"},
		{"bios-old", "192.0.2.9", "192.0.2.2:4011"},
		{"ipxe-bios", "192.0.2.9", "192.0.2.2:4011"},
	} {
		bubble(t, func(t *testing.T) {
			l := newLAN(t)
			l.offer = func(_, k *Packet) *Packet {
				if tt.profile == "ipxe-bios" {
					noFile(nil, k)
				}
				k.SIAddr = other
				if tt.siaddr == "0.0.0.0" {
					k.SIAddr = netipZero
				}
				return k
			}
			l.play(profile(t, tt.profile))
			for _, d := range l.sent {
				if d.Dst.Port() == portBINL && d.Dst.String() != tt.want {
					t.Errorf("%s with siaddr %s asks %v, want %s", tt.profile, tt.siaddr, d.Dst, tt.want)
				}
			}
			if len(l.asked) == 0 {
				t.Errorf("%s asks nobody", tt.profile)
			}
		})
	}
}

// Firmware that does not listen at once loses instant offers and hears late ones.
func TestMissesEarlyOffers(t *testing.T) {
	for _, tt := range []struct {
		delay time.Duration
		code  Code
	}{{0, CodeE16}, {99 * time.Millisecond, CodeE16}, {100 * time.Millisecond, ""}} {
		bubble(t, func(t *testing.T) {
			l := newLAN(t)
			l.proxyDelay, l.dhcpDelay = tt.delay, 500*time.Millisecond
			r := l.play(profile(t, "uefi-slow"))
			if r.Code != tt.code || tt.code != "" && !strings.Contains(trace(r), "does not listen before 100ms") {
				t.Errorf("after %v: %q\n%s", tt.delay, r.Code, trace(r))
			}
		})
	}
}

// A path that loses large blocks lets a transfer be agreed on, and nothing of it through.
func TestLosesLargeBlocks(t *testing.T) {
	for _, tt := range []struct {
		profile string
		max     int
		ok      bool
	}{
		{"uefi-large-drop", 0, false},
		{"uefi-large-drop", 1201, false},
		{"uefi-large-drop", 1200, true},
		{"bios-small", 1024, false},
		{"bios-small", 512, true},
		{"bios-512", 0, true},
	} {
		bubble(t, func(t *testing.T) {
			l := newLAN(t)
			l.maxBlock = tt.max
			r := l.play(profile(t, tt.profile))
			if r.OK != tt.ok || !tt.ok && r.Count(StepFetch) != 1 {
				t.Errorf("%s with blocks of at most %d: %s\n%s", tt.profile, tt.max, r.Verdict, trace(r))
			}
		})
	}
}
