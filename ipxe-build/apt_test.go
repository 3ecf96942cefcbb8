package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bootpuck/bootpuck/bootfiles"
)

var testPackage = bootfiles.Package{
	Name: "one", Version: "2.0-1", Architecture: "all", Suites: []string{"testing", "unstable"},
	Component: "main", Pool: []string{"pool/main/o/one/gone.deb", "pool/main/o/one/one.deb"}, Size: 4, SHA256: sum([]byte("good")),
}

// fakeApt plays apt's programs. Its fields say how they end.
type fakeApt struct {
	update   map[string]string // suite: what `update` complains, "" for success
	show     map[string]string // suite: the hash in the index, absent when it names no such package
	pool     map[string]string // address: content
	commands []string
	confs    []string
}

func (f *fakeApt) run(_ context.Context, dir, name string, args ...string) (stdout, stderr string, err error) {
	f.commands = append(f.commands, filepath.Base(name)+" "+args[len(args)-2]+" "+args[len(args)-1])
	suite := ""
	if line, err := os.ReadFile(filepath.Join(dir, "..", "sources.list")); err == nil {
		suite = strings.Fields(string(line))[5]
	} else if line, err := os.ReadFile(filepath.Join(dir, "sources.list")); err == nil {
		suite = strings.Fields(string(line))[5]
		conf, _ := os.ReadFile(filepath.Join(dir, "apt.conf"))
		f.confs = append(f.confs, string(line)+string(conf))
	}
	failed := errors.New("exit status 100")
	switch {
	case strings.HasSuffix(name, "apt-helper"):
		data, ok := f.pool[args[1]]
		if !ok {
			return "", "E: 404  Not Found\n", failed
		}
		return "", "", os.WriteFile(args[2], []byte(data), 0o644)
	case slices.Contains(args, "update"):
		if say := f.update[suite]; say != "" {
			return "", say, failed
		}
		return "", "", os.WriteFile(filepath.Join(dir, "lists", "x_Packages"), nil, 0o644)
	case slices.Contains(args, "show"):
		if hash := f.show[suite]; hash != "" {
			return "Package: one\nSHA256: " + hash + "\n", "", nil
		}
		return "", "E: No packages found\n", failed
	case slices.Contains(args, "download"):
		return "", "", os.WriteFile(filepath.Join(dir, "one_2.0-1_all.deb"), []byte("good"), 0o644)
	}
	return "", "", errors.New("what is " + name)
}

func newFakeApt(t *testing.T, f *fakeApt) *apt {
	dir := t.TempDir()
	return &apt{
		run: f.run, mirrors: []string{"http://packages.example.org/debian"}, keyring: "/keys/debian.gpg",
		helper: "/usr/lib/apt/apt-helper", dir: dir, sessions: map[sessionKey]*session{},
	}
}

