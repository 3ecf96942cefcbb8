package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bootpuck/bootpuck/appliance/e2e/lab"
)

// Places below the repository's root, which is two directories up.
const (
	root     = "../.."
	buildDir = root + "/.build/e2e"
	cacheDir = root + "/.build/cache"

	distDir = root + "/bootfiles/dist"
)

// imagePath is the disk image under test: the one `make image` made, or the one
// that BOOTPUCK_IMAGE names.
func imagePath() string {
	if p := os.Getenv("BOOTPUCK_IMAGE"); p != "" {
		return p
	}
	return root + "/.build/image/bootpuck-amd64.img"
}

func TestMain(m *testing.M) {
	stop := lab.HandleSignals()
	code := m.Run()
	lab.CloseAll()
	stop()
	if err := results.write(); err != nil {
		fmt.Fprintln(os.Stderr, "write results:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// wanted says whether missing prerequisites are failures.
func wanted() bool { return os.Getenv("BOOTPUCK_E2E") == "1" }

// need skips the test unless end-to-end tests are asked for, and fails it if
// they are and something is missing here.
func need(t *testing.T) {
	t.Helper()
	if !wanted() {
		t.Skip("set BOOTPUCK_E2E=1 to boot real firmware in QEMU (needs root and the Debian packages that `make e2e` installs)")
	}
	if err := prerequisites(); err != nil {
		t.Fatalf("prerequisites of the end-to-end tests are missing:\n%v", err)
	}
}

var prerequisites = sync.OnceValue(func() error {
	var errs []error
	if os.Geteuid() != 0 {
		errs = append(errs, errors.New("not root: network namespaces cannot be made"))
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		errs = append(errs, err)
	}
	for program, pkg := range map[string]string{
		"qemu-system-x86_64": "qemu-system-x86", "qemu-system-aarch64": "qemu-system-arm", "dnsmasq": "dnsmasq-base",
		"dhcpd": "isc-dhcp-server", "dhcrelay": "isc-dhcp-relay", "dhclient": "isc-dhcp-client", "udhcpc": "udhcpc",
		"nginx": "nginx-light", "ip": "iproute2", "dpkg-deb": "dpkg", "tgtd": "tgt", "syslinux": "syslinux",
		"mcopy": "mtools", "mkfs.fat": "dosfstools", "busybox": "busybox-static", "tshark": "tshark",
	} {
		if err := lab.Installed(program); err != nil {
			errs = append(errs, fmt.Errorf("%w (package %s)", err, pkg))
		}
	}
	for _, kind := range []lab.FirmwareKind{lab.OVMF, lab.OVMF32, lab.AAVMF, lab.OVMFSecure} {
		if _, err := lab.FindFirmware(kind, ""); err != nil {
			errs = append(errs, err)
		}
	}
	for _, arch := range []string{"amd64", "arm64"} {
		if _, err := os.Stat(lab.InstallerKernel(arch)); err != nil {
			errs = append(errs, fmt.Errorf("%w (package debian-installer-12-netboot-%s)", err, arch))
		}
	}
	if _, err := lab.FindBootFiles(distDir); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
})

// newer fetches newer firmware once; its error is the reason to skip.
var newer = sync.OnceValues(func() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	return lab.FetchNewFirmware(ctx, cacheDir)
})

// boxBinary builds the box's program once, unless BOOTPUCK_BINARY names one.
var boxBinary = sync.OnceValues(func() (string, error) {
	if p := os.Getenv("BOOTPUCK_BINARY"); p != "" {
		return filepath.Abs(p)
	}
	return build("bootpuck")
})

// ctlBinary builds the command line program once.
var ctlBinary = sync.OnceValues(func() (string, error) { return build("bootpuckctl") })

// build compiles one of the product's programs and returns its path.
func build(name string) (string, error) {
	out, err := filepath.Abs(filepath.Join(buildDir, name))
	if err != nil {
		return "", err
	}
	cmd := exec.Command("go", "build", "-trimpath", "-o", out, "./cmd/"+name)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build cmd/%s: %w\n%s", name, err, text)
	}
	return out, nil
}

// accelerators is what QEMU can use here, found out by trying.
var accelerators = lab.Accelerators{Kernel: lab.InstallerKernel("amd64")}

// payloadDir makes the directory of a payload once per program, for the server
// at that address and GRUB's path there.
func payloadDir(p lab.Payload, server, grubPath string) (string, error) {
	payloads.mu.Lock()
	defer payloads.mu.Unlock()
	name := string(p) + "-" + server + strings.ReplaceAll(grubPath, "/", "-")
	if dir, ok := payloads.made[name]; ok {
		return dir, nil
	}
	files, err := lab.FindBootFiles(distDir)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(buildDir, "files", name)
	err = lab.WritePayload(dir, lab.PayloadOptions{
		Payload: p, Arches: []string{"amd64", "arm64"}, Memtest: files.Memtest,
		GRUBServer: server, GRUBPath: grubPath,
	})
	if err != nil {
		return "", err
	}
	if payloads.made == nil {
		payloads.made = make(map[string]string)
	}
	payloads.made[name] = dir
	return dir, nil
}

var payloads struct {
	mu   sync.Mutex
	made map[string]string
}
