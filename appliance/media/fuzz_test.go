package media

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzImport: whatever is uploaded is either refused without a trace or makes a
// tree that nothing leads out of and that is as large as it says.
func FuzzImport(f *testing.F) {
	plain := tarOf(f, debian("kernel")...)
	f.Add(plain)
	f.Add(gz(f, plain))
	f.Add(zipOf(f, dir("d"), file("d/a", "x"), symlink("l", "d/a"), symlink("up", "../x")))
	f.Add(tarOf(f, symlink("a", ".."), file("a/b", "x")))
	f.Add(tarOf(f, file("a", "x"), hardlink("b", "a"), symlink("c", "b"), hardlink("d", "c")))
	f.Add(zipOf(f, symlink("l", "/etc"), file("l/x", "x")))
	f.Add(gz(f, make([]byte, 1<<20)))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := Open(filepath.Join(t.TempDir(), "trees"), Limits{Archive: 1 << 20, Total: 1 << 20, File: 1 << 19, Entries: 100})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		s.sync = func(string) error { return nil } // waiting for the disk finds nothing
		tree, err := s.Import(t.Context(), "x", bytes.NewReader(b), "")
		if err != nil {
			if _, ok := errors.AsType[*ArchiveError](err); !ok {
				t.Errorf("an error that is not the archive's: %v", err)
			}
			if left := names(t, s); len(left) != 0 {
				t.Errorf("left: %q", left)
			}
			return
		}
		contained(t, s)
		if tree.Bytes > 1<<20 || tree.Files > 100 {
			t.Errorf("%+v", tree)
		}
		for _, p := range tree.Programs {
			if fi, err := fs.Stat(s.FS(), "x/"+p); err != nil || !fi.Mode().IsRegular() {
				t.Errorf("program %q: %v", p, err)
			}
		}
	})
}

// FuzzResolve: the plan and os.Root agree on where links lead.
func FuzzResolve(f *testing.F) {
	f.Add("a/b", "../c", "c", "d/../e")
	f.Add("l", "m/..", "m", "l")
	f.Fuzz(func(t *testing.T, name1, to1, name2, to2 string) {
		s, err := Open(filepath.Join(t.TempDir(), "trees"), Limits{})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		s.sync = func(string) error { return nil } // waiting for the disk finds nothing
		p := newPlan(s.limits)
		for _, h := range []header{{name: "z/y/x", kind: isFile}, {name: name1, kind: isLink, target: to1}, {name: name2, kind: isLink, target: to2}} {
			if err := p.add(h); err != nil {
				return
			}
		}
		if p.finish() != nil {
			return
		}
		_, err = s.Import(t.Context(), "x", bytes.NewReader(zipOf(t, file("z/y/x", ""), symlink(name1, to1), symlink(name2, to2))), "")
		if err != nil {
			t.Fatalf("planned, but: %v", err)
		}
		contained(t, s)
	})
}

// FuzzWalk: reading and planning, which is all that most archives come to, ends
// in a plan within the limits or in an error about the archive.
func FuzzWalk(f *testing.F) {
	small := tarOf(f, file("a", "x"), symlink("b", "a"))
	f.Add(small, "")
	f.Add(gz(f, small), FormatTarGz)
	f.Add(zipOf(f, file("a", "x"), symlink("l", "../a")), FormatZip)
	// A local header that is not there.
	lost := zipOf(f, file("a", "x"))
	lost[bytes.LastIndex(lost, []byte("PK\x01\x02"))+42] = 0xff
	f.Add(lost, FormatZip)
	f.Add(tarOf(f, item{typ: 'g', body: "x"}, file(strings.Repeat("n", 200), "x")), FormatTar)
	limits := Limits{Total: 1 << 20, File: 1 << 19, Entries: 100}.filled()
	f.Fuzz(func(t *testing.T, b []byte, said string) {
		a := &stored{file: bytes.NewReader(b), size: int64(len(b)), limits: limits}
		p := newPlan(limits)
		var err error
		if a.format, err = formatOf(a.file, said); err == nil {
			err = a.walk(t.Context(), func(h header, _ io.Reader) error { return p.add(h) })
		}
		if err == nil {
			err = p.finish()
		}
		if err != nil {
			if _, ok := errors.AsType[*ArchiveError](err); !ok {
				t.Errorf("an error that is not the archive's: %v", err)
			}
			return
		}
		if p.entries > limits.Entries || p.bytes > limits.Total {
			t.Errorf("%d entries, %d octets", p.entries, p.bytes)
		}
		for _, name := range p.links {
			if _, what := p.resolve(name); what != "" {
				t.Errorf("%q %s", name, what)
			}
		}
	})
}