func TestAptFetchPackage(t *testing.T) {
	const (
		base   = "http://packages.example.org/debian/"
		absent = "E: The repository 'http://packages.example.org/debian testing Release' does not have a Release file.\n"
	)
	good := sum([]byte("good"))
	for name, tt := range map[string]struct {
		apt     fakeApt
		suite   string
		why     string
		errWant string
	}{
		"in the first suite":  {apt: fakeApt{show: map[string]string{"testing": good}}, suite: "testing"},
		"in the second suite": {apt: fakeApt{show: map[string]string{"unstable": good}}, suite: "unstable"},
		"first suite absent": {
			apt:   fakeApt{update: map[string]string{"testing": absent}, show: map[string]string{"unstable": good}},
			suite: "unstable",
		},
		"moved on": {
			apt: fakeApt{pool: map[string]string{base + "pool/main/o/one/one.deb": "good"}},
			why: "the index of testing no longer names this version, the index of unstable no longer names this version",
		},
		"moved on and gone": {errWant: "cannot be fetched by path"},
		"signature wrong": {apt: fakeApt{
			update: map[string]string{"testing": "E: The repository is not signed.\n"},
			show:   map[string]string{"unstable": good}, pool: map[string]string{base + "pool/main/o/one/one.deb": "good"},
		}, errWant: "not signed"},
		"index expired": {apt: fakeApt{
			update: map[string]string{"testing": "E: Release file is expired (invalid since 3d).\n"},
			pool:   map[string]string{base + "pool/main/o/one/one.deb": "good"},
		}, errWant: "expired"},
		"not reached": {apt: fakeApt{
			update: map[string]string{"testing": "W: Could not connect\n" + absent},
			pool:   map[string]string{base + "pool/main/o/one/one.deb": "good"},
		}, errWant: "Could not connect"},
		"signed index names other bytes": {apt: fakeApt{
			show: map[string]string{"testing": sum([]byte("evil"))},
			pool: map[string]string{base + "pool/main/o/one/one.deb": "good"},
		}, errWant: sum([]byte("evil"))},
	} {
		t.Run(name, func(t *testing.T) {
			a := newFakeApt(t, &tt.apt)
			dst := filepath.Join(t.TempDir(), "file")
			from, err := a.fetchPackage(t.Context(), testPackage, dst)
			if tt.errWant != "" {
				if err == nil || !strings.Contains(err.Error(), tt.errWant) {
					t.Fatalf("error %v, want one with %q", err, tt.errWant)
				}
				if _, err := os.Stat(dst); err == nil {
					t.Error("a file was delivered all the same")
				}
				return
			}
			if err != nil || from.suite != tt.suite || from.why != tt.why {
				t.Fatalf("from %+v, %v; want suite %q, why %q", from, err, tt.suite, tt.why)
			}
			if data, err := os.ReadFile(dst); err != nil || string(data) != "good" {
				t.Errorf("file holds %q, %v", data, err)
			}
		})
	}
}

// One index per suite, whatever the number of packages; and nothing in its
// configuration that checks less than the machine's own.
func TestAptSession(t *testing.T) {
	f := &fakeApt{show: map[string]string{"testing": sum([]byte("good"))}}
	a := newFakeApt(t, f)
	for i := range 3 {
		if _, err := a.fetchPackage(t.Context(), testPackage, filepath.Join(t.TempDir(), string(rune('a'+i)))); err != nil {
			t.Fatal(err)
		}
	}
	updates := 0
	for _, c := range f.commands {
		if strings.HasSuffix(c, "update") {
			updates++
		}
	}
	if updates != 1 {
		t.Errorf("%d updates in %q", updates, f.commands)
	}
	conf := f.confs[0]
	for _, want := range []string{
		"deb [arch=amd64 target=Packages signed-by=/keys/debian.gpg] http://packages.example.org/debian testing main\n",
		`APT::Get::AllowUnauthenticated "false"`, `Acquire::AllowInsecureRepositories "false"`, `Dir::Etc::trustedparts "/dev/null"`,
		`Dir::Etc::sourceparts "/dev/null"`, "#clear APT::Update::Post-Invoke;", `Dir::State::Lists "` + a.dir,
	} {
		if !strings.Contains(conf, want) {
			t.Errorf("configuration lacks %q:\n%s", want, conf)
		}
	}
	for _, never := range []string{"Valid-Until", "trusted=yes", "allow-insecure", "/var/lib/apt"} {
		if strings.Contains(conf, never) {
			t.Errorf("configuration holds %q", never)
		}
	}
}

// realApt needs apt and Debian's keys, and reaches only the test's own server.
func realApt(t *testing.T, mirror string) *apt {
	t.Helper()
	for _, name := range []string{"apt-get", "apt-cache"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("needs apt: %v", err)
		}
	}
	if !slices.ContainsFunc(keyrings, func(k string) bool { _, err := os.Stat(k); return err == nil }) {
		t.Skip("needs package debian-archive-keyring")
	}
	a, err := newApt(t.Context(), execRun, mirror)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.close() })
	return a
}

func TestRealAptFallsBackToThePool(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/debian/pool/main/o/one/one.deb" {
			http.NotFound(w, r)
			return
		}
		w.Write([]byte("good"))
	}))
	defer srv.Close()
	dst := filepath.Join(t.TempDir(), "file")
	from, err := realApt(t, srv.URL+"/debian").fetchPackage(t.Context(), testPackage, dst)
	if err != nil {
		t.Fatal(err)
	}
	if from.suite != "" || !strings.Contains(from.why, "no suite testing") {
		t.Errorf("from %+v", from)
	}
	if data, err := os.ReadFile(dst); err != nil || string(data) != "good" {
		t.Errorf("file holds %q, %v", data, err)
	}
}

