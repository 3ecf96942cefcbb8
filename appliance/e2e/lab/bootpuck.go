package lab

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// adminURL is the box's status page within a site, by the port that is its
// default.
const adminURL = "http://" + BoxAddr + ":8080"

// Process is the box as a plain program in a namespace of its own.
type Process struct {
	// Binary is the path of the program.
	Binary string
	// Files is the operator's directory; DefaultScript what machines get.
	Files, DefaultScript string
	// Flags are added to the command line.
	Flags []string
	// Settings are keys of the settings document that have no flag.
	Settings map[string]any
	// Beside puts it into another namespace than the site's box, with that address:
	// a second box. Both or none.
	Beside *Namespace
	Addr   string

	proc *Proc
}

// Form implements [Server].
func (*Process) Form() string { return "process" }

// Admin implements [Server].
func (b *Process) Admin() string {
	if b.Addr != "" {
		return "http://" + b.Addr + ":8080"
	}
	return adminURL
}

// Start implements [Server].
func (b *Process) Start(ctx context.Context, s *Site) error {
	binary, err := filepath.Abs(b.Binary)
	if err != nil {
		return err
	}
	name, ns := "bootpuck", s.box
	if b.Beside != nil {
		name, ns = "bootpuck-beside", b.Beside
	}
	state := s.file(name + "-state")
	if b.Settings != nil {
		if err := writeSettings(state, b.Settings); err != nil {
			return err
		}
	}
	args := []string{binary, "-state", state, "-log-level", "debug"}
	if b.Files != "" {
		files, err := filepath.Abs(b.Files)
		if err != nil {
			return err
		}
		args = append(args, "-files", files)
	}
	if b.DefaultScript != "" {
		args = append(args, "-default-script", b.DefaultScript)
	}
	if b.proc, err = s.run(ns, name, append(args, b.Flags...)...); err != nil {
		return err
	}
	return s.waitHealthy(ctx, b.Admin(), b.proc.Done(), b.proc.Out, 20*time.Second)
}

// Proc is the running program.
func (b *Process) Proc() *Proc { return b.proc }

// Image is the box as the disk image that is flashed, in QEMU.
type Image struct {
	// Disk is the raw disk image. It is never written to.
	Disk string
	// Perm is a directory whose content the state partition begins with: the
	// box's settings and the operator's files.
	Perm string
	// Prepare copies the image to dst, at least size bytes large, with the
	// content of perm on its state partition.
	Prepare func(ctx context.Context, image, dst, perm string, size int64) error
	// Firmware starts it: SeaBIOS or OVMF, for an arm64 image AAVMF.
	Firmware FirmwareKind
	Accel    Accel
	// PoweredOn is called when the machine has been switched on; may be nil.
	PoweredOn func(at time.Time)
	// ReadyAfter is set by Start: from power-on until the box was healthy.
	ReadyAfter time.Duration

	guest *Guest
}

// imageDisk is the size of the medium the image is put on, bytes: enough for
// two installers on the state partition.
const imageDisk = 2 << 30

// Form implements [Server].
func (*Image) Form() string { return "image" }

// Admin implements [Server].
func (*Image) Admin() string { return adminURL }

// Start implements [Server]. The site must have been opened with BoxIsGuest.
func (b *Image) Start(ctx context.Context, s *Site) error {
	disk := s.file("box.img")
	if err := b.Prepare(ctx, b.Disk, disk, b.Perm, imageDisk); err != nil {
		return fmt.Errorf("image: %w", err)
	}
	c := Client{Name: "box", Firmware: b.Firmware, Arch: "amd64"}
	if b.Firmware == AAVMF {
		c.Arch = "arm64"
	}
	g := guest{client: c, accel: b.Accel, mac: BoxMAC, uuid: UUIDFor("box"), memoryMB: 512, disk: disk}
	if b.Firmware.uefi() {
		files, err := FindFirmware(b.Firmware, "")
		if err != nil {
			return err
		}
		if err := prepareVars(&g, files, s.dir, "box"); err != nil {
			return err
		}
	}
	var err error
	if b.guest, err = s.startGuest(ctx, "box", g, "br0", Link{}, &Rewriter{}, nil); err != nil {
		return fmt.Errorf("image: %w", err)
	}
	if b.PoweredOn != nil {
		b.PoweredOn(b.guest.Started)
	}
	if err := s.waitHealthy(ctx, b.Admin(), b.guest.Exited(), b.guest.Console, 3*time.Minute); err != nil {
		return err
	}
	b.ReadyAfter = time.Since(b.guest.Started)
	return nil
}

