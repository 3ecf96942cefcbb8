package store

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"
)

var testTime = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

func testNow() time.Time { return testTime }

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// mustOpen opens a file that has to be whole.
func mustOpen(t testing.TB, path string) (*DB, Opened) {
	t.Helper()
	db, did, err := Open(path, quiet(), testNow)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	if did.SetAside != "" {
		t.Fatalf("%s was set aside: %s", path, did.Damage)
	}
	return db, did
}

// dump reads everything: "kind/name" to document.
func dump(t testing.TB, db *DB) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, kind := range Kinds() {
		if err := db.Load(kind, func(name string, doc []byte) error {
			all[string(kind)+"/"+name] = string(doc)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

func TestWriteLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), FileName)
	db, did := mustOpen(t, path)
	if !did.Created || did.Migrated || did.ReadOnly {
		t.Errorf("a new file: %+v", did)
	}
	if err := db.Write(
		Change{KindMachines, "b", []byte(`{"n":1}`)},
		Change{KindMachines, "a", []byte(`{"n":2}`)},
		Change{KindSite, "site", []byte(`{}`)},
		Change{KindTargets, "gone", []byte(`{}`)},
		Change{KindTargets, "gone", nil},
		Change{KindTargets, "never", nil},
		Change{KindMachines, "b", []byte(`{"n":3}`)}, // the last one counts
	); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"machines/a": `{"n":2}`, "machines/b": `{"n":3}`, "site/site": `{}`}
	if diff := cmp.Diff(want, dump(t, db)); diff != "" {
		t.Error(diff)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	if err := db.Write(Change{KindSite, "site", []byte(`{}`)}); !errors.Is(err, ErrClosed) {
		t.Errorf("Write after Close: %v", err)
	}
	if err := db.Load(KindSite, func(string, []byte) error { return nil }); !errors.Is(err, ErrClosed) {
		t.Errorf("Load after Close: %v", err)
	}
	if db.Size() != 0 {
		t.Errorf("Size after Close: %d", db.Size())
	}
	db, did = mustOpen(t, path)
	if did != (Opened{}) {
		t.Errorf("opened again: %+v", did)
	}
	if diff := cmp.Diff(want, dump(t, db)); diff != "" {
		t.Error(diff)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	} else if db.Size() != info.Size() {
		t.Errorf("Size %d, file of %d", db.Size(), info.Size())
	}
}

func TestWriteRefuses(t *testing.T) {
	db, _ := mustOpen(t, filepath.Join(t.TempDir(), FileName))
	if err := db.Write(Change{KindGroups, "old", []byte(`{}`)}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		change Change
		want   string
	}{
		{Change{"hosts", "x", []byte(`{}`)}, `no kind "hosts"`},
		{Change{"", "x", nil}, `no kind ""`},
		{Change{headBucket, keySchema, []byte(`1`)}, `no kind "store"`},
		{Change{KindGroups, "", []byte(`{}`)}, "name of 0 octets"},
		{Change{KindGroups, strings.Repeat("x", MaxName+1), []byte(`{}`)}, "name of 256 octets"},
		{Change{KindGroups, "a\xff", []byte(`{}`)}, "UTF-8"},
		{Change{KindGroups, "x", []byte(``)}, "not JSON"},
		{Change{KindGroups, "x", []byte(`{`)}, "not JSON"},
		{Change{KindGroups, "x", make([]byte, MaxDoc+1)}, "at most"},
	} {
		err := db.Write(Change{KindGroups, "new", []byte(`{}`)}, c.change)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %q", c.change.Name, err, c.want)
		}
	}
	if err := db.Load("hosts", func(string, []byte) error { return nil }); err == nil {
		t.Error("Load of an unknown kind")
	}
	if diff := cmp.Diff(map[string]string{"groups/old": "{}"}, dump(t, db)); diff != "" {
		t.Errorf("something was written: %s", diff)
	}
}

