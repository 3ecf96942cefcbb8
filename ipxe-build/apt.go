package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/bootpuck/bootpuck/bootfiles"
)

// archive is where packages come from.
type archive interface {
	// fetchPackage writes the pinned package to the file dst. It says where it
	// was found and whether the archive's signature vouches for these bytes.
	fetchPackage(ctx context.Context, p bootfiles.Package, dst string) (origin, error)
	// fetchPool writes the file below the archive's base to dst. Nothing vouches
	// for it: the caller compares it with its pin.
	fetchPool(ctx context.Context, pool, dst string) error
}

// origin says how a package was obtained.
type origin struct {
	// suite whose signed index names the package; empty when none did and the
	// file was fetched by its path alone.
	suite string
	// why no index vouches, for people. Empty when suite is not.
	why string
}

// runner starts a program and waits for it. It returns what it printed.
type runner func(ctx context.Context, dir, name string, args ...string) (stdout, stderr string, err error)

// execRun is the runner on a real machine. Messages are asked for in English,
// because some of them are recognised.
func execRun(ctx context.Context, dir, name string, args ...string) (string, string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var stdout, stderr bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &stdout, &stderr
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	err := cmd.Run()
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return stdout.String(), stderr.String(), err
}

// apt drives the machine's apt with lists, cache and configuration of its own in
// a temporary folder. The user's configuration (proxies, credentials, whether old
// indexes are accepted) is read first and stays in force, except where it would
// weaken the signature check or run the system's hooks.
type apt struct {
	run      runner
	mirrors  []string // at least one
	keyring  string
	helper   string // apt-helper's path
	dir      string
	sessions map[sessionKey]*session
}

type sessionKey struct{ suite, component, arch string }

// session is one suite's index: its configuration file, or why there is none.
type session struct {
	dir, conf string
	absent    bool // the mirror does not carry this suite
	err       error
}

// keyrings are the places of Debian's archive keys, older and newer name.
var keyrings = []string{
	"/usr/share/keyrings/debian-archive-keyring.gpg",
	"/usr/share/keyrings/debian-archive-keyring.pgp",
}

// newApt finds the mirror, unless one is given, and the tools. close removes the
// temporary folder.
func newApt(ctx context.Context, run runner, mirror string) (*apt, error) {
	a := &apt{run: run, sessions: map[sessionKey]*session{}}
	for _, name := range []string{"apt-get", "apt-cache"} {
		if _, err := exec.LookPath(name); err != nil {
			return nil, fmt.Errorf("%s is needed to fetch from a Debian archive (package apt): %w", name, err)
		}
	}
	for _, path := range keyrings {
		if _, err := os.Stat(path); err == nil {
			a.keyring = path
			break
		}
	}
	if a.keyring == "" {
		return nil, fmt.Errorf("%s: the archive's keys are missing (package debian-archive-keyring): %w", keyrings[0], fs.ErrNotExist)
	}
	a.helper = "/usr/lib/apt/apt-helper"
	if mirror != "" {
		if err := validMirror(mirror); err != nil {
			return nil, err
		}
		a.mirrors = []string{mirror}
	} else {
		stdout, stderr, err := run(ctx, "", "apt-get", "indextargets")
		if err != nil {
			return nil, fmt.Errorf("read this machine's apt configuration: %w%s", err, complaint(stderr))
		}
		if a.mirrors = mirrors(parseIndexTargets(stdout)); len(a.mirrors) == 0 {
			return nil, errNoMirror
		}
	}
	dir, err := os.MkdirTemp("", "ipxe-build-apt-")
	if err != nil {
		return nil, fmt.Errorf("make a folder for apt: %w", err)
	}
	a.dir = dir
	// apt started by root downloads as user _apt, who has to get in.
	if err := os.Chmod(dir, 0o755); err != nil {
		a.close()
		return nil, fmt.Errorf("make a folder for apt: %w", err)
	}
	return a, nil
}

func (a *apt) close() error { return os.RemoveAll(a.dir) }