// Guest is the running machine.
func (b *Image) Guest() *Guest { return b.guest }

// waitHealthy polls the box until it says that everything it needs works.
func (s *Site) waitHealthy(ctx context.Context, admin string, ended <-chan struct{}, out *Console, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	client := s.HTTPClient()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	last := errors.New("no answer yet")
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, admin+"/health.json", nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err == nil {
			body, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
			err = fmt.Errorf("health: %s: %s", resp.Status, body)
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case <-tick.C:
		case <-ended:
			return fmt.Errorf("the box ended; it said:\n%s", out.Tail(12))
		case <-ctx.Done():
			return fmt.Errorf("the box is not healthy after %s: %w; it said:\n%s", limit, last, out.Tail(12))
		}
	}
}

// Event is one entry of the box's journal as its API shows it.
type Event struct {
	Seq        uint64    `json:"seq"`
	Time       time.Time `json:"time"`
	Kind       string    `json:"kind"`
	Reason     string    `json:"reason"`
	ReasonText string    `json:"reason_text"`
	MAC        string    `json:"mac"`
	Addr       string    `json:"addr"`
	Interface  string    `json:"interface"`
	Arch       string    `json:"arch"`
	Firmware   string    `json:"firmware"`
	Form       string    `json:"form"`
	File       string    `json:"file"`
	Bytes      int64     `json:"bytes"`
	DurationMS float64   `json:"duration_ms"`
	Retries    int       `json:"retries"`
	Text       string    `json:"text"`
}

// Events asks the box for what its journal holds.
func (s *Site) Events(ctx context.Context, admin string) ([]Event, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, admin+"/api/v1/events?limit=4096", nil)
	if err != nil {
		return nil, err
	}
	resp, err := s.HTTPClient().Do(req)
	if err != nil {
		return nil, fmt.Errorf("events: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("events: %s", resp.Status)
	}
	var answer struct{ Events []Event }
	if err := json.NewDecoder(io.LimitReader(resp.Body, 32<<20)).Decode(&answer); err != nil {
		return nil, fmt.Errorf("events: %w", err)
	}
	return answer.Events, nil
}

// Follow reads the box's live event stream and calls f for each event, oldest
// first, until the context ends or the stream does.
func (s *Site) Follow(ctx context.Context, admin string, f func(Event)) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, admin+"/api/v1/events", nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "text/event-stream")
	resp, err := s.HTTPClient().Do(req)
	if err != nil {
		return fmt.Errorf("event stream: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("event stream: %s", resp.Status)
	}
	return readEvents(resp.Body, f)
}

// readEvents parses server-sent events whose data is one event each.
func readEvents(r io.Reader, f func(Event)) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 16<<10), 1<<20)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data:")
		if !ok {
			continue
		}
		var e Event
		// What is no event (a count of missed ones) has no kind.
		if err := json.Unmarshal([]byte(strings.TrimSpace(data)), &e); err == nil && e.Kind != "" {
			f(e)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("event stream: %w", err)
	}
	return nil
}

// WritePerm fills the directory for [Image].Perm: settings that make the box
// serve what payload holds, and the payload itself.
func WritePerm(dir, payload, defaultScript string) error {
	err := writeSettings(filepath.Join(dir, "bootpuck"), map[string]any{
		"files": "/perm/files", "default-script": defaultScript, "log-level": "debug",
	})
	if err != nil {
		return err
	}
	return filepath.WalkDir(payload, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(payload, path)
		if err != nil {
			return err
		}
		return copyFile(path, filepath.Join(dir, "files", rel))
	})
}

// writeSettings writes the box's settings document into its state directory.
func writeSettings(state string, keys map[string]any) error {
	doc := map[string]any{"version": 1}
	for k, v := range keys {
		doc[k] = v
	}
	text, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return fmt.Errorf("settings: %w", err)
	}
	if err := os.MkdirAll(state, 0o755); err != nil {
		return fmt.Errorf("settings: %w", err)
	}
	if err := os.WriteFile(filepath.Join(state, "settings.json"), append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("settings: %w", err)
	}
	return nil
}