// A Write that changes nothing must not touch the medium.
func TestWriteSame(t *testing.T) {
	path := filepath.Join(t.TempDir(), FileName)
	db, _ := mustOpen(t, path)
	change := Change{KindGroups, "g", []byte(`{}`)}
	if err := db.Write(change); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, same := range [][]Change{{}, {change}, {{KindGroups, "x", nil}}, {change, {KindGroups, "g", nil}, change}} {
		if err := db.Write(same...); err != nil {
			t.Fatal(err)
		}
	}
	if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
		t.Error("the file was written to")
	}
}

func TestLoadBatches(t *testing.T) {
	db, _ := mustOpen(t, filepath.Join(t.TempDir(), FileName))
	var changes []Change
	for i := range 1000 {
		doc := fmt.Sprintf(`"%s"`, strings.Repeat("x", i*17))
		changes = append(changes, Change{KindMachines, fmt.Sprintf("m%04d", i), []byte(doc)})
	}
	if err := db.Write(changes...); err != nil {
		t.Fatal(err)
	}
	var got []string
	if err := db.Load(KindMachines, func(name string, doc []byte) error {
		if len(doc) != 17*len(got)+2 {
			t.Errorf("%s: %d octets", name, len(doc))
		}
		got = append(got, name)
		if len(got)%10 != 0 {
			return nil
		}
		// A Write from within must not wait for itself.
		return db.Write(Change{KindAttempts, name, []byte(`{}`)}, Change{KindMachines, name, nil})
	}); err != nil {
		t.Fatal(err)
	}
	if len(got) != 1000 || !slices.IsSorted(got) {
		t.Errorf("%d names, sorted %v", len(got), slices.IsSorted(got))
	}
	if all := dump(t, db); len(all) != 1000 || all["attempts/m0999"] != "{}" || all["machines/m0999"] != "" {
		t.Errorf("%d documents left", len(all))
	}
	stop := errors.New("stop")
	if err := db.Load(KindAttempts, func(string, []byte) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("error of each: %v", err)
	}
}

func TestConcurrent(t *testing.T) {
	path := filepath.Join(t.TempDir(), FileName)
	db, _ := mustOpen(t, path)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 25 {
				name := fmt.Sprintf("%d-%d", g, i)
				if err := db.Write(Change{KindMachines, name, []byte(`{}`)}, Change{KindAttempts, name, []byte(`{}`)}); err != nil {
					t.Error(err)
				}
				_ = dump(t, db)
			}
		})
	}
	wg.Wait()
	db.Close()
	db, _ = mustOpen(t, path)
	if n := len(dump(t, db)); n != 200 {
		t.Errorf("%d documents, want 200", n)
	}
}

// A file that another process has open gives an error in bounded time, and the
// other one's file is not taken for damaged.
func TestLocked(t *testing.T) {
	path := filepath.Join(t.TempDir(), FileName)
	mustOpen(t, path)
	child := startChild(t, "hold", path+"2") // another process with another file: no quarrel
	mustOpen(t, path+"3")
	d := realDisk()
	d.wait = 200 * time.Millisecond
	for _, p := range []string{path, path + "2"} {
		start := time.Now()
		_, did, err := open(p, quiet(), testNow, d)
		if !errors.Is(err, ErrLocked) || did.SetAside != "" {
			t.Errorf("%s: %v, %+v", p, err, did)
		}
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("took %v", took)
		}
	}
	child.kill()
	mustOpen(t, path+"2")
}

func holdChild(args []string) error {
	db, _, err := Open(args[0], quiet(), testNow)
	if err != nil {
		return err
	}
	defer db.Close()
	fmt.Println("ready")
	_, err = os.Stdin.Read(make([]byte, 1)) // until the parent kills it
	return err
}

func TestNotRegular(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, fifo} {
		if _, _, err := Open(path, quiet(), testNow); err == nil || !strings.Contains(err.Error(), "not a regular file") {
			t.Errorf("%s: %v", path, err)
		}
	}
	if _, _, err := Open(filepath.Join(dir, "missing", FileName), quiet(), testNow); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing directory: %v", err)
	}
}

