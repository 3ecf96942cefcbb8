package admin

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
	"github.com/bootpuck/bootpuck/appliance/journal"
)

// seenTime is the clock of the fake parts below: the box's own in newBox.
var seenTime = newBox().Now()

// fakeAttempts keeps boots, newest first. Live ones come from a real journal.
type fakeAttempts struct {
	mu   sync.Mutex
	list []boot.Attempt
	live *journal.Attempts
	asks []journal.AttemptQuery
	busy bool
}

func newFakeAttempts() *fakeAttempts {
	ago := func(d time.Duration) time.Time { return seenTime.Add(-d) }
	return &fakeAttempts{list: []boot.Attempt{
		{
			ID: "a3", MAC: "52:54:00:00:00:03", Start: ago(time.Minute), Last: ago(time.Second), Took: 59 * time.Second, State: boot.AttemptRunning, At: boot.StageKernel,
			Stages: []boot.Stage{{Name: boot.StageDiscover, First: ago(time.Minute), Last: ago(time.Minute), Count: 2, Done: true}},
		},
		wholeAttempt(),
		{ID: "a1", MAC: "52:54:00:00:00:01", Machine: "m1", Start: ago(3 * time.Hour), Last: ago(3 * time.Hour), State: boot.AttemptBooted, Verdicts: []boot.Verdict{{Name: boot.ReasonBooted, Confidence: boot.Certain, Severity: boot.SeverityInfo, Text: "It booted."}}},
	}}
}

// wholeAttempt has something in every field.
func wholeAttempt() boot.Attempt {
	at := seenTime.Add(-2 * time.Hour)
	foreign := boot.Foreign{
		Type: "offer", Server: netip.MustParseAddr("192.0.2.1"), MAC: "52:54:00:00:00:fe", Port: 67, Your: netip.MustParseAddr("192.0.2.7"),
		Relay: netip.MustParseAddr("192.0.2.254"), Class: "PXEClient", File: "evil\x1b[2J", Header: true, Next: "192.0.2.1", Control: true, DNS: true, Twin: true, XID: 7,
	}
	shape := boot.Shape{Form: boot.FormDirect, Variant: boot.VariantNative, Delay: time.Second, Block: 512, NoPriority: true}
	return boot.Attempt{
		ID: "a2", MAC: "52:54:00:00:00:02", MACs: []boot.MAC{"52:54:00:00:00:12"}, GUID: boot.GUID{1}, Addr: netip.MustParseAddr("192.0.2.7"), Interface: "eth0",
		Machine: "m2", Name: "beta", ArchName: "uefi-x64", Firmwares: []boot.Firmware{boot.FirmwareUEFI, boot.FirmwareIPXE}, Class: "PXEClient:Arch:00007", Product: "Box",
		Relayed: true, Start: at, Last: at.Add(time.Minute), End: at.Add(2 * time.Minute), Took: time.Minute, Again: true, Before: "a0", State: boot.AttemptStalled, At: boot.StageLoader,
		Stages: []boot.Stage{{Name: boot.StageLoader, First: at, Last: at, Took: time.Second, Count: 1, Bytes: 1024, Total: 2048, Retries: 3, Reason: boot.ReasonClientSilent, File: "x86_64/snponly.efi"}},
		Action: boot.ActionBoot, Profile: "install", Armed: true, Foreign: []boot.Foreign{foreign}, Shapes: []boot.Shape{shape},
		Verdicts: []boot.Verdict{{
			Name: boot.ReasonTFTPLargeBlocks, Confidence: boot.Likely, Severity: boot.SeverityCritical, Stage: boot.StageLoader, Text: "It stood still.", Fix: "Raise the MTU.",
			Evidence: []boot.Evidence{{Time: at, Text: "block 1 sent 6 times"}, {Text: "no acknowledgement"}},
		}},
		Events: []boot.Event{
			{Seq: 1, Time: at, Kind: boot.KindForeign, MAC: "52:54:00:00:00:02", Foreign: &foreign},
			{Seq: 2, Time: at, Kind: boot.KindOffer, MAC: "52:54:00:00:00:02", Class: "PXEClient", Secs: 4, Shape: &shape},
			{Seq: 3, Time: at, Kind: boot.KindSyslog, Text: "root password is hunter2"},
			{Seq: 4, Time: at, Kind: boot.KindTFTP, Bytes: 1024, Total: 2048, Block: 1024, Acked: true, Attempt: "a2"},
		},
		Omitted: 5,
	}
}

func (f *fakeAttempts) Get(id boot.AttemptID) (boot.Attempt, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := slices.IndexFunc(f.list, func(t boot.Attempt) bool { return t.ID == id })
	if i < 0 {
		return boot.Attempt{}, false
	}
	return f.list[i], true
}

func (f *fakeAttempts) List(q journal.AttemptQuery) (list []boot.Attempt, next boot.AttemptID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asks = append(f.asks, q)
	begun := q.After == ""
	for _, t := range f.list {
		switch {
		case !begun:
			begun = t.ID == q.After
		case !fits(q, &t):
		case len(list) == q.Limit:
			return list, list[len(list)-1].ID
		default:
			list = append(list, t)
		}
	}
	return list, ""
}

func (f *fakeAttempts) Subscribe(ctx context.Context) *journal.AttemptSubscription {
	if f.busy || f.live == nil {
		return nil
	}
	return f.live.Subscribe(ctx)
}

// fakeLAN is a network with one of everything.
type fakeLAN struct {
	lan      boot.LAN
	findings []boot.Verdict
	probes   []boot.LANProbe
	err      error
}

