package lab

import (
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestInitramfsRoundTrip(t *testing.T) {
	want := []member{
		{name: "bin", mode: modeDir | 0o755},
		{name: "bin/x", mode: modeFile | 0o755, data: []byte("odd")},
		{name: "etc/link", mode: modeLink | 0o777, data: []byte("../bin/x")},
		{name: "a", mode: modeFile | 0o644, data: bytes.Repeat([]byte("y"), 4096)},
	}
	var b bytes.Buffer
	if err := writeCPIO(&b, want); err != nil {
		t.Fatal(err)
	}
	if b.Len()%4 != 0 {
		t.Errorf("%d bytes, not a multiple of four", b.Len())
	}
	whole := b.Bytes()
	i := 0
	err := readCPIO(bytes.NewReader(whole), func(m member) error {
		if w := want[i]; m.name != w.name || m.mode != w.mode || !bytes.Equal(m.data, w.data) {
			t.Errorf("member %d is %q %o with %d bytes", i, m.name, m.mode, len(m.data))
		}
		i++
		return nil
	})
	if err != nil || i != len(want) {
		t.Errorf("read %d of %d members: %v", i, len(want), err)
	}
	for _, broken := range [][]byte{nil, whole[:200], bytes.Replace(whole, []byte("070701"), []byte("070702"), 1)} {
		if err := readCPIO(bytes.NewReader(broken), func(member) error { return nil }); err == nil {
			t.Errorf("%d bytes of a broken archive are accepted", len(broken))
		}
	}
}

// The installer is made of files of this machine's packages, so this runs where
// they are.
func TestTinyInstaller(t *testing.T) {
	for _, file := range []string{busybox, InstallerKernel("amd64")} {
		if _, err := os.Stat(file); err != nil {
			t.Skipf("needs busybox-static and debian-installer-12-netboot-amd64: %v", err)
		}
	}
	file := filepath.Join(t.TempDir(), "tiny.gz")
	if err := WriteTinyInstaller(file); err != nil {
		if strings.Contains(err.Error(), "not statically linked") {
			t.Skip(err)
		}
		t.Fatal(err)
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	unzip, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var order string
	if err := readCPIO(unzip, func(m member) error {
		if m.name == "modules/order" {
			order = string(m.data)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	// Each module after those it needs.
	last := -1
	for _, name := range []string{"failover.ko", "net_failover.ko", "virtio_net.ko"} {
		at := strings.Index("\n"+order, "\n"+name+"\n")
		if at <= last {
			t.Errorf("%s at %d of the order:\n%s", name, at, order)
		}
		last = at
	}
}
