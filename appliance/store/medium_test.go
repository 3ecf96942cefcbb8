package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// reporter lets a child use the helpers that tests use. A failure ends it.
type reporter struct{ testing.TB }

type failed struct{ what string }

func (r reporter) Helper()                   {}
func (r reporter) Cleanup(func())            {}
func (r reporter) Fatal(a ...any)            { panic(failed{fmt.Sprint(a...)}) }
func (r reporter) Fatalf(f string, a ...any) { panic(failed{fmt.Sprintf(f, a...)}) }
func (r reporter) Error(a ...any)            { panic(failed{fmt.Sprint(a...)}) }
func (r reporter) Errorf(f string, a ...any) { panic(failed{fmt.Sprintf(f, a...)}) }

func reporting(f func(t testing.TB)) (err error) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case failed:
			err = errors.New(p.what)
		default:
			panic(p)
		}
	}()
	f(reporter{})
	return nil
}

// TestDiskFull fills a small file system in a mount namespace of its own, and
// turns it read-only: the old state stays whole and usable.
func TestDiskFull(t *testing.T) {
	runChild(t, "tmpfs", &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWNS | syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	})
}

// runChild runs a child to its end. Not being able to make the namespace skips
// the test, unless everything has to be run.
func runChild(t *testing.T, name string, attr *syscall.SysProcAttr) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, t.TempDir())
	cmd.Env = append(os.Environ(), childEnv+"="+name)
	cmd.SysProcAttr = attr
	out, err := cmd.CombinedOutput()
	switch {
	case err == nil:
		t.Logf("%s", out)
	case strings.Contains(string(out), needsNamespace) || attr != nil && errors.Is(err, fs.ErrPermission):
		reason := fmt.Sprintf("no user and mount namespace here: %v %s", err, out)
		if os.Getenv("BOOTPUCK_E2E") == "1" {
			t.Fatal(reason)
		}
		t.Skip(reason)
	default:
		t.Errorf("%v\n%s", err, out)
	}
}

const needsNamespace = "cannot mount"

func tmpfsChild(args []string) error {
	dir := args[0]
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m,mode=700"); err != nil {
		return fmt.Errorf("%s: %w", needsNamespace, err)
	}
	path := filepath.Join(dir, FileName)
	return reporting(func(t testing.TB) {
		db, _ := mustOpen(t, path)
		n := fill(t, db, syscall.ENOSPC)
		// Still open: reads go on, and so do deletes.
		if all := dump(t, db); len(all) != n+1 {
			t.Fatalf("%d documents while full, want %d", len(all), n+1)
		}
		db.Close()
		checkBolt(t, path)

		// Read-only: a card that has worn out.
		if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, "size=1m"); err != nil {
			t.Fatal(err)
		}
		db, did := mustOpen(t, path)
		if !did.ReadOnly {
			t.Fatalf("%+v", did)
		}
		if all := dump(t, db); len(all) != n+1 {
			t.Fatalf("%d documents read-only, want %d", len(all), n+1)
		}
		if err := db.Write(Change{KindSite, "site", []byte(`{}`)}); !errors.Is(err, ErrReadOnly) {
			t.Fatalf("write: %v", err)
		}
		db.Close()
		if _, _, err := Open(filepath.Join(dir, "new.db"), quiet(), testNow); !errors.Is(err, syscall.EROFS) {
			t.Fatalf("new file on a read-only medium: %v", err)
		}
		if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT, "size=1m"); err != nil {
			t.Fatal(err)
		}

		// A new file does not fit and leaves nothing behind.
		if err := os.WriteFile(filepath.Join(dir, "rest"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(filepath.Join(dir, "rest"), os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		for {
			if _, err := f.Write(make([]byte, 4096)); err != nil {
				break
			}
		}
		f.Close()
		if _, _, err := Open(filepath.Join(dir, "new.db"), quiet(), testNow); !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("new file on a full disk: %v", err)
		}
		if names := list(t, dir); len(names) != 2 {
			t.Fatalf("left behind: %q", names)
		}
		os.Remove(filepath.Join(dir, "rest"))
		db, _ = mustOpen(t, path)
		afterFull(t, db, n)
		db.Close()
		fmt.Printf("%d documents fit\n", n)
	})
}

// TestFileLimit is the same where nobody can mount: the process may not make
// files longer than so much.
func TestFileLimit(t *testing.T) { runChild(t, "limit", nil) }

func limitChild(args []string) error {
	path := filepath.Join(args[0], FileName)
	limit := syscall.Rlimit{Cur: 1 << 20, Max: 1 << 20}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	return reporting(func(t testing.TB) {
		db, _ := mustOpen(t, path)
		n := fill(t, db, nil)
		if all := dump(t, db); len(all) != n+1 {
			t.Fatalf("%d documents, want %d", len(all), n+1)
		}
		db.Close()
		checkBolt(t, path)
		db, _ = mustOpen(t, path)
		afterFull(t, db, n)
		db.Close()
		fmt.Printf("%d documents fit\n", n)
	})
}

// TestReadOnlyFile: the file cannot be opened for writing, whatever the cause.
func TestReadOnlyFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, FileName)
	db, _ := mustOpen(t, path)
	if err := db.Write(Change{KindSite, "site", []byte(`{}`)}); err != nil {
		t.Fatal(err)
	}
	db.Close()
	d := realDisk()
	d.open = func(name string, flag int, mode fs.FileMode) (*os.File, error) {
		if flag&(os.O_RDWR|os.O_WRONLY) != 0 {
			return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.EROFS}
		}
		return os.OpenFile(name, flag, mode)
	}
	db, did, err := open(path, quiet(), testNow, d)
	if err != nil || !did.ReadOnly {
		t.Fatal(did, err)
	}
	if all := dump(t, db); len(all) != 1 {
		t.Errorf("%v", all)
	}
	if err := db.Write(Change{KindSite, "site", nil}); !errors.Is(err, ErrReadOnly) {
		t.Errorf("write: %v", err)
	}
	db.Close()

	// Damage cannot be set aside there: an error, and nothing is touched.
	if err := os.WriteFile(path, []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, did, err := open(path, quiet(), testNow, d); !errors.Is(err, ErrReadOnly) || did.SetAside != "" {
		t.Errorf("%+v, %v", did, err)
	}
	if data, _ := os.ReadFile(path); string(data) != "damaged" {
		t.Error("the file was changed")
	}
}
