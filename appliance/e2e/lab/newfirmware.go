package lab

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// deb is a Debian package by exact version and content.
type deb struct {
	name, version, pool, sha256 string
}

// newFirmware are the firmware packages of the release after the one whose
// firmware the lab uses by default.
var newFirmware = struct {
	suite string
	debs  []deb
}{"trixie", []deb{
	{
		"ovmf", "2025.02-8+deb13u1", "pool/main/e/edk2/ovmf_2025.02-8+deb13u1_all.deb",
		"78e0d54df11fc77406cb7a0bc9a39e5bca6d1cbe06556b91d9a73491c52decdf",
	},
	{
		"qemu-efi-aarch64", "2025.02-8+deb13u1", "pool/main/e/edk2/qemu-efi-aarch64_2025.02-8+deb13u1_all.deb",
		"a00b2411a79c8aeafd95a7c868ac3cd1aab592f1af9fff965f02d81a625276ed",
	},
}}

const archiveKeys = "/usr/share/keyrings/debian-archive-keyring.gpg"

// FetchNewFirmware makes newer builds of OVMF and AAVMF available and returns
// the directory to pass as [Boot].Newer. The packages come from the archive
// this machine's apt is configured for, are checked against pinned SHA-256
// sums, kept below cache, and unpacked there: nothing is installed.
//
// The error says why they cannot be had; tests that need them then skip.
func FetchNewFirmware(ctx context.Context, cache string) (string, error) {
	cache, err := filepath.Abs(cache)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", fmt.Errorf("newer firmware: %w", err)
	}
	sum := sha256.New()
	for _, d := range newFirmware.debs {
		file := filepath.Join(cache, filepath.Base(d.pool))
		if fileSum(file) != d.sha256 {
			if err := fetchDeb(ctx, d, newFirmware.suite, file); err != nil {
				return "", fmt.Errorf("newer firmware: %w", err)
			}
		}
		_, _ = io.WriteString(sum, d.sha256)
	}
	dir := filepath.Join(cache, "firmware-"+hex.EncodeToString(sum.Sum(nil))[:12])
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	tmp, err := os.MkdirTemp(cache, "firmware-new-")
	if err != nil {
		return "", fmt.Errorf("newer firmware: %w", err)
	}
	defer os.RemoveAll(tmp)
	for _, d := range newFirmware.debs {
		if _, err := output(ctx, tmp, "dpkg-deb", "-x", filepath.Join(cache, filepath.Base(d.pool)), tmp); err != nil {
			return "", fmt.Errorf("newer firmware: unpack %s: %w", d.name, err)
		}
	}
	// Whole or not at all, so that an interrupted run leaves nothing half.
	if err := os.Rename(tmp, dir); err != nil {
		return "", fmt.Errorf("newer firmware: %w", err)
	}
	return dir, nil
}

// fetchDeb downloads one package with an apt that has its own lists and cache.
// The archive's signature is checked by apt, the content by our sum.
func fetchDeb(ctx context.Context, d deb, suite, dst string) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	mirrors, err := aptMirrors(ctx)
	if err != nil {
		return err
	}
	if _, err := os.Stat(archiveKeys); err != nil {
		return fmt.Errorf("the archive's keys are missing (package debian-archive-keyring): %w", err)
	}
	var errs []error
	for _, mirror := range mirrors {
		if err := fetchFrom(ctx, d, suite, mirror, dst); err != nil {
			errs = append(errs, err)
			continue
		}
		if got := fileSum(dst); got != d.sha256 {
			errs = append(errs, fmt.Errorf("%s: sha256 is %s, pinned is %s", filepath.Base(dst), got, d.sha256), os.Remove(dst))
			continue
		}
		return nil
	}
	return errors.Join(errs...)
}

func fetchFrom(ctx context.Context, d deb, suite, mirror, dst string) error {
	dir, err := os.MkdirTemp("", fmt.Sprintf("%s%d-apt-", prefix, os.Getpid()))
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for _, sub := range []string{"lists/partial", "cache/archives/partial", "out"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return err
		}
	}
	source := fmt.Sprintf("deb [signed-by=%s] %s %s main\n", archiveKeys, mirror, suite)
	if err := os.WriteFile(filepath.Join(dir, "sources.list"), []byte(source), 0o644); err != nil {
		return err
	}
	own := []string{
		"-q", "-o", "Dir::State::Lists=" + dir + "/lists", "-o", "Dir::Cache=" + dir + "/cache",
		"-o", "Dir::Etc::sourcelist=" + dir + "/sources.list", "-o", "Dir::Etc::sourceparts=/dev/null",
		"-o", "APT::Get::AllowUnauthenticated=false", "-o", "APT::Sandbox::User=root",
		"-o", "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false", "-o", "Acquire::Languages=none",
	}
	if _, err := output(ctx, dir, "apt-get", append(own, "update")...); err != nil {
		return fmt.Errorf("read the index of %s: %w", suite, err)
	}
	out := filepath.Join(dir, "out")
	if _, err := output(ctx, out, "apt-get", append(own, "download", d.name+"="+d.version)...); err == nil {
		files, err := filepath.Glob(filepath.Join(out, "*.deb"))
		if err != nil || len(files) != 1 {
			return fmt.Errorf("download %s: apt left %d files", d.name, len(files))
		}
		return copyFile(files[0], dst)
	}
	// The index has moved on; the file may still be in the pool.
	file := filepath.Join(out, "file")
	if _, err := output(ctx, out, "/usr/lib/apt/apt-helper", "download-file", strings.TrimRight(mirror, "/")+"/"+d.pool, file, "SHA256:"+d.sha256); err != nil {
		return fmt.Errorf("%s %s is neither in the index of %s nor in the archive's pool: %w", d.name, d.version, suite, err)
	}
	return copyFile(file, dst)
}

// aptMirrors reads from apt's configuration where this machine gets Debian's
// main archive.
func aptMirrors(ctx context.Context) ([]string, error) {
	out, err := output(ctx, "", "apt-get", "indextargets", "--format", "$(CREATED_BY)|$(ORIGIN)|$(LABEL)|$(REPO_URI)")
	if err != nil {
		return nil, fmt.Errorf("read this machine's apt configuration: %w", err)
	}
	var mirrors []string
	seen := make(map[string]bool)
	for line := range strings.Lines(out) {
		f := strings.SplitN(strings.TrimSpace(line), "|", 4)
		if len(f) == 4 && f[0] == "Packages" && f[1] == "Debian" && f[2] == "Debian" && !seen[f[3]] {
			seen[f[3]] = true
			mirrors = append(mirrors, f[3])
		}
	}
	if len(mirrors) == 0 {
		return nil, errors.New("this machine's apt knows no Debian archive (apt-get update?)")
	}
	return mirrors, nil
}

// output runs a short program and returns its standard output; the error holds
// what it complained about.
func output(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w: %s", filepath.Base(name), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// fileSum is the SHA-256 of a file in hexadecimal, or empty.
func fileSum(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return ""
	}
	return hex.EncodeToString(h.Sum(nil))
}