func TestSymlinkAndMode(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "real")
	link := filepath.Join(dir, "link")
	db, _ := mustOpen(t, path)
	db.Close()
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, link)
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	if info, _ := os.Lstat(link); info.Mode()&fs.ModeSymlink == 0 {
		t.Error("the link was replaced")
	}
}

// A file most of which is free is written anew when it is opened.
func TestCompact(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, FileName)
	db, _ := mustOpen(t, path)
	doc := []byte(`"` + strings.Repeat("x", 3000) + `"`)
	var put, del []Change
	for i := range 2000 {
		name := fmt.Sprintf("a%04d", i)
		put = append(put, Change{KindAttempts, name, doc})
		if i%10 != 0 {
			del = append(del, Change{KindAttempts, name, nil})
		}
	}
	if err := errors.Join(db.Write(put...), db.Write(del...), db.Write(Change{KindSite, "site", []byte(`{}`)})); err != nil {
		t.Fatal(err)
	}
	want, before := dump(t, db), db.Size()
	db.Close()
	// What an Open left that was cut off must neither hinder nor be taken for state.
	for _, suffix := range []string{suffixCompact, suffixNew} {
		if err := os.WriteFile(path+suffix, []byte("half a file"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	db, did := mustOpen(t, path)
	if !did.Compacted {
		t.Errorf("not compacted: %+v", did)
	}
	if db.Size() > before/3 {
		t.Errorf("%d octets, before %d", db.Size(), before)
	}
	if diff := cmp.Diff(want, dump(t, db)); diff != "" {
		t.Error(diff)
	}
	// The new file is the one that is written to and locked.
	if err := db.Write(Change{KindMeta, "x", []byte(`1`)}); err != nil {
		t.Fatal(err)
	}
	want["meta/x"] = "1"
	short := realDisk()
	short.wait = 50 * time.Millisecond
	if _, _, err := open(path, quiet(), testNow, short); !errors.Is(err, ErrLocked) {
		t.Errorf("not locked: %v", err)
	}
	db.Close()
	db, did = mustOpen(t, path)
	if did.Compacted {
		t.Error("compacted twice")
	}
	if diff := cmp.Diff(want, dump(t, db)); diff != "" {
		t.Error(diff)
	}
	if names := list(t, dir); !slices.Equal(names, []string{FileName}) {
		t.Errorf("left behind: %q", names)
	}
}

func list(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// Damaged files are kept, but not without bound: the first and the last ones.
func TestSetAside(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, FileName)
	for i := range 8 {
		if err := os.WriteFile(path, fmt.Appendf(nil, "not a state file %d", i), 0o600); err != nil {
			t.Fatal(err)
		}
		at := testTime.Add(time.Duration(i/2) * time.Minute) // two at the same second
		db, did, err := Open(path, quiet(), func() time.Time { return at })
		if err != nil {
			t.Fatal(err)
		}
		if !did.Created || did.SetAside == "" || did.Damage == "" {
			t.Errorf("%+v", did)
		}
		if data, err := os.ReadFile(did.SetAside); err != nil || string(data) != fmt.Sprintf("not a state file %d", i) {
			t.Errorf("set aside: %q, %v", data, err)
		}
		if len(dump(t, db)) != 0 {
			t.Error("the new file is not empty")
		}
		if err := db.Write(Change{KindSite, "site", []byte(`{}`)}); err != nil {
			t.Error(err)
		}
		db.Close()
		os.Remove(path)
	}
	want := []string{
		"state.db.damaged-20260304T050607Z", "state.db.damaged-20260304T050807Z", "state.db.damaged-20260304T050807Z-2",
		"state.db.damaged-20260304T050907Z", "state.db.damaged-20260304T050907Z-2",
	}
	if diff := cmp.Diff(want, list(t, dir)); diff != "" {
		t.Error(diff)
	}
}

// A page that goes bad while the file is open costs the store, not the process.
func TestFaultWhileOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), FileName)
	for _, keep := range []int64{4096 * 8, 4096, 0} {
		db, did, err := Open(path, quiet(), testNow)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%+v", did)
		var changes []Change
		for i := range 500 {
			changes = append(changes, Change{KindMachines, fmt.Sprint(i), fmt.Appendf(nil, `"%1000d"`, i)})
		}
		if err := db.Write(changes...); err != nil {
			t.Fatal(err)
		}
		// Reading a mapping beyond the end of its file is the same fault as
		// reading a sector that the card has lost.
		if err := os.Truncate(path, keep); err != nil {
			t.Fatal(err)
		}
		loadErr := db.Load(KindMachines, func(string, []byte) error { return nil })
		if !errors.Is(loadErr, ErrDamaged) {
			t.Errorf("Load: %v", loadErr)
		}
		for range 2 {
			if err := db.Write(Change{KindSite, "site", []byte(`{}`)}); !errors.Is(err, ErrDamaged) {
				t.Errorf("Write: %v", err)
			}
		}
		if err := db.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		db, did, err = Open(path, quiet(), testNow)
		if err != nil || did.SetAside == "" {
			t.Fatalf("%+v, %v", did, err)
		}
		db.Close()
	}
}

