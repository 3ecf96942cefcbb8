package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bootpuck/bootpuck/appliance/image/builder"
	"github.com/bootpuck/bootpuck/appliance/image/vm"
	"github.com/bootpuck/bootpuck/appliance/system"
)

// These tests build images with the probe in the product's place and boot them.

const gib = 1 << 30

func e2e(t *testing.T) {
	t.Helper()
	if os.Getenv("BOOTPUCK_E2E") != "1" {
		t.Skip("boots images in QEMU: set BOOTPUCK_E2E=1")
	}
}

// built makes the probe's image of a kind, once for all tests.
var built = func() func(t *testing.T, kind string) string {
	var mu sync.Mutex
	done := map[string]string{}
	return func(t *testing.T, kind string) string {
		t.Helper()
		mu.Lock()
		defer mu.Unlock()
		if raw := done[kind]; raw != "" {
			return raw
		}
		root, err := filepath.Abs("../..")
		if err != nil {
			t.Fatal(err)
		}
		desc, err := os.ReadFile(filepath.Join(root, "config.json"))
		if err != nil {
			t.Fatal(err)
		}
		const product, probe = "bootpuck/cmd/bootpuck", "bootpuck/appliance/image/probe"
		if !bytes.Contains(desc, []byte(product)) {
			t.Fatalf("config.json does not name %s", product)
		}
		out := filepath.Join(root, ".build", "image-test")
		if err := os.MkdirAll(out, 0o755); err != nil {
			t.Fatal(err)
		}
		probeDesc := filepath.Join(out, "config.json")
		if err := os.WriteFile(probeDesc, bytes.ReplaceAll(desc, []byte(product), []byte(probe)), 0o644); err != nil {
			t.Fatal(err)
		}
		for _, k := range builder.Kinds {
			if k.Name != kind {
				continue
			}
			res, err := builder.Build(t.Context(), builder.Options{
				Root: root, Out: out, Kind: k, Description: probeDesc, Version: "test", Epoch: time.Unix(1_800_000_000, 0), RawOnly: true,
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("built %s in %s", res.Raw, res.Took.Round(time.Second))
			done[kind] = res.Raw
			return res.Raw
		}
		t.Fatalf("no kind %q", kind)
		return ""
	}
}()

// report is what the probe says; its source is probe/main.go.
type report struct {
	State      system.State
	Now        system.Reason
	Size, Free int64
	ClockSet   bool
	Version    string
	Gokrazy    bool
}

// box is a running probe.
type box struct {
	*vm.VM
	t *testing.T
}

func boot(t *testing.T, disk string, fw vm.Firmware) *box {
	t.Helper()
	m := vm.Machine{Disk: disk, Firmware: fw, Dir: t.TempDir(), GuestPorts: []int{8080}, Accel: os.Getenv("BOOTPUCK_ACCEL")}
	v, err := vm.Start(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Kill)
	return &box{v, t}
}

func (b *box) get(path string) (string, error) {
	c := http.Client{Timeout: 2 * time.Second}
	res, err := c.Get("http://" + b.Address(8080) + path)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return "", err
	}
	if res.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s", res.Status, body)
	}
	return string(body), nil
}

// report waits until the probe answers.
func (b *box) report() report {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 3*time.Minute)
	defer cancel()
	var r report
	err := b.Poll(ctx, "the probe", func() bool {
		text, err := b.get("/")
		return err == nil && json.Unmarshal([]byte(text), &r) == nil
	})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Logf("power-on to service: %.1f s; %+v", b.Uptime().Seconds(), r)
	return r
}

func (b *box) put(name, text string) {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), http.MethodPut, "http://"+b.Address(8080)+"/file/"+name, strings.NewReader(text))
	if err != nil {
		b.t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		b.t.Fatalf("put %s: %s", name, res.Status)
	}
}

// fsck checks the state file system of a disk whose machine lost power.
func fsck(t *testing.T, disk string) {
	t.Helper()
	part := filepath.Join(t.TempDir(), "perm.img")
	if err := vm.ReadPerm(disk, part); err != nil {
		t.Fatal(err)
	}
	// -p replays the journal and mends what a cut may leave (counters in the
	// superblock), but nothing that loses data: then the status is 4.
	out, err := exec.Command("/sbin/e2fsck", "-f", "-p", part).CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || exit.ExitCode() != 1) {
		t.Errorf("e2fsck: %v\n%s", err, out)
	}
}

