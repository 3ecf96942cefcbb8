package journal

import (
	"testing"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
	"github.com/bootpuck/bootpuck/appliance/doctor"
)

// judged are the main verdicts on badFlows.
var judged = map[string]boot.Reason{
	"offer not followed":                                   boot.ReasonNoDHCPServer,
	"address, and no more":                                 boot.ReasonTFTPNotRequested,
	"asked on 4011, and no more":                           boot.ReasonTFTPNotRequested,
	"probe, and no more":                                   boot.ReasonTFTPBroken,
	"no program for it":                                    boot.ReasonIgnored,
	"loader is missing":                                    boot.ReasonFileMissing,
	"transfer stands still":                                boot.ReasonTFTPBroken,
	"transfer is told of, and then nothing":                boot.ReasonTFTPBroken,
	"loader fetched, then silence":                         boot.ReasonNotStarted,
	"iPXE runs, and fetches no script":                     boot.ReasonScriptNotFetched,
	"boot script, and no more":                             boot.ReasonScriptNotFetched,
	"script, and no kernel":                                boot.ReasonKernelNotFetched,
	"script, no kernel, and the system on the disk speaks": boot.ReasonUnexplained,
	"installer starts, and the firmware comes back soon":   boot.ReasonInstallerSilent,
	"menu that nobody leaves":                              boot.ReasonKernelNotFetched,
	"kernel is missing":                                    boot.ReasonFileMissing,
	"initial RAM disk breaks off":                          boot.ReasonFetchBroken,
	"initial RAM disk stands still":                        boot.ReasonFetchBroken,
	"a step failed, and the machine says so":               boot.ReasonFetchBroken,
	"armed installation is never heard of":                 boot.ReasonInstallerSilent,
	"installer fails":                                      boot.ReasonInstallerFailed,
	"installer falls silent":                               boot.ReasonInstallerSilent,
	"kernel is fetched, and the firmware comes back":       boot.ReasonInstallerSilent,
}

// TestDoctorAgrees has the doctor judge what was joined: nothing but that it went
// well on boots that did, and the cause on those that did not.
func TestDoctorAgrees(t *testing.T) {
	lan := func(w *wire) boot.LAN { return boot.LAN{Now: w.now, ClockSet: true} }
	for _, c := range healthyFlows {
		t.Run(c.name, func(t *testing.T) {
			w := newWire(t)
			c.play(w)
			w.wait(time.Second)
			a := w.one()
			if v := doctor.Judge(&a, lan(w)); len(v) != 1 || v[0].Name != plainVerdict(c.state) {
				t.Errorf("%s: %+v", a.State, v)
			}
		})
	}
	for _, c := range badFlows {
		t.Run(c.name, func(t *testing.T) {
			w := newWire(t)
			c.play(w)
			w.wait(c.quiet + c.wait)
			a := w.attempts()[0]
			if v := doctor.Judge(&a, lan(w)); len(v) == 0 || v[0].Name != judged[c.name] {
				t.Errorf("%s at %s, want %s: %+v", a.State, a.At, judged[c.name], v)
			}
		})
	}
}