func newFakeLAN() *fakeLAN {
	t, server := seenTime, netip.MustParseAddr("192.0.2.1")
	probe := boot.LANProbe{Time: t, Interface: "eth0", Answers: []netip.Addr{server}, Err: "none"}
	return &fakeLAN{
		lan: boot.LAN{
			Now: t, Observe: true, ClockSet: true, ClockStep: t, Standby: true,
			Servers: []boot.LANServer{{
				Server: server, MAC: "52:54:00:00:00:fe", Interface: "eth0", Relay: server, DHCP: true, PXE: true, Classes: []string{"PXEClient"}, BootFiles: []string{"x"},
				NextServers: []string{"192.0.2.9"}, First: t, Last: t, Replies: 7, Naks: 1, Twin: true, Expected: true, Asked: true, Findings: []boot.Reason{boot.ReasonOption60},
			}},
			Ports: []boot.LANPort{
				{Name: "eth0", MAC: "52:54:00:00:00:10", Up: true, UpSince: t, Served: true, MTU: 1500, Speed: 1000, Addrs: []netip.Prefix{netip.MustParsePrefix("192.0.2.2/24")}, Neighbour: &boot.LLDP{Chassis: "c", Port: "p", PortDescription: "d", System: "s", VLAN: 5, Last: t}},
				{Name: "eth1", MAC: "52:54:00:00:00:11"},
			},
			Changes:   []boot.LANChange{{Time: t, Interface: "eth0", From: server, To: server}},
			Gateways:  []boot.LANGateway{{Time: t, Interface: "eth0", Addr: server, MAC: "52:54:00:00:00:fe"}},
			Conflicts: []boot.LANConflict{{Interface: "eth0", Addr: server, MAC: "52:54:00:00:00:fd", First: t, Last: t}},
			Probes:    []boot.LANProbe{probe, {Time: t, Interface: "eth1"}},
			Twins:     []boot.LANTwin{{ID: "b", Addr: server, Version: "1", Uptime: time.Hour, Older: true, Standby: true, Last: t}},
		},
		findings: []boot.Verdict{{Name: boot.ReasonOption60, Confidence: boot.Certain, Severity: boot.SeverityCritical, Text: "192.0.2.1 sends option 60.", Fix: "Remove it."}},
		probes:   []boot.LANProbe{probe, {Time: t, Interface: "eth1"}},
	}
}

func (f *fakeLAN) LAN() boot.LAN            { return f.lan }
func (f *fakeLAN) Findings() []boot.Verdict { return f.findings }
func (f *fakeLAN) Probe(context.Context) ([]boot.LANProbe, error) {
	return f.probes, f.err
}

// because is an error with a reason.
type because boot.Reason

func (b because) Error() string       { return "because of " + string(b) + " (key AAAA)" }
func (b because) Reason() boot.Reason { return boot.Reason(b) }

// fakeQuirks keeps models with the semantics that the interface promises.
type fakeQuirks struct {
	mu       sync.Mutex
	models   map[string]Quirk
	fail     error
	imported []byte
}

func newFakeQuirks() *fakeQuirks {
	f := &fakeQuirks{models: map[string]Quirk{}}
	f.models["00aa"] = Quirk{
		ID: "00aa", Class: "PXEClient:Arch:00007:UNDI:003016", OUI: "52:54:00", Product: "Box\x1b[2J", Shape: boot.Shape{Form: boot.FormTwoStep, Block: 1024},
		Worked: 2, Failed: 1, First: seenTime, Last: seenTime, Note: "n",
	}
	f.models["00bb"] = Quirk{ID: "00bb", Class: "PXEClient:Arch:00000:UNDI:002001", Pinned: true, Shape: boot.Shape{Delay: time.Second}}
	return f
}

func (f *fakeQuirks) List() []Quirk {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := []Quirk{}
	for _, q := range f.models {
		list = append(list, q)
	}
	return list
}

func (f *fakeQuirks) Get(id string) (Quirk, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	q, ok := f.models[id]
	return q, ok
}

func (f *fakeQuirks) Pin(id string, s boot.Shape, note string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	q, ok := f.models[id]
	if !ok {
		return ErrNotFound
	}
	q.Shape, q.Note, q.Pinned = s, note, true
	f.models[id] = q
	return f.fail
}

func (f *fakeQuirks) PinModel(class, oui, product string, s boot.Shape, note string) (Quirk, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	sum := sha256.Sum256([]byte(class + "\x00" + oui + "\x00" + product))
	q := Quirk{ID: hex.EncodeToString(sum[:8]), Class: class, OUI: oui, Product: product, Shape: s, Pinned: true, Note: note}
	f.models[q.ID] = q
	return q, f.fail
}

func (f *fakeQuirks) Reset(id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.models[id]; !ok {
		return ErrNotFound
	}
	delete(f.models, id)
	return f.fail
}

func (f *fakeQuirks) Export(w io.Writer) error {
	if f.fail != nil {
		return f.fail
	}
	_, err := io.WriteString(w, `{"bootpuck_quirks":1,"models":[]}`)
	return err
}

func (f *fakeQuirks) Import(data []byte) ([]Difference, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case bytes.Contains(data, []byte("forged")):
		return nil, because(boot.ReasonQuirkSignature)
	case bytes.Contains(data, []byte("broken")):
		return nil, because(boot.ReasonQuirkFile)
	}
	f.imported = slices.Clone(data)
	return []Difference{{Document: "quirks/00aa", Text: "two-step → direct"}}, f.fail
}

// fakeCaptures has the packets of one boot.
type fakeCaptures struct{ of boot.AttemptID }

func (f fakeCaptures) Write(w io.Writer, t boot.Attempt, redact bool) (int, error) {
	if t.ID != f.of {
		return 0, because(boot.ReasonCaptureGone)
	}
	_, err := fmt.Fprintf(w, "pcap of %s %t", t.ID, redact)
	return 3, err
}
