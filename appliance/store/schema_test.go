package store

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"
)

// newFixture writes the fixture of this program's schema. It is used once for
// every release that raises Schema; fixtures that exist are never written again.
var newFixture = flag.Bool("new-fixture", false, "write testdata/schemaN.txt for this schema")

// fixtureDocs are the documents of every fixture.
func fixtureDocs(t testing.TB) map[string]json.RawMessage {
	t.Helper()
	data, err := os.ReadFile("testdata/documents.json")
	if err != nil {
		t.Fatal(err)
	}
	var docs map[string]json.RawMessage
	if err := json.Unmarshal(data, &docs); err != nil {
		t.Fatal(err)
	}
	for name, doc := range docs {
		var b bytes.Buffer
		if err := json.Compact(&b, doc); err != nil {
			t.Fatal(err)
		}
		docs[name] = b.Bytes()
	}
	return docs
}

// A fixture is a state file as some release wrote it: gzip, base64, lines.
func writeFixture(t testing.TB, name, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	z, _ := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if _, err := z.Write(data); err != nil {
		t.Fatal(err)
	}
	z.Close()
	text := base64.StdEncoding.EncodeToString(packed.Bytes())
	var lines []byte
	for line := range slices.Chunk([]byte(text), 76) {
		lines = append(append(lines, line...), '\n')
	}
	if err := os.WriteFile(name, lines, 0o600); err != nil {
		t.Fatal(err)
	}
}

func readFixture(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	packed, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(string(text), "\n", ""))
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// build0 makes a file of schema 0, which no program writes any more.
func build0(t testing.TB, path string, docs map[string]json.RawMessage) {
	t.Helper()
	b, err := bbolt.Open(path, 0o600, &bbolt.Options{PageSize: 4096})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Update(func(tx *bbolt.Tx) error {
		for _, name := range buckets0 {
			if _, err := tx.CreateBucket([]byte(name)); err != nil {
				return err
			}
		}
		for key, doc := range docs {
			kind, name, _ := strings.Cut(key, "/")
			if kind == string(KindSite) {
				kind = string(KindMeta)
			}
			if err := tx.Bucket([]byte(kind)).Put([]byte(name), doc); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestFixtures opens a file of every schema there ever was.
func TestFixtures(t *testing.T) {
	docs := fixtureDocs(t)
	if *newFixture {
		name := "testdata/schema" + strconv.Itoa(Schema) + ".txt"
		if _, err := os.Stat(name); err == nil {
			t.Fatalf("%s is there already", name)
		}
		path := filepath.Join(t.TempDir(), FileName)
		db, _ := mustOpen(t, path)
		for key, doc := range docs {
			kind, name, _ := strings.Cut(key, "/")
			if err := db.Write(Change{Kind(kind), name, doc}); err != nil {
				t.Fatal(err)
			}
		}
		db.Close()
		writeFixture(t, name, path)
		if _, err := os.Stat("testdata/schema0.txt"); err != nil {
			build0(t, path+"0", docs)
			writeFixture(t, "testdata/schema0.txt", path+"0")
		}
	}
	want := map[string]string{}
	for name, doc := range docs {
		want[name] = string(doc)
	}
	for schema := range Schema + 1 {
		t.Run(strconv.Itoa(schema), func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, FileName)
			data := readFixture(t, fmt.Sprintf("testdata/schema%d.txt", schema))
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
			db, did := mustOpen(t, path)
			if did.Migrated != (schema < Schema) || did.Migrated && (did.From != schema || did.To != Schema) {
				t.Errorf("%+v", did)
			}
			if diff := cmp.Diff(want, dump(t, db)); diff != "" {
				t.Error(diff)
			}
			if err := db.Write(Change{KindMachines, "new", []byte(`{}`)}); err != nil {
				t.Error(err)
			}
			db.Close()
			checkBolt(t, path)
			db, did = mustOpen(t, path)
			if did != (Opened{}) {
				t.Errorf("opened again: %+v", did)
			}
			if n := len(dump(t, db)); n != len(want)+1 {
				t.Errorf("%d documents after the migration and a write, want %d", n, len(want)+1)
			}
			names := []string{FileName}
			if schema < Schema {
				// The file before the migration is kept for the way back.
				names = append(names, fmt.Sprintf("%s%s%d", FileName, suffixSchema, schema))
				if kept, err := os.ReadFile(filepath.Join(dir, names[1])); err != nil || !bytes.Equal(kept, data) {
					t.Errorf("the kept file differs: %v", err)
				}
			}
			if got := list(t, dir); !slices.Equal(got, names) {
				t.Errorf("files %q, want %q", got, names)
			}
		})
	}
	if fixtures, _ := filepath.Glob("testdata/schema*.txt"); len(fixtures) != Schema+1 {
		t.Errorf("fixtures %q for %d schemas", fixtures, Schema+1)
	}
}

// A migration that fails leaves the file as it was.
func TestMigrationFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), FileName)
	build0(t, path, fixtureDocs(t))
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	old := migrations
	t.Cleanup(func() { migrations = old })
	broken := errors.New("broken")
	migrations = append(slices.Clone(old), migration{0, "more", func(tx *bbolt.Tx) error {
		if err := tx.DeleteBucket([]byte(KindMachines)); err != nil {
			return err
		}
		return broken
	}})
	if _, did, err := Open(path, quiet(), testNow); !errors.Is(err, broken) || did.SetAside != "" {
		t.Errorf("%+v, %v", did, err)
	}
	if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
		t.Error("the file was changed")
	}
	migrations = old
	if _, did := mustOpen(t, path); !did.Migrated {
		t.Errorf("%+v", did)
	}
}