// TestBoots is a first boot on a 3 GiB disk, a power cut, and a second boot, for
// every image and firmware.
func TestBoots(t *testing.T) {
	e2e(t)
	for _, tt := range []struct {
		kind string
		fw   vm.Firmware
	}{
		{"amd64", vm.SeaBIOS},
		{"amd64", vm.OVMF},
		{"rpi", vm.AAVMF},
		{"arm64", vm.AAVMF},
	} {
		t.Run(tt.kind+"-"+string(tt.fw), func(t *testing.T) {
			disk := filepath.Join(t.TempDir(), "disk.img")
			if err := vm.Fresh(built(t, tt.kind), disk, 3*gib); err != nil {
				t.Fatal(err)
			}
			b := boot(t, disk, tt.fw)
			r := b.report()
			if !r.Gokrazy || r.Version != "test" || !r.State.Persistent || !r.State.Created || r.Now != system.StateKept {
				t.Errorf("first boot: %+v", r)
			}
			if want := int64(3*gib - 1200<<20); r.Size < want*9/10 {
				t.Errorf("state has %d bytes of a 3 GiB disk, want about %d", r.Size, want)
			}
			b.put("note", "kept "+tt.kind)
			b.Kill()
			fsck(t, disk)

			b = boot(t, disk, tt.fw)
			again := b.report()
			if !again.State.Persistent || again.State.Created || again.Size != r.Size {
				t.Errorf("second boot: %+v", again)
			}
			if text, err := b.get("/file/note"); err != nil || text != "kept "+tt.kind {
				t.Errorf("second boot: note %q, %v", text, err)
			}
			b.Kill()
		})
	}
}

// TestPowerCutDuringFirstBoot kills the machine at random moments around the
// creation of the state file system; the next boot must finish it.
func TestPowerCutDuringFirstBoot(t *testing.T) {
	e2e(t)
	raw := built(t, "amd64")
	early := 0
	for i := range 6 {
		disk := filepath.Join(t.TempDir(), "disk.img")
		if err := vm.Fresh(raw, disk, 3*gib); err != nil {
			t.Fatal(err)
		}
		b := boot(t, disk, vm.SeaBIOS)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		err := b.Poll(ctx, "creation", func() bool { return strings.Contains(b.Console(), "probe: started") })
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		wait := time.Duration(rand.IntN(500)) * time.Millisecond
		timer := time.NewTimer(wait)
		<-timer.C
		cut := b.Console()
		b.Kill()
		if !strings.Contains(cut, "probe: state") {
			early++
		}
		b = boot(t, disk, vm.SeaBIOS)
		r := b.report()
		if !r.State.Persistent {
			t.Errorf("cut %d after %v: next boot: %+v", i, wait, r.State)
		}
		b.put("note", "kept")
		b.Kill()
		fsck(t, disk)
	}
	t.Logf("%d of 6 cuts came before the state was ready", early)
}

// TestMovesToLargerDisk enlarges the disk of a box that ran before.
func TestMovesToLargerDisk(t *testing.T) {
	e2e(t)
	disk := filepath.Join(t.TempDir(), "disk.img")
	if err := vm.Fresh(built(t, "amd64"), disk, 0); err != nil {
		t.Fatal(err)
	}
	b := boot(t, disk, vm.SeaBIOS)
	small := b.report()
	b.put("note", "kept")
	b.Kill()
	// Two steps: within one descriptor block (64 groups, 8 GiB) and beyond it.
	for _, size := range []int64{4 * gib, 24 * gib} {
		if err := os.Truncate(disk, size); err != nil {
			t.Fatal(err)
		}
		b = boot(t, disk, vm.SeaBIOS)
		r := b.report()
		if !r.State.Persistent || r.State.Created || r.Size < (size-1300<<20)*9/10 {
			t.Errorf("on %d GiB: %+v (before: %d bytes)", size/gib, r, small.Size)
		}
		if text, err := b.get("/file/note"); err != nil || text != "kept" {
			t.Errorf("on %d GiB: note %q, %v", size/gib, text, err)
		}
		b.put("note", "kept")
		b.Kill()
		fsck(t, disk)
	}
}