func TestFull(t *testing.T) {
	d := realDisk()
	d.limit = 1 << 20
	db, _, err := open(filepath.Join(t.TempDir(), FileName), quiet(), testNow, d)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	last := fill(t, db, ErrFull)
	db.Close()
	db, did, err := open(db.path, quiet(), testNow, d)
	if err != nil || did.SetAside != "" {
		t.Fatal(did, err)
	}
	defer db.Close()
	afterFull(t, db, last)
}

// fill writes until there is no room and says how many documents went in. The
// error has to be want, when it is given.
func fill(t testing.TB, db *DB, want error) int {
	t.Helper()
	for i := range 10000 {
		err := db.Write(Change{KindMachines, fmt.Sprintf("m%05d", i), fmt.Appendf(nil, `"%3000d"`, i)},
			Change{KindSite, "site", fmt.Append(nil, i+1)})
		if err == nil {
			continue
		}
		if want != nil && !errors.Is(err, want) {
			t.Fatalf("%v, want %v", err, want)
		}
		if i < 10 {
			t.Fatalf("only %d documents went in: %v", i, err)
		}
		return i
	}
	t.Fatal("the medium is never full")
	return 0
}

// afterFull checks that the state is what was acknowledged, and that deleting
// makes room again.
func afterFull(t testing.TB, db *DB, count int) {
	t.Helper()
	all := dump(t, db)
	if len(all) != count+1 || all["site/site"] != fmt.Sprint(count) {
		t.Errorf("%d documents, site %s; %d were acknowledged", len(all), all["site/site"], count)
	}
	var del []Change
	for i := range count {
		del = append(del, Change{KindMachines, fmt.Sprintf("m%05d", i), nil})
	}
	// A delete needs some pages itself, so few at a time.
	for i := 0; i < len(del); i += 4 {
		if err := db.Write(del[i:min(i+4, len(del))]...); err != nil {
			t.Fatalf("delete: %v", err)
		}
	}
	if err := db.Write(Change{KindMachines, "again", []byte(`{}`)}); err != nil {
		t.Errorf("write after delete: %v", err)
	}
}

// checkBolt lets bbolt's own check look at a closed file.
func checkBolt(t testing.TB, path string) {
	t.Helper()
	b, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := b.View(func(tx *bbolt.Tx) error {
		var first error
		for err := range tx.Check() {
			if first == nil {
				first = err
			}
		}
		return first
	}); err != nil {
		t.Errorf("bbolt's check: %v", err)
	}
}
