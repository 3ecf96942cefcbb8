package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/bootpuck/bootpuck/appliance/e2e/lab"
	"github.com/bootpuck/bootpuck/appliance/pxesim"
)

// tags are a page's markup, which nobody reads.
var tags = regexp.MustCompile(`(?s)<(script|style|svg)\b.*?</(script|style|svg)>|<[^>]*>`)

// lanMetrics are the lines of a scrape that speak of the LAN.
var lanMetrics = regexp.MustCompile(`(?m)^bootpuck_(lan_findings|responders|rival_responders|standby|health)\b.*$`)

// saidOfLAN writes what page, metrics, command and API say of the LAN to
// .build/e2e/lan-NAME.txt. The first word, a finding's name, must be in the API,
// in the metrics and in the command's output; the others in page and command.
func saidOfLAN(ctx context.Context, t *testing.T, s *lab.Site, ns *lab.Namespace, admin, name string, words ...string) error {
	t.Helper()
	var page, metrics, lanDoc, doctorDoc string
	for address, into := range map[string]*string{
		"/lan": &page, "/metrics": &metrics, "/api/v1/lan": &lanDoc, "/api/v1/doctor": &doctorDoc,
	} {
		if err := ask(ctx, s, admin+address, into); err != nil {
			return err
		}
	}
	doctor, doctorErr := ctl(ctx, s, ns, "doctor")
	lanText, err := ctl(ctx, s, ns, "lan")
	if err != nil {
		return fmt.Errorf("bootpuckctl lan: %w\n%s", err, lanText)
	}
	plainPage := strings.Join(strings.Fields(html.UnescapeString(tags.ReplaceAllString(page, " "))), " ")
	var scrape []string
	for _, l := range lanMetrics.FindAllString(metrics, -1) {
		if !strings.HasSuffix(l, " 0") {
			scrape = append(scrape, l)
		}
	}
	text := "# page /lan\n" + plainPage + "\n\n# /metrics (what is not zero)\n" + strings.Join(scrape, "\n") +
		"\n\n# bootpuckctl doctor (" + fmt.Sprint(doctorErr) + ")\n" + doctor + "\n# bootpuckctl lan\n" + lanText +
		"\n# /api/v1/doctor\n" + doctorDoc + "\n# /api/v1/lan\n" + lanDoc
	if err := os.MkdirAll(buildDir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(buildDir, "lan-"+name+".txt"), []byte(text), 0o644); err != nil {
		return err
	}
	if len(words) == 0 {
		return nil
	}
	var bad []error
	miss := func(where, word string) {
		bad = append(bad, fmt.Errorf("%s does not say %q (see lan-%s.txt)", where, word, name))
	}
	finding := words[0]
	if !strings.Contains(doctorDoc, `"`+finding+`"`) {
		miss("/api/v1/doctor", finding)
	}
	if !strings.Contains(strings.Join(scrape, "\n"), `finding="`+finding+`"`) {
		miss("/metrics", finding)
	}
	if !strings.Contains(doctor, finding) {
		miss("bootpuckctl doctor", finding)
	}
	if want, got := doctorStatus(doctorDoc), exitStatus(doctorErr); got != want {
		bad = append(bad, fmt.Errorf("bootpuckctl doctor ends with status %d, want %d", got, want))
	}
	for _, w := range words[1:] {
		if !strings.Contains(plainPage, w) {
			miss("the page", w)
		}
		if !strings.Contains(doctor+lanText, w) {
			miss("bootpuckctl", w)
		}
	}
	return errors.Join(bad...)
}

// doctorStatus is the exit status that the API's answer means: 0, 7 for
// warnings, 8 for what keeps machines from booting.
func doctorStatus(doc string) int {
	var d struct {
		Worst string `json:"worst"`
	}
	if err := json.Unmarshal([]byte(doc), &d); err != nil {
		return -1
	}
	switch d.Worst {
	case "info":
		return 0
	case "warning":
		return 7
	}
	return 8
}

// exitStatus is a program's; -1 when it did not end by itself.
func exitStatus(err error) int {
	if err == nil {
		return 0
	}
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		return e.ExitCode()
	}
	return -1
}

// eventually waits until f has no error.
func eventually(ctx context.Context, limit time.Duration, f func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("after %s: %w", limit, err)
		}
	}
}