// TestServesWithoutState covers what can be wrong with the state partition: the
// box serves all the same and names the reason.
func TestServesWithoutState(t *testing.T) {
	e2e(t)
	raw := built(t, "amd64")
	for _, tt := range []struct {
		name string
		make func(t *testing.T, disk string)
		want system.Reason
	}{
		{"somebody's data", func(t *testing.T, disk string) {
			if err := vm.Fresh(raw, disk, 0); err != nil {
				t.Fatal(err)
			}
			damage(t, disk, 0, bytes.Repeat([]byte("photographs "), 1000))
		}, system.StateForeign},
		{"damaged file system", func(t *testing.T, disk string) {
			if err := vm.WithPerm(t.Context(), raw, disk, t.TempDir(), 0); err != nil {
				t.Fatal(err)
			}
			// Group descriptors: the superblock still says that it is ext4.
			damage(t, disk, 4096, bytes.Repeat([]byte{0xa5}, 8192))
		}, system.StateDamaged},
		{"full", func(t *testing.T, disk string) {
			dir := t.TempDir()
			if err := os.Mkdir(filepath.Join(dir, "bootpuck"), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "bootpuck", "big"), bytes.Repeat([]byte("0123456789abcdef"), 70<<20/16), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := vm.WithPerm(t.Context(), raw, disk, dir, 0); err != nil {
				t.Fatal(err)
			}
		}, system.StateFull},
	} {
		t.Run(tt.name, func(t *testing.T) {
			disk := filepath.Join(t.TempDir(), "disk.img")
			tt.make(t, disk)
			b := boot(t, disk, vm.SeaBIOS)
			r := b.report()
			if tt.want == system.StateFull {
				// It fills up while the box runs.
				for i := range 40 {
					if b.fill(fmt.Sprint("fill", i)) {
						break
					}
				}
				text, err := b.get("/")
				if err != nil || json.Unmarshal([]byte(text), &r) != nil {
					t.Fatalf("full: %q, %v", text, err)
				}
			} else if r.State.Persistent || r.State.Reason != tt.want {
				t.Errorf("state %+v, want %s", r.State, tt.want)
			}
			if r.Now != tt.want {
				t.Errorf("check says %s, want %s", r.Now, tt.want)
			}
		})
	}
}

// fill writes 1 MiB and reports whether the medium was full.
func (b *box) fill(name string) bool {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), http.MethodPut, "http://"+b.Address(8080)+"/file/"+name, bytes.NewReader(make([]byte, 1<<20)))
	if err != nil {
		b.t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	return res.StatusCode == http.StatusInsufficientStorage
}

// damage overwrites bytes of the state partition.
func damage(t *testing.T, disk string, off int64, b []byte) {
	t.Helper()
	f, err := os.OpenFile(disk, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(b, 1104<<20+off); err != nil {
		t.Fatal(err)
	}
}

// TestPreparedState boots an image whose state was put there beforehand.
func TestPreparedState(t *testing.T) {
	e2e(t)
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "bootpuck"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "bootpuck", "settings.json"), []byte(`{"x": 1}`), 0o600); err != nil {
		t.Fatal(err)
	}
	disk := filepath.Join(t.TempDir(), "disk.img")
	if err := vm.WithPerm(t.Context(), built(t, "amd64"), disk, dir, 2*gib); err != nil {
		t.Fatal(err)
	}
	b := boot(t, disk, vm.SeaBIOS)
	r := b.report()
	if !r.State.Persistent || r.State.Created || r.Size < 600<<20 {
		t.Errorf("%+v", r)
	}
	if text, err := b.get("/file/settings.json"); err != nil || text != `{"x": 1}` {
		t.Errorf("settings %q, %v", text, err)
	}
}

// TestAccel boots under whatever the machine was found to be able to do.
func TestAccel(t *testing.T) {
	e2e(t)
	disk := filepath.Join(t.TempDir(), "disk.img")
	if err := vm.Fresh(built(t, "amd64"), disk, 0); err != nil {
		t.Fatal(err)
	}
	m := vm.Machine{Disk: disk, Firmware: vm.SeaBIOS, Dir: t.TempDir(), GuestPorts: []int{8080}}
	m.Accel = vm.Accel(t.Context(), m)
	t.Logf("accelerator: %s", m.Accel)
	v, err := vm.Start(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Kill)
	if r := (&box{v, t}).report(); !r.State.Persistent || !r.State.Created {
		t.Errorf("%+v: the trial touched the disk, or the boot failed", r.State)
	}
}
