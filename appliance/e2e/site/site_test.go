package main

import (
	"bufio"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const root = "../../.."

// program builds the site and the box, or skips.
func program(t *testing.T) (site, box string) {
	t.Helper()
	if os.Getenv("BOOTPUCK_E2E") != "1" {
		t.Skip("set BOOTPUCK_E2E=1 to build a virtual site (needs root, QEMU and the packages that `make run` installs)")
	}
	if os.Geteuid() != 0 {
		t.Fatal("not root: network namespaces cannot be made")
	}
	dir := t.TempDir()
	cmd := exec.Command("go", "build", "-o", dir+"/", "./appliance/e2e/site", "./cmd/bootpuck")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return filepath.Join(dir, "site"), filepath.Join(dir, "bootpuck")
}

// leftovers are namespaces of a process that should have removed them.
func leftovers(t *testing.T, pid string) []string {
	t.Helper()
	found, err := filepath.Glob("/run/netns/bpe2e-" + pid + "-*")
	if err != nil {
		t.Fatal(err)
	}
	temps, err := filepath.Glob(filepath.Join(os.TempDir(), "bpe2e-"+pid+"-*"))
	if err != nil {
		t.Fatal(err)
	}
	return append(found, temps...)
}

func start(t *testing.T, args ...string) (*exec.Cmd, io.Reader) {
	t.Helper()
	site, box := program(t)
	cmd := exec.Command(site, append([]string{
		"-bootpuck", box, "-listen", "127.0.0.1:0", "-build", filepath.Join(root, ".build"),
		"-dist", filepath.Join(root, "bootfiles/dist"),
	}, args...)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return cmd, out
}

func pid(cmd *exec.Cmd) string { return strconv.Itoa(cmd.Process.Pid) }

// TestUntilBooted is `make run` as CI runs it: a machine boots, the page
// answers, nothing is left.
func TestUntilBooted(t *testing.T) {
	cmd, out := start(t, "-until-booted")
	text, err := io.ReadAll(out)
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("ended with %v", err)
	}
	t.Logf("it said:\n%s", text)
	for _, want := range []string{"Debian's installer is running", "The status page answers", "nothing to boot", "The box offers"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("it did not say %q", want)
		}
	}
	if left := leftovers(t, pid(cmd)); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestInterrupt presses Ctrl-C in the middle of a boot.
func TestInterrupt(t *testing.T) {
	cmd, out := start(t)
	lines := bufio.NewScanner(out)
	said := ""
	for lines.Scan() {
		said += lines.Text() + "\n"
		if strings.Contains(lines.Text(), "Power on:") {
			break
		}
	}
	if len(leftovers(t, pid(cmd))) == 0 {
		t.Errorf("no site was built; it said:\n%s", said)
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	defer stop()
	_, _ = io.Copy(io.Discard, out)
	if err := cmd.Wait(); err != nil {
		t.Errorf("ended with %v; it said:\n%s", err, said)
	}
	if left := leftovers(t, pid(cmd)); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
