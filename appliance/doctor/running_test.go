package doctor

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// TestUnderWay: while a boot runs, what is likely is said once nothing usual
// explains the wait, and not before.
func TestUnderWay(t *testing.T) {
	for _, c := range []struct {
		name  string
		f     *flow
		lan   boot.LAN
		early time.Duration // after the last event: too soon
		late  time.Duration
		want  boot.Reason
	}{
		{"option 60", taken(boot.FirmwareUEFI, boot.FormDirect, efi, with60), site(), 3 * time.Second, 8 * time.Second, boot.ReasonOption60},
		{"no DHCP server", newFlow(boot.FirmwareUEFI).offer(boot.FormDirect, efi).wait(4).offer(boot.FormTwoStep, efi).wait(8).offer(boot.FormTwoStep, efi), site(alone), 4 * time.Second, 10 * time.Second, boot.ReasonNoDHCPServer},
		{"offer ignored", newFlow(boot.FirmwareUEFI).given().offer(boot.FormDirect, efi).wait(4).given().offer(boot.FormTwoStep, efi).wait(8).given().offer(boot.FormTwoStep, efi), site(), 4 * time.Second, 10 * time.Second, boot.ReasonOfferIgnored},
		{"4011 filtered", taken(boot.FirmwareUEFI, boot.FormTwoStep, efi, plain()), site(), 4 * time.Second, 11 * time.Second, boot.ReasonAskUnanswered},
		{"large blocks", taken(boot.FirmwareUEFI, boot.FormDirect, efi, plain()).tftp(boot.StageLoader, efi, failing(boot.ReasonClientSilent, 0), lost(5)), site(), 2 * time.Second, 6 * time.Second, boot.ReasonTFTPLargeBlocks},
		{"not started", fetchedEFI(), site(), 40 * time.Second, 46 * time.Second, boot.ReasonNotStarted},
		{"script filtered", chained(fetchedEFI()), site(), 10 * time.Second, 21 * time.Second, boot.ReasonScriptNotFetched},
		{"file missing", booting().http(boot.StageKernel, "/trees/d/linux", 0, failing(boot.ReasonNotFound, 0)), site(), time.Second, 11 * time.Second, boot.ReasonFileMissing},
	} {
		a := c.f.end(boot.AttemptRunning)
		c.lan.Now = a.Last.Add(c.early)
		if got := Judge(a, c.lan); len(got) > 0 {
			t.Errorf("%s, too soon: %s", c.name, names(got))
		}
		c.lan.Now = a.Last.Add(c.late)
		got := Judge(a, c.lan)
		if len(got) == 0 || got[0].Name != c.want {
			t.Errorf("%s: %s", c.name, names(got))
		}
		// A clock that was set back, or a LAN that nobody knows, is no reason to wait
		// less.
		c.lan.Now = time.Time{}
		if got := Judge(a, c.lan); slices.ContainsFunc(got, func(v boot.Verdict) bool { return v.Name == c.want }) && c.early > 0 {
			t.Errorf("%s, without a clock: %s", c.name, names(got))
		}
	}
}

// TestFirmwareCameBack: an attempt that its successor ended tells that the
// firmware refused the program at once; one that ended by silence does not.
func TestFirmwareCameBack(t *testing.T) {
	for after, want := range map[time.Duration]string{3 * time.Second: "3.0 s later the firmware itself asked again", 46 * time.Second: "nothing was heard"} {
		a := fetchedEFI().end(boot.AttemptStalled)
		a.End = a.Last.Add(after)
		got := Judge(a, site())
		if got[0].Name != boot.ReasonNotStarted || !strings.Contains(got[0].Text, want) {
			t.Errorf("%s: %+v", after, got[0])
		}
	}
}

// TestNarrow: beside something sure, few possibilities are told; without it, all.
func TestNarrow(t *testing.T) {
	count := func(list []boot.Verdict) (n int) {
		for _, v := range list {
			if v.Confidence == boot.Possible {
				n++
			}
		}
		return n
	}
	got := Judge(taken(boot.FirmwareBIOS, boot.FormDirect, bios, boot.Foreign{Server: router, Your: client, Class: "PXEClient", File: "x.0"}).end(boot.AttemptStalled), site())
	if got[0].Confidence != boot.Likely || count(got) != maxDoubts {
		t.Errorf("%s", names(got))
	}
	got = Judge(newFlow(boot.FirmwareBIOS).offer(boot.FormDirect, bios).wait(4).offer(boot.FormDirect, bios).end(boot.AttemptStalled), site())
	if count(got) < 3 {
		t.Errorf("%s", names(got))
	}
}