// fetchPackage implements archive: from the first suite whose signed index names
// the version, else by its path in the pool.
func (a *apt) fetchPackage(ctx context.Context, p bootfiles.Package, dst string) (origin, error) {
	var why []string
	for _, suite := range p.Suites {
		s := a.open(ctx, sessionKey{suite, p.Component, indexArch(p)})
		switch {
		case s.err != nil:
			// A mirror that cannot be reached or whose signature is wrong must not
			// lead to a fetch that checks less.
			return origin{}, s.err
		case s.absent:
			why = append(why, "the mirror has no suite "+suite)
			continue
		}
		found, err := a.show(ctx, s, p)
		if err != nil {
			return origin{}, err
		}
		if !found {
			why = append(why, "the index of "+suite+" no longer names this version")
			continue
		}
		return origin{suite: suite}, a.download(ctx, s, p, dst)
	}
	var errs []error
	for _, pool := range p.Pool {
		err := a.fetchPool(ctx, pool, dst)
		if err == nil {
			return origin{why: strings.Join(why, ", ")}, nil
		}
		errs = append(errs, err)
	}
	return origin{}, fmt.Errorf("package %s: %s, and its file cannot be fetched by path: %w", p.ID(), strings.Join(why, ", "), errors.Join(errs...))
}

// indexArch is the architecture whose index is read. Packages for all
// architectures are in every one.
func indexArch(p bootfiles.Package) string {
	if p.Architecture == "all" {
		return "amd64"
	}
	return p.Architecture
}

// show asks the signed index for the package: whether it is there, and with the
// hash we pinned. Another hash under the same version is an error.
func (a *apt) show(ctx context.Context, s *session, p bootfiles.Package) (bool, error) {
	// apt-cache fails when it knows no such version.
	stdout, stderr, err := a.run(ctx, s.dir, "apt-cache", "-c", s.conf, "show", "--no-all-versions", p.ID())
	if err != nil {
		if ctx.Err() != nil || !strings.Contains(stderr, "No packages found") {
			return false, fmt.Errorf("look up %s: %w%s", p.ID(), err, complaint(stderr))
		}
		return false, nil
	}
	for line := range strings.Lines(stdout) {
		if sum, ok := strings.CutPrefix(line, "SHA256:"); ok {
			if sum = strings.TrimSpace(sum); sum != p.SHA256 {
				return false, fmt.Errorf("the archive's signed index disagrees with the manifest on %s: sha256 is %s, pinned is %s", p.FileName(), sum, p.SHA256)
			}
			return true, nil
		}
	}
	return false, fmt.Errorf("look up %s: the index gives no SHA256", p.ID())
}

func (a *apt) download(ctx context.Context, s *session, p bootfiles.Package, dst string) error {
	dir, err := os.MkdirTemp(s.dir, "download-")
	if err != nil {
		return fmt.Errorf("download %s: %w", p.ID(), err)
	}
	defer os.RemoveAll(dir)
	if err := giveToApt(dir); err != nil {
		return fmt.Errorf("download %s: %w", p.ID(), err)
	}
	if _, stderr, err := a.run(ctx, dir, "apt-get", "-c", s.conf, "-q", "download", p.ID()); err != nil {
		return fmt.Errorf("download %s: %w%s", p.ID(), err, complaint(stderr))
	}
	debs, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil || len(debs) != 1 {
		return fmt.Errorf("download %s: apt left %d files", p.ID(), len(debs))
	}
	return copyFile(debs[0], dst)
}

// fetchPool implements archive. The hash is not passed on to apt: its complaint
// would not say which bytes came instead.
func (a *apt) fetchPool(ctx context.Context, pool, dst string) error {
	var errs []error
	for _, mirror := range a.mirrors {
		dir, err := os.MkdirTemp(a.dir, "pool-")
		if err != nil {
			return fmt.Errorf("download %s: %w", pool, err)
		}
		defer os.RemoveAll(dir)
		if err := giveToApt(dir); err != nil {
			return fmt.Errorf("download %s: %w", pool, err)
		}
		file := filepath.Join(dir, "file")
		_, stderr, err := a.run(ctx, dir, a.helper, "download-file", poolURI(mirror, pool), file)
		if err == nil {
			return copyFile(file, dst)
		}
		errs = append(errs, fmt.Errorf("download %s: %w%s", pool, err, complaint(stderr)))
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(errs...)
}

// open returns the session for a suite, fetching its index on first use from the
// first mirror that has it.
func (a *apt) open(ctx context.Context, key sessionKey) *session {
	if s := a.sessions[key]; s != nil {
		return s
	}
	var (
		errs   []error
		result *session
	)
	for _, mirror := range a.mirrors {
		s := a.update(ctx, key, mirror)
		if s.err == nil && !s.absent {
			result = s
			break
		}
		if s.err != nil {
			errs = append(errs, s.err)
		}
	}
	if result == nil {
		result = &session{absent: len(errs) == 0, err: errors.Join(errs...)}
	}
	a.sessions[key] = result
	return result
}

func (a *apt) update(ctx context.Context, key sessionKey, mirror string) *session {
	fail := func(err error) *session {
		return &session{err: fmt.Errorf("fetch the index of %s from %s: %w", key.suite, redact(mirror), err)}
	}
	dir, err := os.MkdirTemp(a.dir, "index-")
	if err != nil {
		return fail(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return fail(err)
	}
	s := &session{dir: dir, conf: filepath.Join(dir, "apt.conf")}
	for _, sub := range []string{"lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return fail(err)
		}
	}
	line := fmt.Sprintf("deb [arch=%s target=Packages signed-by=%s] %s %s %s\n", key.arch, a.keyring, mirror, key.suite, key.component)
	for name, text := range map[string]string{"sources.list": line, "status": "", "apt.conf": aptConf(dir, key.arch)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return fail(err)
		}
	}
	_, stderr, err := a.run(ctx, dir, "apt-get", "-c", s.conf, "-q", "update")
	// An older apt ends well although it could not fetch: the list tells.
	lists, globErr := filepath.Glob(filepath.Join(dir, "lists", "*_Packages*"))
	switch {
	case ctx.Err() != nil:
		return fail(context.Cause(ctx))
	case strings.Contains(stderr, "does not have a Release file") && !strings.Contains(stderr, "Could not"):
		return &session{absent: true}
	case err != nil:
		return fail(fmt.Errorf("%w%s", err, complaint(stderr)))
	case globErr != nil || len(lists) == 0:
		return fail(fmt.Errorf("apt got no list of packages%s", complaint(stderr)))
	}
	return s
}

