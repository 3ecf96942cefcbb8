package media

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// item is an entry of an archive made for a test.
type item struct {
	name string
	typ  byte // of tar; 0: a file
	body string
	link string
	mode int64
}

func dir(name string) item          { return item{name: name, typ: tar.TypeDir} }
func file(name, body string) item   { return item{name: name, body: body} }
func symlink(name, to string) item  { return item{name: name, typ: tar.TypeSymlink, link: to} }
func hardlink(name, to string) item { return item{name: name, typ: tar.TypeLink, link: to} }

// tarOf packs items as they are, also what no packer would.
func tarOf(t testing.TB, items ...item) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, i := range items {
		if i.typ == 0 {
			i.typ = tar.TypeReg
		}
		if i.mode == 0 {
			i.mode = 0o644
		}
		h := &tar.Header{Name: i.name, Typeflag: i.typ, Linkname: i.link, Size: int64(len(i.body)), Mode: i.mode}
		if i.typ == tar.TypeXGlobalHeader {
			h = &tar.Header{Typeflag: i.typ, PAXRecords: map[string]string{"comment": i.body}}
			i.body = ""
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(i.body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gz(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// zipOf packs items; a link's target is its content, as zip has it.
func zipOf(t testing.TB, items ...item) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, i := range items {
		h := &zip.FileHeader{Name: i.name, Method: zip.Deflate}
		switch i.typ {
		case tar.TypeDir:
			h.Name = strings.TrimSuffix(i.name, "/") + "/"
		case tar.TypeSymlink:
			h.SetMode(fs.ModeSymlink | 0o777)
			i.body = i.link
		case tar.TypeChar:
			h.SetMode(fs.ModeDevice | fs.ModeCharDevice | 0o600)
		case tar.TypeFifo:
			h.SetMode(fs.ModeNamedPipe | 0o600)
		default:
			h.SetMode(fs.FileMode(i.mode) | 0o644)
		}
		f, err := w.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		if h.Name[len(h.Name)-1] == '/' {
			continue
		}
		if _, err := f.Write([]byte(i.body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func open(t testing.TB, limits Limits) *Store {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "trees"), limits)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func bring(t testing.TB, s *Store, name string, archive []byte) Tree {
	t.Helper()
	tree, err := s.Import(t.Context(), name, bytes.NewReader(archive), "")
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// names lists everything below the store's directory.
func names(t testing.TB, s *Store) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(s.dir, func(p string, _ fs.DirEntry, err error) error {
		if err == nil && p != s.dir {
			found = append(found, strings.TrimPrefix(p, s.dir+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func read(t testing.TB, s *Store, name string) string {
	t.Helper()
	b, err := fs.ReadFile(s.FS(), name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// contained fails when anything in the store is no folder, file or link, when a
// link leads out, or when a mode is not ours.
func contained(t testing.TB, s *Store) {
	t.Helper()
	err := filepath.WalkDir(s.dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		switch d.Type() {
		case 0, fs.ModeDir:
			fi, err := d.Info()
			if err != nil {
				return err
			}
			if fi.Mode()&(fs.ModeSetuid|fs.ModeSetgid|fs.ModeSticky|0o022) != 0 {
				t.Errorf("%s has mode %v", p, fi.Mode())
			}
		case fs.ModeSymlink:
			to, err := filepath.EvalSymlinks(p)
			if os.IsNotExist(err) {
				return nil
			}
			if err != nil {
				t.Errorf("%s: %v", p, err)
				return nil
			}
			rel, err := filepath.Rel(s.dir, p)
			if err != nil {
				return err
			}
			tree, _, _ := strings.Cut(rel, "/")
			inside, err := filepath.EvalSymlinks(filepath.Join(s.dir, tree, filesDir))
			if err != nil {
				return err
			}
			if to != inside && !strings.HasPrefix(to, inside+"/") {
				t.Errorf("%s leads to %s", p, to)
			}
		default:
			t.Errorf("%s is of type %v", p, d.Type())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
