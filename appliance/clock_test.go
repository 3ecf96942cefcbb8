package appliance

import (
	"context"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
	"github.com/bootpuck/bootpuck/appliance/journal"
)

// TestClockSkew: a box without a clock sends a machine to an https address, and
// the machine's script fails there. The clock of the test's bubble shows the year
// 2000, as that of a board without a battery shows 1970.
func TestClockSkew(t *testing.T) {
	onWire(t, func(t *testing.T, w *wire) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = w.box.attempts.Run(ctx)
		}()
		defer func() {
			cancel()
			<-done
		}()
		if !w.boot("uefi-x64") {
			t.Fatal("the machine does not boot")
		}
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/left?how=failed&step=fetching+https://192.0.2.9/vmlinuz", nil)
		r.RemoteAddr = wireClient.String() + ":4000"
		w.box.web.ServeHTTP(httptest.NewRecorder(), r)
		<-time.After(3 * time.Minute)
		list, _ := w.box.attempts.List(journal.AttemptQuery{})
		if len(list) != 1 || !list[0].State.Bad() || list[0].Verdict().Name != boot.ReasonClockSkew || list[0].Verdict().Fix == "" {
			t.Errorf("%+v", list)
		}
	})
}