// aptConf is read after the machine's own configuration. Whether an index past
// its Valid-Until is accepted is left to the machine.
func aptConf(dir, arch string) string {
	quoted := func(elem ...string) string { return strconv.Quote(filepath.Join(append([]string{dir}, elem...)...)) }
	lines := []string{
		// No hook of the system runs: they would clean its cache, not ours.
		"#clear APT::Update::Pre-Invoke;",
		"#clear APT::Update::Post-Invoke;",
		"#clear APT::Update::Post-Invoke-Success;",
		"#clear APT::Architectures;",
		"#clear Acquire::Languages;",
		"APT::Architecture " + strconv.Quote(arch) + ";",
		"APT::Architectures { " + strconv.Quote(arch) + "; };",
		`Acquire::Languages { "none"; };`,
		`Acquire::Retries "3";`,
		`APT::Update::Error-Mode "any";`,
		"Dir::State " + quoted() + ";",
		"Dir::State::Lists " + quoted("lists") + ";",
		"Dir::State::status " + quoted("status") + ";",
		"Dir::State::extended_states " + quoted("extended_states") + ";",
		"Dir::Cache " + quoted("cache") + ";",
		"Dir::Cache::archives " + quoted("cache", "archives") + ";",
		"Dir::Cache::pkgcache " + quoted("cache", "pkgcache.bin") + ";",
		"Dir::Cache::srcpkgcache " + quoted("cache", "srcpkgcache.bin") + ";",
		"Dir::Etc::sourcelist " + quoted("sources.list") + ";",
		`Dir::Etc::sourceparts "/dev/null";`,
		`Dir::Etc::preferences "/dev/null";`,
		`Dir::Etc::preferencesparts "/dev/null";`,
		// Only the keyring named beside the mirror counts.
		`Dir::Etc::trusted "/dev/null";`,
		`Dir::Etc::trustedparts "/dev/null";`,
		`APT::Get::AllowUnauthenticated "false";`,
		`Acquire::AllowInsecureRepositories "false";`,
		`Acquire::AllowWeakRepositories "false";`,
		`Acquire::AllowDowngradeToInsecureRepositories "false";`,
	}
	return strings.Join(lines, "\n") + "\n"
}

// giveToApt lets apt's own user write into dir when we are root; without that apt
// downloads as root and complains.
func giveToApt(dir string) error {
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return nil
	}
	u, err := user.Lookup("_apt")
	if err != nil {
		return nil // no such user: apt stays root then, and works
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return fmt.Errorf("user _apt: %w", err)
	}
	return os.Chown(dir, uid, -1)
}

// complaint shortens what a tool printed to its error and warning lines.
func complaint(stderr string) string {
	var lines []string
	for line := range strings.Lines(stderr) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "E:") || strings.HasPrefix(line, "W:") || strings.HasPrefix(line, "Err:") {
			lines = append(lines, line)
		}
	}
	if len(lines) == 0 && strings.TrimSpace(stderr) != "" {
		lines = []string{strings.TrimSpace(stderr)}
	}
	if len(lines) == 0 {
		return ""
	}
	lines = slices.Compact(lines)
	if len(lines) > 6 {
		lines = append(lines[:6], "…")
	}
	return "\n\t" + strings.Join(lines, "\n\t")
}