func TestMigrationsAreWhole(t *testing.T) {
	if len(migrations) != Schema {
		t.Fatalf("%d migrations to schema %d", len(migrations), Schema)
	}
	for i, m := range migrations {
		if m.from != i || m.what == "" {
			t.Errorf("migration %d is from %d (%q)", i, m.from, m.what)
		}
	}
}

// A file of a newer release is refused, says why, and stays as it is, whatever
// else is in it.
func TestNewer(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, FileName)
	db, _ := mustOpen(t, path)
	if err := db.bolt.Update(func(tx *bbolt.Tx) error {
		deep, err := tx.CreateBucket([]byte("from the future"))
		if err != nil {
			return err
		}
		if _, err := deep.CreateBucket([]byte("nested")); err != nil {
			return err
		}
		return tx.Bucket([]byte(headBucket)).Put([]byte(keySchema), schemaValue(Schema+4))
	}); err != nil {
		t.Fatal(err)
	}
	db.Close()
	before, _ := os.ReadFile(path)
	_, did, err := Open(path, quiet(), testNow)
	if !errors.Is(err, ErrNewer) || !strings.Contains(err.Error(), "schema 5") || did != (Opened{}) {
		t.Errorf("%+v, %v", did, err)
	}
	if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
		t.Error("the file was changed")
	}
	if names := list(t, dir); len(names) != 1 {
		t.Errorf("%q", names)
	}
}

// TestNotOurs: a bbolt file that is whole but not one of ours is set aside.
func TestNotOurs(t *testing.T) {
	for name, edit := range map[string]func(tx *bbolt.Tx) error{
		"no buckets":         func(tx *bbolt.Tx) error { return nil },
		"another program's":  func(tx *bbolt.Tx) error { _, err := tx.CreateBucket([]byte("leases")); return err },
		"no head":            func(tx *bbolt.Tx) error { return errors.Join(initialise(tx), tx.DeleteBucket([]byte(headBucket))) },
		"a kind is missing":  func(tx *bbolt.Tx) error { return errors.Join(initialise(tx), tx.DeleteBucket([]byte(KindRules))) },
		"a bucket too many":  func(tx *bbolt.Tx) error { initialise(tx); _, err := tx.CreateBucket([]byte("x")); return err },
		"schema's checksum":  headEdit(keySchema, []byte{0, 0, 0, 9, 1, 2, 3, 4}),
		"schema is missing":  headEdit(keySchema, nil),
		"schema 0 in a head": headEdit(keySchema, schemaValue(0)),
		"sum is missing":     headEdit(keyDigest, nil),
		"sum differs":        headEdit(keyDigest, append(make([]byte, 39), 1)),
		"document nobody counted": func(tx *bbolt.Tx) error {
			initialise(tx)
			return tx.Bucket([]byte(KindRules)).Put([]byte("x"), []byte("{}"))
		},
		"nested": func(tx *bbolt.Tx) error {
			initialise(tx)
			_, err := tx.Bucket([]byte(KindRules)).CreateBucket([]byte("x"))
			return err
		},
		"empty document": func(tx *bbolt.Tx) error {
			initialise(tx)
			return tx.Bucket([]byte(KindRules)).Put([]byte("x"), nil)
		},
	} {
		path := filepath.Join(t.TempDir(), FileName)
		b, err := bbolt.Open(path, 0o600, &bbolt.Options{PageSize: 4096})
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Update(edit); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		b.Close()
		db, did, err := Open(path, quiet(), testNow)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		db.Close()
		if did.SetAside == "" || !did.Created {
			t.Errorf("%s: %+v", name, did)
		}
	}
}

func headEdit(key string, value []byte) func(tx *bbolt.Tx) error {
	return func(tx *bbolt.Tx) error {
		if err := initialise(tx); err != nil {
			return err
		}
		head := tx.Bucket([]byte(headBucket))
		if value == nil {
			return head.Delete([]byte(key))
		}
		return head.Put([]byte(key), value)
	}
}

func BenchmarkWrite(b *testing.B) {
	for _, n := range []int{1, 1000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			db, _ := mustOpen(b, filepath.Join(b.TempDir(), FileName))
			pad := strings.Repeat("x", 700)
			i := 0
			for b.Loop() {
				changes := make([]Change, n)
				for j := range changes {
					i++
					changes[j] = Change{KindMachines, strconv.Itoa(i * 7919 % 10000), fmt.Appendf(nil, `{"n":%d,"pad":%q}`, i, pad)}
				}
				if err := db.Write(changes...); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(db.Size())/1024, "file-KiB")
		})
	}
}

// BenchmarkOpen opens, verifies and loads 10,000 machines.
func BenchmarkOpen(b *testing.B) {
	path := filepath.Join(b.TempDir(), FileName)
	db, _ := mustOpen(b, path)
	var changes []Change
	for i := range 10000 {
		changes = append(changes, Change{KindMachines, fmt.Sprintf("m%05d", i), fmt.Appendf(nil, `"%1500d"`, i)})
	}
	if err := db.Write(changes...); err != nil {
		b.Fatal(err)
	}
	size := db.Size()
	db.Close()
	for b.Loop() {
		db, _ := mustOpen(b, path)
		if len(dump(b, db)) != 10000 {
			b.Fatal("not all there")
		}
		db.Close()
	}
	b.ReportMetric(float64(size)/1024, "file-KiB")
}