// An index without Debian's signature stops the fetch: the pool must not be asked.
func TestRealAptRefusesAnUnsignedIndex(t *testing.T) {
	pool := false
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/dists/testing/Release"):
			w.Write([]byte("Origin: Debian\nLabel: Debian\nSuite: testing\nCodename: testing\nComponents: main\nArchitectures: amd64\nDate: Fri, 06 Mar 2026 00:00:00 UTC\n"))
		case strings.Contains(r.URL.Path, "/pool/"):
			pool = true
			w.Write([]byte("good"))
		default:
			http.NotFound(w, r)
		}
	}))
	defer srv.Close()
	dst := filepath.Join(t.TempDir(), "file")
	_, err := realApt(t, srv.URL+"/debian").fetchPackage(t.Context(), testPackage, dst)
	if err == nil || !strings.Contains(err.Error(), "not signed") {
		t.Errorf("error %v, want one that says it is not signed", err)
	}
	if pool {
		t.Error("the pool was asked")
	}
}

func TestAptNotConfigured(t *testing.T) {
	realApt(t, "http://packages.example.org/debian") // skips where newApt cannot come far enough
	none := func(context.Context, string, string, ...string) (string, string, error) { return "", "", nil }
	if _, err := newApt(t.Context(), none, ""); !errors.Is(err, errNoMirror) {
		t.Errorf("error %v, want errNoMirror", err)
	}
	broken := func(context.Context, string, string, ...string) (string, string, error) {
		return "", "E: Malformed entry 1 in list file\n", errors.New("exit status 100")
	}
	if _, err := newApt(t.Context(), broken, ""); err == nil || !strings.Contains(err.Error(), "Malformed entry") {
		t.Errorf("error %v", err)
	}
	if _, err := newApt(t.Context(), none, "cdrom:x"); err == nil {
		t.Error("a disc is taken for a mirror")
	}
}

func TestComplaint(t *testing.T) {
	for in, want := range map[string]string{
		"":                                "",
		"Reading lists...\nE: broken\n":   "\n\tE: broken",
		"no prefix at all\n":              "\n\tno prefix at all",
		"W: a\nW: a\n":                    "\n\tW: a",
		strings.Repeat("E: x\nE: y\n", 9): "\n\tE: x\n\tE: y\n\tE: x\n\tE: y\n\tE: x\n\tE: y\n\t…",
	} {
		if got := complaint(in); got != want {
			t.Errorf("complaint(%q) = %q, want %q", in, got, want)
		}
	}
}

// dpkg-deb really turns a package into the stream that extract reads.
func TestDpkgUnpack(t *testing.T) {
	if _, err := exec.LookPath("dpkg-deb"); err != nil {
		t.Skipf("needs dpkg-deb: %v", err)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{
		"DEBIAN/control": "Package: one\nVersion: 1\nArchitecture: all\nMaintainer: Nobody <nobody@example.org>\nDescription: test\n",
		"usr/lib/x/a":    "abc",
	} {
		file := filepath.Join(dir, "tree", name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	deb := filepath.Join(dir, "one.deb")
	if out, err := exec.Command("dpkg-deb", "--root-owner-group", "-b", filepath.Join(dir, "tree"), deb).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	unpack := func(deb string) (map[string][]byte, error) {
		stream, err := dpkgUnpack(t.Context(), deb)
		if err != nil {
			return nil, err
		}
		got := map[string][]byte{}
		err = extract(stream, []bootfiles.File{{Path: "a", Member: "usr/lib/x/a", Size: 3, SHA256: sum([]byte("abc"))}}, got)
		return got, errors.Join(err, stream.Close())
	}
	if got, err := unpack(deb); err != nil || string(got["a"]) != "abc" {
		t.Errorf("unpacked %q, %v", got, err)
	}
	if err := os.WriteFile(deb, []byte("not a package"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := unpack(deb); err == nil || !strings.Contains(err.Error(), "dpkg-deb") {
		t.Errorf("damaged package: %v", err)
	}
}