// TestRogueDHCP starts a second DHCP server on a site whose own is known.
func TestRogueDHCP(t *testing.T) {
	need(t)
	t.Parallel()
	s, box := bareWith(t, &scene{name: "rogue"})
	const rogueAddr = "10.77.0.66"
	ctx := t.Context()
	if out, err := ctl(ctx, s, s.Box(), "lan", "probe"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	began := time.Now()
	mac := net.HardwareAddr{0x00, 0x66, 0x66, 0x00, 0x00, 0x66}
	ns, err := s.NewStation("rogue", mac)
	if err != nil {
		t.Fatal(err)
	}
	if err := ns.Address(rogueAddr + "/24"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Run(ns, "rogue-dnsmasq", "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--user=root", "--port=0", "--interface=eth0",
		"--bind-interfaces", "--log-facility=-", "--no-ping", "--dhcp-leasefile="+filepath.Join(s.Dir(), "rogue.leases"),
		"--dhcp-range=10.77.0.200,10.77.0.210,255.255.255.0,600"); err != nil {
		t.Fatal(err)
	}
	// Questions are at least a minute apart.
	err = eventually(ctx, 150*time.Second, func() error {
		_, _ = ctl(ctx, s, s.Box(), "lan", "probe") // refused when too early
		return saidOfLAN(ctx, t, s, s.Box(), box.Admin(), "rogue-dhcp", "rogue_dhcp", rogueAddr)
	})
	if err != nil {
		t.Error(err)
	}
	t.Logf("told %s after it was started", time.Since(began).Round(time.Second))
}

// beside starts a second box on the site.
func beside(ctx context.Context, t *testing.T, s *lab.Site, addr string) *lab.Process {
	t.Helper()
	ns, err := s.NewStation("beside", net.HardwareAddr{0x00, 0x67, 0x67, 0x00, 0x00, 0x67})
	if err != nil {
		t.Fatal(err)
	}
	if err := ns.Address(addr + "/24"); err != nil {
		t.Fatal(err)
	}
	if err := ns.Route(lab.RouterAddr); err != nil {
		t.Fatal(err)
	}
	program, err := boxBinary()
	if err != nil {
		t.Fatal(err)
	}
	files, err := vmFiles()
	if err != nil {
		t.Fatal(err)
	}
	b := &lab.Process{Binary: program, Files: files, Beside: ns, Addr: addr}
	if err := b.Start(ctx, s); err != nil {
		t.Fatal(err)
	}
	return b
}

// standing is whether a box says that it stands by.
func standing(ctx context.Context, s *lab.Site, admin string) (standby bool, twins int, err error) {
	var doc struct {
		Standby bool  `json:"standby"`
		Twins   []any `json:"twins"`
	}
	err = ask(ctx, s, admin+"/api/v1/lan", &doc)
	return doc.Standby, len(doc.Twins), err
}

// bootBeside boots a machine on a site with several boxes and says which of them
// made it an offer.
func bootBeside(ctx context.Context, s *lab.Site, name string) (from []string, out lab.Outcome, err error) {
	m, err := s.NewPuppet(lab.PuppetConfig{Name: name})
	if err != nil {
		return nil, out, err
	}
	p, err := pxesim.Lookup("uefi-x64")
	if err != nil {
		return nil, out, err
	}
	if out, err = m.On(ctx, lab.Power{Profile: p}); err != nil {
		return nil, out, err
	}
	for _, o := range out.Stages[0].Offers {
		if !o.YourAddr.IsValid() {
			from = append(from, o.From.Addr().String())
		}
	}
	return from, out, nil
}

// TestTwins puts a second box on the LAN of a first: the older one stands by, says
// so everywhere, and goes on when the younger one is gone.
func TestTwins(t *testing.T) {
	need(t)
	t.Parallel()
	const youngAddr = "10.77.0.9"
	s, old := bareWith(t, &scene{name: "twins"})
	ctx := t.Context()
	if from, out, err := bootBeside(ctx, s, "tw-before"); err != nil || len(from) != 1 || from[0] != lab.BoxAddr || !out.Script {
		t.Fatalf("alone: offers of %v, script %t, %v", from, out.Script, err)
	}
	began := time.Now()
	young := beside(ctx, t, s, youngAddr)
	// They learn of each other by the first boot offer that one of them hears, or by
	// a question to the DHCP servers.
	_, _ = ctl(ctx, s, s.Box(), "lan", "probe")
	err := eventually(ctx, 3*time.Minute, func() error {
		stands, n, err := standing(ctx, s, old.Admin())
		if err == nil && (!stands || n != 1) {
			err = fmt.Errorf("the older box: standby %t, %d twins", stands, n)
		}
		stands, m, err2 := standing(ctx, s, young.Admin())
		if err2 == nil && (stands || m != 1) {
			err2 = fmt.Errorf("the younger box: standby %t, %d twins", stands, m)
		}
		return errors.Join(err, err2)
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the older one stood by %s after the younger was started", time.Since(began).Round(time.Second))
	if err := saidOfLAN(ctx, t, s, s.Box(), old.Admin(), "twins-older", "standby", youngAddr); err != nil {
		t.Error(err)
	}
	if err := saidOfLAN(ctx, t, s, young.Beside, young.Admin(), "twins-younger", "twin", lab.BoxAddr); err != nil {
		t.Error(err)
	}
	from, out, err := bootBeside(ctx, s, "tw-with")
	if err != nil || len(from) != 1 || from[0] != youngAddr || !out.Script {
		t.Errorf("with two boxes: offers of %v, script %t, %v", from, out.Script, err)
	}
	f := fault{name: "tw-with", want: "twin", sure: "certain", fix: []string{"two boxes"}, how: "two boxes on one LAN: what the one that stands by says of a machine that the other answers"}
	row := outcome{scene: "twins", fault: f}
	within, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	row.got, row.err = settled(within, s, old.Admin(), f.mac(), 0)
	if bad := row.check(); len(bad) > 0 {
		t.Errorf("%s\nsaid: %s", strings.Join(bad, "\n"), row.said())
	}
	verdictRows.add([]outcome{row})
	if err := verdictRows.write(); err != nil {
		t.Error(err)
	}

	began = time.Now()
	young.Proc().Stop(3 * time.Second)
	err = eventually(ctx, 3*time.Minute, func() error {
		stands, _, err := standing(ctx, s, old.Admin())
		if err == nil && stands {
			err = errors.New("it still stands by")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the older one went on %s after the younger had ended", time.Since(began).Round(time.Second))
	if from, out, err := bootBeside(ctx, s, "tw-after"); err != nil || len(from) != 1 || from[0] != lab.BoxAddr || !out.Script {
		t.Errorf("alone again: offers of %v, script %t, %v", from, out.Script, err)
	}
}
