package system

import (
	"os"
	"path/filepath"
	"testing"
)

func TestReadings(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"sys/class/net/eth0/speed":                            "1000\n",
		"sys/class/net/eth1/speed":                            "-1\n",
		"sys/class/net/eth2/speed":                            "fast\n",
		"sys/class/thermal/thermal_zone0/temp":                "48312\n",
		"sys/devices/platform/soc/soc:firmware/get_throttled": "50005\n",
		"secret/speed":                                        "5\n",
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	r := Readings{Root: root}
	for name, want := range map[string]int{"eth0": 1000, "eth1": 0, "eth2": 0, "eth9": 0, "": 0, "..": 0, "../../../secret": 0} {
		if got, ok := r.LinkSpeed(name); ok != (want > 0) || ok && got != want {
			t.Errorf("speed of %q: %d %v", name, got, ok)
		}
	}
	if c, ok := r.Temperature(); !ok || c != 48.312 {
		t.Errorf("temperature %v %v", c, ok)
	}
	if slowed, ok := r.Throttled(); !ok || !slowed {
		t.Errorf("throttled %v %v", slowed, ok)
	}
	if err := os.WriteFile(filepath.Join(root, "sys/devices/platform/soc/soc:firmware/get_throttled"), []byte("0x50000"), 0o644); err != nil {
		t.Fatal(err)
	}
	if slowed, ok := r.Throttled(); !ok || slowed {
		t.Errorf("throttled in the past only: %v %v", slowed, ok)
	}
	none := Readings{Root: t.TempDir()}
	if _, ok := none.Temperature(); ok {
		t.Error("a temperature from nowhere")
	}
	if _, ok := none.Throttled(); ok {
		t.Error("throttled, from nowhere")
	}
	if n, err := (State{Dir: root}).Free(); err != nil || n == 0 {
		t.Errorf("free %d %v", n, err)
	}
	if _, err := (State{Dir: filepath.Join(root, "gone")}).Free(); err == nil {
		t.Error("room in a directory that does not exist")
	}
}
