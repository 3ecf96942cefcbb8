package e2e

import (
	"bytes"
	"context"
	"image/png"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bootpuck/bootpuck/appliance/e2e/lab"
)

// managed is a site whose box is told by bootpuckctl what each machine boots.
type managed struct {
	site *lab.Site
	box  *lab.Process
	peer *lab.Peer
	www  string // what the peer serves
	ctls int
}

// manage opens a site with the files of the tiny installer in the box's
// directory, another HTTP server, and what doc, an exchange file, says.
func manage(t *testing.T, doc string) *managed {
	t.Helper()
	files, err := tinyFiles()
	if err != nil {
		t.Fatal(err)
	}
	program, err := boxBinary()
	if err != nil {
		t.Fatal(err)
	}
	m := &managed{www: t.TempDir()}
	logs := filepath.Join(buildDir, "logs", strings.ReplaceAll(t.Name(), "/", "_"))
	if m.site, err = lab.Open(t.Context(), lab.SiteConfig{KeepDir: logs}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.site.Close(); err != nil {
			t.Errorf("clean up: %v", err)
		}
	})
	if m.peer, err = m.site.StartPeer(m.www); err != nil {
		t.Fatal(err)
	}
	m.box = &lab.Process{Binary: program, Files: files}
	if err := m.box.Start(t.Context(), m.site); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "site.yaml")
	if err := os.WriteFile(file, []byte(doc), 0o644); err != nil {
		t.Fatal(err)
	}
	m.ctl(t, "import", file)
	return m
}

// ctl runs bootpuckctl on the box, where it may do everything, and returns what
// it printed.
func (m *managed) ctl(t *testing.T, args ...string) string {
	t.Helper()
	program, err := ctlBinary()
	if err != nil {
		t.Fatal(err)
	}
	m.ctls++
	p, err := m.site.Run(m.site.Box(), "ctl-"+strconv.Itoa(m.ctls), append([]string{program}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	err = p.Wait(ctx)
	if err != nil {
		t.Fatalf("bootpuckctl %s: %v\n%s", strings.Join(args, " "), err, p.Out.String())
	}
	return p.Out.String()
}

// on switches a machine on. What a failed test left is kept.
func (m *managed) on(t *testing.T, row, kind, disk string) *lab.Guest {
	t.Helper()
	g, err := m.site.Boot(t.Context(), lab.Boot{Row: row, Client: client(t, kind), Accel: lab.TCG, Disk: disk})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			if err := g.Keep(m.site.Logs()); err != nil {
				t.Error(err)
			}
		}
		g.Stop()
	})
	return g
}

// shows waits until the machine's console shows all of these texts.
func shows(t *testing.T, g *lab.Guest, texts ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	for _, text := range texts {
		if _, _, err := g.Console.WaitFor(ctx, text); err != nil {
			for _, mark := range g.Shim.Timeline.Marks() {
				t.Logf("%7.3f %s", mark.At.Sub(g.Started).Seconds(), mark)
			}
			t.Fatalf("%v; the console's end:\n%s", err, g.Console.Tail(10))
		}
	}
}

// received are the files that reached the machine whole, as server:path.
func received(g *lab.Guest) []string {
	var files []string
	for _, m := range g.Shim.Timeline.Marks() {
		if (m.Kind == lab.KindTFTPDone || m.Kind == lab.KindHTTPDone && strings.HasPrefix(m.Note, "GET 2")) && m.Bytes > 0 {
			proto := "http://"
			if m.Kind == lab.KindTFTPDone {
				proto = "tftp://"
			}
			files = append(files, proto+m.Server.String()+path.Clean("/"+m.Name))
		}
	}
	return files
}

// machineYAML is a machine of an exchange file, named after its row, with what
// it is assigned.
func machineYAML(row, profile string) string {
	text := "  - name: " + row + "\n    uuid: " + lab.UUIDFor(row) + "\n    macs:\n      - mac: " + lab.MACFor(row).String() + "\n        given: true\n"
	if profile != "" {
		text += "    assignment:\n      profile: " + profile + "\n      mode: always\n"
	}
	return text
}

// waitDone waits until a file of that base name has reached the machine whole.
func waitDone(t *testing.T, g *lab.Guest, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	for {
		changed := g.Shim.Timeline.Changed()
		if _, ok := g.Shim.Timeline.First(func(m lab.Mark) bool {
			return (m.Kind == lab.KindTFTPDone || m.Kind == lab.KindHTTPDone) && path.Base(m.Name) == name
		}); ok {
			return
		}
		select {
		case <-changed:
		case <-g.Exited():
			t.Fatalf("waiting for %s: the machine is off", name)
		case <-ctx.Done():
			for _, mark := range g.Shim.Timeline.Marks() {
				t.Logf("%7.3f %s", mark.At.Sub(g.Started).Seconds(), mark)
			}
			t.Fatalf("%s was not fetched", name)
		}
	}
}

// typeKeys presses keys at a person's pace: a machine reads its keyboard when it
// has time to.
func typeKeys(t *testing.T, g *lab.Guest, keys ...string) {
	t.Helper()
	tick := time.NewTicker(150 * time.Millisecond)
	defer tick.Stop()
	for _, k := range keys {
		<-tick.C
		if err := g.Keys(k); err != nil {
			t.Fatal(err)
		}
	}
}

// waitPicture waits until the screen shows something that no longer changes and
// is not a blank or a text of two colours, and keeps it in a PNG file.
func waitPicture(t *testing.T, g *lab.Guest, file string) {
	t.Helper()
	file, err := filepath.Abs(file) // QEMU writes it
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var last []byte
	for {
		if err := g.Screenshot(file); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Equal(data, last) && colours(t, data) > 16 {
			return
		}
		last = data
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("the screen shows nothing: %s", file)
		}
	}
}

// colours counts the colours of a PNG picture.
func colours(t *testing.T, data []byte) int {
	t.Helper()
	picture, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[[3]uint32]bool)
	for y := picture.Bounds().Min.Y; y < picture.Bounds().Max.Y; y++ {
		for x := picture.Bounds().Min.X; x < picture.Bounds().Max.X; x++ {
			r, g, b, _ := picture.At(x, y).RGBA()
			seen[[3]uint32{r, g, b}] = true
		}
	}
	return len(seen)
}
