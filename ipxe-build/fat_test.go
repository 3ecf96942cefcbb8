package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"
)

// readFAT is a reader of its own, so that writer and reader cannot agree on the
// same mistake: it takes every number from the volume's header.
func readFAT(t *testing.T, image []byte) map[string]string {
	t.Helper()
	le := binary.LittleEndian
	sector := int(le.Uint16(image[11:]))
	cluster := sector * int(image[13])
	reserved, copies, rootEntries, table := int(le.Uint16(image[14:])), int(image[16]), int(le.Uint16(image[17:])), int(le.Uint16(image[22:]))
	if got, want := int(le.Uint16(image[19:]))*sector, len(image); got != want {
		t.Fatalf("header says %d bytes, image has %d", got, want)
	}
	fat := image[reserved*sector:][:table*sector]
	for i := range copies {
		if other := image[(reserved+i*table)*sector:][:table*sector]; !bytes.Equal(fat, other) {
			t.Fatalf("table %d differs", i)
		}
	}
	root := image[(reserved+copies*table)*sector:][:rootEntries*32]
	data := image[(reserved+copies*table)*sector+rootEntries*32:]
	if n := len(data) / cluster; n < 4085 || n > 65524 || (n+2)*2 > len(fat) {
		t.Fatalf("%d clusters do not make a FAT16", n)
	}
	chain := func(first uint16) (out []byte) {
		for c := first; c < 0xfff8; c = le.Uint16(fat[int(c)*2:]) {
			if c < 2 || len(out) > len(data) {
				t.Fatalf("chain of %d is broken at %d", first, c)
			}
			out = append(out, data[(int(c)-2)*cluster:][:cluster]...)
		}
		return out
	}
	files := map[string]string{}
	var walk func(dir string, entries []byte)
	walk = func(dir string, entries []byte) {
		var (
			long     []uint16
			checksum byte
		)
		for ; len(entries) >= 32 && entries[0] != 0; entries = entries[32:] {
			e := entries[:32]
			if e[11] == 0x0f {
				var part []uint16
				for _, at := range []int{1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30} {
					if u := le.Uint16(e[at:]); u != 0 && u != 0xffff {
						part = append(part, u)
					}
				}
				long, checksum = append(part, long...), e[13]
				continue
			}
			name := strings.TrimRight(string(e[:8]), " ")
			if ext := strings.TrimRight(string(e[8:11]), " "); ext != "" {
				name += "." + ext
			}
			if long != nil {
				name = string(utf16.Decode(long))
				var sum byte // of the short name: a long one that lacks it is ignored by every reader
				for _, c := range e[:11] {
					sum = sum<<7 | sum>>1
					sum += c
				}
				if sum != checksum {
					t.Errorf("%s: long name is marked %#x, its short name sums up to %#x", name, checksum, sum)
				}
			}
			long = nil
			switch first := le.Uint16(e[26:]); {
			case e[11]&0x08 != 0 || name == "." || name == "..":
			case e[11]&0x10 != 0:
				walk(path.Join(dir, name), chain(first))
			case first == 0:
				files[path.Join(dir, name)] = ""
			default:
				files[path.Join(dir, name)] = string(chain(first)[:le.Uint32(e[28:])])
			}
		}
	}
	walk("", root)
	return files
}

func TestFATImage(t *testing.T) {
	files := map[string][]byte{
		"autoexec.ipxe":            []byte("#!ipxe\n"),
		"readme.txt":               []byte("x"),
		"UPPER.TXT":                []byte("upper"),
		"EFI/BOOT/BOOTX64.EFI":     bytes.Repeat([]byte("efi"), 300_000),
		"empty":                    nil,
		"a/b/c/deep.txt":           []byte("deep"),
		"exactly-one-cluster.data": bytes.Repeat([]byte{7}, fatClusterSize),
		"a/a.name.with.dots.and.more.than.thirteen.letters.txt": []byte("long"),
		"memtest86plus.txt":  []byte("1"),
		"memtest86minus.txt": []byte("2"),
	}
	for i := range 60 { // a folder of several clusters
		files[fmt.Sprintf("full/F%02d.BIN", i)] = []byte{byte(i)}
	}
	for i := range 9 { // as many short names with the same beginning as there can be
		files[fmt.Sprintf("alike/file-number-%d.text", i)] = []byte{byte(i)}
	}
	image, err := fatImage("LABEL", 0x12345678, files)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for name, data := range files {
		want[name] = string(data)
	}
	if got := readFAT(t, image); !maps.Equal(got, want) {
		t.Errorf("volume holds other files")
		for name := range want {
			if got[name] != want[name] {
				t.Errorf("%s: %d bytes, want %d", name, len(got[name]), len(want[name]))
			}
		}
	}
	again, err := fatImage("LABEL", 0x12345678, files)
	if err != nil || !bytes.Equal(image, again) {
		t.Errorf("a second build differs, %v", err)
	}
	// The judgement of a stranger.
	if fsck, err := exec.LookPath("fsck.fat"); err == nil {
		file := filepath.Join(t.TempDir(), "fat.img")
		if err := os.WriteFile(file, image, 0o644); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(fsck, "-n", "-V", file).CombinedOutput(); err != nil {
			t.Errorf("fsck.fat: %v:\n%s", err, out)
		}
	}
}

func TestFATImageRefuses(t *testing.T) {
	many := map[string][]byte{}
	for i := range fatRootEntries {
		many[fmt.Sprintf("F%d", i)] = nil
	}
	for name, files := range map[string]map[string][]byte{
		"too much":          {"a": make([]byte, 9<<20)},
		"too many at root":  many,
		"blank in a name":   {"a b": nil},
		"accent in a name":  {"é": nil},
		"name too long":     {strings.Repeat("a", 101): nil},
		"same in any case":  {"A.TXT": nil, "a.txt": nil},
		"no name":           {".txt": nil},
		"file and folder":   {"A": nil, "A/B": nil},
		"too many the same": {"abcdefgh1": nil, "abcdefgh2": nil, "abcdefgh3": nil, "abcdefgh4": nil, "abcdefgh5": nil, "abcdefgh6": nil, "abcdefgh7": nil, "abcdefgh8": nil, "abcdefgh9": nil, "abcdefgha": nil},
	} {
		if _, err := fatImage("LABEL", 1, files); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
