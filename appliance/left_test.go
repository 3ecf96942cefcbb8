package appliance

import (
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// TestFailedStepTellsNoToken: a step that fails may be the fetching of an answer
// file. Its address, as the script has it, leads whoever reads it to the file.
func TestFailedStepTellsNoToken(t *testing.T) {
	w := newWire(t)
	for step, want := range map[string]string{
		"fetching http://192.0.2.2/a/abcdefghijklmnopqrstuvwxy2/autounattend.xml": "fetching http://192.0.2.2/a/.../autounattend.xml",
		"fetching http://192.0.2.2:8080/x/abcdefghijklmnopqrstuvwxy2":             "fetching http://192.0.2.2:8080/x/...",
		"fetching http://192.0.2.2/m/abcdefghijklmnopqrstuvwxy2/3?code=K7QX":      "fetching http://192.0.2.2/m/.../3?code=K7QX",
		"fetching http://joe:hunter2@192.0.2.9/vmlinuz":                           "fetching http://192.0.2.9/vmlinuz",
		"fetching http://192.0.2.2/files/debian/vmlinuz":                          "fetching http://192.0.2.2/files/debian/vmlinuz",
	} {
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/left?how=failed&step="+url.QueryEscape(step), nil)
		w.box.web.ServeHTTP(httptest.NewRecorder(), r)
		events, _ := w.box.journal.Since(0, 1000)
		if got := events[len(events)-1].Text; !strings.HasSuffix(got, ": "+want) {
			t.Errorf("told %q, want %q at the end", got, want)
		}
	}
}
